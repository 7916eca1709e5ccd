/* summary.h — a line of optimization_summary.txt as rows: a row per metric, or one without.
 *
 * Threads: a parser belongs to one thread. Memory: what it gives is valid until the next line.
 */
#pragma once
#include "perf/csv.h"
#include "perf/perf.h"
#include "perf/values.h"

#define AK_PERF_EVENT_METRICS_MAX 64

struct ak_perf_event {
    int64_t timestamp;
    struct ak_str type;
    struct ak_perf_metric metrics[AK_PERF_EVENT_METRICS_MAX];
    bool has_value[AK_PERF_EVENT_METRICS_MAX];
    size_t metric_count;    /* 0: one row without a metric */
    struct ak_str metadata; /* a JSON object; .p NULL: none */
    const char *fault;      /* NULL: all is well; else what is wrong with the line */
};

struct ak_perf_event_parser {
    struct ak_perf_day_cache days;
    struct ak_csv csv;
    struct ak_csv_record record;
    struct ak_buf metadata;
    struct ak_buf message;
    bool no_memory;
};

void ak_perf_event_parser_init(struct ak_perf_event_parser *parser);
void ak_perf_event_parser_release(struct ak_perf_event_parser *parser); /* idempotent */
/* A line that is not blank and no comment. AK_NOMEM; what is wrong with the line is no failure. */
AK_MUST enum ak_rc ak_perf_event_parse(struct ak_perf_event_parser *parser, struct ak_str line,
                                       struct ak_perf_event *event, struct ak_err *err);
/* Blank, or a comment. */
bool ak_perf_event_is_none(struct ak_str line);
