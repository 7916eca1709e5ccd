/* httpc_curl.c — the network: one CURLM and one CURL per connection, driven by the caller.
 *
 * A lane is a multi handle with one easy handle, and so at most one transfer and, in its cache, the
 * connection of the last one. Threads share nothing of libcurl but its global state: sharing a
 * connection cache between threads is not safe in the libcurl that we build with (7.88).
 *
 * What libcurl is told, and why: Expect is removed (a second's wait before bodies over 1 MiB);
 * PATH_AS_IS, for keys such as "a/../b" are names, not paths; no signals; bodies are positional, so
 * that a kept connection which turns out to be closed is replaced and the body sent from its start.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "base/sync.h"
#include "httpc/httpc_priv.h"
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#define CONNECTIONS_MAX 16
#define CONNECT_MS 5000
#define STALL_MS 15000
#define BUFFER_BYTES (256L << 10) /* of libcurl, each way: fewer calls than its 16 and 64 KiB */
#define IDLE_SECONDS_MAX 50L /* servers and balancers close at 60 s; a stale one costs a trip */
#define POLL_MS_MAX 1000
#define POLL_MS_CANCEL 100

struct lane {
    CURLM *multi;
    CURL *easy;
    struct lane *next;
};

struct net {
    struct ak_httpc client;
    struct ak_mutex mutex;
    struct ak_cond freed;
    struct lane *idle; /* the last used first */
    uint32_t lanes;    /* that exist */
    uint32_t lanes_max;
    char *ca_file;
    char *user_agent;
};

struct call {
    struct httpc_transfer transfer;
    uint64_t body_at;
    int64_t start_ns;
    int64_t moved_ns; /* when the last byte moved */
    uint64_t moved;
    bool is_quiet; /* that no byte moves has been told */
    char text[CURL_ERROR_SIZE];
};

static int64_t now_ns(void)
{
    return ak_mono_ns(ak_clock_system());
}

/* --- Lanes --- */

static void lane_free(struct lane *lane)
{
    if (lane->easy) {
        curl_easy_cleanup(lane->easy);
    }
    if (lane->multi) {
        curl_multi_cleanup(lane->multi);
    }
    ak_free(lane);
}

static struct lane *lane_new(void)
{
    struct lane *lane = ak_try_zalloc(sizeof *lane);
    if (!lane) {
        return NULL;
    }
    lane->multi = curl_multi_init();
    lane->easy = curl_easy_init();
    if (!lane->multi || !lane->easy) {
        lane_free(lane);
        return NULL;
    }
    (void)curl_multi_setopt(lane->multi, CURLMOPT_MAXCONNECTS, 2L);
    return lane;
}

/* A free lane, a new one, or, when there are enough, the next that is given back. */
static enum ak_rc lane_take(struct net *net, const struct ak_httpc_request *request,
                            int64_t start_ns, struct lane **out, enum ak_httpc_failure *failure,
                            struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    struct lane *lane = NULL;
    ak_mutex_lock(&net->mutex);
    while (!net->idle && net->lanes >= net->lanes_max && rc == AK_OK) {
        int64_t waited_ms = (now_ns() - start_ns) / 1000000;
        if (ak_httpc_is_cancelled(request)) {
            *failure = AK_HTTPC_CANCELLED;
            rc = ak_fail(err, AK_CONFLICT, "cancelled");
        } else if (request->deadline_ms && waited_ms >= request->deadline_ms) {
            *failure = AK_HTTPC_CONNECT;
            rc = ak_fail(err, AK_TIMEOUT, "all %u connections were in use for %u ms",
                         net->lanes_max, request->deadline_ms);
        } else {
            (void)ak_cond_wait_ms(&net->freed, &net->mutex, POLL_MS_CANCEL);
        }
    }
    if (rc == AK_OK && net->idle) {
        lane = net->idle;
        net->idle = lane->next;
    } else if (rc == AK_OK) {
        net->lanes++;
    }
    ak_mutex_unlock(&net->mutex);
    if (rc == AK_OK && !lane) {
        lane = lane_new();
        if (!lane) {
            ak_mutex_lock(&net->mutex);
            net->lanes--;
            ak_cond_signal(&net->freed);
            ak_mutex_unlock(&net->mutex);
            *failure = AK_HTTPC_LOCAL;
            return ak_fail(err, AK_NOMEM, "no memory for a connection");
        }
    }
    *out = lane;
    return rc;
}

static void lane_give(struct net *net, struct lane *lane)
{
    ak_mutex_lock(&net->mutex);
    lane->next = net->idle;
    net->idle = lane;
    ak_cond_signal(&net->freed);
    ak_mutex_unlock(&net->mutex);
}

/* --- libcurl's callbacks --- */

static void moved(struct call *call, size_t bytes)
{
    call->moved += bytes;
    call->moved_ns = now_ns();
}

static size_t on_header(char *p, size_t size, size_t count, void *ctx)
{
    struct call *call = ctx;
    size_t len = size * count;
    call->moved_ns = now_ns();
    return ak_httpc_on_line(&call->transfer, (struct ak_str){p, len}) ? len : 0;
}

static size_t on_write(char *p, size_t size, size_t count, void *ctx)
{
    struct call *call = ctx;
    size_t len = size * count;
    moved(call, len);
    return ak_httpc_on_bytes(&call->transfer, (struct ak_str){p, len}) ? len : CURL_WRITEFUNC_ERROR;
}

static size_t on_read(char *p, size_t size, size_t count, void *ctx)
{
    struct call *call = ctx;
    uint64_t left = ak_httpc_body_len(call->transfer.request) - call->body_at;
    size_t len = size * count;
    len = len < left ? len : (size_t)left;
    if (!ak_httpc_take(&call->transfer, call->body_at, p, len)) {
        return CURL_READFUNC_ABORT;
    }
    call->body_at += len;
    moved(call, len);
    return len;
}

static int on_seek(void *ctx, curl_off_t offset, int origin)
{
    struct call *call = ctx;
    if (origin != SEEK_SET || offset < 0 ||
        (uint64_t)offset > ak_httpc_body_len(call->transfer.request)) {
        return CURL_SEEKFUNC_FAIL;
    }
    call->body_at = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

/* --- One call --- */

static bool is_loopback(const char *url)
{
    static const char *const names[] = {"://127.", "://localhost:", "://localhost/", "://[::1]"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *at = strstr(url, "://");
        if (at && strncmp(at, names[i], strlen(names[i])) == 0) {
            return true;
        }
    }
    return false;
}

static bool add_header(struct curl_slist **list, const char *text)
{
    struct curl_slist *longer = curl_slist_append(*list, text);
    if (longer) {
        *list = longer;
    }
    return longer != NULL;
}

/* An empty value is sent as such: "Name;" is how libcurl is told. */
static bool make_headers(const struct ak_httpc_request *request, struct curl_slist **list)
{
    struct ak_buf line;
    ak_buf_init(&line, HTTPC_HEAD_MAX);
    bool good = add_header(list, "Expect:") && add_header(list, "Accept:");
    for (size_t i = 0; good && i < request->header_count; i++) {
        const struct ak_httpc_header *h = &request->headers[i];
        ak_buf_clear(&line);
        ak_buf_add_str(&line, h->name);
        ak_buf_add_str(&line, h->value.len ? AK_STR(": ") : AK_STR(";"));
        ak_buf_add_str(&line, h->value);
        const char *text = ak_buf_cstr(&line);
        good = !line.failed && add_header(list, text);
    }
    ak_buf_release(&line);
    return good;
}

#define SET(option, value) (void)curl_easy_setopt(easy, option, value)

static void set_call(const struct net *net, CURL *easy, struct call *call)
{
    const struct ak_httpc_request *request = call->transfer.request;
    SET(CURLOPT_ERRORBUFFER, call->text);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_PATH_AS_IS, 1L);
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L); /* a proxy's answer is not the server's */
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_TCP_KEEPIDLE, 30L);
    SET(CURLOPT_TCP_KEEPINTVL, 15L);
    SET(CURLOPT_MAXAGE_CONN, IDLE_SECONDS_MAX);
    SET(CURLOPT_BUFFERSIZE, BUFFER_BYTES);
    SET(CURLOPT_UPLOAD_BUFFERSIZE, BUFFER_BYTES);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)(request->connect_ms ? request->connect_ms : CONNECT_MS));
    SET(CURLOPT_USERAGENT, net->user_agent);
    if (net->ca_file) {
        SET(CURLOPT_CAINFO, net->ca_file);
    }
    if (request->direct || is_loopback(request->url)) {
        SET(CURLOPT_PROXY, "");
    }
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, call);
    SET(CURLOPT_WRITEFUNCTION, on_write);
    SET(CURLOPT_WRITEDATA, call);
    if (strcmp(request->method, "HEAD") == 0) {
        SET(CURLOPT_NOBODY, 1L);
    } else if (ak_httpc_has_body(request)) {
        SET(CURLOPT_UPLOAD, 1L);
        SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)ak_httpc_body_len(request));
        SET(CURLOPT_READFUNCTION, on_read);
        SET(CURLOPT_READDATA, call);
        SET(CURLOPT_SEEKFUNCTION, on_seek);
        SET(CURLOPT_SEEKDATA, call);
    }
    SET(CURLOPT_CUSTOMREQUEST, request->method);
}

static bool call_fails(struct call *call, enum ak_httpc_failure failure, enum ak_rc rc)
{
    call->transfer.failure = failure;
    call->transfer.rc = rc;
    return false;
}

/* No byte has moved for a while: tell, and go on unless there is no hope. */
static bool stays_quiet(struct call *call, int64_t silent_ms)
{
    const struct ak_httpc_request *request = call->transfer.request;
    if (!call->is_quiet && request->on_quiet) {
        request->on_quiet(request->quiet_ctx);
    }
    call->is_quiet = true;
    if (!request->hurry || !atomic_load_explicit(request->hurry, memory_order_relaxed)) {
        return true;
    }
    return call_fails(call, AK_HTTPC_STALL,
                      ak_fail(&call->transfer.err, AK_TIMEOUT,
                              "no byte moved for %lld ms, and the server is known to be away",
                              (long long)silent_ms));
}

/* Is the time up, or the call cancelled? *wait_ms is how long to wait for bytes. */
static bool may_go_on(struct call *call, int *wait_ms)
{
    const struct ak_httpc_request *request = call->transfer.request;
    struct ak_err *err = &call->transfer.err;
    uint32_t stall_ms = request->stall_ms ? request->stall_ms : STALL_MS;
    int64_t now = now_ns();
    int64_t silent_ms = (now - call->moved_ns) / 1000000;
    int64_t left_ms = stall_ms - silent_ms;
    if (ak_httpc_is_cancelled(request)) {
        return call_fails(call, AK_HTTPC_CANCELLED, ak_fail(err, AK_CONFLICT, "cancelled"));
    }
    if (left_ms <= 0) {
        return call_fails(call, AK_HTTPC_STALL,
                          ak_fail(err, AK_TIMEOUT, "no byte moved for %u ms", stall_ms));
    }
    call->is_quiet = call->is_quiet && silent_ms >= request->quiet_ms;
    if (request->quiet_ms && silent_ms >= request->quiet_ms) {
        if (!stays_quiet(call, silent_ms)) {
            return false;
        }
    } else if (request->quiet_ms && request->quiet_ms - silent_ms < left_ms) {
        left_ms = request->quiet_ms - silent_ms;
    }
    if (request->deadline_ms) {
        int64_t used_ms = (now - call->start_ns - ak_httpc_body_ns(call->moved)) / 1000000;
        if (used_ms >= request->deadline_ms) {
            return call_fails(
                call, AK_HTTPC_DEADLINE,
                ak_fail(err, AK_TIMEOUT, "the deadline of %u ms passed", request->deadline_ms));
        }
        int64_t until_ms = request->deadline_ms - used_ms;
        left_ms = left_ms < until_ms ? left_ms : until_ms;
    }
    bool is_watched = request->cancel || request->stop || request->hurry;
    int64_t most = is_watched ? POLL_MS_CANCEL : POLL_MS_MAX;
    *wait_ms = (int)(left_ms < most ? left_ms : most);
    return true;
}

/* Run until it ended or may not go on. CURLE_OK with call->transfer.rc set: we ended it. */
static CURLcode drive(struct lane *lane, struct call *call)
{
    int running = 1;
    while (running) {
        int wait_ms = 0;
        CURLMcode code = curl_multi_perform(lane->multi, &running);
        if (code != CURLM_OK) {
            return CURLE_OUT_OF_MEMORY;
        }
        if (!running) {
            break;
        }
        if (!may_go_on(call, &wait_ms)) {
            return CURLE_OK;
        }
        code = curl_multi_poll(lane->multi, NULL, 0, wait_ms, NULL);
        if (code != CURLM_OK) {
            return CURLE_OUT_OF_MEMORY;
        }
    }
    int queued = 0;
    const CURLMsg *message = curl_multi_info_read(lane->multi, &queued);
    return message && message->msg == CURLMSG_DONE ? message->data.result : CURLE_FAILED_INIT;
}

struct meaning {
    enum ak_httpc_failure failure;
    enum ak_rc rc;
};

static struct meaning meaning_of(CURLcode code)
{
    switch ((int)code) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
        return (struct meaning){AK_HTTPC_CONNECT, AK_UNAVAILABLE};
    case CURLE_OPERATION_TIMEDOUT: /* only the time to connect is libcurl's to watch */
        return (struct meaning){AK_HTTPC_CONNECT, AK_TIMEOUT};
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
        return (struct meaning){AK_HTTPC_TRUST, AK_INVALID};
    case CURLE_SEND_ERROR:
    case CURLE_SEND_FAIL_REWIND:
        return (struct meaning){AK_HTTPC_SEND, AK_UNAVAILABLE};
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return (struct meaning){AK_HTTPC_RECEIVE, AK_UNAVAILABLE};
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_SSL_CACERT_BADFILE:
        return (struct meaning){AK_HTTPC_LOCAL, AK_INVALID};
    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT:
        return (struct meaning){AK_HTTPC_LOCAL, AK_NOMEM};
    default:
        return (struct meaning){AK_HTTPC_PROTOCOL, AK_UNAVAILABLE};
    }
}

static enum ak_rc conclude(struct call *call, CURLcode code, struct ak_err *err)
{
    struct httpc_transfer *transfer = &call->transfer;
    if (transfer->rc != AK_OK) { /* ours is the cause, whatever libcurl made of it */
        transfer->response->failure = transfer->failure;
        return ak_fail(err, transfer->rc, "%s", transfer->err.text);
    }
    if (code == CURLE_OK && transfer->head_told) {
        return AK_OK;
    }
    if (code == CURLE_OK) { /* libcurl takes a head without its end for a whole one */
        transfer->response->failure = AK_HTTPC_RECEIVE;
        return ak_fail(err, AK_UNAVAILABLE, "the connection broke within the answer's head");
    }
    struct meaning meaning = meaning_of(code);
    if (code == CURLE_UNSUPPORTED_PROTOCOL && strstr(call->text, "HTTP/0.9")) {
        meaning = (struct meaning){AK_HTTPC_PROTOCOL, AK_UNAVAILABLE}; /* of the answer, that is */
    }
    const char *more =
        meaning.failure == AK_HTTPC_TRUST ? " (name the PEM file of its authority in ca_file)" : "";
    transfer->response->failure = meaning.failure;
    return ak_fail(err, meaning.rc, "%s%s", call->text[0] ? call->text : curl_easy_strerror(code),
                   more);
}

static enum ak_rc net_perform(struct ak_httpc *client, const struct ak_httpc_request *request,
                              struct ak_httpc_response *response, struct ak_err *err)
{
    struct net *net = (struct net *)client;
    struct lane *lane = NULL;
    struct curl_slist *headers = NULL;
    struct call call = {.transfer = {.request = request, .response = response}};
    call.start_ns = now_ns();
    enum ak_rc rc = lane_take(net, request, call.start_ns, &lane, &response->failure, err);
    if (!lane) {
        return rc;
    }
    call.moved_ns = now_ns();
    CURLcode code = CURLE_OUT_OF_MEMORY;
    set_call(net, lane->easy, &call);
    if (make_headers(request, &headers) &&
        curl_easy_setopt(lane->easy, CURLOPT_HTTPHEADER, headers) == CURLE_OK &&
        curl_easy_setopt(lane->easy, CURLOPT_URL, request->url) == CURLE_OK &&
        curl_multi_add_handle(lane->multi, lane->easy) == CURLM_OK) {
        code = drive(lane, &call);
        (void)curl_multi_remove_handle(lane->multi, lane->easy);
    }
    rc = conclude(&call, code, err);
    curl_easy_reset(lane->easy); /* nothing of this call is left but the connection */
    curl_slist_free_all(headers);
    lane_give(net, lane);
    return rc;
}

/* --- The client --- */

static void net_close(struct ak_httpc *client)
{
    struct net *net = (struct net *)client;
    while (net->idle) {
        struct lane *lane = net->idle;
        net->idle = lane->next;
        net->lanes--;
        lane_free(lane);
    }
    AK_ASSERT(net->lanes == 0); /* a call is under way */
    ak_cond_release(&net->freed);
    ak_mutex_release(&net->mutex);
    ak_free(net->ca_file);
    ak_free(net->user_agent);
    ak_free(net);
}

static const struct ak_httpc_ops net_ops = {net_perform, net_close};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode global = CURLE_FAILED_INIT;

static void init_once(void)
{
    global = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static char *copy(const char *text)
{
    return text && text[0] ? ak_strdup_n(text, strlen(text)) : NULL;
}

enum ak_rc ak_httpc_open(const struct ak_httpc_options *options, struct ak_httpc **client,
                         struct ak_err *err)
{
    (void)pthread_once(&once, init_once);
    if (global != CURLE_OK) {
        return ak_fail(err, AK_INTERNAL, "libcurl does not start: %s", curl_easy_strerror(global));
    }
    struct net *net = ak_zalloc(sizeof *net);
    net->client.ops = &net_ops;
    net->lanes_max = options->connections_max ? options->connections_max : CONNECTIONS_MAX;
    net->ca_file = copy(options->ca_file);
    net->user_agent = copy(options->user_agent ? options->user_agent : "akidb/" AKIDB_VERSION);
    ak_mutex_init(&net->mutex, AK_RANK_LEAF, "httpc");
    ak_cond_init(&net->freed);
    *client = &net->client;
    return AK_OK;
}
