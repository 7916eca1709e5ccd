/* The space of deleted documents comes back, in memory and on the disk, and nobody notices but by
 * the space: every document is found, bit for bit, by whoever looks while they move. */
#include "base/fault.h"
#include "base/sync.h"
#include "unit/engine_docs.h"
#include <sched.h>
#include <stdatomic.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { ROWS = 1500, WIDE = 160 }; /* a graph of more takes long to build there */
#else
enum { ROWS = 6000, WIDE = 160 };
#endif

static struct ak_engine *open_engine(const char *dir, unsigned percent)
{
    struct ak_engine *engine = NULL;
    struct ak_engine_options options = {.dir = dir,
                                        .durability = AK_DURABILITY_ASYNC,
                                        .build_threads = 2,
                                        .vacuum_percent = percent};
    CHECK_OK(ak_engine_open(&options, &engine, &err));
    return engine;
}

/* --- Wide documents: their rows are what memory and image consist of --- */

static void wide_of(unsigned n, float vector[WIDE])
{
    struct ak_rand rand;
    ak_rand_seed(&rand, n);
    for (int i = 0; i < WIDE; i++) {
        vector[i] = (float)ak_rand_normal(&rand);
    }
}

static struct ak_collection *fill_wide(struct ak_engine *engine, unsigned count)
{
    static float vectors[500][WIDE];
    struct ak_document docs[500];
    char texts[500][40];
    struct ak_collection_info spec = docs_spec("wide");
    struct ak_collection_info made;
    struct ak_collection *collection = NULL;
    struct ak_write write;
    spec.dimension = WIDE;
    CHECK_OK(ak_engine_create(engine, &spec, &made, &err));
    CHECK_OK(ak_engine_get(engine, AK_STR("wide"), &collection, &err));
    for (unsigned n = 0; n < count; n += 500) {
        for (unsigned i = 0; i < 500; i++) {
            wide_of(n + i, vectors[i]);
            int len = snprintf(texts[i], sizeof texts[i], "{\"n\":%u}", n + i);
            docs[i] = (struct ak_document){
                .id = doc_id(n + i), .vector = vectors[i], .metadata = {texts[i], (size_t)len}};
        }
        CHECK_OK(ak_collection_upsert(collection, docs, 500, true, NULL, &write, &err));
    }
    CHECK_OK(ak_engine_commit(engine, write.commit, &err));
    ak_collection_wait_linked(collection, NULL, NULL);
    return collection;
}

static bool stays(unsigned n)
{
    return n % 5 < 2;
}

static void remove_most(struct ak_engine *engine, struct ak_collection *collection, unsigned count)
{
    struct ak_uuid *ids = ak_alloc(count * sizeof *ids);
    struct ak_write write;
    size_t k = 0;
    for (unsigned n = 0; n < count; n++) {
        if (!stays(n)) {
            ids[k++] = doc_id(n);
        }
    }
    CHECK_OK(ak_collection_delete(collection, ids, k, &write, &err));
    CHECK_INT(write.affected, k);
    CHECK_OK(ak_engine_commit(engine, write.commit, &err));
    ak_free(ids);
}

static void check_wide(struct ak_collection *collection, unsigned count)
{
    struct ak_arena arena;
    uint64_t matches = 0;
    unsigned left = 0;
    const struct ak_filter *filter = NULL;
    ak_arena_init(&arena, 0);
    for (unsigned n = 0; n < count; n++) {
        float want[WIDE];
        char text[40];
        struct ak_found found;
        struct ak_uuid id = doc_id(n);
        enum ak_rc rc = ak_collection_fetch(
            collection, &id, AK_INCLUDE_VECTOR | AK_INCLUDE_METADATA, &arena, &found, &err);
        CHECK_INT(rc == AK_OK, stays(n));
        wide_of(n, want);
        int len = snprintf(text, sizeof text, "{\"n\":%u}", n);
        if (stays(n)) {
            CHECK(memcmp(found.vector, want, sizeof want) == 0);
            CHECK(ak_str_eq(found.metadata, (struct ak_str){text, (size_t)len}));
            left++;
        }
        if (n % 16 == 0) {
            struct ak_search search = {.vector = want, .k = 1, .exact = n % 32 == 0, .ef = 100};
            struct ak_found *hits = NULL;
            uint32_t hit_count = 0;
            CHECK_OK(ak_collection_search(collection, &search, &arena, &hits, &hit_count, &err));
            CHECK_INT(hit_count, 1);
            CHECK_INT(ak_uuid_eq(&hits[0].id, &id), stays(n));
        }
        ak_arena_reset(&arena);
    }
    CHECK_OK(ak_filter_parse(AK_STR("{\"must\":[{\"key\":\"n\",\"range\":{\"gte\":0}}]}"), &arena,
                             &filter, &err));
    CHECK_OK(ak_collection_count(collection, filter, &matches, &err));
    CHECK_INT(matches, left);
    ak_arena_release(&arena);
}

/* From memory of the collection's own, and from private mappings of an image. */
static void check_shrinks(bool reopened)
{
    char dir[1024];
    struct ak_collection_stats before;
    struct ak_collection_stats after;
    (void)snprintf(dir, sizeof dir, "%s/%d", ak_test_dir(), reopened);
    struct ak_engine *engine = open_engine(dir, AK_VACUUM_NEVER);
    struct ak_collection *collection = fill_wide(engine, ROWS);
    CHECK_OK(ak_engine_checkpoint(engine, collection, &err));
    ak_collection_stats(collection, &before);
    if (reopened) {
        ak_collection_unref(collection);
        ak_engine_close(engine);
        engine = open_engine(dir, AK_VACUUM_NEVER);
        CHECK_OK(ak_engine_get(engine, AK_STR("wide"), &collection, &err));
    }
    remove_most(engine, collection, ROWS);
    CHECK_OK(ak_engine_vacuum(engine, collection, &err));
    check_wide(collection, ROWS);
    CHECK_OK(ak_engine_checkpoint(engine, collection, &err));
    ak_collection_stats(collection, &after);
    CHECK_INT(after.documents, ROWS * 2 / 5);
    CHECK(after.image_bytes < before.image_bytes * 43 / 100);
    CHECK(after.memory_bytes < before.memory_bytes * 60 / 100); /* rounded to large pages */
    CHECK_OK(ak_engine_verify(engine, AK_STR("wide"), &err));
    ak_collection_unref(collection);
    ak_engine_close(engine);
    CHECK_INT(docs_files(dir), 1);
    engine = open_engine(dir, AK_VACUUM_NEVER);
    CHECK_OK(ak_engine_get(engine, AK_STR("wide"), &collection, &err));
    check_wide(collection, ROWS);
    CHECK_OK(ak_engine_verify(engine, AK_STR("wide"), &err));
    ak_collection_unref(collection);
    ak_engine_close(engine);
}

TEST(engine_vacuum, what_is_left_of_a_collection_needs_memory_and_disk_for_itself_only)
{
    check_shrinks(false);
}

TEST(engine_vacuum, what_is_left_of_a_collection_that_was_opened_from_its_image_does_too)
{
    check_shrinks(true);
}

TEST(engine_vacuum, memory_and_image_shrink_by_themselves)
{
    struct ak_engine *engine = open_engine(ak_test_dir(), 0);
    struct ak_collection *collection = fill_wide(engine, ROWS);
    struct ak_collection_stats before;
    struct ak_collection_stats now;
    CHECK_OK(ak_engine_checkpoint(engine, collection, &err));
    ak_collection_stats(collection, &before);
    remove_most(engine, collection, ROWS);
    do { /* the keeper wakes once a second */
        (void)usleep(2000);
        ak_collection_stats(collection, &now);
    } while (now.image_bytes >= before.image_bytes / 2);
    CHECK(now.memory_bytes < before.memory_bytes * 60 / 100);
    CHECK(now.generation > before.generation);
    check_wide(collection, ROWS);
    CHECK_OK(ak_engine_verify(engine, AK_STR("wide"), &err));
    ak_collection_unref(collection);
    ak_engine_close(engine);
}

TEST(engine_vacuum, small_collections_and_their_texts_shrink_too)
{
    struct ak_engine *engine = open_engine(ak_test_dir(), AK_VACUUM_NEVER);
    struct ak_collection *collection = NULL;
    struct ak_collection_stats before;
    struct ak_collection_stats after;
    docs_create(engine, "small");
    CHECK_OK(docs_put(engine, "small", 0, 900, 1));
    CHECK_OK(ak_engine_get(engine, AK_STR("small"), &collection, &err));
    ak_collection_stats(collection, &before);
    docs_remove(engine, "small", 0, 850, 1);
    CHECK_OK(ak_engine_vacuum(engine, collection, &err));
    ak_collection_stats(collection, &after);
    CHECK(after.memory_bytes < before.memory_bytes / 3);
    for (unsigned n = 0; n < 900; n++) {
        CHECK_INT(docs_version(engine, "small", n), n >= 850);
    }
    docs_remove(engine, "small", 850, 50, 1);
    CHECK_OK(ak_engine_vacuum(engine, collection, &err));
    CHECK_INT(docs_count(engine, "small"), 0);
    CHECK_OK(docs_put(engine, "small", 0, 300, 2));
    CHECK_INT(docs_version(engine, "small", 299), 2);
    CHECK_OK(ak_engine_verify(engine, AK_STR("small"), &err));
    ak_collection_unref(collection);
    ak_engine_close(engine);
}

TEST(engine_vacuum, without_memory_the_space_stays_and_the_documents_too)
{
    struct ak_engine *engine = open_engine(ak_test_dir(), AK_VACUUM_NEVER);
    struct ak_collection *collection = NULL;
    docs_create(engine, "d");
    CHECK_OK(docs_put(engine, "d", 0, 1500, 1));
    CHECK_OK(ak_engine_get(engine, AK_STR("d"), &collection, &err));
    ak_collection_wait_linked(collection, NULL, NULL);
    docs_remove(engine, "d", 0, 1500, 2);
    bool fired = true;
    for (int64_t n = 0; fired; n++) {
        ak_fault_alloc_at(n);
        enum ak_rc rc = ak_engine_vacuum(engine, collection, &err);
        fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK(rc == AK_OK || rc == AK_NOMEM);
        CHECK_OK(ak_engine_verify(engine, AK_STR("d"), &err));
    }
    for (unsigned n = 0; n < 1500; n++) {
        CHECK_INT(docs_version(engine, "d", n), n % 2);
    }
    ak_collection_unref(collection);
    ak_engine_close(engine);
}

/* --- While others look and write --- */

enum { KEPT = 600, COMING = 1800, CYCLES = 8 };

struct scene {
    uint64_t seed;
    struct ak_engine *engine;
    struct ak_collection *collection;
    _Atomic bool stop;
    _Atomic uint64_t looks, writes;
};

static void check_no_twins(const struct ak_found *found, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t j = 0; j < i; j++) {
            if (ak_uuid_eq(&found[i].id, &found[j].id)) {
                abort();
            }
        }
    }
}

/* Documents [0, KEPT) are never written: whatever way they are looked for, they are there, once. */
static void look(void *arg)
{
    struct scene *scene = arg;
    struct ak_rand rand;
    struct ak_arena arena;
    struct ak_arena kept;
    struct doc_texts texts;
    struct ak_err e;
    const struct ak_filter *filter = NULL;
    ak_rand_seed(&rand, scene->seed);
    ak_arena_init(&arena, 0);
    ak_arena_init(&kept, 0);
    if (ak_filter_parse(AK_STR("{\"must\":[{\"key\":\"version\",\"match\":1}]}"), &kept, &filter,
                        &e) != AK_OK) {
        abort();
    }
    while (!atomic_load(&scene->stop)) {
        struct ak_found *found = NULL;
        uint32_t count = 0;
        uint64_t matches = 0;
        unsigned n = (unsigned)ak_rand_below(&rand, KEPT / 5) * 5 + 1; /* it has metadata */
        struct ak_document doc = doc_of(n, 1, &texts);
        struct ak_search search = {.vector = doc.vector,
                                   .k = 1 + (uint32_t)ak_rand_below(&rand, 12),
                                   .exact = ak_rand_below(&rand, 2) == 0,
                                   .ef = 400,
                                   .include = AK_INCLUDE_VECTOR,
                                   .filter = ak_rand_below(&rand, 2) ? filter : NULL};
        if (ak_collection_search(scene->collection, &search, &arena, &found, &count, &e) != AK_OK ||
            count != search.k) {
            abort();
        }
        check_no_twins(found, count);
        if (search.exact && !ak_uuid_eq(&found[0].id, &doc.id)) {
            abort(); /* missed */
        }
        if (ak_collection_count(scene->collection, filter, &matches, &e) != AK_OK ||
            matches != KEPT - KEPT / 5) {
            abort();
        }
        if (ak_collection_scroll(scene->collection, NULL, 40, NULL, 0, &arena, &found, &count,
                                 &e) != AK_OK ||
            count != 40) {
            abort();
        }
        for (uint32_t i = 0; i < count; i++) {
            if (doc_number(&found[i].id) != i) {
                abort(); /* absent, or there twice */
            }
        }
        atomic_fetch_add(&scene->looks, 1);
        ak_arena_reset(&arena);
    }
    ak_arena_release(&arena);
    ak_arena_release(&kept);
}

static void write_some(void *arg)
{
    struct scene *scene = arg;
    struct ak_rand rand;
    struct ak_err e;
    ak_rand_seed(&rand, scene->seed + 1);
    while (!atomic_load(&scene->stop)) {
        struct doc_texts texts;
        struct ak_write write;
        unsigned n = KEPT + (unsigned)ak_rand_below(&rand, COMING);
        struct ak_document doc = doc_of(n, 2, &texts);
        enum ak_rc rc =
            ak_rand_below(&rand, 4)
                ? ak_collection_delete(scene->collection, &doc.id, 1, &write, &e)
                : ak_collection_upsert(scene->collection, &doc, 1, true, NULL, &write, &e);
        if (rc != AK_OK) {
            abort();
        }
        atomic_fetch_add(&scene->writes, 1);
    }
}

/* The state that a snapshot would get is whole. */
static void hold_and_check(struct scene *scene)
{
    struct ak_hold *hold = NULL;
    struct ak_document docs[64];
    unsigned kept = 0;
    CHECK_OK(ak_engine_hold(scene->engine, AK_STR("c"), &hold, &err));
    for (uint64_t row = 0; row < ak_hold_rows(hold); row += 64) {
        uint64_t left = ak_hold_rows(hold) - row;
        size_t count = left < 64 ? (size_t)left : 64;
        CHECK_OK(ak_hold_read(hold, row, count, docs, &err));
        for (size_t i = 0; i < count; i++) {
            bool is_kept = doc_number(&docs[i].id) < KEPT;
            CHECK(doc_is(&docs[i], is_kept ? 1 : 2));
            kept += is_kept;
        }
    }
    CHECK_INT(kept, KEPT);
    ak_hold_release(hold);
}

TEST(engine_vacuum, everyone_sees_every_document_once_while_they_move)
{
    struct scene scene = {.engine = open_engine(ak_test_dir(), AK_VACUUM_NEVER),
                          .seed = ak_test_seed()};
    struct ak_thread threads[3];
    void (*const roles[])(void *) = {look, look, write_some};
    docs_create(scene.engine, "c");
    CHECK_OK(docs_put(scene.engine, "c", KEPT, COMING, 2)); /* below, so that those kept move */
    CHECK_OK(docs_put(scene.engine, "c", 0, KEPT, 1));
    CHECK_OK(ak_engine_get(scene.engine, AK_STR("c"), &scene.collection, &err));
    ak_collection_wait_linked(scene.collection, NULL, NULL);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(ak_thread_start(&threads[i], "actor", roles[i], &scene, &err));
    }
    for (unsigned cycle = 0; cycle < CYCLES; cycle++) {
        uint64_t looks = atomic_load(&scene.looks);
        uint64_t writes = atomic_load(&scene.writes);
        while (atomic_load(&scene.looks) < looks + 4 || atomic_load(&scene.writes) < writes + 200) {
            (void)sched_yield();
        }
        CHECK_OK(ak_engine_vacuum(scene.engine, scene.collection, &err));
        if (cycle % 3 == 0) {
            CHECK_OK(ak_engine_checkpoint(scene.engine, scene.collection, &err));
        } else if (cycle % 3 == 1) {
            hold_and_check(&scene);
        }
    }
    atomic_store(&scene.stop, true);
    for (int i = 0; i < 3; i++) {
        ak_thread_join(&threads[i]);
    }
    CHECK_OK(ak_engine_verify(scene.engine, AK_STR("c"), &err));
    for (unsigned n = 0; n < KEPT; n++) {
        CHECK_INT(docs_version(scene.engine, "c", n), 1);
    }
    ak_collection_unref(scene.collection);
    ak_engine_close(scene.engine);
}

TEST_MAIN()
