/* serve.h — what the server and the commands that meet it share.
 *
 * While it runs, a server keeps the port it listens on in the file PORT of its data folder, so that
 * the other commands find it there.
 */
#pragma once
#include "cli/config.h"
#include "engine/engine.h"

/* The engine as configured; dir too. log, metrics, clock and fs are left out. */
void ak_serve_engine_options(const struct ak_config *config, struct ak_engine_options *options);
/* false: no server has noted a port there. */
AK_MUST bool ak_serve_read_port(const char *dir, uint16_t *port);
AK_MUST enum ak_rc ak_serve_write_port(const char *dir, uint16_t port, struct ak_err *err);
void ak_serve_remove_port(const char *dir);
