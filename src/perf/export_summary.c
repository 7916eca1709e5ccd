/* export_summary.c — optimization_summary.txt, which holds many days: once through for the days and
 * where their lines are, then each wanted day from its first line to its last.
 *
 * A line without a time belongs to the day of the line before it, or to the first day: so each
 * reject is counted once, whichever days are exported. Lines need not be in order. The file that a
 * rotation has left is read before the present one, as if they were one. */
#include "base/hash.h"
#include "base/mem.h"
#include "perf/export_priv.h"
#include "perf/summary.h"
#include "perf/summary_file.h"
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

#define DAYS_CAP ((size_t)64 * 1024) /* a power of two, no less than AK_PERF_DAYS_MAX */

struct days {
    struct ak_perf_day_range *list;
    size_t count;
    size_t cap;
    size_t at;                        /* of the last line's day */
    struct ak_perf_day_range leading; /* lines before the first that has a time */
    bool has_lost;                    /* there are such */
};

struct scan { /* of a file, from here to there */
    struct ak_csv csv;
    struct ak_csv_record record;
    struct ak_perf_event_parser parser;
    struct ak_perf_event event;
};

static struct scan *scan_open(struct ak_file *file, const struct ak_perf_part *part)
{
    struct scan *scan = ak_zalloc(sizeof *scan);
    ak_csv_init(&scan->csv, file, part->from, part->to);
    scan->csv.line = part->line;
    ak_perf_event_parser_init(&scan->parser);
    return scan;
}

static void scan_close(struct scan *scan)
{
    ak_csv_release(&scan->csv);
    ak_perf_event_parser_release(&scan->parser);
    ak_free(scan);
}

/* The next line that is no comment, parsed; scan->event.fault says when it cannot be taken. */
static enum ak_rc scan_next(struct scan *scan, bool *end, struct ak_err *err)
{
    do {
        enum ak_rc rc = ak_csv_next_line(&scan->csv, &scan->record, end, err);
        if (rc != AK_OK || *end) {
            return rc;
        }
    } while (!scan->record.fault && ak_perf_event_is_none(scan->record.raw));
    if (scan->record.fault) {
        scan->event.fault = scan->record.fault;
        return AK_OK;
    }
    return ak_perf_event_parse(&scan->parser, scan->record.raw, &scan->event, err);
}

/* --- The days --- */

/* days->at; the first day takes over what is leading. */
static enum ak_rc find_day(struct days *days, int32_t day, struct ak_err *err)
{
    if (days->at < days->count && days->list[days->at].day == day) {
        return AK_OK;
    }
    for (days->at = 0; days->at < days->count; days->at++) {
        if (days->list[days->at].day == day) {
            return AK_OK;
        }
    }
    if (days->count == days->cap) {
        size_t cap = days->cap ? days->cap * 2 : 64;
        struct ak_perf_day_range *grown = cap <= 2 * (size_t)AK_PERF_DAYS_MAX
                                              ? ak_try_realloc(days->list, cap * sizeof *grown)
                                              : NULL;
        if (!grown) {
            return ak_fail(err, cap <= DAYS_CAP ? AK_NOMEM : AK_TOO_BIG,
                           "it has events of more days than can be kept (%u)", AK_PERF_DAYS_MAX);
        }
        days->list = grown;
        days->cap = cap;
    }
    days->list[days->count] =
        days->count == 0 ? days->leading : (struct ak_perf_day_range){.day = 0};
    days->list[days->count++].day = day;
    return AK_OK;
}

static void note_line(struct ak_perf_day_range *range, const struct scan *scan, int file)
{
    struct ak_perf_part *part = &range->parts[file];
    size_t metrics = scan->event.metric_count;
    if (part->to == 0) {
        part->from = scan->record.at;
        part->line = scan->record.line;
    }
    part->to = ak_csv_offset(&scan->csv);
    range->rows += scan->event.fault ? 0 : metrics ? metrics : 1;
    range->digest = ak_mix64(range->digest ^ ak_hash64_str(scan->record.raw));
}

static enum ak_rc collect(struct scan *scan, int file, struct days *days, struct ak_err *err)
{
    bool end = false;
    for (;;) {
        enum ak_rc rc = scan_next(scan, &end, err);
        if (rc != AK_OK || end) {
            return rc;
        }
        if (!scan->event.fault) {
            rc = find_day(days, ak_perf_day(scan->event.timestamp), err);
        }
        if (rc != AK_OK) {
            return rc;
        }
        days->has_lost |= days->count == 0;
        note_line(days->count > 0 ? &days->list[days->at] : &days->leading, scan, file);
    }
}

static int by_day(const void *a, const void *b)
{
    const struct ak_perf_day_range *x = a;
    const struct ak_perf_day_range *y = b;
    return (x->day > y->day) - (x->day < y->day);
}

static enum ak_rc open_file(const struct ak_perf_export_options *o, const char *name,
                            struct ak_file **file, uint64_t *size, struct ak_err *err)
{
    struct ak_buf path;
    ak_buf_init(&path, PATH_MAX);
    ak_buf_add_fmt(&path, "%s/%s", o->input, name);
    const char *text = ak_buf_cstr(&path);
    enum ak_rc rc = ak_buf_check(&path, err);
    rc = rc == AK_OK ? ak_perf_check_regular(text, err) : rc;
    if (rc == AK_OK) {
        rc = ak_fs_open(o->fs, text, AK_OPEN_READ, file, err);
    }
    if (rc == AK_OK) {
        rc = ak_file_size(*file, size, err);
    }
    ak_buf_release(&path);
    return rc;
}

static bool is_same_file(struct ak_file *a, struct ak_file *b)
{
    struct stat x;
    struct stat y;
    return a && b && fstat(ak_file_fd(a), &x) == 0 && fstat(ak_file_fd(b), &y) == 0 &&
           x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

/* The present one first: when it is renamed before the other is opened, it is met twice. */
static enum ak_rc open_files(const struct ak_perf_export_options *o,
                             struct ak_perf_summary *summary, struct ak_err *err)
{
    static const char *const names[] = {AK_PERF_SUMMARY_OLD_FILE, AK_PERF_SUMMARY_FILE};
    for (int i = AK_PERF_SUMMARY_FILES - 1; i >= 0; i--) {
        enum ak_rc rc = open_file(o, names[i], &summary->files[i], &summary->sizes[i], err);
        if (rc != AK_OK && rc != AK_NOT_FOUND) {
            return rc;
        }
    }
    if (is_same_file(summary->files[0], summary->files[1])) {
        ak_file_close(summary->files[0]);
        summary->files[0] = NULL;
    }
    return summary->files[0] || summary->files[1]
               ? AK_OK
               : ak_fail(err, AK_NOT_FOUND, "there is no " AK_PERF_SUMMARY_FILE);
}

enum ak_rc ak_perf_summary_open(const struct ak_perf_export_options *options,
                                struct ak_perf_summary *summary, struct ak_err *err)
{
    struct days days = {0};
    *summary = (struct ak_perf_summary){0};
    enum ak_rc rc = open_files(options, summary, err);
    for (int i = 0; i < AK_PERF_SUMMARY_FILES && rc == AK_OK; i++) {
        if (summary->files[i] && summary->sizes[i] > 0) {
            const struct ak_perf_part all = {.to = summary->sizes[i], .line = 1};
            struct scan *scan = scan_open(summary->files[i], &all);
            rc = collect(scan, i, &days, err);
            scan_close(scan);
        }
    }
    if (rc == AK_OK && days.count == 0 && days.has_lost) {
        rc = ak_fail(err, AK_CORRUPT, "no line begins with a time like 2025-10-28T04:00:00Z");
    }
    summary->days = days.list;
    summary->count = days.count;
    if (rc != AK_OK) {
        ak_perf_summary_close(summary);
        return rc;
    }
    if (days.count > 0) {
        qsort(days.list, days.count, sizeof *days.list, by_day);
    }
    return AK_OK;
}

void ak_perf_summary_close(struct ak_perf_summary *summary)
{
    for (int i = 0; i < AK_PERF_SUMMARY_FILES; i++) {
        ak_file_close(summary->files[i]);
    }
    ak_free(summary->days);
    *summary = (struct ak_perf_summary){0};
}

/* --- Its rows --- */

enum { /* columns of optimization_summary */
#define AK_PERF_COLUMN(name, type, text) SUMMARY_##name,
       AK_PERF_SUMMARY_COLUMNS(AK_PERF_COLUMN)
#undef AK_PERF_COLUMN
};

static void put_row(struct ak_perf_batch *batch, const struct ak_perf_event *event, size_t metric)
{
    bool has_metric = metric < event->metric_count;
    ak_perf_batch_i64(batch, SUMMARY_timestamp, event->timestamp);
    ak_perf_batch_text(batch, SUMMARY_event_type, event->type);
    if (has_metric) {
        ak_perf_batch_text(batch, SUMMARY_metric_name, event->metrics[metric].name);
    } else {
        ak_perf_batch_null(batch, SUMMARY_metric_name);
    }
    if (has_metric && event->has_value[metric]) {
        ak_perf_batch_f64(batch, SUMMARY_metric_value, event->metrics[metric].value);
    } else {
        ak_perf_batch_null(batch, SUMMARY_metric_value);
    }
    if (event->metadata.p) {
        ak_perf_batch_text(batch, SUMMARY_metadata, event->metadata);
    } else {
        ak_perf_batch_null(batch, SUMMARY_metadata);
    }
    ak_perf_batch_end_row(batch);
}

static enum ak_rc put_event(struct ak_perf_making *making, const struct ak_perf_event *event,
                            struct ak_err *err)
{
    size_t rows = event->metric_count ? event->metric_count : 1;
    enum ak_rc rc = AK_OK;
    for (size_t i = 0; i < rows && rc == AK_OK; i++) {
        size_t name = event->metric_count ? event->metrics[i].name.len : 0;
        rc = ak_perf_making_room(making, event->type.len + name + event->metadata.len, err);
        if (rc == AK_OK) {
            put_row(&making->output.batch, event, i);
        }
    }
    return rc;
}

static enum ak_rc put_part(struct ak_perf_making *making, struct ak_file *file,
                           const struct ak_perf_part *part, struct ak_err *err)
{
    struct scan *scan = scan_open(file, part);
    bool end = false;
    bool is_ours = true; /* the last line that has a time; a part begins with one of the day's */
    enum ak_rc rc = AK_OK;
    while (rc == AK_OK && (rc = scan_next(scan, &end, err)) == AK_OK && !end) {
        is_ours = scan->event.fault ? is_ours
                                    : ak_perf_day(scan->event.timestamp) == making->job->range->day;
        if (is_ours && scan->event.fault) {
            const struct ak_perf_bad bad = {scan->record.line, scan->record.raw, scan->event.fault};
            rc = ak_perf_making_bad(making, &bad, err);
        } else if (is_ours) {
            rc = put_event(making, &scan->event, err);
        }
        ak_perf_making_step(making, ak_csv_offset(&scan->csv));
    }
    scan_close(scan);
    return rc;
}

enum ak_rc ak_perf_summary_rows(struct ak_perf_making *making, struct ak_err *err)
{
    const struct ak_perf_job *job = making->job;
    enum ak_rc rc = AK_OK;
    for (int i = 0; i < AK_PERF_SUMMARY_FILES && rc == AK_OK; i++) {
        if (job->range->parts[i].to > 0) {
            rc = put_part(making, job->summary->files[i], &job->range->parts[i], err);
        }
    }
    return rc;
}
