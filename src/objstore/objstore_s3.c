/* objstore_s3.c — the store that speaks the S3 API: opening, closing, and the small operations.
 *
 * What differs between servers, and the one client that is right for all:
 *   address      path style everywhere but where a bucket must be in the host name (virtual_host)
 *   signature    own SigV4; the body's SHA-256 as hex, which every server checks; never aws-chunked
 *                trailers, which Ceph 16, R2 and OCI have refused; unsigned over TLS when wished
 *   region       any for MinIO and R2; a wrong one is corrected from the answer, once
 *   conditional  If-None-Match: * where a probe shows that it works; GCS wants its generation
 *                header; elsewhere a conditional put is refused rather than silently unconditional
 *   multipart    equal parts, which R2 requires; ETags are opaque and may be empty (Ceph)
 *   errors       by the table in s3_error.c: code, else status, else class
 */
#include "objstore/s3_priv.h"
#include <stdlib.h>

#define CONNECT_MS 5000
#define STALL_MS 15000
#define DEADLINE_MS 60000
#define LAZY_DEADLINE_MS 5000
#define QUIET_MS_MAX 5000
#define RETRIES 5
#define MULTIPART_BYTES ((uint64_t)64 << 20)
#define PREFIX_MAX 512
#define CONNECTIONS 16

/* --- The small operations --- */

static enum ak_rc s3_head(struct ak_objstore *base, struct ak_str key, struct ak_arena *arena,
                          struct ak_object *object, struct ak_err *err)
{
    struct s3_series series;
    const struct s3_call call = {.operation = "head", .method = "HEAD", .key = key};
    enum ak_rc rc = ak_s3_do((struct s3_store *)base, &call, &series, err);
    if (rc == AK_OK) {
        const struct ak_httpc_response *response = &series.response;
        int64_t modified_us = ak_s3_http_date_us(ak_httpc_header(response, "last-modified"));
        uint64_t size = 0;
        struct ak_str etag = ak_arena_str(arena, ak_httpc_header(response, "etag"));
        struct ak_str copy = ak_arena_str(arena, key);
        if (!ak_str_u64(ak_httpc_header(response, "content-length"), INT64_MAX, &size)) {
            rc = ak_fail(err, AK_UNSUPPORTED, "the server does not say how long the object is");
        } else if (!etag.p || !copy.p) {
            rc = ak_fail(err, AK_NOMEM, "no memory for an answer");
        } else {
            *object = (struct ak_object){.key = copy,
                                         .size = size,
                                         .modified_us = modified_us < 0 ? 0 : modified_us,
                                         .etag = etag};
        }
    }
    ak_s3_series_release(&series);
    return rc;
}

static enum ak_rc s3_remove(struct ak_objstore *base, struct ak_str key, struct ak_err *err)
{
    struct s3_series series;
    const struct s3_call call = {.operation = "remove", .method = "DELETE", .key = key};
    enum ak_rc rc = ak_s3_do((struct s3_store *)base, &call, &series, err);
    ak_s3_series_release(&series);
    return rc == AK_NOT_FOUND ? AK_OK : rc;
}

static enum ak_rc s3_put(struct ak_objstore *base, struct ak_str key, struct ak_str bytes,
                         const struct ak_objstore_put_options *options, struct ak_err *err)
{
    const struct s3_source source = {.p = bytes.p ? bytes.p : "", .size = bytes.len};
    const struct s3_upload upload = {.key = key, .source = &source, .options = options};
    return ak_s3_upload((struct s3_store *)base, &upload, err);
}

static enum ak_rc s3_put_file(struct ak_objstore *base, struct ak_str key, struct ak_fs *fs,
                              const char *path, ak_objstore_progress progress, void *ctx,
                              struct ak_err *err)
{
    const struct ak_objstore_put_options options = {.only_if_absent = false};
    struct s3_source source = {.p = NULL};
    enum ak_rc rc = ak_fs_open(fs, path, AK_OPEN_READ, &source.file, err);
    if (rc != AK_OK) {
        /* AK_NOT_FOUND would say that the object is missing */
        return rc == AK_NOT_FOUND ? ak_fail(err, AK_INVALID, "there is no file '%s'", path) : rc;
    }
    rc = ak_file_size(source.file, &source.size, err);
    if (rc == AK_OK) {
        const struct s3_upload upload = {
            .key = key, .source = &source, .options = &options, .progress = progress, .ctx = ctx};
        rc = ak_s3_upload((struct s3_store *)base, &upload, err);
    }
    ak_file_close(source.file);
    return rc;
}

/* --- Is it there? --- */

/* Any answer will do, but none that says to come back later. */
static enum ak_rc s3_ask(struct ak_objstore *base, struct ak_err *err)
{
    struct s3_store *store = (struct s3_store *)base;
    struct ak_retry_policy once = store->policy;
    struct s3_series series;
    const struct s3_call call = {.operation = "ask", .method = "HEAD"};
    once.retries_max = 0;
    once.deadline_ms = store->quiet_ms;
    ak_s3_series_start(store, &series);
    ak_retry_start(&series.retry, &once, NULL);
    enum ak_rc rc = ak_s3_try(store, &call, &series, err);
    ak_s3_series_release(&series);
    return rc;
}

static void s3_on_trouble(struct ak_objstore *base, void (*fn)(void *ctx), void *ctx)
{
    struct s3_store *store = (struct s3_store *)base;
    store->trouble = fn;
    store->trouble_ctx = ctx;
}

static void s3_set_away(struct ak_objstore *base, bool away)
{
    atomic_store_explicit(&((struct s3_store *)base)->is_away, away, memory_order_relaxed);
}

static enum ak_rc s3_locate(struct ak_objstore *base, struct ak_str key, struct ak_buf *out,
                            bool *is_file, struct ak_err *err)
{
    const struct s3_store *store = (const struct s3_store *)base;
    (void)err;
    ak_buf_add_fmt(out, "s3://%s/%s%.*s", store->bucket, store->prefix, AK_STR_ARG(key));
    *is_file = false;
    return AK_OK;
}

/* --- Closing --- */

static void s3_close(struct ak_objstore *base)
{
    struct s3_store *store = (struct s3_store *)base;
    ak_pool_close(store->pool);
    ak_s3_creds_close(store->creds);
    ak_httpc_close(store->client);
    ak_s3_place_free(atomic_load_explicit(&store->place, memory_order_relaxed));
    ak_mutex_release(&store->mutex);
    ak_free(store->endpoint);
    ak_free(store->bucket);
    ak_free(store->prefix);
    ak_free(store->uploads_under);
    ak_free(store);
}

static const struct ak_objstore_ops s3_ops = {.get = ak_s3_get,
                                              .put = s3_put,
                                              .head = s3_head,
                                              .remove = s3_remove,
                                              .get_range = ak_s3_get_range,
                                              .list = ak_s3_list,
                                              .get_file = ak_s3_get_file,
                                              .put_file = s3_put_file,
                                              .create = ak_s3_create,
                                              .locate = s3_locate,
                                              .ask = s3_ask,
                                              .remove_parts = ak_s3_remove_parts,
                                              .on_trouble = s3_on_trouble,
                                              .set_away = s3_set_away,
                                              .close = s3_close};

/* --- Opening --- */

static char *copy(const char *text)
{
    return ak_strdup_n(text ? text : "", text ? strlen(text) : 0);
}

static uint32_t or_default(uint32_t value, uint32_t when_zero)
{
    return value ? value : when_zero;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* "akidb/prod/": a key with a slash at its end, or nothing. */
static enum ak_rc check_prefix(const char *prefix, struct ak_err *err)
{
    struct ak_str s = ak_str_of(prefix);
    struct ak_err why;
    if (s.len == 0) {
        return AK_OK;
    }
    if (s.len > PREFIX_MAX) {
        return ak_fail(err, AK_INVALID, "the S3 prefix has %zu bytes, at most %d are allowed",
                       s.len, PREFIX_MAX);
    }
    struct ak_str key = ak_str_has_suffix(s, AK_STR("/")) ? ak_str_sub(s, 0, s.len - 1) : s;
    return ak_objstore_check_key(key, &why) == AK_OK
               ? AK_OK
               : ak_fail(err, AK_INVALID, "the S3 prefix '%.200s': %s", prefix, why.text);
}

static char *join(const char *prefix, const char *under)
{
    struct ak_buf both;
    size_t len = 0;
    ak_buf_init(&both, 0);
    ak_buf_add_str(&both, ak_str_of(prefix));
    ak_buf_add_str(&both, ak_str_of(under));
    (void)ak_buf_cstr(&both);
    char *text = ak_buf_take(&both, &len);
    return text ? text : copy(NULL);
}

static void fill(struct s3_store *store, const struct ak_s3_options *o,
                 const struct s3_seams *seams)
{
    uint64_t multipart = o->multipart_bytes ? o->multipart_bytes : MULTIPART_BYTES;
    store->clock = o->clock ? o->clock : ak_clock_system();
    store->stop = o->stop;
    store->log = o->log;
    store->metrics = o->metrics;
    store->upload_seconds = ak_metrics_series(o->metrics, AK_METRIC_S3_UPLOAD_SECONDS, NULL, 0);
    store->upload_bytes = ak_metrics_series(o->metrics, AK_METRIC_S3_UPLOAD_BYTES, NULL, 0);
    store->policy = (struct ak_retry_policy){.retries_max = or_default(o->retries_max, RETRIES),
                                             .deadline_ms = or_default(o->deadline_ms, DEADLINE_MS),
                                             .clock = store->clock,
                                             .sleep = seams->sleep,
                                             .stop = o->stop,
                                             .ctx = seams->ctx};
    ak_retry_bucket_init(&store->bucket_of_tokens, 0);
    store->endpoint = copy(o->endpoint);
    store->bucket = copy(o->bucket);
    store->prefix = copy(o->prefix);
    store->uploads_under = join(o->prefix, o->uploads_under);
    store->virtual_host = o->virtual_host;
    store->unsigned_payload = o->unsigned_payload;
    store->connect_ms = or_default(o->connect_timeout_ms, CONNECT_MS);
    store->stall_ms = or_default(o->stall_timeout_ms, STALL_MS);
    store->quiet_ms = least(QUIET_MS_MAX, least(store->connect_ms, store->stall_ms));
    store->multipart_bytes = multipart;
    store->part_bytes = multipart < S3_PART_BYTES ? multipart : S3_PART_BYTES;
    ak_mutex_init(&store->mutex, AK_RANK_LEAF, "s3");
}

static enum ak_rc connect_parts(struct s3_store *store, const struct ak_s3_options *o,
                                const struct s3_seams *seams, const char *region,
                                struct ak_err *err)
{
    const struct ak_pool_options pool = {.name = "s3", .threads = S3_HELPERS};
    enum ak_rc rc = AK_OK;
    store->client = seams->client;
    if (!store->client) {
        const struct ak_httpc_options client = {
            .connections_max = or_default(o->connections_max, CONNECTIONS), .ca_file = o->ca_file};
        rc = ak_httpc_open(&client, &store->client, err);
    }
    const struct ak_s3_creds_options creds = {.access_key_id = o->access_key_id,
                                              .secret_access_key = o->secret_access_key,
                                              .session_token = o->session_token,
                                              .profile = o->profile,
                                              .region = region,
                                              .client = store->client,
                                              .clock = store->clock,
                                              .log = o->log,
                                              .env = seams->env};
    rc = rc == AK_OK ? ak_s3_creds_open(&creds, &store->creds, err) : rc;
    return rc == AK_OK ? ak_pool_open(&pool, &store->pool, err) : rc;
}

/* One request that needs credentials, clock, region and bucket to be right. */
static enum ak_rc check_access(struct s3_store *store, struct ak_err *err)
{
    struct ak_arena arena;
    struct ak_object *objects = NULL;
    size_t count = 0;
    ak_arena_init(&arena, 0);
    enum ak_rc rc =
        ak_s3_list(&store->base, AK_STR_NONE, AK_STR_NONE, 1, &arena, &objects, &count, err);
    ak_arena_release(&arena);
    return rc;
}

static enum ak_rc check(struct s3_store *store, bool lazy, struct ak_err *err)
{
    struct ak_retry_policy full = store->policy;
    struct ak_err why;
    if (lazy) { /* a start does not wait for a store that is away */
        store->policy.retries_max = 0;
        store->policy.deadline_ms = LAZY_DEADLINE_MS;
    }
    enum ak_rc rc = check_access(store, &why);
    if (rc == AK_OK) {
        rc = ak_s3_probe(store, &why);
        if (rc == AK_FORBIDDEN) { /* good enough for reading */
            ak_log_warn(store->log, "s3", "%s: writing is refused: %s", store->base.name, why.text);
            rc = AK_OK;
        } else if (rc == AK_OK) {
            ak_s3_remove_leftovers(store);
        }
    }
    store->policy = full;
    if (lazy && (rc == AK_UNAVAILABLE || rc == AK_TIMEOUT)) {
        ak_log_warn(store->log, "s3", "%s is away: %s", store->base.name, why.text);
        return AK_OK;
    }
    return rc == AK_OK ? rc : ak_fail(err, rc, "%s: %s", store->base.name, why.text);
}

enum ak_rc ak_s3_open_with(const struct ak_s3_options *options, bool lazy,
                           const struct s3_seams *seams, struct ak_objstore **store,
                           struct ak_err *err)
{
    const char *region = options->region && options->region[0] ? options->region : "us-east-1";
    struct s3_place *place = NULL;
    enum ak_rc rc = check_prefix(options->prefix, err);
    if (rc == AK_OK) {
        rc = ak_s3_place_new(options->endpoint, region, options->bucket, options->virtual_host,
                             &place, err);
    }
    if (rc != AK_OK) {
        ak_httpc_close(seams->client);
        return rc;
    }
    struct s3_store *made = ak_zalloc(sizeof *made);
    fill(made, options, seams);
    ak_objstore_init(&made->base, &s3_ops, "s3 bucket '%s' at %s", options->bucket, place->base);
    atomic_init(&made->place, place);
    rc = connect_parts(made, options, seams, region, err);
    rc = rc == AK_OK ? check(made, lazy, err) : rc;
    if (rc != AK_OK) {
        ak_objstore_close(&made->base);
        return rc;
    }
    *store = &made->base;
    return AK_OK;
}

enum ak_rc ak_objstore_open_s3(const struct ak_s3_options *options, bool lazy,
                               struct ak_objstore **store, struct ak_err *err)
{
    const struct s3_seams none = {.client = NULL};
    return ak_s3_open_with(options, lazy, &none, store, err);
}
