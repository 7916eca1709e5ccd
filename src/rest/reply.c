/* reply.c — answers: JSON pieces, headers, errors. */
#include "rest/rest_priv.h"
#include <stdio.h>
#include <string.h>

#define REQUEST_ID_MAX 128
#define PIECE_MAX ((size_t)1 << 20)

/* --- Sending --- */

/* A request id worth repeating: visible ASCII, so that it cannot start a header of its own. */
static struct ak_str request_id(const struct ak_http_request *request)
{
    struct ak_str id = ak_http_header(request, AK_STR("x-request-id"));
    if (!id.p || id.len == 0 || id.len > REQUEST_ID_MAX) {
        return AK_STR_NONE;
    }
    for (size_t i = 0; i < id.len; i++) {
        if (id.p[i] < 0x21 || id.p[i] > 0x7E) {
            return AK_STR_NONE;
        }
    }
    return id;
}

void ak_call_drop_collection(struct ak_call *call)
{
    ak_collection_unref(call->collection);
    call->collection = NULL;
}

const char *ak_reply_headers(const struct ak_http_request *request, const char *more,
                             char headers[AK_REST_HEADERS_MAX])
{
    struct ak_str id = request_id(request);
    if (id.len == 0) {
        return more;
    }
    (void)snprintf(headers, AK_REST_HEADERS_MAX, "X-Request-Id: %.*s\r\n%s", AK_STR_ARG(id),
                   more ? more : "");
    return headers;
}

void ak_reply_typed(struct ak_call *call, int status, const char *type, struct ak_buf *body,
                    const char *more_headers)
{
    char headers[AK_REST_HEADERS_MAX];
    ak_call_drop_collection(call);
    ak_http_respond(call->request, status, type, body,
                    ak_reply_headers(call->request, more_headers, headers));
}

void ak_reply(struct ak_call *call, int status, struct ak_buf *body)
{
    if (body->failed) {
        /* Pieces are far smaller than PIECE_MAX: further from the ceiling it was the memory. */
        bool is_full = body->max && body->len > body->max - PIECE_MAX;
        ak_buf_release(body);
        ak_reply_error(call, is_full ? AK_TOO_BIG : AK_NOMEM,
                       is_full ? "the answer would be larger than 256 MiB: ask for fewer results, "
                                 "or leave vector or metadata out of include"
                               : "no memory for the answer");
        return;
    }
    ak_reply_typed(call, status, AK_HTTP_JSON, body, NULL);
}

void ak_reply_empty(struct ak_call *call)
{
    ak_reply_typed(call, 204, NULL, NULL, NULL);
}

/* `after_ms`: when another try may help; 0: soon. */
static void reply_error(struct ak_call *call, int status, enum ak_rc rc, const char *message,
                        uint32_t after_ms, const char *headers)
{
    char retry_after[40];
    struct ak_buf body;
    if (status == 500) {
        ak_log_error(call->rest->log, "rest", "%s: %s",
                     call->route ? call->route->pattern : "request", message);
    }
    ak_buf_init(&body, 0);
    ak_buf_add_str(&body, AK_STR("{\"error\":{\"code\":"));
    ak_json_put_string(&body, ak_str_of(ak_rc_name(rc)));
    ak_buf_add_str(&body, AK_STR(",\"message\":"));
    ak_json_put_string(&body, ak_str_of(message));
    ak_buf_add_str(&body, AK_STR("}}"));
    if (status == 503 || status == 429) {
        (void)snprintf(retry_after, sizeof retry_after, "Retry-After: %u\r\n",
                       after_ms > 1000 ? (after_ms - 1) / 1000 + 1 : 1);
        headers = retry_after;
    }
    ak_reply_typed(call, status, AK_HTTP_JSON, &body, headers);
}

void ak_reply_error(struct ak_call *call, enum ak_rc rc, const char *message)
{
    ak_reply_error_as(call, ak_rc_http_status(rc), rc, message);
}

void ak_reply_error_as(struct ak_call *call, int status, enum ak_rc rc, const char *message)
{
    reply_error(call, status, rc, message && message[0] ? message : ak_rc_text(rc), 0, NULL);
}

void ak_reply_failure(struct ak_call *call, enum ak_rc rc, const struct ak_err *err)
{
    reply_error(call, ak_rc_http_status(rc), rc, err->text[0] ? err->text : ak_rc_text(rc),
                err->retry_after_ms, NULL);
}

void ak_reply_method(struct ak_call *call, unsigned allowed)
{
    char headers[96] = "Allow: ";
    char message[160];
    const char *comma = "";
    size_t start = strlen(headers);
    size_t len = start;
    for (unsigned m = 0; m < AK_HTTP_OTHER; m++) {
        if (allowed & 1u << m) {
            len += (size_t)snprintf(headers + len, sizeof headers - len, "%s%s", comma,
                                    ak_http_method_name((enum ak_http_method)m));
            comma = ", ";
        }
    }
    (void)snprintf(message, sizeof message, "this path has %s", headers + start);
    (void)snprintf(headers + len, sizeof headers - len, "\r\n");
    reply_error(call, ak_rc_http_status(AK_METHOD), AK_METHOD, message, 0, headers);
}

/* --- Pieces --- */

void ak_put_uuid(struct ak_buf *out, const struct ak_uuid *id)
{
    char text[AK_UUID_TEXT_LEN + 2];
    text[0] = text[AK_UUID_TEXT_LEN + 1] = '"';
    ak_uuid_format(id, text + 1);
    ak_buf_add(out, text, sizeof text);
}

void ak_put_time(struct ak_buf *out, int64_t wall_us)
{
    char text[AK_TIME_TEXT_MAX];
    ak_buf_add_char(out, '"');
    ak_buf_add_str(out, ak_str_of(ak_time_format(wall_us, text)));
    ak_buf_add_char(out, '"');
}

void ak_put_ms(struct ak_buf *out, double seconds)
{
    uint64_t us = (uint64_t)(seconds * 1e6 + 0.5);
    uint64_t part = us % 1000;
    const char digits[4] = {'.', (char)('0' + part / 100), (char)('0' + part / 10 % 10),
                            (char)('0' + part % 10)};
    ak_json_put_u64(out, us / 1000);
    ak_buf_add(out, digits, sizeof digits);
}

static void put_member(struct ak_buf *out, const char *name, struct ak_str value)
{
    ak_buf_add_str(out, AK_STR(",\""));
    ak_buf_add_str(out, ak_str_of(name));
    ak_buf_add_str(out, AK_STR("\":"));
    ak_json_put_string(out, value);
}

static void put_count(struct ak_buf *out, const char *name, uint64_t value)
{
    ak_buf_add_str(out, AK_STR("\""));
    ak_buf_add_str(out, ak_str_of(name));
    ak_buf_add_str(out, AK_STR("\":"));
    ak_json_put_u64(out, value);
}

static void put_memory(struct ak_buf *out, const struct ak_collection_summary *summary)
{
    const struct ak_index_memory *memory = &summary->memory;
    uint64_t index = memory->vectors + memory->codes + memory->links + memory->rest;
    const struct {
        const char *name;
        uint64_t bytes;
    } members[] = {{"vectors", memory->vectors},
                   {"codes", memory->codes},
                   {"links", memory->links},
                   {"rest", memory->rest},
                   {"documents", summary->documents_bytes},
                   {"mapped", memory->files},
                   {"per_vector", summary->documents ? index / summary->documents : 0}};
    ak_buf_add_str(out, AK_STR(",\"memory\":{"));
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        ak_buf_add_str(out, i ? AK_STR(",") : AK_STR(""));
        put_count(out, members[i].name, members[i].bytes);
    }
    ak_buf_add_char(out, '}');
}

void ak_put_collection(struct ak_buf *out, const struct ak_collection_summary *summary)
{
    const struct ak_collection_info *info = &summary->info;
    ak_buf_add_str(out, AK_STR("{\"id\":"));
    ak_put_uuid(out, &info->id);
    put_member(out, "name", info->name);
    ak_buf_add_char(out, ',');
    put_count(out, "dimension", info->dimension);
    put_member(out, "metric", ak_str_of(ak_metric_name(info->metric)));
    put_member(out, "embedding_model", info->embedding_model);
    ak_buf_add_str(out, AK_STR(",\"index\":{"));
    put_count(out, "m", info->index.m);
    ak_buf_add_char(out, ',');
    put_count(out, "ef_construction", info->index.ef_construction);
    ak_buf_add_char(out, ',');
    put_count(out, "ef_search", info->index.ef_search);
    put_member(out, "quantization", ak_str_of(ak_quantization_name(info->index.quantization)));
    put_member(out, "vectors", ak_str_of(ak_vectors_name(info->index.vectors)));
    ak_buf_add_char(out, '}');
    put_member(out, "state", ak_str_of(ak_collection_state_name(info->state)));
    put_member(out, "tier", ak_str_of(ak_tier_name(summary->tier)));
    ak_buf_add_char(out, ',');
    put_count(out, "documents", summary->documents);
    ak_buf_add_str(out, AK_STR(",\"created_at\":"));
    ak_put_time(out, info->created_us);
    if (summary->has_memory) {
        put_memory(out, summary);
    }
    ak_buf_add_char(out, '}');
}

void ak_put_hit(struct ak_buf *out, const struct ak_found *found, uint32_t dimension)
{
    ak_buf_add_str(out, AK_STR("{\"id\":"));
    ak_put_uuid(out, &found->id);
    ak_buf_add_str(out, AK_STR(",\"score\":"));
    ak_json_put_f32(out, found->score);
    if (found->external_id.len) {
        put_member(out, "external_id", found->external_id);
    }
    if (found->metadata.len) {
        ak_buf_add_str(out, AK_STR(",\"metadata\":"));
        ak_buf_add_str(out, found->metadata);
    }
    if (found->vector) {
        ak_buf_add_str(out, AK_STR(",\"vector\":"));
        ak_json_put_f32_array(out, found->vector, dimension);
    }
    ak_buf_add_char(out, '}');
}

void ak_put_document(struct ak_buf *out, const struct ak_found *found, unsigned include,
                     uint32_t dimension)
{
    ak_buf_add_str(out, AK_STR("{\"id\":"));
    ak_put_uuid(out, &found->id);
    if (include & AK_INCLUDE_EXTERNAL_ID) {
        if (found->external_id.len) {
            put_member(out, "external_id", found->external_id);
        } else {
            ak_buf_add_str(out, AK_STR(",\"external_id\":null"));
        }
    }
    if (include & AK_INCLUDE_VECTOR) {
        ak_buf_add_str(out, AK_STR(",\"vector\":"));
        ak_json_put_f32_array(out, found->vector, dimension);
    }
    if (include & AK_INCLUDE_METADATA) {
        ak_buf_add_str(out, AK_STR(",\"metadata\":"));
        ak_buf_add_str(out, found->metadata.len ? found->metadata : AK_STR("null"));
    }
    ak_buf_add_str(out, AK_STR(",\"inserted_at\":"));
    ak_put_time(out, found->inserted_us);
    ak_buf_add_char(out, '}');
}
