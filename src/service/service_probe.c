/* service_probe.c — what the query log is told about an operation.
 *
 *   execution_time_ms   from the start of the operation to its end: with the time in a queue, and
 *                       of a write until it is durable
 *   cpu_time_ms         of the threads that worked on it, of a write without the log's
 *   io_wait_ms          of a write, from being applied to being durable; of others, what was not
 *                       processor time while a thread worked on it, if pages had to be read from
 *                       the disk meanwhile, else 0; null of an export, which waits for its client
 *   cache_hit           no page had to be read from the disk, and the collection was open
 *
 * Only operations of the sample are measured, and only those that succeed are logged.
 */
#include "service/service_priv.h"
#include <sys/resource.h>
#include <time.h>

void ak_probe_choose(struct ak_service *service, struct ak_op *op,
                     const struct ak_collection *collection)
{
    op->probe.is_on = false;
    if (op->is_unlogged || !ak_query_log_wants(service->queries)) {
        return;
    }
    /* A copy: an upsert gives its collection back before it is done. */
    struct ak_str name = ak_arena_str(op->arena, ak_collection_info(collection)->name);
    op->probe = (struct ak_probe){.is_on = name.p != NULL, .table = name};
}

void ak_probe_choose_any(struct ak_service *service, struct ak_op *op)
{
    op->probe =
        (struct ak_probe){.is_on = !op->is_unlogged && ak_query_log_wants(service->queries)};
}

static int64_t thread_cpu_ns(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t thread_faults(void)
{
    struct rusage usage = {0};
    (void)getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_majflt;
}

struct ak_probe_span ak_probe_enter(const struct ak_op *op)
{
    struct ak_probe_span span = {0};
    if (op->probe.is_on) {
        span = (struct ak_probe_span){.began_ns = ak_mono_ns(op->service->clock),
                                      .cpu_ns = thread_cpu_ns(),
                                      .faults = thread_faults()};
    }
    return span;
}

void ak_probe_leave(const struct ak_op *op, struct ak_probe_span *span)
{
    if (!op->probe.is_on) {
        return;
    }
    span->cpu_ns = thread_cpu_ns() - span->cpu_ns;
    span->faults = thread_faults() - span->faults;
    span->wait_ns = 0;
    if (span->faults) {
        int64_t wait_ns = ak_mono_ns(op->service->clock) - span->began_ns - span->cpu_ns;
        span->wait_ns = wait_ns > 0 ? wait_ns : 0;
    }
}

void ak_probe_add(struct ak_op *op, const struct ak_probe_span *span)
{
    op->probe.cpu_ns += span->cpu_ns;
    op->probe.wait_ns += span->wait_ns;
    op->probe.faults += span->faults;
}

uint64_t ak_probe_rows(struct ak_collection *collection)
{
    uint64_t documents = 0;
    enum ak_rc rc = ak_collection_count(collection, NULL, &documents, NULL);
    return rc == AK_OK ? documents : 0;
}

void ak_probe_log(struct ak_op *op, struct ak_query_shape shape, enum ak_query_index index)
{
    struct ak_service *service = op->service;
    const struct ak_probe *probe = &op->probe;
    if (!probe->is_on) {
        return;
    }
    int64_t duration_ns = ak_mono_ns(service->clock) - op->began_ns;
    const struct ak_query_entry entry = {
        .began_us = ak_now_us(service->clock) - duration_ns / 1000,
        .duration_ns = duration_ns,
        .cpu_ns = probe->cpu_ns,
        .wait_ns = probe->wait_ns,
        .examined = probe->examined,
        .returned = probe->returned,
        .index = index,
        .cache_hit = probe->faults == 0 && !op->was_closed,
    };
    shape.table = probe->table;
    ak_query_log_put(service->queries, &shape, &entry);
}
