/* lines.c — a file or standard input, line by line. */
#include "cli/rows.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_STEP ((size_t)256 << 10)

enum ak_rc ak_lines_open(struct ak_lines *lines, const char *path, struct ak_err *err)
{
    struct ak_lines next = {.name = path, .fd = STDIN_FILENO};
    struct stat st;
    if (strcmp(path, "-") == 0) {
        next.name = "standard input";
    } else {
        next.fd = open(path, O_RDONLY | O_CLOEXEC);
        if (next.fd < 0) {
            return ak_fail_errno(err, errno, "%s", path);
        }
        if (fstat(next.fd, &st) == 0 && S_ISDIR(st.st_mode)) {
            close(next.fd);
            return ak_fail(err, AK_INVALID, "%s is a folder", path);
        }
        (void)posix_fadvise(next.fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    }
    if (fstat(next.fd, &st) == 0 && S_ISREG(st.st_mode)) {
        next.size = (uint64_t)st.st_size;
    }
    ak_buf_init(&next.in, AK_ROWS_LINE_MAX + 2 * READ_STEP);
    *lines = next;
    return AK_OK;
}

void ak_lines_close(struct ak_lines *lines)
{
    if (lines->fd > STDIN_FILENO) {
        close(lines->fd);
    }
    lines->fd = -1;
    ak_buf_release(&lines->in);
}

/* Read once more; sets `ended` at the end of the file. */
static enum ak_rc fill(struct ak_lines *lines, struct ak_err *err)
{
    if (lines->in.p && lines->at > 0) {
        memmove(lines->in.p, lines->in.p + lines->at, lines->in.len - lines->at);
        lines->in.len -= lines->at;
        lines->at = 0;
    }
    if (lines->in.len > AK_ROWS_LINE_MAX) {
        return ak_fail(err, AK_TOO_BIG, "%s:%" PRIu64 ": the line is longer than %zu MiB",
                       lines->name, lines->number + 1, AK_ROWS_LINE_MAX >> 20);
    }
    char *room = ak_buf_reserve(&lines->in, READ_STEP);
    if (!room) {
        return ak_buf_check(&lines->in, err);
    }
    ssize_t n;
    do {
        n = read(lines->fd, room, READ_STEP);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return ak_fail_errno(err, errno, "read %s", lines->name);
    }
    lines->in.len += (size_t)n;
    lines->ended = n == 0;
    return AK_OK;
}

enum ak_rc ak_lines_next(struct ak_lines *lines, struct ak_str *line, bool *end, struct ak_err *err)
{
    size_t looked = 0; /* bytes past `at` that hold no newline */
    for (;;) {
        size_t have = lines->in.len - lines->at;
        const char *from = lines->in.p ? lines->in.p + lines->at : "";
        const char *newline = have > looked ? memchr(from + looked, '\n', have - looked) : NULL;
        if (!newline && !lines->ended) {
            looked = have;
            enum ak_rc rc = fill(lines, err);
            if (rc != AK_OK) {
                return rc;
            }
            continue;
        }
        size_t len = newline ? (size_t)(newline - from) : have;
        size_t taken = newline ? len + 1 : len;
        *end = !newline && have == 0;
        if (*end) {
            return AK_OK;
        }
        lines->at += taken;
        lines->consumed += taken;
        lines->number++;
        looked = 0;
        *line = ak_str_trim((struct ak_str){from, len});
        if (line->len > 0) {
            return AK_OK;
        }
    }
}
