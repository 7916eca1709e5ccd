/* s3_error.c — what an answer means: the one table of codes and statuses.
 *
 * Servers differ in their codes for one and the same thing, so a code that the table does not have
 * falls back on its status, and a status on its class. A 503 asks to slow down; a 500 is bad luck.
 */
#include "objstore/s3_priv.h"

#define NO AK_RETRY_NO
#define SOON AK_RETRY_TRANSIENT
#define SLOW AK_RETRY_THROTTLED

#define KEY_ADVICE "check access_key_id and secret_access_key"
#define POLICY_ADVICE                                                                              \
    "check that the key's policy allows this on the bucket and prefix (s3:ListBucket, GetObject, " \
    "PutObject, DeleteObject, AbortMultipartUpload)"
#define REGION_ADVICE "set the region that the bucket is in"
#define CLOCK_ADVICE "set this machine's clock"

static const struct {
    const char *code;
    struct s3_meaning meaning;
} codes[] = {
    {"SlowDown", {AK_UNAVAILABLE, SLOW, S3_REPAIR_NONE, NULL}},
    {"ServiceUnavailable", {AK_UNAVAILABLE, SLOW, S3_REPAIR_NONE, NULL}},
    {"Throttling", {AK_UNAVAILABLE, SLOW, S3_REPAIR_NONE, NULL}},
    {"ThrottlingException", {AK_UNAVAILABLE, SLOW, S3_REPAIR_NONE, NULL}},
    {"RequestLimitExceeded", {AK_UNAVAILABLE, SLOW, S3_REPAIR_NONE, NULL}},
    {"TooManyRequests", {AK_UNAVAILABLE, SLOW, S3_REPAIR_NONE, NULL}},
    {"InternalError", {AK_UNAVAILABLE, SOON, S3_REPAIR_NONE, NULL}},
    {"RequestTimeout", {AK_TIMEOUT, SOON, S3_REPAIR_NONE, NULL}},
    {"IncompleteBody", {AK_UNAVAILABLE, SOON, S3_REPAIR_NONE, NULL}},
    {"OperationAborted", {AK_CONFLICT, SOON, S3_REPAIR_NONE, NULL}},
    {"BadDigest", {AK_CORRUPT, SOON, S3_REPAIR_NONE, "the bytes changed while they were sent"}},
    {"XAmzContentSHA256Mismatch",
     {AK_CORRUPT, SOON, S3_REPAIR_NONE, "the bytes changed while they were sent"}},
    {"XAmzContentChecksumMismatch",
     {AK_CORRUPT, SOON, S3_REPAIR_NONE, "the bytes changed while they were sent"}},
    {"ConditionalRequestConflict", {AK_CONFLICT, NO, S3_REPAIR_NONE, NULL}},
    {"PreconditionFailed", {AK_EXISTS, NO, S3_REPAIR_NONE, NULL}},
    {"RequestTimeTooSkewed", {AK_FORBIDDEN, NO, S3_REPAIR_CLOCK, CLOCK_ADVICE}},
    {"ExpiredToken",
     {AK_FORBIDDEN, NO, S3_REPAIR_CREDENTIALS, "the session has ended: give new credentials"}},
    {"ExpiredTokenException",
     {AK_FORBIDDEN, NO, S3_REPAIR_CREDENTIALS, "the session has ended: give new credentials"}},
    {"TokenRefreshRequired",
     {AK_FORBIDDEN, NO, S3_REPAIR_CREDENTIALS, "the session has ended: give new credentials"}},
    {"InvalidToken", {AK_FORBIDDEN, NO, S3_REPAIR_CREDENTIALS, "check session_token"}},
    {"InvalidTokenId", {AK_FORBIDDEN, NO, S3_REPAIR_CREDENTIALS, KEY_ADVICE}},
    {"AuthorizationHeaderMalformed", {AK_INVALID, NO, S3_REPAIR_REGION, REGION_ADVICE}},
    {"PermanentRedirect", {AK_INVALID, NO, S3_REPAIR_REGION, REGION_ADVICE}},
    {"IllegalLocationConstraintException", {AK_INVALID, NO, S3_REPAIR_REGION, REGION_ADVICE}},
    {"AccessDenied", {AK_FORBIDDEN, NO, S3_REPAIR_NONE, POLICY_ADVICE}},
    {"SignatureDoesNotMatch",
     {AK_FORBIDDEN, NO, S3_REPAIR_NONE,
      "check secret_access_key, and that no proxy changes the request"}},
    {"InvalidAccessKeyId", {AK_FORBIDDEN, NO, S3_REPAIR_NONE, KEY_ADVICE}},
    {"XAdminUserNotFound", {AK_FORBIDDEN, NO, S3_REPAIR_NONE, KEY_ADVICE}},
    {"AccountProblem", {AK_FORBIDDEN, NO, S3_REPAIR_NONE, "ask the provider about the account"}},
    {"NoSuchBucket",
     {AK_INVALID, NO, S3_REPAIR_NONE, "create the bucket, or correct its name or the endpoint"}},
    {"NoSuchKey", {AK_NOT_FOUND, NO, S3_REPAIR_NONE, NULL}},
    {"NoSuchUpload", {AK_NOT_FOUND, NO, S3_REPAIR_NONE, NULL}},
    {"EntityTooLarge", {AK_TOO_BIG, NO, S3_REPAIR_NONE, NULL}},
    {"InvalidRange", {AK_CORRUPT, NO, S3_REPAIR_NONE, "the object ends before"}},
    {"NotImplemented", {AK_UNSUPPORTED, NO, S3_REPAIR_NONE, NULL}},
    {"XMinioStorageFull", {AK_NO_SPACE, NO, S3_REPAIR_NONE, NULL}},
    {"QuotaExceeded", {AK_NO_SPACE, NO, S3_REPAIR_NONE, NULL}},
    {"XMinioAdminBucketQuotaExceeded", {AK_NO_SPACE, NO, S3_REPAIR_NONE, NULL}},
    {"ObjectParentIsFile",
     {AK_CONFLICT, NO, S3_REPAIR_NONE,
      "this server keeps objects as files, and another key is a folder of this one"}},
};

static const struct {
    int status;
    struct s3_meaning meaning;
} statuses[] = {
    {301, {AK_INVALID, NO, S3_REPAIR_REGION, REGION_ADVICE}},
    {307, {AK_UNAVAILABLE, NO, S3_REPAIR_REDIRECT, NULL}},
    {401, {AK_FORBIDDEN, NO, S3_REPAIR_NONE, KEY_ADVICE}},
    {403,
     {AK_FORBIDDEN, NO, S3_REPAIR_NONE,
      "check the access key, its policy for this bucket, and this machine's clock"}},
    {404, {AK_NOT_FOUND, NO, S3_REPAIR_NONE, NULL}},
    {405, {AK_UNSUPPORTED, NO, S3_REPAIR_NONE, "is the endpoint that of an S3 API?"}},
    {408, {AK_TIMEOUT, SOON, S3_REPAIR_NONE, NULL}},
    {409, {AK_CONFLICT, NO, S3_REPAIR_NONE, NULL}},
    {411, {AK_UNSUPPORTED, NO, S3_REPAIR_NONE, NULL}},
    {412, {AK_EXISTS, NO, S3_REPAIR_NONE, NULL}},
    {413, {AK_TOO_BIG, NO, S3_REPAIR_NONE, NULL}},
    {416, {AK_CORRUPT, NO, S3_REPAIR_NONE, "the object ends before"}},
    {429, {AK_UNAVAILABLE, SLOW, S3_REPAIR_NONE, NULL}},
    {501, {AK_UNSUPPORTED, NO, S3_REPAIR_NONE, NULL}},
    {503, {AK_UNAVAILABLE, SLOW, S3_REPAIR_NONE, NULL}},
    {507, {AK_NO_SPACE, NO, S3_REPAIR_NONE, NULL}},
};

struct s3_meaning ak_s3_meaning(int status, struct ak_str code)
{
    for (size_t i = 0; code.len && i < sizeof codes / sizeof codes[0]; i++) {
        if (ak_str_eq(code, ak_str_of(codes[i].code))) {
            return codes[i].meaning;
        }
    }
    if (status == 404 && code.len && !ak_str_has_prefix(code, AK_STR("NoSuch"))) {
        return statuses[3].meaning; /* versitygw and others hide unknown users behind a 404 */
    }
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        if (statuses[i].status == status) {
            return statuses[i].meaning;
        }
    }
    if (status >= 200 && status < 300) { /* an <Error> whose code says nothing to us */
        return (struct s3_meaning){AK_UNAVAILABLE, SOON, S3_REPAIR_NONE, NULL};
    }
    if (status >= 500 || status < 200) {
        return (struct s3_meaning){AK_UNAVAILABLE, SOON, S3_REPAIR_NONE, NULL};
    }
    return (struct s3_meaning){AK_INVALID, NO, S3_REPAIR_NONE,
                               status < 400 ? "is the endpoint that of an S3 API?" : NULL};
}

struct s3_meaning ak_s3_meaning_of_failure(enum ak_httpc_failure failure, enum ak_rc rc)
{
    switch (failure) {
    case AK_HTTPC_CONNECT:
    case AK_HTTPC_SEND:
    case AK_HTTPC_RECEIVE:
    case AK_HTTPC_STALL:
        return (struct s3_meaning){rc, SOON, S3_REPAIR_NONE, NULL};
    case AK_HTTPC_PROTOCOL: /* over a ceiling, or not HTTP at all */
        return (struct s3_meaning){rc, rc == AK_UNAVAILABLE ? SOON : NO, S3_REPAIR_NONE, NULL};
    case AK_HTTPC_NONE:
    case AK_HTTPC_TRUST:
    case AK_HTTPC_DEADLINE:
    case AK_HTTPC_CANCELLED:
    case AK_HTTPC_CALLBACK:
    case AK_HTTPC_LOCAL:
        break;
    }
    return (struct s3_meaning){rc, NO, S3_REPAIR_NONE, NULL};
}
