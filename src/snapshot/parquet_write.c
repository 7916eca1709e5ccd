/* parquet_write.c — documents as a Parquet table, and the export, which is the same table alone.
 *
 *   document_id   string, 36 characters      external_id   string, or null
 *   vector        list of float, all of the collection's dimension
 *   metadata      JSON, or null               inserted_at   timestamp in µs, UTC
 *
 * A row group's vectors are not copied: pages are encoded straight from the source's rows. Only the
 * lossy encodings make something of a group first: bf16 its floats, q8 the numbers of its floats in
 * a codebook. The content hash is of what is stored. What is to be done for each row before its
 * page is (rounding, hashing) is done in parts, on the pool's threads and this one.
 */
#include "base/mem.h"
#include "parquet/quantise.h"
#include "parquet/writer.h"
#include "snapshot/snapshot_priv.h"
#include <stdio.h>
#include <string.h>

#define GROUPS_MAX 16384u /* what a reader describes in tens of megabytes */
#define GROUP_ROWS 10000u
#define GROUP_BYTES ((uint64_t)32 << 20) /* of vectors: as many are mapped while it is written */
#define PARTS 4u                         /* of a group, each prepared by a thread */
#define PART_ROWS_MIN 256u
#define CODES_MIN ((uint64_t)8192) /* fewer values are hardly more than their dictionary */

struct table {
    const struct ak_snapshot_source *source;
    const struct ak_snapshot_options *options;
    struct ak_parquet_writer *writer;
    uint32_t group_rows; /* at most */
    struct ak_document *docs;
    struct ak_str *texts; /* one column of them at a time */
    char *ids;            /* group_rows · AK_UUID_TEXT_LEN */
    uint8_t *valid;
    int64_t *times;
    uint64_t *hashes; /* of the vectors */
    /* q8: the rows' codes and what they stand for; a handful of values has no use for them. */
    uint8_t *codes;
    struct ak_codebook book;
    bool has_codes;
    float
        *coarse; /* bf16, and q8 without codes: group_rows · dimension; else a row for each part */
    uint64_t content;
    double max_error;
};

static bool is_lossy(const struct ak_snapshot_options *options)
{
    return options->encoding == AK_SNAPSHOT_BF16 || options->encoding == AK_SNAPSHOT_Q8;
}

static uint32_t rows_of_group(const struct ak_snapshot_source *source,
                              const struct ak_snapshot_options *options)
{
    uint64_t bytes = is_lossy(options) ? GROUP_BYTES / 2 : GROUP_BYTES; /* with the coarse ones */
    uint64_t most = bytes / (source->info.dimension * sizeof(float)) + 1;
    uint64_t wanted = options->row_group_rows ? options->row_group_rows : GROUP_ROWS;
    uint64_t least = source->rows / GROUPS_MAX + 1;
    wanted = wanted < most ? wanted : most;
    wanted = wanted > least ? wanted : least;
    return (uint32_t)(wanted < source->rows ? wanted : source->rows ? source->rows : 1);
}

static enum ak_rc init_lossy(struct table *t)
{
    uint64_t values = (uint64_t)t->group_rows * t->source->info.dimension;
    t->has_codes = t->options->encoding == AK_SNAPSHOT_Q8 && values >= CODES_MIN;
    uint64_t floats = t->has_codes ? (uint64_t)PARTS * t->source->info.dimension : values;
    t->codes = t->has_codes ? ak_try_alloc((size_t)values) : NULL;
    t->coarse = ak_try_alloc((size_t)floats * sizeof *t->coarse);
    return t->coarse && (t->codes || !t->has_codes) ? AK_OK : AK_NOMEM;
}

static enum ak_rc table_init(struct table *t, struct ak_err *err)
{
    size_t n = t->group_rows;
    t->docs = ak_try_alloc(n * sizeof *t->docs);
    t->texts = ak_try_alloc(n * sizeof *t->texts);
    t->ids = ak_try_alloc(n * AK_UUID_TEXT_LEN);
    t->valid = ak_try_alloc(n);
    t->times = ak_try_alloc(n * sizeof *t->times);
    t->hashes = ak_try_alloc(n * sizeof *t->hashes);
    enum ak_rc rc = is_lossy(t->options) ? init_lossy(t) : AK_OK;
    return t->docs && t->texts && t->ids && t->valid && t->times && t->hashes && rc == AK_OK
               ? AK_OK
               : ak_fail(err, AK_NOMEM, "a row group of %zu documents", n);
}

static void table_release(struct table *t)
{
    ak_parquet_abandon(t->writer);
    ak_free(t->docs);
    ak_free(t->texts);
    ak_free(t->ids);
    ak_free(t->valid);
    ak_free(t->times);
    ak_free(t->hashes);
    ak_free(t->codes);
    ak_free(t->coarse);
}

/* --- A row group --- */

static enum ak_rc read_group(struct table *t, uint64_t from, uint64_t rows, struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    for (uint64_t at = 0; at < rows && rc == AK_OK; at += AK_SNAPSHOT_ROWS_STEP) {
        uint64_t n = rows - at < AK_SNAPSHOT_ROWS_STEP ? rows - at : AK_SNAPSHOT_ROWS_STEP;
        rc = t->source->read(t->source->ctx, from + at, (size_t)n, t->docs + at, err);
    }
    return rc;
}

struct part { /* rows [from, to) of the group, by one thread */
    struct table *t;
    uint64_t from, to;
    unsigned number;
    struct ak_codebook_range *range; /* looking: what its floats are like */
    double max_error;
};

static void look(void *ctx)
{
    const struct part *part = ctx;
    for (uint64_t i = part->from; i < part->to; i++) {
        ak_codebook_look(part->range, part->t->docs[i].vector, part->t->source->info.dimension);
    }
}

/* The floats that are stored in place of the source's, and the hash of what is stored. */
static void prepare(void *ctx)
{
    struct part *part = ctx;
    struct table *t = part->t;
    uint32_t dimension = t->source->info.dimension;
    enum ak_snapshot_encoding encoding = t->options->encoding;
    for (uint64_t i = part->from; i < part->to; i++) {
        const float *stored = t->docs[i].vector;
        if (t->has_codes) {
            float *row = t->coarse + (uint64_t)part->number * dimension;
            ak_codebook_code(&t->book, stored, row, t->codes + i * dimension, dimension,
                             &part->max_error);
            stored = row;
        } else if (t->coarse) {
            float *row = t->coarse + i * dimension;
            if (encoding == AK_SNAPSHOT_Q8) {
                ak_codebook_round(&t->book, stored, row, dimension, &part->max_error);
            } else {
                ak_bf16_round(stored, row, dimension, &part->max_error);
            }
            stored = t->docs[i].vector = row;
        }
        t->hashes[i] = ak_snapshot_vector_hash(stored, dimension);
    }
}

/* `fn` of each part: the first here, the others on the pool, or here too. */
static void run_parts(struct table *t, struct part *parts, unsigned count, void (*fn)(void *ctx))
{
    struct ak_snapshot_side *sides[PARTS] = {NULL};
    for (unsigned i = 1; i < count; i++) {
        sides[i] = ak_snapshot_side_start(t->options->pool, fn, &parts[i]);
    }
    fn(&parts[0]);
    for (unsigned i = 1; i < count; i++) {
        ak_snapshot_side_finish(sides[i], NULL, NULL);
    }
}

static enum ak_rc make_book(struct table *t, struct part *parts, unsigned count, struct ak_err *err)
{
    struct ak_codebook_range *ranges = ak_try_zalloc(count * sizeof *ranges);
    if (!ranges) {
        return ak_fail(err, AK_NOMEM, "what a row group's floats are like");
    }
    for (unsigned i = 0; i < count; i++) {
        parts[i].range = &ranges[i];
    }
    run_parts(t, parts, count, look);
    for (unsigned i = 1; i < count; i++) {
        ak_codebook_range_merge(&ranges[0], &ranges[i]);
    }
    ak_codebook_make(&ranges[0], &t->book);
    ak_free(ranges);
    return AK_OK;
}

static enum ak_rc prepare_group(struct table *t, uint64_t rows, struct ak_err *err)
{
    struct part parts[PARTS];
    uint64_t step = (rows + PARTS - 1) / PARTS;
    unsigned count = 0;
    enum ak_rc rc = AK_OK;
    step = step > PART_ROWS_MIN ? step : PART_ROWS_MIN;
    AK_ASSERT(rows > 0);
    for (uint64_t from = 0; from < rows; from += step) {
        uint64_t to = rows - from < step ? rows : from + step;
        parts[count] = (struct part){.t = t, .from = from, .to = to, .number = count};
        count++;
    }
    if (t->options->encoding == AK_SNAPSHOT_Q8) {
        rc = make_book(t, parts, count, err);
    }
    if (rc == AK_OK) {
        run_parts(t, parts, count, prepare);
    }
    for (unsigned i = 0; rc == AK_OK && i < count; i++) {
        t->max_error = t->max_error > parts[i].max_error ? t->max_error : parts[i].max_error;
    }
    return rc;
}

static const void *vector_of(void *ctx, uint64_t row)
{
    const struct table *t = ctx;
    return t->docs[row].vector;
}

static enum ak_rc put_ids(struct table *t, uint64_t rows, struct ak_err *err)
{
    for (uint64_t i = 0; i < rows; i++) {
        char *text = t->ids + i * AK_UUID_TEXT_LEN;
        ak_uuid_format(&t->docs[i].id, text);
        t->texts[i] = (struct ak_str){text, AK_UUID_TEXT_LEN};
    }
    const struct ak_parquet_values values = {.bytes = t->texts};
    return ak_parquet_put(t->writer, &values, err);
}

/* External ids or metadata: empty ones are null. */
static enum ak_rc put_optional(struct table *t, uint64_t rows, bool metadata, struct ak_err *err)
{
    for (uint64_t i = 0; i < rows; i++) {
        t->texts[i] = metadata ? t->docs[i].metadata : t->docs[i].external_id;
        t->valid[i] = t->texts[i].len > 0;
    }
    const struct ak_parquet_values values = {.bytes = t->texts, .valid = t->valid};
    return ak_parquet_put(t->writer, &values, err);
}

static enum ak_rc put_group(struct table *t, uint64_t from, uint64_t rows, struct ak_err *err)
{
    enum ak_rc rc = read_group(t, from, rows, err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = prepare_group(t, rows, err);
    if (rc != AK_OK) {
        return rc;
    }
    for (uint64_t i = 0; i < rows; i++) {
        t->content = ak_snapshot_content_chain(t->content, &t->docs[i], t->hashes[i]);
        t->times[i] = t->docs[i].inserted_us;
    }
    const struct ak_parquet_codes codes = {.values = t->book.values, .indexes = t->codes};
    const struct ak_parquet_values vectors = {
        .row = vector_of, .ctx = t, .codes = t->has_codes ? &codes : NULL};
    const struct ak_parquet_values times = {.fixed = t->times};
    if ((rc = ak_parquet_begin_group(t->writer, rows, err)) || (rc = put_ids(t, rows, err)) ||
        (rc = put_optional(t, rows, false, err)) ||
        (rc = ak_parquet_put(t->writer, &vectors, err)) ||
        (rc = put_optional(t, rows, true, err)) || (rc = ak_parquet_put(t->writer, &times, err))) {
        return rc;
    }
    return ak_parquet_end_group(t->writer, err);
}

/* --- The file --- */

static enum ak_rc create(struct table *t, const struct ak_snapshot_sink *sink, struct ak_err *err)
{
    enum ak_snapshot_encoding encoding = t->options->encoding;
    bool split = encoding == AK_SNAPSHOT_LOSSLESS || encoding == AK_SNAPSHOT_BF16;
    const struct ak_parquet_meaning text = {.annotation = AK_PARQUET_STRING};
    const struct ak_parquet_column columns[] = {
        {.name = "document_id", .type = AK_PARQUET_BYTE_ARRAY, .meaning = text},
        {.name = "external_id",
         .type = AK_PARQUET_BYTE_ARRAY,
         .meaning = text,
         .is_optional = true},
        {.name = "vector",
         .type = AK_PARQUET_FLOAT,
         .is_list = true,
         .dimension = t->source->info.dimension,
         .encoding = split ? AK_PARQUET_BYTE_STREAM_SPLIT : AK_PARQUET_PLAIN,
         .has_dictionary = encoding == AK_SNAPSHOT_Q8},
        {.name = "metadata",
         .type = AK_PARQUET_BYTE_ARRAY,
         .meaning = {.annotation = AK_PARQUET_JSON},
         .is_optional = true},
        {.name = "inserted_at",
         .type = AK_PARQUET_INT64,
         .meaning = {.annotation = AK_PARQUET_TIMESTAMP,
                     .unit = AK_PARQUET_MICROS,
                     .is_utc = true}},
    };
    const struct ak_parquet_write_options options = {.codec = t->options->compression,
                                                     .pool = t->options->pool};
    const struct ak_parquet_sink to = {sink->ctx, sink->write};
    return ak_parquet_create(&to, columns, sizeof columns / sizeof columns[0], &options, &t->writer,
                             err);
}

static enum ak_rc add(struct table *t, const char *key, struct ak_err *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static enum ak_rc add(struct table *t, const char *key, struct ak_err *err, const char *fmt, ...)
{
    char text[80];
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return ak_parquet_add_metadata(t->writer, ak_str_of(key), (struct ak_str){text, (size_t)len},
                                   err);
}

static enum ak_rc add_metadata(struct table *t, struct ak_err *err)
{
    const struct ak_collection_info *info = &t->source->info;
    char id[AK_UUID_TEXT_LEN];
    struct ak_buf schema;
    enum ak_rc rc = AK_OK;
    ak_uuid_format(&info->id, id);
    ak_buf_init(&schema, 4096);
    ak_parquet_arrow_documents(info->dimension, &schema);
    rc = ak_buf_check(&schema, err);
    if (rc == AK_OK &&
        ((rc = add(t, "akidb.format_version", err, "%d", AK_SNAPSHOT_FORMAT_VERSION)) ||
         (rc = add(t, "akidb.collection_id", err, "%.*s", AK_UUID_TEXT_LEN, id)) ||
         (rc = add(t, "akidb.dim", err, "%u", info->dimension)) ||
         (rc = add(t, "akidb.metric", err, "%s", ak_metric_name(info->metric))) ||
         (rc = add(t, "akidb.encoding", err, "%s",
                   ak_snapshot_encoding_name(t->options->encoding))) ||
         (rc = add(t, "akidb.max_error", err, "%.9g", t->max_error)) ||
         (rc = add(t, "akidb.content_xxh64", err, "%016llx", (unsigned long long)t->content)))) {
        ak_buf_release(&schema);
        return rc;
    }
    if (rc == AK_OK) {
        rc = ak_parquet_add_metadata(t->writer, AK_STR(AK_PARQUET_ARROW_KEY), ak_buf_str(&schema),
                                     err);
    }
    ak_buf_release(&schema);
    return rc;
}

enum ak_rc ak_snapshot_parquet_write(const struct ak_snapshot_source *source,
                                     const struct ak_snapshot_options *options,
                                     const struct ak_snapshot_sink *sink,
                                     const struct ak_snapshot_ticker *ticker, double *max_error,
                                     struct ak_err *err)
{
    struct table t = {
        .source = source, .options = options, .group_rows = rows_of_group(source, options)};
    enum ak_rc rc = table_init(&t, err);
    if (rc == AK_OK) {
        rc = create(&t, sink, err);
    }
    for (uint64_t from = 0; from < source->rows && rc == AK_OK; from += t.group_rows) {
        uint64_t left = source->rows - from;
        uint64_t rows = left < t.group_rows ? left : t.group_rows;
        rc = put_group(&t, from, rows, err);
        ak_snapshot_source_passed(source, from + rows);
        if (rc == AK_OK) {
            rc = ak_snapshot_tick(ticker, (double)(from + rows) / (double)source->rows, err);
        }
    }
    if (rc == AK_OK) {
        rc = add_metadata(&t, err);
    }
    if (rc == AK_OK) {
        rc = ak_parquet_finish(t.writer, NULL, err);
        t.writer = NULL;
    }
    table_release(&t);
    if (rc == AK_OK) {
        *max_error = t.max_error;
    }
    return rc;
}

enum ak_rc ak_snapshot_export(const struct ak_snapshot_source *source,
                              const struct ak_snapshot_options *options, ak_snapshot_sink_fn sink,
                              void *sink_ctx, ak_snapshot_progress progress, void *progress_ctx,
                              double *max_error, struct ak_err *err)
{
    const struct ak_snapshot_sink to = {sink, sink_ctx};
    const struct ak_snapshot_ticker ticker = {progress, progress_ctx};
    double error = 0;
    enum ak_rc rc = source->rows ? ak_snapshot_source_check(source, err) : AK_OK;
    if (rc == AK_OK) { /* an empty collection gives a table without rows */
        rc = ak_snapshot_parquet_write(source, options, &to, &ticker, &error, err);
    }
    if (rc == AK_OK && max_error) {
        *max_error = error;
    }
    return rc == AK_OK ? rc : ak_wrap(err, rc, "export '%.*s'", AK_STR_ARG(source->info.name));
}
