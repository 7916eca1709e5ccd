/* delay.h — a thread that calls back after a time: latency, slow bodies, answers that never come.
 *
 * Threads: any call from any; callbacks run on the delay's own thread, one after the other.
 * Memory: a timer belongs to its owner, and must have been called or cancelled before it goes.
 */
#pragma once
#include "base/clock.h"
#include "base/err.h"

struct ak_mock_delay;

struct ak_mock_timer { /* zero: not set */
    void (*fn)(struct ak_mock_timer *timer);
    int64_t due_ns;
    struct ak_mock_timer *next;
    bool is_set;
};

AK_MUST enum ak_rc ak_mock_delay_open(struct ak_mock_delay **delay, struct ak_err *err);
/* Calls everything that is set at once, and so whatever is set from now on; goes on until close. */
void ak_mock_delay_hurry(struct ak_mock_delay *delay);
void ak_mock_delay_close(struct ak_mock_delay *delay); /* after hurry; NULL is fine */
void ak_mock_delay_set(struct ak_mock_delay *delay, struct ak_mock_timer *timer, uint64_t in_ms);
/* It will not be called after this; when it is being called, that is waited for. */
void ak_mock_delay_cancel(struct ak_mock_delay *delay, struct ak_mock_timer *timer);
