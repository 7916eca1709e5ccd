/* restore.c — a snapshot becomes a collection again: a new one, or in place of the present state.
 *
 * In order; [name] is a crash point:
 *   1. row       durable, STEP_BEGUN, with the id that the collection will have
 *                                                                       [restore_after_row]
 *   2. image     fetched to a staging file; its digest is computed beside the beginning of 3
 *                                                                       [restore_after_fetch]
 *      or, when there is none or it is damaged, built from the documents of the data object, which
 *      the row then says
 *   3. adopt     verified and taken over; the row is at STEP_COMMITTED in the same transaction
 *                                                      ← the commit point (src/engine/adopt.c)
 *   4. row       done                                                   [restore_after_adopt]
 *                                                                       [restore_after_done]
 *
 * Nothing is in the directory of collections before 3, so a crash before it leaves the live data
 * untouched, a staging file that the engine removes at its next open, and a failed job. A crash
 * after it is finished by the next open. Writes that come between 3 and a crash are kept: the
 * adoption is not repeated, since the row knows of it.
 */
#include "archive/archive_priv.h"
#include "base/fault.h"
#include "base/mem.h"
#include <stdio.h>

#define PATH_MAX_BYTES 4096

struct restore {
    struct ak_archive *archive;
    const struct ak_archive_move *move; /* of a move; may be NULL */
    struct archive_job *job;
    struct ak_arena arena;
    struct ak_snapshot_meta meta;
    struct ak_collection_info info; /* of the collection that it becomes */
    char path[PATH_MAX_BYTES];
    struct ak_snapshot_fetch *fetch; /* while the image that is adopted is hashed */
    struct ak_image_builder *builder;
    uint64_t built;
};

static bool go_on(struct restore *restore, double fraction)
{
    const struct ak_archive_move *move = restore->move;
    atomic_store(&restore->job->progress_ppm, (uint32_t)(fraction * 1e6));
    bool goes_on = !atomic_load(&restore->archive->stops) &&
                   !(move && move->tell && !move->tell(move->ctx, fraction));
    restore->job->was_stopped = restore->job->was_stopped || !goes_on;
    return goes_on;
}

static bool tell(void *ctx, double fraction)
{
    return go_on(ctx, fraction * 0.8);
}

static bool tell_left(void *ctx, uint64_t left)
{
    struct restore *restore = ctx;
    double part = restore->built ? (double)left / (double)restore->built : 0;
    return go_on(restore, 0.9 - 0.5 * part);
}

/* The digest, computed while the engine looked at the image. */
static enum ak_rc confirm(void *ctx, struct ak_err *err)
{
    struct restore *restore = ctx;
    return restore->fetch ? ak_snapshot_fetch_check(restore->fetch, err) : AK_OK;
}

static enum ak_rc adopt(struct restore *restore, struct ak_err *err)
{
    struct archive_job *job = restore->job;
    const struct ak_uuid *snapshot = &job->row.snapshot;
    /* The snapshots of another collection keep the state of none but that one. */
    bool covers = restore->meta.lossless && restore->meta.has_image && !job->rebuilt &&
                  ak_uuid_eq(&job->row.collection, &job->row.target);
    struct ak_engine_adopt_options options = {.replace = !job->into.len,
                                              .documents = restore->meta.vector_count,
                                              .job = &job->row.id,
                                              .job_step = STEP_COMMITTED,
                                              .cover = covers ? snapshot : NULL,
                                              .only_cold =
                                                  job->kind == AK_JOB_TIER ? snapshot : NULL,
                                              .confirm = confirm,
                                              .ctx = restore};
    return ak_engine_adopt(restore->archive->engine, &restore->info, restore->path, &options, NULL,
                           err);
}

/* Damage to the image is no reason to fail: the documents are there as well. */
static bool is_of_the_image(enum ak_rc rc)
{
    return rc == AK_CORRUPT || rc == AK_UNSUPPORTED;
}

static enum ak_rc from_image(struct restore *restore, struct ak_err *err)
{
    struct ak_archive *archive = restore->archive;
    enum ak_rc rc = ak_snapshot_fetch_begin(archive->store, &restore->meta,
                                            ak_engine_fs(archive->engine), restore->path,
                                            archive->hashers, tell, restore, &restore->fetch, err);
    if (rc == AK_OK) {
        ak_crash_point(restore->job->kind == AK_JOB_TIER ? "tier_wake_after_fetch"
                                                         : "restore_after_fetch");
        rc = adopt(restore, err);
        ak_snapshot_fetch_end(restore->fetch);
        restore->fetch = NULL;
        return rc;
    }
    return rc == AK_NOT_FOUND ? ak_wrap(err, AK_CORRUPT, "the image") : rc;
}

static enum ak_rc add_rows(void *ctx, const struct ak_document *rows, size_t count,
                           struct ak_err *err)
{
    struct restore *restore = ctx;
    restore->built += count;
    if (!go_on(restore, 0.4 * (double)restore->built / (double)(restore->meta.vector_count + 1))) {
        return ak_fail(err, AK_CONFLICT, "cancelled");
    }
    return ak_image_builder_add(restore->builder, rows, count, err);
}

static enum ak_rc from_documents(struct restore *restore, struct ak_err *err)
{
    struct ak_archive *archive = restore->archive;
    struct archive_job *job = restore->job;
    uint64_t documents = 0;
    restore->built = 0;
    job->rebuilt = true;
    enum ak_rc rc = ak_archive_payload_write(job, err);
    if (rc == AK_OK) {
        rc = ak_archive_job_put(archive, job, err);
    }
    if (rc == AK_OK) {
        rc = ak_image_builder_open(archive->engine, &restore->info, &restore->builder, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    rc = ak_snapshot_read(archive->store, &restore->meta, add_rows, restore, err);
    if (rc != AK_OK) {
        ak_image_builder_abort(restore->builder);
        return rc == AK_EXISTS ? ak_wrap(err, AK_CORRUPT, "the data object") : rc;
    }
    rc = ak_image_builder_commit(restore->builder, restore->path, tell_left, restore, &documents,
                                 err);
    return rc == AK_OK ? adopt(restore, err) : rc;
}

static enum ak_rc restore_once(struct restore *restore, struct ak_err *err)
{
    struct archive_job *job = restore->job;
    struct ak_archive *archive = restore->archive;
    enum ak_rc rc = ak_snapshot_get(archive->store, &job->row.collection, &job->row.snapshot,
                                    &restore->arena, &restore->meta, err);
    if (rc != AK_OK) {
        return rc;
    }
    restore->info = restore->meta.collection;
    restore->info.id = job->row.target;
    if (job->into.len) {
        restore->info.name = job->into;
    }
    ak_engine_staging_path(archive->engine, &job->row.id, restore->path, sizeof restore->path);
    if (restore->meta.has_image && !job->rebuilt) {
        rc = from_image(restore, err);
        if (!is_of_the_image(rc)) {
            return rc;
        }
        ak_log_warn(archive->log, "archive", "the index is built anew from the documents: %s",
                    err->text);
    }
    return from_documents(restore, err);
}

enum ak_rc ak_archive_restore_once(struct ak_archive *archive, struct archive_job *job,
                                   const struct ak_archive_move *move, struct ak_err *err)
{
    struct restore restore = {.archive = archive, .job = job, .move = move};
    ak_arena_init(&restore.arena, 0);
    enum ak_rc rc = restore_once(&restore, err);
    if (rc == AK_OK && job->kind == AK_JOB_RESTORE) {
        ak_archive_job_log(archive, job, restore.info.name, restore.meta.vector_count);
    }
    ak_arena_release(&restore.arena);
    return rc;
}

static enum job_outcome stop(struct ak_archive *archive, struct archive_job *job)
{
    struct ak_err err;
    job->row.step = STEP_AGAIN;
    if (ak_archive_job_put(archive, job, &err) != AK_OK) {
        ak_log_warn(archive->log, "archive", "a stopped restore is given up: %s", err.text);
    }
    return JOB_STOPPED;
}

enum job_outcome ak_archive_restore_run(struct ak_archive *archive, struct archive_job *job)
{
    struct ak_err err;
    job->row.step = STEP_BEGUN;
    /* At every try: the one before may have committed and been taken back. */
    enum ak_rc rc = ak_archive_job_put(archive, job, &err);
    if (rc == AK_OK) {
        rc = ak_archive_restore_once(archive, job, NULL, &err);
    }
    if (rc == AK_OK) {
        job->row.step = STEP_COMMITTED;
        ak_crash_point("restore_after_adopt");
        enum job_outcome outcome = ak_archive_job_settle(archive, job, AK_OK, NULL, false);
        ak_crash_point("restore_after_done");
        return outcome;
    }
    if (atomic_load(&archive->stops) && ak_rc_is_retryable(rc)) {
        return stop(archive, job);
    }
    return ak_archive_job_may_retry(archive, job, rc, &err)
               ? JOB_RETRY
               : ak_archive_job_settle(archive, job, rc, &err, false);
}

/* What can be said before a job is made: names, and that the snapshot is there. */
static enum ak_rc check(struct ak_archive *archive, const struct ak_uuid *collection,
                        const struct ak_uuid *snapshot, struct ak_str into, bool exists,
                        struct ak_err *err)
{
    struct ak_arena arena;
    struct ak_snapshot_meta meta;
    struct ak_collection_summary summary;
    enum ak_rc rc = into.len ? ak_name_check(into, "into", err) : AK_OK;
    ak_arena_init(&arena, 0);
    if (rc == AK_OK && into.len &&
        ak_engine_describe(archive->engine, into, &arena, &summary, NULL) == AK_OK) {
        rc = ak_fail(err, AK_EXISTS, "a collection named '%.*s' exists already", AK_STR_ARG(into));
    } else if (rc == AK_OK && !into.len && !exists) {
        rc = ak_fail(err, AK_NOT_FOUND,
                     "the collection has been dropped: restore into a new one, with a name");
    }
    if (rc == AK_OK) {
        rc = ak_snapshot_get(archive->store, collection, snapshot, &arena, &meta, err);
    }
    ak_arena_release(&arena);
    return rc;
}

enum ak_rc ak_archive_restore(struct ak_archive *archive, struct ak_str collection,
                              const struct ak_uuid *snapshot, struct ak_str into,
                              struct ak_uuid *id, struct ak_err *err)
{
    struct ak_uuid source;
    bool exists = false;
    enum ak_rc rc = ak_archive_resolve(archive, collection, &source, &exists, err);
    if (rc == AK_OK) {
        rc = check(archive, &source, snapshot, into, exists, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    struct archive_job *job = ak_archive_job_make(archive, AK_JOB_RESTORE);
    job->row.collection = source;
    job->row.snapshot = *snapshot;
    job->row.target = into.len ? ak_uuid_make(&archive->uuids) : source;
    job->into = into.len ? ak_arena_str(&job->strings, into) : AK_STR_NONE;
    struct ak_uuid made = job->row.id;
    if (into.len && !job->into.p) {
        ak_archive_job_free(job);
        return ak_fail(err, AK_NOMEM, "a job's name");
    }
    rc = ak_archive_begin(archive, job, err);
    if (rc == AK_OK) {
        *id = made;
    }
    return rc;
}
