/* perf.h — the subcommands of `akidb perf`: a file src/cli/perf_<name>.c each, listed in perf.def.
 *
 * Threads: the main one.
 */
#pragma once
#include "cli/cli.h"

#define AK_PERF_COMMAND(name, usage, summary)                                                      \
    enum ak_rc ak_cli_perf_##name(int argc, char **argv, struct ak_err *err);
#include "cli/perf.def"
#undef AK_PERF_COMMAND

/* The folder of the performance data as configured: `given` (may be NULL), or `perf` of the data
 * folder. `out` is NUL-terminated. */
AK_MUST enum ak_rc ak_cli_perf_folder(const struct ak_config_flags *flags, const char *given,
                                      struct ak_buf *out, struct ak_err *err);
