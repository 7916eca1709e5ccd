/* quantizer_bits.c — codes of four bits and of one a dimension, with factors of each row's own.
 *
 * With so few bits one step for all rows does not do: a row shorter than another would have half
 * the levels. So a row keeps the direction of o = R(x − μ) only, as levels v_i (−½ or ½ by the sign
 * of o_i; −7½ to 7½ in steps of STEP_U4 deviations of the row's own coordinates, which are nearly
 * normal after the rotation: the best uniform step for sixteen levels, Max 1960), and four floats:
 *
 *     factor  ‖o‖² / (v·o)     own  ‖o‖ / ‖v‖     square  ‖o‖²     along  μ·(x − μ)
 *
 *     (q − aμ)·(x − μ)  ≈  factor · v·R(q − aμ)
 *
 * That is the estimator of RaBitQ (Gao & Long, SIGMOD 2024, equation 13; with more bits: Gao et
 * al., SIGMOD 2025), written without the unit lengths of the paper: over the choice of the rotation
 * it has no bias, and its error goes as ‖q − aμ‖ ‖o‖ √(1/c² − 1) / √dimension, with c the cosine
 * between v and o: 0.80 for one bit, 0.994 for four.
 *
 * Between two rows o·p ≈ own_o own_p v_o·v_p, so that a row is at distance 0 from itself.
 *
 * Departures. The paper centres the query as it does the rows, which suits distances; for products
 * q·x = q·μ + a along + (q − aμ)·(x − μ) holds for every a, and a = q·μ / ‖μ‖² makes what is
 * estimated, and so the error, smallest. The query keeps eight bits a dimension instead of four:
 * their rounding adds next to nothing to that of the rows. And bits are multiplied, not counted:
 * src/simd/simd_avx512.c.
 *
 * A coordinate beyond what the training rows span counts as clipped here too, though nothing is
 * clipped: what drifts so far from the mean is coded by fewer of its bits than it could be.
 */
#include "base/mem.h"
#include "index/quantizer_priv.h"
#include <math.h>
#include <string.h>

#define STEP_U4 0.335f
#define ERROR_U4 0.109f     /* √(1/c² − 1) */
#define ERROR_BINARY 0.756f /* √(π/2 − 1) */

/* What lies outside the training rows, as bytes would be clipped. */
static uint32_t count_outside(const struct ak_quantizer *q, const float *x)
{
    const float most = 127.5f * q->step;
    uint32_t outside = 0;
    for (uint32_t i = 0; i < q->dimension; i++) {
        outside += !(x[i] > -most && x[i] < most);
    }
    return outside;
}

/* A row's levels beside the row itself. */
struct levels {
    float product; /* v·o */
    float square;  /* ‖v‖² */
};

/* v·o is Σ|o_i| / 2. */
static struct levels encode_binary(const struct ak_quantizer *q, const float *x, uint8_t *code)
{
    float sums[8] = {0}; /* one for each bit of a byte: a vector of them */
    for (uint32_t i = 0; i < q->dimension; i += 8) {
        uint32_t some = q->dimension - i < 8 ? q->dimension - i : 8;
        unsigned bits = 0;
        for (uint32_t j = 0; j < some; j++) {
            bits |= (unsigned)(x[i + j] >= 0.0f) << j;
            sums[j] += fabsf(x[i + j]);
        }
        code[i / 8] = (uint8_t)bits;
    }
    float low = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    float high = (sums[4] + sums[5]) + (sums[6] + sums[7]);
    return (struct levels){0.5f * (low + high), 0.25f * (float)q->dimension};
}

/* Halves of bytes as the kernels want them: see simd.h. */
static struct levels encode_u4(const struct ak_quantizer *q, const float *x, float square,
                               uint8_t *code)
{
    size_t half = ak_quantizer_code_len(q);
    float step = STEP_U4 * sqrtf(square / (float)q->dimension);
    float inverse = step > 1e-30f ? 1.0f / step : 0.0f;
    float products[4] = {0};
    float squares[4] = {0};
    for (uint32_t i = 0; i < q->dimension; i++) {
        float at = x[i] * inverse + 8.0f;
        at = at < 15.5f ? at : 15.5f; /* NaN as well */
        at = at > 0.5f ? at : 0.5f;
        uint32_t level = (uint32_t)at;
        float v = (float)level - 7.5f;
        products[i % 4] += x[i] * v;
        squares[i % 4] += v * v;
        if (i < half) {
            code[i] = (uint8_t)level;
        } else {
            code[i - half] = (uint8_t)(code[i - half] | level << 4);
        }
    }
    return (struct levels){(products[0] + products[1]) + (products[2] + products[3]),
                           (squares[0] + squares[1]) + (squares[2] + squares[3])};
}

uint32_t ak_quantizer_encode_bits(const struct ak_quantizer *q, const struct ak_simd *simd,
                                  float *centred, uint8_t *code)
{
    struct ak_code_factors factors = {
        .square = ak_quantizer_tame(simd->dot(centred, centred, q->dimension)),
        .along = ak_quantizer_tame(simd->dot(centred, q->mean, q->dimension)),
    };
    memset(code, 0, ak_quantizer_code_bytes(q));
    ak_quantizer_rotate(q, simd, centred);
    struct levels levels = q->codec == AK_QUANTIZATION_U4
                               ? encode_u4(q, centred, factors.square, code)
                               : encode_binary(q, centred, code);
    if (levels.product > 0.0f) { /* else it is the mean itself */
        factors.factor = ak_quantizer_tame(factors.square / levels.product);
    }
    factors.own = ak_quantizer_tame(sqrtf(factors.square / levels.square));
    memcpy(code + ak_quantizer_code_len(q), &factors, sizeof factors);
    return count_outside(q, centred);
}

/* a of the top; 0 where there is no mean to speak of. */
static float share_of_mean(const struct ak_quantizer *q, const struct ak_simd *simd,
                           const float *vector)
{
    float square = simd->dot(q->mean, q->mean, q->dimension);
    float product = simd->dot(q->mean, vector, q->dimension);
    return square > 1e-30f ? ak_quantizer_tame(product / square) : 0.0f;
}

void ak_quantizer_query_bits(const struct ak_quantizer *q, const struct ak_simd *simd,
                             const float *vector, bool is_l2, float *scratch, int8_t *query,
                             struct ak_bits_query *out)
{
    bool is_u4 = q->codec == AK_QUANTIZATION_U4;
    float share = is_l2 ? 1.0f : share_of_mean(q, simd, vector);
    float unit;
    for (uint32_t i = 0; i < q->dimension; i++) {
        scratch[i] = vector[i] - share * q->mean[i];
    }
    float square = ak_quantizer_tame(simd->dot(scratch, scratch, q->dimension));
    ak_quantizer_rotate(q, simd, scratch);
    int32_t sum = ak_quantizer_to_bytes(q, scratch, query, &unit);
    float times = is_l2 ? -2.0f : -1.0f;
    size_t len = ak_quantizer_code_len(q);
    out->len = (uint32_t)len;
    out->dot_x4 = is_u4 ? simd->dot_u4s8_x4 : simd->dot_b1s8_x4;
    out->gain = times * unit;
    out->offset = -out->gain * (is_u4 ? 7.5f : 0.5f) * (float)sum;
    out->bias = is_l2 ? square : -ak_quantizer_tame(simd->dot(vector, q->mean, q->dimension));
    out->term_gain = is_l2 ? 1.0f : -share;
    out->factor_at = (uint32_t)(len + offsetof(struct ak_code_factors, factor));
    out->term_at = (uint32_t)(len + (is_l2 ? offsetof(struct ak_code_factors, square)
                                           : offsetof(struct ak_code_factors, along)));
    float deviation = ak_quantizer_deviation(q);
    float of_rows = (is_u4 ? ERROR_U4 : ERROR_BINARY) * sqrtf(square / (float)q->dimension);
    out->error = ak_quantizer_tame(hypotf(of_rows, unit / sqrtf(12.0f)) * deviation);
}

int32_t ak_quantizer_levels(const struct ak_quantizer *q, const uint8_t *code, int8_t *query)
{
    size_t half = ak_quantizer_code_len(q);
    int32_t sum = 0;
    for (uint32_t i = 0; i < q->dimension; i++) {
        int32_t level = 0;
        if (q->codec == AK_QUANTIZATION_U4) {
            level = 2 * (i < half ? code[i] & 15 : code[i - half] >> 4) - 15;
        } else {
            level = 2 * (code[i / 8] >> (i % 8) & 1) - 1;
        }
        query[i] = (int8_t)level;
        sum += level;
    }
    memset(query + q->dimension, 0, ak_quantizer_stride(q->dimension) - q->dimension);
    return sum;
}
