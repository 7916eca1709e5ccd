/* quantizer.c — training, rotation, and the codec u8; the others are in quantizer_bits.c.
 *
 * The rotation works on any dimension d: with n the largest power of two ≤ d, odd rounds transform
 * the first n coordinates and even ones the last n, each after flipping signs that come from the
 * seed. Four rounds mix every coordinate with every other also where n is little more than d / 2.
 *
 * Section QUANTIZER of an image: struct head below, then f32 mean[dimension]. Little-endian. Signs
 * are made from the seed again. Version 1 is u8, 2 the codecs of fewer bits.
 */
#include "base/hash.h"
#include "base/limits.h"
#include "base/mem.h"
#include "index/quantizer_priv.h"
#include <float.h>
#include <math.h>
#include <string.h>

#define ROUNDS 4u
#define MIDDLE 128.0f
#define VERSION_U8 1u
#define VERSION_NOW 2u

struct head {
    uint32_t version;
    uint32_t dimension;
    uint64_t seed;
    uint64_t trained_on;
    float step;
    uint16_t codec; /* enum ak_quantization; 0 in version 1 */
    uint16_t again;
};
_Static_assert(sizeof(struct head) == 32, "the head is 32 bytes on disk");

static struct ak_quantizer *make(uint32_t dimension, uint64_t seed)
{
    struct ak_quantizer *made = ak_try_zalloc(sizeof *made);
    if (!made) {
        return NULL;
    }
    made->codec = AK_QUANTIZATION_U8;
    made->dimension = dimension;
    made->low = 1u << (31 - (unsigned)__builtin_clz(dimension));
    made->seed = seed;
    made->unscale = 1.0f / sqrtf((float)made->low);
    made->mean = ak_try_zalloc(dimension * sizeof *made->mean);
    made->signs = ak_try_alloc((size_t)ROUNDS * made->low * sizeof *made->signs);
    if (!made->mean || !made->signs) {
        ak_quantizer_close(made);
        return NULL;
    }
    for (uint32_t i = 0; i < ROUNDS * made->low; i++) {
        uint64_t bits = ak_mix64(seed + 0x9e3779b97f4a7c15u * (i / 64 + 1u));
        made->signs[i] = (uint32_t)(bits >> (i % 64) & 1) << 31;
    }
    return made;
}

void ak_quantizer_close(struct ak_quantizer *quantizer)
{
    if (quantizer) {
        ak_free(quantizer->mean);
        ak_free(quantizer->signs);
        ak_free(quantizer);
    }
}

static void set_step(struct ak_quantizer *quantizer, float step)
{
    quantizer->step = step;
    quantizer->inverse = 1.0f / step;
}

/* --- Rotation --- */

static void flip(float *x, const uint32_t *signs, uint32_t n, float factor)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t bits;
        float scaled = x[i] * factor;
        memcpy(&bits, &scaled, sizeof bits);
        bits ^= signs[i];
        memcpy(&x[i], &bits, sizeof bits);
    }
}

void ak_quantizer_rotate(const struct ak_quantizer *q, const struct ak_simd *simd, float *x)
{
    for (uint32_t round = 0; round < ROUNDS; round++) {
        float *part = round % 2 ? x + (q->dimension - q->low) : x;
        flip(part, q->signs + (size_t)round * q->low, q->low, q->unscale);
        simd->fht(part, q->low);
    }
}

/* --- Training --- */

void ak_quantizer_centre(const struct ak_quantizer *q, const float *vector, float factor,
                         float *out)
{
    for (uint32_t i = 0; i < q->dimension; i++) {
        out[i] = factor * vector[i] - q->mean[i];
    }
}

static bool find_mean(struct ak_quantizer *q, uint64_t count, ak_quantizer_row_fn row, void *ctx)
{
    double *sum = ak_try_zalloc(q->dimension * sizeof *sum);
    if (!sum) {
        return false;
    }
    for (uint64_t i = 0; i < count; i++) {
        float factor = 1.0f;
        const float *vector = row(ctx, i, &factor);
        for (uint32_t j = 0; j < q->dimension; j++) {
            sum[j] += (double)ak_quantizer_tame(factor * vector[j]);
        }
    }
    for (uint32_t j = 0; j < q->dimension; j++) {
        q->mean[j] = (float)(sum[j] / (double)count);
    }
    ak_free(sum);
    return true;
}

/* A rotation keeps lengths, so the deviation of rotated coordinates is that of the others. */
static float find_step(const struct ak_quantizer *q, uint64_t count, ak_quantizer_row_fn row,
                       void *ctx)
{
    double sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        float factor = 1.0f;
        const float *vector = row(ctx, i, &factor);
        sum += (double)ak_quantizer_tame(ak_quantizer_spread(q, vector, factor));
    }
    double deviation = sqrt(sum / ((double)count * q->dimension));
    double step = deviation * AK_QUANTIZER_DEVIATIONS / 127.5;
    return step > (double)FLT_MIN && step < 1e15 ? (float)step : 1.0f; /* all rows may be one */
}

enum ak_rc ak_quantizer_train(uint32_t dimension, uint64_t seed, uint64_t count,
                              ak_quantizer_row_fn row, void *ctx, struct ak_quantizer **quantizer,
                              struct ak_err *err)
{
    AK_ASSERT(count > 0 && dimension > 0 && dimension <= AK_DIMENSION_MAX);
    struct ak_quantizer *made = make(dimension, seed);
    if (!made || !find_mean(made, count, row, ctx)) {
        ak_quantizer_close(made);
        return ak_fail(err, AK_NOMEM, "quantizer of %u dimensions", dimension);
    }
    made->trained_on = count;
    set_step(made, find_step(made, count, row, ctx));
    *quantizer = made;
    return AK_OK;
}

uint64_t ak_quantizer_trained_on(const struct ak_quantizer *quantizer)
{
    return quantizer->trained_on;
}

float ak_quantizer_step(const struct ak_quantizer *quantizer)
{
    return quantizer->step;
}

void ak_quantizer_set_trained_on(struct ak_quantizer *quantizer, uint64_t rows)
{
    quantizer->trained_on = rows;
}

void ak_quantizer_set_codec(struct ak_quantizer *quantizer, enum ak_quantization codec)
{
    AK_ASSERT(codec > AK_QUANTIZATION_NONE && codec < AK_QUANTIZATION_COUNT);
    quantizer->codec = codec;
}

enum ak_quantization ak_quantizer_codec(const struct ak_quantizer *quantizer)
{
    return quantizer->codec;
}

uint32_t ak_quantizer_again(const struct ak_quantizer *quantizer)
{
    return quantizer->again;
}

void ak_quantizer_set_again(struct ak_quantizer *quantizer, uint32_t times)
{
    quantizer->again = times;
}

float ak_quantizer_deviation(const struct ak_quantizer *quantizer)
{
    return quantizer->step * (float)(127.5 / AK_QUANTIZER_DEVIATIONS) *
           sqrtf((float)quantizer->dimension);
}

/* --- Codes --- */

size_t ak_quantizer_stride(uint32_t dimension)
{
    return ((size_t)dimension + 63) / 64 * 64;
}

size_t ak_quantizer_code_bytes(const struct ak_quantizer *quantizer)
{
    return quantizer->codec == AK_QUANTIZATION_U8
               ? ak_quantizer_stride(quantizer->dimension)
               : ak_quantization_row_bytes(quantizer->codec, quantizer->dimension);
}

size_t ak_quantizer_code_len(const struct ak_quantizer *quantizer)
{
    size_t dimension = quantizer->dimension;
    switch (quantizer->codec) {
    case AK_QUANTIZATION_U4:
        return ((dimension + 1) / 2 + 15) / 16 * 16;
    case AK_QUANTIZATION_BINARY:
        return (dimension + 63) / 64 * 8;
    case AK_QUANTIZATION_U8:
    case AK_QUANTIZATION_NONE:
    case AK_QUANTIZATION_COUNT:
    default:
        return ak_quantizer_stride(quantizer->dimension);
    }
}

uint32_t ak_quantizer_encode(const struct ak_quantizer *q, const struct ak_simd *simd,
                             const float *vector, float factor, float *scratch, uint8_t *code)
{
    uint32_t clipped = 0;
    ak_quantizer_centre(q, vector, factor, scratch);
    if (q->codec != AK_QUANTIZATION_U8) {
        return ak_quantizer_encode_bits(q, simd, scratch, code);
    }
    ak_quantizer_rotate(q, simd, scratch);
    for (uint32_t i = 0; i < q->dimension; i++) {
        float at = scratch[i] * q->inverse + (MIDDLE + 0.5f);
        float low = at < 255.5f ? at : 255.5f; /* NaN is clipped as well */
        float in = low > 0.5f ? low : 0.5f;
        clipped += !(at >= 0.0f && at < 256.0f);
        code[i] = (uint8_t)(int)in; /* cut, after adding a half: rounded */
    }
    memset(code + q->dimension, (int)MIDDLE, ak_quantizer_stride(q->dimension) - q->dimension);
    return clipped;
}

float ak_quantizer_spread(const struct ak_quantizer *q, const float *vector, float factor)
{
    double sum = 0;
    for (uint32_t i = 0; i < q->dimension; i++) {
        double apart = (double)(factor * vector[i]) - (double)q->mean[i];
        sum += apart * apart;
    }
    return ak_quantizer_tame((float)sum);
}

/* The largest magnitude, tamed. By bits, whose order is that of magnitudes: without branches. */
static float most_of(const float *x, uint32_t n)
{
    const float cap = 1e15f;
    int32_t cap_bits;
    int32_t most = 0;
    memcpy(&cap_bits, &cap, sizeof cap_bits);
    for (uint32_t i = 0; i < n; i++) {
        int32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= INT32_MAX;
        most = bits > most ? bits : most;
    }
    most = most < cap_bits ? most : cap_bits;
    float size;
    memcpy(&size, &most, sizeof size);
    return size;
}

int32_t ak_quantizer_to_bytes(const struct ak_quantizer *q, const float *x, int8_t *query,
                              float *unit)
{
    float most = most_of(x, q->dimension);
    *unit = most > 127.0f * FLT_MIN ? most / 127.0f : 1.0f; /* 1 / unit is finite */
    float inverse = 1.0f / *unit;
    int32_t sum = 0;
    for (uint32_t i = 0; i < q->dimension; i++) {
        float at = x[i] * inverse + 127.5f; /* positive, so that cutting rounds down */
        at = at < 254.5f ? at : 254.5f;     /* NaN as well */
        at = at > 0.5f ? at : 0.5f;
        int32_t byte = (int32_t)at - 127;
        query[i] = (int8_t)byte;
        sum += byte;
    }
    memset(query + q->dimension, 0, ak_quantizer_stride(q->dimension) - q->dimension);
    return sum;
}

void ak_quantizer_query(const struct ak_quantizer *q, const struct ak_simd *simd,
                        const float *vector, bool about_mean, float *scratch, int8_t *query,
                        struct ak_code_query *out)
{
    if (about_mean) {
        ak_quantizer_centre(q, vector, 1.0f, scratch);
    } else {
        memcpy(scratch, vector, q->dimension * sizeof *scratch);
    }
    float length = sqrtf(ak_quantizer_tame(simd->dot(scratch, scratch, q->dimension)));
    ak_quantizer_rotate(q, simd, scratch);
    float unit;
    int32_t sum = ak_quantizer_to_bytes(q, scratch, query, &unit);
    out->gain = unit * q->step;
    out->bias = -out->gain * MIDDLE * (float)sum;
    /* The same for every row, so its rounding changes no order. */
    out->bias += about_mean ? 0.0f : ak_quantizer_tame(simd->dot(vector, q->mean, q->dimension));
    out->spread = about_mean ? ak_quantizer_tame(length * length) : 0.0f;
    /* Rounding to a step is off by step / √12. A row's spread about the mean is known as the
     * deviation that the step was made of. */
    float spread = ak_quantizer_deviation(q);
    out->error = ak_quantizer_tame(hypotf(q->step * length, unit * spread) / sqrtf(12.0f));
}

/* --- In an image --- */

void ak_quantizer_write(const struct ak_quantizer *q, struct ak_buf *out)
{
    const struct head head = {
        .version = q->codec == AK_QUANTIZATION_U8 ? VERSION_U8 : VERSION_NOW,
        .dimension = q->dimension,
        .seed = q->seed,
        .trained_on = q->trained_on,
        .step = q->step,
        .codec = q->codec == AK_QUANTIZATION_U8 ? 0 : (uint16_t)q->codec,
        .again = (uint16_t)q->again,
    };
    ak_buf_add(out, &head, sizeof head);
    ak_buf_add(out, q->mean, q->dimension * sizeof *q->mean);
}

static enum ak_rc read_head(struct ak_str bytes, uint32_t dimension, struct head *head,
                            struct ak_err *err)
{
    uint32_t version = 0;
    if (bytes.len >= sizeof version) { /* first: what follows may be of another size */
        memcpy(&version, bytes.p, sizeof version);
    }
    if (version > VERSION_NOW) {
        return ak_fail(err, AK_UNSUPPORTED,
                       "codes of version %u, this program reads up to %u: a newer one wrote them",
                       version, VERSION_NOW);
    }
    if (version == 0 || bytes.len != sizeof *head + dimension * sizeof(float)) {
        return ak_fail(err, AK_CORRUPT, "quantizer: %zu bytes for %u dimensions", bytes.len,
                       dimension);
    }
    memcpy(head, bytes.p, sizeof *head);
    if (version == VERSION_U8) {
        head->codec = AK_QUANTIZATION_U8;
        head->again = 0;
    } else if (head->codec >= AK_QUANTIZATION_COUNT) {
        return ak_fail(err, AK_UNSUPPORTED,
                       "codes of kind %u, which this program does not know: a newer one wrote them",
                       head->codec);
    }
    if (head->dimension != dimension || !(head->step > 0.0f && head->step <= 1e15f) ||
        (version != VERSION_U8 && (head->codec <= AK_QUANTIZATION_U8 || head->again == 0 ||
                                   head->again > AK_QUANTIZER_AGAIN_MAX))) {
        return ak_fail(err, AK_CORRUPT, "quantizer: dimension %u, step %g, codec %u, factor %u",
                       head->dimension, (double)head->step, head->codec, head->again);
    }
    return AK_OK;
}

enum ak_rc ak_quantizer_read(struct ak_str bytes, uint32_t dimension,
                             struct ak_quantizer **quantizer, struct ak_err *err)
{
    struct head head;
    enum ak_rc rc = read_head(bytes, dimension, &head, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_quantizer *made = make(dimension, head.seed);
    if (!made) {
        return ak_fail(err, AK_NOMEM, "quantizer of %u dimensions", dimension);
    }
    memcpy(made->mean, bytes.p + sizeof head, dimension * sizeof *made->mean);
    if (!ak_f32_all_finite(made->mean, dimension, NULL)) {
        ak_quantizer_close(made);
        return ak_fail(err, AK_CORRUPT, "quantizer: its mean is not finite");
    }
    made->trained_on = head.trained_on;
    made->codec = (enum ak_quantization)head.codec;
    made->again = head.again;
    set_step(made, head.step);
    *quantizer = made;
    return AK_OK;
}
