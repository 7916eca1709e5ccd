/* sigv4.c — reading and verifying signatures. */
#include "mocks3/sigv4.h"
#include "base/clock.h"
#include "base/encode.h"
#include "base/limits.h"
#include "mocks3/sums.h"
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALGORITHM "AWS4-HMAC-SHA256"
#define UNSIGNED "UNSIGNED-PAYLOAD"
#define SKEW_US ((int64_t)15 * 60 * 1000000)
#define EXPIRES_MAX_S 604800 /* seven days, as AWS */
#define PAIRS_MAX 512        /* parameters of a query */
#define SIGNED_MAX AK_HEADER_COUNT_MAX

/* --- Arithmetic --- */

static void hmac(const uint8_t *key, size_t key_len, struct ak_str text,
                 uint8_t out[AK_MOCK_SIGV4_KEY_BYTES])
{
    unsigned len = 0;
    const unsigned char *done =
        HMAC(EVP_sha256(), key, (int)key_len, (const unsigned char *)text.p, text.len, out, &len);
    AK_ASSERT(done && len == AK_MOCK_SIGV4_KEY_BYTES);
}

void ak_mock_sigv4_key(struct ak_str secret, struct ak_str day, struct ak_str region,
                       struct ak_str service, uint8_t key[AK_MOCK_SIGV4_KEY_BYTES])
{
    uint8_t first[4 + 256];
    size_t len = secret.len < sizeof first - 4 ? secret.len : sizeof first - 4;
    memcpy(first, "AWS4", 4);
    memcpy(first + 4, secret.p, len);
    hmac(first, 4 + len, day, key);
    hmac(key, AK_MOCK_SIGV4_KEY_BYTES, region, key);
    hmac(key, AK_MOCK_SIGV4_KEY_BYTES, service, key);
    hmac(key, AK_MOCK_SIGV4_KEY_BYTES, AK_STR("aws4_request"), key);
    OPENSSL_cleanse(first, sizeof first);
}

void ak_mock_sigv4_sign(const uint8_t key[AK_MOCK_SIGV4_KEY_BYTES], struct ak_str text,
                        char signature[AK_MOCK_SIGV4_TEXT])
{
    uint8_t value[AK_MOCK_SIGV4_KEY_BYTES];
    hmac(key, AK_MOCK_SIGV4_KEY_BYTES, text, value);
    ak_hex(value, sizeof value, signature);
}

void ak_mock_sigv4_sha256(struct ak_str bytes, char text[AK_MOCK_SIGV4_TEXT])
{
    uint8_t value[AK_MOCK_SUM_BYTES_MAX];
    ak_hex(value, ak_mock_sum_of(AK_MOCK_SHA256, bytes, value), text);
}

bool ak_mock_sigv4_same(struct ak_str a, struct ak_str b)
{
    return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.p, b.p, a.len) == 0);
}

/* --- URIs --- */

static bool is_plain(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

void ak_mock_uri_encode(struct ak_buf *out, struct ak_str text, bool keeps_slash)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t from = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (is_plain(text.p[i]) || (c == '/' && keeps_slash)) {
            continue;
        }
        const char escaped[3] = {'%', digits[c >> 4], digits[c & 15]};
        ak_buf_add(out, text.p + from, i - from);
        ak_buf_add(out, escaped, sizeof escaped);
        from = i + 1;
    }
    ak_buf_add(out, text.p + from, text.len - from);
}

/* --- The canonical request --- */

static struct ak_str to_arena(struct ak_buf *text, struct ak_arena *arena)
{
    struct ak_str copy = text->failed ? AK_STR_NONE : ak_arena_str(arena, ak_buf_str(text));
    ak_buf_release(text);
    return copy;
}

static bool put_path(struct ak_buf *out, struct ak_str path, struct ak_arena *arena)
{
    struct ak_str plain = ak_percent_decode(path, false, arena);
    ak_mock_uri_encode(out, plain.p ? plain : path, true);
    return plain.p != NULL;
}

struct pair { /* both encoded anew */
    struct ak_str name;
    struct ak_str value;
};

static int compare_pairs(const void *a, const void *b)
{
    const struct pair *left = a;
    const struct pair *right = b;
    int order = ak_str_cmp(left->name, right->name);
    return order ? order : ak_str_cmp(left->value, right->value);
}

static struct ak_str encode_anew(struct ak_str raw, struct ak_arena *arena)
{
    struct ak_buf out;
    struct ak_str plain = ak_percent_decode(raw, true, arena);
    if (plain.len == 0) { /* nothing to encode, or malformed */
        return plain;
    }
    ak_buf_init(&out, (size_t)4 * AK_TARGET_MAX);
    ak_mock_uri_encode(&out, plain, false);
    return to_arena(&out, arena);
}

static bool put_query(struct ak_buf *out, struct ak_str query, bool is_presigned,
                      struct ak_arena *arena)
{
    struct pair *pairs = ak_arena_alloc(arena, PAIRS_MAX * sizeof *pairs);
    size_t count = 0;
    while (pairs && query.len) {
        struct ak_str part;
        struct ak_str name;
        struct ak_str value;
        (void)ak_str_split(query, '&', &part, &query);
        (void)ak_str_split(part, '=', &name, &value);
        if (part.len == 0 || (is_presigned && ak_str_eq(name, AK_STR("X-Amz-Signature")))) {
            continue;
        }
        if (count == PAIRS_MAX) {
            return false;
        }
        pairs[count].name = encode_anew(name, arena);
        pairs[count].value = encode_anew(value, arena);
        if (!pairs[count].name.p || !pairs[count].value.p) {
            return false;
        }
        count++;
    }
    if (!pairs) {
        return false;
    }
    qsort(pairs, count, sizeof *pairs, compare_pairs);
    for (size_t i = 0; i < count; i++) {
        ak_buf_add_str(out, i ? AK_STR("&") : AK_STR(""));
        ak_buf_add_str(out, pairs[i].name);
        ak_buf_add_char(out, '=');
        ak_buf_add_str(out, pairs[i].value);
    }
    return true;
}

/* The value without space around it, and with runs of spaces as one. */
static void put_value(struct ak_buf *out, struct ak_str value)
{
    value = ak_str_trim(value);
    for (size_t i = 0; i < value.len; i++) {
        if (value.p[i] != ' ' || value.p[i - 1] != ' ') {
            ak_buf_add_char(out, value.p[i]);
        }
    }
}

static bool put_header(struct ak_buf *out, const struct ak_mock_sigv4_request *request,
                       struct ak_str name)
{
    bool found = false;
    ak_buf_add_str(out, name);
    ak_buf_add_char(out, ':');
    for (size_t i = 0; i < request->header_count; i++) {
        if (ak_str_eq_nocase(request->headers[i].name, name)) {
            ak_buf_add_str(out, found ? AK_STR(",") : AK_STR(""));
            put_value(out, request->headers[i].value);
            found = true;
        }
    }
    ak_buf_add_char(out, '\n');
    return found;
}

struct ak_str ak_mock_sigv4_canonical(const struct ak_mock_sigv4_request *request,
                                      const struct ak_mock_sigv4_auth *auth, struct ak_arena *arena)
{
    struct ak_buf out;
    ak_buf_init(&out, (size_t)8 * (AK_TARGET_MAX + AK_HEADER_BYTES_MAX));
    ak_buf_add_str(&out, request->method);
    ak_buf_add_char(&out, '\n');
    bool ok = put_path(&out, request->path, arena);
    ak_buf_add_char(&out, '\n');
    ok = put_query(&out, request->query, auth->kind == AK_MOCK_SIGV4_QUERY, arena) && ok;
    ak_buf_add_char(&out, '\n');
    struct ak_str rest = auth->signed_headers;
    while (rest.len) {
        struct ak_str name;
        (void)ak_str_split(rest, ';', &name, &rest);
        (void)put_header(&out, request, name);
    }
    ak_buf_add_char(&out, '\n');
    ak_buf_add_str(&out, auth->signed_headers);
    ak_buf_add_char(&out, '\n');
    ak_buf_add_str(&out, auth->payload);
    if (!ok) {
        ak_buf_release(&out);
        return AK_STR_NONE;
    }
    return to_arena(&out, arena);
}

struct ak_str ak_mock_sigv4_string_to_sign(const struct ak_mock_sigv4_auth *auth,
                                           struct ak_str canonical, struct ak_arena *arena)
{
    struct ak_buf out;
    char hash[AK_MOCK_SIGV4_TEXT];
    ak_mock_sigv4_sha256(canonical, hash);
    ak_buf_init(&out, AK_HEADER_BYTES_MAX);
    ak_buf_add_fmt(&out, ALGORITHM "\n%.*s\n%.*s\n%s", AK_STR_ARG(auth->date),
                   AK_STR_ARG(auth->scope), hash);
    return to_arena(&out, arena);
}

void ak_mock_sigv4_chunk(const uint8_t key[AK_MOCK_SIGV4_KEY_BYTES],
                         const struct ak_mock_sigv4_auth *auth, bool is_trailer,
                         struct ak_str before, const char sha256[AK_MOCK_SIGV4_TEXT],
                         char signature[AK_MOCK_SIGV4_TEXT])
{
    struct ak_buf text;
    char empty[AK_MOCK_SIGV4_TEXT];
    ak_mock_sigv4_sha256(AK_STR(""), empty);
    ak_buf_init(&text, AK_HEADER_BYTES_MAX);
    ak_buf_add_fmt(&text, ALGORITHM "-%s\n%.*s\n%.*s\n%.*s\n", is_trailer ? "TRAILER" : "PAYLOAD",
                   AK_STR_ARG(auth->date), AK_STR_ARG(auth->scope), AK_STR_ARG(before));
    if (!is_trailer) {
        ak_buf_add_fmt(&text, "%s\n", empty);
    }
    ak_buf_add_fmt(&text, "%s", sha256);
    ak_mock_sigv4_sign(key, ak_buf_str(&text),
                       signature); /* without memory it is one that differs */
    ak_buf_release(&text);
}

/* --- Reading --- */

static struct ak_str header_of(const struct ak_mock_sigv4_request *request, struct ak_str name)
{
    for (size_t i = 0; i < request->header_count; i++) {
        if (ak_str_eq_nocase(request->headers[i].name, name)) {
            return ak_str_trim(request->headers[i].value);
        }
    }
    return AK_STR_NONE;
}

/* The decoded value of a query parameter; .p NULL: absent or malformed. */
static struct ak_str parameter(const struct ak_mock_sigv4_request *request, struct ak_str name,
                               struct ak_arena *arena)
{
    struct ak_str rest = request->query;
    while (rest.len) {
        struct ak_str part;
        struct ak_str key;
        struct ak_str value;
        (void)ak_str_split(rest, '&', &part, &rest);
        (void)ak_str_split(part, '=', &key, &value);
        if (ak_str_eq(key, name)) {
            return ak_percent_decode(value, true, arena);
        }
    }
    return AK_STR_NONE;
}

/* "20130524T000000Z" */
static bool read_date(struct ak_str text, int64_t *us)
{
    char full[AK_TIME_TEXT_MAX];
    if (text.len != 16 || text.p[8] != 'T' || text.p[15] != 'Z') {
        return false;
    }
    (void)snprintf(full, sizeof full, "%.4s-%.2s-%.2sT%.2s:%.2s:%.2sZ", text.p, text.p + 4,
                   text.p + 6, text.p + 9, text.p + 11, text.p + 13);
    return ak_time_parse(ak_str_of(full), us);
}

static enum ak_mock_code malformed(const struct ak_mock_sigv4_auth *auth,
                                   struct ak_mock_fault *fault, const char *text)
{
    return ak_mock_fail(fault,
                        auth->kind == AK_MOCK_SIGV4_QUERY
                            ? AK_MOCK_AuthorizationQueryParametersError
                            : AK_MOCK_AuthorizationHeaderMalformed,
                        "%s", text);
}

/* "AKID/20130524/us-east-1/s3/aws4_request"; the key itself may hold slashes. */
static enum ak_mock_code read_credential(struct ak_str text, struct ak_mock_sigv4_auth *auth,
                                         struct ak_mock_fault *fault)
{
    struct ak_str parts[4];
    struct ak_str rest = text;
    for (size_t i = 4; i-- > 0;) {
        size_t at = rest.len;
        while (at && rest.p[at - 1] != '/') {
            at--;
        }
        if (at == 0) {
            return malformed(auth, fault,
                             "the credential must be KEY/YYYYMMDD/REGION/s3/aws4_request");
        }
        parts[i] = ak_str_sub(rest, at, SIZE_MAX);
        rest.len = at - 1;
    }
    auth->access_key = rest;
    auth->day = parts[0];
    auth->region = parts[1];
    auth->scope = ak_str_sub(text, rest.len + 1, SIZE_MAX);
    if (rest.len == 0 || auth->region.len == 0 || !ak_str_eq(parts[2], AK_STR("s3")) ||
        !ak_str_eq(parts[3], AK_STR("aws4_request"))) {
        return malformed(auth, fault, "the credential must end in /s3/aws4_request");
    }
    return AK_MOCK_OK;
}

/* Sorted, in lower case, "host" among them. */
static bool signed_headers_are_valid(struct ak_str list)
{
    struct ak_str before = AK_STR_NONE;
    bool has_host = false;
    size_t count = 0;
    while (list.len) {
        struct ak_str name;
        (void)ak_str_split(list, ';', &name, &list);
        for (size_t i = 0; i < name.len; i++) {
            if (name.p[i] >= 'A' && name.p[i] <= 'Z') {
                return false;
            }
        }
        if (name.len == 0 || (before.len && ak_str_cmp(before, name) >= 0) ||
            ++count > SIGNED_MAX) {
            return false;
        }
        has_host |= ak_str_eq(name, AK_STR("host"));
        before = name;
    }
    return has_host;
}

/* What both forms have in common, after credential, signed headers and signature are taken. */
static enum ak_mock_code check_form(struct ak_mock_sigv4_auth *auth, struct ak_str credential,
                                    struct ak_mock_fault *fault)
{
    uint8_t bytes[AK_MOCK_SIGV4_KEY_BYTES];
    enum ak_mock_code code = read_credential(credential, auth, fault);
    if (code) {
        return code;
    }
    if (!signed_headers_are_valid(auth->signed_headers)) {
        return malformed(auth, fault,
                         "SignedHeaders must be sorted names in lower case, host among them");
    }
    if (!ak_unhex(auth->signature, bytes, sizeof bytes)) {
        return malformed(auth, fault, "Signature must be 64 hexadecimal digits");
    }
    if (!read_date(auth->date, &auth->date_us)) {
        return auth->kind == AK_MOCK_SIGV4_QUERY
                   ? malformed(auth, fault, "X-Amz-Date must be in the format YYYYMMDDTHHMMSSZ")
                   : ak_mock_fail(fault, AK_MOCK_AccessDenied,
                                  "AWS authentication requires a valid Date or x-amz-date header");
    }
    if (!ak_str_eq(auth->day, ak_str_sub(auth->date, 0, 8))) {
        return malformed(auth, fault, "the day of the credential is not that of x-amz-date");
    }
    return AK_MOCK_OK;
}

static enum ak_mock_code read_header(const struct ak_mock_sigv4_request *request,
                                     struct ak_str value, struct ak_mock_sigv4_auth *auth,
                                     struct ak_mock_fault *fault)
{
    struct ak_str credential = AK_STR_NONE;
    struct ak_str rest = ak_str_sub(value, sizeof ALGORITHM - 1, SIZE_MAX);
    auth->kind = AK_MOCK_SIGV4_HEADER;
    while (rest.len) {
        struct ak_str part;
        struct ak_str name;
        struct ak_str text;
        (void)ak_str_split(rest, ',', &part, &rest);
        (void)ak_str_split(ak_str_trim(part), '=', &name, &text);
        if (ak_str_eq(name, AK_STR("Credential"))) {
            credential = text;
        } else if (ak_str_eq(name, AK_STR("SignedHeaders"))) {
            auth->signed_headers = text;
        } else if (ak_str_eq(name, AK_STR("Signature"))) {
            auth->signature = text;
        }
    }
    if (!credential.p || !auth->signed_headers.p || !auth->signature.p) {
        return malformed(auth, fault,
                         "Authorization must have Credential, SignedHeaders and Signature");
    }
    auth->date = header_of(request, AK_STR("x-amz-date"));
    auth->payload = header_of(request, AK_STR("x-amz-content-sha256"));
    if (!auth->payload.p) {
        return ak_mock_fail(fault, AK_MOCK_InvalidRequest,
                            "Missing required header for this request: x-amz-content-sha256");
    }
    return check_form(auth, credential, fault);
}

static enum ak_mock_code read_query(const struct ak_mock_sigv4_request *request,
                                    struct ak_arena *arena, struct ak_mock_sigv4_auth *auth,
                                    struct ak_mock_fault *fault)
{
    uint64_t expires = 0;
    struct ak_str credential = parameter(request, AK_STR("X-Amz-Credential"), arena);
    struct ak_str expires_text = parameter(request, AK_STR("X-Amz-Expires"), arena);
    auth->kind = AK_MOCK_SIGV4_QUERY;
    auth->date = parameter(request, AK_STR("X-Amz-Date"), arena);
    auth->signed_headers = parameter(request, AK_STR("X-Amz-SignedHeaders"), arena);
    auth->signature = parameter(request, AK_STR("X-Amz-Signature"), arena);
    auth->payload = header_of(request, AK_STR("x-amz-content-sha256"));
    if (!auth->payload.p) {
        auth->payload = parameter(request, AK_STR("X-Amz-Content-Sha256"), arena);
    }
    if (!auth->payload.p) {
        auth->payload = AK_STR(UNSIGNED);
    }
    if (!credential.p || !expires_text.p || !auth->date.p || !auth->signed_headers.p ||
        !auth->signature.p) {
        return malformed(auth, fault,
                         "Query-string authentication version 4 requires the X-Amz-Algorithm, "
                         "X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and "
                         "X-Amz-Expires parameters.");
    }
    if (!ak_str_u64(expires_text, EXPIRES_MAX_S, &expires) || expires == 0) {
        return malformed(auth, fault, "X-Amz-Expires must be a number from 1 to 604800 (a week)");
    }
    auth->expires_s = (int64_t)expires;
    return check_form(auth, credential, fault);
}

enum ak_mock_code ak_mock_sigv4_read(const struct ak_mock_sigv4_request *request,
                                     struct ak_arena *arena, struct ak_mock_sigv4_auth *auth,
                                     struct ak_mock_fault *fault)
{
    struct ak_str value = header_of(request, AK_STR("authorization"));
    struct ak_str algorithm = parameter(request, AK_STR("X-Amz-Algorithm"), arena);
    *auth =
        (struct ak_mock_sigv4_auth){.payload = header_of(request, AK_STR("x-amz-content-sha256"))};
    if (value.p && algorithm.p) {
        return ak_mock_fail(fault, AK_MOCK_InvalidArgument,
                            "Only one auth mechanism allowed; only the X-Amz-Algorithm query "
                            "parameter, Signature query string parameter or the Authorization "
                            "header should be specified");
    }
    struct ak_str scheme;
    struct ak_str rest;
    (void)ak_str_split(value, ' ', &scheme, &rest);
    if (ak_str_eq(scheme, AK_STR(ALGORITHM))) {
        return read_header(request, value, auth, fault);
    }
    if (algorithm.p && ak_str_eq(algorithm, AK_STR(ALGORITHM))) {
        return read_query(request, arena, auth, fault);
    }
    bool is_version_2 = parameter(request, AK_STR("AWSAccessKeyId"), arena).p != NULL;
    if (value.p || algorithm.p || is_version_2) {
        return ak_mock_fail(fault, AK_MOCK_InvalidRequest,
                            "The authorization mechanism you have provided is not supported. "
                            "Please use " ALGORITHM ".");
    }
    return AK_MOCK_OK;
}

/* --- Verifying --- */

static enum ak_mock_code check_time(const struct ak_mock_sigv4_auth *auth, int64_t now_us,
                                    struct ak_mock_fault *fault)
{
    int64_t age_us = now_us - auth->date_us;
    if (auth->kind == AK_MOCK_SIGV4_QUERY) {
        if (age_us < -SKEW_US) {
            return ak_mock_fail(fault, AK_MOCK_AccessDenied, "Request is not valid yet");
        }
        if (age_us > auth->expires_s * 1000000) {
            return ak_mock_fail(fault, AK_MOCK_AccessDenied, "Request has expired");
        }
        return AK_MOCK_OK;
    }
    if (age_us > SKEW_US || age_us < -SKEW_US) {
        return ak_mock_fail(fault, AK_MOCK_RequestTimeTooSkewed,
                            "The difference between the request time and the current time is too "
                            "large: %" PRId64 " s, 900 are allowed. Set the client's clock.",
                            age_us / 1000000);
    }
    return AK_MOCK_OK;
}

static bool is_listed(struct ak_str list, struct ak_str name)
{
    while (list.len) {
        struct ak_str one;
        (void)ak_str_split(list, ';', &one, &list);
        if (ak_str_eq_nocase(one, name)) {
            return true;
        }
    }
    return false;
}

static enum ak_mock_code check_all_signed(const struct ak_mock_sigv4_request *request,
                                          const struct ak_mock_sigv4_auth *auth,
                                          struct ak_mock_fault *fault)
{
    for (size_t i = 0; i < request->header_count; i++) {
        struct ak_str name = request->headers[i].name;
        bool is_amz = ak_str_eq_nocase(ak_str_sub(name, 0, 6), AK_STR("x-amz-"));
        if (is_amz && !is_listed(auth->signed_headers, name) &&
            !ak_str_eq_nocase(name, AK_STR("x-amz-content-sha256"))) {
            return ak_mock_fail(fault, AK_MOCK_AccessDenied,
                                "There were headers present in the request which were not signed: "
                                "%.*s",
                                AK_STR_ARG(ak_str_sub(name, 0, 64)));
        }
    }
    return AK_MOCK_OK;
}

static void put_xml(struct ak_buf *out, const char *element, struct ak_str text)
{
    ak_buf_add_fmt(out, "<%s>", element);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.p[i];
        if (c == '<' || c == '>' || c == '&' || ((unsigned char)c < 0x20 && c != '\n')) {
            ak_buf_add_fmt(out, "&#%d;", (unsigned char)c);
        } else {
            ak_buf_add_char(out, c);
        }
    }
    ak_buf_add_fmt(out, "</%s>", element);
}

static enum ak_mock_code mismatch(const struct ak_mock_sigv4_auth *auth, struct ak_str canonical,
                                  struct ak_str to_sign, struct ak_arena *arena,
                                  struct ak_mock_fault *fault)
{
    struct ak_buf out;
    ak_buf_init(&out, (size_t)16 * (AK_TARGET_MAX + AK_HEADER_BYTES_MAX));
    put_xml(&out, "AWSAccessKeyId", auth->access_key);
    put_xml(&out, "StringToSign", to_sign);
    put_xml(&out, "SignatureProvided", auth->signature);
    put_xml(&out, "CanonicalRequest", canonical);
    fault->detail = to_arena(&out, arena);
    return ak_mock_fail(fault, AK_MOCK_SignatureDoesNotMatch,
                        "The request signature we calculated does not match the signature you "
                        "provided. Check your key and signing method.");
}

enum ak_mock_code ak_mock_sigv4_verify(const struct ak_mock_sigv4_request *request,
                                       const struct ak_mock_sigv4_auth *auth, struct ak_str secret,
                                       int64_t now_us, struct ak_arena *arena,
                                       uint8_t key[AK_MOCK_SIGV4_KEY_BYTES],
                                       struct ak_mock_fault *fault)
{
    enum ak_mock_code code = check_time(auth, now_us, fault);
    if (code) {
        return code;
    }
    struct ak_str canonical = ak_mock_sigv4_canonical(request, auth, arena);
    if (!canonical.p) {
        return ak_mock_fail(fault, AK_MOCK_InvalidURI,
                            "path or query is not properly %%-encoded, or too long");
    }
    struct ak_str to_sign = ak_mock_sigv4_string_to_sign(auth, canonical, arena);
    if (!to_sign.p) {
        return ak_mock_fail(fault, AK_MOCK_SlowDown, "no memory to check the signature");
    }
    char signature[AK_MOCK_SIGV4_TEXT];
    ak_mock_sigv4_key(secret, auth->day, auth->region, AK_STR("s3"), key);
    ak_mock_sigv4_sign(key, to_sign, signature);
    if (!ak_mock_sigv4_same(auth->signature, ak_str_of(signature))) {
        return mismatch(auth, canonical, to_sign, arena, fault);
    }
    return check_all_signed(request, auth, fault);
}
