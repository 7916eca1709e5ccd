/* objstore_mem.c — objects in memory, in a sorted table under one lock: for tests.
 *
 * Bytes are copied under the lock, which only other calls of the same store wait for.
 */
#include "base/mem.h"
#include "base/sync.h"
#include "objstore/objstore_priv.h"
#include <stdio.h>
#include <string.h>

#define ETAG_MAX 24

struct mem_object {
    struct ak_str key; /* of `bytes`, which the key begins */
    char *bytes;
    size_t size;
    int64_t modified_us;
    uint64_t version; /* the etag: each put has its own */
};

struct mem_store {
    struct ak_objstore base;
    const struct ak_clock *clock;
    struct ak_mutex mutex;
    struct mem_object *objects; /* sorted by key */
    size_t count;
    size_t cap;
    uint64_t version;
};

static struct mem_store *mem_of(struct ak_objstore *store)
{
    return (struct mem_store *)store;
}

/* The first object whose key is not before `key`. */
static size_t lower_bound(const struct mem_store *store, struct ak_str key)
{
    size_t from = 0;
    size_t to = store->count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (ak_str_cmp(store->objects[middle].key, key) < 0) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    return from;
}

static bool is_at(const struct mem_store *store, size_t at, struct ak_str key)
{
    return at < store->count && ak_str_eq(store->objects[at].key, key);
}

/* The object, or AK_NOT_FOUND; under the lock. */
static enum ak_rc find(struct mem_store *store, struct ak_str key, struct mem_object **object,
                       struct ak_err *err)
{
    size_t at = lower_bound(store, key);
    if (!is_at(store, at, key)) {
        return ak_fail(err, AK_NOT_FOUND, "there is no such object");
    }
    *object = &store->objects[at];
    return AK_OK;
}

static enum ak_rc mem_get(struct ak_objstore *base, struct ak_str key, struct ak_buf *out,
                          struct ak_err *err)
{
    struct mem_store *store = mem_of(base);
    struct mem_object *object = NULL;
    ak_mutex_lock(&store->mutex);
    enum ak_rc rc = find(store, key, &object, err);
    if (rc == AK_OK) {
        ak_buf_add(out, object->bytes + object->key.len, object->size);
    }
    ak_mutex_unlock(&store->mutex);
    return rc == AK_OK ? ak_buf_check(out, err) : rc;
}

/* Put `object` at its place, or free it; under the lock. */
static enum ak_rc insert(struct mem_store *store, struct mem_object *object, bool only_if_absent,
                         struct ak_err *err)
{
    size_t at = lower_bound(store, object->key);
    if (is_at(store, at, object->key)) {
        if (only_if_absent) {
            return ak_fail(err, AK_EXISTS, "there is such an object");
        }
        ak_free(store->objects[at].bytes);
    } else {
        if (store->count == store->cap) {
            size_t cap = store->cap ? 2 * store->cap : 16;
            struct mem_object *more = ak_try_realloc(store->objects, cap * sizeof *more);
            if (!more) {
                return ak_fail(err, AK_NOMEM, "no memory for object %zu", store->count + 1);
            }
            store->objects = more;
            store->cap = cap;
        }
        memmove(&store->objects[at + 1], &store->objects[at],
                (store->count - at) * sizeof *store->objects);
        store->count++;
    }
    object->version = ++store->version;
    store->objects[at] = *object;
    return AK_OK;
}

static enum ak_rc mem_put(struct ak_objstore *base, struct ak_str key, struct ak_str bytes,
                          const struct ak_objstore_put_options *options, struct ak_err *err)
{
    struct mem_store *store = mem_of(base);
    size_t size = 0;
    char *p = ak_add_overflows(key.len, bytes.len, &size) ? NULL : ak_try_alloc(size);
    if (!p) {
        return ak_fail(err, AK_NOMEM, "no memory for %zu bytes", bytes.len);
    }
    memcpy(p, key.p, key.len);
    if (bytes.len > 0) {
        memcpy(p + key.len, bytes.p, bytes.len);
    }
    struct mem_object object = {
        .key = {p, key.len}, .bytes = p, .size = bytes.len, .modified_us = ak_now_us(store->clock)};
    ak_mutex_lock(&store->mutex);
    enum ak_rc rc = insert(store, &object, options->only_if_absent, err);
    ak_mutex_unlock(&store->mutex);
    if (rc != AK_OK) {
        ak_free(p);
    }
    return rc;
}

static enum ak_rc describe(const struct mem_object *from, struct ak_arena *arena,
                           struct ak_object *object, struct ak_err *err)
{
    char text[ETAG_MAX];
    int len = snprintf(text, sizeof text, "%llu", (unsigned long long)from->version);
    *object = (struct ak_object){
        .key = ak_arena_str(arena, from->key),
        .size = from->size,
        .modified_us = from->modified_us,
        .etag = ak_arena_str(arena, (struct ak_str){text, (size_t)len}),
    };
    if (!object->key.p || !object->etag.p) {
        return ak_fail(err, AK_NOMEM, "no memory for what is known of an object");
    }
    return AK_OK;
}

static enum ak_rc mem_head(struct ak_objstore *base, struct ak_str key, struct ak_arena *arena,
                           struct ak_object *object, struct ak_err *err)
{
    struct mem_store *store = mem_of(base);
    struct mem_object *found = NULL;
    ak_mutex_lock(&store->mutex);
    enum ak_rc rc = find(store, key, &found, err);
    if (rc == AK_OK) {
        rc = describe(found, arena, object, err);
    }
    ak_mutex_unlock(&store->mutex);
    return rc;
}

static enum ak_rc mem_remove(struct ak_objstore *base, struct ak_str key, struct ak_err *err)
{
    (void)err;
    struct mem_store *store = mem_of(base);
    ak_mutex_lock(&store->mutex);
    size_t at = lower_bound(store, key);
    if (is_at(store, at, key)) {
        ak_free(store->objects[at].bytes);
        store->count--;
        memmove(&store->objects[at], &store->objects[at + 1],
                (store->count - at) * sizeof *store->objects);
    }
    ak_mutex_unlock(&store->mutex);
    return AK_OK;
}

static enum ak_rc mem_get_range(struct ak_objstore *base, struct ak_str key, uint64_t from, void *p,
                                size_t len, struct ak_err *err)
{
    struct mem_store *store = mem_of(base);
    struct mem_object *object = NULL;
    ak_mutex_lock(&store->mutex);
    enum ak_rc rc = find(store, key, &object, err);
    if (rc == AK_OK && (from > object->size || len > object->size - from)) {
        rc = ak_fail(err, AK_CORRUPT, "the object ends at byte %zu, %zu bytes at %llu are wanted",
                     object->size, len, (unsigned long long)from);
    }
    if (rc == AK_OK) {
        memcpy(p, object->bytes + object->key.len + from, len);
    }
    ak_mutex_unlock(&store->mutex);
    return rc;
}

static enum ak_rc mem_list(struct ak_objstore *base, struct ak_str prefix, struct ak_str after,
                           size_t limit, struct ak_arena *arena, struct ak_object **objects,
                           size_t *count, struct ak_err *err)
{
    struct mem_store *store = mem_of(base);
    struct ak_object *found = ak_arena_alloc(arena, limit * sizeof *found);
    if (!found) {
        return ak_fail(err, AK_NOMEM, "no memory to list %zu objects", limit);
    }
    size_t n = 0;
    enum ak_rc rc = AK_OK;
    ak_mutex_lock(&store->mutex);
    size_t at = lower_bound(store, after.len > 0 ? after : prefix);
    for (; at < store->count && n < limit && rc == AK_OK; at++) {
        struct ak_str key = store->objects[at].key;
        if (!ak_str_has_prefix(key, prefix)) {
            break;
        }
        if (!ak_str_eq(key, after)) {
            rc = describe(&store->objects[at], arena, &found[n], err);
            n += rc == AK_OK;
        }
    }
    ak_mutex_unlock(&store->mutex);
    if (rc == AK_OK) {
        *objects = found;
        *count = n;
    }
    return rc;
}

static void mem_close(struct ak_objstore *base)
{
    struct mem_store *store = mem_of(base);
    for (size_t i = 0; i < store->count; i++) {
        ak_free(store->objects[i].bytes);
    }
    ak_free(store->objects);
    ak_mutex_release(&store->mutex);
    ak_free(store);
}

enum ak_rc ak_objstore_open_mem(const struct ak_clock *clock, struct ak_objstore **out,
                                struct ak_err *err)
{
    static const struct ak_objstore_ops ops = {
        .get = mem_get,
        .put = mem_put,
        .head = mem_head,
        .remove = mem_remove,
        .get_range = mem_get_range,
        .list = mem_list,
        .get_file = ak_objstore_get_file_by_ranges,
        .put_file = ak_objstore_put_file_by_writer,
        .create = ak_objstore_create_buffered,
        .close = mem_close,
    };
    (void)err;
    struct mem_store *store = ak_zalloc(sizeof *store);
    store->clock = clock ? clock : ak_clock_system();
    ak_mutex_init(&store->mutex, AK_RANK_LEAF, "objstore_mem");
    ak_objstore_init(&store->base, &ops, "mem");
    *out = &store->base;
    return AK_OK;
}
