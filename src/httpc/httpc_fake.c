/* httpc_fake.c — a client that asks a function instead of a network. */
#include "base/mem.h"
#include "httpc/httpc_priv.h"

#define FAKE_CHUNK ((size_t)16 << 10) /* bodies arrive in pieces, as they do from a network */

struct fake {
    struct ak_httpc client;
    ak_httpc_fake_fn fn;
    void *ctx;
};

static enum ak_rc failure_of(enum ak_httpc_failure failure, struct ak_err *err)
{
    switch (failure) {
    case AK_HTTPC_NONE:
        return AK_OK;
    case AK_HTTPC_CONNECT:
        return ak_fail(err, AK_UNAVAILABLE, "connection refused");
    case AK_HTTPC_TRUST:
        return ak_fail(err, AK_INVALID, "the certificate is not trusted");
    case AK_HTTPC_SEND:
        return ak_fail(err, AK_UNAVAILABLE, "the connection broke while sending");
    case AK_HTTPC_RECEIVE:
        return ak_fail(err, AK_UNAVAILABLE, "the connection broke before the answer was whole");
    case AK_HTTPC_STALL:
        return ak_fail(err, AK_TIMEOUT, "no byte moved");
    case AK_HTTPC_DEADLINE:
        return ak_fail(err, AK_TIMEOUT, "the deadline passed");
    case AK_HTTPC_CANCELLED:
        return ak_fail(err, AK_CONFLICT, "cancelled");
    case AK_HTTPC_PROTOCOL:
        return ak_fail(err, AK_UNAVAILABLE, "that is not HTTP");
    case AK_HTTPC_CALLBACK:
    case AK_HTTPC_LOCAL:
        break;
    }
    return ak_fail(err, AK_NOMEM, "no memory");
}

static bool deliver_head(struct httpc_transfer *transfer, const struct ak_httpc_reply *reply)
{
    struct ak_str rest = ak_str_of(reply->headers);
    transfer->response->status = reply->status;
    while (rest.len) {
        struct ak_str line;
        bool cut = ak_str_split(rest, '\n', &line, &rest);
        line.len += cut; /* with its end */
        if (!ak_httpc_on_line(transfer, line)) {
            return false;
        }
    }
    return ak_httpc_on_line(transfer, AK_STR_NONE);
}

static bool deliver_body(struct httpc_transfer *transfer, struct ak_str body)
{
    for (size_t at = 0; at < body.len; at += FAKE_CHUNK) {
        if (!ak_httpc_on_bytes(transfer, ak_str_sub(body, at, FAKE_CHUNK))) {
            return false;
        }
    }
    return true;
}

static bool take_body(struct httpc_transfer *transfer, struct ak_buf *body)
{
    uint64_t len = ak_httpc_body_len(transfer->request);
    AK_ASSERT(len <= AK_BUF_MAX_DEFAULT);
    char *p = ak_buf_reserve(body, (size_t)len);
    if (!p) {
        transfer->failure = AK_HTTPC_LOCAL;
        transfer->rc = ak_fail(&transfer->err, AK_NOMEM, "no memory for the body");
        return false;
    }
    while (body->len < len) {
        size_t piece = (size_t)len - body->len < FAKE_CHUNK ? (size_t)len - body->len : FAKE_CHUNK;
        if (!ak_httpc_take(transfer, body->len, p + body->len, piece)) {
            return false;
        }
        body->len += piece;
    }
    return true;
}

static enum ak_rc fake_perform(struct ak_httpc *client, const struct ak_httpc_request *request,
                               struct ak_httpc_response *response, struct ak_err *err)
{
    struct fake *fake = (struct fake *)client;
    struct httpc_transfer transfer = {.request = request, .response = response};
    struct ak_httpc_reply reply = {.status = 0};
    struct ak_buf body;
    ak_buf_init(&body, 0);
    ak_buf_init(&reply.body, 0);
    bool goes = take_body(&transfer, &body);
    if (goes) {
        fake->fn(fake->ctx, request, ak_buf_str(&body), &reply);
        struct ak_str answer = ak_buf_str(&reply.body);
        bool whole = reply.failure == AK_HTTPC_NONE;
        if (reply.status) {
            answer = whole ? answer : ak_str_sub(answer, 0, (size_t)reply.cut_at);
            goes = deliver_head(&transfer, &reply) && deliver_body(&transfer, answer);
        }
        if (goes && !whole) {
            response->sent = reply.failure == AK_HTTPC_SEND ? reply.cut_at : response->sent;
            transfer.failure = reply.failure;
            transfer.rc = failure_of(reply.failure, &transfer.err);
        }
    }
    ak_buf_release(&body);
    ak_buf_release(&reply.body);
    response->failure = transfer.failure;
    return transfer.rc == AK_OK ? AK_OK : ak_fail(err, transfer.rc, "%s", transfer.err.text);
}

static void fake_close(struct ak_httpc *client)
{
    ak_free(client);
}

static const struct ak_httpc_ops fake_ops = {fake_perform, fake_close};

struct ak_httpc *ak_httpc_open_fake(ak_httpc_fake_fn fn, void *ctx)
{
    struct fake *fake = ak_zalloc(sizeof *fake);
    fake->client.ops = &fake_ops;
    fake->fn = fn;
    fake->ctx = ctx;
    return &fake->client;
}
