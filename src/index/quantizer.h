/* quantizer.h — vectors as bytes, or fewer bits: centred, rotated at random.
 *
 * A row x becomes y = R(x − μ), with μ the mean of the rows it was trained on and R a random
 * rotation (rounds of sign flips and Walsh-Hadamard transforms, Ailon & Chazelle 2009), and then
 * bytes c = round(y / step) + 128, clipped. The rotation spreads what the dimensions hold evenly,
 * so that one step fits them all and no row needs a scale of its own; the mean takes off what all
 * rows share.
 *
 *     q·x  ≈  q·μ + step · Σ z_i (c_i − 128),   z = R q
 *
 * and z again becomes bytes with a sign, so that one integer product of bytes orders the rows.
 * Ranks by it are approximate: searches measure the best of them again in floats.
 *
 * That is the codec u8. Under u4 and binary a coordinate becomes four bits or one, and each row has
 * factors of its own: quantizer_bits.c says how. Training is the same for all; the codec is set
 * afterwards.
 *
 * Under cosine the rows are taken at unit length. The step covers 4.5 standard deviations of the
 * training rows either way; what lies outside is clipped.
 *
 * Threads: immutable once trained and handed out. Memory: 20 bytes a dimension.
 */
#pragma once
#include "base/str.h"
#include "model/collection.h"
#include "simd/simd.h"

struct ak_quantizer;

/* Rows for training, one at a time: the i-th of `count`, f32[dimension], with its factor. */
typedef const float *(*ak_quantizer_row_fn)(void *ctx, uint64_t i, float *factor);
/* AK_NOMEM. Looks at every row twice. */
AK_MUST enum ak_rc ak_quantizer_train(uint32_t dimension, uint64_t seed, uint64_t count,
                                      ak_quantizer_row_fn row, void *ctx,
                                      struct ak_quantizer **quantizer, struct ak_err *err);
void ak_quantizer_close(struct ak_quantizer *quantizer); /* NULL is fine */

/* Of how many rows those for training were a sample; at first: they were all. */
uint64_t ak_quantizer_trained_on(const struct ak_quantizer *quantizer);
void ak_quantizer_set_trained_on(struct ak_quantizer *quantizer, uint64_t rows);
float ak_quantizer_step(const struct ak_quantizer *quantizer);
/* What encode() makes: U8 at first; u4 or binary. */
void ak_quantizer_set_codec(struct ak_quantizer *quantizer, enum ak_quantization codec);
enum ak_quantization ak_quantizer_codec(const struct ak_quantizer *quantizer);
/* u4 and binary: how many rows by code, for each one wanted, must be measured in floats. What a
 * trial found, 1 to AK_QUANTIZER_AGAIN_MAX; kept with the codes. */
#define AK_QUANTIZER_AGAIN_MAX 32u
uint32_t ak_quantizer_again(const struct ak_quantizer *quantizer);
void ak_quantizer_set_again(struct ak_quantizer *quantizer, uint32_t times);
/* Bytes of a query, whatever the codec, and of a u8 code: the dimension rounded up to 64; what is
 * behind the dimension is 128 in a code and 0 in a query. */
size_t ak_quantizer_stride(uint32_t dimension);
/* Bytes of a code of the codec, with its factors; and of what is before the factors. */
size_t ak_quantizer_code_bytes(const struct ak_quantizer *quantizer);
size_t ak_quantizer_code_len(const struct ak_quantizer *quantizer);
/* The code of factor · vector. `scratch` is f32[dimension]. Returns how many coordinates lay
 * outside of what the training rows span (u8: were clipped). */
uint32_t ak_quantizer_encode(const struct ak_quantizer *quantizer, const struct ak_simd *simd,
                             const float *vector, float factor, float *scratch, uint8_t *code);
/* ‖factor · vector − μ‖². */
float ak_quantizer_spread(const struct ak_quantizer *quantizer, const float *vector, float factor);

struct ak_code_query {
    float bias; /* with a code's raw = Σ query_i · c_i: */
    float gain; /* q·x ≈ bias + gain · raw */
    float spread; /* ‖q − μ‖²; with `about_mean`: (q − μ)·(x − μ) ≈ bias + gain · raw */
    float error; /* one standard deviation of what both roundings add to the product */
};
/* query: i8[stride], zero behind the dimension. */
void ak_quantizer_query(const struct ak_quantizer *quantizer, const struct ak_simd *simd,
                        const float *vector, bool about_mean, float *scratch, int8_t *query,
                        struct ak_code_query *out);

/* At the end of a code of u4 or binary; not aligned. */
struct ak_code_factors {
    float factor, own, square, along; /* the top of quantizer_bits.c */
};

/* u4 and binary: with a code's raw = Σ query_i · c_i (dot_x4 over its first `len` bytes) and the
 * factors at its end, the distance, −q·x or with is_l2 ‖q − x‖², is about
 *     bias + factor · (gain · raw + offset) + term_gain · term. */
struct ak_bits_query {
    void (*dot_x4)(const int8_t *query, const uint8_t *const rows[4], size_t len, int32_t out[4]);
    uint32_t len;
    uint32_t factor_at, term_at; /* bytes from the beginning of a code */
    float bias, gain, offset, term_gain;
    float error; /* one standard deviation, of the product */
};
void ak_quantizer_query_bits(const struct ak_quantizer *quantizer, const struct ak_simd *simd,
                             const float *vector, bool is_l2, float *scratch, int8_t *query,
                             struct ak_bits_query *out);

/* From a stored code to others: signed bytes of its levels, twice their size, zero behind the
 * dimension. Returns their sum. */
int32_t ak_quantizer_levels(const struct ak_quantizer *quantizer, const uint8_t *code,
                            int8_t *query);

/* As bytes of an image section, and back. AK_UNSUPPORTED: of a version or codec of later days;
 * AK_CORRUPT: not of this dimension, or damaged. */
void ak_quantizer_write(const struct ak_quantizer *quantizer, struct ak_buf *out);
AK_MUST enum ak_rc ak_quantizer_read(struct ak_str bytes, uint32_t dimension,
                                     struct ak_quantizer **quantizer, struct ak_err *err);
