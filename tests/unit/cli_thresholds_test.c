/* The advisor's thresholds, limits and pins: what a log of accesses makes it propose, with the
 * gain, and what it leaves alone. */
#include "cli/perf_advise.h"
#include "support/test.h"
#include <math.h>
#include <string.h>

#define HOUR_US INT64_C(3600000000)
#define BEGIN INT64_C(1793059200000000) /* 2026-10-27T00:00:00Z */
#define DIMENSION 256u

static struct ak_err err;

static const struct ak_advise_policy usual = {
    .rules = {.hot_idle_us = 6 * HOUR_US,
              .warm_idle_us = 7 * 24 * HOUR_US,
              .window_us = HOUR_US,
              .promote_accesses = 10,
              .lowest = AK_TIER_COLD},
};

static void visit(struct ak_advise_accesses *accesses, const char *table, int64_t hour, int count,
                  bool hit)
{
    for (int i = 0; i < count; i++) {
        const struct ak_perf_query row = {.has = AK_PERF_HAS_ALL,
                                          .timestamp = BEGIN + hour * HOUR_US + i,
                                          .query_type = AK_STR("SEARCH"),
                                          .table_name = ak_str_of(table),
                                          .execution_time_ms = hit ? 0.5 : 5,
                                          .cache_hit = hit};
        CHECK_OK(ak_advise_accesses_add(accesses, &row, &err));
    }
}

static struct ak_advise_collection collection(const char *name, uint64_t documents)
{
    return (struct ak_advise_collection){.name = ak_str_of(name),
                                         .dimension = DIMENSION,
                                         .params = {.m = 16},
                                         .documents = documents};
}

static const struct ak_perf_recommendation *find(const struct ak_advice *advice, const char *index)
{
    for (size_t i = 0; i < advice->count; i++) {
        if (ak_str_eq(advice->list[i].index, ak_str_of(index))) {
            return &advice->list[i];
        }
    }
    return NULL;
}

static bool names(const struct ak_advice *advice, const char *begin)
{
    for (size_t i = 0; i < advice->count; i++) {
        if (ak_str_has_prefix(advice->list[i].index, ak_str_of(begin))) {
            return true;
        }
    }
    return false;
}

static bool says(const struct ak_perf_recommendation *one, const char *words)
{
    char text[2048];
    (void)snprintf(text, sizeof text, "%.*s", AK_STR_ARG(one->basis));
    return strstr(text, words);
}

TEST(advise_thresholds, a_pause_just_longer_than_hot_idle_gets_a_longer_one_with_its_gain)
{
    struct ak_advice advice;
    struct ak_advise_accesses *accesses = ak_advise_accesses_open();
    const struct ak_advise_collection docs = collection("docs", 10000);
    ak_advice_init(&advice);
    for (int64_t hour = 0; hour < 14 * 24; hour += 8) {
        visit(accesses, "docs", hour, 20, hour == 8);
    }
    CHECK_OK(ak_advise_tiers(&advice, accesses, &usual, &docs, 1, &err));
    const struct ak_perf_recommendation *one = find(&advice, "tiering.hot_idle=12h");
    CHECK(one);
    CHECK(ak_str_eq(one->table, AK_STR("*")) && ak_str_eq(one->priority, AK_STR("high")));
    CHECK(one->has_speedup && one->estimated_speedup > 5 && one->estimated_speedup <= 10);
    CHECK(one->has_cost && one->estimated_cost > 0);
    CHECK(says(one, "simulated over 13.7 days of the log: now (6h) "));
    CHECK(says(one, "with 12h, all else as it is, 100.0 %"));
    CHECK(says(one, "0.500 ms with everything in memory, 5.000 ms without"));
    CHECK(!names(&advice, "tiering.warm_idle"));
    const struct ak_perf_recommendation *pin = find(&advice, "tier:pinned");
    CHECK(pin && fabs(pin->estimated_speedup - 10) < 1e-9);
    CHECK(pin->has_cost && fabs(pin->estimated_cost - (double)ak_advise_bytes(&docs)) < 1);
    ak_advice_release(&advice);
    ak_advise_accesses_close(accesses);
}

TEST(advise_thresholds, fetches_after_a_week_get_a_longer_warm_idle)
{
    struct ak_advice advice;
    struct ak_advise_accesses *accesses = ak_advise_accesses_open();
    const struct ak_advise_collection docs = collection("docs", 100000);
    ak_advice_init(&advice);
    for (int64_t day = 0; day < 80; day += 10) {
        visit(accesses, "docs", day * 24, 4, false);
        visit(accesses, "docs", day * 24 + 1, 4, true);
    }
    CHECK_OK(ak_advise_tiers(&advice, accesses, &usual, &docs, 1, &err));
    const struct ak_perf_recommendation *one = find(&advice, "tiering.warm_idle=14d");
    CHECK(one);
    CHECK(one->has_speedup && one->estimated_speedup > 2); /* a second for the image, each time */
    CHECK(says(one, "are answered from memory or disk"));
    ak_advice_release(&advice);
    ak_advise_accesses_close(accesses);
}

TEST(advise_thresholds, memory_that_hardly_anything_asks_for_gets_a_limit)
{
    struct ak_advice advice;
    struct ak_advise_accesses *accesses = ak_advise_accesses_open();
    struct ak_advise_policy policy = usual;
    const struct ak_advise_collection list[] = {collection("idle", 400000),
                                                collection("one", 10000), collection("two", 10000)};
    ak_advice_init(&advice);
    policy.rules.hot_idle_us = 0; /* what is hot stays so, unless there is a limit */
    for (int64_t hour = 0; hour < 7 * 24; hour++) {
        visit(accesses, "one", hour, 30, true);
        visit(accesses, "two", hour, 30, true);
    }
    CHECK_OK(ak_advise_tiers(&advice, accesses, &policy, list, 3, &err));
    CHECK(names(&advice, "tiering.max_hot_memory="));
    CHECK(names(&advice, "tiering.hot_idle="));
    CHECK(!names(&advice, "tier:pinned"));
    for (size_t i = 0; i < advice.count; i++) {
        CHECK(advice.list[i].has_cost && advice.list[i].estimated_cost < -3e8);
        CHECK(!advice.list[i].has_speedup); /* no search in the log was without memory */
        CHECK(ak_str_eq(advice.list[i].priority, AK_STR("low")));
        CHECK(!says(&advice.list[i], "a search takes"));
    }
    ak_advice_release(&advice);
    ak_advise_accesses_close(accesses);
}

TEST(advise_thresholds, a_limit_that_is_too_low_gets_a_higher_one)
{
    struct ak_advice advice;
    struct ak_advise_accesses *accesses = ak_advise_accesses_open();
    struct ak_advise_policy policy = usual;
    const struct ak_advise_collection list[] = {collection("one", 50000), collection("two", 50000)};
    ak_advice_init(&advice);
    policy.limits.hot_bytes = ak_advise_bytes(&list[0]) * 3 / 2;
    for (int64_t hour = 0; hour < 7 * 24; hour++) {
        visit(accesses, hour % 4 < 2 ? "one" : "two", hour, 20, hour % 2);
    }
    CHECK_OK(ak_advise_tiers(&advice, accesses, &policy, list, 2, &err));
    const struct ak_perf_recommendation *one = NULL;
    for (size_t i = 0; i < advice.count; i++) {
        one = ak_str_has_prefix(advice.list[i].index, AK_STR("tiering.max_hot_memory="))
                  ? &advice.list[i]
                  : one;
    }
    CHECK(one);
    CHECK(one->has_speedup && one->estimated_speedup > 1.2 && one->estimated_cost > 0);
    CHECK(ak_str_has_suffix(one->index, AK_STR("MiB")));
    ak_advice_release(&advice);
    ak_advise_accesses_close(accesses);
}

TEST(advise_thresholds, what_fits_is_noted_and_pinned_dropped_and_exported_ones_take_no_part)
{
    struct ak_advice advice;
    struct ak_advise_accesses *accesses = ak_advise_accesses_open();
    struct ak_advise_collection list[] = {collection("busy", 10000), collection("pinned", 10000)};
    struct ak_perf_query export = {
        .has = AK_PERF_HAS_ALL, .query_type = AK_STR("EXPORT"), .table_name = AK_STR("busy")};
    ak_advice_init(&advice);
    list[1].is_pinned = true;
    for (int64_t hour = 0; hour < 7 * 24; hour++) {
        visit(accesses, "busy", hour, 30, true);
        if (hour % 8 == 0) {
            visit(accesses, "pinned", hour, 20, true);
            visit(accesses, "dropped", hour, 20, true);
        }
    }
    export.timestamp = BEGIN + 1000 * HOUR_US; /* it would stretch the log */
    CHECK_OK(ak_advise_accesses_add(accesses, &export, &err));
    CHECK_OK(ak_advise_tiers(&advice, accesses, &usual, list, 2, &err));
    CHECK_INT(advice.count, 0);
    CHECK(strstr(ak_buf_cstr(&advice.notes),
                 "thresholds and limits fit: over 7.0 days of the log 100.0 %"));
    ak_advice_release(&advice);
    ak_advise_accesses_close(accesses);
}

TEST(advise_thresholds, a_short_log_and_a_server_that_moves_nothing_are_noted)
{
    struct ak_advice advice;
    struct ak_advise_policy policy = usual;
    const struct ak_advise_collection docs = collection("docs", 10000);
    for (int is_off = 0; is_off < 2; is_off++) {
        struct ak_advise_accesses *accesses = ak_advise_accesses_open();
        ak_advice_init(&advice);
        policy.is_off = is_off;
        for (int64_t hour = 0; hour < (is_off ? 14 * 24 : 47); hour += 8) {
            visit(accesses, "docs", hour, 20, false);
        }
        CHECK_OK(ak_advise_tiers(&advice, accesses, &policy, &docs, 1, &err));
        CHECK_INT(advice.count, 0);
        CHECK(strstr(ak_buf_cstr(&advice.notes),
                     is_off ? "tiering.enabled is false" : "at least 2 are needed"));
        ak_advice_release(&advice);
        ak_advise_accesses_close(accesses);
    }
}

TEST(advise_thresholds, a_threshold_is_in_force_when_the_policy_has_it)
{
    struct ak_advise_policy policy = usual;
    policy.limits.hot_bytes = (uint64_t)3 << 30;
    policy.rules.warm_idle_us = 5400 * INT64_C(1000000);
    const char *const yes[] = {"tiering.hot_idle=6h", "tiering.warm_idle=5400s",
                               "tiering.promote_accesses=10", "tiering.max_hot_memory=3072MiB",
                               "tiering.max_warm_disk=0B"};
    const char *const no[] = {"tiering.hot_idle=12h", "tiering.promote_accesses=6h", "hot_idle=6h",
                              "tiering.max_hot_memory=1MiB", ""};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        CHECK(ak_advise_threshold_in_force(&policy, ak_str_of(yes[i])));
        CHECK(!ak_advise_threshold_in_force(&policy, ak_str_of(no[i])));
    }
}

TEST_MAIN()
