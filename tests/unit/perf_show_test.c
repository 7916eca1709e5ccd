/* Adding the query log up: against sums made by hand, from CSV and week alike. */
#include "base/fault.h"
#include "base/mem.h"
#include "base/rand.h"
#include "perf/query_log.h"
#include "perf/show.h"
#include "support/quickfs.h"
#include "support/test.h"
#include <stdlib.h>

#define DAY_US INT64_C(86400000000)
#define NOON INT64_C(1793102400000000) /* 2026-10-27T12:00:00Z, a Tuesday */
#define DAY 20753                      /* 2026-10-27 */

static struct ak_err err;

static struct ak_perf_query row_of(const char *hash, const char *table, int64_t at, double ms)
{
    return (struct ak_perf_query){.has = AK_PERF_HAS_ALL,
                                  .cache_hit = true,
                                  .timestamp = at,
                                  .query_hash = ak_str_of(hash),
                                  .query_type = AK_STR("SEARCH"),
                                  .execution_time_ms = ms,
                                  .rows_examined = 100,
                                  .rows_returned = 10,
                                  .table_name = ak_str_of(table),
                                  .index_used = AK_STR("hnsw"),
                                  .cpu_time_ms = ms / 2,
                                  .io_wait_ms = 0};
}

static void add(struct ak_perf_stats *stats, struct ak_perf_query row)
{
    CHECK_OK(ak_perf_stats_add(stats, &row, &err));
}

static void write_log(const char *name, const struct ak_perf_query *rows, size_t count,
                      const char *more)
{
    struct ak_buf text;
    char path[4096];
    ak_buf_init(&text, 0);
    ak_perf_put_query_header(&text);
    for (size_t i = 0; i < count; i++) {
        ak_perf_put_query(&text, &rows[i]);
    }
    ak_buf_add_str(&text, ak_str_of(more));
    (void)snprintf(path, sizeof path, "%s/%s", ak_test_dir(), name);
    CHECK_OK(ak_fs_write_atomic(quickfs(), path, ak_buf_str(&text), &err));
    ak_buf_release(&text);
}

static enum ak_rc add_row(void *ctx, const struct ak_perf_query *row, struct ak_err *out)
{
    return ak_perf_stats_add(ctx, row, out);
}

TEST(perf_stats, groups_add_up_what_they_were_given)
{
    struct ak_perf_stats *stats = ak_perf_stats_open(3);
    const struct ak_perf_group **list = NULL;
    size_t count = 0;
    add(stats, row_of("a", "docs", NOON, 4));
    add(stats, row_of("a", "docs", NOON + 1, 8));
    add(stats, row_of("b", "docs", NOON + DAY_US, 2));
    struct ak_perf_query miss = row_of("c", "other", NOON - 7 * DAY_US, 100);
    miss.cache_hit = false;
    miss.has &= ~AK_PERF_HAS(rows_examined);
    add(stats, miss);
    struct ak_perf_query without = row_of("d", "docs", NOON, 1);
    without.has &= ~AK_PERF_HAS(execution_time_ms);
    add(stats, without);
    CHECK_INT(ak_perf_stats_rows(stats), 4);

    ak_perf_stats_list(stats, AK_PERF_BY_SHAPE, AK_PERF_MOST_TIME, &list, &count);
    CHECK_INT(count, 3);
    CHECK(ak_str_eq(list[0]->hash, AK_STR("c")));
    CHECK_INT(list[0]->examined, 0);
    CHECK(ak_perf_hit_ratio(list[0]) == 0);
    CHECK(ak_str_eq(list[1]->hash, AK_STR("a")));
    CHECK_INT(list[1]->rows, 2);
    CHECK(list[1]->total_ms == 12 && list[1]->max_ms == 8 && list[1]->cpu_ms == 6);
    CHECK_INT(list[1]->examined, 200);
    CHECK_INT(list[1]->returned, 20);
    CHECK(ak_perf_hit_ratio(list[1]) == 1);
    ak_free(list);

    ak_perf_stats_list(stats, AK_PERF_BY_TABLE_DAY, AK_PERF_IN_TIME, &list, &count);
    CHECK_INT(count, 3);
    CHECK(ak_str_eq(list[0]->table, AK_STR("docs")) && list[0]->day == DAY);
    CHECK(ak_str_eq(list[1]->table, AK_STR("docs")) && list[1]->day == DAY + 1);
    CHECK(ak_str_eq(list[2]->table, AK_STR("other")) && list[2]->day == DAY - 7);
    ak_free(list);

    ak_perf_stats_list(stats, AK_PERF_BY_WEEK, AK_PERF_IN_TIME, &list, &count);
    CHECK_INT(count, 2);
    CHECK_INT(list[0]->day, DAY - 8);
    CHECK_INT(list[1]->day, DAY - 1);
    CHECK_INT(list[1]->rows, 3);
    ak_free(list);

    struct ak_perf_slow slow[3];
    CHECK_INT(ak_perf_stats_slow(stats, slow), 3);
    CHECK(slow[0].execution_time_ms == 100 && slow[1].execution_time_ms == 8 &&
          slow[2].execution_time_ms == 4);
    CHECK(ak_str_eq(slow[0].table, AK_STR("other")) && !slow[0].cache_hit);
    ak_perf_stats_close(stats);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

TEST(perf_stats, quantiles_are_within_five_per_cent)
{
    enum { N = 20000 };
    struct ak_rand rand;
    struct ak_perf_stats *stats = ak_perf_stats_open(0);
    double *times = ak_alloc(N * sizeof *times);
    const struct ak_perf_group **list = NULL;
    size_t count = 0;
    ak_rand_seed(&rand, ak_test_seed());
    for (int i = 0; i < N; i++) {
        times[i] = exp(ak_rand_normal(&rand) * 2);
        add(stats, row_of("a", "docs", NOON, times[i]));
    }
    qsort(times, N, sizeof *times, by_value);
    ak_perf_stats_list(stats, AK_PERF_BY_TABLE, AK_PERF_MOST_TIME, &list, &count);
    static const double shares[] = {0.01, 0.5, 0.9, 0.95, 0.99, 0.999};
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        double want = times[(int)ceil(shares[i] * N) - 1];
        CHECK(fabs(ak_perf_quantile_ms(list[0], shares[i]) / want - 1) < 0.05);
    }
    CHECK(ak_perf_quantile_ms(list[0], 1) <= times[N - 1]);
    ak_free(list);
    ak_free(times);
    ak_perf_stats_close(stats);
}

TEST(perf_stats, more_groups_than_are_kept_fall_into_one_without_a_name)
{
    struct ak_perf_stats *stats = ak_perf_stats_open(0);
    const struct ak_perf_group **list = NULL;
    size_t count = 0;
    char hash[16];
    uint64_t others = 0;
    for (unsigned i = 0; i < AK_PERF_GROUPS_MAX + 50; i++) {
        (void)snprintf(hash, sizeof hash, "%u", i);
        add(stats, row_of(hash, "docs", NOON, 1));
    }
    add(stats, row_of("7", "docs", NOON, 1)); /* a known one stays apart */
    ak_perf_stats_list(stats, AK_PERF_BY_SHAPE, AK_PERF_MOST_TIME, &list, &count);
    CHECK_INT(count, AK_PERF_GROUPS_MAX + 1);
    for (size_t i = 0; i < count; i++) {
        others += list[i]->hash.len == 0 ? list[i]->rows : 0;
    }
    CHECK_INT(others, 50);
    ak_free(list);
    ak_perf_stats_close(stats);
}

TEST(perf_stats, want_of_memory_is_a_failure_and_no_leak)
{
    bool fired = true;
    for (int64_t nth = 0; fired; nth++) {
        struct ak_perf_stats *stats = ak_perf_stats_open(4);
        enum ak_rc rc = AK_OK;
        ak_fault_alloc_at(nth);
        for (int i = 0; rc == AK_OK && i < 100; i++) {
            char hash[16];
            (void)snprintf(hash, sizeof hash, "%d", i);
            struct ak_perf_query row = row_of(hash, hash, NOON + i * DAY_US, i);
            rc = ak_perf_stats_add(stats, &row, &err);
        }
        fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK(rc == AK_OK || rc == AK_NOMEM);
        CHECK(fired || ak_perf_stats_rows(stats) == 100);
        ak_perf_stats_close(stats);
    }
}

TEST(perf_folder, a_day_comes_from_its_own_log_else_from_the_week)
{
    struct ak_perf_stats *stats = ak_perf_stats_open(0);
    struct ak_perf_folder_counts counts;
    const struct ak_perf_query tuesday[] = {row_of("a", "docs", NOON, 1),
                                            row_of("a", "other", NOON, 1)};
    const struct ak_perf_query week[] = {row_of("a", "docs", NOON - DAY_US, 1),
                                         row_of("a", "docs", NOON, 1),
                                         row_of("a", "docs", NOON + DAY_US, 1)};
    write_log("query_perf_daily_20261027.csv", tuesday, 2, "2026-10-27T1x,broken\n");
    write_log("query_perf_weekly_202644.csv", week, 3, "");
    CHECK_OK(ak_perf_folder_read(quickfs(), ak_test_dir(), DAY - 7, DAY, AK_STR_NONE, add_row,
                                 stats, &counts, &err));
    CHECK_INT(counts.rows, 3); /* two of Tuesday's log, Monday from the week's */
    CHECK_INT(counts.bad, 1);
    CHECK_INT(counts.files, 2);
    CHECK_OK(ak_perf_folder_read(quickfs(), ak_test_dir(), DAY, DAY, AK_STR("other"), add_row,
                                 stats, &counts, &err));
    CHECK_INT(counts.rows, 1);
    CHECK_OK(ak_perf_folder_read(quickfs(), ak_test_dir(), DAY + 20, DAY + 30, AK_STR_NONE, add_row,
                                 stats, &counts, &err));
    CHECK_INT(counts.files, 0);
    CHECK_RC(AK_INVALID, ak_perf_folder_read(quickfs(), ak_test_dir(), 0, 99999, AK_STR_NONE,
                                             add_row, stats, &counts, &err));
    ak_perf_stats_close(stats);
}

TEST(perf_shapes, what_was_written_is_found_with_its_keys)
{
    struct ak_arena arena;
    struct ak_buf text;
    struct ak_perf_shapes shapes;
    char path[4096];
    char hash[32];
    ak_arena_init(&arena, 0);
    ak_buf_init(&text, 0);
    struct ak_query_shape shape = {.table = AK_STR("a\"b"), .k = 10, .ef = 96};
    CHECK_OK(ak_filter_parse(
        AK_STR("{\"must\":[{\"key\":\"lang\",\"match\":\"en\"},{\"should\":[{\"key\":\"a.b\","
               "\"range\":{\"gt\":1,\"lte\":2}},{\"key\":\"lang\",\"exists\":true}]}]}"),
        &arena, &shape.filter, &err));
    uint64_t number = ak_query_shape_hash(&shape);
    ak_query_shape_put(&shape, number, &text);
    ak_buf_add_str(&text, AK_STR("{\"query_hash\":\"broken\n{}\n"));
    (void)snprintf(path, sizeof path, "%s/%s", ak_test_dir(), AK_QUERY_SHAPES_FILE);
    CHECK_OK(ak_fs_write_atomic(quickfs(), path, ak_buf_str(&text), &err));
    CHECK_OK(ak_perf_shapes_load(&shapes, quickfs(), ak_test_dir(), &err));
    CHECK_INT(shapes.count, 1);
    (void)snprintf(hash, sizeof hash, "%016llx", (unsigned long long)number);
    const struct ak_perf_shape *found = ak_perf_shapes_find(&shapes, ak_str_of(hash));
    CHECK(found != NULL);
    CHECK(ak_str_eq(found->table, AK_STR("a\"b")));
    CHECK_INT(found->k, 16);
    CHECK_INT(found->ef, 96);
    CHECK_INT(found->key_count, 2);
    CHECK(ak_str_eq(found->keys[0], AK_STR("lang")) && ak_str_eq(found->keys[1], AK_STR("a.b")));
    CHECK(ak_str_eq(found->filter, AK_STR("{\"must\":[{\"key\":\"lang\",\"match\":1},{\"should\":["
                                          "{\"key\":\"a.b\",\"range\":[\"gt\",\"lte\"]},{\"key\":"
                                          "\"lang\",\"exists\":true}]}]}")));
    CHECK(!ak_perf_shapes_find(&shapes, AK_STR("no")));
    ak_buf_clear(&text);
    ak_perf_shape_put(found, &text);
    CHECK_STR(ak_buf_cstr(&text), "k≤16 ef=96 filter lang, a.b");
    ak_perf_shapes_release(&shapes);
    ak_buf_release(&text);
    ak_arena_release(&arena);
}

TEST_MAIN()
