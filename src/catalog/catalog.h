/* catalog.h — the node's directory, in SQLite: collections, checkpoints, tiny images, settings.
 *
 * The catalog is the truth about what exists: an image file, or a log record, that it does not name
 * is garbage. Every call that changes something is durable when it returns (WAL mode, synchronous
 * FULL); concurrent changes share transactions (group commit by the first waiter).
 *
 * The database is reached through base/file.h (own SQLite VFS, exclusive locking, no shared
 * memory), so power-cut and full-disk tests cover it. Schema: numbered migrations in
 * catalog_schema.c.
 *
 * Threads: any call from any thread. Memory: rows given to callbacks are borrowed for the callback.
 */
#pragma once
#include "base/file.h"
#include "base/log.h"
#include "model/collection.h"

struct ak_catalog;

AK_MUST enum ak_rc ak_catalog_open(struct ak_fs *fs, const char *path, struct ak_log *log,
                                   struct ak_catalog **catalog, struct ak_err *err);
void ak_catalog_close(struct ak_catalog *catalog); /* NULL is fine */

/* What a checkpoint left behind. generation 0: never checkpointed, everything is in the log. */
struct ak_checkpoint {
    uint64_t generation;
    uint64_t lsn; /* records of this collection below it are in the image */
    uint64_t documents;
    uint64_t image_bytes;
    bool tiny; /* the image is a blob in the catalog, not a file */
};

struct ak_catalog_row {
    struct ak_collection_info info;
    struct ak_checkpoint checkpoint;
};

typedef enum ak_rc (*ak_catalog_row_fn)(void *ctx, const struct ak_catalog_row *row,
                                        struct ak_err *err);
/* Every collection, ordered by name. 100,000 rows take about 0.1 s. A failure of fn stops it. */
AK_MUST enum ak_rc ak_catalog_each(struct ak_catalog *catalog, ak_catalog_row_fn fn, void *ctx,
                                   struct ak_err *err);

/* AK_EXISTS when the name is taken. */
AK_MUST enum ak_rc ak_catalog_create(struct ak_catalog *catalog,
                                     const struct ak_collection_info *info, struct ak_err *err);
/* Row and tiny image go. AK_NOT_FOUND. */
AK_MUST enum ak_rc ak_catalog_delete(struct ak_catalog *catalog, const struct ak_uuid *id,
                                     struct ak_err *err);

struct ak_checkpoint_commit {
    struct ak_uuid id;
    struct ak_checkpoint checkpoint;
    struct ak_str blob; /* the tiny image; used when checkpoint.tiny */
};
/* All of them in one transaction; a collection that is gone meanwhile is skipped. Replaces the
 * former tiny image, or removes it when the new image is a file. */
AK_MUST enum ak_rc ak_catalog_checkpoint(struct ak_catalog *catalog,
                                         const struct ak_checkpoint_commit *commits, size_t count,
                                         struct ak_err *err);
/* Append the tiny image's bytes. AK_NOT_FOUND when there is none. */
AK_MUST enum ak_rc ak_catalog_tiny(struct ak_catalog *catalog, const struct ak_uuid *id,
                                   struct ak_buf *out, struct ak_err *err);

/* Settings of the node by name: "wal_from" and the like. */
AK_MUST enum ak_rc ak_catalog_set(struct ak_catalog *catalog, const char *name, uint64_t value,
                                  struct ak_err *err);
/* `absent` when it was never set. */
AK_MUST enum ak_rc ak_catalog_get(struct ak_catalog *catalog, const char *name, uint64_t absent,
                                  uint64_t *value, struct ak_err *err);
/* SQLite's own integrity check: AK_CORRUPT with its first finding. */
AK_MUST enum ak_rc ak_catalog_check(struct ak_catalog *catalog, struct ak_err *err);
const char *ak_catalog_sqlite_version(void); /* of the library in use: "3.40.1" */
