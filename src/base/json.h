/* json.h — a strict JSON (RFC 8259) reader without a tree, and a writer.
 *
 * The reader is a cursor over bytes in memory. The caller asks for what it expects; a mismatch
 * gives AK_INVALID with the byte offset and the field ("at byte 17: expected a number for 'k'").
 * Strict: UTF-8 is checked, no comments, no trailing commas, depth ≤ AK_JSON_DEPTH_MAX, numbers are
 * finite (1e999 is refused), a key may appear once per object (ak_json_next_key refuses the
 * second). Every value that is due must be read or skipped, once: anything else is a failure too.
 *
 *   struct ak_json in;
 *   ak_json_init(&in, body);
 *   ak_json_object(&in);
 *   while (ak_json_next_key(&in, &key)) {          // false at the end and on failure
 *       if (ak_str_eq(key, AK_STR("k"))) { ak_json_u64(&in, 1, 10000, &k); }
 *       else if (…) …
 *       else { ak_json_unknown_key(&in, key, "vector, k, ef"); }
 *   }
 *   return ak_json_finish(&in, err); // trailing bytes refused; gives the first failure
 *
 * The first failure sticks: later calls do nothing and return false, so only the end is checked.
 *
 * Floats go straight into aligned f32, correctly rounded (as strtof); the writer prints the
 * shortest decimal that reads back to the same f32 (Schubfach, Giulietti 2020).
 *
 * Threads: a cursor belongs to one thread. Memory: strings with escapes are decoded into `scratch`
 * (own, released by ak_json_release); all other views point into the input. A decoded view is valid
 * until ak_json_release.
 */
#pragma once
#include "base/arena.h"
#include "base/limits.h"
#include "base/str.h"

enum ak_json_type {
    AK_JSON_NULL,
    AK_JSON_BOOL,
    AK_JSON_NUMBER,
    AK_JSON_STRING,
    AK_JSON_ARRAY,
    AK_JSON_OBJECT,
    AK_JSON_END /* nothing left at this level, or a failure */
};

struct ak_json_level {
    bool is_object;
    bool first;       /* no member or element read yet */
    uint32_t keys_at; /* where this object's keys begin in the seen list */
};

struct ak_json {
    const char *begin;
    const char *at;
    const char *end;
    unsigned depth;
    struct ak_json_level levels[AK_JSON_DEPTH_MAX];
    struct ak_arena scratch; /* decoded strings; nothing allocated until needed */
    struct ak_str key;       /* the last key read, for messages */
    struct ak_str *seen;     /* keys of the open objects (duplicate check) */
    uint32_t seen_count;
    uint32_t seen_cap;
    uint32_t *index;       /* hash cells over `seen`, made when an object has many keys */
    uint32_t index_cells;  /* a power of two; 0 without an index */
    bool wants_value;      /* a value is due at this place */
    struct ak_err failure; /* .rc == AK_OK while all is well */
};

void ak_json_init(struct ak_json *in, struct ak_str text); /* `text` is borrowed until release */
void ak_json_release(struct ak_json *in);
bool ak_json_failed(const struct ak_json *in);
/* Record a failure at the present place: "at byte N: …" (first one wins). */
void ak_json_fail(struct ak_json *in, const char *fmt, ...) AK_PRINTF(2, 3);
/* AK_INVALID "unknown field 'x' (allowed: …)". */
void ak_json_unknown_key(struct ak_json *in, struct ak_str key, const char *allowed);
/* All input used? Gives the first failure. Releases nothing. */
AK_MUST enum ak_rc ak_json_finish(struct ak_json *in, struct ak_err *err);

enum ak_json_type ak_json_peek(struct ak_json *in); /* type of the next value; consumes nothing */
bool ak_json_object(struct ak_json *in);            /* enter an object */
bool ak_json_array(struct ak_json *in);             /* enter an array */
/* Next member's key (decoded); false at '}' (which is consumed and the object left) or failure. */
bool ak_json_next_key(struct ak_json *in, struct ak_str *key);
/* Is there another element? false at ']' (consumed, array left) or failure. */
bool ak_json_next_element(struct ak_json *in);
bool ak_json_null(struct ak_json *in); /* consumes null if it is next; else false, no failure */
bool ak_json_bool(struct ak_json *in, bool *out);
bool ak_json_string(struct ak_json *in, struct ak_str *out);
/* An integer within min..max; the failure names the bounds. */
bool ak_json_u64(struct ak_json *in, uint64_t min, uint64_t max, uint64_t *out);
bool ak_json_i64(struct ak_json *in, int64_t min, int64_t max, int64_t *out);
bool ak_json_double(struct ak_json *in, double *out);
/* An array of numbers into out[0..max): *count is how many there are. More than max is a failure
 * that says so. Numbers outside f32's range fail ("not a finite 32-bit number"). */
bool ak_json_f32_array(struct ak_json *in, float *out, size_t max, size_t *count);
/* Check the next value and skip it; *raw (may be NULL) is its bytes in the input. */
bool ak_json_skip(struct ak_json *in, struct ak_str *raw);

/* --- Writer: appends to an ak_buf; the caller places commas by calling in order. --- */
void ak_json_put_string(struct ak_buf *out, struct ak_str s); /* quoted and escaped */
void ak_json_put_f32(struct ak_buf *out, float value);        /* shortest; null if not finite */
void ak_json_put_f32_array(struct ak_buf *out, const float *values, size_t count);
void ak_json_put_double(struct ak_buf *out, double value); /* %.17g or shorter if exact */
void ak_json_put_u64(struct ak_buf *out, uint64_t value);
void ak_json_put_i64(struct ak_buf *out, int64_t value);
/* Copy valid JSON without the white space between tokens. */
void ak_json_put_compact(struct ak_buf *out, struct ak_str valid_json);

/* Shared with other parsers: reads one JSON number at p; returns bytes used, 0 when malformed.
 * Rounds as strtof: past f32's range *out is an infinity, below it a zero. */
size_t ak_f32_scan(const char *p, const char *end, float *out);
size_t ak_f64_scan(const char *p, const char *end, double *out); /* as strtod */
/* Shortest; returns the length (no NUL is written), 0 when the value is not finite. */
size_t ak_f32_print(float value, char text[16]);
