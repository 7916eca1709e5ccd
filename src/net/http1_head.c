/* http1_head.c — request heads: llhttp's callbacks, our own rules, the request line's forms.
 *
 * The head is parsed where it lies. llhttp gives spans; they are kept as offsets from the head's
 * first byte, so that a partial head can move to a new read buffer.
 *
 * Refused here, beyond what llhttp (strict) refuses: a bare LF (RFC 9112 2.2), other versions
 * than 1.0 and 1.1, no Host or two (RFC 9112 3.2), Transfer-Encoding other than exactly "chunked",
 * or with Content-Length, or in 1.0 (6.1), folded header lines (5.2), CONNECT, a target with a
 * fragment or without a leading '/'. Upgrade is ignored (RFC 9110 7.8).
 */
#include "net/http1_priv.h"
#include <stdio.h>
#include <string.h>

static struct ak_conn *conn_of(const llhttp_t *parser)
{
    return parser->data;
}

static int refuse(struct ak_h1 *h1, int status, enum ak_rc rc, const char *text)
{
    h1->fail_status = status;
    h1->fail_rc = rc;
    h1->fail_text = text;
    return HPE_USER;
}

/* Offset of `at` from the head's first byte; the head is held below 64 KiB before it is stored. */
static size_t offset_of(const struct ak_conn *conn, const char *at)
{
    return (size_t)(at - conn->in->data) - ak_h1_of(conn)->head_at;
}

/* The header section, counted from the end of the target, ends at `end` so far. */
static int check_head_size(const struct ak_conn *conn, const char *end)
{
    struct ak_h1 *h1 = ak_h1_of(conn);
    const struct ak_http_request *request = h1->current;
    if (offset_of(conn, end) >
        (size_t)request->target_at + request->target_len + AK_HEADER_BYTES_MAX) {
        return refuse(h1, 431, AK_HEADERS,
                      "the header section is larger than 32 KiB: send fewer or shorter headers");
    }
    return 0;
}

/* --- llhttp's callbacks --- */

static int on_url(llhttp_t *parser, const char *at, size_t len)
{
    struct ak_conn *conn = conn_of(parser);
    struct ak_h1 *h1 = ak_h1_of(conn);
    struct ak_http_request *request = h1->current;
    if (request->target_len + len > AK_TARGET_MAX) {
        return refuse(h1, 414, AK_TOO_BIG,
                      "the request target is longer than 8 KiB: put the parameters in the body");
    }
    if (request->target_len == 0) {
        request->target_at = (uint16_t)offset_of(conn, at);
    }
    request->target_len = (uint16_t)(request->target_len + len);
    return 0;
}

static int on_field(llhttp_t *parser, const char *at, size_t len)
{
    struct ak_conn *conn = conn_of(parser);
    struct ak_h1 *h1 = ak_h1_of(conn);
    struct ak_http_request *request = h1->current;
    if (h1->state != AK_H1_HEAD) {
        return ak_h1_on_extra(parser, len);
    }
    if (check_head_size(conn, at + len) != 0) {
        return HPE_USER;
    }
    if (h1->field != AK_H1_FIELD_NAME) {
        if (request->field_count == AK_HEADER_COUNT_MAX) {
            return refuse(h1, 431, AK_HEADERS, "more than 100 headers: send fewer");
        }
        request->fields[request->field_count++] =
            (struct ak_net_field){.name_at = (uint16_t)offset_of(conn, at)};
        h1->field = AK_H1_FIELD_NAME;
    }
    struct ak_net_field *field = &request->fields[request->field_count - 1];
    field->name_len = (uint16_t)(field->name_len + len);
    return 0;
}

static int on_value(llhttp_t *parser, const char *at, size_t len)
{
    struct ak_conn *conn = conn_of(parser);
    struct ak_h1 *h1 = ak_h1_of(conn);
    struct ak_http_request *request = h1->current;
    if (h1->state != AK_H1_HEAD) {
        return ak_h1_on_extra(parser, len);
    }
    if (check_head_size(conn, at + len) != 0) {
        return HPE_USER;
    }
    if (len == 0) { /* an empty value, or the buffer ended before it: its place says nothing */
        return 0;
    }
    AK_ASSERT(request->field_count > 0);
    struct ak_net_field *field = &request->fields[request->field_count - 1];
    size_t from = offset_of(conn, at);
    if (h1->field == AK_H1_FIELD_NAME) {
        const char *colon = at;
        while (colon[-1] != ':') { /* a line end before the value: it was folded */
            colon--;
            if (*colon == '\n') {
                return refuse(h1, 400, AK_INVALID, "folded header lines are not accepted");
            }
        }
        field->value_at = (uint16_t)from;
        h1->field = AK_H1_FIELD_VALUE;
    } else if (from != (size_t)field->value_at + field->value_len) {
        return refuse(h1, 400, AK_INVALID, "folded header lines are not accepted");
    }
    field->value_len = (uint16_t)(field->value_len + len);
    return 0;
}

static int on_value_complete(llhttp_t *parser)
{
    struct ak_conn *conn = conn_of(parser);
    struct ak_h1 *h1 = ak_h1_of(conn);
    struct ak_http_request *request = h1->current;
    if (h1->state != AK_H1_HEAD) {
        return 0;
    }
    struct ak_net_field *field = &request->fields[request->field_count - 1];
    if (h1->field == AK_H1_FIELD_NAME) {
        field->value_at = (uint16_t)(field->name_at + field->name_len);
    }
    const char *head = conn->in->data + h1->head_at;
    while (field->value_len && (head[field->value_at + field->value_len - 1] == ' ' ||
                                head[field->value_at + field->value_len - 1] == '\t')) {
        field->value_len--;
    }
    h1->field = AK_H1_FIELD_NONE;
    return 0;
}

static int on_extension(llhttp_t *parser, const char *at, size_t len)
{
    (void)at;
    return ak_h1_on_extra(parser, len);
}

static int on_headers_complete(llhttp_t *parser)
{
    struct ak_h1 *h1 = ak_h1_of(conn_of(parser));
    parser->upgrade = 0;
    h1->current->keep_alive = llhttp_should_keep_alive(parser);
    h1->done = true;
    return HPE_PAUSED;
}

static int on_message_complete(llhttp_t *parser)
{
    ak_h1_of(conn_of(parser))->done = true;
    return HPE_PAUSED;
}

const llhttp_settings_t ak_h1_settings = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_chunk_extension_name = on_extension,
    .on_chunk_extension_value = on_extension,
    .on_headers_complete = on_headers_complete,
    .on_body = ak_h1_on_body,
    .on_message_complete = on_message_complete,
};

/* --- The complete head --- */

static enum ak_http_method method_of(const llhttp_t *parser)
{
    switch (llhttp_get_method((llhttp_t *)(uintptr_t)parser)) {
    case HTTP_GET:
        return AK_HTTP_GET;
    case HTTP_HEAD:
        return AK_HTTP_HEAD;
    case HTTP_POST:
        return AK_HTTP_POST;
    case HTTP_PUT:
        return AK_HTTP_PUT;
    case HTTP_DELETE:
        return AK_HTTP_DELETE;
    case HTTP_PATCH:
        return AK_HTTP_PATCH;
    case HTTP_OPTIONS:
        return AK_HTTP_OPTIONS;
    default:
        return AK_HTTP_OTHER;
    }
}

static bool is_host(struct ak_str value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.p[i];
        if (c <= ' ' || c == 0x7f || strchr("\"#,/<>?@\\^`{|}", c)) {
            return false;
        }
    }
    return true;
}

/* llhttp, strict as it is, takes a bare LF at the end of the request line. */
static bool lines_end_in_crlf(const char *head, size_t len)
{
    const char *end = head + len;
    for (const char *at = head; at < end; at++) {
        at = memchr(at, '\n', (size_t)(end - at));
        if (!at) {
            return true;
        }
        if (at == head || at[-1] != '\r') {
            return false;
        }
    }
    return true;
}

struct found { /* the headers that decide how the message is read */
    unsigned hosts;
    unsigned encodings;
    unsigned lengths;
    struct ak_str host;
    struct ak_str encoding;
};

static void look_at(struct ak_http_request *request, const struct ak_net_field *field,
                    struct found *found)
{
    struct ak_str name = {request->head + field->name_at, field->name_len};
    struct ak_str value = {request->head + field->value_at, field->value_len};
    switch (name.len) {
    case 4:
        if (ak_str_eq_nocase(name, AK_STR("host"))) {
            found->hosts++;
            found->host = value;
        }
        break;
    case 6:
        if (ak_str_eq_nocase(name, AK_STR("expect"))) {
            request->expects_continue = ak_str_eq_nocase(value, AK_STR("100-continue"));
        }
        break;
    case 14:
        found->lengths += ak_str_eq_nocase(name, AK_STR("content-length"));
        break;
    case 17:
        if (ak_str_eq_nocase(name, AK_STR("transfer-encoding"))) {
            found->encodings++;
            found->encoding = value;
        }
        break;
    default:
        break;
    }
}

/* Our own rules; 0, or the status of the refusal with its text in h1. */
static int check_head(struct ak_h1 *h1, struct ak_http_request *request, size_t head_len)
{
    const llhttp_t *parser = &h1->parser;
    struct found found = {0};
    for (size_t i = 0; i < request->field_count; i++) {
        look_at(request, &request->fields[i], &found);
    }
    request->method = method_of(parser);
    if (!lines_end_in_crlf(request->head, head_len)) {
        return refuse(h1, 400, AK_INVALID, "lines must end in CR LF");
    }
    if (parser->http_major != 1 || parser->http_minor > 1) {
        return refuse(h1, 505, AK_UNSUPPORTED, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    }
    request->is_http_1_0 = parser->http_minor == 0;
    if (found.hosts > 1 || (found.hosts == 0 && !request->is_http_1_0) || !is_host(found.host)) {
        return refuse(h1, 400, AK_INVALID, "exactly one valid Host header is required");
    }
    if (found.encodings) {
        if (found.encodings > 1 || found.lengths || request->is_http_1_0) {
            return refuse(h1, 400, AK_INVALID,
                          "Transfer-Encoding must come once, alone, and in HTTP/1.1");
        }
        if (!ak_str_eq_nocase(found.encoding, AK_STR("chunked"))) {
            return refuse(h1, 501, AK_UNSUPPORTED, "the only Transfer-Encoding here is chunked");
        }
        request->body_kind = AK_NET_BODY_CHUNKED;
    } else if (found.lengths > 1) {
        return refuse(h1, 400, AK_INVALID, "Content-Length may come once");
    } else if (parser->content_length > 0) {
        request->body_kind = AK_NET_BODY_LENGTH;
        request->content_length = parser->content_length;
    }
    if (parser->method == HTTP_CONNECT) {
        return refuse(h1, 405, AK_METHOD, "CONNECT is not served here");
    }
    if (!ak_request_split_target(request)) {
        return refuse(h1, 400, AK_INVALID, "the request target must be a path or an absolute URL");
    }
    return 0;
}

static enum ak_input head_complete(struct ak_conn *conn)
{
    struct ak_h1 *h1 = ak_h1_of(conn);
    struct ak_http_request *request = h1->current;
    const struct ak_http_server *server = conn->nl->server;
    request->head = conn->in->data + h1->head_at;
    request->chunk = conn->in;
    request->chunk->refs++;
    request->target = (struct ak_str){request->head + request->target_at, request->target_len};
    conn->keep = conn->at;
    ak_conn_append(conn, request);
    if (check_head(h1, request, conn->at - h1->head_at) != 0) {
        return ak_h1_reject(conn, request, h1->fail_status, h1->fail_rc, h1->fail_text);
    }
    request->started_ns = ak_mono_ns(server->clock);
    request->announced = true;
    if (server->options.app.on_head) {
        server->options.app.on_head(server->options.app.ctx, request);
    }
    return ak_h1_begin_body(conn, request);
}

static enum ak_input head_failed(struct ak_conn *conn, llhttp_errno_t code)
{
    struct ak_h1 *h1 = ak_h1_of(conn);
    struct ak_http_request *request = h1->current;
    ak_conn_append(conn, request);
    if (h1->fail_status) {
        return ak_h1_reject(conn, request, h1->fail_status, h1->fail_rc, h1->fail_text);
    }
    if (code == HPE_PAUSED_H2_UPGRADE || code == HPE_INVALID_VERSION) {
        return ak_h1_reject(conn, request, 505, AK_UNSUPPORTED,
                            "only HTTP/1.1 and HTTP/1.0 are spoken here");
    }
    const char *reason = llhttp_get_error_reason(&h1->parser);
    char text[160];
    (void)snprintf(text, sizeof text, "the request is not valid HTTP/1.1: %s",
                   reason ? reason : llhttp_errno_name(code));
    return ak_h1_reject(conn, request, 400, AK_INVALID, text);
}

enum ak_input ak_h1_parse_head(struct ak_conn *conn)
{
    struct ak_h1 *h1 = ak_h1_of(conn);
    char *base = conn->in->data;
    llhttp_errno_t code = llhttp_execute(&h1->parser, base + conn->at, conn->fill - conn->at);
    if (code == HPE_PAUSED && h1->done) {
        conn->at = (uint32_t)(llhttp_get_error_pos(&h1->parser) - base);
        return head_complete(conn);
    }
    if (code == HPE_OK) {
        conn->at = conn->fill;
        if (check_head_size(conn, base + conn->at) == 0) {
            return AK_INPUT_MORE;
        }
    }
    return head_failed(conn, code);
}
