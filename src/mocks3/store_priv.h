/* store_priv.h — the store as its files see it: store.c, store_item.c, store_upload.c,
 * store_disk.c.
 */
#pragma once
#include "base/sync.h"
#include "base/uuid.h"
#include "mocks3/keys.h"
#include "mocks3/store.h"

#define AK_MOCK_PATH_MAX 4200u

struct ak_mock_bucket {
    struct ak_str name; /* first: ak_mock_keys */
    int64_t created_us;
    struct ak_mock_keys objects; /* of struct ak_mock_item */
    struct ak_mock_keys uploads; /* of struct ak_mock_upload */
    struct ak_str region;
    char text[];
};

struct ak_mock_upload {
    struct ak_str name; /* first: the key, a NUL, the id */
    struct ak_str id;
    struct ak_mock_item *head;
    struct ak_mock_part *parts; /* by number */
    size_t part_count;
    size_t part_cap;
    char text[];
};

struct ak_mock_store {
    struct ak_mutex lock; /* buckets and all below them, and names of files */
    struct ak_mock_keys buckets;
    char *root; /* NULL: memory */
    struct ak_fs *fs;
    struct ak_file *lock_file;
    const struct ak_clock *clock;
    struct ak_log *log;
    struct ak_uuid_maker ids;
    uint64_t bytes_max;
    uint64_t next_file; /* under the lock */
    uint64_t objects;
    uint64_t uploads;
    uint64_t parts;
    _Atomic uint64_t next_temporary;
    _Atomic uint64_t bytes;
};

/* --- store_item.c --- */
/* An item of these fields, not yet filled; one reference. NULL: no memory. */
struct ak_mock_item *ak_mock_item_new(struct ak_mock_store *store,
                                      const struct ak_mock_fields *fields);
struct ak_mock_item *ak_mock_item_ref(struct ak_mock_item *item);
/* The sink's bytes go to the item; below a folder, they and the fields are in the temporary file.
 */
AK_MUST enum ak_mock_code ak_mock_sink_finish(struct ak_mock_sink *sink, struct ak_mock_item *item,
                                              struct ak_mock_fault *fault);
/* Under the lock: give the finished sink's file the name `file` (it is copied to the item). */
AK_MUST enum ak_mock_code ak_mock_sink_publish(struct ak_mock_sink *sink, struct ak_mock_item *item,
                                               const char *file, struct ak_mock_fault *fault);

/* --- store.c --- */
struct ak_mock_bucket *ak_mock_bucket_of(struct ak_mock_store *store, struct ak_str name,
                                         struct ak_mock_fault *fault); /* NULL: NoSuchBucket */
AK_MUST enum ak_rc ak_mock_bucket_add(struct ak_mock_store *store, struct ak_str name,
                                      struct ak_str region, int64_t created_us,
                                      struct ak_mock_bucket **bucket, struct ak_err *err);
/* Under the lock; `item` is finished and becomes the bucket's. */
AK_MUST enum ak_mock_code
ak_mock_object_publish(struct ak_mock_bucket *bucket, struct ak_mock_sink *sink,
                       struct ak_mock_item *item, const struct ak_mock_condition *condition,
                       struct ak_mock_item **old, struct ak_mock_fault *fault);

/* --- store_upload.c --- */
void ak_mock_upload_free(struct ak_mock_upload *upload);
/* Under the lock: the upload leaves its bucket and its files go; the caller frees it. */
void ak_mock_upload_detach(struct ak_mock_bucket *bucket, struct ak_mock_upload *upload);
AK_MUST enum ak_rc ak_mock_upload_add(struct ak_mock_bucket *bucket, struct ak_mock_item *head,
                                      struct ak_str id, struct ak_mock_upload **upload,
                                      struct ak_err *err);
/* Takes `item`; *old is what had the number. */
AK_MUST enum ak_rc ak_mock_upload_set_part(struct ak_mock_upload *upload, unsigned number,
                                           struct ak_mock_item *item, struct ak_mock_item **old,
                                           struct ak_err *err);
struct ak_mock_upload *ak_mock_upload_of(struct ak_mock_bucket *bucket, struct ak_str key,
                                         struct ak_str id);

/* --- store_disk.c: nothing to do in memory --- */
AK_MUST enum ak_rc ak_mock_disk_open(struct ak_mock_store *store, struct ak_err *err);
AK_MUST enum ak_rc ak_mock_disk_load(struct ak_mock_store *store, struct ak_err *err);
/* "<root>/<folder>/<name>"; false: too long. */
AK_MUST bool ak_mock_disk_path(const struct ak_mock_store *store, char path[AK_MOCK_PATH_MAX],
                               const char *file);
void ak_mock_disk_temporary(uint64_t number, char file[64]);
/* What stands behind the data in an item's file. */
void ak_mock_disk_put_tail(struct ak_buf *out, const struct ak_mock_item *item);
AK_MUST enum ak_rc ak_mock_disk_add_bucket(struct ak_mock_store *store,
                                           const struct ak_mock_bucket *bucket, struct ak_err *err);
AK_MUST enum ak_rc ak_mock_disk_remove_bucket(struct ak_mock_store *store, struct ak_str name,
                                              struct ak_err *err);
/* The names of a folder ("objects") are durable. */
AK_MUST enum ak_rc ak_mock_disk_sync(const struct ak_mock_store *store, const char *folder,
                                     struct ak_err *err);
/* Remove an item's file, if it has one; durable after the next sync of its folder. */
AK_MUST enum ak_rc ak_mock_disk_remove(const struct ak_mock_item *item, struct ak_err *err);
