/* awschunked.c — the decoder of aws-chunked bodies. */
#include "mocks3/awschunked.h"
#include <string.h>

void ak_mock_chunked_init(struct ak_mock_chunked *chunked,
                          const struct ak_mock_chunked_events *events)
{
    chunked->events = *events;
    chunked->state = AK_MOCK_CHUNKED_SIZE;
    chunked->left = 0;
    chunked->trailers = 0;
    chunked->line_len = 0;
    chunked->problem = NULL;
}

static bool bad(struct ak_mock_chunked *chunked, const char *problem)
{
    chunked->state = AK_MOCK_CHUNKED_BAD;
    chunked->problem = problem;
    return false;
}

static bool told(struct ak_mock_chunked *chunked, bool goes_on)
{
    if (!goes_on) {
        chunked->state = AK_MOCK_CHUNKED_STOPPED;
    }
    return goes_on;
}

static bool read_size(struct ak_str text, uint64_t *size)
{
    uint64_t value = 0;
    if (text.len == 0 || text.len > 16) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        char c = text.p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) {
            return false;
        }
        value = value << 4 | (uint64_t)digit;
    }
    *size = value;
    return value <= INT64_MAX;
}

static bool size_line(struct ak_mock_chunked *chunked, struct ak_str line)
{
    struct ak_str size_text;
    struct ak_str rest;
    struct ak_str signature = AK_STR_NONE;
    uint64_t size = 0;
    (void)ak_str_split(line, ';', &size_text, &rest);
    if (!read_size(size_text, &size)) {
        return bad(chunked, "a chunk does not begin with its size in hexadecimal");
    }
    while (rest.len) { /* other extensions mean nothing */
        struct ak_str part;
        struct ak_str name;
        struct ak_str value;
        (void)ak_str_split(rest, ';', &part, &rest);
        (void)ak_str_split(part, '=', &name, &value);
        if (ak_str_eq(name, AK_STR("chunk-signature"))) {
            signature = value;
        }
    }
    if (!told(chunked, chunked->events.on_chunk(chunked->events.ctx, size, signature))) {
        return false;
    }
    if (size == 0) {
        chunked->state = AK_MOCK_CHUNKED_TRAILER;
        return told(chunked, chunked->events.on_chunk_end(chunked->events.ctx));
    }
    chunked->left = size;
    chunked->state = AK_MOCK_CHUNKED_DATA;
    return true;
}

static bool trailer_line(struct ak_mock_chunked *chunked, struct ak_str line)
{
    struct ak_str name;
    struct ak_str value;
    if (line.len == 0) {
        chunked->state = AK_MOCK_CHUNKED_DONE;
        return true;
    }
    if (!ak_str_split(line, ':', &name, &value) || name.len == 0) {
        return bad(chunked, "a trailer is not of the form name:value");
    }
    if (++chunked->trailers > AK_MOCK_CHUNKED_TRAILERS_MAX) {
        return bad(chunked, "more than 16 trailers");
    }
    return told(chunked, chunked->events.on_trailer(chunked->events.ctx, ak_str_trim(name),
                                                    ak_str_trim(value)));
}

/* Bytes of a line up to its LF; returns how many were taken, 0 after a failure. */
static size_t take_line(struct ak_mock_chunked *chunked, struct ak_str bytes)
{
    const char *lf = memchr(bytes.p, '\n', bytes.len);
    size_t len = lf ? (size_t)(lf - bytes.p) : bytes.len;
    if (len > sizeof chunked->line - chunked->line_len) {
        (void)bad(chunked, "a line of the chunked body is longer than 1 KiB");
        return 0;
    }
    memcpy(chunked->line + chunked->line_len, bytes.p, len);
    chunked->line_len += (uint32_t)len;
    if (!lf) {
        return len;
    }
    struct ak_str line = {chunked->line, chunked->line_len};
    chunked->line_len = 0;
    /* Some clients end trailers with a bare LF: AWS's own signing text does. */
    if (line.len && line.p[line.len - 1] == '\r') {
        line.len--;
    } else if (chunked->state == AK_MOCK_CHUNKED_SIZE) {
        (void)bad(chunked, "a chunk's first line must end in CR LF");
        return 0;
    }
    bool ok = chunked->state == AK_MOCK_CHUNKED_SIZE ? size_line(chunked, line)
                                                     : trailer_line(chunked, line);
    return ok ? len + 1 : 0;
}

static size_t take_data(struct ak_mock_chunked *chunked, struct ak_str bytes)
{
    size_t len = bytes.len < chunked->left ? bytes.len : (size_t)chunked->left;
    chunked->left -= len;
    if (!told(chunked, chunked->events.on_data(chunked->events.ctx, ak_str_sub(bytes, 0, len)))) {
        return 0;
    }
    if (chunked->left == 0) {
        chunked->state = AK_MOCK_CHUNKED_DATA_CR;
    }
    return len;
}

static size_t take_data_end(struct ak_mock_chunked *chunked, char c)
{
    if (c != (chunked->state == AK_MOCK_CHUNKED_DATA_CR ? '\r' : '\n')) {
        (void)bad(chunked, "a chunk's data is not followed by CR LF: its size is wrong");
        return 0;
    }
    if (chunked->state == AK_MOCK_CHUNKED_DATA_CR) {
        chunked->state = AK_MOCK_CHUNKED_DATA_LF;
        return 1;
    }
    chunked->state = AK_MOCK_CHUNKED_SIZE;
    return told(chunked, chunked->events.on_chunk_end(chunked->events.ctx)) ? 1 : 0;
}

bool ak_mock_chunked_add(struct ak_mock_chunked *chunked, struct ak_str bytes)
{
    while (bytes.len) {
        size_t taken = 0;
        switch (chunked->state) {
        case AK_MOCK_CHUNKED_SIZE:
        case AK_MOCK_CHUNKED_TRAILER:
            taken = take_line(chunked, bytes);
            break;
        case AK_MOCK_CHUNKED_DATA:
            taken = take_data(chunked, bytes);
            break;
        case AK_MOCK_CHUNKED_DATA_CR:
        case AK_MOCK_CHUNKED_DATA_LF:
            taken = take_data_end(chunked, bytes.p[0]);
            break;
        case AK_MOCK_CHUNKED_DONE:
            (void)bad(chunked, "there are bytes behind the last chunk");
            break;
        case AK_MOCK_CHUNKED_BAD:
        case AK_MOCK_CHUNKED_STOPPED:
            break;
        }
        if (taken == 0) {
            return false;
        }
        bytes = ak_str_sub(bytes, taken, SIZE_MAX);
    }
    return true;
}
