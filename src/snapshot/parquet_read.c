/* parquet_read.c — documents out of Parquet: of a snapshot, and of anybody's file.
 *
 * Five cursors, one a column, go through each row group side by side in batches of the same rows;
 * the vectors of a batch come straight into an array. A snapshot's own file must have the columns
 * that we write; of others a `vector` is enough, see ak_snapshot_import().
 */
#include "base/mem.h"
#include "parquet/reader.h"
#include "snapshot/snapshot_priv.h"
#include <stdio.h>
#include <string.h>

#define BATCH_BYTES ((size_t)4 << 20) /* of vectors */

enum column { ID, EXTERNAL_ID, VECTOR, METADATA, INSERTED_AT, COLUMNS };

struct table {
    const struct ak_parquet_reader *reader;
    uint32_t dimension;
    bool is_ours;        /* damage is AK_CORRUPT; in a file of others it is AK_INVALID */
    int leaves[COLUMNS]; /* −1: absent */
    size_t batch_rows;
    struct ak_document *docs;
    float *vectors;
    struct ak_arena texts; /* of the batch: cursors forget theirs at the next step */
    ak_snapshot_rows_fn fn;
    void *ctx;
};

static enum ak_rc bad(const struct table *t, struct ak_err *err, uint64_t row, const char *column,
                      const char *what)
{
    return ak_fail(err, t->is_ours ? AK_CORRUPT : AK_INVALID, "row %llu, column '%s': %s",
                   (unsigned long long)row, column, what);
}

/* --- Columns --- */

static const struct ak_parquet_leaf *leaf_of(const struct table *t, enum column column)
{
    return &ak_parquet_describe(t->reader)->leaves[t->leaves[column]];
}

static enum ak_rc wrong_type(const struct table *t, const char *column, const char *want,
                             struct ak_err *err)
{
    return ak_fail(err, t->is_ours ? AK_CORRUPT : AK_INVALID, "column '%s' is not %s", column,
                   want);
}

static enum ak_rc check_columns(const struct table *t, struct ak_err *err)
{
    if (t->leaves[VECTOR] < 0) {
        return ak_fail(err, t->is_ours ? AK_CORRUPT : AK_INVALID,
                       "there is no column 'vector' (a list of float or double)");
    }
    const struct ak_parquet_leaf *leaf = leaf_of(t, VECTOR);
    if (!leaf->is_list || (leaf->type != AK_PARQUET_FLOAT && leaf->type != AK_PARQUET_DOUBLE)) {
        return wrong_type(t, "vector", "a list of float or double", err);
    }
    leaf = t->leaves[ID] >= 0 ? leaf_of(t, ID) : NULL;
    if (leaf && (leaf->max_rep || !(leaf->type == AK_PARQUET_BYTE_ARRAY ||
                                    (leaf->type == AK_PARQUET_FIXED && leaf->fixed_len == 16)))) {
        return wrong_type(t, "document_id", "a UUID, as text or as 16 bytes", err);
    }
    for (int column = EXTERNAL_ID; column <= METADATA; column++) {
        leaf = column != VECTOR && t->leaves[column] >= 0 ? leaf_of(t, (enum column)column) : NULL;
        if (leaf && (leaf->max_rep || leaf->type != AK_PARQUET_BYTE_ARRAY)) {
            return wrong_type(t, column == METADATA ? "metadata" : "external_id", "text", err);
        }
    }
    leaf = t->leaves[INSERTED_AT] >= 0 ? leaf_of(t, INSERTED_AT) : NULL;
    if (leaf && (leaf->max_rep || leaf->type != AK_PARQUET_INT64 ||
                 leaf->meaning.annotation != AK_PARQUET_TIMESTAMP)) {
        return wrong_type(t, "inserted_at", "a timestamp", err);
    }
    return AK_OK;
}

static enum ak_rc find_columns(struct table *t, struct ak_err *err)
{
    static const struct ak_str names[COLUMNS] = {
        [ID] = {"document_id", 11},   [EXTERNAL_ID] = {"external_id", 11}, [VECTOR] = {"vector", 6},
        [METADATA] = {"metadata", 8}, [INSERTED_AT] = {"inserted_at", 11},
    };
    for (int column = 0; column < COLUMNS; column++) {
        t->leaves[column] = ak_parquet_find_leaf(t->reader, names[column]);
        if (t->is_ours && t->leaves[column] < 0) {
            return ak_fail(err, AK_CORRUPT, "there is no column '%.*s'", AK_STR_ARG(names[column]));
        }
    }
    if (t->leaves[ID] < 0) {
        t->leaves[ID] = ak_parquet_find_leaf(t->reader, AK_STR("id"));
    }
    return check_columns(t, err);
}

/* --- A batch --- */

static enum ak_rc read_id(const struct table *t, const struct ak_parquet_batch *batch, size_t i,
                          uint64_t row, struct ak_err *err)
{
    if (batch->value_at[i + 1] == batch->value_at[i]) {
        return t->is_ours ? bad(t, err, row, "document_id", "it is null") : AK_OK; /* one is made */
    }
    struct ak_str text = batch->bytes[batch->value_at[i]];
    if (leaf_of(t, ID)->type == AK_PARQUET_FIXED) {
        memcpy(t->docs[i].id.b, text.p, sizeof t->docs[i].id.b);
        return AK_OK;
    }
    return ak_uuid_parse(text, &t->docs[i].id)
               ? AK_OK
               : bad(t, err, row, "document_id",
                     "it is no UUID; a name of your own goes into 'external_id'");
}

static enum ak_rc read_text(struct table *t, const struct ak_parquet_batch *batch, size_t i,
                            uint64_t row, enum column column, struct ak_err *err)
{
    struct ak_str *out = column == METADATA ? &t->docs[i].metadata : &t->docs[i].external_id;
    const char *name = column == METADATA ? "metadata" : "external_id";
    if (batch->value_at[i + 1] == batch->value_at[i]) {
        return AK_OK;
    }
    struct ak_str text = batch->bytes[batch->value_at[i]];
    enum ak_rc rc = AK_OK;
    if (column == METADATA) {
        rc = ak_metadata_read(text, &t->texts, out, err);
    } else if (text.len > AK_EXTERNAL_ID_MAX || !ak_utf8_is_valid(text)) {
        return bad(t, err, row, name, "at most 1,024 bytes of UTF-8 are allowed");
    } else {
        *out = text.len ? ak_arena_str(&t->texts, text) : AK_STR_NONE;
        rc = text.len && !out->p ? ak_fail(err, AK_NOMEM, "texts of a batch") : AK_OK;
    }
    if (rc == AK_INVALID && t->is_ours) {
        rc = AK_CORRUPT;
    }
    return rc == AK_OK ? rc
                       : ak_wrap(err, rc, "row %llu, column '%s'", (unsigned long long)row, name);
}

static void read_time(const struct table *t, const struct ak_parquet_batch *batch, size_t i)
{
    if (batch->value_at[i + 1] == batch->value_at[i]) {
        return;
    }
    int64_t at = batch->i64[batch->value_at[i]];
    switch (leaf_of(t, INSERTED_AT)->meaning.unit) {
    case AK_PARQUET_MILLIS:
        at = at > INT64_MAX / 1000 || at < INT64_MIN / 1000 ? 0 : at * 1000;
        break;
    case AK_PARQUET_MICROS:
        break;
    case AK_PARQUET_NANOS:
        at /= 1000;
        break;
    }
    t->docs[i].inserted_us = at;
}

/* One column of rows [at, at + rows) of a group into the batch's documents. */
static enum ak_rc read_column(struct table *t, size_t group, uint64_t at, size_t rows,
                              enum column column, uint64_t first_row, struct ak_err *err)
{
    struct ak_parquet_cursor *cursor = NULL;
    struct ak_parquet_batch batch;
    size_t done = 0;
    enum ak_rc rc =
        ak_parquet_cursor_open(t->reader, group, (size_t)t->leaves[column], at, rows, &cursor, err);
    while (rc == AK_OK && done < rows) {
        rc = ak_parquet_next(cursor, rows - done, &batch, err);
        if (rc == AK_OK && batch.rows == 0) {
            rc = ak_fail(err, AK_CORRUPT, "a column ends before its row group");
        }
        struct ak_document *docs = t->docs;
        t->docs += done; /* the readers below count from the batch's first row */
        for (size_t i = 0; rc == AK_OK && i < batch.rows; i++) {
            uint64_t row = first_row + done + i;
            if (column == ID) {
                rc = read_id(t, &batch, i, row, err);
            } else if (column == INSERTED_AT) {
                read_time(t, &batch, i);
            } else {
                rc = read_text(t, &batch, i, row, column, err);
            }
        }
        t->docs = docs;
        done += rc == AK_OK ? batch.rows : 0;
    }
    ak_parquet_cursor_close(cursor);
    return rc;
}

static enum ak_rc read_batch(struct table *t, size_t group, uint64_t at, size_t rows,
                             uint64_t first_row, struct ak_err *err)
{
    memset(t->docs, 0, rows * sizeof *t->docs);
    ak_arena_reset(&t->texts);
    enum ak_rc rc = ak_parquet_read_vectors(t->reader, group, (size_t)t->leaves[VECTOR], at, rows,
                                            t->dimension, t->vectors, err);
    if (rc == AK_INVALID && t->is_ours) {
        rc = AK_CORRUPT;
    }
    for (size_t i = 0; i < rows; i++) {
        t->docs[i].vector = t->vectors + i * t->dimension;
    }
    for (int column = 0; column < COLUMNS && rc == AK_OK; column++) {
        if (column != VECTOR && t->leaves[column] >= 0) {
            rc = read_column(t, group, at, rows, (enum column)column, first_row, err);
        }
    }
    return rc == AK_OK ? t->fn(t->ctx, t->docs, rows, err) : rc;
}

static enum ak_rc read_all(struct table *t, struct ak_err *err)
{
    const struct ak_parquet_description *file = ak_parquet_describe(t->reader);
    enum ak_rc rc = find_columns(t, err);
    for (size_t group = 0; group < file->group_count && rc == AK_OK; group++) {
        uint64_t rows = file->groups[group].rows;
        for (uint64_t at = 0; at < rows && rc == AK_OK; at += t->batch_rows) {
            uint64_t left = rows - at;
            rc = read_batch(t, group, at, left < t->batch_rows ? (size_t)left : t->batch_rows,
                            file->groups[group].first_row + at, err);
        }
    }
    return rc;
}

static enum ak_rc read_table(struct table *t, struct ak_err *err)
{
    size_t fit = BATCH_BYTES / (t->dimension * sizeof(float));
    t->batch_rows = fit < 1 ? 1 : fit < AK_SNAPSHOT_ROWS_STEP ? fit : AK_SNAPSHOT_ROWS_STEP;
    t->docs = ak_try_alloc(t->batch_rows * sizeof *t->docs);
    t->vectors =
        ak_try_alloc_aligned(AK_CACHE_LINE, t->batch_rows * t->dimension * sizeof *t->vectors);
    ak_arena_init(&t->texts, 0);
    enum ak_rc rc =
        t->docs && t->vectors ? read_all(t, err) : ak_fail(err, AK_NOMEM, "a batch of documents");
    ak_arena_release(&t->texts);
    ak_free(t->docs);
    ak_free(t->vectors);
    return rc;
}

/* --- A snapshot's file --- */

static enum ak_rc read_range(void *ctx, uint64_t at, void *p, size_t len, struct ak_err *err)
{
    const struct ak_snapshot_bytes *bytes = ctx;
    return ak_objstore_get_range(bytes->store, bytes->key, at, p, len, err);
}

enum ak_rc ak_snapshot_parquet_open(struct ak_snapshot_bytes *bytes,
                                    struct ak_parquet_reader **reader, struct ak_err *err)
{
    const struct ak_parquet_source source = {
        .ctx = bytes, .size = bytes->len, .name = bytes->key.p, .read_at = read_range};
    const struct ak_parquet_read_options options = {.require_crc = true};
    return ak_parquet_open(&source, &options, reader, err);
}

static enum ak_rc pass_on(void *ctx, const struct ak_document *rows, size_t count,
                          struct ak_err *err)
{
    return ak_snapshot_reader_rows(ctx, rows, count, err);
}

static enum ak_rc check_content(const struct ak_parquet_reader *file,
                                const struct ak_snapshot_reader *reader, struct ak_err *err)
{
    char want[24];
    struct ak_str got = AK_STR_NONE;
    (void)snprintf(want, sizeof want, "%016llx", (unsigned long long)reader->content);
    if (ak_parquet_find_metadata(file, AK_STR("akidb.content_xxh64"), &got) &&
        !ak_str_eq(got, ak_str_of(want))) {
        return ak_fail(err, AK_CORRUPT, "the documents' content hash is %s, the file says %.*s",
                       want, AK_STR_ARG(got));
    }
    return AK_OK;
}

enum ak_rc ak_snapshot_parquet_read(const struct ak_snapshot_bytes *bytes,
                                    struct ak_snapshot_reader *reader, struct ak_err *err)
{
    struct ak_snapshot_bytes mine = *bytes;
    struct ak_parquet_reader *file = NULL;
    enum ak_rc rc = ak_snapshot_parquet_open(&mine, &file, err);
    if (rc == AK_OK) {
        struct table t = {.reader = file,
                          .dimension = reader->meta->collection.dimension,
                          .is_ours = true,
                          .fn = pass_on,
                          .ctx = reader};
        rc = read_table(&t, err);
    }
    if (rc == AK_OK) {
        rc = check_content(file, reader, err);
    }
    ak_parquet_close(file);
    return rc == AK_OK ? rc : ak_wrap(err, rc, "object '%.*s'", AK_STR_ARG(bytes->key));
}

/* --- Anybody's file --- */

enum ak_rc ak_snapshot_import(struct ak_fs *fs, const char *path, uint32_t dimension,
                              ak_snapshot_rows_fn fn, void *ctx, struct ak_err *err)
{
    struct ak_file *file = NULL;
    struct ak_parquet_source source;
    struct ak_parquet_reader *reader = NULL;
    const struct ak_parquet_read_options options = {0};
    enum ak_rc rc = ak_fs_open(fs, path, AK_OPEN_READ, &file, err);
    if (rc == AK_OK) {
        rc = ak_parquet_source_file(file, "the Parquet file", &source, err);
    }
    if (rc == AK_OK) {
        rc = ak_parquet_open(&source, &options, &reader, err);
    }
    if (rc == AK_OK) {
        struct table t = {.reader = reader, .dimension = dimension, .fn = fn, .ctx = ctx};
        rc = read_table(&t, err);
    }
    ak_parquet_close(reader);
    ak_file_close(file);
    return rc;
}
