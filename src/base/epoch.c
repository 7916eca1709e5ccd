/* epoch.c — epoch-based reclamation (Fraser 2004, section 5.2.3), with one item an epoch.
 *
 * A counter `now` starts at 1 and moves on with every retire. A reader's slot holds the value of
 * `now` that it read on entering, or 0 while it is free. An item carries the value of `now` before
 * its retire moved it on: its tag. It is freed when every taken slot holds more than its tag.
 *
 * Why that is safe. Let reader R use item X: R entered with `now` = e and loaded a pointer to X.
 * I1  e ≤ tag(X). Had R read a later value, its acquire would have met the release of X's retire,
 *     before which X was unlinked: R could not have found X.
 * I2  A scan that frees X sees R's slot, if R found X. Between taking the slot and R's first load,
 *     and between unlinking X and the scan, stands a sequentially consistent fence: one of the two
 *     is first. If R's is, the scan sees the slot; if the scan's is, R sees X unlinked.
 * I3  What R did to X happens before the free: leaving releases the slot, the scan acquires it. A
 *     later reader takes the slot by compare-and-swap, which continues the release sequence.
 * A reader may hold a value of `now` that is already old when the slot gets it: it only holds back
 * more than it needs.
 *
 * Each enter takes a slot of its own, nested or not, so that a token may be left on another thread.
 */
#include "base/epoch.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/sync.h"
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#define SLOTS 128u
#define FREE 0u
#define COLLECT_EVERY 32u /* retires between two scans: a scan reads SLOTS cache lines */
#define SPINS_MAX 64u     /* looks at the slots before a wait starts to sleep */

struct item {
    struct item *next;
    void (*fn)(void *arg);
    void *arg;
    uint64_t tag;
};

struct slot {
    _Alignas(AK_CACHE_LINE) _Atomic uint64_t entered; /* FREE, or `now` on entering */
};

struct ak_epoch {
    struct slot slots[SLOTS];
    _Alignas(AK_CACHE_LINE) _Atomic uint64_t now;
    struct ak_mutex mutex; /* guards what follows; tags grow along the list */
    struct item *first;
    struct item **end;
    size_t waiting;
    unsigned since_collect;
};

#if defined(__SANITIZE_THREAD__)
#define HAS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAS_TSAN 1
#endif
#endif

/* The fences of I2. ThreadSanitizer does not model fences; it runs on machines where the locked
 * read-modify-write before each of these calls is a full barrier already. */
static inline void full_fence(void)
{
#ifndef HAS_TSAN
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

struct ak_epoch *ak_epoch_open(void)
{
    struct ak_epoch *epoch = ak_alloc_aligned(AK_CACHE_LINE, sizeof *epoch);
    for (unsigned i = 0; i < SLOTS; i++) {
        atomic_init(&epoch->slots[i].entered, FREE);
    }
    atomic_init(&epoch->now, 1);
    ak_mutex_init(&epoch->mutex, AK_RANK_LEAF, "epoch");
    epoch->first = NULL;
    epoch->end = &epoch->first;
    epoch->waiting = 0;
    epoch->since_collect = 0;
    return epoch;
}

/* Threads begin their search for a slot apart from each other, each always at the same one. */
static unsigned first_choice(void)
{
    static _Thread_local char here;
    return (unsigned)(ak_mix64((uint64_t)(uintptr_t)&here) % SLOTS);
}

unsigned ak_epoch_enter(struct ak_epoch *epoch)
{
    unsigned at = first_choice();
    for (unsigned tries = 1;; tries++) {
        struct slot *slot = &epoch->slots[at];
        uint64_t free = FREE;
        /* Acquire: pairs with the release half of next_epoch() (I1). */
        uint64_t now = atomic_load_explicit(&epoch->now, memory_order_acquire);
        /* Acquire-release: takes over the release of the slot's last reader (I3). */
        if (atomic_load_explicit(&slot->entered, memory_order_relaxed) == FREE &&
            atomic_compare_exchange_strong_explicit(&slot->entered, &free, now,
                                                    memory_order_acq_rel, memory_order_relaxed)) {
            full_fence(); /* I2: pairs with the fence in oldest_inside() */
            return at;
        }
        at = (at + 1) % SLOTS;
        if (tries % SLOTS == 0) {
            (void)sched_yield();
        }
    }
}

void ak_epoch_leave(struct ak_epoch *epoch, unsigned token)
{
    AK_ASSERT(token < SLOTS);
    struct slot *slot = &epoch->slots[token];
    AK_ASSERT(atomic_load_explicit(&slot->entered, memory_order_relaxed) != FREE);
    /* Release: pairs with the acquire in oldest_inside() (I3). */
    atomic_store_explicit(&slot->entered, FREE, memory_order_release);
}

/* Move on to the next epoch; returns the one that ends. Release: pairs with the load in enter(). */
static uint64_t next_epoch(struct ak_epoch *epoch)
{
    return atomic_fetch_add_explicit(&epoch->now, 1, memory_order_acq_rel);
}

/* The lowest epoch in a slot, or `none` when no reader is inside. */
static uint64_t oldest_inside(struct ak_epoch *epoch, uint64_t none)
{
    uint64_t oldest = none;
    full_fence(); /* I2: pairs with the fence in enter() */
    for (unsigned i = 0; i < SLOTS; i++) {
        /* Acquire: pairs with the release in leave() (I3). */
        uint64_t entered = atomic_load_explicit(&epoch->slots[i].entered, memory_order_acquire);
        if (entered != FREE && entered < oldest) {
            oldest = entered;
        }
    }
    return oldest;
}

/* Needs the mutex, so that everything in the list was unlinked before the scan. */
static struct item *detach_free_items(struct ak_epoch *epoch)
{
    uint64_t oldest = oldest_inside(epoch, UINT64_MAX);
    struct item *head = epoch->first;
    struct item **cut = &epoch->first;
    epoch->since_collect = 0;
    while (*cut && (*cut)->tag < oldest) {
        cut = &(*cut)->next;
        epoch->waiting--;
    }
    if (cut == &epoch->first) {
        return NULL;
    }
    epoch->first = *cut;
    if (!*cut) {
        epoch->end = &epoch->first;
    }
    *cut = NULL;
    return head;
}

/* Without the mutex: what an item calls may retire more. */
static void free_items(struct item *item)
{
    while (item) {
        struct item *next = item->next;
        item->fn(item->arg);
        ak_free(item);
        item = next;
    }
}

void ak_epoch_retire(struct ak_epoch *epoch, void (*fn)(void *arg), void *arg)
{
    struct item *item = ak_alloc(sizeof *item);
    struct item *freed = NULL;
    *item = (struct item){.fn = fn, .arg = arg};
    ak_mutex_lock(&epoch->mutex);
    item->tag = next_epoch(epoch);
    *epoch->end = item;
    epoch->end = &item->next;
    epoch->waiting++;
    if (++epoch->since_collect >= COLLECT_EVERY) {
        freed = detach_free_items(epoch);
    }
    ak_mutex_unlock(&epoch->mutex);
    free_items(freed);
}

size_t ak_epoch_collect(struct ak_epoch *epoch)
{
    ak_mutex_lock(&epoch->mutex);
    struct item *freed = detach_free_items(epoch);
    size_t waiting = epoch->waiting;
    ak_mutex_unlock(&epoch->mutex);
    free_items(freed);
    return waiting;
}

void ak_epoch_wait(struct ak_epoch *epoch)
{
    uint64_t ended = next_epoch(epoch);
    for (unsigned looks = 0; oldest_inside(epoch, UINT64_MAX) <= ended; looks++) {
        if (looks < SPINS_MAX) {
            (void)sched_yield();
        } else {
            const struct timespec pause = {.tv_nsec = 50000};
            (void)nanosleep(&pause, NULL);
        }
    }
}

void ak_epoch_close(struct ak_epoch *epoch)
{
    if (!epoch) {
        return;
    }
    AK_ASSERT(oldest_inside(epoch, UINT64_MAX) == UINT64_MAX);
    while (epoch->first) { /* an item's function may retire another */
        (void)ak_epoch_collect(epoch);
    }
    ak_mutex_release(&epoch->mutex);
    ak_free(epoch);
}
