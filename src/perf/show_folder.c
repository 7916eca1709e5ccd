/* show_folder.c — the rows of a range of days, wherever they lie in the folder.
 *
 *   <dir>/query_perf_daily_YYYYMMDD.csv                               first choice
 *   <dir>/parquet/query_perf/year=YYYY/month=MM/query_perf_YYYYMMDD.parquet    second
 *   <dir>/query_perf_weekly_YYYYWW.csv                                for days that have neither
 *
 * `dir` may also be a folder of exported files itself.
 */
#include "base/mem.h"
#include "perf/query_log_priv.h"
#include "perf/show_priv.h"
#include <stdio.h>

#define PATH_BYTES 4200
#define DAYS_MAX 36525 /* a hundred years */

enum ak_rc ak_perf_sink_row(const struct ak_perf_sink *sink, const struct ak_perf_query *row,
                            struct ak_err *err)
{
    int32_t day = ak_perf_day(row->timestamp);
    bool has_table = row->has & AK_PERF_HAS(table_name);
    if (day < sink->from || day > sink->to ||
        (sink->skip_days && sink->skip_days[day - sink->from])) {
        return AK_OK;
    }
    if (sink->table.len && !(has_table && ak_str_eq(row->table_name, sink->table))) {
        return AK_OK;
    }
    sink->counts->rows++;
    return sink->fn(sink->ctx, row, err);
}

/* AK_NOT_FOUND: there is no such file. */
static enum ak_rc read_csv(struct ak_fs *fs, const char *path, const struct ak_perf_sink *sink,
                           struct ak_err *err)
{
    struct ak_perf_reader *reader = NULL;
    struct ak_perf_query row;
    enum ak_perf_step step = AK_PERF_ROW;
    enum ak_rc rc = ak_perf_reader_open(fs, path, &reader, err);
    while (rc == AK_OK && step != AK_PERF_END) {
        rc = ak_perf_reader_next(reader, &row, &step, err);
        if (rc == AK_OK && step == AK_PERF_ROW) {
            rc = ak_perf_sink_row(sink, &row, err);
        } else if (rc == AK_OK && step == AK_PERF_BAD) {
            sink->counts->bad++;
        }
    }
    ak_perf_reader_close(reader);
    return rc;
}

static bool join(char path[PATH_BYTES], const char *dir, const char *name)
{
    int len = snprintf(path, PATH_BYTES, "%s/%s", dir, name);
    return len > 0 && len < PATH_BYTES;
}

static void parquet_name(int32_t day, const char *folder, char name[256])
{
    char date[AK_PERF_DAY_TEXT_MAX];
    (void)ak_perf_day_text(day, date);
    (void)snprintf(name, 256, "%squery_perf/year=%.4s/month=%.2s/query_perf_%.4s%.2s%.2s.parquet",
                   folder, date, date + 5, date, date + 5, date + 8);
}

static enum ak_rc read_parquet(struct ak_fs *fs, const char *dir, int32_t day,
                               const struct ak_perf_sink *sink, struct ak_err *err)
{
    static const char *const folders[] = {AK_PERF_PARQUET_FOLDER "/", ""};
    char path[PATH_BYTES];
    char name[256];
    enum ak_rc rc = AK_NOT_FOUND;
    for (size_t i = 0; rc == AK_NOT_FOUND && i < sizeof folders / sizeof folders[0]; i++) {
        parquet_name(day, folders[i], name);
        rc = join(path, dir, name) ? ak_perf_parquet_rows(fs, path, sink, err)
                                   : ak_fail(err, AK_INVALID, "the path of the folder is too long");
    }
    sink->counts->parquet_files += rc == AK_OK;
    return rc == AK_OK || rc == AK_NOT_FOUND ? rc : ak_wrap(err, rc, "%s", path);
}

/* *is_there: the day has a file of its own. */
static enum ak_rc read_day(struct ak_fs *fs, const char *dir, int32_t day,
                           const struct ak_perf_sink *sink, bool *is_there, struct ak_err *err)
{
    char path[PATH_BYTES];
    char name[AK_PERF_FILE_NAME_MAX];
    if (!join(path, dir, ak_perf_daily_name(day, name))) {
        return ak_fail(err, AK_INVALID, "the path of the folder is too long");
    }
    enum ak_rc rc = read_csv(fs, path, sink, err);
    if (rc == AK_NOT_FOUND) {
        rc = read_parquet(fs, dir, day, sink, err);
    } else if (rc != AK_OK) {
        rc = ak_wrap(err, rc, "%s", path);
    }
    *is_there = rc == AK_OK;
    sink->counts->files += *is_there;
    return rc == AK_NOT_FOUND ? AK_OK : rc;
}

static enum ak_rc read_week(struct ak_fs *fs, const char *dir, int32_t monday,
                            const struct ak_perf_sink *sink, struct ak_err *err)
{
    char path[PATH_BYTES];
    char name[AK_PERF_FILE_NAME_MAX];
    if (!join(path, dir, ak_perf_weekly_name(monday, name))) {
        return ak_fail(err, AK_INVALID, "the path of the folder is too long");
    }
    enum ak_rc rc = read_csv(fs, path, sink, err);
    sink->counts->files += rc == AK_OK;
    return rc == AK_OK || rc == AK_NOT_FOUND ? AK_OK : ak_wrap(err, rc, "%s", path);
}

enum ak_rc ak_perf_folder_read(struct ak_fs *fs, const char *dir, int32_t from, int32_t to,
                               struct ak_str table, ak_perf_row_fn fn, void *ctx,
                               struct ak_perf_folder_counts *counts, struct ak_err *err)
{
    *counts = (struct ak_perf_folder_counts){0};
    if (to < from) {
        return AK_OK;
    }
    if (to - from >= DAYS_MAX) {
        return ak_fail(err, AK_INVALID, "more than %d days are asked for", DAYS_MAX);
    }
    uint8_t *is_read = ak_zalloc((size_t)(to - from) + 1);
    struct ak_perf_sink sink = {
        .from = from, .to = to, .table = table, .fn = fn, .ctx = ctx, .counts = counts};
    enum ak_rc rc = AK_OK;
    for (int32_t day = from; rc == AK_OK && day <= to; day++) {
        bool is_there = false;
        rc = read_day(fs, dir, day, &sink, &is_there, err);
        is_read[day - from] = is_there;
    }
    sink.skip_days = is_read;
    for (int32_t monday = ak_query_file_period(true, from); rc == AK_OK && monday <= to;
         monday += 7) {
        bool is_whole = true;
        for (int32_t day = monday < from ? from : monday; day < monday + 7 && day <= to; day++) {
            is_whole = is_whole && is_read[day - from];
        }
        rc = is_whole ? AK_OK : read_week(fs, dir, monday, &sink, err);
    }
    ak_free(is_read);
    return rc;
}
