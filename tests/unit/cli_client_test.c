/* cli_client_test.c — response heads, URLs, tables, latencies: what the commands read and print. */
#include "base/mem.h"
#include "cli/bench.h"
#include "cli/client.h"
#include "cli/output.h"
#include "support/test.h"
#include <stdlib.h>

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
