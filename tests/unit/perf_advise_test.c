/* The advisor's rules: what they propose, when they keep quiet, and that every proposal says what
 * it is based on. */
#include "base/mem.h"
#include "perf/advise.h"
#include "support/quickfs.h"
#include "support/test.h"

#define NOON INT64_C(1793102400000000)

static struct ak_err err;

static struct ak_advise_measured measured_of(uint32_t ef)
{
    return (struct ak_advise_measured){
        .table = AK_STR("docs"),
        .params = {.m = 16, .ef_construction = 200, .ef_search = 64},
        .dimension = 128,
        .documents = 100000,
        .k = 10,
        .ef = ef,
        .queries = 64,
        .exact_ms = 5,
        .points = {{16, 0.80, 0.01, 0.10},
                   {32, 0.90, 0.01, 0.15},
                   {64, 0.96, 0.005, 0.25},
                   {128, 0.985, 0.003, 0.45},
                   {256, 0.995, 0.001, 0.80}},
        .count = 5,
    };
}

static const struct ak_perf_recommendation *only(const struct ak_advice *advice)
{
    CHECK_INT(advice->count, 1);
    CHECK(advice->list[0].basis.len > 0);
    return &advice->list[0];
}

static bool notes_have(struct ak_advice *advice, const char *words)
{
    return strstr(ak_buf_cstr(&advice->notes), words);
}

TEST(advise, a_recall_that_is_too_low_gets_the_smallest_ef_that_is_enough)
{
    struct ak_advice advice;
    struct ak_advise_measured measured = measured_of(16);
    ak_advice_init(&advice);
    CHECK_INT(ak_advise_ef(&advice, &measured, 0.95), 64);
    const struct ak_perf_recommendation *one = only(&advice);
    CHECK(ak_str_eq(one->index, AK_STR("ef_search=64")));
    CHECK(ak_str_eq(one->priority, AK_STR("high")));
    CHECK(one->has_speedup && fabs(one->estimated_speedup - 0.4) < 1e-9); /* slower, and said so */
    ak_advice_release(&advice);
}

TEST(advise, more_recall_than_is_wanted_is_traded_for_time)
{
    struct ak_advice advice;
    struct ak_advise_measured measured = measured_of(256);
    ak_advice_init(&advice);
    CHECK_INT(ak_advise_ef(&advice, &measured, 0.98), 128);
    CHECK(fabs(only(&advice)->estimated_speedup - 1.778) < 1e-9);
    CHECK(ak_str_eq(only(&advice)->priority, AK_STR("medium")));
    ak_advice_release(&advice);
}

TEST(advise, what_fits_is_left_and_what_is_within_the_noise_too)
{
    struct ak_advice advice;
    struct ak_advise_measured measured = measured_of(64);
    ak_advice_init(&advice);
    CHECK_INT(ak_advise_ef(&advice, &measured, 0.95), 64);
    CHECK_INT(advice.count, 0);
    CHECK(notes_have(&advice, "ef 64 fits"));
    CHECK_INT(ak_advise_ef(&advice, &measured, 0.962), 128); /* 0.96 ± 0.005 is not surely less */
    CHECK_INT(advice.count, 0);
    ak_advice_release(&advice);
}

TEST(advise, an_ef_that_makes_no_difference_and_one_that_never_reaches_are_noted)
{
    struct ak_advice advice;
    struct ak_advise_measured measured = measured_of(64);
    ak_advice_init(&advice);
    CHECK_INT(ak_advise_ef(&advice, &measured, 0.999), 0);
    CHECK(notes_have(&advice, "no ef up to 256 reaches recall 0.999"));
    for (size_t i = 0; i < measured.count; i++) {
        measured.points[i] =
            (struct ak_advise_point){.ef = measured.points[i].ef, .recall = 1, .median_ms = 0.02};
    }
    CHECK_INT(ak_advise_ef(&advice, &measured, 0.95), 0);
    CHECK(notes_have(&advice, "makes no difference"));
    CHECK_INT(advice.count, 0);
    ak_advice_release(&advice);
}

TEST(advise, a_trial_that_was_faster_is_proposed_with_what_it_costs)
{
    struct ak_advice advice;
    struct ak_advise_measured measured = measured_of(64);
    const struct ak_advise_trial trials[] = {
        {.params = {.m = 16}, .ef = 64, .recall = 0.96, .median_ms = 0.2, .build_s = 1},
        {.params = {.m = 32}, .ef = 32, .recall = 0.97, .median_ms = 0.1, .build_s = 2},
        {.params = {.m = 16, .quantization = AK_QUANTIZATION_U8}, .ef = 64, .median_ms = 0.19},
    };
    ak_advice_init(&advice);
    ak_advise_trials(&advice, &measured, trials, 3, 5000, 0.95);
    const struct ak_perf_recommendation *one = only(&advice);
    CHECK(ak_str_eq(one->index, AK_STR("m=32")));
    CHECK(fabs(one->estimated_speedup - 2) < 1e-9);
    CHECK(one->has_cost && fabs(one->estimated_cost - 2.0 * 16 * 4 * 100000) < 1);
    CHECK(notes_have(&advice, "no gain in a trial"));
    ak_advice_release(&advice);
}

TEST(advise, no_speedup_is_made_up_where_the_present_parameters_do_not_reach)
{
    struct ak_advice advice;
    struct ak_advise_measured measured = measured_of(64);
    struct ak_advise_trial trials[] = {
        {.params = {.m = 16}, .recall = 0.91},
        {.params = {.m = 32}, .ef = 128, .recall = 0.96, .median_ms = 0.3},
    };
    ak_advice_init(&advice);
    ak_advise_trials(&advice, &measured, trials, 2, 5000, 0.95);
    CHECK(!only(&advice)->has_speedup);
    CHECK(ak_str_eq(only(&advice)->priority, AK_STR("high")));
    ak_advice_release(&advice);
    ak_advice_init(&advice);
    trials[0].was_exact = true;
    ak_advise_trials(&advice, &measured, trials, 2, 500, 0.95);
    CHECK_INT(advice.count, 0);
    CHECK(notes_have(&advice, "without a graph"));
    ak_advice_release(&advice);
}

/* --- From the log --- */

static const char shapes_text[] =
    "{\"query_hash\":\"a\",\"table\":\"docs\",\"query_type\":\"SEARCH\",\"k\":16}\n"
    "{\"query_hash\":\"b\",\"table\":\"docs\",\"query_type\":\"SEARCH\",\"k\":16,\"ef\":96,"
    "\"filter\":{\"must\":[{\"key\":\"lang\",\"match\":1},{\"key\":\"year\",\"exists\":true}]}}\n"
    "{\"query_hash\":\"c\",\"table\":\"docs\",\"query_type\":\"SEARCH\",\"k\":16,"
    "\"filter\":{\"must\":[{\"key\":\"year\",\"exists\":true}]}}\n"
    "{\"query_hash\":\"d\",\"table\":\"docs\",\"query_type\":\"SEARCH\",\"k\":8,\"recall\":0.99}\n";

static void load_shapes(struct ak_perf_shapes *shapes)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/query_shapes.ndjson", ak_test_dir());
    CHECK_OK(ak_fs_write_atomic(quickfs(), path, ak_str_of(shapes_text), &err));
    CHECK_OK(ak_perf_shapes_load(shapes, quickfs(), ak_test_dir(), &err));
    CHECK_INT(shapes->count, 4);
}

static void add_rows(struct ak_perf_stats *stats, const char *hash, int count, double ms,
                     int64_t examined)
{
    for (int i = 0; i < count; i++) {
        const struct ak_perf_query row = {.has = AK_PERF_HAS_ALL,
                                          .timestamp = NOON,
                                          .query_hash = ak_str_of(hash),
                                          .query_type = AK_STR("SEARCH"),
                                          .execution_time_ms = ms,
                                          .rows_examined = examined,
                                          .rows_returned = 10,
                                          .table_name = AK_STR("docs"),
                                          .index_used = AK_STR("hnsw")};
        CHECK_OK(ak_perf_stats_add(stats, &row, &err));
    }
}

TEST(advise, filter_keys_that_cost_much_are_named_and_few_queries_are_not_enough)
{
    struct ak_advice advice;
    struct ak_perf_shapes shapes;
    struct ak_perf_stats *stats = ak_perf_stats_open(0);
    ak_advice_init(&advice);
    load_shapes(&shapes);
    add_rows(stats, "a", 100, 1, 100);
    add_rows(stats, "b", 19, 4, 100);
    ak_advise_keys(&advice, stats, &shapes);
    CHECK_INT(advice.count, 0);
    add_rows(stats, "b", 1, 4, 100);
    ak_advise_keys(&advice, stats, &shapes);
    CHECK_INT(advice.count, 2);
    CHECK(ak_str_eq(advice.list[0].index, AK_STR("metadata:lang")) ||
          ak_str_eq(advice.list[1].index, AK_STR("metadata:lang")));
    CHECK(advice.list[0].has_speedup && fabs(advice.list[0].estimated_speedup - 4) < 0.4);
    CHECK(advice.list[0].basis.len > 0 && advice.list[0].query_pattern.len > 0);
    ak_advice_release(&advice);
    ak_perf_stats_close(stats);
    ak_perf_shapes_release(&shapes);
}

TEST(advise, without_unfiltered_searches_a_wasteful_filter_gets_no_speedup)
{
    struct ak_advice advice;
    struct ak_perf_shapes shapes;
    struct ak_perf_stats *stats = ak_perf_stats_open(0);
    ak_advice_init(&advice);
    load_shapes(&shapes);
    add_rows(stats, "c", 30, 4, 5000);
    ak_advise_keys(&advice, stats, &shapes);
    CHECK(ak_str_eq(only(&advice)->index, AK_STR("metadata:year")));
    CHECK(!only(&advice)->has_speedup);
    ak_advice_release(&advice);
    ak_perf_stats_close(stats);
    ak_perf_shapes_release(&shapes);
}

TEST(advise, the_habit_of_a_collection_is_what_most_searches_ask_for)
{
    struct ak_perf_shapes shapes;
    struct ak_advise_habit habit;
    struct ak_perf_stats *stats = ak_perf_stats_open(0);
    load_shapes(&shapes);
    add_rows(stats, "a", 10, 1, 100);
    add_rows(stats, "b", 30, 1, 100);
    ak_advise_habit(stats, &shapes, AK_STR("docs"), &habit);
    CHECK_INT(habit.searches, 40);
    CHECK_INT(habit.k, 16);
    CHECK_INT(habit.ef, 96);
    CHECK_INT(habit.ef_searches, 30);
    ak_advise_habit(stats, &shapes, AK_STR("other"), &habit);
    CHECK_INT(habit.searches, 0);
    CHECK_INT(habit.k, 0);
    ak_perf_stats_close(stats);
    ak_perf_shapes_release(&shapes);
}

TEST(advise, searches_that_ask_for_a_recall_say_nothing_of_ef)
{
    struct ak_advice advice;
    struct ak_perf_shapes shapes;
    struct ak_advise_habit habit;
    struct ak_perf_stats *stats = ak_perf_stats_open(0);
    struct ak_advise_measured measured = measured_of(256);
    ak_advice_init(&advice);
    load_shapes(&shapes);
    add_rows(stats, "d", 50, 1, 100);
    ak_advise_habit(stats, &shapes, AK_STR("docs"), &habit);
    CHECK_INT(habit.recall_searches, 50);
    CHECK_INT(habit.k, 8);
    CHECK_INT(habit.ef, 0);
    measured.searches = habit.searches;
    measured.recall_searches = habit.recall_searches;
    CHECK_INT(ak_advise_ef(&advice, &measured, 0.98), 128);
    CHECK_INT(advice.count, 0);
    CHECK(notes_have(&advice, "all 50 searches in the log ask for a recall"));
    add_rows(stats, "b", 30, 1, 100);
    ak_advise_habit(stats, &shapes, AK_STR("docs"), &habit);
    CHECK_INT(habit.recall_searches, 50);
    CHECK_INT(habit.ef, 96);
    measured.searches = habit.searches;
    (void)ak_advise_ef(&advice, &measured, 0.98);
    CHECK(ak_str_eq(only(&advice)->index, AK_STR("ef_search=128")));
    CHECK(strstr(ak_buf_cstr(&advice.text), "50 of 80 searches in the log ask for a recall"));
    ak_advice_release(&advice);
    ak_perf_stats_close(stats);
    ak_perf_shapes_release(&shapes);
}

/* --- Statuses --- */

static bool is_m32(void *ctx, const struct ak_perf_recommendation *one)
{
    (void)ctx;
    return ak_str_eq(one->index, AK_STR("m=32"));
}

TEST(advise, statuses_are_carried_over_from_the_report_before)
{
    struct ak_advice advice;
    const struct ak_perf_recommendation now[] = {
        {.table = AK_STR("docs"), .index = AK_STR("ef_search=64"), .basis = AK_STR("x")},
        {.table = AK_STR("docs"), .index = AK_STR("metadata:lang"), .basis = AK_STR("x")}};
    const struct ak_perf_recommendation before[] = {
        {.table = AK_STR("docs"), .index = AK_STR("metadata:lang"), .status = AK_STR("dismissed")},
        {.table = AK_STR("docs"), .index = AK_STR("m=32"), .status = AK_STR("proposed")},
        {.table = AK_STR("docs"), .index = AK_STR("m=64"), .status = AK_STR("proposed")}};
    const struct ak_perf_report report = {.recommendations = before, .count = 3};
    ak_advice_init(&advice);
    ak_advice_add(&advice, &now[0]);
    ak_advice_add(&advice, &now[1]);
    CHECK_INT(ak_advise_carry_over(&advice, &report, is_m32, NULL), 1);
    CHECK_INT(advice.count, 3);
    CHECK(ak_str_eq(advice.list[0].status, AK_STR("proposed")));
    CHECK(ak_str_eq(advice.list[1].status, AK_STR("dismissed")));
    CHECK(ak_str_eq(advice.list[2].index, AK_STR("m=32")));
    CHECK(ak_str_eq(advice.list[2].status, AK_STR("applied")));
    ak_advice_release(&advice);
}

TEST_MAIN()
