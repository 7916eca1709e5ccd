/* tier.h — where a collection lives, and the rules by which it moves, as plain values.
 *
 *   HOT   its rows are in the process's own memory
 *   WARM  its rows are read where its image lies on the disk
 *   COLD  its image is not on this machine: its state is in a snapshot in the object store
 *
 * Threads: values.
 */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include "base/uuid.h"
#include <stdbool.h>
#include <stdint.h>

enum ak_tier { AK_TIER_HOT, AK_TIER_WARM, AK_TIER_COLD, AK_TIER_COUNT }; /* numbers are stored */
const char *ak_tier_name(enum ak_tier tier);                             /* "hot" "warm" "cold" */
AK_MUST bool ak_tier_parse(struct ak_str text, enum ak_tier *tier);

/* Times are wall time in µs. */
struct ak_tier_rules {
    int64_t hot_idle_us;       /* HOT → WARM after this; 0: never */
    int64_t warm_idle_us;      /* WARM → COLD after this; 0: never */
    int64_t window_us;         /* accesses are counted within this */
    uint32_t promote_accesses; /* so many within it: WARM → HOT; 0: never */
    bool stay_cold_on_access; /* COLD is not promoted by the policy (a search restores it anyway) */
    enum ak_tier lowest;      /* it does not sink below this tier */
};
/* 6 h, 7 d, 10 accesses in 1 h, lowest COLD. */
struct ak_tier_rules ak_tier_rules_default(void);
/* AK_INVALID names the rule and what is allowed. */
AK_MUST enum ak_rc ak_tier_rules_check(const struct ak_tier_rules *rules, struct ak_err *err);

/* What a collection wants otherwise than the node: the rules whose bit is in `set`. */
enum ak_tier_rule { /* bits; numbers are stored */
                    AK_TIER_RULE_HOT_IDLE = 1,
                    AK_TIER_RULE_WARM_IDLE = 2,
                    AK_TIER_RULE_WINDOW = 4,
                    AK_TIER_RULE_PROMOTE_ACCESSES = 8,
                    AK_TIER_RULE_STAY_COLD = 16,
                    AK_TIER_RULE_LOWEST = 32,
                    AK_TIER_RULES_ALL = 63
};
struct ak_tier_overrides {
    uint32_t set; /* enum ak_tier_rule */
    struct ak_tier_rules rules;
};
/* The rules in force: `base` with what is set in `over` (NULL: nothing). */
struct ak_tier_rules ak_tier_rules_over(const struct ak_tier_rules *base,
                                        const struct ak_tier_overrides *over);
