/* net_http_hostile_test.c — malformed, smuggled, oversized, slow and vanishing clients. */
#include "base/fault.h"
#include "base/limits.h"
#include "base/rand.h"
#include "support/net_app.h"
#include <sys/socket.h>

#define HEAD "HTTP/1.1\r\nHost: x\r\n"

struct probe {
    const char *what;
    const char *text;
    int status;
};

static const struct probe probes[] = {
    {"bare LF in the header section", "GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", 400},
    {"bare LF after the request line", "GET / HTTP/1.1\nHost: x\r\n\r\n", 400},
    {"bare LF for the blank line", "GET / HTTP/1.1\r\nHost: x\r\n\n", 400},
    {"lone CR in a value", "GET / " HEAD "A: b\rC: d\r\n\r\n", 400},
    {"Content-Length and chunked",
     "POST / " HEAD "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
    {"chunked and Content-Length",
     "POST / " HEAD "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400},
    {"Content-Length 0 and chunked",
     "POST / " HEAD "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
    {"two different lengths", "POST / " HEAD "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
     400},
    {"twice the same length", "POST / " HEAD "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
     400},
    {"a list of lengths", "POST / " HEAD "Content-Length: 5, 5\r\n\r\nhello", 400},
    {"a length with a sign", "POST / " HEAD "Content-Length: +5\r\n\r\nhello", 400},
    {"a negative length", "POST / " HEAD "Content-Length: -1\r\n\r\n", 400},
    {"a hexadecimal length", "POST / " HEAD "Content-Length: 0x5\r\n\r\nhello", 400},
    {"an overflowing length", "POST / " HEAD "Content-Length: 99999999999999999999\r\n\r\n", 400},
    {"space before the colon", "GET / " HEAD "Name : v\r\n\r\n", 400},
    {"space before the length's colon", "POST / " HEAD "Content-Length : 5\r\n\r\nhello", 400},
    {"a folded line", "GET / " HEAD "A: b\r\n c\r\n\r\n", 400},
    {"a folded line after an empty value", "GET / " HEAD "A:\r\n c\r\n\r\n", 400},
    {"space before the first header", "GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400},
    {"no Host", "GET / HTTP/1.1\r\nA: b\r\n\r\n", 400},
    {"two Hosts", "GET / " HEAD "Host: x\r\n\r\n", 400},
    {"a Host with a path", "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", 400},
    {"a Host with userinfo", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400},
    {"a control character in a value",
     "GET / " HEAD "A: b\x01"
     "c\r\n\r\n",
     400},
    {"another transfer coding", "POST / " HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
     501},
    {"chunked not last", "POST / " HEAD "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
     400},
    {"chunked twice",
     "POST / " HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"
     "\r\n0\r\n\r\n",
     400},
    {"an obscured coding", "POST / " HEAD "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501},
    {"chunked in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
    {"a chunk size with a prefix",
     "POST /echo " HEAD "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", 400},
    {"a negative chunk size",
     "POST /echo " HEAD "Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", 400},
    {"an overflowing chunk size",
     "POST /echo " HEAD "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 400},
    {"a chunk longer than said",
     "POST /echo " HEAD "Transfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n", 400},
    {"bare LF after a chunk size",
     "POST /echo " HEAD "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", 400},
    {"bare LF after a chunk",
     "POST /echo " HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n", 400},
    {"another version", "GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505},
    {"version 2", "GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505},
    {"a version of words", "GET / HTTX/1.1\r\nHost: x\r\n\r\n", 400},
    {"the HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
    {"an unknown method", "GETT / " HEAD "\r\n", 400},
    {"a method in lower case", "get / " HEAD "\r\n", 400},
    {"CONNECT", "CONNECT x:443 " HEAD "\r\n", 405},
    {"a target without a slash", "GET x " HEAD "\r\n", 400},
    {"a fragment", "GET /a#b " HEAD "\r\n", 400},
    {"an asterisk for GET", "GET * " HEAD "\r\n", 400},
    {"another scheme", "GET ftp://x/y " HEAD "\r\n", 400},
    {"an authority without a name", "GET http:///y " HEAD "\r\n", 400},
    {"a TLS hello", "\x16\x03\x01\x02\x01\x01\xfc\x03\x03", 400},
    {"no version", "GET /\r\n\r\n", 505},
};

TEST(hostile, each_malformed_message_is_refused_and_nothing_behind_it_is_served)
{
    serve((struct ak_http_options){0});
    for (size_t i = 0; i < sizeof probes / sizeof probes[0]; i++) {
        struct ak_test_tcp tcp;
        struct ak_test_response response;
        ak_test_tcp_open(&tcp, app.port);
        ak_test_tcp_send_text(&tcp, probes[i].text);
        ak_test_tcp_send_text(&tcp, "GET /smuggled " HEAD "\r\n");
        bool answered = ak_test_tcp_response(&tcp, &response, false);
        if (!answered || response.status != probes[i].status) {
            ak_test_fail(__FILE__, __LINE__, "%s: status %d, want %d", probes[i].what,
                         answered ? response.status : 0, probes[i].status);
        }
        CHECK(ak_test_response_has(&response, "Connection: close"));
        CHECK(ak_test_response_has(&response, "Content-Type: application/json"));
        CHECK(strncmp(ak_buf_cstr(&response.body), "{\"error\":{\"code\":\"", 18) == 0);
        CHECK(ak_test_tcp_ends(&tcp));
        ak_test_response_release(&response);
        ak_test_tcp_close(&tcp);
    }
    CHECK_INT(app.requests, 0);
    CHECK(is_alive());
    shut(1000);
}

/* Send `head`, then `filler` again and again up to `total` bytes; expect the refusal. */
static void check_refused(const char *head, const char *filler, size_t total, int status)
{
    struct ak_test_tcp tcp;
    struct ak_buf wire = {0};
    ak_buf_add_str(&wire, ak_str_of(head));
    while (wire.len < total) {
        ak_buf_add_str(&wire, ak_str_of(filler));
    }
    ak_test_tcp_open(&tcp, app.port);
    ak_test_tcp_send(&tcp, wire.p, wire.len);
    CHECK(answers(&tcp, "", status, NULL));
    CHECK(ak_test_tcp_ends(&tcp));
    ak_test_tcp_close(&tcp);
    ak_buf_release(&wire);
}

TEST(hostile, what_is_over_a_limit_is_refused_with_the_status_that_says_so)
{
    serve((struct ak_http_options){.body_max = 100000});
    check_refused("GET /", "aaaaaaaaaaaaaaaa", 9000, 414);
    check_refused("GET / " HEAD, "A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n", 8000, 431);
    check_refused("GET / " HEAD "A: ", "bbbbbbbbbbbbbbbb", 50000, 431);
    check_refused("GET / " HEAD, "aaaaaaaaaaaaaaaa", 50000, 431);
    check_refused("POST /small " HEAD "Content-Length: 11\r\n\r\n", "0123456789", 60, 413);
    check_refused("POST /small " HEAD "Transfer-Encoding: chunked\r\n\r\n", "8\r\n01234567\r\n",
                  200, 413);
    check_refused("POST /echo " HEAD "Content-Length: 100001\r\n\r\n", "x", 100, 413);
    check_refused("POST /stream-small " HEAD "Transfer-Encoding: chunked\r\n\r\n",
                  "10\r\n0123456789abcdef\r\n", 200000, 413);
    CHECK_INT(app.last_end, AK_TOO_BIG);
    CHECK_INT(app.last_status, 413);
    check_refused("POST /echo " HEAD "Transfer-Encoding: chunked\r\n\r\n5;", "abcdefgh", 100000,
                  431);
    check_refused("POST /echo " HEAD "Transfer-Encoding: chunked\r\n\r\n0\r\n", "Abc: defgh\r\n",
                  100000, 431);
    CHECK(is_alive());
    shut(1000);
}

TEST(hostile, what_is_just_within_the_limits_is_served)
{
    struct ak_test_tcp tcp;
    struct ak_buf wire = {0};
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    ak_buf_add_str(&wire, AK_STR("GET /"));
    while (wire.len < 4 + AK_TARGET_MAX) {
        ak_buf_add_char(&wire, 'a');
    }
    ak_buf_add_str(&wire, AK_STR(" " HEAD));
    for (int i = 1; i < AK_HEADER_COUNT_MAX; i++) {
        ak_buf_add_fmt(&wire, "Header-%03d: %0200d\r\n", i, i);
    }
    ak_buf_add_str(&wire, AK_STR("\r\n"));
    CHECK(answers(&tcp, ak_buf_cstr(&wire), 200, ""));
    for (size_t i = 0; i < wire.len; i += 100) { /* and in pieces: the head moves as it grows */
        ak_test_tcp_send(&tcp, wire.p + i, wire.len - i < 100 ? wire.len - i : 100);
    }
    CHECK(answers(&tcp, "", 200, ""));
    CHECK(answers(&tcp, "POST /small " HEAD "Content-Length: 10\r\n\r\n0123456789", 200,
                  "0123456789"));
    ak_test_tcp_close(&tcp);
    ak_buf_release(&wire);
    shut(1000);
}

TEST(hostile, slow_heads_and_bodies_get_408_and_idle_connections_are_closed)
{
    struct ak_test_tcp tcp;
    serve((struct ak_http_options){
        .head_timeout_ms = 100, .body_timeout_ms = 100, .idle_timeout_ms = 1000});
    ak_test_tcp_open(&tcp, app.port);
    CHECK(answers(&tcp, "GET / HTTP/1.1\r\nHo", 408, NULL));
    CHECK(ak_test_tcp_ends(&tcp));
    ak_test_tcp_close(&tcp);
    ak_test_tcp_open(&tcp, app.port);
    CHECK(answers(&tcp, "POST /echo " HEAD "Content-Length: 5\r\n\r\nhe", 408, NULL));
    CHECK(ak_test_tcp_ends(&tcp));
    ak_test_tcp_close(&tcp);
    ak_test_tcp_open(&tcp, app.port);
    CHECK(
        answers(&tcp, "POST /stream " HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\nhe", 408, NULL));
    CHECK(ak_test_tcp_ends(&tcp));
    ak_test_tcp_close(&tcp);
    CHECK_INT(app.last_end, AK_TIMEOUT);
    ak_test_tcp_open(&tcp, app.port);
    CHECK(answers(&tcp, "GET /echo " HEAD "\r\n", 200, ""));
    CHECK(ak_test_tcp_ends(&tcp)); /* closed without a word */
    ak_test_tcp_close(&tcp);
    ak_test_tcp_open(&tcp, app.port);
    ak_test_tcp_send_text(&tcp, "GET /hold " HEAD "\r\n"); /* ours to answer: no limit runs */
    CHECK(is_alive());
    wait_for(&app.held_count, 1);
    release_held(0);
    CHECK(answers(&tcp, "", 200, ""));
    ak_test_tcp_close(&tcp);
    shut(1000);
}

TEST(hostile, a_client_that_does_not_read_is_dropped_and_its_request_ends)
{
    struct ak_test_tcp tcp;
    serve((struct ak_http_options){.write_timeout_ms = 60});
    ak_test_tcp_open(&tcp, app.port);
    for (int i = 0; i < 4; i++) {
        ak_test_tcp_send_text(&tcp, "GET /big/30000000 " HEAD "\r\n");
    }
    wait_connections(0); /* the server has given up on it */
    ak_test_tcp_close(&tcp);
    shut(1000);
}

TEST(hostile, a_client_may_vanish_after_any_byte)
{
    static const char *const texts[] = {
        "POST /echo " HEAD "Content-Length: 3\r\n\r\nabcPOST /later " HEAD
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "POST /stream " HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "POST /early " HEAD "Content-Length: 10\r\n\r\n0123456789GET /big/1000000 " HEAD "\r\n",
        "POST /slow " HEAD "Content-Length: 4\r\n\r\nabcdGET /none " HEAD "\r\n",
    };
    serve((struct ak_http_options){0});
    for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++) {
        for (size_t len = 0; len <= strlen(texts[t]); len++) {
            struct ak_test_tcp tcp;
            ak_test_tcp_open(&tcp, app.port);
            ak_test_tcp_send(&tcp, texts[t], len);
            if (len % 2) {
                ak_test_tcp_reset(&tcp);
            } else {
                ak_test_tcp_close(&tcp);
            }
        }
    }
    CHECK(is_alive());
    shut(10000);
    CHECK(app.ends_bad > 0);
}

TEST(hostile, answering_a_client_that_is_gone_is_safe_and_counts_as_status_0)
{
    enum { COUNT = 50 };
    serve((struct ak_http_options){0});
    for (int i = 0; i < COUNT; i++) {
        struct ak_test_tcp tcp;
        ak_test_tcp_open(&tcp, app.port);
        ak_test_tcp_send_text(&tcp, "GET /hold " HEAD "\r\nGET /hold " HEAD "\r\n");
        wait_for(&app.held_count, 2 * (unsigned)i + 2);
        ak_test_tcp_reset(&tcp);
    }
    wait_connections(0);
    for (unsigned i = 0; i < 2 * COUNT; i++) {
        release_held(i);
    }
    shut(1000);
    CHECK_INT(app.gone, 2 * COUNT);
}

TEST(hostile, random_bytes_never_harm_the_server)
{
    struct ak_rand rand;
    ak_rand_seed(&rand, ak_test_seed());
    serve((struct ak_http_options){.idle_timeout_ms = 1000, .head_timeout_ms = 50});
    for (int i = 0; i < 300; i++) {
        struct ak_test_tcp tcp;
        char bytes[600];
        size_t len = 1 + ak_rand_below(&rand, sizeof bytes - 1);
        size_t from = i % 3 ? 0 : (size_t)snprintf(bytes, sizeof bytes, "POST /echo " HEAD);
        for (size_t j = from; j < len; j++) {
            static const char likely[] = "\r\n\r\n :0;,ATE";
            bytes[j] = ak_rand_below(&rand, 2) ? likely[ak_rand_below(&rand, sizeof likely - 1)]
                                               : (char)ak_rand_below(&rand, 256);
        }
        ak_test_tcp_open(&tcp, app.port);
        ak_test_tcp_send(&tcp, bytes, len);
        if (i % 2) {
            ak_test_tcp_half_close(&tcp);
        }
        (void)!ak_test_tcp_ends(&tcp);
        ak_test_tcp_close(&tcp);
    }
    CHECK(is_alive());
    shut(1000);
}

TEST(hostile, connections_over_the_limit_get_503_and_room_comes_back)
{
    enum { LIMIT = 5 };
    struct ak_test_tcp tcps[LIMIT];
    struct ak_test_tcp more;
    serve((struct ak_http_options){.connections_max = LIMIT});
    for (int i = 0; i < LIMIT; i++) {
        ak_test_tcp_open(&tcps[i], app.port);
        CHECK(answers(&tcps[i], "GET /echo " HEAD "\r\n", 200, ""));
    }
    for (int i = 0; i < 3; i++) {
        struct ak_test_response response;
        ak_test_tcp_open(&more, app.port);
        ak_test_tcp_send_text(&more, "GET /echo " HEAD "\r\n");
        CHECK(ak_test_tcp_response(&more, &response, false));
        CHECK_INT(response.status, 503);
        CHECK(ak_test_response_has(&response, "Retry-After: 1"));
        CHECK(ak_test_tcp_ends(&more));
        ak_test_response_release(&response);
        ak_test_tcp_close(&more);
    }
    CHECK(answers(&tcps[0], "GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, ""));
    CHECK(ak_test_tcp_ends(&tcps[0]));
    CHECK(is_alive());
    for (int i = 0; i < LIMIT; i++) {
        ak_test_tcp_close(&tcps[i]);
    }
    shut(1000);
}

/* `len` bytes of body to `path`; the response's status. */
static int post_filler(struct ak_test_tcp *tcp, const char *path, size_t len)
{
    char head[128];
    struct ak_test_response response;
    char *filler = ak_alloc(len);
    memset(filler, 'x', len);
    (void)snprintf(head, sizeof head, "POST %s " HEAD "Content-Length: %zu\r\n\r\n", path, len);
    ak_test_tcp_open(tcp, app.port);
    ak_test_tcp_send_text(tcp, head);
    ak_test_tcp_send(tcp, filler, len);
    ak_free(filler);
    CHECK(ak_test_tcp_response(tcp, &response, false));
    int status = response.status;
    CHECK(status != 503 || ak_test_response_has(&response, "Retry-After: 1"));
    ak_test_response_release(&response);
    ak_test_tcp_close(tcp);
    return status;
}

TEST(hostile, bodies_and_answers_together_stay_below_the_memory_limit)
{
    enum { LIMIT = 1 << 20, HELD = 400000, MORE = 700000 };
    struct ak_test_tcp holder;
    struct ak_test_tcp tcp;
    struct ak_test_response response;
    static char filler[HELD];
    memset(filler, 'x', sizeof filler);
    serve((struct ak_http_options){.memory_max = LIMIT});
    CHECK_INT(post_filler(&tcp, "/stream", 4 * LIMIT), 200); /* nothing of it is kept */
    CHECK_INT(post_filler(&tcp, "/hold", LIMIT + 1), 503);   /* one alone can be too much */
    ak_test_tcp_open(&holder, app.port);
    ak_test_tcp_send_text(&holder, "POST /hold " HEAD "Content-Length: 400000\r\n\r\n");
    ak_test_tcp_send(&holder, filler, sizeof filler);
    wait_for(&app.held_now, 1);
    CHECK_INT(post_filler(&tcp, "/hold", MORE), 503);
    CHECK_INT(post_filler(&tcp, "/echo", 1000), 200); /* what is small is always served */
    ak_test_tcp_open(&tcp, app.port);
    CHECK(answers(&tcp, "GET /big/700000 " HEAD "\r\n", 503, NULL));
    CHECK(answers(&tcp, "GET /big/30000 " HEAD "\r\n", 200, NULL));
    release_held(0);
    CHECK(ak_test_tcp_response(&holder, &response, false));
    CHECK_INT(response.status, 200);
    ak_test_response_release(&response);
    ak_test_tcp_close(&holder);
    CHECK(answers(&tcp, "GET /big/700000 " HEAD "\r\n", 200, NULL)); /* the room is back */
    ak_test_tcp_close(&tcp);
    shut(1000);
}

#ifdef AK_FAULTS
TEST(hostile, without_memory_a_request_fails_by_itself_and_the_server_goes_on)
{
    static const char text[] = "POST /echo " HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
                               "0\r\n\r\nPOST /echo " HEAD "Content-Length: 20000\r\n\r\n";
    static const char end[] = "GET /big/10 HTTP/1.0\r\n\r\n";
    static char filler[20000];
    memset(filler, 'x', sizeof filler);
    serve((struct ak_http_options){0});
    bool fired = true;
    for (int n = 0; fired; n++) {
        struct ak_test_tcp tcp;
        char byte;
        ak_test_tcp_open(&tcp, app.port);
        ak_fault_alloc_at(n); /* the client below allocates nothing, so only the server can fail */
        ak_test_tcp_send(&tcp, text, sizeof text - 1);
        ak_test_tcp_send(&tcp, filler, sizeof filler);
        ak_test_tcp_send(&tcp, end, sizeof end - 1);
        while (recv(tcp.fd, &byte, 1, 0) == 1) {
        }
        fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        ak_test_tcp_close(&tcp);
        CHECK(is_alive());
        CHECK(n < 100);
    }
    shut(1000);
}
#endif

TEST_MAIN()
