/* writer.c — row groups and columns into a sink; pages by several threads, in their order.
 *
 *   "PAR1" │ group: column chunk: [dictionary page] data pages … │ … │ column indexes │ offset
 *   indexes │ footer │ u32 length of the footer │ "PAR1"
 *
 * A column is cut into pages of whole rows. Threads of the pool, and the calling one, take pages by
 * a counter and encode each into memory of its own; the calling thread hands them to the sink in
 * order as they become ready. So bytes do not depend on who encoded what, and one slow page does
 * not keep the others waiting. Nobody encodes a page more than `ahead` behind the one that the sink
 * gets next: that bounds the memory when the sink is slow.
 */
#include "base/mem.h"
#include "parquet/values_write.h"
#include "parquet/writer_priv.h"
#include <string.h>

#define PAGE_BYTES ((size_t)1 << 20)
#define PAGE_ROWS_MAX (1u << 20)
#define GROUPS_MAX 32767u /* the ordinal of a group is an i16 */
#define PAIRS_MAX 1000u
#define FOOTER_MAX ((size_t)1 << 30)
#define HELPERS_MAX 7u /* of the pool, at a time: with page_bytes of 1 MiB some 40 MiB in all */
#define BUFFER_MAX ((size_t)5 << 28) /* a page of 1 GiB that does not compress */
#define SPARE_BYTES 65536u
#define AHEAD_MAX ((size_t)2 * (HELPERS_MAX + 1))

struct ak_parquet_writer {
    struct ak_parquet_sink sink;
    struct ak_parquet_column *columns;
    size_t column_count;
    struct ak_page_format format;
    size_t page_bytes;
    bool no_page_index;
    char *created_by;
    struct ak_pool *pool;
    uint64_t at; /* bytes with the sink */
    uint64_t rows;
    struct ak_group_out *groups;
    size_t group_count, group_cap;
    size_t next_column; /* of the open group */
    bool in_group;
    bool failed;
    struct ak_meta_pair *pairs;
    size_t pair_count;
    struct ak_mutex lock; /* all below */
    struct ak_encoder *encoders;
    struct ak_buf spares[AHEAD_MAX]; /* memory of pages that were sent */
    size_t spare_count;
};

/* --- Opening --- */

static enum ak_rc send(struct ak_parquet_writer *writer, const void *p, size_t len,
                       struct ak_err *err)
{
    enum ak_rc rc = len ? writer->sink.write(writer->sink.ctx, p, len, err) : AK_OK;
    writer->at += rc == AK_OK ? len : 0;
    writer->failed |= rc != AK_OK;
    return rc;
}

enum ak_rc ak_parquet_create(const struct ak_parquet_sink *sink,
                             const struct ak_parquet_column *columns, size_t count,
                             const struct ak_parquet_write_options *options,
                             struct ak_parquet_writer **out, struct ak_err *err)
{
    enum ak_rc rc = ak_columns_check(columns, count, err);
    if (rc != AK_OK) {
        return rc;
    }
    const char *created_by =
        options->created_by ? options->created_by : "akidb version " AKIDB_VERSION;
    struct ak_parquet_writer *writer = ak_zalloc(sizeof *writer);
    writer->sink = *sink;
    writer->columns = ak_alloc(count * sizeof *columns);
    memcpy(writer->columns, columns, count * sizeof *columns);
    writer->column_count = count;
    writer->format = (struct ak_page_format){options->codec, options->level, options->page_v2};
    writer->page_bytes = options->page_bytes ? options->page_bytes : PAGE_BYTES;
    writer->no_page_index = options->no_page_index;
    writer->created_by = ak_strdup_n(created_by, strlen(created_by));
    writer->pool = options->pool;
    ak_mutex_init(&writer->lock, AK_RANK_LEAF, "parquet encoders");
    rc = send(writer, AK_PARQUET_MAGIC, AK_PARQUET_MAGIC_LEN, err);
    if (rc != AK_OK) {
        ak_parquet_abandon(writer);
        return rc;
    }
    *out = writer;
    return AK_OK;
}

enum ak_rc ak_parquet_add_metadata(struct ak_parquet_writer *writer, struct ak_str key,
                                   struct ak_str value, struct ak_err *err)
{
    if (writer->pair_count == PAIRS_MAX) {
        return ak_fail(err, AK_TOO_BIG, "more than %u pairs of metadata", PAIRS_MAX);
    }
    struct ak_meta_pair *grown =
        ak_try_realloc(writer->pairs, (writer->pair_count + 1) * sizeof *grown);
    if (!grown) {
        return ak_fail(err, AK_NOMEM, "metadata");
    }
    writer->pairs = grown;
    grown[writer->pair_count++] = (struct ak_meta_pair){.key = ak_strdup_n(key.p, key.len),
                                                        .value = ak_strdup_n(value.p, value.len),
                                                        .key_len = key.len,
                                                        .value_len = value.len};
    return AK_OK;
}

/* --- Encoders --- */

static struct ak_encoder *take_encoder(struct ak_parquet_writer *writer)
{
    ak_mutex_lock(&writer->lock);
    struct ak_encoder *encoder = writer->encoders;
    writer->encoders = encoder ? encoder->next : NULL;
    ak_mutex_unlock(&writer->lock);
    if (!encoder) {
        encoder = ak_alloc(sizeof *encoder);
        ak_encoder_init(encoder);
    }
    return encoder;
}

static void put_encoder(struct ak_parquet_writer *writer, struct ak_encoder *encoder)
{
    ak_mutex_lock(&writer->lock);
    encoder->next = writer->encoders;
    writer->encoders = encoder;
    ak_mutex_unlock(&writer->lock);
}

static struct ak_buf take_spare(struct ak_parquet_writer *writer)
{
    struct ak_buf buf;
    ak_buf_init(&buf, BUFFER_MAX);
    ak_mutex_lock(&writer->lock);
    if (writer->spare_count) {
        buf = writer->spares[--writer->spare_count];
    }
    ak_mutex_unlock(&writer->lock);
    return buf;
}

static void put_spare(struct ak_parquet_writer *writer, struct ak_buf *buf)
{
    ak_mutex_lock(&writer->lock);
    if (buf->cap <= (size_t)2 * writer->page_bytes + SPARE_BYTES &&
        writer->spare_count < AHEAD_MAX) {
        writer->spares[writer->spare_count++] = *buf;
        ak_buf_init(buf, BUFFER_MAX);
    }
    ak_mutex_unlock(&writer->lock);
    ak_buf_release(buf);
}

/* --- A chunk: pages by several threads --- */

struct chunk_job {
    struct ak_parquet_writer *writer;
    struct ak_chunk_in in;
    struct ak_page_format format;
    struct ak_page_out *pages;
    uint64_t *values_before;
    size_t count;
    struct ak_mutex lock; /* all below */
    struct ak_cond moved;
    size_t next; /* first page that nobody has taken */
    size_t sent; /* pages that the sink has, or gets just now */
    size_t ahead;
    bool *is_done; /* [count] */
    size_t busy;   /* pages being encoded */
    size_t refs;   /* the caller, and the pool's jobs that have not ended */
    enum ak_rc rc; /* the first failure */
    struct ak_err err;
};

static void unref(struct chunk_job *job)
{
    ak_mutex_lock(&job->lock);
    bool is_last = --job->refs == 0;
    ak_mutex_unlock(&job->lock);
    if (is_last) {
        ak_cond_release(&job->moved);
        ak_mutex_release(&job->lock);
        ak_free(job->is_done);
        ak_free(job);
    }
}

static bool is_over(const struct chunk_job *job)
{
    return job->next >= job->count || job->rc != AK_OK;
}

/* Lock held; encodes one page with the lock given up meanwhile. false: there is none to encode now.
 */
static bool encode_next(struct chunk_job *job)
{
    if (is_over(job) || job->next >= job->sent + job->ahead) {
        return false;
    }
    size_t at = job->next++;
    struct ak_err err = {0};
    job->busy++;
    ak_mutex_unlock(&job->lock);
    struct ak_encoder *encoder = take_encoder(job->writer);
    job->pages[at].bytes = take_spare(job->writer);
    enum ak_rc rc = ak_page_encode(&job->format, &job->in, job->values_before[at], encoder,
                                   &job->pages[at], &err);
    put_encoder(job->writer, encoder);
    ak_mutex_lock(&job->lock);
    job->busy--;
    job->is_done[at] = rc == AK_OK;
    if (rc != AK_OK && job->rc == AK_OK) {
        job->rc = rc;
        job->err = err;
    }
    ak_cond_broadcast(&job->moved);
    return true;
}

static void help(void *arg)
{
    struct chunk_job *job = arg;
    ak_mutex_lock(&job->lock);
    while (!is_over(job)) {
        if (!encode_next(job)) {
            ak_cond_wait(&job->moved, &job->lock);
        }
    }
    ak_mutex_unlock(&job->lock);
    unref(job);
}

static void ask_for_help(struct chunk_job *job)
{
    struct ak_pool *pool = job->writer->pool;
    unsigned wanted = pool && job->count > 1 ? ak_pool_threads(pool) : 0;
    wanted = wanted < HELPERS_MAX ? wanted : HELPERS_MAX;
    wanted = wanted < job->count - 1 ? wanted : (unsigned)(job->count - 1);
    job->ahead = 2 * ((size_t)wanted + 1);
    for (unsigned i = 0; i < wanted; i++) {
        job->refs++; /* who knows the job already holds a reference of its own */
        ak_mutex_unlock(&job->lock);
        enum ak_rc rc = ak_pool_submit(pool, help, job, NULL);
        ak_mutex_lock(&job->lock);
        if (rc != AK_OK) { /* it is busy: this thread does the work */
            job->refs--;
            return;
        }
    }
}

static enum ak_rc send_page(struct ak_parquet_writer *writer, struct ak_page_out *page,
                            struct ak_chunk_out *chunk, struct ak_err *err)
{
    page->at = writer->at;
    chunk->compressed += page->len;
    chunk->uncompressed += page->raw_len;
    enum ak_rc rc = send(writer, page->bytes.p + page->begin, page->len, err);
    put_spare(writer, &page->bytes);
    return rc;
}

/* Encode what nobody else does, send what is ready, in order. */
static enum ak_rc run_chunk(struct chunk_job *job, struct ak_chunk_out *chunk, struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    ak_mutex_lock(&job->lock);
    ask_for_help(job);
    while (rc == AK_OK && job->sent < job->count && job->rc == AK_OK) {
        if (job->is_done[job->sent]) {
            struct ak_page_out *page = &job->pages[job->sent++];
            ak_cond_broadcast(&job->moved);
            ak_mutex_unlock(&job->lock);
            rc = send_page(job->writer, page, chunk, err);
            ak_mutex_lock(&job->lock);
        } else if (!encode_next(job)) {
            ak_cond_wait(&job->moved, &job->lock);
        }
    }
    if (rc == AK_OK && job->rc != AK_OK) {
        rc = ak_fail(err, job->rc, "%s", job->err.text);
    }
    job->next = job->count; /* who comes late, or waits, finds nothing to do */
    ak_cond_broadcast(&job->moved);
    while (job->busy > 0) {
        ak_cond_wait(&job->moved, &job->lock);
    }
    ak_mutex_unlock(&job->lock);
    return rc;
}

/* Whole rows of about page_bytes. NULL: no memory. */
static struct ak_page_out *cut_pages(const struct ak_parquet_writer *writer,
                                     const struct ak_chunk_in *in, uint64_t rows, size_t *count)
{
    const struct ak_parquet_column *column = in->column;
    size_t width = ak_parquet_width(column->type);
    bool is_bytes = width == 0;
    struct ak_page_out *pages = NULL;
    size_t n = 0;
    size_t cap = 0;
    for (uint64_t row = 0; row < rows;) {
        uint64_t first = row;
        size_t bytes = 0;
        while (row < rows &&
               (row == first || (bytes < writer->page_bytes && row - first < PAGE_ROWS_MAX))) {
            bool is_null = in->values->valid && !in->values->valid[row];
            size_t one = column->is_list ? (size_t)column->dimension * width
                         : is_null       ? 0
                         : is_bytes      ? in->values->bytes[row].len + 4
                                         : width;
            if (row > first && bytes + one > writer->page_bytes) {
                break;
            }
            bytes += one;
            row++;
        }
        if (n == cap) {
            cap = cap ? cap * 2 : 16;
            struct ak_page_out *grown = ak_try_realloc(pages, cap * sizeof *grown);
            if (!grown) {
                ak_free(pages);
                return NULL;
            }
            pages = grown;
        }
        pages[n++] = (struct ak_page_out){.first_row = first, .rows = row - first};
    }
    *count = n;
    return pages;
}

static uint64_t *count_before(const struct ak_chunk_in *in, const struct ak_page_out *pages,
                              size_t count)
{
    uint64_t *before = ak_try_alloc((count + 1) * sizeof *before);
    uint64_t sum = 0;
    for (size_t i = 0; before && i < count; i++) {
        before[i] = sum;
        if (in->column->is_list) {
            sum += pages[i].rows * in->column->dimension;
            continue;
        }
        for (uint64_t row = pages[i].first_row; row < pages[i].first_row + pages[i].rows; row++) {
            sum += !in->values->valid || in->values->valid[row];
        }
    }
    return before;
}

static enum ak_rc put_dictionary(struct ak_parquet_writer *writer, const struct ak_chunk_in *in,
                                 struct ak_chunk_out *chunk, struct ak_err *err)
{
    struct ak_page_out page = {0};
    struct ak_encoder *encoder = take_encoder(writer);
    page.bytes = take_spare(writer);
    enum ak_rc rc = ak_page_encode_dictionary(&writer->format, in->dictionary, encoder, &page, err);
    put_encoder(writer, encoder);
    if (rc == AK_OK) {
        chunk->has_dictionary = true;
        chunk->dictionary_at = writer->at;
        rc = send_page(writer, &page, chunk, err);
    }
    ak_buf_release(&page.bytes);
    return rc;
}

static struct chunk_job *open_job(struct ak_parquet_writer *writer, const struct ak_chunk_in *in,
                                  struct ak_chunk_out *chunk, uint64_t *before)
{
    struct chunk_job *job = ak_try_zalloc(sizeof *job);
    bool *is_done = ak_try_zalloc(chunk->page_count * sizeof *is_done);
    if (!job || !is_done) {
        ak_free(job);
        ak_free(is_done);
        return NULL;
    }
    job->writer = writer;
    job->in = *in;
    job->pages = chunk->pages;
    job->values_before = before;
    job->count = chunk->page_count;
    job->is_done = is_done;
    job->refs = 1;
    ak_mutex_init(&job->lock, AK_RANK_LEAF, "parquet chunk");
    ak_cond_init(&job->moved);
    return job;
}

static enum ak_rc choose_format(struct ak_parquet_writer *writer, const struct ak_chunk_in *in,
                                uint64_t rows, struct ak_page_format *format, struct ak_err *err)
{
    struct ak_encoder *encoder = take_encoder(writer);
    *format = writer->format;
    enum ak_rc rc = ak_page_choose_level(&writer->format, in, rows, encoder, &format->level, err);
    put_encoder(writer, encoder);
    return rc;
}

static enum ak_rc put_pages(struct ak_parquet_writer *writer, const struct ak_chunk_in *in,
                            uint64_t rows, struct ak_chunk_out *chunk, struct ak_err *err)
{
    chunk->pages = cut_pages(writer, in, rows, &chunk->page_count);
    uint64_t *before = chunk->pages ? count_before(in, chunk->pages, chunk->page_count) : NULL;
    struct chunk_job *job = before ? open_job(writer, in, chunk, before) : NULL;
    if (!job) {
        ak_free(before);
        return ak_fail(err, AK_NOMEM, "pages of column '%s'", in->column->name);
    }
    chunk->data_at = writer->at;
    enum ak_rc rc = choose_format(writer, in, rows, &job->format, err);
    rc = rc == AK_OK ? run_chunk(job, chunk, err) : rc;
    unref(job);
    ak_free(before);
    bool is_unbounded = false;
    for (size_t i = 0; i < chunk->page_count; i++) {
        struct ak_page_out *page = &chunk->pages[i];
        ak_buf_release(&page->bytes);
        chunk->nulls += page->nulls;
        ak_bounds_merge(in->column, &page->bounds, &chunk->bounds);
        /* Bytes that have no upper bound of the length kept; without numbers it is NaN, which
         * bounds do not count. */
        is_unbounded |= ak_parquet_width(in->column->type) == 0 && !page->bounds.is_set &&
                        page->nulls < page->rows;
    }
    chunk->bounds.is_set &= !is_unbounded;
    return rc;
}

/* --- Groups --- */

static enum ak_rc misuse(struct ak_err *err, const char *text)
{
    return ak_fail(err, AK_INVALID, "%s", text);
}

enum ak_rc ak_parquet_begin_group(struct ak_parquet_writer *writer, uint64_t rows,
                                  struct ak_err *err)
{
    if (writer->failed || writer->in_group || rows < 1 || rows > INT32_MAX) {
        return misuse(err,
                      "a row group begins after the one before has ended, with 1 to 2^31 - 1 rows");
    }
    if (writer->group_count == GROUPS_MAX) {
        return ak_fail(err, AK_TOO_BIG, "more than %u row groups: write more rows a group",
                       GROUPS_MAX);
    }
    if (writer->group_count == writer->group_cap) {
        size_t cap = writer->group_cap ? writer->group_cap * 2 : 16;
        struct ak_group_out *grown = ak_try_realloc(writer->groups, cap * sizeof *grown);
        if (!grown) {
            return ak_fail(err, AK_NOMEM, "row groups");
        }
        writer->groups = grown;
        writer->group_cap = cap;
    }
    struct ak_chunk_out *chunks = ak_try_zalloc(writer->column_count * sizeof *chunks);
    if (!chunks) {
        return ak_fail(err, AK_NOMEM, "a row group");
    }
    writer->groups[writer->group_count++] =
        (struct ak_group_out){.rows = rows, .at = writer->at, .chunks = chunks};
    writer->in_group = true;
    writer->next_column = 0;
    return AK_OK;
}

static enum ak_rc put_column(struct ak_parquet_writer *writer,
                             const struct ak_parquet_column *column,
                             const struct ak_parquet_values *values, struct ak_err *err)
{
    struct ak_group_out *group = &writer->groups[writer->group_count - 1];
    struct ak_chunk_out *chunk = &group->chunks[writer->next_column];
    struct ak_chunk_in in = {.column = column, .values = values};
    struct ak_dictionary dictionary = {0};
    enum ak_rc rc = AK_OK;
    chunk->values = column->is_list ? group->rows * column->dimension : group->rows;
    if (column->has_dictionary) {
        rc = values->codes
                 ? ak_dictionary_take(column, values->codes, chunk->values, &dictionary, err)
                 : ak_dictionary_make(column, values, group->rows, &dictionary, err);
        in.dictionary = dictionary.count ? &dictionary : NULL;
    }
    if (rc == AK_OK && in.dictionary) {
        rc = put_dictionary(writer, &in, chunk, err);
    }
    if (rc == AK_OK) {
        rc = put_pages(writer, &in, group->rows, chunk, err);
    }
    ak_dictionary_release(&dictionary);
    return rc;
}

enum ak_rc ak_parquet_put(struct ak_parquet_writer *writer, const struct ak_parquet_values *values,
                          struct ak_err *err)
{
    if (writer->failed || !writer->in_group || writer->next_column == writer->column_count) {
        return misuse(err, "every column is put once, within a row group");
    }
    const struct ak_parquet_column *column = &writer->columns[writer->next_column];
    if (values->valid && !column->is_optional) {
        return ak_fail(err, AK_INVALID, "column '%s' is required and cannot have nulls",
                       column->name);
    }
    if (column->is_list != (values->row || values->codes)) {
        return ak_fail(err, AK_INVALID, "column '%s': lists are given by row", column->name);
    }
    if (values->codes && !(column->is_list && column->has_dictionary)) {
        return ak_fail(err, AK_INVALID, "column '%s': codes are of lists with a dictionary",
                       column->name);
    }
    enum ak_rc rc = put_column(writer, column, values, err);
    writer->failed |= rc != AK_OK;
    writer->next_column++;
    return rc == AK_OK ? rc : ak_wrap(err, rc, "column '%s'", column->name);
}

enum ak_rc ak_parquet_end_group(struct ak_parquet_writer *writer, struct ak_err *err)
{
    if (writer->failed || !writer->in_group || writer->next_column < writer->column_count) {
        return misuse(err, "a row group ends when every column was put");
    }
    writer->in_group = false;
    writer->rows += writer->groups[writer->group_count - 1].rows;
    return AK_OK;
}

/* --- The end --- */

/* All column indexes, then all offset indexes. Lists have no column index: nothing to compare. */
static enum ak_rc put_page_index(struct ak_parquet_writer *writer, bool offsets, struct ak_buf *buf,
                                 struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    for (size_t i = 0; i < writer->group_count * writer->column_count && rc == AK_OK; i++) {
        size_t column = i % writer->column_count;
        struct ak_chunk_out *chunk = &writer->groups[i / writer->column_count].chunks[column];
        bool has_index = offsets || (!writer->columns[column].is_list &&
                                     writer->columns[column].type != AK_PARQUET_FIXED);
        for (size_t p = 0; p < chunk->page_count && !offsets; p++) { /* nothing but NaN in a page */
            has_index &=
                chunk->pages[p].bounds.is_set || chunk->pages[p].nulls == chunk->pages[p].rows;
        }
        if (!has_index) {
            continue;
        }
        ak_buf_clear(buf);
        if (offsets) {
            ak_meta_offset_index(chunk, buf);
        } else {
            ak_meta_column_index(&writer->columns[column], chunk, buf);
        }
        rc = ak_buf_check(buf, err);
        *(offsets ? &chunk->offset_index_at : &chunk->column_index_at) = writer->at;
        *(offsets ? &chunk->offset_index_len : &chunk->column_index_len) = (uint32_t)buf->len;
        rc = rc == AK_OK ? send(writer, buf->p, buf->len, err) : rc;
    }
    return rc;
}

static enum ak_rc put_footer(struct ak_parquet_writer *writer, struct ak_buf *buf,
                             struct ak_err *err)
{
    const struct ak_meta_file file = {
        .columns = writer->columns,
        .column_count = writer->column_count,
        .groups = writer->groups,
        .group_count = writer->group_count,
        .pairs = writer->pairs,
        .pair_count = writer->pair_count,
        .created_by = writer->created_by,
        .codec = writer->format.codec,
        .v2 = writer->format.v2,
    };
    ak_buf_clear(buf);
    ak_meta_footer(&file, buf);
    uint32_t len = (uint32_t)buf->len;
    ak_buf_add(buf, &len, sizeof len);
    ak_buf_add_str(buf, AK_STR(AK_PARQUET_MAGIC));
    enum ak_rc rc = ak_buf_check(buf, err);
    return rc == AK_OK ? send(writer, buf->p, buf->len, err) : rc;
}

enum ak_rc ak_parquet_finish(struct ak_parquet_writer *writer, struct ak_parquet_summary *summary,
                             struct ak_err *err)
{
    struct ak_buf buf;
    ak_buf_init(&buf, FOOTER_MAX);
    enum ak_rc rc =
        writer->failed || writer->in_group
            ? misuse(err, "a file ends after its last row group, and not after a failure")
            : AK_OK;
    if (rc == AK_OK && !writer->no_page_index) {
        rc = put_page_index(writer, false, &buf, err);
        rc = rc == AK_OK ? put_page_index(writer, true, &buf, err) : rc;
    }
    if (rc == AK_OK) {
        rc = put_footer(writer, &buf, err);
    }
    if (rc == AK_OK && summary) {
        *summary = (struct ak_parquet_summary){writer->at, writer->rows, writer->group_count};
    }
    ak_buf_release(&buf);
    ak_parquet_abandon(writer);
    return rc;
}

void ak_parquet_abandon(struct ak_parquet_writer *writer)
{
    if (!writer) {
        return;
    }
    for (size_t i = 0; i < writer->group_count; i++) {
        for (size_t c = 0; c < writer->column_count; c++) {
            ak_free(writer->groups[i].chunks[c].pages);
        }
        ak_free(writer->groups[i].chunks);
    }
    for (size_t i = 0; i < writer->pair_count; i++) {
        ak_free(writer->pairs[i].key);
        ak_free(writer->pairs[i].value);
    }
    while (writer->encoders) {
        struct ak_encoder *encoder = writer->encoders;
        writer->encoders = encoder->next;
        ak_encoder_release(encoder);
        ak_free(encoder);
    }
    while (writer->spare_count) {
        ak_buf_release(&writer->spares[--writer->spare_count]);
    }
    ak_mutex_release(&writer->lock);
    ak_free(writer->groups);
    ak_free(writer->pairs);
    ak_free(writer->columns);
    ak_free(writer->created_by);
    ak_free(writer);
}

uint64_t ak_parquet_written(const struct ak_parquet_writer *writer)
{
    return writer->at;
}
