/* s3_get.c — bodies that come: whole, a range, or a file; over connections that break.
 *
 * A transfer that breaks goes on at the exact byte with a Range, and with If-Match where the server
 * gave an ETag, so that two objects are never mixed. A try that brought bytes is progress: it
 * renews the count of retries and the deadline.
 */
#include "objstore/s3_priv.h"
#include <stdio.h>

#define RANGE_TEXT_MAX 64
#define PARALLEL_BYTES ((uint64_t)32 << 20) /* files above come in parts */
#define RESTARTS_MAX 3                      /* the object was replaced on the way */

struct fetching {
    const struct s3_fetch *fetch;
    struct ak_buf etag;
    uint64_t at;
    uint64_t end;    /* UINT64_MAX until an answer says it */
    bool is_partial; /* this try asked for a range */
    bool size_told;
};

/* "bytes 5-9/100" → 5, 9 */
static bool parse_content_range(struct ak_str text, uint64_t *first, uint64_t *last)
{
    struct ak_str a;
    struct ak_str b;
    struct ak_str rest;
    if (!ak_str_has_prefix(text, AK_STR("bytes "))) {
        return false;
    }
    ak_str_split(ak_str_sub(text, 6, SIZE_MAX), '-', &a, &rest);
    ak_str_split(rest, '/', &b, &rest);
    return ak_str_u64(ak_str_trim(a), INT64_MAX, first) &&
           ak_str_u64(ak_str_trim(b), INT64_MAX, last) && *first <= *last;
}

static enum ak_rc check_etag(struct fetching *f, const struct ak_httpc_response *response,
                             struct ak_err *err)
{
    struct ak_str etag = ak_httpc_header(response, "etag");
    if (etag.len && f->etag.len && !ak_str_eq(etag, ak_buf_str(&f->etag))) {
        return ak_fail(err, AK_CONFLICT, "the object was replaced during the download");
    }
    if (f->etag.len == 0) {
        ak_buf_add_str(&f->etag, etag);
    }
    return ak_buf_check(&f->etag, err);
}

static enum ak_rc check_place(struct fetching *f, const struct ak_httpc_response *response,
                              struct ak_err *err)
{
    uint64_t first = 0;
    uint64_t last = 0;
    uint64_t len = 0;
    if (!f->is_partial) {
        if (!ak_str_u64(ak_httpc_header(response, "content-length"), INT64_MAX, &len)) {
            return ak_fail(err, AK_UNSUPPORTED, "the server does not say how long the object is");
        }
        f->end = len;
        return AK_OK;
    }
    if (response->status != 206) {
        return ak_fail(err, AK_UNSUPPORTED, "the server does not do ranges (it answered %d)",
                       response->status);
    }
    if (!parse_content_range(ak_httpc_header(response, "content-range"), &first, &last) ||
        first != f->at) {
        return ak_fail(err, AK_CORRUPT, "the server gave another range than byte %llu and on",
                       (unsigned long long)f->at);
    }
    if (f->end == UINT64_MAX) {
        f->end = last + 1;
    } else if (last + 1 != f->end) {
        return ak_fail(err, AK_CORRUPT, "the object ends at byte %llu, byte %llu is wanted",
                       (unsigned long long)last + 1, (unsigned long long)f->end - 1);
    }
    return AK_OK;
}

static enum ak_rc on_head(void *ctx, const struct ak_httpc_response *response, struct ak_err *err)
{
    struct fetching *f = ctx;
    if (response->status < 200 || response->status >= 300) {
        return AK_OK;
    }
    enum ak_rc rc = check_etag(f, response, err);
    rc = rc == AK_OK ? check_place(f, response, err) : rc;
    if (rc == AK_OK && !f->size_told && f->end != UINT64_MAX && f->fetch->on_size) {
        f->size_told = true;
        rc = f->fetch->on_size(f->fetch->ctx, f->end - f->fetch->from, err);
    }
    return rc;
}

static enum ak_rc on_body(void *ctx, struct ak_str bytes, struct ak_err *err)
{
    struct fetching *f = ctx;
    if (bytes.len > f->end - f->at) {
        return ak_fail(err, AK_CORRUPT, "more bytes came than the object has");
    }
    enum ak_rc rc = f->fetch->sink(f->fetch->ctx, f->at, bytes, err);
    f->at += rc == AK_OK ? bytes.len : 0;
    return rc;
}

static enum ak_rc fetch_try(struct s3_store *store, struct fetching *f, struct s3_series *series,
                            struct s3_call *call, struct ak_err *err)
{
    char range[RANGE_TEXT_MAX];
    struct ak_httpc_header headers[2];
    size_t count = 0;
    f->is_partial = f->at > 0 || f->fetch->end != UINT64_MAX;
    if (f->is_partial && f->end == UINT64_MAX) {
        (void)snprintf(range, sizeof range, "bytes=%llu-", (unsigned long long)f->at);
    } else {
        (void)snprintf(range, sizeof range, "bytes=%llu-%llu", (unsigned long long)f->at,
                       (unsigned long long)f->end - 1);
    }
    if (f->is_partial) {
        headers[count++] = (struct ak_httpc_header){AK_STR("Range"), ak_str_of(range)};
    }
    if (f->etag.len) {
        headers[count++] = (struct ak_httpc_header){AK_STR("If-Match"), ak_buf_str(&f->etag)};
    }
    call->headers = headers;
    call->header_count = count;
    uint64_t before = f->at;
    enum ak_rc rc = ak_s3_try(store, call, series, err);
    if (rc != AK_OK && series->response.status == 412 && f->etag.len &&
        series->response.failure == AK_HTTPC_NONE) {
        rc = ak_fail(err, AK_CONFLICT, "the object was replaced during the download");
    } else if (rc == AK_OK && f->end != UINT64_MAX && f->at < f->end) {
        rc = ak_fail(err, AK_UNAVAILABLE, "the answer ended at byte %llu of %llu",
                     (unsigned long long)f->at, (unsigned long long)f->end);
        series->meaning = (struct s3_meaning){rc, AK_RETRY_TRANSIENT, S3_REPAIR_NONE, NULL};
    }
    if (f->at > before) {
        ak_retry_progress(&series->retry);
    }
    return rc;
}

/* A server without ETags could mix two objects: what broke there begins anew at its caller. */
static bool may_resume(const struct fetching *f)
{
    return f->at == f->fetch->from || f->etag.len > 0;
}

enum ak_rc ak_s3_fetch(struct s3_store *store, const struct s3_fetch *fetch, struct ak_err *err)
{
    struct s3_series series;
    struct fetching f = {.fetch = fetch, .at = fetch->from, .end = fetch->end};
    struct s3_call call = {.operation = "get",
                           .method = "GET",
                           .key = fetch->key,
                           .on_head = on_head,
                           .on_body = on_body,
                           .ctx = &f,
                           .cancel = fetch->cancel};
    enum ak_rc rc = AK_OK;
    ak_buf_init(&f.etag, 1024);
    if (fetch->etag) {
        ak_buf_add_str(&f.etag, ak_buf_str(fetch->etag));
    }
    ak_s3_series_start(store, &series);
    do {
        if (f.end != UINT64_MAX && f.at == f.end && f.at > fetch->from) {
            rc = AK_OK; /* it broke after the last byte */
            break;
        }
        if (!may_resume(&f)) {
            rc = ak_fail(err, AK_CONFLICT, "broken, and the server gives no ETag to go on with");
            break;
        }
        rc = fetch_try(store, &f, &series, &call, err);
    } while (rc != AK_OK && rc != AK_CONFLICT && ak_s3_again(store, &call, &series, err));
    if (rc == AK_OK) {
        ak_retry_succeeded(&series.retry);
    }
    ak_s3_series_release(&series);
    ak_buf_release(&f.etag);
    return rc;
}

/* --- A whole object into memory --- */

static enum ak_rc reserve(void *ctx, uint64_t len, struct ak_err *err)
{
    struct ak_buf *out = ctx;
    size_t most = (out->max ? out->max : AK_BUF_MAX_DEFAULT) - out->len;
    if (len > most) {
        return ak_fail(err, AK_TOO_BIG, "the object has %llu bytes, at most %zu are taken",
                       (unsigned long long)len, most);
    }
    return ak_buf_reserve(out, (size_t)len)
               ? AK_OK
               : ak_fail(err, AK_NOMEM, "no memory for an object of %llu bytes",
                         (unsigned long long)len);
}

static enum ak_rc append(void *ctx, uint64_t at, struct ak_str bytes, struct ak_err *err)
{
    struct ak_buf *out = ctx;
    (void)at;
    ak_buf_add_str(out, bytes);
    return ak_buf_check(out, err);
}

enum ak_rc ak_s3_get(struct ak_objstore *base, struct ak_str key, struct ak_buf *out,
                     struct ak_err *err)
{
    size_t before = out->len;
    const struct s3_fetch fetch = {
        .key = key, .end = UINT64_MAX, .sink = append, .on_size = reserve, .ctx = out};
    enum ak_rc rc = AK_CONFLICT;
    for (int i = 0; i < RESTARTS_MAX && rc == AK_CONFLICT; i++) {
        out->len = before;
        rc = ak_s3_fetch((struct s3_store *)base, &fetch, err);
    }
    return rc;
}

/* --- A range --- */

struct range {
    char *p;
    uint64_t from;
};

static enum ak_rc copy(void *ctx, uint64_t at, struct ak_str bytes, struct ak_err *err)
{
    struct range *range = ctx;
    (void)err;
    memcpy(range->p + (at - range->from), bytes.p, bytes.len);
    return AK_OK;
}

enum ak_rc ak_s3_get_range(struct ak_objstore *base, struct ak_str key, uint64_t from, void *p,
                           size_t len, struct ak_err *err)
{
    struct range range = {p, from};
    const struct s3_fetch fetch = {
        .key = key, .from = from, .end = from + len, .sink = copy, .ctx = &range};
    enum ak_rc rc = AK_CONFLICT;
    for (int i = 0; i < RESTARTS_MAX && rc == AK_CONFLICT; i++) {
        rc = ak_s3_fetch((struct s3_store *)base, &fetch, err);
    }
    return rc;
}

/* --- A file --- */

struct file_get {
    struct s3_store *store;
    struct ak_str key;
    struct ak_file *file;
    struct ak_buf etag;
    uint64_t size;
    uint64_t part_bytes;
};

struct part_get {
    struct file_get *get;
    struct s3_work *work;
    uint64_t high; /* bytes of this part that were counted, from its start */
    uint64_t from;
};

static enum ak_rc write_part(void *ctx, uint64_t at, struct ak_str bytes, struct ak_err *err)
{
    struct part_get *part = ctx;
    enum ak_rc rc = ak_file_write(part->get->file, at, bytes.p, bytes.len, err);
    uint64_t high = at + bytes.len - part->from;
    if (rc == AK_OK && high > part->high) {
        uint64_t more = high - part->high;
        part->high = high;
        rc = ak_s3_work_moved(part->work, more, err);
    }
    return rc;
}

static enum ak_rc get_part(struct s3_work *work, void *ctx, uint32_t number, struct ak_err *err)
{
    struct file_get *get = ctx;
    uint64_t from = number * get->part_bytes;
    uint64_t left = get->size - from;
    struct part_get part = {.get = get, .work = work, .from = from};
    struct ak_buf etag = get->etag; /* read only: it is filled, or the server has none */
    const struct s3_fetch fetch = {.key = get->key,
                                   .from = from,
                                   .end = from + (left < get->part_bytes ? left : get->part_bytes),
                                   .etag = etag.len ? &etag : NULL,
                                   .sink = write_part,
                                   .ctx = &part,
                                   .cancel = ak_s3_work_cancel(work)};
    return left ? ak_s3_fetch(get->store, &fetch, err) : AK_OK;
}

/* One try at one state of the object. AK_CONFLICT with `replaced`: there is another state now. */
static enum ak_rc get_file_once(struct file_get *get, struct ak_fs *fs, const char *path,
                                ak_objstore_progress progress, void *ctx, struct ak_err *err)
{
    struct ak_arena arena;
    struct ak_object object = {.size = 0};
    struct ak_objstore_target target;
    ak_arena_init(&arena, 0);
    ak_buf_clear(&get->etag);
    enum ak_rc rc = get->store->base.ops->head(&get->store->base, get->key, &arena, &object, err);
    if (rc == AK_OK) {
        ak_buf_add_str(&get->etag, object.etag);
        rc = ak_buf_check(&get->etag, err);
    }
    ak_arena_release(&arena);
    rc = rc == AK_OK ? ak_objstore_target_open(&target, fs, path, object.size, err) : rc;
    if (rc != AK_OK) {
        return rc;
    }
    get->size = object.size;
    get->file = target.file;
    get->part_bytes = get->size <= PARALLEL_BYTES || get->etag.len == 0
                          ? (get->size ? get->size : 1)
                          : S3_PART_BYTES;
    uint64_t parts = (get->size + get->part_bytes - 1) / get->part_bytes;
    if (parts > UINT32_MAX) {
        rc = ak_fail(err, AK_TOO_BIG, "the object has %llu bytes", (unsigned long long)get->size);
    } else {
        rc = ak_s3_work_run(get->store, (uint32_t)parts, get_part, get, get->size, progress, ctx,
                            err);
    }
    if (rc == AK_OK) {
        return ak_objstore_target_commit(&target, err);
    }
    ak_objstore_target_abort(&target);
    return rc;
}

struct told { /* tells a stop of the caller's apart from an object that was replaced */
    ak_objstore_progress progress;
    void *ctx;
    bool stopped;
};

static bool tell(void *ctx, uint64_t done, uint64_t total)
{
    struct told *told = ctx;
    told->stopped = told->progress && !told->progress(told->ctx, done, total);
    return !told->stopped;
}

enum ak_rc ak_s3_get_file(struct ak_objstore *base, struct ak_str key, struct ak_fs *fs,
                          const char *path, ak_objstore_progress progress, void *ctx,
                          struct ak_err *err)
{
    struct file_get get = {.store = (struct s3_store *)base, .key = key};
    struct told told = {.progress = progress, .ctx = ctx};
    enum ak_rc rc = AK_CONFLICT;
    ak_buf_init(&get.etag, 1024);
    for (int i = 0; i < RESTARTS_MAX && rc == AK_CONFLICT && !told.stopped; i++) {
        rc = get_file_once(&get, fs, path, tell, &told, err);
    }
    ak_buf_release(&get.etag);
    return rc;
}
