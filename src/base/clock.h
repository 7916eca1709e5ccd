/* clock.h — time as an object, so that a test can move seven days in a microsecond.
 *
 * Threads: the system clock from any; a manual or shifted clock from any (its value is atomic).
 */
#pragma once
#include "base/str.h"

struct ak_clock {
    int64_t (*wall_us)(const struct ak_clock *clock); /* µs since 1970-01-01 UTC */
    int64_t (*mono_ns)(const struct ak_clock *clock); /* never goes back; origin unspecified */
};

const struct ak_clock *ak_clock_system(void);

struct ak_manual_clock {
    struct ak_clock clock;
    _Atomic int64_t now_us; /* both wall and monotonic time */
};
void ak_manual_clock_init(struct ak_manual_clock *manual, int64_t now_us);
void ak_manual_clock_advance(struct ak_manual_clock *manual, int64_t by_us);

/* The system's clock, its wall time so much later; monotonic time is the system's. For drills of
 * what takes days, in a process that otherwise lives in real time. */
struct ak_shifted_clock {
    struct ak_clock clock;
    _Atomic int64_t by_us;
};
void ak_shifted_clock_init(struct ak_shifted_clock *shifted);
/* Gives by how much it is ahead now. */
int64_t ak_shifted_clock_advance(struct ak_shifted_clock *shifted, int64_t by_us);

static inline int64_t ak_now_us(const struct ak_clock *clock)
{
    return clock->wall_us(clock);
}
static inline int64_t ak_mono_ns(const struct ak_clock *clock)
{
    return clock->mono_ns(clock);
}

#define AK_TIME_TEXT_MAX 32 /* "2026-11-21T00:03:59.123456Z" and NUL */
/* RFC 3339 in UTC with six decimals. Returns `text`. */
const char *ak_time_format(int64_t wall_us, char text[AK_TIME_TEXT_MAX]);
/* RFC 3339 with any offset and 0..9 decimals (cut to µs). */
AK_MUST bool ak_time_parse(struct ak_str text, int64_t *wall_us);
