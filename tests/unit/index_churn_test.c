/* Churn on real embeddings: rows that go and come again leave the graph as good as it was. */
#include "unit/index_vectors.h"

#define ROWS 5000u
#define ROUNDS 6u

/* 30 % of the rows, removed and added again in parts, linked after each part and repaired when more
 * than a tenth of the rows are tombstones, as the engine does. */
static void churn(struct ak_index *index, const struct vectors *v)
{
    struct ak_err err = {0};
    uint32_t row_of[2 * ROWS];
    struct ak_rand rand;
    ak_rand_seed(&rand, 21);
    for (uint32_t i = 0; i < ROWS; i++) {
        row_of[i] = i;
    }
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < ROWS * 3 / 10 / ROUNDS; i++) {
            uint32_t old = 0;
            uint32_t slot = 0;
            do {
                old = (uint32_t)ak_rand_below(&rand, ak_index_slots(index));
            } while (!ak_index_is_live(index, old));
            ak_index_remove(index, old);
            CHECK_OK(ak_index_add(index, vectors_row(v, row_of[old]), &slot, &err));
            row_of[slot] = row_of[old];
        }
        index_build_all(index);
        if (ak_index_tombstones(index) > ak_index_live(index) / 10) {
            CHECK_OK(ak_index_repair(index, &err));
        }
    }
}

TEST(index_churn, a_third_of_the_rows_going_and_coming_again_costs_less_than_half_a_point)
{
    struct vectors v = vectors_shared("data/minilm/base.f16.npy", ROWS);
    struct vectors near = vectors_shared("data/minilm/query.definitions.npy", 200);
    struct vectors other = vectors_shared("data/minilm/query.sentences.npy", 200);
    struct ak_err err = {0};
    struct ak_epoch *epoch = ak_epoch_open();
    struct ak_index *index = NULL;
    struct ak_index_query query = {.k = 10, .ef = 48};
    struct ak_index_options options = index_options(v.dimension, AK_METRIC_COSINE, epoch);
    CHECK_OK(ak_index_open(&options, &index, &err));
    index_add_rows(index, &v, 0, ROWS);
    index_build_all(index);
    double near_before = index_recall(index, &near, query);
    double other_before = index_recall(index, &other, query);
    churn(index, &v);
    CHECK_INT(ak_index_live(index), ROWS);
    CHECK(index_recall(index, &near, query) >= near_before - 0.005);
    CHECK(index_recall(index, &other, query) >= other_before - 0.005);
    struct ak_index_report report = index_checked(index);
    CHECK(report.unreachable <= ROWS / 1000);
    ak_index_close(index);
    ak_epoch_close(epoch);
    vectors_release(&v);
    vectors_release(&near);
    vectors_release(&other);
}

TEST_MAIN()
