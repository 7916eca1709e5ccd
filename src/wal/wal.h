/* wal.h — the write-ahead log of the node: what is acknowledged is in here first.
 *
 * One log serves all collections. A record is opaque bytes with a kind; it is whole or absent after
 * a crash. Records are ordered by LSN: the byte position of the record's header in the endless log,
 * so LSNs only grow and `end - lsn` is how much log must be replayed.
 *
 * Append copies the record into memory and gives its LSN; a writer thread of the log writes and
 * syncs everything that has gathered (group commit) and then calls back in LSN order. Space is
 * allocated a segment ahead, so a full disk is refused by append (AK_NO_SPACE) before anything is
 * changed, and the log goes on by itself when there is room again.
 *
 * Durability: SYNC acknowledges after fdatasync; INTERVAL syncs every interval_ms and acknowledges
 * after the write; ASYNC acknowledges after the append.
 * Failure: a write or sync error other than a full disk puts the log into FAILED for good: every
 * append and every waiting commit gets AK_IO; reads of the database go on; restart replays.
 *
 * Threads: any call from any thread; open and close by one. Memory: records are borrowed for the
 * call; the log holds at most about two `buffer_max` of pending bytes, then append waits.
 * Format, invariants and recovery rules: docs/formats/wal.md and the top of wal.c.
 */
#pragma once
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

typedef uint64_t ak_lsn; /* 0: before everything; the first record of a new log is > 0 */

enum ak_durability { AK_DURABILITY_SYNC, AK_DURABILITY_INTERVAL, AK_DURABILITY_ASYNC };

struct ak_wal_options {
    struct ak_fs *fs;   /* required */
    const char *dir;    /* folder of the segments; made when absent */
    struct ak_log *log; /* may be NULL */
    enum ak_durability durability;
    uint32_t interval_ms;   /* INTERVAL only; 0: 100 */
    uint64_t segment_bytes; /* 0: 64 MiB */
    size_t buffer_max;      /* 0: 32 MiB */
    /* Told after each group: bytes written, seconds it took (write and sync). May be NULL. */
    void (*on_group)(void *ctx, uint64_t bytes, uint64_t records, double seconds);
    void *ctx;
};

struct ak_wal;

struct ak_wal_record {
    ak_lsn lsn;
    ak_lsn next; /* LSN of the byte after it */
    uint32_t kind;
    struct ak_str payload; /* borrowed for the callback */
};

/* A failure stops the replay and open returns it. */
typedef enum ak_rc (*ak_wal_replay_fn)(void *ctx, const struct ak_wal_record *record,
                                       struct ak_err *err);

/* Open (making when absent), replay every whole record with LSN ≥ `from` in order, cut a torn tail,
 * start the writer thread. `from` older than the oldest segment is AK_CORRUPT.
 * AK_CORRUPT names segment file and offset when a record that had been synced is damaged. */
AK_MUST enum ak_rc ak_wal_open(const struct ak_wal_options *options, ak_lsn from,
                               ak_wal_replay_fn replay, void *ctx, struct ak_wal **wal,
                               struct ak_err *err);
/* Sync what is pending, stop the thread. NULL is fine. */
void ak_wal_close(struct ak_wal *wal);

/* Append one record made of `part_count` pieces. *lsn is its place, *next the LSN after it. Waits
 * while the buffer is full. AK_NO_SPACE: the disk is full; AK_TOO_BIG: above AK_WAL_RECORD_MAX;
 * AK_IO: the log has failed. Nothing is logged on failure. */
AK_MUST enum ak_rc ak_wal_append(struct ak_wal *wal, uint32_t kind, const struct ak_str *parts,
                                 size_t part_count, ak_lsn *lsn, ak_lsn *next, struct ak_err *err);

/* A commit waiting for durability; the caller's storage until `done` is called. */
struct ak_wal_commit {
    struct ak_wal_commit *link; /* the log's */
    ak_lsn upto;
    /* rc is AK_OK or why it is not durable. On the log's thread: must not block; or on the calling
     * thread when `upto` is durable already. */
    void (*done)(struct ak_wal_commit *commit, enum ak_rc rc);
};
/* Call commit->done once all records below `upto` are durable. */
void ak_wal_commit_async(struct ak_wal *wal, struct ak_wal_commit *commit, ak_lsn upto);
/* The same, waiting. */
AK_MUST enum ak_rc ak_wal_commit(struct ak_wal *wal, ak_lsn upto, struct ak_err *err);
/* Wait until all records below `upto` are synced, whatever the durability: a checkpoint does this
 * before it makes durable anything that the records have changed. */
AK_MUST enum ak_rc ak_wal_sync(struct ak_wal *wal, ak_lsn upto, struct ak_err *err);
/* For an end without a close: appends are refused from now on (AK_UNAVAILABLE), and what came
 * before is synced when it returns, whatever the durability. */
AK_MUST enum ak_rc ak_wal_seal(struct ak_wal *wal, struct ak_err *err);

/* Records below `lsn` are no longer needed: whole segments before it are recycled or removed. */
void ak_wal_release_before(struct ak_wal *wal, ak_lsn lsn);

struct ak_wal_stats {
    ak_lsn start;   /* oldest LSN held */
    ak_lsn end;     /* next LSN to be given */
    ak_lsn durable; /* everything below is synced */
    uint64_t bytes_on_disk;
    uint64_t records, groups, syncs; /* since open */
    bool failed;
    bool full; /* the last append met a full disk */
};
void ak_wal_stats(struct ak_wal *wal, struct ak_wal_stats *stats);
