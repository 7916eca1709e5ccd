/* query_log_priv.h — the parts of the query log: ring, shapes, files, hourly figures. */
#pragma once
#include "base/limits.h"
#include "base/mem.h"
#include "base/sync.h"
#include "perf/perf.h"
#include "perf/query_log.h"
#include <stdatomic.h>

#define AK_QUERY_TICK_MS 250
#define AK_QUERY_FILE_BYTES ((uint64_t)8 << 20)
#define AK_QUERY_BURST_PART 16 /* of a file that may be filled at any speed */
#define AK_QUERY_FREE_BYTES ((uint64_t)64 << 20)

/* --- query_log_ring.c: many put, one takes --- */

struct ak_query_slot {
    /* Whose turn it is: `position` an entry may be put, position + 1 it may be taken. The release
     * of either side pairs with the acquire of the other. */
    _Atomic uint64_t turn;
    struct ak_query_entry entry;
    uint64_t hash;
    enum ak_query_type type;
    uint8_t table_len;
    char table[AK_NAME_MAX];
};

struct ak_query_ring {
    struct ak_query_slot *slots;                   /* AK_QUERY_LOG_RING */
    _Alignas(AK_CACHE_LINE) _Atomic uint64_t head; /* next to be put; only its number matters */
    _Alignas(AK_CACHE_LINE) _Atomic uint64_t tail; /* next to be taken; written by the taker */
};

void ak_query_ring_init(struct ak_query_ring *ring);
void ak_query_ring_release(struct ak_query_ring *ring);
/* false: it is full. */
bool ak_query_ring_put(struct ak_query_ring *ring, const struct ak_query_shape *shape,
                       uint64_t hash, const struct ak_query_entry *entry);
/* The oldest entry, valid until ak_query_ring_taken(); NULL: none. */
const struct ak_query_slot *ak_query_ring_take(struct ak_query_ring *ring);
void ak_query_ring_taken(struct ak_query_ring *ring);
bool ak_query_ring_is_half_full(struct ak_query_ring *ring);

/* --- query_log_known.c: the shapes that were met --- */

#define AK_QUERY_KNOWN 32768u                   /* places; a power of two */
#define AK_QUERY_SHAPES_MAX ((uint64_t)4 << 20) /* bytes of the file; begun anew once a day */

struct ak_query_known {
    _Atomic uint64_t hashes[AK_QUERY_KNOWN]; /* 0: free. A hint: a shape may be written twice */
    struct ak_mutex lock;                    /* the two below; requests only ever try it */
    struct ak_buf lines;                     /* shapes to be written */
    struct ak_buf spare;                     /* the writer's */
    uint64_t file_bytes;                     /* the writer's */
    int32_t anew_day;                        /* the writer's: when the file was last begun anew */
    _Atomic bool is_full;                    /* for the rest of the day; a hint, and relaxed */
};

void ak_query_known_init(struct ak_query_known *known);
void ak_query_known_release(struct ak_query_known *known);
/* What the file holds; a file that cannot be read is begun anew. */
void ak_query_known_load(struct ak_query_known *known, struct ak_fs *fs, const char *path);
/* A shape that may be new: queue its line, unless another thread is at it. */
void ak_query_known_note(struct ak_query_known *known, const struct ak_query_shape *shape,
                         uint64_t hash);
/* Append what is queued; on its first overflow of a day the file is begun anew, after the second
 * one shapes are left out until tomorrow. After a failure its shapes are forgotten, and queued
 * again when they are met again. */
AK_MUST enum ak_rc ak_query_known_write(struct ak_query_known *known, struct ak_fs *fs,
                                        const char *path, int32_t day, struct ak_err *err);

/* --- query_log_file.c: the files of one kind, a day or a week each --- */

enum ak_query_drop { AK_QUERY_DROP_RING, AK_QUERY_DROP_SIZE, AK_QUERY_DROP_WRITE, AK_QUERY_DROPS };

struct ak_query_file {
    struct ak_fs *fs;
    const char *dir;
    struct ak_log *log;
    bool weekly;
    uint64_t bytes_max;
    struct ak_file *file; /* NULL: none is open */
    int32_t day;          /* of the open file: the day, or the week's Monday */
    uint64_t end;         /* bytes of it that are whole lines */
    struct ak_buf rows;   /* to be written */
    uint64_t rows_count;
    uint64_t written;         /* rows; whoever reports it sets it back */
    int64_t blocked_until_ns; /* after a failure */
    bool has_complained;
};

/* The day that a file for `day` is named after. */
int32_t ak_query_file_period(bool weekly, int32_t day);
/* Append one row to the file of its day; rows are held back until flush. Counts what it drops in
 * drops[]. */
void ak_query_file_add(struct ak_query_file *file, const struct ak_perf_query *row, int64_t mono_ns,
                       uint64_t drops[AK_QUERY_DROPS]);
/* Write what is held back. */
void ak_query_file_flush(struct ak_query_file *file, int64_t mono_ns,
                         uint64_t drops[AK_QUERY_DROPS]);
void ak_query_file_close(struct ak_query_file *file);
/* The share of rows, of 2^64, that keeps to the pace: see query_log.h. `rows` came in `span_ns`. */
uint64_t ak_query_file_share(const struct ak_query_file *file, int64_t now_us, uint64_t rows,
                             int64_t span_ns);

/* --- query_log_hour.c: figures of the past hour --- */

#define AK_QUERY_FIGURES 16

struct ak_query_hour {
    struct ak_series *series[AK_QUERY_FIGURES];
    double before[AK_QUERY_FIGURES];
    int64_t hour; /* since 1970 */
};

void ak_query_hour_init(struct ak_query_hour *hour, struct ak_metrics *metrics, int64_t now_us);
bool ak_query_hour_is_over(const struct ak_query_hour *hour, int64_t now_us);
/* Append the lines of events whose figures have changed since the last call. */
void ak_query_hour_put(struct ak_query_hour *hour, int64_t now_us, struct ak_buf *out);

/* --- query_log.c --- */

struct ak_query_log {
    struct ak_query_log_options options;
    char *dir, *shapes_path;
    struct ak_query_ring ring;
    struct ak_query_known known;
    _Atomic uint64_t share;   /* of 2^64: is a query one of the sample? */
    _Atomic uint64_t queries; /* seen */
    uint64_t base_share;      /* by sample_every */
    uint64_t queries_before;  /* at the last pass */
    uint64_t weekly_rows;     /* offered to the weekly file: what its choice hashes */
    uint64_t weekly_share;
    uint64_t weekly_before; /* at the last pass */
    int64_t pass_ns;        /* of the last pass */
    int32_t kept_day;       /* the day of the last look for old files */
    struct ak_query_file daily, weekly;
    struct ak_query_hour hour;
    struct ak_series *m_rows, *m_share, *m_drops[AK_QUERY_DROPS];
    bool has_complained;
    struct ak_mutex lock; /* is_closing */
    struct ak_cond wake;
    bool is_closing;
    struct ak_thread thread;
};
