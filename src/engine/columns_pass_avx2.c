/* columns_pass_avx2.c — the inner loops of filters with AVX2. */
#include "engine/columns_priv.h"

#ifdef __x86_64__
#include <immintrin.h>

/* The top bit of each of eight 32-bit lanes. */
static inline uint64_t tops(__m256i lanes)
{
    return (uint64_t)(uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(lanes));
}

static inline __m256i load(const uint32_t *codes)
{
    return _mm256_loadu_si256((const __m256i_u *)codes);
}

static uint64_t equal(const uint32_t codes[64], const uint32_t *wanted, unsigned count)
{
    uint64_t bits = 0;
    for (unsigned k = 0; k < count; k++) {
        __m256i code = _mm256_set1_epi32((int)wanted[k]);
        for (unsigned i = 0; i < 64; i += 8) {
            bits |= tops(_mm256_cmpeq_epi32(load(codes + i), code)) << i;
        }
    }
    return bits;
}

/* The words of `hits` are read as pairs of 32-bit ones, in little-endian order. */
static uint64_t look_up(const uint32_t codes[64], const uint64_t *hits)
{
    const __m256i low_bits = _mm256_set1_epi32(31);
    uint64_t bits = 0;
    for (unsigned i = 0; i < 64; i += 8) {
        __m256i code = load(codes + i);
        __m256i word = _mm256_i32gather_epi32((const int *)hits, _mm256_srli_epi32(code, 5), 4);
        __m256i place = _mm256_andnot_si256(code, low_bits); /* 31 - code % 32 */
        bits |= tops(_mm256_sllv_epi32(word, place)) << i;
    }
    return bits;
}

static uint64_t range(const union ak_entry_value values[64], double low, double high)
{
    __m256d from = _mm256_set1_pd(low);
    __m256d to = _mm256_set1_pd(high);
    uint64_t bits = 0;
    for (unsigned i = 0; i < 64; i += 4) {
        __m256d number = _mm256_loadu_pd(&values[i].number);
        __m256d is_hit = _mm256_and_pd(_mm256_cmp_pd(number, from, _CMP_GE_OQ),
                                       _mm256_cmp_pd(number, to, _CMP_LE_OQ));
        bits |= (uint64_t)(uint32_t)_mm256_movemask_pd(is_hit) << i;
    }
    return bits;
}

const struct ak_column_passes ak_column_passes_avx2 = {equal, look_up, range};
#endif
