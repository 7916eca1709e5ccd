/* listener.c — listening sockets: parsing the address, one SO_REUSEPORT socket a loop, accepting.
 *
 * With SO_REUSEPORT a second process of the same user could bind the same port and take half of the
 * connections without anybody noticing. So the port is first bound without it, which fails while
 * anybody listens there, and only then by each loop.
 *
 * TCP_NODELAY and SO_KEEPALIVE are set on the listening socket: Linux hands them on to the
 * accepted.
 */
#include "net/net_priv.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096
#define ACCEPTS_A_ROUND 512 /* then the others have their turn */
#define RETRY_MS 100        /* after running out of descriptors or memory */
#define REFUSING_MAX 256u   /* connections over the limit that get a 503; more are closed */

/* --- The address --- */

enum ak_rc ak_listen_parse(const char *listen, char host[AK_NET_HOST_MAX], uint16_t *port,
                           struct ak_err *err)
{
    struct ak_str text = ak_str_of(listen);
    struct ak_str name = AK_STR_NONE;
    struct ak_str number = AK_STR_NONE;
    bool ok = false;
    if (text.len && text.p[0] == '[') {
        ok = ak_str_split(ak_str_sub(text, 1, SIZE_MAX), ']', &name, &number) && name.len &&
             number.len && number.p[0] == ':';
        number = ak_str_sub(number, 1, SIZE_MAX);
    } else {
        ok = ak_str_split(text, ':', &name, &number) &&
             (!number.len || !memchr(number.p, ':', number.len));
    }
    uint64_t value = 0;
    if (!ok || name.len >= AK_NET_HOST_MAX || !ak_str_u64(number, 65535, &value)) {
        return ak_fail(err, AK_INVALID,
                       "listen address '%.200s': expected host:port, [IPv6]:port or :port", listen);
    }
    if (name.len) {
        memcpy(host, name.p, name.len);
    }
    host[name.len] = '\0';
    *port = (uint16_t)value;
    return AK_OK;
}

/* --- Sockets --- */

static void set_on(int fd, int level, int option)
{
    int on = 1;
    (void)setsockopt(fd, level, option, &on, sizeof on);
}

static int bound_socket(const struct addrinfo *at, uint16_t port, bool shared)
{
    struct sockaddr_storage address = {0};
    memcpy(&address, at->ai_addr, at->ai_addrlen);
    if (at->ai_family == AF_INET6) {
        ((struct sockaddr_in6 *)(void *)&address)->sin6_port = htons(port);
    } else {
        ((struct sockaddr_in *)(void *)&address)->sin_port = htons(port);
    }
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    set_on(fd, SOL_SOCKET, SO_REUSEADDR);
    set_on(fd, SOL_SOCKET, SO_KEEPALIVE);
    set_on(fd, IPPROTO_TCP, TCP_NODELAY);
    if (shared) {
        set_on(fd, SOL_SOCKET, SO_REUSEPORT);
    }
    if (at->ai_family == AF_INET6) { /* [::] serves IPv4 too, whatever the system's default */
        int off = 0;
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    }
    if (bind(fd, (struct sockaddr *)&address, at->ai_addrlen) != 0) {
        int errnum = errno;
        (void)close(fd);
        errno = errnum;
        return -1;
    }
    return fd;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        return 0;
    }
    return ntohs(address.ss_family == AF_INET6
                     ? ((struct sockaddr_in6 *)(void *)&address)->sin6_port
                     : ((struct sockaddr_in *)(void *)&address)->sin_port);
}

/* Bind and listen for every loop on one address; on failure errno tells and nothing stays open. */
static bool open_all(struct ak_http_server *server, const struct addrinfo *at, uint16_t port)
{
    int probe = port ? bound_socket(at, port, false) : -1;
    if (port && probe < 0) {
        return false;
    }
    if (probe >= 0) {
        (void)close(probe);
    }
    for (unsigned i = 0; i < server->loop_count; i++) {
        int fd = bound_socket(at, port, server->loop_count > 1);
        if (fd < 0 || listen(fd, BACKLOG) != 0) {
            int errnum = errno;
            if (fd >= 0) {
                (void)close(fd);
            }
            while (i > 0) {
                i--;
                (void)close(server->loops[i].listen_io.fd);
                server->loops[i].listen_io.fd = -1;
            }
            errno = errnum;
            return false;
        }
        port = port ? port : port_of(fd);
        server->loops[i].listen_io.fd = fd;
    }
    server->port = port;
    return true;
}

enum ak_rc ak_listen_open(struct ak_http_server *server, const char *listen, struct ak_err *err)
{
    char host[AK_NET_HOST_MAX];
    uint16_t port = 0;
    enum ak_rc rc = ak_listen_parse(listen, host, &port, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    const char *name = host[0] ? host : "::";
    int code = getaddrinfo(name, NULL, &hints, &found);
    if (code != 0) {
        return ak_fail(err, AK_INVALID, "listen address '%.200s': %s", listen, gai_strerror(code));
    }
    bool ok = open_all(server, found, port);
    freeaddrinfo(found);
    if (!ok && !host[0]) { /* a system without IPv6 */
        found = NULL;
        if (getaddrinfo("0.0.0.0", NULL, &hints, &found) == 0) {
            ok = open_all(server, found, port);
            freeaddrinfo(found);
        }
    }
    return ok ? AK_OK : ak_fail_errno(err, errno, "listen on %.200s", listen);
}

/* --- Accepting --- */

static void admit(struct ak_net_loop *nl, int fd)
{
    struct ak_http_server *server = nl->server;
    uint32_t open = atomic_fetch_add_explicit(&server->connections, 1, memory_order_relaxed);
    bool is_over = open >= server->options.connections_max;
    if (is_over) {
        atomic_fetch_sub_explicit(&server->connections, 1, memory_order_relaxed);
        if (nl->refusing >= REFUSING_MAX) {
            (void)close(fd);
            return;
        }
        nl->refusing++;
    } else {
        ak_series_change(server->connections_series, 1);
    }
    struct ak_conn *conn = ak_conn_open(nl, &ak_conn_socket, NULL, fd);
    conn->counted = !is_over;
    struct ak_err err = {0};
    if (ak_loop_add(nl->loop, &conn->io, &err) != AK_OK) {
        ak_log_warn(server->options.log, "net", "%s", err.text);
        ak_conn_kill(conn);
        return;
    }
    if (is_over) {
        conn->proto->refuse(conn, 503, AK_UNAVAILABLE,
                            "too many connections: close some or try again later");
    }
    ak_conn_run_soon(conn);
}

/* Accept one. false: nothing more for now. */
static bool accept_one(struct ak_net_loop *nl)
{
    int fd = accept4(nl->listen_io.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        admit(nl, fd);
        return true;
    }
    switch (errno) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return true; /* this one connection is lost */
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        ak_log_warn(nl->server->options.log, "net", "cannot accept: %s (trying again)",
                    errno == EMFILE || errno == ENFILE ? "out of file descriptors"
                                                       : "out of memory");
        ak_loop_timer_set(nl->loop, &nl->accept_timer, RETRY_MS);
        return false;
    default:
        return false;
    }
}

static void accept_some(struct ak_net_loop *nl)
{
    for (int i = 0; nl->listening; i++) {
        if (i == ACCEPTS_A_ROUND) {
            ak_loop_timer_set(nl->loop, &nl->accept_timer, 1);
            return;
        }
        if (!accept_one(nl)) {
            return;
        }
    }
}

static void on_listen_event(struct ak_loop_io *io, unsigned events)
{
    (void)events;
    accept_some(
        (struct ak_net_loop *)(void *)((char *)io - offsetof(struct ak_net_loop, listen_io)));
}

static void on_accept_timer(struct ak_loop_timer *timer)
{
    accept_some(
        (struct ak_net_loop *)(void *)((char *)timer - offsetof(struct ak_net_loop, accept_timer)));
}

void ak_listen_start(struct ak_net_loop *nl)
{
    struct ak_err err = {0};
    nl->listen_io.fn = on_listen_event;
    nl->accept_timer.fn = on_accept_timer;
    nl->listening = true;
    if (ak_loop_add(nl->loop, &nl->listen_io, &err) != AK_OK) {
        ak_log_error(nl->server->options.log, "net", "%s", err.text);
    }
}

void ak_listen_stop(struct ak_net_loop *nl)
{
    if (!nl->listening) {
        return;
    }
    /* Closing the socket would reset those that wait in its queue. */
    for (int i = 0; i < BACKLOG && accept_one(nl); i++) {
    }
    nl->listening = false;
    ak_loop_timer_drop(nl->loop, &nl->accept_timer);
    ak_loop_remove(nl->loop, &nl->listen_io);
    (void)close(nl->listen_io.fd);
    nl->listen_io.fd = -1;
}
