/* sigv4.h — AWS Signature Version 4 as a server sees it: who signed what, and is it right?
 *
 * Written from AWS's description, apart from the client in objstore, so that one can find the
 * other's mistakes. Header authorization, presigned queries, and the chained signatures of
 * aws-chunked bodies.
 *
 *   canonical request: method \n path \n query \n headers \n\n signed headers \n hash of the body
 *   string to sign:    AWS4-HMAC-SHA256 \n date \n scope \n SHA-256 of the canonical request
 *   signing key:       HMAC(HMAC(HMAC(HMAC("AWS4" secret, day), region), "s3"), "aws4_request")
 *
 * Threads: any; these are functions of their arguments. Memory: results in the given arena; an
 * arena that is full gives SlowDown.
 */
#pragma once
#include "base/arena.h"
#include "mocks3/fault.h"

#define AK_MOCK_SIGV4_KEY_BYTES 32u
#define AK_MOCK_SIGV4_TEXT 65u /* a signature or SHA-256 in hexadecimal, and NUL */

struct ak_mock_sigv4_field {
    struct ak_str name;
    struct ak_str value;
};

struct ak_mock_sigv4_request { /* as received */
    struct ak_str method;
    struct ak_str path;  /* %-encoded in any way */
    struct ak_str query; /* %-encoded in any way, without '?' */
    const struct ak_mock_sigv4_field *headers;
    size_t header_count;
};

enum ak_mock_sigv4_kind {
    AK_MOCK_SIGV4_NONE,   /* anonymous */
    AK_MOCK_SIGV4_HEADER, /* Authorization */
    AK_MOCK_SIGV4_QUERY   /* presigned */
};

struct ak_mock_sigv4_auth {
    enum ak_mock_sigv4_kind kind;
    struct ak_str access_key;
    struct ak_str day; /* "20130524" */
    struct ak_str region;
    struct ak_str scope;          /* "20130524/us-east-1/s3/aws4_request" */
    struct ak_str date;           /* "20130524T000000Z" */
    struct ak_str signed_headers; /* "host;x-amz-date" */
    struct ak_str signature;      /* 64 hexadecimal digits */
    struct ak_str payload;        /* x-amz-content-sha256, or UNSIGNED-PAYLOAD when presigned */
    int64_t date_us;
    int64_t expires_s; /* presigned */
};

/* What the request says of its signature; all of its form is checked, its truth is not. */
AK_MUST enum ak_mock_code ak_mock_sigv4_read(const struct ak_mock_sigv4_request *request,
                                             struct ak_arena *arena,
                                             struct ak_mock_sigv4_auth *auth,
                                             struct ak_mock_fault *fault);
/* Is it signed with `secret`, at a time that fits `now_us` (15 minutes), with every x-amz- header
 * among what is signed? `key` is set: chunks are signed with it too. */
AK_MUST enum ak_mock_code ak_mock_sigv4_verify(const struct ak_mock_sigv4_request *request,
                                               const struct ak_mock_sigv4_auth *auth,
                                               struct ak_str secret, int64_t now_us,
                                               struct ak_arena *arena,
                                               uint8_t key[AK_MOCK_SIGV4_KEY_BYTES],
                                               struct ak_mock_fault *fault);

/* The steps, for tests and messages. .p NULL: the arena is full. */
struct ak_str ak_mock_sigv4_canonical(const struct ak_mock_sigv4_request *request,
                                      const struct ak_mock_sigv4_auth *auth,
                                      struct ak_arena *arena);
struct ak_str ak_mock_sigv4_string_to_sign(const struct ak_mock_sigv4_auth *auth,
                                           struct ak_str canonical, struct ak_arena *arena);
void ak_mock_sigv4_key(struct ak_str secret, struct ak_str day, struct ak_str region,
                       struct ak_str service, uint8_t key[AK_MOCK_SIGV4_KEY_BYTES]);
void ak_mock_sigv4_sign(const uint8_t key[AK_MOCK_SIGV4_KEY_BYTES], struct ak_str text,
                        char signature[AK_MOCK_SIGV4_TEXT]);
void ak_mock_sigv4_sha256(struct ak_str bytes, char text[AK_MOCK_SIGV4_TEXT]);
/* The signature of a chunk (of its data's SHA-256), or of the trailers (`is_trailer`, of the
 * SHA-256 of their "name:value\n" lines), after the one before it. */
void ak_mock_sigv4_chunk(const uint8_t key[AK_MOCK_SIGV4_KEY_BYTES],
                         const struct ak_mock_sigv4_auth *auth, bool is_trailer,
                         struct ak_str before, const char sha256[AK_MOCK_SIGV4_TEXT],
                         char signature[AK_MOCK_SIGV4_TEXT]);
/* In a time that does not depend on where they differ. */
bool ak_mock_sigv4_same(struct ak_str a, struct ak_str b);

/* --- URIs --- */
/* As S3 encodes: all but A-Z a-z 0-9 - . _ ~, and '/' when `keeps_slash`. */
void ak_mock_uri_encode(struct ak_buf *out, struct ak_str text, bool keeps_slash);
