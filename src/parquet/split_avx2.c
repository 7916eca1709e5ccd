/* split_avx2.c — BYTE_STREAM_SPLIT of floats for AVX2: 32 at a time, by two transpositions. */
#include "parquet/values_write.h"

#if defined(__x86_64__)
#include <immintrin.h>

void ak_parquet_split4_avx2(const void *in, size_t count, uint8_t *out, size_t plane)
{
    /* Within each half: the first bytes of its four floats, then the second ones, … */
    const __m256i by_byte = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,
                                             0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    /* Quarters of the first halves and of the second ones, one after the other in turn. */
    const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const uint8_t *from = in;
    for (size_t i = 0; i + 32 <= count; i += 32, from += 128) {
        __m256i v[4];
        for (int j = 0; j < 4; j++) {
            const __m256i *at = (const __m256i *)(const void *)(from + (size_t)32 * (size_t)j);
            v[j] = _mm256_shuffle_epi8(_mm256_loadu_si256(at), by_byte);
        }
        __m256i low01 = _mm256_unpacklo_epi32(v[0], v[1]);
        __m256i low23 = _mm256_unpacklo_epi32(v[2], v[3]);
        __m256i high01 = _mm256_unpackhi_epi32(v[0], v[1]);
        __m256i high23 = _mm256_unpackhi_epi32(v[2], v[3]);
        __m256i planes[4] = {
            _mm256_unpacklo_epi64(low01, low23),
            _mm256_unpackhi_epi64(low01, low23),
            _mm256_unpacklo_epi64(high01, high23),
            _mm256_unpackhi_epi64(high01, high23),
        };
        for (size_t b = 0; b < 4; b++) {
            _mm256_storeu_si256((__m256i *)(void *)(out + b * plane + i),
                                _mm256_permutevar8x32_epi32(planes[b], in_order));
        }
    }
}
#endif
