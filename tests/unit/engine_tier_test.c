/* engine_tier_test.c — moves between memory, disk and away: what is served, kept and given back. */
#include "base/fault.h"
#include "engine/tiering.h"
#include "engine_docs.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

enum {
    MANY = 1500,  /* above the size of images that live in the catalog */
    LARGE = 17000 /* vectors past 2 MiB: rows in a region of their own */
};

static const struct ak_str docs = {"docs", 4};

static struct ak_tier_view view_of(struct ak_engine *engine)
{
    struct ak_tier_view view;
    CHECK_OK(ak_engine_tier(engine, docs, &view, &err));
    return view;
}

static enum ak_tier tier_of(struct ak_engine *engine)
{
    return view_of(engine).tier;
}

/* Documents [0, count) are there in that version, by id and by search. */
static void check_docs(struct ak_engine *engine, unsigned count, unsigned version)
{
    struct ak_collection *collection = NULL;
    struct ak_arena arena;
    ak_arena_init(&arena, 0);
    CHECK_INT(docs_count(engine, "docs"), count);
    CHECK_OK(ak_engine_get(engine, docs, &collection, &err));
    for (unsigned n = 0; n < count; n += count / 50 + 1) {
        struct doc_texts texts;
        struct ak_found *found = NULL;
        uint32_t hits = 0;
        struct ak_document want = doc_of(n, version, &texts);
        struct ak_search search = {.vector = want.vector, .k = 1, .exact = count >= LARGE};
        CHECK_INT(docs_version(engine, "docs", n), version);
        ak_arena_reset(&arena);
        CHECK_OK(ak_collection_search(collection, &search, &arena, &found, &hits, &err));
        CHECK(hits == 1 && doc_number(&found[0].id) == n);
    }
    ak_collection_unref(collection);
    ak_arena_release(&arena);
}

static struct ak_engine *engine_with(const char *dir, unsigned count)
{
    struct ak_engine *engine = docs_engine(dir);
    (void)docs_create(engine, "docs");
    CHECK_OK(docs_put(engine, "docs", 0, count, 1));
    return engine;
}

/* To WARM, and until the last reference, which may be a builder's, has gone. */
static void go_warm(struct ak_engine *engine)
{
    CHECK_OK(ak_engine_tier_warm(engine, docs, &err));
    while (view_of(engine).is_open) {
        (void)usleep(200);
    }
}

/* The same with a graph that is quick to build. */
static struct ak_engine *engine_with_large(const char *dir)
{
    struct ak_engine *engine = docs_engine(dir);
    struct ak_collection_info spec = docs_spec("docs");
    struct ak_collection_info made;
    spec.index.m = 4;
    spec.index.ef_construction = 16;
    CHECK_OK(ak_engine_create(engine, &spec, &made, &err));
    CHECK_OK(docs_put(engine, "docs", 0, LARGE, 1));
    return engine;
}

/* Is a file of that folder mapped by this process? */
static bool is_mapped(const char *dir)
{
    char line[8192];
    bool found = false;
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    while (!found && fgets(line, sizeof line, maps)) {
        found = strstr(line, dir) && strstr(line, ".akx");
    }
    (void)fclose(maps);
    return found;
}

/* Its readers have gone, and the keeper has seen it: the image is not mapped any more. */
static void wait_unmapped(const char *dir)
{
    while (is_mapped(dir)) {
        (void)usleep(1000);
    }
}

TEST(engine_tier, a_new_collection_is_hot_and_goes_warm_with_everything_linked_and_its_memory_back)
{
    const char *dir = ak_test_dir();
    struct ak_engine *engine = engine_with(dir, MANY);
    struct ak_tier_view hot = view_of(engine);
    CHECK(hot.tier == AK_TIER_HOT && hot.is_open && hot.is_loaded);
    CHECK(!hot.is_covered && !hot.pinned && !hot.is_moving && hot.documents == MANY);
    CHECK(hot.memory_bytes > (uint64_t)MANY * DOCS_DIMENSION * 4 && hot.since_us > 0);
    go_warm(engine);
    struct ak_tier_view warm = view_of(engine);
    CHECK(warm.tier == AK_TIER_WARM && !warm.is_open && !warm.is_dirty && !warm.is_moving);
    CHECK(warm.memory_bytes == 0 && warm.disk_bytes > 0 && warm.ram_bytes >= warm.disk_bytes);
    CHECK(warm.since_us >= hot.since_us && warm.documents == MANY);
    CHECK_INT(docs_files(dir), 1);
    check_docs(engine, MANY, 1);
    struct ak_tier_view used = view_of(engine);
    CHECK(used.tier == AK_TIER_WARM && used.is_open && !used.is_loaded);
    CHECK(used.memory_bytes < hot.memory_bytes / 2);
    CHECK_OK(ak_engine_tier_warm(engine, docs, &err)); /* nothing to do */
    CHECK(tier_of(engine) == AK_TIER_WARM);
    ak_engine_close(engine);
    engine = docs_engine(dir);
    CHECK(tier_of(engine) == AK_TIER_WARM && view_of(engine).since_us == warm.since_us);
    check_docs(engine, MANY, 1);
    ak_engine_close(engine);
}

TEST(engine_tier, a_loaded_collection_has_no_image_mapped_and_is_the_same_to_every_reader)
{
    const char *dir = ak_test_dir();
    struct ak_engine *engine = engine_with_large(dir);
    go_warm(engine);
    check_docs(engine, LARGE, 1);
    CHECK(is_mapped(dir));
    uint64_t as_views = view_of(engine).memory_bytes;
    CHECK_OK(ak_engine_tier_hot(engine, docs, &err));
    wait_unmapped(dir);
    struct ak_tier_view hot = view_of(engine);
    CHECK(hot.tier == AK_TIER_HOT && hot.is_loaded && !hot.is_dirty);
    CHECK(hot.memory_bytes > as_views + (uint64_t)LARGE * 128);
    check_docs(engine, LARGE, 1);
    CHECK_OK(docs_put(engine, "docs", 0, 100, 2)); /* the first write after it */
    CHECK_OK(docs_put(engine, "docs", LARGE, 100, 1));
    CHECK_INT(docs_version(engine, "docs", 5), 2);
    CHECK_INT(docs_version(engine, "docs", LARGE + 5), 1);
    CHECK_INT(docs_count(engine, "docs"), LARGE + 100);
    docs_remove(engine, "docs", LARGE, 100, 1);
    CHECK_OK(docs_put(engine, "docs", 0, 100, 1));
    CHECK_OK(ak_engine_verify(engine, docs, &err));
    CHECK_OK(ak_engine_tier_warm(engine, docs, &err));
    check_docs(engine, LARGE, 1);
    CHECK_OK(ak_engine_verify(engine, docs, &err));
    /* Written after it was opened: rows are a private mapping of the file when it is loaded. */
    CHECK_OK(docs_put(engine, "docs", 0, 50, 2));
    CHECK(tier_of(engine) == AK_TIER_HOT && !view_of(engine).is_loaded && is_mapped(dir));
    CHECK_OK(ak_engine_tier_hot(engine, docs, &err));
    wait_unmapped(dir);
    CHECK(view_of(engine).is_loaded);
    for (unsigned n = 0; n < 100; n++) {
        CHECK_INT(docs_version(engine, "docs", n), n < 50 ? 2 : 1);
    }
    CHECK_OK(ak_engine_verify(engine, docs, &err));
    ak_engine_close(engine);
    engine = docs_engine(dir);
    CHECK(tier_of(engine) == AK_TIER_HOT); /* not loaded, but what it was */
    CHECK_INT(docs_version(engine, "docs", 49), 2);
    CHECK_INT(docs_version(engine, "docs", 50), 1);
    ak_engine_close(engine);
}

TEST(engine_tier, a_write_to_a_warm_collection_makes_it_hot_at_once)
{
    const char *dir = ak_test_dir();
    struct ak_engine *engine = engine_with(dir, MANY);
    CHECK_OK(ak_engine_tier_warm(engine, docs, &err));
    CHECK_OK(docs_put(engine, "docs", 7, 1, 2));
    CHECK(tier_of(engine) == AK_TIER_HOT && view_of(engine).is_dirty);
    CHECK_INT(docs_version(engine, "docs", 7), 2);
    CHECK_OK(ak_engine_tier_flush(engine, NULL, 0, &err));
    CHECK(tier_of(engine) == AK_TIER_HOT);
    CHECK_OK(ak_engine_tier_warm(engine, docs, &err));
    CHECK_OK(docs_put(engine, "docs", 8, 1, 2));
    ak_engine_close(engine); /* which flushes */
    engine = docs_engine(dir);
    CHECK(tier_of(engine) == AK_TIER_HOT);
    CHECK(docs_version(engine, "docs", 7) == 2 && docs_version(engine, "docs", 8) == 2);
    ak_engine_close(engine);
}

TEST(engine_tier, a_collection_in_use_goes_warm_and_serves_until_it_is_let_go)
{
    struct ak_engine *engine = engine_with(ak_test_dir(), MANY);
    struct ak_collection *held = NULL;
    struct ak_write write;
    struct doc_texts texts;
    struct ak_document doc = doc_of(3, 2, &texts);
    CHECK_OK(ak_engine_get(engine, docs, &held, &err));
    CHECK_OK(ak_engine_tier_warm(engine, docs, &err));
    CHECK(tier_of(engine) == AK_TIER_WARM && view_of(engine).is_open);
    check_docs(engine, MANY, 1);
    ak_collection_unref(held);
    while (view_of(engine).is_open) { /* a builder may have another reference */
        (void)usleep(200);
    }
    CHECK_OK(ak_engine_tier_hot(engine, docs, &err));
    CHECK_OK(ak_engine_get(engine, docs, &held, &err));
    CHECK_OK(ak_engine_tier_warm(engine, docs, &err));
    CHECK_OK(
        ak_collection_upsert(held, &doc, 1, true, NULL, &write, &err)); /* through the old one */
    CHECK_OK(ak_engine_commit(engine, write.commit, &err));
    CHECK(tier_of(engine) == AK_TIER_HOT);
    ak_collection_unref(held);
    CHECK(view_of(engine).is_open);
    CHECK_INT(docs_version(engine, "docs", 3), 2);
    ak_engine_close(engine);
}

TEST(engine_tier, tiny_and_empty_collections_move_as_others_do)
{
    const char *dir = ak_test_dir();
    struct ak_engine *engine = engine_with(dir, 0);
    CHECK_OK(ak_engine_tier_warm(engine, docs, &err)); /* nothing was ever written */
    CHECK(tier_of(engine) == AK_TIER_WARM);
    CHECK_INT(docs_count(engine, "docs"), 0);
    CHECK_OK(ak_engine_tier_hot(engine, docs, &err));
    CHECK_OK(docs_put(engine, "docs", 0, 20, 1));
    go_warm(engine);
    CHECK_INT(docs_files(dir), 0);
    check_docs(engine, 20, 1);
    CHECK_OK(ak_engine_tier_hot(engine, docs, &err));
    CHECK(view_of(engine).is_loaded);
    check_docs(engine, 20, 1);
    CHECK_OK(docs_put(engine, "docs", 0, 20, 2));
    ak_engine_close(engine);
    engine = docs_engine(dir);
    check_docs(engine, 20, 2);
    ak_engine_close(engine);
}

TEST(engine_tier, accesses_count_and_those_who_look_after_a_collection_do_not)
{
    const char *dir = ak_test_dir();
    struct ak_engine *engine = engine_with(dir, 10);
    struct ak_collection *collection = NULL;
    struct ak_tier_view before = view_of(engine);
    CHECK(before.accesses == 1 && before.last_access_us >= before.created_us);
    CHECK_OK(ak_engine_peek(engine, docs, &collection, &err));
    ak_collection_unref(collection);
    CHECK_OK(ak_engine_tier_warm(engine, docs, &err));
    CHECK_OK(ak_engine_verify(engine, docs, &err));
    CHECK_INT(view_of(engine).accesses, 1);
    CHECK_INT(docs_count(engine, "docs"), 10);
    struct ak_tier_view after = view_of(engine);
    CHECK(after.accesses == 2 && after.last_access_us >= before.last_access_us);
    struct ak_tier_note notes[2] = {{after.id, 1234567, 42}, {doc_id(1), 1, 1}};
    CHECK_OK(ak_engine_tier_flush(engine, notes, 2, &err)); /* the second is not there: skipped */
    ak_engine_close(engine);
    engine = docs_engine(dir);
    struct ak_tier_view later = view_of(engine);
    CHECK(later.accesses == 0 && later.last_access_us == after.last_access_us);
    CHECK(later.window_from_us == 1234567 && later.window_accesses == 42);
    CHECK_RC(AK_NOT_FOUND, ak_engine_tier(engine, AK_STR("other"), &later, &err));
    ak_engine_close(engine);
}

TEST(engine_tier, pins_and_rules_are_kept_and_bad_rules_refused)
{
    const char *dir = ak_test_dir();
    struct ak_engine *engine = engine_with(dir, 10);
    struct ak_tier_overrides over = {.set = AK_TIER_RULE_HOT_IDLE | AK_TIER_RULE_LOWEST,
                                     .rules = {.hot_idle_us = 5000000, .lowest = AK_TIER_WARM}};
    CHECK_OK(ak_engine_tier_pin(engine, docs, true, &err));
    CHECK_OK(ak_engine_tier_rules(engine, docs, &over, &err));
    over.rules.hot_idle_us = -1;
    CHECK_RC(AK_INVALID, ak_engine_tier_rules(engine, docs, &over, &err));
    CHECK(strstr(err.text, "hot_idle") != NULL);
    CHECK_RC(AK_NOT_FOUND, ak_engine_tier_pin(engine, AK_STR("other"), true, &err));
    for (int life = 0; life < 2; life++) {
        struct ak_tier_view view = view_of(engine);
        struct ak_tier_rules base = ak_tier_rules_default();
        struct ak_tier_rules rules = ak_tier_rules_over(&base, &view.rules);
        CHECK(view.pinned && view.rules.set == (AK_TIER_RULE_HOT_IDLE | AK_TIER_RULE_LOWEST));
        CHECK(rules.hot_idle_us == 5000000 && rules.lowest == AK_TIER_WARM);
        CHECK(rules.warm_idle_us == base.warm_idle_us && rules.promote_accesses == 10);
        ak_engine_close(engine);
        engine = docs_engine(dir);
    }
    CHECK_OK(ak_engine_tier_pin(engine, docs, false, &err));
    over.set = 0;
    CHECK_OK(
        ak_engine_tier_rules(engine, docs, &over, &err)); /* what is not set is not looked at */
    ak_engine_close(engine);
    engine = docs_engine(dir);
    CHECK(!view_of(engine).pinned && view_of(engine).rules.set == 0);
    ak_engine_close(engine);
}

TEST(engine_tier, a_scan_meets_every_collection_once_and_sums_agree_with_it)
{
    enum { COUNT = 1200 };
    struct ak_engine *engine = docs_engine(ak_test_dir());
    static struct ak_tier_view views[300];
    struct ak_tier_usage usage;
    char name[32];
    for (unsigned n = 0; n < COUNT; n++) {
        (void)snprintf(name, sizeof name, "c%u", n);
        (void)docs_create(engine, name);
    }
    for (unsigned n = 0; n < COUNT; n += 2) { /* places that are free */
        (void)snprintf(name, sizeof name, "c%u", n);
        CHECK_OK(ak_engine_drop(engine, ak_str_of(name), &err));
    }
    (void)docs_create(engine, "docs");
    CHECK_OK(docs_put(engine, "docs", 0, MANY, 1));
    go_warm(engine);
    CHECK_OK(docs_put(engine, "c3", 0, MANY, 1));
    uint32_t at = 0;
    size_t met = 0;
    uint64_t warm = 0;
    uint64_t memory = 0;
    for (size_t n = 0; (n = ak_engine_tier_scan(engine, &at, views, 300)) > 0; met += n) {
        CHECK(n <= 300);
        for (size_t i = 0; i < n; i++) {
            warm += views[i].tier == AK_TIER_WARM;
            memory += views[i].memory_bytes;
        }
    }
    CHECK(met == COUNT / 2 + 1 && warm == 1 && memory > (uint64_t)MANY * 100);
    ak_engine_tier_usage(engine, &usage);
    CHECK(usage.collections[AK_TIER_HOT] == COUNT / 2 && usage.collections[AK_TIER_WARM] == 1);
    CHECK(usage.collections[AK_TIER_COLD] == 0 && usage.resident_bytes > 0);
    CHECK(usage.disk_bytes[AK_TIER_WARM] > (uint64_t)MANY * 100 &&
          usage.memory_bytes[AK_TIER_HOT] > (uint64_t)MANY * 100 &&
          usage.memory_bytes[AK_TIER_WARM] == 0);
    ak_engine_close(engine);
}

TEST(engine_tier, a_process_that_is_too_large_gives_the_pages_of_warm_images_back)
{
    const char *dir = ak_test_dir();
    struct ak_engine *engine = engine_with(dir, MANY);
    CHECK_OK(ak_engine_tier_warm(engine, docs, &err));
    ak_engine_close(engine);
    /* A limit that is passed all the while: by the trimmer, then by every search too. */
    for (uint64_t idle_bytes = 256 << 20; idle_bytes; idle_bytes = idle_bytes > 1 ? 1 : 0) {
        struct ak_engine_options options = {
            .dir = dir, .build_threads = 1, .resident_max_bytes = 1, .idle_bytes = idle_bytes};
        CHECK_OK(ak_engine_open(&options, &engine, &err));
        for (int i = 0; i < 3; i++) {
            check_docs(engine, MANY, 1);
            CHECK_OK(ak_engine_verify(engine, docs, &err));
        }
        CHECK(tier_of(engine) == AK_TIER_WARM);
        ak_engine_close(engine);
    }
}

/* --- Moves under use --- */

struct reader {
    struct ak_engine *engine;
    _Atomic bool stop;
    _Atomic uint64_t searches;
};

static void *search_on(void *arg)
{
    struct reader *reader = arg;
    struct ak_arena arena;
    struct ak_err local;
    ak_arena_init(&arena, 0);
    for (unsigned n = 0; !atomic_load(&reader->stop); n = (n + 7) % MANY) {
        struct ak_collection *collection = NULL;
        struct ak_found *found = NULL;
        struct doc_texts texts;
        uint32_t hits = 0;
        struct ak_document want = doc_of(n, 1, &texts);
        struct ak_search search = {
            .vector = want.vector, .k = 3, .include = AK_INCLUDE_VECTOR | AK_INCLUDE_METADATA};
        if (ak_engine_get(reader->engine, docs, &collection, &local) != AK_OK ||
            ak_collection_search(collection, &search, &arena, &found, &hits, &local) != AK_OK ||
            hits != 3 || doc_number(&found[0].id) != n ||
            memcmp(found[0].vector, want.vector, sizeof texts.vector) != 0) {
            abort();
        }
        ak_collection_unref(collection);
        ak_arena_reset(&arena);
        atomic_fetch_add(&reader->searches, 1);
    }
    ak_arena_release(&arena);
    return NULL;
}

struct writer {
    struct ak_engine *engine;
    _Atomic bool stop;
    _Atomic unsigned written; /* documents MANY + [0, written) are acknowledged */
};

static void *write_on(void *arg)
{
    struct writer *writer = arg;
    struct ak_err local;
    while (!atomic_load(&writer->stop)) {
        unsigned n = atomic_load(&writer->written);
        struct ak_collection *collection = NULL;
        struct doc_texts texts;
        struct ak_write write;
        struct ak_document doc = doc_of(MANY + n, 1, &texts);
        if (ak_engine_get(writer->engine, docs, &collection, &local) != AK_OK ||
            ak_collection_upsert(collection, &doc, 1, true, NULL, &write, &local) != AK_OK ||
            ak_engine_commit(writer->engine, write.commit, &local) != AK_OK) {
            abort();
        }
        ak_collection_unref(collection);
        atomic_fetch_add(&writer->written, 1);
    }
    return NULL;
}

TEST(engine_tier, searches_are_right_and_no_write_is_lost_while_it_moves_to_and_fro)
{
    enum { READERS = 2, MOVES = 12 };
    const char *dir = ak_test_dir();
    struct ak_engine *engine = engine_with(dir, MANY);
    struct reader reader = {.engine = engine};
    struct writer writer = {.engine = engine};
    pthread_t readers[READERS];
    pthread_t writes;
    unsigned moved = 0;
    for (int i = 0; i < READERS; i++) {
        CHECK(pthread_create(&readers[i], NULL, search_on, &reader) == 0);
    }
    for (int round = 0; round < MOVES; round++) { /* searched only: every move succeeds */
        CHECK_OK(ak_engine_tier_warm(engine, docs, &err));
        CHECK_OK(ak_engine_tier_hot(engine, docs, &err));
    }
    CHECK(pthread_create(&writes, NULL, write_on, &writer) == 0);
    for (int round = 0; round < MOVES; round++) {
        enum ak_rc rc = ak_engine_tier_warm(engine, docs, &err);
        CHECK(rc == AK_OK || rc == AK_CONFLICT);
        moved += rc == AK_OK;
        CHECK_OK(ak_engine_tier_hot(engine, docs, &err));
        unsigned seen = atomic_load(&writer.written);
        while (atomic_load(&writer.written) == seen) { /* the writer gets on */
            (void)usleep(100);
        }
    }
    atomic_store(&writer.stop, true);
    CHECK(pthread_join(writes, NULL) == 0);
    atomic_store(&reader.stop, true);
    for (int i = 0; i < READERS; i++) {
        CHECK(pthread_join(readers[i], NULL) == 0);
    }
    unsigned written = atomic_load(&writer.written);
    CHECK(atomic_load(&reader.searches) > 0 && written >= MOVES && moved <= MOVES);
    for (int life = 0; life < 2; life++) {
        check_docs(engine, MANY + written, 1);
        CHECK_OK(ak_engine_verify(engine, docs, &err));
        ak_engine_close(engine);
        engine = docs_engine(dir);
    }
    ak_engine_close(engine);
}

/* --- Failures --- */

TEST(engine_tier, want_of_memory_in_a_move_leaves_it_where_it_was_and_another_try_succeeds)
{
    struct ak_engine *engine = engine_with(ak_test_dir(), MANY);
    unsigned failed[2] = {0, 0};
    CHECK_OK(ak_engine_tier_warm(engine, docs, &err));
    for (int direction = 0; direction < 2; direction++) {
        bool fired = true;
        for (int64_t nth = 0; fired; nth++) {
            CHECK_OK(direction ? ak_engine_tier_hot(engine, docs, &err)
                               : ak_engine_tier_warm(engine, docs, &err));
            if (direction) { /* something to write: version 1 again */
                CHECK_OK(docs_put(engine, "docs", 0, 5, 1));
            }
            ak_fault_alloc_at(nth);
            enum ak_rc rc = direction ? ak_engine_tier_warm(engine, docs, &err)
                                      : ak_engine_tier_hot(engine, docs, &err);
            fired = ak_fault_alloc_fired();
            ak_fault_alloc_at(-1);
            CHECK(rc == AK_OK || rc == AK_NOMEM);
            failed[direction] += rc != AK_OK;
            CHECK(!view_of(engine).is_moving);
            enum ak_tier want = (rc == AK_OK) == (direction == 1) ? AK_TIER_WARM : AK_TIER_HOT;
            CHECK(tier_of(engine) == want);
            check_docs(engine, MANY, 1);
        }
    }
    CHECK(failed[0] >= 3 && failed[1] >= 3);
    CHECK_OK(ak_engine_verify(engine, docs, &err));
    ak_engine_close(engine);
}

TEST(engine_tier, a_move_that_the_disk_refuses_changes_nothing_and_succeeds_later)
{
    const char *dir = ak_test_dir();
    struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
    struct ak_engine *engine = docs_engine_on(ak_fs_fault_fs(fault), dir);
    unsigned refused = 0;
    bool fired = true;
    (void)docs_create(engine, "docs");
    CHECK_OK(docs_put(engine, "docs", 0, MANY, 1));
    for (int64_t nth = 0; fired; nth++) {
        CHECK_OK(docs_put(engine, "docs", 0, 5, 1));
        CHECK(tier_of(engine) == AK_TIER_HOT);
        ak_fs_fault_set(fault, AK_FS_WRITE, nth, ENOSPC, false);
        enum ak_rc rc = ak_engine_tier_warm(engine, docs, &err);
        fired = ak_fs_fault_fired(fault);
        ak_fs_fault_set(fault, 0, -1, 0, false);
        CHECK(rc == AK_OK || rc == AK_NO_SPACE);
        refused += rc != AK_OK;
        CHECK(tier_of(engine) == (rc == AK_OK ? AK_TIER_WARM : AK_TIER_HOT));
        check_docs(engine, MANY, 1);
    }
    CHECK(refused > 2);
    CHECK_OK(ak_engine_tier_warm(engine, docs, &err));
    ak_engine_close(engine);
    ak_fs_fault_close(fault);
}

TEST_MAIN()
