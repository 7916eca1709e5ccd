/* retry.c — backoff with full jitter, a deadline, and a bucket of tokens for all calls. */
#include "resil/retry.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#define BASE_MS 50
#define THROTTLE_BASE_MS 1000
#define CAP_MS 20000
#define TOKENS_MAX 500
#define SLICE_US 50000 /* of a sleep that somebody may end */
#define AT_ONCE_MAX 4  /* repairs in one series: clock, region, credentials, and a redirect */

static uint32_t or_default(uint32_t value, uint32_t when_zero)
{
    return value ? value : when_zero;
}

int64_t ak_retry_delay_max_us(const struct ak_retry_policy *policy, enum ak_retry_kind kind,
                              uint32_t nth)
{
    uint64_t cap = or_default(policy->cap_ms, CAP_MS);
    uint64_t base = kind == AK_RETRY_THROTTLED
                        ? or_default(policy->throttle_base_ms, THROTTLE_BASE_MS)
                        : or_default(policy->base_ms, BASE_MS);
    uint64_t most = nth < 32 ? base << nth : cap;
    if (kind == AK_RETRY_AT_ONCE || kind == AK_RETRY_NO) {
        return 0;
    }
    most = most < cap ? most : cap;
    most = most > policy->floor_ms ? most : policy->floor_ms;
    return (int64_t)most * 1000;
}

int64_t ak_retry_delay_us(const struct ak_retry_policy *policy, enum ak_retry_kind kind,
                          uint32_t nth, struct ak_rand *rand)
{
    int64_t most = ak_retry_delay_max_us(policy, kind, nth);
    int64_t least = (int64_t)policy->floor_ms * 1000;
    if (most <= least) {
        return most;
    }
    return least + (int64_t)ak_rand_below(rand, (uint64_t)(most - least) + 1);
}

void ak_retry_bucket_init(struct ak_retry_bucket *bucket, int32_t tokens_max)
{
    bucket->tokens_max = tokens_max > 0 ? tokens_max : TOKENS_MAX;
    atomic_init(&bucket->tokens, bucket->tokens_max);
}

/* Relaxed everywhere: the balance orders nothing else. */
static bool bucket_take(struct ak_retry_bucket *bucket)
{
    int32_t have = atomic_load_explicit(&bucket->tokens, memory_order_relaxed);
    do {
        if (have < AK_RETRY_COST) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&bucket->tokens, &have, have - AK_RETRY_COST,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

static void bucket_give(struct ak_retry_bucket *bucket, int32_t tokens)
{
    int32_t have = atomic_load_explicit(&bucket->tokens, memory_order_relaxed);
    int32_t then = 0;
    do {
        then = have + tokens < bucket->tokens_max ? have + tokens : bucket->tokens_max;
    } while (then != have &&
             !atomic_compare_exchange_weak_explicit(&bucket->tokens, &have, then,
                                                    memory_order_relaxed, memory_order_relaxed));
}

static const struct ak_clock *clock_of(const struct ak_retry *retry)
{
    return retry->policy->clock ? retry->policy->clock : ak_clock_system();
}

static void set_deadline(struct ak_retry *retry)
{
    retry->deadline_ns =
        retry->policy->deadline_ms
            ? ak_mono_ns(clock_of(retry)) + (int64_t)retry->policy->deadline_ms * 1000000
            : INT64_MAX;
}

void ak_retry_start(struct ak_retry *retry, const struct ak_retry_policy *policy,
                    struct ak_retry_bucket *bucket)
{
    uint64_t seed = 0;
    ak_random_bytes(&seed, sizeof seed);
    *retry = (struct ak_retry){.policy = policy, .bucket = bucket};
    ak_rand_seed(&retry->rand, seed);
    set_deadline(retry);
}

static bool is_stopped(const struct ak_retry_policy *policy)
{
    /* Relaxed: the flag orders nothing. */
    return policy->stop && atomic_load_explicit(policy->stop, memory_order_relaxed);
}

static bool sleep_us(const struct ak_retry_policy *policy, int64_t us)
{
    if (policy->sleep) {
        return policy->sleep(policy->ctx, us);
    }
    bool stops = is_stopped(policy);
    while (us > 0 && !stops) {
        int64_t slice = policy->stop && us > SLICE_US ? SLICE_US : us;
        struct timespec left = {.tv_sec = slice / 1000000, .tv_nsec = slice % 1000000 * 1000};
        while (nanosleep(&left, &left) == -1 && errno == EINTR) {
        }
        us -= slice;
        stops = is_stopped(policy);
    }
    return !stops;
}

static bool ends(struct ak_retry *retry, enum ak_retry_end end)
{
    retry->end = end;
    return false;
}

bool ak_retry_again(struct ak_retry *retry, enum ak_retry_kind kind, uint32_t after_ms)
{
    const struct ak_retry_policy *policy = retry->policy;
    if (kind == AK_RETRY_NO) {
        return ends(retry, AK_RETRY_END_FINAL);
    }
    if (kind == AK_RETRY_AT_ONCE) { /* no fault of the server's: costs nothing, but is bounded */
        return ++retry->at_once <= AT_ONCE_MAX || ends(retry, AK_RETRY_END_COUNT);
    }
    if (retry->streak >= policy->retries_max) {
        return ends(retry, AK_RETRY_END_COUNT);
    }
    int64_t us = ak_retry_delay_us(policy, kind, retry->streak, &retry->rand);
    int64_t asked = (int64_t)after_ms * 1000;
    us = us > asked ? us : asked;
    int64_t now = ak_mono_ns(clock_of(retry));
    if (retry->deadline_ns != INT64_MAX &&
        (now >= retry->deadline_ns || us > (retry->deadline_ns - now) / 1000)) {
        return ends(retry, AK_RETRY_END_DEADLINE);
    }
    if (retry->bucket && !bucket_take(retry->bucket)) {
        return ends(retry, AK_RETRY_END_BUCKET);
    }
    retry->owed += retry->bucket ? AK_RETRY_COST : 0;
    retry->tries++;
    retry->streak++;
    return us == 0 || sleep_us(policy, us) || ends(retry, AK_RETRY_END_STOPPED);
}

void ak_retry_progress(struct ak_retry *retry)
{
    retry->streak = 0;
    retry->at_once = 0;
    set_deadline(retry);
}

void ak_retry_extend(struct ak_retry *retry, int64_t ns)
{
    if (__builtin_add_overflow(retry->deadline_ns, ns, &retry->deadline_ns)) {
        retry->deadline_ns = INT64_MAX;
    }
}

void ak_retry_succeeded(struct ak_retry *retry)
{
    if (retry->bucket) { /* one more than it took: quiet times fill the bucket again */
        bucket_give(retry->bucket, retry->owed + 1);
    }
    retry->owed = 0;
}

uint32_t ak_retry_left_ms(const struct ak_retry *retry)
{
    if (retry->deadline_ns == INT64_MAX) {
        return UINT32_MAX;
    }
    int64_t ms = (retry->deadline_ns - ak_mono_ns(clock_of(retry))) / 1000000;
    if (ms < 1) {
        return 1;
    }
    return ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX - 1;
}

const char *ak_retry_end_text(const struct ak_retry *retry, char text[96])
{
    unsigned tries = retry->tries;
    const char *plural = tries == 1 ? "retry" : "retries";
    switch (retry->end) {
    case AK_RETRY_END_NONE:
    case AK_RETRY_END_FINAL:
        (void)snprintf(text, 96, "%s", tries ? "after retries" : "not tried again");
        break;
    case AK_RETRY_END_COUNT:
        (void)snprintf(text, 96, "after %u %s", tries, plural);
        break;
    case AK_RETRY_END_DEADLINE:
        (void)snprintf(text, 96, "the deadline of %u ms ended it after %u %s",
                       retry->policy->deadline_ms, tries, plural);
        break;
    case AK_RETRY_END_BUCKET:
        (void)snprintf(text, 96, "after %u %s; too many calls are failing to go on", tries, plural);
        break;
    case AK_RETRY_END_STOPPED:
        (void)snprintf(text, 96, "stopped after %u %s", tries, plural);
        break;
    }
    return text;
}
