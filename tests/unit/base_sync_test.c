/* base_sync_test.c — mutex ranks, conditions, threads, the pool, epoch-based reclamation. */
#include "base/epoch.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/rand.h"
#include "base/sync.h"
#include "support/test.h"
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- mutexes --- */

#ifdef AK_FAULTS
/* Runs fn in a child process; true when it died of SIGABRT, with what it said in `said`. */
static bool aborts(void (*fn)(void), char *said, size_t size)
{
    int ends[2];
    if (pipe(ends) != 0) {
        return false;
    }
    (void)fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        const struct rlimit no_core = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(ends[1], STDERR_FILENO);
        fn();
        _exit(0);
    }
    (void)close(ends[1]);
    size_t len = 0;
    ssize_t n;
    while (len < size - 1 && (n = read(ends[0], said + len, size - 1 - len)) > 0) {
        len += (size_t)n;
    }
    said[len] = '\0';
    (void)close(ends[0]);
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status) &&
           WTERMSIG(status) == SIGABRT;
}

static void lock_downwards(void)
{
    struct ak_mutex wal;
    struct ak_mutex index;
    ak_mutex_init(&wal, AK_RANK_WAL, "log");
    ak_mutex_init(&index, AK_RANK_INDEX, "graph");
    ak_mutex_lock(&wal);
    ak_mutex_lock(&index);
}

static void lock_the_same_rank_twice(void)
{
    struct ak_mutex a;
    struct ak_mutex b;
    ak_mutex_init(&a, AK_RANK_WAL, "a");
    ak_mutex_init(&b, AK_RANK_WAL, "b");
    ak_mutex_lock(&a);
    ak_mutex_lock(&b);
}

static void wait_under_a_higher_mutex(void)
{
    struct ak_mutex low;
    struct ak_mutex high;
    struct ak_cond cond;
    ak_mutex_init(&low, AK_RANK_WAL, "low");
    ak_mutex_init(&high, AK_RANK_LEAF, "high");
    ak_cond_init(&cond);
    ak_mutex_lock(&low);
    ak_mutex_lock(&high);
    (void)ak_cond_wait_ms(&cond, &low, 1);
}

static void unlock_what_is_not_held(void)
{
    struct ak_mutex mutex;
    ak_mutex_init(&mutex, AK_RANK_WAL, "loose");
    ak_mutex_unlock(&mutex);
}

TEST(sync, a_wrong_lock_order_aborts_and_names_both)
{
    char said[4096];
    CHECK(aborts(lock_downwards, said, sizeof said));
    CHECK(strstr(said, "'graph' (rank 50) is locked while holding 'log' (rank 60)") != NULL);
    CHECK(aborts(lock_the_same_rank_twice, said, sizeof said));
    CHECK(strstr(said, "'b' (rank 60) is locked while holding 'a' (rank 60)") != NULL);
    CHECK(aborts(wait_under_a_higher_mutex, said, sizeof said));
    CHECK(strstr(said, "'low' (rank 60) is waited with while holding 'high'") != NULL);
    CHECK(aborts(unlock_what_is_not_held, said, sizeof said));
    CHECK(strstr(said, "'loose'") != NULL);
}
#endif

TEST(sync, rising_ranks_and_try_locks_are_fine)
{
    struct ak_mutex low;
    struct ak_mutex high;
    ak_mutex_init(&low, AK_RANK_SERVICE, "low");
    ak_mutex_init(&high, AK_RANK_LEAF, "high");
    for (int i = 0; i < 3; i++) {
        ak_mutex_lock(&low);
        ak_mutex_lock(&high);
        ak_mutex_unlock(&low); /* any order of unlocking */
        ak_mutex_unlock(&high);
        ak_mutex_lock(&high);
        CHECK(ak_mutex_try_lock(&low));
        ak_mutex_unlock(&high);
        ak_mutex_unlock(&low);
    }
    ak_mutex_release(&low);
    ak_mutex_release(&high);
}

struct meeting {
    struct ak_mutex mutex;
    struct ak_cond cond;
    int stage;
    bool try_failed;
    bool signals_blocked;
    char name[32];
};

static void attend(void *arg)
{
    struct meeting *meeting = arg;
    sigset_t mask;
    bool locked = ak_mutex_try_lock(&meeting->mutex); /* the test's thread holds it */
    if (locked) {
        ak_mutex_unlock(&meeting->mutex);
    }
    ak_mutex_lock(&meeting->mutex);
    meeting->try_failed = !locked;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
    meeting->signals_blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGINT) == 1;
    (void)pthread_getname_np(pthread_self(), meeting->name, sizeof meeting->name);
    ak_thread_be_nice();
    meeting->stage = 1;
    ak_cond_broadcast(&meeting->cond);
    while (meeting->stage != 2) {
        ak_cond_wait(&meeting->cond, &meeting->mutex);
    }
    meeting->stage = 3;
    ak_cond_signal(&meeting->cond);
    ak_mutex_unlock(&meeting->mutex);
}

TEST(sync, threads_meet_at_a_condition_and_take_no_signals)
{
    struct ak_err err;
    struct meeting meeting = {.stage = 0};
    struct ak_thread thread = {0};
    sigset_t mask;
    ak_mutex_init(&meeting.mutex, AK_RANK_LEAF, "meeting");
    ak_cond_init(&meeting.cond);
    ak_mutex_lock(&meeting.mutex);
    CHECK(!ak_cond_wait_ms(&meeting.cond, &meeting.mutex, 1));
    CHECK(!ak_cond_wait_ms(&meeting.cond, &meeting.mutex, -5));
    CHECK_OK(ak_thread_start(&thread, "a-name-far-too-long", attend, &meeting, &err));
    while (meeting.stage != 1) {
        (void)ak_cond_wait_ms(&meeting.cond, &meeting.mutex, INT64_MAX);
    }
    meeting.stage = 2;
    ak_cond_signal(&meeting.cond);
    while (meeting.stage != 3) {
        ak_cond_wait(&meeting.cond, &meeting.mutex);
    }
    ak_mutex_unlock(&meeting.mutex);
    ak_thread_join(&thread);
    ak_thread_join(&thread);
    CHECK_STR(meeting.name, "a-name-far-too-");
    CHECK(meeting.signals_blocked);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
    CHECK(!sigismember(&mask, SIGTERM)); /* the starter's own mask is as before */
    ak_cond_release(&meeting.cond);
    ak_mutex_release(&meeting.mutex);
}

/* --- pool --- */

struct gate {
    struct ak_mutex mutex;
    struct ak_cond cond;
    bool open;
    unsigned inside;
    unsigned done;
    unsigned order[200];
};

static void gate_init(struct gate *gate)
{
    *gate = (struct gate){.open = false};
    ak_mutex_init(&gate->mutex, AK_RANK_LEAF, "gate");
    ak_cond_init(&gate->cond);
}

static void gate_release(struct gate *gate)
{
    ak_cond_release(&gate->cond);
    ak_mutex_release(&gate->mutex);
}

static void gate_wait_inside(struct gate *gate, unsigned n)
{
    ak_mutex_lock(&gate->mutex);
    while (gate->inside < n) {
        ak_cond_wait(&gate->cond, &gate->mutex);
    }
    ak_mutex_unlock(&gate->mutex);
}

static void gate_open(struct gate *gate)
{
    ak_mutex_lock(&gate->mutex);
    gate->open = true;
    ak_cond_broadcast(&gate->cond);
    ak_mutex_unlock(&gate->mutex);
}

static void pass_gate(void *arg)
{
    struct gate *gate = arg;
    ak_mutex_lock(&gate->mutex);
    gate->inside++;
    ak_cond_broadcast(&gate->cond);
    while (!gate->open) {
        ak_cond_wait(&gate->cond, &gate->mutex);
    }
    gate->done++;
    ak_mutex_unlock(&gate->mutex);
}

struct numbered {
    struct gate *gate;
    unsigned number;
};

static void note_number(void *arg)
{
    struct numbered *job = arg;
    ak_mutex_lock(&job->gate->mutex);
    job->gate->order[job->gate->done++] = job->number;
    ak_mutex_unlock(&job->gate->mutex);
}

TEST(pool, jobs_run_in_order_across_growth_and_close_finishes_the_queue)
{
    struct ak_err err;
    struct ak_pool *pool = NULL;
    struct ak_pool_options options = {.name = "one", .threads = 1, .queue_max = 199, .nice = true};
    struct numbered jobs[200];
    struct gate gate;
    gate_init(&gate);
    CHECK_OK(ak_pool_open(&options, &pool, &err));
    CHECK_INT(ak_pool_threads(pool), 1);
    gate.open = true;
    for (unsigned i = 0; i < 40; i++) { /* moves the head, so that the ring wraps when it grows */
        CHECK_OK(ak_pool_submit(pool, pass_gate, &gate, &err));
    }
    gate_wait_inside(&gate, 40);
    ak_mutex_lock(&gate.mutex);
    gate.open = false;
    gate.done = 0;
    ak_mutex_unlock(&gate.mutex);
    CHECK_OK(ak_pool_submit(pool, pass_gate, &gate, &err));
    gate_wait_inside(&gate, 41);
    for (unsigned i = 0; i < 199; i++) {
        jobs[i] = (struct numbered){&gate, i};
        CHECK_OK(ak_pool_submit(pool, note_number, &jobs[i], &err));
    }
    CHECK_INT(ak_pool_queued(pool), 199);
    CHECK_RC(AK_UNAVAILABLE, ak_pool_submit(pool, note_number, &jobs[0], &err));
    ak_mutex_lock(&gate.mutex);
    gate.done = UINT32_MAX; /* the job at the gate counts itself: the next number is 0 */
    ak_mutex_unlock(&gate.mutex);
    gate_open(&gate);
    ak_pool_close(pool);
    CHECK_INT(gate.done, 199);
    for (unsigned i = 0; i < 199; i++) {
        CHECK_INT(gate.order[i], i);
    }
    gate_release(&gate);
    ak_pool_close(NULL);
}

struct family {
    struct ak_pool *pool;
    _Atomic unsigned done;
    _Atomic unsigned refused;
};

static void child_job(void *arg)
{
    struct family *family = arg;
    atomic_fetch_add(&family->done, 1);
}

static void parent_job(void *arg)
{
    struct family *family = arg;
    if (ak_pool_submit(family->pool, child_job, family, NULL) != AK_OK) {
        atomic_fetch_add(&family->refused, 1);
    }
    atomic_fetch_add(&family->done, 1);
}

TEST(pool, jobs_may_submit_jobs_and_none_is_lost_or_run_twice)
{
    struct ak_err err;
    struct ak_pool_options options = {.name = "family", .threads = 4};
    struct family family = {.pool = NULL};
    unsigned submitted = 0;
    CHECK_OK(ak_pool_open(&options, &family.pool, &err));
    for (int i = 0; i < 2000; i++) {
        CHECK_OK(ak_pool_submit(family.pool, parent_job, &family, &err));
        submitted++;
    }
    ak_pool_close(family.pool);
    CHECK_INT(atomic_load(&family.done) + atomic_load(&family.refused), 2 * submitted);
    CHECK(atomic_load(&family.done) >= submitted);
}

TEST(pool, without_a_number_it_has_a_thread_per_core)
{
    struct ak_err err;
    struct ak_pool *pool = NULL;
    struct ak_pool_options options = {0};
    CHECK_OK(ak_pool_open(&options, &pool, &err));
    CHECK(ak_pool_threads(pool) >= 1);
    ak_pool_close(pool);
    options.threads = 100000;
    CHECK_RC(AK_INVALID, ak_pool_open(&options, &pool, &err));
}

#ifdef AK_FAULTS
TEST(pool, opens_and_submits_or_says_nomem_when_an_allocation_fails)
{
    for (int64_t nth = 0;; nth++) {
        struct ak_err err;
        struct ak_pool *pool = NULL;
        struct ak_pool_options options = {.name = "fault", .threads = 3};
        struct gate gate;
        unsigned taken = 0;
        gate_init(&gate);
        ak_fault_alloc_at(nth);
        enum ak_rc rc = ak_pool_open(&options, &pool, &err);
        CHECK(rc == AK_OK || rc == AK_NOMEM);
        CHECK((rc == AK_OK) == (pool != NULL));
        for (unsigned i = 0; pool && i < 200; i++) {
            rc = ak_pool_submit(pool, pass_gate, &gate, &err);
            CHECK(rc == AK_OK || rc == AK_NOMEM);
            taken += rc == AK_OK;
        }
        bool fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        gate_open(&gate);
        ak_pool_close(pool);
        CHECK_INT(gate.done, taken);
        CHECK(fired || taken == 200);
        gate_release(&gate);
        if (!fired) {
            break;
        }
    }
}
#endif

/* --- epochs --- */

static void count_free(void *arg)
{
    ++*(unsigned *)arg;
}

TEST(epoch, nothing_is_freed_while_a_reader_from_before_is_inside)
{
    struct ak_epoch *epoch = ak_epoch_open();
    unsigned freed = 0;
    unsigned before = ak_epoch_enter(epoch);
    for (int i = 0; i < 100; i++) {
        ak_epoch_retire(epoch, count_free, &freed);
    }
    CHECK_INT(ak_epoch_collect(epoch), 100);
    unsigned after = ak_epoch_enter(epoch); /* nested */
    ak_epoch_leave(epoch, before);
    CHECK_INT(ak_epoch_collect(epoch), 0); /* the reader from after cannot have seen them */
    CHECK_INT(freed, 100);
    ak_epoch_retire(epoch, count_free, &freed);
    CHECK_INT(ak_epoch_collect(epoch), 1);
    ak_epoch_leave(epoch, after);
    ak_epoch_close(epoch);
    CHECK_INT(freed, 101);
    ak_epoch_close(NULL);
}

TEST(epoch, retiring_alone_keeps_the_list_short)
{
    struct ak_epoch *epoch = ak_epoch_open();
    unsigned freed = 0;
    for (int i = 0; i < 1000; i++) {
        ak_epoch_retire(epoch, count_free, &freed);
    }
    CHECK(freed > 900);
    ak_epoch_close(epoch);
    CHECK_INT(freed, 1000);
}

struct chain {
    struct ak_epoch *epoch;
    unsigned left;
};

static void retire_again(void *arg)
{
    struct chain *chain = arg;
    if (chain->left) {
        chain->left--;
        ak_epoch_retire(chain->epoch, retire_again, chain);
    }
}

TEST(epoch, what_is_freed_may_retire_more)
{
    struct chain chain = {ak_epoch_open(), 100};
    ak_epoch_retire(chain.epoch, retire_again, &chain);
    ak_epoch_close(chain.epoch);
    CHECK_INT(chain.left, 0);
}

struct many {
    struct ak_epoch *epoch;
    _Atomic unsigned entered;
};

static void enter_once(void *arg)
{
    struct many *many = arg;
    unsigned token = ak_epoch_enter(many->epoch);
    atomic_fetch_add(&many->entered, 1);
    ak_epoch_leave(many->epoch, token);
}

TEST(epoch, enter_waits_for_a_slot_when_all_128_are_taken)
{
    struct ak_err err;
    struct many many = {.epoch = ak_epoch_open()};
    struct ak_thread thread = {0};
    unsigned tokens[128];
    for (int i = 0; i < 128; i++) {
        tokens[i] = ak_epoch_enter(many.epoch);
    }
    CHECK_OK(ak_thread_start(&thread, "late", enter_once, &many, &err));
    for (int i = 0; i < 100; i++) {
        (void)sched_yield();
    }
    CHECK_INT(atomic_load(&many.entered), 0);
    ak_epoch_leave(many.epoch, tokens[77]);
    ak_thread_join(&thread);
    CHECK_INT(atomic_load(&many.entered), 1);
    for (int i = 0; i < 128; i++) {
        if (i != 77) {
            ak_epoch_leave(many.epoch, tokens[i]);
        }
    }
    ak_epoch_close(many.epoch);
}

/* Readers follow a shared pointer while a writer replaces what it points at. A node is poisoned
 * when it is freed, so that a reader that holds a freed one knows. */
#define ALIVE 0x600dc0deu

struct node {
    uint32_t mark;
    uint64_t a;
    uint64_t b; /* always ~a */
};

struct shared {
    struct ak_epoch *epoch;
    struct node *_Atomic current; /* release by the writer pairs with acquire by the readers */
    _Atomic bool stop;
    _Atomic uint64_t reads;
    _Atomic uint64_t wrong;
};

static void free_node(void *arg)
{
    struct node *node = arg;
    node->mark = 0;
    node->a = node->b = 7;
    ak_free(node);
}

static void read_on(void *arg)
{
    struct shared *shared = arg;
    while (!atomic_load_explicit(&shared->stop, memory_order_relaxed)) {
        unsigned token = ak_epoch_enter(shared->epoch);
        unsigned nested = ak_epoch_enter(shared->epoch);
        const struct node *node = atomic_load_explicit(&shared->current, memory_order_acquire);
        if (atomic_fetch_add_explicit(&shared->reads, 1, memory_order_relaxed) % 16 == 0) {
            (void)sched_yield(); /* lets the writer retire what this reader holds */
        }
        if (node->mark != ALIVE || node->a != ~node->b) {
            atomic_fetch_add(&shared->wrong, 1);
        }
        ak_epoch_leave(shared->epoch, nested);
        ak_epoch_leave(shared->epoch, token);
    }
}

static struct node *new_node(uint64_t a)
{
    struct node *node = ak_alloc(sizeof *node);
    *node = (struct node){ALIVE, a, ~a};
    return node;
}

static void replace_on(void *arg)
{
    struct shared *shared = arg;
    for (uint64_t i = 0; i < 20000; i++) {
        struct node *old =
            atomic_exchange_explicit(&shared->current, new_node(i), memory_order_acq_rel);
        ak_epoch_retire(shared->epoch, free_node, old);
        if (i % 1000 == 0) {
            (void)ak_epoch_collect(shared->epoch);
            ak_epoch_wait(shared->epoch);
        }
    }
}

TEST(epoch, readers_never_meet_what_was_freed)
{
    struct ak_err err;
    struct shared shared = {.epoch = ak_epoch_open()};
    struct ak_thread readers[3] = {0};
    struct ak_thread writers[2] = {0};
    atomic_store(&shared.current, new_node(0));
    for (int i = 0; i < 3; i++) {
        CHECK_OK(ak_thread_start(&readers[i], "reader", read_on, &shared, &err));
    }
    for (int i = 0; i < 2; i++) {
        CHECK_OK(ak_thread_start(&writers[i], "writer", replace_on, &shared, &err));
    }
    for (int i = 0; i < 2; i++) {
        ak_thread_join(&writers[i]);
    }
    atomic_store(&shared.stop, true);
    for (int i = 0; i < 3; i++) {
        ak_thread_join(&readers[i]);
    }
    CHECK_INT(atomic_load(&shared.wrong), 0);
    CHECK_INT(ak_epoch_collect(shared.epoch), 0);
    ak_free(atomic_load(&shared.current));
    ak_epoch_close(shared.epoch);
}

struct waiter {
    struct ak_epoch *epoch;
    _Atomic bool waiting;
    _Atomic bool done;
};

static void wait_out(void *arg)
{
    struct waiter *waiter = arg;
    atomic_store(&waiter->waiting, true);
    ak_epoch_wait(waiter->epoch);
    atomic_store(&waiter->done, true);
}

TEST(epoch, wait_returns_only_after_the_readers_of_then_have_left)
{
    struct ak_err err;
    struct waiter waiter = {.epoch = ak_epoch_open()};
    struct ak_thread thread = {0};
    unsigned token = ak_epoch_enter(waiter.epoch);
    CHECK_OK(ak_thread_start(&thread, "waiter", wait_out, &waiter, &err));
    while (!atomic_load(&waiter.waiting)) {
        (void)sched_yield();
    }
    for (int i = 0; i < 200; i++) {
        (void)sched_yield();
    }
    CHECK(!atomic_load(&waiter.done));
    ak_epoch_leave(waiter.epoch, token);
    ak_thread_join(&thread);
    CHECK(atomic_load(&waiter.done));
    ak_epoch_close(waiter.epoch);
}

TEST_MAIN()
