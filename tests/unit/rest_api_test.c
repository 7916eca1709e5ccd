/* The API over real sockets and a real engine: the ways that requests take between threads, and
 * what must hold whichever way is taken. docs/openapi.yaml is checked by tests/integration. */
#include "base/fault.h"
#include "support/rest_app.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#define DIM 8

static void create(const char *name, unsigned dimension, const char *metric)
{
    char text[256];
    (void)snprintf(text, sizeof text, "{\"name\":\"%s\",\"dimension\":%u,\"metric\":\"%s\"}", name,
                   dimension, metric);
    CHECK_INT(call("POST", "/collections", text), 201);
}

/* A vector of length 1 whose angle to the first axis grows with i. */
static void put_vector(struct ak_buf *out, unsigned dimension, unsigned i)
{
    double angle = 0.01 * i;
    ak_buf_add_fmt(out, "[%.7f,%.7f", cos(angle), sin(angle));
    for (unsigned d = 2; d < dimension; d++) {
        ak_buf_add_str(out, AK_STR(",0"));
    }
    ak_buf_add_char(out, ']');
}

static int upsert(const char *collection, unsigned dimension, unsigned i, const char *more)
{
    char path[128];
    struct ak_buf text;
    ak_buf_init(&text, 0);
    ak_buf_add_str(&text, AK_STR("{\"vector\":"));
    put_vector(&text, dimension, i);
    ak_buf_add_fmt(&text, "%s}", more);
    (void)snprintf(path, sizeof path, "/collections/%s/vectors", collection);
    int status = call("POST", path, ak_buf_cstr(&text));
    ak_buf_release(&text);
    return status;
}

TEST(rest, the_first_steps_of_a_user_work)
{
    char ids[100][37];
    start();
    CHECK_INT(call("POST", "/collections",
                   "{\"name\":\"test\",\"dimension\":128,\"metric\":\"cosine\","
                   "\"embedding_model\":\"none\"}"),
              201);
    for (unsigned i = 0; i < 100; i++) {
        CHECK_INT(upsert("test", 128, i, ""), 201);
        (void)snprintf(ids[i], sizeof ids[i], "%s", field("id"));
    }
    struct ak_buf text;
    ak_buf_init(&text, 0);
    ak_buf_add_str(&text, AK_STR("{\"k\":10,\"vector\":"));
    put_vector(&text, 128, 0);
    ak_buf_add_char(&text, '}');
    CHECK_INT(call("POST", "/collections/test/search", ak_buf_cstr(&text)), 200);
    ak_buf_release(&text);
    CHECK_INT(times("\"score\":"), 10);
    const char *last = body();
    for (unsigned i = 0; i < 10; i++) { /* nearest first */
        const char *at = strstr(body(), ids[i]);
        CHECK(at && at > last);
        last = at;
    }
    CHECK_INT(call("GET", "/metrics", ""), 200);
    CHECK(says("vectors_indexed_total 100\n"));
    CHECK(says("http_requests_total{method=\"POST\",path=\"/collections/{c}/vectors\","
               "status=\"201\"} 100\n"));
    CHECK(says("memory_usage_bytes{component=\"process\"}"));
    stop();
}

TEST(rest, before_the_engine_is_open_only_the_process_answers)
{
    start_server();
    CHECK_INT(call("GET", "/health", ""), 200);
    CHECK_INT(call("GET", "/version", ""), 200);
    CHECK_INT(call("GET", "/metrics", ""), 200);
    CHECK_INT(call("GET", "/ready", ""), 503);
    CHECK(ak_test_response_has(&app.last, "Retry-After: 1"));
    CHECK_INT(call("GET", "/collections", ""), 503);
    CHECK_INT(call("POST", "/collections/x/search", "{}"), 503);
    CHECK_INT(call("GET", "/nothing", ""), 404);
    start_engine();
    CHECK_INT(call("GET", "/ready", ""), 200);
    CHECK(says("\"writes\":\"ok\""));
    CHECK_INT(call("GET", "/collections", ""), 200);
    CHECK_STR(body(), "{\"collections\":[],\"next\":null}");
    stop();
}

TEST(rest, a_request_id_comes_back_unless_it_could_be_a_header)
{
    start();
    CHECK_INT(call_with("GET", "/health", "X-Request-Id: abc-123\r\n", AK_STR_NONE), 200);
    CHECK(ak_test_response_has(&app.last, "X-Request-Id: abc-123"));
    CHECK_INT(call_with("GET", "/nothing", "X-Request-Id: e-1\r\n", AK_STR_NONE), 404);
    CHECK(ak_test_response_has(&app.last, "X-Request-Id: e-1"));
    CHECK_INT(call_with("GET", "/health", "X-Request-Id: a b\r\n", AK_STR_NONE), 200);
    CHECK(!strstr(ak_buf_cstr(&app.last.head), "X-Request-Id"));
    stop();
}

TEST(rest, a_method_that_a_path_lacks_is_405_with_allow)
{
    start();
    CHECK_INT(call("PUT", "/collections", "{}"), 405);
    CHECK(ak_test_response_has(&app.last, "Allow: GET, HEAD, POST"));
    CHECK(says("METHOD_NOT_ALLOWED"));
    CHECK_INT(call("HEAD", "/health", ""), 200);
    stop();
}

TEST(rest, content_types_other_than_json_are_415)
{
    start();
    create("c", DIM, "l2");
    const char *const bad[] = {"Content-Type: text/plain\r\n",
                               "Content-Type: application/x-www-form-urlencoded\r\n",
                               "Content-Type: application/json; charset=latin1\r\n",
                               "Content-Type: application/x-ndjson\r\n",
                               "Content-Type: \r\n",
                               "Origin: http://evil.example\r\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_INT(call_with("POST", "/collections/c/count", bad[i], AK_STR("{}")), 415);
        connect_again();
    }
    const char *const good[] = {"Content-Type: application/json\r\n", "",
                                "content-type: Application/JSON ; charset=\"UTF-8\"\r\n",
                                "Content-Type: application/json;charset=utf-8\r\nOrigin: x\r\n"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        CHECK_INT(call_with("POST", "/collections/c/count", good[i], AK_STR("{}")), 200);
    }
    stop();
}

TEST(rest, a_document_comes_back_bit_for_bit)
{
    start();
    create("c", 4, "l2");
    CHECK_INT(call("POST", "/collections/c/vectors",
                   "{\"id\":\"01234567-89ab-7def-8123-456789abcdef\",\"external_id\":\"\\u00e9/1\","
                   "\"vector\":[0.1, -3.4028235e38, 1e-45, 16777217],"
                   "\"metadata\":{ \"a b\" : [1, 2 , {\"c\":\" x \"}], \"t\":true }}"),
              201);
    CHECK_STR(body(), "{\"id\":\"01234567-89ab-7def-8123-456789abcdef\"}");
    CHECK_INT(call("GET", "/collections/c/vectors/01234567-89ab-7def-8123-456789abcdef", ""), 200);
    CHECK(says("\"external_id\":\"\xc3\xa9/1\","
               "\"vector\":[0.1,-3.4028235e38,1e-45,16777216],"
               "\"metadata\":{\"a b\":[1,2,{\"c\":\" x \"}],\"t\":true},\"inserted_at\":\""));
    CHECK_INT(call("DELETE", "/collections/c/vectors/01234567-89AB-7DEF-8123-456789ABCDEF", ""),
              204);
    CHECK_INT(call("GET", "/collections/c/vectors/01234567-89ab-7def-8123-456789abcdef", ""), 404);
    CHECK_INT(call("DELETE", "/collections/c/vectors/01234567-89ab-7def-8123-456789abcdef", ""),
              404);
    stop();
}

TEST(rest, several_documents_are_all_or_nothing)
{
    start();
    create("c", 2, "cosine");
    CHECK_INT(call("POST", "/collections/c/vectors",
                   "{\"vectors\":[{\"vector\":[1,0]},{\"vector\":[0,1]},{\"vector\":[0,0]}]}"),
              400);
    CHECK(says("vectors[2]: vector is all zeros"));
    CHECK_INT(call("POST", "/collections/c/count", ""), 200);
    CHECK_STR(body(), "{\"count\":0}");
    CHECK_INT(call("POST", "/collections/c/vectors",
                   "{\"vectors\":[{\"vector\":[1,0]},{\"vector\":[0,1]}]}"),
              200);
    CHECK(says("{\"upserted\":2,\"ids\":[\""));
    CHECK_INT(call("POST", "/collections/c/count", "{}"), 200);
    CHECK_STR(body(), "{\"count\":2}");
    stop();
}

/* 100 documents of 300 floats make a body that a worker parses. */
TEST(rest, a_large_body_takes_the_other_way_to_the_same_end)
{
    start();
    create("c", 300, "l2");
    struct ak_buf text;
    ak_buf_init(&text, 0);
    ak_buf_add_str(&text, AK_STR("{\"vectors\":["));
    for (unsigned i = 0; i < 200; i++) {
        ak_buf_add_str(&text, i ? AK_STR(",{\"vector\":") : AK_STR("{\"vector\":"));
        put_vector(&text, 300, i);
        ak_buf_add_fmt(&text, ",\"external_id\":\"doc %u\"}", i);
    }
    ak_buf_add_str(&text, AK_STR("]}"));
    CHECK(text.len > 96u << 10);
    CHECK_INT(call("POST", "/collections/c/vectors", ak_buf_cstr(&text)), 200);
    CHECK_INT(times("-"), 800); /* 200 ids */
    ak_buf_clear(&text);
    ak_buf_add_str(&text, AK_STR("{\"searches\":["));
    for (unsigned i = 0; i < 150; i++) {
        ak_buf_add_str(&text, i ? AK_STR(",{\"k\":1,\"vector\":") : AK_STR("{\"k\":1,\"vector\":"));
        put_vector(&text, 300, i);
        ak_buf_add_char(&text, '}');
    }
    ak_buf_add_str(&text, AK_STR("]}"));
    CHECK_INT(call("POST", "/collections/c/search/batch", ak_buf_cstr(&text)), 200);
    CHECK_INT(times("\"score\":0,"), 150);
    const char *at = body();
    for (unsigned i = 0; i < 150; i++) { /* in the order of the searches */
        char want[40];
        (void)snprintf(want, sizeof want, "\"external_id\":\"doc %u\"", i);
        at = strstr(at, want);
        CHECK(at);
    }
    ak_buf_release(&text);
    stop();
}

TEST(rest, a_failing_search_fails_its_batch_by_its_number)
{
    start();
    create("c", 2, "cosine");
    CHECK_INT(upsert("c", 2, 1, ""), 201);
    CHECK_INT(call("POST", "/collections/c/search/batch",
                   "{\"searches\":[{\"vector\":[1,0]},{\"vector\":[0,0]}]}"),
              400);
    CHECK(says("searches[1]: vector is all zeros"));
    CHECK_INT(call("POST", "/collections/c/search/batch",
                   "{\"searches\":[{\"vector\":[1,0]},{\"vector\":[1]}]}"),
              400);
    CHECK(says("searches[1]: vector has 1 numbers: collection 'c' has dimension 2"));
    stop();
}

static void add_lines(struct ak_buf *text, unsigned from, unsigned count)
{
    for (unsigned i = from; i < from + count; i++) {
        ak_buf_add_str(text, AK_STR("{\"vector\":"));
        put_vector(text, DIM, i);
        ak_buf_add_fmt(text, ",\"metadata\":{\"i\": %u}}\n", i);
    }
}

#define NDJSON_TYPE "Content-Type: application/x-ndjson\r\n"

TEST(rest, an_import_of_many_batches_is_counted_and_findable)
{
    start();
    create("c", DIM, "l2");
    struct ak_buf text;
    ak_buf_init(&text, 0);
    ak_buf_add_str(&text, AK_STR("\n\r\n"));
    add_lines(&text, 0, 60000);
    text.len--; /* the last line may do without its line feed */
    CHECK(text.len > 3u << 20);
    CHECK_INT(call_with("POST", "/collections/c/import", NDJSON_TYPE, ak_buf_str(&text)), 200);
    CHECK(says("{\"upserted\":60000,\"failed\":0,\"took_ms\":"));
    ak_buf_release(&text);
    CHECK_INT(call("POST", "/collections/c/count",
                   "{\"filter\":{\"must\":[{\"key\":\"i\",\"range\":{\"gte\":59000}}]}}"),
              200);
    CHECK_STR(body(), "{\"count\":1000}");
    stop();
}

TEST(rest, an_empty_import_is_fine)
{
    start();
    create("c", DIM, "l2");
    CHECK_INT(call_with("POST", "/collections/c/import", NDJSON_TYPE, AK_STR_NONE), 200);
    CHECK(says("\"upserted\":0,"));
    CHECK_INT(call_with("POST", "/collections/c/vectors", NDJSON_TYPE, AK_STR("\n\n")), 200);
    CHECK_INT(call_with("POST", "/collections/none/import", NDJSON_TYPE, AK_STR("\n")), 404);
    stop();
}

TEST(rest, a_bad_line_is_named_and_the_lines_before_it_stay)
{
    start();
    create("c", DIM, "l2");
    struct ak_buf text;
    ak_buf_init(&text, 0);
    add_lines(&text, 0, 20000);
    ak_buf_add_str(&text, AK_STR("{\"vector\":[1]}\n"));
    add_lines(&text, 0, 20000);
    CHECK_INT(call_with("POST", "/collections/c/import", NDJSON_TYPE, ak_buf_str(&text)), 400);
    CHECK(says("line 20001: "));
    CHECK(says("dimension 8"));
    CHECK(says("(upserted before: 20000)"));
    connect_again();
    CHECK_INT(call("POST", "/collections/c/count", ""), 200);
    CHECK_STR(body(), "{\"count\":20000}");
    ak_buf_release(&text);
    stop();
}

TEST(rest, a_line_that_never_ends_is_refused)
{
    start();
    create("c", DIM, "l2");
    struct ak_buf text;
    ak_buf_init(&text, 0);
    char *p = ak_buf_reserve(&text, 6u << 20);
    memset(p, ' ', 6u << 20);
    p[0] = '{';
    text.len = 6u << 20;
    CHECK_INT(call_with("POST", "/collections/c/import", NDJSON_TYPE, ak_buf_str(&text)), 413);
    CHECK(says("line 1 is longer than 4194304 bytes"));
    ak_buf_release(&text);
    stop();
}

TEST(rest, an_import_cut_short_keeps_what_came_and_the_server_goes_on)
{
    start();
    create("c", DIM, "l2");
    struct ak_buf text;
    ak_buf_init(&text, 0);
    ak_buf_add_fmt(&text, "POST /collections/c/import HTTP/1.1\r\nHost: t\r\n" NDJSON_TYPE
                          "Content-Length: 100000000\r\n\r\n");
    add_lines(&text, 0, 40000);
    ak_test_tcp_send(&app.tcp, text.p, text.len);
    connect_again(); /* the first connection is closed */
    CHECK_INT(call("GET", "/health", ""), 200);
    ak_buf_release(&text);
    stop(); /* waits for the job; the sanitizers watch */
}

TEST(rest, a_scroll_meets_every_document_once)
{
    start();
    create("c", 2, "l2");
    for (unsigned i = 0; i < 25; i++) {
        CHECK_INT(upsert("c", 2, i, ",\"metadata\":{\"n\":1}"), 201);
    }
    size_t met = 0;
    char after[64] = "";
    for (unsigned pages = 0; pages < 5; pages++) {
        char text[256];
        (void)snprintf(text, sizeof text, "{\"limit\":6,\"include\":[\"vector\"]%s}", after);
        CHECK_INT(call("POST", "/collections/c/vectors/scroll", text), 200);
        met += times("\"vector\":[");
        CHECK(!says("metadata"));
        if (says("\"next\":null")) {
            CHECK_INT(pages, 4);
            break;
        }
        (void)snprintf(after, sizeof after, ",\"after\":\"%s\"", field("next"));
    }
    CHECK_INT(met, 25);
    CHECK_INT(call("POST", "/collections/c/vectors/scroll", ""), 200);
    CHECK_INT(times("\"external_id\":null,\"metadata\":{\"n\":1},\"inserted_at\""), 25);
    stop();
}

TEST(rest, documents_are_deleted_by_id_and_by_filter)
{
    char text[256];
    start();
    create("c", 2, "l2");
    CHECK_INT(upsert("c", 2, 1, ",\"metadata\":{\"k\":\"a\"}"), 201);
    (void)snprintf(text, sizeof text, "{\"ids\":[\"%s\",\"01234567-89ab-7def-8123-456789abcdef\"]}",
                   field("id"));
    CHECK_INT(upsert("c", 2, 2, ",\"metadata\":{\"k\":\"b\"}"), 201);
    CHECK_INT(call("POST", "/collections/c/vectors/delete", text), 200);
    CHECK_STR(body(), "{\"deleted\":1}");
    CHECK_INT(call("POST", "/collections/c/vectors/delete",
                   "{\"filter\":{\"must\":[{\"key\":\"k\",\"match\":\"b\"}]}}"),
              200);
    CHECK_STR(body(), "{\"deleted\":1}");
    CHECK_INT(call("POST", "/collections/c/vectors/delete", "{\"ids\":[]}"), 200);
    CHECK_STR(body(), "{\"deleted\":0}");
    CHECK_INT(call("POST", "/collections/c/vectors/delete", "{}"), 400);
    CHECK(says("give either 'ids' or 'filter'"));
    stop();
}

TEST(rest, collections_are_listed_in_pages_by_name)
{
    start();
    const char *const names[] = {"delta", "alpha", "%C3%A9t%C3%A9", "charlie", "bravo"};
    const char *const plain[] = {"delta", "alpha", "\xc3\xa9t\xc3\xa9", "charlie", "bravo"};
    char path[128];
    for (size_t i = 0; i < 5; i++) {
        create(plain[i], 2, "dot");
        (void)snprintf(path, sizeof path, "/api/v1/collections/%s", names[i]);
        CHECK_INT(call("GET", path, ""), 200);
        CHECK(says("\"metric\":\"dot\""));
        (void)snprintf(path, sizeof path, "/collections/%s", field("id"));
        CHECK_INT(call("GET", path, ""), 200);
        CHECK_STR(field("name"), plain[i]);
    }
    CHECK_INT(call("GET", "/collections?limit=3", ""), 200);
    CHECK(says("\"next\":\"charlie\""));
    CHECK_INT(call("GET", "/collections?limit=3&after=charlie", ""), 200);
    CHECK(says("\"next\":null"));
    CHECK_INT(times("\"name\":"), 2);
    CHECK_INT(call("POST", "/collections", "{\"name\":\"alpha\",\"dimension\":2}"), 409);
    CHECK_INT(call("DELETE", "/collections/alpha", ""), 204);
    CHECK_INT(call("DELETE", "/collections/alpha", ""), 404);
    CHECK_INT(call("GET", "/collections/alpha", ""), 404);
    CHECK_INT(call("POST", "/collections/alpha/search", "nonsense"), 404);
    stop();
}

TEST(rest, a_full_disk_is_507_and_reads_go_on)
{
    start();
    create("c", 2048, "l2");
    CHECK_INT(upsert("c", 2048, 1, ""), 201);
    ak_fs_fault_set(app.fault, AK_FS_ALLOCATE, 0, ENOSPC, true);
    int status = 201;
    for (unsigned i = 0; i < 2000 && status == 201; i++) { /* until the log needs a new segment */
        status = upsert("c", 2048, i, "");
    }
    CHECK_INT(status, 507);
    CHECK(says("NO_SPACE"));
    CHECK_INT(call("POST", "/collections/c/count", ""), 200);
    CHECK_INT(call("GET", "/ready", ""), 200);
    CHECK(says("\"writes\":\"disk_full\""));
    ak_fs_fault_set(app.fault, AK_FS_ANY, -1, 0, false);
    CHECK_INT(upsert("c", 2048, 3, ""), 201);
    stop();
}

/* Two hundred requests at once on one connection: loops, workers and the log's thread answer. */
TEST(rest, pipelined_requests_are_answered_in_their_order)
{
    start();
    create("c", 2, "l2");
    CHECK_INT(upsert("c", 2, 1, ""), 201);
    struct ak_buf text;
    ak_buf_init(&text, 0);
    for (unsigned i = 0; i < 200; i++) {
        const char *const paths[] = {"GET /health", "GET /metrics", "POST /collections/c/vectors",
                                     "POST /collections/c/search", "POST /collections/c/count"};
        const char *const bodies[] = {"", "", "{\"vector\":[1,2]}", "{\"vector\":[1,2],\"k\":1}",
                                      "{}"};
        ak_buf_add_fmt(
            &text, "%s HTTP/1.1\r\nHost: t\r\nX-Request-Id: %u\r\nContent-Length: %zu\r\n\r\n%s",
            paths[i % 5], i, strlen(bodies[i % 5]), bodies[i % 5]);
    }
    ak_test_tcp_send(&app.tcp, text.p, text.len);
    for (unsigned i = 0; i < 200; i++) {
        char want[64];
        CHECK_INT(response_of(&app.tcp, false), i % 5 == 2 ? 201 : 200);
        (void)snprintf(want, sizeof want, "X-Request-Id: %u", i);
        CHECK(ak_test_response_has(&app.last, want));
    }
    ak_buf_release(&text);
    stop();
}

TEST(rest, an_answer_with_too_many_vectors_is_refused_beforehand)
{
    start();
    create("c", 65535, "l2");
    struct ak_buf text;
    ak_buf_init(&text, 0);
    ak_buf_add_str(&text, AK_STR("{\"k\":10000,\"include\":[\"vector\"],\"vector\":[1"));
    for (unsigned i = 1; i < 65535; i++) {
        ak_buf_add_str(&text, AK_STR(",0"));
    }
    ak_buf_add_str(&text, AK_STR("]}"));
    CHECK_INT(call("POST", "/collections/c/search", ak_buf_cstr(&text)), 200); /* there are none */
    CHECK(says("{\"results\":[],\"took_ms\":"));
    ak_buf_release(&text);
    stop();
}

TEST(rest, requests_are_counted_by_route_and_strangers_together)
{
    start();
    CHECK_INT(call("GET", "/wp-admin", ""), 404);
    CHECK_INT(call("GET", "/.env", ""), 404);
    CHECK_INT(call("GET", "/collections/one", ""), 404);
    CHECK_INT(call("GET", "/collections/two", ""), 404);
    CHECK_INT(call("GET", "/metrics", ""), 200);
    CHECK(says("http_requests_total{method=\"GET\",path=\"unmatched\",status=\"404\"} 2\n"));
    CHECK(says("http_requests_total{method=\"GET\",path=\"/collections/{c}\",status=\"404\"} 2\n"));
    CHECK(
        says("http_request_duration_seconds_count{method=\"GET\",path=\"/collections/{c}\"} 2\n"));
    stop();
}

static char answer[65536];

/* Send a request and read its answer without allocating, while the nth allocation anywhere fails.
 * The status, or 0 when the connection was closed instead. */
static int call_while_failing(const char *text, int64_t nth, bool *fired)
{
    size_t len = 0;
    size_t want = SIZE_MAX;
    ak_fault_alloc_at(nth);
    CHECK(send(app.tcp.fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
    while (len < want && len < sizeof answer - 1) {
        ssize_t n = recv(app.tcp.fd, answer + len, sizeof answer - 1 - len, 0);
        if (n <= 0) {
            break;
        }
        len += (size_t)n;
        answer[len] = '\0';
        const char *end = strstr(answer, "\r\n\r\n");
        const char *length = end ? strstr(answer, "Content-Length: ") : NULL;
        if (end) {
            size_t body_len = length ? strtoul(length + 16, NULL, 10) : 0;
            want = (size_t)(end - answer) + 4 + body_len;
        }
    }
    *fired = ak_fault_alloc_fired();
    ak_fault_alloc_at(-1);
    return len > 12 ? (int)strtol(answer + 9, NULL, 10) : 0;
}

TEST(rest, any_allocation_may_fail_and_the_next_request_is_served)
{
    static const struct {
        const char *line, *type, *body;
    } requests[] = {
        {"POST /collections/c/vectors", AK_HTTP_JSON,
         "{\"vector\":[1,2],\"external_id\":\"\\u00e9\",\"metadata\":{\"a\": [1, 2]}}"},
        {"POST /collections/c/vectors", AK_HTTP_JSON,
         "{\"vectors\":[{\"vector\":[1,2]},{\"vector\":[3,4]}]}"},
        {"POST /collections/c/import", "application/x-ndjson",
         "{\"vector\":[1,2]}\n{\"vector\":[3,4]}\n"},
        {"POST /collections/c/search", AK_HTTP_JSON,
         "{\"vector\":[1,2],\"include\":[\"vector\",\"metadata\"],"
         "\"filter\":{\"must_not\":[{\"key\":\"b\",\"match\":1}]}}"},
        {"POST /collections/c/search/batch", AK_HTTP_JSON,
         "{\"searches\":[{\"vector\":[1,2]},{\"vector\":[3,4]}]}"},
        {"POST /collections/c/vectors/scroll", AK_HTTP_JSON, "{\"limit\":3}"},
        {"POST /collections/c/count", AK_HTTP_JSON,
         "{\"filter\":{\"must\":[{\"key\":\"a\",\"match\":1}]}}"},
        {"GET /collections", AK_HTTP_JSON, ""},
        {"GET /collections/%63", AK_HTTP_JSON, ""},
        {"GET /nothing", AK_HTTP_JSON, ""},
        {"GET /metrics", AK_HTTP_JSON, ""},
    };
    char text[1024];
    start();
    create("c", 2, "l2");
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        (void)snprintf(text, sizeof text,
                       "%s HTTP/1.1\r\nHost: t\r\nX-Request-Id: r\r\nContent-Type: %s\r\n"
                       "Content-Length: %zu\r\n\r\n%s",
                       requests[i].line, requests[i].type, strlen(requests[i].body),
                       requests[i].body);
        bool fired = true;
        for (int64_t nth = 0; fired && nth < 500; nth++) {
            connect_again();
            int status = call_while_failing(text, nth, &fired);
            bool is_fine = status == 200 || status == 201 || (i == 9 && status == 404);
            bool is_memory = status == 503 || status == 0 || strstr(answer, "no memory");
            if (!is_fine && !(fired && is_memory)) {
                ak_test_fail(__FILE__, __LINE__, "%s: status %d with allocation %lld failing: %s",
                             requests[i].line, status, (long long)nth, answer);
            }
        }
        CHECK(!fired);
    }
    connect_again();
    CHECK_INT(upsert("c", 2, 1, ""), 201);
    stop();
}

TEST_MAIN()
