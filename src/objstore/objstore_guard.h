/* objstore_guard.h — a store that is known to be away is not asked: a circuit breaker before it.
 *
 * Calls that fail because the store cannot be reached, answers 5xx or is silent (AK_UNAVAILABLE and
 * AK_TIMEOUT, after the store's own retries) open the breaker: three in a row, or half of the calls
 * of ten seconds. After the first failure, be it of one try, a thread asks the store by itself, and
 * its questions count too. Once it is open every call gives AK_UNAVAILABLE at once, says when the
 * store will be asked again, and has that time as its err's retry_after_ms. A thread asks the store
 * after 1 s, 2 s, 4 s … 15 s; the first answer closes the breaker, with no caller's help. An answer
 * that says no (404, 403, 409) is an answer.
 *
 * What a caller may want to know before it begins anything: ak_objstore_away_ms() in objstore.h.
 *
 * Threads: as any store. The metric circuit_breaker_state{service} has its state.
 */
#pragma once
#include "metrics/metrics.h"
#include "objstore/objstore.h"
#include "resil/breaker.h"

struct ak_objstore_guard_options {
    const char *service;               /* the metrics' label: "s3" */
    struct ak_breaker_options breaker; /* zero: failures_max 3, open_ms 1,000, open_ms_max 15,000 */
    const struct ak_clock *clock;      /* NULL: the system's */
    struct ak_log *log;
    struct ak_metrics *metrics;
    bool asks_by_hand; /* no thread: ak_objstore_guard_ask() is called instead, by tests */
};
/* Owns `under` from here on, also when it fails. */
AK_MUST enum ak_rc ak_objstore_open_guard(struct ak_objstore *under,
                                          const struct ak_objstore_guard_options *options,
                                          struct ak_objstore **store, struct ak_err *err);
/* Ask the store now whether it is there, as the thread does. AK_UNAVAILABLE: it is not, or the
 * pause is not over. Other codes: it answers, and refuses. */
AK_MUST enum ak_rc ak_objstore_guard_ask(struct ak_objstore *guard, struct ak_err *err);
