/* fuzz: links mocks3 */
/* s3chunked_fuzz.c — aws-chunked bodies: the pieces they come in change nothing.
 *
 * The first byte says how large the pieces are. Fed whole and in pieces, the decoder must end in
 * the same state and tell of the same chunks, data and trailers.
 */
#include "base/hash.h"
#include "fuzz.h"
#include "mocks3/awschunked.h"

struct seen {
    uint64_t hash; /* of chunks, trailers, and the data */
    uint64_t data;
    uint64_t promised;
};

static void add(struct seen *seen, const void *p, size_t len)
{
    for (size_t i = 0; i < len; i++) { /* bytewise: data comes in other pieces */
        seen->hash = ak_mix64(seen->hash ^ ((const uint8_t *)p)[i]);
    }
}

static bool on_chunk(void *ctx, uint64_t size, struct ak_str signature)
{
    struct seen *seen = ctx;
    AK_ASSERT(size <= INT64_MAX);
    seen->promised = size;
    add(seen, &size, sizeof size);
    add(seen, signature.p, signature.len);
    return true;
}

static bool on_data(void *ctx, struct ak_str bytes)
{
    struct seen *seen = ctx;
    AK_ASSERT(bytes.len > 0 && bytes.len <= seen->promised);
    seen->promised -= bytes.len;
    seen->data += bytes.len;
    add(seen, bytes.p, bytes.len);
    return true;
}

static bool on_chunk_end(void *ctx)
{
    struct seen *seen = ctx;
    AK_ASSERT(seen->promised == 0);
    add(seen, "]", 1);
    return true;
}

static bool on_trailer(void *ctx, struct ak_str name, struct ak_str value)
{
    struct seen *seen = ctx;
    AK_ASSERT(name.len + value.len < AK_MOCK_CHUNKED_LINE_MAX);
    add(seen, name.p, name.len);
    add(seen, value.p, value.len);
    return true;
}

static enum ak_mock_chunked_state feed(struct seen *seen, struct ak_str text, size_t step)
{
    struct ak_mock_chunked chunked;
    const struct ak_mock_chunked_events events = {on_chunk, on_data, on_chunk_end, on_trailer,
                                                  seen};
    ak_mock_chunked_init(&chunked, &events);
    for (size_t at = 0; at < text.len; at += step) {
        if (!ak_mock_chunked_add(&chunked, ak_str_sub(text, at, step))) {
            AK_ASSERT(chunked.state == AK_MOCK_CHUNKED_BAD && chunked.problem);
            AK_ASSERT(!ak_mock_chunked_add(&chunked, AK_STR("0\r\n")));
            break;
        }
    }
    return chunked.state;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen whole = {0};
    struct seen pieces = {0};
    if (size == 0) {
        return 0;
    }
    struct ak_str text = {(const char *)data + 1, size - 1};
    enum ak_mock_chunked_state state = feed(&whole, text, text.len + 1);
    AK_ASSERT(feed(&pieces, text, (size_t)data[0] % 64 + 1) == state);
    AK_ASSERT(whole.hash == pieces.hash && whole.data == pieces.data);
    return 0;
}
