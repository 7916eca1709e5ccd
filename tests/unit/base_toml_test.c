/* base_toml_test.c — the TOML reader: the public conformance files, limits, messages. */
#include "base/fault.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/toml.h"
#include "support/test.h"
#include <ftw.h>
#include <stdlib.h>

static enum ak_rc parse(struct ak_arena *arena, struct ak_str text, const struct ak_toml **root,
                        struct ak_err *err)
{
    ak_arena_init(arena, 0);
    return ak_toml_parse(text, "t.toml", arena, root, err);
}

static enum ak_rc parse_and_forget(struct ak_str text, struct ak_err *err)
{
    struct ak_arena arena;
    const struct ak_toml *root = NULL;
    enum ak_rc rc = parse(&arena, text, &root, err);
    ak_arena_release(&arena);
    return rc;
}

/* --- Comparison with toml-test's tagged JSON --- */

static bool same_float(double got, const char *want)
{
    if (strstr(want, "nan")) {
        return isnan(got) != 0;
    }
    return got == strtod(want, NULL);
}

/* RFC 3339 with the fraction as short as it can be, so that .600 and .6 compare as equal. */
static void print_time(const struct ak_toml *node, char *text, size_t size)
{
    const struct ak_toml_time *t = &node->time;
    struct ak_buf buf;
    ak_buf_init(&buf, 0);
    if (node->type != AK_TOML_LOCAL_TIME) {
        ak_buf_add_fmt(&buf, "%04d-%02d-%02d", t->year, t->month, t->day);
    }
    if (node->type != AK_TOML_LOCAL_DATE) {
        ak_buf_add_fmt(&buf, "%s%02d:%02d:%02d", buf.len ? "T" : "", t->hour, t->minute, t->second);
        if (t->nanosecond) {
            ak_buf_add_fmt(&buf, ".%09u", t->nanosecond);
            while (buf.p[buf.len - 1] == '0') {
                buf.len--;
            }
        }
    }
    if (node->type == AK_TOML_OFFSET_DATETIME && t->offset_minutes) {
        int away = abs(t->offset_minutes);
        ak_buf_add_fmt(&buf, "%c%02d:%02d", t->offset_minutes < 0 ? '-' : '+', away / 60,
                       away % 60);
    } else if (node->type == AK_TOML_OFFSET_DATETIME) {
        ak_buf_add_char(&buf, 'Z');
    }
    (void)snprintf(text, size, "%s", ak_buf_cstr(&buf));
    ak_buf_release(&buf);
}

/* Drop zeros at the end of a fraction: "…:56.600Z" → "…:56.6Z". */
static void shorten_time(struct ak_str want, char *text, size_t size)
{
    (void)snprintf(text, size, "%.*s", AK_STR_ARG(want));
    char *point = strchr(text, '.');
    if (!point) {
        return;
    }
    char *stop = point + 1 + strspn(point + 1, "0123456789");
    char *keep = stop;
    while (keep > point + 1 && keep[-1] == '0') {
        keep--;
    }
    keep = keep == point + 1 ? point : keep;
    memmove(keep, stop, strlen(stop) + 1);
}

static bool same_scalar(const struct ak_toml *node, struct ak_str type, struct ak_str value)
{
    static const char *const names[] = {"string",   "integer",        "float",      "bool",
                                        "datetime", "datetime-local", "date-local", "time-local"};
    char got[128];
    char want[128];
    if (!ak_str_eq(type, ak_str_of(names[node->type]))) {
        return false;
    }
    (void)snprintf(want, sizeof want, "%.*s", AK_STR_ARG(value));
    switch (node->type) {
    case AK_TOML_STRING:
        return ak_str_eq(node->string, value);
    case AK_TOML_INTEGER:
        return node->integer == strtoll(want, NULL, 10);
    case AK_TOML_FLOAT:
        return same_float(node->number, want);
    case AK_TOML_BOOL:
        return node->boolean == (strcmp(want, "true") == 0);
    case AK_TOML_OFFSET_DATETIME:
    case AK_TOML_LOCAL_DATETIME:
    case AK_TOML_LOCAL_DATE:
    case AK_TOML_LOCAL_TIME:
        print_time(node, got, sizeof got);
        shorten_time(value, want, sizeof want);
        return strcmp(got, want) == 0;
    case AK_TOML_ARRAY:
    case AK_TOML_TABLE:
    default:
        return false;
    }
}

static bool same_tagged(const struct ak_toml *node, struct ak_json *in)
{
    struct ak_str type = AK_STR_NONE;
    struct ak_str value = AK_STR_NONE;
    struct ak_str key;
    ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        ak_json_string(in, ak_str_eq(key, AK_STR("type")) ? &type : &value);
    }
    return !ak_json_failed(in) && same_scalar(node, type, value);
}

static bool same(const struct ak_toml *node, struct ak_json *in)
{
    uint32_t count = 0;
    struct ak_str key;
    if (node->type == AK_TOML_TABLE) {
        ak_json_object(in);
        while (ak_json_next_key(in, &key)) {
            const struct ak_toml *child = ak_toml_get(node, key);
            if (!child || !same(child, in)) {
                return false;
            }
            count++;
        }
    } else if (node->type == AK_TOML_ARRAY) {
        const struct ak_toml *child = node->first;
        ak_json_array(in);
        while (ak_json_next_element(in)) {
            if (!child || !same(child, in)) {
                return false;
            }
            child = child->next;
            count++;
        }
    } else {
        return same_tagged(node, in);
    }
    return !ak_json_failed(in) && count == node->count;
}

/* --- The conformance files --- */

#define FILES_MAX 1000

static char paths[FILES_MAX][512];
static size_t path_count;

static int collect(const char *path, const struct stat *st, int type)
{
    size_t len = strlen(path);
    (void)st;
    if (type == FTW_F && len > 5 && strcmp(path + len - 5, ".toml") == 0 &&
        path_count < FILES_MAX) {
        (void)snprintf(paths[path_count++], sizeof paths[0], "%s", path);
    }
    return 0;
}

static void list(const char *folder)
{
    path_count = 0;
    CHECK(ftw(ak_test_shared(folder), collect, 16) == 0);
    CHECK(path_count > 100 && path_count < FILES_MAX);
}

/* The file's bytes, with nothing behind them. */
static struct ak_str load(const char *path)
{
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    CHECK(fseek(file, 0, SEEK_END) == 0);
    size_t len = (size_t)ftell(file);
    rewind(file);
    char *p = ak_alloc(len);
    CHECK(fread(p, 1, len, file) == len);
    (void)fclose(file);
    return (struct ak_str){p, len};
}

static void unload(struct ak_str text)
{
    ak_free((void *)(uintptr_t)text.p);
}

TEST(toml, valid_conformance_files_give_the_values_in_their_json)
{
    list("data/toml-test/valid");
    for (size_t i = 0; i < path_count; i++) {
        struct ak_err err = {.rc = AK_OK};
        struct ak_arena arena;
        struct ak_json in;
        const struct ak_toml *root = NULL;
        char json_path[520];
        (void)snprintf(json_path, sizeof json_path, "%.*s.json", (int)strlen(paths[i]) - 5,
                       paths[i]);
        struct ak_str text = load(paths[i]);
        struct ak_str expected = load(json_path);
        if (parse(&arena, text, &root, &err) != AK_OK) {
            ak_test_fail(__FILE__, __LINE__, "%s: %s", paths[i], err.text);
        }
        ak_json_init(&in, expected);
        if (!same(root, &in) || ak_json_finish(&in, &err) != AK_OK) {
            ak_test_fail(__FILE__, __LINE__, "%s: other values than %s (%s)", paths[i], json_path,
                         err.text);
        }
        ak_json_release(&in);
        ak_arena_release(&arena);
        unload(text);
        unload(expected);
    }
}

TEST(toml, invalid_conformance_files_are_refused_with_file_and_line)
{
    list("data/toml-test/invalid");
    for (size_t i = 0; i < path_count; i++) {
        struct ak_err err = {.rc = AK_OK};
        struct ak_str text = load(paths[i]);
        if (parse_and_forget(text, &err) != AK_INVALID) {
            ak_test_fail(__FILE__, __LINE__, "%s was accepted (%s)", paths[i], err.text);
        }
        CHECK(strncmp(err.text, "t.toml:", 7) == 0 && err.text[7] >= '1' && err.text[7] <= '9');
        unload(text);
    }
}

TEST(toml, a_conformance_file_cut_anywhere_is_read_or_refused)
{
    list("data/toml-test/valid");
    for (size_t i = 0; i < path_count; i++) {
        struct ak_str text = load(paths[i]);
        for (size_t len = 0; len < text.len && len < 2000; len++) {
            char *copy = ak_alloc(len);
            memcpy(copy, text.p, len);
            enum ak_rc rc = parse_and_forget((struct ak_str){copy, len}, NULL);
            CHECK(rc == AK_OK || rc == AK_INVALID);
            ak_free(copy);
        }
        unload(text);
    }
}

/* --- Our own --- */

static const char sample[] = "title = \"a \\u00e9 \\t\\U0001F600\"\n"
                             "[s3] # store\r\n"
                             "endpoint = 'http://localhost:9000'\n"
                             "retry.count = 1_000\n"
                             "retry.pauses = [ 0.5, 1e3,\n  # more\n  -inf, ]\n"
                             "since = 1979-05-27 07:32:00.25-07:30\n"
                             "tags = { a = 0xFF, \"b c\" = true }\n"
                             "[[node]]\n"
                             "name = \"\"\"\none\\   \n   two\"\"\"\"\"\n"
                             "[[node]]\n"
                             "[node.disk]\n"
                             "size = -9223372036854775808\n";

TEST(toml, a_document_becomes_a_tree_with_lines)
{
    struct ak_err err;
    struct ak_arena arena;
    const struct ak_toml *root = NULL;
    CHECK_OK(parse(&arena, ak_str_of(sample), &root, &err));
    CHECK(ak_str_eq(root->first->string, AK_STR("a \xc3\xa9 \t\xf0\x9f\x98\x80")));
    const struct ak_toml *s3 = ak_toml_get(root, AK_STR("s3"));
    CHECK(s3 && s3->type == AK_TOML_TABLE && s3->count == 4);
    const struct ak_toml *endpoint = ak_toml_find(root, AK_STR("s3.endpoint"));
    CHECK(endpoint && endpoint == s3->first);
    CHECK(ak_str_eq(endpoint->string, AK_STR("http://localhost:9000")));
    CHECK_INT(endpoint->line, 3);
    CHECK_INT(ak_toml_find(root, AK_STR("s3.retry.count"))->integer, 1000);
    const struct ak_toml *pauses = ak_toml_find(root, AK_STR("s3.retry.pauses"));
    CHECK(pauses->count == 3 && pauses->first->number == 0.5 && pauses->last->number == -HUGE_VAL);
    CHECK_INT(pauses->last->line, 7);
    const struct ak_toml_time *since = &ak_toml_find(s3, AK_STR("since"))->time;
    CHECK(since->year == 1979 && since->month == 5 && since->day == 27 && since->hour == 7);
    CHECK(since->minute == 32 && since->second == 0 && since->nanosecond == 250000000);
    CHECK_INT(since->offset_minutes, -450);
    CHECK_INT(ak_toml_find(s3, AK_STR("tags.a"))->integer, 255);
    CHECK(ak_toml_get(ak_toml_get(s3, AK_STR("tags")), AK_STR("b c"))->boolean);
    const struct ak_toml *nodes = ak_toml_get(root, AK_STR("node"));
    CHECK(nodes->type == AK_TOML_ARRAY && nodes->count == 2);
    CHECK(ak_str_eq(ak_toml_get(nodes->first, AK_STR("name"))->string, AK_STR("onetwo\"\"")));
    CHECK(ak_toml_find(nodes->last, AK_STR("disk.size"))->integer == INT64_MIN);
    CHECK(ak_toml_find(root, AK_STR("s3.none.x")) == NULL);
    CHECK(ak_toml_find(root, AK_STR("title.x")) == NULL);
    CHECK(ak_toml_get(NULL, AK_STR("x")) == NULL);
    CHECK_RC(AK_INVALID, ak_toml_mismatch(endpoint, "t.toml", "a port", &err));
    CHECK_STR(err.text, "t.toml:3: expected a port for 'endpoint', not a string");
    ak_arena_release(&arena);
}

TEST(toml, messages_name_file_line_and_what_was_expected)
{
    static const char *const cases[][2] = {
        {"a = 1\nb = \n", "t.toml:2: expected a value"},
        {"a = yes", "t.toml:1: 'yes' is no value (strings need quotes)"},
        {"\n\n[a]\nb = 1\n\n[a]\n", "t.toml:6: 'a' is defined already, in line 3"},
        {"a = 1\na = 2", "t.toml:2: 'a' is defined already, in line 1"},
        {"a = 9223372036854775808", "t.toml:1: '9223372036854775808' is out of range"},
        {"a = 1e400", "t.toml:1: '1e400' is out of range"},
        {"a = 1 b = 2", "t.toml:1: expected the end of the line"},
        {"a = \"x\ny\"", "t.toml:1: a string without its closing quote"},
        {"a = '''x\ny", "t.toml:2: the string that begins in line 1 has no end"},
        {"a = \"\\ud800\"", "t.toml:1: U+D800 is no character"},
        {"a = [1 2]", "t.toml:1: expected ',' or ']' in an array"},
        {"[a", "t.toml:1: expected ']' after the name of a table"},
        {"a", "t.toml:1: expected '=' after the key 'a'"},
        {"= 1", "t.toml:1: expected a key"},
        {"a = 1\nb = \"\xff\"", "t.toml:2: not UTF-8"},
        {"a = \"x \\\n y\"", "t.toml:1: no such escape in a string"},
        {"a = 1 # \x01", "t.toml:1: a control character in a comment"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ak_err err = {.rc = AK_OK};
        CHECK_RC(AK_INVALID, parse_and_forget(ak_str_of(cases[i][0]), &err));
        CHECK_STR(err.text, cases[i][1]);
    }
}

TEST(toml, what_toml_1_1_would_add_is_refused)
{
    static const char *const texts[] = {
        "a = \"\\e\"", "a = \"\\x41\"",        "a = { b = 1, }", "a = { b = 1,\n c = 2 }",
        "a = 07:32",   "a = 1979-05-27T07:32", "\xc3\xa9 = 1"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        CHECK_RC(AK_INVALID, parse_and_forget(ak_str_of(texts[i]), NULL));
    }
}

/* `depth` times `open`, a middle, `depth` times `close`. */
static struct ak_str nested(struct ak_buf *buf, int depth, const char *open, const char *close)
{
    ak_buf_clear(buf);
    ak_buf_add_str(buf, AK_STR("a="));
    for (int i = 0; i < depth; i++) {
        ak_buf_add_str(buf, ak_str_of(open));
    }
    ak_buf_add_char(buf, '1');
    for (int i = 0; i < depth; i++) {
        ak_buf_add_str(buf, ak_str_of(close));
    }
    return ak_buf_str(buf);
}

TEST(toml, depth_keys_and_bytes_have_ceilings)
{
    struct ak_buf buf;
    ak_buf_init(&buf, 0);
    CHECK_RC(AK_OK, parse_and_forget(nested(&buf, AK_TOML_DEPTH_MAX - 1, "[", "]"), NULL));
    CHECK_RC(AK_TOO_BIG, parse_and_forget(nested(&buf, AK_TOML_DEPTH_MAX, "[", "]"), NULL));
    CHECK_RC(AK_OK, parse_and_forget(nested(&buf, AK_TOML_DEPTH_MAX - 1, "{a=", "}"), NULL));
    CHECK_RC(AK_TOO_BIG, parse_and_forget(nested(&buf, AK_TOML_DEPTH_MAX, "{a=", "}"), NULL));
    for (int depth = AK_TOML_DEPTH_MAX; depth <= AK_TOML_DEPTH_MAX + 1; depth++) {
        for (int header = 0; header < 2; header++) {
            ak_buf_clear(&buf);
            ak_buf_add_str(&buf, header ? AK_STR("[") : AK_STR_NONE);
            for (int i = 0; i < depth; i++) {
                ak_buf_add_str(&buf, i ? AK_STR(".k") : AK_STR("k"));
            }
            ak_buf_add_str(&buf, header ? AK_STR("]") : AK_STR("=1"));
            CHECK_RC(depth > AK_TOML_DEPTH_MAX ? AK_TOO_BIG : AK_OK,
                     parse_and_forget(ak_buf_str(&buf), NULL));
        }
    }
    for (int keys = AK_TOML_KEYS_MAX; keys <= AK_TOML_KEYS_MAX + 1; keys++) {
        ak_buf_clear(&buf);
        for (int i = 0; i < keys; i++) {
            ak_buf_add_fmt(&buf, "k%d=1\n", i);
        }
        CHECK_RC(keys > AK_TOML_KEYS_MAX ? AK_TOO_BIG : AK_OK,
                 parse_and_forget(ak_buf_str(&buf), NULL));
    }
    for (size_t len = AK_TOML_BYTES_MAX; len <= AK_TOML_BYTES_MAX + 1; len++) {
        ak_buf_clear(&buf);
        char *p = ak_buf_reserve(&buf, len);
        CHECK(p != NULL);
        memset(p, '\n', len);
        buf.len = len;
        CHECK_RC(len > AK_TOML_BYTES_MAX ? AK_TOO_BIG : AK_OK,
                 parse_and_forget(ak_buf_str(&buf), NULL));
    }
    ak_buf_release(&buf);
}

TEST(toml, memory_stays_proportional_to_the_text)
{
    struct ak_err err;
    struct ak_buf buf;
    struct ak_arena arena;
    const struct ak_toml *root = NULL;
    ak_buf_init(&buf, 0);
    ak_buf_add_str(&buf, AK_STR("a=["));
    while (buf.len < AK_TOML_BYTES_MAX - 64) {
        ak_buf_add_str(&buf, AK_STR("\"\\t\",\"\"\"\"\"\",'''x''',"));
    }
    ak_buf_add_char(&buf, ']');
    CHECK_OK(parse(&arena, ak_buf_str(&buf), &root, &err));
    CHECK(arena.used < 40u * AK_TOML_BYTES_MAX);
    ak_arena_release(&arena);
    ak_buf_release(&buf);
}

#ifdef AK_FAULTS
TEST(toml, every_allocation_may_fail)
{
    struct ak_buf buf;
    ak_buf_init(&buf, 0);
    for (int i = 0; i < 300; i++) {
        ak_buf_add_fmt(&buf,
                       "[t%d]\nname = \"\\tlong enough to fill a few blocks of an arena: %0100d\"\n"
                       "n = 1_0\n",
                       i, i);
    }
    int64_t nth = 0;
    for (bool fired = true; fired; nth++) {
        struct ak_err err = {.rc = AK_OK};
        ak_fault_alloc_at(nth);
        enum ak_rc rc = parse_and_forget(ak_buf_str(&buf), &err);
        fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK(rc == (fired ? AK_NOMEM : AK_OK));
    }
    CHECK(nth > 2);
    ak_buf_release(&buf);
}
#endif

TEST(toml, a_changed_byte_never_reads_past_the_end)
{
    uint64_t x = ak_test_seed() | 1;
    for (int i = 0; i < 20000; i++) {
        size_t len = sizeof sample - 1;
        char *copy = ak_alloc(len);
        memcpy(copy, sample, len);
        for (int edits = 0; edits < 3; edits++) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            copy[(x >> 33) % len] = "\"'\\{}[],=.0e-+:_#\n\r t\xc3Zu"[(x >> 20) % 25];
        }
        enum ak_rc rc = parse_and_forget((struct ak_str){copy, len}, NULL);
        CHECK(rc == AK_OK || rc == AK_INVALID);
        ak_free(copy);
    }
}

TEST_MAIN()
