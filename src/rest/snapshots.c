/* snapshots.c — /collections/{c}/snapshots and /jobs.
 *
 * Creating and restoring answer 201 with what was made when it is done within WAIT_MS (or with
 * ?wait=true whenever it is), else 202 with the job, which GET /jobs/{id} follows.
 */
#include "rest/rest_priv.h"
#include <stdio.h>

#define WAIT_MS 1000
#define LIST_DEFAULT 100u
#define LIST_MAX 1000u

/* --- Pieces --- */

static void put_name(struct ak_buf *out, const char *name)
{
    ak_buf_add_char(out, '"');
    ak_buf_add_str(out, ak_str_of(name));
    ak_buf_add_str(out, AK_STR("\":"));
}

static void put_text(struct ak_buf *out, const char *name, struct ak_str value)
{
    ak_buf_add_char(out, ',');
    put_name(out, name);
    ak_json_put_string(out, value);
}

static void put_u64(struct ak_buf *out, const char *name, uint64_t value)
{
    ak_buf_add_char(out, ',');
    put_name(out, name);
    ak_json_put_u64(out, value);
}

static void put_bool(struct ak_buf *out, const char *name, bool value)
{
    ak_buf_add_char(out, ',');
    put_name(out, name);
    ak_buf_add_str(out, value ? AK_STR("true") : AK_STR("false"));
}

static void put_object(struct ak_call *call, struct ak_buf *out,
                       const struct ak_snapshot_object *object)
{
    struct ak_buf place;
    ak_buf_add_str(out, AK_STR("{\"key\":"));
    ak_json_put_string(out, object->key);
    put_u64(out, "size_bytes", object->bytes);
    ak_buf_add_str(out, AK_STR(",\"sha256\":\""));
    for (size_t i = 0; i < sizeof object->sha256; i++) {
        ak_buf_add_fmt(out, "%02x", object->sha256[i]);
    }
    ak_buf_add_char(out, '"');
    ak_buf_init(&place, 0);
    if (ak_service_locate(call->service, object->key, &place)) {
        put_text(out, "location", ak_buf_str(&place));
    }
    ak_buf_release(&place);
    ak_buf_add_char(out, '}');
}

static void put_snapshot(struct ak_call *call, struct ak_buf *out,
                         const struct ak_snapshot_meta *meta)
{
    ak_buf_add_char(out, '{');
    put_name(out, "id");
    ak_put_uuid(out, &meta->id);
    ak_buf_add_char(out, ',');
    put_name(out, "collection_id");
    ak_put_uuid(out, &meta->collection.id);
    put_text(out, "collection", meta->collection.name);
    put_u64(out, "vector_count", meta->vector_count);
    put_u64(out, "dimension", meta->collection.dimension);
    put_text(out, "metric", ak_str_of(ak_metric_name(meta->collection.metric)));
    ak_buf_add_str(out, AK_STR(",\"created_at\":"));
    ak_put_time(out, meta->created_us);
    put_u64(out, "size_bytes", meta->size_bytes);
    put_text(out, "format", ak_str_of(ak_snapshot_format_name(meta->format)));
    put_text(out, "compression", ak_str_of(ak_codec_name(meta->compression)));
    put_text(out, "encoding", ak_str_of(ak_snapshot_encoding_name(meta->encoding)));
    put_bool(out, "lossless", meta->lossless);
    ak_buf_add_str(out, AK_STR(",\"max_error\":"));
    ak_json_put_double(out, meta->max_error);
    ak_buf_add_str(out, AK_STR(",\"objects\":["));
    put_object(call, out, &meta->data);
    if (meta->has_image) {
        ak_buf_add_char(out, ',');
        put_object(call, out, &meta->image);
    }
    ak_buf_add_char(out, ']');
    put_text(out, "akidb_version", meta->akidb_version);
    ak_buf_add_char(out, '}');
}

static void put_failure(struct ak_buf *out, enum ak_rc rc, struct ak_str message)
{
    ak_buf_add_str(out, AK_STR(",\"error\":{\"code\":"));
    ak_json_put_string(out, ak_str_of(ak_rc_name(rc)));
    put_text(out, "message", message);
    ak_buf_add_char(out, '}');
}

static void put_held_up(struct ak_buf *out, const struct ak_job *job)
{
    ak_buf_add_fmt(out, ",\"held_up\":{\"tries\":%u,\"next_try_at\":", job->tries);
    if (job->next_try_us) {
        ak_put_time(out, job->next_try_us);
    } else {
        ak_buf_add_str(out, AK_STR("null"));
    }
    put_failure(out, job->held_up_rc, job->held_up);
    ak_buf_add_char(out, '}');
}

static void put_job(struct ak_buf *out, const struct ak_job *job)
{
    ak_buf_add_char(out, '{');
    put_name(out, "id");
    ak_put_uuid(out, &job->id);
    put_text(out, "kind", ak_str_of(ak_job_kind_name(job->kind)));
    put_text(out, "state", ak_str_of(ak_job_state_name(job->state)));
    ak_buf_add_str(out, AK_STR(",\"progress\":"));
    ak_json_put_double(out, job->progress);
    ak_buf_add_str(out, AK_STR(",\"collection_id\":"));
    ak_put_uuid(out, &job->collection);
    ak_buf_add_str(out, AK_STR(",\"snapshot_id\":"));
    ak_put_uuid(out, &job->snapshot);
    ak_buf_add_str(out, AK_STR(",\"created_at\":"));
    ak_put_time(out, job->created_us);
    ak_buf_add_str(out, AK_STR(",\"finished_at\":"));
    if (job->finished_us) {
        ak_put_time(out, job->finished_us);
    } else {
        ak_buf_add_str(out, AK_STR("null"));
    }
    if (job->kind == AK_JOB_RESTORE) {
        put_bool(out, "rebuilt", job->rebuilt);
    }
    if (job->kind == AK_JOB_TIER) {
        put_text(out, "to", ak_str_of(ak_tier_name(job->to)));
    }
    if (job->state == AK_JOB_FAILED) {
        put_failure(out, job->rc, job->error);
    } else if (job->state == AK_JOB_RUNNING && job->tries) {
        put_held_up(out, job);
    }
    ak_buf_add_char(out, '}');
}

/* 202: the job goes on. */
static void reply_job(struct ak_call *call, const struct ak_job *job)
{
    char id[AK_UUID_TEXT_LEN];
    char location[96];
    struct ak_buf body;
    ak_uuid_format(&job->id, id);
    (void)snprintf(location, sizeof location, "Location: /api/v1/jobs/%.*s\r\n", AK_UUID_TEXT_LEN,
                   id);
    ak_buf_init(&body, 0);
    put_job(&body, job);
    ak_reply_typed(call, 202, AK_HTTP_JSON, &body, location);
}

/* --- Starting --- */

static struct ak_snapshot_op *start(struct ak_call *call,
                                    void (*finished)(struct ak_op *op, enum ak_rc rc))
{
    struct ak_snapshot_op *op = &call->u.snapshot;
    op->op.done = finished;
    op->op.arena = call->arena;
    op->collection = call->args[0];
    return op;
}

static bool read_wait(struct ak_call *call, int64_t *wait_ms)
{
    static const char *const names[] = {"wait", NULL};
    bool wait = false;
    if (!ak_params_known(call, names) || !ak_param_bool(call, "wait", &wait)) {
        return false;
    }
    *wait_ms = wait ? -1 : WAIT_MS;
    return true;
}

static void read_word(struct ak_reader *r, struct ak_str key, struct ak_snapshot_options *options)
{
    struct ak_str text;
    struct ak_err err;
    bool known = true;
    if (ak_json_null(r->in) || !ak_json_string(r->in, &text)) {
        return;
    }
    if (ak_str_eq(key, AK_STR("format"))) {
        known = ak_read_snapshot_format(text, &options->format, &err);
    } else if (ak_str_eq(key, AK_STR("compression"))) {
        known = ak_read_compression(text, &options->compression, &err);
    } else {
        known = ak_read_encoding(text, &options->encoding, &err);
    }
    if (!known) {
        ak_read_fail(r, "%s", err.text);
    }
}

/* {"format"?, "compression"?, "encoding"?}, or nothing at all. */
static void read_options(struct ak_reader *r, struct ak_snapshot_options *options)
{
    struct ak_str key;
    bool has_encoding = false;
    if (!ak_json_object(r->in)) {
        return;
    }
    while (ak_json_next_key(r->in, &key)) {
        if (ak_str_eq(key, AK_STR("format")) || ak_str_eq(key, AK_STR("compression")) ||
            ak_str_eq(key, AK_STR("encoding"))) {
            read_word(r, key, options);
            has_encoding |= ak_str_eq(key, AK_STR("encoding"));
        } else {
            ak_json_unknown_key(r->in, key, "format, compression, encoding");
        }
    }
    if (options->format == AK_SNAPSHOT_JSON && !has_encoding) {
        options->encoding = AK_SNAPSHOT_LOSSLESS; /* the configured one is of Parquet */
    }
}

static void read_into(struct ak_reader *r, struct ak_str *into)
{
    struct ak_str key;
    if (!ak_json_object(r->in)) {
        return;
    }
    while (ak_json_next_key(r->in, &key)) {
        if (!ak_str_eq(key, AK_STR("into"))) {
            ak_json_unknown_key(r->in, key, "into");
        } else if (!ak_json_null(r->in) && ak_read_string(r, into) && into->len == 0) {
            ak_read_fail(r, "into is empty: leave it out to restore in place");
        }
    }
}

static void read_nothing(struct ak_reader *r)
{
    struct ak_str key;
    if (ak_json_object(r->in)) {
        while (ak_json_next_key(r->in, &key)) {
            ak_json_unknown_key(r->in, key, "none");
        }
    }
}

enum body { BODY_OPTIONS, BODY_INTO, BODY_NOTHING };

/* false: answered. */
static bool read_body(struct ak_call *call, enum body body, struct ak_snapshot_op *op)
{
    struct ak_json in;
    struct ak_reader r = {.in = &in, .arena = call->arena, .row = -1};
    if (ak_http_body(call->request).len == 0) {
        return true;
    }
    ak_json_init(&in, ak_http_body(call->request));
    switch (body) {
    case BODY_OPTIONS:
        read_options(&r, &op->options);
        break;
    case BODY_INTO:
        read_into(&r, &op->into);
        break;
    case BODY_NOTHING:
        read_nothing(&r);
        break;
    }
    enum ak_rc rc = ak_json_finish(&in, &call->err);
    ak_json_release(&in);
    if (rc != AK_OK) {
        ak_reply_failure(call, rc, &call->err);
    }
    return rc == AK_OK;
}

/* --- POST …/snapshots --- */

/* false: answered, with why it failed or with the job that goes on. */
static bool has_ended(struct ak_call *call, enum ak_rc rc)
{
    const struct ak_snapshot_op *op = &call->u.snapshot;
    bool is_over = op->is_over; /* a reply may free the call */
    if (rc != AK_OK) {
        ak_reply_failure(call, rc, &op->op.err);
    } else if (!is_over) {
        reply_job(call, &op->job);
    }
    return rc == AK_OK && is_over;
}

static void created(struct ak_op *base, enum ak_rc rc)
{
    struct ak_call *call = AK_CALL_OF(u.snapshot.op, base);
    struct ak_buf body;
    if (!has_ended(call, rc)) {
        return;
    }
    ak_buf_init(&body, 0);
    put_snapshot(call, &body, &call->u.snapshot.meta);
    ak_reply(call, 201, &body);
}

void ak_rest_snapshot_create(struct ak_call *call)
{
    struct ak_snapshot_op *op = start(call, created);
    op->options = *ak_service_snapshot_defaults(call->service);
    if (!read_wait(call, &op->wait_ms)) {
        ak_reply_error(call, AK_INVALID, call->err.text);
    } else if (read_body(call, BODY_OPTIONS, op)) {
        ak_service_snapshot_create(call->service, op);
    }
}

/* --- POST …/snapshots/{id}/restore --- */

static void restored(struct ak_op *base, enum ak_rc rc)
{
    struct ak_call *call = AK_CALL_OF(u.snapshot.op, base);
    struct ak_buf body;
    if (!has_ended(call, rc)) {
        return;
    }
    ak_buf_init(&body, 0);
    ak_put_collection(&body, &call->u.snapshot.restored);
    body.len -= body.len > 0; /* the brace: one member more than collections have */
    put_bool(&body, "rebuilt", call->u.snapshot.job.rebuilt);
    ak_buf_add_char(&body, '}');
    ak_reply(call, 201, &body);
}

void ak_rest_snapshot_restore(struct ak_call *call)
{
    struct ak_snapshot_op *op = start(call, restored);
    if (!read_wait(call, &op->wait_ms)) {
        ak_reply_error(call, AK_INVALID, call->err.text);
    } else if (ak_call_arg_uuid(call, 1, &op->snapshot) && read_body(call, BODY_INTO, op)) {
        ak_service_snapshot_restore(call->service, op);
    }
}

/* --- GET …/snapshots --- */

static void put_damages(struct ak_buf *out, const struct ak_snapshot_damages *damages)
{
    ak_buf_add_str(out, AK_STR(",\"damaged\":["));
    for (size_t i = 0; i < damages->count; i++) {
        ak_buf_add_str(out, i ? AK_STR(",{") : AK_STR("{"));
        put_name(out, "id");
        ak_put_uuid(out, &damages->items[i].id);
        put_text(out, "key", damages->items[i].key);
        put_text(out, "why", damages->items[i].why);
        ak_buf_add_char(out, '}');
    }
    ak_buf_add_char(out, ']');
}

static void listed(struct ak_op *base, enum ak_rc rc)
{
    struct ak_call *call = AK_CALL_OF(u.snapshot.op, base);
    const struct ak_snapshot_op *op = &call->u.snapshot;
    struct ak_buf body;
    if (rc != AK_OK) {
        ak_reply_failure(call, rc, &base->err);
        return;
    }
    size_t limit = op->filter.limit - 1; /* one more was asked for, to know whether there is */
    size_t count = op->count < limit ? op->count : limit;
    ak_buf_init(&body, AK_RESPONSE_MAX);
    ak_buf_add_str(&body, AK_STR("{\"snapshots\":["));
    for (size_t i = 0; i < count; i++) {
        if (i) {
            ak_buf_add_char(&body, ',');
        }
        put_snapshot(call, &body, &op->list[i]);
    }
    ak_buf_add_str(&body, AK_STR("],\"next\":"));
    if (op->count > limit) {
        ak_put_time(&body, op->list[count - 1].created_us);
    } else {
        ak_buf_add_str(&body, AK_STR("null"));
    }
    put_damages(&body, &op->damages);
    ak_buf_add_char(&body, '}');
    ak_reply(call, 200, &body);
}

static bool read_filter(struct ak_call *call, struct ak_archive_list *filter)
{
    static const char *const names[] = {"limit", "from", "to", "format", NULL};
    uint64_t limit = LIST_DEFAULT;
    struct ak_str text;
    if (!ak_params_known(call, names) || !ak_param_u64(call, "limit", 1, LIST_MAX, &limit) ||
        !ak_param_time(call, "from", &filter->from_us) ||
        !ak_param_time(call, "to", &filter->to_us) || !ak_param_text(call, "format", &text)) {
        return false;
    }
    filter->limit = (size_t)limit + 1;
    if (text.len) {
        enum ak_snapshot_format *format = ak_arena_alloc(call->arena, sizeof *format);
        if (!format) {
            (void)ak_fail(&call->err, AK_NOMEM, "no memory");
            return false;
        }
        filter->format = format;
        return ak_read_snapshot_format(text, format, &call->err);
    }
    return true;
}

void ak_rest_snapshot_list(struct ak_call *call)
{
    struct ak_snapshot_op *op = start(call, listed);
    if (!read_filter(call, &op->filter)) {
        ak_reply_error(call, call->err.rc, call->err.text);
        return;
    }
    ak_service_snapshot_list(call->service, op);
}

/* --- GET and DELETE …/snapshots/{id} --- */

static void got(struct ak_op *base, enum ak_rc rc)
{
    struct ak_call *call = AK_CALL_OF(u.snapshot.op, base);
    struct ak_buf body;
    if (rc != AK_OK) {
        ak_reply_failure(call, rc, &base->err);
        return;
    }
    ak_buf_init(&body, 0);
    put_snapshot(call, &body, &call->u.snapshot.meta);
    ak_reply(call, 200, &body);
}

void ak_rest_snapshot_get(struct ak_call *call)
{
    struct ak_snapshot_op *op = start(call, got);
    if (ak_call_arg_uuid(call, 1, &op->snapshot)) {
        ak_service_snapshot_get(call->service, op);
    }
}

static void deleted(struct ak_op *base, enum ak_rc rc)
{
    struct ak_call *call = AK_CALL_OF(u.snapshot.op, base);
    if (rc == AK_OK) {
        ak_reply_empty(call);
    } else {
        ak_reply_failure(call, rc, &base->err);
    }
}

void ak_rest_snapshot_delete(struct ak_call *call)
{
    struct ak_snapshot_op *op = start(call, deleted);
    if (ak_call_arg_uuid(call, 1, &op->snapshot)) {
        ak_service_snapshot_delete(call->service, op);
    }
}

/* --- POST …/snapshots/{id}/verify --- */

static void verified(struct ak_op *base, enum ak_rc rc)
{
    struct ak_call *call = AK_CALL_OF(u.snapshot.op, base);
    const struct ak_snapshot_report *report = &call->u.snapshot.report;
    struct ak_buf body;
    if (rc == AK_CORRUPT) { /* what was asked for was found: no failure of the server */
        ak_reply_error_as(call, 422, rc, base->err.text);
        return;
    }
    if (rc != AK_OK) {
        ak_reply_failure(call, rc, &base->err);
        return;
    }
    ak_buf_init(&body, 0);
    ak_buf_add_str(&body, AK_STR("{\"ok\":true"));
    put_u64(&body, "rows", report->rows);
    put_u64(&body, "bytes", report->bytes);
    put_u64(&body, "vectors_compared", report->vectors_held);
    ak_buf_add_str(&body, AK_STR(",\"took_ms\":"));
    ak_put_ms(&body, ak_op_seconds(base));
    ak_buf_add_char(&body, '}');
    ak_reply(call, 200, &body);
}

void ak_rest_snapshot_verify(struct ak_call *call)
{
    struct ak_snapshot_op *op = start(call, verified);
    if (ak_call_arg_uuid(call, 1, &op->snapshot) && read_body(call, BODY_NOTHING, op)) {
        ak_service_snapshot_verify(call->service, op);
    }
}

/* --- /jobs --- */

static void got_job(struct ak_op *base, enum ak_rc rc)
{
    struct ak_call *call = AK_CALL_OF(u.job.op, base);
    struct ak_buf body;
    if (rc != AK_OK) {
        ak_reply_failure(call, rc, &base->err);
        return;
    }
    ak_buf_init(&body, 0);
    put_job(&body, call->u.job.jobs);
    ak_reply(call, 200, &body);
}

void ak_rest_job_get(struct ak_call *call)
{
    struct ak_job_op *op = &call->u.job;
    op->op.done = got_job;
    op->op.arena = call->arena;
    if (ak_call_arg_uuid(call, 0, &op->id)) {
        ak_service_job(call->service, op);
    }
}

static void listed_jobs(struct ak_op *base, enum ak_rc rc)
{
    struct ak_call *call = AK_CALL_OF(u.job.op, base);
    const struct ak_job_op *op = &call->u.job;
    struct ak_buf body;
    if (rc != AK_OK) {
        ak_reply_failure(call, rc, &base->err);
        return;
    }
    ak_buf_init(&body, AK_RESPONSE_MAX);
    ak_buf_add_str(&body, AK_STR("{\"jobs\":["));
    for (size_t i = 0; i < op->count; i++) {
        if (i) {
            ak_buf_add_char(&body, ',');
        }
        put_job(&body, &op->jobs[i]);
    }
    ak_buf_add_str(&body, AK_STR("],\"next\":null}"));
    ak_reply(call, 200, &body);
}

void ak_rest_job_list(struct ak_call *call)
{
    static const char *const names[] = {"limit", NULL};
    struct ak_job_op *op = &call->u.job;
    uint64_t limit = LIST_DEFAULT;
    if (!ak_params_known(call, names) || !ak_param_u64(call, "limit", 1, LIST_MAX, &limit)) {
        ak_reply_error(call, AK_INVALID, call->err.text);
        return;
    }
    op->op.done = listed_jobs;
    op->op.arena = call->arena;
    op->limit = (size_t)limit;
    ak_service_jobs(call->service, op);
}
