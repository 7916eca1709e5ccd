/* show.h — the query log added up: by shape, by collection, by day and by week; and the slowest.
 *
 * Times are kept as a histogram with eight steps an octave: a quantile is within 5 % of the truth.
 * At most AK_PERF_GROUPS_MAX groups of a kind: what comes later falls into one without a name.
 *
 * Threads: one at a time. Memory: about 1 KiB a group (2 KiB for shapes); borrowed from the stats
 * until they are closed or added to.
 */
#pragma once
#include "perf/perf.h"

#define AK_PERF_GROUPS_MAX 20000u
#define AK_PERF_STEPS 256u /* of a histogram: 0.1 µs … 400 s */

enum ak_perf_by {
    AK_PERF_BY_SHAPE,
    AK_PERF_BY_TABLE,
    AK_PERF_BY_TABLE_DAY,
    AK_PERF_BY_WEEK, /* begins on Monday, UTC */
    AK_PERF_BY_COUNT
};

struct ak_perf_group {
    struct ak_str hash, type; /* SHAPE */
    struct ak_str table;      /* SHAPE, TABLE, TABLE_DAY */
    struct ak_str index;      /* SHAPE: what answered last */
    int32_t day;              /* TABLE_DAY; WEEK: its Monday */
    uint64_t rows;
    uint64_t hits, misses; /* rows that say whether there was a cache hit */
    uint64_t examined, returned;
    double total_ms, max_ms;
    double cpu_ms, wait_ms;
    int64_t first_us, last_us;
    uint32_t steps[AK_PERF_STEPS];
};

struct ak_perf_slow {
    int64_t timestamp;
    struct ak_str hash, type, table, index;
    double execution_time_ms;
    int64_t rows_examined, rows_returned;
    bool cache_hit;
};

struct ak_perf_stats;

/* `slow_max` slowest queries are kept. */
struct ak_perf_stats *ak_perf_stats_open(size_t slow_max);
void ak_perf_stats_close(struct ak_perf_stats *stats); /* NULL is fine */
/* A row without execution time is not counted. AK_NOMEM. */
AK_MUST enum ak_rc ak_perf_stats_add(struct ak_perf_stats *stats, const struct ak_perf_query *row,
                                     struct ak_err *err);
uint64_t ak_perf_stats_rows(const struct ak_perf_stats *stats);

enum ak_perf_order {
    AK_PERF_MOST_TIME, /* total_ms, the largest first */
    AK_PERF_IN_TIME    /* table, then day */
};
/* *list (ak_free) of *count groups. */
void ak_perf_stats_list(const struct ak_perf_stats *stats, enum ak_perf_by by,
                        enum ak_perf_order order, const struct ak_perf_group ***list,
                        size_t *count);
/* The slowest, slowest first, into list[slow_max]; returns how many. */
size_t ak_perf_stats_slow(const struct ak_perf_stats *stats, struct ak_perf_slow *list);
/* The time that a share of 0..1 of the rows does not exceed, in ms; 0 of none. */
double ak_perf_quantile_ms(const struct ak_perf_group *group, double share);
/* 0..1; negative: no row says. */
double ak_perf_hit_ratio(const struct ak_perf_group *group);

/* --- A folder of logs (show_folder.c) --- */

struct ak_perf_folder_counts {
    uint64_t files, rows, bad;
    uint64_t parquet_files; /* of `files` */
};
typedef enum ak_rc (*ak_perf_row_fn)(void *ctx, const struct ak_perf_query *row,
                                     struct ak_err *err);
/* Every row of the days from..to: of each day from its CSV, else from the Parquet file that was
 * made of it, else from the week's CSV. Rows that cannot be read are counted and passed over. A
 * folder without any is AK_OK. `table` not empty: rows of this collection only. */
AK_MUST enum ak_rc ak_perf_folder_read(struct ak_fs *fs, const char *dir, int32_t from, int32_t to,
                                       struct ak_str table, ak_perf_row_fn fn, void *ctx,
                                       struct ak_perf_folder_counts *counts, struct ak_err *err);

/* --- What the hashes mean (show_shapes.c) --- */

#define AK_PERF_SHAPE_KEYS_MAX 64u

struct ak_perf_shape {
    struct ak_str hash, table, type;
    uint64_t items, k, ef; /* 0: none, the collection's */
    double recall;         /* asked for instead of an ef; 0: none */
    bool exact, has_threshold, has_filter;
    struct ak_str filter;      /* JSON as it stands in the file */
    const struct ak_str *keys; /* of the filter */
    size_t key_count;
};

struct ak_perf_shapes {
    struct ak_arena arena;
    struct ak_buf text;
    struct ak_perf_shape *list; /* in the order of hashes */
    size_t count;
};
/* From query_shapes.ndjson of the folder; none is AK_OK. Lines that cannot be read are passed over.
 */
AK_MUST enum ak_rc ak_perf_shapes_load(struct ak_perf_shapes *shapes, struct ak_fs *fs,
                                       const char *dir, struct ak_err *err);
void ak_perf_shapes_release(struct ak_perf_shapes *shapes);
/* NULL: not known. */
const struct ak_perf_shape *ak_perf_shapes_find(const struct ak_perf_shapes *shapes,
                                                struct ak_str hash);
/* "k≤16 ef=96 filter lang, year", "k≤16 recall=0.95" */
void ak_perf_shape_put(const struct ak_perf_shape *shape, struct ak_buf *out);
