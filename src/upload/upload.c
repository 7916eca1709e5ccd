/* upload.c — the uploader: a queue, its threads, and what becomes of each upload.
 *
 *            put                 batch due            a thread          AK_OK
 *   (caller) ───▶ collecting ───────────▶ ready ───────────▶ under way ───────▶ result, freed
 *                                           ▲                    │ can help
 *                                           │ delay over         ▼
 *                                           └───────────────  delayed
 *                                                                │ cannot, or was the last
 *                                                                ▼
 *                                                       result, dead letter
 *
 * U1 An upload is in exactly one of: collecting, ready, delayed, a thread's hands, dead.
 * U2 `first`..`last` are the uploads without a result, in the order in which they were given.
 * U3 held_bytes counts all that is not freed; what waits for room waits only while something
 * without a result exists, which will free room or become a dead letter.
 *
 * A batch has no thread of its own: each idle thread waits until the batch or a delayed upload is
 * due, whichever comes first.
 */
#include "upload/upload.h"
#include "base/mem.h"
#include "base/sync.h"
#include <stdlib.h>
#include <string.h>

#define CONCURRENCY_DEFAULT 10u
#define ATTEMPTS_DEFAULT 3u
#define DELAY_MS_DEFAULT 200u
#define MEMORY_DEFAULT ((size_t)64 << 20)
#define BATCH_OBJECTS 100u
#define BATCH_BYTES 10000000u
#define BATCH_MS 1000u
#define NS_PER_MS 1000000

struct upload {
    struct upload *next;  /* of the list it is in */
    struct upload *older; /* of all without a result */
    struct upload *newer;
    uint64_t number;     /* in the order in which they were given */
    struct ak_str key;   /* of `text` */
    struct ak_str bytes; /* of `text` */
    const char *path;    /* of `text`, or NULL */
    struct ak_fs *fs;
    void *tag;
    uint64_t size;
    uint64_t moved; /* of a file that is under way */
    size_t held;    /* bytes that it counts for */
    unsigned attempts;
    int64_t started_ns;
    int64_t took_ns;
    int64_t due_ns; /* of a delayed one */
    struct ak_uploader *uploader;
    struct ak_err err; /* of its last attempt */
    char text[];
};

struct list {
    struct upload *head;
    struct upload *tail;
    size_t count;
    uint64_t bytes;
};

struct ak_uploader {
    struct ak_objstore *store;
    struct ak_upload_options options;
    struct ak_series *ok;
    struct ak_series *failed;
    struct ak_series *moved;
    struct ak_series *seconds;
    struct ak_mutex mutex; /* over what follows */
    struct ak_cond work;   /* for the threads */
    struct ak_cond change; /* a result: for flush, close and puts that wait for room */
    struct list collecting;
    int64_t collecting_since_ns;
    struct list ready;
    struct list delayed;
    struct list dead;
    struct upload *first; /* U2 */
    struct upload *last;
    uint64_t next_number;
    size_t held_bytes;
    struct ak_upload_progress progress;
    bool is_cancelled;
    bool is_stopping;
    struct ak_thread *threads;
};

struct ak_upload_options ak_upload_batched(void)
{
    return (struct ak_upload_options){
        .batch_objects = BATCH_OBJECTS, .batch_bytes = BATCH_BYTES, .batch_ms = BATCH_MS};
}

/* --- Lists --- */

static void append(struct list *list, struct upload *upload)
{
    upload->next = NULL;
    if (list->tail) {
        list->tail->next = upload;
    } else {
        list->head = upload;
    }
    list->tail = upload;
    list->count++;
    list->bytes += upload->bytes.len;
}

static struct upload *take_first(struct list *list)
{
    struct upload *upload = list->head;
    if (upload) {
        list->head = upload->next;
        list->tail = list->head ? list->tail : NULL;
        list->count--;
        list->bytes -= upload->bytes.len;
    }
    return upload;
}

static void add_pending(struct ak_uploader *up, struct upload *upload)
{
    upload->older = up->last;
    upload->newer = NULL;
    if (up->last) {
        up->last->newer = upload;
    } else {
        up->first = upload;
    }
    up->last = upload;
}

static void remove_pending(struct ak_uploader *up, struct upload *upload)
{
    if (upload->older) {
        upload->older->newer = upload->newer;
    } else {
        up->first = upload->newer;
    }
    if (upload->newer) {
        upload->newer->older = upload->older;
    } else {
        up->last = upload->older;
    }
}

/* --- Batches and delays: all of these under the lock --- */

static int64_t now_ns(const struct ak_uploader *up)
{
    return ak_mono_ns(up->options.clock);
}

static void start_batch(struct ak_uploader *up)
{
    if (up->collecting.count > 0) {
        up->progress.batches++;
        for (struct upload *upload; (upload = take_first(&up->collecting));) {
            append(&up->ready, upload);
        }
        ak_cond_broadcast(&up->work);
    }
}

static int64_t batch_due_ns(const struct ak_uploader *up)
{
    if (up->collecting.count == 0 || up->options.batch_ms == 0) {
        return INT64_MAX;
    }
    return up->collecting_since_ns + (int64_t)up->options.batch_ms * NS_PER_MS;
}

static bool is_batch_due(const struct ak_uploader *up)
{
    const struct ak_upload_options *options = &up->options;
    return up->collecting.count >= options->batch_objects ||
           (options->batch_bytes > 0 && up->collecting.bytes >= options->batch_bytes) ||
           now_ns(up) >= batch_due_ns(up);
}

/* Make ready what is due; returns when to look again. */
static int64_t make_ready(struct ak_uploader *up)
{
    int64_t now = now_ns(up);
    int64_t next = INT64_MAX;
    if (up->collecting.count > 0 && is_batch_due(up)) {
        start_batch(up);
    }
    struct list waiting = up->delayed;
    up->delayed = (struct list){0};
    for (struct upload *upload; (upload = take_first(&waiting));) {
        bool is_due = upload->due_ns <= now || up->is_cancelled;
        append(is_due ? &up->ready : &up->delayed, upload);
        if (!is_due && upload->due_ns < next) {
            next = upload->due_ns;
        }
    }
    int64_t batch = batch_due_ns(up);
    return batch < next ? batch : next;
}

/* --- One upload --- */

static bool on_progress(void *ctx, uint64_t done, uint64_t total)
{
    struct upload *upload = ctx;
    struct ak_uploader *up = upload->uploader;
    ak_mutex_lock(&up->mutex);
    up->progress.bytes_done += done - upload->moved; /* modulo 2^64: it may go back */
    upload->moved = done;
    upload->size = total;
    bool goes_on = !up->is_cancelled;
    ak_mutex_unlock(&up->mutex);
    return goes_on;
}

static enum ak_rc attempt(struct ak_uploader *up, struct upload *upload)
{
    upload->attempts++;
    if (upload->path) {
        return ak_objstore_put_file(up->store, upload->key, upload->fs, upload->path, on_progress,
                                    upload, &upload->err);
    }
    return ak_objstore_put(up->store, upload->key, upload->bytes, NULL, &upload->err);
}

static int64_t delay_ns(const struct ak_uploader *up, unsigned attempts)
{
    int64_t ms = up->options.delay_ms;
    for (unsigned i = 1; i < attempts && ms < AK_UPLOAD_DELAY_MAX_MS; i++) {
        ms *= 2;
    }
    return (ms < AK_UPLOAD_DELAY_MAX_MS ? ms : AK_UPLOAD_DELAY_MAX_MS) * NS_PER_MS;
}

static struct ak_upload_result result_of(const struct upload *upload)
{
    return (struct ak_upload_result){
        .key = upload->key,
        .bytes = upload->bytes,
        .path = upload->path,
        .size = upload->size,
        .tag = upload->tag,
        .rc = upload->err.rc,
        .message = upload->err.text,
        .attempts = upload->attempts,
        .took_us = upload->took_ns / 1000,
    };
}

/* Its fate is known: tell it, then count it. Without the lock. */
static void tell_result(struct ak_uploader *up, struct upload *upload)
{
    struct ak_upload_result result = result_of(upload);
    bool is_ok = result.rc == AK_OK;
    ak_series_add(is_ok ? up->ok : up->failed, 1);
    ak_series_add(up->moved, is_ok ? result.size : 0);
    ak_series_observe(up->seconds, (double)result.took_us / 1e6);
    if (up->options.on_result) {
        up->options.on_result(up->options.ctx, &result);
    }
}

/* Under the lock. */
static void settle(struct ak_uploader *up, struct upload *upload)
{
    bool is_ok = upload->err.rc == AK_OK;
    up->progress.objects_done++;
    up->progress.objects_failed += !is_ok;
    /* Of a file `moved` has been counted; of a failed one it counts no more. */
    up->progress.bytes_done += is_ok ? upload->size - upload->moved : 0 - upload->moved;
    remove_pending(up, upload);
    if (is_ok) {
        up->held_bytes -= upload->held;
        ak_free(upload);
    } else {
        append(&up->dead, upload);
    }
    ak_cond_broadcast(&up->change);
}

/* One attempt, and what follows from it. Called with the lock, which is given up meanwhile. */
static void run(struct ak_uploader *up, struct upload *upload)
{
    bool is_cancelled = up->is_cancelled;
    upload->started_ns = upload->started_ns ? upload->started_ns : now_ns(up);
    ak_mutex_unlock(&up->mutex);
    enum ak_rc rc = upload->err.rc; /* of the attempt before, if any */
    if (!is_cancelled) {
        ak_err_clear(&upload->err);
        rc = attempt(up, upload);
        upload->err.rc = rc;
    } else if (rc == AK_OK) {
        rc = ak_fail(&upload->err, AK_CONFLICT, "cancelled before it began");
    }
    ak_mutex_lock(&up->mutex);
    bool is_over = rc == AK_OK || !ak_rc_is_retryable(rc) || up->is_cancelled ||
                   upload->attempts >= up->options.attempts;
    if (!is_over) {
        up->progress.bytes_done -= upload->moved;
        upload->moved = 0;
        upload->due_ns = now_ns(up) + delay_ns(up, upload->attempts);
        append(&up->delayed, upload);
        ak_cond_signal(&up->work); /* another may have to wait less long now */
        return;
    }
    upload->took_ns = now_ns(up) - upload->started_ns;
    ak_mutex_unlock(&up->mutex);
    tell_result(up, upload);
    ak_mutex_lock(&up->mutex);
    settle(up, upload);
}

static void work(void *arg)
{
    struct ak_uploader *up = arg;
    ak_mutex_lock(&up->mutex);
    for (;;) {
        int64_t next = make_ready(up);
        struct upload *upload = take_first(&up->ready);
        if (upload) {
            run(up, upload);
        } else if (up->is_stopping) {
            break; /* close has waited for all results */
        } else if (next == INT64_MAX) {
            ak_cond_wait(&up->work, &up->mutex);
        } else {
            int64_t left_ms = (next - now_ns(up)) / NS_PER_MS + 1;
            (void)ak_cond_wait_ms(&up->work, &up->mutex, left_ms);
        }
    }
    ak_mutex_unlock(&up->mutex);
}

/* --- Open --- */

static enum ak_rc check_options(const struct ak_upload_options *options, struct ak_err *err)
{
    if (options->concurrency > AK_UPLOAD_CONCURRENCY_MAX) {
        return ak_fail(err, AK_INVALID, "%u uploads at the same time: at most %d are possible",
                       options->concurrency, AK_UPLOAD_CONCURRENCY_MAX);
    }
    if (options->attempts > AK_UPLOAD_ATTEMPTS_MAX || options->delay_ms > AK_UPLOAD_DELAY_MAX_MS) {
        return ak_fail(err, AK_INVALID, "at most %d attempts, %d ms apart, are possible",
                       AK_UPLOAD_ATTEMPTS_MAX, AK_UPLOAD_DELAY_MAX_MS);
    }
    return AK_OK;
}

static void release(struct ak_uploader *up)
{
    for (struct upload *upload; (upload = take_first(&up->dead));) {
        ak_free(upload);
    }
    ak_cond_release(&up->work);
    ak_cond_release(&up->change);
    ak_mutex_release(&up->mutex);
    ak_free(up->threads);
    ak_free(up);
}

static void stop(struct ak_uploader *up)
{
    ak_mutex_lock(&up->mutex);
    up->is_stopping = true;
    ak_cond_broadcast(&up->work);
    ak_mutex_unlock(&up->mutex);
    for (unsigned i = 0; i < up->options.concurrency; i++) {
        ak_thread_join(&up->threads[i]);
    }
}

enum ak_rc ak_upload_open(struct ak_objstore *store, const struct ak_upload_options *options,
                          struct ak_uploader **out, struct ak_err *err)
{
    enum ak_rc rc = check_options(options, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_uploader *up = ak_zalloc(sizeof *up);
    up->store = store;
    up->options = *options;
    struct ak_upload_options *set = &up->options;
    set->concurrency = set->concurrency ? set->concurrency : CONCURRENCY_DEFAULT;
    set->attempts = set->attempts ? set->attempts : ATTEMPTS_DEFAULT;
    set->delay_ms = set->delay_ms ? set->delay_ms : DELAY_MS_DEFAULT;
    set->memory_max = set->memory_max ? set->memory_max : MEMORY_DEFAULT;
    set->clock = set->clock ? set->clock : ak_clock_system();
    static const struct ak_str results[] = {{"ok", 2}, {"failed", 6}};
    up->ok = ak_metrics_series(set->metrics, AK_METRIC_UPLOADS, &results[0], 1);
    up->failed = ak_metrics_series(set->metrics, AK_METRIC_UPLOADS, &results[1], 1);
    up->moved = ak_metrics_series(set->metrics, AK_METRIC_UPLOAD_BYTES, NULL, 0);
    up->seconds = ak_metrics_series(set->metrics, AK_METRIC_UPLOAD_SECONDS, NULL, 0);
    ak_mutex_init(&up->mutex, AK_RANK_POOL, "upload");
    ak_cond_init(&up->work);
    ak_cond_init(&up->change);
    up->threads = ak_zalloc(set->concurrency * sizeof *up->threads);
    for (unsigned i = 0; i < set->concurrency && rc == AK_OK; i++) {
        rc = ak_thread_start(&up->threads[i], "upload", work, up, err);
    }
    if (rc != AK_OK) {
        stop(up);
        release(up);
        return rc;
    }
    *out = up;
    return AK_OK;
}

/* --- Giving uploads --- */

static enum ak_rc make(struct ak_str key, struct ak_str bytes, const char *path,
                       struct upload **out, struct ak_err *err)
{
    size_t path_len = path ? strlen(path) + 1 : 0;
    size_t held = sizeof **out + key.len + path_len;
    struct upload *upload = ak_add_overflows(held, bytes.len, &held) ? NULL : ak_try_alloc(held);
    if (!upload) {
        return ak_fail(err, AK_NOMEM, "no memory to hold an upload of %zu bytes", bytes.len);
    }
    *upload = (struct upload){.size = bytes.len, .held = held};
    char *at = upload->text;
    memcpy(at, key.p, key.len);
    upload->key = (struct ak_str){at, key.len};
    at += key.len;
    if (path) {
        memcpy(at, path, path_len);
        upload->path = at;
    } else if (bytes.len > 0) {
        memcpy(at, bytes.p, bytes.len);
        upload->bytes = (struct ak_str){at, bytes.len};
    }
    *out = upload;
    return AK_OK;
}

/* Wait until `held` bytes more may be held. Under the lock. */
static enum ak_rc wait_for_room(struct ak_uploader *up, size_t held, struct ak_err *err)
{
    size_t max = up->options.memory_max;
    if (held > max) {
        return ak_fail(err, AK_TOO_BIG,
                       "an upload of %zu bytes is more than memory_max, which is %zu: put it from "
                       "a file",
                       held, max);
    }
    while (!up->is_cancelled && up->held_bytes > max - held) {
        if (!up->first) {
            return ak_fail(err, AK_UNAVAILABLE,
                           "the memory is full of %zu failed uploads; the first: %s",
                           up->dead.count, up->dead.head->err.text);
        }
        start_batch(up); /* it will not get larger */
        ak_cond_wait(&up->change, &up->mutex);
    }
    if (up->is_cancelled) {
        return ak_fail(err, AK_UNAVAILABLE, "the uploader was cancelled");
    }
    return AK_OK;
}

static enum ak_rc give(struct ak_uploader *up, struct upload *upload, struct ak_err *err)
{
    ak_mutex_lock(&up->mutex);
    enum ak_rc rc = wait_for_room(up, upload->held, err);
    if (rc == AK_OK) {
        upload->uploader = up;
        upload->number = up->next_number++;
        up->held_bytes += upload->held;
        up->progress.objects++;
        up->progress.bytes += upload->size;
        add_pending(up, upload);
        if (up->options.batch_objects == 0) {
            append(&up->ready, upload);
            ak_cond_signal(&up->work);
        } else {
            if (up->collecting.count == 0) {
                up->collecting_since_ns = now_ns(up);
                ak_cond_signal(&up->work); /* someone has to wait for its time */
            }
            append(&up->collecting, upload);
            if (is_batch_due(up)) {
                start_batch(up);
            }
        }
    }
    ak_mutex_unlock(&up->mutex);
    if (rc != AK_OK) {
        ak_free(upload);
    }
    return rc;
}

enum ak_rc ak_upload_put(struct ak_uploader *up, struct ak_str key, struct ak_str bytes, void *tag,
                         struct ak_err *err)
{
    struct upload *upload = NULL;
    enum ak_rc rc = ak_objstore_check_key(key, err);
    if (rc == AK_OK && bytes.len > up->options.memory_max) {
        rc = wait_for_room(up, bytes.len, err); /* says why, before anything is copied */
    }
    if (rc == AK_OK) {
        rc = make(key, bytes, NULL, &upload, err);
    }
    if (!upload) {
        return rc;
    }
    upload->tag = tag;
    return give(up, upload, err);
}

enum ak_rc ak_upload_put_file(struct ak_uploader *up, struct ak_str key, struct ak_fs *fs,
                              const char *path, void *tag, struct ak_err *err)
{
    struct upload *upload = NULL;
    struct ak_err unknown; /* the attempt will say what is wrong with the file */
    enum ak_rc rc = ak_objstore_check_key(key, err);
    if (rc == AK_OK) {
        rc = make(key, AK_STR_NONE, path, &upload, err);
    }
    if (!upload) {
        return rc;
    }
    upload->fs = fs;
    upload->tag = tag;
    (void)!ak_fs_stat(fs, path, &upload->size, &unknown);
    return give(up, upload, err);
}

/* --- Waiting, cancelling, looking --- */

void ak_upload_flush(struct ak_uploader *up)
{
    ak_mutex_lock(&up->mutex);
    uint64_t until = up->next_number;
    start_batch(up);
    while (up->first && up->first->number < until) {
        ak_cond_wait(&up->change, &up->mutex);
    }
    ak_mutex_unlock(&up->mutex);
}

void ak_upload_cancel(struct ak_uploader *up)
{
    ak_mutex_lock(&up->mutex);
    up->is_cancelled = true;
    start_batch(up);
    ak_cond_broadcast(&up->work);
    ak_cond_broadcast(&up->change);
    ak_mutex_unlock(&up->mutex);
}

void ak_upload_poll(struct ak_uploader *up)
{
    ak_mutex_lock(&up->mutex);
    ak_cond_broadcast(&up->work);
    ak_mutex_unlock(&up->mutex);
}

void ak_upload_progress(struct ak_uploader *up, struct ak_upload_progress *progress)
{
    ak_mutex_lock(&up->mutex);
    *progress = up->progress;
    ak_mutex_unlock(&up->mutex);
}

/* --- Close --- */

static int by_number(const void *a, const void *b)
{
    const struct upload *x = *(struct upload *const *)a;
    const struct upload *y = *(struct upload *const *)b;
    return (x->number > y->number) - (x->number < y->number);
}

/* Hand over the dead letters in order; the threads have ended. */
static enum ak_rc hand_over(struct ak_uploader *up, struct ak_err *err)
{
    size_t count = up->dead.count;
    if (count == 0) {
        return AK_OK;
    }
    struct upload **dead = ak_alloc(count * sizeof(struct upload *));
    for (size_t i = 0; i < count; i++) {
        dead[i] = take_first(&up->dead);
    }
    qsort(dead, count, sizeof *dead, by_number);
    for (size_t i = 0; i < count && up->options.on_dead_letter; i++) {
        struct ak_upload_result result = result_of(dead[i]);
        up->options.on_dead_letter(up->options.ctx, &result);
    }
    enum ak_rc rc = ak_fail(err, dead[0]->err.rc, "%zu of %llu uploads failed; the first: %s",
                            count, (unsigned long long)up->progress.objects, dead[0]->err.text);
    for (size_t i = 0; i < count; i++) {
        ak_free(dead[i]);
    }
    ak_free(dead);
    return rc;
}

enum ak_rc ak_upload_close(struct ak_uploader *up, struct ak_err *err)
{
    if (!up) {
        return AK_OK;
    }
    ak_upload_flush(up);
    stop(up);
    enum ak_rc rc = hand_over(up, err);
    release(up);
    return rc;
}
