/* pending.c — rows that are stored but not linked yet.
 *
 * A ring of slots. The writer pushes at the tail; builders claim in order and finish in any order;
 * the head passes over what is finished. Searches read [head, tail) without a lock:
 *
 *   - An entry that reads AK_LINK_NONE, or that the head has passed, was linked before it was
 *     marked (release, acquire), so the graph walk that follows the scan can meet it.
 *   - An entry overwritten because the ring went round holds a newer pending slot: scanning that is
 *     right too, and its visited mark keeps it from being found twice.
 *   - A ring that became too small is copied and retired; who still reads it sees entries that
 *     were pending when the search began.
 */
#include "index/index_priv.h"

#define RING_MIN 16

static uint64_t load(const _Atomic uint64_t *at)
{
    return atomic_load_explicit(at, memory_order_acquire);
}

static struct ak_pending_ring *ring_of(const struct ak_pending *pending)
{
    return atomic_load_explicit(&pending->ring, memory_order_acquire);
}

static _Atomic uint32_t *entry_of(struct ak_pending_ring *ring, uint64_t at)
{
    return &ring->at[at & (ring->cap - 1)];
}

void ak_pending_init(struct ak_pending *pending)
{
    ak_mutex_init(&pending->lock, AK_RANK_LEAF, "index pending");
}

void ak_pending_release(struct ak_pending *pending)
{
    ak_free(ring_of(pending));
    ak_mutex_release(&pending->lock);
}

enum ak_rc ak_pending_reserve(struct ak_pending *pending, uint64_t more, struct ak_epoch *epoch,
                              struct ak_err *err)
{
    struct ak_pending_ring *old = ring_of(pending);
    uint64_t need = load(&pending->tail) - load(&pending->head) + more;
    if (old && need <= old->cap) {
        return AK_OK;
    }
    uint64_t cap = old ? old->cap : RING_MIN;
    while (cap < need) {
        cap *= 2;
    }
    struct ak_pending_ring *ring = ak_try_alloc(sizeof *ring + (size_t)cap * sizeof ring->at[0]);
    if (!ring) {
        return ak_fail(err, AK_NOMEM, "list of %llu rows to link", (unsigned long long)cap);
    }
    ring->cap = cap;
    for (uint64_t i = 0; i < cap; i++) {
        atomic_init(&ring->at[i], AK_LINK_NONE);
    }
    ak_mutex_lock(&pending->lock);
    for (uint64_t at = load(&pending->head); at < load(&pending->tail); at++) {
        atomic_store_explicit(entry_of(ring, at), *entry_of(old, at), memory_order_relaxed);
    }
    atomic_store_explicit(&pending->ring, ring, memory_order_release);
    ak_mutex_unlock(&pending->lock);
    if (old) {
        ak_epoch_retire(epoch, ak_free, old);
    }
    return AK_OK;
}

void ak_pending_push(struct ak_pending *pending, uint32_t slot)
{
    uint64_t tail = load(&pending->tail);
    atomic_store_explicit(entry_of(ring_of(pending), tail), slot, memory_order_release);
    atomic_fetch_add_explicit(&pending->count, 1, memory_order_relaxed);
    atomic_store_explicit(&pending->tail, tail + 1, memory_order_release);
}

static void move_head(struct ak_pending *pending)
{
    struct ak_pending_ring *ring = ring_of(pending);
    uint64_t head = load(&pending->head);
    while (head < pending->claim &&
           atomic_load_explicit(entry_of(ring, head), memory_order_relaxed) == AK_LINK_NONE) {
        head++;
    }
    atomic_store_explicit(&pending->head, head, memory_order_release);
}

static void finish_locked(struct ak_pending *pending, uint64_t at)
{
    atomic_store_explicit(entry_of(ring_of(pending), at), AK_LINK_NONE, memory_order_release);
    atomic_fetch_sub_explicit(&pending->count, 1, memory_order_relaxed);
}

bool ak_pending_claim(struct ak_pending *pending, uint64_t *at, uint32_t *slot)
{
    ak_mutex_lock(&pending->lock);
    bool found = false;
    while (!found && pending->claim < load(&pending->tail)) {
        *at = pending->claim++;
        *slot = atomic_load_explicit(entry_of(ring_of(pending), *at), memory_order_relaxed);
        found = *slot != AK_LINK_NONE;
    }
    if (!found) {
        move_head(pending);
    }
    ak_mutex_unlock(&pending->lock);
    return found;
}

void ak_pending_finish(struct ak_pending *pending, uint64_t at)
{
    ak_mutex_lock(&pending->lock);
    finish_locked(pending, at);
    move_head(pending);
    ak_mutex_unlock(&pending->lock);
}

void ak_pending_forget(struct ak_pending *pending, const uint64_t *bits, uint64_t slots)
{
    ak_mutex_lock(&pending->lock);
    struct ak_pending_ring *ring = ring_of(pending);
    for (uint64_t at = pending->claim; at < load(&pending->tail); at++) {
        uint32_t slot = atomic_load_explicit(entry_of(ring, at), memory_order_relaxed);
        if (slot != AK_LINK_NONE && slot < slots && (bits[slot / 64] >> (slot % 64) & 1)) {
            finish_locked(pending, at);
        }
    }
    ak_mutex_unlock(&pending->lock);
}

void ak_pending_replace(struct ak_pending *pending, const struct ak_leaving *leaving)
{
    ak_mutex_lock(&pending->lock);
    struct ak_pending_ring *ring = ring_of(pending);
    for (uint64_t at = pending->claim; at < load(&pending->tail); at++) {
        uint32_t slot = atomic_load_explicit(entry_of(ring, at), memory_order_relaxed);
        uint32_t to = slot == AK_LINK_NONE ? AK_LINK_NONE : ak_leaving_to(leaving, slot);
        if (to != AK_LINK_NONE) {
            atomic_store_explicit(entry_of(ring, at), to, memory_order_release);
        }
    }
    ak_mutex_unlock(&pending->lock);
}

uint64_t ak_pending_list(struct ak_pending *pending, uint32_t *slots, uint64_t max)
{
    uint64_t n = 0;
    ak_mutex_lock(&pending->lock);
    struct ak_pending_ring *ring = ring_of(pending);
    for (uint64_t at = pending->claim; at < load(&pending->tail) && n < max; at++) {
        uint32_t slot = atomic_load_explicit(entry_of(ring, at), memory_order_relaxed);
        if (slot != AK_LINK_NONE) {
            slots[n++] = slot;
        }
    }
    ak_mutex_unlock(&pending->lock);
    return n;
}

size_t ak_pending_bytes(const struct ak_pending *pending)
{
    const struct ak_pending_ring *ring = ring_of(pending);
    return ring ? sizeof *ring + (size_t)ring->cap * sizeof ring->at[0] : 0;
}
