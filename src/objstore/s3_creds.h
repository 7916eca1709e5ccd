/* s3_creds.h — who signs: the chain of credential providers, and their renewal.
 *
 * In this order, the first that has something to say decides:
 *   1 configuration   access_key_id, secret_access_key, session_token
 *   2 environment     AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
 *   3 web identity    AWS_ROLE_ARN + AWS_WEB_IDENTITY_TOKEN_FILE → STS AssumeRoleWithWebIdentity
 *   4 profile files   ~/.aws/credentials, then ~/.aws/config (AWS_SHARED_CREDENTIALS_FILE,
 *                     AWS_CONFIG_FILE; profile from the options, AWS_PROFILE, "default"); keys, or
 *                     role_arn with web_identity_token_file
 *   5 container       AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI, with
 *                     AWS_CONTAINER_AUTHORIZATION_TOKEN or _TOKEN_FILE
 *   6 instance        IMDSv2 at 169.254.169.254, unless AWS_EC2_METADATA_DISABLED=true
 * Files of tokens are read again at each renewal. What expires is renewed 5 minutes early by one
 * thread, while the others go on with what they have; only when that has expired do they wait.
 *
 * Threads: any call from any thread. Memory: keys are counted; see ak_s3_keys_unref.
 */
#pragma once
#include "base/clock.h"
#include "base/log.h"
#include "httpc/httpc.h"
#include <stdatomic.h>

#define AK_S3_EXPIRES_NEVER INT64_MAX
#define AK_S3_RENEW_EARLY_US (5LL * 60 * 1000000)

struct ak_s3_keys { /* immutable once given out */
    _Atomic int refs;
    struct ak_str id;
    struct ak_str secret;
    struct ak_str token; /* empty: none */
    int64_t expires_us;  /* wall clock; AK_S3_EXPIRES_NEVER */
    const char *source;  /* "the environment", "profile 'x' in …": for messages; static storage */
    char bytes[];
};

struct ak_s3_creds_options {
    const char *access_key_id; /* both or neither; session_token with them only */
    const char *secret_access_key;
    const char *session_token;
    const char *profile;
    const char *region;      /* of STS */
    struct ak_httpc *client; /* for 3, 5, 6; borrowed */
    const struct ak_clock *clock;
    struct ak_log *log;
    const char *(*env)(const char *name); /* NULL: the process's environment */
};

struct ak_s3_creds;

/* Asks nobody yet. AK_INVALID: an id without its secret, or the reverse. */
AK_MUST enum ak_rc ak_s3_creds_open(const struct ak_s3_creds_options *options,
                                    struct ak_s3_creds **creds, struct ak_err *err);
void ak_s3_creds_close(struct ak_s3_creds *creds); /* NULL is fine */
/* Keys that have not expired. AK_FORBIDDEN: no provider has any (the text lists what was asked);
 * AK_UNAVAILABLE, AK_TIMEOUT: a provider is there and does not answer. */
AK_MUST enum ak_rc ak_s3_creds_get(struct ak_s3_creds *creds, struct ak_s3_keys **keys,
                                   struct ak_err *err);
/* The server called `keys` expired. true: others will come from the next get. */
bool ak_s3_creds_expired(struct ak_s3_creds *creds, const struct ak_s3_keys *keys);
void ak_s3_keys_unref(struct ak_s3_keys *keys); /* NULL is fine; wipes the last */
