/* http1_priv.h — the HTTP/1.1 side of a connection, shared by http1.c, http1_head.c, http1_body.c.
 */
#pragma once
#include "net/net_priv.h"
#include <llhttp.h>

#define AK_H1_READ_MIN 1024u /* smallest room worth a read */
#define AK_H1_NO_MEMORY                                                                            \
    "no memory for the body beside the other requests: send less at once, or again later "         \
    "(server.memory_max)"

enum ak_h1_state {
    AK_H1_IDLE,    /* between requests */
    AK_H1_HEAD,    /* llhttp reads the head */
    AK_H1_LENGTH,  /* a body of content_length bytes: counted, not parsed */
    AK_H1_CHUNKED, /* llhttp takes the chunks apart */
    AK_H1_STOPPED  /* an error or the last request: nothing more is parsed */
};

enum ak_h1_field { AK_H1_FIELD_NONE, AK_H1_FIELD_NAME, AK_H1_FIELD_VALUE };

struct ak_h1 {
    llhttp_t parser;
    enum ak_h1_state state;
    struct ak_http_request *current; /* head or body still being read; NULL when idle or stopped */
    uint32_t head_at;                /* of the current head, in the read buffer */
    int64_t since_ms;                /* head: its first byte; body: the last progress */
    uint64_t mark;                   /* body: bytes received at since_ms */
    enum ak_h1_field field;
    bool in_place;   /* the body fits behind its head in the read buffer and stays there */
    bool was_paused; /* the stream, when it was looked at last */
    bool done;       /* llhttp reached the end of what it was asked for */
    bool cut;        /* stopped in the middle of a message: input may follow */
    uint32_t extras; /* bytes of chunk extensions and trailers */
    int fail_status; /* set by a callback that refuses: 0 otherwise */
    enum ak_rc fail_rc;
    const char *fail_text;
};

static inline struct ak_h1 *ak_h1_of(const struct ak_conn *conn)
{
    return conn->state;
}

extern const llhttp_settings_t ak_h1_settings;

/* Go on with the head at conn->at. */
enum ak_input ak_h1_parse_head(struct ak_conn *conn);
/* The head is complete and announced: decide how its body is read. */
enum ak_input ak_h1_begin_body(struct ak_conn *conn, struct ak_http_request *request);
enum ak_input ak_h1_take_length(struct ak_conn *conn);
enum ak_input ak_h1_take_chunked(struct ak_conn *conn);
/* Is the body being collected in a buffer that is read into directly? */
static inline bool ak_h1_reads_into_body(const struct ak_h1 *h1)
{
    return h1->state == AK_H1_LENGTH && !h1->in_place && !h1->current->is_stream &&
           !atomic_load_explicit(&h1->current->claimed, memory_order_acquire);
}
AK_MUST bool ak_h1_body_space(struct ak_http_request *request, char **p, size_t *len);
/* Body callbacks of llhttp. */
int ak_h1_on_body(llhttp_t *parser, const char *at, size_t len);
int ak_h1_on_extra(llhttp_t *parser, size_t len);
/* The body cannot be completed: stop parsing, answer with the error if nobody has answered, close.
 */
enum ak_input ak_h1_reject(struct ak_conn *conn, struct ak_http_request *request, int status,
                           enum ak_rc rc, const char *message);
/* Forget a request that has been written and read to its end. */
void ak_h1_release_if_over(struct ak_conn *conn, struct ak_http_request *request);
