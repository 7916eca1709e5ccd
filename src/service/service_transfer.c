/* service_transfer.c — whole collections out and in: export as Parquet or NDJSON, import of
 * Parquet.
 *
 *   export   hold ─▶ rows ─▶ Parquet pages or lines ─▶ sink (waits for its client)
 *   import   body ─▶ spool file ─▶ batches of documents ─▶ upserts
 *
 * I1  memory: an export holds what its writer needs for a row group, an import one batch.
 * I2  a spool file lies where images are staged, so that the engine's next start removes it when
 *     the process dies (hold.h). Parquet is read from its end: that is why it is spooled at all.
 */
#include "base/json.h"
#include "base/mem.h"
#include "engine/hold.h"
#include "service/service_priv.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define EXPORTS_MAX 8u /* each may have a slow client: half of the slow threads stay free */
#define EXPORT_ROWS 256u
#define LINES_BYTES ((size_t)64 << 10)
#define IMPORT_ROWS 512u
#define IMPORT_BYTES ((size_t)2 << 20) /* of vectors in one upsert */
#define PATH_BYTES 4300

/* --- Export --- */

static enum ak_rc begin_once(struct ak_export_op *op)
{
    enum ak_rc rc = AK_OK;
    if (!op->begun) {
        rc = op->begin(op);
        op->begun = rc == AK_OK;
    }
    return rc;
}

static enum ak_rc to_sink(void *ctx, const void *p, size_t len, struct ak_err *err)
{
    struct ak_export_op *op = ctx;
    if (ak_service_is_late(op->op.service)) {
        return ak_fail(err, AK_UNAVAILABLE, "the server is stopping");
    }
    enum ak_rc rc = begin_once(op);
    return rc == AK_OK ? op->sink(op, p, len, err) : rc;
}

static bool go_on(void *ctx, double fraction)
{
    struct ak_export_op *op = ctx;
    (void)fraction;
    return !ak_service_is_late(op->op.service) && !(op->begun && op->is_gone(op));
}

static enum ak_rc read_held(void *ctx, uint64_t from, size_t count, struct ak_document *rows,
                            struct ak_err *err)
{
    return ak_hold_read(ctx, from, count, rows, err);
}

static void pass_held(void *ctx, uint64_t row)
{
    ak_hold_passed(ctx, row);
}

static enum ak_rc export_parquet(struct ak_export_op *op, struct ak_hold *hold)
{
    const struct ak_snapshot_source source = {
        .info = *ak_hold_info(hold),
        .lsn = ak_hold_lsn(hold),
        .rows = ak_hold_rows(hold),
        .read = read_held,
        .passed = pass_held,
        .ctx = hold,
    };
    double max_error = 0;
    return ak_snapshot_export(&source, &op->options, to_sink, op, go_on, op, &max_error,
                              &op->op.err);
}

/* A line that the import takes again: {"id","external_id"?,"vector","metadata"?}. */
static void put_line(struct ak_buf *out, const struct ak_document *doc, uint32_t dimension)
{
    char id[AK_UUID_TEXT_LEN];
    ak_uuid_format(&doc->id, id);
    ak_buf_add_str(out, AK_STR("{\"id\":\""));
    ak_buf_add(out, id, sizeof id);
    ak_buf_add_char(out, '"');
    if (doc->external_id.len) {
        ak_buf_add_str(out, AK_STR(",\"external_id\":"));
        ak_json_put_string(out, doc->external_id);
    }
    ak_buf_add_str(out, AK_STR(",\"vector\":"));
    ak_json_put_f32_array(out, doc->vector, dimension);
    if (doc->metadata.len) {
        ak_buf_add_str(out, AK_STR(",\"metadata\":"));
        ak_buf_add_str(out, doc->metadata);
    }
    ak_buf_add_str(out, AK_STR("}\n"));
}

static enum ak_rc flush_lines(struct ak_export_op *op)
{
    enum ak_rc rc = ak_buf_check(&op->lines, &op->op.err);
    if (rc == AK_OK && op->lines.len) {
        rc = to_sink(op, op->lines.p, op->lines.len, &op->op.err);
    }
    ak_buf_clear(&op->lines);
    return rc;
}

static enum ak_rc export_ndjson(struct ak_export_op *op, struct ak_hold *hold)
{
    struct ak_document docs[EXPORT_ROWS];
    uint32_t dimension = ak_hold_info(hold)->dimension;
    uint64_t rows = ak_hold_rows(hold);
    enum ak_rc rc = AK_OK;
    ak_buf_init(&op->lines, 0);
    for (uint64_t at = 0; rc == AK_OK && at < rows;) {
        size_t n = rows - at < EXPORT_ROWS ? (size_t)(rows - at) : EXPORT_ROWS;
        rc = ak_hold_read(hold, at, n, docs, &op->op.err);
        for (size_t i = 0; rc == AK_OK && i < n; i++) {
            put_line(&op->lines, &docs[i], dimension);
            if (op->lines.len >= LINES_BYTES || op->lines.failed) {
                rc = flush_lines(op);
            }
        }
        at += n;
        ak_hold_passed(hold, at);
    }
    rc = rc == AK_OK ? flush_lines(op) : rc;
    ak_buf_release(&op->lines);
    return rc;
}

/* The hold's name lives as long as the hold. */
static void log_export(struct ak_export_op *op, struct ak_probe_span *span,
                       const struct ak_hold *hold)
{
    struct ak_op *base = &op->op;
    ak_probe_leave(base, span);
    ak_probe_add(base, span);
    base->probe.wait_ns = -1; /* of its waits most were for the client */
    base->probe.examined = base->probe.returned = op->rows;
    base->probe.table = ak_hold_info(hold)->name;
    ak_probe_log(base, (struct ak_query_shape){.type = AK_QUERY_EXPORT, .items = op->rows},
                 AK_QUERY_SCAN);
}

static void run_awake(struct ak_op *base);

static void run_export(struct ak_op *base)
{
    struct ak_export_op *op = AK_OP_OF(op, struct ak_export_op, base);
    struct ak_service *service = base->service;
    struct ak_hold *hold = NULL;
    struct ak_probe_span span = ak_probe_enter(base);
    enum ak_rc rc = ak_engine_hold(service->engine, op->collection, &hold, &base->err);
    if (rc == AK_COLD) {
        base->was_closed = true;
        atomic_fetch_sub(&service->exports, 1);
        ak_op_await(base, op->collection, service->slow, run_awake);
        return;
    }
    if (rc == AK_OK) {
        op->rows = ak_hold_rows(hold);
        rc = op->format == AK_EXPORT_PARQUET ? export_parquet(op, hold) : export_ndjson(op, hold);
        if (rc == AK_OK) { /* of no documents no line has come */
            rc = begin_once(op);
        }
    }
    if (rc == AK_OK) {
        log_export(op, &span, hold);
    }
    ak_hold_release(hold);
    atomic_fetch_sub(&service->exports, 1);
    ak_op_done(base, rc);
}

static void refuse_export(struct ak_op *base)
{
    ak_op_done(base, ak_fail(&base->err, AK_THROTTLED,
                             "%u exports are under way, which is the limit: try again when one is "
                             "done",
                             EXPORTS_MAX));
}

static bool enter_export(struct ak_service *service)
{
    bool fits = atomic_fetch_add(&service->exports, 1) < EXPORTS_MAX;
    if (!fits) {
        atomic_fetch_sub(&service->exports, 1);
    }
    return fits;
}

/* The collection was cold: others may have begun while it was on its way. */
static void run_awake(struct ak_op *base)
{
    (enter_export(base->service) ? run_export : refuse_export)(base);
}

void ak_service_export(struct ak_service *service, struct ak_export_op *op)
{
    op->begun = false;
    ak_probe_choose_any(service, &op->op);
    if (!enter_export(service)) {
        ak_op_begin(service, &op->op);
        refuse_export(&op->op);
        return;
    }
    ak_op_start_slow(service, &op->op, run_export);
}

/* --- Spool --- */

struct ak_spool {
    struct ak_fs *fs;
    struct ak_file *file;
    uint64_t size;
    char path[PATH_BYTES];
};

enum ak_rc ak_spool_open(struct ak_service *service, struct ak_spool **out, struct ak_err *err)
{
    struct ak_uuid id = ak_uuid_make(&service->ids);
    struct ak_spool *spool = ak_zalloc(sizeof *spool);
    spool->fs = ak_engine_fs(service->engine);
    ak_engine_staging_path(service->engine, &id, spool->path, sizeof spool->path);
    enum ak_rc rc =
        ak_fs_open(spool->fs, spool->path, AK_OPEN_WRITE | AK_OPEN_CREATE | AK_OPEN_EXCLUSIVE,
                   &spool->file, err);
    if (rc != AK_OK) {
        ak_free(spool);
        return ak_wrap(err, rc, "receive a file");
    }
    *out = spool;
    return AK_OK;
}

enum ak_rc ak_spool_write(struct ak_spool *spool, const void *p, size_t len, struct ak_err *err)
{
    enum ak_rc rc = ak_file_write(spool->file, spool->size, p, len, err);
    if (rc != AK_OK) {
        return ak_wrap(err, rc, "receive a file");
    }
    spool->size += len;
    return AK_OK;
}

void ak_spool_close(struct ak_spool *spool)
{
    if (spool) {
        ak_file_close(spool->file);
        enum ak_rc rc = ak_fs_remove(spool->fs, spool->path, NULL);
        (void)rc; /* the engine's next start removes what stays */
        ak_free(spool);
    }
}

/* --- Import of Parquet --- */

static enum ak_rc check_rows(const struct ak_import *import, const struct ak_document *rows,
                             size_t count, struct ak_err *err)
{
    const struct ak_collection_info *info = ak_collection_info(import->collection);
    for (size_t i = 0; i < count; i++) {
        enum ak_rc rc = ak_document_check(&rows[i], info->dimension, info->metric, -1, err);
        if (rc != AK_OK) {
            return ak_wrap(err, rc, "row %" PRIu64, import->upserted + i);
        }
    }
    return AK_OK;
}

struct taking {
    struct ak_import *import;
    bool failed; /* storing, not reading */
};

static enum ak_rc take_rows(void *ctx, const struct ak_document *rows, size_t count,
                            struct ak_err *err)
{
    struct taking *taking = ctx;
    struct ak_import *import = taking->import;
    size_t row_bytes = ak_collection_info(import->collection)->dimension * sizeof(float);
    size_t most = IMPORT_BYTES / row_bytes + 1;
    most = most < IMPORT_ROWS ? most : IMPORT_ROWS;
    enum ak_rc rc = AK_OK;
    for (size_t at = 0; rc == AK_OK && at < count; at += most) {
        size_t n = count - at < most ? count - at : most;
        if (ak_service_is_late(import->service)) {
            return ak_fail(err, AK_UNAVAILABLE, "the server is stopping");
        }
        rc = check_rows(import, rows + at, n, err);
        rc = rc == AK_OK ? ak_import_add(import, rows + at, n, err) : rc;
    }
    taking->failed = rc != AK_OK;
    return rc;
}

static void run_spool(struct ak_op *base)
{
    struct ak_spool_op *op = AK_OP_OF(op, struct ak_spool_op, base);
    uint32_t dimension = ak_collection_info(op->import->collection)->dimension;
    struct taking taking = {.import = op->import};
    struct ak_probe_span span = ak_import_enter(op->import);
    enum ak_rc rc = ak_snapshot_import(op->spool->fs, op->spool->path, dimension, take_rows,
                                       &taking, &base->err);
    ak_import_leave(op->import, &span);
    if (rc == AK_CORRUPT && !taking.failed) { /* damage that was sent, not ours */
        rc = ak_wrap(&base->err, AK_INVALID, "the Parquet file");
    }
    ak_op_done(base, rc);
}

void ak_service_spool_import(struct ak_service *service, struct ak_spool_op *op)
{
    ak_op_start_slow(service, &op->op, run_spool);
}
