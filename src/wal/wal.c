/* wal.c — the write-ahead log: open, append, commit, release, close.
 *
 * The log is one endless sequence of bytes; an LSN is a position in it. Segment files hold it piece
 * by piece: the byte with LSN n is byte n - start of the segment that begins at `start`, header
 * block included. docs/formats/wal.md gives every field.
 *
 *   segment   | header block, 4096 | record | record | … | pad or nothing |
 *   record    | kind u32 | len u32 | lsn u64 | durable u64 | payload CRC u32 | header CRC u32 |
 *             | payload, len bytes | zeros up to a multiple of 8 |
 *
 * A record never crosses a segment's end: what is left there is a pad record, or less than a record
 * header. A record that is larger than a segment gets a segment of its own size.
 *
 * Invariants
 *   I1  A record header validates only at its own LSN of its own segment: its CRC covers the LSN
 *       and begins from the segment's random salt. Bytes of a recycled file, or of a payload that
 *       looks like a record, are never taken for records.
 *   I2  An append gets an LSN only inside a file whose blocks have been reserved and synced. Hence
 *       a full disk is met before anything is changed.
 *   I3  A file carries a segment's name only after its header block has been synced.
 *   I4  A segment gets its name only after everything in the segments before it has been synced.
 *   I5  `durable` in a record header never exceeds what had been synced when the record was made.
 *       Together with I4 it proves, after a crash, which damaged places had been acknowledged.
 *   I6  Beyond the end of the log no valid header exists in its last segment, neither in the page
 *       cache nor on the disk, when appending begins (wal_replay.c sees to it).
 *   I7  After a failed write or sync nothing is written again by this run.
 *
 * A segment's life, and who moves it on:
 *
 *   (none) ──wal_spare_make──> SPARE ──append──> PENDING ──wal_segment_activate──> ACTIVE
 *              writer thread     ^   begin_segment          writer thread            │ next begins
 *                                └──wal_segment_recycle── HELD <─────────────────────┘
 *                                      releasing thread     └──wal_segment_remove──> (none)
 *
 * PENDING: appends have LSNs in it, but it still has its spare name and no header; the writer
 * thread gives it both when its first group comes by. A crash before that loses nothing
 * acknowledged.
 *
 * Appends reserve their bytes in the front buffer under the mutex and copy outside it; the writer
 * thread (wal_group.c) swaps the buffers, waits for the copies, writes and syncs.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "wal/wal_priv.h"
#include <stdatomic.h>
#include <string.h>

#define SEGMENT_ROUND 4096u /* segment sizes are whole blocks */

/* ---- Open and close ---- */

static uint64_t segment_bytes_of(uint64_t wanted)
{
    uint64_t bytes = wanted ? wanted : WAL_SEGMENT_BYTES_DEFAULT;
    bytes = bytes < WAL_SEGMENT_BYTES_MIN ? WAL_SEGMENT_BYTES_MIN : bytes;
    return bytes > WAL_SEGMENT_BYTES_MAX ? WAL_SEGMENT_BYTES_MAX
                                         : ak_wal_align(bytes, SEGMENT_ROUND);
}

static struct ak_wal *make_log(const struct ak_wal_options *options)
{
    size_t buffer_max = options->buffer_max ? options->buffer_max : WAL_BUFFER_MAX_DEFAULT;
    struct ak_wal *wal = ak_zalloc(sizeof *wal);
    wal->fs = options->fs;
    wal->dir = ak_strdup_n(options->dir, strlen(options->dir));
    wal->log = options->log;
    wal->durability = options->durability;
    wal->interval_ms = options->interval_ms ? options->interval_ms : WAL_INTERVAL_MS_DEFAULT;
    wal->segment_bytes = segment_bytes_of(options->segment_bytes);
    wal->buffer_max = buffer_max < WAL_BUFFER_MAX_MIN ? WAL_BUFFER_MAX_MIN : buffer_max;
    size_t half = wal->buffer_max / 2;
    wal->flush_bytes = half < WAL_FLUSH_BYTES ? half : WAL_FLUSH_BYTES;
    wal->on_group = options->on_group;
    wal->ctx = options->ctx;
    ak_mutex_init(&wal->mutex, AK_RANK_WAL, "wal");
    ak_cond_init(&wal->work);
    ak_cond_init(&wal->filled);
    ak_cond_init(&wal->room);
    return wal;
}

static void free_log(struct ak_wal *wal)
{
    for (struct wal_segment *segment = wal->first; segment;) {
        struct wal_segment *next = segment->next;
        ak_wal_segment_free(segment);
        segment = next;
    }
    for (int i = 0; i < 2; i++) {
        ak_free(wal->buffers[i].p);
        ak_free(wal->buffers[i].runs);
    }
    ak_file_close(wal->spare.file);
    ak_cond_release(&wal->room);
    ak_cond_release(&wal->filled);
    ak_cond_release(&wal->work);
    ak_mutex_release(&wal->mutex);
    ak_free(wal->dir);
    ak_free(wal);
}

enum ak_rc ak_wal_open(const struct ak_wal_options *options, ak_lsn from, ak_wal_replay_fn replay,
                       void *ctx, struct ak_wal **out, struct ak_err *err)
{
    if (strlen(options->dir) > WAL_PATH_MAX - 64) {
        return ak_fail(err, AK_INVALID, "the path of the log's folder is longer than %u bytes",
                       WAL_PATH_MAX - 64);
    }
    struct ak_wal *wal = make_log(options);
    enum ak_rc rc = ak_fs_make_dirs(wal->fs, wal->dir, err);
    if (rc == AK_OK) {
        rc = ak_wal_replay(wal, from, replay, ctx, err);
    }
    if (rc == AK_OK) { /* after the replay, which may have needed the memory */
        for (int i = 0; i < 2; i++) {
            wal->buffers[i].p = ak_alloc(wal->buffer_max);
            wal->buffers[i].cap = wal->buffer_max;
        }
        wal->last_sync_ns = ak_mono_ns(ak_clock_system());
        rc = ak_thread_start(&wal->thread, "ak-wal", ak_wal_writer, wal, err);
    }
    if (rc != AK_OK) {
        free_log(wal);
        return ak_wrap(err, rc, "open the log");
    }
    *out = wal;
    return AK_OK;
}

void ak_wal_close(struct ak_wal *wal)
{
    if (!wal) {
        return;
    }
    ak_mutex_lock(&wal->mutex);
    wal->closing = true;
    ak_wal_wake_writer(wal);
    ak_mutex_unlock(&wal->mutex);
    ak_thread_join(&wal->thread);
    free_log(wal);
}

/* ---- Append ---- */

static enum ak_rc say_failed(struct ak_wal *wal, struct ak_err *err)
{
    return ak_fail(err, AK_IO, "the write-ahead log has failed (%s): restart to recover", wal->why);
}

static bool fits_tail(const struct ak_wal *wal, uint64_t bytes)
{
    return bytes <= ak_wal_segment_end(wal->tail) - wal->end;
}

static bool fits_spare(const struct ak_wal *wal, uint64_t bytes)
{
    return wal->spare.file && bytes <= wal->spare.bytes - WAL_SEGMENT_HEADER_BYTES;
}

/* Have the writer thread make a spare in which `bytes` fit, and wait for its attempt. */
static enum ak_rc await_spare(struct ak_wal *wal, uint64_t bytes, struct ak_err *err)
{
    uint64_t need = ak_wal_align(WAL_SEGMENT_HEADER_BYTES + bytes, SEGMENT_ROUND);
    uint64_t ticket = ++wal->spare_asked;
    wal->spare_want = need > wal->spare_want ? need : wal->spare_want;
    ak_wal_wake_writer(wal);
    while (wal->spare_served < ticket && !wal->failed && !fits_spare(wal, bytes)) {
        ak_cond_wait(&wal->room, &wal->mutex);
    }
    if (wal->failed) {
        return say_failed(wal, err);
    }
    if (wal->spare_rc != AK_OK && !fits_spare(wal, bytes) && !fits_tail(wal, bytes)) {
        wal->full = wal->full || wal->spare_rc == AK_NO_SPACE;
        return ak_fail(err, wal->spare_rc, "no room for the next log segment: %s",
                       wal->spare_err.text);
    }
    return AK_OK;
}

/* Wait for, or make, `bytes` of room in the front buffer. A record that is larger than a buffer
 * waits for an empty one and has it grown; smaller ones let it go first, or it would starve. */
static enum ak_rc await_buffer(struct ak_wal *wal, size_t bytes, bool *has_waited,
                               struct ak_err *err)
{
    struct wal_buffer *front = &wal->buffers[wal->front];
    bool is_big = bytes > wal->buffer_max;
    *has_waited = false;
    if (is_big && front->len == 0 && bytes > front->cap) {
        unsigned char *p = ak_try_alloc(bytes);
        if (!p) {
            return ak_fail(err, AK_NOMEM, "no memory for a log record of %zu bytes", bytes);
        }
        ak_free(front->p);
        front->p = p;
        front->cap = bytes;
    }
    size_t left = front->cap - front->len;
    bool fits = is_big ? front->len == 0 : wal->big_waiters == 0 && bytes <= left;
    if (!fits) {
        wal->room_waiters++;
        wal->big_waiters += is_big;
        ak_wal_wake_writer(wal);
        ak_cond_wait(&wal->room, &wal->mutex);
        wal->big_waiters -= is_big;
        wal->room_waiters--;
        *has_waited = true;
    }
    return AK_OK;
}

static void add_run(struct wal_buffer *buffer, struct wal_segment *segment, uint64_t pos)
{
    if (buffer->run_count == buffer->run_cap) {
        buffer->run_cap = buffer->run_cap ? buffer->run_cap * 2 : 8;
        buffer->runs = ak_realloc(buffer->runs, buffer->run_cap * sizeof *buffer->runs);
    }
    buffer->runs[buffer->run_count++] =
        (struct wal_run){.segment = segment, .pos = pos, .at = buffer->len};
}

/* Take `bytes` at the end of the log; they fit. */
static unsigned char *take_bytes(struct ak_wal *wal, size_t bytes)
{
    struct wal_buffer *front = &wal->buffers[wal->front];
    if (front->run_count == 0 || front->runs[front->run_count - 1].segment != wal->tail) {
        add_run(front, wal->tail, wal->end - wal->tail->start);
    }
    unsigned char *p = front->p + front->len;
    front->runs[front->run_count - 1].len += bytes;
    front->len += bytes;
    wal->end += bytes;
    return p;
}

/* Close the tail with a pad and let the spare follow it. */
static void begin_segment(struct ak_wal *wal)
{
    uint64_t left = ak_wal_segment_end(wal->tail) - wal->end;
    if (left >= WAL_RECORD_HEADER_BYTES) {
        struct wal_record_header pad = {
            .kind = WAL_KIND_PAD,
            .len = (uint32_t)(left - WAL_RECORD_HEADER_BYTES),
            .lsn = wal->end,
            .durable = wal->durable,
        };
        uint32_t seed = wal->tail->seed;
        ak_wal_encode_record(&pad, seed, take_bytes(wal, WAL_RECORD_HEADER_BYTES));
    }
    struct wal_segment *segment = ak_zalloc(sizeof *segment);
    segment->start = ak_wal_segment_end(wal->tail);
    segment->bytes = wal->spare.bytes;
    segment->file = wal->spare.file;
    segment->spare_id = wal->spare.id;
    ak_wal_segment_salt(segment);
    wal->spare = (struct wal_spare){.file = NULL};
    wal->tail->next = segment;
    wal->tail = segment;
    wal->end = segment->start + WAL_SEGMENT_HEADER_BYTES;
}

/* Wait until a record of `bytes` has its place in buffer and segment. */
static enum ak_rc await_room(struct ak_wal *wal, size_t bytes, struct ak_err *err)
{
    for (;;) {
        if (wal->failed) {
            return say_failed(wal, err);
        }
        if (wal->sealed) {
            return ak_fail(err, AK_UNAVAILABLE, "the log takes no more writes: the process ends");
        }
        if (!fits_tail(wal, bytes) && !fits_spare(wal, bytes)) {
            enum ak_rc rc = await_spare(wal, bytes, err);
            if (rc != AK_OK) {
                return rc;
            }
            continue;
        }
        bool has_waited = false;
        size_t with_pad = bytes + (fits_tail(wal, bytes) ? 0 : WAL_RECORD_HEADER_BYTES);
        enum ak_rc rc = await_buffer(wal, with_pad, &has_waited, err);
        if (rc != AK_OK || !has_waited) {
            return rc;
        }
    }
}

/* Ask for the next segment's file when a quarter is left: late, so that a checkpoint has had the
 * time to release an old segment, whose written blocks sync faster than new ones. */
static void ask_ahead(struct ak_wal *wal)
{
    struct wal_segment *tail = wal->tail;
    if (!tail->asked_ahead && ak_wal_segment_end(tail) - wal->end < tail->bytes / 4) {
        tail->asked_ahead = true;
        if (!wal->spare.file) {
            wal->spare_hint = true;
            ak_wal_wake_writer(wal);
        }
    }
}

/* The bytes of a record are reserved: *header is complete but for its CRC, *seed begins that. */
static enum ak_rc reserve(struct ak_wal *wal, size_t bytes, struct wal_record_header *header,
                          uint32_t *seed, unsigned char **to, struct wal_buffer **buffer,
                          struct ak_err *err)
{
    ak_mutex_lock(&wal->mutex);
    enum ak_rc rc = await_room(wal, bytes, err);
    if (rc != AK_OK) {
        ak_mutex_unlock(&wal->mutex);
        return rc;
    }
    if (!fits_tail(wal, bytes)) {
        begin_segment(wal);
    }
    header->lsn = wal->end;
    header->durable = wal->durable;
    *seed = wal->tail->seed;
    *buffer = &wal->buffers[wal->front];
    *to = take_bytes(wal, bytes);
    atomic_fetch_add(&(*buffer)->filling, 1);
    (*buffer)->records++;
    wal->records++;
    wal->full = false;
    ask_ahead(wal);
    if (wal->dormant || (*buffer)->len >= wal->flush_bytes) {
        ak_wal_wake_writer(wal);
    }
    ak_mutex_unlock(&wal->mutex);
    return AK_OK;
}

/* The copy is done; the writer thread may be waiting for the last one. Sequentially consistent: it
 * sets `sealed` and then reads `filling`, we count down and then read `sealed`, so one of the two
 * sees the other. */
static void copied(struct ak_wal *wal, struct wal_buffer *buffer)
{
    if (atomic_fetch_sub(&buffer->filling, 1) == 1 && atomic_load(&buffer->sealed)) {
        ak_mutex_lock(&wal->mutex);
        ak_cond_signal(&wal->filled);
        ak_mutex_unlock(&wal->mutex);
    }
}

enum ak_rc ak_wal_append(struct ak_wal *wal, uint32_t kind, const struct ak_str *parts,
                         size_t part_count, ak_lsn *lsn, ak_lsn *next, struct ak_err *err)
{
    AK_ASSERT(kind < WAL_KIND_MARK);
    uint64_t len = 0;
    uint32_t crc = 0;
    for (size_t i = 0; i < part_count; i++) {
        len = parts[i].len > AK_WAL_RECORD_MAX ? UINT32_MAX : len + parts[i].len;
        if (len > AK_WAL_RECORD_MAX) {
            return ak_fail(err, AK_TOO_BIG,
                           "one log record holds at most %u bytes: send less at once",
                           AK_WAL_RECORD_MAX);
        }
        crc = ak_crc32c(crc, parts[i].p, parts[i].len);
    }
    struct wal_record_header header = {.kind = kind, .len = (uint32_t)len, .payload_crc = crc};
    struct wal_buffer *buffer = NULL;
    unsigned char *to = NULL;
    uint32_t seed = 0;
    size_t bytes = (size_t)ak_wal_record_bytes(len);
    enum ak_rc rc = reserve(wal, bytes, &header, &seed, &to, &buffer, err);
    if (rc != AK_OK) {
        return rc;
    }
    ak_wal_encode_record(&header, seed, to);
    size_t at = WAL_RECORD_HEADER_BYTES;
    for (size_t i = 0; i < part_count; i++) {
        if (parts[i].len) {
            memcpy(to + at, parts[i].p, parts[i].len);
            at += parts[i].len;
        }
    }
    memset(to + at, 0, bytes - at);
    copied(wal, buffer);
    *lsn = header.lsn;
    *next = header.lsn + bytes;
    return AK_OK;
}

/* ---- Commit ---- */

/* Queue the commit, or say at once: *rc is its result then. */
static bool is_settled(struct ak_wal *wal, struct ak_wal_commit *commit, bool must_sync,
                       enum ak_rc *rc)
{
    bool waits_sync = must_sync || wal->durability == AK_DURABILITY_SYNC;
    ak_mutex_lock(&wal->mutex);
    AK_ASSERT(commit->upto <= wal->end);
    ak_lsn reached = waits_sync ? wal->durable : wal->written;
    if (!waits_sync && wal->durability == AK_DURABILITY_ASYNC && !wal->failed) {
        reached = wal->end;
    }
    bool settled = commit->upto <= reached || wal->failed;
    *rc = commit->upto <= reached ? AK_OK : AK_IO;
    if (!settled) {
        struct ak_wal_commit **list = waits_sync ? &wal->durable_waiters : &wal->written_waiters;
        commit->link = *list;
        *list = commit;
        ak_wal_wake_writer(wal);
    }
    ak_mutex_unlock(&wal->mutex);
    return settled;
}

void ak_wal_commit_async(struct ak_wal *wal, struct ak_wal_commit *commit, ak_lsn upto)
{
    enum ak_rc rc = AK_OK;
    commit->upto = upto;
    if (is_settled(wal, commit, false, &rc)) {
        commit->done(commit, rc);
    }
}

struct waiter {
    struct ak_wal_commit commit;
    struct ak_mutex mutex;
    struct ak_cond cond;
    bool is_done;
    enum ak_rc rc;
};

static void wake_waiter(struct ak_wal_commit *commit, enum ak_rc rc)
{
    struct waiter *waiter = (struct waiter *)commit; /* its first member */
    ak_mutex_lock(&waiter->mutex);
    waiter->rc = rc;
    waiter->is_done = true;
    ak_cond_signal(&waiter->cond);
    ak_mutex_unlock(&waiter->mutex);
}

static enum ak_rc wait_for(struct ak_wal *wal, ak_lsn upto, bool must_sync, struct ak_err *err)
{
    struct waiter waiter = {.commit = {.upto = upto, .done = wake_waiter}};
    ak_mutex_init(&waiter.mutex, AK_RANK_LEAF, "wal commit");
    ak_cond_init(&waiter.cond);
    if (!is_settled(wal, &waiter.commit, must_sync, &waiter.rc)) {
        ak_mutex_lock(&waiter.mutex);
        while (!waiter.is_done) {
            ak_cond_wait(&waiter.cond, &waiter.mutex);
        }
        ak_mutex_unlock(&waiter.mutex);
    }
    ak_cond_release(&waiter.cond);
    ak_mutex_release(&waiter.mutex);
    return waiter.rc == AK_OK ? AK_OK : say_failed(wal, err);
}

enum ak_rc ak_wal_commit(struct ak_wal *wal, ak_lsn upto, struct ak_err *err)
{
    return wait_for(wal, upto, false, err);
}

enum ak_rc ak_wal_sync(struct ak_wal *wal, ak_lsn upto, struct ak_err *err)
{
    return wait_for(wal, upto, true, err);
}

enum ak_rc ak_wal_seal(struct ak_wal *wal, struct ak_err *err)
{
    ak_mutex_lock(&wal->mutex);
    wal->sealed = true;
    ak_lsn end = wal->end;
    ak_mutex_unlock(&wal->mutex);
    return ak_wal_sync(wal, end, err);
}

/* ---- Release ---- */

/* The oldest segment, when nobody needs it any more. Mutex held. */
static struct wal_segment *releasable(const struct ak_wal *wal)
{
    struct wal_segment *oldest = wal->first;
    return oldest != wal->active && ak_wal_segment_end(oldest) <= wal->release_below &&
                   ak_wal_segment_end(oldest) <= wal->durable
               ? oldest
               : NULL;
}

/* Without the mutex: one thread at a time (`releasing`). */
static enum ak_rc drop_segment(struct ak_wal *wal, const struct wal_segment *segment, bool as_spare,
                               uint64_t spare_id, struct wal_spare *spare, struct ak_err *err)
{
    if (as_spare) {
        struct ak_err ignored; /* removing it is the second best, and reported if that fails */
        if (ak_wal_segment_recycle(wal->fs, wal->dir, segment, spare_id, spare, &ignored) ==
            AK_OK) {
            return AK_OK;
        }
    }
    return ak_wal_segment_remove(wal->fs, wal->dir, segment, err);
}

void ak_wal_release_before(struct ak_wal *wal, ak_lsn lsn)
{
    struct ak_err err;
    enum ak_rc rc = AK_OK;
    ak_mutex_lock(&wal->mutex);
    wal->release_below = lsn > wal->release_below ? lsn : wal->release_below;
    if (wal->releasing) { /* the thread that is at it sees the new limit */
        ak_mutex_unlock(&wal->mutex);
        return;
    }
    wal->releasing = true;
    struct wal_segment *segment = NULL;
    while (rc == AK_OK && (segment = releasable(wal)) != NULL) {
        bool as_spare = !wal->failed && !wal->spare.file && !wal->spare_busy &&
                        segment->bytes == wal->segment_bytes;
        struct wal_spare spare = {.file = NULL};
        uint64_t spare_id = as_spare ? wal->spare_next++ : 0;
        wal->spare_busy = wal->spare_busy || as_spare;
        ak_mutex_unlock(&wal->mutex);
        rc = drop_segment(wal, segment, as_spare, spare_id, &spare, &err);
        ak_mutex_lock(&wal->mutex);
        if (as_spare) {
            wal->spare_busy = false;
            wal->spare = spare;
            ak_cond_broadcast(&wal->room);
            ak_wal_wake_writer(wal); /* it may have found the spare busy */
        }
        if (rc == AK_OK) {
            wal->first = segment->next;
            ak_wal_segment_free(segment);
        }
    }
    wal->releasing = false;
    ak_mutex_unlock(&wal->mutex);
    if (rc != AK_OK) { /* it stays in the list: the next release tries again */
        ak_log_warn(wal->log, "wal", "an old segment is still there: %s", err.text);
    }
}

void ak_wal_stats(struct ak_wal *wal, struct ak_wal_stats *stats)
{
    ak_mutex_lock(&wal->mutex);
    *stats = (struct ak_wal_stats){
        .start = wal->first->start,
        .end = wal->end,
        .durable = wal->durable,
        .bytes_on_disk = wal->spare.file ? wal->spare.bytes : 0,
        .records = wal->records,
        .groups = wal->groups,
        .syncs = wal->syncs,
        .failed = wal->failed,
        .full = wal->full,
    };
    for (const struct wal_segment *s = wal->first; s; s = s->next) {
        stats->bytes_on_disk += s->bytes;
    }
    ak_mutex_unlock(&wal->mutex);
}
