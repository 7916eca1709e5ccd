/* cli_client_test.c — response heads, URLs, tables, latencies: what the commands read and print. */
#include "base/mem.h"
#include "base/sync.h"
#include "cli/bench.h"
#include "cli/client.h"
#include "cli/output.h"
#include "support/test.h"
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

TEST(cli_head, a_whole_head_gives_status_length_and_connection)
{
    struct ak_response_head head;
    struct ak_str text =
        AK_STR("HTTP/1.1 200 OK\r\ncontent-length: 12\r\nConnection: close\r\n\r\nbody");
    CHECK_INT(ak_response_head_read(text, &head), AK_HEAD_WHOLE);
    CHECK_INT(head.status, 200);
    CHECK_INT(head.length, 12);
    CHECK(head.has_length && !head.keep_alive && !head.chunked);
    CHECK_INT(head.head_len, text.len - 4);
    for (size_t len = 0; len < head.head_len; len++) {
        struct ak_response_head cut;
        CHECK_INT(ak_response_head_read(ak_str_sub(text, 0, len), &cut), AK_HEAD_PARTIAL);
    }
    CHECK_INT(ak_response_head_read(AK_STR("HTTP/1.1 204 No Content\r\n\r\n"), &head),
              AK_HEAD_WHOLE);
    CHECK(head.has_length && head.length == 0 && head.keep_alive);
    CHECK_INT(ak_response_head_read(AK_STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
                                    &head),
              AK_HEAD_WHOLE);
    CHECK(head.chunked);
}

TEST(cli_head, what_is_no_http_is_bad)
{
    struct ak_response_head head;
    CHECK_INT(ak_response_head_read(AK_STR("SSH-2.0-x\r\n\r\n"), &head), AK_HEAD_BAD);
    CHECK_INT(ak_response_head_read(AK_STR("HTTP/1.1 abc\r\n\r\n"), &head), AK_HEAD_BAD);
    CHECK_INT(ak_response_head_read(AK_STR("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), &head),
              AK_HEAD_BAD);
    CHECK_INT(ak_response_head_read(AK_STR("HTTP/1.1 200 OK\r\nnonsense\r\n\r\n"), &head),
              AK_HEAD_BAD);
}

TEST(cli_url, an_endpoint_is_host_port_and_prefix)
{
    struct ak_err err;
    struct ak_endpoint e;
    CHECK_OK(ak_endpoint_parse("http://127.0.0.1:8080", &e, &err));
    CHECK_STR(e.host, "127.0.0.1");
    CHECK_STR(e.port, "8080");
    CHECK_STR(e.prefix, "");
    CHECK_OK(ak_endpoint_parse("http://[::1]:90/db/", &e, &err));
    CHECK_STR(e.host, "::1");
    CHECK_STR(e.port, "90");
    CHECK_STR(e.authority, "[::1]:90");
    CHECK_STR(e.prefix, "/db");
    CHECK_OK(ak_endpoint_parse("http://localhost", &e, &err));
    CHECK_STR(e.port, "80");
    CHECK_RC(AK_UNSUPPORTED, ak_endpoint_parse("https://localhost", &e, &err));
    CHECK_RC(AK_INVALID, ak_endpoint_parse("localhost:8080", &e, &err));
    CHECK_RC(AK_INVALID, ak_endpoint_parse("http://:8080", &e, &err));
    CHECK_RC(AK_INVALID, ak_endpoint_parse("http://h:99999", &e, &err));
    CHECK_RC(AK_INVALID, ak_endpoint_parse("http://h:0", &e, &err));
    CHECK_RC(AK_INVALID, ak_endpoint_parse("http://[::1", &e, &err));
}

TEST(cli_url, a_segment_is_percent_encoded)
{
    struct ak_buf out;
    ak_buf_init(&out, 0);
    ak_url_put(&out, AK_STR("a b/ü?~-"));
    CHECK_STR(ak_buf_cstr(&out), "a%20b%2F%C3%BC%3F~-");
    ak_buf_release(&out);
}

/* --- Answers as proxies make them --- */

struct answering {
    int listener;
    const char *answer;
};

static void answer_one(void *arg)
{
    const struct answering *server = arg;
    char in[4096];
    size_t len = 0;
    int fd = accept(server->listener, NULL, NULL);
    CHECK(fd >= 0);
    while (!memmem(in, len, "\r\n\r\n", 4)) {
        ssize_t got = recv(fd, in + len, sizeof in - len, 0);
        CHECK(got > 0);
        len += (size_t)got;
    }
    CHECK(send(fd, server->answer, strlen(server->answer), MSG_NOSIGNAL) > 0);
    (void)close(fd);
}

static enum ak_rc to_buffer(void *ctx, const void *p, size_t len, struct ak_err *err)
{
    (void)err;
    ak_buf_add(ctx, p, len);
    return AK_OK;
}

static struct ak_err err;

/* What a request with a sink comes to when it is answered so; `sunk` gets what the sink got. */
static enum ak_rc ask(const char *answer, struct ak_buf *sunk)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    struct answering server = {.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
                               .answer = answer};
    struct ak_thread thread = {0};
    struct ak_client *client = NULL;
    struct ak_buf body;
    char url[64];
    CHECK(bind(server.listener, (const struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(server.listener, 1) == 0);
    CHECK(getsockname(server.listener, (struct sockaddr *)&address, &size) == 0);
    CHECK_OK(ak_thread_start(&thread, "answer", answer_one, &server, &err));
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u", ntohs(address.sin_port));
    CHECK_OK(ak_client_open(url, &client, &err));
    ak_buf_init(&body, 0);
    ak_buf_clear(sunk);
    const struct ak_request request = {
        .method = "GET", .path = "/", .sink = to_buffer, .ctx = sunk};
    enum ak_rc rc = ak_client_call(client, &request, &body, &err);
    ak_thread_join(&thread);
    ak_client_close(client);
    ak_buf_release(&body);
    (void)close(server.listener);
    return rc;
}

TEST(cli_client, a_sink_gets_a_whole_body_however_it_is_framed_or_it_is_a_failure)
{
    struct ak_buf sunk;
    ak_buf_init(&sunk, 0);
    CHECK_OK(
        ask("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", &sunk));
    CHECK_STR(ak_buf_cstr(&sunk), "abc");
    CHECK_OK(ask("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", &sunk));
    CHECK_STR(ak_buf_cstr(&sunk), "hello");
    CHECK_RC(AK_UNAVAILABLE, ask("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", &sunk));
    CHECK_RC(AK_UNAVAILABLE, ask("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", &sunk));
    CHECK(strstr(err.text, "whole"));
    CHECK_RC(AK_NOT_FOUND, ask("HTTP/1.1 404 Not Found\r\nContent-Length: 44\r\n\r\n"
                               "{\"error\":{\"code\":\"NOT_FOUND\",\"message\":\"x\"}}",
                               &sunk));
    CHECK_INT(sunk.len, 0);
    ak_buf_release(&sunk);
}

TEST(cli_output, numbers_are_written_for_people)
{
    char text[AK_NUMBER_TEXT_MAX];
    CHECK_STR(ak_text_count(0, text), "0");
    CHECK_STR(ak_text_count(999, text), "999");
    CHECK_STR(ak_text_count(1234567, text), "1,234,567");
    CHECK_STR(ak_text_bytes(512, text), "512 B");
    CHECK_STR(ak_text_bytes(3.25 * 1024 * 1024, text), "3.2 MiB");
    CHECK_STR(ak_text_seconds(0.0000042, text), "4 µs");
    CHECK_STR(ak_text_seconds(0.0123, text), "12.3 ms");
    CHECK_STR(ak_text_seconds(2.5, text), "2.50 s");
    CHECK_STR(ak_text_seconds(125, text), "2 min 5 s");
}

TEST(cli_output, a_table_lines_up_and_control_characters_do_not_reach_the_terminal)
{
    static const struct ak_table_column columns[] = {
        {.title = "NAME"}, {.title = "N", .right = true}, {.title = "TEXT", .wide = true}};
    struct ak_table table;
    char *text = NULL;
    size_t len = 0;
    ak_table_init(&table, columns, 3);
    ak_table_cell(&table, AK_STR("größe"));
    ak_table_cell_fmt(&table, "%d", 7);
    ak_table_cell(&table, AK_STR("a\033[31mb\nc\302\233d"));
    ak_table_cell(&table, AK_STR("x"));
    ak_table_cell_fmt(&table, "%d", 1234);
    ak_table_cell(&table, AK_STR(""));
    FILE *out = open_memstream(&text, &len);
    CHECK(out != NULL);
    ak_table_print(&table, out);
    CHECK(fclose(out) == 0);
    CHECK_STR(text, "NAME      N  TEXT\n"
                    "größe     7  a [31mb c d\n"
                    "x      1234  \n");
    free(text);
    ak_table_release(&table);
    ak_table_release(&table);
}

TEST(cli_bench, a_histogram_finds_percentiles_within_two_percent)
{
    struct ak_histogram *h = ak_zalloc(sizeof *h);
    struct ak_histogram *sum = ak_zalloc(sizeof *sum);
    CHECK(ak_histogram_us(h, 0.5) == 0.0);
    for (int64_t us = 1; us <= 100000; us++) {
        ak_histogram_add(h, us * 1000);
    }
    ak_histogram_merge(sum, h);
    CHECK_INT(sum->total, 100000);
    CHECK_INT(sum->max_ns, 100000000);
    CHECK(fabs(ak_histogram_us(sum, 0.5) - 50000) < 1000);
    CHECK(fabs(ak_histogram_us(sum, 0.99) - 99000) < 2000);
    CHECK(ak_histogram_us(sum, 1) <= 100000);
    ak_free(h);
    ak_free(sum);
}

TEST_MAIN()
