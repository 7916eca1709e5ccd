/* s3_multipart.c — an object in parts: begin, send, complete; or abort.
 *
 *   POST key?uploads → UploadId     PUT key?partNumber=N&uploadId=…     POST key?uploadId=… (list)
 *
 * The object appears with Complete, and only then. Every upload carries a write id in its metadata:
 * after a Complete whose answer was lost, "no such upload" means that it happened, or that someone
 * aborted it, and the object's id tells which.
 */
#include "objstore/s3_priv.h"

#define QUERY_MAX 4096
#define COMPLETE_STALL_MS 120000 /* joining the parts takes a server a while */
#define LEFTOVER_US (24LL * 3600 * 1000000)
#define LEFTOVERS_MAX 1000
#define XML_MAX ((size_t)4 << 20) /* 10,000 parts of at most 400 bytes */

void ak_s3_multipart_release(struct s3_multipart *m)
{
    for (uint32_t i = 0; m->etags && i < m->parts_max; i++) {
        ak_buf_release(&m->etags[i]);
    }
    ak_free(m->etags);
    m->etags = NULL;
    ak_buf_release(&m->upload_id);
}

static enum ak_rc read_upload_id(struct s3_multipart *m, struct ak_str xml, struct ak_err *err)
{
    struct ak_buf id;
    enum ak_rc rc = AK_OK;
    ak_buf_init(&id, 1024);
    if (!ak_xml_find(xml, "InitiateMultipartUploadResult/UploadId", &id) || id.len == 0) {
        rc = ak_fail(err, AK_UNAVAILABLE, "the server began an upload and gave no UploadId");
    } else {
        ak_sigv4_encode(&m->upload_id, ak_buf_str(&id), false);
        rc = ak_buf_check(&m->upload_id, err);
    }
    ak_buf_release(&id);
    return rc;
}

enum ak_rc ak_s3_multipart_start(struct s3_multipart *m, struct s3_store *store, struct ak_str key,
                                 const struct ak_objstore_put_options *options, uint32_t parts_max,
                                 struct ak_err *err)
{
    struct ak_httpc_header headers[S3_HEADERS_MAX];
    struct s3_series series;
    *m = (struct s3_multipart){.store = store, .key = key, .parts_max = parts_max};
    AK_ASSERT(parts_max <= S3_PARTS_MAX);
    ak_buf_init(&m->upload_id, QUERY_MAX);
    m->etags = ak_try_zalloc(parts_max * sizeof m->etags[0]);
    if (!m->etags) {
        return ak_fail(err, AK_NOMEM, "no memory for an upload of %u parts", parts_max);
    }
    ak_s3_write_id(m->write_id);
    const struct s3_call call = {.operation = "create_upload",
                                 .method = "POST",
                                 .key = key,
                                 .query = "uploads=",
                                 .headers = headers,
                                 .header_count = ak_s3_put_headers(options, m->write_id, headers),
                                 .may_say_error = true};
    enum ak_rc rc = ak_s3_do(store, &call, &series, err);
    rc = rc == AK_OK ? read_upload_id(m, ak_buf_str(&series.response.body), err) : rc;
    ak_s3_series_release(&series);
    if (rc != AK_OK) {
        ak_s3_multipart_release(m);
    }
    return rc;
}

/* --- Parts --- */

struct part {
    const struct s3_source *source;
    uint64_t from;
    struct s3_work *work; /* NULL: nobody is told */
    uint64_t high;
};

static enum ak_rc read_part(void *ctx, uint64_t at, void *p, size_t len, struct ak_err *err)
{
    struct part *part = ctx;
    enum ak_rc rc = ak_s3_source_read(part->source, part->from + at, p, len, err);
    if (rc == AK_OK && part->work && at + len > part->high) {
        uint64_t more = at + len - part->high;
        part->high = at + len;
        rc = ak_s3_work_moved(part->work, more, err);
    }
    return rc;
}

enum ak_rc ak_s3_multipart_part(struct s3_multipart *m, uint32_t part,
                                const struct s3_source *source, uint64_t from, uint64_t len,
                                struct s3_work *work, const _Atomic bool *cancel,
                                struct ak_err *err)
{
    struct part quiet = {.source = source, .from = from};
    struct part loud = {.source = source, .from = from, .work = work};
    struct ak_buf query;
    struct s3_series series;
    char hash[65];
    AK_ASSERT(part < m->parts_max);
    enum ak_rc rc =
        m->store->unsigned_payload ? AK_OK : ak_s3_hash(read_part, &quiet, len, hash, err);
    if (rc != AK_OK) {
        return rc;
    }
    ak_buf_init(&query, QUERY_MAX);
    ak_buf_add_fmt(&query, "partNumber=%u&uploadId=%.*s", part + 1,
                   AK_STR_ARG(ak_buf_str(&m->upload_id)));
    const struct s3_call call = {.operation = "upload_part",
                                 .method = "PUT",
                                 .key = m->key,
                                 .query = ak_buf_cstr(&query),
                                 .read = read_part,
                                 .body_len = len,
                                 .body_hash = m->store->unsigned_payload ? AK_SIGV4_UNSIGNED : hash,
                                 .ctx = &loud,
                                 .cancel = cancel};
    rc = ak_buf_check(&query, err);
    if (rc == AK_OK) {
        rc = ak_s3_do(m->store, &call, &series, err);
        if (rc == AK_OK) {
            ak_buf_init(&m->etags[part], 400);
            ak_buf_add_str(&m->etags[part], ak_httpc_header(&series.response, "etag"));
            rc = ak_buf_check(&m->etags[part], err);
        } else if (rc == AK_NOT_FOUND) {
            rc = ak_fail(err, AK_CONFLICT, "the upload was aborted by someone else");
        }
        ak_s3_series_release(&series);
    }
    ak_buf_release(&query);
    return rc == AK_OK ? rc : ak_wrap(err, rc, "part %u", part + 1);
}

/* --- Complete --- */

static void add_escaped(struct ak_buf *out, struct ak_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        switch (text.p[i]) {
        case '&':
            ak_buf_add_str(out, AK_STR("&amp;"));
            break;
        case '<':
            ak_buf_add_str(out, AK_STR("&lt;"));
            break;
        case '>':
            ak_buf_add_str(out, AK_STR("&gt;"));
            break;
        default:
            ak_buf_add_char(out, text.p[i]);
        }
    }
}

static void add_parts(const struct s3_multipart *m, uint32_t parts, struct ak_buf *xml)
{
    ak_buf_add_str(xml, AK_STR("<CompleteMultipartUpload>"));
    for (uint32_t i = 0; i < parts; i++) {
        ak_buf_add_fmt(xml, "<Part><PartNumber>%u</PartNumber><ETag>", i + 1);
        add_escaped(xml, ak_buf_str(&m->etags[i]));
        ak_buf_add_str(xml, AK_STR("</ETag></Part>"));
    }
    ak_buf_add_str(xml, AK_STR("</CompleteMultipartUpload>"));
}

/* The upload is not there any more: because it was completed and the answer lost (also where httpc
 * has sent the request twice), or because somebody aborted it. */
static enum ak_rc settle_gone(struct s3_multipart *m, bool may_have_happened, struct ak_err *err)
{
    bool ours = false;
    struct ak_err why;
    enum ak_rc looked = ak_s3_is_ours(m->store, m->key, m->write_id, &ours, &why);
    if (looked == AK_OK && ours) {
        return AK_OK;
    }
    if (looked != AK_OK && looked != AK_NOT_FOUND) {
        return ak_fail(err, looked, "it is not known whether it was completed: %s", why.text);
    }
    return may_have_happened
               ? ak_fail(err, AK_UNAVAILABLE, "the upload is gone, and the object is not from it")
               : ak_fail(err, AK_CONFLICT, "the upload was aborted by someone else");
}

static enum ak_rc complete(struct s3_multipart *m, const struct s3_call *call, struct ak_err *err)
{
    struct s3_series series;
    enum ak_rc rc = ak_s3_do(m->store, call, &series, err);
    bool may_have_happened = series.may_have_happened;
    ak_s3_series_release(&series);
    return rc == AK_NOT_FOUND ? settle_gone(m, may_have_happened, err) : rc;
}

enum ak_rc ak_s3_multipart_complete(struct s3_multipart *m, uint32_t parts, bool only_if_absent,
                                    struct ak_err *err)
{
    struct ak_httpc_header headers[2] = {{AK_STR("Content-Type"), AK_STR("application/xml")}};
    struct ak_buf query;
    struct ak_buf xml;
    enum ak_rc rc = only_if_absent ? ak_s3_condition(m->store, &headers[1], err) : AK_OK;
    if (rc != AK_OK) {
        return rc;
    }
    ak_buf_init(&query, QUERY_MAX);
    ak_buf_init(&xml, XML_MAX);
    ak_buf_add_fmt(&query, "uploadId=%s", ak_buf_cstr(&m->upload_id));
    add_parts(m, parts, &xml);
    const struct s3_call call = {.operation = "complete_upload",
                                 .method = "POST",
                                 .key = m->key,
                                 .query = ak_buf_cstr(&query),
                                 .headers = headers,
                                 .header_count = only_if_absent ? 2 : 1,
                                 .body = ak_buf_str(&xml),
                                 .stall_ms = COMPLETE_STALL_MS,
                                 .may_say_error = true,
                                 .write_id = only_if_absent ? m->write_id : NULL};
    rc = ak_buf_check(&query, err);
    rc = rc == AK_OK ? ak_buf_check(&xml, err) : rc;
    rc = rc == AK_OK ? complete(m, &call, err) : rc;
    ak_buf_release(&query);
    ak_buf_release(&xml);
    return rc == AK_OK ? rc : ak_wrap(err, rc, "completing an upload of %u parts", parts);
}

/* --- Abort --- */

static enum ak_rc abort_upload(struct s3_store *store, struct ak_str key, struct ak_buf *upload_id,
                               struct ak_err *err)
{
    struct ak_buf query;
    struct s3_series series;
    ak_buf_init(&query, QUERY_MAX);
    ak_buf_add_fmt(&query, "uploadId=%s", ak_buf_cstr(upload_id));
    const struct s3_call call = {
        .operation = "abort_upload", .method = "DELETE", .key = key, .query = ak_buf_cstr(&query)};
    enum ak_rc rc = ak_buf_check(&query, err);
    if (rc == AK_OK) {
        rc = ak_s3_do(store, &call, &series, err);
        ak_s3_series_release(&series);
    }
    ak_buf_release(&query);
    return rc == AK_NOT_FOUND ? AK_OK : rc;
}

void ak_s3_multipart_abort(struct s3_multipart *m)
{
    struct ak_err why;
    if (abort_upload(m->store, m->key, &m->upload_id, &why) != AK_OK) {
        ak_log_warn(m->store->log, "s3",
                    "the parts of '%.*s' stay in the bucket until they are swept: %s",
                    AK_STR_ARG(ak_objstore_shown(m->key)), why.text);
    }
}

/* --- Uploads that a crash left --- */

struct leftover {
    struct ak_buf key;
    struct ak_buf id;
    struct ak_buf begun;
};

/* Which of the listed go: those below `under`, or to `under` itself, begun so long ago. */
struct sweep {
    struct s3_store *store;
    struct ak_str under; /* with the store's prefix */
    bool is_key;
    int64_t age_us;
    enum ak_rc rc; /* the first failure */
    struct ak_err err;
};

static bool is_swept(const struct sweep *sweep, const struct leftover *found)
{
    struct s3_store *store = sweep->store;
    struct ak_str key = ak_buf_str(&found->key);
    int64_t begun_us = 0;
    int64_t now_us =
        ak_now_us(store->clock) + atomic_load_explicit(&store->skew_us, memory_order_relaxed);
    if (sweep->is_key) {
        return ak_str_eq(key, sweep->under);
    }
    return ak_str_has_prefix(key, sweep->under) &&
           ak_time_parse(ak_buf_str(&found->begun), &begun_us) &&
           now_us - begun_us >= sweep->age_us;
}

static void sweep_one(struct sweep *sweep, struct leftover *found)
{
    struct s3_store *store = sweep->store;
    struct ak_err why;
    struct ak_buf id;
    if (!is_swept(sweep, found)) {
        return;
    }
    struct ak_str key = ak_str_sub(ak_buf_str(&found->key), strlen(store->prefix), SIZE_MAX);
    ak_buf_init(&id, QUERY_MAX);
    ak_sigv4_encode(&id, ak_buf_str(&found->id), false);
    enum ak_rc rc = ak_buf_check(&id, &why);
    if (rc == AK_OK && key.len) {
        rc = abort_upload(store, key, &id, &why);
    }
    ak_buf_release(&id);
    if (rc == AK_OK) {
        ak_log_info(store->log, "s3", "removed the parts of '%.*s', an upload that had not ended",
                    AK_STR_ARG(ak_objstore_shown(key)));
    } else if (sweep->rc == AK_OK) {
        sweep->rc = rc;
        sweep->err = why;
    }
}

static void sweep_listed(struct sweep *sweep, struct ak_str xml)
{
    struct ak_xml in;
    enum ak_xml_token token = AK_XML_START;
    struct leftover found;
    unsigned count = 0;
    ak_buf_init(&found.key, (size_t)4 * AK_OBJSTORE_KEY_MAX);
    ak_buf_init(&found.id, 1024);
    ak_buf_init(&found.begun, 64);
    ak_xml_init(&in, xml);
    while ((token = ak_xml_next(&in)) > AK_XML_END_OF_TEXT && count < LEFTOVERS_MAX) {
        bool inside = in.depth > 0 && ak_str_eq(in.open[in.depth - 1], AK_STR("Upload"));
        struct ak_buf *to = ak_str_eq(in.name, AK_STR("Key"))         ? &found.key
                            : ak_str_eq(in.name, AK_STR("UploadId"))  ? &found.id
                            : ak_str_eq(in.name, AK_STR("Initiated")) ? &found.begun
                                                                      : NULL;
        if (token == AK_XML_END && inside && to) {
            ak_buf_clear(to);
            ak_buf_add_str(to, in.text);
        } else if (token == AK_XML_END && ak_xml_is(&in, "ListMultipartUploadsResult/Upload")) {
            sweep_one(sweep, &found);
            ak_buf_clear(&found.key); /* the next entry may lack one */
            ak_buf_clear(&found.id);
            ak_buf_clear(&found.begun);
            count++;
        }
    }
    ak_xml_release(&in);
    ak_buf_release(&found.key);
    ak_buf_release(&found.id);
    ak_buf_release(&found.begun);
}

static enum ak_rc sweep_uploads(struct sweep *sweep, struct ak_err *err)
{
    struct ak_buf query;
    struct s3_series series;
    ak_buf_init(&query, QUERY_MAX);
    ak_buf_add_str(&query, AK_STR("uploads=&prefix="));
    ak_sigv4_encode(&query, sweep->under, false);
    const struct s3_call call = {.operation = "list_uploads",
                                 .method = "GET",
                                 .query = ak_buf_cstr(&query),
                                 .body_max = XML_MAX};
    enum ak_rc rc = ak_buf_check(&query, err);
    if (rc == AK_OK) {
        rc = ak_s3_do(sweep->store, &call, &series, err);
        if (rc == AK_OK) {
            sweep_listed(sweep, ak_buf_str(&series.response.body));
            rc = sweep->rc == AK_OK ? AK_OK : ak_fail(err, sweep->rc, "%s", sweep->err.text);
        }
        ak_s3_series_release(&series);
    }
    ak_buf_release(&query);
    return rc;
}

void ak_s3_remove_leftovers(struct s3_store *store)
{
    struct ak_err why;
    struct sweep sweep = {
        .store = store, .under = ak_str_of(store->uploads_under), .age_us = LEFTOVER_US};
    if (!sweep.under.len) { /* the whole bucket may be others' as well */
        return;
    }
    if (sweep_uploads(&sweep, &why) != AK_OK) {
        ak_log_debug(store->log, "s3", "unfinished uploads were not all looked for: %s", why.text);
    }
}

/* By the whole key, for MinIO lists the uploads of no shorter one. */
enum ak_rc ak_s3_remove_parts(struct ak_objstore *base, struct ak_str key, struct ak_err *err)
{
    struct s3_store *store = (struct s3_store *)base;
    struct ak_err why = {.rc = AK_OK};
    struct ak_buf full;
    ak_buf_init(&full, (size_t)2 * AK_OBJSTORE_KEY_MAX);
    ak_buf_add_str(&full, ak_str_of(store->prefix));
    ak_buf_add_str(&full, key);
    struct sweep sweep = {.store = store, .under = ak_buf_str(&full), .is_key = true};
    enum ak_rc rc = ak_buf_check(&full, &why);
    rc = rc == AK_OK ? sweep_uploads(&sweep, &why) : rc;
    ak_buf_release(&full);
    if (rc == AK_FORBIDDEN || rc == AK_UNSUPPORTED || rc == AK_NOT_FOUND) {
        ak_log_debug(store->log, "s3", "unfinished uploads cannot be looked for: %s", why.text);
        return AK_OK; /* a rule of the bucket removes them, or nobody does */
    }
    return rc == AK_OK ? rc : ak_fail(err, rc, "%s", why.text);
}
