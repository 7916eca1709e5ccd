/* perf_advise.h — the parts of akidb perf advise: what is measured through the API, the trial in a
 * folder of its own, and the tiers.
 *
 * Threads: one.
 */
#pragma once
#include "cli/config.h"
#include "cli/remote.h"
#include "perf/advise.h"
#include "tier/simulate.h"

struct ak_advise_options {
    double recall;
    uint32_t queries; /* stored vectors to search for */
    uint32_t trial;   /* documents of the trial; 0: none */
    uint64_t seed;
};

/* --- perf_advise_measure.c --- */

/* One collection as GET /collections tells it; the name in the arena. */
struct ak_advise_collection {
    struct ak_str name;
    uint32_t dimension;
    enum ak_metric metric;
    struct ak_index_params params;
    uint64_t documents;
    bool is_pinned; /* by ak_advise_policy_read(), as the next two; 0: not known */
    uint64_t memory_bytes, disk_bytes;
};
/* All of them, in the arena and in the order of names. */
AK_MUST enum ak_rc ak_advise_collections(struct ak_remote *remote, struct ak_arena *arena,
                                         struct ak_advise_collection **list, size_t *count,
                                         struct ak_err *err);

/* Stored vectors of one collection, drawn at random from its first half million ids. */
struct ak_advise_sample {
    uint32_t dimension;
    uint32_t count;
    struct ak_uuid *ids;
    float *vectors; /* f32[count][dimension] */
};
/* `want` of them, or fewer when there are fewer. AK_NOMEM. */
AK_MUST enum ak_rc ak_advise_draw(struct ak_remote *remote,
                                  const struct ak_advise_collection *collection, uint32_t want,
                                  uint64_t seed, struct ak_advise_sample *sample,
                                  struct ak_err *err);
void ak_advise_sample_release(struct ak_advise_sample *sample); /* idempotent */

/* Recall and latency at several ef, with the first `queries` of the sample: each answer is held
 * against the exact one, the vector itself left out. */
AK_MUST enum ak_rc ak_advise_measure(struct ak_remote *remote,
                                     const struct ak_advise_collection *collection,
                                     const struct ak_advise_habit *habit,
                                     const struct ak_advise_sample *sample, uint32_t queries,
                                     struct ak_advise_measured *measured, struct ak_err *err);

/* --- perf_advise_trial.c --- */

/* Build the sample's vectors but the first `queries` under several parameters, in a temporary
 * folder, and search for those queries. *rows: how many were built. */
AK_MUST enum ak_rc ak_advise_trial_run(const struct ak_advise_collection *collection,
                                       const struct ak_advise_sample *sample, uint32_t queries,
                                       uint32_t k, double recall,
                                       struct ak_advise_trial trials[AK_ADVISE_TRIALS_MAX],
                                       size_t *count, uint32_t *rows, struct ak_err *err);

/* --- perf_advise_policy.c --- */

struct ak_advise_policy {
    struct ak_tier_rules rules;
    struct ak_tier_limits limits;
    bool is_off;
};
/* As the server has it, else as the configuration says; and pins and sizes of the collections,
 * which are in the order of names. */
AK_MUST enum ak_rc ak_advise_policy_read(struct ak_remote *remote, const struct ak_config *config,
                                         struct ak_advise_collection *list, size_t count,
                                         struct ak_advise_policy *policy, struct ak_err *err);

/* --- perf_advise_tiers.c --- */

/* Accesses by collection and hour, gathered from the log. */
struct ak_advise_accesses;
struct ak_advise_accesses *ak_advise_accesses_open(void);
void ak_advise_accesses_close(struct ak_advise_accesses *accesses); /* NULL is fine */
AK_MUST enum ak_rc ak_advise_accesses_add(struct ak_advise_accesses *accesses,
                                          const struct ak_perf_query *row, struct ak_err *err);
/* Thresholds, limits and pins, by playing the accesses against the policy. */
AK_MUST enum ak_rc ak_advise_tiers(struct ak_advice *advice, struct ak_advise_accesses *accesses,
                                   const struct ak_advise_policy *policy,
                                   const struct ak_advise_collection *collections, size_t count,
                                   struct ak_err *err);
/* Bytes of a collection in memory, by the layout of the index or as the server has it. */
uint64_t ak_advise_bytes(const struct ak_advise_collection *collection);

/* For the thresholds: a play of the log under this policy; what a search takes with everything in
 * memory and without, by the log (0: too few to say); the days that it covers. */
AK_MUST enum ak_rc ak_advise_play(const struct ak_advise_accesses *accesses,
                                  const struct ak_advise_policy *policy,
                                  struct ak_tier_sim_report *report, struct ak_err *err);
void ak_advise_costs(const struct ak_advise_accesses *accesses, double *hit_ms, double *miss_ms);
double ak_advise_days(const struct ak_advise_accesses *accesses);

/* --- perf_advise_thresholds.c --- */

AK_MUST enum ak_rc ak_advise_thresholds(struct ak_advice *advice,
                                        const struct ak_advise_accesses *accesses,
                                        const struct ak_advise_policy *policy, struct ak_err *err);
/* Is it a threshold or a limit that the policy has by now? */
bool ak_advise_threshold_in_force(const struct ak_advise_policy *policy, struct ak_str index);
