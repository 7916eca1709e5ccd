/* uuid.h — UUIDs (RFC 9562). Ours are version 7: ordered by the time they were made.
 *
 * Threads: ak_uuid_make from any; ids made by one maker never go back, also within one millisecond.
 */
#pragma once
#include "base/clock.h"
#include "base/str.h"

#define AK_UUID_TEXT_LEN 36

struct ak_uuid {
    uint8_t b[16]; /* network order, as printed */
};

struct ak_uuid_maker {
    const struct ak_clock *clock;
    _Atomic uint64_t last; /* ms << 12 | sequence: pairs with itself (compare-and-swap) */
};

void ak_uuid_maker_init(struct ak_uuid_maker *maker, const struct ak_clock *clock);
struct ak_uuid ak_uuid_make(struct ak_uuid_maker *maker);
/* The 36-character form, either case; false leaves *uuid alone. */
AK_MUST bool ak_uuid_parse(struct ak_str text, struct ak_uuid *uuid);
/* Writes 36 lower-case characters, no NUL. */
void ak_uuid_format(const struct ak_uuid *uuid, char text[AK_UUID_TEXT_LEN]);
bool ak_uuid_eq(const struct ak_uuid *a, const struct ak_uuid *b);
/* When a version 7 was made, to the millisecond; 0: it is of another version. */
int64_t ak_uuid_time_us(const struct ak_uuid *uuid);
bool ak_uuid_is_nil(const struct ak_uuid *uuid);
uint64_t ak_uuid_hash(const struct ak_uuid *uuid); /* well mixed: usable by mask */
