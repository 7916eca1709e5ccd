/* fault.c — allocation failures and crash points; empty in a release build. */
#include "base/fault.h"

#ifdef AK_FAULTS
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Test-only process state: there is one heap and one environment in a process. */
static _Atomic int64_t alloc_countdown = -1;
static _Atomic bool alloc_fired = false;
static _Atomic int64_t crash_passages = 0;

void ak_fault_alloc_at(int64_t nth)
{
    atomic_store(&alloc_fired, false);
    atomic_store(&alloc_countdown, nth);
}

bool ak_fault_alloc_fired(void)
{
    return atomic_load(&alloc_fired);
}

bool ak_fault_alloc_fails(void)
{
    if (atomic_load_explicit(&alloc_countdown, memory_order_relaxed) < 0) {
        return false;
    }
    if (atomic_fetch_sub(&alloc_countdown, 1) != 0) {
        return false;
    }
    atomic_store(&alloc_fired, true);
    return true;
}

void ak_crash_point(const char *name)
{
    const char *wanted = getenv("AKIDB_CRASH_AT");
    if (!wanted) {
        return;
    }
    size_t len = strcspn(wanted, ":");
    if (strlen(name) != len || strncmp(wanted, name, len) != 0) {
        return;
    }
    int64_t nth = wanted[len] == ':' ? strtoll(wanted + len + 1, NULL, 10) : 1;
    if (atomic_fetch_add(&crash_passages, 1) + 1 == nth) {
        _exit(137);
    }
}
#else
typedef int ak_fault_is_empty; /* ISO C wants one declaration in a file */
#endif
