/* engine_disk_test.c — collections whose vectors are on disk: what checkpoints take over and give
 * back, and that every document is what was written, bit for bit, whatever happens meanwhile. */
#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/rand.h"
#include "engine/tiering.h"
#include "support/test.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    DIMENSION = 256,
    ROW = DIMENSION * 4,
    MANY = 4000, /* of them need 4 MiB, enough for a file, and a graph */
    BATCH = 100,
    LEFT_MAX = 2 << 20 /* what may count for the last, partial page and what came since */
};

static struct ak_err err;
static const struct ak_str docs = {"docs", 4};

struct made {
    float vector[DIMENSION];
    char metadata[32];
};

static struct ak_document doc_of(unsigned n, unsigned version, struct made *made)
{
    struct ak_uuid id = {{0x01, 0x95, [6] = 0x70, [8] = 0x80}};
    struct ak_rand rand;
    ak_rand_seed(&rand, (uint64_t)n << 16 | version);
    for (int i = 0; i < DIMENSION; i++) {
        made->vector[i] = (float)ak_rand_normal(&rand);
    }
    id.b[14] = (uint8_t)(n >> 8);
    id.b[15] = (uint8_t)n;
    int len = snprintf(made->metadata, sizeof made->metadata, "{\"v\":%u}", version);
    return (struct ak_document){
        .id = id, .vector = made->vector, .metadata = {made->metadata, (size_t)len}};
}

static struct ak_engine *open_with(const struct ak_engine_options *more, const char *dir)
{
    struct ak_engine_options options = *more;
    struct ak_engine *engine = NULL;
    options.dir = dir;
    options.build_threads = 2;
    CHECK_OK(ak_engine_open(&options, &engine, &err));
    return engine;
}

static struct ak_engine *open_plain(const char *dir)
{
    return open_with(&(struct ak_engine_options){0}, dir);
}

static void create(struct ak_engine *engine)
{
    struct ak_collection_info made;
    struct ak_collection_info spec = {
        .name = docs, .dimension = DIMENSION, .index = ak_index_params_default()};
    spec.index.m = 4; /* quick to build */
    spec.index.ef_construction = 16;
    spec.index.vectors = AK_VECTORS_DISK;
    CHECK_OK(ak_engine_create(engine, &spec, &made, &err));
    CHECK_INT(made.index.vectors, AK_VECTORS_DISK);
}

static struct ak_collection *get(struct ak_engine *engine)
{
    struct ak_collection *collection = NULL;
    CHECK_OK(ak_engine_get(engine, docs, &collection, &err));
    return collection;
}

static void put(struct ak_engine *engine, unsigned from, unsigned to, unsigned step,
                unsigned version)
{
    struct ak_collection *collection = get(engine);
    struct made *made = ak_alloc(BATCH * sizeof *made);
    struct ak_document batch[BATCH];
    struct ak_write write = {0};
    for (unsigned n = from; n < to;) {
        unsigned count = 0;
        for (; n < to && count < BATCH; n += step, count++) {
            batch[count] = doc_of(n, version, &made[count]);
        }
        CHECK_OK(ak_collection_upsert(collection, batch, count, true, NULL, &write, &err));
    }
    CHECK_OK(ak_engine_commit(engine, write.commit, &err));
    ak_free(made);
    ak_collection_unref(collection);
}

static void drop_docs(struct ak_engine *engine, unsigned from, unsigned to, unsigned step)
{
    struct ak_collection *collection = get(engine);
    struct ak_write write = {0};
    struct made made;
    for (unsigned n = from; n < to; n += step) {
        struct ak_uuid id = doc_of(n, 1, &made).id;
        CHECK_OK(ak_collection_delete(collection, &id, 1, &write, &err));
        CHECK_INT(write.affected, 1);
    }
    CHECK_OK(ak_engine_commit(engine, write.commit, &err));
    ak_collection_unref(collection);
}

static void checkpoint(struct ak_engine *engine)
{
    struct ak_collection *collection = get(engine);
    CHECK_OK(ak_engine_checkpoint(engine, collection, &err));
    ak_collection_unref(collection);
}

static struct ak_collection_summary describe(struct ak_engine *engine)
{
    struct ak_collection_summary summary;
    struct ak_arena arena;
    struct ak_collection *collection = get(engine); /* open, so that there is something to tell */
    struct ak_collection_stats stats;
    ak_collection_stats(collection, &stats);
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_engine_describe(engine, docs, &arena, &summary, &err));
    ak_arena_release(&arena);
    ak_collection_unref(collection);
    CHECK(summary.has_memory);
    return summary;
}

static void check_doc(struct ak_collection *collection, unsigned n, unsigned version)
{
    struct ak_arena arena;
    struct ak_found found;
    struct made made;
    struct ak_document want = doc_of(n, version, &made);
    ak_arena_init(&arena, 0);
    enum ak_rc rc = ak_collection_fetch(
        collection, &want.id, AK_INCLUDE_VECTOR | AK_INCLUDE_METADATA, &arena, &found, &err);
    if (version == 0) {
        CHECK_RC(AK_NOT_FOUND, rc);
    } else {
        CHECK_OK(rc);
        CHECK(memcmp(found.vector, made.vector, ROW) == 0);
        CHECK(ak_str_eq(found.metadata, want.metadata));
    }
    ak_arena_release(&arena);
}

static unsigned version_in(struct ak_str metadata)
{
    return metadata.len > 5 ? (unsigned)strtoul(metadata.p + 5, NULL, 10) : 0;
}

static unsigned number_in(const struct ak_uuid *id)
{
    return (unsigned)id->b[14] << 8 | id->b[15];
}

static bool is_whole(const struct ak_found *found)
{
    struct made made;
    (void)doc_of(number_in(&found->id), version_in(found->metadata), &made);
    return memcmp(found->vector, made.vector, ROW) == 0;
}

/* The document is found by its own vector; along the graph (of these random ones not surely) what
 * is found is whole. */
static void check_found(struct ak_collection *collection, unsigned n, unsigned version)
{
    struct ak_arena arena;
    struct made made;
    struct ak_document want = doc_of(n, version, &made);
    ak_arena_init(&arena, 0);
    for (int exact = 0; exact < 2; exact++) {
        struct ak_found *found = NULL;
        uint32_t count = 0;
        struct ak_search search = {.vector = made.vector,
                                   .k = 5,
                                   .ef = 128,
                                   .exact = exact,
                                   .include = AK_INCLUDE_VECTOR | AK_INCLUDE_METADATA};
        CHECK_OK(ak_collection_search(collection, &search, &arena, &found, &count, &err));
        CHECK_INT(count, 5);
        CHECK(!exact || (ak_uuid_eq(&found[0].id, &want.id) && found[0].score > 0.9999f));
        for (uint32_t i = 0; i < count; i++) {
            CHECK(is_whole(&found[i]));
        }
    }
    ak_arena_release(&arena);
}

/* Documents 0, 3, 6 … are of that version (0: gone), the others of version 1. */
static void check_all(struct ak_engine *engine, unsigned thirds)
{
    static unsigned first; /* others each time */
    struct ak_collection *collection = get(engine);
    for (unsigned n = first++ % 7; n < MANY; n += 7) {
        check_doc(collection, n, n % 3 ? 1 : thirds);
        if (n % 25 == 1 && (n % 3 || thirds)) {
            check_found(collection, n, n % 3 ? 1 : thirds);
        }
    }
    ak_collection_unref(collection);
}

/* Bytes of images that this process maps. */
static bool maps_image(const char *dir)
{
    char line[8192];
    bool found = false;
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps)) {
        found = found || (strstr(line, dir) && strstr(line, ".akx"));
    }
    (void)fclose(maps);
    return found;
}

TEST(engine_disk, an_image_gives_the_memory_of_its_vectors_back_and_they_stay_bit_for_bit)
{
    const char *dir = ak_test_dir();
    struct ak_engine *engine = open_plain(dir);
    create(engine);
    put(engine, 0, MANY, 1, 1);
    struct ak_collection_summary before = describe(engine);
    CHECK(before.memory.vectors >= (uint64_t)MANY * ROW && before.memory.files == 0);
    CHECK(!maps_image(dir));
    checkpoint(engine);
    struct ak_collection_summary after = describe(engine);
    CHECK(after.memory.vectors <= LEFT_MAX && after.memory.codes >= (uint64_t)MANY * DIMENSION);
    CHECK_INT(after.memory.files, (uint64_t)MANY * ROW / 4096 * 4096);
    CHECK(maps_image(dir));
    check_all(engine, 1);
    put(engine, 0, MANY, 3, 2); /* other slots, then freed ones */
    check_all(engine, 2);
    drop_docs(engine, 0, MANY, 3);
    check_all(engine, 0);
    checkpoint(engine);
    CHECK(describe(engine).memory.vectors <= LEFT_MAX);
    check_all(engine, 0);
    put(engine, 0, MANY, 3, 3);
    check_all(engine, 3);
    CHECK_OK(ak_engine_verify(engine, docs, &err));
    checkpoint(engine);
    CHECK(describe(engine).memory.vectors <= LEFT_MAX);
    check_all(engine, 3);
    ak_engine_close(engine);
    engine = open_plain(dir);
    check_all(engine, 3);
    after = describe(engine);
    CHECK(after.memory.vectors == 0 && after.info.index.vectors == AK_VECTORS_DISK);
    CHECK(after.memory.files >= (uint64_t)MANY * ROW);
    put(engine, 0, MANY, 3, 4); /* thawed */
    check_all(engine, 4);
    CHECK_OK(ak_engine_verify(engine, docs, &err));
    ak_engine_close(engine);
}

TEST(engine_disk, between_tiers_codes_and_links_are_copied_and_vectors_are_not)
{
    const char *dir = ak_test_dir();
    struct ak_engine *engine = open_plain(dir);
    struct ak_tier_view view;
    create(engine);
    put(engine, 0, MANY, 1, 1);
    CHECK_OK(ak_engine_tier_warm(engine, docs, &err));
    check_all(engine, 1);
    CHECK_OK(ak_engine_tier_hot(engine, docs, &err));
    CHECK_OK(ak_engine_tier(engine, docs, &view, &err));
    CHECK(view.tier == AK_TIER_HOT && view.is_loaded);
    struct ak_collection_summary hot = describe(engine);
    CHECK(hot.memory.vectors <= LEFT_MAX && hot.memory.files > 0);
    CHECK(hot.memory.codes >= (uint64_t)MANY * DIMENSION);
    CHECK(view.memory_bytes < (uint64_t)MANY * ROW);
    CHECK(view.ram_bytes < view.disk_bytes && view.ram_bytes >= view.memory_bytes);
    check_all(engine, 1);
    put(engine, 0, MANY, 3, 2);
    check_all(engine, 2);
    ak_engine_close(engine);
    /* Above a limit of resident memory the pages are given back, over and over. */
    engine = open_with(&(struct ak_engine_options){.resident_max_bytes = 1}, dir);
    CHECK_OK(ak_engine_tier_hot(engine, docs, &err));
    put(engine, 0, MANY, 3, 3);
    check_all(engine, 3);
    check_all(engine, 3);
    ak_engine_close(engine);
}

/* Rows move down over pages of the file while the system takes back all that were not written. */
TEST(engine_disk, a_vacuum_of_rows_that_lie_in_a_file_keeps_every_bit)
{
    const char *dir = ak_test_dir();
    struct ak_engine *engine = open_with(
        &(struct ak_engine_options){.resident_max_bytes = 1, .vacuum_percent = AK_VACUUM_NEVER},
        dir);
    create(engine);
    put(engine, 0, MANY, 1, 1);
    struct ak_collection *collection = get(engine);
    ak_collection_wait_linked(collection, NULL, NULL);
    checkpoint(engine);
    uint64_t files = describe(engine).memory.files;
    drop_docs(engine, 0, MANY, 3);
    CHECK_OK(ak_engine_vacuum(engine, collection, &err));
    check_all(engine, 0);
    CHECK(describe(engine).memory.files < files);
    CHECK_OK(ak_engine_verify(engine, docs, &err));
    put(engine, 0, MANY, 3, 2); /* past the new end, where the file was */
    check_all(engine, 2);
    drop_docs(engine, 0, MANY, 3);
    checkpoint(engine);
    CHECK_OK(ak_engine_vacuum(engine, collection, &err));
    checkpoint(engine);
    check_all(engine, 0);
    ak_collection_unref(collection);
    ak_engine_close(engine);
    engine = open_plain(dir);
    check_all(engine, 0);
    CHECK(describe(engine).memory.files <= (uint64_t)MANY * ROW * 2 / 3 + 4096);
    ak_engine_close(engine);
}

TEST(engine_disk, what_rests_in_memory_is_written_out_without_being_asked)
{
    struct ak_manual_clock clock;
    const char *dir = ak_test_dir();
    ak_manual_clock_init(&clock, 1700000000000000);
    struct ak_engine *engine = open_with(&(struct ak_engine_options){.clock = &clock.clock}, dir);
    create(engine);
    put(engine, 0, 2 * MANY, 1, 1); /* 6 MiB: too little for the log's share, and enough to rest */
    while (describe(engine).memory.files == 0) {
        ak_manual_clock_advance(&clock, 20000000);
        (void)usleep(10000); /* the keeper looks once a second */
    }
    CHECK(describe(engine).memory.vectors <= LEFT_MAX);
    check_all(engine, 1);
    ak_engine_close(engine);
}

struct crowd {
    struct ak_engine *engine;
    _Atomic bool stop;
    _Atomic uint64_t looks;
    _Atomic unsigned seed;
};

static void *look(void *arg)
{
    struct crowd *crowd = arg;
    struct ak_rand rand;
    struct ak_collection *collection = get(crowd->engine);
    ak_rand_seed(&rand, atomic_fetch_add(&crowd->seed, 1));
    while (!atomic_load(&crowd->stop)) {
        struct ak_arena arena;
        struct ak_found *found = NULL;
        struct ak_err mine;
        struct made made;
        uint32_t count = 0;
        unsigned n = (unsigned)ak_rand_below(&rand, MANY);
        (void)doc_of(n, 1, &made);
        struct ak_search search = {.vector = made.vector,
                                   .k = 10,
                                   .ef = 32,
                                   .exact = n % 16 == 0,
                                   .include = AK_INCLUDE_VECTOR | AK_INCLUDE_METADATA};
        ak_arena_init(&arena, 0);
        enum ak_rc rc = ak_collection_search(collection, &search, &arena, &found, &count, &mine);
        CHECK_INT(rc, AK_OK);
        CHECK_INT(count, 10);
        for (uint32_t i = 0; i < count; i++) {
            CHECK(is_whole(&found[i]));
        }
        ak_arena_release(&arena);
        atomic_fetch_add(&crowd->looks, 1);
    }
    ak_collection_unref(collection);
    return NULL;
}

TEST(engine_disk, readers_meet_whole_documents_while_rows_go_to_disk_and_slots_are_used_anew)
{
    struct crowd crowd = {.engine = open_plain(ak_test_dir())};
    pthread_t threads[2];
    create(crowd.engine);
    put(crowd.engine, 0, MANY, 1, 1);
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_create(&threads[i], NULL, look, &crowd) == 0);
    }
    for (unsigned round = 0; round < 4; round++) {
        uint64_t before = atomic_load(&crowd.looks);
        put(crowd.engine, 0, MANY / 2, 3, 2 + round);
        checkpoint(crowd.engine);
        drop_docs(crowd.engine, MANY / 2 / 3 * 3, MANY, 3);
        put(crowd.engine, MANY / 2 / 3 * 3, MANY, 3, 2 + round);
        checkpoint(crowd.engine);
        while (atomic_load(&crowd.looks) < before + 20) {
            (void)usleep(100);
        }
    }
    atomic_store(&crowd.stop, true);
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    check_all(crowd.engine, 5);
    CHECK(describe(crowd.engine).memory.files > 0);
    CHECK_OK(ak_engine_verify(crowd.engine, docs, &err));
    ak_engine_close(crowd.engine);
}

static void check_some(struct ak_engine *engine, unsigned first)
{
    struct ak_collection *collection = get(engine);
    check_doc(collection, 0, first);
    for (unsigned n = 1; n < MANY; n += 97) {
        check_doc(collection, n, 1);
    }
    ak_collection_unref(collection);
}

TEST(engine_disk, a_checkpoint_that_the_disk_refuses_changes_nothing_and_succeeds_later)
{
    const char *dir = ak_test_dir();
    struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
    struct ak_engine *engine =
        open_with(&(struct ak_engine_options){.fs = ak_fs_fault_fs(fault)}, dir);
    struct ak_collection *collection = NULL;
    unsigned refused = 0;
    unsigned version = 1;
    bool fired = true;
    create(engine);
    put(engine, 0, MANY, 1, 1);
    checkpoint(engine);
    collection = get(engine);
    for (int64_t nth = 0; fired; nth = nth < 4 ? nth + 1 : nth * 3 / 2) {
        put(engine, 0, 1, 1, ++version);
        ak_fs_fault_set(fault, AK_FS_WRITE | AK_FS_OPEN, nth, ENOSPC, false);
        enum ak_rc rc = ak_engine_checkpoint(engine, collection, &err);
        fired = ak_fs_fault_fired(fault);
        ak_fs_fault_set(fault, 0, -1, 0, false);
        CHECK(rc == AK_OK || rc == AK_NO_SPACE);
        refused += rc != AK_OK;
        check_some(engine, version);
    }
    CHECK(refused > 2);
    put(engine, 0, 1, 1, ++version);
    checkpoint(engine);
    CHECK(describe(engine).memory.vectors <= LEFT_MAX);
    ak_collection_unref(collection);
    ak_engine_close(engine);
    engine = open_plain(dir);
    check_some(engine, version);
    ak_engine_close(engine);
    ak_fs_fault_close(fault);
}

TEST(engine_disk, a_checkpoint_without_memory_leaves_the_rows_in_memory_until_the_next)
{
    struct ak_engine *engine = open_plain(ak_test_dir());
    struct ak_collection *collection = NULL;
    unsigned version = 1;
    bool fired = true;
    create(engine);
    put(engine, 0, MANY, 1, 1);
    collection = get(engine);
    ak_collection_wait_linked(collection, NULL, NULL);
    for (int64_t nth = 0; fired; nth++) {
        put(engine, 0, 1, 1, ++version);
        ak_fault_alloc_at(nth);
        enum ak_rc rc = ak_engine_checkpoint(engine, collection, &err);
        fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK(rc == AK_OK || rc == AK_NOMEM);
        check_some(engine, version);
    }
    put(engine, 0, 1, 1, ++version);
    checkpoint(engine);
    CHECK(describe(engine).memory.vectors <= LEFT_MAX);
    check_some(engine, version);
    CHECK_OK(ak_engine_verify(engine, docs, &err));
    ak_collection_unref(collection);
    ak_engine_close(engine);
}

TEST(engine_disk, vectors_on_disk_need_codes)
{
    struct ak_engine *engine = open_plain(ak_test_dir());
    struct ak_collection_info made;
    struct ak_collection_info spec = {
        .name = docs, .dimension = DIMENSION, .index = ak_index_params_default()};
    spec.index.vectors = AK_VECTORS_DISK;
    spec.index.quantization = AK_QUANTIZATION_NONE;
    CHECK_RC(AK_INVALID, ak_engine_create(engine, &spec, &made, &err));
    CHECK(strstr(err.text, "index.quantization") != NULL);
    ak_engine_close(engine);
}

TEST_MAIN()
