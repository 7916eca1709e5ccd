/* s3_creds_priv.h — what the providers share. */
#pragma once
#include "objstore/s3_creds.h"

struct s3_found { /* what a provider found; strings in `text` buffers */
    struct ak_buf id;
    struct ak_buf secret;
    struct ak_buf token;
    int64_t expires_us;
    const char *source;
};

struct ak_s3_creds {
    struct ak_httpc *client;
    const struct ak_clock *clock;
    struct ak_log *log;
    const char *(*env)(const char *name);
    char *region;
    char *profile; /* NULL: by the environment */
    char *static_id;
    char *static_secret;
    char *static_token;
};

/* A provider: AK_OK found; AK_NOT_FOUND it has nothing to say (the next one is asked); else it
 * should have had something and failed: the chain stops. */
typedef enum ak_rc (*s3_provider_fn)(struct ak_s3_creds *creds, struct s3_found *found,
                                     struct ak_err *err);

enum ak_rc ak_s3_creds_profile(struct ak_s3_creds *creds, struct s3_found *found,
                               struct ak_err *err);
enum ak_rc ak_s3_creds_web_identity(struct ak_s3_creds *creds, struct s3_found *found,
                                    struct ak_err *err);
enum ak_rc ak_s3_creds_container(struct ak_s3_creds *creds, struct s3_found *found,
                                 struct ak_err *err);
enum ak_rc ak_s3_creds_instance(struct ak_s3_creds *creds, struct s3_found *found,
                                struct ak_err *err);
/* STS with a token from a file; `session` may be NULL. */
enum ak_rc ak_s3_creds_assume(struct ak_s3_creds *creds, const char *role_arn,
                              const char *token_file, const char *session, struct s3_found *found,
                              struct ak_err *err);
/* A small file, trimmed, appended to `out`; AK_NOT_FOUND when absent. */
enum ak_rc ak_s3_creds_read_file(const char *path, struct ak_buf *out, struct ak_err *err);
