/* net_http_view_test.c — borrowed bodies, bodies cut off or held back, and resets. */
#include "support/net_app.h"
#include <errno.h>
#include <sys/socket.h>

#define HEAD " HTTP/1.1\r\nHost: x\r\n"

/* Send a request, read a response of `size` bytes. */
static void check_body(struct ak_test_tcp *tcp, const char *path, size_t size)
{
    struct ak_test_response response;
    char text[128];
    (void)snprintf(text, sizeof text, "GET %s" HEAD "\r\n", path);
    ak_test_tcp_send_text(tcp, text);
    CHECK(ak_test_tcp_response(tcp, &response, false));
    CHECK_INT(response.status, 200);
    CHECK(ak_test_response_has(&response, "X-Test: yes"));
    CHECK_INT(response.body.len, size);
    for (size_t i = 0; i < size; i++) {
        if (response.body.p[i] != 'v') {
            CHECK_INT(response.body.p[i], 'v');
        }
    }
    ak_test_response_release(&response);
}

TEST(view, a_borrowed_body_is_sent_whole_and_given_back_once)
{
    struct ak_test_tcp tcp;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    check_body(&tcp, "/view/0", 0);
    check_body(&tcp, "/view/1", 1);
    check_body(&tcp, "/view/70000", 70000);
    check_body(&tcp, "/view/9000000", 9000000);
    CHECK(is_alive());
    ak_test_tcp_close(&tcp);
    wait_for(&app.released, 4);
    shut(1000);
}

TEST(view, head_tells_the_length_of_a_borrowed_body_and_sends_none)
{
    struct ak_test_tcp tcp;
    struct ak_test_response response;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    ak_test_tcp_send_text(&tcp, "HEAD /view/12345" HEAD "\r\n");
    CHECK(ak_test_tcp_response(&tcp, &response, true));
    CHECK(ak_test_response_has(&response, "Content-Length: 12345"));
    ak_test_response_release(&response);
    CHECK(answers(&tcp, "POST /echo" HEAD "Content-Length: 2\r\n\r\nhi", 200, "hi"));
    ak_test_tcp_close(&tcp);
    shut(1000);
}

TEST(view, a_body_is_given_back_when_its_client_leaves)
{
    struct ak_test_tcp tcp;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    ak_test_tcp_send_text(&tcp, "GET /view/50000000" HEAD "\r\n");
    wait_for(&app.views, 1);
    ak_test_tcp_reset(&tcp);
    wait_for(&app.released, 1);
    CHECK(is_alive());
    shut(1000);
}

/* Everything until the connection ends. */
static void read_to_end(struct ak_test_tcp *tcp)
{
    char piece[4096];
    ssize_t n = 0;
    while ((n = recv(tcp->fd, piece, sizeof piece, 0)) > 0) {
        ak_buf_add(&tcp->in, piece, (size_t)n);
    }
    CHECK(n == 0 || errno == ECONNRESET);
}

TEST(view, a_cut_body_ends_the_connection_after_its_bytes)
{
    static const size_t cuts[] = {0, 1, 57, 99};
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        struct ak_test_tcp tcp;
        char text[128];
        serve((struct ak_http_options){0});
        ak_test_tcp_open(&tcp, app.port);
        (void)snprintf(text, sizeof text, "GET /cut/%zu" HEAD "\r\n", cuts[i]);
        ak_test_tcp_send_text(&tcp, text);
        read_to_end(&tcp);
        struct ak_str all = ak_buf_str(&tcp.in);
        const char *body = memmem(all.p, all.len, "\r\n\r\n", 4);
        CHECK(body != NULL);
        CHECK(memmem(all.p, all.len, "Content-Length: 100\r\n", 21) != NULL);
        CHECK_INT(all.len - (size_t)(body + 4 - all.p), cuts[i]);
        ak_test_tcp_close(&tcp);
        CHECK(is_alive());
        shut(1000);
    }
}

TEST(view, an_abort_lets_earlier_answers_out_and_nothing_after_them)
{
    static const char *const aborts[] = {"GET /abort" HEAD "\r\n", "GET /abort-early" HEAD "\r\n",
                                         "POST /abort-early" HEAD "Content-Length: 9\r\n\r\nhalf"};
    for (size_t i = 0; i < sizeof aborts / sizeof aborts[0]; i++) {
        struct ak_test_tcp tcp;
        char text[256];
        serve((struct ak_http_options){0});
        ak_test_tcp_open(&tcp, app.port);
        (void)snprintf(text, sizeof text, "GET /hold" HEAD "\r\n%s", aborts[i]);
        ak_test_tcp_send_text(&tcp, text);
        wait_for(&app.heads, 2);
        wait_for(&app.held_now, 1);
        release_held(0);
        struct ak_test_response response;
        CHECK(ak_test_tcp_response(&tcp, &response, false));
        CHECK_INT(response.status, 200);
        ak_test_response_release(&response);
        CHECK(ak_test_tcp_ends(&tcp));
        ak_test_tcp_close(&tcp);
        wait_for(&app.gone, 1);
        CHECK(is_alive());
        shut(1000);
    }
}

TEST(view, a_body_that_is_held_back_arrives_whole_and_others_are_served_meanwhile)
{
    struct ak_test_tcp slow;
    struct ak_test_tcp other;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&slow, app.port);
    ak_test_tcp_open(&other, app.port);
    ak_test_tcp_send_text(&slow, "GET /paced/20000" HEAD "\r\n");
    wait_for(&app.views, 1);
    CHECK(answers(&other, "POST /echo" HEAD "Content-Length: 2\r\n\r\nhi", 200, "hi"));
    check_body(&slow, "/view/3", 20000); /* the first of the two answers */
    ak_test_tcp_send_text(&slow, "");
    struct ak_test_response response;
    CHECK(ak_test_tcp_response(&slow, &response, false));
    CHECK_INT(response.body.len, 3);
    ak_test_response_release(&response);
    ak_test_tcp_close(&slow);
    ak_test_tcp_close(&other);
    shut(1000);
}

TEST(view, a_client_may_leave_a_body_that_is_held_back)
{
    struct ak_test_tcp tcp;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    ak_test_tcp_send_text(&tcp, "GET /paced/90000000" HEAD "\r\n");
    wait_for(&app.views, 1);
    ak_test_tcp_reset(&tcp);
    wait_for(&app.released, 1);
    CHECK(is_alive());
    shut(1000);
}

TEST(view, headers_are_listed_as_they_came)
{
    struct ak_test_tcp tcp;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    CHECK(answers(&tcp, "GET /headers" HEAD "x-Amz-Meta-A: 1 2\r\nB:\r\nb: 3\r\n\r\n", 200,
                  "Host=x;x-Amz-Meta-A=1 2;B=;b=3;"));
    ak_test_tcp_close(&tcp);
    shut(1000);
}

TEST_MAIN()
