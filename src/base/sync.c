/* sync.c — mutexes with ranks, condition variables, threads.
 *
 * With AK_FAULTS each thread lists the mutexes it holds, and the process aborts where
 *   R1  a lock is taken whose rank is not above that of every mutex held (a try-lock is exempt: it
 *       cannot wait, so it cannot close a circle of waiting);
 *   R2  a condition is waited on with a mutex that is not held, or below another that is (waking up
 *       takes it again, which R1 forbids);
 *   R3  a mutex is unlocked by a thread that does not hold it.
 * A release build has none of the lists and none of the checks.
 */
#include "base/sync.h"
#include "base/mem.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define THREAD_NAME_MAX 16 /* with the NUL: what the kernel keeps */
#define BACKGROUND_NICE 10
#define WAIT_MS_MAX (INT64_C(1000) * 86400 * 365) /* keeps the deadline far from overflow */

#ifdef AK_FAULTS
#define HELD_MAX 32

static _Thread_local const struct ak_mutex *held[HELD_MAX];
static _Thread_local unsigned held_count;

_Noreturn static void abort_over(const struct ak_mutex *mutex, const char *what,
                                 const struct ak_mutex *other)
{
    (void)fprintf(stderr, "akidb: mutex '%s' (rank %d) %s", mutex->name, (int)mutex->rank, what);
    if (other) {
        (void)fprintf(stderr, " '%s' (rank %d)", other->name, (int)other->rank);
    }
    (void)fputc('\n', stderr);
    abort();
}

static void check_order(const struct ak_mutex *mutex)
{
    for (unsigned i = 0; i < held_count; i++) {
        if (held[i]->rank >= mutex->rank) {
            abort_over(mutex, "is locked while holding", held[i]); /* R1 */
        }
    }
}

static void check_wait(const struct ak_mutex *mutex)
{
    bool is_held = false;
    for (unsigned i = 0; i < held_count; i++) {
        is_held = is_held || held[i] == mutex;
        if (held[i] != mutex && held[i]->rank >= mutex->rank) {
            abort_over(mutex, "is waited with while holding", held[i]); /* R2 */
        }
    }
    if (!is_held) {
        abort_over(mutex, "is waited with while not held", NULL); /* R2 */
    }
}

static void note_locked(const struct ak_mutex *mutex)
{
    AK_ASSERT(held_count < HELD_MAX);
    held[held_count++] = mutex;
}

static void note_unlocked(const struct ak_mutex *mutex)
{
    for (unsigned i = held_count; i-- > 0;) {
        if (held[i] == mutex) {
            held[i] = held[--held_count];
            return;
        }
    }
    abort_over(mutex, "is unlocked by a thread that does not hold it", NULL); /* R3 */
}
#else
static void check_order(const struct ak_mutex *mutex)
{
    (void)mutex;
}

static void check_wait(const struct ak_mutex *mutex)
{
    (void)mutex;
}

static void note_locked(const struct ak_mutex *mutex)
{
    (void)mutex;
}

static void note_unlocked(const struct ak_mutex *mutex)
{
    (void)mutex;
}
#endif

void ak_mutex_init(struct ak_mutex *mutex, enum ak_rank rank, const char *name)
{
    mutex->rank = rank;
    mutex->name = name;
    int failed = pthread_mutex_init(&mutex->m, NULL);
    AK_ASSERT(!failed);
}

void ak_mutex_release(struct ak_mutex *mutex)
{
    int failed = pthread_mutex_destroy(&mutex->m);
    AK_ASSERT(!failed); /* EBUSY: somebody holds it */
}

void ak_mutex_lock(struct ak_mutex *mutex)
{
    check_order(mutex);
    int failed = pthread_mutex_lock(&mutex->m);
    AK_ASSERT(!failed);
    note_locked(mutex);
}

bool ak_mutex_try_lock(struct ak_mutex *mutex)
{
    int failed = pthread_mutex_trylock(&mutex->m);
    AK_ASSERT(!failed || failed == EBUSY);
    if (!failed) {
        note_locked(mutex);
    }
    return !failed;
}

void ak_mutex_unlock(struct ak_mutex *mutex)
{
    note_unlocked(mutex);
    int failed = pthread_mutex_unlock(&mutex->m);
    AK_ASSERT(!failed);
}

void ak_cond_init(struct ak_cond *cond)
{
    pthread_condattr_t attr;
    int failed = pthread_condattr_init(&attr);
    failed = failed || pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    failed = failed || pthread_cond_init(&cond->c, &attr);
    AK_ASSERT(!failed);
    (void)pthread_condattr_destroy(&attr);
}

void ak_cond_release(struct ak_cond *cond)
{
    int failed = pthread_cond_destroy(&cond->c);
    AK_ASSERT(!failed);
}

/* While it waits a thread counts as holding the mutex: it takes no other in that time. */
void ak_cond_wait(struct ak_cond *cond, struct ak_mutex *mutex)
{
    check_wait(mutex);
    int failed = pthread_cond_wait(&cond->c, &mutex->m);
    AK_ASSERT(!failed);
}

bool ak_cond_wait_ms(struct ak_cond *cond, struct ak_mutex *mutex, int64_t timeout_ms)
{
    struct timespec until;
    check_wait(mutex);
    if (timeout_ms < 0) {
        timeout_ms = 0;
    }
    if (timeout_ms > WAIT_MS_MAX) {
        timeout_ms = WAIT_MS_MAX;
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += timeout_ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    int failed = pthread_cond_timedwait(&cond->c, &mutex->m, &until);
    AK_ASSERT(!failed || failed == ETIMEDOUT);
    return !failed;
}

void ak_cond_signal(struct ak_cond *cond)
{
    (void)pthread_cond_signal(&cond->c);
}

void ak_cond_broadcast(struct ak_cond *cond)
{
    (void)pthread_cond_broadcast(&cond->c);
}

struct thread_start {
    void (*fn)(void *);
    void *arg;
    char name[THREAD_NAME_MAX];
};

static void *thread_main(void *arg)
{
    struct thread_start start = *(struct thread_start *)arg;
    ak_free(arg);
    (void)pthread_setname_np(pthread_self(), start.name);
    start.fn(start.arg);
    return NULL;
}

enum ak_rc ak_thread_start(struct ak_thread *thread, const char *name, void (*fn)(void *),
                           void *arg, struct ak_err *err)
{
    struct thread_start *start = ak_try_alloc(sizeof *start);
    if (!start) {
        return ak_fail(err, AK_NOMEM, "start thread %s", name);
    }
    start->fn = fn;
    start->arg = arg;
    (void)snprintf(start->name, sizeof start->name, "%.15s", name);

    /* The new thread inherits the mask of this one: no signal can reach it before it is set. */
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t t;
    int failed = pthread_create(&t, NULL, thread_main, start);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        ak_free(start);
        return ak_fail_errno(err, failed, "start thread %s", name);
    }
    thread->t = t;
    thread->started = true;
    return AK_OK;
}

void ak_thread_join(struct ak_thread *thread)
{
    if (thread->started) {
        int failed = pthread_join(thread->t, NULL);
        AK_ASSERT(!failed);
        thread->started = false;
    }
}

void ak_thread_be_nice(void)
{
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), BACKGROUND_NICE);
}
