/* hnsw.c — the graph: what it is, what always holds, and who may change it when.
 *
 * A row is a node. At level 0 it has R = 2·m links in a flat array; with probability m^−l it also
 * lives on level l and has m links there (Malkov & Yashunin 2018, algorithm 1; the level is a hash
 * of slot and seed, so that no generator is shared and a rebuild gives the same graph). A search
 * descends greedily from the entry point and then runs a beam of width ef on level 0.
 *
 * Departures from the paper:
 *   - Links are chosen by α-pruning (Vamana, Subramanya et al. 2019) and rows are then filled with
 *     the nearest of the pruned ones: at equal recall a full row saves a quarter of the hops, and a
 *     hop costs as much as several distances. See hnsw_prune.c.
 *   - The level-0 row of a new node takes R links, not m.
 *   - Removed rows stay as tombstones that walks pass through until hnsw_repair.c rewires their
 *     neighbours; the paper has no removal.
 *
 * Invariants, which ak_index_check() verifies:
 *   I1  live + tombstones + unlinked = slots, and the bitmaps say the same.
 *   I2  A slot is exactly one of: linked, pending, unlinked, or dead without having been linked.
 *   I3  A link of a linked row leads to a linked row, and not to itself.
 *   I4  A row has no link twice, and its empty places are at its end.
 *   I5  A link on level l leads to a row whose level is at least l.
 *   I6  The entry point is linked, and no live linked row has a higher level. There is one exactly
 *       when some row is linked.
 *   I7  The scale beside a row is that of the row.
 *
 * Threads. Links are aligned 32-bit words, stored with release and read with acquire; readers take
 * no lock and may meet a row in the middle of a rewrite: then they see a link twice or miss one,
 * which the visited bitmap and the beam absorb. Changers of links enter the gate; each rewrites one
 * row at a time under that row's lock and never holds two. A new node's own rows, on all its
 * levels, are complete before the first link to it; the entry point is moved last, by
 * compare-and-swap of one word that holds level and slot together. Closing the gate waits for those
 * inside: for a growth that moves rows, for the instant at which repair takes its list of
 * tombstones (so that whoever enters later knows not to link to them), and for the instants of
 * freezing.
 */
#include "base/hash.h"
#include "index/index_priv.h"
#include <sched.h>

const struct ak_walk_ops *ak_walk_ops_for(const struct ak_simd *simd)
{
#if defined(__x86_64__) && !AK_TSAN
    if (simd->isa == AK_ISA_AVX512) {
        return &ak_walk_avx512;
    }
    if (simd->isa == AK_ISA_AVX2) {
        return &ak_walk_avx2;
    }
#else
    (void)simd; /* vector loads of links are races to ThreadSanitizer, though not to the machine */
#endif
    return &ak_walk_scalar;
}

uint32_t ak_hnsw_level(uint32_t slot, uint32_t m, uint64_t seed)
{
    uint64_t h = ak_mix64(seed + 0x9e3779b97f4a7c15u * ((uint64_t)slot + 1));
    uint32_t level = 0;
    while (level < AK_LEVEL_MAX && h % m == 0) {
        h /= m;
        level++;
    }
    return level;
}

/* --- The gate --- */

void ak_gate_init(struct ak_gate *gate)
{
    ak_mutex_init(&gate->lock, AK_RANK_LEAF, "index gate");
    ak_cond_init(&gate->changed);
}

void ak_gate_release(struct ak_gate *gate)
{
    ak_cond_release(&gate->changed);
    ak_mutex_release(&gate->lock);
}

bool ak_gate_enter(struct ak_gate *gate, bool wait_frozen)
{
    ak_mutex_lock(&gate->lock);
    while (gate->closers > 0 || (gate->frozen && wait_frozen)) {
        ak_cond_wait(&gate->changed, &gate->lock);
    }
    bool entered = !gate->frozen;
    gate->active += entered;
    ak_mutex_unlock(&gate->lock);
    return entered;
}

void ak_gate_leave(struct ak_gate *gate)
{
    ak_mutex_lock(&gate->lock);
    gate->active--;
    if (gate->active == 0 && gate->closers > 0) {
        ak_cond_broadcast(&gate->changed);
    }
    ak_mutex_unlock(&gate->lock);
}

void ak_gate_close(struct ak_gate *gate)
{
    ak_mutex_lock(&gate->lock);
    gate->closers++;
    while (gate->active > 0 || gate->closed) {
        ak_cond_wait(&gate->changed, &gate->lock);
    }
    gate->closed = true;
    ak_mutex_unlock(&gate->lock);
}

void ak_gate_open(struct ak_gate *gate)
{
    ak_mutex_lock(&gate->lock);
    gate->closed = false;
    gate->closers--;
    ak_cond_broadcast(&gate->changed);
    ak_mutex_unlock(&gate->lock);
}

void ak_gate_set_frozen(struct ak_gate *gate, bool frozen)
{
    ak_mutex_lock(&gate->lock);
    gate->frozen = frozen;
    ak_cond_broadcast(&gate->changed);
    ak_mutex_unlock(&gate->lock);
}

/* --- Row locks: striped, held over one row's rewrite, never two at once --- */

static _Atomic uint8_t *lock_of(struct ak_index *index, uint32_t slot)
{
    return &index->node_locks[ak_mix64(slot) & (AK_NODE_LOCKS - 1)];
}

void ak_node_lock(struct ak_index *index, uint32_t slot)
{
    _Atomic uint8_t *lock = lock_of(index, slot);
    for (unsigned spins = 0;; spins++) {
        if (!atomic_load_explicit(lock, memory_order_relaxed) &&
            !atomic_exchange_explicit(lock, 1, memory_order_acquire)) {
            return;
        }
        if (spins % 64 == 63) {
            (void)sched_yield(); /* the holder may have lost its core */
        }
    }
}

void ak_node_unlock(struct ak_index *index, uint32_t slot)
{
    atomic_store_explicit(lock_of(index, slot), 0, memory_order_release);
}
