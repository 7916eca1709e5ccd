/* show_parquet.c — the rows of an exported day, one by one, out of columns that come in batches of
 * their own lengths. */
#include "base/mem.h"
#include "parquet/reader.h"
#include "perf/show_priv.h"

struct column {
    struct ak_parquet_cursor *cursor; /* NULL: the file has no such column */
    struct ak_parquet_batch batch;
    size_t at; /* next row of the batch */
};

struct rows {
    struct ak_file *file;
    struct ak_parquet_source source;
    struct ak_parquet_reader *reader;
    struct column columns[AK_PERF_QUERY_COLUMN_COUNT];
};

static const struct {
    const char *name;
    enum ak_parquet_type type;
    size_t offset;
} wanted[AK_PERF_QUERY_COLUMN_COUNT] = {
#define TYPE_TIMESTAMP AK_PARQUET_INT64
#define TYPE_VARCHAR AK_PARQUET_BYTE_ARRAY
#define TYPE_DOUBLE AK_PARQUET_DOUBLE
#define TYPE_BIGINT AK_PARQUET_INT64
#define TYPE_BOOLEAN AK_PARQUET_BOOLEAN
#define AK_PERF_COLUMN(name, type, text) {#name, TYPE_##type, offsetof(struct ak_perf_query, name)},
    AK_PERF_QUERY_COLUMNS(AK_PERF_COLUMN)
#undef AK_PERF_COLUMN
};

static void close_columns(struct rows *rows)
{
    for (int i = 0; i < AK_PERF_QUERY_COLUMN_COUNT; i++) {
        ak_parquet_cursor_close(rows->columns[i].cursor);
        rows->columns[i] = (struct column){0};
    }
}

static enum ak_rc open_columns(struct rows *rows, size_t group, uint64_t count, struct ak_err *err)
{
    const struct ak_parquet_description *about = ak_parquet_describe(rows->reader);
    enum ak_rc rc = AK_OK;
    for (int i = 0; rc == AK_OK && i < AK_PERF_QUERY_COLUMN_COUNT; i++) {
        int leaf = ak_parquet_find_leaf(rows->reader, ak_str_of(wanted[i].name));
        const struct ak_parquet_leaf *found = leaf < 0 ? NULL : &about->leaves[leaf];
        if (found && (found->type != wanted[i].type || found->max_rep)) {
            rc = ak_fail(err, AK_INVALID, "column %s is not what akidb perf export writes",
                         wanted[i].name);
        } else if (found) {
            rc = ak_parquet_cursor_open(rows->reader, group, (size_t)leaf, 0, count,
                                        &rows->columns[i].cursor, err);
        } else if (i == AK_PERF_QUERY_timestamp) {
            rc = ak_fail(err, AK_INVALID, "it has no column timestamp");
        }
    }
    return rc;
}

/* The value of the column's next row, if it has one, into *row. */
static enum ak_rc take_value(struct column *column, int which, struct ak_perf_query *row,
                             struct ak_err *err)
{
    struct ak_parquet_batch *batch = &column->batch;
    if (column->at == batch->rows) {
        enum ak_rc rc = ak_parquet_next(column->cursor, 0, batch, err);
        column->at = 0;
        if (rc != AK_OK || batch->rows == 0) {
            return rc == AK_OK
                       ? ak_fail(err, AK_CORRUPT, "column %s ends early", wanted[which].name)
                       : rc;
        }
    }
    uint32_t value = batch->value_at[column->at];
    bool is_null = batch->value_at[column->at + 1] == value;
    void *at = (char *)row + wanted[which].offset;
    column->at++;
    if (is_null) {
        return AK_OK;
    }
    row->has |= 1u << which;
    if (wanted[which].type == AK_PARQUET_BYTE_ARRAY) {
        *(struct ak_str *)at = batch->bytes[value];
    } else if (wanted[which].type == AK_PARQUET_DOUBLE) {
        *(double *)at = batch->f64[value];
    } else if (wanted[which].type == AK_PARQUET_BOOLEAN) {
        *(bool *)at = batch->bools[value];
    } else {
        *(int64_t *)at = batch->i64[value];
    }
    return AK_OK;
}

static enum ak_rc read_group(struct rows *rows, size_t group, const struct ak_perf_sink *sink,
                             struct ak_err *err)
{
    uint64_t count = ak_parquet_describe(rows->reader)->groups[group].rows;
    enum ak_rc rc = open_columns(rows, group, count, err);
    for (uint64_t r = 0; rc == AK_OK && r < count; r++) {
        struct ak_perf_query row = {0};
        for (int i = 0; rc == AK_OK && i < AK_PERF_QUERY_COLUMN_COUNT; i++) {
            if (rows->columns[i].cursor) {
                rc = take_value(&rows->columns[i], i, &row, err);
            }
        }
        rc = rc == AK_OK ? ak_perf_sink_row(sink, &row, err) : rc;
    }
    close_columns(rows);
    return rc;
}

enum ak_rc ak_perf_parquet_rows(struct ak_fs *fs, const char *path, const struct ak_perf_sink *sink,
                                struct ak_err *err)
{
    struct rows rows = {0};
    enum ak_rc rc = ak_perf_check_regular(path, err);
    rc = rc == AK_OK ? ak_fs_open(fs, path, AK_OPEN_READ, &rows.file, err) : rc;
    if (rc != AK_OK) {
        return rc; /* AK_NOT_FOUND is for the caller */
    }
    rc = ak_parquet_source_file(rows.file, path, &rows.source, err);
    rc = rc == AK_OK ? ak_parquet_open(&rows.source, NULL, &rows.reader, err) : rc;
    size_t groups = rc == AK_OK ? ak_parquet_describe(rows.reader)->group_count : 0;
    for (size_t i = 0; rc == AK_OK && i < groups; i++) {
        rc = read_group(&rows, i, sink, err);
    }
    ak_parquet_close(rows.reader);
    ak_file_close(rows.file);
    return rc;
}
