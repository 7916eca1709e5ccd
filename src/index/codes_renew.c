/* codes_renew.c — new codes for an index that has outgrown its old ones.
 *
 * The first codes are made from the first rows, which need not be like the later ones: a collection
 * filled in the order of topics would have a mean and a step of its first topic. So they are made
 * anew when there are GROWTH times as many rows as they were made from, and when more than one byte
 * in CLIPPED_ONE_IN of all had to be clipped.
 *
 *          writer: due          builder            builder: all encoded        writer
 *    NONE ─────────────▶ WANTED ───────▶ WORKING ──────────────────────▶ READY ──────▶ NONE
 *                                           ├── no memory ──▶ FAILED ────────────────────▲
 *                                           └── no good (codes_trial.c) ──▶ REFUSED ─────▲
 *
 * Codes of which more than one byte in CLIPPED_ONE_IN is clipped are not used for walks until they
 * are renewed, nor kept in images; refused, an index goes without until it has twice the rows.
 *
 * The builder trains on a sample and encodes every row, a piece at a time and in the epoch, while
 * writers and searches go on with the old codes. Rows that come meanwhile are encoded by the writer
 * when it takes the new codes over; so are slots used anew, which it has noted. Searches that hold
 * the old ones finish with them: they are retired through the epoch.
 *
 * I9  From WANTED on, every slot that is used anew is in `reused`, or `reused_over` is set and the
 *     new codes are thrown away.
 */
#include "index/index_priv.h"

#define GROWTH 8u
#define CLIPPED_ONE_IN 200u
#define ROWS_PER_STEP 512u
#define REUSED_MAX 65536u

static int state_of(const struct ak_index *index)
{
    return atomic_load_explicit(&index->renewal.state, memory_order_acquire);
}

/* Release pairs with state_of(): what was done before the state is seen with it. */
static void set_state(struct ak_index *index, int state)
{
    atomic_store_explicit(&index->renewal.state, state, memory_order_release);
}

/* --- The writer --- */

static bool is_doubtful(const struct ak_index *index)
{
    return atomic_load_explicit(&index->renewal.is_doubtful, memory_order_relaxed);
}

static bool is_due(const struct ak_index *index, const struct ak_codes *codes)
{
    const struct ak_renewal *renewal = &index->renewal;
    uint64_t population = ak_quantizer_trained_on(codes->quantizer);
    uint64_t live = ak_index_live(index);
    bool has_grown = live / GROWTH >= population;
    return live >= renewal->not_before && (has_grown || is_doubtful(index));
}

void ak_renewal_note(struct ak_index *index, uint32_t slot, bool is_reused, uint32_t clipped)
{
    struct ak_renewal *renewal = &index->renewal;
    renewal->encoded++;
    renewal->clipped += clipped;
    uint64_t rows = renewal->encoded + ak_quantizer_trained_on(ak_index_codes(index)->quantizer);
    if (renewal->clipped > rows * index->options.dimension / CLIPPED_ONE_IN) {
        atomic_store_explicit(&renewal->is_doubtful, true, memory_order_relaxed);
    }
    if (is_reused && state_of(index) != AK_RENEWAL_NONE) {
        if (renewal->reused_count < REUSED_MAX) {
            renewal->reused[renewal->reused_count++] = slot;
        } else {
            renewal->reused_over = true;
        }
    }
}

static void begin(struct ak_index *index)
{
    struct ak_renewal *renewal = &index->renewal;
    if (!renewal->reused) {
        renewal->reused = ak_try_alloc(REUSED_MAX * sizeof *renewal->reused);
    }
    if (renewal->reused) { /* else later: the old codes serve */
        renewal->reused_count = 0;
        renewal->reused_over = false;
        set_state(index, AK_RENEWAL_WANTED);
    }
}

static void retire(void *codes)
{
    ak_codes_close(codes);
}

static void throw_away(struct ak_index *index)
{
    struct ak_renewal *renewal = &index->renewal;
    ak_codes_close(renewal->next);
    renewal->next = NULL;
    renewal->not_before = 2 * ak_index_live(index);
    set_state(index, AK_RENEWAL_NONE);
}

static void take_over(struct ak_index *index)
{
    struct ak_renewal *renewal = &index->renewal;
    struct ak_codes *next = renewal->next;
    struct ak_codes *old = ak_index_codes(index);
    uint64_t slots = ak_index_slots(index);
    struct ak_err err;
    if (renewal->reused_over ||
        ak_codes_reserve(index, next, index->vectors.reserved, &err) != AK_OK) {
        throw_away(index);
        return;
    }
    for (uint64_t slot = renewal->done; slot < slots; slot++) {
        (void)ak_codes_encode(index, next, slot, index->code_scratch);
    }
    for (uint32_t i = 0; i < renewal->reused_count; i++) {
        (void)ak_codes_encode(index, next, renewal->reused[i], index->code_scratch);
    }
    /* Who holds the old codes and meets a slot used anew reads its former code there: a wrong place
     * in the order of a walk, and the floats put it right. */
    atomic_store_explicit(&index->codes, next, memory_order_release);
    renewal->next = NULL;
    renewal->encoded = renewal->clipped = 0;
    atomic_store_explicit(&renewal->is_doubtful, false, memory_order_relaxed);
    set_state(index, AK_RENEWAL_NONE);
    ak_epoch_retire(index->options.epoch, retire, old);
}

static void go_without(struct ak_index *index)
{
    struct ak_codes *old = ak_index_codes(index);
    atomic_store_explicit(&index->codes, NULL, memory_order_release);
    throw_away(index);
    index->renewal.encoded = index->renewal.clipped = 0;
    atomic_store_explicit(&index->renewal.is_doubtful, false, memory_order_relaxed);
    ak_epoch_retire(index->options.epoch, retire, old);
}

void ak_renewal_step(struct ak_index *index)
{
    const struct ak_codes *codes = ak_index_codes(index);
    int state = state_of(index);
    if (state == AK_RENEWAL_NONE) {
        if (codes && is_due(index, codes)) {
            begin(index);
        }
    } else if (state == AK_RENEWAL_FAILED) {
        throw_away(index);
    } else if (state == AK_RENEWAL_READY && !index->frozen.on) { /* an image may be reading them */
        take_over(index);
    } else if (state == AK_RENEWAL_REFUSED && !index->frozen.on) {
        go_without(index);
    }
}

void ak_index_settle(struct ak_index *index)
{
    if (atomic_load_explicit(&index->writable, memory_order_relaxed)) {
        ak_renewal_step(index);
        ak_index_account(index);
    }
}

void ak_renewal_release(struct ak_index *index)
{
    ak_codes_close(index->renewal.next);
    ak_free(index->renewal.reused);
}

/* --- The builder --- */

/* Rows [from, from + some) that are not free; returns the first not looked at. */
static uint64_t encode_some(struct ak_index *index, struct ak_codes *next, uint64_t from,
                            float *scratch)
{
    uint64_t slots = ak_index_slots(index);
    uint64_t end = slots - from < ROWS_PER_STEP ? slots : from + ROWS_PER_STEP;
    bool from_file = ak_index_has_file(index);
    if (from_file) {
        ak_slab_will_read(&index->vectors, from, end);
    }
    for (uint64_t slot = from; slot < end; slot++) {
        if (!ak_bits_test(ak_index_words(&index->unlinked), slot)) {
            (void)ak_codes_encode(index, next, slot, scratch);
        }
    }
    if (from_file) {
        ak_slab_was_read(&index->vectors, from, end);
    }
    return end;
}

static bool encode_all(struct ak_index *index, struct ak_codes *next, float *scratch)
{
    struct ak_renewal *renewal = &index->renewal;
    struct ak_err err;
    uint64_t done = 0;
    for (;;) {
        unsigned token = ak_epoch_enter(index->options.epoch);
        uint64_t slots = ak_index_slots(index);
        bool fits = ak_slab_reserve(&next->rows, slots + ROWS_PER_STEP, &err) == AK_OK &&
                    (!ak_codes_have_terms(next) ||
                     ak_slab_reserve(&next->terms, slots + ROWS_PER_STEP, &err) == AK_OK);
        if (fits && done < slots) {
            done = encode_some(index, next, done, scratch);
        }
        bool is_over = !fits || done >= slots;
        ak_epoch_leave(index->options.epoch, token);
        if (is_over) {
            renewal->done = done;
            return fits;
        }
    }
}

/* The state that it comes to. */
static int make_next(struct ak_index *index)
{
    struct ak_renewal *renewal = &index->renewal;
    size_t stride = ak_quantizer_stride(index->options.dimension);
    float *scratch = ak_try_alloc_aligned(AK_CACHE_LINE, stride * sizeof *scratch);
    unsigned token = ak_epoch_enter(index->options.epoch);
    struct ak_err err = {.rc = AK_NOMEM};
    renewal->next = scratch ? ak_codes_train(index, &err) : NULL;
    ak_epoch_leave(index->options.epoch, token);
    bool made = renewal->next && encode_all(index, renewal->next, scratch);
    bool is_refused = !renewal->next && err.rc == AK_UNSUPPORTED;
    ak_free(scratch);
    return made ? AK_RENEWAL_READY : is_refused ? AK_RENEWAL_REFUSED : AK_RENEWAL_FAILED;
}

bool ak_index_renew(struct ak_index *index)
{
    int wanted = AK_RENEWAL_WANTED;
    if (state_of(index) != AK_RENEWAL_WANTED ||
        !atomic_compare_exchange_strong_explicit(&index->renewal.state, &wanted, AK_RENEWAL_WORKING,
                                                 memory_order_acq_rel, memory_order_acquire)) {
        return false;
    }
    set_state(index, make_next(index));
    return true;
}
