/* encode.c — hexadecimal and percent-encoding. */
#include "base/encode.h"

int ak_hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

void ak_hex(const void *bytes, size_t len, char *text)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = bytes;
    for (size_t i = 0; i < len; i++) {
        text[2 * i] = digits[p[i] >> 4];
        text[2 * i + 1] = digits[p[i] & 15];
    }
    text[2 * len] = '\0';
}

bool ak_unhex(struct ak_str text, void *bytes, size_t len)
{
    uint8_t *p = bytes;
    if (text.len != 2 * len) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        int high = ak_hex_digit(text.p[2 * i]);
        int low = ak_hex_digit(text.p[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        p[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

struct ak_str ak_percent_decode(struct ak_str text, bool plus_is_space, struct ak_arena *arena)
{
    char *out = ak_arena_alloc(arena, text.len + 1);
    size_t len = 0;
    if (!out) {
        return AK_STR_NONE;
    }
    for (size_t i = 0; i < text.len; i++) {
        char c = text.p[i];
        if (c == '+' && plus_is_space) {
            c = ' ';
        } else if (c == '%') {
            int high = text.len - i > 2 ? ak_hex_digit(text.p[i + 1]) : -1;
            int low = text.len - i > 2 ? ak_hex_digit(text.p[i + 2]) : -1;
            if (high < 0 || low < 0 || (high == 0 && low == 0)) {
                return AK_STR_NONE;
            }
            c = (char)(high * 16 + low);
            i += 2;
        }
        out[len++] = c;
    }
    out[len] = '\0';
    return (struct ak_str){out, len};
}
