/* csv.c — RFC 4180 over one bounded buffer.
 *
 * A line without a quote, which is nearly every one, is found with memchr and cut at its commas in
 * one pass, sixteen bytes at a time. A line with one goes through the states of the grammar, byte
 * by byte:
 *
 *   field begins ─ '"' → quoted ─ '"' → closed ─ ',' → field begins
 *        │                 └ '""' stays ┘  └ line end → the record ends
 *        └ other → bare ─ ',' → field begins · line end → the record ends
 *
 * I1  Whatever breaks the grammar costs one line: reading goes on behind the line that the record
 *     began in, so that a quote that is never closed does not swallow what follows. Any quote
 *     that a later line has ends such a search, and AK_CSV_RECORD_MAX does: no file makes it long.
 * I2  `in` holds at most one record and one step.
 */
#include "perf/csv.h"
#include <stdio.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#define STEP ((size_t)512 << 10)
#define STRIDE 16u
#define SHOWN_MAX 256 /* bytes of a line that is too long to be kept */

static const char too_long[] = "it is longer than 1 MiB, or a quote is never closed";

struct span { /* a field, relative to the record */
    size_t from;
    size_t len;
    bool is_quoted;
    bool has_escapes;
};

void ak_csv_init(struct ak_csv *csv, struct ak_file *file, uint64_t from, uint64_t to)
{
    *csv = (struct ak_csv){
        .file = file, .in_offset = from, .line = 1, .end = to ? to : UINT64_MAX, .want = 0};
    ak_buf_init(&csv->in, AK_CSV_RECORD_MAX + 2 * STEP);
    ak_buf_init(&csv->unquoted, AK_CSV_RECORD_MAX + STEP);
}

void ak_csv_init_text(struct ak_csv *csv)
{
    ak_csv_init(csv, NULL, 0, 0);
    csv->is_ended = true;
}

void ak_csv_give(struct ak_csv *csv, struct ak_str text)
{
    ak_buf_clear(&csv->in);
    ak_buf_add_str(&csv->in, text);
    csv->at = 0;
    csv->in_offset = 0;
    csv->line = 1;
}

void ak_csv_release(struct ak_csv *csv)
{
    ak_buf_release(&csv->in);
    ak_buf_release(&csv->unquoted);
    csv->at = 0;
    csv->is_ended = true;
}

uint64_t ak_csv_offset(const struct ak_csv *csv)
{
    return csv->in_offset + csv->at;
}

/* Read one step more behind what is there, which moves to the front. */
static enum ak_rc fill(struct ak_csv *csv, struct ak_err *err)
{
    if (csv->at > 0) {
        csv->in.len -= csv->at;
        memmove(csv->in.p, csv->in.p + csv->at, csv->in.len);
        csv->in_offset += csv->at;
        csv->at = 0;
    }
    uint64_t from = csv->in_offset + csv->in.len;
    uint64_t left = csv->end > from ? csv->end - from : 0;
    size_t len = left < STEP ? (size_t)left : STEP;
    size_t got = 0;
    char *room = ak_buf_reserve(&csv->in, STEP);
    if (!room) {
        return ak_buf_check(&csv->in, err);
    }
    enum ak_rc rc = len ? ak_file_read(csv->file, from, room, len, &got, err) : AK_OK;
    if (rc == AK_OK) {
        csv->in.len += got;
        csv->is_ended = got < len || len == 0;
    }
    return rc;
}

/* *len: bytes up to the next line end, or to the end of the file, or more than AK_CSV_RECORD_MAX
 * without one. */
static enum ak_rc find_line(struct ak_csv *csv, size_t *len, bool *has_end, struct ak_err *err)
{
    size_t looked = 0;
    for (;;) {
        size_t have = csv->in.len - csv->at;
        const char *from = have ? csv->in.p + csv->at : NULL;
        const char *end = have > looked ? memchr(from + looked, '\n', have - looked) : NULL;
        if (end || csv->is_ended || have > AK_CSV_RECORD_MAX) {
            *has_end = end != NULL;
            *len = end ? (size_t)(end - from) : have;
            return AK_OK;
        }
        looked = have;
        enum ak_rc rc = fill(csv, err);
        if (rc != AK_OK) {
            return rc;
        }
    }
}

static void consume(struct ak_csv *csv, size_t len, bool has_end)
{
    csv->at += len + has_end;
    csv->line += has_end;
}

static void break_off(struct ak_csv_record *record, const char *fault)
{
    record->fault = fault;
    record->count = 0;
}

/* A line that no buffer holds: its beginning is kept for the message, the rest is passed over. */
static enum ak_rc skip_long_line(struct ak_csv *csv, struct ak_csv_record *record,
                                 struct ak_err *err)
{
    bool has_end = false;
    ak_buf_clear(&csv->unquoted);
    ak_buf_add(&csv->unquoted, csv->in.p + csv->at, SHOWN_MAX);
    enum ak_rc rc = ak_buf_check(&csv->unquoted, err);
    record->raw = ak_buf_str(&csv->unquoted);
    break_off(record, too_long);
    while (rc == AK_OK) {
        size_t have = csv->in.len - csv->at;
        const char *from = csv->in.p + csv->at;
        const char *end = have ? memchr(from, '\n', have) : NULL;
        has_end = end != NULL;
        consume(csv, end ? (size_t)(end - from) : have, has_end);
        if (has_end || csv->is_ended) {
            break;
        }
        rc = fill(csv, err);
    }
    return rc;
}

static const char *wrong_count(struct ak_csv *csv, size_t count)
{
    (void)snprintf(csv->fault, sizeof csv->fault, "it has %zu field%s; the header has %zu", count,
                   count == 1 ? "" : "s", csv->want);
    return csv->fault;
}

/* --- Without quotes: sixteen bytes at a time --- */

struct marks { /* a bit a byte */
    unsigned commas, quotes, zeros, high;
};

#if defined(__SSE2__)
static inline struct marks look(const char *p)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
    return (struct marks){
        .commas = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(','))),
        .quotes = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'))),
        .zeros = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_setzero_si128())),
        .high = (unsigned)_mm_movemask_epi8(bytes),
    };
}
#else
static inline struct marks look(const char *p)
{
    struct marks marks = {0};
    for (unsigned i = 0; i < STRIDE; i++) {
        marks.commas |= (unsigned)(p[i] == ',') << i;
        marks.quotes |= (unsigned)(p[i] == '"') << i;
        marks.zeros |= (unsigned)(p[i] == '\0') << i;
        marks.high |= (unsigned)((unsigned char)p[i] >> 7) << i;
    }
    return marks;
}
#endif

struct cut {
    size_t begin; /* of the field at hand */
    size_t count; /* of those before it */
    unsigned quotes, zeros, high;
};

static inline void cut_at(struct ak_csv_record *record, struct cut *cut, size_t at)
{
    if (cut->count < AK_CSV_FIELDS_MAX) {
        record->fields[cut->count] =
            (struct ak_csv_field){{record->raw.p + cut->begin, at - cut->begin}, false};
    }
    cut->count++;
    cut->begin = at + 1;
}

static inline void cut_stride(struct ak_csv_record *record, struct cut *cut, const char *p,
                              size_t at)
{
    struct marks marks = look(p);
    cut->quotes |= marks.quotes;
    cut->zeros |= marks.zeros;
    cut->high |= marks.high;
    for (unsigned commas = marks.commas; commas; commas &= commas - 1) {
        cut_at(record, cut, at + (unsigned)__builtin_ctz(commas));
    }
}

/* false: there is a quote in it, and the record is as it was but for its fields. */
static bool cut_line(struct ak_csv *csv, struct ak_csv_record *record)
{
    const char *p = record->raw.p;
    size_t len = record->raw.len;
    size_t at = 0;
    struct cut cut = {0};
    for (; len - at >= STRIDE; at += STRIDE) {
        cut_stride(record, &cut, p + at, at);
    }
    if (at < len) {
        char rest[STRIDE];
        memset(rest, ' ', sizeof rest);
        memcpy(rest, p + at, len - at);
        cut_stride(record, &cut, rest, at);
    }
    if (cut.quotes) {
        return false;
    }
    cut_at(record, &cut, len);
    record->count = cut.count;
    record->is_ascii = cut.high == 0;
    if (cut.zeros) {
        break_off(record, "it holds a zero byte");
    } else if (cut.count > AK_CSV_FIELDS_MAX) {
        break_off(record, "it has more than 64 fields");
    } else if (csv->want && cut.count != csv->want) {
        break_off(record, wrong_count(csv, cut.count));
    }
    return true;
}

/* --- With quotes --- */

struct parser {
    struct ak_csv *csv;
    struct ak_err *err;
    enum ak_rc rc;
    size_t i; /* next byte, relative to the record */
    struct span spans[AK_CSV_FIELDS_MAX];
    size_t count;
    size_t lines; /* line ends within quotes */
    const char *fault;
};

/* The byte at i + ahead; −1: the file ends there, the record is too long, or reading failed. */
static int peek(struct parser *parser, size_t ahead)
{
    struct ak_csv *csv = parser->csv;
    while (csv->at + parser->i + ahead >= csv->in.len) {
        if (csv->is_ended) {
            return -1;
        }
        if (parser->i + ahead > AK_CSV_RECORD_MAX) {
            parser->fault = too_long;
            return -1;
        }
        parser->rc = fill(csv, parser->err);
        if (parser->rc != AK_OK) {
            return -1;
        }
    }
    return (unsigned char)csv->in.p[csv->at + parser->i + ahead];
}

/* Is there a line end here, or the file's? *len: its bytes. */
static bool at_end(struct parser *parser, size_t *len)
{
    int c = peek(parser, 0);
    int next = c == '\r' ? peek(parser, 1) : c;
    *len = next == '\n' ? 1 + (c == '\r') : next < 0 && c == '\r';
    return next == '\n' || (next < 0 && !parser->fault && parser->rc == AK_OK);
}

/* Behind the opening quote, to behind the closing one. */
static void quoted_field(struct parser *parser, struct span *span)
{
    span->is_quoted = true;
    span->from = parser->i;
    for (;;) {
        int c = peek(parser, 0);
        if (c < 0) {
            parser->fault = parser->fault ? parser->fault : "a quote is never closed";
            return;
        }
        if (c == '\0') {
            parser->fault = "it holds a zero byte";
            return;
        }
        if (c == '"' && peek(parser, 1) != '"') {
            span->len = parser->i++ - span->from;
            return;
        }
        span->has_escapes |= c == '"';
        parser->lines += c == '\n';
        parser->i += c == '"' ? 2 : 1;
    }
}

static void bare_field(struct parser *parser, struct span *span)
{
    size_t end_len;
    span->from = parser->i;
    for (;;) {
        int c = peek(parser, 0);
        if (c == ',' || at_end(parser, &end_len)) {
            break;
        }
        if (c == '"' || c <= 0) {
            parser->fault = parser->fault ? parser->fault
                            : c == '"'    ? "a quote stands within a field that has none around it"
                                          : "it holds a zero byte";
            return;
        }
        parser->i++;
    }
    span->len = parser->i - span->from;
}

/* *end_len: the bytes of the line end behind the record. */
static void parse(struct parser *parser, size_t *end_len)
{
    for (;;) {
        if (parser->count == AK_CSV_FIELDS_MAX) {
            parser->fault = "it has more than 64 fields";
            return;
        }
        struct span *span = &parser->spans[parser->count++];
        if (peek(parser, 0) == '"') {
            parser->i++;
            quoted_field(parser, span);
        } else {
            bare_field(parser, span);
        }
        if (parser->fault || parser->rc != AK_OK || at_end(parser, end_len)) {
            return;
        }
        if (peek(parser, 0) != ',') {
            parser->fault =
                parser->fault ? parser->fault : "something stands behind a closing quote";
            return;
        }
        parser->i++;
    }
}

static struct ak_str unescape(struct ak_csv *csv, struct ak_str text)
{
    size_t from = csv->unquoted.len;
    for (size_t i = 0; i < text.len; i++) {
        ak_buf_add_char(&csv->unquoted, text.p[i]);
        i += text.p[i] == '"'; /* the second one */
    }
    return (struct ak_str){csv->unquoted.p + from, csv->unquoted.len - from};
}

static enum ak_rc resolve(struct parser *parser, struct ak_csv_record *record, struct ak_err *err)
{
    struct ak_csv *csv = parser->csv;
    const char *from = csv->in.p + csv->at;
    ak_buf_clear(&csv->unquoted);
    if (!ak_buf_reserve(&csv->unquoted, parser->i)) { /* so that it does not move below */
        return ak_buf_check(&csv->unquoted, err);
    }
    record->raw = (struct ak_str){from, parser->i};
    record->count = parser->count;
    for (size_t n = 0; n < parser->count; n++) {
        const struct span *span = &parser->spans[n];
        struct ak_str text = {from + span->from, span->len};
        record->fields[n].text = span->has_escapes ? unescape(csv, text) : text;
        record->fields[n].is_quoted = span->is_quoted;
    }
    return AK_OK;
}

static enum ak_rc quoted_record(struct ak_csv *csv, struct ak_csv_record *record,
                                struct ak_err *err)
{
    struct parser parser = {.csv = csv, .err = err};
    size_t end_len = 0;
    size_t line_len = 0;
    bool has_end = false;
    parse(&parser, &end_len);
    if (parser.rc != AK_OK) {
        return parser.rc;
    }
    if (!parser.fault && csv->want && parser.count != csv->want) {
        parser.fault = wrong_count(csv, parser.count);
    }
    if (!parser.fault) {
        enum ak_rc rc = resolve(&parser, record, err);
        csv->at += parser.i + end_len;
        csv->line += parser.lines + (end_len > 0);
        return rc;
    }
    enum ak_rc rc = find_line(csv, &line_len, &has_end, err);
    record->raw = (struct ak_str){csv->in.p + csv->at, line_len};
    break_off(record, parser.fault);
    consume(csv, line_len, has_end);
    return rc;
}

/* The next line, behind the mark that some programs put before the first one. */
static enum ak_rc find_next(struct ak_csv *csv, size_t *len, bool *has_end, struct ak_err *err)
{
    enum ak_rc rc = find_line(csv, len, has_end, err);
    if (rc == AK_OK && ak_csv_offset(csv) == 0 && csv->in.len >= 3 &&
        memcmp(csv->in.p, "\xEF\xBB\xBF", 3) == 0) {
        csv->at = 3;
        rc = find_line(csv, len, has_end, err);
    }
    return rc;
}

/* The next line that is not empty; consumes nothing. record->fault: it is too long, and consumed.
 */
static enum ak_rc begin_record(struct ak_csv *csv, struct ak_csv_record *record, size_t *len,
                               bool *has_end, bool *end, struct ak_err *err)
{
    for (;;) {
        enum ak_rc rc = find_next(csv, len, has_end, err);
        *end = rc == AK_OK && !*has_end && *len == 0;
        if (rc != AK_OK || *end) {
            return rc;
        }
        const char *from = csv->in.p + csv->at;
        bool is_cr = *len > 0 && from[*len - 1] == '\r';
        if (*len - is_cr == 0) {
            consume(csv, *len, *has_end);
            continue;
        }
        record->line = csv->line;
        record->at = csv->in_offset + csv->at;
        record->fault = NULL;
        record->count = 0;
        record->is_ascii = false;
        record->raw = (struct ak_str){from, *len - is_cr};
        return *len > AK_CSV_RECORD_MAX ? skip_long_line(csv, record, err) : AK_OK;
    }
}

enum ak_rc ak_csv_next(struct ak_csv *csv, struct ak_csv_record *record, bool *end,
                       struct ak_err *err)
{
    size_t len = 0;
    bool has_end = false;
    enum ak_rc rc = begin_record(csv, record, &len, &has_end, end, err);
    if (rc != AK_OK || *end || record->fault) {
        return rc;
    }
    if (!cut_line(csv, record)) {
        return quoted_record(csv, record, err);
    }
    consume(csv, len, has_end);
    return AK_OK;
}

enum ak_rc ak_csv_next_line(struct ak_csv *csv, struct ak_csv_record *record, bool *end,
                            struct ak_err *err)
{
    size_t len = 0;
    bool has_end = false;
    enum ak_rc rc = begin_record(csv, record, &len, &has_end, end, err);
    if (rc == AK_OK && !*end && !record->fault) {
        consume(csv, len, has_end);
    }
    return rc;
}

void ak_csv_put(struct ak_buf *out, struct ak_str text)
{
    if (!text.p) {
        return;
    }
    bool is_plain = text.len > 0;
    for (size_t i = 0; i < text.len && is_plain; i++) {
        char c = text.p[i];
        is_plain = c != ',' && c != '"' && c != '\n' && c != '\r';
    }
    if (is_plain) {
        ak_buf_add_str(out, text);
        return;
    }
    ak_buf_add_char(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] == '"') {
            ak_buf_add_char(out, '"');
        }
        ak_buf_add_char(out, text.p[i]);
    }
    ak_buf_add_char(out, '"');
}
