/* parquet_value.c — values of a Parquet file as JSON. */
#include "cli/parquet_value.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/uuid.h"
#include "simd/simd.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

#define DAY_US INT64_C(86400000000)
#define YEAR_1_US INT64_C(-62135596800000000)    /* 0001-01-01T00:00:00Z */
#define YEAR_9999_US INT64_C(253402300799999999) /* 9999-12-31T23:59:59.999999Z */
#define JULIAN_EPOCH INT64_C(2440588)            /* the Julian day of 1970-01-01 */
__extension__ typedef unsigned __int128 u128;    /* 38 decimal digits */
#define DECIMAL_BYTES_MAX 16u                    /* 38 digits */

static const char *unit_name(enum ak_parquet_unit unit)
{
    return unit == AK_PARQUET_MILLIS ? "MILLIS" : unit == AK_PARQUET_MICROS ? "MICROS" : "NANOS";
}

void ak_parquet_put_meaning(struct ak_buf *out, const struct ak_parquet_meaning *meaning)
{
    ak_buf_add_str(out, ak_str_of(ak_parquet_annotation_name(meaning->annotation)));
    if (meaning->annotation == AK_PARQUET_DECIMAL) {
        ak_buf_add_fmt(out, "(%d, %d)", meaning->precision, meaning->scale);
    } else if (meaning->annotation == AK_PARQUET_INTEGER) {
        ak_buf_add_fmt(out, "(%d, %s)", meaning->bits, meaning->is_signed ? "signed" : "unsigned");
    } else if (meaning->annotation == AK_PARQUET_TIME ||
               meaning->annotation == AK_PARQUET_TIMESTAMP) {
        ak_buf_add_fmt(out, "(%s%s)", unit_name(meaning->unit), meaning->is_utc ? ", UTC" : "");
    }
}

static void put_double(struct ak_buf *out, double value)
{
    if (isfinite(value)) {
        ak_json_put_double(out, value);
    } else {
        ak_buf_add_fmt(out, "\"%s\"",
                       isnan(value)  ? "NaN"
                       : value < 0.0 ? "-Infinity"
                                     : "Infinity");
    }
}

static void put_float(struct ak_buf *out, float value)
{
    if (isfinite(value)) {
        ak_json_put_f32(out, value);
    } else {
        put_double(out, (double)value);
    }
}

/* Without "Z" when the time is nobody's in particular. The raw number when it is no date. */
static void put_timestamp(struct ak_buf *out, int64_t us, bool is_utc, int64_t raw)
{
    char text[AK_TIME_TEXT_MAX];
    if (us < YEAR_1_US || us > YEAR_9999_US) {
        ak_json_put_i64(out, raw);
        return;
    }
    (void)ak_time_format(us, text);
    ak_buf_add_fmt(out, "\"%.*s\"", (int)(strlen(text) - !is_utc), text);
}

static void put_date(struct ak_buf *out, int32_t days)
{
    char text[AK_TIME_TEXT_MAX];
    if (days < YEAR_1_US / DAY_US || days > YEAR_9999_US / DAY_US) {
        ak_json_put_i64(out, days);
        return;
    }
    ak_buf_add_fmt(out, "\"%.10s\"", ak_time_format(days * DAY_US, text));
}

/* False: it has no µs that fit. Nanoseconds are cut. */
static bool to_us(int64_t value, enum ak_parquet_unit unit, int64_t *us)
{
    if (unit == AK_PARQUET_MILLIS) {
        return !__builtin_mul_overflow(value, 1000, us);
    }
    *us = unit == AK_PARQUET_NANOS ? value / 1000 - (value % 1000 < 0) : value;
    return true;
}

static void put_time(struct ak_buf *out, int64_t value, enum ak_parquet_unit unit)
{
    int64_t us = 0;
    char text[AK_TIME_TEXT_MAX];
    if (!to_us(value, unit, &us) || us < 0 || us >= DAY_US) {
        ak_json_put_i64(out, value);
        return;
    }
    ak_buf_add_fmt(out, "\"%.15s\"", ak_time_format(us, text) + 11);
}

/* A decimal as text: `magnitude` with `scale` digits behind the point. */
static void put_digits(struct ak_buf *out, u128 magnitude, bool is_negative, int scale)
{
    char digits[48];
    size_t n = 0;
    while (n < 40 && (magnitude > 0 || n <= (size_t)scale)) {
        digits[n++] = (char)('0' + (int)(magnitude % 10));
        magnitude /= 10;
    }
    ak_buf_add_str(out, is_negative ? AK_STR("\"-") : AK_STR("\""));
    while (n > 0) {
        n--;
        ak_buf_add_char(out, digits[n]);
        if (n == (size_t)scale && scale > 0) {
            ak_buf_add_char(out, '.');
        }
    }
    ak_buf_add_char(out, '"');
}

static void put_hex(struct ak_buf *out, struct ak_str s)
{
    ak_buf_add_str(out, AK_STR("\"0x"));
    for (size_t i = 0; i < s.len; i++) {
        ak_buf_add_fmt(out, "%02x", (unsigned)(uint8_t)s.p[i]);
    }
    ak_buf_add_char(out, '"');
}

static void put_decimal_bytes(struct ak_buf *out, struct ak_str s, int scale)
{
    u128 value = 0;
    if (s.len == 0 || s.len > DECIMAL_BYTES_MAX || scale > 38) {
        put_hex(out, s);
        return;
    }
    bool is_negative = ((uint8_t)s.p[0] & 0x80) != 0;
    value = is_negative ? ~value : value;
    for (size_t i = 0; i < s.len; i++) {
        value = value << 8 | (uint8_t)s.p[i];
    }
    put_digits(out, is_negative ? -value : value, is_negative, scale);
}

static void put_int(struct ak_buf *out, const struct ak_parquet_leaf *leaf, int64_t value)
{
    const struct ak_parquet_meaning *m = &leaf->meaning;
    int64_t us = 0;
    if (m->annotation == AK_PARQUET_TIMESTAMP && to_us(value, m->unit, &us)) {
        put_timestamp(out, us, m->is_utc, value);
    } else if (m->annotation == AK_PARQUET_TIME) {
        put_time(out, value, m->unit);
    } else if (m->annotation == AK_PARQUET_DATE) {
        put_date(out, (int32_t)value);
    } else if (m->annotation == AK_PARQUET_DECIMAL && m->scale <= 38) {
        put_digits(out, value < 0 ? 0 - (u128)value : (u128)value, value < 0, m->scale);
    } else if (m->annotation == AK_PARQUET_INTEGER && !m->is_signed) {
        ak_json_put_u64(out, m->bits == 64 ? (uint64_t)value : (uint32_t)value);
    } else {
        ak_json_put_i64(out, value);
    }
}

static void put_int96(struct ak_buf *out, struct ak_str s)
{
    int64_t nanos;
    int32_t day;
    memcpy(&nanos, s.p, 8);
    memcpy(&day, s.p + 8, 4);
    int64_t days = day - JULIAN_EPOCH;
    if (nanos < 0 || nanos >= DAY_US * 1000 || days < YEAR_1_US / DAY_US ||
        days > YEAR_9999_US / DAY_US) {
        put_hex(out, s);
        return;
    }
    put_timestamp(out, days * DAY_US + nanos / 1000, true, 0);
}

static bool is_json(struct ak_str s)
{
    struct ak_json in;
    struct ak_err err;
    ak_json_init(&in, s);
    (void)ak_json_skip(&in, NULL);
    enum ak_rc rc = ak_json_finish(&in, &err);
    ak_json_release(&in);
    return rc == AK_OK;
}

static void put_bytes(struct ak_buf *out, const struct ak_parquet_leaf *leaf, struct ak_str s)
{
    struct ak_uuid uuid;
    char text[AK_UUID_TEXT_LEN];
    uint16_t half;
    float value;
    switch ((unsigned)leaf->meaning.annotation) {
    case AK_PARQUET_UUID:
        memcpy(&uuid, s.p, sizeof uuid);
        ak_uuid_format(&uuid, text);
        ak_buf_add_fmt(out, "\"%.*s\"", AK_UUID_TEXT_LEN, text);
        return;
    case AK_PARQUET_FLOAT16:
        memcpy(&half, s.p, sizeof half);
        ak_simd_get()->f16_to_f32(&half, &value, 1);
        put_float(out, value);
        return;
    case AK_PARQUET_DECIMAL:
        put_decimal_bytes(out, s, leaf->meaning.scale);
        return;
    case AK_PARQUET_JSON:
        if (is_json(s)) {
            ak_json_put_compact(out, s);
            return;
        }
        break;
    default:
        break;
    }
    if (leaf->type == AK_PARQUET_BYTE_ARRAY && ak_utf8_is_valid(s)) {
        ak_json_put_string(out, s); /* many writers leave text without annotation */
    } else {
        put_hex(out, s);
    }
}

void ak_parquet_put_value(struct ak_buf *out, const struct ak_parquet_leaf *leaf,
                          const struct ak_parquet_batch *batch, size_t i)
{
    switch (leaf->type) {
    case AK_PARQUET_BOOLEAN:
        ak_buf_add_str(out, batch->bools[i] ? AK_STR("true") : AK_STR("false"));
        break;
    case AK_PARQUET_INT32:
        put_int(out, leaf, batch->i32[i]);
        break;
    case AK_PARQUET_INT64:
        put_int(out, leaf, batch->i64[i]);
        break;
    case AK_PARQUET_FLOAT:
        put_float(out, batch->f32[i]);
        break;
    case AK_PARQUET_DOUBLE:
        put_double(out, batch->f64[i]);
        break;
    case AK_PARQUET_INT96:
        put_int96(out, batch->bytes[i]);
        break;
    case AK_PARQUET_BYTE_ARRAY:
    case AK_PARQUET_FIXED:
        put_bytes(out, leaf, batch->bytes[i]);
        break;
    }
}

void ak_parquet_put_row(struct ak_buf *out, const struct ak_parquet_leaf *leaf,
                        const struct ak_parquet_batch *batch, size_t row)
{
    size_t value = batch->value_at[row];
    size_t begin = batch->slot_at[row];
    unsigned open = 0; /* lists that are open */
    for (size_t slot = begin; slot < batch->slot_at[row + 1]; slot++) {
        unsigned rep = batch->rep ? batch->rep[slot] : 0;
        unsigned def = batch->def ? batch->def[slot] : 0;
        if (slot > begin) { /* close down to the list that goes on */
            for (; open > rep; open--) {
                ak_buf_add_char(out, ']');
            }
            ak_buf_add_char(out, ',');
        }
        while (open < leaf->max_rep && def + 1 >= leaf->list_def[open + 1]) {
            ak_buf_add_char(out, '[');
            open++;
            if (def < leaf->list_def[open]) {
                break; /* an empty list */
            }
        }
        bool is_empty = open > 0 && def < leaf->list_def[open];
        if (def == leaf->max_def) {
            ak_parquet_put_value(out, leaf, batch, value++);
        } else if (!is_empty) {
            ak_buf_add_str(out, AK_STR("null"));
        }
    }
    for (; open > 0; open--) {
        ak_buf_add_char(out, ']');
    }
}
