/* simd_neon_priv.h — the kernels of simd_neon.c that simd_neon_dotprod.c offers too. */
#pragma once
#include "simd/simd_priv.h"

float ak_simd_neon_dot(const float *a, const float *b, size_t n);
float ak_simd_neon_l2(const float *a, const float *b, size_t n);
void ak_simd_neon_dot_x4(const float *query, const float *const rows[4], size_t n, float out[4]);
void ak_simd_neon_l2_x4(const float *query, const float *const rows[4], size_t n, float out[4]);
void ak_simd_neon_f16_to_f32(const uint16_t *in, float *out, size_t n);
void ak_simd_neon_f32_to_f16(const float *in, uint16_t *out, size_t n);
bool ak_simd_neon_all_finite(const float *v, size_t n);
double ak_simd_neon_sum_of_squares(const float *v, size_t n);
