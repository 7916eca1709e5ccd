/* s3xml.h — a pull reader for the XML that S3 servers answer with.
 *
 *   ak_xml_init(&in, text);
 *   while ((token = ak_xml_next(&in)) > AK_XML_END_OF_TEXT) { … in.name, in.text … }
 *   return ak_xml_finish(&in, err);
 *
 * Elements, text, CDATA, the five entities and character references; comments, processing
 * instructions and attributes are passed over; a prefix ("s3:Key") is cut off names. No DTD: a
 * document that declares anything is refused, so that nothing can expand. Depth, names and the
 * length of one text are bounded.
 *
 * Threads: one at a time. Memory: `name` points into the input, `text` into the reader's own buffer
 * and is valid until the next call.
 */
#pragma once
#include "base/str.h"

#define AK_XML_DEPTH_MAX 32
#define AK_XML_NAME_MAX 128
#define AK_XML_TEXT_MAX ((size_t)64 << 10)

enum ak_xml_token {
    AK_XML_FAILED,
    AK_XML_END_OF_TEXT, /* after the root element's end */
    AK_XML_START,       /* name */
    AK_XML_END,         /* name; text is all the text directly inside the element since its start or
                         * its last child's end, trimmed only by whoever wants it trimmed */
};

struct ak_xml {
    const char *begin;
    const char *at;
    const char *end;
    struct ak_str name;
    struct ak_str text;
    struct ak_str open[AK_XML_DEPTH_MAX];
    unsigned depth;
    bool closes_itself; /* <name/>: its end is the next token */
    bool has_root;
    struct ak_buf buf;
    struct ak_err failure;
};

void ak_xml_init(struct ak_xml *in, struct ak_str text); /* borrowed until release */
void ak_xml_release(struct ak_xml *in);
AK_MUST enum ak_xml_token ak_xml_next(struct ak_xml *in);
/* AK_OK when all was read; AK_CORRUPT "at byte N: …", AK_NOMEM. */
AK_MUST enum ak_rc ak_xml_finish(struct ak_xml *in, struct ak_err *err);
/* Is the element that just started or ended `path`, from the root ("Error/Code")? */
bool ak_xml_is(const struct ak_xml *in, const char *path);
/* The text of the first element at `path`, appended to `out`. false: none, or not XML. */
AK_MUST bool ak_xml_find(struct ak_str text, const char *path, struct ak_buf *out);
