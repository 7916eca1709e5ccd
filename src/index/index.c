/* index.c — rows by slot: opening and closing, add and remove, what is live, memory.
 *
 * States of a slot (bits dead, linked, unlinked; "–": not set):
 *
 *     past the end ──add──> live, pending ──link──> live, linked
 *          ▲                      │ remove               │ remove
 *          │                      ▼                      ▼
 *     dead, unlinked <──repair── dead           dead, linked (walked through, never returned)
 *       │        ▲                                       │
 *       │        └───────────────repair──────────────────┘
 *       └── once the epoch has passed: given to an add, or cut off at the end (vacuum.c)
 *
 * While live + 1 ≤ exact_below nothing is linked and no memory is spent on links: scanning so few
 * rows costs no more than walking, and most collections of a large node are that small.
 *
 * Moves. A slab that must move is copied and published while readers go on with the old base. What
 * others than the writer change (links, linked, unlinked) must not change during the copy, so the
 * gate is closed for it. And a reader with an old base must not meet a slot that was used anew,
 * since it would see the old row: ak_reclaim_hold().
 */
#include "index/index_priv.h"

static enum ak_rc check_options(const struct ak_index_options *options, struct ak_err *err)
{
    const struct ak_index_params *params = &options->params;
    if (options->dimension < 1 || options->dimension > AK_DIMENSION_MAX) {
        return ak_fail(err, AK_INVALID, "dimension %u: 1 to %d", options->dimension,
                       AK_DIMENSION_MAX);
    }
    if ((unsigned)options->metric >= AK_METRIC_COUNT) {
        return ak_fail(err, AK_INVALID, "metric %u is unknown", (unsigned)options->metric);
    }
    if (params->m < 4 || params->m > 64 || params->ef_construction < 16 ||
        params->ef_construction > 2000 || params->ef_search < 1 || params->ef_search > AK_EF_MAX ||
        (unsigned)params->quantization >= AK_QUANTIZATION_COUNT ||
        (unsigned)params->vectors >= AK_VECTORS_COUNT) {
        return ak_fail(err, AK_INVALID,
                       "index parameters: m %u (4 to 64), ef_construction %u (16 to 2000), "
                       "ef_search %u (1 to %d), quantization %u, vectors %u",
                       params->m, params->ef_construction, params->ef_search, AK_EF_MAX,
                       (unsigned)params->quantization, (unsigned)params->vectors);
    }
    return AK_OK;
}

double ak_index_float_row_ns(const struct ak_index *index)
{
    return 5.0 + 0.16 * (double)index->options.dimension;
}

/* What a walk reads of a row. */
double ak_index_walk_row_ns(const struct ak_index *index)
{
    static const double per_dimension[AK_QUANTIZATION_COUNT] = {
        [AK_QUANTIZATION_U8] = 0.04,
        [AK_QUANTIZATION_U4] = 0.025,
        [AK_QUANTIZATION_BINARY] = 0.01,
    };
    return ak_index_codes(index) ? 5.0 + per_dimension[index->options.params.quantization] *
                                             (double)index->options.dimension
                                 : ak_index_float_row_ns(index);
}

uint64_t ak_index_pending_cost(const struct ak_index *index, uint64_t rows)
{
    return (uint64_t)((double)rows * ak_index_walk_row_ns(index) / ak_index_float_row_ns(index));
}

/* Estimated from runs on one processor: a scanned row costs about float_row_ns, a row met on a walk
 * a third more than what is read of it, and some 30 ns of a walk's steps fall on each of them
 * whatever its size. A walk sees about ten rows per row it keeps; keeping a pool of many thousands
 * sorted begins to show. */
uint64_t ak_index_walk_cost(const struct ak_index *index, uint64_t ef, uint64_t rows,
                            uint64_t eligible)
{
    double kept = (double)ef;
    if (eligible < rows) {
        kept *= (double)rows / (double)(eligible ? eligible : 1);
    }
    double met = 200.0 + 10.0 * kept;
    double walk_ns = met * (1.3 * ak_index_walk_row_ns(index) + 30.0) + kept * kept * 0.25;
    return (uint64_t)(walk_ns / ak_index_float_row_ns(index));
}

enum ak_rc ak_index_make(const struct ak_index_options *options, struct ak_index **index,
                         struct ak_err *err)
{
    AK_ASSERT(options->epoch);
    enum ak_rc rc = check_options(options, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_index *made = ak_try_zalloc(sizeof *made);
    if (!made) {
        return ak_fail(err, AK_NOMEM, "index");
    }
    made->options = *options;
    made->simd = ak_simd_get();
    made->walk = ak_walk_ops_for(made->simd);
    made->degree = 2 * options->params.m;
    made->upper_degree = options->params.m;
    made->has_scales = options->metric != AK_METRIC_L2;
    /* Up to twice the price of a walk, a scan is worth it: it misses nothing and needs no links. */
    made->exact_below = options->exact_below
                            ? options->exact_below
                            : 2 * ak_index_walk_cost(made, AK_INDEX_EF_TYPICAL, 0, 0);
    size_t row = ((size_t)options->dimension * sizeof(float) + 63) / 64 * 64;
    ak_slab_init(&made->vectors, row, true, options->epoch);
    if (options->params.vectors == AK_VECTORS_DISK) {
        ak_slab_stay_in_file(&made->vectors);
    }
    ak_slab_init(&made->scales, sizeof(float), false, options->epoch);
    ak_slab_init(&made->dead, sizeof(uint64_t), false, options->epoch);
    ak_slab_init(&made->linked, sizeof(uint64_t), false, options->epoch);
    ak_slab_init(&made->unlinked, sizeof(uint64_t), false, options->epoch);
    ak_slab_init(&made->links, made->degree * sizeof(uint32_t), true, options->epoch);
    ak_slab_init(&made->levels, 1, false, options->epoch);
    ak_slab_init(&made->upper_at, sizeof(uint32_t), false, options->epoch);
    ak_slab_init(&made->upper, made->upper_degree * sizeof(uint32_t), false, options->epoch);
    atomic_init(&made->entry, AK_ENTRY_NONE);
    made->reclaim = ak_reclaim_open();
    ak_pending_init(&made->pending);
    ak_gate_init(&made->gate);
    ak_mutex_init(&made->serial, AK_RANK_INDEX, "index first rows");
    atomic_flag_clear(&made->repairing);
    *index = made;
    return AK_OK;
}

enum ak_rc ak_index_open(const struct ak_index_options *options, struct ak_index **index,
                         struct ak_err *err)
{
    enum ak_rc rc = ak_index_make(options, index, err);
    if (rc == AK_OK) {
        ak_index_account(*index);
        atomic_store_explicit(&(*index)->writable, true, memory_order_release);
    }
    return rc;
}

void ak_index_close(struct ak_index *index)
{
    if (!index) {
        return;
    }
    if (index->frozen.on) {
        ak_index_unfreeze(index);
    }
    for (int i = 0; i < AK_CONTEXTS; i++) {
        ak_context_close(atomic_load_explicit(&index->contexts[i], memory_order_acquire));
    }
    struct ak_slab *slabs[] = {&index->vectors, &index->scales,   &index->dead,
                               &index->linked,  &index->unlinked, &index->links,
                               &index->levels,  &index->upper_at, &index->upper};
    for (size_t i = 0; i < sizeof slabs / sizeof slabs[0]; i++) {
        ak_slab_release(slabs[i]);
    }
    ak_renewal_release(index);
    ak_codes_close(ak_index_codes(index));
    ak_free(index->code_scratch);
    ak_pending_release(&index->pending);
    ak_gate_release(&index->gate);
    ak_mutex_release(&index->serial);
    ak_reclaim_close(index->reclaim);
    ak_free(index->node_locks);
    ak_free(index);
}

/* --- Growth --- */

void ak_index_hold(struct ak_index *index)
{
    ak_reclaim_hold(index->reclaim, index->options.epoch);
    if (index->high > 0) {
        ak_epoch_wait(index->options.epoch); /* rows past the end may be slots used anew */
    }
}

enum ak_rc ak_index_reserve_slab(struct ak_index *index, struct ak_slab *slab, uint64_t rows,
                                 struct ak_err *err)
{
    const char *before = ak_slab_base(slab);
    enum ak_rc rc = ak_slab_reserve(slab, rows, err);
    if (rc == AK_OK && before && before != ak_slab_base(slab)) {
        ak_index_hold(index);
    }
    return rc;
}

static uint64_t get(const _Atomic uint64_t *at)
{
    return atomic_load_explicit(at, memory_order_acquire);
}

enum ak_rc ak_index_grow_graph(struct ak_index *index, uint64_t rows, struct ak_err *err)
{
    if (!index->node_locks) {
        index->node_locks = ak_try_zalloc(AK_NODE_LOCKS);
        if (!index->node_locks) {
            return ak_fail(err, AK_NOMEM, "locks of a graph");
        }
    }
    enum ak_rc rc = ak_index_reserve_slab(index, &index->links, rows, err);
    if (rc == AK_OK) {
        rc = ak_index_reserve_slab(index, &index->levels, rows, err);
    }
    if (rc == AK_OK) {
        rc = ak_index_reserve_slab(index, &index->upper_at, rows, err);
    }
    uint64_t upper_rows = get(&index->upper_rows);
    for (uint64_t row = get(&index->graph_rows); row < rows && rc == AK_OK; row++) {
        uint32_t slot = (uint32_t)row;
        uint32_t level = ak_hnsw_level(slot, index->options.params.m, index->options.seed);
        uint64_t need = upper_rows + level;
        /* It moves before its last places are taken, see fits(), and then by half as much again. */
        bool moves = need + AK_LEVEL_MAX > index->upper.cap;
        rc = ak_index_reserve_slab(index, &index->upper,
                                   moves ? need + need / 2 + AK_LEVEL_MAX : need, err);
        if (rc == AK_OK) {
            ((uint8_t *)ak_slab_base(&index->levels))[row] = (uint8_t)level;
            ((uint32_t *)(void *)ak_slab_base(&index->upper_at))[row] = (uint32_t)upper_rows;
            upper_rows = need;
            atomic_store_explicit(&index->upper_rows, upper_rows, memory_order_release);
            atomic_store_explicit(&index->graph_rows, row + 1, memory_order_release);
        }
    }
    return rc;
}

static enum ak_rc reserve_rows(struct ak_index *index, uint64_t rows, bool graph,
                               struct ak_err *err)
{
    uint64_t words = ak_bits_words(rows);
    enum ak_rc rc = ak_index_reserve_slab(index, &index->vectors, rows, err);
    if (rc == AK_OK && index->has_scales) {
        rc = ak_index_reserve_slab(index, &index->scales, rows, err);
    }
    if (rc == AK_OK) {
        rc = ak_index_reserve_slab(index, &index->dead, words, err);
    }
    if (rc == AK_OK) {
        rc = ak_index_reserve_slab(index, &index->linked, words, err);
    }
    if (rc == AK_OK) {
        rc = ak_index_reserve_slab(index, &index->unlinked, words, err);
    }
    if (rc == AK_OK && ak_index_codes(index)) {
        rc = ak_codes_reserve(index, ak_index_codes(index), rows, err);
    }
    if (rc == AK_OK && graph) {
        rc = ak_index_grow_graph(index, rows, err);
    }
    if (rc == AK_OK && graph) {
        ak_codes_start_if_due(index);
    }
    return rc;
}

static bool fits(const struct ak_index *index, uint64_t rows, bool graph)
{
    uint64_t words = ak_bits_words(rows);
    return rows <= index->vectors.cap && (!index->has_scales || rows <= index->scales.cap) &&
           ak_codes_fit(index, rows) && words <= index->dead.cap && words <= index->linked.cap &&
           words <= index->unlinked.cap &&
           (!graph || (get(&index->graph_rows) + 1 >= rows && rows <= index->links.cap &&
                       rows <= index->levels.cap && rows <= index->upper_at.cap &&
                       get(&index->upper_rows) + 2 * (uint64_t)AK_LEVEL_MAX <= index->upper.cap));
}

/* Room for rows [0, rows), of which `more` are new. The gate is closed only when something must
 * move. */
static enum ak_rc make_room(struct ak_index *index, uint64_t rows, uint32_t more,
                            struct ak_err *err)
{
    uint64_t had = get(&index->graph_rows);
    bool graph = had > 0 || get(&index->live) + more > index->exact_below;
    if (graph && rows < get(&index->slots)) {
        rows = get(&index->slots);
    }
    if (fits(index, rows, graph)) {
        return reserve_rows(index, rows, graph, err);
    }
    ak_gate_close(&index->gate);
    enum ak_rc rc = reserve_rows(index, rows, graph, err);
    ak_gate_open(&index->gate);
    ak_index_account(index);
    return rc;
}

/* The writer counts for everybody, since a slab's own fields are the writer's. */
void ak_index_account(struct ak_index *index)
{
    uint64_t slots = get(&index->slots);
    uint64_t words = ak_bits_words(slots);
    uint64_t graph_rows = get(&index->graph_rows);
    size_t vectors = ak_slab_bytes(&index->vectors, slots);
    size_t codes = ak_codes_bytes(index, slots);
    size_t links = ak_slab_bytes(&index->links, graph_rows) +
                   ak_slab_bytes(&index->levels, graph_rows) +
                   ak_slab_bytes(&index->upper_at, graph_rows) +
                   ak_slab_bytes(&index->upper, get(&index->upper_rows));
    size_t bytes = sizeof *index + vectors + codes + links + ak_slab_bytes(&index->dead, words) +
                   ak_slab_bytes(&index->linked, words) + ak_slab_bytes(&index->unlinked, words) +
                   ak_pending_bytes(&index->pending);
    atomic_store_explicit(&index->vector_bytes, vectors, memory_order_relaxed);
    atomic_store_explicit(&index->file_bytes, ak_slab_file_bytes(&index->vectors, slots),
                          memory_order_relaxed);
    atomic_store_explicit(&index->code_bytes, codes, memory_order_relaxed);
    atomic_store_explicit(&index->link_bytes, links, memory_order_relaxed);
    if (index->has_scales) {
        bytes += ak_slab_bytes(&index->scales, slots);
    }
    if (index->node_locks) {
        bytes += AK_NODE_LOCKS;
    }
    atomic_store_explicit(&index->slab_bytes, bytes, memory_order_relaxed);
}

/* --- Writer --- */

void ak_index_pick_next(struct ak_index *index)
{
    uint32_t slot = 0;
    bool freed = !index->frozen.on && ak_reclaim_peek(index->reclaim, &slot);
    index->next = freed ? slot : (uint32_t)get(&index->slots);
    index->next_is_freed = freed;
}

bool ak_index_has_room(const struct ak_index *index, uint32_t more)
{
    bool graph = get(&index->graph_rows) > 0 || get(&index->live) + more > index->exact_below;
    return fits(index, get(&index->slots) + more, graph) && !(graph && ak_codes_are_due(index));
}

enum ak_rc ak_index_reserve(struct ak_index *index, uint32_t more, struct ak_err *err)
{
    uint64_t rows = get(&index->slots) + more;
    AK_ASSERT(atomic_load_explicit(&index->writable, memory_order_relaxed));
    if (rows > AK_SLOTS_MAX) {
        return ak_fail(err, AK_TOO_BIG, "a collection holds at most %u rows", AK_SLOTS_MAX);
    }
    enum ak_rc rc = make_room(index, rows, more, err);
    return rc == AK_OK ? ak_pending_reserve(&index->pending, more, index->options.epoch, err) : rc;
}

uint32_t ak_index_next_slot(const struct ak_index *index)
{
    return index->next;
}

void ak_index_store_row(struct ak_index *index, uint32_t slot, const float *vector)
{
    size_t dimension = index->options.dimension;
    ak_slab_note_write(&index->vectors, slot);
    memcpy(ak_slab_row(&index->vectors, slot), vector, dimension * sizeof *vector);
    if (!index->has_scales) {
        return;
    }
    double norm = ak_f32_norm(vector, dimension);
    float *scale = ak_slab_row(&index->scales, slot);
    *scale = norm > 0.0 ? ak_finite((float)(1.0 / norm)) : 0.0f;
}

enum ak_rc ak_index_add(struct ak_index *index, const float *vector, uint32_t *slot,
                        struct ak_err *err)
{
    AK_ASSERT(atomic_load_explicit(&index->writable, memory_order_relaxed));
    uint32_t at = index->next;
    if (at >= AK_SLOTS_MAX) {
        return ak_fail(err, AK_TOO_BIG, "a collection holds at most %u rows", AK_SLOTS_MAX);
    }
    enum ak_rc rc = make_room(index, (uint64_t)at + 1, 1, err);
    if (rc == AK_OK) {
        rc = ak_pending_reserve(&index->pending, 1, index->options.epoch, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    ak_index_store_row(index, at, vector);
    ak_codes_store(index, at, index->next_is_freed);
    if (index->next_is_freed) {
        /* In this order: who reads `unlinked` before `dead` never takes the row for a tombstone. */
        ak_reclaim_take(index->reclaim);
        ak_bits_clear(ak_index_words(&index->dead), at);
        ak_bits_clear(ak_index_words(&index->unlinked), at);
        atomic_fetch_sub_explicit(&index->unlinked_count, 1, memory_order_relaxed);
    } else {
        if (at < index->high) { /* cut off a moment ago, see vacuum.c: its bits are still set */
            ak_bits_clear(ak_index_words(&index->dead), at);
            ak_bits_clear(ak_index_words(&index->unlinked), at);
        }
        atomic_store_explicit(&index->slots, (uint64_t)at + 1, memory_order_release);
    }
    atomic_fetch_add_explicit(&index->live, 1, memory_order_release);
    ak_pending_push(&index->pending, at);
    ak_index_pick_next(index);
    if (at % 256 == 0) { /* a region's pages count as they are touched */
        ak_renewal_step(index);
        ak_index_account(index);
    }
    *slot = at;
    return AK_OK;
}

void ak_index_remove(struct ak_index *index, uint32_t slot)
{
    AK_ASSERT(atomic_load_explicit(&index->writable, memory_order_relaxed));
    AK_ASSERT(slot < get(&index->slots));
    uint64_t *dead = ak_index_words(&index->dead);
    if (ak_bits_test(dead, slot)) {
        return;
    }
    ak_bits_set(dead, slot);
    atomic_fetch_sub_explicit(&index->live, 1, memory_order_release);
    atomic_fetch_add_explicit(&index->tombstones, 1, memory_order_release);
}

/* --- What is there --- */

uint64_t ak_index_pending(const struct ak_index *index)
{
    return get(&index->live) > index->exact_below ? get(&index->pending.count) : 0;
}

uint64_t ak_index_tombstones(const struct ak_index *index)
{
    return get(&index->tombstones);
}

const struct ak_index_options *ak_index_options_of(const struct ak_index *index)
{
    return &index->options;
}

bool ak_index_has_graph(const struct ak_index *index)
{
    return get(&index->entry) != AK_ENTRY_NONE && get(&index->live) > index->exact_below;
}

uint64_t ak_index_slots(const struct ak_index *index)
{
    return get(&index->slots);
}

uint64_t ak_index_live(const struct ak_index *index)
{
    return get(&index->live);
}

bool ak_index_is_live(const struct ak_index *index, uint32_t slot)
{
    return slot < get(&index->slots) && !ak_bits_test(ak_index_words(&index->dead), slot);
}

void ak_index_live_bitmap(const struct ak_index *index, uint64_t *words, uint64_t slots)
{
    uint64_t used = get(&index->slots);
    const uint64_t *dead = ak_index_words(&index->dead);
    used = used < slots ? used : slots;
    for (uint64_t at = 0; at < ak_bits_words(slots); at++) {
        words[at] = at * 64 < used ? ak_bits_clip(~ak_bits_word(dead, at), at, used) : 0;
    }
}

const float *ak_index_vector(const struct ak_index *index, uint32_t slot)
{
    AK_ASSERT(slot < get(&index->slots));
    return ak_slab_row(&index->vectors, slot);
}

float ak_index_score(const struct ak_index *index, const float *query, uint32_t slot)
{
    AK_ASSERT(slot < get(&index->slots));
    struct ak_measure measure;
    float query_scale = ak_measure_query_scale(index, query);
    ak_measure_for_query(index, query, query_scale, &measure);
    return ak_measure_score(index, query_scale, ak_measure_one(&measure, slot));
}

size_t ak_index_bytes(const struct ak_index *index)
{
    return atomic_load_explicit(&index->slab_bytes, memory_order_relaxed) +
           atomic_load_explicit(&index->context_bytes, memory_order_relaxed);
}

static size_t part(const _Atomic size_t *bytes)
{
    return atomic_load_explicit(bytes, memory_order_relaxed);
}

void ak_index_memory(const struct ak_index *index, struct ak_index_memory *memory)
{
    *memory = (struct ak_index_memory){.vectors = part(&index->vector_bytes),
                                       .files = part(&index->file_bytes),
                                       .codes = part(&index->code_bytes),
                                       .links = part(&index->link_bytes)};
    uint64_t parts = memory->vectors + memory->codes + memory->links;
    uint64_t all = ak_index_bytes(index);
    memory->rest = all > parts ? all - parts : 0; /* they are not read at one instant */
}
