/* libslowsync.c — preloaded into a program, makes every fsync and fdatasync SLOWSYNC_US slower.
 *
 * A virtual disk may acknowledge a sync from the host's memory in 30 µs; a disk that writes before
 * it answers needs between 0.1 and 10 ms. This shows both databases on such a disk.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void wait_as_a_disk_would(void)
{
    const char *text = getenv("SLOWSYNC_US");
    long us = text ? strtol(text, NULL, 10) : 0;
    struct timespec pause = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    (void)nanosleep(&pause, NULL);
}

static int sync_with(const char *name, int fd)
{
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    wait_as_a_disk_would();
    return next(fd);
}

int fsync(int fd)
{
    return sync_with("fsync", fd);
}

int fdatasync(int fd)
{
    return sync_with("fdatasync", fd);
}
