/* mem.c — allocation; the only file that calls malloc. */
#include "base/mem.h"
#include "base/err.h"
#include "base/fault.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

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

void ak_memory_trim(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

/* The second number of statm. */
uint64_t ak_memory_resident(void)
{
    char text[256];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    ssize_t len = read(fd, text, sizeof text - 1);
    (void)close(fd);
    text[len > 0 ? len : 0] = '\0';
    const char *second = strchr(text, ' ');
    long page = sysconf(_SC_PAGESIZE);
    return second && page > 0 ? strtoull(second, NULL, 10) * (uint64_t)page : 0;
}

void ak_memory_faults(struct ak_memory_faults *faults)
{
    struct rusage usage = {0};
#ifdef RUSAGE_THREAD
    (void)getrusage(RUSAGE_THREAD, &usage);
#endif
    *faults = (struct ak_memory_faults){(uint64_t)usage.ru_majflt, (uint64_t)usage.ru_minflt};
}
