/* file.c — the POSIX file system behind `struct ak_fs`, the thin callers, and two helpers.
 *
 * sync is fdatasync(2): POSIX has it flush the size as soon as the size is needed to read the data
 * back (Linux names ftruncate and appends), and a file that was allocated ahead has no other
 * metadata that matters, so an overwriting log pays for the data alone.
 */
#include "base/file.h"
#include "base/mem.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define FILE_MODE 0640 /* data is the owner's; the group may read it for backups */
#define DIR_MODE 0750
#define ZEROS_BYTES (1u << 20)

struct posix_file {
    struct ak_file base;
    int fd;
    char path[]; /* for messages */
};

static struct posix_file *posix_of(struct ak_file *file)
{
    return (struct posix_file *)file;
}

/* off_t is signed: a position past its end is the caller's arithmetic gone wrong, said here. */
static enum ak_rc check_range(const struct posix_file *file, uint64_t at, uint64_t len,
                              struct ak_err *err)
{
    if (at > INT64_MAX || len > INT64_MAX - at) {
        return ak_fail(err, AK_INVALID, "'%s': %llu bytes at %llu are past the largest file",
                       file->path, (unsigned long long)len, (unsigned long long)at);
    }
    return AK_OK;
}

static enum ak_rc posix_read(struct ak_file *base, uint64_t at, void *p, size_t len, size_t *got,
                             struct ak_err *err)
{
    struct posix_file *file = posix_of(base);
    enum ak_rc rc = check_range(file, at, len, err);
    size_t done = 0;
    while (rc == AK_OK && done < len) {
        ssize_t n = pread(file->fd, (char *)p + done, len - done, (off_t)(at + done));
        if (n == 0) {
            break;
        }
        if (n > 0) {
            done += (size_t)n;
        } else if (errno != EINTR) {
            rc = ak_fail_errno(err, errno, "read '%s' at %llu", file->path,
                               (unsigned long long)(at + done));
        }
    }
    if (rc == AK_OK) {
        *got = done;
    }
    return rc;
}

static enum ak_rc posix_write(struct ak_file *base, uint64_t at, const void *p, size_t len,
                              struct ak_err *err)
{
    struct posix_file *file = posix_of(base);
    enum ak_rc rc = check_range(file, at, len, err);
    size_t done = 0;
    while (rc == AK_OK && done < len) {
        ssize_t n = pwrite(file->fd, (const char *)p + done, len - done, (off_t)(at + done));
        if (n > 0) {
            done += (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            rc = ak_fail_errno(err, n == 0 ? EIO : errno, "write '%s' at %llu", file->path,
                               (unsigned long long)(at + done));
        }
    }
    return rc;
}

static enum ak_rc posix_sync(struct ak_file *base, struct ak_err *err)
{
    struct posix_file *file = posix_of(base);
    /* Not repeated on EINTR: after any failure the kernel may have dropped the dirty pages, and a
     * second call would then report success for bytes that are gone. */
    if (fdatasync(file->fd) != 0) {
        return ak_fail_errno(err, errno, "sync '%s'", file->path);
    }
    return AK_OK;
}

static enum ak_rc posix_truncate(struct ak_file *base, uint64_t size, struct ak_err *err)
{
    struct posix_file *file = posix_of(base);
    enum ak_rc rc = check_range(file, size, 0, err);
    while (rc == AK_OK && ftruncate(file->fd, (off_t)size) != 0) {
        if (errno != EINTR) {
            rc = ak_fail_errno(err, errno, "set the size of '%s' to %llu", file->path,
                               (unsigned long long)size);
        }
    }
    return rc;
}

static enum ak_rc posix_size(struct ak_file *base, uint64_t *size, struct ak_err *err)
{
    struct posix_file *file = posix_of(base);
    struct stat st;
    if (fstat(file->fd, &st) != 0) {
        return ak_fail_errno(err, errno, "size of '%s'", file->path);
    }
    *size = (uint64_t)st.st_size;
    return AK_OK;
}

/* For file systems without fallocate: zeros from the end of the file on. What lies below the end
 * has been written (nothing of ours leaves holes) and must not be overwritten. */
static enum ak_rc allocate_by_writing(struct ak_file *base, uint64_t end, struct ak_err *err)
{
    uint64_t at = 0;
    enum ak_rc rc = posix_size(base, &at, err);
    if (rc != AK_OK || at >= end) {
        return rc;
    }
    char *zeros = ak_zalloc(ZEROS_BYTES);
    while (rc == AK_OK && at < end) {
        size_t len = end - at < ZEROS_BYTES ? (size_t)(end - at) : ZEROS_BYTES;
        rc = posix_write(base, at, zeros, len, err);
        at += len;
    }
    ak_free(zeros);
    return rc;
}

static enum ak_rc posix_allocate(struct ak_file *base, uint64_t at, uint64_t len,
                                 struct ak_err *err)
{
    struct posix_file *file = posix_of(base);
    enum ak_rc rc = check_range(file, at, len, err);
    if (rc != AK_OK || len == 0) {
        return rc;
    }
    int failed = 0;
    do {
        failed = fallocate(file->fd, 0, (off_t)at, (off_t)len) != 0 ? errno : 0;
    } while (failed == EINTR);
    if (failed == EOPNOTSUPP || failed == ENOSYS) {
        return allocate_by_writing(base, at + len, err);
    }
    if (failed) {
        return ak_fail_errno(err, failed, "reserve %llu bytes of '%s'", (unsigned long long)len,
                             file->path);
    }
    return AK_OK;
}

static int posix_fd(struct ak_file *base)
{
    return posix_of(base)->fd;
}

static void posix_close(struct ak_file *base)
{
    /* Whoever needed the bytes has synced them, so close has nothing left to report. */
    (void)close(posix_of(base)->fd);
    ak_free(base);
}

static const struct ak_file_ops posix_file_ops = {
    .read = posix_read,
    .write = posix_write,
    .sync = posix_sync,
    .truncate = posix_truncate,
    .allocate = posix_allocate,
    .size = posix_size,
    .fd = posix_fd,
    .close = posix_close,
};

static enum ak_rc posix_open(struct ak_fs *fs, const char *path, unsigned flags,
                             struct ak_file **out, struct ak_err *err)
{
    (void)fs;
    int mode = O_CLOEXEC | (flags & AK_OPEN_WRITE ? O_RDWR : O_RDONLY);
    mode |= flags & AK_OPEN_CREATE ? O_CREAT : 0;
    mode |= flags & AK_OPEN_EXCLUSIVE ? O_EXCL : 0;
    mode |= flags & AK_OPEN_TRUNCATE ? O_TRUNC : 0;
    int fd = -1;
    do {
        fd = open(path, mode, FILE_MODE);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return ak_fail_errno(err, errno, "open '%s'", path);
    }
    size_t len = strlen(path) + 1;
    struct posix_file *file = ak_alloc(sizeof *file + len);
    file->base.ops = &posix_file_ops;
    file->fd = fd;
    memcpy(file->path, path, len);
    *out = &file->base;
    return AK_OK;
}

static enum ak_rc posix_rename(struct ak_fs *fs, const char *from, const char *to,
                               struct ak_err *err)
{
    (void)fs;
    if (rename(from, to) != 0) {
        return ak_fail_errno(err, errno, "rename '%s' to '%s'", from, to);
    }
    return AK_OK;
}

static enum ak_rc posix_link(struct ak_fs *fs, const char *from, const char *to, struct ak_err *err)
{
    (void)fs;
    if (linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) == 0) {
        return AK_OK;
    }
    int failed = errno;
    /* EPERM: no hard links here, or not of this file (fs.protected_hardlinks). */
    if (failed == EXDEV || failed == EPERM || failed == EMLINK || failed == EOPNOTSUPP ||
        failed == ENOSYS) {
        return ak_fail(err, AK_UNSUPPORTED, "'%s' cannot have a second name '%s': %s", from, to,
                       strerror(failed));
    }
    return ak_fail_errno(err, failed, "link '%s' to '%s'", from, to);
}

static enum ak_rc posix_remove(struct ak_fs *fs, const char *path, struct ak_err *err)
{
    (void)fs;
    if (unlink(path) != 0) {
        return ak_fail_errno(err, errno, "remove '%s'", path);
    }
    return AK_OK;
}

/* What was there may be gone when it is looked at: then it is made after all. */
#define MAKE_DIR_TRIES 1000

static enum ak_rc posix_make_dir(struct ak_fs *fs, const char *path, struct ak_err *err)
{
    (void)fs;
    int failed = EEXIST;
    for (int i = 0; failed == EEXIST && i < MAKE_DIR_TRIES; i++) {
        struct stat st;
        failed = mkdir(path, DIR_MODE) == 0 ? 0 : errno;
        if (failed == EEXIST && stat(path, &st) == 0) {
            failed = S_ISDIR(st.st_mode) ? 0 : ENOTDIR;
        }
    }
    return failed ? ak_fail_errno(err, failed, "make folder '%s'", path) : AK_OK;
}

static enum ak_rc posix_remove_dir(struct ak_fs *fs, const char *path, struct ak_err *err)
{
    (void)fs;
    if (rmdir(path) == 0) {
        return AK_OK;
    }
    if (errno == ENOTEMPTY || errno == EEXIST) {
        return ak_fail(err, AK_CONFLICT, "remove folder '%s': it is not empty", path);
    }
    return ak_fail_errno(err, errno, "remove folder '%s'", path);
}

static enum ak_rc posix_sync_dir(struct ak_fs *fs, const char *path, struct ak_err *err)
{
    (void)fs;
    int fd = -1;
    do {
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return ak_fail_errno(err, errno, "open folder '%s'", path);
    }
    int failed = fsync(fd) != 0 ? errno : 0;
    (void)close(fd);
    /* Some network and FUSE file systems have no fsync of folders: names are durable there at
     * once, or never under anyone's control. */
    if (failed && failed != EINVAL && failed != EOPNOTSUPP) {
        return ak_fail_errno(err, failed, "sync folder '%s'", path);
    }
    return AK_OK;
}

static enum ak_rc posix_list(struct ak_fs *fs, const char *path, ak_dir_fn fn, void *ctx,
                             struct ak_err *err)
{
    (void)fs;
    DIR *dir = opendir(path);
    if (!dir && errno == ENOTDIR) {
        return ak_fail(err, AK_NOT_FOUND, "'%s' is no folder", path);
    }
    if (!dir) {
        return ak_fail_errno(err, errno, "open folder '%s'", path);
    }
    enum ak_rc rc = AK_OK;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(dir); /* of our own stream: no other thread shares it */
        if (!entry) {
            rc = errno ? ak_fail_errno(err, errno, "list folder '%s'", path) : AK_OK;
            break;
        }
        bool is_dots = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        if (!is_dots && !fn(ctx, ak_str_of(entry->d_name))) {
            break;
        }
    }
    (void)closedir(dir);
    return rc;
}

static enum ak_rc posix_stat(struct ak_fs *fs, const char *path, uint64_t *size, struct ak_err *err)
{
    (void)fs;
    struct stat st;
    if (stat(path, &st) != 0) {
        return ak_fail_errno(err, errno, "stat '%s'", path);
    }
    *size = (uint64_t)st.st_size;
    return AK_OK;
}

static enum ak_rc posix_free_bytes(struct ak_fs *fs, const char *path, uint64_t *bytes,
                                   struct ak_err *err)
{
    (void)fs;
    struct statvfs st;
    if (statvfs(path, &st) != 0) {
        return ak_fail_errno(err, errno, "free space of '%s'", path);
    }
    *bytes = (uint64_t)st.f_bavail * (uint64_t)st.f_frsize;
    return AK_OK;
}

struct ak_fs *ak_fs_posix(void)
{
    static const struct ak_fs_ops ops = {
        .open = posix_open,
        .rename = posix_rename,
        .link = posix_link,
        .remove = posix_remove,
        .make_dir = posix_make_dir,
        .remove_dir = posix_remove_dir,
        .sync_dir = posix_sync_dir,
        .list = posix_list,
        .stat = posix_stat,
        .free_bytes = posix_free_bytes,
    };
    static struct ak_fs fs = {.ops = &ops};
    return &fs;
}

enum ak_rc ak_fs_open(struct ak_fs *fs, const char *path, unsigned flags, struct ak_file **file,
                      struct ak_err *err)
{
    return fs->ops->open(fs, path, flags, file, err);
}

enum ak_rc ak_fs_rename(struct ak_fs *fs, const char *from, const char *to, struct ak_err *err)
{
    return fs->ops->rename(fs, from, to, err);
}

enum ak_rc ak_fs_link(struct ak_fs *fs, const char *from, const char *to, struct ak_err *err)
{
    return fs->ops->link(fs, from, to, err);
}

enum ak_rc ak_fs_remove(struct ak_fs *fs, const char *path, struct ak_err *err)
{
    return fs->ops->remove(fs, path, err);
}

enum ak_rc ak_fs_make_dir(struct ak_fs *fs, const char *path, struct ak_err *err)
{
    return fs->ops->make_dir(fs, path, err);
}

enum ak_rc ak_fs_remove_dir(struct ak_fs *fs, const char *path, struct ak_err *err)
{
    return fs->ops->remove_dir(fs, path, err);
}

enum ak_rc ak_fs_sync_dir(struct ak_fs *fs, const char *path, struct ak_err *err)
{
    return fs->ops->sync_dir(fs, path, err);
}

enum ak_rc ak_fs_list(struct ak_fs *fs, const char *path, ak_dir_fn fn, void *ctx,
                      struct ak_err *err)
{
    return fs->ops->list(fs, path, fn, ctx, err);
}

enum ak_rc ak_fs_stat(struct ak_fs *fs, const char *path, uint64_t *size, struct ak_err *err)
{
    return fs->ops->stat(fs, path, size, err);
}

enum ak_rc ak_fs_free_bytes(struct ak_fs *fs, const char *path, uint64_t *bytes, struct ak_err *err)
{
    return fs->ops->free_bytes(fs, path, bytes, err);
}

enum ak_rc ak_file_read(struct ak_file *file, uint64_t at, void *p, size_t len, size_t *got,
                        struct ak_err *err)
{
    return file->ops->read(file, at, p, len, got, err);
}

enum ak_rc ak_file_read_exact(struct ak_file *file, uint64_t at, void *p, size_t len,
                              struct ak_err *err)
{
    size_t got = 0;
    enum ak_rc rc = file->ops->read(file, at, p, len, &got, err);
    if (rc == AK_OK && got < len) {
        return ak_fail(err, AK_CORRUPT, "the file ends at byte %llu, %zu bytes at %llu are wanted",
                       (unsigned long long)(at + got), len, (unsigned long long)at);
    }
    return rc;
}

enum ak_rc ak_file_write(struct ak_file *file, uint64_t at, const void *p, size_t len,
                         struct ak_err *err)
{
    return file->ops->write(file, at, p, len, err);
}

enum ak_rc ak_file_sync(struct ak_file *file, struct ak_err *err)
{
    return file->ops->sync(file, err);
}

enum ak_rc ak_file_truncate(struct ak_file *file, uint64_t size, struct ak_err *err)
{
    return file->ops->truncate(file, size, err);
}

enum ak_rc ak_file_allocate(struct ak_file *file, uint64_t at, uint64_t len, struct ak_err *err)
{
    return file->ops->allocate(file, at, len, err);
}

enum ak_rc ak_file_size(struct ak_file *file, uint64_t *size, struct ak_err *err)
{
    return file->ops->size(file, size, err);
}

int ak_file_fd(struct ak_file *file)
{
    return file->ops->fd(file);
}

void ak_file_begin_sync(struct ak_file *file, uint64_t at, uint64_t len)
{
    int fd = ak_file_fd(file);
    if (fd >= 0 && at + len <= INT64_MAX) {
        (void)sync_file_range(fd, (off64_t)at, (off64_t)len, SYNC_FILE_RANGE_WRITE);
    }
}

void ak_file_close(struct ak_file *file)
{
    if (file) {
        file->ops->close(file);
    }
}

/* The folder that holds the name `path`: "." for a bare name, "/" at the top. */
static struct ak_str folder_of(const char *path)
{
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/') {
        len--;
    }
    while (len > 0 && path[len - 1] != '/') {
        len--;
    }
    if (len == 0) {
        return AK_STR(".");
    }
    while (len > 1 && path[len - 1] == '/') {
        len--;
    }
    return (struct ak_str){path, len};
}

static enum ak_rc sync_folder_of(struct ak_fs *fs, const char *path, struct ak_err *err)
{
    struct ak_str folder = folder_of(path);
    char *name = ak_strdup_n(folder.p, folder.len);
    enum ak_rc rc = ak_fs_sync_dir(fs, name, err);
    ak_free(name);
    return rc;
}

enum ak_rc ak_fs_make_dirs(struct ak_fs *fs, const char *path, struct ak_err *err)
{
    size_t len = strlen(path);
    if (len == 0) {
        return ak_fail(err, AK_INVALID, "the path of a folder is empty");
    }
    while (len > 1 && path[len - 1] == '/') {
        len--;
    }
    char *upto = ak_strdup_n(path, len);
    enum ak_rc rc = AK_OK;
    for (size_t i = 1; i <= len && rc == AK_OK; i++) {
        if (i < len && (upto[i] != '/' || upto[i - 1] == '/')) {
            continue;
        }
        char cut = upto[i];
        upto[i] = '\0';
        uint64_t size = 0;
        struct ak_err absent; /* an absent folder is expected here, not an error to report */
        bool is_new = ak_fs_stat(fs, upto, &size, &absent) != AK_OK;
        if (is_new || i == len) {
            rc = ak_fs_make_dir(fs, upto, err);
        }
        /* The last name is synced even when it was there: whoever made it may have been killed
         * before its own sync. */
        if (rc == AK_OK && (is_new || i == len) && strcmp(upto, "/") != 0) {
            rc = sync_folder_of(fs, upto, err);
        }
        upto[i] = cut;
    }
    ak_free(upto);
    return rc;
}

enum ak_rc ak_fs_read_all(struct ak_fs *fs, const char *path, size_t size_max, struct ak_buf *out,
                          struct ak_err *err)
{
    struct ak_file *file = NULL;
    uint64_t size = 0;
    size_t got = 0;
    enum ak_rc rc = ak_fs_open(fs, path, AK_OPEN_READ, &file, err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = ak_file_size(file, &size, err);
    if (rc == AK_OK && size > size_max) {
        rc = ak_fail(err, AK_TOO_BIG, "'%s' has %llu bytes, at most %zu are read", path,
                     (unsigned long long)size, size_max);
    }
    char *to = rc == AK_OK ? ak_buf_reserve(out, (size_t)size) : NULL;
    if (rc == AK_OK && !to) {
        rc = ak_wrap(err, ak_buf_check(out, err), "read '%s'", path);
    }
    if (rc == AK_OK) {
        rc = ak_file_read(file, 0, to, (size_t)size, &got, err);
    }
    if (rc == AK_OK) {
        out->len += got;
    }
    ak_file_close(file);
    return rc;
}

/* The temporary name is fixed, so that what a crash leaves is overwritten by the next write and
 * does not pile up; a path therefore has one writer at a time. */
enum ak_rc ak_fs_write_atomic(struct ak_fs *fs, const char *path, struct ak_str bytes,
                              struct ak_err *err)
{
    struct ak_buf name;
    ak_buf_init(&name, PATH_MAX);
    ak_buf_add_fmt(&name, "%s.tmp", path);
    const char *tmp = ak_buf_cstr(&name);
    struct ak_file *file = NULL;
    enum ak_rc rc = ak_buf_check(&name, err);
    if (rc == AK_OK) {
        rc = ak_fs_open(fs, tmp, AK_OPEN_WRITE | AK_OPEN_CREATE | AK_OPEN_TRUNCATE, &file, err);
    }
    if (rc != AK_OK) {
        goto out;
    }
    rc = ak_file_write(file, 0, bytes.p, bytes.len, err);
    if (rc == AK_OK) {
        rc = ak_file_sync(file, err);
    }
    ak_file_close(file);
    if (rc == AK_OK) {
        rc = ak_fs_rename(fs, tmp, path, err);
    }
    if (rc != AK_OK) {
        struct ak_err ignored; /* the first failure is the one to report */
        (void)!ak_fs_remove(fs, tmp, &ignored);
        goto out;
    }
    rc = sync_folder_of(fs, path, err);
out:
    ak_buf_release(&name);
    return rc;
}
