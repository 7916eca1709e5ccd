/* metrics.h — counters, gauges and histograms, and their Prometheus text (exposition 0.0.4).
 *
 * metrics.def is the one list of families: name, type, help, labels. A series is one family with
 * one set of label values; get it once, keep it, and update it without locks. Histograms are in
 * seconds with the bucket set that metrics.def names.
 *
 * Threads: any. Memory: a registry belongs to its opener; series live as long as it. A NULL
 * registry gives series that swallow updates, so the library can run without metrics. At most
 * AK_METRICS_SERIES_MAX series a family: further label sets fall into one with "other" values.
 */
#pragma once
#include "base/str.h"

#define AK_METRICS_SERIES_MAX 2000

enum ak_metrics_family {
#define AK_METRIC_FAMILY(id, name, type, labels, help) AK_METRIC_##id,
#include "metrics/metrics.def"
#undef AK_METRIC_FAMILY
    AK_METRICS_FAMILY_COUNT
};

struct ak_metrics;
struct ak_series;

struct ak_metrics *ak_metrics_open(void);
void ak_metrics_close(struct ak_metrics *metrics); /* NULL is fine */
/* The series with these label values, as many as the family has labels, in its order. Never NULL.
 */
struct ak_series *ak_metrics_series(struct ak_metrics *metrics, enum ak_metrics_family family,
                                    const struct ak_str *labels, size_t label_count);
void ak_series_add(struct ak_series *series, uint64_t n);         /* counter */
void ak_series_set(struct ak_series *series, double value);       /* gauge */
void ak_series_change(struct ak_series *series, double by);       /* gauge */
void ak_series_observe(struct ak_series *series, double seconds); /* histogram */
double ak_series_value(const struct ak_series *series); /* counter or gauge; histogram: count */
/* Called at each render, before it: brings gauges up to date. At most 16. */
void ak_metrics_on_render(struct ak_metrics *metrics, void (*fn)(void *ctx), void *ctx);
/* All families, HELP and TYPE lines included, also those without a series yet. */
void ak_metrics_render(struct ak_metrics *metrics, struct ak_buf *out);
