/* server.c — opening, closing, and the callbacks of net: see mocks3_priv.h for a request's way. */
#include "base/mem.h"
#include "mocks3/mocks3_priv.h"
#include <stdio.h>
#include <string.h>

#define ADMIN "/_mock/"
#define ADMIN_BODY_MAX ((size_t)1 << 20)
#define MEMORY_MAX ((uint64_t)4 << 30) /* of objects, unless told otherwise */
#define WORKERS 4u

const struct ak_mock_handler ak_mock_handlers[AK_MOCK_OP_COUNT] = {
#define AK_MOCK_OP(name, method, level, parameter, body)                                           \
    [AK_MOCK_OP_##name] = {NULL, ak_mock_run_##name},
#include "mocks3/ops.def"
#undef AK_MOCK_OP
};

static enum ak_mock_code begin(struct ak_mock_call *call)
{
    if (call->op == AK_MOCK_OP_PutObject) {
        return ak_mock_begin_PutObject(call);
    }
    return call->op == AK_MOCK_OP_UploadPart ? ak_mock_begin_UploadPart(call) : AK_MOCK_OK;
}

/* --- Rules --- */

/* May the rule's number of bytes be one of the request's body? Else it is of the answer's. */
static bool has_data(const struct ak_mock_call *call)
{
    return call->op < AK_MOCK_OP_COUNT && ak_mock_op_body(call->op) == AK_MOCK_BODY_DATA;
}

static void abort_call(struct ak_mock_call *call)
{
    ak_http_abort(call->request);
}

static struct ak_mock_call *call_of(struct ak_mock_timer *timer)
{
    return (struct ak_mock_call *)(void *)((char *)timer - offsetof(struct ak_mock_call, timer));
}

static void on_hang_over(struct ak_mock_timer *timer)
{
    abort_call(call_of(timer));
}

static void on_resume(struct ak_mock_timer *timer)
{
    ak_http_resume(call_of(timer)->request);
}

/* A body that is read slowly: stop reading for as long as the bytes so far should have taken. */
static void hold_back(struct ak_mock_call *call)
{
    int64_t now_ns = ak_mono_ns(ak_clock_system());
    if (!call->body_began_ns) {
        call->body_began_ns = now_ns;
    }
    double due_s = (double)call->received / (double)call->action.bytes_per_s;
    double ahead_ms = due_s * 1e3 - (double)(now_ns - call->body_began_ns) / 1e6;
    if (ahead_ms >= 1) { /* no more comes until it is resumed, so the timer is not set */
        call->timer.fn = on_resume;
        ak_http_pause(call->request);
        ak_mock_delay_set(call->server->delay, &call->timer, (uint64_t)ahead_ms + 1);
    }
}

/* --- The body --- */

static void finish(struct ak_mock_call *call)
{
    if (call->has_action && call->action.status) {
        ak_mock_reply_action(call);
    } else if (call->has_action && call->action.resets && has_data(call)) {
        abort_call(call);
    } else if (ak_mock_body_end(call)) {
        ak_mock_reply_fault(call);
    } else {
        ak_mock_handlers[call->op].run(call);
    }
}

static void on_latency_over(struct ak_mock_timer *timer)
{
    finish(call_of(timer));
}

static void on_chunk(void *ctx, struct ak_http_request *request, struct ak_str bytes)
{
    struct ak_mock_call *call = ak_http_attached(request);
    (void)ctx;
    call->received += bytes.len;
    if (call->has_action && call->action.resets && has_data(call) &&
        call->received >= call->action.reset_after) {
        abort_call(call);
        return;
    }
    if (!call->discards && ak_mock_body_add(call, bytes)) {
        ak_mock_reply_fault(call);
        return;
    }
    if (call->has_action && call->action.bytes_per_s && has_data(call)) {
        hold_back(call);
    }
}

static void on_end(void *ctx, struct ak_http_request *request, enum ak_rc rc)
{
    struct ak_mock_call *call = ak_http_attached(request);
    (void)ctx;
    if (rc != AK_OK) { /* on_done releases */
        return;
    }
    if (call->has_action) {
        ak_mock_delay_cancel(call->server->delay, &call->timer);
    }
    if (call->has_action && call->action.hangs) {
        call->timer.fn = on_hang_over;
        ak_mock_delay_set(call->server->delay, &call->timer, AK_MOCK_HANG_MS);
    } else if (call->has_action && call->action.latency_ms) {
        call->timer.fn = on_latency_over;
        ak_mock_delay_set(call->server->delay, &call->timer, call->action.latency_ms);
    } else {
        finish(call);
    }
}

/* --- The head --- */

static void match_rules(struct ak_mock_call *call)
{
    const struct ak_mock_subject subject = {
        .method = ak_str_of(ak_http_method_name(ak_http_method(call->request))),
        .operation = ak_str_of(ak_mock_op_name(call->op)),
        .bucket = call->bucket,
        .key = call->key,
    };
    call->has_action = ak_mock_rules_match(call->server->rules, &subject, &call->action);
    call->discards = call->has_action && (call->action.status || call->action.hangs);
}

static void take_head(struct ak_mock_call *call)
{
    const struct ak_http_stream stream = {on_chunk, on_end, NULL};
    enum ak_mock_code code = ak_mock_read_head(call);
    atomic_fetch_add_explicit(&call->server->counts[call->op], 1, memory_order_relaxed);
    match_rules(call);
    if (call->discards) {
        ak_http_start_stream(call->request, &stream);
        return;
    }
    (void)(code || (code = ak_mock_authorize(call)) || (code = ak_mock_check_headers(call)) ||
           (code = begin(call)) || (code = ak_mock_body_begin(call)));
    if (code) {
        ak_mock_reply_fault(call);
        return;
    }
    ak_http_start_stream(call->request, &stream);
}

static void on_head(void *ctx, struct ak_http_request *request)
{
    struct ak_mocks3 *server = ctx;
    struct ak_arena *arena = ak_http_arena(request);
    struct ak_mock_call *call = ak_arena_alloc(arena, sizeof *call);
    if (!call) {
        ak_http_respond_error(request, AK_NOMEM, NULL);
        return;
    }
    *call = (struct ak_mock_call){
        .server = server,
        .request = request,
        .arena = arena,
        .number = 1 + atomic_fetch_add_explicit(&server->next_request, 1, memory_order_relaxed),
        .upload_sum = AK_MOCK_SUM_NONE,
        .sum = AK_MOCK_SUM_NONE,
    };
    ak_http_attach(request, call);
    call->is_admin = ak_str_has_prefix(ak_http_path(request), AK_STR(ADMIN));
    if (call->is_admin) {
        ak_http_set_body_max(request, ADMIN_BODY_MAX);
        return;
    }
    ak_http_set_body_max(request, SIZE_MAX);
    take_head(call);
}

static void on_request(void *ctx, struct ak_http_request *request)
{
    (void)ctx; /* only those of /_mock/ are not streams */
    ak_mock_admin(ak_http_attached(request), ak_http_body(request));
}

static void on_done(void *ctx, struct ak_http_request *request, int status, size_t bytes_in,
                    size_t bytes_out, double seconds)
{
    struct ak_mocks3 *server = ctx;
    struct ak_mock_call *call = ak_http_attached(request);
    if (!call) {
        return;
    }
    if (call->has_action) {
        ak_mock_delay_cancel(server->delay, &call->timer);
    }
    ak_mock_body_release(call);
    ak_mock_item_unref(call->head);
    call->head = NULL;
    if (!call->is_admin) {
        if (status >= 500) {
            atomic_fetch_add_explicit(&server->errors_5xx, 1, memory_order_relaxed);
        } else if (status >= 400) {
            atomic_fetch_add_explicit(&server->errors_4xx, 1, memory_order_relaxed);
        }
        atomic_fetch_add_explicit(&server->bytes_in, bytes_in, memory_order_relaxed);
        atomic_fetch_add_explicit(&server->bytes_out, bytes_out, memory_order_relaxed);
    }
    ak_log_debug(server->log, "mock-s3", "%s /%.*s/%.*s %d %.3f ms",
                 call->is_admin ? "admin" : ak_mock_op_name(call->op), AK_STR_ARG(call->bucket),
                 AK_STR_ARG(call->key), status, seconds * 1e3);
}

void ak_mock_to_worker(struct ak_mock_call *call, void (*fn)(void *call))
{
    struct ak_err err;
    if (ak_pool_submit(call->server->pool, fn, call, &err) != AK_OK) {
        (void)ak_mock_fail(&call->fault, AK_MOCK_SlowDown, "Please reduce your request rate: %s",
                           err.text);
        ak_mock_reply_fault(call);
    }
}

/* --- Opening, closing --- */

static char *copy_text(const char *text)
{
    return text ? ak_strdup_n(text, strlen(text)) : NULL;
}

static enum ak_rc make_buckets(struct ak_mocks3 *server, const char *list, struct ak_err *err)
{
    struct ak_str rest = ak_str_of(list);
    while (rest.len) {
        struct ak_str name;
        struct ak_mock_fault fault = {0};
        (void)ak_str_split(rest, ',', &name, &rest);
        name = ak_str_trim(name);
        if (!ak_mock_bucket_name_is_valid(name)) {
            return ak_fail(
                err, AK_INVALID,
                "'%.*s' is no name for a bucket: 3 to 63 small letters, digits, '-', '.'",
                AK_STR_ARG(name));
        }
        enum ak_mock_code code =
            ak_mock_bucket_create(server->store, name, ak_str_of(server->region), &fault);
        if (code && code != AK_MOCK_BucketAlreadyOwnedByYou) {
            return ak_fail(err, AK_IO, "make the bucket '%.*s': %s", AK_STR_ARG(name), fault.text);
        }
    }
    return AK_OK;
}

static enum ak_rc open_parts(struct ak_mocks3 *server, const struct ak_mocks3_options *options,
                             struct ak_err *err)
{
    uint64_t bytes_max = options->bytes_max ? options->bytes_max : options->root ? 0 : MEMORY_MAX;
    const struct ak_mock_store_options store = {
        .root = options->root,
        .bytes_max = bytes_max,
        .clock = server->clock,
        .fs = options->fs,
        .log = server->log,
    };
    const struct ak_pool_options pool = {.name = "mock-s3", .threads = WORKERS, .queue_max = 1024};
    const struct ak_http_options http = {
        .listen = options->listen,
        .loops = options->loops,
        .app = {server, on_head, on_request, on_done},
        .log = server->log,
    };
    enum ak_rc rc;
    (void)((rc = ak_mock_store_open(&store, &server->store, err)) ||
           (rc = make_buckets(server, options->buckets, err)) ||
           (rc = ak_mock_delay_open(&server->delay, err)) ||
           (rc = ak_pool_open(&pool, &server->pool, err)) ||
           (rc = ak_http_open(&http, &server->http, err)));
    return rc;
}

enum ak_rc ak_mocks3_open(const struct ak_mocks3_options *options, struct ak_mocks3 **out,
                          struct ak_err *err)
{
    if (!options->access_key != !options->secret_key) {
        return ak_fail(err, AK_INVALID,
                       "an access key needs a secret key, and the other way round");
    }
    if (options->secret_key && strlen(options->secret_key) > 256) {
        return ak_fail(err, AK_INVALID, "the secret key is longer than 256 bytes");
    }
    struct ak_mocks3 *server = ak_zalloc(sizeof *server);
    server->clock = options->clock ? options->clock : ak_clock_system();
    server->log = options->log;
    server->access_key = copy_text(options->access_key);
    server->secret_key = copy_text(options->secret_key);
    server->region = copy_text(options->region);
    server->domain = copy_text(options->domain ? options->domain : "localhost");
    server->rules = ak_mock_rules_open();
    enum ak_rc rc = open_parts(server, options, err);
    if (rc != AK_OK) {
        ak_mocks3_close(server, 0);
        return rc;
    }
    *out = server;
    return AK_OK;
}

uint16_t ak_mocks3_port(const struct ak_mocks3 *server)
{
    return ak_http_port(server->http);
}

void ak_mocks3_close(struct ak_mocks3 *server, uint32_t grace_ms)
{
    if (!server) {
        return;
    }
    if (server->delay) {
        ak_mock_delay_hurry(server->delay); /* nothing waits for its latency any more */
    }
    ak_http_close(server->http, grace_ms);
    ak_mock_delay_close(server->delay);
    ak_pool_close(server->pool);
    ak_mock_rules_close(server->rules);
    ak_mock_store_close(server->store);
    ak_free(server->access_key);
    ak_free(server->secret_key);
    ak_free(server->region);
    ak_free(server->domain);
    ak_free(server);
}
