/* metrics_text.c — Prometheus text, exposition format 0.0.4.
 *
 *   # HELP name text        backslash and line feed escaped
 *   # TYPE name counter|gauge|histogram
 *   name{label="value"} 1   backslash, quote and line feed escaped
 *
 * A histogram's _count is the sum of the buckets that were read for it, so +Inf and _count agree
 * even while others observe; its _sum may then be ahead by what came in between.
 */
#include "metrics/metrics_priv.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Copy `s`, escaped; bytes of text that is not UTF-8 become '?', for a scrape fails as a whole. */
static void put_escaped(struct ak_buf *out, struct ak_str s, bool quotes)
{
    bool is_text = ak_utf8_is_valid(s);
    for (size_t i = 0; i < s.len; i++) {
        char c = s.p[i];
        if (c == '\\') {
            ak_buf_add_str(out, AK_STR("\\\\"));
        } else if (c == '\n') {
            ak_buf_add_str(out, AK_STR("\\n"));
        } else if (c == '"' && quotes) {
            ak_buf_add_str(out, AK_STR("\\\""));
        } else {
            ak_buf_add_char(out, (unsigned char)c >= 0x80 && !is_text ? '?' : c);
        }
    }
}

/* The shortest of %.15g and %.17g that reads back the same. */
static void put_double(struct ak_buf *out, double value)
{
    char text[40];
    if (isnan(value)) {
        ak_buf_add_str(out, AK_STR("NaN"));
        return;
    }
    if (isinf(value)) {
        ak_buf_add_str(out, value > 0 ? AK_STR("+Inf") : AK_STR("-Inf"));
        return;
    }
    (void)snprintf(text, sizeof text, "%.15g", value);
    double back = strtod(text, NULL);
    if (back < value || back > value) {
        (void)snprintf(text, sizeof text, "%.17g", value);
    }
    ak_buf_add_str(out, ak_str_of(text));
}

/* {a="x",le="0.5"}: nothing at all when there is neither a label nor an `le`. */
static void put_labels(struct ak_buf *out, const struct ak_metrics_row *row,
                       const struct ak_series *series, const char *le)
{
    struct ak_str rest = ak_str_of(row->labels);
    if (series->label_count == 0 && !le) {
        return;
    }
    ak_buf_add_char(out, '{');
    for (size_t i = 0; i < series->label_count; i++) {
        struct ak_str name;
        (void)ak_str_split(rest, ',', &name, &rest);
        if (i) {
            ak_buf_add_char(out, ',');
        }
        ak_buf_add_str(out, name);
        ak_buf_add_str(out, AK_STR("=\""));
        put_escaped(out, series->labels[i], true);
        ak_buf_add_char(out, '"');
    }
    if (le) {
        ak_buf_add_fmt(out, "%sle=\"%s\"", series->label_count ? "," : "", le);
    }
    ak_buf_add_char(out, '}');
}

static void put_name(struct ak_buf *out, const struct ak_metrics_row *row, const char *suffix,
                     const struct ak_series *series, const char *le)
{
    ak_buf_add_fmt(out, "%s%s", row->name, suffix);
    put_labels(out, row, series, le);
    ak_buf_add_char(out, ' ');
}

static void put_histogram(struct ak_buf *out, const struct ak_metrics_row *row,
                          const struct ak_series *series)
{
    uint64_t count = 0;
    for (size_t bucket = 0; bucket <= AK_METRICS_BOUNDS; bucket++) {
        char le[32] = "+Inf";
        if (bucket < AK_METRICS_BOUNDS) {
            (void)snprintf(le, sizeof le, "%g", (double)series->bounds[bucket] / 1e9);
        }
        count += ak_series_cell_sum(series, bucket);
        put_name(out, row, "_bucket", series, le);
        ak_buf_add_fmt(out, "%llu\n", (unsigned long long)count);
    }
    put_name(out, row, "_sum", series, NULL);
    put_double(out, (double)ak_series_cell_sum(series, AK_METRICS_SUM_CELL) / 1e9);
    ak_buf_add_char(out, '\n');
    put_name(out, row, "_count", series, NULL);
    ak_buf_add_fmt(out, "%llu\n", (unsigned long long)count);
}

static void put_series(struct ak_buf *out, const struct ak_metrics_row *row,
                       const struct ak_series *series)
{
    switch (series->kind) {
    case AK_METRICS_COUNTER:
        put_name(out, row, "", series, NULL);
        ak_buf_add_fmt(out, "%llu\n", (unsigned long long)ak_series_cell_sum(series, 0));
        break;
    case AK_METRICS_GAUGE:
        put_name(out, row, "", series, NULL);
        put_double(out, ak_series_value(series));
        ak_buf_add_char(out, '\n');
        break;
    case AK_METRICS_HISTOGRAM:
        put_histogram(out, row, series);
        break;
    case AK_METRICS_SWALLOW:
        break;
    }
}

static const char *type_name(enum ak_metrics_kind kind)
{
    return kind == AK_METRICS_COUNTER     ? "counter"
           : kind == AK_METRICS_HISTOGRAM ? "histogram"
                                          : "gauge";
}

static void run_hooks(struct ak_metrics *metrics)
{
    struct ak_metrics_hook hooks[AK_METRICS_HOOKS_MAX];
    ak_mutex_lock(&metrics->mutex);
    size_t count = metrics->hook_count;
    for (size_t i = 0; i < count; i++) {
        hooks[i] = metrics->hooks[i];
    }
    ak_mutex_unlock(&metrics->mutex);
    for (size_t i = 0; i < count; i++) {
        hooks[i].fn(hooks[i].ctx);
    }
}

void ak_metrics_render(struct ak_metrics *metrics, struct ak_buf *out)
{
    if (!metrics) {
        return;
    }
    run_hooks(metrics);
    for (size_t i = 0; i < AK_METRICS_FAMILY_COUNT; i++) {
        const struct ak_metrics_row *row = ak_metrics_row((enum ak_metrics_family)i);
        ak_buf_add_fmt(out, "# HELP %s ", row->name);
        put_escaped(out, ak_str_of(row->help), false);
        ak_buf_add_fmt(out, "\n# TYPE %s %s\n", row->name, type_name(row->kind));
        const struct ak_series *at =
            atomic_load_explicit(&metrics->families[i].first, memory_order_acquire);
        for (; at; at = atomic_load_explicit(&at->next, memory_order_acquire)) {
            put_series(out, row, at);
        }
    }
}
