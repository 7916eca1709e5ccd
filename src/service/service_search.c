/* service_search.c — searches, alone and in batches.
 *
 * A search of ordinary size runs on the loop that read it: handing it over would cost more than
 * half of what it takes. A batch is spread over workers that take one search after the other; each
 * has an arena of its own, since an arena belongs to one thread.
 */
#include "base/mem.h"
#include "service/service_priv.h"
#include <string.h>

/* --- One --- */

static enum ak_query_index index_of(const struct ak_filter *filter, bool was_exact)
{
    if (filter) {
        return was_exact ? AK_QUERY_EXACT_FILTERED : AK_QUERY_HNSW_FILTERED;
    }
    return was_exact ? AK_QUERY_EXACT : AK_QUERY_HNSW;
}

static struct ak_query_shape shape_of(const struct ak_search *search, enum ak_query_type type,
                                      uint64_t items)
{
    return (struct ak_query_shape){.type = type,
                                   .items = items,
                                   .k = search->k,
                                   .ef = search->ef,
                                   .recall = search->recall,
                                   .exact = search->exact,
                                   .has_threshold = search->has_threshold,
                                   .filter = search->filter};
}

static void log_search(struct ak_search_op *search, const struct ak_search_effort *effort)
{
    struct ak_op *op = &search->op;
    op->probe.examined = effort->distances;
    op->probe.returned = search->result.count;
    ak_probe_log(op, shape_of(&search->search, AK_QUERY_SEARCH, 0),
                 index_of(search->search.filter, effort->was_exact));
}

static void run_search(struct ak_op *op)
{
    struct ak_search_op *search = AK_OP_OF(op, struct ak_search_op, op);
    const struct ak_clock *clock = op->service->clock;
    struct ak_search_effort effort = {0};
    struct ak_probe_span span = ak_probe_enter(op);
    search->search.effort = op->probe.is_on ? &effort : NULL;
    int64_t began = ak_mono_ns(clock);
    enum ak_rc rc = ak_collection_search(search->collection, &search->search, op->arena,
                                         &search->result.found, &search->result.count, &op->err);
    ak_series_observe(op->service->m_search_seconds, (double)(ak_mono_ns(clock) - began) * 1e-9);
    ak_probe_leave(op, &span);
    if (rc == AK_OK && op->probe.is_on) {
        ak_probe_add(op, &span);
        log_search(search, &effort);
    }
    ak_op_done(op, rc);
}

static bool is_quick(struct ak_collection *collection, const struct ak_search *search)
{
    if (search->filter) {
        uint64_t documents = 0;
        enum ak_rc rc = ak_collection_count(collection, NULL, &documents, NULL);
        if (rc != AK_OK || documents > AK_INLINE_FILTER_ROWS_MAX) {
            return false;
        }
    }
    return ak_collection_search_cost(collection, search) <= AK_INLINE_COST_MAX;
}

void ak_service_search(struct ak_service *service, struct ak_search_op *search)
{
    ak_probe_choose(service, &search->op, search->collection);
    ak_op_start(service, &search->op, is_quick(search->collection, &search->search), run_search);
}

/* --- Many --- */

static void batch_fails(struct ak_search_batch_op *batch, size_t at, enum ak_rc rc,
                        const struct ak_err *why)
{
    int none = AK_OK;
    if (atomic_compare_exchange_strong(&batch->failed, &none, (int)rc)) {
        (void)ak_fail(&batch->op.err, rc, "searches[%zu]: %s", at, why->text);
    }
}

/* All helpers are done: their sums are whole (`busy`). One shape is what batches mostly have. */
static void log_batch(struct ak_search_batch_op *batch)
{
    struct ak_probe *probe = &batch->op.probe;
    struct ak_batch_sums *sums = &batch->sums;
    probe->cpu_ns = atomic_load_explicit(&sums->cpu_ns, memory_order_relaxed);
    probe->wait_ns = atomic_load_explicit(&sums->wait_ns, memory_order_relaxed);
    probe->faults = atomic_load_explicit(&sums->faults, memory_order_relaxed);
    probe->examined = atomic_load_explicit(&sums->examined, memory_order_relaxed);
    probe->returned = atomic_load_explicit(&sums->returned, memory_order_relaxed);
    bool was_exact = atomic_load_explicit(&sums->graphs, memory_order_relaxed) == 0;
    const struct ak_search *first = &batch->searches[0];
    ak_probe_log(&batch->op, shape_of(first, AK_QUERY_SEARCH_BATCH, batch->count),
                 index_of(first->filter, was_exact));
}

/* Before done(), whose answer may free the batch, the arenas are moved out: they live until it is
 * written. */
static void batch_done(struct ak_search_batch_op *batch)
{
    struct ak_arena arenas[AK_BATCH_HELPERS_MAX];
    unsigned count = batch->helper_count;
    enum ak_rc rc = (enum ak_rc)atomic_load(&batch->failed);
    if (rc == AK_OK && batch->op.probe.is_on) {
        log_batch(batch);
    }
    for (unsigned i = 0; i < count; i++) {
        arenas[i] = batch->helpers[i].arena;
    }
    ak_op_done(&batch->op, rc);
    for (unsigned i = 0; i < count; i++) {
        ak_arena_release(&arenas[i]);
    }
}

static void add_to_sums(struct ak_batch_sums *sums, const struct ak_probe_span *span,
                        const struct ak_search_effort *effort, uint32_t returned)
{
    atomic_fetch_add_explicit(&sums->cpu_ns, span->cpu_ns, memory_order_relaxed);
    atomic_fetch_add_explicit(&sums->wait_ns, span->wait_ns, memory_order_relaxed);
    atomic_fetch_add_explicit(&sums->faults, span->faults, memory_order_relaxed);
    atomic_fetch_add_explicit(&sums->examined, effort->distances, memory_order_relaxed);
    atomic_fetch_add_explicit(&sums->returned, returned, memory_order_relaxed);
    atomic_fetch_add_explicit(&sums->graphs, !effort->was_exact, memory_order_relaxed);
}

static void search_one(struct ak_batch_helper *helper, size_t at)
{
    struct ak_search_batch_op *batch = helper->batch;
    struct ak_service *service = batch->op.service;
    struct ak_search_result *result = &batch->results[at];
    struct ak_err err;
    struct ak_search_effort effort = {0};
    struct ak_search search = batch->searches[at];
    struct ak_probe_span span = ak_probe_enter(&batch->op);
    search.effort = batch->op.probe.is_on ? &effort : NULL;
    int64_t began = ak_mono_ns(service->clock);
    enum ak_rc rc = ak_collection_search(batch->collection, &search, &helper->arena, &result->found,
                                         &result->count, &err);
    ak_series_observe(service->m_search_seconds,
                      (double)(ak_mono_ns(service->clock) - began) * 1e-9);
    if (rc != AK_OK) {
        batch_fails(batch, at, rc, &err);
    } else if (batch->op.probe.is_on) {
        ak_probe_leave(&batch->op, &span);
        add_to_sums(&batch->sums, &span, &effort, result->count);
    }
}

/* busy: the release of each helper's results pairs with the acquire of the last one out. */
static void help(struct ak_batch_helper *helper)
{
    struct ak_search_batch_op *batch = helper->batch;
    while (atomic_load(&batch->failed) == AK_OK) {
        size_t at = atomic_fetch_add(&batch->next, 1);
        if (at >= batch->count) {
            break;
        }
        search_one(helper, at);
    }
    if (atomic_fetch_sub_explicit(&batch->busy, 1, memory_order_acq_rel) == 1) {
        batch_done(batch);
    }
}

static void run_helper(void *arg)
{
    help(arg);
}

/* The first helper is this worker. A helper that no worker takes is no loss. */
static void run_batch(struct ak_op *op)
{
    struct ak_search_batch_op *batch = AK_OP_OF(op, struct ak_search_batch_op, op);
    struct ak_pool *pool = op->service->pool;
    enum { SEARCHES_EACH = 4 };
    size_t useful = (batch->count + SEARCHES_EACH - 1) / SEARCHES_EACH;
    unsigned most = ak_pool_threads(pool) / 2 + 1; /* some workers stay free for others */
    most = most < AK_BATCH_HELPERS_MAX ? most : AK_BATCH_HELPERS_MAX;
    unsigned n = useful < most ? (unsigned)useful : most;
    for (unsigned i = 0; i < n; i++) {
        batch->helpers[i].batch = batch;
        ak_arena_init(&batch->helpers[i].arena, 0);
    }
    batch->helper_count = n;
    atomic_store(&batch->busy, n);
    for (unsigned i = 1; i < n; i++) {
        if (ak_pool_submit(pool, run_helper, &batch->helpers[i], NULL) != AK_OK) {
            atomic_fetch_sub(&batch->busy, 1); /* never the last: this thread's is still out */
        }
    }
    help(&batch->helpers[0]);
}

static void init_sums(struct ak_batch_sums *sums)
{
    atomic_init(&sums->cpu_ns, 0);
    atomic_init(&sums->wait_ns, 0);
    atomic_init(&sums->faults, 0);
    atomic_init(&sums->examined, 0);
    atomic_init(&sums->returned, 0);
    atomic_init(&sums->graphs, 0);
}

void ak_service_search_batch(struct ak_service *service, struct ak_search_batch_op *batch)
{
    AK_ASSERT(batch->count > 0);
    memset(batch->results, 0, batch->count * sizeof *batch->results);
    batch->helper_count = 0;
    atomic_store(&batch->next, 0);
    atomic_store(&batch->failed, AK_OK);
    init_sums(&batch->sums);
    ak_probe_choose(service, &batch->op, batch->collection);
    ak_op_start(service, &batch->op, false, run_batch);
}
