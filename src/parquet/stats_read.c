/* stats_read.c — statistics, and which of them can be believed.
 *
 * min_value and max_value mean something only with a known column order; the older min and max were
 * compared as signed bytes by some writers and are believed for numbers alone. NaN as a bound, a
 * bound of the wrong width and min > max are writers' mistakes: the bounds are then unknown, which
 * is always right. A bound of zero may stand for either zero (README of the format, "floating
 * point").
 */
#include "parquet/read_priv.h"
#include <math.h>
#include <string.h>

enum { OLD_MAX = 1, OLD_MIN, NULL_COUNT, DISTINCT, MAX, MIN, MAX_EXACT, MIN_EXACT };

void ak_parquet_stats_read(struct ak_parquet_thrift *in, struct ak_parquet_raw_stats *raw)
{
    struct ak_parquet_scope scope;
    *raw = (struct ak_parquet_raw_stats){.seen = 0};
    ak_parquet_thrift_begin(in, &scope, "Statistics");
    while (ak_parquet_thrift_field(in, &scope)) {
        switch (scope.field) {
        case OLD_MAX:
            raw->old_max = ak_parquet_thrift_bytes(in, &scope);
            break;
        case OLD_MIN:
            raw->old_min = ak_parquet_thrift_bytes(in, &scope);
            break;
        case NULL_COUNT:
            raw->null_count = ak_parquet_thrift_i64(in, &scope);
            break;
        case MAX:
            raw->max = ak_parquet_thrift_bytes(in, &scope);
            break;
        case MIN:
            raw->min = ak_parquet_thrift_bytes(in, &scope);
            break;
        case MAX_EXACT:
            raw->max_exact = ak_parquet_thrift_bool(in, &scope);
            break;
        case MIN_EXACT:
            raw->min_exact = ak_parquet_thrift_bool(in, &scope);
            break;
        default:
            ak_parquet_thrift_skip(in, &scope);
        }
    }
    raw->seen = scope.seen;
}

static double as_double(enum ak_parquet_type type, struct ak_str s)
{
    float f;
    double d;
    if (type == AK_PARQUET_FLOAT) {
        memcpy(&f, s.p, sizeof f);
        return (double)f;
    }
    memcpy(&d, s.p, sizeof d);
    return d;
}

static int64_t as_int(enum ak_parquet_type type, struct ak_str s)
{
    int64_t wide = 0;
    int32_t narrow;
    if (type == AK_PARQUET_INT32) {
        memcpy(&narrow, s.p, sizeof narrow);
        return narrow;
    }
    memcpy(&wide, s.p, sizeof wide);
    return wide;
}

static bool copy(struct ak_arena *arena, struct ak_str *s)
{
    *s = ak_arena_str(arena, *s);
    return s->p != NULL;
}

static bool judge_floats(const struct ak_parquet_leaf *leaf, struct ak_str *min, struct ak_str *max)
{
    size_t width = leaf->type == AK_PARQUET_FLOAT ? 4 : 8;
    static const char negative_zero[2][8] = {{0, 0, 0, (char)0x80},
                                             {0, 0, 0, 0, 0, 0, 0, (char)0x80}};
    static const char zero[8] = {0};
    if (min->len != width || max->len != width) {
        return false;
    }
    double low = as_double(leaf->type, *min);
    double high = as_double(leaf->type, *max);
    if (isnan(low) || isnan(high) || low > high) {
        return false;
    }
    if (low == 0.0) {
        min->p = negative_zero[width == 8];
    }
    if (high == 0.0) {
        max->p = zero;
    }
    return true;
}

static bool judge_ints(const struct ak_parquet_leaf *leaf, struct ak_str min, struct ak_str max)
{
    size_t width = leaf->type == AK_PARQUET_INT32 ? 4 : 8;
    if (min.len != width || max.len != width) {
        return false;
    }
    int64_t low = as_int(leaf->type, min);
    int64_t high = as_int(leaf->type, max);
    if (leaf->meaning.annotation == AK_PARQUET_INTEGER && !leaf->meaning.is_signed) {
        return (uint64_t)low <= (uint64_t)high;
    }
    return low <= high;
}

static unsigned half_magnitude(struct ak_str s)
{
    return ((unsigned)(uint8_t)s.p[1] << 8 | (uint8_t)s.p[0]) & 0x7fff;
}

static bool judge_bytes(const struct ak_parquet_leaf *leaf, struct ak_str min, struct ak_str max)
{
    if (leaf->type == AK_PARQUET_FIXED && leaf->meaning.annotation == AK_PARQUET_FLOAT16) {
        return min.len == 2 && max.len == 2 && half_magnitude(min) <= 0x7c00 &&
               half_magnitude(max) <= 0x7c00;
    }
    if (leaf->meaning.annotation == AK_PARQUET_DECIMAL) { /* two's complement, any width */
        return min.len > 0 && max.len > 0;
    }
    if (leaf->meaning.annotation == AK_PARQUET_INTERVAL) { /* has no order */
        return false;
    }
    return ak_str_cmp(min, max) <= 0;
}

bool ak_parquet_bounds_judge(const struct ak_parquet_leaf *leaf, struct ak_str *min,
                             struct ak_str *max, struct ak_arena *arena)
{
    bool is_sound = false;
    switch (leaf->type) {
    case AK_PARQUET_BOOLEAN:
        is_sound = min->len == 1 && max->len == 1 && (uint8_t)*min->p <= (uint8_t)*max->p;
        break;
    case AK_PARQUET_INT32:
    case AK_PARQUET_INT64:
        is_sound = judge_ints(leaf, *min, *max);
        break;
    case AK_PARQUET_FLOAT:
    case AK_PARQUET_DOUBLE:
        is_sound = judge_floats(leaf, min, max);
        break;
    case AK_PARQUET_BYTE_ARRAY:
    case AK_PARQUET_FIXED:
        is_sound = judge_bytes(leaf, *min, *max);
        break;
    case AK_PARQUET_INT96: /* its order is not defined */
        break;
    }
    return is_sound && copy(arena, min) && copy(arena, max);
}

bool ak_parquet_stats_judge(const struct ak_parquet_leaf *leaf,
                            const struct ak_parquet_raw_stats *raw, bool has_order,
                            struct ak_arena *arena, struct ak_parquet_statistics *stats)
{
    const uint64_t both = (uint64_t)1 << MAX | (uint64_t)1 << MIN;
    const uint64_t both_old = (uint64_t)1 << OLD_MAX | (uint64_t)1 << OLD_MIN;
    bool is_number = leaf->type != AK_PARQUET_BYTE_ARRAY && leaf->type != AK_PARQUET_FIXED &&
                     leaf->type != AK_PARQUET_INT96 &&
                     !(leaf->meaning.annotation == AK_PARQUET_INTEGER && !leaf->meaning.is_signed);
    *stats = (struct ak_parquet_statistics){.has_nulls = raw->seen >> NULL_COUNT & 1 &&
                                                         raw->null_count >= 0};
    stats->null_count = stats->has_nulls ? (uint64_t)raw->null_count : 0;
    if (has_order && (raw->seen & both) == both) {
        stats->min = raw->min;
        stats->max = raw->max;
        /* Absent means unknown; a writer that truncates says so. Numbers are never truncated. */
        stats->min_is_exact = raw->seen >> MIN_EXACT & 1 ? raw->min_exact : is_number;
        stats->max_is_exact = raw->seen >> MAX_EXACT & 1 ? raw->max_exact : is_number;
    } else if (is_number && (raw->seen & both_old) == both_old) {
        stats->min = raw->old_min;
        stats->max = raw->old_max;
        stats->min_is_exact = stats->max_is_exact = true;
    } else {
        return true;
    }
    stats->has_bounds = ak_parquet_bounds_judge(leaf, &stats->min, &stats->max, arena);
    if (!stats->has_bounds) {
        bool no_memory =
            (stats->min.p == NULL && raw->min.p) || (stats->max.p == NULL && raw->max.p);
        stats->min = stats->max = AK_STR_NONE;
        stats->min_is_exact = stats->max_is_exact = false;
        return !no_memory;
    }
    return true;
}
