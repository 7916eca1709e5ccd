/* delay.c — a sorted list, a condition and a thread. */
#include "mocks3/delay.h"
#include "base/mem.h"
#include "base/sync.h"

struct ak_mock_delay {
    struct ak_mutex lock;
    struct ak_cond changed;
    struct ak_mock_timer *first; /* by due_ns */
    const struct ak_mock_timer *running;
    bool hurried;
    bool closing;
    struct ak_thread thread;
};

static int64_t now_ns(void)
{
    return ak_mono_ns(ak_clock_system());
}

/* Wait until the first timer is due; false: it is time to end. */
static bool wait_due(struct ak_mock_delay *delay)
{
    for (;;) {
        int64_t in_ns = delay->first ? delay->first->due_ns - now_ns() : 1;
        if (delay->first && (delay->hurried || in_ns <= 0)) {
            return true;
        }
        if (delay->closing && !delay->first) {
            return false;
        }
        if (delay->first) {
            (void)ak_cond_wait_ms(&delay->changed, &delay->lock, in_ns / 1000000 + 1);
        } else {
            ak_cond_wait(&delay->changed, &delay->lock);
        }
    }
}

static void run(void *arg)
{
    struct ak_mock_delay *delay = arg;
    ak_mutex_lock(&delay->lock);
    while (wait_due(delay)) {
        struct ak_mock_timer *timer = delay->first;
        void (*fn)(struct ak_mock_timer *) = timer->fn;
        delay->first = timer->next;
        timer->is_set = false;
        delay->running = timer;
        ak_mutex_unlock(&delay->lock);
        fn(timer); /* the timer may be gone after this */
        ak_mutex_lock(&delay->lock);
        delay->running = NULL;
        ak_cond_broadcast(&delay->changed);
    }
    ak_mutex_unlock(&delay->lock);
}

enum ak_rc ak_mock_delay_open(struct ak_mock_delay **out, struct ak_err *err)
{
    struct ak_mock_delay *delay = ak_zalloc(sizeof *delay);
    ak_mutex_init(&delay->lock, AK_RANK_LEAF, "mock-s3 delay");
    ak_cond_init(&delay->changed);
    enum ak_rc rc = ak_thread_start(&delay->thread, "mock-delay", run, delay, err);
    if (rc != AK_OK) {
        ak_mock_delay_close(delay);
        return rc;
    }
    *out = delay;
    return AK_OK;
}

void ak_mock_delay_hurry(struct ak_mock_delay *delay)
{
    ak_mutex_lock(&delay->lock);
    delay->hurried = true;
    ak_cond_broadcast(&delay->changed);
    ak_mutex_unlock(&delay->lock);
}

void ak_mock_delay_close(struct ak_mock_delay *delay)
{
    if (!delay) {
        return;
    }
    ak_mutex_lock(&delay->lock);
    delay->hurried = true;
    delay->closing = true;
    ak_cond_broadcast(&delay->changed);
    ak_mutex_unlock(&delay->lock);
    ak_thread_join(&delay->thread);
    ak_cond_release(&delay->changed);
    ak_mutex_release(&delay->lock);
    ak_free(delay);
}

void ak_mock_delay_set(struct ak_mock_delay *delay, struct ak_mock_timer *timer, uint64_t in_ms)
{
    ak_mutex_lock(&delay->lock);
    AK_ASSERT(!timer->is_set && timer->fn);
    timer->is_set = true;
    timer->due_ns = now_ns() + (int64_t)in_ms * 1000000;
    struct ak_mock_timer **at = &delay->first;
    while (*at && (*at)->due_ns <= timer->due_ns) {
        at = &(*at)->next;
    }
    timer->next = *at;
    *at = timer;
    ak_cond_broadcast(&delay->changed);
    ak_mutex_unlock(&delay->lock);
}

void ak_mock_delay_cancel(struct ak_mock_delay *delay, struct ak_mock_timer *timer)
{
    ak_mutex_lock(&delay->lock);
    while (delay->running == timer) {
        ak_cond_wait(&delay->changed, &delay->lock);
    }
    struct ak_mock_timer **at = &delay->first;
    while (timer->is_set && *at != timer) {
        at = &(*at)->next;
    }
    if (timer->is_set) {
        *at = timer->next;
        timer->is_set = false;
    }
    ak_mutex_unlock(&delay->lock);
}
