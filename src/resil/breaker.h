/* breaker.h — a circuit breaker: stop asking a service that is down, ask again carefully.
 *
 *            failures_max in a row, or failure_percent of the last window
 *   CLOSED ────────────────────────────────────────────────────────────────▶ OPEN
 *     ▲                                                                       │ open_ms
 *     │ probes succeed                    a probe fails (open_ms doubles)     ▼
 *     └──────────────────────── HALF_OPEN ◀───────────────────────────────────┘
 *
 * Closed: every call goes. Open: none does; `ak_breaker_wait_ms` says how long. Half-open: as many
 * calls at once as `probes`, and that many successes close it. Each allowed call must be reported
 * once: success, failure, or dropped (it said nothing about the service: cancelled, invalid).
 *
 * It knows no clock and no service: `now_us` is given, so that a test owns the time.
 * Threads: any. Memory: a value.
 */
#pragma once
#include "base/sync.h"
#include <stdbool.h>
#include <stdint.h>

enum ak_breaker_state { /* the values are those of the metric circuit_breaker_state */
                        AK_BREAKER_CLOSED = 0,
                        AK_BREAKER_OPEN = 1,
                        AK_BREAKER_HALF_OPEN = 2
};

struct ak_breaker_options {   /* all zero is the default */
    uint32_t failures_max;    /* in a row; 0: 5 */
    uint32_t failure_percent; /* of a window's calls, 1..100; 0: 50 */
    uint32_t window_ms;       /* 0: 10,000 */
    uint32_t calls_min;       /* of a window, before its share counts; 0: 20 */
    uint32_t open_ms;         /* the first time; 0: 1,000 */
    uint32_t open_ms_max;     /* it doubles up to this; 0: 60,000 */
    uint32_t probes;          /* 0: 1 */
};

struct ak_breaker {
    struct ak_breaker_options options;
    struct ak_mutex mutex;
    enum ak_breaker_state state;
    int64_t window_start_us;
    uint32_t window_calls;
    uint32_t window_failures;
    uint32_t streak; /* failures in a row */
    int64_t open_until_us;
    uint32_t open_ms;    /* how long it is open this time */
    uint32_t probing;    /* half-open: calls under way */
    uint32_t probed;     /* half-open: successes */
    uint64_t generation; /* changes of state: a call of an older one says nothing */
    uint64_t opened;     /* times it opened, for metrics */
};

/* A call that was let through; give it back to exactly one of the three below. */
struct ak_breaker_pass {
    uint64_t generation;
};

void ak_breaker_init(struct ak_breaker *breaker, const struct ak_breaker_options *options);
void ak_breaker_release(struct ak_breaker *breaker);
/* May this call go? false: open, or enough probes are under way. */
AK_MUST bool ak_breaker_allow(struct ak_breaker *breaker, int64_t now_us,
                              struct ak_breaker_pass *pass);
void ak_breaker_success(struct ak_breaker *breaker, struct ak_breaker_pass pass, int64_t now_us);
void ak_breaker_failure(struct ak_breaker *breaker, struct ak_breaker_pass pass, int64_t now_us);
void ak_breaker_drop(struct ak_breaker *breaker, struct ak_breaker_pass pass);
/* As it would answer now: an open one whose time is over reads half-open. */
enum ak_breaker_state ak_breaker_state(struct ak_breaker *breaker, int64_t now_us);
/* Until a call may be let through: 0 when one may now. For Retry-After. */
uint32_t ak_breaker_wait_ms(struct ak_breaker *breaker, int64_t now_us);
uint64_t ak_breaker_opened(struct ak_breaker *breaker); /* times it opened */
/* By hand (an operator): closed, with nothing remembered; or open until reset. */
void ak_breaker_reset(struct ak_breaker *breaker, int64_t now_us);
void ak_breaker_trip(struct ak_breaker *breaker, int64_t now_us);
const char *ak_breaker_state_name(enum ak_breaker_state state); /* "closed", "open", "half-open" */
