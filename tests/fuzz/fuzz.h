/* fuzz.h — what every fuzz target here includes.
 *
 * A target is one file, <name>_fuzz.c, whose first line names the modules it links, with
 * LLVMFuzzerTestOneInput() and nothing else external; its inputs are in corpus/<name>/. A broken
 * promise is an AK_ASSERT: libFuzzer and the replay test both see the abort. The bytes are exactly
 * `size` long with nothing behind them, so that a sanitizer sees every step too far.
 */
#pragma once
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
