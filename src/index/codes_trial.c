/* codes_trial.c — do codes keep the order of neighbours? Measured on the rows before they are used.
 *
 * A code is off by a part of the step, and the step is a part of the whole spread: where neighbours
 * are nearer to each other than that, as in rows along a line, codes tell them apart no better than
 * chance. So new codes are tried: some rows are queries, and of the NEAR nearest rows of each, as
 * floats have them, SHARE must be among the KEPT best by code, which is what a search measures
 * again. By distance, so that equal rows may stand for each other. Sampled rows lie further apart
 * than all rows do: the trial is lenient, and repeated whenever codes are made anew.
 */
#include "index/index_priv.h"

#define ROWS_MAX 2048u
#define QUERIES 32u
#define NEAR 10u
#define KEPT 20u
#define SHARE 0.95

struct trial {
    const struct ak_index *index;
    const struct ak_quantizer *quantizer;
    uint32_t *slots; /* of the rows */
    uint32_t *ids;   /* 0, 1, …: places in `codes` */
    uint32_t count;  /* a multiple of four */
    size_t stride;
    uint8_t *codes;
    float *terms;
    float *exact;
    float *approximate;
    float *scratch;
    int8_t *query;
};

/* The n-th smallest, n from 1 to KEPT. */
static float nth_smallest(const float *values, uint32_t count, uint32_t n)
{
    float best[KEPT];
    uint32_t have = 0;
    best[n - 1] = FLT_MAX;
    for (uint32_t i = 0; i < count; i++) {
        if (have == n && values[i] >= best[n - 1]) {
            continue;
        }
        uint32_t at = have < n ? have++ : n - 1;
        for (; at > 0 && best[at - 1] > values[i]; at--) {
            best[at] = best[at - 1];
        }
        best[at] = values[i];
    }
    return best[n - 1];
}

/* How many of the nearest would be measured again. */
static uint32_t try_query(struct trial *t, uint32_t row)
{
    const struct ak_index *index = t->index;
    const float *vector = ak_slab_row(&index->vectors, t->slots[row]);
    struct ak_measure exact;
    ak_measure_for_query(index, vector, 1.0f, &exact);
    struct ak_measure approximate = exact;
    ak_codes_ask(index, t->quantizer, vector, t->scratch, t->query, &approximate);
    approximate.vectors = (const char *)t->codes;
    approximate.stride = t->stride;
    approximate.code_terms = approximate.code_term_gain > 0.0f ? t->terms : NULL;
    for (uint32_t i = 0; i < t->count; i += 4) {
        ak_measure_x4(&exact, t->slots + i, t->exact + i);
        ak_measure_x4(&approximate, t->ids + i, t->approximate + i);
    }
    float near = nth_smallest(t->exact, t->count, NEAR);
    float kept = nth_smallest(t->approximate, t->count, KEPT);
    uint32_t found = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        found += t->exact[i] <= near && t->approximate[i] <= kept;
    }
    return found < NEAR ? found : NEAR;
}

static bool room(struct trial *t)
{
    t->slots = ak_try_alloc(t->count * sizeof *t->slots);
    t->ids = ak_try_alloc(t->count * sizeof *t->ids);
    t->codes = ak_try_alloc_aligned(AK_CACHE_LINE, t->count * t->stride);
    t->terms = ak_try_alloc(t->count * sizeof *t->terms);
    t->exact = ak_try_alloc(t->count * sizeof *t->exact);
    t->approximate = ak_try_alloc(t->count * sizeof *t->approximate);
    t->scratch = ak_try_alloc_aligned(AK_CACHE_LINE, t->stride * sizeof *t->scratch);
    t->query = ak_try_alloc_aligned(AK_CACHE_LINE, t->stride);
    return t->slots && t->ids && t->codes && t->terms && t->exact && t->approximate && t->scratch &&
           t->query;
}

static void release(struct trial *t)
{
    ak_free(t->slots);
    ak_free(t->ids);
    ak_free(t->codes);
    ak_free(t->terms);
    ak_free(t->exact);
    ak_free(t->approximate);
    ak_free(t->scratch);
    ak_free(t->query);
}

enum ak_rc ak_codes_try(const struct ak_index *index, const struct ak_quantizer *quantizer,
                        const uint32_t *slots, uint64_t count, struct ak_err *err)
{
    struct trial t = {.index = index,
                      .quantizer = quantizer,
                      .count = (uint32_t)(count < ROWS_MAX ? count : ROWS_MAX) / 4 * 4,
                      .stride = ak_quantizer_stride(index->options.dimension)};
    uint32_t found = 0;
    if (t.count < 2 * KEPT) {
        return AK_OK; /* too few to tell, and for it to matter */
    }
    if (!room(&t)) {
        release(&t);
        return ak_fail(err, AK_NOMEM, "a trial of codes");
    }
    for (uint32_t i = 0; i < t.count; i++) {
        uint8_t *code = t.codes + i * t.stride;
        t.ids[i] = i;
        t.slots[i] = slots[i * count / t.count];
        (void)ak_quantizer_encode(quantizer, index->simd, ak_slab_row(&index->vectors, t.slots[i]),
                                  ak_codes_factor(index, t.slots[i]), t.scratch, code);
        t.terms[i] = ak_codes_term(code, t.stride);
    }
    for (uint32_t q = 0; q < QUERIES; q++) {
        found += try_query(&t, q * t.count / QUERIES);
    }
    release(&t);
    return found >= SHARE * NEAR * QUERIES
               ? AK_OK
               : ak_fail(err, AK_UNSUPPORTED, "codes keep %u of %u neighbours", found,
                         NEAR * QUERIES);
}
