/* net_http_stream_test.c — streamed bodies, and the server's end: drain, force, addresses. */
#include "support/net_app.h"
#include <unistd.h>

#define HEAD "HTTP/1.1\r\nHost: x\r\n"

/* The body that is sent, and what the server must say about it. */
static void fill(struct ak_buf *body, size_t size, char answer[64])
{
    uint64_t sum = 0;
    for (size_t i = 0; i < size; i++) {
        char c = (char)(i * 31 + i / 253);
        ak_buf_add_char(body, c);
        sum = sum * 31 + (unsigned char)c;
    }
    (void)snprintf(answer, 64, "%llu %llu", (unsigned long long)size, (unsigned long long)sum);
}

static void add_chunked(struct ak_buf *wire, const struct ak_buf *body, size_t step)
{
    for (size_t at = 0; at < body->len; at += step) {
        size_t len = body->len - at < step ? body->len - at : step;
        ak_buf_add_fmt(wire, "%zx\r\n", len);
        ak_buf_add(wire, body->p + at, len);
        ak_buf_add_str(wire, AK_STR("\r\n"));
    }
    ak_buf_add_str(wire, AK_STR("0\r\n\r\n"));
}

TEST(stream, every_byte_arrives_once_and_in_order_with_and_without_pauses)
{
    static const char *const paths[] = {"/stream", "/slow"};
    struct ak_test_tcp tcp;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    for (int round = 0; round < 8; round++) {
        struct ak_buf body = {0};
        struct ak_buf wire = {0};
        char want[64];
        fill(&body, round < 4 ? 2000 : 700000, want);
        ak_buf_add_fmt(&wire, "POST %s " HEAD, paths[round % 2]);
        if (round / 2 % 2) {
            ak_buf_add_str(&wire, AK_STR("Transfer-Encoding: chunked\r\n\r\n"));
            add_chunked(&wire, &body, round < 4 ? 7 : 5001);
        } else {
            ak_buf_add_fmt(&wire, "Content-Length: %zu\r\n\r\n", body.len);
            ak_buf_add_str(&wire, ak_buf_str(&body));
        }
        ak_buf_add_str(&wire, AK_STR("GET /echo " HEAD "\r\n"));
        ak_test_tcp_send(&tcp, wire.p, wire.len);
        CHECK(answers(&tcp, "", 200, want));
        CHECK(answers(&tcp, "", 200, ""));
        ak_buf_release(&body);
        ak_buf_release(&wire);
    }
    CHECK(answers(&tcp, "POST /stream " HEAD "Content-Length: 0\r\n\r\n", 200, "0 0"));
    CHECK(answers(&tcp, "POST /stream " HEAD "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200,
                  "0 0"));
    ak_test_tcp_close(&tcp);
    shut(1000);
    CHECK_INT(app.ends_ok, 10);
    CHECK_INT(app.ends_bad, 0);
}

TEST(stream, a_paused_stream_stops_the_sender_and_goes_on_when_resumed)
{
    enum { SIZE = 64 << 20, STEP = 1 << 16 };
    struct ak_test_tcp tcp;
    struct ak_buf body = {0};
    char want[64];
    serve((struct ak_http_options){0});
    fill(&body, SIZE, want);
    ak_test_tcp_open(&tcp, app.port);
    char head[128];
    (void)snprintf(head, sizeof head, "POST /paused " HEAD "Content-Length: %d\r\n\r\n", SIZE);
    ak_test_tcp_send_text(&tcp, head);
    wait_for(&app.heads, 1);
    size_t sent = 0;
    size_t n = 0;
    do { /* the system's buffers fill, the server reads nothing: far less than the body fits */
        n = ak_test_tcp_send_some(&tcp, body.p + sent, STEP);
        sent += n;
    } while (n);
    CHECK(sent < SIZE);
    lock();
    CHECK(app.stream_bytes <= 16384);
    unlock();
    ak_http_resume(app.paused);
    ak_test_tcp_send(&tcp, body.p + sent, SIZE - sent);
    CHECK(answers(&tcp, "", 200, want));
    ak_test_tcp_close(&tcp);
    ak_buf_release(&body);
    shut(1000);
}

TEST(stream, the_time_of_a_pause_is_not_held_against_the_client)
{
    struct ak_test_tcp tcp;
    serve((struct ak_http_options){.body_timeout_ms = 1000, .head_timeout_ms = 2000});
    ak_test_tcp_open(&tcp, app.port);
    ak_test_tcp_send_text(&tcp, "POST /paused " HEAD "Content-Length: 6\r\n\r\nabc");
    wait_for(&app.heads, 1);
    struct ak_test_tcp clock; /* its slow head gets 408 only when twice the body's limit is over */
    ak_test_tcp_open(&clock, app.port);
    CHECK(answers(&clock, "GET", 408, NULL));
    ak_test_tcp_close(&clock);
    ak_http_resume(app.paused);
    CHECK(is_alive());
    ak_test_tcp_send_text(&tcp, "def");
    CHECK(answers(&tcp, "", 200, NULL));
    ak_test_tcp_close(&tcp);
    shut(1000);
    CHECK_INT(app.ends_ok, 1);
}

TEST(stream, a_client_that_leaves_a_paused_stream_ends_it)
{
    struct ak_test_tcp tcp;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    ak_test_tcp_send_text(&tcp, "POST /paused " HEAD "Content-Length: 100\r\n\r\nabc");
    wait_for(&app.heads, 1);
    ak_test_tcp_reset(&tcp);
    wait_for(&app.ends_bad, 1);
    shut(1000);
    CHECK_INT(app.gone, 1);
}

/* --- The server's end --- */

static void close_server(void *arg)
{
    (void)arg;
    ak_http_close(app.server, 30000);
    lock();
    app.server = NULL;
    unlock();
}

/* What shut() checks, when the server is closed already. */
static void after_close(void)
{
    CHECK(app.server == NULL);
    shut(0);
}

/* Is the listening socket gone? Polls, for nothing tells a client of it. */
static void wait_refused(void)
{
    struct ak_test_response response;
    bool refused = false;
    while (!refused) {
        struct ak_test_tcp tcp;
        refused = !ak_test_tcp_try_open(&tcp, app.port);
        if (!refused) {
            ak_test_tcp_send_text(&tcp, "GET /echo " HEAD "\r\n");
            if (ak_test_tcp_response(&tcp, &response, false)) {
                ak_test_response_release(&response);
            }
        }
        ak_test_tcp_close(&tcp);
    }
    CHECK(refused);
}

TEST(close, requests_under_way_are_finished_and_say_that_they_are_the_last)
{
    struct ak_err err;
    struct ak_test_tcp busy;
    struct ak_test_tcp piped;
    struct ak_test_tcp idle;
    struct ak_test_tcp partial;
    struct ak_test_response response;
    struct ak_thread thread;
    serve((struct ak_http_options){.loops = 2});
    ak_test_tcp_open(&idle, app.port);
    CHECK(answers(&idle, "GET /echo " HEAD "\r\n", 200, ""));
    ak_test_tcp_open(&partial, app.port);
    ak_test_tcp_send_text(&partial, "POST /echo " HEAD "Content-Length: 6\r\n\r\nabc");
    ak_test_tcp_open(&busy, app.port);
    ak_test_tcp_send_text(&busy, "GET /hold " HEAD "\r\n");
    wait_for(&app.held_count, 1);
    ak_test_tcp_open(&piped, app.port);
    ak_test_tcp_send_text(&piped, "GET /hold " HEAD "\r\nGET /hold " HEAD "\r\n");
    wait_for(&app.held_count, 3);
    wait_for(&app.heads, 5);
    CHECK_OK(ak_thread_start(&thread, "closer", close_server, NULL, &err));
    CHECK(ak_test_tcp_ends(&idle)); /* the drain has begun, at least on its loop */
    wait_refused();
    release_held(2);
    release_held(0);
    release_held(1);
    CHECK(ak_test_tcp_response(&busy, &response, false));
    CHECK(ak_test_response_has(&response, "Connection: close"));
    ak_test_response_release(&response);
    CHECK(ak_test_tcp_ends(&busy));
    CHECK(ak_test_tcp_response(&piped, &response, false));
    CHECK(!ak_test_response_has(&response, "Connection: close"));
    ak_test_response_release(&response);
    CHECK(ak_test_tcp_response(&piped, &response, false));
    CHECK(ak_test_response_has(&response, "Connection: close"));
    ak_test_response_release(&response);
    CHECK(ak_test_tcp_ends(&piped));
    ak_test_tcp_send_text(&partial, "def");
    CHECK(ak_test_tcp_response(&partial, &response, false));
    CHECK_STR(ak_buf_cstr(&response.body), "abcdef");
    CHECK(ak_test_response_has(&response, "Connection: close"));
    ak_test_response_release(&response);
    CHECK(ak_test_tcp_ends(&partial));
    ak_thread_join(&thread);
    ak_test_tcp_close(&busy);
    ak_test_tcp_close(&piped);
    ak_test_tcp_close(&idle);
    ak_test_tcp_close(&partial);
    after_close();
}

static void close_at_once(void *arg)
{
    (void)arg;
    ak_http_close(app.server, 1);
    lock();
    app.server = NULL;
    unlock();
}

TEST(close, after_the_grace_time_connections_are_cut_and_only_answers_are_waited_for)
{
    struct ak_err err;
    struct ak_test_tcp held;
    struct ak_test_tcp slow;
    struct ak_test_tcp stream;
    struct ak_thread thread;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&held, app.port);
    ak_test_tcp_send_text(&held, "GET /hold " HEAD "\r\n");
    ak_test_tcp_open(&slow, app.port);
    ak_test_tcp_send_text(&slow, "POST /echo " HEAD "Content-Length: 6\r\n\r\nabc");
    ak_test_tcp_open(&stream, app.port);
    ak_test_tcp_send_text(&stream, "POST /stream " HEAD "Content-Length: 6\r\n\r\nabc");
    wait_for(&app.held_count, 1);
    wait_for(&app.heads, 3);
    CHECK_OK(ak_thread_start(&thread, "closer", close_at_once, NULL, &err));
    CHECK(ak_test_tcp_ends(&held));
    CHECK(ak_test_tcp_ends(&slow));
    CHECK(ak_test_tcp_ends(&stream));
    CHECK(app.server != NULL); /* it waits for the answer to the held one */
    release_held(0);
    ak_thread_join(&thread);
    ak_test_tcp_close(&held);
    ak_test_tcp_close(&slow);
    ak_test_tcp_close(&stream);
    after_close();
    CHECK_INT(app.gone, 3);
    CHECK_INT(app.ends_bad, 1);
}

static enum ak_rc try_open(const char *listen, struct ak_err *err)
{
    struct ak_http_server *server = NULL;
    const struct ak_http_options options = {
        .listen = listen, .loops = 3, .app.on_request = on_request};
    enum ak_rc rc = ak_http_open(&options, &server, err);
    CHECK((rc == AK_OK) == (server != NULL));
    CHECK(rc != AK_OK || ak_http_port(server) != 0);
    ak_http_close(server, 0);
    return rc;
}

TEST(close, listen_addresses_are_understood_or_refused_with_what_is_expected)
{
    struct ak_err err;
    CHECK_OK(try_open("127.0.0.1:0", &err));
    CHECK_OK(try_open(":0", &err));
    CHECK_OK(try_open("0.0.0.0:0", &err));
    CHECK_RC(AK_INVALID, try_open("127.0.0.1", &err));
    CHECK(strstr(err.text, "host:port") != NULL);
    CHECK_RC(AK_INVALID, try_open("", &err));
    CHECK_RC(AK_INVALID, try_open(":", &err));
    CHECK_RC(AK_INVALID, try_open("x:70000", &err));
    CHECK_RC(AK_INVALID, try_open("::1:80", &err));
    CHECK_RC(AK_INVALID, try_open("[::1]80", &err));
    CHECK_RC(AK_INVALID, try_open("[::1", &err));
    CHECK_RC(AK_INVALID, try_open("999.1.1.1:0", &err));
}

TEST(close, ipv6_addresses_are_listened_on)
{
    struct ak_err err;
    if (access("/proc/net/if_inet6", R_OK) != 0) {
        ak_test_skip("this system has no IPv6");
    }
    CHECK_OK(try_open("[::1]:0", &err));
}

TEST(close, a_port_that_another_server_listens_on_is_refused)
{
    struct ak_err err;
    char listen[32];
    serve((struct ak_http_options){.loops = 2});
    (void)snprintf(listen, sizeof listen, "127.0.0.1:%u", app.port);
    CHECK(try_open(listen, &err) != AK_OK);
    CHECK(strstr(err.text, listen) != NULL);
    CHECK(is_alive());
    shut(1000);
}

TEST_MAIN()
