/* archive_priv.h — jobs in memory, and what the files of the archive share.
 *
 * A job is in the list from before its row is written until it needs no thread any more. Its fields
 * belong to the thread that runs it; `state`, `not_before_ns` and the list are under archive->lock,
 * which is held over no call out of the module.
 */
#pragma once
#include "archive/archive.h"
#include "base/map.h"
#include "base/rand.h"
#include "base/sync.h"
#include "engine/hold.h"
#include "engine/tiering.h"
#include <stdatomic.h>

/* Where a job's row says it is. Numbers are in catalogs: never reuse one. */
enum archive_step {
    STEP_BEGUN = 0,     /* after a crash: undone, and the job has failed */
    STEP_AGAIN = 1,     /* stopped in good order: the next open begins it anew */
    STEP_UPLOADED = 2,  /* snapshot: its objects are stored, the payload is its metadata */
    STEP_COMMITTED = 3, /* restore, tier: the image is the collection's state, or is gone */
};

#define AK_PROGRESS_UPLOADED_PPM 950000 /* of a snapshot: all but its metadata is stored */

enum job_state {
    JOB_QUEUED, /* for a thread, not before not_before_ns */
    JOB_RUNNING,
    JOB_GUEST /* no thread takes it: a verification, or a deletion or move on its caller's */
};

enum job_outcome { JOB_ENDED, JOB_RETRY, JOB_STOPPED };

struct archive_job {
    struct ak_catalog_job row; /* strings in `strings` */
    enum ak_job_kind kind;     /* AK_JOB_KIND_COUNT: a verification, which has no row */
    struct ak_arena strings;
    char rc_text[AK_ERR_TEXT_MAX]; /* row.error when it has failed */

    struct ak_snapshot_options options; /* snapshot */
    struct ak_str into;                 /* restore: the new collection's name, or empty */
    bool rebuilt;                       /* restore, wake */
    enum ak_tier to;                    /* tier */

    struct ak_hold *hold; /* snapshot: kept over tries */
    int64_t begun_ns;
    unsigned tries;
    int64_t held_up_ns;     /* since the first of them failed */
    unsigned held_up_tries; /* archive->lock, as what follows: that have failed, and how the last */
    enum ak_rc held_up_rc;
    char held_up[AK_ERR_TEXT_MAX];
    bool is_settled;    /* how it ended is in `row`, which is still to be written */
    bool is_cleaning;   /* it has failed before: what it owes is removed */
    bool was_scheduled; /* by the schedule */
    bool is_once;       /* snapshot: of a move, which is not worth a second try */
    bool is_taken_over; /* of a former life, which may have left something in the store */
    bool is_removed;    /* snapshot_delete: nothing is left in the store */
    bool was_stopped;   /* restore, tier: who was told of its progress wanted no more */
    struct ak_catalog_snapshot made;
    bool has_made, has_removed;
    _Atomic uint32_t progress_ppm; /* pairs with itself: only shown */

    enum job_state state;
    int64_t not_before_ns;
    struct archive_job *next;
};

struct attempt { /* what is remembered of a collection; 0: never */
    struct ak_uuid collection;
    int64_t at_us;    /* a scheduled snapshot was begun */
    int64_t swept_us; /* its orphans were looked for */
};

struct ak_archive {
    struct ak_engine *engine;
    struct ak_catalog *catalog;
    struct ak_objstore *store;
    const struct ak_clock *clock;
    struct ak_log *log;
    struct ak_archive_options options;
    struct ak_pool *encoders; /* pages of Parquet, and the image beside them */
    struct ak_pool
        *hashers; /* of images that are restored: somebody waits, so not of low priority */
    struct ak_uuid_maker uuids;

    struct ak_mutex lock;
    struct ak_cond changed; /* a job came, ended or may be tried again; closing */
    struct archive_job *first;
    bool is_closing;    /* written under the lock */
    _Atomic bool stops; /* the same, for progress callbacks: pairs with itself */
    struct ak_thread *threads;
    unsigned thread_count;

    struct ak_job_watch *watched, *due; /* under the lock, as all of these: watch.c */
    int64_t next_end_ns;                /* no watch ends before */
    bool no_watching, teller_stops;
    struct ak_cond has_due;
    struct ak_thread teller;

    struct ak_thread scheduler;
    struct ak_mutex due_lock; /* one look at what is due at a time; rank service */
    struct attempt *attempts; /* due_lock: when a scheduled snapshot was last begun */
    struct ak_map attempt_map;
    uint32_t attempt_count, attempt_cap;
    _Atomic bool has_searched; /* the whole store for orphans, since the open; pairs with itself */

    struct ak_series *m_seconds, *m_ok, *m_failed, *m_last, *m_stale, *m_running, *m_damaged;
};

/* --- jobs.c --- */

/* A job of that kind with new id and times, in no list yet. */
struct archive_job *ak_archive_job_make(struct ak_archive *archive, enum ak_job_kind kind);
void ak_archive_job_free(struct archive_job *job);
/* Into the list as a guest, when no other job is in the way (AK_CONFLICT). */
AK_MUST enum ak_rc ak_archive_job_enter(struct ak_archive *archive, struct archive_job *job,
                                        struct ak_err *err);
/* A guest works on this snapshot from here, unless it is being deleted (AK_CONFLICT). */
AK_MUST enum ak_rc ak_archive_job_claim(struct ak_archive *archive, struct archive_job *job,
                                        const struct ak_uuid *snapshot, struct ak_err *err);
/* Its row is durable: a thread may take it. */
void ak_archive_job_queue(struct ak_archive *archive, struct archive_job *job);
void ak_archive_job_leave(struct ak_archive *archive, struct archive_job *job); /* and free it */
AK_MUST enum ak_rc ak_archive_job_put(struct ak_archive *archive, struct archive_job *job,
                                      struct ak_err *err);
/* How it ended: the row is written now or by the next try. Gives JOB_ENDED, or JOB_RETRY, or
 * JOB_STOPPED when the catalog takes no more. */
enum job_outcome ak_archive_job_settle(struct ak_archive *archive, struct archive_job *job,
                                       enum ak_rc rc, const struct ak_err *err, bool owes);
/* The query log hears of it, once its work can no longer be undone: `rows` documents of `table`. */
void ak_archive_job_log(struct ak_archive *archive, const struct archive_job *job,
                        struct ak_str table, uint64_t rows);
/* Worth another try? Counts it. If not, and it would be but for the time that has passed, *err says
 * so. */
bool ak_archive_job_may_retry(struct ak_archive *archive, struct archive_job *job, enum ak_rc rc,
                              struct ak_err *err);
/* Run once, and deal with the outcome: the job is freed, or queued again. Its owner is the calling
 * thread. */
void ak_archive_job_run(struct ak_archive *archive, struct archive_job *job);
/* In the list, as one that counts (not a verification, not cleaning). Lock held. */
struct archive_job *ak_archive_job_find(struct ak_archive *archive, const struct ak_uuid *id);
AK_MUST enum ak_rc ak_archive_workers_start(struct ak_archive *archive, struct ak_err *err);
void ak_archive_workers_stop(struct ak_archive *archive);
AK_MUST bool ak_archive_kind_parse(struct ak_str text, enum ak_job_kind *kind);

/* --- watch.c --- */

/* Those who watch this job (NULL: any) are to be told. Lock held. */
void ak_archive_watches_end(struct ak_archive *archive, const struct ak_uuid *job);
AK_MUST enum ak_rc ak_archive_teller_start(struct ak_archive *archive, struct ak_err *err);
void ak_archive_teller_stop(struct ak_archive *archive); /* tells all that are left */

/* --- payload.c: what a row keeps beside its columns, as JSON --- */

AK_MUST enum ak_rc ak_archive_payload_write(struct archive_job *job, struct ak_err *err);
AK_MUST enum ak_rc ak_archive_payload_read(struct archive_job *job, struct ak_err *err);

/* --- create.c, restore.c, remove.c: one try of each kind --- */

enum job_outcome ak_archive_create_run(struct ak_archive *archive, struct archive_job *job);
enum job_outcome ak_archive_restore_run(struct ak_archive *archive, struct archive_job *job);
enum job_outcome ak_archive_remove_run(struct ak_archive *archive, struct archive_job *job);
enum job_outcome ak_archive_clean_run(struct ak_archive *archive, struct archive_job *job);
/* One try of fetching the job's snapshot and making it the state of the job's target. `move` may be
 * NULL. */
AK_MUST enum ak_rc ak_archive_restore_once(struct ak_archive *archive, struct archive_job *job,
                                           const struct ak_archive_move *move, struct ak_err *err);
/* The id that a name or an id in text form stands for; *exists (may be NULL): as a collection. */
AK_MUST enum ak_rc ak_archive_resolve(struct ak_archive *archive, struct ak_str collection,
                                      struct ak_uuid *id, bool *exists, struct ak_err *err);
/* Write the row and let a thread take the job, which is consumed, also on failure. */
AK_MUST enum ak_rc ak_archive_begin(struct ak_archive *archive, struct archive_job *job,
                                    struct ak_err *err);
enum create_for { CREATE_ASKED, CREATE_SCHEDULED, CREATE_TO_MOVE };
AK_MUST enum ak_rc ak_archive_begin_create(struct ak_archive *archive,
                                           const struct ak_uuid *collection,
                                           const struct ak_snapshot_options *options,
                                           enum create_for what_for, struct ak_uuid *job,
                                           struct ak_uuid *snapshot, struct ak_err *err);
AK_MUST enum ak_rc ak_archive_remove_one(struct ak_archive *archive,
                                         const struct ak_uuid *collection,
                                         const struct ak_uuid *snapshot, struct ak_err *err);

/* Metadata that a listing could not read: counted and logged. */
void ak_archive_note_damages(struct ak_archive *archive, const struct ak_snapshot_damages *damages);

/* --- schedule.c --- */

AK_MUST enum ak_rc ak_archive_schedule_start(struct ak_archive *archive, struct ak_err *err);
void ak_archive_schedule_stop(struct ak_archive *archive);
/* After a snapshot: what the collection has too many of goes. */
void ak_archive_retain(struct ak_archive *archive, const struct ak_uuid *collection);
/* And, once a day at most, its orphans. */
void ak_archive_sweep(struct ak_archive *archive, const struct ak_uuid *collection);

/* --- recover.c --- */

AK_MUST enum ak_rc ak_archive_recover(struct ak_archive *archive, struct ak_err *err);
