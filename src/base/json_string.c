/* json_string.c — strings of the reader: escapes, surrogate pairs, UTF-8. */
#include "base/encode.h"
#include "base/json_priv.h"

/* The four hex digits at p, or -1. */
static int32_t hex4(const char *p, const char *end)
{
    int32_t value = 0;
    if (end - p < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        int digit = ak_hex_digit(p[i]);
        if (digit < 0) {
            return -1;
        }
        value = value * 16 + digit;
    }
    return value;
}

/* The code point of the "\u" escape at p, a pair of surrogates being one; *used is its bytes. -1:
 * malformed; -2: half a pair. */
static int32_t unicode_escape(const char *p, const char *end, size_t *used)
{
    int32_t first = hex4(p + 2, end);
    *used = 6;
    if (first < 0xD800 || first > 0xDFFF) {
        return first;
    }
    if (first > 0xDBFF || end - p < 12 || p[6] != '\\' || p[7] != 'u') {
        return -2;
    }
    int32_t second = hex4(p + 8, end);
    if (second < 0xDC00 || second > 0xDFFF) {
        return -2;
    }
    *used = 12;
    return 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
}

/* What the one-letter escape `c` stands for, or 0. */
static char short_escape(char c)
{
    switch (c) {
    case '"':
    case '\\':
    case '/':
        return c;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return '\0';
    }
}

/* Bytes of the escape at p (a backslash), or 0 with a failure recorded. */
static size_t check_escape(struct ak_json *in, const char *p)
{
    size_t used = 2;
    if (in->end - p >= 2 && p[1] == 'u') {
        int32_t code = unicode_escape(p, in->end, &used);
        if (code >= 0) {
            return used;
        }
        in->at = p;
        ak_json_fail(in, code == -1 ? "expected four hex digits after \\u"
                                    : "half of a surrogate pair in a string");
        return 0;
    }
    if (in->end - p >= 2 && short_escape(p[1])) {
        return used;
    }
    in->at = p;
    ak_json_fail(in, "no such escape in a string");
    return 0;
}

/* Check the string at the cursor (a quote); *raw is what is between the quotes, as written. */
bool ak_json_scan_string(struct ak_json *in, struct ak_str *raw, bool *escaped)
{
    const char *from = in->at + 1;
    const char *p = from;
    *escaped = false;
    for (;;) {
        p = ak_json_find_special(p, in->end);
        if (p == in->end) {
            ak_json_fail(in, "a string without its closing quote");
            return false;
        }
        if (*p == '"') {
            break;
        }
        if (*p != '\\') {
            in->at = p;
            ak_json_fail(in, "a control character in a string must be written as an escape");
            return false;
        }
        size_t used = check_escape(in, p);
        if (used == 0) {
            return false;
        }
        *escaped = true;
        p += used;
    }
    *raw = (struct ak_str){from, (size_t)(p - from)};
    if (!ak_utf8_is_valid(*raw)) {
        ak_json_fail(in, "a string that is not UTF-8");
        return false;
    }
    in->at = p + 1;
    return true;
}

char *ak_utf8_put(char *to, uint32_t c)
{
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xC0 | c >> 6);
        *to++ = (char)(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        *to++ = (char)(0xE0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 0x3F));
        *to++ = (char)(0x80 | (c & 0x3F));
    } else {
        *to++ = (char)(0xF0 | c >> 18);
        *to++ = (char)(0x80 | (c >> 12 & 0x3F));
        *to++ = (char)(0x80 | (c >> 6 & 0x3F));
        *to++ = (char)(0x80 | (c & 0x3F));
    }
    return to;
}

/* Write out a checked string with escapes: never longer than it was. */
static bool decode(struct ak_json *in, struct ak_str raw, struct ak_str *out)
{
    char *text = ak_arena_alloc(&in->scratch, raw.len);
    if (!text) {
        return ak_json_fail_memory(in, "no memory for a string of %zu bytes", raw.len);
    }
    char *to = text;
    const char *end = raw.p + raw.len;
    for (const char *p = raw.p; p < end;) {
        if (*p != '\\') {
            *to++ = *p++;
        } else if (p[1] != 'u') {
            *to++ = short_escape(p[1]);
            p += 2;
        } else {
            size_t used = 0;
            to = ak_utf8_put(to, (uint32_t)unicode_escape(p, end, &used));
            p += used;
        }
    }
    *out = (struct ak_str){text, (size_t)(to - text)};
    return true;
}

bool ak_json_read_string(struct ak_json *in, struct ak_str *out)
{
    struct ak_str raw;
    bool escaped = false;
    if (!ak_json_scan_string(in, &raw, &escaped)) {
        return false;
    }
    if (escaped) {
        return decode(in, raw, out);
    }
    *out = raw;
    return true;
}
