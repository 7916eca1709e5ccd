/* store_item.c — items, views of their bytes, and the sinks they are made from.
 *
 *   sink ──write──▶ sink ──finish──▶ (item, temporary file complete) ──publish──▶ item has its name
 *
 * In memory a sink is one growing block that the item takes. Below a folder bytes gather in a block
 * of STAGE bytes and go to a temporary file from there, so that a small object is one write.
 */
#include "base/mem.h"
#include "mocks3/store_priv.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define FIRST_MAX ((uint64_t)1 << 20) /* of what a header claims, so much is believed */
#define STAGE ((size_t)256 << 10)

/* --- Items --- */

static char *copy(struct ak_str from, struct ak_str *to, char *at)
{
    *to = (struct ak_str){at, from.len};
    if (from.len) {
        memcpy(at, from.p, from.len);
    }
    return at + from.len;
}

#define FILE_NAME_ROOM 96u

struct ak_mock_item *ak_mock_item_new(struct ak_mock_store *store,
                                      const struct ak_mock_fields *fields)
{
    size_t len = fields->key.len + fields->bucket.len + fields->etag.len + fields->headers.len +
                 fields->sums.len + (store->root ? FILE_NAME_ROOM : 0);
    struct ak_mock_item *item = ak_try_alloc(sizeof *item + len);
    if (!item) {
        return NULL;
    }
    *item = (struct ak_mock_item){.store = store, .modified_us = ak_now_us(store->clock)};
    atomic_init(&item->refs, 1);
    char *at = copy(fields->key, &item->key, item->text);
    at = copy(fields->bucket, &item->bucket, at);
    at = copy(fields->etag, &item->etag, at);
    at = copy(fields->headers, &item->headers, at);
    at = copy(fields->sums, &item->sums, at);
    item->file = (struct ak_str){at, 0};
    return item;
}

struct ak_mock_item *ak_mock_item_ref(struct ak_mock_item *item)
{
    atomic_fetch_add_explicit(&item->refs, 1, memory_order_relaxed);
    return item;
}

void ak_mock_item_unref(struct ak_mock_item *item)
{
    if (item && atomic_fetch_sub_explicit(&item->refs, 1, memory_order_acq_rel) == 1) {
        atomic_fetch_sub_explicit(&item->store->bytes, item->size, memory_order_relaxed);
        ak_free(item->data);
        ak_free(item);
    }
}

/* --- Views --- */

static enum ak_rc map_file(struct ak_mock_item *item, struct ak_mock_view *view, struct ak_err *err)
{
    char path[AK_MOCK_PATH_MAX];
    char name[FILE_NAME_ROOM + 1];
    struct ak_file *file = NULL;
    (void)snprintf(name, sizeof name, "%.*s", AK_STR_ARG(item->file));
    if (!ak_mock_disk_path(item->store, path, name)) {
        return ak_fail(err, AK_INVALID, "the path of the folder is too long");
    }
    enum ak_rc rc = ak_fs_open(item->store->fs, path, AK_OPEN_READ, &file, err);
    if (rc != AK_OK) {
        return rc;
    }
    /* The file was complete when it got its name and never changes, so no access can fault. */
    void *map = mmap(NULL, (size_t)item->size, PROT_READ, MAP_SHARED, ak_file_fd(file), 0);
    int problem = errno;
    ak_file_close(file);
    if (map == MAP_FAILED) {
        return ak_fail_errno(err, problem, "map '%s'", path);
    }
    view->map = map;
    view->bytes = (struct ak_str){map, (size_t)item->size};
    return AK_OK;
}

enum ak_mock_code ak_mock_view_open(struct ak_mock_item *item, struct ak_mock_view *view,
                                    struct ak_mock_fault *fault)
{
    *view = (struct ak_mock_view){.bytes = {item->data, (size_t)item->size}};
    struct ak_err err;
    if (item->size && !item->data && map_file(item, view, &err) != AK_OK) {
        return ak_mock_fail_rc(fault, &err);
    }
    view->item = ak_mock_item_ref(item);
    return AK_MOCK_OK;
}

void ak_mock_view_release(struct ak_mock_view *view)
{
    if (view->map) {
        (void)munmap(view->map, view->bytes.len);
    }
    ak_mock_item_unref(view->item);
    *view = (struct ak_mock_view){0};
}

/* --- Sinks --- */

void ak_mock_sink_init(struct ak_mock_sink *sink, struct ak_mock_store *store)
{
    *sink = (struct ak_mock_sink){.store = store};
}

static enum ak_rc reserve(struct ak_mock_sink *sink, uint64_t more, struct ak_err *err)
{
    struct ak_mock_store *store = sink->store;
    uint64_t before = atomic_fetch_add_explicit(&store->bytes, more, memory_order_relaxed);
    if (before + more > store->bytes_max) {
        atomic_fetch_sub_explicit(&store->bytes, more, memory_order_relaxed);
        return ak_fail(err, AK_NO_SPACE,
                       "this server holds at most %llu bytes (--max-bytes): delete some objects",
                       (unsigned long long)store->bytes_max);
    }
    sink->reserved += more;
    return AK_OK;
}

/* Room for `more` bytes behind len, in a block of at most `cap_max`. */
static enum ak_rc grow(struct ak_mock_sink *sink, size_t more, uint64_t expected, size_t cap_max,
                       struct ak_err *err)
{
    size_t need = 0;
    if (sink->cap - sink->len >= more) {
        return AK_OK;
    }
    if (ak_add_overflows(sink->len, more, &need)) {
        return ak_fail(err, AK_TOO_BIG, "the object is too large for this machine");
    }
    size_t cap = sink->cap ? 2 * sink->cap : (size_t)(expected < FIRST_MAX ? expected : FIRST_MAX);
    cap = cap < need ? need : cap;
    cap = cap > cap_max ? cap_max : cap;
    char *grown = ak_try_realloc(sink->p, cap);
    if (!grown) {
        return ak_fail(err, AK_NOMEM, "no memory for the object's bytes");
    }
    sink->p = grown;
    sink->cap = cap;
    return AK_OK;
}

static enum ak_rc open_temporary(struct ak_mock_sink *sink, struct ak_err *err)
{
    char file[64];
    char path[AK_MOCK_PATH_MAX];
    struct ak_mock_store *store = sink->store;
    sink->number = 1 + atomic_fetch_add_explicit(&store->next_temporary, 1, memory_order_relaxed);
    ak_mock_disk_temporary(sink->number, file);
    if (!ak_mock_disk_path(store, path, file)) {
        return ak_fail(err, AK_INVALID, "the path of the folder is too long");
    }
    return ak_fs_open(store->fs, path, AK_OPEN_WRITE | AK_OPEN_CREATE | AK_OPEN_TRUNCATE,
                      &sink->file, err);
}

static enum ak_rc flush(struct ak_mock_sink *sink, struct ak_err *err)
{
    enum ak_rc rc = sink->file ? AK_OK : open_temporary(sink, err);
    if (rc == AK_OK) {
        rc = ak_file_write(sink->file, sink->flushed, sink->p, sink->len, err);
    }
    if (rc == AK_OK) {
        sink->flushed += sink->len;
        sink->len = 0;
    }
    return rc;
}

static enum ak_rc write_staged(struct ak_mock_sink *sink, struct ak_str bytes, uint64_t expected,
                               struct ak_err *err)
{
    while (bytes.len) {
        if (sink->len == STAGE) {
            enum ak_rc rc = flush(sink, err);
            if (rc != AK_OK) {
                return rc;
            }
        }
        size_t len = STAGE - sink->len < bytes.len ? STAGE - sink->len : bytes.len;
        enum ak_rc rc = grow(sink, len, expected, STAGE, err);
        if (rc != AK_OK) {
            return rc;
        }
        memcpy(sink->p + sink->len, bytes.p, len);
        sink->len += len;
        bytes = ak_str_sub(bytes, len, SIZE_MAX);
    }
    return AK_OK;
}

enum ak_mock_code ak_mock_sink_write(struct ak_mock_sink *sink, struct ak_str bytes,
                                     uint64_t expected, struct ak_mock_fault *fault)
{
    struct ak_err err;
    enum ak_rc rc = reserve(sink, bytes.len, &err);
    if (rc == AK_OK && sink->store->root) {
        rc = write_staged(sink, bytes, expected, &err);
    } else if (rc == AK_OK && bytes.len) {
        rc = grow(sink, bytes.len, expected, SIZE_MAX, &err);
        if (rc == AK_OK) {
            memcpy(sink->p + sink->len, bytes.p, bytes.len);
            sink->len += bytes.len;
        }
    }
    if (rc != AK_OK) {
        return ak_mock_fail_rc(fault, &err);
    }
    sink->size += bytes.len;
    return AK_MOCK_OK;
}

static void remove_temporary(struct ak_mock_sink *sink)
{
    char file[64];
    char path[AK_MOCK_PATH_MAX];
    ak_file_close(sink->file);
    sink->file = NULL;
    if (sink->number) {
        ak_mock_disk_temporary(sink->number, file);
        if (ak_mock_disk_path(sink->store, path, file)) {
            (void)!ak_fs_remove(sink->store->fs, path, NULL); /* else the next start does it */
        }
        sink->number = 0;
    }
}

void ak_mock_sink_drop(struct ak_mock_sink *sink)
{
    if (!sink->store) {
        return;
    }
    remove_temporary(sink);
    atomic_fetch_sub_explicit(&sink->store->bytes, sink->reserved, memory_order_relaxed);
    ak_free(sink->p);
    *sink = (struct ak_mock_sink){0};
}

/* The item's fields behind the data; the file is complete then. */
static enum ak_rc finish_file(struct ak_mock_sink *sink, const struct ak_mock_item *item,
                              struct ak_err *err)
{
    struct ak_buf tail;
    ak_buf_init(&tail, 0);
    ak_mock_disk_put_tail(&tail, item);
    enum ak_rc rc = ak_buf_check(&tail, err);
    if (rc == AK_OK && sink->len) {
        rc = grow(sink, tail.len, 0, SIZE_MAX, err);
    }
    if (rc == AK_OK && sink->len) {
        memcpy(sink->p + sink->len, tail.p, tail.len);
        sink->len += tail.len;
        rc = flush(sink, err);
    } else if (rc == AK_OK) {
        rc = sink->file ? AK_OK : open_temporary(sink, err);
        if (rc == AK_OK) {
            rc = ak_file_write(sink->file, sink->flushed, tail.p, tail.len, err);
        }
    }
    if (rc == AK_OK) {
        rc = ak_file_sync(sink->file, err); /* D1; without the lock, which comes later */
    }
    ak_buf_release(&tail);
    ak_file_close(sink->file);
    sink->file = NULL;
    return rc;
}

/* Give the file its name, durably; or nothing is there by that name. */
static enum ak_rc name_file(struct ak_mock_store *store, const char *from, const char *to,
                            const char *file, struct ak_err *err)
{
    char folder[64];
    (void)snprintf(folder, sizeof folder, "%.*s", (int)strcspn(file, "/"), file);
    enum ak_rc rc = ak_fs_rename(store->fs, from, to, err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = ak_mock_disk_sync(store, folder, err); /* of a rename both folders (base/file.h) */
    rc = rc == AK_OK ? ak_mock_disk_sync(store, "temporary", err) : rc;
    if (rc != AK_OK && ak_fs_rename(store->fs, to, from, NULL) != AK_OK) {
        ak_log_error(store->log, "mock-s3", "'%s' was refused and may be there after a restart",
                     to);
    }
    return rc;
}

enum ak_mock_code ak_mock_sink_finish(struct ak_mock_sink *sink, struct ak_mock_item *item,
                                      struct ak_mock_fault *fault)
{
    struct ak_err err;
    item->size = sink->size;
    if (!sink->store->root) {
        item->data = sink->p;
        if (sink->cap - sink->len > sink->cap / 8) { /* doubled too far: give back the rest */
            char *fitted = ak_try_realloc(sink->p, sink->len);
            item->data = fitted ? fitted : sink->p;
        }
        sink->p = NULL;
    } else if (finish_file(sink, item, &err) != AK_OK) {
        item->size = 0; /* the bytes are still counted by the sink */
        return ak_mock_fail_rc(fault, &err);
    }
    sink->reserved = 0; /* the item's from here on */
    return AK_MOCK_OK;
}

enum ak_mock_code ak_mock_sink_publish(struct ak_mock_sink *sink, struct ak_mock_item *item,
                                       const char *file, struct ak_mock_fault *fault)
{
    char temporary[64];
    char from[AK_MOCK_PATH_MAX];
    char to[AK_MOCK_PATH_MAX];
    struct ak_mock_store *store = sink->store;
    struct ak_err err;
    size_t len = strlen(file);
    if (!store->root) {
        return AK_MOCK_OK;
    }
    AK_ASSERT(len <= FILE_NAME_ROOM);
    ak_mock_disk_temporary(sink->number, temporary);
    if (!ak_mock_disk_path(store, from, temporary) || !ak_mock_disk_path(store, to, file)) {
        return ak_mock_fail(fault, AK_MOCK_InternalError, "the path of the folder is too long");
    }
    if (name_file(store, from, to, file, &err) != AK_OK) {
        return ak_mock_fail_rc(fault, &err);
    }
    sink->number = 0;
    char *name = (char *)(uintptr_t)item->file.p; /* room was kept for it in item->text */
    memcpy(name, file, len);
    item->file.len = len;
    return AK_MOCK_OK;
}
