/* http_flow.c — responses that flow: pieces from a producer's thread to the loop, with a brake.
 *
 *   producer   begin ─▶ send ─▶ filling ──(lock, one post)──▶ answer ─▶ framed by the protocol
 *                         ▲         │                           │
 *                         └─ waits while filling is full        └─ all sent: the next swap
 *
 * I1  `filling` holds less than AK_HTTP_FLOW_MAX and one part of a piece; with the buffer that is
 *     being sent a flow costs twice that, whatever the client does.
 * I2  the request is released only when the producer has ended and the loop has seen it: between
 *     begin and end the producer may name it, though the connection be long gone.
 * I3  at most one post is under way, and none is begun after `ended` was seen: whoever saw it may
 *     release the request.
 */
#include "base/mem.h"
#include "net/net_priv.h"

/* --- The loop's side --- */

void ak_flow_free(struct ak_net_flow *flow)
{
    if (flow) {
        ak_buf_release(&flow->filling);
        ak_cond_release(&flow->room);
        ak_mutex_release(&flow->lock);
        ak_free(flow);
    }
}

void ak_flow_take(struct ak_http_request *request, bool *end)
{
    struct ak_net_flow *flow = request->flow;
    struct ak_buf empty = request->answer;
    ak_buf_clear(&empty);
    empty.max = AK_HTTP_FLOW_MAX + AK_NET_FLOW_PIECE;
    ak_mutex_lock(&flow->lock);
    request->answer = flow->filling;
    flow->filling = empty;
    /* not `ended`: the post that tells of it may still be under way and name the request (I3) */
    *end = flow->end_seen && (request->answer.len == 0 || flow->rc != AK_OK);
    ak_cond_broadcast(&flow->room);
    ak_mutex_unlock(&flow->lock);
    request->content = ak_buf_str(&request->answer);
    flow->bytes += request->content.len;
}

bool ak_flow_abandon(struct ak_http_request *request)
{
    struct ak_net_flow *flow = request->flow;
    ak_mutex_lock(&flow->lock);
    flow->gone = true;
    ak_buf_release(&flow->filling);
    ak_cond_broadcast(&flow->room);
    ak_mutex_unlock(&flow->lock);
    return flow->end_seen;
}

static void on_flow_post(struct ak_loop_post *post)
{
    struct ak_net_flow *flow =
        (struct ak_net_flow *)(void *)((char *)post - offsetof(struct ak_net_flow, post));
    struct ak_http_request *request = flow->request;
    ak_mutex_lock(&flow->lock);
    flow->posted = false;
    flow->end_seen = flow->ended;
    ak_mutex_unlock(&flow->lock);
    AK_ASSERT(request->ready); /* the head was posted before */
    if (request->conn) {
        request->conn->proto->flowed(request->conn, request);
    } else if (flow->end_seen) {
        ak_request_done(request, 0, (size_t)flow->bytes);
        ak_request_release(request);
    }
}

/* --- The producer's side --- */

static struct ak_net_flow *make_flow(struct ak_http_request *request)
{
    struct ak_net_flow *flow = ak_try_zalloc(sizeof *flow);
    if (flow) {
        flow->request = request;
        flow->is_first = true;
        flow->post.fn = on_flow_post;
        ak_mutex_init(&flow->lock, AK_RANK_NET, "flow");
        ak_cond_init(&flow->room);
        ak_buf_init(&flow->filling, AK_HTTP_FLOW_MAX + AK_NET_FLOW_PIECE);
    }
    return flow;
}

bool ak_http_begin(struct ak_http_request *request, int status, const char *content_type,
                   const char *extra_headers)
{
    AK_ASSERT(status != 204 && status != 304);
    if (!ak_request_claim(request)) {
        return false;
    }
    request->flow = make_flow(request);
    bool ok =
        request->flow != NULL && ak_response_set_head(request, status, content_type, extra_headers);
    if (!ok) {
        ak_flow_free(request->flow);
        request->flow = NULL;
        ak_response_set_error(request, 503, AK_NOMEM, NULL);
    }
    ak_response_hand_over(request);
    return ok;
}

/* Lock held. */
static void tell_loop(struct ak_http_request *request)
{
    struct ak_net_flow *flow = request->flow;
    if (!flow->posted) {
        flow->posted = true;
        ak_loop_post(request->nl->loop, &flow->post);
    }
}

static enum ak_rc send_part(struct ak_http_request *request, const char *p, size_t len,
                            struct ak_err *err)
{
    struct ak_net_flow *flow = request->flow;
    enum ak_rc rc = AK_OK;
    ak_mutex_lock(&flow->lock);
    while (!flow->gone && flow->filling.len >= AK_HTTP_FLOW_MAX) {
        ak_cond_wait(&flow->room, &flow->lock);
    }
    if (flow->gone) {
        rc = ak_fail(err, AK_UNAVAILABLE, "the client has gone");
    } else {
        ak_buf_add(&flow->filling, p, len);
        rc = ak_buf_check(&flow->filling, err);
        tell_loop(request);
    }
    ak_mutex_unlock(&flow->lock);
    return rc;
}

enum ak_rc ak_http_send(struct ak_http_request *request, const void *p, size_t len,
                        struct ak_err *err)
{
    AK_ASSERT(!ak_loop_is_current(request->nl->loop)); /* it would wait for itself */
    const char *at = p;
    if (request->method == AK_HTTP_HEAD) {
        return AK_OK;
    }
    enum ak_rc rc = AK_OK;
    while (len && rc == AK_OK) {
        size_t part = len < AK_NET_FLOW_PIECE ? len : AK_NET_FLOW_PIECE;
        rc = send_part(request, at, part, err);
        at += part;
        len -= part;
    }
    return rc;
}

bool ak_http_is_gone(struct ak_http_request *request)
{
    struct ak_net_flow *flow = request->flow;
    ak_mutex_lock(&flow->lock);
    bool gone = flow->gone;
    ak_mutex_unlock(&flow->lock);
    return gone;
}

void ak_http_end(struct ak_http_request *request, enum ak_rc rc)
{
    struct ak_net_flow *flow = request->flow;
    ak_mutex_lock(&flow->lock);
    AK_ASSERT(!flow->ended);
    flow->ended = true;
    flow->rc = rc;
    tell_loop(request);
    ak_mutex_unlock(&flow->lock);
}
