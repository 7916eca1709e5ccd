/* mocks3_store_test.c — the sorted set, the store against a model, and failures of disk and memory.
 */
#include "base/fault.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rand.h"
#include "mocks3/keys.h"
#include "mocks3/store.h"
#include "support/test.h"
#include <errno.h>
#include <stdlib.h>

/* --- The set --- */

struct entry {
    struct ak_str key;
    bool in;
    char text[16];
};

#define ENTRIES 3000u

static struct entry *make_entries(void)
{
    struct entry *entries = ak_zalloc(ENTRIES * sizeof *entries);
    for (unsigned i = 0; i < ENTRIES; i++) {
        (void)snprintf(entries[i].text, sizeof entries[i].text, "%05u", i);
        entries[i].key = ak_str_of(entries[i].text);
    }
    return entries;
}

/* Everything from `from` on is listed in order. */
static void check_order(const struct ak_mock_keys *keys, const struct entry *entries, unsigned from)
{
    struct ak_mock_keys_cursor cursor = ak_mock_keys_seek(keys, entries[from].key);
    for (unsigned i = from; i < ENTRIES; i++) {
        if (entries[i].in) {
            CHECK(ak_mock_keys_next(keys, &cursor) == &entries[i]);
        }
    }
    CHECK(ak_mock_keys_next(keys, &cursor) == NULL);
}

TEST(keys, agree_with_a_plain_array_after_any_changes)
{
    struct ak_mock_keys keys = {0};
    struct entry *entries = make_entries();
    struct ak_rand rand;
    struct ak_err err;
    unsigned count = 0;
    ak_rand_seed(&rand, ak_test_seed());
    for (unsigned turn = 0; turn < 40000; turn++) {
        struct entry *entry = &entries[ak_rand_below(&rand, ENTRIES)];
        void *old = NULL;
        bool adds = ak_rand_below(&rand, 40000) > turn; /* first it grows, then it shrinks */
        if (adds) {
            CHECK_OK(ak_mock_keys_put(&keys, entry, &old, &err));
            CHECK(old == (entry->in ? entry : NULL));
        } else {
            CHECK(ak_mock_keys_remove(&keys, entry->key) == (entry->in ? entry : NULL));
        }
        count = count + (adds && !entry->in) - (!adds && entry->in);
        entry->in = adds;
        CHECK(ak_mock_keys_find(&keys, entry->key) == (adds ? entry : NULL));
        CHECK_INT(keys.entries, count);
        if (turn % 1000 == 0) {
            check_order(&keys, entries, (unsigned)ak_rand_below(&rand, ENTRIES));
        }
    }
    check_order(&keys, entries, 0);
    ak_mock_keys_release(&keys);
    ak_free(entries);
}

TEST(keys, that_come_in_order_fill_their_blocks)
{
    struct ak_mock_keys keys = {0};
    struct entry *entries = make_entries();
    struct ak_err err;
    void *old = NULL;
    for (unsigned i = 0; i < ENTRIES; i++) {
        CHECK_OK(ak_mock_keys_put(&keys, &entries[i], &old, &err));
        entries[i].in = true;
    }
    CHECK_INT(keys.count, (ENTRIES + AK_MOCK_KEYS_BLOCK - 1) / AK_MOCK_KEYS_BLOCK);
    check_order(&keys, entries, 0);
    ak_mock_keys_release(&keys);
    ak_free(entries);
}

TEST(keys, without_memory_nothing_changes)
{
    struct ak_mock_keys keys = {0};
    struct entry *entries = make_entries();
    struct ak_err err;
    void *old = NULL;
    for (unsigned i = 0; i < ENTRIES; i++) {
        ak_fault_alloc_at(0);
        enum ak_rc rc = ak_mock_keys_put(&keys, &entries[i * 7 % ENTRIES], &old, &err);
        bool fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK_INT(rc, fired ? AK_NOMEM : AK_OK);
        if (fired) {
            CHECK(ak_mock_keys_find(&keys, entries[i * 7 % ENTRIES].key) == NULL);
            CHECK_OK(ak_mock_keys_put(&keys, &entries[i * 7 % ENTRIES], &old, &err));
        }
        entries[i * 7 % ENTRIES].in = true;
    }
    check_order(&keys, entries, 0);
    ak_mock_keys_release(&keys);
    ak_free(entries);
}

/* --- The store --- */

static struct ak_mock_fault fault;
static const struct ak_mock_condition always;

static struct ak_mock_store *open_store(const char *root, struct ak_fs *fs)
{
    const struct ak_mock_store_options options = {.root = root, .fs = fs};
    struct ak_mock_store *store = NULL;
    struct ak_err err;
    CHECK_OK(ak_mock_store_open(&options, &store, &err));
    return store;
}

static enum ak_mock_code put(struct ak_mock_store *store, const char *key, struct ak_str bytes,
                             const struct ak_mock_condition *condition)
{
    struct ak_mock_sink sink;
    const struct ak_mock_fields fields = {
        .bucket = AK_STR("bucket"),
        .key = ak_str_of(key),
        .etag = AK_STR("etag"),
        .headers = AK_STR("Content-Type: a/b\r\n"),
    };
    ak_mock_sink_init(&sink, store);
    enum ak_mock_code code = AK_MOCK_OK;
    for (size_t at = 0; !code && at < bytes.len; at += 10000) {
        code = ak_mock_sink_write(&sink, ak_str_sub(bytes, at, 10000), bytes.len, &fault);
    }
    if (code) {
        ak_mock_sink_drop(&sink);
        return code;
    }
    return ak_mock_object_put(store, &sink, &fields, condition, NULL, &fault);
}

/* Is the object there with these bytes? .p NULL: it must be absent. */
static bool holds(struct ak_mock_store *store, const char *key, struct ak_str bytes)
{
    struct ak_mock_item *item = NULL;
    struct ak_mock_view view = {0};
    enum ak_mock_code code =
        ak_mock_object_get(store, AK_STR("bucket"), ak_str_of(key), &item, &view, &fault);
    bool same = bytes.p ? code == AK_MOCK_OK && ak_str_eq(view.bytes, bytes) &&
                              ak_str_eq(item->headers, AK_STR("Content-Type: a/b\r\n"))
                        : code == AK_MOCK_NoSuchKey;
    ak_mock_view_release(&view);
    ak_mock_item_unref(item);
    return same;
}

static uint64_t bytes_of(struct ak_mock_store *store)
{
    struct ak_mock_usage usage;
    ak_mock_store_usage(store, &usage);
    return usage.bytes;
}

static struct ak_str pattern(size_t len)
{
    static char bytes[1 << 20];
    for (size_t i = 0; i < sizeof bytes && !bytes[sizeof bytes - 1]; i++) {
        bytes[i] = (char)('a' + i % 25);
    }
    return (struct ak_str){bytes, len};
}

static void check_store(const char *root)
{
    struct ak_mock_store *store = open_store(root, NULL);
    const struct ak_mock_condition absent = {.if_absent = true};
    const struct ak_mock_condition stale = {.if_match = AK_STR("stale")};
    const struct ak_mock_condition match = {.if_match = AK_STR("etag")};
    CHECK_INT(put(store, "k", pattern(10), &always), AK_MOCK_NoSuchBucket);
    CHECK_INT(ak_mock_bucket_create(store, AK_STR("bucket"), AK_STR(""), &fault), AK_MOCK_OK);
    CHECK_INT(ak_mock_bucket_create(store, AK_STR("bucket"), AK_STR(""), &fault),
              AK_MOCK_BucketAlreadyOwnedByYou);
    CHECK_INT(put(store, "k", pattern(10), &match), AK_MOCK_NoSuchKey);
    CHECK_INT(put(store, "k", pattern(10), &absent), AK_MOCK_OK);
    CHECK_INT(put(store, "k", pattern(11), &absent), AK_MOCK_PreconditionFailed);
    CHECK_INT(put(store, "k", pattern(11), &stale), AK_MOCK_PreconditionFailed);
    CHECK(holds(store, "k", pattern(10)));
    CHECK_INT(put(store, "k", pattern(700000), &match), AK_MOCK_OK);
    CHECK_INT(put(store, "empty", AK_STR(""), &always), AK_MOCK_OK);
    CHECK(holds(store, "k", pattern(700000)) && holds(store, "empty", AK_STR("")));
    CHECK_INT(bytes_of(store), 700000);
    CHECK_INT(ak_mock_bucket_remove(store, AK_STR("bucket"), &fault), AK_MOCK_BucketNotEmpty);

    struct ak_mock_item *item = NULL;
    struct ak_mock_view view = {0};
    CHECK_INT(ak_mock_object_get(store, AK_STR("bucket"), AK_STR("k"), &item, &view, &fault), 0);
    CHECK_INT(ak_mock_object_remove(store, AK_STR("bucket"), AK_STR("k"), &stale, &fault),
              AK_MOCK_PreconditionFailed);
    CHECK_INT(ak_mock_object_remove(store, AK_STR("bucket"), AK_STR("k"), &match, &fault), 0);
    CHECK_INT(ak_mock_object_remove(store, AK_STR("bucket"), AK_STR("k"), &always, &fault), 0);
    CHECK(holds(store, "k", AK_STR_NONE));
    CHECK(ak_str_eq(view.bytes, pattern(700000))); /* who reads it goes on reading */
    ak_mock_view_release(&view);
    ak_mock_item_unref(item);
    CHECK_INT(bytes_of(store), 0);
    ak_mock_store_close(store);
}

TEST(store, keeps_objects_and_their_conditions_in_memory)
{
    check_store(NULL);
}

TEST(store, keeps_objects_and_their_conditions_below_a_folder)
{
    check_store(ak_test_dir());
}

TEST(store, an_abandoned_sink_gives_its_bytes_back)
{
    const char *roots[] = {NULL, ak_test_dir()};
    for (size_t i = 0; i < 2; i++) {
        struct ak_mock_store *store = open_store(roots[i], NULL);
        struct ak_mock_sink sink;
        ak_mock_sink_init(&sink, store);
        for (int turn = 0; turn < 5; turn++) {
            CHECK_INT(ak_mock_sink_write(&sink, pattern(100000), 0, &fault), AK_MOCK_OK);
        }
        CHECK_INT(bytes_of(store), 500000);
        ak_mock_sink_drop(&sink);
        CHECK_INT(bytes_of(store), 0);
        ak_mock_sink_drop(&sink);
        ak_mock_store_close(store);
    }
}

TEST(store, without_memory_a_put_fails_by_itself)
{
    struct ak_mock_store *store = open_store(NULL, NULL);
    CHECK_INT(ak_mock_bucket_create(store, AK_STR("bucket"), AK_STR(""), &fault), AK_MOCK_OK);
    bool fired = true;
    for (int64_t n = 0; fired; n++) {
        char key[32];
        (void)snprintf(key, sizeof key, "k%d", (int)n);
        ak_fault_alloc_at(n);
        enum ak_mock_code code = put(store, key, pattern(30000), &always);
        fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        /* Fitting the block to its bytes may fail, and the object is kept all the same. */
        CHECK(fired ? code == AK_MOCK_SlowDown || code == AK_MOCK_OK : code == AK_MOCK_OK);
        CHECK(holds(store, key, code ? AK_STR_NONE : pattern(30000)));
    }
    struct ak_mock_usage usage;
    ak_mock_store_usage(store, &usage);
    CHECK_INT(usage.bytes, usage.objects * 30000);
    ak_mock_store_close(store);
}

static unsigned files_in(const char *root, const char *folder);

/* Each operation of the disk fails once, at each place; then the folder is opened again. */
static void check_disk_fault(const char *dir, unsigned ops, bool sticky)
{
    struct ak_fs_fault *faulty = ak_fs_fault_open(ak_fs_posix());
    bool fired = true;
    for (int64_t n = 0; fired; n++) {
        char root[4096];
        (void)snprintf(root, sizeof root, "%s/%u-%d-%d", dir, ops, (int)sticky, (int)n);
        struct ak_mock_store *store = open_store(root, ak_fs_fault_fs(faulty));
        CHECK_INT(ak_mock_bucket_create(store, AK_STR("bucket"), AK_STR(""), &fault), AK_MOCK_OK);
        CHECK_INT(put(store, "a", pattern(100), &always), AK_MOCK_OK);
        CHECK_INT(put(store, "b", pattern(100), &always), AK_MOCK_OK);
        ak_fs_fault_set(faulty, ops, n, ENOSPC, sticky);
        bool replaced = put(store, "a", pattern(600000), &always) == AK_MOCK_OK;
        bool added = put(store, "c", pattern(5), &always) == AK_MOCK_OK;
        bool removed = ak_mock_object_remove(store, AK_STR("bucket"), AK_STR("b"), &always,
                                             &fault) == AK_MOCK_OK;
        fired = ak_fs_fault_fired(faulty);
        CHECK(fired || (replaced && added && removed));
        if (ops == AK_FS_SYNC && !removed) { /* it is gone, which was not promised */
            CHECK(holds(store, "b", AK_STR_NONE));
            removed = true;
        }
        ak_fs_fault_set(faulty, 0, -1, 0, false);
        for (int turn = 0; turn < 2; turn++) { /* as it is, and after a restart */
            CHECK(holds(store, "a", pattern(replaced ? 600000 : 100)));
            CHECK(holds(store, "c", added ? pattern(5) : AK_STR_NONE));
            CHECK(holds(store, "b", removed ? AK_STR_NONE : pattern(100)));
            CHECK_INT(bytes_of(store),
                      (replaced ? 600000 : 100) + (added ? 5 : 0) + (removed ? 0 : 100));
            ak_mock_store_close(store);
            store = open_store(root, ak_fs_fault_fs(faulty));
        }
        CHECK_INT(files_in(root, "objects"), 1u + added + !removed);
        CHECK_INT(files_in(root, "temporary"), 0);
        ak_mock_store_close(store);
    }
    ak_fs_fault_close(faulty);
}

static bool count_name(void *ctx, struct ak_str name)
{
    (void)name;
    ++*(unsigned *)ctx;
    return true;
}

static unsigned files_in(const char *root, const char *folder)
{
    char path[4200];
    unsigned count = 0;
    struct ak_err err;
    (void)snprintf(path, sizeof path, "%s/%s", root, folder);
    CHECK_OK(ak_fs_list(ak_fs_posix(), path, count_name, &count, &err));
    return count;
}

TEST(store, a_failing_disk_fails_a_put_and_leaves_nothing_half)
{
    static const unsigned ops[] = {AK_FS_OPEN, AK_FS_WRITE, AK_FS_RENAME, AK_FS_SYNC};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        check_disk_fault(ak_test_dir(), ops[i], false);
        check_disk_fault(ak_test_dir(), ops[i], true);
    }
    check_disk_fault(ak_test_dir(), AK_FS_REMOVE, false);
}

TEST(store, damage_is_found_at_the_start_and_named)
{
    struct ak_mock_store *store = open_store(ak_test_dir(), NULL);
    CHECK_INT(ak_mock_bucket_create(store, AK_STR("bucket"), AK_STR(""), &fault), AK_MOCK_OK);
    CHECK_INT(put(store, "key", pattern(100), &always), AK_MOCK_OK);
    ak_mock_store_close(store);
    char path[4200];
    struct ak_buf bytes = {0};
    struct ak_err err;
    (void)snprintf(path, sizeof path, "%s/objects/0000000000000001", ak_test_dir());
    CHECK_OK(ak_fs_read_all(ak_fs_posix(), path, 10000, &bytes, &err));
    for (size_t i = 0; i < bytes.len - 100; i++) { /* each byte behind the data */
        const struct ak_mock_store_options options = {.root = ak_test_dir()};
        bytes.p[100 + i] ^= 1;
        CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), path, ak_buf_str(&bytes), &err));
        CHECK_RC(AK_CORRUPT, ak_mock_store_open(&options, &store, &err));
        CHECK(strstr(err.text, "0000000000000001") != NULL);
        bytes.p[100 + i] ^= 1;
    }
    for (size_t len = 0; len < bytes.len; len += 7) {
        const struct ak_mock_store_options options = {.root = ak_test_dir()};
        struct ak_str part = {bytes.p, len};
        CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), path, part, &err));
        CHECK_RC(AK_CORRUPT, ak_mock_store_open(&options, &store, &err));
    }
    CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), path, ak_buf_str(&bytes), &err));
    store = open_store(ak_test_dir(), NULL);
    CHECK(holds(store, "key", pattern(100)));
    ak_mock_store_close(store);
    ak_buf_release(&bytes);
}

/* A kill between the two steps of a replacement leaves both files. */
TEST(store, of_two_files_of_one_key_the_later_counts)
{
    struct ak_mock_store *store = open_store(ak_test_dir(), NULL);
    char old_path[4200];
    char path[4200];
    struct ak_buf old = {0};
    struct ak_err err;
    CHECK_INT(ak_mock_bucket_create(store, AK_STR("bucket"), AK_STR(""), &fault), AK_MOCK_OK);
    CHECK_INT(put(store, "key", pattern(100), &always), AK_MOCK_OK);
    (void)snprintf(old_path, sizeof old_path, "%s/objects/0000000000000001", ak_test_dir());
    CHECK_OK(ak_fs_read_all(ak_fs_posix(), old_path, 10000, &old, &err));
    CHECK_INT(put(store, "key", pattern(200), &always), AK_MOCK_OK);
    ak_mock_store_close(store);
    CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), old_path, ak_buf_str(&old), &err));
    store = open_store(ak_test_dir(), NULL);
    CHECK(holds(store, "key", pattern(200)));
    CHECK_INT(bytes_of(store), 200);
    ak_mock_store_close(store);
    CHECK_INT(files_in(ak_test_dir(), "objects"), 1);
    (void)snprintf(path, sizeof path, "%s/objects/0000000000000009", ak_test_dir());
    CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), path, ak_buf_str(&old), &err));
    store = open_store(ak_test_dir(), NULL);
    CHECK(holds(store, "key", pattern(100)));
    ak_mock_store_close(store);
    ak_buf_release(&old);
}

TEST(store, uploads_and_their_parts_survive_a_restart_and_the_later_part_counts)
{
    char id[AK_MOCK_UPLOAD_ID_LEN + 1];
    const struct ak_mock_fields fields = {
        .bucket = AK_STR("bucket"), .key = AK_STR("key"), .etag = AK_STR("e")};
    struct ak_mock_store *store = open_store(ak_test_dir(), NULL);
    CHECK_INT(ak_mock_bucket_create(store, AK_STR("bucket"), AK_STR(""), &fault), AK_MOCK_OK);
    CHECK_INT(ak_mock_upload_create(store, &fields, id, &fault), AK_MOCK_OK);
    for (unsigned i = 0; i < 40; i++) {
        struct ak_mock_sink sink;
        ak_mock_sink_init(&sink, store);
        CHECK_INT(ak_mock_sink_write(&sink, pattern(1 + i), 0, &fault), AK_MOCK_OK);
        CHECK_INT(ak_mock_part_put(store, &sink, ak_str_of(id), 1 + i * 7 % 20, &fields, &fault),
                  AK_MOCK_OK);
    }
    for (int turn = 0; turn < 2; turn++) {
        struct ak_arena arena;
        struct ak_mock_part *parts = NULL;
        size_t count = 0;
        ak_arena_init(&arena, 0);
        CHECK_INT(ak_mock_part_list(store, AK_STR("bucket"), AK_STR("key"), ak_str_of(id), &arena,
                                    &parts, &count, &fault),
                  AK_MOCK_OK);
        CHECK_INT(count, 20);
        for (size_t i = 0; i < count; i++) {
            CHECK_INT(parts[i].number, i + 1);
            CHECK(parts[i].item->size > 20);
        }
        ak_mock_part_list_release(parts, count);
        ak_arena_release(&arena);
        ak_mock_store_close(store);
        CHECK_INT(files_in(ak_test_dir(), "uploads"), 21);
        store = open_store(ak_test_dir(), NULL);
    }
    CHECK_INT(ak_mock_upload_abort(store, AK_STR("bucket"), AK_STR("key"), ak_str_of(id), &fault),
              AK_MOCK_OK);
    CHECK_INT(ak_mock_upload_abort(store, AK_STR("bucket"), AK_STR("key"), ak_str_of(id), &fault),
              AK_MOCK_NoSuchUpload);
    CHECK_INT(files_in(ak_test_dir(), "uploads"), 0);
    CHECK_INT(bytes_of(store), 0);
    ak_mock_store_close(store);
}

TEST(store, a_folder_has_one_server_at_a_time)
{
    struct ak_mock_store *store = open_store(ak_test_dir(), NULL);
    struct ak_mock_store *second = NULL;
    struct ak_err err;
    const struct ak_mock_store_options options = {.root = ak_test_dir()};
    CHECK_RC(AK_CONFLICT, ak_mock_store_open(&options, &second, &err));
    ak_mock_store_close(store);
}

TEST_MAIN()
