/* catalog.h — the node's directory, in SQLite: collections, checkpoints, tiny images, settings,
 * jobs.
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
#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"
#include "model/collection.h"
#include "model/tier.h"

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
    /* The LSN inside the image: the same, unless the image was adopted, from another node or time.
     */
    uint64_t image_lsn;
};

/* Where a collection lives, and what is known of its use. */
struct ak_catalog_tier {
    enum ak_tier tier;
    bool pinned;
    int64_t since_us;       /* in its tier since; 0: since it was created */
    int64_t last_access_us; /* as of the last flush; 0: never */
    int64_t window_from_us; /* the manager's: so many accesses were counted since then */
    uint32_t window_accesses;
    struct ak_tier_overrides rules;
    /* The state of image generation cover_generation is in this snapshot, lossless and with its
     * image; nil: none is known. A COLD collection lives there. */
    struct ak_uuid cover;
    uint64_t cover_generation;
};

struct ak_catalog_row {
    struct ak_collection_info info;
    struct ak_checkpoint checkpoint;
    struct ak_catalog_tier tier;
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
/* An image that came from elsewhere becomes a collection's state. */
struct ak_catalog_adoption {
    const struct ak_catalog_row *row; /* the image is a file */
    bool create;                      /* a new row; else the present one gets the checkpoint */
    const struct ak_uuid *job;        /* or NULL: its row is at `job_step` from the same moment */
    uint32_t job_step;
};
/* One transaction: the row's checkpoint and tier. AK_EXISTS when the name or the id is taken. */
AK_MUST enum ak_rc ak_catalog_adopt(struct ak_catalog *catalog,
                                    const struct ak_catalog_adoption *adoption, struct ak_err *err);
/* Tiers of collections become what is said here. */
struct ak_catalog_tier_change {
    struct ak_uuid id;
    struct ak_catalog_tier tier;
};
/* All of them in one transaction; a collection that is gone meanwhile is skipped. Cover is left as
 * it is, but of one that becomes COLD, whose tiny image goes. job (may be NULL): its row is at
 * `job_step` from the same moment. */
AK_MUST enum ak_rc ak_catalog_tiers(struct ak_catalog *catalog,
                                    const struct ak_catalog_tier_change *changes, size_t count,
                                    const struct ak_uuid *job, uint32_t job_step,
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
/* A sync has failed: the last change may be in the file or not, which the next open will tell, and
 * changes are refused until then. */
bool ak_catalog_is_failed(struct ak_catalog *catalog);

/* --- Jobs: operations of several steps that a crash must not forget --- */

enum ak_catalog_job_state { AK_CATALOG_JOB_RUNNING, AK_CATALOG_JOB_DONE, AK_CATALOG_JOB_FAILED };

#define AK_JOB_PAYLOAD_MAX ((size_t)1 << 20) /* bytes of a job's payload: a snapshot's metadata */

struct ak_catalog_job {
    struct ak_uuid id;  /* version 7: jobs are ordered by it */
    struct ak_str kind; /* its owner's word, 1..32 bytes */
    enum ak_catalog_job_state state;
    uint32_t step; /* the kind's own numbering */
    bool owes;     /* something of it is still to be removed: the row is kept until it is */
    struct ak_uuid collection, snapshot, target; /* nil: none */
    int64_t created_us, finished_us;
    enum ak_rc rc; /* of a failed one */
    struct ak_str error;
    struct ak_str payload; /* its owner's */
};

/* What this node knows of a snapshot that it has made. The store is the truth about what exists;
 * this says when a collection was last kept, and in which state, without asking the store. */
struct ak_catalog_snapshot {
    struct ak_uuid id, collection;
    int64_t created_us;
    uint64_t lsn; /* what was logged for the collection below it is in the snapshot */
    uint64_t bytes;
    /* When it is put: the image generation whose state it keeps, lossless and with its image, which
     * makes it the collection's cover; 0: none. Not kept with the snapshot's row. */
    uint64_t generation;
};

/* Insert the row or replace it whole, and with it, in one transaction, note a snapshot (made, may
 * be NULL; it becomes the cover of its collection unless that has one of a later generation or is
 * COLD) and forget one (removed, may be NULL), also as the cover of job->collection. AK_TOO_BIG:
 * the payload. */
AK_MUST enum ak_rc ak_catalog_job_put(struct ak_catalog *catalog, const struct ak_catalog_job *job,
                                      const struct ak_catalog_snapshot *made,
                                      const struct ak_uuid *removed, struct ak_err *err);
/* Strings in the arena. AK_NOT_FOUND. */
AK_MUST enum ak_rc ak_catalog_job_get(struct ak_catalog *catalog, const struct ak_uuid *id,
                                      struct ak_arena *arena, struct ak_catalog_job *job,
                                      struct ak_err *err);
/* The newest `limit`, newest first; array and strings in the arena. */
AK_MUST enum ak_rc ak_catalog_jobs(struct ak_catalog *catalog, size_t limit, struct ak_arena *arena,
                                   struct ak_catalog_job **jobs, size_t *count, struct ak_err *err);
typedef enum ak_rc (*ak_catalog_job_fn)(void *ctx, const struct ak_catalog_job *job,
                                        struct ak_err *err);
/* Every job that runs or owes, oldest first. A failure of fn stops it. */
AK_MUST enum ak_rc ak_catalog_jobs_open(struct ak_catalog *catalog, ak_catalog_job_fn fn, void *ctx,
                                        struct ak_err *err);
/* Forget jobs that finished before that time and owe nothing. */
AK_MUST enum ak_rc ak_catalog_jobs_prune(struct ak_catalog *catalog, int64_t before_us,
                                         struct ak_err *err);
/* What is known of one snapshot. AK_NOT_FOUND. */
AK_MUST enum ak_rc ak_catalog_snapshot_get(struct ak_catalog *catalog, const struct ak_uuid *id,
                                           struct ak_catalog_snapshot *snapshot,
                                           struct ak_err *err);
/* The newest snapshot that is known of a collection, or (NULL) of all. AK_NOT_FOUND. */
AK_MUST enum ak_rc ak_catalog_snapshot_newest(struct ak_catalog *catalog,
                                              const struct ak_uuid *collection,
                                              struct ak_catalog_snapshot *snapshot,
                                              struct ak_err *err);
/* Up to `cap` snapshots that are known, were created before that time, and are not the newest of
 * their collection. */
AK_MUST enum ak_rc ak_catalog_snapshots_older(struct ak_catalog *catalog, int64_t before_us,
                                              struct ak_catalog_snapshot *snapshots, size_t cap,
                                              size_t *count, struct ak_err *err);
/* SQLite's own integrity check: AK_CORRUPT with its first finding. */
AK_MUST enum ak_rc ak_catalog_check(struct ak_catalog *catalog, struct ak_err *err);
const char *ak_catalog_sqlite_version(void); /* of the library in use: "3.40.1" */
