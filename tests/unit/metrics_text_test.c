/* metrics_text_test.c — updates from many threads, label sets, and the exposition text. */
#include "base/sync.h"
#include "metrics/metrics.h"
#include "support/test.h"
#include <math.h>

static const struct ak_str get_200[] = {{"GET", 3}, {"/a", 2}, {"200", 3}};

static struct ak_series *requests(struct ak_metrics *metrics, const struct ak_str labels[3])
{
    return ak_metrics_series(metrics, AK_METRIC_HTTP_REQUESTS, labels, 3);
}

/* Is `line` a whole line of the text? */
static bool has_line(struct ak_metrics *metrics, const char *line)
{
    struct ak_buf out;
    ak_buf_init(&out, 0);
    ak_metrics_render(metrics, &out);
    struct ak_str rest = ak_buf_str(&out);
    struct ak_str head;
    bool found = false;
    bool more = true;
    while (more && !found) {
        more = ak_str_split(rest, '\n', &head, &rest);
        found = ak_str_eq(head, ak_str_of(line));
    }
    ak_buf_release(&out);
    return found;
}

TEST(metrics, every_family_has_help_and_type_before_it_has_a_series)
{
    struct ak_metrics *metrics = ak_metrics_open();
    char line[600];
#define AK_METRIC_FAMILY(id, name, type, labels, help)                                             \
    (void)snprintf(line, sizeof line, "# HELP %s %s", name, help);                                 \
    CHECK(has_line(metrics, line));                                                                \
    (void)snprintf(line, sizeof line, "# TYPE %s %s", name,                                        \
                   #type[0] == 'C'   ? "counter"                                                   \
                   : #type[0] == 'G' ? "gauge"                                                     \
                                     : "histogram");                                               \
    CHECK(has_line(metrics, line));
#include "metrics/metrics.def"
#undef AK_METRIC_FAMILY
    CHECK(has_line(metrics, "vectors_indexed_total 0"));
    CHECK(!has_line(metrics, "http_requests_total 0"));
    ak_metrics_close(metrics);
}

TEST(metrics, the_same_labels_give_the_same_series_and_others_another)
{
    struct ak_metrics *metrics = ak_metrics_open();
    const struct ak_str moved[] = {{"GE", 2}, {"T/a", 3}, {"200", 3}};
    struct ak_series *series = requests(metrics, get_200);
    CHECK(series == requests(metrics, get_200));
    CHECK(series != requests(metrics, moved));
    ak_series_add(series, 41);
    ak_series_add(requests(metrics, get_200), 1);
    CHECK(has_line(metrics, "http_requests_total{method=\"GET\",path=\"/a\",status=\"200\"} 42"));
    CHECK(has_line(metrics, "http_requests_total{method=\"GE\",path=\"T/a\",status=\"200\"} 0"));
    ak_metrics_close(metrics);
}

TEST(metrics, label_values_are_escaped_and_bad_utf8_cannot_break_a_scrape)
{
    struct ak_metrics *metrics = ak_metrics_open();
    const struct ak_str odd[] = {{"a\"b", 3}, {"c\\d\ne", 5}, {"\xff\xc3\xa9", 3}};
    const struct ak_str text[] = {{"", 0}, {"\xc3\xa9", 2}, {"1", 1}};
    ak_series_add(requests(metrics, odd), 1);
    ak_series_add(requests(metrics, text), 2);
    CHECK(has_line(metrics,
                   "http_requests_total{method=\"a\\\"b\",path=\"c\\\\d\\ne\",status=\"???\"} 1"));
    CHECK(has_line(metrics, "http_requests_total{method=\"\",path=\"\xc3\xa9\",status=\"1\"} 2"));
    ak_metrics_close(metrics);
}

TEST(metrics, a_histogram_is_cumulative_with_inclusive_bounds_sum_and_count)
{
    struct ak_metrics *metrics = ak_metrics_open();
    struct ak_series *series = ak_metrics_series(metrics, AK_METRIC_SEARCH_SECONDS, NULL, 0);
    ak_series_observe(series, 0.00001);
    ak_series_observe(series, 0.000011);
    ak_series_observe(series, 10);
    ak_series_observe(series, 11);
    ak_series_observe(series, -1);
    ak_series_observe(series, (double)NAN);
    CHECK(has_line(metrics, "vector_search_duration_seconds_bucket{le=\"1e-05\"} 2"));
    CHECK(has_line(metrics, "vector_search_duration_seconds_bucket{le=\"2.5e-05\"} 3"));
    CHECK(has_line(metrics, "vector_search_duration_seconds_bucket{le=\"5\"} 3"));
    CHECK(has_line(metrics, "vector_search_duration_seconds_bucket{le=\"10\"} 4"));
    CHECK(has_line(metrics, "vector_search_duration_seconds_bucket{le=\"+Inf\"} 5"));
    CHECK(has_line(metrics, "vector_search_duration_seconds_sum 21.000021"));
    CHECK(has_line(metrics, "vector_search_duration_seconds_count 5"));
    CHECK_INT(ak_series_value(series), 5);
    series = ak_metrics_series(metrics, AK_METRIC_CHECKPOINT_SECONDS, NULL, 0);
    ak_series_observe(series, 600);
    CHECK(has_line(metrics, "akidb_checkpoint_duration_seconds_bucket{le=\"0.001\"} 0"));
    CHECK(has_line(metrics, "akidb_checkpoint_duration_seconds_bucket{le=\"500\"} 0"));
    CHECK(has_line(metrics, "akidb_checkpoint_duration_seconds_bucket{le=\"1000\"} 1"));
    ak_metrics_close(metrics);
}

TEST(metrics, gauges_go_up_and_down_and_print_exactly)
{
    struct ak_metrics *metrics = ak_metrics_open();
    struct ak_series *series = ak_metrics_series(metrics, AK_METRIC_CONNECTIONS, NULL, 0);
    ak_series_change(series, 3);
    ak_series_change(series, -5);
    CHECK(has_line(metrics, "active_connections -2"));
    ak_series_set(series, 0.1);
    CHECK(has_line(metrics, "active_connections 0.1"));
    ak_series_set(series, 1.0 / 3);
    CHECK(has_line(metrics, "active_connections 0.33333333333333331"));
    ak_series_set(series, (double)INFINITY);
    CHECK(has_line(metrics, "active_connections +Inf"));
    ak_metrics_close(metrics);
}

static void count_render(void *ctx)
{
    ak_series_change(ctx, 1);
}

TEST(metrics, hooks_run_before_each_render)
{
    struct ak_metrics *metrics = ak_metrics_open();
    struct ak_series *series = ak_metrics_series(metrics, AK_METRIC_COLLECTIONS, NULL, 0);
    ak_metrics_on_render(metrics, count_render, series);
    CHECK(has_line(metrics, "akidb_collections 1"));
    CHECK(has_line(metrics, "akidb_collections 2"));
    ak_metrics_close(metrics);
}

TEST(metrics, label_sets_past_the_ceiling_fall_into_one_series_called_other)
{
    struct ak_metrics *metrics = ak_metrics_open();
    struct ak_series *last = NULL;
    for (int i = 0; i < AK_METRICS_SERIES_MAX + 100; i++) {
        char path[32];
        (void)snprintf(path, sizeof path, "/%d", i);
        const struct ak_str labels[] = {{"GET", 3}, ak_str_of(path), {"200", 3}};
        struct ak_series *series = requests(metrics, labels);
        CHECK((series == last) == (i >= AK_METRICS_SERIES_MAX));
        last = series;
        ak_series_add(series, 1);
    }
    CHECK(has_line(metrics,
                   "http_requests_total{method=\"other\",path=\"other\",status=\"other\"} 101"));
    CHECK(has_line(metrics, "http_requests_total{method=\"GET\",path=\"/1998\",status=\"200\"} 1"));
    ak_metrics_close(metrics);
}

TEST(metrics, without_a_registry_updates_are_swallowed)
{
    struct ak_series *series = ak_metrics_series(NULL, AK_METRIC_HTTP_REQUESTS, get_200, 3);
    ak_series_add(series, 1);
    ak_series_set(series, 1);
    ak_series_change(series, 1);
    ak_series_observe(series, 1);
    CHECK_INT(ak_series_value(series), 0);
}

enum { THREADS = 4, ROUNDS = 20000 };

static void hammer(void *arg)
{
    struct ak_metrics *metrics = arg;
    struct ak_series *count = requests(metrics, get_200);
    struct ak_series *gauge = ak_metrics_series(metrics, AK_METRIC_COLLECTIONS, NULL, 0);
    struct ak_series *time = ak_metrics_series(metrics, AK_METRIC_WAL_SECONDS, NULL, 0);
    for (int i = 0; i < ROUNDS; i++) {
        ak_series_add(count, 1);
        ak_series_change(gauge, 1);
        ak_series_observe(time, 0.001);
        if (i % 1000 == 0) {
            char path[32];
            (void)snprintf(path, sizeof path, "/%d", i);
            const struct ak_str labels[] = {{"GET", 3}, ak_str_of(path), {"200", 3}};
            ak_series_add(requests(metrics, labels), 1);
        }
    }
}

TEST(metrics, no_update_is_lost_between_threads_and_renders)
{
    struct ak_err err;
    struct ak_metrics *metrics = ak_metrics_open();
    struct ak_thread threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        CHECK_OK(ak_thread_start(&threads[i], "hammer", hammer, metrics, &err));
    }
    for (int i = 0; i < 20; i++) {
        CHECK(has_line(metrics, "# TYPE http_requests_total counter"));
    }
    for (int i = 0; i < THREADS; i++) {
        ak_thread_join(&threads[i]);
    }
    CHECK_INT(ak_series_value(requests(metrics, get_200)), THREADS * ROUNDS);
    CHECK(has_line(metrics, "akidb_collections 80000"));
    CHECK(has_line(metrics, "wal_write_duration_seconds_sum 80"));
    CHECK(has_line(metrics, "wal_write_duration_seconds_count 80000"));
    CHECK(
        has_line(metrics, "http_requests_total{method=\"GET\",path=\"/19000\",status=\"200\"} 4"));
    ak_metrics_close(metrics);
}

TEST_MAIN()
