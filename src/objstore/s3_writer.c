/* s3_writer.c — an object of unknown length: parts of 8 MiB, sent while the next one fills.
 *
 * Three buffers: one fills, two are under way. An object that fits in one is one plain put at
 * commit; the second buffer begins an upload in parts.
 *
 *   slot:  FREE ── write ──▶ FILLING ── full ──▶ SENDING ── sent or failed ──▶ FREE
 *
 * I1 At most one slot is FILLING, and it is slots[filling]; only the writer's thread touches it.
 * I2 A slot that is SENDING belongs to the job that sends it until the job sets it FREE, under the
 *    lock; `sending` counts them.
 */
#include "objstore/s3_priv.h"

#define SLOTS 3

enum slot_state { FREE, FILLING, SENDING };

struct s3_writer;
struct slot {
    struct s3_writer *writer;
    enum slot_state state;
    char *p;
    size_t len;
    uint32_t part;
};

struct s3_writer {
    struct ak_objstore_writer base;
    struct s3_store *store;
    struct ak_objstore_put_options options;
    char *content_type;
    struct s3_multipart multipart;
    bool started;
    size_t part_bytes;
    uint32_t parts; /* handed to jobs */
    int64_t start_ns;
    struct slot slots[SLOTS];
    struct slot *filling; /* NULL: none yet */
    struct ak_mutex mutex;
    struct ak_cond freed;
    unsigned sending;
    _Atomic bool stop; /* relaxed: a hint for jobs under way */
    enum ak_rc rc;     /* of the first part that failed */
    struct ak_err err;
};

static void send(void *arg)
{
    struct slot *slot = arg;
    struct s3_writer *w = slot->writer;
    struct ak_err why = {.rc = AK_OK};
    const struct s3_source source = {.p = slot->p, .size = slot->len};
    enum ak_rc rc = atomic_load_explicit(&w->stop, memory_order_relaxed)
                        ? AK_CONFLICT
                        : ak_s3_multipart_part(&w->multipart, slot->part, &source, 0, slot->len,
                                               NULL, &w->stop, &why);
    ak_mutex_lock(&w->mutex);
    if (rc != AK_OK && w->rc == AK_OK) {
        w->rc = rc;
        w->err = why;
    }
    slot->state = FREE;
    slot->len = 0;
    w->sending--;
    ak_cond_signal(&w->freed);
    ak_mutex_unlock(&w->mutex);
}

/* The first failure of a part, or AK_OK. */
static enum ak_rc failure_of(struct s3_writer *w, struct ak_err *err)
{
    ak_mutex_lock(&w->mutex);
    enum ak_rc rc = w->rc == AK_OK ? AK_OK : ak_fail(err, w->rc, "%s", w->err.text);
    ak_mutex_unlock(&w->mutex);
    return rc;
}

static void wait_for_jobs(struct s3_writer *w)
{
    ak_mutex_lock(&w->mutex);
    while (w->sending) {
        ak_cond_wait(&w->freed, &w->mutex);
    }
    ak_mutex_unlock(&w->mutex);
}

static enum ak_rc dispatch(struct s3_writer *w, struct ak_err *err)
{
    struct slot *slot = w->filling;
    if (!w->started) {
        enum ak_rc rc = ak_s3_multipart_start(&w->multipart, w->store, w->base.key, &w->options,
                                              S3_PARTS_MAX, err);
        if (rc != AK_OK) {
            return rc;
        }
        w->started = true;
    }
    if (w->parts == S3_PARTS_MAX) {
        return ak_fail(err, AK_TOO_BIG,
                       "more than %u parts of %zu bytes: write it to a file first, and upload that",
                       S3_PARTS_MAX, w->part_bytes);
    }
    slot->part = w->parts++;
    w->filling = NULL;
    ak_mutex_lock(&w->mutex);
    slot->state = SENDING;
    w->sending++;
    ak_mutex_unlock(&w->mutex);
    if (ak_pool_submit(w->store->pool, send, slot, NULL) != AK_OK) { /* busy: here, then */
        send(slot);
    }
    return AK_OK;
}

static struct slot *free_slot(struct s3_writer *w)
{
    for (size_t i = 0; i < SLOTS; i++) {
        if (w->slots[i].state == FREE) {
            return &w->slots[i];
        }
    }
    return NULL;
}

/* A slot to fill; waits until one is free. */
static enum ak_rc take_slot(struct s3_writer *w, struct ak_err *err)
{
    ak_mutex_lock(&w->mutex);
    struct slot *slot = free_slot(w);
    for (; !slot; slot = free_slot(w)) {
        ak_cond_wait(&w->freed, &w->mutex);
    }
    if (!slot->p) { /* 8 MiB, under a lock that only our own jobs take */
        slot->p = ak_try_alloc(w->part_bytes);
    }
    if (slot->p) {
        slot->state = FILLING;
        w->filling = slot;
    }
    ak_mutex_unlock(&w->mutex);
    return w->filling ? AK_OK
                      : ak_fail(err, AK_NOMEM, "no memory for a part of %zu bytes", w->part_bytes);
}

static enum ak_rc writer_write(struct ak_objstore_writer *base, const void *p, size_t len,
                               struct ak_err *err)
{
    struct s3_writer *w = (struct s3_writer *)base;
    const char *from = p;
    enum ak_rc rc = failure_of(w, err);
    while (rc == AK_OK && len) {
        if (w->filling && w->filling->len == w->part_bytes) {
            rc = dispatch(w, err); /* only now is it known that more follows */
            continue;
        }
        if (!w->filling) {
            rc = take_slot(w, err);
            continue;
        }
        struct slot *slot = w->filling;
        size_t room = w->part_bytes - slot->len;
        size_t piece = len < room ? len : room;
        memcpy(slot->p + slot->len, from, piece);
        slot->len += piece;
        from += piece;
        len -= piece;
    }
    return rc;
}

static void writer_free(struct s3_writer *w)
{
    wait_for_jobs(w);
    if (w->started) {
        ak_s3_multipart_release(&w->multipart);
    }
    for (size_t i = 0; i < SLOTS; i++) {
        ak_free(w->slots[i].p);
    }
    ak_cond_release(&w->freed);
    ak_mutex_release(&w->mutex);
    ak_free(w->content_type);
    ak_free(w);
}

static void writer_abort(struct ak_objstore_writer *base)
{
    struct s3_writer *w = (struct s3_writer *)base;
    atomic_store_explicit(&w->stop, true, memory_order_relaxed);
    wait_for_jobs(w);
    if (w->started) {
        ak_s3_multipart_abort(&w->multipart);
    }
    writer_free(w);
}

static enum ak_rc commit_whole(struct s3_writer *w, struct ak_err *err)
{
    const struct s3_source source = {.p = w->filling ? w->filling->p : "",
                                     .size = w->filling ? w->filling->len : 0};
    const struct s3_upload upload = {.key = w->base.key, .source = &source, .options = &w->options};
    return ak_s3_upload(w->store, &upload, err);
}

static enum ak_rc commit_parts(struct s3_writer *w, struct ak_err *err)
{
    enum ak_rc rc = w->filling && w->filling->len ? dispatch(w, err) : AK_OK;
    wait_for_jobs(w);
    rc = rc == AK_OK ? failure_of(w, err) : rc;
    if (rc == AK_OK) {
        rc = ak_s3_multipart_complete(&w->multipart, w->parts, w->options.only_if_absent, err);
    }
    if (rc == AK_OK) {
        int64_t ns = ak_mono_ns(ak_clock_system()) - w->start_ns;
        ak_series_observe(w->store->upload_seconds, (double)ns / 1e9);
        ak_series_add(w->store->upload_bytes, w->base.bytes);
    }
    return rc;
}

static enum ak_rc writer_commit(struct ak_objstore_writer *base, struct ak_err *err)
{
    struct s3_writer *w = (struct s3_writer *)base;
    enum ak_rc rc = w->started ? commit_parts(w, err) : commit_whole(w, err);
    if (rc != AK_OK) {
        writer_abort(base);
    } else {
        writer_free(w);
    }
    return rc;
}

static const struct ak_objstore_writer_ops writer_ops = {writer_write, writer_commit, writer_abort};

enum ak_rc ak_s3_create(struct ak_objstore *base, struct ak_str key,
                        const struct ak_objstore_put_options *options,
                        struct ak_objstore_writer **writer, struct ak_err *err)
{
    struct s3_store *store = (struct s3_store *)base;
    struct s3_writer *w = ak_zalloc(sizeof *w);
    (void)err;
    ak_objstore_writer_init(&w->base, &writer_ops, base, key);
    w->store = store;
    w->start_ns = ak_mono_ns(ak_clock_system());
    w->options = *options;
    if (options->content_type) {
        w->content_type = ak_strdup_n(options->content_type, strlen(options->content_type));
        w->options.content_type = w->content_type;
    }
    w->part_bytes = (size_t)(store->part_bytes < S3_WRITER_PART_BYTES ? store->part_bytes
                                                                      : S3_WRITER_PART_BYTES);
    for (size_t i = 0; i < SLOTS; i++) {
        w->slots[i].writer = w;
    }
    ak_mutex_init(&w->mutex, AK_RANK_LEAF, "s3-writer");
    ak_cond_init(&w->freed);
    *writer = &w->base;
    return AK_OK;
}
