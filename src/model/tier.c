/* tier.c — names of tiers, default rules, and what rules may say. */
#include "model/tier.h"

static const char *const names[AK_TIER_COUNT] = {"hot", "warm", "cold"};

const char *ak_tier_name(enum ak_tier tier)
{
    return (unsigned)tier < AK_TIER_COUNT ? names[tier] : "unknown";
}

bool ak_tier_parse(struct ak_str text, enum ak_tier *tier)
{
    for (int i = 0; i < AK_TIER_COUNT; i++) {
        if (ak_str_eq(text, ak_str_of(names[i]))) {
            *tier = (enum ak_tier)i;
            return true;
        }
    }
    return false;
}

#define SECOND_US INT64_C(1000000)
#define HOUR_US (3600 * SECOND_US)
#define DAY_US (24 * HOUR_US)
#define LONGEST_US (36500 * DAY_US) /* a century: sums of times cannot overflow */

struct ak_tier_rules ak_tier_rules_default(void)
{
    return (struct ak_tier_rules){
        .hot_idle_us = 6 * HOUR_US,
        .warm_idle_us = 7 * DAY_US,
        .window_us = HOUR_US,
        .promote_accesses = 10,
        .lowest = AK_TIER_COLD,
    };
}

enum ak_rc ak_tier_rules_check(const struct ak_tier_rules *rules, struct ak_err *err)
{
    const struct {
        const char *name;
        int64_t value, min;
    } times[] = {
        {"hot_idle", rules->hot_idle_us, 0},
        {"warm_idle", rules->warm_idle_us, 0},
        {"window", rules->window_us, SECOND_US},
    };
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        if (times[i].value < times[i].min || times[i].value > LONGEST_US) {
            return ak_fail(err, AK_INVALID, "%s is %lld s; allowed are %lld s to 36500 days",
                           times[i].name, (long long)(times[i].value / SECOND_US),
                           (long long)(times[i].min / SECOND_US));
        }
    }
    if ((unsigned)rules->lowest >= AK_TIER_COUNT) {
        return ak_fail(err, AK_INVALID, "lowest tier: allowed are hot, warm, cold");
    }
    return AK_OK;
}

struct ak_tier_rules ak_tier_rules_over(const struct ak_tier_rules *base,
                                        const struct ak_tier_overrides *over)
{
    struct ak_tier_rules rules = *base;
    if (!over) {
        return rules;
    }
    if (over->set & AK_TIER_RULE_HOT_IDLE) {
        rules.hot_idle_us = over->rules.hot_idle_us;
    }
    if (over->set & AK_TIER_RULE_WARM_IDLE) {
        rules.warm_idle_us = over->rules.warm_idle_us;
    }
    if (over->set & AK_TIER_RULE_WINDOW) {
        rules.window_us = over->rules.window_us;
    }
    if (over->set & AK_TIER_RULE_PROMOTE_ACCESSES) {
        rules.promote_accesses = over->rules.promote_accesses;
    }
    if (over->set & AK_TIER_RULE_STAY_COLD) {
        rules.stay_cold_on_access = over->rules.stay_cold_on_access;
    }
    if (over->set & AK_TIER_RULE_LOWEST) {
        rules.lowest = over->rules.lowest;
    }
    return rules;
}
