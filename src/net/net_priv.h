/* net_priv.h — connections, requests and loops as the files of this module see them.
 *
 * Layers: transport (a socket; memory in tests; TLS can join) ← conn.c (reading, writing, time
 * limits, closing) ← conn_proto (http1.c; HTTP/2 can join) ← the application's callbacks.
 *
 * Everything here belongs to one loop's thread, except the request's atomics and what a response
 * fills in between claim and post (I3 in http_response.c).
 */
#pragma once
#include "base/limits.h"
#include "base/sync.h"
#include "net/http.h"
#include "net/loop.h"
#include <stdatomic.h>
#include <sys/types.h>
#include <sys/uio.h>

#define AK_NET_CHUNK_BYTES (16u << 10) /* a read buffer: a head and a 512-float query fit */
#define AK_NET_CHUNK_MAX (64u << 10)   /* for one head that is larger */
#define AK_NET_HEAD_MAX (64u + AK_TARGET_MAX + AK_HEADER_BYTES_MAX) /* 64: the longest method */
#define AK_NET_OUT_MAX (1u << 20)    /* unsent bytes that stop the reading */
#define AK_NET_HELD_MAX (8u << 20)   /* bytes of bodies under way that stop the parsing */
#define AK_NET_DROP_MAX (256u << 10) /* rest of an answered body that is read rather than cut */
#define AK_NET_LINGER_MS 2000        /* how long a closing connection's input is discarded */
#define AK_NET_OUT_INLINE 384
#define AK_NET_FLOW_PIECE (64u << 10) /* a larger one is queued in parts */
#define AK_NET_INTERIM_BYTES 25u      /* "HTTP/1.1 100 Continue" and two line ends */

_Static_assert(AK_NET_HEAD_MAX < 65536 && AK_NET_HEAD_MAX + 2048 < AK_NET_CHUNK_MAX,
               "offsets in a head are u16, and there is room to read on");

struct ak_conn;
struct ak_net_loop;

/* --- Read buffers: shared by a connection and the requests whose heads lie in them --- */
struct ak_net_chunk {
    struct ak_net_chunk *next; /* free list */
    uint32_t refs;
    uint32_t cap;
    char data[];
};
struct ak_net_chunk *ak_net_chunk_get(struct ak_net_loop *nl, uint32_t cap);
void ak_net_chunk_unref(struct ak_net_loop *nl, struct ak_net_chunk *chunk); /* NULL is fine */

/* --- Requests --- */
struct ak_net_field { /* one header: offsets from the head's first byte */
    uint16_t name_at;
    uint16_t name_len;
    uint16_t value_at;
    uint16_t value_len;
};

/* --- A response that flows: the pieces between its producer and the loop (http_flow.c) --- */
struct ak_net_flow {
    struct ak_http_request *request;
    struct ak_mutex lock; /* down to `gone` */
    struct ak_cond room;
    struct ak_buf filling; /* the producer's bytes, raw: the protocol frames them */
    bool posted;           /* a post is on its way to the loop */
    bool ended;            /* by the producer */
    enum ak_rc rc;         /* how */
    bool gone;             /* nobody reads it any more */

    /* The loop's. */
    struct ak_loop_post post;
    uint64_t bytes; /* of the body that were taken for sending */
    bool end_seen;  /* the producer will not name the request again */
    bool is_first;  /* no piece has been framed yet */
    bool over;      /* the protocol has its last bytes */
};

enum ak_net_body { AK_NET_BODY_NONE, AK_NET_BODY_LENGTH, AK_NET_BODY_CHUNKED };

struct ak_http_request {
    struct ak_net_loop *nl;
    struct ak_conn *conn;         /* NULL once the connection is gone */
    struct ak_http_request *next; /* the connection's next; or the free list */
    struct ak_http_request *prev;
    void *attached;
    struct ak_arena arena;

    /* Head. */
    struct ak_net_chunk *chunk;
    const char *head;
    struct ak_str target;
    struct ak_str path;
    struct ak_str query;
    uint16_t target_at;
    uint16_t target_len;
    uint16_t field_count;
    enum ak_http_method method;
    bool is_http_1_0;
    bool keep_alive;
    bool expects_continue;
    int64_t started_ns; /* the head was complete */

    /* Body. */
    enum ak_net_body body_kind;
    uint64_t content_length;
    uint64_t body_read; /* bytes of the body seen so far */
    size_t body_max;
    struct ak_buf body_buf;
    struct ak_str body;
    struct ak_http_stream stream;
    bool is_stream;

    /* Life. */
    bool announced;      /* on_head ran, so on_done is owed */
    bool handed;         /* the application has it all and owes a response */
    bool complete;       /* the body is read */
    bool ready;          /* the response is here */
    bool queued;         /* its turn has come: it is being written; on_done ran */
    bool close;          /* close the connection after the response */
    bool zombie;         /* released, waits for its resume post */
    atomic_bool claimed; /* somebody answers: the application or the server */
    atomic_bool paused;
    atomic_bool resume_posted;
    struct ak_loop_post respond_post;
    struct ak_loop_post resume_post;

    /* Response. */
    struct ak_net_flow *flow; /* it comes in pieces; NULL: it is whole */
    int status;
    bool no_content;      /* 204, 304: no Content-Length and no body */
    bool wants_interim;   /* "100 Continue" is to be sent when its turn comes */
    uint8_t interim_left; /* unsent bytes of "100 Continue" */
    struct ak_buf answer;
    size_t charged;             /* of body_buf and answer, what the server's held_bytes counts */
    struct ak_str content;      /* the body: of `answer`, or borrowed */
    void (*release)(void *ctx); /* of what is borrowed; NULL: nothing is */
    void *release_ctx;
    uint64_t bytes_per_s; /* 0: not held back */
    int64_t paced_from_ms;
    bool cuts;     /* when out_total is written the connection is reset */
    bool is_abort; /* there is no response at all */
    size_t cut_at; /* of the body */
    char *out;     /* the response's head: out_inline or arena */
    size_t out_len;
    size_t out_total; /* head and body bytes to send */
    size_t out_at;    /* of which are sent */

    struct ak_net_field fields[AK_HEADER_COUNT_MAX];
    char out_inline[AK_NET_OUT_INLINE];
};

struct ak_http_request *ak_request_new(struct ak_net_loop *nl, struct ak_conn *conn);
void ak_request_release(struct ak_http_request *request);
/* Path and query from the target; false: not a form that we serve. */
AK_MUST bool ak_request_split_target(struct ak_http_request *request);
/* on_done, once, when it is owed. */
void ak_request_done(struct ak_http_request *request, int status, size_t bytes_out);
/* Count what the buffers of the request hold now in the server's held_bytes. false: they have
 * grown, are not small, and all together are over the limit: the request must be given up. */
AK_MUST bool ak_request_charge(struct ak_http_request *request);
/* true for the first caller: it is the one that answers. */
AK_MUST bool ak_request_claim(struct ak_http_request *request);
/* Fill in an error response on the loop's thread; the request must be claimed. */
void ak_response_set_error(struct ak_http_request *request, int status, enum ak_rc rc,
                           const char *message);
/* What is borrowed goes back to its owner. */
void ak_response_release_view(struct ak_http_request *request);
/* The response's turn has come: date and connection headers. */
void ak_response_finish_head(struct ak_http_request *request, bool close);
/* The head of a response, whole or flowing; false: no memory for these extra headers. */
AK_MUST bool ak_response_set_head(struct ak_http_request *request, int status,
                                  const char *content_type, const char *extra_headers);
/* The response is filled in: to the loop with it. */
void ak_response_hand_over(struct ak_http_request *request);

/* --- Flows, on the loop's thread --- */
/* What has come, into request->answer (whose old content goes). *end: there is nothing behind it.
 */
void ak_flow_take(struct ak_http_request *request, bool *end);
/* The connection is gone. true: the producer has ended, so the request may be released. */
AK_MUST bool ak_flow_abandon(struct ak_http_request *request);
void ak_flow_free(struct ak_net_flow *flow); /* NULL is fine */

/* --- Connections --- */
enum ak_input {
    AK_INPUT_NEXT,    /* inside the parser: go on with the next state */
    AK_INPUT_MORE,    /* all is parsed: read */
    AK_INPUT_BLOCKED, /* wait for responses, or for a resume */
    AK_INPUT_STOP     /* nothing more will be parsed on this connection */
};

struct ak_conn_transport {
    /* As recv and sendmsg do: bytes, 0 at the end, -1 with errno. */
    ssize_t (*read)(struct ak_conn *conn, void *p, size_t len);
    ssize_t (*write)(struct ak_conn *conn, const struct iovec *iov, int count);
    void (*shut)(struct ak_conn *conn);  /* no more will be written */
    void (*reset)(struct ak_conn *conn); /* the close that follows is to look like a failure */
    void (*close)(struct ak_conn *conn);
};

struct ak_conn_proto {
    size_t state_bytes; /* zeroed, at conn->state */
    void (*open)(struct ak_conn *conn);
    /* The end of everything: each request under way is finished or orphaned. */
    void (*release)(struct ak_conn *conn);
    /* Where to read to; false without memory. */
    bool (*space)(struct ak_conn *conn, char **p, size_t *len);
    void (*received)(struct ak_conn *conn, size_t len);
    enum ak_input (*parse)(struct ak_conn *conn);
    void (*eof)(struct ak_conn *conn);
    /* Put the responses whose turn it is into the order of writing. */
    void (*queue)(struct ak_conn *conn);
    /* A flow of the connection has something new: pieces, or its end. */
    void (*flowed)(struct ak_conn *conn, struct ak_http_request *request);
    int (*gather)(struct ak_conn *conn, struct iovec *iov, int max);
    void (*sent)(struct ak_conn *conn, size_t len);
    bool (*is_idle)(const struct ak_conn *conn);     /* nothing received that is not answered */
    int64_t (*deadline)(const struct ak_conn *conn); /* ms; 0: none */
    void (*timed_out)(struct ak_conn *conn);
    /* Answer with an error and close, when no request is there to carry it. */
    void (*refuse)(struct ak_conn *conn, int status, enum ak_rc rc, const char *message);
};
extern const struct ak_conn_proto ak_http1_proto;

struct ak_conn {
    struct ak_loop_io io;
    struct ak_loop_timer timer;
    struct ak_net_loop *nl;
    const struct ak_conn_transport *transport;
    void *transport_ctx;
    const struct ak_conn_proto *proto;
    void *state;
    struct ak_conn *next; /* all of the loop's, or the graves */
    struct ak_conn *prev;
    struct ak_conn *todo_next;

    /* Input: [at, fill) of the chunk is not parsed; [0, keep) belongs to requests. */
    struct ak_net_chunk *in;
    uint32_t at;
    uint32_t fill;
    uint32_t keep;

    /* Requests in their order: first the queued ones, then from `unqueued` on the others. */
    struct ak_http_request *first;
    struct ak_http_request *last;
    struct ak_http_request *unqueued;
    unsigned under_way;
    unsigned progress; /* counts what can unblock the parser */
    size_t out_bytes;
    size_t held_bytes;
    int64_t write_since_ms;
    int64_t idle_since_ms;
    int64_t linger_until_ms;
    int64_t pace_due_ms; /* when more of a response that is held back may leave; 0: none is */

    bool readable; /* the system may have bytes */
    bool half;     /* the peer has said that it ends, perhaps behind unread bytes */
    bool eof;
    bool writable;
    bool closing;   /* close when all is written */
    bool resetting; /* all is written that was to be: close with a reset */
    bool lingering;
    bool dead;
    bool running;
    bool in_todo;
    bool counted;
};

/* A connection on `nl`; fd −1 when the transport is not a socket. Never fails. */
struct ak_conn *ak_conn_open(struct ak_net_loop *nl, const struct ak_conn_transport *transport,
                             void *transport_ctx, int fd);
extern const struct ak_conn_transport ak_conn_socket;
/* Do all that can be done now: parse, answer, write, read; then set timers or close. */
void ak_conn_run(struct ak_conn *conn);
/* Run it at the end of this round. */
void ak_conn_run_soon(struct ak_conn *conn);
/* Close at once; its memory goes at the end of the round. */
void ak_conn_kill(struct ak_conn *conn);
void ak_conn_append(struct ak_conn *conn, struct ak_http_request *request);
void ak_conn_remove(struct ak_conn *conn, struct ak_http_request *request);

/* --- Loops and the server --- */
struct ak_net_loop {
    struct ak_http_server *server;
    struct ak_loop *loop;
    struct ak_conn *conns;
    unsigned conn_count;
    _Atomic unsigned assigned; /* connections here or on their way: the first loop adds */
    unsigned refusing;         /* connections over the limit that are being told so */
    unsigned live_requests;    /* request objects in use, orphans included */
    struct ak_conn *todo;
    struct ak_conn *graves;
    struct ak_http_request *free_requests;
    unsigned free_request_count;
    struct ak_net_chunk *free_chunks;
    unsigned free_chunk_count;
    int64_t date_s;
    char date[40]; /* "Date: …\r\n" */
    char *scratch; /* where discarded input goes */

    struct ak_loop_io listen_io;
    struct ak_loop_timer accept_timer; /* accepting again after running out of descriptors */
    bool listening;
    bool draining;
    struct ak_loop_timer grace_timer;
    struct ak_loop_post drain_post;
};
#define AK_NET_SCRATCH_BYTES (64u << 10)

struct ak_http_server {
    struct ak_http_options options; /* defaults filled in; `listen` is not kept */
    const struct ak_clock *clock;
    uint16_t port;
    struct ak_series *connections_series;
    struct ak_series *memory_series;
    _Atomic uint32_t connections;
    _Atomic size_t held_bytes; /* bodies and answers in memory; a plain count, pairs with nothing */
    uint32_t grace_ms;
    unsigned loop_count;
    _Atomic unsigned started; /* loops that have a thread, and so may be given connections */
    struct ak_net_loop *loops;
    struct ak_thread *threads;
};

/* Zero means default, for all options. */
void ak_server_defaults(struct ak_http_options *options);
AK_MUST enum ak_rc ak_net_loop_open(struct ak_net_loop *nl, struct ak_http_server *server,
                                    struct ak_err *err);
void ak_net_loop_close(struct ak_net_loop *nl);
/* End of a round: run what was put off, bury the dead. true: more is waiting. */
bool ak_net_loop_batch_end(void *nl);
const char *ak_net_loop_date(struct ak_net_loop *nl, size_t *len);

/* --- Listening --- */
#define AK_NET_HOST_MAX 256
/* "host:port", "[v6]:port", ":port". *host is empty for any address. */
AK_MUST enum ak_rc ak_listen_parse(const char *listen, char host[AK_NET_HOST_MAX], uint16_t *port,
                                   struct ak_err *err);
/* The listening socket, of the first loop. */
AK_MUST enum ak_rc ak_listen_open(struct ak_http_server *server, const char *listen,
                                  struct ak_err *err);
void ak_listen_start(struct ak_net_loop *nl);
/* Accept what the system has queued already, then listen no more. */
void ak_listen_stop(struct ak_net_loop *nl);
