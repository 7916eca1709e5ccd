/* bounds_write.c — least and greatest values, by the order that the format gives each type.
 *
 * Strings compare as unsigned bytes and are cut after AK_PARQUET_BOUND_MAX: a cut minimum is still
 * a lower bound; a cut maximum is raised in its last byte. NaN takes no part, a minimum of zero is
 * written as −0 and a maximum as +0. Fixed bytes (UUID, decimals) get none: their orders differ.
 */
#include "parquet/values_write.h"
#include "parquet/writer_priv.h"
#include <math.h>
#include <string.h>

/* --- Fixed widths --- */

#define LOOK(name, type)                                                                           \
    static bool look_##name(const type *v, size_t n, type *min, type *max)                         \
    {                                                                                              \
        *min = *max = v[0];                                                                        \
        for (size_t i = 1; i < n; i++) {                                                           \
            *min = v[i] < *min ? v[i] : *min;                                                      \
            *max = v[i] > *max ? v[i] : *max;                                                      \
        }                                                                                          \
        return n > 0;                                                                              \
    }
LOOK(u8, uint8_t)
LOOK(i32, int32_t)
LOOK(u32, uint32_t)
LOOK(i64, int64_t)
LOOK(u64, uint64_t)

/* false: nothing but NaN. */
#define LOOK_REAL(name, type)                                                                      \
    static bool look_##name(const type *v, size_t n, type *min, type *max)                         \
    {                                                                                              \
        bool found = false;                                                                        \
        for (size_t i = 0; i < n; i++) {                                                           \
            if (isnan(v[i])) {                                                                     \
                continue;                                                                          \
            }                                                                                      \
            *min = !found || v[i] < *min ? v[i] : *min;                                            \
            *max = !found || v[i] > *max ? v[i] : *max;                                            \
            found = true;                                                                          \
        }                                                                                          \
        if (found && !(*min < 0) && !(*min > 0)) {                                                 \
            *min = (type)-0.0;                                                                     \
        }                                                                                          \
        if (found && !(*max < 0) && !(*max > 0)) {                                                 \
            *max = (type)0.0;                                                                      \
        }                                                                                          \
        return found;                                                                              \
    }
LOOK_REAL(f32, float)
LOOK_REAL(f64, double)

static void set_bound(struct ak_parquet_bound *bound, const void *p, size_t len)
{
    bound->is_exact = true;
    bound->len = (uint8_t)len;
    memcpy(bound->bytes, p, len);
}

static bool is_unsigned(const struct ak_parquet_column *column)
{
    return column->meaning.annotation == AK_PARQUET_INTEGER && !column->meaning.is_signed;
}

union number {
    uint8_t u8;
    int32_t i32;
    uint32_t u32;
    int64_t i64;
    uint64_t u64;
    float f32;
    double f64;
};

static bool look_numbers(const struct ak_parquet_column *column, const void *values, size_t count,
                         union number *min, union number *max)
{
    switch (column->type) {
    case AK_PARQUET_BOOLEAN:
        return look_u8(values, count, &min->u8, &max->u8);
    case AK_PARQUET_INT32:
        return is_unsigned(column) ? look_u32(values, count, &min->u32, &max->u32)
                                   : look_i32(values, count, &min->i32, &max->i32);
    case AK_PARQUET_INT64:
        return is_unsigned(column) ? look_u64(values, count, &min->u64, &max->u64)
                                   : look_i64(values, count, &min->i64, &max->i64);
    case AK_PARQUET_FLOAT:
        return look_f32(values, count, &min->f32, &max->f32);
    case AK_PARQUET_DOUBLE:
        return look_f64(values, count, &min->f64, &max->f64);
    case AK_PARQUET_INT96:
    case AK_PARQUET_BYTE_ARRAY:
    case AK_PARQUET_FIXED:
        break;
    }
    return false;
}

/* --- Bytes --- */

static void set_min(struct ak_parquet_bound *bound, struct ak_str value)
{
    set_bound(bound, value.p, value.len < AK_PARQUET_BOUND_MAX ? value.len : AK_PARQUET_BOUND_MAX);
    bound->is_exact = value.len <= AK_PARQUET_BOUND_MAX;
}

/* false: every byte kept is 0xff, so there is no bound of that length. */
static bool set_max(struct ak_parquet_bound *bound, struct ak_str value)
{
    set_min(bound, value);
    if (bound->is_exact) {
        return true;
    }
    while (bound->len > 0 && (unsigned char)bound->bytes[bound->len - 1] == 0xff) {
        bound->len--;
    }
    if (bound->len == 0) {
        return false;
    }
    bound->bytes[bound->len - 1]++;
    return true;
}

static void look_bytes(const struct ak_str *values, size_t count, struct ak_parquet_bounds *bounds)
{
    const struct ak_str *min = values;
    const struct ak_str *max = values;
    for (size_t i = 1; i < count; i++) {
        min = ak_str_cmp(values[i], *min) < 0 ? &values[i] : min;
        max = ak_str_cmp(values[i], *max) > 0 ? &values[i] : max;
    }
    set_min(&bounds->min, *min);
    bounds->is_set = set_max(&bounds->max, *max);
}

void ak_bounds_look(const struct ak_parquet_column *column, const void *values, size_t count,
                    struct ak_parquet_bounds *bounds)
{
    union number min = {0};
    union number max = {0};
    bounds->is_set = false;
    if (count == 0 || column->is_list || column->type == AK_PARQUET_FIXED) {
        return;
    }
    if (column->type == AK_PARQUET_BYTE_ARRAY) {
        look_bytes(values, count, bounds);
    } else if (look_numbers(column, values, count, &min, &max)) {
        set_bound(&bounds->min, &min, ak_parquet_width(column->type));
        set_bound(&bounds->max, &max, ak_parquet_width(column->type));
        bounds->is_set = true;
    }
}

/* --- Merging --- */

static struct ak_str bound_str(const struct ak_parquet_bound *bound)
{
    return (struct ak_str){bound->bytes, bound->len};
}

void ak_bounds_merge(const struct ak_parquet_column *column, const struct ak_parquet_bounds *page,
                     struct ak_parquet_bounds *chunk)
{
    if (!page->is_set) {
        return;
    }
    if (!chunk->is_set) {
        *chunk = *page;
        return;
    }
    if (column->type == AK_PARQUET_BYTE_ARRAY) {
        if (ak_str_cmp(bound_str(&page->min), bound_str(&chunk->min)) < 0) {
            chunk->min = page->min;
        }
        if (ak_str_cmp(bound_str(&page->max), bound_str(&chunk->max)) > 0) {
            chunk->max = page->max;
        }
        return;
    }
    size_t width = ak_parquet_width(column->type);
    union {
        char bytes[4 * 8];
        uint64_t align;
    } all;
    memcpy(all.bytes, chunk->min.bytes, width);
    memcpy(all.bytes + width, chunk->max.bytes, width);
    memcpy(all.bytes + 2 * width, page->min.bytes, width);
    memcpy(all.bytes + 3 * width, page->max.bytes, width);
    ak_bounds_look(column, all.bytes, 4, chunk);
}
