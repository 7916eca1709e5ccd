/* metrics_priv.h — what the registry and the text writer share. */
#pragma once
#include "base/sync.h"
#include "metrics/metrics.h"
#include <stdatomic.h>

#define AK_METRICS_LABELS_MAX 8
#define AK_METRICS_HOOKS_MAX 16
#define AK_METRICS_BOUNDS 19 /* upper bounds of a histogram, +Inf not counted */
#define AK_METRICS_SUM_CELL (AK_METRICS_BOUNDS + 1)

enum ak_metrics_kind {
    AK_METRICS_COUNTER,
    AK_METRICS_GAUGE,
    AK_METRICS_HISTOGRAM,
    AK_METRICS_SWALLOW
};

/* One line of metrics.def. */
struct ak_metrics_row {
    const char *name;
    const char *help;
    const char *labels; /* names, separated by commas */
    enum ak_metrics_kind kind;
    const uint64_t *bounds; /* histogram: upper bounds in ns, rising */
};

struct ak_series {
    enum ak_metrics_kind kind;
    const uint64_t *bounds;
    _Atomic uint64_t
        *cells; /* shards of: one counter; or buckets, +Inf, sum of ns. A gauge: bits */
    uint64_t hash;
    struct ak_series *chain;          /* same slot of the family's table */
    _Atomic(struct ak_series *) next; /* the family's series, oldest first */
    struct ak_str *labels;            /* values, into `text` */
    size_t label_count;
    char *text;
};

struct ak_metrics_family_state {
    _Atomic(struct ak_series *) first;
    struct ak_series *tail;
    struct ak_series **table; /* NULL when the family has no labels */
    struct ak_series *other;  /* where label sets past the ceiling fall */
    size_t count;
    size_t label_count;
};

struct ak_metrics_hook {
    void (*fn)(void *ctx);
    void *ctx;
};

struct ak_metrics {
    struct ak_mutex mutex;
    struct ak_metrics_family_state families[AK_METRICS_FAMILY_COUNT];
    struct ak_metrics_hook hooks[AK_METRICS_HOOKS_MAX];
    size_t hook_count;
};

const struct ak_metrics_row *ak_metrics_row(enum ak_metrics_family family);
/* One cell, added up over the shards. */
uint64_t ak_series_cell_sum(const struct ak_series *series, size_t cell);
