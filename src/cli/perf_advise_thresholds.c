/* perf_advise_thresholds.c — thresholds and limits of the tiers, each tried out on the log.
 *
 * The log is played under the present policy, and under others that differ in one setting. A value
 * is proposed when more accesses are answered without waiting for no more than twice the bytes, or
 * nearly as many with at least a fifth, and 16 MiB, fewer bytes. What a search takes in memory and
 * off it, by which the speed-up is estimated, is the log's own; fetching from the bucket costs what
 * the simulator says (tier/simulate.h).
 */
#include "cli/perf_advise.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HOUR_US INT64_C(3600000000)
#define MIB INT64_C(1048576)
#define BYTES_MORE 2.0                 /* times as many, for what is faster */
#define BYTES_LESS 0.8                 /* times as many, for what is smaller */
#define SAVED_MIN (16.0 * (double)MIB) /* fewer bytes are not worth a change */
#define STEPS_MAX 8

enum unit { TIME, COUNT, BYTES };

static const struct knob {
    const char *name;
    const char *held; /* where its bytes are */
    const char *from; /* what answers without waiting */
    enum ak_tier tier;
    enum unit unit;
    double gain_min;          /* of the share of accesses, to be worth its bytes */
    int64_t steps[STEPS_MAX]; /* hours, accesses, percent of the most that is held; 0: the end */
} knobs[] = {
    {"tiering.hot_idle",
     "in memory",
     "memory",
     AK_TIER_HOT,
     TIME,
     0.05,
     {1, 3, 6, 12, 24, 72, 168}},
    {"tiering.promote_accesses",
     "in memory",
     "memory",
     AK_TIER_HOT,
     COUNT,
     0.05,
     {1, 3, 5, 10, 20, 50}},
    {"tiering.max_hot_memory", "in memory", "memory", AK_TIER_HOT, BYTES, 0.05, {25, 50, 75, 100}},
    {"tiering.warm_idle",
     "on disk",
     "memory or disk",
     AK_TIER_WARM,
     TIME,
     0.01,
     {24, 72, 168, 336, 720}},
    {"tiering.max_warm_disk",
     "on disk",
     "memory or disk",
     AK_TIER_WARM,
     BYTES,
     0.01,
     {25, 50, 75, 100}},
};
#define KNOB_COUNT (sizeof knobs / sizeof knobs[0])

static int64_t value_of(const struct ak_advise_policy *policy, const struct knob *knob)
{
    bool is_hot = knob->tier == AK_TIER_HOT;
    switch (knob->unit) {
    case TIME:
        return is_hot ? policy->rules.hot_idle_us : policy->rules.warm_idle_us;
    case COUNT:
        return policy->rules.promote_accesses;
    case BYTES:
        break;
    }
    return (int64_t)(is_hot ? policy->limits.hot_bytes : policy->limits.warm_bytes);
}

static struct ak_advise_policy with(const struct ak_advise_policy *policy, const struct knob *knob,
                                    int64_t value)
{
    struct ak_advise_policy other = *policy;
    bool is_hot = knob->tier == AK_TIER_HOT;
    switch (knob->unit) {
    case TIME:
        *(is_hot ? &other.rules.hot_idle_us : &other.rules.warm_idle_us) = value;
        break;
    case COUNT:
        other.rules.promote_accesses = (uint32_t)value;
        break;
    case BYTES:
        *(is_hot ? &other.limits.hot_bytes : &other.limits.warm_bytes) = (uint64_t)value;
        break;
    }
    return other;
}

/* As the configuration takes it. */
#define VALUE_TEXT_MAX 32
static const char *put_value(const struct knob *knob, int64_t value, char text[VALUE_TEXT_MAX])
{
    bool is_days = value % (24 * HOUR_US) == 0 && value > 24 * HOUR_US;
    bool is_hours = value % HOUR_US == 0;
    int64_t unit = is_days ? 24 * HOUR_US : is_hours ? HOUR_US : 1000000;
    switch (knob->unit) {
    case TIME:
        (void)snprintf(text, VALUE_TEXT_MAX, "%" PRId64 "%s", value / unit,
                       is_days             ? "d"
                       : is_hours && value ? "h"
                                           : "s");
        break;
    case COUNT:
        (void)snprintf(text, VALUE_TEXT_MAX, "%" PRId64, value);
        break;
    case BYTES:
        if (value % MIB == 0 && value) {
            (void)snprintf(text, VALUE_TEXT_MAX, "%" PRId64 "MiB", value / MIB);
        } else {
            (void)snprintf(text, VALUE_TEXT_MAX, "%" PRId64 "B", value);
        }
        break;
    }
    return text;
}

static const char *put_index(const struct knob *knob, int64_t value, char index[64])
{
    char text[VALUE_TEXT_MAX];
    (void)snprintf(index, 64, "%s=%s", knob->name, put_value(knob, value, text));
    return index;
}

bool ak_advise_threshold_in_force(const struct ak_advise_policy *policy, struct ak_str index)
{
    char now[64];
    for (size_t i = 0; i < KNOB_COUNT; i++) {
        if (ak_str_eq(index, ak_str_of(put_index(&knobs[i], value_of(policy, &knobs[i]), now)))) {
            return true;
        }
    }
    return false;
}

/* --- What a play comes to --- */

struct outcome {
    int64_t value;
    double share;   /* of accesses that the tier, or one above it, answers */
    double bytes;   /* that it holds: on average, under a limit at most */
    double mean_ms; /* of a search; 0: not known */
};

struct trial {
    const struct ak_advise_accesses *accesses;
    double hit_ms, miss_ms;
};

static enum ak_rc try_value(const struct trial *trial, const struct ak_advise_policy *policy,
                            const struct knob *knob, struct outcome *outcome, struct ak_err *err)
{
    struct ak_tier_sim_report r;
    enum ak_rc rc = ak_advise_play(trial->accesses, policy, &r, err);
    if (rc != AK_OK) {
        return rc;
    }
    double hot = (double)r.accesses[AK_TIER_HOT];
    double off = (double)r.accesses[AK_TIER_WARM] + (double)r.accesses[AK_TIER_COLD];
    double here = knob->tier == AK_TIER_HOT ? hot : hot + (double)r.accesses[AK_TIER_WARM];
    double all = hot + off > 0 ? hot + off : 1;
    *outcome = (struct outcome){
        .value = value_of(policy, knob),
        .share = here / all,
        .bytes = knob->unit == BYTES ? (double)r.peak_bytes[knob->tier] : r.mean_bytes[knob->tier],
    };
    if (trial->hit_ms > 0 && trial->miss_ms > 0) {
        outcome->mean_ms =
            (hot * trial->hit_ms + off * trial->miss_ms + r.fetch_seconds * 1e3) / all;
    }
    return AK_OK;
}

static void propose(struct ak_advice *advice, const struct trial *trial, const struct knob *knob,
                    const struct outcome *now, const struct outcome *then)
{
    char index[64];
    char before[VALUE_TEXT_MAX];
    char after[VALUE_TEXT_MAX];
    struct ak_buf *text = &advice->text;
    const char *held = knob->unit == BYTES ? "at most" : "on average";
    bool has_speedup = now->mean_ms > 0 && then->mean_ms > 0;
    double speedup = has_speedup ? now->mean_ms / then->mean_ms : 0;
    bool is_faster = then->share - now->share >= knob->gain_min;
    ak_buf_clear(text);
    ak_buf_add_fmt(text,
                   "simulated over %.1f days of the log: now (%s) %.1f %% of accesses are answered "
                   "from %s, and %.1f MiB are held %s %s; with %s, all else as it is, %.1f %% and "
                   "%.1f MiB",
                   ak_advise_days(trial->accesses), put_value(knob, now->value, before),
                   100 * now->share, knob->from, now->bytes / (double)MIB, knob->held, held,
                   put_value(knob, then->value, after), 100 * then->share,
                   then->bytes / (double)MIB);
    if (has_speedup) {
        ak_buf_add_fmt(text,
                       "; a search takes %.3f ms on average now and %.3f ms then, by the log's "
                       "%.3f ms with everything in memory, %.3f ms without, and 50 ms and 100 MB/s "
                       "of a bucket",
                       now->mean_ms, then->mean_ms, trial->hit_ms, trial->miss_ms);
    }
    const struct ak_perf_recommendation one = {
        .table = AK_STR("*"),
        .index = ak_str_of(put_index(knob, then->value, index)),
        .query_pattern = AK_STR("all queries"),
        .priority = !is_faster                    ? AK_STR("low")
                    : has_speedup && speedup >= 2 ? AK_STR("high")
                                                  : AK_STR("medium"),
        .basis = ak_buf_str(text),
        .estimated_speedup = speedup,
        .has_speedup = has_speedup,
        .estimated_cost = then->bytes - now->bytes,
        .has_cost = true,
    };
    ak_advice_add(advice, &one);
}

/* Of a step the value to try; 0: the log cannot tell. A limit is a part of the most that is held
 * without one, to whole MiB; a time must come twice in the log to be seen at work. */
static int64_t step_value(const struct trial *trial, const struct knob *knob, int64_t step,
                          double most)
{
    int64_t value = step;
    if (knob->unit == TIME) {
        value = (double)step <= ak_advise_days(trial->accesses) * 24 / 2 ? step * HOUR_US : 0;
    } else if (knob->unit == BYTES) {
        value = ((int64_t)(most * (double)step / 100) / MIB + 1) * MIB;
    }
    return value;
}

static enum ak_rc try_knob(struct ak_advice *advice, const struct trial *trial,
                           const struct ak_advise_policy *policy, const struct knob *knob,
                           struct outcome *now, bool *has_proposed, struct ak_err *err)
{
    struct outcome free = {0};
    bool is_faster = false;
    *has_proposed = false;
    enum ak_rc rc = try_value(trial, policy, knob, now, err);
    struct outcome best = *now;
    if (rc == AK_OK && knob->unit == BYTES) {
        const struct ak_advise_policy other = with(policy, knob, 0);
        rc = try_value(trial, &other, knob, &free, err);
    }
    for (size_t i = 0; rc == AK_OK && i < STEPS_MAX && knob->steps[i]; i++) {
        struct outcome then;
        int64_t value = step_value(trial, knob, knob->steps[i], free.bytes);
        const struct ak_advise_policy other = with(policy, knob, value);
        if (value == 0 || value == now->value) {
            continue;
        }
        rc = try_value(trial, &other, knob, &then, err);
        if (rc != AK_OK) {
            break;
        }
        double gain = then.share - now->share;
        double slack = knob->gain_min / 5;
        bool is_better = gain >= knob->gain_min && then.bytes <= BYTES_MORE * now->bytes &&
                         then.share > best.share + slack;
        bool is_smaller = !is_faster && gain >= -slack && then.bytes <= BYTES_LESS * now->bytes &&
                          then.bytes + SAVED_MIN <= now->bytes && then.bytes < best.bytes;
        if (is_better || is_smaller) {
            is_faster = is_faster || is_better;
            best = then;
        }
    }
    if (rc == AK_OK && best.value != now->value) {
        propose(advice, trial, knob, now, &best);
        *has_proposed = true;
    }
    return rc;
}

enum ak_rc ak_advise_thresholds(struct ak_advice *advice, const struct ak_advise_accesses *accesses,
                                const struct ak_advise_policy *policy, struct ak_err *err)
{
    struct trial trial = {.accesses = accesses};
    struct outcome shares[AK_TIER_COUNT] = {0};
    bool any = false;
    enum ak_rc rc = AK_OK;
    ak_advise_costs(accesses, &trial.hit_ms, &trial.miss_ms);
    for (size_t i = 0; rc == AK_OK && i < KNOB_COUNT; i++) {
        bool has_proposed = false;
        struct outcome now = {0};
        rc = try_knob(advice, &trial, policy, &knobs[i], &now, &has_proposed, err);
        if (knobs[i].unit != BYTES) { /* whose bytes are peaks */
            shares[knobs[i].tier] = now;
        }
        any = any || has_proposed;
    }
    if (rc == AK_OK && !any) {
        ak_advice_note(advice,
                       "tiers: thresholds and limits fit: over %.1f days of the log %.1f %% of "
                       "accesses from memory (%.1f MiB on average), %.1f %% from memory or disk",
                       ak_advise_days(accesses), 100 * shares[AK_TIER_HOT].share,
                       shares[AK_TIER_HOT].bytes / (double)MIB, 100 * shares[AK_TIER_WARM].share);
    }
    return rc;
}
