/* show.c — adding up the query log. */
#include "perf/show.h"
#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "perf/query_log_priv.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STEPS_AN_OCTAVE 8.0
#define FIRST_STEP_MS 0.0001
#define TEXTS_BYTES ((size_t)64 << 20)
#define KEY_TEXT_MAX ((size_t)400) /* of hash and table together */
#define KEY_BYTES (KEY_TEXT_MAX + 8)

struct set {
    struct ak_map map;
    struct ak_str *keys;
    struct ak_perf_group **groups;
    uint32_t count, cap;
};

struct ak_perf_stats {
    struct set sets[AK_PERF_BY_COUNT];
    struct ak_arena texts;
    struct ak_perf_slow *slow; /* a heap, the least slow on top */
    size_t slow_count, slow_max;
    uint64_t rows;
};

struct ak_perf_stats *ak_perf_stats_open(size_t slow_max)
{
    struct ak_perf_stats *stats = ak_zalloc(sizeof *stats);
    for (int by = 0; by < AK_PERF_BY_COUNT; by++) {
        ak_map_init(&stats->sets[by].map);
    }
    ak_arena_init(&stats->texts, TEXTS_BYTES);
    stats->slow = ak_alloc((slow_max + 1) * sizeof *stats->slow);
    stats->slow_max = slow_max;
    return stats;
}

void ak_perf_stats_close(struct ak_perf_stats *stats)
{
    if (!stats) {
        return;
    }
    for (int by = 0; by < AK_PERF_BY_COUNT; by++) {
        struct set *set = &stats->sets[by];
        for (uint32_t i = 0; i < set->count; i++) {
            ak_free(set->groups[i]);
        }
        ak_free(set->groups);
        ak_free(set->keys);
        ak_map_release(&set->map);
    }
    ak_arena_release(&stats->texts);
    ak_free(stats->slow);
    ak_free(stats);
}

uint64_t ak_perf_stats_rows(const struct ak_perf_stats *stats)
{
    return stats->rows;
}

/* --- Groups --- */

static struct ak_str text_of(const struct ak_perf_query *row, unsigned bit, struct ak_str text)
{
    return row->has & bit ? text : AK_STR("");
}

static bool same_key(const void *ctx, uint32_t value, const void *key)
{
    const struct set *set = ctx;
    return ak_str_eq(set->keys[value], *(const struct ak_str *)key);
}

static bool grow(struct set *set)
{
    if (set->count < set->cap) {
        return true;
    }
    uint32_t cap = set->cap ? set->cap * 2 : 64;
    struct ak_perf_group **groups = ak_try_realloc(set->groups, cap * sizeof *groups);
    set->groups = groups ? groups : set->groups;
    struct ak_str *keys = groups ? ak_try_realloc(set->keys, cap * sizeof *keys) : NULL;
    set->keys = keys ? keys : set->keys;
    set->cap = keys ? cap : set->cap;
    return keys;
}

static enum ak_rc no_memory(struct ak_err *err)
{
    return ak_fail(err, AK_NOMEM, "no memory to add up the query log: ask for fewer days");
}

/* The group under `key`, made when there is none; NULL: no memory. */
static struct ak_perf_group *group_of(struct ak_perf_stats *stats, enum ak_perf_by by,
                                      struct ak_str key, bool *is_new)
{
    struct set *set = &stats->sets[by];
    uint32_t at = ak_map_get(&set->map, ak_hash64_str(key), &key, same_key, set);
    *is_new = at == AK_MAP_NONE;
    if (!*is_new) {
        return set->groups[at];
    }
    struct ak_str kept = ak_arena_str(&stats->texts, key);
    struct ak_perf_group *made = ak_try_zalloc(sizeof *made);
    if (!made || !kept.p || !grow(set)) {
        ak_free(made);
        return NULL;
    }
    set->keys[set->count] = kept;
    set->groups[set->count] = made;
    if (ak_map_put(&set->map, ak_hash64_str(kept), &kept, set->count, same_key, set, NULL, NULL) !=
        AK_OK) {
        ak_free(made);
        return NULL;
    }
    set->count++;
    return made;
}

static size_t put_key(char *key, size_t at, struct ak_str text)
{
    size_t room = KEY_TEXT_MAX - at;
    size_t len = text.len < room ? text.len : room;
    if (len) {
        memcpy(key + at, text.p, len);
    }
    key[at + len] = '\0';
    return at + len + 1;
}

static int32_t day_of(enum ak_perf_by by, const struct ak_perf_query *row)
{
    int32_t day = ak_perf_day(row->timestamp);
    switch (by) {
    case AK_PERF_BY_TABLE_DAY:
        return day;
    case AK_PERF_BY_WEEK:
        return ak_query_file_period(true, day);
    case AK_PERF_BY_SHAPE:
    case AK_PERF_BY_TABLE:
    case AK_PERF_BY_COUNT:
        break;
    }
    return 0;
}

static struct ak_str key_of(enum ak_perf_by by, const struct ak_perf_query *row, int32_t day,
                            bool is_full, char key[KEY_BYTES])
{
    size_t len = 0;
    if (by == AK_PERF_BY_SHAPE && !is_full) {
        len = put_key(key, len,
                      ak_str_sub(text_of(row, AK_PERF_HAS(query_hash), row->query_hash), 0, 64));
    }
    if (by != AK_PERF_BY_WEEK && !is_full) {
        len = put_key(key, len, text_of(row, AK_PERF_HAS(table_name), row->table_name));
    }
    memcpy(key + len, &day, sizeof day);
    return (struct ak_str){key, len + sizeof day};
}

static bool name_group(struct ak_perf_stats *stats, enum ak_perf_by by, struct ak_perf_group *group,
                       const struct ak_perf_query *row, int32_t day, bool is_full)
{
    group->day = day;
    group->first_us = row->timestamp;
    group->hash = group->type = group->table = group->index = AK_STR("");
    if (is_full || by == AK_PERF_BY_WEEK) {
        return true;
    }
    group->table =
        ak_arena_str(&stats->texts, text_of(row, AK_PERF_HAS(table_name), row->table_name));
    if (by == AK_PERF_BY_SHAPE) {
        group->hash =
            ak_arena_str(&stats->texts, text_of(row, AK_PERF_HAS(query_hash), row->query_hash));
        group->type =
            ak_arena_str(&stats->texts, text_of(row, AK_PERF_HAS(query_type), row->query_type));
    }
    return group->table.p && group->hash.p && group->type.p;
}

/* --- Rows --- */

static unsigned step_of(double ms)
{
    double step = ms > FIRST_STEP_MS ? log2(ms / FIRST_STEP_MS) * STEPS_AN_OCTAVE : 0;
    return step < AK_PERF_STEPS - 1 ? (unsigned)step : AK_PERF_STEPS - 1;
}

static uint64_t count_of(const struct ak_perf_query *row, unsigned bit, int64_t n)
{
    return row->has & bit && n > 0 ? (uint64_t)n : 0;
}

static void add_row(struct ak_perf_group *group, const struct ak_perf_query *row)
{
    double ms = row->execution_time_ms;
    group->rows++;
    group->total_ms += ms;
    group->max_ms = ms > group->max_ms ? ms : group->max_ms;
    group->examined += count_of(row, AK_PERF_HAS(rows_examined), row->rows_examined);
    group->returned += count_of(row, AK_PERF_HAS(rows_returned), row->rows_returned);
    group->cpu_ms += row->has & AK_PERF_HAS(cpu_time_ms) ? row->cpu_time_ms : 0;
    group->wait_ms += row->has & AK_PERF_HAS(io_wait_ms) ? row->io_wait_ms : 0;
    if (row->has & AK_PERF_HAS(cache_hit)) {
        group->hits += row->cache_hit;
        group->misses += !row->cache_hit;
    }
    group->first_us = row->timestamp < group->first_us ? row->timestamp : group->first_us;
    group->last_us = row->timestamp > group->last_us ? row->timestamp : group->last_us;
    group->steps[step_of(ms)]++;
}

/* index_used is one of a few words in nearly all logs: kept again only when it changes. */
static bool note_index(struct ak_perf_stats *stats, struct ak_perf_group *group,
                       const struct ak_perf_query *row)
{
    struct ak_str index = text_of(row, AK_PERF_HAS(index_used), row->index_used);
    if (!ak_str_eq(index, group->index)) {
        group->index = ak_arena_str(&stats->texts, index);
    }
    return group->index.p;
}

static enum ak_rc add_to(struct ak_perf_stats *stats, enum ak_perf_by by,
                         const struct ak_perf_query *row, struct ak_err *err)
{
    char key[KEY_BYTES];
    int32_t day = day_of(by, row);
    bool is_new = false;
    bool is_full = stats->sets[by].count >= AK_PERF_GROUPS_MAX;
    struct ak_str text = key_of(by, row, day, false, key);
    if (is_full && ak_map_get(&stats->sets[by].map, ak_hash64_str(text), &text, same_key,
                              &stats->sets[by]) == AK_MAP_NONE) {
        day = by == AK_PERF_BY_TABLE_DAY ? 0 : day;
        text = key_of(by, row, day, true, key);
    } else {
        is_full = false;
    }
    struct ak_perf_group *group = group_of(stats, by, text, &is_new);
    if (!group || (is_new && !name_group(stats, by, group, row, day, is_full)) ||
        (by == AK_PERF_BY_SHAPE && !note_index(stats, group, row))) {
        return no_memory(err);
    }
    add_row(group, row);
    return AK_OK;
}

/* --- The slowest --- */

static void sift_down(struct ak_perf_slow *heap, size_t n, size_t at)
{
    for (;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < n; child++) {
            least = heap[child].execution_time_ms < heap[least].execution_time_ms ? child : least;
        }
        if (least == at) {
            return;
        }
        struct ak_perf_slow swap = heap[at];
        heap[at] = heap[least];
        heap[least] = swap;
        at = least;
    }
}

static void sift_up(struct ak_perf_slow *heap, size_t at)
{
    while (at && heap[at].execution_time_ms < heap[(at - 1) / 2].execution_time_ms) {
        struct ak_perf_slow swap = heap[at];
        heap[at] = heap[(at - 1) / 2];
        heap[(at - 1) / 2] = swap;
        at = (at - 1) / 2;
    }
}

static struct ak_str keep(struct ak_perf_stats *stats, const struct ak_perf_query *row,
                          unsigned bit, struct ak_str text, bool *ok)
{
    struct ak_str kept = ak_arena_str(&stats->texts, text_of(row, bit, text));
    *ok = *ok && kept.p;
    return kept;
}

static enum ak_rc offer_slow(struct ak_perf_stats *stats, const struct ak_perf_query *row,
                             struct ak_err *err)
{
    bool ok = true;
    bool is_full = stats->slow_count == stats->slow_max;
    if (stats->slow_max == 0 ||
        (is_full && row->execution_time_ms <= stats->slow[0].execution_time_ms)) {
        return AK_OK;
    }
    struct ak_perf_slow slow = {
        .timestamp = row->timestamp,
        .hash = keep(stats, row, AK_PERF_HAS(query_hash), row->query_hash, &ok),
        .type = keep(stats, row, AK_PERF_HAS(query_type), row->query_type, &ok),
        .table = keep(stats, row, AK_PERF_HAS(table_name), row->table_name, &ok),
        .index = keep(stats, row, AK_PERF_HAS(index_used), row->index_used, &ok),
        .execution_time_ms = row->execution_time_ms,
        .rows_examined = row->has & AK_PERF_HAS(rows_examined) ? row->rows_examined : 0,
        .rows_returned = row->has & AK_PERF_HAS(rows_returned) ? row->rows_returned : 0,
        .cache_hit = row->has & AK_PERF_HAS(cache_hit) ? row->cache_hit : true,
    };
    if (!ok) {
        return no_memory(err);
    }
    if (is_full) {
        stats->slow[0] = slow;
        sift_down(stats->slow, stats->slow_count, 0);
    } else {
        stats->slow[stats->slow_count] = slow;
        sift_up(stats->slow, stats->slow_count++);
    }
    return AK_OK;
}

enum ak_rc ak_perf_stats_add(struct ak_perf_stats *stats, const struct ak_perf_query *row,
                             struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    if (!(row->has & AK_PERF_HAS(execution_time_ms)) || !isfinite(row->execution_time_ms)) {
        return AK_OK;
    }
    for (int by = 0; rc == AK_OK && by < AK_PERF_BY_COUNT; by++) {
        rc = add_to(stats, (enum ak_perf_by)by, row, err);
    }
    stats->rows += rc == AK_OK;
    return rc == AK_OK ? offer_slow(stats, row, err) : rc;
}

/* --- Asking --- */

static int by_time_spent(const void *a, const void *b)
{
    const struct ak_perf_group *x = *(const struct ak_perf_group *const *)a;
    const struct ak_perf_group *y = *(const struct ak_perf_group *const *)b;
    if (x->total_ms < y->total_ms || x->total_ms > y->total_ms) {
        return x->total_ms < y->total_ms ? 1 : -1;
    }
    return ak_str_cmp(x->hash, y->hash);
}

static int by_table_and_day(const void *a, const void *b)
{
    const struct ak_perf_group *x = *(const struct ak_perf_group *const *)a;
    const struct ak_perf_group *y = *(const struct ak_perf_group *const *)b;
    int order = ak_str_cmp(x->table, y->table);
    return order ? order : (x->day > y->day) - (x->day < y->day);
}

void ak_perf_stats_list(const struct ak_perf_stats *stats, enum ak_perf_by by,
                        enum ak_perf_order order, const struct ak_perf_group ***list, size_t *count)
{
    const struct set *set = &stats->sets[by];
    const struct ak_perf_group **out = ak_alloc((set->count + 1) * sizeof(struct ak_perf_group *));
    for (uint32_t i = 0; i < set->count; i++) {
        out[i] = set->groups[i];
    }
    qsort(out, set->count, sizeof(struct ak_perf_group *),
          order == AK_PERF_MOST_TIME ? by_time_spent : by_table_and_day);
    *list = out;
    *count = set->count;
}

static int by_slowness(const void *a, const void *b)
{
    const struct ak_perf_slow *x = a;
    const struct ak_perf_slow *y = b;
    return (x->execution_time_ms < y->execution_time_ms) -
           (x->execution_time_ms > y->execution_time_ms);
}

size_t ak_perf_stats_slow(const struct ak_perf_stats *stats, struct ak_perf_slow *list)
{
    if (stats->slow_count) {
        memcpy(list, stats->slow, stats->slow_count * sizeof *list);
        qsort(list, stats->slow_count, sizeof *list, by_slowness);
    }
    return stats->slow_count;
}

double ak_perf_quantile_ms(const struct ak_perf_group *group, double share)
{
    double wanted = share * (double)group->rows;
    double seen = 0;
    for (unsigned i = 0; i < AK_PERF_STEPS; i++) {
        seen += group->steps[i];
        if (group->steps[i] && seen >= wanted) { /* the middle of the step, never past the most */
            double ms = FIRST_STEP_MS * exp2(((double)i + 0.5) / STEPS_AN_OCTAVE);
            return ms < group->max_ms ? ms : group->max_ms;
        }
    }
    return group->max_ms;
}

double ak_perf_hit_ratio(const struct ak_perf_group *group)
{
    uint64_t known = group->hits + group->misses;
    return known ? (double)group->hits / (double)known : -1;
}
