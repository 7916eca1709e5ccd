/* mocks3_server_test.c — the whole server in this process: hostile requests, rules, no memory. */
#include "base/fault.h"
#include "base/sync.h"
#include "mocks3/mocks3.h"
#include "support/tcp.h"
#include "support/test.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#define HEAD " HTTP/1.1\r\nHost: localhost\r\n"

static struct ak_mocks3 *serve(const struct ak_mocks3_options *more)
{
    struct ak_mocks3_options options = more ? *more : (struct ak_mocks3_options){0};
    struct ak_mocks3 *server = NULL;
    struct ak_err err;
    options.listen = "127.0.0.1:0";
    options.buckets = "test, other";
    options.loops = 2;
    CHECK_OK(ak_mocks3_open(&options, &server, &err));
    return server;
}

/* Send a request; the status, with the answer's body in `body` (may be NULL). 0: no answer. */
static int call(struct ak_mocks3 *server, const char *text, struct ak_buf *body)
{
    struct ak_test_tcp tcp;
    struct ak_test_response response;
    ak_test_tcp_open(&tcp, ak_mocks3_port(server));
    ak_test_tcp_send_text(&tcp, text);
    bool ok = ak_test_tcp_response(&tcp, &response, strncmp(text, "HEAD ", 5) == 0);
    int status = ok ? response.status : 0;
    if (ok && body) {
        ak_buf_clear(body);
        ak_buf_add_str(body, ak_buf_str(&response.body));
    }
    if (ok) {
        ak_test_response_release(&response);
    }
    ak_test_tcp_close(&tcp);
    return status;
}

static int call_with(struct ak_mocks3 *server, const char *line, const char *content,
                     struct ak_buf *body)
{
    char text[4096];
    (void)snprintf(text, sizeof text, "%s" HEAD "Content-Length: %zu\r\n\r\n%s", line,
                   strlen(content), content);
    return call(server, text, body);
}

TEST(server, puts_gets_lists_and_deletes)
{
    struct ak_mocks3 *server = serve(NULL);
    struct ak_buf body = {0};
    CHECK_INT(call_with(server, "PUT /test/a/b", "hello", NULL), 200);
    CHECK_INT(call(server, "GET /test/a/b" HEAD "\r\n", &body), 200);
    CHECK_STR(ak_buf_cstr(&body), "hello");
    CHECK_INT(call(server, "GET /test/a/b" HEAD "Range: bytes=1-2\r\n\r\n", &body), 206);
    CHECK_STR(ak_buf_cstr(&body), "el");
    CHECK_INT(call(server, "HEAD /test/a/b" HEAD "\r\n", NULL), 200);
    CHECK_INT(call(server, "GET /test?list-type=2&delimiter=/" HEAD "\r\n", &body), 200);
    CHECK(strstr(ak_buf_cstr(&body), "<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>"));
    CHECK_INT(call(server, "DELETE /test/a/b" HEAD "\r\n", NULL), 204);
    CHECK_INT(call(server, "GET /test/a/b" HEAD "\r\n", &body), 404);
    CHECK(strstr(ak_buf_cstr(&body), "<Code>NoSuchKey</Code>"));
    CHECK_INT(call(server, "GET /" HEAD "\r\n", &body), 200);
    CHECK(strstr(ak_buf_cstr(&body), "<Name>other</Name>"));
    ak_buf_release(&body);
    ak_mocks3_close(server, 1000);
}

TEST(server, options_that_make_no_sense_are_refused)
{
    static const struct ak_mocks3_options bad[] = {
        {.listen = "127.0.0.1:0", .access_key = "a"},
        {.listen = "127.0.0.1:0", .secret_key = "a"},
        {.listen = "127.0.0.1:0", .buckets = "test,No"},
        {.listen = "nowhere"},
        {.listen = "127.0.0.1:0", .root = "/dev/null/x"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct ak_mocks3 *server = NULL;
        struct ak_err err = {0};
        CHECK(ak_mocks3_open(&bad[i], &server, &err) != AK_OK);
        CHECK(err.text[0] != '\0' && !server);
    }
    ak_mocks3_close(NULL, 0);
}

/* Requests of every operation, with and without what they need. */
static const char *const requests[] = {
    "GET /" HEAD "\r\n",
    "GET /test?location" HEAD "\r\n",
    "GET /test?uploads" HEAD "\r\n",
    "GET /test?list-type=2&prefix=%20&encoding-type=url" HEAD "\r\n",
    "GET /test?delimiter=a" HEAD "\r\n",
    "HEAD /test" HEAD "\r\n",
    "PUT /fresh" HEAD "Content-Length: 0\r\n\r\n",
    "DELETE /fresh" HEAD "\r\n",
    "PUT /test/key" HEAD "Content-Length: 3\r\nx-amz-meta-a: b\r\n"
    "x-amz-checksum-crc32: NSRBwg==\r\n\r\nabc",
    "GET /test/key" HEAD "Range: bytes=0-1\r\n\r\n",
    "HEAD /test/key" HEAD "\r\n",
    "PUT /test/copy" HEAD "Content-Length: 0\r\nx-amz-copy-source: /test/key\r\n\r\n",
    "POST /test?delete" HEAD "Content-MD5: BZYdQbHhnNWxRWy8gdgnZw==\r\nContent-Length: 54\r\n\r\n"
    "<Delete><Object><Key>a&amp;b</Key></Object></Delete>  ",
    "POST /test/multi?uploads" HEAD "\r\n",
    "PUT /test/multi?uploadId=x&partNumber=1" HEAD "Content-Length: 1\r\n\r\nx",
    "GET /test/multi?uploadId=x" HEAD "\r\n",
    "POST /test/multi?uploadId=x" HEAD "Content-Length: 9\r\n\r\n<a></a>  ",
    "DELETE /test/multi?uploadId=x" HEAD "\r\n",
    "PUT /test/chunked" HEAD "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\n"
    "x-amz-decoded-content-length: 3\r\nContent-Length: 13\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "DELETE /test/key" HEAD "\r\n",
    "GET /test?acl" HEAD "\r\n",
    "GET /_mock/state" HEAD "\r\n",
    "POST /_mock/rules" HEAD "Content-Length: 73\r\n\r\n"
    "{\"action\":{\"latency_ms\":1},\"match\":{\"operation\":\"None\"},\"times\":1}       ",
    "DELETE /_mock/rules" HEAD "\r\n",
};
#define REQUESTS (sizeof requests / sizeof requests[0])

/* The same without a buffer of ours: the allocation that fails must be the server's. */
static int call_bare(struct ak_mocks3 *server, const char *text)
{
    static char answer[1 << 16];
    struct ak_test_tcp tcp;
    size_t len = 0;
    ssize_t n = 0;
    ak_test_tcp_open(&tcp, ak_mocks3_port(server));
    ak_test_tcp_send_text(&tcp, text);
    ak_test_tcp_half_close(&tcp);
    while ((n = recv(tcp.fd, answer + len, sizeof answer - 1 - len, 0)) > 0) {
        len += (size_t)n;
    }
    CHECK(n == 0 || errno == ECONNRESET);
    answer[len] = '\0';
    ak_test_tcp_close(&tcp);
    return strncmp(answer, "HTTP/1.1 ", 9) == 0 ? (int)strtol(answer + 9, NULL, 10) : 0;
}

TEST(server, without_memory_each_request_fails_by_itself)
{
    struct ak_mocks3 *server = serve(NULL);
    for (size_t i = 0; i < REQUESTS; i++) {
        bool fired = true;
        for (int64_t n = 0; fired && n < 60; n++) {
            ak_fault_alloc_at(n);
            int status = call_bare(server, requests[i]);
            fired = ak_fault_alloc_fired();
            ak_fault_alloc_at(-1);
            CHECK(status == 0 || status >= 200);
            CHECK(fired || status > 0);
        }
        CHECK_INT(call(server, "GET /" HEAD "\r\n", NULL), 200);
    }
    CHECK_INT(call_with(server, "PUT /test/after", "all is well", NULL), 200);
    ak_mocks3_close(server, 1000);
}

TEST(server, a_client_may_leave_after_any_byte)
{
    struct ak_mocks3 *server = serve(NULL);
    for (size_t i = 0; i < REQUESTS; i++) {
        size_t len = strlen(requests[i]);
        for (size_t at = 0; at <= len; at += 7) {
            struct ak_test_tcp tcp;
            ak_test_tcp_open(&tcp, ak_mocks3_port(server));
            ak_test_tcp_send(&tcp, requests[i], at);
            if (at % 2) {
                ak_test_tcp_reset(&tcp);
            } else {
                ak_test_tcp_close(&tcp);
            }
        }
    }
    CHECK_INT(call_with(server, "PUT /test/after", "all is well", NULL), 200);
    ak_mocks3_close(server, 1000);
}

static void add_rule(struct ak_mocks3 *server, const char *rule)
{
    CHECK_INT(call_with(server, "POST /_mock/rules", rule, NULL), 201);
}

TEST(server, rules_decide_in_their_order_and_as_often_as_they_say)
{
    struct ak_mocks3 *server = serve(NULL);
    struct ak_buf body = {0};
    add_rule(server, "{\"match\":{\"operation\":\"PutObject\",\"key_prefix\":\"a\"},"
                     "\"action\":{\"status\":503},\"times\":1}");
    add_rule(server,
             "[{\"match\":{\"method\":\"PUT\"},\"action\":{\"status\":418,\"code\":\"Tea\"},"
             "\"skip\":1,\"times\":1},{\"action\":{\"drop_answer\":true},\"times\":1}]");
    CHECK_INT(call_with(server, "PUT /test/abc", "x", &body), 503);
    CHECK(strstr(ak_buf_cstr(&body), "<Code>SlowDown</Code>"));
    CHECK_INT(call_with(server, "PUT /test/b", "x", NULL),
              0); /* let pass by one, dropped by another */
    CHECK_INT(call(server, "GET /test/b" HEAD "\r\n", NULL), 200);
    CHECK_INT(call_with(server, "PUT /test/b", "x", &body), 418);
    CHECK(strstr(ak_buf_cstr(&body), "<Code>Tea</Code>"));
    CHECK_INT(call_with(server, "PUT /test/b", "x", NULL), 200);
    CHECK_INT(call(server, "GET /_mock/rules" HEAD "\r\n", &body), 200);
    CHECK(strstr(ak_buf_cstr(&body), "\"times_left\":0,\"fired\":1"));
    CHECK_INT(call(server, "DELETE /_mock/rules/2" HEAD "\r\n", NULL), 200);
    CHECK_INT(call(server, "DELETE /_mock/rules/2" HEAD "\r\n", NULL), 404);
    CHECK_INT(call(server, "DELETE /_mock/rules" HEAD "\r\n", &body), 200);
    CHECK_STR(ak_buf_cstr(&body), "{\"deleted\":2}");
    ak_buf_release(&body);
    ak_mocks3_close(server, 1000);
}

TEST(server, an_upload_is_cut_off_at_the_byte_and_stores_nothing)
{
    struct ak_mocks3 *server = serve(NULL);
    add_rule(server, "{\"match\":{\"operation\":\"PutObject\"},\"action\":{\"reset_after\":3}}");
    CHECK_INT(call_with(server, "PUT /test/a", "hello", NULL), 0);
    CHECK_INT(call_with(server, "PUT /test/a", "he", NULL), 0);
    CHECK_INT(call(server, "GET /test/a" HEAD "\r\n", NULL), 404);
    ak_mocks3_close(server, 1000);
}

TEST(server, requests_that_hang_do_not_keep_it_from_closing)
{
    struct ak_mocks3 *server = serve(NULL);
    struct ak_test_tcp tcp[3];
    add_rule(server,
             "[{\"match\":{\"operation\":\"GetObject\"},\"action\":{\"hang\":true}},"
             "{\"match\":{\"operation\":\"PutObject\"},\"action\":{\"bytes_per_s\":1}},"
             "{\"match\":{\"operation\":\"HeadObject\"},\"action\":{\"latency_ms\":3600000}}]");
    static const char *const texts[] = {"GET /test/a" HEAD "\r\n", "HEAD /test/a" HEAD "\r\n",
                                        "PUT /test/a" HEAD "Content-Length: 9\r\n\r\nhalf"};
    for (size_t i = 0; i < 3; i++) {
        ak_test_tcp_open(&tcp[i], ak_mocks3_port(server));
        ak_test_tcp_send_text(&tcp[i], texts[i]);
    }
    struct ak_buf body = {0};
    do {
        CHECK_INT(call(server, "GET /_mock/state" HEAD "\r\n", &body), 200);
    } while (!strstr(ak_buf_cstr(&body), "\"rules_fired\":3"));
    ak_buf_release(&body);
    ak_mocks3_close(server, 100);
    for (size_t i = 0; i < 3; i++) {
        ak_test_tcp_close(&tcp[i]);
    }
}

struct writer {
    struct ak_mocks3 *server;
    unsigned number;
    unsigned won;
};

static void write_many(void *arg)
{
    struct writer *writer = arg;
    for (unsigned i = 0; i < 50; i++) {
        char text[512];
        (void)snprintf(text, sizeof text,
                       "PUT /test/race/%u" HEAD "If-None-Match: *\r\nContent-Length: 2\r\n\r\n%02u",
                       i, writer->number);
        int status = call(writer->server, text, NULL);
        CHECK(status == 200 || status == 412);
        writer->won += status == 200;
        CHECK_INT(call(writer->server, "GET /test?list-type=2" HEAD "\r\n", NULL), 200);
        (void)snprintf(text, sizeof text, "PUT /test/own/%u" HEAD "Content-Length: 1\r\n\r\nx", i);
        CHECK_INT(call(writer->server, text, NULL), 200);
        (void)snprintf(text, sizeof text, "GET /test/own/%u" HEAD "\r\n", i);
        status = call(writer->server, text, NULL);
        CHECK(status == 200 || status == 404);
        (void)snprintf(text, sizeof text, "DELETE /test/own/%u" HEAD "\r\n", i);
        CHECK_INT(call(writer->server, text, NULL), 204);
    }
}

TEST(server, of_many_writers_at_once_one_wins_in_memory_and_below_a_folder)
{
    const char *const roots[] = {NULL, ak_test_dir()};
    for (size_t turn = 0; turn < 2; turn++) {
        const struct ak_mocks3_options options = {.root = roots[turn]};
        struct ak_mocks3 *server = serve(&options);
        struct writer writers[4];
        struct ak_thread threads[4];
        struct ak_err err;
        unsigned won = 0;
        for (unsigned i = 0; i < 4; i++) {
            writers[i] = (struct writer){server, i, 0};
            CHECK_OK(ak_thread_start(&threads[i], "writer", write_many, &writers[i], &err));
        }
        for (unsigned i = 0; i < 4; i++) {
            ak_thread_join(&threads[i]);
            won += writers[i].won;
        }
        CHECK_INT(won, 50);
        ak_mocks3_close(server, 1000);
    }
}

TEST_MAIN()
