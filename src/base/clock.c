/* clock.c — the system's clock, a manual one, a shifted one, and RFC 3339 text.
 *
 * Calendar arithmetic is that of "chrono-Compatible Low-Level Date Algorithms" (Hinnant 2013):
 * proleptic Gregorian, no locale, no time zone database.
 */
#include "base/clock.h"
#include <stdatomic.h>
#include <time.h>

#define US_PER_SECOND INT64_C(1000000)
#define SECONDS_PER_DAY INT64_C(86400)
#define SECOND_MIN INT64_C(-62167219200) /* 0000-01-01T00:00:00Z */
#define SECOND_MAX INT64_C(253402300799) /* 9999-12-31T23:59:59Z */

static int64_t system_wall_us(const struct ak_clock *clock)
{
    (void)clock;
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * US_PER_SECOND + now.tv_nsec / 1000;
}

static int64_t system_mono_ns(const struct ak_clock *clock)
{
    (void)clock;
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

const struct ak_clock *ak_clock_system(void)
{
    static const struct ak_clock clock = {system_wall_us, system_mono_ns};
    return &clock;
}

/* The clock is the first member of its manual clock. Relaxed: the time orders nothing else. */
static int64_t manual_wall_us(const struct ak_clock *clock)
{
    const struct ak_manual_clock *manual = (const struct ak_manual_clock *)clock;
    return atomic_load_explicit(&manual->now_us, memory_order_relaxed);
}

static int64_t manual_mono_ns(const struct ak_clock *clock)
{
    return manual_wall_us(clock) * 1000;
}

void ak_manual_clock_init(struct ak_manual_clock *manual, int64_t now_us)
{
    manual->clock = (struct ak_clock){manual_wall_us, manual_mono_ns};
    atomic_init(&manual->now_us, now_us);
}

void ak_manual_clock_advance(struct ak_manual_clock *manual, int64_t by_us)
{
    AK_ASSERT(by_us >= 0); /* it serves as the monotonic clock too */
    (void)atomic_fetch_add_explicit(&manual->now_us, by_us, memory_order_relaxed);
}

/* Here too the clock is the first member. Relaxed: the time orders nothing else. */
static int64_t shifted_wall_us(const struct ak_clock *clock)
{
    const struct ak_shifted_clock *shifted = (const struct ak_shifted_clock *)clock;
    return system_wall_us(clock) + atomic_load_explicit(&shifted->by_us, memory_order_relaxed);
}

void ak_shifted_clock_init(struct ak_shifted_clock *shifted)
{
    shifted->clock = (struct ak_clock){shifted_wall_us, system_mono_ns};
    atomic_init(&shifted->by_us, 0);
}

int64_t ak_shifted_clock_advance(struct ak_shifted_clock *shifted, int64_t by_us)
{
    AK_ASSERT(by_us >= 0); /* documents and jobs are dated: time does not go back */
    return atomic_fetch_add_explicit(&shifted->by_us, by_us, memory_order_relaxed) + by_us;
}

/* Days since 1970-01-01 of a civil date; year ≥ 0. Years begin in March here, so that the leap day
 * is the last of its year. */
static int64_t days_of_date(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

struct date {
    int64_t year;
    int64_t month;
    int64_t day;
};

static struct date date_of_days(int64_t days)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    int64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    return (struct date){
        .year = year_of_era + era * 400 + (month <= 2),
        .month = month,
        .day = day_of_year - (153 * month_from_march + 2) / 5 + 1,
    };
}

static char *put_digits(char *at, int64_t value, int width, char after)
{
    for (int i = width - 1; i >= 0; i--) {
        at[i] = (char)('0' + value % 10);
        value /= 10;
    }
    at[width] = after;
    return at + width + 1;
}

/* A time outside the years 0000..9999, which RFC 3339 cannot say, prints as the nearest it can. */
const char *ak_time_format(int64_t wall_us, char text[AK_TIME_TEXT_MAX])
{
    int64_t second = wall_us / US_PER_SECOND;
    int64_t us = wall_us % US_PER_SECOND;
    if (us < 0) {
        us += US_PER_SECOND;
        second--;
    }
    if (second < SECOND_MIN || second > SECOND_MAX) {
        us = second < SECOND_MIN ? 0 : US_PER_SECOND - 1;
        second = second < SECOND_MIN ? SECOND_MIN : SECOND_MAX;
    }
    int64_t days = (second - SECOND_MIN) / SECONDS_PER_DAY + SECOND_MIN / SECONDS_PER_DAY;
    int64_t in_day = second - days * SECONDS_PER_DAY;
    struct date date = date_of_days(days);
    char *at = put_digits(text, date.year, 4, '-');
    at = put_digits(at, date.month, 2, '-');
    at = put_digits(at, date.day, 2, 'T');
    at = put_digits(at, in_day / 3600, 2, ':');
    at = put_digits(at, in_day / 60 % 60, 2, ':');
    at = put_digits(at, in_day % 60, 2, '.');
    at = put_digits(at, us, 6, 'Z');
    *at = '\0';
    return text;
}

/* Takes `width` digits and the character after them: either of `after`, none when it is NULL. */
static bool take_digits(struct ak_str *text, size_t width, const char *after, int64_t *value)
{
    if (text->len < width + (after ? 1 : 0)) {
        return false;
    }
    *value = 0;
    for (size_t i = 0; i < width; i++) {
        if (text->p[i] < '0' || text->p[i] > '9') {
            return false;
        }
        *value = *value * 10 + (text->p[i] - '0');
    }
    if (after) {
        if (text->p[width] != after[0] && text->p[width] != after[1]) {
            return false;
        }
        width++;
    }
    text->p += width;
    text->len -= width;
    return true;
}

static int64_t days_in_month(int64_t year, int64_t month)
{
    static const int8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && is_leap);
}

static bool take_date(struct ak_str *text, int64_t *days)
{
    struct date date;
    if (!take_digits(text, 4, "--", &date.year) || !take_digits(text, 2, "--", &date.month) ||
        !take_digits(text, 2, "Tt", &date.day) || date.month < 1 || date.month > 12 ||
        date.day < 1 || date.day > days_in_month(date.year, date.month)) {
        return false;
    }
    *days = days_of_date(date.year, date.month, date.day);
    return true;
}

/* Decimals after the point, if there is one, as microseconds. */
static bool take_decimals(struct ak_str *text, int64_t *us)
{
    *us = 0;
    if (text->len == 0 || text->p[0] != '.') {
        return true;
    }
    size_t n = 0;
    int64_t scale = US_PER_SECOND;
    for (n = 0; n + 1 < text->len && text->p[n + 1] >= '0' && text->p[n + 1] <= '9'; n++) {
        scale /= 10;
        *us += (text->p[n + 1] - '0') * scale;
    }
    *text = ak_str_sub(*text, n + 1, text->len);
    return n >= 1 && n <= 9;
}

static bool take_offset(struct ak_str *text, int64_t *offset)
{
    int64_t hours = 0;
    int64_t minutes = 0;
    if (text->len == 0) {
        return false;
    }
    char sign = text->p[0];
    *text = ak_str_sub(*text, 1, text->len);
    if (sign == 'Z' || sign == 'z') {
        *offset = 0;
        return true;
    }
    if ((sign != '+' && sign != '-') || !take_digits(text, 2, "::", &hours) ||
        !take_digits(text, 2, NULL, &minutes) || hours > 23 || minutes > 59) {
        return false;
    }
    *offset = (hours * 60 + minutes) * (sign == '-' ? -60 : 60);
    return true;
}

bool ak_time_parse(struct ak_str text, int64_t *wall_us)
{
    int64_t days = 0;
    int64_t hour = 0;
    int64_t minute = 0;
    int64_t second = 0;
    int64_t us = 0;
    int64_t offset = 0;
    if (!take_date(&text, &days) || !take_digits(&text, 2, "::", &hour) ||
        !take_digits(&text, 2, "::", &minute) || !take_digits(&text, 2, NULL, &second) ||
        !take_decimals(&text, &us) || !take_offset(&text, &offset) || text.len != 0) {
        return false;
    }
    if (hour > 23 || minute > 59 || second > 60) {
        return false;
    }
    int64_t total = days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second - offset;
    /* A leap second ends a UTC day; it counts as the first second of the next, as POSIX has it. */
    if (second == 60 && total % SECONDS_PER_DAY != 0) {
        return false;
    }
    *wall_us = total * US_PER_SECOND + us;
    return true;
}
