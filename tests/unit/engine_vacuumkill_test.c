/* engine_vacuumkill_test.c — kill -9 at each crash point of a vacuum, and at random, under writes.
 *
 * A child writes, deletes and vacuums; what is acknowledged stands in memory that it shares with
 * the parent. The parent opens the folder again: every document is as acknowledged, or as the call
 * under way would have it, once, and the validator passes. */
#include "base/hash.h"
#include "base/sync.h"
#include "unit/engine_docs.h"
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { DOCS = 3000, GROUP = 300, ROUNDS = 6 };

struct shared {
    _Atomic uint8_t acked[DOCS]; /* version, 0: absent */
    _Atomic uint8_t intended[DOCS];
};

static void intend(struct shared *shared, unsigned from, uint8_t version)
{
    for (unsigned n = from; n < from + GROUP; n++) {
        atomic_store(&shared->intended[n], version);
    }
}

static void acknowledge(struct shared *shared, unsigned from, uint8_t version)
{
    for (unsigned n = from; n < from + GROUP; n++) {
        atomic_store(&shared->acked[n], version);
    }
}

/* Groups of documents go and come. */
static void write_groups(struct ak_engine *engine, struct shared *shared, struct ak_rand *rand)
{
    for (unsigned i = 0; i < 4; i++) {
        unsigned from = (unsigned)ak_rand_below(rand, DOCS / GROUP) * GROUP;
        uint8_t version = ak_rand_below(rand, 3) ? 0 : (uint8_t)(1 + ak_rand_below(rand, 9));
        intend(shared, from, version);
        if (version) {
            CHECK_OK(docs_put(engine, "k", from, GROUP, version));
        } else {
            docs_remove(engine, "k", from, GROUP, 1);
        }
        acknowledge(shared, from, version);
    }
}

struct vacuuming {
    struct ak_engine *engine;
    struct ak_collection *collection;
};

static void vacuum_forever(void *arg)
{
    struct vacuuming *vacuuming = arg;
    for (;;) {
        struct ak_err e;
        if (ak_engine_vacuum(vacuuming->engine, vacuuming->collection, &e) != AK_OK ||
            ak_engine_checkpoint(vacuuming->engine, vacuuming->collection, &e) != AK_OK) {
            abort();
        }
    }
}

static _Noreturn void child(const char *dir, struct shared *shared, uint64_t seed)
{
    struct vacuuming vacuuming = {.engine = docs_engine(dir)};
    struct ak_thread thread;
    struct ak_rand rand;
    ak_rand_seed(&rand, seed);
    CHECK_OK(ak_engine_get(vacuuming.engine, AK_STR("k"), &vacuuming.collection, &err));
    CHECK_OK(ak_thread_start(&thread, "vacuum", vacuum_forever, &vacuuming, &err));
    for (;;) {
        write_groups(vacuuming.engine, shared, &rand);
    }
}

static void check_and_settle(const char *dir, struct shared *shared)
{
    struct ak_engine *engine = docs_engine(dir);
    uint64_t live = 0;
    for (unsigned n = 0; n < DOCS; n++) {
        unsigned version = docs_version(engine, "k", n);
        CHECK(version == shared->acked[n] || version == shared->intended[n]);
        shared->acked[n] = shared->intended[n] = (uint8_t)version;
        live += version > 0;
    }
    CHECK_INT(docs_count(engine, "k"), live);
    CHECK_OK(ak_engine_verify(engine, AK_STR("k"), &err));
    ak_engine_close(engine);
}

static void round_of(const char *dir, struct shared *shared, const char *crash_at, uint64_t seed)
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
    if (!crash_at) {
        (void)usleep((useconds_t)(ak_mix64(seed) % 300000));
        (void)kill(pid, SIGKILL);
    }
    CHECK(waitpid(pid, &status, 0) == pid); /* a crash point ends it, sooner or later */
    CHECK(crash_at ? WIFEXITED(status) && WEXITSTATUS(status) == 137 : WIFSIGNALED(status));
    check_and_settle(dir, shared);
}

TEST(engine_vacuumkill, a_crash_in_a_vacuum_loses_nothing_and_doubles_nothing)
{
    static const char *const points[] = {"vacuum_before_show",  "vacuum_after_show",
                                         "vacuum_after_switch", "vacuum_after_end",
                                         "vacuum_after_cut",    "vacuum_after_give_back"};
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    const char *dir = ak_test_dir();
    uint64_t seed = ak_test_seed();
    struct ak_engine *engine = docs_engine(dir);
    docs_create(engine, "k");
    CHECK_OK(docs_put(engine, "k", 0, DOCS, 1));
    ak_engine_close(engine);
    memset(shared, 1, sizeof *shared);
    for (size_t p = 0; p < sizeof points / sizeof points[0]; p++) {
        for (unsigned nth = 1; nth <= 3; nth += 2) {
            char crash_at[64];
            (void)snprintf(crash_at, sizeof crash_at, "%s:%u", points[p], nth);
            round_of(dir, shared, crash_at, seed + p);
        }
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        round_of(dir, shared, NULL, seed + 100 + i);
    }
}

TEST_MAIN()
