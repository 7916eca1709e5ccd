/* profile.c — the workloads of profile.h, ten minutes at a time. */
#include "tier/profile.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rand.h"
#include <math.h>

#define MINUTE_US INT64_C(60000000)
#define STEP_US (INT64_C(10) * MINUTE_US)
#define STEPS_A_DAY 144u
#define DAY_US (INT64_C(1440) * MINUTE_US)

static const char *const names[AK_TIER_PROFILE_COUNT] = {"rag", "batch", "seasonal"};

const char *ak_tier_profile_name(enum ak_tier_profile profile)
{
    return profile < AK_TIER_PROFILE_COUNT ? names[profile] : "unknown";
}

bool ak_tier_profile_parse(struct ak_str text, enum ak_tier_profile *profile)
{
    for (int i = 0; i < AK_TIER_PROFILE_COUNT; i++) {
        if (ak_str_eq(text, ak_str_of(names[i]))) {
            *profile = (enum ak_tier_profile)i;
            return true;
        }
    }
    return false;
}

struct play {
    const struct ak_tier_load *load;
    struct ak_rand rand;
    double *until; /* sum of the weights up to and with collection i; NULL: not weighted */
    double *phase; /* seasonal: middle of the season as day of the year */
    ak_tier_visit_fn fn;
    void *ctx;
};

/* A number in [0, 1) that belongs to two keys: the same at every call. */
static double fixed_unit(uint64_t seed, uint64_t a, uint64_t b)
{
    return (double)(ak_mix64(ak_mix64(seed ^ a) + b) >> 11) * 0x1p-53;
}

/* The first collection whose sum passes `at`. */
static uint32_t pick(const struct play *play, double at)
{
    uint32_t low = 0;
    uint32_t high = play->load->collections - 1;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (play->until[mid] > at) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    return low;
}

/* How many events of mean `mean`: its whole part, and one more as often as the rest says. */
static uint32_t draw(struct ak_rand *rand, double mean)
{
    double whole = floor(mean);
    return (uint32_t)whole + (ak_rand_unit(rand) < mean - whole);
}

/* --- rag --- */

static double hour_weight(double hour) /* one peak at 14 h; the mean over a day is 1 */
{
    return 1 + 0.9 * cos((hour - 14) / 24 * 2 * 3.14159265358979);
}

/* Busy tenants are at work in most weeks, small ones in few. */
static bool is_at_work(const struct ak_tier_load *load, uint32_t tenant, uint32_t week)
{
    double share = 0.15 + 0.8 / (1 + 20.0 * tenant / load->collections);
    return fixed_unit(load->seed, tenant, week) < share;
}

static enum ak_rc play_rag(struct play *play, uint32_t day, uint32_t step, struct ak_err *err)
{
    const struct ak_tier_load *load = play->load;
    double weekday = day % 7 >= 5 ? 0.3 : 1.28;
    double mean = load->visits_per_day / STEPS_A_DAY * weekday * hour_weight(step / 6.0);
    uint32_t count = draw(&play->rand, mean);
    int64_t at_us = load->begin_us + day * DAY_US + step * STEP_US;
    enum ak_rc rc = AK_OK;
    for (uint32_t i = 0; i < count && rc == AK_OK; i++) {
        uint32_t tenant =
            pick(play, ak_rand_unit(&play->rand) * play->until[load->collections - 1]);
        if (is_at_work(load, tenant, day / 7)) { /* a conversation is a handful of searches */
            rc = play->fn(play->ctx, tenant, at_us, 1 + draw(&play->rand, 3), err);
        }
    }
    return rc;
}

/* --- batch --- */

#define BATCH_READS 500u

static bool is_due(const struct ak_tier_load *load, uint32_t collection, uint32_t day)
{
    double kind = fixed_unit(load->seed, collection, 1);
    uint32_t every = kind < 0.1 ? 1 : kind < 0.5 ? 7 : 30;
    uint32_t turn = (uint32_t)(fixed_unit(load->seed, collection, 2) * every);
    return day % every == turn;
}

static enum ak_rc play_batch(struct play *play, uint32_t day, uint32_t step, struct ak_err *err)
{
    const struct ak_tier_load *load = play->load;
    enum { FROM = 12, STEPS = 24 }; /* 02:00 to 06:00 */
    enum ak_rc rc = AK_OK;
    if (step < FROM || step >= FROM + STEPS) {
        return AK_OK;
    }
    uint64_t slice = step - FROM;
    uint32_t begin = (uint32_t)(slice * load->collections / STEPS);
    uint32_t end = (uint32_t)((slice + 1) * load->collections / STEPS);
    for (uint32_t i = begin; i < end && rc == AK_OK; i++) {
        if (is_due(load, i, day)) {
            rc = play->fn(play->ctx, i, load->begin_us + day * DAY_US + step * STEP_US, BATCH_READS,
                          err);
        }
    }
    return rc;
}

/* --- seasonal --- */

static double season_weight(double phase, uint32_t day)
{
    double apart = fabs((double)(day % 365) - phase);
    apart = apart > 182.5 ? 365 - apart : apart;
    return 0.02 + exp(-apart * apart / (2 * 18.0 * 18.0)); /* a season of about six weeks */
}

static enum ak_rc play_seasonal(struct play *play, uint32_t day, uint32_t step, struct ak_err *err)
{
    const struct ak_tier_load *load = play->load;
    uint32_t of_year = day % 365;
    double rush = of_year >= 327 && of_year < 331 ? 8 : 1;
    double mean = load->visits_per_day / STEPS_A_DAY * rush * hour_weight(step / 6.0 - 6);
    uint32_t count = draw(&play->rand, mean);
    int64_t at_us = load->begin_us + day * DAY_US + step * STEP_US;
    enum ak_rc rc = AK_OK;
    for (uint32_t i = 0; i < count && rc == AK_OK; i++) {
        uint32_t range = pick(play, ak_rand_unit(&play->rand) * play->until[load->collections - 1]);
        if (ak_rand_unit(&play->rand) < season_weight(play->phase[range], day)) {
            rc = play->fn(play->ctx, range, at_us, 1, err);
        }
    }
    return rc;
}

/* --- All of them --- */

static enum ak_rc prepare(struct play *play, struct ak_err *err)
{
    const struct ak_tier_load *load = play->load;
    double exponent = load->profile == AK_TIER_RAG ? 1.05 : 0.7;
    double sum = 0;
    if (load->profile == AK_TIER_BATCH) {
        return AK_OK;
    }
    play->until = ak_try_alloc(load->collections * sizeof *play->until);
    play->phase = ak_try_alloc(load->collections * sizeof *play->phase);
    if (!play->until || !play->phase) {
        return ak_fail(err, AK_NOMEM, "a load of %u collections", load->collections);
    }
    for (uint32_t i = 0; i < load->collections; i++) {
        sum += pow(i + 1.0, -exponent);
        play->until[i] = sum;
        play->phase[i] = 365 * fixed_unit(load->seed, i, 3);
    }
    return AK_OK;
}

enum ak_rc ak_tier_play(const struct ak_tier_load *load, ak_tier_visit_fn fn, void *ctx,
                        struct ak_err *err)
{
    struct ak_tier_load used = *load;
    struct play play = {.load = &used, .fn = fn, .ctx = ctx};
    if (load->collections < 1 || load->collections > 10000000 || load->days < 1 ||
        load->days > 3650) {
        return ak_fail(err, AK_INVALID,
                       "%u collections over %u days; allowed are 1 to 10 million "
                       "over 1 to 3,650 days",
                       load->collections, load->days);
    }
    if (!(used.visits_per_day > 0)) {
        used.visits_per_day = load->collections;
    }
    ak_rand_seed(&play.rand, load->seed);
    enum ak_rc rc = prepare(&play, err);
    for (uint32_t day = 0; day < load->days && rc == AK_OK; day++) {
        for (uint32_t step = 0; step < STEPS_A_DAY && rc == AK_OK; step++) {
            switch (load->profile) {
            case AK_TIER_RAG:
                rc = play_rag(&play, day, step, err);
                break;
            case AK_TIER_BATCH:
                rc = play_batch(&play, day, step, err);
                break;
            case AK_TIER_SEASONAL:
                rc = play_seasonal(&play, day, step, err);
                break;
            case AK_TIER_PROFILE_COUNT:
                break;
            }
        }
    }
    ak_free(play.until);
    ak_free(play.phase);
    return rc;
}
