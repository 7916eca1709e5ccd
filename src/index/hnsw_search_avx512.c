/* hnsw_search_avx512.c — the walk for AVX-512: visited words are gathered 16 at a time, tested and
 * compressed in registers. */
#include "index/index_priv.h"

#if defined(__x86_64__)
#include <immintrin.h>

static inline uint32_t fresh_links(const uint32_t *row, uint32_t degree, const uint64_t *visited,
                                   uint32_t limit, uint32_t *out)
{
    const __m512i one = _mm512_set1_epi32(1);
    const __m512i low5 = _mm512_set1_epi32(31);
    const __m512i end = _mm512_set1_epi32((int)limit);
    uint32_t n = 0;
    for (uint32_t i = 0; i < degree; i += 16) {
        __mmask16 in = degree - i < 16 ? (__mmask16)_bzhi_u32(0xffff, degree - i) : 0xffff;
        __m512i ids = _mm512_maskz_loadu_epi32(in, row + i);
        in = _mm512_mask_cmplt_epu32_mask(in, ids, end);
        __m512i words = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), in,
                                                    _mm512_srli_epi32(ids, 5), visited, 4);
        __m512i bits = _mm512_sllv_epi32(one, _mm512_and_si512(ids, low5));
        __mmask16 unseen = _mm512_mask_testn_epi32_mask(in, words, bits);
        /* Compressed in a register and stored whole: a compressing store is microcode on some. */
        _mm512_storeu_si512(out + n, _mm512_maskz_compress_epi32(unseen, ids));
        n += (uint32_t)__builtin_popcount(unseen);
    }
    return n;
}

static inline uint32_t fresh_allowed(const uint32_t *row, uint32_t degree, const uint64_t *visited,
                                     const uint64_t *allow, uint32_t limit, uint32_t *out)
{
    const __m512i one = _mm512_set1_epi32(1);
    const __m512i low5 = _mm512_set1_epi32(31);
    const __m512i end = _mm512_set1_epi32((int)limit);
    const __m512i none = _mm512_setzero_si512();
    uint32_t n = 0;
    for (uint32_t i = 0; i < degree; i += 16) {
        __mmask16 in = degree - i < 16 ? (__mmask16)_bzhi_u32(0xffff, degree - i) : 0xffff;
        __m512i ids = _mm512_maskz_loadu_epi32(in, row + i);
        in = _mm512_mask_cmplt_epu32_mask(in, ids, end);
        __m512i at = _mm512_srli_epi32(ids, 5);
        __m512i bits = _mm512_sllv_epi32(one, _mm512_and_si512(ids, low5));
        __m512i words = _mm512_mask_i32gather_epi32(none, in, at, allow, 4);
        in = _mm512_mask_test_epi32_mask(in, words, bits);
        if (in) { /* mostly nothing is allowed: then nothing else is asked */
            words = _mm512_mask_i32gather_epi32(none, in, at, visited, 4);
            in = _mm512_mask_testn_epi32_mask(in, words, bits);
            _mm512_storeu_si512(out + n, _mm512_maskz_compress_epi32(in, ids));
            n += (uint32_t)__builtin_popcount(in);
        }
    }
    return n;
}

static inline uint32_t pool_rank(const float *distances, uint32_t count, float distance)
{
    uint32_t low = 0;
    while (count - low > 256) {
        uint32_t mid = low + (count - low) / 2;
        if (distances[mid] <= distance) {
            low = mid + 1;
        } else {
            count = mid;
        }
    }
    const __m512 wanted = _mm512_set1_ps(distance);
    for (;; low += 16) {
        __mmask16 mask = _mm512_cmp_ps_mask(_mm512_loadu_ps(distances + low), wanted, _CMP_LE_OQ);
        if (mask != 0xffff) {
            return low + (uint32_t)__builtin_popcount(mask);
        }
    }
}

static inline uint32_t pool_below(const float *distances, uint32_t count, float worst)
{
    __mmask16 in = (__mmask16)_bzhi_u32(0xffff, count);
    return _mm512_mask_cmp_ps_mask(in, _mm512_loadu_ps(distances), _mm512_set1_ps(worst),
                                   _CMP_LT_OQ);
}

static inline void pool_shift(float *distances, uint32_t *ids, uint32_t count)
{
    uint32_t i = count;
    for (; i >= 16; i -= 16) {
        __m512 d = _mm512_loadu_ps(distances + i - 16);
        __m512i s = _mm512_loadu_si512(ids + i - 16);
        _mm512_storeu_ps(distances + i - 15, d);
        _mm512_storeu_si512(ids + i - 15, s);
    }
    if (i) {
        __mmask16 in = (__mmask16)_bzhi_u32(0xffff, i);
        __m512 d = _mm512_maskz_loadu_ps(in, distances);
        __m512i s = _mm512_maskz_loadu_epi32(in, ids);
        _mm512_mask_storeu_ps(distances + 1, in, d);
        _mm512_mask_storeu_epi32(ids + 1, in, s);
    }
}

#define WALK_OPS ak_walk_avx512
#include "index/hnsw_search_body.h"
#endif
