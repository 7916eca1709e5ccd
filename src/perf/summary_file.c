/* summary_file.c — appending to optimization_summary.txt. */
#include "perf/summary_file.h"
#include "perf/perf.h"
#include <errno.h>
#include <stdio.h>
#include <sys/file.h>

#define PATH_BYTES 4096

static bool path_of(const char *dir, const char *name, char path[PATH_BYTES])
{
    int len = snprintf(path, PATH_BYTES, "%s/%s", dir, name);
    return len > 0 && len < PATH_BYTES;
}

/* Held until the file is closed; the other writer is quick. */
static enum ak_rc lock(struct ak_file *file, struct ak_err *err)
{
    int fd = ak_file_fd(file);
    while (fd >= 0 && flock(fd, LOCK_EX) != 0) {
        if (errno != EINTR) {
            return ak_fail_errno(err, errno, "flock");
        }
    }
    return AK_OK;
}

/* Where the next line begins: behind a cut line, which gets its end first. */
static enum ak_rc close_line(struct ak_file *file, uint64_t *end, struct ak_err *err)
{
    char last = '\n';
    size_t got = 0;
    enum ak_rc rc = ak_file_size(file, end, err);
    if (rc == AK_OK && *end) {
        rc = ak_file_read(file, *end - 1, &last, 1, &got, err);
    }
    if (rc == AK_OK && last != '\n') {
        rc = ak_file_write(file, *end, "\n", 1, err);
        *end += 1;
    }
    return rc;
}

static enum ak_rc append_to(struct ak_file *file, struct ak_str lines, struct ak_err *err)
{
    uint64_t end = 0;
    enum ak_rc rc = lock(file, err);
    rc = rc == AK_OK ? close_line(file, &end, err) : rc;
    if (rc == AK_OK) {
        rc = ak_file_write(file, end, lines.p, lines.len, err);
        if (rc != AK_OK) { /* what was written of it; should that fail too, it is a cut line */
            (void)!ak_file_truncate(file, end, NULL);
        }
    }
    return rc;
}

enum ak_rc ak_perf_summary_append(struct ak_fs *fs, const char *dir, struct ak_str lines,
                                  struct ak_err *err)
{
    char path[PATH_BYTES];
    char old[PATH_BYTES];
    uint64_t size = 0;
    struct ak_file *file = NULL;
    if (!path_of(dir, AK_PERF_SUMMARY_FILE, path) || !path_of(dir, AK_PERF_SUMMARY_OLD_FILE, old)) {
        return ak_fail(err, AK_INVALID, "the path of perf.dir is too long");
    }
    enum ak_rc rc = ak_fs_make_dirs(fs, dir, err);
    if (rc == AK_OK && ak_fs_stat(fs, path, &size, NULL) == AK_OK && size > AK_PERF_SUMMARY_MAX) {
        rc = ak_fs_rename(fs, path, old, err);
    }
    rc = rc == AK_OK ? ak_fs_open(fs, path, AK_OPEN_WRITE | AK_OPEN_CREATE, &file, err) : rc;
    rc = rc == AK_OK ? append_to(file, lines, err) : rc;
    ak_file_close(file);
    return rc == AK_OK ? AK_OK : ak_wrap(err, rc, "%s", path);
}
