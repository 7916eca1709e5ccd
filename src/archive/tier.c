/* tier.c — a collection goes to the object store, and comes back.
 *
 * To the store, in order; [name] is a crash point:
 *   1. row       durable, STEP_BEGUN                                      [tier_cold_after_row]
 *   2. warm      HOT → WARM (engine/tier_move.c)
 *   3. snapshot  a job of its own (create.c), unless one covers the present state
 *   4. claim     the snapshot cannot be deleted from here; its objects are in the store, by size
 *                                                                    [tier_cold_after_snapshot]
 *   5. cold      the row is at STEP_COMMITTED in the same transaction
 *                                                  ← the commit point (src/engine/cold.c)
 *   6. row       done                              [tier_cold_before_done] [tier_cold_after_done]
 *
 * And back:
 *   1. row       durable, STEP_BEGUN                                      [tier_wake_after_row]
 *   2. image     fetched, or built from the documents (restore.c)         [tier_wake_after_fetch]
 *   3. adopt     the row is at STEP_COMMITTED in the same transaction
 *                        [tier_wake_before_commit] [tier_wake_after_commit]
 *                                                  ← the commit point (src/engine/adopt.c)
 *   4. row       done                              [tier_wake_before_done] [tier_wake_after_done]
 *
 * S1  A COLD collection's snapshot is whole and stays: 4 to 5 hold the claim, which a deletion must
 *     not meet in the list of jobs; from 5 on the deletion asks the engine (remove.c).
 * S2  A crash before the commit point leaves the collection where it was (or WARM), and at most a
 *     snapshot more, which covers it; after it, where it was to go. The next open says so in the
 *     row (recover.c); files that are not named are the engine's garbage.
 * S3  The store being away fails a move and changes nothing: 3 and 4 need it, 5 does not.
 */
#include "archive/archive_priv.h"
#include "base/fault.h"
#include "base/mem.h"

#define WAIT_SLICE_MS 50
#define SNAPSHOTS_MAX 3 /* of one move: written between two of them */

struct sinking {
    struct ak_archive *archive;
    struct archive_job *job;
    const struct ak_archive_move *move;
    struct ak_str id;
    char id_text[AK_UUID_TEXT_LEN];
};

static bool goes_on(struct sinking *sinking, double fraction)
{
    const struct ak_archive_move *move = sinking->move;
    atomic_store(&sinking->job->progress_ppm, (uint32_t)(fraction * 1e6));
    return !atomic_load(&sinking->archive->stops) &&
           !(move && move->tell && !move->tell(move->ctx, fraction));
}

static enum ak_rc stopped(struct ak_err *err)
{
    return ak_fail(err, AK_UNAVAILABLE, "the move was stopped; nothing has changed");
}

/* --- 3 --- */

static enum ak_rc wait_for(struct sinking *sinking, const struct ak_uuid *id, struct ak_err *err)
{
    struct ak_archive *archive = sinking->archive;
    enum ak_rc rc = AK_TIMEOUT;
    double fraction = 0;
    while (rc == AK_TIMEOUT) {
        if (!goes_on(sinking, 0.05 + 0.85 * fraction)) {
            return stopped(err);
        }
        rc = ak_archive_wait(archive, id, WAIT_SLICE_MS, err);
        ak_mutex_lock(&archive->lock);
        const struct archive_job *job = ak_archive_job_find(archive, id);
        fraction = job ? (double)atomic_load(&job->progress_ppm) / 1e6 : fraction;
        ak_mutex_unlock(&archive->lock);
    }
    return rc;
}

static bool is_lossless(enum ak_snapshot_encoding encoding)
{
    return encoding == AK_SNAPSHOT_LOSSLESS || encoding == AK_SNAPSHOT_PLAIN;
}

static enum ak_rc make_snapshot(struct sinking *sinking, struct ak_err *err)
{
    struct ak_archive *archive = sinking->archive;
    struct ak_snapshot_options options = archive->options.snapshots;
    struct ak_uuid job;
    struct ak_uuid snapshot;
    options.no_image = false;
    if (!is_lossless(options.encoding)) {
        options.encoding = AK_SNAPSHOT_LOSSLESS;
    }
    enum ak_rc rc = ak_archive_begin_create(archive, &sinking->job->row.collection, &options,
                                            CREATE_TO_MOVE, &job, &snapshot, err);
    rc = rc == AK_OK ? wait_for(sinking, &job, err) : rc;
    return rc == AK_OK ? rc : ak_wrap(err, rc, "its snapshot");
}

/* --- 4 --- */

static enum ak_rc check_object(struct sinking *sinking, const struct ak_snapshot_object *object,
                               struct ak_arena *arena, struct ak_err *err)
{
    struct ak_object found;
    enum ak_rc rc = ak_objstore_head(sinking->archive->store, object->key, arena, &found, err);
    if (rc == AK_OK && found.size != object->bytes) {
        rc = ak_fail(err, AK_NOT_FOUND, "'%.*s' has %llu bytes, not %llu", AK_STR_ARG(object->key),
                     (unsigned long long)found.size, (unsigned long long)object->bytes);
    }
    return rc;
}

/* AK_NOT_FOUND: not all of it is there. */
static enum ak_rc check_objects(struct sinking *sinking, const struct ak_uuid *snapshot,
                                struct ak_err *err)
{
    struct ak_arena arena;
    struct ak_snapshot_meta meta;
    ak_arena_init(&arena, 0);
    enum ak_rc rc = ak_snapshot_get(sinking->archive->store, &sinking->job->row.collection,
                                    snapshot, &arena, &meta, err);
    if (rc == AK_OK && !(meta.lossless && meta.has_image)) {
        rc = ak_fail(err, AK_NOT_FOUND, "the snapshot is lossy or has no image");
    }
    if (rc == AK_OK) {
        rc = check_object(sinking, &meta.image, &arena, err);
    }
    if (rc == AK_OK) {
        rc = check_object(sinking, &meta.data, &arena, err);
    }
    ak_arena_release(&arena);
    return rc;
}

/* 3 and 4: the job has claimed a snapshot that covers the collection and is whole. */
static enum ak_rc cover(struct sinking *sinking, struct ak_err *err)
{
    struct ak_archive *archive = sinking->archive;
    const struct ak_uuid *collection = &sinking->job->row.collection;
    struct ak_tier_view view;
    for (unsigned made = 0;;) {
        enum ak_rc rc = ak_engine_tier(archive->engine, sinking->id, &view, err);
        if (rc == AK_OK && view.is_covered) {
            rc = ak_archive_job_claim(archive, sinking->job, &view.cover, err);
            rc = rc == AK_OK ? check_objects(sinking, &view.cover, err) : rc;
            if (rc != AK_NOT_FOUND) {
                return rc;
            }
            ak_log_warn(archive->log, "archive", "a snapshot is not whole, and another is made: %s",
                        err->text);
            rc = ak_engine_tier_uncover(archive->engine, collection, &view.cover, err);
        }
        if (rc == AK_OK && made++ == SNAPSHOTS_MAX) {
            rc = ak_fail(err, AK_CONFLICT, "it is written all the while");
        }
        rc = rc == AK_OK ? make_snapshot(sinking, err) : rc;
        if (rc != AK_OK) {
            return rc;
        }
    }
}

/* --- Both ways --- */

/* A guest with a durable row, or nothing. */
static enum ak_rc begin(struct ak_archive *archive, const struct ak_tier_view *view,
                        enum ak_tier to, struct archive_job **out, struct ak_err *err)
{
    struct archive_job *job = ak_archive_job_make(archive, AK_JOB_TIER);
    job->to = to;
    job->row.collection = view->id;
    job->row.target = view->id;
    if (to == AK_TIER_WARM) {
        job->row.snapshot = view->cover;
    }
    enum ak_rc rc = ak_archive_payload_write(job, err);
    if (rc == AK_OK) {
        rc = ak_archive_job_enter(archive, job, err);
    }
    if (rc != AK_OK) {
        ak_archive_job_free(job);
        return rc;
    }
    rc = ak_archive_job_put(archive, job, err);
    if (rc != AK_OK) {
        ak_archive_job_leave(archive, job);
        return rc;
    }
    *out = job;
    return AK_OK;
}

/* How it ended is in the row, or will be: a thread of the archive sees to it. */
static void end(struct ak_archive *archive, struct archive_job *job, enum ak_rc rc,
                const struct ak_err *err)
{
    job->row.step = rc == AK_OK ? STEP_COMMITTED : job->row.step;
    if (ak_archive_job_settle(archive, job, rc, err, false) == JOB_RETRY) {
        ak_archive_job_queue(archive, job);
    } else {
        ak_archive_job_leave(archive, job);
    }
}

static enum ak_rc sink(struct ak_archive *archive, struct archive_job *job,
                       const struct ak_archive_move *move, struct ak_err *err)
{
    struct sinking sinking = {.archive = archive, .job = job, .move = move};
    ak_uuid_format(&job->row.collection, sinking.id_text);
    sinking.id = (struct ak_str){sinking.id_text, sizeof sinking.id_text};
    ak_crash_point("tier_cold_after_row");
    enum ak_rc rc = goes_on(&sinking, 0) ? AK_OK : stopped(err);
    if (rc == AK_OK) {
        rc = ak_engine_tier_warm(archive->engine, sinking.id, err);
    }
    if (rc == AK_OK) {
        rc = cover(&sinking, err);
    }
    if (rc == AK_OK) {
        ak_crash_point("tier_cold_after_snapshot");
        rc = goes_on(&sinking, 0.95) ? AK_OK : stopped(err);
    }
    if (rc == AK_OK) {
        rc = ak_engine_tier_cold(archive->engine, &job->row.collection, &job->row.snapshot,
                                 &job->row.id, STEP_COMMITTED, err);
    }
    return rc;
}

enum ak_rc ak_archive_sink(struct ak_archive *archive, struct ak_str collection,
                           const struct ak_archive_move *move, struct ak_uuid *id,
                           struct ak_err *err)
{
    struct ak_tier_view view;
    struct archive_job *job = NULL;
    struct ak_err local;
    err = err ? err : &local;
    enum ak_rc rc = ak_engine_tier(archive->engine, collection, &view, err);
    if (rc != AK_OK || view.tier == AK_TIER_COLD) {
        return rc;
    }
    if (view.documents == 0) {
        return ak_fail(err, AK_INVALID, "collection '%.*s' is empty: there is nothing to move",
                       AK_STR_ARG(collection));
    }
    rc = begin(archive, &view, AK_TIER_COLD, &job, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (id) {
        *id = job->row.id;
    }
    rc = sink(archive, job, move, err);
    ak_crash_point("tier_cold_before_done");
    end(archive, job, rc, err);
    ak_crash_point("tier_cold_after_done");
    return rc;
}

enum ak_rc ak_archive_wake(struct ak_archive *archive, struct ak_str collection,
                           const struct ak_archive_move *move, struct ak_uuid *id,
                           struct ak_err *err)
{
    struct ak_tier_view view;
    struct archive_job *job = NULL;
    struct ak_err local;
    err = err ? err : &local;
    enum ak_rc rc = ak_engine_tier(archive->engine, collection, &view, err);
    if (rc != AK_OK || view.tier != AK_TIER_COLD) {
        return rc;
    }
    rc = begin(archive, &view, AK_TIER_WARM, &job, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (id) {
        *id = job->row.id;
    }
    ak_crash_point("tier_wake_after_row");
    rc = ak_archive_restore_once(archive, job, move, err);
    if (rc != AK_OK && job->was_stopped) {
        rc = stopped(err);
    }
    ak_crash_point("tier_wake_before_done");
    end(archive, job, rc, err);
    ak_crash_point("tier_wake_after_done");
    return rc;
}
