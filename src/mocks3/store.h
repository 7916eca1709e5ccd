/* store.h — buckets, objects and multipart uploads, in memory or below a folder.
 *
 * Atomic:  an object is seen whole or not at all; a condition is checked and the object put in one
 *          step.
 * Kept:    below a folder, what a call has answered is there after kill -9 and a restart (not
 *          after a power cut: nothing is synced, this is a server for tests).
 * Threads: any call, from any thread; a sink belongs to one at a time.
 * Memory:  items are shared and never change; who gets one gives it back with
 *          ak_mock_item_unref().
 */
#pragma once
#include "base/arena.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "mocks3/fault.h"
#include <stdatomic.h>

#define AK_MOCK_KEY_MAX 1024u
#define AK_MOCK_BUCKETS_MAX 1000u
#define AK_MOCK_LIST_MAX 1000u
#define AK_MOCK_PART_MIN (5u << 20) /* of all parts but the last */
#define AK_MOCK_UPLOAD_ID_LEN 36u

struct ak_mock_store;

struct ak_mock_store_options {
    const char *root;   /* NULL: memory */
    uint64_t bytes_max; /* of all objects and parts, unfinished ones too */
    const struct ak_clock *clock;
    struct ak_fs *fs;
    struct ak_log *log;
};

/* AK_CORRUPT names the damaged file; AK_CONFLICT: another process has the folder. */
AK_MUST enum ak_rc ak_mock_store_open(const struct ak_mock_store_options *options,
                                      struct ak_mock_store **store, struct ak_err *err);
/* NULL is fine. No item may be held. */
void ak_mock_store_close(struct ak_mock_store *store);

/* --- Items: an object, a part, or the head of an upload --- */
struct ak_mock_item {
    struct ak_str key;
    struct ak_str bucket;
    struct ak_str etag;    /* without quotes */
    struct ak_str headers; /* "Name: value\r\n…": what a GET gives back */
    struct ak_str sums;    /* the same, of x-amz-checksum-… */
    struct ak_str file;    /* below the root; empty in memory */
    uint64_t size;
    int64_t modified_us;
    struct ak_mock_store *store;
    char *data; /* in memory */
    _Atomic unsigned refs;
    char text[];
};
void ak_mock_item_unref(struct ak_mock_item *item); /* NULL is fine */

/* The bytes of an item, and the item with them. */
struct ak_mock_view {
    struct ak_str bytes;
    struct ak_mock_item *item;
    void *map;
};
/* InternalError when the file is gone: the item was replaced meanwhile. Takes its own reference. */
AK_MUST enum ak_mock_code ak_mock_view_open(struct ak_mock_item *item, struct ak_mock_view *view,
                                            struct ak_mock_fault *fault);
void ak_mock_view_release(struct ak_mock_view *view); /* idempotent */

/* --- Writing --- */
struct ak_mock_sink { /* bytes on their way to become an item */
    struct ak_mock_store *store;
    char *p;
    size_t len;
    size_t cap;
    struct ak_file *file;
    uint64_t flushed;  /* bytes in the file */
    uint64_t size;     /* bytes given */
    uint64_t reserved; /* counted against bytes_max */
    uint64_t number;   /* of the temporary file; 0: none */
};
void ak_mock_sink_init(struct ak_mock_sink *sink, struct ak_mock_store *store);
/* `expected`: bytes that are likely to come, this one's included; 0: unknown. */
AK_MUST enum ak_mock_code ak_mock_sink_write(struct ak_mock_sink *sink, struct ak_str bytes,
                                             uint64_t expected, struct ak_mock_fault *fault);
void ak_mock_sink_drop(struct ak_mock_sink *sink); /* idempotent; fine on zeroes */

struct ak_mock_fields { /* all borrowed */
    struct ak_str bucket;
    struct ak_str key;
    struct ak_str etag;
    struct ak_str headers;
    struct ak_str sums;
};
struct ak_mock_condition { /* zero: none */
    bool if_absent;
    struct ak_str if_match; /* an ETag without quotes, or "*" */
};

/* --- Buckets --- */
AK_MUST enum ak_mock_code ak_mock_bucket_create(struct ak_mock_store *store, struct ak_str name,
                                                struct ak_str region, struct ak_mock_fault *fault);
AK_MUST enum ak_mock_code ak_mock_bucket_remove(struct ak_mock_store *store, struct ak_str name,
                                                struct ak_mock_fault *fault);
/* Its region into the arena (empty: the default one); arena NULL: is it there? */
AK_MUST enum ak_mock_code ak_mock_bucket_find(struct ak_mock_store *store, struct ak_str name,
                                              struct ak_arena *arena, struct ak_str *region,
                                              struct ak_mock_fault *fault);
struct ak_mock_bucket_row {
    struct ak_str name;
    int64_t created_us;
};
AK_MUST enum ak_mock_code ak_mock_bucket_list(struct ak_mock_store *store, struct ak_arena *arena,
                                              struct ak_mock_bucket_row **rows, size_t *count,
                                              struct ak_mock_fault *fault);

/* --- Objects --- */
/* The sink's bytes become the object; the sink is empty afterwards. *item (may be NULL): a
 * reference. */
AK_MUST enum ak_mock_code ak_mock_object_put(struct ak_mock_store *store, struct ak_mock_sink *sink,
                                             const struct ak_mock_fields *fields,
                                             const struct ak_mock_condition *condition,
                                             struct ak_mock_item **item,
                                             struct ak_mock_fault *fault);
/* *view (may be NULL) is opened with it. */
AK_MUST enum ak_mock_code ak_mock_object_get(struct ak_mock_store *store, struct ak_str bucket,
                                             struct ak_str key, struct ak_mock_item **item,
                                             struct ak_mock_view *view,
                                             struct ak_mock_fault *fault);
/* One that is not there is AK_MOCK_OK, unless `condition` asks for a match. */
AK_MUST enum ak_mock_code ak_mock_object_remove(struct ak_mock_store *store, struct ak_str bucket,
                                                struct ak_str key,
                                                const struct ak_mock_condition *condition,
                                                struct ak_mock_fault *fault);

struct ak_mock_list_query {
    struct ak_str prefix;
    struct ak_str delimiter;
    struct ak_str after; /* keys behind this one */
    bool after_is_group; /* and behind all that begin with it */
    size_t max;          /* ≤ AK_MOCK_LIST_MAX */
};
struct ak_mock_list_entry {
    struct ak_mock_item *item; /* NULL: a group of keys */
    struct ak_str name;        /* the key, or what the group's keys have in common */
};
struct ak_mock_list {
    struct ak_mock_list_entry *entries;
    size_t count;
    bool is_truncated;
};
/* In order. Everything in the arena but the references, which ak_mock_list_release() gives back. */
AK_MUST enum ak_mock_code ak_mock_object_list(struct ak_mock_store *store, struct ak_str bucket,
                                              const struct ak_mock_list_query *query,
                                              struct ak_arena *arena, struct ak_mock_list *list,
                                              struct ak_mock_fault *fault);
void ak_mock_list_release(struct ak_mock_list *list);

/* --- Uploads: `sums` of the head is the algorithm and type lines that Create was given --- */
AK_MUST enum ak_mock_code ak_mock_upload_create(struct ak_mock_store *store,
                                                const struct ak_mock_fields *fields,
                                                char id[AK_MOCK_UPLOAD_ID_LEN + 1],
                                                struct ak_mock_fault *fault);
/* The head of an upload (a reference). NoSuchUpload. */
AK_MUST enum ak_mock_code ak_mock_upload_get(struct ak_mock_store *store, struct ak_str bucket,
                                             struct ak_str key, struct ak_str id,
                                             struct ak_mock_item **head,
                                             struct ak_mock_fault *fault);
AK_MUST enum ak_mock_code ak_mock_part_put(struct ak_mock_store *store, struct ak_mock_sink *sink,
                                           struct ak_str id, unsigned number,
                                           const struct ak_mock_fields *fields,
                                           struct ak_mock_fault *fault);
struct ak_mock_part {
    unsigned number;
    struct ak_mock_item *item;
};
/* All parts, by number, in the arena; each with a reference. */
AK_MUST enum ak_mock_code ak_mock_part_list(struct ak_mock_store *store, struct ak_str bucket,
                                            struct ak_str key, struct ak_str id,
                                            struct ak_arena *arena, struct ak_mock_part **parts,
                                            size_t *count, struct ak_mock_fault *fault);
void ak_mock_part_list_release(struct ak_mock_part *parts, size_t count);
/* As ak_mock_object_put(), and the upload is gone. */
AK_MUST enum ak_mock_code ak_mock_upload_complete(struct ak_mock_store *store,
                                                  struct ak_mock_sink *sink, struct ak_str id,
                                                  const struct ak_mock_fields *fields,
                                                  const struct ak_mock_condition *condition,
                                                  struct ak_mock_item **item,
                                                  struct ak_mock_fault *fault);
AK_MUST enum ak_mock_code ak_mock_upload_abort(struct ak_mock_store *store, struct ak_str bucket,
                                               struct ak_str key, struct ak_str id,
                                               struct ak_mock_fault *fault);
struct ak_mock_upload_row {
    struct ak_str key;
    struct ak_str id;
    int64_t created_us;
};
/* Up to `max` uploads behind (after_key, after_id) whose keys begin with `prefix`; in the arena. */
AK_MUST enum ak_mock_code ak_mock_upload_list(struct ak_mock_store *store, struct ak_str bucket,
                                              struct ak_str prefix, struct ak_str after_key,
                                              struct ak_str after_id, size_t max,
                                              struct ak_arena *arena,
                                              struct ak_mock_upload_row **rows, size_t *count,
                                              bool *is_truncated, struct ak_mock_fault *fault);

struct ak_mock_usage {
    uint64_t buckets;
    uint64_t objects;
    uint64_t uploads;
    uint64_t parts;
    uint64_t bytes; /* of objects, parts, and what is being received */
};
void ak_mock_store_usage(struct ak_mock_store *store, struct ak_mock_usage *usage);
