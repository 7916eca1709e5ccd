/* fault.h — what S3 calls an error: a code of errors.def, a sentence, and XML that goes with it.
 *
 * Calls that a request can make fail return `enum ak_mock_code` (AK_MOCK_OK is 0) and take a
 * `struct ak_mock_fault *` last. The fault holds the first failure; it is a value, but for
 * `detail`, which borrows from the request's arena.
 */
#pragma once
#include "base/str.h"

enum ak_mock_code {
    AK_MOCK_OK,
#define AK_MOCK_ERROR(code, status) AK_MOCK_##code,
#include "mocks3/errors.def"
#undef AK_MOCK_ERROR
    AK_MOCK_CODE_COUNT
};

struct ak_mock_fault {
    enum ak_mock_code code;
    char text[400];
    struct ak_str detail; /* further elements of the error document, ready to print */
};

/* `return ak_mock_fail(fault, AK_MOCK_NoSuchKey, …);` An empty text gives S3's own sentence. */
enum ak_mock_code ak_mock_fail(struct ak_mock_fault *fault, enum ak_mock_code code, const char *fmt,
                               ...) AK_PRINTF(3, 4);
/* The code that fits a failure of the machine under us: no space, no memory, or a defect. */
enum ak_mock_code ak_mock_fail_rc(struct ak_mock_fault *fault, const struct ak_err *err);
const char *ak_mock_code_name(enum ak_mock_code code); /* "NoSuchKey" */
int ak_mock_code_status(enum ak_mock_code code);
