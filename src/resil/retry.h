/* retry.h — when to try again, and after how long: exponential backoff with full jitter.
 *
 * The delay before retry n (0 = the first) is uniform in [0, min(cap, base · 2^n)], with a floor of
 * the policy's (Brooker, "Exponential Backoff and Jitter", 2015). A server that asks to slow down
 * (429, 503) has a larger base of its own, and a Retry-After that it sends is obeyed.
 *
 * Three things end a series: the number of tries, the deadline, and the bucket: a balance of tokens
 * that all calls to one server share. A retry costs tokens, a success gives them back, so that a
 * server which is down meets one request a call and no storm.
 *
 *   ak_retry_start(&retry, &policy, bucket);
 *   for (;;) {
 *       kind = try_it();
 *       if (kind == AK_RETRY_NO) { ak_retry_succeeded(&retry); break; }
 *       if (!ak_retry_again(&retry, kind, 0)) break;  // has waited when it says yes
 *   }
 *
 * Clock, randomness and sleep are the policy's, so that no test waits.
 * Threads: an ak_retry belongs to one thread; a bucket to any. Memory: values, nothing to release.
 */
#pragma once
#include "base/clock.h"
#include "base/rand.h"
#include <stdatomic.h>

enum ak_retry_kind {
    AK_RETRY_NO,        /* it worked, or trying again cannot help */
    AK_RETRY_TRANSIENT, /* broken connection, 5xx, timeout */
    AK_RETRY_THROTTLED, /* the server asks to slow down */
    AK_RETRY_AT_ONCE    /* what was wrong has been repaired: clock, region, credentials */
};

struct ak_retry_policy {
    uint32_t retries_max;
    uint32_t base_ms;             /* 0: 50 */
    uint32_t throttle_base_ms;    /* 0: 1,000 */
    uint32_t cap_ms;              /* 0: 20,000 */
    uint32_t floor_ms;            /* no delay is shorter; 0: none */
    uint32_t deadline_ms;         /* no try begins later than this after the start; 0: no limit */
    const struct ak_clock *clock; /* NULL: the system's */
    bool (*sleep)(void *ctx, int64_t us); /* NULL: the thread sleeps; false ends the series */
    const _Atomic bool *stop;             /* set by another thread: a sleep ends; may be NULL */
    void *ctx;
};

/* Largest delay before retry `nth` (from 0), and a delay drawn from it. Pure. */
int64_t ak_retry_delay_max_us(const struct ak_retry_policy *policy, enum ak_retry_kind kind,
                              uint32_t nth);
int64_t ak_retry_delay_us(const struct ak_retry_policy *policy, enum ak_retry_kind kind,
                          uint32_t nth, struct ak_rand *rand);

#define AK_RETRY_COST 5 /* tokens of one retry; given back when its call succeeds in the end */

struct ak_retry_bucket {
    _Atomic int32_t tokens;
    int32_t tokens_max;
};
void ak_retry_bucket_init(struct ak_retry_bucket *bucket, int32_t tokens_max); /* 0: 500 */

enum ak_retry_end { /* why a series ended, for the message */
                    AK_RETRY_END_NONE,
                    AK_RETRY_END_FINAL, /* it was no failure that a retry can help */
                    AK_RETRY_END_COUNT,
                    AK_RETRY_END_DEADLINE,
                    AK_RETRY_END_BUCKET,
                    AK_RETRY_END_STOPPED
};

struct ak_retry {
    const struct ak_retry_policy *policy;
    struct ak_retry_bucket *bucket;
    struct ak_rand rand;
    int64_t deadline_ns; /* INT64_MAX: none */
    uint32_t tries;      /* retries since the start, in all */
    uint32_t streak;     /* retries since the last progress: these count */
    uint32_t at_once;
    int32_t owed; /* tokens taken */
    enum ak_retry_end end;
};

/* `policy` and `bucket` (may be NULL) are borrowed until the series ends. */
void ak_retry_start(struct ak_retry *retry, const struct ak_retry_policy *policy,
                    struct ak_retry_bucket *bucket);
/* Shall it be tried again? Waits first. `after_ms`: what Retry-After said; 0: nothing. */
AK_MUST bool ak_retry_again(struct ak_retry *retry, enum ak_retry_kind kind, uint32_t after_ms);
/* A try moved something that need not be moved again: count and deadline begin anew. */
void ak_retry_progress(struct ak_retry *retry);
/* A try took this long to move a body, which the deadline does not count. */
void ak_retry_extend(struct ak_retry *retry, int64_t ns);
void ak_retry_succeeded(struct ak_retry *retry);
/* Milliseconds until the deadline, at least 1; UINT32_MAX without one. */
uint32_t ak_retry_left_ms(const struct ak_retry *retry);
/* "after 5 retries", "the deadline of 60 s passed after 2 retries", …: for messages. */
const char *ak_retry_end_text(const struct ak_retry *retry, char text[96]);
