/* query_log.c — from the ring to the files, and the choice of what is logged.
 *
 *   requests ── wants? ── put ──▶ ring ──▶ pass, every 250 ms or when the ring is half full:
 *                                            rows → day's file, thinned → week's file
 *                                            new shapes → query_shapes.ndjson
 *                                            hour over → optimization_summary.txt
 *                                            day over → old files are removed
 *                                            pace → `share`, which wants() goes by
 */
#include "perf/query_log.h"
#include "base/hash.h"
#include "perf/query_log_priv.h"
#include "perf/summary_file.h"
#include <stdio.h>
#include <string.h>

#define PASS_ROWS_MAX (2 * AK_QUERY_LOG_RING) /* then the pace is looked at again */
#define ROWS_BYTES ((size_t)80 << 10)         /* rows held back, and one more */
#define HOUR_BYTES ((size_t)16 << 10)
#define NAMES_BYTES ((size_t)1 << 20)
#define DAY_US INT64_C(86400000000)

static const char *const drop_names[AK_QUERY_DROPS] = {
    [AK_QUERY_DROP_RING] = "ring", [AK_QUERY_DROP_SIZE] = "size", [AK_QUERY_DROP_WRITE] = "write"};

/* --- Requests --- */

bool ak_query_log_wants(struct ak_query_log *log)
{
    if (!log) {
        return false;
    }
    /* Relaxed: a number to be hashed, and a share that may be a moment old. */
    uint64_t number = atomic_fetch_add_explicit(&log->queries, 1, memory_order_relaxed);
    uint64_t share = atomic_load_explicit(&log->share, memory_order_relaxed);
    return share == UINT64_MAX || ak_mix64(number) < share;
}

void ak_query_log_put(struct ak_query_log *log, const struct ak_query_shape *shape,
                      const struct ak_query_entry *entry)
{
    uint64_t hash = ak_query_shape_hash(shape);
    ak_query_known_note(&log->known, shape, hash);
    if (!ak_query_ring_put(&log->ring, shape, hash, entry)) {
        ak_series_add(log->m_drops[AK_QUERY_DROP_RING], 1);
    }
    if (ak_query_ring_is_half_full(&log->ring)) {
        ak_cond_signal(&log->wake); /* without the lock: should it be lost, the tick comes soon */
    }
}

/* --- Rows --- */

static double ms_of(int64_t ns)
{
    return (double)ns / 1e6;
}

static void write_row(struct ak_query_log *log, const struct ak_query_slot *slot, int64_t mono_ns,
                      uint64_t drops[AK_QUERY_DROPS])
{
    const struct ak_query_entry *entry = &slot->entry;
    char hash[32];
    int len = snprintf(hash, sizeof hash, "%016llx", (unsigned long long)slot->hash);
    struct ak_perf_query row = {
        .has = AK_PERF_HAS_ALL,
        .cache_hit = entry->cache_hit,
        .timestamp = entry->began_us,
        .query_hash = {hash, (size_t)len},
        .query_type = ak_str_of(ak_query_type_name(slot->type)),
        .execution_time_ms = ms_of(entry->duration_ns),
        .rows_examined = (int64_t)entry->examined,
        .rows_returned = (int64_t)entry->returned,
        .table_name = {slot->table, slot->table_len},
        .index_used = ak_str_of(ak_query_index_name(entry->index)),
        .cpu_time_ms = ms_of(entry->cpu_ns),
        .io_wait_ms = ms_of(entry->wait_ns),
    };
    row.has &= entry->no_cache_hit ? ~AK_PERF_HAS(cache_hit) : AK_PERF_HAS_ALL;
    row.has &= entry->cpu_ns < 0 ? ~AK_PERF_HAS(cpu_time_ms) : AK_PERF_HAS_ALL;
    row.has &= entry->wait_ns < 0 ? ~AK_PERF_HAS(io_wait_ms) : AK_PERF_HAS_ALL;
    ak_query_file_add(&log->daily, &row, mono_ns, drops);
    if (log->weekly_share == UINT64_MAX || ak_mix64(log->weekly_rows) < log->weekly_share) {
        uint64_t not_counted[AK_QUERY_DROPS] = {0}; /* the weekly file is an extract */
        ak_query_file_add(&log->weekly, &row, mono_ns, not_counted);
    }
    log->weekly_rows++;
}

static void warn(struct ak_query_log *log, enum ak_rc rc, const struct ak_err *err)
{
    if (rc != AK_OK && !log->has_complained) {
        ak_log_warn(log->options.log, "perf", "the query log is not complete: %s", err->text);
    }
    log->has_complained = rc != AK_OK;
}

/* A disk that is nearly full is left to those who need it. */
static bool has_room(struct ak_query_log *log)
{
    struct ak_err err;
    uint64_t bytes = 0;
    enum ak_rc rc = ak_fs_make_dirs(log->options.fs, log->dir, &err);
    rc = rc == AK_OK ? ak_fs_free_bytes(log->options.fs, log->dir, &bytes, &err) : rc;
    if (rc == AK_OK && bytes < log->options.free_bytes_min) {
        rc = ak_fail(&err, AK_NO_SPACE, "%s: %llu MiB of the disk are free, %llu must stay so",
                     log->dir, (unsigned long long)(bytes >> 20),
                     (unsigned long long)(log->options.free_bytes_min >> 20));
    }
    warn(log, rc, &err);
    return rc == AK_OK;
}

static void empty_ring(struct ak_query_log *log, int64_t mono_ns)
{
    uint64_t drops[AK_QUERY_DROPS] = {0};
    uint64_t not_counted[AK_QUERY_DROPS] = {0};
    const struct ak_query_slot *slot = ak_query_ring_take(&log->ring);
    bool is_open = slot && has_room(log);
    for (unsigned i = 0; slot && i < PASS_ROWS_MAX; i++) {
        if (is_open) {
            write_row(log, slot, mono_ns, drops);
        } else {
            drops[AK_QUERY_DROP_WRITE]++;
        }
        ak_query_ring_taken(&log->ring);
        slot = ak_query_ring_take(&log->ring);
    }
    ak_query_file_flush(&log->weekly, mono_ns, not_counted);
    ak_query_file_flush(&log->daily, mono_ns, drops);
    ak_series_add(log->m_rows, log->daily.written);
    log->daily.written = 0;
    for (int i = 0; i < AK_QUERY_DROPS; i++) {
        ak_series_add(log->m_drops[i], drops[i]);
    }
    if (is_open && log->daily.file) { /* whose lock says that the folder is ours */
        struct ak_err err;
        int32_t day = ak_perf_day(ak_now_us(log->options.clock));
        enum ak_rc rc =
            ak_query_known_write(&log->known, log->options.fs, log->shapes_path, day, &err);
        warn(log, rc, &err);
    }
}

/* --- The pace --- */

static double share_as_ratio(uint64_t share)
{
    return share == UINT64_MAX ? 1 : (double)share * 0x1p-64;
}

static void set_pace(struct ak_query_log *log, int64_t now_us, int64_t mono_ns)
{
    int64_t span_ns = mono_ns - log->pass_ns;
    uint64_t queries = atomic_load_explicit(&log->queries, memory_order_relaxed);
    uint64_t rows = (queries - log->queries_before) / log->options.sample_every;
    uint64_t pace = ak_query_file_share(&log->daily, now_us, rows, span_ns);
    uint64_t share =
        pace == UINT64_MAX ? log->base_share : (uint64_t)((double)pace / log->options.sample_every);
    atomic_store_explicit(&log->share, share, memory_order_relaxed);
    ak_series_set(log->m_share, share_as_ratio(share));
    log->weekly_share =
        ak_query_file_share(&log->weekly, now_us, log->weekly_rows - log->weekly_before, span_ns);
    log->weekly_before = log->weekly_rows;
    log->queries_before = queries;
    log->pass_ns = mono_ns;
}

/* --- Old files --- */

struct old_files {
    const struct ak_query_log *log;
    int64_t now_us;
    struct ak_buf names; /* each with its NUL */
};

static bool is_old(int32_t day, int days, int64_t retention_us, int64_t now_us)
{
    return retention_us > 0 && ak_perf_day_begin_us(day) + days * DAY_US <= now_us - retention_us;
}

static bool look_at(void *ctx, struct ak_str name)
{
    struct old_files *old = ctx;
    const struct ak_query_log_options *o = &old->log->options;
    int32_t day;
    bool goes =
        (ak_perf_daily_day(name, &day) && is_old(day, 1, o->retention_us, old->now_us)) ||
        (ak_perf_weekly_day(name, &day) && is_old(day, 7, o->weekly_retention_us, old->now_us));
    if (goes) {
        ak_buf_add_str(&old->names, name);
        ak_buf_add_char(&old->names, '\0');
    }
    return true;
}

static void remove_old(struct ak_query_log *log, int64_t now_us)
{
    struct old_files old = {.log = log, .now_us = now_us};
    char path[4096];
    struct ak_err err;
    ak_buf_init(&old.names, NAMES_BYTES);
    enum ak_rc rc = ak_fs_list(log->options.fs, log->dir, look_at, &old, &err);
    for (size_t at = 0; rc == AK_OK && !old.names.failed && at < old.names.len;) {
        const char *name = old.names.p + at;
        at += strlen(name) + 1;
        int len = snprintf(path, sizeof path, "%s/%s", log->dir, name);
        if (len > 0 && len < (int)sizeof path) {
            rc = ak_fs_remove(log->options.fs, path, &err);
            ak_log_info(log->options.log, "perf", "%s is older than is kept: %s", name,
                        rc == AK_OK ? "removed" : err.text);
        }
    }
    ak_buf_release(&old.names); /* a failure is told, and tomorrow comes another try */
}

/* --- Passes --- */

static void end_hour(struct ak_query_log *log, int64_t now_us)
{
    struct ak_buf lines;
    struct ak_err err;
    ak_buf_init(&lines, HOUR_BYTES);
    ak_query_hour_put(&log->hour, now_us, &lines);
    if (lines.len && !lines.failed) {
        enum ak_rc rc = ak_perf_summary_append(log->options.fs, log->dir, ak_buf_str(&lines), &err);
        if (rc != AK_OK) {
            ak_log_warn(log->options.log, "perf", "the figures of an hour are lost: %s", err.text);
        }
    }
    ak_buf_release(&lines);
}

static void pass(struct ak_query_log *log)
{
    int64_t now_us = ak_now_us(log->options.clock);
    int64_t mono_ns = ak_mono_ns(log->options.clock);
    int32_t day = ak_perf_day(now_us);
    empty_ring(log, mono_ns);
    set_pace(log, now_us, mono_ns);
    if (ak_query_hour_is_over(&log->hour, now_us)) {
        end_hour(log, now_us);
    }
    if (log->kept_day != day) {
        log->kept_day = day;
        remove_old(log, now_us);
    }
}

void ak_query_log_drain(struct ak_query_log *log)
{
    AK_ASSERT(log->options.by_hand);
    pass(log);
}

static void run(void *arg)
{
    struct ak_query_log *log = arg;
    ak_thread_be_nice();
    ak_mutex_lock(&log->lock);
    while (!log->is_closing) {
        (void)ak_cond_wait_ms(&log->wake, &log->lock, AK_QUERY_TICK_MS);
        ak_mutex_unlock(&log->lock);
        pass(log);
        ak_mutex_lock(&log->lock);
    }
    ak_mutex_unlock(&log->lock);
}

/* --- Opening --- */

static void set_defaults(struct ak_query_log_options *o)
{
    o->fs = o->fs ? o->fs : ak_fs_posix();
    o->clock = o->clock ? o->clock : ak_clock_system();
    o->sample_every = o->sample_every ? o->sample_every : 1;
    o->file_bytes_max = o->file_bytes_max ? o->file_bytes_max : AK_QUERY_FILE_BYTES;
    o->free_bytes_min = o->free_bytes_min ? o->free_bytes_min : AK_QUERY_FREE_BYTES;
}

static char *join(const char *dir, const char *name)
{
    struct ak_buf path;
    size_t len = 0;
    ak_buf_init(&path, 0);
    ak_buf_add_fmt(&path, "%s/%s", dir, name);
    (void)ak_buf_cstr(&path);
    return ak_buf_take(&path, &len);
}

static struct ak_query_file file_of(struct ak_query_log *log, bool weekly)
{
    struct ak_query_file file = {.fs = log->options.fs,
                                 .dir = log->dir,
                                 .log = log->options.log,
                                 .weekly = weekly,
                                 .bytes_max = log->options.file_bytes_max};
    ak_buf_init(&file.rows, ROWS_BYTES);
    return file;
}

static void open_metrics(struct ak_query_log *log)
{
    struct ak_metrics *metrics = log->options.metrics;
    log->m_rows = ak_metrics_series(metrics, AK_METRIC_QUERY_LOG_ROWS, NULL, 0);
    log->m_share = ak_metrics_series(metrics, AK_METRIC_QUERY_LOG_SHARE, NULL, 0);
    for (int i = 0; i < AK_QUERY_DROPS; i++) {
        struct ak_str reason = ak_str_of(drop_names[i]);
        log->m_drops[i] = ak_metrics_series(metrics, AK_METRIC_QUERY_LOG_DROPPED, &reason, 1);
    }
    ak_series_set(log->m_share, share_as_ratio(log->base_share));
}

static void release(struct ak_query_log *log)
{
    ak_query_file_close(&log->daily);
    ak_query_file_close(&log->weekly);
    ak_query_known_release(&log->known);
    ak_query_ring_release(&log->ring);
    ak_cond_release(&log->wake);
    ak_mutex_release(&log->lock);
    ak_free(log->shapes_path);
    ak_free(log->dir);
    ak_free(log);
}

enum ak_rc ak_query_log_open(const struct ak_query_log_options *options, struct ak_query_log **log,
                             struct ak_err *err)
{
    struct ak_query_log *made = ak_alloc_aligned(AK_CACHE_LINE, sizeof *made);
    memset(made, 0, sizeof *made);
    made->options = *options;
    set_defaults(&made->options);
    made->dir = ak_strdup_n(options->dir, strlen(options->dir));
    made->shapes_path = join(made->dir, AK_QUERY_SHAPES_FILE);
    made->base_share =
        made->options.sample_every == 1 ? UINT64_MAX : UINT64_MAX / made->options.sample_every;
    made->weekly_share = UINT64_MAX;
    made->pass_ns = ak_mono_ns(made->options.clock);
    made->daily = file_of(made, false);
    made->weekly = file_of(made, true);
    atomic_init(&made->share, made->base_share);
    atomic_init(&made->queries, 0);
    ak_query_ring_init(&made->ring);
    ak_query_known_init(&made->known);
    ak_query_known_load(&made->known, made->options.fs, made->shapes_path);
    open_metrics(made);
    ak_query_hour_init(&made->hour, made->options.metrics, ak_now_us(made->options.clock));
    ak_mutex_init(&made->lock, AK_RANK_LEAF, "query log");
    ak_cond_init(&made->wake);
    enum ak_rc rc =
        options->by_hand ? AK_OK : ak_thread_start(&made->thread, "akidb-perf", run, made, err);
    if (rc != AK_OK) {
        release(made);
        return ak_wrap(err, rc, "query log");
    }
    *log = made;
    return AK_OK;
}

void ak_query_log_close(struct ak_query_log *log)
{
    if (!log) {
        return;
    }
    ak_mutex_lock(&log->lock);
    log->is_closing = true;
    ak_cond_signal(&log->wake);
    ak_mutex_unlock(&log->lock);
    ak_thread_join(&log->thread);
    pass(log);
    end_hour(log, ak_now_us(log->options.clock));
    release(log);
}
