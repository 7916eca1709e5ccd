/* archive_kill_test.c — kill -9 at each crash point of create, restore and delete, in real
 * processes.
 *
 * A child opens folder and store (a directory), begins one operation and dies at the point. The
 * parent opens both again, waits until everything is settled, and looks: each listed snapshot is
 * whole, no other object is in the store, no other file among the images, and the live data are as
 * they were or, after the commit point of a restore, as restored.
 */
#include "archive_world.h"
#include <ftw.h>
#include <signal.h>
#include <sys/wait.h>

enum { DOCS = 150, ACKED_AT = 700 };

enum operation { CREATE, RESTORE_NEW, RESTORE_OVER, DELETE };

static const struct point {
    const char *name;
    enum operation operation;
    bool done; /* what the operation is for is there after the next start */
} points[] = {
    {"snapshot_after_row", CREATE, false},
    {"snapshot_after_hold", CREATE, false},
    {"checkpoint_before_commit", CREATE, false},
    {"snapshot_after_write", CREATE, false},
    {"after_s3_upload", CREATE, true},
    {"snapshot_after_commit", CREATE, true},
    {"snapshot_after_done", CREATE, true},
    {"restore_after_row", RESTORE_NEW, false},
    {"restore_after_fetch", RESTORE_NEW, false},
    {"adopt_before_rename", RESTORE_NEW, false},
    {"adopt_before_commit", RESTORE_NEW, false},
    {"adopt_after_commit", RESTORE_NEW, true},
    {"restore_after_adopt", RESTORE_NEW, true},
    {"restore_after_done", RESTORE_NEW, true},
    {"restore_after_row", RESTORE_OVER, false},
    {"restore_after_fetch", RESTORE_OVER, false},
    {"adopt_before_commit", RESTORE_OVER, false},
    {"adopt_after_commit", RESTORE_OVER, true},
    {"adopt_after_remove", RESTORE_OVER, true},
    {"restore_after_adopt", RESTORE_OVER, true},
    {"delete_after_row", DELETE, true},
    {"delete_after_remove", DELETE, true},
    {"delete_after_done", DELETE, true},
};

static void open_dir_world(struct world *world, const char *dir)
{
    char root[1200];
    (void)snprintf(root, sizeof root, "%s/objects", dir);
    *world = (struct world){.dir = dir, .options = world_options()};
    CHECK_OK(ak_objstore_open_dir(ak_fs_posix(), root, &world->under, &err));
    CHECK_OK(ak_objstore_open_fault(world->under, &world->store, &err));
    world_start(world);
}

/* The operation, in a process that is to die of it. */
static _Noreturn void child(const char *dir, const struct point *point, struct ak_uuid snapshot)
{
    struct world world;
    struct ak_uuid job;
    if (point->operation != CREATE || strncmp(point->name, "checkpoint", 10) != 0) {
        (void)setenv("AKIDB_CRASH_AT", point->name, 1);
    }
    open_dir_world(&world, dir);
    if (point->operation == CREATE) {
        (void)setenv("AKIDB_CRASH_AT", point->name, 1);
        CHECK_OK(docs_put(world.engine, "docs", ACKED_AT, 3, 4));
        CHECK_OK(ak_archive_create(world.archive, AK_STR("docs"), NULL, &job, &snapshot, &err));
    } else if (point->operation == DELETE) {
        (void)!ak_archive_delete(world.archive, AK_STR("docs"), &snapshot, &err);
        _exit(1);
    } else {
        CHECK_OK(ak_archive_restore(world.archive, AK_STR("docs"), &snapshot,
                                    point->operation == RESTORE_NEW ? AK_STR("copy") : AK_STR(""),
                                    &job, &err));
    }
    (void)!ak_archive_wait(world.archive, &job, WORLD_WAIT_MS, &err);
    (void)!ak_archive_settle(world.archive, WORLD_WAIT_MS, &err);
    _exit(1);
}

static size_t check_all_whole(struct world *world)
{
    struct ak_arena arena;
    struct ak_snapshot_meta *list = NULL;
    size_t count = 0;
    size_t objects = 0;
    ak_arena_init(&arena, 0);
    CHECK_OK(
        ak_archive_list(world->archive, AK_STR("docs"), NULL, &arena, &list, &count, NULL, &err));
    for (size_t i = 0; i < count; i++) {
        struct ak_snapshot_report report;
        CHECK_OK(ak_archive_verify(world->archive, AK_STR("docs"), &list[i].id, NULL, NULL, &report,
                                   &err));
        objects += 2 + list[i].has_image;
    }
    CHECK_INT(world_objects(world->under), objects);
    ak_arena_release(&arena);
    return count;
}

static void check_after(const char *dir, const struct point *point, size_t listed)
{
    struct world world;
    open_dir_world(&world, dir);
    CHECK_OK(ak_archive_settle(world.archive, WORLD_WAIT_MS, &err));
    size_t now = check_all_whole(&world);
    bool is_over = point->operation == RESTORE_OVER && point->done;
    if (point->operation == CREATE) {
        CHECK_INT(now, listed + point->done);
        CHECK_INT(docs_version(world.engine, "docs", ACKED_AT + 1), 4);
    } else {
        CHECK_INT(now, listed - (point->operation == DELETE));
    }
    CHECK_INT(docs_version(world.engine, "docs", 5), is_over ? 1 : 2);
    CHECK_INT(docs_version(world.engine, "docs", DOCS - 1), is_over ? 1 : 2);
    CHECK_OK(ak_engine_verify(world.engine, AK_STR("docs"), &err));
    bool copied = point->operation == RESTORE_NEW && point->done;
    CHECK_INT(ak_engine_collection_count(world.engine), copied ? 2 : 1);
    if (copied) {
        check_state(&world, "copy", DOCS, 1);
    }
    CHECK(docs_files(dir) <= ak_engine_collection_count(world.engine));
    world_close(&world);
}

static unsigned rounds_wanted(unsigned otherwise)
{
    const char *text = getenv("AKIDB_KILL_ROUNDS");
    return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static void die_at(const char *dir, const struct point *point)
{
    struct world world;
    int status = 0;
    open_dir_world(&world, dir);
    (void)docs_create(world.engine, "docs");
    CHECK_OK(docs_put(world.engine, "docs", 0, DOCS, 1));
    struct ak_uuid snapshot = world_snapshot(&world, "docs");
    (void)world_snapshot(&world, "docs");
    CHECK_OK(docs_put(world.engine, "docs", 0, DOCS, 2));
    world_close(&world);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        child(dir, point, snapshot);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 137) {
        ak_test_fail(__FILE__, __LINE__, "%s was never reached (status %d)", point->name, status);
    }
    check_after(dir, point, 2);
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

TEST(archive_kill, a_crash_at_each_point_leaves_nothing_half_listed_or_orphaned)
{
    unsigned rounds = rounds_wanted(5); /* × 23 points */
    for (unsigned round = 0; round < rounds; round++) {
        for (size_t p = 0; p < sizeof points / sizeof points[0]; p++) {
            char dir[1024];
            (void)snprintf(dir, sizeof dir, "%s/%u-%zu", ak_test_dir(), round, p);
            die_at(dir, &points[p]);
            CHECK_INT(nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
        }
    }
}

/* Snapshots, restores and deletions without end. */
static _Noreturn void churn(const char *dir, uint64_t seed)
{
    struct world world;
    struct ak_rand rand;
    struct ak_err mine;
    ak_rand_seed(&rand, seed);
    open_dir_world(&world, dir);
    for (unsigned i = 0;; i++) {
        struct ak_uuid job;
        struct ak_uuid snapshot;
        struct ak_arena arena;
        struct ak_snapshot_meta *list = NULL;
        size_t count = 0;
        (void)!ak_archive_create(world.archive, AK_STR("docs"), NULL, &job, &snapshot, &mine);
        ak_arena_init(&arena, 0);
        if (ak_archive_list(world.archive, AK_STR("docs"), NULL, &arena, &list, &count, NULL,
                            &mine) == AK_OK &&
            count) {
            const struct ak_uuid *one = &list[ak_rand_below(&rand, count)].id;
            (void)!ak_archive_restore(world.archive, AK_STR("docs"), one, AK_STR(""), &job, &mine);
            if (count > 3) {
                (void)!ak_archive_delete(world.archive, AK_STR("docs"), &list[count - 1].id, &mine);
            }
        }
        ak_arena_release(&arena);
        if (i % 4 == 3) {
            (void)!ak_archive_settle(world.archive, WORLD_WAIT_MS, &mine);
        }
    }
}

TEST(archive_kill, kill_9_at_random_moments_leaves_nothing_half_listed_or_orphaned)
{
    const char *dir = ak_test_dir();
    struct world world;
    struct ak_rand rand;
    ak_rand_seed(&rand, ak_test_seed());
    open_dir_world(&world, dir);
    (void)docs_create(world.engine, "docs");
    CHECK_OK(docs_put(world.engine, "docs", 0, DOCS, 1));
    world_close(&world);
    for (unsigned round = 0; round < rounds_wanted(100); round++) {
        uint64_t seed = ak_rand_u64(&rand);
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            churn(dir, seed);
        }
        (void)usleep((useconds_t)(5000 + ak_rand_below(&rand, 60000)));
        (void)kill(pid, SIGKILL);
        CHECK(waitpid(pid, NULL, 0) == pid);
        open_dir_world(&world, dir);
        CHECK_OK(ak_archive_settle(world.archive, WORLD_WAIT_MS, &err));
        (void)check_all_whole(&world);
        check_state(&world, "docs", DOCS, 1);
        CHECK(docs_files(dir) <= 1);
        CHECK_INT(ak_engine_collection_count(world.engine), 1);
        world_close(&world);
    }
}

/* Dies while both of its jobs wait. */
static _Noreturn void wait_and_die(const char *dir, const struct ak_uuid *first)
{
    struct world world;
    struct ak_uuid jobs[2];
    struct ak_uuid snapshot;
    char text[400];
    open_dir_world(&world, dir);
    world_stop(&world);
    world.options.retries_max = 0;
    world.options.retry_ms = 60000;
    world_start(&world);
    CHECK_OK(
        ak_archive_restore(world.archive, AK_STR("docs"), first, AK_STR("copy"), &jobs[0], &err));
    CHECK_OK(ak_archive_wait(world.archive, &jobs[0], WORLD_WAIT_MS, &err));
    CHECK_OK(ak_engine_drop(world.engine, AK_STR("copy"), &err));
    struct ak_objstore_fault_rule rule = {
        .fault = AK_OBJSTORE_FAULT_ERROR_500, .ops = 0, .nth = 2, .sticky = true};
    ak_objstore_fault_set(world.store, &rule); /* two calls ask whether the snapshot is there */
    CHECK_OK(
        ak_archive_restore(world.archive, AK_STR("docs"), first, AK_STR("copy"), &jobs[0], &err));
    (void)world_await_try(&world, &jobs[0], 0, text);
    CHECK_OK(ak_archive_create(world.archive, AK_STR("docs"), NULL, &jobs[1], &snapshot, &err));
    (void)world_await_try(&world, &jobs[1], 0, text);
    (void)kill(getpid(), SIGKILL);
    _exit(1);
}

TEST(archive_kill, what_waits_for_the_store_when_the_server_is_killed_is_begun_anew)
{
    struct world world;
    const char *dir = ak_test_dir();
    int status = 0;
    open_dir_world(&world, dir);
    (void)docs_create(world.engine, "docs");
    CHECK_OK(docs_put(world.engine, "docs", 0, DOCS, 1));
    struct ak_uuid first = world_snapshot(&world, "docs");
    CHECK_OK(docs_put(world.engine, "docs", 0, DOCS, 2));
    world_close(&world);
    (void)fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        wait_and_die(dir, &first);
    }
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    open_dir_world(&world, dir);
    CHECK_OK(ak_archive_settle(world.archive, WORLD_WAIT_MS, &err));
    CHECK_INT(world_listed(&world, "docs"), 2);
    check_state(&world, "copy", DOCS, 1);
    check_state(&world, "docs", DOCS, 2);
    world_close(&world);
}

TEST_MAIN()
