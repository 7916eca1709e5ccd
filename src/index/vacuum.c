/* vacuum.c — the end of the slots is cut off, and what lay there is given back.
 *
 *     free for use ──cut──> past the end, its bits still set ──epoch──give_back──> past the end,
 * zero
 *
 * V1  Only slots that could be given to an add are cut: no reader inside can have met one live.
 * V2  A reader may go on with the number of slots from before the cut: until the epoch has passed
 *     it finds those slots removed, or used anew as any freed slot is, and their memory in place.
 *     So an add that comes meanwhile takes the removed bits away itself (ak_index_add), and a slab
 *     that moves meanwhile waits for the readers (ak_index_hold).
 * V3  What is given back lies past the number of slots of now, which every reader inside has read
 *     after the cut.
 *
 * From cut to give_back index->high is the old number of slots, and index->repairing is set. */
#include "index/index_priv.h"

static uint64_t get(const _Atomic uint64_t *at)
{
    return atomic_load_explicit(at, memory_order_acquire);
}

uint64_t ak_index_free(const struct ak_index *index)
{
    return get(&index->unlinked_count);
}

/* How many of the highest slots are at the head of the list. */
static uint64_t free_at_end(const uint32_t *list, uint64_t count, uint64_t slots)
{
    uint64_t n = 0;
    while (n < count && list[n] == slots - 1 - n) {
        n++;
    }
    return n;
}

static void cut_graph(struct ak_index *index, uint64_t slots)
{
    if (get(&index->graph_rows) > slots) {
        const uint32_t *upper_at = (const uint32_t *)(const void *)ak_slab_base(&index->upper_at);
        atomic_store_explicit(&index->upper_rows, upper_at[slots], memory_order_release);
        atomic_store_explicit(&index->graph_rows, slots, memory_order_release);
    }
}

uint64_t ak_index_cut(struct ak_index *index)
{
    uint32_t *list = NULL;
    uint64_t *count = NULL;
    uint64_t slots = ak_index_slots(index);
    bool can = atomic_load_explicit(&index->writable, memory_order_relaxed) && !index->frozen.on &&
               index->high == 0 &&
               atomic_load_explicit(&index->renewal.state, memory_order_acquire) ==
                   AK_RENEWAL_NONE && /* else rows past the new end may count as encoded */
               ak_reclaim_sort(index->reclaim, slots, &list, &count);
    uint64_t n = can ? free_at_end(list, *count, slots) : 0;
    if (n == 0 || atomic_flag_test_and_set_explicit(&index->repairing, memory_order_acquire)) {
        ak_index_pick_next(index);
        return 0;
    }
    *count -= n;
    memmove(list, list + n, (size_t)*count * sizeof *list);
    index->high = slots;
    cut_graph(index, slots - n);
    atomic_fetch_sub_explicit(&index->unlinked_count, n, memory_order_relaxed);
    atomic_store_explicit(&index->slots, slots - n, memory_order_release);
    ak_index_pick_next(index);
    return n;
}

/* The bits of the last word that are past the end. */
static void clear_bits(struct ak_index *index, uint64_t slots)
{
    for (uint64_t slot = slots; slot < index->high && slot % 64 != 0; slot++) {
        ak_bits_clear(ak_index_words(&index->dead), slot);
        ak_bits_clear(ak_index_words(&index->unlinked), slot);
    }
}

static bool leads_past(const uint32_t *row, uint32_t degree, uint64_t slots)
{
    for (uint32_t i = 0; i < degree; i++) {
        if (row[i] != AK_LINK_NONE && row[i] >= slots) {
            return true;
        }
    }
    return false;
}

/* Rows that are not linked, free ones and such as wait, hold links of former times. No walk follows
 * them, but an image with a link past its end would be refused. */
static void clear_stale_links(struct ak_index *index, uint64_t slots)
{
    uint64_t rows = get(&index->graph_rows) < slots ? get(&index->graph_rows) : slots;
    for (uint64_t at = 0; at < ak_bits_words(rows); at++) {
        uint64_t left = ak_bits_clip(~ak_bits_word(ak_index_words(&index->linked), at), at, rows);
        for (; left; left &= left - 1) {
            uint32_t slot = (uint32_t)(at * 64 + (uint64_t)__builtin_ctzll(left));
            for (uint32_t level = ak_index_level(index, slot) + 1; level-- > 0;) {
                uint32_t *row = ak_index_row(index, slot, level);
                uint32_t degree = ak_index_degree(index, level);
                if (leads_past(row, degree, slots)) {
                    ak_hnsw_write_row(row, degree, NULL, 0);
                }
            }
        }
    }
}

/* true: it has moved. */
static bool shrink(struct ak_slab *slab, uint64_t rows)
{
    const char *before = ak_slab_base(slab);
    ak_slab_shrink(slab, rows);
    return ak_slab_base(slab) != before;
}

static bool shrink_all(struct ak_index *index, uint64_t slots)
{
    struct ak_codes *codes = ak_index_codes(index);
    uint64_t words = ak_bits_words(slots);
    uint64_t graph_rows = get(&index->graph_rows);
    bool moved = shrink(&index->vectors, slots);
    moved |= shrink(&index->scales, slots);
    moved |= shrink(&index->dead, words);
    moved |= shrink(&index->linked, words);
    moved |= shrink(&index->unlinked, words);
    moved |= shrink(&index->links, graph_rows);
    moved |= shrink(&index->levels, graph_rows);
    moved |= shrink(&index->upper_at, graph_rows);
    moved |= shrink(&index->upper, get(&index->upper_rows) + 2 * (uint64_t)AK_LEVEL_MAX);
    if (codes) {
        moved |= shrink(&codes->rows, slots);
        moved |= shrink(&codes->terms, slots);
    }
    return moved;
}

void ak_index_give_back(struct ak_index *index)
{
    uint64_t slots = ak_index_slots(index); /* adds may have come since the cut */
    AK_ASSERT(index->high > 0 && !index->frozen.on);
    ak_gate_close(&index->gate); /* small slabs move: see the top of index.c */
    clear_bits(index, slots);
    clear_stale_links(index, slots);
    bool moved = shrink_all(index, slots);
    index->high = 0;
    if (moved) {
        ak_index_hold(index);
    }
    ak_gate_open(&index->gate);
    atomic_flag_clear_explicit(&index->repairing, memory_order_release);
    ak_index_pick_next(index);
    ak_index_account(index);
}
