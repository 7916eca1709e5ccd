/* metrics.c — the registry: families from metrics.def, series found by their label values.
 *
 * I1  a series is never moved or freed before its registry closes, so a caller may keep it.
 * I2  a family's list only grows at its tail; `next` is stored with release after the series is
 *     complete, so a reader that walks the list (render) needs no lock.
 * I3  the mutex guards the hash chains, the counts and the hooks, and is never held over a
 * callback.
 *
 * Updates are relaxed atomic additions. Counters and histograms are split into shards of whole
 * cache lines; a thread keeps to one shard, so that threads on different cores do not fight for a
 * line. Sums are kept in nanoseconds: integers add without a loop, and 2^64 ns are 584 years.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "metrics/metrics_priv.h"
#include <math.h>
#include <string.h>

#define TABLE_SIZE 512u /* chains of a labelled family: four series a chain when it is full */
#define SHARDS 8u       /* power of two */
#define LINE_CELLS (AK_CACHE_LINE / sizeof(uint64_t))

static const uint64_t fast_bounds[AK_METRICS_BOUNDS] = {
    10000,     25000,      50000,      100000,     250000,     500000,    1000000,
    2500000,   5000000,    10000000,   25000000,   50000000,   100000000, 250000000,
    500000000, 1000000000, 2500000000, 5000000000, 10000000000};
static const uint64_t slow_bounds[AK_METRICS_BOUNDS] = {
    1000000,     2500000,      5000000,      10000000,     25000000,     50000000,    100000000,
    250000000,   500000000,    1000000000,   2500000000,   5000000000,   10000000000, 25000000000,
    50000000000, 100000000000, 250000000000, 500000000000, 1000000000000};

#define KIND_COUNTER AK_METRICS_COUNTER, NULL
#define KIND_GAUGE AK_METRICS_GAUGE, NULL
#define KIND_HISTOGRAM_FAST AK_METRICS_HISTOGRAM, fast_bounds
#define KIND_HISTOGRAM_SLOW AK_METRICS_HISTOGRAM, slow_bounds

static const struct ak_metrics_row rows[AK_METRICS_FAMILY_COUNT] = {
#define AK_METRIC_FAMILY(id, name, type, labels, help)                                             \
    [AK_METRIC_##id] = {name, help, labels, KIND_##type},
#include "metrics/metrics.def"
#undef AK_METRIC_FAMILY
};

/* What a NULL registry gives: every update looks at the kind first and leaves it alone. */
static struct ak_series swallow = {.kind = AK_METRICS_SWALLOW};

const struct ak_metrics_row *ak_metrics_row(enum ak_metrics_family family)
{
    AK_ASSERT((unsigned)family < AK_METRICS_FAMILY_COUNT);
    return &rows[family];
}

static size_t shard_cells(enum ak_metrics_kind kind)
{
    size_t used = kind == AK_METRICS_HISTOGRAM ? AK_METRICS_BOUNDS + 2 : 1; /* +Inf and the sum */
    return (used + LINE_CELLS - 1) / LINE_CELLS * LINE_CELLS;
}

static size_t shard_count(enum ak_metrics_kind kind)
{
    return kind == AK_METRICS_GAUGE ? 1 : SHARDS;
}

/* The cells of the calling thread's shard. */
static _Atomic uint64_t *my_cells(struct ak_series *series)
{
    static _Atomic unsigned threads;
    static _Thread_local unsigned mine;
    if (mine == 0) {
        mine = 1 + atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) % SHARDS;
    }
    return series->cells + (mine - 1) * shard_cells(series->kind);
}

uint64_t ak_series_cell_sum(const struct ak_series *series, size_t cell)
{
    uint64_t sum = 0;
    for (size_t shard = 0; shard < shard_count(series->kind); shard++) {
        sum += atomic_load_explicit(&series->cells[shard * shard_cells(series->kind) + cell],
                                    memory_order_relaxed);
    }
    return sum;
}

static struct ak_series *series_new(const struct ak_metrics_row *row, uint64_t hash,
                                    const struct ak_str *labels, size_t label_count)
{
    size_t text = 0;
    for (size_t i = 0; i < label_count; i++) {
        text += labels[i].len + 1;
    }
    struct ak_series *series = ak_zalloc(sizeof *series);
    size_t bytes = shard_count(row->kind) * shard_cells(row->kind) * sizeof *series->cells;
    series->kind = row->kind;
    series->bounds = row->bounds;
    series->hash = hash;
    series->cells = ak_alloc_aligned(AK_CACHE_LINE, bytes);
    memset(series->cells, 0, bytes);
    series->label_count = label_count;
    series->labels = label_count ? ak_zalloc(label_count * sizeof *series->labels) : NULL;
    series->text = ak_alloc(text + 1);
    char *at = series->text;
    for (size_t i = 0; i < label_count; i++) {
        if (labels[i].len) {
            memcpy(at, labels[i].p, labels[i].len);
        }
        series->labels[i] = (struct ak_str){at, labels[i].len};
        at += labels[i].len;
    }
    return series;
}

static void series_free(struct ak_series *series)
{
    ak_free(series->cells);
    ak_free(series->labels);
    ak_free(series->text);
    ak_free(series);
}

static size_t label_names(const char *labels)
{
    size_t count = labels[0] != '\0';
    for (; *labels; labels++) {
        count += *labels == ',';
    }
    return count;
}

static void family_append(struct ak_metrics_family_state *family, struct ak_series *series)
{
    _Atomic(struct ak_series *) *link = family->tail ? &family->tail->next : &family->first;
    atomic_store_explicit(link, series, memory_order_release); /* pairs with the walk in render */
    family->tail = series;
    family->count++;
}

struct ak_metrics *ak_metrics_open(void)
{
    struct ak_metrics *metrics = ak_zalloc(sizeof *metrics);
    ak_mutex_init(&metrics->mutex, AK_RANK_METRICS, "metrics");
    for (size_t i = 0; i < AK_METRICS_FAMILY_COUNT; i++) {
        struct ak_metrics_family_state *family = &metrics->families[i];
        family->label_count = label_names(rows[i].labels);
        if (family->label_count == 0) { /* the only series: shows 0 from the start */
            family_append(family, series_new(&rows[i], 0, NULL, 0));
        } else {
            family->table = ak_zalloc(TABLE_SIZE * sizeof(struct ak_series *));
        }
    }
    return metrics;
}

void ak_metrics_close(struct ak_metrics *metrics)
{
    if (!metrics) {
        return;
    }
    for (size_t i = 0; i < AK_METRICS_FAMILY_COUNT; i++) {
        struct ak_series *series = atomic_load(&metrics->families[i].first);
        while (series) {
            struct ak_series *next = atomic_load(&series->next);
            series_free(series);
            series = next;
        }
        ak_free(metrics->families[i].table);
    }
    ak_mutex_release(&metrics->mutex);
    ak_free(metrics);
}

static uint64_t hash_labels(const struct ak_str *labels, size_t count)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < count; i++) {
        hash = ak_mix64(hash + ak_hash64_str(labels[i]) + labels[i].len);
    }
    return hash;
}

static struct ak_series *find_in(struct ak_series *const *table, uint64_t hash,
                                 const struct ak_str *labels, size_t count)
{
    for (struct ak_series *at = table[hash % TABLE_SIZE]; at; at = at->chain) {
        bool same = at->hash == hash;
        for (size_t i = 0; same && i < count; i++) {
            same = ak_str_eq(at->labels[i], labels[i]);
        }
        if (same) {
            return at;
        }
    }
    return NULL;
}

/* Find or add; past the ceiling the one series whose label values are all "other". Mutex held. */
static struct ak_series *find_or_add(struct ak_metrics_family_state *family,
                                     const struct ak_metrics_row *row, const struct ak_str *labels)
{
    const size_t label_count = family->label_count;
    uint64_t hash = hash_labels(labels, label_count);
    struct ak_series *series = find_in(family->table, hash, labels, label_count);
    if (series || family->other) {
        return series ? series : family->other;
    }
    struct ak_str other[AK_METRICS_LABELS_MAX];
    bool is_last = family->count + 1 >= AK_METRICS_SERIES_MAX;
    if (is_last) {
        for (size_t i = 0; i < label_count; i++) {
            other[i] = AK_STR("other");
        }
        labels = other;
        hash = hash_labels(labels, label_count);
        family->other = find_in(family->table, hash, labels, label_count);
        if (family->other) {
            return family->other;
        }
    }
    series = series_new(row, hash, labels, label_count);
    series->chain = family->table[hash % TABLE_SIZE];
    family->table[hash % TABLE_SIZE] = series;
    family_append(family, series);
    if (is_last) {
        family->other = series;
    }
    return series;
}

struct ak_series *ak_metrics_series(struct ak_metrics *metrics, enum ak_metrics_family family,
                                    const struct ak_str *labels, size_t label_count)
{
    if (!metrics) {
        return &swallow;
    }
    const struct ak_metrics_row *row = ak_metrics_row(family);
    struct ak_metrics_family_state *state = &metrics->families[family];
    AK_ASSERT(label_count == state->label_count && label_count <= AK_METRICS_LABELS_MAX);
    if (label_count == 0) {
        return atomic_load_explicit(&state->first, memory_order_acquire);
    }
    ak_mutex_lock(&metrics->mutex);
    struct ak_series *series = find_or_add(state, row, labels);
    ak_mutex_unlock(&metrics->mutex);
    return series;
}

void ak_series_add(struct ak_series *series, uint64_t n)
{
    if (series->kind != AK_METRICS_SWALLOW) {
        AK_ASSERT(series->kind == AK_METRICS_COUNTER);
        atomic_fetch_add_explicit(my_cells(series), n, memory_order_relaxed);
    }
}

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static double double_of(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void ak_series_set(struct ak_series *series, double value)
{
    if (series->kind != AK_METRICS_SWALLOW) {
        AK_ASSERT(series->kind == AK_METRICS_GAUGE);
        atomic_store_explicit(series->cells, bits_of(value), memory_order_relaxed);
    }
}

void ak_series_change(struct ak_series *series, double by)
{
    if (series->kind == AK_METRICS_SWALLOW) {
        return;
    }
    AK_ASSERT(series->kind == AK_METRICS_GAUGE);
    uint64_t was = atomic_load_explicit(series->cells, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(series->cells, &was, bits_of(double_of(was) + by),
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

void ak_series_observe(struct ak_series *series, double seconds)
{
    if (series->kind == AK_METRICS_SWALLOW || isnan(seconds)) {
        return;
    }
    AK_ASSERT(series->kind == AK_METRICS_HISTOGRAM);
    double ns_exact = seconds <= 0 ? 0 : seconds >= 1e9 ? 1e18 : seconds * 1e9;
    uint64_t ns = (uint64_t)(ns_exact + 0.5);
    size_t bucket = 0;
    while (bucket < AK_METRICS_BOUNDS && ns > series->bounds[bucket]) {
        bucket++;
    }
    _Atomic uint64_t *cells = my_cells(series);
    atomic_fetch_add_explicit(&cells[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&cells[AK_METRICS_SUM_CELL], ns, memory_order_relaxed);
}

double ak_series_value(const struct ak_series *series)
{
    uint64_t count = 0;
    switch (series->kind) {
    case AK_METRICS_COUNTER:
        return (double)ak_series_cell_sum(series, 0);
    case AK_METRICS_GAUGE:
        return double_of(atomic_load_explicit(series->cells, memory_order_relaxed));
    case AK_METRICS_HISTOGRAM:
        for (size_t bucket = 0; bucket <= AK_METRICS_BOUNDS; bucket++) {
            count += ak_series_cell_sum(series, bucket);
        }
        return (double)count;
    case AK_METRICS_SWALLOW:
        break;
    }
    return 0;
}

void ak_metrics_on_render(struct ak_metrics *metrics, void (*fn)(void *ctx), void *ctx)
{
    if (!metrics) {
        return;
    }
    ak_mutex_lock(&metrics->mutex);
    AK_ASSERT(metrics->hook_count < AK_METRICS_HOOKS_MAX);
    metrics->hooks[metrics->hook_count++] = (struct ak_metrics_hook){fn, ctx};
    ak_mutex_unlock(&metrics->mutex);
}
