/* perf_text.h — what the subcommands of `akidb perf` read and print alike.
 *
 * Threads: any.
 */
#pragma once
#include "cli/output.h"
#include "perf/export.h"

/* YYYY-MM-DD, today or yesterday, in UTC. */
AK_MUST bool ak_cli_perf_read_day(const char *text, int32_t *day);
/* AK_INVALID names the tables. */
AK_MUST enum ak_rc ak_cli_perf_read_table(const char *text, enum ak_perf_table *table,
                                          struct ak_err *err);
/* `given`, or `parquet` in the folder of the logs; NUL-terminated. */
AK_MUST enum ak_rc ak_cli_perf_output_folder(const struct ak_buf *input, const char *given,
                                             struct ak_buf *out, struct ak_err *err);

/* Of 1024 bytes, rounded; 1 for anything less. */
uint64_t ak_cli_perf_kb(uint64_t bytes);
/* "127 KB"; "12.3 MB" from ten on. */
const char *ak_cli_perf_size_text(uint64_t bytes, char text[AK_NUMBER_TEXT_MAX]);
/* Text from outside, at most `max` bytes of it, without control characters and broken UTF-8. */
#define AK_PERF_SHOWN_MAX 256
void ak_cli_perf_quote(struct ak_str text, size_t max, char shown[AK_PERF_SHOWN_MAX]);
