/* rest.c — a request's way: head → route → (worker) → collection → handler → reply → counted.
 *
 *   on_head     route, content type, limit of the body; a stream is taken up here (import.c)
 *   on_request  small bodies go on at once on the loop; large ones, and collections that must first
 *               be opened from disk, on a worker; a cold collection is waited for without a thread
 *   handler     reads the body, starts an operation of the service; its `done` replies
 *   on_done     counts
 */
#include "base/mem.h"
#include "rest/rest_priv.h"
#include <string.h>

#define DEFAULT_BODY_MAX (64u << 10)

struct ak_rest *ak_rest_open(const struct ak_rest_options *options)
{
    struct ak_rest *rest = ak_zalloc(sizeof *rest);
    rest->metrics = options->metrics;
    rest->log = options->log;
    rest->test_clock = options->test_clock;
    rest->body_max = options->body_max ? options->body_max : SIZE_MAX;
    rest->series = ak_rest_series_open(options->metrics);
    return rest;
}

void ak_rest_close(struct ak_rest *rest)
{
    if (rest) {
        ak_rest_series_close(rest->series);
        ak_free(rest);
    }
}

void ak_rest_set_service(struct ak_rest *rest, struct ak_service *service)
{
    atomic_store_explicit(&rest->service, service, memory_order_release);
}

/* --- Content types --- */

/* The part before the parameters; a charset other than UTF-8 makes it unknown. */
static struct ak_str media_type(struct ak_str header)
{
    struct ak_str type;
    struct ak_str rest;
    (void)ak_str_split(header, ';', &type, &rest);
    while (rest.len) {
        struct ak_str parameter;
        struct ak_str name;
        struct ak_str value;
        (void)ak_str_split(rest, ';', &parameter, &rest);
        (void)ak_str_split(ak_str_trim(parameter), '=', &name, &value);
        if (ak_str_eq_nocase(name, AK_STR("charset")) &&
            !ak_str_eq_nocase(value, AK_STR("utf-8")) &&
            !ak_str_eq_nocase(value, AK_STR("\"utf-8\""))) {
            return AK_STR_NONE;
        }
    }
    return ak_str_trim(type);
}

enum content { CONTENT_UNKNOWN, CONTENT_JSON, CONTENT_NDJSON, CONTENT_PARQUET };

/* A request without a type is taken for JSON, unless a browser page sent it: pages can send untyped
 * bodies across origins without asking, typed ones they cannot. */
static enum content content_of(const struct ak_http_request *request)
{
    struct ak_str header = ak_http_header(request, AK_STR("content-type"));
    if (!header.p) {
        bool is_page = ak_http_header(request, AK_STR("origin")).p != NULL;
        return is_page ? CONTENT_UNKNOWN : CONTENT_JSON;
    }
    struct ak_str type = media_type(header);
    if (ak_str_eq_nocase(type, AK_STR("application/json"))) {
        return CONTENT_JSON;
    }
    if (ak_str_eq_nocase(type, AK_STR(AK_PARQUET))) {
        return CONTENT_PARQUET;
    }
    bool is_ndjson = ak_str_eq_nocase(type, AK_STR("application/x-ndjson")) ||
                     ak_str_eq_nocase(type, AK_STR("application/jsonl"));
    return is_ndjson ? CONTENT_NDJSON : CONTENT_UNKNOWN;
}

/* --- The head --- */

static struct ak_call *make_call(struct ak_rest *rest, struct ak_http_request *request)
{
    struct ak_arena *arena = ak_http_arena(request);
    struct ak_call *call = ak_arena_alloc(arena, sizeof *call);
    if (call) {
        memset(call, 0, sizeof *call);
        call->rest = rest;
        call->request = request;
        call->arena = arena;
        call->service = atomic_load_explicit(&rest->service, memory_order_acquire);
    }
    return call;
}

/* The path's parameters, decoded. false: answered. */
static bool take_args(struct ak_call *call, const struct ak_route_match *match)
{
    for (size_t i = 0; i < match->arg_count; i++) {
        struct ak_str raw = match->args[i];
        bool is_plain = memchr(raw.p, '%', raw.len) == NULL;
        call->args[i] = is_plain ? raw : ak_http_decode(call->request, raw);
        if (!call->args[i].p) {
            ak_reply_error(call, AK_INVALID, "the path is not properly %-encoded");
            return false;
        }
    }
    return true;
}

static void take_body(struct ak_call *call)
{
    unsigned flags = call->route->flags;
    size_t body_max = call->route->body_max ? call->route->body_max : DEFAULT_BODY_MAX;
    size_t ceiling = call->rest->body_max;
    ak_http_set_body_max(call->request, body_max < ceiling ? body_max : ceiling);
    if (!(flags & (AK_ROUTE_JSON | AK_ROUTE_NDJSON))) {
        return;
    }
    enum content content = content_of(call->request);
    if ((content == CONTENT_NDJSON && flags & AK_ROUTE_NDJSON) ||
        (content == CONTENT_PARQUET && flags & AK_ROUTE_PARQUET)) {
        ak_http_set_body_max(call->request, SIZE_MAX);
        ak_import_start(call, content == CONTENT_PARQUET);
    } else if (content != CONTENT_JSON || flags & AK_ROUTE_STREAM) {
        const char *allowed =
            flags & AK_ROUTE_PARQUET  ? "Content-Type must be " AK_NDJSON " or " AK_PARQUET
            : flags & AK_ROUTE_STREAM ? "Content-Type must be " AK_NDJSON
            : flags & AK_ROUTE_NDJSON ? "Content-Type must be " AK_HTTP_JSON " or " AK_NDJSON
                                      : "Content-Type must be " AK_HTTP_JSON;
        ak_reply_error(call, AK_MEDIA, allowed);
    }
}

static void on_head(void *ctx, struct ak_http_request *request)
{
    struct ak_rest *rest = ctx;
    struct ak_route_match match;
    struct ak_call *call = make_call(rest, request);
    if (!call) {
        ak_http_respond_error(request, AK_NOMEM, NULL);
        return;
    }
    ak_http_attach(request, call);
    ak_route_find(ak_http_method(request), ak_http_path(request), &match);
    call->route = match.route;
    if (!match.route && match.allowed) {
        ak_reply_method(call, match.allowed);
    } else if (!match.route) {
        ak_reply_error(call, AK_NOT_FOUND, "no such path");
    } else if (!call->service && !(match.route->flags & AK_ROUTE_BARE)) {
        ak_reply_error(call, AK_UNAVAILABLE, "the database is still opening");
    } else if (take_args(call, &match)) {
        take_body(call);
    }
}

/* --- The body is here --- */

static void go_on(struct ak_op *op);

static void busy(struct ak_op *op, enum ak_rc rc)
{
    struct ak_call *call = AK_CALL_OF(op, op);
    ak_reply_failure(call, rc, &op->err);
}

static void to_worker(struct ak_call *call)
{
    call->op.done = busy;
    ak_service_defer(call->service, &call->op, go_on);
}

/* On a loop, and a second time on a worker when the first could not finish. */
static void go_on(struct ak_op *op)
{
    struct ak_call *call = AK_CALL_OF(op, op);
    if (call->route->flags & AK_ROUTE_COLLECTION) {
        enum ak_rc rc = ak_service_use(call->service, call->args[0], op, call->arena,
                                       &call->collection, &call->err);
        if (rc == AK_COLD) {
            call->op.done = busy;
            ak_service_await(call->service, op, call->args[0], go_on);
            return;
        }
        if (rc != AK_OK) {
            ak_reply_failure(call, rc, &call->err);
            return;
        }
        if (!call->collection) {
            op->was_closed = true;
            to_worker(call);
            return;
        }
    }
    call->route->handler(call);
}

struct ak_op ak_call_op(struct ak_call *call, void (*done)(struct ak_op *op, enum ak_rc rc))
{
    struct ak_str wish = ak_http_header(call->request, AK_STR("akidb-query-log"));
    return (struct ak_op){.done = done,
                          .arena = call->arena,
                          .may_block = call->op.may_block,
                          .was_closed = call->op.was_closed,
                          .is_unlogged = ak_str_eq_nocase(wish, AK_STR("off"))};
}

/* Cold since it was looked up: the whole call once more, when the collection is back. */
void ak_reply_failed_write(struct ak_call *call, enum ak_rc rc, const struct ak_err *err)
{
    if (rc != AK_COLD) {
        ak_reply_failure(call, rc, err);
        return;
    }
    ak_call_drop_collection(call);
    call->op.done = busy;
    ak_service_await(call->service, &call->op, call->args[0], go_on);
}

static void on_request(void *ctx, struct ak_http_request *request)
{
    (void)ctx;
    struct ak_call *call = ak_http_attached(request);
    size_t len = ak_http_body(request).len;
    unsigned flags = call->route->flags;
    if (len == 0 && flags & AK_ROUTE_JSON && !(flags & AK_ROUTE_EMPTY_OK)) {
        ak_reply_error(call, AK_INVALID, "the body is empty: a JSON object is expected");
    } else if (len > AK_REST_INLINE_BODY_MAX && flags & AK_ROUTE_JSON) {
        to_worker(call);
    } else {
        go_on(&call->op);
    }
}

static void on_done(void *ctx, struct ak_http_request *request, int status, size_t bytes_in,
                    size_t bytes_out, double seconds)
{
    struct ak_rest *rest = ctx;
    struct ak_call *call = ak_http_attached(request);
    const struct ak_route *route = call ? call->route : NULL;
    ak_rest_series_count(rest->series, route, ak_http_method(request), status, bytes_in, bytes_out,
                         seconds);
    ak_log_debug(rest->log, "rest", "%s %s %d %.3f ms",
                 ak_http_method_name(ak_http_method(request)), route ? route->pattern : "unmatched",
                 status, seconds * 1e3);
    if (call && call->upload) {
        ak_import_gone(call);
    }
}

struct ak_http_app ak_rest_app(struct ak_rest *rest)
{
    return (struct ak_http_app){
        .ctx = rest, .on_head = on_head, .on_request = on_request, .on_done = on_done};
}
