/* store_upload.c — multipart uploads.
 *
 * An upload is listed in its bucket under "key NUL id": by key, then by age, since ids are UUIDs of
 * version 7. Below a folder its head is uploads/<id>, and each part uploads/<id>.<number>.<file>;
 * of two with one number, which a kill can leave, the later file counts.
 */
#include "base/mem.h"
#include "mocks3/store_priv.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* --- The structure --- */

void ak_mock_upload_free(struct ak_mock_upload *upload)
{
    for (size_t i = 0; i < upload->part_count; i++) {
        ak_mock_item_unref(upload->parts[i].item);
    }
    ak_mock_item_unref(upload->head);
    ak_free(upload->parts);
    ak_free(upload);
}

static void remove_file(const struct ak_mock_item *item)
{
    struct ak_err err;
    if (ak_mock_disk_remove(item, &err) != AK_OK) {
        ak_log_warn(item->store->log, "mock-s3", "a file of an upload that is over stays: %s",
                    err.text);
    }
}

/* The head goes first: parts without one are swept away at a start. */
void ak_mock_upload_detach(struct ak_mock_bucket *bucket, struct ak_mock_upload *upload)
{
    struct ak_mock_store *store = upload->head->store;
    (void)ak_mock_keys_remove(&bucket->uploads, upload->name);
    store->uploads--;
    store->parts -= upload->part_count;
    remove_file(upload->head);
    for (size_t i = 0; i < upload->part_count; i++) {
        remove_file(upload->parts[i].item);
    }
    struct ak_err err;
    if (ak_mock_disk_sync(store, "uploads", &err) != AK_OK) {
        ak_log_warn(store->log, "mock-s3", "an upload that is over may be there again: %s",
                    err.text);
    }
}

enum ak_rc ak_mock_upload_add(struct ak_mock_bucket *bucket, struct ak_mock_item *head,
                              struct ak_str id, struct ak_mock_upload **out, struct ak_err *err)
{
    void *old = NULL;
    size_t len = head->key.len + 1 + id.len;
    struct ak_mock_upload *upload = ak_try_zalloc(sizeof *upload + len);
    if (!upload) {
        return ak_fail(err, AK_NOMEM, "no memory for an upload");
    }
    memcpy(upload->text, head->key.p, head->key.len);
    memcpy(upload->text + head->key.len + 1, id.p, id.len);
    upload->name = (struct ak_str){upload->text, len};
    upload->id = ak_str_sub(upload->name, head->key.len + 1, SIZE_MAX);
    enum ak_rc rc = ak_mock_keys_put(&bucket->uploads, upload, &old, err);
    if (rc != AK_OK) {
        ak_free(upload);
        return rc;
    }
    AK_ASSERT(!old); /* ids are unique */
    upload->head = head;
    head->store->uploads++;
    *out = upload;
    return AK_OK;
}

/* The first place whose number is ≥ `number`. */
static size_t place_of(const struct ak_mock_upload *upload, unsigned number)
{
    size_t low = 0;
    size_t high = upload->part_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (upload->parts[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

enum ak_rc ak_mock_upload_set_part(struct ak_mock_upload *upload, unsigned number,
                                   struct ak_mock_item *item, struct ak_mock_item **old,
                                   struct ak_err *err)
{
    size_t at = place_of(upload, number);
    if (at < upload->part_count && upload->parts[at].number == number) {
        *old = upload->parts[at].item;
        upload->parts[at].item = item;
        return AK_OK;
    }
    if (upload->part_count == upload->part_cap) {
        size_t cap = upload->part_cap ? 2 * upload->part_cap : 8;
        struct ak_mock_part *grown = ak_try_realloc(upload->parts, cap * sizeof *grown);
        if (!grown) {
            return ak_fail(err, AK_NOMEM, "no memory for one more part");
        }
        upload->parts = grown;
        upload->part_cap = cap;
    }
    memmove(upload->parts + at + 1, upload->parts + at,
            (upload->part_count - at) * sizeof *upload->parts);
    upload->parts[at] = (struct ak_mock_part){number, item};
    upload->part_count++;
    item->store->parts++;
    *old = NULL;
    return AK_OK;
}

#define NAME_ROOM (AK_MOCK_KEY_MAX + 1 + AK_MOCK_UPLOAD_ID_LEN)

/* "key NUL id"; false: longer than any that is there. */
static bool name_of(struct ak_str key, struct ak_str id, char name[NAME_ROOM], size_t *len)
{
    if (key.len > AK_MOCK_KEY_MAX || id.len > AK_MOCK_UPLOAD_ID_LEN) {
        return false;
    }
    if (key.len) {
        memcpy(name, key.p, key.len);
    }
    name[key.len] = '\0';
    if (id.len) {
        memcpy(name + key.len + 1, id.p, id.len);
    }
    *len = key.len + 1 + id.len;
    return true;
}

struct ak_mock_upload *ak_mock_upload_of(struct ak_mock_bucket *bucket, struct ak_str key,
                                         struct ak_str id)
{
    char name[NAME_ROOM];
    size_t len = 0;
    return name_of(key, id, name, &len)
               ? ak_mock_keys_find(&bucket->uploads, (struct ak_str){name, len})
               : NULL;
}

/* NULL: NoSuchBucket or NoSuchUpload. */
static struct ak_mock_upload *find(struct ak_mock_store *store, struct ak_str bucket_name,
                                   struct ak_str key, struct ak_str id,
                                   struct ak_mock_bucket **bucket, struct ak_mock_fault *fault)
{
    *bucket = ak_mock_bucket_of(store, bucket_name, fault);
    if (!*bucket) {
        return NULL;
    }
    struct ak_mock_upload *upload = ak_mock_upload_of(*bucket, key, id);
    if (!upload) {
        (void)ak_mock_fail(fault, AK_MOCK_NoSuchUpload,
                           "The specified upload does not exist. The upload ID may be invalid, or "
                           "the upload may have been aborted or completed.");
    }
    return upload;
}

/* --- Beginning and ending --- */

enum ak_mock_code ak_mock_upload_create(struct ak_mock_store *store,
                                        const struct ak_mock_fields *fields,
                                        char id[AK_MOCK_UPLOAD_ID_LEN + 1],
                                        struct ak_mock_fault *fault)
{
    struct ak_mock_sink sink;
    struct ak_mock_upload *upload = NULL;
    struct ak_err err;
    char file[96];
    struct ak_uuid uuid = ak_uuid_make(&store->ids);
    ak_uuid_format(&uuid, id);
    id[AK_MOCK_UPLOAD_ID_LEN] = '\0';
    struct ak_mock_item *head = ak_mock_item_new(store, fields);
    if (!head) {
        return ak_mock_fail(fault, AK_MOCK_SlowDown, "no memory for the upload");
    }
    ak_mock_sink_init(&sink, store);
    enum ak_mock_code code = ak_mock_sink_finish(&sink, head, fault);
    if (!code) {
        ak_mutex_lock(&store->lock);
        struct ak_mock_bucket *bucket = ak_mock_bucket_of(store, fields->bucket, fault);
        code = bucket ? AK_MOCK_OK : fault->code;
        (void)snprintf(file, sizeof file, "uploads/%s", id);
        code = code ? code : ak_mock_sink_publish(&sink, head, file, fault);
        if (!code && ak_mock_upload_add(bucket, head, ak_str_of(id), &upload, &err) != AK_OK) {
            remove_file(head);
            code = ak_mock_fail_rc(fault, &err);
        }
        ak_mutex_unlock(&store->lock);
    }
    if (code) {
        ak_mock_item_unref(head);
    }
    ak_mock_sink_drop(&sink);
    return code;
}

enum ak_mock_code ak_mock_upload_get(struct ak_mock_store *store, struct ak_str bucket_name,
                                     struct ak_str key, struct ak_str id,
                                     struct ak_mock_item **head, struct ak_mock_fault *fault)
{
    struct ak_mock_bucket *bucket;
    ak_mutex_lock(&store->lock);
    struct ak_mock_upload *upload = find(store, bucket_name, key, id, &bucket, fault);
    if (upload) {
        *head = ak_mock_item_ref(upload->head);
    }
    ak_mutex_unlock(&store->lock);
    return upload ? AK_MOCK_OK : fault->code;
}

enum ak_mock_code ak_mock_upload_abort(struct ak_mock_store *store, struct ak_str bucket_name,
                                       struct ak_str key, struct ak_str id,
                                       struct ak_mock_fault *fault)
{
    struct ak_mock_bucket *bucket;
    ak_mutex_lock(&store->lock);
    struct ak_mock_upload *upload = find(store, bucket_name, key, id, &bucket, fault);
    if (upload) {
        ak_mock_upload_detach(bucket, upload);
    }
    ak_mutex_unlock(&store->lock);
    if (!upload) {
        return fault->code;
    }
    ak_mock_upload_free(upload);
    return AK_MOCK_OK;
}

enum ak_mock_code ak_mock_upload_complete(struct ak_mock_store *store, struct ak_mock_sink *sink,
                                          struct ak_str id, const struct ak_mock_fields *fields,
                                          const struct ak_mock_condition *condition,
                                          struct ak_mock_item **out, struct ak_mock_fault *fault)
{
    struct ak_mock_bucket *bucket;
    struct ak_mock_upload *upload = NULL;
    struct ak_mock_item *old = NULL;
    struct ak_mock_item *item = ak_mock_item_new(store, fields);
    if (!item) {
        ak_mock_sink_drop(sink);
        return ak_mock_fail(fault, AK_MOCK_SlowDown, "no memory for the object");
    }
    enum ak_mock_code code = ak_mock_sink_finish(sink, item, fault);
    if (!code) {
        ak_mutex_lock(&store->lock);
        upload = find(store, fields->bucket, fields->key, id, &bucket, fault);
        code = upload ? ak_mock_object_publish(bucket, sink, item, condition, &old, fault)
                      : fault->code;
        if (!code) {
            *out = ak_mock_item_ref(item);
            ak_mock_upload_detach(bucket, upload);
        }
        ak_mutex_unlock(&store->lock);
    }
    if (!code) {
        ak_mock_upload_free(upload);
    }
    ak_mock_item_unref(code ? item : old);
    ak_mock_sink_drop(sink);
    return code;
}

/* --- Parts --- */

/* Under the lock. */
static enum ak_mock_code publish_part(struct ak_mock_upload *upload, unsigned number,
                                      struct ak_mock_sink *sink, struct ak_mock_item *item,
                                      struct ak_mock_item **old, struct ak_mock_fault *fault)
{
    char file[96];
    struct ak_err err;
    (void)snprintf(file, sizeof file, "uploads/%.*s.%u.%016" PRIx64, AK_STR_ARG(upload->id), number,
                   item->store->next_file++);
    enum ak_mock_code code = ak_mock_sink_publish(sink, item, file, fault);
    if (code) {
        return code;
    }
    if (ak_mock_upload_set_part(upload, number, item, old, &err) != AK_OK) {
        remove_file(item);
        return ak_mock_fail_rc(fault, &err);
    }
    if (*old) {
        remove_file(*old);
    }
    return AK_MOCK_OK;
}

enum ak_mock_code ak_mock_part_put(struct ak_mock_store *store, struct ak_mock_sink *sink,
                                   struct ak_str id, unsigned number,
                                   const struct ak_mock_fields *fields, struct ak_mock_fault *fault)
{
    struct ak_mock_bucket *bucket;
    struct ak_mock_item *old = NULL;
    struct ak_mock_item *item = ak_mock_item_new(store, fields);
    if (!item) {
        ak_mock_sink_drop(sink);
        return ak_mock_fail(fault, AK_MOCK_SlowDown, "no memory for the part");
    }
    enum ak_mock_code code = ak_mock_sink_finish(sink, item, fault);
    if (!code) {
        ak_mutex_lock(&store->lock);
        struct ak_mock_upload *upload =
            find(store, fields->bucket, fields->key, id, &bucket, fault);
        code = upload ? publish_part(upload, number, sink, item, &old, fault) : fault->code;
        ak_mutex_unlock(&store->lock);
    }
    ak_mock_item_unref(code ? item : old);
    ak_mock_sink_drop(sink);
    return code;
}

enum ak_mock_code ak_mock_part_list(struct ak_mock_store *store, struct ak_str bucket_name,
                                    struct ak_str key, struct ak_str id, struct ak_arena *arena,
                                    struct ak_mock_part **parts, size_t *count,
                                    struct ak_mock_fault *fault)
{
    struct ak_mock_bucket *bucket;
    enum ak_mock_code code = AK_MOCK_OK;
    ak_mutex_lock(&store->lock);
    const struct ak_mock_upload *upload = find(store, bucket_name, key, id, &bucket, fault);
    if (!upload) {
        code = fault->code;
    } else {
        *parts = ak_arena_alloc(arena, (upload->part_count + 1) * sizeof **parts);
        if (!*parts) {
            code = ak_mock_fail(fault, AK_MOCK_SlowDown, "no memory for the list");
        }
    }
    if (!code) {
        AK_ASSERT(*parts);
        *count = upload->part_count;
        for (size_t i = 0; i < upload->part_count; i++) {
            (*parts)[i] = upload->parts[i];
            (void)ak_mock_item_ref(upload->parts[i].item);
        }
    }
    ak_mutex_unlock(&store->lock);
    return code;
}

void ak_mock_part_list_release(struct ak_mock_part *parts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ak_mock_item_unref(parts[i].item);
    }
}

/* --- Listing --- */

static bool add_row(const struct ak_mock_upload *upload, struct ak_arena *arena,
                    struct ak_mock_upload_row *row)
{
    *row = (struct ak_mock_upload_row){
        .key = ak_arena_str(arena, upload->head->key),
        .id = ak_arena_str(arena, upload->id),
        .created_us = upload->head->modified_us,
    };
    return row->key.p && row->id.p;
}

/* Behind (after_key, after_id); without an id, behind all of the key's. */
static bool is_behind(const struct ak_mock_upload *upload, struct ak_str after_key,
                      struct ak_str after_id)
{
    int order = ak_str_cmp(upload->head->key, after_key);
    return after_key.len == 0 || order > 0 ||
           (order == 0 && after_id.len && ak_str_cmp(upload->id, after_id) > 0);
}

enum ak_mock_code ak_mock_upload_list(struct ak_mock_store *store, struct ak_str bucket_name,
                                      struct ak_str prefix, struct ak_str after_key,
                                      struct ak_str after_id, size_t max, struct ak_arena *arena,
                                      struct ak_mock_upload_row **rows, size_t *count,
                                      bool *is_truncated, struct ak_mock_fault *fault)
{
    const struct ak_mock_upload *upload;
    *count = 0;
    *is_truncated = false;
    *rows = ak_arena_alloc(arena, (max + 1) * sizeof **rows);
    if (!*rows) {
        return ak_mock_fail(fault, AK_MOCK_SlowDown, "no memory for the list");
    }
    ak_mutex_lock(&store->lock);
    struct ak_mock_bucket *bucket = ak_mock_bucket_of(store, bucket_name, fault);
    enum ak_mock_code code = bucket ? AK_MOCK_OK : fault->code;
    struct ak_str from = ak_str_cmp(after_key, prefix) > 0 ? after_key : prefix;
    struct ak_mock_keys_cursor cursor =
        bucket ? ak_mock_keys_seek(&bucket->uploads, from) : (struct ak_mock_keys_cursor){0, 0};
    while (!code && (upload = ak_mock_keys_next(&bucket->uploads, &cursor)) &&
           ak_str_has_prefix(upload->head->key, prefix)) {
        if (!is_behind(upload, after_key, after_id)) {
            continue;
        }
        if (*count == max) {
            *is_truncated = max > 0;
            break;
        }
        if (!add_row(upload, arena, &(*rows)[*count])) {
            code = ak_mock_fail(fault, AK_MOCK_SlowDown, "no memory for the list");
        }
        (*count)++;
    }
    ak_mutex_unlock(&store->lock);
    return code;
}
