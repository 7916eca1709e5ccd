/* series.c — the counters of requests: one array of series by route and status, filled when first
 * used, so that counting a request looks nothing up.
 *
 * Paths that are no route share the label "unmatched", so that a scanner cannot fill the registry.
 */
#include "base/mem.h"
#include "rest/rest_priv.h"
#include <stdio.h>

/* 499: the client went away before its answer; 0 stands for a status that is not here. */
static const int statuses[] = {200, 201, 202, 204, 400, 401, 403, 404, 405, 408, 409,
                               413, 415, 422, 429, 431, 499, 500, 501, 503, 507, 0};
#define STATUS_COUNT (sizeof statuses / sizeof statuses[0])
#define METHOD_COUNT (AK_HTTP_OTHER + 1)
#define ROW_COUNT (AK_ROUTE_COUNT_OF + METHOD_COUNT) /* routes, then unmatched by method */

/* acquire pairs with the release of whoever stored first: the registry gives the same series to all
 * who ask, so that storing twice does no harm. */
struct row {
    _Atomic(struct ak_series *) requests[STATUS_COUNT];
    _Atomic(struct ak_series *) seconds;
};

struct ak_rest_series {
    struct ak_metrics *metrics;
    struct ak_series *bytes_in;
    struct ak_series *bytes_out;
    struct row rows[ROW_COUNT];
};

struct ak_rest_series *ak_rest_series_open(struct ak_metrics *metrics)
{
    struct ak_rest_series *series = ak_zalloc(sizeof *series);
    series->metrics = metrics;
    series->bytes_in = ak_metrics_series(metrics, AK_METRIC_HTTP_BYTES_IN, NULL, 0);
    series->bytes_out = ak_metrics_series(metrics, AK_METRIC_HTTP_BYTES_OUT, NULL, 0);
    return series;
}

void ak_rest_series_close(struct ak_rest_series *series)
{
    ak_free(series);
}

static size_t status_index(int status)
{
    size_t i = 0;
    while (i < STATUS_COUNT - 1 && statuses[i] != status) {
        i++;
    }
    return i;
}

static struct ak_series *requests_of(struct ak_rest_series *series, size_t row,
                                     const struct ak_str labels[2], size_t at)
{
    struct ak_series *one =
        atomic_load_explicit(&series->rows[row].requests[at], memory_order_acquire);
    if (!one) {
        char status[16] = "other";
        if (statuses[at]) {
            (void)snprintf(status, sizeof status, "%d", statuses[at]);
        }
        const struct ak_str all[3] = {labels[0], labels[1], ak_str_of(status)};
        one = ak_metrics_series(series->metrics, AK_METRIC_HTTP_REQUESTS, all, 3);
        atomic_store_explicit(&series->rows[row].requests[at], one, memory_order_release);
    }
    return one;
}

static struct ak_series *seconds_of(struct ak_rest_series *series, size_t row,
                                    const struct ak_str labels[2])
{
    struct ak_series *one = atomic_load_explicit(&series->rows[row].seconds, memory_order_acquire);
    if (!one) {
        one = ak_metrics_series(series->metrics, AK_METRIC_HTTP_SECONDS, labels, 2);
        atomic_store_explicit(&series->rows[row].seconds, one, memory_order_release);
    }
    return one;
}

void ak_rest_series_count(struct ak_rest_series *series, const struct ak_route *route,
                          enum ak_http_method method, int status, size_t bytes_in, size_t bytes_out,
                          double seconds)
{
    size_t row = route ? (size_t)(route - ak_routes()) : AK_ROUTE_COUNT_OF + (size_t)method;
    const struct ak_str labels[2] = {ak_str_of(ak_http_method_name(route ? route->method : method)),
                                     ak_str_of(route ? route->pattern : "unmatched")};
    ak_series_add(requests_of(series, row, labels, status_index(status ? status : 499)), 1);
    ak_series_observe(seconds_of(series, row, labels), seconds);
    ak_series_add(series->bytes_in, bytes_in);
    ak_series_add(series->bytes_out, bytes_out);
}
