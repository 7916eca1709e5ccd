/* err.h — result codes, and the message that goes with a failure.
 *
 * Every call that can fail returns `enum ak_rc` and takes a `struct ak_err *` last, which may be
 * NULL. AK_OK is 0. On failure the message says what was being done and what to change; outputs
 * are untouched. The code alone decides HTTP status, gRPC status, exit code and whether a retry
 * can help (err.def is the table).
 *
 * Threads: an ak_err belongs to one thread at a time. Memory: a value, nothing to release.
 */
#pragma once
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#define AK_MUST __attribute__((warn_unused_result))
#define AK_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define AK_ERR_TEXT_MAX 512

enum ak_rc {
#define AK_RC(name, wire, http, grpc, retry, exit, text) AK_##name,
#include "base/err.def"
#undef AK_RC
    AK_RC_COUNT
};

struct ak_err {
    enum ak_rc rc;
    uint32_t retry_after_ms;    /* when another try may help, as far as is known; 0: it is not */
    char text[AK_ERR_TEXT_MAX]; /* NUL-terminated, cut when longer */
};

/* Store code and message in `err` (if any) and return the code: `return ak_fail(err, …);`. */
enum ak_rc ak_fail(struct ak_err *err, enum ak_rc rc, const char *fmt, ...) AK_PRINTF(3, 4);
enum ak_rc ak_fail_v(struct ak_err *err, enum ak_rc rc, const char *fmt, va_list ap)
    AK_PRINTF(3, 0);

/* Like ak_fail with the code that fits `errnum` (ENOSPC → AK_NO_SPACE …) and its text appended. */
enum ak_rc ak_fail_errno(struct ak_err *err, int errnum, const char *fmt, ...) AK_PRINTF(3, 4);

/* Put "what: " before the message that `err` holds; returns `rc`. Once per module border. */
enum ak_rc ak_wrap(struct ak_err *err, enum ak_rc rc, const char *fmt, ...) AK_PRINTF(3, 4);

/* Of a failure that was stored by ak_fail; ak_wrap keeps it. */
void ak_err_set_retry_after(struct ak_err *err, uint32_t ms);

void ak_err_clear(struct ak_err *err);

const char *ak_rc_name(enum ak_rc rc); /* wire code: "NOT_FOUND" */
const char *ak_rc_text(enum ak_rc rc); /* a sentence for a person */
int ak_rc_http_status(enum ak_rc rc);
int ak_rc_grpc_status(enum ak_rc rc);
int ak_rc_exit_code(enum ak_rc rc);
bool ak_rc_is_retryable(enum ak_rc rc);

/* A broken promise inside the program (never input): says where and aborts, in production too. */
#define AK_ASSERT(cond) ((cond) ? (void)0 : ak_assert_failed(#cond, __FILE__, __LINE__))
_Noreturn void ak_assert_failed(const char *cond, const char *file, int line);
