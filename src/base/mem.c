/* mem.c — allocation; the only file that calls malloc. */
#include "base/mem.h"
#include "base/err.h"
#include "base/fault.h"
#include <stdlib.h>
#include <string.h>

static void *must(void *p)
{
    AK_ASSERT(p != NULL && "out of memory");
    return p;
}

static size_t at_least_one(size_t size)
{
    return size ? size : 1;
}

void *ak_try_alloc(size_t size)
{
    return ak_fault_alloc_fails() ? NULL : malloc(at_least_one(size));
}

void *ak_try_zalloc(size_t size)
{
    return ak_fault_alloc_fails() ? NULL : calloc(1, at_least_one(size));
}

void *ak_try_realloc(void *p, size_t size)
{
    return ak_fault_alloc_fails() ? NULL : realloc(p, at_least_one(size));
}

void *ak_try_alloc_aligned(size_t align, size_t size)
{
    void *p = NULL;
    if (ak_fault_alloc_fails() || posix_memalign(&p, align, at_least_one(size)) != 0) {
        return NULL;
    }
    return p;
}

void *ak_alloc(size_t size)
{
    return must(malloc(at_least_one(size)));
}

void *ak_zalloc(size_t size)
{
    return must(calloc(1, at_least_one(size)));
}

void *ak_realloc(void *p, size_t size)
{
    return must(realloc(p, at_least_one(size)));
}

void *ak_alloc_aligned(size_t align, size_t size)
{
    void *p = NULL;
    return posix_memalign(&p, align, at_least_one(size)) == 0 ? p : must(NULL);
}

void ak_free(void *p)
{
    free(p);
}

char *ak_strdup_n(const char *p, size_t len)
{
    char *copy = ak_alloc(len + 1);
    if (len) {
        memcpy(copy, p, len);
    }
    copy[len] = '\0';
    return copy;
}
