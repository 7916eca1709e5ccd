/* bench_ann.h — what the files of `akidb bench ann` share: data, questions, and one measured point.
 *
 * Threads: the bench's own; every call here from the one that runs the command.
 */
#pragma once
#include "base/clock.h"
#include "base/epoch.h"
#include "cli/bench.h"
#include "index/recall.h"
#include <stdatomic.h>

#define AK_ANN_POINTS_MAX 32u
#define AK_ANN_SHARES_MAX 8u
#define AK_ANN_THREADS_MAX 256u

struct ak_ann_options {
    const char *base;
    const char *query;
    const char *truth;
    const char *truth_scores;
    const char *metric;
    const char *ef;
    const char *quantization;
    const char *vectors;
    const char *recall;
    const char *selectivity;
    const char *correlated;
    uint64_t k;
    uint64_t threads;
    uint64_t m;
    uint64_t ef_construction;
    uint64_t pass_ms;
    double churn;
    bool json;
    bool steps;
};

struct ak_ann_vectors {
    float *rows;
    uint32_t count;
    uint32_t dimension;
};

/* Queries with their true answers, perhaps each under a filter of its own. */
struct ak_ann_questions {
    uint32_t count;        /* the first so many queries */
    float *scores;         /* [count * k] */
    int32_t *rows;         /* [count * k] rows of the base, or NULL: not known */
    uint32_t *answers;     /* [count]: how many of the k there are */
    uint64_t **allow;      /* [count]: a bitmap of slots, or NULL: no filters */
    uint64_t *allow_count; /* [count] */
    uint32_t filters;      /* bitmaps that are owned: allow[0 … filters); others repeat them */
};

struct ak_ann_point {
    uint32_t ef;
    double recall, recall_ids, qps, cpu_us, p50_us, p99_us, distances, exact;
};

struct ak_ann_curve {
    struct ak_ann_point points[AK_ANN_POINTS_MAX];
};

enum ak_ann_kind { AK_ANN_RANDOM, AK_ANN_NEAR, AK_ANN_FAR };

struct ak_ann_filtered { /* one selectivity */
    double selectivity;
    struct ak_ann_curve curve;
};

struct ak_ann_wanted { /* a recall that is asked for */
    double recall;
    struct ak_ann_point point;
};

struct ak_ann_restored { /* the index from its file */
    uint64_t bytes;
    double save_seconds, open_seconds; /* until the first search was answered */
    struct ak_ann_curve curve;
};

struct ak_ann_resident { /* bytes of the process's memory */
    uint64_t own;
    uint64_t files;
};

struct ak_ann_cold { /* queries that find nothing in the page cache */
    double p50_us, p95_us, p99_us;
    double read_kib; /* from disk, a query */
};

struct ak_ann {
    struct ak_ann_options o;
    enum ak_metric metric;
    enum ak_quantization quantization;
    enum ak_vectors vectors;
    struct ak_ann_vectors base;
    struct ak_ann_vectors query;
    struct ak_epoch *epoch;
    struct ak_index *index;
    uint32_t *row_of; /* [slots]: the row of the base that lies there */
    uint64_t slots_cap;
    struct ak_hit *hits;  /* [queries * k], of the pass under way */
    uint32_t *hit_counts; /* [queries] */
    uint32_t efs[AK_ANN_POINTS_MAX];
    size_t ef_count;
    struct ak_ann_questions all;
    struct ak_ann_curve fresh;
    struct ak_ann_curve churned;
    double add_seconds, build_seconds, truth_seconds, churn_seconds;
    double resident_before, resident_after; /* bytes, around building */
    enum ak_ann_kind kind;
    struct ak_ann_filtered filtered[AK_ANN_SHARES_MAX];
    size_t filtered_count;
    struct ak_ann_wanted wanted[AK_ANN_SHARES_MAX];
    size_t wanted_count;
    bool asks_real; /* measured with queries of the bench, not with invented ones */
    struct ak_recall_curve measured;
    double calibration_seconds;
    struct ak_ann_restored restored;
    double code_ns, row_ns; /* to fetch and measure a code, a row of floats, at random */
    struct ak_index_memory memory_after; /* of going to disk */
    struct ak_ann_resident in_ram;       /* of the process, before; at first; after searches */
    struct ak_ann_resident on_disk_at_first, on_disk_used;
    struct ak_ann_curve on_disk;
    struct ak_ann_cold cold[AK_ANN_POINTS_MAX];
};

/* A list like 0.5,0.1 of shares above 0 and up to 1; NULL: none. */
AK_MUST enum ak_rc ak_ann_read_shares(const char *option, const char *list,
                                      double shares[AK_ANN_SHARES_MAX], size_t *count,
                                      struct ak_err *err);
/* A list like 16,32 into efs. */
AK_MUST enum ak_rc ak_ann_read_efs(struct ak_ann *b, const char *list, struct ak_err *err);
/* Every ef over these questions. */
AK_MUST enum ak_rc ak_ann_measure(struct ak_ann *b, const struct ak_ann_questions *questions,
                                  struct ak_ann_curve *curve, struct ak_err *err);
/* The questions' true answers, by exact search; room is made here. */
AK_MUST enum ak_rc ak_ann_find_truth(struct ak_ann *b, struct ak_ann_questions *questions,
                                     struct ak_err *err);
/* One ef; 0: exactly. */
AK_MUST enum ak_rc ak_ann_measure_point(struct ak_ann *b, const struct ak_ann_questions *questions,
                                        uint32_t ef, struct ak_ann_point *point,
                                        struct ak_err *err);
void ak_ann_questions_release(struct ak_ann_questions *questions);
/* Remove this share of the rows and put them back. */
AK_MUST enum ak_rc ak_ann_churn(struct ak_ann *b, double share, struct ak_err *err);

/* bench_ann_filter.c: --filter-selectivity and --filter-correlated */
AK_MUST enum ak_rc ak_ann_read_filters(struct ak_ann *b, struct ak_err *err);
AK_MUST enum ak_rc ak_ann_measure_filters(struct ak_ann *b, struct ak_err *err);
const char *ak_ann_kind_name(enum ak_ann_kind kind);

/* bench_ann_recall.c: --recall */
AK_MUST enum ak_rc ak_ann_read_wanted(struct ak_ann *b, struct ak_err *err);
AK_MUST enum ak_rc ak_ann_measure_wanted(struct ak_ann *b, struct ak_err *err);

/* bench_ann_floor.c */
AK_MUST enum ak_rc ak_ann_measure_floor(struct ak_ann *b, struct ak_err *err);

/* bench_ann_steps.c: --steps */
AK_MUST enum ak_rc ak_ann_take_steps(struct ak_ann *b, struct ak_err *err);

/* bench_ann_disk.c: --vectors disk */
AK_MUST enum ak_rc ak_ann_measure_disk(struct ak_ann *b, struct ak_err *err);
void ak_ann_print_disk(const struct ak_ann *b);
void ak_ann_json_disk(const struct ak_ann *b);

/* bench_ann_print.c */
enum ak_ann_part {
    AK_ANN_PART_FACTS,
    AK_ANN_PART_POINTS,
    AK_ANN_PART_WANTED,
    AK_ANN_PART_FILTERED,
    AK_ANN_PART_CHURNED,
    AK_ANN_PART_RESTORED,
    AK_ANN_PART_FLOOR
};
/* One part as an object on a line of its own, at once. */
void ak_ann_print_part(const struct ak_ann *b, enum ak_ann_part part);
void ak_ann_print_table(const struct ak_ann *b);
void ak_ann_print_json(const struct ak_ann *b);
