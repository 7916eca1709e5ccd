/* base_json_test.c — the JSON reader and writer (numbers have base_json_number_test.c). */
#include "base/fault.h"
#include "base/json.h"
#include "base/mem.h"
#include "support/test.h"

/* A copy of exactly `len` bytes on the heap: a sanitizer sees any byte read past the end. */
static char *exact_copy(const char *p, size_t len)
{
    char *copy = ak_alloc(len);
    memcpy(copy, p, len);
    return copy;
}

static enum ak_rc skip_all(struct ak_str text, struct ak_err *err)
{
    struct ak_json in;
    ak_json_init(&in, text);
    ak_json_skip(&in, NULL);
    enum ak_rc rc = ak_json_finish(&in, err);
    ak_json_release(&in);
    return rc;
}

static bool is_valid(const char *text)
{
    size_t len = strlen(text);
    char *copy = exact_copy(text, len);
    bool valid = skip_all((struct ak_str){copy, len}, NULL) == AK_OK;
    ak_free(copy);
    return valid;
}

static const char *reason(const char *text)
{
    static struct ak_err err;
    ak_err_clear(&err);
    (void)skip_all(ak_str_of(text), &err);
    return err.text;
}

struct sample {
    struct ak_str name;
    uint64_t k;
    int64_t shift;
    double threshold;
    bool exact;
    bool nothing;
    float vector[4];
    size_t vector_count;
    size_t tags;
    struct ak_str filter;
};

static enum ak_rc read_sample(struct ak_json *in, struct sample *out, struct ak_err *err)
{
    struct ak_str key;
    *out = (struct sample){.k = 0};
    ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        if (ak_str_eq(key, AK_STR("name"))) {
            ak_json_string(in, &out->name);
        } else if (ak_str_eq(key, AK_STR("k"))) {
            ak_json_u64(in, 1, 10000, &out->k);
        } else if (ak_str_eq(key, AK_STR("shift"))) {
            ak_json_i64(in, -5, INT64_MAX, &out->shift);
        } else if (ak_str_eq(key, AK_STR("threshold"))) {
            out->nothing = ak_json_null(in);
            if (!out->nothing) {
                ak_json_double(in, &out->threshold);
            }
        } else if (ak_str_eq(key, AK_STR("exact"))) {
            ak_json_bool(in, &out->exact);
        } else if (ak_str_eq(key, AK_STR("vector"))) {
            ak_json_f32_array(in, out->vector, 4, &out->vector_count);
        } else if (ak_str_eq(key, AK_STR("filter"))) {
            ak_json_skip(in, &out->filter);
        } else if (ak_str_eq(key, AK_STR("tags"))) {
            ak_json_array(in);
            while (ak_json_next_element(in)) {
                struct ak_str tag;
                ak_json_string(in, &tag);
                out->tags++;
            }
        } else {
            ak_json_unknown_key(in, key, "name, k, shift, threshold, exact, vector, filter, tags");
        }
    }
    return ak_json_finish(in, err);
}

static const char sample_text[] = " { \"name\" : \"caf\\u00e9 \\ud83d\\ude00\\n\" , "
                                  "\"k\":10,\"shift\": -5, \"threshold\":0.25,\r\n"
                                  "\t\"exact\":true,\"vector\":[1, -2.5e-3,3 ,4],\"filter\": "
                                  "{\"must\":[{\"key\":\"l\\\"\",\"a\":[]}]},"
                                  "\"t\\u0061gs\":[\"a\",\"\",\"c\\/\"]} ";

TEST(json, an_object_is_read_field_by_field)
{
    struct ak_err err;
    struct ak_json in;
    struct sample got;
    ak_json_init(&in, ak_str_of(sample_text));
    CHECK_OK(read_sample(&in, &got, &err));
    CHECK(ak_str_eq(got.name, AK_STR("caf\xc3\xa9 \xf0\x9f\x98\x80\n")));
    CHECK_INT(got.k, 10);
    CHECK_INT(got.shift, -5);
    CHECK(got.threshold == 0.25 && got.exact && !got.nothing);
    CHECK(got.vector_count == 4 && got.vector[1] == -2.5e-3f && got.vector[3] == 4.0f);
    CHECK(ak_str_eq(got.filter, AK_STR("{\"must\":[{\"key\":\"l\\\"\",\"a\":[]}]}")));
    CHECK_INT(got.tags, 3);
    ak_json_release(&in);
    ak_json_release(&in);
}

TEST(json, a_text_cut_anywhere_is_refused)
{
    for (size_t len = 0; len < sizeof sample_text - 2; len++) {
        char *copy = exact_copy(sample_text, len);
        struct ak_err err = {.rc = AK_OK};
        struct ak_json in;
        struct sample got;
        ak_json_init(&in, (struct ak_str){copy, len});
        CHECK_RC(AK_INVALID, read_sample(&in, &got, &err));
        CHECK(strncmp(err.text, "at byte ", 8) == 0);
        CHECK_RC(AK_INVALID, skip_all((struct ak_str){copy, len}, NULL));
        ak_json_release(&in);
        ak_free(copy);
    }
}

TEST(json, a_changed_byte_never_reads_past_the_end)
{
    uint64_t x = ak_test_seed() | 1;
    for (int i = 0; i < 20000; i++) {
        size_t len = sizeof sample_text - 1;
        char *copy = exact_copy(sample_text, len);
        for (int edits = 0; edits < 3; edits++) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            copy[(x >> 33) % len] = "\"\\{}[],:0e-+.\x80\xf0u\0 t\x1f"[(x >> 20) % 21];
        }
        struct ak_json in;
        struct sample got;
        ak_json_init(&in, (struct ak_str){copy, len});
        enum ak_rc rc = read_sample(&in, &got, NULL);
        CHECK(rc == AK_OK || rc == AK_INVALID);
        CHECK(rc != AK_OK || skip_all((struct ak_str){copy, len}, NULL) == AK_OK);
        ak_json_release(&in);
        ak_free(copy);
    }
}

#ifdef AK_FAULTS
TEST(json, every_allocation_may_fail)
{
    int64_t nth = 0;
    for (;; nth++) {
        struct ak_err err = {.rc = AK_OK};
        struct ak_json in;
        struct sample got;
        ak_fault_alloc_at(nth);
        ak_json_init(&in, ak_str_of(sample_text));
        enum ak_rc rc = read_sample(&in, &got, &err);
        bool fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        ak_json_release(&in);
        CHECK(rc == (fired ? AK_NOMEM : AK_OK));
        if (!fired) {
            break;
        }
    }
    CHECK(nth >= 2);
}
#endif

TEST(json, valid_texts_are_accepted)
{
    static const char *const texts[] = {
        "null",
        "true",
        "false",
        "0",
        "-0",
        "-0.0e-0",
        "1E+2",
        "\"\"",
        "[]",
        "{}",
        " [ ] ",
        "{ }",
        "[null,true,false,[],{},\"\",0]",
        "{\"\":0}",
        "{\"a\":{\"a\":{\"a\":1}},\"b\":[{\"a\":1},{\"a\":2}]}",
        "\"\\u0000\\u001f\\uFFFF\\uD834\\udd1e\\b\\f\\n\\r\\t\\/\\\\\\\"\"",
        "\"\x7f\"",
        "1e308",
        "1e-999999999999999999999",
        "\"h\xc3\xa9llo w\xc3\xb6rld \xe2\x82\xac \xf0\x9f\x98\x80 and much more\"",
        "0e99999999999999999999"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        CHECK_STR(is_valid(texts[i]) ? "" : texts[i], "");
    }
}

TEST(json, what_is_not_json_is_refused)
{
    static const char *const texts[] = {"",
                                        " ",
                                        "nul",
                                        "nulll",
                                        "True",
                                        "tru",
                                        "01",
                                        "-",
                                        "+1",
                                        "1.",
                                        ".5",
                                        "-.5",
                                        "1e",
                                        "1e+",
                                        "0x1",
                                        "1_0",
                                        "NaN",
                                        "Infinity",
                                        "-Infinity",
                                        "1e309",
                                        "-1e999",
                                        "[1,]",
                                        "[,1]",
                                        "[1 2]",
                                        "[",
                                        "]",
                                        "[1",
                                        "[1,",
                                        "{",
                                        "}",
                                        "{\"a\"}",
                                        "{\"a\":}",
                                        "{\"a\":1,}",
                                        "{,}",
                                        "{a:1}",
                                        "{'a':1}",
                                        "{\"a\":1 \"b\":2}",
                                        "{\"a\" 1}",
                                        "{1:2}",
                                        "\"",
                                        "\"a",
                                        "\"\\\"",
                                        "\"\\x\"",
                                        "\"\\u12g4\"",
                                        "\"\\u123\"",
                                        "\"\\ud800\"",
                                        "\"\\udc00\"",
                                        "\"\\ud800\\u0041\"",
                                        "\"\\ud800x\"",
                                        "\"a\nb\"",
                                        "\"\t\"",
                                        "\"\x01\"",
                                        "\"\x80\"",
                                        "\"\xc0\x80\"",
                                        "\"\xed\xa0\x80\"",
                                        "\"\xf4\x90\x80\x80\"",
                                        "\"\xe2\x82\"",
                                        "'a'",
                                        "1 2",
                                        "{} {}",
                                        "[]]",
                                        "// c\n1",
                                        "[1]//",
                                        "\xef\xbb\xbf[]",
                                        "\f1",
                                        "{\"a\":1,\"a\":2}",
                                        "{\"a\":1,\"\\u0061\":2}",
                                        "[[{\"x\":{\"y\":1,\"z\":1,\"y\":1}}]]",
                                        "undefined",
                                        "[1}",
                                        "{\"a\":1]"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        CHECK_STR(is_valid(texts[i]) ? texts[i] : "", "");
    }
    CHECK_RC(AK_INVALID, skip_all((struct ak_str){"1\0", 2}, NULL));
    CHECK_RC(AK_INVALID, skip_all(AK_STR_NONE, NULL));
}

TEST(json, messages_name_place_field_and_what_was_expected)
{
    struct ak_err err;
    struct ak_json in;
    struct sample got;
    static const char *const cases[][2] = {
        {"{\"k\":0}", "at byte 5: expected an integer from 1 to 10000 for 'k'"},
        {"{\"k\":10001}", "at byte 5: expected an integer from 1 to 10000 for 'k'"},
        {"{\"k\":1.0}", "at byte 5: expected an integer from 1 to 10000 for 'k'"},
        {"{\"k\":99999999999999999999999}",
         "at byte 5: expected an integer from 1 to 10000 for 'k'"},
        {"{\"k\":\"1\"}", "at byte 5: expected an integer from 1 to 10000 for 'k'"},
        {"{\"shift\":-6}",
         "at byte 9: expected an integer from -5 to 9223372036854775807 for 'shift'"},
        {"{\"name\":", "at byte 8: expected a string for 'name', but the text ends here"},
        {"{\"vector\":[1,\"2\"]}", "at byte 13: expected a number for 'vector'"},
        {"{\"vector\":[1,2,3,4,5]}", "at byte 19: more than 4 numbers for 'vector'"},
        {"{\"vector\":[1,1e39]}", "at byte 13: expected a finite 32-bit number for 'vector'"},
        {"{\"k\":1,\"x\":2}",
         "at byte 8: unknown field 'x' (allowed: name, k, shift, threshold, exact, "
         "vector, filter, tags)"},
        {"{\"k\":1,\"k\":2}", "at byte 8: the key 'k' appears twice"},
        {"{\"k\":1,}", "at byte 7: a comma before '}'"},
        {"{\"k\":1}}", "at byte 7: expected the end of the text"},
        {"[1]", "at byte 0: expected an object"},
        {"", "at byte 0: expected an object, but the text ends here"},
        {"{\"filter\":{\"a\":[{\"b\":1},tru]}}", "at byte 24: expected true or false for 'a'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ak_json_init(&in, ak_str_of(cases[i][0]));
        CHECK_RC(AK_INVALID, read_sample(&in, &got, &err));
        CHECK_STR(err.text, cases[i][1]);
        ak_json_release(&in);
    }
    CHECK_STR(reason("[\"a\nb\"]"),
              "at byte 3: a control character in a string must be written as an escape");
}

TEST(json, the_first_failure_stays)
{
    struct ak_err err;
    struct ak_json in;
    uint64_t n = 7;
    ak_json_init(&in, AK_STR("[1,2]"));
    CHECK(ak_json_array(&in) && ak_json_next_element(&in));
    ak_json_fail(&in, "no %s today", "bread");
    ak_json_fail(&in, "second");
    CHECK(!ak_json_u64(&in, 0, 9, &n) && n == 7);
    CHECK(!ak_json_next_element(&in) && !ak_json_array(&in) && !ak_json_skip(&in, NULL));
    CHECK(ak_json_peek(&in) == AK_JSON_END && ak_json_failed(&in));
    CHECK_RC(AK_INVALID, ak_json_finish(&in, &err));
    CHECK_STR(err.text, "at byte 1: no bread today");
    ak_json_release(&in);
}

TEST(json, a_value_can_neither_be_left_out_nor_read_twice)
{
    struct ak_json in;
    struct ak_str key;
    uint64_t n = 0;
    ak_json_init(&in, AK_STR("{\"a\":,\"b\":1}"));
    CHECK(ak_json_object(&in) && ak_json_next_key(&in, &key));
    CHECK(!ak_json_next_key(&in, &key) && ak_json_failed(&in));
    ak_json_release(&in);

    ak_json_init(&in, AK_STR("[1 2]"));
    CHECK(ak_json_array(&in) && ak_json_next_element(&in) && ak_json_u64(&in, 0, 9, &n));
    CHECK(!ak_json_u64(&in, 0, 9, &n) && ak_json_failed(&in));
    ak_json_release(&in);

    ak_json_init(&in, AK_STR("[1,2]"));
    CHECK(ak_json_array(&in) && ak_json_next_element(&in) && ak_json_u64(&in, 0, 9, &n));
    CHECK_RC(AK_INVALID, ak_json_finish(&in, NULL));
    ak_json_release(&in);
}

TEST(json, peek_tells_the_type_and_consumes_nothing)
{
    static const char text[] = "[null,true,1,-1,\"\",[],{}]";
    static const enum ak_json_type want[] = {AK_JSON_NULL,   AK_JSON_BOOL,   AK_JSON_NUMBER,
                                             AK_JSON_NUMBER, AK_JSON_STRING, AK_JSON_ARRAY,
                                             AK_JSON_OBJECT};
    struct ak_json in;
    ak_json_init(&in, ak_str_of(text));
    CHECK(ak_json_peek(&in) == AK_JSON_ARRAY && ak_json_array(&in));
    size_t n = 0;
    while (ak_json_next_element(&in)) {
        CHECK(ak_json_peek(&in) == want[n] && ak_json_peek(&in) == want[n]);
        CHECK(ak_json_skip(&in, NULL));
        n++;
    }
    CHECK_INT(n, 7);
    CHECK(ak_json_peek(&in) == AK_JSON_END);
    CHECK_RC(AK_OK, ak_json_finish(&in, NULL));
    ak_json_release(&in);
}

TEST(json, nesting_ends_at_the_depth_limit)
{
    char text[2 * AK_JSON_DEPTH_MAX + 3];
    for (size_t depth = AK_JSON_DEPTH_MAX; depth <= AK_JSON_DEPTH_MAX + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        enum ak_rc want = depth > AK_JSON_DEPTH_MAX ? AK_INVALID : AK_OK;
        CHECK_RC(want, skip_all((struct ak_str){text, 2 * depth}, NULL));
    }
    float value = 0;
    size_t count = 0;
    struct ak_json in;
    memset(text, '[', AK_JSON_DEPTH_MAX + 1);
    ak_json_init(&in, (struct ak_str){text, AK_JSON_DEPTH_MAX + 1});
    for (int i = 0; i < AK_JSON_DEPTH_MAX; i++) {
        CHECK(ak_json_array(&in) && ak_json_next_element(&in));
    }
    CHECK(!ak_json_f32_array(&in, &value, 1, &count) && ak_json_failed(&in));
    ak_json_release(&in);
}

/* {"k0":…,"k1":…,…}; each value of every third key is an object with the same names. */
static void put_wide(struct ak_buf *out, int keys, int twice, bool nested)
{
    ak_buf_add_char(out, '{');
    for (int i = 0; i < keys; i++) {
        ak_buf_add_fmt(out, "%s\"k%d\":", i ? "," : "", i == keys - 1 && twice >= 0 ? twice : i);
        if (nested && i % 3 == 0) {
            put_wide(out, keys, -1, false);
        } else {
            ak_buf_add_char(out, '1');
        }
    }
    ak_buf_add_char(out, '}');
}

TEST(json, a_duplicate_is_found_among_few_keys_and_many)
{
    static const int sizes[] = {2, 63, 64, 65, 66, 100, 500};
    struct ak_buf text;
    ak_buf_init(&text, 0);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int n = sizes[i];
        for (int nested = 0; nested < 2; nested++) {
            ak_buf_clear(&text);
            put_wide(&text, n, -1, nested);
            CHECK_RC(AK_OK, skip_all(ak_buf_str(&text), NULL));
            for (int twice = 0; twice < n - 1; twice += 1 + n / 7) {
                ak_buf_clear(&text);
                put_wide(&text, n, twice, nested);
                CHECK_RC(AK_INVALID, skip_all(ak_buf_str(&text), NULL));
            }
        }
    }
    ak_buf_release(&text);
}

TEST(json, the_number_of_keys_has_a_ceiling)
{
    struct ak_err err;
    struct ak_buf text;
    ak_buf_init(&text, 0);
    put_wide(&text, AK_JSON_KEYS_MAX, -1, false);
    CHECK_OK(skip_all(ak_buf_str(&text), &err));
    ak_buf_clear(&text);
    put_wide(&text, AK_JSON_KEYS_MAX + 1, -1, false);
    CHECK_RC(AK_INVALID, skip_all(ak_buf_str(&text), &err));
    ak_buf_release(&text);
}

#ifdef AK_FAULTS
TEST(json, the_index_of_keys_may_fail_to_grow)
{
    struct ak_buf text;
    ak_buf_init(&text, 0);
    put_wide(&text, 200, -1, true);
    int64_t nth = 0;
    for (bool fired = true; fired; nth++) {
        ak_fault_alloc_at(nth);
        enum ak_rc rc = skip_all(ak_buf_str(&text), NULL);
        fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK(rc == (fired ? AK_NOMEM : AK_OK));
    }
    CHECK(nth > 5);
    ak_buf_release(&text);
}
#endif

static const char *written(struct ak_buf *buf, struct ak_str s)
{
    ak_buf_clear(buf);
    ak_json_put_string(buf, s);
    return ak_buf_cstr(buf);
}

TEST(json, strings_are_escaped_and_bad_bytes_are_replaced)
{
    struct ak_buf buf;
    ak_buf_init(&buf, 0);
    CHECK_STR(written(&buf, AK_STR_NONE), "\"\"");
    CHECK_STR(written(&buf, AK_STR("a\"b\\c/\b\f\n\r\t\x01\x1f\x7f\0z")),
              "\"a\\\"b\\\\c/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\\u0000z\"");
    CHECK_STR(written(&buf, AK_STR("gr\xc3\xbc\xc3\x9f")), "\"gr\xc3\xbc\xc3\x9f\"");
    CHECK_STR(written(&buf, AK_STR("\xff"
                                   "a\xed\xa0\x80\xc3")),
              "\"\xef\xbf\xbd"
              "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    ak_buf_release(&buf);
}

TEST(json, any_string_reads_back_as_written)
{
    struct ak_buf buf;
    ak_buf_init(&buf, 0);
    uint64_t x = ak_test_seed() | 1;
    for (int round = 0; round < 5000; round++) {
        char raw[40];
        size_t len = 0;
        size_t want = (x >> 40) % sizeof raw;
        while (len < want) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            raw[len++] = (char)((x >> 33) & 0x7f);
        }
        (void)written(&buf, (struct ak_str){raw, len});
        struct ak_json in;
        struct ak_str back;
        ak_json_init(&in, ak_buf_str(&buf));
        CHECK(ak_json_string(&in, &back) && ak_str_eq(back, (struct ak_str){raw, len}));
        CHECK_RC(AK_OK, ak_json_finish(&in, NULL));
        ak_json_release(&in);
    }
    ak_buf_release(&buf);
}

TEST(json, compact_drops_white_space_between_tokens_only)
{
    struct ak_buf buf;
    ak_buf_init(&buf, 0);
    ak_json_put_compact(&buf,
                        AK_STR(" {\n\t\"a b\" : [ 1 , \"x \\\" \\\\\" , \"\" ] ,\r\"c\":null } "));
    CHECK_STR(ak_buf_cstr(&buf), "{\"a b\":[1,\"x \\\" \\\\\",\"\"],\"c\":null}");
    ak_buf_clear(&buf);
    ak_json_put_compact(&buf, AK_STR_NONE);
    ak_json_put_compact(&buf, AK_STR("\"cut \\"));
    CHECK_STR(ak_buf_cstr(&buf), "\"cut \\");
    ak_buf_release(&buf);
}

TEST_MAIN()
