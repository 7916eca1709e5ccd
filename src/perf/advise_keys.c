/* advise_keys.c — filter keys, and the habits of searches, out of the log and its shapes. */
#include "base/mem.h"
#include "perf/advise.h"
#include <stdlib.h>
#include <string.h>

#define QUERIES_MIN 20u /* fewer say nothing */
#define SLOWER 1.2      /* than without a filter, in the median */
#define WASTEFUL 20.0   /* distances for one result */
#define KEYS_A_TABLE 5u

static bool is_search(const struct ak_perf_group *group)
{
    return ak_str_eq(group->type, AK_STR("SEARCH"));
}

/* --- Groups of one kind added up --- */

static void add_group(struct ak_perf_group *sum, const struct ak_perf_group *group)
{
    sum->rows += group->rows;
    sum->examined += group->examined;
    sum->returned += group->returned;
    sum->total_ms += group->total_ms;
    sum->max_ms = group->max_ms > sum->max_ms ? group->max_ms : sum->max_ms;
    for (unsigned i = 0; i < AK_PERF_STEPS; i++) {
        sum->steps[i] += group->steps[i];
    }
}

struct key_use {
    struct ak_str table, key;
    struct ak_perf_group sum;
};

struct uses {
    struct key_use *list;
    size_t count, cap;
};

static struct key_use *use_of(struct uses *uses, struct ak_str table, struct ak_str key)
{
    for (size_t i = 0; i < uses->count; i++) {
        if (ak_str_eq(uses->list[i].table, table) && ak_str_eq(uses->list[i].key, key)) {
            return &uses->list[i];
        }
    }
    if (uses->count == uses->cap) {
        size_t cap = uses->cap ? uses->cap * 2 : 16;
        struct key_use *list = ak_try_realloc(uses->list, cap * sizeof *list);
        if (!list) {
            return NULL;
        }
        uses->list = list;
        uses->cap = cap;
    }
    uses->list[uses->count] = (struct key_use){.table = table, .key = key};
    return &uses->list[uses->count++];
}

/* Searches of a collection without a filter, by the graph or exactly as they came. */
static void add_unfiltered(const struct ak_perf_group *const *groups, size_t count,
                           const struct ak_perf_shapes *shapes, struct ak_str table,
                           struct ak_perf_group *sum)
{
    for (size_t i = 0; i < count; i++) {
        const struct ak_perf_shape *shape = ak_perf_shapes_find(shapes, groups[i]->hash);
        if (shape && is_search(groups[i]) && !shape->has_filter && !shape->exact &&
            ak_str_eq(groups[i]->table, table)) {
            add_group(sum, groups[i]);
        }
    }
}

static int by_time(const void *a, const void *b)
{
    const struct key_use *x = a;
    const struct key_use *y = b;
    int order = ak_str_cmp(x->table, y->table);
    return order ? order
                 : (x->sum.total_ms < y->sum.total_ms) - (x->sum.total_ms > y->sum.total_ms);
}

static void consider(struct ak_advice *advice, const struct key_use *use,
                     const struct ak_perf_group *without)
{
    double with_ms = ak_perf_quantile_ms(&use->sum, 0.5);
    double without_ms = without->rows >= QUERIES_MIN ? ak_perf_quantile_ms(without, 0.5) : 0;
    double ratio = without_ms > 0 ? with_ms / without_ms : 0;
    double waste = use->sum.returned ? (double)use->sum.examined / (double)use->sum.returned : 0;
    if (use->sum.rows < QUERIES_MIN || (ratio < SLOWER && waste < WASTEFUL)) {
        return;
    }
    struct ak_buf *text = &advice->text;
    ak_buf_clear(text);
    ak_buf_add_fmt(text,
                   "log: %llu searches with a filter on it, median %.3f ms, %.1f documents "
                   "compared for one result",
                   (unsigned long long)use->sum.rows, with_ms, waste);
    if (ratio > 0) {
        ak_buf_add_fmt(text,
                       "; without a filter %llu searches, median %.3f ms: the ratio is the most "
                       "that a filter without cost would give",
                       (unsigned long long)without->rows, without_ms);
    }
    ak_buf_add_str(text, AK_STR(". A key gets a column when a filter first names it after a start: "
                                "name it once when the server has started, and keep at most 64 "
                                "keys in use"));
    size_t at = text->len;
    ak_buf_add_fmt(text, "metadata:%.*s", AK_STR_ARG(use->key));
    size_t pattern_at = text->len;
    ak_buf_add_fmt(text, "search filter %.*s", AK_STR_ARG(use->key));
    if (text->failed) {
        return;
    }
    const struct ak_perf_recommendation one = {
        .table = use->table,
        .index = ak_str_sub(ak_buf_str(text), at, pattern_at - at),
        .query_pattern = ak_str_sub(ak_buf_str(text), pattern_at, text->len - pattern_at),
        .priority = ratio >= 3     ? AK_STR("high")
                    : ratio >= 1.5 ? AK_STR("medium")
                                   : AK_STR("low"),
        .basis = ak_str_sub(ak_buf_str(text), 0, at),
        .estimated_speedup = ratio,
        .has_speedup = ratio >= SLOWER,
    };
    ak_advice_add(advice, &one);
}

void ak_advise_keys(struct ak_advice *advice, const struct ak_perf_stats *stats,
                    const struct ak_perf_shapes *shapes)
{
    const struct ak_perf_group **groups = NULL;
    size_t count = 0;
    struct uses uses = {0};
    ak_perf_stats_list(stats, AK_PERF_BY_SHAPE, AK_PERF_MOST_TIME, &groups, &count);
    for (size_t i = 0; i < count; i++) {
        const struct ak_perf_shape *shape = ak_perf_shapes_find(shapes, groups[i]->hash);
        for (size_t k = 0; shape && is_search(groups[i]) && k < shape->key_count; k++) {
            struct key_use *use = use_of(&uses, groups[i]->table, shape->keys[k]);
            if (use) {
                add_group(&use->sum, groups[i]);
            }
        }
    }
    if (uses.count) {
        qsort(uses.list, uses.count, sizeof *uses.list, by_time);
    }
    size_t of_table = 0;
    for (size_t i = 0; i < uses.count; i++) {
        bool is_next = i && ak_str_eq(uses.list[i].table, uses.list[i - 1].table);
        of_table = is_next ? of_table + 1 : 0;
        if (of_table < KEYS_A_TABLE) {
            struct ak_perf_group without = {0};
            add_unfiltered(groups, count, shapes, uses.list[i].table, &without);
            consider(advice, &uses.list[i], &without);
        }
    }
    ak_free(uses.list);
    ak_free(groups);
}

/* --- Habits --- */

void ak_advise_habit(const struct ak_perf_stats *stats, const struct ak_perf_shapes *shapes,
                     struct ak_str table, struct ak_advise_habit *habit)
{
    const struct ak_perf_group **groups = NULL;
    size_t count = 0;
    uint64_t most = 0;
    uint64_t most_by_recall = 0;
    uint32_t k_by_recall = 0;
    *habit = (struct ak_advise_habit){0};
    ak_perf_stats_list(stats, AK_PERF_BY_SHAPE, AK_PERF_MOST_TIME, &groups, &count);
    for (size_t i = 0; i < count; i++) {
        const struct ak_perf_shape *shape = ak_perf_shapes_find(shapes, groups[i]->hash);
        if (!is_search(groups[i]) || !ak_str_eq(groups[i]->table, table)) {
            continue;
        }
        habit->searches += groups[i]->rows;
        bool is_by_recall = shape && shape->recall > 0;
        habit->recall_searches += is_by_recall ? groups[i]->rows : 0;
        if (is_by_recall && groups[i]->rows > most_by_recall) {
            most_by_recall = groups[i]->rows;
            k_by_recall = (uint32_t)shape->k;
        } else if (!is_by_recall && shape && !shape->exact && groups[i]->rows > most) {
            most = groups[i]->rows;
            habit->k = (uint32_t)shape->k;
            habit->ef = (uint32_t)shape->ef;
            habit->ef_searches = shape->ef ? groups[i]->rows : 0;
        }
    }
    habit->k = habit->k ? habit->k : k_by_recall;
    ak_free(groups);
}
