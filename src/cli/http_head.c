/* http_head.c — response heads, URLs and connections. */
#include "cli/http_head.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void read_header(struct ak_str line, struct ak_response_head *head, bool *bad)
{
    struct ak_str name;
    struct ak_str value;
    if (!ak_str_split(line, ':', &name, &value)) {
        *bad = true;
        return;
    }
    value = ak_str_trim(value);
    if (ak_str_eq_nocase(name, AK_STR("content-length"))) {
        *bad = *bad || !ak_str_u64(value, UINT64_MAX, &head->length);
        head->has_length = true;
    } else if (ak_str_eq_nocase(name, AK_STR("transfer-encoding"))) {
        head->chunked = ak_str_eq_nocase(value, AK_STR("chunked"));
        *bad = *bad || !head->chunked;
    } else if (ak_str_eq_nocase(name, AK_STR("connection"))) {
        head->keep_alive = !ak_str_eq_nocase(value, AK_STR("close"));
    }
}

enum ak_head_state ak_response_head_read(struct ak_str bytes, struct ak_response_head *head)
{
    const char *end = bytes.len ? memmem(bytes.p, bytes.len, "\r\n\r\n", 4) : NULL;
    if (!end) {
        return bytes.len > AK_RESPONSE_HEAD_MAX ? AK_HEAD_BAD : AK_HEAD_PARTIAL;
    }
    struct ak_response_head next = {.head_len = (size_t)(end - bytes.p) + 4, .keep_alive = true};
    struct ak_str rest = {bytes.p, (size_t)(end - bytes.p)};
    struct ak_str line;
    struct ak_str tail;
    bool bad = false;
    (void)ak_str_split(rest, '\n', &line, &tail);
    line = ak_str_trim(line);
    uint64_t status;
    if (line.len < 12 || !ak_str_has_prefix(line, AK_STR("HTTP/1.")) ||
        !ak_str_u64(ak_str_sub(line, 9, 3), 999, &status)) {
        return AK_HEAD_BAD;
    }
    next.status = (int)status;
    while (tail.len > 0) {
        rest = tail;
        (void)ak_str_split(rest, '\n', &line, &tail);
        read_header(ak_str_trim(line), &next, &bad);
    }
    if (status == 204 || status == 304 || status < 200) {
        next.has_length = true;
        next.chunked = false;
        next.length = 0;
    }
    if (bad) {
        return AK_HEAD_BAD;
    }
    *head = next;
    return AK_HEAD_WHOLE;
}

enum ak_rc ak_endpoint_parse(const char *url, struct ak_endpoint *endpoint, struct ak_err *err)
{
    struct ak_str rest = ak_str_of(url);
    if (ak_str_has_prefix(rest, AK_STR("https://"))) {
        return ak_fail(err, AK_UNSUPPORTED,
                       "'%s': TLS is not spoken here; put a proxy between, or use http://", url);
    }
    if (!ak_str_has_prefix(rest, AK_STR("http://"))) {
        return ak_fail(err, AK_INVALID, "'%s' is not a URL like http://127.0.0.1:8080", url);
    }
    rest = ak_str_sub(rest, 7, rest.len);
    struct ak_str authority;
    struct ak_str path;
    bool has_path = ak_str_split(rest, '/', &authority, &path);
    struct ak_str host = authority;
    struct ak_str port = AK_STR_NONE;
    if (authority.len > 0 && authority.p[0] == '[') {
        struct ak_str after;
        if (!ak_str_split(ak_str_sub(authority, 1, authority.len), ']', &host, &after)) {
            return ak_fail(err, AK_INVALID, "'%s': the address has no closing ']'", url);
        }
        port = ak_str_sub(after, 1, after.len);
    } else {
        (void)ak_str_split(authority, ':', &host, &port);
    }
    uint64_t number = 80;
    if (host.len == 0 || (port.len > 0 && !ak_str_u64(port, 65535, &number)) || number == 0 ||
        host.len >= sizeof endpoint->host || path.len + 1 >= sizeof endpoint->prefix) {
        return ak_fail(err, AK_INVALID, "'%s' is not a URL like http://127.0.0.1:8080", url);
    }
    while (path.len > 0 && path.p[path.len - 1] == '/') {
        path.len--;
    }
    (void)snprintf(endpoint->host, sizeof endpoint->host, "%.*s", AK_STR_ARG(host));
    (void)snprintf(endpoint->port, sizeof endpoint->port, "%u", (unsigned)number);
    (void)snprintf(endpoint->authority, sizeof endpoint->authority, "%.*s", AK_STR_ARG(authority));
    (void)snprintf(endpoint->prefix, sizeof endpoint->prefix, "%s%.*s",
                   has_path && path.len ? "/" : "", AK_STR_ARG(path));
    return AK_OK;
}

/* 0, or the errno of the attempt. */
static int connect_one(const struct addrinfo *address, int timeout_ms, int *out)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return errno;
    }
    int error = 0;
    if (connect(fd, address->ai_addr, address->ai_addrlen) != 0) {
        error = errno;
        struct pollfd wait = {.fd = fd, .events = POLLOUT};
        socklen_t len = sizeof error;
        if (error == EINPROGRESS) {
            int n = poll(&wait, 1, timeout_ms);
            if (n <= 0) {
                error = n == 0 ? ETIMEDOUT : errno;
            } else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) {
                error = errno;
            }
        }
    }
    int flags = fcntl(fd, F_GETFL);
    if (error == 0 && (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0)) {
        error = errno;
    }
    if (error != 0) {
        close(fd);
        return error;
    }
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    *out = fd;
    return 0;
}

enum ak_rc ak_endpoint_connect(const struct ak_endpoint *endpoint, int timeout_ms, int *fd,
                               struct ak_err *err)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int failed = getaddrinfo(endpoint->host, endpoint->port, &hints, &list);
    if (failed) {
        return ak_fail(err, AK_UNAVAILABLE, "cannot find %s: %s", endpoint->host,
                       gai_strerror(failed));
    }
    int error = EHOSTUNREACH;
    for (const struct addrinfo *a = list; a && error != 0; a = a->ai_next) {
        error = connect_one(a, timeout_ms, fd);
    }
    freeaddrinfo(list);
    if (error != 0) {
        char text[128];
        return ak_fail(err, AK_UNAVAILABLE, "cannot reach http://%s: %s%s", endpoint->authority,
                       strerror_r(error, text, sizeof text),
                       error == ECONNREFUSED ? "; is `akidb serve` running?" : "");
    }
    return AK_OK;
}
