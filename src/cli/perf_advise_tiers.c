/* perf_advise_tiers.c — the log's accesses, how they are played against the policy, and pins.
 *
 * The simulator runs the very decisions of a server (tier/simulate.h); the log says who was used
 * when, an hour at a time. A sampled log shows fewer accesses than there were, so what comes out is
 * on the side of moving too much. Thresholds and limits are in perf_advise_thresholds.c.
 */
#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "cli/perf_advise.h"
#include "tier/simulate.h"
#include <stdlib.h>
#include <string.h>

#define HOUR_US INT64_C(3600000000)
#define DAY_US (24 * HOUR_US)
#define SPAN_MIN_US (2 * DAY_US) /* a shorter log shows no pattern */
#define ENTRIES_MAX 2000000u
#define TABLES_MAX 100000u
#define WAKES_MIN 3u
#define PINS_MAX 100u
#define LEVEL0_LINK_BYTES 8u  /* 2·m links of four bytes */
#define PASS_US (HOUR_US / 4) /* the log is played by the hour: more passes would show no more */
#define TIMES_MIN 20u         /* fewer searches say nothing of what one takes */

struct entry {
    int64_t hour;
    uint32_t table, count;
};

struct ak_advise_accesses {
    struct ak_arena arena;
    struct ak_str *tables;
    uint32_t table_count, table_cap;
    struct ak_map by_name;
    struct entry *entries;
    size_t count, cap;
    bool is_full;
    int64_t first_us, last_us;
    struct ak_advise_times {
        uint64_t count;
        double sum_ms;
    } hits, misses;                              /* of searches */
    const struct ak_advise_collection **members; /* of the simulation */
    uint32_t member_count;
    uint32_t *member_of; /* [table_count]; AK_MAP_NONE: it takes no part */
};

struct ak_advise_accesses *ak_advise_accesses_open(void)
{
    struct ak_advise_accesses *accesses = ak_zalloc(sizeof *accesses);
    ak_arena_init(&accesses->arena, 0);
    ak_map_init(&accesses->by_name);
    return accesses;
}

void ak_advise_accesses_close(struct ak_advise_accesses *accesses)
{
    if (accesses) {
        ak_arena_release(&accesses->arena);
        ak_map_release(&accesses->by_name);
        ak_free(accesses->tables);
        ak_free(accesses->entries);
        ak_free(accesses->members);
        ak_free(accesses->member_of);
        ak_free(accesses);
    }
}

static bool same_name(const void *ctx, uint32_t value, const void *key)
{
    const struct ak_advise_accesses *accesses = ctx;
    return ak_str_eq(accesses->tables[value], *(const struct ak_str *)key);
}

static enum ak_rc table_of(struct ak_advise_accesses *a, struct ak_str name, uint32_t *table,
                           struct ak_err *err)
{
    *table = ak_map_get(&a->by_name, ak_hash64_str(name), &name, same_name, a);
    if (*table != AK_MAP_NONE || a->table_count >= TABLES_MAX) {
        return AK_OK;
    }
    if (a->table_count == a->table_cap) {
        a->table_cap = a->table_cap ? a->table_cap * 2 : 64;
        a->tables = ak_realloc(a->tables, a->table_cap * sizeof *a->tables);
    }
    struct ak_str kept = ak_arena_str(&a->arena, name);
    if (!kept.p) {
        return ak_fail(err, AK_NOMEM, "names of collections");
    }
    a->tables[a->table_count] = kept;
    *table = a->table_count++;
    return ak_map_put(&a->by_name, ak_hash64_str(kept), &kept, *table, same_name, a, NULL, err);
}

/* A snapshot, a restore and an export leave the collection in its tier. */
static bool is_access(const struct ak_perf_query *row)
{
    return (row->has & AK_PERF_HAS(table_name)) && !ak_str_eq(row->query_type, AK_STR("EXPORT")) &&
           !ak_str_eq(row->query_type, AK_STR("SNAPSHOT")) &&
           !ak_str_eq(row->query_type, AK_STR("RESTORE"));
}

static void add_time(struct ak_advise_accesses *a, const struct ak_perf_query *row)
{
    struct ak_advise_times *times = row->cache_hit ? &a->hits : &a->misses;
    if ((row->has & AK_PERF_HAS(cache_hit)) && (row->has & AK_PERF_HAS(execution_time_ms)) &&
        ak_str_eq(row->query_type, AK_STR("SEARCH"))) {
        times->count++;
        times->sum_ms += row->execution_time_ms;
    }
}

/* Rows of one collection and hour mostly come together: the last few entries are looked at. */
static bool add_to_recent(struct ak_advise_accesses *a, uint32_t table, int64_t hour)
{
    for (size_t i = 0; i < a->count && i < 32; i++) {
        struct entry *entry = &a->entries[a->count - 1 - i];
        if (entry->table == table && entry->hour == hour) {
            entry->count++;
            return true;
        }
    }
    return false;
}

enum ak_rc ak_advise_accesses_add(struct ak_advise_accesses *a, const struct ak_perf_query *row,
                                  struct ak_err *err)
{
    uint32_t table = AK_MAP_NONE;
    if (!is_access(row)) {
        return AK_OK;
    }
    enum ak_rc rc = table_of(a, row->table_name, &table, err);
    if (rc != AK_OK || table == AK_MAP_NONE) {
        return rc;
    }
    add_time(a, row);
    a->first_us = a->first_us && a->first_us < row->timestamp ? a->first_us : row->timestamp;
    a->last_us = a->last_us > row->timestamp ? a->last_us : row->timestamp;
    if (add_to_recent(a, table, row->timestamp / HOUR_US)) {
        return AK_OK;
    }
    if (a->count == ENTRIES_MAX) {
        a->is_full = true;
        return AK_OK;
    }
    if (a->count == a->cap) {
        a->cap = a->cap ? a->cap * 2 : 1024;
        a->entries = ak_realloc(a->entries, a->cap * sizeof *a->entries);
    }
    a->entries[a->count++] =
        (struct entry){.hour = row->timestamp / HOUR_US, .table = table, .count = 1};
    return AK_OK;
}

static int by_hour(const void *x, const void *y)
{
    const struct entry *a = x;
    const struct entry *b = y;
    if (a->hour != b->hour) {
        return a->hour < b->hour ? -1 : 1;
    }
    return (a->table > b->table) - (a->table < b->table);
}

/* --- Sizes --- */

uint64_t ak_advise_bytes(const struct ak_advise_collection *collection)
{
    bool on_disk = collection->params.vectors == AK_VECTORS_DISK;
    uint64_t row = (on_disk ? 0 : (uint64_t)collection->dimension * sizeof(float)) +
                   (uint64_t)collection->params.m * LEVEL0_LINK_BYTES;
    row += ak_quantization_row_bytes(collection->params.quantization, collection->dimension);
    uint64_t bytes = collection->documents * row;
    return bytes > collection->memory_bytes ? bytes : collection->memory_bytes;
}

/* --- Playing --- */

/* Collections that the policy moves: those of now that are not pinned, used in the log or not. */
static enum ak_rc choose_members(struct ak_advise_accesses *a,
                                 const struct ak_advise_collection *collections, size_t count,
                                 struct ak_err *err)
{
    ak_free(a->members);
    ak_free(a->member_of);
    a->member_count = 0;
    a->members = ak_alloc((count + 1) * sizeof *a->members);
    a->member_of = ak_alloc((a->table_count + 1) * sizeof *a->member_of);
    for (uint32_t i = 0; i < a->table_count; i++) {
        a->member_of[i] = AK_MAP_NONE;
    }
    if (count > TABLES_MAX) {
        return ak_fail(err, AK_TOO_BIG, "more than %u collections", TABLES_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        const struct ak_advise_collection *one = &collections[i];
        uint32_t table =
            ak_map_get(&a->by_name, ak_hash64_str(one->name), &one->name, same_name, a);
        if (one->is_pinned) {
            continue;
        }
        if (table != AK_MAP_NONE) {
            a->member_of[table] = a->member_count;
        }
        a->members[a->member_count++] = one;
    }
    return AK_OK;
}

enum ak_rc ak_advise_play(const struct ak_advise_accesses *a, const struct ak_advise_policy *policy,
                          struct ak_tier_sim_report *report, struct ak_err *err)
{
    struct ak_tier_sim *sim = NULL;
    const struct ak_tier_sim_options options = {.rules = policy->rules,
                                                .limits = policy->limits,
                                                .interval_us = PASS_US,
                                                .begin_us = a->entries[0].hour * HOUR_US};
    enum ak_rc rc = ak_tier_sim_open(&options, &sim, err);
    for (uint32_t i = 0; rc == AK_OK && i < a->member_count; i++) {
        uint32_t index;
        uint64_t ram = ak_advise_bytes(a->members[i]);
        uint64_t disk = a->members[i]->disk_bytes ? a->members[i]->disk_bytes : ram;
        rc = ak_tier_sim_add(sim, ram, disk, &index, err);
    }
    for (size_t i = 0; rc == AK_OK && i < a->count; i++) {
        uint32_t member = a->member_of[a->entries[i].table];
        if (member != AK_MAP_NONE) {
            rc = ak_tier_sim_access(sim, member, a->entries[i].hour * HOUR_US, a->entries[i].count,
                                    err);
        }
    }
    rc = rc == AK_OK ? ak_tier_sim_advance(sim, a->last_us, err) : rc;
    if (rc == AK_OK) {
        ak_tier_sim_report(sim, report);
    }
    ak_tier_sim_close(sim);
    return rc;
}

static double mean_ms(const struct ak_advise_times *times)
{
    return times->count >= TIMES_MIN ? times->sum_ms / (double)times->count : 0;
}

void ak_advise_costs(const struct ak_advise_accesses *a, double *hit_ms, double *miss_ms)
{
    *hit_ms = mean_ms(&a->hits);
    *miss_ms = mean_ms(&a->misses);
}

double ak_advise_days(const struct ak_advise_accesses *a)
{
    return (double)(a->last_us - a->first_us) / (double)DAY_US;
}

/* --- Pins --- */

struct wakes {
    int64_t last_hour;
    int64_t longest_hours;
    uint64_t accesses, wakes, days;
    int64_t last_day;
};

static void count_wakes(const struct ak_advise_accesses *a, int64_t idle_hours, struct wakes *wakes)
{
    for (size_t i = 0; i < a->count; i++) {
        const struct entry *entry = &a->entries[i];
        struct wakes *one = &wakes[entry->table];
        int64_t gap = one->accesses ? entry->hour - one->last_hour : 0;
        one->wakes += gap > idle_hours;
        one->longest_hours = gap > one->longest_hours ? gap : one->longest_hours;
        one->days += one->accesses == 0 || entry->hour / 24 != one->last_day;
        one->accesses += entry->count;
        one->last_hour = entry->hour;
        one->last_day = entry->hour / 24;
    }
}

/* Used on most days, and asleep in between: a few bytes that a person waits for every morning. */
static void advise_pins(struct ak_advice *advice, const struct ak_advise_accesses *a,
                        const struct ak_advise_policy *policy)
{
    double days = ak_advise_days(a);
    double hit_ms = mean_ms(&a->hits);
    double miss_ms = mean_ms(&a->misses);
    int64_t idle_hours = policy->rules.hot_idle_us / HOUR_US;
    struct wakes *wakes = ak_zalloc((a->table_count + 1) * sizeof *wakes);
    uint64_t pins = 0;
    count_wakes(a, idle_hours, wakes);
    for (uint32_t i = 0; i < a->table_count; i++) {
        const struct wakes *one = &wakes[i];
        if (a->member_of[i] == AK_MAP_NONE || one->wakes < WAKES_MIN ||
            (double)one->days < days / 2) {
            continue;
        }
        if (++pins > PINS_MAX) {
            continue;
        }
        ak_buf_clear(&advice->text);
        ak_buf_add_fmt(&advice->text,
                       "log: used on %llu of %.0f days, %llu times after more than %lld h without "
                       "use (%lld h at most), when it would have left memory; pinned it stays",
                       (unsigned long long)one->days, days, (unsigned long long)one->wakes,
                       (long long)idle_hours, (long long)one->longest_hours);
        bool has_speedup = hit_ms > 0 && miss_ms > hit_ms;
        if (has_speedup) {
            ak_buf_add_fmt(&advice->text,
                           "; a search took %.3f ms on average with everything in memory and "
                           "%.3f ms without (%llu and %llu searches in the log)",
                           hit_ms, miss_ms, (unsigned long long)a->hits.count,
                           (unsigned long long)a->misses.count);
        }
        const struct ak_perf_recommendation pin = {
            .table = a->tables[i],
            .index = AK_STR("tier:pinned"),
            .query_pattern = AK_STR("first query after a pause"),
            .priority = AK_STR("low"),
            .basis = ak_buf_str(&advice->text),
            .estimated_speedup = has_speedup ? miss_ms / hit_ms : 0,
            .has_speedup = has_speedup,
            .estimated_cost = (double)ak_advise_bytes(a->members[a->member_of[i]]),
            .has_cost = true,
        };
        ak_advice_add(advice, &pin);
    }
    if (pins > PINS_MAX) {
        ak_advice_note(advice, "tiers: %llu more collections would gain from a pin",
                       (unsigned long long)(pins - PINS_MAX));
    }
    ak_free(wakes);
}

enum ak_rc ak_advise_tiers(struct ak_advice *advice, struct ak_advise_accesses *a,
                           const struct ak_advise_policy *policy,
                           const struct ak_advise_collection *collections, size_t count,
                           struct ak_err *err)
{
    if (a->count == 0 || a->last_us - a->first_us < SPAN_MIN_US) {
        ak_advice_note(advice,
                       "tiers: the log covers %.1f days; at least 2 are needed to see a pattern",
                       ak_advise_days(a));
        return AK_OK;
    }
    if (policy->is_off) {
        ak_advice_note(advice, "tiers: nothing moves by itself (tiering.enabled is false), so that "
                               "thresholds, limits and pins are without effect");
        return AK_OK;
    }
    if (a->is_full) {
        ak_advice_note(advice, "tiers: only the first %u hours of collections in the log are used",
                       ENTRIES_MAX);
    }
    qsort(a->entries, a->count, sizeof *a->entries, by_hour);
    enum ak_rc rc = choose_members(a, collections, count, err);
    if (rc == AK_OK && a->member_count) {
        rc = ak_advise_thresholds(advice, a, policy, err);
    }
    if (rc == AK_OK && policy->rules.hot_idle_us) { /* else nothing leaves memory by being idle */
        advise_pins(advice, a, policy);
    }
    return rc;
}
