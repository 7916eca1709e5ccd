/* query_log.h — the server's log of its queries: a sampled row per query, in CSV files by day and
 * by week (perf.h has the columns), a list of the shapes that queries have, and hourly figures.
 *
 * A request never waits for it: what is to be logged goes into a ring, and one thread of low
 * priority writes it down. When the ring is full, the disk is, or a write fails, rows are dropped
 * and counted (akidb_query_log_dropped_total), and serving goes on.
 *
 * Files, all in one folder:
 *   query_perf_daily_YYYYMMDD.csv   rows whose query began on that day, in UTC
 *   query_perf_weekly_YYYYWW.csv    of these as many as fit into the same size, thinned evenly
 *   query_shapes.ndjson             {"query_hash","table","query_type", what makes the shape}
 *   optimization_summary.txt        events, a line each: figures of every hour (summary_file.h)
 *
 * Sampling: one query in `sample_every`. A file has at most `file_bytes_max` bytes: rows that come
 * faster than the even pace which fills it by the end of its day are thinned to that pace, after a
 * sixteenth of the size that may be used up at any speed. The choice is a hash of a counter, blind
 * to what the query is.
 *
 * Crash: rows of the last quarter of a second are lost, and the last line may be cut; the next
 * start takes what is cut away. Nothing is synced: a power cut may cost the last seconds.
 *
 * Threads: wants and put from any; open and close by one, with no call under way.
 * Memory: a ring of AK_QUERY_LOG_RING entries, about 1.5 MiB.
 */
#pragma once
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "metrics/metrics.h"
#include "model/filter.h"

struct ak_query_log;

#define AK_QUERY_LOG_RING 4096u
#define AK_QUERY_SHAPES_FILE "query_shapes.ndjson"

struct ak_query_log_options {
    struct ak_fs *fs;             /* NULL: the file system of the machine */
    const char *dir;              /* made when absent */
    const struct ak_clock *clock; /* NULL: the system's */
    struct ak_log *log;           /* may be NULL */
    struct ak_metrics *metrics;   /* may be NULL */
    uint32_t sample_every;        /* one query in so many; 0: 1 */
    uint64_t file_bytes_max;      /* of a day's file, and of a week's; 0: 8 MiB */
    int64_t retention_us;         /* daily files older than this go; 0: none */
    int64_t weekly_retention_us;  /* weekly ones */
    uint64_t free_bytes_min;      /* less room on the disk: nothing is written; 0: 64 MiB */
    bool by_hand;                 /* no thread: ak_query_log_drain() writes. For tests */
};

/* What cannot be written later is no reason not to start: only a want of threads is a failure. */
AK_MUST enum ak_rc ak_query_log_open(const struct ak_query_log_options *options,
                                     struct ak_query_log **log, struct ak_err *err);
/* Writes what is in the ring. NULL is fine. */
void ak_query_log_close(struct ak_query_log *log);

/* Is this query one of the sample? Asked once a query; about 10 ns. NULL log: no. */
bool ak_query_log_wants(struct ak_query_log *log);

enum ak_query_type {
    AK_QUERY_SEARCH,
    AK_QUERY_SEARCH_BATCH,
    AK_QUERY_FETCH,
    AK_QUERY_SCROLL,
    AK_QUERY_COUNT,
    AK_QUERY_UPSERT,
    AK_QUERY_DELETE,
    AK_QUERY_IMPORT,
    AK_QUERY_EXPORT,
    AK_QUERY_SNAPSHOT, /* that was asked for; those of the schedule and of tiers are not logged */
    AK_QUERY_RESTORE,
    AK_QUERY_TYPE_COUNT
};
const char *ak_query_type_name(enum ak_query_type type); /* "SEARCH" … */

/* What answered. */
enum ak_query_index {
    AK_QUERY_HNSW,           /* the graph, and rows that it does not have yet */
    AK_QUERY_HNSW_FILTERED,  /* the graph, kept to rows that a filter allows */
    AK_QUERY_EXACT,          /* every row was compared */
    AK_QUERY_EXACT_FILTERED, /* every row that a filter allows was compared */
    AK_QUERY_ID,             /* documents by their ids */
    AK_QUERY_COLUMNS,        /* filter columns over all rows */
    AK_QUERY_SCAN,           /* all rows, without a filter */
    AK_QUERY_COUNTER,        /* a number that is kept */
    AK_QUERY_IMAGE,          /* the image of the index in a snapshot */
    AK_QUERY_REBUILD,        /* the documents of a snapshot, of which the index was built anew */
    AK_QUERY_INDEX_COUNT
};
const char *ak_query_index_name(enum ak_query_index index); /* "hnsw" … */

/* What makes two queries the same: all of this, numbers in steps of powers of two (but ef as it is,
 * and recall to a thousandth), of a filter its keys and operators without the values, in any
 * order. */
struct ak_query_shape {
    struct ak_str table; /* the collection's name */
    enum ak_query_type type;
    uint64_t items; /* searches of a batch, documents or ids given; else 0 */
    uint32_t k;     /* or the limit of a scroll; else 0 */
    uint32_t ef;    /* 0: what `recall` needs, or the collection's */
    double recall;  /* that was asked for; 0: none. Of no effect beside ef or exact, and left out */
    bool exact;
    bool has_threshold;
    const struct ak_filter *filter; /* or NULL */
};
uint64_t ak_query_shape_hash(const struct ak_query_shape *shape);
/* {"query_hash":"00c1…","table":"docs","query_type":"SEARCH","k":16,"ef":96,
 *  "filter":{"must":[{"key":"lang","match":1},{"key":"year","range":["gte","lt"]}]}} */
void ak_query_shape_put(const struct ak_query_shape *shape, uint64_t hash, struct ak_buf *out);

struct ak_query_entry {
    int64_t began_us; /* wall clock */
    int64_t duration_ns;
    int64_t cpu_ns;  /* < 0: not known */
    int64_t wait_ns; /* for disks; < 0: not known */
    uint64_t examined, returned;
    enum ak_query_index index;
    bool cache_hit;
    bool no_cache_hit; /* it is not known whether there was one */
};
/* About 100 ns; a shape that is met for the first time, some µs. Everything is copied. */
void ak_query_log_put(struct ak_query_log *log, const struct ak_query_shape *shape,
                      const struct ak_query_entry *entry);

/* Under `by_hand`: what the thread does at each of its passes. */
void ak_query_log_drain(struct ak_query_log *log);
