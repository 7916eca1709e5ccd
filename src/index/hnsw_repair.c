/* hnsw_repair.c — rewiring the graph around removed rows, and giving their slots back.
 *
 *   1. With the gate closed: D = the tombstones of this instant. Whoever enters the gate later sees
 *      their bits and links to none of them, so D's incoming links can only become fewer.
 *   2. Every linked row outside D that has a link into D chooses anew among its other links and the
 *      links of those in D, up to a full row: against the degree aimed at, not the one it has, or
 *      rows would thin out from repair to repair. Rows that stay thin walk for links.
 *   3. With the gate closed: an entry point in D is replaced by a live row of the highest level.
 *   4. Rows that no walk from the entry point meets any more are linked again: hnsw_connect.c.
 *   5. With the gate closed: D becomes "unlinked". No link leads there; who enters the epoch from
 *      now on cannot meet D, and when all others have left its slots are given to adds.
 *
 * Searches go on all the while: they pass through D until 2 is done with the rows they meet.
 */
#include "index/index_priv.h"

#define OFFERS_MAX                                                                                 \
    8 /* candidates of one row, in rows: what ak_context_fit_build makes room for                  \
       */
#define ROWS_PER_STEP 32 /* between two passages of the gate: a freeze waits no longer */

struct repair {
    struct ak_index *index;
    struct ak_context *context;
    uint64_t slots;
    uint64_t words;
    uint64_t *removed; /* D */
    uint64_t removed_count;
    struct ak_reach reach;
    struct ak_reclaim_batch *batch;
};

static bool in(const uint64_t *words, uint32_t slot)
{
    return words[slot / 64] >> (slot % 64) & 1;
}

static bool is_removed(const struct repair *repair, uint32_t slot)
{
    return slot < repair->slots && in(repair->removed, slot);
}

static bool is_dead(const struct repair *repair, uint32_t slot)
{
    return ak_bits_test(ak_index_words(&repair->index->dead), slot);
}

static bool is_linked(const struct repair *repair, uint32_t slot)
{
    return ak_bits_test(ak_index_words(&repair->index->linked), slot);
}

/* --- 1 --- */

static bool get_memory(struct repair *repair)
{
    struct ak_index *index = repair->index;
    repair->slots = ak_index_slots(index);
    repair->words = ak_bits_words(repair->slots);
    repair->removed = ak_try_zalloc(repair->words * sizeof *repair->removed);
    repair->context = ak_context_take(index);
    uint64_t slots = 0;
    return ak_reach_init(&repair->reach, repair->slots) && repair->removed && repair->context &&
           ak_hnsw_prepare(index, repair->context, &slots);
}

static void list_removed(struct repair *repair)
{
    const uint64_t *dead = ak_index_words(&repair->index->dead);
    const uint64_t *unlinked = ak_index_words(&repair->index->unlinked);
    for (uint64_t at = 0; at < repair->words; at++) {
        /* `unlinked` first: see ak_index_add. */
        uint64_t gone = ak_bits_word(unlinked, at);
        repair->removed[at] = ak_bits_clip(ak_bits_word(dead, at) & ~gone, at, repair->slots);
        repair->removed_count += (uint64_t)__builtin_popcountll(repair->removed[at]);
    }
}

/* The rows are counted with the gate closed too: every row that may have a link into D is among
 * them. Those added later are linked by builders who know D. */
static enum ak_rc take_removed(struct repair *repair, struct ak_err *err)
{
    struct ak_index *index = repair->index;
    ak_gate_close(&index->gate);
    bool ready = get_memory(repair);
    if (ready) {
        list_removed(repair);
        repair->batch = ak_reclaim_batch(index->reclaim, repair->removed_count);
        ready = repair->batch != NULL;
    }
    if (ready) {
        ak_pending_forget(&index->pending, repair->removed, repair->slots);
    }
    ak_gate_open(&index->gate);
    return ready ? AK_OK
                 : ak_fail(err, AK_NOMEM, "repair of %llu rows", (unsigned long long)repair->slots);
}

/* --- 2 --- */

static void offer(struct repair *repair, uint32_t slot, uint32_t *links, uint32_t *count)
{
    struct ak_context *context = repair->context;
    if (slot >= repair->slots || *count >= OFFERS_MAX * repair->index->degree ||
        in(context->visited, slot) || is_dead(repair, slot)) {
        return;
    }
    ak_context_visit(context, slot);
    links[(*count)++] = slot;
}

/* The links of a row outside D, and those of its links in D. */
static uint32_t gather(struct repair *repair, uint32_t slot, uint32_t level,
                       const uint32_t *row_links, uint32_t row_count, uint32_t *links)
{
    uint32_t count = 0;
    uint32_t theirs[AK_DEGREE_MAX];
    uint32_t degree = ak_index_degree(repair->index, level);
    ak_context_visit(repair->context, slot);
    for (uint32_t i = 0; i < row_count; i++) {
        if (!is_removed(repair, row_links[i])) {
            if (row_links[i] < repair->slots) {
                ak_context_visit(repair->context, row_links[i]);
            }
            links[count++] = row_links[i];
        }
    }
    for (uint32_t i = 0; i < row_count; i++) {
        if (is_removed(repair, row_links[i])) {
            uint32_t n =
                ak_hnsw_read_row(ak_index_row(repair->index, row_links[i], level), degree, theirs);
            for (uint32_t j = 0; j < n; j++) {
                offer(repair, theirs[j], links, &count);
            }
        }
    }
    ak_context_reset(repair->context);
    return count;
}

/* Choose among more candidates than the row has places. */
static uint32_t choose(struct repair *repair, uint32_t slot, uint32_t level, uint32_t *links,
                       uint32_t count)
{
    struct ak_context *context = repair->context;
    _Alignas(64) int8_t room[AK_CODE_ROOM];
    struct ak_measure measure;
    float distances[4];
    ak_measure_for_row(repair->index, slot, room, &measure);
    for (uint32_t i = 0; i < count; i += 4) {
        uint32_t four = count - i < 4 ? count - i : 4;
        ak_measure_rows(&measure, links + i, four, distances);
        for (uint32_t j = 0; j < four; j++) {
            context->candidates[i + j] =
                (struct ak_found){ak_measure_true(&measure, distances[j]), links[i + j]};
        }
    }
    ak_hnsw_sort(context->candidates, count, slot);
    struct ak_choice choice = {.row = slot,
                               .level = level,
                               .candidates = context->candidates,
                               .count = count,
                               .max = ak_index_degree(repair->index, level),
                               .chosen = links,
                               .scratch = context->scratch};
    return ak_hnsw_choose(repair->index, &choice);
}

static bool leads_into_removed(const struct repair *repair, const uint32_t *links, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (is_removed(repair, links[i])) {
            return true;
        }
    }
    return false;
}

/* false: the row is thin now, there was too little around it. */
static bool rewire_row(struct repair *repair, uint32_t slot, uint32_t level)
{
    struct ak_index *index = repair->index;
    uint32_t degree = ak_index_degree(index, level);
    uint32_t *row = ak_index_row(index, slot, level);
    uint32_t row_links[AK_DEGREE_MAX];
    bool full_enough = true;
    ak_node_lock(index, slot);
    uint32_t count = ak_hnsw_read_row(row, degree, row_links);
    if (leads_into_removed(repair, row_links, count)) {
        uint32_t *links = repair->context->chosen;
        count = gather(repair, slot, level, row_links, count, links);
        if (count > degree) {
            count = choose(repair, slot, level, links, count);
        }
        ak_hnsw_write_row(row, degree, links, count);
        full_enough = count >= degree / 2;
    }
    ak_node_unlock(index, slot);
    return full_enough;
}

static void link_again(struct repair *repair, uint32_t slot)
{
    uint64_t slots = 0;
    if (ak_hnsw_prepare(repair->index, repair->context, &slots)) {
        ak_hnsw_link(repair->index, repair->context, slots, slot, 1);
    }
}

static void rewire(struct repair *repair, uint32_t slot)
{
    if (in(repair->removed, slot) || !is_linked(repair, slot)) {
        return;
    }
    uint32_t top = ak_index_level(repair->index, slot);
    for (uint32_t level = 1; level <= top; level++) {
        (void)rewire_row(repair, slot, level);
    }
    if (!rewire_row(repair, slot, 0) && !is_dead(repair, slot)) {
        link_again(repair, slot);
    }
}

static void rewire_all(struct repair *repair)
{
    struct ak_index *index = repair->index;
    for (uint64_t from = 0; from < repair->slots; from += ROWS_PER_STEP) {
        uint64_t to = from + ROWS_PER_STEP < repair->slots ? from + ROWS_PER_STEP : repair->slots;
        (void)ak_gate_enter(&index->gate, true);
        unsigned token = ak_epoch_enter(index->options.epoch);
        for (uint64_t slot = from; slot < to; slot++) {
            rewire(repair, (uint32_t)slot);
        }
        ak_epoch_leave(index->options.epoch, token);
        ak_gate_leave(&index->gate);
    }
}

/* --- 3 --- */

static void pick_entry(struct repair *repair)
{
    struct ak_index *index = repair->index;
    ak_gate_close(&index->gate);
    uint64_t entry = atomic_load_explicit(&index->entry, memory_order_acquire);
    if (entry != AK_ENTRY_NONE && is_removed(repair, ak_entry_slot(entry))) {
        uint64_t best = AK_ENTRY_NONE;
        uint64_t slots = ak_index_slots(index);
        for (uint32_t slot = 0; slot < slots; slot++) {
            if (!is_dead(repair, slot) && is_linked(repair, slot) &&
                (best == AK_ENTRY_NONE || ak_index_level(index, slot) > ak_entry_level(best))) {
                best = (uint64_t)ak_index_level(index, slot) << 32 | slot;
            }
        }
        if (best == AK_ENTRY_NONE) { /* dead ones that died since are left: they stay walkable */
            for (uint32_t slot = 0; slot < slots && best == AK_ENTRY_NONE; slot++) {
                if (is_linked(repair, slot) && !is_removed(repair, slot)) {
                    best = (uint64_t)ak_index_level(index, slot) << 32 | slot;
                }
            }
        }
        atomic_store_explicit(&index->entry, best, memory_order_release);
    }
    ak_gate_open(&index->gate);
}

/* --- 5 --- */

static void unlink_removed(struct repair *repair)
{
    struct ak_index *index = repair->index;
    ak_gate_close(&index->gate);
    uint64_t *linked = ak_index_words(&index->linked);
    uint64_t *unlinked = ak_index_words(&index->unlinked);
    /* From the last to the first: the batch gives out its last, and low slots fill up first. */
    for (uint64_t at = repair->words; at-- > 0;) {
        for (uint64_t word = repair->removed[at]; word;) {
            uint64_t bit = 63 - (uint64_t)__builtin_clzll(word);
            uint32_t slot = (uint32_t)(at * 64 + bit);
            word &= ~((uint64_t)1 << bit);
            if (ak_bits_test(linked, slot)) {
                ak_bits_clear(linked, slot);
                atomic_fetch_sub_explicit(&index->linked_count, 1, memory_order_relaxed);
            }
            ak_bits_set(unlinked, slot);
            ak_reclaim_batch_add(repair->batch, slot);
        }
    }
    atomic_fetch_add_explicit(&index->unlinked_count, repair->removed_count, memory_order_relaxed);
    atomic_fetch_sub_explicit(&index->tombstones, repair->removed_count, memory_order_release);
    ak_gate_open(&index->gate);
    ak_reclaim_retire(repair->batch, index->options.epoch);
    repair->batch = NULL;
    (void)ak_epoch_collect(index->options.epoch);
}

/* --- All of it --- */

static enum ak_rc run(struct repair *repair, struct ak_err *err)
{
    enum ak_rc rc = take_removed(repair, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (atomic_load_explicit(&repair->index->linked_count, memory_order_relaxed) > 0) {
        rewire_all(repair);
        pick_entry(repair);
        ak_hnsw_connect(repair->index, repair->context, &repair->reach, repair->removed);
    }
    unlink_removed(repair);
    return AK_OK;
}

enum ak_rc ak_index_repair(struct ak_index *index, struct ak_err *err)
{
    /* Acquire pairs with the release at the end of a thaw. */
    if (!atomic_load_explicit(&index->writable, memory_order_acquire) ||
        ak_index_tombstones(index) == 0 ||
        atomic_flag_test_and_set_explicit(&index->repairing, memory_order_acquire)) {
        return AK_OK;
    }
    struct repair repair = {.index = index};
    enum ak_rc rc = run(&repair, err);
    ak_reclaim_batch_drop(repair.batch);
    ak_free(repair.removed);
    ak_reach_release(&repair.reach);
    if (repair.context) {
        ak_context_put(index, repair.context);
    }
    atomic_flag_clear_explicit(&index->repairing, memory_order_release);
    return rc;
}
