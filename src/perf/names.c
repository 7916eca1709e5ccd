/* names.c — days, weeks, and the names of files that hold one. */
#include "base/clock.h"
#include "perf/perf.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define US_PER_DAY INT64_C(86400000000)
#define DAY_MIN (-719528) /* 0000-01-01 */
#define DAY_MAX 2932896   /* 9999-12-31 */
#define THURSDAY 3        /* a week belongs to the year of its Thursday (ISO 8601) */

static int32_t nearest_day(int64_t day)
{
    return day < DAY_MIN ? DAY_MIN : day > DAY_MAX ? DAY_MAX : (int32_t)day;
}

int32_t ak_perf_day(int64_t wall_us)
{
    return nearest_day(wall_us / US_PER_DAY - (wall_us % US_PER_DAY < 0));
}

int64_t ak_perf_day_begin_us(int32_t day)
{
    return nearest_day(day) * US_PER_DAY;
}

const char *ak_perf_day_text(int32_t day, char text[AK_PERF_DAY_TEXT_MAX])
{
    char time[AK_TIME_TEXT_MAX];
    (void)ak_time_format(ak_perf_day_begin_us(day), time);
    (void)snprintf(text, AK_PERF_DAY_TEXT_MAX, "%.10s", time);
    return text;
}

bool ak_perf_day_parse(struct ak_str text, int32_t *day)
{
    char time[AK_TIME_TEXT_MAX];
    int64_t us = 0;
    if (text.len != strlen("2025-10-28")) {
        return false;
    }
    (void)snprintf(time, sizeof time, "%.10sT00:00:00Z", text.p);
    if (!ak_time_parse(ak_str_of(time), &us)) {
        return false;
    }
    *day = ak_perf_day(us);
    return true;
}

/* Days since the Monday of the week; 1970-01-01 was a Thursday. */
static int32_t weekday(int32_t day)
{
    return ((day + THURSDAY) % 7 + 7) % 7;
}

/* January the first of the year that `day` lies in. */
static int32_t new_year(int32_t day, int *year)
{
    char text[AK_PERF_DAY_TEXT_MAX];
    uint64_t number = 0;
    int32_t first = day;
    (void)ak_perf_day_text(day, text);
    if (ak_str_u64((struct ak_str){text, 4}, 9999, &number)) {
        (void)snprintf(text, sizeof text, "%04d-01-01", (int)number);
        (void)!ak_perf_day_parse(ak_str_of(text), &first);
    }
    *year = (int)number;
    return first;
}

const char *ak_perf_daily_name(int32_t day, char text[AK_PERF_FILE_NAME_MAX])
{
    char date[AK_PERF_DAY_TEXT_MAX];
    (void)ak_perf_day_text(day, date);
    (void)snprintf(text, AK_PERF_FILE_NAME_MAX, "query_perf_daily_%.4s%.2s%.2s.csv", date, date + 5,
                   date + 8);
    return text;
}

const char *ak_perf_weekly_name(int32_t day, char text[AK_PERF_FILE_NAME_MAX])
{
    int year;
    int32_t thursday = day - weekday(day) + THURSDAY;
    int32_t first = new_year(thursday, &year);
    (void)snprintf(text, AK_PERF_FILE_NAME_MAX, "query_perf_weekly_%04d%02d.csv", year,
                   (int)(thursday - first) / 7 + 1);
    return text;
}

/* The digits between prefix and ".csv". */
static bool digits_of(struct ak_str name, struct ak_str prefix, size_t count, uint64_t *number)
{
    if (name.len != prefix.len + count + 4 || !ak_str_has_prefix(name, prefix) ||
        !ak_str_has_suffix(name, AK_STR(".csv"))) {
        return false;
    }
    return ak_str_u64(ak_str_sub(name, prefix.len, count), UINT64_MAX, number);
}

bool ak_perf_daily_day(struct ak_str name, int32_t *day)
{
    char text[AK_PERF_DAY_TEXT_MAX + 8];
    uint64_t number;
    if (!digits_of(name, AK_STR("query_perf_daily_"), 8, &number)) {
        return false;
    }
    (void)snprintf(text, sizeof text, "%04u-%02u-%02u", (unsigned)(number / 10000),
                   (unsigned)(number / 100 % 100), (unsigned)(number % 100));
    return ak_perf_day_parse(ak_str_of(text), day);
}

bool ak_perf_weekly_day(struct ak_str name, int32_t *monday)
{
    char text[AK_PERF_FILE_NAME_MAX];
    uint64_t number;
    int32_t first;
    if (!digits_of(name, AK_STR("query_perf_weekly_"), 6, &number)) {
        return false;
    }
    /* January the fourth is always in week 1. */
    (void)snprintf(text, sizeof text, "%04u-01-04", (unsigned)(number / 100));
    if (!ak_perf_day_parse(ak_str_of(text), &first)) {
        return false;
    }
    int32_t day = first - weekday(first) + 7 * ((int32_t)(number % 100) - 1);
    /* Week 0, and a week 53 that the year does not have, belong to another name. */
    if (!ak_str_eq(ak_str_of(ak_perf_weekly_name(day, text)), name)) {
        return false;
    }
    *monday = day;
    return true;
}

const char *ak_perf_type_name(enum ak_perf_type type)
{
    static const char *const names[AK_PERF_TYPE_COUNT] = {
        [AK_PERF_TIMESTAMP] = "TIMESTAMP", [AK_PERF_VARCHAR] = "VARCHAR",
        [AK_PERF_DOUBLE] = "DOUBLE",       [AK_PERF_BIGINT] = "BIGINT",
        [AK_PERF_BOOLEAN] = "BOOLEAN",     [AK_PERF_DATE] = "DATE",
        [AK_PERF_JSON] = "JSON",
    };
    return names[type];
}

enum ak_rc ak_perf_check_regular(const char *path, struct ak_err *err)
{
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        return ak_fail(err, AK_CORRUPT, "'%s' is no regular file%s", path,
                       S_ISDIR(st.st_mode) ? " but a folder" : "");
    }
    return AK_OK; /* what is wrong otherwise, opening it says */
}
