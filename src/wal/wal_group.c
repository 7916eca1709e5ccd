/* wal_group.c — the log's own thread: it writes and syncs groups, calls the commits back, and keeps
 * a spare file ready for the next segment.
 *
 *            work for it                    nothing for interval_ms
 *   BUSY <────────────── DOZING (timeout) ──────────────────────────> DORMANT (no timeout)
 *     └── nothing left ──────^   └── timeout with records gathered: BUSY     │
 *     ^────────────────────── woken by the next append ──────────────────────┘
 *
 * In DOZING only a commit, a nearly full buffer or a need for room wakes the thread, so that an
 * append costs no system call; the timeout picks up what nobody waits for. `asleep` is true in both
 * sleeping states and whoever clears it signals: one signal a sleep.
 *
 * Files are written without the mutex: the sealed buffer, the active segment and the spare while
 * spare_busy are the thread's own.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "wal/wal_priv.h"
#include <stdatomic.h>
#include <stdio.h>

void ak_wal_wake_writer(struct ak_wal *wal)
{
    if (wal->asleep) {
        wal->asleep = false;
        ak_cond_signal(&wal->work);
    }
}

/* ---- Commits: singly linked through the callers' storage ---- */

static struct ak_wal_commit *merge_commits(struct ak_wal_commit *a, struct ak_wal_commit *b)
{
    struct ak_wal_commit *head = NULL;
    struct ak_wal_commit **end = &head;
    while (a && b) {
        struct ak_wal_commit **least = a->upto <= b->upto ? &a : &b;
        *end = *least;
        *least = (*least)->link;
        end = &(*end)->link;
    }
    *end = a ? a : b;
    return head;
}

/* Bottom-up merge sort by LSN: bins[i] holds a sorted list of 2^i commits. */
static struct ak_wal_commit *sort_commits(struct ak_wal_commit *list)
{
    struct ak_wal_commit *bins[32] = {NULL};
    while (list) {
        struct ak_wal_commit *one = list;
        list = list->link;
        one->link = NULL;
        unsigned i = 0;
        for (; i < 31 && bins[i]; i++) {
            one = merge_commits(bins[i], one);
            bins[i] = NULL;
        }
        bins[i] = bins[i] ? merge_commits(bins[i], one) : one;
    }
    struct ak_wal_commit *sorted = NULL;
    for (unsigned i = 0; i < 32; i++) {
        sorted = merge_commits(bins[i], sorted);
    }
    return sorted;
}

/* Move the commits that `reached` satisfies from *waiting to *ready. */
static void take_ready(struct ak_wal_commit **waiting, ak_lsn reached, struct ak_wal_commit **ready)
{
    struct ak_wal_commit **at = waiting;
    while (*at) {
        struct ak_wal_commit *commit = *at;
        if (commit->upto <= reached) {
            *at = commit->link;
            commit->link = *ready;
            *ready = commit;
        } else {
            at = &commit->link;
        }
    }
}

/* Without the mutex: the callbacks are not ours. */
static void call_back(struct ak_wal_commit *ready, enum ak_rc rc)
{
    struct ak_wal_commit *commit = sort_commits(ready);
    while (commit) {
        struct ak_wal_commit *next = commit->link; /* the callback may end the commit's storage */
        commit->done(commit, rc);
        commit = next;
    }
}

/* ---- Failure ---- */

/* For good: nobody writes after this, everybody who waits is told. Takes the mutex. */
static void fail_log(struct ak_wal *wal, const struct ak_err *err)
{
    struct ak_wal_commit *ready = NULL;
    ak_log_error(wal->log, "wal", "the log has failed and takes no more writes until a restart: %s",
                 err->text);
    ak_mutex_lock(&wal->mutex);
    (void)snprintf(wal->why, sizeof wal->why, "%s", err->text);
    wal->failed = true;
    take_ready(&wal->written_waiters, UINT64_MAX, &ready);
    take_ready(&wal->durable_waiters, UINT64_MAX, &ready);
    ak_cond_broadcast(&wal->room);
    ak_mutex_unlock(&wal->mutex);
    call_back(ready, AK_IO);
}

/* ---- Groups ---- */

static struct wal_buffer *front_of(struct ak_wal *wal)
{
    return &wal->buffers[wal->front];
}

static bool sync_is_due(const struct ak_wal *wal)
{
    int64_t now = ak_mono_ns(ak_clock_system());
    return wal->durability == AK_DURABILITY_SYNC || wal->durable_waiters || wal->closing ||
           wal->tick || now - wal->last_sync_ns >= (int64_t)wal->interval_ms * 1000000;
}

static bool group_is_due(struct ak_wal *wal)
{
    size_t gathered = front_of(wal)->len;
    bool somebody_waits = wal->written_waiters || wal->durable_waiters || wal->closing || wal->tick;
    if (gathered == 0) { /* INTERVAL and ASYNC: what was written may still have to be synced */
        return wal->written > wal->durable && (wal->durable_waiters || wal->closing || wal->tick);
    }
    return somebody_waits || wal->room_waiters || gathered >= wal->flush_bytes;
}

static enum ak_rc sync_active(struct ak_wal *wal, uint64_t *syncs, struct ak_err *err)
{
    (*syncs)++;
    return ak_file_sync(wal->active->file, err);
}

/* Go on to the next segment. I4: what came before is durable before it gets its name. */
static enum ak_rc enter_segment(struct ak_wal *wal, struct wal_segment *segment, uint64_t *syncs,
                                struct ak_err *err)
{
    enum ak_rc rc = sync_active(wal, syncs, err);
    if (rc == AK_OK) {
        rc = ak_wal_segment_activate(wal->fs, wal->dir, segment, err);
    }
    if (rc == AK_OK) {
        ak_mutex_lock(&wal->mutex); /* `active` is read by release */
        struct ak_file *done = wal->active->file;
        wal->active->file = NULL;
        wal->active = segment;
        ak_mutex_unlock(&wal->mutex);
        ak_file_close(done);
    }
    return rc;
}

static enum ak_rc write_group(struct ak_wal *wal, const struct wal_buffer *group, bool must_sync,
                              uint64_t *syncs, struct ak_err *err)
{
    for (size_t i = 0; i < group->run_count; i++) {
        const struct wal_run *run = &group->runs[i];
        enum ak_rc rc = AK_OK;
        if (run->segment != wal->active) {
            rc = enter_segment(wal, run->segment, syncs, err);
        }
        if (rc == AK_OK && run->len) {
            rc = ak_file_write(wal->active->file, run->pos, group->p + run->at, run->len, err);
        }
        if (rc != AK_OK) {
            return rc;
        }
    }
    return must_sync ? sync_active(wal, syncs, err) : AK_OK;
}

/* Swap the buffers and wait until the appends into the sealed one have copied. Mutex held. */
static struct wal_buffer *seal_front(struct ak_wal *wal)
{
    struct wal_buffer *group = front_of(wal);
    wal->front = 1 - wal->front;
    if (wal->room_waiters) {
        ak_cond_broadcast(&wal->room);
    }
    atomic_store(&group->sealed, true);
    while (atomic_load(&group->filling) > 0) {
        ak_cond_wait(&wal->filled, &wal->mutex);
    }
    atomic_store(&group->sealed, false);
    return group;
}

/* Empty again; memory that one large record made it take goes back. Mutex held. */
static void reset_buffer(struct ak_wal *wal, struct wal_buffer *buffer)
{
    buffer->len = 0;
    buffer->run_count = 0;
    buffer->records = 0;
    if (buffer->cap > wal->buffer_max) {
        ak_free(buffer->p);
        buffer->p = ak_alloc(wal->buffer_max);
        buffer->cap = wal->buffer_max;
    }
}

/* Write, and sync when due, all that has gathered. Called and left with the mutex held. */
static void run_group(struct ak_wal *wal)
{
    struct ak_err err;
    uint64_t syncs = 0;
    bool must_sync = sync_is_due(wal);
    wal->tick = false;
    ak_lsn end = wal->end;
    struct wal_buffer *group = seal_front(wal);
    ak_mutex_unlock(&wal->mutex);

    int64_t begun = ak_mono_ns(ak_clock_system());
    enum ak_rc rc = write_group(wal, group, must_sync, &syncs, &err);
    int64_t ended = ak_mono_ns(ak_clock_system());
    if (rc != AK_OK) {
        fail_log(wal, &err);
        ak_mutex_lock(&wal->mutex);
        return;
    }
    uint64_t bytes = group->len;
    uint64_t records = group->records;
    struct ak_wal_commit *ready = NULL;
    ak_mutex_lock(&wal->mutex);
    wal->written = end;
    if (must_sync) {
        wal->durable = end;
        wal->last_sync_ns = ended;
    } else if (wal->active->start > wal->durable) { /* I4 */
        wal->durable = wal->active->start;
    }
    wal->syncs += syncs;
    wal->groups += bytes > 0;
    wal->has_mark = wal->has_mark && bytes == 0;
    reset_buffer(wal, group);
    take_ready(&wal->written_waiters, wal->written, &ready);
    take_ready(&wal->durable_waiters, wal->durable, &ready);
    ak_mutex_unlock(&wal->mutex);

    call_back(ready, AK_OK);
    if (wal->on_group && bytes) {
        wal->on_group(wal->ctx, bytes, records, (double)(ended - begun) / 1e9);
    }
    ak_mutex_lock(&wal->mutex);
}

/* ---- The spare ---- */

static bool spare_is_due(const struct ak_wal *wal)
{
    return !wal->spare_busy && (wal->spare_served < wal->spare_asked || wal->spare_hint);
}

/* One attempt on behalf of all that have asked so far. Called and left with the mutex held. */
static void prepare_spare(struct ak_wal *wal)
{
    uint64_t ticket = wal->spare_asked;
    uint64_t bytes = wal->spare_want > wal->segment_bytes ? wal->spare_want : wal->segment_bytes;
    struct wal_spare spare = wal->spare;
    struct ak_err err;
    ak_err_clear(&err);
    enum ak_rc rc = AK_OK;
    wal->spare_hint = false;
    wal->spare_want = 0;
    if (!spare.file || spare.bytes < bytes) {
        wal->spare = (struct wal_spare){.file = NULL};
        wal->spare_busy = true;
        spare.id = spare.file ? spare.id : wal->spare_next++;
        ak_mutex_unlock(&wal->mutex);
        rc = ak_wal_spare_make(wal->fs, wal->dir, &spare, bytes, &err);
        if (rc != AK_OK && !spare.file && bytes > wal->segment_bytes) {
            struct ak_err ignored; /* no room for the large record, but perhaps for the others */
            (void)!ak_wal_spare_make(wal->fs, wal->dir, &spare, wal->segment_bytes, &ignored);
        }
        ak_mutex_lock(&wal->mutex);
        wal->spare_busy = false;
        wal->spare = spare;
    }
    wal->spare_served = ticket;
    wal->spare_rc = rc;
    wal->spare_err = err;
    ak_cond_broadcast(&wal->room);
}

/* ---- The thread ---- */

static void sleep_for_work(struct ak_wal *wal)
{
    bool is_idle = front_of(wal)->len == 0 && wal->written == wal->durable;
    wal->asleep = true;
    wal->tick = false;
    if (wal->dormant && is_idle) {
        while (wal->asleep) {
            ak_cond_wait(&wal->work, &wal->mutex);
        }
        wal->dormant = false;
        return;
    }
    wal->dormant = false;
    while (wal->asleep) {
        if (!ak_cond_wait_ms(&wal->work, &wal->mutex, wal->interval_ms) && wal->asleep) {
            wal->asleep = false;
            wal->tick = true;
        }
    }
    /* Nothing came in a whole interval: the next sleep has no timeout. */
    wal->dormant = wal->tick && front_of(wal)->len == 0 && wal->written == wal->durable;
}

/* The last record of a clean run (I5): the next open then knows that all before it was synced. No
 * segment is begun for it. Called with the mutex held, nobody appends any more. */
static void write_mark(struct ak_wal *wal)
{
    struct wal_segment *segment = wal->active;
    uint64_t pos = wal->end - segment->start;
    if (wal->failed || wal->has_mark || wal->end == segment->start + WAL_SEGMENT_HEADER_BYTES ||
        segment->bytes - pos < WAL_RECORD_HEADER_BYTES) {
        return;
    }
    unsigned char bytes[WAL_RECORD_HEADER_BYTES];
    struct wal_record_header mark = {
        .kind = WAL_KIND_MARK, .lsn = wal->end, .durable = wal->durable};
    ak_wal_encode_record(&mark, segment->seed, bytes);
    struct ak_err err;
    ak_mutex_unlock(&wal->mutex);
    enum ak_rc rc = ak_file_write(segment->file, pos, bytes, sizeof bytes, &err);
    if (rc == AK_OK) {
        rc = ak_file_sync(segment->file, &err);
    }
    if (rc != AK_OK) { /* everything acknowledged is safe without it */
        ak_log_warn(wal->log, "wal", "the mark of a clean end was not written: %s", err.text);
    }
    ak_mutex_lock(&wal->mutex);
}

void ak_wal_writer(void *arg)
{
    struct ak_wal *wal = arg;
    ak_mutex_lock(&wal->mutex);
    for (;;) {
        if (!wal->failed && group_is_due(wal)) {
            run_group(wal);
        } else if (wal->closing) {
            break;
        } else if (!wal->failed && spare_is_due(wal)) {
            prepare_spare(wal);
        } else {
            sleep_for_work(wal);
        }
    }
    write_mark(wal);
    ak_mutex_unlock(&wal->mutex);
}
