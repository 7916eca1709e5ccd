/* objstore_guard.c — a circuit breaker in front of a store that is reached over a network.
 *
 *   a call ──▶ closed? ──▶ the store under it ──▶ what does its end say?
 *                 │ no                              answered: a success, also 404 and 403
 *                 ▼                                 unavailable, timed out: a failure
 *   AK_UNAVAILABLE at once, with                    all else (cancelled, a full disk): nothing
 *   the time until it is asked again
 *
 * The asker is a thread that alone finds out whether the store is back: no caller waits for a store
 * that is away. It sleeps while all is well. After a failed call, or a failed try of one that goes
 * on, it asks at once (ops->ask, a few seconds at most), until the store answers or has failed so
 * often that the breaker opens; then calls under way are not tried again. So a store that is away
 * is known to be within seconds, whatever the retries and time-outs of calls. While the breaker is
 * open it asks whenever the pause is over.
 *
 * A write into a writer may go no further than its buffer, so only its failure counts.
 */
#include "objstore/objstore_guard.h"
#include "base/mem.h"
#include "base/sync.h"
#include "objstore/objstore_priv.h"
#include <stdatomic.h>

#define FAILURES_MAX 3
#define OPEN_MS 1000
#define OPEN_MS_MAX 15000
#define LOOK_MS 50 /* between looks at a clock that may not be the machine's, while it is open */
#define SUSPECT_MS 200 /* between two questions while one call has failed */

struct guard_store {
    struct ak_objstore base;
    struct ak_objstore *under;
    struct ak_breaker breaker;
    const struct ak_clock *clock;
    struct ak_log *log;
    struct ak_series *m_state, *m_refused;
    struct ak_mutex lock; /* over what follows */
    struct ak_cond changed;
    bool is_suspect; /* a call has failed, and none succeeded since */
    bool is_away;    /* as was last logged */
    bool is_closing;
    struct ak_thread asker;
};

static struct guard_store *guard_of(struct ak_objstore *store)
{
    return (struct guard_store *)store;
}

static int64_t now_us(const struct guard_store *guard)
{
    return ak_mono_ns(guard->clock) / 1000;
}

/* --- Before and after a call --- */

static uint32_t away_ms(struct guard_store *guard)
{
    int64_t now = now_us(guard);
    if (ak_breaker_state(&guard->breaker, now) == AK_BREAKER_CLOSED) {
        return 0;
    }
    uint32_t ms = ak_breaker_wait_ms(&guard->breaker, now);
    return ms ? ms : 1;
}

static enum ak_rc refuse(struct guard_store *guard, struct ak_err *err)
{
    uint32_t ms = away_ms(guard);
    ak_series_add(guard->m_refused, 1);
    enum ak_rc rc = ak_fail(err, AK_UNAVAILABLE,
                            "the store is away and was not asked: it is asked again in %u s",
                            (ms + 999) / 1000);
    ak_err_set_retry_after(err, ms ? ms : 1);
    return rc;
}

static enum ak_rc enter(struct guard_store *guard, struct ak_breaker_pass *pass, struct ak_err *err)
{
    int64_t now = now_us(guard);
    bool may =
        ak_breaker_state(&guard->breaker, now) == AK_BREAKER_CLOSED && /* else: the asker's */
        ak_breaker_allow(&guard->breaker, now, pass);
    return may ? AK_OK : refuse(guard, err);
}

/* A try has failed; its call may yet succeed. */
static void on_trouble(void *ctx)
{
    struct guard_store *guard = ctx;
    ak_mutex_lock(&guard->lock);
    guard->is_suspect = true;
    ak_cond_broadcast(&guard->changed);
    ak_mutex_unlock(&guard->lock);
}

/* What was found out goes where it is seen: log, metric, the store itself, the asker. */
static void publish(struct guard_store *guard, bool has_failed, const struct ak_err *err)
{
    enum ak_breaker_state state = ak_breaker_state(&guard->breaker, now_us(guard));
    ak_mutex_lock(&guard->lock);
    bool was_away = guard->is_away;
    guard->is_away = state != AK_BREAKER_CLOSED;
    guard->is_suspect = has_failed;
    bool is_away = guard->is_away;
    if (is_away != was_away && guard->under->ops->set_away) {
        guard->under->ops->set_away(guard->under, is_away);
    }
    ak_series_set(guard->m_state, (double)state);
    ak_cond_broadcast(&guard->changed);
    ak_mutex_unlock(&guard->lock);
    if (is_away && !was_away) {
        ak_log_warn(guard->log, "objstore",
                    "%s is away: calls fail at once until it answers again (%s)", guard->base.name,
                    err ? err->text : "");
    } else if (!is_away && was_away) {
        ak_log_info(guard->log, "objstore", "%s answers again", guard->base.name);
    }
}

static bool is_failure(enum ak_rc rc)
{
    return rc == AK_UNAVAILABLE || rc == AK_TIMEOUT;
}

/* It has said something, be it no. */
static bool is_answer(enum ak_rc rc)
{
    return rc == AK_OK || rc == AK_NOT_FOUND || rc == AK_EXISTS || rc == AK_FORBIDDEN ||
           rc == AK_UNAUTHENTICATED;
}

/* Relaxed would do: a look that comes too early or too late is made good by the next call. */
static bool has_news(struct guard_store *guard, bool has_failed)
{
    ak_mutex_lock(&guard->lock);
    bool news = has_failed || guard->is_suspect || guard->is_away;
    ak_mutex_unlock(&guard->lock);
    return news;
}

static enum ak_rc leave(struct guard_store *guard, struct ak_breaker_pass pass, enum ak_rc rc,
                        const struct ak_err *err)
{
    bool has_failed = is_failure(rc);
    if (has_failed) {
        ak_breaker_failure(&guard->breaker, pass, now_us(guard));
    } else if (is_answer(rc)) {
        ak_breaker_success(&guard->breaker, pass, now_us(guard));
    } else {
        ak_breaker_drop(&guard->breaker, pass);
        return rc;
    }
    if (has_news(guard, has_failed)) {
        publish(guard, has_failed, err);
    }
    return rc;
}

/* --- The asker --- */

static enum ak_rc ask_under(struct guard_store *guard, struct ak_err *err)
{
    struct ak_objstore *under = guard->under;
    struct ak_arena arena;
    struct ak_object *objects = NULL;
    size_t count = 0;
    if (under->ops->ask) {
        return under->ops->ask(under, err);
    }
    ak_arena_init(&arena, 0);
    enum ak_rc rc =
        under->ops->list(under, AK_STR_NONE, AK_STR_NONE, 1, &arena, &objects, &count, err);
    ak_arena_release(&arena);
    return rc;
}

enum ak_rc ak_objstore_guard_ask(struct ak_objstore *store, struct ak_err *err)
{
    struct guard_store *guard = guard_of(store);
    struct ak_breaker_pass pass;
    struct ak_err why = {.rc = AK_OK};
    if (!ak_breaker_allow(&guard->breaker, now_us(guard), &pass)) {
        return refuse(guard, err);
    }
    ak_series_set(guard->m_state, (double)ak_breaker_state(&guard->breaker, now_us(guard)));
    enum ak_rc rc = ask_under(guard, &why);
    if (is_failure(rc)) {
        ak_breaker_failure(&guard->breaker, pass, now_us(guard));
    } else if (rc == AK_NOMEM) {
        ak_breaker_drop(&guard->breaker, pass);
    } else { /* whatever it says, it is there */
        ak_breaker_success(&guard->breaker, pass, now_us(guard));
    }
    publish(guard, is_failure(rc), &why);
    return rc == AK_OK ? rc : ak_fail(err, rc, "%s: %s", guard->base.name, why.text);
}

static void watch(void *arg)
{
    struct guard_store *guard = arg;
    struct ak_err err;
    ak_mutex_lock(&guard->lock);
    while (!guard->is_closing) {
        if (!guard->is_suspect && !guard->is_away) {
            ak_cond_wait(&guard->changed, &guard->lock);
            continue;
        }
        bool was_away = guard->is_away;
        ak_mutex_unlock(&guard->lock);
        bool asks = !was_away || ak_breaker_wait_ms(&guard->breaker, now_us(guard)) == 0;
        bool failed = asks && ak_objstore_guard_ask(&guard->base, &err) != AK_OK;
        ak_mutex_lock(&guard->lock);
        if (!guard->is_closing && (failed || !asks)) {
            (void)ak_cond_wait_ms(&guard->changed, &guard->lock, asks ? SUSPECT_MS : LOOK_MS);
        }
    }
    ak_mutex_unlock(&guard->lock);
}

/* --- Operations --- */

/* The body of an operation: let in, done by the store under this one, and judged by its end. */
#define THROUGH(guard, call)                                                                       \
    struct ak_breaker_pass pass;                                                                   \
    enum ak_rc rc = enter(guard, &pass, err);                                                      \
    return rc == AK_OK ? leave(guard, pass, (call), err) : rc

static enum ak_rc guard_get(struct ak_objstore *base, struct ak_str key, struct ak_buf *out,
                            struct ak_err *err)
{
    struct guard_store *guard = guard_of(base);
    THROUGH(guard, guard->under->ops->get(guard->under, key, out, err));
}

static enum ak_rc guard_put(struct ak_objstore *base, struct ak_str key, struct ak_str bytes,
                            const struct ak_objstore_put_options *options, struct ak_err *err)
{
    struct guard_store *guard = guard_of(base);
    THROUGH(guard, guard->under->ops->put(guard->under, key, bytes, options, err));
}

static enum ak_rc guard_head(struct ak_objstore *base, struct ak_str key, struct ak_arena *arena,
                             struct ak_object *object, struct ak_err *err)
{
    struct guard_store *guard = guard_of(base);
    THROUGH(guard, guard->under->ops->head(guard->under, key, arena, object, err));
}

static enum ak_rc guard_remove(struct ak_objstore *base, struct ak_str key, struct ak_err *err)
{
    struct guard_store *guard = guard_of(base);
    THROUGH(guard, guard->under->ops->remove(guard->under, key, err));
}

static enum ak_rc guard_remove_parts(struct ak_objstore *base, struct ak_str key,
                                     struct ak_err *err)
{
    struct guard_store *guard = guard_of(base);
    if (!guard->under->ops->remove_parts) {
        return AK_OK;
    }
    THROUGH(guard, guard->under->ops->remove_parts(guard->under, key, err));
}

static enum ak_rc guard_get_range(struct ak_objstore *base, struct ak_str key, uint64_t from,
                                  void *p, size_t len, struct ak_err *err)
{
    struct guard_store *guard = guard_of(base);
    THROUGH(guard, guard->under->ops->get_range(guard->under, key, from, p, len, err));
}

static enum ak_rc guard_list(struct ak_objstore *base, struct ak_str prefix, struct ak_str after,
                             size_t limit, struct ak_arena *arena, struct ak_object **objects,
                             size_t *count, struct ak_err *err)
{
    struct guard_store *guard = guard_of(base);
    THROUGH(guard, guard->under->ops->list(guard->under, prefix, after, limit, arena, objects,
                                           count, err));
}

static enum ak_rc guard_get_file(struct ak_objstore *base, struct ak_str key, struct ak_fs *fs,
                                 const char *path, ak_objstore_progress progress, void *ctx,
                                 struct ak_err *err)
{
    struct guard_store *guard = guard_of(base);
    THROUGH(guard, guard->under->ops->get_file(guard->under, key, fs, path, progress, ctx, err));
}

static enum ak_rc guard_put_file(struct ak_objstore *base, struct ak_str key, struct ak_fs *fs,
                                 const char *path, ak_objstore_progress progress, void *ctx,
                                 struct ak_err *err)
{
    struct guard_store *guard = guard_of(base);
    struct ak_breaker_pass pass;
    enum ak_rc rc = enter(guard, &pass, err);
    if (rc == AK_OK) {
        rc = guard->under->ops->put_file(guard->under, key, fs, path, progress, ctx, err);
        if (rc == AK_NOT_FOUND) { /* the file: nobody was asked */
            ak_breaker_drop(&guard->breaker, pass);
            return rc;
        }
        rc = leave(guard, pass, rc, err);
    }
    return rc;
}

/* --- Writers --- */

struct guard_writer {
    struct ak_objstore_writer base;
    struct ak_objstore_writer *under;
};

static struct guard_writer *writer_of(struct ak_objstore_writer *writer)
{
    return (struct guard_writer *)writer;
}

/* AK_OK may mean that nothing was sent. */
static enum ak_rc leave_maybe(struct guard_store *guard, struct ak_breaker_pass pass, enum ak_rc rc,
                              const struct ak_err *err)
{
    if (rc == AK_OK) {
        ak_breaker_drop(&guard->breaker, pass);
        return rc;
    }
    return leave(guard, pass, rc, err);
}

static enum ak_rc guard_writer_write(struct ak_objstore_writer *base, const void *p, size_t len,
                                     struct ak_err *err)
{
    struct guard_store *guard = guard_of(base->store);
    struct ak_objstore_writer *under = writer_of(base)->under;
    struct ak_breaker_pass pass;
    enum ak_rc rc = enter(guard, &pass, err);
    if (rc == AK_OK) {
        rc = under->ops->write(under, p, len, err);
        under->bytes += rc == AK_OK ? len : 0;
        rc = leave_maybe(guard, pass, rc, err);
    }
    return rc;
}

static void guard_writer_abort(struct ak_objstore_writer *base)
{
    ak_objstore_writer_abort(writer_of(base)->under);
    ak_free(base);
}

static enum ak_rc guard_writer_commit(struct ak_objstore_writer *base, struct ak_err *err)
{
    struct guard_store *guard = guard_of(base->store);
    struct ak_objstore_writer *under = writer_of(base)->under;
    struct ak_breaker_pass pass;
    enum ak_rc rc = enter(guard, &pass, err);
    if (rc == AK_OK) {
        rc = leave(guard, pass, ak_objstore_writer_commit(under, err), err);
    } else {
        ak_objstore_writer_abort(under);
    }
    ak_free(base);
    return rc;
}

static enum ak_rc guard_create(struct ak_objstore *base, struct ak_str key,
                               const struct ak_objstore_put_options *options,
                               struct ak_objstore_writer **out, struct ak_err *err)
{
    static const struct ak_objstore_writer_ops ops = {
        .write = guard_writer_write,
        .commit = guard_writer_commit,
        .abort = guard_writer_abort,
    };
    struct guard_store *guard = guard_of(base);
    struct ak_objstore_writer *under = NULL;
    struct ak_breaker_pass pass;
    enum ak_rc rc = enter(guard, &pass, err);
    if (rc == AK_OK) {
        rc = guard->under->ops->create(guard->under, key, options, &under, err);
        rc = leave_maybe(guard, pass, rc, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    struct guard_writer *writer = ak_zalloc(sizeof *writer);
    ak_objstore_writer_init(&writer->base, &ops, base, key);
    writer->under = under;
    *out = &writer->base;
    return AK_OK;
}

/* --- Open, close --- */

static uint32_t guard_away_ms(struct ak_objstore *base)
{
    return away_ms(guard_of(base));
}

static enum ak_rc guard_locate(struct ak_objstore *base, struct ak_str key, struct ak_buf *out,
                               bool *is_file, struct ak_err *err)
{
    return ak_objstore_locate(guard_of(base)->under, key, out, is_file, err);
}

static void guard_close(struct ak_objstore *base)
{
    struct guard_store *guard = guard_of(base);
    ak_mutex_lock(&guard->lock);
    guard->is_closing = true;
    ak_cond_broadcast(&guard->changed);
    ak_mutex_unlock(&guard->lock);
    ak_thread_join(&guard->asker);
    ak_objstore_close(guard->under);
    ak_breaker_release(&guard->breaker);
    ak_cond_release(&guard->changed);
    ak_mutex_release(&guard->lock);
    ak_free(guard);
}

static struct ak_breaker_options defaults(const struct ak_breaker_options *options)
{
    struct ak_breaker_options o = *options;
    o.failures_max = o.failures_max ? o.failures_max : FAILURES_MAX;
    o.open_ms = o.open_ms ? o.open_ms : OPEN_MS;
    o.open_ms_max = o.open_ms_max ? o.open_ms_max : OPEN_MS_MAX;
    return o;
}

enum ak_rc ak_objstore_open_guard(struct ak_objstore *under,
                                  const struct ak_objstore_guard_options *options,
                                  struct ak_objstore **out, struct ak_err *err)
{
    static const struct ak_objstore_ops ops = {
        .get = guard_get,
        .put = guard_put,
        .head = guard_head,
        .remove = guard_remove,
        .remove_parts = guard_remove_parts,
        .get_range = guard_get_range,
        .list = guard_list,
        .get_file = guard_get_file,
        .put_file = guard_put_file,
        .create = guard_create,
        .locate = guard_locate,
        .away_ms = guard_away_ms,
        .close = guard_close,
    };
    const struct ak_breaker_options breaker = defaults(&options->breaker);
    const struct ak_str service = ak_str_of(options->service);
    struct guard_store *guard = ak_zalloc(sizeof *guard);
    guard->under = under;
    guard->clock = options->clock ? options->clock : ak_clock_system();
    guard->log = options->log;
    guard->m_state = ak_metrics_series(options->metrics, AK_METRIC_BREAKER_STATE, &service, 1);
    guard->m_refused = ak_metrics_series(options->metrics, AK_METRIC_BREAKER_REFUSED, &service, 1);
    ak_breaker_init(&guard->breaker, &breaker);
    ak_mutex_init(&guard->lock, AK_RANK_POOL, "objstore guard");
    ak_cond_init(&guard->changed);
    ak_objstore_init(&guard->base, &ops, "%s", under->name);
    if (under->ops->on_trouble && !options->asks_by_hand) {
        under->ops->on_trouble(under, on_trouble, guard);
    }
    enum ak_rc rc = options->asks_by_hand
                        ? AK_OK
                        : ak_thread_start(&guard->asker, "ak-guard", watch, guard, err);
    if (rc != AK_OK) {
        ak_objstore_close(&guard->base);
        return rc;
    }
    *out = &guard->base;
    return AK_OK;
}
