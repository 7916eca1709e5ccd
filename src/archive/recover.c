/* recover.c — the jobs of a former life.
 *
 *     step       snapshot                    restore, tier             snapshot_delete
 *     BEGUN      failed; its objects owed    failed; nothing is left   goes on
 *     AGAIN      begun anew                  begun anew (restore)      –
 *     UPLOADED   goes on: metadata           –                         –
 *     COMMITTED  –                           done                      –
 *
 * A job that a crash has interrupted before its commit is not begun anew: it may be the reason for
 * the crash. What a failed job owes is removed. A move is not begun anew either: where collections
 * belong is decided above, and may be decided otherwise by now. A snapshot that a move has waited
 * for is a job of its own.
 */
#include "archive/archive_priv.h"
#include "base/mem.h"

static enum ak_rc copy_row(struct archive_job *job, const struct ak_catalog_job *row,
                           struct ak_err *err)
{
    job->row = *row;
    job->row.kind = ak_str_of(ak_job_kind_name(job->kind));
    job->row.payload = ak_arena_str(&job->strings, row->payload);
    job->row.error = ak_arena_str(&job->strings, row->error);
    return job->row.payload.p && job->row.error.p ? AK_OK
                                                  : ak_fail(err, AK_NOMEM, "jobs to go on with");
}

/* Interrupted before its commit, or with a payload that cannot be read. */
static enum ak_rc fail_job(struct ak_archive *archive, struct archive_job *job,
                           const struct ak_err *why, struct ak_err *err)
{
    job->row.state = AK_CATALOG_JOB_FAILED;
    job->row.rc = why->rc;
    job->row.error = ak_arena_str(&job->strings, ak_str_of(why->text));
    job->row.finished_us = ak_now_us(archive->clock);
    job->row.owes = job->kind == AK_JOB_SNAPSHOT;
    job->is_cleaning = job->row.owes;
    return ak_archive_job_put(archive, job, err);
}

/* What becomes of it; *runs: it needs a thread. */
static enum ak_rc decide(struct ak_archive *archive, struct archive_job *job, bool *runs,
                         struct ak_err *err)
{
    struct ak_err why;
    *runs = true;
    if (job->row.state != AK_CATALOG_JOB_RUNNING) {
        job->is_cleaning = true;
        return AK_OK;
    }
    if (ak_archive_payload_read(job, &why) != AK_OK) {
        enum ak_rc rc = fail_job(archive, job, &why, err);
        *runs = job->row.owes;
        return rc;
    }
    bool restores = job->kind == AK_JOB_RESTORE || job->kind == AK_JOB_TIER;
    if (restores && job->row.step == STEP_COMMITTED) {
        *runs = false;
        job->row.state = AK_CATALOG_JOB_DONE;
        job->row.finished_us = ak_now_us(archive->clock);
        return ak_archive_job_put(archive, job, err);
    }
    if (job->kind == AK_JOB_TIER ||
        (job->row.step == STEP_BEGUN && job->kind != AK_JOB_SNAPSHOT_DELETE)) {
        (void)ak_fail(&why, AK_UNAVAILABLE,
                      job->kind == AK_JOB_TIER
                          ? "interrupted: the server ended before it was moved; it is where it was"
                      : job->kind == AK_JOB_RESTORE
                          ? "the server ended before it was restored; nothing has changed"
                          : "the server ended before it was stored; nothing of it is left");
        enum ak_rc rc = fail_job(archive, job, &why, err);
        *runs = job->row.owes;
        return rc;
    }
    return AK_OK;
}

static enum ak_rc take_up(void *ctx, const struct ak_catalog_job *row, struct ak_err *err)
{
    struct ak_archive *archive = ctx;
    enum ak_job_kind kind = AK_JOB_SNAPSHOT;
    bool runs = false;
    if (!ak_archive_kind_parse(row->kind, &kind)) {
        ak_log_warn(archive->log, "archive", "a job of kind '%.*s' is left alone: it is not known",
                    AK_STR_ARG(row->kind));
        return AK_OK;
    }
    struct archive_job *job = ak_archive_job_make(archive, kind);
    job->is_taken_over = true;
    enum ak_rc rc = copy_row(job, row, err);
    if (rc == AK_OK) {
        rc = decide(archive, job, &runs, err);
    }
    if (rc == AK_OK && runs) {
        rc = ak_archive_job_enter(archive, job, err);
    }
    if (rc != AK_OK || !runs) {
        ak_archive_job_free(job);
        return rc;
    }
    ak_archive_job_queue(archive, job);
    return AK_OK;
}

enum ak_rc ak_archive_recover(struct ak_archive *archive, struct ak_err *err)
{
    return ak_catalog_jobs_open(archive->catalog, take_up, archive, err);
}
