/* simd_priv.h — what the kernel files of this folder give to simd.c. */
#pragma once
#include "simd/simd.h"

/* One instruction set: the public table and the two calls behind ak_f32_all_finite and
 * ak_f32_norm. Every call takes n ≥ 0 and reads nothing past the n-th element. */
struct ak_simd_kernels {
    struct ak_simd table;
    bool (*all_finite)(const float *v, size_t n);
    double (*sum_of_squares)(const float *v, size_t n); /* each product exact, summed in f64 */
};

extern const struct ak_simd_kernels ak_simd_scalar;
#if defined(__x86_64__)
extern const struct ak_simd_kernels ak_simd_avx2;
extern const struct ak_simd_kernels ak_simd_avx512;
#elif defined(__aarch64__)
extern const struct ak_simd_kernels ak_simd_neon;
extern const struct ak_simd_kernels ak_simd_neon_dotprod;
#endif

/* Serves AVX-512 too: the transform is short, and bound by its loads. */
void ak_simd_fht_avx2(float *x, size_t n);
void ak_simd_fht_scalar(float *x, size_t n);

/* The two float kernels differ in one step; the loops around it are written once and take this
 * as a constant that the inliner folds. */
enum ak_simd_form { AK_SIMD_DOT, AK_SIMD_L2 };

#define AK_SIMD_INLINE static inline __attribute__((always_inline))

/* Bits of a float without its sign, and the smallest of those that is not finite. */
#define AK_F32_BITS 0x7fffffffu
#define AK_F32_INF_BITS 0x7f800000u
