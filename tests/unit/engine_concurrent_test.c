/* engine_concurrent_test.c — writers, searchers, scrollers, checkpoints, drops, evictions at once.
 *
 * Run under ThreadSanitizer this is the data race test of the engine. What every reader checks:
 * each document it is shown is one that was written, whole (its vector, its metadata and its id
 * agree).
 */
#include "base/rand.h"
#include "base/sync.h"
#include "engine/engine.h"
#include "support/test.h"
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { DIMENSION = 16, KEYS = 400, SMALL = 12 };

struct scene {
    struct ak_engine *engine;
    _Atomic bool stop;
    _Atomic uint64_t seen, written;
};

struct actor {
    struct scene *scene;
    uint64_t seed;
};

static struct ak_uuid id_of(uint32_t key)
{
    struct ak_uuid id = {{0x01, 0x90}};
    id.b[6] = 0x70;
    id.b[8] = 0x80;
    id.b[14] = (uint8_t)(key >> 8);
    id.b[15] = (uint8_t)key;
    return id;
}

/* vector[0] is the key, vector[1] the version, and so is the metadata. */
static void vector_of(uint32_t key, uint32_t version, float out[DIMENSION])
{
    struct ak_rand rand;
    ak_rand_seed(&rand, key);
    for (int i = 0; i < DIMENSION; i++) {
        out[i] = (float)ak_rand_normal(&rand);
    }
    out[0] = (float)key;
    out[1] = (float)version;
}

static void check_found(const struct ak_found *found)
{
    char want[64];
    struct ak_uuid id = id_of((uint32_t)found->vector[0]);
    int len = snprintf(want, sizeof want, "{\"key\":%u,\"version\":%u}", (unsigned)found->vector[0],
                       (unsigned)found->vector[1]);
    if (!ak_uuid_eq(&id, &found->id) ||
        !ak_str_eq(found->metadata, (struct ak_str){want, (size_t)len})) {
        abort(); /* a torn document */
    }
}

static const char *name_of(struct ak_rand *rand, char name[16])
{
    (void)snprintf(name, 16, "c%u", (unsigned)ak_rand_below(rand, SMALL));
    return ak_rand_below(rand, 2) ? "main" : name;
}

static void write_one(struct scene *scene, struct ak_collection *collection, struct ak_rand *rand)
{
    struct ak_err err;
    struct ak_write write;
    uint32_t key = (uint32_t)ak_rand_below(rand, KEYS);
    uint32_t version = (uint32_t)ak_rand_below(rand, 1 << 20);
    struct ak_uuid id = id_of(key);
    float vector[DIMENSION];
    char text[64];
    int len = snprintf(text, sizeof text, "{\"key\":%u,\"version\":%u}", key, version);
    vector_of(key, version, vector);
    struct ak_document doc = {.id = id, .vector = vector, .metadata = {text, (size_t)len}};
    enum ak_rc rc = ak_rand_below(rand, 4) == 0
                        ? ak_collection_delete(collection, &id, 1, &write, &err)
                        : ak_collection_upsert(collection, &doc, 1, true, NULL, &write, &err);
    if (rc == AK_OK) {
        rc = ak_engine_commit(scene->engine, write.commit, &err);
    }
    if (rc != AK_OK && rc != AK_NOT_FOUND) {
        abort();
    }
    atomic_fetch_add(&scene->written, 1);
}

static void writer(void *arg)
{
    struct actor *actor = arg;
    struct ak_rand rand;
    ak_rand_seed(&rand, actor->seed);
    while (!atomic_load(&actor->scene->stop)) {
        char name[16];
        struct ak_collection *collection = NULL;
        struct ak_err err;
        if (ak_engine_get(actor->scene->engine, ak_str_of(name_of(&rand, name)), &collection,
                          &err) == AK_OK) {
            write_one(actor->scene, collection, &rand);
            ak_collection_unref(collection);
        }
    }
}

static void read_some(struct scene *scene, struct ak_collection *collection, struct ak_rand *rand,
                      struct ak_arena *arena)
{
    struct ak_err err;
    struct ak_found *found = NULL;
    uint32_t count = 0;
    float vector[DIMENSION];
    const unsigned all = AK_INCLUDE_METADATA | AK_INCLUDE_VECTOR;
    vector_of((uint32_t)ak_rand_below(rand, KEYS), 1, vector);
    struct ak_search search = {.vector = vector, .k = 10, .include = all};
    const struct ak_filter *filter = NULL;
    if (ak_filter_parse(AK_STR("{\"must\":[{\"key\":\"key\",\"range\":{\"gte\":100}}]}"), arena,
                        &filter, &err) != AK_OK) {
        abort();
    }
    enum ak_rc rc = AK_OK;
    switch (ak_rand_below(rand, 3)) {
    case 0:
        rc = ak_collection_search(collection, &search, arena, &found, &count, &err);
        break;
    case 1:
        search.filter = filter;
        rc = ak_collection_search(collection, &search, arena, &found, &count, &err);
        break;
    default:
        rc = ak_collection_scroll(collection, NULL, 50, filter, all, arena, &found, &count, &err);
        break;
    }
    if (rc != AK_OK) {
        abort();
    }
    for (uint32_t i = 0; i < count; i++) {
        check_found(&found[i]);
    }
    atomic_fetch_add(&scene->seen, count);
}

static void reader(void *arg)
{
    struct actor *actor = arg;
    struct ak_rand rand;
    struct ak_arena arena;
    ak_rand_seed(&rand, actor->seed);
    ak_arena_init(&arena, 0);
    while (!atomic_load(&actor->scene->stop)) {
        char name[16];
        struct ak_collection *collection = NULL;
        struct ak_err err;
        if (ak_engine_get(actor->scene->engine, ak_str_of(name_of(&rand, name)), &collection,
                          &err) == AK_OK) {
            read_some(actor->scene, collection, &rand, &arena);
            ak_collection_unref(collection);
        }
        ak_arena_reset(&arena);
    }
    ak_arena_release(&arena);
}

/* Checkpoints, and small collections that come and go. */
static void caretaker(void *arg)
{
    struct actor *actor = arg;
    struct ak_rand rand;
    ak_rand_seed(&rand, actor->seed);
    while (!atomic_load(&actor->scene->stop)) {
        char name[16];
        struct ak_err err;
        struct ak_collection *collection = NULL;
        struct ak_str chosen = ak_str_of(name_of(&rand, name));
        struct ak_collection_info made;
        struct ak_collection_info spec = {.name = chosen,
                                          .dimension = DIMENSION,
                                          .metric = AK_METRIC_L2,
                                          .index = ak_index_params_default()};
        if (ak_engine_get(actor->scene->engine, chosen, &collection, &err) != AK_OK) {
            if (ak_engine_create(actor->scene->engine, &spec, &made, &err) != AK_OK) {
                abort();
            }
            continue;
        }
        if (ak_engine_checkpoint(actor->scene->engine, collection, &err) != AK_OK) {
            abort();
        }
        ak_collection_unref(collection);
        if (chosen.p[0] == 'c' && ak_rand_below(&rand, 4) == 0 &&
            ak_engine_drop(actor->scene->engine, chosen, &err) != AK_OK) {
            abort();
        }
    }
}

TEST(engine_concurrent, readers_see_whole_documents_while_everything_changes)
{
    struct scene scene = {0};
    struct ak_err err;
    struct ak_collection_info made;
    const char *seconds = getenv("AKIDB_CONCURRENT_SECONDS");
    struct ak_engine_options options = {.dir = ak_test_dir(),
                                        .wal_segment_bytes = 256 << 10,
                                        .wal_max_bytes = 1 << 20,
                                        .checkpoint_bytes = 64 << 10,
                                        .idle_bytes = 64 << 10,
                                        .build_threads = 2};
    struct ak_collection_info spec = {.name = AK_STR("main"),
                                      .dimension = DIMENSION,
                                      .metric = AK_METRIC_L2,
                                      .index = ak_index_params_default()};
    CHECK_OK(ak_engine_open(&options, &scene.engine, &err));
    CHECK_OK(ak_engine_create(scene.engine, &spec, &made, &err));
    void (*const roles[])(void *) = {writer, writer, reader, reader, caretaker};
    enum { ACTORS = sizeof roles / sizeof roles[0] };
    struct actor actors[ACTORS];
    struct ak_thread threads[ACTORS] = {0};
    uint64_t seed = ak_test_seed();
    for (size_t i = 0; i < ACTORS; i++) {
        actors[i] = (struct actor){&scene, seed + i};
        CHECK_OK(ak_thread_start(&threads[i], "actor", roles[i], &actors[i], &err));
    }
    /* Enough to have done something: a bound on work, not on time; the clock only ends it. */
    double budget = seconds ? strtod(seconds, NULL) : 4;
    int64_t end = ak_mono_ns(ak_clock_system()) + (int64_t)(budget * 1e9);
    struct ak_mutex lock;
    struct ak_cond never;
    ak_mutex_init(&lock, AK_RANK_LEAF, "test");
    ak_cond_init(&never);
    ak_mutex_lock(&lock);
    while (ak_mono_ns(ak_clock_system()) < end) {
        (void)ak_cond_wait_ms(&never, &lock, 50);
    }
    ak_mutex_unlock(&lock);
    atomic_store(&scene.stop, true);
    for (size_t i = 0; i < ACTORS; i++) {
        ak_thread_join(&threads[i]);
    }
    CHECK(atomic_load(&scene.seen) > 0);
    CHECK(atomic_load(&scene.written) > 0);
    CHECK_OK(ak_engine_verify(scene.engine, AK_STR("main"), &err));
    ak_engine_close(scene.engine);
    ak_cond_release(&never);
    ak_mutex_release(&lock);
}

/* A few documents, all of them written anew without end: a scan that has passed where they go, and
 * has not come to where they were, must not take that for an end. */
static void rewrite(void *arg)
{
    struct scene *scene = arg;
    struct ak_err err;
    float vectors[SMALL][DIMENSION];
    struct ak_document docs[SMALL];
    struct ak_collection *collection = NULL;
    if (ak_engine_get(scene->engine, AK_STR("few"), &collection, &err) != AK_OK) {
        abort();
    }
    for (uint32_t version = 1; !atomic_load(&scene->stop); version++) {
        struct ak_write write;
        for (uint32_t key = 0; key < SMALL; key++) {
            vector_of(key + 1, version, vectors[key]);
            docs[key] = (struct ak_document){
                .id = id_of(key + 1), .vector = vectors[key], .metadata = AK_STR("{\"few\":true}")};
        }
        if (ak_collection_upsert(collection, docs, SMALL, true, NULL, &write, &err) != AK_OK) {
            abort();
        }
        atomic_fetch_add(&scene->written, 1);
    }
    ak_collection_unref(collection);
}

TEST(engine_concurrent, documents_that_are_all_written_anew_are_all_found)
{
    struct scene scene = {0};
    struct ak_err err;
    struct ak_engine_options options = {.dir = ak_test_dir(), .durability = AK_DURABILITY_ASYNC};
    struct ak_collection_info spec = {
        .name = AK_STR("few"), .dimension = DIMENSION, .index = ak_index_params_default()};
    struct ak_collection_info info;
    struct ak_collection *collection = NULL;
    const struct ak_filter *filter = NULL;
    struct ak_arena arena;
    struct ak_arena kept;
    struct ak_thread writer = {0};
    float vector[DIMENSION];
    ak_arena_init(&arena, 0);
    ak_arena_init(&kept, 0);
    CHECK_OK(ak_engine_open(&options, &scene.engine, &err));
    CHECK_OK(ak_engine_create(scene.engine, &spec, &info, &err));
    CHECK_OK(ak_filter_parse(AK_STR("{\"must\":[{\"key\":\"few\",\"match\":true}]}"), &kept,
                             &filter, &err));
    CHECK_OK(ak_engine_get(scene.engine, AK_STR("few"), &collection, &err));
    CHECK_OK(ak_thread_start(&writer, "writer", rewrite, &scene, &err));
    while (atomic_load(&scene.written) == 0) {
        (void)sched_yield();
    }
    vector_of(1, 1, vector);
    for (int i = 0; i < 20000; i++) {
        struct ak_search search = {.vector = vector, .k = 5, .filter = i % 4 ? NULL : filter};
        struct ak_found *found = NULL;
        uint32_t count = 0;
        CHECK_OK(ak_collection_search(collection, &search, &arena, &found, &count, &err));
        CHECK_INT(count, 5);
        ak_arena_reset(&arena);
    }
    atomic_store(&scene.stop, true);
    ak_thread_join(&writer);
    ak_collection_unref(collection);
    ak_engine_close(scene.engine);
    ak_arena_release(&arena);
    ak_arena_release(&kept);
}

TEST_MAIN()
