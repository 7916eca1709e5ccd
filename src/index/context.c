/* context.c — the memory of one search or insert, kept for the next one.
 *
 * An index keeps up to AK_CONTEXTS; taking one is an exchange with NULL, putting one back a
 * compare-and-swap from NULL, so there is no list to get into an ABA. In a steady state no search
 * allocates; one that needed a very large pool gives that part back. */
#include "index/index_priv.h"

#define TOUCHED_MIN 1024
#define TOUCHED_MAX 65536
#define KEEP_ENTRIES 4096 /* pools and heaps up to this size are kept */
#define PAD 16            /* vector loads and stores may go this far past the end */

struct ak_context *ak_context_take(struct ak_index *index)
{
    for (int i = 0; i < AK_CONTEXTS; i++) {
        /* Acquire pairs with the release in put: the memory is as its last user left it. */
        struct ak_context *context =
            atomic_load_explicit(&index->contexts[i], memory_order_relaxed)
                ? atomic_exchange_explicit(&index->contexts[i], NULL, memory_order_acquire)
                : NULL;
        if (context) {
            return context;
        }
    }
    struct ak_context *context = ak_try_zalloc(sizeof *context);
    if (!context) {
        return NULL;
    }
    size_t bytes = ((size_t)index->options.dimension * sizeof(float) + 63) / 64 * 64;
    context->query = ak_try_alloc_aligned(AK_CACHE_LINE, bytes);
    if (!context->query) {
        ak_free(context);
        return NULL;
    }
    return context;
}

static void trim(struct ak_context *context)
{
    if (context->pool_cap > KEEP_ENTRIES) {
        ak_free(context->pool_distance);
        ak_free(context->pool_id);
        context->pool_distance = NULL;
        context->pool_id = NULL;
        context->pool_cap = 0;
    }
    if (context->found_cap > KEEP_ENTRIES) {
        ak_free(context->found);
        context->found = NULL;
        context->found_cap = 0;
    }
}

static size_t bytes_of(const struct ak_index *index, const struct ak_context *context)
{
    return sizeof *context + (size_t)context->visited_words * sizeof *context->visited +
           context->touched_cap * sizeof *context->touched +
           context->pool_cap * (sizeof(float) + sizeof(uint32_t)) +
           context->found_cap * sizeof *context->found +
           context->candidates_cap * (sizeof *context->candidates + sizeof *context->scratch) +
           index->options.dimension * sizeof(float) +
           (context->code_query ? ak_quantizer_stride(index->options.dimension) * 5 : 0);
}

void ak_context_put(struct ak_index *index, struct ak_context *context)
{
    trim(context);
    /* Relaxed: a count for accounting. Wraps and comes out right when a context shrank. */
    size_t bytes = bytes_of(index, context);
    atomic_fetch_add_explicit(&index->context_bytes, bytes - context->counted,
                              memory_order_relaxed);
    context->counted = bytes;
    for (int i = 0; i < AK_CONTEXTS; i++) {
        struct ak_context *empty = NULL;
        if (!atomic_load_explicit(&index->contexts[i], memory_order_relaxed) &&
            atomic_compare_exchange_strong_explicit(&index->contexts[i], &empty, context,
                                                    memory_order_release, memory_order_relaxed)) {
            return;
        }
    }
    atomic_fetch_sub_explicit(&index->context_bytes, bytes, memory_order_relaxed);
    ak_context_close(context);
}

void ak_context_close(struct ak_context *context)
{
    if (!context) {
        return;
    }
    ak_free(context->visited);
    ak_free(context->touched);
    ak_free(context->pool_distance);
    ak_free(context->pool_id);
    ak_free(context->found);
    ak_free(context->candidates);
    ak_free(context->chosen);
    ak_free(context->scratch);
    ak_free(context->query);
    ak_free(context->code_query);
    ak_free(context->code_scratch);
    ak_free(context);
}

bool ak_context_fit_visited(struct ak_context *context, uint64_t slots)
{
    uint64_t words = ak_bits_words(slots);
    if (words <= context->visited_words) {
        return true;
    }
    words += words / 4 + 8; /* the index grows: not every search shall allocate */
    size_t touched_cap = (size_t)(slots / 8);
    touched_cap = touched_cap < TOUCHED_MIN   ? TOUCHED_MIN
                  : touched_cap > TOUCHED_MAX ? TOUCHED_MAX
                                              : touched_cap;
    uint64_t *visited = ak_try_zalloc((size_t)words * sizeof *visited);
    uint32_t *touched = ak_try_alloc(touched_cap * sizeof *touched);
    if (!visited || !touched) {
        ak_free(visited);
        ak_free(touched);
        return false;
    }
    ak_free(context->visited);
    ak_free(context->touched);
    context->visited = visited;
    context->visited_words = words;
    context->touched = touched;
    context->touched_cap = (uint32_t)touched_cap;
    context->touched_count = 0;
    context->touched_over = false;
    return true;
}

bool ak_context_fit_pool(struct ak_context *context, uint32_t cap)
{
    context->pool_count = 0;
    if (cap <= context->pool_cap) {
        return true;
    }
    float *distance = ak_try_alloc_aligned(AK_CACHE_LINE, (cap + 2 * PAD) * sizeof *distance);
    uint32_t *id = ak_try_alloc_aligned(AK_CACHE_LINE, (cap + 2 * PAD) * sizeof *id);
    if (!distance || !id) {
        ak_free(distance);
        ak_free(id);
        return false;
    }
    ak_free(context->pool_distance);
    ak_free(context->pool_id);
    context->pool_distance = distance;
    context->pool_id = id;
    context->pool_cap = cap;
    return true;
}

bool ak_context_fit_found(struct ak_context *context, uint32_t cap)
{
    context->found_count = 0;
    if (cap <= context->found_cap) {
        return true;
    }
    struct ak_found *found = ak_try_alloc((size_t)cap * sizeof *found);
    if (!found) {
        return false;
    }
    ak_free(context->found);
    context->found = found;
    context->found_cap = cap;
    return true;
}

bool ak_context_fit_codes(struct ak_context *context, uint32_t dimension)
{
    size_t stride = ak_quantizer_stride(dimension);
    if (context->code_query) {
        return true;
    }
    int8_t *query = ak_try_alloc_aligned(AK_CACHE_LINE, stride);
    float *scratch = ak_try_alloc_aligned(AK_CACHE_LINE, stride * sizeof *scratch);
    if (!query || !scratch) {
        ak_free(query);
        ak_free(scratch);
        return false;
    }
    context->code_query = query;
    context->code_scratch = scratch;
    return true;
}

bool ak_context_fit_build(struct ak_index *index, struct ak_context *context)
{
    /* A prune sees the pools of two walks and the links of some copies, or a row with the rows of
     * all its dead neighbours, cut to eight rows. */
    uint32_t need = 2 * index->options.params.ef_construction + 4 * index->degree;
    need = need < 8 * index->degree ? 8 * index->degree : need;
    if (context->candidates_cap >= need) {
        return true;
    }
    size_t rows = AK_LEVEL_MAX + 1;
    struct ak_found *candidates = ak_try_alloc(need * sizeof *candidates);
    uint32_t *chosen = ak_try_alloc(rows * index->degree * sizeof *chosen);
    uint32_t *scratch = ak_try_alloc(need * sizeof *scratch);
    if (!candidates || !chosen || !scratch) {
        ak_free(candidates);
        ak_free(chosen);
        ak_free(scratch);
        return false;
    }
    ak_free(context->candidates);
    ak_free(context->chosen);
    ak_free(context->scratch);
    context->candidates = candidates;
    context->candidates_cap = need;
    context->chosen = chosen;
    context->scratch = scratch;
    return true;
}

void ak_context_reset(struct ak_context *context)
{
    if (context->touched_over || context->touched_count > context->visited_words) {
        memset(context->visited, 0, (size_t)context->visited_words * sizeof *context->visited);
    } else {
        for (uint32_t i = 0; i < context->touched_count; i++) {
            context->visited[context->touched[i] / 64] = 0;
        }
    }
    context->touched_count = 0;
    context->touched_over = false;
}

void ak_context_visit(struct ak_context *context, uint32_t slot)
{
    context->visited[slot / 64] |= (uint64_t)1 << (slot % 64);
    if (context->touched_count == context->touched_cap) {
        context->touched_over = true;
        context->touched_count = 0;
    }
    context->touched[context->touched_count++] = slot;
}
