/* xml.c — the XML reader and writer. */
#include "mocks3/xml.h"
#include <inttypes.h>
#include <string.h>

#define NAME_MAX_BYTES 64u

void ak_mock_xml_init(struct ak_mock_xml *xml, struct ak_str text, struct ak_arena *arena)
{
    *xml = (struct ak_mock_xml){.at = text.p, .end = text.p + text.len, .arena = arena};
    if (ak_str_has_prefix(text, AK_STR("\xef\xbb\xbf"))) { /* a byte order mark */
        xml->at += 3;
    }
}

static enum ak_mock_xml_event bad(struct ak_mock_xml *xml)
{
    xml->bad = true;
    return AK_MOCK_XML_BAD;
}

static struct ak_str rest_of(const struct ak_mock_xml *xml)
{
    return (struct ak_str){xml->at, (size_t)(xml->end - xml->at)};
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_blank(struct ak_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!is_space(text.p[i])) {
            return false;
        }
    }
    return true;
}

/* Skip what begins with `open` through `close`. false: it does not end. */
static bool skip_to(struct ak_mock_xml *xml, const char *open, const char *close)
{
    size_t from = strlen(open);
    struct ak_str rest = rest_of(xml);
    const char *end = memmem(rest.p + from, rest.len - from, close, strlen(close));
    if (!end) {
        return false;
    }
    xml->at = end + strlen(close);
    return true;
}

/* --- Text --- */

/* A code point as UTF-8; returns its length, 0: not one that XML allows. */
static size_t put_utf8(uint32_t point, char out[4])
{
    bool is_allowed = point == '\t' || point == '\n' || point == '\r' ||
                      (point >= 0x20 && point < 0xd800) || (point >= 0xe000 && point < 0xfffe) ||
                      (point >= 0x10000 && point < 0x110000);
    /* S3 itself writes control characters of keys as references, so they come back as such. */
    if (!is_allowed && !(point > 0 && point < 0x20)) {
        return 0;
    }
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (char)(0xc0 | point >> 6);
        out[1] = (char)(0x80 | (point & 63));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (char)(0xe0 | point >> 12);
        out[1] = (char)(0x80 | (point >> 6 & 63));
        out[2] = (char)(0x80 | (point & 63));
        return 3;
    }
    out[0] = (char)(0xf0 | point >> 18);
    out[1] = (char)(0x80 | (point >> 12 & 63));
    out[2] = (char)(0x80 | (point >> 6 & 63));
    out[3] = (char)(0x80 | (point & 63));
    return 4;
}

/* "#65" or "#x41" */
static bool read_reference(struct ak_str text, uint32_t *point)
{
    uint32_t base = 10;
    size_t i = 1;
    if (text.len > 1 && (text.p[1] == 'x' || text.p[1] == 'X')) {
        base = 16;
        i = 2;
    }
    if (i == text.len || text.len > 9) {
        return false;
    }
    *point = 0;
    for (; i < text.len; i++) {
        char c = text.p[i];
        uint32_t digit = c >= '0' && c <= '9'                 ? (uint32_t)(c - '0')
                         : base == 16 && c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : base == 16 && c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                              : UINT32_MAX;
        if (digit == UINT32_MAX) {
            return false;
        }
        *point = *point * base + digit;
    }
    return true;
}

/* The entity behind '&'; returns its length in the input, 0: unknown. */
static size_t put_entity(struct ak_str from, char *out, size_t *out_len)
{
    static const struct {
        const char *name;
        char c;
    } known[] = {{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}};
    struct ak_str name;
    struct ak_str rest;
    uint32_t point = 0;
    if (!ak_str_split(ak_str_sub(from, 0, 12), ';', &name, &rest)) {
        return 0;
    }
    if (name.len > 1 && name.p[0] == '#') {
        *out_len = read_reference(name, &point) ? put_utf8(point, out) : 0;
        return *out_len ? name.len + 1 : 0;
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (ak_str_eq(name, ak_str_of(known[i].name))) {
            *out = known[i].c;
            *out_len = 1;
            return name.len + 1;
        }
    }
    return 0;
}

/* Replace references; .p NULL: one is unknown, or no memory. */
static struct ak_str decode(struct ak_mock_xml *xml, struct ak_str text)
{
    if (text.len == 0 || !memchr(text.p, '&', text.len)) {
        return text;
    }
    char *out = ak_arena_alloc(xml->arena, text.len); /* each reference is longer than its value */
    size_t len = 0;
    for (size_t i = 0; out && i < text.len; i++) {
        if (text.p[i] != '&') {
            out[len++] = text.p[i];
            continue;
        }
        size_t added = 0;
        char bytes[4];
        size_t taken = put_entity(ak_str_sub(text, i + 1, SIZE_MAX), bytes, &added);
        if (taken == 0) {
            return AK_STR_NONE;
        }
        memcpy(out + len, bytes, added);
        len += added;
        i += taken;
    }
    return (struct ak_str){out, len};
}

/* --- Tags --- */

static bool is_name_char(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.' || c == ':';
}

static struct ak_str take_name(struct ak_mock_xml *xml)
{
    const char *from = xml->at;
    while (xml->at < xml->end && is_name_char(*xml->at)) {
        xml->at++;
    }
    struct ak_str name = {from, (size_t)(xml->at - from)};
    if (name.len > NAME_MAX_BYTES) {
        return AK_STR_NONE;
    }
    return name;
}

static struct ak_str without_prefix(struct ak_str name)
{
    struct ak_str prefix;
    struct ak_str local;
    return ak_str_split(name, ':', &prefix, &local) ? local : name;
}

static void skip_space(struct ak_mock_xml *xml)
{
    while (xml->at < xml->end && is_space(*xml->at)) {
        xml->at++;
    }
}

/* name="value" or name='value' */
static bool skip_attribute(struct ak_mock_xml *xml)
{
    if (take_name(xml).len == 0) {
        return false;
    }
    skip_space(xml);
    if (xml->at == xml->end || *xml->at++ != '=') {
        return false;
    }
    skip_space(xml);
    if (xml->at == xml->end || (*xml->at != '"' && *xml->at != '\'')) {
        return false;
    }
    char quote = *xml->at++;
    const char *end = memchr(xml->at, quote, (size_t)(xml->end - xml->at));
    if (!end || memchr(xml->at, '<', (size_t)(end - xml->at))) {
        return false;
    }
    xml->at = end + 1;
    return true;
}

static enum ak_mock_xml_event open_tag(struct ak_mock_xml *xml, struct ak_str *value)
{
    xml->at++;
    struct ak_str name = take_name(xml);
    if (name.len == 0 || xml->depth == AK_MOCK_XML_DEPTH_MAX ||
        (xml->depth == 0 && xml->has_root)) {
        return bad(xml);
    }
    for (;;) {
        const char *before = xml->at;
        skip_space(xml);
        if (xml->at == xml->end) {
            return bad(xml);
        }
        if (*xml->at == '>') {
            xml->at++;
            break;
        }
        if (*xml->at == '/') {
            if (xml->end - xml->at < 2 || xml->at[1] != '>') {
                return bad(xml);
            }
            xml->at += 2;
            xml->closes_next = true;
            break;
        }
        if (xml->at == before || !skip_attribute(xml)) {
            return bad(xml);
        }
    }
    xml->has_root = true;
    xml->open[xml->depth++] = name;
    *value = without_prefix(name);
    return AK_MOCK_XML_OPEN;
}

static enum ak_mock_xml_event close_tag(struct ak_mock_xml *xml, struct ak_str *value)
{
    if (!xml->closes_next) {
        xml->at += 2;
        struct ak_str name = take_name(xml);
        skip_space(xml);
        if (xml->depth == 0 || !ak_str_eq(name, xml->open[xml->depth - 1]) || xml->at == xml->end ||
            *xml->at++ != '>') {
            return bad(xml);
        }
    }
    xml->closes_next = false;
    *value = without_prefix(xml->open[--xml->depth]);
    return AK_MOCK_XML_CLOSE;
}

static enum ak_mock_xml_event cdata(struct ak_mock_xml *xml, struct ak_str *value)
{
    const char *from = xml->at + 9;
    if (xml->depth == 0 || !skip_to(xml, "<![CDATA[", "]]>")) {
        return bad(xml);
    }
    *value = (struct ak_str){from, (size_t)(xml->at - 3 - from)};
    return AK_MOCK_XML_TEXT;
}

static enum ak_mock_xml_event text(struct ak_mock_xml *xml, struct ak_str *value)
{
    struct ak_str rest = rest_of(xml);
    const char *end = memchr(rest.p, '<', rest.len);
    struct ak_str raw = {rest.p, end ? (size_t)(end - rest.p) : rest.len};
    xml->at += raw.len;
    if (xml->depth == 0 && !is_blank(raw)) {
        return bad(xml);
    }
    *value = decode(xml, raw);
    return value->p ? AK_MOCK_XML_TEXT : bad(xml);
}

enum ak_mock_xml_event ak_mock_xml_next(struct ak_mock_xml *xml, struct ak_str *value)
{
    *value = AK_STR_NONE;
    while (!xml->bad) {
        struct ak_str rest = rest_of(xml);
        if (xml->closes_next || ak_str_has_prefix(rest, AK_STR("</"))) {
            return close_tag(xml, value);
        }
        if (rest.len == 0) {
            return xml->depth == 0 && xml->has_root ? AK_MOCK_XML_END : bad(xml);
        }
        if (ak_str_has_prefix(rest, AK_STR("<![CDATA["))) {
            return cdata(xml, value);
        }
        if (ak_str_has_prefix(rest, AK_STR("<!--"))) {
            if (!skip_to(xml, "<!--", "-->")) {
                return bad(xml);
            }
        } else if (ak_str_has_prefix(rest, AK_STR("<?"))) {
            if (!skip_to(xml, "<?", "?>")) {
                return bad(xml);
            }
        } else if (rest.p[0] == '<') {
            return open_tag(xml, value); /* "<!DOCTYPE" has no name: bad */
        } else if (text(xml, value) == AK_MOCK_XML_TEXT && !is_blank(*value)) {
            return AK_MOCK_XML_TEXT;
        }
    }
    return AK_MOCK_XML_BAD;
}

/* A key may be nothing but spaces, so here blank text counts. */
bool ak_mock_xml_text(struct ak_mock_xml *xml, struct ak_str *out)
{
    *out = AK_STR("");
    for (;;) {
        struct ak_str piece;
        struct ak_str rest = rest_of(xml);
        bool is_text = !xml->bad && !xml->closes_next && rest.len && rest.p[0] != '<';
        enum ak_mock_xml_event event = is_text ? text(xml, &piece) : ak_mock_xml_next(xml, &piece);
        if (event == AK_MOCK_XML_CLOSE) {
            return true;
        }
        if (event != AK_MOCK_XML_TEXT) {
            return false;
        }
        if (out->len == 0) {
            *out = piece;
        } else if (piece.len) {
            char *joined = ak_arena_alloc(xml->arena, out->len + piece.len);
            if (!joined) {
                return false;
            }
            memcpy(joined, out->p, out->len);
            memcpy(joined + out->len, piece.p, piece.len);
            *out = (struct ak_str){joined, out->len + piece.len};
        }
    }
}

bool ak_mock_xml_skip(struct ak_mock_xml *xml)
{
    unsigned depth = xml->depth;
    for (;;) {
        struct ak_str value;
        enum ak_mock_xml_event event = ak_mock_xml_next(xml, &value);
        if (event == AK_MOCK_XML_BAD || event == AK_MOCK_XML_END) {
            return false;
        }
        if (event == AK_MOCK_XML_CLOSE && xml->depth < depth) {
            return true;
        }
    }
}

/* --- Writing --- */

void ak_mock_xml_put(struct ak_buf *out, struct ak_str value)
{
    size_t from = 0;
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.p[i];
        if (c >= 0x20 && c != '<' && c != '>' && c != '&' && c != '"') {
            continue;
        }
        ak_buf_add(out, value.p + from, i - from);
        from = i + 1;
        if (c == '<') {
            ak_buf_add_str(out, AK_STR("&lt;"));
        } else if (c == '>') {
            ak_buf_add_str(out, AK_STR("&gt;"));
        } else if (c == '&') {
            ak_buf_add_str(out, AK_STR("&amp;"));
        } else if (c == '"') {
            ak_buf_add_str(out, AK_STR("&quot;"));
        } else {
            ak_buf_add_fmt(out, "&#x%x;", c);
        }
    }
    ak_buf_add(out, value.p + from, value.len - from);
}

void ak_mock_xml_put_element(struct ak_buf *out, const char *element, struct ak_str value)
{
    ak_buf_add_fmt(out, "<%s>", element);
    ak_mock_xml_put(out, value);
    ak_buf_add_fmt(out, "</%s>", element);
}

void ak_mock_xml_put_number(struct ak_buf *out, const char *element, uint64_t number)
{
    ak_buf_add_fmt(out, "<%s>%" PRIu64 "</%s>", element, number, element);
}
