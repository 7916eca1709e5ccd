/* hnsw_search_avx2.c — the walk for AVX2: visited words are gathered eight at a time; AVX2 has no
 * compression, so what remains is picked bit by bit. */
#include "index/index_priv.h"

#if defined(__x86_64__)
#include <immintrin.h>

static uint32_t fresh_links(const uint32_t *row, uint32_t degree, const uint64_t *visited,
                            uint32_t limit, uint32_t *out)
{
    const __m256i one = _mm256_set1_epi32(1);
    const __m256i low5 = _mm256_set1_epi32(31);
    /* Unsigned comparison by flipping the top bits; AK_SLOTS_MAX leaves ids positive, and an empty
     * place is −1. */
    const __m256i end = _mm256_set1_epi32((int)limit);
    const __m256i minus = _mm256_set1_epi32(-1);
    uint32_t n = 0;
    uint32_t i = 0;
    for (; i + 8 <= degree; i += 8) {
        __m256i ids = _mm256_loadu_si256((const __m256i *)(const void *)(row + i));
        __m256i in = _mm256_and_si256(_mm256_cmpgt_epi32(end, ids), _mm256_cmpgt_epi32(ids, minus));
        __m256i words = _mm256_mask_i32gather_epi32(minus, (const int *)(const void *)visited,
                                                    _mm256_srli_epi32(ids, 5), in, 4);
        __m256i bits = _mm256_sllv_epi32(one, _mm256_and_si256(ids, low5));
        __m256i unseen = _mm256_cmpeq_epi32(_mm256_and_si256(words, bits), _mm256_setzero_si256());
        unsigned mask =
            (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_and_si256(unseen, in)));
        uint32_t found[8];
        _mm256_storeu_si256((__m256i *)(void *)found, ids);
        for (; mask; mask &= mask - 1) {
            out[n++] = found[__builtin_ctz(mask)];
        }
    }
    for (; i < degree; i++) {
        uint32_t slot = ak_link_get(&row[i]);
        if (slot < limit && !(visited[slot / 64] >> (slot % 64) & 1)) {
            out[n++] = slot;
        }
    }
    return n;
}

static uint32_t fresh_allowed(const uint32_t *row, uint32_t degree, const uint64_t *visited,
                              const uint64_t *allow, uint32_t limit, uint32_t *out)
{
    const __m256i one = _mm256_set1_epi32(1);
    const __m256i low5 = _mm256_set1_epi32(31);
    const __m256i end = _mm256_set1_epi32((int)limit);
    const __m256i none = _mm256_setzero_si256();
    uint32_t n = 0;
    uint32_t i = 0;
    for (; i + 8 <= degree; i += 8) {
        __m256i ids = _mm256_loadu_si256((const __m256i *)(const void *)(row + i));
        __m256i in = _mm256_and_si256(_mm256_cmpgt_epi32(end, ids),
                                      _mm256_cmpgt_epi32(ids, _mm256_set1_epi32(-1)));
        __m256i words = _mm256_mask_i32gather_epi32(none, (const int *)(const void *)allow,
                                                    _mm256_srli_epi32(ids, 5), in, 4);
        __m256i bits = _mm256_sllv_epi32(one, _mm256_and_si256(ids, low5));
        __m256i denied = _mm256_cmpeq_epi32(_mm256_and_si256(words, bits), none);
        unsigned mask =
            (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_andnot_si256(denied, in)));
        uint32_t found[8];
        _mm256_storeu_si256((__m256i *)(void *)found, ids);
        for (; mask; mask &= mask - 1) {
            uint32_t slot = found[__builtin_ctz(mask)];
            out[n] = slot;
            n += !(visited[slot / 64] >> (slot % 64) & 1);
        }
    }
    for (; i < degree; i++) {
        uint32_t slot = ak_link_get(&row[i]);
        if (slot < limit && ((allow[slot / 64] & ~visited[slot / 64]) >> (slot % 64) & 1)) {
            out[n++] = slot;
        }
    }
    return n;
}

static uint32_t pool_rank(const float *distances, uint32_t count, float distance)
{
    uint32_t low = 0;
    while (count - low > 128) {
        uint32_t mid = low + (count - low) / 2;
        if (distances[mid] <= distance) {
            low = mid + 1;
        } else {
            count = mid;
        }
    }
    const __m256 wanted = _mm256_set1_ps(distance);
    for (;; low += 8) {
        unsigned mask = (unsigned)_mm256_movemask_ps(
            _mm256_cmp_ps(_mm256_loadu_ps(distances + low), wanted, _CMP_LE_OQ));
        if (mask != 0xff) {
            return low + (uint32_t)__builtin_popcount(mask);
        }
    }
}

static inline uint32_t pool_below(const float *distances, uint32_t count, float worst)
{
    const __m256 limit = _mm256_set1_ps(worst);
    unsigned low =
        (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(distances), limit, _CMP_LT_OQ));
    unsigned high = (unsigned)_mm256_movemask_ps(
        _mm256_cmp_ps(_mm256_loadu_ps(distances + 8), limit, _CMP_LT_OQ));
    return _bzhi_u32(high << 8 | low, count);
}

static inline void pool_shift(float *distances, uint32_t *ids, uint32_t count)
{
    uint32_t i = count;
    for (; i >= 8; i -= 8) {
        __m256 d = _mm256_loadu_ps(distances + i - 8);
        __m256i s = _mm256_loadu_si256((const __m256i *)(const void *)(ids + i - 8));
        _mm256_storeu_ps(distances + i - 7, d);
        _mm256_storeu_si256((__m256i *)(void *)(ids + i - 7), s);
    }
    for (; i > 0; i--) {
        distances[i] = distances[i - 1];
        ids[i] = ids[i - 1];
    }
}

#define WALK_OPS ak_walk_avx2
#include "index/hnsw_search_body.h"
#endif
