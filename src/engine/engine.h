/* engine.h — live collections over log, catalog and images: what libakidb and the server stand on.
 *
 * A write is validated, appended to the node's log, applied in memory and so findable; it is
 * acknowledged when the log is durable up to it: upsert and delete return the LSN to wait for, by
 * ak_engine_commit() or ak_engine_commit_async(). Readers may see a write a moment before it is
 * durable.
 *
 * Collections open when first used and close when idle. Builders link new rows in the background,
 * the keeper checkpoints, repairs and releases log segments. After a crash the next open replays
 * what checkpoints do not cover; invariants and crash points are at the top of checkpoint.c.
 *
 * Folder: LOCK · catalog.db · wal/ · collections/<id>-<generation>.akx (and <id>.staging
 * while an image is taken over: hold.h). One process at a time.
 *
 * Threads: any call from any thread, open and close by one. Memory: see each call. No global state:
 * several engines (over different folders) may be open in one process.
 */
#pragma once
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "index/index.h"
#include "metrics/metrics.h"
#include "model/collection.h"
#include "model/filter.h"
#include "model/tier.h"
#include "wal/wal.h"

struct ak_engine;
struct ak_collection; /* a counted reference to a live collection */

#define AK_VACUUM_NEVER 101 /* percent */

struct ak_engine_options {
    struct ak_fs *fs;             /* NULL: the file system of the machine */
    const char *dir;              /* made when absent */
    const struct ak_clock *clock; /* NULL: the system's */
    struct ak_log *log;           /* may be NULL */
    struct ak_metrics *metrics;   /* may be NULL */
    enum ak_durability durability;
    uint32_t sync_interval_ms;  /* durability INTERVAL; 0: 100 */
    uint64_t wal_segment_bytes; /* 0: 64 MiB */
    uint64_t wal_max_bytes;     /* retained log that forces checkpoints; 0: 1 GiB */
    uint64_t checkpoint_bytes;  /* a collection's log share that does; 0: 64 MiB */
    uint64_t pending_max_bytes; /* unlinked rows of a collection before writers help; 0: 96 MiB */
    uint64_t idle_bytes;        /* memory for idle small collections kept open; 0: 256 MiB */
    /* Resident memory of the process above which pages of warm images are given back, the least
     * recently used image first; 0: never. */
    uint64_t resident_max_bytes;
    unsigned build_threads; /* 0: one per core */
    /* Slots of a collection that hold no document, in percent, from which on it is vacuumed by
     * itself; 0: 25; AK_VACUUM_NEVER: only by ak_engine_vacuum(). */
    unsigned vacuum_percent;
};

/* Make or open, replay, start the background threads. AK_CONFLICT: the folder is in use. */
AK_MUST enum ak_rc ak_engine_open(const struct ak_engine_options *options,
                                  struct ak_engine **engine, struct ak_err *err);
/* Checkpoint what is dirty, stop, free. Every reference must have been returned. NULL is fine. */
void ak_engine_close(struct ak_engine *engine);

/* --- Collections --- */

/* Name, dimension, metric, model and index of `spec` are used; id, state and time are made. *info
 * gets the whole, its strings borrowed from the engine until the collection is dropped or
 * replaced. */
AK_MUST enum ak_rc ak_engine_create(struct ak_engine *engine, const struct ak_collection_info *spec,
                                    struct ak_collection_info *info, struct ak_err *err);
/* By name, or by id in text form. Durable on return; references held elsewhere stay usable. */
AK_MUST enum ak_rc ak_engine_drop(struct ak_engine *engine, struct ak_str name_or_id,
                                  struct ak_err *err);
/* A reference, to be returned with ak_collection_unref. Opens a collection that is not live, and
 * counts as an access (tiering.h), also when it fails with AK_COLD: the collection is in the object
 * store, and can be had again once it has been restored. */
AK_MUST enum ak_rc ak_engine_get(struct ak_engine *engine, struct ak_str name_or_id,
                                 struct ak_collection **collection, struct ak_err *err);
/* The same, not counted: for those who look after collections and do not use them. */
AK_MUST enum ak_rc ak_engine_peek(struct ak_engine *engine, struct ak_str name_or_id,
                                  struct ak_collection **collection, struct ak_err *err);
void ak_collection_unref(struct ak_collection *collection); /* NULL is fine */
/* Borrowed strings, valid while the reference is held. */
const struct ak_collection_info *ak_collection_info(const struct ak_collection *collection);

struct ak_collection_summary {
    struct ak_collection_info info; /* strings in the caller's arena */
    uint64_t documents;
    bool open;
    ak_lsn lsn;         /* everything logged for it below is in its newest image */
    uint64_t wal_bytes; /* logged for it since; 0: the image holds its state */
    enum ak_tier tier;
    bool has_memory; /* of ak_engine_describe(), while it is open: */
    struct ak_index_memory memory;
    uint64_t documents_bytes; /* memory of what there is beside vectors and index */
};
/* Up to `limit` collections in name order after `after` (exclusive; empty: from the start). */
AK_MUST enum ak_rc ak_engine_list(struct ak_engine *engine, struct ak_str after, size_t limit,
                                  struct ak_arena *arena, struct ak_collection_summary **list,
                                  size_t *count, struct ak_err *err);
/* One, without opening it. */
AK_MUST enum ak_rc ak_engine_describe(struct ak_engine *engine, struct ak_str name_or_id,
                                      struct ak_arena *arena, struct ak_collection_summary *summary,
                                      struct ak_err *err);
uint64_t ak_engine_collection_count(struct ak_engine *engine);

/* --- Writing --- */

struct ak_write {
    ak_lsn commit;     /* wait for this */
    uint32_t affected; /* documents written or removed */
};
/* All or nothing. docs[i].id nil gets one made; ids[i] (may be NULL) receives it. Vectors are
 * f32[dimension]. Later duplicates within one call win. may_wait false: AK_CONFLICT instead of
 * waiting for another writer or for rows to be moved (call again from a thread that may block).
 * AK_INVALID names the row; AK_NO_SPACE; AK_NOMEM; AK_IO: the log has failed. */
AK_MUST enum ak_rc ak_collection_upsert(struct ak_collection *collection,
                                        const struct ak_document *docs, size_t count, bool may_wait,
                                        struct ak_uuid *ids, struct ak_write *write,
                                        struct ak_err *err);
/* Ids that do not exist are not counted and no error. */
AK_MUST enum ak_rc ak_collection_delete(struct ak_collection *collection, const struct ak_uuid *ids,
                                        size_t count, struct ak_write *write, struct ak_err *err);
/* All documents that match, as they are at one instant. */
AK_MUST enum ak_rc ak_collection_delete_matching(struct ak_collection *collection,
                                                 const struct ak_filter *filter,
                                                 struct ak_write *write, struct ak_err *err);
/* So many rows wait for linking that a writer should link some itself: not on a loop thread. */
bool ak_collection_is_behind(struct ak_collection *collection);
/* Link some of them on this thread, in proportion to the documents that it writes. */
void ak_collection_help(struct ak_collection *collection, size_t written);

AK_MUST enum ak_rc ak_engine_commit(struct ak_engine *engine, ak_lsn upto, struct ak_err *err);
/* The process is about to end: writes are refused from now on (AK_UNAVAILABLE), and all that came
 * before is synced when it returns, whatever the durability. */
AK_MUST enum ak_rc ak_engine_seal(struct ak_engine *engine, struct ak_err *err);
void ak_engine_commit_async(struct ak_engine *engine, struct ak_wal_commit *commit, ak_lsn upto);

/* --- Reading --- */

struct ak_found {
    struct ak_uuid id;
    float score; /* searches only */
    int64_t inserted_us;
    struct ak_str external_id; /* in the caller's arena */
    struct ak_str metadata;
    const float *vector; /* f32[dimension] in the caller's arena, or NULL */
};

/* What a search took. */
struct ak_search_effort {
    uint64_t distances; /* computed */
    bool was_exact;     /* every row that may be returned was compared */
};

enum ak_include { AK_INCLUDE_EXTERNAL_ID = 1, AK_INCLUDE_METADATA = 2, AK_INCLUDE_VECTOR = 4 };

struct ak_search {
    const float *vector;            /* f32[dimension], finite; not zero under cosine */
    uint32_t k;                     /* 1..AK_K_MAX */
    uint32_t ef;                    /* 0: what `recall` needs, or the collection's */
    double recall;                  /* 0, or the share of the k nearest to be found, up to 1 */
    const struct ak_filter *filter; /* or NULL */
    bool has_threshold;             /* cosine, dot: score ≥ threshold; l2: ≤ */
    float threshold;
    bool exact;
    unsigned include;                /* ak_include bits */
    struct ak_search_effort *effort; /* out: what it took; may be NULL */
};

AK_MUST enum ak_rc ak_collection_search(struct ak_collection *collection,
                                        const struct ak_search *search, struct ak_arena *arena,
                                        struct ak_found **found, uint32_t *count,
                                        struct ak_err *err);
/* About how many distances it will compute; more than a few thousand do not belong on a loop. */
uint64_t ak_collection_search_cost(struct ak_collection *collection,
                                   const struct ak_search *search);
/* AK_NOT_FOUND. */
AK_MUST enum ak_rc ak_collection_fetch(struct ak_collection *collection, const struct ak_uuid *id,
                                       unsigned include, struct ak_arena *arena,
                                       struct ak_found *found, struct ak_err *err);
/* Up to `limit` documents in id order after *after (NULL: from the start) that match. A document
 * that exists during the whole scroll is met exactly once. */
AK_MUST enum ak_rc ak_collection_scroll(struct ak_collection *collection,
                                        const struct ak_uuid *after, uint32_t limit,
                                        const struct ak_filter *filter, unsigned include,
                                        struct ak_arena *arena, struct ak_found **found,
                                        uint32_t *count, struct ak_err *err);
AK_MUST enum ak_rc ak_collection_count(struct ak_collection *collection,
                                       const struct ak_filter *filter, uint64_t *count,
                                       struct ak_err *err);

struct ak_collection_stats {
    uint64_t documents, pending, tombstones, memory_bytes, image_bytes, generation, wal_bytes;
};
void ak_collection_stats(struct ak_collection *collection, struct ak_collection_stats *stats);

/* --- Care --- */

/* Write this collection's image now and commit it. */
AK_MUST enum ak_rc ak_engine_checkpoint(struct ak_engine *engine, struct ak_collection *collection,
                                        struct ak_err *err);
/* Give back the memory of all deleted documents now, however few they are: documents move into the
 * slots of deleted ones, and what is free behind the last one goes. The next checkpoint writes an
 * image of that size. */
AK_MUST enum ak_rc ak_engine_vacuum(struct ak_engine *engine, struct ak_collection *collection,
                                    struct ak_err *err);
/* Wait until every row of the collection is linked, building on this thread too; `progress` (may be
 * NULL) is told now and then how many are left. */
void ak_collection_wait_linked(struct ak_collection *collection,
                               void (*progress)(void *ctx, uint64_t left), void *ctx);
/* Check graph, documents and image checksums of one collection: AK_CORRUPT names what is wrong. */
AK_MUST enum ak_rc ak_engine_verify(struct ak_engine *engine, struct ak_str name_or_id,
                                    struct ak_err *err);

struct ak_engine_stats {
    uint64_t collections, collections_open, memory_bytes, pending;
    uint64_t file_bytes; /* vectors that are pages of images' files */
    struct ak_wal_stats wal;
};
void ak_engine_stats(struct ak_engine *engine, struct ak_engine_stats *stats);
