/* perf_advise_tiers.c — thresholds and pins, by playing the log's accesses against the policy.
 *
 * The simulator runs the very decisions of a server (tier/simulate.h); the log says who was used
 * when, an hour at a time. A sampled log shows fewer accesses than there were, so what comes out is
 * on the side of moving too much.
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
#define LEVEL0_LINK_BYTES 8u /* 2·m links of four bytes */

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
    if (!(row->has & AK_PERF_HAS(table_name))) {
        return AK_OK;
    }
    enum ak_rc rc = table_of(a, row->table_name, &table, err);
    if (rc != AK_OK || table == AK_MAP_NONE) {
        return rc;
    }
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
    row += collection->params.quantization == AK_QUANTIZATION_U8 ? collection->dimension : 0;
    return collection->documents * row;
}

static const struct ak_advise_collection *
collection_of(const struct ak_advise_collection *collections, size_t count, struct ak_str name)
{
    for (size_t i = 0; i < count; i++) {
        if (ak_str_eq(collections[i].name, name)) {
            return &collections[i];
        }
    }
    return NULL;
}

/* --- Playing --- */

struct play {
    struct ak_advise_accesses *accesses;
    const uint64_t *bytes; /* [table_count] */
};

static enum ak_rc play(const struct play *p, const struct ak_tier_rules *rules,
                       struct ak_tier_sim_report *report, struct ak_err *err)
{
    const struct ak_advise_accesses *a = p->accesses;
    struct ak_tier_sim *sim = NULL;
    const struct ak_tier_sim_options options = {.rules = *rules,
                                                .begin_us = a->entries[0].hour * HOUR_US};
    enum ak_rc rc = ak_tier_sim_open(&options, &sim, err);
    for (uint32_t i = 0; rc == AK_OK && i < a->table_count; i++) {
        uint32_t index;
        rc = ak_tier_sim_add(sim, p->bytes[i], p->bytes[i], &index, err);
    }
    for (size_t i = 0; rc == AK_OK && i < a->count; i++) {
        rc = ak_tier_sim_access(sim, a->entries[i].table, a->entries[i].hour * HOUR_US,
                                a->entries[i].count, err);
    }
    if (rc == AK_OK) {
        ak_tier_sim_report(sim, report);
    }
    ak_tier_sim_close(sim);
    return rc;
}

static double hot_share(const struct ak_tier_sim_report *r)
{
    uint64_t all = r->accesses[AK_TIER_HOT] + r->accesses[AK_TIER_WARM] + r->accesses[AK_TIER_COLD];
    return all ? (double)r->accesses[AK_TIER_HOT] / (double)all : 1;
}

/* --- Thresholds --- */

static void propose_idle(struct ak_advice *advice, int64_t hours,
                         const struct ak_tier_sim_report *now,
                         const struct ak_tier_sim_report *then, double days)
{
    char index[48];
    bool saves = then->mean_bytes[AK_TIER_HOT] < now->mean_bytes[AK_TIER_HOT];
    (void)snprintf(index, sizeof index, "tiering.hot_idle=%lldh", (long long)hours);
    ak_buf_clear(&advice->text);
    ak_buf_add_fmt(
        &advice->text,
        "simulated over %.1f days of the log: with the default of 6h %.1f %% of accesses "
        "were answered from memory, which held %.1f MiB on average (by the index's "
        "layout); with %lldh %.1f %% and %.1f MiB",
        days, 100 * hot_share(now), now->mean_bytes[AK_TIER_HOT] / 1048576, (long long)hours,
        100 * hot_share(then), then->mean_bytes[AK_TIER_HOT] / 1048576);
    const struct ak_perf_recommendation one = {
        .table = AK_STR("*"),
        .index = ak_str_of(index),
        .query_pattern = AK_STR("all queries"),
        .priority = saves ? AK_STR("low") : AK_STR("medium"),
        .basis = ak_buf_str(&advice->text),
        .estimated_cost = then->mean_bytes[AK_TIER_HOT] - now->mean_bytes[AK_TIER_HOT],
        .has_cost = true,
    };
    ak_advice_add(advice, &one);
}

/* More from memory for a memory that is no more than doubled; else as much from less. */
static enum ak_rc advise_idle(struct ak_advice *advice, const struct play *p, double days,
                              struct ak_err *err)
{
    static const int64_t hours[] = {1, 12, 24, 72, 168};
    struct ak_tier_rules rules = ak_tier_rules_default();
    struct ak_tier_sim_report now;
    struct ak_tier_sim_report best = {0};
    int64_t best_hours = 0;
    enum ak_rc rc = play(p, &rules, &now, err);
    if (rc == AK_OK) {
        best = now;
    }
    for (size_t i = 0; rc == AK_OK && i < sizeof hours / sizeof hours[0]; i++) {
        struct ak_tier_sim_report then;
        rules.hot_idle_us = hours[i] * HOUR_US;
        rc = play(p, &rules, &then, err);
        if (rc != AK_OK) {
            break;
        }
        double gain = hot_share(&then) - hot_share(&now);
        double memory = now.mean_bytes[AK_TIER_HOT] > 0
                            ? then.mean_bytes[AK_TIER_HOT] / now.mean_bytes[AK_TIER_HOT]
                            : 1;
        bool is_faster = gain >= 0.05 && memory <= 2 && hot_share(&then) > hot_share(&best) + 0.01;
        bool is_smaller = gain >= -0.01 && memory <= 0.8 && best_hours == 0;
        if (is_faster || is_smaller) {
            best = then;
            best_hours = hours[i];
        }
    }
    if (rc == AK_OK && best_hours) {
        propose_idle(advice, best_hours, &now, &best, days);
    } else if (rc == AK_OK) {
        ak_advice_note(advice,
                       "tiers: the default thresholds fit: %.1f %% of accesses from memory over "
                       "%.1f days of the log, %.1f MiB on average",
                       100 * hot_share(&now), days, now.mean_bytes[AK_TIER_HOT] / 1048576);
    }
    return rc;
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
static void advise_pins(struct ak_advice *advice, const struct play *p, double days)
{
    const struct ak_advise_accesses *a = p->accesses;
    int64_t idle_hours = ak_tier_rules_default().hot_idle_us / HOUR_US;
    struct wakes *wakes = ak_zalloc((a->table_count + 1) * sizeof *wakes);
    uint64_t pins = 0;
    count_wakes(a, idle_hours, wakes);
    for (uint32_t i = 0; i < a->table_count; i++) {
        const struct wakes *one = &wakes[i];
        if (one->wakes < WAKES_MIN || (double)one->days < days / 2 || p->bytes[i] == 0) {
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
        const struct ak_perf_recommendation pin = {
            .table = a->tables[i],
            .index = AK_STR("tier:pinned"),
            .query_pattern = AK_STR("first query after a pause"),
            .priority = AK_STR("low"),
            .basis = ak_buf_str(&advice->text),
            .estimated_cost = (double)p->bytes[i],
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
                           const struct ak_advise_collection *collections, size_t count,
                           struct ak_err *err)
{
    double days = (double)(a->last_us - a->first_us) / (double)DAY_US;
    if (a->count == 0 || a->last_us - a->first_us < SPAN_MIN_US) {
        ak_advice_note(advice,
                       "tiers: the log covers %.1f days; at least 2 are needed to see a pattern",
                       days);
        return AK_OK;
    }
    if (a->is_full) {
        ak_advice_note(advice, "tiers: only the first %u hours of collections in the log are used",
                       ENTRIES_MAX);
    }
    qsort(a->entries, a->count, sizeof *a->entries, by_hour);
    uint64_t *bytes = ak_zalloc((a->table_count + 1) * sizeof *bytes);
    for (uint32_t i = 0; i < a->table_count; i++) {
        const struct ak_advise_collection *one = collection_of(collections, count, a->tables[i]);
        bytes[i] = one ? ak_advise_bytes(one) : 0;
    }
    const struct play p = {.accesses = a, .bytes = bytes};
    enum ak_rc rc = advise_idle(advice, &p, days, err);
    if (rc == AK_OK) {
        advise_pins(advice, &p, days);
    }
    ak_free(bytes);
    return rc;
}
