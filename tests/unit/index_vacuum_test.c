/* Rows go to lower slots and the end is cut off: nothing is lost, the graph stays sound and as good
 * as it was, memory comes back. */
#include "base/fault.h"
#include "unit/index_vacuum.h"

#if defined(__SANITIZE_ADDRESS__)
#define MANY 2000u /* a graph of more takes long to build there */
#else
#define MANY 6000u
#endif

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

TEST(index_vacuum, a_graph_of_half_its_rows_is_as_good_in_half_the_slots)
{
    for (int metric = 0; metric < AK_METRIC_COUNT; metric++) {
        struct scene s = scene_open(MANY, 32, (enum ak_metric)metric, 1);
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
        CHECK(ak_index_slots(s.index) <= live + live / 20);
        CHECK(report.unreachable <= live / 500);
        CHECK(index_recall(s.index, &queries, query) >= before - 0.005);
        CHECK(ak_index_bytes(s.index) < bytes * 3 / 4);
        check_rows(&s);
        vectors_release(&queries);
        scene_close(&s);
    }
}

TEST(index_vacuum, links_that_lead_to_moved_rows_move_with_them)
{
    struct scene s = scene_open(2500, 16, AK_METRIC_L2, 1);
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

TEST_MAIN()
