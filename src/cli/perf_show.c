/* perf_show.c — akidb perf show: the query log for a person, or as JSON. */
#include "base/json.h"
#include "base/mem.h"
#include "cli/output.h"
#include "cli/perf.h"
#include "perf/show.h"
#include <math.h>
#include <string.h>

#define DAYS_SHOWN 7
#define SHAPE_BYTES 512

struct show {
    const char *input, *table;
    uint64_t days, top;
    bool json;
    int32_t from, to;
    struct ak_perf_stats *stats;
    struct ak_perf_shapes shapes;
    struct ak_perf_folder_counts counts;
    struct ak_buf text; /* of a cell, or all of the JSON */
};

/* --- Values --- */

static const char *ms_text(double ms, char text[AK_NUMBER_TEXT_MAX])
{
    return ak_text_seconds(ms / 1e3, text);
}

static double mean_ms(const struct ak_perf_group *group)
{
    return group->rows ? group->total_ms / (double)group->rows : 0;
}

static void cell_ms(struct ak_table *table, double ms)
{
    char text[AK_NUMBER_TEXT_MAX];
    ak_table_cell(table, ak_str_of(ms_text(ms, text)));
}

static void cell_count(struct ak_table *table, uint64_t n)
{
    char text[AK_NUMBER_TEXT_MAX];
    ak_table_cell(table, ak_str_of(ak_text_count(n, text)));
}

static void cell_hits(struct ak_table *table, const struct ak_perf_group *group)
{
    double ratio = ak_perf_hit_ratio(group);
    if (ratio < 0) {
        ak_table_cell(table, AK_STR("-"));
    } else {
        ak_table_cell_fmt(table, "%.1f %%", 100 * ratio);
    }
}

static void cell_day(struct ak_table *table, int32_t day)
{
    char text[AK_PERF_DAY_TEXT_MAX];
    ak_table_cell(table, ak_str_of(ak_perf_day_text(day, text)));
}

static struct ak_str or_others(struct ak_str name)
{
    return name.len ? name : AK_STR("(others)");
}

static const char *shape_text(struct show *show, struct ak_str hash)
{
    const struct ak_perf_shape *shape = ak_perf_shapes_find(&show->shapes, hash);
    ak_buf_clear(&show->text);
    if (shape) {
        ak_perf_shape_put(shape, &show->text);
    }
    return show->text.len ? ak_buf_cstr(&show->text) : "";
}

/* --- Tables --- */

static void print_top(struct show *show)
{
    const struct ak_table_column columns[] = {
        {"TIME", true, false}, {"QUERIES", true, false},      {"MEAN", true, false},
        {"P95", true, false},  {"MAX", true, false},          {"ROWS/RESULT", true, false},
        {"HITS", true, false}, {"TYPE", false, false},        {"COLLECTION", false, false},
        {"BY", false, false},  {"SHAPE (HASH)", false, true},
    };
    const struct ak_perf_group **list = NULL;
    size_t count = 0;
    double all = 0;
    struct ak_table table;
    ak_perf_stats_list(show->stats, AK_PERF_BY_SHAPE, AK_PERF_MOST_TIME, &list, &count);
    for (size_t i = 0; i < count; i++) {
        all += list[i]->total_ms;
    }
    ak_table_init(&table, columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < count && i < show->top; i++) {
        const struct ak_perf_group *group = list[i];
        ak_table_cell_fmt(&table, "%.1f %%", all > 0 ? 100 * group->total_ms / all : 0);
        cell_count(&table, group->rows);
        cell_ms(&table, mean_ms(group));
        cell_ms(&table, ak_perf_quantile_ms(group, 0.95));
        cell_ms(&table, group->max_ms);
        if (group->returned) {
            ak_table_cell_fmt(&table, "%.1f", (double)group->examined / (double)group->returned);
        } else {
            ak_table_cell(&table, AK_STR("-"));
        }
        cell_hits(&table, group);
        ak_table_cell(&table, group->type);
        ak_table_cell(&table, or_others(group->table));
        ak_table_cell(&table, group->index);
        const char *shape = shape_text(show, group->hash);
        ak_table_cell_fmt(&table, "%s%s(%.*s)", shape, shape[0] ? " " : "",
                          AK_STR_ARG(group->hash));
    }
    (void)printf("\nTop queries, by the time they took\n");
    ak_table_print(&table, stdout);
    ak_table_release(&table);
    ak_free(list);
}

static void print_slow(struct show *show)
{
    const struct ak_table_column columns[] = {
        {"TIME", true, false},        {"WHEN", false, false}, {"TYPE", false, false},
        {"COLLECTION", false, false}, {"BY", false, false},   {"EXAMINED", true, false},
        {"RETURNED", true, false},    {"HIT", false, false},  {"SHAPE (HASH)", false, true},
    };
    struct ak_perf_slow *slow = ak_alloc((show->top + 1) * sizeof *slow);
    size_t count = ak_perf_stats_slow(show->stats, slow);
    struct ak_table table;
    ak_table_init(&table, columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < count; i++) {
        char time[AK_TIME_TEXT_MAX];
        cell_ms(&table, slow[i].execution_time_ms);
        ak_table_cell_fmt(&table, "%.19s", ak_time_format(slow[i].timestamp, time));
        ak_table_cell(&table, slow[i].type);
        ak_table_cell(&table, slow[i].table);
        ak_table_cell(&table, slow[i].index);
        cell_count(&table, (uint64_t)(slow[i].rows_examined > 0 ? slow[i].rows_examined : 0));
        cell_count(&table, (uint64_t)(slow[i].rows_returned > 0 ? slow[i].rows_returned : 0));
        ak_table_cell(&table, slow[i].cache_hit ? AK_STR("yes") : AK_STR("no"));
        const char *shape = shape_text(show, slow[i].hash);
        ak_table_cell_fmt(&table, "%s%s(%.*s)", shape, shape[0] ? " " : "",
                          AK_STR_ARG(slow[i].hash));
    }
    (void)printf("\nSlowest queries\n");
    ak_table_print(&table, stdout);
    ak_table_release(&table);
    ak_free(slow);
}

/* "0.8 1.1 1.0 - 0.9": P95 in ms of the last days, oldest first. */
static void put_trend(const struct show *show, const struct ak_perf_group *const *days,
                      size_t count, struct ak_str name, struct ak_buf *out)
{
    for (int32_t day = show->to - DAYS_SHOWN + 1; day <= show->to; day++) {
        const struct ak_perf_group *found = NULL;
        for (size_t i = 0; i < count; i++) {
            found = days[i]->day == day && ak_str_eq(days[i]->table, name) ? days[i] : found;
        }
        ak_buf_add_str(out, out->len ? AK_STR(" ") : AK_STR(""));
        if (found) {
            ak_buf_add_fmt(out, "%.3g", ak_perf_quantile_ms(found, 0.95));
        } else {
            ak_buf_add_char(out, '-');
        }
    }
}

static void print_tables(struct show *show)
{
    const struct ak_table_column columns[] = {
        {"COLLECTION", false, false},
        {"QUERIES", true, false},
        {"MEAN", true, false},
        {"P50", true, false},
        {"P95", true, false},
        {"P99", true, false},
        {"HITS", true, false},
        {"CPU", true, false},
        {"P95 IN MS, LAST 7 DAYS", false, true},
    };
    const struct ak_perf_group **list = NULL;
    const struct ak_perf_group **days = NULL;
    size_t count = 0;
    size_t day_count = 0;
    struct ak_table table;
    ak_perf_stats_list(show->stats, AK_PERF_BY_TABLE, AK_PERF_MOST_TIME, &list, &count);
    ak_perf_stats_list(show->stats, AK_PERF_BY_TABLE_DAY, AK_PERF_IN_TIME, &days, &day_count);
    ak_table_init(&table, columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < count && i < show->top; i++) {
        const struct ak_perf_group *group = list[i];
        ak_table_cell(&table, or_others(group->table));
        cell_count(&table, group->rows);
        cell_ms(&table, mean_ms(group));
        cell_ms(&table, ak_perf_quantile_ms(group, 0.5));
        cell_ms(&table, ak_perf_quantile_ms(group, 0.95));
        cell_ms(&table, ak_perf_quantile_ms(group, 0.99));
        cell_hits(&table, group);
        ak_table_cell_fmt(&table, "%.0f %%",
                          group->total_ms > 0 ? 100 * group->cpu_ms / group->total_ms : 0);
        ak_buf_clear(&show->text);
        put_trend(show, days, day_count, group->table, &show->text);
        ak_table_cell(&table, ak_buf_str(&show->text));
    }
    (void)printf("\nCollections\n");
    ak_table_print(&table, stdout);
    ak_table_release(&table);
    ak_free(list);
    ak_free(days);
}

static void cell_change(struct ak_table *table, double now, double before)
{
    if (before > 0) {
        ak_table_cell_fmt(table, "%+.0f %%", 100 * (now / before - 1));
    } else {
        ak_table_cell(table, AK_STR("-"));
    }
}

static void print_weeks(const struct show *show)
{
    const struct ak_table_column columns[] = {
        {"WEEK OF", false, false}, {"QUERIES", true, false}, {"CHANGE", true, false},
        {"MEAN", true, false},     {"P95", true, false},     {"CHANGE", true, false},
        {"HITS", true, false},
    };
    const struct ak_perf_group **list = NULL;
    size_t count = 0;
    struct ak_table table;
    ak_perf_stats_list(show->stats, AK_PERF_BY_WEEK, AK_PERF_IN_TIME, &list, &count);
    ak_table_init(&table, columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < count; i++) {
        const struct ak_perf_group *before =
            i && list[i - 1]->day == list[i]->day - 7 ? list[i - 1] : NULL;
        double p95 = ak_perf_quantile_ms(list[i], 0.95);
        cell_day(&table, list[i]->day);
        cell_count(&table, list[i]->rows);
        cell_change(&table, (double)list[i]->rows, before ? (double)before->rows : 0);
        cell_ms(&table, mean_ms(list[i]));
        cell_ms(&table, p95);
        cell_change(&table, p95, before ? ak_perf_quantile_ms(before, 0.95) : 0);
        cell_hits(&table, list[i]);
    }
    (void)printf("\nWeek over week\n");
    ak_table_print(&table, stdout);
    ak_table_release(&table);
    ak_free(list);
}

static void print_all(struct show *show, const char *dir)
{
    char from[AK_PERF_DAY_TEXT_MAX];
    char to[AK_PERF_DAY_TEXT_MAX];
    char rows[AK_NUMBER_TEXT_MAX];
    char bad[AK_NUMBER_TEXT_MAX];
    (void)printf("%s: %s queries logged from %s to %s\n", dir,
                 ak_text_count(ak_perf_stats_rows(show->stats), rows),
                 ak_perf_day_text(show->from, from), ak_perf_day_text(show->to, to));
    if (show->counts.bad) {
        (void)printf("%s rows could not be read\n", ak_text_count(show->counts.bad, bad));
    }
    print_top(show);
    print_slow(show);
    print_tables(show);
    print_weeks(show);
}

/* --- JSON --- */

static void put_text(struct ak_buf *out, const char *name, struct ak_str text)
{
    ak_buf_add_fmt(out, "\"%s\":", name);
    ak_json_put_string(out, text);
    ak_buf_add_char(out, ',');
}

static void put_number(struct ak_buf *out, const char *name, double value)
{
    ak_buf_add_fmt(out, "\"%s\":", name);
    ak_json_put_double(out, round(value * 1e6) / 1e6);
    ak_buf_add_char(out, ',');
}

static void put_day(struct ak_buf *out, const char *name, int32_t day)
{
    char text[AK_PERF_DAY_TEXT_MAX];
    put_text(out, name, ak_str_of(ak_perf_day_text(day, text)));
}

static void put_figures(struct ak_buf *out, const struct ak_perf_group *group)
{
    put_number(out, "queries", (double)group->rows);
    put_number(out, "total_ms", group->total_ms);
    put_number(out, "mean_ms", mean_ms(group));
    put_number(out, "p50_ms", ak_perf_quantile_ms(group, 0.5));
    put_number(out, "p95_ms", ak_perf_quantile_ms(group, 0.95));
    put_number(out, "p99_ms", ak_perf_quantile_ms(group, 0.99));
    put_number(out, "max_ms", group->max_ms);
    put_number(out, "cpu_ms", group->cpu_ms);
    put_number(out, "io_wait_ms", group->wait_ms);
    put_number(out, "rows_examined", (double)group->examined);
    put_number(out, "rows_returned", (double)group->returned);
    ak_buf_add_str(out, AK_STR("\"cache_hit_ratio\":"));
    double ratio = ak_perf_hit_ratio(group);
    if (ratio < 0) {
        ak_buf_add_str(out, AK_STR("null"));
    } else {
        ak_json_put_double(out, round(ratio * 1e6) / 1e6);
    }
}

static void put_shape(struct show *show, struct ak_buf *out, struct ak_str hash)
{
    const struct ak_perf_shape *shape = ak_perf_shapes_find(&show->shapes, hash);
    struct ak_buf text;
    ak_buf_init(&text, 0);
    if (shape) {
        ak_perf_shape_put(shape, &text);
    }
    put_text(out, "shape", text.len ? ak_buf_str(&text) : AK_STR(""));
    ak_buf_release(&text);
}

static void put_top(struct show *show, struct ak_buf *out)
{
    const struct ak_perf_group **list = NULL;
    size_t count = 0;
    ak_perf_stats_list(show->stats, AK_PERF_BY_SHAPE, AK_PERF_MOST_TIME, &list, &count);
    ak_buf_add_str(out, AK_STR(",\"top_queries\":["));
    for (size_t i = 0; i < count && i < show->top; i++) {
        ak_buf_add_str(out, i ? AK_STR(",{") : AK_STR("{"));
        put_text(out, "query_hash", list[i]->hash);
        put_text(out, "query_type", list[i]->type);
        put_text(out, "table_name", list[i]->table);
        put_text(out, "index_used", list[i]->index);
        put_shape(show, out, list[i]->hash);
        put_figures(out, list[i]);
        ak_buf_add_char(out, '}');
    }
    ak_buf_add_char(out, ']');
    ak_free(list);
}

static void put_slow(struct show *show, struct ak_buf *out)
{
    struct ak_perf_slow *slow = ak_alloc((show->top + 1) * sizeof *slow);
    size_t count = ak_perf_stats_slow(show->stats, slow);
    ak_buf_add_str(out, AK_STR(",\"slow_queries\":["));
    for (size_t i = 0; i < count; i++) {
        char time[AK_TIME_TEXT_MAX];
        ak_buf_add_str(out, i ? AK_STR(",{") : AK_STR("{"));
        put_text(out, "timestamp", ak_str_of(ak_time_format(slow[i].timestamp, time)));
        put_text(out, "query_hash", slow[i].hash);
        put_text(out, "query_type", slow[i].type);
        put_text(out, "table_name", slow[i].table);
        put_text(out, "index_used", slow[i].index);
        put_shape(show, out, slow[i].hash);
        put_number(out, "execution_time_ms", slow[i].execution_time_ms);
        put_number(out, "rows_examined", (double)slow[i].rows_examined);
        put_number(out, "rows_returned", (double)slow[i].rows_returned);
        ak_buf_add_fmt(out, "\"cache_hit\":%s}", slow[i].cache_hit ? "true" : "false");
    }
    ak_buf_add_char(out, ']');
    ak_free(slow);
}

static void put_tables(struct show *show, struct ak_buf *out)
{
    const struct ak_perf_group **list = NULL;
    const struct ak_perf_group **days = NULL;
    size_t count = 0;
    size_t day_count = 0;
    ak_perf_stats_list(show->stats, AK_PERF_BY_TABLE, AK_PERF_MOST_TIME, &list, &count);
    ak_perf_stats_list(show->stats, AK_PERF_BY_TABLE_DAY, AK_PERF_IN_TIME, &days, &day_count);
    ak_buf_add_str(out, AK_STR(",\"tables\":["));
    for (size_t i = 0; i < count && i < show->top; i++) {
        ak_buf_add_str(out, i ? AK_STR(",{") : AK_STR("{"));
        put_text(out, "table_name", list[i]->table);
        put_figures(out, list[i]);
        ak_buf_add_str(out, AK_STR(",\"days\":["));
        const char *comma = "";
        for (size_t d = 0; d < day_count; d++) {
            if (ak_str_eq(days[d]->table, list[i]->table)) {
                ak_buf_add_fmt(out, "%s{", comma);
                put_day(out, "day", days[d]->day);
                put_figures(out, days[d]);
                ak_buf_add_char(out, '}');
                comma = ",";
            }
        }
        ak_buf_add_str(out, AK_STR("]}"));
    }
    ak_buf_add_char(out, ']');
    ak_free(list);
    ak_free(days);
}

static void put_weeks(const struct show *show, struct ak_buf *out)
{
    const struct ak_perf_group **list = NULL;
    size_t count = 0;
    ak_perf_stats_list(show->stats, AK_PERF_BY_WEEK, AK_PERF_IN_TIME, &list, &count);
    ak_buf_add_str(out, AK_STR(",\"weeks\":["));
    for (size_t i = 0; i < count; i++) {
        ak_buf_add_str(out, i ? AK_STR(",{") : AK_STR("{"));
        put_day(out, "monday", list[i]->day);
        put_figures(out, list[i]);
        ak_buf_add_char(out, '}');
    }
    ak_buf_add_char(out, ']');
    ak_free(list);
}

static enum ak_rc print_json(struct show *show, struct ak_err *err)
{
    struct ak_buf *out = &show->text;
    ak_buf_clear(out);
    ak_buf_add_char(out, '{');
    put_day(out, "from", show->from);
    put_day(out, "to", show->to);
    put_number(out, "files", (double)show->counts.files);
    put_number(out, "rows_bad", (double)show->counts.bad);
    ak_buf_add_fmt(out, "\"rows\":%llu", (unsigned long long)ak_perf_stats_rows(show->stats));
    put_top(show, out);
    put_slow(show, out);
    put_tables(show, out);
    put_weeks(show, out);
    ak_buf_add_str(out, AK_STR("}\n"));
    enum ak_rc rc = ak_buf_check(out, err);
    if (rc == AK_OK) {
        (void)fwrite(out->p, 1, out->len, stdout);
    }
    return rc;
}

/* --- The command --- */

static enum ak_rc add_row(void *ctx, const struct ak_perf_query *row, struct ak_err *err)
{
    return ak_perf_stats_add(ctx, row, err);
}

static enum ak_rc show_folder(struct show *show, const char *dir, struct ak_err *err)
{
    struct ak_fs *fs = ak_fs_posix();
    enum ak_rc rc = ak_perf_shapes_load(&show->shapes, fs, dir, err);
    rc = rc == AK_OK ? ak_perf_folder_read(fs, dir, show->from, show->to, ak_str_of(show->table),
                                           add_row, show->stats, &show->counts, err)
                     : rc;
    if (rc == AK_OK && show->counts.files == 0) {
        return ak_fail(err, AK_NOT_FOUND,
                       "%s holds no query log of the last %llu days: is perf.enabled set, and does "
                       "--input or --data name the folder?",
                       dir, (unsigned long long)show->days);
    }
    if (rc == AK_OK && show->json) {
        return print_json(show, err);
    }
    if (rc == AK_OK) {
        print_all(show, dir);
    }
    return rc;
}

enum ak_rc ak_cli_perf_show(int argc, char **argv, struct ak_err *err)
{
    struct ak_config_flags flags = {0};
    struct show show = {.days = 14, .top = 10};
    const struct ak_arg options[] = {
        {"input", 'i', AK_ARG_TEXT, &show.input, 0, 0, "DIR",
         "folder of the logs, or of exported files; default: that of the configuration"},
        {"days", 0, AK_ARG_UINT, &show.days, 1, 36500, "N", "days back, today included"},
        {"top", 'n', AK_ARG_UINT, &show.top, 1, 10000, "N", "lines of a list"},
        {"table", 't', AK_ARG_TEXT, &show.table, 0, 0, "NAME", "of one collection only"},
        {"json", 0, AK_ARG_FLAG, &show.json, 0, 0, NULL, "everything as one JSON object"},
    };
    struct ak_args args = {
        .command = "perf show",
        .usage = "[options]",
        .about =
            "What the query log says: the shapes of query that took the most time, the slowest\n"
            "queries, how often everything was in memory, each collection's days, and the weeks\n"
            "side by side. Of a sampled log, counts are those of the sample.\n"
            "Reads the CSV files that the server writes; of days that have none, what\n"
            "`akidb perf export` made of them, else what the week's log still has.\n",
        .examples = "  akidb perf show\n"
                    "  akidb perf show --days 28 --table docs\n"
                    "  akidb perf show --input /var/lib/akidb/perf --json\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .config = &flags,
    };
    struct ak_buf dir;
    enum ak_rc rc = ak_args_parse(&args, argc, argv, err);
    if (rc != AK_OK || args.helped) {
        return rc;
    }
    ak_buf_init(&dir, 0);
    ak_buf_init(&show.text, 0);
    show.to = ak_perf_day(ak_now_us(ak_clock_system()));
    show.from = show.to - (int32_t)show.days + 1;
    show.stats = ak_perf_stats_open(show.top);
    rc = ak_cli_perf_folder(&flags, show.input, &dir, err);
    rc = rc == AK_OK ? show_folder(&show, ak_buf_cstr(&dir), err) : rc;
    ak_perf_shapes_release(&show.shapes);
    ak_perf_stats_close(show.stats);
    ak_buf_release(&show.text);
    ak_buf_release(&dir);
    return rc;
}
