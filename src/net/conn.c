/* conn.c — a connection: reads, writes, time limits, closing. It knows no HTTP.
 *
 *   open ──▶ running ──▶ closing ──▶ (all written) ──▶ lingering ──▶ dead ──▶ freed
 *               │           ▲                              ▲
 *               └── peer ended, idle too long, drain ──────┴── peer gone: dead at once
 *
 * I1  readiness is edge-triggered: `readable` and `writable` stay true until the system said EAGAIN
 *     or gave less than asked; nothing waits for an event that has come already.
 * I2  ak_conn_run() is the only driver and never nests; a response given while it runs is taken up
 *     by it, one given at any other time puts the connection on the loop's todo list.
 * I3  a dead connection stays in memory until the end of the round, since events of this round may
 *     still name it.
 *
 * Lingering: a socket closed with unread input sends a reset, which can destroy the response on its
 * way. So, where input may be left, the writing side is shut first and input is discarded until the
 * peer closes or AK_NET_LINGER_MS went by.
 */
#include "base/mem.h"
#include "net/net_priv.h"
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define IOV_MAX_USED 64
#define READS_A_RUN 16 /* so that one busy connection does not keep the others waiting */

static ssize_t socket_read(struct ak_conn *conn, void *p, size_t len)
{
    return recv(conn->io.fd, p, len, 0);
}

static ssize_t socket_write(struct ak_conn *conn, const struct iovec *iov, int count)
{
    union {
        const struct iovec *in;
        struct iovec *out;
    } cast = {.in = iov}; /* sendmsg does not write to it, its type only says so */
    struct msghdr message = {.msg_iov = cast.out, .msg_iovlen = (size_t)count};
    return sendmsg(conn->io.fd, &message, MSG_NOSIGNAL);
}

static void socket_shut(struct ak_conn *conn)
{
    (void)shutdown(conn->io.fd, SHUT_WR);
}

static void socket_reset(struct ak_conn *conn)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(conn->io.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

static void socket_close(struct ak_conn *conn)
{
    ak_loop_remove(conn->nl->loop, &conn->io);
    (void)close(conn->io.fd);
}

const struct ak_conn_transport ak_conn_socket = {socket_read, socket_write, socket_shut,
                                                 socket_reset, socket_close};

static int64_t now_ms(const struct ak_conn *conn)
{
    return ak_loop_now_ms(conn->nl->loop);
}

/* --- Requests of the connection --- */

void ak_conn_append(struct ak_conn *conn, struct ak_http_request *request)
{
    request->prev = conn->last;
    request->next = NULL;
    if (conn->last) {
        conn->last->next = request;
    } else {
        conn->first = request;
    }
    conn->last = request;
    if (!conn->unqueued) {
        conn->unqueued = request;
    }
    conn->under_way++;
}

void ak_conn_remove(struct ak_conn *conn, struct ak_http_request *request)
{
    if (conn->unqueued == request) {
        conn->unqueued = request->next;
    }
    if (request->prev) {
        request->prev->next = request->next;
    } else {
        conn->first = request->next;
    }
    if (request->next) {
        request->next->prev = request->prev;
    } else {
        conn->last = request->prev;
    }
    request->next = request->prev = NULL;
    conn->under_way--;
    conn->progress++;
    conn->idle_since_ms = now_ms(conn);
}

/* --- Life --- */

_Static_assert(offsetof(struct ak_conn, io) == 0, "on_event finds the connection by its io");

static void on_timer(struct ak_loop_timer *timer);
static void on_event(struct ak_loop_io *io, unsigned events);

struct ak_conn *ak_conn_open(struct ak_net_loop *nl, const struct ak_conn_transport *transport,
                             void *transport_ctx, int fd)
{
    const struct ak_conn_proto *proto = &ak_http1_proto;
    struct ak_conn *conn = ak_zalloc(sizeof *conn + proto->state_bytes);
    conn->state = conn + 1;
    conn->nl = nl;
    conn->io = (struct ak_loop_io){on_event, fd};
    conn->timer.fn = on_timer;
    conn->transport = transport;
    conn->transport_ctx = transport_ctx;
    conn->proto = proto;
    conn->readable = true;
    conn->writable = true;
    conn->idle_since_ms = now_ms(conn);
    conn->next = nl->conns;
    if (nl->conns) {
        nl->conns->prev = conn;
    }
    nl->conns = conn;
    nl->conn_count++;
    proto->open(conn);
    return conn;
}

void ak_conn_kill(struct ak_conn *conn)
{
    struct ak_net_loop *nl = conn->nl;
    if (conn->dead) {
        return;
    }
    conn->dead = true;
    ak_loop_timer_drop(nl->loop, &conn->timer);
    conn->proto->release(conn);
    conn->transport->close(conn);
    ak_net_chunk_unref(nl, conn->in);
    conn->in = NULL;
    if (conn->prev) {
        conn->prev->next = conn->next;
    } else {
        nl->conns = conn->next;
    }
    if (conn->next) {
        conn->next->prev = conn->prev;
    }
    nl->conn_count--;
    if (conn->counted) {
        atomic_fetch_sub_explicit(&nl->server->connections, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&nl->assigned, 1, memory_order_relaxed);
        ak_series_change(nl->server->connections_series, -1);
    } else if (nl->refusing) {
        nl->refusing--;
    }
    conn->next = nl->graves;
    nl->graves = conn;
}

void ak_conn_run_soon(struct ak_conn *conn)
{
    if (!conn->in_todo && !conn->dead) {
        conn->in_todo = true;
        conn->todo_next = conn->nl->todo;
        conn->nl->todo = conn;
    }
}

/* --- Reading and writing --- */

/* Read once. true: something came, or the end. */
static bool read_some(struct ak_conn *conn)
{
    char *p = conn->nl->scratch;
    size_t room = AK_NET_SCRATCH_BYTES;
    if (!conn->lingering && !conn->proto->space(conn, &p, &room)) {
        return false;
    }
    ssize_t n = conn->transport->read(conn, p, room);
    if (n > 0) {
        conn->readable = (size_t)n == room || conn->half;
        if (!conn->lingering) {
            conn->proto->received(conn, (size_t)n);
        }
        return true;
    }
    if (n == 0) {
        conn->readable = false;
        conn->eof = true;
        if (!conn->lingering) {
            conn->proto->eof(conn);
        }
        return true;
    }
    if (errno == EINTR) {
        return true;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        conn->readable = false;
    } else {
        ak_conn_kill(conn);
    }
    return false;
}

static void write_some(struct ak_conn *conn)
{
    conn->pace_due_ms = 0;
    while (conn->writable && conn->out_bytes) {
        struct iovec iov[IOV_MAX_USED];
        int count = conn->proto->gather(conn, iov, IOV_MAX_USED);
        size_t want = 0;
        for (int i = 0; i < count; i++) {
            want += iov[i].iov_len;
        }
        if (want == 0) {
            return;
        }
        ssize_t n = conn->transport->write(conn, iov, count);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
            ak_conn_kill(conn);
            return;
        }
        conn->writable = n == (ssize_t)want;
        if (n > 0) {
            conn->write_since_ms = now_ms(conn);
            conn->proto->sent(conn, (size_t)n);
        }
    }
}

static void write_all(struct ak_conn *conn)
{
    write_some(conn);
    if (conn->resetting && !conn->dead) {
        conn->transport->reset(conn);
        ak_conn_kill(conn);
    }
}

/* --- Driving --- */

static void linger_or_close(struct ak_conn *conn)
{
    bool may_have_input = conn->readable || conn->at < conn->fill || !conn->proto->is_idle(conn);
    if (conn->eof || !may_have_input) {
        ak_conn_kill(conn);
        return;
    }
    conn->lingering = true;
    conn->linger_until_ms = now_ms(conn) + AK_NET_LINGER_MS;
    conn->transport->shut(conn);
}

/* Give the read buffer back while nothing is in it: an idle connection holds none. */
static void release_idle_input(struct ak_conn *conn)
{
    if (conn->in && conn->proto->is_idle(conn)) {
        ak_net_chunk_unref(conn->nl, conn->in);
        conn->in = NULL;
        conn->at = conn->fill = conn->keep = 0;
    }
}

static void set_timer(struct ak_conn *conn)
{
    int64_t due = conn->lingering ? conn->linger_until_ms : conn->proto->deadline(conn);
    if (conn->out_bytes && !conn->writable) {
        int64_t write_due = conn->write_since_ms + conn->nl->server->options.write_timeout_ms;
        due = due && due < write_due ? due : write_due;
    }
    if (conn->pace_due_ms) {
        due = due && due < conn->pace_due_ms ? due : conn->pace_due_ms;
    }
    if (due) {
        ak_loop_timer_set(conn->nl->loop, &conn->timer, due - now_ms(conn));
    } else {
        ak_loop_timer_cancel(&conn->timer);
    }
}

/* What follows from the state that a run has led to. */
static void settle(struct ak_conn *conn)
{
    if (conn->dead) {
        return;
    }
    if (!conn->lingering && conn->out_bytes == 0) {
        bool is_over = conn->eof && conn->under_way == 0;
        bool is_drained = conn->nl->draining && !conn->readable && conn->proto->is_idle(conn);
        if (is_over || is_drained) {
            ak_conn_kill(conn);
            return;
        }
        if (conn->closing) {
            linger_or_close(conn);
        }
    }
    if (!conn->dead && conn->lingering) {
        for (int i = 0; i < READS_A_RUN && conn->readable && !conn->dead; i++) {
            (void)read_some(conn);
        }
        if (!conn->dead && conn->eof) {
            ak_conn_kill(conn);
        } else if (!conn->dead && conn->readable) {
            ak_conn_run_soon(conn);
        }
    }
    if (!conn->dead) {
        release_idle_input(conn);
        set_timer(conn);
    }
}

void ak_conn_run(struct ak_conn *conn)
{
    if (conn->dead || conn->running) {
        return;
    }
    conn->running = true;
    for (int reads = 0; !conn->lingering;) {
        unsigned progress = conn->progress;
        enum ak_input state = conn->proto->parse(conn);
        conn->proto->queue(conn);
        write_all(conn);
        if (conn->dead) {
            break;
        }
        if (state == AK_INPUT_BLOCKED && conn->progress != progress) {
            continue;
        }
        if (state != AK_INPUT_MORE || conn->closing || conn->eof || !conn->readable) {
            break;
        }
        if (++reads > READS_A_RUN) {
            ak_conn_run_soon(conn);
            break;
        }
        if (!read_some(conn)) {
            break;
        }
    }
    conn->running = false;
    settle(conn);
}

static void on_event(struct ak_loop_io *io, unsigned events)
{
    struct ak_conn *conn = (struct ak_conn *)(void *)io; /* its first member */
    if (conn->dead) {
        return;
    }
    if (events & AK_LOOP_GONE) {
        ak_conn_kill(conn);
        return;
    }
    conn->readable |= (events & (AK_LOOP_READ | AK_LOOP_HALF)) != 0;
    conn->half |= (events & AK_LOOP_HALF) != 0;
    conn->writable |= (events & AK_LOOP_WRITE) != 0;
    ak_conn_run(conn);
}

static void on_timer(struct ak_loop_timer *timer)
{
    struct ak_conn *conn =
        (struct ak_conn *)(void *)((char *)timer - offsetof(struct ak_conn, timer));
    int64_t now = now_ms(conn);
    int64_t write_due = conn->write_since_ms + conn->nl->server->options.write_timeout_ms;
    if (conn->lingering ? now >= conn->linger_until_ms
                        : conn->out_bytes && !conn->writable && now >= write_due) {
        ak_conn_kill(conn);
        return;
    }
    int64_t due = conn->lingering ? 0 : conn->proto->deadline(conn);
    if (due && now >= due) {
        conn->proto->timed_out(conn);
    }
    ak_conn_run(conn);
}
