/* sender.h — one batch on its way to the server while the next one is made.
 *
 * Batches leave in order over the client's one connection. A batch that fails stops the sender: the
 * next put or flush returns why, and nothing more is sent.
 *
 * Threads: open, put, flush and close by one thread; the client is the sender's from open until a
 * flush has returned. Memory: put takes the bytes of the batch.
 */
#pragma once
#include "cli/client.h"

struct ak_sender;

struct ak_sender_options {
    struct ak_client *client;
    const char *path; /* copied */
    const char *content_type;
    uint32_t timeout_ms;
};

AK_MUST enum ak_rc ak_sender_open(const struct ak_sender_options *options,
                                  struct ak_sender **sender, struct ak_err *err);
/* Waits for what is under way, then joins. NULL is fine. */
void ak_sender_close(struct ak_sender *sender);
/* Send `batch` (left empty, with room of its own) once the one before it is answered. `documents`
 * are counted for messages: "documents 1001 to 2000: …". */
AK_MUST enum ak_rc ak_sender_put(struct ak_sender *sender, struct ak_buf *batch, uint64_t documents,
                                 struct ak_err *err);
/* Wait until everything put is answered. */
AK_MUST enum ak_rc ak_sender_flush(struct ak_sender *sender, struct ak_err *err);
