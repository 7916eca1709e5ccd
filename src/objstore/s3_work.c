/* s3_work.c — the parts of one body on several threads.
 *
 * The caller takes parts itself, and helpers of the store's pool take some beside it. A helper that
 * the pool starts late, when all parts are taken or the work is over, does nothing: so the caller
 * waits only for helpers that have begun, never for the pool's queue.
 *
 * I1 `refs` counts the caller and the helpers that were submitted; the last one frees.
 * I2 After `over`, no helper touches anything but the work itself.
 */
#include "objstore/s3_priv.h"

#define TELL_EVERY ((uint64_t)1 << 20)
#define WAIT_MS 100

struct s3_work {
    struct s3_store *store;
    s3_part_fn fn;
    void *ctx;
    uint32_t parts;
    uint64_t total;
    ak_objstore_progress progress;
    void *progress_ctx;
    pthread_t caller;
    uint64_t told; /* by the caller only */
    _Atomic uint64_t moved;
    _Atomic uint32_t next;
    _Atomic bool stop; /* relaxed: a hint; the failure itself is under the lock */
    struct ak_mutex mutex;
    struct ak_cond idle;
    unsigned refs;
    unsigned active; /* helpers at work */
    bool over;
    enum ak_rc rc;
    struct ak_err err;
};

static void set_failure(struct s3_work *work, enum ak_rc rc, const struct ak_err *why)
{
    ak_mutex_lock(&work->mutex);
    if (work->rc == AK_OK) {
        work->rc = rc;
        work->err = *why;
    }
    ak_mutex_unlock(&work->mutex);
    atomic_store_explicit(&work->stop, true, memory_order_relaxed);
}

static bool is_stopped(const struct s3_work *work)
{
    return atomic_load_explicit(&work->stop, memory_order_relaxed);
}

static void take_parts(struct s3_work *work)
{
    struct ak_err why = {.rc = AK_OK};
    while (!is_stopped(work)) {
        /* Relaxed: only the number matters. */
        uint32_t part = atomic_fetch_add_explicit(&work->next, 1, memory_order_relaxed);
        if (part >= work->parts) {
            return;
        }
        enum ak_rc rc = work->fn(work, work->ctx, part, &why);
        if (rc != AK_OK) {
            set_failure(work, rc, &why);
        }
    }
}

/* With the lock held; gives it back. */
static void unref(struct s3_work *work)
{
    bool last = --work->refs == 0;
    ak_mutex_unlock(&work->mutex);
    if (last) {
        ak_cond_release(&work->idle);
        ak_mutex_release(&work->mutex);
        ak_free(work);
    }
}

static void help(void *arg)
{
    struct s3_work *work = arg;
    ak_mutex_lock(&work->mutex);
    if (!work->over) {
        work->active++;
        ak_mutex_unlock(&work->mutex);
        take_parts(work);
        ak_mutex_lock(&work->mutex);
        work->active--;
        ak_cond_signal(&work->idle);
    }
    unref(work);
}

static enum ak_rc tell(struct s3_work *work, struct ak_err *err)
{
    uint64_t moved = atomic_load_explicit(&work->moved, memory_order_relaxed);
    work->told = moved;
    return ak_objstore_tell(work->progress, work->progress_ctx, moved, work->total, err);
}

enum ak_rc ak_s3_work_moved(struct s3_work *work, uint64_t bytes, struct ak_err *err)
{
    uint64_t moved = atomic_fetch_add_explicit(&work->moved, bytes, memory_order_relaxed) + bytes;
    if (is_stopped(work)) {
        return ak_fail(err, AK_CONFLICT, "stopped: another part failed");
    }
    if (pthread_equal(pthread_self(), work->caller) && moved - work->told >= TELL_EVERY) {
        return tell(work, err);
    }
    return AK_OK;
}

const _Atomic bool *ak_s3_work_cancel(const struct s3_work *work)
{
    return &work->stop;
}

/* With the lock held: until no helper is at work, telling of the progress meanwhile. */
static void wait_for_helpers(struct s3_work *work)
{
    while (work->active) {
        struct ak_err why;
        if (ak_cond_wait_ms(&work->idle, &work->mutex, WAIT_MS) || is_stopped(work)) {
            continue;
        }
        ak_mutex_unlock(&work->mutex);
        enum ak_rc rc = tell(work, &why);
        if (rc != AK_OK) {
            set_failure(work, rc, &why);
        }
        ak_mutex_lock(&work->mutex);
    }
}

enum ak_rc ak_s3_work_run(struct s3_store *store, uint32_t parts, s3_part_fn fn, void *ctx,
                          uint64_t total, ak_objstore_progress progress, void *progress_ctx,
                          struct ak_err *err)
{
    struct s3_work *work = ak_zalloc(sizeof *work);
    work->store = store;
    work->fn = fn;
    work->ctx = ctx;
    work->parts = parts;
    work->total = total;
    work->progress = progress;
    work->progress_ctx = progress_ctx;
    work->caller = pthread_self();
    work->refs = 1;
    ak_mutex_init(&work->mutex, AK_RANK_LEAF, "s3-work");
    ak_cond_init(&work->idle);
    for (uint32_t i = 1; i < parts && i <= S3_HELPERS; i++) {
        ak_mutex_lock(&work->mutex);
        work->refs++;
        ak_mutex_unlock(&work->mutex);
        if (ak_pool_submit(store->pool, help, work, NULL) != AK_OK) { /* then without it */
            ak_mutex_lock(&work->mutex);
            unref(work);
            break;
        }
    }
    struct ak_err why;
    enum ak_rc rc = tell(work, &why);
    if (rc != AK_OK) {
        set_failure(work, rc, &why);
    }
    take_parts(work);
    ak_mutex_lock(&work->mutex);
    wait_for_helpers(work);
    work->over = true;
    ak_mutex_unlock(&work->mutex);
    if (work->rc == AK_OK && (rc = tell(work, &why)) != AK_OK) {
        set_failure(work, rc, &why);
    }
    rc = work->rc == AK_OK ? AK_OK : ak_fail(err, work->rc, "%s", work->err.text);
    ak_mutex_lock(&work->mutex);
    unref(work);
    return rc;
}
