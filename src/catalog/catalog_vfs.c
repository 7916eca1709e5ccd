/* catalog_vfs.c — SQLite's files through base/file.h.
 *
 * SQLite needs little here: one connection, exclusive locking, a write-ahead log whose index stays
 * on the heap (no shared memory: iVersion 1), temporary tables in memory. So a file is read, write,
 * truncate, sync and size, and a lock is taken once, on the database file, against
 * a second process.
 *
 * I1  A name that SQLite created is made durable by the first sync of its file, so that a synced
 *     log cannot be lost with its name.
 * I2  After a failed sync the kernel may have dropped what was written: nothing is written, synced
 *     or removed any more (FAILED) until the catalog is opened again, which recovers from the log.
 *     A full disk is not that: the write failed, SQLite took the transaction back.
 */
#include "base/mem.h"
#include "base/rand.h"
#include "catalog/catalog_priv.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#define SECTOR_BYTES 4096
#define UNIX_EPOCH_DAYS 2440587.5 /* as a Julian day, which is what SQLite asks for */
#define SECONDS_A_DAY 86400.0

struct catalog_vfs {
    sqlite3_vfs vfs;
    char name[32];
    struct ak_fs *fs;
    struct ak_log *log;
    struct ak_err failure; /* .rc is AK_OK while there is none */
    bool is_failed;
};

struct vfs_file {
    sqlite3_file base;
    struct catalog_vfs *owner;
    struct ak_file *file;
    char *path;
    bool name_is_new; /* its folder is not synced yet */
};

static struct vfs_file *file_of(sqlite3_file *base)
{
    return (struct vfs_file *)base;
}

static struct catalog_vfs *vfs_of(sqlite3_vfs *vfs)
{
    return vfs->pAppData;
}

/* Keep the cause for the message, and give SQLite the code that makes it do the right thing. */
static int failed(struct catalog_vfs *vfs, const struct ak_err *err, int sqlite_rc)
{
    vfs->failure = *err;
    if (err->rc == AK_NO_SPACE) {
        return SQLITE_FULL;
    }
    return err->rc == AK_NOMEM ? SQLITE_IOERR_NOMEM : sqlite_rc;
}

static int refuse(struct catalog_vfs *vfs, int sqlite_rc)
{
    struct ak_err err;
    (void)ak_fail(&err, AK_IO,
                  "an earlier sync of the catalog failed: it refuses changes until the "
                  "server is restarted");
    return failed(vfs, &err, sqlite_rc);
}

static int sync_failed(struct catalog_vfs *vfs, const struct ak_err *err)
{
    vfs->is_failed = true;
    ak_log_error(vfs->log, "catalog", "%s; changes are refused until the next start", err->text);
    vfs->failure = *err;
    return SQLITE_IOERR_FSYNC;
}

static enum ak_rc sync_folder(struct ak_fs *fs, const char *path, struct ak_err *err)
{
    const char *slash = strrchr(path, '/');
    if (!slash) {
        return ak_fs_sync_dir(fs, ".", err);
    }
    char *folder = ak_strdup_n(path, slash == path ? 1 : (size_t)(slash - path));
    enum ak_rc rc = ak_fs_sync_dir(fs, folder, err);
    ak_free(folder);
    return rc;
}

static int file_close(sqlite3_file *base)
{
    struct vfs_file *file = file_of(base);
    ak_file_close(file->file);
    ak_free(file->path);
    return SQLITE_OK;
}

static int file_read(sqlite3_file *base, void *p, int len, sqlite3_int64 at)
{
    struct vfs_file *file = file_of(base);
    struct ak_err err;
    size_t got = 0;
    if (ak_file_read(file->file, (uint64_t)at, p, (size_t)len, &got, &err) != AK_OK) {
        return failed(file->owner, &err, SQLITE_IOERR_READ);
    }
    if (got < (size_t)len) {
        memset((char *)p + got, 0, (size_t)len - got); /* SQLite wants the rest as zeros */
        return SQLITE_IOERR_SHORT_READ;
    }
    return SQLITE_OK;
}

static int file_write(sqlite3_file *base, const void *p, int len, sqlite3_int64 at)
{
    struct vfs_file *file = file_of(base);
    struct ak_err err;
    if (file->owner->is_failed) {
        return refuse(file->owner, SQLITE_IOERR_WRITE);
    }
    if (ak_file_write(file->file, (uint64_t)at, p, (size_t)len, &err) != AK_OK) {
        return failed(file->owner, &err, SQLITE_IOERR_WRITE);
    }
    return SQLITE_OK;
}

static int file_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    struct vfs_file *file = file_of(base);
    struct ak_err err;
    if (file->owner->is_failed) {
        return refuse(file->owner, SQLITE_IOERR_TRUNCATE);
    }
    if (ak_file_truncate(file->file, (uint64_t)size, &err) != AK_OK) {
        return failed(file->owner, &err, SQLITE_IOERR_TRUNCATE);
    }
    return SQLITE_OK;
}

static int file_sync(sqlite3_file *base, int flags)
{
    (void)flags;
    struct vfs_file *file = file_of(base);
    struct ak_err err;
    if (file->owner->is_failed) {
        return refuse(file->owner, SQLITE_IOERR_FSYNC);
    }
    if (ak_file_sync(file->file, &err) != AK_OK) {
        return sync_failed(file->owner, &err);
    }
    if (file->name_is_new) {
        if (sync_folder(file->owner->fs, file->path, &err) != AK_OK) {
            return sync_failed(file->owner, &err);
        }
        file->name_is_new = false;
    }
    return SQLITE_OK;
}

static int file_size(sqlite3_file *base, sqlite3_int64 *size)
{
    struct vfs_file *file = file_of(base);
    struct ak_err err;
    uint64_t bytes = 0;
    if (ak_file_size(file->file, &bytes, &err) != AK_OK) {
        return failed(file->owner, &err, SQLITE_IOERR_FSTAT);
    }
    *size = (sqlite3_int64)bytes;
    return SQLITE_OK;
}

/* One connection in one process: the lock against other processes is taken at open. */
static int file_lock(sqlite3_file *base, int level)
{
    (void)base;
    (void)level;
    return SQLITE_OK;
}

static int file_is_reserved(sqlite3_file *base, int *is_reserved)
{
    (void)base;
    *is_reserved = 0;
    return SQLITE_OK;
}

static int file_control(sqlite3_file *base, int op, void *arg)
{
    (void)base;
    (void)op;
    (void)arg;
    return SQLITE_NOTFOUND;
}

static int file_sector(sqlite3_file *base)
{
    (void)base;
    return SECTOR_BYTES;
}

/* base/file.h promises that a torn write leaves the bytes around it alone. */
static int file_characteristics(sqlite3_file *base)
{
    (void)base;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static const sqlite3_io_methods file_methods = {
    .iVersion = 1,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_lock,
    .xCheckReservedLock = file_is_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector,
    .xDeviceCharacteristics = file_characteristics,
};

static int lock_against_others(struct vfs_file *file)
{
    int fd = ak_file_fd(file->file);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) {
        return SQLITE_OK; /* a file system without locks is used as it is */
    }
    struct ak_err err;
    (void)ak_fail(&err, AK_CONFLICT, "another process has '%s' open", file->path);
    return failed(file->owner, &err, SQLITE_BUSY);
}

static int vfs_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *base, int flags, int *given)
{
    struct catalog_vfs *owner = vfs_of(vfs);
    struct vfs_file *file = file_of(base);
    struct ak_err err;
    uint64_t size = 0;
    file->base.pMethods = NULL; /* SQLite closes nothing when open fails */
    if (!path) {
        (void)ak_fail(&err, AK_INTERNAL, "the catalog keeps temporary tables in memory");
        return failed(owner, &err, SQLITE_CANTOPEN);
    }
    unsigned mode = flags & SQLITE_OPEN_READWRITE ? AK_OPEN_WRITE : AK_OPEN_READ;
    mode |= flags & SQLITE_OPEN_CREATE ? AK_OPEN_CREATE : 0u;
    mode |= flags & SQLITE_OPEN_EXCLUSIVE ? AK_OPEN_EXCLUSIVE : 0u;
    bool is_new = ak_fs_stat(owner->fs, path, &size, NULL) != AK_OK;
    if (ak_fs_open(owner->fs, path, mode, &file->file, &err) != AK_OK) {
        return failed(owner, &err, SQLITE_CANTOPEN);
    }
    file->owner = owner;
    file->path = ak_strdup_n(path, strlen(path));
    file->name_is_new = is_new;
    int rc = flags & SQLITE_OPEN_MAIN_DB ? lock_against_others(file) : SQLITE_OK;
    if (rc != SQLITE_OK) {
        (void)file_close(base);
        return rc;
    }
    file->base.pMethods = &file_methods;
    if (given) {
        *given = flags;
    }
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int sync_dir)
{
    struct catalog_vfs *owner = vfs_of(vfs);
    struct ak_err err;
    if (owner->is_failed) {
        return refuse(owner, SQLITE_IOERR_DELETE);
    }
    enum ak_rc rc = ak_fs_remove(owner->fs, path, &err);
    if (rc == AK_NOT_FOUND) {
        return SQLITE_IOERR_DELETE_NOENT;
    }
    if (rc != AK_OK) {
        return failed(owner, &err, SQLITE_IOERR_DELETE);
    }
    if (sync_dir && sync_folder(owner->fs, path, &err) != AK_OK) {
        return sync_failed(owner, &err);
    }
    return SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *vfs, const char *path, int flags, int *is_there)
{
    uint64_t size = 0;
    bool exists = ak_fs_stat(vfs_of(vfs)->fs, path, &size, NULL) == AK_OK;
    /* An empty journal is as good as none, and SQLite's own file layer says so too. */
    *is_there = exists && (flags != SQLITE_ACCESS_EXISTS || size > 0);
    return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *path, int cap, char *full)
{
    size_t len = strlen(path);
    if (len >= (size_t)cap) {
        struct ak_err err;
        (void)ak_fail(&err, AK_INVALID, "the catalog's path has %zu bytes", len);
        return failed(vfs_of(vfs), &err, SQLITE_CANTOPEN);
    }
    memcpy(full, path, len + 1);
    return SQLITE_OK;
}

static int vfs_randomness(sqlite3_vfs *vfs, int len, char *p)
{
    (void)vfs;
    ak_random_bytes(p, (size_t)len);
    return len;
}

/* Only called while waiting for locks, of which there are none. */
static int vfs_sleep(sqlite3_vfs *vfs, int us)
{
    (void)vfs;
    return us;
}

static int vfs_time(sqlite3_vfs *vfs, double *julian_day)
{
    (void)vfs;
    *julian_day = UNIX_EPOCH_DAYS + (double)time(NULL) / SECONDS_A_DAY;
    return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *vfs, int len, char *text)
{
    (void)vfs;
    (void)len;
    (void)text;
    return 0;
}

struct catalog_vfs *ak_catalog_vfs_open(struct ak_fs *fs, struct ak_log *log)
{
    struct catalog_vfs *vfs = ak_zalloc(sizeof *vfs);
    vfs->fs = fs;
    vfs->log = log;
    /* The address is unique among the catalogs that are open. */
    (void)snprintf(vfs->name, sizeof vfs->name, "akidb-%llx", (unsigned long long)(uintptr_t)vfs);
    vfs->vfs = (sqlite3_vfs){
        .iVersion = 1,
        .szOsFile = sizeof(struct vfs_file),
        .mxPathname = PATH_MAX,
        .zName = vfs->name,
        .pAppData = vfs,
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_path,
        .xRandomness = vfs_randomness,
        .xSleep = vfs_sleep,
        .xCurrentTime = vfs_time,
        .xGetLastError = vfs_last_error,
    };
    int rc = sqlite3_vfs_register(&vfs->vfs, 0);
    AK_ASSERT(rc == SQLITE_OK); /* fails only without memory for SQLite itself */
    return vfs;
}

void ak_catalog_vfs_close(struct catalog_vfs *vfs)
{
    if (vfs) {
        (void)sqlite3_vfs_unregister(&vfs->vfs);
        ak_free(vfs);
    }
}

const char *ak_catalog_vfs_name(const struct catalog_vfs *vfs)
{
    return vfs->name;
}

const struct ak_err *ak_catalog_vfs_failure(const struct catalog_vfs *vfs)
{
    return vfs->failure.rc == AK_OK ? NULL : &vfs->failure;
}

void ak_catalog_vfs_forget(struct catalog_vfs *vfs)
{
    vfs->failure.rc = AK_OK;
}

bool ak_catalog_vfs_is_failed(const struct catalog_vfs *vfs)
{
    return vfs->is_failed;
}
