/* parquet_roundtrip_test.c — what the writer wrote, the reader gives back: random tables against
 * the arrays they were made from, bounds, and a file that was written long ago. */
#include "base/fault.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rand.h"
#include "parquet/reader.h"
#include "parquet/writer.h"
#include "support/test.h"
#include <stdlib.h>

static struct ak_err err;

static enum ak_rc to_buffer(void *ctx, const void *p, size_t len, struct ak_err *e)
{
    (void)e;
    ak_buf_add(ctx, p, len);
    return AK_OK;
}

static struct ak_parquet_reader *open_bytes(const struct ak_buf *bytes, struct ak_str *view)
{
    const struct ak_parquet_read_options options = {.require_crc = true};
    struct ak_parquet_reader *reader = NULL;
    *view = ak_buf_str(bytes);
    const struct ak_parquet_source source = ak_parquet_source_memory(view, "written");
    CHECK_OK(ak_parquet_open(&source, &options, &reader, &err));
    return reader;
}

/* --- Random tables --- */

enum { COLUMNS_MAX = 6, GROUPS = 2, ROWS_MAX = 300, DIMENSION_MAX = 130, TEXT = 80 };

/* One column of one row group: what is put and what must come back. */
struct column {
    uint8_t valid[ROWS_MAX];
    bool has_valid;
    struct ak_str texts[ROWS_MAX];
    char room[ROWS_MAX][TEXT];
    uint64_t numbers[ROWS_MAX * DIMENSION_MAX]; /* packed in the type's width */
    size_t width;
    uint32_t dimension;
};

struct table {
    struct ak_parquet_column columns[COLUMNS_MAX];
    char names[COLUMNS_MAX][24];
    size_t count;
    struct ak_parquet_write_options options;
    size_t rows[GROUPS];
    struct column data[GROUPS][COLUMNS_MAX];
};

static size_t width_of(enum ak_parquet_type type)
{
    switch (type) {
    case AK_PARQUET_BOOLEAN:
        return 1;
    case AK_PARQUET_INT32:
    case AK_PARQUET_FLOAT:
        return 4;
    case AK_PARQUET_INT64:
    case AK_PARQUET_DOUBLE:
        return 8;
    case AK_PARQUET_INT96:
    case AK_PARQUET_BYTE_ARRAY:
    case AK_PARQUET_FIXED:
        break;
    }
    return 0;
}

static size_t below(struct ak_rand *rand, size_t bound)
{
    return (size_t)ak_rand_below(rand, bound);
}

static void choose_column(struct ak_rand *rand, struct ak_parquet_column *column)
{
    static const struct {
        enum ak_parquet_type type;
        enum ak_parquet_encoding encodings[3];
        size_t count;
    } kinds[] = {
        {AK_PARQUET_BOOLEAN, {AK_PARQUET_PLAIN, AK_PARQUET_RLE}, 2},
        {AK_PARQUET_INT32, {AK_PARQUET_PLAIN, AK_PARQUET_DELTA_BINARY_PACKED}, 2},
        {AK_PARQUET_INT64, {AK_PARQUET_PLAIN, AK_PARQUET_DELTA_BINARY_PACKED}, 2},
        {AK_PARQUET_FLOAT, {AK_PARQUET_PLAIN, AK_PARQUET_BYTE_STREAM_SPLIT}, 2},
        {AK_PARQUET_DOUBLE, {AK_PARQUET_PLAIN, AK_PARQUET_BYTE_STREAM_SPLIT}, 2},
        {AK_PARQUET_BYTE_ARRAY,
         {AK_PARQUET_PLAIN, AK_PARQUET_DELTA_LENGTH_BYTE_ARRAY, AK_PARQUET_DELTA_BYTE_ARRAY},
         3},
        {AK_PARQUET_FIXED, {AK_PARQUET_PLAIN}, 1},
    };
    size_t kind = below(rand, sizeof kinds / sizeof kinds[0]);
    column->type = kinds[kind].type;
    column->encoding = kinds[kind].encodings[below(rand, kinds[kind].count)];
    column->fixed_len = column->type == AK_PARQUET_FIXED ? 1 + (uint32_t)below(rand, 40) : 0;
    column->has_dictionary = column->type != AK_PARQUET_BOOLEAN && below(rand, 2);
    column->is_list = width_of(column->type) >= 4 && below(rand, 3) == 0;
    column->dimension = column->is_list ? 1 + (uint32_t)below(rand, DIMENSION_MAX) : 0;
    column->is_optional = !column->is_list && below(rand, 2);
}

static void fill_valid(struct ak_rand *rand, struct column *data, size_t rows)
{
    size_t pattern = below(rand, 5); /* no array, none, all, runs, mixed */
    data->has_valid = pattern > 0;
    for (size_t i = 0; i < rows; i++) {
        data->valid[i] = (uint8_t)(pattern == 0   ? 1
                                   : pattern == 1 ? 1
                                   : pattern == 2 ? 0
                                   : pattern == 3 ? i / 17 % 2
                                                  : below(rand, 4) != 0);
    }
}

static uint64_t number_of(struct ak_rand *rand, size_t form, size_t i)
{
    static const uint64_t odd[] = {
        0, 1, UINT64_MAX, INT64_MAX, (uint64_t)INT64_MIN, 0x7fc12345, 0x80000000};
    return form == 0   ? 42
           : form == 1 ? below(rand, 5)
           : form == 2 ? i * 1000 + below(rand, 300)
           : form == 3 ? odd[below(rand, sizeof odd / sizeof odd[0])]
                       : ak_rand_u64(rand);
}

static void fill_numbers(struct ak_rand *rand, struct column *data, size_t count)
{
    size_t form = below(rand, 5);
    char *to = (char *)data->numbers;
    for (size_t i = 0; i < count; i++) {
        uint64_t value = number_of(rand, form, i);
        value = data->width == 1 ? value & 1 : value;
        memcpy(to + i * data->width, &value, data->width);
    }
}

static void fill_texts(struct ak_rand *rand, struct column *data, size_t rows, uint32_t fixed_len)
{
    size_t form = below(rand, 3); /* few, alike at the beginning, any */
    for (size_t i = 0; i < rows; i++) {
        char *room = data->room[i];
        size_t len = fixed_len ? fixed_len : below(rand, TEXT);
        memset(room, 'a' + (int)below(rand, 3), TEXT);
        if (form == 0) {
            len = fixed_len ? fixed_len : 5;
        } else if (form == 2) {
            for (size_t b = 0; b < len; b++) {
                room[b] = (char)ak_rand_u64(rand);
            }
        } else if (len > 0) {
            room[len - 1] = (char)ak_rand_u64(rand);
        }
        data->texts[i] = (struct ak_str){room, len};
    }
}

static void make_table(struct ak_rand *rand, struct table *table)
{
    memset(table, 0, sizeof *table);
    table->count = 1 + below(rand, COLUMNS_MAX);
    table->options.codec = (enum ak_codec)below(rand, AK_CODEC_COUNT);
    table->options.page_v2 = below(rand, 2);
    table->options.page_bytes = below(rand, 2) ? 1 + below(rand, 5000) : 0;
    table->options.no_page_index = below(rand, 5) == 0;
    for (size_t c = 0; c < table->count; c++) {
        table->columns[c].name = table->names[c];
        (void)snprintf(table->names[c], sizeof table->names[c], "c%zu", c);
        choose_column(rand, &table->columns[c]);
    }
    for (size_t g = 0; g < GROUPS; g++) {
        table->rows[g] = 1 + below(rand, ROWS_MAX);
        for (size_t c = 0; c < table->count; c++) {
            const struct ak_parquet_column *column = &table->columns[c];
            struct column *data = &table->data[g][c];
            data->width = width_of(column->type);
            data->dimension = column->is_list ? column->dimension : 1;
            fill_valid(rand, data, table->rows[g]);
            data->has_valid &= column->is_optional;
            if (data->width) {
                fill_numbers(rand, data, table->rows[g] * data->dimension);
            } else {
                fill_texts(rand, data, table->rows[g], column->fixed_len);
            }
        }
    }
}

static const void *row_of(void *ctx, uint64_t row)
{
    const struct column *data = ctx;
    return (const char *)data->numbers + row * data->dimension * data->width;
}

static enum ak_rc try_table(struct table *table, struct ak_buf *out, struct ak_err *e)
{
    const struct ak_parquet_sink sink = {out, to_buffer};
    struct ak_parquet_writer *writer = NULL;
    struct ak_parquet_summary summary = {0};
    enum ak_rc rc =
        ak_parquet_create(&sink, table->columns, table->count, &table->options, &writer, e);
    for (size_t g = 0; g < GROUPS && rc == AK_OK; g++) {
        rc = ak_parquet_begin_group(writer, table->rows[g], e);
        for (size_t c = 0; c < table->count && rc == AK_OK; c++) {
            struct column *data = &table->data[g][c];
            struct ak_parquet_values values = {.valid = data->has_valid ? data->valid : NULL};
            if (table->columns[c].is_list) {
                values.row = row_of;
                values.ctx = data;
            } else if (data->width) {
                values.fixed = data->numbers;
            } else {
                values.bytes = data->texts;
            }
            rc = ak_parquet_put(writer, &values, e);
        }
        rc = rc == AK_OK ? ak_parquet_end_group(writer, e) : rc;
    }
    if (rc != AK_OK) {
        ak_parquet_abandon(writer);
        return rc;
    }
    rc = ak_parquet_finish(writer, &summary, e);
    if (rc == AK_OK) {
        CHECK_INT(summary.bytes, out->len);
        CHECK_INT(summary.rows, table->rows[0] + table->rows[1]);
    }
    return rc;
}

static void write_table(struct table *table, struct ak_buf *out)
{
    CHECK_OK(try_table(table, out, &err));
}

/* Rows of a batch against those of the table. */
static void check_batch(const struct column *data, const struct ak_parquet_batch *batch)
{
    for (size_t r = 0; r < batch->rows; r++) {
        size_t row = (size_t)batch->first_row + r;
        size_t at = batch->value_at[r];
        size_t count = batch->value_at[r + 1] - at;
        CHECK_INT(count, data->has_valid && !data->valid[row] ? 0 : data->dimension);
        if (count && data->width) {
            CHECK(memcmp((const char *)batch->i32 + at * data->width,
                         (const char *)data->numbers + row * data->dimension * data->width,
                         count * data->width) == 0);
        } else if (count) {
            CHECK(ak_str_eq(batch->bytes[at], data->texts[row]));
        }
    }
}

static void read_table(struct ak_rand *rand, const struct table *table, const struct ak_buf *bytes)
{
    struct ak_str view;
    struct ak_parquet_report report;
    struct ak_parquet_reader *reader = open_bytes(bytes, &view);
    CHECK_OK(ak_parquet_verify(reader, &report, &err));
    CHECK_INT(report.pages_with_crc, report.pages);
    for (size_t g = 0; g < GROUPS; g++) {
        for (size_t c = 0; c < table->count; c++) {
            struct ak_parquet_cursor *cursor = NULL;
            struct ak_parquet_batch batch;
            size_t rows = 0;
            CHECK_OK(ak_parquet_cursor_open(reader, g, c, 0, table->rows[g], &cursor, &err));
            do {
                CHECK_OK(ak_parquet_next(cursor, below(rand, 100), &batch, &err));
                check_batch(&table->data[g][c], &batch);
                rows += batch.rows;
            } while (batch.rows);
            CHECK_INT(rows, table->rows[g]);
            ak_parquet_cursor_close(cursor);
        }
    }
    ak_parquet_close(reader);
}

TEST(writer, tables_of_any_kind_come_back_as_they_were)
{
    struct ak_rand rand;
    struct table *table = ak_alloc(sizeof *table);
    ak_rand_seed(&rand, ak_test_seed());
    for (int i = 0; i < 150; i++) {
        struct ak_buf bytes = {0};
        make_table(&rand, table);
        write_table(table, &bytes);
        CHECK_OK(ak_buf_check(&bytes, &err));
        read_table(&rand, table, &bytes);
        ak_buf_release(&bytes);
    }
    ak_free(table);
}

/* --- Vectors of every length --- */

TEST(writer, a_file_that_was_written_without_some_memory_is_whole_all_the_same)
{
    struct table *table = ak_alloc(sizeof *table);
    struct ak_rand rand;
    ak_rand_seed(&rand, 21);
    for (int turn = 0; turn < 25; turn++) {
        make_table(&rand, table);
        bool fired = true;
        for (int64_t nth = 0; fired; nth++) {
            struct ak_err e = {0};
            struct ak_buf bytes = {0};
            CHECK(ak_buf_reserve(&bytes, (size_t)2 << 20) != NULL);
            ak_fault_alloc_at(nth);
            enum ak_rc rc = try_table(table, &bytes, &e);
            fired = ak_fault_alloc_fired();
            ak_fault_alloc_at(-1);
            CHECK(rc == AK_OK || rc == AK_NOMEM);
            if (rc == AK_OK) {
                read_table(&rand, table, &bytes);
            }
            ak_buf_release(&bytes);
        }
    }
    ak_free(table);
}

static const void *floats_at(void *ctx, uint64_t row)
{
    const float *floats = ctx;
    return floats + row; /* rows overlap: the one after begins one float later */
}

TEST(writer, vectors_of_every_length_come_back_in_both_kinds_of_pages)
{
    enum { ROWS = 9, FLOATS = ROWS + 300 };
    static float floats[FLOATS];
    static float back[ROWS * 300];
    for (int i = 0; i < FLOATS; i++) {
        uint32_t bits = (uint32_t)i * 2654435761u;
        memcpy(&floats[i], &bits, sizeof bits);
    }
    for (uint32_t n = 1; n <= 300; n += n < 130 ? 1 : 17) {
        for (unsigned form = 0; form < 4; form++) {
            struct ak_buf bytes = {0};
            struct ak_str view;
            const struct ak_parquet_sink sink = {&bytes, to_buffer};
            const struct ak_parquet_column column = {
                .name = "v",
                .type = AK_PARQUET_FLOAT,
                .is_list = true,
                .dimension = n,
                .encoding = form & 1 ? AK_PARQUET_BYTE_STREAM_SPLIT : AK_PARQUET_PLAIN};
            const struct ak_parquet_write_options options = {.page_v2 = form & 2,
                                                             .page_bytes = (size_t)n * 4 * 4};
            const struct ak_parquet_values values = {.row = floats_at, .ctx = floats};
            struct ak_parquet_writer *writer = NULL;
            CHECK_OK(ak_parquet_create(&sink, &column, 1, &options, &writer, &err));
            CHECK_OK(ak_parquet_begin_group(writer, ROWS, &err));
            CHECK_OK(ak_parquet_put(writer, &values, &err));
            CHECK_OK(ak_parquet_end_group(writer, &err));
            CHECK_OK(ak_parquet_finish(writer, NULL, &err));
            struct ak_parquet_reader *reader = open_bytes(&bytes, &view);
            CHECK_OK(ak_parquet_read_vectors(reader, 0, 0, 0, ROWS, n, back, &err));
            for (size_t row = 0; row < ROWS; row++) {
                CHECK(memcmp(back + row * n, floats + row, n * sizeof(float)) == 0);
            }
            ak_parquet_close(reader);
            ak_buf_release(&bytes);
        }
    }
}

/* --- The level of zstd --- */

enum { MANY_ROWS = 1200, WIDE = 256 };

static const void *wide_row(void *ctx, uint64_t row)
{
    const float *floats = ctx;
    return floats + row * WIDE;
}

/* Bytes of the file of `floats`, which is read back; 0 when it could not be written. */
static size_t zstd_bytes(float *floats, int level, int64_t fail_at, struct ak_err *e)
{
    struct ak_buf bytes = {0};
    CHECK(ak_buf_reserve(&bytes, (size_t)2 << 20) != NULL);
    struct ak_str view;
    const struct ak_parquet_sink sink = {&bytes, to_buffer};
    const struct ak_parquet_column column = {.name = "v",
                                             .type = AK_PARQUET_FLOAT,
                                             .is_list = true,
                                             .dimension = WIDE,
                                             .encoding = AK_PARQUET_BYTE_STREAM_SPLIT};
    const struct ak_parquet_write_options options = {.codec = AK_CODEC_ZSTD, .level = level};
    const struct ak_parquet_values values = {.row = wide_row, .ctx = floats};
    struct ak_parquet_writer *writer = NULL;
    ak_fault_alloc_at(fail_at);
    enum ak_rc rc = ak_parquet_create(&sink, &column, 1, &options, &writer, e);
    rc = rc ? rc : ak_parquet_begin_group(writer, MANY_ROWS, e);
    rc = rc ? rc : ak_parquet_put(writer, &values, e);
    rc = rc ? rc : ak_parquet_end_group(writer, e);
    if (rc != AK_OK) {
        ak_parquet_abandon(writer);
    } else {
        rc = ak_parquet_finish(writer, NULL, e);
    }
    ak_fault_alloc_at(-1);
    size_t len = bytes.len;
    if (rc == AK_OK) {
        float *back = ak_alloc((size_t)MANY_ROWS * WIDE * sizeof *back);
        struct ak_parquet_reader *reader = open_bytes(&bytes, &view);
        CHECK_OK(ak_parquet_read_vectors(reader, 0, 0, 0, MANY_ROWS, WIDE, back, &err));
        CHECK(memcmp(back, floats, (size_t)MANY_ROWS * WIDE * sizeof *back) == 0);
        ak_parquet_close(reader);
        ak_free(back);
    }
    ak_buf_release(&bytes);
    return rc == AK_OK ? len : 0;
}

TEST(writer, the_search_for_repetition_is_left_out_only_where_nothing_repeats)
{
    float *floats = ak_alloc((size_t)MANY_ROWS * WIDE * sizeof *floats);
    struct ak_rand rand;
    ak_rand_seed(&rand, 9);
    for (size_t i = 0; i < (size_t)MANY_ROWS * WIDE; i++) {
        floats[i] = (float)ak_rand_normal(&rand);
    }
    size_t by_search = zstd_bytes(floats, 1, -1, &err);
    size_t chosen = zstd_bytes(floats, 0, -1, &err);
    CHECK(chosen != by_search && chosen < by_search + by_search / 100);
    /* One of the samples repeats: a row group has one level. */
    for (size_t i = (size_t)MANY_ROWS / 2 * WIDE; i < (size_t)MANY_ROWS * WIDE; i++) {
        floats[i] = floats[i % 1000];
    }
    by_search = zstd_bytes(floats, 1, -1, &err);
    CHECK_INT(zstd_bytes(floats, 0, -1, &err), by_search);
    ak_free(floats);
}

TEST(writer, without_memory_for_a_sample_it_fails_and_leaks_nothing)
{
    float *floats = ak_alloc((size_t)MANY_ROWS * WIDE * sizeof *floats);
    struct ak_rand rand;
    ak_rand_seed(&rand, 9);
    for (size_t i = 0; i < (size_t)MANY_ROWS * WIDE; i++) {
        floats[i] = (float)ak_rand_normal(&rand);
    }
    size_t whole = zstd_bytes(floats, 0, -1, &err);
    size_t len = 0;
    for (int n = 0; len == 0; n++) {
        struct ak_err e = {0};
        len = zstd_bytes(floats, 0, n, &e);
        CHECK(len == whole || (len == 0 && e.rc == AK_NOMEM));
        CHECK(n < 500);
    }
    ak_free(floats);
}

/* --- Bounds --- */

/* The statistics of one required column of `count` values in pages of two. */
static void check_bounds(struct ak_parquet_column column, const void *values, size_t count,
                         struct ak_str min, struct ak_str max, bool is_exact)
{
    struct ak_buf bytes = {0};
    struct ak_str view;
    const struct ak_parquet_sink sink = {&bytes, to_buffer};
    const struct ak_parquet_write_options options = {.page_bytes = 1};
    const struct ak_parquet_values put = {.fixed = values};
    struct ak_parquet_writer *writer = NULL;
    column.name = "bounded";
    CHECK_OK(ak_parquet_create(&sink, &column, 1, &options, &writer, &err));
    CHECK_OK(ak_parquet_begin_group(writer, count, &err));
    CHECK_OK(ak_parquet_put(writer, &put, &err));
    CHECK_OK(ak_parquet_end_group(writer, &err));
    CHECK_OK(ak_parquet_finish(writer, NULL, &err));
    struct ak_parquet_reader *reader = open_bytes(&bytes, &view);
    struct ak_parquet_statistics stats =
        ak_parquet_describe(reader)->groups[0].chunks[0].statistics;
    CHECK(stats.has_nulls && stats.null_count == 0);
    CHECK_INT(stats.has_bounds, max.p != NULL);
    if (max.p) {
        CHECK(ak_str_eq(stats.min, min));
        CHECK(ak_str_eq(stats.max, max));
        CHECK_INT(stats.min_is_exact, is_exact);
        CHECK_INT(stats.max_is_exact, is_exact);
    }
    ak_parquet_close(reader);
    ak_buf_release(&bytes);
}

static void check_text(enum ak_parquet_annotation annotation, const char *text, const char *min,
                       const char *max)
{
    const struct ak_parquet_column column = {.type = AK_PARQUET_BYTE_ARRAY,
                                             .meaning = {.annotation = annotation}};
    const struct ak_str values[2] = {ak_str_of(text), ak_str_of(text)};
    struct ak_str high = max ? ak_str_of(max) : AK_STR_NONE;
    check_bounds(column, values, 2, ak_str_of(min), high, strlen(text) <= 64);
}

#define TEN(s) s s s s s s s s s s
#define SIXTY(s) TEN(s) TEN(s) TEN(s) TEN(s) TEN(s) TEN(s)

TEST(writer, bounds_of_long_text_are_cut_by_whole_characters)
{
    const enum ak_parquet_annotation utf8 = AK_PARQUET_STRING;
    const enum ak_parquet_annotation none = AK_PARQUET_PLAIN_VALUE;
    check_text(utf8, "short", "short", "short");
    check_text(utf8, SIXTY("a") "bcdefgh", SIXTY("a") "bcde", SIXTY("a") "bcdf");
    /* U+00E9 across the cut; DEL is the last of ASCII; U+07FF the last of two bytes. */
    check_text(utf8, SIXTY("a") "bcd\xc3\xa9xyz", SIXTY("a") "bcd", SIXTY("a") "bce");
    check_text(utf8, SIXTY("a") "bc\x7f\x7fxyz", SIXTY("a") "bc\x7f\x7f", SIXTY("a") "bd");
    check_text(utf8, SIXTY("a") "bc\xdf\xbfxyz", SIXTY("a") "bc\xdf\xbf", SIXTY("a") "bd");
    check_text(utf8, SIXTY("a") "bc\xc3\xa9xyz", SIXTY("a") "bc\xc3\xa9", SIXTY("a") "bc\xc3\xaa");
    check_text(none, SIXTY("a") "bc\xdf\xffxyz", SIXTY("a") "bc\xdf\xff", SIXTY("a") "bc\xe0");
    /* U+10FFFF alone: nothing of that length is greater. */
    check_text(utf8, SIXTY("\xf4\x8f\xbf\xbf"), NULL, NULL);
    check_text(none, SIXTY("\xff") TEN("\xff"), NULL, NULL);
}

TEST(writer, a_page_without_an_upper_bound_leaves_the_chunk_without_one)
{
    const struct ak_parquet_column column = {.type = AK_PARQUET_BYTE_ARRAY};
    const struct ak_str values[3] = {AK_STR("a"), AK_STR(SIXTY("\xff") TEN("\xff")), AK_STR("b")};
    check_bounds(column, values, 3, AK_STR_NONE, AK_STR_NONE, true);
}

TEST(writer, bounds_of_numbers_follow_the_order_of_their_type)
{
    const double zeros[4] = {(double)NAN, 0.0, -0.0, 0.0};
    const double nans[2] = {(double)NAN, (double)NAN};
    const double low = -0.0;
    const double high = 0.0;
    const int32_t signs[3] = {-1, 5, -7};
    const struct ak_parquet_column real = {.type = AK_PARQUET_DOUBLE};
    const struct ak_parquet_column integer = {.type = AK_PARQUET_INT32};
    const struct ak_parquet_column natural = {
        .type = AK_PARQUET_INT32, .meaning = {.annotation = AK_PARQUET_INTEGER, .bits = 32}};
#define OF(x) ((struct ak_str){(const char *)&(x), sizeof(x)})
    check_bounds(real, zeros, 4, OF(low), OF(high), true);
    check_bounds(real, zeros + 1, 1, OF(low), OF(high), true);
    check_bounds(real, nans, 2, AK_STR_NONE, AK_STR_NONE, true);
    check_bounds(integer, signs, 3, OF(signs[2]), OF(signs[1]), true);
    check_bounds(natural, signs, 3, OF(signs[1]), OF(signs[0]), true);
}

TEST(writer, bytes_whose_order_is_another_have_no_bounds)
{
    const struct ak_parquet_column decimal = {
        .type = AK_PARQUET_BYTE_ARRAY,
        .meaning = {.annotation = AK_PARQUET_DECIMAL, .precision = 5, .scale = 2}};
    const struct ak_parquet_column uuid = {.type = AK_PARQUET_FIXED, .fixed_len = 4};
    const struct ak_str values[2] = {AK_STR("abcd"), AK_STR("\xff"
                                                            "bcd")};
    check_bounds(decimal, values, 2, AK_STR_NONE, AK_STR_NONE, true);
    check_bounds(uuid, values, 2, AK_STR_NONE, AK_STR_NONE, true);
}

/* --- A file of version 2.0.0 --- */

enum { GOLDEN_ROWS = 120, GOLDEN_DIMENSION = 12 };
static const char golden_path[] = "tests/golden/parquet-v1.parquet";

static const void *golden_vector(void *ctx, uint64_t row)
{
    static float room[GOLDEN_ROWS][GOLDEN_DIMENSION];
    (void)ctx;
    for (int i = 0; i < GOLDEN_DIMENSION; i++) {
        room[row][i] = (float)((int)(row * 31) % 17 - 8) * 0.125f + (float)i;
    }
    return room[row];
}

static void write_golden(struct ak_buf *out)
{
    static const struct ak_parquet_meaning text = {.annotation = AK_PARQUET_STRING};
    const struct ak_parquet_column columns[] = {
        {.name = "document_id", .type = AK_PARQUET_BYTE_ARRAY, .meaning = text},
        {.name = "external_id",
         .type = AK_PARQUET_BYTE_ARRAY,
         .meaning = text,
         .is_optional = true},
        {.name = "vector",
         .type = AK_PARQUET_FLOAT,
         .is_list = true,
         .dimension = GOLDEN_DIMENSION,
         .encoding = AK_PARQUET_BYTE_STREAM_SPLIT},
        {.name = "metadata",
         .type = AK_PARQUET_BYTE_ARRAY,
         .meaning = {.annotation = AK_PARQUET_JSON},
         .is_optional = true},
        {.name = "inserted_at",
         .type = AK_PARQUET_INT64,
         .meaning = {
             .annotation = AK_PARQUET_TIMESTAMP, .unit = AK_PARQUET_MICROS, .is_utc = true}}};
    static char room[2][GOLDEN_ROWS][48];
    struct ak_str ids[GOLDEN_ROWS];
    struct ak_str bodies[GOLDEN_ROWS];
    int64_t times[GOLDEN_ROWS];
    uint8_t valid[GOLDEN_ROWS];
    for (int i = 0; i < GOLDEN_ROWS; i++) {
        int len = snprintf(room[0][i], sizeof room[0][i], "01937a2b-0000-7000-8000-%012d", i);
        ids[i] = (struct ak_str){room[0][i], (size_t)len};
        len = snprintf(room[1][i], sizeof room[1][i], "{\"n\":%d}", i);
        bodies[i] = (struct ak_str){room[1][i], (size_t)len};
        times[i] = INT64_C(1764000000000000) + i;
        valid[i] = i % 3 != 1;
    }
    const struct ak_parquet_sink sink = {out, to_buffer};
    const struct ak_parquet_write_options options = {.page_bytes = 2000,
                                                     .created_by = "akidb version 2.0.0"};
    struct ak_parquet_writer *writer = NULL;
    struct ak_buf schema = {0};
    CHECK_OK(ak_parquet_create(&sink, columns, 5, &options, &writer, &err));
    ak_parquet_arrow_documents(GOLDEN_DIMENSION, &schema);
    CHECK_OK(
        ak_parquet_add_metadata(writer, AK_STR(AK_PARQUET_ARROW_KEY), ak_buf_str(&schema), &err));
    ak_buf_release(&schema);
    CHECK_OK(ak_parquet_add_metadata(writer, AK_STR("akidb.dim"), AK_STR("12"), &err));
    CHECK_OK(ak_parquet_begin_group(writer, GOLDEN_ROWS, &err));
    CHECK_OK(ak_parquet_put(writer, &(struct ak_parquet_values){.bytes = ids}, &err));
    CHECK_OK(
        ak_parquet_put(writer, &(struct ak_parquet_values){.bytes = ids, .valid = valid}, &err));
    CHECK_OK(ak_parquet_put(writer, &(struct ak_parquet_values){.row = golden_vector}, &err));
    CHECK_OK(
        ak_parquet_put(writer, &(struct ak_parquet_values){.bytes = bodies, .valid = valid}, &err));
    CHECK_OK(ak_parquet_put(writer, &(struct ak_parquet_values){.fixed = times}, &err));
    CHECK_OK(ak_parquet_end_group(writer, &err));
    CHECK_OK(ak_parquet_finish(writer, NULL, &err));
}

/* AKIDB_WRITE_GOLDEN=1 makes it; once released it stays as it is. */
TEST(writer, the_golden_file_opens_for_ever_and_is_written_alike_on_every_processor)
{
    static float back[GOLDEN_ROWS * GOLDEN_DIMENSION];
    struct ak_buf now = {0};
    struct ak_buf then = {0};
    struct ak_str view;
    struct ak_str value;
    write_golden(&now);
    if (getenv("AKIDB_WRITE_GOLDEN")) {
        CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), golden_path, ak_buf_str(&now), &err));
    }
    CHECK_OK(ak_fs_read_all(ak_fs_posix(), golden_path, 1 << 20, &then, &err));
    struct ak_parquet_reader *reader = open_bytes(&then, &view);
    const struct ak_parquet_description *file = ak_parquet_describe(reader);
    CHECK_INT(file->rows, GOLDEN_ROWS);
    CHECK(ak_parquet_find_metadata(reader, AK_STR("akidb.dim"), &value));
    CHECK(ak_str_eq(value, AK_STR("12")));
    int leaf = ak_parquet_find_leaf(reader, AK_STR("vector"));
    CHECK_OK(ak_parquet_read_vectors(reader, 0, (size_t)leaf, 0, GOLDEN_ROWS, GOLDEN_DIMENSION,
                                     back, &err));
    for (uint64_t row = 0; row < GOLDEN_ROWS; row++) {
        CHECK(memcmp(back + row * GOLDEN_DIMENSION, golden_vector(NULL, row),
                     GOLDEN_DIMENSION * sizeof(float)) == 0);
    }
    ak_parquet_close(reader);
    CHECK_INT(now.len, then.len);
    CHECK(memcmp(now.p, then.p, now.len) == 0);
    ak_buf_release(&now);
    ak_buf_release(&then);
}

TEST_MAIN()
