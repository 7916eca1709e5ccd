/* server.c — the server: its loops and their threads, from open to the drained end.
 *
 * Closing: the first loop accepts what waits, closes the listening socket and tells the others.
 * Each then closes its idle connections, marks the last response of every other with "Connection:
 * close"; after grace_ms kills what is left; stops when no connection and no request is left.
 * Requests that the application still works on outlive their connections, so close returns only
 * when it has answered them all.
 */
#include "base/mem.h"
#include "base/sync.h"
#include "net/net_priv.h"
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value ? value : otherwise;
}

void ak_server_defaults(struct ak_http_options *options)
{
    if (options->loops == 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        options->loops = cores > 0 && cores < 1024 ? (unsigned)cores : 1;
    }
    options->idle_timeout_ms = or_default(options->idle_timeout_ms, 75000);
    options->head_timeout_ms = or_default(options->head_timeout_ms, 10000);
    options->body_timeout_ms = or_default(options->body_timeout_ms, 30000);
    options->write_timeout_ms = or_default(options->write_timeout_ms, 30000);
    options->connections_max = or_default(options->connections_max, 20000);
    options->pipeline_max = or_default(options->pipeline_max, 64);
    options->body_max = options->body_max ? options->body_max : AK_BODY_MAX;
    options->memory_max = options->memory_max ? options->memory_max : (size_t)1 << 30;
}

const char *ak_net_loop_date(struct ak_net_loop *nl, size_t *len)
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    int64_t now_s = ak_now_us(nl->server->clock) / 1000000;
    if (now_s != nl->date_s) {
        struct tm tm = {0};
        time_t at = (time_t)now_s;
        (void)gmtime_r(&at, &tm);
        char text[96];
        (void)snprintf(text, sizeof text, "Date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n",
                       days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900,
                       tm.tm_hour, tm.tm_min, tm.tm_sec);
        (void)snprintf(nl->date, sizeof nl->date, "%.39s", text);
        nl->date_s = now_s;
    }
    *len = sizeof "Date: Sat, 21 Nov 2026 00:00:00 GMT\r\n" - 1;
    return nl->date;
}

/* --- A loop --- */

static void bury(struct ak_net_loop *nl)
{
    struct ak_conn *conn = nl->graves;
    nl->graves = NULL;
    while (conn) {
        struct ak_conn *next = conn->next;
        if (conn->in_todo) { /* the list still names it: next round */
            conn->next = nl->graves;
            nl->graves = conn;
        } else {
            ak_free(conn);
        }
        conn = next;
    }
}

bool ak_net_loop_batch_end(void *arg)
{
    struct ak_net_loop *nl = arg;
    struct ak_conn *conn = nl->todo;
    nl->todo = NULL;
    while (conn) {
        struct ak_conn *next = conn->todo_next;
        conn->in_todo = false;
        ak_conn_run(conn);
        conn = next;
    }
    bury(nl);
    if (nl->draining && nl->conn_count == 0 && nl->live_requests == 0) {
        ak_loop_stop(nl->loop);
    }
    return nl->todo != NULL;
}

static void on_grace_over(struct ak_loop_timer *timer)
{
    struct ak_net_loop *nl =
        (struct ak_net_loop *)(void *)((char *)timer - offsetof(struct ak_net_loop, grace_timer));
    if (nl->conn_count || nl->live_requests) {
        ak_log_warn(nl->server->options.log, "net",
                    "closing %u connections; %u requests were not finished in time", nl->conn_count,
                    nl->live_requests);
    }
    while (nl->conns) {
        ak_conn_kill(nl->conns);
    }
}

static void on_drain(struct ak_loop_post *post)
{
    struct ak_net_loop *nl =
        (struct ak_net_loop *)(void *)((char *)post - offsetof(struct ak_net_loop, drain_post));
    struct ak_http_server *server = nl->server;
    if (nl == &server->loops[0]) {
        ak_listen_stop(nl); /* the last handovers are posted; the others' end comes after them */
        for (unsigned i = 1; i < server->started; i++) {
            ak_loop_post(server->loops[i].loop, &server->loops[i].drain_post);
        }
    }
    nl->draining = true;
    for (struct ak_conn *conn = nl->conns; conn; conn = conn->next) {
        conn->readable = true; /* a request may have come that no event has told of yet */
        ak_conn_run_soon(conn);
    }
    ak_loop_timer_set(nl->loop, &nl->grace_timer, nl->server->grace_ms);
}

enum ak_rc ak_net_loop_open(struct ak_net_loop *nl, struct ak_http_server *server,
                            struct ak_err *err)
{
    nl->server = server;
    nl->listen_io.fd = -1;
    nl->drain_post.fn = on_drain;
    nl->grace_timer.fn = on_grace_over;
    nl->scratch = ak_alloc(AK_NET_SCRATCH_BYTES);
    return ak_loop_open(server->clock, &nl->loop, err);
}

void ak_net_loop_close(struct ak_net_loop *nl)
{
    if (nl->listen_io.fd >= 0) {
        (void)close(nl->listen_io.fd);
    }
    AK_ASSERT(nl->conn_count == 0 && nl->live_requests == 0);
    bury(nl);
    while (nl->free_requests) {
        struct ak_http_request *request = nl->free_requests;
        nl->free_requests = request->next;
        ak_arena_release(&request->arena);
        ak_free(request);
    }
    while (nl->free_chunks) {
        struct ak_net_chunk *chunk = nl->free_chunks;
        nl->free_chunks = chunk->next;
        ak_free(chunk);
    }
    ak_free(nl->scratch);
    ak_loop_close(nl->loop);
}

static void run_loop(void *arg)
{
    struct ak_net_loop *nl = arg;
    if (nl == &nl->server->loops[0]) {
        ak_listen_start(nl);
    }
    ak_loop_run(nl->loop, ak_net_loop_batch_end, nl);
}

/* --- The server --- */

/* The first loop, which has the listening socket, tells the others. */
static void drain_and_join(struct ak_http_server *server)
{
    if (server->started) {
        ak_loop_post(server->loops[0].loop, &server->loops[0].drain_post);
    }
    for (unsigned i = 0; i < server->started; i++) {
        ak_thread_join(&server->threads[i]);
    }
}

static void free_server(struct ak_http_server *server, unsigned opened)
{
    for (unsigned i = 0; i < opened; i++) {
        ak_net_loop_close(&server->loops[i]);
    }
    ak_free(server->loops);
    ak_free(server->threads);
    ak_free(server);
}

static enum ak_rc start(struct ak_http_server *server, const char *listen, struct ak_err *err)
{
    enum ak_rc rc = ak_listen_open(server, listen, err);
    for (unsigned i = 0; rc == AK_OK && i < server->loop_count; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "ak-net-%u", i % 1000);
        rc = ak_thread_start(&server->threads[i], name, run_loop, &server->loops[i], err);
        if (rc == AK_OK) {
            atomic_store(&server->started, i + 1);
        } else {
            drain_and_join(server);
        }
    }
    return rc;
}

enum ak_rc ak_http_open(const struct ak_http_options *options, struct ak_http_server **out,
                        struct ak_err *err)
{
    struct ak_http_server *server = ak_zalloc(sizeof *server);
    AK_ASSERT(options->app.on_request);
    server->options = *options;
    server->options.listen = NULL;
    server->clock = ak_clock_system();
    ak_server_defaults(&server->options);
    server->connections_series =
        ak_metrics_series(options->metrics, AK_METRIC_CONNECTIONS, NULL, 0);
    const struct ak_str requests = AK_STR("requests");
    server->memory_series = ak_metrics_series(options->metrics, AK_METRIC_MEMORY, &requests, 1);
    server->loop_count = server->options.loops;
    server->loops = ak_zalloc(server->loop_count * sizeof *server->loops);
    server->threads = ak_zalloc(server->loop_count * sizeof *server->threads);
    enum ak_rc rc = AK_OK;
    unsigned opened = 0;
    while (rc == AK_OK && opened < server->loop_count) {
        rc = ak_net_loop_open(&server->loops[opened], server, err);
        opened++;
    }
    if (rc == AK_OK) {
        rc = start(server, options->listen, err);
    }
    if (rc != AK_OK) {
        free_server(server, opened);
        return rc;
    }
    *out = server;
    return AK_OK;
}

uint16_t ak_http_port(const struct ak_http_server *server)
{
    return server->port;
}

void ak_http_close(struct ak_http_server *server, uint32_t grace_ms)
{
    if (!server) {
        return;
    }
    server->grace_ms = grace_ms;
    drain_and_join(server);
    free_server(server, server->loop_count);
}
