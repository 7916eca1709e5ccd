/* err.c — result codes and messages. */
#include "base/err.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rc_row {
    const char *name;
    const char *text;
    int http;
    int grpc;
    int exit_code;
    bool retryable;
};

static const struct rc_row rows[AK_RC_COUNT] = {
#define AK_RC(name, wire, http, grpc, retry, exit, text)                                           \
    [AK_##name] = {wire, text, http, grpc, exit, (retry) != 0},
#include "base/err.def"
#undef AK_RC
};

static const struct rc_row *row_of(enum ak_rc rc)
{
    AK_ASSERT((unsigned)rc < AK_RC_COUNT);
    return &rows[rc];
}

enum ak_rc ak_fail_v(struct ak_err *err, enum ak_rc rc, const char *fmt, va_list ap)
{
    AK_ASSERT(rc != AK_OK);
    if (err) {
        err->rc = rc;
        err->retry_after_ms = 0;
        (void)vsnprintf(err->text, sizeof err->text, fmt, ap);
    }
    return rc;
}

enum ak_rc ak_fail(struct ak_err *err, enum ak_rc rc, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    ak_fail_v(err, rc, fmt, ap);
    va_end(ap);
    return rc;
}

static enum ak_rc rc_of_errno(int errnum)
{
    switch (errnum) {
    case ENOENT:
        return AK_NOT_FOUND;
    case EEXIST:
        return AK_EXISTS;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return AK_NO_SPACE;
    case ENOMEM:
        return AK_NOMEM;
    case EACCES:
    case EPERM:
    case EROFS:
        return AK_FORBIDDEN;
    case ETIMEDOUT:
        return AK_TIMEOUT;
    case EMFILE:
    case ENFILE:
    case EAGAIN:
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
        return AK_UNAVAILABLE;
    default:
        return AK_IO;
    }
}

enum ak_rc ak_fail_errno(struct ak_err *err, int errnum, const char *fmt, ...)
{
    enum ak_rc rc = rc_of_errno(errnum);
    va_list ap;
    va_start(ap, fmt);
    ak_fail_v(err, rc, fmt, ap);
    va_end(ap);
    if (err) {
        char reason[128] = "";
        const char *said = strerror_r(errnum, reason, sizeof reason);
        size_t used = strlen(err->text);
        (void)snprintf(err->text + used, sizeof err->text - used, ": %s", said);
    }
    return rc;
}

enum ak_rc ak_wrap(struct ak_err *err, enum ak_rc rc, const char *fmt, ...)
{
    if (err) {
        char inner[AK_ERR_TEXT_MAX];
        uint32_t retry_after_ms = err->retry_after_ms;
        memcpy(inner, err->text, sizeof inner);
        va_list ap;
        va_start(ap, fmt);
        ak_fail_v(err, rc, fmt, ap);
        va_end(ap);
        err->retry_after_ms = retry_after_ms;
        size_t used = strlen(err->text);
        (void)snprintf(err->text + used, sizeof err->text - used, ": %s", inner);
    }
    return rc;
}

void ak_err_set_retry_after(struct ak_err *err, uint32_t ms)
{
    if (err) {
        err->retry_after_ms = ms;
    }
}

void ak_err_clear(struct ak_err *err)
{
    if (err) {
        err->rc = AK_OK;
        err->retry_after_ms = 0;
        err->text[0] = '\0';
    }
}

const char *ak_rc_name(enum ak_rc rc)
{
    return row_of(rc)->name;
}

const char *ak_rc_text(enum ak_rc rc)
{
    return row_of(rc)->text;
}

int ak_rc_http_status(enum ak_rc rc)
{
    return row_of(rc)->http;
}

int ak_rc_grpc_status(enum ak_rc rc)
{
    return row_of(rc)->grpc;
}

int ak_rc_exit_code(enum ak_rc rc)
{
    return row_of(rc)->exit_code;
}

bool ak_rc_is_retryable(enum ak_rc rc)
{
    return row_of(rc)->retryable;
}

void ak_assert_failed(const char *cond, const char *file, int line)
{
    (void)fprintf(stderr, "akidb: assertion failed: %s (%s:%d)\n", cond, file, line);
    abort();
}
