/* read.c — from a request's head to an operation on a bucket and a key. */
#include "base/encode.h"
#include "mocks3/mocks3_priv.h"
#include <stdio.h>
#include <string.h>

enum level { SERVICE, BUCKET, OBJECT };

static const struct {
    const char *name;
    enum ak_http_method method;
    enum level level;
    const char *parameter;
    enum ak_mock_body body;
} ops[] = {
#define AK_MOCK_OP(name, method, level, parameter, body)                                           \
    {#name, AK_HTTP_##method, level, parameter, AK_MOCK_BODY_##body},
#include "mocks3/ops.def"
#undef AK_MOCK_OP
};
_Static_assert(sizeof ops / sizeof ops[0] == AK_MOCK_OP_COUNT, "one row an operation");

/* Parameters that make a request one of S3's other operations. */
static const char *const others[] = {
    "abac",
    "accelerate",
    "acl",
    "analytics",
    "append",
    "attributes",
    "cors",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "logging",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataTable",
    "metadataConfiguration",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "session",
    "tagging",
    "torrent",
    "uploadStatus",
    "versioning",
    "versions",
    "website",
};

const char *ak_mock_op_name(enum ak_mock_op op)
{
    return op < AK_MOCK_OP_COUNT ? ops[op].name : "Other";
}

enum ak_mock_body ak_mock_op_body(enum ak_mock_op op)
{
    return ops[op].body;
}

struct ak_str ak_mock_param_of(const struct ak_mock_call *call, const char *name)
{
    struct ak_str wanted = ak_str_of(name);
    for (size_t i = 0; i < call->param_count; i++) {
        if (ak_str_eq(call->params[i].name, wanted)) {
            return call->params[i].value;
        }
    }
    return AK_STR_NONE;
}

struct ak_str ak_mock_header_of(const struct ak_mock_call *call, const char *name)
{
    return ak_http_header(call->request, ak_str_of(name));
}

enum ak_mock_code ak_mock_param_number(struct ak_mock_call *call, const char *name, uint64_t max,
                                       uint64_t otherwise, uint64_t *out)
{
    struct ak_str text = ak_mock_param_of(call, name);
    *out = otherwise;
    if (!text.p || text.len == 0) {
        return AK_MOCK_OK;
    }
    if (!ak_str_u64(text, max, out)) {
        return ak_mock_fail(&call->fault, AK_MOCK_InvalidArgument,
                            "%s must be a whole number from 0 to %llu", name,
                            (unsigned long long)max);
    }
    return AK_MOCK_OK;
}

struct ak_str ak_mock_without_quotes(struct ak_str etag)
{
    etag = ak_str_trim(etag);
    bool is_quoted = etag.len >= 2 && etag.p[0] == '"' && etag.p[etag.len - 1] == '"';
    return is_quoted ? ak_str_sub(etag, 1, etag.len - 2) : etag;
}

/* --- Parameters and headers --- */

static enum ak_mock_code bad_uri(struct ak_mock_call *call)
{
    return ak_mock_fail(&call->fault, AK_MOCK_InvalidURI,
                        "Couldn't parse the specified URI: path and query must be %%-encoded");
}

static enum ak_mock_code read_params(struct ak_mock_call *call)
{
    struct ak_str rest = ak_http_query(call->request);
    while (rest.len) {
        struct ak_str part;
        struct ak_str name;
        struct ak_str value;
        (void)ak_str_split(rest, '&', &part, &rest);
        (void)ak_str_split(part, '=', &name, &value);
        if (part.len == 0) {
            continue;
        }
        if (call->param_count == AK_MOCK_PARAMS_MAX) {
            return ak_mock_fail(&call->fault, AK_MOCK_InvalidArgument,
                                "more than %u parameters in the query", AK_MOCK_PARAMS_MAX);
        }
        struct ak_mock_param *param = &call->params[call->param_count++];
        param->name = ak_percent_decode(name, true, call->arena);
        param->value = ak_percent_decode(value, true, call->arena);
        if (!param->name.p || !param->value.p) {
            return bad_uri(call);
        }
    }
    return AK_MOCK_OK;
}

static enum ak_mock_code read_headers(struct ak_mock_call *call)
{
    struct ak_mock_sigv4_field field;
    while (ak_http_header_at(call->request, call->header_count, &field.name, &field.value)) {
        call->header_count++;
    }
    call->headers = ak_arena_alloc(call->arena, call->header_count * sizeof *call->headers + 1);
    if (!call->headers) {
        return ak_mock_fail(&call->fault, AK_MOCK_SlowDown, "no memory for the request");
    }
    for (size_t i = 0; i < call->header_count; i++) {
        bool found =
            ak_http_header_at(call->request, i, &call->headers[i].name, &call->headers[i].value);
        AK_ASSERT(found);
    }
    return AK_MOCK_OK;
}

/* --- Bucket and key --- */

/* "bucket" of "bucket.localhost:9000"; empty: the host names none. */
static struct ak_str bucket_of_host(const struct ak_mock_call *call)
{
    struct ak_str host;
    struct ak_str port;
    struct ak_str domain = ak_str_of(call->server->domain);
    (void)ak_str_split(ak_mock_header_of(call, "host"), ':', &host, &port);
    if (host.len <= domain.len + 1 || host.p[host.len - domain.len - 1] != '.' ||
        !ak_str_eq_nocase(ak_str_sub(host, host.len - domain.len, SIZE_MAX), domain)) {
        return AK_STR("");
    }
    return ak_str_sub(host, 0, host.len - domain.len - 1);
}

static enum ak_mock_code read_address(struct ak_mock_call *call)
{
    struct ak_str path = ak_percent_decode(ak_http_path(call->request), false, call->arena);
    if (!path.p || path.len == 0 || path.p[0] != '/') {
        return bad_uri(call);
    }
    path = ak_str_sub(path, 1, SIZE_MAX);
    call->bucket = bucket_of_host(call);
    call->key = path;
    if (call->bucket.len == 0) {
        (void)ak_str_split(path, '/', &call->bucket, &call->key);
    }
    if (call->key.len > AK_MOCK_KEY_MAX) {
        return ak_mock_fail(&call->fault, AK_MOCK_KeyTooLongError,
                            "Your key is too long: it has %zu bytes, at most 1024 are allowed",
                            call->key.len);
    }
    if (!ak_utf8_is_valid(call->key) || !ak_utf8_is_valid(call->bucket)) {
        return ak_mock_fail(&call->fault, AK_MOCK_InvalidURI, "bucket and key must be UTF-8");
    }
    return AK_MOCK_OK;
}

/* --- The operation --- */

static enum ak_mock_code refuse_others(struct ak_mock_call *call)
{
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (ak_mock_param_of(call, others[i]).p) {
            return ak_mock_fail(&call->fault, AK_MOCK_NotImplemented,
                                "this server does not speak ?%s (docs/mock-s3.md lists what it "
                                "speaks)",
                                others[i]);
        }
    }
    struct ak_str version = ak_mock_param_of(call, "versionId");
    if (version.p && !ak_str_eq(version, AK_STR("null"))) {
        return ak_mock_fail(&call->fault, AK_MOCK_NotImplemented,
                            "this server keeps no versions: leave versionId out");
    }
    enum ak_http_method method = ak_http_method(call->request);
    if ((method == AK_HTTP_GET || method == AK_HTTP_HEAD) &&
        ak_mock_param_of(call, "partNumber").p) {
        return ak_mock_fail(&call->fault, AK_MOCK_NotImplemented,
                            "this server reads objects, not their parts: use Range");
    }
    return AK_MOCK_OK;
}

static enum ak_mock_code read_op(struct ak_mock_call *call)
{
    enum level level = call->key.len ? OBJECT : call->bucket.len ? BUCKET : SERVICE;
    enum ak_http_method method = ak_http_method(call->request);
    call->op = AK_MOCK_OP_NONE;
    for (unsigned i = 0; i < AK_MOCK_OP_COUNT && call->op == AK_MOCK_OP_NONE; i++) {
        bool fits = ops[i].method == method && ops[i].level == level &&
                    (!ops[i].parameter[0] || ak_mock_param_of(call, ops[i].parameter).p);
        call->op = fits ? (enum ak_mock_op)i : AK_MOCK_OP_NONE;
    }
    bool copies = ak_mock_header_of(call, "x-amz-copy-source").p != NULL;
    if (call->op == AK_MOCK_OP_UploadPart && copies) {
        call->op = AK_MOCK_OP_NONE;
        return ak_mock_fail(&call->fault, AK_MOCK_NotImplemented,
                            "this server does not speak UploadPartCopy: use CopyObject");
    }
    if (call->op == AK_MOCK_OP_PutObject && copies) {
        call->op = AK_MOCK_OP_CopyObject;
    }
    if (call->op == AK_MOCK_OP_NONE) {
        return ak_mock_fail(&call->fault, AK_MOCK_NotImplemented,
                            "this server does not speak %s here (docs/mock-s3.md lists what it "
                            "speaks)",
                            ak_http_method_name(method));
    }
    return AK_MOCK_OK;
}

enum ak_mock_code ak_mock_read_head(struct ak_mock_call *call)
{
    enum ak_mock_code code = AK_MOCK_OK;
    call->op = AK_MOCK_OP_NONE;
    (void)((code = read_headers(call)) || (code = read_params(call)) ||
           (code = read_address(call)) || (code = refuse_others(call)) || (code = read_op(call)));
    return code;
}
