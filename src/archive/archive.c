/* archive.c — opening and closing, and what is asked about jobs and snapshots.
 *
 * The catalog's rows are the truth about jobs, the store's metadata objects about snapshots; what
 * is in memory is jobs that need a thread (jobs.c), of which the commit points are at the top of
 * create.c, restore.c and remove.c, and what a crash leaves of them at the top of recover.c.
 */
#include "archive/archive_priv.h"
#include "base/mem.h"
#include <stdio.h>

static void open_series(struct ak_archive *archive)
{
    struct ak_metrics *metrics = archive->options.metrics;
    struct ak_str ok = AK_STR("ok");
    struct ak_str failed = AK_STR("failed");
    archive->m_seconds = ak_metrics_series(metrics, AK_METRIC_SNAPSHOT_SECONDS, NULL, 0);
    archive->m_ok = ak_metrics_series(metrics, AK_METRIC_SNAPSHOTS, &ok, 1);
    archive->m_failed = ak_metrics_series(metrics, AK_METRIC_SNAPSHOTS, &failed, 1);
    archive->m_last = ak_metrics_series(metrics, AK_METRIC_SNAPSHOT_LAST, NULL, 0);
    archive->m_stale = ak_metrics_series(metrics, AK_METRIC_SNAPSHOT_STALE, NULL, 0);
    archive->m_damaged = ak_metrics_series(metrics, AK_METRIC_SNAPSHOTS_DAMAGED, NULL, 0);
    archive->m_running = ak_metrics_series(metrics, AK_METRIC_JOBS_RUNNING, NULL, 0);
}

static enum ak_rc start(struct ak_archive *archive, struct ak_err *err)
{
    struct ak_catalog_snapshot last;
    enum ak_rc rc = ak_catalog_snapshot_newest(archive->catalog, NULL, &last, err);
    if (rc == AK_OK) {
        ak_series_set(archive->m_last, (double)last.created_us / 1e6);
    } else if (rc != AK_NOT_FOUND) {
        return rc;
    }
    if ((rc = ak_archive_recover(archive, err)) || (rc = ak_archive_workers_start(archive, err)) ||
        (rc = ak_archive_teller_start(archive, err))) {
        return rc;
    }
    return ak_archive_schedule_start(archive, err);
}

enum ak_rc ak_archive_open(const struct ak_archive_options *options, struct ak_archive **out,
                           struct ak_err *err)
{
    struct ak_archive *archive = ak_zalloc(sizeof *archive);
    archive->options = *options;
    archive->engine = options->engine;
    archive->catalog = ak_engine_catalog(options->engine);
    archive->store = options->store;
    archive->clock = options->clock ? options->clock : ak_clock_system();
    archive->log = options->log;
    ak_uuid_maker_init(&archive->uuids, archive->clock);
    ak_mutex_init(&archive->lock, AK_RANK_POOL, "archive");
    ak_mutex_init(&archive->due_lock, AK_RANK_SERVICE, "archive due");
    ak_cond_init(&archive->changed);
    ak_cond_init(&archive->has_due);
    archive->next_end_ns = INT64_MAX;
    ak_map_init(&archive->attempt_map);
    open_series(archive);
    const struct ak_pool_options pool = {.name = "ak-encode", .nice = true};
    const struct ak_pool_options hashers = {.name = "ak-hash",
                                            .threads = options->threads ? options->threads : 2};
    enum ak_rc rc = ak_snapshot_options_check(&options->snapshots, err);
    rc = rc == AK_OK ? ak_pool_open(&pool, &archive->encoders, err) : rc;
    rc = rc == AK_OK ? ak_pool_open(&hashers, &archive->hashers, err) : rc;
    rc = rc == AK_OK ? start(archive, err) : rc;
    if (rc != AK_OK) {
        ak_archive_close(archive);
        return ak_wrap(err, rc, "open the archive");
    }
    *out = archive;
    return AK_OK;
}

void ak_archive_close(struct ak_archive *archive)
{
    if (!archive) {
        return;
    }
    ak_mutex_lock(&archive->lock);
    archive->is_closing = true;
    atomic_store(&archive->stops, true);
    ak_cond_broadcast(&archive->changed);
    ak_mutex_unlock(&archive->lock);
    ak_archive_schedule_stop(archive); /* it may be deleting: before the list is emptied */
    ak_archive_workers_stop(archive);
    ak_archive_teller_stop(archive);
    ak_free(archive->attempts); /* the schedule's and the workers', which are gone */
    ak_map_release(&archive->attempt_map);
    ak_pool_close(archive->encoders);
    ak_cond_release(&archive->has_due);
    ak_pool_close(archive->hashers);
    ak_cond_release(&archive->changed);
    ak_mutex_release(&archive->due_lock);
    ak_mutex_release(&archive->lock);
    ak_free(archive);
}

enum ak_rc ak_archive_resolve(struct ak_archive *archive, struct ak_str collection,
                              struct ak_uuid *id, bool *exists, struct ak_err *err)
{
    struct ak_arena arena;
    struct ak_collection_summary summary;
    ak_arena_init(&arena, 0);
    enum ak_rc rc = ak_engine_describe(archive->engine, collection, &arena, &summary, err);
    ak_arena_release(&arena);
    if (exists) {
        *exists = rc == AK_OK;
    }
    if (rc == AK_OK) {
        *id = summary.info.id;
    } else if (rc == AK_NOT_FOUND && ak_uuid_parse(collection, id)) {
        rc = AK_OK; /* its snapshots may be there */
    }
    return rc;
}

/* --- Jobs --- */

/* What is known of it in memory only. */
static enum ak_rc present_running(struct ak_archive *archive, struct ak_arena *arena,
                                  struct ak_job *job, struct ak_err *err)
{
    char text[AK_ERR_TEXT_MAX] = "";
    ak_mutex_lock(&archive->lock);
    const struct archive_job *running = ak_archive_job_find(archive, &job->id);
    if (running) {
        job->progress = (double)atomic_load(&running->progress_ppm) / 1e6;
        job->tries = running->held_up_tries;
        job->held_up_rc = running->held_up_rc;
        (void)snprintf(text, sizeof text, "%s", running->held_up);
        if (running->held_up_tries && running->state == JOB_QUEUED) {
            int64_t wait_ns = running->not_before_ns - ak_mono_ns(archive->clock);
            job->next_try_us = ak_now_us(archive->clock) + (wait_ns > 0 ? wait_ns / 1000 : 0);
        }
    }
    ak_mutex_unlock(&archive->lock);
    job->held_up = ak_arena_str(arena, ak_str_of(text));
    return job->held_up.p ? AK_OK : ak_fail(err, AK_NOMEM, "why a job is held up");
}

static enum ak_rc present(struct ak_archive *archive, const struct ak_catalog_job *row,
                          struct ak_arena *arena, struct ak_job *job, struct ak_err *err)
{
    struct archive_job read = {.row = *row};
    if (!ak_archive_kind_parse(row->kind, &read.kind)) {
        return ak_fail(err, AK_NOT_FOUND, "a job of a kind that is not known here");
    }
    ak_arena_init(&read.strings, 0);
    (void)!ak_archive_payload_read(&read, NULL);
    bool is_running = row->state == AK_CATALOG_JOB_RUNNING;
    *job = (struct ak_job){
        .id = row->id,
        .kind = read.kind,
        .state = is_running                          ? AK_JOB_RUNNING
                 : row->state == AK_CATALOG_JOB_DONE ? AK_JOB_DONE
                                                     : AK_JOB_FAILED,
        .progress = row->state == AK_CATALOG_JOB_FAILED
                        ? (double)atomic_load(&read.progress_ppm) / 1e6
                    : is_running ? 0
                                 : 1,
        .collection = read.kind == AK_JOB_RESTORE ? row->target : row->collection,
        .snapshot = row->snapshot,
        .created_us = row->created_us,
        .finished_us = row->finished_us,
        .rc = row->rc,
        .error = row->error,
        .rebuilt = read.rebuilt,
        .to = read.to,
    };
    ak_arena_release(&read.strings);
    return is_running ? present_running(archive, arena, job, err) : AK_OK;
}

enum ak_rc ak_archive_job(struct ak_archive *archive, const struct ak_uuid *id,
                          struct ak_arena *arena, struct ak_job *job, struct ak_err *err)
{
    struct ak_catalog_job row;
    enum ak_rc rc = ak_catalog_job_get(archive->catalog, id, arena, &row, err);
    return rc == AK_OK ? present(archive, &row, arena, job, err) : rc;
}

enum ak_rc ak_archive_jobs(struct ak_archive *archive, size_t limit, struct ak_arena *arena,
                           struct ak_job **jobs, size_t *count, struct ak_err *err)
{
    struct ak_catalog_job *rows = NULL;
    size_t n = 0;
    size_t shown = 0;
    enum ak_rc rc = ak_catalog_jobs(archive->catalog, limit, arena, &rows, &n, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_job *list = ak_arena_alloc(arena, (n + 1) * sizeof *list);
    if (!list) {
        return ak_fail(err, AK_NOMEM, "list of %zu jobs", n);
    }
    for (size_t i = 0; i < n; i++) {
        shown += present(archive, &rows[i], arena, &list[shown], NULL) == AK_OK;
    }
    *jobs = list;
    *count = shown;
    return AK_OK;
}

/* Until `is_over` or the time is up; lock held. */
static bool wait_for(struct ak_archive *archive, bool (*is_over)(struct ak_archive *, const void *),
                     const void *arg, int64_t timeout_ms)
{
    int64_t end_ns = ak_mono_ns(ak_clock_system()) + timeout_ms * 1000000;
    bool over = is_over(archive, arg);
    while (!over) {
        int64_t left_ms = (end_ns - ak_mono_ns(ak_clock_system())) / 1000000;
        if (left_ms <= 0) {
            break;
        }
        (void)ak_cond_wait_ms(&archive->changed, &archive->lock, left_ms);
        over = is_over(archive, arg);
    }
    return over;
}

static bool is_out(struct ak_archive *archive, const void *id)
{
    return !ak_archive_job_find(archive, id);
}

static bool is_empty(struct ak_archive *archive, const void *arg)
{
    (void)arg;
    return !archive->first;
}

enum ak_rc ak_archive_wait(struct ak_archive *archive, const struct ak_uuid *id, int64_t timeout_ms,
                           struct ak_err *err)
{
    struct ak_arena arena;
    struct ak_catalog_job row;
    ak_mutex_lock(&archive->lock);
    bool is_over = wait_for(archive, is_out, id, timeout_ms);
    ak_mutex_unlock(&archive->lock);
    if (!is_over) {
        return ak_fail(err, AK_TIMEOUT, "the job goes on");
    }
    ak_arena_init(&arena, 0);
    enum ak_rc rc = ak_catalog_job_get(archive->catalog, id, &arena, &row, err);
    if (rc == AK_OK && row.state == AK_CATALOG_JOB_FAILED) {
        /* AK_TIMEOUT says that it goes on, so the store's is told as what it means. */
        rc = ak_fail(err, row.rc == AK_TIMEOUT ? AK_UNAVAILABLE : row.rc, "%.*s",
                     AK_STR_ARG(row.error));
    } else if (rc == AK_OK && row.state == AK_CATALOG_JOB_RUNNING) {
        rc = ak_fail(err, AK_UNAVAILABLE,
                     "how the job ended is not recorded: the next start of the server goes on with "
                     "it or undoes it");
    }
    ak_arena_release(&arena);
    return rc;
}

enum ak_rc ak_archive_settle(struct ak_archive *archive, int64_t timeout_ms, struct ak_err *err)
{
    ak_mutex_lock(&archive->lock);
    bool is_over = wait_for(archive, is_empty, NULL, timeout_ms);
    ak_mutex_unlock(&archive->lock);
    return is_over ? AK_OK : ak_fail(err, AK_TIMEOUT, "jobs are still running or owe clean-up");
}

/* --- Snapshots --- */

enum ak_rc ak_archive_verify(struct ak_archive *archive, struct ak_str collection,
                             const struct ak_uuid *snapshot, ak_snapshot_progress progress,
                             void *ctx, struct ak_snapshot_report *report, struct ak_err *err)
{
    struct ak_arena arena;
    struct ak_snapshot_meta meta;
    struct archive_job *guest = ak_archive_job_make(archive, AK_JOB_KIND_COUNT);
    enum ak_rc rc = ak_archive_resolve(archive, collection, &guest->row.collection, NULL, err);
    guest->row.snapshot = *snapshot;
    if (rc == AK_OK) {
        rc = ak_archive_job_enter(archive, guest, err);
    }
    if (rc != AK_OK) {
        ak_archive_job_free(guest);
        return rc;
    }
    ak_arena_init(&arena, 0);
    rc = ak_snapshot_get(archive->store, &guest->row.collection, snapshot, &arena, &meta, err);
    if (rc == AK_OK) {
        rc = ak_snapshot_verify(archive->store, &meta, progress, ctx, report, err);
    }
    ak_arena_release(&arena);
    ak_archive_job_leave(archive, guest);
    return rc;
}

enum ak_rc ak_archive_get(struct ak_archive *archive, struct ak_str collection,
                          const struct ak_uuid *snapshot, struct ak_arena *arena,
                          struct ak_snapshot_meta *meta, struct ak_err *err)
{
    struct ak_uuid id;
    enum ak_rc rc = ak_archive_resolve(archive, collection, &id, NULL, err);
    return rc == AK_OK ? ak_snapshot_get(archive->store, &id, snapshot, arena, meta, err) : rc;
}

enum ak_rc ak_archive_locate(struct ak_archive *archive, struct ak_str key, struct ak_buf *out,
                             bool *is_file, struct ak_err *err)
{
    return ak_objstore_locate(archive->store, key, out, is_file, err);
}

static bool is_wanted(const struct ak_snapshot_meta *meta, const struct ak_archive_list *filter)
{
    return (!filter->from_us || meta->created_us >= filter->from_us) &&
           (!filter->to_us || meta->created_us < filter->to_us) &&
           (!filter->format || meta->format == *filter->format);
}

void ak_archive_note_damages(struct ak_archive *archive, const struct ak_snapshot_damages *damages)
{
    ak_series_add(archive->m_damaged, damages->count);
    for (size_t i = 0; i < damages->count; i++) {
        ak_log_warn(archive->log, "archive", "%.*s: %.*s", AK_STR_ARG(damages->items[i].key),
                    AK_STR_ARG(damages->items[i].why));
    }
}

enum ak_rc ak_archive_list(struct ak_archive *archive, struct ak_str collection,
                           const struct ak_archive_list *filter, struct ak_arena *arena,
                           struct ak_snapshot_meta **list, size_t *count,
                           struct ak_snapshot_damages *damages, struct ak_err *err)
{
    struct ak_uuid id;
    struct ak_snapshot_meta *all = NULL;
    struct ak_snapshot_damages bad = {.count = 0};
    size_t n = 0;
    size_t kept = 0;
    enum ak_rc rc = ak_archive_resolve(archive, collection, &id, NULL, err);
    if (rc == AK_OK) {
        rc = ak_snapshot_list(archive->store, &id, arena, &all, &n, &bad, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    for (size_t i = 0; i < n && !(filter && filter->limit && kept == filter->limit); i++) {
        if (!filter || is_wanted(&all[i], filter)) {
            all[kept++] = all[i];
        }
    }
    ak_archive_note_damages(archive, &bad);
    *list = all;
    *count = kept;
    if (damages) {
        *damages = bad;
    }
    return AK_OK;
}
