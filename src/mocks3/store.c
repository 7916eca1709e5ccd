/* store.c — buckets and objects.
 *
 * I1  under the lock an object's key is in its bucket's set if and only if its file (if it has one)
 *     is there. A file gets its name after it is complete, and what it replaces goes before the
 *     lock is left: cut off in between, the next start finds two and keeps the one named later.
 *
 * I2  a bucket without objects can be removed; its uploads go with it.
 */
#include "base/mem.h"
#include "mocks3/store_priv.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* --- Opening, closing --- */

static void free_bucket(struct ak_mock_bucket *bucket)
{
    struct ak_mock_keys_cursor cursor = {0, 0};
    void *entry;
    while ((entry = ak_mock_keys_next(&bucket->objects, &cursor))) {
        ak_mock_item_unref(entry);
    }
    cursor = (struct ak_mock_keys_cursor){0, 0};
    while ((entry = ak_mock_keys_next(&bucket->uploads, &cursor))) {
        ak_mock_upload_free(entry);
    }
    ak_mock_keys_release(&bucket->objects);
    ak_mock_keys_release(&bucket->uploads);
    ak_free(bucket);
}

enum ak_rc ak_mock_store_open(const struct ak_mock_store_options *options,
                              struct ak_mock_store **out, struct ak_err *err)
{
    struct ak_mock_store *store = ak_zalloc(sizeof *store);
    ak_mutex_init(&store->lock, AK_RANK_SERVICE, "mock-s3");
    store->root = options->root ? ak_strdup_n(options->root, strlen(options->root)) : NULL;
    store->fs = options->fs ? options->fs : ak_fs_posix();
    store->clock = options->clock ? options->clock : ak_clock_system();
    store->log = options->log;
    store->bytes_max = options->bytes_max ? options->bytes_max : UINT64_MAX / 2;
    store->next_file = 1;
    ak_uuid_maker_init(&store->ids, store->clock);
    enum ak_rc rc = AK_OK;
    if (store->root) {
        rc = ak_mock_disk_open(store, err);
        if (rc == AK_OK) {
            rc = ak_mock_disk_load(store, err);
        }
    }
    if (rc != AK_OK) {
        ak_mock_store_close(store);
        return ak_wrap(err, rc, "open the folder '%s'", options->root);
    }
    *out = store;
    return AK_OK;
}

void ak_mock_store_close(struct ak_mock_store *store)
{
    struct ak_mock_keys_cursor cursor = {0, 0};
    void *bucket;
    if (!store) {
        return;
    }
    while ((bucket = ak_mock_keys_next(&store->buckets, &cursor))) {
        free_bucket(bucket);
    }
    ak_mock_keys_release(&store->buckets);
    ak_file_close(store->lock_file);
    ak_mutex_release(&store->lock);
    ak_free(store->root);
    ak_free(store);
}

void ak_mock_store_usage(struct ak_mock_store *store, struct ak_mock_usage *usage)
{
    ak_mutex_lock(&store->lock);
    *usage = (struct ak_mock_usage){
        .buckets = store->buckets.entries,
        .objects = store->objects,
        .uploads = store->uploads,
        .parts = store->parts,
        .bytes = atomic_load_explicit(&store->bytes, memory_order_relaxed),
    };
    ak_mutex_unlock(&store->lock);
}

/* --- Buckets --- */

struct ak_mock_bucket *ak_mock_bucket_of(struct ak_mock_store *store, struct ak_str name,
                                         struct ak_mock_fault *fault)
{
    struct ak_mock_bucket *bucket = ak_mock_keys_find(&store->buckets, name);
    if (!bucket && fault) {
        (void)ak_mock_fail(fault, AK_MOCK_NoSuchBucket, "The specified bucket does not exist");
    }
    return bucket;
}

enum ak_rc ak_mock_bucket_add(struct ak_mock_store *store, struct ak_str name, struct ak_str region,
                              int64_t created_us, struct ak_mock_bucket **out, struct ak_err *err)
{
    void *old = NULL;
    struct ak_mock_bucket *bucket = ak_try_zalloc(sizeof *bucket + name.len + region.len);
    if (!bucket) {
        return ak_fail(err, AK_NOMEM, "no memory for a bucket");
    }
    memcpy(bucket->text, name.p, name.len);
    if (region.len) {
        memcpy(bucket->text + name.len, region.p, region.len);
    }
    bucket->name = (struct ak_str){bucket->text, name.len};
    bucket->region = (struct ak_str){bucket->text + name.len, region.len};
    bucket->created_us = created_us;
    enum ak_rc rc = ak_mock_keys_put(&store->buckets, bucket, &old, err);
    if (rc != AK_OK) {
        ak_free(bucket);
        return rc;
    }
    AK_ASSERT(!old);
    *out = bucket;
    return AK_OK;
}

enum ak_mock_code ak_mock_bucket_create(struct ak_mock_store *store, struct ak_str name,
                                        struct ak_str region, struct ak_mock_fault *fault)
{
    struct ak_mock_bucket *bucket = NULL;
    struct ak_err err;
    enum ak_rc rc = AK_OK;
    enum ak_mock_code code = AK_MOCK_OK;
    ak_mutex_lock(&store->lock);
    if (ak_mock_bucket_of(store, name, NULL)) {
        code = ak_mock_fail(fault, AK_MOCK_BucketAlreadyOwnedByYou,
                            "Your previous request to create the named bucket succeeded and you "
                            "already own it.");
    } else if (store->buckets.entries >= AK_MOCK_BUCKETS_MAX) {
        code = ak_mock_fail(fault, AK_MOCK_TooManyBuckets,
                            "there are 1000 buckets, as many as this server keeps: delete some");
    } else {
        rc = ak_mock_bucket_add(store, name, region, ak_now_us(store->clock), &bucket, &err);
    }
    if (bucket) {
        rc = ak_mock_disk_add_bucket(store, bucket, &err);
        if (rc != AK_OK) {
            (void)ak_mock_keys_remove(&store->buckets, name);
            free_bucket(bucket);
        }
    }
    ak_mutex_unlock(&store->lock);
    return rc == AK_OK ? code : ak_mock_fail_rc(fault, &err);
}

/* The bucket is empty of objects: take its uploads and its file. */
static enum ak_mock_code remove_empty(struct ak_mock_store *store, struct ak_mock_bucket *bucket,
                                      struct ak_mock_fault *fault)
{
    struct ak_err err;
    for (;;) {
        struct ak_mock_keys_cursor cursor = {0, 0};
        struct ak_mock_upload *upload = ak_mock_keys_next(&bucket->uploads, &cursor);
        if (!upload) {
            break;
        }
        ak_mock_upload_detach(bucket, upload);
        ak_mock_upload_free(upload);
    }
    if (ak_mock_disk_remove_bucket(store, bucket->name, &err) != AK_OK) {
        return ak_mock_fail_rc(fault, &err);
    }
    (void)ak_mock_keys_remove(&store->buckets, bucket->name);
    free_bucket(bucket);
    return AK_MOCK_OK;
}

enum ak_mock_code ak_mock_bucket_remove(struct ak_mock_store *store, struct ak_str name,
                                        struct ak_mock_fault *fault)
{
    enum ak_mock_code code;
    ak_mutex_lock(&store->lock);
    struct ak_mock_bucket *bucket = ak_mock_bucket_of(store, name, fault);
    if (!bucket) {
        code = fault->code;
    } else if (bucket->objects.entries) {
        code = ak_mock_fail(fault, AK_MOCK_BucketNotEmpty,
                            "The bucket you tried to delete is not empty");
    } else {
        code = remove_empty(store, bucket, fault);
    }
    ak_mutex_unlock(&store->lock);
    return code;
}

enum ak_mock_code ak_mock_bucket_find(struct ak_mock_store *store, struct ak_str name,
                                      struct ak_arena *arena, struct ak_str *region,
                                      struct ak_mock_fault *fault)
{
    ak_mutex_lock(&store->lock);
    const struct ak_mock_bucket *bucket = ak_mock_bucket_of(store, name, fault);
    enum ak_mock_code code = bucket ? AK_MOCK_OK : fault->code;
    if (bucket && arena) {
        *region = bucket->region.len ? ak_arena_str(arena, bucket->region) : AK_STR("");
        if (!region->p) {
            code = ak_mock_fail(fault, AK_MOCK_SlowDown, "no memory for the answer");
        }
    }
    ak_mutex_unlock(&store->lock);
    return code;
}

enum ak_mock_code ak_mock_bucket_list(struct ak_mock_store *store, struct ak_arena *arena,
                                      struct ak_mock_bucket_row **rows, size_t *count,
                                      struct ak_mock_fault *fault)
{
    struct ak_mock_keys_cursor cursor = {0, 0};
    const struct ak_mock_bucket *bucket;
    enum ak_mock_code code = AK_MOCK_OK;
    *count = 0;
    ak_mutex_lock(&store->lock);
    *rows = ak_arena_alloc(arena, (store->buckets.entries + 1) * sizeof **rows);
    while (*rows && (bucket = ak_mock_keys_next(&store->buckets, &cursor))) {
        struct ak_str name = ak_arena_str(arena, bucket->name);
        if (!name.p) {
            *rows = NULL;
            break;
        }
        (*rows)[(*count)++] = (struct ak_mock_bucket_row){name, bucket->created_us};
    }
    if (!*rows) {
        code = ak_mock_fail(fault, AK_MOCK_SlowDown, "no memory for the answer");
    }
    ak_mutex_unlock(&store->lock);
    return code;
}

/* --- Putting --- */

static enum ak_mock_code check(const struct ak_mock_condition *condition,
                               const struct ak_mock_item *now, struct ak_mock_fault *fault)
{
    if (condition->if_absent && now) {
        return ak_mock_fail(fault, AK_MOCK_PreconditionFailed,
                            "At least one of the pre-conditions you specified did not hold "
                            "(If-None-Match)");
    }
    if (condition->if_match.len && !now) {
        return ak_mock_fail(fault, AK_MOCK_NoSuchKey, "The specified key does not exist.");
    }
    if (condition->if_match.len && !ak_str_eq(condition->if_match, AK_STR("*")) &&
        !ak_str_eq(condition->if_match, now->etag)) {
        return ak_mock_fail(fault, AK_MOCK_PreconditionFailed,
                            "At least one of the pre-conditions you specified did not hold "
                            "(If-Match)");
    }
    return AK_MOCK_OK;
}

/* Take back what publish has done so far. */
static void unpublish(struct ak_mock_store *store, struct ak_mock_item *item)
{
    struct ak_err err;
    if (ak_mock_disk_remove(item, &err) != AK_OK) {
        ak_log_error(store->log, "mock-s3",
                     "an object that was refused may be there after a "
                     "restart: %s",
                     err.text);
    }
    item->file.len = 0;
}

enum ak_mock_code ak_mock_object_publish(struct ak_mock_bucket *bucket, struct ak_mock_sink *sink,
                                         struct ak_mock_item *item,
                                         const struct ak_mock_condition *condition,
                                         struct ak_mock_item **old, struct ak_mock_fault *fault)
{
    struct ak_mock_store *store = item->store;
    struct ak_mock_item *now = ak_mock_keys_find(&bucket->objects, item->key);
    char file[64];
    void *replaced = NULL;
    struct ak_err err;
    enum ak_mock_code code = check(condition, now, fault);
    if (code) {
        return code;
    }
    (void)snprintf(file, sizeof file, "objects/%016" PRIx64, store->next_file++);
    code = ak_mock_sink_publish(sink, item, file, fault);
    if (code) {
        return code;
    }
    if (now && ak_mock_disk_remove(now, &err) != AK_OK) { /* I1 */
        unpublish(store, item);
        return ak_mock_fail_rc(fault, &err);
    }
    if (ak_mock_keys_put(&bucket->objects, item, &replaced, &err) != AK_OK) {
        unpublish(store, item);
        return ak_mock_fail_rc(fault, &err);
    }
    store->objects += replaced == NULL;
    *old = replaced;
    return AK_MOCK_OK;
}

enum ak_mock_code ak_mock_object_put(struct ak_mock_store *store, struct ak_mock_sink *sink,
                                     const struct ak_mock_fields *fields,
                                     const struct ak_mock_condition *condition,
                                     struct ak_mock_item **out, struct ak_mock_fault *fault)
{
    struct ak_mock_item *old = NULL;
    struct ak_mock_item *item = ak_mock_item_new(store, fields);
    if (!item) {
        ak_mock_sink_drop(sink);
        return ak_mock_fail(fault, AK_MOCK_SlowDown, "no memory for the object");
    }
    enum ak_mock_code code = ak_mock_sink_finish(sink, item, fault);
    if (!code) {
        ak_mutex_lock(&store->lock);
        struct ak_mock_bucket *bucket = ak_mock_bucket_of(store, fields->bucket, fault);
        code = bucket ? ak_mock_object_publish(bucket, sink, item, condition, &old, fault)
                      : fault->code;
        if (!code && out) {
            *out = ak_mock_item_ref(item);
        }
        ak_mutex_unlock(&store->lock);
    }
    ak_mock_item_unref(code ? item : old);
    ak_mock_sink_drop(sink);
    return code;
}

/* --- Getting, removing --- */

enum ak_mock_code ak_mock_object_get(struct ak_mock_store *store, struct ak_str bucket_name,
                                     struct ak_str key, struct ak_mock_item **out,
                                     struct ak_mock_view *view, struct ak_mock_fault *fault)
{
    enum ak_mock_code code = AK_MOCK_OK;
    ak_mutex_lock(&store->lock);
    struct ak_mock_bucket *bucket = ak_mock_bucket_of(store, bucket_name, fault);
    struct ak_mock_item *item = bucket ? ak_mock_keys_find(&bucket->objects, key) : NULL;
    if (!bucket) {
        code = fault->code;
    } else if (!item) {
        code = ak_mock_fail(fault, AK_MOCK_NoSuchKey, "The specified key does not exist.");
    } else if (view) {
        code = ak_mock_view_open(item, view, fault);
    }
    if (!code) {
        *out = ak_mock_item_ref(item);
    }
    ak_mutex_unlock(&store->lock);
    return code;
}

enum ak_mock_code ak_mock_object_remove(struct ak_mock_store *store, struct ak_str bucket_name,
                                        struct ak_str key,
                                        const struct ak_mock_condition *condition,
                                        struct ak_mock_fault *fault)
{
    struct ak_err err;
    ak_mutex_lock(&store->lock);
    struct ak_mock_bucket *bucket = ak_mock_bucket_of(store, bucket_name, fault);
    struct ak_mock_item *item = bucket ? ak_mock_keys_find(&bucket->objects, key) : NULL;
    enum ak_mock_code code = bucket ? check(condition, item, fault) : fault->code;
    if (!code && item) {
        if (ak_mock_disk_remove(item, &err) != AK_OK) {
            code = ak_mock_fail_rc(fault, &err);
            item = NULL;
        } else {
            (void)ak_mock_keys_remove(&bucket->objects, key);
            store->objects--;
            if (ak_mock_disk_sync(store, "objects", &err) != AK_OK) { /* gone, but may come back */
                ak_mock_item_unref(item);
                code = ak_mock_fail_rc(fault, &err);
            }
        }
    }
    ak_mutex_unlock(&store->lock);
    if (!code) {
        ak_mock_item_unref(item);
    }
    return code;
}

/* --- Listing --- */

/* The smallest string behind all that begin with `group`; empty: there is none. */
static struct ak_str behind_group(struct ak_str group, struct ak_arena *arena)
{
    while (group.len && (unsigned char)group.p[group.len - 1] == 0xff) {
        group.len--;
    }
    if (group.len == 0) {
        return AK_STR("");
    }
    char *copy = ak_arena_alloc(arena, group.len);
    if (!copy) {
        return AK_STR_NONE;
    }
    memcpy(copy, group.p, group.len);
    copy[group.len - 1] = (char)((unsigned char)copy[group.len - 1] + 1);
    return (struct ak_str){copy, group.len};
}

/* The part of the key through the first delimiter behind the prefix; empty: it has none. */
static struct ak_str group_of(struct ak_str key, const struct ak_mock_list_query *query)
{
    struct ak_str rest = ak_str_sub(key, query->prefix.len, SIZE_MAX);
    const char *at = query->delimiter.len && rest.len
                         ? memmem(rest.p, rest.len, query->delimiter.p, query->delimiter.len)
                         : NULL;
    return at ? (struct ak_str){key.p, (size_t)(at - key.p) + query->delimiter.len} : AK_STR("");
}

/* Where the listing begins: behind `after`, and not before the prefix. false: no memory. */
static bool first_place(const struct ak_mock_keys *objects, const struct ak_mock_list_query *query,
                        struct ak_arena *arena, struct ak_mock_keys_cursor *cursor, bool *at_end)
{
    struct ak_str from = query->prefix;
    *at_end = false;
    if (query->after.len && query->after_is_group) {
        struct ak_str behind = behind_group(query->after, arena);
        if (!behind.p) {
            return false;
        }
        *at_end = behind.len == 0;
        from = ak_str_cmp(behind, from) > 0 ? behind : from;
    } else if (ak_str_cmp(query->after, from) >= 0 && query->after.len) {
        *cursor = ak_mock_keys_seek(objects, query->after);
        struct ak_mock_keys_cursor ahead = *cursor;
        const struct ak_mock_item *item = ak_mock_keys_next(objects, &ahead);
        if (item && ak_str_eq(item->key, query->after)) {
            *cursor = ahead;
        }
        return true;
    }
    *cursor = ak_mock_keys_seek(objects, from);
    return true;
}

static enum ak_mock_code collect(const struct ak_mock_keys *objects,
                                 const struct ak_mock_list_query *query, struct ak_arena *arena,
                                 struct ak_mock_list *list, struct ak_mock_fault *fault)
{
    struct ak_mock_keys_cursor cursor;
    struct ak_mock_item *item;
    bool at_end = false;
    bool ok = first_place(objects, query, arena, &cursor, &at_end);
    while (ok && !at_end && (item = ak_mock_keys_next(objects, &cursor)) &&
           ak_str_has_prefix(item->key, query->prefix)) {
        if (list->count == query->max) {
            list->is_truncated = query->max > 0;
            break;
        }
        struct ak_mock_list_entry *entry = &list->entries[list->count];
        struct ak_str group = group_of(item->key, query);
        if (!group.len) {
            *entry = (struct ak_mock_list_entry){ak_mock_item_ref(item), item->key};
            list->count++;
            continue;
        }
        entry->item = NULL;
        entry->name = ak_arena_str(arena, group);
        struct ak_str behind = behind_group(group, arena);
        ok = entry->name.p && behind.p;
        list->count += ok;
        at_end = behind.len == 0;
        cursor = ak_mock_keys_seek(objects, behind);
    }
    return ok ? AK_MOCK_OK : ak_mock_fail(fault, AK_MOCK_SlowDown, "no memory for the list");
}

enum ak_mock_code ak_mock_object_list(struct ak_mock_store *store, struct ak_str bucket_name,
                                      const struct ak_mock_list_query *query,
                                      struct ak_arena *arena, struct ak_mock_list *list,
                                      struct ak_mock_fault *fault)
{
    AK_ASSERT(query->max <= AK_MOCK_LIST_MAX);
    *list = (struct ak_mock_list){0};
    list->entries = ak_arena_alloc(arena, (query->max + 1) * sizeof *list->entries);
    if (!list->entries) {
        return ak_mock_fail(fault, AK_MOCK_SlowDown, "no memory for the list");
    }
    ak_mutex_lock(&store->lock);
    const struct ak_mock_bucket *bucket = ak_mock_bucket_of(store, bucket_name, fault);
    enum ak_mock_code code =
        bucket ? collect(&bucket->objects, query, arena, list, fault) : fault->code;
    ak_mutex_unlock(&store->lock);
    if (code) {
        ak_mock_list_release(list);
    }
    return code;
}

void ak_mock_list_release(struct ak_mock_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        ak_mock_item_unref(list->entries[i].item);
    }
    list->count = 0;
}
