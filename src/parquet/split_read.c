/* split_read.c — BYTE_STREAM_SPLIT back to values: the transposition of `width` streams.
 *
 * Four bytes wide is the way of every vector, and gets 32 values a step: two rounds of unpacking
 * bytes, then 16-bit pairs. The choice of the loop is made once for the processor.
 */
#include "parquet/read_priv.h"
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

void ak_parquet_unsplit4_scalar(const uint8_t *p, size_t n, size_t from, size_t count, void *out)
{
    const uint8_t *a = p + from;
    const uint8_t *b = a + n;
    const uint8_t *c = b + n;
    const uint8_t *d = c + n;
    uint8_t *to = out;
    for (size_t i = 0; i < count; i++) {
        uint32_t v =
            (uint32_t)a[i] | (uint32_t)b[i] << 8 | (uint32_t)c[i] << 16 | (uint32_t)d[i] << 24;
        memcpy(to + i * 4, &v, 4);
    }
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static inline __m256i load(const uint8_t *p)
{
    __m256i x;
    memcpy(&x, p, sizeof x);
    return x;
}

__attribute__((target("avx2"))) static void unsplit4_avx2(const uint8_t *p, size_t n, size_t from,
                                                          size_t count, void *out)
{
    uint8_t *to = out;
    size_t i = 0;
    for (; i + 32 <= count; i += 32) {
        const uint8_t *at = p + from + i;
        __m256i a = load(at);
        __m256i b = load(at + n);
        __m256i c = load(at + 2 * n);
        __m256i d = load(at + 3 * n);
        __m256i ab_low = _mm256_unpacklo_epi8(a, b); /* within each half of 16 */
        __m256i ab_high = _mm256_unpackhi_epi8(a, b);
        __m256i cd_low = _mm256_unpacklo_epi8(c, d);
        __m256i cd_high = _mm256_unpackhi_epi8(c, d);
        __m256i q[4] = {
            _mm256_unpacklo_epi16(ab_low, cd_low),   /* values 0..3 and 16..19 */
            _mm256_unpackhi_epi16(ab_low, cd_low),   /* 4..7, 20..23 */
            _mm256_unpacklo_epi16(ab_high, cd_high), /* 8..11, 24..27 */
            _mm256_unpackhi_epi16(ab_high, cd_high), /* 12..15, 28..31 */
        };
        __m256i r[4] = {
            _mm256_permute2x128_si256(q[0], q[1], 0x20),
            _mm256_permute2x128_si256(q[2], q[3], 0x20),
            _mm256_permute2x128_si256(q[0], q[1], 0x31),
            _mm256_permute2x128_si256(q[2], q[3], 0x31),
        };
        memcpy(to + i * 4, r, sizeof r);
    }
    ak_parquet_unsplit4_scalar(p, n, from + i, count - i, to + i * 4);
}
#elif defined(__aarch64__)
static void unsplit4_neon(const uint8_t *p, size_t n, size_t from, size_t count, void *out)
{
    uint8_t *to = out;
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        const uint8_t *at = p + from + i;
        uint8x16x4_t four = {
            {vld1q_u8(at), vld1q_u8(at + n), vld1q_u8(at + 2 * n), vld1q_u8(at + 3 * n)}};
        vst4q_u8(to + i * 4, four);
    }
    ak_parquet_unsplit4_scalar(p, n, from + i, count - i, to + i * 4);
}
#endif

static void unsplit4(const uint8_t *p, size_t n, size_t from, size_t count, void *out)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        unsplit4_avx2(p, n, from, count, out);
        return;
    }
#elif defined(__aarch64__)
    unsplit4_neon(p, n, from, count, out);
    return;
#endif
#if !defined(__aarch64__)
    ak_parquet_unsplit4_scalar(p, n, from, count, out);
#endif
}

void ak_parquet_unsplit(const uint8_t *p, size_t n, size_t width, size_t from, size_t count,
                        void *out)
{
    if (width == 4) {
        unsplit4(p, n, from, count, out);
        return;
    }
    uint8_t *to = out;
    for (size_t byte = 0; byte < width; byte++) {
        const uint8_t *at = p + byte * n + from;
        for (size_t i = 0; i < count; i++) {
            to[i * width + byte] = at[i];
        }
    }
}
