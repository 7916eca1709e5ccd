/* xml.h — the little XML that S3 speaks: a strict pull reader, the request documents, escaping.
 *
 * The reader takes elements, text, CDATA, comments and an XML declaration. Attributes are skipped
 * (they are namespaces here), prefixes are cut off names. A DOCTYPE is refused, so there are no
 * entities but the five of XML and character references. Depth ≤ AK_MOCK_XML_DEPTH_MAX, names ≤ 64
 * bytes.
 *
 * Threads: one at a time. Memory: texts are views of the input, or in the arena when decoded.
 */
#pragma once
#include "base/arena.h"
#include "mocks3/fault.h"

#define AK_MOCK_XML_DEPTH_MAX 8u
#define AK_MOCK_DELETE_MAX 1000u
#define AK_MOCK_PARTS_MAX 10000u

enum ak_mock_xml_event {
    AK_MOCK_XML_OPEN,  /* an element begins */
    AK_MOCK_XML_TEXT,  /* text that is not only space, decoded */
    AK_MOCK_XML_CLOSE, /* it ends; <a/> gives OPEN and CLOSE */
    AK_MOCK_XML_END,   /* of the document, all elements closed */
    AK_MOCK_XML_BAD    /* sticks */
};

struct ak_mock_xml {
    const char *at;
    const char *end;
    struct ak_arena *arena;
    struct ak_str open[AK_MOCK_XML_DEPTH_MAX];
    unsigned depth;
    bool closes_next; /* after <a/> */
    bool has_root;
    bool bad;
};

void ak_mock_xml_init(struct ak_mock_xml *xml, struct ak_str text, struct ak_arena *arena);
/* *value: the element's name, or the text. */
enum ak_mock_xml_event ak_mock_xml_next(struct ak_mock_xml *xml, struct ak_str *value);
/* After OPEN: the element's text (empty when there is none) through its CLOSE. false: it holds
 * elements, or the document is bad. */
AK_MUST bool ak_mock_xml_text(struct ak_mock_xml *xml, struct ak_str *text);
/* After OPEN: everything through its CLOSE. */
AK_MUST bool ak_mock_xml_skip(struct ak_mock_xml *xml);

/* --- Writing --- */
/* Escaped for XML; bytes that XML cannot hold become character references, as S3 does. */
void ak_mock_xml_put(struct ak_buf *out, struct ak_str text);
/* <element>text</element> */
void ak_mock_xml_put_element(struct ak_buf *out, const char *element, struct ak_str text);
void ak_mock_xml_put_number(struct ak_buf *out, const char *element, uint64_t number);

/* --- The documents of requests. MalformedXML: not of this form, or over the limits. --- */
struct ak_mock_delete { /* DeleteObjects */
    struct ak_str *keys;
    size_t count; /* 1..AK_MOCK_DELETE_MAX */
    bool quiet;
};
AK_MUST enum ak_mock_code ak_mock_read_delete(struct ak_str text, struct ak_arena *arena,
                                              struct ak_mock_delete *request,
                                              struct ak_mock_fault *fault);
struct ak_mock_named_part {
    uint64_t number;    /* 1..AK_MOCK_PARTS_MAX */
    struct ak_str etag; /* without quotes */
    struct ak_str sum;  /* base64, of whatever kind; may be empty */
    unsigned sum_kind;  /* enum ak_mock_sum */
};
struct ak_mock_complete { /* CompleteMultipartUpload */
    struct ak_mock_named_part *parts;
    size_t count; /* 1..AK_MOCK_PARTS_MAX */
};
AK_MUST enum ak_mock_code ak_mock_read_complete(struct ak_str text, struct ak_arena *arena,
                                                struct ak_mock_complete *request,
                                                struct ak_mock_fault *fault);
/* CreateBucket; an empty text and an absent constraint give an empty region. */
AK_MUST enum ak_mock_code ak_mock_read_create_bucket(struct ak_str text, struct ak_arena *arena,
                                                     struct ak_str *region,
                                                     struct ak_mock_fault *fault);
