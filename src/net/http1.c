/* http1.c — HTTP/1.1 on a connection: the order of requests and responses, and of reading buffers.
 *
 *            first byte            head complete                 body complete
 *   IDLE ───────────────▶ HEAD ──────────────────▶ LENGTH ─────────────────────▶ IDLE
 *                           │                      CHUNKED
 *                           ▼ refused                 ▼ refused, cut off
 *                        STOPPED ◀────────────────────┘        (no body: HEAD ▶ IDLE at once)
 *
 * A request joins the connection's list when its head is complete. The list has two parts: the
 * queued ones, which are being written in order, and from `unqueued` on those that wait for their
 * response or their turn. A request leaves when it is written and its body read.
 *
 * I1  conn->at never passes the end of the current message: the next one is begun only in IDLE.
 * I2  [0, keep) of the read buffer belongs to requests that hold a reference to it; what lies
 *     behind may be overwritten as soon as it is parsed.
 * I3  the response that closes the connection is the last in the list: nothing is parsed after it.
 * I4  a response that flows is the last of the queued ones until its end is framed; conn->out_bytes
 *     counts of it what was taken from its producer.
 */
#include "net/http1_priv.h"
#include <stdio.h>
#include <string.h>

static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
_Static_assert(sizeof interim - 1 == AK_NET_INTERIM_BYTES, "interim response");

static int64_t now_ms(const struct ak_conn *conn)
{
    return ak_loop_now_ms(conn->nl->loop);
}

static void open_h1(struct ak_conn *conn)
{
    struct ak_h1 *h1 = ak_h1_of(conn);
    llhttp_init(&h1->parser, HTTP_REQUEST, &ak_h1_settings);
    h1->parser.data = conn;
}

/* --- Input --- */

/* Move what is still needed, [from, fill), to the front of a buffer with room behind it. */
static bool move_input(struct ak_conn *conn, uint32_t from)
{
    struct ak_h1 *h1 = ak_h1_of(conn);
    uint32_t len = conn->fill - from;
    struct ak_net_chunk *old = conn->in;
    if (old && old->refs == 1 && old->cap - len >= AK_H1_READ_MIN) {
        memmove(old->data, old->data + from, len);
    } else {
        uint32_t cap =
            len + AK_H1_READ_MIN <= AK_NET_CHUNK_BYTES ? AK_NET_CHUNK_BYTES : AK_NET_CHUNK_MAX;
        struct ak_net_chunk *chunk = ak_net_chunk_get(conn->nl, cap);
        if (!chunk) {
            return false;
        }
        if (old) {
            memcpy(chunk->data, old->data + from, len);
            ak_net_chunk_unref(conn->nl, old);
        }
        conn->in = chunk;
    }
    h1->head_at = h1->head_at >= from ? h1->head_at - from : 0;
    conn->at -= from;
    conn->fill = len;
    conn->keep = 0;
    return true;
}

static bool space_h1(struct ak_conn *conn, char **p, size_t *len)
{
    struct ak_h1 *h1 = ak_h1_of(conn);
    bool ok = true;
    if (ak_h1_reads_into_body(h1)) {
        ok = ak_h1_body_space(h1->current, p, len);
    } else {
        bool is_waiting = h1->state == AK_H1_LENGTH && h1->in_place; /* its body has its room */
        if (!is_waiting && (!conn->in || conn->in->cap - conn->fill < AK_H1_READ_MIN)) {
            ok = move_input(conn, h1->state == AK_H1_HEAD ? h1->head_at : conn->at);
        }
        if (ok) {
            *p = conn->in->data + conn->fill;
            *len = conn->in->cap - conn->fill;
        }
    }
    if (!ok) {
        conn->proto->refuse(conn, 503, AK_NOMEM, AK_H1_NO_MEMORY);
    }
    return ok;
}

static void received_h1(struct ak_conn *conn, size_t len)
{
    struct ak_h1 *h1 = ak_h1_of(conn);
    if (ak_h1_reads_into_body(h1)) {
        h1->current->body_buf.len += len;
        h1->current->body_read += len;
    } else {
        conn->fill += (uint32_t)len;
    }
}

static void begin_head(struct ak_conn *conn)
{
    struct ak_h1 *h1 = ak_h1_of(conn);
    llhttp_reset(&h1->parser);
    h1->state = AK_H1_HEAD;
    h1->current = ak_request_new(conn->nl, conn);
    h1->head_at = conn->at;
    h1->since_ms = now_ms(conn);
    h1->field = AK_H1_FIELD_NONE;
    h1->done = false;
    h1->fail_status = 0;
}

/* Empty lines before a request are skipped (RFC 9112 2.2): they start neither head nor time limit.
 */
static void skip_empty_lines(struct ak_conn *conn)
{
    if (!conn->in) {
        return;
    }
    const char *p = conn->in->data;
    while (conn->at < conn->fill && (p[conn->at] == '\r' || p[conn->at] == '\n')) {
        conn->at++;
    }
}

static bool is_blocked(const struct ak_conn *conn)
{
    return conn->under_way >= conn->nl->server->options.pipeline_max ||
           conn->out_bytes >= AK_NET_OUT_MAX || conn->held_bytes >= AK_NET_HELD_MAX;
}

static enum ak_input parse_idle(struct ak_conn *conn)
{
    if (conn->closing || (conn->last && (conn->last->close || !conn->last->keep_alive))) {
        ak_h1_of(conn)->state = AK_H1_STOPPED;
        return AK_INPUT_STOP;
    }
    skip_empty_lines(conn);
    if (conn->at == conn->fill) {
        if (conn->in && conn->in->refs == 1) {
            conn->at = conn->fill = conn->keep = 0;
        }
        return AK_INPUT_MORE;
    }
    if (is_blocked(conn)) {
        return AK_INPUT_BLOCKED;
    }
    begin_head(conn);
    return AK_INPUT_NEXT;
}

static enum ak_input parse_h1(struct ak_conn *conn)
{
    enum ak_input step = AK_INPUT_NEXT;
    while (step == AK_INPUT_NEXT) {
        switch (ak_h1_of(conn)->state) {
        case AK_H1_IDLE:
            step = parse_idle(conn);
            break;
        case AK_H1_HEAD:
            step = ak_h1_parse_head(conn);
            break;
        case AK_H1_LENGTH:
            step = ak_h1_take_length(conn);
            break;
        case AK_H1_CHUNKED:
            step = ak_h1_take_chunked(conn);
            break;
        case AK_H1_STOPPED:
            step = AK_INPUT_STOP;
            break;
        }
    }
    return step;
}

/* --- Ends --- */

static void forget(struct ak_conn *conn, struct ak_http_request *request)
{
    if (request->complete) {
        conn->held_bytes -= request->body_buf.cap;
    }
    ak_conn_remove(conn, request);
    ak_request_release(request);
}

/* A flow that is being written and may get more. */
static bool is_flowing(const struct ak_http_request *request)
{
    return request->queued && request->flow && !request->flow->over;
}

void ak_h1_release_if_over(struct ak_conn *conn, struct ak_http_request *request)
{
    if (request->queued && request->out_at == request->out_total && !is_flowing(request) &&
        !request->cuts && request != ak_h1_of(conn)->current) {
        forget(conn, request);
    }
}

/* Close once the response is written: of a flow that is when it is over (take_flow). */
static void close_after(struct ak_conn *conn, const struct ak_http_request *request)
{
    conn->closing |= request->queued && !is_flowing(request);
}

/* The body will not come to its end. true: nobody has answered, so the server may. */
static bool give_up_body(struct ak_http_request *request, enum ak_rc rc)
{
    if (!ak_request_claim(request)) {
        return false;
    }
    if (request->announced && request->is_stream) {
        request->stream.on_end(request->stream.ctx, request, rc);
    }
    return true;
}

/* Nothing more will be parsed. `cut`: in the middle of a message, so that input may follow. */
static void stop(struct ak_conn *conn, bool cut)
{
    struct ak_h1 *h1 = ak_h1_of(conn);
    h1->state = AK_H1_STOPPED;
    h1->current = NULL;
    h1->cut = cut;
}

enum ak_input ak_h1_reject(struct ak_conn *conn, struct ak_http_request *request, int status,
                           enum ak_rc rc, const char *message)
{
    stop(conn, true);
    request->close = true;
    if (give_up_body(request, rc)) {
        ak_response_set_error(request, status, rc, message);
        request->ready = true;
    } else if (request->queued) { /* its answer left before the body went wrong */
        close_after(conn, request);
        ak_h1_release_if_over(conn, request);
    }
    return AK_INPUT_STOP;
}

static void refuse_h1(struct ak_conn *conn, int status, enum ak_rc rc, const char *message)
{
    struct ak_h1 *h1 = ak_h1_of(conn);
    struct ak_http_request *request = h1->current;
    if (!request) {
        request = ak_request_new(conn->nl, conn);
        ak_conn_append(conn, request);
    } else if (h1->state == AK_H1_HEAD) {
        ak_conn_append(conn, request);
    }
    (void)ak_h1_reject(conn, request, status, rc, message);
    ak_conn_run_soon(conn);
}

static void eof_h1(struct ak_conn *conn)
{
    struct ak_h1 *h1 = ak_h1_of(conn);
    struct ak_http_request *request = h1->current;
    bool was_head = h1->state == AK_H1_HEAD;
    stop(conn, false);
    if (!request) {
        return;
    }
    request->close = true;
    if (was_head) {
        ak_request_release(request);
    } else if (give_up_body(request, AK_UNAVAILABLE)) {
        ak_request_done(request, 0, 0);
        forget(conn, request);
    } else {
        close_after(conn, request);
        ak_h1_release_if_over(conn, request);
    }
}

/* The connection is gone. A request that somebody still works on is left to its response. */
static void release_h1(struct ak_conn *conn)
{
    struct ak_h1 *h1 = ak_h1_of(conn);
    if (h1->current && h1->state == AK_H1_HEAD) {
        ak_request_release(h1->current);
    }
    stop(conn, false);
    while (conn->first) {
        struct ak_http_request *request = conn->first;
        bool is_over = request->queued || request->ready;
        ak_conn_remove(conn, request);
        if (is_over && request->flow && !ak_flow_abandon(request)) {
            request->conn = NULL; /* its producer's end will release it */
            continue;
        }
        if (!is_over && (request->handed || !give_up_body(request, AK_UNAVAILABLE))) {
            request->conn = NULL;
            continue;
        }
        ak_request_done(request, 0, 0);
        ak_request_release(request);
    }
}

/* --- Output --- */

/* Can the connection go on after this response? */
static bool keeps_alive(const struct ak_conn *conn, const struct ak_http_request *request)
{
    const struct ak_h1 *h1 = ak_h1_of(conn);
    bool is_last = !request->next && (!h1->current || h1->current == request);
    bool has_no_end = request->flow && request->is_http_1_0; /* but that of the connection */
    if (request->close || request->cuts || !request->keep_alive || has_no_end) {
        return false;
    }
    if (h1->current == request) { /* answered early: is the rest of the body worth reading? */
        uint64_t rest = request->content_length - request->body_read;
        bool is_short = request->body_kind == AK_NET_BODY_LENGTH && rest <= AK_NET_DROP_MAX;
        return is_short && !request->wants_interim && !conn->nl->draining;
    }
    return !(conn->nl->draining && is_last && conn->at == conn->fill);
}

/* Put what is to be sent next of a flow into `out` (its chunk's frame) and `answer`; all that was
 * there is sent. The line that ends a chunk goes out with the next one's size. */
static void take_flow(struct ak_conn *conn, struct ak_http_request *request)
{
    struct ak_net_flow *flow = request->flow;
    bool end = false;
    ak_flow_take(request, &end);
    size_t body = request->content.len;
    if (end && flow->rc != AK_OK) {
        flow->over = true;
        request->cuts = true; /* all that may leave has left: see reset_if_cut() */
        ak_request_done(request, 500, (size_t)flow->bytes);
        ak_conn_run_soon(conn);
        return;
    }
    bool is_framed = !request->is_http_1_0 && request->method != AK_HTTP_HEAD && (body || end);
    request->out = request->out_inline;
    request->out_len = 0;
    if (is_framed) {
        request->out_len =
            (size_t)snprintf(request->out_inline, sizeof request->out_inline, "%s%zx\r\n%s",
                             flow->is_first ? "" : "\r\n", body, body ? "" : "\r\n");
        flow->is_first = false;
    }
    request->out_at = 0;
    request->out_total = request->out_len + body;
    if (conn->out_bytes == 0) {
        conn->write_since_ms = now_ms(conn);
    }
    conn->out_bytes += request->out_total;
    if (end) {
        flow->over = true;
        conn->closing |= request->close;
        ak_request_done(request, request->status, (size_t)flow->bytes);
        ak_conn_run_soon(conn); /* what waited behind it has its turn */
    }
}

/* Keep a flow going whose bytes so far are sent; the request may be gone afterwards. */
static void refill(struct ak_conn *conn, struct ak_http_request *request)
{
    if (is_flowing(request) && request->out_at == request->out_total) {
        take_flow(conn, request);
    }
    ak_h1_release_if_over(conn, request);
}

/* The front response is one that is cut off, and all of it that may leave has left. */
static void reset_if_cut(struct ak_conn *conn)
{
    const struct ak_http_request *front = conn->first;
    conn->resetting = front && front->queued && front->cuts && front->out_at == front->out_total;
}

static void queue_h1(struct ak_conn *conn)
{
    struct ak_http_request *request = conn->unqueued;
    struct ak_http_request *before = request ? request->prev : conn->last;
    if (before && is_flowing(before)) {
        refill(conn, before);
        before = request ? request->prev : conn->last;
        if (before && is_flowing(before)) {
            return; /* what comes behind it waits until its end is known */
        }
    }
    if (conn->out_bytes == 0 && request && (request->ready || request->wants_interim)) {
        conn->write_since_ms = now_ms(conn);
    }
    while (conn->unqueued && conn->unqueued->ready) {
        struct ak_http_request *next = conn->unqueued;
        bool close = !keeps_alive(conn, next);
        next->wants_interim = false;
        if (!next->is_abort) {
            ak_response_finish_head(next, close);
        }
        next->paced_from_ms = now_ms(conn);
        next->queued = true;
        conn->unqueued = next->next;
        conn->out_bytes += next->out_total;
        if (close) {
            if (ak_h1_of(conn)->current == next) {
                stop(conn, true);
            }
            next->close = true;
            close_after(conn, next);
        }
        if (next->flow) {
            return;
        }
        ak_request_done(next, next->status, next->out_total - next->out_len);
    }
    struct ak_http_request *front = conn->unqueued;
    if (front && front->wants_interim && !atomic_load(&front->claimed)) {
        /* All before it is on its way. */
        front->wants_interim = false;
        front->interim_left = AK_NET_INTERIM_BYTES;
        conn->out_bytes += AK_NET_INTERIM_BYTES;
    }
    reset_if_cut(conn);
}

static void flowed_h1(struct ak_conn *conn, struct ak_http_request *request)
{
    (void)request; /* the only one that flows is met by queue_h1() */
    ak_conn_run_soon(conn);
}

static int add_iov(struct iovec *iov, int count, const char *p, size_t len)
{
    union {
        const char *in;
        char *out;
    } cast = {.in = p};
    if (len) {
        iov[count] = (struct iovec){cast.out, len};
        count++;
    }
    return count;
}

#define PACE_STEPS 50 /* a second: how finely a response that is held back is cut up */

/* Bytes of the body that may leave now; when there are none, *due_ms is when there will be. */
static size_t allowance(const struct ak_conn *conn, const struct ak_http_request *request,
                        int64_t *due_ms)
{
    size_t at = request->out_at > request->out_len ? request->out_at - request->out_len : 0;
    size_t rest = request->out_total - request->out_len - at;
    if (!request->bytes_per_s || !rest) {
        return rest;
    }
    double rate = (double)request->bytes_per_s;
    double step = rate / PACE_STEPS > 1 ? rate / PACE_STEPS : 1;
    double elapsed_s = (double)(now_ms(conn) - request->paced_from_ms) / 1e3;
    double allowed = elapsed_s * rate - (double)at;
    if (allowed >= (double)rest) {
        return rest;
    }
    if (allowed < step && allowed < (double)rest) {
        double next = (double)at + (step < (double)rest ? step : (double)rest);
        *due_ms = request->paced_from_ms + (int64_t)(next / rate * 1e3) + 1;
        return 0;
    }
    return (size_t)allowed;
}

static int gather_h1(struct ak_conn *conn, struct iovec *iov, int max)
{
    int count = 0;
    for (struct ak_http_request *at = conn->first; at && count + 3 <= max; at = at->next) {
        count = add_iov(iov, count, interim + AK_NET_INTERIM_BYTES - at->interim_left,
                        at->interim_left);
        if (!at->queued) {
            break;
        }
        size_t body = allowance(conn, at, &conn->pace_due_ms);
        if (at->out_at < at->out_len) {
            count = add_iov(iov, count, at->out + at->out_at, at->out_len - at->out_at);
            count = add_iov(iov, count, at->content.p, body);
        } else {
            size_t from = at->out_at - at->out_len;
            count = add_iov(iov, count, body ? at->content.p + from : NULL, body);
        }
        if (at->bytes_per_s || at->cuts) {
            break; /* what follows waits for all of it */
        }
    }
    return count;
}

static void sent_h1(struct ak_conn *conn, size_t len)
{
    struct ak_http_request *at = conn->first;
    conn->out_bytes -= len;
    while (at && len) {
        struct ak_http_request *next = at->next;
        size_t part = len < at->interim_left ? len : at->interim_left;
        at->interim_left = (uint8_t)(at->interim_left - part);
        len -= part;
        if (at->queued) {
            size_t rest = at->out_total - at->out_at;
            part = len < rest ? len : rest;
            at->out_at += part;
            len -= part;
            refill(conn, at);
        }
        at = next;
    }
    reset_if_cut(conn);
}

/* --- Time --- */

static bool is_idle_h1(const struct ak_conn *conn)
{
    const struct ak_h1 *h1 = ak_h1_of(conn);
    return (h1->state == AK_H1_IDLE || (h1->state == AK_H1_STOPPED && !h1->cut)) &&
           conn->at == conn->fill && !conn->first;
}

static int64_t deadline_h1(const struct ak_conn *conn)
{
    const struct ak_h1 *h1 = ak_h1_of(conn);
    const struct ak_http_options *options = &conn->nl->server->options;
    switch (h1->state) {
    case AK_H1_IDLE:
        return conn->first ? 0 : conn->idle_since_ms + options->idle_timeout_ms;
    case AK_H1_HEAD:
        return h1->since_ms + options->head_timeout_ms;
    case AK_H1_LENGTH:
    case AK_H1_CHUNKED:
        return h1->was_paused ? 0 : h1->since_ms + options->body_timeout_ms;
    case AK_H1_STOPPED:
        break;
    }
    return 0;
}

static void timed_out_h1(struct ak_conn *conn)
{
    struct ak_h1 *h1 = ak_h1_of(conn);
    if (h1->state == AK_H1_IDLE) {
        ak_conn_kill(conn);
    } else if (h1->state == AK_H1_HEAD) {
        refuse_h1(conn, 408, AK_TIMEOUT, "the request's head did not come in time");
    } else {
        refuse_h1(conn, 408, AK_TIMEOUT, "the request's body did not come in time");
    }
}

const struct ak_conn_proto ak_http1_proto = {
    .state_bytes = sizeof(struct ak_h1),
    .open = open_h1,
    .release = release_h1,
    .space = space_h1,
    .received = received_h1,
    .parse = parse_h1,
    .eof = eof_h1,
    .queue = queue_h1,
    .flowed = flowed_h1,
    .gather = gather_h1,
    .sent = sent_h1,
    .is_idle = is_idle_h1,
    .deadline = deadline_h1,
    .timed_out = timed_out_h1,
    .refuse = refuse_h1,
};
