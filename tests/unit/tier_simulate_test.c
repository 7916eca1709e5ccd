/* tier_simulate_test.c — the simulator keeps its books, and months over many collections are
 * played. */
#include "base/fault.h"
#include "base/rand.h"
#include "support/test.h"
#include "tier/profile.h"
#include "tier/simulate.h"
#include <string.h>

#define HOUR INT64_C(3600000000)
#define DAY (24 * HOUR)
#define MB (UINT64_C(1) << 20)

static struct ak_err err;

static struct ak_tier_sim *open_sim(struct ak_tier_limits limits)
{
    struct ak_tier_sim *sim = NULL;
    const struct ak_tier_sim_options options = {
        .rules = ak_tier_rules_default(), .limits = limits, .begin_us = 1000 * DAY};
    CHECK_OK(ak_tier_sim_open(&options, &sim, &err));
    return sim;
}

TEST(simulate, one_collection_lives_through_all_tiers)
{
    struct ak_tier_sim *sim = open_sim((struct ak_tier_limits){0});
    struct ak_tier_sim_report report;
    const int64_t begin = 1000 * DAY;
    uint32_t index = 0;
    CHECK_OK(ak_tier_sim_add(sim, 30 * MB, 20 * MB, &index, &err));
    CHECK_OK(ak_tier_sim_access(sim, index, begin + HOUR, 1, &err));     /* hot */
    CHECK_OK(ak_tier_sim_access(sim, index, begin + DAY, 1, &err));      /* warm since 7 h */
    CHECK_OK(ak_tier_sim_access(sim, index, begin + 10 * DAY, 1, &err)); /* cold: fetched */
    for (int i = 1; i < 10; i++) {
        CHECK_OK(ak_tier_sim_access(sim, index, begin + 10 * DAY + i, 1, &err));
    }
    CHECK_OK(ak_tier_sim_access(sim, index, begin + 10 * DAY + HOUR / 2, 5, &err)); /* hot again */
    CHECK_OK(ak_tier_sim_advance(sim, begin + 11 * DAY, &err));
    ak_tier_sim_report(sim, &report);
    CHECK_INT(report.accesses[AK_TIER_HOT], 1 + 5);
    CHECK_INT(report.accesses[AK_TIER_WARM], 1 + 9);
    CHECK_INT(report.accesses[AK_TIER_COLD], 1);
    CHECK_INT(report.moves[AK_TIER_HOT][AK_TIER_WARM].count, 2);
    CHECK_INT(report.moves[AK_TIER_WARM][AK_TIER_COLD].count, 1);
    CHECK_INT(report.moves[AK_TIER_COLD][AK_TIER_WARM].count, 1);
    CHECK_INT(report.moves[AK_TIER_COLD][AK_TIER_WARM].bytes, 20 * MB);
    CHECK_INT(report.moves[AK_TIER_WARM][AK_TIER_HOT].count, 1);
    CHECK_INT(report.moves[AK_TIER_WARM][AK_TIER_HOT].bytes, 30 * MB);
    CHECK(report.fetch_seconds > 0.2 &&
          report.fetch_seconds < 0.3); /* 50 ms and 20 MiB at 100 MB/s */
    CHECK_INT(report.seconds, 11 * 86400);
    CHECK_INT(report.passes, 11 * 288);
    CHECK_INT(report.peak_bytes[AK_TIER_HOT], 30 * MB);
    ak_tier_sim_close(sim);
}

TEST(simulate, time_that_goes_back_and_unknown_collections_are_refused)
{
    struct ak_tier_sim *sim = open_sim((struct ak_tier_limits){0});
    uint32_t index = 0;
    CHECK_OK(ak_tier_sim_add(sim, 1, 1, &index, &err));
    CHECK_RC(AK_INVALID, ak_tier_sim_access(sim, 1, 1001 * DAY, 1, &err));
    CHECK_OK(ak_tier_sim_access(sim, 0, 1001 * DAY, 1, &err));
    CHECK_RC(AK_INVALID, ak_tier_sim_access(sim, 0, 1001 * DAY - 1, 1, &err));
    ak_tier_sim_close(sim);
}

TEST(simulate, memory_stays_within_its_limit_under_a_skewed_load)
{
    enum { COLLECTIONS = 500, ACCESSES = 20000 };
    const struct ak_tier_limits limits = {.hot_bytes = 100 * MB, .warm_bytes = 300 * MB};
    struct ak_tier_sim *sim = open_sim(limits);
    struct ak_tier_sim_report report;
    struct ak_rand rand;
    int64_t now = 1000 * DAY;
    uint64_t accesses = 0;
    ak_rand_seed(&rand, ak_test_seed());
    for (uint32_t i = 0; i < COLLECTIONS; i++) {
        uint32_t index = 0;
        CHECK_OK(ak_tier_sim_add(sim, 2 * MB, 2 * MB, &index, &err));
    }
    CHECK_OK(ak_tier_sim_advance(sim, now += HOUR, &err));
    for (int i = 0; i < ACCESSES; i++) {
        double u = ak_rand_unit(&rand);
        now += (int64_t)ak_rand_below(&rand, HOUR / 20);
        CHECK_OK(ak_tier_sim_access(sim, (uint32_t)(u * u * u * COLLECTIONS), now, 1, &err));
        accesses++;
    }
    ak_tier_sim_report(sim, &report);
    CHECK_INT(report.accesses[0] + report.accesses[1] + report.accesses[2], accesses);
    CHECK(report.mean_bytes[AK_TIER_HOT] <= 1.2 * (double)limits.hot_bytes);
    CHECK(report.mean_bytes[AK_TIER_WARM] <= 1.1 * (double)limits.warm_bytes);
    CHECK(report.reasons[AK_TIER_MEMORY] > 0 && report.reasons[AK_TIER_DISK] > 0);
    double held = report.mean_bytes[0] + report.mean_bytes[1] + report.mean_bytes[2];
    CHECK(held > 999.0 * MB && held < 1001.0 * MB); /* nothing is lost on the way */
    ak_tier_sim_close(sim);
}

struct tally {
    uint64_t visits, accesses, hash;
    int64_t last_us;
    uint32_t highest;
    uint64_t stop_at; /* fail at this visit; 0: never */
};

static enum ak_rc tally(void *ctx, uint32_t collection, int64_t at_us, uint32_t count,
                        struct ak_err *e)
{
    struct tally *tally = ctx;
    CHECK(at_us >= tally->last_us && count > 0);
    tally->last_us = at_us;
    tally->visits++;
    tally->accesses += count;
    tally->highest = collection > tally->highest ? collection : tally->highest;
    tally->hash = tally->hash * 31 + collection + (uint64_t)at_us;
    return tally->visits == tally->stop_at ? ak_fail(e, AK_CONFLICT, "enough") : AK_OK;
}

TEST(profile, each_workload_is_in_order_of_time_within_its_bounds_and_the_same_for_a_seed)
{
    for (int profile = 0; profile < AK_TIER_PROFILE_COUNT; profile++) {
        struct ak_tier_load load = {.profile = (enum ak_tier_profile)profile,
                                    .collections = 200,
                                    .days = 40,
                                    .seed = 7,
                                    .begin_us = 1000 * DAY};
        struct tally first = {.last_us = 1000 * DAY};
        struct tally again = first;
        struct tally other = first;
        CHECK_OK(ak_tier_play(&load, tally, &first, &err));
        CHECK_OK(ak_tier_play(&load, tally, &again, &err));
        CHECK(first.hash == again.hash && first.visits > 500);
        CHECK(first.last_us < 1040 * DAY && first.highest < 200);
        load.seed = 8;
        CHECK_OK(ak_tier_play(&load, tally, &other, &err));
        CHECK(other.hash != first.hash);
        struct tally stopped = {.stop_at = 10};
        CHECK_RC(AK_CONFLICT, ak_tier_play(&load, tally, &stopped, &err));
        CHECK_INT(stopped.visits, 10);
    }
    const struct ak_tier_load none = {.days = 1};
    CHECK_RC(AK_INVALID, ak_tier_play(&none, tally, NULL, &err));
}

#ifdef AK_FAULTS
TEST(simulate, without_memory_adding_fails_and_the_rest_goes_on)
{
    for (int n = 0;; n++) {
        struct ak_tier_sim *sim = open_sim((struct ak_tier_limits){0});
        uint32_t index = 0;
        ak_fault_alloc_at(n);
        enum ak_rc rc = ak_tier_sim_add(sim, 1, 1, &index, &err);
        bool fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK(rc == (fired ? AK_NOMEM : AK_OK));
        CHECK_OK(ak_tier_sim_add(sim, 1, 1, &index, &err));
        CHECK_OK(ak_tier_sim_access(sim, index, 1001 * DAY, 3, &err));
        ak_tier_sim_close(sim);
        if (!fired) {
            break;
        }
        CHECK(n < 20);
    }
}
#endif

TEST_MAIN()
