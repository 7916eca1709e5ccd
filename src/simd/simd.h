/* simd.h — distance kernels, chosen once for the processor at hand.
 *
 * All vectors are f32 or 8-bit, any length n ≥ 1, any alignment of their type (64-byte aligned is
 * faster). Kernels accumulate in f32 (32-bit integers for the 8-bit ones, exact up to n = 65,535).
 * Against the scalar f64 reference the f32 kernels stay within (n+1) · 2⁻²³ · Σ|aᵢ·bᵢ| (l2:
 * Σ(aᵢ−bᵢ)²) plus n · 2⁻¹⁴⁹ for products that underflow; tests hold them to it. Where that Σ passes
 * the largest float the result may be infinite or NaN: components below 3e16 in magnitude are safe.
 *
 * l2 is the squared Euclidean distance: callers take the root where a user sees it.
 * The _x4 forms compute one query against four rows at once: out[i] belongs to rows[i].
 *
 * Threads: the table is immutable; kernels are pure. ak_simd_get() may be called from any thread.
 */
#pragma once
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

enum ak_isa { AK_ISA_SCALAR, AK_ISA_AVX2, AK_ISA_AVX512, AK_ISA_NEON, AK_ISA_COUNT };

struct ak_simd {
    enum ak_isa isa;
    const char *name; /* "avx512 (vnni)" … for logs and bench reports */
    float (*dot)(const float *a, const float *b, size_t n);
    float (*l2)(const float *a, const float *b, size_t n);
    void (*dot_x4)(const float *query, const float *const rows[4], size_t n, float out[4]);
    void (*l2_x4)(const float *query, const float *const rows[4], size_t n, float out[4]);
    /* Σ u·s with u unsigned and s signed; exact. */
    int32_t (*dot_u8s8)(const uint8_t *a, const int8_t *b, size_t n);
    void (*dot_u8s8_x4)(const int8_t *query, const uint8_t *const rows[4], size_t n,
                        int32_t out[4]);
    /* The same for codes of four bits: byte i of a row holds in its low half what query[i] is
     * multiplied with, in its high half what query[n + i] is. n: bytes, a multiple of 16. */
    void (*dot_u4s8_x4)(const int8_t *query, const uint8_t *const rows[4], size_t n,
                        int32_t out[4]);
    /* And of one bit, Σ of the query[i] whose bit is set: bit i % 8 of byte i / 8. n: bytes of a
     * row, a multiple of 8; the query has 8·n. */
    void (*dot_b1s8_x4)(const int8_t *query, const uint8_t *const rows[4], size_t n,
                        int32_t out[4]);
    int32_t (*dot_s8)(const int8_t *a, const int8_t *b, size_t n);
    /* Unsigned: from n = 33,026 on, differences of 255 squared can pass INT32_MAX. */
    uint32_t (*l2_s8)(const int8_t *a, const int8_t *b, size_t n);
    /* The Walsh-Hadamard transform in place, not scaled: n a power of two. Twice gives n times x.
     */
    void (*fht)(float *x, size_t n);
    void (*f16_to_f32)(const uint16_t *in, float *out, size_t n); /* IEEE 754 binary16, exact */
    void (*f32_to_f16)(const float *in, uint16_t *out, size_t n); /* nearest even */
};

/* The best table for this processor: detected at the first call, the same for ever after.
 * AKIDB_SIMD=scalar|avx2|avx512|neon in the environment asks for a lower one; a name that is
 * unknown or that this processor lacks is ignored. */
const struct ak_simd *ak_simd_get(void);
/* The table of one instruction set, or NULL when this build or processor lacks it (for tests). */
const struct ak_simd *ak_simd_get_isa(enum ak_isa isa);

/* All finite? *at (may be NULL) is the first that is not. */
bool ak_f32_all_finite(const float *v, size_t n, size_t *at);
/* Euclidean norm, accumulated in f64. */
double ak_f32_norm(const float *v, size_t n);
