/* index_image.c — an index as sections of an image, and back.
 *
 *     INDEX_STATE  struct state below: parameters, counts, entry point
 *     VECTORS      f32[dimension] per slot, each row padded to 64 bytes with zeros
 *     SCALES       f32 per slot: 1/‖x‖; l2 has none
 *     QUANTIZER    what makes codes of vectors: quantizer.c
 *     CODES        a code per slot: quantizer.h
 *     CODE_TERMS   f32 per slot: codes.c; codes of u8 only
 *     LINKS        u32[2·m] per slot; 0xffffffff: empty. Only linked slots' rows mean something
 *     LEVELS       u8 per slot
 *     UPPER        u32[m] per slot and level ≥ 1, in the order of slots
 *     DELETED      u64 bitmap of slots: removed, FREE ones too
 *     FREE         u64 bitmap: removed, and nothing leads there
 *     PENDING      u32 slots stored but not linked, in the order they came
 *
 * A section without rows is left out; so are LINKS, LEVELS, UPPER and PENDING of an index too small
 * to have a graph. What is neither free nor pending is linked.
 *
 * Nothing read is believed before it is checked: sizes against the state, links against the number
 * of rows and their levels, bitmaps and lists against each other. What remains possible in a forged
 * image is a bad graph: bad recall, no bad access.
 */
#include "index/index_priv.h"

#define STATE_VERSION 1u
#define WRITE_BYTES ((size_t)1 << 20) /* between two passages of the epoch */

struct state {
    uint32_t version;
    uint32_t dimension;
    uint32_t metric;
    uint32_t m;
    uint32_t ef_construction;
    uint32_t quantization;
    uint64_t slots;
    uint64_t live;
    uint64_t free_count;
    uint64_t graph_rows; /* 0, or slots: rows of LINKS and LEVELS */
    uint64_t upper_rows;
    uint64_t entry; /* level << 32 | slot, or all ones */
    uint64_t pending_count;
    uint64_t seed;
    float crowding; /* a statistic of hnsw_build.c */
    uint32_t zero;
};

_Static_assert(sizeof(struct state) == 96, "the state is 96 bytes on disk");

static uint64_t get(const _Atomic uint64_t *at)
{
    return atomic_load_explicit(at, memory_order_acquire);
}

/* --- Freezing --- */

static void free_frozen(struct ak_frozen *frozen)
{
    ak_free(frozen->dead);
    ak_free(frozen->unlinked);
    ak_free(frozen->live);
    ak_free(frozen->pending);
    *frozen = (struct ak_frozen){0};
}

/* With the gate closed and under the owner's writer lock: nothing changes meanwhile. */
static enum ak_rc copy_frozen(struct ak_index *index, struct ak_frozen *frozen, struct ak_err *err)
{
    uint64_t words = ak_bits_words(index->frozen.slots);
    uint64_t pending_max = frozen->graph_rows ? get(&index->pending.count) : 0;
    frozen->dead = ak_try_zalloc((words + 1) * sizeof *frozen->dead);
    frozen->unlinked = ak_try_zalloc((words + 1) * sizeof *frozen->unlinked);
    frozen->live = ak_try_zalloc((words + 1) * sizeof *frozen->live);
    frozen->pending = ak_try_alloc((pending_max + 1) * sizeof *frozen->pending);
    if (!frozen->dead || !frozen->unlinked || !frozen->live || !frozen->pending) {
        return ak_fail(err, AK_NOMEM, "freeze %llu rows", (unsigned long long)frozen->slots);
    }
    for (uint64_t at = 0; at < words; at++) {
        uint64_t dead = ak_bits_word(ak_index_words(&index->dead), at);
        uint64_t linked = ak_bits_word(ak_index_words(&index->linked), at);
        frozen->dead[at] = ak_bits_clip(dead, at, frozen->slots);
        /* Removed before it was linked: nothing leads there, so it is free already. */
        frozen->unlinked[at] = frozen->dead[at] & ~linked;
        frozen->live[at] = ak_bits_clip(~dead, at, frozen->slots);
        frozen->free_count += (uint64_t)__builtin_popcountll(frozen->unlinked[at]);
    }
    uint64_t n = ak_pending_list(&index->pending, frozen->pending, pending_max);
    for (uint64_t i = 0; i < n; i++) {
        uint32_t slot = frozen->pending[i];
        frozen->pending[frozen->pending_count] = slot;
        frozen->pending_count += frozen->live[slot / 64] >> (slot % 64) & 1;
    }
    return AK_OK;
}

enum ak_rc ak_index_freeze(struct ak_index *index, struct ak_err *err)
{
    AK_ASSERT(!index->frozen.on);
    struct ak_frozen *frozen = &index->frozen;
    ak_renewal_step(index); /* new codes that are ready go into the image */
    ak_gate_close(&index->gate);
    frozen->slots = get(&index->slots);
    frozen->entry = get(&index->entry);
    /* A graph that ran out of memory as it began has rows for some slots, and nothing linked. One
     * with reserved rows has more than there are slots: what belongs to those stays out. */
    uint64_t graph_rows = get(&index->graph_rows);
    if (graph_rows >= frozen->slots) {
        const uint32_t *upper_at = (const uint32_t *)(void *)ak_slab_base(&index->upper_at);
        frozen->graph_rows = frozen->slots;
        frozen->upper_rows =
            graph_rows > frozen->slots ? upper_at[frozen->slots] : get(&index->upper_rows);
    }
    bool is_doubtful = atomic_load_explicit(&index->renewal.is_doubtful, memory_order_relaxed);
    frozen->codes = is_doubtful ? NULL : ak_index_codes(index);
    frozen->live_count = get(&index->live);
    frozen->crowding = atomic_load_explicit(&index->crowding, memory_order_relaxed);
    enum ak_rc rc = copy_frozen(index, frozen, err);
    if (rc == AK_OK) {
        frozen->on = true;
        ak_gate_set_frozen(&index->gate, true);
        ak_index_pick_next(index); /* no freed slot is used until unfreeze */
    } else {
        free_frozen(frozen);
    }
    ak_gate_open(&index->gate);
    return rc;
}

void ak_index_unfreeze(struct ak_index *index)
{
    AK_ASSERT(index->frozen.on);
    free_frozen(&index->frozen);
    ak_gate_set_frozen(&index->gate, false);
    ak_index_pick_next(index);
}

uint64_t ak_index_frozen_slots(const struct ak_index *index)
{
    return index->frozen.slots;
}

const uint64_t *ak_index_frozen_live(const struct ak_index *index)
{
    return index->frozen.live;
}

/* --- Writing --- */

/* Rows [0, rows) of a slab, a piece at a time: adds may move it, and no reader is held back long.
 */
static enum ak_rc put_slab(struct ak_index *index, struct ak_image_writer *writer, uint32_t kind,
                           const struct ak_slab *slab, uint64_t rows, struct ak_err *err)
{
    if (rows == 0) {
        return AK_OK;
    }
    enum ak_rc rc = ak_image_begin(writer, kind, slab->stride, rows, err);
    uint64_t step = WRITE_BYTES / slab->stride + 1;
    for (uint64_t row = 0; row < rows && rc == AK_OK; row += step) {
        uint64_t n = rows - row < step ? rows - row : step;
        unsigned token = ak_epoch_enter(index->options.epoch);
        bool from_file = slab->in_file && ak_index_has_file(index);
        if (from_file) { /* once, front to back: a step ahead, and none kept */
            uint64_t ahead = rows - row < 2 * step ? rows : row + 2 * step;
            ak_slab_will_read(slab, row ? row + n : 0, ahead);
        }
        rc = ak_image_write(writer, ak_slab_row(slab, row), (size_t)n * slab->stride, err);
        if (from_file) {
            ak_slab_was_read(slab, row, row + n);
        }
        ak_epoch_leave(index->options.epoch, token);
    }
    return rc == AK_OK ? ak_image_end(writer, err) : rc;
}

static enum ak_rc put_state(struct ak_index *index, struct ak_image_writer *writer,
                            struct ak_err *err)
{
    const struct ak_frozen *frozen = &index->frozen;
    struct state state = {
        .version = STATE_VERSION,
        .dimension = index->options.dimension,
        .metric = (uint32_t)index->options.metric,
        .m = index->options.params.m,
        .ef_construction = index->options.params.ef_construction,
        .quantization = (uint32_t)index->options.params.quantization,
        .slots = frozen->slots,
        .live = frozen->live_count,
        .free_count = frozen->free_count,
        .graph_rows = frozen->graph_rows,
        .upper_rows = frozen->upper_rows,
        .entry = frozen->entry,
        .pending_count = frozen->pending_count,
        .seed = index->options.seed,
        .crowding = frozen->crowding,
    };
    return ak_image_put(writer, AK_IMAGE_INDEX_STATE, sizeof state, 1, &state, err);
}

static enum ak_rc put(struct ak_image_writer *writer, uint32_t kind, uint64_t stride, uint64_t rows,
                      const void *p, struct ak_err *err)
{
    return rows ? ak_image_put(writer, kind, stride, rows, p, err) : AK_OK;
}

static enum ak_rc put_codes(struct ak_index *index, struct ak_image_writer *writer,
                            struct ak_err *err)
{
    struct ak_codes *codes = index->frozen.codes;
    uint64_t slots = index->frozen.slots;
    struct ak_buf bytes;
    if (!codes || slots == 0) {
        return AK_OK;
    }
    ak_buf_init(&bytes, 0);
    ak_quantizer_write(codes->quantizer, &bytes);
    enum ak_rc rc = ak_buf_check(&bytes, err);
    if (rc == AK_OK) {
        rc = ak_image_put(writer, AK_IMAGE_QUANTIZER, 1, bytes.len, bytes.p, err);
    }
    ak_buf_release(&bytes);
    if (rc == AK_OK) {
        rc = put_slab(index, writer, AK_IMAGE_CODES, &codes->rows, slots, err);
    }
    if (rc == AK_OK && ak_codes_have_terms(codes)) {
        rc = put_slab(index, writer, AK_IMAGE_CODE_TERMS, &codes->terms, slots, err);
    }
    return rc;
}

static enum ak_rc write_sections(struct ak_index *index, struct ak_image_writer *writer,
                                 struct ak_err *err)
{
    const struct ak_frozen *frozen = &index->frozen;
    uint64_t words = ak_bits_words(frozen->slots);
    bool has_dead = frozen->live_count < frozen->slots;
    enum ak_rc rc = put_state(index, writer, err);
    if (rc == AK_OK) {
        rc = put_slab(index, writer, AK_IMAGE_LINKS, &index->links, frozen->graph_rows, err);
    }
    if (rc == AK_OK) {
        rc = put_slab(index, writer, AK_IMAGE_UPPER, &index->upper, frozen->upper_rows, err);
    }
    if (rc == AK_OK) {
        ak_gate_set_frozen(&index->gate, false); /* what follows does not change by linking */
        rc = put_slab(index, writer, AK_IMAGE_LEVELS, &index->levels, frozen->graph_rows, err);
    }
    if (rc == AK_OK) {
        rc = put_slab(index, writer, AK_IMAGE_VECTORS, &index->vectors, frozen->slots, err);
    }
    if (rc == AK_OK && index->has_scales) {
        rc = put_slab(index, writer, AK_IMAGE_SCALES, &index->scales, frozen->slots, err);
    }
    if (rc == AK_OK) {
        rc = put_codes(index, writer, err);
    }
    if (rc == AK_OK) {
        rc = put(writer, AK_IMAGE_DELETED, sizeof(uint64_t), has_dead ? words : 0, frozen->dead,
                 err);
    }
    if (rc == AK_OK) {
        rc = put(writer, AK_IMAGE_FREE, sizeof(uint64_t), frozen->free_count ? words : 0,
                 frozen->unlinked, err);
    }
    if (rc == AK_OK) {
        rc = put(writer, AK_IMAGE_PENDING, sizeof(uint32_t), frozen->pending_count, frozen->pending,
                 err);
    }
    return rc;
}

enum ak_rc ak_index_write(struct ak_index *index, struct ak_image_writer *writer,
                          struct ak_err *err)
{
    AK_ASSERT(index->frozen.on);
    return write_sections(index, writer, err);
}

/* --- Loading --- */

struct load {
    struct ak_index *index;
    const struct ak_image *image;
    struct state state;
    uint64_t words;
};

#define CORRUPT(err, ...) ak_fail(err, AK_CORRUPT, "index image: " __VA_ARGS__)

static enum ak_rc read_state(struct load *load, const struct ak_index_options *options,
                             struct ak_err *err)
{
    struct ak_image_section section;
    enum ak_rc rc =
        ak_image_need(load->image, AK_IMAGE_INDEX_STATE, sizeof load->state, 1, &section, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct state *state = &load->state;
    memcpy(state, section.p, sizeof *state);
    if (state->version != STATE_VERSION) {
        return ak_fail(err, AK_UNSUPPORTED, "index image of version %u, this reads %u",
                       state->version, STATE_VERSION);
    }
    if (state->quantization >= AK_QUANTIZATION_COUNT) {
        return ak_fail(err, AK_UNSUPPORTED,
                       "index image with codes of kind %u, which this program does not know: a "
                       "newer one wrote it",
                       state->quantization);
    }
    if (state->dimension != options->dimension || state->metric != (uint32_t)options->metric ||
        state->m != options->params.m ||
        state->quantization != (uint32_t)options->params.quantization) {
        return CORRUPT(err, "it is of dimension %u, metric %u, m %u, not %u, %u, %u",
                       state->dimension, state->metric, state->m, options->dimension,
                       (unsigned)options->metric, options->params.m);
    }
    if (state->slots > AK_SLOTS_MAX || state->live > state->slots ||
        state->free_count > state->slots - state->live || state->pending_count > state->live ||
        state->graph_rows > state->slots || state->upper_rows > state->graph_rows * AK_LEVEL_MAX ||
        state->upper_rows > UINT32_MAX ||
        !(state->crowding >= 0.0f && state->crowding <= FLT_MAX)) {
        return CORRUPT(err, "its counts contradict each other");
    }
    load->words = ak_bits_words(state->slots);
    return AK_OK;
}

/* A section as a slab's view; without rows the slab stays empty. */
static enum ak_rc view(struct load *load, uint32_t kind, struct ak_slab *slab, uint64_t rows,
                       struct ak_err *err)
{
    struct ak_image_section section;
    if (rows == 0) {
        return AK_OK;
    }
    enum ak_rc rc = ak_image_need(load->image, kind, slab->stride, rows, &section, err);
    if (rc == AK_OK) {
        ak_slab_init_view(slab, slab->stride, slab->huge, slab->epoch, section.p, rows,
                          ak_image_fd(load->image), section.file_at);
    }
    return rc;
}

/* Codes are there from a number of rows on; an image without them is walked in floats. */
static enum ak_rc load_codes(struct load *load, struct ak_err *err)
{
    struct ak_index *index = load->index;
    struct ak_image_section section;
    struct ak_quantizer *quantizer = NULL;
    if (index->options.params.quantization == AK_QUANTIZATION_NONE ||
        !ak_image_find(load->image, AK_IMAGE_QUANTIZER, &section)) {
        return AK_OK;
    }
    enum ak_rc rc = ak_quantizer_read((struct ak_str){section.p, (size_t)section.len},
                                      index->options.dimension, &quantizer, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (ak_quantizer_codec(quantizer) != index->options.params.quantization) {
        rc = CORRUPT(err, "its codes are %s, the collection's are %s",
                     ak_quantization_name(ak_quantizer_codec(quantizer)),
                     ak_quantization_name(index->options.params.quantization));
        ak_quantizer_close(quantizer);
        return rc;
    }
    struct ak_codes *codes = ak_codes_make(index, quantizer);
    if (!codes) {
        return ak_fail(err, AK_NOMEM, "codes");
    }
    rc = view(load, AK_IMAGE_CODES, &codes->rows, load->state.slots, err);
    if (rc == AK_OK && ak_codes_have_terms(codes)) {
        rc = view(load, AK_IMAGE_CODE_TERMS, &codes->terms, load->state.slots, err);
    }
    atomic_store_explicit(&index->codes, codes, memory_order_release); /* the index closes them */
    return rc;
}

static enum ak_rc load_views(struct load *load, struct ak_err *err)
{
    struct ak_index *index = load->index;
    const struct state *state = &load->state;
    enum ak_rc rc = view(load, AK_IMAGE_VECTORS, &index->vectors, state->slots, err);
    if (rc == AK_OK && ak_index_is_on_disk(index)) {
        ak_slab_stay_in_file(&index->vectors);
    }
    if (rc == AK_OK && index->has_scales) {
        rc = view(load, AK_IMAGE_SCALES, &index->scales, state->slots, err);
    }
    if (rc == AK_OK) {
        rc = load_codes(load, err);
    }
    if (rc == AK_OK) {
        rc = view(load, AK_IMAGE_LINKS, &index->links, state->graph_rows, err);
    }
    if (rc == AK_OK) {
        rc = view(load, AK_IMAGE_LEVELS, &index->levels, state->graph_rows, err);
    }
    if (rc == AK_OK) {
        rc = view(load, AK_IMAGE_UPPER, &index->upper, state->upper_rows, err);
    }
    return rc;
}

static enum ak_rc load_bits(struct load *load, uint32_t kind, bool present, struct ak_slab *slab,
                            uint64_t want, struct ak_err *err)
{
    enum ak_rc rc = ak_slab_reserve(slab, load->words, err);
    if (rc != AK_OK || !present) {
        return rc;
    }
    struct ak_image_section section;
    rc = ak_image_need(load->image, kind, sizeof(uint64_t), load->words, &section, err);
    if (rc != AK_OK) {
        return rc;
    }
    const uint64_t *from = section.p;
    uint64_t *to = ak_index_words(slab);
    uint64_t count = 0;
    for (uint64_t at = 0; at < load->words; at++) {
        to[at] = ak_bits_clip(from[at], at, load->state.slots);
        count += (uint64_t)__builtin_popcountll(to[at]);
    }
    return count == want ? AK_OK
                         : CORRUPT(err, "section %u marks %llu rows, not %llu", kind,
                                   (unsigned long long)count, (unsigned long long)want);
}

static enum ak_rc load_pending(struct load *load, struct ak_err *err)
{
    struct ak_index *index = load->index;
    const struct state *state = &load->state;
    const uint64_t *dead = ak_index_words(&index->dead);
    uint64_t *linked = ak_index_words(&index->linked);
    /* First all that is not free, then without what is pending. */
    for (uint64_t at = 0; at < load->words; at++) {
        linked[at] = ak_bits_clip(~ak_index_words(&index->unlinked)[at], at, state->graph_rows);
    }
    uint64_t count = state->graph_rows ? state->pending_count : state->live;
    enum ak_rc rc = ak_pending_reserve(&index->pending, count, index->options.epoch, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (state->graph_rows == 0) {
        for (uint32_t slot = 0; slot < state->slots; slot++) {
            if (!ak_bits_test(dead, slot)) {
                ak_pending_push(&index->pending, slot);
            }
        }
        return AK_OK;
    }
    struct ak_image_section section = {0};
    if (count > 0) {
        rc = ak_image_need(load->image, AK_IMAGE_PENDING, sizeof(uint32_t), count, &section, err);
    }
    const uint32_t *slots = section.p;
    for (uint64_t i = 0; i < count && rc == AK_OK; i++) {
        uint32_t slot = slots[i];
        if (slot >= state->graph_rows || ak_bits_test(dead, slot) || !ak_bits_test(linked, slot)) {
            return CORRUPT(err, "pending row %u is past the end, removed or named twice", slot);
        }
        ak_bits_clear(linked, slot);
        ak_pending_push(&index->pending, slot);
    }
    return rc;
}

/* States of slots that the bitmaps must not contradict. */
static enum ak_rc check_bits(struct load *load, struct ak_err *err)
{
    struct ak_index *index = load->index;
    const struct state *state = &load->state;
    const uint64_t *dead = ak_index_words(&index->dead);
    const uint64_t *unlinked = ak_index_words(&index->unlinked);
    const uint64_t *linked = ak_index_words(&index->linked);
    uint64_t linked_count = 0;
    for (uint64_t at = 0; at < load->words; at++) {
        if (unlinked[at] & ~dead[at]) {
            return CORRUPT(err, "a free row is not removed");
        }
        linked_count += (uint64_t)__builtin_popcountll(linked[at]);
    }
    if (state->graph_rows != 0 && state->graph_rows != state->slots) {
        return CORRUPT(err, "%llu rows of links for %llu rows",
                       (unsigned long long)state->graph_rows, (unsigned long long)state->slots);
    }
    atomic_store_explicit(&index->linked_count, linked_count, memory_order_relaxed);
    uint32_t entry = ak_entry_slot(state->entry);
    bool none = state->entry == AK_ENTRY_NONE;
    if (none ? linked_count > 0
             : entry >= state->graph_rows || !ak_bits_test(linked, entry) ||
                   ak_index_level(index, entry) != ak_entry_level(state->entry)) {
        return CORRUPT(err, "the entry point is not a linked row of its level");
    }
    return AK_OK;
}

/* Every link below `rows` or empty; the loop has no branch, so that it runs over vectors. */
static bool links_are_in(const uint32_t *links, uint64_t count, uint32_t rows)
{
    uint32_t out = 0;
    for (uint64_t i = 0; i < count; i++) {
        out |= (uint32_t)(links[i] + 1 > rows);
    }
    return !out;
}

static bool upper_row_is_right(const struct ak_index *index, uint32_t slot, uint32_t level)
{
    const uint32_t *row = ak_index_row(index, slot, level);
    for (uint32_t i = 0; i < index->upper_degree; i++) {
        if (row[i] != AK_LINK_NONE && (ak_index_level(index, row[i]) < level ||
                                       !ak_bits_test(ak_index_words(&index->linked), row[i]))) {
            return false;
        }
    }
    return true;
}

static enum ak_rc load_graph(struct load *load, struct ak_err *err)
{
    struct ak_index *index = load->index;
    const struct state *state = &load->state;
    uint32_t rows = (uint32_t)state->graph_rows;
    if (rows == 0) {
        return AK_OK;
    }
    enum ak_rc rc = ak_slab_reserve(&index->upper_at, rows, err);
    if (rc != AK_OK) {
        return rc;
    }
    uint32_t *upper_at = (uint32_t *)(void *)ak_slab_base(&index->upper_at);
    uint64_t next = 0;
    for (uint32_t slot = 0; slot < rows; slot++) {
        uint32_t level = ak_index_level(index, slot);
        upper_at[slot] = (uint32_t)next;
        next += level;
        if (level > AK_LEVEL_MAX || next > state->upper_rows) {
            return CORRUPT(err, "row %u has level %u", slot, level);
        }
    }
    const void *links = ak_slab_base(&index->links);
    const void *upper = ak_slab_base(&index->upper);
    if (next != state->upper_rows || !links_are_in(links, (uint64_t)rows * index->degree, rows) ||
        !links_are_in(upper, state->upper_rows * index->upper_degree, rows)) {
        return CORRUPT(err, "a link leads past the last row, or upper rows are missing");
    }
    for (uint32_t slot = 0; slot < rows; slot++) {
        for (uint32_t level = ak_index_level(index, slot); level > 0; level--) {
            if (ak_bits_test(ak_index_words(&index->linked), slot) &&
                !upper_row_is_right(index, slot, level)) {
                return CORRUPT(err, "row %u links to one that is not on level %u", slot, level);
            }
        }
    }
    return AK_OK;
}

static enum ak_rc load_all(struct load *load, struct ak_err *err)
{
    struct ak_index *index = load->index;
    const struct state *state = &load->state;
    uint64_t dead_count = state->slots - state->live;
    enum ak_rc rc = load_views(load, err);
    if (rc == AK_OK) {
        rc = load_bits(load, AK_IMAGE_DELETED, dead_count > 0, &index->dead, dead_count, err);
    }
    if (rc == AK_OK) {
        rc = load_bits(load, AK_IMAGE_FREE, state->free_count > 0, &index->unlinked,
                       state->free_count, err);
    }
    if (rc == AK_OK) {
        rc = ak_slab_reserve(&index->linked, load->words, err);
    }
    if (rc == AK_OK) {
        rc = load_pending(load, err);
    }
    if (rc == AK_OK) {
        rc = check_bits(load, err);
    }
    if (rc == AK_OK) {
        rc = load_graph(load, err);
    }
    return rc;
}

enum ak_rc ak_index_load(const struct ak_index_options *options, const struct ak_image *image,
                         struct ak_index **index, struct ak_err *err)
{
    struct load load = {.image = image};
    enum ak_rc rc = read_state(&load, options, err);
    if (rc == AK_OK) {
        rc = ak_index_make(options, &load.index, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    rc = load_all(&load, err);
    if (rc != AK_OK) {
        ak_index_close(load.index);
        return rc;
    }
    const struct state *state = &load.state;
    struct ak_index *loaded = load.index;
    loaded->options.seed = state->seed;
    atomic_store_explicit(&loaded->crowding, state->crowding, memory_order_relaxed);
    atomic_store_explicit(&loaded->graph_rows, state->graph_rows, memory_order_relaxed);
    atomic_store_explicit(&loaded->upper_rows, state->upper_rows, memory_order_relaxed);
    atomic_store_explicit(&loaded->live, state->live, memory_order_relaxed);
    atomic_store_explicit(&loaded->unlinked_count, state->free_count, memory_order_relaxed);
    atomic_store_explicit(&loaded->tombstones, state->slots - state->live - state->free_count,
                          memory_order_relaxed);
    atomic_store_explicit(&loaded->slots, state->slots, memory_order_release);
    atomic_store_explicit(&loaded->entry, state->entry, memory_order_release);
    ak_index_pick_next(loaded);
    ak_index_account(loaded);
    *index = loaded;
    return AK_OK;
}

static enum ak_rc dead_bits(const struct load *load, const uint64_t **dead, struct ak_err *err)
{
    struct ak_image_section section;
    enum ak_rc rc =
        ak_image_need(load->image, AK_IMAGE_DELETED, sizeof(uint64_t), load->words, &section, err);
    if (rc != AK_OK) {
        return rc;
    }
    const uint64_t *words = section.p;
    uint64_t count = 0;
    for (uint64_t at = 0; at < load->words; at++) {
        count += (uint64_t)__builtin_popcountll(ak_bits_clip(words[at], at, load->state.slots));
    }
    if (count != load->state.slots - load->state.live) {
        return CORRUPT(err, "%llu rows are marked as removed, not %llu", (unsigned long long)count,
                       (unsigned long long)(load->state.slots - load->state.live));
    }
    *dead = words;
    return AK_OK;
}

enum ak_rc ak_index_rows_of(const struct ak_index_options *options, const struct ak_image *image,
                            struct ak_index_rows *rows, struct ak_err *err)
{
    struct load load = {.image = image};
    struct ak_image_section section = {0};
    const uint64_t *dead = NULL;
    size_t stride = ((size_t)options->dimension * sizeof(float) + 63) / 64 * 64;
    enum ak_rc rc = read_state(&load, options, err);
    const struct state *state = &load.state;
    if (rc == AK_OK && state->slots) {
        rc = ak_image_need(image, AK_IMAGE_VECTORS, stride, state->slots, &section, err);
    }
    if (rc == AK_OK && state->live < state->slots) {
        rc = dead_bits(&load, &dead, err);
    }
    if (rc == AK_OK) {
        *rows = (struct ak_index_rows){.vectors = section.p,
                                       .stride = stride,
                                       .vectors_at = section.file_at,
                                       .slots = state->slots,
                                       .live = state->live,
                                       .dead = dead};
    }
    return rc;
}

/* --- Thawing --- */

enum { IMAGE_SLABS = 7 };

/* The slabs that may be views of the image; NULL at the end without codes. */
static void image_slabs(struct ak_index *index, struct ak_slab *slabs[IMAGE_SLABS])
{
    struct ak_codes *codes = ak_index_codes(index);
    slabs[0] = &index->vectors;
    slabs[1] = &index->scales;
    slabs[2] = &index->links;
    slabs[3] = &index->levels;
    slabs[4] = &index->upper;
    slabs[5] = codes ? &codes->rows : NULL;
    slabs[6] = codes && ak_codes_have_terms(codes) ? &codes->terms : NULL;
}

static enum ak_rc thaw_slabs(struct ak_index *index, struct ak_err *err)
{
    struct ak_slab *slabs[IMAGE_SLABS];
    enum ak_rc rc = ak_index_codes(index) ? ak_codes_scratch(index, err) : AK_OK;
    image_slabs(index, slabs);
    for (size_t i = 0; i < IMAGE_SLABS && rc == AK_OK; i++) {
        if (slabs[i] && ak_slab_is_view(slabs[i])) {
            rc = ak_slab_thaw(slabs[i], err);
            /* Readers may hold the view, which will not show what is written from now on. */
            ak_index_hold(index);
        }
    }
    return rc;
}

enum ak_rc ak_index_own(struct ak_index *index, struct ak_err *err)
{
    struct ak_slab *slabs[IMAGE_SLABS];
    enum ak_rc rc = AK_OK;
    ak_gate_close(&index->gate);
    image_slabs(index, slabs);
    for (size_t i = 0; i < IMAGE_SLABS && rc == AK_OK; i++) {
        if (slabs[i] && ak_slab_is_borrowed(slabs[i])) {
            rc = ak_slab_own(slabs[i], err);
            ak_index_hold(index); /* as in thaw_slabs() */
        }
    }
    ak_gate_open(&index->gate);
    ak_index_account(index);
    return rc;
}

static enum ak_rc give_free(struct ak_index *index, struct ak_err *err)
{
    uint64_t count = get(&index->unlinked_count);
    if (count == 0) {
        return AK_OK;
    }
    struct ak_reclaim_batch *batch = ak_reclaim_batch(index->reclaim, count);
    if (!batch) {
        return ak_fail(err, AK_NOMEM, "list of %llu free rows", (unsigned long long)count);
    }
    for (uint64_t slot = get(&index->slots); slot-- > 0;) {
        if (ak_bits_test(ak_index_words(&index->unlinked), slot)) {
            ak_reclaim_batch_add(batch, (uint32_t)slot);
        }
    }
    ak_reclaim_give(batch);
    return AK_OK;
}

enum ak_rc ak_index_thaw(struct ak_index *index, struct ak_err *err)
{
    if (atomic_load_explicit(&index->writable, memory_order_relaxed)) {
        return AK_OK;
    }
    uint64_t slots = get(&index->slots);
    ak_gate_close(&index->gate);
    enum ak_rc rc = thaw_slabs(index, err);
    /* A graph may be due though the image has none: exact_below is not part of it. */
    bool graph = get(&index->graph_rows) > 0 || get(&index->live) > index->exact_below;
    if (rc == AK_OK && graph) {
        rc = ak_index_grow_graph(index, slots, err);
    }
    if (rc == AK_OK && graph) {
        ak_codes_start_if_due(index);
    }
    ak_gate_open(&index->gate);
    if (rc == AK_OK) {
        rc = give_free(index, err);
    }
    if (rc == AK_OK) {
        (void)ak_epoch_collect(index->options.epoch); /* ends the holds when nobody is inside */
        ak_index_pick_next(index);
        ak_index_account(index);
        atomic_store_explicit(&index->writable, true, memory_order_release);
    }
    return rc;
}
