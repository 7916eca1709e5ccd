/* sync.h — mutexes that know their rank, condition variables, threads with names.
 *
 * A thread may take a mutex only when its rank is higher than that of every mutex it holds; builds
 * with AK_FAULTS abort on a wrong order and name both. Ranks are listed here, lowest first.
 */
#pragma once
#include "base/err.h"
#include <pthread.h>
#include <stdint.h>

enum ak_rank {
    AK_RANK_SERVICE = 10,
    AK_RANK_ENGINE_LIFECYCLE = 20, /* opening, closing, checkpointing a collection */
    AK_RANK_COLLECTION = 30,       /* the writer lock of one collection */
    AK_RANK_ENGINE_TIER = 35,      /* what the catalog is told of tiers, one change at a time */
    AK_RANK_ENGINE_DIRECTORY = 40, /* name and id tables, references, dirty list */
    AK_RANK_INDEX = 50,            /* index structure: growth, pending list */
    AK_RANK_COLUMNS = 55,          /* filter columns */
    AK_RANK_WAL = 60,
    AK_RANK_CATALOG = 70,
    AK_RANK_POOL = 80,
    AK_RANK_NET = 85,
    AK_RANK_METRICS = 90,
    AK_RANK_LEAF = 100 /* held over a few instructions, takes nothing else */
};

struct ak_mutex {
    pthread_mutex_t m;
    enum ak_rank rank;
    const char *name;
};

void ak_mutex_init(struct ak_mutex *mutex, enum ak_rank rank, const char *name);
void ak_mutex_release(struct ak_mutex *mutex);
void ak_mutex_lock(struct ak_mutex *mutex);
AK_MUST bool ak_mutex_try_lock(struct ak_mutex *mutex); /* exempt from the rank check */
void ak_mutex_unlock(struct ak_mutex *mutex);

struct ak_cond {
    pthread_cond_t c; /* CLOCK_MONOTONIC */
};
void ak_cond_init(struct ak_cond *cond);
void ak_cond_release(struct ak_cond *cond);
void ak_cond_wait(struct ak_cond *cond, struct ak_mutex *mutex);
/* false when timeout_ms went by first. */
bool ak_cond_wait_ms(struct ak_cond *cond, struct ak_mutex *mutex, int64_t timeout_ms);
void ak_cond_signal(struct ak_cond *cond);
void ak_cond_broadcast(struct ak_cond *cond);

struct ak_thread {
    pthread_t t;
    bool started;
};
/* `name` ≤ 15 bytes (shown by top -H). All signals are blocked in the new thread. */
AK_MUST enum ak_rc ak_thread_start(struct ak_thread *thread, const char *name, void (*fn)(void *),
                                   void *arg, struct ak_err *err);
void ak_thread_join(struct ak_thread *thread); /* no-op when not started */
/* Give the calling thread a lower CPU priority (nice 10): background work. Best effort. */
void ak_thread_be_nice(void);
