/* listener.c — the listening socket: parsing the address, accepting, giving connections to loops.
 *
 * The first loop accepts for all of them and gives each connection to the loop that has the fewest:
 * the kernel's own spreading (SO_REUSEPORT) is by hash, so that of eight clients seven may meet on
 * one core. A connection for another loop travels as a post; at shutdown the first loop stops
 * accepting before it posts the others' end, and posts keep their order, so none is lost on the
 * way.
 *
 * TCP_NODELAY and SO_KEEPALIVE are set on the listening socket: Linux hands them on to the
 * accepted.
 */
#include "base/mem.h"
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

static int bound_socket(const struct addrinfo *at, uint16_t port)
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
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {.v6 = {0}};
    socklen_t len = sizeof address;
    if (getsockname(fd, &address.any, &len) != 0) {
        return 0;
    }
    return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
}

/* Bind and listen on one address; on failure errno tells and nothing stays open. */
static bool open_socket(struct ak_http_server *server, const struct addrinfo *at, uint16_t port)
{
    int fd = bound_socket(at, port);
    if (fd >= 0 && listen(fd, BACKLOG) != 0) {
        int errnum = errno;
        (void)close(fd);
        errno = errnum;
        fd = -1;
    }
    if (fd < 0) {
        return false;
    }
    server->port = port ? port : port_of(fd);
    server->loops[0].listen_io.fd = fd;
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
    bool ok = open_socket(server, found, port);
    freeaddrinfo(found);
    if (!ok && !host[0]) { /* a system without IPv6 */
        found = NULL;
        if (getaddrinfo("0.0.0.0", NULL, &hints, &found) == 0) {
            ok = open_socket(server, found, port);
            freeaddrinfo(found);
        }
    }
    return ok ? AK_OK : ak_fail_errno(err, errno, "listen on %.200s", listen);
}

/* --- Accepting --- */

/* Begin to serve a connection, on its loop. */
static void admit(struct ak_net_loop *nl, int fd, bool is_over)
{
    struct ak_http_server *server = nl->server;
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

struct handover {
    struct ak_loop_post post; /* first: on_handover() finds the rest by it */
    struct ak_net_loop *nl;
    int fd;
};

static void on_handover(struct ak_loop_post *post)
{
    struct handover *handover = (struct handover *)(void *)post;
    admit(handover->nl, handover->fd, false);
    ak_free(handover);
}

static struct ak_net_loop *least_loaded(struct ak_http_server *server)
{
    struct ak_net_loop *least = &server->loops[0];
    unsigned started = atomic_load(&server->started);
    for (unsigned i = 1; i < started; i++) {
        if (atomic_load_explicit(&server->loops[i].assigned, memory_order_relaxed) <
            atomic_load_explicit(&least->assigned, memory_order_relaxed)) {
            least = &server->loops[i];
        }
    }
    return least;
}

/* A connection was accepted on the first loop. */
static void place(struct ak_net_loop *nl, int fd)
{
    struct ak_http_server *server = nl->server;
    uint32_t open = atomic_fetch_add_explicit(&server->connections, 1, memory_order_relaxed);
    if (open >= server->options.connections_max) {
        atomic_fetch_sub_explicit(&server->connections, 1, memory_order_relaxed);
        if (nl->refusing >= REFUSING_MAX) {
            (void)close(fd);
            return;
        }
        nl->refusing++;
        admit(nl, fd, true);
        return;
    }
    ak_series_change(server->connections_series, 1);
    struct ak_net_loop *to = least_loaded(server);
    atomic_fetch_add_explicit(&to->assigned, 1, memory_order_relaxed);
    if (to == nl) {
        admit(nl, fd, false);
        return;
    }
    struct handover *handover = ak_alloc(sizeof *handover);
    *handover = (struct handover){.post.fn = on_handover, .nl = to, .fd = fd};
    ak_loop_post(to->loop, &handover->post);
}

/* Accept one. false: nothing more for now. */
static bool accept_one(struct ak_net_loop *nl)
{
    int fd = accept4(nl->listen_io.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        place(nl, fd);
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
