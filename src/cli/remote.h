/* remote.h — what a command asks of the REST API: of a server, or of a data folder that this
 * process opens and serves to itself on a free port of the loopback for as long as the command
 * runs.
 *
 * Threads: one. Memory: the body of an answer is the remote's, valid until the next call.
 */
#pragma once
#include "cli/client.h"
#include "cli/target.h"

struct ak_remote;

/* As ak_target_open. */
AK_MUST enum ak_rc ak_remote_open(const struct ak_target_options *options,
                                  struct ak_remote **remote, struct ak_err *err);
void ak_remote_close(struct ak_remote *remote); /* NULL is fine */
struct ak_client *ak_remote_client(struct ak_remote *remote);
const char *ak_remote_name(const struct ak_remote *remote); /* "http://…" or the folder */

/* /api/v1/collections/<collection><rest>; valid until the next call. */
const char *ak_remote_path(struct ak_remote *remote, struct ak_str collection, const char *rest);
/* Calls from now on are measurements: the server leaves them out of its query log. */
void ak_remote_unlogged(struct ak_remote *remote);
/* A call without a body when `json` is NULL. */
AK_MUST enum ak_rc ak_remote_call(struct ak_remote *remote, const char *method, const char *path,
                                  struct ak_buf *json, struct ak_str *answer, struct ak_err *err);
