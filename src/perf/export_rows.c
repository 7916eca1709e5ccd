/* export_rows.c — one job: the rows of a source into its file, what cannot be taken put aside. */
#include "base/clock.h"
#include "base/json.h"
#include "perf/export_priv.h"
#include <stdio.h>

#define NAMES_MAX ((size_t)64 << 10)

/* --- Query logs --- */

static void put_query(struct ak_perf_batch *batch, const struct ak_perf_query *query)
{
#define PUT_TIMESTAMP(column, value) ak_perf_batch_i64(batch, column, value)
#define PUT_VARCHAR(column, value) ak_perf_batch_text(batch, column, value)
#define PUT_DOUBLE(column, value) ak_perf_batch_f64(batch, column, value)
#define PUT_BIGINT(column, value) ak_perf_batch_i64(batch, column, value)
#define PUT_BOOLEAN(column, value) ak_perf_batch_bool(batch, column, value)
#define AK_PERF_COLUMN(name, type, text)                                                           \
    if (query->has & AK_PERF_HAS(name)) {                                                          \
        PUT_##type(AK_PERF_QUERY_##name, query->name);                                             \
    } else {                                                                                       \
        ak_perf_batch_null(batch, AK_PERF_QUERY_##name);                                           \
    }
    AK_PERF_QUERY_COLUMNS(AK_PERF_COLUMN)
#undef AK_PERF_COLUMN
    ak_perf_batch_end_row(batch);
}

static size_t text_of_query(const struct ak_perf_query *query)
{
    size_t bytes = 0;
#define TEXT_TIMESTAMP(name) 0
#define TEXT_VARCHAR(name) (query->has & AK_PERF_HAS(name) ? query->name.len : 0)
#define TEXT_DOUBLE(name) 0
#define TEXT_BIGINT(name) 0
#define TEXT_BOOLEAN(name) 0
#define AK_PERF_COLUMN(name, type, text) bytes += TEXT_##type(name);
    AK_PERF_QUERY_COLUMNS(AK_PERF_COLUMN)
#undef AK_PERF_COLUMN
    return bytes;
}

static void warn_of_columns(struct ak_perf_making *making, const struct ak_perf_reader *reader)
{
    char text[256];
    struct ak_str unknown = ak_perf_reader_unknown(reader);
    struct ak_str missing = ak_perf_reader_missing(reader);
    if (unknown.len > 0) {
        (void)snprintf(text, sizeof text, "unknown columns are left out: %.*s",
                       AK_STR_ARG(ak_str_sub(unknown, 0, 160)));
        ak_perf_tell_text(making->run, making->job, AK_PERF_NOTE_WARNING, text);
    }
    if (missing.len > 0) {
        (void)snprintf(text, sizeof text, "columns that are not there become null: %.*s",
                       AK_STR_ARG(ak_str_sub(missing, 0, 160)));
        ak_perf_tell_text(making->run, making->job, AK_PERF_NOTE_WARNING, text);
    }
}

static enum ak_rc copy_queries(struct ak_perf_making *making, struct ak_perf_reader *reader,
                               struct ak_err *err)
{
    struct ak_perf_query query;
    enum ak_perf_step step;
    for (;;) {
        enum ak_rc rc = ak_perf_reader_next(reader, &query, &step, err);
        if (rc != AK_OK || step == AK_PERF_END) {
            return rc;
        }
        if (step == AK_PERF_BAD) {
            rc = ak_perf_making_bad(making, ak_perf_reader_bad(reader), err);
        } else {
            rc = ak_perf_making_room(making, text_of_query(&query), err);
            if (rc == AK_OK) {
                put_query(&making->output.batch, &query);
            }
        }
        if (rc != AK_OK) {
            return rc;
        }
        ak_perf_making_step(making, ak_perf_reader_bytes(reader));
    }
}

static enum ak_rc queries(struct ak_perf_making *making, struct ak_err *err)
{
    struct ak_perf_reader *reader = NULL;
    enum ak_rc rc =
        ak_perf_reader_open(making->run->options->fs, making->job->source_path.p, &reader, err);
    if (rc != AK_OK) {
        return rc;
    }
    /* As many bytes as are read, should the server have written since they were counted. */
    making->job->stamp.bytes = ak_perf_reader_size(reader);
    warn_of_columns(making, reader);
    rc = copy_queries(making, reader, err);
    ak_perf_reader_close(reader);
    return rc;
}

/* --- The advisor's report --- */

enum { /* columns of index_advisor */
#define AK_PERF_COLUMN(name, type, text) ADVISOR_##name,
       AK_PERF_ADVISOR_COLUMNS(AK_PERF_COLUMN)
#undef AK_PERF_COLUMN
};

static void put_text_or_null(struct ak_perf_batch *batch, size_t column, struct ak_str text)
{
    if (text.p) {
        ak_perf_batch_text(batch, column, text);
    } else {
        ak_perf_batch_null(batch, column);
    }
}

static void put_number_or_null(struct ak_perf_batch *batch, size_t column, bool has, double value)
{
    if (has) {
        ak_perf_batch_f64(batch, column, value);
    } else {
        ak_perf_batch_null(batch, column);
    }
}

static void put_recommendation(struct ak_perf_batch *batch, int64_t timestamp,
                               const struct ak_perf_recommendation *r)
{
    ak_perf_batch_i64(batch, ADVISOR_timestamp, timestamp);
    put_text_or_null(batch, ADVISOR_table_name, r->table);
    put_text_or_null(batch, ADVISOR_recommended_index, r->index);
    put_text_or_null(batch, ADVISOR_query_pattern, r->query_pattern);
    put_number_or_null(batch, ADVISOR_estimated_speedup, r->has_speedup, r->estimated_speedup);
    put_number_or_null(batch, ADVISOR_estimated_cost, r->has_cost, r->estimated_cost);
    put_text_or_null(batch, ADVISOR_priority, r->priority);
    put_text_or_null(batch, ADVISOR_status, r->status);
    ak_perf_batch_end_row(batch);
}

static enum ak_rc bad_recommendation(void *ctx, const struct ak_perf_bad *bad, struct ak_err *err)
{
    return ak_perf_making_bad(ctx, bad, err);
}

static enum ak_rc copy_report(struct ak_perf_making *making, const struct ak_perf_report *report,
                              struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    for (size_t i = 0; i < report->count && rc == AK_OK; i++) {
        const struct ak_perf_recommendation *r = &report->recommendations[i];
        rc = ak_perf_making_room(making,
                                 r->table.len + r->index.len + r->query_pattern.len +
                                     r->priority.len + r->status.len,
                                 err);
        if (rc == AK_OK) {
            put_recommendation(&making->output.batch, report->timestamp, r);
        }
    }
    return rc;
}

static enum ak_rc report(struct ak_perf_making *making, struct ak_err *err)
{
    struct ak_arena arena;
    struct ak_buf text;
    struct ak_buf unknown;
    struct ak_perf_report parsed;
    char warning[256];
    ak_arena_init(&arena, 4 * AK_PERF_REPORT_MAX);
    ak_buf_init(&text, AK_PERF_REPORT_MAX + 1);
    ak_buf_init(&unknown, NAMES_MAX);
    enum ak_rc rc = ak_fs_read_all(making->run->options->fs, making->job->source_path.p,
                                   AK_PERF_REPORT_MAX, &text, err);
    if (rc == AK_OK) {
        making->job->stamp.bytes = text.len;
        rc = ak_perf_parse_report_each(ak_buf_str(&text), &arena, &parsed, &unknown,
                                       bad_recommendation, making, err);
    }
    if (rc == AK_OK && unknown.len > 0) {
        (void)snprintf(warning, sizeof warning, "unknown fields are left out: %.*s",
                       AK_STR_ARG(ak_str_sub(ak_buf_str(&unknown), 0, 160)));
        ak_perf_tell_text(making->run, making->job, AK_PERF_NOTE_WARNING, warning);
    }
    if (rc == AK_OK) {
        rc = copy_report(making, &parsed, err);
    }
    ak_buf_release(&unknown);
    ak_buf_release(&text);
    ak_arena_release(&arena);
    return rc;
}

enum ak_rc ak_perf_report_day(struct ak_fs *fs, const char *path, int32_t *day, struct ak_err *err)
{
    struct ak_buf text;
    struct ak_json in;
    struct ak_str key;
    struct ak_str time = AK_STR_NONE;
    int64_t us = 0;
    ak_buf_init(&text, AK_PERF_REPORT_MAX + 1);
    enum ak_rc rc = ak_perf_check_regular(path, err);
    rc = rc == AK_OK ? ak_fs_read_all(fs, path, AK_PERF_REPORT_MAX, &text, err) : rc;
    if (rc != AK_OK) {
        ak_buf_release(&text);
        return rc;
    }
    ak_json_init(&in, ak_buf_str(&text));
    ak_json_object(&in);
    while (ak_json_next_key(&in, &key)) {
        if (ak_str_eq(key, AK_STR("timestamp"))) {
            (void)ak_json_string(&in, &time);
        } else {
            (void)ak_json_skip(&in, NULL);
        }
    }
    rc = ak_json_finish(&in, err);
    if (rc == AK_OK && !ak_time_parse(time, &us)) {
        rc = ak_fail(err, AK_INVALID, "its 'timestamp' is no RFC 3339 time");
    }
    ak_json_release(&in);
    ak_buf_release(&text);
    if (rc == AK_OK) {
        *day = ak_perf_day(us);
    }
    return rc == AK_INVALID ? AK_CORRUPT : rc;
}

enum ak_rc ak_perf_job_rows(struct ak_perf_run *run, struct ak_perf_job *job, struct ak_err *err)
{
    struct ak_perf_making making;
    enum ak_rc rc = ak_perf_making_begin(&making, run, job, err);
    if (rc == AK_OK) {
        rc = job->table == AK_PERF_TABLE_ADVISOR   ? report(&making, err)
             : job->table == AK_PERF_TABLE_SUMMARY ? ak_perf_summary_rows(&making, err)
                                                   : queries(&making, err);
    }
    if (rc == AK_OK) {
        rc = ak_perf_making_commit(&making, err);
    }
    ak_perf_making_release(&making);
    return rc;
}
