/* service_snapshots.c — snapshots and jobs as the APIs see them, over src/archive.
 *
 * Creating and restoring are jobs. An operation starts the job, waits for it as long as its caller
 * asked, and then tells either the result or the job that goes on. All of them run on the slow
 * threads: they wait for the store.
 */
#include "service/service_priv.h"

#define WAIT_SLICE_MS 250 /* between two looks at whether the server stops */

const struct ak_snapshot_options *ak_service_snapshot_defaults(const struct ak_service *service)
{
    return &service->snapshots;
}

static enum ak_rc archive_of(struct ak_op *op, struct ak_archive **archive)
{
    *archive = op->service->archive;
    return *archive ? AK_OK : ak_fail(&op->err, AK_UNSUPPORTED, "this server keeps no snapshots");
}

/* Until the job is over, the time is up, or the server stops. AK_OK also when it goes on. */
static enum ak_rc await_job(struct ak_snapshot_op *op, struct ak_archive *archive)
{
    struct ak_service *service = op->op.service;
    int64_t began = ak_mono_ns(service->clock);
    for (;;) {
        int64_t spent_ms = (ak_mono_ns(service->clock) - began) / 1000000;
        int64_t left = op->wait_ms < 0 ? WAIT_SLICE_MS : op->wait_ms - spent_ms;
        int64_t slice = left < 0 ? 0 : left < WAIT_SLICE_MS ? left : WAIT_SLICE_MS;
        enum ak_rc rc = ak_archive_wait(archive, &op->job.id, slice, &op->op.err);
        if (rc != AK_TIMEOUT) {
            op->is_over = rc == AK_OK;
            return rc;
        }
        /* A job may end with a time-out of its own: its row tells that from ours. */
        rc = ak_archive_job(archive, &op->job.id, op->op.arena, &op->job, &op->op.err);
        if (rc != AK_OK) {
            return rc;
        }
        if (op->job.state == AK_JOB_FAILED) {
            return ak_fail(&op->op.err, op->job.rc, "%.*s", AK_STR_ARG(op->job.error));
        }
        if (op->job.state == AK_JOB_DONE) {
            op->is_over = true;
            return AK_OK;
        }
        if (left <= 0 || atomic_load(&service->late_ns) != 0) {
            return AK_OK;
        }
    }
}

/* Wait, then the job's row as it is. */
static enum ak_rc finish_job(struct ak_snapshot_op *op, struct ak_archive *archive)
{
    enum ak_rc rc = await_job(op, archive);
    if (rc == AK_OK) {
        rc = ak_archive_job(archive, &op->job.id, op->op.arena, &op->job, &op->op.err);
    }
    return rc;
}

static struct ak_str id_text(const struct ak_uuid *id, char text[AK_UUID_TEXT_LEN])
{
    ak_uuid_format(id, text);
    return (struct ak_str){text, AK_UUID_TEXT_LEN};
}

static void run_step(struct ak_op *base)
{
    struct ak_snapshot_op *op = AK_OP_OF(op, struct ak_snapshot_op, base);
    struct ak_archive *archive = NULL;
    enum ak_rc rc = archive_of(base, &archive);
    rc = rc == AK_OK ? op->step(op, archive) : rc;
    if (rc == AK_TIMEOUT) { /* of the store; as it is it would say that the client was slow */
        rc = ak_wrap(&base->err, AK_UNAVAILABLE, "the store does not answer");
    }
    ak_op_done(base, rc);
}

static void start(struct ak_service *service, struct ak_snapshot_op *op,
                  enum ak_rc (*step)(struct ak_snapshot_op *op, struct ak_archive *archive))
{
    op->step = step;
    op->is_over = false;
    ak_op_start_slow(service, &op->op, run_step);
}

/* --- Create and restore: jobs --- */

static enum ak_rc create(struct ak_snapshot_op *op, struct ak_archive *archive)
{
    char text[AK_UUID_TEXT_LEN];
    enum ak_rc rc = ak_archive_create(archive, op->collection, &op->options, &op->job.id,
                                      &op->snapshot, &op->op.err);
    rc = rc == AK_OK ? finish_job(op, archive) : rc;
    if (rc == AK_OK && op->is_over) { /* by id: the collection may have been renamed or dropped */
        rc = ak_archive_get(archive, id_text(&op->job.collection, text), &op->snapshot,
                            op->op.arena, &op->meta, &op->op.err);
    }
    return rc;
}

void ak_service_snapshot_create(struct ak_service *service, struct ak_snapshot_op *op)
{
    start(service, op, create);
}

static enum ak_rc restore(struct ak_snapshot_op *op, struct ak_archive *archive)
{
    char text[AK_UUID_TEXT_LEN];
    enum ak_rc rc = ak_archive_restore(archive, op->collection, &op->snapshot, op->into,
                                       &op->job.id, &op->op.err);
    rc = rc == AK_OK ? finish_job(op, archive) : rc;
    if (rc == AK_OK && op->is_over) {
        rc = ak_engine_describe(op->op.service->engine, id_text(&op->job.collection, text),
                                op->op.arena, &op->restored, &op->op.err);
    }
    return rc;
}

void ak_service_snapshot_restore(struct ak_service *service, struct ak_snapshot_op *op)
{
    start(service, op, restore);
}

/* --- The others --- */

static enum ak_rc get(struct ak_snapshot_op *op, struct ak_archive *archive)
{
    return ak_archive_get(archive, op->collection, &op->snapshot, op->op.arena, &op->meta,
                          &op->op.err);
}

void ak_service_snapshot_get(struct ak_service *service, struct ak_snapshot_op *op)
{
    start(service, op, get);
}

static enum ak_rc list(struct ak_snapshot_op *op, struct ak_archive *archive)
{
    return ak_archive_list(archive, op->collection, &op->filter, op->op.arena, &op->list,
                           &op->count, &op->op.err);
}

void ak_service_snapshot_list(struct ak_service *service, struct ak_snapshot_op *op)
{
    start(service, op, list);
}

static bool goes_on(void *ctx, double fraction)
{
    (void)fraction;
    return !ak_service_is_late(ctx);
}

static enum ak_rc verify(struct ak_snapshot_op *op, struct ak_archive *archive)
{
    struct ak_service *service = op->op.service;
    enum ak_rc rc = ak_archive_verify(archive, op->collection, &op->snapshot, goes_on, service,
                                      &op->report, &op->op.err);
    return rc == AK_CONFLICT && ak_service_is_late(service)
               ? ak_fail(&op->op.err, AK_UNAVAILABLE, "the server is stopping")
               : rc;
}

void ak_service_snapshot_verify(struct ak_service *service, struct ak_snapshot_op *op)
{
    start(service, op, verify);
}

static enum ak_rc discard(struct ak_snapshot_op *op, struct ak_archive *archive)
{
    enum ak_rc rc = get(op, archive);
    /* One whose metadata is damaged, or of a newer version, can be deleted all the same. */
    return rc == AK_OK || rc == AK_CORRUPT || rc == AK_UNSUPPORTED
               ? ak_archive_delete(archive, op->collection, &op->snapshot, &op->op.err)
               : rc;
}

void ak_service_snapshot_delete(struct ak_service *service, struct ak_snapshot_op *op)
{
    start(service, op, discard);
}

/* --- Jobs: rows of the catalog --- */

static void run_job(struct ak_op *base)
{
    struct ak_job_op *op = AK_OP_OF(op, struct ak_job_op, base);
    struct ak_archive *archive = NULL;
    enum ak_rc rc = archive_of(base, &archive);
    op->count = 1;
    op->jobs = rc == AK_OK ? ak_arena_alloc(base->arena, sizeof *op->jobs) : NULL;
    if (rc == AK_OK && !op->jobs) {
        rc = ak_fail(&base->err, AK_NOMEM, "no memory for a job");
    }
    if (rc == AK_OK) {
        rc = ak_archive_job(archive, &op->id, base->arena, op->jobs, &base->err);
    }
    ak_op_done(base, rc);
}

void ak_service_job(struct ak_service *service, struct ak_job_op *op)
{
    ak_op_start(service, &op->op, false, run_job);
}

static void run_jobs(struct ak_op *base)
{
    struct ak_job_op *op = AK_OP_OF(op, struct ak_job_op, base);
    struct ak_archive *archive = NULL;
    enum ak_rc rc = archive_of(base, &archive);
    if (rc == AK_OK) {
        rc = ak_archive_jobs(archive, op->limit, base->arena, &op->jobs, &op->count, &base->err);
    }
    ak_op_done(base, rc);
}

void ak_service_jobs(struct ak_service *service, struct ak_job_op *op)
{
    ak_op_start(service, &op->op, false, run_jobs);
}
