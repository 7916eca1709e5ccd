/* archive_copy_test.c — copying snapshots between stores while calls and allocations fail: nothing
 * half is ever listed, and what was broken off is finished by the next copy. */
#include "archive/copy.h"
#include "base/fault.h"
#include "unit/archive_world.h"
#include <dirent.h>

#define SNAPSHOTS 3

static struct ak_objstore *from; /* fails over the world's */
static struct ak_objstore *to_mem, *to;

static void begin(struct world *world)
{
    world_open(world, ak_test_dir());
    (void)docs_create(world->engine, "a");
    CHECK_OK(docs_put(world->engine, "a", 0, 20, 1));
    for (int i = 0; i < SNAPSHOTS; i++) {
        (void)world_snapshot(world, "a");
    }
    from = world->store;
}

static void open_target(void)
{
    CHECK_OK(ak_objstore_open_mem(NULL, &to_mem, &err));
    CHECK_OK(ak_objstore_open_fault(to_mem, &to, &err));
}

static void close_target(void)
{
    ak_objstore_close(to);
    ak_objstore_close(to_mem);
}

static void set(struct ak_objstore *store, enum ak_objstore_fault fault, int64_t nth)
{
    const struct ak_objstore_fault_rule rule = {.fault = fault, .nth = nth};
    ak_objstore_fault_set(store, &rule);
}

static char stage[1024];
static unsigned told[3];

static void on_object(void *ctx, const struct ak_copy_object *object, uint64_t done, uint64_t total)
{
    (void)ctx;
    told[object->result]++;
    CHECK(done <= total && total > 0);
    CHECK((object->result == AK_COPY_FAILED) == (object->message[0] != '\0'));
}

static enum ak_rc copy(struct ak_copy_report *report)
{
    const struct ak_copy_options options = {.from = from,
                                            .to = to,
                                            .stage = stage,
                                            .concurrency = 2,
                                            .delay_ms = 1,
                                            .on_object = on_object};
    (void)snprintf(stage, sizeof stage, "%s/stage", ak_test_dir());
    CHECK_OK(ak_fs_make_dirs(ak_fs_posix(), stage, &err));
    memset(told, 0, sizeof told);
    return ak_archive_copy(&options, report, &err);
}

static size_t staged(void)
{
    size_t count = 0;
    DIR *dir = opendir(stage);
    CHECK(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir));) {
        count += entry->d_name[0] != '.';
    }
    (void)closedir(dir);
    return count;
}

/* What the target lists can be restored, as far as sizes and sums tell; how many there are. */
static size_t whole(const struct ak_uuid *collection)
{
    struct ak_arena arena;
    struct ak_snapshot_meta *list = NULL;
    struct ak_snapshot_damages damages;
    struct ak_snapshot_report report;
    size_t count = 0;
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_snapshot_list(to_mem, collection, &arena, &list, &count, &damages, &err));
    CHECK_INT(damages.count, 0);
    for (size_t i = 0; i < count; i++) {
        CHECK_OK(ak_snapshot_verify(to_mem, &list[i], NULL, NULL, &report, &err));
    }
    ak_arena_release(&arena);
    return count;
}

static struct ak_uuid collection_of(struct world *world)
{
    struct ak_arena arena;
    struct ak_collection_summary summary;
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_engine_describe(world->engine, AK_STR("a"), &arena, &summary, &err));
    ak_arena_release(&arena);
    return summary.info.id;
}

TEST(copy, whichever_call_fails_what_is_listed_is_whole_and_the_next_copy_finishes)
{
    struct world world;
    struct ak_copy_report report;
    begin(&world);
    struct ak_uuid collection = collection_of(&world);
    for (int side = 0; side < 2; side++) {
        bool fired = true;
        for (int64_t nth = 0; fired; nth++) {
            open_target();
            struct ak_objstore *failing = side ? to : from;
            set(failing, AK_OBJSTORE_FAULT_DENIED_403, nth);
            enum ak_rc rc = copy(&report);
            fired = ak_objstore_fault_fired(failing) != 0;
            set(failing, AK_OBJSTORE_FAULT_NONE, -1);
            CHECK(fired || rc == AK_OK);
            CHECK(rc == AK_OK || rc == AK_FORBIDDEN);
            size_t listed = whole(&collection);
            CHECK(rc == AK_OK ? listed == SNAPSHOTS : listed <= SNAPSHOTS);
            CHECK(rc != AK_OK || (report.failed == 0 && told[AK_COPY_FAILED] == 0));
            CHECK_INT(report.snapshots_failed > 0, told[AK_COPY_FAILED] > 0);
            CHECK_INT(staged(), 0);
            size_t before = world_objects(to_mem);
            CHECK_OK(copy(&report));
            CHECK_INT(told[AK_COPY_THERE], before);
            CHECK_INT(report.there + report.copied, world_objects(from));
            CHECK_INT(whole(&collection), SNAPSHOTS);
            CHECK_INT(world_objects(to_mem), world_objects(from));
            close_target();
        }
    }
    world_close(&world);
}

TEST(copy, without_memory_it_fails_and_leaves_nothing_half)
{
    struct world world;
    struct ak_copy_report report;
    begin(&world);
    struct ak_uuid collection = collection_of(&world);
    enum ak_rc rc = AK_NOMEM;
    for (int64_t n = 0; rc != AK_OK; n++) {
        open_target();
        ak_fault_alloc_at(n);
        rc = copy(&report);
        bool fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK(fired || rc == AK_OK);
        CHECK(whole(&collection) <= SNAPSHOTS);
        CHECK_INT(staged(), 0);
        close_target();
        if (fired) {
            rc = AK_NOMEM;
        }
    }
    world_close(&world);
}

TEST_MAIN()
