/* hnsw_filter.c — which way a filtered search takes, and where a walk under a filter begins. */
#include "index/index_priv.h"
#include <stdlib.h>

/* Every allowed row is as likely as another where allowed slots are spread evenly; where they are
 * not, rows behind a gap are likelier, which does no harm. */
void ak_filter_sample(const uint64_t *allow, uint64_t slots, struct ak_walk *walk)
{
    uint64_t words = ak_bits_words(slots);
    walk->seed_count = 0;
    for (uint64_t i = 0; i < AK_WALK_SEEDS; i++) {
        uint64_t at = words * i / AK_WALK_SEEDS;
        uint64_t end = words * (i + 1) / AK_WALK_SEEDS;
        uint64_t word = 0;
        while (at < end && !(word = ak_bits_clip(allow[at], at, slots))) {
            at++;
        }
        if (word) {
            uint64_t slot = at * 64 + (uint64_t)__builtin_ctzll(word);
            walk->seeds[walk->seed_count++] = (uint32_t)slot;
        }
    }
}
