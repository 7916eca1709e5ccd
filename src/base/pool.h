/* pool.h — a fixed number of threads that work through a bounded queue.
 *
 * Threads: submit from any, also from the pool's own jobs (but then never wait for the job).
 */
#pragma once
#include "base/err.h"
#include <stddef.h>

struct ak_pool;
typedef void (*ak_pool_fn)(void *arg);

struct ak_pool_options {
    const char *name; /* ≤ 12 bytes */
    unsigned threads; /* 0: one per core */
    size_t queue_max; /* jobs waiting; 0: 65,536 */
    bool nice;        /* low CPU priority: background work */
};

AK_MUST enum ak_rc ak_pool_open(const struct ak_pool_options *options, struct ak_pool **pool,
                                struct ak_err *err);
/* Finish what is queued, then stop and join the threads. NULL is fine. */
void ak_pool_close(struct ak_pool *pool);
/* AK_UNAVAILABLE when the queue is full or the pool is closing: the job was not taken. */
AK_MUST enum ak_rc ak_pool_submit(struct ak_pool *pool, ak_pool_fn fn, void *arg,
                                  struct ak_err *err);
unsigned ak_pool_threads(const struct ak_pool *pool);
size_t ak_pool_queued(struct ak_pool *pool);
