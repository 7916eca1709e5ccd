/* str.h — ak_str: borrowed bytes; ak_buf: owned, growing bytes with a ceiling.
 *
 * An ak_str need not be NUL-terminated and owns nothing. An ak_buf grows up to `max` bytes
 * (AK_BUF_MAX_DEFAULT when 0): appends past it, or without memory, set `failed` and are dropped, so
 * a long run of appends is checked once, at its end, with ak_buf_check().
 *
 * Threads: a buffer belongs to one thread at a time.
 */
#pragma once
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ak_str {
    const char *p;
    size_t len;
};

#define AK_STR(literal) ((struct ak_str){"" literal, sizeof(literal) - 1})
#define AK_STR_NONE ((struct ak_str){0, 0})
#define AK_STR_ARG(s) (int)(s).len, (s).p /* for "%.*s" */

struct ak_str ak_str_of(const char *cstr); /* borrowed; NULL gives the empty string */
bool ak_str_eq(struct ak_str a, struct ak_str b);
bool ak_str_eq_nocase(struct ak_str a, struct ak_str b); /* ASCII only */
int ak_str_cmp(struct ak_str a, struct ak_str b);        /* bytewise, like memcmp then length */
bool ak_str_has_prefix(struct ak_str s, struct ak_str prefix);
bool ak_str_has_suffix(struct ak_str s, struct ak_str suffix);
struct ak_str ak_str_sub(struct ak_str s, size_t from, size_t len); /* clipped to s */
struct ak_str ak_str_trim(struct ak_str s);                         /* space, tab, CR, LF */
/* Cut `s` at the first `sep`: the part before goes to *head and the rest to *tail. false: no sep
 * (then *head = s, *tail empty). */
bool ak_str_split(struct ak_str s, char sep, struct ak_str *head, struct ak_str *tail);
/* Whole string as an unsigned decimal ≤ max. */
AK_MUST bool ak_str_u64(struct ak_str s, uint64_t max, uint64_t *out);
bool ak_utf8_is_valid(struct ak_str s); /* RFC 3629: no surrogates, no overlong forms */

#define AK_BUF_MAX_DEFAULT ((size_t)1 << 30)

struct ak_buf {
    char *p; /* NULL while empty */
    size_t len;
    size_t cap;
    size_t max; /* ceiling in bytes; 0 means AK_BUF_MAX_DEFAULT */
    bool failed;
    bool no_memory; /* with failed: for want of memory, not for the ceiling */
};

void ak_buf_init(struct ak_buf *buf, size_t max);
void ak_buf_release(struct ak_buf *buf); /* idempotent; the buffer is empty and usable after it */
void ak_buf_clear(struct ak_buf *buf);   /* length 0, memory kept, failed reset */
/* Make room for `more` bytes after len; NULL when that is over the ceiling or out of memory. */
char *ak_buf_reserve(struct ak_buf *buf, size_t more);
void ak_buf_add(struct ak_buf *buf, const void *p, size_t len);
void ak_buf_add_str(struct ak_buf *buf, struct ak_str s);
void ak_buf_add_char(struct ak_buf *buf, char c);
void ak_buf_add_fmt(struct ak_buf *buf, const char *fmt, ...) AK_PRINTF(2, 3);
/* AK_OK, or AK_TOO_BIG/AK_NOMEM when an append was dropped. */
AK_MUST enum ak_rc ak_buf_check(const struct ak_buf *buf, struct ak_err *err);
/* NUL-terminate (the NUL is not counted in len) and give the text; "" when nothing fits. */
const char *ak_buf_cstr(struct ak_buf *buf);
struct ak_str ak_buf_str(const struct ak_buf *buf); /* valid until the buffer changes */
/* Ownership of the bytes moves to the caller (ak_free); the buffer is left empty. */
char *ak_buf_take(struct ak_buf *buf, size_t *len);
