/* simd_avx2.c — kernels for AVX2 with FMA and F16C.
 *
 * Four accumulators cover the latency of the multiply-add; the _x4 forms load the query once for
 * four rows, keep two accumulators per row, and reduce the four sums together. What is left of a
 * float vector is one masked load; for bytes, which AVX2 cannot mask, it is the last 32 bytes
 * again with those already counted zeroed. Neither touches a byte outside the vector. */
#include "simd/simd_priv.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

/* Mask of the first `rest` (0..8) of eight lanes. */
AK_SIMD_INLINE __m256i first_8(size_t rest)
{
    static const int32_t ones_then_zeros[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const __m256i *)(const void *)(ones_then_zeros + 8 - rest));
}

AK_SIMD_INLINE __m256 step(enum ak_simd_form form, __m256 sum, __m256 a, __m256 b)
{
    if (form == AK_SIMD_L2) {
        __m256 d = _mm256_sub_ps(a, b);
        return _mm256_fmadd_ps(d, d, sum);
    }
    return _mm256_fmadd_ps(a, b, sum);
}

AK_SIMD_INLINE float sum_of(__m256 v)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* Lane r of the result is the sum of all lanes of the r-th argument. */
AK_SIMD_INLINE __m128 sums_of_4(__m256 r0, __m256 r1, __m256 r2, __m256 r3)
{
    __m256 all = _mm256_hadd_ps(_mm256_hadd_ps(r0, r1), _mm256_hadd_ps(r2, r3));
    return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

AK_SIMD_INLINE float sum_terms(enum ak_simd_form form, const float *a, const float *b, size_t n)
{
    __m256 s0 = _mm256_setzero_ps();
    __m256 s1 = s0;
    __m256 s2 = s0;
    __m256 s3 = s0;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        s0 = step(form, s0, _mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i));
        s1 = step(form, s1, _mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8));
        s2 = step(form, s2, _mm256_loadu_ps(a + i + 16), _mm256_loadu_ps(b + i + 16));
        s3 = step(form, s3, _mm256_loadu_ps(a + i + 24), _mm256_loadu_ps(b + i + 24));
    }
    for (; i + 8 <= n; i += 8) {
        s0 = step(form, s0, _mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i));
    }
    if (i < n) {
        __m256i m = first_8(n - i);
        s1 = step(form, s1, _mm256_maskload_ps(a + i, m), _mm256_maskload_ps(b + i, m));
    }
    return sum_of(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3)));
}

AK_SIMD_INLINE void sum_terms_x4(enum ak_simd_form form, const float *query,
                                 const float *const rows[4], size_t n, float out[4])
{
    const float *r0 = rows[0];
    const float *r1 = rows[1];
    const float *r2 = rows[2];
    const float *r3 = rows[3];
    __m256 s0 = _mm256_setzero_ps();
    __m256 s1 = s0;
    __m256 s2 = s0;
    __m256 s3 = s0;
    __m256 t0 = s0;
    __m256 t1 = s0;
    __m256 t2 = s0;
    __m256 t3 = s0;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256 q = _mm256_loadu_ps(query + i);
        s0 = step(form, s0, q, _mm256_loadu_ps(r0 + i));
        s1 = step(form, s1, q, _mm256_loadu_ps(r1 + i));
        s2 = step(form, s2, q, _mm256_loadu_ps(r2 + i));
        s3 = step(form, s3, q, _mm256_loadu_ps(r3 + i));
        q = _mm256_loadu_ps(query + i + 8);
        t0 = step(form, t0, q, _mm256_loadu_ps(r0 + i + 8));
        t1 = step(form, t1, q, _mm256_loadu_ps(r1 + i + 8));
        t2 = step(form, t2, q, _mm256_loadu_ps(r2 + i + 8));
        t3 = step(form, t3, q, _mm256_loadu_ps(r3 + i + 8));
    }
    while (i < n) { /* at most one whole step and one cut short */
        __m256i m = first_8(n - i < 8 ? n - i : 8);
        __m256 q = _mm256_maskload_ps(query + i, m);
        s0 = step(form, s0, q, _mm256_maskload_ps(r0 + i, m));
        s1 = step(form, s1, q, _mm256_maskload_ps(r1 + i, m));
        s2 = step(form, s2, q, _mm256_maskload_ps(r2 + i, m));
        s3 = step(form, s3, q, _mm256_maskload_ps(r3 + i, m));
        i += 8;
    }
    _mm_storeu_ps(out, sums_of_4(_mm256_add_ps(s0, t0), _mm256_add_ps(s1, t1),
                                 _mm256_add_ps(s2, t2), _mm256_add_ps(s3, t3)));
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

AK_SIMD_INLINE __m256i bytes(const void *p)
{
    return _mm256_loadu_si256(p);
}

/* The last `rest` (1..31) bytes of the n at p, zeros elsewhere. Where in the register they lie
 * depends on n and rest alone, so that two vectors of one length match. */
AK_SIMD_INLINE __m256i last_bytes(const void *p, size_t n, size_t rest)
{
    if (n >= 32) {
        static const uint8_t zeros_then_ones[64] = {
            0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,
            0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,
            255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
            255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
        __m256i keep = bytes(zeros_then_ones + rest);
        return _mm256_and_si256(keep, bytes((const uint8_t *)p + n - 32));
    }
    uint8_t padded[32] = {0};
    memcpy(padded, (const uint8_t *)p + n - rest, rest);
    return bytes(padded);
}

/* Modulo 2³², so the same for signed and unsigned sums. */
AK_SIMD_INLINE int32_t sum_of_i(__m256i v)
{
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0x55)));
}

AK_SIMD_INLINE __m128i sums_of_4_i(__m256i r0, __m256i r1, __m256i r2, __m256i r3)
{
    __m256i all = _mm256_hadd_epi32(_mm256_hadd_epi32(r0, r1), _mm256_hadd_epi32(r2, r3));
    return _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
}

/* vpmaddubsw adds two products into 16 signed bits, and saturates: 255 · 127 · 2 does not fit. So u
 * goes in two parts, its low seven bits (127 · 128 · 2 = 32,512 fits) and its top bit alone
 * (128 · −128 · 2 = −32,768 just fits). Both are exact, and cheaper than widening u and s. */
AK_SIMD_INLINE __m256i step_u8s8(__m256i sum, __m256i u, __m256i s)
{
    const __m256i low_bits = _mm256_set1_epi8(0x7f);
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i low = _mm256_maddubs_epi16(_mm256_and_si256(u, low_bits), s);
    __m256i top = _mm256_maddubs_epi16(_mm256_andnot_si256(low_bits, u), s);
    __m256i both = _mm256_add_epi32(_mm256_madd_epi16(low, ones), _mm256_madd_epi16(top, ones));
    return _mm256_add_epi32(sum, both);
}

static int32_t dot_u8s8(const uint8_t *a, const int8_t *b, size_t n)
{
    __m256i s0 = _mm256_setzero_si256();
    __m256i s1 = s0;
    __m256i s2 = s0;
    __m256i s3 = s0;
    size_t i = 0;
    for (; i + 128 <= n; i += 128) {
        s0 = step_u8s8(s0, bytes(a + i), bytes(b + i));
        s1 = step_u8s8(s1, bytes(a + i + 32), bytes(b + i + 32));
        s2 = step_u8s8(s2, bytes(a + i + 64), bytes(b + i + 64));
        s3 = step_u8s8(s3, bytes(a + i + 96), bytes(b + i + 96));
    }
    for (; i + 32 <= n; i += 32) {
        s0 = step_u8s8(s0, bytes(a + i), bytes(b + i));
    }
    if (i < n) {
        s1 = step_u8s8(s1, last_bytes(a, n, n - i), last_bytes(b, n, n - i));
    }
    return sum_of_i(_mm256_add_epi32(_mm256_add_epi32(s0, s1), _mm256_add_epi32(s2, s3)));
}

static void dot_u8s8_x4(const int8_t *query, const uint8_t *const rows[4], size_t n, int32_t out[4])
{
    const uint8_t *r0 = rows[0];
    const uint8_t *r1 = rows[1];
    const uint8_t *r2 = rows[2];
    const uint8_t *r3 = rows[3];
    __m256i s0 = _mm256_setzero_si256();
    __m256i s1 = s0;
    __m256i s2 = s0;
    __m256i s3 = s0;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i q = bytes(query + i);
        s0 = step_u8s8(s0, bytes(r0 + i), q);
        s1 = step_u8s8(s1, bytes(r1 + i), q);
        s2 = step_u8s8(s2, bytes(r2 + i), q);
        s3 = step_u8s8(s3, bytes(r3 + i), q);
    }
    if (i < n) {
        __m256i q = last_bytes(query, n, n - i);
        s0 = step_u8s8(s0, last_bytes(r0, n, n - i), q);
        s1 = step_u8s8(s1, last_bytes(r1, n, n - i), q);
        s2 = step_u8s8(s2, last_bytes(r2, n, n - i), q);
        s3 = step_u8s8(s3, last_bytes(r3, n, n - i), q);
    }
    _mm_storeu_si128((__m128i *)(void *)out, sums_of_4_i(s0, s1, s2, s3));
}

/* Four bits times eight fit sixteen four times over: 4 · 15 · 128 = 7,680. */
AK_SIMD_INLINE __m256i step_u4s8(__m256i sum, __m256i row, __m256i low, __m256i high)
{
    const __m256i half = _mm256_set1_epi8(15);
    __m256i a = _mm256_maddubs_epi16(_mm256_and_si256(row, half), low);
    __m256i b = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(row, 4), half), high);
    __m256i both = _mm256_madd_epi16(_mm256_add_epi16(a, b), _mm256_set1_epi16(1));
    return _mm256_add_epi32(sum, both);
}

AK_SIMD_INLINE __m256i bytes_16(const void *p)
{
    return _mm256_zextsi128_si256(_mm_loadu_si128((const __m128i *)p));
}

static void dot_u4s8_x4(const int8_t *query, const uint8_t *const rows[4], size_t n, int32_t out[4])
{
    const uint8_t *r0 = rows[0];
    const uint8_t *r1 = rows[1];
    const uint8_t *r2 = rows[2];
    const uint8_t *r3 = rows[3];
    __m256i s0 = _mm256_setzero_si256();
    __m256i s1 = s0;
    __m256i s2 = s0;
    __m256i s3 = s0;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i low = bytes(query + i);
        __m256i high = bytes(query + n + i);
        s0 = step_u4s8(s0, bytes(r0 + i), low, high);
        s1 = step_u4s8(s1, bytes(r1 + i), low, high);
        s2 = step_u4s8(s2, bytes(r2 + i), low, high);
        s3 = step_u4s8(s3, bytes(r3 + i), low, high);
    }
    if (i < n) { /* sixteen are left */
        __m256i low = bytes_16(query + i);
        __m256i high = bytes_16(query + n + i);
        s0 = step_u4s8(s0, bytes_16(r0 + i), low, high);
        s1 = step_u4s8(s1, bytes_16(r1 + i), low, high);
        s2 = step_u4s8(s2, bytes_16(r2 + i), low, high);
        s3 = step_u4s8(s3, bytes_16(r3 + i), low, high);
    }
    _mm_storeu_si128((__m128i *)(void *)out, sums_of_4_i(s0, s1, s2, s3));
}

/* The bytes of the query whose bit of 32 is set, added up in pairs: within ±256. */
AK_SIMD_INLINE __m256i chosen_pairs(const uint8_t *row, __m256i query)
{
    const __m256i spread =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    int32_t bits;
    memcpy(&bits, row, sizeof bits);
    __m256i each = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(bits), spread), bit);
    __m256i chosen = _mm256_and_si256(_mm256_cmpeq_epi8(each, bit), query);
    return _mm256_maddubs_epi16(_mm256_set1_epi8(1), chosen);
}

AK_SIMD_INLINE __m256i step_b1s8(__m256i sum, const uint8_t *row, __m256i q0, __m256i q1)
{
    __m256i both = _mm256_add_epi16(chosen_pairs(row, q0), chosen_pairs(row + 4, q1));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(both, _mm256_set1_epi16(1)));
}

static void dot_b1s8_x4(const int8_t *query, const uint8_t *const rows[4], size_t n, int32_t out[4])
{
    const uint8_t *r0 = rows[0];
    const uint8_t *r1 = rows[1];
    const uint8_t *r2 = rows[2];
    const uint8_t *r3 = rows[3];
    __m256i s0 = _mm256_setzero_si256();
    __m256i s1 = s0;
    __m256i s2 = s0;
    __m256i s3 = s0;
    for (size_t i = 0; i < n; i += 8) {
        __m256i q0 = bytes(query + 8 * i);
        __m256i q1 = bytes(query + 8 * i + 32);
        s0 = step_b1s8(s0, r0 + i, q0, q1);
        s1 = step_b1s8(s1, r1 + i, q0, q1);
        s2 = step_b1s8(s2, r2 + i, q0, q1);
        s3 = step_b1s8(s3, r3 + i, q0, q1);
    }
    _mm_storeu_si128((__m128i *)(void *)out, sums_of_4_i(s0, s1, s2, s3));
}

AK_SIMD_INLINE __m256i low_half(__m256i v)
{
    return _mm256_cvtepi8_epi16(_mm256_castsi256_si128(v));
}

AK_SIMD_INLINE __m256i high_half(__m256i v)
{
    return _mm256_cvtepi8_epi16(_mm256_extracti128_si256(v, 1));
}

AK_SIMD_INLINE __m256i widened(const int8_t *p)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)p));
}

/* Sixteen widened bytes of each: products (or squared differences) in pairs into 32 bits, exact. */
AK_SIMD_INLINE __m256i step_16(enum ak_simd_form form, __m256i sum, __m256i a, __m256i b)
{
    if (form == AK_SIMD_L2) {
        a = _mm256_sub_epi16(a, b);
        b = a;
    }
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}

AK_SIMD_INLINE int32_t sum_terms_s8(enum ak_simd_form form, const int8_t *a, const int8_t *b,
                                    size_t n)
{
    __m256i s0 = _mm256_setzero_si256();
    __m256i s1 = s0;
    __m256i s2 = s0;
    __m256i s3 = s0;
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        s0 = step_16(form, s0, widened(a + i), widened(b + i));
        s1 = step_16(form, s1, widened(a + i + 16), widened(b + i + 16));
        s2 = step_16(form, s2, widened(a + i + 32), widened(b + i + 32));
        s3 = step_16(form, s3, widened(a + i + 48), widened(b + i + 48));
    }
    for (; i + 16 <= n; i += 16) {
        s0 = step_16(form, s0, widened(a + i), widened(b + i));
    }
    if (i < n) {
        __m256i x = last_bytes(a, n, n - i);
        __m256i y = last_bytes(b, n, n - i);
        s1 = step_16(form, s1, low_half(x), low_half(y));
        s2 = step_16(form, s2, high_half(x), high_half(y));
    }
    return sum_of_i(_mm256_add_epi32(_mm256_add_epi32(s0, s1), _mm256_add_epi32(s2, s3)));
}

static int32_t dot_s8(const int8_t *a, const int8_t *b, size_t n)
{
    return sum_terms_s8(AK_SIMD_DOT, a, b, n);
}

static uint32_t l2_s8(const int8_t *a, const int8_t *b, size_t n)
{
    return (uint32_t)sum_terms_s8(AK_SIMD_L2, a, b, n);
}

static void f16_to_f32(const uint16_t *in, float *out, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i half = _mm_loadu_si128((const __m128i *)(const void *)(in + i));
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(half));
    }
    for (; i < n; i++) {
        _mm_store_ss(out + i, _mm_cvtph_ps(_mm_cvtsi32_si128(in[i])));
    }
}

static void f32_to_f16(const float *in, uint16_t *out, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i half =
            _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm_storeu_si128((__m128i *)(void *)(out + i), half);
    }
    for (; i < n; i++) {
        __m128i half =
            _mm_cvtps_ph(_mm_load_ss(in + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        out[i] = (uint16_t)_mm_cvtsi128_si32(half);
    }
}

/* Twice the bits of a float drop its sign; the largest over the vector says it all. */
static bool all_finite(const float *v, size_t n)
{
    __m256i m0 = _mm256_setzero_si256();
    __m256i m1 = m0;
    __m256i m2 = m0;
    __m256i m3 = m0;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        m0 = _mm256_max_epu32(m0, _mm256_slli_epi32(bytes(v + i), 1));
        m1 = _mm256_max_epu32(m1, _mm256_slli_epi32(bytes(v + i + 8), 1));
        m2 = _mm256_max_epu32(m2, _mm256_slli_epi32(bytes(v + i + 16), 1));
        m3 = _mm256_max_epu32(m3, _mm256_slli_epi32(bytes(v + i + 24), 1));
    }
    while (i < n) {
        __m256 rest = _mm256_maskload_ps(v + i, first_8(n - i < 8 ? n - i : 8));
        m0 = _mm256_max_epu32(m0, _mm256_slli_epi32(_mm256_castps_si256(rest), 1));
        i += 8;
    }
    __m256i largest = _mm256_max_epu32(_mm256_max_epu32(m0, m1), _mm256_max_epu32(m2, m3));
    const __m256i infinite = _mm256_set1_epi32((int)(AK_F32_INF_BITS << 1));
    __m256i bad = _mm256_cmpeq_epi32(_mm256_max_epu32(largest, infinite), largest);
    return _mm256_movemask_epi8(bad) == 0;
}

AK_SIMD_INLINE __m256d step_square(__m256d sum, __m128 v)
{
    __m256d wide = _mm256_cvtps_pd(v);
    return _mm256_fmadd_pd(wide, wide, sum);
}

static double sum_of_squares(const float *v, size_t n)
{
    __m256d s0 = _mm256_setzero_pd();
    __m256d s1 = s0;
    __m256d s2 = s0;
    __m256d s3 = s0;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        s0 = step_square(s0, _mm_loadu_ps(v + i));
        s1 = step_square(s1, _mm_loadu_ps(v + i + 4));
        s2 = step_square(s2, _mm_loadu_ps(v + i + 8));
        s3 = step_square(s3, _mm_loadu_ps(v + i + 12));
    }
    while (i < n) {
        __m256 rest = _mm256_maskload_ps(v + i, first_8(n - i < 8 ? n - i : 8));
        s0 = step_square(s0, _mm256_castps256_ps128(rest));
        s1 = step_square(s1, _mm256_extractf128_ps(rest, 1));
        i += 8;
    }
    __m256d sum = _mm256_add_pd(_mm256_add_pd(s0, s1), _mm256_add_pd(s2, s3));
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(sum), _mm256_extractf128_pd(sum, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

/* Sums and differences of lanes `half` apart: `swapped` has them exchanged, `flip` the sign bits of
 * the upper ones. */
AK_SIMD_INLINE __m256 fht_lanes(__m256 v, __m256 swapped, __m256 flip)
{
    return _mm256_add_ps(_mm256_xor_ps(v, flip), swapped);
}

void ak_simd_fht_avx2(float *x, size_t n)
{
    const __m256 odd = _mm256_setr_ps(0, -0.0f, 0, -0.0f, 0, -0.0f, 0, -0.0f);
    const __m256 high_2 = _mm256_setr_ps(0, 0, -0.0f, -0.0f, 0, 0, -0.0f, -0.0f);
    const __m256 high_4 = _mm256_setr_ps(0, 0, 0, 0, -0.0f, -0.0f, -0.0f, -0.0f);
    if (n < 8) {
        ak_simd_fht_scalar(x, n);
        return;
    }
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_loadu_ps(x + i);
        v = fht_lanes(v, _mm256_permute_ps(v, 0xB1), odd);
        v = fht_lanes(v, _mm256_permute_ps(v, 0x4E), high_2);
        v = fht_lanes(v, _mm256_permute2f128_ps(v, v, 1), high_4);
        _mm256_storeu_ps(x + i, v);
    }
    for (size_t half = 8; half < n; half *= 2) {
        for (size_t i = 0; i < n; i += 2 * half) {
            for (size_t j = i; j < i + half; j += 8) {
                __m256 a = _mm256_loadu_ps(x + j);
                __m256 b = _mm256_loadu_ps(x + j + half);
                _mm256_storeu_ps(x + j, _mm256_add_ps(a, b));
                _mm256_storeu_ps(x + j + half, _mm256_sub_ps(a, b));
            }
        }
    }
}

const struct ak_simd_kernels ak_simd_avx2 = {
    .table = {.isa = AK_ISA_AVX2,
              .name = "avx2",
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
