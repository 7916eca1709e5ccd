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

/* 256 values for the floats of a row group: equally spaced over all but the farthest part in ten
 * thousand on either side, which are drawn in. */
struct ak_codebook {
    float values[256];
    float low;     /* the first value */
    float inverse; /* steps per unit; 0 when all values are one */
};
/* `sum`, `sum_sq`… of a first pass decide: feed each row once, then make. */
struct ak_codebook_range {
    uint64_t count;
    double sum, sum_squares;
    float min, max;
};
void ak_codebook_look(struct ak_codebook_range *range, const float *in, size_t n);
void ak_codebook_make(const struct ak_codebook_range *range, struct ak_codebook *book);
/* Each float to the nearest value of the book. */
void ak_codebook_round(const struct ak_codebook *book, const float *in, float *out, size_t n,
                       double *max_error);
