/* simulate.c — the simulator: collections with states and access counts, and the worker's passes.
 *
 * Counting accesses within a window for every collection at every pass would cost more than the
 * policy itself, so only collections used within the last window are on the `active` list; for all
 * others the count is 0.
 */
#include "tier/simulate.h"
#include "base/clock.h"
#include "base/mem.h"
#include "model/access.h"
#include <stdatomic.h>
#include <string.h>

#define COLLECTIONS_MAX 10000000u
#define DEFAULT_INTERVAL_US INT64_C(300000000)

struct ak_tier_sim {
    struct ak_tier_sim_options options;
    int64_t now_us, next_pass_us;
    struct ak_tier_state *states;
    struct ak_access *accesses;
    bool *is_active;
    uint32_t *active; /* collections whose access count may not be 0 */
    uint32_t *scratch;
    struct ak_tier_decision *decisions;
    uint32_t count, cap, active_count;
    uint64_t bytes[AK_TIER_COUNT];      /* held now */
    double byte_seconds[AK_TIER_COUNT]; /* ∫ bytes dt */
    uint64_t decide_ns;
    struct ak_tier_sim_report report;
};

enum ak_rc ak_tier_sim_open(const struct ak_tier_sim_options *options, struct ak_tier_sim **out,
                            struct ak_err *err)
{
    enum ak_rc rc = ak_tier_rules_check(&options->rules, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (options->interval_us < 0 || options->begin_us < 0) {
        return ak_fail(err, AK_INVALID, "interval and begin are at least 0");
    }
    struct ak_tier_sim *sim = ak_zalloc(sizeof *sim);
    sim->options = *options;
    sim->options.interval_us = options->interval_us ? options->interval_us : DEFAULT_INTERVAL_US;
    sim->options.fetch_bytes_per_s =
        options->fetch_bytes_per_s > 0 ? options->fetch_bytes_per_s : 100e6;
    sim->options.fetch_latency_s = options->fetch_latency_s > 0 ? options->fetch_latency_s : 0.05;
    sim->now_us = options->begin_us;
    sim->next_pass_us = options->begin_us + sim->options.interval_us;
    *out = sim;
    return AK_OK;
}

void ak_tier_sim_close(struct ak_tier_sim *sim)
{
    if (sim) {
        ak_free(sim->states);
        ak_free(sim->accesses);
        ak_free(sim->is_active);
        ak_free(sim->active);
        ak_free(sim->scratch);
        ak_free(sim->decisions);
        ak_free(sim);
    }
}

/* One array to `cap` elements; false leaves it as it was. */
#define GROW(array, cap, grown)                                                                    \
    ((grown = ak_try_realloc((array), (size_t)(cap) * sizeof *(array))) != NULL &&                 \
     ((array) = grown, true))

static enum ak_rc grow(struct ak_tier_sim *sim, struct ak_err *err)
{
    uint32_t cap = sim->cap ? sim->cap * 2 : 1024;
    void *grown = NULL;
    if (sim->count >= COLLECTIONS_MAX) {
        return ak_fail(err, AK_TOO_BIG, "more than %u collections", COLLECTIONS_MAX);
    }
    if (sim->count < sim->cap) {
        return AK_OK;
    }
    if (!GROW(sim->states, cap, grown) || !GROW(sim->accesses, cap, grown) ||
        !GROW(sim->is_active, cap, grown) || !GROW(sim->active, cap, grown) ||
        !GROW(sim->scratch, cap, grown) || !GROW(sim->decisions, cap, grown)) {
        return ak_fail(err, AK_NOMEM, "%u collections", cap);
    }
    sim->cap = cap;
    return AK_OK;
}

/* What a collection takes in a tier. */
static uint64_t bytes_in(const struct ak_tier_state *state, enum ak_tier tier)
{
    return tier == AK_TIER_HOT ? state->ram_bytes : state->disk_bytes;
}

enum ak_rc ak_tier_sim_add(struct ak_tier_sim *sim, uint64_t ram_bytes, uint64_t disk_bytes,
                           uint32_t *index, struct ak_err *err)
{
    enum ak_rc rc = grow(sim, err);
    if (rc != AK_OK) {
        return rc;
    }
    sim->states[sim->count] = (struct ak_tier_state){
        .since_us = sim->now_us, .ram_bytes = ram_bytes, .disk_bytes = disk_bytes};
    memset(&sim->accesses[sim->count], 0, sizeof *sim->accesses);
    sim->is_active[sim->count] = false;
    sim->bytes[AK_TIER_HOT] += ram_bytes;
    *index = sim->count++;
    return AK_OK;
}

static void note_peaks(struct ak_tier_sim *sim)
{
    for (int t = 0; t < AK_TIER_COUNT; t++) {
        if (sim->bytes[t] > sim->report.peak_bytes[t]) {
            sim->report.peak_bytes[t] = sim->bytes[t];
        }
    }
}

static void move(struct ak_tier_sim *sim, uint32_t index, enum ak_tier to,
                 enum ak_tier_reason reason)
{
    struct ak_tier_state *state = &sim->states[index];
    enum ak_tier from = (enum ak_tier)state->tier;
    sim->bytes[from] -= bytes_in(state, from);
    sim->bytes[to] += bytes_in(state, to);
    sim->report.moves[from][to].count++;
    sim->report.moves[from][to].bytes += bytes_in(state, to);
    sim->report.reasons[reason]++;
    state->tier = (uint8_t)to;
    state->since_us = sim->now_us;
}

static void tick_to(struct ak_tier_sim *sim, int64_t to_us)
{
    double seconds = (double)(to_us - sim->now_us) / 1e6;
    for (int t = 0; t < AK_TIER_COUNT; t++) {
        sim->byte_seconds[t] += (double)sim->bytes[t] * seconds;
    }
    sim->report.seconds += seconds;
    sim->now_us = to_us;
}

static void count_active(struct ak_tier_sim *sim)
{
    int64_t window_us = sim->options.rules.window_us;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < sim->active_count; i++) {
        uint32_t index = sim->active[i];
        uint32_t accesses = ak_access_count(&sim->accesses[index], sim->now_us, window_us);
        sim->states[index].accesses = accesses;
        sim->is_active[index] = accesses != 0;
        if (accesses) {
            sim->active[kept++] = index;
        }
    }
    sim->active_count = kept;
}

static void run_pass(struct ak_tier_sim *sim)
{
    const struct ak_tier_input input = {
        .states = sim->states,
        .count = sim->count,
        .rules = &sim->options.rules,
        .rule_count = 1,
        .limits = &sim->options.limits,
        .now_us = sim->now_us,
    };
    count_active(sim);
    int64_t from_ns = ak_mono_ns(ak_clock_system());
    size_t count = ak_tier_decide(&input, sim->scratch, sim->decisions);
    uint64_t took_ns = (uint64_t)(ak_mono_ns(ak_clock_system()) - from_ns);
    sim->decide_ns += took_ns;
    if (took_ns > sim->report.decide_ns_max) {
        sim->report.decide_ns_max = took_ns;
    }
    sim->report.passes++;
    for (size_t i = 0; i < count; i++) {
        const struct ak_tier_decision *decision = &sim->decisions[i];
        move(sim, decision->index, (enum ak_tier)decision->to,
             (enum ak_tier_reason)decision->reason);
    }
    note_peaks(sim);
}

enum ak_rc ak_tier_sim_advance(struct ak_tier_sim *sim, int64_t to_us, struct ak_err *err)
{
    if (to_us < sim->now_us) {
        return ak_fail(err, AK_INVALID, "time goes back by %.3f s; accesses must be in their order",
                       (double)(sim->now_us - to_us) / 1e6);
    }
    while (sim->next_pass_us <= to_us) {
        tick_to(sim, sim->next_pass_us);
        run_pass(sim);
        sim->next_pass_us += sim->options.interval_us;
    }
    tick_to(sim, to_us);
    return AK_OK;
}

enum ak_rc ak_tier_sim_access(struct ak_tier_sim *sim, uint32_t index, int64_t at_us,
                              uint32_t count, struct ak_err *err)
{
    if (index >= sim->count) {
        return ak_fail(err, AK_INVALID, "collection %u of %u", index, sim->count);
    }
    enum ak_rc rc = ak_tier_sim_advance(sim, at_us, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_tier_state *state = &sim->states[index];
    if (count == 0) {
        return AK_OK;
    }
    sim->report.accesses[state->tier]++; /* the first finds the tier as it is … */
    if (state->tier == AK_TIER_COLD) {
        double seconds = sim->options.fetch_latency_s +
                         (double)state->disk_bytes / sim->options.fetch_bytes_per_s;
        sim->report.fetch_seconds += seconds;
        if (seconds > sim->report.longest_fetch_seconds) {
            sim->report.longest_fetch_seconds = seconds;
        }
        move(sim, index, AK_TIER_WARM, AK_TIER_USED);
    }
    sim->report.accesses[state->tier] += count - 1; /* … the others what it made of it */
    state->last_access_us = at_us;
    for (uint32_t i = 0; i < count && i < AK_ACCESS_PART_MAX; i++) {
        ak_access_note(&sim->accesses[index], at_us, sim->options.rules.window_us);
    }
    if (!sim->is_active[index]) {
        sim->is_active[index] = true;
        sim->active[sim->active_count++] = index;
    }
    return AK_OK;
}

void ak_tier_sim_report(struct ak_tier_sim *sim, struct ak_tier_sim_report *report)
{
    note_peaks(sim);
    *report = sim->report;
    report->collections = sim->count;
    for (int t = 0; t < AK_TIER_COUNT; t++) {
        report->mean_bytes[t] =
            report->seconds > 0 ? sim->byte_seconds[t] / report->seconds : (double)sim->bytes[t];
    }
    report->decide_ns_mean = report->passes ? sim->decide_ns / report->passes : 0;
}
