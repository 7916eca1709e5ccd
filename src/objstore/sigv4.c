/* sigv4.c — Signature Version 4.
 *
 *   key       = HMAC(HMAC(HMAC(HMAC("AWS4" secret, day), region), service), "aws4_request")
 *   signature = hex(HMAC(key, "AWS4-HMAC-SHA256\n" date "\n" scope "\n" hex(SHA256(canonical))))
 *
 * The key depends on the day, so it is kept: four HMACs a day instead of four a request.
 */
#include "objstore/sigv4.h"
#include "base/encode.h"
#include "base/hash.h"
#include "base/mem.h"
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CANONICAL_MAX ((size_t)256 << 10) /* a target of 8 KiB encoded twice, and the headers */

void ak_sigv4_hash(const void *p, size_t len, char hex[65])
{
    uint8_t digest[32];
    ak_sha256(p, len, digest);
    ak_hex(digest, sizeof digest, hex);
}

static bool is_unreserved(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

void ak_sigv4_encode(struct ak_buf *out, struct ak_str s, bool is_path)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (is_unreserved(s.p[i]) || (is_path && c == '/')) {
            ak_buf_add_char(out, s.p[i]);
        } else {
            const char three[3] = {'%', digits[c >> 4], digits[c & 15]};
            ak_buf_add(out, three, sizeof three);
        }
    }
}

const char *ak_sigv4_date(int64_t time_us, char text[AK_SIGV4_DATE_MAX])
{
    time_t seconds = (time_t)(time_us / 1000000);
    struct tm tm;
    if (!gmtime_r(&seconds, &tm) || strftime(text, AK_SIGV4_DATE_MAX, "%Y%m%dT%H%M%SZ", &tm) == 0) {
        text[0] = 0;
    }
    return text;
}

/* --- The canonical request --- */

struct pair { /* of the query, or a header */
    struct ak_str name;
    struct ak_str value;
};

static int by_name_then_value(const void *a, const void *b)
{
    const struct pair *x = a;
    const struct pair *y = b;
    int order = ak_str_cmp(x->name, y->name);
    return order ? order : ak_str_cmp(x->value, y->value);
}

/* RFC 3986 section 5.2.4, and "//" as "/". */
static void add_clean_path(struct ak_buf *out, struct ak_str path)
{
    size_t base = out->len;
    bool ends_in_slash = false;
    struct ak_str rest = path;
    while (rest.len) {
        struct ak_str part;
        bool more = ak_str_split(rest, '/', &part, &rest);
        bool is_dot = ak_str_eq(part, AK_STR("."));
        bool is_up = ak_str_eq(part, AK_STR(".."));
        ends_in_slash = more || is_dot || is_up;
        if (is_up) {
            while (out->len > base && out->p[--out->len] != '/') {
            }
        } else if (part.len && !is_dot) {
            ak_buf_add_char(out, '/');
            ak_sigv4_encode(out, part, false);
            ends_in_slash = more;
        }
    }
    if (out->len == base || ends_in_slash) {
        ak_buf_add_char(out, '/');
    }
}

static enum ak_rc add_query(struct ak_buf *out, struct ak_str query, struct ak_err *err)
{
    struct pair pairs[AK_SIGV4_QUERY_MAX];
    size_t count = 0;
    while (query.len) {
        struct ak_str one;
        ak_str_split(query, '&', &one, &query);
        if (one.len == 0) {
            continue;
        }
        if (count == AK_SIGV4_QUERY_MAX) {
            return ak_fail(err, AK_INVALID, "more than %d query parameters", AK_SIGV4_QUERY_MAX);
        }
        ak_str_split(one, '=', &pairs[count].name, &pairs[count].value);
        count++;
    }
    qsort(pairs, count, sizeof pairs[0], by_name_then_value);
    for (size_t i = 0; i < count; i++) {
        if (i) {
            ak_buf_add_char(out, '&');
        }
        ak_buf_add_str(out, pairs[i].name);
        ak_buf_add_char(out, '=');
        ak_buf_add_str(out, pairs[i].value);
    }
    return AK_OK;
}

/* Trimmed, and runs of blanks as one. */
static void add_value(struct ak_buf *out, struct ak_str value)
{
    value = ak_str_trim(value);
    for (size_t i = 0; i < value.len; i++) {
        bool is_blank = value.p[i] == ' ' || value.p[i] == '\t';
        if (!is_blank || (i && value.p[i - 1] != ' ' && value.p[i - 1] != '\t')) {
            ak_buf_add_char(out, is_blank ? ' ' : value.p[i]);
        }
    }
}

static int by_lower_name(const void *a, const void *b)
{
    const struct pair *x = a;
    const struct pair *y = b;
    return ak_str_cmp(x->name, y->name);
}

/* Headers of one name are one line, their values in the order given: a stable sort is needed, so
 * the few that there are get inserted. */
static void sort_stably(struct pair *pairs, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct pair pair = pairs[i];
        size_t j = i;
        for (; j > 0 && by_lower_name(&pairs[j - 1], &pair) > 0; j--) {
            pairs[j] = pairs[j - 1];
        }
        pairs[j] = pair;
    }
}

static enum ak_rc add_headers(struct ak_buf *out, struct ak_buf *names,
                              const struct ak_sigv4_request *request, struct ak_err *err)
{
    struct pair pairs[AK_SIGV4_HEADERS_MAX];
    struct ak_buf lower;
    size_t total = 0;
    if (request->header_count > AK_SIGV4_HEADERS_MAX) {
        return ak_fail(err, AK_INVALID, "more than %d headers", AK_SIGV4_HEADERS_MAX);
    }
    for (size_t i = 0; i < request->header_count; i++) {
        total += request->headers[i].name.len;
    }
    ak_buf_init(&lower, CANONICAL_MAX);
    char *p = ak_buf_reserve(&lower, total); /* once, so that what points into it stays */
    for (size_t i = 0; p && i < request->header_count; i++) {
        struct ak_str name = request->headers[i].name;
        for (size_t j = 0; j < name.len; j++) {
            char c = name.p[j];
            p[j] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
        }
        pairs[i] = (struct pair){{p, name.len}, request->headers[i].value};
        p += name.len;
    }
    if (!p) {
        ak_buf_release(&lower);
        return ak_fail(err, AK_NOMEM, "no memory to sign a request");
    }
    sort_stably(pairs, request->header_count);
    for (size_t i = 0; i < request->header_count; i++) {
        if (i && ak_str_eq(pairs[i].name, pairs[i - 1].name)) {
            out->len -= out->len ? 1 : 0; /* the line goes on */
            ak_buf_add_char(out, ',');
        } else {
            if (i) {
                ak_buf_add_char(names, ';');
            }
            ak_buf_add_str(names, pairs[i].name);
            ak_buf_add_str(out, pairs[i].name);
            ak_buf_add_char(out, ':');
        }
        add_value(out, pairs[i].value);
        ak_buf_add_char(out, '\n');
    }
    ak_buf_release(&lower);
    return AK_OK;
}

enum ak_rc ak_sigv4_canonical(const struct ak_sigv4_request *request, struct ak_buf *canonical,
                              struct ak_buf *signed_names, struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    ak_buf_add_str(canonical, request->method);
    ak_buf_add_char(canonical, '\n');
    if (request->clean_path) {
        add_clean_path(canonical, request->path);
    } else {
        ak_buf_add_str(canonical, request->path);
    }
    ak_buf_add_char(canonical, '\n');
    rc = add_query(canonical, request->query, err);
    if (rc != AK_OK) {
        return rc;
    }
    ak_buf_add_char(canonical, '\n');
    rc = add_headers(canonical, signed_names, request, err);
    if (rc != AK_OK) {
        return rc;
    }
    ak_buf_add_char(canonical, '\n');
    ak_buf_add_str(canonical, ak_buf_str(signed_names));
    ak_buf_add_char(canonical, '\n');
    ak_buf_add_str(canonical, request->body_hash);
    rc = ak_buf_check(canonical, err);
    return rc == AK_OK ? ak_buf_check(signed_names, err) : rc;
}

/* --- Keys --- */

static void hmac(const void *key, size_t key_len, struct ak_str text, uint8_t out[32])
{
    unsigned len = 0;
    const unsigned char *made =
        HMAC(EVP_sha256(), key, (int)key_len, (const unsigned char *)text.p, text.len, out, &len);
    AK_ASSERT(made && len == 32); /* SHA-256 is there, and it needs no memory of ours */
}

static enum ak_rc day_key(struct ak_sigv4 *signer, struct ak_str secret, struct ak_str day,
                          uint8_t key[32], struct ak_err *err)
{
    uint8_t mark[32];
    struct ak_buf first;
    ak_buf_init(&first, CANONICAL_MAX);
    ak_buf_add_str(&first, AK_STR("AWS4"));
    ak_buf_add_str(&first, secret);
    enum ak_rc rc = ak_buf_check(&first, err);
    if (rc != AK_OK) {
        ak_buf_release(&first);
        return rc;
    }
    hmac(first.p, first.len, day, mark); /* the first step tells keys and days apart */
    OPENSSL_cleanse(first.p, first.len);
    ak_buf_release(&first);
    ak_mutex_lock(&signer->mutex);
    if (!signer->has_day_key || memcmp(signer->day_mark, mark, sizeof mark) != 0) {
        memcpy(signer->day_mark, mark, sizeof mark);
        hmac(mark, sizeof mark, ak_str_of(signer->region), key);
        hmac(key, 32, ak_str_of(signer->service), mark);
        hmac(mark, sizeof mark, AK_STR("aws4_request"), signer->day_key);
        signer->has_day_key = true;
    }
    memcpy(key, signer->day_key, 32);
    ak_mutex_unlock(&signer->mutex);
    return AK_OK;
}

void ak_sigv4_init(struct ak_sigv4 *signer, struct ak_str region, struct ak_str service)
{
    *signer = (struct ak_sigv4){.region = ak_strdup_n(region.p ? region.p : "", region.len),
                                .service = ak_strdup_n(service.p ? service.p : "", service.len)};
    ak_mutex_init(&signer->mutex, AK_RANK_LEAF, "sigv4");
}

void ak_sigv4_release(struct ak_sigv4 *signer)
{
    ak_free(signer->region);
    ak_free(signer->service);
    OPENSSL_cleanse(signer->day_key, sizeof signer->day_key);
    ak_mutex_release(&signer->mutex);
}

enum ak_rc ak_sigv4_sign(struct ak_sigv4 *signer, const struct ak_sigv4_keys *keys,
                         const struct ak_sigv4_request *request, struct ak_buf *out,
                         struct ak_err *err)
{
    char date[AK_SIGV4_DATE_MAX];
    char hex[65];
    uint8_t key[32];
    uint8_t digest[32];
    struct ak_buf text;
    struct ak_buf names;
    struct ak_buf scope;
    ak_buf_init(&text, CANONICAL_MAX);
    ak_buf_init(&names, CANONICAL_MAX);
    ak_buf_init(&scope, CANONICAL_MAX);
    ak_sigv4_date(request->time_us, date);
    enum ak_rc rc = ak_sigv4_canonical(request, &text, &names, err);
    if (rc != AK_OK) {
        goto out;
    }
    ak_sigv4_hash(text.p, text.len, hex);
    ak_buf_add_fmt(&scope, "%.8s/%s/%s/aws4_request", date, signer->region, signer->service);
    ak_buf_clear(&text);
    ak_buf_add_fmt(&text, "AWS4-HMAC-SHA256\n%s\n", date);
    ak_buf_add_str(&text, ak_buf_str(&scope));
    ak_buf_add_fmt(&text, "\n%s", hex);
    rc = ak_buf_check(&scope, err);
    rc = rc == AK_OK ? ak_buf_check(&text, err) : rc;
    if (rc == AK_OK) {
        rc = day_key(signer, keys->secret, (struct ak_str){date, 8}, key, err);
    }
    if (rc != AK_OK) {
        goto out;
    }
    hmac(key, sizeof key, ak_buf_str(&text), digest);
    OPENSSL_cleanse(key, sizeof key);
    ak_hex(digest, sizeof digest, hex);
    ak_buf_add_fmt(out, "AWS4-HMAC-SHA256 Credential=%.*s/%.*s, SignedHeaders=%.*s, Signature=%s",
                   AK_STR_ARG(keys->id), AK_STR_ARG(ak_buf_str(&scope)),
                   AK_STR_ARG(ak_buf_str(&names)), hex);
    rc = ak_buf_check(out, err);
out:
    ak_buf_release(&text);
    ak_buf_release(&names);
    ak_buf_release(&scope);
    return rc;
}
