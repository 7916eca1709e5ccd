/* json_priv.h — what json.c, json_number.c, json_write.c and toml_value.c share. */
#pragma once
#include "base/json.h"
#include <string.h>

/* One decimal number, split: value = ±digits × 10^exp10, or a little more when `cut`. */
struct ak_decimal {
    const char *first; /* the first digit */
    const char *last;  /* one past the last digit before the exponent */
    uint64_t digits;   /* the first 19 significant digits */
    int64_t exp10;
    int64_t exp_given; /* the exponent as written */
    bool negative;
    bool cut;        /* digits that are not zero were left out of `digits` */
    bool is_integer; /* neither point nor exponent */
};

/* Split the JSON number at p. Bytes used, or 0 when malformed. */
size_t ak_decimal_scan(const char *p, const char *end, struct ak_decimal *out);
/* Correctly rounded (as strtod); an infinity past the range. */
double ak_decimal_to_double(const struct ak_decimal *d);

/* Record "expected <what> for '<key>'"; returns false. */
bool ak_json_expected(struct ak_json *in, const char *what);
bool ak_json_fail_memory(struct ak_json *in, const char *fmt, ...) AK_PRINTF(2, 3); /* false */
/* Like ak_json_fail, at the place of a key that was read. */
void ak_json_fail_key(struct ak_json *in, struct ak_str key, const char *fmt, ...) AK_PRINTF(3, 4);
struct ak_str ak_json_shown(struct ak_str key); /* as a message shows it: not too long */
/* Add `key` to the open object; a failure when it is there already. */
bool ak_json_remember(struct ak_json *in, struct ak_str key);
/* Check the string at the cursor (a quote); *raw is what is between the quotes, as written. */
bool ak_json_scan_string(struct ak_json *in, struct ak_str *raw, bool *escaped);
bool ak_json_read_string(struct ak_json *in, struct ak_str *out); /* the same, decoded */
char *ak_utf8_put(char *to, uint32_t code); /* encode one code point; gives the end */
/* Leave the array or object on top; the cursor stands behind its bracket. */
void ak_json_leave(struct ak_json *in);

static inline const char *ak_json_blank(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) {
        p++;
    }
    return p;
}

/* Eight bytes with the first in the low byte, whatever the machine. */
static inline uint64_t ak_load8(const char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

/* The first quote, backslash or control character (< 0x20) from p on; `end` if there is none. */
static inline const char *ak_json_find_special(const char *p, const char *end)
{
    const uint64_t ones = 0x0101010101010101u;
    while ((size_t)(end - p) >= 8) {
        uint64_t word = ak_load8(p);
        uint64_t quote = word ^ (ones * '"');
        uint64_t slash = word ^ (ones * '\\');
        /* A borrow can mark a byte above a true mark, never below one: the lowest mark is right. */
        uint64_t marks = (((quote - ones) & ~quote) | ((slash - ones) & ~slash) |
                          ((word - ones * 0x20) & ~word)) &
                         (ones * 0x80);
        if (marks) {
            return p + __builtin_ctzll(marks) / 8;
        }
        p += 8;
    }
    while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20) {
        p++;
    }
    return p;
}
