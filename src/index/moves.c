/* moves.c — live rows go from the highest slots to the lowest free ones.
 *
 * The graph keeps its shape: a row's links are copied to the new slot, and in one pass over all
 * rows each link to an old slot is made to lead to the new one. That costs a look at every link for
 * some thousand rows at once, where linking each of them anew would cost a walk and leave a
 * tombstone. It needs a free slot of the row's own level, since the level belongs to the slot: of
 * sixteen rows fifteen have level 0, and of the free slots as well. A row for which there is none
 * is put to the pending rows.
 *
 * States of the two slots (compare index.c):
 *
 *                 show                   switch                       end
 *     old   live, linked/pending     live, neither (leaving)    dead, unlinked
 *     new   live, neither            live, linked/pending       live, linked/pending
 *
 * and of one that is put to the pending rows: the old slot stays linked, and dead it is a
 * tombstone.
 *
 * Why no search misses a row. M1: an exact look at the rows, or the bitmap of a filter, finds the
 * old slot live until the end, before which the epoch has passed since the new one was shown. M2: a
 * walk finds at each place the link to the old slot or to the new one; both lead to a row that is
 * live, with links of its own, and is in the bitmap of a filter too, since the epoch has passed
 * between show and switch. M3: builders never link to a slot that leaves (leaving, under the gate),
 * so after the pass nothing leads there, and walks from before have left when the epoch has passed
 * again.
 *
 * Exclusion: whoever holds index->repairing is alone with repair, connect and cut. */
#include "index/index_priv.h"

#define ROWS_PER_STEP 1024 /* between two passages of the gate */

enum move_kind { MOVE_NONE, MOVE_PENDING, MOVE_LINKED, MOVE_ANEW };

struct ak_index_moves {
    struct ak_index *index;
    struct ak_index_move *list;
    uint8_t *kinds; /* enum move_kind, from switch on */
    uint32_t *to_of;
    uint32_t low;
    uint64_t span;
    uint32_t count;
    uint32_t staged;
    uint32_t linked;                /* of kind MOVE_LINKED */
    uint64_t rows;                  /* slots at the switch: later ones link to no old slot */
    const struct ak_codes *codes;   /* that were encoded with */
    struct ak_reclaim_batch *back;  /* new slots that are not needed */
    struct ak_reclaim_batch *freed; /* old ones */
};

static uint64_t get(const _Atomic uint64_t *at)
{
    return atomic_load_explicit(at, memory_order_acquire);
}

static bool is(const struct ak_slab *bits, uint32_t slot)
{
    return ak_bits_test(ak_index_words(bits), slot);
}

/* --- Choosing --- */

struct choosing {
    struct ak_index *index;
    const uint32_t *free; /* highest first; AK_LINK_NONE: taken */
    uint64_t free_count;
    bool has_levels;
    uint64_t next_of[AK_LEVEL_MAX + 1]; /* how many from the lowest on have been looked at */
    uint64_t next;
};

static uint32_t free_at(const struct choosing *choosing, uint64_t i)
{
    return choosing->free[choosing->free_count - 1 - i];
}

/* The place in the list of the lowest free slot, of this level if one is asked for, below `from`;
 * the list's length: there is none. */
static uint64_t find_free(struct choosing *choosing, uint32_t from, uint32_t level, bool any)
{
    uint64_t *next = any ? &choosing->next : &choosing->next_of[level];
    for (; *next < choosing->free_count; (*next)++) {
        uint32_t slot = free_at(choosing, *next);
        if (slot == AK_LINK_NONE) {
            continue;
        }
        if (slot > from) {
            break;
        }
        if (any || ak_index_level(choosing->index, slot) == level) {
            return choosing->free_count - 1 - *next;
        }
    }
    return choosing->free_count;
}

static uint64_t place_for(struct choosing *choosing, uint32_t from)
{
    struct ak_index *index = choosing->index;
    uint64_t at = choosing->free_count;
    if (choosing->has_levels && is(&index->linked, from)) {
        at = find_free(choosing, from, ak_index_level(index, from), false);
    }
    return at < choosing->free_count ? at : find_free(choosing, from, 0, true);
}

/* From the highest live row down; false: no row lower has a place. */
static bool choose_in_word(struct choosing *choosing, uint32_t *free, uint64_t at, uint64_t live,
                           struct ak_index_moves *moves, uint32_t max)
{
    while (live && moves->count < max) {
        uint64_t bit = 63 - (uint64_t)__builtin_clzll(live);
        uint32_t from = (uint32_t)(at * 64 + bit);
        uint64_t place = place_for(choosing, from);
        if (place == choosing->free_count) {
            return false;
        }
        live &= ~((uint64_t)1 << bit);
        moves->list[moves->count++] = (struct ak_index_move){from, free[place]};
        free[place] = AK_LINK_NONE;
    }
    return moves->count < max;
}

static uint64_t without_taken(uint32_t *free, uint64_t count)
{
    uint64_t kept = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (free[i] != AK_LINK_NONE) {
            free[kept++] = free[i];
        }
    }
    return kept;
}

static void choose(struct ak_index_moves *moves, uint32_t max, uint32_t *free, uint64_t *free_count)
{
    struct ak_index *index = moves->index;
    uint64_t slots = ak_index_slots(index);
    struct choosing choosing = {.index = index,
                                .free = free,
                                .free_count = *free_count,
                                .has_levels = get(&index->graph_rows) >= slots};
    bool more = true;
    for (uint64_t at = ak_bits_words(slots); at-- > 0 && more;) {
        uint64_t live = ak_bits_clip(~ak_bits_word(ak_index_words(&index->dead), at), at, slots);
        more = choose_in_word(&choosing, free, at, live, moves, max);
    }
    *free_count = without_taken(free, *free_count);
}

/* --- Making and dropping --- */

static void release(struct ak_index_moves *moves)
{
    ak_reclaim_batch_drop(moves->back);
    ak_reclaim_batch_drop(moves->freed);
    ak_free(moves->list);
    ak_free(moves->kinds);
    ak_free(moves->to_of);
    ak_free(moves);
}

static struct ak_index_moves *make(struct ak_index *index, uint32_t max)
{
    struct ak_index_moves *moves = ak_try_zalloc(sizeof *moves);
    if (!moves) {
        return NULL;
    }
    moves->index = index;
    moves->codes = ak_index_codes(index);
    moves->list = ak_try_alloc(max * sizeof *moves->list);
    moves->kinds = ak_try_zalloc(max);
    moves->back = ak_reclaim_batch(index->reclaim, max);
    moves->freed = ak_reclaim_batch(index->reclaim, max);
    if (!moves->list || !moves->kinds || !moves->back || !moves->freed) {
        release(moves);
        return NULL;
    }
    return moves;
}

/* The slots that leave lie close to each other at the end. */
static bool make_to_of(struct ak_index_moves *moves)
{
    moves->low = moves->list[moves->count - 1].from;
    moves->span = (uint64_t)moves->list[0].from - moves->low + 1;
    moves->to_of = ak_try_alloc((size_t)moves->span * sizeof *moves->to_of);
    if (moves->to_of) {
        memset(moves->to_of, 0xff, (size_t)moves->span * sizeof *moves->to_of);
    }
    return moves->to_of != NULL;
}

static bool is_renewing(const struct ak_index *index)
{
    return atomic_load_explicit(&index->renewal.state, memory_order_acquire) != AK_RENEWAL_NONE;
}

static void give_back(struct ak_index_moves *moves, uint32_t i)
{
    ak_reclaim_batch_add(moves->back, moves->list[i].to);
    moves->list[i].to = AK_LINK_NONE;
}

static void finish(struct ak_index_moves *moves)
{
    struct ak_index *index = moves->index;
    ak_reclaim_give(moves->back);
    moves->back = NULL;
    release(moves);
    atomic_flag_clear_explicit(&index->repairing, memory_order_release);
    ak_index_pick_next(index);
}

/* The moves, perhaps none, or AK_NOMEM: then nothing was taken, and index->repairing is clear. */
static enum ak_rc make_and_choose(struct ak_index *index, uint32_t max, uint32_t *free,
                                  uint64_t *free_count, struct ak_index_moves **out,
                                  struct ak_err *err)
{
    struct ak_index_moves *moves = make(index, max);
    if (!moves) {
        atomic_flag_clear_explicit(&index->repairing, memory_order_release);
        return ak_fail(err, AK_NOMEM, "moves of %u rows", max);
    }
    choose(moves, max, free, free_count);
    if (moves->count > 0 && !make_to_of(moves)) {
        ak_index_moves_drop(moves);
        return ak_fail(err, AK_NOMEM, "moves of %u rows", max);
    }
    *out = moves;
    return AK_OK;
}

enum ak_rc ak_index_moves_begin(struct ak_index *index, uint32_t max, struct ak_index_moves **out,
                                struct ak_err *err)
{
    uint32_t *free = NULL;
    uint64_t *free_count = NULL;
    struct ak_index_moves *moves = NULL;
    *out = NULL;
    AK_ASSERT(max > 0);
    if (!atomic_load_explicit(&index->writable, memory_order_relaxed) || index->frozen.on ||
        index->high > 0 || is_renewing(index) ||
        !ak_reclaim_sort(index->reclaim, ak_index_slots(index), &free, &free_count) ||
        atomic_flag_test_and_set_explicit(&index->repairing, memory_order_acquire)) {
        ak_index_pick_next(index);
        return AK_OK;
    }
    enum ak_rc rc = make_and_choose(index, max, free, free_count, &moves, err);
    if (moves && moves->count > 0) {
        *out = moves;
    } else if (moves) {
        ak_index_moves_drop(moves);
    }
    ak_index_pick_next(index);
    return rc;
}

void ak_index_moves_drop(struct ak_index_moves *moves)
{
    for (uint32_t i = 0; i < moves->count; i++) {
        if (moves->list[i].to != AK_LINK_NONE) {
            give_back(moves, i);
        }
    }
    finish(moves);
}

const struct ak_index_move *ak_index_moves_list(const struct ak_index_moves *moves, uint32_t *count)
{
    *count = moves->count;
    return moves->list;
}

/* --- Copying, showing --- */

uint32_t ak_index_moves_stage(struct ak_index_moves *moves, uint32_t max)
{
    struct ak_index *index = moves->index;
    for (uint32_t n = 0; n < max && moves->staged < moves->count; n++, moves->staged++) {
        struct ak_index_move move = moves->list[moves->staged];
        if (is(&index->dead, move.from)) {
            give_back(moves, moves->staged);
        } else {
            ak_index_store_row(index, move.to, ak_slab_row(&index->vectors, move.from));
            ak_codes_store(index, move.to, true);
        }
    }
    return moves->staged;
}

/* Codes made anew meanwhile may lack the new slots; and while a hold is on somebody may read them
 * where a slab was before it moved. */
enum ak_rc ak_index_moves_ready(struct ak_index_moves *moves, struct ak_err *err)
{
    struct ak_index *index = moves->index;
    AK_ASSERT(moves->staged == moves->count && !index->frozen.on);
    if (ak_index_codes(index) != moves->codes || is_renewing(index) ||
        ak_reclaim_is_held(index->reclaim)) {
        return ak_fail(err, AK_CONFLICT, "rows or codes have moved: later");
    }
    enum ak_rc rc = ak_pending_reserve(&index->pending, moves->count, index->options.epoch, err);
    for (uint32_t i = 0; i < moves->count && rc == AK_OK; i++) {
        if (moves->list[i].to != AK_LINK_NONE && is(&index->dead, moves->list[i].from)) {
            give_back(moves, i);
        }
    }
    return rc;
}

void ak_index_moves_show(struct ak_index_moves *moves)
{
    struct ak_index *index = moves->index;
    for (uint32_t i = 0; i < moves->count; i++) {
        uint32_t to = moves->list[i].to;
        if (to != AK_LINK_NONE) { /* in this order: see ak_index_add */
            ak_bits_clear(ak_index_words(&index->dead), to);
            ak_bits_clear(ak_index_words(&index->unlinked), to);
            atomic_fetch_sub_explicit(&index->unlinked_count, 1, memory_order_relaxed);
            atomic_fetch_add_explicit(&index->live, 1, memory_order_release);
        }
    }
}

/* --- Switching --- */

static void copy_links(struct ak_index *index, struct ak_index_move move)
{
    uint32_t top = ak_index_level(index, move.from);
    for (uint32_t level = 0; level <= top; level++) {
        uint32_t degree = ak_index_degree(index, level);
        const uint32_t *from = ak_index_row(index, move.from, level);
        uint32_t *to = ak_index_row(index, move.to, level);
        for (uint32_t i = 0; i < degree; i++) {
            ak_link_set(&to[i], ak_link_get(&from[i]));
        }
    }
}

static enum move_kind switch_one(struct ak_index *index, struct ak_index_move move)
{
    if (!is(&index->linked, move.from)) {
        return MOVE_PENDING;
    }
    if (ak_index_level(index, move.from) != ak_index_level(index, move.to)) {
        ak_pending_push(&index->pending, move.to);
        return MOVE_ANEW;
    }
    copy_links(index, move);
    ak_bits_set(ak_index_words(&index->linked), move.to);
    ak_bits_clear(ak_index_words(&index->linked), move.from);
    return MOVE_LINKED;
}

/* With the gate closed: what is claimed by a builder is linked by now. */
void ak_index_moves_switch(struct ak_index_moves *moves)
{
    struct ak_index *index = moves->index;
    ak_gate_close(&index->gate);
    for (uint32_t i = 0; i < moves->count; i++) {
        struct ak_index_move move = moves->list[i];
        if (move.to == AK_LINK_NONE) {
            continue;
        }
        enum move_kind kind = switch_one(index, move);
        moves->kinds[i] = (uint8_t)kind;
        moves->linked += kind == MOVE_LINKED;
        if (kind != MOVE_ANEW) {
            moves->to_of[move.from - moves->low] = move.to;
        }
    }
    moves->rows = ak_index_slots(index);
    index->leaving = (struct ak_leaving){moves->to_of, moves->low, moves->span};
    ak_pending_replace(&index->pending, &index->leaving);
    ak_gate_open(&index->gate);
}

/* --- Links to old slots --- */

static bool leads_to_old(const struct ak_leaving *leaving, const uint32_t *row, uint32_t degree)
{
    for (uint32_t i = 0; i < degree; i++) {
        uint32_t link = ak_link_get(&row[i]);
        if (link == AK_LINK_NONE) {
            return false;
        }
        if (ak_leaving_to(leaving, link) != AK_LINK_NONE) {
            return true;
        }
    }
    return false;
}

static bool has(const uint32_t *links, uint32_t count, uint32_t slot)
{
    for (uint32_t i = 0; i < count; i++) {
        if (links[i] == slot) {
            return true;
        }
    }
    return false;
}

/* A builder may have linked the row to a new slot already: no link twice (I4). */
static void relink_row(struct ak_index *index, uint32_t slot, uint32_t level)
{
    uint32_t degree = ak_index_degree(index, level);
    uint32_t *row = ak_index_row(index, slot, level);
    uint32_t links[AK_DEGREE_MAX];
    if (!leads_to_old(&index->leaving, row, degree)) {
        return;
    }
    ak_node_lock(index, slot);
    uint32_t count = ak_hnsw_read_row(row, degree, links);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t to = ak_leaving_to(&index->leaving, links[i]);
        if (to == AK_LINK_NONE) {
            links[kept++] = links[i];
        } else if (to != slot && !has(links, kept, to) && !has(links + i + 1, count - i - 1, to)) {
            links[kept++] = to;
        }
    }
    ak_hnsw_write_row(row, degree, links, kept);
    ak_node_unlock(index, slot);
}

static void move_entry(struct ak_index_moves *moves)
{
    struct ak_index *index = moves->index;
    ak_gate_close(&index->gate);
    uint64_t entry = get(&index->entry);
    uint32_t to = entry == AK_ENTRY_NONE ? AK_LINK_NONE
                                         : ak_leaving_to(&index->leaving, ak_entry_slot(entry));
    if (to != AK_LINK_NONE) { /* it was linked, and so it is at the new slot, on the same level */
        atomic_store_explicit(&index->entry, (uint64_t)ak_entry_level(entry) << 32 | to,
                              memory_order_release);
    }
    ak_gate_open(&index->gate);
}

void ak_index_moves_relink(struct ak_index_moves *moves)
{
    struct ak_index *index = moves->index;
    if (moves->linked == 0) {
        return;
    }
    for (uint64_t from = 0; from < moves->rows; from += ROWS_PER_STEP) {
        uint64_t to = from + ROWS_PER_STEP < moves->rows ? from + ROWS_PER_STEP : moves->rows;
        (void)ak_gate_enter(&index->gate, true);
        unsigned token = ak_epoch_enter(index->options.epoch);
        for (uint64_t slot = from; slot < to; slot++) {
            if (is(&index->linked, (uint32_t)slot)) {
                for (uint32_t level = ak_index_level(index, (uint32_t)slot) + 1; level-- > 0;) {
                    relink_row(index, (uint32_t)slot, level);
                }
            }
        }
        ak_epoch_leave(index->options.epoch, token);
        ak_gate_leave(&index->gate);
    }
    move_entry(moves);
}

/* --- The end --- */

static void free_old(struct ak_index_moves *moves, uint32_t slot)
{
    struct ak_index *index = moves->index;
    ak_index_remove(index, slot); /* unless the row was removed meanwhile */
    ak_bits_set(ak_index_words(&index->unlinked), slot);
    atomic_fetch_add_explicit(&index->unlinked_count, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&index->tombstones, 1, memory_order_release);
    ak_reclaim_batch_add(moves->freed, slot);
}

void ak_index_moves_end(struct ak_index_moves *moves)
{
    struct ak_index *index = moves->index;
    ak_gate_close(&index->gate);
    index->leaving = (struct ak_leaving){0};
    for (uint32_t i = 0; i < moves->count; i++) {
        if (moves->kinds[i] == MOVE_ANEW) {
            ak_index_remove(index, moves->list[i].from);
        } else if (moves->kinds[i] != MOVE_NONE) {
            free_old(moves, moves->list[i].from);
        }
    }
    ak_gate_open(&index->gate);
    ak_reclaim_retire(moves->freed, index->options.epoch);
    moves->freed = NULL;
    finish(moves);
}
