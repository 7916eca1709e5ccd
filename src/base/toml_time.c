/* toml_time.c — dates and times as RFC 3339 writes them, with or without offset, date or time. */
#include "base/toml_priv.h"

struct reader {
    const char *at;
    const char *end;
};

/* `digits` digits as a number from min to max. */
static bool read_digits(struct reader *in, int digits, int min, int max, int *out)
{
    int value = 0;
    if (in->end - in->at < digits) {
        return false;
    }
    for (int i = 0; i < digits; i++) {
        char c = *in->at++;
        if (c < '0' || c > '9') {
            return false;
        }
        value = value * 10 + (c - '0');
    }
    *out = value;
    return value >= min && value <= max;
}

static bool take(struct reader *in, char c)
{
    if (in->at == in->end || *in->at != c) {
        return false;
    }
    in->at++;
    return true;
}

static int days_of(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap ? 1 : 0);
}

static bool read_date(struct reader *in, struct ak_toml_time *out)
{
    int year = 0;
    int month = 0;
    int day = 0;
    if (!read_digits(in, 4, 0, 9999, &year) || !take(in, '-') ||
        !read_digits(in, 2, 1, 12, &month) || !take(in, '-') ||
        !read_digits(in, 2, 1, days_of(year, month), &day)) {
        return false;
    }
    out->year = (int16_t)year;
    out->month = (uint8_t)month;
    out->day = (uint8_t)day;
    return true;
}

static bool read_fraction(struct reader *in, uint32_t *nanosecond)
{
    uint32_t unit = 100000000;
    const char *from = in->at;
    for (; in->at < in->end && *in->at >= '0' && *in->at <= '9'; in->at++) {
        *nanosecond += (uint32_t)(*in->at - '0') * unit;
        unit /= 10;
    }
    return in->at > from;
}

static bool read_time(struct reader *in, struct ak_toml_time *out)
{
    int hour = 0;
    int minute = 0;
    int second = 0;
    if (!read_digits(in, 2, 0, 23, &hour) || !take(in, ':') ||
        !read_digits(in, 2, 0, 59, &minute) || !take(in, ':') ||
        !read_digits(in, 2, 0, 60, &second)) {
        return false;
    }
    out->hour = (uint8_t)hour;
    out->minute = (uint8_t)minute;
    out->second = (uint8_t)second;
    return !take(in, '.') || read_fraction(in, &out->nanosecond);
}

static bool read_offset(struct reader *in, struct ak_toml_time *out)
{
    int hour = 0;
    int minute = 0;
    if (take(in, 'Z') || take(in, 'z')) {
        return true;
    }
    bool west = take(in, '-');
    if ((!west && !take(in, '+')) || !read_digits(in, 2, 0, 23, &hour) || !take(in, ':') ||
        !read_digits(in, 2, 0, 59, &minute)) {
        return false;
    }
    out->offset_minutes = (int16_t)((west ? -1 : 1) * (hour * 60 + minute));
    return true;
}

bool ak_toml_time(struct ak_str text, struct ak_toml *node)
{
    struct reader in = {text.p, text.p + text.len};
    struct ak_toml_time time = {.year = 0};
    enum ak_toml_type type = AK_TOML_LOCAL_TIME;
    if (text.len >= 3 && text.p[2] == ':') {
        if (!read_time(&in, &time)) {
            return false;
        }
    } else {
        type = AK_TOML_LOCAL_DATE;
        if (!read_date(&in, &time)) {
            return false;
        }
        if (take(&in, 'T') || take(&in, 't') || take(&in, ' ')) {
            type = AK_TOML_LOCAL_DATETIME;
            if (!read_time(&in, &time)) {
                return false;
            }
            if (in.at < in.end) {
                type = AK_TOML_OFFSET_DATETIME;
                if (!read_offset(&in, &time)) {
                    return false;
                }
            }
        }
    }
    if (in.at != in.end) {
        return false;
    }
    node->type = type;
    node->time = time;
    return true;
}
