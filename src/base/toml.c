/* toml.c — keys, tables and arrays of a TOML document, and how they may be added to.
 *
 * I1  A table may be added to by a later header or dotted key only as its `made` allows:
 *       [header]    walks through IMPLICIT, HEADER and DOTTED tables and the last element of
 *                   TABLES; its last part must be new or IMPLICIT, and becomes HEADER
 *       [[header]]  walks the same; its last part must be new or TABLES
 *       a.b = v     walks through IMPLICIT and DOTTED tables only, which become DOTTED; its last
 *                   part must be new
 *     CLOSED is never added to. An inline table is OPEN while its own pairs are read.
 * I2  A child is one deeper than its parent, and no node is deeper than AK_TOML_DEPTH_MAX:
 *     recursion, here and in those who walk the tree, is bounded.
 */
#include "base/toml_priv.h"
#include <string.h>

static bool fail_v(struct ak_toml_in *in, enum ak_rc rc, const char *fmt, va_list ap)
    AK_PRINTF(3, 0);

static bool fail_v(struct ak_toml_in *in, enum ak_rc rc, const char *fmt, va_list ap)
{
    if (in->rc == AK_OK) {
        in->rc = ak_fail_v(in->err, rc, fmt, ap);
        (void)ak_wrap(in->err, rc, "%s:%u", in->file, in->line);
    }
    return false;
}

bool ak_toml_fail(struct ak_toml_in *in, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail_v(in, AK_INVALID, fmt, ap);
    va_end(ap);
    return false;
}

bool ak_toml_fail_rc(struct ak_toml_in *in, enum ak_rc rc, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail_v(in, rc, fmt, ap);
    va_end(ap);
    return false;
}

/* --- The tree --- */

const struct ak_toml *ak_toml_get(const struct ak_toml *table, struct ak_str key)
{
    if (table && table->type == AK_TOML_TABLE) {
        for (const struct ak_toml *node = table->first; node; node = node->next) {
            if (ak_str_eq(node->key, key)) {
                return node;
            }
        }
    }
    return NULL;
}

const struct ak_toml *ak_toml_find(const struct ak_toml *table, struct ak_str path)
{
    struct ak_str part;
    bool more = true;
    while (more && table) {
        more = ak_str_split(path, '.', &part, &path);
        table = ak_toml_get(table, part);
    }
    return table;
}

const char *ak_toml_type_name(enum ak_toml_type type)
{
    switch (type) {
    case AK_TOML_STRING:
        return "a string";
    case AK_TOML_INTEGER:
        return "an integer";
    case AK_TOML_FLOAT:
        return "a float";
    case AK_TOML_BOOL:
        return "a boolean";
    case AK_TOML_OFFSET_DATETIME:
        return "an offset date-time";
    case AK_TOML_LOCAL_DATETIME:
        return "a local date-time";
    case AK_TOML_LOCAL_DATE:
        return "a local date";
    case AK_TOML_LOCAL_TIME:
        return "a local time";
    case AK_TOML_ARRAY:
        return "an array";
    case AK_TOML_TABLE:
        return "a table";
    default:
        return "an unknown value";
    }
}

enum ak_rc ak_toml_mismatch(const struct ak_toml *node, const char *file, const char *what,
                            struct ak_err *err)
{
    return ak_fail(err, AK_INVALID, "%s:%u: expected %s for '%.*s', not %s", file, node->line, what,
                   AK_STR_ARG(node->key), ak_toml_type_name(node->type));
}

/* A new child at the end of `parent`; NULL with a failure recorded. */
static struct ak_toml *append(struct ak_toml_in *in, struct ak_toml *parent, struct ak_str key,
                              uint32_t line)
{
    if (parent->depth >= AK_TOML_DEPTH_MAX) {
        ak_toml_fail_rc(in, AK_TOO_BIG, "nested deeper than %d", AK_TOML_DEPTH_MAX);
        return NULL;
    }
    if (parent->type == AK_TOML_TABLE && parent->count >= AK_TOML_KEYS_MAX) {
        ak_toml_fail_rc(in, AK_TOO_BIG, "more than %d keys in one table", AK_TOML_KEYS_MAX);
        return NULL;
    }
    struct ak_toml *node = ak_arena_alloc(in->arena, sizeof *node);
    if (!node) {
        ak_toml_fail_rc(in, AK_NOMEM, "no memory for a value");
        return NULL;
    }
    *node = (struct ak_toml){.key = key, .line = line, .depth = (uint8_t)(parent->depth + 1)};
    if (parent->last) {
        parent->last->next = node;
    } else {
        parent->first = node;
    }
    parent->last = node;
    parent->count++;
    return node;
}

/* The node that `append` gave is written by the parser until the document is read. */
static struct ak_toml *find_own(struct ak_toml *table, struct ak_str key)
{
    return (struct ak_toml *)(uintptr_t)ak_toml_get(table, key);
}

static struct ak_toml *append_table(struct ak_toml_in *in, struct ak_toml *parent,
                                    struct ak_str key, enum ak_toml_made made)
{
    struct ak_toml *node = append(in, parent, key, in->line);
    if (node) {
        node->type = AK_TOML_TABLE;
        node->made = (uint8_t)made;
    }
    return node;
}

/* --- White space, comments, keys --- */

static void skip_blank(struct ak_toml_in *in)
{
    while (in->at < in->end && (*in->at == ' ' || *in->at == '\t')) {
        in->at++;
    }
}

bool ak_toml_newline(struct ak_toml_in *in)
{
    size_t len = 0;
    if (in->at < in->end && *in->at == '\n') {
        len = 1;
    } else if (in->end - in->at >= 2 && in->at[0] == '\r' && in->at[1] == '\n') {
        len = 2;
    }
    in->at += len;
    in->line += len > 0;
    return len > 0;
}

/* A comment up to its newline, if one is next. false only on a control character in it. */
static bool skip_comment(struct ak_toml_in *in)
{
    if (ak_toml_peek(in) != '#') {
        return true;
    }
    for (; in->at < in->end && *in->at != '\n'; in->at++) {
        unsigned char c = (unsigned char)*in->at;
        if (c == '\r' && in->end - in->at >= 2 && in->at[1] == '\n') {
            break;
        }
        if ((c < 0x20 && c != '\t') || c == 0x7F) {
            return ak_toml_fail(in, "a control character in a comment");
        }
    }
    return true;
}

/* Blanks, comments and newlines. */
static bool skip_lines(struct ak_toml_in *in)
{
    do {
        skip_blank(in);
        if (!skip_comment(in)) {
            return false;
        }
    } while (ak_toml_newline(in));
    return true;
}

/* What ends every statement: blanks, a comment, and a newline or the end of the text. */
static bool line_ends(struct ak_toml_in *in)
{
    skip_blank(in);
    if (!skip_comment(in)) {
        return false;
    }
    return in->at == in->end || ak_toml_newline(in) ||
           ak_toml_fail(in, "expected the end of the line");
}

static bool is_bare(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

/* One part of a key, and the blanks behind it. */
static bool read_key_part(struct ak_toml_in *in, struct ak_str *part)
{
    char c = ak_toml_peek(in);
    if (c == '"' || c == '\'') {
        if (!ak_toml_string(in, false, part)) {
            return false;
        }
    } else {
        const char *from = in->at;
        while (in->at < in->end && is_bare(*in->at)) {
            in->at++;
        }
        *part = (struct ak_str){from, (size_t)(in->at - from)};
        if (part->len == 0) {
            return ak_toml_fail(in, "expected a key");
        }
    }
    skip_blank(in);
    return true;
}

/* Is there another part? Then move to it. */
static bool key_goes_on(struct ak_toml_in *in)
{
    if (ak_toml_peek(in) != '.') {
        return false;
    }
    in->at++;
    skip_blank(in);
    return true;
}

static bool fail_twice(struct ak_toml_in *in, const struct ak_toml *old)
{
    return ak_toml_fail(in, "'%.*s' is defined already, in line %u", AK_STR_ARG(old->key),
                        old->line);
}

/* --- Values and pairs --- */

static bool read_value(struct ak_toml_in *in, struct ak_toml *node);

/* The rest of an array, behind its '['. */
static bool read_array(struct ak_toml_in *in, struct ak_toml *array)
{
    bool may_go_on = true;
    array->type = AK_TOML_ARRAY;
    array->made = AK_TOML_MADE_CLOSED;
    for (;;) {
        if (!skip_lines(in)) {
            return false;
        }
        if (ak_toml_peek(in) == ']') {
            in->at++;
            return true;
        }
        if (!may_go_on) {
            return ak_toml_fail(in, "expected ',' or ']' in an array");
        }
        struct ak_toml *node = append(in, array, AK_STR_NONE, in->line);
        if (!node || !read_value(in, node) || !skip_lines(in)) {
            return false;
        }
        may_go_on = ak_toml_peek(in) == ',';
        in->at += may_go_on;
    }
}

/* key = value, into `table` or a table below it. */
static bool read_pair(struct ak_toml_in *in, struct ak_toml *table)
{
    struct ak_str part;
    uint32_t line = in->line;
    if (!read_key_part(in, &part)) {
        return false;
    }
    while (key_goes_on(in)) {
        struct ak_toml *inner = find_own(table, part);
        if (!inner) {
            inner = append_table(in, table, part, AK_TOML_MADE_DOTTED);
        } else if (inner->type != AK_TOML_TABLE ||
                   (inner->made != AK_TOML_MADE_DOTTED && inner->made != AK_TOML_MADE_IMPLICIT)) {
            return fail_twice(in, inner);
        }
        if (!inner || !read_key_part(in, &part)) {
            return false;
        }
        inner->made = AK_TOML_MADE_DOTTED;
        table = inner;
    }
    if (ak_toml_peek(in) != '=') {
        return ak_toml_fail(in, "expected '=' after the key '%.*s'", AK_STR_ARG(part));
    }
    in->at++;
    skip_blank(in);
    const struct ak_toml *old = ak_toml_get(table, part);
    if (old) {
        return fail_twice(in, old);
    }
    struct ak_toml *node = append(in, table, part, line);
    return node && read_value(in, node);
}

/* The rest of an inline table, behind its '{': one line, no comma at the end. */
static bool read_inline_table(struct ak_toml_in *in, struct ak_toml *table)
{
    table->type = AK_TOML_TABLE;
    table->made = AK_TOML_MADE_OPEN;
    skip_blank(in);
    if (ak_toml_peek(in) == '}') {
        in->at++;
        table->made = AK_TOML_MADE_CLOSED;
        return true;
    }
    for (;;) {
        if (!read_pair(in, table)) {
            return false;
        }
        skip_blank(in);
        char c = ak_toml_peek(in);
        if (c != ',' && c != '}') {
            return ak_toml_fail(in, "expected ',' or '}' in an inline table");
        }
        in->at++;
        if (c == '}') {
            table->made = AK_TOML_MADE_CLOSED;
            return true;
        }
        skip_blank(in);
    }
}

/* Recursive through arrays and inline tables; `append` bounds the depth (I2). */
static bool read_value(struct ak_toml_in *in, struct ak_toml *node)
{
    switch (ak_toml_peek(in)) {
    case '"':
    case '\'':
        node->type = AK_TOML_STRING;
        return ak_toml_string(in, true, &node->string);
    case '[':
        in->at++;
        return read_array(in, node);
    case '{':
        in->at++;
        return read_inline_table(in, node);
    default:
        return ak_toml_scalar(in, node);
    }
}

/* --- Headers --- */

/* The table that a header's part leads to, on the way to its last part. */
static struct ak_toml *walk(struct ak_toml_in *in, struct ak_toml *table, struct ak_str part)
{
    struct ak_toml *inner = find_own(table, part);
    if (!inner) {
        return append_table(in, table, part, AK_TOML_MADE_IMPLICIT);
    }
    if (inner->type == AK_TOML_ARRAY && inner->made == AK_TOML_MADE_TABLES) {
        return inner->last;
    }
    if (inner->type != AK_TOML_TABLE || inner->made == AK_TOML_MADE_CLOSED) {
        fail_twice(in, inner);
        return NULL;
    }
    return inner;
}

static struct ak_toml *open_table(struct ak_toml_in *in, struct ak_toml *parent, struct ak_str part)
{
    struct ak_toml *table = find_own(parent, part);
    if (!table) {
        return append_table(in, parent, part, AK_TOML_MADE_HEADER);
    }
    if (table->type != AK_TOML_TABLE || table->made != AK_TOML_MADE_IMPLICIT) {
        fail_twice(in, table);
        return NULL;
    }
    table->made = AK_TOML_MADE_HEADER;
    table->line = in->line;
    return table;
}

static struct ak_toml *open_element(struct ak_toml_in *in, struct ak_toml *parent,
                                    struct ak_str part)
{
    struct ak_toml *array = find_own(parent, part);
    if (!array) {
        array = append(in, parent, part, in->line);
        if (!array) {
            return NULL;
        }
        array->type = AK_TOML_ARRAY;
        array->made = AK_TOML_MADE_TABLES;
    }
    if (array->type != AK_TOML_ARRAY || array->made != AK_TOML_MADE_TABLES) {
        fail_twice(in, array);
        return NULL;
    }
    return append_table(in, array, AK_STR_NONE, AK_TOML_MADE_HEADER);
}

/* [a.b] or [[a.b]] at the cursor; *current becomes the table that the next pairs go to. */
static bool read_header(struct ak_toml_in *in, struct ak_toml *root, struct ak_toml **current)
{
    struct ak_toml *table = root;
    struct ak_str part;
    in->at++;
    bool of_array = ak_toml_peek(in) == '[';
    in->at += of_array;
    skip_blank(in);
    if (!read_key_part(in, &part)) {
        return false;
    }
    while (key_goes_on(in)) {
        table = walk(in, table, part);
        if (!table || !read_key_part(in, &part)) {
            return false;
        }
    }
    size_t brackets = of_array ? 2 : 1;
    if ((size_t)(in->end - in->at) < brackets || memcmp(in->at, "]]", brackets) != 0) {
        return ak_toml_fail(in, "expected '%s' after the name of a table", of_array ? "]]" : "]");
    }
    in->at += brackets;
    *current = of_array ? open_element(in, table, part) : open_table(in, table, part);
    return *current != NULL;
}

static bool read_document(struct ak_toml_in *in, struct ak_toml *root)
{
    struct ak_toml *current = root;
    for (;;) {
        if (!skip_lines(in)) {
            return false;
        }
        if (in->at == in->end) {
            return true;
        }
        bool read =
            ak_toml_peek(in) == '[' ? read_header(in, root, &current) : read_pair(in, current);
        if (!read || !line_ends(in)) {
            return false;
        }
    }
}

/* The first line that is not UTF-8. */
static uint32_t bad_line(struct ak_str text)
{
    uint32_t line = 1;
    while (text.len) {
        struct ak_str head;
        struct ak_str tail;
        bool more = ak_str_split(text, '\n', &head, &tail);
        if (!more || !ak_utf8_is_valid(head)) {
            break;
        }
        text = tail;
        line++;
    }
    return line;
}

enum ak_rc ak_toml_parse(struct ak_str text, const char *file, struct ak_arena *arena,
                         const struct ak_toml **root, struct ak_err *err)
{
    struct ak_toml_in in = {.file = file, .arena = arena, .err = err, .line = 1, .rc = AK_OK};
    if (text.len > AK_TOML_BYTES_MAX) {
        return ak_fail(err, AK_TOO_BIG, "%s: larger than %u bytes", file, AK_TOML_BYTES_MAX);
    }
    if (!ak_utf8_is_valid(text)) {
        return ak_fail(err, AK_INVALID, "%s:%u: not UTF-8", file, bad_line(text));
    }
    if (ak_str_has_prefix(text, AK_STR("\xEF\xBB\xBF"))) { /* some editors put it there */
        text = ak_str_sub(text, 3, text.len);
    }
    in.at = text.len ? text.p : "";
    in.end = in.at + text.len;
    struct ak_toml *table = ak_arena_alloc(arena, sizeof *table);
    if (!table) {
        return ak_fail(err, AK_NOMEM, "%s: no memory", file);
    }
    *table = (struct ak_toml){.line = 1, .type = AK_TOML_TABLE, .made = AK_TOML_MADE_HEADER};
    if (!read_document(&in, table)) {
        return in.rc;
    }
    *root = table;
    return AK_OK;
}
