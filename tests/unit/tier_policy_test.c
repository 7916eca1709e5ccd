/* tier_policy_test.c — the rules one by one, limits, and invariants over random states. */
#include "base/mem.h"
#include "base/rand.h"
#include "support/test.h"
#include "tier/policy.h"
#include <string.h>

#define HOUR INT64_C(3600000000)
#define DAY (24 * HOUR)
#define NOW (1000 * DAY)
#define MB (UINT64_C(1) << 20)
#define MANY 64

static struct ak_tier_decision decisions[MANY];
static uint32_t scratch[MANY];

static size_t decide(const struct ak_tier_state *states, size_t count,
                     const struct ak_tier_rules *rules, const struct ak_tier_limits *limits)
{
    const struct ak_tier_input input = {
        .states = states,
        .count = count,
        .rules = rules,
        .rule_count = 1,
        .limits = limits,
        .now_us = NOW,
    };
    return ak_tier_decide(&input, scratch, decisions);
}

struct one {
    const char *what;
    enum ak_tier tier;
    int64_t idle, since; /* before now */
    uint32_t accesses;
    unsigned flags;
    enum ak_tier lowest;
    enum ak_tier to; /* the tier afterwards */
    enum ak_tier_reason reason;
};

static const struct one ones[] = {
    {"hot, just short of 6 h", AK_TIER_HOT, 6 * HOUR - 1, DAY, 0, 0, AK_TIER_COLD, AK_TIER_HOT,
     AK_TIER_STAYS},
    {"hot, 6 h", AK_TIER_HOT, 6 * HOUR, DAY, 0, 0, AK_TIER_COLD, AK_TIER_WARM, AK_TIER_IDLE},
    {"hot, idle for a year goes one step", AK_TIER_HOT, 365 * DAY, 365 * DAY, 0, 0, AK_TIER_COLD,
     AK_TIER_WARM, AK_TIER_IDLE},
    {"hot, idle, pinned", AK_TIER_HOT, 365 * DAY, 365 * DAY, 0, AK_TIER_PINNED, AK_TIER_COLD,
     AK_TIER_HOT, AK_TIER_STAYS},
    {"hot, idle, moving", AK_TIER_HOT, 365 * DAY, 365 * DAY, 0, AK_TIER_MOVING, AK_TIER_COLD,
     AK_TIER_HOT, AK_TIER_STAYS},
    {"hot, idle, not below hot", AK_TIER_HOT, 365 * DAY, 365 * DAY, 0, 0, AK_TIER_HOT, AK_TIER_HOT,
     AK_TIER_STAYS},
    {"warm, just short of 7 d", AK_TIER_WARM, 7 * DAY - 1, 30 * DAY, 0, 0, AK_TIER_COLD,
     AK_TIER_WARM, AK_TIER_STAYS},
    {"warm, 7 d", AK_TIER_WARM, 7 * DAY, 30 * DAY, 0, 0, AK_TIER_COLD, AK_TIER_COLD, AK_TIER_IDLE},
    {"warm, idle, not below warm", AK_TIER_WARM, 70 * DAY, 90 * DAY, 0, 0, AK_TIER_WARM,
     AK_TIER_WARM, AK_TIER_STAYS},
    {"warm, 9 accesses", AK_TIER_WARM, 1, DAY, 9, 0, AK_TIER_COLD, AK_TIER_WARM, AK_TIER_STAYS},
    {"warm, 10 accesses", AK_TIER_WARM, 1, DAY, 10, 0, AK_TIER_COLD, AK_TIER_HOT, AK_TIER_BUSY},
    {"warm, 10 accesses, pinned", AK_TIER_WARM, 1, DAY, 10, AK_TIER_PINNED, AK_TIER_COLD,
     AK_TIER_WARM, AK_TIER_STAYS},
    {"cold, not used since", AK_TIER_COLD, 30 * DAY, 20 * DAY, 0, 0, AK_TIER_COLD, AK_TIER_COLD,
     AK_TIER_STAYS},
    {"cold, used since", AK_TIER_COLD, 1, 20 * DAY, 1, 0, AK_TIER_COLD, AK_TIER_WARM, AK_TIER_USED},
    {"cold, used, pinned", AK_TIER_COLD, 1, 20 * DAY, 1, AK_TIER_PINNED, AK_TIER_COLD, AK_TIER_COLD,
     AK_TIER_STAYS},
};

TEST(policy, each_rule_decides_alone_as_it_is_written)
{
    const struct ak_tier_limits limits = {0};
    for (size_t i = 0; i < sizeof ones / sizeof ones[0]; i++) {
        const struct one *one = &ones[i];
        struct ak_tier_rules rules = ak_tier_rules_default();
        rules.lowest = one->lowest;
        const struct ak_tier_state state = {
            .last_access_us = NOW - one->idle,
            .since_us = NOW - one->since,
            .ram_bytes = MB,
            .disk_bytes = MB,
            .accesses = one->accesses,
            .tier = (uint8_t)one->tier,
            .flags = (uint8_t)one->flags,
        };
        size_t count = decide(&state, 1, &rules, &limits);
        bool fits = count == (one->to != one->tier) &&
                    (!count || (decisions[0].to == one->to && decisions[0].reason == one->reason));
        if (!fits) {
            (void)fprintf(stderr, "    %s: %zu decisions, to %s for %s\n", one->what, count,
                          ak_tier_name(decisions[0].to), ak_tier_reason_name(decisions[0].reason));
        }
        CHECK(fits);
    }
}

TEST(policy, a_promotion_after_the_first_access_is_a_rule_too)
{
    struct ak_tier_rules rules = ak_tier_rules_default();
    const struct ak_tier_limits limits = {0};
    const struct ak_tier_state state = {.last_access_us = NOW, .accesses = 1, .tier = AK_TIER_WARM};
    rules.promote_accesses = 1;
    CHECK_INT(decide(&state, 1, &rules, &limits), 1);
}

TEST(policy, what_was_never_used_is_idle_since_it_came_to_its_tier)
{
    const struct ak_tier_rules rules = ak_tier_rules_default();
    const struct ak_tier_limits limits = {0};
    struct ak_tier_state state = {.since_us = NOW - 6 * HOUR + 1};
    CHECK_INT(decide(&state, 1, &rules, &limits), 0);
    state.since_us--;
    CHECK_INT(decide(&state, 1, &rules, &limits), 1);
}

TEST(policy, zero_switches_a_rule_off)
{
    struct ak_tier_rules rules = ak_tier_rules_default();
    const struct ak_tier_limits limits = {0};
    const struct ak_tier_state states[] = {
        {.last_access_us = 1, .tier = AK_TIER_HOT},
        {.last_access_us = 1, .tier = AK_TIER_WARM},
        {.last_access_us = NOW, .accesses = 1000, .tier = AK_TIER_WARM},
        {.last_access_us = NOW, .since_us = 1, .tier = AK_TIER_COLD},
    };
    rules.hot_idle_us = rules.warm_idle_us = 0;
    rules.promote_accesses = 0;
    rules.stay_cold_on_access = true;
    CHECK_INT(decide(states, 4, &rules, &limits), 0);
}

TEST(policy, a_collection_may_have_rules_of_its_own)
{
    struct ak_tier_rules rules[2] = {ak_tier_rules_default(), ak_tier_rules_default()};
    const struct ak_tier_limits limits = {0};
    const struct ak_tier_state states[] = {
        {.last_access_us = NOW - 2 * HOUR},
        {.last_access_us = NOW - 2 * HOUR, .rules = 1},
        {.last_access_us = NOW - 2 * HOUR, .rules = 7}, /* unknown: the default's */
    };
    rules[1].hot_idle_us = HOUR;
    const struct ak_tier_input input = {states, 3, rules, 2, &limits, NOW};
    CHECK_INT(ak_tier_decide(&input, scratch, decisions), 1);
    CHECK_INT(decisions[0].index, 1);
}

TEST(policy, over_the_memory_limit_the_least_recently_used_go_until_the_low_water_mark)
{
    struct ak_tier_state states[10];
    const struct ak_tier_rules rules = ak_tier_rules_default();
    const struct ak_tier_limits limits = {.hot_bytes = 80 * MB};
    for (int i = 0; i < 10; i++) { /* used last: 7, 4, 1, 8, 5, 2, 9, 6, 3, 0 minutes ago … */
        states[i] = (struct ak_tier_state){
            .last_access_us = NOW - ((i * 3 + 7) % 10) * (HOUR / 60) - 1, .ram_bytes = 10 * MB};
    }
    CHECK_INT(decide(states, 10, &rules, &limits), 3); /* 100 MB → ≤ 76 MB */
    for (int i = 0; i < 3; i++) {
        CHECK_INT(decisions[i].to, AK_TIER_WARM);
        CHECK_INT(decisions[i].reason, AK_TIER_MEMORY);
        CHECK(states[decisions[i].index].last_access_us <= NOW - 7 * (HOUR / 60));
    }
    CHECK(states[decisions[0].index].last_access_us < states[decisions[1].index].last_access_us);
    const struct ak_tier_limits exactly = {.hot_bytes = 100 * MB};
    CHECK_INT(decide(states, 10, &rules, &exactly), 0);
}

TEST(policy, idle_demotions_count_before_anything_is_evicted)
{
    const struct ak_tier_rules rules = ak_tier_rules_default();
    const struct ak_tier_limits limits = {.hot_bytes = 10 * MB};
    const struct ak_tier_state states[] = {
        {.last_access_us = NOW - HOUR, .ram_bytes = 9 * MB},
        {.last_access_us = NOW - 7 * HOUR, .ram_bytes = 9 * MB},
    };
    CHECK_INT(decide(states, 2, &rules, &limits), 1);
    CHECK_INT(decisions[0].index, 1);
    CHECK_INT(decisions[0].reason, AK_TIER_IDLE);
}

TEST(policy, pinned_ones_and_those_in_use_are_not_evicted_while_others_are_there)
{
    const struct ak_tier_rules rules = ak_tier_rules_default();
    const struct ak_tier_limits limits = {.hot_bytes = 2 * MB, .grace_us = HOUR / 60};
    const struct ak_tier_state states[] = {
        {.last_access_us = NOW - 5 * HOUR, .ram_bytes = MB, .flags = AK_TIER_PINNED},
        {.last_access_us = NOW - 10, .ram_bytes = MB},
        {.last_access_us = NOW - 2 * HOUR, .ram_bytes = MB},
    };
    CHECK_INT(decide(states, 3, &rules, &limits), 2); /* 2 MB is over 0.95 · 2 MB */
    CHECK_INT(decisions[0].index, 2);
    CHECK_INT(decisions[1].index, 1);
}

TEST(policy, over_the_disk_limit_the_least_recently_used_warm_ones_go_cold)
{
    const struct ak_tier_rules rules = ak_tier_rules_default();
    const struct ak_tier_limits limits = {.warm_bytes = 25 * MB};
    const struct ak_tier_state states[] = {
        {.last_access_us = NOW - 2 * HOUR, .disk_bytes = 10 * MB, .tier = AK_TIER_WARM},
        {.last_access_us = NOW - 3 * HOUR, .disk_bytes = 10 * MB, .tier = AK_TIER_WARM},
        {.last_access_us = NOW - 1 * HOUR, .disk_bytes = 10 * MB, .tier = AK_TIER_WARM},
        {.last_access_us = NOW - 9 * HOUR, .disk_bytes = 10 * MB, .tier = AK_TIER_HOT},
    };
    /* The hot one comes to warm for idleness, so 40 MB are there and 16.25 MB must go. */
    CHECK_INT(decide(states, 4, &rules, &limits), 3);
    CHECK_INT(decisions[0].index, 3);
    CHECK_INT(decisions[0].to, AK_TIER_WARM);
    CHECK_INT(decisions[1].index, 1);
    CHECK_INT(decisions[1].reason, AK_TIER_DISK);
    CHECK_INT(decisions[2].index, 0);
}

TEST(policy, a_busy_one_takes_the_room_of_those_used_less_recently_and_of_no_others)
{
    const struct ak_tier_rules rules = ak_tier_rules_default();
    const struct ak_tier_limits limits = {.hot_bytes = 20 * MB};
    struct ak_tier_state states[] = {
        {.last_access_us = NOW - 2 * HOUR, .ram_bytes = 10 * MB},
        {.last_access_us = NOW - 1, .ram_bytes = 10 * MB},
        {.last_access_us = NOW - 2, .accesses = 50, .ram_bytes = 10 * MB, .tier = AK_TIER_WARM},
    };
    CHECK_INT(decide(states, 3, &rules, &limits), 2);
    CHECK_INT(decisions[0].index, 0); /* room first */
    CHECK_INT(decisions[0].reason, AK_TIER_MEMORY);
    CHECK_INT(decisions[1].index, 2);
    CHECK_INT(decisions[1].to, AK_TIER_HOT);
    states[0].last_access_us = NOW; /* both are in use: the busy one stays where it is */
    CHECK_INT(decide(states, 3, &rules, &limits), 0);
    states[2].ram_bytes = 21 * MB; /* it would never fit */
    states[0].last_access_us = NOW - 2 * HOUR;
    CHECK_INT(decide(states, 3, &rules, &limits), 0);
}

TEST(policy, room_that_would_not_be_enough_is_not_made)
{
    const struct ak_tier_rules rules = ak_tier_rules_default();
    const struct ak_tier_limits limits = {.hot_bytes = 100 * MB};
    struct ak_tier_state states[] = {
        {.last_access_us = NOW - 3 * HOUR, .ram_bytes = 10 * MB},
        {.last_access_us = NOW - 1, .ram_bytes = 90 * MB},
        {.last_access_us = NOW - 9, .accesses = 90, .ram_bytes = 50 * MB, .tier = AK_TIER_WARM},
        {.last_access_us = NOW - 8, .accesses = 50, .ram_bytes = 9 * MB, .tier = AK_TIER_WARM},
    };
    CHECK_INT(decide(states, 3, &rules, &limits), 0);
    CHECK_INT(decide(states, 4, &rules, &limits), 2); /* what stayed can go for the next one */
    CHECK_INT(decisions[0].index, 0);
    CHECK_INT(decisions[1].index, 3);
}

TEST(policy, an_outlook_says_what_comes_next_and_when)
{
    const struct ak_tier_rules rules = ak_tier_rules_default();
    struct ak_tier_state state = {.last_access_us = NOW, .since_us = NOW - DAY};
    struct ak_tier_outlook outlook;
    ak_tier_foresee(&state, &rules, &outlook);
    CHECK_INT(outlook.to, AK_TIER_WARM);
    CHECK_INT(outlook.at_us, NOW + 6 * HOUR);
    state.tier = AK_TIER_WARM;
    ak_tier_foresee(&state, &rules, &outlook);
    CHECK_INT(outlook.to, AK_TIER_COLD);
    CHECK_INT(outlook.at_us, NOW + 7 * DAY);
    state.flags = AK_TIER_PINNED;
    ak_tier_foresee(&state, &rules, &outlook);
    CHECK_INT(outlook.to, AK_TIER_WARM);
    CHECK_INT(outlook.reason, AK_TIER_IS_PINNED);
    CHECK_INT(outlook.at_us, 0);
    state = (struct ak_tier_state){.tier = AK_TIER_COLD};
    ak_tier_foresee(&state, &rules, &outlook);
    CHECK_INT(outlook.reason, AK_TIER_STAYS);
}

TEST(policy, rules_out_of_range_are_refused_by_name)
{
    struct ak_err err;
    struct ak_tier_rules rules = ak_tier_rules_default();
    CHECK_OK(ak_tier_rules_check(&rules, &err));
    rules.hot_idle_us = -1;
    CHECK_RC(AK_INVALID, ak_tier_rules_check(&rules, &err));
    CHECK(strstr(err.text, "hot_idle") != NULL);
    rules = ak_tier_rules_default();
    rules.window_us = 0;
    CHECK_RC(AK_INVALID, ak_tier_rules_check(&rules, &err));
    CHECK(strstr(err.text, "window") != NULL);
    enum ak_tier tier = AK_TIER_HOT;
    CHECK(ak_tier_parse(AK_STR("cold"), &tier) && tier == AK_TIER_COLD);
    CHECK(!ak_tier_parse(AK_STR("frozen"), &tier));
}

static void random_state(struct ak_rand *rand, struct ak_tier_state *state)
{
    *state = (struct ak_tier_state){
        .last_access_us = ak_rand_below(rand, 4) ? NOW - (int64_t)ak_rand_below(rand, 10 * DAY) : 0,
        .since_us = NOW - (int64_t)ak_rand_below(rand, 20 * DAY),
        .ram_bytes = ak_rand_below(rand, 50 * MB),
        .disk_bytes = ak_rand_below(rand, 50 * MB),
        .accesses = (uint32_t)ak_rand_below(rand, 14),
        .tier = (uint8_t)ak_rand_below(rand, AK_TIER_COUNT),
        .flags = (uint8_t)(ak_rand_below(rand, 8) ? 0 : 1 + ak_rand_below(rand, 2)),
    };
}

TEST(policy, whatever_the_states_no_limit_stays_passed_while_something_could_go)
{
    struct ak_tier_state states[MANY];
    struct ak_rand rand;
    const struct ak_tier_rules rules = ak_tier_rules_default();
    ak_rand_seed(&rand, ak_test_seed());
    for (int round = 0; round < 3000; round++) {
        const struct ak_tier_limits limits = {.hot_bytes = 1 + ak_rand_below(&rand, 600 * MB),
                                              .warm_bytes = 1 + ak_rand_below(&rand, 600 * MB),
                                              .grace_us = (int64_t)ak_rand_below(&rand, DAY)};
        uint64_t bytes[AK_TIER_COUNT] = {0};
        bool may_go[AK_TIER_COUNT] = {false};
        uint8_t after[MANY];
        bool decided[MANY] = {false};
        bool was_promotion = false;
        for (int i = 0; i < MANY; i++) {
            random_state(&rand, &states[i]);
            after[i] = states[i].tier;
        }
        size_t count = decide(states, MANY, &rules, &limits);
        for (size_t i = 0; i < count; i++) {
            const struct ak_tier_decision *decision = &decisions[i];
            CHECK(decision->index < MANY && !decided[decision->index]);
            CHECK(!states[decision->index].flags);
            CHECK_INT(decision->from, states[decision->index].tier);
            CHECK(decision->to == decision->from + 1 || decision->to + 1 == decision->from);
            CHECK(!was_promotion || decision->to < decision->from); /* demotions stand first */
            was_promotion = decision->to < decision->from;
            decided[decision->index] = true;
            after[decision->index] = decision->to;
        }
        for (int i = 0; i < MANY; i++) {
            bytes[after[i]] += after[i] == AK_TIER_HOT ? states[i].ram_bytes : states[i].disk_bytes;
            may_go[after[i]] |= !states[i].flags && !decided[i];
        }
        CHECK(bytes[AK_TIER_HOT] <= limits.hot_bytes || !may_go[AK_TIER_HOT]);
        CHECK(bytes[AK_TIER_WARM] <= limits.warm_bytes || !may_go[AK_TIER_WARM]);
    }
}

TEST_MAIN()
