/* quantizer_priv.h — what quantizer.c and quantizer_bits.c share: the trained state, and the steps
 * that every code begins with. Never leaves this folder. */
#pragma once
#include "index/quantizer.h"

#define AK_QUANTIZER_DEVIATIONS 4.5 /* either way of the mean, in 127.5 steps */

struct ak_quantizer {
    enum ak_quantization codec;
    uint32_t dimension;
    uint32_t low; /* the largest power of two ≤ dimension */
    uint64_t seed;
    uint64_t trained_on;
    float step;
    float inverse;   /* 1 / step */
    float unscale;   /* 1 / √low: a transform keeps lengths with it */
    uint32_t again;  /* see ak_quantizer_again() */
    float *mean;     /* f32[dimension] */
    uint32_t *signs; /* sign bits to flip: u32[ROUNDS][low] */
};

/* Any float to one that arithmetic goes on with: far outside every code, but not infinite. */
static inline float ak_quantizer_tame(float x)
{
    const float most = 1e15f;
    float low = x < most ? x : most; /* NaN becomes `most` */
    return low > -most ? low : -most;
}

/* factor · vector − μ into out. */
void ak_quantizer_centre(const struct ak_quantizer *quantizer, const float *vector, float factor,
                         float *out);
void ak_quantizer_rotate(const struct ak_quantizer *quantizer, const struct ak_simd *simd,
                         float *x);
/* Signed bytes of rotated coordinates, zero behind the dimension; *unit is what one stands for.
 * Returns their sum. */
int32_t ak_quantizer_to_bytes(const struct ak_quantizer *quantizer, const float *x, int8_t *query,
                              float *unit);
/* The root of the mean of ‖x − μ‖² of the rows that it was trained on. */
float ak_quantizer_deviation(const struct ak_quantizer *quantizer);

/* quantizer_bits.c */
uint32_t ak_quantizer_encode_bits(const struct ak_quantizer *quantizer, const struct ak_simd *simd,
                                  float *centred, uint8_t *code);
