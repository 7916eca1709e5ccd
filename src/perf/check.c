/* check.c — files that were exported before: is one current, is one whole, what do all take? */
#include "base/mem.h"
#include "parquet/reader.h"
#include "perf/export_priv.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define NS_PER_SECOND INT64_C(1000000000)

static enum ak_rc stamp_file(struct ak_file *file, const char *path, struct ak_perf_stamp *stamp,
                             struct ak_err *err)
{
    struct stat st;
    if (fstat(ak_file_fd(file), &st) != 0) {
        return ak_fail_errno(err, errno, "look at '%s'", path);
    }
    *stamp = (struct ak_perf_stamp){(uint64_t)st.st_size,
                                    st.st_mtim.tv_sec * NS_PER_SECOND + st.st_mtim.tv_nsec};
    return AK_OK;
}

enum ak_rc ak_perf_stamp_of(struct ak_fs *fs, const char *path, struct ak_perf_stamp *stamp,
                            struct ak_err *err)
{
    struct ak_file *file = NULL;
    enum ak_rc rc = ak_perf_check_regular(path, err);
    rc = rc == AK_OK ? ak_fs_open(fs, path, AK_OPEN_READ, &file, err) : rc;
    if (rc == AK_OK) {
        rc = stamp_file(file, path, stamp, err);
    }
    ak_file_close(file);
    return rc;
}

/* --- A target --- */

struct target {
    struct ak_file *file;
    struct ak_parquet_reader *reader;
    struct ak_perf_stamp stamp;
};

static void close_target(struct target *target)
{
    ak_parquet_close(target->reader);
    ak_file_close(target->file);
}

static enum ak_rc open_target(struct ak_fs *fs, const char *path, struct target *target,
                              struct ak_err *err)
{
    struct ak_parquet_source source;
    const struct ak_parquet_read_options options = {.require_crc = true};
    *target = (struct target){0};
    enum ak_rc rc = ak_perf_check_regular(path, err);
    rc = rc == AK_OK ? ak_fs_open(fs, path, AK_OPEN_READ, &target->file, err) : rc;
    if (rc == AK_OK) {
        rc = stamp_file(target->file, path, &target->stamp, err);
    }
    if (rc == AK_OK) {
        rc = ak_parquet_source_file(target->file, path, &source, err);
    }
    if (rc == AK_OK) {
        rc = ak_parquet_open(&source, &options, &target->reader, err);
    }
    if (rc != AK_OK) {
        close_target(target);
    }
    return rc;
}

static bool metadata_is(const struct target *target, const char *key, const char *want)
{
    struct ak_str value;
    return ak_parquet_find_metadata(target->reader, ak_str_of(key), &value) &&
           ak_str_eq(value, ak_str_of(want));
}

static uint64_t metadata_number(const struct target *target, const char *key)
{
    struct ak_str value;
    uint64_t number = 0;
    if (!ak_parquet_find_metadata(target->reader, ak_str_of(key), &value) ||
        !ak_str_u64(value, UINT64_MAX, &number)) {
        return 0;
    }
    return number;
}

/* Newer than the source, and made of what is in it now. A file that cannot be read is not. */
static bool is_current(struct ak_fs *fs, const struct ak_perf_job *job)
{
    struct target target;
    char number[24];
    if (open_target(fs, job->target_path.p, &target, NULL) != AK_OK) {
        return false;
    }
    bool is_same = metadata_is(&target, "akidb.schema_version", AK_PERF_SCHEMA_VERSION);
    if (job->range) {
        /* Its source grows with every day, and one day loses its beginning, when it is rotated for
         * the second time: then what was exported is the better one. */
        (void)snprintf(number, sizeof number, "%016llx", (unsigned long long)job->range->digest);
        is_same = is_same && (metadata_is(&target, "akidb.source_hash", number) ||
                              ak_parquet_describe(target.reader)->rows > job->range->rows);
    } else {
        (void)snprintf(number, sizeof number, "%llu", (unsigned long long)job->stamp.bytes);
        is_same = is_same && target.stamp.modified_ns >= job->stamp.modified_ns &&
                  metadata_is(&target, "akidb.source_bytes", number);
    }
    close_target(&target);
    return is_same;
}

enum ak_rc ak_perf_job_begin(struct ak_perf_run *run, struct ak_perf_job *job, bool *is_done,
                             struct ak_err *err)
{
    struct ak_perf_note note = {0};
    enum ak_rc rc = ak_buf_check(&job->source_path, err);
    if (rc == AK_OK) {
        rc = ak_buf_check(&job->target_path, err);
    }
    if (rc == AK_OK && job->range) {
        job->stamp.bytes = job->summary->sizes[0] + job->summary->sizes[1];
    } else if (rc == AK_OK) {
        rc = ak_perf_stamp_of(run->options->fs, job->source_path.p, &job->stamp, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    ak_perf_tell(run, job, AK_PERF_NOTE_FOUND, &note);
    *is_done = true;
    if (is_current(run->options->fs, job)) {
        run->result->current++;
        ak_perf_tell(run, job, AK_PERF_NOTE_CURRENT, &note);
    } else if (run->options->is_dry) {
        ak_perf_tell(run, job, AK_PERF_NOTE_WOULD, &note);
    } else {
        *is_done = false;
    }
    return AK_OK;
}

/* --- The health check --- */

static enum ak_rc check_target(const struct target *target, enum ak_perf_table table,
                               const char *path, struct ak_perf_check_result *result,
                               struct ak_err *err)
{
    const struct ak_parquet_description *about = ak_parquet_describe(target->reader);
    struct ak_parquet_report report;
    if (!metadata_is(target, "akidb.table", ak_perf_table_name(table)) ||
        !metadata_is(target, "akidb.schema_version", AK_PERF_SCHEMA_VERSION)) {
        return ak_fail(err, AK_CORRUPT,
                       "'%s' is no file of table %s in schema " AK_PERF_SCHEMA_VERSION, path,
                       ak_perf_table_name(table));
    }
    enum ak_rc rc = ak_parquet_verify(target->reader, &report, err);
    if (rc == AK_OK) {
        result->rows = about->rows;
        result->bytes = about->size;
        result->pages = report.pages;
        result->rejected = metadata_number(target, "akidb.rows_rejected");
    }
    return rc;
}

static const char *source_name(enum ak_perf_table table, int32_t day,
                               char text[AK_PERF_FILE_NAME_MAX])
{
    switch (table) {
    case AK_PERF_TABLE_QUERIES:
        return ak_perf_daily_name(day, text);
    case AK_PERF_TABLE_WEEKS:
        return ak_perf_weekly_name(day, text);
    case AK_PERF_TABLE_ADVISOR:
        return AK_PERF_REPORT_FILE;
    case AK_PERF_TABLE_SUMMARY:
    case AK_PERF_TABLE_COUNT:
        break;
    }
    return AK_PERF_SUMMARY_FILE;
}

enum ak_rc ak_perf_check(struct ak_fs *fs, const char *input, const char *output,
                         enum ak_perf_table table, int32_t day, struct ak_perf_check_result *result,
                         struct ak_err *err)
{
    char name[AK_PERF_FILE_NAME_MAX];
    struct ak_perf_stamp stamp = {0};
    struct ak_buf path;
    struct target target;
    enum ak_rc rc = AK_OK;
    *result = (struct ak_perf_check_result){0};
    ak_buf_init(&path, PATH_MAX);
    if (input) {
        ak_buf_add_fmt(&path, "%s/%s", input, source_name(table, day, name));
        const char *source = ak_buf_cstr(&path);
        rc = ak_buf_check(&path, err);
        result->has_source = rc == AK_OK && ak_perf_stamp_of(fs, source, &stamp, NULL) == AK_OK;
        ak_buf_clear(&path);
    }
    ak_perf_target_path(output, table, day, &path);
    rc = rc == AK_OK ? ak_buf_check(&path, err) : rc;
    if (rc == AK_OK) {
        rc = open_target(fs, path.p, &target, err);
    }
    if (rc == AK_OK) {
        /* Of the other two, a source that is newer may have nothing new of the day. */
        bool is_log = table == AK_PERF_TABLE_QUERIES || table == AK_PERF_TABLE_WEEKS;
        result->is_stale = result->has_source && is_log &&
                           (target.stamp.modified_ns < stamp.modified_ns ||
                            metadata_number(&target, "akidb.source_bytes") != stamp.bytes);
        rc = check_target(&target, table, path.p, result, err);
        close_target(&target);
    }
    ak_buf_release(&path);
    return rc;
}

/* --- What all of it takes --- */

struct folder {
    struct ak_fs *fs;
    struct ak_buf path;
    uint64_t bytes;
    unsigned depth;
    enum ak_rc rc;
    struct ak_err *err;
};

static bool add_entry(void *ctx, struct ak_str name)
{
    struct folder *folder = ctx;
    size_t len = folder->path.len;
    uint64_t size = 0;
    ak_buf_add_fmt(&folder->path, "/%.*s", AK_STR_ARG(name));
    const char *path = ak_buf_cstr(&folder->path);
    enum ak_rc rc = ak_buf_check(&folder->path, folder->err);
    if (rc == AK_OK && folder->depth < AK_PERF_DEPTH_MAX) {
        folder->depth++;
        rc = ak_fs_list(folder->fs, path, add_entry, folder, folder->err);
        folder->depth--;
    } else if (rc == AK_OK) {
        rc = AK_NOT_FOUND;
    }
    if (rc == AK_NOT_FOUND) { /* no folder: a file, unless it is gone meanwhile */
        rc = ak_fs_stat(folder->fs, path, &size, folder->err);
        folder->bytes += rc == AK_OK ? size : 0;
        rc = rc == AK_NOT_FOUND ? AK_OK : rc;
    }
    folder->path.len = len;
    folder->rc = folder->rc == AK_OK ? rc : folder->rc;
    return folder->rc == AK_OK;
}

enum ak_rc ak_perf_folder_bytes(struct ak_fs *fs, const char *path, uint64_t *bytes,
                                struct ak_err *err)
{
    struct folder folder = {.fs = fs, .err = err};
    ak_buf_init(&folder.path, PATH_MAX);
    ak_buf_add_str(&folder.path, ak_str_of(path));
    enum ak_rc rc = ak_buf_check(&folder.path, err);
    if (rc == AK_OK) {
        rc = ak_fs_list(fs, path, add_entry, &folder, err);
    }
    rc = rc == AK_OK ? folder.rc : rc;
    ak_buf_release(&folder.path);
    if (rc == AK_OK) {
        *bytes = folder.bytes;
    }
    return rc;
}
