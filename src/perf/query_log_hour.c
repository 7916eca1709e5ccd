/* query_log_hour.c — what the server did in the past hour, from its counters, as events of
 * optimization_summary.txt:
 *
 *   2026-11-24T13:00:00.012345Z queries searches=1200 exact=3 distances=1804113 upserts=17
 *
 * An event without any change is left out, and so is a metric of it.
 */
#include "perf/query_log_priv.h"

#define HOUR_US INT64_C(3600000000)

struct figure {
    const char *event, *metric;
    enum ak_metrics_family family;
    const char *label; /* or NULL */
};

/* Events stand together. Of a histogram the value is the count. */
static const struct figure figures[] = {
    {"queries", "searches", AK_METRIC_SEARCH_SECONDS, NULL},
    {"queries", "exact", AK_METRIC_SEARCH_EXACT, NULL},
    {"queries", "distances", AK_METRIC_SEARCH_DISTANCES, NULL},
    {"queries", "upserts", AK_METRIC_UPSERT_SECONDS, NULL},
    {"query_log", "rows", AK_METRIC_QUERY_LOG_ROWS, NULL},
    {"query_log", "dropped_ring", AK_METRIC_QUERY_LOG_DROPPED, "ring"},
    {"query_log", "dropped_size", AK_METRIC_QUERY_LOG_DROPPED, "size"},
    {"query_log", "dropped_write", AK_METRIC_QUERY_LOG_DROPPED, "write"},
    {"index", "vectors_indexed", AK_METRIC_VECTORS_INDEXED, NULL},
    {"index", "vectors_linked", AK_METRIC_VECTORS_LINKED, NULL},
    {"index", "vectors_deleted", AK_METRIC_VECTORS_DELETED, NULL},
    {"checkpoint", "count", AK_METRIC_CHECKPOINT_SECONDS, NULL},
    {"checkpoint", "bytes", AK_METRIC_CHECKPOINT_BYTES, NULL},
    {"checkpoint", "failed", AK_METRIC_CHECKPOINT_FAILED, NULL},
    {"wal", "records", AK_METRIC_WAL_RECORDS, NULL},
    {"wal", "bytes", AK_METRIC_WAL_BYTES, NULL},
};
_Static_assert(sizeof figures / sizeof figures[0] == AK_QUERY_FIGURES, "one series each");

void ak_query_hour_init(struct ak_query_hour *hour, struct ak_metrics *metrics, int64_t now_us)
{
    for (size_t i = 0; i < AK_QUERY_FIGURES; i++) {
        struct ak_str label = ak_str_of(figures[i].label);
        hour->series[i] =
            ak_metrics_series(metrics, figures[i].family, &label, figures[i].label ? 1 : 0);
        hour->before[i] = ak_series_value(hour->series[i]);
    }
    hour->hour = now_us / HOUR_US;
}

static size_t put_event(struct ak_query_hour *hour, size_t from, int64_t now_us, struct ak_buf *out)
{
    struct ak_perf_metric metrics[AK_QUERY_FIGURES];
    size_t count = 0;
    size_t i = from;
    struct ak_str event = ak_str_of(figures[from].event);
    for (; i < AK_QUERY_FIGURES && ak_str_eq(ak_str_of(figures[i].event), event); i++) {
        double value = ak_series_value(hour->series[i]);
        if (value > hour->before[i]) {
            metrics[count++] = (struct ak_perf_metric){.name = ak_str_of(figures[i].metric),
                                                       .value = value - hour->before[i]};
        }
        hour->before[i] = value;
    }
    if (count) {
        ak_perf_put_event(out, now_us, event, metrics, count, AK_STR_NONE);
    }
    return i;
}

void ak_query_hour_put(struct ak_query_hour *hour, int64_t now_us, struct ak_buf *out)
{
    for (size_t i = 0; i < AK_QUERY_FIGURES;) {
        i = put_event(hour, i, now_us, out);
    }
    hour->hour = now_us / HOUR_US;
}

bool ak_query_hour_is_over(const struct ak_query_hour *hour, int64_t now_us)
{
    return now_us / HOUR_US != hour->hour;
}
