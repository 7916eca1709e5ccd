/* simulate.h — months of accesses played against the policy in seconds, to choose thresholds with.
 *
 * The simulator holds collections and a clock of its own. Between two accesses it runs the worker's
 * passes that fall due, with the very ak_tier_decide() that a server uses; a move takes no
 * simulated time, an access to a cold collection brings it to warm at once and is charged the time
 * that fetching its image takes. What it reports is what one would watch: which tier answered, what
 * was moved and why, how full the tiers were.
 *
 * Threads: one at a time. Memory: about 100 bytes a collection.
 */
#pragma once
#include "tier/policy.h"

struct ak_tier_sim;

struct ak_tier_sim_options {
    struct ak_tier_rules rules;
    struct ak_tier_limits limits;
    int64_t interval_us;      /* between two passes of the worker; 0: 5 min */
    double fetch_bytes_per_s; /* from the bucket; 0: 100 MB/s */
    double fetch_latency_s;   /* before its first byte; 0: 0.05 */
    int64_t begin_us;         /* the clock's first value */
};

AK_MUST enum ak_rc ak_tier_sim_open(const struct ak_tier_sim_options *options,
                                    struct ak_tier_sim **sim, struct ak_err *err);
void ak_tier_sim_close(struct ak_tier_sim *sim); /* NULL is fine */
/* A new collection, hot, as if it had just been written. AK_TOO_BIG past 10 million. */
AK_MUST enum ak_rc ak_tier_sim_add(struct ak_tier_sim *sim, uint64_t ram_bytes, uint64_t disk_bytes,
                                   uint32_t *index, struct ak_err *err);
/* `count` searches of a collection at `at_us`, which never goes back: AK_INVALID. */
AK_MUST enum ak_rc ak_tier_sim_access(struct ak_tier_sim *sim, uint32_t index, int64_t at_us,
                                      uint32_t count, struct ak_err *err);
/* Let time pass without an access. */
AK_MUST enum ak_rc ak_tier_sim_advance(struct ak_tier_sim *sim, int64_t to_us, struct ak_err *err);

struct ak_tier_sim_report {
    uint32_t collections;
    double seconds;                   /* simulated */
    uint64_t accesses[AK_TIER_COUNT]; /* by the tier that answered */
    struct {
        uint64_t count, bytes;
    } moves[AK_TIER_COUNT][AK_TIER_COUNT];  /* [from][to]; bytes of the collection's image or RAM */
    uint64_t reasons[AK_TIER_REASON_COUNT]; /* moves by why */
    double mean_bytes[AK_TIER_COUNT];   /* over time: RAM of hot, disk of warm, bucket of cold */
    uint64_t peak_bytes[AK_TIER_COUNT]; /* as seen after a pass */
    double fetch_seconds;               /* searches waited for cold images, in sum */
    double longest_fetch_seconds;
    uint64_t passes;
    uint64_t decide_ns_mean, decide_ns_max; /* real time of one decision over all collections */
};
void ak_tier_sim_report(struct ak_tier_sim *sim, struct ak_tier_sim_report *report);
