/* simd_neon_bytes_priv.h — the 8-bit kernels of NEON, compiled twice: by simd_neon.c for any
 * ARMv8 and by simd_neon_dotprod.c where the processor has SDOT and UDOT. The loops are the same;
 * the two steps below differ. All sums wrap modulo 2³², and the true ones fit. */
#pragma once
#include "simd/simd_priv.h"
#include <arm_neon.h>
#include <string.h>

/* Sixteen products of signed bytes into four sums. */
AK_SIMD_INLINE int32x4_t step_dot(int32x4_t sum, int8x16_t a, int8x16_t b)
{
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(sum, a, b);
#else
    sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(a), vget_low_s8(b)));
    return vpadalq_s16(sum, vmull_high_s8(a, b));
#endif
}

/* Sixteen squared differences into four sums: |a − b| is at most 255, its square fits 16 bits. */
AK_SIMD_INLINE uint32x4_t step_l2(uint32x4_t sum, int8x16_t a, int8x16_t b)
{
    uint8x16_t d = vreinterpretq_u8_s8(vabdq_s8(a, b));
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_u32(sum, d, d);
#else
    sum = vpadalq_u16(sum, vmull_u8(vget_low_u8(d), vget_low_u8(d)));
    return vpadalq_u16(sum, vmull_high_u8(d, d));
#endif
}

/* The last `rest` (1..15) bytes of the n at p, zeros elsewhere. Where in the register they lie
 * depends on n and rest alone, so that two vectors of one length match. */
AK_SIMD_INLINE uint8x16_t last_bytes(const void *p, size_t n, size_t rest)
{
    const uint8_t *end = (const uint8_t *)p + n;
    if (n >= 16) {
        static const uint8_t zeros_then_ones[32] = {
            0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,
            255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
        return vandq_u8(vld1q_u8(end - 16), vld1q_u8(zeros_then_ones + rest));
    }
    uint8_t padded[16] = {0};
    memcpy(padded, end - rest, rest);
    return vld1q_u8(padded);
}

AK_SIMD_INLINE int8x16_t last_signed(const int8_t *p, size_t n, size_t rest)
{
    return vreinterpretq_s8_u8(last_bytes(p, n, rest));
}

/* u − 128 as a signed byte: the sign bit flipped. */
AK_SIMD_INLINE int8x16_t less_128(uint8x16_t u)
{
    return vreinterpretq_s8_u8(veorq_u8(u, vdupq_n_u8(0x80)));
}

/* Σ u·s is Σ (u − 128)·s + 128·Σs. A step of −128 · s gathers the second part with its sign
 * turned, and needs no further multiplication. Bytes that are zero in s add nothing to either. */
AK_SIMD_INLINE int32x4_t step_offset(int32x4_t sum, int8x16_t s)
{
    return step_dot(sum, vdupq_n_s8(INT8_MIN), s);
}

static int32_t dot_u8s8(const uint8_t *a, const int8_t *b, size_t n)
{
    int32x4_t s0 = vdupq_n_s32(0);
    int32x4_t s1 = s0;
    int32x4_t o0 = s0;
    int32x4_t o1 = s0;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        int8x16_t y0 = vld1q_s8(b + i);
        int8x16_t y1 = vld1q_s8(b + i + 16);
        s0 = step_dot(s0, less_128(vld1q_u8(a + i)), y0);
        s1 = step_dot(s1, less_128(vld1q_u8(a + i + 16)), y1);
        o0 = step_offset(o0, y0);
        o1 = step_offset(o1, y1);
    }
    if (i + 16 <= n) {
        int8x16_t y0 = vld1q_s8(b + i);
        s0 = step_dot(s0, less_128(vld1q_u8(a + i)), y0);
        o0 = step_offset(o0, y0);
        i += 16;
    }
    if (i < n) {
        int8x16_t y1 = last_signed(b, n, n - i);
        s1 = step_dot(s1, less_128(last_bytes(a, n, n - i)), y1);
        o1 = step_offset(o1, y1);
    }
    return vaddvq_s32(vsubq_s32(vaddq_s32(s0, s1), vaddq_s32(o0, o1)));
}

static void dot_u8s8_x4(const int8_t *query, const uint8_t *const rows[4], size_t n, int32_t out[4])
{
    const uint8_t *r0 = rows[0];
    const uint8_t *r1 = rows[1];
    const uint8_t *r2 = rows[2];
    const uint8_t *r3 = rows[3];
    int32x4_t s0 = vdupq_n_s32(0);
    int32x4_t s1 = s0;
    int32x4_t s2 = s0;
    int32x4_t s3 = s0;
    int32x4_t offset = s0;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        int8x16_t q = vld1q_s8(query + i);
        s0 = step_dot(s0, less_128(vld1q_u8(r0 + i)), q);
        s1 = step_dot(s1, less_128(vld1q_u8(r1 + i)), q);
        s2 = step_dot(s2, less_128(vld1q_u8(r2 + i)), q);
        s3 = step_dot(s3, less_128(vld1q_u8(r3 + i)), q);
        offset = step_offset(offset, q);
    }
    if (i < n) {
        int8x16_t q = last_signed(query, n, n - i);
        s0 = step_dot(s0, less_128(last_bytes(r0, n, n - i)), q);
        s1 = step_dot(s1, less_128(last_bytes(r1, n, n - i)), q);
        s2 = step_dot(s2, less_128(last_bytes(r2, n, n - i)), q);
        s3 = step_dot(s3, less_128(last_bytes(r3, n, n - i)), q);
        offset = step_offset(offset, q);
    }
    int32x4_t sums = vpaddq_s32(vpaddq_s32(s0, s1), vpaddq_s32(s2, s3));
    vst1q_s32(out, vsubq_s32(sums, vdupq_n_s32(vaddvq_s32(offset))));
}

/* Halves of bytes are small enough to be signed as they are. */
AK_SIMD_INLINE int32x4_t step_u4s8(int32x4_t sum, const uint8_t *row, int8x16_t low, int8x16_t high)
{
    uint8x16_t both = vld1q_u8(row);
    sum = step_dot(sum, vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15))), low);
    return step_dot(sum, vreinterpretq_s8_u8(vshrq_n_u8(both, 4)), high);
}

static void dot_u4s8_x4(const int8_t *query, const uint8_t *const rows[4], size_t n, int32_t out[4])
{
    int32x4_t s0 = vdupq_n_s32(0);
    int32x4_t s1 = s0;
    int32x4_t s2 = s0;
    int32x4_t s3 = s0;
    for (size_t i = 0; i < n; i += 16) {
        int8x16_t low = vld1q_s8(query + i);
        int8x16_t high = vld1q_s8(query + n + i);
        s0 = step_u4s8(s0, rows[0] + i, low, high);
        s1 = step_u4s8(s1, rows[1] + i, low, high);
        s2 = step_u4s8(s2, rows[2] + i, low, high);
        s3 = step_u4s8(s3, rows[3] + i, low, high);
    }
    vst1q_s32(out, vpaddq_s32(vpaddq_s32(s0, s1), vpaddq_s32(s2, s3)));
}

/* A one for each set bit of two bytes, times the sixteen of the query that belong to them. */
AK_SIMD_INLINE int32x4_t step_b1s8(int32x4_t sum, const uint8_t *row, int8x16_t query)
{
    static const uint8_t bit[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t each = vcombine_u8(vdup_n_u8(row[0]), vdup_n_u8(row[1]));
    uint8x16_t one = vandq_u8(vtstq_u8(each, vld1q_u8(bit)), vdupq_n_u8(1));
    return step_dot(sum, vreinterpretq_s8_u8(one), query);
}

static void dot_b1s8_x4(const int8_t *query, const uint8_t *const rows[4], size_t n, int32_t out[4])
{
    int32x4_t s0 = vdupq_n_s32(0);
    int32x4_t s1 = s0;
    int32x4_t s2 = s0;
    int32x4_t s3 = s0;
    for (size_t i = 0; i < n; i += 2) {
        int8x16_t q = vld1q_s8(query + 8 * i);
        s0 = step_b1s8(s0, rows[0] + i, q);
        s1 = step_b1s8(s1, rows[1] + i, q);
        s2 = step_b1s8(s2, rows[2] + i, q);
        s3 = step_b1s8(s3, rows[3] + i, q);
    }
    vst1q_s32(out, vpaddq_s32(vpaddq_s32(s0, s1), vpaddq_s32(s2, s3)));
}

static int32_t dot_s8(const int8_t *a, const int8_t *b, size_t n)
{
    int32x4_t s0 = vdupq_n_s32(0);
    int32x4_t s1 = s0;
    int32x4_t s2 = s0;
    int32x4_t s3 = s0;
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        s0 = step_dot(s0, vld1q_s8(a + i), vld1q_s8(b + i));
        s1 = step_dot(s1, vld1q_s8(a + i + 16), vld1q_s8(b + i + 16));
        s2 = step_dot(s2, vld1q_s8(a + i + 32), vld1q_s8(b + i + 32));
        s3 = step_dot(s3, vld1q_s8(a + i + 48), vld1q_s8(b + i + 48));
    }
    for (; i + 16 <= n; i += 16) {
        s0 = step_dot(s0, vld1q_s8(a + i), vld1q_s8(b + i));
    }
    if (i < n) {
        s1 = step_dot(s1, last_signed(a, n, n - i), last_signed(b, n, n - i));
    }
    return vaddvq_s32(vaddq_s32(vaddq_s32(s0, s1), vaddq_s32(s2, s3)));
}

static uint32_t l2_s8(const int8_t *a, const int8_t *b, size_t n)
{
    uint32x4_t s0 = vdupq_n_u32(0);
    uint32x4_t s1 = s0;
    uint32x4_t s2 = s0;
    uint32x4_t s3 = s0;
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        s0 = step_l2(s0, vld1q_s8(a + i), vld1q_s8(b + i));
        s1 = step_l2(s1, vld1q_s8(a + i + 16), vld1q_s8(b + i + 16));
        s2 = step_l2(s2, vld1q_s8(a + i + 32), vld1q_s8(b + i + 32));
        s3 = step_l2(s3, vld1q_s8(a + i + 48), vld1q_s8(b + i + 48));
    }
    for (; i + 16 <= n; i += 16) {
        s0 = step_l2(s0, vld1q_s8(a + i), vld1q_s8(b + i));
    }
    if (i < n) {
        s1 = step_l2(s1, last_signed(a, n, n - i), last_signed(b, n, n - i));
    }
    return vaddvq_u32(vaddq_u32(vaddq_u32(s0, s1), vaddq_u32(s2, s3)));
}
