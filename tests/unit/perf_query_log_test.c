/* The query log: rows as they were put, files of their day and week, drops counted, and nothing
 * that fails there reaches a request. */
#include "base/fault.h"
#include "base/sync.h"
#include "perf/perf.h"
#include "perf/query_log.h"
#include "perf/summary_file.h"
#include "support/quickfs.h"
#include "support/test.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

#define DAY_US INT64_C(86400000000)
#define NOON INT64_C(1793102400000000) /* 2026-10-27T12:00:00Z, a Tuesday */
#define MONDAY "202644"

static struct ak_err err;
static struct ak_manual_clock manual;
static struct ak_metrics *metrics;

static struct ak_query_log *open_log(struct ak_query_log_options options)
{
    struct ak_query_log *log = NULL;
    metrics = metrics ? metrics : ak_metrics_open();
    options.fs = options.fs ? options.fs : quickfs();
    options.dir = options.dir ? options.dir : ak_test_dir();
    options.clock = &manual.clock;
    options.metrics = metrics;
    options.by_hand = true;
    options.free_bytes_min = options.free_bytes_min ? options.free_bytes_min : 1;
    CHECK_OK(ak_query_log_open(&options, &log, &err));
    return log;
}

static void start(void)
{
    ak_manual_clock_init(&manual, NOON);
    metrics = ak_metrics_open();
}

static void finish(struct ak_query_log *log)
{
    ak_query_log_close(log);
    ak_metrics_close(metrics);
    metrics = NULL;
}

static uint64_t dropped(const char *reason)
{
    struct ak_str label = ak_str_of(reason);
    return (uint64_t)ak_series_value(
        ak_metrics_series(metrics, AK_METRIC_QUERY_LOG_DROPPED, &label, 1));
}

static uint64_t written(void)
{
    return (uint64_t)ak_series_value(ak_metrics_series(metrics, AK_METRIC_QUERY_LOG_ROWS, NULL, 0));
}

static const struct ak_query_shape search = {.table = {"docs", 4}, .k = 10};

static void put(struct ak_query_log *log, const struct ak_query_shape *shape, int64_t began_us)
{
    const struct ak_query_entry entry = {.began_us = began_us,
                                         .duration_ns = 1234567,
                                         .cpu_ns = 1000000,
                                         .wait_ns = -1,
                                         .examined = 321,
                                         .returned = 10,
                                         .index = AK_QUERY_HNSW,
                                         .cache_hit = true};
    ak_query_log_put(log, shape, &entry);
}

static const char *path_of(const char *name)
{
    static char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", ak_test_dir(), name);
    return path;
}

static struct ak_buf read_file(const char *name)
{
    struct ak_buf text;
    ak_buf_init(&text, 0);
    CHECK_OK(ak_fs_read_all(quickfs(), path_of(name), (size_t)64 << 20, &text, &err));
    (void)ak_buf_cstr(&text);
    return text;
}

static bool exists(const char *name)
{
    uint64_t size;
    return ak_fs_stat(quickfs(), path_of(name), &size, NULL) == AK_OK;
}

/* Rows of a file, each checked to be readable; *last is the last one's time. */
static uint64_t rows_of(const char *name, int64_t *last)
{
    struct ak_perf_reader *reader = NULL;
    struct ak_perf_query row;
    enum ak_perf_step step = AK_PERF_ROW;
    uint64_t rows = 0;
    CHECK_OK(ak_perf_reader_open(quickfs(), path_of(name), &reader, &err));
    while (step != AK_PERF_END) {
        CHECK_OK(ak_perf_reader_next(reader, &row, &step, &err));
        CHECK(step != AK_PERF_BAD);
        rows += step == AK_PERF_ROW;
        if (step == AK_PERF_ROW && last) {
            *last = row.timestamp;
        }
    }
    ak_perf_reader_close(reader);
    return rows;
}

static void write_file(const char *name, const char *text)
{
    CHECK_OK(ak_fs_write_atomic(quickfs(), path_of(name), ak_str_of(text), &err));
}

/* --- Rows --- */

TEST(query_log, a_row_has_all_that_was_put)
{
    struct ak_perf_reader *reader = NULL;
    struct ak_perf_query row;
    enum ak_perf_step step;
    char hash[32];
    start();
    struct ak_query_log *log = open_log((struct ak_query_log_options){0});
    CHECK(ak_query_log_wants(log));
    put(log, &search, NOON);
    ak_query_log_drain(log);
    CHECK_INT(written(), 1);
    CHECK_OK(
        ak_perf_reader_open(quickfs(), path_of("query_perf_daily_20261027.csv"), &reader, &err));
    CHECK_OK(ak_perf_reader_next(reader, &row, &step, &err));
    CHECK_INT(step, AK_PERF_ROW);
    (void)snprintf(hash, sizeof hash, "%016llx", (unsigned long long)ak_query_shape_hash(&search));
    CHECK_INT(row.has, AK_PERF_HAS_ALL & ~AK_PERF_HAS(io_wait_ms));
    CHECK_INT(row.timestamp, NOON);
    CHECK(ak_str_eq(row.query_hash, ak_str_of(hash)));
    CHECK(ak_str_eq(row.query_type, AK_STR("SEARCH")));
    CHECK(fabs(row.execution_time_ms - 1.235) < 1e-9);
    CHECK_INT(row.rows_examined, 321);
    CHECK_INT(row.rows_returned, 10);
    CHECK(row.cache_hit);
    CHECK(ak_str_eq(row.table_name, AK_STR("docs")));
    CHECK(ak_str_eq(row.index_used, AK_STR("hnsw")));
    CHECK(fabs(row.cpu_time_ms - 1) < 1e-9);
    CHECK_OK(ak_perf_reader_next(reader, &row, &step, &err));
    CHECK_INT(step, AK_PERF_END);
    CHECK_INT(ak_str_eq(ak_perf_reader_missing(reader), AK_STR("")), 1);
    ak_perf_reader_close(reader);
    finish(log);
}

TEST(query_log, names_that_would_break_a_table_come_back_as_they_are)
{
    static const char *const names[] = {"a,b", "\"",  "=1+1",  "+x", "-x", "@x",       "'x",
                                        "'=x", " x ", "ä\"ö,", "'",  "=",  "x\"\"y,,z"};
    start();
    struct ak_query_log *log = open_log((struct ak_query_log_options){0});
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct ak_query_shape shape = {.table = ak_str_of(names[i])};
        put(log, &shape, NOON + (int64_t)i);
    }
    ak_query_log_drain(log);
    struct ak_buf text = read_file("query_perf_daily_20261027.csv");
    CHECK(!strstr(text.p, ",=1+1"));
    CHECK(!strstr(text.p, ",\"=1+1"));
    ak_buf_release(&text);
    struct ak_perf_reader *reader = NULL;
    struct ak_perf_query row;
    enum ak_perf_step step;
    CHECK_OK(
        ak_perf_reader_open(quickfs(), path_of("query_perf_daily_20261027.csv"), &reader, &err));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        CHECK_OK(ak_perf_reader_next(reader, &row, &step, &err));
        CHECK_INT(step, AK_PERF_ROW);
        CHECK_INT(row.table_name.len, strlen(names[i]));
        CHECK(ak_str_eq(row.table_name, ak_str_of(names[i])));
    }
    ak_perf_reader_close(reader);
    finish(log);
}

/* --- Shapes --- */

static uint64_t hash_of(const char *filter, uint32_t k, uint32_t ef)
{
    struct ak_arena arena;
    struct ak_query_shape shape = {.table = AK_STR("docs"), .k = k, .ef = ef};
    ak_arena_init(&arena, 0);
    if (filter) {
        CHECK_OK(ak_filter_parse(ak_str_of(filter), &arena, &shape.filter, &err));
    }
    uint64_t hash = ak_query_shape_hash(&shape);
    ak_arena_release(&arena);
    return hash;
}

TEST(query_log, a_hash_is_of_the_shape_and_not_of_values_and_order)
{
    uint64_t one = hash_of("{\"must\":[{\"key\":\"lang\",\"match\":\"en\"},"
                           "{\"key\":\"year\",\"range\":{\"gte\":2020}}]}",
                           10, 0);
    CHECK(one == hash_of("{\"must\":[{\"key\":\"year\",\"range\":{\"gte\":1}},"
                         "{\"key\":\"lang\",\"match\":7}]}",
                         12, 0));
    CHECK(one != hash_of("{\"must\":[{\"key\":\"lang\",\"match\":\"en\"},"
                         "{\"key\":\"year\",\"range\":{\"gt\":2020}}]}",
                         10, 0));
    CHECK(one != hash_of("{\"must\":[{\"key\":\"lang\",\"match\":\"en\"}],"
                         "\"must_not\":[{\"key\":\"year\",\"range\":{\"gte\":2020}}]}",
                         10, 0));
    CHECK(one != hash_of("{\"must\":[{\"key\":\"lang\",\"match\":\"en\"}]}", 10, 0));
    CHECK(hash_of("{\"must\":[{\"key\":\"a\",\"exists\":true}]}", 10, 0) !=
          hash_of("{\"must\":[{\"key\":\"a\",\"exists\":false}]}", 10, 0));
    CHECK(hash_of("{\"must\":[{\"key\":\"a\",\"match\":[1,2,3]}]}", 10, 0) ==
          hash_of("{\"must\":[{\"key\":\"a\",\"match\":[1,2,3,4]}]}", 10, 0));
    CHECK(hash_of(NULL, 10, 0) == hash_of(NULL, 16, 0));
    CHECK(hash_of(NULL, 10, 0) != hash_of(NULL, 17, 0));
    CHECK(hash_of(NULL, 10, 64) != hash_of(NULL, 10, 65));
}

TEST(query_log, recall_targets_are_shapes_of_their_own_unless_ef_or_exact_makes_them_void)
{
    struct ak_query_shape shape = search;
    const uint64_t none = ak_query_shape_hash(&shape);
    struct ak_buf line;
    ak_buf_init(&line, 0);
    shape.recall = 0.95;
    const uint64_t some = ak_query_shape_hash(&shape);
    ak_query_shape_put(&shape, 1, &line);
    CHECK(strstr(ak_buf_cstr(&line), ",\"k\":16,\"recall\":0.95}\n"));
    shape.recall = 0.9502; /* a thousandth makes the difference */
    CHECK(ak_query_shape_hash(&shape) == some);
    shape.recall = 0.99;
    CHECK(ak_query_shape_hash(&shape) != some && ak_query_shape_hash(&shape) != none);
    shape.recall = 1e-9; /* asked for all the same */
    CHECK(ak_query_shape_hash(&shape) != none);
    shape.recall = 0.95;
    shape.ef = 96;
    const uint64_t with_ef = ak_query_shape_hash(&shape);
    ak_buf_clear(&line);
    ak_query_shape_put(&shape, 1, &line);
    CHECK(!strstr(ak_buf_cstr(&line), "recall"));
    shape.recall = 0;
    CHECK(ak_query_shape_hash(&shape) == with_ef);
    shape.ef = 0;
    shape.exact = true;
    const uint64_t exact = ak_query_shape_hash(&shape);
    shape.recall = 0.95;
    CHECK(ak_query_shape_hash(&shape) == exact);
    ak_buf_release(&line);
}

TEST(query_log, every_type_and_index_has_a_name_of_its_own)
{
    for (int i = 0; i < AK_QUERY_TYPE_COUNT; i++) {
        for (int j = 0; j < i; j++) {
            CHECK(strcmp(ak_query_type_name((enum ak_query_type)i),
                         ak_query_type_name((enum ak_query_type)j)) != 0);
        }
    }
    for (int i = 0; i < AK_QUERY_INDEX_COUNT; i++) {
        for (int j = 0; j < i; j++) {
            CHECK(strcmp(ak_query_index_name((enum ak_query_index)i),
                         ak_query_index_name((enum ak_query_index)j)) != 0);
        }
    }
}

TEST(query_log, what_is_not_known_of_a_query_is_left_empty)
{
    start();
    struct ak_query_log *log = open_log((struct ak_query_log_options){0});
    const struct ak_query_shape shape = {
        .table = AK_STR("docs"), .type = AK_QUERY_RESTORE, .items = 1000};
    const struct ak_query_entry entry = {.began_us = NOON,
                                         .duration_ns = 2000000000,
                                         .cpu_ns = -1,
                                         .wait_ns = -1,
                                         .examined = 1000,
                                         .returned = 1000,
                                         .index = AK_QUERY_REBUILD,
                                         .no_cache_hit = true};
    ak_query_log_put(log, &shape, &entry);
    ak_query_log_drain(log);
    struct ak_buf text = read_file("query_perf_daily_20261027.csv");
    CHECK(strstr(text.p, ",RESTORE,2000,1000,1000,,docs,rebuild,,\n"));
    ak_buf_release(&text);
    finish(log);
}

TEST(query_log, a_shape_is_written_once_also_across_starts)
{
    start();
    struct ak_query_log *log = open_log((struct ak_query_log_options){0});
    struct ak_query_shape other = search;
    other.ef = 96;
    for (int i = 0; i < 10; i++) {
        put(log, &search, NOON);
        put(log, &other, NOON);
        ak_query_log_drain(log);
    }
    ak_query_log_close(log);
    log = open_log((struct ak_query_log_options){0});
    put(log, &search, NOON);
    ak_query_log_drain(log);
    struct ak_buf text = read_file(AK_QUERY_SHAPES_FILE);
    char want[256];
    (void)snprintf(want, sizeof want,
                   "{\"query_hash\":\"%016llx\",\"table\":\"docs\",\"query_type\":\"SEARCH\","
                   "\"k\":16}\n{\"query_hash\":\"%016llx\",\"table\":\"docs\",\"query_type\":"
                   "\"SEARCH\",\"k\":16,\"ef\":96}\n",
                   (unsigned long long)ak_query_shape_hash(&search),
                   (unsigned long long)ak_query_shape_hash(&other));
    CHECK_STR(text.p, want);
    ak_buf_release(&text);
    finish(log);
}

static void put_new_shapes(struct ak_query_log *log, unsigned from, unsigned count, uint64_t *most)
{
    for (unsigned i = from; i < from + count; i++) {
        char name[AK_NAME_MAX];
        (void)snprintf(name, sizeof name, "%0240u", i);
        const struct ak_query_shape shape = {.table = ak_str_of(name)};
        put(log, &shape, ak_now_us(&manual.clock));
        if (i % 500 == 499) {
            uint64_t size = 0;
            ak_query_log_drain(log);
            CHECK_OK(ak_fs_stat(quickfs(), path_of(AK_QUERY_SHAPES_FILE), &size, &err));
            *most = size > *most ? size : *most;
        }
    }
}

/* As many small collections have, day after day. */
TEST(query_log, shapes_without_end_begin_the_file_anew_once_a_day)
{
    uint64_t most = 0;
    uint64_t size = 0;
    start();
    struct ak_query_log *log = open_log((struct ak_query_log_options){0});
    put_new_shapes(log, 0, 32000, &most);
    CHECK(most > (uint64_t)3 << 20 && most <= (uint64_t)4 << 20);
    CHECK_OK(ak_fs_stat(quickfs(), path_of(AK_QUERY_SHAPES_FILE), &size, &err));
    CHECK(size > (uint64_t)3 << 20); /* full a second time, and left as it is */
    ak_manual_clock_advance(&manual, DAY_US);
    ak_query_log_drain(log);
    put_new_shapes(log, 32000, 1000, &most);
    CHECK_OK(ak_fs_stat(quickfs(), path_of(AK_QUERY_SHAPES_FILE), &size, &err));
    CHECK(size < (uint64_t)1 << 20);
    finish(log);
}

/* --- Files --- */

TEST(query_log, rows_around_midnight_lie_in_the_file_of_their_day)
{
    int64_t last = 0;
    start();
    struct ak_query_log *log = open_log((struct ak_query_log_options){0});
    const int64_t midnight = NOON + DAY_US / 2;
    for (int i = 0; i < 10; i++) { /* mixed, as threads put them */
        put(log, &search, midnight + (i % 2 ? i : -i - 1));
    }
    ak_manual_clock_advance(&manual, DAY_US / 2);
    ak_query_log_drain(log);
    CHECK_INT(rows_of("query_perf_daily_20261027.csv", &last), 5);
    CHECK(last < midnight);
    CHECK_INT(rows_of("query_perf_daily_20261028.csv", &last), 5);
    CHECK(last >= midnight);
    CHECK_INT(rows_of("query_perf_weekly_" MONDAY ".csv", NULL), 10);
    put(log, &search, NOON + 6 * DAY_US); /* the Monday after */
    ak_query_log_drain(log);
    CHECK_INT(rows_of("query_perf_weekly_202645.csv", NULL), 1);
    CHECK_INT(written(), 11);
    finish(log);
}

TEST(query_log, a_clock_that_jumps_back_over_midnight_loses_no_row)
{
    int64_t last = 0;
    const int64_t midnight = NOON + DAY_US / 2;
    start();
    struct ak_query_log *log = open_log((struct ak_query_log_options){.retention_us = 2 * DAY_US});
    for (int i = 0; i < 6; i++) { /* to and fro, each time with a pass */
        ak_manual_clock_init(&manual, midnight + (i % 2 ? -1000000 : 1000000));
        put(log, &search, ak_now_us(&manual.clock) + i);
        ak_query_log_drain(log);
    }
    CHECK_INT(rows_of("query_perf_daily_20261027.csv", &last), 3);
    CHECK(last < midnight);
    CHECK_INT(rows_of("query_perf_daily_20261028.csv", &last), 3);
    CHECK(last >= midnight);
    CHECK_INT(written(), 6);
    CHECK_INT(dropped("write") + dropped("size"), 0);
    finish(log);
}

TEST(query_log, what_is_no_file_is_not_written_to)
{
    start();
    CHECK(mkfifo(path_of("query_perf_daily_20261027.csv"), 0600) == 0);
    struct ak_query_log *log = open_log((struct ak_query_log_options){0});
    put(log, &search, NOON);
    ak_query_log_drain(log); /* a pipe that nobody reads would be waited for */
    CHECK_INT(dropped("write"), 1);
    finish(log);
}

TEST(query_log, a_torn_last_line_is_cut_and_a_file_with_other_columns_is_put_aside)
{
    start();
    struct ak_query_log *log = open_log((struct ak_query_log_options){0});
    put(log, &search, NOON);
    ak_query_log_close(log);
    struct ak_buf text = read_file("query_perf_daily_20261027.csv");
    size_t whole = text.len;
    ak_buf_add_str(&text, AK_STR("2026-10-27T12:00:00.000000Z,abc,SEA"));
    write_file("query_perf_daily_20261027.csv", ak_buf_cstr(&text));
    write_file("query_perf_weekly_" MONDAY ".csv", "timestamp,whatever\n2026-10-27T12:00:00Z,1\n");
    log = open_log((struct ak_query_log_options){0});
    put(log, &search, NOON);
    ak_query_log_drain(log);
    CHECK_INT(rows_of("query_perf_daily_20261027.csv", NULL), 2);
    struct ak_buf again = read_file("query_perf_daily_20261027.csv");
    CHECK(again.len > whole && memcmp(again.p, text.p, whole) == 0);
    CHECK_INT(rows_of("query_perf_weekly_" MONDAY ".csv", NULL), 1);
    CHECK(exists("query_perf_weekly_" MONDAY ".csv.old"));
    ak_buf_release(&text);
    ak_buf_release(&again);
    finish(log);
}

TEST(query_log, a_file_without_a_whole_line_is_begun_anew)
{
    start();
    write_file("query_perf_daily_20261027.csv", "timest");
    struct ak_query_log *log = open_log((struct ak_query_log_options){0});
    put(log, &search, NOON);
    ak_query_log_drain(log);
    CHECK_INT(rows_of("query_perf_daily_20261027.csv", NULL), 1);
    finish(log);
}

TEST(query_log, old_files_go_and_what_is_not_ours_stays)
{
    start();
    write_file("query_perf_daily_20261019.csv", "x\n");
    write_file("query_perf_daily_20261020.csv", "x\n");
    write_file("query_perf_weekly_202640.csv", "x\n"); /* to October the 4th */
    write_file("query_perf_weekly_202641.csv", "x\n");
    write_file("query_perf_daily_2026.csv", "x\n");
    write_file("notes.txt", "x\n");
    struct ak_query_log *log = open_log((struct ak_query_log_options){
        .retention_us = 7 * DAY_US, .weekly_retention_us = 20 * DAY_US});
    ak_query_log_drain(log);
    CHECK(!exists("query_perf_daily_20261019.csv"));
    CHECK(exists("query_perf_daily_20261020.csv"));
    CHECK(!exists("query_perf_weekly_202640.csv"));
    CHECK(exists("query_perf_weekly_202641.csv"));
    CHECK(exists("query_perf_daily_2026.csv"));
    CHECK(exists("notes.txt"));
    ak_manual_clock_advance(&manual, DAY_US);
    ak_query_log_drain(log);
    CHECK(!exists("query_perf_daily_20261020.csv"));
    finish(log);
}

/* --- Bounds --- */

TEST(query_log, a_full_ring_drops_and_counts)
{
    start();
    struct ak_query_log *log = open_log((struct ak_query_log_options){0});
    for (unsigned i = 0; i < AK_QUERY_LOG_RING + 100; i++) {
        put(log, &search, NOON + i);
    }
    CHECK_INT(dropped("ring"), 100);
    ak_query_log_drain(log);
    CHECK_INT(written(), AK_QUERY_LOG_RING);
    put(log, &search, NOON);
    ak_query_log_drain(log);
    CHECK_INT(written(), AK_QUERY_LOG_RING + 1);
    finish(log);
}

/* A day of ten queries a second into a file for about 500 rows. */
TEST(query_log, rows_that_come_too_fast_are_thinned_to_the_size_of_the_file)
{
    start();
    ak_manual_clock_advance(&manual, DAY_US / 2); /* midnight */
    const uint64_t max = 64 << 10;
    struct ak_query_log *log = open_log((struct ak_query_log_options){.file_bytes_max = max});
    uint64_t wanted = 0;
    uint64_t late = 0;
    for (int minute = 0; minute < 24 * 60 - 1; minute++) {
        for (int i = 0; i < 600; i++) {
            if (ak_query_log_wants(log)) {
                put(log, &search, ak_now_us(&manual.clock));
                wanted++;
                late += minute >= 18 * 60;
            }
        }
        ak_manual_clock_advance(&manual, 60000000);
        ak_query_log_drain(log);
    }
    struct ak_buf text = read_file("query_perf_daily_20261028.csv");
    CHECK(text.len <= max);
    CHECK(text.len > max / 2);
    CHECK(late > 0); /* the evening is there as well */
    CHECK_INT(written() + dropped("size") + dropped("ring"), wanted);
    CHECK(dropped("size") < wanted / 4);
    struct ak_series *share = ak_metrics_series(metrics, AK_METRIC_QUERY_LOG_SHARE, NULL, 0);
    CHECK(ak_series_value(share) < 0.01);
    ak_buf_release(&text);
    finish(log);
}

TEST(query_log, one_query_in_so_many_is_wanted)
{
    start();
    struct ak_query_log *log = open_log((struct ak_query_log_options){.sample_every = 10});
    unsigned wanted = 0;
    for (int i = 0; i < 100000; i++) {
        wanted += ak_query_log_wants(log);
    }
    CHECK(wanted > 9000 && wanted < 11000);
    CHECK(!ak_query_log_wants(NULL));
    finish(log);
}

/* --- Failures --- */

TEST(query_log, whatever_fails_on_the_disk_costs_rows_and_nothing_else)
{
    static const unsigned ops[] = {AK_FS_WRITE, AK_FS_OPEN,   AK_FS_RENAME,
                                   AK_FS_READ,  AK_FS_REMOVE, AK_FS_SYNC_DIR};
    for (size_t op = 0; op < sizeof ops / sizeof ops[0]; op++) {
        bool fired = true;
        for (int64_t nth = 0; fired; nth++) {
            char dir[4096];
            (void)snprintf(dir, sizeof dir, "%s/%zu-%lld", ak_test_dir(), op, (long long)nth);
            start();
            struct ak_fs_fault *fault = ak_fs_fault_open(quickfs());
            struct ak_query_log *log =
                open_log((struct ak_query_log_options){.fs = ak_fs_fault_fs(fault), .dir = dir});
            put(log, &search, NOON);
            ak_fs_fault_set(fault, ops[op], nth, ENOSPC, false);
            ak_query_log_drain(log);
            ak_manual_clock_advance(&manual, 10000000);
            put(log, &search, NOON + 1);
            ak_query_log_drain(log);
            fired = ak_fs_fault_fired(fault);
            ak_fs_fault_set(fault, 0, -1, 0, false);
            ak_manual_clock_advance(&manual, 10000000);
            put(log, &search, NOON + 2);
            ak_query_log_drain(log);
            CHECK_INT(written() + dropped("write"), 3);
            CHECK(fired || written() == 3);
            ak_query_log_close(log);
            char path[5000];
            int64_t last = 0;
            (void)snprintf(path, sizeof path, "%zu-%lld/query_perf_daily_20261027.csv", op,
                           (long long)nth);
            CHECK_INT(rows_of(path, &last), written());
            CHECK_INT(last, NOON + 2); /* it goes on when the disk does */
            ak_fs_fault_close(fault);
            ak_metrics_close(metrics);
            metrics = NULL;
        }
    }
}

TEST(query_log, a_nearly_full_disk_is_left_alone)
{
    start();
    struct ak_query_log *log =
        open_log((struct ak_query_log_options){.free_bytes_min = UINT64_MAX});
    put(log, &search, NOON);
    ak_query_log_drain(log);
    CHECK_INT(dropped("write"), 1);
    CHECK(!exists("query_perf_daily_20261027.csv"));
    finish(log);
}

TEST(query_log, a_folder_that_cannot_be_made_is_no_reason_not_to_start)
{
    char dir[4096];
    start();
    write_file("file", "x");
    (void)snprintf(dir, sizeof dir, "%s/file/perf", ak_test_dir());
    struct ak_query_log *log = open_log((struct ak_query_log_options){.dir = dir});
    put(log, &search, NOON);
    ak_query_log_drain(log);
    CHECK_INT(dropped("write"), 1);
    CHECK_INT(written(), 0);
    finish(log);
}

/* --- Threads --- */

#define PUTTERS 4
#define PUTS 20000

static struct ak_query_log *shared;
static int64_t begin_us; /* of the putters' rows */

static void putter(void *arg)
{
    const struct ak_query_shape *shape = arg;
    for (int i = 0; i < PUTS; i++) {
        if (ak_query_log_wants(shared)) {
            put(shared, shape,
                begin_us + (i % 2 ? i : -i - 1)); /* mixed: the ring may drop the last */
        }
    }
}

static void put_from_many_threads(void)
{
    struct ak_thread threads[PUTTERS] = {0};
    struct ak_query_shape shapes[PUTTERS];
    char names[PUTTERS][8];
    start();
    struct ak_query_log_options options = {.fs = quickfs(),
                                           .dir = ak_test_dir(),
                                           .metrics = metrics,
                                           .clock = ak_clock_system(),
                                           .free_bytes_min = 1,
                                           .file_bytes_max = (uint64_t)1 << 30};
    CHECK_OK(ak_query_log_open(&options, &shared, &err));
    for (int i = 0; i < PUTTERS; i++) {
        (void)snprintf(names[i], sizeof names[i], "t%d", i);
        shapes[i] = (struct ak_query_shape){.table = ak_str_of(names[i])};
        CHECK_OK(ak_thread_start(&threads[i], "putter", putter, &shapes[i], &err));
    }
    for (int i = 0; i < PUTTERS; i++) {
        ak_thread_join(&threads[i]);
    }
    ak_query_log_close(shared);
    CHECK_INT(written() + dropped("ring") + dropped("size") + dropped("write"), PUTTERS * PUTS);
    uint64_t rows = 0;
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "query_perf_daily_20261028.csv" : "query_perf_daily_20261027.csv";
        rows += exists(name) ? rows_of(name, NULL) : 0;
    }
    CHECK_INT(rows, written());
    struct ak_buf text = read_file(AK_QUERY_SHAPES_FILE);
    for (int i = 0; i < PUTTERS; i++) {
        char want[32];
        (void)snprintf(want, sizeof want, "\"table\":\"t%d\"", i);
        CHECK(strstr(text.p, want));
    }
    ak_buf_release(&text);
    ak_metrics_close(metrics);
    metrics = NULL;
}

TEST(query_log, every_row_of_many_threads_is_written_or_counted)
{
    begin_us = NOON;
    put_from_many_threads();
    CHECK(!exists("query_perf_daily_20261028.csv"));
}

TEST(query_log, midnight_under_load_leaves_each_row_in_the_file_of_its_day)
{
    int64_t last = 0;
    const int64_t midnight = NOON + DAY_US / 2;
    begin_us = midnight;
    put_from_many_threads();
    CHECK(rows_of("query_perf_daily_20261027.csv", &last) > 0);
    CHECK(last < midnight);
    CHECK(rows_of("query_perf_daily_20261028.csv", &last) > 0);
    CHECK(last >= midnight);
}

/* --- Hourly figures and the summary --- */

TEST(query_log, an_hour_leaves_its_figures_behind)
{
    start();
    struct ak_query_log *log = open_log((struct ak_query_log_options){0});
    ak_series_observe(ak_metrics_series(metrics, AK_METRIC_SEARCH_SECONDS, NULL, 0), 0.001);
    ak_series_add(ak_metrics_series(metrics, AK_METRIC_CHECKPOINT_BYTES, NULL, 0), 4096);
    put(log, &search, NOON);
    ak_query_log_drain(log);
    CHECK(!exists(AK_PERF_SUMMARY_FILE));
    ak_manual_clock_advance(&manual, INT64_C(3600000000));
    ak_query_log_drain(log);
    struct ak_buf text = read_file(AK_PERF_SUMMARY_FILE);
    CHECK_STR(text.p, "2026-10-27T13:00:00.000000Z queries searches=1\n"
                      "2026-10-27T13:00:00.000000Z query_log rows=1\n"
                      "2026-10-27T13:00:00.000000Z checkpoint bytes=4096\n");
    ak_buf_release(&text);
    finish(log);
}

TEST(summary, a_cut_line_is_closed_and_a_large_file_makes_room)
{
    write_file(AK_PERF_SUMMARY_FILE, "2026-10-27T13:00:00Z a x=1\n2026-10-27T13:00");
    CHECK_OK(ak_perf_summary_append(quickfs(), ak_test_dir(), AK_STR("b\n"), &err));
    struct ak_buf text = read_file(AK_PERF_SUMMARY_FILE);
    CHECK_STR(text.p, "2026-10-27T13:00:00Z a x=1\n2026-10-27T13:00\nb\n");
    ak_buf_release(&text);
    struct ak_file *file = NULL;
    CHECK_OK(ak_fs_open(quickfs(), path_of(AK_PERF_SUMMARY_FILE), AK_OPEN_WRITE, &file, &err));
    CHECK_OK(ak_file_truncate(file, AK_PERF_SUMMARY_MAX + 1, &err));
    ak_file_close(file);
    CHECK_OK(ak_perf_summary_append(quickfs(), ak_test_dir(), AK_STR("c\n"), &err));
    text = read_file(AK_PERF_SUMMARY_FILE);
    CHECK_STR(text.p, "c\n");
    CHECK(exists(AK_PERF_SUMMARY_OLD_FILE));
    ak_buf_release(&text);
}

TEST_MAIN()
