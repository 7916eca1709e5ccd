/* fault.c — the table of error codes. */
#include "mocks3/fault.h"
#include <stdio.h>

static const struct {
    const char *name;
    int status;
} codes[] = {
    {"OK", 200},
#define AK_MOCK_ERROR(code, status) {#code, status},
#include "mocks3/errors.def"
#undef AK_MOCK_ERROR
};
_Static_assert(sizeof codes / sizeof codes[0] == AK_MOCK_CODE_COUNT, "one row a code");

enum ak_mock_code ak_mock_fail(struct ak_mock_fault *fault, enum ak_mock_code code, const char *fmt,
                               ...)
{
    va_list ap;
    fault->code = code;
    va_start(ap, fmt);
    (void)vsnprintf(fault->text, sizeof fault->text, fmt, ap);
    va_end(ap);
    return code;
}

enum ak_mock_code ak_mock_fail_rc(struct ak_mock_fault *fault, const struct ak_err *err)
{
    enum ak_mock_code code = err->rc == AK_NO_SPACE || err->rc == AK_TOO_BIG
                                 ? AK_MOCK_InsufficientStorage
                             : err->rc == AK_NOMEM ? AK_MOCK_SlowDown
                                                   : AK_MOCK_InternalError;
    return ak_mock_fail(fault, code, "%s", err->text);
}

const char *ak_mock_code_name(enum ak_mock_code code)
{
    return codes[code].name;
}

int ak_mock_code_status(enum ak_mock_code code)
{
    return codes[code].status;
}
