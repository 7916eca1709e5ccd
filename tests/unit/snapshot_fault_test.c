/* The store fails at every call in every way, memory at every allocation: a snapshot is whole or
 * not there, nothing is left that cannot be removed, and the next try succeeds. */
#include "unit/snapshot_world.h"

static const enum ak_objstore_fault kinds[] = {
    AK_OBJSTORE_FAULT_ERROR_500, AK_OBJSTORE_FAULT_SLOW_503, AK_OBJSTORE_FAULT_DENIED_403,
    AK_OBJSTORE_FAULT_TIMEOUT,   AK_OBJSTORE_FAULT_RESET,    AK_OBJSTORE_FAULT_LOST_ANSWER,
};
#define KINDS (sizeof kinds / sizeof kinds[0])

struct broken {
    struct world w;
    struct ak_objstore *good;  /* under */
    struct ak_objstore *fault; /* the world's store */
};

static void broken_open(struct broken *b, size_t count, bool image)
{
    world_open(&b->w, 8, count, false);
    if (image) {
        world_image_file(&b->w);
    }
    b->good = b->w.store;
    CHECK_OK(ak_objstore_open_fault(b->good, &b->fault, &err));
    b->w.store = b->fault;
}

static void broken_close(struct broken *b)
{
    ak_objstore_close(b->fault);
    b->w.store = b->good;
    world_close(&b->w);
}

static void fail_at(struct broken *b, enum ak_objstore_fault kind, int64_t nth, bool sticky)
{
    const struct ak_objstore_fault_rule rule = {.fault = kind, .nth = nth, .sticky = sticky};
    ak_objstore_fault_set(b->fault, &rule);
}

static void heal(struct broken *b)
{
    fail_at(b, AK_OBJSTORE_FAULT_NONE, -1, false);
}

/* Whatever is listed must be whole. */
static size_t check_listed(struct broken *b)
{
    struct ak_snapshot_meta *list = NULL;
    struct ak_snapshot_report report;
    size_t count = 0;
    CHECK_OK(ak_snapshot_list(b->good, &b->w.info.id, &b->w.strings, &list, &count, NULL, &err));
    for (size_t i = 0; i < count; i++) {
        CHECK_OK(ak_snapshot_verify(b->good, &list[i], NULL, NULL, &report, &err));
        CHECK_INT(report.rows, b->w.count);
    }
    return count;
}

/* Take one while the n-th call fails; *fired: it did. */
static void take_with_fault(size_t kind, int64_t nth, bool sticky,
                            const struct ak_snapshot_options *options, bool *fired)
{
    struct broken b;
    struct ak_snapshot_meta meta;
    broken_open(&b, 300, true);
    fail_at(&b, kinds[kind], nth, sticky);
    enum ak_rc rc = take(&b.w, 1, options, &meta);
    *fired = ak_objstore_fault_fired(b.fault) > 0;
    bool is_lost = kinds[kind] == AK_OBJSTORE_FAULT_LOST_ANSWER;
    heal(&b);
    CHECK(*fired || rc == AK_OK);
    size_t listed = check_listed(&b);
    CHECK(listed == (rc == AK_OK) || (is_lost && listed <= 1));
    if (rc != AK_OK) {
        CHECK(err.text[0] != '\0');
        uint64_t removed = 0;
        if (listed == 0) {
            CHECK_OK(ak_snapshot_sweep(b.fault, &b.w.info.id, NULL, 0, INT64_MAX, &removed, &err));
            CHECK_INT(objects_in(b.good, ""), 0);
        }
        struct ak_uuid id = id_of(1);
        CHECK_OK(ak_snapshot_remove(b.fault, &b.w.info.id, &id, &err));
        CHECK_INT(objects_in(b.good, ""), 0);
        CHECK_OK(take(&b.w, 1, options, &meta)); /* the same id, once it works again */
    }
    CHECK_INT(check_listed(&b), 1);
    broken_close(&b);
}

TEST(snapshot, taking_one_survives_every_failing_call)
{
    for (int format = 0; format < 2; format++) {
        for (size_t kind = 0; kind < KINDS; kind++) {
            for (int sticky = 0; sticky < 2; sticky++) {
                struct ak_snapshot_options options = options_of((enum ak_snapshot_format)format);
                bool fired = true;
                int64_t nth = 0;
                for (; fired; nth++) {
                    take_with_fault(kind, nth, sticky, &options, &fired);
                }
                CHECK(nth > 3);
            }
        }
    }
}

TEST(snapshot, a_write_that_fails_once_leaves_nothing_by_itself)
{
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
    bool fired = true;
    for (int64_t nth = 0; fired; nth++) {
        struct broken b;
        struct ak_snapshot_meta meta;
        struct ak_uuid id = id_of(1);
        broken_open(&b, 300, true);
        fail_at(&b, AK_OBJSTORE_FAULT_LOST_ANSWER, nth, false);
        enum ak_rc rc = ak_snapshot_write(b.fault, &id, &b.w.source, &options, AT_US, &b.w.strings,
                                          NULL, NULL, &meta, &err);
        fired = ak_objstore_fault_fired(b.fault) > 0;
        CHECK(fired == (rc != AK_OK));
        CHECK_INT(objects_in(b.good, ""), rc == AK_OK ? 2 : 0);
        broken_close(&b);
    }
}

TEST(snapshot, a_commit_whose_answer_is_lost_is_finished_by_repeating)
{
    struct broken b;
    struct ak_snapshot_meta meta;
    struct ak_uuid id = id_of(1);
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
    const struct ak_objstore_fault_rule rule = {
        .fault = AK_OBJSTORE_FAULT_LOST_ANSWER, .ops = AK_OBJSTORE_OP_PUT, .nth = 0};
    broken_open(&b, 10, false);
    CHECK_OK(ak_snapshot_write(b.fault, &id, &b.w.source, &options, AT_US, &b.w.strings, NULL, NULL,
                               &meta, &err));
    ak_objstore_fault_set(b.fault, &rule);
    CHECK_RC(AK_UNAVAILABLE, ak_snapshot_commit(b.fault, &meta, &err));
    CHECK_OK(ak_snapshot_commit(b.fault, &meta, &err));
    CHECK_INT(check_listed(&b), 1);
    broken_close(&b);
}

TEST(snapshot, removing_survives_every_failing_call)
{
    for (size_t kind = 0; kind < KINDS; kind++) {
        bool fired = true;
        for (int64_t nth = 0; fired; nth++) {
            struct broken b;
            struct ak_snapshot_meta meta;
            struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
            broken_open(&b, 50, true);
            CHECK_OK(take(&b.w, 1, &options, &meta));
            fail_at(&b, kinds[kind], nth, false);
            enum ak_rc rc = ak_snapshot_remove(b.fault, &b.w.info.id, &meta.id, &err);
            fired = ak_objstore_fault_fired(b.fault) > 0;
            heal(&b);
            CHECK(fired == (rc != AK_OK));
            (void)check_listed(&b);
            CHECK_OK(ak_snapshot_remove(b.fault, &b.w.info.id, &meta.id, &err));
            CHECK_INT(objects_in(b.good, ""), 0);
            broken_close(&b);
        }
    }
}

TEST(snapshot, reading_tells_every_failing_call)
{
    for (int format = 0; format < 2; format++) {
        for (size_t kind = 0; kind < KINDS; kind++) {
            struct broken b;
            struct ak_snapshot_meta meta;
            struct ak_snapshot_options options = options_of((enum ak_snapshot_format)format);
            char path[1024];
            bool fired = true;
            broken_open(&b, 300, true);
            CHECK_OK(take(&b.w, 1, &options, &meta));
            (void)snprintf(path, sizeof path, "%s/fetched.akx", ak_test_dir());
            for (int64_t nth = 0; fired; nth++) {
                struct ak_snapshot_report report;
                fail_at(&b, kinds[kind], nth, false);
                enum ak_rc rc = ak_snapshot_verify(b.fault, &meta, NULL, NULL, &report, &err);
                fired = ak_objstore_fault_fired(b.fault) > 0;
                CHECK(fired == (rc != AK_OK) && rc != AK_CORRUPT);
            }
            fired = true;
            for (int64_t nth = 0; fired; nth++) {
                fail_at(&b, kinds[kind], nth, false);
                enum ak_rc rc =
                    ak_snapshot_fetch_image(b.fault, &meta, ak_fs_posix(), path, NULL, NULL, &err);
                fired = ak_objstore_fault_fired(b.fault) > 0;
                CHECK(fired == (rc != AK_OK));
                CHECK_INT(ak_fs_remove(ak_fs_posix(), path, NULL),
                          rc == AK_OK ? AK_OK : AK_NOT_FOUND);
            }
            broken_close(&b);
        }
    }
}

TEST(snapshot, want_of_memory_leaves_nothing_behind)
{
    for (int kind = 0; kind < 3; kind++) {
        struct ak_snapshot_options options =
            options_of(kind == 2 ? AK_SNAPSHOT_JSON : AK_SNAPSHOT_PARQUET);
        options.encoding = kind == 1 ? AK_SNAPSHOT_Q8 : AK_SNAPSHOT_LOSSLESS;
        bool fired = true;
        int64_t nth = 0;
        for (; fired; nth++) {
            struct world w;
            struct ak_snapshot_meta meta;
            struct ak_uuid id = id_of(1);
            world_open(&w, 8, 40, true);
            world_image_blob(&w);
            ak_fault_alloc_at(nth);
            enum ak_rc rc = ak_snapshot_write(w.store, &id, &w.source, &options, AT_US, &w.strings,
                                              NULL, NULL, &meta, &err);
            fired = ak_fault_alloc_fired();
            ak_fault_alloc_at(-1);
            CHECK(rc == AK_OK || (fired && rc == AK_NOMEM));
            CHECK_INT(objects_in(w.store, ""), rc == AK_OK ? 2 : 0);
            world_close(&w);
        }
        CHECK(nth > 5);
    }
}

TEST(snapshot, reading_back_survives_want_of_memory)
{
    for (int kind = 0; kind < 2; kind++) {
        struct world w;
        struct ak_snapshot_meta meta;
        struct ak_snapshot_report report;
        struct ak_snapshot_options options =
            options_of(kind ? AK_SNAPSHOT_JSON : AK_SNAPSHOT_PARQUET);
        bool fired = true;
        world_open(&w, 8, 40, false);
        world_image_blob(&w);
        CHECK_OK(take(&w, 1, &options, &meta));
        for (int64_t nth = 0; fired; nth++) {
            ak_fault_alloc_at(nth);
            enum ak_rc rc = ak_snapshot_verify(w.store, &meta, NULL, NULL, &report, &err);
            fired = ak_fault_alloc_fired();
            ak_fault_alloc_at(-1);
            /* A Parquet file's description has a ceiling, and no memory is one as well. */
            if (rc != AK_OK && rc != AK_NOMEM && rc != AK_TOO_BIG) {
                ak_test_fail(__FILE__, __LINE__, "allocation %lld: %s %s", (long long)nth,
                             ak_rc_name(rc), err.text);
            }
            CHECK(fired || rc == AK_OK);
        }
        fired = true;
        for (int64_t nth = 0; fired; nth++) {
            struct ak_snapshot_meta *list = NULL;
            size_t count = 0;
            ak_fault_alloc_at(nth);
            enum ak_rc rc =
                ak_snapshot_list(w.store, &w.info.id, &w.strings, &list, &count, NULL, &err);
            fired = ak_fault_alloc_fired();
            ak_fault_alloc_at(-1);
            CHECK(rc == AK_OK ? count == 1 : rc == AK_NOMEM);
        }
        world_close(&w);
    }
}

TEST_MAIN()
