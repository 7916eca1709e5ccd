/* archive_tierkill_test.c — kill -9 at every step of every move, and at random moments, under load.
 *
 * A child opens folder and store (a directory); one thread writes, one searches, and one moves two
 * collections (one with an image file, one tiny) between memory, disk and store without end. Before
 * each write the child notes in shared memory what it is about to do, and what was acknowledged
 * after it. It dies at the point, or at some moment. The parent opens both again and looks: every
 * document is as acknowledged or as intended by the write under way; no job of a move is left
 * running; each snapshot is whole, and the one that a cold collection lives in is there; no other
 * object is in the store, no other file among the images. The state stays for the next round.
 */
#include "archive_world.h"
#include "engine/tiering.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { COLLECTIONS = 2, KEYS = 400, VERSIONS = 9, SNAPSHOTS_KEPT = 3 };

static const char *const names[COLLECTIONS] = {"docs", "tiny"};
static const unsigned keys_of[COLLECTIONS] = {KEYS, 20};

static const char *const points[] = {
    "during_demotion",         "tier_warm_after_image",    "tier_warm_before_commit",
    "tier_warm_after_commit",  "tier_hot_before_commit",   "tier_hot_after_commit",
    "tier_cold_after_row",     "snapshot_after_row",       "snapshot_after_hold",
    "snapshot_after_write",    "after_s3_upload",          "snapshot_after_commit",
    "snapshot_after_done",     "tier_cold_after_snapshot", "tier_cold_before_commit",
    "tier_cold_after_commit",  "tier_cold_after_remove",   "tier_cold_before_done",
    "tier_cold_after_done",    "tier_wake_after_row",      "tier_wake_after_fetch",
    "tier_wake_before_commit", "tier_wake_after_commit",   "adopt_after_remove",
    "tier_wake_before_done",   "tier_wake_after_done",
};

struct key_state {
    _Atomic unsigned acked, intended; /* versions 1 to 9 */
};

struct shared {
    struct key_state keys[COLLECTIONS][KEYS];
    _Atomic uint64_t writes, searches, moves;
    _Atomic bool pause; /* the mover asks the writer for a moment without writes */
};

struct life {
    struct world world;
    struct shared *shared;
    uint64_t seed;
};

static void open_world(struct world *world, const char *dir)
{
    char root[1200];
    (void)snprintf(root, sizeof root, "%s/objects", dir);
    *world = (struct world){.dir = dir, .options = world_options()};
    world->options.retain_count = SNAPSHOTS_KEPT;
    CHECK_OK(ak_objstore_open_dir(ak_fs_posix(), root, &world->under, &err));
    CHECK_OK(ak_objstore_open_fault(world->under, &world->store, &err));
    world_start(world);
}

/* --- In the child: nothing may fail but for what a move means --- */

static void die(const char *what, const struct ak_err *why)
{
    (void)fprintf(stderr, "child: %s: %s\n", what, why->text);
    abort();
}

static void wake_up(struct life *life, unsigned c)
{
    struct ak_err mine;
    enum ak_rc rc = ak_archive_wake(life->world.archive, ak_str_of(names[c]), NULL, NULL, &mine);
    if (rc == AK_CONFLICT) {
        (void)usleep(500); /* it is being moved already */
    } else if (rc != AK_OK) {
        die("wake", &mine);
    }
}

static void write_one(struct life *life, unsigned c, unsigned key)
{
    struct key_state *state = &life->shared->keys[c][key];
    unsigned version = atomic_load(&state->acked) % VERSIONS + 1;
    struct doc_texts texts;
    struct ak_document doc = doc_of(key, version, &texts);
    struct ak_err mine;
    enum ak_rc rc = AK_COLD;
    atomic_store(&state->intended, version);
    while (rc == AK_COLD) {
        struct ak_collection *collection = NULL;
        struct ak_write write = {0};
        rc = ak_engine_get(life->world.engine, ak_str_of(names[c]), &collection, &mine);
        if (rc == AK_OK) {
            rc = ak_collection_upsert(collection, &doc, 1, true, NULL, &write, &mine);
        }
        if (rc == AK_OK) {
            rc = ak_engine_commit(life->world.engine, write.commit, &mine);
        }
        ak_collection_unref(collection);
        if (rc == AK_COLD) {
            wake_up(life, c);
        }
    }
    if (rc != AK_OK) {
        die("write", &mine);
    }
    atomic_store(&state->acked, version);
    atomic_fetch_add(&life->shared->writes, 1);
}

static void *write_on(void *arg)
{
    struct life *life = arg;
    struct ak_rand rand;
    ak_rand_seed(&rand, life->seed);
    for (;;) {
        unsigned c = (unsigned)ak_rand_below(&rand, COLLECTIONS);
        while (atomic_load(&life->shared->pause)) {
            (void)usleep(100);
        }
        write_one(life, c, (unsigned)ak_rand_below(&rand, keys_of[c]));
    }
    return NULL;
}

static void *search_on(void *arg)
{
    struct life *life = arg;
    struct ak_arena arena;
    struct ak_err mine;
    struct doc_texts texts;
    ak_arena_init(&arena, 0);
    for (unsigned n = 0;; n++) {
        struct ak_collection *collection = NULL;
        struct ak_found *found = NULL;
        uint32_t hits = 0;
        mine.text[0] = '\0';
        struct ak_document want = doc_of(n % KEYS, 1, &texts);
        struct ak_search search = {.vector = want.vector, .k = 5, .include = AK_INCLUDE_METADATA};
        enum ak_rc rc =
            ak_engine_get(life->world.engine, ak_str_of(names[n % 2]), &collection, &mine);
        if (rc == AK_OK) {
            rc = ak_collection_search(collection, &search, &arena, &found, &hits, &mine);
        }
        if (rc != AK_COLD && (rc != AK_OK || hits != 5)) {
            (void)fprintf(stderr, "child: code %d, %u hits\n", (int)rc, hits);
            die("search", &mine);
        }
        ak_collection_unref(collection);
        ak_arena_reset(&arena);
        atomic_fetch_add(&life->shared->searches, 1);
    }
    return NULL;
}

static enum ak_rc move_once(struct life *life, unsigned kind, struct ak_str name,
                            struct ak_err *mine)
{
    switch (kind) {
    case 0:
        return ak_engine_tier_warm(life->world.engine, name, mine);
    case 1:
        return ak_engine_tier_hot(life->world.engine, name, mine);
    case 2:
        return ak_archive_sink(life->world.archive, name, NULL, NULL, mine);
    default:
        return ak_archive_wake(life->world.archive, name, NULL, NULL, mine);
    }
}

/* Now and then against the writer, and then without it: every move comes to its end some time. */
static void move_one(struct life *life, unsigned kind, unsigned c)
{
    struct ak_err mine;
    for (int tries = 0; tries < 50; tries++) {
        enum ak_rc rc = move_once(life, kind, ak_str_of(names[c]), &mine);
        if (rc == AK_OK || rc == AK_COLD) {
            break;
        }
        if (rc != AK_CONFLICT) {
            die("move", &mine);
        }
        atomic_store(&life->shared->pause, true);
        (void)usleep(500);
    }
    atomic_store(&life->shared->pause, false);
    atomic_fetch_add(&life->shared->moves, 1);
}

static _Noreturn void child(const char *dir, struct shared *shared, uint64_t seed)
{
    struct life life = {.shared = shared, .seed = seed};
    pthread_t threads[2];
    struct ak_rand rand;
    ak_rand_seed(&rand, seed + 1);
    open_world(&life.world, dir);
    if (pthread_create(&threads[0], NULL, write_on, &life) != 0 ||
        pthread_create(&threads[1], NULL, search_on, &life) != 0) {
        abort();
    }
    for (;;) {
        move_one(&life, (unsigned)ak_rand_below(&rand, 4),
                 (unsigned)ak_rand_below(&rand, COLLECTIONS));
    }
}

/* --- In the parent --- */

static void check_snapshots(struct world *world, size_t *objects, bool *cold)
{
    for (unsigned c = 0; c < COLLECTIONS; c++) {
        struct ak_arena arena;
        struct ak_snapshot_meta *list = NULL;
        struct ak_tier_view view;
        size_t count = 0;
        bool has_cover = false;
        struct ak_str name = ak_str_of(names[c]);
        ak_arena_init(&arena, 0);
        CHECK_OK(ak_engine_tier(world->engine, name, &view, &err));
        CHECK_OK(ak_archive_list(world->archive, name, NULL, &arena, &list, &count, NULL, &err));
        for (size_t i = 0; i < count; i++) {
            struct ak_snapshot_report report;
            CHECK_OK(
                ak_archive_verify(world->archive, name, &list[i].id, NULL, NULL, &report, &err));
            *objects += 2 + list[i].has_image;
            has_cover = has_cover || ak_uuid_eq(&list[i].id, &view.cover);
        }
        cold[c] = view.tier == AK_TIER_COLD;
        CHECK(!cold[c] || has_cover);
        CHECK(!view.is_moving && (!cold[c] || !view.is_dirty));
        ak_arena_release(&arena);
    }
}

static void check_jobs(struct world *world)
{
    struct ak_arena arena;
    struct ak_job *jobs = NULL;
    size_t count = 0;
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_archive_jobs(world->archive, 1000, &arena, &jobs, &count, &err));
    for (size_t i = 0; i < count; i++) {
        CHECK(jobs[i].state != AK_JOB_RUNNING);
    }
    ak_arena_release(&arena);
}

static void check_documents(struct world *world, struct shared *shared, unsigned c)
{
    CHECK_INT(docs_count(world->engine, names[c]), keys_of[c]);
    for (unsigned key = 0; key < keys_of[c]; key++) {
        struct key_state *state = &shared->keys[c][key];
        unsigned acked = atomic_load(&state->acked);
        unsigned intended = atomic_load(&state->intended);
        unsigned found = docs_version(world->engine, names[c], key);
        if (found != acked && found != intended) {
            ak_test_fail(__FILE__, __LINE__, "'%s' key %u holds version %u, not %u or %u", names[c],
                         key, found, acked, intended);
        }
        atomic_store(&state->acked, found);
        atomic_store(&state->intended, found);
    }
    CHECK_OK(ak_engine_verify(world->engine, ak_str_of(names[c]), &err));
}

/* Look at the documents, which wakes what is cold, every other time: so that cold stays cold over
 * several lives too. */
static void check_after(const char *dir, struct shared *shared, bool documents)
{
    struct world world;
    size_t objects = 0;
    bool cold[COLLECTIONS];
    open_world(&world, dir);
    CHECK_OK(ak_archive_settle(world.archive, WORLD_WAIT_MS, &err));
    check_jobs(&world);
    check_snapshots(&world, &objects, cold);
    CHECK_INT(world_objects(world.under), objects);
    CHECK(docs_files(dir) <= (unsigned)!cold[0] + (unsigned)!cold[1]);
    for (unsigned c = 0; c < COLLECTIONS; c++) {
        if (documents && cold[c]) {
            CHECK_OK(ak_archive_wake(world.archive, ak_str_of(names[c]), NULL, NULL, &err));
        }
        if (documents || !cold[c]) {
            check_documents(&world, shared, c);
        }
    }
    atomic_store(&shared->pause, false);
    world_close(&world);
}

static int round_of(const char *dir, struct shared *shared, uint64_t seed, const char *crash_at,
                    useconds_t life_us)
{
    int status = 0;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        if (crash_at) {
            (void)setenv("AKIDB_CRASH_AT", crash_at, 1);
        }
        child(dir, shared, seed);
    }
    if (crash_at) {
        for (int waited = 0; waited < 60000; waited++) {
            if (waitpid(pid, &status, WNOHANG) == pid) {
                return status;
            }
            (void)usleep(1000);
        }
    } else { /* its life begins with its first move */
        uint64_t before = atomic_load(&shared->moves);
        for (int waited = 0; waited < 60000 && atomic_load(&shared->moves) == before; waited++) {
            (void)usleep(1000);
        }
        (void)usleep(life_us);
    }
    (void)kill(pid, SIGKILL);
    CHECK(waitpid(pid, &status, 0) == pid);
    return status;
}

static unsigned rounds_wanted(unsigned otherwise)
{
    const char *text = getenv("AKIDB_KILL_ROUNDS");
    return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static struct shared *begin(const char *dir)
{
    struct world world;
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    open_world(&world, dir);
    for (unsigned c = 0; c < COLLECTIONS; c++) {
        (void)docs_create(world.engine, names[c]);
        CHECK_OK(docs_put(world.engine, names[c], 0, keys_of[c], 1));
        for (unsigned key = 0; key < keys_of[c]; key++) {
            shared->keys[c][key].acked = shared->keys[c][key].intended = 1;
        }
    }
    world_close(&world);
    return shared;
}

static void end(struct shared *shared)
{
    (void)printf("  %llu moves, %llu writes, %llu searches\n", (unsigned long long)shared->moves,
                 (unsigned long long)shared->writes, (unsigned long long)shared->searches);
    (void)munmap(shared, sizeof *shared);
}

TEST(archive_tierkill, a_crash_at_each_step_of_each_move_loses_nothing_and_leaves_nothing)
{
    const char *dir = ak_test_dir();
    struct shared *shared = begin(dir);
    struct ak_rand rand;
    unsigned rounds = 1 + rounds_wanted(0) / 25;
    ak_rand_seed(&rand, ak_test_seed());
    for (unsigned round = 0; round < rounds; round++) {
        for (size_t p = 0; p < sizeof points / sizeof points[0]; p++) {
            char crash_at[64];
            (void)snprintf(crash_at, sizeof crash_at, "%s:%u", points[p], 1 + round % 3);
            int status = round_of(dir, shared, ak_rand_u64(&rand), crash_at, 0);
            if (!WIFEXITED(status) || WEXITSTATUS(status) != 137) {
                ak_test_fail(__FILE__, __LINE__, "%s was not reached (status %d)", crash_at,
                             status);
            }
            check_after(dir, shared, p % 2 == round % 2);
        }
    }
    check_after(dir, shared, true);
    end(shared);
}

TEST(archive_tierkill, kill_9_at_random_moments_of_moves_loses_nothing_and_leaves_nothing)
{
    const char *dir = ak_test_dir();
    struct shared *shared = begin(dir);
    struct ak_rand rand;
    ak_rand_seed(&rand, ak_test_seed());
    for (unsigned round = 0; round < rounds_wanted(20); round++) {
        useconds_t life_us = (useconds_t)ak_rand_below(&rand, 120000);
        int status = round_of(dir, shared, ak_rand_u64(&rand), NULL, life_us);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        check_after(dir, shared, round % 2 == 0);
    }
    check_after(dir, shared, true);
    CHECK(shared->moves > 0 && shared->writes > 0 && shared->searches > 0);
    end(shared);
}

TEST_MAIN()
