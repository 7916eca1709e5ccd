/* simd_neon.c — kernels for any ARMv8 processor: its NEON is part of the base.
 *
 * Four accumulators of four lanes cover the latency of the multiply-add; the _x4 forms load the
 * query once for four rows, keep two accumulators per row, and reduce the four sums together. The
 * last one to three floats go through a register filled with zeros. */
#include "simd/simd_priv.h"

#if defined(__aarch64__)
#include "simd/simd_neon_bytes_priv.h"
#include "simd/simd_neon_priv.h"

/* The first `rest` (1..3) floats at p, then zeros. */
AK_SIMD_INLINE float32x4_t first_floats(const float *p, size_t rest)
{
    float padded[4] = {0};
    memcpy(padded, p, rest * sizeof *p);
    return vld1q_f32(padded);
}

AK_SIMD_INLINE float32x4_t step(enum ak_simd_form form, float32x4_t sum, float32x4_t a,
                                float32x4_t b)
{
    if (form == AK_SIMD_L2) {
        float32x4_t d = vsubq_f32(a, b);
        return vfmaq_f32(sum, d, d);
    }
    return vfmaq_f32(sum, a, b);
}

AK_SIMD_INLINE float sum_terms(enum ak_simd_form form, const float *a, const float *b, size_t n)
{
    float32x4_t s0 = vdupq_n_f32(0);
    float32x4_t s1 = s0;
    float32x4_t s2 = s0;
    float32x4_t s3 = s0;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        s0 = step(form, s0, vld1q_f32(a + i), vld1q_f32(b + i));
        s1 = step(form, s1, vld1q_f32(a + i + 4), vld1q_f32(b + i + 4));
        s2 = step(form, s2, vld1q_f32(a + i + 8), vld1q_f32(b + i + 8));
        s3 = step(form, s3, vld1q_f32(a + i + 12), vld1q_f32(b + i + 12));
    }
    for (; i + 4 <= n; i += 4) {
        s0 = step(form, s0, vld1q_f32(a + i), vld1q_f32(b + i));
    }
    if (i < n) {
        s1 = step(form, s1, first_floats(a + i, n - i), first_floats(b + i, n - i));
    }
    return vaddvq_f32(vaddq_f32(vaddq_f32(s0, s1), vaddq_f32(s2, s3)));
}

AK_SIMD_INLINE void sum_terms_x4(enum ak_simd_form form, const float *query,
                                 const float *const rows[4], size_t n, float out[4])
{
    const float *r0 = rows[0];
    const float *r1 = rows[1];
    const float *r2 = rows[2];
    const float *r3 = rows[3];
    float32x4_t s0 = vdupq_n_f32(0);
    float32x4_t s1 = s0;
    float32x4_t s2 = s0;
    float32x4_t s3 = s0;
    float32x4_t t0 = s0;
    float32x4_t t1 = s0;
    float32x4_t t2 = s0;
    float32x4_t t3 = s0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        float32x4_t q = vld1q_f32(query + i);
        s0 = step(form, s0, q, vld1q_f32(r0 + i));
        s1 = step(form, s1, q, vld1q_f32(r1 + i));
        s2 = step(form, s2, q, vld1q_f32(r2 + i));
        s3 = step(form, s3, q, vld1q_f32(r3 + i));
        q = vld1q_f32(query + i + 4);
        t0 = step(form, t0, q, vld1q_f32(r0 + i + 4));
        t1 = step(form, t1, q, vld1q_f32(r1 + i + 4));
        t2 = step(form, t2, q, vld1q_f32(r2 + i + 4));
        t3 = step(form, t3, q, vld1q_f32(r3 + i + 4));
    }
    if (i + 4 <= n) {
        float32x4_t q = vld1q_f32(query + i);
        s0 = step(form, s0, q, vld1q_f32(r0 + i));
        s1 = step(form, s1, q, vld1q_f32(r1 + i));
        s2 = step(form, s2, q, vld1q_f32(r2 + i));
        s3 = step(form, s3, q, vld1q_f32(r3 + i));
        i += 4;
    }
    if (i < n) {
        float32x4_t q = first_floats(query + i, n - i);
        t0 = step(form, t0, q, first_floats(r0 + i, n - i));
        t1 = step(form, t1, q, first_floats(r1 + i, n - i));
        t2 = step(form, t2, q, first_floats(r2 + i, n - i));
        t3 = step(form, t3, q, first_floats(r3 + i, n - i));
    }
    float32x4_t s01 = vpaddq_f32(vaddq_f32(s0, t0), vaddq_f32(s1, t1));
    float32x4_t s23 = vpaddq_f32(vaddq_f32(s2, t2), vaddq_f32(s3, t3));
    vst1q_f32(out, vpaddq_f32(s01, s23));
}

float ak_simd_neon_dot(const float *a, const float *b, size_t n)
{
    return sum_terms(AK_SIMD_DOT, a, b, n);
}

float ak_simd_neon_l2(const float *a, const float *b, size_t n)
{
    return sum_terms(AK_SIMD_L2, a, b, n);
}

void ak_simd_neon_dot_x4(const float *query, const float *const rows[4], size_t n, float out[4])
{
    sum_terms_x4(AK_SIMD_DOT, query, rows, n, out);
}

void ak_simd_neon_l2_x4(const float *query, const float *const rows[4], size_t n, float out[4])
{
    sum_terms_x4(AK_SIMD_L2, query, rows, n, out);
}

AK_SIMD_INLINE float32x4_t from_half(uint16x4_t half)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(half));
}

AK_SIMD_INLINE uint16x4_t to_half(float32x4_t value)
{
    return vreinterpret_u16_f16(vcvt_f16_f32(value));
}

void ak_simd_neon_f16_to_f32(const uint16_t *in, float *out, size_t n)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        vst1q_f32(out + i, from_half(vld1_u16(in + i)));
    }
    for (; i < n; i++) {
        vst1q_lane_f32(out + i, from_half(vdup_n_u16(in[i])), 0);
    }
}

void ak_simd_neon_f32_to_f16(const float *in, uint16_t *out, size_t n)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        vst1_u16(out + i, to_half(vld1q_f32(in + i)));
    }
    for (; i < n; i++) {
        vst1_lane_u16(out + i, to_half(vld1q_dup_f32(in + i)), 0);
    }
}

/* Twice the bits of a float drop its sign; the largest over the vector says it all. */
AK_SIMD_INLINE uint32x4_t step_largest(uint32x4_t largest, float32x4_t v)
{
    return vmaxq_u32(largest, vshlq_n_u32(vreinterpretq_u32_f32(v), 1));
}

bool ak_simd_neon_all_finite(const float *v, size_t n)
{
    uint32x4_t m0 = vdupq_n_u32(0);
    uint32x4_t m1 = m0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        m0 = step_largest(m0, vld1q_f32(v + i));
        m1 = step_largest(m1, vld1q_f32(v + i + 4));
    }
    if (i + 4 <= n) {
        m0 = step_largest(m0, vld1q_f32(v + i));
        i += 4;
    }
    if (i < n) {
        m1 = step_largest(m1, first_floats(v + i, n - i));
    }
    return vmaxvq_u32(vmaxq_u32(m0, m1)) < AK_F32_INF_BITS << 1;
}

double ak_simd_neon_sum_of_squares(const float *v, size_t n)
{
    float64x2_t s0 = vdupq_n_f64(0);
    float64x2_t s1 = s0;
    size_t i = 0;
    while (i < n) {
        float32x4_t four = n - i < 4 ? first_floats(v + i, n - i) : vld1q_f32(v + i);
        float64x2_t low = vcvt_f64_f32(vget_low_f32(four));
        float64x2_t high = vcvt_high_f64_f32(four);
        s0 = vfmaq_f64(s0, low, low);
        s1 = vfmaq_f64(s1, high, high);
        i += 4;
    }
    return vaddvq_f64(vaddq_f64(s0, s1));
}

const struct ak_simd_kernels ak_simd_neon = {
    .table = {.isa = AK_ISA_NEON,
              .name = "neon",
              .dot = ak_simd_neon_dot,
              .l2 = ak_simd_neon_l2,
              .dot_x4 = ak_simd_neon_dot_x4,
              .l2_x4 = ak_simd_neon_l2_x4,
              .dot_u8s8 = dot_u8s8,
              .dot_u8s8_x4 = dot_u8s8_x4,
              .dot_u4s8_x4 = dot_u4s8_x4,
              .dot_b1s8_x4 = dot_b1s8_x4,
              .dot_s8 = dot_s8,
              .l2_s8 = l2_s8,
              .fht = ak_simd_fht_scalar,
              .f16_to_f32 = ak_simd_neon_f16_to_f32,
              .f32_to_f16 = ak_simd_neon_f32_to_f16},
    .all_finite = ak_simd_neon_all_finite,
    .sum_of_squares = ak_simd_neon_sum_of_squares,
};
#endif
