/* hnsw_connect.c — no live row without a way to it.
 *
 * A row that overflows drops links, and nobody counts who loses his last incoming one by that. It
 * is rare (none in 100,000 sentence embeddings), but some data asks for it: among many copies of
 * one vector each row keeps only a few. So after a long round of building, and in every repair, a
 * walk over all links from the entry point marks what can be met, and each row that was not met is
 * linked again, by force from its nearest reachable row (the second round: the second nearest);
 * then what is reached from there is marked too, so that an island costs one such link. A row that
 * was full drops another link for it, and the row that one led to may have had no other: so all
 * this is repeated until nobody was lost, which among a thousand copies takes two or three rounds
 * and elsewhere one. The walk takes some 0.1 µs a row: a percent of what linking the rows has cost.
 */
#include "index/index_priv.h"

#define ROWS_PER_STEP 4096 /* between two passages of the epoch */
#define ROUNDS_MAX 8       /* of marking and linking again */
#define ROUND_SHARE 8      /* a round is long when it linked one row in so many */

bool ak_reach_init(struct ak_reach *reach, uint64_t slots)
{
    *reach = (struct ak_reach){.slots = slots};
    reach->seen = ak_try_zalloc((ak_bits_words(slots) + 1) * sizeof *reach->seen);
    reach->queue = ak_try_alloc((slots + 1) * sizeof *reach->queue);
    return reach->seen && reach->queue;
}

void ak_reach_release(struct ak_reach *reach)
{
    ak_free(reach->seen);
    ak_free(reach->queue);
    *reach = (struct ak_reach){0};
}

void ak_reach_restart(struct ak_reach *reach)
{
    memset(reach->seen, 0, (ak_bits_words(reach->slots) + 1) * sizeof *reach->seen);
    reach->head = reach->tail = 0;
}

static bool has_seen(const struct ak_reach *reach, uint32_t slot)
{
    return reach->seen[slot / 64] >> (slot % 64) & 1;
}

/* Each slot enters the queue once, so `slots` places are enough. */
void ak_reach_from(struct ak_reach *reach, uint32_t slot)
{
    if (slot < reach->slots && !has_seen(reach, slot)) {
        reach->seen[slot / 64] |= (uint64_t)1 << (slot % 64);
        reach->queue[reach->tail++] = slot;
    }
}

bool ak_reach_step(const struct ak_index *index, struct ak_reach *reach, uint64_t max)
{
    for (uint64_t n = 0; n < max && reach->head < reach->tail; n++) {
        uint32_t slot = reach->queue[reach->head++];
        if (reach->head + 4 < reach->tail) {
            ak_prefetch(ak_index_row(index, reach->queue[reach->head + 4], 0));
        }
        uint32_t top = ak_index_level(index, slot);
        for (uint32_t level = 0; level <= top; level++) {
            const uint32_t *row = ak_index_row(index, slot, level);
            uint32_t degree = ak_index_degree(index, level);
            for (uint32_t i = 0; i < degree; i++) {
                ak_reach_from(reach, ak_link_get(&row[i]));
            }
        }
    }
    return reach->head < reach->tail;
}

static void reach_all(struct ak_index *index, struct ak_reach *reach)
{
    bool more = true;
    while (more) {
        unsigned token = ak_epoch_enter(index->options.epoch);
        more = ak_reach_step(index, reach, ROWS_PER_STEP);
        ak_epoch_leave(index->options.epoch, token);
    }
}

static void link_again(struct ak_index *index, struct ak_context *context, uint32_t slot,
                       uint32_t times)
{
    uint64_t slots = 0;
    (void)ak_gate_enter(&index->gate, true);
    unsigned token = ak_epoch_enter(index->options.epoch);
    if (!ak_bits_test(ak_index_words(&index->dead), slot) &&
        ak_hnsw_prepare(index, context, &slots)) {
        ak_hnsw_link(index, context, slots, slot, times);
    }
    ak_epoch_leave(index->options.epoch, token);
    ak_gate_leave(&index->gate);
}

/* Mark what can be met and link the rest again; returns how many rows that took. */
static uint64_t connect_lost(struct ak_index *index, struct ak_context *context,
                             struct ak_reach *reach, const uint64_t *removed, uint32_t times)
{
    uint64_t entry = atomic_load_explicit(&index->entry, memory_order_acquire);
    uint64_t count = 0;
    if (entry == AK_ENTRY_NONE) {
        return 0;
    }
    ak_reach_from(reach, ak_entry_slot(entry));
    reach_all(index, reach);
    for (uint64_t at = 0; at < ak_bits_words(reach->slots); at++) {
        unsigned token = ak_epoch_enter(index->options.epoch);
        uint64_t lost = ak_bits_word(ak_index_words(&index->linked), at) &
                        ~ak_bits_word(ak_index_words(&index->dead), at) & ~reach->seen[at];
        ak_epoch_leave(index->options.epoch, token);
        lost = ak_bits_clip(removed ? lost & ~removed[at] : lost, at, reach->slots);
        for (; lost; lost &= lost - 1) {
            uint32_t slot = (uint32_t)(at * 64 + (uint64_t)__builtin_ctzll(lost));
            if (!has_seen(reach, slot)) { /* its island may have been reached since */
                link_again(index, context, slot, times);
                ak_reach_from(reach, slot);
                reach_all(index, reach);
                count++;
            }
        }
    }
    return count;
}

void ak_hnsw_connect(struct ak_index *index, struct ak_context *context, struct ak_reach *reach,
                     const uint64_t *removed)
{
    for (uint32_t round = 1; round <= ROUNDS_MAX; round++) {
        ak_reach_restart(reach);
        if (connect_lost(index, context, reach, removed, round) == 0) {
            break;
        }
    }
}

void ak_hnsw_connect_built(struct ak_index *index)
{
    uint64_t since = atomic_load_explicit(&index->linked_since, memory_order_relaxed);
    uint64_t linked = atomic_load_explicit(&index->linked_count, memory_order_relaxed);
    if (since * ROUND_SHARE < linked || since == 0 ||
        atomic_flag_test_and_set_explicit(&index->repairing, memory_order_acquire)) {
        return;
    }
    struct ak_reach reach;
    struct ak_context *context = ak_context_take(index);
    if (ak_reach_init(&reach, ak_index_slots(index)) && context) {
        atomic_store_explicit(&index->linked_since, 0, memory_order_relaxed);
        ak_hnsw_connect(index, context, &reach, NULL);
    }
    if (context) {
        ak_context_put(index, context);
    }
    ak_reach_release(&reach);
    atomic_flag_clear_explicit(&index->repairing, memory_order_release);
}
