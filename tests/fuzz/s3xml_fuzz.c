/* fuzz: links objstore */
/* s3xml_fuzz.c — the reader of S3's answers: names and texts stay in bounds, starts and ends pair.
 *
 * Whatever it accepts must, written out again from its tokens, be accepted with the same tokens.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "fuzz.h"
#include "objstore/s3xml.h"
#include <string.h>

static void escape(struct ak_buf *out, struct ak_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] == '<' || text.p[i] == '&') {
            ak_buf_add_fmt(out, "&#%d;", text.p[i]);
        } else {
            ak_buf_add_char(out, text.p[i]);
        }
    }
}

/* A hash of the tokens; the text again in `out`, the text of an element before its end. */
static enum ak_rc walk(struct ak_str text, struct ak_buf *out, uint64_t *sum)
{
    struct ak_xml in;
    enum ak_xml_token token = AK_XML_START;
    unsigned depth = 0;
    ak_xml_init(&in, text);
    while ((token = ak_xml_next(&in)) > AK_XML_END_OF_TEXT) {
        AK_ASSERT(in.name.len > 0 && in.name.len <= AK_XML_NAME_MAX);
        AK_ASSERT(in.name.p >= text.p && in.name.p + in.name.len <= text.p + text.len);
        *sum = ak_mix64(*sum ^ ak_hash64_str(in.name) ^ (uint64_t)token);
        if (token == AK_XML_START) {
            depth++;
            ak_buf_add_fmt(out, "<%.*s>", AK_STR_ARG(in.name));
        } else {
            AK_ASSERT(depth > 0 && in.text.len <= AK_XML_TEXT_MAX);
            depth--;
            *sum = ak_mix64(*sum ^ ak_hash64_str(in.text));
            escape(out, in.text);
            ak_buf_add_fmt(out, "</%.*s>", AK_STR_ARG(in.name));
        }
        AK_ASSERT(in.depth == depth && depth <= AK_XML_DEPTH_MAX);
    }
    enum ak_rc rc = ak_xml_finish(&in, NULL);
    AK_ASSERT((rc == AK_OK) == (token == AK_XML_END_OF_TEXT));
    AK_ASSERT(ak_xml_next(&in) <= AK_XML_END_OF_TEXT);
    ak_xml_release(&in);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct ak_str text = {(const char *)data, size};
    struct ak_buf out;
    struct ak_buf again;
    uint64_t first = 0;
    uint64_t second = 0;
    ak_buf_init(&out, (size_t)64 << 20);
    ak_buf_init(&again, (size_t)64 << 20);
    if (walk(text, &out, &first) == AK_OK && !out.failed && !memchr(out.p, 0, out.len)) {
        AK_ASSERT(walk(ak_buf_str(&out), &again, &second) == AK_OK && first == second);
        AK_ASSERT(ak_str_eq(ak_buf_str(&out), ak_buf_str(&again)));
    }
    ak_buf_clear(&out);
    if (ak_xml_find(text, "Error/Code", &out)) {
        AK_ASSERT(out.len <= AK_XML_TEXT_MAX);
    }
    ak_buf_release(&out);
    ak_buf_release(&again);
    return 0;
}
