/* fuzz: links mocks3 */
/* mockxml_fuzz.c — XML of requests: read as every document, and what is written comes back. */
#include "fuzz.h"
#include "mocks3/xml.h"

static void walk(struct ak_str text, struct ak_arena *arena)
{
    struct ak_mock_xml xml;
    unsigned depth = 0;
    ak_mock_xml_init(&xml, text, arena);
    for (;;) {
        struct ak_str value;
        enum ak_mock_xml_event event = ak_mock_xml_next(&xml, &value);
        if (event == AK_MOCK_XML_END || event == AK_MOCK_XML_BAD) {
            AK_ASSERT(event == AK_MOCK_XML_BAD || depth == 0);
            AK_ASSERT(event == AK_MOCK_XML_END ||
                      ak_mock_xml_next(&xml, &value) == AK_MOCK_XML_BAD);
            return;
        }
        depth += event == AK_MOCK_XML_OPEN;
        AK_ASSERT(depth > 0 && depth <= AK_MOCK_XML_DEPTH_MAX);
        depth -= event == AK_MOCK_XML_CLOSE;
    }
}

/* Whatever the bytes, as a text they are written so that they are read again. */
static void check_escape(struct ak_str text, struct ak_arena *arena)
{
    struct ak_mock_xml xml;
    struct ak_str name;
    struct ak_str back;
    struct ak_buf out;
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] == '\0') { /* no key has one, and XML cannot */
            return;
        }
    }
    ak_buf_init(&out, 0);
    ak_mock_xml_put_element(&out, "k", text);
    ak_mock_xml_init(&xml, ak_buf_str(&out), arena);
    AK_ASSERT(ak_mock_xml_next(&xml, &name) == AK_MOCK_XML_OPEN);
    AK_ASSERT(ak_mock_xml_text(&xml, &back) && ak_str_eq(back, text));
    ak_buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ak_str text = {(const char *)data, size};
    struct ak_arena arena;
    struct ak_mock_fault fault = {0};
    struct ak_mock_delete wanted;
    struct ak_mock_complete parts;
    struct ak_str region;
    ak_arena_init(&arena, (size_t)64 << 20);
    walk(text, &arena);
    check_escape(text, &arena);
    if (!ak_mock_read_delete(text, &arena, &wanted, &fault)) {
        AK_ASSERT(wanted.count > 0 && wanted.count <= AK_MOCK_DELETE_MAX);
    }
    if (!ak_mock_read_complete(text, &arena, &parts, &fault)) {
        AK_ASSERT(parts.count > 0 && parts.count <= AK_MOCK_PARTS_MAX);
    }
    if (!ak_mock_read_create_bucket(text, &arena, &region, &fault)) {
        AK_ASSERT(region.len <= 64);
    }
    ak_arena_release(&arena);
    return 0;
}
