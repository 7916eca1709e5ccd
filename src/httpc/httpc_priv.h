/* httpc_priv.h — what the network and the fake share: how an answer arrives. */
#pragma once
#include "httpc/httpc.h"
#include <stdatomic.h>

#define HTTPC_HEAD_MAX ((size_t)64 << 10) /* bytes of an answer's header lines */
#define HTTPC_BODY_MAX_DEFAULT ((size_t)1 << 20)

struct ak_httpc_ops {
    enum ak_rc (*perform)(struct ak_httpc *client, const struct ak_httpc_request *request,
                          struct ak_httpc_response *response, struct ak_err *err);
    void (*close)(struct ak_httpc *client);
};

struct ak_httpc {
    const struct ak_httpc_ops *ops;
};

/* One call under way. */
struct httpc_transfer {
    const struct ak_httpc_request *request;
    struct ak_httpc_response *response;
    enum ak_rc rc; /* the first failure of ours: callbacks, ceilings, memory */
    enum ak_httpc_failure failure;
    struct ak_err err;
    bool head_told;
};

bool ak_httpc_is_cancelled(const struct ak_httpc_request *request);
uint64_t ak_httpc_body_len(const struct ak_httpc_request *request);
bool ak_httpc_has_body(const struct ak_httpc_request *request); /* by method, or by bytes */
/* A status line, a header line (with CR LF), the blank line (empty), bytes of a body: false when
 * the call must end. */
bool ak_httpc_on_line(struct httpc_transfer *transfer, struct ak_str line);
bool ak_httpc_on_bytes(struct httpc_transfer *transfer, struct ak_str bytes);
/* Bytes of the request's body. */
bool ak_httpc_take(struct httpc_transfer *transfer, uint64_t at, void *p, size_t len);
