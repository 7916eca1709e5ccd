/* file.h — the one seam to the file system.
 *
 * Everything AkiDB keeps goes through a `struct ak_fs`, so that a test can fail the n-th write,
 * fill the disk, or record every write, sync and rename and then build each image that a power cut
 * could leave (tests/support/powercut.h).
 *
 * Contract (POSIX, as ext4 and XFS keep it): after file_sync() the bytes written before it and the
 * size survive power loss; a name created, renamed or removed survives after sync_dir() of its
 * folder; un-synced writes may be lost in any order and in part, sector by sector (512 bytes).
 * A failed sync is final: the file's owner must stop trusting it and never call sync again.
 *
 * Threads: an fs from any thread; pread/pwrite of one file from any thread.
 * Memory: paths are borrowed for the call.
 */
#pragma once
#include "base/str.h"
#include <sys/types.h>

struct ak_fs;
struct ak_file;

enum ak_open_flag {
    AK_OPEN_READ = 0,
    AK_OPEN_WRITE = 1,     /* read and write */
    AK_OPEN_CREATE = 2,    /* with WRITE: create when absent */
    AK_OPEN_EXCLUSIVE = 4, /* with CREATE: AK_EXISTS when present */
    AK_OPEN_TRUNCATE = 8
};

struct ak_file_ops {
    /* Bytes read up to len: fewer only at the end of the file. */
    enum ak_rc (*read)(struct ak_file *file, uint64_t at, void *p, size_t len, size_t *got,
                       struct ak_err *err);
    enum ak_rc (*write)(struct ak_file *file, uint64_t at, const void *p, size_t len,
                        struct ak_err *err); /* all of it, or a failure */
    enum ak_rc (*sync)(struct ak_file *file, struct ak_err *err);
    enum ak_rc (*truncate)(struct ak_file *file, uint64_t size, struct ak_err *err);
    /* Reserve space so that later writes below at+len do not meet AK_NO_SPACE; extends the size. */
    enum ak_rc (*allocate)(struct ak_file *file, uint64_t at, uint64_t len, struct ak_err *err);
    enum ak_rc (*size)(struct ak_file *file, uint64_t *size, struct ak_err *err);
    int (*fd)(struct ak_file *file); /* for mmap and flock; owned by the file */
    void (*close)(struct ak_file *file);
};

struct ak_file {
    const struct ak_file_ops *ops;
};

/* Called per entry of a folder, without "." and ".."; return false to stop. */
typedef bool (*ak_dir_fn)(void *ctx, struct ak_str name);

struct ak_fs_ops {
    enum ak_rc (*open)(struct ak_fs *fs, const char *path, unsigned flags, struct ak_file **file,
                       struct ak_err *err);
    enum ak_rc (*rename)(struct ak_fs *fs, const char *from, const char *to, struct ak_err *err);
    /* A second name for a file's bytes. AK_EXISTS: `to` is there; AK_UNSUPPORTED: the two are on
     * different file systems, or theirs has no such thing. */
    enum ak_rc (*link)(struct ak_fs *fs, const char *from, const char *to, struct ak_err *err);
    enum ak_rc (*remove)(struct ak_fs *fs, const char *path, struct ak_err *err); /* file */
    /* A folder that exists already is AK_OK. */
    enum ak_rc (*make_dir)(struct ak_fs *fs, const char *path, struct ak_err *err);
    /* AK_CONFLICT: it is not empty. */
    enum ak_rc (*remove_dir)(struct ak_fs *fs, const char *path, struct ak_err *err);
    enum ak_rc (*sync_dir)(struct ak_fs *fs, const char *path, struct ak_err *err);
    /* AK_NOT_FOUND: there is none, or no folder. */
    enum ak_rc (*list)(struct ak_fs *fs, const char *path, ak_dir_fn fn, void *ctx,
                       struct ak_err *err);
    enum ak_rc (*stat)(struct ak_fs *fs, const char *path, uint64_t *size, struct ak_err *err);
    enum ak_rc (*free_bytes)(struct ak_fs *fs, const char *path, uint64_t *bytes,
                             struct ak_err *err);
};

struct ak_fs {
    const struct ak_fs_ops *ops;
};

struct ak_fs *ak_fs_posix(void); /* stateless; never released */

/* Thin callers of the tables above. */
AK_MUST enum ak_rc ak_fs_open(struct ak_fs *fs, const char *path, unsigned flags,
                              struct ak_file **file, struct ak_err *err);
AK_MUST enum ak_rc ak_fs_rename(struct ak_fs *fs, const char *from, const char *to,
                                struct ak_err *err);
AK_MUST enum ak_rc ak_fs_link(struct ak_fs *fs, const char *from, const char *to,
                              struct ak_err *err);
AK_MUST enum ak_rc ak_fs_remove(struct ak_fs *fs, const char *path, struct ak_err *err);
AK_MUST enum ak_rc ak_fs_make_dir(struct ak_fs *fs, const char *path, struct ak_err *err);
AK_MUST enum ak_rc ak_fs_remove_dir(struct ak_fs *fs, const char *path, struct ak_err *err);
/* Like mkdir -p, each new name made durable. */
AK_MUST enum ak_rc ak_fs_make_dirs(struct ak_fs *fs, const char *path, struct ak_err *err);
AK_MUST enum ak_rc ak_fs_sync_dir(struct ak_fs *fs, const char *path, struct ak_err *err);
AK_MUST enum ak_rc ak_fs_list(struct ak_fs *fs, const char *path, ak_dir_fn fn, void *ctx,
                              struct ak_err *err);
AK_MUST enum ak_rc ak_fs_stat(struct ak_fs *fs, const char *path, uint64_t *size,
                              struct ak_err *err);
AK_MUST enum ak_rc ak_fs_free_bytes(struct ak_fs *fs, const char *path, uint64_t *bytes,
                                    struct ak_err *err);
AK_MUST enum ak_rc ak_file_read(struct ak_file *file, uint64_t at, void *p, size_t len, size_t *got,
                                struct ak_err *err);
/* Exactly len bytes, or AK_CORRUPT naming the place where the file ends. */
AK_MUST enum ak_rc ak_file_read_exact(struct ak_file *file, uint64_t at, void *p, size_t len,
                                      struct ak_err *err);
AK_MUST enum ak_rc ak_file_write(struct ak_file *file, uint64_t at, const void *p, size_t len,
                                 struct ak_err *err);
AK_MUST enum ak_rc ak_file_sync(struct ak_file *file, struct ak_err *err);
AK_MUST enum ak_rc ak_file_truncate(struct ak_file *file, uint64_t size, struct ak_err *err);
AK_MUST enum ak_rc ak_file_allocate(struct ak_file *file, uint64_t at, uint64_t len,
                                    struct ak_err *err);
AK_MUST enum ak_rc ak_file_size(struct ak_file *file, uint64_t *size, struct ak_err *err);
int ak_file_fd(struct ak_file *file);
/* The bytes [at, at + len) may go to the disk from now on, so that a later sync has less to wait
 * for. Advice: it makes nothing durable and hides no failure from that sync. */
void ak_file_begin_sync(struct ak_file *file, uint64_t at, uint64_t len);
void ak_file_close(struct ak_file *file); /* NULL is fine */

/* The whole file into `out` (appended), AK_TOO_BIG above size_max. */
AK_MUST enum ak_rc ak_fs_read_all(struct ak_fs *fs, const char *path, size_t size_max,
                                  struct ak_buf *out, struct ak_err *err);
/* Replace `path` atomically and durably: temporary file beside it, sync, rename, sync of folder. */
AK_MUST enum ak_rc ak_fs_write_atomic(struct ak_fs *fs, const char *path, struct ak_str bytes,
                                      struct ak_err *err);

/* An fs that fails on purpose, over another one. Compiled always: tests and drills use it. */
enum ak_fs_op {
    AK_FS_WRITE = 1,
    AK_FS_SYNC = 2,
    AK_FS_OPEN = 4,
    AK_FS_RENAME = 8,
    AK_FS_REMOVE = 16,
    AK_FS_ALLOCATE = 32,
    AK_FS_READ = 64,
    AK_FS_SYNC_DIR = 128,
    AK_FS_ANY = 255
};
struct ak_fs_fault;
struct ak_fs_fault *ak_fs_fault_open(struct ak_fs *under);
void ak_fs_fault_close(struct ak_fs_fault *fault); /* does not close `under` */
struct ak_fs *ak_fs_fault_fs(struct ak_fs_fault *fault);
/* Fail the nth (0 = next) operation among `ops` with errno `errnum`; `sticky`: and all after it.
 * nth < 0 switches it off. */
void ak_fs_fault_set(struct ak_fs_fault *fault, unsigned ops, int64_t nth, int errnum, bool sticky);
bool ak_fs_fault_fired(const struct ak_fs_fault *fault);
