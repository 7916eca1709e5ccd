/* archive.h — snapshots of live collections: durable jobs that create, restore, verify and delete
 * them, a schedule, and retention.
 *
 * A job is a row in the catalog before anything else happens; the commit point of each kind is at
 * the top of its file. After a crash the next open finishes or undoes what was begun: a snapshot is
 * whole or not listed, and nothing is orphaned in the store or in the data folder.
 *
 * Threads: any call from any thread, open and close by one. A job runs on the archive's own
 * threads; calls that "start" return when the job's row is durable.
 */
#pragma once
#include "engine/engine.h"
#include "model/tier.h"
#include "perf/query_log.h"
#include "snapshot/snapshot.h"

struct ak_archive;

struct ak_archive_options {
    struct ak_engine *engine;     /* required; outlives the archive */
    struct ak_objstore *store;    /* required; outlives the archive */
    const struct ak_clock *clock; /* NULL: the system's */
    struct ak_log *log;
    struct ak_metrics *metrics;
    struct ak_query_log *queries; /* gets the snapshots and restores that were asked for; may be
                                   * NULL; outlives the archive */
    unsigned threads;             /* jobs at a time; 0: 2 */
    struct ak_snapshot_options snapshots; /* defaults of format, compression, encoding */
    uint64_t interval_s;   /* a snapshot of each changed collection so often; 0: never */
    uint32_t retain_count; /* keep the newest so many of a collection; 0: all */
    uint64_t retain_age_s; /* and none older than this; the newest always stays; 0: all */
    uint32_t retry_ms;     /* pause before a job that the store held up is tried again, doubled each
                            * time up to a minute; 0: 1,000 */
    uint64_t retry_for_s;  /* so long after its first failure, then it fails; 0: a day */
    uint32_t retries_max;  /* and so often; 0: as often as that allows */
};

/* Recovers the jobs of a former life, then starts the schedule. A store that is away delays the
 * recovery and does not fail the open. */
AK_MUST enum ak_rc ak_archive_open(const struct ak_archive_options *options,
                                   struct ak_archive **archive, struct ak_err *err);
/* Running jobs are stopped at their next safe point and go on at the next open. NULL is fine. */
void ak_archive_close(struct ak_archive *archive);

/* --- Jobs --- */

enum ak_job_kind {
    AK_JOB_SNAPSHOT,
    AK_JOB_RESTORE,
    AK_JOB_SNAPSHOT_DELETE,
    AK_JOB_TIER, /* to the bucket or back */
    AK_JOB_KIND_COUNT
};
enum ak_job_state { AK_JOB_RUNNING, AK_JOB_DONE, AK_JOB_FAILED };
const char *ak_job_kind_name(enum ak_job_kind kind);    /* … "snapshot_delete" "tier" */
const char *ak_job_state_name(enum ak_job_state state); /* "running" "done" "failed" */

struct ak_job {
    struct ak_uuid id;
    enum ak_job_kind kind;
    enum ak_job_state state;
    double progress; /* 0..1; of one that is done 1; of a failed one how far it came, as far as is
                        known */
    struct ak_uuid collection; /* of a restore: the one restored into, once it exists */
    struct ak_uuid snapshot;
    int64_t created_us, finished_us; /* finished_us 0 while it runs */
    enum ak_rc rc;                   /* of a failed one */
    struct ak_str error;             /* its text */
    bool rebuilt; /* a restore that found no usable image and built the index from the documents */
    /* Of one that runs and that the store holds up: how many tries have failed (0: none has), how
     * the last one did, and when the next one begins (0: it is under way). */
    unsigned tries;
    enum ak_rc held_up_rc;
    struct ak_str held_up;
    int64_t next_try_us;
    /* A move: to AK_TIER_COLD, or (a restore to the disk) to AK_TIER_WARM. */
    enum ak_tier to;
};
/* Strings in the arena. AK_NOT_FOUND (finished jobs are kept for 24 h). */
AK_MUST enum ak_rc ak_archive_job(struct ak_archive *archive, const struct ak_uuid *id,
                                  struct ak_arena *arena, struct ak_job *job, struct ak_err *err);
/* Newest first. */
AK_MUST enum ak_rc ak_archive_jobs(struct ak_archive *archive, size_t limit, struct ak_arena *arena,
                                   struct ak_job **jobs, size_t *count, struct ak_err *err);
/* Wait until it is done or failed, at most timeout_ms (AK_TIMEOUT; the job goes on). Returns the
 * job's own code; AK_UNAVAILABLE when the store did not answer it in time. */
AK_MUST enum ak_rc ak_archive_wait(struct ak_archive *archive, const struct ak_uuid *job,
                                   int64_t timeout_ms, struct ak_err *err);

/* The same without a thread that waits: `fn` is called once, from a thread of the archive's that
 * must not be kept waiting, when the job is over, the time is up, or ak_archive_unwatch() was
 * called; ak_archive_job() then tells which. The watch is the caller's storage, in use until then.
 */
struct ak_job_watch {
    struct ak_uuid job;
    int64_t timeout_ms; /* < 0: none */
    void (*fn)(struct ak_job_watch *watch);
    struct ak_job_watch *next; /* the archive's, as what follows */
    int64_t end_ns;
};
void ak_archive_watch(struct ak_archive *archive, struct ak_job_watch *watch);
/* All watches end now, and those that come at once: the server is about to stop. */
void ak_archive_unwatch(struct ak_archive *archive);

/* Wait until no job runs and nothing is owed to the store (AK_TIMEOUT). */
AK_MUST enum ak_rc ak_archive_settle(struct ak_archive *archive, int64_t timeout_ms,
                                     struct ak_err *err);
/* Start now what schedule and retention find due, without waiting for their next look. */
AK_MUST enum ak_rc ak_archive_run_due(struct ak_archive *archive, struct ak_err *err);

/* --- Snapshots --- */

/* `collection` below is a name or an id; the snapshots of a dropped one are found by its id. */

/* Start a snapshot. options NULL: the archive's. *snapshot is its id. AK_NOT_FOUND; AK_INVALID: the
 * collection is empty; AK_UNAVAILABLE: the store is known to be away. */
AK_MUST enum ak_rc ak_archive_create(struct ak_archive *archive, struct ak_str collection,
                                     const struct ak_snapshot_options *options, struct ak_uuid *job,
                                     struct ak_uuid *snapshot, struct ak_err *err);
/* Start a restore. into empty: in place, the collection's present state is replaced at one instant
 * once everything was fetched and verified; else a new collection of that name (AK_EXISTS). */
AK_MUST enum ak_rc ak_archive_restore(struct ak_archive *archive, struct ak_str collection,
                                      const struct ak_uuid *snapshot, struct ak_str into,
                                      struct ak_uuid *job, struct ak_err *err);
/* At once; durable on return. No error when it is gone already; AK_CONFLICT while a job uses it, or
 * a cold collection lives in it.
 * After any other failure the deletion goes on by itself as soon as the store lets it. */
AK_MUST enum ak_rc ak_archive_delete(struct ak_archive *archive, struct ak_str collection,
                                     const struct ak_uuid *snapshot, struct ak_err *err);
/* progress (may be NULL) as of ak_snapshot_verify: false stops it (AK_CONFLICT "cancelled"). */
AK_MUST enum ak_rc ak_archive_verify(struct ak_archive *archive, struct ak_str collection,
                                     const struct ak_uuid *snapshot, ak_snapshot_progress progress,
                                     void *ctx, struct ak_snapshot_report *report,
                                     struct ak_err *err);
AK_MUST enum ak_rc ak_archive_get(struct ak_archive *archive, struct ak_str collection,
                                  const struct ak_uuid *snapshot, struct ak_arena *arena,
                                  struct ak_snapshot_meta *meta, struct ak_err *err);
/* Where other programs find an object of a snapshot, as ak_objstore_locate() says. */
AK_MUST enum ak_rc ak_archive_locate(struct ak_archive *archive, struct ak_str key,
                                     struct ak_buf *out, bool *is_file, struct ak_err *err);
/* Newest first; those made in [from_us, to_us) (0: unbounded) and of `format` when not NULL. */
struct ak_archive_list {
    int64_t from_us, to_us;
    const enum ak_snapshot_format *format;
    size_t limit; /* 0: all */
};
/* filter may be NULL. damages (may be NULL): all whose metadata cannot be read, whatever the filter
 * says, for nothing is known of them but the key. */
AK_MUST enum ak_rc ak_archive_list(struct ak_archive *archive, struct ak_str collection,
                                   const struct ak_archive_list *filter, struct ak_arena *arena,
                                   struct ak_snapshot_meta **list, size_t *count,
                                   struct ak_snapshot_damages *damages, struct ak_err *err);

/* --- Tiers: moves to the store and back (engine/tiering.h) --- */

/* Each runs on the calling thread, which may take as long as the transfer, behind none of the
 * archive's own jobs; it has a row of kind "tier" that GET /jobs shows, and is finished or undone
 * by the next open after a crash. One at a time per collection: a second is AK_CONFLICT. No call
 * may be under way when the archive is closed. */
struct ak_archive_move {
    /* Told how far it is now and then; false: stop (AK_UNAVAILABLE, nothing has changed). NULL:
     * neither. */
    bool (*tell)(void *ctx, double fraction);
    void *ctx;
};
/* HOT or WARM → COLD: to WARM first when it is HOT; a snapshot unless one covers it; the objects
 * are looked at in the store; then the commit, and the image goes. AK_CONFLICT: written meanwhile,
 * or a job is in the way; AK_INVALID: it is empty; what the store says, when it is away. In every
 * failure the collection is where it was, or WARM. No-op when it is COLD. `job` (may be NULL) gets
 * the row's id. */
AK_MUST enum ak_rc ak_archive_sink(struct ak_archive *archive, struct ak_str collection,
                                   const struct ak_archive_move *move, struct ak_uuid *job,
                                   struct ak_err *err);
/* COLD → WARM: its image is fetched, verified and adopted; built from the documents when there is
 * no usable image. No-op when it is not COLD. */
AK_MUST enum ak_rc ak_archive_wake(struct ak_archive *archive, struct ak_str collection,
                                   const struct ak_archive_move *move, struct ak_uuid *job,
                                   struct ak_err *err);
