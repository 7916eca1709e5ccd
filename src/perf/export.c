/* export.c — which files there are, which of them are wanted, and which are made already.
 *
 * A query log names its day in its file's name; the advisor's report has one timestamp; the summary
 * of optimizations has lines of many days and is split. Each wanted day of each table is a job; a
 * job that fails is told and does not stop the next. */
#include "perf/export.h"
#include "base/mem.h"
#include "perf/export_priv.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#define LOCK_FILE ".lock"
#define FILES_MAX 65536u /* sources of one table: more than a century of days */

/* --- Jobs --- */

void ak_perf_target_path(const char *output, enum ak_perf_table table, int32_t day,
                         struct ak_buf *out)
{
    char date[AK_PERF_DAY_TEXT_MAX];
    const char *name = ak_perf_table_name(table);
    (void)ak_perf_day_text(day, date);
    ak_buf_add_fmt(out, "%s/%s/year=%.4s/month=%.2s/%s_%.4s%.2s%.2s.parquet", output, name, date,
                   date + 5, name, date, date + 5, date + 8);
    (void)ak_buf_cstr(out);
}

void ak_perf_job_init(struct ak_perf_job *job, const struct ak_perf_run *run,
                      enum ak_perf_table table, int32_t day, const char *source)
{
    *job = (struct ak_perf_job){.table = table, .day = day};
    ak_buf_init(&job->source_path, PATH_MAX);
    ak_buf_init(&job->target_path, PATH_MAX);
    (void)snprintf(job->source, sizeof job->source, "%s", source);
    ak_buf_add_fmt(&job->source_path, "%s/%s", run->options->input, source);
    (void)ak_buf_cstr(&job->source_path);
    ak_perf_target_path(run->options->output, table, day, &job->target_path);
    const char *slash = job->target_path.failed ? NULL : strrchr(job->target_path.p, '/');
    (void)snprintf(job->target, sizeof job->target, "%s", slash ? slash + 1 : "");
}

void ak_perf_job_release(struct ak_perf_job *job)
{
    ak_buf_release(&job->source_path);
    ak_buf_release(&job->target_path);
}

void ak_perf_tell(const struct ak_perf_run *run, const struct ak_perf_job *job,
                  enum ak_perf_note_kind kind, struct ak_perf_note *note)
{
    note->kind = kind;
    note->table = job->table;
    note->source = job->source;
    note->target = job->target;
    note->path = job->target_path.p;
    note->source_bytes = note->source_bytes ? note->source_bytes : job->stamp.bytes;
    run->options->note(run->options->ctx, note);
}

void ak_perf_tell_text(const struct ak_perf_run *run, const struct ak_perf_job *job,
                       enum ak_perf_note_kind kind, const char *text)
{
    struct ak_perf_note note = {.text = text};
    ak_perf_tell(run, job, kind, &note);
}

void ak_perf_job_failed(struct ak_perf_run *run, const struct ak_perf_job *job, enum ak_rc rc,
                        const struct ak_err *why)
{
    ak_perf_tell_text(run, job, AK_PERF_NOTE_FAILED, why->text);
    run->result->failed++;
    if (run->rc == AK_OK) {
        run->rc = ak_fail(run->err, rc, "%s: %s", job->source, why->text);
    }
}

static void tell_missing(struct ak_perf_run *run, enum ak_perf_table table, const char *source,
                         const char *text)
{
    struct ak_perf_note note = {
        .kind = AK_PERF_NOTE_MISSING, .table = table, .source = source, .text = text};
    run->result->missing++;
    run->options->note(run->options->ctx, &note);
}

static void run_job(struct ak_perf_run *run, struct ak_perf_job *job)
{
    struct ak_err why = {0};
    bool is_done = false;
    enum ak_rc rc = ak_perf_job_begin(run, job, &is_done, &why);
    if (rc == AK_NOT_FOUND) { /* removed since it was listed, as the server does with old ones */
        tell_missing(run, job->table, job->source, "not found");
        ak_perf_job_release(job);
        return;
    }
    if (rc == AK_OK && !is_done) {
        rc = ak_perf_job_rows(run, job, &why);
    }
    if (rc != AK_OK) {
        ak_perf_job_failed(run, job, rc, &why);
    }
    ak_perf_job_release(job);
}

/* --- Query logs: a file a day, or a week --- */

struct day_list {
    bool is_weekly;
    int32_t *days;
    size_t count;
    size_t cap;
    enum ak_rc rc;
};

static bool note_file(void *ctx, struct ak_str name)
{
    struct day_list *list = ctx;
    int32_t day;
    if (!(list->is_weekly ? ak_perf_weekly_day(name, &day) : ak_perf_daily_day(name, &day))) {
        return true;
    }
    if (list->count == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 64;
        int32_t *grown = cap <= FILES_MAX ? ak_try_realloc(list->days, cap * sizeof *grown) : NULL;
        if (!grown) {
            list->rc = cap <= FILES_MAX ? AK_NOMEM : AK_TOO_BIG;
            return false;
        }
        list->days = grown;
        list->cap = cap;
    }
    list->days[list->count++] = day;
    return true;
}

static int by_day(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a;
    int32_t y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static bool is_wanted(const struct ak_perf_export_options *o, int32_t day, int32_t days,
                      bool is_last)
{
    switch (o->choice) {
    case AK_PERF_LATEST:
        return is_last;
    case AK_PERF_ONE_DAY:
        return o->day >= day && o->day < day + days;
    case AK_PERF_ALL:
        break;
    }
    return true;
}

static enum ak_rc export_logs(struct ak_perf_run *run, enum ak_perf_table table, struct ak_err *err)
{
    const struct ak_perf_export_options *o = run->options;
    struct day_list list = {.is_weekly = table == AK_PERF_TABLE_WEEKS};
    char name[AK_PERF_FILE_NAME_MAX];
    size_t done = 0;
    enum ak_rc rc = ak_fs_list(o->fs, o->input, note_file, &list, err);
    if (rc == AK_OK && list.rc != AK_OK) {
        rc = ak_fail(err, list.rc, "'%s' holds more query logs than can be listed (%u)", o->input,
                     FILES_MAX);
    }
    if (rc == AK_OK && list.count > 0) {
        qsort(list.days, list.count, sizeof *list.days, by_day);
    }
    for (size_t i = 0; i < list.count && rc == AK_OK; i++) {
        if (is_wanted(o, list.days[i], list.is_weekly ? 7 : 1, i + 1 == list.count)) {
            struct ak_perf_job job;
            (void)(list.is_weekly ? ak_perf_weekly_name : ak_perf_daily_name)(list.days[i], name);
            ak_perf_job_init(&job, run, table, list.days[i], name);
            run_job(run, &job);
            done++;
        }
    }
    if (rc == AK_OK && done == 0) {
        if (o->choice == AK_PERF_ONE_DAY) {
            (void)(list.is_weekly ? ak_perf_weekly_name : ak_perf_daily_name)(o->day, name);
        } else {
            (void)snprintf(name, sizeof name, "query_perf_%s_*.csv",
                           list.is_weekly ? "weekly" : "daily");
        }
        tell_missing(run, table, name, "not found");
    }
    ak_free(list.days);
    return rc;
}

/* --- The other two --- */

/* `text` of a file that has nothing of the wanted day. */
static void tell_other_day(struct ak_perf_run *run, enum ak_perf_table table, const char *source)
{
    char date[AK_PERF_DAY_TEXT_MAX];
    char text[64];
    (void)snprintf(text, sizeof text, "has nothing of %s",
                   ak_perf_day_text(run->options->day, date));
    tell_missing(run, table, source, text);
}

static void export_report(struct ak_perf_run *run)
{
    struct ak_perf_job job;
    struct ak_err why = {0};
    int32_t day = 0;
    ak_perf_job_init(&job, run, AK_PERF_TABLE_ADVISOR, 0, AK_PERF_REPORT_FILE);
    enum ak_rc rc = ak_buf_check(&job.source_path, &why);
    if (rc == AK_OK) {
        rc = ak_perf_report_day(run->options->fs, job.source_path.p, &day, &why);
    }
    if (rc == AK_NOT_FOUND) {
        tell_missing(run, AK_PERF_TABLE_ADVISOR, AK_PERF_REPORT_FILE, "not found");
    } else if (rc != AK_OK) {
        ak_perf_job_failed(run, &job, rc, &why);
    } else if (!is_wanted(run->options, day, 1, true)) {
        tell_other_day(run, AK_PERF_TABLE_ADVISOR, AK_PERF_REPORT_FILE);
    } else {
        ak_perf_job_release(&job);
        ak_perf_job_init(&job, run, AK_PERF_TABLE_ADVISOR, day, AK_PERF_REPORT_FILE);
        run_job(run, &job);
        return;
    }
    ak_perf_job_release(&job);
}

static void export_summary(struct ak_perf_run *run)
{
    struct ak_perf_job job;
    struct ak_err why = {0};
    struct ak_perf_summary summary;
    size_t done = 0;
    enum ak_rc rc = ak_perf_summary_open(run->options, &summary, &why);
    if (rc != AK_OK && rc != AK_NOT_FOUND) {
        ak_perf_job_init(&job, run, AK_PERF_TABLE_SUMMARY, 0, AK_PERF_SUMMARY_FILE);
        ak_perf_job_failed(run, &job, rc, &why);
        ak_perf_job_release(&job);
        return;
    }
    if (rc == AK_NOT_FOUND || summary.count == 0) {
        tell_missing(run, AK_PERF_TABLE_SUMMARY, AK_PERF_SUMMARY_FILE,
                     rc == AK_OK ? "is empty" : "not found");
    }
    for (size_t i = 0; i < summary.count; i++) {
        if (is_wanted(run->options, summary.days[i].day, 1, i + 1 == summary.count)) {
            ak_perf_job_init(&job, run, AK_PERF_TABLE_SUMMARY, summary.days[i].day,
                             AK_PERF_SUMMARY_FILE);
            job.summary = &summary;
            job.range = &summary.days[i];
            run_job(run, &job);
            done++;
        }
    }
    if (summary.count > 0 && done == 0) {
        tell_other_day(run, AK_PERF_TABLE_SUMMARY, AK_PERF_SUMMARY_FILE);
    }
    ak_perf_summary_close(&summary);
}

/* --- The whole --- */

/* Only one export writes below `output`; the lock goes with its file. */
static enum ak_rc take_lock(const struct ak_perf_export_options *o, struct ak_file **lock,
                            struct ak_err *err)
{
    struct ak_buf path;
    ak_buf_init(&path, PATH_MAX);
    ak_buf_add_fmt(&path, "%s/" LOCK_FILE, o->output);
    const char *name = ak_buf_cstr(&path);
    enum ak_rc rc = ak_fs_make_dirs(o->fs, o->output, err);
    if (rc == AK_OK && (rc = ak_buf_check(&path, err)) == AK_OK) {
        rc = ak_fs_open(o->fs, name, AK_OPEN_WRITE | AK_OPEN_CREATE, lock, err);
    }
    if (rc == AK_OK && flock(ak_file_fd(*lock), LOCK_EX | LOCK_NB) != 0) {
        rc = errno == EWOULDBLOCK
                 ? ak_fail(err, AK_CONFLICT, "another export writes to '%s'", o->output)
                 : ak_fail_errno(err, errno, "lock '%s'", name);
        ak_file_close(*lock);
        *lock = NULL;
    }
    ak_buf_release(&path);
    return rc;
}

/* The description of the tables, written when it is another than the one that is there. */
static enum ak_rc write_schema(const struct ak_perf_export_options *o, struct ak_err *err)
{
    struct ak_buf path;
    struct ak_buf schema;
    struct ak_buf now;
    ak_buf_init(&path, PATH_MAX);
    ak_buf_init(&schema, (size_t)1 << 20);
    ak_buf_init(&now, (size_t)1 << 20);
    ak_perf_put_schema(&schema);
    ak_buf_add_fmt(&path, "%s/" AK_PERF_SCHEMA_FILE, o->output);
    const char *name = ak_buf_cstr(&path);
    enum ak_rc rc = ak_buf_check(&path, err);
    rc = rc == AK_OK ? ak_buf_check(&schema, err) : rc;
    if (rc == AK_OK) {
        bool is_same = ak_fs_read_all(o->fs, name, now.max, &now, NULL) == AK_OK &&
                       ak_str_eq(ak_buf_str(&now), ak_buf_str(&schema));
        rc = is_same ? AK_OK : ak_fs_write_atomic(o->fs, name, ak_buf_str(&schema), err);
    }
    ak_buf_release(&path);
    ak_buf_release(&schema);
    ak_buf_release(&now);
    return rc;
}

static bool is_input_there(void *ctx, struct ak_str name)
{
    (void)ctx;
    (void)name;
    return false;
}

static enum ak_rc export_tables(struct ak_perf_run *run, struct ak_err *err)
{
    const struct ak_perf_export_options *o = run->options;
    enum ak_rc rc = AK_OK;
    for (int t = 0; t < AK_PERF_TABLE_COUNT && rc == AK_OK; t++) {
        enum ak_perf_table table = (enum ak_perf_table)t;
        if (o->has_table && o->table != table) {
            continue;
        }
        if (table == AK_PERF_TABLE_ADVISOR) {
            export_report(run);
        } else if (table == AK_PERF_TABLE_SUMMARY) {
            export_summary(run);
        } else {
            rc = export_logs(run, table, err);
        }
    }
    return rc == AK_OK ? run->rc : rc;
}

enum ak_rc ak_perf_export(const struct ak_perf_export_options *options,
                          struct ak_perf_export_result *result, struct ak_err *err)
{
    struct ak_perf_run run = {.options = options, .result = result, .err = err};
    struct ak_file *lock = NULL;
    *result = (struct ak_perf_export_result){0};
    enum ak_rc rc = ak_fs_list(options->fs, options->input, is_input_there, NULL, err);
    if (rc != AK_OK) {
        return ak_wrap(err, rc, "the folder of the performance data");
    }
    if (!options->is_dry) {
        rc = take_lock(options, &lock, err);
        if (rc == AK_OK) {
            rc = write_schema(options, err);
        }
    }
    if (rc == AK_OK) {
        rc = export_tables(&run, err);
    }
    ak_file_close(lock);
    return rc;
}
