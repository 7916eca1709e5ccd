/* policy.c — the rules of policy.h, in one pass over the states and a selection when a limit is
 * passed.
 *
 * The pass is linear and touches 40 bytes a collection. Only when a tier is over its limit are its
 * candidates put into a heap by last use, and as many taken as must go: O(n + k log n).
 */
#include "tier/policy.h"
#include <string.h>

static const char *const reason_names[AK_TIER_REASON_COUNT] = {
    "stays", "idle", "used", "busy", "memory", "disk", "pinned", "moving",
};

const char *ak_tier_reason_name(enum ak_tier_reason reason)
{
    return reason < AK_TIER_REASON_COUNT ? reason_names[reason] : "unknown";
}

static int64_t used_us(const struct ak_tier_state *state)
{
    return state->last_access_us ? state->last_access_us : state->since_us;
}

static const struct ak_tier_rules *rules_of(const struct ak_tier_input *input,
                                            const struct ak_tier_state *state)
{
    return &input->rules[state->rules < input->rule_count ? state->rules : 0];
}

/* Rules 1 to 3, without a look at the others. */
static enum ak_tier_reason judge(const struct ak_tier_state *state,
                                 const struct ak_tier_rules *rules, int64_t now_us,
                                 enum ak_tier *to)
{
    int64_t idle_us = now_us - used_us(state);
    if (state->flags) {
        return state->flags & AK_TIER_MOVING ? AK_TIER_IS_MOVING : AK_TIER_IS_PINNED;
    }
    switch ((enum ak_tier)state->tier) {
    case AK_TIER_HOT:
        if (rules->hot_idle_us && idle_us >= rules->hot_idle_us && rules->lowest > AK_TIER_HOT) {
            *to = AK_TIER_WARM;
            return AK_TIER_IDLE;
        }
        break;
    case AK_TIER_WARM:
        if (rules->promote_accesses && state->accesses >= rules->promote_accesses) {
            *to = AK_TIER_HOT;
            return AK_TIER_BUSY;
        }
        if (rules->warm_idle_us && idle_us >= rules->warm_idle_us && rules->lowest > AK_TIER_WARM) {
            *to = AK_TIER_COLD;
            return AK_TIER_IDLE;
        }
        break;
    case AK_TIER_COLD:
        if (!rules->stay_cold_on_access && state->last_access_us > state->since_us) {
            *to = AK_TIER_WARM;
            return AK_TIER_USED;
        }
        break;
    case AK_TIER_COUNT:
        break;
    }
    return AK_TIER_STAYS;
}

/* false: judge() would say that it stays. Without branches, since at almost every state of almost
 * every pass that is the answer, and tiers follow one another at random. */
static bool may_move(const struct ak_tier_state *state, const struct ak_tier_rules *rules,
                     int64_t now_us)
{
    int64_t idle_us = now_us - used_us(state);
    int64_t after_us = state->tier == AK_TIER_HOT ? rules->hot_idle_us : rules->warm_idle_us;
    bool is_idle = (after_us != 0) & (idle_us >= after_us) & (state->tier != AK_TIER_COLD);
    bool is_busy = (state->tier == AK_TIER_WARM) & (state->accesses != 0) &
                   (state->accesses >= rules->promote_accesses);
    bool is_used = (state->tier == AK_TIER_COLD) & (state->last_access_us > state->since_us);
    return is_idle | is_busy | is_used;
}

struct pass {
    const struct ak_tier_input *input;
    struct ak_tier_decision *decisions;
    size_t count;
    uint64_t hot_bytes, warm_bytes; /* as they are after the decisions so far */
};

static void decide(struct pass *pass, size_t index, enum ak_tier to, enum ak_tier_reason reason)
{
    const struct ak_tier_state *state = &pass->input->states[index];
    pass->decisions[pass->count++] = (struct ak_tier_decision){
        .index = (uint32_t)index,
        .from = state->tier,
        .to = (uint8_t)to,
        .reason = (uint8_t)reason,
    };
    pass->hot_bytes -= state->tier == AK_TIER_HOT ? state->ram_bytes : 0;
    pass->warm_bytes -= state->tier == AK_TIER_WARM ? state->disk_bytes : 0;
    pass->hot_bytes += to == AK_TIER_HOT ? state->ram_bytes : 0;
    pass->warm_bytes += to == AK_TIER_WARM ? state->disk_bytes : 0;
}

/* --- Rule 4: a heap of candidates, the least recently used on top --- */

struct heap {
    const struct ak_tier_state *states;
    uint32_t *at;
    size_t count;
    int64_t grace_from_us; /* used since then: behind all others */
};

static bool goes_first(const struct heap *heap, uint32_t a, uint32_t b)
{
    const struct ak_tier_state *x = &heap->states[a];
    const struct ak_tier_state *y = &heap->states[b];
    int64_t x_us = used_us(x);
    int64_t y_us = used_us(y);
    bool x_late = x_us >= heap->grace_from_us;
    bool y_late = y_us >= heap->grace_from_us;
    if (x_late != y_late) {
        return y_late;
    }
    if (x_us != y_us) {
        return x_us < y_us;
    }
    return a < b; /* the same input gives the same decisions */
}

static void sift_down(struct heap *heap, size_t at)
{
    for (;;) {
        size_t first = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < heap->count; child++) {
            first = goes_first(heap, heap->at[child], heap->at[first]) ? child : first;
        }
        if (first == at) {
            return;
        }
        uint32_t swap = heap->at[at];
        heap->at[at] = heap->at[first];
        heap->at[first] = swap;
        at = first;
    }
}

static uint32_t heap_take(struct heap *heap)
{
    uint32_t top = heap->at[0];
    heap->at[0] = heap->at[--heap->count];
    sift_down(heap, 0);
    return top;
}

static void heap_put(struct heap *heap, uint32_t index)
{
    size_t at = heap->count++;
    while (at > 0 && goes_first(heap, index, heap->at[(at - 1) / 2])) {
        heap->at[at] = heap->at[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap->at[at] = index;
}

static struct heap candidates(const struct pass *pass, enum ak_tier tier, uint32_t *scratch)
{
    const struct ak_tier_input *input = pass->input;
    struct heap heap = {.states = input->states,
                        .at = scratch,
                        .grace_from_us = input->now_us - input->limits->grace_us};
    for (size_t i = 0, decided = 0; i < input->count; i++) {
        const struct ak_tier_state *state = &input->states[i];
        if (decided < pass->count && pass->decisions[decided].index == i) {
            decided++; /* decisions of the first pass stand in the order of the states */
            continue;
        }
        if (state->tier == tier && !state->flags && rules_of(input, state)->lowest > tier) {
            heap.at[heap.count++] = (uint32_t)i;
        }
    }
    for (size_t i = heap.count / 2; i-- > 0;) {
        sift_down(&heap, i);
    }
    return heap;
}

static uint64_t low_water(uint64_t limit)
{
    return (uint64_t)((double)limit * AK_TIER_LOW_WATER);
}

/* --- Promotions to hot: as memory has room for them --- */

/* The busiest first, so that they get the room. */
static void sort_by_accesses(const struct ak_tier_state *states, uint32_t *at, size_t count)
{
    for (size_t gap = count / 2; gap > 0; gap /= 2) {
        for (size_t i = gap; i < count; i++) {
            uint32_t one = at[i];
            size_t to = i;
            while (to >= gap && states[at[to - gap]].accesses < states[one].accesses) {
                at[to] = at[to - gap];
                to -= gap;
            }
            at[to] = one;
        }
    }
}

/* Room for `bytes` more under the limit, by demoting what was used less recently than `than_us`; as
 * it was when that is not enough. */
static bool make_room(struct pass *pass, struct heap *heap, uint64_t bytes, int64_t than_us)
{
    const struct pass before = *pass;
    uint64_t limit = pass->input->limits->hot_bytes;
    if (bytes > limit) {
        return false;
    }
    while (pass->hot_bytes > limit - bytes) {
        if (heap->count == 0 || used_us(&heap->states[heap->at[0]]) >= than_us) {
            for (size_t i = before.count; i < pass->count; i++) {
                heap_put(heap, pass->decisions[i].index);
            }
            *pass = before;
            return false;
        }
        decide(pass, heap_take(heap), AK_TIER_WARM, AK_TIER_MEMORY);
    }
    return true;
}

static void promote(struct pass *pass, struct heap *hot, uint32_t *busy, size_t count)
{
    const struct ak_tier_input *input = pass->input;
    sort_by_accesses(input->states, busy, count);
    for (size_t i = 0; i < count; i++) {
        const struct ak_tier_state *state = &input->states[busy[i]];
        if (!input->limits->hot_bytes || make_room(pass, hot, state->ram_bytes, used_us(state))) {
            decide(pass, busy[i], AK_TIER_HOT, AK_TIER_BUSY);
        }
    }
}

/* Rules 1 to 3 for all: demotions and cold → warm become decisions, in the order of the states;
 * busy ones are gathered from the end of `scratch`. */
static size_t first_pass(struct pass *pass, uint32_t *scratch)
{
    const struct ak_tier_input *input = pass->input;
    const struct ak_tier_state *const states = input->states;
    const struct ak_tier_rules *const rules = input->rules;
    const size_t rule_count = input->rule_count;
    const size_t count = input->count;
    const int64_t now_us = input->now_us;
    uint64_t hot_bytes = 0; /* sums in registers: this loop is the whole cost of a quiet pass */
    uint64_t warm_bytes = 0;
    size_t busy = 0;
    for (size_t i = 0; i < count; i++) {
        const struct ak_tier_state *state = &states[i];
        const struct ak_tier_rules *own = &rules[state->rules < rule_count ? state->rules : 0];
        hot_bytes += state->tier == AK_TIER_HOT ? state->ram_bytes : 0;
        warm_bytes += state->tier == AK_TIER_WARM ? state->disk_bytes : 0;
        if (!may_move(state, own, now_us)) {
            continue;
        }
        enum ak_tier to = AK_TIER_HOT;
        enum ak_tier_reason reason = judge(state, own, now_us, &to);
        if (reason == AK_TIER_BUSY) {
            scratch[count - ++busy] = (uint32_t)i;
        } else if (reason == AK_TIER_IDLE || reason == AK_TIER_USED) {
            decide(pass, i, to, reason);
        }
    }
    pass->hot_bytes += hot_bytes; /* decide() has put in the differences */
    pass->warm_bytes += warm_bytes;
    return busy;
}

/* Demotions to the front, in place. */
static void demotions_first(struct ak_tier_decision *decisions, size_t count)
{
    size_t front = 0;
    for (size_t i = 0; i < count; i++) {
        if (decisions[i].to > decisions[i].from) {
            struct ak_tier_decision swap = decisions[front];
            decisions[front++] = decisions[i];
            decisions[i] = swap;
        }
    }
}

/* Rule 4 for the disk. Decisions [0, decided) are those of the first pass; behind them stand
 * promotions to hot, which leave the disk's account as well. */
static void relieve_disk(struct pass *pass, size_t decided, uint32_t *scratch)
{
    uint64_t limit = pass->input->limits->warm_bytes;
    size_t all = pass->count;
    pass->count = decided;
    struct heap warm = candidates(pass, AK_TIER_WARM, scratch);
    pass->count = all;
    while (warm.count && pass->warm_bytes > low_water(limit)) {
        uint32_t next = heap_take(&warm);
        bool is_promoted = false;
        for (size_t i = decided; i < all && !is_promoted; i++) {
            is_promoted = pass->decisions[i].index == next;
        }
        if (!is_promoted) {
            decide(pass, next, AK_TIER_COLD, AK_TIER_DISK);
        }
    }
}

size_t ak_tier_decide(const struct ak_tier_input *input, uint32_t *scratch,
                      struct ak_tier_decision *decisions)
{
    struct pass pass = {.input = input, .decisions = decisions};
    const struct ak_tier_limits *limits = input->limits;
    size_t busy_count = first_pass(&pass, scratch);
    uint32_t *busy = scratch + input->count - busy_count;
    bool over_memory = limits->hot_bytes && pass.hot_bytes > limits->hot_bytes;
    /* Hot candidates and busy ones are disjoint, so both fit into the scratch. */
    struct heap hot = {0};
    if (over_memory || (busy_count && limits->hot_bytes)) {
        hot = candidates(&pass, AK_TIER_HOT, scratch);
    }
    size_t decided = pass.count;
    while (over_memory && hot.count && pass.hot_bytes > low_water(limits->hot_bytes)) {
        decide(&pass, heap_take(&hot), AK_TIER_WARM, AK_TIER_MEMORY);
    }
    promote(&pass, &hot, busy, busy_count);
    if (limits->warm_bytes && pass.warm_bytes > limits->warm_bytes) {
        relieve_disk(&pass, decided, scratch);
    }
    demotions_first(decisions, pass.count);
    return pass.count;
}

void ak_tier_foresee(const struct ak_tier_state *state, const struct ak_tier_rules *rules,
                     struct ak_tier_outlook *outlook)
{
    enum ak_tier tier = (enum ak_tier)state->tier;
    int64_t after_us = tier == AK_TIER_HOT    ? rules->hot_idle_us
                       : tier == AK_TIER_WARM ? rules->warm_idle_us
                                              : 0;
    *outlook = (struct ak_tier_outlook){.to = tier, .reason = AK_TIER_STAYS};
    if (state->flags) {
        outlook->reason = state->flags & AK_TIER_MOVING ? AK_TIER_IS_MOVING : AK_TIER_IS_PINNED;
    } else if (after_us && rules->lowest > tier) {
        outlook->to = tier + 1;
        outlook->reason = AK_TIER_IDLE;
        outlook->at_us = used_us(state) + after_us;
    }
}
