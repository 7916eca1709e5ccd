/* httpc.h — one HTTP request and its answer: libcurl behind one blocking call.
 *
 * A client owns up to `connections_max` connections. A call takes a free one (the last used first,
 * so that few stay warm), drives it in the calling thread, and gives it back; when all are in use
 * it waits, within its deadline. HTTP/1.1, and HTTP/2 over TLS where the server offers it.
 *
 * Any answer, whatever its status, is AK_OK: what it means is the caller's to say. A failure has a
 * kind in response->failure, so that the caller can decide on a retry:
 *   AK_UNAVAILABLE  no connection, or it broke       AK_TIMEOUT  connecting, stalled, or deadline
 *   AK_CONFLICT     cancelled                        AK_INVALID  not a usable URL or certificate
 *   AK_TOO_BIG      the answer is over its ceiling   AK_NOMEM
 * or what a callback returned. No redirect is followed here, and nothing is retried, except that a
 * request on a kept connection which turns out to be closed is sent again on a new one.
 *
 * Time: `stall_ms` without a byte breaks a transfer. `deadline_ms` bounds the call; each 16 KiB of
 * a body that move add a second, so that it need not know how large the body is.
 *
 * Threads: any call from any thread; close when none is under way. Callbacks come on the calling
 * thread, with no lock held. Memory: a request is borrowed for the call; an answer is the caller's.
 */
#pragma once
#include "base/str.h"

struct ak_httpc;
struct ak_httpc_response;

struct ak_httpc_options {
    uint32_t connections_max; /* 0: 16 */
    const char *ca_file;      /* PEM; NULL: the system's */
    const char *user_agent;   /* NULL: "akidb/<version>" */
};

AK_MUST enum ak_rc ak_httpc_open(const struct ak_httpc_options *options, struct ak_httpc **client,
                                 struct ak_err *err);
void ak_httpc_close(struct ak_httpc *client); /* NULL is fine */

struct ak_httpc_header {
    struct ak_str name;
    struct ak_str value;
};

/* `len` bytes of the body from offset `at`; called again for what was read before when a kept
 * connection turns out to be closed. */
typedef enum ak_rc (*ak_httpc_read_fn)(void *ctx, uint64_t at, void *p, size_t len,
                                       struct ak_err *err);
/* The head of the answer, once, before its body. A failure ends the call with it. */
typedef enum ak_rc (*ak_httpc_head_fn)(void *ctx, const struct ak_httpc_response *response,
                                       struct ak_err *err);
typedef enum ak_rc (*ak_httpc_body_fn)(void *ctx, struct ak_str bytes, struct ak_err *err);

struct ak_httpc_request { /* all zero but method and url is the default */
    const char *method;   /* "GET", "HEAD", "PUT", "POST", "DELETE" */
    const char *url; /* http or https, percent-encoded as it shall be sent: no path is cleaned */
    const struct ak_httpc_header *headers; /* Host and Content-Length are made when absent */
    size_t header_count;
    struct ak_str body; /* in memory; or `read`, which gives body_len bytes */
    ak_httpc_read_fn read;
    uint64_t body_len; /* with `read` only */
    ak_httpc_head_fn on_head;
    ak_httpc_body_fn on_body; /* takes the body of a 2xx answer; any other is kept in memory */
    void *ctx;                /* of the three */
    size_t body_max;          /* of an answer kept in memory; 0: 1 MiB */
    uint32_t connect_ms;      /* 0: 5,000 */
    uint32_t stall_ms;        /* 0: 15,000 */
    uint32_t deadline_ms;     /* 0: none */
    /* Each may be NULL. Set by another thread: the call ends within 100 ms. */
    const _Atomic bool *cancel, *stop;
    /* When no byte has moved for quiet_ms (0: never asked), `on_quiet` (may be NULL) is called
     * once, and from then on, until one moves, `hurry` (may be NULL) ends the call as stalled. */
    uint32_t quiet_ms;
    void (*on_quiet)(void *ctx);
    void *quiet_ctx;
    const _Atomic bool *hurry;
    bool direct; /* never through a proxy (loopback never is) */
};

enum ak_httpc_failure {
    AK_HTTPC_NONE,
    AK_HTTPC_CONNECT,  /* no name, no connection, no handshake: nothing was sent */
    AK_HTTPC_TRUST,    /* the certificate is not trusted: no retry helps */
    AK_HTTPC_SEND,     /* broke while the request was sent */
    AK_HTTPC_RECEIVE,  /* broke before the answer was whole: it may have happened */
    AK_HTTPC_STALL,    /* no byte for stall_ms: it may have happened */
    AK_HTTPC_DEADLINE, /* it may have happened */
    AK_HTTPC_CANCELLED,
    AK_HTTPC_CALLBACK, /* one of the request's functions failed */
    AK_HTTPC_PROTOCOL, /* not HTTP, or over a ceiling */
    AK_HTTPC_LOCAL     /* bad URL, no memory, no file of certificates */
};

struct ak_httpc_response {
    int status;         /* 0: there was no answer */
    struct ak_buf head; /* header lines of the answer, each ending in CR LF */
    struct ak_buf body; /* unless on_body took it */
    uint64_t sent;      /* bytes of bodies moved */
    uint64_t received;
    enum ak_httpc_failure failure;
};

void ak_httpc_response_init(struct ak_httpc_response *response);
void ak_httpc_response_release(struct ak_httpc_response *response); /* idempotent */
/* The trimmed value, or an empty string with .p == NULL when there is none. Borrowed. */
struct ak_str ak_httpc_header(const struct ak_httpc_response *response, const char *name);

/* `response` must be initialised; what it held is dropped. It is filled as far as the answer came,
 * also when the call fails. */
AK_MUST enum ak_rc ak_httpc_do(struct ak_httpc *client, const struct ak_httpc_request *request,
                               struct ak_httpc_response *response, struct ak_err *err);

/* How long a call may take that has moved so many bytes. */
#define AK_HTTPC_BYTES_PER_SECOND_MIN 16384
static inline int64_t ak_httpc_body_ns(uint64_t moved)
{
    return (int64_t)(moved > (uint64_t)INT64_MAX / 61036 ? INT64_MAX : moved * 61035);
}

/* --- A client without a network, for tests --- */

struct ak_httpc_reply {
    int status;
    const char
        *headers; /* "ETag: \"x\"\r\nDate: …\r\n", may be NULL; borrowed until the next call */
    struct ak_buf body; /* released by the fake */
    /* Instead of a whole answer. RECEIVE gives `cut_at` bytes of the body first (and no status when
     * status is 0); SEND acts as if cut_at bytes had gone out. */
    enum ak_httpc_failure failure;
    uint64_t cut_at;
};
/* Called on the thread of the call, possibly on several at once; `body` is all of the request's. */
typedef void (*ak_httpc_fake_fn)(void *ctx, const struct ak_httpc_request *request,
                                 struct ak_str body, struct ak_httpc_reply *reply);
struct ak_httpc *ak_httpc_open_fake(ak_httpc_fake_fn fn, void *ctx);
