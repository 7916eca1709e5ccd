/* json_number.c — decimal numbers to float32 and double, correctly rounded; arrays of float32.
 *
 * Digits are taken eight at a time as one 64-bit word (SWAR). A number becomes digits × 10^exp10,
 * with the first 19 significant digits. For float32 it is then multiplied out in double precision:
 * the three roundings (digits, power of ten, product) and the digits left out are together less
 * than 4 units in the last place of the double, so casting gives the right float unless the double
 * lies that near to the middle between two floats. Those, the subnormals and what is out of range
 * go to strtof(), which gets the digits without a point: its answer then knows no locale.
 */
#include "base/json_priv.h"
#include <stdio.h>
#include <stdlib.h>

#define DIGITS_MAX 19 /* any 19 digits fit 64 bits */
#define EXACT_MAX 800 /* the longest middle between two doubles has 768 significant digits */
#define EXPONENT_MAX 99999999999999 /* more cannot be outweighed by digits */
#define POW10_MIN (-64) /* below: 10^19 × 10^-65 is less than half of the smallest float */
#define POW10_MAX 38
#define MIDDLE_MARGIN UINT64_C(8) /* twice the error */

static const double pow10_double[POW10_MAX - POW10_MIN + 1] = {
    1e-64, 1e-63, 1e-62, 1e-61, 1e-60, 1e-59, 1e-58, 1e-57, 1e-56, 1e-55, 1e-54, 1e-53, 1e-52,
    1e-51, 1e-50, 1e-49, 1e-48, 1e-47, 1e-46, 1e-45, 1e-44, 1e-43, 1e-42, 1e-41, 1e-40, 1e-39,
    1e-38, 1e-37, 1e-36, 1e-35, 1e-34, 1e-33, 1e-32, 1e-31, 1e-30, 1e-29, 1e-28, 1e-27, 1e-26,
    1e-25, 1e-24, 1e-23, 1e-22, 1e-21, 1e-20, 1e-19, 1e-18, 1e-17, 1e-16, 1e-15, 1e-14, 1e-13,
    1e-12, 1e-11, 1e-10, 1e-9,  1e-8,  1e-7,  1e-6,  1e-5,  1e-4,  1e-3,  1e-2,  1e-1,  1e0,
    1e1,   1e2,   1e3,   1e4,   1e5,   1e6,   1e7,   1e8,   1e9,   1e10,  1e11,  1e12,  1e13,
    1e14,  1e15,  1e16,  1e17,  1e18,  1e19,  1e20,  1e21,  1e22,  1e23,  1e24,  1e25,  1e26,
    1e27,  1e28,  1e29,  1e30,  1e31,  1e32,  1e33,  1e34,  1e35,  1e36,  1e37,  1e38,
};

static const uint32_t pow10_u32[8] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000};

static inline bool is_digit(char c)
{
    return (unsigned char)(c - '0') <= 9;
}

/* The number that eight digits (0..9, the first in the low byte) stand for. */
static inline uint32_t eight_digits(uint64_t v)
{
    const uint64_t mask = 0x000000FF000000FFu;
    v = v * 10 + (v >> 8);
    v = (v & mask) * (100 + (1000000ull << 32)) + ((v >> 16) & mask) * (1 + (10000ull << 32));
    return (uint32_t)(v >> 32);
}

/* Read digits onto *digits (which wraps past 19 of them); gives where they end. */
static inline const char *scan_digits(const char *p, const char *end, uint64_t *digits)
{
    while ((size_t)(end - p) >= 8) {
        uint64_t word = ak_load8(p) ^ 0x3030303030303030u;
        /* 0..9 stay below 0x80; a carry out of a byte only reaches bytes above a true mark. */
        uint64_t stop = ((word + 0x7676767676767676u) | word) & 0x8080808080808080u;
        if (stop == 0) {
            *digits = *digits * 100000000 + eight_digits(word);
            p += 8;
            continue;
        }
        unsigned n = (unsigned)__builtin_ctzll(stop) / 8;
        if (n) {
            *digits = *digits * pow10_u32[n] + eight_digits(word << (64 - 8 * n));
        }
        return p + n;
    }
    for (; p < end && is_digit(*p); p++) {
        *digits = *digits * 10 + (uint64_t)(*p - '0');
    }
    return p;
}

/* [+-]digits at p into *exponent (held at EXPONENT_MAX); NULL when there is no digit. */
static const char *scan_exponent(const char *p, const char *end, int64_t *exponent)
{
    bool negative = p < end && *p == '-';
    int64_t value = 0;
    if (p < end && (*p == '-' || *p == '+')) {
        p++;
    }
    if (p == end || !is_digit(*p)) {
        return NULL;
    }
    for (; p < end && is_digit(*p); p++) {
        value = value < EXPONENT_MAX / 10 ? value * 10 + (*p - '0') : EXPONENT_MAX;
    }
    *exponent = negative ? -value : value;
    return p;
}

/* More than 19 digits were read: take the first 19 significant ones again. */
static void __attribute__((noinline)) cut_digits(struct ak_decimal *d)
{
    uint64_t digits = 0;
    int taken = 0;
    bool behind_point = false;
    int64_t exp10 = d->exp_given;
    for (const char *p = d->first; p < d->last; p++) {
        if (*p == '.') {
            behind_point = true;
        } else if (taken < DIGITS_MAX) {
            digits = digits * 10 + (uint64_t)(*p - '0');
            taken += digits != 0;
            exp10 -= behind_point;
        } else {
            d->cut |= *p != '0';
            exp10 += !behind_point;
        }
    }
    d->digits = digits;
    d->exp10 = exp10;
}

static inline size_t scan(const char *from, const char *end, struct ak_decimal *d)
{
    const char *p = from;
    uint64_t digits = 0;
    d->negative = p < end && *p == '-';
    p += d->negative;
    d->first = p;
    if (p == end || !is_digit(*p)) {
        return 0;
    }
    if (*p == '0') {
        p++;
        if (p < end && is_digit(*p)) {
            return 0; /* 012 */
        }
    } else {
        p = scan_digits(p, end, &digits);
    }
    ptrdiff_t count = p - d->first;
    d->exp10 = 0;
    d->exp_given = 0;
    d->cut = false;
    d->is_integer = true;
    if (p < end && *p == '.') {
        const char *fraction = p + 1;
        p = scan_digits(fraction, end, &digits);
        if (p == fraction) {
            return 0;
        }
        d->exp10 = -(p - fraction);
        count += p - fraction;
        d->is_integer = false;
    }
    d->last = p;
    d->digits = digits;
    if (p < end && (*p == 'e' || *p == 'E')) {
        p = scan_exponent(p + 1, end, &d->exp_given);
        if (!p) {
            return 0;
        }
        d->exp10 += d->exp_given;
        d->is_integer = false;
    }
    if (__builtin_expect(count > DIGITS_MAX, 0)) {
        cut_digits(d);
    }
    return (size_t)(p - from);
}

size_t ak_decimal_scan(const char *p, const char *end, struct ak_decimal *out)
{
    return scan(p, end, out);
}

/* All the digits that can matter, as "123e-45" for strtof and strtod, NUL-terminated. */
static void spell(const struct ak_decimal *d, char text[EXACT_MAX + 32])
{
    size_t n = 0;
    bool behind_point = false;
    bool more = false;
    int64_t exp10 = d->exp_given;
    for (const char *p = d->first; p < d->last; p++) {
        if (*p == '.') {
            behind_point = true;
        } else if (n == 0 && *p == '0') {
            exp10 -= behind_point;
        } else if (n < EXACT_MAX) {
            text[n++] = *p;
            exp10 -= behind_point;
        } else {
            more |= *p != '0';
            exp10 += !behind_point;
        }
    }
    if (more || n == 0) { /* a last 1 stands for all the rest: no middle has that many digits */
        text[n++] = more ? '1' : '0';
        exp10 -= more;
    }
    exp10 = exp10 > 99999 ? 99999 : exp10 < -99999 ? -99999 : exp10;
    (void)snprintf(text + n, 32, "e%d", (int)exp10);
}

static float __attribute__((noinline)) exact_f32(const struct ak_decimal *d)
{
    char text[EXACT_MAX + 32];
    spell(d, text);
    return strtof(text, NULL);
}

static inline float to_f32(const struct ak_decimal *d)
{
    float magnitude = 0;
    if (d->digits) {
        double v = 0;
        uint64_t bits;
        if (d->exp10 >= POW10_MIN && d->exp10 <= POW10_MAX) {
            v = (double)d->digits * pow10_double[d->exp10 - POW10_MIN];
        }
        memcpy(&bits, &v, sizeof bits);
        /* The 29 bits that a float lacks; 1000…0 is the middle. */
        uint64_t from_middle = (bits & 0x1FFFFFFF) - (0x10000000 - MIDDLE_MARGIN);
        if (from_middle > 2 * MIDDLE_MARGIN && v >= 0x1p-126 && v <= 0x1.fffffep127) {
            magnitude = (float)v;
        } else {
            magnitude = exact_f32(d);
        }
    }
    return d->negative ? -magnitude : magnitude;
}

double ak_decimal_to_double(const struct ak_decimal *d)
{
    double magnitude = 0;
    if (d->digits == 0) {
        magnitude = 0;
    } else if (d->digits <= 1ull << 53 && !d->cut && d->exp10 >= -22 && d->exp10 <= 22) {
        /* Both factors are exact, so that the one rounding is the right one (Clinger 1990). */
        double digits = (double)d->digits;
        magnitude = d->exp10 < 0 ? digits / pow10_double[-d->exp10 - POW10_MIN]
                                 : digits * pow10_double[d->exp10 - POW10_MIN];
    } else {
        char text[EXACT_MAX + 32];
        spell(d, text);
        magnitude = strtod(text, NULL);
    }
    return d->negative ? -magnitude : magnitude;
}

size_t ak_f32_scan(const char *p, const char *end, float *out)
{
    struct ak_decimal d;
    size_t used = scan(p, end, &d);
    if (used) {
        *out = to_f32(&d);
    }
    return used;
}

size_t ak_f64_scan(const char *p, const char *end, double *out)
{
    struct ak_decimal d;
    size_t used = scan(p, end, &d);
    if (used) {
        *out = ak_decimal_to_double(&d);
    }
    return used;
}

/* Say what is wrong with the element at p. */
static bool __attribute__((noinline))
element_fails(struct ak_json *in, const char *p, const char *what)
{
    in->at = p;
    return ak_json_expected(in, what);
}

static bool __attribute__((noinline)) too_many(struct ak_json *in, const char *p, size_t max)
{
    struct ak_str key = ak_json_shown(in->key);
    in->at = p;
    ak_json_fail(in, "more than %zu numbers%s%.*s%s", max, key.p ? " for '" : "", AK_STR_ARG(key),
                 key.p ? "'" : "");
    return false;
}

bool ak_json_f32_array(struct ak_json *in, float *out, size_t max, size_t *count)
{
    if (!ak_json_array(in)) {
        return false;
    }
    const char *end = in->end;
    const char *p = ak_json_blank(in->at, end);
    size_t n = 0;
    if (p < end && *p == ']') {
        in->at = p + 1;
        ak_json_leave(in);
        *count = 0;
        return true;
    }
    for (;;) {
        struct ak_decimal d;
        size_t used = scan(p, end, &d);
        if (used == 0) {
            return element_fails(in, p, "a number");
        }
        if (n == max) {
            return too_many(in, p, max);
        }
        float value = to_f32(&d);
        if (!__builtin_isfinite(value)) {
            return element_fails(in, p, "a finite 32-bit number");
        }
        out[n++] = value;
        p = ak_json_blank(p + used, end);
        if (p < end && *p == ',') {
            p = ak_json_blank(p + 1, end);
        } else if (p < end && *p == ']') {
            break;
        } else {
            return element_fails(in, p, "',' or ']'");
        }
    }
    in->at = p + 1;
    ak_json_leave(in);
    *count = n;
    return true;
}
