/* The graph: recall floors for every metric, through inserts, deletes, repair and updates. */
#include "base/file.h"
#include "unit/index_vectors.h"

#define ROWS 6000u
#define DIMENSION 48u

static struct ak_index *open_built(enum ak_metric metric, const struct vectors *v,
                                   struct ak_epoch *epoch)
{
    struct ak_err err = {0};
    struct ak_index_options options = index_options(v->dimension, metric, epoch);
    struct ak_index *index = NULL;
    CHECK_OK(ak_index_open(&options, &index, &err));
    index_add_rows(index, v, 0, v->count);
    CHECK_INT(ak_index_pending(index), v->count);
    index_build_all(index);
    return index;
}

static void remove_share(struct ak_index *index, double share, uint64_t seed)
{
    struct ak_rand rand;
    ak_rand_seed(&rand, seed);
    for (uint32_t slot = 0; slot < ak_index_slots(index); slot++) {
        if (ak_index_is_live(index, slot) && ak_rand_unit(&rand) < share) {
            ak_index_remove(index, slot);
        }
    }
}

/* Floors a little below what was measured with many seeds: a drop is a defect, not noise. */
static void check_life(enum ak_metric metric, double floor)
{
    struct ak_err err = {0};
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_clustered(ROWS, DIMENSION, 40, 11);
    struct vectors q = vectors_clustered(200, DIMENSION, 40, 12);
    struct ak_index *index = open_built(metric, &v, epoch);
    struct ak_index_query query = {.k = 10, .ef = 64};
    struct ak_index_report report = index_checked(index);
    CHECK_INT(report.live, ROWS);
    CHECK(report.unreachable <= ROWS / 1000);
    CHECK(report.mean_degree > 28.0);
    double built = index_recall(index, &q, query);
    CHECK(built >= floor);

    remove_share(index, 0.3, 13);
    double removed = index_recall(index, &q, query);
    CHECK(removed >= floor);
    CHECK_OK(ak_index_repair(index, &err));
    report = index_checked(index);
    CHECK_INT(report.tombstones, 0);
    CHECK_INT(report.unreachable, 0);
    CHECK(report.mean_degree > 26.0);
    double repaired = index_recall(index, &q, query);
    CHECK(repaired >= floor);

    /* Updates: a new row for an old one, repaired now and then, each slot used anew. */
    for (uint32_t round = 0; round < 4; round++) {
        for (uint32_t i = round; i < ROWS; i += 8) {
            if (ak_index_is_live(index, i)) {
                uint32_t slot = 0;
                CHECK_OK(ak_index_add(index, vectors_row(&v, i), &slot, &err));
                ak_index_remove(index, i);
            }
        }
        index_build_all(index);
        CHECK_OK(ak_index_repair(index, &err));
    }
    report = index_checked(index);
    CHECK_INT(report.unreachable, 0);
    CHECK(report.mean_degree > 26.0);
    CHECK(ak_index_slots(index) < ROWS + ROWS / 4);
    double updated = index_recall(index, &q, query);
    CHECK(updated >= floor);
    vectors_release(&v);
    vectors_release(&q);
    ak_index_close(index);
    ak_epoch_close(epoch);
}

TEST(index_hnsw, cosine_keeps_its_recall_through_inserts_deletes_repair_and_updates)
{
    check_life(AK_METRIC_COSINE, 0.97);
}

TEST(index_hnsw, dot_keeps_its_recall_through_inserts_deletes_repair_and_updates)
{
    check_life(AK_METRIC_DOT, 0.97);
}

TEST(index_hnsw, l2_keeps_its_recall_through_inserts_deletes_repair_and_updates)
{
    check_life(AK_METRIC_L2, 0.97);
}

TEST(index_hnsw, every_metric_keeps_its_recall_on_floats_as_well)
{
    index_quantization = AK_QUANTIZATION_NONE;
    check_life(AK_METRIC_COSINE, 0.97);
    check_life(AK_METRIC_DOT, 0.97);
    check_life(AK_METRIC_L2, 0.97);
    index_quantization = AK_QUANTIZATION_U8;
}

/* What a search costs is what it measures: the mean over all queries. */
static double mean_distances(struct ak_index *index, const struct vectors *queries,
                             struct ak_index_query query)
{
    struct ak_err err = {0};
    struct ak_hit hits[10];
    uint64_t sum = 0;
    for (uint32_t q = 0; q < queries->count; q++) {
        struct ak_index_effort effort;
        uint32_t count = 0;
        query.vector = vectors_row(queries, q);
        CHECK_OK(ak_index_search(index, &query, hits, &count, &effort, &err));
        CHECK(!effort.was_exact);
        sum += effort.distances;
    }
    return (double)sum / queries->count;
}

TEST(index_hnsw, real_sentence_embeddings_are_found)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_shared("data/minilm/base.f16.npy", 10000);
    struct vectors q = vectors_shared("data/minilm/query.sentences.npy", 300);
    struct ak_index *index = open_built(AK_METRIC_COSINE, &v, epoch);
    struct ak_index_query query = {.k = 10, .ef = 20};
    CHECK(index_recall(index, &q, query) >= 0.95);
    CHECK(mean_distances(index, &q, query) <= 600.0);
    query.ef = 64;
    CHECK(index_recall(index, &q, query) >= 0.99);
    query.ef = 500; /* codes leave nothing out that floats would find */
    CHECK(index_recall(index, &q, query) >= 0.999);
    query.k = 100;
    query.ef = 200;
    CHECK(index_recall(index, &q, query) >= 0.98);
    CHECK_INT(index_checked(index).unreachable, 0);
    vectors_release(&v);
    vectors_release(&q);
    ak_index_close(index);
    ak_epoch_close(epoch);
}

TEST(index_hnsw, pending_rows_are_found_exactly_and_once)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_clustered(4000, 32, 20, 21);
    struct vectors q = vectors_clustered(100, 32, 20, 22);
    struct ak_err err = {0};
    struct ak_index_options options = index_options(32, AK_METRIC_L2, epoch);
    struct ak_index *index = NULL;
    CHECK_OK(ak_index_open(&options, &index, &err));
    struct ak_index_query query = {.k = 10, .ef = 64};
    index_add_rows(index, &v, 0, 3000);
    CHECK(index_recall(index, &q, query) == 1.0); /* nothing is linked yet */
    CHECK_INT(ak_index_build_some(index, 2000), 2000);
    CHECK_INT(ak_index_pending(index), 1000);
    CHECK(index_recall(index, &q, query) >= 0.97);
    index_add_rows(index, &v, 3000, 4000);
    remove_share(index, 0.1, 5);
    CHECK(index_recall(index, &q, query) >= 0.97);
    CHECK_INT(index_checked(index).pending, 2000);
    index_build_all(index);
    CHECK(index_recall(index, &q, query) >= 0.97);
    vectors_release(&v);
    vectors_release(&q);
    ak_index_close(index);
    ak_epoch_close(epoch);
}

TEST(index_hnsw, the_same_rows_in_the_same_order_give_the_same_graph)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_clustered(2000, 24, 9, 31);
    struct ak_buf images[2] = {{0}, {0}};
    for (int i = 0; i < 2; i++) {
        struct ak_err err = {0};
        struct ak_index *index = open_built(AK_METRIC_COSINE, &v, epoch);
        struct ak_image_writer *writer = NULL;
        CHECK_OK(ak_index_freeze(index, &err));
        CHECK_OK(ak_image_create_blob(&images[i], &writer, &err));
        CHECK_OK(ak_index_write(index, writer, &err));
        CHECK_OK(ak_image_commit(writer, NULL, &err));
        ak_index_unfreeze(index);
        ak_index_close(index);
    }
    CHECK_INT(images[0].len, images[1].len);
    CHECK(memcmp(images[0].p, images[1].p, images[0].len) == 0);
    ak_buf_release(&images[0]);
    ak_buf_release(&images[1]);
    vectors_release(&v);
    ak_epoch_close(epoch);
}

TEST(index_hnsw, ten_thousand_results_are_all_there_in_order)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_clustered(12000, 8, 30, 41);
    struct vectors q = vectors_clustered(3, 8, 30, 42);
    struct ak_err err = {0};
    struct ak_index_options options = index_options(8, AK_METRIC_L2, epoch);
    options.params.ef_construction = 40;
    options.exact_below = 11000;
    struct ak_index *index = NULL;
    CHECK_OK(ak_index_open(&options, &index, &err));
    index_add_rows(index, &v, 0, v.count);
    index_build_all(index);
    struct ak_index_query query = {.k = AK_K_MAX};
    CHECK(index_recall(index, &q, query) >= 0.99);
    struct ak_index_effort effort;
    struct ak_hit *hits = ak_alloc(AK_K_MAX * sizeof *hits);
    uint32_t count = 0;
    query.vector = q.at;
    query.k = 2000;
    query.ef = 2000;
    CHECK(index_recall(index, &q, query) >= 0.99);
    query.vector = q.at;
    query.k = 10;
    query.ef = 20;
    CHECK_OK(ak_index_search(index, &query, hits, &count, &effort, &err));
    CHECK(!effort.was_exact && effort.distances < 2000);
    ak_free(hits);
    vectors_release(&v);
    vectors_release(&q);
    ak_index_close(index);
    ak_epoch_close(epoch);
}

static uint64_t *random_filter(uint64_t slots, double share, uint64_t seed, uint64_t *count)
{
    uint64_t *allow = ak_zalloc((slots / 64 + 1) * sizeof *allow);
    struct ak_rand rand;
    ak_rand_seed(&rand, seed);
    *count = 0;
    for (uint64_t slot = 0; slot < slots; slot++) {
        if (ak_rand_unit(&rand) < share) {
            allow[slot / 64] |= (uint64_t)1 << (slot % 64);
            ++*count;
        }
    }
    return allow;
}

TEST(index_hnsw, filters_of_any_selectivity_return_all_that_match_up_to_k)
{
    static const double shares[] = {0.9, 0.5, 0.1, 0.01, 0.001, 0.0};
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_clustered(ROWS, DIMENSION, 40, 11);
    struct vectors q = vectors_clustered(100, DIMENSION, 40, 12);
    struct ak_index *index = open_built(AK_METRIC_COSINE, &v, epoch);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
            struct ak_index_query query = {.k = 10, .ef = 40, .allow_slots = ROWS};
            uint64_t *allow = random_filter(ROWS, shares[i], 50 + i, &query.allow_count);
            query.allow = allow;
            CHECK(index_recall(index, &q, query) >= 0.97);
            ak_free(allow);
        }
        remove_share(index, 0.2, 6);
    }
    vectors_release(&v);
    vectors_release(&q);
    ak_index_close(index);
    ak_epoch_close(epoch);
}

/* The filter leaves only rows far from the query: the walk's pool holds none of them. */
TEST(index_hnsw, a_filter_far_from_the_query_is_answered_all_the_same)
{
    struct ak_err err = {0};
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = {8000, 16, ak_alloc(8000 * 16 * sizeof(float))};
    struct ak_rand rand;
    ak_rand_seed(&rand, 1);
    for (uint32_t i = 0; i < v.count; i++) {
        for (uint32_t j = 0; j < 16; j++) {
            float middle = j == 0 ? (i < 4000 ? 20.0f : -20.0f) : 0.0f;
            vectors_row(&v, i)[j] = middle + (float)ak_rand_normal(&rand);
        }
    }
    struct ak_index *index = open_built(AK_METRIC_L2, &v, epoch);
    uint64_t allow[125] = {0};
    for (uint32_t slot = 4000; slot < 8000; slot++) {
        allow[slot / 64] |= (uint64_t)1 << (slot % 64);
    }
    struct ak_index_query query = {.vector = v.at,
                                   .k = 25,
                                   .ef = 40,
                                   .allow = allow,
                                   .allow_slots = 8000,
                                   .allow_count = 4000};
    struct ak_hit hits[25];
    uint32_t count = 0;
    CHECK_OK(ak_index_search(index, &query, hits, &count, NULL, &err));
    CHECK_INT(count, 25);
    for (uint32_t i = 0; i < count; i++) {
        CHECK(hits[i].slot >= 4000);
    }
    struct vectors few = {20, 16, v.at};
    CHECK(index_recall(index, &few, query) >= 0.99);
    vectors_release(&v);
    ak_index_close(index);
    ak_epoch_close(epoch);
}

TEST(index_hnsw, a_thousand_equal_rows_hide_nobody_and_stay_reachable)
{
    struct ak_err err = {0};
    for (int metric = 0; metric < AK_METRIC_COUNT; metric++) {
        struct ak_epoch *epoch = ak_epoch_open();
        struct vectors v = vectors_clustered(4000, 32, 20, 61);
        struct vectors q = vectors_clustered(100, 32, 20, 62);
        for (uint32_t i = 500; i < 1500; i++) {
            memcpy(vectors_row(&v, i), vectors_row(&v, 499), 32 * sizeof(float));
        }
        struct ak_index *index = open_built((enum ak_metric)metric, &v, epoch);
        CHECK_INT(index_checked(index).unreachable, 0);
        struct ak_index_query query = {.k = 10, .ef = 64};
        CHECK(index_recall(index, &q, query) >= 0.97);
        struct ak_hit hits[500];
        uint32_t count = 0;
        query = (struct ak_index_query){.vector = vectors_row(&v, 499), .k = 500};
        CHECK_OK(ak_index_search(index, &query, hits, &count, NULL, &err));
        CHECK_INT(count, 500);
        for (uint32_t i = 1; i < count; i++) {
            bool equal =
                !(hits[i].score < hits[i - 1].score) && !(hits[i].score > hits[i - 1].score);
            CHECK(!equal || hits[i].slot > hits[i - 1].slot);
            CHECK(metric == AK_METRIC_DOT || (hits[i].slot >= 499 && hits[i].slot < 1500));
        }
        vectors_release(&v);
        vectors_release(&q);
        ak_index_close(index);
        ak_epoch_close(epoch);
    }
}

/* Rows along a closed curve, in its order: the graph grows along it, and a walk for the rows that
 * close it ends at the wrong side of the gap. Six rounds, as many seeds. */
TEST(index_hnsw, rows_that_follow_one_another_around_a_circle_leave_no_gap)
{
    const uint32_t rows = 3800;
    const uint32_t dimension = 32;
    struct ak_err err = {0};
    struct vectors v = {rows, dimension, ak_alloc((size_t)rows * dimension * sizeof(float))};
    for (uint32_t i = 0; i < rows * dimension; i++) {
        v.at[i] = sinf((float)(i / dimension) * 0.01f + (float)(i % dimension) * 0.2f);
    }
    for (uint64_t seed = 0; seed < 6; seed++) {
        struct ak_epoch *epoch = ak_epoch_open();
        struct ak_index_options options = index_options(dimension, AK_METRIC_COSINE, epoch);
        struct ak_index *index = NULL;
        options.seed = seed;
        CHECK_OK(ak_index_open(&options, &index, &err));
        index_add_rows(index, &v, 0, rows);
        index_build_all(index);
        for (uint32_t i = 0; i < rows; i += 5) {
            struct ak_index_query query = {.vector = vectors_row(&v, i), .k = 10, .ef = 64};
            struct ak_hit hits[10];
            uint32_t count = 0;
            CHECK_OK(ak_index_search(index, &query, hits, &count, NULL, &err));
            CHECK_INT(count, 10);
            CHECK(hits[9].score > 0.9995f); /* three steps away; the gap showed .99 and less */
        }
        ak_index_close(index);
        ak_epoch_close(epoch);
    }
    vectors_release(&v);
}

TEST(index_hnsw, a_region_of_nothing_but_tombstones_is_walked_through_and_inserted_into)
{
    struct ak_err err = {0};
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_clustered(5000, 16, 4, 71);
    struct vectors q = vectors_clustered(50, 16, 4, 72);
    struct ak_index *index = open_built(AK_METRIC_COSINE, &v, epoch);
    for (uint32_t slot = 0; slot < 4990; slot++) {
        ak_index_remove(index, slot);
    }
    struct ak_index_query query = {.k = 20, .ef = 20};
    CHECK(index_recall(index, &q, query) == 1.0); /* all ten */
    index_add_rows(index, &v, 0, 300);
    index_build_all(index);
    CHECK(index_recall(index, &q, query) >= 0.95);
    (void)index_checked(index);
    CHECK_OK(ak_index_repair(index, &err));
    CHECK_INT(index_checked(index).unreachable, 0);
    query.k = 10;
    CHECK(index_recall(index, &q, query) >= 0.97);
    vectors_release(&v);
    vectors_release(&q);
    ak_index_close(index);
    ak_epoch_close(epoch);
}

TEST(index_hnsw, all_rows_can_go_and_others_come)
{
    struct ak_err err = {0};
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_clustered(2000, 16, 4, 71);
    struct vectors q = vectors_clustered(50, 16, 4, 72);
    struct ak_index *index = open_built(AK_METRIC_L2, &v, epoch);
    for (int round = 0; round < 3; round++) {
        remove_share(index, 2.0, 1);
        CHECK_INT(ak_index_live(index), 0);
        struct ak_index_query query = {.k = 10};
        CHECK(index_recall(index, &q, query) == 1.0);
        if (round != 1) {
            CHECK_OK(ak_index_repair(index, &err));
            CHECK_INT(index_checked(index).free_slots, ak_index_slots(index));
        }
        index_add_rows(index, &v, 0, 1500);
        index_build_all(index);
        CHECK(index_recall(index, &q, query) >= 0.97);
        (void)index_checked(index);
    }
    CHECK(ak_index_slots(index) <= 4000);
    vectors_release(&v);
    vectors_release(&q);
    ak_index_close(index);
    ak_epoch_close(epoch);
}

/* Whatever the entry point is, removing the rows a search from anywhere begins with hurts nobody.
 */
TEST(index_hnsw, a_removed_entry_point_is_replaced)
{
    struct ak_err err = {0};
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_clustered(3000, 16, 10, 81);
    struct vectors q = vectors_clustered(50, 16, 10, 82);
    struct ak_index *index = open_built(AK_METRIC_COSINE, &v, epoch);
    struct ak_index_query query = {.k = 10, .ef = 64};
    for (int round = 0; round < 8; round++) {
        /* Invariant I6 names the slot: provoke it on a copy is not possible, so remove in blocks
         * that cover all rows in turn; the entry point is in one of them. */
        for (uint32_t slot = (uint32_t)round; slot < 3000; slot += 16) {
            ak_index_remove(index, slot);
        }
        CHECK(index_recall(index, &q, query) >= 0.97);
        CHECK_OK(ak_index_repair(index, &err));
        CHECK_INT(index_checked(index).unreachable, 0);
        CHECK(index_recall(index, &q, query) >= 0.97);
    }
    vectors_release(&v);
    vectors_release(&q);
    ak_index_close(index);
    ak_epoch_close(epoch);
}

TEST(index_hnsw, small_indexes_are_scanned_and_spend_nothing_on_links)
{
    struct ak_err err = {0};
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_clustered(3000, 16, 10, 81);
    struct vectors q = vectors_clustered(20, 16, 10, 82);
    struct ak_index_options options = index_options(16, AK_METRIC_L2, epoch);
    options.exact_below = 1000;
    struct ak_index *index = NULL;
    CHECK_OK(ak_index_open(&options, &index, &err));
    index_add_rows(index, &v, 0, 1000);
    CHECK_INT(ak_index_pending(index), 0);
    CHECK_INT(ak_index_build_some(index, 10), 0);
    index_add_rows(index, &v, 1000, 3000);
    CHECK_INT(ak_index_pending(index), 3000);
    index_build_all(index);
    struct ak_index_query query = {.k = 10, .ef = 64};
    CHECK(index_recall(index, &q, query) >= 0.97);
    CHECK_INT(index_checked(index).unreachable, 0);
    CHECK(ak_index_cost(index, &query) > 0);
    vectors_release(&v);
    vectors_release(&q);
    ak_index_close(index);
    ak_epoch_close(epoch);
}

TEST(index_hnsw, the_smallest_and_the_largest_m_work)
{
    static const uint32_t ms[] = {4, 5, 64};
    for (size_t i = 0; i < 3; i++) {
        struct ak_err err = {0};
        struct ak_epoch *epoch = ak_epoch_open();
        struct vectors v = vectors_clustered(2000, 20, 10, 91);
        struct vectors q = vectors_clustered(50, 20, 10, 92);
        struct ak_index_options options = index_options(20, AK_METRIC_COSINE, epoch);
        options.params.m = ms[i];
        struct ak_index *index = NULL;
        CHECK_OK(ak_index_open(&options, &index, &err));
        index_add_rows(index, &v, 0, v.count);
        index_build_all(index);
        struct ak_index_query query = {.k = 10, .ef = 100};
        CHECK(index_recall(index, &q, query) >= 0.9);
        remove_share(index, 0.3, 2);
        CHECK_OK(ak_index_repair(index, &err));
        CHECK_INT(index_checked(index).unreachable, 0);
        CHECK(index_recall(index, &q, query) >= 0.9);
        vectors_release(&v);
        vectors_release(&q);
        ak_index_close(index);
        ak_epoch_close(epoch);
    }
}

TEST_MAIN()
