/* http1_body.c — request bodies: in place behind the head, in a buffer, as a stream, or dropped.
 *
 *   Content-Length, fits in the read buffer   stays there: body is a view, nothing is copied
 *   Content-Length, larger                    a buffer of its own, which is read into directly
 *   chunked                                   llhttp takes it apart; pieces go to the buffer
 *   stream                                    pieces go to on_chunk as they come
 *   answered already                          pieces are dropped
 *
 * A buffer grows with what has come, never by what a header claims.
 */
#include "net/http1_priv.h"
#include <stdio.h>
#include <string.h>

#define BODY_FIRST (64u << 10) /* first size of a body's buffer */
#define EXTRAS_MAX (32u << 10) /* chunk extensions and trailers of one body */
#define PROGRESS_BYTES 1024u   /* fewer than this in body_timeout_ms is too slow */

static int64_t now_ms(const struct ak_conn *conn)
{
    return ak_loop_now_ms(conn->nl->loop);
}

static enum ak_input too_big(struct ak_conn *conn, struct ak_http_request *request)
{
    char text[128];
    (void)snprintf(text, sizeof text, "the body is larger than %zu bytes, the limit here",
                   request->body_max);
    return ak_h1_reject(conn, request, 413, AK_TOO_BIG, text);
}

static bool is_claimed(const struct ak_http_request *request)
{
    return atomic_load_explicit(&request->claimed, memory_order_acquire);
}

/* The body is read. Hand the request over, or end its stream. */
static enum ak_input body_complete(struct ak_conn *conn, struct ak_http_request *request)
{
    struct ak_h1 *h1 = ak_h1_of(conn);
    const struct ak_http_app *app = &conn->nl->server->options.app;
    h1->state = AK_H1_IDLE;
    h1->current = NULL;
    request->complete = true;
    conn->keep = conn->at;
    conn->idle_since_ms = now_ms(conn);
    conn->held_bytes += request->body_buf.cap;
    if (is_claimed(request)) {
        ak_h1_release_if_over(conn, request);
        return AK_INPUT_NEXT;
    }
    request->handed = true;
    if (request->is_stream) {
        request->stream.on_end(request->stream.ctx, request, AK_OK);
    } else {
        app->on_request(app->ctx, request);
    }
    return AK_INPUT_NEXT;
}

enum ak_input ak_h1_begin_body(struct ak_conn *conn, struct ak_http_request *request)
{
    struct ak_h1 *h1 = ak_h1_of(conn);
    bool is_kept = !request->is_stream && !is_claimed(request);
    if (request->body_kind == AK_NET_BODY_NONE) {
        return body_complete(conn, request);
    }
    h1->since_ms = now_ms(conn);
    h1->mark = 0;
    h1->extras = 0;
    h1->in_place = false;
    h1->was_paused = false;
    h1->done = false;
    if (request->body_kind == AK_NET_BODY_LENGTH && request->content_length > request->body_max &&
        !is_claimed(request)) {
        return too_big(conn, request);
    }
    request->wants_interim =
        request->expects_continue && !request->is_http_1_0 && conn->at == conn->fill;
    if (request->body_kind == AK_NET_BODY_CHUNKED) {
        llhttp_resume(&h1->parser);
        h1->state = AK_H1_CHUNKED;
        ak_buf_init(&request->body_buf, request->body_max);
        return AK_INPUT_NEXT;
    }
    h1->in_place = is_kept && request->content_length <= conn->in->cap - conn->at;
    h1->state = AK_H1_LENGTH;
    ak_buf_init(&request->body_buf, is_kept ? (size_t)request->content_length : 1);
    return AK_INPUT_NEXT;
}

/* One piece of a body that is not in place. Returns 0, or HPE_USER / HPE_PAUSED for llhttp. */
static int take_piece(struct ak_conn *conn, struct ak_http_request *request, const char *p,
                      size_t len)
{
    struct ak_h1 *h1 = ak_h1_of(conn);
    request->body_read += len;
    if (len == 0 || is_claimed(request)) { /* llhttp gives empty pieces where its input ends */
        return 0;
    }
    if (request->body_read > request->body_max) {
        h1->fail_status = 413;
        return HPE_USER;
    }
    if (request->is_stream) {
        request->stream.on_chunk(request->stream.ctx, request, (struct ak_str){p, len});
        return atomic_load(&request->paused) && !is_claimed(request) ? HPE_PAUSED : 0;
    }
    ak_buf_add(&request->body_buf, p, len);
    if (request->body_buf.failed || !ak_request_charge(request)) {
        h1->fail_status = 503;
        return HPE_USER;
    }
    return 0;
}

static enum ak_input piece_failed(struct ak_conn *conn, struct ak_http_request *request)
{
    if (ak_h1_of(conn)->fail_status == 413) {
        return too_big(conn, request);
    }
    return ak_h1_reject(conn, request, 503, AK_NOMEM, AK_H1_NO_MEMORY);
}

/* Progress for the time limit: at least PROGRESS_BYTES since the last mark. */
static void note_progress(struct ak_conn *conn, uint64_t received)
{
    struct ak_h1 *h1 = ak_h1_of(conn);
    if (received - h1->mark >= PROGRESS_BYTES) {
        h1->mark = received;
        h1->since_ms = now_ms(conn);
    }
}

/* The time of a pause is not the client's: its time limit starts again afterwards. */
static bool is_paused(struct ak_conn *conn, const struct ak_http_request *request)
{
    struct ak_h1 *h1 = ak_h1_of(conn);
    bool now = request->is_stream && atomic_load(&request->paused) && !is_claimed(request);
    if (h1->was_paused && !now) {
        h1->since_ms = now_ms(conn);
    }
    h1->was_paused = now;
    return now;
}

/* Where a buffered body is read into directly; false without memory. The buffer doubles, so what a
 * client must send for it to grow is half of what it costs. */
bool ak_h1_body_space(struct ak_http_request *request, char **p, size_t *len)
{
    struct ak_buf *buf = &request->body_buf;
    size_t rest = (size_t)(request->content_length - request->body_read);
    size_t room = buf->cap - buf->len;
    if (room < rest && room < AK_H1_READ_MIN) {
        size_t more = buf->len > BODY_FIRST ? buf->len : BODY_FIRST;
        if (!ak_buf_reserve(buf, more < rest ? more : rest) || !ak_request_charge(request)) {
            return false;
        }
        room = buf->cap - buf->len;
    }
    *p = buf->p + buf->len;
    *len = room < rest ? room : rest;
    return true;
}

/* All of the read buffer behind the requests' bytes may be used again. */
static void rewind_input(struct ak_conn *conn)
{
    if (conn->at == conn->fill) {
        conn->at = conn->fill = conn->keep;
    }
}

enum ak_input ak_h1_take_length(struct ak_conn *conn)
{
    struct ak_h1 *h1 = ak_h1_of(conn);
    struct ak_http_request *request = h1->current;
    uint64_t rest = request->content_length - request->body_read;
    size_t have = conn->fill - conn->at;
    if (is_paused(conn, request)) {
        return AK_INPUT_BLOCKED;
    }
    if (h1->in_place && !is_claimed(request)) {
        if (have < rest) {
            note_progress(conn, have);
            return AK_INPUT_MORE;
        }
        request->body = (struct ak_str){conn->in->data + conn->at, (size_t)rest};
        request->body_read = rest;
        conn->at += (uint32_t)rest;
        return body_complete(conn, request);
    }
    size_t len = have < rest ? have : (size_t)rest;
    if (len) {
        const char *piece = conn->in->data + conn->at;
        conn->at += (uint32_t)len;
        int code = take_piece(conn, request, piece, len);
        if (code == HPE_USER) {
            return piece_failed(conn, request);
        }
    }
    note_progress(conn, request->body_read);
    if (is_paused(conn, request)) {
        return AK_INPUT_BLOCKED;
    }
    if (request->body_read == request->content_length) {
        if (!request->is_stream) {
            request->body = ak_buf_str(&request->body_buf);
        }
        return body_complete(conn, request);
    }
    rewind_input(conn);
    return AK_INPUT_MORE;
}

/* --- Chunked --- */

int ak_h1_on_body(llhttp_t *parser, const char *at, size_t len)
{
    struct ak_conn *conn = parser->data;
    return take_piece(conn, ak_h1_of(conn)->current, at, len);
}

int ak_h1_on_extra(llhttp_t *parser, size_t len)
{
    struct ak_h1 *h1 = ak_h1_of(parser->data);
    h1->extras += (uint32_t)len;
    if (h1->extras > EXTRAS_MAX) {
        h1->fail_status = 431;
        return HPE_USER;
    }
    return 0;
}

enum ak_input ak_h1_take_chunked(struct ak_conn *conn)
{
    struct ak_h1 *h1 = ak_h1_of(conn);
    struct ak_http_request *request = h1->current;
    if (is_paused(conn, request)) {
        return AK_INPUT_BLOCKED;
    }
    if (llhttp_get_errno(&h1->parser) == HPE_PAUSED) {
        llhttp_resume(&h1->parser);
    }
    const char *base = conn->in->data;
    llhttp_errno_t code = llhttp_execute(&h1->parser, base + conn->at, conn->fill - conn->at);
    if (code == HPE_OK) {
        conn->at = conn->fill;
        note_progress(conn, request->body_read);
        rewind_input(conn);
        return AK_INPUT_MORE;
    }
    if (code == HPE_PAUSED) {
        conn->at = (uint32_t)(llhttp_get_error_pos(&h1->parser) - base);
        if (!h1->done) {
            return AK_INPUT_NEXT; /* paused by on_chunk: looked at again from the top */
        }
        if (!request->is_stream) {
            request->body = ak_buf_str(&request->body_buf);
        }
        return body_complete(conn, request);
    }
    if (h1->fail_status == 431) {
        return ak_h1_reject(conn, request, 431, AK_HEADERS,
                            "more than 32 KiB of chunk extensions and trailers");
    }
    return h1->fail_status
               ? piece_failed(conn, request)
               : ak_h1_reject(conn, request, 400, AK_INVALID, "the chunked body is malformed");
}
