/* parquet_tool.c — writes Parquet files that other readers are to read: made-up rows from a seed.
 *
 *   parquet_tool FILE ROWS DIMENSION CODEC ENCODING VERSION NULLS THREADS PAGE_BYTES [documents]
 *
 * CODEC none|snappy|zstd|lz4|gzip; ENCODING split|plain|dict|q8|bf16 of the vectors; VERSION 1|2 of
 * the pages; NULLS none|some|all of the optional columns. The table has the five columns of a
 * snapshot and, but for `documents` (which names its Arrow schema instead), one of every other kind
 * that the writer knows; tests/integration/test_parquet_write.py says what their values are. Beside
 * FILE, FILE.f32 gets the vectors as they must come back.
 */
#include "base/file.h"
#include "base/mem.h"
#include "base/rand.h"
#include "parquet/quantise.h"
#include "parquet/writer.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUP_ROWS 1000u
#define TEXT 96u

struct tool {
    uint64_t rows;
    uint32_t dimension;
    const char *nulls;
    bool is_documents;
    float *vectors;
    uint8_t *valid;
    char (*room)[TEXT]; /* of one column of one row group, as are `texts` and `numbers` */
    struct ak_str *texts;
    union {
        int64_t i64;
        int32_t i32;
        float f32;
        double f64;
    } * numbers;
    uint64_t group_at, group_rows;
    struct ak_parquet_writer *writer;
};

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "parquet_tool: %s\n", what);
    exit(1);
}

#define CHECKED(call)                                                                              \
    do {                                                                                           \
        if ((call) != AK_OK) {                                                                     \
            die(err.text);                                                                         \
        }                                                                                          \
    } while (0)

static enum ak_rc to_file(void *ctx, const void *p, size_t len, struct ak_err *err)
{
    return fwrite(p, 1, len, ctx) == len ? AK_OK : ak_fail(err, AK_IO, "write");
}

static const void *vector_of(void *ctx, uint64_t row)
{
    const struct tool *tool = ctx;
    return tool->vectors + (tool->group_at + row) * tool->dimension;
}

/* --- Vectors --- */

/* Each row group has a book of its own. */
static void make_coarse(struct tool *tool, bool is_q8)
{
    double error = 0;
    for (uint64_t at = 0; at < tool->rows; at += GROUP_ROWS) {
        uint64_t rows = tool->rows - at < GROUP_ROWS ? tool->rows - at : GROUP_ROWS;
        float *floats = tool->vectors + at * tool->dimension;
        size_t n = (size_t)rows * tool->dimension;
        static struct ak_codebook_range range;
        struct ak_codebook book;
        if (!is_q8) {
            ak_bf16_round(floats, floats, n, &error);
            continue;
        }
        range = (struct ak_codebook_range){0};
        ak_codebook_look(&range, floats, n);
        ak_codebook_make(&range, &book);
        ak_codebook_round(&book, floats, floats, n, &error);
    }
}

static void make_vectors(struct tool *tool, const char *encoding)
{
    static const uint32_t odd[] = {
        0x80000000u, 0x00000001u, 0x807fffffu, 0x7f7fffffu, 0x7f800000u,
        0xff800000u, 0x7fc12345u, 0xffa54321u, /* -0, denormals, the largest, infinities, NaNs with
                                                  payloads */
    };
    struct ak_rand rand;
    size_t n = (size_t)tool->rows * tool->dimension;
    bool is_coarse = strcmp(encoding, "bf16") == 0 || strcmp(encoding, "q8") == 0;
    ak_rand_seed(&rand, 7);
    tool->vectors = ak_alloc((n + 1) * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        tool->vectors[i] = (float)ak_rand_normal(&rand) * 0.05f;
    }
    for (size_t i = 0; i < sizeof odd / sizeof odd[0] && i < n && !is_coarse; i++) {
        memcpy(&tool->vectors[i * 7 % n], &odd[i], sizeof odd[i]);
    }
    if (is_coarse) {
        make_coarse(tool, encoding[0] == 'q');
    }
}

/* --- Putting columns; `i` is the row's number in the file --- */

static const uint8_t *valid_of(const struct tool *tool, bool optional)
{
    return optional ? tool->valid + tool->group_at : NULL;
}

/* Texts by a printf form with one unsigned long long: the number, or its rest by `modulo`. */
static void put_text(struct tool *tool, const char *before, const char *after, unsigned modulo,
                     bool optional)
{
    struct ak_err err;
    for (uint64_t r = 0; r < tool->group_rows; r++) {
        uint64_t i = tool->group_at + r;
        int len = snprintf(tool->room[r], TEXT, "%s%llu%s", before,
                           (unsigned long long)(modulo ? i % modulo : i), after);
        tool->texts[r] = (struct ak_str){tool->room[r], (size_t)len};
    }
    CHECKED(ak_parquet_put(
        tool->writer,
        &(struct ak_parquet_values){.bytes = tool->texts, .valid = valid_of(tool, optional)},
        &err));
}

static void put_bytes(struct tool *tool, bool is_uuid)
{
    struct ak_err err;
    for (uint64_t r = 0; r < tool->group_rows; r++) {
        uint64_t i = tool->group_at + r;
        const uint8_t uuid[16] = {[6] = 0x70,
                                  [8] = 0x80,
                                  [13] = (uint8_t)(i >> 16),
                                  [14] = (uint8_t)(i >> 8),
                                  [15] = (uint8_t)i};
        const uint8_t blob[3] = {(uint8_t)i, 0xff, 0xfe};
        memcpy(tool->room[r], is_uuid ? uuid : blob, is_uuid ? sizeof uuid : sizeof blob);
        tool->texts[r] = (struct ak_str){tool->room[r], is_uuid ? sizeof uuid : sizeof blob};
    }
    CHECKED(ak_parquet_put(tool->writer, &(struct ak_parquet_values){.bytes = tool->texts}, &err));
}

enum number { TIME, DAY, FLAG, REAL, DOUBLE, COUNTER, CODE };

static void put_number(struct tool *tool, enum number which, const uint8_t *valid)
{
    struct ak_err err;
    int64_t *i64 = &tool->numbers[0].i64;
    int32_t *i32 = &tool->numbers[0].i32;
    float *f32 = &tool->numbers[0].f32;
    double *f64 = &tool->numbers[0].f64;
    uint8_t *u8 = (uint8_t *)tool->numbers;
    for (uint64_t r = 0; r < tool->group_rows; r++) {
        int64_t i = (int64_t)(tool->group_at + r);
        switch (which) {
        case TIME:
            i64[r] = INT64_C(1700000000000000) + i * 1000003 - i % 5 * 77777777;
            break;
        case DAY:
            i32[r] = 20000 + (int32_t)(i / 100) - (int32_t)(i % 3);
            break;
        case FLAG:
            u8[r] = i % 3 == 0;
            break;
        case REAL:
            f32[r] = i % 5 == 0 ? -0.0f : i % 5 == 1 ? 0.0f : i % 13 == 7 ? NAN : (float)i * 0.5f;
            break;
        case DOUBLE:
            f64[r] = i % 11 == 5 ? (double)NAN : (double)i * 0.25 - 3;
            break;
        case COUNTER:
            i32[r] = (int32_t)(0x7fffff00u + (uint32_t)i);
            break;
        case CODE:
            i32[r] = (int32_t)i - 500;
            break;
        }
    }
    CHECKED(ak_parquet_put(
        tool->writer, &(struct ak_parquet_values){.fixed = tool->numbers, .valid = valid}, &err));
}

static void put_group(struct tool *tool)
{
    static const char long_text[] =
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "\xc3\xa9";
    struct ak_err err;
    const uint8_t *valid = tool->valid + tool->group_at;
    static const uint8_t none[GROUP_ROWS];
    put_text(tool, "00000000-0000-7000-8000-", "", 0, false);
    put_text(tool, "doc-", "", 0, true);
    CHECKED(ak_parquet_put(tool->writer, &(struct ak_parquet_values){.row = vector_of, .ctx = tool},
                           &err));
    put_text(tool, "{\"n\":", "}", 0, true);
    put_number(tool, TIME, NULL);
    if (tool->is_documents) {
        return;
    }
    put_text(tool, "kind-", "", 5, true);
    put_text(tool, "delta-", "", 0, false);
    put_text(tool, "length-", "", 1013, true);
    put_number(tool, TIME, valid);
    put_number(tool, DAY, NULL);
    put_number(tool, DOUBLE, valid);
    put_number(tool, FLAG, NULL);
    put_number(tool, FLAG, valid);
    put_number(tool, DAY, valid);
    put_number(tool, REAL, valid);
    put_bytes(tool, true);
    put_bytes(tool, false);
    put_text(tool, long_text, "", 0, false);
    put_number(tool, COUNTER, NULL);
    put_number(tool, CODE, NULL);
    put_number(tool, TIME, none);
}

static void make_columns(const struct tool *tool, const char *encoding,
                         struct ak_parquet_column *out, size_t *count)
{
    bool is_split = strcmp(encoding, "split") == 0 || strcmp(encoding, "bf16") == 0;
    bool has_dictionary = strcmp(encoding, "q8") == 0 || strcmp(encoding, "dict") == 0;
    const struct ak_parquet_meaning text = {.annotation = AK_PARQUET_STRING};
    const struct ak_parquet_meaning utc = {
        .annotation = AK_PARQUET_TIMESTAMP, .unit = AK_PARQUET_MICROS, .is_utc = true};
    const struct ak_parquet_meaning local = {.annotation = AK_PARQUET_TIMESTAMP,
                                             .unit = AK_PARQUET_MICROS};
    const struct ak_parquet_meaning u32 = {.annotation = AK_PARQUET_INTEGER, .bits = 32};
    const struct ak_parquet_meaning i16 = {
        .annotation = AK_PARQUET_INTEGER, .bits = 16, .is_signed = true};
    const enum ak_parquet_type bytes = AK_PARQUET_BYTE_ARRAY;
    const enum ak_parquet_type i32 = AK_PARQUET_INT32;
    const enum ak_parquet_type i64 = AK_PARQUET_INT64;
    const struct ak_parquet_column columns[] = {
        {.name = "document_id", .type = bytes, .meaning = text},
        {.name = "external_id", .type = bytes, .meaning = text, .is_optional = true},
        {.name = "vector",
         .type = AK_PARQUET_FLOAT,
         .is_list = true,
         .dimension = tool->dimension,
         .encoding = is_split ? AK_PARQUET_BYTE_STREAM_SPLIT : AK_PARQUET_PLAIN,
         .has_dictionary = has_dictionary},
        {.name = "metadata",
         .type = bytes,
         .meaning = {.annotation = AK_PARQUET_JSON},
         .is_optional = true},
        {.name = "inserted_at", .type = i64, .meaning = utc},
        {.name = "kind",
         .type = bytes,
         .meaning = text,
         .is_optional = true,
         .has_dictionary = true},
        {.name = "delta", .type = bytes, .meaning = text, .encoding = AK_PARQUET_DELTA_BYTE_ARRAY},
        {.name = "lengths",
         .type = bytes,
         .meaning = text,
         .is_optional = true,
         .encoding = AK_PARQUET_DELTA_LENGTH_BYTE_ARRAY},
        {.name = "local_time",
         .type = i64,
         .meaning = local,
         .is_optional = true,
         .encoding = AK_PARQUET_DELTA_BINARY_PACKED},
        {.name = "day",
         .type = i32,
         .meaning = {.annotation = AK_PARQUET_DATE},
         .encoding = AK_PARQUET_DELTA_BINARY_PACKED},
        {.name = "number",
         .type = AK_PARQUET_DOUBLE,
         .is_optional = true,
         .encoding = AK_PARQUET_BYTE_STREAM_SPLIT},
        {.name = "flag", .type = AK_PARQUET_BOOLEAN, .encoding = AK_PARQUET_RLE},
        {.name = "plain_flag", .type = AK_PARQUET_BOOLEAN, .is_optional = true},
        {.name = "plain_int", .type = i32, .is_optional = true, .has_dictionary = true},
        {.name = "real", .type = AK_PARQUET_FLOAT, .is_optional = true},
        {.name = "uuid",
         .type = AK_PARQUET_FIXED,
         .fixed_len = 16,
         .meaning = {.annotation = AK_PARQUET_UUID}},
        {.name = "blob", .type = bytes},
        {.name = "long_text", .type = bytes, .meaning = text},
        {.name = "counter", .type = i32, .meaning = u32},
        {.name = "code", .type = i32, .meaning = i16},
        {.name = "nothing", .type = i64, .is_optional = true},
    };
    *count = tool->is_documents ? 5 : sizeof columns / sizeof columns[0];
    memcpy(out, columns, *count * sizeof columns[0]);
}

static void make_room(struct tool *tool)
{
    tool->valid = ak_zalloc(tool->rows + 1);
    for (uint64_t i = 0; i < tool->rows; i++) {
        tool->valid[i] = strcmp(tool->nulls, "none") == 0 ||
                         (strcmp(tool->nulls, "some") == 0 && i % 7 != 3 && i / 50 % 3 != 1);
    }
    tool->room = ak_alloc(GROUP_ROWS * sizeof *tool->room);
    tool->texts = ak_alloc(GROUP_ROWS * sizeof *tool->texts);
    tool->numbers = ak_alloc(GROUP_ROWS * sizeof *tool->numbers);
}

static void write_groups(struct tool *tool)
{
    struct ak_err err;
    for (uint64_t at = 0; at < tool->rows; at += GROUP_ROWS) {
        tool->group_at = at;
        tool->group_rows = tool->rows - at < GROUP_ROWS ? tool->rows - at : GROUP_ROWS;
        CHECKED(ak_parquet_begin_group(tool->writer, tool->group_rows, &err));
        put_group(tool);
        CHECKED(ak_parquet_end_group(tool->writer, &err));
    }
}

static void put_metadata(struct tool *tool)
{
    struct ak_err err;
    CHECKED(ak_parquet_add_metadata(tool->writer, AK_STR("akidb.test"), AK_STR("a value"), &err));
    CHECKED(ak_parquet_add_metadata(tool->writer, AK_STR("akidb.empty"), AK_STR(""), &err));
    CHECKED(ak_parquet_add_metadata(tool->writer, AK_STR("akidb.\xc3\xa9"),
                                    AK_STR("\xe2\x82\xac \"quoted\"\n"), &err));
    if (tool->is_documents) {
        struct ak_buf schema = {0};
        ak_parquet_arrow_documents(tool->dimension, &schema);
        CHECKED(ak_parquet_add_metadata(tool->writer, AK_STR(AK_PARQUET_ARROW_KEY),
                                        ak_buf_str(&schema), &err));
        ak_buf_release(&schema);
    }
}

static void write_vectors(const struct tool *tool, const char *path)
{
    char beside[4096];
    (void)snprintf(beside, sizeof beside, "%s.f32", path);
    FILE *raw = fopen(beside, "wb");
    size_t floats = (size_t)tool->rows * tool->dimension;
    if (!raw || fwrite(tool->vectors, sizeof(float), floats, raw) != floats || fclose(raw) != 0) {
        die("cannot write the vectors");
    }
}

int main(int argc, char **argv)
{
    struct ak_err err;
    struct tool tool = {0};
    struct ak_pool *pool = NULL;
    struct ak_parquet_write_options options = {0};
    struct ak_parquet_column columns[32];
    struct ak_parquet_summary summary;
    size_t count = 0;
    if (argc != 10 && argc != 11) {
        die("FILE ROWS DIMENSION CODEC ENCODING VERSION NULLS THREADS PAGE_BYTES [documents]");
    }
    const struct ak_pool_options threads = {.name = "pages",
                                            .threads = (unsigned)strtoul(argv[8], NULL, 10)};
    tool.rows = strtoull(argv[2], NULL, 10);
    tool.dimension = (uint32_t)strtoul(argv[3], NULL, 10);
    tool.nulls = argv[7];
    tool.is_documents = argc == 11;
    if (!ak_codec_parse(ak_str_of(argv[4]), &options.codec)) {
        die("CODEC");
    }
    options.page_v2 = argv[6][0] == '2';
    options.page_bytes = (size_t)strtoul(argv[9], NULL, 10);
    if (threads.threads > 1) {
        CHECKED(ak_pool_open(&threads, &pool, &err));
    }
    options.pool = pool;
    make_vectors(&tool, argv[5]);
    make_columns(&tool, argv[5], columns, &count);
    make_room(&tool);
    FILE *out = fopen(argv[1], "wb");
    if (!out) {
        die("cannot create the file");
    }
    const struct ak_parquet_sink sink = {out, to_file};
    CHECKED(ak_parquet_create(&sink, columns, count, &options, &tool.writer, &err));
    put_metadata(&tool);
    write_groups(&tool);
    CHECKED(ak_parquet_finish(tool.writer, &summary, &err));
    if (fclose(out) != 0) {
        die("cannot close the file");
    }
    write_vectors(&tool, argv[1]);
    ak_pool_close(pool);
    (void)printf("%llu\n", (unsigned long long)summary.bytes);
    return 0;
}
