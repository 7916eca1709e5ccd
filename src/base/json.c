/* json.c — the reader: a cursor over a JSON text (RFC 8259), without a tree.
 *
 * I1  `failure` is set once; every call returns at once while it is set.
 * I2  `wants_value` is true exactly between a key (or an element's place, or the start) and its
 *     value, so no value can be left out or read twice, whatever the caller does.
 * I3  seen[levels[i].keys_at .. levels[i+1].keys_at) are the keys of the open level i, in order; an
 *     array has none. The last one of all is the key that messages name (json_keys.c).
 */
#include "base/err.h"
#include "base/json_priv.h"
#include "base/mem.h"

#define SHOWN_KEY_MAX 64

void ak_json_init(struct ak_json *in, struct ak_str text)
{
    const char *p = text.p ? text.p : "";
    in->begin = p;
    in->at = p;
    in->end = p + (text.p ? text.len : 0);
    in->depth = 0;
    ak_arena_init(&in->scratch, 0);
    in->key = AK_STR_NONE;
    in->seen = NULL;
    in->seen_count = 0;
    in->seen_cap = 0;
    in->index = NULL;
    in->index_cells = 0;
    in->wants_value = true;
    ak_err_clear(&in->failure);
}

void ak_json_release(struct ak_json *in)
{
    ak_arena_release(&in->scratch);
    ak_free(in->seen);
    ak_free(in->index);
    in->seen = NULL;
    in->seen_count = 0;
    in->seen_cap = 0;
    in->index = NULL;
    in->index_cells = 0;
    in->depth = 0;
    in->key = AK_STR_NONE;
}

bool ak_json_failed(const struct ak_json *in)
{
    return in->failure.rc != AK_OK;
}

/* A key as a message shows it: cut at a character's border. */
struct ak_str ak_json_shown(struct ak_str key)
{
    if (key.len > SHOWN_KEY_MAX) {
        key.len = SHOWN_KEY_MAX;
        while (key.len && ((unsigned char)key.p[key.len] & 0xC0) == 0x80) {
            key.len--;
        }
    }
    return key;
}

static void AK_PRINTF(4, 0)
    fail_at(struct ak_json *in, enum ak_rc rc, const char *at, const char *fmt, va_list ap)
{
    if (!ak_json_failed(in)) {
        ak_fail_v(&in->failure, rc, fmt, ap);
        ak_wrap(&in->failure, rc, "at byte %zu", (size_t)(at - in->begin));
    }
}

void ak_json_fail(struct ak_json *in, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail_at(in, AK_INVALID, in->at, fmt, ap);
    va_end(ap);
}

void ak_json_fail_key(struct ak_json *in, struct ak_str key, const char *fmt, ...)
{
    bool in_text =
        (uintptr_t)key.p >= (uintptr_t)in->begin && (uintptr_t)key.p <= (uintptr_t)in->end;
    va_list ap;
    va_start(ap, fmt);
    fail_at(in, AK_INVALID, in_text ? key.p : in->at, fmt, ap);
    va_end(ap);
}

bool ak_json_fail_memory(struct ak_json *in, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail_at(in, AK_NOMEM, in->at, fmt, ap);
    va_end(ap);
    return false;
}

bool ak_json_expected(struct ak_json *in, const char *what)
{
    const char *gone = in->at == in->end ? ", but the text ends here" : "";
    if (in->key.p) {
        struct ak_str key = ak_json_shown(in->key);
        ak_json_fail(in, "expected %s for '%.*s'%s", what, AK_STR_ARG(key), gone);
    } else {
        ak_json_fail(in, "expected %s%s", what, gone);
    }
    return false;
}

void ak_json_unknown_key(struct ak_json *in, struct ak_str key, const char *allowed)
{
    struct ak_str name = ak_json_shown(key);
    ak_json_fail_key(in, key, "unknown field '%.*s' (allowed: %s)", AK_STR_ARG(name), allowed);
}

enum ak_rc ak_json_finish(struct ak_json *in, struct ak_err *err)
{
    if (!ak_json_failed(in)) {
        in->at = ak_json_blank(in->at, in->end);
        if (in->wants_value) {
            ak_json_expected(in, "a value");
        } else if (in->depth) {
            bool is_object = in->levels[in->depth - 1].is_object;
            ak_json_fail(in, "the %s was not read to its end", is_object ? "object" : "array");
        } else if (in->at != in->end) {
            ak_json_fail(in, "expected the end of the text");
        }
    }
    return ak_json_failed(in) ? ak_fail(err, in->failure.rc, "%s", in->failure.text) : AK_OK;
}

/* Move to the first byte of the value that is due. */
static bool value_begins(struct ak_json *in)
{
    if (ak_json_failed(in)) {
        return false;
    }
    if (!in->wants_value) {
        ak_json_fail(in, "no value is due here");
        return false;
    }
    in->at = ak_json_blank(in->at, in->end);
    return true;
}

static void value_ends(struct ak_json *in, const char *at)
{
    in->at = at;
    in->wants_value = false;
}

enum ak_json_type ak_json_peek(struct ak_json *in)
{
    if (ak_json_failed(in) || !in->wants_value) {
        return AK_JSON_END;
    }
    in->at = ak_json_blank(in->at, in->end);
    char c = in->at == in->end ? '\0' : *in->at;
    switch (c) {
    case 'n':
        return AK_JSON_NULL;
    case 't':
    case 'f':
        return AK_JSON_BOOL;
    case '"':
        return AK_JSON_STRING;
    case '[':
        return AK_JSON_ARRAY;
    case '{':
        return AK_JSON_OBJECT;
    default:
        if (c == '-' || (c >= '0' && c <= '9')) {
            return AK_JSON_NUMBER;
        }
        ak_json_expected(in, "a value");
        return AK_JSON_END;
    }
}

/* --- Containers --- */

static bool enter(struct ak_json *in, bool is_object)
{
    if (!value_begins(in)) {
        return false;
    }
    if (in->at == in->end || *in->at != (is_object ? '{' : '[')) {
        return ak_json_expected(in, is_object ? "an object" : "an array");
    }
    if (in->depth == AK_JSON_DEPTH_MAX) {
        ak_json_fail(in, "nested deeper than %d", AK_JSON_DEPTH_MAX);
        return false;
    }
    in->levels[in->depth++] =
        (struct ak_json_level){.is_object = is_object, .first = true, .keys_at = in->seen_count};
    value_ends(in, in->at + 1);
    return true;
}

bool ak_json_object(struct ak_json *in)
{
    return enter(in, true);
}

bool ak_json_array(struct ak_json *in)
{
    return enter(in, false);
}

/* Move to the next member or element of the open container; false at its end and on failure. */
static bool another(struct ak_json *in, bool is_object)
{
    if (ak_json_failed(in)) {
        return false;
    }
    struct ak_json_level *level = in->depth ? &in->levels[in->depth - 1] : NULL;
    if (in->wants_value) {
        return ak_json_expected(in, "a value");
    }
    if (!level || level->is_object != is_object) {
        return ak_json_expected(in, is_object ? "an object" : "an array");
    }
    char close = is_object ? '}' : ']';
    in->at = ak_json_blank(in->at, in->end);
    if (in->at < in->end && *in->at == close) {
        in->at++;
        ak_json_leave(in);
        return false;
    }
    if (!level->first) {
        if (in->at == in->end || *in->at != ',') {
            ak_json_fail(in, "expected ',' or '%c'%s", close,
                         in->at == in->end ? ", but the text ends here" : "");
            return false;
        }
        in->at = ak_json_blank(in->at + 1, in->end);
        if (in->at < in->end && *in->at == close) {
            ak_json_fail(in, "a comma before '%c'", close);
            return false;
        }
    }
    level->first = false;
    return true;
}

bool ak_json_next_element(struct ak_json *in)
{
    if (!another(in, false)) {
        return false;
    }
    in->wants_value = true;
    return true;
}

bool ak_json_next_key(struct ak_json *in, struct ak_str *key)
{
    struct ak_str name;
    if (!another(in, true)) {
        return false;
    }
    if (in->at == in->end || *in->at != '"') {
        ak_json_fail(in, "expected a key in quotes%s",
                     in->at == in->end ? ", but the text ends here" : "");
        return false;
    }
    if (!ak_json_read_string(in, &name) || !ak_json_remember(in, name)) {
        return false;
    }
    in->key = name;
    in->at = ak_json_blank(in->at, in->end);
    if (in->at == in->end || *in->at != ':') {
        return ak_json_expected(in, "':' and a value");
    }
    in->at++;
    in->wants_value = true;
    *key = name;
    return true;
}

bool ak_json_string(struct ak_json *in, struct ak_str *out)
{
    if (!value_begins(in)) {
        return false;
    }
    if (in->at == in->end || *in->at != '"') {
        return ak_json_expected(in, "a string");
    }
    if (!ak_json_read_string(in, out)) {
        return false;
    }
    value_ends(in, in->at);
    return true;
}

/* --- Words and numbers --- */

static bool word_is(const struct ak_json *in, struct ak_str word)
{
    return (size_t)(in->end - in->at) >= word.len && memcmp(in->at, word.p, word.len) == 0;
}

bool ak_json_null(struct ak_json *in)
{
    if (ak_json_failed(in) || !in->wants_value) {
        return false;
    }
    in->at = ak_json_blank(in->at, in->end);
    if (!word_is(in, AK_STR("null"))) {
        return false;
    }
    value_ends(in, in->at + 4);
    return true;
}

bool ak_json_bool(struct ak_json *in, bool *out)
{
    if (!value_begins(in)) {
        return false;
    }
    bool is_true = word_is(in, AK_STR("true"));
    if (!is_true && !word_is(in, AK_STR("false"))) {
        return ak_json_expected(in, "true or false");
    }
    value_ends(in, in->at + (is_true ? 4 : 5));
    *out = is_true;
    return true;
}

bool ak_json_double(struct ak_json *in, double *out)
{
    struct ak_decimal number;
    if (!value_begins(in)) {
        return false;
    }
    size_t used = ak_decimal_scan(in->at, in->end, &number);
    if (used == 0) {
        return ak_json_expected(in, "a number");
    }
    double value = ak_decimal_to_double(&number);
    if (!__builtin_isfinite(value)) {
        return ak_json_expected(in, "a finite number");
    }
    value_ends(in, in->at + used);
    *out = value;
    return true;
}

/* Read an integer as sign and magnitude; 0 when there is none or it has more than 64 bits. */
static size_t scan_integer(const struct ak_json *in, bool *negative, uint64_t *magnitude)
{
    struct ak_decimal number;
    size_t used = ak_decimal_scan(in->at, in->end, &number);
    if (used == 0 || !number.is_integer) {
        return 0;
    }
    *negative = number.negative;
    struct ak_str digits = {number.first, (size_t)(number.last - number.first)};
    return ak_str_u64(digits, UINT64_MAX, magnitude) ? used : 0;
}

bool ak_json_u64(struct ak_json *in, uint64_t min, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    bool negative = false;
    if (!value_begins(in)) {
        return false;
    }
    size_t used = scan_integer(in, &negative, &value);
    if (used == 0 || negative || value < min || value > max) {
        struct ak_err bounds;
        (void)ak_fail(&bounds, AK_INVALID, "an integer from %llu to %llu", (unsigned long long)min,
                      (unsigned long long)max);
        return ak_json_expected(in, bounds.text);
    }
    value_ends(in, in->at + used);
    *out = value;
    return true;
}

bool ak_json_i64(struct ak_json *in, int64_t min, int64_t max, int64_t *out)
{
    uint64_t magnitude = 0;
    bool negative = false;
    if (!value_begins(in)) {
        return false;
    }
    size_t used = scan_integer(in, &negative, &magnitude);
    uint64_t ceiling = (uint64_t)INT64_MAX + (negative ? 1 : 0);
    int64_t value = (int64_t)(negative ? 0 - magnitude : magnitude);
    if (used == 0 || magnitude > ceiling || value < min || value > max) {
        struct ak_err bounds;
        (void)ak_fail(&bounds, AK_INVALID, "an integer from %lld to %lld", (long long)min,
                      (long long)max);
        return ak_json_expected(in, bounds.text);
    }
    value_ends(in, in->at + used);
    *out = value;
    return true;
}

/* --- Skipping --- */

static bool skip_number(struct ak_json *in)
{
    struct ak_decimal number;
    size_t used = ak_decimal_scan(in->at, in->end, &number);
    if (used == 0) {
        return ak_json_expected(in, "a number");
    }
    /* Up to 10^20 × 10^288 there is no need to work the value out. */
    if (number.exp10 > 288 && !__builtin_isfinite(ak_decimal_to_double(&number))) {
        return ak_json_expected(in, "a finite number");
    }
    value_ends(in, in->at + used);
    return true;
}

/* Check one string, number or word, or enter a container. */
static bool skip_step(struct ak_json *in)
{
    struct ak_str raw;
    bool flag = false;
    switch (ak_json_peek(in)) {
    case AK_JSON_OBJECT:
        return ak_json_object(in);
    case AK_JSON_ARRAY:
        return ak_json_array(in);
    case AK_JSON_STRING:
        if (!ak_json_scan_string(in, &raw, &flag)) {
            return false;
        }
        value_ends(in, in->at);
        return true;
    case AK_JSON_NUMBER:
        return skip_number(in);
    case AK_JSON_BOOL:
        return ak_json_bool(in, &flag);
    case AK_JSON_NULL:
        return ak_json_null(in) || ak_json_expected(in, "a value");
    case AK_JSON_END:
    default:
        return false;
    }
}

bool ak_json_skip(struct ak_json *in, struct ak_str *raw)
{
    if (!value_begins(in)) {
        return false;
    }
    const char *from = in->at;
    unsigned floor = in->depth;
    do {
        if (!skip_step(in)) {
            return false;
        }
        bool more = false;
        while (in->depth > floor && !more) {
            struct ak_str key;
            more = in->levels[in->depth - 1].is_object ? ak_json_next_key(in, &key)
                                                       : ak_json_next_element(in);
            if (ak_json_failed(in)) {
                return false;
            }
        }
    } while (in->depth > floor);
    if (raw) {
        *raw = (struct ak_str){from, (size_t)(in->at - from)};
    }
    return true;
}
