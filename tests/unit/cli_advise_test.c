/* The parts of akidb perf advise that need no server: tiers from accesses, and the trial. */
#include "base/mem.h"
#include "base/rand.h"
#include "cli/perf_advise.h"
#include "support/test.h"
#include <stdlib.h>
#include <string.h>

#define HOUR INT64_C(3600000000)
#define DAY (24 * HOUR)
#define BEGIN (INT64_C(20753) * DAY) /* 2026-10-27 */

static struct ak_err err;

static void use(struct ak_advise_accesses *accesses, const char *table, int64_t at, int count)
{
    const struct ak_perf_query row = {
        .has = AK_PERF_HAS_ALL, .timestamp = at, .table_name = {table, strlen(table)}};
    for (int i = 0; i < count; i++) {
        CHECK_OK(ak_advise_accesses_add(accesses, &row, &err));
    }
}

static const struct ak_advise_collection collections[] = {
    {.name = {"steady", 6}, .dimension = 128, .params = {.m = 16}, .documents = 100000},
    {.name = {"mornings", 8}, .dimension = 128, .params = {.m = 16}, .documents = 1000},
    {.name = {"seldom", 6}, .dimension = 128, .params = {.m = 16}, .documents = 1000},
};
#define COUNT (sizeof collections / sizeof collections[0])

static const struct ak_perf_recommendation *find(const struct ak_advice *advice, const char *table,
                                                 const char *prefix)
{
    for (size_t i = 0; i < advice->count; i++) {
        if (ak_str_eq(advice->list[i].table, ak_str_of(table)) &&
            ak_str_has_prefix(advice->list[i].index, ak_str_of(prefix))) {
            CHECK(advice->list[i].basis.len > 0);
            return &advice->list[i];
        }
    }
    return NULL;
}

static const struct ak_advise_policy policy = {.rules = {.hot_idle_us = 6 * HOUR,
                                                         .warm_idle_us = 7 * DAY,
                                                         .window_us = HOUR,
                                                         .promote_accesses = 10,
                                                         .lowest = AK_TIER_COLD}};

TEST(advise_tiers, what_sleeps_between_daily_uses_is_pinned_or_kept_longer)
{
    struct ak_advice advice;
    struct ak_advise_accesses *accesses = ak_advise_accesses_open();
    ak_advice_init(&advice);
    for (int64_t day = 0; day < 10; day++) {
        for (int64_t hour = 0; hour < 24; hour++) {
            use(accesses, "steady", BEGIN + day * DAY + hour * HOUR, 2);
        }
        use(accesses, "mornings", BEGIN + day * DAY + 9 * HOUR, 20);
    }
    use(accesses, "seldom", BEGIN + DAY, 1);
    CHECK_OK(ak_advise_tiers(&advice, accesses, &policy, collections, COUNT, &err));
    const struct ak_perf_recommendation *pin = find(&advice, "mornings", "tier:pinned");
    CHECK(pin != NULL);
    CHECK(pin->has_cost && fabs(pin->estimated_cost - 1000.0 * (128 * 4 + 16 * 8)) < 1);
    CHECK(!pin->has_speedup); /* nothing was measured that would give one */
    CHECK(!find(&advice, "steady", "tier:pinned"));
    CHECK(!find(&advice, "seldom", "tier:pinned"));
    const struct ak_perf_recommendation *idle = find(&advice, "*", "tiering.hot_idle=");
    CHECK(idle != NULL);
    CHECK(ak_str_eq(idle->index, AK_STR("tiering.hot_idle=3d"))); /* after 24 h it has just gone */
    ak_advise_accesses_close(accesses);
    ak_advice_release(&advice);
}

TEST(advise_tiers, a_short_log_and_a_steady_one_give_notes_only)
{
    struct ak_advice advice;
    struct ak_advise_accesses *accesses = ak_advise_accesses_open();
    ak_advice_init(&advice);
    CHECK_OK(ak_advise_tiers(&advice, accesses, &policy, collections, COUNT, &err));
    use(accesses, "steady", BEGIN, 1);
    CHECK_OK(ak_advise_tiers(&advice, accesses, &policy, collections, COUNT, &err));
    CHECK(strstr(ak_buf_cstr(&advice.notes), "at least 2 are needed"));
    for (int64_t hour = 0; hour < 240; hour++) {
        use(accesses, "steady", BEGIN + hour * HOUR, 1);
    }
    CHECK_OK(ak_advise_tiers(&advice, accesses, &policy, collections, COUNT, &err));
    CHECK(strstr(ak_buf_cstr(&advice.notes),
                 "thresholds and limits fit: over 10.0 days of the log 100.0 %"));
    CHECK_INT(advice.count, 0);
    ak_advise_accesses_close(accesses);
    ak_advice_release(&advice);
}

/* --- The trial --- */

static void make_sample(struct ak_advise_sample *sample, uint32_t count, uint32_t dimension)
{
    struct ak_rand rand;
    ak_rand_seed(&rand, 11);
    *sample = (struct ak_advise_sample){.dimension = dimension, .count = count};
    sample->ids = ak_zalloc(count * sizeof *sample->ids);
    sample->vectors =
        ak_alloc_aligned(AK_CACHE_LINE, (size_t)count * dimension * sizeof *sample->vectors);
    for (uint32_t i = 0; i < count; i++) {
        memcpy(sample->ids[i].b, &i, sizeof i);
        sample->ids[i].b[15] = 1;
        for (uint32_t d = 0; d < dimension; d++) {
            sample->vectors[(size_t)i * dimension + d] = (float)ak_rand_unit(&rand);
        }
    }
}

TEST(advise_trial, few_documents_say_that_they_are_searched_exactly)
{
    struct ak_advise_trial trials[AK_ADVISE_TRIALS_MAX];
    struct ak_advise_sample sample;
    const struct ak_advise_collection one = {.name = {"docs", 4},
                                             .dimension = 8,
                                             .metric = AK_METRIC_L2,
                                             .params = ak_index_params_default(),
                                             .documents = 300};
    size_t count = 0;
    uint32_t rows = 0;
    make_sample(&sample, 300, 8);
    CHECK_OK(ak_advise_trial_run(&one, &sample, 20, 10, 0.95, trials, &count, &rows, &err));
    CHECK_INT(rows, 280);
    CHECK_INT(count, 3);
    CHECK(trials[0].was_exact);
    CHECK_INT(trials[0].ef, 16);
    CHECK(trials[0].recall >= 0.9999);
    CHECK_INT(trials[1].params.m, 32);
    CHECK_INT(trials[2].params.quantization, AK_QUANTIZATION_NONE);
    ak_advise_sample_release(&sample);
    CHECK_OK(ak_advise_trial_run(&one, &sample, 20, 10, 0.95, trials, &count, &rows, &err));
    CHECK_INT(count, 0);
}

static bool count_one(void *ctx, struct ak_str name)
{
    (void)name;
    ++*(unsigned *)ctx;
    return true;
}

TEST(advise_trial, a_folder_that_cannot_be_made_is_a_failure_with_its_name)
{
    struct ak_advise_trial trials[AK_ADVISE_TRIALS_MAX];
    struct ak_advise_sample sample;
    const struct ak_advise_collection one = {
        .name = {"docs", 4}, .dimension = 4, .params = ak_index_params_default(), .documents = 50};
    size_t count = 0;
    uint32_t rows = 0;
    char missing[4096];
    char before[4096];
    unsigned names = 0;
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(before, sizeof before, "%s", tmp && tmp[0] ? tmp : "/tmp");
    (void)snprintf(missing, sizeof missing, "%s/none", ak_test_dir());
    make_sample(&sample, 50, 4);
    CHECK_INT(setenv("TMPDIR", missing, 1), 0); /* after the test has its own folder */
    CHECK_RC(AK_NOT_FOUND,
             ak_advise_trial_run(&one, &sample, 10, 5, 0.95, trials, &count, &rows, &err));
    CHECK(strstr(err.text, "akidb-advise-"));
    CHECK_INT(setenv("TMPDIR", ak_test_dir(), 1), 0);
    CHECK_OK(ak_advise_trial_run(&one, &sample, 10, 5, 0.95, trials, &count, &rows, &err));
    CHECK_INT(count, 3);
    CHECK_OK(ak_fs_list(ak_fs_posix(), ak_test_dir(), count_one, &names, &err));
    CHECK_INT(names, 0); /* nothing is left of it */
    CHECK_INT(setenv("TMPDIR", before, 1), 0);
    ak_advise_sample_release(&sample);
}

TEST_MAIN()
