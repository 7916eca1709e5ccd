/* archive_fault_test.c — the n-th call of the store fails, for every n and in every way.
 *
 * Whatever fails, a job ends, with a code and a text; and once the store is well again and all is
 * settled, a snapshot is listed and whole, or not listed and nothing of it is left in the store or
 * in the data folder; the live data are as they were, or wholly as restored.
 */
#include "archive_world.h"
#include "base/fault.h"
#include <errno.h>

enum { FEW = 30 };

static const enum ak_objstore_fault faults[] = {
    AK_OBJSTORE_FAULT_ERROR_500, AK_OBJSTORE_FAULT_SLOW_503, AK_OBJSTORE_FAULT_DENIED_403,
    AK_OBJSTORE_FAULT_TIMEOUT,   AK_OBJSTORE_FAULT_RESET,    AK_OBJSTORE_FAULT_LOST_ANSWER,
};

/* Every snapshot that is listed can be restored, and there are no other objects. */
static void check_store(struct world *world)
{
    struct ak_arena arena;
    struct ak_snapshot_meta *list = NULL;
    size_t count = 0;
    ak_arena_init(&arena, 0);
    CHECK_OK(
        ak_archive_list(world->archive, AK_STR("docs"), NULL, &arena, &list, &count, NULL, &err));
    size_t objects = 0;
    for (size_t i = 0; i < count; i++) {
        struct ak_snapshot_report report;
        CHECK_OK(ak_archive_verify(world->archive, AK_STR("docs"), &list[i].id, NULL, NULL, &report,
                                   &err));
        objects += 2 + list[i].has_image;
    }
    CHECK_INT(world_objects(world->under), objects);
    ak_arena_release(&arena);
}

static void settle(struct world *world)
{
    world_heal(world);
    CHECK_OK(ak_archive_settle(world->archive, WORLD_WAIT_MS, &err));
}

/* A rule for the nth call on; true while there was one. */
static void set_rule(struct world *world, enum ak_objstore_fault fault, int nth, bool sticky)
{
    struct ak_objstore_fault_rule rule = {.fault = fault, .nth = nth, .sticky = sticky};
    ak_objstore_fault_set(world->store, &rule);
}

static void begin(struct world *world, const char *dir)
{
    world_open(world, dir);
    (void)docs_create(world->engine, "docs");
    CHECK_OK(docs_put(world->engine, "docs", 0, FEW, 1));
}

TEST(archive_fault, the_nth_call_of_a_snapshot_fails_and_it_is_whole_or_gone)
{
    struct world world;
    begin(&world, ak_test_dir());
    for (int sticky = 0; sticky < 2; sticky++) {
        for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++) {
            bool fired = true;
            for (int nth = 0; fired; nth++) {
                struct ak_uuid job;
                struct ak_uuid snapshot;
                size_t before = world_listed(&world, "docs");
                set_rule(&world, faults[f], nth, sticky);
                CHECK_OK(
                    ak_archive_create(world.archive, AK_STR("docs"), NULL, &job, &snapshot, &err));
                enum ak_rc rc = ak_archive_wait(world.archive, &job, WORLD_WAIT_MS, &err);
                fired = ak_objstore_fault_fired(world.store) > 0;
                CHECK(rc == AK_OK || (fired && err.text[0] && rc != AK_TIMEOUT) ||
                      (rc == AK_TIMEOUT && faults[f] == AK_OBJSTORE_FAULT_TIMEOUT));
                CHECK(rc == AK_OK || sticky || faults[f] == AK_OBJSTORE_FAULT_DENIED_403);
                settle(&world);
                CHECK_INT(world_listed(&world, "docs"), before + (rc == AK_OK));
                check_store(&world);
                if (world_listed(&world, "docs") > 4) {
                    struct ak_arena arena;
                    struct ak_snapshot_meta *list = NULL;
                    size_t count = 0;
                    ak_arena_init(&arena, 0);
                    CHECK_OK(ak_archive_list(world.archive, AK_STR("docs"), NULL, &arena, &list,
                                             &count, NULL, &err));
                    for (size_t i = 0; i < count; i++) {
                        CHECK_OK(
                            ak_archive_delete(world.archive, AK_STR("docs"), &list[i].id, &err));
                    }
                    ak_arena_release(&arena);
                }
            }
        }
    }
    check_state(&world, "docs", FEW, 1);
    world_close(&world);
}

TEST(archive_fault, the_nth_call_of_a_restore_fails_and_the_state_is_the_old_or_the_new_one)
{
    struct world world;
    begin(&world, ak_test_dir());
    struct ak_uuid snapshot = world_snapshot(&world, "docs");
    for (int sticky = 0; sticky < 2; sticky++) {
        for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++) {
            bool fired = true;
            for (int nth = 0; fired; nth++) {
                CHECK_OK(docs_put(world.engine, "docs", 0, FEW + 5, 2));
                set_rule(&world, faults[f], nth, sticky);
                enum ak_rc in_place = world_restore(&world, "docs", &snapshot, "", NULL);
                fired = ak_objstore_fault_fired(world.store) > 0;
                set_rule(&world, faults[f], nth, sticky);
                enum ak_rc as_new = world_restore(&world, "docs", &snapshot, "copy", NULL);
                CHECK(fired || in_place == AK_OK);
                settle(&world);
                if (in_place == AK_OK) {
                    check_state(&world, "docs", FEW, 1);
                } else {
                    check_state(&world, "docs", FEW + 5, 2);
                }
                CHECK_INT(ak_engine_collection_count(world.engine), as_new == AK_OK ? 2 : 1);
                if (as_new == AK_OK) {
                    check_state(&world, "copy", FEW, 1);
                    CHECK_OK(ak_engine_drop(world.engine, AK_STR("copy"), &err));
                }
                check_store(&world);
            }
        }
    }
    CHECK(docs_files(world.dir) <= 1); /* no staging file is left */
    world_close(&world);
}

TEST(archive_fault, the_nth_call_of_a_deletion_fails_and_it_is_finished_all_the_same)
{
    struct world world;
    begin(&world, ak_test_dir());
    for (int sticky = 0; sticky < 2; sticky++) {
        for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++) {
            bool fired = true;
            for (int nth = 0; fired; nth++) {
                struct ak_uuid snapshot = world_snapshot(&world, "docs");
                set_rule(&world, faults[f], nth, sticky);
                enum ak_rc rc = ak_archive_delete(world.archive, AK_STR("docs"), &snapshot, &err);
                fired = ak_objstore_fault_fired(world.store) > 0;
                CHECK(rc == AK_OK || (fired && err.text[0]));
                if (nth % 2) { /* a restart between changes nothing */
                    world_stop(&world);
                    world_heal(&world);
                    world_start(&world);
                }
                settle(&world);
                CHECK_INT(world_objects(world.under), 0);
            }
        }
    }
    world_close(&world);
}

TEST(archive_fault, what_a_failed_snapshot_owes_is_removed_after_a_restart_too)
{
    struct world world;
    struct ak_uuid job;
    struct ak_uuid snapshot;
    begin(&world, ak_test_dir());
    /* Objects are put, the metadata, which is the last call of all, is not, and nothing can be
     * removed. */
    const unsigned ops = AK_OBJSTORE_OP_REMOVE | AK_OBJSTORE_OP_HEAD | AK_OBJSTORE_OP_PUT;
    uint64_t calls = ak_objstore_fault_calls(world.store, ops);
    snapshot = world_snapshot(&world, "docs");
    calls = ak_objstore_fault_calls(world.store, ops) - calls;
    CHECK_OK(ak_archive_delete(world.archive, AK_STR("docs"), &snapshot, &err));
    CHECK_INT(world_objects(world.under), 0);
    struct ak_objstore_fault_rule rule = {.fault = AK_OBJSTORE_FAULT_DENIED_403,
                                          .ops = ops,
                                          .nth = (int64_t)calls - 1,
                                          .sticky = true};
    ak_objstore_fault_set(world.store, &rule);
    CHECK_OK(ak_archive_create(world.archive, AK_STR("docs"), NULL, &job, &snapshot, &err));
    CHECK_RC(AK_FORBIDDEN, ak_archive_wait(world.archive, &job, WORLD_WAIT_MS, &err));
    CHECK(world_objects(world.under) > 0);
    CHECK_RC(AK_TIMEOUT, ak_archive_settle(world.archive, 0, &err));
    world_stop(&world);
    CHECK(world_objects(world.under) > 0);
    world_start(&world); /* the store is still away: the open does not wait for it */
    CHECK_RC(AK_FORBIDDEN, ak_archive_wait(world.archive, &job, 0, &err));
    settle(&world);
    CHECK_INT(world_objects(world.under), 0);
    world_close(&world);
}

/* A catalog or a disk that fails meanwhile. */
static bool disk_fails_at(const char *dir, unsigned ops, int nth, int errnum)
{
    struct world world = {.dir = dir, .options = world_options()};
    struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
    struct ak_uuid job;
    struct ak_uuid snapshot;
    CHECK_OK(ak_objstore_open_mem(NULL, &world.under, &err));
    CHECK_OK(ak_objstore_open_fault(world.under, &world.store, &err));
    world.engine = docs_engine_on(ak_fs_fault_fs(fault), dir);
    world.options.engine = world.engine;
    world.options.store = world.store;
    CHECK_OK(ak_archive_open(&world.options, &world.archive, &err));
    (void)docs_create(world.engine, "docs");
    CHECK_OK(docs_put(world.engine, "docs", 0, FEW, 1));
    ak_fs_fault_set(fault, ops, nth, errnum, false);
    enum ak_rc rc = ak_archive_create(world.archive, AK_STR("docs"), NULL, &job, &snapshot, &err);
    if (rc == AK_OK) { /* with a failed catalog only the next start knows */
        rc = ak_archive_wait(world.archive, &job, WORLD_WAIT_MS, &err);
        CHECK(rc != AK_TIMEOUT);
    }
    enum ak_rc restored = rc == AK_OK ? world_restore(&world, "docs", &snapshot, "copy", NULL) : rc;
    bool fired = ak_fs_fault_fired(fault);
    ak_fs_fault_set(fault, 0, -1, 0, false);
    world_stop(&world);
    ak_fs_fault_close(fault);
    world_start(&world);
    settle(&world);
    check_store(&world);
    check_state(&world, "docs", FEW, 1);
    CHECK(rc != AK_OK || world_listed(&world, "docs") == 1);
    CHECK(restored != AK_OK || ak_engine_collection_count(world.engine) == 2);
    if (ak_engine_collection_count(world.engine) == 2) {
        check_state(&world, "copy", FEW, 1);
    }
    world_close(&world);
    return fired;
}

TEST(archive_fault, the_nth_file_operation_fails_and_a_restart_sets_it_right)
{
    static const struct {
        unsigned ops;
        int errnum;
    } kinds[] = {{AK_FS_WRITE | AK_FS_OPEN | AK_FS_RENAME | AK_FS_REMOVE, EIO},
                 {AK_FS_SYNC | AK_FS_SYNC_DIR, EIO},
                 {AK_FS_WRITE | AK_FS_ALLOCATE, ENOSPC}};
    for (size_t k = 0; k < 3; k++) {
        bool fired = true;
        for (int nth = 0; fired; nth += 1 + nth / 12) {
            char dir[1024];
            (void)snprintf(dir, sizeof dir, "%s/%zu-%d", ak_test_dir(), k, nth);
            fired = disk_fails_at(dir, kinds[k].ops, nth, kinds[k].errnum);
        }
    }
}

TEST(archive_fault, the_nth_allocation_fails_and_the_job_ends_or_is_tried_again)
{
    struct world world;
    begin(&world, ak_test_dir());
    bool fired = true;
    for (int nth = 0; fired; nth += 1 + nth / 10) {
        struct ak_uuid job;
        struct ak_uuid snapshot;
        struct ak_job ended;
        ak_fault_alloc_at(nth);
        enum ak_rc rc =
            ak_archive_create(world.archive, AK_STR("docs"), NULL, &job, &snapshot, &err);
        rc = rc == AK_OK ? ak_archive_wait(world.archive, &job, WORLD_WAIT_MS, &err) : rc;
        rc = rc == AK_OK ? world_restore(&world, "docs", &snapshot, "copy", &ended) : rc;
        fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        if (rc != AK_OK && rc != AK_NOMEM) {
            ak_test_fail(__FILE__, __LINE__, "allocation %d: %s: %s", nth, ak_rc_name(rc),
                         err.text);
        }
        settle(&world);
        check_store(&world);
        if (rc == AK_OK) {
            check_state(&world, "copy", FEW, 1);
        }
        if (ak_engine_collection_count(world.engine) == 2) {
            CHECK_OK(ak_engine_drop(world.engine, AK_STR("copy"), &err));
        }
        world_heal(&world);
        if (world_listed(&world, "docs")) {
            CHECK_OK(ak_archive_delete(world.archive, AK_STR("docs"), &snapshot, &err));
        }
    }
    world_close(&world);
}

TEST_MAIN()
