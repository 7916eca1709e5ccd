/* summary_file.h — optimization_summary.txt: a line per event with its metrics, as perf.h has it.
 *
 * Two processes may append at the same time, the server and `akidb perf advise`: the file is locked
 * for the moment of writing. Past AK_PERF_SUMMARY_MAX bytes it becomes
 * optimization_summary.old.txt, in place of the former one of that name, and begins anew.
 *
 * Threads: any. Memory: borrowed for the call.
 */
#pragma once
#include "base/file.h"

#define AK_PERF_SUMMARY_MAX ((uint64_t)4 << 20)
#define AK_PERF_SUMMARY_OLD_FILE "optimization_summary.old.txt"

/* Whole lines. A cut last line of a writer that crashed is closed first. Nothing is appended when
 * it fails. */
AK_MUST enum ak_rc ak_perf_summary_append(struct ak_fs *fs, const char *dir, struct ak_str lines,
                                          struct ak_err *err);
