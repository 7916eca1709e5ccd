/* fault.h — failures on purpose, for tests and drills.
 *
 * Compiled in when AK_FAULTS is defined (the dev, asan and tsan presets); a release build has
 * none of it: every check below is a constant there.
 *
 * Crash points: AKIDB_CRASH_AT=name or name:n in the environment ends the process by _exit(137) at
 * the n-th passage (default 1) of ak_crash_point("name"), with nothing flushed, as kill -9 would.
 * docs/formats lists the names.
 *
 * Threads: any.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#ifdef AK_FAULTS
/* Fail the `nth` fallible allocation from now on (0 = the next), once. -1 switches it off. */
void ak_fault_alloc_at(int64_t nth);
/* True when ak_fault_alloc_at() has fired since it was set. */
bool ak_fault_alloc_fired(void);
bool ak_fault_alloc_fails(void);
void ak_crash_point(const char *name);
#else
static inline bool ak_fault_alloc_fails(void)
{
    return false;
}
static inline void ak_crash_point(const char *name)
{
    (void)name;
}
#endif
