/* service.c — opening, closing, moving operations between threads, and the gauges of the node.
 *
 * I1  under_way counts the operations between ak_op_begin() and the return of their `done`, and the
 *     deferred ones; ak_service_close() waits for it to reach zero, so that no completion of the
 *     log and no worker meets a service that is gone.
 */
#include "base/mem.h"
#include "service/service_priv.h"
#include "simd/simd.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLOW_THREADS 16 /* they wait more than they work */
#define SLOW_QUEUE_MAX 256

/* --- Operations --- */

static void enter(struct ak_service *service)
{
    atomic_fetch_add_explicit(&service->under_way, 1, memory_order_relaxed);
}

/* The lock around the last step keeps close() from freeing what this thread still touches. */
static void leave(struct ak_service *service)
{
    uint64_t before = atomic_load_explicit(&service->under_way, memory_order_relaxed);
    while (before > 1) {
        if (atomic_compare_exchange_weak_explicit(&service->under_way, &before, before - 1,
                                                  memory_order_release, memory_order_relaxed)) {
            return;
        }
    }
    ak_mutex_lock(&service->lock);
    if (atomic_fetch_sub_explicit(&service->under_way, 1, memory_order_release) == 1) {
        ak_cond_signal(&service->idle);
    }
    ak_mutex_unlock(&service->lock);
}

void ak_op_begin(struct ak_service *service, struct ak_op *op)
{
    op->service = service;
    op->began_ns = ak_mono_ns(service->clock);
    ak_err_clear(&op->err);
    op->wakes = 0;
    enter(service);
}

void ak_op_done(struct ak_op *op, enum ak_rc rc)
{
    struct ak_service *service = op->service; /* op may be gone after done() */
    op->done(op, rc);
    leave(service);
}

static void work(void *arg)
{
    struct ak_op *op = arg;
    op->may_block = true;
    op->run(op);
}

static void move_to(struct ak_pool *pool, struct ak_op *op, void (*run)(struct ak_op *op))
{
    op->run = run;
    enum ak_rc rc = ak_pool_submit(pool, work, op, &op->err);
    if (rc != AK_OK) {
        ak_op_done(op, ak_wrap(&op->err, rc, "the server is busy"));
    }
}

void ak_op_move(struct ak_op *op, void (*run)(struct ak_op *op))
{
    move_to(op->service->pool, op, run);
}

void ak_op_start_slow(struct ak_service *service, struct ak_op *op, void (*run)(struct ak_op *op))
{
    ak_op_begin(service, op);
    move_to(service->slow, op, run);
}

bool ak_op_try_move_slow(struct ak_op *op, void (*run)(struct ak_op *op))
{
    struct ak_err full;
    op->run = run;
    return ak_pool_submit(op->service->slow, work, op, &full) == AK_OK;
}

void ak_op_start(struct ak_service *service, struct ak_op *op, bool is_quick,
                 void (*run)(struct ak_op *op))
{
    ak_op_begin(service, op);
    if (is_quick || op->may_block) {
        run(op);
    } else {
        ak_op_move(op, run);
    }
}

static void work_deferred(void *arg)
{
    struct ak_op *op = arg;
    struct ak_service *service = op->service;
    op->may_block = true;
    op->run(op);
    leave(service);
}

void ak_service_defer(struct ak_service *service, struct ak_op *op, void (*run)(struct ak_op *op))
{
    op->service = service;
    op->run = run;
    enter(service);
    enum ak_rc rc = ak_pool_submit(service->pool, work_deferred, op, &op->err);
    if (rc != AK_OK) {
        ak_op_done(op, ak_wrap(&op->err, rc, "the server is busy"));
    }
}

/* --- Waiting for a cold collection: op->wait is in the manager's hands --- */

static void awake(struct ak_tier_wait *wait, enum ak_rc rc, const struct ak_err *why)
{
    struct ak_op *op = AK_OP_OF(wait, struct ak_op, wait);
    if (rc == AK_OK) {
        void (*go_on)(void *) = op->pool ? work : work_deferred;
        struct ak_pool *pool = op->pool ? op->pool : op->service->pool;
        rc = ak_pool_submit(pool, go_on, op, &op->err);
        rc = rc == AK_OK ? rc : ak_wrap(&op->err, rc, "the server is busy");
    } else {
        op->err = *why;
    }
    if (rc != AK_OK) {
        ak_op_done(op, rc);
    }
}

static void await(struct ak_op *op, struct ak_str name_or_id, void (*run)(struct ak_op *op))
{
    struct ak_tiers *tiers = op->service->tiers;
    struct ak_tier_view view;
    op->run = run;
    op->wait.done = awake;
    enum ak_rc rc = AK_OK;
    if (!tiers) {
        rc = ak_fail(&op->err, AK_COLD,
                     "the collection is in the object store, from which it is not fetched here");
    } else if (op->wakes++ == AK_WAKES_MAX) {
        rc = ak_fail(&op->err, AK_UNAVAILABLE,
                     "the collection came back from the object store and went there again: the "
                     "disk is short (tiering.max_warm_disk)");
    } else {
        rc = ak_engine_tier(op->service->engine, name_or_id, &view, &op->err);
    }
    if (rc != AK_OK) {
        ak_op_done(op, rc);
        return;
    }
    ak_tiers_wake(tiers, &view.id, &op->wait);
}

void ak_op_await(struct ak_op *op, struct ak_str name_or_id, struct ak_pool *pool,
                 void (*run)(struct ak_op *op))
{
    op->pool = pool;
    await(op, name_or_id, run);
}

void ak_service_await(struct ak_service *service, struct ak_op *op, struct ak_str name_or_id,
                      void (*run)(struct ak_op *op))
{
    op->service = service;
    op->pool = NULL;
    enter(service);
    await(op, name_or_id, run);
}

double ak_op_seconds(const struct ak_op *op)
{
    return (double)(ak_mono_ns(op->service->clock) - op->began_ns) * 1e-9;
}

/* --- Gauges --- */

static int wal_state(const struct ak_wal_stats *wal)
{
    return wal->failed ? 2 : wal->full ? 1 : 0;
}

static void refresh_gauges(void *ctx)
{
    struct ak_service *service = ctx;
    struct ak_engine_stats stats;
    ak_engine_stats(service->engine, &stats);
    ak_series_set(service->m_collections, (double)stats.collections);
    ak_series_set(service->m_collections_open, (double)stats.collections_open);
    ak_series_set(service->m_pending, (double)stats.pending);
    ak_series_set(service->m_memory_collections, (double)stats.memory_bytes);
    ak_series_set(service->m_memory_files, (double)stats.file_bytes);
    ak_series_set(service->m_memory_process, (double)ak_memory_resident());
    ak_series_set(service->m_wal_retained, (double)(stats.wal.end - stats.wal.start));
    ak_series_set(service->m_wal_state, wal_state(&stats.wal));
}

const char *ak_service_writes(struct ak_service *service)
{
    static const char *const names[] = {"ok", "disk_full", "failed"};
    struct ak_engine_stats stats;
    ak_engine_stats(service->engine, &stats);
    return names[wal_state(&stats.wal)];
}

static struct ak_series *series(struct ak_service *service, enum ak_metrics_family family)
{
    return ak_metrics_series(service->metrics, family, NULL, 0);
}

static void open_metrics(struct ak_service *service)
{
    const struct ak_str process = AK_STR("process");
    const struct ak_str collections = AK_STR("collections");
    const struct ak_str files = AK_STR("mapped_vectors");
    const struct ak_str build[2] = {ak_str_of(AKIDB_VERSION), ak_str_of(ak_simd_get()->name)};
    struct ak_metrics *metrics = service->metrics;
    service->m_search_seconds = series(service, AK_METRIC_SEARCH_SECONDS);
    service->m_upsert_seconds = series(service, AK_METRIC_UPSERT_SECONDS);
    service->m_collections = series(service, AK_METRIC_COLLECTIONS);
    service->m_collections_open = series(service, AK_METRIC_COLLECTIONS_OPEN);
    service->m_pending = series(service, AK_METRIC_VECTORS_PENDING);
    service->m_memory_process = ak_metrics_series(metrics, AK_METRIC_MEMORY, &process, 1);
    service->m_memory_collections = ak_metrics_series(metrics, AK_METRIC_MEMORY, &collections, 1);
    service->m_memory_files = ak_metrics_series(metrics, AK_METRIC_MEMORY, &files, 1);
    service->m_wal_retained = series(service, AK_METRIC_WAL_RETAINED);
    service->m_wal_state = series(service, AK_METRIC_WAL_STATE);
    ak_series_set(ak_metrics_series(metrics, AK_METRIC_BUILD_INFO, build, 2), 1);
    if (metrics) {
        ak_metrics_on_render(metrics, refresh_gauges, service);
    }
}

/* --- Opening --- */

static unsigned default_threads(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 2 ? 4 : cores > 32 ? 64 : 2 * (unsigned)cores;
}

enum ak_rc ak_service_open(const struct ak_service_options *options, struct ak_service **service,
                           struct ak_err *err)
{
    struct ak_service *made = ak_zalloc(sizeof *made);
    made->engine = options->engine;
    made->metrics = options->metrics;
    made->log = options->log;
    made->queries = options->queries;
    made->clock = options->clock ? options->clock : ak_clock_system();
    made->archive = options->archive;
    made->tiers = options->tiers;
    made->snapshots = options->snapshots;
    ak_uuid_maker_init(&made->ids, made->clock);
    const struct ak_pool_options pool = {
        .name = "worker", .threads = options->threads ? options->threads : default_threads()};
    const struct ak_pool_options slow = {
        .name = "slow", .threads = SLOW_THREADS, .queue_max = SLOW_QUEUE_MAX};
    enum ak_rc rc = ak_pool_open(&pool, &made->pool, err);
    rc = rc == AK_OK ? ak_pool_open(&slow, &made->slow, err) : rc;
    if (rc != AK_OK) {
        ak_pool_close(made->pool);
        ak_free(made);
        return ak_wrap(err, rc, "service");
    }
    ak_mutex_init(&made->lock, AK_RANK_SERVICE, "service");
    ak_cond_init(&made->idle);
    open_metrics(made);
    *service = made;
    return AK_OK;
}

void ak_service_hurry(struct ak_service *service, uint32_t grace_ms)
{
    if (service) {
        atomic_store(&service->late_ns, ak_mono_ns(service->clock) + (int64_t)grace_ms * 1000000);
        if (service->archive) {
            ak_archive_unwatch(service->archive);
        }
        ak_tiers_stop(service->tiers);
    }
}

bool ak_service_is_late(const struct ak_service *service)
{
    int64_t late_ns = atomic_load(&service->late_ns);
    return late_ns != 0 && ak_mono_ns(service->clock) >= late_ns;
}

void ak_service_close(struct ak_service *service)
{
    if (!service) {
        return;
    }
    ak_mutex_lock(&service->lock);
    while (atomic_load_explicit(&service->under_way, memory_order_acquire)) {
        ak_cond_wait(&service->idle, &service->lock);
    }
    ak_mutex_unlock(&service->lock);
    ak_pool_close(service->slow);
    ak_pool_close(service->pool);
    ak_cond_release(&service->idle);
    ak_mutex_release(&service->lock);
    ak_free(service);
}
