/* objstore_s3xml_test.c — the XML reader: what it takes, what it refuses. */
#include "base/fault.h"
#include "base/mem.h"
#include "objstore/s3xml.h"
#include "support/test.h"

/* The tokens as text: "<a", ">a=text". */
static void walk(struct ak_str text, struct ak_buf *out, enum ak_rc *rc, struct ak_err *err)
{
    struct ak_xml in;
    enum ak_xml_token token = AK_XML_START;
    ak_xml_init(&in, text);
    while ((token = ak_xml_next(&in)) > AK_XML_END_OF_TEXT) {
        if (token == AK_XML_START) {
            ak_buf_add_fmt(out, "<%.*s ", AK_STR_ARG(in.name));
        } else {
            ak_buf_add_fmt(out, ">%.*s=%.*s ", AK_STR_ARG(in.name), AK_STR_ARG(in.text));
        }
    }
    *rc = ak_xml_finish(&in, err);
    ak_xml_release(&in);
}

TEST(s3xml, reads_what_servers_send)
{
    static const struct {
        const char *text;
        const char *want;
    } rows[] = {
        {"<a/>", "<a >a= "},
        {"<a></a>", "<a >a= "},
        {"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a>x</a>\n", "<a >a=x "},
        {"\xEF\xBB\xBF<a>x</a>", "<a >a=x "},
        {"<a><b>1</b><c>2</c></a>", "<a <b >b=1 <c >c=2 >a= "},
        {"<a xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\" b='>'>x</a >", "<a >a=x "},
        {"<s3:a><s3:Key>k</s3:Key></s3:a>", "<a <Key >Key=k >a= "},
        {"<a>&amp;&lt;&gt;&quot;&apos;&#65;&#x42;&#xe9;&#x20ac;&#x1F600;</a>",
         "<a >a=&<>\"'AB\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80 "},
        {"<a><![CDATA[<&]]>x<![CDATA[]]></a>", "<a >a=<&x "},
        {"<!-- c --><a>x<!-- -- > -->y<?pi ?></a><!-- end -->", "<a >a=xy "},
        {"<a> <b/> t</a>", "<a <b >b= >a= t "},
        {"<a> x </a>", "<a >a= x  "},
        {"<a\n b = \"1\"\tc='2'/>", "<a >a= "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ak_err err;
        struct ak_buf out;
        enum ak_rc rc = AK_OK;
        ak_buf_init(&out, 0);
        walk(ak_str_of(rows[i].text), &out, &rc, &err);
        CHECK_OK(rc);
        CHECK_STR(ak_buf_cstr(&out), rows[i].want);
        ak_buf_release(&out);
    }
}

TEST(s3xml, refuses_what_is_not_well_formed_or_could_expand)
{
    static const char *const texts[] = {
        "",
        " ",
        "x",
        "<",
        "<a",
        "<a>",
        "<a>x",
        "<a></b>",
        "<a></a",
        "</a>",
        "<a/><b/>",
        "<a/>x",
        "<1/>",
        "<-a/>",
        "< a/>",
        "<a b/>",
        "<a b=1/>",
        "<a b=\"1/>",
        "<a>&nbsp;</a>",
        "<a>&</a>",
        "<a>&amp</a>",
        "<a>&#0;</a>",
        "<a>&#xD800;</a>",
        "<a>&#x110000;</a>",
        "<a>&#;</a>",
        "<a>&#x;</a>",
        "<a>&#12a;</a>",
        "<!DOCTYPE a><a/>",
        "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
        "<a><!ELEMENT b></a>",
        "<a><!-- </a>",
        "<a><![CDATA[x</a>",
        "<![CDATA[x]]><a/>",
        "<a><?pi</a>",
        "<a:/>",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct ak_err err;
        struct ak_buf out;
        enum ak_rc rc = AK_OK;
        ak_buf_init(&out, 0);
        walk(ak_str_of(texts[i]), &out, &rc, &err);
        ak_test_counted();
        if (rc != AK_CORRUPT) {
            ak_test_fail(__FILE__, __LINE__, "'%s' gave %s", texts[i], ak_rc_name(rc));
        }
        ak_buf_release(&out);
    }
}

TEST(s3xml, every_truncation_of_a_listing_is_refused)
{
    const struct ak_str whole =
        AK_STR("<?xml version=\"1.0\"?><ListBucketResult><Contents><Key>a&amp;b</Key><Size>3</Size>"
               "</Contents><IsTruncated>false</IsTruncated></ListBucketResult>");
    struct ak_err err;
    for (size_t len = 0; len <= whole.len; len++) {
        struct ak_buf out;
        enum ak_rc rc = AK_OK;
        char *exact = ak_strdup_n(whole.p, len); /* so that a sanitizer sees a step too far */
        ak_buf_init(&out, 0);
        walk((struct ak_str){exact, len}, &out, &rc, &err);
        CHECK(rc == (len == whole.len ? AK_OK : AK_CORRUPT));
        ak_buf_release(&out);
        ak_free(exact);
    }
}

static void check_repeated(const char *before, const char *inner, size_t count, const char *after,
                           enum ak_rc want)
{
    struct ak_err err;
    struct ak_buf text;
    struct ak_buf out;
    enum ak_rc rc = AK_OK;
    ak_buf_init(&text, 0);
    ak_buf_init(&out, 0);
    ak_buf_add_str(&text, ak_str_of(before));
    for (size_t i = 0; i < count; i++) {
        ak_buf_add_str(&text, ak_str_of(inner));
    }
    ak_buf_add_str(&text, ak_str_of(after));
    walk(ak_buf_str(&text), &out, &rc, &err);
    CHECK(rc == want);
    ak_buf_release(&text);
    ak_buf_release(&out);
}

TEST(s3xml, depth_names_and_texts_are_bounded)
{
    check_repeated("", "<a>", AK_XML_DEPTH_MAX + 1, "", AK_CORRUPT);
    check_repeated("<", "a", AK_XML_NAME_MAX, "/>", AK_OK);
    check_repeated("<", "a", AK_XML_NAME_MAX + 1, "/>", AK_CORRUPT);
    check_repeated("<a>", "x", AK_XML_TEXT_MAX, "</a>", AK_OK);
    check_repeated("<a>", "x", AK_XML_TEXT_MAX + 1, "</a>", AK_CORRUPT);
    check_repeated("<a>", "<b/>", 100000, "</a>", AK_OK);
}

TEST(s3xml, finds_by_path_from_the_root)
{
    struct ak_buf out;
    const struct ak_str text = AK_STR(
        "<Error><Detail><Code>no</Code></Detail><Code>SlowDown</Code><Code>2</Code></Error>");
    ak_buf_init(&out, 0);
    CHECK(ak_xml_find(text, "Error/Code", &out));
    CHECK_STR(ak_buf_cstr(&out), "SlowDown");
    ak_buf_clear(&out);
    CHECK(ak_xml_find(text, "Error/Detail/Code", &out));
    CHECK_STR(ak_buf_cstr(&out), "no");
    CHECK(!ak_xml_find(text, "Code", &out));
    CHECK(!ak_xml_find(text, "Error/Message", &out));
    CHECK(!ak_xml_find(AK_STR("no xml"), "Error/Code", &out));
    CHECK(!ak_xml_find(AK_STR_NONE, "Error/Code", &out));
    ak_buf_release(&out);
}

TEST(s3xml, whichever_allocation_fails_it_says_so)
{
    struct ak_err err;
    bool fired = true;
    for (int64_t n = 0; fired; n++) {
        struct ak_buf out;
        enum ak_rc rc = AK_OK;
        ak_buf_init(&out, 0);
        (void)ak_buf_reserve(&out, 4096);
        ak_fault_alloc_at(n);
        walk(AK_STR("<a><b>some text</b></a>"), &out, &rc, &err);
        fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK(rc == (fired ? AK_NOMEM : AK_OK));
        ak_buf_release(&out);
    }
}

TEST_MAIN()
