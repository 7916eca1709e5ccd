/* service_snapshots.c — snapshots and jobs as the APIs see them, over src/archive.
 *
 * Creating and restoring are jobs. An operation starts the job, is told of its end or of that of
 * the time that its caller gave it, and then tells either the result or the job that goes on: it
 * holds no thread meanwhile. What it does itself runs on the slow threads, which wait for the
 * store.
 */
#include "service/service_priv.h"

const struct ak_snapshot_options *ak_service_snapshot_defaults(const struct ak_service *service)
{
    return &service->snapshots;
}

static enum ak_rc archive_of(struct ak_op *op, struct ak_archive **archive)
{
    *archive = op->service->archive;
    return *archive ? AK_OK : ak_fail(&op->err, AK_UNSUPPORTED, "this server keeps no snapshots");
}

static struct ak_str id_text(const struct ak_uuid *id, char text[AK_UUID_TEXT_LEN])
{
    ak_uuid_format(id, text);
    return (struct ak_str){text, AK_UUID_TEXT_LEN};
}

static void finish(struct ak_snapshot_op *op, enum ak_rc rc)
{
    if (rc == AK_TIMEOUT) { /* of the store; as it is it would say that the client was slow */
        rc = ak_wrap(&op->op.err, AK_UNAVAILABLE, "the store does not answer");
    }
    ak_op_done(&op->op, rc);
}

static enum ak_rc create(struct ak_snapshot_op *op, struct ak_archive *archive);

/* A snapshot is made of an image, and a cold collection has none here. */
static bool must_wake(const struct ak_snapshot_op *op)
{
    const struct ak_service *service = op->op.service;
    struct ak_tier_view view;
    return op->step == create && service->tiers &&
           ak_engine_tier(service->engine, op->collection, &view, NULL) == AK_OK &&
           view.tier == AK_TIER_COLD;
}

static void run_step(struct ak_op *base)
{
    struct ak_snapshot_op *op = AK_OP_OF(op, struct ak_snapshot_op, base);
    struct ak_archive *archive = NULL;
    if (must_wake(op)) {
        ak_op_await(base, op->collection, base->service->slow, run_step);
        return;
    }
    enum ak_rc rc = archive_of(base, &archive);
    rc = rc == AK_OK ? op->step(op, archive) : rc;
    if (rc != AK_OK || !op->then) {
        finish(op, rc);
        return;
    }
    ak_archive_watch(archive, &op->watch); /* the operation may be over before this returns */
}

static void start(struct ak_service *service, struct ak_snapshot_op *op,
                  enum ak_rc (*step)(struct ak_snapshot_op *op, struct ak_archive *archive))
{
    op->step = step;
    op->then = NULL;
    op->is_over = false;
    ak_op_start_slow(service, &op->op, run_step);
}

/* --- Create and restore: jobs --- */

/* The job's row as it is now: over, failed (its code), or going on. */
static enum ak_rc look_at_job(struct ak_snapshot_op *op, struct ak_archive *archive)
{
    struct ak_err *err = &op->op.err;
    enum ak_rc waited = ak_archive_wait(archive, &op->job.id, 0, err);
    enum ak_rc rc = ak_archive_job(archive, &op->job.id, op->op.arena, &op->job, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (op->job.state == AK_JOB_FAILED) {
        return ak_fail(err, op->job.rc, "%.*s", AK_STR_ARG(op->job.error));
    }
    op->is_over = op->job.state == AK_JOB_DONE;
    /* One that is in no list and yet not over: how it ended could not be written. */
    return op->is_over || waited == AK_OK || waited == AK_TIMEOUT ? AK_OK : waited;
}

static void run_then(struct ak_op *base)
{
    struct ak_snapshot_op *op = AK_OP_OF(op, struct ak_snapshot_op, base);
    struct ak_archive *archive = base->service->archive;
    enum ak_rc rc = look_at_job(op, archive);
    finish(op, rc == AK_OK && op->is_over ? op->then(op, archive) : rc);
}

/* On the archive's thread. With the slow threads' queue full the job is told of as it was begun. */
static void on_watch(struct ak_job_watch *watch)
{
    struct ak_snapshot_op *op = AK_OP_OF(watch, struct ak_snapshot_op, watch);
    if (!ak_op_try_move_slow(&op->op, run_then)) {
        ak_op_done(&op->op, AK_OK);
    }
}

/* After a step has begun a job: its row, and who is told when it is over. */
static enum ak_rc await(struct ak_snapshot_op *op, struct ak_archive *archive,
                        enum ak_rc (*then)(struct ak_snapshot_op *op, struct ak_archive *archive))
{
    op->then = then;
    op->watch = (struct ak_job_watch){.job = op->job.id, .timeout_ms = op->wait_ms, .fn = on_watch};
    return ak_archive_job(archive, &op->job.id, op->op.arena, &op->job, &op->op.err);
}

static enum ak_rc get_made(struct ak_snapshot_op *op, struct ak_archive *archive)
{
    char text[AK_UUID_TEXT_LEN]; /* by id: the collection may have been renamed or dropped */
    return ak_archive_get(archive, id_text(&op->job.collection, text), &op->snapshot, op->op.arena,
                          &op->meta, &op->op.err);
}

static enum ak_rc create(struct ak_snapshot_op *op, struct ak_archive *archive)
{
    enum ak_rc rc = ak_archive_create(archive, op->collection, &op->options, &op->job.id,
                                      &op->snapshot, &op->op.err);
    return rc == AK_OK ? await(op, archive, get_made) : rc;
}

void ak_service_snapshot_create(struct ak_service *service, struct ak_snapshot_op *op)
{
    start(service, op, create);
}

static enum ak_rc describe_restored(struct ak_snapshot_op *op, struct ak_archive *archive)
{
    char text[AK_UUID_TEXT_LEN];
    (void)archive;
    return ak_engine_describe(op->op.service->engine, id_text(&op->job.collection, text),
                              op->op.arena, &op->restored, &op->op.err);
}

static enum ak_rc restore(struct ak_snapshot_op *op, struct ak_archive *archive)
{
    enum ak_rc rc = ak_archive_restore(archive, op->collection, &op->snapshot, op->into,
                                       &op->job.id, &op->op.err);
    return rc == AK_OK ? await(op, archive, describe_restored) : rc;
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
                           &op->count, &op->damages, &op->op.err);
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

bool ak_service_locate(struct ak_service *service, struct ak_str key, struct ak_buf *out)
{
    struct ak_err none;
    bool is_file = false;
    size_t before = out->len;
    if (!service->archive ||
        ak_archive_locate(service->archive, key, out, &is_file, &none) != AK_OK ||
        !ak_utf8_is_valid(ak_str_sub(ak_buf_str(out), before, SIZE_MAX))) { /* a path may not be */
        out->len = before;
        return false;
    }
    return true;
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
