/* breaker.c — the circuit breaker.
 *
 * I1 In HALF_OPEN, probing <= options.probes, and probing + probed reaches CLOSED or OPEN only.
 * I2 A report counts only in the generation that its call was let through in: an answer that comes
 *    late, from before the breaker opened, neither closes nor opens anything.
 * I3 open_ms doubles when a probe fails and is back at its first value once closed.
 */
#include "resil/breaker.h"

#define TRIPPED INT64_MAX /* open until an operator resets it */

static uint32_t or_default(uint32_t value, uint32_t when_zero)
{
    return value ? value : when_zero;
}

static void close_it(struct ak_breaker *b, int64_t now_us)
{
    b->state = AK_BREAKER_CLOSED;
    b->generation++;
    b->window_start_us = now_us;
    b->window_calls = 0;
    b->window_failures = 0;
    b->streak = 0;
    b->open_ms = b->options.open_ms;
}

static void open_it(struct ak_breaker *b, int64_t now_us)
{
    b->state = AK_BREAKER_OPEN;
    b->generation++;
    b->opened++;
    b->open_until_us = now_us + (int64_t)b->open_ms * 1000;
}

void ak_breaker_init(struct ak_breaker *breaker, const struct ak_breaker_options *options)
{
    const struct ak_breaker_options none = {0};
    const struct ak_breaker_options *o = options ? options : &none;
    *breaker =
        (struct ak_breaker){.options = {.failures_max = or_default(o->failures_max, 5),
                                        .failure_percent = or_default(o->failure_percent, 50),
                                        .window_ms = or_default(o->window_ms, 10000),
                                        .calls_min = or_default(o->calls_min, 20),
                                        .open_ms = or_default(o->open_ms, 1000),
                                        .open_ms_max = or_default(o->open_ms_max, 60000),
                                        .probes = or_default(o->probes, 1)}};
    AK_ASSERT(breaker->options.failure_percent <= 100);
    breaker->open_ms = breaker->options.open_ms;
    breaker->window_start_us = INT64_MIN / 2;
    ak_mutex_init(&breaker->mutex, AK_RANK_LEAF, "breaker");
}

void ak_breaker_release(struct ak_breaker *breaker)
{
    ak_mutex_release(&breaker->mutex);
}

/* An open one whose time is over is half-open. */
static void settle(struct ak_breaker *b, int64_t now_us)
{
    if (b->state == AK_BREAKER_OPEN && b->open_until_us != TRIPPED && now_us >= b->open_until_us) {
        b->state = AK_BREAKER_HALF_OPEN;
        b->generation++;
        b->probing = 0;
        b->probed = 0;
    }
}

bool ak_breaker_allow(struct ak_breaker *breaker, int64_t now_us, struct ak_breaker_pass *pass)
{
    ak_mutex_lock(&breaker->mutex);
    settle(breaker, now_us);
    bool may = breaker->state == AK_BREAKER_CLOSED;
    if (breaker->state == AK_BREAKER_HALF_OPEN &&
        breaker->probing + breaker->probed < breaker->options.probes) {
        breaker->probing++;
        may = true;
    }
    pass->generation = breaker->generation;
    ak_mutex_unlock(&breaker->mutex);
    return may;
}

/* Count one call of the closed state; a window that is over begins anew. */
static void count(struct ak_breaker *b, int64_t now_us, bool failed)
{
    if (now_us - b->window_start_us >= (int64_t)b->options.window_ms * 1000) {
        b->window_start_us = now_us;
        b->window_calls = 0;
        b->window_failures = 0;
    }
    b->window_calls++;
    b->window_failures += failed;
    b->streak = failed ? b->streak + 1 : 0;
}

void ak_breaker_success(struct ak_breaker *breaker, struct ak_breaker_pass pass, int64_t now_us)
{
    ak_mutex_lock(&breaker->mutex);
    if (pass.generation == breaker->generation) {
        if (breaker->state == AK_BREAKER_CLOSED) {
            count(breaker, now_us, false);
        } else if (breaker->state == AK_BREAKER_HALF_OPEN) {
            breaker->probing--;
            if (++breaker->probed >= breaker->options.probes) {
                close_it(breaker, now_us);
            }
        }
    }
    ak_mutex_unlock(&breaker->mutex);
}

static bool is_too_much(const struct ak_breaker *b)
{
    return b->streak >= b->options.failures_max ||
           (b->window_calls >= b->options.calls_min &&
            (uint64_t)b->window_failures * 100 >=
                (uint64_t)b->window_calls * b->options.failure_percent);
}

void ak_breaker_failure(struct ak_breaker *breaker, struct ak_breaker_pass pass, int64_t now_us)
{
    ak_mutex_lock(&breaker->mutex);
    if (pass.generation == breaker->generation) {
        if (breaker->state == AK_BREAKER_CLOSED) {
            count(breaker, now_us, true);
            if (is_too_much(breaker)) {
                open_it(breaker, now_us);
            }
        } else if (breaker->state == AK_BREAKER_HALF_OPEN) {
            uint64_t longer = (uint64_t)breaker->open_ms * 2;
            uint64_t most = breaker->options.open_ms_max;
            breaker->open_ms = (uint32_t)(longer < most ? longer : most);
            open_it(breaker, now_us);
        }
    }
    ak_mutex_unlock(&breaker->mutex);
}

void ak_breaker_drop(struct ak_breaker *breaker, struct ak_breaker_pass pass)
{
    ak_mutex_lock(&breaker->mutex);
    if (pass.generation == breaker->generation && breaker->state == AK_BREAKER_HALF_OPEN) {
        breaker->probing--;
    }
    ak_mutex_unlock(&breaker->mutex);
}

enum ak_breaker_state ak_breaker_state(struct ak_breaker *breaker, int64_t now_us)
{
    ak_mutex_lock(&breaker->mutex);
    settle(breaker, now_us);
    enum ak_breaker_state state = breaker->state;
    ak_mutex_unlock(&breaker->mutex);
    return state;
}

uint32_t ak_breaker_wait_ms(struct ak_breaker *breaker, int64_t now_us)
{
    ak_mutex_lock(&breaker->mutex);
    settle(breaker, now_us);
    int64_t ms = 0;
    if (breaker->state == AK_BREAKER_OPEN) {
        ms = breaker->open_until_us == TRIPPED ? (int64_t)breaker->options.open_ms_max
                                               : (breaker->open_until_us - now_us + 999) / 1000;
    } else if (breaker->state == AK_BREAKER_HALF_OPEN &&
               breaker->probing + breaker->probed >= breaker->options.probes) {
        ms = breaker->options.open_ms;
    }
    ak_mutex_unlock(&breaker->mutex);
    return (uint32_t)ms;
}

uint64_t ak_breaker_opened(struct ak_breaker *breaker)
{
    ak_mutex_lock(&breaker->mutex);
    uint64_t opened = breaker->opened;
    ak_mutex_unlock(&breaker->mutex);
    return opened;
}

void ak_breaker_reset(struct ak_breaker *breaker, int64_t now_us)
{
    ak_mutex_lock(&breaker->mutex);
    close_it(breaker, now_us);
    ak_mutex_unlock(&breaker->mutex);
}

void ak_breaker_trip(struct ak_breaker *breaker, int64_t now_us)
{
    ak_mutex_lock(&breaker->mutex);
    open_it(breaker, now_us);
    breaker->open_until_us = TRIPPED;
    ak_mutex_unlock(&breaker->mutex);
}

const char *ak_breaker_state_name(enum ak_breaker_state state)
{
    switch (state) {
    case AK_BREAKER_CLOSED:
        return "closed";
    case AK_BREAKER_OPEN:
        return "open";
    case AK_BREAKER_HALF_OPEN:
        return "half-open";
    }
    return "unknown";
}
