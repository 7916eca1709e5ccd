/* create.c — a snapshot of a live collection.
 *
 * In order; [name] is a crash point:
 *   1. row       durable, STEP_BEGUN                                    [snapshot_after_row]
 *   2. hold      the collection's state is fixed and stays              [snapshot_after_hold]
 *   3. objects   data and image are in the store                        [snapshot_after_write]
 *   4. row       STEP_UPLOADED, with the metadata                       [after_s3_upload]
 *   5. metadata  is put                    ← the commit point           [snapshot_after_commit]
 *   6. row       done, and the snapshot is known here                   [snapshot_after_done]
 *
 * A crash before 4 is undone by the next open: the objects go, the job has failed. A crash after 4
 * is finished by it. A store that is away holds the job up, with the state held all the while, so
 * that the snapshot shows one moment: that takes the room of one image on the disk, when the
 * collection is written meanwhile. Between tries the row is at STEP_AGAIN: a crash then begins it
 * anew, with the state of that time. Past the time that is allowed the job fails, and what it may
 * have stored is owed.
 */
#include "archive/archive_priv.h"
#include "base/fault.h"
#include "base/mem.h"

struct telling {
    struct ak_archive *archive;
    struct archive_job *job;
};

static bool tell(void *ctx, double fraction)
{
    struct telling *telling = ctx;
    atomic_store(&telling->job->progress_ppm, (uint32_t)(fraction * AK_PROGRESS_UPLOADED_PPM));
    return !atomic_load(&telling->archive->stops);
}

static enum ak_rc read_rows(void *ctx, uint64_t from, size_t count, struct ak_document *rows,
                            struct ak_err *err)
{
    return ak_hold_read(ctx, from, count, rows, err);
}

static void pass_rows(void *ctx, uint64_t row)
{
    ak_hold_passed(ctx, row);
}

/* The objects go, or are owed; then the job has failed. */
static enum job_outcome give_up(struct ak_archive *archive, struct archive_job *job, enum ak_rc rc,
                                const struct ak_err *err)
{
    struct ak_err local;
    enum ak_rc removed =
        ak_snapshot_abandon(archive->store, &job->row.collection, &job->row.snapshot, &local);
    return ak_archive_job_settle(archive, job, rc, err, removed != AK_OK);
}

/* Closing: the next open begins it anew. What is stored is removed now, or then overwritten. */
static enum job_outcome stop(struct ak_archive *archive, struct archive_job *job)
{
    struct ak_err err;
    job->row.step = STEP_AGAIN;
    enum ak_rc rc = ak_archive_job_put(archive, job, &err);
    if (rc == AK_OK) {
        rc = ak_snapshot_remove(archive->store, &job->row.collection, &job->row.snapshot, &err);
    }
    if (rc != AK_OK) {
        ak_log_warn(archive->log, "archive",
                    "a stopped snapshot is tidied up at the next start: %s", err.text);
    }
    return JOB_STOPPED;
}

/* The image generation that is held, which a later life must know to say what is covered: it lies
 * in the row's target, which a snapshot does not have. */
static void put_generation(struct ak_uuid *target, uint64_t generation)
{
    *target = (struct ak_uuid){{0}};
    for (int i = 0; i < 8; i++) {
        target->b[15 - i] = (uint8_t)(generation >> (8 * i));
    }
}

static uint64_t generation_of(const struct ak_uuid *target)
{
    uint64_t generation = 0;
    for (int i = 8; i < 16; i++) {
        generation = generation << 8 | target->b[i];
    }
    return generation;
}

static enum ak_rc take_hold(struct ak_archive *archive, struct archive_job *job, struct ak_err *err)
{
    char id[AK_UUID_TEXT_LEN];
    if (job->hold) {
        return AK_OK;
    }
    ak_uuid_format(&job->row.collection, id);
    enum ak_rc rc =
        ak_engine_hold(archive->engine, (struct ak_str){id, sizeof id}, &job->hold, err);
    if (rc == AK_OK) {
        put_generation(&job->row.target, ak_hold_generation(job->hold));
    }
    if (rc == AK_OK && ak_hold_rows(job->hold) == 0) {
        rc = ak_fail(err, AK_INVALID, "collection '%.*s' is empty: there is nothing to keep",
                     AK_STR_ARG(ak_hold_info(job->hold)->name));
    }
    ak_crash_point("snapshot_after_hold");
    return rc;
}

/* 3 and 4: *meta is what the row has in the end. */
static enum ak_rc upload(struct ak_archive *archive, struct archive_job *job,
                         struct ak_arena *arena, struct ak_err *err)
{
    struct telling telling = {archive, job};
    struct ak_snapshot_meta meta;
    struct ak_snapshot_source source = {
        .info = *ak_hold_info(job->hold),
        .lsn = ak_hold_lsn(job->hold),
        .rows = ak_hold_rows(job->hold),
        .read = read_rows,
        .passed = pass_rows,
        .ctx = job->hold,
        .image_path = ak_hold_image_path(job->hold),
        .image_blob = ak_hold_image_blob(job->hold),
        .image_is_checked = ak_hold_is_checked(job->hold),
    };
    struct ak_buf json;
    job->options.pool = archive->encoders;
    enum ak_rc rc = ak_snapshot_write(archive->store, &job->row.snapshot, &source, &job->options,
                                      job->row.created_us, arena, tell, &telling, &meta, err);
    if (rc != AK_OK) {
        return rc;
    }
    ak_crash_point("snapshot_after_write");
    ak_buf_init(&json, AK_JOB_PAYLOAD_MAX);
    rc = ak_snapshot_meta_write(&meta, &json, err);
    if (rc == AK_OK) {
        struct ak_str before = job->row.payload;
        job->row.payload = ak_arena_str(&job->strings, ak_buf_str(&json));
        job->row.step = STEP_UPLOADED;
        rc = job->row.payload.p ? ak_archive_job_put(archive, job, err)
                                : ak_fail(err, AK_NOMEM, "a snapshot's metadata");
        if (rc != AK_OK) {
            job->row.step = STEP_BEGUN;
            job->row.payload = before;
        }
    }
    ak_buf_release(&json);
    if (rc == AK_OK) {
        ak_crash_point("after_s3_upload");
    }
    return rc;
}

/* 5 and 6. */
static enum ak_rc commit(struct ak_archive *archive, struct archive_job *job,
                         struct ak_arena *arena, struct ak_err *err)
{
    struct ak_snapshot_meta meta;
    enum ak_rc rc = ak_snapshot_meta_read(job->row.payload, arena, &meta, err);
    if (rc == AK_OK) {
        rc = ak_snapshot_commit(archive->store, &meta, err);
    }
    if (rc == AK_OK) {
        bool covers = meta.lossless && meta.has_image;
        ak_crash_point("snapshot_after_commit");
        job->has_made = true;
        job->made = (struct ak_catalog_snapshot){.id = meta.id,
                                                 .collection = job->row.collection,
                                                 .created_us = meta.created_us,
                                                 .lsn = meta.lsn,
                                                 .bytes = meta.size_bytes,
                                                 .generation =
                                                     covers ? generation_of(&job->row.target) : 0};
        ak_archive_job_log(archive, job, meta.collection.name, meta.vector_count);
    }
    return rc;
}

enum job_outcome ak_archive_create_run(struct ak_archive *archive, struct archive_job *job)
{
    struct ak_err err;
    struct ak_arena arena;
    enum ak_rc rc = AK_OK;
    ak_arena_init(&arena, 0);
    if (job->row.step != STEP_UPLOADED) {
        job->row.step = STEP_BEGUN; /* at every try: the row says so before anything is stored */
        rc = ak_archive_job_put(archive, job, &err);
        if (rc == AK_OK && job->is_taken_over) { /* it may have been killed in the middle */
            rc =
                ak_snapshot_abandon(archive->store, &job->row.collection, &job->row.snapshot, &err);
            job->is_taken_over = rc != AK_OK;
        }
        if (rc == AK_OK) {
            rc = take_hold(archive, job, &err);
        }
        if (rc == AK_OK) {
            rc = upload(archive, job, &arena, &err);
        }
    }
    if (rc == AK_OK) {
        rc = commit(archive, job, &arena, &err);
    }
    ak_arena_release(&arena);
    if (rc == AK_OK) {
        enum job_outcome outcome = ak_archive_job_settle(archive, job, AK_OK, NULL, false);
        ak_crash_point("snapshot_after_done");
        return outcome;
    }
    if (atomic_load(&archive->stops) && ak_rc_is_retryable(rc)) {
        return job->row.step == STEP_UPLOADED ? JOB_STOPPED : stop(archive, job);
    }
    return ak_archive_job_may_retry(archive, job, rc, &err) ? JOB_RETRY
                                                            : give_up(archive, job, rc, &err);
}

enum ak_rc ak_archive_begin_create(struct ak_archive *archive, const struct ak_uuid *collection,
                                   const struct ak_snapshot_options *options,
                                   enum create_for what_for, struct ak_uuid *id,
                                   struct ak_uuid *snapshot, struct ak_err *err)
{
    struct archive_job *job = ak_archive_job_make(archive, AK_JOB_SNAPSHOT);
    job->options = options ? *options : archive->options.snapshots;
    job->row.collection = *collection;
    job->row.snapshot = ak_uuid_make(&archive->uuids);
    job->was_scheduled = what_for == CREATE_SCHEDULED;
    job->is_once = what_for == CREATE_TO_MOVE;
    struct ak_uuid ids[2] = {job->row.id, job->row.snapshot};
    enum ak_rc rc = ak_archive_begin(archive, job, err);
    if (rc == AK_OK) {
        *id = ids[0];
        *snapshot = ids[1];
    }
    return rc;
}

enum ak_rc ak_archive_create(struct ak_archive *archive, struct ak_str collection,
                             const struct ak_snapshot_options *options, struct ak_uuid *job,
                             struct ak_uuid *snapshot, struct ak_err *err)
{
    struct ak_arena arena;
    struct ak_collection_summary summary;
    uint32_t away_ms = ak_objstore_away_ms(archive->store);
    ak_arena_init(&arena, 0);
    enum ak_rc rc = options ? ak_snapshot_options_check(options, err) : AK_OK;
    if (rc == AK_OK) {
        rc = ak_engine_describe(archive->engine, collection, &arena, &summary, err);
    }
    struct ak_uuid id = rc == AK_OK ? summary.info.id : (struct ak_uuid){{0}};
    if (rc == AK_OK && summary.tier == AK_TIER_COLD) {
        rc = ak_fail(
            err, AK_COLD,
            "collection '%.*s' is cold: its state is in a snapshot already; use it once, and "
            "try again, to have another",
            AK_STR_ARG(collection));
    }
    if (rc == AK_OK && summary.documents == 0) {
        rc = ak_fail(err, AK_INVALID, "collection '%.*s' is empty: there is nothing to keep",
                     AK_STR_ARG(collection));
    } else if (rc == AK_OK && away_ms) { /* rather now than by a job that fails after minutes */
        rc = ak_fail(err, AK_UNAVAILABLE, "%s is away: no snapshot can be stored, try again later",
                     ak_objstore_name(archive->store));
        ak_err_set_retry_after(err, away_ms);
    }
    ak_arena_release(&arena);
    return rc == AK_OK
               ? ak_archive_begin_create(archive, &id, options, CREATE_ASKED, job, snapshot, err)
               : rc;
}
