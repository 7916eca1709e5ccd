/* awschunked.h — bodies with "Content-Encoding: aws-chunked", taken apart as they arrive.
 *
 *   body    = chunk* last trailer* CRLF
 *   chunk   = size-hex [";chunk-signature=" 64 hex] CRLF data CRLF
 *   last    = "0" [";chunk-signature=" 64 hex] CRLF
 *   trailer = name ":" value CRLF        signed: "x-amz-trailer-signature:" 64 hex is the last
 *
 * The decoder knows the form; signatures are its user's: it is told when a chunk begins and ends.
 * Lines are at most AK_MOCK_CHUNKED_LINE_MAX bytes, trailers at most AK_MOCK_CHUNKED_TRAILERS_MAX.
 *
 * Threads: one at a time. Memory: nothing to release.
 */
#pragma once
#include "base/str.h"

#define AK_MOCK_CHUNKED_LINE_MAX 1024u
#define AK_MOCK_CHUNKED_TRAILERS_MAX 16u

struct ak_mock_chunked_events { /* a callback that returns false stops the decoder */
    /* A chunk of `size` bytes begins, the last with 0. `signature` is empty when there is none. */
    bool (*on_chunk)(void *ctx, uint64_t size, struct ak_str signature);
    bool (*on_data)(void *ctx, struct ak_str bytes);
    bool (*on_chunk_end)(void *ctx); /* all of its data was given; for the last one too */
    bool (*on_trailer)(void *ctx, struct ak_str name, struct ak_str value);
    void *ctx;
};

enum ak_mock_chunked_state {
    AK_MOCK_CHUNKED_SIZE,    /* in a chunk's first line */
    AK_MOCK_CHUNKED_DATA,    /* in its data */
    AK_MOCK_CHUNKED_DATA_CR, /* the line end behind its data */
    AK_MOCK_CHUNKED_DATA_LF,
    AK_MOCK_CHUNKED_TRAILER, /* in a line behind the last chunk */
    AK_MOCK_CHUNKED_DONE,
    AK_MOCK_CHUNKED_BAD,    /* not of this form: `problem` says why */
    AK_MOCK_CHUNKED_STOPPED /* a callback said so */
};

struct ak_mock_chunked {
    struct ak_mock_chunked_events events;
    enum ak_mock_chunked_state state;
    uint64_t left; /* bytes of the chunk's data to come */
    unsigned trailers;
    uint32_t line_len;
    const char *problem;
    char line[AK_MOCK_CHUNKED_LINE_MAX];
};

void ak_mock_chunked_init(struct ak_mock_chunked *chunked,
                          const struct ak_mock_chunked_events *events);
/* false: BAD or STOPPED; nothing is taken after that. Bytes behind the end are BAD. */
AK_MUST bool ak_mock_chunked_add(struct ak_mock_chunked *chunked, struct ak_str bytes);
