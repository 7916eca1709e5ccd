/* parquet_decode_test.c — the reader's inner loops against simple ones. */
#include "base/mem.h"
#include "base/rand.h"
#include "parquet/read_priv.h"
#include "support/test.h"

TEST(parquet, checksums_are_those_of_zlib_at_every_length_and_alignment)
{
    uint8_t bytes[600];
    CHECK_INT(ak_parquet_crc32(0, "123456789", 9), 0xcbf43926);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 2654435761u >> 11);
    }
    for (size_t from = 0; from < 17; from++) {
        for (size_t len = 0; len <= sizeof bytes - from; len++) {
            uint32_t want = ak_parquet_crc32_tables(7, bytes + from, len);
            CHECK_INT(ak_parquet_crc32(7, bytes + from, len), want);
            uint32_t half = ak_parquet_crc32(7, bytes + from, len / 2);
            CHECK_INT(ak_parquet_crc32(half, bytes + from + len / 2, len - len / 2), want);
        }
    }
}

TEST(parquet, split_streams_come_together_in_any_part)
{
    static const size_t widths[] = {1, 2, 4, 5, 8, 16};
    for (size_t w = 0; w < sizeof widths / sizeof widths[0]; w++) {
        size_t width = widths[w];
        for (size_t n = 1; n < 140; n += 1 + n / 9) {
            uint8_t *streams = ak_alloc(n * width);
            for (size_t i = 0; i < n * width; i++) {
                streams[i] = (uint8_t)(i * 31 + width);
            }
            for (size_t from = 0; from < n; from += 1 + n / 5) {
                size_t count = n - from;
                uint8_t *out = ak_alloc(count * width);
                ak_parquet_unsplit(streams, n, width, from, count, out);
                for (size_t i = 0; i < count * width; i++) {
                    CHECK_INT(out[i], streams[i % width * n + from + i / width]);
                }
                if (width == 4) {
                    uint8_t *scalar = ak_alloc(count * width);
                    ak_parquet_unsplit4_scalar(streams, n, from, count, scalar);
                    CHECK(memcmp(scalar, out, count * width) == 0);
                    ak_free(scalar);
                }
                ak_free(out);
            }
            ak_free(streams);
        }
    }
}

/* --- Levels --- */

static void put_run(struct ak_buf *out, uint32_t count, uint32_t value, unsigned width)
{
    for (uint32_t head = count << 1;; head >>= 7) {
        ak_buf_add_char(out, (char)(head >= 128 ? head | 128 : head));
        if (head < 128) {
            break;
        }
    }
    for (unsigned i = 0; i < (width + 7) / 8; i++) {
        ak_buf_add_char(out, (char)(value >> 8 * i));
    }
}

/* `groups` × 8 values of `width` bits. */
static void put_packed(struct ak_buf *out, const uint32_t *values, uint32_t groups, unsigned width)
{
    ak_buf_add_char(out, (char)(groups << 1 | 1));
    uint64_t word = 0;
    unsigned bits = 0;
    for (uint32_t i = 0; i < groups * 8; i++) {
        word |= (uint64_t)values[i] << bits;
        for (bits += width; bits >= 8; bits -= 8, word >>= 8) {
            ak_buf_add_char(out, (char)word);
        }
    }
}

TEST(parquet, runs_and_packed_bits_of_every_width_are_read_in_any_steps)
{
    struct ak_rand rand;
    ak_rand_seed(&rand, ak_test_seed());
    for (unsigned width = 0; width <= 32; width++) {
        uint32_t want[2000];
        uint32_t got[2000];
        size_t n = 0;
        struct ak_buf out;
        ak_buf_init(&out, 0);
        uint64_t bound = (uint64_t)1 << width;
        while (n + 200 < 2000) {
            if (ak_rand_below(&rand, 2) == 0) {
                uint32_t count = 1 + (uint32_t)ak_rand_below(&rand, 150);
                uint32_t value = (uint32_t)ak_rand_below(&rand, bound);
                put_run(&out, count, value, width);
                for (uint32_t i = 0; i < count; i++) {
                    want[n++] = value;
                }
            } else {
                uint32_t groups = 1 + (uint32_t)ak_rand_below(&rand, 5);
                for (uint32_t i = 0; i < groups * 8; i++) {
                    want[n + i] = (uint32_t)ak_rand_below(&rand, bound);
                }
                put_packed(&out, want + n, groups, width);
                n += groups * 8;
            }
        }
        char *exact = ak_alloc(out.len);
        memcpy(exact, out.p, out.len);
        struct ak_parquet_rle rle;
        ak_parquet_rle_init(&rle, exact, out.len, width);
        for (size_t at = 0; at < n;) {
            size_t step = 1 + (size_t)ak_rand_below(&rand, 77);
            step = step < n - at ? step : n - at;
            CHECK(ak_parquet_rle_read(&rle, got + at, step));
            at += step;
        }
        CHECK(memcmp(got, want, n * sizeof *want) == 0);
        CHECK(!ak_parquet_rle_read(&rle, got, 1));
        ak_free(exact);
        ak_buf_release(&out);
    }
}

TEST(parquet, levels_of_whole_vectors_are_known_in_every_form)
{
    for (uint32_t each = 1; each < 40; each++) {
        const size_t rows = 5;
        struct ak_buf runs;  /* as AkiDB writes them */
        struct ak_buf mixed; /* all packed, as others may */
        uint32_t levels[256] = {0};
        ak_buf_init(&runs, 0);
        ak_buf_init(&mixed, 0);
        for (size_t r = 0; r < rows; r++) {
            put_run(&runs, 1, 0, 1);
            if (each > 1) {
                put_run(&runs, each - 1, 1, 1);
            }
        }
        for (size_t i = 0; i < rows * each; i++) {
            levels[i] = i % each != 0;
        }
        put_packed(&mixed, levels, (uint32_t)(rows * each + 7) / 8, 1);
        CHECK(ak_parquet_levels_repeat(runs.p, runs.len, each, rows * each));
        CHECK(ak_parquet_levels_repeat(mixed.p, mixed.len, each, rows * each));
        for (uint32_t other = 1; other < 40; other++) {
            if (other != each) {
                CHECK(!ak_parquet_levels_repeat(runs.p, runs.len, other, rows * each));
                CHECK(!ak_parquet_levels_repeat(mixed.p, mixed.len, other, rows * each));
            }
        }
        CHECK(!ak_parquet_levels_repeat(runs.p, runs.len, each, rows * each + 1));
        CHECK(!ak_parquet_levels_repeat(runs.p, runs.len - 1, each, rows * each));
        CHECK(each == 1 || !ak_parquet_levels_repeat(runs.p, runs.len, each, rows * each - 1));
        ak_buf_release(&runs);
        ak_buf_release(&mixed);
    }
}

/* --- DELTA_BINARY_PACKED --- */

TEST(parquet, deltas_wrap_around_and_their_counts_are_held_against_the_page)
{
    struct ak_err err;
    /* 2³¹−1 first, then a delta of 1: the sum wraps to −2³¹. */
    static const uint8_t wraps[] = {128, 1, 4, 2, 0xfe, 0xff, 0xff, 0xff, 0x0f, 2, 0, 0, 0, 0};
    const struct ak_parquet_leaf leaf = {.type = AK_PARQUET_INT32};
    struct ak_parquet_budget budget = {.max = 1000};
    struct ak_parquet_decoder decoder = {.leaf = &leaf, .budget = &budget};
    int32_t out[4];
    CHECK_OK(ak_parquet_values(&decoder, AK_PARQUET_DELTA_BINARY_PACKED, wraps, sizeof wraps, 2,
                               out, &err));
    CHECK(out[0] == INT32_MAX && out[1] == INT32_MIN);
    CHECK_RC(AK_CORRUPT, ak_parquet_values(&decoder, AK_PARQUET_DELTA_BINARY_PACKED, wraps,
                                           sizeof wraps, 3, out, &err));
    /* A count of 4 billion in a few bytes, blocks of 100, miniblocks that do not divide, 33 bits.
     */
    static const uint8_t bad[][12] = {{128, 1, 4, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0},
                                      {100, 4, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0},
                                      {128, 1, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0},
                                      {128, 1, 4, 2, 0, 0, 33, 0, 0, 0, 0, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_RC(AK_CORRUPT, ak_parquet_values(&decoder, AK_PARQUET_DELTA_BINARY_PACKED, bad[i],
                                               sizeof bad[i], 2, out, &err));
    }
    ak_parquet_decoder_release(&decoder);
}

TEST_MAIN()
