/* export_summary.c — optimization_summary.txt, which holds many days: once through for the days and
 * where their lines are, then each wanted day from its first line to its last.
 *
 * A line without a time belongs to the day of the line before it, or to the first day: so each
 * reject is counted once, whichever days are exported. Lines need not be in order. */
#include "base/hash.h"
#include "base/mem.h"
#include "perf/export_priv.h"
#include "perf/summary.h"
#include <stdlib.h>

#define DAYS_CAP ((size_t)64 * 1024) /* a power of two, no less than AK_PERF_DAYS_MAX */

struct days {
    struct ak_perf_day_range *list;
    size_t count;
    size_t cap;
    size_t at;     /* of the last line's day */
    bool has_lost; /* lines before the first that has a time */
};

struct scan {
    struct ak_file *file;
    struct ak_csv csv;
    struct ak_csv_record record;
    struct ak_perf_event_parser parser;
    struct ak_perf_event event;
};

/* `range` NULL: all of the file. */
static enum ak_rc scan_open(struct ak_fs *fs, const char *path,
                            const struct ak_perf_day_range *range, struct scan **scan,
                            struct ak_err *err)
{
    struct scan *next = ak_zalloc(sizeof *next);
    uint64_t size = 0;
    enum ak_rc rc = ak_fs_open(fs, path, AK_OPEN_READ, &next->file, err);
    if (rc == AK_OK) {
        rc = ak_file_size(next->file, &size, err);
    }
    if (rc != AK_OK) {
        ak_file_close(next->file);
        ak_free(next);
        return rc;
    }
    if (range) {
        ak_csv_init(&next->csv, next->file, range->from, range->to);
        next->csv.line = range->line;
    } else {
        ak_csv_init(&next->csv, next->file, 0, size);
    }
    next->csv.is_ended = size == 0;
    ak_perf_event_parser_init(&next->parser);
    *scan = next;
    return AK_OK;
}

static void scan_close(struct scan *scan)
{
    ak_csv_release(&scan->csv);
    ak_perf_event_parser_release(&scan->parser);
    ak_file_close(scan->file);
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

/* The first day takes over what is leading. */
static enum ak_rc find_day(struct days *days, int32_t day, const struct ak_perf_day_range *leading,
                           struct ak_err *err)
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
    days->list[days->count] = (struct ak_perf_day_range){.from = UINT64_MAX};
    if (days->count == 0) {
        days->list[0] = *leading;
    }
    days->list[days->count++].day = day;
    return AK_OK;
}

static void note_line(struct ak_perf_day_range *range, const struct scan *scan, uint64_t digest)
{
    if (range->from == UINT64_MAX) {
        range->from = scan->record.at;
        range->line = scan->record.line;
    }
    range->to = ak_csv_offset(&scan->csv);
    range->digest = ak_mix64(range->digest ^ digest);
}

static enum ak_rc collect(struct scan *scan, struct days *days, struct ak_err *err)
{
    struct ak_perf_day_range leading = {.from = UINT64_MAX}; /* lines before any with a time */
    bool end = false;
    for (;;) {
        enum ak_rc rc = scan_next(scan, &end, err);
        if (rc != AK_OK || end) {
            return rc;
        }
        uint64_t digest = ak_hash64_str(scan->record.raw);
        if (!scan->event.fault) {
            rc = find_day(days, ak_perf_day(scan->event.timestamp), &leading, err);
        }
        if (rc != AK_OK) {
            return rc;
        }
        days->has_lost |= days->count == 0;
        note_line(days->count > 0 ? &days->list[days->at] : &leading, scan, digest);
    }
}

static int by_day(const void *a, const void *b)
{
    const struct ak_perf_day_range *x = a;
    const struct ak_perf_day_range *y = b;
    return (x->day > y->day) - (x->day < y->day);
}

enum ak_rc ak_perf_summary_days(struct ak_fs *fs, const char *path, struct ak_perf_day_range **list,
                                size_t *count, struct ak_err *err)
{
    struct scan *scan = NULL;
    struct days days = {0};
    enum ak_rc rc = scan_open(fs, path, NULL, &scan, err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = collect(scan, &days, err);
    scan_close(scan);
    if (rc == AK_OK && days.count == 0 && days.has_lost) {
        rc = ak_fail(err, AK_CORRUPT, "no line begins with a time like 2025-10-28T04:00:00Z");
    }
    if (rc != AK_OK) {
        ak_free(days.list);
        return rc;
    }
    if (days.count > 0) {
        qsort(days.list, days.count, sizeof *days.list, by_day);
    }
    *list = days.list;
    *count = days.count;
    return AK_OK;
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

enum ak_rc ak_perf_summary_rows(struct ak_perf_making *making, struct ak_err *err)
{
    const struct ak_perf_day_range *range = &making->job->range;
    struct scan *scan = NULL;
    bool end = false;
    bool is_ours = true; /* the last line that has a time */
    enum ak_rc rc =
        scan_open(making->run->options->fs, making->job->source_path.p, range, &scan, err);
    while (rc == AK_OK && (rc = scan_next(scan, &end, err)) == AK_OK && !end) {
        is_ours = scan->event.fault ? is_ours : ak_perf_day(scan->event.timestamp) == range->day;
        if (!is_ours) {
            continue;
        }
        if (scan->event.fault) {
            const struct ak_perf_bad bad = {scan->record.line, scan->record.raw, scan->event.fault};
            rc = ak_perf_making_bad(making, &bad, err);
        } else {
            rc = put_event(making, &scan->event, err);
        }
        ak_perf_making_step(making, ak_csv_offset(&scan->csv));
    }
    if (scan) {
        scan_close(scan);
    }
    return rc;
}
