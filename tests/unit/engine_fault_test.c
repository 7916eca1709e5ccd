/* engine_fault_test.c — the n-th file operation or allocation fails, n = 0, 1, 2 … until none does.
 *
 * Each time the same script runs: open, create, upsert, replace, delete, checkpoint, close. A call
 * may fail with a proper code; nothing may crash; and after a reopen without faults every
 * acknowledged write is there and what was refused is not half there.
 */
#include "base/fault.h"
#include "base/file.h"
#include "engine/engine.h"
#include "support/test.h"
#include <errno.h>

enum { STEPS = 24, KEYS = 10, DIMENSION = 8 };

struct log_of_acks {
    bool created;
    int value[KEYS];    /* last acknowledged step, -1: absent */
    int intended[KEYS]; /* of the last call that was logged */
};

static struct ak_uuid id_of(int key)
{
    struct ak_uuid id = {{0x01, 0x90}};
    id.b[6] = 0x70;
    id.b[8] = 0x80;
    id.b[15] = (uint8_t)key;
    return id;
}

static void vector_of(int step, float out[DIMENSION])
{
    for (int i = 0; i < DIMENSION; i++) {
        out[i] = (float)(step + 1) + (float)i / 8;
    }
}

static void write_step(struct ak_engine *engine, struct ak_collection *collection, int step,
                       struct log_of_acks *acks)
{
    struct ak_err err;
    struct ak_write write;
    int key = step * 7 % KEYS;
    bool removing = step % 6 == 5;
    struct ak_uuid id = id_of(key);
    float vector[DIMENSION];
    vector_of(step, vector);
    struct ak_document doc = {.id = id, .vector = vector, .metadata = AK_STR("{\"a\":1}")};
    int before = acks->intended[key];
    acks->intended[key] = removing ? -1 : step;
    enum ak_rc rc = removing ? ak_collection_delete(collection, &id, 1, &write, &err)
                             : ak_collection_upsert(collection, &doc, 1, true, NULL, &write, &err);
    bool applied = rc == AK_OK;
    if (applied) {
        rc = ak_engine_commit(engine, write.commit, &err);
    }
    if (rc == AK_OK) {
        acks->value[key] = acks->intended[key];
    } else {
        CHECK(err.text[0] != '\0');
        if (!applied) {
            acks->intended[key] = before; /* refused: nothing was logged */
        }
    }
}

static void run_script(const char *dir, struct ak_fs *fs, struct log_of_acks *acks)
{
    struct ak_err err;
    struct ak_engine *engine = NULL;
    struct ak_collection *collection = NULL;
    struct ak_collection_info made;
    struct ak_engine_options options = {
        .dir = dir, .fs = fs, .wal_segment_bytes = 64 << 10, .build_threads = 1};
    struct ak_collection_info spec = {
        .name = AK_STR("docs"), .dimension = DIMENSION, .index = ak_index_params_default()};
    if (ak_engine_open(&options, &engine, &err) != AK_OK) {
        CHECK(err.text[0] != '\0');
        return;
    }
    enum ak_rc rc = ak_engine_create(engine, &spec, &made, &err);
    acks->created = rc == AK_OK;
    if (rc == AK_OK && ak_engine_get(engine, AK_STR("docs"), &collection, &err) == AK_OK) {
        for (int step = 0; step < STEPS; step++) {
            write_step(engine, collection, step, acks);
            if (step % 8 == 7) {
                rc = ak_engine_checkpoint(engine, collection, &err);
                CHECK(rc == AK_OK || err.text[0] != '\0');
            }
        }
    }
    ak_collection_unref(collection);
    ak_engine_close(engine);
}

static void check_after(const char *dir, const struct log_of_acks *acks)
{
    struct ak_err err;
    struct ak_engine *engine = NULL;
    struct ak_collection *collection = NULL;
    struct ak_engine_options options = {.dir = dir, .build_threads = 1};
    CHECK_OK(ak_engine_open(&options, &engine, &err));
    enum ak_rc rc = ak_engine_get(engine, AK_STR("docs"), &collection, &err);
    if (!acks->created && rc == AK_NOT_FOUND) {
        ak_engine_close(engine);
        return;
    }
    CHECK_OK(rc);
    for (int key = 0; key < KEYS; key++) {
        struct ak_arena arena;
        struct ak_found found;
        struct ak_uuid id = id_of(key);
        int got = -1;
        ak_arena_init(&arena, 0);
        rc = ak_collection_fetch(collection, &id, AK_INCLUDE_VECTOR, &arena, &found, &err);
        if (rc != AK_NOT_FOUND) {
            CHECK_OK(rc);
            got = (int)found.vector[0] - 1;
            float want[DIMENSION];
            vector_of(got, want);
            CHECK(memcmp(want, found.vector, sizeof want) == 0);
        }
        if (got != acks->value[key] && got != acks->intended[key]) {
            ak_test_fail(__FILE__, __LINE__, "key %d holds step %d; acknowledged %d, intended %d",
                         key, got, acks->value[key], acks->intended[key]);
        }
        ak_arena_release(&arena);
    }
    CHECK_OK(ak_engine_verify(engine, AK_STR("docs"), &err));
    ak_collection_unref(collection);
    ak_engine_close(engine);
}

static void forget(struct log_of_acks *acks)
{
    *acks = (struct log_of_acks){.created = false};
    for (int key = 0; key < KEYS; key++) {
        acks->value[key] = acks->intended[key] = -1;
    }
}

static void fail_each(unsigned ops, int errnum)
{
    bool fired = true;
    for (int64_t n = 0; fired && n < 5000; n++) {
        struct log_of_acks acks;
        char dir[600];
        struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
        (void)snprintf(dir, sizeof dir, "%s/%u-%lld", ak_test_dir(), ops, (long long)n);
        forget(&acks);
        ak_fs_fault_set(fault, ops, n, errnum, false);
        run_script(dir, ak_fs_fault_fs(fault), &acks);
        fired = ak_fs_fault_fired(fault);
        ak_fs_fault_close(fault);
        check_after(dir, &acks);
    }
    CHECK(!fired);
}

TEST(engine_fault, any_write_may_fail)
{
    fail_each(AK_FS_WRITE, EIO);
}

TEST(engine_fault, any_sync_may_fail)
{
    fail_each(AK_FS_SYNC | AK_FS_SYNC_DIR, EIO);
}

TEST(engine_fault, any_open_rename_or_remove_may_fail)
{
    fail_each(AK_FS_OPEN | AK_FS_RENAME | AK_FS_REMOVE, EACCES);
}

TEST(engine_fault, any_operation_may_meet_a_full_disk)
{
    fail_each(AK_FS_WRITE | AK_FS_ALLOCATE | AK_FS_OPEN, ENOSPC);
}

TEST(engine_fault, any_read_may_fail)
{
    fail_each(AK_FS_READ, EIO);
}

TEST(engine_fault, any_allocation_may_fail)
{
    bool fired = true;
    for (int64_t n = 0; fired && n < 20000; n++) {
        struct log_of_acks acks;
        char dir[600];
        (void)snprintf(dir, sizeof dir, "%s/alloc-%lld", ak_test_dir(), (long long)n);
        forget(&acks);
        ak_fault_alloc_at(n);
        run_script(dir, NULL, &acks);
        fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        check_after(dir, &acks);
    }
    CHECK(!fired);
}

TEST_MAIN()
