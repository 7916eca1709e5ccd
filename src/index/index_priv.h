/* index_priv.h — what the files of the index share: its struct, views for one operation, and the
 * small inline steps that all of them take. Never leaves this folder. */
#pragma once
#include "base/limits.h"
#include "base/mem.h"
#include "base/slab.h"
#include "base/sync.h"
#include "index/index.h"
#include "index/quantizer.h"
#include "simd/simd.h"
#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#define AK_LINK_NONE UINT32_MAX  /* an empty place in a row of links */
#define AK_ENTRY_NONE UINT64_MAX /* no entry point: nothing is linked */
#define AK_POOL_DONE 0x80000000u /* mark in a pool's id: its links have been followed */
#define AK_LEVEL_MAX 15u         /* 4^15 passes AK_SLOTS_MAX / 2 */
#define AK_DEGREE_MAX 128u       /* links of a row: 2·m, m up to 64 */
#define AK_CONTEXTS 8            /* search contexts kept for reuse */
#define AK_INDEX_EF_TYPICAL 64   /* what exact_below is weighed against */
#define AK_NODE_LOCKS 1024       /* power of two */
#define AK_CODE_ROOM 4096        /* rows of larger dimension are linked by floats */
#define AK_HOP_ROWS 64u          /* new rows of a hop through two links that are enough */
#define AK_WALK_SEEDS 32u        /* rows of a filter that a walk under it starts from */
#define AK_SERIAL_ROWS 1024      /* linked by one builder at a time: a sound core first */

#if defined(__SANITIZE_THREAD__)
#define AK_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define AK_TSAN 1
#endif
#endif
#ifndef AK_TSAN
#define AK_TSAN 0
#endif

/* --- Bits and links: shared words, so always through these --- */

static inline uint64_t ak_bits_words(uint64_t bits)
{
    return (bits + 63) / 64;
}

/* Acquire pairs with the release in ak_bits_set and ak_bits_clear: what was written to a row before
 * its bit changed is seen by whoever sees the bit. */
static inline uint64_t ak_bits_word(const uint64_t *words, uint64_t at)
{
    return atomic_load_explicit((const _Atomic uint64_t *)(const void *)&words[at],
                                memory_order_acquire);
}

static inline bool ak_bits_test(const uint64_t *words, uint64_t at)
{
    return ak_bits_word(words, at / 64) >> (at % 64) & 1;
}

static inline void ak_bits_set(uint64_t *words, uint64_t at)
{
    atomic_fetch_or_explicit((_Atomic uint64_t *)(void *)&words[at / 64], (uint64_t)1 << (at % 64),
                             memory_order_release);
}

static inline void ak_bits_clear(uint64_t *words, uint64_t at)
{
    atomic_fetch_and_explicit((_Atomic uint64_t *)(void *)&words[at / 64],
                              ~((uint64_t)1 << (at % 64)), memory_order_release);
}

/* The word without the bits at or past `bits`. */
static inline uint64_t ak_bits_clip(uint64_t word, uint64_t at, uint64_t bits)
{
    if (at * 64 >= bits) {
        return 0;
    }
    return bits - at * 64 >= 64 ? word : word & (((uint64_t)1 << (bits % 64)) - 1);
}

/* Acquire and release pair with each other: whoever follows a link sees the row it leads to. On
 * x86 both are plain moves, which is what the vector loads of the other search bodies rely on. */
static inline uint32_t ak_link_get(const uint32_t *link)
{
    return atomic_load_explicit((const _Atomic uint32_t *)(const void *)link, memory_order_acquire);
}

static inline void ak_link_set(uint32_t *link, uint32_t slot)
{
    atomic_store_explicit((_Atomic uint32_t *)(void *)link, slot, memory_order_release);
}

/* --- Distances --- */

/* One query against rows. "Distance" here is whatever orders rows nearest first at least cost:
 * cosine −q·x/‖x‖, dot −q·x, l2 ‖q−x‖². Building needs true squared distances, for α-pruning
 * multiplies them: bias + gain · distance, see ak_measure_for_row. */
struct ak_measure {
    const struct ak_simd *simd;
    const char *vectors;
    size_t stride;
    const float *scales; /* 1/‖x‖ of each row, where angles are measured; NULL: not */
    const float *query;
    uint32_t dimension;
    bool is_l2;
    /* On byte codes (codes.c): then `vectors` and `stride` are theirs. */
    const int8_t *code_query; /* NULL: floats */
    const float *code_terms;  /* a row's part beside the product, or NULL */
    float code_bias;
    float code_gain;
    float code_term_gain;
    /* Codes of few bits, whose rows have factors of their own: then len is not 0, and gain and
     * term_gain are theirs. */
    void (*code_dot_x4)(const int8_t *query, const uint8_t *const rows[4], size_t len,
                        int32_t out[4]);
    uint32_t code_len;
    uint32_t code_factor_at; /* in a row */
    uint32_t code_term_at;
    uint32_t code_again; /* ak_quantizer_again() */
    float code_offset;
    float code_doubt; /* rows farther apart hardly ever change places in floats */
    float slack;      /* true distances up to here are rounding */
    float bias;
    float gain; /* 0: no true distances under this metric */
};

static inline const float *ak_measure_row(const struct ak_measure *measure, uint32_t slot)
{
    return (const float *)(const void *)(measure->vectors + slot * measure->stride);
}

/* NaN and the infinities become the ends of the float range, so that every row has a place in the
 * order and a search for k rows finds k whatever they hold. */
static inline float ak_finite(float distance)
{
    float low = distance < FLT_MAX ? distance : FLT_MAX;
    return low > -FLT_MAX ? low : -FLT_MAX;
}

/* See struct ak_bits_query. */
static inline void ak_measure_bits_x4(const struct ak_measure *measure, const uint32_t slots[4],
                                      float out[4])
{
    int32_t raw[4];
    const uint8_t *rows[4];
    for (int i = 0; i < 4; i++) {
        rows[i] = (const uint8_t *)measure->vectors + slots[i] * measure->stride;
    }
    measure->code_dot_x4(measure->code_query, rows, measure->code_len, raw);
    for (int i = 0; i < 4; i++) {
        float factor;
        float term;
        memcpy(&factor, rows[i] + measure->code_factor_at, sizeof factor);
        memcpy(&term, rows[i] + measure->code_term_at, sizeof term);
        float product = measure->code_gain * (float)raw[i] + measure->code_offset;
        out[i] = ak_finite(measure->code_bias + factor * product + measure->code_term_gain * term);
    }
}

static inline void ak_measure_codes_x4(const struct ak_measure *measure, const uint32_t slots[4],
                                       float out[4])
{
    int32_t raw[4];
    const uint8_t *rows[4];
    for (int i = 0; i < 4; i++) {
        rows[i] = (const uint8_t *)measure->vectors + slots[i] * measure->stride;
    }
    measure->simd->dot_u8s8_x4(measure->code_query, rows, measure->stride, raw);
    for (int i = 0; i < 4; i++) {
        out[i] = measure->code_bias + measure->code_gain * (float)raw[i];
    }
    if (measure->code_terms) {
        for (int i = 0; i < 4; i++) {
            out[i] += measure->code_term_gain * measure->code_terms[slots[i]];
        }
    }
    for (int i = 0; i < 4; i++) {
        out[i] = ak_finite(out[i]);
    }
}

/* Always four at a time, a lone row four times over: the kernels for one and for four round
 * differently, and equal rows must get equal scores. */
static inline void ak_measure_x4(const struct ak_measure *measure, const uint32_t slots[4],
                                 float out[4])
{
    if (measure->code_len) {
        ak_measure_bits_x4(measure, slots, out);
        return;
    }
    if (measure->code_query) {
        ak_measure_codes_x4(measure, slots, out);
        return;
    }
    const float *rows[4] = {ak_measure_row(measure, slots[0]), ak_measure_row(measure, slots[1]),
                            ak_measure_row(measure, slots[2]), ak_measure_row(measure, slots[3])};
    if (measure->is_l2) {
        measure->simd->l2_x4(measure->query, rows, measure->dimension, out);
        for (int i = 0; i < 4; i++) {
            out[i] = ak_finite(out[i]);
        }
        return;
    }
    measure->simd->dot_x4(measure->query, rows, measure->dimension, out);
    for (int i = 0; i < 4; i++) {
        float scale = measure->scales ? measure->scales[slots[i]] : 1.0f;
        out[i] = ak_finite(-out[i] * scale);
    }
}

static inline float ak_measure_one(const struct ak_measure *measure, uint32_t slot)
{
    const uint32_t slots[4] = {slot, slot, slot, slot};
    float out[4];
    ak_measure_x4(measure, slots, out);
    return out[0];
}

/* out[0 .. n rounded up to a multiple of 4). */
static inline void ak_measure_rows(const struct ak_measure *measure, const uint32_t *slots,
                                   uint32_t n, float *out)
{
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        ak_measure_x4(measure, slots + i, out + i);
    }
    if (i < n) {
        uint32_t last[4];
        for (uint32_t j = 0; j < 4; j++) {
            last[j] = slots[i + j < n ? i + j : n - 1];
        }
        ak_measure_x4(measure, last, out + i);
    }
}

/* The other way round. */
static inline float ak_measure_from_true(const struct ak_measure *measure, float distance)
{
    return (distance - measure->bias) / measure->gain;
}

static inline float ak_measure_true(const struct ak_measure *measure, float distance)
{
    float d = measure->bias + measure->gain * distance;
    return d > 0.0f ? d : 0.0f;
}

/* GCC 12 has been seen to drop all but the first of a loop of __builtin_prefetch. */
static inline void ak_prefetch(const void *p)
{
#if defined(__x86_64__)
    __asm__ volatile("prefetcht0 %0" : : "m"(*(const char *)p));
#else
    __builtin_prefetch(p, 0, 3);
#endif
}

/* --- Contexts: the memory of one search or one insert, reused --- */

struct ak_found {
    float distance;
    uint32_t slot;
};

struct ak_context {
    uint64_t *visited; /* bitmap of slots; all zero between walks */
    uint64_t visited_words;
    uint32_t *touched; /* slots whose bit is set, unless touched_over */
    uint32_t touched_cap;
    uint32_t touched_count;
    bool touched_over;    /* more bits than fit: clear the whole bitmap */
    float *pool_distance; /* sorted; room for pool_cap and 16 more of each */
    uint32_t *pool_id;    /* slot, or slot | AK_POOL_DONE */
    uint32_t pool_cap;
    uint32_t pool_count;
    struct ak_found *found; /* a heap: the nearest rows of a scan */
    uint32_t found_cap;
    uint32_t found_count;
    struct ak_found *candidates; /* building */
    uint32_t candidates_cap;
    uint32_t *chosen;    /* building: a row of links per level */
    uint32_t *scratch;   /* building: of one prune */
    float *query;        /* f32[dimension], 64-byte aligned */
    int8_t *code_query;  /* i8[stride of a code]; NULL until a walk on codes */
    float *code_scratch; /* f32[dimension] */
    size_t counted;      /* bytes that the index's context_bytes has for this one */
};

/* --- Pending rows: pending.c --- */

struct ak_pending_ring {
    uint64_t cap;          /* power of two */
    _Atomic uint32_t at[]; /* slot, or AK_LINK_NONE: linked by now */
};

/* Positions count up for ever; position p lives at p & (cap − 1).
 * head ≤ claim ≤ tail: [head, claim) is with builders or done, [claim, tail) waits. */
struct ak_pending {
    struct ak_mutex lock;
    _Atomic(struct ak_pending_ring *) ring; /* NULL: never used. Release on growth */
    _Atomic uint64_t head;                  /* release: all rows before it are linked */
    _Atomic uint64_t tail;                  /* release: the entries before it are written */
    uint64_t claim;                         /* under lock */
    _Atomic uint64_t count;                 /* not linked yet */
};

/* --- The gate: who may change links --- */

struct ak_gate {
    struct ak_mutex lock;
    struct ak_cond changed;
    uint32_t active;  /* inside now */
    uint32_t closers; /* nobody enters while there are any */
    bool closed;      /* one of them has it */
    bool frozen;      /* links are being written out: nobody enters either */
};

/* Freed slots on their way back: outlives the index while the epoch holds batches. */
struct ak_reclaim;

/* Rows on their way to lower slots: moves.c. Changed with the gate closed, read inside of it. */
struct ak_leaving {
    const uint32_t *to_of; /* of slots [low, low + span): where it goes, or AK_LINK_NONE; NULL:
                            * none leaves */
    uint32_t low;
    uint64_t span;
};

static inline uint32_t ak_leaving_to(const struct ak_leaving *leaving, uint32_t slot)
{
    bool is_in = leaving->to_of && slot >= leaving->low && slot - leaving->low < leaving->span;
    return is_in ? leaving->to_of[slot - leaving->low] : AK_LINK_NONE;
}

struct ak_frozen {
    bool on;
    uint64_t slots;
    uint64_t graph_rows;
    uint64_t upper_rows;
    uint64_t entry;
    uint64_t live_count;
    uint64_t free_count;
    float crowding;
    struct ak_codes *codes; /* borrowed: not replaced while it is on */
    uint64_t *dead;
    uint64_t *unlinked;
    uint64_t *live;
    uint32_t *pending;
    uint64_t pending_count;
};

struct ak_codes {
    struct ak_quantizer *quantizer;
    struct ak_slab rows;  /* see ak_quantizer_code_bytes() */
    struct ak_slab terms; /* u8, f32: Σ (c − 128)² of each row; others have theirs in the rows */
    uint8_t *ones;        /* a code of nothing but 1: its product with another is that one's sum */
};

/* New codes in the making: codes_renew.c. */
enum ak_renewal_state {
    AK_RENEWAL_NONE,
    AK_RENEWAL_WANTED,
    AK_RENEWAL_WORKING,
    AK_RENEWAL_READY,
    AK_RENEWAL_FAILED, /* the old ones serve on */
    AK_RENEWAL_REFUSED /* no codes would do: the old ones go */
};

struct ak_renewal {
    _Atomic int state;     /* pairs with itself: what goes with a state is written before it */
    struct ak_codes *next; /* the builder's while WORKING, the writer's otherwise; so is `done` */
    uint64_t done;         /* rows encoded */
    uint32_t *reused;      /* from here on: the writer's */
    uint32_t reused_count;
    bool reused_over;
    uint64_t encoded, clipped; /* rows and bytes since the codes in use were made */
    uint64_t not_before;       /* live rows, after a failure */
    _Atomic bool is_doubtful;  /* too much was clipped: floats until new ones are there. Relaxed:
                                * both are right, one is slower */
};

struct ak_index {
    struct ak_index_options options;
    const struct ak_simd *simd;
    const struct ak_walk_ops *walk;
    uint32_t degree;       /* links of a row at level 0: 2·m */
    uint32_t upper_degree; /* and above: m */
    uint64_t exact_below;
    bool has_scales;
    _Atomic bool writable; /* false: loaded, not thawed. Release after the last thaw */

    struct ak_slab vectors;           /* f32[dimension], padded to 64 bytes with zeros */
    struct ak_slab scales;            /* f32: 1/‖x‖; l2 has none */
    _Atomic(struct ak_codes *) codes; /* NULL: none (yet). Release: every row has its code */
    float *code_scratch;              /* the writer's */
    struct ak_renewal renewal;
    struct ak_slab dead;     /* bits: removed or free */
    struct ak_slab linked;   /* bits: in the graph */
    struct ak_slab unlinked; /* bits: removed, and no link leads here: free or about to be */
    struct ak_slab links;    /* from here on: graph_rows rows */
    struct ak_slab levels;   /* u8 */
    struct ak_slab upper_at; /* u32: first of the slot's rows in `upper`, one a level */
    struct ak_slab upper;    /* u32[m] */

    _Atomic uint64_t slots; /* release: the rows before it are written */
    _Atomic uint64_t live;
    _Atomic uint64_t tombstones; /* dead and not unlinked */
    _Atomic uint64_t unlinked_count;
    _Atomic uint64_t linked_count; /* rows in the graph, dead ones too */
    _Atomic uint64_t entry;        /* level << 32 | slot. Release: its rows are written */
    _Atomic uint64_t graph_rows;   /* rows that have a level; the writer's. Release */
    _Atomic uint64_t upper_rows;

    uint64_t high; /* slots before they were cut, until that is over: vacuum.c; the writer's */
    uint32_t next; /* slot of the next add; the writer's */
    bool next_is_freed;
    struct ak_reclaim *reclaim;
    struct ak_pending pending;
    struct ak_gate gate;
    struct ak_mutex serial; /* the first AK_SERIAL_ROWS inserts */
    _Atomic uint8_t *node_locks;
    struct ak_leaving leaving;
    atomic_flag repairing;         /* or connecting, moving rows, cutting the end off */
    _Atomic float crowding;        /* how slowly distances grow with rank: see hnsw_search.c */
    _Atomic uint64_t linked_since; /* rows linked since all were known to be reachable */
    struct ak_frozen frozen;
    _Atomic(struct ak_context *) contexts[AK_CONTEXTS];
    _Atomic size_t context_bytes;
    _Atomic size_t slab_bytes;
    _Atomic size_t vector_bytes, file_bytes, code_bytes, link_bytes; /* parts: ak_index_memory */
    _Atomic uint32_t cold; /* searches that ask for their rows ahead. Relaxed: a hint */
};

/* --- Walking the graph: hnsw_search_body.h, once per instruction set --- */

struct ak_walk {
    struct ak_measure measure;
    const uint32_t *links;
    const uint32_t *upper;
    const uint32_t *upper_at;
    uint32_t degree;
    uint32_t upper_degree;
    uint32_t limit;        /* slots at or past it came after the walk began: not followed */
    const uint64_t *dead;  /* rows that do not count towards ef; NULL: none */
    const uint64_t *allow; /* rows that count; NULL: all */
    uint64_t allow_slots;
    uint32_t ef;        /* eligible rows to keep */
    uint32_t cap;       /* rows to keep, eligible or not; ≥ ef */
    uint32_t near_rank; /* 0, or: from its hops_min-th hop on, the walk keeps to rows no farther */
    uint32_t hops_min;  /* than near_growth times the one in this place of the pool */
    float near_growth;  /* on true squared distances; ≥ 1 */
    uint32_t results_min; /* and not before so many rows count */
    uint32_t first_min;   /* two hops: the first must meet so many rows, or the filter's are far */
    uint32_t far_ef;      /* ef and near_growth when they are */
    float far_growth;
    bool far_scans; /* or give up then */
    bool is_far;
    uint32_t seed_count; /* two hops: rows to start from as well; they may be any */
    uint32_t seeds[AK_WALK_SEEDS];
    struct ak_context *context;
    uint64_t distances;
    uint64_t hops;
};

struct ak_walk_ops {
    /* Greedy from `slot` through levels (to, from]; returns the nearest row met. */
    uint32_t (*descend)(struct ak_walk *walk, uint32_t slot, uint32_t from, uint32_t to);
    /* Beam search on one level from one row; leaves the context's pool sorted. */
    void (*beam)(struct ak_walk *walk, uint32_t seed, uint32_t level);
    /* The same on level 0 through rows that count only: hnsw_filter_body.h. `allow` is set. */
    void (*beam_two_hops)(struct ak_walk *walk, uint32_t seed);
};

extern const struct ak_walk_ops ak_walk_scalar;
#if defined(__x86_64__)
extern const struct ak_walk_ops ak_walk_avx2;
extern const struct ak_walk_ops ak_walk_avx512;
#endif

static inline bool ak_walk_counts(const struct ak_walk *walk, uint32_t slot)
{
    if (walk->dead && ak_bits_test(walk->dead, slot)) {
        return false;
    }
    return !walk->allow ||
           (slot < walk->allow_slots && (walk->allow[slot / 64] >> (slot % 64) & 1));
}

static inline uint32_t ak_entry_slot(uint64_t entry)
{
    return (uint32_t)entry;
}

static inline uint32_t ak_entry_level(uint64_t entry)
{
    return (uint32_t)(entry >> 32);
}

static inline uint64_t *ak_index_words(const struct ak_slab *slab)
{
    return (uint64_t *)(void *)ak_slab_base(slab);
}

static inline uint32_t *ak_index_row(const struct ak_index *index, uint32_t slot, uint32_t level)
{
    uint32_t *base = (uint32_t *)(void *)ak_slab_base(level ? &index->upper : &index->links);
    if (level == 0) {
        return base + (size_t)slot * index->degree;
    }
    const uint32_t *upper_at = (const uint32_t *)(const void *)ak_slab_base(&index->upper_at);
    return base + ((size_t)upper_at[slot] + level - 1) * index->upper_degree;
}

static inline uint32_t ak_index_degree(const struct ak_index *index, uint32_t level)
{
    return level ? index->upper_degree : index->degree;
}

static inline uint32_t ak_index_level(const struct ak_index *index, uint32_t slot)
{
    return ((const uint8_t *)ak_slab_base(&index->levels))[slot];
}

static inline bool ak_index_is_on_disk(const struct ak_index *index)
{
    return index->options.params.vectors == AK_VECTORS_DISK;
}

/* index.c */
/* What a walk with this ef costs, as a number of rows scanned. `eligible` of `rows` may be
 * returned. */
uint64_t ak_index_walk_cost(const struct ak_index *index, uint64_t ef, uint64_t rows,
                            uint64_t eligible);
/* Nanoseconds, about: of a row scanned in floats, and of what a walk reads of one. */
double ak_index_float_row_ns(const struct ak_index *index);
double ak_index_walk_row_ns(const struct ak_index *index);
/* The same of a scan of rows that wait to be linked. */
uint64_t ak_index_pending_cost(const struct ak_index *index, uint64_t rows);
AK_MUST enum ak_rc ak_index_make(const struct ak_index_options *options, struct ak_index **index,
                                 struct ak_err *err);
/* Levels, and memory for links, for rows [0, rows). The writer's, with the gate closed. */
AK_MUST enum ak_rc ak_index_grow_graph(struct ak_index *index, uint64_t rows, struct ak_err *err);
void ak_index_pick_next(struct ak_index *index);
void ak_index_store_row(struct ak_index *index, uint32_t slot, const float *vector);
/* A slab has moved: see the top of index.c. The writer's, not inside the epoch. */
void ak_index_hold(struct ak_index *index);
void ak_index_account(struct ak_index *index);

/* Like ak_slab_reserve; a move holds back freed slots (see the top of index.c). The writer's. */
AK_MUST enum ak_rc ak_index_reserve_slab(struct ak_index *index, struct ak_slab *slab,
                                         uint64_t rows, struct ak_err *err);

/* codes.c */
static inline bool ak_codes_have_terms(const struct ak_codes *codes)
{
    return ak_quantizer_codec(codes->quantizer) == AK_QUANTIZATION_U8;
}
static inline struct ak_codes *ak_index_codes(const struct ak_index *index)
{
    return atomic_load_explicit(&index->codes, memory_order_acquire);
}
/* Takes the quantiser, also when it fails: NULL, no memory. */
struct ak_codes *ak_codes_make(struct ak_index *index, struct ak_quantizer *quantizer);
void ak_codes_close(struct ak_codes *codes); /* NULL is fine */
bool ak_codes_fit(const struct ak_index *index, uint64_t rows);
AK_MUST enum ak_rc ak_codes_reserve(struct ak_index *index, struct ak_codes *codes, uint64_t rows,
                                    struct ak_err *err);
size_t ak_codes_bytes(const struct ak_index *index, uint64_t rows);
/* Are there rows enough to begin, and is it wanted? */
bool ak_codes_are_due(const struct ak_index *index);
/* When they are due: train on the rows of now, encode them, publish; with room for as many rows as
 * vectors have. Without memory later: walks stay on floats. The writer's. */
void ak_codes_start_if_due(struct ak_index *index);
AK_MUST enum ak_rc ak_codes_scratch(struct ak_index *index, struct ak_err *err);
/* The row is stored: its code too. The writer's. */
void ak_codes_store(struct ak_index *index, uint32_t slot, bool is_reused);
/* Codes without rows, trained on those of now; NULL: no memory (AK_NOMEM), or they would not keep
 * the order of the rows (AK_UNSUPPORTED). Inside the epoch or the writer's. */
struct ak_codes *ak_codes_train(struct ak_index *index, struct ak_err *err);
float ak_codes_factor(const struct ak_index *index, uint64_t slot); /* that a row is taken by */
float ak_codes_term(const uint8_t *code, size_t stride);            /* of l2: Σ (c_i − 128)² */
/* The parts of a measure that come of the query: all but `vectors`, `stride` and `code_terms`.
 * scratch: f32[dimension]; query: i8[stride]. */
void ak_codes_ask(const struct ak_index *index, const struct ak_quantizer *quantizer,
                  const float *vector, float *scratch, int8_t *query, struct ak_measure *measure);
/* codes_trial.c: AK_UNSUPPORTED: the order by such codes is not that of the floats. AK_NOMEM. Sets
 * ak_quantizer_again(). */
AK_MUST enum ak_rc ak_codes_try(const struct ak_index *index, struct ak_quantizer *quantizer,
                                struct ak_err *err);
/* Live rows, evenly spread over all of them, all when they are `max` at most; how many. */
uint32_t ak_index_sample(const struct ak_index *index, uint32_t *slots, uint32_t max);
/* Returns how many bytes were clipped. */
uint32_t ak_codes_encode(struct ak_index *index, struct ak_codes *codes, uint64_t slot,
                         float *scratch);
/* Make a query's measure one on codes; false: there are none, or no memory. Inside the epoch, after
 * the number of slots was read. */
bool ak_codes_measure(const struct ak_index *index, struct ak_context *context,
                      struct ak_measure *measure);
/* Make a row's measure one on codes, of true distances; false: no codes, or angles of rows that are
 * not of unit length (dot), which codes about the mean do not give. Inside the epoch. */
bool ak_codes_measure_row(const struct ak_index *index, uint32_t slot, int8_t room[AK_CODE_ROOM],
                          struct ak_measure *measure);
AK_MUST enum ak_rc ak_codes_check(const struct ak_index *index, struct ak_err *err);

/* codes_renew.c: the writer's, but for build */
void ak_renewal_note(struct ak_index *index, uint32_t slot, bool is_reused, uint32_t clipped);
void ak_renewal_step(struct ak_index *index); /* begin when due, take over what is ready */
void ak_renewal_release(struct ak_index *index);

/* reclaim.c */
struct ak_reclaim *ak_reclaim_open(void);
void ak_reclaim_close(struct ak_reclaim *reclaim);
struct ak_reclaim_batch;
/* Room for `count` slots; NULL without memory. */
struct ak_reclaim_batch *ak_reclaim_batch(struct ak_reclaim *reclaim, uint64_t count);
void ak_reclaim_batch_add(struct ak_reclaim_batch *batch, uint32_t slot);
void ak_reclaim_batch_drop(struct ak_reclaim_batch *batch); /* never given out; NULL is fine */
/* Usable once every present reader has left. Takes the batch. */
void ak_reclaim_retire(struct ak_reclaim_batch *batch, struct ak_epoch *epoch);
/* Usable at once. Takes the batch. */
void ak_reclaim_give(struct ak_reclaim_batch *batch);
/* No slot is given out until every present reader has left. */
void ak_reclaim_hold(struct ak_reclaim *reclaim, struct ak_epoch *epoch);
/* The slot that take() would give; false: none. The writer's, as is take(). */
bool ak_reclaim_peek(struct ak_reclaim *reclaim, uint32_t *slot);
void ak_reclaim_take(struct ak_reclaim *reclaim);
bool ak_reclaim_is_held(const struct ak_reclaim *reclaim);
/* All that may be given out as one list, highest first, so that from now on the lowest goes first;
 * the caller may take slots out of it. `slots` is above all of them. false: there are none, a hold
 * is on, or no memory. The writer's. */
bool ak_reclaim_sort(struct ak_reclaim *reclaim, uint64_t slots, uint32_t **list, uint64_t **count);

/* pending.c */
void ak_pending_init(struct ak_pending *pending);
void ak_pending_release(struct ak_pending *pending);
/* Room for `more` entries. The writer's. */
AK_MUST enum ak_rc ak_pending_reserve(struct ak_pending *pending, uint64_t more,
                                      struct ak_epoch *epoch, struct ak_err *err);
void ak_pending_push(struct ak_pending *pending, uint32_t slot);
bool ak_pending_claim(struct ak_pending *pending, uint64_t *at, uint32_t *slot);
void ak_pending_finish(struct ak_pending *pending, uint64_t at); /* linked, or not to be */
/* Forget waiting slots that are in `bits`; the gate is closed. */
void ak_pending_forget(struct ak_pending *pending, const uint64_t *bits, uint64_t slots);
/* Waiting slots that leave give their place to the slot they go to, so that a search meets the one
 * or the other. The gate is closed. */
void ak_pending_replace(struct ak_pending *pending, const struct ak_leaving *leaving);
/* The waiting slots, at most `max`; the gate is closed. */
uint64_t ak_pending_list(struct ak_pending *pending, uint32_t *slots, uint64_t max);
size_t ak_pending_bytes(const struct ak_pending *pending);

/* context.c */
struct ak_context *ak_context_take(struct ak_index *index); /* NULL without memory */
void ak_context_put(struct ak_index *index, struct ak_context *context);
void ak_context_close(struct ak_context *context);
bool ak_context_fit_visited(struct ak_context *context, uint64_t slots);
bool ak_context_fit_pool(struct ak_context *context, uint32_t cap);
bool ak_context_fit_found(struct ak_context *context, uint32_t cap);
bool ak_context_fit_codes(struct ak_context *context, uint32_t dimension);
bool ak_context_fit_build(struct ak_index *index, struct ak_context *context);
void ak_context_reset(struct ak_context *context); /* visited bits cleared */
void ak_context_visit(struct ak_context *context, uint32_t slot);

/* hnsw_filter.c */
struct ak_filter_case {
    uint64_t k, ef;
    uint64_t rows;     /* in the graph, tombstones as well */
    uint64_t eligible; /* may be returned */
    uint64_t pending;
};
/* The cheapest way to answer, and what it costs, as a number of rows scanned in floats. */
enum ak_index_way ak_filter_way(const struct ak_index *index, const struct ak_filter_case *filter,
                                uint64_t *cost);
/* By two hops a walk needs some more rows to find as much. */
uint32_t ak_filter_ef(uint32_t ef, double share);
/* What two hops need besides ef: rows of the filter, from all over it, to start from, and what to
 * do where the filter leaves less than elsewhere. `ef` as ak_filter_ef gives it. */
void ak_filter_prepare(const struct ak_index *index, const struct ak_filter_case *filter,
                       uint32_t ef, struct ak_walk *walk);

/* measure.c: inside the epoch */
/* `query_scale` as ak_measure_query_scale gives it. */
void ak_measure_for_query(const struct ak_index *index, const float *query, float query_scale,
                          struct ak_measure *measure);
/* From a stored row to others, with bias and gain set: building. On codes where there are any and
 * they will do; `room` is for the row's own, and in use as long as the measure. */
void ak_measure_for_row(const struct ak_index *index, uint32_t slot, int8_t room[AK_CODE_ROOM],
                        struct ak_measure *measure);
float ak_measure_query_scale(const struct ak_index *index, const float *query);
float ak_measure_score(const struct ak_index *index, float query_scale, float distance);

/* exact.c */
void ak_found_offer(struct ak_context *context, uint32_t k, struct ak_found found);
void ak_found_sort(struct ak_context *context);
struct ak_scan {
    const struct ak_index *ahead; /* its rows are read and may lie on disk; NULL: they do not */
    const uint64_t *dead;         /* NULL: none */
    const uint64_t *allow;        /* NULL: all; read as shared words */
    uint64_t allow_slots;
    uint64_t slots;
    uint32_t k;
};
/* The k nearest rows of a scan, in the context's heap; returns how many distances it took. */
uint64_t ak_exact_scan(const struct ak_measure *measure, const struct ak_scan *scan,
                       struct ak_context *context);
/* Rows that are waiting to be linked: into the heap, and marked visited. */
uint64_t ak_exact_pending(struct ak_index *index, const struct ak_walk *walk, uint32_t k);

/* index_disk.c: the rows that a search measures in floats, from a file perhaps */
struct ak_reading {
    struct ak_index *index;
    long faults;
    bool probes;
};
bool ak_index_has_file(const struct ak_index *index); /* do any rows lie in one? */
void ak_reading_begin(struct ak_index *index, const struct ak_found *rows, uint32_t count,
                      struct ak_reading *reading);
/* The first of them have been read, these are left; only the first such call does anything. */
void ak_reading_next(struct ak_reading *reading, const struct ak_found *rows, uint32_t count);

/* hnsw.c */
const struct ak_walk_ops *ak_walk_ops_for(const struct ak_simd *simd);
uint32_t ak_hnsw_level(uint32_t slot, uint32_t m, uint64_t seed);
void ak_gate_init(struct ak_gate *gate);
void ak_gate_release(struct ak_gate *gate);
bool ak_gate_enter(struct ak_gate *gate, bool wait_frozen); /* false: frozen */
void ak_gate_leave(struct ak_gate *gate);
void ak_gate_close(struct ak_gate *gate); /* alone: waits until nobody is inside */
void ak_gate_open(struct ak_gate *gate);
void ak_gate_set_frozen(struct ak_gate *gate, bool frozen);
void ak_node_lock(struct ak_index *index, uint32_t slot);
void ak_node_unlock(struct ak_index *index, uint32_t slot);

/* hnsw_connect.c */
struct ak_reach {
    uint64_t slots;
    uint64_t *seen;  /* bitmap: rows that links lead to */
    uint32_t *queue; /* [head, tail): seen, their links not followed yet */
    uint64_t head;
    uint64_t tail;
};
bool ak_reach_init(struct ak_reach *reach, uint64_t slots); /* false: no memory */
void ak_reach_release(struct ak_reach *reach);
void ak_reach_restart(struct ak_reach *reach); /* nothing is seen */
void ak_reach_from(struct ak_reach *reach, uint32_t slot);
/* Follow the links of up to `max` rows, inside the epoch; false: nothing is left to follow. */
bool ak_reach_step(const struct ak_index *index, struct ak_reach *reach, uint64_t max);
/* Make every live linked row reachable from the entry point, but for those in `removed` (or NULL).
 * Outside gate and epoch. */
void ak_hnsw_connect(struct ak_index *index, struct ak_context *context, struct ak_reach *reach,
                     const uint64_t *removed);
/* The same after a round of building, when it was long enough and nobody else is at it. */
void ak_hnsw_connect_built(struct ak_index *index);

/* hnsw_prune.c */
/* Order candidates by distance, ties by a hash of slot and salt. */
void ak_hnsw_sort(struct ak_found *candidates, uint32_t count, uint32_t salt);
struct ak_choice {
    uint32_t row;
    uint32_t level;
    const struct ak_found *candidates; /* sorted by true distance to the row */
    uint32_t count;
    uint32_t max;      /* links wanted */
    uint32_t *chosen;  /* room for max */
    uint32_t *scratch; /* room for count */
};
/* Which links one row gets; returns how many. */
uint32_t ak_hnsw_choose(const struct ak_index *index, const struct ak_choice *choice);
/* The links of a row, from the row itself: at most its degree. */
uint32_t ak_hnsw_read_row(const uint32_t *row, uint32_t degree, uint32_t *links);
/* Rewrite a row; its lock is held, or nothing leads to it yet. */
void ak_hnsw_write_row(uint32_t *row, uint32_t degree, const uint32_t *links, uint32_t count);

/* hnsw_build.c: gate entered, inside the epoch */
void ak_hnsw_walk_init(const struct ak_index *index, struct ak_context *context, uint64_t slots,
                       struct ak_walk *walk);
/* Memory for linking among rows [0, *slots). false: there is none. */
bool ak_hnsw_prepare(struct ak_index *index, struct ak_context *context, uint64_t *slots);
/* Link a row: search, choose, own rows, links back, entry point. `again` counts from 1: it is
 * linked already but cannot be reached: its rows are only added to, and the nearest row, or the
 * again-th nearest of those it links to, links back whatever it costs: not the same one each time,
 * or rows could take each other's only link in turn. 0: it is linked for the first time. */
void ak_hnsw_link(struct ak_index *index, struct ak_context *context, uint64_t slots, uint32_t slot,
                  uint32_t again);
