/* codes.c — the codes of an index: made once there are rows enough, kept up with every row.
 *
 * A search walks on codes and measures the best of what it found again in floats, so that what it
 * returns has exact scores in exact order; the codes only decide which rows are looked at.
 * Building measures rows by their codes as well, except under dot and by single bits, which between
 * two rows say too little: there it uses floats, as do exact searches and the validator.
 *
 *   I8  Once there are codes, every row below `slots` has its code (and under l2 its term) before
 *       it can be met: the writer encodes a row before it counts, and publishes new codes only when
 *       all rows of then are encoded.
 *
 * Under l2, ‖q − x‖² = ‖q − μ‖² + ‖x − μ‖² − 2 (q − μ)·(x − μ): the middle one is kept as a float
 * per row, the term. (u4 and binary have it in the row: quantizer_bits.c.)
 */
#include "index/index_priv.h"
#include <stdlib.h>

#define TRAIN_ROWS 2048u      /* before there are so many, walks use floats */
#define DOUBT 5.0f            /* standard deviations: of the difference of two, 3.5 */
#define TRAIN_ROWS_MAX 16384u /* a sample of so many is enough */

struct ak_codes *ak_codes_make(struct ak_index *index, struct ak_quantizer *quantizer)
{
    struct ak_codes *made = ak_try_zalloc(sizeof *made);
    if (!made) {
        ak_quantizer_close(quantizer);
        return NULL;
    }
    made->quantizer = quantizer;
    size_t stride = ak_quantizer_stride(index->options.dimension);
    made->ones = ak_try_alloc_aligned(AK_CACHE_LINE, stride);
    if (!made->ones) {
        ak_quantizer_close(quantizer);
        ak_free(made);
        return NULL;
    }
    memset(made->ones, 1, stride);
    ak_slab_init(&made->rows, ak_quantizer_code_bytes(quantizer), true, index->options.epoch);
    ak_slab_init(&made->terms, sizeof(float), false, index->options.epoch);
    return made;
}

void ak_codes_close(struct ak_codes *codes)
{
    if (codes) {
        ak_slab_release(&codes->rows);
        ak_slab_release(&codes->terms);
        ak_free(codes->ones);
        ak_quantizer_close(codes->quantizer);
        ak_free(codes);
    }
}

bool ak_codes_fit(const struct ak_index *index, uint64_t rows)
{
    const struct ak_codes *codes = ak_index_codes(index);
    return !codes ||
           (rows <= codes->rows.cap && (!ak_codes_have_terms(codes) || rows <= codes->terms.cap));
}

size_t ak_codes_bytes(const struct ak_index *index, uint64_t rows)
{
    const struct ak_codes *codes = ak_index_codes(index);
    if (!codes) {
        return 0;
    }
    return ak_slab_bytes(&codes->rows, rows) +
           (ak_codes_have_terms(codes) ? ak_slab_bytes(&codes->terms, rows) : 0);
}

float ak_codes_factor(const struct ak_index *index, uint64_t slot)
{
    return index->options.metric == AK_METRIC_COSINE
               ? *(const float *)ak_slab_row(&index->scales, slot)
               : 1.0f;
}

float ak_codes_term(const uint8_t *code, size_t stride)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < stride; i++) {
        int32_t c = (int32_t)code[i] - 128;
        sum += (uint64_t)(c * c);
    }
    return (float)sum;
}

uint32_t ak_codes_encode(struct ak_index *index, struct ak_codes *codes, uint64_t slot,
                         float *scratch)
{
    uint8_t *code = ak_slab_row(&codes->rows, slot);
    uint32_t clipped =
        ak_quantizer_encode(codes->quantizer, index->simd, ak_slab_row(&index->vectors, slot),
                            ak_codes_factor(index, slot), scratch, code);
    if (ak_codes_have_terms(codes)) {
        *(float *)ak_slab_row(&codes->terms, slot) = ak_codes_term(code, codes->rows.stride);
    }
    return clipped;
}

void ak_codes_store(struct ak_index *index, uint32_t slot, bool is_reused)
{
    struct ak_codes *codes = ak_index_codes(index);
    if (codes) {
        uint32_t clipped = ak_codes_encode(index, codes, slot, index->code_scratch);
        ak_renewal_note(index, slot, is_reused, clipped);
    }
}

/* --- Starting --- */

struct sample {
    const struct ak_index *index;
    const uint32_t *slots;
};

static const float *sampled_row(void *ctx, uint64_t i, float *factor)
{
    const struct sample *sample = ctx;
    *factor = ak_codes_factor(sample->index, sample->slots[i]);
    return ak_slab_row(&sample->index->vectors, sample->slots[i]);
}

uint32_t ak_index_sample(const struct ak_index *index, uint32_t *slots, uint32_t max)
{
    uint64_t all = ak_index_slots(index); /* before the base, which has room for these */
    const uint64_t *dead = ak_index_words(&index->dead);
    uint64_t live = ak_index_live(index);
    uint64_t every = (live + max - 1) / max;
    uint64_t met = 0;
    uint32_t count = 0;
    every = every ? every : 1;
    for (uint64_t slot = 0; slot < all && count < max; slot++) {
        if (!ak_bits_test(dead, slot) && met++ % every == 0) {
            slots[count++] = (uint32_t)slot;
        }
    }
    return count;
}

struct ak_codes *ak_codes_train(struct ak_index *index, struct ak_err *err)
{
    struct ak_quantizer *quantizer = NULL;
    uint32_t *slots = ak_try_alloc(TRAIN_ROWS_MAX * sizeof *slots);
    if (!slots) {
        (void)!ak_fail(err, AK_NOMEM, "rows to train codes on");
        return NULL;
    }
    struct sample sample = {.index = index, .slots = slots};
    uint64_t live = ak_index_live(index);
    uint64_t count = ak_index_sample(index, slots, TRAIN_ROWS_MAX);
    ak_index_will_read(index, slots, (uint32_t)count);
    enum ak_rc rc = count ? ak_quantizer_train(index->options.dimension, index->options.seed + live,
                                               count, sampled_row, &sample, &quantizer, err)
                          : ak_fail(err, AK_CONFLICT, "no rows to train codes on");
    if (rc == AK_OK) {
        ak_quantizer_set_codec(quantizer, index->options.params.quantization);
        rc = ak_codes_try(index, quantizer, err);
    }
    ak_free(slots);
    if (rc != AK_OK) {
        ak_quantizer_close(quantizer);
        return NULL;
    }
    ak_quantizer_set_trained_on(quantizer, live);
    struct ak_codes *codes = ak_codes_make(index, quantizer);
    if (!codes) {
        (void)!ak_fail(err, AK_NOMEM, "codes");
    }
    return codes;
}

enum ak_rc ak_codes_reserve(struct ak_index *index, struct ak_codes *codes, uint64_t rows,
                            struct ak_err *err)
{
    enum ak_rc rc = ak_index_reserve_slab(index, &codes->rows, rows, err);
    if (rc == AK_OK && ak_codes_have_terms(codes)) {
        rc = ak_index_reserve_slab(index, &codes->terms, rows, err);
    }
    return rc;
}

bool ak_codes_are_due(const struct ak_index *index)
{
    uint32_t from = index->options.codes_from ? index->options.codes_from : TRAIN_ROWS;
    return index->options.params.quantization != AK_QUANTIZATION_NONE && !ak_index_codes(index) &&
           ak_index_live(index) >= from && ak_index_live(index) >= index->renewal.not_before;
}

void ak_codes_start_if_due(struct ak_index *index)
{
    struct ak_err err;
    if (!ak_codes_are_due(index)) {
        return;
    }
    struct ak_codes *codes = ak_codes_train(index, &err);
    /* As much room as vectors have: no row of a reserved batch makes them grow. */
    if (!codes || ak_codes_reserve(index, codes, index->vectors.reserved, &err) != AK_OK ||
        ak_codes_scratch(index, &err) != AK_OK) {
        ak_codes_close(codes);
        index->renewal.not_before = 2 * ak_index_live(index);
        return;
    }
    uint64_t slots = ak_index_slots(index);
    for (uint64_t slot = 0; slot < slots; slot++) {
        (void)ak_codes_encode(index, codes, slot, index->code_scratch);
    }
    /* Release pairs with ak_index_codes(): who sees them sees every row's (I8). */
    atomic_store_explicit(&index->codes, codes, memory_order_release);
}

enum ak_rc ak_codes_scratch(struct ak_index *index, struct ak_err *err)
{
    if (!index->code_scratch) {
        index->code_scratch = ak_try_alloc_aligned(
            AK_CACHE_LINE, ak_quantizer_stride(index->options.dimension) * sizeof(float));
    }
    return index->code_scratch ? AK_OK : ak_fail(err, AK_NOMEM, "room to encode a row in");
}

/* --- Measuring --- */

/* The codes, unless so much was clipped since they were made that floats do better. */
static const struct ak_codes *trusted(const struct ak_index *index)
{
    return atomic_load_explicit(&index->renewal.is_doubtful, memory_order_relaxed)
               ? NULL
               : ak_index_codes(index);
}

static void set_rows(const struct ak_codes *codes, const int8_t *query, struct ak_measure *measure)
{
    measure->vectors = ak_slab_base(&codes->rows);
    measure->stride = codes->rows.stride;
    measure->scales = NULL;
    measure->code_query = query;
}

static void ask_bits(const struct ak_index *index, const struct ak_quantizer *quantizer,
                     const float *vector, float *scratch, int8_t *query, struct ak_measure *measure)
{
    struct ak_bits_query asked;
    bool is_l2 = index->options.metric == AK_METRIC_L2;
    ak_quantizer_query_bits(quantizer, index->simd, vector, is_l2, scratch, query, &asked);
    measure->scales = NULL;
    measure->code_query = query;
    measure->code_dot_x4 = asked.dot_x4;
    measure->code_len = asked.len;
    measure->code_again = ak_quantizer_again(quantizer);
    measure->code_factor_at = asked.factor_at;
    measure->code_term_at = asked.term_at;
    measure->code_bias = asked.bias;
    measure->code_gain = asked.gain;
    measure->code_offset = asked.offset;
    measure->code_term_gain = asked.term_gain;
    bool is_unit = index->options.metric == AK_METRIC_COSINE;
    measure->code_doubt = is_unit ? DOUBT * asked.error : INFINITY;
}

void ak_codes_ask(const struct ak_index *index, const struct ak_quantizer *quantizer,
                  const float *vector, float *scratch, int8_t *query, struct ak_measure *measure)
{
    struct ak_code_query asked;
    bool is_l2 = index->options.metric == AK_METRIC_L2;
    if (ak_quantizer_codec(quantizer) != AK_QUANTIZATION_U8) {
        ask_bits(index, quantizer, vector, scratch, query, measure);
        return;
    }
    float step = ak_quantizer_step(quantizer);
    ak_quantizer_query(quantizer, index->simd, vector, is_l2, scratch, query, &asked);
    measure->scales = NULL;
    measure->code_query = query;
    measure->code_bias = is_l2 ? asked.spread - 2.0f * asked.bias : -asked.bias;
    measure->code_gain = is_l2 ? -2.0f * asked.gain : -asked.gain;
    measure->code_term_gain = is_l2 ? step * step : 0.0f;
    /* Rows of any length may be clipped by more than rounding, and no bound is known for them. */
    bool is_unit = index->options.metric == AK_METRIC_COSINE;
    measure->code_doubt = is_unit ? DOUBT * asked.error : INFINITY;
}

bool ak_codes_measure(const struct ak_index *index, struct ak_context *context,
                      struct ak_measure *measure)
{
    const struct ak_codes *codes = trusted(index);
    if (!codes || !ak_context_fit_codes(context, index->options.dimension)) {
        return false;
    }
    ak_codes_ask(index, codes->quantizer, context->query, context->code_scratch,
                 context->code_query, measure);
    set_rows(codes, context->code_query, measure);
    if (index->options.metric == AK_METRIC_L2 && ak_codes_have_terms(codes)) {
        measure->code_terms = (const float *)(const void *)ak_slab_base(&codes->terms);
    }
    return true;
}

/* The same for u4. */
static void measure_row_bits(const struct ak_index *index, const struct ak_codes *codes,
                             uint32_t slot, int8_t *room, struct ak_measure *measure)
{
    struct ak_code_factors factors;
    const uint8_t *code = ak_slab_row(&codes->rows, slot);
    uint32_t len = (uint32_t)ak_quantizer_code_len(codes->quantizer);
    float half = index->options.metric == AK_METRIC_COSINE ? 0.5f : 1.0f; /* 1 − cos, or ‖‖² */
    memcpy(&factors, code + len, sizeof factors);
    int32_t sum = ak_quantizer_levels(codes->quantizer, code, room);
    set_rows(codes, room, measure);
    measure->code_dot_x4 = index->simd->dot_u4s8_x4;
    measure->code_len = len;
    measure->code_factor_at = len + (uint32_t)offsetof(struct ak_code_factors, own);
    measure->code_term_at = len + (uint32_t)offsetof(struct ak_code_factors, square);
    measure->code_bias = half * factors.square;
    measure->code_gain = -half * factors.own; /* twice, of levels of twice their size */
    measure->code_offset = 7.5f * half * factors.own * (float)sum;
    measure->code_term_gain = half;
    measure->bias = 0.0f;
    measure->gain = 1.0f;
    measure->slack = 0.0f;
}

bool ak_codes_measure_row(const struct ak_index *index, uint32_t slot, int8_t room[AK_CODE_ROOM],
                          struct ak_measure *measure)
{
    const struct ak_codes *codes = trusted(index);
    size_t query_len = ak_quantizer_stride(index->options.dimension);
    if (!codes || index->options.metric == AK_METRIC_DOT || query_len > AK_CODE_ROOM ||
        ak_quantizer_codec(codes->quantizer) == AK_QUANTIZATION_BINARY) {
        return false;
    }
    if (!ak_codes_have_terms(codes)) {
        measure_row_bits(index, codes, slot, room, measure);
        return true;
    }
    const uint8_t *code = ak_slab_row(&codes->rows, slot);
    size_t stride = codes->rows.stride;
    for (size_t i = 0; i < stride; i++) {
        room[i] = (int8_t)(code[i] ^ 0x80); /* c − 128 */
    }
    int32_t sum = index->simd->dot_u8s8(codes->ones, room, stride);
    float step = ak_quantizer_step(codes->quantizer);
    float gain = index->options.metric == AK_METRIC_COSINE ? 0.5f * step * step : step * step;
    set_rows(codes, room, measure);
    measure->code_terms = (const float *)(const void *)ak_slab_base(&codes->terms);
    measure->code_term_gain = gain;
    measure->code_gain = -2.0f * gain;
    measure->code_bias = gain * (measure->code_terms[slot] + 256.0f * (float)sum);
    measure->bias = 0.0f;
    measure->gain = 1.0f;
    measure->slack = 0.0f;
    return true;
}

/* --- Checking --- */

/* A rounding at the border of two bytes may differ between processors. */
#define BYTES_APART 1

static bool bytes_agree(const uint8_t *code, const uint8_t *wanted, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        int apart = (int)code[i] - (int)wanted[i];
        if (apart > BYTES_APART || apart < -BYTES_APART) {
            return false;
        }
    }
    return true;
}

/* One level of four bits, or a bit in a hundred, may differ as well; then factors by as little. */
static bool bits_agree(const struct ak_quantizer *quantizer, const uint8_t *code,
                       const uint8_t *wanted)
{
    struct ak_code_factors is;
    struct ak_code_factors right;
    size_t len = ak_quantizer_code_len(quantizer);
    bool is_u4 = ak_quantizer_codec(quantizer) == AK_QUANTIZATION_U4;
    size_t apart = 0;
    for (size_t i = 0; i < len; i++) {
        int low = (code[i] & 15) - (wanted[i] & 15);
        int high = (code[i] >> 4) - (wanted[i] >> 4);
        if (is_u4 && (abs(low) > 1 || abs(high) > 1)) {
            return false;
        }
        apart += (size_t)__builtin_popcount((unsigned)(code[i] ^ wanted[i]));
    }
    memcpy(&is, code + len, sizeof is);
    memcpy(&right, wanted + len, sizeof right);
    float size = right.square + fabsf(right.along);
    return (is_u4 || apart <= 1 + len / 12) &&
           fabsf(is.factor - right.factor) <= 0.02f * fabsf(right.factor) &&
           fabsf(is.own - right.own) <= 0.02f * fabsf(right.own) &&
           fabsf(is.square - right.square) <= 1e-3f * size &&
           fabsf(is.along - right.along) <= 1e-3f * size + 1e-6f;
}

static enum ak_rc check_row(const struct ak_codes *codes, uint64_t slot, const uint8_t *wanted,
                            struct ak_err *err)
{
    const uint8_t *code = ak_slab_row(&codes->rows, slot);
    size_t stride = codes->rows.stride;
    bool agrees = ak_codes_have_terms(codes) ? bytes_agree(code, wanted, stride)
                                             : bits_agree(codes->quantizer, code, wanted);
    if (!agrees) {
        return ak_fail(err, AK_CORRUPT, "the code of row %llu is not that of its vector (I8)",
                       (unsigned long long)slot);
    }
    if (ak_codes_have_terms(codes)) {
        float term = *(const float *)ak_slab_row(&codes->terms, slot);
        float right = ak_codes_term(code, stride);
        if (term < right || term > right) {
            return ak_fail(err, AK_CORRUPT, "the term of row %llu is not that of its code (I8)",
                           (unsigned long long)slot);
        }
    }
    return AK_OK;
}

enum ak_rc ak_codes_check(const struct ak_index *index, struct ak_err *err)
{
    const struct ak_codes *codes = ak_index_codes(index);
    if (!codes) {
        return AK_OK;
    }
    float *scratch = ak_try_alloc(ak_quantizer_stride(index->options.dimension) * sizeof *scratch);
    uint8_t *wanted = ak_try_alloc(codes->rows.stride);
    enum ak_rc rc = scratch && wanted ? AK_OK : ak_fail(err, AK_NOMEM, "check of codes");
    for (uint64_t slot = 0; slot < ak_index_slots(index) && rc == AK_OK; slot++) {
        if (ak_index_is_live(index, (uint32_t)slot)) {
            (void)ak_quantizer_encode(codes->quantizer, index->simd,
                                      ak_slab_row(&index->vectors, slot),
                                      ak_codes_factor(index, slot), scratch, wanted);
            rc = check_row(codes, slot, wanted, err);
        }
    }
    ak_free(scratch);
    ak_free(wanted);
    return rc;
}
