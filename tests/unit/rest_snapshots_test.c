/* Snapshots, jobs, export and import over the API: shapes, every error, and what a slow or broken
 * store makes of them. The formats themselves are tested where they are written. */
#include "support/rest_app.h"
#include <errno.h>

static struct ak_objstore *mem;
static struct ak_objstore *store; /* fails over `mem` */
static struct ak_archive *archive;
static uint32_t retries_max; /* 0: 2 */

static struct ak_snapshot_options defaults = {.format = AK_SNAPSHOT_JSON};

static void start_archive(void)
{
    struct ak_err err;
    start_server();
    const struct ak_engine_options engine = {
        .fs = ak_fs_fault_fs(app.fault), .dir = ak_test_dir(), .metrics = app.metrics};
    CHECK_OK(ak_engine_open(&engine, &app.engine, &err));
    CHECK_OK(ak_objstore_open_mem(NULL, &mem, &err));
    CHECK_OK(ak_objstore_open_fault(mem, &store, &err));
    const struct ak_archive_options options = {
        .engine = app.engine,
        .store = store,
        .metrics = app.metrics,
        .snapshots = defaults,
        .retry_ms = 1,
        .retries_max = retries_max ? retries_max : 2,
    };
    CHECK_OK(ak_archive_open(&options, &archive, &err));
    const struct ak_service_options service = {.engine = app.engine,
                                               .archive = archive,
                                               .snapshots = options.snapshots,
                                               .metrics = app.metrics,
                                               .threads = 3};
    CHECK_OK(ak_service_open(&service, &app.service, &err));
    ak_rest_set_service(app.rest, app.service);
    CHECK_INT(call("POST", "/collections", "{\"name\":\"c\",\"dimension\":3,\"metric\":\"l2\"}"),
              201);
}

static void stop_archive(void)
{
    ak_test_tcp_close(&app.tcp);
    ak_test_response_release(&app.last);
    ak_service_hurry(app.service, 0);
    ak_http_close(app.server, 5000);
    ak_service_close(app.service);
    ak_archive_close(archive);
    ak_engine_close(app.engine);
    ak_objstore_close(store);
    ak_objstore_close(mem);
    ak_rest_close(app.rest);
    ak_metrics_close(app.metrics);
    ak_fs_fault_close(app.fault);
    retries_max = 0;
}

static void fill(unsigned count)
{
    struct ak_buf lines = {0};
    for (unsigned i = 0; i < count; i++) {
        ak_buf_add_fmt(&lines, "{\"vector\":[%u,1,2],\"external_id\":\"e%u\"}\n", i, i);
    }
    CHECK_INT(call_with("POST", "/collections/c/import", "Content-Type: application/x-ndjson\r\n",
                        ak_buf_str(&lines)),
              200);
    ak_buf_release(&lines);
}

static char id[37];

static const char *snapshot_path(const char *rest)
{
    static char path[160];
    (void)snprintf(path, sizeof path, "/collections/c/snapshots/%s%s", id, rest);
    return path;
}

static void create(void)
{
    CHECK_INT(call("POST", "/collections/c/snapshots?wait=true", ""), 201);
    (void)snprintf(id, sizeof id, "%s", field("id"));
}

TEST(snapshots, one_is_made_listed_shown_restored_and_deleted)
{
    start_archive();
    fill(100);
    create();
    CHECK(says("\"vector_count\":100") && says("\"format\":\"json\"") && says("\"lossless\":true"));
    CHECK_INT(call("GET", snapshot_path(""), ""), 200);
    CHECK_STR(field("id"), id);
    CHECK_INT(call("GET", "/collections/c/snapshots", ""), 200);
    CHECK_INT(times("\"vector_count\""), 1);
    fill(50);
    CHECK_INT(call("POST", snapshot_path("/restore?wait=true"), "{\"into\":\"d\"}"), 201);
    CHECK(says("\"name\":\"d\"") && says("\"documents\":100"));
    CHECK_INT(call("POST", snapshot_path("/restore?wait=true"), ""), 201);
    CHECK(says("\"name\":\"c\"") && says("\"documents\":100"));
    CHECK_INT(call("GET", "/jobs?limit=2", ""), 200);
    CHECK_INT(times("\"kind\":\"restore\""), 2);
    char path[64];
    (void)snprintf(path, sizeof path, "/jobs/%s", field("id"));
    CHECK_INT(call("GET", path, ""), 200);
    CHECK(says("\"state\":\"done\"") && says("\"progress\":1"));
    CHECK_INT(call("DELETE", snapshot_path(""), ""), 204);
    CHECK_INT(call("DELETE", snapshot_path(""), ""), 404);
    CHECK_INT(call("GET", "/collections/c/snapshots", ""), 200);
    CHECK_STR(body(), "{\"snapshots\":[],\"next\":null,\"damaged\":[]}");
    stop_archive();
}

TEST(snapshots, a_damaged_one_is_listed_apart_and_can_be_deleted)
{
    struct ak_err err;
    struct ak_arena arena;
    struct ak_object *objects = NULL;
    size_t count = 0;
    start_archive();
    fill(10);
    create();
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_objstore_list(mem, AK_STR(""), AK_STR(""), 9, &arena, &objects, &count, &err));
    for (size_t i = 0; i < count; i++) {
        if (ak_str_has_suffix(objects[i].key, AK_STR(".metadata.json"))) {
            CHECK_OK(ak_objstore_put(mem, objects[i].key, AK_STR("[]"), NULL, &err));
        }
    }
    ak_arena_release(&arena);
    CHECK_INT(call("GET", "/collections/c/snapshots?format=parquet&limit=1", ""), 200);
    CHECK(says("\"snapshots\":[],\"next\":null,\"damaged\":[{\"id\":\""));
    CHECK(says(id) && says(".metadata.json\",\"why\":\""));
    CHECK_INT(call("GET", snapshot_path(""), ""), 500);
    CHECK_INT(call("DELETE", snapshot_path(""), ""), 204);
    CHECK_INT(call("GET", "/collections/c/snapshots", ""), 200);
    CHECK_STR(body(), "{\"snapshots\":[],\"next\":null,\"damaged\":[]}");
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_objstore_list(mem, AK_STR(""), AK_STR(""), 9, &arena, &objects, &count, &err));
    CHECK_INT(count, 0);
    ak_arena_release(&arena);
    stop_archive();
}

TEST(snapshots, what_is_wrong_is_said)
{
    static const struct {
        const char *method, *path, *body;
        int status;
        const char *says;
    } cases[] = {
        {"POST", "/collections/c/snapshots", "", 400, "is empty"},
        {"POST", "/collections/none/snapshots", "", 404, "none"},
        {"POST", "/collections/c/snapshots", "{\"format\":\"csv\"}", 400, "parquet, json"},
        {"POST", "/collections/c/snapshots", "{\"compression\":\"rar\"}", 400,
         "none, snappy, zstd"},
        {"POST", "/collections/c/snapshots", "{\"encoding\":\"q4\"}", 400,
         "lossless, plain, bf16, q8"},
        {"POST", "/collections/c/snapshots", "{\"x\":1}", 400, "format, compression, encoding"},
        {"POST", "/collections/c/snapshots?wait=yes", "", 400, "true or false"},
        {"POST", "/collections/c/snapshots?x=1", "", 400, "allowed: wait"},
        {"GET", "/collections/c/snapshots?limit=0", "", 400, "from 1 to 1000"},
        {"GET", "/collections/c/snapshots?from=now", "", 400, "must be a time"},
        {"GET", "/collections/c/snapshots?to=1", "", 400, "must be a time"},
        {"GET", "/collections/c/snapshots?format=x", "", 400, "parquet, json"},
        {"GET", "/collections/none/snapshots", "", 404, "none"},
        {"GET", "/collections/c/snapshots/x", "", 400, "not a UUID"},
        {"DELETE", "/collections/c/snapshots/x", "", 400, "not a UUID"},
        {"POST", "/collections/c/snapshots/x/restore", "", 400, "not a UUID"},
        {"POST", "/collections/c/snapshots/x/verify", "", 400, "not a UUID"},
        {"GET", "/collections/c/snapshots/01a20cfb-cd65-7001-bd2c-9444f4e120ed", "", 404,
         "snapshot"},
        {"PUT", "/collections/c/snapshots", "", 405, "GET, HEAD, POST"},
        {"GET", "/jobs/x", "", 400, "not a UUID"},
        {"GET", "/jobs/01a20cfb-cd65-7001-bd2c-9444f4e120ed", "", 404, "job"},
        {"GET", "/jobs?limit=1001", "", 400, "from 1 to 1000"},
        {"GET", "/collections/none/export", "", 404, "none"},
        {"GET", "/collections/c/export?format=csv", "", 400, "parquet, ndjson"},
        {"GET", "/collections/c/export?compression=x", "", 400, "zstd"},
        {"GET", "/collections/c/export?encoding=x", "", 400, "lossless"},
        {"GET", "/collections/c/export?format=ndjson&encoding=q8", "", 400, "format 'parquet'"},
        {"POST", "/collections/c/snapshots", "{\"encoding\":\"bf16\",\"format\":\"json\"}", 400,
         "encoding 'lossless'"},
        {"GET", "/collections/c/export?limit=1", "", 400, "unknown parameter"},
        {"POST", "/collections/c/import", "{}", 415, "application/vnd.apache.parquet"},
    };
    start_archive();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK_INT(call(cases[i].method, cases[i].path, cases[i].body), cases[i].status);
        CHECK(says(cases[i].says));
    }
    fill(3);
    create();
    CHECK_INT(call("POST", snapshot_path("/restore"), "{\"into\":\"\"}"), 400);
    CHECK_INT(call("POST", snapshot_path("/restore"), "{\"x\":1}"), 400);
    CHECK_INT(call("POST", snapshot_path("/restore"), "{\"into\":\"c\"}"), 409);
    CHECK_INT(call("POST", snapshot_path("/verify"), "{\"x\":1}"), 400);
    stop_archive();
}

TEST(snapshots, a_configured_encoding_of_parquet_is_not_that_of_json)
{
    defaults.format = AK_SNAPSHOT_PARQUET;
    defaults.encoding = AK_SNAPSHOT_Q8;
    start_archive();
    fill(3);
    CHECK_INT(call("POST", "/collections/c/snapshots?wait=true", ""), 201);
    CHECK(says("\"encoding\":\"q8\""));
    CHECK_INT(call("POST", "/collections/c/snapshots?wait=true", "{\"format\":\"json\"}"), 201);
    CHECK(says("\"encoding\":\"lossless\"") && says("\"lossless\":true"));
    stop_archive();
    defaults = (struct ak_snapshot_options){.format = AK_SNAPSHOT_JSON};
}

TEST(snapshots, what_takes_longer_is_a_job_to_follow)
{
    const struct ak_objstore_fault_rule slow = {
        .ops = AK_OBJSTORE_OP_PUT, .nth = -1, .latency_us = 2000000};
    const struct ak_objstore_fault_rule none = {.nth = -1};
    char path[64];
    start_archive();
    fill(10);
    ak_objstore_fault_set(store, &slow);
    CHECK_INT(call("POST", "/collections/c/snapshots", ""), 202);
    CHECK(says("\"state\":\"running\"") && says("\"kind\":\"snapshot\""));
    (void)snprintf(path, sizeof path, "/jobs/%s", field("id"));
    CHECK(strstr(ak_buf_cstr(&app.last.head), path) != NULL); /* Location */
    ak_objstore_fault_set(store, &none);
    while (says("\"state\":\"running\"")) {
        CHECK_INT(call("GET", path, ""), 200);
    }
    CHECK(says("\"state\":\"done\""));
    stop_archive();
}

/* More than the service has threads for what waits: none of them may be held by a client's wait. */
#define WAITING 20

TEST(snapshots, those_who_wait_for_jobs_hold_no_thread)
{
    static const char request[] = "POST /collections/c/snapshots?wait=true HTTP/1.1\r\n"
                                  "Host: test\r\nContent-Length: 0\r\n\r\n";
    const struct ak_objstore_fault_rule broken = {
        .fault = AK_OBJSTORE_FAULT_ERROR_500, .ops = AK_OBJSTORE_OP_PUT, .nth = -1};
    const struct ak_objstore_fault_rule none = {.nth = -1};
    struct ak_test_tcp waiting[WAITING];
    retries_max = 1000000; /* the jobs go on until the store is well again */
    start_archive();
    fill(10);
    ak_objstore_fault_set(store, &broken);
    for (size_t i = 0; i < WAITING; i++) {
        ak_test_tcp_open(&waiting[i], ak_http_port(app.server));
        ak_test_tcp_send_text(&waiting[i], request);
    }
    do {
        CHECK_INT(call("GET", "/jobs", ""), 200);
    } while (times("\"state\":\"running\"") < WAITING);
    CHECK_INT(call("GET", "/collections/c/snapshots", ""), 200); /* by one of those threads */
    CHECK_INT(call("GET", "/jobs", ""), 200);
    CHECK_INT(times("\"state\":\"running\""), WAITING);
    ak_objstore_fault_set(store, &none);
    for (size_t i = 0; i < WAITING; i++) {
        CHECK_INT(response_of(&waiting[i], false), 201);
        CHECK(says("\"vector_count\":10"));
        ak_test_tcp_close(&waiting[i]);
    }
    stop_archive();
}

TEST(snapshots, a_server_that_stops_does_not_wait_for_jobs)
{
    const struct ak_objstore_fault_rule slow = {
        .ops = AK_OBJSTORE_OP_PUT, .nth = -1, .latency_us = 1500000};
    start_archive();
    fill(10);
    ak_objstore_fault_set(store, &slow);
    ak_service_hurry(app.service, 60000);
    CHECK_INT(call("POST", "/collections/c/snapshots?wait=true", ""), 202);
    stop_archive();
}

TEST(snapshots, a_store_that_is_away_is_a_503_and_one_that_refuses_a_403)
{
    const struct ak_objstore_fault_rule away = {.fault = AK_OBJSTORE_FAULT_ERROR_500, .nth = -1};
    const struct ak_objstore_fault_rule silent = {.fault = AK_OBJSTORE_FAULT_TIMEOUT, .nth = -1};
    const struct ak_objstore_fault_rule denied = {.fault = AK_OBJSTORE_FAULT_DENIED_403, .nth = -1};
    const struct ak_objstore_fault_rule none = {.nth = -1};
    start_archive();
    fill(10);
    create();
    ak_objstore_fault_set(store, &away);
    CHECK_INT(call("POST", "/collections/c/snapshots?wait=true", ""), 503);
    CHECK_INT(call("GET", snapshot_path(""), ""), 503);
    CHECK(ak_test_response_has(&app.last, "Retry-After: 1"));
    ak_objstore_fault_set(store, &silent); /* a 408 would say that the client was slow */
    CHECK_INT(call("GET", snapshot_path(""), ""), 503);
    CHECK(ak_test_response_has(&app.last, "Retry-After: 1"));
    ak_objstore_fault_set(store, &denied);
    CHECK_INT(call("POST", "/collections/c/snapshots?wait=true", ""), 403);
    ak_objstore_fault_set(store, &none);
    create();
    stop_archive();
}

TEST(snapshots, without_an_archive_the_server_says_so)
{
    start();
    CHECK_INT(call("POST", "/collections", "{\"name\":\"c\",\"dimension\":3}"), 201);
    CHECK_INT(call("POST", "/collections/c/snapshots", ""), 501);
    CHECK_INT(call("GET", "/jobs", ""), 501);
    CHECK(says("keeps no snapshots"));
    stop();
}

/* --- Export and import --- */

static void get_export(const char *path, struct ak_buf *out)
{
    char text[160];
    (void)snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\nX-Request-Id: r1\r\n\r\n",
                   path);
    ak_test_tcp_send_text(&app.tcp, text);
    CHECK_INT(response_of(&app.tcp, true), 200);
    CHECK(ak_test_response_has(&app.last, "X-Request-Id: r1"));
    CHECK(ak_test_tcp_chunked(&app.tcp, out));
}

TEST(transfer, an_export_of_lines_comes_back_by_an_import)
{
    struct ak_buf lines = {0};
    start_archive();
    fill(5000);
    get_export("/collections/c/export?format=ndjson", &lines);
    CHECK(ak_test_response_has(&app.last, "Content-Type: application/x-ndjson"));
    CHECK_INT(call("POST", "/collections", "{\"name\":\"d\",\"dimension\":3,\"metric\":\"l2\"}"),
              201);
    CHECK_INT(call_with("POST", "/collections/d/import", "Content-Type: application/x-ndjson\r\n",
                        ak_buf_str(&lines)),
              200);
    CHECK(says("\"upserted\":5000"));
    struct ak_buf again = {0};
    get_export("/collections/d/export?format=ndjson", &again);
    CHECK_INT(again.len, lines.len);
    ak_buf_release(&lines);
    ak_buf_release(&again);
    stop_archive();
}

TEST(transfer, an_empty_collection_exports_no_lines_and_head_has_no_body)
{
    struct ak_buf lines = {0};
    start_archive();
    get_export("/collections/c/export?format=ndjson", &lines);
    CHECK_INT(lines.len, 0);
    CHECK_INT(call("HEAD", "/collections/c/export?format=ndjson", ""), 200);
    CHECK_INT(call("HEAD", "/collections/none/export", ""), 404);
    CHECK_INT(call("GET", "/collections/c", ""), 200);
    ak_buf_release(&lines);
    stop_archive();
}

static bool count_entry(void *ctx, struct ak_str name)
{
    (void)name;
    ++*(unsigned *)ctx;
    return true;
}

/* Files where images and uploads lie. */
static unsigned files(void)
{
    struct ak_err err;
    char path[512];
    unsigned count = 0;
    (void)snprintf(path, sizeof path, "%s/collections", ak_test_dir());
    CHECK_OK(ak_fs_list(ak_fs_posix(), path, count_entry, &count, &err));
    return count;
}

TEST(transfer, what_is_no_parquet_is_refused_and_leaves_no_file)
{
    start_archive();
    unsigned before = files();
    CHECK_INT(call_with("POST", "/collections/c/import",
                        "Content-Type: application/vnd.apache.parquet\r\n", AK_STR("no Parquet")),
              400);
    CHECK_INT(call_with("POST", "/collections/c/import",
                        "Content-Type: application/vnd.apache.parquet\r\n", AK_STR("")),
              400);
    CHECK_INT(call("GET", "/collections/c", ""), 200);
    CHECK(says("\"documents\":0"));
    stop_archive();
    CHECK_INT(files(), before);
}

TEST(transfer, a_full_disk_under_a_parquet_import_is_a_507)
{
    start_archive();
    ak_fs_fault_set(app.fault, AK_FS_WRITE, 0, ENOSPC, true);
    CHECK_INT(call_with("POST", "/collections/c/import",
                        "Content-Type: application/vnd.apache.parquet\r\n", AK_STR("PAR1")),
              507);
    ak_fs_fault_set(app.fault, AK_FS_WRITE, -1, 0, false);
    fill(3);
    stop_archive();
}

TEST_MAIN()
