/* http_head.h — the head of an HTTP/1.1 response, as our clients need it.
 *
 * Threads: pure. Memory: values.
 */
#pragma once
#include "base/str.h"

#define AK_RESPONSE_HEAD_MAX ((size_t)64 << 10)

struct ak_response_head {
    size_t head_len; /* bytes up to and with the empty line */
    int status;
    bool keep_alive;
    bool chunked;
    bool has_length; /* neither this nor chunked: the body ends with the connection */
    uint64_t length; /* of the body */
};

enum ak_head_state { AK_HEAD_WHOLE, AK_HEAD_PARTIAL, AK_HEAD_BAD };

/* Read the head that `bytes` begins with; PARTIAL: more bytes are needed. */
enum ak_head_state ak_response_head_read(struct ak_str bytes, struct ak_response_head *head);

struct ak_endpoint {
    char host[256];
    char port[8];
    char authority[280]; /* for the Host header: "127.0.0.1:8080", "[::1]:8080" */
    char prefix[256];    /* path before ours: "" or "/db" */
};

/* "http://host[:port][/prefix]". AK_INVALID; AK_UNSUPPORTED for https. */
AK_MUST enum ak_rc ak_endpoint_parse(const char *url, struct ak_endpoint *endpoint,
                                     struct ak_err *err);
/* Connect with TCP_NODELAY, waiting at most timeout_ms; *fd is blocking. AK_UNAVAILABLE. */
AK_MUST enum ak_rc ak_endpoint_connect(const struct ak_endpoint *endpoint, int timeout_ms, int *fd,
                                       struct ak_err *err);
