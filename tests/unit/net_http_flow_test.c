/* net_http_flow_test.c — responses that flow: every byte once, the brake, and all their ends. */
#include "base/fault.h"
#include "support/net_app.h"

#define HEAD "HTTP/1.1\r\nHost: x\r\n"

static bool is_whole(const struct ak_buf *body, uint64_t size)
{
    bool same = body->len == size;
    for (uint64_t i = 0; same && i < size; i++) {
        same = body->p[i] == flow_byte(i);
    }
    return same;
}

/* GET /flow/<size> on an open connection: head and all its bytes. */
static bool flows(struct ak_test_tcp *tcp, uint64_t size)
{
    struct ak_test_response response;
    struct ak_buf body = {0};
    char text[96];
    (void)snprintf(text, sizeof text, "GET /flow/%llu " HEAD "\r\n", (unsigned long long)size);
    ak_test_tcp_send_text(tcp, text);
    bool ok = ak_test_tcp_response(tcp, &response, true);
    if (ok) {
        ok = response.status == 200 &&
             ak_test_response_has(&response, "Transfer-Encoding: chunked") &&
             ak_test_tcp_chunked(tcp, &body) && is_whole(&body, size);
        ak_test_response_release(&response);
    }
    ak_buf_release(&body);
    return ok;
}

TEST(flow, every_byte_arrives_once_whatever_the_length_and_the_connection_lives_on)
{
    static const uint64_t sizes[] = {0, 1, 10006, 10007, 65536, 262144, 400000, 5000000};
    struct ak_test_tcp tcp;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        CHECK(flows(&tcp, sizes[i]));
        CHECK(answers(&tcp, "GET /echo " HEAD "\r\n", 200, ""));
        CHECK_INT(app.last_status, 200);
    }
    ak_test_tcp_close(&tcp);
    shut(1000);
    CHECK_INT(app.flows, sizeof sizes / sizeof sizes[0]);
}

TEST(flow, pipelined_requests_keep_their_order_around_flows)
{
    struct ak_test_tcp tcp;
    struct ak_test_response response;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    ak_test_tcp_send_text(&tcp,
                          "GET /later " HEAD "\r\nGET /flow/300000 " HEAD "\r\nGET /flow/5 " HEAD
                          "\r\nGET /big/7 " HEAD "\r\nGET /flow-now " HEAD "\r\nGET /echo " HEAD
                          "Connection: close\r\n\r\n");
    CHECK(answers(&tcp, "", 200, ""));
    static const uint64_t sizes[] = {300000, 5, 7, 1000};
    for (int i = 0; i < 4; i++) {
        struct ak_buf body = {0};
        if (i == 2) {
            CHECK(answers(&tcp, "", 200, "bbbbbbb"));
            continue;
        }
        CHECK(ak_test_tcp_response(&tcp, &response, true));
        CHECK(ak_test_tcp_chunked(&tcp, &body));
        CHECK(is_whole(&body, sizes[i]));
        ak_test_response_release(&response);
        ak_buf_release(&body);
    }
    CHECK(answers(&tcp, "", 200, ""));
    CHECK(ak_test_tcp_ends(&tcp));
    ak_test_tcp_close(&tcp);
    shut(1000);
}

TEST(flow, a_client_that_does_not_read_holds_the_producer_and_not_the_memory)
{
    struct ak_test_tcp tcp;
    serve((struct ak_http_options){.write_timeout_ms = 1000});
    ak_test_tcp_open(&tcp, app.port);
    ak_test_tcp_send_text(&tcp, "GET /flow/1000000000000 " HEAD "\r\n");
    wait_for(&app.flows_gone, 1); /* the write's time limit ends it */
    lock();
    CHECK(app.flow_bytes < 64u << 20); /* what the system's buffers take, and ours */
    unlock();
    ak_test_tcp_close(&tcp);
    shut(1000);
    CHECK_INT(app.gone, 1);
}

TEST(flow, a_client_that_goes_away_stops_the_producer)
{
    serve((struct ak_http_options){.loops = 2});
    for (unsigned i = 0; i < 20; i++) {
        struct ak_test_tcp tcp;
        struct ak_test_response response;
        ak_test_tcp_open(&tcp, app.port);
        ak_test_tcp_send_text(&tcp, "GET /flow/1000000000000 " HEAD "\r\n");
        wait_for(&app.requests, i + 1);
        CHECK(i % 2 || ak_test_tcp_response(&tcp, &response, true));
        if (i % 2 == 0) {
            ak_test_response_release(&response);
        }
        ak_test_tcp_reset(&tcp);
        wait_for(&app.flows_gone, i + 1);
    }
    shut(1000);
    CHECK_INT(app.gone, 20);
}

TEST(flow, a_failure_in_its_middle_is_seen_by_the_client)
{
    static const char *const sizes[] = {"0", "100", "3000000"};
    struct ak_test_tcp tcp;
    struct ak_test_response response;
    serve((struct ak_http_options){0});
    for (int i = 0; i < 6; i++) {
        struct ak_buf body = {0};
        char text[96];
        (void)snprintf(text, sizeof text, "GET /flow-cut/%s HTTP/1.%d\r\nHost: x\r\n\r\n",
                       sizes[i / 2], i % 2);
        ak_test_tcp_open(&tcp, app.port);
        ak_test_tcp_send_text(&tcp, text);
        if (ak_test_tcp_response(&tcp, &response, true)) { /* a reset may overtake the head */
            if (i % 2) {
                CHECK(!ak_test_tcp_chunked(&tcp, &body));
            }
            ak_test_response_release(&response);
        }
        wait_for(&app.dones, (unsigned)i + 1);
        CHECK_INT(app.last_status, 500);
        ak_buf_release(&body);
        ak_test_tcp_close(&tcp);
    }
    CHECK(is_alive());
    shut(1000);
    CHECK_INT(app.gone, 0);
}

TEST(flow, http_1_0_gets_bytes_up_to_the_end_of_the_connection)
{
    struct ak_test_tcp tcp;
    struct ak_test_response response;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    ak_test_tcp_send_text(&tcp, "GET /flow/700000 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    CHECK(ak_test_tcp_response(&tcp, &response, true));
    CHECK(ak_test_response_has(&response, "Connection: close"));
    CHECK(!ak_test_response_has(&response, "Transfer-Encoding: chunked"));
    ak_test_response_release(&response);
    CHECK(!ak_test_tcp_ends(&tcp));
    CHECK(is_whole(&tcp.in, 700000));
    ak_test_tcp_close(&tcp);
    shut(1000);
}

TEST(flow, head_has_the_head_and_nothing_else)
{
    struct ak_test_tcp tcp;
    struct ak_test_response response;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    ak_test_tcp_send_text(&tcp, "HEAD /flow/700000 " HEAD "\r\n");
    CHECK(ak_test_tcp_response(&tcp, &response, true));
    CHECK(ak_test_response_has(&response, "Transfer-Encoding: chunked"));
    ak_test_response_release(&response);
    CHECK(flows(&tcp, 3));
    ak_test_tcp_close(&tcp);
    shut(1000);
}

TEST(flow, the_server_s_end_cuts_what_is_not_read_in_time)
{
    struct ak_test_tcp tcp;
    serve((struct ak_http_options){0});
    ak_test_tcp_open(&tcp, app.port);
    ak_test_tcp_send_text(&tcp, "GET /flow/1000000000000 " HEAD "\r\n");
    wait_for(&app.requests, 1);
    shut(1);
    CHECK_INT(app.flows_gone, 1);
    ak_test_tcp_close(&tcp);
}

static unsigned app_dones(void)
{
    lock();
    unsigned n = app.dones;
    unlock();
    return n;
}

TEST(flow, without_memory_it_is_an_answer_or_a_cut_and_never_a_shorter_body)
{
    serve((struct ak_http_options){0});
    bool fired = true;
    for (int64_t n = 0; fired; n++) {
        struct ak_test_tcp tcp;
        struct ak_test_response response;
        struct ak_buf body = {0};
        ak_test_tcp_open(&tcp, app.port);
        CHECK(ak_buf_reserve(&tcp.in, 2 << 20) && ak_buf_reserve(&body, 1 << 20));
        unsigned before = app_dones();
        ak_fault_alloc_at(n);
        ak_test_tcp_send_text(&tcp, "GET /flow/600000 " HEAD "\r\n");
        while (!ak_fault_alloc_fired() && app_dones() == before) {
            (void)sched_yield();
        }
        fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        bool is_answered = ak_test_tcp_response(&tcp, &response, true);
        bool flowed = is_answered && response.status == 200;
        CHECK(!is_answered || flowed || response.status == 503);
        bool all = flowed && ak_test_tcp_chunked(&tcp, &body);
        CHECK(all ? is_whole(&body, 600000) : fired);
        if (is_answered) {
            ak_test_response_release(&response);
        }
        ak_buf_release(&body);
        ak_test_tcp_close(&tcp);
    }
    CHECK(is_alive());
    shut(1000);
}

TEST_MAIN()
