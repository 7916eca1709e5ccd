/* bounds_write.c — least and greatest values, by the order that the format gives each type.
 *
 * Strings compare as unsigned bytes and are cut after AK_PARQUET_BOUND_MAX: a cut minimum is still
 * a lower bound; a cut maximum is raised in its last byte. Text stays text: it is cut and raised by
 * whole characters, since some readers check. NaN takes no part, a minimum of zero is
 * written as −0 and a maximum as +0. Fixed bytes and
 * decimals in bytes get none: their orders differ.
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

static bool is_text(const struct ak_parquet_column *column)
{
    enum ak_parquet_annotation annotation = column->meaning.annotation;
    return annotation == AK_PARQUET_STRING || annotation == AK_PARQUET_ENUM ||
           annotation == AK_PARQUET_JSON;
}

static bool continues(char c) /* a byte within a character of UTF-8 */
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

static void set_min(struct ak_parquet_bound *bound, struct ak_str value, bool text)
{
    size_t len = value.len < AK_PARQUET_BOUND_MAX ? value.len : AK_PARQUET_BOUND_MAX;
    while (text && len < value.len && len > 0 && continues(value.p[len])) {
        len--;
    }
    set_bound(bound, value.p, len);
    bound->is_exact = len == value.len;
}

/* false: no byte kept can be raised, so there is no bound of that length. */
static bool set_max(struct ak_parquet_bound *bound, struct ak_str value, bool text)
{
    set_min(bound, value, text);
    if (bound->is_exact) {
        return true;
    }
    for (; bound->len > 0; bound->len--) {
        unsigned char last = (unsigned char)bound->bytes[bound->len - 1];
        /* The last of ASCII, the last within a character, and what begins one that was dropped. */
        bool is_last = text ? last == 0x7f || last == 0xbf || last >= 0xc0 : last == 0xff;
        if (!is_last) {
            bound->bytes[bound->len - 1]++;
            return true;
        }
        while (text && bound->len > 1 && continues(bound->bytes[bound->len - 1])) {
            bound->len--; /* the character's other bytes; the loop takes its first */
        }
    }
    return false;
}

static bool is_same_place(const struct ak_str *a, const struct ak_str *b)
{
    return a->p == b->p && a->len == b->len;
}

static void look_bytes(const struct ak_str *values, size_t count, bool text,
                       struct ak_parquet_bounds *bounds)
{
    const struct ak_str *min = values;
    const struct ak_str *max = values;
    for (size_t i = 1; i < count; i++) {
        if (is_same_place(&values[i], min) || is_same_place(&values[i], max)) {
            continue; /* columns of few texts give the same ones again and again */
        }
        min = ak_str_cmp(values[i], *min) < 0 ? &values[i] : min;
        max = ak_str_cmp(values[i], *max) > 0 ? &values[i] : max;
    }
    set_min(&bounds->min, *min, text);
    bounds->is_set = set_max(&bounds->max, *max, text);
}

void ak_bounds_look(const struct ak_parquet_column *column, const void *values, size_t count,
                    struct ak_parquet_bounds *bounds)
{
    union number min = {0};
    union number max = {0};
    bounds->is_set = false;
    if (count == 0 || column->is_list || column->type == AK_PARQUET_FIXED ||
        (column->type == AK_PARQUET_BYTE_ARRAY &&
         column->meaning.annotation == AK_PARQUET_DECIMAL)) {
        return;
    }
    if (column->type == AK_PARQUET_BYTE_ARRAY) {
        look_bytes(values, count, is_text(column), bounds);
    } else if (look_numbers(column, values, count, &min, &max)) {
        set_bound(&bounds->min, &min, ak_parquet_width(column->type));
        set_bound(&bounds->max, &max, ak_parquet_width(column->type));
        bounds->is_set = true;
    }
}

/* --- Merging --- */

#define COMPARE(name, type)                                                                        \
    static int compare_##name(const char *a, const char *b)                                        \
    {                                                                                              \
        type x;                                                                                    \
        type y;                                                                                    \
        memcpy(&x, a, sizeof x);                                                                   \
        memcpy(&y, b, sizeof y);                                                                   \
        return (x > y) - (x < y);                                                                  \
    }
COMPARE(u8, uint8_t)
COMPARE(i32, int32_t)
COMPARE(u32, uint32_t)
COMPARE(i64, int64_t)
COMPARE(u64, uint64_t)
COMPARE(f32, float)
COMPARE(f64, double)

int ak_bound_cmp(const struct ak_parquet_column *column, const struct ak_parquet_bound *a,
                 const struct ak_parquet_bound *b)
{
    switch (column->type) {
    case AK_PARQUET_BOOLEAN:
        return compare_u8(a->bytes, b->bytes);
    case AK_PARQUET_INT32:
        return (is_unsigned(column) ? compare_u32 : compare_i32)(a->bytes, b->bytes);
    case AK_PARQUET_INT64:
        return (is_unsigned(column) ? compare_u64 : compare_i64)(a->bytes, b->bytes);
    case AK_PARQUET_FLOAT:
        return compare_f32(a->bytes, b->bytes);
    case AK_PARQUET_DOUBLE:
        return compare_f64(a->bytes, b->bytes);
    case AK_PARQUET_INT96:
    case AK_PARQUET_BYTE_ARRAY:
    case AK_PARQUET_FIXED:
        break;
    }
    return ak_str_cmp(ak_parquet_bound_str(a), ak_parquet_bound_str(b));
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
    if (ak_bound_cmp(column, &page->min, &chunk->min) < 0) {
        chunk->min = page->min;
    }
    if (ak_bound_cmp(column, &page->max, &chunk->max) > 0) {
        chunk->max = page->max;
    }
}
