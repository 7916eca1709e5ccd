/* tiers.h — the parts of `akidb tiers`. Threads: one. */
#pragma once
#include "base/err.h"

/* akidb tiers simulate: argv is what follows. */
enum ak_rc ak_tiers_simulate(int argc, char **argv, struct ak_err *err);
