/* simd_avx512.c — kernels for AVX-512 F+BW+DQ+VL+VNNI.
 *
 * Four accumulators cover the latency of the multiply-add; the rest of a vector is one masked
 * step, which touches no byte beyond the end. The _x4 forms load the query once for four rows,
 * keep two accumulators per row, and reduce the four sums together. */
#include "simd/simd_priv.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

AK_SIMD_INLINE __mmask16 first_16(size_t rest)
{
    return (__mmask16)_bzhi_u32(0xffff, (unsigned)rest);
}

AK_SIMD_INLINE __m512 step(enum ak_simd_form form, __m512 sum, __m512 a, __m512 b)
{
    if (form == AK_SIMD_L2) {
        __m512 d = _mm512_sub_ps(a, b);
        return _mm512_fmadd_ps(d, d, sum);
    }
    return _mm512_fmadd_ps(a, b, sum);
}

AK_SIMD_INLINE __m256 halves_added(__m512 v)
{
    return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
}

/* Lane r of the result is the sum of all lanes of the r-th argument. */
AK_SIMD_INLINE __m128 sums_of_4(__m512 r0, __m512 r1, __m512 r2, __m512 r3)
{
    __m256 r01 = _mm256_hadd_ps(halves_added(r0), halves_added(r1));
    __m256 r23 = _mm256_hadd_ps(halves_added(r2), halves_added(r3));
    __m256 all = _mm256_hadd_ps(r01, r23);
    return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

AK_SIMD_INLINE float sum_of(__m512 v)
{
    __m256 eight = halves_added(v);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

AK_SIMD_INLINE float sum_terms(enum ak_simd_form form, const float *a, const float *b, size_t n)
{
    __m512 s0 = _mm512_setzero_ps();
    __m512 s1 = s0;
    __m512 s2 = s0;
    __m512 s3 = s0;
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        s0 = step(form, s0, _mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i));
        s1 = step(form, s1, _mm512_loadu_ps(a + i + 16), _mm512_loadu_ps(b + i + 16));
        s2 = step(form, s2, _mm512_loadu_ps(a + i + 32), _mm512_loadu_ps(b + i + 32));
        s3 = step(form, s3, _mm512_loadu_ps(a + i + 48), _mm512_loadu_ps(b + i + 48));
    }
    for (; i + 16 <= n; i += 16) {
        s0 = step(form, s0, _mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i));
    }
    if (i < n) {
        __mmask16 m = first_16(n - i);
        s1 = step(form, s1, _mm512_maskz_loadu_ps(m, a + i), _mm512_maskz_loadu_ps(m, b + i));
    }
    return sum_of(_mm512_add_ps(_mm512_add_ps(s0, s1), _mm512_add_ps(s2, s3)));
}

AK_SIMD_INLINE void sum_terms_x4(enum ak_simd_form form, const float *query,
                                 const float *const rows[4], size_t n, float out[4])
{
    const float *r0 = rows[0];
    const float *r1 = rows[1];
    const float *r2 = rows[2];
    const float *r3 = rows[3];
    __m512 s0 = _mm512_setzero_ps();
    __m512 s1 = s0;
    __m512 s2 = s0;
    __m512 s3 = s0;
    __m512 t0 = s0;
    __m512 t1 = s0;
    __m512 t2 = s0;
    __m512 t3 = s0;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m512 q = _mm512_loadu_ps(query + i);
        s0 = step(form, s0, q, _mm512_loadu_ps(r0 + i));
        s1 = step(form, s1, q, _mm512_loadu_ps(r1 + i));
        s2 = step(form, s2, q, _mm512_loadu_ps(r2 + i));
        s3 = step(form, s3, q, _mm512_loadu_ps(r3 + i));
        q = _mm512_loadu_ps(query + i + 16);
        t0 = step(form, t0, q, _mm512_loadu_ps(r0 + i + 16));
        t1 = step(form, t1, q, _mm512_loadu_ps(r1 + i + 16));
        t2 = step(form, t2, q, _mm512_loadu_ps(r2 + i + 16));
        t3 = step(form, t3, q, _mm512_loadu_ps(r3 + i + 16));
    }
    while (i < n) { /* at most one whole step and one cut short */
        __mmask16 m = n - i < 16 ? first_16(n - i) : 0xffff;
        __m512 q = _mm512_maskz_loadu_ps(m, query + i);
        s0 = step(form, s0, q, _mm512_maskz_loadu_ps(m, r0 + i));
        s1 = step(form, s1, q, _mm512_maskz_loadu_ps(m, r1 + i));
        s2 = step(form, s2, q, _mm512_maskz_loadu_ps(m, r2 + i));
        s3 = step(form, s3, q, _mm512_maskz_loadu_ps(m, r3 + i));
        i += 16;
    }
    _mm_storeu_ps(out, sums_of_4(_mm512_add_ps(s0, t0), _mm512_add_ps(s1, t1),
                                 _mm512_add_ps(s2, t2), _mm512_add_ps(s3, t3)));
}

static float dot(const float *a, const float *b, size_t n)
{
    return sum_terms(AK_SIMD_DOT, a, b, n);
}

static float l2(const float *a, const float *b, size_t n)
{
    return sum_terms(AK_SIMD_L2, a, b, n);
}

static void dot_x4(const float *query, const float *const rows[4], size_t n, float out[4])
{
    sum_terms_x4(AK_SIMD_DOT, query, rows, n, out);
}

static void l2_x4(const float *query, const float *const rows[4], size_t n, float out[4])
{
    sum_terms_x4(AK_SIMD_L2, query, rows, n, out);
}

AK_SIMD_INLINE __mmask64 first_64(size_t rest)
{
    return _bzhi_u64(UINT64_MAX, (unsigned)rest);
}

AK_SIMD_INLINE __m512i bytes(const void *p)
{
    return _mm512_loadu_si512(p);
}

AK_SIMD_INLINE __m256i halves_added_i(__m512i v)
{
    return _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
}

AK_SIMD_INLINE __m128i sums_of_4_i(__m512i r0, __m512i r1, __m512i r2, __m512i r3)
{
    __m256i r01 = _mm256_hadd_epi32(halves_added_i(r0), halves_added_i(r1));
    __m256i r23 = _mm256_hadd_epi32(halves_added_i(r2), halves_added_i(r3));
    __m256i all = _mm256_hadd_epi32(r01, r23);
    return _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
}

/* Modulo 2³², so the same for signed and unsigned sums. */
AK_SIMD_INLINE int32_t sum_of_i(__m512i v)
{
    __m256i eight = halves_added_i(v);
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0x55)));
}

static int32_t dot_u8s8(const uint8_t *a, const int8_t *b, size_t n)
{
    __m512i s0 = _mm512_setzero_si512();
    __m512i s1 = s0;
    __m512i s2 = s0;
    __m512i s3 = s0;
    size_t i = 0;
    for (; i + 256 <= n; i += 256) {
        s0 = _mm512_dpbusd_epi32(s0, bytes(a + i), bytes(b + i));
        s1 = _mm512_dpbusd_epi32(s1, bytes(a + i + 64), bytes(b + i + 64));
        s2 = _mm512_dpbusd_epi32(s2, bytes(a + i + 128), bytes(b + i + 128));
        s3 = _mm512_dpbusd_epi32(s3, bytes(a + i + 192), bytes(b + i + 192));
    }
    for (; i + 64 <= n; i += 64) {
        s0 = _mm512_dpbusd_epi32(s0, bytes(a + i), bytes(b + i));
    }
    if (i < n) {
        __mmask64 m = first_64(n - i);
        s1 = _mm512_dpbusd_epi32(s1, _mm512_maskz_loadu_epi8(m, a + i),
                                 _mm512_maskz_loadu_epi8(m, b + i));
    }
    return sum_of_i(_mm512_add_epi32(_mm512_add_epi32(s0, s1), _mm512_add_epi32(s2, s3)));
}

static void dot_u8s8_x4(const int8_t *query, const uint8_t *const rows[4], size_t n, int32_t out[4])
{
    const uint8_t *r0 = rows[0];
    const uint8_t *r1 = rows[1];
    const uint8_t *r2 = rows[2];
    const uint8_t *r3 = rows[3];
    __m512i s0 = _mm512_setzero_si512();
    __m512i s1 = s0;
    __m512i s2 = s0;
    __m512i s3 = s0;
    __m512i t0 = s0;
    __m512i t1 = s0;
    __m512i t2 = s0;
    __m512i t3 = s0;
    size_t i = 0;
    for (; i + 128 <= n; i += 128) {
        __m512i q = bytes(query + i);
        s0 = _mm512_dpbusd_epi32(s0, bytes(r0 + i), q);
        s1 = _mm512_dpbusd_epi32(s1, bytes(r1 + i), q);
        s2 = _mm512_dpbusd_epi32(s2, bytes(r2 + i), q);
        s3 = _mm512_dpbusd_epi32(s3, bytes(r3 + i), q);
        q = bytes(query + i + 64);
        t0 = _mm512_dpbusd_epi32(t0, bytes(r0 + i + 64), q);
        t1 = _mm512_dpbusd_epi32(t1, bytes(r1 + i + 64), q);
        t2 = _mm512_dpbusd_epi32(t2, bytes(r2 + i + 64), q);
        t3 = _mm512_dpbusd_epi32(t3, bytes(r3 + i + 64), q);
    }
    while (i < n) { /* at most one whole step and one cut short */
        __mmask64 m = n - i < 64 ? first_64(n - i) : UINT64_MAX;
        __m512i q = _mm512_maskz_loadu_epi8(m, query + i);
        s0 = _mm512_dpbusd_epi32(s0, _mm512_maskz_loadu_epi8(m, r0 + i), q);
        s1 = _mm512_dpbusd_epi32(s1, _mm512_maskz_loadu_epi8(m, r1 + i), q);
        s2 = _mm512_dpbusd_epi32(s2, _mm512_maskz_loadu_epi8(m, r2 + i), q);
        s3 = _mm512_dpbusd_epi32(s3, _mm512_maskz_loadu_epi8(m, r3 + i), q);
        i += 64;
    }
    _mm_storeu_si128((__m128i *)(void *)out,
                     sums_of_4_i(_mm512_add_epi32(s0, t0), _mm512_add_epi32(s1, t1),
                                 _mm512_add_epi32(s2, t2), _mm512_add_epi32(s3, t3)));
}

AK_SIMD_INLINE __m512i step_u4s8(__m512i sum, __m512i row, __m512i low, __m512i high)
{
    const __m512i half = _mm512_set1_epi8(15);
    sum = _mm512_dpbusd_epi32(sum, _mm512_and_si512(row, half), low);
    row = _mm512_and_si512(_mm512_srli_epi16(row, 4), half);
    return _mm512_dpbusd_epi32(sum, row, high);
}

static void dot_u4s8_x4(const int8_t *query, const uint8_t *const rows[4], size_t n, int32_t out[4])
{
    const uint8_t *r0 = rows[0];
    const uint8_t *r1 = rows[1];
    const uint8_t *r2 = rows[2];
    const uint8_t *r3 = rows[3];
    __m512i s0 = _mm512_setzero_si512();
    __m512i s1 = s0;
    __m512i s2 = s0;
    __m512i s3 = s0;
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        __m512i low = bytes(query + i);
        __m512i high = bytes(query + n + i);
        s0 = step_u4s8(s0, bytes(r0 + i), low, high);
        s1 = step_u4s8(s1, bytes(r1 + i), low, high);
        s2 = step_u4s8(s2, bytes(r2 + i), low, high);
        s3 = step_u4s8(s3, bytes(r3 + i), low, high);
    }
    if (i < n) {
        __mmask64 m = first_64(n - i);
        __m512i low = _mm512_maskz_loadu_epi8(m, query + i);
        __m512i high = _mm512_maskz_loadu_epi8(m, query + n + i);
        s0 = step_u4s8(s0, _mm512_maskz_loadu_epi8(m, r0 + i), low, high);
        s1 = step_u4s8(s1, _mm512_maskz_loadu_epi8(m, r1 + i), low, high);
        s2 = step_u4s8(s2, _mm512_maskz_loadu_epi8(m, r2 + i), low, high);
        s3 = step_u4s8(s3, _mm512_maskz_loadu_epi8(m, r3 + i), low, high);
    }
    _mm_storeu_si128((__m128i *)(void *)out, sums_of_4_i(s0, s1, s2, s3));
}

/* Eight bytes of bits are the mask of 64 ones, and ones times the query is what they choose of it.
 * That takes about as many instructions as counting bits of a query cut to four planes (four ands,
 * counts and additions for 512 dimensions, against eight of these), and the query keeps its eight
 * bits. */
AK_SIMD_INLINE __m512i step_b1s8(__m512i sum, const uint8_t *row, __m512i query)
{
    uint64_t bits;
    memcpy(&bits, row, sizeof bits);
    return _mm512_dpbusd_epi32(sum, _mm512_maskz_mov_epi8(bits, _mm512_set1_epi8(1)), query);
}

static void dot_b1s8_x4(const int8_t *query, const uint8_t *const rows[4], size_t n, int32_t out[4])
{
    const uint8_t *r0 = rows[0];
    const uint8_t *r1 = rows[1];
    const uint8_t *r2 = rows[2];
    const uint8_t *r3 = rows[3];
    __m512i s0 = _mm512_setzero_si512();
    __m512i s1 = s0;
    __m512i s2 = s0;
    __m512i s3 = s0;
    for (size_t i = 0; i < n; i += 8) {
        __m512i q = bytes(query + 8 * i);
        s0 = step_b1s8(s0, r0 + i, q);
        s1 = step_b1s8(s1, r1 + i, q);
        s2 = step_b1s8(s2, r2 + i, q);
        s3 = step_b1s8(s3, r3 + i, q);
    }
    _mm_storeu_si128((__m128i *)(void *)out, sums_of_4_i(s0, s1, s2, s3));
}

/* dpbusd wants its first operand unsigned: a + 128 (a sign bit flipped), and what that adds,
 * 128 · Σb, is gathered beside it and taken off at the end. All of it wraps modulo 2³², and the
 * true sum fits. A lane masked off adds nothing to either, since b is zero there. */
static int32_t dot_s8(const int8_t *a, const int8_t *b, size_t n)
{
    const __m512i flip = _mm512_set1_epi8(INT8_MIN);
    __m512i s0 = _mm512_setzero_si512();
    __m512i s1 = s0;
    __m512i b0 = s0;
    __m512i b1 = s0;
    size_t i = 0;
    for (; i + 128 <= n; i += 128) {
        __m512i y0 = bytes(b + i);
        __m512i y1 = bytes(b + i + 64);
        s0 = _mm512_dpbusd_epi32(s0, _mm512_xor_si512(bytes(a + i), flip), y0);
        s1 = _mm512_dpbusd_epi32(s1, _mm512_xor_si512(bytes(a + i + 64), flip), y1);
        b0 = _mm512_dpbusd_epi32(b0, flip, y0);
        b1 = _mm512_dpbusd_epi32(b1, flip, y1);
    }
    while (i < n) { /* at most one whole step and one cut short */
        __mmask64 m = n - i < 64 ? first_64(n - i) : UINT64_MAX;
        __m512i y0 = _mm512_maskz_loadu_epi8(m, b + i);
        __m512i x0 = _mm512_xor_si512(_mm512_maskz_loadu_epi8(m, a + i), flip);
        s0 = _mm512_dpbusd_epi32(s0, x0, y0);
        b0 = _mm512_dpbusd_epi32(b0, flip, y0);
        i += 64;
    }
    return sum_of_i(_mm512_sub_epi32(_mm512_add_epi32(s0, s1), _mm512_add_epi32(b0, b1)));
}

/* Sum of squares of the differences of 32 bytes each, widened: 16-bit pairs go into 32 bits. */
AK_SIMD_INLINE __m512i step_l2_s8(__m512i sum, __m256i a, __m256i b)
{
    __m512i d = _mm512_sub_epi16(_mm512_cvtepi8_epi16(a), _mm512_cvtepi8_epi16(b));
    return _mm512_dpwssd_epi32(sum, d, d);
}

AK_SIMD_INLINE __m256i bytes_32(const int8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

static uint32_t l2_s8(const int8_t *a, const int8_t *b, size_t n)
{
    __m512i s0 = _mm512_setzero_si512();
    __m512i s1 = s0;
    __m512i s2 = s0;
    __m512i s3 = s0;
    size_t i = 0;
    for (; i + 128 <= n; i += 128) {
        s0 = step_l2_s8(s0, bytes_32(a + i), bytes_32(b + i));
        s1 = step_l2_s8(s1, bytes_32(a + i + 32), bytes_32(b + i + 32));
        s2 = step_l2_s8(s2, bytes_32(a + i + 64), bytes_32(b + i + 64));
        s3 = step_l2_s8(s3, bytes_32(a + i + 96), bytes_32(b + i + 96));
    }
    for (; i + 32 <= n; i += 32) {
        s0 = step_l2_s8(s0, bytes_32(a + i), bytes_32(b + i));
    }
    if (i < n) {
        __mmask32 m = _bzhi_u32(UINT32_MAX, (unsigned)(n - i));
        s1 = step_l2_s8(s1, _mm256_maskz_loadu_epi8(m, a + i), _mm256_maskz_loadu_epi8(m, b + i));
    }
    __m512i sum = _mm512_add_epi32(_mm512_add_epi32(s0, s1), _mm512_add_epi32(s2, s3));
    return (uint32_t)sum_of_i(sum);
}

static void f16_to_f32(const uint16_t *in, float *out, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)(in + i));
        _mm512_storeu_ps(out + i, _mm512_cvtph_ps(half));
    }
    if (i < n) {
        __mmask16 m = first_16(n - i);
        __m256i half = _mm256_maskz_loadu_epi16(m, in + i);
        _mm512_mask_storeu_ps(out + i, m, _mm512_cvtph_ps(half));
    }
}

static void f32_to_f16(const float *in, uint16_t *out, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256i half =
            _mm512_cvtps_ph(_mm512_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm256_storeu_si256((__m256i *)(void *)(out + i), half);
    }
    if (i < n) {
        __mmask16 m = first_16(n - i);
        __m256i half = _mm512_cvtps_ph(_mm512_maskz_loadu_ps(m, in + i),
                                       _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm256_mask_storeu_epi16(out + i, m, half);
    }
}

/* Twice the bits of a float drop its sign; the largest over the vector says it all. */
static bool all_finite(const float *v, size_t n)
{
    __m512i m0 = _mm512_setzero_si512();
    __m512i m1 = m0;
    __m512i m2 = m0;
    __m512i m3 = m0;
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        m0 = _mm512_max_epu32(m0, _mm512_slli_epi32(bytes(v + i), 1));
        m1 = _mm512_max_epu32(m1, _mm512_slli_epi32(bytes(v + i + 16), 1));
        m2 = _mm512_max_epu32(m2, _mm512_slli_epi32(bytes(v + i + 32), 1));
        m3 = _mm512_max_epu32(m3, _mm512_slli_epi32(bytes(v + i + 48), 1));
    }
    while (i < n) {
        __mmask16 m = n - i < 16 ? first_16(n - i) : 0xffff;
        m0 = _mm512_max_epu32(m0, _mm512_slli_epi32(_mm512_maskz_loadu_epi32(m, v + i), 1));
        i += 16;
    }
    __m512i largest = _mm512_max_epu32(_mm512_max_epu32(m0, m1), _mm512_max_epu32(m2, m3));
    const __m512i infinite = _mm512_set1_epi32((int)(AK_F32_INF_BITS << 1));
    return _mm512_cmpge_epu32_mask(largest, infinite) == 0;
}

AK_SIMD_INLINE __m512d step_square(__m512d sum, __m256 v)
{
    __m512d wide = _mm512_cvtps_pd(v);
    return _mm512_fmadd_pd(wide, wide, sum);
}

static double sum_of_squares(const float *v, size_t n)
{
    __m512d s0 = _mm512_setzero_pd();
    __m512d s1 = s0;
    __m512d s2 = s0;
    __m512d s3 = s0;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        s0 = step_square(s0, _mm256_loadu_ps(v + i));
        s1 = step_square(s1, _mm256_loadu_ps(v + i + 8));
        s2 = step_square(s2, _mm256_loadu_ps(v + i + 16));
        s3 = step_square(s3, _mm256_loadu_ps(v + i + 24));
    }
    while (i < n) {
        __mmask8 m = (__mmask8)_bzhi_u32(0xff, n - i < 8 ? (unsigned)(n - i) : 8);
        s0 = step_square(s0, _mm256_maskz_loadu_ps(m, v + i));
        i += 8;
    }
    __m512d sum = _mm512_add_pd(_mm512_add_pd(s0, s1), _mm512_add_pd(s2, s3));
    return _mm512_reduce_add_pd(sum);
}

const struct ak_simd_kernels ak_simd_avx512 = {
    .table = {.isa = AK_ISA_AVX512,
              .name = "avx512 (vnni)",
              .dot = dot,
              .l2 = l2,
              .dot_x4 = dot_x4,
              .l2_x4 = l2_x4,
              .dot_u8s8 = dot_u8s8,
              .dot_u8s8_x4 = dot_u8s8_x4,
              .dot_u4s8_x4 = dot_u4s8_x4,
              .dot_b1s8_x4 = dot_b1s8_x4,
              .dot_s8 = dot_s8,
              .l2_s8 = l2_s8,
              .fht = ak_simd_fht_avx2,
              .f16_to_f32 = f16_to_f32,
              .f32_to_f16 = f32_to_f16},
    .all_finite = all_finite,
    .sum_of_squares = sum_of_squares,
};
#endif
