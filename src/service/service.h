/* service.h — what the APIs may ask of the server: the operations behind REST and gRPC.
 *
 * An operation is a struct in the caller's storage that embeds struct ak_op. The caller fills in
 * the inputs, starts it, and hears of its end through op.done, once: at once on the calling thread,
 * or later on another one. The service decides where it runs: what is short and cannot block stays
 * on the caller's thread (an event loop), everything else goes to the worker pool. A write is done
 * when it is durable, and no thread waits for the disk meanwhile; nor does one wait for a cold
 * collection that is on its way.
 *
 * Threads: any call from any thread; open and close by one. `done` runs on the caller's thread, a
 * worker, or the log's thread: it must not block.
 * Memory: an operation, its inputs and its arena stay valid until `done` is called; inside `done`
 * they may be freed. Results live in op.arena unless their field says otherwise.
 */
#pragma once
#include "archive/archive.h"
#include "base/arena.h"
#include "engine/engine.h"
#include "perf/query_log.h"
#include "tier/manager.h"

struct ak_service;

struct ak_service_options {
    struct ak_engine *engine;   /* required; outlives the service */
    struct ak_archive *archive; /* NULL: snapshots and jobs are AK_UNSUPPORTED; outlives it too */
    struct ak_tiers *tiers;     /* NULL: cold collections stay so, AK_COLD; outlives it too */
    struct ak_snapshot_options snapshots; /* what create and export begin with */
    struct ak_metrics *metrics;           /* may be NULL; not rendered after close */
    struct ak_log *log;                   /* may be NULL */
    struct ak_query_log *queries;         /* where queries are logged; may be NULL; outlives it */
    const struct ak_clock *clock;         /* NULL: the system's */
    unsigned threads; /* workers; 0: two per core, at least four: many wait for disks */
};

AK_MUST enum ak_rc ak_service_open(const struct ak_service_options *options,
                                   struct ak_service **service, struct ak_err *err);
/* Finishes what is queued and waits for every operation that was started. NULL is fine. */
void ak_service_close(struct ak_service *service);
/* The server is about to stop: operations that wait for a job end now, and leave it to go on, those
 * that wait for a cold collection end with AK_UNAVAILABLE, and nothing moves between tiers; after
 * grace_ms exports and imports of Parquet end with AK_UNAVAILABLE. NULL is fine. Any thread. */
void ak_service_hurry(struct ak_service *service, uint32_t grace_ms);

/* What the query log wants to know of an operation that is in its sample (service_probe.c). */
struct ak_probe {
    bool is_on;
    int64_t cpu_ns;     /* of the threads that worked on it */
    int64_t wait_ns;    /* for disks */
    int64_t faults;     /* pages that had to be read from one */
    int64_t applied_ns; /* of a write */
    uint64_t examined, returned;
    struct ak_str table; /* the collection's name, valid as long as the operation is */
};
/* What one thread did for it. */
struct ak_probe_span {
    int64_t began_ns; /* until it is left */
    int64_t cpu_ns, wait_ns, faults;
};

struct ak_op {
    void (*done)(struct ak_op *op, enum ak_rc rc); /* why it failed is in op->err */
    struct ak_arena *arena;
    bool may_block;   /* the calling thread may wait: the operation is not moved to the pool */
    bool was_closed;  /* the collection had to be opened for it */
    bool is_unlogged; /* the query log leaves it out */
    struct ak_err err;
    int64_t began_ns; /* the rest is the service's */
    struct ak_probe probe;
    struct ak_service *service;
    void (*run)(struct ak_op *op);
    struct ak_pool *pool; /* where it goes on when its collection is awake */
    struct ak_tier_wait wait;
    uint8_t wakes; /* how often it found its collection cold */
};

/* Call run(op) on a worker, with op->may_block set; when none takes it, op->done gets the code. */
void ak_service_defer(struct ak_service *service, struct ak_op *op, void (*run)(struct ak_op *op));
/* The collection is cold: bring it back, and call run(op) on a worker when it is there, as
 * ak_service_defer() does; op->done gets why it is not (AK_UNAVAILABLE: try again later). */
void ak_service_await(struct ak_service *service, struct ak_op *op, struct ak_str name_or_id,
                      void (*run)(struct ak_op *op));
/* Seconds since the operation was started. */
double ak_op_seconds(const struct ak_op *op);

/* --- Collections --- */

/* A reference for the operations below, returned by ak_collection_unref(). When op->may_block is
 * false  * and the collection must first be opened from disk: AK_OK with *collection NULL; ask
 * again from a thread that may block (ak_service_defer). Counts as an access, but not again for an
 * operation that has waited for the collection. AK_COLD: ak_service_await(); AK_NOT_FOUND. */
AK_MUST enum ak_rc ak_service_use(struct ak_service *service, struct ak_str name_or_id,
                                  const struct ak_op *op, struct ak_arena *arena,
                                  struct ak_collection **collection, struct ak_err *err);
/* One collection, without opening it. Quick. AK_NOT_FOUND. */
AK_MUST enum ak_rc ak_service_describe(struct ak_service *service, struct ak_str name_or_id,
                                       struct ak_arena *arena,
                                       struct ak_collection_summary *summary, struct ak_err *err);

struct ak_create_op {
    struct ak_op op;
    struct ak_collection_info spec;    /* name, dimension, metric, model, index */
    struct ak_collection_summary made; /* out */
};
void ak_service_create(struct ak_service *service, struct ak_create_op *create);

struct ak_drop_op {
    struct ak_op op;
    struct ak_str name_or_id;
};
void ak_service_drop(struct ak_service *service, struct ak_drop_op *drop);

struct ak_list_op {
    struct ak_op op;
    struct ak_str after;                /* a name, exclusive; empty: from the start */
    size_t limit;                       /* ≥ 1 */
    struct ak_collection_summary *list; /* out, in the order of names */
    size_t count;
    bool has_more;
};
void ak_service_list(struct ak_service *service, struct ak_list_op *list);

/* --- Writing --- */

struct ak_upsert_op {
    struct ak_op op;
    struct ak_collection *collection;
    const struct ak_document *docs;
    size_t count;
    struct ak_uuid *ids; /* out: `count` of them, the caller's */
    /* Called when the documents are findable and before they are durable, from where the collection
     * may be given back: the place to write the answer, which `done` then sends. May be NULL. */
    void (*applied)(struct ak_upsert_op *upsert);
    struct ak_write write; /* the service's */
    struct ak_wal_commit commit;
};
void ak_service_upsert(struct ak_service *service, struct ak_upsert_op *upsert);

struct ak_delete_op {
    struct ak_op op;
    struct ak_collection *collection;
    const struct ak_uuid *ids; /* these, or */
    size_t count;
    const struct ak_filter *filter; /* all that match */
    uint32_t deleted;               /* out */
    struct ak_write write;          /* the service's */
    struct ak_wal_commit commit;
};
void ak_service_delete(struct ak_service *service, struct ak_delete_op *del);

/* A long run of upserts of which only the end waits for the disk. */
struct ak_import {
    struct ak_service *service;
    struct ak_collection *collection;
    uint64_t upserted; /* documents that are findable */
    ak_lsn commit;
    ak_lsn mark;      /* the service's: where it stood when `since` began to count */
    size_t since;     /* bytes of vectors added since then */
    bool failed;      /* something of it was refused: the query log has what succeeds */
    int64_t began_ns; /* the service's */
    struct ak_probe probe;
};
/* A request to import has come. Without it the query log hears nothing of the import. */
void ak_import_begin(struct ak_service *service, struct ak_import *import, bool is_unlogged);
/* Around what a thread does for it beside the calls below. */
struct ak_probe_span ak_import_enter(const struct ak_import *import);
void ak_import_leave(struct ak_import *import, struct ak_probe_span *span);
/* On a thread that may block: it waits for the disk when that is some megabytes behind, so that the
 * log holds no more of a long import in memory. All of `docs` or none. import->collection is
 * another reference afterwards when it had become cold. */
AK_MUST enum ak_rc ak_import_add(struct ak_import *import, const struct ak_document *docs,
                                 size_t count, struct ak_err *err);
struct ak_import_op {
    struct ak_op op;
    struct ak_import *import;
    struct ak_wal_commit commit; /* the service's */
};
/* Done when everything added is durable. */
void ak_service_import_finish(struct ak_service *service, struct ak_import_op *finish);

/* --- Reading --- */

struct ak_search_result {
    struct ak_found *found;
    uint32_t count;
};

struct ak_search_op {
    struct ak_op op;
    struct ak_collection *collection;
    struct ak_search search;
    struct ak_search_result result; /* out */
};
void ak_service_search(struct ak_service *service, struct ak_search_op *search);

#define AK_BATCH_HELPERS_MAX 16
struct ak_search_batch_op {
    struct ak_op op;
    struct ak_collection *collection;
    const struct ak_search *searches;
    struct ak_search_result *results; /* out: `count` of them, the caller's; what they lead to is
                                       * valid until `done` returns */
    size_t count;                     /* ≥ 1 */
    struct ak_batch_helper {          /* the rest is the service's */
        struct ak_search_batch_op *batch;
        struct ak_arena arena;
    } helpers[AK_BATCH_HELPERS_MAX];
    unsigned helper_count;
    struct ak_batch_sums { /* for the query log */
        _Atomic int64_t cpu_ns, wait_ns, faults;
        _Atomic uint64_t examined, returned;
        _Atomic uint64_t graphs; /* searches that took the graph */
    } sums;
    _Atomic size_t next;   /* first search that nobody has taken */
    _Atomic unsigned busy; /* helpers at work: the last one out calls done */
    _Atomic int failed;    /* the first failure's code, set with err by whoever was first */
};
void ak_service_search_batch(struct ak_service *service, struct ak_search_batch_op *batch);

struct ak_fetch_op {
    struct ak_op op;
    struct ak_collection *collection;
    struct ak_uuid id;
    unsigned include;
    struct ak_found found; /* out */
};
void ak_service_fetch(struct ak_service *service, struct ak_fetch_op *fetch);

struct ak_scroll_op {
    struct ak_op op;
    struct ak_collection *collection;
    bool has_after;
    struct ak_uuid after;
    uint32_t limit;                 /* 1..AK_SCROLL_MAX; lowered when a page would be too large */
    const struct ak_filter *filter; /* or NULL */
    unsigned include;
    struct ak_search_result page; /* out */
    bool has_more;                /* go on after the last id */
};
void ak_service_scroll(struct ak_service *service, struct ak_scroll_op *scroll);

struct ak_count_op {
    struct ak_op op;
    struct ak_collection *collection;
    const struct ak_filter *filter; /* or NULL */
    uint64_t documents;             /* out */
};
void ak_service_count(struct ak_service *service, struct ak_count_op *count);

/* --- Snapshots: AK_UNSUPPORTED without an archive (service_snapshots.c) --- */

struct ak_snapshot_op {
    struct ak_op op;
    struct ak_str collection;           /* name or id */
    struct ak_uuid snapshot;            /* create: out */
    struct ak_snapshot_options options; /* create: begin with ak_service_snapshot_defaults() */
    struct ak_str into;                 /* restore: a new collection's name; empty: in place */
    int64_t wait_ms;               /* create, restore: wait for the end so long; < 0: for ever */
    struct ak_archive_list filter; /* list */

    /* out */
    struct ak_job job; /* create, restore */
    bool is_over; /* the job is done: `meta` or `restored` is set. Else look at the job later */
    struct ak_snapshot_meta meta; /* create, get */
    struct ak_collection_summary restored;
    struct ak_snapshot_report report; /* verify */
    struct ak_snapshot_meta *list;    /* newest first */
    size_t count;
    struct ak_snapshot_damages damages; /* list: those whose metadata cannot be read */

    /* the service's */
    enum ak_rc (*step)(struct ak_snapshot_op *op, struct ak_archive *archive);
    enum ak_rc (*then)(struct ak_snapshot_op *op, struct ak_archive *archive);
    struct ak_job_watch watch;
};
const struct ak_snapshot_options *ak_service_snapshot_defaults(const struct ak_service *service);
void ak_service_snapshot_create(struct ak_service *service, struct ak_snapshot_op *op);
void ak_service_snapshot_restore(struct ak_service *service, struct ak_snapshot_op *op);
void ak_service_snapshot_get(struct ak_service *service, struct ak_snapshot_op *op);
void ak_service_snapshot_list(struct ak_service *service, struct ak_snapshot_op *op);
/* AK_CORRUPT names object, offset and page. */
void ak_service_snapshot_verify(struct ak_service *service, struct ak_snapshot_op *op);
/* AK_NOT_FOUND, for the caller named one that is not there. */
void ak_service_snapshot_delete(struct ak_service *service, struct ak_snapshot_op *op);

/* Where other programs find an object of a snapshot: a path, or s3://…; false: nowhere. Quick. */
AK_MUST bool ak_service_locate(struct ak_service *service, struct ak_str key, struct ak_buf *out);

struct ak_job_op {
    struct ak_op op;
    struct ak_uuid id;   /* of one, or */
    size_t limit;        /* the newest so many */
    struct ak_job *jobs; /* out: one of ak_service_job() */
    size_t count;
};
void ak_service_job(struct ak_service *service, struct ak_job_op *op);
void ak_service_jobs(struct ak_service *service, struct ak_job_op *op);

/* --- Tiers: AK_UNSUPPORTED without a manager (service_tiers.c) --- */

struct ak_tier_op {
    struct ak_op op;
    struct ak_str collection; /* name or id */
    bool has_action;          /* act: this, or new rules, or both */
    enum ak_tier_action action;
    bool has_rules;
    struct ak_tier_overrides rules;
    struct ak_tier_status status; /* out: as it is then */
};
void ak_service_tier(struct ak_service *service, struct ak_tier_op *op);
/* Rules first, then the action; done when a move has ended. Errors as ak_tiers_act(). */
void ak_service_tier_act(struct ak_service *service, struct ak_tier_op *op);

struct ak_tiers_op {
    struct ak_op op;
    bool wait;           /* run: until all that was decided has been carried out */
    struct ak_str after; /* statuses of collections behind that name, */
    size_t limit;        /* so many; 0: none */
    struct ak_tiers_overview all;
    struct ak_tier_status *list; /* out, in the order of names */
    size_t count;
    struct ak_str next; /* the last name, when there are more behind it; else none */
};
void ak_service_tiers(struct ak_service *service, struct ak_tiers_op *op);
/* A pass now; then as ak_service_tiers(). AK_CONFLICT: tiering is off. */
void ak_service_tiers_run(struct ak_service *service, struct ak_tiers_op *op);

/* --- Export and import of files (service_transfer.c) --- */

enum ak_export_format { AK_EXPORT_PARQUET, AK_EXPORT_NDJSON };

/* One state of a collection, front to back, in bounded memory. Nothing has reached the sink when
 * `done` gets a failure and `begun` is false. AK_THROTTLED: too many are under way. */
struct ak_export_op {
    struct ak_op op;
    struct ak_str collection;
    enum ak_export_format format;
    struct ak_snapshot_options options; /* Parquet: compression and encoding */
    /* Before the first byte, or at the end of an export without any. May refuse. */
    enum ak_rc (*begin)(struct ak_export_op *op);
    /* The next bytes. May wait. */
    enum ak_rc (*sink)(struct ak_export_op *op, const void *p, size_t len, struct ak_err *err);
    /* Asked now and then: is there nobody left to take it? */
    bool (*is_gone)(struct ak_export_op *op);
    bool begun;          /* out */
    uint64_t rows;       /* out */
    struct ak_buf lines; /* the service's: NDJSON that gathers */
};
void ak_service_export(struct ak_service *service, struct ak_export_op *op);

/* A file that is being received: in the data folder, gone when closed, and after a crash at the
 * next start. On threads that may block; one at a time. */
struct ak_spool;
AK_MUST enum ak_rc ak_spool_open(struct ak_service *service, struct ak_spool **spool,
                                 struct ak_err *err);
AK_MUST enum ak_rc ak_spool_write(struct ak_spool *spool, const void *p, size_t len,
                                  struct ak_err *err);
void ak_spool_close(struct ak_spool *spool); /* NULL is fine */

/* The documents of a Parquet file that was received, added to an import (finish that afterwards).
 */
struct ak_spool_op {
    struct ak_op op;
    struct ak_spool *spool;
    struct ak_import *import;
};
void ak_service_spool_import(struct ak_service *service, struct ak_spool_op *op);

/* --- The node --- */

/* "ok"; "disk_full": writes are refused until there is room; "failed": until a restart. */
const char *ak_service_writes(struct ak_service *service);
