/* fuzz: links net */
/* http_fuzz.c — HTTP/1.1 over a connection whose transport is memory.
 *
 * The first byte chooses the run, the next eight seed its splits; the rest is what the client
 * sends. Steady: the same bytes are fed whole and in random pieces, and the application must see
 * the same requests both times. Wild: responses come at once, later or early; writes are cut short;
 * streams pause; time passes; the client vanishes anywhere. Always: each announced request has one
 * end, and nothing is left behind.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "base/rand.h"
#include "fuzz.h"
#include "net/net_priv.h"
#include <errno.h>
#include <string.h>

#define HELD_MAX 64

struct run {
    struct ak_http_server server;
    struct ak_net_loop nl;
    struct ak_manual_clock clock;
    struct ak_conn *conn;
    struct ak_loop_post poke;
    unsigned events;
    struct ak_rand rand;
    bool wild;
    bool whole;
    const uint8_t *data; /* not yet read by the server */
    size_t left;
    size_t offered; /* readable now */
    bool ended;     /* the client has said so */
    bool closed;    /* by the server */
    bool shut;
    struct ak_buf out;
    struct ak_http_request *held[HELD_MAX];
    unsigned held_count;
    unsigned heads;
    unsigned dones;
    uint64_t hash; /* of all that the application saw */
    uint64_t stream_hash;
};

static void see(struct run *run, struct ak_str s)
{
    run->hash = ak_mix64(run->hash + ak_hash64_str(s) + s.len);
}

/* --- The transport --- */

static ssize_t mem_read(struct ak_conn *conn, void *p, size_t len)
{
    struct run *run = conn->transport_ctx;
    size_t n = run->offered < len ? run->offered : len;
    AK_ASSERT(!run->closed && len > 0);
    if (n == 0 && run->ended && run->left == 0) {
        return 0;
    }
    if (n == 0) {
        errno = EAGAIN;
        return -1;
    }
    memcpy(p, run->data, n);
    run->data += n;
    run->left -= n;
    run->offered -= n;
    return (ssize_t)n;
}

static ssize_t mem_write(struct ak_conn *conn, const struct iovec *iov, int count)
{
    struct run *run = conn->transport_ctx;
    size_t total = 0;
    AK_ASSERT(!run->closed && !run->shut && count > 0);
    for (int i = 0; i < count; i++) {
        AK_ASSERT(iov[i].iov_len > 0);
        size_t len = iov[i].iov_len;
        if (run->wild && ak_rand_below(&run->rand, 4) == 0) {
            len = (size_t)ak_rand_below(&run->rand, len + 1);
        }
        ak_buf_add(&run->out, iov[i].iov_base, len);
        total += len;
        if (len < iov[i].iov_len) {
            break;
        }
    }
    if (total == 0) {
        errno = ak_rand_below(&run->rand, 50) ? EAGAIN : EPIPE;
        return -1;
    }
    return (ssize_t)total;
}

static void mem_shut(struct ak_conn *conn)
{
    struct run *run = conn->transport_ctx;
    AK_ASSERT(!run->shut);
    run->shut = true;
}

static void mem_reset(struct ak_conn *conn)
{
    const struct run *run = conn->transport_ctx;
    AK_ASSERT(!run->closed && !run->shut);
}

static void mem_close(struct ak_conn *conn)
{
    struct run *run = conn->transport_ctx;
    AK_ASSERT(!run->closed);
    run->closed = true;
}

static const struct ak_conn_transport memory = {mem_read, mem_write, mem_shut, mem_reset,
                                                mem_close};

/* --- The application --- */

static void answer(struct ak_http_request *request)
{
    struct ak_buf body;
    ak_buf_init(&body, 0);
    ak_buf_add_str(&body, ak_http_body(request));
    ak_http_respond(request, 200, "text/plain", &body, NULL);
}

static void on_chunk(void *ctx, struct ak_http_request *request, struct ak_str bytes)
{
    struct run *run = ctx;
    AK_ASSERT(bytes.len > 0 && !atomic_load(&request->claimed));
    for (size_t i = 0; i < bytes.len; i++) { /* bytewise: pieces differ between the two feeds */
        run->stream_hash = ak_mix64(run->stream_hash + (unsigned char)bytes.p[i]);
    }
    if (run->wild && ak_rand_below(&run->rand, 3) == 0) {
        ak_http_pause(request);
        if (ak_rand_below(&run->rand, 2)) {
            ak_http_resume(request);
        }
    } else if (run->wild && ak_rand_below(&run->rand, 8) == 0) {
        answer(request);
    }
}

static void keep_or_answer(struct run *run, struct ak_http_request *request)
{
    if (run->wild && run->held_count < HELD_MAX && ak_rand_below(&run->rand, 2)) {
        run->held[run->held_count++] = request;
    } else {
        answer(request);
    }
}

static void on_end(void *ctx, struct ak_http_request *request, enum ak_rc rc)
{
    struct run *run = ctx;
    if (rc == AK_OK) { /* how much of a stream that fails was seen before depends on the pieces */
        run->hash = ak_mix64(run->hash + run->stream_hash);
        keep_or_answer(run, request);
    }
}

static void on_head(void *ctx, struct ak_http_request *request)
{
    struct run *run = ctx;
    const struct ak_http_stream stream = {on_chunk, on_end, run};
    struct ak_str value = AK_STR_NONE;
    run->heads++;
    ak_http_attach(request, run);
    see(run, ak_str_of(ak_http_method_name(ak_http_method(request))));
    see(run, ak_http_path(request));
    see(run, ak_http_query(request));
    see(run, ak_http_header(request, AK_STR("a")));
    if (ak_http_param(request, AK_STR("k"), &value)) {
        see(run, value);
    }
    see(run, ak_http_decode(request, ak_http_path(request)));
    run->stream_hash = 0;
    if (ak_str_has_prefix(ak_http_path(request), AK_STR("/s"))) {
        ak_http_start_stream(request, &stream);
    } else if (ak_str_has_prefix(ak_http_path(request), AK_STR("/m"))) {
        ak_http_set_body_max(request, 20);
    } else if (run->wild && ak_str_has_prefix(ak_http_path(request), AK_STR("/e"))) {
        answer(request);
    }
}

static void on_request(void *ctx, struct ak_http_request *request)
{
    struct run *run = ctx;
    see(run, ak_http_body(request));
    keep_or_answer(run, request);
}

static void on_done(void *ctx, struct ak_http_request *request, int status, size_t bytes_in,
                    size_t bytes_out, double seconds)
{
    struct run *run = ctx;
    (void)bytes_in;
    (void)bytes_out;
    AK_ASSERT(ak_http_attached(request) == run && seconds >= 0);
    AK_ASSERT(status == 0 || (status >= 200 && status < 600));
    ak_http_attach(request, NULL);
    run->dones++;
}

/* --- A run --- */

/* Readiness comes as a post, so that it is handled on the loop, where answers are inline. */
static void on_poke(struct ak_loop_post *post)
{
    struct run *run = (struct run *)(void *)((char *)post - offsetof(struct run, poke));
    if (!run->closed) {
        run->conn->io.fn(&run->conn->io, run->events);
    }
}

static void turn(struct run *run)
{
    ak_loop_turn(run->nl.loop, 0);
    (void)ak_net_loop_batch_end(&run->nl);
}

/* In pieces that never fill the queue, so that nothing waits; sometimes cut off. */
static void flow(struct run *run, struct ak_http_request *request)
{
    static const char bytes[20000];
    if (!ak_http_begin(request, 200, "text/plain", NULL)) {
        return;
    }
    for (uint64_t n = ak_rand_below(&run->rand, 5); n; n--) {
        size_t len = (size_t)ak_rand_below(&run->rand, sizeof bytes);
        if (ak_http_send(request, bytes, len, NULL) != AK_OK) {
            AK_ASSERT(ak_http_is_gone(request));
        }
    }
    ak_http_end(request, ak_rand_below(&run->rand, 4) ? AK_OK : AK_CORRUPT);
}

static void answer_one(struct run *run)
{
    if (run->held_count) {
        unsigned n = (unsigned)ak_rand_below(&run->rand, run->held_count);
        struct ak_http_request *request = run->held[n];
        run->held[n] = run->held[--run->held_count];
        switch (ak_rand_below(&run->rand, 4)) {
        case 0:
            ak_http_respond_error(request, AK_NOT_FOUND, "no");
            break;
        case 1:
            flow(run, request);
            break;
        default:
            answer(request);
            break;
        }
    }
}

static void poke(struct run *run, unsigned events)
{
    run->events = events;
    run->poke.fn = on_poke;
    ak_loop_post(run->nl.loop, &run->poke);
    turn(run);
}

/* A wild moment: readiness, answers, resumes, time. */
static void stir(struct run *run)
{
    switch (ak_rand_below(&run->rand, 6)) {
    case 0:
        answer_one(run);
        break;
    case 1:
        for (struct ak_http_request *at = run->closed ? NULL : run->conn->first; at;
             at = at->next) {
            if (atomic_load(&at->paused) && !at->complete) {
                ak_http_resume(at);
            }
        }
        break;
    case 2:
        ak_manual_clock_advance(&run->clock, (int64_t)ak_rand_below(&run->rand, 4000000));
        break;
    default:
        poke(run, AK_LOOP_WRITE);
        break;
    }
    turn(run);
}

static void feed(struct run *run)
{
    run->conn = ak_conn_open(&run->nl, &memory, run, -1);
    while (run->left && !run->closed) {
        size_t more = run->left - run->offered;
        if (!run->whole && more) {
            more = 1 + (size_t)ak_rand_below(&run->rand, more < 40 ? more : 40);
        }
        run->offered += more;
        poke(run, AK_LOOP_READ);
        for (int i = 0; run->wild && i < 4; i++) {
            stir(run);
        }
        if (!run->wild && run->offered) { /* refused: what is left stays unread */
            break;
        }
        if (run->wild && ak_rand_below(&run->rand, 64) == 0) {
            break;
        }
    }
    if (!run->closed && run->wild && ak_rand_below(&run->rand, 2)) {
        run->left = run->offered = 0;
        run->ended = true;
        poke(run, AK_LOOP_READ | AK_LOOP_HALF);
    }
    for (int i = 0; run->wild && i < 8; i++) {
        stir(run);
    }
    poke(run, AK_LOOP_GONE);
    while (run->held_count) {
        answer_one(run);
    }
    turn(run);
    turn(run);
}

static uint64_t run_once(const uint8_t *data, size_t size, uint64_t seed, bool wild, bool whole)
{
    static struct run run;
    struct ak_err err;
    run = (struct run){.wild = wild, .whole = whole, .data = data, .left = size};
    ak_rand_seed(&run.rand, seed);
    ak_manual_clock_init(&run.clock, 1700000000000000);
    run.server.clock = &run.clock.clock;
    const struct ak_str requests = AK_STR("requests");
    run.server.connections_series = ak_metrics_series(NULL, AK_METRIC_CONNECTIONS, NULL, 0);
    run.server.memory_series = ak_metrics_series(NULL, AK_METRIC_MEMORY, &requests, 1);
    run.server.options = (struct ak_http_options){.loops = 1,
                                                  .pipeline_max = 4,
                                                  .body_max = 1000,
                                                  .head_timeout_ms = 3000,
                                                  .app = {&run, on_head, on_request, on_done}};
    ak_server_defaults(&run.server.options);
    AK_ASSERT(ak_net_loop_open(&run.nl, &run.server, &err) == AK_OK);
    feed(&run);
    AK_ASSERT(run.closed && run.heads == run.dones);
    AK_ASSERT(run.out.len < 9 || memcmp(run.out.p, "HTTP/1.1 ", 9) == 0);
    ak_net_loop_close(&run.nl); /* asserts that no connection and no request is left */
    ak_buf_release(&run.out);
    return run.hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t seed = 0;
    if (size < 1 + sizeof seed) {
        return 0;
    }
    bool wild = data[0] & 1;
    memcpy(&seed, data + 1, sizeof seed);
    data += 1 + sizeof seed;
    size -= 1 + sizeof seed;
    uint64_t pieces = run_once(data, size, seed, wild, false);
    if (!wild) {
        AK_ASSERT(pieces == run_once(data, size, seed, false, true));
    }
    return 0;
}
