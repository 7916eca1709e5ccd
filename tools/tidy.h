/* tidy.h — what clang-tidy must be told (tools/lint.sh includes it before every file).
 *
 * The analyzer sees one file at a time, so it cannot know that ak_fail and its kin return the code
 * that they are given, and would follow paths where a failure came back as AK_OK. */
#pragma once
#include "base/err.h"

#define ak_fail(err, rc, ...) ((void)ak_fail(err, rc, __VA_ARGS__), (rc))
#define ak_fail_errno(err, errnum, ...) ((void)ak_fail_errno(err, errnum, __VA_ARGS__), AK_IO)
#define ak_wrap(err, rc, ...) ((void)ak_wrap(err, rc, __VA_ARGS__), (rc))
