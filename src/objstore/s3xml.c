/* s3xml.c — the XML reader.
 *
 * I1 `at` only grows and never passes `end`; every look ahead is checked against `end`.
 * I2 depth is the number of names in open[]; the end of an element must name the last of them.
 */
#include "objstore/s3xml.h"
#include <string.h>

void ak_xml_init(struct ak_xml *in, struct ak_str text)
{
    *in = (struct ak_xml){.begin = text.p ? text.p : ""};
    in->at = in->begin;
    in->end = in->begin + text.len;
    ak_buf_init(&in->buf, AK_XML_TEXT_MAX);
    if (ak_str_has_prefix(text, AK_STR("\xEF\xBB\xBF"))) { /* a byte order mark */
        in->at += 3;
    }
}

void ak_xml_release(struct ak_xml *in)
{
    ak_buf_release(&in->buf);
}

static enum ak_xml_token fail(struct ak_xml *in, const char *what)
{
    if (in->failure.rc == AK_OK) {
        (void)ak_fail(&in->failure, AK_CORRUPT, "XML at byte %zu: %s", (size_t)(in->at - in->begin),
                      what);
    }
    in->at = in->end;
    return AK_XML_FAILED;
}

static bool starts(const struct ak_xml *in, const char *what)
{
    size_t len = strlen(what);
    return (size_t)(in->end - in->at) >= len && memcmp(in->at, what, len) == 0;
}

/* Pass over everything through `what`; false when it does not come. */
static bool pass(struct ak_xml *in, const char *what)
{
    size_t len = strlen(what);
    const char *found = memmem(in->at, (size_t)(in->end - in->at), what, len);
    if (found) {
        in->at = found + len;
    }
    return found != NULL;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_name_byte(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.' || c == ':' || (unsigned char)c >= 0x80;
}

static void skip_blanks(struct ak_xml *in)
{
    while (in->at < in->end && is_blank(*in->at)) {
        in->at++;
    }
}

static bool may_begin_name(char c)
{
    return is_name_byte(c) && (c < '0' || c > '9') && c != '-' && c != '.' && c != ':';
}

/* At a name: its local part in in->name. */
static bool read_name(struct ak_xml *in)
{
    const char *from = in->at;
    while (in->at < in->end && is_name_byte(*in->at)) {
        in->at++;
    }
    size_t len = (size_t)(in->at - from);
    if (len == 0 || len > AK_XML_NAME_MAX || !may_begin_name(*from)) {
        return false;
    }
    const char *colon = memrchr(from, ':', len);
    if (colon) {
        len -= (size_t)(colon + 1 - from);
        from = colon + 1;
    }
    in->name = (struct ak_str){from, len};
    return len > 0 && may_begin_name(*from);
}

/* --- Text --- */

static void add_utf8(struct ak_buf *out, uint32_t c)
{
    char bytes[4];
    size_t len = 0;
    if (c < 0x80) {
        bytes[len++] = (char)c;
    } else if (c < 0x800) {
        bytes[len++] = (char)(0xC0 | (c >> 6));
        bytes[len++] = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        bytes[len++] = (char)(0xE0 | (c >> 12));
        bytes[len++] = (char)(0x80 | ((c >> 6) & 63));
        bytes[len++] = (char)(0x80 | (c & 63));
    } else {
        bytes[len++] = (char)(0xF0 | (c >> 18));
        bytes[len++] = (char)(0x80 | ((c >> 12) & 63));
        bytes[len++] = (char)(0x80 | ((c >> 6) & 63));
        bytes[len++] = (char)(0x80 | (c & 63));
    }
    ak_buf_add(out, bytes, len);
}

static int digit_of(char c, uint32_t base)
{
    int value = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
    return value < (int)base ? value : -1;
}

/* "#38" or "#x26" between & and ; */
static bool add_reference(struct ak_buf *out, struct ak_str body)
{
    uint32_t base = body.len > 1 && body.p[1] == 'x' ? 16 : 10;
    struct ak_str digits = ak_str_sub(body, base == 16 ? 2 : 1, SIZE_MAX);
    uint32_t c = 0;
    for (size_t i = 0; i < digits.len; i++) {
        int digit = digit_of(digits.p[i], base);
        if (digit < 0 || c > 0x10FFFF) {
            return false;
        }
        c = c * base + (uint32_t)digit;
    }
    if (digits.len == 0 || c == 0 || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) {
        return false;
    }
    add_utf8(out, c);
    return true;
}

static bool add_entity(struct ak_buf *out, struct ak_str body)
{
    static const struct {
        const char *name;
        char c;
    } entities[] = {{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}};
    if (body.len && body.p[0] == '#') {
        return add_reference(out, body);
    }
    for (size_t i = 0; i < sizeof entities / sizeof entities[0]; i++) {
        if (ak_str_eq(body, ak_str_of(entities[i].name))) {
            ak_buf_add_char(out, entities[i].c);
            return true;
        }
    }
    return false;
}

/* Text up to the next '<'. */
static bool read_text(struct ak_xml *in)
{
    while (in->at < in->end && *in->at != '<') {
        const char *from = in->at;
        while (in->at < in->end && *in->at != '<' && *in->at != '&') {
            in->at++;
        }
        ak_buf_add(&in->buf, from, (size_t)(in->at - from));
        if (in->at < in->end && *in->at == '&') {
            size_t left = (size_t)(in->end - in->at);
            const char *close = memchr(in->at, ';', left < 16 ? left : 16);
            if (!close ||
                !add_entity(&in->buf, (struct ak_str){in->at + 1, (size_t)(close - in->at) - 1})) {
                (void)fail(in, "an unknown entity");
                return false;
            }
            in->at = close + 1;
        }
    }
    return true;
}

static bool text_fits(struct ak_xml *in)
{
    if (!in->buf.failed) {
        return true;
    }
    if (in->buf.no_memory) {
        (void)ak_fail(&in->failure, AK_NOMEM, "no memory for XML");
    }
    (void)fail(in, "a text that is longer than 64 KiB");
    return false;
}

/* --- Tags --- */

/* Past the attributes to '>' or '/>'. */
static bool skip_attributes(struct ak_xml *in, bool *closes_itself)
{
    *closes_itself = false;
    for (;;) {
        skip_blanks(in);
        if (in->at >= in->end) {
            return false;
        }
        if (*in->at == '>') {
            in->at++;
            return true;
        }
        if (starts(in, "/>")) {
            in->at += 2;
            *closes_itself = true;
            return true;
        }
        struct ak_str element = in->name;
        if (!read_name(in)) {
            return false;
        }
        in->name = element;
        skip_blanks(in);
        if (in->at >= in->end || *in->at++ != '=') {
            return false;
        }
        skip_blanks(in);
        if (in->at >= in->end || (*in->at != '"' && *in->at != '\'')) {
            return false;
        }
        const char quote[2] = {*in->at++, 0};
        if (!pass(in, quote)) {
            return false;
        }
    }
}

static enum ak_xml_token element_start(struct ak_xml *in)
{
    in->at++;
    if (!read_name(in)) {
        return fail(in, "a tag without a name");
    }
    if (in->depth == AK_XML_DEPTH_MAX || (in->depth == 0 && in->has_root)) {
        return fail(in, in->depth ? "elements nested too deeply" : "a second root element");
    }
    if (!skip_attributes(in, &in->closes_itself)) {
        return fail(in, "a tag that is not closed");
    }
    in->open[in->depth++] = in->name;
    in->has_root = true;
    in->text = AK_STR_NONE;
    ak_buf_clear(&in->buf);
    return AK_XML_START;
}

static enum ak_xml_token element_end(struct ak_xml *in)
{
    in->text = ak_buf_str(&in->buf);
    in->depth--;
    in->name = in->open[in->depth];
    in->buf.len = 0; /* the bytes stay until the next call */
    return AK_XML_END;
}

static enum ak_xml_token end_tag(struct ak_xml *in)
{
    in->at += 2;
    if (!read_name(in) || in->depth == 0 || !ak_str_eq(in->name, in->open[in->depth - 1])) {
        return fail(in, "an end that belongs to no start");
    }
    skip_blanks(in);
    if (in->at >= in->end || *in->at++ != '>') {
        return fail(in, "a tag that is not closed");
    }
    return element_end(in);
}

static bool read_cdata(struct ak_xml *in)
{
    in->at += strlen("<![CDATA[");
    const char *from = in->at;
    if (in->depth == 0 || !pass(in, "]]>")) {
        return false;
    }
    ak_buf_add(&in->buf, from, (size_t)(in->at - from) - 3);
    return true;
}

/* Comments, instructions, CDATA. False when it is none of them, or not whole. */
static bool pass_over(struct ak_xml *in)
{
    if (starts(in, "<!--")) {
        in->at += 4;
        return pass(in, "-->");
    }
    if (starts(in, "<?")) {
        return pass(in, "?>");
    }
    return starts(in, "<![CDATA[") && read_cdata(in);
}

static enum ak_xml_token at_the_end(struct ak_xml *in)
{
    if (in->failure.rc != AK_OK) {
        return AK_XML_FAILED;
    }
    return in->depth || !in->has_root ? fail(in, "it ends too early") : AK_XML_END_OF_TEXT;
}

enum ak_xml_token ak_xml_next(struct ak_xml *in)
{
    if (in->failure.rc != AK_OK) {
        return AK_XML_FAILED;
    }
    if (in->closes_itself) {
        in->closes_itself = false;
        return element_end(in);
    }
    for (;;) {
        if (in->depth == 0) {
            skip_blanks(in);
            if (in->at < in->end && *in->at != '<') {
                return fail(in, "text outside of elements");
            }
        } else if (!read_text(in)) {
            return AK_XML_FAILED;
        }
        if (!text_fits(in)) {
            return AK_XML_FAILED;
        }
        if (in->at >= in->end) {
            return at_the_end(in);
        }
        if (starts(in, "</")) {
            return end_tag(in);
        }
        if (!starts(in, "<!") && !starts(in, "<?")) {
            return element_start(in);
        }
        if (!pass_over(in)) {
            return fail(in, "a declaration, or a comment that does not end");
        }
    }
}

enum ak_rc ak_xml_finish(struct ak_xml *in, struct ak_err *err)
{
    if (in->failure.rc != AK_OK) {
        return ak_fail(err, in->failure.rc, "%s", in->failure.text);
    }
    if (in->depth || !in->has_root || in->at < in->end) {
        return ak_fail(err, AK_CORRUPT, "XML that was not read to its end");
    }
    return AK_OK;
}

bool ak_xml_is(const struct ak_xml *in, const char *path)
{
    struct ak_str rest = ak_str_of(path);
    struct ak_str part;
    for (unsigned i = 0; i < in->depth; i++) {
        if (i + 1 == in->depth && in->open[i].p == in->name.p) {
            break; /* it just started: the last part is `name` itself */
        }
        if (!ak_str_split(rest, '/', &part, &rest) || !ak_str_eq(part, in->open[i])) {
            return false;
        }
    }
    return ak_str_eq(rest, in->name);
}

bool ak_xml_find(struct ak_str text, const char *path, struct ak_buf *out)
{
    struct ak_xml in;
    enum ak_xml_token token = AK_XML_START;
    bool found = false;
    ak_xml_init(&in, text);
    while (!found && (token = ak_xml_next(&in)) > AK_XML_END_OF_TEXT) {
        if (token == AK_XML_END && ak_xml_is(&in, path)) {
            ak_buf_add_str(out, in.text);
            found = !out->failed;
        }
    }
    ak_xml_release(&in);
    return found;
}
