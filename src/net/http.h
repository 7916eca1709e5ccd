/* http.h — the HTTP server: event loops, connections, HTTP/1.1; requests in, responses out.
 *
 * One epoll loop a thread; the first accepts and spreads connections evenly. A request is handed
 * to the application on its loop; the application answers now, or later from any thread. Responses
 * of pipelined requests leave in the order of the requests. Bodies arrive in memory up to a limit
 * that the application sets per request, or as a stream that can be paused.
 *
 * The protocol lies behind conn_proto (net_priv.h): HTTP/2 and TLS join there without touching this
 * header. HTTP/1.1 grammar: llhttp in strict mode, plus our own rules (Host required, limits of
 * base/limits.h, no upgrade).
 *
 * Errors found before the application is asked (malformed, too large, too slow) are answered as
 * {"error":{"code","message"}} like all others, and the connection is closed.
 *
 * A response is whole (ak_http_respond) or flows from a thread that may wait (ak_http_begin, _send,
 * _end): of any length in bounded memory, for the producer is held back while the client is slow.
 *
 * Threads: callbacks run on a loop thread and must not block; ak_http_respond*() from any thread,
 * once per request. Memory: a request lives until its response is written; views obtained from it
 * are valid until ak_http_respond*() or ak_http_end() is called.
 */
#pragma once
#include "base/arena.h"
#include "base/log.h"
#include "base/str.h"
#include "metrics/metrics.h"

#define AK_NET_SMALL_BYTES                                                                         \
    (64u << 10) /* a request that holds no more is never refused for memory */

struct ak_http_server;
struct ak_http_request;

struct ak_http_app {
    void *ctx;
    /* The head is in. May set the body's limit, start a stream, attach a pointer, or respond (the
     * body is then read and dropped, or the connection closed). */
    void (*on_head)(void *ctx, struct ak_http_request *request);
    /* The whole body is in memory (not called for streams, nor when already answered). */
    void (*on_request)(void *ctx, struct ak_http_request *request);
    /* The response is queued, or the client went away first (status 0), or the application broke
     * off a flow (500): release what was attached. For metrics and the access log. */
    void (*on_done)(void *ctx, struct ak_http_request *request, int status, size_t bytes_in,
                    size_t bytes_out, double seconds);
};

struct ak_http_options {
    const char *listen;        /* "127.0.0.1:8080", "[::1]:8080", ":0" (any free port) */
    unsigned loops;            /* 0: one per core */
    uint32_t idle_timeout_ms;  /* keep-alive without a request; 0: 75,000 */
    uint32_t head_timeout_ms;  /* first to last byte of a head; 0: 10,000 */
    uint32_t body_timeout_ms;  /* without progress of ≥ 1 KiB; 0: 30,000 */
    uint32_t write_timeout_ms; /* without progress; 0: 30,000 */
    uint32_t connections_max;  /* 0: 20,000; more are answered 503 and closed */
    uint32_t pipeline_max;     /* requests of one connection under way; 0: 64 */
    size_t body_max;           /* default limit in bytes; 0: AK_BODY_MAX */
    size_t memory_max; /* all bodies and answers held at one time; past it requests that hold more
                        * than AK_NET_SMALL_BYTES are answered 503. 0: 1 GiB */
    struct ak_http_app app;
    struct ak_log *log;
    struct ak_metrics *metrics; /* CONNECTIONS and MEMORY{requests} gauges; may be NULL */
};

AK_MUST enum ak_rc ak_http_open(const struct ak_http_options *options,
                                struct ak_http_server **server, struct ak_err *err);
/* The port listened on (of use with ":0"). */
uint16_t ak_http_port(const struct ak_http_server *server);
/* Stop accepting, finish requests under way (at most grace_ms), close, join, free. NULL is fine. */
void ak_http_close(struct ak_http_server *server, uint32_t grace_ms);

/* --- The request --- */
enum ak_http_method {
    AK_HTTP_GET,
    AK_HTTP_HEAD,
    AK_HTTP_POST,
    AK_HTTP_PUT,
    AK_HTTP_DELETE,
    AK_HTTP_PATCH,
    AK_HTTP_OPTIONS,
    AK_HTTP_OTHER
};
enum ak_http_method ak_http_method(const struct ak_http_request *request);
const char *ak_http_method_name(enum ak_http_method method);
struct ak_str ak_http_path(const struct ak_http_request *request);  /* raw, without the query */
struct ak_str ak_http_query(const struct ak_http_request *request); /* raw, after '?' */
/* Case-insensitive; .p is NULL when absent. */
struct ak_str ak_http_header(const struct ak_http_request *request, struct ak_str name);
/* The i-th header as it was sent, from 0; false: there are no more. */
AK_MUST bool ak_http_header_at(const struct ak_http_request *request, size_t i, struct ak_str *name,
                               struct ak_str *value);
struct ak_str ak_http_body(const struct ak_http_request *request);
struct ak_arena *ak_http_arena(struct ak_http_request *request); /* dies with the request */
void ak_http_attach(struct ak_http_request *request, void *data);
void *ak_http_attached(const struct ak_http_request *request);
/* The %-decoded value of a query parameter ('+' is a space), in the request's arena. false: absent.
 * true with value->p NULL: its encoding is bad, answer 400. */
bool ak_http_param(struct ak_http_request *request, struct ak_str name, struct ak_str *value);
/* %-decode one path segment into the arena; .p NULL when malformed (also for %00). */
struct ak_str ak_http_decode(struct ak_http_request *request, struct ak_str segment);

/* In on_head only. */
void ak_http_set_body_max(struct ak_http_request *request, size_t bytes);
struct ak_http_stream {
    /* Bytes of the body, as they come. */
    void (*on_chunk)(void *ctx, struct ak_http_request *request, struct ak_str bytes);
    /* AK_OK: the body is complete. Otherwise the client went away or broke the rules: no response
     * can be sent; on_done follows, and after it the request must not be named again (a thread that
     * may be about to respond or resume has to be kept from it by the application's own lock). Not
     * called once the application has responded: what is left of the body is then dropped. */
    void (*on_end)(void *ctx, struct ak_http_request *request, enum ak_rc rc);
    void *ctx;
};
void ak_http_start_stream(struct ak_http_request *request, const struct ak_http_stream *stream);
/* Stop and go on reading this body: back-pressure. From any thread. */
void ak_http_pause(struct ak_http_request *request);
void ak_http_resume(struct ak_http_request *request);

/* --- The response: once per request, from any thread --- */
#define AK_HTTP_JSON "application/json"
/* Takes the bytes of `body` (left empty). extra_headers: "Name: value\r\n…" or NULL. */
void ak_http_respond(struct ak_http_request *request, int status, const char *content_type,
                     struct ak_buf *body, const char *extra_headers);
/* A body that stays its owner's, so nothing is copied. To HEAD only its length matters. */
struct ak_http_view {
    struct ak_str body;
    /* Called once, from any thread, when the body is written or nobody wants it; may be NULL. */
    void (*release)(void *ctx);
    void *ctx;
    /* For servers that play a bad network. */
    uint64_t bytes_per_s; /* 0: as fast as the client takes it */
    bool cuts;            /* after cut_at bytes of the body the connection is reset */
    size_t cut_at;
};
void ak_http_respond_view(struct ak_http_request *request, int status, const char *content_type,
                          const struct ak_http_view *view, const char *extra_headers);
/* Instead of a response: what was answered before is written, then the connection is reset.
 * on_done gets status 0. */
void ak_http_abort(struct ak_http_request *request);
/* {"error":{"code":…,"message":…}} with the status of the code; Retry-After: 1 when retryable 503.
 */
void ak_http_respond_error(struct ak_http_request *request, enum ak_rc rc, const char *message);

/* --- The response in pieces: begin, send…, end, each in turn from any thread but a loop's --- */

/* Bytes that wait for the client while ak_http_send() takes more; beyond, it waits. */
#define AK_HTTP_FLOW_MAX ((size_t)256 << 10)

/* The head of a response whose length is not known yet. HTTP/1.1: chunked; HTTP/1.0: the end of the
 * connection is the end of the body. Does not wait, also on a loop thread. true: an ak_http_end()
 * is owed, and the request stays until then, whatever the client does. false: the server has
 * answered already, or has no memory and says so: the request must not be named again. */
AK_MUST bool ak_http_begin(struct ak_http_request *request, int status, const char *content_type,
                           const char *extra_headers);
/* Copies the bytes; waits while AK_HTTP_FLOW_MAX of them are unsent. Not on a loop thread. Pieces
 * below some KiB are better gathered first. Of a HEAD request nothing is sent: look at the method
 * to spare the work. AK_UNAVAILABLE: the client has gone (or reads nothing for write_timeout_ms),
 * end it; AK_NOMEM. */
AK_MUST enum ak_rc ak_http_send(struct ak_http_request *request, const void *p, size_t len,
                                struct ak_err *err);
/* Has the client gone? For a producer that computes long between two pieces. */
bool ak_http_is_gone(struct ak_http_request *request);
/* AK_OK: that was all of it. Otherwise the body is cut off in a way that the client cannot mistake
 * for its end: the connection is reset. The request must not be named after this. */
void ak_http_end(struct ak_http_request *request, enum ak_rc rc);
