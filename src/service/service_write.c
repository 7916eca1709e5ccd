/* service_write.c — upserts, deletes, imports: apply here or on a worker, then wait for the log
 * without a thread.
 *
 *   start → [loop or worker] apply → applied() → commit_async → [log's thread] done()
 *
 * A loop never waits for a collection's writer: the engine then answers AK_CONFLICT and the
 * operation is tried again on a worker, which may wait. Collections with too many unlinked rows are
 * written to by workers only, and each links a share of them first: that is the brake on writers.
 */
#include "base/mem.h"
#include "service/service_priv.h"

static enum ak_rc commit_failed(struct ak_op *op, enum ak_rc rc)
{
    return ak_fail(&op->err, rc, "the write is not durable: %s", ak_rc_text(rc));
}

static void note_applied(struct ak_op *op, const struct ak_probe_span *span, uint64_t examined,
                         uint64_t affected)
{
    if (op->probe.is_on) {
        ak_probe_add(op, span);
        op->probe.applied_ns = ak_mono_ns(op->service->clock);
        op->probe.examined = examined;
        op->probe.returned = affected;
    }
}

/* From being applied to being durable it waited for the disk. */
static void log_write(struct ak_op *op, struct ak_query_shape shape)
{
    if (op->probe.is_on) {
        op->probe.wait_ns += ak_mono_ns(op->service->clock) - op->probe.applied_ns;
        ak_probe_log(op, shape, shape.filter ? AK_QUERY_COLUMNS : AK_QUERY_ID);
    }
}

/* --- Upserts --- */

static void upsert_durable(struct ak_wal_commit *commit, enum ak_rc rc)
{
    struct ak_upsert_op *upsert = AK_OP_OF(commit, struct ak_upsert_op, commit);
    struct ak_op *op = &upsert->op;
    if (rc == AK_OK) {
        ak_series_observe(op->service->m_upsert_seconds, ak_op_seconds(op));
        log_write(op, (struct ak_query_shape){.type = AK_QUERY_UPSERT, .items = upsert->count});
    } else {
        rc = commit_failed(op, rc);
    }
    ak_op_done(op, rc);
}

static void run_upsert(struct ak_op *op)
{
    struct ak_upsert_op *upsert = AK_OP_OF(op, struct ak_upsert_op, op);
    struct ak_engine *engine = op->service->engine;
    struct ak_probe_span span = ak_probe_enter(op);
    if (op->may_block) {
        ak_collection_help(upsert->collection, upsert->count);
    }
    enum ak_rc rc = ak_collection_upsert(upsert->collection, upsert->docs, upsert->count,
                                         op->may_block, upsert->ids, &upsert->write, &op->err);
    ak_probe_leave(op, &span);
    if (rc == AK_CONFLICT && !op->may_block) {
        ak_op_move(op, run_upsert);
        return;
    }
    if (rc != AK_OK) {
        ak_op_done(op, rc);
        return;
    }
    note_applied(op, &span, upsert->count, upsert->write.affected);
    if (upsert->applied) {
        upsert->applied(upsert);
    }
    upsert->commit.done = upsert_durable;
    ak_engine_commit_async(engine, &upsert->commit, upsert->write.commit);
}

void ak_service_upsert(struct ak_service *service, struct ak_upsert_op *upsert)
{
    bool is_quick =
        upsert->count <= AK_INLINE_UPSERT_MAX && !ak_collection_is_behind(upsert->collection);
    ak_probe_choose(service, &upsert->op, upsert->collection);
    ak_op_start(service, &upsert->op, is_quick, run_upsert);
}

/* --- Deletes --- */

static void log_delete(struct ak_delete_op *del)
{
    log_write(&del->op, (struct ak_query_shape){
                            .type = AK_QUERY_DELETE, .items = del->count, .filter = del->filter});
}

static void delete_durable(struct ak_wal_commit *commit, enum ak_rc rc)
{
    struct ak_delete_op *del = AK_OP_OF(commit, struct ak_delete_op, commit);
    if (rc == AK_OK) {
        log_delete(del);
    } else {
        rc = commit_failed(&del->op, rc);
    }
    ak_op_done(&del->op, rc);
}

static void run_delete(struct ak_op *op)
{
    struct ak_delete_op *del = AK_OP_OF(op, struct ak_delete_op, op);
    enum ak_rc rc = AK_OK;
    struct ak_probe_span span = ak_probe_enter(op);
    uint64_t examined = del->filter ? ak_probe_rows(del->collection) : del->count;
    del->write = (struct ak_write){0};
    if (del->filter) {
        rc = ak_collection_delete_matching(del->collection, del->filter, &del->write, &op->err);
    } else if (del->count) {
        rc = ak_collection_delete(del->collection, del->ids, del->count, &del->write, &op->err);
    }
    del->deleted = del->write.affected;
    ak_probe_leave(op, &span);
    note_applied(op, &span, examined, del->deleted);
    if (rc != AK_OK || del->write.affected == 0) {
        if (rc == AK_OK) {
            log_delete(del);
        }
        ak_op_done(op, rc);
        return;
    }
    del->commit.done = delete_durable;
    ak_engine_commit_async(op->service->engine, &del->commit, del->write.commit);
}

void ak_service_delete(struct ak_service *service, struct ak_delete_op *del)
{
    ak_probe_choose(service, &del->op, del->collection);
    ak_op_start(service, &del->op, false, run_delete);
}

/* --- Imports --- */

void ak_import_begin(struct ak_service *service, struct ak_import *import, bool is_unlogged)
{
    import->service = service;
    import->began_ns = ak_mono_ns(service->clock);
    import->probe =
        (struct ak_probe){.is_on = !is_unlogged && ak_query_log_wants(service->queries)};
}

/* What the functions of a probe go by. */
static struct ak_op op_of(const struct ak_import *import)
{
    return (struct ak_op){.service = import->service, .probe = import->probe};
}

struct ak_probe_span ak_import_enter(const struct ak_import *import)
{
    const struct ak_op op = op_of(import);
    return ak_probe_enter(&op);
}

void ak_import_leave(struct ak_import *import, struct ak_probe_span *span)
{
    struct ak_op op = op_of(import);
    ak_probe_leave(&op, span);
    import->probe.cpu_ns += span->cpu_ns; /* its waits are counted where it waits */
    import->probe.faults += span->faults;
}

/* Its collection is held, and with it the name. */
static void log_import(struct ak_import_op *finish)
{
    struct ak_import *import = finish->import;
    struct ak_op *op = &finish->op;
    if (!import->probe.is_on || import->failed || !import->collection) {
        return;
    }
    int64_t waited_ns = ak_mono_ns(op->service->clock) - op->began_ns;
    op->began_ns = import->began_ns;
    op->probe = import->probe;
    op->probe.wait_ns += waited_ns;
    op->probe.examined = op->probe.returned = import->upserted;
    op->probe.table = ak_collection_info(import->collection)->name;
    ak_probe_log(op, (struct ak_query_shape){.type = AK_QUERY_IMPORT, .items = import->upserted},
                 AK_QUERY_ID);
}

#define IMPORT_AHEAD ((size_t)8 << 20) /* twice as many bytes of vectors may wait for the disk */

/* An import that waited for its client while its collection became cold: on this thread, which may
 * block, for the batch at hand is half way through. */
struct awakening {
    struct ak_tier_wait wait;
    struct ak_mutex lock;
    struct ak_cond over;
    bool is_over;
    enum ak_rc rc;
    struct ak_err err;
};

static void awake(struct ak_tier_wait *wait, enum ak_rc rc, const struct ak_err *why)
{
    struct awakening *it = AK_OP_OF(wait, struct awakening, wait);
    ak_mutex_lock(&it->lock);
    it->rc = rc;
    it->err = *why;
    it->is_over = true;
    ak_cond_signal(&it->over);
    ak_mutex_unlock(&it->lock);
}

static enum ak_rc wake_import(struct ak_import *import, struct ak_err *err)
{
    struct awakening it = {.wait = {.done = awake}};
    const struct ak_uuid id = ak_collection_info(import->collection)->id;
    char text[AK_UUID_TEXT_LEN];
    struct ak_collection *collection = NULL;
    if (!import->service->tiers) {
        return AK_COLD; /* err says so */
    }
    ak_mutex_init(&it.lock, AK_RANK_SERVICE, "import");
    ak_cond_init(&it.over);
    ak_tiers_wake(import->service->tiers, &id, &it.wait);
    ak_mutex_lock(&it.lock);
    while (!it.is_over) {
        ak_cond_wait(&it.over, &it.lock);
    }
    ak_mutex_unlock(&it.lock);
    ak_cond_release(&it.over);
    ak_mutex_release(&it.lock);
    if (it.rc != AK_OK) {
        return ak_fail(err, it.rc, "%s", it.err.text);
    }
    ak_uuid_format(&id, text);
    enum ak_rc rc = ak_engine_peek(import->service->engine, (struct ak_str){text, sizeof text},
                                   &collection, err);
    if (rc == AK_OK) {
        ak_collection_unref(import->collection);
        import->collection = collection;
    }
    return rc;
}

enum ak_rc ak_import_add(struct ak_import *import, const struct ak_document *docs, size_t count,
                         struct ak_err *err)
{
    struct ak_write write = {0};
    ak_collection_help(import->collection, count);
    enum ak_rc rc = ak_collection_upsert(import->collection, docs, count, true, NULL, &write, err);
    for (int tries = 0; rc == AK_COLD && tries < AK_WAKES_MAX; tries++) {
        rc = wake_import(import, err);
        if (rc == AK_OK) {
            rc = ak_collection_upsert(import->collection, docs, count, true, NULL, &write, err);
        }
    }
    if (rc != AK_OK) {
        return rc;
    }
    import->upserted += count;
    import->commit = write.commit;
    import->since += count * ak_collection_info(import->collection)->dimension * sizeof(float);
    if (import->since < IMPORT_AHEAD) {
        return AK_OK;
    }
    ak_lsn behind = import->mark; /* the half before this one: the disk is kept busy */
    import->mark = import->commit;
    import->since = 0;
    if (behind) {
        int64_t began_ns = ak_mono_ns(import->service->clock);
        rc = ak_engine_commit(import->service->engine, behind, err);
        import->probe.wait_ns += ak_mono_ns(import->service->clock) - began_ns;
    }
    return rc;
}

static void import_durable(struct ak_wal_commit *commit, enum ak_rc rc)
{
    struct ak_import_op *finish = AK_OP_OF(commit, struct ak_import_op, commit);
    if (rc == AK_OK) {
        log_import(finish);
    }
    ak_op_done(&finish->op, rc == AK_OK ? AK_OK : commit_failed(&finish->op, rc));
}

void ak_service_import_finish(struct ak_service *service, struct ak_import_op *finish)
{
    ak_op_begin(service, &finish->op);
    if (finish->import->upserted == 0) {
        log_import(finish);
        ak_op_done(&finish->op, AK_OK);
        return;
    }
    finish->commit.done = import_durable;
    ak_engine_commit_async(service->engine, &finish->commit, finish->import->commit);
}
