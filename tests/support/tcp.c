/* tcp.c — the blocking client. */
#include "support/tcp.h"
#include "support/test.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

bool ak_test_tcp_try_open(struct ak_test_tcp *tcp, uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    struct timeval limit = {.tv_sec = 30};
    *tcp = (struct ak_test_tcp){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    CHECK(tcp->fd >= 0);
    CHECK(setsockopt(tcp->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    CHECK(setsockopt(tcp->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0);
    CHECK(setsockopt(tcp->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
    return connect(tcp->fd, (struct sockaddr *)&address, sizeof address) == 0;
}

void ak_test_tcp_open(struct ak_test_tcp *tcp, uint16_t port)
{
    CHECK(ak_test_tcp_try_open(tcp, port));
}

void ak_test_tcp_close(struct ak_test_tcp *tcp)
{
    if (tcp->fd >= 0) {
        (void)close(tcp->fd);
        tcp->fd = -1;
    }
    ak_buf_release(&tcp->in);
}

void ak_test_tcp_reset(struct ak_test_tcp *tcp)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(tcp->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    ak_test_tcp_close(tcp);
}

void ak_test_tcp_send(struct ak_test_tcp *tcp, const void *p, size_t len)
{
    const char *at = p;
    while (len) {
        ssize_t n = send(tcp->fd, at, len, MSG_NOSIGNAL);
        if (n < 0) {
            CHECK(errno == EPIPE || errno == ECONNRESET);
            return;
        }
        at += n;
        len -= (size_t)n;
    }
}

void ak_test_tcp_send_text(struct ak_test_tcp *tcp, const char *text)
{
    ak_test_tcp_send(tcp, text, strlen(text));
}

size_t ak_test_tcp_send_some(struct ak_test_tcp *tcp, const void *p, size_t len)
{
    ssize_t n = send(tcp->fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    CHECK(n >= 0 || errno == EAGAIN || errno == EWOULDBLOCK);
    return n > 0 ? (size_t)n : 0;
}

void ak_test_tcp_half_close(struct ak_test_tcp *tcp)
{
    CHECK(shutdown(tcp->fd, SHUT_WR) == 0);
}

/* Receive more; false at the end. */
static bool receive(struct ak_test_tcp *tcp)
{
    if (tcp->ended) {
        return false;
    }
    char *to = ak_buf_reserve(&tcp->in, 65536);
    CHECK(to != NULL);
    ssize_t n = recv(tcp->fd, to, 65536, 0);
    CHECK(n >= 0 || errno == ECONNRESET);
    tcp->ended = n <= 0;
    tcp->in.len += n > 0 ? (size_t)n : 0;
    return n > 0;
}

static void consume(struct ak_test_tcp *tcp, size_t len)
{
    memmove(tcp->in.p, tcp->in.p + len, tcp->in.len - len);
    tcp->in.len -= len;
}

static const char *find(const struct ak_buf *buf, const char *text)
{
    return buf->len ? memmem(buf->p, buf->len, text, strlen(text)) : NULL;
}

bool ak_test_tcp_response(struct ak_test_tcp *tcp, struct ak_test_response *response,
                          bool has_no_body)
{
    *response = (struct ak_test_response){0};
    const char *end = find(&tcp->in, "\r\n\r\n");
    while (!end) {
        if (!receive(tcp)) {
            return false;
        }
        end = find(&tcp->in, "\r\n\r\n");
    }
    size_t head = (size_t)(end - tcp->in.p) + 4;
    ak_buf_add(&response->head, tcp->in.p, head);
    consume(tcp, head);
    CHECK(head > 12 && memcmp(response->head.p, "HTTP/1.1 ", 9) == 0);
    response->status = (int)strtol(ak_buf_cstr(&response->head) + 9, NULL, 10);
    const char *length = strstr(ak_buf_cstr(&response->head), "Content-Length: ");
    size_t want = length && !has_no_body ? (size_t)strtoull(length + 16, NULL, 10) : 0;
    while (tcp->in.len < want) {
        if (!receive(tcp)) {
            ak_test_response_release(response);
            return false;
        }
    }
    ak_buf_add(&response->body, tcp->in.p, want);
    consume(tcp, want);
    return true;
}

bool ak_test_tcp_chunked(struct ak_test_tcp *tcp, struct ak_buf *body)
{
    for (;;) {
        const char *end = find(&tcp->in, "\r\n");
        while (!end) {
            if (!receive(tcp)) {
                return false;
            }
            end = find(&tcp->in, "\r\n");
        }
        char *stop = NULL;
        size_t size = (size_t)strtoull(tcp->in.p, &stop, 16);
        CHECK(stop == end && stop > tcp->in.p);
        consume(tcp, (size_t)(end - tcp->in.p) + 2);
        while (tcp->in.len < size + 2) {
            if (!receive(tcp)) {
                return false;
            }
        }
        ak_buf_add(body, tcp->in.p, size);
        CHECK(memcmp(tcp->in.p + size, "\r\n", 2) == 0);
        consume(tcp, size + 2);
        if (size == 0) {
            return true;
        }
    }
}

void ak_test_response_release(struct ak_test_response *response)
{
    ak_buf_release(&response->head);
    ak_buf_release(&response->body);
}

bool ak_test_response_has(const struct ak_test_response *response, const char *line)
{
    char text[512];
    (void)snprintf(text, sizeof text, "\r\n%s\r\n", line);
    return find(&response->head, text) != NULL;
}

bool ak_test_tcp_ends(struct ak_test_tcp *tcp)
{
    while (receive(tcp)) {
    }
    return tcp->in.len == 0;
}
