/* quantise.h — floats made coarser on purpose, so that they take less room in a file.
 *
 * Readers see ordinary floats: the column keeps its type. Threads: pure.
 */
#pragma once
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* To bfloat16 and back (nearest, ties to even): 8 bits of mantissa. *max_error is raised to the
 * largest change. In place is fine. */
void ak_bf16_round(const float *in, float *out, size_t n, double *max_error);

/* 256 values for the floats of a row group, from the smallest to the largest of them: half as dense
 * as equal steps would be, and the other half where the floats are. So no float moves by more than
 * a 255th of the range, however far out single ones lie, and most move by far less. */
struct ak_codebook {
    float values[256];    /* ascending */
    float middles[256];   /* middles[i] and above is nearer to values[i + 1]; the last is NaN */
    uint8_t first[4097];  /* of each 4,096th of the range: the value nearest to its beginning */
    float low, per_float; /* float x is in part (x - low) · per_float */
};

#define AK_CODEBOOK_BINS (1u << 14)
/* What the floats are like: feed each row once, then make. Starts as zeros. */
struct ak_codebook_range {
    uint64_t count;
    float min, max;
    uint32_t bins[AK_CODEBOOK_BINS]; /* by sign, exponent and five bits of mantissa, ascending */
};
/* What is not finite is left out. */
void ak_codebook_look(struct ak_codebook_range *range, const float *in, size_t n);
/* As if `to` had looked at what `more` has looked at as well. */
void ak_codebook_range_merge(struct ak_codebook_range *to, const struct ak_codebook_range *more);
void ak_codebook_make(const struct ak_codebook_range *range, struct ak_codebook *book);
/* Each float to the nearest value of the book, and to its number. out may be `in`. */
void ak_codebook_code(const struct ak_codebook *book, const float *in, float *out, uint8_t *codes,
                      size_t n, double *max_error);
/* The same without the numbers. */
void ak_codebook_round(const struct ak_codebook *book, const float *in, float *out, size_t n,
                       double *max_error);
