/* pool.c — threads that work through a bounded queue.
 *
 * The queue is a ring that doubles up to queue_max, so that an idle pool is small.
 *
 *   open ──close──▶ closing ──queue empty, last thread gone──▶ freed
 *
 * I1  one mutex guards ring, head, count and closing; jobs run without it.
 * I2  while closing nothing is added, and a thread leaves only when the queue is empty.
 */
#include "base/pool.h"
#include "base/mem.h"
#include "base/sync.h"
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define QUEUE_MAX_DEFAULT 65536u
#define RING_MIN 64u
#define THREADS_MAX 1024u

struct job {
    ak_pool_fn fn;
    void *arg;
};

struct ak_pool {
    struct ak_mutex mutex;
    struct ak_cond wanted; /* a job came, or the pool closes */
    struct job *ring;
    size_t cap;
    size_t head; /* the oldest job */
    size_t count;
    size_t queue_max;
    bool closing;
    bool nice;
    unsigned thread_count;
    struct ak_thread threads[]; /* [thread_count] */
};

/* The cores this process may use: a container often has fewer than the machine. */
static unsigned core_count(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
    if (n <= 0) {
        n = (int)sysconf(_SC_NPROCESSORS_ONLN);
    }
    return n > 0 ? (unsigned)n : 1;
}

/* The next job, or false when the pool closes and nothing is left (I2). */
static bool take_job(struct ak_pool *pool, struct job *job)
{
    ak_mutex_lock(&pool->mutex);
    while (pool->count == 0 && !pool->closing) {
        ak_cond_wait(&pool->wanted, &pool->mutex);
    }
    bool found = pool->count > 0;
    if (found) {
        *job = pool->ring[pool->head];
        pool->head = pool->head + 1 == pool->cap ? 0 : pool->head + 1;
        pool->count--;
    }
    ak_mutex_unlock(&pool->mutex);
    return found;
}

static void work(void *arg)
{
    struct ak_pool *pool = arg;
    struct job job;
    if (pool->nice) {
        ak_thread_be_nice();
    }
    while (take_job(pool, &job)) {
        job.fn(job.arg);
    }
}

enum ak_rc ak_pool_open(const struct ak_pool_options *options, struct ak_pool **out,
                        struct ak_err *err)
{
    unsigned n = options->threads ? options->threads : core_count();
    const char *name = options->name ? options->name : "pool";
    if (n > THREADS_MAX) {
        return ak_fail(err, AK_INVALID, "pool %s: %u threads (at most %u)", name, n, THREADS_MAX);
    }
    struct ak_pool *pool = ak_try_zalloc(sizeof *pool + n * sizeof pool->threads[0]);
    if (!pool) {
        return ak_fail(err, AK_NOMEM, "pool %s", name);
    }
    ak_mutex_init(&pool->mutex, AK_RANK_POOL, "pool");
    ak_cond_init(&pool->wanted);
    pool->queue_max = options->queue_max ? options->queue_max : QUEUE_MAX_DEFAULT;
    pool->nice = options->nice;
    pool->thread_count = n;
    for (unsigned i = 0; i < n; i++) {
        char thread_name[32];
        (void)snprintf(thread_name, sizeof thread_name, "%.12s-%u", name, i);
        enum ak_rc rc = ak_thread_start(&pool->threads[i], thread_name, work, pool, err);
        if (rc != AK_OK) {
            ak_pool_close(pool);
            return ak_wrap(err, rc, "pool %s", name);
        }
    }
    *out = pool;
    return AK_OK;
}

void ak_pool_close(struct ak_pool *pool)
{
    if (!pool) {
        return;
    }
    ak_mutex_lock(&pool->mutex);
    pool->closing = true;
    ak_cond_broadcast(&pool->wanted);
    ak_mutex_unlock(&pool->mutex);
    for (unsigned i = 0; i < pool->thread_count; i++) {
        ak_thread_join(&pool->threads[i]);
    }
    ak_cond_release(&pool->wanted);
    ak_mutex_release(&pool->mutex);
    ak_free(pool->ring);
    ak_free(pool);
}

/* Needs the mutex. Doubles the ring, up to queue_max; the jobs move to its beginning in order. */
static bool grow(struct ak_pool *pool)
{
    size_t cap = pool->cap ? pool->cap * 2 : RING_MIN;
    size_t bytes = 0;
    if (cap > pool->queue_max) {
        cap = pool->queue_max;
    }
    struct job *ring = ak_mul_overflows(cap, sizeof *ring, &bytes) ? NULL : ak_try_alloc(bytes);
    if (!ring) {
        return false;
    }
    size_t before_wrap = pool->cap - pool->head;
    size_t first = pool->count < before_wrap ? pool->count : before_wrap;
    if (pool->count) {
        memcpy(ring, pool->ring + pool->head, first * sizeof *ring);
        memcpy(ring + first, pool->ring, (pool->count - first) * sizeof *ring);
    }
    ak_free(pool->ring);
    pool->ring = ring;
    pool->cap = cap;
    pool->head = 0;
    return true;
}

enum ak_rc ak_pool_submit(struct ak_pool *pool, ak_pool_fn fn, void *arg, struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    ak_mutex_lock(&pool->mutex);
    if (pool->closing) {
        rc = ak_fail(err, AK_UNAVAILABLE, "the pool is closing");
    } else if (pool->count >= pool->queue_max) {
        rc = ak_fail(err, AK_UNAVAILABLE, "%zu jobs are waiting already", pool->count);
    } else if (pool->count == pool->cap && !grow(pool)) {
        rc = ak_fail(err, AK_NOMEM, "a queue of more than %zu jobs", pool->cap);
    } else {
        size_t at = pool->head + pool->count;
        pool->ring[at < pool->cap ? at : at - pool->cap] = (struct job){fn, arg};
        pool->count++;
        ak_cond_signal(&pool->wanted);
    }
    ak_mutex_unlock(&pool->mutex);
    return rc;
}

unsigned ak_pool_threads(const struct ak_pool *pool)
{
    return pool->thread_count;
}

size_t ak_pool_queued(struct ak_pool *pool)
{
    ak_mutex_lock(&pool->mutex);
    size_t count = pool->count;
    ak_mutex_unlock(&pool->mutex);
    return count;
}
