/* quickfs.c — POSIX without sync: the tables of ak_fs_posix() with three entries replaced. */
#include "support/quickfs.h"
#include <pthread.h>

static struct ak_file_ops file_ops;
static struct ak_fs_ops fs_ops;
static struct ak_fs fs = {.ops = &fs_ops};
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static enum ak_rc no_sync(struct ak_file *file, struct ak_err *err)
{
    (void)file;
    (void)err;
    return AK_OK;
}

static enum ak_rc no_sync_dir(struct ak_fs *self, const char *path, struct ak_err *err)
{
    (void)self;
    (void)path;
    (void)err;
    return AK_OK;
}

static enum ak_rc quick_open(struct ak_fs *self, const char *path, unsigned flags,
                             struct ak_file **out, struct ak_err *err)
{
    (void)self;
    struct ak_file *file = NULL;
    enum ak_rc rc = ak_fs_open(ak_fs_posix(), path, flags, &file, err);
    if (rc != AK_OK) {
        return rc;
    }
    (void)pthread_mutex_lock(&mutex);
    if (!file_ops.read) {
        file_ops = *file->ops;
        file_ops.sync = no_sync;
    }
    (void)pthread_mutex_unlock(&mutex);
    file->ops = &file_ops;
    *out = file;
    return AK_OK;
}

static void make_tables(void)
{
    fs_ops = *ak_fs_posix()->ops;
    fs_ops.open = quick_open;
    fs_ops.sync_dir = no_sync_dir;
}

struct ak_fs *quickfs(void)
{
    (void)pthread_once(&once, make_tables);
    return &fs;
}
