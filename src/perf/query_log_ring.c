/* query_log_ring.c — a bounded queue that many threads put into and one takes from, without locks:
 * "Bounded MPMC queue" (D. Vyukov, 1024cores.net), with a single consumer.
 *
 *   slots   [ turn | entry ] × AK_QUERY_LOG_RING
 *   put     takes the number `head` when slots[head].turn == head, fills the slot in, and releases
 *           it with turn = head + 1
 *   take    slots[tail].turn == tail + 1: the entry is there; taken() gives the slot to the next
 *           round with turn = tail + AK_QUERY_LOG_RING
 *
 * A putter that is stopped between the two halves of its put holds up the taker, not the other
 * putters, until the ring is full; then they drop.
 */
#include "perf/query_log_priv.h"
#include <string.h>

#define MASK ((uint64_t)AK_QUERY_LOG_RING - 1)
_Static_assert((AK_QUERY_LOG_RING & MASK) == 0, "a power of two");
_Static_assert(AK_NAME_MAX <= UINT8_MAX, "table_len holds the length of a name");

void ak_query_ring_init(struct ak_query_ring *ring)
{
    ring->slots = ak_zalloc(AK_QUERY_LOG_RING * sizeof *ring->slots);
    for (uint64_t i = 0; i < AK_QUERY_LOG_RING; i++) {
        atomic_init(&ring->slots[i].turn, i);
    }
    atomic_init(&ring->head, 0);
    atomic_init(&ring->tail, 0);
}

void ak_query_ring_release(struct ak_query_ring *ring)
{
    ak_free(ring->slots);
    ring->slots = NULL;
}

static void fill(struct ak_query_slot *slot, const struct ak_query_shape *shape, uint64_t hash,
                 const struct ak_query_entry *entry)
{
    size_t len = shape->table.len < AK_NAME_MAX ? shape->table.len : AK_NAME_MAX;
    slot->entry = *entry;
    slot->hash = hash;
    slot->type = shape->type;
    slot->table_len = (uint8_t)len;
    if (len) {
        memcpy(slot->table, shape->table.p, len);
    }
}

bool ak_query_ring_put(struct ak_query_ring *ring, const struct ak_query_shape *shape,
                       uint64_t hash, const struct ak_query_entry *entry)
{
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    for (;;) {
        struct ak_query_slot *slot = &ring->slots[head & MASK];
        uint64_t turn = atomic_load_explicit(&slot->turn, memory_order_acquire);
        if (turn == head) {
            if (atomic_compare_exchange_weak_explicit(&ring->head, &head, head + 1,
                                                      memory_order_relaxed, memory_order_relaxed)) {
                fill(slot, shape, hash, entry);
                atomic_store_explicit(&slot->turn, head + 1, memory_order_release);
                return true;
            }
        } else if ((int64_t)(turn - head) < 0) {
            return false; /* the taker has not been here since the last round */
        } else {
            head = atomic_load_explicit(&ring->head, memory_order_relaxed);
        }
    }
}

const struct ak_query_slot *ak_query_ring_take(struct ak_query_ring *ring)
{
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    struct ak_query_slot *slot = &ring->slots[tail & MASK];
    return atomic_load_explicit(&slot->turn, memory_order_acquire) == tail + 1 ? slot : NULL;
}

void ak_query_ring_taken(struct ak_query_ring *ring)
{
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    atomic_store_explicit(&ring->slots[tail & MASK].turn, tail + AK_QUERY_LOG_RING,
                          memory_order_release);
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_relaxed);
}

/* An estimate: both numbers move. */
bool ak_query_ring_is_half_full(struct ak_query_ring *ring)
{
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    return (int64_t)(head - tail) >= (int64_t)AK_QUERY_LOG_RING / 2;
}
