/* sigv4.h — AWS Signature Version 4: what makes a request believable.
 *
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html. The signed text is
 *
 *   method \n canonical path \n sorted query \n lower-case headers, sorted \n \n names \n body hash
 *
 * The path and the query arrive percent-encoded as they will be sent. S3 signs the path as it is;
 * every other service (STS, and the published test vectors) cleans it of "//", "." and ".." and
 * encodes it once more.
 *
 * Threads: a signer from any (the day's key is cached under a lock). Memory: outputs are appended
 * to the caller's buffers.
 */
#pragma once
#include "base/str.h"
#include "base/sync.h"

struct ak_sigv4_keys {
    struct ak_str id;
    struct ak_str secret;
    struct ak_str token; /* empty: none */
};

struct ak_sigv4_header {
    struct ak_str name;
    struct ak_str value;
};

struct ak_sigv4_request {
    struct ak_str method;
    struct ak_str path;  /* "/" or longer, percent-encoded */
    struct ak_str query; /* percent-encoded "a=1&b", without "?"; need not be sorted */
    const struct ak_sigv4_header *headers; /* all are signed; host must be among them */
    size_t header_count;
    struct ak_str body_hash; /* 64 hex digits, or UNSIGNED-PAYLOAD */
    int64_t time_us;         /* of the x-amz-date header */
    bool clean_path;         /* any service but S3 */
};

#define AK_SIGV4_HEADERS_MAX 64
#define AK_SIGV4_QUERY_MAX 128
#define AK_SIGV4_DATE_MAX 17 /* "20150830T123600Z" and NUL */

struct ak_sigv4 {
    char *region;
    char *service;
    struct ak_mutex mutex;
    uint8_t day_key[32];  /* of the secret and the day below */
    uint8_t day_mark[32]; /* HMAC(secret, day): tells when the key is another */
    bool has_day_key;
};

void ak_sigv4_init(struct ak_sigv4 *signer, struct ak_str region, struct ak_str service);
void ak_sigv4_release(struct ak_sigv4 *signer);
/* The value of the Authorization header, appended to `out`. AK_INVALID: too many headers or query
 * parameters; AK_NOMEM. */
AK_MUST enum ak_rc ak_sigv4_sign(struct ak_sigv4 *signer, const struct ak_sigv4_keys *keys,
                                 const struct ak_sigv4_request *request, struct ak_buf *out,
                                 struct ak_err *err);
/* The steps between, for tests and for a server that checks signatures. `canonical` and
 * `signed_names` are appended to. */
AK_MUST enum ak_rc ak_sigv4_canonical(const struct ak_sigv4_request *request,
                                      struct ak_buf *canonical, struct ak_buf *signed_names,
                                      struct ak_err *err);

/* "20150830T123600Z". Returns `text`. */
const char *ak_sigv4_date(int64_t time_us, char text[AK_SIGV4_DATE_MAX]);
/* 64 lower-case hex digits and a NUL. */
void ak_sigv4_hash(const void *p, size_t len, char hex[65]);
/* Percent-encode all but A-Z a-z 0-9 - . _ ~ (and '/' when `is_path`), upper-case hex. */
void ak_sigv4_encode(struct ak_buf *out, struct ak_str s, bool is_path);

#define AK_SIGV4_EMPTY_HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define AK_SIGV4_UNSIGNED "UNSIGNED-PAYLOAD"
