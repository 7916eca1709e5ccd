/* mocks3_chunked_test.c — the decoder of aws-chunked bodies. */
#include "base/rand.h"
#include "mocks3/awschunked.h"
#include "support/test.h"

struct seen { /* what the decoder told, as text */
    struct ak_buf log;
    struct ak_buf data;
    unsigned stop_after; /* events; 0: never */
    unsigned events;
};

static bool goes_on(struct seen *seen)
{
    return ++seen->events != seen->stop_after;
}

static bool on_chunk(void *ctx, uint64_t size, struct ak_str signature)
{
    struct seen *seen = ctx;
    ak_buf_add_fmt(&seen->log, "[%llu %.*s", (unsigned long long)size, AK_STR_ARG(signature));
    return goes_on(seen);
}

static bool on_data(void *ctx, struct ak_str bytes)
{
    struct seen *seen = ctx;
    ak_buf_add_str(&seen->data, bytes);
    return goes_on(seen);
}

static bool on_chunk_end(void *ctx)
{
    struct seen *seen = ctx;
    ak_buf_add_str(&seen->log, AK_STR("]"));
    return goes_on(seen);
}

static bool on_trailer(void *ctx, struct ak_str name, struct ak_str value)
{
    struct seen *seen = ctx;
    ak_buf_add_fmt(&seen->log, "{%.*s=%.*s}", AK_STR_ARG(name), AK_STR_ARG(value));
    return goes_on(seen);
}

/* Feed `text` in pieces of `step` bytes. */
static enum ak_mock_chunked_state feed(struct seen *seen, struct ak_str text, size_t step)
{
    struct ak_mock_chunked chunked;
    const struct ak_mock_chunked_events events = {on_chunk, on_data, on_chunk_end, on_trailer,
                                                  seen};
    ak_mock_chunked_init(&chunked, &events);
    for (size_t at = 0; at < text.len; at += step) {
        if (!ak_mock_chunked_add(&chunked, ak_str_sub(text, at, step))) {
            break;
        }
    }
    CHECK((chunked.state == AK_MOCK_CHUNKED_BAD) == (chunked.problem != NULL));
    return chunked.state;
}

static void release(struct seen *seen)
{
    ak_buf_release(&seen->log);
    ak_buf_release(&seen->data);
}

static void check(const char *text, enum ak_mock_chunked_state state, const char *log,
                  const char *data)
{
    for (size_t step = 1; step <= strlen(text) + 1; step++) {
        struct seen seen = {0};
        CHECK_INT(feed(&seen, ak_str_of(text), step), state);
        CHECK_STR(ak_buf_cstr(&seen.log), log);
        CHECK_STR(ak_buf_cstr(&seen.data), data);
        release(&seen);
    }
}

TEST(chunked, bodies_are_taken_apart_whatever_their_pieces)
{
    check("3\r\nabc\r\n0\r\n\r\n", AK_MOCK_CHUNKED_DONE, "[3 ][0 ]", "abc");
    check("3;chunk-signature=s1\r\na\r\n\r\nA;chunk-signature=s2\r\n0123456789\r\n"
          "0;chunk-signature=s3\r\n\r\n",
          AK_MOCK_CHUNKED_DONE, "[3 s1][10 s2][0 s3]", "a\r\n0123456789");
    check("0\r\n\r\n", AK_MOCK_CHUNKED_DONE, "[0 ]", "");
    check("1\r\nx\r\n0\r\nx-amz-checksum-crc32: AAAA \r\nb:c\r\n\r\n", AK_MOCK_CHUNKED_DONE,
          "[1 ][0 ]{x-amz-checksum-crc32=AAAA}{b=c}", "x");
    check("1;other=1;chunk-signature=s\r\nx\r\n0\r\n\r\n", AK_MOCK_CHUNKED_DONE, "[1 s][0 ]", "x");
    check("0\r\na:b\n\r\n", AK_MOCK_CHUNKED_DONE, "[0 ]{a=b}", ""); /* a bare LF behind a trailer */
}

TEST(chunked, what_is_cut_off_is_never_done)
{
    struct ak_str text = AK_STR("3;chunk-signature=s\r\nabc\r\n0;chunk-signature=t\r\na:b\r\n\r\n");
    for (size_t len = 0; len < text.len; len++) {
        struct seen seen = {0};
        enum ak_mock_chunked_state state = feed(&seen, ak_str_sub(text, 0, len), 5);
        CHECK(state != AK_MOCK_CHUNKED_DONE && state != AK_MOCK_CHUNKED_BAD);
        release(&seen);
    }
}

TEST(chunked, another_form_is_bad_from_its_first_wrong_byte)
{
    check("\r\n", AK_MOCK_CHUNKED_BAD, "", "");
    check("x\r\n", AK_MOCK_CHUNKED_BAD, "", "");
    check("-1\r\n", AK_MOCK_CHUNKED_BAD, "", "");
    check("1 \r\n", AK_MOCK_CHUNKED_BAD, "", "");
    check("1\nx\r\n", AK_MOCK_CHUNKED_BAD, "", "");
    check("11111111111111111\r\n", AK_MOCK_CHUNKED_BAD, "", "");
    check("8000000000000000\r\n", AK_MOCK_CHUNKED_BAD, "", "");
    check("1\r\nxy\r\n", AK_MOCK_CHUNKED_BAD, "[1 ", "x");
    check("1\r\nx\ry", AK_MOCK_CHUNKED_BAD, "[1 ", "x");
    check("0\r\nnothing\r\n", AK_MOCK_CHUNKED_BAD, "[0 ]", "");
    check("0\r\n:value\r\n", AK_MOCK_CHUNKED_BAD, "[0 ]", "");
    check("0\r\n\r\nmore", AK_MOCK_CHUNKED_BAD, "[0 ]", "");
}

TEST(chunked, lines_and_trailers_have_their_limits)
{
    struct ak_buf text = {0};
    struct seen seen = {0};
    ak_buf_add_str(&text, AK_STR("1;"));
    while (text.len < AK_MOCK_CHUNKED_LINE_MAX) {
        ak_buf_add_char(&text, 'x');
    }
    ak_buf_add_str(&text, AK_STR("\r\n"));
    CHECK_INT(feed(&seen, ak_buf_str(&text), 100), AK_MOCK_CHUNKED_BAD);
    CHECK_INT(seen.events, 0);
    ak_buf_clear(&text);
    ak_buf_add_str(&text, AK_STR("0\r\n"));
    for (unsigned i = 0; i <= AK_MOCK_CHUNKED_TRAILERS_MAX; i++) {
        ak_buf_add_str(&text, AK_STR("a:b\r\n"));
    }
    CHECK_INT(feed(&seen, ak_buf_str(&text), 100), AK_MOCK_CHUNKED_BAD);
    CHECK_INT(seen.events, 2 + AK_MOCK_CHUNKED_TRAILERS_MAX);
    ak_buf_release(&text);
    release(&seen);
}

TEST(chunked, a_callback_can_stop_it_at_any_event)
{
    struct ak_str text = AK_STR("3\r\nabc\r\n2\r\nde\r\n0\r\na:b\r\n\r\n");
    unsigned n = 1;
    for (;; n++) {
        struct seen seen = {.stop_after = n};
        enum ak_mock_chunked_state state = feed(&seen, text, 1000);
        release(&seen);
        if (state == AK_MOCK_CHUNKED_DONE) {
            break;
        }
        CHECK_INT(state, AK_MOCK_CHUNKED_STOPPED);
        CHECK_INT(seen.events, n);
    }
    CHECK_INT(n, 10);
}

TEST_MAIN()
