/* body.c — a request's body on its way to the sink or the document, and what it promised.
 *
 *   wire ──▶ aws-chunked (when the head says so) ──▶ sums ──▶ sink (data) or document (XML)
 *
 * What is checked, and when:
 *   length                x-amz-decoded-content-length, at the end
 *   x-amz-content-sha256  a hash: of the bytes as sent; STREAMING-…: by the chunks' signatures
 *   Content-MD5, x-amz-checksum-… as header or trailer: of the data
 */
#include "base/encode.h"
#include "mocks3/mocks3_priv.h"
#include <string.h>

#define SIGNED_CHUNKS "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
#define SIGNED_TRAILER "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
#define UNSIGNED_TRAILER "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

/* --- Data --- */

static enum ak_mock_code take_data(struct ak_mock_call *call, struct ak_str bytes)
{
    if (bytes.len > AK_MOCK_OBJECT_MAX - call->size) {
        return ak_mock_fail(&call->fault, AK_MOCK_EntityTooLarge,
                            "Your proposed upload exceeds the maximum allowed size of 5 GiB");
    }
    call->size += bytes.len;
    ak_mock_sums_add(&call->sums, bytes);
    if (call->body == AK_MOCK_BODY_DATA) {
        return ak_mock_sink_write(&call->sink, bytes,
                                  call->expected == UINT64_MAX ? 0 : call->expected, &call->fault);
    }
    ak_buf_add_str(&call->document, bytes);
    if (call->document.failed) {
        return ak_mock_fail(&call->fault, AK_MOCK_MaxMessageLengthExceeded,
                            "Your request was too big: a document has at most %zu bytes",
                            AK_MOCK_DOCUMENT_MAX);
    }
    return AK_MOCK_OK;
}

/* --- aws-chunked: signatures and trailers --- */

static enum ak_mock_code bad_signature(struct ak_mock_call *call, const char *what)
{
    return ak_mock_fail(&call->fault, AK_MOCK_SignatureDoesNotMatch,
                        "The %s signature we calculated does not match the signature you provided. "
                        "Check your key and signing method.",
                        what);
}

static bool signs_chunks(const struct ak_mock_call *call)
{
    return call->is_verified && ak_str_has_prefix(call->auth.payload, AK_STR(SIGNED_CHUNKS));
}

static bool on_chunk(void *ctx, uint64_t size, struct ak_str signature)
{
    struct ak_mock_call *call = ctx;
    struct ak_err err;
    (void)size;
    if (!signs_chunks(call)) {
        return true;
    }
    if (signature.len != AK_MOCK_SIGV4_TEXT - 1) {
        return bad_signature(call, "chunk") == AK_MOCK_OK;
    }
    memcpy(call->chunk_expected, signature.p, signature.len);
    call->chunk_expected[signature.len] = '\0';
    ak_mock_sums_release(&call->chunk_sums);
    if (ak_mock_sums_init(&call->chunk_sums, 1u << AK_MOCK_SHA256, &err) != AK_OK) {
        return ak_mock_fail_rc(&call->fault, &err) == AK_MOCK_OK;
    }
    return true;
}

static bool on_data(void *ctx, struct ak_str bytes)
{
    struct ak_mock_call *call = ctx;
    if (signs_chunks(call)) {
        ak_mock_sums_add(&call->chunk_sums, bytes);
    }
    return take_data(call, bytes) == AK_MOCK_OK;
}

static bool on_chunk_end(void *ctx)
{
    struct ak_mock_call *call = ctx;
    uint8_t value[AK_MOCK_SUM_BYTES_MAX];
    char hash[AK_MOCK_SIGV4_TEXT];
    char signature[AK_MOCK_SIGV4_TEXT];
    if (!signs_chunks(call)) {
        return true;
    }
    size_t len = ak_mock_sums_finish(&call->chunk_sums, AK_MOCK_SHA256, value);
    ak_hex(value, len, hash);
    ak_mock_sigv4_chunk(call->signing_key, &call->auth, false, ak_str_of(call->chunk_before), hash,
                        signature);
    if (!ak_mock_sigv4_same(ak_str_of(signature), ak_str_of(call->chunk_expected))) {
        return bad_signature(call, "chunk") == AK_MOCK_OK;
    }
    memcpy(call->chunk_before, signature, sizeof signature);
    return true;
}

static enum ak_mock_code check_trailer_signature(struct ak_mock_call *call, struct ak_str given)
{
    char hash[AK_MOCK_SIGV4_TEXT];
    char signature[AK_MOCK_SIGV4_TEXT];
    call->trailer_is_signed = true;
    ak_mock_sigv4_sha256(ak_buf_str(&call->trailer_text), hash);
    ak_mock_sigv4_chunk(call->signing_key, &call->auth, true, ak_str_of(call->chunk_before), hash,
                        signature);
    return ak_mock_sigv4_same(ak_str_of(signature), given) ? AK_MOCK_OK
                                                           : bad_signature(call, "trailer");
}

static enum ak_mock_code set_sum_value(struct ak_mock_call *call, struct ak_str value);

static bool on_trailer(void *ctx, struct ak_str name, struct ak_str value)
{
    struct ak_mock_call *call = ctx;
    if (ak_str_eq_nocase(name, AK_STR("x-amz-trailer-signature"))) {
        return !signs_chunks(call) || check_trailer_signature(call, value) == AK_MOCK_OK;
    }
    for (size_t i = 0; i < name.len; i++) {
        char c = name.p[i];
        ak_buf_add_char(&call->trailer_text, c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c);
    }
    ak_buf_add_fmt(&call->trailer_text, ":%.*s\n", AK_STR_ARG(value));
    if (call->sum == AK_MOCK_SUM_NONE || !ak_str_eq_nocase(name, ak_mock_sum_header(call->sum))) {
        return true;
    }
    struct ak_str copy = ak_arena_str(call->arena, value);
    return copy.p ? set_sum_value(call, copy) == AK_MOCK_OK
                  : ak_mock_fail(&call->fault, AK_MOCK_SlowDown, "no memory") == AK_MOCK_OK;
}

/* --- What the head promises --- */

static enum ak_mock_code set_sum_value(struct ak_mock_call *call, struct ak_str value)
{
    uint8_t bytes[AK_MOCK_SUM_BYTES_MAX];
    size_t len = 0;
    if (!ak_mock_unbase64(value, bytes, sizeof bytes, &len) ||
        len != ak_mock_sum_bytes(call->sum)) {
        return ak_mock_fail(&call->fault, AK_MOCK_InvalidRequest,
                            "Value for %.*s header is invalid: it must be the base64 of %zu bytes",
                            AK_STR_ARG(ak_mock_sum_header(call->sum)),
                            ak_mock_sum_bytes(call->sum));
    }
    call->sum_value = value;
    call->has_sum_value = true;
    return AK_MOCK_OK;
}

static enum ak_mock_code read_sum(struct ak_mock_call *call)
{
    struct ak_str trailer = ak_mock_header_of(call, "x-amz-trailer");
    call->sum = AK_MOCK_SUM_NONE;
    for (unsigned kind = 0; kind < AK_MOCK_CHECKSUMS; kind++) {
        struct ak_str name = ak_mock_sum_header((enum ak_mock_sum)kind);
        struct ak_str value = ak_http_header(call->request, name);
        bool is_trailer = ak_str_eq_nocase(ak_str_trim(trailer), name);
        if (!value.p && !is_trailer) {
            continue;
        }
        if (call->sum != AK_MOCK_SUM_NONE) {
            return ak_mock_fail(&call->fault, AK_MOCK_InvalidRequest,
                                "Expecting a single x-amz-checksum- header. Multiple checksum "
                                "Types are not allowed.");
        }
        call->sum = (enum ak_mock_sum)kind;
        if (value.p) {
            enum ak_mock_code code = set_sum_value(call, ak_str_trim(value));
            if (code) {
                return code;
            }
        }
    }
    if (trailer.p && call->sum == AK_MOCK_SUM_NONE) {
        return ak_mock_fail(&call->fault, AK_MOCK_InvalidRequest,
                            "The value specified in the x-amz-trailer header is not supported");
    }
    return AK_MOCK_OK;
}

static enum ak_mock_code read_md5(struct ak_mock_call *call)
{
    size_t len = 0;
    struct ak_str text = ak_mock_header_of(call, "content-md5");
    if (!text.p) {
        return AK_MOCK_OK;
    }
    if (!ak_mock_unbase64(ak_str_trim(text), call->md5, sizeof call->md5, &len) ||
        len != sizeof call->md5) {
        return ak_mock_fail(&call->fault, AK_MOCK_InvalidDigest,
                            "The Content-MD5 you specified is not valid: it must be the base64 of "
                            "16 bytes");
    }
    call->has_md5 = true;
    return AK_MOCK_OK;
}

static enum ak_mock_code begin_chunked(struct ak_mock_call *call)
{
    struct ak_str length = ak_mock_header_of(call, "x-amz-decoded-content-length");
    const struct ak_mock_chunked_events events = {on_chunk, on_data, on_chunk_end, on_trailer,
                                                  call};
    if (!ak_str_u64(length, UINT64_MAX - 1, &call->expected)) {
        return ak_mock_fail(&call->fault, AK_MOCK_MissingContentLength,
                            "You must provide the x-amz-decoded-content-length HTTP header.");
    }
    call->chunked = ak_arena_alloc(call->arena, sizeof *call->chunked);
    if (!call->chunked) {
        return ak_mock_fail(&call->fault, AK_MOCK_SlowDown, "no memory for the request");
    }
    ak_mock_chunked_init(call->chunked, &events);
    ak_buf_init(&call->trailer_text,
                (size_t)2 * AK_MOCK_CHUNKED_TRAILERS_MAX * AK_MOCK_CHUNKED_LINE_MAX);
    if (call->auth.signature.len == AK_MOCK_SIGV4_TEXT - 1) {
        memcpy(call->chunk_before, call->auth.signature.p, AK_MOCK_SIGV4_TEXT - 1);
    }
    return AK_MOCK_OK;
}

/* How the body is framed, and what of x-amz-content-sha256 is to be checked. */
static enum ak_mock_code read_payload(struct ak_mock_call *call)
{
    struct ak_str payload = call->auth.payload;
    if (!payload.p || ak_str_eq(payload, AK_STR("UNSIGNED-PAYLOAD"))) {
        return AK_MOCK_OK;
    }
    if (ak_str_eq(payload, AK_STR(SIGNED_CHUNKS)) || ak_str_eq(payload, AK_STR(SIGNED_TRAILER)) ||
        ak_str_eq(payload, AK_STR(UNSIGNED_TRAILER))) {
        return begin_chunked(call);
    }
    if (ak_str_has_prefix(payload, AK_STR("STREAMING-"))) {
        return ak_mock_fail(&call->fault, AK_MOCK_NotImplemented, "this server does not speak %.*s",
                            AK_STR_ARG(ak_str_sub(payload, 0, 80)));
    }
    call->has_payload = ak_unhex(payload, call->payload, sizeof call->payload);
    return call->has_payload ? AK_MOCK_OK
                             : ak_mock_fail(&call->fault, AK_MOCK_InvalidArgument,
                                            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, "
                                            "STREAMING-UNSIGNED-PAYLOAD-TRAILER, " SIGNED_CHUNKS
                                            ", " SIGNED_TRAILER " or a valid sha256 value.");
}

static enum ak_mock_code read_length(struct ak_mock_call *call)
{
    struct ak_str length = ak_mock_header_of(call, "content-length");
    bool is_chunked = ak_mock_header_of(call, "transfer-encoding").p != NULL;
    uint64_t bytes = 0;
    if (call->body != AK_MOCK_BODY_DATA) {
        return AK_MOCK_OK;
    }
    if (!length.p && !is_chunked) {
        return ak_mock_fail(&call->fault, AK_MOCK_MissingContentLength,
                            "You must provide the Content-Length HTTP header.");
    }
    if (is_chunked && !call->chunked) {
        return ak_mock_fail(&call->fault, AK_MOCK_NotImplemented,
                            "A header you provided implies functionality that is not implemented: "
                            "Transfer-Encoding without aws-chunked");
    }
    if (!call->chunked && ak_str_u64(length, UINT64_MAX - 1, &bytes)) {
        call->expected = bytes;
    }
    if (call->expected != UINT64_MAX && call->expected > AK_MOCK_OBJECT_MAX) {
        return ak_mock_fail(&call->fault, AK_MOCK_EntityTooLarge,
                            "Your proposed upload exceeds the maximum allowed size of 5 GiB");
    }
    return AK_MOCK_OK;
}

enum ak_mock_code ak_mock_body_begin(struct ak_mock_call *call)
{
    struct ak_err err;
    enum ak_mock_code code = AK_MOCK_OK;
    call->body = ak_mock_op_body(call->op);
    call->expected = UINT64_MAX;
    (void)((code = read_payload(call)) || (code = read_md5(call)) || (code = read_sum(call)) ||
           (code = read_length(call)));
    if (code) {
        return code;
    }
    call->object_sum = AK_MOCK_SUM_NONE;
    if (call->op == AK_MOCK_OP_CompleteMultipartUpload) { /* the object's, not the document's */
        call->object_sum = call->has_sum_value ? call->sum : AK_MOCK_SUM_NONE;
        call->object_sum_value = call->sum_value;
        call->sum = AK_MOCK_SUM_NONE;
        call->has_sum_value = false;
    }
    unsigned wanted = 0;
    wanted |= call->has_md5 || call->body == AK_MOCK_BODY_DATA ? 1u << AK_MOCK_MD5 : 0;
    wanted |= call->has_payload ? 1u << AK_MOCK_SHA256 : 0;
    if (call->sum == AK_MOCK_SUM_NONE && call->body == AK_MOCK_BODY_DATA) {
        call->sum = call->upload_sum; /* a part without one gets its upload's */
    }
    wanted |= call->sum != AK_MOCK_SUM_NONE ? 1u << call->sum : 0;
    if (ak_mock_sums_init(&call->sums, wanted, &err) != AK_OK) {
        return ak_mock_fail_rc(&call->fault, &err);
    }
    ak_mock_sink_init(&call->sink, call->server->store);
    ak_buf_init(&call->document, AK_MOCK_DOCUMENT_MAX);
    return AK_MOCK_OK;
}

enum ak_mock_code ak_mock_body_add(struct ak_mock_call *call, struct ak_str bytes)
{
    if (!call->chunked) {
        return take_data(call, bytes);
    }
    if (ak_mock_chunked_add(call->chunked, bytes)) {
        return AK_MOCK_OK;
    }
    return call->fault.code
               ? call->fault.code
               : ak_mock_fail(&call->fault, AK_MOCK_InvalidRequest,
                              "The aws-chunked body is malformed: %s", call->chunked->problem);
}

/* --- At the end --- */

static enum ak_mock_code check_chunked(struct ak_mock_call *call)
{
    bool wants_trailer = ak_str_has_suffix(call->auth.payload, AK_STR("-TRAILER"));
    if (call->chunked->state != AK_MOCK_CHUNKED_DONE || call->size != call->expected) {
        return ak_mock_fail(&call->fault, AK_MOCK_IncompleteBody,
                            "The request body terminated unexpectedly: %llu bytes, "
                            "x-amz-decoded-content-length says %llu",
                            (unsigned long long)call->size, (unsigned long long)call->expected);
    }
    if (wants_trailer && ak_mock_header_of(call, "x-amz-trailer").p && !call->has_sum_value) {
        return ak_mock_fail(&call->fault, AK_MOCK_InvalidRequest,
                            "the trailer that x-amz-trailer names did not come");
    }
    if (signs_chunks(call) && wants_trailer && !call->trailer_is_signed) {
        return bad_signature(call, "trailer");
    }
    return AK_MOCK_OK;
}

static enum ak_mock_code check_sum(struct ak_mock_call *call, const uint8_t *value, size_t len)
{
    (void)ak_mock_base64(value, len, call->sum_computed);
    if (call->has_sum_value && !ak_str_eq(call->sum_value, ak_str_of(call->sum_computed))) {
        return ak_mock_fail(&call->fault, AK_MOCK_BadDigest,
                            "The %s you specified did not match the calculated checksum: %s, not "
                            "%.*s",
                            ak_mock_sum_name(call->sum), call->sum_computed,
                            AK_STR_ARG(call->sum_value));
    }
    return AK_MOCK_OK;
}

enum ak_mock_code ak_mock_body_end(struct ak_mock_call *call)
{
    uint8_t sha256[AK_MOCK_SUM_BYTES_MAX];
    uint8_t value[AK_MOCK_SUM_BYTES_MAX];
    enum ak_mock_code code = call->chunked ? check_chunked(call) : AK_MOCK_OK;
    if (code) {
        return code;
    }
    bool has_sha256 = (call->sums.wanted >> AK_MOCK_SHA256 & 1) != 0;
    if (has_sha256) {
        (void)ak_mock_sums_finish(&call->sums, AK_MOCK_SHA256, sha256);
    }
    if (call->has_payload && memcmp(sha256, call->payload, sizeof call->payload) != 0) {
        return ak_mock_fail(&call->fault, AK_MOCK_XAmzContentSHA256Mismatch,
                            "The provided 'x-amz-content-sha256' header does not match what was "
                            "computed.");
    }
    if (call->sums.wanted >> AK_MOCK_MD5 & 1) {
        (void)ak_mock_sums_finish(&call->sums, AK_MOCK_MD5, value);
        memcpy(call->computed_md5, value, sizeof call->computed_md5);
    }
    if (call->has_md5 && memcmp(call->computed_md5, call->md5, sizeof call->md5) != 0) {
        return ak_mock_fail(&call->fault, AK_MOCK_BadDigest,
                            "The Content-MD5 you specified did not match what we received.");
    }
    if (call->sum == AK_MOCK_SHA256) {
        return check_sum(call, sha256, 32);
    }
    if (call->sum != AK_MOCK_SUM_NONE) {
        size_t len = ak_mock_sums_finish(&call->sums, call->sum, value);
        return check_sum(call, value, len);
    }
    return AK_MOCK_OK;
}

void ak_mock_body_release(struct ak_mock_call *call)
{
    ak_mock_sums_release(&call->sums);
    ak_mock_sums_release(&call->chunk_sums);
    ak_mock_sink_drop(&call->sink);
    ak_buf_release(&call->document);
    ak_buf_release(&call->trailer_text);
}

void ak_mock_body_etag(const struct ak_mock_call *call, char etag[33])
{
    ak_hex(call->computed_md5, sizeof call->computed_md5, etag);
}
