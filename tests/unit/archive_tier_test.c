/* archive_tier_test.c — to the object store and back: one snapshot, bit for bit, whoever fails. */
#include "archive_world.h"
#include "base/fault.h"
#include "base/hash.h"
#include "engine/tiering.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

enum { MANY = 1500, FEW = 30 };

static const struct ak_str docs = {"docs", 4};

static struct ak_tier_view view_of(struct world *world)
{
    struct ak_tier_view view;
    CHECK_OK(ak_engine_tier(world->engine, docs, &view, &err));
    return view;
}

static enum ak_tier tier_of(struct world *world)
{
    return view_of(world).tier;
}

static bool covers(struct world *world, const struct ak_uuid *snapshot)
{
    struct ak_tier_view view = view_of(world);
    return ak_uuid_eq(&view.cover, snapshot);
}

static void fill(struct world *world, const char *dir, unsigned count)
{
    world_open(world, dir);
    (void)docs_create(world->engine, "docs");
    CHECK_OK(docs_put(world->engine, "docs", 0, count, 1));
}

static void sink(struct world *world)
{
    CHECK_OK(ak_archive_sink(world->archive, docs, NULL, NULL, &err));
    CHECK(tier_of(world) == AK_TIER_COLD);
}

static void wake(struct world *world)
{
    CHECK_OK(ak_archive_wake(world->archive, docs, NULL, NULL, &err));
    CHECK(tier_of(world) == AK_TIER_WARM);
}

/* The image that is in use, its bytes. */
static struct ak_buf image_of(struct world *world)
{
    struct ak_hold *hold = NULL;
    struct ak_buf bytes;
    ak_buf_init(&bytes, 0);
    CHECK_OK(ak_engine_hold(world->engine, docs, &hold, &err));
    if (ak_hold_image_path(hold)) {
        CHECK_OK(ak_fs_read_all(ak_fs_posix(), ak_hold_image_path(hold), 64 << 20, &bytes, &err));
    } else {
        ak_buf_add_str(&bytes, ak_hold_image_blob(hold));
    }
    ak_hold_release(hold);
    return bytes;
}

static void check_refused(struct world *world)
{
    struct ak_collection *collection = NULL;
    struct ak_hold *hold = NULL;
    struct ak_uuid job;
    struct ak_uuid snapshot;
    uint32_t before = view_of(world).accesses;
    CHECK_RC(AK_COLD, ak_engine_get(world->engine, docs, &collection, &err));
    CHECK(strstr(err.text, "object store") != NULL);
    CHECK_INT(view_of(world).accesses, before + 1);
    CHECK_RC(AK_COLD, ak_engine_peek(world->engine, docs, &collection, &err));
    CHECK_RC(AK_COLD, ak_engine_hold(world->engine, docs, &hold, &err));
    CHECK_RC(AK_COLD, ak_engine_tier_warm(world->engine, docs, &err));
    CHECK_RC(AK_COLD, ak_engine_tier_hot(world->engine, docs, &err));
    CHECK_RC(AK_COLD, ak_archive_create(world->archive, docs, NULL, &job, &snapshot, &err));
}

static void go_there_and_back(unsigned count)
{
    struct world world;
    fill(&world, ak_test_dir(), count);
    CHECK_OK(ak_engine_tier_warm(world.engine, docs, &err));
    struct ak_buf before = image_of(&world);
    struct ak_uuid job;
    CHECK_OK(ak_archive_sink(world.archive, docs, NULL, &job, &err));
    struct ak_tier_view cold = view_of(&world);
    CHECK(cold.tier == AK_TIER_COLD && !cold.is_open && cold.memory_bytes == 0);
    CHECK(cold.documents == count && cold.disk_bytes == before.len);
    CHECK_INT(docs_files(world.dir), 0);
    CHECK_INT(world_listed(&world, "docs"), 1);
    check_refused(&world);
    CHECK_OK(ak_archive_sink(world.archive, docs, NULL, NULL, &err)); /* it is there */
    for (int life = 0; life < 2; life++) {
        struct ak_arena arena;
        struct ak_job told;
        ak_arena_init(&arena, 0);
        CHECK_OK(ak_archive_job(world.archive, &job, &arena, &told, &err));
        CHECK(told.kind == AK_JOB_TIER && told.state == AK_JOB_DONE && told.to == AK_TIER_COLD);
        CHECK(ak_uuid_eq(&told.collection, &cold.id) && ak_uuid_eq(&told.snapshot, &cold.cover));
        ak_arena_release(&arena);
        world_stop(&world);
        world_start(&world);
        check_refused(&world);
    }
    wake(&world);
    struct ak_tier_view warm = view_of(&world);
    CHECK(warm.is_covered && ak_uuid_eq(&warm.cover, &cold.cover) && !warm.is_open);
    struct ak_buf after = image_of(&world);
    CHECK(after.len == before.len && memcmp(after.p, before.p, before.len) == 0);
    check_state(&world, "docs", count, 1);
    sink(&world); /* nothing was written: the same snapshot */
    CHECK_INT(world_listed(&world, "docs"), 1);
    wake(&world);
    CHECK_OK(docs_put(world.engine, "docs", 0, 3, 2));
    CHECK(tier_of(&world) == AK_TIER_HOT && !view_of(&world).is_covered);
    sink(&world);
    CHECK_INT(world_listed(&world, "docs"), 2);
    wake(&world);
    for (unsigned n = 0; n < 6; n++) {
        CHECK_INT(docs_version(world.engine, "docs", n), n < 3 ? 2 : 1);
    }
    ak_buf_release(&before);
    ak_buf_release(&after);
    world_close(&world);
}

TEST(archive_tier, a_collection_goes_to_the_store_with_one_snapshot_and_comes_back_bit_for_bit)
{
    go_there_and_back(MANY);
}

TEST(archive_tier, a_tiny_collection_does_so_too)
{
    go_there_and_back(FEW);
}

TEST(archive_tier, a_snapshot_that_was_made_before_covers_a_collection_that_has_not_changed)
{
    struct world world;
    fill(&world, ak_test_dir(), FEW);
    struct ak_uuid snapshot = world_snapshot(&world, "docs");
    CHECK(view_of(&world).is_covered);
    world_stop(&world);
    world_start(&world); /* known after a restart too */
    CHECK(view_of(&world).is_covered && covers(&world, &snapshot));
    sink(&world);
    CHECK_INT(world_listed(&world, "docs"), 1);
    CHECK(covers(&world, &snapshot));
    world_close(&world);
}

TEST(archive_tier, a_lossy_snapshot_or_one_without_an_image_covers_nothing)
{
    struct world world;
    struct ak_uuid job;
    struct ak_uuid snapshot;
    struct ak_snapshot_options lossy = {
        .format = AK_SNAPSHOT_PARQUET, .compression = AK_CODEC_ZSTD, .encoding = AK_SNAPSHOT_BF16};
    struct ak_snapshot_options bare = {.format = AK_SNAPSHOT_JSON, .no_image = true};
    fill(&world, ak_test_dir(), FEW);
    CHECK_OK(ak_archive_create(world.archive, docs, &lossy, &job, &snapshot, &err));
    CHECK_OK(ak_archive_wait(world.archive, &job, WORLD_WAIT_MS, &err));
    CHECK_OK(ak_archive_create(world.archive, docs, &bare, &job, &snapshot, &err));
    CHECK_OK(ak_archive_wait(world.archive, &job, WORLD_WAIT_MS, &err));
    CHECK(!view_of(&world).is_covered);
    sink(&world);
    CHECK_INT(world_listed(&world, "docs"), 3);
    wake(&world);
    check_state(&world, "docs", FEW, 1);
    world_close(&world);
}

TEST(archive_tier, the_snapshot_of_a_cold_collection_is_neither_deleted_nor_retained_away)
{
    struct world world;
    fill(&world, ak_test_dir(), FEW);
    struct ak_uuid old = world_snapshot(&world, "docs");
    sink(&world);
    struct ak_uuid cover = view_of(&world).cover;
    CHECK(ak_uuid_eq(&cover, &old));
    CHECK_RC(AK_CONFLICT, ak_archive_delete(world.archive, docs, &cover, &err));
    CHECK(strstr(err.text, "is cold and lives in this snapshot") != NULL);
    world_stop(&world);
    world.options.retain_count = 1;
    world.options.retain_age_s = 1;
    world_start(&world);
    CHECK_RC(AK_CONFLICT, ak_archive_delete(world.archive, docs, &cover, &err));
    CHECK_OK(ak_archive_run_due(world.archive, &err));
    CHECK_INT(world_listed(&world, "docs"), 1);
    wake(&world);
    CHECK_OK(ak_archive_delete(world.archive, docs, &cover, &err)); /* it lives here again */
    CHECK(!view_of(&world).is_covered);
    check_state(&world, "docs", FEW, 1);
    sink(&world);
    CHECK_INT(world_listed(&world, "docs"), 1);
    CHECK_OK(ak_engine_drop(world.engine, docs, &err)); /* without fetching */
    CHECK_RC(AK_NOT_FOUND, ak_archive_wake(world.archive, docs, NULL, NULL, &err));
    world_close(&world);
}

TEST(archive_tier, an_empty_collection_stays_and_an_absent_one_is_said_to_be_absent)
{
    struct world world;
    fill(&world, ak_test_dir(), 0);
    CHECK_RC(AK_INVALID, ak_archive_sink(world.archive, docs, NULL, NULL, &err));
    CHECK_RC(AK_NOT_FOUND, ak_archive_sink(world.archive, AK_STR("x"), NULL, NULL, &err));
    CHECK_OK(ak_archive_wake(world.archive, docs, NULL, NULL, &err)); /* it is not cold */
    world_close(&world);
}

TEST(archive_tier, a_store_that_is_away_leaves_everything_as_it_was)
{
    struct world world;
    fill(&world, ak_test_dir(), MANY);
    world_break(&world, AK_OBJSTORE_FAULT_SLOW_503, 0);
    enum ak_rc rc = ak_archive_sink(world.archive, docs, NULL, NULL, &err);
    CHECK(rc != AK_OK && ak_rc_is_retryable(rc));
    CHECK(tier_of(&world) == AK_TIER_WARM);
    check_state(&world, "docs", MANY, 1);
    world_heal(&world);
    CHECK_OK(ak_archive_settle(world.archive, WORLD_WAIT_MS, &err));
    sink(&world);
    world_break(&world, AK_OBJSTORE_FAULT_SLOW_503, 0);
    rc = ak_archive_wake(world.archive, docs, NULL, NULL, &err);
    CHECK(rc != AK_OK && ak_rc_is_retryable(rc));
    CHECK(tier_of(&world) == AK_TIER_COLD && !view_of(&world).is_moving);
    CHECK_INT(docs_files(world.dir), 0);
    world_heal(&world);
    wake(&world);
    check_state(&world, "docs", MANY, 1);
    CHECK_INT(world_listed(&world, "docs"), 1);
    world_close(&world);
}

TEST(archive_tier, a_snapshot_that_is_not_whole_any_more_is_not_relied_on)
{
    struct world world;
    struct ak_arena arena;
    struct ak_snapshot_meta meta;
    fill(&world, ak_test_dir(), FEW);
    struct ak_uuid snapshot = world_snapshot(&world, "docs");
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_archive_get(world.archive, docs, &snapshot, &arena, &meta, &err));
    CHECK_OK(ak_objstore_remove(world.under, meta.image.key, &err));
    ak_arena_release(&arena);
    CHECK(view_of(&world).is_covered); /* as far as is known here */
    sink(&world);
    CHECK(!covers(&world, &snapshot));
    wake(&world);
    check_state(&world, "docs", FEW, 1);
    world_close(&world);
}

TEST(archive_tier, a_damaged_image_is_built_anew_from_the_documents_and_covers_nothing)
{
    struct world world;
    fill(&world, ak_test_dir(), MANY);
    sink(&world);
    world_damage(&world, ".akx");
    wake(&world);
    CHECK(!view_of(&world).is_covered);
    check_state(&world, "docs", MANY, 1);
    sink(&world);
    CHECK_INT(world_listed(&world, "docs"), 2);
    wake(&world);
    check_state(&world, "docs", MANY, 1);
    world_close(&world);
}

TEST(archive_tier, damage_to_everything_leaves_it_cold_and_says_what_is_damaged)
{
    struct world world;
    fill(&world, ak_test_dir(), FEW);
    sink(&world);
    world_damage(&world, ".akx");
    world_damage_data(&world);
    CHECK_RC(AK_CORRUPT, ak_archive_wake(world.archive, docs, NULL, NULL, &err));
    CHECK(tier_of(&world) == AK_TIER_COLD);
    CHECK_INT(docs_files(world.dir), 0);
    world_close(&world);
}

/* --- Those who are told --- */

struct listener {
    unsigned calls, stop_at;
};

static bool listen(void *ctx, double fraction)
{
    struct listener *listener = ctx;
    CHECK(fraction >= 0 && fraction <= 1);
    return ++listener->calls < listener->stop_at;
}

TEST(archive_tier, a_move_is_stopped_by_who_is_told_of_its_progress)
{
    struct world world;
    struct listener listener = {.stop_at = 1};
    struct ak_archive_move move = {listen, &listener};
    fill(&world, ak_test_dir(), MANY);
    CHECK_RC(AK_UNAVAILABLE, ak_archive_sink(world.archive, docs, &move, NULL, &err));
    CHECK(tier_of(&world) != AK_TIER_COLD);
    listener = (struct listener){.stop_at = UINT32_MAX};
    CHECK_OK(ak_archive_sink(world.archive, docs, &move, NULL, &err));
    CHECK(listener.calls >= 2);
    listener = (struct listener){.stop_at = 1};
    CHECK_RC(AK_UNAVAILABLE, ak_archive_wake(world.archive, docs, &move, NULL, &err));
    CHECK(tier_of(&world) == AK_TIER_COLD);
    listener = (struct listener){.stop_at = UINT32_MAX};
    CHECK_OK(ak_archive_wake(world.archive, docs, &move, NULL, &err));
    check_state(&world, "docs", MANY, 1);
    world_close(&world);
}

/* --- References, writers and other jobs meanwhile --- */

TEST(archive_tier, references_from_before_read_on_and_their_writes_are_refused)
{
    struct world world;
    struct ak_collection *before = NULL;
    struct doc_texts texts;
    struct ak_document doc = doc_of(1, 2, &texts);
    struct ak_write write;
    uint64_t count = 0;
    fill(&world, ak_test_dir(), MANY);
    CHECK_OK(ak_engine_get(world.engine, docs, &before, &err));
    sink(&world);
    CHECK_INT(docs_files(world.dir), 0);
    CHECK_OK(ak_collection_count(before, NULL, &count, &err));
    CHECK_INT(count, MANY);
    CHECK_RC(AK_COLD, ak_collection_upsert(before, &doc, 1, true, NULL, &write, &err));
    CHECK_RC(AK_COLD, ak_collection_delete(before, &doc.id, 1, &write, &err));
    wake(&world);
    CHECK_RC(AK_COLD, ak_collection_upsert(before, &doc, 1, true, NULL, &write, &err));
    ak_collection_unref(before);
    check_state(&world, "docs", MANY, 1);
    world_close(&world);
}

struct mover {
    struct world *world;
    _Atomic unsigned moved;
    _Atomic bool stop;
};

static void *move_on(void *arg)
{
    struct mover *mover = arg;
    struct ak_err mine;
    while (!atomic_load(&mover->stop)) {
        enum ak_rc rc = ak_archive_sink(mover->world->archive, docs, NULL, NULL, &mine);
        if (rc == AK_OK) {
            atomic_fetch_add(&mover->moved, 1);
        } else if (rc != AK_CONFLICT) {
            abort();
        }
    }
    return NULL;
}

TEST(archive_tier, no_write_is_lost_while_another_thread_sends_the_collection_away)
{
    enum { WRITES = 60 };
    struct world world;
    struct mover mover = {.world = &world};
    pthread_t thread;
    fill(&world, ak_test_dir(), FEW);
    CHECK(pthread_create(&thread, NULL, move_on, &mover) == 0);
    for (unsigned n = 0; n < WRITES; n++) {
        unsigned moved = atomic_load(&mover.moved);
        while (n % 10 == 9 &&
               atomic_load(&mover.moved) == moved) { /* a pause that it gets away in */
            (void)usleep(200);
        }
        enum ak_rc rc = AK_COLD;
        while (rc == AK_COLD) { /* as the service does: wake it, and again */
            rc = docs_put(world.engine, "docs", FEW + n, 1, 1);
            if (rc == AK_COLD) {
                enum ak_rc woken = ak_archive_wake(world.archive, docs, NULL, NULL, &err);
                CHECK(woken == AK_OK || woken == AK_CONFLICT);
            }
        }
        CHECK_OK(rc);
    }
    atomic_store(&mover.stop, true);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_OK(ak_archive_wake(world.archive, docs, NULL, NULL, &err));
    check_state(&world, "docs", FEW + WRITES, 1);
    world_close(&world);
}

TEST(archive_tier, a_restore_in_place_of_a_cold_collection_brings_it_here)
{
    struct world world;
    fill(&world, ak_test_dir(), FEW);
    struct ak_uuid first = world_snapshot(&world, "docs");
    CHECK_OK(docs_put(world.engine, "docs", 0, FEW, 2));
    CHECK_OK(ak_engine_tier_pin(world.engine, docs, true, &err));
    sink(&world);
    CHECK_OK(world_restore(&world, "docs", &first, "", NULL));
    struct ak_tier_view view = view_of(&world);
    CHECK(view.tier == AK_TIER_WARM && view.is_covered && ak_uuid_eq(&view.cover, &first));
    CHECK(view.pinned);
    check_state(&world, "docs", FEW, 1);
    CHECK_OK(world_restore(&world, "docs", &first, "copy", NULL));
    CHECK_OK(ak_engine_tier(world.engine, AK_STR("copy"), &view, &err));
    CHECK(view.tier == AK_TIER_WARM && !view.is_covered); /* that snapshot is another's */
    CHECK_OK(docs_put(world.engine, "docs", 0, 1, 3));    /* HOT: a restore leaves it so */
    CHECK_OK(world_restore(&world, "docs", &first, "", NULL));
    CHECK(tier_of(&world) == AK_TIER_HOT);
    check_state(&world, "docs", FEW, 1);
    world_close(&world);
}

/* --- The n-th failure --- */

TEST(archive_tier, the_nth_allocation_fails_and_a_later_try_succeeds)
{
    struct world world;
    unsigned failed[2] = {0, 0};
    fill(&world, ak_test_dir(), MANY);
    for (int direction = 0; direction < 2; direction++) {
        bool fired = true;
        for (int64_t nth = 0; fired; nth += nth < 60 ? 1 : 7) {
            if (direction) {
                sink(&world);
            } else {
                CHECK_OK(ak_archive_wake(world.archive, docs, NULL, NULL, &err));
            }
            ak_fault_alloc_at(nth);
            enum ak_rc rc = direction ? ak_archive_wake(world.archive, docs, NULL, NULL, &err)
                                      : ak_archive_sink(world.archive, docs, NULL, NULL, &err);
            fired = ak_fault_alloc_fired();
            ak_fault_alloc_at(-1);
            failed[direction] += rc != AK_OK;
            bool is_cold = tier_of(&world) == AK_TIER_COLD;
            CHECK(is_cold == ((rc == AK_OK) == (direction == 0)));
            CHECK(!view_of(&world).is_moving);
            if (!is_cold) {
                check_state(&world, "docs", MANY, 1);
            }
        }
    }
    CHECK(failed[0] + failed[1] > 5);
    CHECK_OK(ak_archive_wake(world.archive, docs, NULL, NULL, &err));
    CHECK_OK(ak_archive_settle(world.archive, WORLD_WAIT_MS, &err));
    check_state(&world, "docs", MANY, 1);
    CHECK(docs_files(world.dir) == 1);
    world_close(&world);
}

/* The nth call of the store, and all after it, fail in this way during a move; then it is asked to
 * make none, and the move is as if it had not been begun, or done. true: one failed. */
static bool move_fails_at(struct world *world, bool comes_back, enum ak_objstore_fault fault,
                          int64_t nth)
{
    if (comes_back) {
        sink(world);
    } else {
        CHECK_OK(ak_archive_wake(world->archive, docs, NULL, NULL, &err));
        CHECK_OK(docs_put(world->engine, "docs", 0, 1, 1));
    }
    struct ak_objstore_fault_rule rule = {.fault = fault, .nth = nth, .sticky = true};
    ak_objstore_fault_set(world->store, &rule);
    enum ak_rc rc = comes_back ? ak_archive_wake(world->archive, docs, NULL, NULL, &err)
                               : ak_archive_sink(world->archive, docs, NULL, NULL, &err);
    bool fired = ak_objstore_fault_fired(world->store) > 0;
    world_heal(world);
    bool is_cold = tier_of(world) == AK_TIER_COLD;
    CHECK(is_cold == ((rc == AK_OK) != comes_back));
    CHECK_OK(ak_archive_settle(world->archive, WORLD_WAIT_MS, &err));
    return fired;
}

TEST(archive_tier, the_nth_call_of_the_store_fails_and_a_later_try_succeeds)
{
    static const enum ak_objstore_fault faults[] = {AK_OBJSTORE_FAULT_SLOW_503,
                                                    AK_OBJSTORE_FAULT_TIMEOUT};
    struct world world;
    fill(&world, ak_test_dir(), FEW);
    world_stop(&world);
    world.options.retries_max = 1;
    world_start(&world);
    for (int i = 0; i < 4; i++) {
        int64_t nth = 0;
        while (move_fails_at(&world, i / 2, faults[i % 2], nth)) {
            nth++;
        }
        CHECK(nth > 1);
    }
    CHECK_OK(ak_archive_wake(world.archive, docs, NULL, NULL, &err));
    check_state(&world, "docs", FEW, 1);
    world_close(&world);
}

TEST_MAIN()
