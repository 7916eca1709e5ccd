/* archive_outage_test.c — the store is away for hours: jobs wait for it, and say so. */
#include "archive_world.h"

enum { DOCS = 40, HOURS = 3 };

static const int64_t MINUTE_US = (int64_t)60 * 1000000;

/* The clock is the test's, and no tries are counted: the time alone ends a job. */
static void open_world(struct world *world, struct ak_manual_clock *clock, uint64_t retry_for_s)
{
    ak_manual_clock_init(clock, (int64_t)1800000000 * 1000000);
    world_open(world, ak_test_dir());
    world->options.clock = &clock->clock;
    world->options.retry_ms = 1000;
    world->options.retries_max = 0;
    world->options.retry_for_s = retry_for_s;
    world_stop(world);
    world_start(world);
    (void)docs_create(world->engine, "docs");
    CHECK_OK(docs_put(world->engine, "docs", 0, DOCS, 1));
}

TEST(archive_outage, a_snapshot_outlasts_hours_without_a_store_and_shows_its_moment)
{
    struct world world;
    struct ak_manual_clock clock;
    struct ak_uuid id;
    struct ak_uuid snapshot;
    char text[400];
    open_world(&world, &clock, 0);
    world_break(&world, AK_OBJSTORE_FAULT_ERROR_500, 0);
    CHECK_OK(ak_archive_create(world.archive, AK_STR("docs"), NULL, &id, &snapshot, &err));
    struct ak_job job = world_await_try(&world, &id, 0, text);
    CHECK_OK(docs_put(world.engine, "docs", 0, DOCS, 2)); /* not in the state that is kept */
    for (int64_t passed = 0; passed < HOURS * 60; passed += 30) {
        CHECK_INT(job.state, AK_JOB_RUNNING);
        CHECK(strstr(text, "500") != NULL);
        int64_t in_us = job.next_try_us - ak_now_us(&clock.clock);
        CHECK(in_us > 0 && in_us <= MINUTE_US); /* longer pauses, but never long ones */
        ak_manual_clock_advance(&clock, 30 * MINUTE_US);
        job = world_await_try(&world, &id, job.tries, text);
    }
    CHECK(job.tries > HOURS);
    world_heal(&world);
    ak_manual_clock_advance(&clock, MINUTE_US);
    CHECK_OK(ak_archive_wait(world.archive, &id, WORLD_WAIT_MS, &err));
    CHECK_INT(world_job(&world, &id, text).tries, 0);
    CHECK_INT(world_listed(&world, "docs"), 1);
    struct ak_job restored;
    CHECK_OK(world_restore(&world, "docs", &snapshot, "copy", &restored));
    check_state(&world, "copy", DOCS, 1);
    world_close(&world);
}

TEST(archive_outage, past_the_time_it_fails_says_how_long_it_tried_and_leaves_nothing)
{
    struct world world;
    struct ak_manual_clock clock;
    struct ak_uuid id;
    struct ak_uuid snapshot;
    char text[400];
    open_world(&world, &clock, 3600);
    world_break(&world, AK_OBJSTORE_FAULT_SLOW_503, AK_OBJSTORE_OP_PUT);
    CHECK_OK(ak_archive_create(world.archive, AK_STR("docs"), NULL, &id, &snapshot, &err));
    (void)world_await_try(&world, &id, 0, text);
    ak_manual_clock_advance(&clock, 59 * MINUTE_US);
    struct ak_job job = world_await_try(&world, &id, 1, text);
    CHECK_INT(job.state, AK_JOB_RUNNING);
    ak_manual_clock_advance(&clock, 2 * MINUTE_US);
    CHECK_RC(AK_UNAVAILABLE, ak_archive_wait(world.archive, &id, WORLD_WAIT_MS, &err));
    job = world_job(&world, &id, text);
    CHECK_INT(job.state, AK_JOB_FAILED);
    CHECK(strstr(text, "given up after 3 tries in 3660 s: ") == text);
    world_heal(&world);
    CHECK_OK(ak_archive_settle(world.archive, WORLD_WAIT_MS, &err));
    CHECK_INT(world_objects(world.under), 0);
    world_close(&world);
}

TEST(archive_outage, a_restore_waits_too_and_what_it_replaces_is_served_meanwhile)
{
    struct world world;
    struct ak_manual_clock clock;
    struct ak_uuid id;
    char text[400];
    open_world(&world, &clock, 0);
    struct ak_uuid snapshot = world_snapshot(&world, "docs");
    CHECK_OK(docs_put(world.engine, "docs", 0, DOCS, 2));
    /* The metadata is found once, for the question; then nothing is. */
    struct ak_objstore_fault_rule rule = {
        .fault = AK_OBJSTORE_FAULT_SLOW_503, .ops = AK_OBJSTORE_OP_GET, .nth = 1, .sticky = true};
    ak_objstore_fault_set(world.store, &rule);
    CHECK_OK(ak_archive_restore(world.archive, AK_STR("docs"), &snapshot, AK_STR(""), &id, &err));
    struct ak_job job = world_await_try(&world, &id, 0, text);
    ak_manual_clock_advance(&clock, HOURS * 60 * MINUTE_US);
    job = world_await_try(&world, &id, job.tries, text);
    CHECK_INT(job.state, AK_JOB_RUNNING);
    CHECK(strstr(text, "503") != NULL);
    check_state(&world, "docs", DOCS, 2);
    world_heal(&world);
    ak_manual_clock_advance(&clock, MINUTE_US);
    CHECK_OK(ak_archive_wait(world.archive, &id, WORLD_WAIT_MS, &err));
    check_state(&world, "docs", DOCS, 1);
    world_close(&world);
}

TEST_MAIN()
