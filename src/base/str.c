/* str.c — byte strings and buffers. */
#include "base/str.h"
#include "base/mem.h"
#include <stdio.h>
#include <string.h>

#define BUF_CAP_MIN 64

struct ak_str ak_str_of(const char *cstr)
{
    return (struct ak_str){cstr, cstr ? strlen(cstr) : 0};
}

bool ak_str_eq(struct ak_str a, struct ak_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

bool ak_str_eq_nocase(struct ak_str a, struct ak_str b)
{
    if (a.len != b.len) {
        return false;
    }
    for (size_t i = 0; i < a.len; i++) {
        if (lower(a.p[i]) != lower(b.p[i])) {
            return false;
        }
    }
    return true;
}

int ak_str_cmp(struct ak_str a, struct ak_str b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common ? memcmp(a.p, b.p, common) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

bool ak_str_has_prefix(struct ak_str s, struct ak_str prefix)
{
    return s.len >= prefix.len && ak_str_eq(ak_str_sub(s, 0, prefix.len), prefix);
}

bool ak_str_has_suffix(struct ak_str s, struct ak_str suffix)
{
    return s.len >= suffix.len && ak_str_eq(ak_str_sub(s, s.len - suffix.len, suffix.len), suffix);
}

struct ak_str ak_str_sub(struct ak_str s, size_t from, size_t len)
{
    if (from >= s.len) {
        return AK_STR_NONE;
    }
    size_t rest = s.len - from;
    return (struct ak_str){s.p + from, len < rest ? len : rest};
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct ak_str ak_str_trim(struct ak_str s)
{
    while (s.len && is_blank(s.p[0])) {
        s.p++;
        s.len--;
    }
    while (s.len && is_blank(s.p[s.len - 1])) {
        s.len--;
    }
    return s;
}

bool ak_str_split(struct ak_str s, char sep, struct ak_str *head, struct ak_str *tail)
{
    const char *at = s.len ? memchr(s.p, sep, s.len) : NULL;
    if (!at) {
        *head = s;
        *tail = AK_STR_NONE;
        return false;
    }
    size_t before = (size_t)(at - s.p);
    *head = (struct ak_str){s.p, before};
    *tail = (struct ak_str){at + 1, s.len - before - 1};
    return true;
}

bool ak_str_u64(struct ak_str s, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    if (s.len == 0 || s.len > 20) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9' || __builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(s.p[i] - '0'), &value)) {
            return false;
        }
    }
    if (value > max) {
        return false;
    }
    *out = value;
    return true;
}

/* Length of the UTF-8 sequence at p (n bytes are left), 0 when it is not valid. */
static size_t utf8_sequence(const unsigned char *p, size_t n)
{
    if (p[0] < 0x80) {
        return 1;
    }
    size_t len = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    if (p[0] < 0xC2 || p[0] > 0xF4 || n < len) {
        return 0;
    }
    unsigned char low = 0x80;
    unsigned char high = 0xBF;
    switch (p[0]) { /* the second byte rules out overlong forms, surrogates and > U+10FFFF */
    case 0xE0:
        low = 0xA0;
        break;
    case 0xED:
        high = 0x9F;
        break;
    case 0xF0:
        low = 0x90;
        break;
    case 0xF4:
        high = 0x8F;
        break;
    default:
        break;
    }
    if (p[1] < low || p[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < len; i++) {
        if ((p[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    return len;
}

bool ak_utf8_is_valid(struct ak_str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t i = 0;
    while (i < s.len) {
        uint64_t word;
        if (s.len - i >= sizeof word) {
            memcpy(&word, p + i, sizeof word);
            if ((word & 0x8080808080808080u) == 0) {
                i += sizeof word;
                continue;
            }
        }
        size_t step = utf8_sequence(p + i, s.len - i);
        if (step == 0) {
            return false;
        }
        i += step;
    }
    return true;
}

void ak_buf_init(struct ak_buf *buf, size_t max)
{
    *buf = (struct ak_buf){.max = max};
}

void ak_buf_release(struct ak_buf *buf)
{
    ak_free(buf->p);
    *buf = (struct ak_buf){.max = buf->max};
}

void ak_buf_clear(struct ak_buf *buf)
{
    buf->len = 0;
    buf->failed = buf->no_memory = false;
}

char *ak_buf_reserve(struct ak_buf *buf, size_t more)
{
    size_t max = buf->max ? buf->max : AK_BUF_MAX_DEFAULT;
    size_t need = 0;
    if (buf->failed || ak_add_overflows(buf->len, more, &need) || need > max) {
        buf->failed = true;
        return NULL;
    }
    if (need > buf->cap || !buf->p) {
        size_t cap = buf->cap ? buf->cap : BUF_CAP_MIN;
        while (cap < need) {
            cap += cap / 2 + BUF_CAP_MIN;
        }
        cap = cap > max && need <= max ? max : cap;
        char *p = ak_try_realloc(buf->p, cap);
        if (!p) {
            buf->failed = buf->no_memory = true;
            return NULL;
        }
        buf->p = p;
        buf->cap = cap;
    }
    return buf->p + buf->len;
}

void ak_buf_add(struct ak_buf *buf, const void *p, size_t len)
{
    char *to = ak_buf_reserve(buf, len);
    if (to && len) {
        memcpy(to, p, len);
        buf->len += len;
    }
}

void ak_buf_add_str(struct ak_buf *buf, struct ak_str s)
{
    ak_buf_add(buf, s.p, s.len);
}

void ak_buf_add_char(struct ak_buf *buf, char c)
{
    ak_buf_add(buf, &c, 1);
}

void ak_buf_add_fmt(struct ak_buf *buf, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    int need = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (need >= 0) {
        char *to = ak_buf_reserve(buf, (size_t)need + 1);
        if (to) {
            (void)vsnprintf(to, (size_t)need + 1, fmt, again);
            buf->len += (size_t)need;
        }
    }
    va_end(again);
}

enum ak_rc ak_buf_check(const struct ak_buf *buf, struct ak_err *err)
{
    if (!buf->failed) {
        return AK_OK;
    }
    if (buf->no_memory) {
        return ak_fail(err, AK_NOMEM, "no memory for a buffer of more than %zu bytes", buf->cap);
    }
    size_t max = buf->max ? buf->max : AK_BUF_MAX_DEFAULT;
    return ak_fail(err, AK_TOO_BIG, "more than %zu bytes", max);
}

const char *ak_buf_cstr(struct ak_buf *buf)
{
    char *end = ak_buf_reserve(buf, 1);
    if (!end) {
        return "";
    }
    *end = '\0';
    return buf->p;
}

struct ak_str ak_buf_str(const struct ak_buf *buf)
{
    return (struct ak_str){buf->p, buf->len};
}

char *ak_buf_take(struct ak_buf *buf, size_t *len)
{
    char *p = buf->p;
    *len = buf->len;
    buf->p = NULL;
    ak_buf_release(buf);
    return p;
}
