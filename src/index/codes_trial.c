/* codes_trial.c — do codes keep the order of neighbours? Measured on the rows before they are used.
 *
 * A code is off by a part of the step, and the step is a part of the whole spread: where neighbours
 * are nearer to each other than that, as in rows along a line, codes tell them apart no better than
 * chance. So new codes are tried: some rows are queries, floats find the CLOSE nearest of all rows
 * to each, and of the NEAR nearest of them SHARE must be among the KEPT best by code, which is what
 * a search measures again. (Codes that let rows from beyond the CLOSE come before these have their
 * order wrong as well.) By distance, so that equal rows may stand for each other. All rows are
 * looked at, up to ROWS_MAX: a sample lies further apart than they do. Rows that come later lie
 * closer: the trial is repeated whenever codes are made anew.
 *
 * With codes of few bits, more than KEPT may have to be measured again: for them the trial says how
 * many, the smallest of `times` the rows wanted among which SHARE_BITS of the nearest are, and then
 * the next larger one: queries that are not like the rows lie farther from them, and what a code is
 * off by grows with that. When even the largest leaves out more than u8 may, it refuses.
 */
#include "index/index_priv.h"

#define ROWS_MAX 131072u
#define DISK_ROWS_MAX 16384u /* where each is read from disk: as many as codes are trained on */
#define QUERIES 32u
#define CLOSE 128u       /* u8 */
#define CLOSE_BITS 1024u /* others: thrice what the largest of `times` keeps */
#define NEAR 10u
#define KEPT 20u
#define FEWEST (2u * KEPT) /* rows: with fewer it is not to be told, nor does it matter */
#define SHARE 0.95
#define SHARE_BITS 0.998 /* of 320: all */

static const uint32_t times[] = {2, 4, 8, 16, AK_QUANTIZER_AGAIN_MAX};
enum { TIMES = sizeof times / sizeof times[0] };

struct trial {
    const struct ak_index *index;
    const struct ak_quantizer *quantizer;
    uint32_t *slots; /* of the rows */
    float *exact;    /* their distances from the query */
    uint32_t count;  /* a multiple of four */
    size_t stride;
    uint32_t close; /* how many are the nearest: CLOSE or CLOSE_BITS */
    uint8_t *codes; /* of those */
    float *scratch;
    int8_t *query;
    float terms[CLOSE_BITS];
    float close_exact[CLOSE_BITS];
    float close_approximate[CLOSE_BITS];
    uint32_t close_ids[CLOSE_BITS]; /* 0, 1, …: places in `codes` */
    uint32_t close_count;           /* a multiple of four */
    uint32_t within[TIMES];         /* of few bits: of the nearest, those found by so many times */
    uint32_t near;                  /* of how many */
};

/* The n-th smallest, n from 1 to CLOSE_BITS; count ≥ n. */
static float nth_smallest(const float *values, uint32_t count, uint32_t n)
{
    float best[CLOSE_BITS];
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

/* The code of a row among the nearest. */
static void take_close(struct trial *t, uint32_t row)
{
    const struct ak_index *index = t->index;
    uint32_t at = t->close_count++;
    uint8_t *code = t->codes + at * t->stride;
    (void)ak_quantizer_encode(t->quantizer, index->simd,
                              ak_slab_row(&index->vectors, t->slots[row]),
                              ak_codes_factor(index, t->slots[row]), t->scratch, code);
    t->terms[at] = ak_quantizer_codec(t->quantizer) == AK_QUANTIZATION_U8
                       ? ak_codes_term(code, t->stride)
                       : 0.0f;
    t->close_exact[at] = t->exact[row];
    t->close_ids[at] = at;
}

/* In which place by code each of the nearest is. */
static void note_places(struct trial *t, float near)
{
    for (uint32_t i = 0; i < t->close_count; i++) {
        uint32_t place = 0;
        if (t->close_exact[i] > near) {
            continue;
        }
        for (uint32_t j = 0; j < t->close_count; j++) {
            place += t->close_approximate[j] < t->close_approximate[i];
        }
        for (size_t f = 0; f < TIMES; f++) {
            t->within[f] += place < times[f] * NEAR;
        }
        t->near++;
    }
}

/* How many of the nearest would be measured again. */
static uint32_t try_query(struct trial *t, uint32_t row)
{
    const struct ak_index *index = t->index;
    const float *vector = ak_slab_row(&index->vectors, t->slots[row]);
    struct ak_measure exact;
    ak_measure_for_query(index, vector, 1.0f, &exact);
    for (uint32_t i = 0; i < t->count; i += 4) {
        ak_measure_x4(&exact, t->slots + i, t->exact + i);
    }
    uint32_t wanted = t->count < t->close ? t->count : t->close;
    float last = nth_smallest(t->exact, t->count, wanted);
    t->close_count = 0;
    for (uint32_t i = 0; i < t->count && t->close_count < wanted; i++) {
        if (t->exact[i] <= last) {
            take_close(t, i);
        }
    }
    struct ak_measure approximate = exact;
    ak_codes_ask(index, t->quantizer, vector, t->scratch, t->query, &approximate);
    approximate.vectors = (const char *)t->codes;
    approximate.stride = t->stride;
    approximate.code_terms = approximate.code_term_gain > 0.0f ? t->terms : NULL;
    for (uint32_t i = 0; i < wanted; i += 4) {
        ak_measure_x4(&approximate, t->close_ids + i, t->close_approximate + i);
    }
    float near = nth_smallest(t->close_exact, wanted, NEAR);
    if (t->close != CLOSE) {
        note_places(t, near);
        return 0;
    }
    float kept = nth_smallest(t->close_approximate, wanted, KEPT);
    uint32_t found = 0;
    for (uint32_t i = 0; i < wanted; i++) {
        found += t->close_exact[i] <= near && t->close_approximate[i] <= kept;
    }
    return found < NEAR ? found : NEAR;
}

static bool room(struct trial *t, uint32_t rows)
{
    size_t dimension = ak_quantizer_stride(t->index->options.dimension);
    t->slots = ak_try_alloc(rows * sizeof *t->slots);
    t->exact = ak_try_alloc(rows * sizeof *t->exact);
    t->codes = ak_try_alloc_aligned(AK_CACHE_LINE, (size_t)t->close * t->stride);
    t->scratch = ak_try_alloc_aligned(AK_CACHE_LINE, dimension * sizeof *t->scratch);
    t->query = ak_try_alloc_aligned(AK_CACHE_LINE, dimension);
    return t->slots && t->exact && t->codes && t->scratch && t->query;
}

static void release(struct trial *t)
{
    ak_free(t->slots);
    ak_free(t->exact);
    ak_free(t->codes);
    ak_free(t->scratch);
    ak_free(t->query);
    ak_free(t);
}

/* What the places of the nearest say of codes of few bits. */
static enum ak_rc judge_bits(const struct trial *t, struct ak_quantizer *quantizer,
                             struct ak_err *err)
{
    size_t f = 0;
    while (f + 1 < TIMES && (double)t->within[f] < SHARE_BITS * (double)t->near) {
        f++;
    }
    if ((double)t->within[f] < SHARE * (double)t->near) {
        return ak_fail(err, AK_UNSUPPORTED, "codes keep %u of %u neighbours among %u times as many",
                       t->within[f], t->near, times[f]);
    }
    ak_quantizer_set_again(quantizer, times[f + 1 < TIMES ? f + 1 : f]);
    return AK_OK;
}

enum ak_rc ak_codes_try(const struct ak_index *index, struct ak_quantizer *quantizer,
                        struct ak_err *err)
{
    bool is_u8 = ak_quantizer_codec(quantizer) == AK_QUANTIZATION_U8;
    uint64_t live = ak_index_live(index);
    uint32_t max = ak_index_is_on_disk(index) ? DISK_ROWS_MAX : ROWS_MAX;
    uint32_t most = (uint32_t)(live < max ? live : max);
    uint32_t found = 0;
    ak_quantizer_set_again(quantizer, is_u8 ? 0 : times[TIMES - 1]);
    if (most < FEWEST) {
        return AK_OK;
    }
    struct trial *t = ak_try_zalloc(sizeof *t);
    if (!t) {
        return ak_fail(err, AK_NOMEM, "a trial of codes");
    }
    t->index = index;
    t->quantizer = quantizer;
    t->stride = ak_quantizer_code_bytes(quantizer);
    t->close = is_u8 ? CLOSE : CLOSE_BITS;
    enum ak_rc rc = room(t, most) ? AK_OK : ak_fail(err, AK_NOMEM, "a trial of codes");
    if (rc == AK_OK) {
        t->count = ak_index_sample(index, t->slots, most) / 4 * 4;
        ak_index_will_read(index, t->slots, t->count);
    }
    for (uint32_t q = 0; rc == AK_OK && q < QUERIES && t->count >= FEWEST; q++) {
        found += try_query(t, (uint32_t)((uint64_t)q * t->count / QUERIES));
    }
    if (rc == AK_OK && t->count >= FEWEST) {
        if (!is_u8) {
            rc = judge_bits(t, quantizer, err);
        } else if (found < SHARE * NEAR * QUERIES) {
            rc = ak_fail(err, AK_UNSUPPORTED, "codes keep %u of %u neighbours", found,
                         NEAR * QUERIES);
        }
    }
    release(t);
    return rc;
}
