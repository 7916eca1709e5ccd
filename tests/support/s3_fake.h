/* s3_fake.h — a small S3 in memory behind the fake transport, which fails by rule.
 *
 * Objects, conditional puts, ranges, If-Match, uploads in parts, ListObjectsV2 in pages, DELETE. It
 * checks that each request is signed and names the hash of its body; signatures themselves are
 * tested against the published vectors and by real servers. Include once a program.
 */
#pragma once
#include "base/mem.h"
#include "base/sync.h"
#include "objstore/s3_priv.h"
#include "support/test.h"
#include <stdlib.h>

#define FAKE_OBJECTS 4096
#define FAKE_UPLOADS 16
#define FAKE_PARTS 64
#define FAKE_RULES 32
#define FAKE_LOG ((size_t)4 << 20)

enum fake_kind {
    FAKE_ANSWER,  /* by `status`, `code`, `headers`; nothing happened */
    FAKE_FAILURE, /* by `failure` before anything happened */
    FAKE_LOST,    /* it happened, and the answer is lost (`failure`, RECEIVE when NONE) */
    FAKE_CUT,     /* it happened, and the body of the answer breaks after `at` bytes */
    FAKE_TWICE,   /* it happens, the answer is lost, and the same request comes once more */
    FAKE_RAW,     /* by `status`, `headers`, and `code` as the whole body */
    FAKE_REPLACE  /* before it happens, the object is replaced by `headers` as its bytes */
};
struct fake_rule {      /* the first that fits is used */
    const char *method; /* NULL: any */
    const char *part;   /* of the URL; NULL: any */
    unsigned skip;      /* so many that fit go by first */
    unsigned times;     /* 0: done */
    enum fake_kind kind;
    int status;
    const char *code;
    const char *headers;
    enum ak_httpc_failure failure;
    uint64_t at;
};

struct fake_object {
    struct ak_str key;
    struct ak_str bytes;
    char etag[40];
    char write_id[64];
};

struct fake_upload {
    char id[32];
    struct ak_str key;
    char write_id[64];
    struct ak_str parts[FAKE_PARTS];
    bool open;
};

struct s3_fake {
    struct ak_mutex mutex;
    struct fake_object objects[FAKE_OBJECTS]; /* sorted by key */
    size_t count;
    struct fake_upload uploads[FAKE_UPLOADS];
    size_t upload_count;
    struct fake_rule rules[FAKE_RULES];
    size_t rule_count;
    struct ak_buf log; /* "METHOD URL\n" */
    unsigned requests;
    unsigned etags;
    unsigned page_max; /* objects of a page; 0: 1000 */
    unsigned loses; /* as MinIO: a page by start-after ends so much early and says it is the last */
    bool no_etags;
    bool no_conditions; /* ignores If-None-Match */
    bool plain_keys;    /* ignores encoding-type */
    const char *region; /* wants this one; NULL: any */
    const char *token;  /* wants this session token; NULL: none */
    int64_t clock_us;   /* of its Date; 0: none */
    int64_t off_us;     /* more than 15 minutes off is refused */
    char headers[1024]; /* of the answer; one request at a time */
    unsigned sleeps;
    int64_t slept_us;
    struct ak_manual_clock clock;
    bool broke; /* it found no memory itself: tests fail allocations */
};

static struct s3_fake fake;

static inline struct ak_str fake_copy(struct ak_str s)
{
    return (struct ak_str){ak_strdup_n(s.p ? s.p : "", s.len), s.len};
}

static inline void fake_free(struct ak_str *s)
{
    ak_free((void *)(uintptr_t)s->p);
    *s = AK_STR_NONE;
}

static inline struct ak_str fake_header(const struct ak_httpc_request *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++) {
        if (ak_str_eq_nocase(request->headers[i].name, ak_str_of(name))) {
            return request->headers[i].value;
        }
    }
    return AK_STR_NONE;
}

static inline int fake_hex(char c)
{
    return c <= '9' ? c - '0' : (c | 32) - 'a' + 10;
}

static inline void fake_decode(struct ak_str s, struct ak_buf *out)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] == '%' && i + 2 < s.len) {
            ak_buf_add_char(out, (char)(fake_hex(s.p[i + 1]) * 16 + fake_hex(s.p[i + 2])));
            i += 2;
        } else {
            ak_buf_add_char(out, s.p[i]);
        }
    }
}

/* Of the query, decoded; false: not there. */
static inline bool fake_parameter(const char *url, const char *name, struct ak_buf *out)
{
    struct ak_str before;
    struct ak_str rest;
    ak_buf_clear(out);
    ak_str_split(ak_str_of(url), '?', &before, &rest);
    while (rest.len) {
        struct ak_str one;
        struct ak_str key;
        struct ak_str value;
        ak_str_split(rest, '&', &one, &rest);
        ak_str_split(one, '=', &key, &value);
        if (ak_str_eq(key, ak_str_of(name))) {
            fake_decode(value, out);
            return true;
        }
    }
    return false;
}

/* --- Objects --- */

static inline size_t fake_place(struct ak_str key)
{
    size_t i = 0;
    while (i < fake.count && ak_str_cmp(fake.objects[i].key, key) < 0) {
        i++;
    }
    return i;
}

static inline struct fake_object *fake_find(struct ak_str key)
{
    size_t i = fake_place(key);
    return i < fake.count && ak_str_eq(fake.objects[i].key, key) ? &fake.objects[i] : NULL;
}

static inline void fake_store(struct ak_str key, struct ak_str bytes, struct ak_str write_id)
{
    struct fake_object *object = fake_find(key);
    if (!object) {
        size_t i = fake_place(key);
        CHECK(fake.count < FAKE_OBJECTS);
        memmove(&fake.objects[i + 1], &fake.objects[i], (fake.count - i) * sizeof fake.objects[0]);
        fake.count++;
        object = &fake.objects[i];
        *object = (struct fake_object){.key = fake_copy(key)};
    }
    fake_free(&object->bytes);
    object->bytes = fake_copy(bytes);
    (void)snprintf(object->etag, sizeof object->etag, "\"etag-%u\"", ++fake.etags);
    (void)snprintf(object->write_id, sizeof object->write_id, "%.*s", AK_STR_ARG(write_id));
}

static inline void fake_remove(struct ak_str key)
{
    size_t i = fake_place(key);
    if (fake_find(key)) {
        fake_free(&fake.objects[i].key);
        fake_free(&fake.objects[i].bytes);
        fake.count--;
        memmove(&fake.objects[i], &fake.objects[i + 1], (fake.count - i) * sizeof fake.objects[0]);
    }
}

/* --- Answers --- */

static inline void fake_error(struct ak_httpc_reply *reply, int status, const char *code,
                              const char *more)
{
    reply->status = status;
    ak_buf_clear(&reply->body);
    if (code) {
        ak_buf_add_fmt(&reply->body,
                       "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>told by the "
                       "fake</Message>%s</Error>",
                       code, more ? more : "");
    }
}

static inline void fake_say(const char *fmt, ...) AK_PRINTF(1, 2);
static inline void fake_say(const char *fmt, ...)
{
    size_t len = strlen(fake.headers);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(fake.headers + len, sizeof fake.headers - len, fmt, ap);
    va_end(ap);
}

static inline void fake_get(const struct ak_httpc_request *request, struct ak_str key,
                            struct ak_httpc_reply *reply)
{
    struct fake_object *object = fake_find(key);
    struct ak_str range = fake_header(request, "Range");
    struct ak_str match = fake_header(request, "If-Match");
    bool is_head = strcmp(request->method, "HEAD") == 0;
    if (!object) {
        fake_error(reply, 404, is_head ? NULL : "NoSuchKey", NULL);
        return;
    }
    if (match.len && !ak_str_eq(match, ak_str_of(object->etag))) {
        fake_error(reply, 412, "PreconditionFailed", NULL);
        return;
    }
    struct ak_str bytes = object->bytes;
    reply->status = 200;
    if (range.len) {
        struct ak_str from_text;
        struct ak_str to_text;
        uint64_t from = 0;
        uint64_t to = UINT64_MAX;
        ak_str_split(ak_str_sub(range, 6, SIZE_MAX), '-', &from_text, &to_text);
        CHECK(ak_str_u64(from_text, INT64_MAX, &from));
        CHECK(!to_text.len || ak_str_u64(to_text, INT64_MAX, &to));
        if (from >= bytes.len) {
            fake_error(reply, 416, "InvalidRange", NULL);
            return;
        }
        to = to < bytes.len ? to : bytes.len - 1;
        fake_say("Content-Range: bytes %llu-%llu/%zu\r\n", (unsigned long long)from,
                 (unsigned long long)to, bytes.len);
        bytes = ak_str_sub(bytes, (size_t)from, (size_t)(to - from) + 1);
        reply->status = 206;
    }
    fake_say("Content-Length: %zu\r\nLast-Modified: Tue, 03 Nov 2026 10:20:30 GMT\r\n", bytes.len);
    if (!fake.no_etags) {
        fake_say("ETag: %s\r\n", object->etag);
    }
    if (object->write_id[0]) {
        fake_say("x-amz-meta-akidb-write: %s\r\n", object->write_id);
    }
    if (!is_head) {
        ak_buf_add_str(&reply->body, bytes);
    }
}

static inline bool fake_is_refused(const struct ak_httpc_request *request, struct ak_str key,
                                   struct ak_httpc_reply *reply)
{
    bool wants_new = fake_header(request, "If-None-Match").len && !fake.no_conditions;
    if (wants_new && fake_find(key)) {
        fake_error(reply, 412, "PreconditionFailed", NULL);
        return true;
    }
    return false;
}

static inline struct fake_upload *fake_upload_of(const char *url, struct ak_buf *id)
{
    if (fake_parameter(url, "uploadId", id)) {
        for (size_t i = 0; i < fake.upload_count; i++) {
            if (fake.uploads[i].open && ak_str_eq(ak_buf_str(id), ak_str_of(fake.uploads[i].id))) {
                return &fake.uploads[i];
            }
        }
    }
    return NULL;
}

static inline void fake_upload_close(struct fake_upload *upload)
{
    upload->open = false;
    fake_free(&upload->key);
    for (size_t i = 0; i < FAKE_PARTS; i++) {
        fake_free(&upload->parts[i]);
    }
}

static inline void fake_complete(const struct ak_httpc_request *request, struct fake_upload *upload,
                                 struct ak_str body, struct ak_httpc_reply *reply)
{
    struct ak_buf all;
    ak_buf_init(&all, 0);
    if (fake_is_refused(request, upload->key, reply)) {
        return;
    }
    for (size_t i = 0; i < FAKE_PARTS && upload->parts[i].p; i++) {
        char want[96];
        (void)snprintf(want, sizeof want, "<PartNumber>%zu</PartNumber><ETag>%s</ETag>", i + 1,
                       fake.no_etags ? "" : "\"part\"");
        CHECK(memmem(body.p, body.len, want, strlen(want)) != NULL);
        ak_buf_add_str(&all, upload->parts[i]);
    }
    if (all.failed) {
        fake.broke = true;
        ak_buf_release(&all);
        return;
    }
    fake_store(upload->key, ak_buf_str(&all), ak_str_of(upload->write_id));
    fake_upload_close(upload);
    ak_buf_release(&all);
    reply->status = 200;
    ak_buf_add_str(&reply->body, AK_STR("\n<CompleteMultipartUploadResult><ETag></ETag>"
                                        "</CompleteMultipartUploadResult>"));
}

static inline void fake_begin(const struct ak_httpc_request *request, struct ak_str key,
                              struct ak_httpc_reply *reply)
{
    CHECK(fake.upload_count < FAKE_UPLOADS);
    struct fake_upload *upload = &fake.uploads[fake.upload_count++];
    *upload = (struct fake_upload){.key = fake_copy(key), .open = true};
    (void)snprintf(upload->id, sizeof upload->id, "id %zu+/&", fake.upload_count);
    (void)snprintf(upload->write_id, sizeof upload->write_id, "%.*s",
                   AK_STR_ARG(fake_header(request, S3_WRITE_ID_HEADER)));
    reply->status = 200;
    ak_buf_add_fmt(&reply->body,
                   "<InitiateMultipartUploadResult><UploadId>id %zu+/&amp;</UploadId>"
                   "</InitiateMultipartUploadResult>",
                   fake.upload_count);
}

static inline void fake_encode_key(struct ak_buf *out, struct ak_str key)
{
    for (size_t i = 0; i < key.len; i++) {
        if (key.p[i] == ' ') {
            ak_buf_add_char(out, '+'); /* as S3 does */
        } else {
            ak_sigv4_encode(out, ak_str_sub(key, i, 1), true);
        }
    }
}

static inline void fake_list(const char *url, struct ak_httpc_reply *reply)
{
    struct ak_buf prefix;
    struct ak_buf after;
    struct ak_buf most;
    uint64_t max = 1000;
    uint64_t count = 0;
    bool more = false;
    struct ak_str last = AK_STR_NONE;
    ak_buf_init(&prefix, 0);
    ak_buf_init(&after, 0);
    ak_buf_init(&most, 0);
    (void)fake_parameter(url, "prefix", &prefix);
    bool by_token = fake_parameter(url, "continuation-token", &after);
    if (!by_token) {
        (void)fake_parameter(url, "start-after", &after);
    }
    CHECK(fake_parameter(url, "max-keys", &most));
    CHECK(most.failed || ak_str_u64(ak_buf_str(&most), 1000, &max));
    max = fake.page_max && fake.page_max < max ? fake.page_max : max;
    reply->status = 200;
    ak_buf_add_str(&reply->body, AK_STR("<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\">"));
    if (!fake.plain_keys) {
        ak_buf_add_str(&reply->body, AK_STR("<EncodingType>url</EncodingType>"));
    }
    for (size_t i = 0; i < fake.count && !more; i++) {
        struct fake_object *object = &fake.objects[i];
        if (ak_str_cmp(object->key, ak_buf_str(&after)) <= 0 ||
            !ak_str_has_prefix(object->key, ak_buf_str(&prefix))) {
            continue;
        }
        more = count == max;
        if (more || (!by_token && after.len && count + fake.loses == max && fake.loses)) {
            break;
        }
        count++;
        last = object->key;
        ak_buf_add_str(&reply->body, AK_STR("<Contents><Key>"));
        if (fake.plain_keys) {
            ak_buf_add_str(&reply->body, object->key);
        } else {
            fake_encode_key(&reply->body, object->key);
        }
        ak_buf_add_fmt(&reply->body,
                       "</Key><LastModified>2026-11-03T10:20:30.000Z</LastModified><ETag>%s</ETag>"
                       "<Size>%zu</Size></Contents>",
                       object->etag, object->bytes.len);
    }
    ak_buf_add_fmt(&reply->body, "<IsTruncated>%s</IsTruncated>", more ? "true" : "false");
    if (more) {
        ak_buf_add_fmt(&reply->body, "<NextContinuationToken>%.*s</NextContinuationToken>",
                       AK_STR_ARG(last));
    }
    ak_buf_add_str(&reply->body, AK_STR("</ListBucketResult>"));
    fake.broke |= prefix.failed || after.failed || most.failed;
    ak_buf_release(&prefix);
    ak_buf_release(&after);
    ak_buf_release(&most);
}

/* --- Requests --- */

/* Signed, of the region and session that are wanted, at the right time? */
static inline bool fake_check(const struct ak_httpc_request *request, struct ak_str body,
                              struct ak_httpc_reply *reply)
{
    struct ak_str authorization = fake_header(request, "Authorization");
    struct ak_str hash = fake_header(request, "x-amz-content-sha256");
    struct ak_str date = fake_header(request, "x-amz-date");
    char hex[65];
    char scope[96];
    CHECK(ak_str_has_prefix(authorization, AK_STR("AWS4-HMAC-SHA256 Credential=")));
    CHECK(fake_header(request, "Host").len > 0 && date.len == 16);
    ak_sigv4_hash(body.p, body.len, hex);
    CHECK(ak_str_eq(hash, ak_str_of(hex)) || ak_str_eq(hash, AK_STR(AK_SIGV4_UNSIGNED)));
    if (fake.clock_us) {
        char now[AK_SIGV4_DATE_MAX];
        time_t seconds = (time_t)(fake.clock_us / 1000000);
        struct tm tm;
        (void)gmtime_r(&seconds, &tm);
        (void)strftime(fake.headers, sizeof fake.headers, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n",
                       &tm);
        if (!ak_str_eq(date, ak_str_of(ak_sigv4_date(fake.clock_us, now)))) {
            fake_error(reply, 403,
                       strcmp(request->method, "HEAD") == 0 ? NULL : "RequestTimeTooSkewed", NULL);
            return false;
        }
    }
    if (fake.token &&
        !ak_str_eq(fake_header(request, "x-amz-security-token"), ak_str_of(fake.token))) {
        fake_error(reply, 400, "ExpiredToken", NULL);
        return false;
    }
    (void)snprintf(scope, sizeof scope, "/%s/s3/aws4_request", fake.region ? fake.region : "");
    if (fake.region && !memmem(authorization.p, authorization.len, scope, strlen(scope))) {
        char more[96];
        (void)snprintf(more, sizeof more, "<Region>%s</Region>", fake.region);
        fake_error(reply, 400, "AuthorizationHeaderMalformed", more);
        return false;
    }
    return true;
}

static inline void fake_do(const struct ak_httpc_request *request, struct ak_str key,
                           struct ak_str body, struct ak_httpc_reply *reply)
{
    struct ak_buf text;
    const char *method = request->method;
    ak_buf_init(&text, 0);
    struct fake_upload *upload = fake_upload_of(request->url, &text);
    bool names_upload = text.len > 0;
    if (names_upload && !upload) {
        fake_error(reply, 404, "NoSuchUpload", NULL);
    } else if (upload && strcmp(method, "PUT") == 0) {
        uint64_t number = 0;
        CHECK(fake_parameter(request->url, "partNumber", &text));
        if (!ak_str_u64(ak_buf_str(&text), FAKE_PARTS, &number) || number == 0) {
            CHECK(text.failed);
            fake.broke = true;
            ak_buf_release(&text);
            return;
        }
        fake_free(&upload->parts[number - 1]);
        upload->parts[number - 1] = fake_copy(body);
        reply->status = 200;
        fake_say("%s", fake.no_etags ? "" : "ETag: \"part\"\r\n");
    } else if (upload && strcmp(method, "POST") == 0) {
        fake_complete(request, upload, body, reply);
    } else if (upload) {
        fake_upload_close(upload);
        reply->status = 204;
    } else if (key.len == 0) {
        if (fake_parameter(request->url, "uploads", &text)) {
            reply->status = 200;
            ak_buf_add_str(&reply->body, AK_STR("<ListMultipartUploadsResult/>"));
        } else if (strcmp(method, "HEAD") == 0) {
            reply->status = 200;
        } else {
            fake_list(request->url, reply);
        }
    } else if (strcmp(method, "PUT") == 0) {
        if (!fake_is_refused(request, key, reply)) {
            fake_store(key, body, fake_header(request, S3_WRITE_ID_HEADER));
            reply->status = 200;
        }
    } else if (strcmp(method, "POST") == 0) {
        fake_begin(request, key, reply);
    } else if (strcmp(method, "DELETE") == 0) {
        fake_remove(key);
        reply->status = 204;
    } else {
        fake_get(request, key, reply);
    }
    fake.broke |= text.failed || reply->body.failed;
    ak_buf_release(&text);
}

static inline struct fake_rule *fake_rule_for(const struct ak_httpc_request *request)
{
    for (size_t i = 0; i < fake.rule_count; i++) {
        struct fake_rule *rule = &fake.rules[i];
        if (rule->times == 0 || (rule->method && strcmp(rule->method, request->method) != 0) ||
            (rule->part && !strstr(request->url, rule->part))) {
            continue;
        }
        if (rule->skip > 0) {
            rule->skip--;
            continue;
        }
        rule->times--;
        return rule;
    }
    return NULL;
}

static inline void fake_answer_rule(const struct fake_rule *rule, struct ak_httpc_reply *reply)
{
    (void)snprintf(fake.headers, sizeof fake.headers, "%s", rule->headers ? rule->headers : "");
    fake_error(reply, rule->status, rule->code, NULL);
}

static inline void fake_request(void *ctx, const struct ak_httpc_request *request,
                                struct ak_str body, struct ak_httpc_reply *reply)
{
    struct ak_str rest = ak_str_of(strstr(request->url, "://") + 3);
    struct ak_str part;
    struct ak_buf key;
    (void)ctx;
    ak_buf_init(&key, 0);
    ak_mutex_lock(&fake.mutex);
    fake.requests++;
    ak_buf_add_fmt(&fake.log, "%s %s\n", request->method, request->url);
    fake.headers[0] = 0;
    ak_str_split(rest, '/', &part, &rest); /* host */
    ak_str_split(rest, '?', &rest, &part); /* /bucket/key */
    ak_str_split(rest, '/', &part, &rest);
    fake_decode(rest, &key);
    struct fake_rule *rule = fake_rule_for(request);
    fake.broke = false;
    if (key.failed) {
        fake.broke = true;
    } else if (rule && rule->kind == FAKE_ANSWER) {
        fake_answer_rule(rule, reply);
    } else if (rule && rule->kind == FAKE_RAW) {
        fake_answer_rule(rule, reply);
        ak_buf_clear(&reply->body);
        ak_buf_add_str(&reply->body, ak_str_of(rule->code));
    } else if (rule && rule->kind == FAKE_FAILURE) {
        reply->failure = rule->failure;
        reply->cut_at = rule->at;
    } else if (fake_check(request, body, reply)) {
        if (rule && rule->kind == FAKE_REPLACE) {
            fake_store(ak_buf_str(&key), ak_str_of(rule->headers), AK_STR_NONE);
        }
        if (rule && rule->kind == FAKE_TWICE) {
            struct ak_httpc_reply lost = *reply;
            fake_do(request, ak_buf_str(&key), body, &lost);
            ak_buf_release(&lost.body);
        }
        fake_do(request, ak_buf_str(&key), body, reply);
        if (rule && rule->kind == FAKE_LOST) {
            reply->failure = rule->failure ? rule->failure : AK_HTTPC_RECEIVE;
            reply->status = 0;
        } else if (rule && rule->kind == FAKE_CUT) {
            reply->failure = AK_HTTPC_RECEIVE;
            reply->cut_at = rule->at;
        }
    }
    if (fake.broke) {
        reply->failure = AK_HTTPC_RECEIVE;
        reply->status = 0;
    }
    /* Several threads may read answers at once: each has its own copy. */
    static _Thread_local char mine[sizeof fake.headers];
    (void)snprintf(mine, sizeof mine, "%s", fake.headers);
    reply->headers = mine;
    ak_mutex_unlock(&fake.mutex);
    ak_buf_release(&key);
}

/* --- For the tests --- */

static inline bool fake_sleep(void *ctx, int64_t us)
{
    (void)ctx;
    ak_mutex_lock(&fake.mutex);
    fake.sleeps++;
    fake.slept_us += us;
    ak_mutex_unlock(&fake.mutex);
    ak_manual_clock_advance(&fake.clock, us);
    return true;
}

static inline const char *fake_env(const char *name)
{
    (void)name;
    return NULL;
}

static inline void fake_init(void)
{
    static const struct s3_fake empty;
    fake = empty;
    ak_mutex_init(&fake.mutex, AK_RANK_LEAF, "fake");
    ak_buf_init(&fake.log, FAKE_LOG);
    ak_manual_clock_init(&fake.clock, 1793000000LL * 1000000);
}

static inline void fake_release(void)
{
    while (fake.count) {
        fake_remove(fake.objects[0].key);
    }
    for (size_t i = 0; i < fake.upload_count; i++) {
        fake_upload_close(&fake.uploads[i]);
    }
    ak_buf_release(&fake.log);
    ak_mutex_release(&fake.mutex);
}

static inline void fake_add_rule(struct fake_rule rule)
{
    CHECK(fake.rule_count < FAKE_RULES);
    rule.times = rule.times ? rule.times : 1;
    fake.rules[fake.rule_count++] = rule;
}

static inline void fake_no_rules(void)
{
    fake.rule_count = 0;
}

static inline size_t fake_open_uploads(void)
{
    size_t open = 0;
    for (size_t i = 0; i < fake.upload_count; i++) {
        open += fake.uploads[i].open;
    }
    return open;
}

static inline struct ak_s3_options fake_options(void)
{
    return (struct ak_s3_options){.endpoint = "http://fake:9000",
                                  .bucket = "b",
                                  .access_key_id = "AK",
                                  .secret_access_key = "SK",
                                  .multipart_bytes = 1000,
                                  .clock = &fake.clock.clock};
}

static inline enum ak_rc fake_try_open(const struct ak_s3_options *options, bool lazy,
                                       struct ak_objstore **store, struct ak_err *err)
{
    const struct s3_seams seams = {
        .client = ak_httpc_open_fake(fake_request, NULL), .sleep = fake_sleep, .env = fake_env};
    return ak_s3_open_with(options, lazy, &seams, store, err);
}

/* Open; what opening asked for is forgotten. */
static inline struct ak_objstore *fake_open(void)
{
    struct ak_err err;
    struct ak_objstore *store = NULL;
    const struct ak_s3_options options = fake_options();
    fake_init();
    CHECK_OK(fake_try_open(&options, false, &store, &err));
    fake.requests = 0;
    ak_buf_clear(&fake.log);
    return store;
}

static inline void fake_done(struct ak_objstore *store)
{
    ak_objstore_close(store);
    fake_release();
}
