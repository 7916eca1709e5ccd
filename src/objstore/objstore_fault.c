/* objstore_fault.c — a store that fails on purpose, over another one.
 *
 * One rule at a time. A call counts against it when its operation and key match: get, get_range,
 * get_file and link_file are GETs, put, put_file and each of create, write and commit are PUTs. The
 * call that is chosen waits for the latency, moves its body at bytes_per_s, and then
 *
 *   500, 503, 403   nothing has happened
 *   timeout         nothing has happened
 *   reset           the first half of the body has moved, which leaves nothing in the store;
 *                   a file that was to be filled is not there
 *   lost answer     it has happened; of a get the caller's buffer is unchanged all the same
 *
 * Latency and speed apply to every matching call, also with fault NONE and before the nth: they
 * describe the line, the fault what happens on it. Waiting is real: the line has no clock.
 */
#include "base/mem.h"
#include "base/sync.h"
#include "objstore/objstore_priv.h"
#include <errno.h>
#include <stdatomic.h>
#include <time.h>

#define OPS 5

struct fault_store {
    struct ak_objstore base;
    struct ak_objstore *under;
    struct ak_mutex mutex; /* over what follows */
    struct ak_objstore_fault_rule rule;
    int64_t left; /* matching calls that still go through; below 0: past the chosen one */
    uint64_t fired;
    uint64_t calls[OPS]; /* by the bit of the operation */
};

static struct fault_store *fault_of(struct ak_objstore *store)
{
    return (struct fault_store *)store;
}

/* What is to happen to one call. */
struct fate {
    enum ak_objstore_fault fault;
    uint32_t latency_us;
    uint64_t bytes_per_s;
};

static void wait_us(uint64_t us)
{
    struct timespec left = {.tv_sec = (time_t)(us / 1000000),
                            .tv_nsec = (long)(us % 1000000) * 1000};
    while (us > 0 && nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

static struct fate decide(struct fault_store *store, enum ak_objstore_op op, struct ak_str key)
{
    struct fate fate = {.fault = AK_OBJSTORE_FAULT_NONE};
    ak_mutex_lock(&store->mutex);
    const struct ak_objstore_fault_rule *rule = &store->rule;
    store->calls[__builtin_ctz((unsigned)op)]++;
    bool matches = (rule->ops == 0 || (rule->ops & (unsigned)op)) &&
                   (!rule->key_prefix || ak_str_has_prefix(key, ak_str_of(rule->key_prefix)));
    if (matches) {
        fate.latency_us = rule->latency_us;
        fate.bytes_per_s = rule->bytes_per_s;
        bool is_chosen = rule->nth < 0 || store->left == 0 || (store->left < 0 && rule->sticky);
        store->left -= store->left >= 0;
        if (is_chosen && rule->fault != AK_OBJSTORE_FAULT_NONE) {
            fate.fault = rule->fault;
            store->fired++;
        }
    }
    ak_mutex_unlock(&store->mutex);
    wait_us(fate.latency_us);
    return fate;
}

static void move(const struct fate *fate, uint64_t bytes)
{
    if (fate->bytes_per_s > 0) {
        wait_us(bytes / fate->bytes_per_s * 1000000 +
                bytes % fate->bytes_per_s * 1000000 / fate->bytes_per_s);
    }
}

/* AK_OK: go on. RESET and LOST_ANSWER are the caller's, at their time. */
static enum ak_rc refuse(const struct fate *fate, struct ak_err *err)
{
    switch (fate->fault) {
    case AK_OBJSTORE_FAULT_ERROR_500:
        return ak_fail(err, AK_UNAVAILABLE, "500 InternalError (made to fail)");
    case AK_OBJSTORE_FAULT_SLOW_503:
        return ak_fail(err, AK_UNAVAILABLE, "503 SlowDown: reduce the request rate (made to fail)");
    case AK_OBJSTORE_FAULT_DENIED_403:
        return ak_fail(err, AK_FORBIDDEN,
                       "403 AccessDenied: check the access key and its policy (made to fail)");
    case AK_OBJSTORE_FAULT_TIMEOUT:
        return ak_fail(err, AK_TIMEOUT, "no answer in time (made to fail)");
    case AK_OBJSTORE_FAULT_NONE:
    case AK_OBJSTORE_FAULT_RESET:
    case AK_OBJSTORE_FAULT_LOST_ANSWER:
        break;
    }
    return AK_OK;
}

static bool is_reset(const struct fate *fate)
{
    return fate->fault == AK_OBJSTORE_FAULT_RESET;
}

static enum ak_rc reset(struct ak_err *err)
{
    return ak_fail(err, AK_UNAVAILABLE, "connection reset in the middle (made to fail)");
}

/* After the operation: its own result, unless the answer is to be lost. */
static enum ak_rc answer(const struct fate *fate, enum ak_rc rc, struct ak_err *err)
{
    if (rc == AK_OK && fate->fault == AK_OBJSTORE_FAULT_LOST_ANSWER) {
        return ak_fail(err, AK_UNAVAILABLE, "the answer was lost (made to fail)");
    }
    return rc;
}

/* --- Whole objects --- */

static enum ak_rc fault_get(struct ak_objstore *base, struct ak_str key, struct ak_buf *out,
                            struct ak_err *err)
{
    struct fault_store *store = fault_of(base);
    struct fate fate = decide(store, AK_OBJSTORE_OP_GET, key);
    enum ak_rc rc = refuse(&fate, err);
    size_t before = out->len;
    if (rc == AK_OK) {
        rc = store->under->ops->get(store->under, key, out, err);
    }
    if (rc == AK_OK) {
        uint64_t bytes = out->len - before;
        move(&fate, is_reset(&fate) ? bytes / 2 : bytes);
        rc = is_reset(&fate) ? reset(err) : answer(&fate, rc, err);
    }
    return rc;
}

static enum ak_rc fault_put(struct ak_objstore *base, struct ak_str key, struct ak_str bytes,
                            const struct ak_objstore_put_options *options, struct ak_err *err)
{
    struct fault_store *store = fault_of(base);
    struct fate fate = decide(store, AK_OBJSTORE_OP_PUT, key);
    enum ak_rc rc = refuse(&fate, err);
    if (rc != AK_OK) {
        return rc;
    }
    move(&fate, is_reset(&fate) ? bytes.len / 2 : bytes.len);
    if (is_reset(&fate)) {
        return reset(err);
    }
    rc = store->under->ops->put(store->under, key, bytes, options, err);
    return answer(&fate, rc, err);
}

static enum ak_rc fault_head(struct ak_objstore *base, struct ak_str key, struct ak_arena *arena,
                             struct ak_object *object, struct ak_err *err)
{
    struct fault_store *store = fault_of(base);
    struct fate fate = decide(store, AK_OBJSTORE_OP_HEAD, key);
    enum ak_rc rc = is_reset(&fate) ? reset(err) : refuse(&fate, err);
    if (rc == AK_OK) {
        rc = answer(&fate, store->under->ops->head(store->under, key, arena, object, err), err);
    }
    return rc;
}

static enum ak_rc fault_remove(struct ak_objstore *base, struct ak_str key, struct ak_err *err)
{
    struct fault_store *store = fault_of(base);
    struct fate fate = decide(store, AK_OBJSTORE_OP_REMOVE, key);
    enum ak_rc rc = is_reset(&fate) ? reset(err) : refuse(&fate, err);
    if (rc == AK_OK) {
        rc = answer(&fate, store->under->ops->remove(store->under, key, err), err);
    }
    return rc;
}

static enum ak_rc fault_remove_parts(struct ak_objstore *base, struct ak_str key,
                                     struct ak_err *err)
{
    struct fault_store *store = fault_of(base);
    struct fate fate = decide(store, AK_OBJSTORE_OP_REMOVE, key);
    enum ak_rc rc = is_reset(&fate) ? reset(err) : refuse(&fate, err);
    if (rc == AK_OK && store->under->ops->remove_parts) {
        rc = store->under->ops->remove_parts(store->under, key, err);
    }
    return rc == AK_OK ? answer(&fate, rc, err) : rc;
}

static enum ak_rc fault_list(struct ak_objstore *base, struct ak_str prefix, struct ak_str after,
                             size_t limit, struct ak_arena *arena, struct ak_object **objects,
                             size_t *count, struct ak_err *err)
{
    struct fault_store *store = fault_of(base);
    struct fate fate = decide(store, AK_OBJSTORE_OP_LIST, prefix);
    enum ak_rc rc = is_reset(&fate) ? reset(err) : refuse(&fate, err);
    if (rc == AK_OK) {
        rc =
            store->under->ops->list(store->under, prefix, after, limit, arena, objects, count, err);
        rc = answer(&fate, rc, err);
    }
    return rc;
}

/* --- Parts and files --- */

static enum ak_rc fault_get_range(struct ak_objstore *base, struct ak_str key, uint64_t from,
                                  void *p, size_t len, struct ak_err *err)
{
    struct fault_store *store = fault_of(base);
    struct fate fate = decide(store, AK_OBJSTORE_OP_GET, key);
    enum ak_rc rc = refuse(&fate, err);
    if (rc == AK_OK) {
        size_t moved = is_reset(&fate) ? len / 2 : len;
        move(&fate, moved);
        if (moved > 0) {
            rc = store->under->ops->get_range(store->under, key, from, p, moved, err);
        }
    }
    if (rc == AK_OK) {
        rc = is_reset(&fate) ? reset(err) : answer(&fate, rc, err);
    }
    return rc;
}

/* A transfer of a file that goes at the line's speed, and stops half way when it is to be reset. */
struct transfer {
    const struct fate *fate;
    ak_objstore_progress progress;
    void *ctx;
    uint64_t done;
    bool is_cut;
};

static bool on_progress(void *ctx, uint64_t done, uint64_t total)
{
    struct transfer *transfer = ctx;
    move(transfer->fate, done - transfer->done);
    transfer->done = done;
    transfer->is_cut = transfer->is_cut || (is_reset(transfer->fate) && done >= total / 2);
    if (transfer->is_cut) {
        return false;
    }
    return !transfer->progress || transfer->progress(transfer->ctx, done, total);
}

static enum ak_rc fault_get_file(struct ak_objstore *base, struct ak_str key, struct ak_fs *fs,
                                 const char *path, ak_objstore_progress progress, void *ctx,
                                 struct ak_err *err)
{
    struct fault_store *store = fault_of(base);
    struct fate fate = decide(store, AK_OBJSTORE_OP_GET, key);
    struct transfer transfer = {.fate = &fate, .progress = progress, .ctx = ctx};
    enum ak_rc rc = refuse(&fate, err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = store->under->ops->get_file(store->under, key, fs, path, on_progress, &transfer, err);
    if (transfer.is_cut) {
        return reset(err);
    }
    if (rc == AK_OK && fate.fault == AK_OBJSTORE_FAULT_LOST_ANSWER) {
        struct ak_err ignored; /* nothing is left of the file after a failure */
        (void)!ak_fs_remove(fs, path, &ignored);
    }
    return answer(&fate, rc, err);
}

static enum ak_rc fault_put_file(struct ak_objstore *base, struct ak_str key, struct ak_fs *fs,
                                 const char *path, ak_objstore_progress progress, void *ctx,
                                 struct ak_err *err)
{
    struct fault_store *store = fault_of(base);
    struct fate fate = decide(store, AK_OBJSTORE_OP_PUT, key);
    struct transfer transfer = {.fate = &fate, .progress = progress, .ctx = ctx};
    enum ak_rc rc = is_reset(&fate) ? reset(err) : refuse(&fate, err);
    if (rc == AK_OK) {
        rc = store->under->ops->put_file(store->under, key, fs, path, on_progress, &transfer, err);
        rc = answer(&fate, rc, err);
    }
    return rc;
}

/* --- Writers --- */

struct fault_writer {
    struct ak_objstore_writer base;
    struct ak_objstore_writer *under;
};

static struct fault_writer *writer_of(struct ak_objstore_writer *writer)
{
    return (struct fault_writer *)writer;
}

static enum ak_rc fault_writer_write(struct ak_objstore_writer *base, const void *p, size_t len,
                                     struct ak_err *err)
{
    struct ak_objstore_writer *under = writer_of(base)->under;
    struct fate fate = decide(fault_of(base->store), AK_OBJSTORE_OP_PUT, base->key);
    enum ak_rc rc = refuse(&fate, err);
    size_t moved = is_reset(&fate) ? len / 2 : len;
    if (rc == AK_OK && moved > 0) {
        move(&fate, moved);
        rc = under->ops->write(under, p, moved, err);
        under->bytes += rc == AK_OK ? moved : 0;
    }
    if (rc == AK_OK) {
        rc = is_reset(&fate) ? reset(err) : answer(&fate, rc, err);
    }
    return rc;
}

static void fault_writer_abort(struct ak_objstore_writer *base)
{
    ak_objstore_writer_abort(writer_of(base)->under);
    ak_free(base);
}

static enum ak_rc fault_writer_commit(struct ak_objstore_writer *base, struct ak_err *err)
{
    struct ak_objstore_writer *under = writer_of(base)->under;
    struct fate fate = decide(fault_of(base->store), AK_OBJSTORE_OP_PUT, base->key);
    enum ak_rc rc = is_reset(&fate) ? reset(err) : refuse(&fate, err);
    if (rc == AK_OK) {
        rc = answer(&fate, ak_objstore_writer_commit(under, err), err);
    } else {
        ak_objstore_writer_abort(under);
    }
    ak_free(base);
    return rc;
}

static enum ak_rc fault_create(struct ak_objstore *base, struct ak_str key,
                               const struct ak_objstore_put_options *options,
                               struct ak_objstore_writer **out, struct ak_err *err)
{
    static const struct ak_objstore_writer_ops ops = {
        .write = fault_writer_write,
        .commit = fault_writer_commit,
        .abort = fault_writer_abort,
    };
    struct fault_store *store = fault_of(base);
    struct ak_objstore_writer *under = NULL;
    struct fate fate = decide(store, AK_OBJSTORE_OP_PUT, key);
    enum ak_rc rc = is_reset(&fate) ? reset(err) : refuse(&fate, err);
    if (rc == AK_OK) {
        rc = store->under->ops->create(store->under, key, options, &under, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    if (fate.fault == AK_OBJSTORE_FAULT_LOST_ANSWER) {
        ak_objstore_writer_abort(under);
        return answer(&fate, rc, err);
    }
    struct fault_writer *writer = ak_zalloc(sizeof *writer);
    ak_objstore_writer_init(&writer->base, &ops, base, key);
    writer->under = under;
    *out = &writer->base;
    return AK_OK;
}

/* --- Open, close, rules --- */

static void fault_close(struct ak_objstore *base)
{
    struct fault_store *store = fault_of(base);
    ak_mutex_release(&store->mutex);
    ak_free(store);
}

enum ak_rc ak_objstore_open_fault(struct ak_objstore *under, struct ak_objstore **out,
                                  struct ak_err *err)
{
    /* No link_file: through get_file a file comes over the line, as from a store that is away. */
    static const struct ak_objstore_ops ops = {
        .get = fault_get,
        .put = fault_put,
        .head = fault_head,
        .remove = fault_remove,
        .remove_parts = fault_remove_parts,
        .get_range = fault_get_range,
        .list = fault_list,
        .get_file = fault_get_file,
        .put_file = fault_put_file,
        .create = fault_create,
        .close = fault_close,
    };
    (void)err;
    struct fault_store *store = ak_zalloc(sizeof *store);
    store->under = under;
    ak_mutex_init(&store->mutex, AK_RANK_LEAF, "objstore_fault");
    ak_objstore_init(&store->base, &ops, "%s", under->name);
    *out = &store->base;
    return AK_OK;
}

void ak_objstore_fault_set(struct ak_objstore *fault, const struct ak_objstore_fault_rule *rule)
{
    struct fault_store *store = fault_of(fault);
    ak_mutex_lock(&store->mutex);
    store->rule = *rule;
    store->left = rule->nth;
    store->fired = 0;
    ak_mutex_unlock(&store->mutex);
}

uint64_t ak_objstore_fault_fired(struct ak_objstore *fault)
{
    struct fault_store *store = fault_of(fault);
    ak_mutex_lock(&store->mutex);
    uint64_t fired = store->fired;
    ak_mutex_unlock(&store->mutex);
    return fired;
}

uint64_t ak_objstore_fault_calls(struct ak_objstore *fault, unsigned ops)
{
    struct fault_store *store = fault_of(fault);
    uint64_t calls = 0;
    ak_mutex_lock(&store->mutex);
    for (unsigned i = 0; i < OPS; i++) {
        calls += ops == 0 || (ops >> i & 1u) ? store->calls[i] : 0;
    }
    ak_mutex_unlock(&store->mutex);
    return calls;
}
