/* values.c — text to values. The usual form of each goes a short way: a gigabyte has ten million
 * timestamps. */
#include "perf/values.h"
#include "base/clock.h"
#include "base/json.h"
#include <stdio.h>
#include <string.h>

#define US_PER_SECOND 1000000

static bool two_digits(const char *p, int max, int *value)
{
    unsigned tens = (unsigned)(unsigned char)p[0] - '0';
    unsigned ones = (unsigned)(unsigned char)p[1] - '0';
    *value = (int)(tens * 10 + ones);
    return tens <= 9 && ones <= 9 && *value <= max;
}

/* "2025-10-28T00:15:23Z", with 1 to 6 decimals or none, on the day of the cache. */
static bool read_usual(const struct ak_perf_day_cache *cache, struct ak_str text, int64_t *wall_us)
{
    int hour;
    int minute;
    int second;
    int64_t us = 0;
    const char *p = text.p;
    if (!cache->is_set || text.len < 20 || text.len > 27 || text.len == 21 || p[10] != 'T' ||
        p[13] != ':' || p[16] != ':' || p[text.len - 1] != 'Z' || memcmp(p, cache->date, 10) != 0 ||
        !two_digits(p + 11, 23, &hour) || !two_digits(p + 14, 59, &minute) ||
        !two_digits(p + 17, 59, &second) || (text.len > 20 && p[19] != '.')) {
        return false;
    }
    int64_t scale = US_PER_SECOND / 10;
    for (size_t i = 20; i + 1 < text.len; i++, scale /= 10) {
        if (p[i] < '0' || p[i] > '9') {
            return false;
        }
        us += (p[i] - '0') * scale;
    }
    *wall_us = cache->begin_us + ((hour * 60 + minute) * 60 + second) * (int64_t)US_PER_SECOND + us;
    return true;
}

bool ak_perf_read_timestamp(struct ak_perf_day_cache *cache, struct ak_str text, int64_t *wall_us)
{
    char full[48];
    text = ak_str_trim(text);
    if (read_usual(cache, text, wall_us)) {
        return true;
    }
    if (text.len < strlen("2025-10-28T00:15:23") || text.len > sizeof full - 2) {
        return false;
    }
    memcpy(full, text.p, text.len);
    full[10] = full[10] == ' ' ? 'T' : full[10];
    bool has_offset =
        memchr(full + 11, 'Z', text.len - 11) || memchr(full + 11, 'z', text.len - 11) ||
        memchr(full + 11, '+', text.len - 11) || memchr(full + 11, '-', text.len - 11);
    full[text.len] = 'Z'; /* used without an offset only */
    if (!ak_time_parse((struct ak_str){full, text.len + !has_offset}, wall_us)) {
        return false;
    }
    char day[32];
    (void)snprintf(day, sizeof day, "%.10sT00:00:00Z", full);
    cache->is_set = ak_time_parse(ak_str_of(day), &cache->begin_us);
    memcpy(cache->date, full, sizeof cache->date);
    return true;
}

/* "12.345": up to fifteen digits, a point between two of them. Number and power of ten are exact,
 * so that their quotient is the nearest double, as strtod finds it. */
static bool read_plain_decimal(struct ak_str text, double *value)
{
    static const double powers[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6, 1e7,
                                    1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14};
    uint64_t number = 0;
    size_t point = 0; /* where it is; 0: none, for a digit stands before it */
    if (text.len == 0 || text.len > 15) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned)(unsigned char)text.p[i] - '0';
        if (digit <= 9) {
            number = number * 10 + digit;
        } else if (text.p[i] == '.' && !point && i > 0 && i + 1 < text.len) {
            point = i;
        } else {
            return false;
        }
    }
    *value = (double)number / powers[point ? text.len - 1 - point : 0];
    return true;
}

bool ak_perf_read_double(struct ak_str text, double *value)
{
    double number = 0;
    if (read_plain_decimal(text, value)) {
        return true;
    }
    text = ak_str_trim(text);
    if (text.len > 1 && text.p[0] == '+') {
        text = ak_str_sub(text, 1, text.len);
        if (text.p[0] == '-') {
            return false;
        }
    }
    if (text.len == 0 || ak_f64_scan(text.p, text.p + text.len, &number) != text.len ||
        !__builtin_isfinite(number)) {
        return false;
    }
    *value = number;
    return true;
}

bool ak_perf_read_bigint(struct ak_str text, int64_t *value)
{
    text = ak_str_trim(text);
    bool is_negative = text.len > 0 && text.p[0] == '-';
    uint64_t limit = is_negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX;
    uint64_t number = 0;
    size_t i = is_negative;
    for (; i < text.len; i++) {
        unsigned digit = (unsigned)(unsigned char)text.p[i] - '0';
        if (digit > 9 || number > (limit - digit) / 10) {
            return false;
        }
        number = number * 10 + digit;
    }
    if (i == (size_t)is_negative) {
        return false;
    }
    *value = is_negative ? (int64_t)(0 - number) : (int64_t)number;
    return true;
}

bool ak_perf_read_boolean(struct ak_str text, bool *value)
{
    if (text.len >= 4 && memcmp(text.p, "true", 4) == 0 && text.len == 4) {
        *value = true;
        return true;
    }
    text = ak_str_trim(text);
    bool is_true = ak_str_eq_nocase(text, AK_STR("true")) || ak_str_eq_nocase(text, AK_STR("t")) ||
                   ak_str_eq(text, AK_STR("1"));
    bool is_false = ak_str_eq_nocase(text, AK_STR("false")) ||
                    ak_str_eq_nocase(text, AK_STR("f")) || ak_str_eq(text, AK_STR("0"));
    *value = is_true;
    return is_true || is_false;
}

bool ak_perf_is_formula(struct ak_str text)
{
    return text.len && memchr("=+-@'", text.p[0], 5);
}
