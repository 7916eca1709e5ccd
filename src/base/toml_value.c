/* toml_value.c — the scalars of TOML: strings, integers, floats, booleans. */
#include "base/json_priv.h"
#include "base/toml_priv.h"
#include <string.h>

/* --- Strings --- */

static bool is_control(char c)
{
    return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7F;
}

/* The code point of \uXXXX or \UXXXXXXXX; `digits` hex digits at the cursor. */
static bool read_code_point(struct ak_toml_in *in, int digits, uint32_t *code)
{
    uint32_t value = 0;
    for (int i = 0; i < digits; i++, in->at++) {
        char c = ak_toml_peek(in);
        char lower = (char)(c | 0x20);
        if (c >= '0' && c <= '9') {
            value = value << 4 | (uint32_t)(c - '0');
        } else if (lower >= 'a' && lower <= 'f') {
            value = value << 4 | (uint32_t)(lower - 'a' + 10);
        } else {
            return ak_toml_fail(in, "expected %d hex digits in an escape", digits);
        }
    }
    if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) {
        return ak_toml_fail(in, "U+%X is no character", value);
    }
    *code = value;
    return true;
}

/* A backslash at the end of a line: everything up to the next text goes. The cursor is behind the
 * backslash; false when this is no such thing (the cursor has not moved). */
static bool skip_line_break(struct ak_toml_in *in)
{
    const char *from = in->at;
    while (in->at < in->end && (*in->at == ' ' || *in->at == '\t')) {
        in->at++;
    }
    if (!ak_toml_newline(in)) {
        in->at = from;
        return false;
    }
    for (;;) {
        if (ak_toml_peek(in) == ' ' || ak_toml_peek(in) == '\t') {
            in->at++;
        } else if (!ak_toml_newline(in)) {
            return true;
        }
    }
}

/* The escape at the cursor (a backslash), written to *to. */
static bool read_escape(struct ak_toml_in *in, bool multiline, char **to)
{
    static const char names[] = "btnfr\"\\";
    static const char values[] = "\b\t\n\f\r\"\\";
    in->at++;
    if (multiline && skip_line_break(in)) {
        return true;
    }
    char c = ak_toml_peek(in);
    const char *name = c ? strchr(names, c) : NULL;
    if (name) {
        in->at++;
        *(*to)++ = values[name - names];
        return true;
    }
    if (c == 'u' || c == 'U') {
        uint32_t code = 0;
        in->at++;
        if (!read_code_point(in, c == 'u' ? 4 : 8, &code)) {
            return false;
        }
        *to = ak_utf8_put(*to, code);
        return true;
    }
    return ak_toml_fail(in, "no such escape in a string");
}

/* Do `count` quotes stand at the cursor? */
static bool quotes_follow(const struct ak_toml_in *in, char quote, int count)
{
    if (in->end - in->at < count) {
        return false;
    }
    for (int i = 0; i < count; i++) {
        if (in->at[i] != quote) {
            return false;
        }
    }
    return true;
}

/* Bytes up to the closing quotes, or to where they are missed: decoding never makes it longer. */
static size_t room_for(const struct ak_toml_in *in, char quote, bool multiline)
{
    struct ak_toml_in ahead = *in;
    while (ahead.at < ahead.end && !quotes_follow(&ahead, quote, multiline ? 3 : 1) &&
           (multiline || *ahead.at != '\n')) {
        ahead.at += *ahead.at == '\\' && quote == '"' && ahead.end - ahead.at >= 2 ? 2 : 1;
    }
    return (size_t)(ahead.at - in->at) + 2; /* two quotes may belong to the text */
}

/* Everything up to the closing quotes into `to`; *len is how much it is. */
static bool copy_string(struct ak_toml_in *in, char quote, bool multiline, char *to, size_t *len)
{
    const char *from = to;
    int closing = multiline ? 3 : 1;
    uint32_t opened = in->line;
    for (;;) {
        if (quotes_follow(in, quote, closing)) {
            /* One or two quotes may stand right before the closing three. */
            while (multiline && quotes_follow(in, quote, closing + 1) && closing < 5) {
                *to++ = quote;
                closing++;
            }
            in->at += closing;
            *len = (size_t)(to - from);
            return true;
        }
        if (in->at == in->end) {
            return ak_toml_fail(in, "the string that begins in line %u has no end", opened);
        }
        if (*in->at == '\\' && quote == '"') {
            if (!read_escape(in, multiline, &to)) {
                return false;
            }
        } else if (multiline && ak_toml_newline(in)) {
            *to++ = '\n';
        } else if (is_control(*in->at)) {
            return ak_toml_fail(in, *in->at == '\n' ? "a string without its closing quote"
                                                    : "a control character in a string");
        } else {
            *to++ = *in->at++;
        }
    }
}

/* A string of one line without escapes is a view of the text; *out is set when it is one. */
static bool take_plain(struct ak_toml_in *in, char quote, struct ak_str *out)
{
    for (const char *p = in->at; p < in->end && !is_control(*p); p++) {
        if (*p == quote) {
            *out = (struct ak_str){in->at, (size_t)(p - in->at)};
            in->at = p + 1;
            return true;
        }
        if (*p == '\\' && quote == '"') {
            return false;
        }
    }
    return false;
}

bool ak_toml_string(struct ak_toml_in *in, bool multiline, struct ak_str *out)
{
    char quote = *in->at;
    bool is_multiline = quotes_follow(in, quote, 3);
    if (is_multiline && !multiline) {
        return ak_toml_fail(in, "a key cannot be a multi-line string");
    }
    in->at += is_multiline ? 3 : 1;
    if (is_multiline) {
        (void)ak_toml_newline(in); /* right behind the opening quotes it does not count */
    } else if (take_plain(in, quote, out)) {
        return true;
    }
    size_t len = 0;
    char *text = ak_arena_alloc(in->arena, room_for(in, quote, is_multiline));
    if (!text) {
        return ak_toml_fail_rc(in, AK_NOMEM, "no memory for a string");
    }
    if (!copy_string(in, quote, is_multiline, text, &len)) {
        return false;
    }
    *out = (struct ak_str){text, len};
    return true;
}

/* --- Numbers --- */

/* Copy `text` without its underscores, each of which must stand between two digits. */
static bool drop_underscores(struct ak_str text, bool hex, char *to, size_t *len)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] != '_') {
            to[n++] = text.p[i];
            continue;
        }
        for (int side = -1; side <= 1; side += 2) {
            size_t at = i + (size_t)side; /* wraps below 0, which is past the end */
            char c = at < text.len ? text.p[at] : '\0';
            char lower = (char)(c | 0x20);
            if (!(c >= '0' && c <= '9') && !(hex && lower >= 'a' && lower <= 'f')) {
                return false;
            }
        }
    }
    *len = n;
    return true;
}

/* 0x…, 0o…, 0b…: digits of the base, at most 63 bits. */
static bool read_based(struct ak_str digits, unsigned bits, int64_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < digits.len; i++) {
        char c = digits.p[i];
        char lower = (char)(c | 0x20);
        unsigned digit = c >= '0' && c <= '9'           ? (unsigned)(c - '0')
                         : lower >= 'a' && lower <= 'f' ? (unsigned)(lower - 'a') + 10
                                                        : 99;
        if (digit >= 1u << bits || value >> (63 - bits)) {
            return false;
        }
        value = value << bits | digit;
    }
    *out = (int64_t)value;
    return digits.len > 0;
}

enum numeral { NUMERAL_NONE, NUMERAL_OK, NUMERAL_RANGE };

/* A decimal integer or float, without underscores. */
static enum numeral read_decimal(struct ak_str text, struct ak_toml *node)
{
    struct ak_decimal number;
    bool negative = text.len && text.p[0] == '-';
    if (text.len && (text.p[0] == '-' || text.p[0] == '+')) {
        text = ak_str_sub(text, 1, text.len);
    }
    if (ak_str_eq(text, AK_STR("inf")) || ak_str_eq(text, AK_STR("nan"))) {
        double value = text.p[0] == 'i' ? __builtin_inf() : __builtin_nan("");
        node->type = AK_TOML_FLOAT;
        node->number = negative ? -value : value;
        return NUMERAL_OK;
    }
    if (text.len == 0 || text.p[0] == '-' ||
        ak_decimal_scan(text.p, text.p + text.len, &number) != text.len) {
        return NUMERAL_NONE;
    }
    if (!number.is_integer) {
        double value = ak_decimal_to_double(&number);
        node->type = AK_TOML_FLOAT;
        node->number = negative ? -value : value;
        return __builtin_isfinite(value) ? NUMERAL_OK : NUMERAL_RANGE;
    }
    uint64_t magnitude = 0;
    uint64_t max = (uint64_t)INT64_MAX + (negative ? 1 : 0);
    if (!ak_str_u64(text, max, &magnitude)) {
        return NUMERAL_RANGE;
    }
    node->type = AK_TOML_INTEGER;
    node->integer = (int64_t)(negative ? 0 - magnitude : magnitude);
    return NUMERAL_OK;
}

static enum numeral read_number(struct ak_toml_in *in, struct ak_str text, struct ak_toml *node)
{
    unsigned bits = 0;
    if (text.len > 2 && text.p[0] == '0') {
        bits = text.p[1] == 'x' ? 4 : text.p[1] == 'o' ? 3 : text.p[1] == 'b' ? 1 : 0;
    }
    struct ak_str digits = bits ? ak_str_sub(text, 2, text.len) : text;
    if (memchr(digits.p, '_', digits.len)) {
        char *copy = ak_arena_alloc(in->arena, digits.len);
        size_t len = 0;
        if (!copy) {
            ak_toml_fail_rc(in, AK_NOMEM, "no memory for a number");
            return NUMERAL_NONE;
        }
        if (!drop_underscores(digits, bits == 4, copy, &len)) {
            return NUMERAL_NONE;
        }
        digits = (struct ak_str){copy, len};
    }
    if (bits) {
        node->type = AK_TOML_INTEGER;
        return read_based(digits, bits, &node->integer) ? NUMERAL_OK : NUMERAL_NONE;
    }
    return read_decimal(digits, node);
}

/* --- Any scalar --- */

static bool is_scalar_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("+-_.:", c));
}

/* The bytes of the scalar at the cursor. A date may be followed by one space and a time. */
static struct ak_str scalar_text(const struct ak_toml_in *in)
{
    const char *p = in->at;
    while (p < in->end && is_scalar_char(*p)) {
        p++;
    }
    if (p - in->at == 10 && in->at[4] == '-' && in->end - p >= 3 && p[0] == ' ' && p[1] >= '0' &&
        p[1] <= '9' && p[2] >= '0' && p[2] <= '9') {
        p++;
        while (p < in->end && is_scalar_char(*p)) {
            p++;
        }
    }
    return (struct ak_str){in->at, (size_t)(p - in->at)};
}

bool ak_toml_scalar(struct ak_toml_in *in, struct ak_toml *node)
{
    struct ak_str text = scalar_text(in);
    bool is_true = ak_str_eq(text, AK_STR("true"));
    struct ak_str shown = ak_str_sub(text, 0, 40);
    if (text.len == 0) {
        return ak_toml_fail(in, "expected a value");
    }
    if (is_true || ak_str_eq(text, AK_STR("false"))) {
        node->type = AK_TOML_BOOL;
        node->boolean = is_true;
    } else if (!ak_toml_time(text, node)) {
        enum numeral got = read_number(in, text, node);
        if (got == NUMERAL_RANGE) {
            return ak_toml_fail(in, "'%.*s' is out of range", AK_STR_ARG(shown));
        }
        if (got == NUMERAL_NONE) {
            return ak_toml_fail(in, "'%.*s' is no value (strings need quotes)", AK_STR_ARG(shown));
        }
    }
    in->at += text.len;
    return true;
}
