/* bench_clients.c — the connections of the load generator.
 *
 * A connection: `sending` requests have been started and not all their bytes are out; answers come
 * in the order of the requests, so the oldest start time belongs to the next answer.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "base/sync.h"
#include "cli/bench_load.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_MS 10000
#define READ_STEP ((size_t)64 << 10)
#define ANSWER_MAX ((size_t)256 << 20)
#define TURN_MS 50
#define DRAIN_NS 30000000000 /* answers that come later than this after the end are given up */

struct connection {
    int fd;
    uint32_t under_way; /* requests started and not answered */
    uint32_t oldest;    /* ring position of the next answer's request */
    int64_t began_ns[AK_LOAD_PIPELINE_MAX];
    size_t requests[AK_LOAD_PIPELINE_MAX]; /* which request, for those not yet sent */
    uint32_t unsent;                       /* of those under way, not completely sent */
    size_t sent;                           /* bytes of the first unsent one */
    bool wants_write;                      /* EPOLLOUT is asked for */
    struct ak_buf in;
};

struct load {
    const struct ak_load_options *options;
    const struct ak_clock *clock;
    int64_t end_ns; /* no request starts after it */
    _Atomic uint64_t started;
};

struct worker {
    struct load *load;
    struct ak_thread thread;
    struct connection *connections;
    uint32_t count;
    int epoll;
    uint64_t busy; /* requests under way */
    struct ak_load_report report;
    struct ak_err err;
};

static enum ak_rc open_connection(struct worker *worker, struct connection *c, struct ak_err *err)
{
    enum ak_rc rc =
        ak_endpoint_connect(worker->load->options->endpoint, CONNECT_TIMEOUT_MS, &c->fd, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    int flags = fcntl(c->fd, F_GETFL);
    if (flags < 0 || fcntl(c->fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        epoll_ctl(worker->epoll, EPOLL_CTL_ADD, c->fd, &event) != 0) {
        return ak_fail_errno(err, errno, "connection");
    }
    c->wants_write = false;
    return AK_OK;
}

static void want_write(struct worker *worker, struct connection *c, bool wanted)
{
    if (c->wants_write != wanted) {
        struct epoll_event event = {.events = EPOLLIN | (wanted ? (uint32_t)EPOLLOUT : 0u),
                                    .data.ptr = c};
        (void)epoll_ctl(worker->epoll, EPOLL_CTL_MOD, c->fd, &event);
        c->wants_write = wanted;
    }
}

/* May another request start? Takes it from the count. */
static bool take_request(struct load *load, size_t *request)
{
    const struct ak_load_options *options = load->options;
    if (ak_mono_ns(load->clock) >= load->end_ns) {
        return false;
    }
    uint64_t n = atomic_fetch_add_explicit(&load->started, 1, memory_order_relaxed);
    *request = (size_t)(n % options->request_count);
    return options->count == 0 || n < options->count;
}

/* Send what is unsent. false: the connection is gone. */
static bool push(struct worker *worker, struct connection *c)
{
    const struct ak_load_options *options = worker->load->options;
    while (c->unsent > 0) {
        uint32_t at = (c->oldest + c->under_way - c->unsent) % AK_LOAD_PIPELINE_MAX;
        struct ak_str rest = ak_str_sub(options->requests[c->requests[at]], c->sent, SIZE_MAX);
        ssize_t n = send(c->fd, rest.p, rest.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            want_write(worker, c, true);
            return errno == EAGAIN;
        }
        c->sent += (size_t)n;
        if ((size_t)n == rest.len) {
            c->unsent--;
            c->sent = 0;
        }
    }
    want_write(worker, c, false);
    return true;
}

static void fill(struct worker *worker, struct connection *c)
{
    size_t request;
    while (c->under_way < worker->load->options->pipeline && take_request(worker->load, &request)) {
        uint32_t at = (c->oldest + c->under_way) % AK_LOAD_PIPELINE_MAX;
        c->began_ns[at] = ak_mono_ns(worker->load->clock);
        c->requests[at] = request;
        c->under_way++;
        c->unsent++;
        worker->busy++;
    }
}

static void answered(struct worker *worker, struct connection *c,
                     const struct ak_response_head *head, struct ak_str body)
{
    struct ak_load_report *report = &worker->report;
    ak_histogram_add(&report->latency, ak_mono_ns(worker->load->clock) - c->began_ns[c->oldest]);
    if (head->status < 200 || head->status > 299) {
        if (report->refused++ == 0) {
            report->first_status = head->status;
            (void)snprintf(report->first_answer, sizeof report->first_answer, "%.*s",
                           (int)(body.len < 250 ? body.len : 250), body.p);
        }
    }
    c->oldest = (c->oldest + 1) % AK_LOAD_PIPELINE_MAX;
    c->under_way--;
    worker->busy--;
}

/* Read and take every whole answer. false: the connection is gone. */
static bool pull(struct worker *worker, struct connection *c)
{
    for (;;) {
        char *room = ak_buf_reserve(&c->in, READ_STEP);
        ssize_t n = room ? recv(c->fd, room, READ_STEP, 0) : 0;
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return true;
        }
        if (n <= 0) {
            return false;
        }
        c->in.len += (size_t)n;
        struct ak_str rest = ak_buf_str(&c->in);
        struct ak_response_head head;
        while (c->under_way > 0 && ak_response_head_read(rest, &head) == AK_HEAD_WHOLE) {
            if (!head.has_length || head.length > ANSWER_MAX) {
                return false;
            }
            if (rest.len - head.head_len < head.length) {
                break;
            }
            answered(worker, c, &head, ak_str_sub(rest, head.head_len, (size_t)head.length));
            rest = ak_str_sub(rest, head.head_len + (size_t)head.length, rest.len);
            if (!head.keep_alive) {
                return false;
            }
        }
        if (rest.len > 0) {
            memmove(c->in.p, rest.p, rest.len);
        }
        c->in.len = rest.len;
        if ((size_t)n < READ_STEP) {
            return true;
        }
    }
}

/* What was under way is lost; go on with a new connection. */
static enum ak_rc reopen(struct worker *worker, struct connection *c, struct ak_err *err)
{
    worker->report.broken += c->under_way;
    worker->busy -= c->under_way;
    c->under_way = 0;
    c->unsent = 0;
    c->sent = 0;
    ak_buf_clear(&c->in);
    close(c->fd);
    c->fd = -1;
    return open_connection(worker, c, err);
}

static enum ak_rc serve_one(struct worker *worker, struct connection *c, uint32_t events,
                            struct ak_err *err)
{
    bool alive = true;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        alive = pull(worker, c);
    }
    if (alive) {
        fill(worker, c);
        alive = push(worker, c);
    }
    return alive ? AK_OK : reopen(worker, c, err);
}

static void work(void *arg)
{
    struct worker *worker = arg;
    enum ak_rc rc = AK_OK;
    for (uint32_t i = 0; i < worker->count && rc == AK_OK; i++) {
        rc = serve_one(worker, &worker->connections[i], 0, &worker->err);
    }
    while (rc == AK_OK) {
        struct epoll_event events[64];
        bool over = ak_mono_ns(worker->load->clock) >= worker->load->end_ns;
        bool all = worker->load->options->count > 0 &&
                   atomic_load_explicit(&worker->load->started, memory_order_relaxed) >=
                       worker->load->options->count;
        bool late = over && ak_mono_ns(worker->load->clock) >= worker->load->end_ns + DRAIN_NS;
        if (((over || all) && worker->busy == 0) || late) {
            break;
        }
        int n = epoll_wait(worker->epoll, events, 64, TURN_MS);
        for (int i = 0; i < n && rc == AK_OK; i++) {
            rc = serve_one(worker, events[i].data.ptr, events[i].events, &worker->err);
        }
    }
}

static enum ak_rc open_worker(struct worker *worker, struct load *load, uint32_t count,
                              struct ak_err *err)
{
    worker->load = load;
    worker->count = count;
    worker->connections = ak_zalloc(count * sizeof *worker->connections);
    worker->epoll = epoll_create1(EPOLL_CLOEXEC);
    for (uint32_t i = 0; i < count; i++) {
        worker->connections[i].fd = -1;
        ak_buf_init(&worker->connections[i].in, ANSWER_MAX + AK_RESPONSE_HEAD_MAX + READ_STEP);
    }
    enum ak_rc rc = worker->epoll < 0 ? ak_fail_errno(err, errno, "epoll") : AK_OK;
    for (uint32_t i = 0; i < count && rc == AK_OK; i++) {
        rc = open_connection(worker, &worker->connections[i], err);
    }
    return rc;
}

static void close_worker(struct worker *worker)
{
    for (uint32_t i = 0; i < worker->count; i++) {
        if (worker->connections[i].fd >= 0) {
            close(worker->connections[i].fd);
        }
        ak_buf_release(&worker->connections[i].in);
    }
    if (worker->epoll >= 0) {
        close(worker->epoll);
    }
    ak_free(worker->connections);
}

static void add_report(struct ak_load_report *into, const struct ak_load_report *from)
{
    ak_histogram_merge(&into->latency, &from->latency);
    if (into->refused == 0) {
        into->first_status = from->first_status;
        memcpy(into->first_answer, from->first_answer, sizeof into->first_answer);
    }
    into->refused += from->refused;
    into->broken += from->broken;
}

enum ak_rc ak_load_run(const struct ak_load_options *options, struct ak_load_report *report,
                       struct ak_err *err)
{
    struct load load = {.options = options, .clock = ak_clock_system()};
    struct worker *workers = ak_zalloc(options->threads * sizeof *workers);
    enum ak_rc rc = AK_OK;
    uint32_t opened = 0;
    for (; opened < options->threads && rc == AK_OK; opened++) {
        uint32_t share = options->clients / options->threads +
                         (opened < options->clients % options->threads ? 1 : 0);
        rc = open_worker(&workers[opened], &load, share, err);
    }
    int64_t began = ak_mono_ns(load.clock);
    load.end_ns = options->seconds > 0 ? began + (int64_t)(options->seconds * 1e9) : INT64_MAX / 2;
    for (uint32_t i = 0; i < opened && rc == AK_OK; i++) {
        rc = ak_thread_start(&workers[i].thread, "akidb-load", work, &workers[i], err);
    }
    if (rc != AK_OK) {
        load.end_ns = began; /* those that run stop */
    }
    for (uint32_t i = 0; i < opened; i++) {
        ak_thread_join(&workers[i].thread);
        if (rc == AK_OK && workers[i].err.rc != AK_OK) {
            *err = workers[i].err;
            rc = workers[i].err.rc;
        }
    }
    report->seconds = (double)(ak_mono_ns(load.clock) - began) / 1e9;
    for (uint32_t i = 0; i < opened; i++) {
        add_report(report, &workers[i].report);
        close_worker(&workers[i]);
    }
    ak_free(workers);
    return rc;
}
