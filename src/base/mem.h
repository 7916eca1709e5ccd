/* mem.h — allocation.
 *
 * Sizes that we choose may not fail: ak_alloc() and its kin abort when the system is out of
 * memory. Sizes that the outside chooses (a body, a file, a dimension) go through ak_try_alloc(),
 * which returns NULL. All memory from here is released with ak_free(); ak_free(NULL) is fine.
 *
 * Threads: any. Builds with AK_FAULTS let a test fail the n-th ak_try_* call (base/fault.h).
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define AK_CACHE_LINE 64

void *ak_alloc(size_t size);                           /* uninitialised; aborts on failure */
void *ak_zalloc(size_t size);                          /* zeroed; aborts on failure */
void *ak_realloc(void *p, size_t size);                /* aborts on failure */
void *ak_try_alloc(size_t size);                       /* NULL on failure */
void *ak_try_zalloc(size_t size);                      /* NULL on failure */
void *ak_try_realloc(void *p, size_t size);            /* NULL on failure, `p` untouched */
void *ak_try_alloc_aligned(size_t align, size_t size); /* align: power of two ≥ 8 */
void *ak_alloc_aligned(size_t align, size_t size);     /* aborts on failure */
void ak_free(void *p);
char *ak_strdup_n(const char *p, size_t len); /* NUL-terminated copy; aborts */

/* Give back to the system what is free and was kept for later allocations: after much was freed. */
void ak_memory_trim(void);
/* Resident memory of the process in bytes; 0 where the system does not tell. */
uint64_t ak_memory_resident(void);

/* Page faults of the calling thread so far: those that waited for the disk, and the others. Zeros
 * where the system does not tell. */
struct ak_memory_faults {
    uint64_t major, minor;
};
void ak_memory_faults(struct ak_memory_faults *faults);

/* a*b and a+b that say when they overflow. */
static inline int ak_mul_overflows(size_t a, size_t b, size_t *out)
{
    return __builtin_mul_overflow(a, b, out);
}

static inline int ak_add_overflows(size_t a, size_t b, size_t *out)
{
    return __builtin_add_overflow(a, b, out);
}
