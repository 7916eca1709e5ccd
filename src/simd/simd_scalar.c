/* simd_scalar.c — kernels in plain C, for any processor.
 *
 * Float sums keep four accumulators: that shortens the rounding chain and the latency chain alike,
 * and compilers put the four into one register. Integer sums are exact, so theirs is one. */
#include "simd/simd_priv.h"
#include <string.h>

AK_SIMD_INLINE float term(enum ak_simd_form form, float a, float b)
{
    return form == AK_SIMD_L2 ? (a - b) * (a - b) : a * b;
}

AK_SIMD_INLINE float sum_terms(enum ak_simd_form form, const float *a, const float *b, size_t n)
{
    float s0 = 0;
    float s1 = 0;
    float s2 = 0;
    float s3 = 0;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        s0 += term(form, a[i], b[i]);
        s1 += term(form, a[i + 1], b[i + 1]);
        s2 += term(form, a[i + 2], b[i + 2]);
        s3 += term(form, a[i + 3], b[i + 3]);
    }
    for (; i < n; i++) {
        s0 += term(form, a[i], b[i]);
    }
    return (s0 + s1) + (s2 + s3);
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
    for (int r = 0; r < 4; r++) {
        out[r] = dot(query, rows[r], n);
    }
}

static void l2_x4(const float *query, const float *const rows[4], size_t n, float out[4])
{
    for (int r = 0; r < 4; r++) {
        out[r] = l2(query, rows[r], n);
    }
}

static int32_t dot_u8s8(const uint8_t *a, const int8_t *b, size_t n)
{
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

static void dot_u8s8_x4(const int8_t *query, const uint8_t *const rows[4], size_t n, int32_t out[4])
{
    for (int r = 0; r < 4; r++) {
        out[r] = dot_u8s8(rows[r], query, n);
    }
}

static void dot_u4s8_x4(const int8_t *query, const uint8_t *const rows[4], size_t n, int32_t out[4])
{
    for (int r = 0; r < 4; r++) {
        int32_t sum = 0;
        for (size_t i = 0; i < n; i++) {
            sum += (rows[r][i] & 15) * query[i] + (rows[r][i] >> 4) * query[n + i];
        }
        out[r] = sum;
    }
}

static void dot_b1s8_x4(const int8_t *query, const uint8_t *const rows[4], size_t n, int32_t out[4])
{
    for (int r = 0; r < 4; r++) {
        int32_t sum = 0;
        for (size_t i = 0; i < 8 * n; i++) {
            sum += (rows[r][i / 8] >> (i % 8) & 1) * query[i];
        }
        out[r] = sum;
    }
}

static int32_t dot_s8(const int8_t *a, const int8_t *b, size_t n)
{
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

static uint32_t l2_s8(const int8_t *a, const int8_t *b, size_t n)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t d = a[i] - b[i];
        sum += (uint32_t)(d * d);
    }
    return sum;
}

static float bits_to_f32(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t f32_to_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* binary16: sign 1, exponent 5 (bias 15), fraction 10. Signalling NaNs come out quiet, their
 * payload kept, as the processors' own instructions do. */
static float half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = (half >> 10) & 0x1f;
    uint32_t fraction = half & 0x3ff;
    if (exponent == 0) { /* zero or subnormal: fraction × 2⁻²⁴, exact in a float */
        float magnitude = (float)fraction * 0x1p-24f;
        return bits_to_f32(f32_to_bits(magnitude) | sign);
    }
    if (exponent == 0x1f) {
        uint32_t quiet = fraction ? 0x00400000u : 0;
        return bits_to_f32(sign | AK_F32_INF_BITS | quiet | fraction << 13);
    }
    return bits_to_f32(sign | (exponent + 112) << 23 | fraction << 13);
}

static uint16_t float_to_half(float value)
{
    uint32_t bits = f32_to_bits(value);
    uint32_t sign = bits >> 16 & 0x8000;
    uint32_t magnitude = bits & AK_F32_BITS;
    if (magnitude > AK_F32_INF_BITS) {
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x1ff));
    }
    if (magnitude >= 0x477ff000) { /* 65,520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00);
    }
    if (magnitude < 0x38800000) { /* below 2⁻¹⁴: the sum's last place is 2⁻²⁴, so + rounds */
        uint32_t rounded = f32_to_bits(bits_to_f32(magnitude) + 0.5f);
        return (uint16_t)(sign | (rounded - 0x3f000000u));
    }
    uint32_t odd = magnitude >> 13 & 1;
    return (uint16_t)(sign | ((magnitude - (112u << 23) + 0xfff + odd) >> 13));
}

static void f16_to_f32(const uint16_t *in, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = half_to_float(in[i]);
    }
}

static void f32_to_f16(const float *in, uint16_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = float_to_half(in[i]);
    }
}

static bool all_finite(const float *v, size_t n)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        bad |= (f32_to_bits(v[i]) & AK_F32_BITS) >= AK_F32_INF_BITS;
    }
    return !bad;
}

static double sum_of_squares(const float *v, size_t n)
{
    double s0 = 0;
    double s1 = 0;
    size_t i = 0;
    for (; i + 2 <= n; i += 2) {
        s0 += (double)v[i] * (double)v[i];
        s1 += (double)v[i + 1] * (double)v[i + 1];
    }
    if (i < n) {
        s0 += (double)v[i] * (double)v[i];
    }
    return s0 + s1;
}

void ak_simd_fht_scalar(float *x, size_t n)
{
    for (size_t half = 1; half < n; half *= 2) {
        for (size_t i = 0; i < n; i += 2 * half) {
            for (size_t j = i; j < i + half; j++) {
                float a = x[j];
                float b = x[j + half];
                x[j] = a + b;
                x[j + half] = a - b;
            }
        }
    }
}

const struct ak_simd_kernels ak_simd_scalar = {
    .table = {.isa = AK_ISA_SCALAR,
              .name = "scalar",
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
              .fht = ak_simd_fht_scalar,
              .f16_to_f32 = f16_to_f32,
              .f32_to_f16 = f32_to_f16},
    .all_finite = all_finite,
    .sum_of_squares = sum_of_squares,
};
