/* wal_replay.c — reading the log back: find the segments, replay, tell a torn tail from damage.
 *
 * The rule (invariants I1–I6 are in wal.c). Replay stops at the first place x whose bytes are not a
 * whole record. Either nothing after x was ever acknowledged, or x itself was. x was synced, so its
 * damage is AK_CORRUPT and nothing on disk is touched, when
 *   - a later segment exists: it got its name only after all before it was synced (I4), or
 *   - a header after x, valid for its own place, says durable > x (I5).
 * Otherwise x is the torn tail of a crash, and the log goes on at x after three steps:
 *   1. zero from x to the end of the last valid header found beyond it, so that no header of a lost
 *      group can come to stand behind a new record and be taken for one (I6);
 *   2. write again what lies between the last durable position and x. After a failed sync the
 *      kernel marks pages clean that are not on disk, and a process that restarts on the same
 *      machine reads them from the cache: a sync alone would then promise what is not there;
 *   3. sync. From here on everything below x is durable, and what the caller has just replayed
 *      cannot vanish in a second crash.
 * A crash during these steps leaves bytes below x as they were and fewer headers above: the next
 * open comes to the same x.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "wal/wal_priv.h"
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)4 << 20)
#define PROGRESS_NS ((int64_t)1000000000)

struct numbers {
    uint64_t *p;
    size_t count;
    size_t cap;
};

/* A window of at least CHUNK_BYTES onto a segment's file. */
struct reader {
    const struct wal_segment *segment;
    unsigned char *p;
    size_t cap;
    uint64_t pos;
    size_t len;
};

struct replay {
    struct ak_wal *wal;
    ak_lsn from;
    ak_wal_replay_fn fn;
    void *ctx;
    struct numbers segments;
    struct numbers spares;
    struct reader reader;
    ak_lsn durable; /* the highest that a record has told */
    uint64_t records;
    bool last_is_mark;
    ak_lsn goal;
    int64_t begun_ns;
    int64_t told_ns;
};

static void add_number(struct numbers *numbers, uint64_t number)
{
    if (numbers->count == numbers->cap) {
        numbers->cap = numbers->cap ? numbers->cap * 2 : 16;
        numbers->p = ak_realloc(numbers->p, numbers->cap * sizeof *numbers->p);
    }
    numbers->p[numbers->count++] = number;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool see_name(void *ctx, struct ak_str name)
{
    struct replay *replay = ctx;
    bool is_spare = false;
    uint64_t number = 0;
    if (ak_wal_parse_name(name, &is_spare, &number)) {
        add_number(is_spare ? &replay->spares : &replay->segments, number);
    }
    return true;
}

static enum ak_rc list_files(struct replay *replay, struct ak_err *err)
{
    enum ak_rc rc = ak_fs_list(replay->wal->fs, replay->wal->dir, see_name, replay, err);
    if (rc == AK_OK && replay->segments.count) {
        qsort(replay->segments.p, replay->segments.count, sizeof *replay->segments.p,
              compare_numbers);
    }
    if (rc == AK_OK && replay->spares.count) {
        qsort(replay->spares.p, replay->spares.count, sizeof *replay->spares.p, compare_numbers);
    }
    return rc;
}

static void reader_begin(struct reader *reader, const struct wal_segment *segment)
{
    reader->segment = segment;
    reader->len = 0;
}

static void tell_progress(struct replay *replay, ak_lsn at)
{
    int64_t now = ak_mono_ns(ak_clock_system());
    if (now - replay->told_ns >= PROGRESS_NS) {
        replay->told_ns = now;
        ak_log_info(replay->wal->log, "wal", "replayed %llu of %llu MiB",
                    (unsigned long long)((at - replay->from) >> 20),
                    (unsigned long long)((replay->goal - replay->from) >> 20));
    }
}

/* *p: `len` bytes of the segment from `pos` on, inside it. Valid until the next call. */
static enum ak_rc view(struct replay *replay, uint64_t pos, size_t len, const unsigned char **p,
                       struct ak_err *err)
{
    struct reader *reader = &replay->reader;
    if (reader->len == 0 || pos < reader->pos || pos + len > reader->pos + reader->len) {
        uint64_t left = reader->segment->bytes - pos;
        size_t want = len > CHUNK_BYTES ? len : CHUNK_BYTES;
        want = left < want ? (size_t)left : want;
        reader->len = 0;
        if (want > reader->cap) {
            ak_free(reader->p);
            reader->cap = 0;
            reader->p = ak_try_alloc(want);
            if (!reader->p) {
                return ak_fail(err, AK_NOMEM, "no memory for a log record of %zu bytes", want);
            }
            reader->cap = want;
        }
        enum ak_rc rc = ak_file_read_exact(reader->segment->file, pos, reader->p, want, err);
        if (rc != AK_OK) {
            return rc;
        }
        reader->pos = pos;
        reader->len = want;
        if (reader->segment->start + pos > replay->from) {
            tell_progress(replay, reader->segment->start + pos);
        }
    }
    *p = reader->p + (pos - reader->pos);
    return AK_OK;
}

static bool payload_is_whole(const struct wal_record_header *header, const unsigned char *payload)
{
    for (uint64_t i = header->len; i < ak_wal_align(header->len, WAL_ALIGN); i++) {
        if (payload[i] != 0) {
            return false;
        }
    }
    return ak_crc32c(0, payload, header->len) == header->payload_crc;
}

/* Look at the record at `pos`; *is_whole says whether there is one. The payload of records that the
 * caller does not need is neither read nor checked. */
static enum ak_rc read_record(struct replay *replay, uint64_t pos, struct wal_record_header *header,
                              struct ak_str *payload, bool *is_whole, struct ak_err *err)
{
    const struct wal_segment *segment = replay->reader.segment;
    uint64_t left = segment->bytes - pos;
    const unsigned char *p = NULL;
    *is_whole = false;
    enum ak_rc rc = view(replay, pos, WAL_RECORD_HEADER_BYTES, &p, err);
    if (rc != AK_OK ||
        !ak_wal_decode_record(p, segment->seed, segment->start + pos, left, header)) {
        return rc;
    }
    *payload = AK_STR_NONE;
    if (header->kind == WAL_KIND_PAD || header->lsn < replay->from) {
        *is_whole = true;
        return AK_OK;
    }
    rc = view(replay, pos, (size_t)ak_wal_record_bytes(header->len), &p, err);
    if (rc == AK_OK) {
        p += WAL_RECORD_HEADER_BYTES;
        *payload = (struct ak_str){(const char *)p, header->len};
        *is_whole = payload_is_whole(header, p);
    }
    return rc;
}

static enum ak_rc deliver(struct replay *replay, const struct wal_record_header *header,
                          struct ak_str payload, struct ak_err *err)
{
    ak_lsn next = header->lsn + ak_wal_record_bytes(header->len);
    if (header->lsn < replay->from && replay->from < next) {
        return ak_fail(err, AK_CORRUPT,
                       "LSN %llu, where replay is to begin, is inside the record at %llu",
                       (unsigned long long)replay->from, (unsigned long long)header->lsn);
    }
    replay->durable = header->durable > replay->durable ? header->durable : replay->durable;
    replay->last_is_mark = header->kind == WAL_KIND_MARK;
    if (header->lsn < replay->from || header->kind == WAL_KIND_MARK) {
        return AK_OK;
    }
    struct ak_wal_record record = {
        .lsn = header->lsn,
        .next = next,
        .kind = header->kind,
        .payload = payload,
    };
    replay->records++;
    return replay->fn ? replay->fn(replay->ctx, &record, err) : AK_OK;
}

/* Replay one segment. *pos: where it ended; *is_complete: by its own end, not by a bad record. */
static enum ak_rc replay_segment(struct replay *replay, const struct wal_segment *segment,
                                 uint64_t *pos, bool *is_complete, struct ak_err *err)
{
    reader_begin(&replay->reader, segment);
    uint64_t at = WAL_SEGMENT_HEADER_BYTES;
    *is_complete = true;
    while (segment->bytes - at >= WAL_RECORD_HEADER_BYTES) {
        struct wal_record_header header;
        struct ak_str payload;
        bool is_whole = false;
        enum ak_rc rc = read_record(replay, at, &header, &payload, &is_whole, err);
        if (rc != AK_OK) {
            return rc;
        }
        if (!is_whole) {
            *is_complete = false;
            break;
        }
        if (header.kind == WAL_KIND_PAD) {
            break;
        }
        rc = deliver(replay, &header, payload, err);
        if (rc != AK_OK) {
            return rc;
        }
        at += ak_wal_record_bytes(header.len);
    }
    *pos = at;
    return AK_OK;
}

/* Look at every place from `pos` to the end of the last segment. *beyond: the end of the last valid
 * header, `pos` when there is none; *durable: the highest that one of them tells. */
static enum ak_rc scan_beyond(struct replay *replay, uint64_t pos, uint64_t *beyond,
                              ak_lsn *durable, struct ak_err *err)
{
    const struct wal_segment *segment = replay->reader.segment;
    *beyond = pos;
    *durable = 0;
    while (segment->bytes - pos >= WAL_RECORD_HEADER_BYTES) {
        uint64_t left = segment->bytes - pos;
        size_t len = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
        const unsigned char *p = NULL;
        enum ak_rc rc = view(replay, pos, len, &p, err);
        if (rc != AK_OK) {
            return rc;
        }
        size_t i = 0;
        for (; len - i >= WAL_RECORD_HEADER_BYTES; i += WAL_ALIGN) {
            struct wal_record_header header;
            if (ak_wal_decode_record(p + i, segment->seed, segment->start + pos + i, left - i,
                                     &header)) {
                *beyond = pos + i + WAL_RECORD_HEADER_BYTES;
                *durable = header.durable > *durable ? header.durable : *durable;
            }
        }
        pos += i;
    }
    return AK_OK;
}

static enum ak_rc say_damaged(struct replay *replay, const struct wal_segment *segment,
                              uint64_t pos, const char *proof, struct ak_err *err)
{
    char path[WAL_PATH_MAX];
    ak_wal_segment_path(replay->wal->dir, segment->start, path);
    return ak_fail(err, AK_CORRUPT,
                   "log segment '%s' is damaged at byte %llu (LSN %llu), which had been synced: %s",
                   path, (unsigned long long)pos, (unsigned long long)(segment->start + pos),
                   proof);
}

static enum ak_rc write_zeros(struct ak_file *file, uint64_t pos, uint64_t end, struct ak_err *err)
{
    size_t cap = end - pos < CHUNK_BYTES ? (size_t)(end - pos) : CHUNK_BYTES;
    char *zeros = ak_zalloc(cap);
    enum ak_rc rc = AK_OK;
    while (rc == AK_OK && pos < end) {
        size_t len = end - pos < cap ? (size_t)(end - pos) : cap;
        rc = ak_file_write(file, pos, zeros, len, err);
        pos += len;
    }
    ak_free(zeros);
    return rc;
}

/* Steps 1 to 3 of the essay: the log is to go on at `pos` of its last segment. */
static enum ak_rc settle_tail(struct replay *replay, const struct wal_segment *segment,
                              uint64_t pos, uint64_t beyond, struct ak_err *err)
{
    if (beyond > pos) {
        ak_log_warn(replay->wal->log, "wal",
                    "cut the torn tail of segment %016llx at byte %llu: up to %llu bytes that were "
                    "never acknowledged as synced",
                    (unsigned long long)segment->start, (unsigned long long)pos,
                    (unsigned long long)(beyond - pos));
    }
    enum ak_rc rc = write_zeros(segment->file, pos, beyond, err);
    uint64_t at = replay->durable > segment->start + WAL_SEGMENT_HEADER_BYTES
                      ? replay->durable - segment->start
                      : WAL_SEGMENT_HEADER_BYTES;
    reader_begin(&replay->reader, segment);
    while (rc == AK_OK && at < pos) {
        size_t len = pos - at < CHUNK_BYTES ? (size_t)(pos - at) : CHUNK_BYTES;
        const unsigned char *p = NULL;
        rc = view(replay, at, len, &p, err);
        if (rc == AK_OK) {
            rc = ak_file_write(segment->file, at, p, len, err);
        }
        at += len;
    }
    return rc == AK_OK ? ak_file_sync(segment->file, err) : rc;
}

/* The chain ended at `pos` of the last segment: decide between torn and damaged, and settle it. */
static enum ak_rc end_chain(struct replay *replay, struct wal_segment *last, uint64_t pos,
                            struct ak_err *err)
{
    uint64_t beyond = pos;
    ak_lsn durable = 0;
    enum ak_rc rc = scan_beyond(replay, pos, &beyond, &durable, err);
    if (rc != AK_OK) {
        return rc;
    }
    ak_lsn end = last->start + pos;
    if (durable > end) {
        return say_damaged(replay, last, pos, "a record after it says so", err);
    }
    if (replay->from > end) {
        return ak_fail(err, AK_CORRUPT,
                       "the log in '%s' ends at LSN %llu, but LSN %llu has been reached before: "
                       "the folder is older than the data it belongs to",
                       replay->wal->dir, (unsigned long long)end, (unsigned long long)replay->from);
    }
    rc = settle_tail(replay, last, pos, beyond, err);
    if (rc == AK_OK) {
        struct ak_wal *wal = replay->wal;
        wal->active = last;
        wal->end = end;
        wal->written = end;
        wal->durable = end;
        wal->has_mark = replay->last_is_mark;
    }
    return rc;
}

static void hold(struct ak_wal *wal, struct wal_segment *segment)
{
    if (wal->tail) {
        wal->tail->next = segment;
    } else {
        wal->first = segment;
    }
    wal->tail = segment;
}

/* Segments that end before `from` are not opened: damage there harms nobody. */
static enum ak_rc hold_unneeded(struct replay *replay, size_t count, struct ak_err *err)
{
    for (size_t i = 0; i < count; i++) {
        char path[WAL_PATH_MAX];
        uint64_t size = 0;
        ak_wal_segment_path(replay->wal->dir, replay->segments.p[i], path);
        enum ak_rc rc = ak_fs_stat(replay->wal->fs, path, &size, err);
        if (rc != AK_OK) {
            return rc;
        }
        struct wal_segment *segment = ak_zalloc(sizeof *segment);
        *segment =
            (struct wal_segment){.start = replay->segments.p[i], .bytes = size, .named = true};
        hold(replay->wal, segment);
    }
    return AK_OK;
}

static enum ak_rc replay_chain(struct replay *replay, struct ak_err *err)
{
    struct ak_wal *wal = replay->wal;
    const struct numbers *starts = &replay->segments;
    size_t i = 0;
    if (starts->p[0] > replay->from) {
        return ak_fail(err, AK_CORRUPT,
                       "the log in '%s' begins at LSN %llu, but it is needed from LSN %llu on",
                       wal->dir, (unsigned long long)starts->p[0],
                       (unsigned long long)replay->from);
    }
    while (i + 1 < starts->count && starts->p[i + 1] <= replay->from) {
        i++;
    }
    enum ak_rc rc = hold_unneeded(replay, i, err);
    for (; rc == AK_OK; i++) {
        struct wal_segment *segment = NULL;
        uint64_t pos = 0;
        bool is_complete = false;
        rc = ak_wal_segment_open(wal->fs, wal->dir, starts->p[i], &segment, err);
        if (rc != AK_OK) {
            return rc;
        }
        hold(wal, segment);
        rc = replay_segment(replay, segment, &pos, &is_complete, err);
        if (rc != AK_OK) {
            return rc;
        }
        if (i + 1 == starts->count) {
            return end_chain(replay, segment, pos, err);
        }
        if (!is_complete) {
            return say_damaged(replay, segment, pos, "a later segment exists", err);
        }
        if (starts->p[i + 1] != ak_wal_segment_end(segment)) {
            return say_damaged(replay, segment, segment->bytes, "the segment after it is missing",
                               err);
        }
        replay->durable = ak_wal_segment_end(segment);
        ak_file_close(segment->file);
        segment->file = NULL;
    }
    return rc;
}

/* A new log: its first segment, at LSN 0. */
static enum ak_rc begin_log(struct replay *replay, struct ak_err *err)
{
    struct ak_wal *wal = replay->wal;
    if (replay->from > 0) {
        return ak_fail(err, AK_CORRUPT,
                       "the log in '%s' is gone, but it is needed from LSN %llu on", wal->dir,
                       (unsigned long long)replay->from);
    }
    struct wal_spare spare = {.id = wal->spare_next};
    enum ak_rc rc = ak_wal_spare_make(wal->fs, wal->dir, &spare, wal->segment_bytes, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct wal_segment *segment = ak_zalloc(sizeof *segment);
    segment->bytes = spare.bytes;
    segment->file = spare.file;
    segment->spare_id = spare.id;
    ak_wal_segment_salt(segment);
    rc = ak_wal_segment_activate(wal->fs, wal->dir, segment, err);
    if (rc != AK_OK) {
        ak_wal_segment_free(segment);
        return rc;
    }
    hold(wal, segment);
    wal->spare_next++;
    wal->active = segment;
    wal->end = wal->written = wal->durable = WAL_SEGMENT_HEADER_BYTES;
    return AK_OK;
}

/* One spare of the last run is used again under its own name; more are left only by failures. */
static enum ak_rc tidy_spares(struct replay *replay, struct ak_err *err)
{
    const struct numbers *spares = &replay->spares;
    enum ak_rc rc = AK_OK;
    for (size_t i = 0; i + 1 < spares->count && rc == AK_OK; i++) {
        char path[WAL_PATH_MAX];
        ak_wal_spare_path(replay->wal->dir, spares->p[i], path);
        rc = ak_fs_remove(replay->wal->fs, path, err);
    }
    return rc;
}

enum ak_rc ak_wal_replay(struct ak_wal *wal, ak_lsn from, ak_wal_replay_fn fn, void *ctx,
                         struct ak_err *err)
{
    int64_t now = ak_mono_ns(ak_clock_system());
    struct replay replay = {
        .wal = wal, .from = from, .fn = fn, .ctx = ctx, .begun_ns = now, .told_ns = now};
    enum ak_rc rc = AK_OK;
    if (from % WAL_ALIGN != 0) {
        return ak_fail(err, AK_CORRUPT, "no record of the log can begin at LSN %llu",
                       (unsigned long long)from);
    }
    rc = list_files(&replay, err);
    if (rc != AK_OK) {
        goto out;
    }
    wal->spare_next = replay.spares.count ? replay.spares.p[replay.spares.count - 1] : 0;
    if (replay.segments.count == 0) {
        rc = begin_log(&replay, err);
    } else {
        ak_lsn last = replay.segments.p[replay.segments.count - 1];
        replay.goal = last + wal->segment_bytes;
        rc = replay_chain(&replay, err);
    }
    if (rc == AK_OK) {
        rc = tidy_spares(&replay, err);
    }
    int64_t took_ns = ak_mono_ns(ak_clock_system()) - replay.begun_ns;
    if (rc == AK_OK && took_ns >= PROGRESS_NS) {
        ak_log_info(wal->log, "wal", "replayed %llu records in %lld ms",
                    (unsigned long long)replay.records, (long long)(took_ns / 1000000));
    }
out:
    ak_free(replay.reader.p);
    ak_free(replay.segments.p);
    ak_free(replay.spares.p);
    return rc;
}
