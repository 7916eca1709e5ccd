/* model_filter_test.c — the filter language, and its slow evaluation against documents. */
#include "base/fault.h"
#include "base/limits.h"
#include "model/filter.h"
#include "support/test.h"

/* Does the filter text hold for the document text? */
static bool holds(const char *filter_text, const char *document)
{
    struct ak_err err;
    struct ak_arena arena;
    const struct ak_filter *filter = NULL;
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_filter_parse(ak_str_of(filter_text), &arena, &filter, &err));
    bool result = ak_filter_matches(filter, ak_str_of(document));
    ak_arena_release(&arena);
    return result;
}

/* The same with one condition. */
static bool one(const char *condition, const char *document)
{
    char text[1024];
    (void)snprintf(text, sizeof text, "{\"must\":[%s]}", condition);
    return holds(text, document);
}

static void refused(const char *text, const char *why)
{
    struct ak_err err;
    struct ak_arena arena;
    const struct ak_filter *filter = NULL;
    ak_arena_init(&arena, 0);
    CHECK_RC(AK_INVALID, ak_filter_parse(ak_str_of(text), &arena, &filter, &err));
    CHECK(filter == NULL);
    if (!strstr(err.text, why)) {
        ak_test_fail(__FILE__, __LINE__, "%s: \"%s\" does not say \"%s\"", text, err.text, why);
    }
    ak_arena_release(&arena);
}

TEST(filter, a_match_compares_value_and_type)
{
    CHECK(one("{\"key\":\"lang\",\"match\":\"en\"}", "{\"lang\":\"en\"}"));
    CHECK(!one("{\"key\":\"lang\",\"match\":\"en\"}", "{\"lang\":\"eng\"}"));
    CHECK(!one("{\"key\":\"n\",\"match\":1}", "{\"n\":\"1\"}"));
    CHECK(!one("{\"key\":\"n\",\"match\":\"1\"}", "{\"n\":1}"));
    CHECK(!one("{\"key\":\"n\",\"match\":1}", "{\"n\":true}"));
    CHECK(one("{\"key\":\"n\",\"match\":1}", "{\"n\":1.0}"));
    CHECK(one("{\"key\":\"n\",\"match\":0}", "{\"n\":-0.0}"));
    CHECK(one("{\"key\":\"n\",\"match\":true}", "{\"n\":true}"));
    CHECK(!one("{\"key\":\"n\",\"match\":false}", "{\"n\":true}"));
    CHECK(one("{\"key\":\"s\",\"match\":\"\\u00e9\"}", "{\"s\":\"\xc3\xa9\"}"));
    CHECK(one("{\"key\":\"s\",\"match\":\"\"}", "{\"s\":\"\"}"));
    CHECK(!one("{\"key\":\"s\",\"match\":\"\"}", ""));
}

TEST(filter, a_match_with_a_list_takes_any_of_its_values)
{
    CHECK(one("{\"key\":\"y\",\"match\":[2019,2020]}", "{\"y\":2020}"));
    CHECK(one("{\"key\":\"y\",\"match\":{\"any\":[2019,\"x\",true]}}", "{\"y\":\"x\"}"));
    CHECK(!one("{\"key\":\"y\",\"match\":[2019,2020]}", "{\"y\":2021}"));
    CHECK(!one("{\"key\":\"y\",\"match\":[]}", "{\"y\":2021}"));
}

TEST(filter, an_array_gives_each_of_its_scalars_as_a_value)
{
    CHECK(one("{\"key\":\"tag\",\"match\":\"b\"}", "{\"tag\":[\"a\",\"b\"]}"));
    CHECK(one("{\"key\":\"tag\",\"range\":{\"gt\":5}}", "{\"tag\":[\"a\",null,[1],{\"b\":1},7]}"));
    CHECK(!one("{\"key\":\"tag\",\"match\":1}", "{\"tag\":[[1]]}"));
    CHECK(!one("{\"key\":\"tag.b\",\"match\":1}", "{\"tag\":[{\"b\":1}]}"));
}

TEST(filter, a_range_holds_for_numbers_within_its_bounds)
{
    const char *half_open = "{\"key\":\"y\",\"range\":{\"gte\":2020,\"lt\":2030}}";
    CHECK(one(half_open, "{\"y\":2020}"));
    CHECK(one(half_open, "{\"y\":2029.9}"));
    CHECK(!one(half_open, "{\"y\":2030}"));
    CHECK(!one(half_open, "{\"y\":2019.999}"));
    CHECK(!one(half_open, "{\"y\":\"2025\"}"));
    CHECK(!one(half_open, "{}"));
    CHECK(!one("{\"key\":\"y\",\"range\":{\"gt\":2}}", "{\"y\":2}"));
    CHECK(one("{\"key\":\"y\",\"range\":{\"lte\":2}}", "{\"y\":2}"));
    CHECK(!one("{\"key\":\"y\",\"range\":{\"gt\":3,\"lt\":1}}", "{\"y\":2}"));
}

TEST(filter, exists_means_present_and_not_null)
{
    const char *there = "{\"key\":\"k\",\"exists\":true}";
    const char *missing = "{\"key\":\"k\",\"exists\":false}";
    static const char *const with[] = {"{\"k\":0}",     "{\"k\":\"\"}",      "{\"k\":false}",
                                       "{\"k\":{}}",    "{\"k\":{\"a\":1}}", "{\"k\":[]}",
                                       "{\"k\":[null]}"};
    static const char *const without[] = {"", "{}", "{\"k\":null}", "{\"j\":1}",
                                          "{\"a\":{\"k\":1}}"};
    for (size_t i = 0; i < sizeof with / sizeof *with; i++) {
        CHECK(one(there, with[i]) && !one(missing, with[i]));
    }
    for (size_t i = 0; i < sizeof without / sizeof *without; i++) {
        CHECK(!one(there, without[i]) && one(missing, without[i]));
    }
}

TEST(filter, a_dotted_key_leads_into_objects_and_to_names_with_dots)
{
    const char *name = "{\"key\":\"author.name\",\"match\":\"x\"}";
    CHECK(one(name, "{\"author\":{\"age\":3,\"name\":\"x\"}}"));
    CHECK(one(name, "{\"author.name\":\"x\"}"));
    CHECK(one(name, "{\"author.name\":\"y\",\"author\":{\"name\":\"x\"}}"));
    CHECK(!one(name, "{\"author\":\"x\",\"name\":\"x\"}"));
    CHECK(!one(name, "{\"author\":{\"name\":{\"name\":\"x\"}}}"));
    CHECK(!one(name, "{\"author\":{\"names\":\"x\"},\"auth\":{\"or.name\":\"x\"}}"));
    CHECK(one("{\"key\":\"a.b.c\",\"match\":1}", "{\"a.b\":{\"c\":1}}"));
    CHECK(one("{\"key\":\"a.b.c\",\"match\":1}", "{\"a\":{\"b.c\":1}}"));
    CHECK(one("{\"key\":\"a..b\",\"match\":1}", "{\"a\":{\"\":{\"b\":1}}}"));
    CHECK(!one("{\"key\":\"a.\",\"match\":1}", "{\"a\":1}"));
}

TEST(filter, groups_need_all_of_must_one_of_should_and_none_of_must_not)
{
#define A "{\"key\":\"a\",\"match\":1}"
#define B "{\"key\":\"b\",\"match\":1}"
#define C "{\"key\":\"c\",\"match\":1}"
    CHECK(holds("{\"must\":[" A "," B "]}", "{\"a\":1,\"b\":1}"));
    CHECK(!holds("{\"must\":[" A "," B "]}", "{\"a\":1}"));
    CHECK(holds("{\"should\":[" A "," B "]}", "{\"b\":1}"));
    CHECK(!holds("{\"should\":[" A "," B "]}", "{\"c\":1}"));
    CHECK(!holds("{\"must_not\":[" A "," B "]}", "{\"b\":1}"));
    CHECK(holds("{\"must_not\":[" A "," B "]}", ""));
    CHECK(holds("{\"must\":[" A "],\"should\":[],\"must_not\":[]}", "{\"a\":1}"));
    CHECK(!holds("{\"must\":[" A "],\"should\":[" B "]}", "{\"a\":1}"));
    CHECK(!holds("{\"must\":[" A "],\"must_not\":[" C "]}", "{\"a\":1,\"c\":1}"));
    CHECK(holds("{\"must\":[]}", ""));
    CHECK(holds("{\"must_not\":[{\"must\":[" A "," B "]}]}", "{\"a\":1}"));
    CHECK(holds("{\"should\":[{\"must\":[" A "]},{\"must_not\":[" B "]}]}", "{\"c\":2}"));
#undef A
#undef B
#undef C
}

TEST(filter, what_does_not_fit_the_language_is_refused_with_a_reason)
{
    refused("{}", "needs one of must");
    refused("[]", "expected an object");
    refused("{\"key\":\"a\",\"match\":1}", "unknown field 'key'");
    refused("{\"must\":{}}", "expected an array");
    refused("{\"must\":[1]}", "expected an object");
    refused("{\"must\":[{}]}", "needs 'key'");
    refused("{\"must\":[{\"key\":\"a\"}]}", "one of match, range, exists");
    refused("{\"must\":[{\"match\":\"a\"}]}", "needs 'key'");
    refused("{\"must\":[{\"key\":\"\",\"match\":\"a\"}]}", "1 to 512 bytes");
    refused("{\"must\":[{\"key\":7,\"match\":\"a\"}]}", "expected a string");
    refused("{\"must\":[{\"key\":\"a\",\"match\":1,\"exists\":true}]}", "one of match");
    refused("{\"must\":[{\"key\":\"a\",\"must\":[]}]}", "not both");
    refused("{\"must\":[{\"key\":\"a\",\"match\":null}]}", "exists");
    refused("{\"must\":[{\"key\":\"a\",\"match\":[[1]]}]}", "strings, numbers");
    refused("{\"must\":[{\"key\":\"a\",\"match\":{}}]}", "'any'");
    refused("{\"must\":[{\"key\":\"a\",\"match\":{\"all\":[]}}]}", "unknown field 'all'");
    refused("{\"must\":[{\"key\":\"a\",\"range\":{}}]}", "gt, gte, lt, lte");
    refused("{\"must\":[{\"key\":\"a\",\"range\":{\"gt\":1,\"gte\":1}}]}", "gt or gte");
    refused("{\"must\":[{\"key\":\"a\",\"range\":{\"lt\":1,\"lte\":1}}]}", "lt or lte");
    refused("{\"must\":[{\"key\":\"a\",\"range\":{\"gt\":\"1\"}}]}", "number");
    refused("{\"must\":[{\"key\":\"a\",\"range\":{\"gt\":1e999}}]}", "number");
    refused("{\"must\":[{\"key\":\"a\",\"exists\":1}]}", "true or false");
    refused("{\"must\":[],\"must\":[]}", "must");
    refused("{\"musst\":[]}", "unknown field 'musst'");
    refused("{\"must\":[]} x", "end of the text");
}

static void add_repeated(struct ak_buf *text, const char *item, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        ak_buf_add_fmt(text, "%s%s", i ? "," : "", item);
    }
}

TEST(filter, conditions_values_keys_and_depth_have_ceilings)
{
    struct ak_err err;
    struct ak_arena arena;
    struct ak_buf text;
    const struct ak_filter *filter = NULL;
    ak_arena_init(&arena, 0);
    ak_buf_init(&text, 0);
    for (unsigned over = 0; over < 2; over++) { /* exactly at the ceiling, then one past it */
        enum ak_rc want = over ? AK_INVALID : AK_OK;
        ak_buf_clear(&text);
        ak_buf_add_fmt(&text, "{\"must\":[");
        add_repeated(&text, "{\"key\":\"a\",\"exists\":true}", AK_FILTER_CONDITIONS_MAX + over);
        ak_buf_add_fmt(&text, "]}");
        CHECK_RC(want, ak_filter_parse(ak_buf_str(&text), &arena, &filter, &err));
        ak_buf_clear(&text);
        ak_buf_add_fmt(&text, "{\"must\":[{\"key\":\"a\",\"match\":[");
        add_repeated(&text, "1", AK_FILTER_VALUES_MAX + over);
        ak_buf_add_fmt(&text, "]}]}");
        CHECK_RC(want, ak_filter_parse(ak_buf_str(&text), &arena, &filter, &err));
        ak_buf_clear(&text);
        ak_buf_add_fmt(&text, "{\"must\":[");
        for (unsigned i = 0; i < AK_FILTER_KEYS_MAX + over; i++) {
            ak_buf_add_fmt(&text, "%s{\"key\":\"a%u\",\"exists\":true}", i ? "," : "", i);
        }
        ak_buf_add_fmt(&text, "]}");
        CHECK_RC(want, ak_filter_parse(ak_buf_str(&text), &arena, &filter, &err));
        ak_buf_clear(&text);
        for (unsigned i = 0; i < AK_FILTER_DEPTH_MAX + over; i++) {
            ak_buf_add_fmt(&text, "%s{\"must\":", i ? "[" : "");
        }
        ak_buf_add_fmt(&text, "[]");
        for (unsigned i = 0; i < AK_FILTER_DEPTH_MAX + over; i++) {
            ak_buf_add_fmt(&text, "}%s", i + 1 < AK_FILTER_DEPTH_MAX + over ? "]" : "");
        }
        CHECK_RC(want, ak_filter_parse(ak_buf_str(&text), &arena, &filter, &err));
        ak_buf_clear(&text);
        ak_buf_add_fmt(&text, "{\"must\":[{\"key\":\"%0*d\",\"exists\":true}]}",
                       AK_FILTER_KEY_MAX + (int)over, 0);
        CHECK_RC(want, ak_filter_parse(ak_buf_str(&text), &arena, &filter, &err));
    }
    ak_buf_release(&text);
    ak_arena_release(&arena);
}

TEST(filter, a_parsed_filter_outlives_the_text_it_came_from)
{
    struct ak_err err;
    struct ak_arena arena;
    const struct ak_filter *filter = NULL;
    char text[] = "{\"must\":[{\"key\":\"l\",\"match\":[\"e\\u006e\",\"de\"]}]}";
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_filter_parse(ak_str_of(text), &arena, &filter, &err));
    memset(text, 'x', sizeof text);
    CHECK(ak_filter_matches(filter, AK_STR("{\"l\":\"en\"}")));
    CHECK(ak_filter_matches(filter, AK_STR("{\"l\":\"de\"}")));
    CHECK(!ak_filter_matches(filter, AK_STR("{\"l\":\"fr\"}")));
    ak_arena_release(&arena);
}

#ifdef AK_FAULTS
TEST(filter, parsing_without_memory_says_so_and_leaks_nothing)
{
    struct ak_str text =
        AK_STR("{\"must\":[{\"key\":\"a\\u0062\",\"match\":[\"\\u0063\",1,2,3,4,5]},"
               "{\"should\":[{\"key\":\"d\",\"range\":{\"gt\":1}}]}]}");
    bool fired = true;
    for (int64_t n = 0; fired; n++) {
        struct ak_err err;
        struct ak_arena arena;
        const struct ak_filter *filter = NULL;
        ak_arena_init(&arena, 0);
        ak_fault_alloc_at(n);
        enum ak_rc rc = ak_filter_parse(text, &arena, &filter, &err);
        fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK_INT(rc, fired ? AK_NOMEM : AK_OK);
        CHECK((filter != NULL) == (rc == AK_OK));
        ak_arena_release(&arena);
    }
}
#endif

struct seen {
    struct ak_buf text;
};

static void note(void *ctx, size_t key, const struct ak_filter_value *value)
{
    struct seen *seen = ctx;
    ak_buf_add_fmt(&seen->text, "%zu:", key);
    if (!value) {
        ak_buf_add_fmt(&seen->text, "- ");
    } else if (value->type == AK_VALUE_STRING) {
        ak_buf_add_fmt(&seen->text, "%.*s ", AK_STR_ARG(value->string));
    } else if (value->type == AK_VALUE_NUMBER) {
        ak_buf_add_fmt(&seen->text, "%g ", value->number);
    } else {
        ak_buf_add_fmt(&seen->text, "%s ", value->boolean ? "true" : "false");
    }
}

TEST(filter, one_visit_reports_all_keys_in_document_order)
{
    const struct ak_str keys[] = {AK_STR("a"), AK_STR("a.b"), AK_STR("a.b.c"), AK_STR("z")};
    struct seen seen;
    ak_buf_init(&seen.text, 0);
    CHECK(ak_filter_visit(AK_STR("{\"z\":null,\"a\":{\"q\":[{}],\"b\":{\"c\":[1,\"x\",[2],null]}},"
                                 "\"a.b\":true,\"zz\":3}"),
                          keys, 4, note, &seen));
    CHECK_STR(ak_buf_cstr(&seen.text), "0:- 1:- 2:- 2:1 2:x 1:true ");
    ak_buf_release(&seen.text);
}

TEST_MAIN()
