/* engine_kill_test.c — kill -9 and named crash points under concurrent writes.
 *
 * A child process opens the folder and four threads upsert, batch and delete. Before each call a
 * thread writes what it is about to do into memory that it shares with the parent, and after the
 * acknowledgement what has been acknowledged. The child dies at a random moment or at a crash
 * point. The parent opens the folder again: each document must be as last acknowledged or as
 * intended by the call under way, bit for bit; a batch under way is there as a whole or not at all;
 * the validator passes.
 */
#include "base/mem.h"
#include "base/rand.h"
#include "base/sync.h"
#include "engine/engine.h"
#include "support/test.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, KEYS = 4500, BATCH = 24, DIMENSION = 256, COLLECTIONS = 3 };

/* Version of a document: 0 absent; odd numbers are deletions. */
struct key_state {
    _Atomic uint32_t acked;
    _Atomic uint32_t intended;
};

struct shared {
    struct key_state keys[THREADS][KEYS];
    _Atomic uint32_t batch_count[THREADS]; /* keys of the batch under way */
    _Atomic uint32_t batch[THREADS][BATCH];
    _Atomic uint64_t acknowledgements;
};

struct worker {
    struct ak_engine *engine;
    struct shared *shared;
    unsigned thread;
    uint64_t seed;
};

static const char *const names[COLLECTIONS] = {"alpha", "beta", "gamma"};

static struct ak_uuid id_of(unsigned thread, unsigned key)
{
    struct ak_uuid id = {{0x01, 0x93}};
    id.b[6] = 0x70;
    id.b[8] = 0x80;
    id.b[13] = (uint8_t)thread;
    id.b[14] = (uint8_t)(key >> 8);
    id.b[15] = (uint8_t)key;
    return id;
}

static void vector_of(unsigned thread, unsigned key, uint32_t version, float out[DIMENSION])
{
    struct ak_rand rand;
    ak_rand_seed(&rand, ((uint64_t)thread << 48) ^ ((uint64_t)key << 32) ^ version);
    for (int i = 0; i < DIMENSION; i++) {
        out[i] = (float)ak_rand_normal(&rand);
    }
}

static const char *collection_of(unsigned key)
{
    return names[key % COLLECTIONS];
}

static struct ak_engine *open_engine(const char *dir)
{
    struct ak_err err;
    struct ak_engine *engine = NULL;
    struct ak_engine_options options = {.dir = dir,
                                        .wal_segment_bytes = 256 << 10,
                                        .wal_max_bytes = 1 << 20,
                                        .checkpoint_bytes = 64 << 10,
                                        .build_threads = 2,
                                        .vacuum_percent = 5};
    CHECK_OK(ak_engine_open(&options, &engine, &err));
    return engine;
}

static void make_collections(struct ak_engine *engine)
{
    struct ak_err err;
    struct ak_collection_info made;
    for (int i = 0; i < COLLECTIONS; i++) {
        struct ak_collection_info spec = {.name = ak_str_of(names[i]),
                                          .dimension = DIMENSION,
                                          .metric = (enum ak_metric)i,
                                          .index = ak_index_params_default()};
        /* Rows of two of them are taken from each new image; see engine_disk_test.c. */
        spec.index.vectors = i == AK_METRIC_DOT ? AK_VECTORS_RAM : AK_VECTORS_DISK;
        CHECK_OK(ak_engine_create(engine, &spec, &made, &err));
    }
}

/* One call on `count` keys of one collection: all upserted or all deleted. */
static void write_keys(struct worker *w, const unsigned *keys, size_t count, bool removing)
{
    static _Thread_local float vectors[BATCH][DIMENSION];
    struct ak_document docs[BATCH];
    struct ak_uuid ids[BATCH];
    uint32_t versions[BATCH];
    struct ak_collection *collection = NULL;
    struct ak_write write;
    struct ak_err err;
    char metadata[BATCH][64];
    for (size_t i = 0; i < count; i++) {
        uint32_t was = atomic_load(&w->shared->keys[w->thread][keys[i]].acked);
        versions[i] = ((was / 2) + 1) * 2 + (removing ? 1 : 0);
        ids[i] = id_of(w->thread, keys[i]);
        vector_of(w->thread, keys[i], versions[i], vectors[i]);
        int len = snprintf(metadata[i], sizeof metadata[i], "{\"version\":%u}", versions[i]);
        docs[i] = (struct ak_document){
            .id = ids[i], .vector = vectors[i], .metadata = {metadata[i], (size_t)len}};
        atomic_store(&w->shared->batch[w->thread][i], keys[i]);
    }
    atomic_store(&w->shared->batch_count[w->thread], (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        atomic_store(&w->shared->keys[w->thread][keys[i]].intended, versions[i]);
    }
    if (ak_engine_get(w->engine, ak_str_of(collection_of(keys[0])), &collection, &err) != AK_OK) {
        abort();
    }
    enum ak_rc rc = removing
                        ? ak_collection_delete(collection, ids, count, &write, &err)
                        : ak_collection_upsert(collection, docs, count, true, NULL, &write, &err);
    if (rc == AK_OK) {
        rc = ak_engine_commit(w->engine, write.commit, &err);
    }
    if (rc != AK_OK) {
        abort();
    }
    for (size_t i = 0; i < count; i++) {
        atomic_store(&w->shared->keys[w->thread][keys[i]].acked, versions[i]);
    }
    atomic_fetch_add(&w->shared->acknowledgements, 1);
    ak_collection_unref(collection);
}

/* Every document in its first version: enough of them that each collection has a graph. */
static void fill(struct ak_engine *engine, struct shared *shared)
{
    for (unsigned t = 0; t < THREADS; t++) {
        struct worker w = {.engine = engine, .shared = shared, .thread = t};
        for (unsigned first = 0; first < KEYS; first += BATCH * COLLECTIONS) {
            for (unsigned c = 0; c < COLLECTIONS; c++) {
                unsigned keys[BATCH];
                size_t count = 0;
                for (unsigned k = first + c; k < KEYS && count < BATCH; k += COLLECTIONS) {
                    keys[count++] = k;
                }
                write_keys(&w, keys, count, false);
            }
        }
        atomic_store(&shared->batch_count[t], 0);
    }
}

static void *write_forever(void *arg)
{
    struct worker *w = arg;
    struct ak_rand rand;
    ak_rand_seed(&rand, w->seed + w->thread);
    for (;;) {
        unsigned keys[BATCH];
        size_t count = ak_rand_below(&rand, 4) == 0 ? 1 + ak_rand_below(&rand, BATCH) : 1;
        unsigned first = (unsigned)ak_rand_below(&rand, KEYS);
        for (size_t i = 0; i < count; i++) { /* distinct keys of one collection */
            keys[i] = (first + (unsigned)i * COLLECTIONS) % KEYS;
        }
        write_keys(w, keys, count, ak_rand_below(&rand, 4) == 0);
    }
    return NULL;
}

static _Noreturn void child(const char *dir, struct shared *shared, uint64_t seed)
{
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    struct ak_engine *engine = open_engine(dir);
    for (unsigned t = 0; t < THREADS; t++) {
        workers[t] = (struct worker){engine, shared, t, seed};
        if (pthread_create(&threads[t], NULL, write_forever, &workers[t]) != 0) {
            abort();
        }
    }
    for (;;) { /* checkpoints at once and often, besides the keeper's own */
        for (int i = 0; i < COLLECTIONS; i++) {
            struct ak_collection *collection = NULL;
            struct ak_err err;
            if (ak_engine_get(engine, ak_str_of(names[i]), &collection, &err) == AK_OK) {
                (void)!ak_engine_checkpoint(engine, collection, &err);
                ak_collection_unref(collection);
            }
        }
        (void)usleep(2000);
    }
}

/* The version that the database holds for a key: found by comparing with the two possible ones. */
static uint32_t version_found(struct ak_collection *collection, unsigned thread, unsigned key,
                              uint32_t acked, uint32_t intended)
{
    struct ak_arena arena;
    struct ak_found found;
    struct ak_err err;
    struct ak_uuid id = id_of(thread, key);
    uint32_t version = UINT32_MAX;
    ak_arena_init(&arena, 0);
    enum ak_rc rc = ak_collection_fetch(collection, &id, AK_INCLUDE_VECTOR | AK_INCLUDE_METADATA,
                                        &arena, &found, &err);
    if (rc == AK_NOT_FOUND) {
        version = acked == 0 || acked % 2 == 1 ? acked : intended;
        CHECK(version == 0 || version % 2 == 1);
    } else {
        CHECK_OK(rc);
        const uint32_t candidates[2] = {acked, intended};
        for (int i = 0; i < 2; i++) {
            float want[DIMENSION];
            char text[64];
            vector_of(thread, key, candidates[i], want);
            int len = snprintf(text, sizeof text, "{\"version\":%u}", candidates[i]);
            if (candidates[i] && candidates[i] % 2 == 0 &&
                memcmp(want, found.vector, sizeof want) == 0) {
                CHECK(ak_str_eq(found.metadata, (struct ak_str){text, (size_t)len}));
                version = candidates[i];
            }
        }
        CHECK(version != UINT32_MAX);
    }
    ak_arena_release(&arena);
    return version;
}

static bool is_absent(uint32_t version)
{
    return version == 0 || version % 2 == 1;
}

/* A batch under way: every key as acknowledged, or every key as intended. */
static void check_batch(struct shared *shared, unsigned thread, uint32_t found[THREADS][KEYS])
{
    uint32_t count = atomic_load(&shared->batch_count[thread]);
    uint32_t applied = 0;
    uint32_t open = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t key = atomic_load(&shared->batch[thread][i]);
        const struct key_state *state = &shared->keys[thread][key];
        /* Deleting what is absent already cannot be told from not deleting it. */
        bool tells = state->intended != state->acked &&
                     !(is_absent(state->acked) && is_absent(state->intended));
        if (tells) {
            open++;
            applied += found[thread][key] == state->intended;
        }
    }
    CHECK(applied == 0 || applied == open);
}

static void check_and_settle(const char *dir, struct shared *shared)
{
    static uint32_t found[THREADS][KEYS];
    struct ak_err err;
    struct ak_engine *engine = open_engine(dir);
    struct ak_collection *collections[COLLECTIONS];
    for (int i = 0; i < COLLECTIONS; i++) {
        CHECK_OK(ak_engine_get(engine, ak_str_of(names[i]), &collections[i], &err));
    }
    uint64_t live[COLLECTIONS] = {0};
    for (unsigned t = 0; t < THREADS; t++) {
        for (unsigned k = 0; k < KEYS; k++) {
            const struct key_state *state = &shared->keys[t][k];
            found[t][k] =
                version_found(collections[k % COLLECTIONS], t, k, state->acked, state->intended);
            CHECK(found[t][k] == state->acked || found[t][k] == state->intended);
            live[k % COLLECTIONS] += found[t][k] && found[t][k] % 2 == 0;
        }
        check_batch(shared, t, found);
    }
    for (unsigned t = 0; t < THREADS; t++) {
        for (unsigned k = 0; k < KEYS; k++) {
            shared->keys[t][k].acked = shared->keys[t][k].intended = found[t][k];
        }
        shared->batch_count[t] = 0;
    }
    for (int i = 0; i < COLLECTIONS; i++) {
        uint64_t count = 0;
        CHECK_OK(ak_collection_count(collections[i], NULL, &count, &err));
        CHECK_INT(count, live[i]);
        ak_collection_unref(collections[i]);
        CHECK_OK(ak_engine_verify(engine, ak_str_of(names[i]), &err));
    }
    ak_engine_close(engine);
}

static struct shared *share(void)
{
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    return shared;
}

/* One round; returns the child's status. */
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
        for (int waited = 0; waited < 10000 && waitpid(pid, &status, WNOHANG) == 0; waited++) {
            (void)usleep(1000);
        }
    } else {
        (void)usleep(life_us);
    }
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, &status, 0);
    return status;
}

static unsigned rounds_wanted(unsigned otherwise)
{
    const char *text = getenv("AKIDB_KILL_ROUNDS");
    return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

TEST(engine_kill, every_acknowledged_write_survives_kill_9_at_random_moments)
{
    struct shared *shared = share();
    struct ak_rand rand;
    const char *dir = ak_test_dir();
    ak_rand_seed(&rand, ak_test_seed());
    struct ak_engine *engine = open_engine(dir);
    make_collections(engine);
    fill(engine, shared);
    ak_engine_close(engine);
    for (unsigned round = 0; round < rounds_wanted(60); round++) {
        useconds_t life_us = (useconds_t)(3000 + ak_rand_below(&rand, 120000));
        (void)round_of(dir, shared, ak_rand_u64(&rand), NULL, life_us);
        check_and_settle(dir, shared);
    }
    CHECK(shared->acknowledgements > 0);
    (void)munmap(shared, sizeof *shared);
}

TEST(engine_kill, every_acknowledged_write_survives_a_crash_at_each_named_point)
{
    static const char *const points[] = {
        "image_before_sync",       "image_before_rename",     "image_after_rename",
        "checkpoint_before_image", "checkpoint_after_image",  "checkpoint_before_commit",
        "checkpoint_after_commit", "checkpoint_after_remove", "log_before_release",
        "log_after_release",
    };
    struct shared *shared = share();
    struct ak_rand rand;
    const char *dir = ak_test_dir();
    ak_rand_seed(&rand, ak_test_seed());
    struct ak_engine *engine = open_engine(dir);
    make_collections(engine);
    fill(engine, shared);
    ak_engine_close(engine);
    for (size_t p = 0; p < sizeof points / sizeof points[0]; p++) {
        for (int nth = 1; nth <= 4; nth++) {
            char crash_at[64];
            (void)snprintf(crash_at, sizeof crash_at, "%s:%d", points[p], nth);
            int status = round_of(dir, shared, ak_rand_u64(&rand), crash_at, 0);
            if (!WIFEXITED(status) || WEXITSTATUS(status) != 137) {
                ak_test_fail(__FILE__, __LINE__, "%s was never reached", crash_at);
            }
            check_and_settle(dir, shared);
        }
    }
    (void)munmap(shared, sizeof *shared);
}

TEST_MAIN()
