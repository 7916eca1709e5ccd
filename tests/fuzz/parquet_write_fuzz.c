/* fuzz: links parquet */
/* parquet_write_fuzz.c — any columns, options and rows: refused as AK_INVALID, or written so that
 * what is read back is what was given, byte for byte.
 *
 * byte 0: codec · 1: flags · 2: bytes of a page · 3: columns · then four bytes a column (type,
 * encoding, flags, length), then for each row group its rows and its values. Bytes that are missing
 * count as zero.
 */
#include "fuzz.h"
#include "parquet/reader.h"
#include "parquet/writer.h"
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 4u
#define GROUPS_MAX 3u
#define ROWS_MAX 80u
#define DIMENSION_MAX 40u
#define FILE_MAX ((size_t)8 << 20)

struct input {
    const uint8_t *p, *end;
};

struct column_data { /* one column of one row group */
    struct ak_parquet_column column;
    uint64_t rows;
    size_t width;       /* bytes of a value; 0: strings */
    char *fixed;        /* rows · width, of lists rows · dimension · width */
    struct ak_str *str; /* rows */
    uint8_t *valid;     /* rows, or NULL */
};

static uint8_t take(struct input *in)
{
    return in->p < in->end ? *in->p++ : 0;
}

static void *room(size_t len)
{
    void *p = calloc(1, len + 1);
    AK_ASSERT(p);
    return p;
}

/* --- What is written --- */

static const char *const names[COLUMNS_MAX] = {"a", "b", "c", "d"};

static struct ak_parquet_column take_column(struct input *in, unsigned number)
{
    struct ak_parquet_column column = {.name = names[number]};
    column.type = (enum ak_parquet_type)(take(in) % 8);
    column.encoding = (enum ak_parquet_encoding)(take(in) % 10);
    unsigned flags = take(in);
    unsigned length = take(in);
    column.is_optional = flags & 1;
    column.is_list = flags & 2;
    column.has_dictionary = flags & 4;
    column.dimension = column.is_list ? length % (DIMENSION_MAX + 1) : 0;
    column.fixed_len = column.type == AK_PARQUET_FIXED ? length % 20 : 0;
    return column;
}

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

static void take_string(struct input *in, struct column_data *data, size_t row)
{
    size_t len = data->column.type == AK_PARQUET_FIXED ? data->column.fixed_len : take(in);
    char *bytes = room(len);
    size_t left = (size_t)(in->end - in->p);
    memcpy(bytes, in->p, len < left ? len : left);
    in->p += len < left ? len : left;
    data->str[row] = (struct ak_str){bytes, len};
}

static void take_values(struct input *in, struct column_data *data)
{
    size_t each = data->column.is_list ? data->column.dimension : 1;
    bool is_bool = data->column.type == AK_PARQUET_BOOLEAN;
    data->width = width_of(data->column.type);
    data->fixed = room(data->rows * each * data->width);
    data->str = room(data->rows * sizeof *data->str);
    data->valid = data->column.is_optional ? room(data->rows) : NULL;
    for (size_t row = 0; row < data->rows; row++) {
        if (data->valid) {
            data->valid[row] = take(in) & 1;
        }
        if (data->width == 0) {
            take_string(in, data, row);
            continue;
        }
        for (size_t i = 0; i < each * data->width; i++) {
            uint8_t byte = take(in);
            data->fixed[row * each * data->width + i] = (char)(is_bool ? byte & 1 : byte);
        }
    }
}

static void release(struct column_data *data)
{
    for (size_t row = 0; data->width == 0 && row < data->rows; row++) {
        union {
            const char *in;
            void *out;
        } bytes = {.in = data->str[row].p};
        free(bytes.out);
    }
    free(data->fixed);
    free(data->str);
    free(data->valid);
}

static const void *row_of(void *ctx, uint64_t row)
{
    const struct column_data *data = ctx;
    return data->fixed + row * data->column.dimension * data->width;
}

static enum ak_rc add(void *ctx, const void *p, size_t len, struct ak_err *err)
{
    struct ak_buf *file = ctx;
    ak_buf_add(file, p, len);
    return ak_buf_check(file, err);
}

static enum ak_rc put_group(struct ak_parquet_writer *writer, struct column_data *columns,
                            unsigned count, struct ak_err *err)
{
    enum ak_rc rc = ak_parquet_begin_group(writer, columns[0].rows, err);
    for (unsigned i = 0; i < count && rc == AK_OK; i++) {
        struct column_data *data = &columns[i];
        struct ak_parquet_values values = {.valid = data->valid};
        if (data->column.is_list) {
            values.row = row_of;
            values.ctx = data;
        } else if (data->width) {
            values.fixed = data->fixed;
        } else {
            values.bytes = data->str;
        }
        rc = ak_parquet_put(writer, &values, err);
    }
    return rc == AK_OK ? ak_parquet_end_group(writer, err) : rc;
}

/* --- What is read --- */

static void compare_batch(const struct column_data *data, const struct ak_parquet_batch *batch)
{
    size_t each = data->column.is_list ? data->column.dimension : 1;
    for (size_t i = 0; i < batch->rows; i++) {
        size_t row = (size_t)batch->first_row + i;
        size_t from = batch->value_at[i];
        bool is_null = data->valid && !data->valid[row];
        AK_ASSERT(batch->value_at[i + 1] - from == (is_null ? 0 : each));
        if (is_null) {
            continue;
        }
        if (data->width == 0) {
            AK_ASSERT(ak_str_eq(batch->bytes[from], data->str[row]));
        } else {
            AK_ASSERT(memcmp(batch->bools + from * data->width,
                             data->fixed + row * each * data->width, each * data->width) == 0);
        }
    }
}

static void compare(const struct ak_parquet_reader *reader, size_t group, size_t leaf,
                    const struct column_data *data)
{
    const struct ak_parquet_chunk *chunk = &ak_parquet_describe(reader)->groups[group].chunks[leaf];
    struct ak_parquet_cursor *cursor = NULL;
    struct ak_parquet_batch batch;
    uint64_t rows = 0;
    uint64_t nulls = 0;
    enum ak_rc rc = ak_parquet_cursor_open(reader, group, leaf, 0, data->rows, &cursor, NULL);
    AK_ASSERT(rc == AK_OK);
    do {
        rc = ak_parquet_next(cursor, 7, &batch, NULL);
        AK_ASSERT(rc == AK_OK);
        compare_batch(data, &batch);
        rows += batch.rows;
    } while (batch.rows > 0);
    ak_parquet_cursor_close(cursor);
    AK_ASSERT(rows == data->rows);
    for (size_t i = 0; data->valid && i < data->rows; i++) {
        nulls += !data->valid[i];
    }
    AK_ASSERT(!chunk->statistics.has_nulls || chunk->statistics.null_count == nulls);
}

static void read_back(struct ak_str bytes, struct column_data columns[][COLUMNS_MAX],
                      unsigned groups, unsigned count)
{
    const struct ak_parquet_source source = ak_parquet_source_memory(&bytes, "fuzz");
    const struct ak_parquet_read_options options = {.require_crc = true, .check_index = true};
    struct ak_parquet_reader *reader = NULL;
    struct ak_parquet_report report;
    enum ak_rc rc = ak_parquet_open(&source, &options, &reader, NULL);
    AK_ASSERT(rc == AK_OK);
    const struct ak_parquet_description *about = ak_parquet_describe(reader);
    AK_ASSERT(about->group_count == groups && about->leaf_count == count);
    rc = ak_parquet_verify(reader, &report, NULL);
    AK_ASSERT(rc == AK_OK);
    for (size_t g = 0; g < groups; g++) {
        AK_ASSERT(about->groups[g].rows == columns[g][0].rows);
        for (size_t c = 0; c < count; c++) {
            compare(reader, g, c, &columns[g][c]);
        }
    }
    ak_parquet_close(reader);
}

/* --- One input --- */

static enum ak_rc write_groups(struct ak_parquet_writer *writer,
                               struct column_data columns[][COLUMNS_MAX], unsigned groups,
                               unsigned count)
{
    enum ak_rc rc = AK_OK;
    for (unsigned g = 0; g < groups && rc == AK_OK; g++) {
        rc = put_group(writer, columns[g], count, NULL);
    }
    if (rc != AK_OK) {
        ak_parquet_abandon(writer);
        return rc;
    }
    return ak_parquet_finish(writer, NULL, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    struct ak_parquet_write_options options = {.codec =
                                                   (enum ak_codec)(take(&in) % AK_CODEC_COUNT)};
    struct ak_parquet_column columns[COLUMNS_MAX];
    struct column_data groups_data[GROUPS_MAX][COLUMNS_MAX];
    struct ak_parquet_writer *writer = NULL;
    struct ak_buf file;
    unsigned flags = take(&in);
    options.page_v2 = flags & 1;
    options.no_page_index = flags & 2;
    options.page_bytes = 1 + (size_t)take(&in) * 8;
    unsigned count = 1 + take(&in) % COLUMNS_MAX;
    unsigned groups = 1 + (flags >> 2) % GROUPS_MAX;
    for (unsigned i = 0; i < count; i++) {
        columns[i] = take_column(&in, i);
    }
    ak_buf_init(&file, FILE_MAX);
    const struct ak_parquet_sink sink = {&file, add};
    enum ak_rc rc = ak_parquet_create(&sink, columns, count, &options, &writer, NULL);
    AK_ASSERT(rc == AK_OK || rc == AK_INVALID);
    if (rc == AK_OK) {
        for (unsigned g = 0; g < groups; g++) {
            uint64_t rows = 1 + take(&in) % ROWS_MAX;
            for (unsigned i = 0; i < count; i++) {
                groups_data[g][i] = (struct column_data){.column = columns[i], .rows = rows};
                take_values(&in, &groups_data[g][i]);
            }
        }
        rc = write_groups(writer, groups_data, groups, count);
        AK_ASSERT(rc == AK_OK);
        read_back(ak_buf_str(&file), groups_data, groups, count);
        for (unsigned g = 0; g < groups; g++) {
            for (unsigned i = 0; i < count; i++) {
                release(&groups_data[g][i]);
            }
        }
    }
    ak_buf_release(&file);
    return 0;
}
