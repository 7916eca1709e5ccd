/* snapshot_beside_test.c — what is done beside other work, read once, stopped on request: an
 * image beside its table, the digest of a fetched one, verification. */
#include "base/sync.h"
#include "unit/snapshot_world.h"

/* --- A pool that has other things to do --- */

struct blocked {
    struct ak_pool *pool;
    struct ak_mutex lock;
    struct ak_cond changed;
    bool is_running, may_end;
};

static void block(void *arg)
{
    struct blocked *b = arg;
    ak_mutex_lock(&b->lock);
    b->is_running = true;
    ak_cond_broadcast(&b->changed);
    while (!b->may_end) {
        ak_cond_wait(&b->changed, &b->lock);
    }
    ak_mutex_unlock(&b->lock);
}

static void blocked_open(struct blocked *b)
{
    const struct ak_pool_options one = {.name = "snap", .threads = 1};
    *b = (struct blocked){.pool = NULL};
    ak_mutex_init(&b->lock, AK_RANK_LEAF, "blocked");
    ak_cond_init(&b->changed);
    CHECK_OK(ak_pool_open(&one, &b->pool, &err));
    CHECK_OK(ak_pool_submit(b->pool, block, b, &err));
    ak_mutex_lock(&b->lock);
    while (!b->is_running) {
        ak_cond_wait(&b->changed, &b->lock);
    }
    ak_mutex_unlock(&b->lock);
}

static void blocked_close(struct blocked *b)
{
    ak_mutex_lock(&b->lock);
    b->may_end = true;
    ak_cond_broadcast(&b->changed);
    ak_mutex_unlock(&b->lock);
    ak_pool_close(b->pool); /* what was submitted comes to its turn now, and finds itself claimed */
    ak_cond_release(&b->changed);
    ak_mutex_release(&b->lock);
}

TEST(snapshot, one_is_taken_and_fetched_while_the_pool_does_something_else)
{
    struct blocked blocked;
    struct world w;
    struct ak_snapshot_meta alone;
    struct ak_snapshot_meta meta;
    struct ak_snapshot_fetch *fetch = NULL;
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
    char path[1100];
    (void)snprintf(path, sizeof path, "%s/back.akx", ak_test_dir());
    world_open(&w, 512, 3000, false);
    world_image_file(&w);
    CHECK_OK(take(&w, 1, &options, &alone));
    blocked_open(&blocked);
    options.pool = blocked.pool;
    CHECK_OK(take(&w, 2, &options, &meta));
    CHECK(memcmp(alone.data.sha256, meta.data.sha256, 32) == 0);
    CHECK(memcmp(alone.image.sha256, meta.image.sha256, 32) == 0);
    CHECK_OK(ak_snapshot_fetch_begin(w.store, &meta, ak_fs_posix(), path, blocked.pool, NULL, NULL,
                                     &fetch, &err));
    CHECK_OK(ak_snapshot_fetch_check(fetch, &err));
    ak_snapshot_fetch_end(fetch);
    CHECK_OK(ak_snapshot_fetch_begin(w.store, &meta, ak_fs_posix(), path, blocked.pool, NULL, NULL,
                                     &fetch, &err));
    ak_snapshot_fetch_end(fetch); /* never asked for, never begun */
    blocked_close(&blocked);
    check_same(&w, &meta);
    world_close(&w);
}

/* --- Both objects --- */

TEST(snapshot, a_store_or_a_source_that_fails_under_a_pool_leaves_nothing)
{
    const struct ak_pool_options two = {.name = "snap", .threads = 2};
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_JSON);
    struct ak_objstore *fault = NULL;
    struct ak_snapshot_meta meta;
    struct world w;
    world_open(&w, 64, 8000, false);
    world_image_blob(&w);
    CHECK_OK(ak_pool_open(&two, &options.pool, &err));
    CHECK_OK(ak_objstore_open_fault(w.store, &fault, &err));
    struct ak_objstore *good = w.store;
    w.store = fault;
    const enum ak_objstore_fault kinds[] = {AK_OBJSTORE_FAULT_RESET, AK_OBJSTORE_FAULT_ERROR_500};
    for (size_t kind = 0; kind < 2; kind++) {
        for (int format = 0; format < 2; format++) {
            const struct ak_objstore_fault_rule rule = {
                .fault = kinds[kind], .ops = AK_OBJSTORE_OP_PUT, .nth = -1};
            options.format = (enum ak_snapshot_format)format;
            ak_objstore_fault_set(fault, &rule);
            CHECK_RC(AK_UNAVAILABLE, take(&w, 1, &options, &meta));
            CHECK_INT(objects_in(good, ""), 0);
        }
    }
    const struct ak_objstore_fault_rule none = {.fault = AK_OBJSTORE_FAULT_NONE, .nth = -1};
    ak_objstore_fault_set(fault, &none);
    CHECK_OK(take(&w, 2, &options, &meta));
    check_same(&w, &meta);
    ak_pool_close(options.pool);
    ak_objstore_close(fault);
    w.store = good;
    world_close(&w);
}

/* --- The image --- */

TEST(snapshot, a_fetched_image_that_is_another_is_told_by_its_digest)
{
    const struct ak_pool_options one = {.name = "snap", .threads = 1};
    struct ak_pool *pools[2] = {NULL};
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
    struct ak_snapshot_meta meta;
    struct ak_snapshot_fetch *fetch = NULL;
    struct world w;
    char path[1100];
    (void)snprintf(path, sizeof path, "%s/back.akx", ak_test_dir());
    CHECK_OK(ak_pool_open(&one, &pools[1], &err));
    world_open(&w, 8, 300, false);
    world_image_file(&w);
    CHECK_OK(take(&w, 1, &options, &meta));
    for (int i = 0; i < 2; i++) {
        struct ak_snapshot_meta other = meta;
        other.image.sha256[31] ^= 1;
        CHECK_OK(ak_snapshot_fetch_begin(w.store, &other, ak_fs_posix(), path, pools[i], NULL, NULL,
                                         &fetch, &err));
        CHECK_RC(AK_CORRUPT, ak_snapshot_fetch_check(fetch, &err));
        CHECK(strstr(err.text, ".akx") != NULL);
        ak_snapshot_fetch_end(fetch);
    }
    ak_snapshot_fetch_end(NULL);
    meta.has_image = false;
    CHECK_RC(AK_NOT_FOUND, ak_snapshot_fetch_begin(w.store, &meta, ak_fs_posix(), path, NULL, NULL,
                                                   NULL, &fetch, &err));
    ak_pool_close(pools[1]);
    world_close(&w);
}

/* --- Verification --- */

TEST(snapshot, verifying_takes_each_object_from_the_store_once)
{
    for (int format = 0; format < 2; format++) {
        struct ak_snapshot_options options = options_of((enum ak_snapshot_format)format);
        struct ak_snapshot_report report;
        struct ak_snapshot_meta meta;
        struct ak_objstore *counting = NULL;
        struct world w;
        world_open(&w, 16, 500, false);
        world_image_blob(&w);
        CHECK_OK(take(&w, 1, &options, &meta));
        CHECK(meta.data.bytes < 1 << 20 && meta.image.bytes < 1 << 20); /* one read each */
        CHECK_OK(ak_objstore_open_fault(w.store, &counting, &err));
        CHECK_OK(ak_snapshot_verify(counting, &meta, NULL, NULL, &report, &err));
        CHECK_INT(ak_objstore_fault_calls(counting, AK_OBJSTORE_OP_GET), 2);
        CHECK_INT(report.bytes, meta.size_bytes);
        CHECK_INT(report.vectors_held, 500);
        ak_objstore_close(counting);
        world_close(&w);
    }
}

struct stopper {
    unsigned calls, after;
};

static bool go_on(void *ctx, double fraction)
{
    struct stopper *stopper = ctx;
    CHECK(fraction >= 0 && fraction <= 1);
    return stopper->calls++ < stopper->after;
}

TEST(snapshot, verifying_stops_wherever_it_is_told_to)
{
    for (int format = 0; format < 2; format++) {
        struct ak_snapshot_options options = options_of((enum ak_snapshot_format)format);
        struct ak_snapshot_report report = {.rows = 7};
        struct ak_snapshot_meta meta;
        struct world w;
        unsigned after = 0;
        enum ak_rc rc = AK_CONFLICT;
        world_open(&w, 8, 4000, false);
        world_image_blob(&w);
        CHECK_OK(take(&w, 1, &options, &meta));
        for (; rc != AK_OK; after++) {
            struct stopper stopper = {.after = after};
            rc = ak_snapshot_verify(w.store, &meta, go_on, &stopper, &report, &err);
            CHECK(rc == AK_OK || (rc == AK_CONFLICT && report.rows == 7));
        }
        CHECK(after > 4 && report.rows == 4000);
        world_close(&w);
    }
}

TEST(snapshot, verifying_finds_a_flipped_bit_in_a_file_of_the_folder_store)
{
    static const char *const parts[] = {"parquet", "akx"};
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
    struct ak_snapshot_report report;
    struct ak_snapshot_meta meta;
    struct world w;
    char root[1024];
    (void)snprintf(root, sizeof root, "%s/objects", ak_test_dir());
    world_open(&w, 16, 2000, false);
    world_image_blob(&w);
    ak_objstore_close(w.store);
    CHECK_OK(ak_objstore_open_dir(ak_fs_posix(), root, &w.store, &err));
    CHECK_OK(take(&w, 1, &options, &meta));
    CHECK_OK(ak_snapshot_verify(w.store, &meta, NULL, NULL, &report, &err));
    for (size_t i = 0; i < 2; i++) {
        struct ak_str key = i ? meta.image.key : meta.data.key;
        struct ak_buf bytes;
        ak_buf_init(&bytes, 0);
        CHECK_OK(ak_objstore_get(w.store, key, &bytes, &err));
        bytes.p[bytes.len / 2] ^= 4;
        CHECK_OK(ak_objstore_put(w.store, key, ak_buf_str(&bytes), NULL, &err));
        CHECK_RC(AK_CORRUPT, ak_snapshot_verify(w.store, &meta, NULL, NULL, &report, &err));
        CHECK(strstr(err.text, parts[i]) != NULL);
        bytes.p[bytes.len / 2] ^= 4;
        CHECK_OK(ak_objstore_put(w.store, key, ak_buf_str(&bytes), NULL, &err));
        ak_buf_release(&bytes);
    }
    CHECK_OK(ak_snapshot_verify(w.store, &meta, NULL, NULL, &report, &err));
    world_close(&w);
}

/* --- Options --- */

TEST(snapshot, json_with_a_lossy_encoding_is_refused_and_says_what_to_change)
{
    static const enum ak_snapshot_encoding lossy[] = {AK_SNAPSHOT_BF16, AK_SNAPSHOT_Q8};
    struct ak_snapshot_meta meta;
    struct world w;
    world_open(&w, 4, 10, true);
    for (size_t i = 0; i < 2; i++) {
        struct ak_snapshot_options options = options_of(AK_SNAPSHOT_JSON);
        options.encoding = lossy[i];
        CHECK_RC(AK_INVALID, take(&w, 1, &options, &meta));
        CHECK(strstr(err.text, "format 'parquet', or for encoding 'lossless'") != NULL);
        CHECK(strstr(err.text, ak_snapshot_encoding_name(lossy[i])) != NULL);
        CHECK_INT(objects_in(w.store, ""), 0);
        options.format = AK_SNAPSHOT_PARQUET;
        CHECK_OK(ak_snapshot_options_check(&options, &err));
    }
    world_close(&w);
}

TEST_MAIN()
