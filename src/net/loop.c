/* loop.c — epoll, a hashed timer wheel, and an eventfd behind a list of posts.
 *
 * Wheel: SLOTS lists of TICK_MS each, one turn 8.2 s. A timer hangs in the slot of its due time,
 * or, when that is more than a turn away, in the last slot before the present one, and is looked at
 * again there. Putting a timer off only stores due_ms: when its slot comes up, it moves on.
 *
 * I1  a linked timer's slot_ms < due_ms + TICK_MS (or due_ms is 0): none fires late by more than a
 *     tick, and none fires early, for a timer met before its time is linked again.
 * I2  `busy` has a bit for every slot with timers, so the next wake-up is found without a walk.
 * I3  `asleep` is set before the last look at the posts and cleared by whoever wakes the loop; a
 * post is linked before `asleep` is read. Both sides use seq_cst: one of them sees the other. I4
 * once its post is linked, a poster's last touch of the loop is `posting`: what it posted may have
 *     been the last thing that the loop waited for, so close waits until all posters are out.
 */
#include "net/loop.h"
#include "base/mem.h"
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TICK_MS 8
#define SLOTS 1024u
#define EVENTS_MAX 256

struct ak_loop {
    int epoll_fd;
    int wake_fd;
    const struct ak_clock *clock;
    int64_t now_ms;
    int64_t tick; /* slots up to and including this tick have been worked off */
    uint64_t busy[SLOTS / 64];
    struct ak_loop_timer slots[SLOTS];    /* list heads: only next and prev are used */
    _Atomic(struct ak_loop_post *) posts; /* newest first */
    atomic_bool asleep;
    _Atomic unsigned posting; /* threads inside ak_loop_post() */
    atomic_bool stopping;
    struct ak_loop_io wake_io;
};

static _Thread_local const struct ak_loop *current;

static void read_clock(struct ak_loop *loop)
{
    loop->now_ms = ak_mono_ns(loop->clock) / 1000000;
}

/* The eventfd is edge-triggered and its counter is never read: a write is an event by itself. */
static void on_wake(struct ak_loop_io *io, unsigned events)
{
    (void)io;
    (void)events;
}

enum ak_rc ak_loop_open(const struct ak_clock *clock, struct ak_loop **out, struct ak_err *err)
{
    struct ak_loop *loop = ak_zalloc(sizeof *loop);
    loop->clock = clock;
    for (size_t i = 0; i < SLOTS; i++) {
        loop->slots[i].next = loop->slots[i].prev = &loop->slots[i];
    }
    read_clock(loop);
    loop->tick = loop->now_ms / TICK_MS;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    enum ak_rc rc = AK_OK;
    if (loop->epoll_fd < 0 || loop->wake_fd < 0) {
        rc = ak_fail_errno(err, errno, "create an event loop");
    } else {
        loop->wake_io = (struct ak_loop_io){on_wake, loop->wake_fd};
        rc = ak_loop_add(loop, &loop->wake_io, err);
    }
    if (rc != AK_OK) {
        ak_loop_close(loop);
        return rc;
    }
    *out = loop;
    return AK_OK;
}

void ak_loop_close(struct ak_loop *loop)
{
    if (!loop) {
        return;
    }
    while (
        atomic_load_explicit(&loop->posting, memory_order_acquire)) { /* I4: a few instructions */
        (void)sched_yield();
    }
    if (loop->epoll_fd >= 0) {
        (void)close(loop->epoll_fd);
    }
    if (loop->wake_fd >= 0) {
        (void)close(loop->wake_fd);
    }
    ak_free(loop);
}

bool ak_loop_is_current(const struct ak_loop *loop)
{
    return current == loop;
}

int64_t ak_loop_now_ms(const struct ak_loop *loop)
{
    return loop->now_ms;
}

enum ak_rc ak_loop_add(struct ak_loop *loop, struct ak_loop_io *io, struct ak_err *err)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = io};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, io->fd, &event) != 0) {
        return ak_fail_errno(err, errno, "watch a file descriptor");
    }
    return AK_OK;
}

void ak_loop_remove(struct ak_loop *loop, struct ak_loop_io *io)
{
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
}

/* --- Timers --- */

static void unlink_timer(struct ak_loop *loop, struct ak_loop_timer *timer)
{
    struct ak_loop_timer *head = &loop->slots[timer->slot];
    AK_ASSERT(timer->prev && timer->next);
    timer->prev->next = timer->next;
    timer->next->prev = timer->prev;
    timer->prev = timer->next = NULL;
    if (head->next == head) {
        loop->busy[timer->slot / 64] &= ~(1ull << (timer->slot % 64));
    }
}

static void link_timer(struct ak_loop *loop, struct ak_loop_timer *timer)
{
    int64_t tick = (timer->due_ms + TICK_MS - 1) / TICK_MS;
    if (tick <= loop->tick) {
        tick = loop->tick + 1;
    }
    if (tick - loop->tick >= (int64_t)SLOTS) {
        tick = loop->tick + (int64_t)SLOTS - 1;
    }
    timer->slot = (uint32_t)(tick % (int64_t)SLOTS);
    timer->slot_ms = tick * TICK_MS;
    struct ak_loop_timer *head = &loop->slots[timer->slot];
    timer->prev = head->prev;
    timer->next = head;
    head->prev->next = timer;
    head->prev = timer;
    loop->busy[timer->slot / 64] |= 1ull << (timer->slot % 64);
}

void ak_loop_timer_set(struct ak_loop *loop, struct ak_loop_timer *timer, int64_t in_ms)
{
    timer->due_ms = loop->now_ms + (in_ms > 0 ? in_ms : 1);
    if (timer->prev && timer->slot_ms >= timer->due_ms + TICK_MS) {
        unlink_timer(loop, timer);
    }
    if (!timer->prev) {
        link_timer(loop, timer);
    }
}

void ak_loop_timer_drop(struct ak_loop *loop, struct ak_loop_timer *timer)
{
    timer->due_ms = 0;
    if (timer->prev) {
        unlink_timer(loop, timer);
    }
}

static void run_slot(struct ak_loop *loop, uint32_t slot)
{
    /* Taken off one by one from the front: what fires may set and drop timers. Nothing can come
     * back to this slot meanwhile, for link_timer() reaches from the next slot to the last before
     * it. */
    struct ak_loop_timer *head = &loop->slots[slot];
    while (head->next != head) {
        struct ak_loop_timer *timer = head->next;
        unlink_timer(loop, timer);
        if (timer->due_ms > loop->now_ms) {
            link_timer(loop, timer);
        } else if (timer->due_ms != 0) {
            timer->due_ms = 0;
            timer->fn(timer);
        }
    }
}

static void run_timers(struct ak_loop *loop)
{
    int64_t now_tick = loop->now_ms / TICK_MS;
    int64_t from = loop->tick;
    if (now_tick - from > (int64_t)SLOTS) {
        from = now_tick - (int64_t)SLOTS; /* slept for more than a turn: each slot once */
    }
    while (from < now_tick) {
        from++;
        loop->tick = from;
        uint32_t slot = (uint32_t)(from % (int64_t)SLOTS);
        if (loop->busy[slot / 64] >> (slot % 64) & 1) {
            run_slot(loop, slot);
        }
    }
}

/* Milliseconds until the next slot with timers, or -1. */
static int64_t next_slot_in_ms(const struct ak_loop *loop)
{
    for (uint32_t ahead = 1; ahead <= SLOTS;) {
        uint32_t slot = (uint32_t)((loop->tick + ahead) % (int64_t)SLOTS);
        uint64_t word = loop->busy[slot / 64] >> (slot % 64);
        if (word) {
            ahead += (uint32_t)__builtin_ctzll(word);
            int64_t in_ms = (loop->tick + ahead) * TICK_MS - loop->now_ms;
            return in_ms > 0 ? in_ms : 0;
        }
        ahead += 64 - slot % 64;
    }
    return -1;
}

/* --- Posts --- */

void ak_loop_post(struct ak_loop *loop, struct ak_loop_post *post)
{
    atomic_fetch_add_explicit(&loop->posting, 1, memory_order_relaxed);
    struct ak_loop_post *head = atomic_load_explicit(&loop->posts, memory_order_relaxed);
    do {
        post->next = head;
    } while (!atomic_compare_exchange_weak(&loop->posts, &head, post)); /* I3 */
    if (atomic_load(&loop->asleep) && atomic_exchange(&loop->asleep, false)) {
        uint64_t one = 1;
        ssize_t n = write(loop->wake_fd, &one, sizeof one);
        AK_ASSERT(n == (ssize_t)sizeof one || errno == EAGAIN);
    }
    atomic_fetch_sub_explicit(&loop->posting, 1, memory_order_release); /* pairs with close */
}

void ak_loop_stop(struct ak_loop *loop)
{
    atomic_store(&loop->stopping, true);
    uint64_t one = 1;
    ssize_t n = write(loop->wake_fd, &one, sizeof one);
    AK_ASSERT(n == (ssize_t)sizeof one || errno == EAGAIN);
}

static void run_posts(struct ak_loop *loop)
{
    if (!atomic_load_explicit(&loop->posts, memory_order_relaxed)) {
        return;
    }
    struct ak_loop_post *newest = atomic_exchange(&loop->posts, NULL);
    struct ak_loop_post *oldest = NULL;
    while (newest) {
        struct ak_loop_post *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct ak_loop_post *next = oldest->next; /* fn may free the post */
        oldest->fn(oldest);
        oldest = next;
    }
}

/* --- Running --- */

static unsigned events_of(uint32_t epoll)
{
    return (epoll & EPOLLIN ? AK_LOOP_READ : 0u) | (epoll & EPOLLOUT ? AK_LOOP_WRITE : 0u) |
           (epoll & EPOLLRDHUP ? AK_LOOP_HALF : 0u) |
           (epoll & (EPOLLHUP | EPOLLERR) ? AK_LOOP_GONE : 0u);
}

static void run_events(struct ak_loop *loop, int64_t max_ms)
{
    struct epoll_event events[EVENTS_MAX];
    int timeout = max_ms < 0 ? -1 : max_ms > INT_MAX ? INT_MAX : (int)max_ms;
    if (timeout != 0) {
        atomic_store(&loop->asleep, true);
        if (atomic_load(&loop->posts) || atomic_load(&loop->stopping)) {
            timeout = 0;
        }
    }
    int n = epoll_wait(loop->epoll_fd, events, EVENTS_MAX, timeout);
    atomic_store_explicit(&loop->asleep, false, memory_order_relaxed);
    AK_ASSERT(n >= 0 || errno == EINTR);
    read_clock(loop);
    for (int i = 0; i < n; i++) {
        struct ak_loop_io *io = events[i].data.ptr;
        io->fn(io, events_of(events[i].events));
    }
}

void ak_loop_turn(struct ak_loop *loop, int64_t max_ms)
{
    const struct ak_loop *outer = current;
    current = loop;
    int64_t timer_ms = next_slot_in_ms(loop);
    if (timer_ms >= 0 && (max_ms < 0 || timer_ms < max_ms)) {
        max_ms = timer_ms;
    }
    run_events(loop, max_ms);
    run_posts(loop);
    run_timers(loop);
    current = outer;
}

void ak_loop_run(struct ak_loop *loop, bool (*batch_end)(void *ctx), void *ctx)
{
    bool more = false;
    while (!atomic_load_explicit(&loop->stopping, memory_order_relaxed)) {
        ak_loop_turn(loop, more ? 0 : -1);
        current = loop;
        more = batch_end && batch_end(ctx);
        current = NULL;
    }
}
