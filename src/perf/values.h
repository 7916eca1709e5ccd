/* values.h — fields of CSV and words of a line as values: shared by the readers here.
 *
 * Threads: any; a cache belongs to one reader.
 */
#pragma once
#include "base/str.h"

/* Rows of one file are nearly all of one day: its beginning is computed once. */
struct ak_perf_day_cache {
    char date[10];
    bool is_set;
    int64_t begin_us;
};

/* RFC 3339 with any offset; a blank for the T, and no offset, which then is UTC, are taken too. */
AK_MUST bool ak_perf_read_timestamp(struct ak_perf_day_cache *cache, struct ak_str text,
                                    int64_t *wall_us);
AK_MUST bool ak_perf_read_double(struct ak_str text, double *value); /* finite */
AK_MUST bool ak_perf_read_bigint(struct ak_str text, int64_t *value);
AK_MUST bool ak_perf_read_boolean(struct ak_str text, bool *value); /* true false t f 1 0 */
/* Does it begin with one of = + - @ or '? */
bool ak_perf_is_formula(struct ak_str text);
