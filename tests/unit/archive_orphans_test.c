/* archive_orphans_test.c — objects in the store that belong to no snapshot and to no job: those
 * that are old, and of a collection that is here, go after a start and after a snapshot. */
#include "archive_world.h"

static const int64_t HOUR_US = (int64_t)3600 * 1000000;
static const int64_t DAY_US = (int64_t)24 * 3600 * 1000000;

static void plant(struct world *world, const struct ak_uuid *collection, const struct ak_uuid *id,
                  const char *suffix)
{
    char key[200];
    char texts[2][AK_UUID_TEXT_LEN];
    ak_uuid_format(collection, texts[0]);
    ak_uuid_format(id, texts[1]);
    (void)snprintf(key, sizeof key, "snapshots/%.36s/%.36s%s", texts[0], texts[1], suffix);
    CHECK_OK(ak_objstore_put(world->under, ak_str_of(key), AK_STR("x"), NULL, &err));
}

/* A store whose objects are as old as the clock says, and a collection "a" in the engine; its id.
 */
static struct ak_uuid open_world(struct world *world, struct ak_manual_clock *clock)
{
    struct ak_objstore *dated = NULL;
    struct ak_arena arena;
    struct ak_collection_summary summary;
    ak_manual_clock_init(clock, (int64_t)1800000000 * 1000000);
    CHECK_OK(ak_objstore_open_mem(&clock->clock, &dated, &err));
    world_open(world, ak_test_dir());
    world_stop(world);
    ak_objstore_close(world->store);
    ak_objstore_close(world->under);
    world->under = dated;
    CHECK_OK(ak_objstore_open_fault(world->under, &world->store, &err));
    world->options.clock = &clock->clock;
    world_start(world);
    (void)docs_create(world->engine, "a");
    CHECK_OK(docs_put(world->engine, "a", 0, 20, 1));
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_engine_describe(world->engine, AK_STR("a"), &arena, &summary, &err));
    ak_arena_release(&arena);
    return summary.info.id;
}

TEST(archive_orphans, old_ones_of_a_collection_that_is_here_go_after_a_snapshot_and_no_others)
{
    struct world world;
    struct ak_manual_clock clock;
    struct ak_uuid_maker maker;
    struct ak_uuid here = open_world(&world, &clock);
    ak_uuid_maker_init(&maker, &clock.clock);
    struct ak_uuid elsewhere = ak_uuid_make(&maker);
    struct ak_uuid old = ak_uuid_make(&maker);
    plant(&world, &here, &old, ".parquet");
    plant(&world, &here, &old, ".akx");
    plant(&world, &elsewhere, &old, ".parquet");
    ak_manual_clock_advance(&clock, DAY_US + HOUR_US);
    struct ak_uuid young = ak_uuid_make(&maker);
    plant(&world, &here, &young, ".parquet"); /* young in both */
    plant(&world, &here, &old, ".json");      /* an old id, put just now */
    (void)world_snapshot(&world, "a");
    CHECK_OK(ak_archive_settle(world.archive, WORLD_WAIT_MS, &err));
    CHECK_INT(world_objects(world.under), 3 + 3); /* the snapshot's, and what is not to go */
    ak_manual_clock_advance(&clock, DAY_US + HOUR_US);
    (void)world_snapshot(&world, "a");
    CHECK_OK(ak_archive_settle(world.archive, WORLD_WAIT_MS, &err));
    CHECK_INT(world_objects(world.under), 6 + 1); /* elsewhere's stays for ever */
    plant(&world, &here, &old, ".akx");
    ak_manual_clock_advance(&clock, HOUR_US); /* not again on the same day */
    (void)world_snapshot(&world, "a");
    CHECK_OK(ak_archive_settle(world.archive, WORLD_WAIT_MS, &err));
    CHECK_INT(world_objects(world.under), 9 + 2);
    CHECK_INT(world_listed(&world, "a"), 3);
    world_close(&world);
}

TEST(archive_orphans, a_start_searches_the_whole_store_once_and_again_when_it_was_away)
{
    struct world world;
    struct ak_manual_clock clock;
    struct ak_uuid_maker maker;
    struct ak_uuid here = open_world(&world, &clock);
    ak_uuid_maker_init(&maker, &clock.clock);
    (void)world_snapshot(&world, "a");
    CHECK_OK(ak_archive_settle(world.archive, WORLD_WAIT_MS, &err));
    struct ak_uuid old = ak_uuid_make(&maker);
    struct ak_uuid elsewhere = ak_uuid_make(&maker);
    plant(&world, &here, &old, ".parquet"); /* as a catalog leaves it that came from a backup */
    plant(&world, &elsewhere, &old, ".akx");
    ak_manual_clock_advance(&clock, DAY_US + HOUR_US);
    struct ak_uuid young = ak_uuid_make(&maker);
    plant(&world, &here, &young, ".parquet");
    world_stop(&world);
    world_start(&world);
    world_break(&world, AK_OBJSTORE_FAULT_ERROR_500, AK_OBJSTORE_OP_LIST);
    CHECK_OK(ak_archive_run_due(world.archive, &err)); /* which does not fail for that */
    CHECK_INT(world_objects(world.under), 3 + 3);
    world_heal(&world);
    CHECK_OK(ak_archive_run_due(world.archive, &err));
    CHECK_INT(world_objects(world.under), 3 + 2); /* another server's, and a young one */
    CHECK_INT(world_listed(&world, "a"), 1);
    uint64_t lists = ak_objstore_fault_calls(world.store, AK_OBJSTORE_OP_LIST);
    CHECK_OK(ak_archive_run_due(world.archive, &err));
    CHECK_INT(ak_objstore_fault_calls(world.store, AK_OBJSTORE_OP_LIST), lists);
    world_close(&world);
}

TEST_MAIN()
