/* While rows move and the end is cut off, searches and builders go on: every row that is there all
 * the time is found, by whatever way. Under ThreadSanitizer this is the data race test of moves. */
#include "base/sync.h"
#include "unit/index_vacuum.h"
#include <sched.h>
#include <stdatomic.h>

enum { ROWS = 1200 };

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
    uint64_t allowed[ROWS / 64 + 1];
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
        if (ak_rand_below(&rand, 2)) { /* as a filter has it: what was live a moment ago */
            query.allow_slots = ak_index_slots(s->index);
            ak_index_live_bitmap(s->index, allowed, query.allow_slots);
            query.allow = allowed;
            query.allow_count = ak_index_live(s->index);
            query.way = AK_INDEX_WAY_PLAIN;
        }
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

TEST(index_concurrent_vacuum, searches_find_every_row_while_rows_move_and_the_end_goes)
{
    struct scene s = scene_open(ROWS, 16, AK_METRIC_L2, 1);
    struct ak_err err = {0};
    struct looking looking[2] = {{.scene = &s, .seed = 1}, {.scene = &s, .seed = 2}};
    struct ak_thread threads[2];
    for (uint32_t slot = 0; slot < ROWS; slot++) { /* the odd rows go */
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
        for (uint32_t i = 1; i < 400; i += 2) { /* some come, and go again */
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
    CHECK_INT(index_checked(s.index).live, ROWS / 2);
    check_rows(&s);
    scene_close(&s);
}

TEST_MAIN()
