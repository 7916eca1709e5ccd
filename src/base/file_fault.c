/* file_fault.c — a file system that fails on purpose, over another one.
 *
 * Operations are counted by their bit in `enum ak_fs_op`: truncate counts as a write, make_dir as
 * an open, link as a rename, remove_dir as a remove; list, stat, size and free_bytes never fail
 * here. A write that is made to fail has already written the first half of its bytes, as a real one
 * may have; all others that are made to fail have done nothing.
 */
#include "base/file.h"
#include "base/mem.h"
#include <stdatomic.h>

struct ak_fs_fault {
    struct ak_fs fs;
    struct ak_fs *under;
    /* Written by ak_fs_fault_set() before `ops`, read by operations after it (release/acquire). */
    _Atomic unsigned ops;
    _Atomic int64_t left; /* operations among `ops` that still succeed; below 0: past the one */
    _Atomic int errnum;
    _Atomic bool sticky;
    _Atomic bool fired;
};

struct fault_file {
    struct ak_file base;
    struct ak_fs_fault *fault;
    struct ak_file *under;
};

static struct ak_fs_fault *fault_of(struct ak_fs *fs)
{
    return (struct ak_fs_fault *)fs;
}

static struct fault_file *file_of(struct ak_file *file)
{
    return (struct fault_file *)file;
}

static bool must_fail(struct ak_fs_fault *fault, enum ak_fs_op op)
{
    if (!(atomic_load(&fault->ops) & (unsigned)op)) {
        return false;
    }
    int64_t left = atomic_fetch_sub(&fault->left, 1);
    bool fails = left == 0 || (left < 0 && atomic_load(&fault->sticky));
    if (fails) {
        atomic_store(&fault->fired, true);
    }
    return fails;
}

static enum ak_rc refuse(struct ak_fs_fault *fault, const char *what, struct ak_err *err)
{
    return ak_fail_errno(err, atomic_load(&fault->errnum), "%s (made to fail)", what);
}

static enum ak_rc fault_read(struct ak_file *base, uint64_t at, void *p, size_t len, size_t *got,
                             struct ak_err *err)
{
    struct fault_file *file = file_of(base);
    if (must_fail(file->fault, AK_FS_READ)) {
        return refuse(file->fault, "read", err);
    }
    return ak_file_read(file->under, at, p, len, got, err);
}

static enum ak_rc fault_write(struct ak_file *base, uint64_t at, const void *p, size_t len,
                              struct ak_err *err)
{
    struct fault_file *file = file_of(base);
    if (must_fail(file->fault, AK_FS_WRITE)) {
        struct ak_err ignored; /* the failure on purpose is the one to report */
        (void)!ak_file_write(file->under, at, p, len / 2, &ignored);
        return refuse(file->fault, "write", err);
    }
    return ak_file_write(file->under, at, p, len, err);
}

static enum ak_rc fault_sync(struct ak_file *base, struct ak_err *err)
{
    struct fault_file *file = file_of(base);
    if (must_fail(file->fault, AK_FS_SYNC)) {
        return refuse(file->fault, "sync", err);
    }
    return ak_file_sync(file->under, err);
}

static enum ak_rc fault_truncate(struct ak_file *base, uint64_t size, struct ak_err *err)
{
    struct fault_file *file = file_of(base);
    if (must_fail(file->fault, AK_FS_WRITE)) {
        return refuse(file->fault, "truncate", err);
    }
    return ak_file_truncate(file->under, size, err);
}

static enum ak_rc fault_allocate(struct ak_file *base, uint64_t at, uint64_t len,
                                 struct ak_err *err)
{
    struct fault_file *file = file_of(base);
    if (must_fail(file->fault, AK_FS_ALLOCATE)) {
        return refuse(file->fault, "reserve", err);
    }
    return ak_file_allocate(file->under, at, len, err);
}

static enum ak_rc fault_size(struct ak_file *base, uint64_t *size, struct ak_err *err)
{
    return ak_file_size(file_of(base)->under, size, err);
}

static int fault_fd(struct ak_file *base)
{
    return ak_file_fd(file_of(base)->under);
}

static void fault_close(struct ak_file *base)
{
    ak_file_close(file_of(base)->under);
    ak_free(base);
}

static const struct ak_file_ops fault_file_ops = {
    .read = fault_read,
    .write = fault_write,
    .sync = fault_sync,
    .truncate = fault_truncate,
    .allocate = fault_allocate,
    .size = fault_size,
    .fd = fault_fd,
    .close = fault_close,
};

static enum ak_rc fault_open(struct ak_fs *fs, const char *path, unsigned flags,
                             struct ak_file **out, struct ak_err *err)
{
    struct ak_fs_fault *fault = fault_of(fs);
    if (must_fail(fault, AK_FS_OPEN)) {
        return refuse(fault, "open", err);
    }
    struct ak_file *under = NULL;
    enum ak_rc rc = ak_fs_open(fault->under, path, flags, &under, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct fault_file *file = ak_alloc(sizeof *file);
    *file = (struct fault_file){.base.ops = &fault_file_ops, .fault = fault, .under = under};
    *out = &file->base;
    return AK_OK;
}

static enum ak_rc fault_rename(struct ak_fs *fs, const char *from, const char *to,
                               struct ak_err *err)
{
    struct ak_fs_fault *fault = fault_of(fs);
    if (must_fail(fault, AK_FS_RENAME)) {
        return refuse(fault, "rename", err);
    }
    return ak_fs_rename(fault->under, from, to, err);
}

static enum ak_rc fault_link(struct ak_fs *fs, const char *from, const char *to, struct ak_err *err)
{
    struct ak_fs_fault *fault = fault_of(fs);
    if (must_fail(fault, AK_FS_RENAME)) {
        return refuse(fault, "link", err);
    }
    return ak_fs_link(fault->under, from, to, err);
}

static enum ak_rc fault_remove(struct ak_fs *fs, const char *path, struct ak_err *err)
{
    struct ak_fs_fault *fault = fault_of(fs);
    if (must_fail(fault, AK_FS_REMOVE)) {
        return refuse(fault, "remove", err);
    }
    return ak_fs_remove(fault->under, path, err);
}

static enum ak_rc fault_make_dir(struct ak_fs *fs, const char *path, struct ak_err *err)
{
    struct ak_fs_fault *fault = fault_of(fs);
    if (must_fail(fault, AK_FS_OPEN)) {
        return refuse(fault, "make folder", err);
    }
    return ak_fs_make_dir(fault->under, path, err);
}

static enum ak_rc fault_remove_dir(struct ak_fs *fs, const char *path, struct ak_err *err)
{
    struct ak_fs_fault *fault = fault_of(fs);
    if (must_fail(fault, AK_FS_REMOVE)) {
        return refuse(fault, "remove folder", err);
    }
    return ak_fs_remove_dir(fault->under, path, err);
}

static enum ak_rc fault_sync_dir(struct ak_fs *fs, const char *path, struct ak_err *err)
{
    struct ak_fs_fault *fault = fault_of(fs);
    if (must_fail(fault, AK_FS_SYNC_DIR)) {
        return refuse(fault, "sync folder", err);
    }
    return ak_fs_sync_dir(fault->under, path, err);
}

static enum ak_rc fault_list(struct ak_fs *fs, const char *path, ak_dir_fn fn, void *ctx,
                             struct ak_err *err)
{
    return ak_fs_list(fault_of(fs)->under, path, fn, ctx, err);
}

static enum ak_rc fault_stat(struct ak_fs *fs, const char *path, uint64_t *size, struct ak_err *err)
{
    return ak_fs_stat(fault_of(fs)->under, path, size, err);
}

static enum ak_rc fault_free_bytes(struct ak_fs *fs, const char *path, uint64_t *bytes,
                                   struct ak_err *err)
{
    return ak_fs_free_bytes(fault_of(fs)->under, path, bytes, err);
}

struct ak_fs_fault *ak_fs_fault_open(struct ak_fs *under)
{
    static const struct ak_fs_ops ops = {
        .open = fault_open,
        .rename = fault_rename,
        .link = fault_link,
        .remove = fault_remove,
        .make_dir = fault_make_dir,
        .remove_dir = fault_remove_dir,
        .sync_dir = fault_sync_dir,
        .list = fault_list,
        .stat = fault_stat,
        .free_bytes = fault_free_bytes,
    };
    struct ak_fs_fault *fault = ak_zalloc(sizeof *fault);
    fault->fs.ops = &ops;
    fault->under = under;
    return fault;
}

void ak_fs_fault_close(struct ak_fs_fault *fault)
{
    ak_free(fault);
}

struct ak_fs *ak_fs_fault_fs(struct ak_fs_fault *fault)
{
    return &fault->fs;
}

void ak_fs_fault_set(struct ak_fs_fault *fault, unsigned ops, int64_t nth, int errnum, bool sticky)
{
    atomic_store(&fault->ops, 0);
    atomic_store(&fault->left, nth);
    atomic_store(&fault->errnum, errnum);
    atomic_store(&fault->sticky, sticky);
    atomic_store(&fault->fired, false);
    atomic_store(&fault->ops, nth < 0 ? 0 : ops);
}

bool ak_fs_fault_fired(const struct ak_fs_fault *fault)
{
    return atomic_load(&fault->fired);
}
