/* json_write.c — the writer: values appended to a buffer as JSON. */
#include "base/json_priv.h"
#include <stdio.h>

#define F32_TEXT_MAX 16
#define F32_CHUNK 64 /* numbers laid out on the stack before they are appended */

/* --- Strings --- */

static void put_escape(struct ak_buf *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char letters[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
                                   ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\'};
    char letter = c < sizeof letters ? letters[c] : '\0';
    if (letter) {
        char text[2] = {'\\', letter};
        ak_buf_add(out, text, sizeof text);
    } else {
        char text[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        ak_buf_add(out, text, sizeof text);
    }
}

/* Valid UTF-8 between quotes. */
static void put_valid(struct ak_buf *out, struct ak_str s)
{
    const char *end = s.p + s.len;
    for (const char *p = s.p; p < end;) {
        const char *special = ak_json_find_special(p, end);
        ak_buf_add(out, p, (size_t)(special - p));
        p = special;
        if (p < end) {
            put_escape(out, (unsigned char)*p++);
        }
    }
}

/* Bytes of the valid UTF-8 sequence at the start of `s`, or 0. */
static size_t sequence_len(struct ak_str s)
{
    for (size_t len = 1; len <= 4 && len <= s.len; len++) {
        if (ak_utf8_is_valid(ak_str_sub(s, 0, len))) {
            return len;
        }
    }
    return 0;
}

/* A text must stay valid JSON whatever bytes end up in it (a file name, say): what is not UTF-8
 * becomes U+FFFD, byte by byte. */
static void put_repaired(struct ak_buf *out, struct ak_str s)
{
    while (s.len) {
        size_t len = sequence_len(s);
        if (len) {
            put_valid(out, ak_str_sub(s, 0, len));
        } else {
            ak_buf_add_str(out, AK_STR("\xEF\xBF\xBD"));
            len = 1;
        }
        s = (struct ak_str){s.p + len, s.len - len};
    }
}

void ak_json_put_string(struct ak_buf *out, struct ak_str s)
{
    ak_buf_add_char(out, '"');
    if (s.len && ak_utf8_is_valid(s)) {
        put_valid(out, s);
    } else {
        put_repaired(out, s);
    }
    ak_buf_add_char(out, '"');
}

/* --- Numbers --- */

static size_t f32_text(float value, char text[F32_TEXT_MAX])
{
    size_t len = ak_f32_print(value, text);
    if (len == 0) { /* JSON has no word for an infinity or not-a-number */
        memcpy(text, "null", 4);
        len = 4;
    }
    return len;
}

void ak_json_put_f32(struct ak_buf *out, float value)
{
    char text[F32_TEXT_MAX];
    ak_buf_add(out, text, f32_text(value, text));
}

void ak_json_put_f32_array(struct ak_buf *out, const float *values, size_t count)
{
    ak_buf_add_char(out, '[');
    for (size_t i = 0; i < count;) {
        char text[F32_CHUNK * (F32_TEXT_MAX + 1)];
        size_t len = 0;
        size_t stop = count - i < F32_CHUNK ? count : i + F32_CHUNK;
        for (; i < stop; i++) {
            if (i) {
                text[len++] = ',';
            }
            len += f32_text(values[i], text + len);
        }
        ak_buf_add(out, text, len);
    }
    ak_buf_add_char(out, ']');
}

void ak_json_put_double(struct ak_buf *out, double value)
{
    char text[32];
    if (!__builtin_isfinite(value)) {
        ak_buf_add_str(out, AK_STR("null"));
        return;
    }
    for (int precision = 15; precision <= 17; precision++) {
        int len = snprintf(text, sizeof text, "%.*g", precision, value);
        for (char *p = text; *p; p++) {
            if (!strchr("0123456789+-e", *p)) {
                *p = '.'; /* another locale's decimal point */
            }
        }
        struct ak_decimal back;
        if (precision == 17 || (ak_decimal_scan(text, text + len, &back) == (size_t)len &&
                                ak_decimal_to_double(&back) == value)) {
            ak_buf_add(out, text, (size_t)len);
            return;
        }
    }
}

void ak_json_put_u64(struct ak_buf *out, uint64_t value)
{
    char text[20];
    size_t at = sizeof text;
    do {
        text[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    ak_buf_add(out, text + at, sizeof text - at);
}

void ak_json_put_i64(struct ak_buf *out, int64_t value)
{
    if (value < 0) {
        ak_buf_add_char(out, '-');
    }
    ak_json_put_u64(out, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

/* --- Copying --- */

/* One past the closing quote of the string that opens at p. */
static const char *string_end(const char *p, const char *end)
{
    for (p++; p < end; p++) {
        p = ak_json_find_special(p, end);
        if (p == end || *p == '"') {
            return p < end ? p + 1 : end;
        }
        if (*p == '\\' && p + 1 < end) {
            p++;
        }
    }
    return end;
}

void ak_json_put_compact(struct ak_buf *out, struct ak_str valid_json)
{
    if (valid_json.len == 0) {
        return;
    }
    const char *end = valid_json.p + valid_json.len;
    const char *from = valid_json.p; /* not yet copied */
    for (const char *p = from; p < end;) {
        if (*p == '"') {
            p = string_end(p, end);
        } else if (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r') {
            ak_buf_add(out, from, (size_t)(p - from));
            p = ak_json_blank(p, end);
            from = p;
        } else {
            p++;
        }
    }
    ak_buf_add(out, from, (size_t)(end - from));
}
