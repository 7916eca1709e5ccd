/* advise.h — the rules of `akidb perf advise`: from measurements and the log to recommendations.
 *
 * What is measured, and the log, come as values; nothing is measured here, and no number is made
 * up: an estimate is a ratio of two figures that its basis names, or it is left out. A rule that
 * cannot decide says why in a note.
 *
 *   ef_search=N       the smallest ef of those measured that reaches the wanted recall
 *   m=N               more links, when a trial with them was faster at that recall
 *   quantization=X    codes or none, likewise
 *   metadata:KEY      a filter key whose searches cost much more than those without a filter
 *   tiering.KEY=V     a threshold or limit of the tiers, and
 *   tier:pinned       a pin: src/cli/perf_advise_tiers.c, which plays the log (tier/simulate.h)
 *
 * Threads: one at a time. Memory: an advice owns its texts until release.
 */
#pragma once
#include "model/collection.h"
#include "perf/show.h"

#define AK_ADVISE_POINTS_MAX 16
#define AK_ADVISE_TRIALS_MAX 4

struct ak_advice {
    struct ak_arena arena;
    struct ak_perf_recommendation *list;
    size_t count, cap;
    struct ak_buf notes; /* a line each */
    struct ak_buf text;  /* the rules' */
};

void ak_advice_init(struct ak_advice *advice);
void ak_advice_release(struct ak_advice *advice); /* idempotent */
/* A copy. Past AK_PERF_RECOMMENDATIONS_MAX, and without memory, it is dropped with a note. */
void ak_advice_add(struct ak_advice *advice, const struct ak_perf_recommendation *one);
void ak_advice_note(struct ak_advice *advice, const char *fmt, ...) AK_PRINTF(2, 3);

/* --- ef: recall and latency of one collection at several ef --- */

struct ak_advise_point {
    uint32_t ef;
    double recall;     /* mean over the queries */
    double recall_dev; /* standard error of that mean */
    double median_ms;  /* as the server reports it */
};

struct ak_advise_measured {
    struct ak_str table;
    struct ak_index_params params;
    uint32_t dimension;
    uint64_t documents;
    uint32_t k;
    uint32_t ef;          /* what searches use: the collection's, or what most of them ask for */
    uint64_t ef_searches; /* searches in the log that ask for it; 0: it is the collection's */
    uint64_t searches;    /* in the log */
    uint64_t recall_searches; /* of them, those that ask for a recall: ef is the server's choice */
    uint32_t queries;         /* stored vectors that were searched for */
    double exact_ms;          /* median of the exact answers */
    struct ak_advise_point points[AK_ADVISE_POINTS_MAX]; /* ascending ef; `ef` is among them */
    size_t count;
};

/* Returns the ef that reaches `recall_wanted`; 0: none that was measured does, or ef makes no
 * difference. */
uint32_t ak_advise_ef(struct ak_advice *advice, const struct ak_advise_measured *measured,
                      double recall_wanted);

/* --- m and quantisation: the same vectors under other parameters --- */

struct ak_advise_trial {
    struct ak_index_params params;
    uint32_t ef;      /* smallest that reached the wanted recall; 0: none did */
    double recall;    /* there, or the best reached */
    double median_ms; /* there */
    double build_s;
    bool was_exact; /* the graph was not used: the trial says nothing */
};

/* trials[0] has the collection's own parameters. */
void ak_advise_trials(struct ak_advice *advice, const struct ak_advise_measured *measured,
                      const struct ak_advise_trial *trials, size_t count, uint32_t rows,
                      double recall_wanted);

/* --- Filter keys: from the log alone --- */

void ak_advise_keys(struct ak_advice *advice, const struct ak_perf_stats *stats,
                    const struct ak_perf_shapes *shapes);

/* --- What most searches of a collection ask for --- */

struct ak_advise_habit {
    uint64_t searches; /* in the log */
    uint32_t k;        /* of the shape that most of them have; 0: unknown */
    uint32_t ef;       /* 0: the collection's */
    uint64_t ef_searches;
    uint64_t recall_searches; /* that ask for a recall and leave ef to the server */
};
void ak_advise_habit(const struct ak_perf_stats *stats, const struct ak_perf_shapes *shapes,
                     struct ak_str table, struct ak_advise_habit *habit);

/* --- The report before this one --- */

/* Carries statuses over: what was proposed and is now in force is added as "applied", what was
 * dismissed stays "dismissed", the rest of `advice` is "proposed". Returns how many are newly
 * applied. `in_force` says whether a recommendation is met by now. */
size_t ak_advise_carry_over(struct ak_advice *advice, const struct ak_perf_report *before,
                            bool (*in_force)(void *ctx, const struct ak_perf_recommendation *one),
                            void *ctx);
