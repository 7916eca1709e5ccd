/* remove.c — deleting a snapshot, and removing what a failed job has left in the store.
 *
 * Deleting, in order; [name] is a crash point:
 *   1. row      durable                                                 [delete_after_row]
 *   2. objects  the metadata first         ← the commit point, then the others
 *                                                                       [delete_after_remove]
 *   3. row      done, and the snapshot is not known here any more       [delete_after_done]
 *
 * The snapshot that a cold collection lives in is not deleted: AK_CONFLICT before 1.
 *
 * A deletion that was begun is finished, by tries or by the next open: every step may be repeated.
 */
#include "archive/archive_priv.h"
#include "base/fault.h"
#include "base/mem.h"

enum job_outcome ak_archive_remove_run(struct ak_archive *archive, struct archive_job *job)
{
    struct ak_err err;
    enum ak_rc rc = AK_OK;
    if (!job->is_removed) {
        rc = ak_snapshot_remove(archive->store, &job->row.collection, &job->row.snapshot, &err);
    }
    if (rc == AK_OK) {
        job->is_removed = true;
        ak_crash_point("delete_after_remove");
        job->has_removed = true;
        enum job_outcome outcome = ak_archive_job_settle(archive, job, AK_OK, NULL, false);
        ak_crash_point("delete_after_done");
        return outcome;
    }
    if (atomic_load(&archive->stops)) {
        return JOB_STOPPED; /* the row says that it runs */
    }
    if (ak_archive_job_may_retry(archive, job, rc, &err)) {
        return JOB_RETRY;
    }
    return ak_archive_job_settle(archive, job, rc, &err, true);
}

enum job_outcome ak_archive_clean_run(struct ak_archive *archive, struct archive_job *job)
{
    struct ak_err err;
    enum ak_rc rc =
        ak_snapshot_abandon(archive->store, &job->row.collection, &job->row.snapshot, &err);
    job->has_made = false;
    job->has_removed = true;
    if (rc == AK_OK) {
        job->row.owes = false;
        rc = ak_archive_job_put(archive, job, &err);
        job->row.owes = rc != AK_OK;
    }
    if (rc == AK_OK) {
        return JOB_ENDED;
    }
    if (job->tries++ == 0) {
        ak_log_warn(archive->log, "archive", "objects of a failed job stay for now: %s", err.text);
    }
    return atomic_load(&archive->stops) ? JOB_STOPPED : JOB_RETRY;
}

enum ak_rc ak_archive_remove_one(struct ak_archive *archive, const struct ak_uuid *collection,
                                 const struct ak_uuid *snapshot, struct ak_err *err)
{
    struct archive_job *job = ak_archive_job_make(archive, AK_JOB_SNAPSHOT_DELETE);
    struct ak_uuid id = job->row.id;
    job->row.collection = *collection;
    job->row.snapshot = *snapshot;
    enum ak_rc rc = ak_archive_payload_write(job, err);
    if (rc == AK_OK) {
        rc = ak_archive_job_enter(archive, job, err);
    }
    if (rc != AK_OK) {
        ak_archive_job_free(job);
        return rc;
    }
    /* In the list before it is asked: no move to the store relies on it from here (tier.c). */
    rc = ak_engine_tier_uncover(archive->engine, collection, snapshot, err);
    if (rc == AK_OK) {
        rc = ak_archive_job_put(archive, job, err);
    }
    if (rc != AK_OK) {
        ak_archive_job_leave(archive, job);
        return rc;
    }
    ak_crash_point("delete_after_row");
    struct ak_err failure = {.rc = AK_OK};
    /* On this thread, which wants to know; what is left of it goes to the archive's threads. */
    enum ak_rc removed = ak_snapshot_remove(archive->store, collection, snapshot, &failure);
    if (removed == AK_OK) {
        job->is_removed = true;
        ak_archive_job_run(archive, job); /* writes the row */
        return ak_archive_wait(archive, &id, 0, err) == AK_TIMEOUT
                   ? ak_fail(err, AK_UNAVAILABLE, "the snapshot is gone, its job not recorded yet")
                   : AK_OK;
    }
    ak_archive_job_queue(archive, job);
    return ak_fail(err, removed, "%s (the deletion goes on by itself)", failure.text);
}

enum ak_rc ak_archive_delete(struct ak_archive *archive, struct ak_str collection,
                             const struct ak_uuid *snapshot, struct ak_err *err)
{
    struct ak_uuid id;
    enum ak_rc rc = ak_archive_resolve(archive, collection, &id, NULL, err);
    return rc == AK_OK ? ak_archive_remove_one(archive, &id, snapshot, err) : rc;
}
