/* wal_priv.h — what the files of the log share: the format's constants, segments, the log itself.
 *
 * The essay with format, invariants and threads is at the top of wal.c.
 */
#pragma once
#include "base/limits.h"
#include "base/sync.h"
#include "wal/wal.h"

#define WAL_VERSION 1u
#define WAL_SEGMENT_HEADER_BYTES 4096u /* a block of its own, so that records never rewrite it */
#define WAL_RECORD_HEADER_BYTES 32u
#define WAL_ALIGN 8u
#define WAL_SEGMENT_BYTES_DEFAULT ((uint64_t)64 << 20)
#define WAL_SEGMENT_BYTES_MIN ((uint64_t)8192)
#define WAL_SEGMENT_BYTES_MAX ((uint64_t)4 << 30)
#define WAL_BUFFER_MAX_DEFAULT ((size_t)32 << 20)
#define WAL_BUFFER_MAX_MIN ((size_t)4096)
#define WAL_FLUSH_BYTES ((size_t)4 << 20)
#define WAL_INTERVAL_MS_DEFAULT 100u
#define WAL_PATH_MAX 4096u

/* Kinds of the log itself; the callers' are below. */
#define WAL_KIND_PAD 0xffffffffu  /* the rest of the segment is unused */
#define WAL_KIND_MARK 0xfffffffeu /* written at close: everything before it is synced */

struct wal_record_header {
    uint32_t kind;
    uint32_t len; /* of the payload, without the bytes that align the next record */
    uint64_t lsn;
    uint64_t durable; /* everything below was synced when this was written */
    uint32_t payload_crc;
};

struct wal_segment {
    struct wal_segment *next;
    ak_lsn start;
    uint64_t bytes; /* of the file and of LSN space, header block included */
    uint64_t salt;
    uint32_t seed;        /* CRC32C of the salt: every header CRC of the segment starts from it */
    struct ak_file *file; /* open while the log writes to it, else NULL; the writer thread's */
    uint64_t spare_id;    /* the file is still named so while !named */
    bool named;           /* has header and final name, durably; the writer thread's */
    bool asked_ahead;     /* its appends have asked for the segment after it */
};

/* A file that is reserved and synced, waiting to become a segment. */
struct wal_spare {
    struct ak_file *file; /* NULL: there is none */
    uint64_t bytes;
    uint64_t id;
};

/* Bytes of a group that go to one place. */
struct wal_run {
    struct wal_segment *segment;
    uint64_t pos; /* in the segment's file */
    size_t at;    /* in the buffer */
    size_t len;
};

struct wal_buffer {
    unsigned char *p;
    size_t cap;
    size_t len;
    uint64_t records;
    struct wal_run *runs;
    size_t run_count;
    size_t run_cap;
    /* Appends that have reserved bytes here and are still copying. Their decrement pairs with the
     * writer's read in wal_group.c: bytes copied before it are visible after it. */
    _Atomic uint32_t filling;
    _Atomic bool sealed; /* the writer waits for filling to reach 0 */
};

struct ak_wal {
    struct ak_fs *fs;
    char *dir;
    struct ak_log *log;
    enum ak_durability durability;
    uint32_t interval_ms;
    uint64_t segment_bytes;
    size_t buffer_max;
    size_t flush_bytes; /* gathered bytes that are worth writing though nobody waits for them */
    void (*on_group)(void *ctx, uint64_t bytes, uint64_t records, double seconds);
    void *ctx;
    struct ak_thread thread;

    struct ak_mutex mutex; /* guards all that follows, but for what is said to be the writer's */
    struct ak_cond work;   /* the writer thread sleeps here */
    struct ak_cond filled; /* the writer thread waits here for copying appends */
    struct ak_cond room;   /* appends wait here for buffer or segment */
    bool asleep;           /* the writer sleeps and must be woken */
    bool dormant;          /* … without a timeout: an append has to wake it too */
    bool tick;             /* the writer's timeout has passed: flush what has gathered */
    bool closing;
    bool failed;
    bool sealed;               /* the process is about to end: appends are refused */
    char why[AK_ERR_TEXT_MAX]; /* set once, with failed */

    ak_lsn end;                 /* next to be given */
    ak_lsn written;             /* everything below has been handed to write() */
    ak_lsn durable;             /* everything below has been synced */
    struct wal_segment *first;  /* oldest held … */
    struct wal_segment *tail;   /* … to the one that appends go to */
    struct wal_segment *active; /* the writer's: the one it has open */
    struct wal_buffer buffers[2];
    unsigned front; /* index of the buffer that appends fill */
    uint32_t room_waiters;
    uint32_t big_waiters; /* of those, with a record that needs an empty buffer */

    struct wal_spare spare;
    bool spare_busy;       /* someone works on the spare without the lock */
    bool spare_hint;       /* prepare one when convenient */
    uint64_t spare_next;   /* id of the next spare file */
    uint64_t spare_asked;  /* ticket of the latest append that needs one */
    uint64_t spare_served; /* tickets up to this have had an attempt */
    uint64_t spare_want;   /* bytes that the unserved tickets need */
    enum ak_rc spare_rc;   /* of the last attempt */
    struct ak_err spare_err;

    struct ak_wal_commit *written_waiters; /* wait for `written`; unordered */
    struct ak_wal_commit *durable_waiters; /* wait for `durable`; unordered */
    ak_lsn release_below;
    bool releasing;
    bool has_mark; /* the last record is a mark: close need not write another */

    int64_t last_sync_ns; /* the writer's */
    uint64_t records;
    uint64_t groups;
    uint64_t syncs;
    bool full;
};

static inline uint64_t ak_wal_align(uint64_t n, uint64_t to)
{
    return (n + to - 1) & ~(to - 1);
}

/* Bytes that a record with `len` bytes of payload takes. */
static inline uint64_t ak_wal_record_bytes(uint64_t len)
{
    return WAL_RECORD_HEADER_BYTES + ak_wal_align(len, WAL_ALIGN);
}

static inline ak_lsn ak_wal_segment_end(const struct wal_segment *segment)
{
    return segment->start + segment->bytes;
}

/* ---- wal_segment.c: bytes of headers, names and files of segments ---- */

void ak_wal_encode_record(const struct wal_record_header *header, uint32_t seed,
                          unsigned char to[WAL_RECORD_HEADER_BYTES]);
/* Whether `from` is the header of a record at `lsn` in a segment with `left` bytes from there on.
 * The payload is not looked at. */
bool ak_wal_decode_record(const unsigned char from[WAL_RECORD_HEADER_BYTES], uint32_t seed,
                          ak_lsn lsn, uint64_t left, struct wal_record_header *header);
/* A fresh salt and its seed. */
void ak_wal_segment_salt(struct wal_segment *segment);

void ak_wal_segment_path(const char *dir, ak_lsn start, char path[WAL_PATH_MAX]);
void ak_wal_spare_path(const char *dir, uint64_t id, char path[WAL_PATH_MAX]);
/* Which file of the log `name` is; false: none. */
bool ak_wal_parse_name(struct ak_str name, bool *is_spare, uint64_t *number);

/* Open the segment file that begins at `start` and check its header against its name and size.
 * AK_CORRUPT names the file. *out is the caller's: ak_wal_segment_free(). */
AK_MUST enum ak_rc ak_wal_segment_open(struct ak_fs *fs, const char *dir, ak_lsn start,
                                       struct wal_segment **out, struct ak_err *err);
void ak_wal_segment_free(struct wal_segment *segment);

/* Make spare->file a synced file of `bytes` reserved bytes: a new one, or an old one grown. On
 * failure a former spare is as it was, and a new one does not exist. */
AK_MUST enum ak_rc ak_wal_spare_make(struct ak_fs *fs, const char *dir, struct wal_spare *spare,
                                     uint64_t bytes, struct ak_err *err);
/* Give the spare file of `segment` its header and its name, durably. */
AK_MUST enum ak_rc ak_wal_segment_activate(struct ak_fs *fs, const char *dir,
                                           struct wal_segment *segment, struct ak_err *err);
/* Turn the file of a released segment into spare `id`, durably. */
AK_MUST enum ak_rc ak_wal_segment_recycle(struct ak_fs *fs, const char *dir,
                                          const struct wal_segment *segment, uint64_t id,
                                          struct wal_spare *spare, struct ak_err *err);
AK_MUST enum ak_rc ak_wal_segment_remove(struct ak_fs *fs, const char *dir,
                                         const struct wal_segment *segment, struct ak_err *err);

/* ---- wal_replay.c ---- */

/* Read the folder, replay from `from`, cut the torn tail; sets first, tail, active, end, written,
 * durable, spare_next, has_mark. A folder without segments gets its first one. */
AK_MUST enum ak_rc ak_wal_replay(struct ak_wal *wal, ak_lsn from, ak_wal_replay_fn fn, void *ctx,
                                 struct ak_err *err);

/* ---- wal_group.c ---- */

void ak_wal_writer(void *wal);               /* the log's thread */
void ak_wal_wake_writer(struct ak_wal *wal); /* with the mutex held */
