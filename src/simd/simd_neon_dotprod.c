/* simd_neon_dotprod.c — NEON with SDOT and UDOT (ARMv8.2): the 8-bit kernels anew, four products
 * per lane and instruction; the others are those of simd_neon.c. */
#include "simd/simd_priv.h"

#if defined(__aarch64__)
#if !defined(__ARM_FEATURE_DOTPROD)
#error "this file wants -march=armv8.2-a+dotprod (cmake/simd.cmake sets it)"
#endif
#include "simd/simd_neon_bytes_priv.h"
#include "simd/simd_neon_priv.h"

const struct ak_simd_kernels ak_simd_neon_dotprod = {
    .table = {.isa = AK_ISA_NEON,
              .name = "neon (dotprod)",
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
