/* exact.c — every row measured: small collections, selective filters, rows not linked yet, and
 * whenever a caller asks for it.
 *
 * The k nearest are kept in a heap with the worst on top, ordered by distance and then slot, so
 * that the outcome does not depend on the order of the scan. */
#include "index/index_priv.h"

#define BATCH 64 /* slots gathered before they are measured: 16 kernels, and time to prefetch */
#define AHEAD 8  /* rows between prefetch and use in a scattered scan */

static bool worse(struct ak_found a, struct ak_found b)
{
    return a.distance > b.distance || (a.distance == b.distance && a.slot > b.slot);
}

static void sift_down(struct ak_found *heap, uint32_t count, uint32_t at)
{
    struct ak_found moving = heap[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= count) {
            break;
        }
        if (child + 1 < count && worse(heap[child + 1], heap[child])) {
            child++;
        }
        if (!worse(heap[child], moving)) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moving;
}

void ak_found_offer(struct ak_context *context, uint32_t k, struct ak_found found)
{
    struct ak_found *heap = context->found;
    if (context->found_count == k) {
        if (worse(heap[0], found)) {
            heap[0] = found;
            sift_down(heap, k, 0);
        }
        return;
    }
    uint32_t at = context->found_count++;
    while (at > 0 && worse(found, heap[(at - 1) / 2])) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = found;
}

void ak_found_sort(struct ak_context *context)
{
    struct ak_found *heap = context->found;
    for (uint32_t left = context->found_count; left > 1; left--) {
        struct ak_found worst = heap[0];
        heap[0] = heap[left - 1];
        sift_down(heap, left - 1, 0);
        heap[left - 1] = worst;
    }
}

/* `worst` is read again only now and then: it can only be too lenient, and offer() checks. */
static void measure_batch(const struct ak_measure *measure, const uint32_t *slots, uint32_t n,
                          uint32_t k, struct ak_context *context)
{
    float distances[BATCH];
    for (uint32_t i = 0; i < n; i += 4) {
        for (uint32_t j = i + AHEAD; j < i + AHEAD + 4 && j < n; j++) {
            const char *row = (const char *)ak_measure_row(measure, slots[j]);
            ak_prefetch(row);
            ak_prefetch(row + 64);
        }
        ak_measure_rows(measure, slots + i, n - i < 4 ? n - i : 4, distances + i);
    }
    for (uint32_t i = 0; i < n; i++) {
        if (context->found_count < k || distances[i] <= context->found[0].distance) {
            ak_found_offer(context, k, (struct ak_found){distances[i], slots[i]});
        }
    }
}

static uint64_t eligible_word(const struct ak_scan *scan, uint64_t at)
{
    uint64_t dead = scan->dead ? ak_bits_word(scan->dead, at) : 0;
    uint64_t word = ak_bits_clip(~dead, at, scan->slots);
    if (!word || !scan->allow) {
        return word;
    }
    if (at * 64 >= scan->allow_slots) {
        return 0;
    }
    return word & ak_bits_clip(ak_bits_word(scan->allow, at), at, scan->allow_slots);
}

static void scan_batch(const struct ak_measure *measure, const struct ak_scan *scan,
                       const uint32_t *slots, uint32_t n, struct ak_context *context)
{
    if (scan->ahead) {
        ak_index_will_read(scan->ahead, slots, n);
    }
    measure_batch(measure, slots, n, scan->k, context);
}

uint64_t ak_exact_scan(const struct ak_measure *measure, const struct ak_scan *scan,
                       struct ak_context *context)
{
    uint32_t slots[BATCH];
    uint32_t n = 0;
    uint64_t total = 0;
    for (uint64_t at = 0; at < ak_bits_words(scan->slots); at++) {
        uint64_t word = eligible_word(scan, at);
        for (; word; word &= word - 1) {
            slots[n++] = (uint32_t)(at * 64 + (uint64_t)__builtin_ctzll(word));
            if (n == BATCH) {
                scan_batch(measure, scan, slots, n, context);
                total += n;
                n = 0;
            }
        }
    }
    scan_batch(measure, scan, slots, n, context);
    return total + n;
}

uint64_t ak_exact_pending(struct ak_index *index, const struct ak_walk *walk, uint32_t k)
{
    struct ak_pending *pending = &index->pending;
    struct ak_context *context = walk->context;
    struct ak_pending_ring *ring = atomic_load_explicit(&pending->ring, memory_order_acquire);
    uint64_t head = atomic_load_explicit(&pending->head, memory_order_acquire);
    uint64_t tail = atomic_load_explicit(&pending->tail, memory_order_acquire);
    uint32_t slots[BATCH];
    uint32_t n = 0;
    uint64_t total = 0;
    /* A ring loaded before it was outgrown ends earlier than the tail loaded after. */
    for (uint64_t at = head; at < tail && at - head < ring->cap; at++) {
        uint32_t slot = atomic_load_explicit(&ring->at[at & (ring->cap - 1)], memory_order_acquire);
        if (slot >= walk->limit || (context->visited[slot / 64] >> (slot % 64) & 1)) {
            continue;
        }
        ak_context_visit(context, slot);
        if (!ak_walk_counts(walk, slot)) {
            continue;
        }
        slots[n++] = slot;
        if (n == BATCH) {
            measure_batch(&walk->measure, slots, n, k, context);
            total += n;
            n = 0;
        }
    }
    measure_batch(&walk->measure, slots, n, k, context);
    return total + n;
}
