/* engine_hold_test.c — a held state stays as it is, bit for bit, whatever happens meanwhile. */
#include "base/fault.h"
#include "engine_docs.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

enum { MANY = 1500 }; /* above the size of images that live in the catalog */

static struct ak_hold *hold_of(struct ak_engine *engine, const char *name)
{
    struct ak_hold *hold = NULL;
    CHECK_OK(ak_engine_hold(engine, ak_str_of(name), &hold, &err));
    return hold;
}

/* All documents of the hold have that version, each once; read `step` at a time. */
static void check_held(struct ak_hold *hold, uint64_t rows, unsigned version, size_t step)
{
    struct ak_document docs[64];
    static bool seen[1 << 16];
    memset(seen, 0, sizeof seen);
    CHECK_INT(ak_hold_rows(hold), rows);
    for (uint64_t at = 0; at < rows; at += step) {
        size_t count = rows - at < step ? (size_t)(rows - at) : step;
        CHECK_OK(ak_hold_read(hold, at, count, docs, &err));
        for (size_t i = 0; i < count; i++) {
            unsigned n = doc_number(&docs[i].id);
            CHECK(!seen[n] && doc_is(&docs[i], version) && docs[i].inserted_us > 0);
            seen[n] = true;
        }
    }
    CHECK_RC(AK_INVALID, ak_hold_read(hold, rows, 1, docs, &err));
}

TEST(engine_hold, a_hold_reads_every_document_bit_for_bit_in_a_fixed_order)
{
    struct ak_engine *engine = docs_engine(ak_test_dir());
    (void)docs_create(engine, "docs");
    CHECK_OK(docs_put(engine, "docs", 0, MANY, 1));
    struct ak_hold *hold = hold_of(engine, "docs");
    CHECK(ak_hold_image_path(hold) != NULL && ak_hold_image_blob(hold).len == 0);
    CHECK(ak_str_eq(ak_hold_info(hold)->name, AK_STR("docs")));
    check_held(hold, MANY, 1, 64);
    check_held(hold, MANY, 1, 7);
    ak_hold_release(hold);
    ak_hold_release(NULL);
    CHECK_RC(AK_NOT_FOUND, ak_engine_hold(engine, AK_STR("other"), &hold, &err));
    ak_engine_close(engine);
}

TEST(engine_hold, what_a_reader_has_passed_can_be_read_again)
{
    struct ak_engine *engine = docs_engine(ak_test_dir());
    (void)docs_create(engine, "docs");
    CHECK_OK(docs_put(engine, "docs", 0, 30000, 1));
    docs_remove(engine, "docs", 20000, 30000, 3);
    struct ak_hold *hold = hold_of(engine, "docs");
    uint64_t rows = docs_count(engine, "docs");
    struct ak_document early[64];
    CHECK_OK(ak_hold_read(hold, 0, 64, early, &err));
    for (uint64_t row = 0; row <= rows; row += 100) {
        ak_hold_passed(hold, row);
    }
    ak_hold_passed(hold, rows);
    ak_hold_passed(hold, rows + 1); /* not a place in it: nothing happens */
    ak_hold_passed(hold, 5);
    for (size_t i = 0; i < 64; i++) { /* views stay valid */
        CHECK(doc_is(&early[i], 1));
    }
    check_held(hold, rows, 1, 64);
    ak_hold_release(hold);
    ak_engine_close(engine);
}

TEST(engine_hold, removed_documents_are_left_out_wherever_they_were)
{
    struct ak_engine *engine = docs_engine(ak_test_dir());
    (void)docs_create(engine, "docs");
    CHECK_OK(docs_put(engine, "docs", 0, 10000, 1)); /* more than two entries of the rank table */
    docs_remove(engine, "docs", 0, 4500, 1);
    docs_remove(engine, "docs", 4500, 5500, 3);
    struct ak_hold *hold = hold_of(engine, "docs");
    uint64_t rows = docs_count(engine, "docs");
    check_held(hold, rows, 1, 61);
    for (uint64_t at = 0; at < rows; at += 97) { /* from anywhere, the same row */
        struct ak_document a;
        struct ak_document pair[2];
        CHECK_OK(ak_hold_read(hold, at, 1, &a, &err));
        CHECK_OK(ak_hold_read(hold, at > 0 ? at - 1 : at, at > 0 ? 2 : 1, pair, &err));
        CHECK(ak_uuid_eq(&a.id, &pair[at > 0].id));
    }
    ak_hold_release(hold);
    ak_engine_close(engine);
}

TEST(engine_hold, a_small_collection_is_held_as_a_blob_and_an_empty_one_without_an_image)
{
    struct ak_engine *engine = docs_engine(ak_test_dir());
    (void)docs_create(engine, "docs");
    struct ak_hold *empty = hold_of(engine, "docs");
    CHECK(ak_hold_rows(empty) == 0 && !ak_hold_image_path(empty) &&
          ak_hold_image_blob(empty).len == 0);
    CHECK_OK(ak_hold_read(empty, 0, 0, NULL, &err));
    CHECK_OK(docs_put(engine, "docs", 0, 20, 1));
    struct ak_hold *hold = hold_of(engine, "docs");
    CHECK(!ak_hold_image_path(hold) && ak_hold_image_blob(hold).len > 0);
    CHECK_OK(docs_put(engine, "docs", 0, 30, 2));
    docs_checkpoint(engine, "docs");
    check_held(hold, 20, 1, 9);
    ak_hold_release(hold);
    ak_hold_release(empty);
    ak_engine_close(engine);
}

TEST(engine_hold, writes_and_checkpoints_go_on_and_the_file_goes_with_the_last_hold)
{
    const char *dir = ak_test_dir();
    struct ak_engine *engine = docs_engine(dir);
    (void)docs_create(engine, "docs");
    CHECK_OK(docs_put(engine, "docs", 0, MANY, 1));
    struct ak_hold *first = hold_of(engine, "docs");
    struct ak_hold *second = hold_of(engine, "docs");
    CHECK(strcmp(ak_hold_image_path(first), ak_hold_image_path(second)) == 0);
    CHECK(ak_hold_lsn(first) == ak_hold_lsn(second));
    CHECK_OK(docs_put(engine, "docs", 0, MANY, 2));
    docs_checkpoint(engine, "docs");
    CHECK_INT(docs_files(dir), 2);
    struct ak_hold *third = hold_of(engine, "docs");
    CHECK(ak_hold_lsn(third) > ak_hold_lsn(first));
    CHECK_OK(docs_put(engine, "docs", MANY, 100, 3));
    docs_checkpoint(engine, "docs");
    CHECK_INT(docs_files(dir), 3);
    check_held(first, MANY, 1, 50);
    ak_hold_release(first);
    CHECK_INT(docs_files(dir), 3);
    check_held(second, MANY, 1, 50);
    ak_hold_release(second);
    CHECK_INT(docs_files(dir), 2);
    check_held(third, MANY, 2, 50);
    ak_hold_release(third);
    CHECK_INT(docs_files(dir), 1);
    ak_engine_close(engine);
    engine = docs_engine(dir);
    CHECK_INT(docs_count(engine, "docs"), MANY + 100);
    CHECK_OK(ak_engine_verify(engine, AK_STR("docs"), &err));
    ak_engine_close(engine);
}

TEST(engine_hold, a_collection_may_be_dropped_while_it_is_held)
{
    const char *dir = ak_test_dir();
    struct ak_engine *engine = docs_engine(dir);
    (void)docs_create(engine, "docs");
    CHECK_OK(docs_put(engine, "docs", 0, MANY, 1));
    struct ak_hold *hold = hold_of(engine, "docs");
    CHECK_OK(ak_engine_drop(engine, AK_STR("docs"), &err));
    (void)docs_create(engine, "docs"); /* the name is free */
    CHECK_OK(docs_put(engine, "docs", 0, MANY, 2));
    docs_checkpoint(engine, "docs");
    check_held(hold, MANY, 1, 64);
    CHECK_INT(docs_files(dir), 2);
    ak_hold_release(hold);
    CHECK_INT(docs_files(dir), 1);
    ak_engine_close(engine);
}

TEST(engine_hold, a_damaged_image_is_not_held)
{
    const char *dir = ak_test_dir();
    struct ak_engine *engine = docs_engine(dir);
    (void)docs_create(engine, "docs");
    CHECK_OK(docs_put(engine, "docs", 0, MANY, 1));
    struct ak_hold *hold = hold_of(engine, "docs");
    struct ak_file *file = NULL;
    CHECK_OK(ak_fs_open(ak_fs_posix(), ak_hold_image_path(hold), AK_OPEN_WRITE, &file, &err));
    ak_hold_release(hold);
    CHECK_OK(ak_file_write(file, 70000, "damage", 6, &err));
    ak_file_close(file);
    CHECK_RC(AK_CORRUPT, ak_engine_hold(engine, AK_STR("docs"), &hold, &err));
    CHECK(strstr(err.text, "checksum") != NULL);
    ak_engine_close(engine);
}

struct busy {
    struct ak_engine *engine;
    _Atomic bool stop;
    _Atomic unsigned rounds;
};

static void *write_versions(void *arg)
{
    struct busy *busy = arg;
    for (unsigned round = 0; !atomic_load(&busy->stop); round++) {
        struct ak_collection *collection = NULL;
        struct ak_err mine;
        struct ak_write write;
        struct doc_texts texts;
        if (ak_engine_get(busy->engine, AK_STR("docs"), &collection, &mine) != AK_OK) {
            abort();
        }
        for (unsigned n = 0; n < MANY; n += 10) {
            struct ak_document doc = doc_of(n + round % 10, 1 + round % 9, &texts);
            if (ak_collection_upsert(collection, &doc, 1, true, NULL, &write, &mine) != AK_OK) {
                abort();
            }
        }
        if (round % 3 == 0 && ak_engine_checkpoint(busy->engine, collection, &mine) != AK_OK) {
            abort();
        }
        ak_collection_unref(collection);
        atomic_fetch_add(&busy->rounds, 1);
    }
    return NULL;
}

TEST(engine_hold, holds_under_writers_and_checkpoints_do_not_change)
{
    struct ak_engine *engine = docs_engine(ak_test_dir());
    struct busy busy = {.engine = engine};
    pthread_t thread;
    (void)docs_create(engine, "docs");
    CHECK_OK(docs_put(engine, "docs", 0, MANY, 1));
    CHECK_INT(pthread_create(&thread, NULL, write_versions, &busy), 0);
    for (int round = 0; round < 20 || atomic_load(&busy.rounds) < 10; round++) {
        static struct ak_document before[MANY];
        static struct ak_document after[MANY];
        static char vectors[MANY][DOCS_DIMENSION * sizeof(float)];
        struct ak_hold *hold = hold_of(engine, "docs");
        CHECK_INT(ak_hold_rows(hold), MANY);
        CHECK_OK(ak_hold_read(hold, 0, MANY, before, &err));
        for (int i = 0; i < MANY; i++) {
            memcpy(vectors[i], before[i].vector, sizeof vectors[i]);
        }
        docs_checkpoint(engine, "docs");
        CHECK_OK(ak_hold_read(hold, 0, MANY, after, &err));
        for (int i = 0; i < MANY; i++) {
            const void *now = after[i].vector;
            CHECK(ak_uuid_eq(&before[i].id, &after[i].id));
            CHECK(memcmp(vectors[i], now, sizeof vectors[i]) == 0);
        }
        ak_hold_release(hold);
    }
    atomic_store(&busy.stop, true);
    (void)pthread_join(thread, NULL);
    ak_engine_close(engine);
}

/* The nth operation of `ops`, or allocation (ops 0), fails in a hold. */
static bool hold_fails_at(struct ak_engine *engine, struct ak_fs_fault *fault, unsigned ops,
                          int nth)
{
    struct ak_hold *hold = NULL;
    if (ops) {
        ak_fs_fault_set(fault, ops, nth, EIO, false);
    } else {
        ak_fault_alloc_at(nth);
    }
    enum ak_rc rc = ak_engine_hold(engine, AK_STR("docs"), &hold, &err);
    bool fired = ops ? ak_fs_fault_fired(fault) : ak_fault_alloc_fired();
    ak_fs_fault_set(fault, 0, -1, 0, false);
    ak_fault_alloc_at(-1);
    CHECK(rc == AK_OK || err.text[0]);
    if (rc == AK_OK) {
        check_held(hold, MANY, 1, 64);
    }
    ak_hold_release(hold);
    return fired;
}

TEST(engine_hold, the_nth_allocation_or_read_fails_and_the_collection_is_as_before)
{
    struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
    struct ak_engine *engine = docs_engine_on(ak_fs_fault_fs(fault), ak_test_dir());
    (void)docs_create(engine, "docs");
    CHECK_OK(docs_put(engine, "docs", 0, MANY, 1));
    docs_checkpoint(engine, "docs");
    static const unsigned kinds[] = {0, AK_FS_READ | AK_FS_OPEN};
    for (size_t kind = 0; kind < 2; kind++) {
        int nth = 0;
        while (hold_fails_at(engine, fault, kinds[kind], nth)) {
            nth++;
        }
        CHECK(nth > 0);
    }
    CHECK_INT(docs_version(engine, "docs", 77), 1);
    ak_engine_close(engine);
    ak_fs_fault_close(fault);
}

TEST_MAIN()
