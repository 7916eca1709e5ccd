/* index_vacuum.h — an index of which rows go, and moves that keep track of where each row lies. */
#pragma once
#include "unit/index_vectors.h"

#define BATCH 256u

/* An index and which row of `v` lies in which slot. */
struct scene {
    struct ak_epoch *epoch;
    struct ak_index *index;
    struct vectors v;
    uint32_t *row_of; /* by slot; UINT32_MAX: none */
};

/* Codes that are being made anew are done and in use. */
static inline void settle(struct scene *s)
{
    do {
        ak_index_settle(s->index);
    } while (ak_index_renew(s->index));
    ak_index_settle(s->index);
}

static inline struct scene scene_open(uint32_t rows, uint32_t dimension, enum ak_metric metric,
                                      uint32_t exact_below)
{
    struct ak_err err = {0};
    struct scene s = {.epoch = ak_epoch_open(), .v = vectors_clustered(rows, dimension, 40, 5)};
    struct ak_index_options options = index_options(dimension, metric, s.epoch);
    options.exact_below = exact_below;
    CHECK_OK(ak_index_open(&options, &s.index, &err));
    s.row_of = ak_alloc(2 * rows * sizeof *s.row_of); /* some tests add more */
    memset(s.row_of, 0xff, 2 * rows * sizeof *s.row_of);
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t slot = 0;
        CHECK_OK(ak_index_add(s.index, vectors_row(&s.v, i), &slot, &err));
        s.row_of[slot] = i;
    }
    index_build_all(s.index);
    settle(&s);
    return s;
}

static inline void scene_close(struct scene *s)
{
    ak_index_close(s->index);
    ak_epoch_close(s->epoch);
    vectors_release(&s->v);
    ak_free(s->row_of);
}

/* Remove a share of the live rows, chosen by chance, and free their slots. */
static inline void remove_share(struct scene *s, double share, uint64_t seed)
{
    struct ak_err err = {0};
    struct ak_rand rand;
    ak_rand_seed(&rand, seed);
    for (uint32_t slot = 0; slot < ak_index_slots(s->index); slot++) {
        if (ak_index_is_live(s->index, slot) && ak_rand_unit(&rand) < share) {
            ak_index_remove(s->index, slot);
            s->row_of[slot] = UINT32_MAX;
        }
    }
    CHECK_OK(ak_index_repair(s->index, &err));
    CHECK_INT(ak_index_tombstones(s->index), 0);
    (void)ak_epoch_collect(s->epoch);
}

static inline void note_moves(struct scene *s, const struct ak_index_moves *moves)
{
    uint32_t count = 0;
    const struct ak_index_move *list = ak_index_moves_list(moves, &count);
    for (uint32_t i = 0; i < count; i++) {
        if (list[i].to != UINT32_MAX) {
            CHECK(list[i].to < list[i].from && s->row_of[list[i].to] == UINT32_MAX);
            s->row_of[list[i].to] = s->row_of[list[i].from];
            s->row_of[list[i].from] = UINT32_MAX;
        }
    }
}

/* One batch; how many rows. */
static inline uint32_t move_some(struct scene *s)
{
    struct ak_err err = {0};
    struct ak_index_moves *moves = NULL;
    uint32_t count = 0;
    settle(s);
    CHECK_OK(ak_index_moves_begin(s->index, BATCH, &moves, &err));
    if (!moves) {
        return 0;
    }
    (void)ak_index_moves_list(moves, &count);
    while (ak_index_moves_stage(moves, 60) < count) {
    }
    CHECK_OK(ak_index_moves_ready(moves, &err));
    note_moves(s, moves);
    ak_index_moves_show(moves);
    ak_epoch_wait(s->epoch);
    ak_index_moves_switch(moves);
    ak_index_moves_relink(moves);
    ak_epoch_wait(s->epoch);
    ak_index_moves_end(moves);
    (void)ak_epoch_collect(s->epoch);
    return count;
}

/* Every row is where it was put, bit for bit, found by an exact search for itself. */
static inline void check_rows(const struct scene *s)
{
    struct ak_err err = {0};
    uint64_t live = 0;
    for (uint32_t slot = 0; slot < ak_index_slots(s->index); slot++) {
        CHECK_INT(ak_index_is_live(s->index, slot), s->row_of[slot] != UINT32_MAX);
        if (s->row_of[slot] != UINT32_MAX) {
            const float *row = vectors_row(&s->v, s->row_of[slot]);
            CHECK(memcmp(ak_index_vector(s->index, slot), row, s->v.dimension * sizeof *row) == 0);
            live++;
        }
    }
    CHECK_INT(ak_index_live(s->index), live);
    for (uint32_t slot = 0; slot < ak_index_slots(s->index); slot += 37) {
        struct ak_hit hit;
        uint32_t count = 0;
        struct ak_index_query query = {.k = 1, .exact = true};
        if (s->row_of[slot] != UINT32_MAX) {
            query.vector = vectors_row(&s->v, s->row_of[slot]);
            CHECK_OK(ak_index_search(s->index, &query, &hit, &count, NULL, &err));
            CHECK_INT(count, 1);
            CHECK(ak_index_options_of(s->index)->metric == AK_METRIC_DOT || hit.slot == slot);
        }
    }
}
