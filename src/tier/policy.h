/* policy.h — which collection belongs in RAM, on the disk, or in the bucket: a pure function.
 *
 *            idle, or memory is short            idle, or the disk is short
 *    HOT ────────────────────────────▶ WARM ────────────────────────────────▶ COLD
 *        ◀────────────────────────────      ◀────────────────────────────────
 *          used often within the window               used at all
 *
 * The policy looks at states, clock, rules and limits and says what should move and why. It reads
 * no clock, holds nothing, and does nothing itself: the simulator plays its decisions. Time, access
 * and idleness are wall time in µs.
 *
 *   1. A collection that moves, or is pinned, is left alone (its bytes count all the same).
 *   2. Idle for longer than its rules allow: one tier down, not below its lowest tier.
 *   3. COLD and used since it came there: WARM. WARM and used often within the window: HOT, when
 *      memory has room for it beside what is used no less recently.
 *   4. Over a limit: the least recently used go down until the tier holds AK_TIER_LOW_WATER of it.
 *      What was used within `grace_us` goes last.
 *
 * Threads: pure. Memory: the caller's arrays.
 */
#pragma once
#include "model/tier.h"
#include <stddef.h>

struct ak_tier_limits {
    uint64_t hot_bytes;  /* RAM of hot collections; 0: no limit */
    uint64_t warm_bytes; /* disk of warm collections; 0: no limit */
    int64_t grace_us;    /* used within this: evicted only when nothing else is left */
};
#define AK_TIER_LOW_WATER 0.95 /* of a limit: so that the next write does not evict again */

enum ak_tier_flag {
    AK_TIER_PINNED = 1,
    AK_TIER_MOVING = 2, /* a move is under way: no decision about it */
};

struct ak_tier_state {
    int64_t last_access_us; /* 0: never; then since_us counts */
    int64_t since_us;       /* in its tier since */
    uint64_t ram_bytes;     /* what it takes when hot */
    uint64_t disk_bytes;    /* what it takes when warm */
    uint32_t accesses;      /* within its rules' window */
    uint16_t rules;         /* index into the table of rules */
    uint8_t tier;           /* enum ak_tier */
    uint8_t flags;          /* enum ak_tier_flag */
};

enum ak_tier_reason {
    AK_TIER_STAYS,
    AK_TIER_IDLE,   /* not used for long enough */
    AK_TIER_USED,   /* cold, and used */
    AK_TIER_BUSY,   /* used often within the window */
    AK_TIER_MEMORY, /* hot_bytes is passed */
    AK_TIER_DISK,   /* warm_bytes is passed */
    AK_TIER_IS_PINNED,
    AK_TIER_IS_MOVING,
    AK_TIER_REASON_COUNT
};
const char *ak_tier_reason_name(enum ak_tier_reason reason); /* "idle" "used" … */

struct ak_tier_decision {
    uint32_t index; /* of the state */
    uint8_t from, to;
    uint8_t reason;
};

struct ak_tier_input {
    const struct ak_tier_state *states;
    size_t count;
    const struct ak_tier_rules *rules; /* [0] is the default */
    size_t rule_count;
    const struct ak_tier_limits *limits;
    int64_t now_us;
};

/* What should move: decisions[count] is filled, each state at most once; returns how many.
 * Demotions stand before promotions, so that room is made before it is taken. The same input gives
 * the same decisions. `scratch` has room for `count` u32. */
size_t ak_tier_decide(const struct ak_tier_input *input, uint32_t *scratch,
                      struct ak_tier_decision *decisions);

struct ak_tier_outlook {
    enum ak_tier to;
    enum ak_tier_reason reason;
    int64_t at_us; /* when, if nothing uses it before; 0: not foreseen */
};
/* What would happen to one collection next if nobody used it: for a person who asks. */
void ak_tier_foresee(const struct ak_tier_state *state, const struct ak_tier_rules *rules,
                     struct ak_tier_outlook *outlook);
