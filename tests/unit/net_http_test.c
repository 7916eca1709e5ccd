/* net_http_test.c — requests and responses over real sockets: what must work. */
#include "base/rand.h"
#include "support/net_app.h"

#define HEAD "HTTP/1.1\r\nHost: x\r\n"

TEST(http, a_connection_serves_many_requests_one_after_another)
{
    struct ak_test_tcp tcp;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    for (int i = 0; i < 300; i++) {
        char text[128];
        char body[16];
        (void)snprintf(body, sizeof body, "n%d", i);
        (void)snprintf(text, sizeof text, "POST /%s " HEAD "Content-Length: %zu\r\n\r\n%s",
                       i % 2 ? "later" : "echo", strlen(body), body);
        CHECK(answers(&tcp, text, 200, body));
    }
    ak_test_tcp_close(&tcp);
    shut(1000);
    CHECK_INT(app.dones, 300);
}

TEST(http, pipelined_responses_leave_in_order_however_they_come)
{
    struct ak_test_tcp tcp;
    struct ak_buf all = {0};
    enum { COUNT = 40 };
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    for (int i = 0; i < COUNT; i++) {
        const char *path = i % 4 == 1 ? "echo" : i % 4 == 2 ? "later" : "hold";
        ak_buf_add_fmt(&all, "POST /%s " HEAD "Content-Length: 4\r\n\r\n%04d", path, i);
    }
    ak_test_tcp_send(&tcp, all.p, all.len);
    wait_for(&app.held_count, COUNT / 2);
    for (unsigned i = COUNT / 2; i > 0; i--) {
        release_held(i - 1);
    }
    for (int i = 0; i < COUNT; i++) {
        char body[16];
        (void)snprintf(body, sizeof body, "%04d", i);
        CHECK(answers(&tcp, "", 200, body));
    }
    ak_test_tcp_close(&tcp);
    ak_buf_release(&all);
    shut(1000);
}

TEST(http, no_more_requests_of_a_connection_are_begun_than_pipeline_max)
{
    struct ak_test_tcp tcp;
    enum { COUNT = 30 };
    serve((struct ak_http_options){.pipeline_max = 4});
    ak_test_tcp_open(&tcp, app.port);
    for (int i = 0; i < COUNT; i++) {
        ak_test_tcp_send_text(&tcp, "GET /hold " HEAD "\r\n");
    }
    for (unsigned i = 0; i < COUNT; i++) {
        wait_for(&app.held_count, i + 1);
        release_held(i);
    }
    for (int i = 0; i < COUNT; i++) {
        CHECK(answers(&tcp, "", 200, ""));
    }
    CHECK(app.held_most <= 4);
    ak_test_tcp_close(&tcp);
    shut(1000);
}

TEST(http, a_message_cut_into_single_bytes_is_understood)
{
    static const char text[] = "POST /echo?x=1 " HEAD "A: b\r\nTransfer-Encoding: chunked\r\n\r\n"
                               "5;e=\"v\"\r\nhello\r\n06\r\n world\r\n0\r\nTrailer: t\r\n\r\n"
                               "POST /echo " HEAD "Content-Length: 3\r\n\r\nend";
    struct ak_test_tcp tcp;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    for (size_t i = 0; i < sizeof text - 1; i++) {
        ak_test_tcp_send(&tcp, text + i, 1);
    }
    CHECK(answers(&tcp, "", 200, "hello world"));
    CHECK(answers(&tcp, "", 200, "end"));
    ak_test_tcp_close(&tcp);
    shut(1000);
}

TEST(http, chunked_bodies_in_random_pieces_and_chunks_arrive_whole)
{
    struct ak_rand rand;
    struct ak_test_tcp tcp;
    ak_rand_seed(&rand, ak_test_seed());
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    for (int round = 0; round < 60; round++) {
        struct ak_buf body = {0};
        struct ak_buf wire = {0};
        size_t size = ak_rand_below(&rand, round % 10 == 9 ? 300000 : 3000);
        for (size_t i = 0; i < size; i++) {
            ak_buf_add_char(&body, (char)('a' + ak_rand_below(&rand, 26)));
        }
        ak_buf_add_fmt(&wire, "POST /%s " HEAD "Transfer-Encoding: Chunked\r\n\r\n",
                       round % 2 ? "echo" : "later");
        for (size_t at = 0; at < size;) {
            size_t len = 1 + ak_rand_below(&rand, size - at < 5000 ? size - at : 5000);
            ak_buf_add_fmt(&wire, "%zx\r\n%.*s\r\n", len, (int)len, body.p + at);
            at += len;
        }
        ak_buf_add_str(&wire, AK_STR("0\r\n\r\n"));
        for (size_t at = 0; at < wire.len;) {
            size_t len = 1 + ak_rand_below(&rand, wire.len - at);
            ak_test_tcp_send(&tcp, wire.p + at, len);
            at += len;
        }
        CHECK(answers(&tcp, "", 200, ak_buf_cstr(&body)));
        ak_buf_release(&body);
        ak_buf_release(&wire);
    }
    ak_test_tcp_close(&tcp);
    shut(1000);
}

TEST(http, bodies_of_every_size_around_the_read_buffers_come_back_unchanged)
{
    static const size_t sizes[] = {0,     1,     1000,  15000, 16000, 16200, 16300,  16384,
                                   16400, 17000, 30000, 65535, 65536, 70000, 300000, 5000000};
    struct ak_test_tcp tcp;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof sizes[0]; i++) {
        size_t size = sizes[i / 2];
        struct ak_buf wire = {0};
        ak_buf_add_fmt(&wire, "POST /echo " HEAD "Content-Length: %zu\r\n\r\n", size);
        size_t head = wire.len;
        for (size_t j = 0; j < size; j++) {
            ak_buf_add_char(&wire, (char)('a' + (j * 7 + i) % 26));
        }
        ak_buf_add_fmt(&wire, "GET /x " HEAD "\r\n"); /* the next request right behind it */
        if (i % 2) {
            ak_test_tcp_send(&tcp, wire.p, head);
            ak_test_tcp_send(&tcp, wire.p + head, wire.len - head);
        } else {
            ak_test_tcp_send(&tcp, wire.p, wire.len);
        }
        struct ak_test_response response;
        CHECK(ak_test_tcp_response(&tcp, &response, false));
        CHECK_INT(response.body.len, size);
        CHECK(size == 0 || memcmp(response.body.p, wire.p + head, size) == 0);
        ak_test_response_release(&response);
        CHECK(answers(&tcp, "", 200, ""));
        ak_buf_release(&wire);
    }
    ak_test_tcp_close(&tcp);
    shut(1000);
}

TEST(http, expect_100_is_answered_before_the_body_and_in_its_turn)
{
    static const char expect[] =
        "POST /echo " HEAD "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    struct ak_test_tcp tcp;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    CHECK(answers(&tcp, expect, 100, ""));
    CHECK(answers(&tcp, "ok", 200, "ok"));
    ak_test_tcp_send_text(&tcp, "GET /hold " HEAD "\r\n");
    ak_test_tcp_send_text(&tcp, expect); /* its 100 must wait for the answer before it */
    wait_for(&app.heads, 3);
    release_held(0);
    CHECK(answers(&tcp, "", 200, ""));
    CHECK(answers(&tcp, "", 100, ""));
    CHECK(answers(&tcp, "no", 200, "no"));
    ak_test_tcp_close(&tcp);
    shut(1000);
}

TEST(http, an_early_answer_to_expect_100_sends_no_100_and_closes)
{
    struct ak_test_tcp tcp;
    struct ak_test_response response;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    ak_test_tcp_send_text(&tcp,
                          "POST /early " HEAD "Content-Length: 9\r\nExpect: 100-continue\r\n\r\n");
    CHECK(ak_test_tcp_response(&tcp, &response, false));
    CHECK_INT(response.status, 200);
    CHECK(ak_test_response_has(&response, "Connection: close"));
    CHECK(ak_test_tcp_ends(&tcp));
    ak_test_response_release(&response);
    ak_test_tcp_close(&tcp);
    shut(1000);
}

TEST(http, an_early_answer_drops_a_short_body_and_cuts_a_long_one)
{
    struct ak_test_tcp tcp;
    struct ak_test_response response;
    struct ak_buf part = {0};
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    CHECK(answers(&tcp, "POST /early " HEAD "Content-Length: 100000\r\n\r\n", 200, "early"));
    for (int i = 0; i < 10000; i++) {
        ak_buf_add_str(&part, AK_STR("0123456789"));
    }
    ak_test_tcp_send(&tcp, part.p, part.len);
    CHECK(answers(&tcp, "GET /echo " HEAD "\r\n", 200, ""));
    ak_test_tcp_send_text(&tcp, "POST /early " HEAD "Content-Length: 100000000\r\n\r\n");
    ak_test_tcp_send(&tcp, part.p, part.len);
    CHECK(ak_test_tcp_response(&tcp, &response, false));
    CHECK(ak_test_response_has(&response, "Connection: close"));
    CHECK(ak_test_tcp_ends(&tcp));
    ak_test_response_release(&response);
    ak_test_tcp_close(&tcp);
    ak_buf_release(&part);
    shut(1000);
    CHECK_INT(app.requests, 1);
}

TEST(http, head_and_204_carry_no_body)
{
    struct ak_test_tcp tcp;
    struct ak_test_response response;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    ak_test_tcp_send_text(&tcp, "HEAD /big/5000 " HEAD "\r\n");
    CHECK(ak_test_tcp_response(&tcp, &response, true));
    CHECK(ak_test_response_has(&response, "Content-Length: 5000"));
    ak_test_response_release(&response);
    ak_test_tcp_send_text(&tcp, "GET /none " HEAD "\r\n");
    CHECK(ak_test_tcp_response(&tcp, &response, false));
    CHECK_INT(response.status, 204);
    CHECK(!ak_test_response_has(&response, "Content-Length: 0"));
    ak_test_response_release(&response);
    CHECK(answers(&tcp, "GET /echo " HEAD "\r\n", 200, ""));
    ak_test_tcp_close(&tcp);
    shut(1000);
}

TEST(http, responses_carry_type_date_and_extra_headers)
{
    struct ak_test_tcp tcp;
    struct ak_test_response response;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    ak_test_tcp_send_text(&tcp, "GET /echo " HEAD "\r\n");
    CHECK(ak_test_tcp_response(&tcp, &response, false));
    CHECK(ak_test_response_has(&response, "Content-Type: text/plain"));
    CHECK(ak_test_response_has(&response, "X-Test: yes"));
    CHECK(strstr(ak_buf_cstr(&response.head), "\r\nDate: ") != NULL);
    CHECK(strstr(ak_buf_cstr(&response.head), " GMT\r\n") != NULL);
    CHECK(!ak_test_response_has(&response, "Connection: close"));
    ak_test_response_release(&response);
    ak_test_tcp_send_text(&tcp, "GET /error " HEAD "\r\n");
    CHECK(ak_test_tcp_response(&tcp, &response, false));
    CHECK_INT(response.status, 503);
    CHECK(ak_test_response_has(&response, "Content-Type: application/json"));
    CHECK(ak_test_response_has(&response, "Retry-After: 1"));
    CHECK_STR(ak_buf_cstr(&response.body),
              "{\"error\":{\"code\":\"UNAVAILABLE\",\"message\":\"not \\\"now\\\"\"}}");
    ak_test_response_release(&response);
    ak_test_tcp_close(&tcp);
    shut(1000);
}

TEST(http, connection_close_and_http_1_0_end_the_connection_keep_alive_keeps_it)
{
    struct ak_test_tcp tcp;
    struct ak_test_response response;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    ak_test_tcp_send_text(&tcp,
                          "GET /later " HEAD "Connection: close\r\n\r\nGET /echo " HEAD "\r\n");
    CHECK(ak_test_tcp_response(&tcp, &response, false));
    CHECK(ak_test_response_has(&response, "Connection: close"));
    ak_test_response_release(&response);
    CHECK(ak_test_tcp_ends(&tcp));
    ak_test_tcp_close(&tcp);
    ak_test_tcp_open(&tcp, app.port);
    ak_test_tcp_send_text(&tcp, "GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    CHECK(ak_test_tcp_response(&tcp, &response, false));
    CHECK(ak_test_response_has(&response, "Connection: keep-alive"));
    ak_test_response_release(&response);
    CHECK(answers(&tcp, "GET /echo HTTP/1.0\r\n\r\n", 200, ""));
    CHECK(ak_test_tcp_ends(&tcp));
    ak_test_tcp_close(&tcp);
    shut(1000);
    CHECK_INT(app.heads, 3);
}

TEST(http, a_client_that_half_closes_gets_its_answers)
{
    struct ak_test_tcp tcp;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    ak_test_tcp_send_text(&tcp, "GET /hold " HEAD "\r\nGET /later " HEAD "\r\nGET /cu");
    ak_test_tcp_half_close(&tcp);
    wait_for(&app.held_count, 1);
    release_held(0);
    CHECK(answers(&tcp, "", 200, ""));
    CHECK(answers(&tcp, "", 200, ""));
    CHECK(ak_test_tcp_ends(&tcp));
    ak_test_tcp_close(&tcp);
    shut(1000);
    CHECK_INT(app.heads, 2);
}

static void check_views(void *ctx, struct ak_http_request *request)
{
    struct ak_str value = AK_STR_NONE;
    (void)ctx;
    CHECK(ak_http_method(request) == AK_HTTP_GET);
    CHECK(path_is(request, "/a%20b/c"));
    CHECK(ak_str_eq(ak_http_query(request), AK_STR("k=v%2B1+2&e=&bad=%zz&n=%00&k=2&flag")));
    CHECK(ak_str_eq(ak_http_header(request, AK_STR("x-ONE")), AK_STR("1 2")));
    CHECK(ak_str_eq(ak_http_header(request, AK_STR("X-Empty")), AK_STR("")));
    CHECK(ak_http_header(request, AK_STR("X-Empty")).p != NULL);
    CHECK(ak_http_header(request, AK_STR("X-None")).p == NULL);
    CHECK(ak_http_param(request, AK_STR("k"), &value));
    CHECK(ak_str_eq(value, AK_STR("v+1 2")));
    CHECK(ak_http_param(request, AK_STR("e"), &value) && value.p && value.len == 0);
    CHECK(ak_http_param(request, AK_STR("flag"), &value) && value.p && value.len == 0);
    CHECK(ak_http_param(request, AK_STR("bad"), &value) && value.p == NULL);
    CHECK(ak_http_param(request, AK_STR("n"), &value) && value.p == NULL);
    CHECK(!ak_http_param(request, AK_STR("none"), &value));
    CHECK(ak_str_eq(ak_http_decode(request, AK_STR("a%20b+%C3%A9")), AK_STR("a b+\xc3\xa9")));
    CHECK(ak_http_decode(request, AK_STR("a%2")).p == NULL);
    CHECK(ak_http_decode(request, AK_STR("%00")).p == NULL);
    char *many = ak_arena_alloc(ak_http_arena(request), 100000);
    CHECK(many != NULL);
    memset(many, 1, 100000);
    answer_text(request, ak_http_query(request));
}

TEST(http, path_query_parameters_and_headers_are_views_of_the_request)
{
    struct ak_err err;
    struct ak_test_tcp tcp;
    struct ak_http_server *server = NULL;
    const struct ak_http_options options = {
        .listen = "127.0.0.1:0", .loops = 1, .app.on_request = check_views};
    CHECK_OK(ak_http_open(&options, &server, &err));
    ak_test_tcp_open(&tcp, ak_http_port(server));
    CHECK(answers(&tcp,
                  "GET /a%20b/c?k=v%2B1+2&e=&bad=%zz&n=%00&k=2&flag " HEAD
                  "X-One: \t 1 2 \t \r\nX-Empty:\r\n\r\n",
                  200, NULL));
    CHECK(answers(&tcp,
                  "GET http://h:1/a%20b/c?k=v%2B1+2&e=&bad=%zz&n=%00&k=2&flag " HEAD
                  "X-Empty:   \r\nX-One:1 2\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
                  200, NULL));
    ak_test_tcp_close(&tcp);
    ak_http_close(server, 1000);
}

TEST(http, the_other_methods_and_target_forms_are_known)
{
    struct ak_test_tcp tcp;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    CHECK(answers(&tcp, "OPTIONS * " HEAD "\r\n", 200, ""));
    CHECK(answers(&tcp, "DELETE /echo " HEAD "\r\n", 200, ""));
    CHECK(answers(&tcp, "PATCH /echo " HEAD "Content-Length: 1\r\n\r\nx", 200, "x"));
    CHECK(answers(&tcp, "PROPFIND http://host " HEAD "\r\n", 200, ""));
    CHECK(answers(&tcp, "\r\n\r\nGET https://host?q " HEAD "\r\n", 200, ""));
    ak_test_tcp_close(&tcp);
    shut(1000);
}

TEST(http, a_large_answer_reaches_a_reader_that_takes_its_time)
{
    struct ak_test_tcp tcp;
    struct ak_test_response response;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    for (int i = 0; i < 3; i++) {
        ak_test_tcp_send_text(&tcp, "GET /big/20000000 " HEAD "\r\n");
    }
    wait_for(&app.dones, 1);
    for (int i = 0; i < 3; i++) {
        CHECK(ak_test_tcp_response(&tcp, &response, false));
        CHECK_INT(response.body.len, 20000000);
        ak_test_response_release(&response);
    }
    ak_test_tcp_close(&tcp);
    shut(1000);
}

TEST(http, two_thousand_connections_are_served_side_by_side)
{
    enum { COUNT = 2000 };
    static struct ak_test_tcp tcps[COUNT];
    serve((struct ak_http_options){.loops = 2});
    for (int i = 0; i < COUNT; i++) {
        ak_test_tcp_open(&tcps[i], app.port);
        ak_test_tcp_send_text(&tcps[i], "GET /hold " HEAD "\r\n");
    }
    wait_for(&app.held_count, COUNT);
    CHECK_INT(ak_series_value(ak_metrics_series(app.metrics, AK_METRIC_CONNECTIONS, NULL, 0)),
              COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        release_held(i);
    }
    for (int i = 0; i < COUNT; i++) {
        CHECK(answers(&tcps[i], "", 200, ""));
        CHECK(answers(&tcps[i], "GET /later " HEAD "\r\n", 200, ""));
        ak_test_tcp_close(&tcps[i]);
    }
    shut(1000);
}

TEST_MAIN()
