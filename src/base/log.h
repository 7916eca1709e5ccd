/* log.h — the server's own log: one line an event, text or JSON.
 *
 *   2026-11-21T00:03:59.123456Z INFO  wal: replayed 1024 records in 12 ms
 *   {"ts":"2026-11-21T00:03:59.123456Z","level":"info","module":"wal","message":"…"}
 *
 * Threads: any; a line is one write(2). A NULL log is silent, so that the library can be quiet.
 */
#pragma once
#include "base/err.h"

enum ak_log_level { AK_LOG_DEBUG, AK_LOG_INFO, AK_LOG_WARN, AK_LOG_ERROR };
enum ak_log_format { AK_LOG_TEXT, AK_LOG_JSON };

struct ak_log;

struct ak_log *ak_log_open(int fd, enum ak_log_level level, enum ak_log_format format);
void ak_log_close(struct ak_log *log); /* does not close the fd; NULL is fine */
void ak_log_write(struct ak_log *log, enum ak_log_level level, const char *module, const char *fmt,
                  ...) AK_PRINTF(4, 5);

#define ak_log_debug(log, module, ...) ak_log_write(log, AK_LOG_DEBUG, module, __VA_ARGS__)
#define ak_log_info(log, module, ...) ak_log_write(log, AK_LOG_INFO, module, __VA_ARGS__)
#define ak_log_warn(log, module, ...) ak_log_write(log, AK_LOG_WARN, module, __VA_ARGS__)
#define ak_log_error(log, module, ...) ak_log_write(log, AK_LOG_ERROR, module, __VA_ARGS__)
