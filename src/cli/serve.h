/* serve.h — what the server and the commands that meet it share.
 *
 * While it runs, a server keeps the port it listens on in the file PORT of its data folder, so that
 * the other commands find it there.
 */
#pragma once
#include "archive/archive.h"
#include "cli/config.h"
#include "engine/engine.h"
#include "perf/query_log.h"
#include "tier/manager.h"

/* The engine as configured; dir too. log, metrics, clock and fs are left out. */
void ak_serve_engine_options(const struct ak_config *config, struct ak_engine_options *options);
/* The engine of a folder that a command works on. AK_NOT_FOUND: there is none, unless it may be
 * made; AK_CONFLICT: a server has it open. */
AK_MUST enum ak_rc ak_serve_open_engine(const struct ak_config *config, const char *dir,
                                        bool may_make, struct ak_log *log,
                                        struct ak_engine **engine, struct ak_err *err);
/* The object store of the configuration; `dir` is the data folder. AK_INVALID: what is missing.
 * With `lazy` a store that is away is no error, and behind a circuit breaker: for servers. When
 * *stop (may be NULL) is set, its calls end. */
AK_MUST enum ak_rc ak_serve_open_store(const struct ak_config *config, const char *dir, bool lazy,
                                       const _Atomic bool *stop, struct ak_log *log,
                                       struct ak_metrics *metrics, struct ak_objstore **store,
                                       struct ak_err *err);
/* The store of a place that was named by hand: a folder, or "s3://bucket/prefix" with all else as
 * configured. AK_NOT_FOUND: there is no such folder, unless it may be made. */
AK_MUST enum ak_rc ak_serve_open_place(const struct ak_config *config, const char *place,
                                       bool may_make, struct ak_metrics *metrics,
                                       struct ak_objstore **store, struct ak_err *err);
/* What is configured of the archive; engine, store, log, metrics and clock are left out. */
void ak_serve_archive_options(const struct ak_config *config, struct ak_archive_options *options);
/* The folder of the query log: as configured, else `perf` in the data folder `dir`. */
void ak_serve_perf_dir(const struct ak_config *config, const char *dir, struct ak_buf *out);
/* The query log as configured; log, metrics, clock and fs are left out. Its folder is put into
 * `dir`, which must live until the log is open. */
void ak_serve_query_log_options(const struct ak_config *config, struct ak_buf *dir,
                                struct ak_query_log_options *options);
/* What is configured of the tiers; engine, archive, log, metrics and clock are left out. */
void ak_serve_tiers_options(const struct ak_config *config, struct ak_tiers_options *options);
/* false: no server has noted a port there. */
AK_MUST bool ak_serve_read_port(const char *dir, uint16_t *port);
AK_MUST enum ak_rc ak_serve_write_port(const char *dir, uint16_t port, struct ak_err *err);
void ak_serve_remove_port(const char *dir);
