/* vectors_read.c — lists of floats straight from the page into the caller's rows.
 *
 * A column of vectors has the same levels in every row: repetition 0 1 1 … 1, definition the
 * maximum. So the levels are compared with that pattern run by run, without writing one of them
 * down, and the values land where they stay. A page that is otherwise (a row that goes on in the
 * next page, a null, another length, another encoding, doubles) is left to a cursor, which also
 * says what is wrong with which row.
 */
#include "parquet/read_priv.h"
#include <string.h>

struct job {
    const struct ak_parquet_leaf *leaf;
    uint64_t first, rows; /* wanted */
    uint32_t dimension;
    float *dst;
};

/* Are the page's levels those of whole, full vectors? */
static bool is_plain_page(const struct job *job, const struct ak_parquet_data *page)
{
    const struct ak_parquet_leaf *leaf = job->leaf;
    return page->slots % job->dimension == 0 && page->nulls <= 0 &&
           (page->rows < 0 || (uint64_t)page->rows == page->slots / job->dimension) &&
           ak_parquet_levels_repeat(page->rep, page->rep_len, job->dimension, page->slots) &&
           ak_parquet_levels_are(page->def, page->def_len, ak_parquet_bits_for(leaf->max_def),
                                 leaf->max_def, page->slots);
}

static bool is_direct(const struct ak_parquet_data *page)
{
    switch (page->encoding) {
    case AK_PARQUET_PLAIN:
        return page->len / sizeof(float) >= page->slots;
    case AK_PARQUET_BYTE_STREAM_SPLIT:
        return page->len / sizeof(float) == page->slots && page->len % sizeof(float) == 0;
    case AK_PARQUET_RLE_DICTIONARY:
    case AK_PARQUET_PLAIN_DICTIONARY:
        return true;
    default:
        return false;
    }
}

/* Values [from, from + count) of the page, count > 0. */
static enum ak_rc put_values(struct ak_parquet_stream *stream, const struct ak_parquet_data *page,
                             size_t from, size_t count, float *dst, struct ak_err *err)
{
    if (page->encoding == AK_PARQUET_PLAIN) {
        memcpy(dst, page->bytes + from * sizeof(float), count * sizeof(float));
        return AK_OK;
    }
    if (page->encoding == AK_PARQUET_BYTE_STREAM_SPLIT) {
        ak_parquet_unsplit(page->bytes, page->slots, sizeof(float), from, count, dst);
        return AK_OK;
    }
    if (count == page->slots) {
        return ak_parquet_values(&stream->decoder, page->encoding, page->bytes, page->len, count,
                                 dst, err);
    }
    /* Indices are runs: the page's first values must be walked over. */
    struct ak_parquet_mem *heap = &stream->decoder.heap;
    enum ak_rc rc =
        ak_parquet_mem_need(&stream->budget, heap, (from + count) * sizeof(float), 0, err);
    if (rc == AK_OK) {
        rc = ak_parquet_values(&stream->decoder, page->encoding, page->bytes, page->len,
                               from + count, heap->p, err);
    }
    if (rc == AK_OK) {
        memcpy(dst, heap->p + from * sizeof(float), count * sizeof(float));
    }
    return rc;
}

/* Does the page hold the rows that the index promises? */
static bool is_as_indexed(const struct ak_parquet_stream *stream, uint64_t rows)
{
    if (!stream->has_pages) {
        return true;
    }
    const struct ak_parquet_page *page = &stream->pages.pages[stream->page];
    uint64_t next = stream->page + 1 < stream->pages.count
                        ? page[1].first_row
                        : stream->reader->about.groups[stream->group].rows;
    return next - page->first_row == rows;
}

/* As many rows as come in plain pages; *done of job->rows. */
static enum ak_rc read_direct(struct ak_parquet_stream *stream, const struct job *job, uint64_t row,
                              uint64_t *done, struct ak_err *err)
{
    const uint64_t until = job->first + job->rows;
    while (row < until) {
        struct ak_parquet_data page;
        bool is_end = false;
        enum ak_rc rc = ak_parquet_stream_next(stream, &page, &is_end, err);
        if (rc != AK_OK) {
            return rc;
        }
        if (is_end || !is_plain_page(job, &page) || !is_direct(&page) ||
            !is_as_indexed(stream, page.slots / job->dimension)) {
            return AK_OK; /* the cursor goes on, and finds what is wrong if anything is */
        }
        uint64_t page_rows = page.slots / job->dimension;
        uint64_t from = job->first > row ? job->first - row : 0;
        from = from < page_rows ? from : page_rows;
        uint64_t to = until - row < page_rows ? until - row : page_rows;
        if (to > from) {
            rc = put_values(stream, &page, (size_t)from * job->dimension,
                            (size_t)(to - from) * job->dimension,
                            job->dst + (row + from - job->first) * job->dimension, err);
            if (rc != AK_OK) {
                return rc;
            }
            *done += to - from;
        }
        row += page_rows;
        stream->page++;
    }
    return AK_OK;
}

static enum ak_rc refuse(const struct ak_parquet_reader *reader, const struct job *job,
                         const struct ak_parquet_batch *batch, size_t i, size_t group,
                         struct ak_err *err)
{
    const struct ak_parquet_leaf *leaf = job->leaf;
    uint32_t values = batch->value_at[i + 1] - batch->value_at[i];
    uint32_t slots = batch->slot_at[i + 1] - batch->slot_at[i];
    uint64_t row = reader->about.groups[group].first_row + batch->first_row + i;
    uint8_t def = batch->def ? batch->def[batch->slot_at[i]] : 0;
    if (slots == 1 && values == 0 && leaf->is_optional && def + 1 == leaf->max_def) {
        values = 1; /* one element, which is null */
        slots = 2;
    }
    if (slots == 1 && values == 0) {
        return ak_fail(err, AK_INVALID, "%s: row %llu of column '%.*s' %s instead of %u numbers",
                       reader->name, (unsigned long long)row, AK_STR_ARG(leaf->column),
                       def + 1 == leaf->list_def[1] ? "is empty" : "is null", job->dimension);
    }
    if (slots != values) {
        return ak_fail(err, AK_INVALID, "%s: row %llu of column '%.*s' has a null in its vector",
                       reader->name, (unsigned long long)row, AK_STR_ARG(leaf->column));
    }
    return ak_fail(err, AK_INVALID, "%s: row %llu of column '%.*s' has %u numbers instead of %u",
                   reader->name, (unsigned long long)row, AK_STR_ARG(leaf->column), values,
                   job->dimension);
}

static void put_row(const struct job *job, const struct ak_parquet_batch *batch, size_t i,
                    float *dst)
{
    size_t at = batch->value_at[i];
    if (job->leaf->type == AK_PARQUET_FLOAT) {
        memcpy(dst, batch->f32 + at, job->dimension * sizeof(float));
        return;
    }
    for (uint32_t d = 0; d < job->dimension; d++) {
        dst[d] = (float)batch->f64[at + d];
    }
}

/* The rows from job->first + done on, one by one. */
static enum ak_rc read_rows(const struct ak_parquet_reader *reader, size_t group, size_t leaf,
                            const struct job *job, uint64_t done, struct ak_err *err)
{
    struct ak_parquet_cursor *cursor = NULL;
    enum ak_rc rc = ak_parquet_cursor_open(reader, group, leaf, job->first + done, job->rows - done,
                                           &cursor, err);
    while (rc == AK_OK && done < job->rows) {
        struct ak_parquet_batch batch;
        rc = ak_parquet_next(cursor, 0, &batch, err);
        for (size_t i = 0; rc == AK_OK && i < batch.rows; i++, done++) {
            uint32_t values = batch.value_at[i + 1] - batch.value_at[i];
            if (values != job->dimension || batch.slot_at[i + 1] - batch.slot_at[i] != values) {
                rc = refuse(reader, job, &batch, i, group, err);
                break;
            }
            put_row(job, &batch, i, job->dst + done * job->dimension);
        }
    }
    ak_parquet_cursor_close(cursor);
    return rc;
}

enum ak_rc ak_parquet_read_vectors(const struct ak_parquet_reader *reader, size_t group,
                                   size_t leaf, uint64_t first, uint64_t rows, uint32_t dimension,
                                   float *dst, struct ak_err *err)
{
    const struct ak_parquet_description *about = &reader->about;
    if (group >= about->group_count || leaf >= about->leaf_count || dimension == 0 ||
        first > about->groups[group].rows || rows > about->groups[group].rows - first) {
        return ak_fail(err, AK_INVALID,
                       "%s has %zu row groups and %zu columns, not rows %llu to %llu of group %zu, "
                       "column %zu, with %u numbers each",
                       reader->name, about->group_count, about->leaf_count,
                       (unsigned long long)first, (unsigned long long)(first + rows), group, leaf,
                       dimension);
    }
    struct job job = {&about->leaves[leaf], first, rows, dimension, dst};
    if (!job.leaf->is_list ||
        (job.leaf->type != AK_PARQUET_FLOAT && job.leaf->type != AK_PARQUET_DOUBLE)) {
        return ak_fail(err, AK_INVALID,
                       "%s: column '%.*s' is not a list of float or double, so it has no vectors",
                       reader->name, AK_STR_ARG(job.leaf->column));
    }
    uint64_t done = 0;
    enum ak_rc rc = AK_OK;
    if (job.leaf->type == AK_PARQUET_FLOAT) {
        struct ak_parquet_stream stream;
        uint64_t row = 0;
        rc = ak_parquet_stream_open(&stream, reader, group, leaf, first, rows, &row, err);
        if (rc == AK_OK) {
            rc = read_direct(&stream, &job, row, &done, err);
        }
        rc = rc == AK_OK ? rc : ak_parquet_stream_wrap(&stream, rc, err);
        ak_parquet_stream_close(&stream);
    }
    return rc == AK_OK && done < rows ? read_rows(reader, group, leaf, &job, done, err) : rc;
}
