/* objstore_dir_list.c — objects of a folder in the order of their keys.
 *
 * A page is the `limit` smallest keys after a given one. They are collected in a heap with the
 * largest on top while the tree is walked, whatever order the walk has; a folder is not entered
 * when no key below it can be among them. Walking folders by name makes that rule bite early.
 *
 * L1 The walk sees each object that was there all the time; one that comes or goes meanwhile may be
 *    seen or not.
 * L2 Fewer than `limit` objects are given only when there are no more.
 */
#include "base/mem.h"
#include "objstore/objstore_dir_priv.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NAMES_BYTES_MAX ((size_t)256 << 20) /* folders of one folder: some millions */
#define ETAG_MAX 64

struct page {
    struct dir_store *store;
    struct ak_str prefix;
    struct ak_str after;
    size_t limit;
    struct ak_str *heap; /* copies of keys, freed with ak_free */
    size_t count;
};

/* One folder of the walk. */
struct folder {
    struct page *page;
    struct dir_path *path;
    struct ak_buf *key;   /* what all keys below begin with */
    struct ak_buf names;  /* of folders to enter, each with a '/' after it */
    struct ak_buf *probe; /* for keys that are looked at */
    uint32_t count;
    bool no_memory;
};

static void free_key(struct ak_str key)
{
    ak_free((void *)(uintptr_t)key.p);
}

static void swap(struct ak_str *a, struct ak_str *b)
{
    struct ak_str c = *a;
    *a = *b;
    *b = c;
}

static void sift_up(struct ak_str *heap, size_t at)
{
    while (at > 0 && ak_str_cmp(heap[at], heap[(at - 1) / 2]) > 0) {
        swap(&heap[at], &heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
}

static void sift_down(struct ak_str *heap, size_t count, size_t at)
{
    for (;;) {
        size_t largest = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++) {
            if (ak_str_cmp(heap[child], heap[largest]) > 0) {
                largest = child;
            }
        }
        if (largest == at) {
            return;
        }
        swap(&heap[at], &heap[largest]);
        at = largest;
    }
}

static bool is_full_before(const struct page *page, struct ak_str key)
{
    return page->count == page->limit && ak_str_cmp(key, page->heap[0]) >= 0;
}

static bool is_wanted(const struct page *page, struct ak_str key)
{
    return ak_str_has_prefix(key, page->prefix) && ak_str_cmp(key, page->after) > 0 &&
           !is_full_before(page, key);
}

/* Can a key that begins with `begin` be wanted? */
static bool is_worth_entering(const struct page *page, struct ak_str begin)
{
    bool meets_prefix = begin.len < page->prefix.len ? ak_str_has_prefix(page->prefix, begin)
                                                     : ak_str_has_prefix(begin, page->prefix);
    bool is_before = ak_str_cmp(begin, page->after) < 0 && !ak_str_has_prefix(page->after, begin);
    return begin.len < AK_OBJSTORE_KEY_MAX && meets_prefix && !is_before &&
           !is_full_before(page, begin);
}

static void offer(struct page *page, struct ak_str key)
{
    struct ak_str copy = {ak_strdup_n(key.p, key.len), key.len};
    if (page->count == page->limit) {
        free_key(page->heap[0]);
        page->heap[0] = copy;
        sift_down(page->heap, page->count, 0);
    } else {
        page->heap[page->count++] = copy;
        sift_up(page->heap, page->count - 1);
    }
}

/* A file is an object only under the name that its key has: others are somebody else's. */
static bool is_object(const struct folder *folder, struct ak_str key, struct ak_str name)
{
    struct dir_path path;
    struct ak_err ignored;
    if (ak_objstore_check_key(key, &ignored) != AK_OK ||
        ak_dir_path_of_key(folder->page->store, key, &path, &ignored) != AK_OK) {
        return false;
    }
    return path.len == folder->path->len + 1 + name.len &&
           memcmp(path.text, folder->path->text, folder->path->len) == 0 &&
           memcmp(path.text + folder->path->len + 1, name.p, name.len) == 0;
}

static bool see_name(void *ctx, struct ak_str name)
{
    struct folder *folder = ctx;
    struct ak_buf *probe = folder->probe;
    ak_buf_clear(probe);
    ak_buf_add_str(probe, ak_buf_str(folder->key));
    enum dir_name_kind kind = ak_dir_name_decode(name, probe);
    struct ak_str key = ak_buf_str(probe);
    if (probe->failed) {
        folder->no_memory = true;
        return false;
    }
    if (kind == DIR_NAME_FOREIGN) {
        return true;
    }
    if (kind == DIR_NAME_FILE) {
        if (is_wanted(folder->page, key) && is_object(folder, key, name)) {
            offer(folder->page, key);
        }
    } else if (is_worth_entering(folder->page, key)) {
        ak_buf_add_str(&folder->names, name);
        ak_buf_add_char(&folder->names, '/');
        folder->count++;
    }
    return !folder->names.failed;
}

static int by_name(const void *a, const void *b)
{
    return ak_str_cmp(*(const struct ak_str *)a, *(const struct ak_str *)b);
}

static enum ak_rc walk(struct page *page, struct dir_path *path, struct ak_buf *key,
                       struct ak_err *err);

static enum ak_rc enter(struct page *page, struct dir_path *path, struct ak_buf *key,
                        struct ak_str name, struct ak_err *err)
{
    size_t path_len = path->len;
    size_t key_len = key->len;
    enum ak_rc rc = AK_OK;
    (void)ak_dir_name_decode(name, key);
    ak_dir_path_add(path, name);
    rc = ak_buf_check(key, err);
    if (rc == AK_OK && !path->too_long && is_worth_entering(page, ak_buf_str(key))) {
        rc = walk(page, path, key, err);
    }
    ak_dir_path_cut(path, path_len);
    key->len = key_len;
    return rc;
}

static enum ak_rc walk(struct page *page, struct dir_path *path, struct ak_buf *key,
                       struct ak_err *err)
{
    struct ak_buf probe;
    struct folder folder = {.page = page, .path = path, .key = key, .probe = &probe};
    struct ak_str *names = NULL;
    ak_buf_init(&probe, 0);
    ak_buf_init(&folder.names, NAMES_BYTES_MAX);
    enum ak_rc rc = ak_fs_list(page->store->fs, path->text, see_name, &folder, err);
    ak_buf_release(&probe);
    if (rc == AK_NOT_FOUND) { /* removed since its name was read, or never made */
        rc = AK_OK;
        goto out;
    }
    if (rc == AK_OK) {
        rc = folder.no_memory ? ak_fail(err, AK_NOMEM, "no memory for the key of a name")
                              : ak_buf_check(&folder.names, err);
    }
    if (rc != AK_OK || folder.count == 0) {
        goto out;
    }
    names = ak_try_alloc(folder.count * sizeof *names);
    if (!names) {
        rc = ak_fail(err, AK_NOMEM, "no memory to list the %u folders of '%s'", folder.count,
                     path->text);
        goto out;
    }
    struct ak_str rest = ak_buf_str(&folder.names);
    for (uint32_t i = 0; i < folder.count; i++) {
        (void)ak_str_split(rest, '/', &names[i], &rest);
    }
    qsort(names, folder.count, sizeof *names, by_name);
    for (uint32_t i = 0; i < folder.count && rc == AK_OK; i++) {
        rc = enter(page, path, key, names[i], err);
    }
out:
    ak_free(names);
    ak_buf_release(&folder.names);
    return rc;
}

static int64_t us_of(struct timespec time)
{
    return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

enum ak_rc ak_dir_stat(struct ak_file *file, struct ak_arena *arena, struct ak_object *object,
                       struct ak_err *err)
{
    struct stat st;
    if (fstat(ak_file_fd(file), &st) != 0 || !S_ISREG(st.st_mode)) {
        return ak_fail(err, AK_NOT_FOUND, "there is no object but something else of that name");
    }
    char text[ETAG_MAX];
    int len = snprintf(text, sizeof text, "%llx-%llx-%llx", (unsigned long long)st.st_ino,
                       (unsigned long long)st.st_size,
                       (unsigned long long)st.st_mtim.tv_sec * 1000000000u +
                           (unsigned long long)st.st_mtim.tv_nsec);
    struct ak_str etag = AK_STR_NONE;
    if (arena) {
        etag = ak_arena_str(arena, (struct ak_str){text, (size_t)len});
        if (!etag.p) {
            return ak_fail(err, AK_NOMEM, "no memory for what is known of an object");
        }
    }
    object->size = (uint64_t)st.st_size;
    /* A file that was linked into place was written before it became an object: the link changed
     * its inode. */
    int64_t written_us = us_of(st.st_mtim);
    int64_t linked_us = us_of(st.st_ctim);
    object->modified_us = written_us > linked_us ? written_us : linked_us;
    object->etag = etag;
    return AK_OK;
}

/* Fill *object, or say that it has gone (AK_NOT_FOUND). */
static enum ak_rc describe(struct dir_store *store, struct ak_str key, struct ak_arena *arena,
                           struct ak_object *object, struct ak_err *err)
{
    struct dir_path path;
    struct ak_file *file = NULL;
    enum ak_rc rc = ak_dir_path_of_key(store, key, &path, err);
    if (rc == AK_OK) {
        rc = ak_fs_open(store->fs, path.text, AK_OPEN_READ, &file, err);
    }
    if (rc == AK_OK) {
        rc = ak_dir_stat(file, arena, object, err);
    }
    ak_file_close(file);
    if (rc == AK_OK) {
        object->key = ak_arena_str(arena, key);
        rc = object->key.p ? AK_OK : ak_fail(err, AK_NOMEM, "no memory to list another object");
    }
    return rc;
}

/* The smallest keys after page->after, sorted. */
static enum ak_rc collect(struct page *page, struct ak_err *err)
{
    struct dir_path path;
    struct ak_buf key;
    size_t folders = page->prefix.len;
    while (folders > 0 && page->prefix.p[folders - 1] != '/') {
        folders--;
    }
    ak_buf_init(&key, 0);
    ak_buf_add(&key, page->prefix.p, folders);
    enum ak_rc rc = ak_buf_check(&key, err);
    if (rc == AK_OK) {
        rc = ak_dir_path_of_folders(page->store, ak_str_sub(page->prefix, 0, folders), &path, err);
        /* No key so long has ever been put. */
        rc = rc == AK_INVALID ? AK_OK : rc == AK_OK ? walk(page, &path, &key, err) : rc;
    }
    ak_buf_release(&key);
    qsort(page->heap, page->count, sizeof *page->heap, by_name);
    return rc;
}

enum ak_rc ak_dir_list(struct ak_objstore *base, struct ak_str prefix, struct ak_str after,
                       size_t limit, struct ak_arena *arena, struct ak_object **objects,
                       size_t *count, struct ak_err *err)
{
    struct ak_object *found = ak_arena_alloc(arena, limit * sizeof *found);
    if (!found) {
        return ak_fail(err, AK_NOMEM, "no memory to list %zu objects", limit);
    }
    struct page page = {.store = dir_of(base), .prefix = prefix, .limit = limit};
    page.heap = ak_zalloc(limit * sizeof *page.heap);
    struct ak_buf last; /* the key that the next round goes on after */
    enum ak_rc rc = AK_OK;
    size_t n = 0;
    bool more = true;
    ak_buf_init(&last, 0);
    ak_buf_add_str(&last, after);
    rc = ak_buf_check(&last, err);
    while (rc == AK_OK && more) {
        page.after = ak_buf_str(&last);
        page.limit = limit - n;
        page.count = 0;
        rc = collect(&page, err);
        more = false;
        for (size_t i = 0; i < page.count && rc == AK_OK; i++) {
            rc = describe(page.store, page.heap[i], arena, &found[n], err);
            n += rc == AK_OK;
            if (rc == AK_NOT_FOUND) { /* gone meanwhile: others may follow the last, L2 */
                rc = AK_OK;
                more = page.count == page.limit;
            }
        }
        if (more) {
            ak_buf_clear(&last);
            ak_buf_add_str(&last, page.heap[page.count - 1]);
            rc = rc == AK_OK ? ak_buf_check(&last, err) : rc;
        }
        for (size_t i = 0; i < page.count; i++) {
            free_key(page.heap[i]);
        }
    }
    ak_buf_release(&last);
    ak_free(page.heap);
    if (rc == AK_OK) {
        *objects = found;
        *count = n;
    }
    return rc;
}
