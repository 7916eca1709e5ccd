/* mocks3_xml_test.c — the XML reader, the documents of requests, and escaping. */
#include "base/fault.h"
#include "mocks3/sums.h"
#include "mocks3/xml.h"
#include "support/test.h"

static struct ak_arena arena;

/* The events as text: (a "text" ) for <a>text</a>; ends in . or ! */
static const char *events(const char *text)
{
    static char out[1024];
    struct ak_mock_xml xml;
    size_t len = 0;
    ak_arena_release(&arena);
    ak_arena_init(&arena, 0);
    ak_mock_xml_init(&xml, ak_str_of(text), &arena);
    for (;;) {
        struct ak_str value;
        enum ak_mock_xml_event event = ak_mock_xml_next(&xml, &value);
        const char *form = event == AK_MOCK_XML_OPEN    ? "(%.*s "
                           : event == AK_MOCK_XML_TEXT  ? "\"%.*s\" "
                           : event == AK_MOCK_XML_CLOSE ? ") "
                           : event == AK_MOCK_XML_END   ? "."
                                                        : "!";
        char piece[256];
        if (event == AK_MOCK_XML_OPEN || event == AK_MOCK_XML_TEXT) {
            (void)snprintf(piece, sizeof piece, event == AK_MOCK_XML_OPEN ? "(%.*s " : "\"%.*s\" ",
                           AK_STR_ARG(value));
            form = piece;
        }
        len += (size_t)snprintf(out + len, sizeof out - len, "%s", form);
        if (event == AK_MOCK_XML_END || event == AK_MOCK_XML_BAD) {
            ak_arena_release(&arena);
            return out;
        }
    }
}

TEST(xml, documents_are_read_in_events)
{
    CHECK_STR(events("<a/>"), "(a ) .");
    CHECK_STR(events("<?xml version=\"1.0\"?>\n<a><b>x</b> <c/></a>\n"), "(a (b \"x\" ) (c ) ) .");
    CHECK_STR(events("<s3:a xmlns:s3=\"u\" b='<'/>"), "!");
    CHECK_STR(events("<s3:a xmlns:s3=\"u\" b = 'c' ><s3:d/></s3:a >"), "(a (d ) ) .");
    CHECK_STR(events("<a><!-- <b> -->x<![CDATA[<&]]></a>"), "(a \"x\" \"<&\" ) .");
    CHECK_STR(events("<a>&lt;&gt;&amp;&quot;&apos;&#65;&#x42;&#xe9;&#x1F600;</a>"),
              "(a \"<>&\"'AB\xc3\xa9\xf0\x9f\x98\x80\" ) .");
}

TEST(xml, what_is_no_document_is_bad)
{
    static const char *const bad[] = {
        "",
        "x",
        "<",
        "<a",
        "<a>",
        "</a>",
        "<a></b>",
        "<a/><b/>",
        "<a/>x",
        "x<a/>",
        "<a b/>",
        "<a b=c/>",
        "<a b='c/>",
        "<a><!--",
        "<?xml",
        "<!DOCTYPE a><a/>",
        "<a>&x;</a>",
        "<a>&#0;</a>",
        "<a>&#xd800;</a>",
        "<a>&#x110000;</a>",
        "<a>&</a>",
        "<a>&lt</a>",
        "<a><![CDATA[x</a>",
        "<a><b></a></b>",
        "< a/>",
        "<a><1:></a>",
        "<a>&#xffffffffff;</a>",
        "<a><a><a><a><a><a><a><a><a/></a></a></a></a></a></a></a></a>",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *got = events(bad[i]);
        if (got[strlen(got) - 1] != '!') {
            CHECK_STR(bad[i], "a bad document");
        }
        CHECK(got[strlen(got) - 1] == '!');
    }
}

TEST(xml, texts_are_escaped_so_that_they_come_back)
{
    struct ak_buf out = {0};
    struct ak_mock_xml xml;
    struct ak_str name;
    struct ak_str text;
    struct ak_str odd = AK_STR(" <a>&\"'\r\n\t\x01]]> \xc3\xa9 ");
    ak_mock_xml_put_element(&out, "k", odd);
    CHECK(!memchr(out.p, 1, out.len) && !memchr(out.p, '\r', out.len));
    ak_arena_init(&arena, 0);
    ak_mock_xml_init(&xml, ak_buf_str(&out), &arena);
    CHECK_INT(ak_mock_xml_next(&xml, &name), AK_MOCK_XML_OPEN);
    CHECK(ak_mock_xml_text(&xml, &text));
    CHECK(ak_str_eq(text, odd));
    CHECK_INT(ak_mock_xml_next(&xml, &name), AK_MOCK_XML_END);
    ak_arena_release(&arena);
    ak_buf_release(&out);
}

/* --- Requests --- */

static enum ak_mock_code read_delete(const char *text, struct ak_mock_delete *out)
{
    struct ak_mock_fault fault = {0};
    ak_arena_release(&arena);
    ak_arena_init(&arena, 0);
    return ak_mock_read_delete(ak_str_of(text), &arena, out, &fault);
}

TEST(requests, delete_lists_keys)
{
    struct ak_mock_delete wanted;
    CHECK_INT(read_delete("<Delete xmlns=\"x\"><Quiet>true</Quiet><Object><Key> a&amp;b </Key>"
                          "</Object><Object><ETag>x</ETag><Key>c</Key><VersionId>null</VersionId>"
                          "</Object><More><x/></More></Delete>",
                          &wanted),
              AK_MOCK_OK);
    CHECK_INT(wanted.count, 2);
    CHECK(wanted.quiet && ak_str_eq(wanted.keys[0], AK_STR(" a&b ")));
    CHECK(ak_str_eq(wanted.keys[1], AK_STR("c")));
    CHECK_INT(read_delete("<Delete><Object><Key>a</Key></Object></Delete>", &wanted), AK_MOCK_OK);
    CHECK(!wanted.quiet);
    static const char *const bad[] = {
        "",
        "<Delete/>",
        "<Other><Object><Key>a</Key></Object></Other>",
        "<Delete><Object/></Delete>",
        "<Delete><Object><Key/></Object></Delete>",
        "<Delete><Object><Key>a<b/></Key></Object></Delete>",
        "<Delete><Object><Key>a</Key></Object>",
        "<Delete><Object><Key>a</Key></Object></Delete>x",
        "<Delete><Object><Key>a</Key>",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_INT(read_delete(bad[i], &wanted), AK_MOCK_MalformedXML);
    }
    CHECK_INT(read_delete("<Delete><Object><Key>a</Key><VersionId>1</VersionId></Object></Delete>",
                          &wanted),
              AK_MOCK_NotImplemented);
    struct ak_buf many = {0};
    ak_buf_add_str(&many, AK_STR("<Delete>"));
    for (unsigned i = 0; i <= AK_MOCK_DELETE_MAX; i++) {
        if (i == AK_MOCK_DELETE_MAX) {
            struct ak_buf exact = {0};
            ak_buf_add_str(&exact, ak_buf_str(&many));
            ak_buf_add_str(&exact, AK_STR("</Delete>"));
            CHECK_INT(read_delete(ak_buf_cstr(&exact), &wanted), AK_MOCK_OK);
            CHECK_INT(wanted.count, AK_MOCK_DELETE_MAX);
            ak_buf_release(&exact);
        }
        ak_buf_add_str(&many, AK_STR("<Object><Key>k</Key></Object>"));
    }
    ak_buf_add_str(&many, AK_STR("</Delete>"));
    CHECK_INT(read_delete(ak_buf_cstr(&many), &wanted), AK_MOCK_MalformedXML);
    ak_buf_release(&many);
    ak_arena_release(&arena);
}

TEST(requests, complete_names_parts_with_their_sums)
{
    struct ak_mock_complete wanted;
    struct ak_mock_fault fault = {0};
    ak_arena_init(&arena, 0);
    CHECK_INT(ak_mock_read_complete(
                  AK_STR("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
                         "<ETag>&quot;aa&quot;</ETag></Part><Part><ETag>bb</ETag>"
                         "<ChecksumSHA256>AAAA</ChecksumSHA256><PartNumber>2</PartNumber></Part>"
                         "</CompleteMultipartUpload>"),
                  &arena, &wanted, &fault),
              AK_MOCK_OK);
    CHECK_INT(wanted.count, 2);
    CHECK(wanted.parts[0].number == 1 && ak_str_eq(wanted.parts[0].etag, AK_STR("aa")));
    CHECK_INT(wanted.parts[0].sum_kind, AK_MOCK_SUM_NONE);
    CHECK_INT(wanted.parts[1].sum_kind, AK_MOCK_SHA256);
    CHECK(ak_str_eq(wanted.parts[1].sum, AK_STR("AAAA")));
    static const struct {
        const char *part;
        enum ak_mock_code want;
    } bad[] = {
        {"<Part><PartNumber>0</PartNumber><ETag>a</ETag></Part>", AK_MOCK_InvalidArgument},
        {"<Part><PartNumber>10001</PartNumber><ETag>a</ETag></Part>", AK_MOCK_InvalidArgument},
        {"<Part><PartNumber>x</PartNumber><ETag>a</ETag></Part>", AK_MOCK_InvalidArgument},
        {"<Part><ETag>a</ETag></Part>", AK_MOCK_MalformedXML},
        {"<Part><PartNumber>1</PartNumber></Part>", AK_MOCK_MalformedXML},
        {"<Part><PartNumber><x/></PartNumber></Part>", AK_MOCK_MalformedXML},
        {"<Part>", AK_MOCK_MalformedXML},
        {"", AK_MOCK_MalformedXML},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[512];
        (void)snprintf(text, sizeof text, "<CompleteMultipartUpload>%s</CompleteMultipartUpload>",
                       bad[i].part);
        CHECK_INT(ak_mock_read_complete(ak_str_of(text), &arena, &wanted, &fault), bad[i].want);
    }
    ak_arena_release(&arena);
}

TEST(requests, create_bucket_may_name_a_region)
{
    struct ak_str region;
    struct ak_mock_fault fault = {0};
    ak_arena_init(&arena, 0);
    CHECK_INT(ak_mock_read_create_bucket(AK_STR("  \n"), &arena, &region, &fault), AK_MOCK_OK);
    CHECK_INT(region.len, 0);
    CHECK_INT(ak_mock_read_create_bucket(
                  AK_STR("<CreateBucketConfiguration><LocationConstraint> eu </LocationConstraint>"
                         "</CreateBucketConfiguration>"),
                  &arena, &region, &fault),
              AK_MOCK_OK);
    CHECK(ak_str_eq(region, AK_STR("eu")));
    CHECK_INT(ak_mock_read_create_bucket(
                  AK_STR("<CreateBucketConfiguration><Bucket/></CreateBucketConfiguration>"),
                  &arena, &region, &fault),
              AK_MOCK_NotImplemented);
    CHECK_INT(ak_mock_read_create_bucket(AK_STR("<x/>"), &arena, &region, &fault),
              AK_MOCK_MalformedXML);
    ak_arena_release(&arena);
}

TEST(requests, without_memory_a_document_is_refused)
{
    struct ak_mock_delete wanted;
    int64_t n = 0;
    bool fired = true;
    for (; fired; n++) {
        ak_arena_release(&arena);
        ak_arena_init(&arena, 0);
        struct ak_mock_fault fault = {0};
        ak_fault_alloc_at(n);
        enum ak_mock_code code = ak_mock_read_delete(
            AK_STR("<Delete><Object><Key>a&amp;b<!-- -->c</Key></Object></Delete>"), &arena,
            &wanted, &fault);
        fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK(fired ? code != AK_MOCK_OK : code == AK_MOCK_OK);
    }
    CHECK(ak_str_eq(wanted.keys[0], AK_STR("a&bc")));
    ak_arena_release(&arena);
}

TEST_MAIN()
