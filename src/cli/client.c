/* client.c — the blocking client: send whole, read head, read body. */
#include "cli/client.h"
#include "base/json.h"
#include "base/mem.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_STEP ((size_t)64 << 10)
#define RESPONSE_MAX ((size_t)1 << 30)

struct ak_client {
    struct ak_endpoint endpoint;
    struct ak_buf in; /* bytes received and not yet consumed */
    int fd;           /* -1: not connected */
};

enum ak_rc ak_client_open(const char *url, struct ak_client **client, struct ak_err *err)
{
    struct ak_endpoint endpoint;
    enum ak_rc rc = ak_endpoint_parse(url, &endpoint, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_client *made = ak_zalloc(sizeof *made);
    made->endpoint = endpoint;
    made->fd = -1;
    ak_buf_init(&made->in, RESPONSE_MAX);
    *client = made;
    return AK_OK;
}

static void disconnect(struct ak_client *client)
{
    if (client->fd >= 0) {
        close(client->fd);
        client->fd = -1;
    }
    ak_buf_clear(&client->in);
}

void ak_client_close(struct ak_client *client)
{
    if (client) {
        disconnect(client);
        ak_buf_release(&client->in);
        ak_free(client);
    }
}

/* Wait for the socket; AK_TIMEOUT names the server. */
static enum ak_rc await(struct ak_client *client, short events, uint32_t timeout_ms,
                        struct ak_err *err)
{
    struct pollfd wait = {.fd = client->fd, .events = events};
    for (;;) {
        int n = poll(&wait, 1, (int)timeout_ms);
        if (n > 0) {
            return AK_OK;
        }
        if (n == 0) {
            return ak_fail(err, AK_TIMEOUT, "http://%s did not answer for %u s",
                           client->endpoint.authority, timeout_ms / 1000);
        }
        if (errno != EINTR) {
            return ak_fail_errno(err, errno, "wait for http://%s", client->endpoint.authority);
        }
    }
}

static enum ak_rc broken(struct ak_client *client, int error, struct ak_err *err)
{
    char text[128];
    return ak_fail(err, AK_UNAVAILABLE, "the connection to http://%s broke: %s",
                   client->endpoint.authority,
                   error ? strerror_r(error, text, sizeof text) : "closed by the server");
}

/* *answered: the server closed its reading side early, so it may have answered already. */
static enum ak_rc send_all(struct ak_client *client, struct ak_str bytes, uint32_t timeout_ms,
                           const struct ak_request *told, bool *answered, struct ak_err *err)
{
    size_t total = bytes.len;
    while (bytes.len > 0) {
        ssize_t n = send(client->fd, bytes.p, bytes.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            bytes = ak_str_sub(bytes, (size_t)n, bytes.len);
            if (told && told->sent) {
                told->sent(told->ctx, total - bytes.len);
            }
            continue;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            enum ak_rc rc = await(client, POLLOUT, timeout_ms, err);
            if (rc != AK_OK) {
                return rc;
            }
        } else if (errno == EPIPE || errno == ECONNRESET) {
            *answered = true;
            return AK_OK;
        } else if (errno != EINTR) {
            return broken(client, errno, err);
        }
    }
    return AK_OK;
}

/* One read more. AK_NOT_FOUND: the server closed the connection. */
static enum ak_rc receive(struct ak_client *client, uint32_t timeout_ms, struct ak_err *err)
{
    char *room = ak_buf_reserve(&client->in, READ_STEP);
    if (!room) {
        return ak_buf_check(&client->in, err);
    }
    for (;;) {
        enum ak_rc rc = await(client, POLLIN, timeout_ms, err);
        if (rc != AK_OK) {
            return rc;
        }
        ssize_t n = recv(client->fd, room, READ_STEP, 0);
        if (n > 0) {
            client->in.len += (size_t)n;
            return AK_OK;
        }
        if (n == 0) {
            return AK_NOT_FOUND;
        }
        if (errno != EINTR && errno != EAGAIN) {
            return broken(client, errno, err);
        }
    }
}

static void consume(struct ak_buf *in, size_t len)
{
    memmove(in->p, in->p + len, in->len - len);
    in->len -= len;
}

/* Bytes [0, len) of the input, reading until they are there. */
static enum ak_rc need(struct ak_client *client, size_t len, uint32_t timeout_ms,
                       struct ak_err *err)
{
    while (client->in.len < len) {
        enum ak_rc rc = receive(client, timeout_ms, err);
        if (rc != AK_OK) {
            return rc == AK_NOT_FOUND ? broken(client, 0, err) : rc;
        }
    }
    return AK_OK;
}

static enum ak_rc read_chunks(struct ak_client *client, uint32_t timeout_ms,
                              const struct ak_request *sink, struct ak_buf *body,
                              struct ak_err *err)
{
    for (;;) {
        const char *line_end;
        while (
            !(line_end = client->in.len ? memmem(client->in.p, client->in.len, "\r\n", 2) : NULL)) {
            enum ak_rc rc = need(client, client->in.len + 1, timeout_ms, err);
            if (rc != AK_OK) {
                return rc;
            }
        }
        uint64_t size = 0;
        size_t digits = 0;
        for (const char *p = client->in.p; p < line_end && *p != ';' && *p != ' '; p++, digits++) {
            int value = *p >= '0' && *p <= '9'   ? *p - '0'
                        : *p >= 'a' && *p <= 'f' ? *p - 'a' + 10
                        : *p >= 'A' && *p <= 'F' ? *p - 'A' + 10
                                                 : -1;
            if (value < 0 || digits > 8) {
                return ak_fail(err, AK_UNAVAILABLE, "http://%s sent a malformed chunk",
                               client->endpoint.authority);
            }
            size = size * 16 + (uint64_t)value;
        }
        size_t head = (size_t)(line_end - client->in.p) + 2;
        enum ak_rc rc = need(client, head + size + 2, timeout_ms, err);
        if (rc != AK_OK) {
            return rc;
        }
        if (sink && size) {
            rc = sink->sink(sink->ctx, client->in.p + head, size, err);
            if (rc != AK_OK) {
                return rc;
            }
        } else {
            ak_buf_add(body, client->in.p + head, size);
        }
        consume(&client->in, head + size + 2);
        if (size == 0) {
            return ak_buf_check(body, err); /* trailers are not used by our server */
        }
    }
}

/* A proxy may have turned the chunks into a body of a known length. */
static enum ak_rc read_to_sink(struct ak_client *client, const struct ak_response_head *head,
                               uint32_t timeout_ms, const struct ak_request *request,
                               struct ak_err *err)
{
    if (!head->has_length) {
        return ak_fail(err, AK_UNAVAILABLE,
                       "the answer has no length, so that it cannot be told whether it is whole");
    }
    enum ak_rc rc = AK_OK;
    for (uint64_t left = head->length; left > 0 && rc == AK_OK;) {
        rc = need(client, 1, timeout_ms, err);
        size_t n = client->in.len < left ? client->in.len : (size_t)left;
        rc = rc == AK_OK ? request->sink(request->ctx, client->in.p, n, err) : rc;
        if (rc == AK_OK) {
            consume(&client->in, n);
            left -= n;
        }
    }
    return rc;
}

static enum ak_rc read_body(struct ak_client *client, const struct ak_response_head *head,
                            uint32_t timeout_ms, const struct ak_request *request,
                            struct ak_buf *body, struct ak_err *err)
{
    bool to_sink = request->sink && head->status / 100 == 2;
    if (head->chunked) {
        return read_chunks(client, timeout_ms, to_sink ? request : NULL, body, err);
    }
    if (to_sink) {
        return read_to_sink(client, head, timeout_ms, request, err);
    }
    if (head->has_length) {
        if (head->length > RESPONSE_MAX - READ_STEP) {
            return ak_fail(err, AK_TOO_BIG, "the answer is larger than 1 GiB");
        }
        enum ak_rc rc = need(client, (size_t)head->length, timeout_ms, err);
        if (rc == AK_OK) {
            ak_buf_add(body, client->in.p, (size_t)head->length);
            consume(&client->in, (size_t)head->length);
            rc = ak_buf_check(body, err);
        }
        return rc;
    }
    enum ak_rc rc;
    do {
        rc = receive(client, timeout_ms, err);
    } while (rc == AK_OK);
    if (rc != AK_NOT_FOUND) {
        return rc;
    }
    ak_buf_add_str(body, ak_buf_str(&client->in));
    ak_buf_clear(&client->in);
    return ak_buf_check(body, err);
}

static enum ak_rc read_head(struct ak_client *client, uint32_t timeout_ms,
                            struct ak_response_head *head, struct ak_err *err)
{
    for (;;) {
        enum ak_head_state state = ak_response_head_read(ak_buf_str(&client->in), head);
        if (state == AK_HEAD_BAD) {
            return ak_fail(err, AK_UNAVAILABLE, "http://%s does not speak HTTP/1.1",
                           client->endpoint.authority);
        }
        if (state == AK_HEAD_WHOLE) {
            consume(&client->in, head->head_len);
            if (head->status >= 200) {
                return AK_OK;
            }
            continue; /* 100 Continue and its like come before the answer */
        }
        enum ak_rc rc = need(client, client->in.len + 1, timeout_ms, err);
        if (rc != AK_OK) {
            return rc;
        }
    }
}

/* A kept connection that is readable before we ask was closed by the server. */
static enum ak_rc ensure_connected(struct ak_client *client, uint32_t timeout_ms,
                                   struct ak_err *err)
{
    if (client->fd >= 0) {
        struct pollfd probe = {.fd = client->fd, .events = POLLIN};
        if (client->in.len == 0 && poll(&probe, 1, 0) == 0) {
            return AK_OK;
        }
        disconnect(client);
    }
    return ak_endpoint_connect(&client->endpoint, (int)timeout_ms, &client->fd, err);
}

enum ak_rc ak_client_send(struct ak_client *client, const struct ak_request *request, int *status,
                          struct ak_buf *body, struct ak_err *err)
{
    uint32_t timeout_ms = request->timeout_ms ? request->timeout_ms : AK_CLIENT_TIMEOUT_MS;
    enum ak_rc rc = ensure_connected(client, timeout_ms, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_buf head;
    ak_buf_init(&head, AK_RESPONSE_HEAD_MAX);
    ak_buf_add_fmt(&head, "%s %s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: akidb/" AKIDB_VERSION "\r\n",
                   request->method, client->endpoint.prefix, request->path,
                   client->endpoint.authority);
    if (request->is_unlogged) {
        ak_buf_add_str(&head, AK_STR("Akidb-Query-Log: off\r\n"));
    }
    if (request->content_type) {
        ak_buf_add_fmt(&head, "Content-Type: %s\r\nContent-Length: %zu\r\n", request->content_type,
                       request->body.len);
    }
    ak_buf_add_str(&head, AK_STR("\r\n"));
    bool answered = false;
    rc = ak_buf_check(&head, err);
    if (rc == AK_OK) {
        rc = send_all(client, ak_buf_str(&head), timeout_ms, NULL, &answered, err);
    }
    if (rc == AK_OK && request->content_type && !answered) {
        rc = send_all(client, request->body, timeout_ms, request, &answered, err);
    }
    ak_buf_release(&head);
    struct ak_response_head response = {0};
    if (rc == AK_OK) {
        rc = read_head(client, timeout_ms, &response, err);
    }
    if (rc == AK_OK) {
        ak_buf_clear(body);
        rc = read_body(client, &response, timeout_ms, request, body, err);
    }
    if (rc != AK_OK || answered || !response.keep_alive) {
        disconnect(client);
    }
    if (rc == AK_OK) {
        *status = response.status;
    }
    return rc;
}

static enum ak_rc rc_of(struct ak_str code, int status)
{
    for (int i = 0; i < AK_RC_COUNT; i++) {
        if (ak_str_eq(code, ak_str_of(ak_rc_name((enum ak_rc)i))) && i != AK_OK) {
            return (enum ak_rc)i;
        }
    }
    for (int i = 0; i < AK_RC_COUNT; i++) {
        if (i != AK_OK && ak_rc_http_status((enum ak_rc)i) == status) {
            return (enum ak_rc)i;
        }
    }
    return status >= 500 ? AK_UNAVAILABLE : AK_INVALID;
}

/* {"error":{"code":"NOT_FOUND","message":"…"}}: false when the body is something else. */
static bool read_error(struct ak_str body, struct ak_json *in, struct ak_str *code,
                       struct ak_str *message)
{
    struct ak_str key;
    ak_json_init(in, body);
    ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        if (!ak_str_eq(key, AK_STR("error")) || ak_json_peek(in) != AK_JSON_OBJECT) {
            (void)ak_json_skip(in, NULL);
            continue;
        }
        ak_json_object(in);
        while (ak_json_next_key(in, &key)) {
            if (ak_str_eq(key, AK_STR("code"))) {
                (void)ak_json_string(in, code);
            } else if (ak_str_eq(key, AK_STR("message"))) {
                (void)ak_json_string(in, message);
            } else {
                (void)ak_json_skip(in, NULL);
            }
        }
    }
    return !ak_json_failed(in) && code->len > 0;
}

enum ak_rc ak_client_call(struct ak_client *client, const struct ak_request *request,
                          struct ak_buf *body, struct ak_err *err)
{
    int status = 0;
    enum ak_rc rc = ak_client_send(client, request, &status, body, err);
    if (rc != AK_OK || (status >= 200 && status < 300)) {
        return rc;
    }
    struct ak_json in;
    struct ak_str code = AK_STR_NONE;
    struct ak_str message = AK_STR_NONE;
    if (read_error(ak_buf_str(body), &in, &code, &message)) {
        rc = ak_fail(err, rc_of(code, status), "%.*s", AK_STR_ARG(message));
    } else {
        rc = ak_fail(err, rc_of(AK_STR_NONE, status), "http://%s answered %d to %s %s",
                     client->endpoint.authority, status, request->method, request->path);
    }
    ak_json_release(&in);
    return rc;
}

void ak_url_put(struct ak_buf *out, struct ak_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '_' || c == '.' || c == '~';
        if (plain) {
            ak_buf_add_char(out, (char)c);
        } else {
            ak_buf_add_fmt(out, "%%%02X", c);
        }
    }
}
