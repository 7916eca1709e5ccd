/* profile.h — made-up workloads for the simulator, in the shape of three kinds of user.
 *
 *   rag       chatbots of many tenants: Zipf over the tenants, more by day than by night and on
 *             workdays than on weekends; a tenant is at work in some weeks and silent in others
 *   batch     analytics: every collection is read through in one go, a tenth of them each night,
 *             the others once a week or once a month
 *   seasonal  a shop: each collection is a range with a season; a base of visits all year, a peak
 *             of some weeks, and four days in November that have eight times as many
 *
 * Deterministic for a seed. Threads: one at a time. Memory: 16 bytes a collection.
 */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include <stdint.h>

enum ak_tier_profile { AK_TIER_RAG, AK_TIER_BATCH, AK_TIER_SEASONAL, AK_TIER_PROFILE_COUNT };
const char *ak_tier_profile_name(enum ak_tier_profile profile); /* "rag" "batch" "seasonal" */
AK_MUST bool ak_tier_profile_parse(struct ak_str text, enum ak_tier_profile *profile);

struct ak_tier_load {
    enum ak_tier_profile profile;
    uint32_t collections; /* 1..10 million */
    uint32_t days;        /* 1..3650 */
    uint64_t seed;
    int64_t begin_us;      /* midnight of the first day */
    double visits_per_day; /* of all collections; 0: as many as there are collections */
};

/* `count` accesses of collection 0..collections-1 at `at_us`, in the order of time. A failure stops
 * the play and is returned. */
typedef enum ak_rc (*ak_tier_visit_fn)(void *ctx, uint32_t collection, int64_t at_us,
                                       uint32_t count, struct ak_err *err);
AK_MUST enum ak_rc ak_tier_play(const struct ak_tier_load *load, ak_tier_visit_fn fn, void *ctx,
                                struct ak_err *err);
