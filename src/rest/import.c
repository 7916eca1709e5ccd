/* import.c — newline-delimited JSON, one document a line, or Parquet: of any length in bounded
 * memory.
 *
 *   loop     on_chunk ──▶ filling ──▶ (1 MiB, no job) swap ──▶ work
 *               │ job busy and filling full: pause                 │
 *   worker      └───────────── resume ◀── parse, upsert ◀──────────┘   one job at a time
 *
 * I1  `filling` belongs to the lock, `work`, `arena` and `import` to the job; at most one job runs.
 * I2  the lines in `work` are whole (the last one of the body needs no line feed).
 * I3  filling and work hold at most a batch and a line each, the arena one batch of documents.
 * I4  what stands before a bad line is stored, its count reported; nothing behind it is looked at.
 * I5  an upload lives as long as its request (until on_done) and its job: two references.
 *
 * Parquet is read from its end, so its bytes go to a spool file, and the service reads that when
 * the body is complete. Documents become durable in the order of their lines; only the end waits
 * for the disk.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "base/sync.h"
#include "rest/rest_priv.h"
#include <string.h>

#define BATCH_BYTES ((size_t)1 << 20) /* of text handed to a job */
#define BATCH_DOCS 512u               /* of one upsert */
#define BATCH_ARENA ((size_t)2 << 20) /* bytes of documents after which an upsert is made */

struct ak_upload {
    struct ak_mutex lock;
    struct ak_call *call; /* NULL: the request is gone */
    unsigned refs;
    struct ak_buf filling;
    bool running; /* a job has `work` */
    bool paused;
    bool ended;  /* the body is complete */
    bool failed; /* answered or about to be: the rest of the body is dropped */
    bool broken; /* no memory for `filling`: bytes are missing */

    struct ak_op op; /* the job's */
    int64_t began_ns;
    struct ak_service *service;
    struct ak_import import;
    struct ak_import_op finish;
    bool is_parquet;
    struct ak_spool *spool; /* the job's */
    struct ak_spool_op spool_op;
    struct ak_buf work;
    struct ak_arena arena;
    struct ak_document docs[BATCH_DOCS];
    size_t count;
    uint64_t line;
    enum ak_rc rc; /* why it failed */
    struct ak_err err;
    size_t name_len;
    char name[]; /* as in the path */
};

static void unref(struct ak_upload *upload)
{
    ak_mutex_lock(&upload->lock);
    bool is_last = --upload->refs == 0;
    ak_mutex_unlock(&upload->lock);
    if (is_last) {
        ak_spool_close(upload->spool);
        ak_collection_unref(upload->import.collection);
        ak_arena_release(&upload->arena);
        ak_buf_release(&upload->filling);
        ak_buf_release(&upload->work);
        ak_mutex_release(&upload->lock);
        ak_free(upload);
    }
}

/* --- The job: lines to documents to the engine --- */

static enum ak_rc flush(struct ak_upload *upload)
{
    enum ak_rc rc = AK_OK;
    if (upload->count) {
        rc = ak_import_add(&upload->import, upload->docs, upload->count, &upload->err);
    }
    upload->count = 0;
    ak_arena_reset(&upload->arena);
    return rc;
}

static enum ak_rc take_line(struct ak_upload *upload, struct ak_str line)
{
    const struct ak_collection_info *info = ak_collection_info(upload->import.collection);
    struct ak_document *doc = &upload->docs[upload->count];
    struct ak_json in;
    struct ak_reader r = {.in = &in, .arena = &upload->arena, .info = info, .row = -1};
    if (line.len > AK_NDJSON_LINE_MAX) {
        return ak_fail(&upload->err, AK_TOO_BIG, "line %llu is longer than %u bytes",
                       (unsigned long long)upload->line, AK_NDJSON_LINE_MAX);
    }
    ak_json_init(&in, ak_str_trim(line));
    ak_read_document(&r, doc);
    enum ak_rc rc = ak_json_finish(&in, &upload->err);
    ak_json_release(&in);
    if (rc == AK_OK) {
        rc = ak_document_check(doc, info->dimension, info->metric, -1, &upload->err);
    }
    if (rc != AK_OK) {
        return ak_wrap(&upload->err, rc, "line %llu", (unsigned long long)upload->line);
    }
    upload->count++;
    return AK_OK;
}

/* Store the lines before a bad one, and keep the bad one's error. */
static enum ak_rc stop_at_line(struct ak_upload *upload, enum ak_rc rc)
{
    struct ak_err why = upload->err;
    enum ak_rc flushed = flush(upload);
    if (flushed != AK_OK) { /* nothing of this batch was stored: that is the news */
        return flushed;
    }
    upload->err = why;
    return rc;
}

static enum ak_rc work_through(struct ak_upload *upload)
{
    struct ak_str rest = ak_buf_str(&upload->work);
    while (rest.len) {
        struct ak_str line;
        (void)ak_str_split(rest, '\n', &line, &rest);
        upload->line++;
        bool is_blank = ak_str_trim(line).len == 0;
        enum ak_rc rc = is_blank ? AK_OK : take_line(upload, line);
        if (rc != AK_OK) {
            return stop_at_line(upload, rc);
        }
        if (upload->count == BATCH_DOCS || upload->arena.used > BATCH_ARENA) {
            rc = flush(upload);
            if (rc != AK_OK) {
                return rc;
            }
        }
    }
    return flush(upload); /* the documents hold views into `work` */
}

static enum ak_rc spool(struct ak_upload *upload)
{
    enum ak_rc rc = AK_OK;
    if (!upload->spool) {
        rc = ak_spool_open(upload->service, &upload->spool, &upload->err);
    }
    if (rc == AK_OK) {
        rc = ak_spool_write(upload->spool, upload->work.p, upload->work.len, &upload->err);
    }
    return rc;
}

static enum ak_rc process(struct ak_upload *upload)
{
    enum ak_rc rc = AK_OK;
    struct ak_str name = {upload->name, upload->name_len};
    if (!upload->import.collection) {
        rc = ak_service_use(upload->service, name, &upload->op, &upload->arena,
                            &upload->import.collection, &upload->err);
    }
    if (rc == AK_COLD) { /* the same again when it is there */
        return rc;
    }
    if (rc == AK_OK) {
        rc = upload->is_parquet ? spool(upload) : work_through(upload);
    }
    upload->count = 0;
    ak_buf_clear(&upload->work);
    return rc;
}

/* --- The end --- */

static void reply_failure(struct ak_upload *upload)
{
    struct ak_err message;
    (void)ak_fail(&message, upload->rc, "%s (upserted before: %llu)", upload->err.text,
                  (unsigned long long)upload->import.upserted);
    ak_reply_error(upload->call, upload->rc, message.text);
}

static void reply_success(struct ak_upload *upload)
{
    struct ak_buf body;
    ak_buf_init(&body, 0);
    ak_buf_add_str(&body, AK_STR("{\"upserted\":"));
    ak_json_put_u64(&body, upload->import.upserted);
    ak_buf_add_str(&body, AK_STR(",\"failed\":0,\"took_ms\":"));
    ak_put_ms(&body, (double)(ak_mono_ns(ak_clock_system()) - upload->began_ns) * 1e-9);
    ak_buf_add_char(&body, '}');
    ak_reply(upload->call, 200, &body);
}

/* Under the lock, so that the request cannot go away meanwhile. */
static void answer(struct ak_upload *upload)
{
    ak_mutex_lock(&upload->lock);
    if (upload->call) {
        if (upload->paused) { /* what is left of the body is for the server to drop */
            upload->paused = false;
            ak_http_resume(upload->call->request);
        }
        if (upload->rc != AK_OK) {
            reply_failure(upload);
        } else {
            reply_success(upload);
        }
    }
    ak_mutex_unlock(&upload->lock);
    unref(upload);
}

static void all_durable(struct ak_op *op, enum ak_rc rc)
{
    struct ak_upload *upload =
        (struct ak_upload *)(void *)((char *)op - offsetof(struct ak_upload, finish.op));
    if (rc != AK_OK) {
        upload->rc = rc;
        upload->err = op->err;
        upload->import.upserted = 0; /* none of them is sure */
    }
    answer(upload);
}

/* The job's reference goes to the completion. */
static void finish(struct ak_upload *upload, enum ak_rc rc)
{
    upload->rc = rc;
    upload->import.failed = rc != AK_OK;
    upload->finish.op = (struct ak_op){.done = all_durable, .may_block = true};
    upload->finish.import = &upload->import;
    ak_service_import_finish(upload->service, &upload->finish);
}

static void run_job(struct ak_op *op);

static void spool_read(struct ak_op *op, enum ak_rc rc)
{
    struct ak_upload *upload =
        (struct ak_upload *)(void *)((char *)op - offsetof(struct ak_upload, spool_op.op));
    upload->err = op->err;
    finish(upload, rc);
}

/* The body of a Parquet import is complete. */
static void read_spool(struct ak_upload *upload)
{
    upload->spool_op.op = (struct ak_op){.done = spool_read};
    upload->spool_op.spool = upload->spool;
    upload->spool_op.import = &upload->import;
    ak_service_spool_import(upload->service, &upload->spool_op);
}

static void job_refused(struct ak_op *op, enum ak_rc rc)
{
    struct ak_upload *upload =
        (struct ak_upload *)(void *)((char *)op - offsetof(struct ak_upload, op));
    ak_mutex_lock(&upload->lock);
    upload->failed = true;
    ak_mutex_unlock(&upload->lock);
    upload->err = op->err;
    finish(upload, rc);
}

/* Lock held: move whole lines from `filling` to `work`. false: not enough for a batch yet. */
static bool take_work(struct ak_upload *upload)
{
    struct ak_buf *filling = &upload->filling;
    size_t whole = filling->len;
    if (upload->broken) {
        return false;
    }
    if (!upload->ended && upload->is_parquet) {
        whole = filling->len >= BATCH_BYTES ? filling->len : 0;
    } else if (!upload->ended) {
        const char *end =
            filling->len >= BATCH_BYTES ? memrchr(filling->p, '\n', filling->len) : NULL;
        bool is_too_long = filling->len > AK_NDJSON_LINE_MAX && !end;
        if (!end && !is_too_long) {
            return false;
        }
        whole = end ? (size_t)(end - filling->p) + 1 : filling->len;
    }
    if (whole == 0) {
        return false;
    }
    struct ak_buf swap = upload->work;
    upload->work = *filling;
    *filling = swap;
    ak_buf_add(filling, upload->work.p + whole, upload->work.len - whole);
    upload->broken = filling->failed;
    upload->work.len = whole;
    return true;
}

static void submit(struct ak_upload *upload)
{
    upload->op.done = job_refused;
    ak_service_defer(upload->service, &upload->op, run_job);
}

/* After a batch: the next one, or the end, or wait for more. */
static void run_job(struct ak_op *op)
{
    struct ak_upload *upload =
        (struct ak_upload *)(void *)((char *)op - offsetof(struct ak_upload, op));
    struct ak_probe_span span = ak_import_enter(&upload->import);
    enum ak_rc rc = process(upload);
    ak_import_leave(&upload->import, &span);
    if (rc == AK_COLD) {
        ak_service_await(upload->service, op, (struct ak_str){upload->name, upload->name_len},
                         run_job);
        return;
    }
    ak_mutex_lock(&upload->lock);
    if (rc == AK_OK && upload->broken) {
        rc = ak_fail(&upload->err, AK_NOMEM, "no memory behind line %llu",
                     (unsigned long long)upload->line);
    }
    upload->failed |= rc != AK_OK;
    bool is_gone = !upload->call;
    bool more = !is_gone && !upload->failed && take_work(upload);
    bool is_over = !is_gone && !more && (upload->failed || upload->ended);
    bool is_waiting = !is_gone && !more && !is_over;
    upload->running = !is_waiting;
    if (upload->paused && !is_gone && !is_over) {
        upload->paused = false;
        ak_http_resume(upload->call->request);
    }
    ak_mutex_unlock(&upload->lock);
    if (more) {
        submit(upload);
    } else if (is_over && rc == AK_OK && upload->is_parquet) {
        read_spool(upload);
    } else if (is_over) {
        finish(upload, rc);
    } else {
        unref(upload);
    }
}

/* --- The loop's side --- */

/* Lock held. true: the caller submits the job, whose reference is taken here. */
static bool begin_job(struct ak_upload *upload)
{
    if (upload->running || (!take_work(upload) && !upload->ended && !upload->broken)) {
        return false;
    }
    upload->running = true;
    upload->refs++;
    return true;
}

static void on_chunk(void *ctx, struct ak_http_request *request, struct ak_str bytes)
{
    struct ak_upload *upload = ctx;
    bool has_job = false;
    ak_mutex_lock(&upload->lock);
    if (!upload->failed) {
        ak_buf_add_str(&upload->filling, bytes);
        upload->broken |= upload->filling.failed;
        has_job = begin_job(upload);
        if (!has_job && upload->running && upload->filling.len >= BATCH_BYTES) {
            upload->paused = true;
            ak_http_pause(request);
        }
    }
    ak_mutex_unlock(&upload->lock);
    if (has_job) {
        submit(upload);
    }
}

static void on_end(void *ctx, struct ak_http_request *request, enum ak_rc rc)
{
    struct ak_upload *upload = ctx;
    (void)request;
    if (rc != AK_OK) {
        return; /* on_done follows; a job under way stores what it has and ends */
    }
    ak_mutex_lock(&upload->lock);
    upload->ended = true;
    bool has_job = !upload->failed && begin_job(upload);
    ak_mutex_unlock(&upload->lock);
    if (has_job) {
        submit(upload);
    }
}

void ak_import_start(struct ak_call *call, bool is_parquet)
{
    struct ak_collection_summary summary;
    struct ak_str name = call->args[0];
    enum ak_rc rc = ak_service_describe(call->service, name, call->arena, &summary, &call->err);
    if (rc != AK_OK) {
        ak_reply_failure(call, rc, &call->err);
        return;
    }
    struct ak_upload *upload = ak_try_zalloc(sizeof *upload + name.len);
    if (!upload) {
        ak_reply_error(call, AK_NOMEM, NULL);
        return;
    }
    ak_mutex_init(&upload->lock, AK_RANK_SERVICE, "upload");
    upload->call = call;
    upload->refs = 1;
    upload->is_parquet = is_parquet;
    upload->began_ns = ak_mono_ns(ak_clock_system());
    upload->service = call->service;
    ak_import_begin(call->service, &upload->import, ak_call_op(call, NULL).is_unlogged);
    upload->op.service = call->service;
    ak_buf_init(&upload->filling, AK_NDJSON_LINE_MAX + 2 * BATCH_BYTES);
    ak_buf_init(&upload->work, AK_NDJSON_LINE_MAX + 2 * BATCH_BYTES);
    ak_arena_init(&upload->arena, 0);
    memcpy(upload->name, name.p, name.len);
    upload->name_len = name.len;
    call->upload = upload;
    const struct ak_http_stream stream = {.on_chunk = on_chunk, .on_end = on_end, .ctx = upload};
    ak_http_start_stream(call->request, &stream);
}

void ak_import_gone(struct ak_call *call)
{
    struct ak_upload *upload = call->upload;
    ak_mutex_lock(&upload->lock);
    upload->call = NULL;
    ak_mutex_unlock(&upload->lock);
    unref(upload);
}

/* Only reached by a body that is not streamed, which take_body() has refused. */
void ak_rest_import(struct ak_call *call)
{
    ak_reply_error(call, AK_MEDIA, "Content-Type must be " AK_NDJSON " or " AK_PARQUET);
}
