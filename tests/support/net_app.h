/* net_app.h — the application that the net tests serve, and what it saw. Include once a program.
 *
 *   /echo        the request's body, at once          /later       the same from another thread
 *   /hold        kept until release_held()            /early       answered in on_head
 *   /small       body limit of 10 bytes               /big/N       N bytes
 *   /stream      counts the body: "bytes sum"         /paused      a stream paused at once until
 *   /view/N      N bytes, borrowed                    /headers     the request's, as they came
 *   /cut/N       100 bytes, reset after N             /abort       a reset instead of an answer
 *   /paced/N     N bytes, 100,000 a second            /abort-early the same, in on_head
 *   /slow        a stream paused at each chunk and    resume_paused(); else as /stream
 *                resumed by another thread            /error       503, retryable
 *   /flow/N      N bytes from another thread          /flow-cut/N  the same, then a failure
 *   /flow-now    a flow begun in on_head
 */
#pragma once
#include "base/clock.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/sync.h"
#include "net/http.h"
#include "support/tcp.h"
#include "support/test.h"
#include <sched.h>

#define HELD_MAX 4096

struct app {
    struct ak_http_server *server;
    struct ak_metrics *metrics;
    struct ak_pool *pool;
    uint16_t port;
    struct ak_mutex mutex;
    struct ak_cond changed;
    struct ak_http_request *held[HELD_MAX]; /* in order of arrival; answered ones are NULL */
    unsigned held_count;
    unsigned held_now;
    unsigned held_most;
    struct ak_http_request *paused;
    unsigned heads;
    unsigned dones;
    unsigned gone;     /* dones with status 0 */
    unsigned requests; /* on_request */
    unsigned ends_ok;  /* streams */
    unsigned ends_bad;
    unsigned views;    /* lent */
    unsigned released; /* of them */
    enum ak_rc last_end;
    int last_status;
    size_t last_bytes_in;
    size_t last_bytes_out;
    uint64_t stream_bytes;
    uint64_t flow_bytes; /* handed to ak_http_send() */
    unsigned flows;      /* ended */
    unsigned flows_gone;
    bool double_done;
};

struct ticket { /* what each request carries until on_done */
    uint64_t bytes;
    uint64_t sum;
    bool done;
    bool is_slow;
    unsigned resuming; /* app.mutex: resumes that are to come, which name the request */
};

static struct app app;

static inline void lock(void)
{
    ak_mutex_lock(&app.mutex);
}

static inline void unlock(void)
{
    ak_cond_broadcast(&app.changed);
    ak_mutex_unlock(&app.mutex);
}

/* Wait until the counter has reached `want`; a test that waits in vain ends by its check. */
static inline void wait_for(const unsigned *counter, unsigned want)
{
    bool in_time = true;
    ak_mutex_lock(&app.mutex);
    while (*counter < want && in_time) {
        in_time = ak_cond_wait_ms(&app.changed, &app.mutex, 30000);
    }
    unsigned got = *counter;
    ak_mutex_unlock(&app.mutex);
    CHECK(got >= want);
}

static inline bool path_is(const struct ak_http_request *request, const char *path)
{
    return ak_str_eq(ak_http_path(request), ak_str_of(path));
}

static inline void answer_text(struct ak_http_request *request, struct ak_str text)
{
    struct ak_buf body;
    ak_buf_init(&body, 0);
    ak_buf_add_str(&body, text);
    ak_http_respond(request, 200, "text/plain", &body, "X-Test: yes\r\n");
}

static inline void echo(void *arg)
{
    struct ak_http_request *request = arg;
    answer_text(request, ak_http_body(request));
}

static inline void resume(void *arg)
{
    struct ticket *ticket = ak_http_attached(arg);
    ak_http_resume(arg);
    lock();
    ticket->resuming--;
    unlock();
}

static inline void on_chunk(void *ctx, struct ak_http_request *request, struct ak_str bytes)
{
    struct ticket *ticket = ak_http_attached(request);
    (void)ctx;
    for (size_t i = 0; i < bytes.len; i++) {
        ticket->sum = ticket->sum * 31 + (unsigned char)bytes.p[i];
    }
    ticket->bytes += bytes.len;
    lock();
    app.stream_bytes += bytes.len;
    unlock();
    if (ticket->is_slow) {
        struct ak_err err;
        ak_http_pause(request);
        lock();
        ticket->resuming++;
        unlock();
        CHECK(ak_pool_submit(app.pool, resume, request, &err) == AK_OK);
    }
}

static inline void on_end(void *ctx, struct ak_http_request *request, enum ak_rc rc)
{
    struct ticket *ticket = ak_http_attached(request);
    (void)ctx;
    lock();
    while (ticket->resuming) { /* the request may be gone when this returns */
        ak_cond_wait(&app.changed, &app.mutex);
    }
    app.ends_ok += rc == AK_OK;
    app.ends_bad += rc != AK_OK;
    app.last_end = rc;
    unlock();
    if (rc == AK_OK) {
        char text[64];
        (void)snprintf(text, sizeof text, "%llu %llu", (unsigned long long)ticket->bytes,
                       (unsigned long long)ticket->sum);
        answer_text(request, ak_str_of(text));
    }
}

/* Byte i of what flows. */
static inline char flow_byte(uint64_t i)
{
    return (char)('a' + i % 23);
}

static inline void flow(void *arg)
{
    struct ak_http_request *request = arg;
    struct ak_str path = ak_http_path(request);
    bool cut = ak_str_has_prefix(path, AK_STR("/flow-cut/"));
    bool now = path_is(request, "/flow-now");
    uint64_t size = 1000;
    char piece[10007];
    enum ak_rc rc = AK_OK;
    if (!now) {
        CHECK(ak_str_u64(ak_str_sub(path, cut ? 10 : 6, SIZE_MAX), UINT64_MAX, &size));
        if (!ak_http_begin(request, 200, "text/plain", "X-Test: yes\r\n")) {
            return;
        }
    }
    uint64_t at = 0;
    while (rc == AK_OK && at < size) {
        size_t len = size - at < sizeof piece ? (size_t)(size - at) : sizeof piece;
        for (size_t i = 0; i < len; i++) {
            piece[i] = flow_byte(at + i);
        }
        rc = ak_http_send(request, piece, len, NULL);
        at += len;
        lock();
        app.flow_bytes += len;
        unlock();
    }
    CHECK(rc == AK_OK || rc == AK_NOMEM || ak_http_is_gone(request));
    lock();
    app.flows++;
    app.flows_gone += rc == AK_UNAVAILABLE;
    unlock();
    ak_http_end(request, cut ? AK_CORRUPT : rc);
}

static inline void on_head(void *ctx, struct ak_http_request *request)
{
    struct ticket *ticket = ak_zalloc(sizeof *ticket);
    const struct ak_http_stream stream = {on_chunk, on_end, NULL};
    CHECK(ctx == &app);
    ak_http_attach(request, ticket);
    if (path_is(request, "/small")) {
        ak_http_set_body_max(request, 10);
    } else if (path_is(request, "/early")) {
        answer_text(request, AK_STR("early"));
    } else if (path_is(request, "/flow-now")) {
        struct ak_err err;
        if (ak_http_begin(request, 200, "text/plain", NULL)) {
            CHECK(ak_pool_submit(app.pool, flow, request, &err) == AK_OK);
        }
    } else if (path_is(request, "/abort-early")) {
        ak_http_abort(request);
    } else if (path_is(request, "/stream") || path_is(request, "/slow") ||
               path_is(request, "/paused") || path_is(request, "/stream-small")) {
        ticket->is_slow = path_is(request, "/slow");
        if (path_is(request, "/stream-small")) {
            ak_http_set_body_max(request, 100000);
        }
        ak_http_start_stream(request, &stream);
        if (path_is(request, "/paused")) {
            ak_http_pause(request);
            lock();
            app.paused = request;
            unlock();
        }
    }
    lock();
    app.heads++;
    unlock();
}

static inline void answer_big(struct ak_http_request *request)
{
    struct ak_str path = ak_http_path(request);
    uint64_t size = 0;
    CHECK(ak_str_u64(ak_str_sub(path, 5, SIZE_MAX), 100u << 20, &size));
    struct ak_buf body;
    ak_buf_init(&body, 0);
    char *p = ak_buf_reserve(&body, (size_t)size);
    if (!p) {
        ak_http_respond_error(request, AK_NOMEM, NULL);
        return;
    }
    memset(p, 'b', (size_t)size);
    body.len = (size_t)size;
    ak_http_respond(request, 200, "text/plain", &body, NULL);
}

static inline void release_view(void *ctx)
{
    lock();
    app.released++;
    unlock();
    ak_free(ctx);
}

static inline void answer_view(struct ak_http_request *request, struct ak_str number)
{
    uint64_t n = 0;
    bool cuts = ak_str_has_prefix(ak_http_path(request), AK_STR("/cut/"));
    bool is_paced = ak_str_has_prefix(ak_http_path(request), AK_STR("/paced/"));
    CHECK(ak_str_u64(number, 100u << 20, &n));
    size_t size = cuts ? 100 : (size_t)n;
    char *bytes = ak_alloc(size + 1);
    memset(bytes, 'v', size);
    const struct ak_http_view view = {
        .body = {bytes, size},
        .release = release_view,
        .ctx = bytes,
        .bytes_per_s = is_paced ? 100000 : 0,
        .cuts = cuts,
        .cut_at = (size_t)n,
    };
    lock();
    app.views++;
    unlock();
    ak_http_respond_view(request, 200, "text/plain", &view, "X-Test: yes\r\n");
}

static inline void list_headers(struct ak_http_request *request)
{
    struct ak_buf body;
    struct ak_str name;
    struct ak_str value;
    ak_buf_init(&body, 0);
    for (size_t i = 0; ak_http_header_at(request, i, &name, &value); i++) {
        ak_buf_add_fmt(&body, "%.*s=%.*s;", AK_STR_ARG(name), AK_STR_ARG(value));
    }
    ak_http_respond(request, 200, "text/plain", &body, NULL);
}

static inline bool answer_borrowed(struct ak_http_request *request)
{
    struct ak_str path = ak_http_path(request);
    struct ak_str kind;
    struct ak_str number;
    (void)ak_str_split(ak_str_sub(path, 1, SIZE_MAX), '/', &kind, &number);
    if (ak_str_eq(kind, AK_STR("view")) || ak_str_eq(kind, AK_STR("cut")) ||
        ak_str_eq(kind, AK_STR("paced"))) {
        answer_view(request, number);
        return true;
    }
    return false;
}

static inline void on_request(void *ctx, struct ak_http_request *request)
{
    struct ak_err err;
    (void)ctx;
    lock();
    app.requests++;
    unlock();
    if (ak_str_has_prefix(ak_http_path(request), AK_STR("/flow"))) {
        if (ak_pool_submit(app.pool, flow, request, &err) != AK_OK) {
            ak_http_respond_error(request, AK_NOMEM, err.text);
        }
    } else if (path_is(request, "/later")) {
        CHECK(ak_pool_submit(app.pool, echo, request, &err) == AK_OK);
    } else if (path_is(request, "/hold")) {
        lock();
        CHECK(app.held_count < HELD_MAX);
        app.held[app.held_count++] = request;
        app.held_now++;
        app.held_most = app.held_now > app.held_most ? app.held_now : app.held_most;
        unlock();
    } else if (path_is(request, "/error")) {
        ak_http_respond_error(request, AK_UNAVAILABLE, "not \"now\"");
    } else if (ak_str_has_prefix(ak_http_path(request), AK_STR("/big/"))) {
        answer_big(request);
    } else if (path_is(request, "/headers")) {
        list_headers(request);
    } else if (path_is(request, "/abort")) {
        ak_http_abort(request);
    } else if (answer_borrowed(request)) {
        return;
    } else if (path_is(request, "/none")) {
        ak_http_respond(request, 204, NULL, NULL, NULL);
    } else {
        echo(request);
    }
}

static inline void on_done(void *ctx, struct ak_http_request *request, int status, size_t bytes_in,
                           size_t bytes_out, double seconds)
{
    struct ticket *ticket = ak_http_attached(request);
    CHECK(ctx == &app && seconds >= 0);
    lock();
    app.double_done |= ticket->done;
    ticket->done = true;
    app.dones++;
    app.gone += status == 0;
    app.last_status = status;
    app.last_bytes_in = bytes_in;
    app.last_bytes_out = bytes_out;
    unlock();
    ak_http_attach(request, NULL);
    ak_free(ticket);
}

/* Answer the n-th request that came to /hold, from the test's own thread. */
static inline void release_held(unsigned n)
{
    lock();
    struct ak_http_request *request = app.held[n];
    app.held[n] = NULL;
    app.held_now--;
    unlock();
    CHECK(request != NULL);
    echo(request);
}

/* Wait until the server has that many connections. */
static inline void wait_connections(int want)
{
    struct ak_series *open = ak_metrics_series(app.metrics, AK_METRIC_CONNECTIONS, NULL, 0);
    int64_t until_ns = ak_mono_ns(ak_clock_system()) + 30000000000;
    while ((int)ak_series_value(open) != want && ak_mono_ns(ak_clock_system()) < until_ns) {
        (void)sched_yield();
    }
    CHECK_INT(ak_series_value(open), want);
}

static inline void serve(struct ak_http_options options)
{
    struct ak_err err;
    const struct ak_pool_options pool = {.name = "answer", .threads = 2};
    app = (struct app){.metrics = ak_metrics_open()};
    ak_mutex_init(&app.mutex, AK_RANK_LEAF, "test app");
    ak_cond_init(&app.changed);
    CHECK_OK(ak_pool_open(&pool, &app.pool, &err));
    options.listen = options.listen ? options.listen : "127.0.0.1:0";
    options.loops = options.loops ? options.loops : 1;
    options.app = (struct ak_http_app){&app, on_head, on_request, on_done};
    options.metrics = app.metrics;
    CHECK_OK(ak_http_open(&options, &app.server, &err));
    app.port = ak_http_port(app.server);
    CHECK(app.port != 0);
}

/* Close the server and check what must hold after any test: each head had its end, exactly one. */
static inline void shut(uint32_t grace_ms)
{
    ak_http_close(app.server, grace_ms);
    CHECK_INT(app.dones, app.heads);
    CHECK(!app.double_done);
    CHECK_INT(app.released, app.views);
    CHECK_INT(ak_series_value(ak_metrics_series(app.metrics, AK_METRIC_CONNECTIONS, NULL, 0)), 0);
    const struct ak_str requests = AK_STR("requests");
    CHECK_INT(ak_series_value(ak_metrics_series(app.metrics, AK_METRIC_MEMORY, &requests, 1)), 0);
    ak_pool_close(app.pool);
    ak_metrics_close(app.metrics);
    ak_cond_release(&app.changed);
    ak_mutex_release(&app.mutex);
}

/* Send `text`, read one response; true when status and body are as expected. */
static inline bool answers(struct ak_test_tcp *tcp, const char *text, int status, const char *body)
{
    struct ak_test_response response;
    ak_test_tcp_send_text(tcp, text);
    if (!ak_test_tcp_response(tcp, &response, false)) {
        return false;
    }
    bool same = response.status == status &&
                (!body || ak_str_eq(ak_buf_str(&response.body), ak_str_of(body)));
    if (!same) {
        (void)fprintf(stderr, "    got %d \"%s\"\n", response.status, ak_buf_cstr(&response.body));
    }
    ak_test_response_release(&response);
    return same;
}

/* Does the server still serve? */
static inline bool is_alive(void)
{
    struct ak_test_tcp tcp;
    ak_test_tcp_open(&tcp, app.port);
    bool ok =
        answers(&tcp, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi", 200, "hi");
    ak_test_tcp_close(&tcp);
    return ok;
}
