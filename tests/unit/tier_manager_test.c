/* The manager over a real engine, archive and a store that can fail, with a clock that tests move.
 */
#include "archive_world.h"
#include "base/fault.h"
#include "base/sync.h"
#include "tier/manager.h"

#define SECOND INT64_C(1000000)
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)
#define NOON (INT64_C(1767225600) * SECOND)

static struct ak_manual_clock wall;
static struct world world;
static struct ak_tiers *tiers;
static struct ak_tiers_options options;

/* --- Waits that a test waits for --- */

struct waiter {
    struct ak_tier_wait wait;
    struct ak_mutex lock;
    struct ak_cond changed;
    bool is_over;
    enum ak_rc rc;
    char why[AK_ERR_TEXT_MAX];
};

static void told(struct ak_tier_wait *wait, enum ak_rc rc, const struct ak_err *why)
{
    struct waiter *waiter = (struct waiter *)(void *)wait; /* its first member */
    ak_mutex_lock(&waiter->lock);
    CHECK(!waiter->is_over);
    waiter->is_over = true;
    waiter->rc = rc;
    (void)snprintf(waiter->why, sizeof waiter->why, "%s", why->text);
    ak_cond_broadcast(&waiter->changed);
    ak_mutex_unlock(&waiter->lock);
}

static void begin(struct waiter *waiter)
{
    *waiter = (struct waiter){.wait = {.done = told}};
    ak_mutex_init(&waiter->lock, AK_RANK_LEAF, "waiter");
    ak_cond_init(&waiter->changed);
}

static enum ak_rc end(struct waiter *waiter)
{
    bool in_time = true;
    ak_mutex_lock(&waiter->lock);
    while (!waiter->is_over && in_time) {
        in_time = ak_cond_wait_ms(&waiter->changed, &waiter->lock, WORLD_WAIT_MS);
    }
    CHECK(waiter->is_over);
    enum ak_rc rc = waiter->rc;
    ak_mutex_unlock(&waiter->lock);
    (void)ak_fail(&err, rc == AK_OK ? AK_INTERNAL : rc, "%s", waiter->why);
    ak_cond_release(&waiter->changed);
    ak_mutex_release(&waiter->lock);
    return rc;
}

static enum ak_rc run(void)
{
    struct waiter waiter;
    begin(&waiter);
    ak_tiers_run(tiers, &waiter.wait);
    return end(&waiter);
}

static enum ak_rc act(const char *name, enum ak_tier_action action)
{
    struct waiter waiter;
    begin(&waiter);
    ak_tiers_act(tiers, ak_str_of(name), action, &waiter.wait);
    return end(&waiter);
}

static struct ak_tier_status status(const char *name)
{
    struct ak_tier_status found;
    struct ak_arena arena;
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_tiers_status(tiers, ak_str_of(name), &arena, &found, &err));
    found.name = AK_STR_NONE;
    ak_arena_release(&arena);
    return found;
}

static enum ak_tier tier(const char *name)
{
    return status(name).view.tier;
}

static enum ak_rc wake(const char *name)
{
    struct waiter waiter;
    struct ak_uuid id = status(name).view.id;
    begin(&waiter);
    ak_tiers_wake(tiers, &id, &waiter.wait);
    return end(&waiter);
}

static void use(const char *name, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        struct ak_collection *collection = NULL;
        CHECK_OK(ak_engine_get(world.engine, ak_str_of(name), &collection, &err));
        ak_collection_unref(collection);
    }
    ak_tiers_touch(tiers);
}

/* --- The world --- */

static void start(void)
{
    const struct ak_engine_options engine = {
        .dir = world.dir, .clock = &wall.clock, .wal_segment_bytes = 256 << 10, .build_threads = 1};
    CHECK_OK(ak_engine_open(&engine, &world.engine, &err));
    world.options.engine = world.engine;
    world.options.store = world.store;
    CHECK_OK(ak_archive_open(&world.options, &world.archive, &err));
    options.engine = world.engine;
    options.archive = world.archive;
    options.clock = &wall.clock;
    CHECK_OK(ak_tiers_open(&options, &tiers, &err));
}

static void stop(void)
{
    ak_tiers_close(tiers);
    tiers = NULL;
    world_stop(&world);
}

static void open_world(void)
{
    ak_manual_clock_init(&wall, NOON);
    world = (struct world){.dir = ak_test_dir(), .options = world_options()};
    options = (struct ak_tiers_options){.rules = ak_tier_rules_default(),
                                        .interval_ms = 24 * 3600 * 1000,
                                        .flush_ms = 24 * 3600 * 1000};
    CHECK_OK(ak_objstore_open_mem(NULL, &world.under, &err));
    CHECK_OK(ak_objstore_open_fault(world.under, &world.store, &err));
    start();
}

static void close_world(void)
{
    stop();
    ak_objstore_close(world.store);
    ak_objstore_close(world.under);
}

static void make(const char *name, unsigned count)
{
    (void)docs_create(world.engine, name);
    CHECK_OK(docs_put(world.engine, name, 0, count, 1));
}

/* --- By itself --- */

TEST(tier, a_collection_goes_down_by_time_and_comes_back_by_use)
{
    open_world();
    make("c", 60);
    CHECK_OK(run());
    CHECK_INT(tier("c"), AK_TIER_HOT);
    CHECK_INT(status("c").next.to, AK_TIER_WARM);
    ak_manual_clock_advance(&wall, 6 * HOUR);
    CHECK_OK(run());
    CHECK_INT(tier("c"), AK_TIER_WARM);
    CHECK_INT(world_listed(&world, "c"), 0);
    ak_manual_clock_advance(&wall, 7 * DAY);
    CHECK_OK(run());
    CHECK_INT(tier("c"), AK_TIER_COLD);
    CHECK_INT(world_listed(&world, "c"), 1);
    CHECK(status("c").bucket_bytes > 0);
    struct ak_collection *collection = NULL;
    CHECK_RC(AK_COLD, ak_engine_get(world.engine, AK_STR("c"), &collection, &err));
    CHECK_OK(wake("c"));
    CHECK_INT(tier("c"), AK_TIER_WARM);
    check_state(&world, "c", 60, 1);
    use("c", 20);
    CHECK_OK(run());
    CHECK_INT(tier("c"), AK_TIER_HOT);
    check_state(&world, "c", 60, 1);
    close_world();
}

TEST(tier, a_warm_collection_that_becomes_busy_goes_to_memory_without_a_pass_being_asked_for)
{
    open_world();
    make("c", 20);
    CHECK_OK(act("c", AK_TIER_DEMOTE_TO_WARM));
    use("c", 10);
    while (tier("c") != AK_TIER_HOT) { /* ends, or the harness's time does */
        ak_tiers_touch(tiers);
    }
    CHECK_INT(tier("c"), AK_TIER_HOT);
    close_world();
}

TEST(tier, memory_over_its_limit_puts_the_least_recently_used_to_the_disk)
{
    open_world();
    for (unsigned i = 0; i < 6; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "c%u", i);
        make(name, 200);
        ak_manual_clock_advance(&wall, 60 * SECOND);
    }
    use("c0", 1);
    struct ak_tier_status one = status("c1");
    stop();
    options.limits.hot_bytes = one.view.ram_bytes * 7 / 2;
    start();
    CHECK_OK(run());
    CHECK_INT(tier("c0"), AK_TIER_HOT);
    CHECK_INT(tier("c1"), AK_TIER_WARM);
    CHECK_INT(tier("c2"), AK_TIER_WARM);
    CHECK_INT(tier("c5"), AK_TIER_HOT);
    struct ak_tiers_overview all;
    ak_tiers_overview(tiers, &all);
    CHECK(all.pass.done >= 3 && all.pass.failed == 0);
    CHECK_INT(all.usage.collections[AK_TIER_HOT] + all.usage.collections[AK_TIER_WARM], 6);
    close_world();
}

TEST(tier, pinned_and_empty_collections_are_left_alone)
{
    open_world();
    make("pinned", 20);
    make("empty", 0);
    CHECK_OK(act("pinned", AK_TIER_PIN));
    ak_manual_clock_advance(&wall, 30 * DAY);
    CHECK_OK(run());
    ak_manual_clock_advance(&wall, 30 * DAY);
    CHECK_OK(run());
    CHECK_INT(tier("pinned"), AK_TIER_HOT);
    CHECK_INT(tier("empty"), AK_TIER_WARM);
    struct ak_tiers_overview all;
    ak_tiers_overview(tiers, &all);
    CHECK_INT(all.pass.failed, 0);
    CHECK_RC(AK_CONFLICT, act("pinned", AK_TIER_DEMOTE_TO_COLD));
    CHECK_OK(act("pinned", AK_TIER_UNPIN));
    CHECK_OK(run());
    CHECK_INT(tier("pinned"), AK_TIER_WARM);
    close_world();
}

/* --- When asked --- */

TEST(tier, every_action_goes_its_way_from_every_tier)
{
    static const struct {
        enum ak_tier_action before, action;
        enum ak_rc rc;
        enum ak_tier after;
    } rows[] = {
        {AK_TIER_PROMOTE_TO_HOT, AK_TIER_PROMOTE_TO_HOT, AK_OK, AK_TIER_HOT},
        {AK_TIER_PROMOTE_TO_HOT, AK_TIER_PROMOTE_TO_WARM, AK_CONFLICT, AK_TIER_HOT},
        {AK_TIER_PROMOTE_TO_HOT, AK_TIER_DEMOTE_TO_WARM, AK_OK, AK_TIER_WARM},
        {AK_TIER_DEMOTE_TO_WARM, AK_TIER_DEMOTE_TO_WARM, AK_OK, AK_TIER_WARM},
        {AK_TIER_DEMOTE_TO_WARM, AK_TIER_PROMOTE_TO_WARM, AK_OK, AK_TIER_WARM},
        {AK_TIER_DEMOTE_TO_WARM, AK_TIER_PROMOTE_TO_HOT, AK_OK, AK_TIER_HOT},
        {AK_TIER_PROMOTE_TO_HOT, AK_TIER_DEMOTE_TO_COLD, AK_OK, AK_TIER_COLD},
        {AK_TIER_DEMOTE_TO_COLD, AK_TIER_DEMOTE_TO_COLD, AK_OK, AK_TIER_COLD},
        {AK_TIER_DEMOTE_TO_COLD, AK_TIER_DEMOTE_TO_WARM, AK_CONFLICT, AK_TIER_COLD},
        {AK_TIER_DEMOTE_TO_COLD, AK_TIER_PROMOTE_TO_WARM, AK_OK, AK_TIER_WARM},
        {AK_TIER_DEMOTE_TO_COLD, AK_TIER_PROMOTE_TO_HOT, AK_OK, AK_TIER_HOT},
    };
    open_world();
    make("c", 30);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        CHECK_OK(act("c", rows[i].before));
        CHECK_INT(act("c", rows[i].action), rows[i].rc);
        CHECK_INT(tier("c"), rows[i].after);
        CHECK_OK(run()); /* which undoes nothing */
        CHECK_INT(tier("c"), rows[i].after);
    }
    CHECK_RC(AK_NOT_FOUND, act("none", AK_TIER_PIN));
    CHECK_RC(AK_NOT_FOUND, act("none", AK_TIER_PROMOTE_TO_HOT));
    CHECK_OK(act("c", AK_TIER_PROMOTE_TO_HOT));
    check_state(&world, "c", 30, 1);
    close_world();
}

TEST(tier, one_fetch_serves_all_who_wait)
{
    enum { WAITS = 50 };
    static struct waiter waiters[WAITS];
    open_world();
    make("c", 40);
    CHECK_OK(act("c", AK_TIER_DEMOTE_TO_COLD));
    struct ak_uuid id = status("c").view.id;
    for (size_t i = 0; i < WAITS; i++) {
        begin(&waiters[i]);
        ak_tiers_wake(tiers, &id, &waiters[i].wait);
    }
    for (size_t i = 0; i < WAITS; i++) {
        CHECK_OK(end(&waiters[i]));
    }
    CHECK_INT(tier("c"), AK_TIER_WARM);
    struct ak_arena arena;
    struct ak_job *jobs = NULL;
    size_t count = 0;
    size_t fetches = 0;
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_archive_jobs(world.archive, 1000, &arena, &jobs, &count, &err));
    for (size_t i = 0; i < count; i++) {
        fetches += jobs[i].kind == AK_JOB_TIER && jobs[i].to == AK_TIER_WARM;
    }
    ak_arena_release(&arena);
    CHECK_INT(fetches, 1);
    check_state(&world, "c", 40, 1);
    close_world();
}

/* --- When things are wrong --- */

TEST(tier, a_store_that_is_away_leaves_everything_and_all_catches_up)
{
    open_world();
    make("cold", 20);
    make("warm", 20);
    CHECK_OK(act("cold", AK_TIER_DEMOTE_TO_COLD));
    CHECK_OK(act("warm", AK_TIER_DEMOTE_TO_WARM));
    world_break(&world, AK_OBJSTORE_FAULT_SLOW_503, 0);
    CHECK_RC(AK_UNAVAILABLE, wake("cold"));
    CHECK(strstr(err.text, "object store"));
    ak_manual_clock_advance(&wall, 8 * DAY);
    CHECK_OK(run());
    struct ak_tiers_overview all;
    ak_tiers_overview(tiers, &all);
    CHECK_INT(all.pass.failed, 1);
    CHECK_INT(tier("warm"), AK_TIER_WARM);
    CHECK_INT(tier("cold"), AK_TIER_COLD);
    check_state(&world, "warm", 20, 1);
    world_heal(&world);
    CHECK_OK(wake("cold"));
    check_state(&world, "cold", 20, 1);
    ak_manual_clock_advance(&wall, 8 * DAY);
    while (tier("warm") != AK_TIER_COLD) { /* once the pause for the store is over */
        CHECK_OK(run());
    }
    CHECK_OK(wake("warm"));
    check_state(&world, "warm", 20, 1);
    close_world();
}

TEST(tier, a_collection_that_is_dropped_while_it_is_waited_for_is_not_found)
{
    open_world();
    make("c", 20);
    CHECK_OK(act("c", AK_TIER_DEMOTE_TO_COLD));
    struct ak_uuid id = status("c").view.id;
    CHECK_OK(ak_engine_drop(world.engine, AK_STR("c"), &err));
    struct waiter waiter;
    begin(&waiter);
    ak_tiers_wake(tiers, &id, &waiter.wait);
    CHECK_RC(AK_NOT_FOUND, end(&waiter));
    close_world();
}

TEST(tier, a_manager_that_has_stopped_ends_every_wait)
{
    open_world();
    make("c", 20);
    CHECK_OK(act("c", AK_TIER_DEMOTE_TO_COLD));
    ak_tiers_stop(tiers);
    ak_tiers_stop(tiers);
    CHECK_RC(AK_UNAVAILABLE, wake("c"));
    CHECK_RC(AK_UNAVAILABLE, run());
    CHECK_RC(AK_UNAVAILABLE, act("c", AK_TIER_PROMOTE_TO_HOT));
    stop();
    start();
    CHECK_OK(wake("c"));
    check_state(&world, "c", 20, 1);
    close_world();
}

TEST(tier, waits_of_all_kinds_end_while_the_manager_stops)
{
    enum { ROUNDS = 6, COUNT = 8 };
    static struct waiter waiters[COUNT];
    open_world();
    for (unsigned i = 0; i < COUNT; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "c%u", i);
        make(name, 30);
    }
    for (unsigned turn = 0; turn < ROUNDS; turn++) {
        for (unsigned i = 0; i < COUNT; i++) {
            char name[8];
            (void)snprintf(name, sizeof name, "c%u", i);
            begin(&waiters[i]);
            if (turn % 2) {
                ak_tiers_act(tiers, ak_str_of(name), AK_TIER_PROMOTE_TO_HOT, &waiters[i].wait);
            } else {
                ak_tiers_act(tiers, ak_str_of(name), AK_TIER_DEMOTE_TO_COLD, &waiters[i].wait);
            }
        }
        ak_tiers_stop(tiers);
        for (unsigned i = 0; i < COUNT; i++) {
            enum ak_rc rc = end(&waiters[i]);
            CHECK(rc == AK_OK || rc == AK_UNAVAILABLE);
        }
        stop();
        start();
    }
    for (unsigned i = 0; i < COUNT; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "c%u", i);
        CHECK_OK(act(name, AK_TIER_PROMOTE_TO_HOT));
        check_state(&world, name, 30, 1);
    }
    close_world();
}

TEST(tier, nothing_moves_by_itself_when_the_manager_is_off)
{
    open_world();
    stop();
    options.is_off = true;
    start();
    make("c", 20);
    ak_manual_clock_advance(&wall, 30 * DAY);
    CHECK_RC(AK_CONFLICT, run());
    CHECK_INT(tier("c"), AK_TIER_HOT);
    CHECK_OK(act("c", AK_TIER_DEMOTE_TO_COLD));
    CHECK_OK(wake("c"));
    check_state(&world, "c", 20, 1);
    options.rules.window_us = 0;
    struct ak_tiers *none = NULL;
    CHECK_RC(AK_INVALID, ak_tiers_open(&options, &none, &err));
    close_world();
}

TEST(tier, uses_and_tiers_are_the_same_after_a_restart)
{
    open_world();
    make("c", 20);
    CHECK_OK(act("c", AK_TIER_DEMOTE_TO_WARM));
    ak_manual_clock_advance(&wall, SECOND);
    use("c", 7);
    struct ak_tier_status before = status("c");
    CHECK_INT(before.accesses, 7);
    stop();
    start();
    struct ak_tier_status after = status("c");
    CHECK_INT(after.accesses, 7);
    CHECK_INT(after.view.tier, AK_TIER_WARM);
    CHECK_INT(after.view.last_access_us, before.view.last_access_us);
    CHECK_INT(after.view.since_us, before.view.since_us);
    use("c", 3);
    CHECK_OK(run());
    CHECK_INT(tier("c"), AK_TIER_HOT);
    close_world();
}

TEST(tier, a_clock_that_was_set_back_keeps_nothing_from_going_down)
{
    const int64_t years_us = INT64_C(10) * 365 * 24 * HOUR;
    open_world();
    make("docs", 60);
    ak_manual_clock_advance(&wall, years_us);
    use("docs", 1); /* in a time that will not come for long */
    CHECK_OK(run());
    stop();
    ak_manual_clock_init(&wall, NOON);
    start();
    CHECK_OK(run());
    CHECK(tier("docs") == AK_TIER_HOT && status("docs").view.last_access_us <= wall.now_us);
    ak_manual_clock_advance(&wall, 6 * HOUR);
    CHECK_OK(run());
    CHECK(tier("docs") == AK_TIER_WARM);
    stop(); /* what was set right is kept */
    start();
    ak_manual_clock_advance(&wall, 7 * 24 * HOUR);
    CHECK_OK(run());
    CHECK(tier("docs") == AK_TIER_COLD);
    CHECK_OK(wake("docs"));
    close_world();
}

TEST(tier, want_of_memory_anywhere_in_a_cycle_loses_nothing)
{
    open_world();
    make("c", 30);
    for (int64_t nth = 0;; nth += 3) {
        ak_fault_alloc_at(nth);
        enum ak_rc down = act("c", AK_TIER_DEMOTE_TO_COLD);
        enum ak_rc up = down == AK_OK ? act("c", AK_TIER_PROMOTE_TO_HOT) : AK_OK;
        enum ak_rc pass = run();
        bool fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK(down == AK_OK || down == AK_NOMEM || fired);
        CHECK(pass == AK_OK || pass == AK_NOMEM);
        CHECK(up == AK_OK || fired);
        CHECK_OK(act("c", AK_TIER_PROMOTE_TO_HOT));
        check_state(&world, "c", 30, 1);
        if (!fired) {
            break;
        }
    }
    close_world();
}

TEST_MAIN()
