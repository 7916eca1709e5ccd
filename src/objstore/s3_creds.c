/* s3_creds.c — the chain, and the one cache of what it found.
 *
 * I1 `keys` is replaced only by the thread that set `renewing`, under the lock.
 * I2 No lock is held while a provider is asked.
 */
#include "base/mem.h"
#include "base/sync.h"
#include "objstore/s3_creds_priv.h"
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define FIELD_MAX ((size_t)16 << 10) /* bytes of an id, a secret or a token */
#define RETRY_US (10LL * 1000000)    /* after a failed renewal of keys that are still good */

struct cache {
    struct ak_s3_creds creds; /* first: the public type is its beginning */
    struct ak_mutex mutex;
    struct ak_cond renewed;
    struct ak_s3_keys *keys; /* NULL: none yet */
    bool renewing;
    bool stale;            /* the server called them expired */
    int64_t not_before_us; /* of the next early renewal */
};

static const char *env_of_process(const char *name)
{
    return getenv(name);
}

/* --- Keys --- */

static struct ak_str put(char **at, const struct ak_buf *buf)
{
    char *p = *at;
    if (buf->len) {
        memcpy(p, buf->p, buf->len);
    }
    *at += buf->len;
    return (struct ak_str){p, buf->len};
}

static struct ak_s3_keys *keys_new(const struct s3_found *found)
{
    size_t len = found->id.len + found->secret.len + found->token.len;
    struct ak_s3_keys *keys = ak_try_alloc(sizeof *keys + len);
    if (keys) {
        char *at = keys->bytes;
        atomic_init(&keys->refs, 1);
        keys->id = put(&at, &found->id);
        keys->secret = put(&at, &found->secret);
        keys->token = put(&at, &found->token);
        keys->expires_us = found->expires_us;
        keys->source = found->source;
    }
    return keys;
}

void ak_s3_keys_unref(struct ak_s3_keys *keys)
{
    /* acq_rel: the last one must see the others' use as over before it wipes. */
    if (keys && atomic_fetch_sub_explicit(&keys->refs, 1, memory_order_acq_rel) == 1) {
        OPENSSL_cleanse(keys->bytes, keys->id.len + keys->secret.len + keys->token.len);
        ak_free(keys);
    }
}

/* --- Providers without a network --- */

static enum ak_rc from_static(struct ak_s3_creds *creds, struct s3_found *found, struct ak_err *err)
{
    if (!creds->static_id) {
        return ak_fail(err, AK_NOT_FOUND, "no access_key_id in the configuration");
    }
    ak_buf_add_str(&found->id, ak_str_of(creds->static_id));
    ak_buf_add_str(&found->secret, ak_str_of(creds->static_secret));
    ak_buf_add_str(&found->token, ak_str_of(creds->static_token));
    found->source = "the configuration";
    return AK_OK;
}

static enum ak_rc from_env(struct ak_s3_creds *creds, struct s3_found *found, struct ak_err *err)
{
    struct ak_str id = ak_str_of(creds->env("AWS_ACCESS_KEY_ID"));
    struct ak_str secret = ak_str_of(creds->env("AWS_SECRET_ACCESS_KEY"));
    if (!id.len && !secret.len) {
        return ak_fail(err, AK_NOT_FOUND, "no AWS_ACCESS_KEY_ID in the environment");
    }
    if (!id.len || !secret.len) {
        return ak_fail(err, AK_INVALID,
                       "the environment has one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: "
                       "set both or neither");
    }
    ak_buf_add_str(&found->id, id);
    ak_buf_add_str(&found->secret, secret);
    ak_buf_add_str(&found->token, ak_str_of(creds->env("AWS_SESSION_TOKEN")));
    found->source = "the environment";
    return AK_OK;
}

static const struct {
    s3_provider_fn fn;
    const char *name;
} chain[] = {{from_static, "configuration"},
             {from_env, "environment"},
             {ak_s3_creds_web_identity, "web identity"},
             {ak_s3_creds_profile, "profile"},
             {ak_s3_creds_container, "container"},
             {ak_s3_creds_instance, "instance"}};

static void found_init(struct s3_found *found)
{
    *found = (struct s3_found){.expires_us = AK_S3_EXPIRES_NEVER};
    ak_buf_init(&found->id, FIELD_MAX);
    ak_buf_init(&found->secret, FIELD_MAX);
    ak_buf_init(&found->token, FIELD_MAX);
}

static void wipe(struct ak_buf *buf)
{
    if (buf->p) {
        OPENSSL_cleanse(buf->p, buf->cap);
    }
    ak_buf_release(buf);
}

static void found_release(struct s3_found *found)
{
    wipe(&found->id);
    wipe(&found->secret);
    wipe(&found->token);
}

static enum ak_rc found_check(const struct s3_found *found, struct ak_err *err)
{
    enum ak_rc rc = ak_buf_check(&found->id, err);
    rc = rc == AK_OK ? ak_buf_check(&found->secret, err) : rc;
    rc = rc == AK_OK ? ak_buf_check(&found->token, err) : rc;
    if (rc == AK_OK && (!found->id.len || !found->secret.len)) {
        return ak_fail(err, AK_FORBIDDEN, "%s gave an empty key", found->source);
    }
    return rc;
}

static enum ak_rc ask_chain(struct ak_s3_creds *creds, struct ak_s3_keys **keys, struct ak_err *err)
{
    struct s3_found found;
    struct ak_err why;
    struct ak_buf asked; /* what each had to say, for the message */
    enum ak_rc rc = AK_NOT_FOUND;
    ak_buf_init(&asked, 2048);
    found_init(&found);
    for (size_t i = 0; i < sizeof chain / sizeof chain[0] && rc == AK_NOT_FOUND; i++) {
        rc = chain[i].fn(creds, &found, &why);
        if (rc == AK_NOT_FOUND) {
            ak_buf_add_fmt(&asked, "%s%s", i ? "; " : "", why.text);
        } else if (rc != AK_OK) {
            rc = ak_fail(err, rc, "%s credentials: %s", chain[i].name, why.text);
        }
    }
    if (rc == AK_NOT_FOUND) {
        rc = ak_fail(err, AK_FORBIDDEN, "no credentials for S3 (%s)", ak_buf_cstr(&asked));
    } else if (rc == AK_OK && (rc = found_check(&found, err)) == AK_OK) {
        struct ak_s3_keys *made = keys_new(&found);
        rc = made ? AK_OK : ak_fail(err, AK_NOMEM, "no memory for credentials");
        *keys = made ? made : *keys;
    }
    found_release(&found);
    ak_buf_release(&asked);
    return rc;
}

/* --- The cache --- */

static bool is_good(const struct cache *cache, int64_t now_us)
{
    return cache->keys && !cache->stale && now_us < cache->keys->expires_us;
}

static bool is_early(const struct cache *cache, int64_t now_us)
{
    return cache->keys->expires_us != AK_S3_EXPIRES_NEVER && now_us >= cache->not_before_us &&
           now_us >= cache->keys->expires_us - AK_S3_RENEW_EARLY_US;
}

/* Called with the lock held, gives it back held. */
static enum ak_rc renew(struct cache *cache, struct ak_err *err)
{
    struct ak_s3_keys *fresh = NULL;
    cache->renewing = true;
    ak_mutex_unlock(&cache->mutex);
    enum ak_rc rc = ask_chain(&cache->creds, &fresh, err);
    ak_mutex_lock(&cache->mutex);
    cache->renewing = false;
    int64_t now_us = ak_now_us(cache->creds.clock);
    if (rc == AK_OK && fresh) {
        ak_s3_keys_unref(cache->keys);
        cache->keys = fresh;
        cache->stale = false;
        cache->not_before_us = now_us + RETRY_US; /* a provider may hand out the old ones again */
    } else {
        cache->not_before_us = now_us + RETRY_US;
    }
    ak_cond_broadcast(&cache->renewed);
    return rc;
}

enum ak_rc ak_s3_creds_get(struct ak_s3_creds *creds, struct ak_s3_keys **keys, struct ak_err *err)
{
    struct cache *cache = (struct cache *)creds;
    struct ak_err why;
    enum ak_rc rc = AK_OK;
    ak_mutex_lock(&cache->mutex);
    while (cache->renewing && !is_good(cache, ak_now_us(creds->clock))) {
        ak_cond_wait(&cache->renewed, &cache->mutex);
    }
    int64_t now_us = ak_now_us(creds->clock);
    if (!is_good(cache, now_us)) {
        rc = renew(cache, err);
        if (rc == AK_OK && now_us >= cache->keys->expires_us) {
            rc = ak_fail(err, AK_FORBIDDEN, "%s gave credentials that have expired already",
                         cache->keys->source);
        }
    } else if (!cache->renewing && is_early(cache, now_us) && renew(cache, &why) != AK_OK) {
        ak_log_warn(creds->log, "s3", "credentials were not renewed and expire soon: %s", why.text);
    }
    if (rc == AK_OK) {
        /* Relaxed: the lock orders it. */
        (void)atomic_fetch_add_explicit(&cache->keys->refs, 1, memory_order_relaxed);
        *keys = cache->keys;
    }
    ak_mutex_unlock(&cache->mutex);
    return rc;
}

bool ak_s3_creds_expired(struct ak_s3_creds *creds, const struct ak_s3_keys *keys)
{
    struct cache *cache = (struct cache *)creds;
    ak_mutex_lock(&cache->mutex);
    bool renews = !creds->static_id;
    if (renews && cache->keys == keys) {
        cache->stale = true;
    }
    ak_mutex_unlock(&cache->mutex);
    return renews;
}

static char *copy(const char *text)
{
    return text && text[0] ? ak_strdup_n(text, strlen(text)) : NULL;
}

enum ak_rc ak_s3_creds_open(const struct ak_s3_creds_options *options, struct ak_s3_creds **creds,
                            struct ak_err *err)
{
    struct ak_str id = ak_str_of(options->access_key_id);
    struct ak_str secret = ak_str_of(options->secret_access_key);
    if (!id.len != !secret.len) {
        return ak_fail(
            err, AK_INVALID,
            "S3 credentials: one of access_key_id and secret_access_key is set: set both, "
            "or neither to use the provider chain");
    }
    struct cache *cache = ak_zalloc(sizeof *cache);
    cache->creds =
        (struct ak_s3_creds){.client = options->client,
                             .clock = options->clock ? options->clock : ak_clock_system(),
                             .log = options->log,
                             .env = options->env ? options->env : env_of_process,
                             .region = copy(options->region),
                             .profile = copy(options->profile),
                             .static_id = copy(options->access_key_id),
                             .static_secret = copy(options->secret_access_key),
                             .static_token = copy(options->session_token)};
    ak_mutex_init(&cache->mutex, AK_RANK_LEAF, "s3-creds");
    ak_cond_init(&cache->renewed);
    *creds = &cache->creds;
    return AK_OK;
}

static void free_secret(char *text)
{
    if (text) {
        OPENSSL_cleanse(text, strlen(text));
    }
    ak_free(text);
}

void ak_s3_creds_close(struct ak_s3_creds *creds)
{
    struct cache *cache = (struct cache *)creds;
    if (!creds) {
        return;
    }
    ak_s3_keys_unref(cache->keys);
    ak_cond_release(&cache->renewed);
    ak_mutex_release(&cache->mutex);
    ak_free(creds->region);
    ak_free(creds->profile);
    ak_free(creds->static_id);
    free_secret(creds->static_secret);
    free_secret(creds->static_token);
    ak_free(cache);
}
