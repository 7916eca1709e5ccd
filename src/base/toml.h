/* toml.h — a strict reader of TOML 1.0 (https://toml.io/en/v1.0.0): text to a tree of nodes.
 *
 *   rc = ak_toml_parse(text, "akidb.toml", &arena, &root, err); // "akidb.toml:12: expected …"
 *   for (const struct ak_toml *n = root->first; n; n = n->next) // in the order of the file
 *       … n->key, n->type, n->line …
 *   const struct ak_toml *size = ak_toml_get(root, AK_STR("size"));
 *   if (size && size->type != AK_TOML_INTEGER)
 *       return ak_toml_mismatch(size, "akidb.toml", "a number of bytes", err);
 *
 * Strict: UTF-8, no control characters, no key or table twice, no number out of range; nothing of
 * TOML 1.1. Ceilings: AK_TOML_BYTES_MAX, AK_TOML_DEPTH_MAX (the root is 0), AK_TOML_KEYS_MAX.
 *
 * Threads: a tree is read by any number of threads. Memory: nodes live in the arena; strings point
 * into the arena or into `text`, so both must outlive the tree.
 */
#pragma once
#include "base/arena.h"
#include "base/limits.h"

enum ak_toml_type {
    AK_TOML_STRING,
    AK_TOML_INTEGER,
    AK_TOML_FLOAT,
    AK_TOML_BOOL,
    AK_TOML_OFFSET_DATETIME, /* 1979-05-27T07:32:00-08:00 */
    AK_TOML_LOCAL_DATETIME,  /* 1979-05-27T07:32:00 */
    AK_TOML_LOCAL_DATE,      /* 1979-05-27 */
    AK_TOML_LOCAL_TIME,      /* 07:32:00 */
    AK_TOML_ARRAY,
    AK_TOML_TABLE
};

/* The parts that the type has; the others are 0. */
struct ak_toml_time {
    int16_t year;
    int16_t offset_minutes; /* east of UTC is positive */
    uint8_t month;          /* 1..12 */
    uint8_t day;            /* 1..31 */
    uint8_t hour;
    uint8_t minute;
    uint8_t second;      /* 60 in a leap second */
    uint32_t nanosecond; /* further digits are dropped, as the specification allows */
};

struct ak_toml {
    struct ak_str key;          /* in a table; .p is NULL in an array and for the root */
    const struct ak_toml *next; /* the table's or array's next child, in order */
    uint32_t line;              /* where the key, the header or the element begins, from 1 */
    enum ak_toml_type type;
    uint8_t made;  /* the parser's own: how a table came to be */
    uint8_t depth; /* 0 for the root */
    union {
        struct ak_str string;
        int64_t integer;
        double number;
        bool boolean;
        struct ak_toml_time time;
        struct { /* AK_TOML_ARRAY and AK_TOML_TABLE */
            const struct ak_toml *first;
            struct ak_toml *last;
            uint32_t count;
        };
    };
};

/* Parse a whole document; `file` names it in messages ("file:line: …"). AK_INVALID: not TOML;
 * AK_TOO_BIG: over a ceiling. *root is a table. */
AK_MUST enum ak_rc ak_toml_parse(struct ak_str text, const char *file, struct ak_arena *arena,
                                 const struct ak_toml **root, struct ak_err *err);
/* The child with that key, or NULL; NULL too when `table` is NULL or no table. */
const struct ak_toml *ak_toml_get(const struct ak_toml *table, struct ak_str key);
/* The same by a path of bare keys: "s3.endpoint". */
const struct ak_toml *ak_toml_find(const struct ak_toml *table, struct ak_str path);
const char *ak_toml_type_name(enum ak_toml_type type); /* "a string", "an integer", … */
/* Fails with AK_INVALID "file:line: expected <what> for 'key', not <type>". */
enum ak_rc ak_toml_mismatch(const struct ak_toml *node, const char *file, const char *what,
                            struct ak_err *err);
