/* httpc_test.c — the HTTP client against a server that follows a script, and the fake. */
#include "base/fault.h"
#include "base/mem.h"
#include "base/sync.h"
#include "httpc/httpc.h"
#include "support/test.h"
#include <arpa/inet.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define STEPS_MAX 16
#define SEEN_MAX ((size_t)1 << 20)

struct step {
    const char *answer; /* sent when the request has been read; NULL: nothing */
    const char *early;  /* sent after read_max bytes; then the rest is read */
    size_t read_max;    /* breaks the connection after so many bytes of the body; 0: reads all */
    bool close;         /* afterwards */
    bool reset;         /* … with a reset */
    bool hold;          /* keeps silent until released */
};

static struct {
    int listener;
    uint16_t port;
    struct step steps[STEPS_MAX];
    size_t count;
    size_t next;
    unsigned accepted;
    struct ak_buf seen; /* heads of the requests */
    struct ak_buf body; /* of the last */
    struct ak_mutex mutex;
    struct ak_cond changed;
    bool holding;
    bool release;
    struct ak_thread thread;
} server;

static const struct step *next_step(void)
{
    return server.next < server.count ? &server.steps[server.next++] : NULL;
}

/* Reads one request; false: the peer is gone, or the step broke it. */
static bool read_request(int fd, const struct step *step)
{
    struct ak_buf in;
    char chunk[8192];
    size_t head = 0;
    uint64_t length = 0;
    ak_buf_init(&in, (size_t)64 << 20);
    while (!head) {
        ssize_t got = recv(fd, chunk, sizeof chunk, 0);
        if (got <= 0) {
            ak_buf_release(&in);
            return false;
        }
        ak_buf_add(&in, chunk, (size_t)got);
        const char *end = memmem(in.p, in.len, "\r\n\r\n", 4);
        head = end ? (size_t)(end - in.p) + 4 : 0;
    }
    ak_buf_add_str(&server.seen, (struct ak_str){in.p, head});
    const char *at = memmem(in.p, head, "Content-Length: ", 16);
    if (at) {
        length = strtoull(at + 16, NULL, 10);
    }
    bool whole = true;
    bool said = false;
    while (whole && in.len - head < length) {
        if (step->read_max && in.len - head >= step->read_max && !step->early) {
            whole = false;
            break;
        }
        if (step->early && in.len - head >= step->read_max && !said) {
            said = true;
            (void)send(fd, step->early, strlen(step->early), MSG_NOSIGNAL);
        }
        ssize_t got = recv(fd, chunk, sizeof chunk, 0);
        whole = got > 0;
        ak_buf_add(&in, chunk, whole ? (size_t)got : 0);
    }
    ak_buf_clear(&server.body);
    ak_buf_add(&server.body, in.p + head, in.len - head);
    ak_buf_release(&in);
    return whole;
}

static void hold(void)
{
    ak_mutex_lock(&server.mutex);
    server.holding = true;
    ak_cond_broadcast(&server.changed);
    while (!server.release) {
        ak_cond_wait(&server.changed, &server.mutex);
    }
    ak_mutex_unlock(&server.mutex);
}

static void serve_connection(int fd)
{
    const struct step *step = NULL;
    while ((step = next_step()) != NULL) {
        bool whole = read_request(fd, step);
        if (!whole && !step->read_max) {
            server.next--; /* the client closed a kept connection: the step is for the next one */
            return;
        }
        if (step->hold) {
            hold();
        }
        if (whole && step->answer) {
            (void)send(fd, step->answer, strlen(step->answer), MSG_NOSIGNAL);
        }
        if (step->reset) {
            const struct linger now = {.l_onoff = 1, .l_linger = 0};
            (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        }
        if (step->close || step->reset || !whole) {
            return;
        }
    }
}

static void serve(void *arg)
{
    (void)arg;
    while (server.next < server.count) {
        int fd = accept(server.listener, NULL, NULL);
        if (fd < 0) {
            return;
        }
        server.accepted++;
        serve_connection(fd);
        close(fd);
    }
}

static void server_start(const struct step *steps, size_t count)
{
    struct ak_err err;
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    memcpy(server.steps, steps, count * sizeof steps[0]);
    server.count = count;
    server.next = 0;
    server.accepted = 0;
    server.holding = false;
    server.release = false;
    ak_buf_init(&server.seen, SEEN_MAX);
    ak_buf_init(&server.body, (size_t)64 << 20);
    ak_mutex_init(&server.mutex, AK_RANK_LEAF, "server");
    ak_cond_init(&server.changed);
    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(server.listener >= 0);
    CHECK(bind(server.listener, (const struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(server.listener, 16) == 0);
    CHECK(getsockname(server.listener, (struct sockaddr *)&address, &len) == 0);
    server.port = ntohs(address.sin_port);
    CHECK_OK(ak_thread_start(&server.thread, "server", serve, NULL, &err));
}

static void server_stop(void)
{
    ak_mutex_lock(&server.mutex);
    server.release = true;
    ak_cond_broadcast(&server.changed);
    ak_mutex_unlock(&server.mutex);
    (void)shutdown(server.listener, SHUT_RDWR);
    ak_thread_join(&server.thread);
    close(server.listener);
    ak_buf_release(&server.seen);
    ak_buf_release(&server.body);
    ak_cond_release(&server.changed);
    ak_mutex_release(&server.mutex);
}

static struct ak_httpc *open_client(uint32_t connections_max)
{
    struct ak_err err;
    struct ak_httpc *client = NULL;
    const struct ak_httpc_options options = {.connections_max = connections_max};
    CHECK_OK(ak_httpc_open(&options, &client, &err));
    return client;
}

static const char *url(const char *path)
{
    static char text[256];
    (void)snprintf(text, sizeof text, "http://127.0.0.1:%u%s", server.port, path);
    return text;
}

#define OK_HELLO "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nX-Empty:\r\nContent-Length: 5\r\n\r\nhello"

/* --- The network --- */

TEST(httpc, an_answer_arrives_with_its_headers_and_the_connection_is_kept)
{
    const struct step steps[] = {{.answer = OK_HELLO}, {.answer = OK_HELLO}};
    struct ak_err err;
    struct ak_httpc_response response;
    struct ak_httpc *client = open_client(0);
    server_start(steps, 2);
    ak_httpc_response_init(&response);
    for (int i = 0; i < 2; i++) {
        const struct ak_httpc_request request = {.method = "GET", .url = url("/a/../b%2Fc?x=1")};
        CHECK_OK(ak_httpc_do(client, &request, &response, &err));
        CHECK_INT(response.status, 200);
        CHECK_STR(ak_buf_cstr(&response.body), "hello");
        CHECK(ak_str_eq(ak_httpc_header(&response, "etag"), AK_STR("\"e\"")));
        CHECK(ak_httpc_header(&response, "x-empty").p != NULL);
        CHECK(ak_httpc_header(&response, "x-none").p == NULL);
        CHECK_INT(response.received, 5);
    }
    ak_httpc_close(client);
    server_stop();
    CHECK_INT(server.accepted, 1);
    ak_httpc_response_release(&response);
}

TEST(httpc, a_request_is_sent_as_it_was_given_and_nothing_is_added)
{
    const struct step steps[] = {{.answer = OK_HELLO, .close = true}};
    const struct ak_httpc_header headers[] = {{AK_STR("Host"), AK_STR("other.example")},
                                              {AK_STR("X-A"), AK_STR("1 2")},
                                              {AK_STR("X-Empty"), AK_STR_NONE}};
    struct ak_err err;
    struct ak_httpc_response response;
    struct ak_buf body;
    char want[256];
    ak_buf_init(&body, 0);
    memset(ak_buf_reserve(&body, 2000000), 'b', 2000000); /* over a megabyte: no Expect */
    body.len = 2000000;
    struct ak_httpc *client = open_client(0);
    server_start(steps, 1);
    ak_httpc_response_init(&response);
    const struct ak_httpc_request request = {.method = "PUT",
                                             .url = url("/k%20%2B/../%41"),
                                             .headers = headers,
                                             .header_count = 3,
                                             .body = ak_buf_str(&body)};
    CHECK_OK(ak_httpc_do(client, &request, &response, &err));
    CHECK_INT(response.sent, 2000000);
    ak_httpc_close(client);
    ak_thread_join(&server.thread);
    (void)snprintf(
        want, sizeof want,
        "PUT /k%%20%%2B/../%%41 HTTP/1.1\r\nHost: other.example\r\n"
        "User-Agent: akidb/%s\r\nX-A: 1 2\r\nX-Empty:\r\nContent-Length: 2000000\r\n\r\n",
        AKIDB_VERSION);
    CHECK_STR(ak_buf_cstr(&server.seen), want);
    CHECK(ak_str_eq(ak_buf_str(&server.body), ak_buf_str(&body)));
    server.thread.started = false;
    server_stop();
    ak_buf_release(&body);
    ak_httpc_response_release(&response);
}

TEST(httpc, each_method_has_the_body_that_it_needs)
{
    static const struct {
        const char *method;
        const char *length; /* in the head */
    } rows[] = {{"PUT", "Content-Length: 0\r\n"},
                {"POST", "Content-Length: 0\r\n"},
                {"DELETE", NULL},
                {"GET", NULL},
                {"HEAD", NULL}};
    struct ak_err err;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct step steps[] = {
            {.answer = strcmp(rows[i].method, "HEAD") == 0
                           ? "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"
                           : "HTTP/1.1 204 No Content\r\n\r\n"}};
        struct ak_httpc_response response;
        struct ak_httpc *client = open_client(0);
        server_start(steps, 1);
        ak_httpc_response_init(&response);
        const struct ak_httpc_request request = {.method = rows[i].method, .url = url("/")};
        CHECK_OK(ak_httpc_do(client, &request, &response, &err));
        CHECK_INT(response.body.len, 0);
        ak_httpc_close(client);
        ak_thread_join(&server.thread);
        server.thread.started = false;
        const char *seen = ak_buf_cstr(&server.seen);
        CHECK(strncmp(seen, rows[i].method, strlen(rows[i].method)) == 0);
        CHECK(rows[i].length ? strstr(seen, rows[i].length) != NULL
                             : strstr(seen, "Content-Length") == NULL);
        CHECK(!strstr(seen, "Transfer-Encoding") && !strstr(seen, "Expect"));
        server_stop();
        ak_httpc_response_release(&response);
    }
}

struct source {
    unsigned reads_at_zero;
    uint64_t fail_at;
};

static enum ak_rc pattern(void *ctx, uint64_t at, void *p, size_t len, struct ak_err *err)
{
    struct source *source = ctx;
    source->reads_at_zero += at == 0;
    if (source->fail_at && at + len > source->fail_at) {
        return ak_fail(err, AK_IO, "the disk is gone");
    }
    for (size_t i = 0; i < len; i++) {
        ((char *)p)[i] = (char)('a' + (at + i) % 26);
    }
    return AK_OK;
}

TEST(httpc, a_kept_connection_that_the_server_closed_is_replaced_and_the_body_sent_anew)
{
    const struct step steps[] = {{.answer = OK_HELLO, .close = true}, {.answer = OK_HELLO}};
    struct ak_err err;
    struct source source = {.fail_at = 0};
    struct ak_httpc_response response;
    struct ak_httpc *client = open_client(1);
    server_start(steps, 2);
    ak_httpc_response_init(&response);
    const struct ak_httpc_request first = {.method = "GET", .url = url("/")};
    CHECK_OK(ak_httpc_do(client, &first, &response, &err));
    const struct ak_httpc_request second = {
        .method = "PUT", .url = url("/"), .read = pattern, .body_len = 100000, .ctx = &source};
    CHECK_OK(ak_httpc_do(client, &second, &response, &err));
    ak_httpc_close(client);
    ak_thread_join(&server.thread);
    server.thread.started = false;
    CHECK_INT(server.accepted, 2);
    CHECK_INT(server.body.len, 100000);
    for (size_t i = 0; i < 100000; i += 997) {
        CHECK(server.body.p[i] == (char)('a' + i % 26));
    }
    server_stop();
    ak_httpc_response_release(&response);
}

TEST(httpc, what_a_proxy_says_of_its_tunnel_is_no_answer)
{
    const struct step steps[] = {
        {.answer = "HTTP/1.1 200 Connection established\r\nVia: proxy\r\n\r\n", .close = true}};
    struct ak_err err;
    struct ak_httpc_response response;
    char proxy[64];
    server_start(steps, 1);
    (void)snprintf(proxy, sizeof proxy, "http://127.0.0.1:%u", server.port);
    CHECK(setenv("https_proxy", proxy, 1) == 0);
    struct ak_httpc *client = open_client(1);
    ak_httpc_response_init(&response);
    const struct ak_httpc_request request = {.method = "GET", .url = "https://s3.example/k"};
    CHECK(ak_httpc_do(client, &request, &response, &err) != AK_OK);
    CHECK_INT(response.status, 0);
    CHECK(ak_httpc_header(&response, "via").p == NULL);
    CHECK(unsetenv("https_proxy") == 0);
    ak_httpc_close(client);
    ak_thread_join(&server.thread);
    server.thread.started = false;
    CHECK(strstr(ak_buf_cstr(&server.seen), "CONNECT s3.example:443 HTTP/1.1"));
    server_stop();
    ak_httpc_response_release(&response);
}

static enum ak_rc count_bytes(void *ctx, struct ak_str bytes, struct ak_err *err)
{
    size_t *count = ctx;
    (void)err;
    *count += bytes.len;
    return AK_OK;
}

TEST(httpc, failures_are_told_apart)
{
    static const struct {
        struct step step;
        enum ak_httpc_failure failure;
        enum ak_rc rc;
        size_t got;
    } rows[] = {
        {{.answer = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", .close = true},
         AK_HTTPC_RECEIVE,
         AK_UNAVAILABLE,
         3},
        {{.answer = "HTTP/1.1 200 OK\r\nContent-Le", .close = true},
         AK_HTTPC_RECEIVE,
         AK_UNAVAILABLE,
         0},
        {{.answer = NULL, .close = true}, AK_HTTPC_RECEIVE, AK_UNAVAILABLE, 0},
        {{.answer = NULL, .reset = true}, AK_HTTPC_RECEIVE, AK_UNAVAILABLE, 0},
        {{.answer = "SSH-2.0-OpenSSH\r\n", .close = true}, AK_HTTPC_PROTOCOL, AK_UNAVAILABLE, 0},
        {{.hold = true}, AK_HTTPC_STALL, AK_TIMEOUT, 0},
        {{.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", .close = true},
         AK_HTTPC_RECEIVE,
         AK_UNAVAILABLE,
         2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ak_err err;
        size_t got = 0;
        struct ak_httpc_response response;
        struct ak_httpc *client = open_client(0);
        server_start(&rows[i].step, 1);
        ak_httpc_response_init(&response);
        const struct ak_httpc_request request = {.method = "GET",
                                                 .url = url("/"),
                                                 .on_body = count_bytes,
                                                 .ctx = &got,
                                                 .stall_ms = rows[i].step.hold ? 50 : 0};
        enum ak_rc rc = ak_httpc_do(client, &request, &response, &err);
        ak_test_counted();
        if (rc != rows[i].rc || response.failure != rows[i].failure || got != rows[i].got) {
            ak_test_fail(__FILE__, __LINE__, "row %zu: %s, failure %d, %zu bytes: %s", i,
                         ak_rc_name(rc), (int)response.failure, got, rc ? err.text : "");
        }
        server_stop();
        ak_httpc_close(client);
        ak_httpc_response_release(&response);
    }
}

TEST(httpc, a_connection_that_breaks_while_a_body_is_sent_is_a_failure_and_no_answer)
{
    const struct step steps[] = {{.read_max = 100000, .reset = true}};
    struct ak_err err;
    struct source source = {.fail_at = 0};
    struct ak_httpc_response response;
    struct ak_httpc *client = open_client(0);
    server_start(steps, 1);
    ak_httpc_response_init(&response);
    const struct ak_httpc_request request = {
        .method = "PUT", .url = url("/"), .read = pattern, .body_len = 50000000, .ctx = &source};
    CHECK_RC(AK_UNAVAILABLE, ak_httpc_do(client, &request, &response, &err));
    CHECK(response.failure == AK_HTTPC_SEND || response.failure == AK_HTTPC_RECEIVE);
    CHECK_INT(response.status, 0);
    server_stop();
    ak_httpc_close(client);
    ak_httpc_response_release(&response);
}

TEST(httpc, a_refusal_that_comes_while_a_body_is_sent_is_an_answer)
{
    const struct step steps[] = {{.read_max = 50000,
                                  .early = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n"
                                           "Connection: close\r\n\r\nno"}};
    struct ak_err err;
    struct source source = {.fail_at = 0};
    struct ak_httpc_response response;
    struct ak_httpc *client = open_client(0);
    server_start(steps, 1);
    ak_httpc_response_init(&response);
    const struct ak_httpc_request request = {
        .method = "PUT", .url = url("/"), .read = pattern, .body_len = 50000000, .ctx = &source};
    CHECK_OK(ak_httpc_do(client, &request, &response, &err));
    CHECK_INT(response.status, 403);
    CHECK_STR(ak_buf_cstr(&response.body), "no");
    CHECK(response.sent < 50000000);
    server_stop();
    ak_httpc_close(client);
    ak_httpc_response_release(&response);
}

TEST(httpc, a_refused_connection_and_a_url_that_is_none)
{
    struct ak_err err;
    struct ak_httpc_response response;
    struct ak_httpc *client = open_client(0);
    ak_httpc_response_init(&response);
    struct ak_httpc_request request = {.method = "GET", .url = "http://127.0.0.1:1/"};
    CHECK_RC(AK_UNAVAILABLE, ak_httpc_do(client, &request, &response, &err));
    CHECK(response.failure == AK_HTTPC_CONNECT);
    request.url = "gopher://127.0.0.1/";
    CHECK_RC(AK_INVALID, ak_httpc_do(client, &request, &response, &err));
    CHECK(response.failure == AK_HTTPC_LOCAL);
    request.url = "http://";
    CHECK_RC(AK_INVALID, ak_httpc_do(client, &request, &response, &err));
    request.url = "http://no-such-name.invalid/";
    CHECK_RC(AK_UNAVAILABLE, ak_httpc_do(client, &request, &response, &err));
    CHECK(response.failure == AK_HTTPC_CONNECT);
    ak_httpc_close(client);
    ak_httpc_response_release(&response);
}

TEST(httpc, a_deadline_ends_a_call_that_goes_nowhere)
{
    const struct step steps[] = {{.hold = true}};
    struct ak_err err;
    struct ak_httpc_response response;
    struct ak_httpc *client = open_client(0);
    server_start(steps, 1);
    ak_httpc_response_init(&response);
    const struct ak_httpc_request request = {
        .method = "GET", .url = url("/"), .deadline_ms = 50, .stall_ms = 60000};
    CHECK_RC(AK_TIMEOUT, ak_httpc_do(client, &request, &response, &err));
    CHECK(response.failure == AK_HTTPC_DEADLINE);
    server_stop();
    ak_httpc_close(client);
    ak_httpc_response_release(&response);
}

static void cancel_when_held(void *arg)
{
    _Atomic bool *cancel = arg;
    ak_mutex_lock(&server.mutex);
    while (!server.holding) {
        ak_cond_wait(&server.changed, &server.mutex);
    }
    ak_mutex_unlock(&server.mutex);
    atomic_store(cancel, true);
}

TEST(httpc, another_thread_cancels_a_call)
{
    const struct step steps[] = {{.hold = true}};
    struct ak_err err;
    struct ak_thread thread = {.started = false};
    _Atomic bool cancel = false;
    struct ak_httpc_response response;
    struct ak_httpc *client = open_client(0);
    server_start(steps, 1);
    ak_httpc_response_init(&response);
    CHECK_OK(ak_thread_start(&thread, "cancel", cancel_when_held, &cancel, &err));
    const struct ak_httpc_request request = {
        .method = "GET", .url = url("/"), .cancel = &cancel, .stall_ms = 60000};
    CHECK_RC(AK_CONFLICT, ak_httpc_do(client, &request, &response, &err));
    CHECK(response.failure == AK_HTTPC_CANCELLED);
    ak_thread_join(&thread);
    server_stop();
    ak_httpc_close(client);
    ak_httpc_response_release(&response);
}

struct silence {
    unsigned told;
    bool gives_up; /* as soon as it is told */
    _Atomic bool hurry;
};

static void on_quiet(void *ctx)
{
    struct silence *silence = ctx;
    silence->told++;
    atomic_store(&silence->hurry, silence->gives_up);
}

static enum ak_rc call_quietly(struct silence *silence, uint32_t stall_ms, struct ak_err *err)
{
    const struct step steps[] = {{.hold = true}};
    struct ak_httpc_response response;
    struct ak_httpc *client = open_client(0);
    server_start(steps, 1);
    ak_httpc_response_init(&response);
    const struct ak_httpc_request request = {.method = "GET",
                                             .url = url("/"),
                                             .stall_ms = stall_ms,
                                             .quiet_ms = 20,
                                             .on_quiet = on_quiet,
                                             .quiet_ctx = silence,
                                             .hurry = &silence->hurry};
    enum ak_rc rc = ak_httpc_do(client, &request, &response, err);
    CHECK(response.failure == AK_HTTPC_STALL);
    server_stop();
    ak_httpc_close(client);
    ak_httpc_response_release(&response);
    return rc;
}

TEST(httpc, silence_is_told_once_and_then_a_hint_ends_the_call_before_its_time)
{
    struct ak_err err;
    struct silence silence = {.gives_up = true};
    CHECK_RC(AK_TIMEOUT, call_quietly(&silence, 3600000, &err));
    CHECK(strstr(err.text, "is known to be away"));
    CHECK_INT(silence.told, 1);
    silence = (struct silence){.gives_up = false};
    CHECK_RC(AK_TIMEOUT, call_quietly(&silence, 200, &err));
    CHECK(strstr(err.text, "no byte moved for 200 ms") && !strstr(err.text, "away"));
    CHECK_INT(silence.told, 1);
}

TEST(httpc, an_answer_over_its_ceiling_is_refused)
{
    struct ak_err err;
    struct ak_buf long_head;
    ak_buf_init(&long_head, 0);
    ak_buf_add_str(&long_head, AK_STR("HTTP/1.1 200 OK\r\n"));
    for (int i = 0; i < 3000; i++) {
        ak_buf_add_fmt(&long_head, "X-Header-%d: 0123456789abcdef\r\n", i);
    }
    ak_buf_add_str(&long_head, AK_STR("Content-Length: 0\r\n\r\n"));
    const struct step steps[] = {{.answer = OK_HELLO, .close = true},
                                 {.answer = ak_buf_cstr(&long_head), .close = true}};
    for (size_t i = 0; i < 2; i++) {
        struct ak_httpc_response response;
        struct ak_httpc *client = open_client(0);
        server_start(&steps[i], 1);
        ak_httpc_response_init(&response);
        const struct ak_httpc_request request = {.method = "GET", .url = url("/"), .body_max = 4};
        CHECK_RC(AK_TOO_BIG, ak_httpc_do(client, &request, &response, &err));
        CHECK(response.failure == AK_HTTPC_PROTOCOL);
        server_stop();
        ak_httpc_close(client);
        ak_httpc_response_release(&response);
    }
    ak_buf_release(&long_head);
}

static enum ak_rc refuse_head(void *ctx, const struct ak_httpc_response *response,
                              struct ak_err *err)
{
    *(int *)ctx = response->status;
    return ak_fail(err, AK_CORRUPT, "not what was wanted");
}

TEST(httpc, callbacks_end_a_call_with_what_they_say)
{
    const struct step steps[] = {
        {.answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 206 Partial\r\nContent-Length: "
                   "5\r\n\r\nhello",
         .close = true}};
    struct ak_err err;
    int status = 0;
    struct source source = {.fail_at = 5000};
    struct ak_httpc_response response;
    struct ak_httpc *client = open_client(0);
    server_start(steps, 1);
    ak_httpc_response_init(&response);
    const struct ak_httpc_request head = {
        .method = "GET", .url = url("/"), .on_head = refuse_head, .ctx = &status};
    CHECK_RC(AK_CORRUPT, ak_httpc_do(client, &head, &response, &err));
    CHECK_INT(status, 206);
    CHECK(response.failure == AK_HTTPC_CALLBACK);
    CHECK_STR(err.text, "not what was wanted");
    server_stop();
    server_start(steps, 1);
    const struct ak_httpc_request body = {
        .method = "PUT", .url = url("/"), .read = pattern, .body_len = 100000, .ctx = &source};
    CHECK_RC(AK_IO, ak_httpc_do(client, &body, &response, &err));
    CHECK_STR(err.text, "the disk is gone");
    server_stop();
    ak_httpc_close(client);
    ak_httpc_response_release(&response);
}

TEST(httpc, only_a_good_answer_goes_to_the_sink)
{
    const struct step steps[] = {
        {.answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nno!!!"},
        {.answer = OK_HELLO}};
    struct ak_err err;
    size_t got = 0;
    struct ak_httpc_response response;
    struct ak_httpc *client = open_client(0);
    server_start(steps, 2);
    ak_httpc_response_init(&response);
    const struct ak_httpc_request request = {
        .method = "GET", .url = url("/"), .on_body = count_bytes, .ctx = &got};
    CHECK_OK(ak_httpc_do(client, &request, &response, &err));
    CHECK(response.status == 404 && got == 0);
    CHECK_STR(ak_buf_cstr(&response.body), "no!!!");
    CHECK_OK(ak_httpc_do(client, &request, &response, &err));
    CHECK(response.status == 200 && got == 5 && response.body.len == 0);
    server_stop();
    ak_httpc_close(client);
    ak_httpc_response_release(&response);
}

struct caller {
    struct ak_httpc *client;
    const char *url;
    unsigned good;
};

static void call_often(void *arg)
{
    struct caller *caller = arg;
    struct ak_httpc_response response;
    ak_httpc_response_init(&response);
    for (int i = 0; i < 4; i++) {
        const struct ak_httpc_request request = {.method = "GET", .url = caller->url};
        caller->good += ak_httpc_do(caller->client, &request, &response, NULL) == AK_OK &&
                        response.status == 200;
    }
    ak_httpc_response_release(&response);
}

TEST(httpc, callers_share_the_connections_that_there_may_be)
{
    struct step steps[16];
    struct ak_err err;
    struct ak_thread threads[4] = {{.started = false}};
    struct caller callers[4];
    for (size_t i = 0; i < 16; i++) {
        steps[i] = (struct step){.answer = OK_HELLO};
    }
    struct ak_httpc *client = open_client(1);
    server_start(steps, 16);
    const char *where = url("/");
    for (size_t i = 0; i < 4; i++) {
        callers[i] = (struct caller){.client = client, .url = where};
        CHECK_OK(ak_thread_start(&threads[i], "caller", call_often, &callers[i], &err));
    }
    for (size_t i = 0; i < 4; i++) {
        ak_thread_join(&threads[i]);
        CHECK_INT(callers[i].good, 4);
    }
    server_stop();
    CHECK_INT(server.accepted, 1);
    ak_httpc_close(client);
}

/* --- The fake --- */

static void fake_answer(void *ctx, const struct ak_httpc_request *request, struct ak_str body,
                        struct ak_httpc_reply *reply)
{
    const enum ak_httpc_failure *failure = ctx;
    CHECK(strcmp(request->method, "PUT") == 0);
    reply->status = *failure == AK_HTTPC_RECEIVE || *failure == AK_HTTPC_NONE ? 200 : 0;
    reply->headers = "A: 1\r\nB:2\r\n";
    reply->failure = *failure;
    reply->cut_at = 3;
    ak_buf_add_str(&reply->body, body);
}

TEST(httpc, the_fake_answers_and_breaks_as_the_network_does)
{
    struct ak_err err;
    enum ak_httpc_failure failure = AK_HTTPC_NONE;
    struct ak_httpc_response response;
    struct ak_httpc *client = ak_httpc_open_fake(fake_answer, &failure);
    const struct ak_httpc_request request = {
        .method = "PUT", .url = "http://x/", .body = AK_STR("0123456789")};
    ak_httpc_response_init(&response);
    CHECK_OK(ak_httpc_do(client, &request, &response, &err));
    CHECK_STR(ak_buf_cstr(&response.body), "0123456789");
    CHECK(ak_str_eq(ak_httpc_header(&response, "b"), AK_STR("2")));
    CHECK(response.sent == 10 && response.received == 10);
    failure = AK_HTTPC_RECEIVE;
    CHECK_RC(AK_UNAVAILABLE, ak_httpc_do(client, &request, &response, &err));
    CHECK_STR(ak_buf_cstr(&response.body), "012");
    for (int i = AK_HTTPC_CONNECT; i <= AK_HTTPC_LOCAL; i++) {
        failure = (enum ak_httpc_failure)i;
        CHECK(ak_httpc_do(client, &request, &response, &err) != AK_OK);
        CHECK(response.failure == failure);
    }
    ak_httpc_close(client);
    ak_httpc_response_release(&response);
}

TEST(httpc, a_lane_that_finds_no_memory_is_no_lane)
{
    const struct step steps[] = {{.answer = OK_HELLO, .close = true}};
    struct ak_err err;
    struct ak_httpc_response response;
    struct ak_httpc *client = open_client(1);
    server_start(steps, 1);
    ak_httpc_response_init(&response);
    const struct ak_httpc_request request = {.method = "GET", .url = url("/")};
    ak_fault_alloc_at(0);
    CHECK_RC(AK_NOMEM, ak_httpc_do(client, &request, &response, &err));
    ak_fault_alloc_at(-1);
    CHECK_OK(ak_httpc_do(client, &request, &response, &err));
    server_stop();
    ak_httpc_close(client);
    ak_httpc_response_release(&response);
}

TEST_MAIN()
