/* quickfs.h — the ordinary file system with sync left out, for tests whose power cuts are simulated
 * (support/powercut.h records the syncs) and for fuzzing, where nothing needs to survive. */
#pragma once
#include "base/file.h"

struct ak_fs *quickfs(void); /* stateless; never released */
