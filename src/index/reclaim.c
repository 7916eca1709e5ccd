/* reclaim.c — freed slots on their way back to the writer.
 *
 *   linked → (removed) → unlinked by repair → batch retired → epoch passes → batch on `returned`
 *          → the writer's own list → given to an add
 *
 * The epoch calls back on any thread, at a time when that thread may hold any lock, and perhaps
 * after the index was closed. So the callback only pushes onto a lock-free list of an object that
 * is counted by its users. */
#include "index/index_priv.h"

struct ak_reclaim {
    _Atomic uint64_t users; /* the index, every batch out, every hold */
    _Atomic(struct ak_reclaim_batch *) returned;
    _Atomic uint64_t holds;
    struct ak_reclaim_batch *mine; /* the writer's */
};

struct ak_reclaim_batch {
    struct ak_reclaim *reclaim;
    struct ak_reclaim_batch *next;
    uint64_t count;
    bool is_sorted; /* highest first, so that the lowest is given out first */
    uint32_t slots[];
};

struct ak_reclaim *ak_reclaim_open(void)
{
    struct ak_reclaim *reclaim = ak_zalloc(sizeof *reclaim);
    atomic_store_explicit(&reclaim->users, 1, memory_order_relaxed);
    return reclaim;
}

static void free_batches(struct ak_reclaim_batch *batch)
{
    while (batch) {
        struct ak_reclaim_batch *next = batch->next;
        ak_free(batch);
        batch = next;
    }
}

/* The last user's acquire pairs with the releases of all others. */
static void unuse(struct ak_reclaim *reclaim)
{
    if (atomic_fetch_sub_explicit(&reclaim->users, 1, memory_order_acq_rel) == 1) {
        free_batches(atomic_load_explicit(&reclaim->returned, memory_order_relaxed));
        free_batches(reclaim->mine);
        ak_free(reclaim);
    }
}

static void use(struct ak_reclaim *reclaim)
{
    atomic_fetch_add_explicit(&reclaim->users, 1, memory_order_relaxed);
}

void ak_reclaim_close(struct ak_reclaim *reclaim)
{
    if (reclaim) {
        unuse(reclaim);
    }
}

struct ak_reclaim_batch *ak_reclaim_batch(struct ak_reclaim *reclaim, uint64_t count)
{
    struct ak_reclaim_batch *batch = ak_try_alloc(sizeof *batch + (size_t)count * sizeof(uint32_t));
    if (batch) {
        use(reclaim);
        *batch = (struct ak_reclaim_batch){.reclaim = reclaim};
    }
    return batch;
}

void ak_reclaim_batch_add(struct ak_reclaim_batch *batch, uint32_t slot)
{
    batch->slots[batch->count++] = slot;
}

void ak_reclaim_batch_drop(struct ak_reclaim_batch *batch)
{
    if (batch) {
        unuse(batch->reclaim);
        ak_free(batch);
    }
}

/* Release pairs with the acquire in ak_reclaim_peek. */
static void return_batch(void *arg)
{
    struct ak_reclaim_batch *batch = arg;
    struct ak_reclaim *reclaim = batch->reclaim;
    batch->next = atomic_load_explicit(&reclaim->returned, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&reclaim->returned, &batch->next, batch,
                                                  memory_order_release, memory_order_relaxed)) {
    }
    unuse(reclaim);
}

void ak_reclaim_retire(struct ak_reclaim_batch *batch, struct ak_epoch *epoch)
{
    ak_epoch_retire(epoch, return_batch, batch);
}

void ak_reclaim_give(struct ak_reclaim_batch *batch)
{
    return_batch(batch);
}

/* Release pairs with the acquire in ak_reclaim_peek: the last reads of old rows come before the
 * writes of new ones. */
static void end_hold(void *arg)
{
    struct ak_reclaim *reclaim = arg;
    atomic_fetch_sub_explicit(&reclaim->holds, 1, memory_order_release);
    unuse(reclaim);
}

void ak_reclaim_hold(struct ak_reclaim *reclaim, struct ak_epoch *epoch)
{
    use(reclaim);
    atomic_fetch_add_explicit(&reclaim->holds, 1, memory_order_relaxed);
    ak_epoch_retire(epoch, end_hold, reclaim);
}

bool ak_reclaim_peek(struct ak_reclaim *reclaim, uint32_t *slot)
{
    while (reclaim->mine && reclaim->mine->count == 0) {
        struct ak_reclaim_batch *empty = reclaim->mine;
        reclaim->mine = empty->next;
        ak_free(empty);
    }
    if (!reclaim->mine) {
        reclaim->mine = atomic_exchange_explicit(&reclaim->returned, NULL, memory_order_acquire);
    }
    if (!reclaim->mine || reclaim->mine->count == 0 ||
        atomic_load_explicit(&reclaim->holds, memory_order_acquire) > 0) {
        return false;
    }
    *slot = reclaim->mine->slots[reclaim->mine->count - 1];
    return true;
}

bool ak_reclaim_is_held(const struct ak_reclaim *reclaim)
{
    return atomic_load_explicit(&reclaim->holds, memory_order_acquire) > 0;
}

/* All batches that have come back are the writer's. */
static uint64_t take_returned(struct ak_reclaim *reclaim)
{
    uint64_t count = 0;
    struct ak_reclaim_batch *batch =
        atomic_exchange_explicit(&reclaim->returned, NULL, memory_order_acquire);
    while (batch) {
        struct ak_reclaim_batch *next = batch->next;
        batch->next = reclaim->mine;
        reclaim->mine = batch;
        batch = next;
    }
    for (batch = reclaim->mine; batch; batch = batch->next) {
        count += batch->count;
    }
    return count;
}

/* By a bitmap: no slot is free twice. */
static bool merge(struct ak_reclaim *reclaim, uint64_t count, uint64_t slots)
{
    uint64_t words = ak_bits_words(slots);
    uint64_t *bits = ak_try_zalloc((size_t)(words + 1) * sizeof *bits);
    struct ak_reclaim_batch *merged =
        bits ? ak_try_alloc(sizeof *merged + (size_t)count * sizeof merged->slots[0]) : NULL;
    if (!merged) {
        ak_free(bits);
        return false;
    }
    *merged = (struct ak_reclaim_batch){.reclaim = reclaim, .is_sorted = true};
    for (const struct ak_reclaim_batch *batch = reclaim->mine; batch; batch = batch->next) {
        for (uint64_t i = 0; i < batch->count; i++) {
            bits[batch->slots[i] / 64] |= (uint64_t)1 << (batch->slots[i] % 64);
        }
    }
    for (uint64_t at = words; at-- > 0;) {
        for (uint64_t word = bits[at]; word;) {
            uint64_t bit = 63 - (uint64_t)__builtin_clzll(word);
            word &= ~((uint64_t)1 << bit);
            ak_reclaim_batch_add(merged, (uint32_t)(at * 64 + bit));
        }
    }
    AK_ASSERT(merged->count == count);
    free_batches(reclaim->mine);
    reclaim->mine = merged;
    ak_free(bits);
    return true;
}

bool ak_reclaim_sort(struct ak_reclaim *reclaim, uint64_t slots, uint32_t **list, uint64_t **count)
{
    uint64_t all = ak_reclaim_is_held(reclaim) ? 0 : take_returned(reclaim);
    if (all == 0) {
        return false;
    }
    if ((reclaim->mine->next || !reclaim->mine->is_sorted) && !merge(reclaim, all, slots)) {
        return false;
    }
    *list = reclaim->mine->slots;
    *count = &reclaim->mine->count;
    return true;
}

void ak_reclaim_take(struct ak_reclaim *reclaim)
{
    AK_ASSERT(reclaim->mine && reclaim->mine->count > 0);
    reclaim->mine->count--;
}
