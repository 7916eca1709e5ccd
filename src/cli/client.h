/* client.h — a small blocking HTTP/1.1 client for our own API: one kept-alive connection.
 *
 * Every call has a deadline. A connection that the server closed while it was idle is opened again;
 * a request whose bytes may have reached the server is not sent twice.
 *
 * Threads: a client belongs to one thread at a time. Memory: the response's body is the caller's.
 */
#pragma once
#include "cli/http_head.h"

#define AK_CLIENT_TIMEOUT_MS 60000

struct ak_client;

struct ak_request {
    const char *method;
    const char *path;         /* with query; begins with '/' */
    const char *content_type; /* NULL: no body */
    bool is_unlogged;         /* the server leaves it out of its query log */
    struct ak_str body;
    uint32_t timeout_ms; /* without progress; 0: AK_CLIENT_TIMEOUT_MS */
    /* The body of a 2xx goes here instead of into `body`, as it comes; may be NULL. */
    enum ak_rc (*sink)(void *ctx, const void *p, size_t len, struct ak_err *err);
    void (*sent)(void *ctx, uint64_t bytes); /* of the body so far; may be NULL */
    void *ctx;
};

AK_MUST enum ak_rc ak_client_open(const char *url, struct ak_client **client, struct ak_err *err);
void ak_client_close(struct ak_client *client); /* NULL is fine */
/* Any status is a success here: *status; the body replaces what `body` held. AK_UNAVAILABLE: cannot
 * connect, or the connection broke; AK_TIMEOUT. */
AK_MUST enum ak_rc ak_client_send(struct ak_client *client, const struct ak_request *request,
                                  int *status, struct ak_buf *body, struct ak_err *err);
/* The same, but a status outside 200..299 is a failure with the code and the message that the
 * server gave ({"error":{"code","message"}}). */
AK_MUST enum ak_rc ak_client_call(struct ak_client *client, const struct ak_request *request,
                                  struct ak_buf *body, struct ak_err *err);
/* Percent-encode one path segment or query value. */
void ak_url_put(struct ak_buf *out, struct ak_str text);
