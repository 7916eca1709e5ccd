/* uuid.c — RFC 9562 UUIDs.
 *
 * Version 7 as made here (network order):
 *   48 bits  milliseconds since 1970-01-01 UTC
 *    4 bits  version 7
 *   12 bits  sequence within the millisecond (section 6.2, method 1); a full sequence carries into
 *            the milliseconds, so a burst of over 4,096 in one runs a little ahead of the clock
 *    2 bits  variant 10
 *   62 bits  random, from the system
 */
#include "base/uuid.h"
#include "base/hash.h"
#include "base/rand.h"
#include <stdatomic.h>
#include <string.h>

#define SEQUENCE_BITS 12

/* The random bits of 64 ids per system call: the call costs more than the rest of an id. */
static _Thread_local uint64_t random_words[64];
static _Thread_local unsigned random_left;

static uint64_t random_word(void)
{
    if (random_left == 0) {
        ak_random_bytes(random_words, sizeof random_words);
        random_left = sizeof random_words / sizeof random_words[0];
    }
    return random_words[--random_left];
}

void ak_uuid_maker_init(struct ak_uuid_maker *maker, const struct ak_clock *clock)
{
    maker->clock = clock;
    atomic_init(&maker->last, 0);
}

/* The clock's millisecond with sequence 0, or the successor of the last one when that is later. */
static uint64_t next_stamp(struct ak_uuid_maker *maker)
{
    int64_t wall_us = ak_now_us(maker->clock);
    uint64_t now = (wall_us > 0 ? (uint64_t)wall_us / 1000 : 0) << SEQUENCE_BITS;
    uint64_t last = atomic_load_explicit(&maker->last, memory_order_relaxed);
    uint64_t next;
    do {
        next = now > last ? now : last + 1;
        /* Relaxed: `last` guards nothing but itself, and one atomic's order is total anyway. */
    } while (!atomic_compare_exchange_weak_explicit(&maker->last, &last, next, memory_order_relaxed,
                                                    memory_order_relaxed));
    return next;
}

struct ak_uuid ak_uuid_make(struct ak_uuid_maker *maker)
{
    struct ak_uuid uuid;
    uint64_t stamp = next_stamp(maker);
    uint64_t ms = stamp >> SEQUENCE_BITS;
    uint64_t random = random_word();
    for (int i = 0; i < 6; i++) {
        uuid.b[i] = (uint8_t)(ms >> (40 - 8 * i));
    }
    uuid.b[6] = (uint8_t)(0x70u | ((stamp >> 8) & 0x0f));
    uuid.b[7] = (uint8_t)stamp;
    memcpy(uuid.b + 8, &random, sizeof random);
    uuid.b[8] = (uint8_t)(0x80u | (uuid.b[8] & 0x3f));
    return uuid;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool is_dash_place(size_t at)
{
    return at == 8 || at == 13 || at == 18 || at == 23;
}

bool ak_uuid_parse(struct ak_str text, struct ak_uuid *uuid)
{
    struct ak_uuid parsed;
    size_t n = 0;
    if (text.len != AK_UUID_TEXT_LEN) {
        return false;
    }
    for (size_t i = 0; i < AK_UUID_TEXT_LEN;) {
        if (is_dash_place(i)) {
            if (text.p[i++] != '-') {
                return false;
            }
            continue;
        }
        int high = hex_value(text.p[i]);
        int low = hex_value(text.p[i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        parsed.b[n++] = (uint8_t)(high << 4 | low);
        i += 2;
    }
    *uuid = parsed;
    return true;
}

void ak_uuid_format(const struct ak_uuid *uuid, char text[AK_UUID_TEXT_LEN])
{
    static const char digits[] = "0123456789abcdef";
    size_t at = 0;
    for (size_t i = 0; i < sizeof uuid->b; i++) {
        if (is_dash_place(at)) {
            text[at++] = '-';
        }
        text[at++] = digits[uuid->b[i] >> 4];
        text[at++] = digits[uuid->b[i] & 0x0f];
    }
}

bool ak_uuid_eq(const struct ak_uuid *a, const struct ak_uuid *b)
{
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}

int64_t ak_uuid_time_us(const struct ak_uuid *uuid)
{
    int64_t ms = 0;
    for (size_t i = 0; i < 6; i++) {
        ms = ms << 8 | uuid->b[i];
    }
    return uuid->b[6] >> 4 == 7 ? ms * 1000 : 0;
}

bool ak_uuid_is_nil(const struct ak_uuid *uuid)
{
    static const struct ak_uuid nil;
    return ak_uuid_eq(uuid, &nil);
}

uint64_t ak_uuid_hash(const struct ak_uuid *uuid)
{
    uint64_t high;
    uint64_t low;
    memcpy(&high, uuid->b, sizeof high);
    memcpy(&low, uuid->b + sizeof high, sizeof low);
    return ak_mix64(high ^ ak_mix64(low + 0x9e3779b97f4a7c15u));
}
