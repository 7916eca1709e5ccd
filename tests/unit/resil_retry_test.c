/* resil_retry_test.c — delays, counts, deadlines and the bucket. No test waits. */
#include "resil/retry.h"
#include "support/test.h"

struct world {
    struct ak_manual_clock clock;
    struct ak_retry_policy policy;
    int64_t slept_us;
    unsigned sleeps;
    bool stops;
};

static bool sleep_in(void *ctx, int64_t us)
{
    struct world *world = ctx;
    world->slept_us += us;
    world->sleeps++;
    ak_manual_clock_advance(&world->clock, us);
    return !world->stops;
}

static void world_init(struct world *world, uint32_t retries_max, uint32_t deadline_ms)
{
    *world = (struct world){.slept_us = 0};
    ak_manual_clock_init(&world->clock, 1000000);
    world->policy = (struct ak_retry_policy){.retries_max = retries_max,
                                             .deadline_ms = deadline_ms,
                                             .clock = &world->clock.clock,
                                             .sleep = sleep_in,
                                             .ctx = world};
}

TEST(retry, the_largest_delay_doubles_up_to_the_cap_and_throttling_begins_higher)
{
    static const struct {
        enum ak_retry_kind kind;
        uint32_t nth;
        int64_t want_ms;
    } rows[] = {{AK_RETRY_TRANSIENT, 0, 50},
                {AK_RETRY_TRANSIENT, 1, 100},
                {AK_RETRY_TRANSIENT, 5, 1600},
                {AK_RETRY_TRANSIENT, 9, 20000},
                {AK_RETRY_TRANSIENT, 31, 20000},
                {AK_RETRY_TRANSIENT, 4000, 20000},
                {AK_RETRY_THROTTLED, 0, 1000},
                {AK_RETRY_THROTTLED, 2, 4000},
                {AK_RETRY_THROTTLED, 10, 20000},
                {AK_RETRY_AT_ONCE, 3, 0},
                {AK_RETRY_NO, 3, 0}};
    const struct ak_retry_policy policy = {.retries_max = 1};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        CHECK_INT(ak_retry_delay_max_us(&policy, rows[i].kind, rows[i].nth),
                  rows[i].want_ms * 1000);
    }
}

TEST(retry, delays_fill_the_whole_range_down_to_the_floor)
{
    const struct ak_retry_policy policy = {.base_ms = 100, .cap_ms = 100, .floor_ms = 10};
    struct ak_rand rand;
    int64_t least = INT64_MAX;
    int64_t most = 0;
    int64_t sum = 0;
    ak_rand_seed(&rand, ak_test_seed());
    for (int i = 0; i < 10000; i++) {
        int64_t us = ak_retry_delay_us(&policy, AK_RETRY_TRANSIENT, 7, &rand);
        least = us < least ? us : least;
        most = us > most ? us : most;
        sum += us;
    }
    CHECK(least >= 10000 && least < 11000);
    CHECK(most <= 100000 && most > 99000);
    CHECK(sum / 10000 > 50000 && sum / 10000 < 60000);
}

TEST(retry, a_series_ends_after_as_many_retries_as_the_policy_allows)
{
    struct world world;
    struct ak_retry retry;
    char text[96];
    world_init(&world, 3, 0);
    ak_retry_start(&retry, &world.policy, NULL);
    for (int i = 0; i < 3; i++) {
        CHECK(ak_retry_again(&retry, AK_RETRY_TRANSIENT, 0));
    }
    CHECK(!ak_retry_again(&retry, AK_RETRY_TRANSIENT, 0));
    CHECK(retry.end == AK_RETRY_END_COUNT);
    CHECK_STR(ak_retry_end_text(&retry, text), "after 3 retries");
}

TEST(retry, what_cannot_be_helped_is_not_tried_again)
{
    struct world world;
    struct ak_retry retry;
    world_init(&world, 3, 0);
    ak_retry_start(&retry, &world.policy, NULL);
    CHECK(!ak_retry_again(&retry, AK_RETRY_NO, 0));
    CHECK(retry.end == AK_RETRY_END_FINAL && world.sleeps == 0);
}

TEST(retry, a_repair_waits_for_nothing_and_cannot_go_on_for_ever)
{
    struct world world;
    struct ak_retry retry;
    int repairs = 0;
    world_init(&world, 0, 0);
    ak_retry_start(&retry, &world.policy, NULL);
    while (ak_retry_again(&retry, AK_RETRY_AT_ONCE, 0)) {
        CHECK(++repairs < 100);
    }
    CHECK(repairs >= 3 && world.sleeps == 0);
}

TEST(retry, no_wait_passes_the_deadline)
{
    struct world world;
    struct ak_retry retry;
    world_init(&world, 1000, 3000);
    ak_retry_start(&retry, &world.policy, NULL);
    CHECK_INT(ak_retry_left_ms(&retry), 3000);
    while (ak_retry_again(&retry, AK_RETRY_THROTTLED, 0)) {
        CHECK(world.slept_us <= 3000000);
    }
    CHECK(retry.end == AK_RETRY_END_DEADLINE);
    CHECK(world.slept_us <= 3000000);
}

TEST(retry, retry_after_is_obeyed_and_held_against_the_deadline)
{
    struct world world;
    struct ak_retry retry;
    world_init(&world, 10, 10000);
    ak_retry_start(&retry, &world.policy, NULL);
    CHECK(ak_retry_again(&retry, AK_RETRY_TRANSIENT, 7000));
    CHECK_INT(world.slept_us, 7000000);
    CHECK(!ak_retry_again(&retry, AK_RETRY_TRANSIENT, 7000));
    CHECK_INT(world.slept_us, 7000000);
}

TEST(retry, progress_renews_count_and_deadline_and_a_body_extends_it)
{
    struct world world;
    struct ak_retry retry;
    world_init(&world, 1, 1000);
    ak_retry_start(&retry, &world.policy, NULL);
    for (int i = 0; i < 50; i++) {
        ak_manual_clock_advance(&world.clock, 900000);
        ak_retry_progress(&retry);
        CHECK(ak_retry_again(&retry, AK_RETRY_TRANSIENT, 0));
    }
    ak_retry_progress(&retry);
    ak_retry_extend(&retry, 5000000000);
    CHECK_INT(ak_retry_left_ms(&retry), 6000);
    ak_retry_extend(&retry, INT64_MAX);
    CHECK(ak_retry_left_ms(&retry) == UINT32_MAX);
}

TEST(retry, a_sleep_that_is_stopped_ends_the_series)
{
    struct world world;
    struct ak_retry retry;
    world_init(&world, 9, 0);
    world.stops = true;
    ak_retry_start(&retry, &world.policy, NULL);
    CHECK(!ak_retry_again(&retry, AK_RETRY_THROTTLED, 1));
    CHECK(retry.end == AK_RETRY_END_STOPPED);
}

TEST(retry, an_empty_bucket_ends_retries_and_successes_fill_it_again)
{
    struct world world;
    struct ak_retry_bucket bucket;
    struct ak_retry retry;
    world_init(&world, 1000, 0);
    ak_retry_bucket_init(&bucket, 20);
    ak_retry_start(&retry, &world.policy, &bucket);
    int tries = 0;
    while (ak_retry_again(&retry, AK_RETRY_TRANSIENT, 0)) {
        tries++;
    }
    CHECK_INT(tries, 20 / AK_RETRY_COST);
    CHECK(retry.end == AK_RETRY_END_BUCKET);
    struct ak_retry other;
    for (int i = 0; i < AK_RETRY_COST; i++) { /* each call that works brings one token */
        ak_retry_start(&other, &world.policy, &bucket);
        CHECK(i > 0 || !ak_retry_again(&other, AK_RETRY_TRANSIENT, 0));
        ak_retry_succeeded(&other);
    }
    ak_retry_start(&other, &world.policy, &bucket);
    CHECK(ak_retry_again(&other, AK_RETRY_TRANSIENT, 0));
    ak_retry_succeeded(&other);
    ak_retry_succeeded(&retry); /* what it took comes back, and never more than there may be */
    CHECK_INT(atomic_load(&bucket.tokens), 20);
}

TEST_MAIN()
