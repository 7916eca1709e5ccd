/* http_response.c — responses: the head's bytes, the error document, and the way to the loop.
 *
 *   HTTP/1.1 200 OK            written by whoever answers, on its own thread
 *   Content-Type: …
 *   Content-Length: …
 *   extra headers
 *   Date: …                    added on the loop when its turn comes (room is kept for it)
 *   Connection: close          only when it is the last, or keep-alive for HTTP/1.0
 *
 * I3  between a successful claim and the post (or `ready` on the loop's own thread) the response's
 *     fields and the arena belong to the one who claimed; the post's release/acquire hands them
 * over.
 */
#include "base/json.h"
#include "base/mem.h"
#include "net/net_priv.h"
#include <string.h>

/* Date and Connection lines, the blank line, and slack. */
#define TAIL_ROOM 96
/* "HTTP/1.1 ", status, reason, Content-Type and Content-Length with their values' framing. */
#define FIXED_ROOM 128

struct reason {
    int status;
    const char *text;
};

static const char *reason_of(int status)
{
    static const struct reason reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (reasons[i].status == status) {
            return reasons[i].text;
        }
    }
    return "Status";
}

/* --- The head --- */

static void put(struct ak_http_request *request, const char *p, size_t len)
{
    if (len) {
        memcpy(request->out + request->out_len, p, len);
        request->out_len += len;
    }
}

#define PUT(request, literal) put(request, "" literal, sizeof(literal) - 1)

static void put_number(struct ak_http_request *request, size_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    put(request, digits + at, sizeof digits - at);
}

/* false: no memory for extra headers of that length. */
static bool reserve_head(struct ak_http_request *request, size_t variable)
{
    size_t need = FIXED_ROOM + variable + TAIL_ROOM;
    request->out_len = 0;
    request->out = request->out_inline;
    if (need > sizeof request->out_inline) {
        request->out = ak_arena_alloc(&request->arena, need);
    }
    return request->out != NULL;
}

bool ak_response_set_head(struct ak_http_request *request, int status, const char *content_type,
                          const char *extra_headers)
{
    struct ak_str type = ak_str_of(content_type);
    struct ak_str extra = ak_str_of(extra_headers);
    AK_ASSERT(status >= 200 && status <= 599);
    if (!reserve_head(request, type.len + extra.len)) {
        return false;
    }
    request->status = status;
    request->no_content = status == 204 || status == 304;
    const char *reason = reason_of(status);
    PUT(request, "HTTP/1.1 ");
    put_number(request, (size_t)status);
    PUT(request, " ");
    put(request, reason, strlen(reason));
    PUT(request, "\r\n");
    if (type.len) {
        PUT(request, "Content-Type: ");
        put(request, type.p, type.len);
        PUT(request, "\r\n");
    }
    if (request->flow && !request->is_http_1_0) {
        PUT(request, "Transfer-Encoding: chunked\r\n");
    } else if (!request->flow && !request->no_content) {
        PUT(request, "Content-Length: ");
        put_number(request, request->content.len);
        PUT(request, "\r\n");
    }
    put(request, extra.p, extra.len);
    return true;
}

void ak_response_finish_head(struct ak_http_request *request, bool close)
{
    size_t date_len = 0;
    const char *date = ak_net_loop_date(request->nl, &date_len);
    put(request, date, date_len);
    if (close) {
        PUT(request, "Connection: close\r\n");
    } else if (request->is_http_1_0) {
        PUT(request, "Connection: keep-alive\r\n");
    }
    PUT(request, "\r\n");
    bool has_body = request->method != AK_HTTP_HEAD && !request->no_content;
    size_t len = has_body ? request->content.len : 0;
    if (request->cuts && request->cut_at < len) {
        len = request->cut_at;
    }
    request->out_total = request->out_len + len;
}

/* --- Errors --- */

void ak_response_set_error(struct ak_http_request *request, int status, enum ak_rc rc,
                           const char *message)
{
    struct ak_buf *body = &request->answer;
    ak_response_release_view(request);
    ak_buf_release(body);
    ak_buf_init(body, 0);
    ak_buf_add_str(body, AK_STR("{\"error\":{\"code\":"));
    ak_json_put_string(body, ak_str_of(ak_rc_name(rc)));
    ak_buf_add_str(body, AK_STR(",\"message\":"));
    struct ak_str text = ak_str_of(message ? message : ak_rc_text(rc));
    ak_json_put_string(body, ak_utf8_is_valid(text) ? text : ak_str_of(ak_rc_text(rc)));
    ak_buf_add_str(body, AK_STR("}}"));
    if (body->failed) { /* no memory even for this: the status must do */
        ak_buf_clear(body);
    }
    request->content = ak_buf_str(body);
    const char *extra = status == 503 && ak_rc_is_retryable(rc) ? "Retry-After: 1\r\n" : NULL;
    bool fits = ak_response_set_head(request, status, AK_HTTP_JSON, extra);
    AK_ASSERT(fits); /* the longest of these is shorter than out_inline */
}

/* --- The way to the loop --- */

static void on_respond_post(struct ak_loop_post *post)
{
    struct ak_http_request *request =
        (struct ak_http_request *)(void *)((char *)post -
                                           offsetof(struct ak_http_request, respond_post));
    request->ready = true;
    if (request->conn) {
        ak_conn_run_soon(request->conn);
    } else if (!request->flow || ak_flow_abandon(request)) {
        /* the client went away while the application worked */
        ak_request_done(request, 0, 0);
        ak_request_release(request);
    }
}

/* On its own loop a response is taken up by the run of the connection that is going on, or at the
 * end of the round; from elsewhere it is posted, and a burst of posts wakes the loop once. */
void ak_response_hand_over(struct ak_http_request *request)
{
    if (ak_loop_is_current(request->nl->loop) && request->conn) {
        request->ready = true;
        if (!request->conn->running) {
            ak_conn_run_soon(request->conn);
        }
        return;
    }
    request->respond_post.fn = on_respond_post;
    ak_loop_post(request->nl->loop, &request->respond_post);
}

void ak_http_respond(struct ak_http_request *request, int status, const char *content_type,
                     struct ak_buf *body, const char *extra_headers)
{
    if (!ak_request_claim(request)) { /* the server answered first, or this is a second response */
        if (body) {
            ak_buf_release(body);
        }
        return;
    }
    bool is_whole = true;
    if (body) {
        is_whole = !body->failed;
        request->answer = *body;
        *body = (struct ak_buf){.max = request->answer.max};
        request->content = ak_buf_str(&request->answer);
    }
    if (!ak_request_charge(request)) {
        ak_response_set_error(request, 503, AK_NOMEM,
                              "no memory for the answer beside the other requests: ask for less, "
                              "or again later (server.memory_max)");
    } else if (!is_whole) {
        ak_response_set_error(request, 503, AK_NOMEM,
                              "the answer is too large or there is no memory for it: ask for less");
    } else if (!ak_response_set_head(request, status, content_type, extra_headers)) {
        ak_response_set_error(request, 503, AK_NOMEM, NULL);
    }
    ak_response_hand_over(request);
}

void ak_response_release_view(struct ak_http_request *request)
{
    if (request->release) {
        request->release(request->release_ctx);
        request->release = NULL;
    }
    request->cuts = false;
    request->bytes_per_s = 0;
}

void ak_http_respond_view(struct ak_http_request *request, int status, const char *content_type,
                          const struct ak_http_view *view, const char *extra_headers)
{
    if (!ak_request_claim(request)) {
        if (view->release) {
            view->release(view->ctx);
        }
        return;
    }
    request->content = view->body;
    request->release = view->release;
    request->release_ctx = view->ctx;
    request->bytes_per_s = view->bytes_per_s;
    request->cuts = view->cuts;
    request->cut_at = view->cut_at;
    if (!ak_response_set_head(request, status, content_type, extra_headers)) {
        ak_response_set_error(request, 503, AK_NOMEM, NULL);
    }
    ak_response_hand_over(request);
}

void ak_http_abort(struct ak_http_request *request)
{
    if (ak_request_claim(request)) {
        request->cuts = true;
        request->is_abort = true;
        ak_response_hand_over(request);
    }
}

void ak_http_respond_error(struct ak_http_request *request, enum ak_rc rc, const char *message)
{
    if (ak_request_claim(request)) {
        ak_response_set_error(request, ak_rc_http_status(rc), rc, message);
        ak_response_hand_over(request);
    }
}
