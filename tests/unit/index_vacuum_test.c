/* Rows go to lower slots and the end is cut off: nothing is lost, the graph stays sound and as good
 * as it was, memory comes back, and who searches or writes meanwhile sees every row. */
#include "base/fault.h"
#include "base/sync.h"
#include "unit/index_vectors.h"
#include <sched.h>
#include <stdatomic.h>

#define BATCH 256u

/* An index and which row of `v` lies in which slot. */
struct scene {
    struct ak_epoch *epoch;
    struct ak_index *index;
    struct vectors v;
    uint32_t *row_of; /* by slot; UINT32_MAX: none */
};

/* Codes that are being made anew are done and in use. */
static void settle(struct scene *s)
{
    do {
        ak_index_settle(s->index);
    } while (ak_index_renew(s->index));
    ak_index_settle(s->index);
}

static struct scene scene_open(uint32_t rows, uint32_t dimension, enum ak_metric metric,
                               uint32_t exact_below)
{
    struct ak_err err = {0};
    struct scene s = {.epoch = ak_epoch_open(), .v = vectors_clustered(rows, dimension, 40, 5)};
    struct ak_index_options options = index_options(dimension, metric, s.epoch);
    options.exact_below = exact_below;
    CHECK_OK(ak_index_open(&options, &s.index, &err));
    s.row_of = ak_alloc(rows * sizeof *s.row_of);
    memset(s.row_of, 0xff, rows * sizeof *s.row_of);
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t slot = 0;
        CHECK_OK(ak_index_add(s.index, vectors_row(&s.v, i), &slot, &err));
        s.row_of[slot] = i;
    }
    index_build_all(s.index);
    settle(&s);
    return s;
}

static void scene_close(struct scene *s)
{
    ak_index_close(s->index);
    ak_epoch_close(s->epoch);
    vectors_release(&s->v);
    ak_free(s->row_of);
}

/* Remove a share of the live rows, chosen by chance, and free their slots. */
static void remove_share(struct scene *s, double share, uint64_t seed)
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

static void note_moves(struct scene *s, const struct ak_index_moves *moves)
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
static uint32_t move_some(struct scene *s)
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

static void vacuum(struct scene *s)
{
    struct ak_err err = {0};
    while (move_some(s) > 0) {
    }
    index_build_all(s->index);
    CHECK_OK(ak_index_repair(s->index, &err));
    (void)ak_epoch_collect(s->epoch);
    while (move_some(s) > 0) { /* into what repair has freed */
    }
    CHECK(ak_index_cut(s->index) > 0);
    ak_epoch_wait(s->epoch);
    ak_index_give_back(s->index);
}

/* Every row is where it was put, bit for bit, found by an exact search for itself. */
static void check_rows(const struct scene *s)
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

TEST(index_vacuum, a_graph_of_half_its_rows_is_as_good_in_half_the_slots)
{
    for (int metric = 0; metric < AK_METRIC_COUNT; metric++) {
        struct scene s = scene_open(6000, 32, (enum ak_metric)metric, 1);
        struct vectors queries = vectors_clustered(100, 32, 40, 99);
        struct ak_index_query query = {.k = 10, .ef = 64};
        remove_share(&s, 0.5, 3);
        uint64_t live = ak_index_live(s.index);
        size_t bytes = ak_index_bytes(s.index);
        double before = index_recall(s.index, &queries, query);
        vacuum(&s);
        struct ak_index_report report = index_checked(s.index);
        CHECK_INT(report.live, live);
        CHECK_INT(ak_index_slots(s.index), live + report.tombstones + report.free_slots);
        CHECK(ak_index_slots(s.index) <= live + live / 50);
        CHECK(report.unreachable <= live / 1000);
        CHECK(index_recall(s.index, &queries, query) >= before - 0.005);
        CHECK(ak_index_bytes(s.index) < bytes * 3 / 4);
        check_rows(&s);
        vectors_release(&queries);
        scene_close(&s);
    }
}

TEST(index_vacuum, links_that_lead_to_moved_rows_move_with_them)
{
    struct scene s = scene_open(4000, 16, AK_METRIC_L2, 1);
    remove_share(&s, 0.4, 4);
    uint64_t live = ak_index_live(s.index);
    double degree = index_checked(s.index).mean_degree;
    uint32_t moved = move_some(&s);
    CHECK_INT(moved, BATCH);
    struct ak_index_report report = index_checked(s.index);
    CHECK_INT(report.live, live);
    CHECK(report.tombstones + report.pending < BATCH / 4); /* no slot of their level: linked anew */
    CHECK(report.mean_degree > degree * 0.98);
    check_rows(&s);
    scene_close(&s);
}

TEST(index_vacuum, rows_that_are_not_linked_yet_move_too)
{
    struct ak_err err = {0};
    struct scene s = scene_open(3000, 16, AK_METRIC_COSINE, 1);
    remove_share(&s, 0.5, 5);
    uint64_t before = ak_index_slots(s.index);
    for (uint32_t i = 0; i < 200; i++) { /* waiting at low slots: those above them move */
        uint32_t slot = 0;
        CHECK_OK(ak_index_add(s.index, vectors_row(&s.v, i), &slot, &err));
        s.row_of[slot] = i;
    }
    while (move_some(&s) > 0) {
    }
    (void)index_checked(s.index);
    vacuum(&s);
    CHECK(ak_index_slots(s.index) < before * 3 / 4);
    (void)index_checked(s.index);
    scene_close(&s);
}

TEST(index_vacuum, an_index_without_a_graph_shrinks_to_what_is_live)
{
    struct scene s = scene_open(3000, 24, AK_METRIC_L2, 100000);
    size_t bytes = ak_index_bytes(s.index);
    remove_share(&s, 0.9, 6);
    vacuum(&s);
    CHECK_INT(ak_index_slots(s.index), ak_index_live(s.index));
    CHECK(ak_index_bytes(s.index) < bytes / 3);
    (void)index_checked(s.index);
    check_rows(&s);
    scene_close(&s);
}

TEST(index_vacuum, an_index_of_which_all_is_removed_is_as_new)
{
    struct scene s = scene_open(2500, 16, AK_METRIC_L2, 1);
    remove_share(&s, 2.0, 7);
    CHECK_INT(ak_index_cut(s.index), 2500);
    ak_epoch_wait(s.epoch);
    ak_index_give_back(s.index);
    CHECK_INT(ak_index_slots(s.index), 0);
    (void)index_checked(s.index);
    index_add_rows(s.index, &s.v, 0, 2500);
    index_build_all(s.index);
    CHECK_INT(index_checked(s.index).live, 2500);
    scene_close(&s);
}

TEST(index_vacuum, rows_come_back_where_the_end_was_cut_off)
{
    struct ak_err err = {0};
    struct scene s = scene_open(4000, 16, AK_METRIC_COSINE, 1);
    remove_share(&s, 0.5, 8);
    while (move_some(&s) > 0) {
    }
    CHECK_OK(ak_index_repair(s.index, &err)); /* rows linked anew left tombstones at the end */
    (void)ak_epoch_collect(s.epoch);
    uint64_t cut = ak_index_cut(s.index);
    CHECK(cut > 1000);
    for (uint32_t i = 0; i < 600; i++) { /* before the memory is given back */
        uint32_t slot = 0;
        CHECK_OK(ak_index_add(s.index, vectors_row(&s.v, i), &slot, &err));
        CHECK(s.row_of[slot] == UINT32_MAX);
        s.row_of[slot] = i;
    }
    ak_epoch_wait(s.epoch);
    ak_index_give_back(s.index);
    (void)index_checked(s.index);
    for (uint32_t i = 600; i < 4000; i++) { /* and far beyond the old end */
        uint32_t slot = 0;
        CHECK_OK(ak_index_add(s.index, vectors_row(&s.v, i), &slot, &err));
    }
    index_build_all(s.index);
    (void)index_checked(s.index);
    scene_close(&s);
}

TEST(index_vacuum, a_row_removed_on_its_way_is_removed_at_both_slots)
{
    struct ak_err err = {0};
    struct ak_index_moves *moves = NULL;
    uint32_t count = 0;
    struct scene s = scene_open(3000, 16, AK_METRIC_L2, 1);
    remove_share(&s, 0.5, 9);
    uint64_t live = ak_index_live(s.index);
    CHECK_OK(ak_index_moves_begin(s.index, BATCH, &moves, &err));
    const struct ak_index_move *list = ak_index_moves_list(moves, &count);
    (void)ak_index_moves_stage(moves, count / 2);
    ak_index_remove(s.index, list[0].from);         /* copied */
    ak_index_remove(s.index, list[count - 1].from); /* not copied */
    CHECK_INT(ak_index_moves_stage(moves, count), count);
    CHECK_OK(ak_index_moves_ready(moves, &err));
    CHECK(list[0].to == UINT32_MAX && list[count - 1].to == UINT32_MAX);
    ak_index_moves_show(moves);
    ak_index_remove(s.index, list[1].to);
    ak_index_remove(s.index, list[1].from);
    ak_epoch_wait(s.epoch);
    ak_index_moves_switch(moves);
    ak_index_remove(s.index, list[2].to);
    ak_index_remove(s.index, list[2].from);
    ak_index_moves_relink(moves);
    ak_epoch_wait(s.epoch);
    ak_index_moves_end(moves);
    CHECK_INT(index_checked(s.index).live, live - 4);
    CHECK_OK(ak_index_repair(s.index, &err));
    CHECK_INT(index_checked(s.index).live, live - 4);
    scene_close(&s);
}

TEST(index_vacuum, dropped_moves_leave_everything_as_it_was)
{
    struct ak_err err = {0};
    struct ak_index_moves *moves = NULL;
    struct scene s = scene_open(2000, 16, AK_METRIC_L2, 1);
    remove_share(&s, 0.5, 10);
    uint64_t was_free = ak_index_free(s.index);
    for (uint32_t staged = 0; staged <= BATCH; staged += BATCH / 2) {
        CHECK_OK(ak_index_moves_begin(s.index, BATCH, &moves, &err));
        (void)ak_index_moves_stage(moves, staged + 1);
        ak_index_moves_drop(moves);
        CHECK_INT(ak_index_free(s.index), was_free);
        (void)index_checked(s.index);
    }
    check_rows(&s);
    vacuum(&s);
    check_rows(&s);
    scene_close(&s);
}

TEST(index_vacuum, without_memory_nothing_moves_and_nothing_breaks)
{
    struct scene s = scene_open(2000, 16, AK_METRIC_L2, 1);
    struct ak_err err = {0};
    remove_share(&s, 0.5, 11);
    uint64_t live = ak_index_live(s.index);
    bool failed = true;
    for (long n = 0; failed; n++) {
        struct ak_index_moves *moves = NULL;
        ak_fault_alloc_at(n);
        enum ak_rc rc = ak_index_moves_begin(s.index, BATCH, &moves, &err);
        if (moves) {
            (void)ak_index_moves_stage(moves, BATCH);
            rc = ak_index_moves_ready(moves, &err);
            ak_index_moves_drop(moves);
        }
        failed = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK(rc == AK_OK || rc == AK_NOMEM);
        CHECK_INT(index_checked(s.index).live, live);
    }
    while (move_some(&s) > 0) {
    }
    CHECK(ak_index_cut(s.index) > 0);
    ak_epoch_wait(s.epoch);
    ak_fault_alloc_at(0); /* smaller blocks are a wish, no need */
    ak_index_give_back(s.index);
    ak_fault_alloc_at(-1);
    (void)index_checked(s.index);
    check_rows(&s);
    scene_close(&s);
}

/* --- With searches and builders --- */

struct looking {
    struct scene *scene;
    _Atomic bool stop;
    _Atomic uint64_t looks;
    uint64_t seed;
};

/* Rows that are there all the time are found, as themselves, by whatever way. */
static void look(void *arg)
{
    struct looking *looking = arg;
    struct scene *s = looking->scene;
    struct ak_err err = {0};
    struct ak_rand rand;
    ak_rand_seed(&rand, looking->seed);
    while (!atomic_load(&looking->stop)) {
        struct ak_hit hits[2];
        uint32_t count = 0;
        uint32_t row = (uint32_t)ak_rand_below(&rand, s->v.count / 2) * 2;
        struct ak_index_query query = {.vector = vectors_row(&s->v, row),
                                       .k = 2,
                                       .ef = 200,
                                       .exact = ak_rand_below(&rand, 8) == 0};
        unsigned token = ak_epoch_enter(s->epoch);
        enum ak_rc rc = ak_index_search(s->index, &query, hits, &count, NULL, &err);
        if (rc != AK_OK || count != 2) {
            abort();
        }
        if (query.exact && memcmp(ak_index_vector(s->index, hits[0].slot), query.vector,
                                  s->v.dimension * sizeof(float)) != 0) {
            abort();
        }
        ak_epoch_leave(s->epoch, token);
        atomic_fetch_add(&looking->looks, 1);
        if (looking->seed == 1) {
            (void)ak_index_build_some(s->index, 4);
        }
    }
}

TEST(index_vacuum, searches_find_every_row_while_rows_move_and_the_end_goes)
{
    struct scene s = scene_open(3000, 16, AK_METRIC_L2, 1);
    struct ak_err err = {0};
    struct looking looking[2] = {{.scene = &s, .seed = 1}, {.scene = &s, .seed = 2}};
    struct ak_thread threads[2];
    for (uint32_t slot = 0; slot < 3000; slot++) { /* the odd rows go */
        if (s.row_of[slot] % 2) {
            ak_index_remove(s.index, slot);
            s.row_of[slot] = UINT32_MAX;
        }
    }
    for (int i = 0; i < 2; i++) {
        CHECK_OK(ak_thread_start(&threads[i], "look", look, &looking[i], &err));
    }
    CHECK_OK(ak_index_repair(s.index, &err));
    for (unsigned round = 0; round < 6; round++) {
        ak_epoch_wait(s.epoch);
        (void)ak_epoch_collect(s.epoch);
        while (move_some(&s) > 0) {
        }
        CHECK_OK(ak_index_repair(s.index, &err));
        ak_epoch_wait(s.epoch);
        (void)ak_epoch_collect(s.epoch);
        if (ak_index_cut(s.index) > 0) {
            ak_epoch_wait(s.epoch);
            ak_index_give_back(s.index);
        }
        uint64_t before = atomic_load(&looking[0].looks);
        while (atomic_load(&looking[0].looks) < before + 3) {
            (void)sched_yield();
        }
        for (uint32_t i = 1; i < 800; i += 2) { /* some come, and go again */
            uint32_t slot = 0;
            CHECK_OK(ak_index_add(s.index, vectors_row(&s.v, i), &slot, &err));
            ak_index_remove(s.index, slot);
        }
    }
    for (int i = 0; i < 2; i++) {
        atomic_store(&looking[i].stop, true);
        ak_thread_join(&threads[i]);
    }
    index_build_all(s.index);
    CHECK_INT(index_checked(s.index).live, 1500);
    check_rows(&s);
    scene_close(&s);
}

TEST_MAIN()
