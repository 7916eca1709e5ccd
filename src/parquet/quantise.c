/* quantise.c — bfloat16 and codebooks. */
#include "parquet/quantise.h"
#include <float.h>
#include <math.h>
#include <string.h>

static void note(double *most, float before, float after)
{
    double error = fabs((double)before - (double)after);
    *most = error > *most ? error : *most;
}

void ak_bf16_round(const float *in, float *out, size_t n, double *max_error)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        float before = in[i];
        memcpy(&bits, &before, sizeof bits);
        bool is_finite = (bits & 0x7f800000u) != 0x7f800000u; /* infinities and NaN stay */
        bits += is_finite ? 0x7fffu + (bits >> 16 & 1) : 0;
        bits &= 0xffff0000u;
        if (is_finite && (bits & 0x7fffffffu) == 0x7f800000u) {
            bits -= 0x10000u; /* rounded up past the largest: the largest */
        }
        float after;
        memcpy(&after, &bits, sizeof after);
        out[i] = after;
        if (is_finite) {
            note(max_error, before, after);
        }
    }
}

/* Values farther out than this many deviations are drawn in. */
#define CLIP 4.2

void ak_codebook_look(struct ak_codebook_range *range, const float *in, size_t n)
{
    if (range->count == 0) {
        range->min = FLT_MAX;
        range->max = -FLT_MAX;
    }
    for (size_t i = 0; i < n; i++) {
        range->sum += (double)in[i];
        range->sum_squares += (double)in[i] * (double)in[i];
        range->min = in[i] < range->min ? in[i] : range->min;
        range->max = in[i] > range->max ? in[i] : range->max;
    }
    range->count += n;
}

void ak_codebook_make(const struct ak_codebook_range *range, struct ak_codebook *book)
{
    double count = range->count ? (double)range->count : 1;
    double mean = range->sum / count;
    double variance = range->sum_squares / count - mean * mean;
    double reach = CLIP * sqrt(variance > 0 ? variance : 0);
    double low = mean - reach > (double)range->min ? mean - reach : (double)range->min;
    double high = mean + reach < (double)range->max ? mean + reach : (double)range->max;
    double step = high > low ? (high - low) / 255 : 0;
    for (int i = 0; i < 256; i++) {
        book->values[i] = (float)(low + step * i);
    }
    book->low = (float)low;
    book->inverse = step > 0 ? (float)(1 / step) : 0.0f;
}

void ak_codebook_round(const struct ak_codebook *book, const float *in, float *out, size_t n,
                       double *max_error)
{
    for (size_t i = 0; i < n; i++) {
        float at = (in[i] - book->low) * book->inverse + 0.5f;
        float inside = at > 0.0f ? at < 255.0f ? at : 255.0f : 0.0f;
        float before = in[i];
        out[i] = book->values[(int)inside];
        note(max_error, before, out[i]);
    }
}
