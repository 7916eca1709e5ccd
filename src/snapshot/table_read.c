/* table_read.c — documents out of a Parquet table: a snapshot's own, or anybody's.
 *
 * The columns of a row group are read side by side, each by a cursor of its own. A cursor gives
 * batches as its pages fall, so the columns' batches end at different rows: each step takes the
 * rows that all of them have. Vectors are views into the pages wherever they are floats already.
 */
#include "base/mem.h"
#include "snapshot/table_priv.h"
#include <math.h>
#include <string.h>

#define STEP_BYTES ((size_t)2 << 20) /* of vectors handed over at once */

static const char *const column_names[AK_TABLE_COLUMNS] = {
    [AK_TABLE_ID] = "document_id",   [AK_TABLE_EXTERNAL] = "external_id",
    [AK_TABLE_VECTOR] = "vector",    [AK_TABLE_METADATA] = "metadata",
    [AK_TABLE_TIME] = "inserted_at",
};

struct column {
    const struct ak_parquet_leaf *leaf; /* NULL: the table has no such column */
    size_t leaf_at;
    struct ak_parquet_cursor *cursor;
    struct ak_parquet_batch batch;
    size_t used; /* rows of the batch */
};

struct table {
    const struct ak_table_options *options;
    const struct ak_parquet_reader *reader;
    struct column columns[AK_TABLE_COLUMNS];
    struct ak_document *docs;
    float *vectors; /* of the step, when they are doubles */
    struct ak_arena arena;
    struct ak_uuid_maker maker;
    size_t step_max;
    uint64_t row; /* of the file, of the step's first */
};

/* "row 17, column 'vector': what", as damage or as a wrong request. */
static enum ak_rc bad(const struct table *t, enum ak_table_column column, size_t i,
                      const char *what, struct ak_err *err)
{
    return ak_fail(err, t->options->bad, "row %llu, column '%.*s': %s",
                   (unsigned long long)(t->row + i), AK_STR_ARG(t->columns[column].leaf->column),
                   what);
}

/* --- Which columns --- */

static enum ak_rc wrong_type(const struct table *t, const struct ak_parquet_leaf *leaf,
                             const char *want, struct ak_err *err)
{
    return ak_fail(err, t->options->bad, "column '%.*s' is %s %s, it must be %s",
                   AK_STR_ARG(leaf->column), ak_parquet_type_name(leaf->type),
                   ak_parquet_annotation_name(leaf->meaning.annotation), want);
}

static enum ak_rc check_type(const struct table *t, enum ak_table_column column,
                             const struct ak_parquet_leaf *leaf, struct ak_err *err)
{
    bool is_text = leaf->type == AK_PARQUET_BYTE_ARRAY && leaf->max_rep == 0;
    bool is_uuid = leaf->type == AK_PARQUET_FIXED && leaf->fixed_len == sizeof(struct ak_uuid);
    bool is_float = leaf->type == AK_PARQUET_FLOAT || leaf->type == AK_PARQUET_DOUBLE;
    bool is_time = leaf->type == AK_PARQUET_INT64 && leaf->max_rep == 0 &&
                   leaf->meaning.annotation == AK_PARQUET_TIMESTAMP;
    switch (column) {
    case AK_TABLE_ID:
        return is_text || (is_uuid && leaf->max_rep == 0)
                   ? AK_OK
                   : wrong_type(t, leaf, "a string or a UUID of 16 bytes", err);
    case AK_TABLE_VECTOR:
        return is_float && leaf->is_list && leaf->max_rep == 1
                   ? AK_OK
                   : wrong_type(t, leaf, "a list of float or double", err);
    case AK_TABLE_TIME:
        return is_time ? AK_OK : wrong_type(t, leaf, "a timestamp of 64 bits", err);
    case AK_TABLE_EXTERNAL:
    case AK_TABLE_METADATA:
    case AK_TABLE_COLUMNS:
    default:
        return is_text ? AK_OK : wrong_type(t, leaf, "a string", err);
    }
}

static enum ak_rc find_column(struct table *t, enum ak_table_column column, struct ak_err *err)
{
    const struct ak_parquet_description *description = ak_parquet_describe(t->reader);
    const char *name = column_names[column];
    int at = ak_parquet_find_leaf(t->reader, ak_str_of(name));
    if (at < 0 && column == AK_TABLE_ID && !t->options->is_ours) {
        at = ak_parquet_find_leaf(t->reader, AK_STR("id"));
    }
    if (at < 0) {
        bool is_needed = column == AK_TABLE_VECTOR || t->options->is_ours;
        return is_needed ? ak_fail(err, t->options->bad, "there is no column '%s'%s", name,
                                   column == AK_TABLE_VECTOR ? " (a list of float or double)" : "")
                         : AK_OK;
    }
    const struct ak_parquet_leaf *leaf = &description->leaves[at];
    enum ak_rc rc = check_type(t, column, leaf, err);
    if (rc == AK_OK) {
        t->columns[column].leaf = leaf;
        t->columns[column].leaf_at = (size_t)at;
    }
    return rc;
}

/* --- One row's fields --- */

static bool has_value(const struct ak_parquet_batch *batch, size_t at)
{
    return batch->value_at[at + 1] > batch->value_at[at];
}

static enum ak_rc read_id(struct table *t, size_t i, struct ak_uuid *id, struct ak_err *err)
{
    const struct column *c = &t->columns[AK_TABLE_ID];
    if (!c->leaf) {
        *id = ak_uuid_make(&t->maker);
        return AK_OK;
    }
    if (!has_value(&c->batch, c->used + i)) {
        if (t->options->is_ours) {
            return bad(t, AK_TABLE_ID, i, "it is null", err);
        }
        *id = ak_uuid_make(&t->maker);
        return AK_OK;
    }
    struct ak_str value = c->batch.bytes[c->batch.value_at[c->used + i]];
    if (c->leaf->type == AK_PARQUET_FIXED) {
        memcpy(id->b, value.p, sizeof id->b);
    } else if (!ak_uuid_parse(value, id)) {
        return bad(t, AK_TABLE_ID, i, "it is no UUID; a name of your own goes into 'external_id'",
                   err);
    }
    return ak_uuid_is_nil(id) ? bad(t, AK_TABLE_ID, i, "it is the UUID of zeros", err) : AK_OK;
}

/* A view until the next step; empty when null or absent. */
static struct ak_str text_of(const struct column *c, size_t i)
{
    return c->leaf && has_value(&c->batch, c->used + i)
               ? c->batch.bytes[c->batch.value_at[c->used + i]]
               : AK_STR_NONE;
}

static enum ak_rc read_texts(struct table *t, size_t i, struct ak_document *doc, struct ak_err *err)
{
    doc->external_id = text_of(&t->columns[AK_TABLE_EXTERNAL], i);
    if (doc->external_id.len > AK_EXTERNAL_ID_MAX) {
        return bad(t, AK_TABLE_EXTERNAL, i, "it is longer than 1,024 bytes", err);
    }
    if (!ak_utf8_is_valid(doc->external_id)) {
        return bad(t, AK_TABLE_EXTERNAL, i, "it is not UTF-8", err);
    }
    struct ak_str metadata = text_of(&t->columns[AK_TABLE_METADATA], i);
    doc->metadata = AK_STR_NONE;
    if (metadata.len == 0) {
        return AK_OK;
    }
    enum ak_rc rc = ak_metadata_read(metadata, &t->arena, &doc->metadata, err);
    if (rc != AK_OK) {
        rc = rc == AK_NOMEM ? rc : t->options->bad;
        return ak_wrap(err, rc, "row %llu, column '%.*s'", (unsigned long long)(t->row + i),
                       AK_STR_ARG(t->columns[AK_TABLE_METADATA].leaf->column));
    }
    return AK_OK;
}

static enum ak_rc read_vector(struct table *t, size_t i, struct ak_document *doc,
                              struct ak_err *err)
{
    const struct column *c = &t->columns[AK_TABLE_VECTOR];
    const struct ak_parquet_batch *batch = &c->batch;
    uint32_t dimension = t->options->dimension;
    size_t at = c->used + i;
    uint32_t slots = batch->slot_at[at + 1] - batch->slot_at[at];
    uint32_t values = batch->value_at[at + 1] - batch->value_at[at];
    if (values != slots) { /* a null, an empty list, or nulls among its numbers */
        return bad(t, AK_TABLE_VECTOR, i,
                   values || slots > 1 ? "it holds a null" : "it is null or empty", err);
    }
    if (values != dimension) {
        return ak_fail(err, t->options->bad,
                       "row %llu, column '%.*s': it has %u dimensions, the collection has %u",
                       (unsigned long long)(t->row + i), AK_STR_ARG(c->leaf->column), values,
                       dimension);
    }
    if (c->leaf->type == AK_PARQUET_FLOAT) {
        doc->vector = batch->f32 + batch->value_at[at];
        return AK_OK;
    }
    float *to = t->vectors + i * dimension;
    const double *from = batch->f64 + batch->value_at[at];
    for (uint32_t k = 0; k < dimension; k++) {
        to[k] = (float)from[k];
    }
    doc->vector = to;
    return AK_OK;
}

static enum ak_rc read_time(struct table *t, size_t i, int64_t *us, struct ak_err *err)
{
    const struct column *c = &t->columns[AK_TABLE_TIME];
    *us = 0;
    if (!c->leaf || !has_value(&c->batch, c->used + i)) {
        return AK_OK;
    }
    int64_t value = c->batch.i64[c->batch.value_at[c->used + i]];
    if (c->leaf->meaning.unit == AK_PARQUET_NANOS) {
        *us = value / 1000 - (value % 1000 < 0); /* down, before 1970 as well */
    } else if (c->leaf->meaning.unit == AK_PARQUET_MICROS) {
        *us = value;
    } else if (__builtin_mul_overflow(value, 1000, us)) {
        return bad(t, AK_TABLE_TIME, i, "it is out of range", err);
    }
    return AK_OK;
}

static enum ak_rc read_row(struct table *t, size_t i, struct ak_err *err)
{
    struct ak_document *doc = &t->docs[i];
    enum ak_rc rc = read_id(t, i, &doc->id, err);
    if (rc == AK_OK) {
        rc = read_vector(t, i, doc, err);
    }
    if (rc == AK_OK) {
        rc = read_texts(t, i, doc, err);
    }
    return rc == AK_OK ? read_time(t, i, &doc->inserted_us, err) : rc;
}

/* --- A row group --- */

/* More rows of every column that has used up its batch; *rows is what all of them have. */
static enum ak_rc fill(struct table *t, size_t *rows, struct ak_err *err)
{
    *rows = t->step_max;
    for (int i = 0; i < AK_TABLE_COLUMNS; i++) {
        struct column *c = &t->columns[i];
        if (!c->leaf) {
            continue;
        }
        if (c->used == c->batch.rows) {
            enum ak_rc rc = ak_parquet_next(c->cursor, t->step_max, &c->batch, err);
            if (rc != AK_OK) {
                return rc;
            }
            c->used = 0;
            if (c->batch.rows == 0) {
                return ak_fail(err, t->options->bad, "column '%.*s' ends at row %llu",
                               AK_STR_ARG(c->leaf->column), (unsigned long long)t->row);
            }
        }
        *rows = *rows < c->batch.rows - c->used ? *rows : c->batch.rows - c->used;
    }
    return AK_OK;
}

static enum ak_rc read_step(struct table *t, size_t *rows, struct ak_err *err)
{
    ak_arena_reset(&t->arena);
    enum ak_rc rc = fill(t, rows, err);
    for (size_t i = 0; i < *rows && rc == AK_OK; i++) {
        rc = read_row(t, i, err);
    }
    if (rc == AK_OK) {
        rc = t->options->fn(t->options->ctx, t->docs, *rows, err);
    }
    for (int i = 0; i < AK_TABLE_COLUMNS; i++) {
        t->columns[i].used += *rows;
    }
    t->row += *rows;
    return rc;
}

/* All rows came; what a cursor holds against index and metadata it does at the end of its pages. */
static enum ak_rc read_end(struct column *c, struct ak_err *err)
{
    return ak_parquet_next(c->cursor, 0, &c->batch, err); /* gives no rows: all were given */
}

static void close_cursors(struct table *t)
{
    for (int i = 0; i < AK_TABLE_COLUMNS; i++) {
        ak_parquet_cursor_close(t->columns[i].cursor);
        t->columns[i].cursor = NULL;
        t->columns[i].batch.rows = 0;
        t->columns[i].used = 0;
    }
}

static enum ak_rc read_group(struct table *t, size_t group, struct ak_err *err)
{
    uint64_t rows = ak_parquet_describe(t->reader)->groups[group].rows;
    enum ak_rc rc = AK_OK;
    for (int i = 0; i < AK_TABLE_COLUMNS && rc == AK_OK; i++) {
        struct column *c = &t->columns[i];
        if (c->leaf) {
            rc = ak_parquet_cursor_open(t->reader, group, c->leaf_at, 0, rows, &c->cursor, err);
        }
    }
    for (uint64_t at = 0; at < rows && rc == AK_OK;) {
        size_t step = 0;
        rc = read_step(t, &step, err);
        at += step;
    }
    for (int i = 0; i < AK_TABLE_COLUMNS && rc == AK_OK && t->options->is_ours; i++) {
        rc = read_end(&t->columns[i], err);
    }
    close_cursors(t);
    return rc;
}

enum ak_rc ak_table_read(const struct ak_parquet_reader *reader,
                         const struct ak_table_options *options, struct ak_err *err)
{
    const struct ak_parquet_description *description = ak_parquet_describe(reader);
    struct table t = {.options = options, .reader = reader};
    size_t most = STEP_BYTES / (options->dimension * sizeof(float));
    enum ak_rc rc = AK_OK;
    t.step_max = most < AK_SNAPSHOT_ROWS_STEP ? most : AK_SNAPSHOT_ROWS_STEP;
    ak_uuid_maker_init(&t.maker, ak_clock_system());
    ak_arena_init(&t.arena, 0);
    for (int i = 0; i < AK_TABLE_COLUMNS && rc == AK_OK; i++) {
        rc = find_column(&t, (enum ak_table_column)i, err);
    }
    if (rc == AK_OK) {
        bool is_double = t.columns[AK_TABLE_VECTOR].leaf->type == AK_PARQUET_DOUBLE;
        t.docs = ak_try_alloc(t.step_max * sizeof *t.docs);
        t.vectors =
            is_double ? ak_try_alloc(t.step_max * options->dimension * sizeof(float)) : NULL;
        if (!t.docs || (is_double && !t.vectors)) {
            rc = ak_fail(err, AK_NOMEM, "no memory for %zu documents", t.step_max);
        }
    }
    for (size_t i = 0; i < description->group_count && rc == AK_OK; i++) {
        rc = read_group(&t, i, err);
    }
    ak_arena_release(&t.arena);
    ak_free(t.docs);
    ak_free(t.vectors);
    return rc;
}
