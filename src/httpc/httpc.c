/* httpc.c — requests and answers, whatever carries them. */
#include "base/mem.h"
#include "httpc/httpc_priv.h"
#include <string.h>

void ak_httpc_close(struct ak_httpc *client)
{
    if (client) {
        client->ops->close(client);
    }
}

void ak_httpc_response_init(struct ak_httpc_response *response)
{
    *response = (struct ak_httpc_response){.status = 0};
    ak_buf_init(&response->head, HTTPC_HEAD_MAX);
    ak_buf_init(&response->body, HTTPC_BODY_MAX_DEFAULT);
}

void ak_httpc_response_release(struct ak_httpc_response *response)
{
    ak_buf_release(&response->head);
    ak_buf_release(&response->body);
}

struct ak_str ak_httpc_header(const struct ak_httpc_response *response, const char *name)
{
    struct ak_str rest = ak_buf_str(&response->head);
    struct ak_str line;
    while (rest.len) {
        struct ak_str field;
        struct ak_str value;
        ak_str_split(rest, '\n', &line, &rest);
        if (ak_str_split(line, ':', &field, &value) &&
            ak_str_eq_nocase(ak_str_trim(field), ak_str_of(name))) {
            value = ak_str_trim(value);
            return value.p ? value : AK_STR("");
        }
    }
    return AK_STR_NONE;
}

bool ak_httpc_is_cancelled(const struct ak_httpc_request *request)
{
    /* Relaxed: the flags order nothing; whoever sets one waits for the call to end. */
    return (request->cancel && atomic_load_explicit(request->cancel, memory_order_relaxed)) ||
           (request->stop && atomic_load_explicit(request->stop, memory_order_relaxed));
}

uint64_t ak_httpc_body_len(const struct ak_httpc_request *request)
{
    return request->read ? request->body_len : request->body.len;
}

bool ak_httpc_has_body(const struct ak_httpc_request *request)
{
    return strcmp(request->method, "PUT") == 0 || strcmp(request->method, "POST") == 0 ||
           ak_httpc_body_len(request) > 0;
}

static bool fail(struct httpc_transfer *transfer, enum ak_httpc_failure failure, enum ak_rc rc)
{
    transfer->rc = rc;
    transfer->failure = failure;
    return false;
}

/* "HTTP/1.1 200 OK" → 200; 0 when it is none. */
static int status_of(struct ak_str line)
{
    struct ak_str version;
    struct ak_str rest;
    struct ak_str digits;
    uint64_t status = 0;
    ak_str_split(line, ' ', &version, &rest);
    ak_str_split(ak_str_trim(rest), ' ', &digits, &rest);
    return ak_str_u64(ak_str_trim(digits), 999, &status) ? (int)status : 0;
}

bool ak_httpc_on_line(struct httpc_transfer *transfer, struct ak_str line)
{
    struct ak_httpc_response *response = transfer->response;
    const struct ak_httpc_request *request = transfer->request;
    if (transfer->head_told) { /* trailers say nothing that we ask for */
        return true;
    }
    if (ak_str_has_prefix(line, AK_STR("HTTP/"))) { /* after an interim answer, the next one */
        response->status = status_of(line);
        ak_buf_clear(&response->head);
        return true;
    }
    if (ak_str_trim(line).len) {
        ak_buf_add_str(&response->head, line);
        if (!response->head.failed) {
            return true;
        }
        return fail(transfer, AK_HTTPC_PROTOCOL,
                    response->head.no_memory
                        ? ak_fail(&transfer->err, AK_NOMEM, "no memory for the answer's headers")
                        : ak_fail(&transfer->err, AK_TOO_BIG,
                                  "the answer's headers are longer than %zu bytes",
                                  HTTPC_HEAD_MAX));
    }
    if (response->status < 200) {
        return true;
    }
    transfer->head_told = true;
    enum ak_rc rc =
        request->on_head ? request->on_head(request->ctx, response, &transfer->err) : AK_OK;
    return rc == AK_OK || fail(transfer, AK_HTTPC_CALLBACK, rc);
}

bool ak_httpc_on_bytes(struct httpc_transfer *transfer, struct ak_str bytes)
{
    struct ak_httpc_response *response = transfer->response;
    const struct ak_httpc_request *request = transfer->request;
    if (request->on_body && response->status >= 200 && response->status < 300) {
        enum ak_rc rc = request->on_body(request->ctx, bytes, &transfer->err);
        response->received += rc == AK_OK ? bytes.len : 0;
        return rc == AK_OK || fail(transfer, AK_HTTPC_CALLBACK, rc);
    }
    ak_buf_add_str(&response->body, bytes);
    response->received += bytes.len;
    if (!response->body.failed) {
        return true;
    }
    return fail(transfer, AK_HTTPC_PROTOCOL,
                response->body.no_memory
                    ? ak_fail(&transfer->err, AK_NOMEM, "no memory for the answer")
                    : ak_fail(&transfer->err, AK_TOO_BIG, "the answer is longer than %zu bytes",
                              response->body.max));
}

bool ak_httpc_take(struct httpc_transfer *transfer, uint64_t at, void *p, size_t len)
{
    const struct ak_httpc_request *request = transfer->request;
    if (request->read) {
        enum ak_rc rc = request->read(request->ctx, at, p, len, &transfer->err);
        if (rc != AK_OK) {
            return fail(transfer, AK_HTTPC_CALLBACK, rc);
        }
    } else {
        memcpy(p, request->body.p + at, len);
    }
    transfer->response->sent += len;
    return true;
}

enum ak_rc ak_httpc_do(struct ak_httpc *client, const struct ak_httpc_request *request,
                       struct ak_httpc_response *response, struct ak_err *err)
{
    response->status = 0;
    response->sent = 0;
    response->received = 0;
    response->failure = AK_HTTPC_NONE;
    ak_buf_clear(&response->head);
    ak_buf_clear(&response->body);
    response->head.max = HTTPC_HEAD_MAX;
    response->body.max = request->body_max ? request->body_max : HTTPC_BODY_MAX_DEFAULT;
    return client->ops->perform(client, request, response, err);
}
