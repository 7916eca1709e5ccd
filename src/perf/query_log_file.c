/* query_log_file.c — the files of one kind: a day's rows, or a week's.
 *
 * I1  A row goes to the file of the day (of the week) in which its query began. Around midnight
 *     rows of two days come mixed: the files are opened in turn, and nothing is lost.
 * I2  Bytes past `end` are no whole line: the rest of a write that failed or of one that a crash
 *     cut. They are cut off when the file is opened, and written over otherwise.
 * I3  The first line is the header that this version writes. A file with another one (a former
 *     version's) is put aside as <name>.old, so that rows and header always agree.
 * I4  One process writes to a file: it holds its flock. Another one that finds it held waits.
 */
#include "perf/query_log_priv.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#define HELD_BACK ((size_t)64 << 10) /* bytes of rows that are written at once */
#define ROW_MAX ((size_t)4 << 10)
#define ROW_BYTES 128.0 /* of an ordinary row, to turn bytes into a number of rows */
#define TAIL ((size_t)64 << 10)
#define RETRY_NS ((int64_t)5 * 1000000000) /* after a failure */
#define PATH_BYTES 4096
#define CATCH_UP_S 3600.0 /* what quiet hours have left over is used up at this speed */
#define DAY_US INT64_C(86400000000)

int32_t ak_query_file_period(bool weekly, int32_t day)
{
    char name[AK_PERF_FILE_NAME_MAX];
    int32_t monday = day;
    return weekly && ak_perf_weekly_day(ak_str_of(ak_perf_weekly_name(day, name)), &monday) ? monday
                                                                                            : day;
}

static bool path_of(const struct ak_query_file *file, int32_t day, const char *suffix,
                    char path[PATH_BYTES])
{
    char name[AK_PERF_FILE_NAME_MAX];
    int len = snprintf(
        path, PATH_BYTES, "%s/%s%s", file->dir,
        file->weekly ? ak_perf_weekly_name(day, name) : ak_perf_daily_name(day, name), suffix);
    return len > 0 && len < PATH_BYTES;
}

/* --- Opening --- */

static enum ak_rc lock(struct ak_file *file, struct ak_err *err)
{
    int fd = ak_file_fd(file);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        return errno == EWOULDBLOCK ? ak_fail(err, AK_CONFLICT,
                                              "another process writes to it: give each server a "
                                              "folder of its own (perf.dir)")
                                    : ak_fail_errno(err, errno, "flock");
    }
    return AK_OK;
}

/* Does it begin with our header? */
static enum ak_rc check_header(struct ak_file *file, bool *is_ours, struct ak_err *err)
{
    struct ak_buf header;
    char begin[512];
    size_t got = 0;
    ak_buf_init(&header, sizeof begin);
    ak_perf_put_query_header(&header);
    enum ak_rc rc = ak_file_read(file, 0, begin, sizeof begin, &got, err);
    *is_ours = got >= header.len && !header.failed && memcmp(begin, header.p, header.len) == 0;
    ak_buf_release(&header);
    return rc;
}

/* *end: behind the last whole line; 0: the file must be begun anew. */
static enum ak_rc find_end(struct ak_file *file, uint64_t *end, struct ak_err *err)
{
    uint64_t size = 0;
    size_t got = 0;
    char *tail = ak_alloc(TAIL);
    enum ak_rc rc = ak_file_size(file, &size, err);
    uint64_t from = size > TAIL ? size - TAIL : 0;
    rc = rc == AK_OK ? ak_file_read(file, from, tail, TAIL, &got, err) : rc;
    if (rc == AK_OK) {
        const char *last = got ? memrchr(tail, '\n', got) : NULL;
        *end = last ? from + (uint64_t)(last - tail) + 1 : 0;
    }
    ak_free(tail);
    return rc;
}

static enum ak_rc begin_file(struct ak_file *file, uint64_t *end, struct ak_err *err)
{
    struct ak_buf header;
    ak_buf_init(&header, 0);
    ak_perf_put_query_header(&header);
    enum ak_rc rc = ak_buf_check(&header, err);
    rc = rc == AK_OK ? ak_file_truncate(file, 0, err) : rc;
    rc = rc == AK_OK ? ak_file_write(file, 0, header.p, header.len, err) : rc;
    *end = header.len;
    ak_buf_release(&header);
    return rc;
}

/* A file that begins differently, and has lines, is somebody's: it is kept under another name. */
static enum ak_rc put_aside(const struct ak_query_file *file, const char *path, int32_t day,
                            struct ak_err *err)
{
    char old[PATH_BYTES];
    if (!path_of(file, day, ".old", old)) {
        return ak_fail(err, AK_INVALID, "the path of perf.dir is too long");
    }
    enum ak_rc rc = ak_fs_rename(file->fs, path, old, err);
    if (rc == AK_OK) {
        ak_log_warn(file->log, "perf",
                    "%s has other columns than this version writes: it is now %s", path, old);
    }
    return rc;
}

static enum ak_rc open_path(const char *path, struct ak_fs *fs, struct ak_file **file,
                            uint64_t *end, bool *is_foreign, struct ak_err *err)
{
    struct ak_file *opened = NULL;
    bool is_ours = false;
    enum ak_rc rc = ak_perf_check_regular(path, err);
    rc = rc == AK_OK ? ak_fs_open(fs, path, AK_OPEN_WRITE | AK_OPEN_CREATE, &opened, err) : rc;
    rc = rc == AK_OK ? lock(opened, err) : rc;
    rc = rc == AK_OK ? find_end(opened, end, err) : rc;
    rc = rc == AK_OK && *end ? check_header(opened, &is_ours, err) : rc;
    *is_foreign = rc == AK_OK && *end && !is_ours;
    if (rc == AK_OK && !*is_foreign) {
        rc = *end ? ak_file_truncate(opened, *end, err) : begin_file(opened, end, err);
    }
    if (rc == AK_OK && !*is_foreign) {
        *file = opened;
    } else {
        ak_file_close(opened);
    }
    return rc;
}

static enum ak_rc open_day(struct ak_query_file *file, int32_t day, struct ak_err *err)
{
    char path[PATH_BYTES];
    bool is_foreign = false;
    if (!path_of(file, day, "", path)) {
        return ak_fail(err, AK_INVALID, "the path of perf.dir is too long");
    }
    enum ak_rc rc = ak_fs_make_dirs(file->fs, file->dir, err);
    rc = rc == AK_OK ? open_path(path, file->fs, &file->file, &file->end, &is_foreign, err) : rc;
    if (rc == AK_OK && is_foreign) {
        rc = put_aside(file, path, day, err);
        rc =
            rc == AK_OK ? open_path(path, file->fs, &file->file, &file->end, &is_foreign, err) : rc;
        if (rc == AK_OK && is_foreign) {
            rc = ak_fail(err, AK_CONFLICT, "another process has just made it");
        }
    }
    file->day = day;
    return rc == AK_OK ? AK_OK : ak_wrap(err, rc, "%s", path);
}

/* --- Writing --- */

static void complain(struct ak_query_file *file, const struct ak_err *err)
{
    if (!file->has_complained) {
        ak_log_warn(file->log, "perf",
                    "rows of the query log are dropped until it can be written: %s", err->text);
        file->has_complained = true;
    }
}

static void block(struct ak_query_file *file, int64_t mono_ns, const struct ak_err *err)
{
    complain(file, err);
    file->blocked_until_ns = mono_ns + RETRY_NS;
    ak_file_close(file->file);
    file->file = NULL;
}

void ak_query_file_flush(struct ak_query_file *file, int64_t mono_ns,
                         uint64_t drops[AK_QUERY_DROPS])
{
    struct ak_err err;
    if (file->rows_count == 0) {
        return;
    }
    enum ak_rc rc = ak_file_write(file->file, file->end, file->rows.p, file->rows.len, &err);
    if (rc == AK_OK) {
        file->end += file->rows.len;
        file->written += file->rows_count;
        file->has_complained = false;
    } else {
        drops[AK_QUERY_DROP_WRITE] += file->rows_count;
        block(file, mono_ns, &err); /* I2: cut off when it is opened again */
    }
    ak_buf_clear(&file->rows);
    file->rows_count = 0;
}

void ak_query_file_close(struct ak_query_file *file)
{
    ak_file_close(file->file);
    file->file = NULL;
    ak_buf_release(&file->rows);
}

/* The file of this row's day is open. */
static bool use_day(struct ak_query_file *file, int32_t day, int64_t mono_ns,
                    uint64_t drops[AK_QUERY_DROPS])
{
    struct ak_err err;
    if (file->file && file->day == day) {
        return true;
    }
    ak_query_file_flush(file, mono_ns, drops);
    ak_file_close(file->file);
    file->file = NULL;
    if (mono_ns < file->blocked_until_ns) {
        return false;
    }
    if (open_day(file, day, &err) != AK_OK) {
        block(file, mono_ns, &err);
        return false;
    }
    return true;
}

void ak_query_file_add(struct ak_query_file *file, const struct ak_perf_query *row, int64_t mono_ns,
                       uint64_t drops[AK_QUERY_DROPS])
{
    int32_t day = ak_query_file_period(file->weekly, ak_perf_day(row->timestamp));
    if (!use_day(file, day, mono_ns, drops)) {
        drops[AK_QUERY_DROP_WRITE]++;
        return;
    }
    size_t before = file->rows.len;
    ak_perf_put_query(&file->rows, row);
    if (file->rows.failed || file->end + file->rows.len > file->bytes_max) {
        file->rows.len = before;
        file->rows.failed = file->rows.no_memory = false;
        drops[AK_QUERY_DROP_SIZE]++;
        return;
    }
    file->rows_count++;
    if (file->rows.len >= HELD_BACK) {
        ak_query_file_flush(file, mono_ns, drops);
    }
}

uint64_t ak_query_file_share(const struct ak_query_file *file, int64_t now_us, uint64_t rows,
                             int64_t span_ns)
{
    int32_t day = ak_query_file_period(file->weekly, ak_perf_day(now_us));
    double length = (double)(file->weekly ? 7 * DAY_US : DAY_US);
    double gone = (double)(now_us - ak_perf_day_begin_us(day));
    if (!file->file || file->day != day || rows == 0 || span_ns <= 0 || gone < 0) {
        return UINT64_MAX;
    }
    double max = (double)file->bytes_max;
    double used = (double)(file->end + file->rows.len);
    if (used <= max / AK_QUERY_BURST_PART) {
        return UINT64_MAX;
    }
    double left_us = length - gone > 1e6 ? length - gone : 1e6;
    double pace = (max - used) / ROW_BYTES / (left_us / 1e6); /* rows a second */
    double spare = max / AK_QUERY_BURST_PART + max * gone / length - used;
    pace += spare > 0 ? spare / ROW_BYTES / CATCH_UP_S : 0;
    double share = pace > 0 ? pace / ((double)rows / ((double)span_ns / 1e9)) : 0;
    return share >= 1 ? UINT64_MAX : (uint64_t)(share * 0x1p64);
}
