/* s3_put.c — bodies that go: one request, or many parts; and what "only if absent" takes.
 *
 * A conditional put carries a write id of its own in the object's metadata. When its answer is lost
 * and the next try is told 412, the object's id says whether it was our own write that won.
 */
#include "base/encode.h"
#include "base/uuid.h"
#include "objstore/s3_priv.h"
#include <stdio.h>

enum ak_rc ak_s3_source_read(const struct s3_source *source, uint64_t at, void *p, size_t len,
                             struct ak_err *err)
{
    if (source->file) {
        return ak_file_read_exact(source->file, at, p, len, err);
    }
    memcpy(p, source->p + at, len);
    return AK_OK;
}

void ak_s3_write_id(char id[S3_WRITE_ID_MAX])
{
    uint8_t bytes[16];
    ak_random_bytes(bytes, sizeof bytes);
    ak_hex(bytes, sizeof bytes, id);
}

size_t ak_s3_put_headers(const struct ak_objstore_put_options *options, const char *write_id,
                         struct ak_httpc_header headers[S3_HEADERS_MAX])
{
    const char *type = options->content_type ? options->content_type : "application/octet-stream";
    size_t count = 0;
    headers[count++] = (struct ak_httpc_header){AK_STR("Content-Type"), ak_str_of(type)};
    if (write_id) {
        headers[count++] =
            (struct ak_httpc_header){AK_STR(S3_WRITE_ID_HEADER), ak_str_of(write_id)};
    }
    return count;
}

/* --- Conditions --- */

enum ak_rc ak_s3_condition(struct s3_store *store, struct ak_httpc_header *header,
                           struct ak_err *err)
{
    /* Relaxed: what a probe found is a fact about the server, found again at worst. */
    int how = atomic_load_explicit(&store->conditional, memory_order_relaxed);
    if (how == S3_COND_UNKNOWN) {
        enum ak_rc rc = ak_s3_probe(store, err);
        if (rc != AK_OK) {
            return rc;
        }
        how = atomic_load_explicit(&store->conditional, memory_order_relaxed);
    }
    if (how == S3_COND_NONE) {
        return ak_fail(err, AK_UNSUPPORTED,
                       "this server ignores If-None-Match, so a put cannot be made conditional: "
                       "use one that has conditional writes");
    }
    *header = how == S3_COND_GENERATION
                  ? (struct ak_httpc_header){AK_STR("x-goog-if-generation-match"), AK_STR("0")}
                  : (struct ak_httpc_header){AK_STR("If-None-Match"), AK_STR("*")};
    return AK_OK;
}

static enum ak_rc probe_put(struct s3_store *store, struct ak_str key,
                            const struct ak_httpc_header *condition, int *status,
                            struct ak_err *err)
{
    struct s3_series series;
    const struct s3_call call = {.operation = "probe",
                                 .method = "PUT",
                                 .key = key,
                                 .headers = condition,
                                 .header_count = 1,
                                 .body = AK_STR("akidb asks whether puts can be conditional\n")};
    enum ak_rc rc = ak_s3_do(store, &call, &series, err);
    *status = series.response.failure == AK_HTTPC_NONE ? series.response.status : 0;
    ak_s3_series_release(&series);
    return rc;
}

/* Two conditional puts of one new key: the second must lose. */
enum ak_rc ak_s3_probe(struct s3_store *store, struct ak_err *err)
{
    const struct s3_place *place = atomic_load_explicit(&store->place, memory_order_acquire);
    bool is_google = strstr(place->host, "storage.googleapis.com") != NULL;
    const struct ak_httpc_header conditions[] = {
        {AK_STR("If-None-Match"), AK_STR("*")},
        {AK_STR("x-goog-if-generation-match"), AK_STR("0")}};
    const struct ak_httpc_header *condition = &conditions[is_google];
    char id[S3_WRITE_ID_MAX];
    char key[S3_WRITE_ID_MAX + 16];
    int first = 0;
    int second = 0;
    ak_s3_write_id(id);
    (void)snprintf(key, sizeof key, ".akidb-probe-%s", id);
    enum ak_rc rc = probe_put(store, ak_str_of(key), condition, &first, err);
    bool met_itself = first == 412; /* its answer was lost, and the next try met what it had put */
    if (rc == AK_OK || met_itself) {
        rc = met_itself ? AK_OK : probe_put(store, ak_str_of(key), condition, &second, err);
        struct ak_err ignored; /* a probe that stays is 43 bytes */
        (void)!store->base.ops->remove(&store->base, ak_str_of(key), &ignored);
    }
    int found = S3_COND_UNKNOWN;
    if (met_itself || second == 412 || second == 409) {
        found = is_google ? S3_COND_GENERATION : S3_COND_HEADER;
    } else if (rc == AK_OK || first == 501 || (first == 400 && rc == AK_INVALID)) {
        /* Ignored, or not known. A 400 for another reason, like a session that has ended, is not
         * it. */
        found = S3_COND_NONE;
    }
    if (found == S3_COND_UNKNOWN) {
        return ak_wrap(err, rc == AK_OK ? AK_UNAVAILABLE : rc, "probing conditional puts");
    }
    atomic_store_explicit(&store->conditional, found, memory_order_relaxed);
    return AK_OK;
}

enum ak_rc ak_s3_is_ours(struct s3_store *store, struct ak_str key, const char *id, bool *ours,
                         struct ak_err *err)
{
    struct s3_series series;
    const struct s3_call call = {.operation = "head", .method = "HEAD", .key = key};
    enum ak_rc rc = ak_s3_do(store, &call, &series, err);
    if (rc == AK_OK) {
        *ours = ak_str_eq(ak_httpc_header(&series.response, S3_WRITE_ID_HEADER), ak_str_of(id));
    }
    ak_s3_series_release(&series);
    return rc;
}

/* --- One request --- */

struct reading {
    const struct s3_source *source;
    struct s3_work *work;
    uint64_t high;
};

static enum ak_rc read_source(void *ctx, uint64_t at, void *p, size_t len, struct ak_err *err)
{
    struct reading *reading = ctx;
    enum ak_rc rc = ak_s3_source_read(reading->source, at, p, len, err);
    if (rc == AK_OK && reading->work && at + len > reading->high) {
        uint64_t more = at + len - reading->high;
        reading->high = at + len;
        rc = ak_s3_work_moved(reading->work, more, err);
    }
    return rc;
}

static enum ak_rc put_whole(struct s3_work *work, void *ctx, uint32_t part, struct ak_err *err)
{
    struct s3_store *store = ((struct s3_store *const *)ctx)[0];
    const struct s3_upload *upload = ((const struct s3_upload *const *)ctx)[1];
    struct reading quiet = {.source = upload->source};
    struct reading loud = {.source = upload->source, .work = work};
    struct ak_httpc_header headers[S3_HEADERS_MAX];
    char hash[65];
    char id[S3_WRITE_ID_MAX];
    struct s3_series series;
    bool conditional = upload->options->only_if_absent;
    enum ak_rc rc = AK_OK;
    (void)part;
    ak_s3_write_id(id);
    size_t count = ak_s3_put_headers(upload->options, conditional ? id : NULL, headers);
    if (conditional) {
        rc = ak_s3_condition(store, &headers[count++], err);
    }
    if (rc == AK_OK && !store->unsigned_payload) {
        rc = ak_s3_hash(read_source, &quiet, upload->source->size, hash, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    const struct s3_call call = {.operation = "put",
                                 .method = "PUT",
                                 .key = upload->key,
                                 .headers = headers,
                                 .header_count = count,
                                 .read = read_source,
                                 .body_len = upload->source->size,
                                 .body_hash = store->unsigned_payload ? AK_SIGV4_UNSIGNED : hash,
                                 .ctx = &loud,
                                 .cancel = ak_s3_work_cancel(work),
                                 .write_id = conditional ? id : NULL};
    rc = ak_s3_do(store, &call, &series, err);
    ak_s3_series_release(&series);
    return rc;
}

/* --- Many parts --- */

struct parts {
    struct s3_multipart multipart;
    const struct s3_source *source;
    uint64_t part_bytes;
};

static enum ak_rc put_part(struct s3_work *work, void *ctx, uint32_t part, struct ak_err *err)
{
    struct parts *parts = ctx;
    uint64_t from = part * parts->part_bytes;
    uint64_t left = parts->source->size - from;
    uint64_t len = left < parts->part_bytes ? left : parts->part_bytes;
    return ak_s3_multipart_part(&parts->multipart, part, parts->source, from, len, work,
                                ak_s3_work_cancel(work), err);
}

/* All parts are equal but the last (R2 wants that), whole MiB when they grow. */
static uint64_t part_bytes_for(const struct s3_store *store, uint64_t size)
{
    uint64_t least = (size + S3_PARTS_MAX - 1) / S3_PARTS_MAX;
    uint64_t mib = (uint64_t)1 << 20;
    return least <= store->part_bytes ? store->part_bytes : (least + mib - 1) / mib * mib;
}

static enum ak_rc put_parts(struct s3_store *store, const struct s3_upload *upload,
                            struct ak_err *err)
{
    struct parts parts = {.source = upload->source,
                          .part_bytes = part_bytes_for(store, upload->source->size)};
    if (parts.part_bytes > S3_PART_BYTES_MAX) {
        return ak_fail(err, AK_TOO_BIG, "%llu bytes are more than S3 takes as one object",
                       (unsigned long long)upload->source->size);
    }
    uint32_t count = (uint32_t)((upload->source->size + parts.part_bytes - 1) / parts.part_bytes);
    enum ak_rc rc =
        ak_s3_multipart_start(&parts.multipart, store, upload->key, upload->options, count, err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = ak_s3_work_run(store, count, put_part, &parts, upload->source->size, upload->progress,
                        upload->ctx, err);
    if (rc == AK_OK) {
        rc =
            ak_s3_multipart_complete(&parts.multipart, count, upload->options->only_if_absent, err);
    }
    if (rc != AK_OK) {
        ak_s3_multipart_abort(&parts.multipart);
    }
    ak_s3_multipart_release(&parts.multipart);
    return rc;
}

/* Sending hundreds of MiB to be told that there is one already is a waste. */
static enum ak_rc check_absent(struct s3_store *store, const struct s3_upload *upload,
                               struct ak_err *err)
{
    struct ak_arena arena;
    struct ak_object object;
    struct ak_err why;
    ak_arena_init(&arena, 0);
    enum ak_rc rc = store->base.ops->head(&store->base, upload->key, &arena, &object, &why);
    ak_arena_release(&arena);
    return rc == AK_OK ? ak_fail(err, AK_EXISTS, "there is one already") : AK_OK;
}

struct told { /* tells a stop of the caller's apart from a conflict at the server */
    const struct s3_upload *upload;
    bool stopped;
};

static bool tell(void *ctx, uint64_t done, uint64_t total)
{
    struct told *told = ctx;
    const struct s3_upload *upload = told->upload;
    told->stopped = upload->progress && !upload->progress(upload->ctx, done, total);
    return !told->stopped;
}

/* An upload that met another one, or that someone aborted, is begun anew, once: S3 wants that after
 * a conflict at its completion. */
static enum ak_rc put_parts_twice(struct s3_store *store, const struct s3_upload *upload,
                                  struct ak_err *err)
{
    struct told told = {.upload = upload};
    struct s3_upload watched = *upload;
    watched.progress = tell;
    watched.ctx = &told;
    enum ak_rc rc = upload->options->only_if_absent ? check_absent(store, upload, err) : AK_OK;
    if (rc == AK_OK) {
        rc = put_parts(store, &watched, err);
    }
    if (rc == AK_CONFLICT && !told.stopped) {
        rc = put_parts(store, &watched, err);
    }
    return rc;
}

enum ak_rc ak_s3_upload(struct s3_store *store, const struct s3_upload *upload, struct ak_err *err)
{
    int64_t start_ns = ak_mono_ns(ak_clock_system());
    uint64_t size = upload->source->size;
    enum ak_rc rc = AK_OK;
    if (size <= store->multipart_bytes) {
        const void *both[] = {store, upload};
        rc = ak_s3_work_run(store, 1, put_whole, both, size, upload->progress, upload->ctx, err);
    } else {
        rc = put_parts_twice(store, upload, err);
    }
    if (rc == AK_OK) {
        int64_t ns = ak_mono_ns(ak_clock_system()) - start_ns;
        ak_series_observe(store->upload_seconds, (double)ns / 1e9);
        ak_series_add(store->upload_bytes, size);
    }
    return rc;
}
