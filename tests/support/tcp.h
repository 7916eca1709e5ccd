/* tcp.h — a plain blocking client for tests of servers on 127.0.0.1.
 *
 * Every wait ends after 30 s with a failed check, so that a server that hangs fails its test.
 */
#pragma once
#include "base/str.h"
#include <stdint.h>

struct ak_test_tcp {
    int fd;
    struct ak_buf in; /* received and not consumed */
    bool ended;
};

struct ak_test_response {
    int status;
    struct ak_buf head; /* through the blank line */
    struct ak_buf body;
};

void ak_test_tcp_open(struct ak_test_tcp *tcp, uint16_t port);
/* false: refused (close it all the same). */
AK_MUST bool ak_test_tcp_try_open(struct ak_test_tcp *tcp, uint16_t port);
void ak_test_tcp_close(struct ak_test_tcp *tcp); /* idempotent */
void ak_test_tcp_reset(struct ak_test_tcp *tcp); /* closes with a reset */
/* Sends everything; a peer that is gone is no failure. */
void ak_test_tcp_send(struct ak_test_tcp *tcp, const void *p, size_t len);
void ak_test_tcp_send_text(struct ak_test_tcp *tcp, const char *text);
/* Sends as much as the system takes without waiting; returns how much. */
size_t ak_test_tcp_send_some(struct ak_test_tcp *tcp, const void *p, size_t len);
void ak_test_tcp_half_close(struct ak_test_tcp *tcp);
/* The next response (interim ones too). false: the connection ended first. */
AK_MUST bool ak_test_tcp_response(struct ak_test_tcp *tcp, struct ak_test_response *response,
                                  bool has_no_body);
/* A chunked body behind a response's head, appended to `body`; false: cut off. */
AK_MUST bool ak_test_tcp_chunked(struct ak_test_tcp *tcp, struct ak_buf *body);
void ak_test_response_release(struct ak_test_response *response);
bool ak_test_response_has(const struct ak_test_response *response, const char *line_of_head);
/* Reads to the end; true when nothing more came before it. */
AK_MUST bool ak_test_tcp_ends(struct ak_test_tcp *tcp);
