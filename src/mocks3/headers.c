/* headers.c — headers that describe objects, conditions, and dates. */
#include "mocks3/mocks3_priv.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

/* --- Dates --- */

const char *ak_mock_http_date(int64_t us, char text[AK_MOCK_DATE_MAX])
{
    struct tm tm;
    time_t seconds = us / 1000000;
    (void)gmtime_r(&seconds, &tm);
    (void)strftime(text, AK_MOCK_DATE_MAX, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    return text;
}

const char *ak_mock_iso_date(int64_t us, char text[AK_MOCK_DATE_MAX])
{
    struct tm tm;
    time_t seconds = us / 1000000;
    (void)gmtime_r(&seconds, &tm);
    size_t len = strftime(text, AK_MOCK_DATE_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(text + len, AK_MOCK_DATE_MAX - len, ".%03uZ",
                   (unsigned)(us / 1000 % 1000) % 1000);
    return text;
}

/* false: not a date of HTTP's preferred form; such conditions are passed over (RFC 9110 13.1.3). */
static bool read_http_date(struct ak_str value, int64_t *seconds)
{
    char text[AK_MOCK_DATE_MAX];
    struct tm tm = {0};
    if (value.len >= sizeof text) {
        return false;
    }
    (void)snprintf(text, sizeof text, "%.*s", AK_STR_ARG(value));
    const char *end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    if (!end || *end) {
        return false;
    }
    *seconds = timegm(&tm);
    return true;
}

/* --- What an object remembers --- */

static const char *const kept[] = {"Content-Type",     "Cache-Control",    "Content-Disposition",
                                   "Content-Encoding", "Content-Language", "Expires"};

/* Content-Encoding without aws-chunked, which is of the transfer. */
static void put_encoding(struct ak_buf *out, struct ak_str value)
{
    size_t from = out->len;
    while (value.len) {
        struct ak_str one;
        (void)ak_str_split(value, ',', &one, &value);
        one = ak_str_trim(one);
        if (one.len == 0 || ak_str_eq_nocase(one, AK_STR("aws-chunked"))) {
            continue;
        }
        ak_buf_add_str(out, out->len == from ? AK_STR("Content-Encoding: ") : AK_STR(","));
        ak_buf_add_str(out, one);
    }
    if (out->len != from) {
        ak_buf_add_str(out, AK_STR("\r\n"));
    }
}

static void put_kept(const struct ak_mock_call *call, struct ak_buf *out)
{
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        struct ak_str value = ak_mock_header_of(call, kept[i]);
        if (i == 0 && !value.len) {
            ak_buf_add_str(out, AK_STR("Content-Type: binary/octet-stream\r\n"));
        } else if (value.len && strcmp(kept[i], "Content-Encoding") == 0) {
            put_encoding(out, value);
        } else if (value.len) {
            ak_buf_add_fmt(out, "%s: %.*s\r\n", kept[i], AK_STR_ARG(value));
        }
    }
}

/* x-amz-meta-…, in lower case as S3 gives them back. */
static size_t put_metadata(const struct ak_mock_call *call, struct ak_buf *out)
{
    size_t bytes = 0;
    for (size_t i = 0; i < call->header_count; i++) {
        struct ak_str name = call->headers[i].name;
        struct ak_str value = call->headers[i].value;
        if (!ak_str_eq_nocase(ak_str_sub(name, 0, 11), AK_STR("x-amz-meta-"))) {
            continue;
        }
        for (size_t j = 0; j < name.len; j++) {
            char c = name.p[j];
            ak_buf_add_char(out, c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c);
        }
        ak_buf_add_fmt(out, ": %.*s\r\n", AK_STR_ARG(value));
        bytes += name.len - 11 + value.len;
    }
    return bytes;
}

enum ak_mock_code ak_mock_take_headers(struct ak_mock_call *call, struct ak_str *headers)
{
    struct ak_buf out;
    ak_buf_init(&out, (size_t)2 * AK_HEADER_BYTES_MAX);
    put_kept(call, &out);
    size_t bytes = put_metadata(call, &out);
    *headers = out.failed ? AK_STR_NONE : ak_arena_str(call->arena, ak_buf_str(&out));
    ak_buf_release(&out);
    if (bytes > AK_MOCK_METADATA_MAX) {
        return ak_mock_fail(&call->fault, AK_MOCK_MetadataTooLarge,
                            "Your metadata headers exceed the maximum allowed metadata size: %zu "
                            "bytes, 2048 are allowed",
                            bytes);
    }
    return headers->p ? AK_MOCK_OK
                      : ak_mock_fail(&call->fault, AK_MOCK_SlowDown, "no memory for the headers");
}

enum ak_mock_code ak_mock_check_headers(struct ak_mock_call *call)
{
    static const char *const refused[] = {
        "x-amz-server-side-encryption",
        "x-amz-object-lock-",
        "x-amz-tagging",
        "x-amz-grant-",
        "x-amz-website-redirect-location",
        "x-amz-write-offset-bytes",
        "x-amz-copy-source-server-side-encryption",
    };
    struct ak_str acl = ak_mock_header_of(call, "x-amz-acl");
    struct ak_str class = ak_mock_header_of(call, "x-amz-storage-class");
    struct ak_str name = AK_STR_NONE;
    for (size_t i = 0; i < call->header_count && !name.p; i++) {
        for (size_t j = 0; j < sizeof refused / sizeof refused[0]; j++) {
            struct ak_str prefix = ak_str_of(refused[j]);
            if (ak_str_eq_nocase(ak_str_sub(call->headers[i].name, 0, prefix.len), prefix)) {
                name = call->headers[i].name;
            }
        }
    }
    if (acl.p && !ak_str_eq(acl, AK_STR("private")) &&
        !ak_str_eq(acl, AK_STR("bucket-owner-full-control"))) {
        name = AK_STR("x-amz-acl");
    }
    if (class.p && !ak_str_eq(class, AK_STR("STANDARD"))) {
        name = AK_STR("x-amz-storage-class");
    }
    if (!name.p) {
        return AK_MOCK_OK;
    }
    return ak_mock_fail(&call->fault, AK_MOCK_NotImplemented,
                        "A header you provided implies functionality that is not implemented: %.*s",
                        AK_STR_ARG(ak_str_sub(name, 0, 64)));
}

struct ak_str ak_mock_line_of(struct ak_str lines, struct ak_str name)
{
    while (lines.len) {
        struct ak_str line;
        struct ak_str key;
        struct ak_str value;
        (void)ak_str_split(lines, '\n', &line, &lines);
        if (ak_str_split(line, ':', &key, &value) && ak_str_eq_nocase(key, name)) {
            return ak_str_trim(value);
        }
    }
    return AK_STR_NONE;
}

/* --- Conditions --- */

enum ak_mock_code ak_mock_take_condition(struct ak_mock_call *call,
                                         struct ak_mock_condition *condition)
{
    struct ak_str none = ak_mock_header_of(call, "if-none-match");
    struct ak_str match = ak_mock_header_of(call, "if-match");
    *condition = (struct ak_mock_condition){0};
    if (none.p && !ak_str_eq(ak_str_trim(none), AK_STR("*"))) {
        return ak_mock_fail(&call->fault, AK_MOCK_NotImplemented,
                            "A header you provided implies functionality that is not implemented: "
                            "If-None-Match of a write must be *");
    }
    condition->if_absent = none.p != NULL;
    condition->if_match = ak_mock_without_quotes(match);
    if (none.p && match.p) {
        return ak_mock_fail(&call->fault, AK_MOCK_NotImplemented,
                            "If-Match and If-None-Match exclude each other");
    }
    if (match.p && condition->if_match.len == 0) {
        return ak_mock_fail(&call->fault, AK_MOCK_InvalidArgument, "If-Match must be an ETag or *");
    }
    return AK_MOCK_OK;
}

/* Is the ETag in "a", "b" or *? */
static bool is_listed(struct ak_str list, struct ak_str etag)
{
    while (list.len) {
        struct ak_str one;
        (void)ak_str_split(list, ',', &one, &list);
        one = ak_str_trim(one);
        if (ak_str_has_prefix(one, AK_STR("W/"))) {
            one = ak_str_sub(one, 2, SIZE_MAX);
        }
        if (ak_str_eq(one, AK_STR("*")) || ak_str_eq(ak_mock_without_quotes(one), etag)) {
            return true;
        }
    }
    return false;
}

static struct ak_str condition_of(const struct ak_mock_call *call, const char *prefix,
                                  const char *name)
{
    char full[64];
    (void)snprintf(full, sizeof full, "%s%s", prefix, name);
    return ak_mock_header_of(call, full);
}

static enum ak_mock_code refused(struct ak_mock_call *call, const char *name)
{
    return ak_mock_fail(&call->fault, AK_MOCK_PreconditionFailed,
                        "At least one of the pre-conditions you specified did not hold (%s)", name);
}

/* In the order of RFC 9110 13.2.2; a copy that is not modified is refused too. */
enum ak_mock_code ak_mock_check_read(struct ak_mock_call *call, const char *prefix,
                                     const struct ak_mock_item *item)
{
    struct ak_str match = condition_of(call, prefix, "if-match");
    struct ak_str none = condition_of(call, prefix, "if-none-match");
    struct ak_str unmodified = condition_of(call, prefix, "if-unmodified-since");
    struct ak_str modified = condition_of(call, prefix, "if-modified-since");
    int64_t changed = item->modified_us / 1000000;
    int64_t since = 0;
    if (match.p && !is_listed(match, item->etag)) {
        return refused(call, "If-Match");
    }
    if (!match.p && unmodified.p && read_http_date(unmodified, &since) && changed > since) {
        return refused(call, "If-Unmodified-Since");
    }
    bool is_same = none.p && is_listed(none, item->etag);
    bool is_old = !none.p && modified.p && read_http_date(modified, &since) && changed <= since;
    if ((is_same || is_old) && prefix[0]) {
        return refused(call, is_same ? "If-None-Match" : "If-Modified-Since");
    }
    return is_same || is_old ? ak_mock_fail(&call->fault, AK_MOCK_NotModified, "Not Modified")
                             : AK_MOCK_OK;
}
