/* snapshots.h — what `akidb snapshots` is made of beside its own file. Threads: the main one. */
#pragma once
#include "base/err.h"

/* The words after `akidb snapshots copy`. */
enum ak_rc ak_cli_snapshots_copy(int argc, char **argv, struct ak_err *err);
