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
 */
#include "index/index_priv.h"

#define ROWS_MAX 131072u
#define DISK_ROWS_MAX 16384u /* where each is read from disk: as many as codes are trained on */
#define QUERIES 32u
#define CLOSE 128u
#define NEAR 10u
#define KEPT 20u
#define FEWEST (2u * KEPT) /* rows: with fewer it is not to be told, nor does it matter */
#define SHARE 0.95

struct trial {
    const struct ak_index *index;
    const struct ak_quantizer *quantizer;
    uint32_t *slots; /* of the rows */
    float *exact;    /* their distances from the query */
    uint32_t count;  /* a multiple of four */
    size_t stride;
    uint8_t *codes; /* of the CLOSE nearest */
    float *scratch;
    int8_t *query;
    float terms[CLOSE];
    float close_exact[CLOSE];
    float close_approximate[CLOSE];
    uint32_t close_ids[CLOSE]; /* 0, 1, …: places in `codes` */
    uint32_t close_count;      /* a multiple of four */
};

/* The n-th smallest, n from 1 to CLOSE; count ≥ n. */
static float nth_smallest(const float *values, uint32_t count, uint32_t n)
{
    float best[CLOSE];
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
    t->terms[at] = ak_codes_term(code, t->stride);
    t->close_exact[at] = t->exact[row];
    t->close_ids[at] = at;
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
    uint32_t wanted = t->count < CLOSE ? t->count : CLOSE;
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
    float kept = nth_smallest(t->close_approximate, wanted, KEPT);
    uint32_t found = 0;
    for (uint32_t i = 0; i < wanted; i++) {
        found += t->close_exact[i] <= near && t->close_approximate[i] <= kept;
    }
    return found < NEAR ? found : NEAR;
}

static bool room(struct trial *t, uint32_t rows)
{
    t->slots = ak_try_alloc(rows * sizeof *t->slots);
    t->exact = ak_try_alloc(rows * sizeof *t->exact);
    t->codes = ak_try_alloc_aligned(AK_CACHE_LINE, (size_t)CLOSE * t->stride);
    t->scratch = ak_try_alloc_aligned(AK_CACHE_LINE, t->stride * sizeof *t->scratch);
    t->query = ak_try_alloc_aligned(AK_CACHE_LINE, t->stride);
    return t->slots && t->exact && t->codes && t->scratch && t->query;
}

static void release(struct trial *t)
{
    ak_free(t->slots);
    ak_free(t->exact);
    ak_free(t->codes);
    ak_free(t->scratch);
    ak_free(t->query);
}

enum ak_rc ak_codes_try(const struct ak_index *index, const struct ak_quantizer *quantizer,
                        struct ak_err *err)
{
    struct trial t = {.index = index,
                      .quantizer = quantizer,
                      .stride = ak_quantizer_stride(index->options.dimension)};
    uint64_t live = ak_index_live(index);
    uint32_t max = ak_index_is_on_disk(index) ? DISK_ROWS_MAX : ROWS_MAX;
    uint32_t most = (uint32_t)(live < max ? live : max);
    uint32_t found = 0;
    if (most < FEWEST) {
        return AK_OK;
    }
    if (!room(&t, most)) {
        release(&t);
        return ak_fail(err, AK_NOMEM, "a trial of codes");
    }
    t.count = ak_index_sample(index, t.slots, most) / 4 * 4;
    ak_index_will_read(index, t.slots, t.count);
    for (uint32_t q = 0; q < QUERIES && t.count >= FEWEST; q++) {
        found += try_query(&t, (uint32_t)((uint64_t)q * t.count / QUERIES));
    }
    release(&t);
    return found >= SHARE * NEAR * QUERIES || t.count < FEWEST
               ? AK_OK
               : ak_fail(err, AK_UNSUPPORTED, "codes keep %u of %u neighbours", found,
                         NEAR * QUERIES);
}
