/* toml_priv.h — what toml.c and toml_value.c share: the parser's place in the text. */
#pragma once
#include "base/toml.h"

/* How a table or array came to be decides what may be added to it later. */
enum ak_toml_made {
    AK_TOML_MADE_CLOSED,   /* inline tables, arrays and plain values: nothing may be added */
    AK_TOML_MADE_IMPLICIT, /* a table named on the way to another one: [a.b] makes a */
    AK_TOML_MADE_HEADER,   /* [a], or one element of [[a]] */
    AK_TOML_MADE_DOTTED,   /* a.b = 1 makes a */
    AK_TOML_MADE_TABLES,   /* the array that [[a]] appends to */
    AK_TOML_MADE_OPEN      /* an inline table while it is read */
};

struct ak_toml_in {
    const char *at;
    const char *end;
    const char *file;
    struct ak_arena *arena;
    struct ak_err *err;
    uint32_t line;
    enum ak_rc rc; /* the first failure */
};

/* Record a failure at the present line (the first one wins); returns false. */
bool ak_toml_fail(struct ak_toml_in *in, const char *fmt, ...) AK_PRINTF(2, 3);
/* The same with another code. */
bool ak_toml_fail_rc(struct ak_toml_in *in, enum ak_rc rc, const char *fmt, ...) AK_PRINTF(3, 4);

/* The byte at the cursor; '\0' at the end. (A NUL in the text matches nothing and is refused.) */
static inline char ak_toml_peek(const struct ak_toml_in *in)
{
    return in->at < in->end ? *in->at : '\0';
}

/* Consume LF or CRLF, if one is next. */
bool ak_toml_newline(struct ak_toml_in *in);
/* A quoted string at the cursor; multi-line ones only when allowed. */
bool ak_toml_string(struct ak_toml_in *in, bool multiline, struct ak_str *out);
/* Anything but strings, arrays and inline tables. */
bool ak_toml_scalar(struct ak_toml_in *in, struct ak_toml *node);
/* A date or time of exactly that text, in toml_time.c. false: it is none. */
bool ak_toml_time(struct ak_str text, struct ak_toml *node);
