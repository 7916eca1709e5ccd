/* store_disk.c — the folder behind --root.
 *
 *   LOCK                             held while a server runs
 *   buckets/<name>                   "<created µs> <region>\n"
 *   objects/<16 hex>                 an object; the number grows with each that gets a name
 *   uploads/<id>                     the head of an upload; no data
 *   uploads/<id>.<number>.<16 hex>   a part
 *   temporary/<16 hex>               being written; swept away at a start
 *
 * An item's file: the data; bucket, key, ETag, headers, checksums, each ended by a NUL; and 40
 * bytes, little-endian:
 *
 *   0  "AKS3ITM1"   8  data bytes, u64   16  bytes of the fields, u32
 *   20 CRC-32C of the fields and of these 40 bytes with zeroes here
 *   24 modified, µs, i64      32  zero
 *
 * The data stands first, so that a mapping of it begins at a page.
 *
 * D1  What is answered survives a power cut: a file is synced before it gets its name, and both
 *     folders before the answer; so is a folder that an acknowledged removal was in.
 * D2  What a file replaces is removed after the new name is durable: a cut leaves one or both, and
 *     of two the start keeps the one named later. The removal needs no sync of its own: the next
 *     one of the folder, which a removal of the object itself makes, covers it.
 */
#include "base/encode.h"
#include "base/hash.h"
#include "base/mem.h"
#include "mocks3/store_priv.h"
#include "mocks3/sums.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#define MAGIC "AKS3ITM1"
#define FOOT_BYTES 40u
#define FIELDS 5u
#define FIELDS_MAX ((uint32_t)256 << 10) /* headers are at most 32 KiB */

bool ak_mock_disk_path(const struct ak_mock_store *store, char path[AK_MOCK_PATH_MAX],
                       const char *file)
{
    int len = snprintf(path, AK_MOCK_PATH_MAX, "%s/%s", store->root, file);
    return len > 0 && (size_t)len < AK_MOCK_PATH_MAX;
}

static enum ak_rc path_of(const struct ak_mock_store *store, char path[AK_MOCK_PATH_MAX],
                          const char *file, struct ak_err *err)
{
    return ak_mock_disk_path(store, path, file)
               ? AK_OK
               : ak_fail(err, AK_INVALID, "the path of the folder is longer than 4 KiB");
}

void ak_mock_disk_temporary(uint64_t number, char file[64])
{
    (void)snprintf(file, 64, "temporary/%016" PRIx64, number);
}

/* --- An item's tail --- */

static void put_number(char *at, uint64_t number, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        at[i] = (char)(number >> (8 * i));
    }
}

static uint64_t get_number(const char *at, size_t len)
{
    uint64_t number = 0;
    for (size_t i = len; i-- > 0;) {
        number = number << 8 | (unsigned char)at[i];
    }
    return number;
}

static uint32_t checksum(const char *fields, size_t len, const char foot[FOOT_BYTES])
{
    char copy[FOOT_BYTES];
    memcpy(copy, foot, FOOT_BYTES);
    memset(copy + 20, 0, 4);
    return ak_crc32c(ak_crc32c(0, fields, len), copy, FOOT_BYTES);
}

void ak_mock_disk_put_tail(struct ak_buf *out, const struct ak_mock_item *item)
{
    const struct ak_str fields[FIELDS] = {item->bucket, item->key, item->etag, item->headers,
                                          item->sums};
    char foot[FOOT_BYTES] = MAGIC;
    size_t from = out->len;
    for (size_t i = 0; i < FIELDS; i++) {
        ak_buf_add_str(out, fields[i]);
        ak_buf_add_char(out, '\0');
    }
    put_number(foot + 8, item->size, 8);
    put_number(foot + 16, out->len - from, 4);
    put_number(foot + 24, (uint64_t)item->modified_us, 8);
    if (!out->failed) {
        put_number(foot + 20, checksum(out->p + from, out->len - from, foot), 4);
    }
    ak_buf_add(out, foot, FOOT_BYTES);
}

static enum ak_rc damaged(const char *path, struct ak_err *err)
{
    return ak_fail(err, AK_CORRUPT,
                   "'%s' is not an item of this server, or damaged: remove it to start without it",
                   path);
}

/* The fields out of the tail's bytes, and the item of them. */
static enum ak_rc make_item(struct ak_mock_store *store, const char *path, struct ak_str tail,
                            const char foot[FOOT_BYTES], struct ak_mock_item **out,
                            struct ak_err *err)
{
    struct ak_str found[FIELDS];
    for (size_t i = 0; i < FIELDS; i++) {
        if (!ak_str_split(tail, '\0', &found[i], &tail)) {
            return damaged(path, err);
        }
    }
    const struct ak_mock_fields fields = {found[0], found[1], found[2], found[3], found[4]};
    struct ak_mock_item *item = ak_mock_item_new(store, &fields);
    if (!item) {
        return ak_fail(err, AK_NOMEM, "no memory to load '%s'", path);
    }
    item->size = get_number(foot + 8, 8);
    item->modified_us = (int64_t)get_number(foot + 24, 8);
    atomic_fetch_add_explicit(&store->bytes, item->size, memory_order_relaxed);
    *out = item;
    return AK_OK;
}

static enum ak_rc read_tail(struct ak_mock_store *store, const char *path, struct ak_file *file,
                            struct ak_mock_item **item, struct ak_err *err)
{
    uint64_t size = 0;
    char foot[FOOT_BYTES];
    enum ak_rc rc = ak_file_size(file, &size, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (size < FOOT_BYTES) {
        return damaged(path, err);
    }
    rc = ak_file_read_exact(file, size - FOOT_BYTES, foot, FOOT_BYTES, err);
    if (rc != AK_OK) {
        return rc;
    }
    uint64_t data = get_number(foot + 8, 8);
    uint64_t fields = get_number(foot + 16, 4);
    if (memcmp(foot, MAGIC, 8) != 0 || fields > FIELDS_MAX || data > size ||
        data + fields + FOOT_BYTES != size) {
        return damaged(path, err);
    }
    char *bytes = ak_try_alloc((size_t)fields + 1);
    if (!bytes) {
        return ak_fail(err, AK_NOMEM, "no memory to load '%s'", path);
    }
    rc = ak_file_read_exact(file, data, bytes, (size_t)fields, err);
    if (rc == AK_OK && checksum(bytes, (size_t)fields, foot) != get_number(foot + 20, 4)) {
        rc = damaged(path, err);
    }
    if (rc == AK_OK) {
        rc = make_item(store, path, (struct ak_str){bytes, (size_t)fields}, foot, item, err);
    }
    ak_free(bytes);
    return rc;
}

static enum ak_rc load_item(struct ak_mock_store *store, const char *file_name,
                            struct ak_mock_item **item, struct ak_err *err)
{
    char path[AK_MOCK_PATH_MAX];
    struct ak_file *file = NULL;
    enum ak_rc rc = path_of(store, path, file_name, err);
    if (rc == AK_OK) {
        rc = ak_fs_open(store->fs, path, AK_OPEN_READ, &file, err);
    }
    if (rc == AK_OK) {
        rc = read_tail(store, path, file, item, err);
        ak_file_close(file);
    }
    if (rc == AK_OK) {
        size_t len = strlen(file_name);
        char *name = (char *)(uintptr_t)(*item)->file.p; /* room was kept for it */
        memcpy(name, file_name, len);
        (*item)->file.len = len;
    }
    return rc;
}

enum ak_rc ak_mock_disk_sync(const struct ak_mock_store *store, const char *folder,
                             struct ak_err *err)
{
    char path[AK_MOCK_PATH_MAX];
    if (!store->root) {
        return AK_OK;
    }
    enum ak_rc rc = path_of(store, path, folder, err);
    return rc == AK_OK ? ak_fs_sync_dir(store->fs, path, err) : rc;
}

enum ak_rc ak_mock_disk_remove(const struct ak_mock_item *item, struct ak_err *err)
{
    char path[AK_MOCK_PATH_MAX];
    char name[128];
    if (item->file.len == 0) {
        return AK_OK;
    }
    (void)snprintf(name, sizeof name, "%.*s", AK_STR_ARG(item->file));
    enum ak_rc rc = path_of(item->store, path, name, err);
    if (rc == AK_OK) {
        rc = ak_fs_remove(item->store->fs, path, err);
    }
    return rc == AK_NOT_FOUND ? AK_OK : rc;
}

/* --- Buckets --- */

enum ak_rc ak_mock_disk_add_bucket(struct ak_mock_store *store, const struct ak_mock_bucket *bucket,
                                   struct ak_err *err)
{
    char name[128];
    char path[AK_MOCK_PATH_MAX];
    char text[128];
    if (!store->root) {
        return AK_OK;
    }
    (void)snprintf(name, sizeof name, "buckets/%.*s", AK_STR_ARG(bucket->name));
    (void)snprintf(text, sizeof text, "%" PRId64 " %.*s\n", bucket->created_us,
                   AK_STR_ARG(bucket->region));
    enum ak_rc rc = path_of(store, path, name, err);
    return rc == AK_OK ? ak_fs_write_atomic(store->fs, path, ak_str_of(text), err) : rc;
}

enum ak_rc ak_mock_disk_remove_bucket(struct ak_mock_store *store, struct ak_str bucket,
                                      struct ak_err *err)
{
    char name[128];
    char path[AK_MOCK_PATH_MAX];
    if (!store->root) {
        return AK_OK;
    }
    (void)snprintf(name, sizeof name, "buckets/%.*s", AK_STR_ARG(bucket));
    enum ak_rc rc = path_of(store, path, name, err);
    rc = rc == AK_OK ? ak_fs_remove(store->fs, path, err) : rc;
    return rc == AK_OK ? ak_mock_disk_sync(store, "buckets", err) : rc;
}

static enum ak_rc load_bucket(struct ak_mock_store *store, struct ak_str name, struct ak_err *err)
{
    char file[128];
    char path[AK_MOCK_PATH_MAX];
    struct ak_buf text;
    struct ak_str created_text;
    struct ak_str region;
    struct ak_mock_bucket *bucket = NULL;
    uint64_t created = 0;
    if (ak_str_has_suffix(name, AK_STR(".tmp"))) { /* of a write that was not finished */
        return AK_OK;
    }
    (void)snprintf(file, sizeof file, "buckets/%.*s", AK_STR_ARG(ak_str_sub(name, 0, 100)));
    ak_buf_init(&text, 256);
    enum ak_rc rc = path_of(store, path, file, err);
    if (rc == AK_OK) {
        rc = ak_fs_read_all(store->fs, path, 200, &text, err);
    }
    if (rc == AK_OK) {
        (void)ak_str_split(ak_str_trim(ak_buf_str(&text)), ' ', &created_text, &region);
        rc = ak_str_u64(created_text, INT64_MAX, &created)
                 ? ak_mock_bucket_add(store, name, region, (int64_t)created, &bucket, err)
                 : damaged(path, err);
    }
    ak_buf_release(&text);
    return rc;
}

/* --- Loading --- */

struct names { /* of a folder's entries, each ended by a NUL */
    struct ak_buf text;
};

static bool add_name(void *ctx, struct ak_str name)
{
    struct names *names = ctx;
    ak_buf_add_str(&names->text, name);
    ak_buf_add_char(&names->text, '\0');
    return !names->text.failed;
}

typedef enum ak_rc (*load_fn)(struct ak_mock_store *store, struct ak_str name, struct ak_err *err);

/* Call `load` for each entry of a folder. */
static enum ak_rc for_each(struct ak_mock_store *store, const char *folder, load_fn load,
                           struct ak_err *err)
{
    char path[AK_MOCK_PATH_MAX];
    struct names names;
    ak_buf_init(&names.text, 0);
    enum ak_rc rc = path_of(store, path, folder, err);
    if (rc == AK_OK) {
        rc = ak_fs_list(store->fs, path, add_name, &names, err);
    }
    if (rc == AK_OK) {
        rc = ak_buf_check(&names.text, err);
    }
    struct ak_str rest = ak_buf_str(&names.text);
    while (rc == AK_OK && rest.len) {
        struct ak_str name;
        (void)ak_str_split(rest, '\0', &name, &rest);
        rc = load(store, name, err);
    }
    ak_buf_release(&names.text);
    return rc;
}

static enum ak_rc sweep(struct ak_mock_store *store, struct ak_str name, struct ak_err *err)
{
    char file[128];
    char path[AK_MOCK_PATH_MAX];
    (void)snprintf(file, sizeof file, "temporary/%.*s", AK_STR_ARG(ak_str_sub(name, 0, 100)));
    enum ak_rc rc = path_of(store, path, file, err);
    return rc == AK_OK ? ak_fs_remove(store->fs, path, err) : rc;
}

/* The number in a file's name; the next one that is given is higher. false: not one of ours. */
static bool take_number(struct ak_mock_store *store, struct ak_str hex)
{
    uint8_t bytes[8];
    uint64_t number = 0;
    if (!ak_unhex(hex, bytes, sizeof bytes)) {
        return false;
    }
    for (size_t i = 0; i < sizeof bytes; i++) {
        number = number << 8 | bytes[i];
    }
    if (number >= store->next_file) {
        store->next_file = number + 1;
    }
    return true;
}

/* Of two items that stand for the same, the file that was named later counts; the other goes. */
static enum ak_rc keep_later(struct ak_mock_item *a, struct ak_mock_item *b,
                             struct ak_mock_item **keep, struct ak_err *err)
{
    bool a_is_later = ak_str_cmp(a->file, b->file) > 0;
    struct ak_mock_item *old = a_is_later ? b : a;
    enum ak_rc rc = ak_mock_disk_remove(old, err);
    ak_mock_item_unref(old);
    *keep = a_is_later ? a : b;
    return rc;
}

static enum ak_rc load_object(struct ak_mock_store *store, struct ak_str name, struct ak_err *err)
{
    char file[128];
    struct ak_mock_item *item = NULL;
    void *old = NULL;
    (void)snprintf(file, sizeof file, "objects/%.*s", AK_STR_ARG(ak_str_sub(name, 0, 64)));
    if (!take_number(store, name)) {
        return damaged(file, err);
    }
    enum ak_rc rc = load_item(store, file, &item, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_mock_bucket *bucket = ak_mock_bucket_of(store, item->bucket, NULL);
    if (!bucket) {
        rc = ak_fail(err, AK_CORRUPT,
                     "'%s' belongs to the bucket '%.*s', which is not in buckets/: remove the file "
                     "to start without it",
                     file, AK_STR_ARG(item->bucket));
        ak_mock_item_unref(item);
        return rc;
    }
    struct ak_mock_item *now = ak_mock_keys_find(&bucket->objects, item->key);
    if (now) {
        (void)ak_mock_keys_remove(&bucket->objects, item->key);
        store->objects--;
        rc = keep_later(now, item, &item, err);
    }
    if (rc == AK_OK) {
        rc = ak_mock_keys_put(&bucket->objects, item, &old, err);
    }
    if (rc != AK_OK) {
        ak_mock_item_unref(item);
        return rc;
    }
    store->objects++;
    return AK_OK;
}

static enum ak_rc load_head(struct ak_mock_store *store, struct ak_str name, struct ak_err *err)
{
    char file[128];
    struct ak_mock_item *head = NULL;
    struct ak_mock_upload *upload = NULL;
    if (name.len != AK_MOCK_UPLOAD_ID_LEN) {
        return AK_OK; /* a part: the next pass takes it */
    }
    (void)snprintf(file, sizeof file, "uploads/%.*s", AK_STR_ARG(name));
    enum ak_rc rc = load_item(store, file, &head, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_mock_bucket *bucket = ak_mock_bucket_of(store, head->bucket, NULL);
    if (!bucket) { /* killed while the bucket was removed */
        rc = ak_mock_disk_remove(head, err);
        ak_mock_item_unref(head);
        return rc;
    }
    rc = ak_mock_upload_add(bucket, head, name, &upload, err);
    if (rc != AK_OK) {
        ak_mock_item_unref(head);
    }
    return rc;
}

static enum ak_rc load_part(struct ak_mock_store *store, struct ak_str name, struct ak_err *err)
{
    char file[128];
    struct ak_str id;
    struct ak_str rest;
    struct ak_str number_text;
    struct ak_str hex;
    uint64_t number = 0;
    struct ak_mock_item *item = NULL;
    struct ak_mock_item *old = NULL;
    if (!ak_str_split(name, '.', &id, &rest)) {
        return AK_OK; /* a head */
    }
    (void)snprintf(file, sizeof file, "uploads/%.*s", AK_STR_ARG(ak_str_sub(name, 0, 80)));
    (void)ak_str_split(rest, '.', &number_text, &hex);
    if (!ak_str_u64(number_text, 10000, &number) || number == 0 || !take_number(store, hex)) {
        return damaged(file, err);
    }
    enum ak_rc rc = load_item(store, file, &item, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_mock_bucket *bucket = ak_mock_bucket_of(store, item->bucket, NULL);
    struct ak_mock_upload *upload = bucket ? ak_mock_upload_of(bucket, item->key, id) : NULL;
    if (!upload) { /* killed while the upload was ended */
        rc = ak_mock_disk_remove(item, err);
        ak_mock_item_unref(item);
        return rc;
    }
    rc = ak_mock_upload_set_part(upload, (unsigned)number, item, &old, err);
    if (rc != AK_OK) {
        ak_mock_item_unref(item);
        return rc;
    }
    if (old) {
        struct ak_mock_item *keep = NULL;
        struct ak_mock_item *ignored = NULL;
        rc = keep_later(old, item, &keep, err);
        enum ak_rc set = ak_mock_upload_set_part(upload, (unsigned)number, keep, &ignored, NULL);
        AK_ASSERT(set == AK_OK); /* replacing needs no memory */
    }
    return rc;
}

/* --- Opening --- */

static enum ak_rc take_lock(struct ak_mock_store *store, struct ak_err *err)
{
    char path[AK_MOCK_PATH_MAX];
    enum ak_rc rc = path_of(store, path, "LOCK", err);
    if (rc == AK_OK) {
        rc = ak_fs_open(store->fs, path, AK_OPEN_WRITE | AK_OPEN_CREATE, &store->lock_file, err);
    }
    if (rc == AK_OK && flock(ak_file_fd(store->lock_file), LOCK_EX | LOCK_NB) != 0) {
        rc = errno == EWOULDBLOCK ? ak_fail(err, AK_CONFLICT, "another server has it open")
                                  : ak_fail_errno(err, errno, "lock '%s'", path);
    }
    return rc;
}

enum ak_rc ak_mock_disk_open(struct ak_mock_store *store, struct ak_err *err)
{
    static const char *const folders[] = {"buckets", "objects", "uploads", "temporary"};
    char path[AK_MOCK_PATH_MAX];
    enum ak_rc rc = ak_fs_make_dirs(store->fs, store->root, err);
    for (size_t i = 0; rc == AK_OK && i < sizeof folders / sizeof folders[0]; i++) {
        rc = path_of(store, path, folders[i], err);
        if (rc == AK_OK) {
            rc = ak_fs_make_dirs(store->fs, path, err);
        }
    }
    return rc == AK_OK ? take_lock(store, err) : rc;
}

enum ak_rc ak_mock_disk_load(struct ak_mock_store *store, struct ak_err *err)
{
    static const struct {
        const char *folder;
        load_fn load;
    } passes[] = {{"temporary", sweep},
                  {"buckets", load_bucket},
                  {"objects", load_object},
                  {"uploads", load_head},
                  {"uploads", load_part}};
    enum ak_rc rc = AK_OK;
    for (size_t i = 0; rc == AK_OK && i < sizeof passes / sizeof passes[0]; i++) {
        rc = for_each(store, passes[i].folder, passes[i].load, err);
    }
    return rc;
}
