/* loop.h — one event loop: file descriptors, timers, and work posted by other threads.
 *
 * Everything is embedded in its owner (ak_loop_io, ak_loop_timer, ak_loop_post): the loop allocates
 * nothing after open. Readiness is reported once per change (edge-triggered): the handler reads or
 * writes until the system says EAGAIN. Timers are coarse (8 ms), never early.
 *
 * Posts are a lock-free list; a post wakes the loop only when it sleeps or is about to, so that a
 * burst of posts costs one write to the eventfd. Posts of one thread run in their order.
 *
 * Threads: ak_loop_post() and ak_loop_stop() from any; all else on the loop's thread, or before
 * ak_loop_run(). Memory: io, timer and post belong to the caller, and must be out of the loop
 * (removed, cancelled, run) before they go.
 */
#pragma once
#include "base/clock.h"
#include "base/err.h"
#include <stdint.h>

struct ak_loop;

#define AK_LOOP_READ 1u
#define AK_LOOP_WRITE 2u
#define AK_LOOP_HALF 4u /* the peer will send no more */
#define AK_LOOP_GONE 8u /* error or both directions closed */

struct ak_loop_io {
    void (*fn)(struct ak_loop_io *io, unsigned events);
    int fd;
};

struct ak_loop_timer {
    void (*fn)(struct ak_loop_timer *timer);
    int64_t due_ms; /* on the loop's clock; 0: not set */
    struct ak_loop_timer *next;
    struct ak_loop_timer *prev; /* NULL: not linked into the wheel */
    uint32_t slot;
    int64_t slot_ms; /* when its slot comes up: at or before due_ms */
};

struct ak_loop_post {
    void (*fn)(struct ak_loop_post *post);
    struct ak_loop_post *next;
};

AK_MUST enum ak_rc ak_loop_open(const struct ak_clock *clock, struct ak_loop **loop,
                                struct ak_err *err);
void ak_loop_close(struct ak_loop *loop); /* NULL is fine */
/* Serve until ak_loop_stop(). `batch_end` (may be NULL) runs after each round of events and posts;
 * true: there is more to do at once, so do not sleep. */
void ak_loop_run(struct ak_loop *loop, bool (*batch_end)(void *ctx), void *ctx);
/* One round, sleeping at most max_ms. */
void ak_loop_turn(struct ak_loop *loop, int64_t max_ms);
void ak_loop_stop(struct ak_loop *loop);
/* Is the calling thread inside ak_loop_run() or ak_loop_turn() of this loop? */
bool ak_loop_is_current(const struct ak_loop *loop);
int64_t ak_loop_now_ms(const struct ak_loop *loop); /* monotonic, as of this round */

/* Report readability and writability of io->fd. */
AK_MUST enum ak_rc ak_loop_add(struct ak_loop *loop, struct ak_loop_io *io, struct ak_err *err);
void ak_loop_remove(struct ak_loop *loop, struct ak_loop_io *io);

/* Call timer->fn once, in_ms from now; replaces an earlier setting. Putting a timer off is a store.
 */
void ak_loop_timer_set(struct ak_loop *loop, struct ak_loop_timer *timer, int64_t in_ms);
/* Do not call it any more; it may stay linked (ak_loop_timer_drop() before its memory goes). */
static inline void ak_loop_timer_cancel(struct ak_loop_timer *timer)
{
    timer->due_ms = 0;
}
void ak_loop_timer_drop(struct ak_loop *loop, struct ak_loop_timer *timer);

void ak_loop_post(struct ak_loop *loop, struct ak_loop_post *post);
