/* Exact search, slots and scores, against a reference in double precision. */
#include "base/fault.h"
#include "unit/index_vectors.h"

struct ranked {
    double score;
    uint32_t slot;
};

static enum ak_metric reference_metric;

static int nearer_first(const void *a, const void *b)
{
    const struct ranked *x = a;
    const struct ranked *y = b;
    if (x->score < y->score || x->score > y->score) {
        bool first = reference_metric == AK_METRIC_L2 ? x->score < y->score : x->score > y->score;
        return first ? -1 : 1;
    }
    return x->slot < y->slot ? -1 : x->slot > y->slot;
}

static double reference_score(enum ak_metric metric, const float *a, const float *b, uint32_t n)
{
    double dot = 0.0;
    double l2 = 0.0;
    double aa = 0.0;
    double bb = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        double x = (double)a[i];
        double y = (double)b[i];
        dot += x * y;
        l2 += (x - y) * (x - y);
        aa += x * x;
        bb += y * y;
    }
    return metric == AK_METRIC_L2 ? sqrt(l2) : metric == AK_METRIC_DOT ? dot : dot / sqrt(aa * bb);
}

static void check_against_reference(enum ak_metric metric, uint32_t dimension, uint64_t seed)
{
    struct ak_err err = {0};
    struct ak_epoch *epoch = ak_epoch_open();
    struct ak_index_options options = index_options(dimension, metric, epoch);
    options.exact_below = 0;
    struct ak_index *index = NULL;
    CHECK_OK(ak_index_open(&options, &index, &err));
    struct vectors v = vectors_clustered(300, dimension, 7, seed);
    struct vectors q = vectors_clustered(10, dimension, 7, seed + 1);
    index_add_rows(index, &v, 0, v.count);
    for (uint32_t slot = 0; slot < v.count; slot += 3) {
        ak_index_remove(index, slot);
    }
    struct ranked ranked[300];
    struct ak_hit hits[300];
    reference_metric = metric;
    for (uint32_t i = 0; i < q.count; i++) {
        uint32_t live = 0;
        for (uint32_t slot = 0; slot < v.count; slot++) {
            if (slot % 3 != 0) {
                double score =
                    reference_score(metric, vectors_row(&q, i), vectors_row(&v, slot), dimension);
                ranked[live++] = (struct ranked){score, slot};
            }
        }
        qsort(ranked, live, sizeof *ranked, nearer_first);
        uint32_t count = 0;
        struct ak_index_query query = {.vector = vectors_row(&q, i), .k = 300};
        CHECK_OK(ak_index_search(index, &query, hits, &count, NULL, &err));
        CHECK_INT(count, live);
        for (uint32_t j = 0; j < count; j++) {
            double scale = 1.0 + fabs(ranked[j].score);
            CHECK(fabs((double)hits[j].score - ranked[j].score) < 1e-4 * scale);
            float alone = ak_index_score(index, query.vector, hits[j].slot);
            CHECK(memcmp(&alone, &hits[j].score, sizeof alone) == 0);
        }
    }
    vectors_release(&v);
    vectors_release(&q);
    ak_index_close(index);
    ak_epoch_close(epoch);
}

TEST(index_exact, agrees_with_a_reference_for_every_metric_and_odd_dimensions)
{
    static const uint32_t dimensions[] = {1, 2, 3, 15, 16, 17, 63, 64, 100, 384};
    for (size_t i = 0; i < sizeof dimensions / sizeof dimensions[0]; i++) {
        for (int metric = 0; metric < AK_METRIC_COUNT; metric++) {
            check_against_reference((enum ak_metric)metric, dimensions[i], ak_test_seed() + i);
        }
    }
}

static struct ak_index *open_small(uint32_t dimension, enum ak_metric metric,
                                   struct ak_epoch *epoch)
{
    struct ak_err err = {0};
    struct ak_index_options options = index_options(dimension, metric, epoch);
    struct ak_index *index = NULL;
    options.exact_below = 0;
    CHECK_OK(ak_index_open(&options, &index, &err));
    return index;
}

TEST(index_exact, equal_scores_come_in_slot_order)
{
    struct ak_err err = {0};
    struct ak_epoch *epoch = ak_epoch_open();
    struct ak_index *index = open_small(3, AK_METRIC_COSINE, epoch);
    for (int i = 0; i < 101; i++) {
        float v[3] = {1.0f, 2.0f, (float)(i % 2)};
        uint32_t slot = 0;
        CHECK_OK(ak_index_add(index, v, &slot, &err));
    }
    struct ak_hit hits[40];
    uint32_t count = 0;
    float q[3] = {3.0f, 6.0f, 0.0f};
    struct ak_index_query query = {.vector = q, .k = 40};
    CHECK_OK(ak_index_search(index, &query, hits, &count, NULL, &err));
    CHECK_INT(count, 40);
    for (uint32_t i = 0; i < count; i++) {
        CHECK_INT(hits[i].slot, 2 * i);
        CHECK(hits[i].score > 0.999f && hits[i].score <= 1.0f);
    }
    ak_index_close(index);
    ak_epoch_close(epoch);
}

TEST(index_exact, an_empty_index_answers_with_nothing)
{
    struct ak_err err = {0};
    struct ak_epoch *epoch = ak_epoch_open();
    struct ak_index *index = open_small(4, AK_METRIC_L2, epoch);
    float q[4] = {0};
    struct ak_hit hits[5];
    uint32_t count = 77;
    struct ak_index_query query = {.vector = q, .k = 5};
    CHECK_OK(ak_index_search(index, &query, hits, &count, NULL, &err));
    CHECK_INT(count, 0);
    CHECK_INT(ak_index_build_some(index, 10), 0);
    CHECK_OK(ak_index_repair(index, &err));
    (void)index_checked(index);
    ak_index_close(index);
    ak_index_close(NULL);
    ak_epoch_close(epoch);
}

TEST(index_exact, filters_return_exactly_the_allowed_live_rows)
{
    struct ak_err err = {0};
    struct ak_epoch *epoch = ak_epoch_open();
    struct ak_index *index = open_small(8, AK_METRIC_L2, epoch);
    struct vectors v = vectors_clustered(500, 8, 5, 3);
    index_add_rows(index, &v, 0, v.count);
    uint64_t allow[4] = {0};
    for (uint32_t slot = 0; slot < 200; slot += 7) {
        allow[slot / 64] |= (uint64_t)1 << (slot % 64);
    }
    allow[3] |= (uint64_t)1 << 63; /* slot 255: past allow_slots below */
    ak_index_remove(index, 14);
    struct ak_hit hits[100];
    uint32_t count = 0;
    struct ak_index_query query = {
        .vector = v.at, .k = 100, .allow = allow, .allow_slots = 200, .allow_count = 29};
    CHECK_OK(ak_index_search(index, &query, hits, &count, NULL, &err));
    CHECK_INT(count, 28);
    for (uint32_t i = 0; i < count; i++) {
        CHECK(hits[i].slot % 7 == 0 && hits[i].slot < 200 && hits[i].slot != 14);
    }
    query.as_allowed = true; /* also what was removed since */
    CHECK_OK(ak_index_search(index, &query, hits, &count, NULL, &err));
    CHECK_INT(count, 29);
    query.allow_count = 0;
    query.allow_slots = 0;
    CHECK_OK(ak_index_search(index, &query, hits, &count, NULL, &err));
    CHECK_INT(count, 0);
    vectors_release(&v);
    ak_index_close(index);
    ak_epoch_close(epoch);
}

TEST(index_exact, rows_too_large_for_a_float_still_have_a_place_and_a_finite_score)
{
    for (int metric = 0; metric < AK_METRIC_COUNT; metric++) {
        struct ak_err err = {0};
        struct ak_epoch *epoch = ak_epoch_open();
        struct ak_index *index = open_small(2, (enum ak_metric)metric, epoch);
        float v[4][2] = {{3e38f, 3e38f}, {-3e38f, 3e38f}, {1e-44f, 0.0f}, {1.0f, 1.0f}};
        for (int i = 0; i < 4; i++) {
            uint32_t slot = 0;
            CHECK_OK(ak_index_add(index, v[i], &slot, &err));
        }
        for (int i = 0; i < 4; i++) {
            struct ak_hit hits[4];
            uint32_t count = 0;
            struct ak_index_query query = {.vector = v[i], .k = 4};
            CHECK_OK(ak_index_search(index, &query, hits, &count, NULL, &err));
            CHECK_INT(count, 4);
            for (int j = 0; j < 4; j++) {
                CHECK(isfinite(hits[j].score));
            }
        }
        ak_index_close(index);
        ak_epoch_close(epoch);
    }
}

TEST(index_exact, stored_rows_come_back_bit_for_bit_while_the_index_grows)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct ak_index *index = open_small(33, AK_METRIC_DOT, epoch);
    struct vectors v = vectors_clustered(20000, 33, 50, 9);
    index_add_rows(index, &v, 0, v.count);
    CHECK_INT(ak_index_slots(index), v.count);
    CHECK_INT(ak_index_live(index), v.count);
    for (uint32_t i = 0; i < v.count; i++) {
        CHECK(memcmp(ak_index_vector(index, i), vectors_row(&v, i), 33 * sizeof(float)) == 0);
    }
    CHECK(ak_index_bytes(index) > 20000u * 33 * 4);
    vectors_release(&v);
    ak_index_close(index);
    ak_epoch_close(epoch);
}

TEST(index_exact, freed_slots_are_used_again_and_only_after_readers_left)
{
    struct ak_err err = {0};
    struct ak_epoch *epoch = ak_epoch_open();
    struct ak_index *index = open_small(4, AK_METRIC_L2, epoch);
    struct vectors v = vectors_clustered(100, 4, 3, 5);
    index_add_rows(index, &v, 0, 50);
    for (uint32_t slot = 10; slot < 20; slot++) {
        ak_index_remove(index, slot);
        ak_index_remove(index, slot);
    }
    CHECK_INT(ak_index_tombstones(index), 10);
    CHECK_INT(ak_index_live(index), 40);
    unsigned token = ak_epoch_enter(epoch);
    CHECK_OK(ak_index_repair(index, &err));
    CHECK_INT(ak_index_tombstones(index), 0);
    uint32_t slot = 0;
    CHECK_OK(ak_index_add(index, v.at, &slot, &err));
    CHECK_INT(slot, 50);
    ak_epoch_leave(epoch, token);
    (void)ak_epoch_collect(epoch);
    CHECK_OK(ak_index_add(index, v.at, &slot, &err)); /* this one was named before */
    CHECK_INT(slot, 51);
    for (uint32_t want = 10; want < 20; want++) {
        CHECK_INT(ak_index_next_slot(index), want);
        CHECK_OK(ak_index_add(index, v.at, &slot, &err));
        CHECK_INT(slot, want);
        CHECK(ak_index_is_live(index, slot));
    }
    CHECK_INT(ak_index_next_slot(index), 52);
    struct ak_index_report report = index_checked(index);
    CHECK_INT(report.live, 52);
    CHECK_INT(report.free_slots, 0);
    vectors_release(&v);
    ak_index_close(index);
    ak_epoch_close(epoch);
}

TEST(index_exact, the_live_bitmap_shows_what_is_live)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct ak_index *index = open_small(4, AK_METRIC_L2, epoch);
    struct vectors v = vectors_clustered(130, 4, 3, 5);
    index_add_rows(index, &v, 0, 130);
    ak_index_remove(index, 0);
    ak_index_remove(index, 129);
    uint64_t words[4] = {7, 7, 7, 7};
    ak_index_live_bitmap(index, words, 256);
    CHECK(words[0] == ~(uint64_t)1 && words[1] == ~(uint64_t)0 && words[2] == 1 && words[3] == 0);
    vectors_release(&v);
    ak_index_close(index);
    ak_epoch_close(epoch);
}

TEST(index_exact, wrong_options_are_refused)
{
    struct ak_err err = {0};
    struct ak_epoch *epoch = ak_epoch_open();
    struct ak_index *index = NULL;
    struct ak_index_options good = index_options(4, AK_METRIC_L2, epoch);
    struct ak_index_options bad = good;
    bad.dimension = 0;
    CHECK_RC(AK_INVALID, ak_index_open(&bad, &index, &err));
    bad = good;
    bad.params.m = 65;
    CHECK_RC(AK_INVALID, ak_index_open(&bad, &index, &err));
    bad = good;
    bad.params.ef_construction = 0;
    CHECK_RC(AK_INVALID, ak_index_open(&bad, &index, &err));
    bad = good;
    bad.metric = (enum ak_metric)9;
    CHECK_RC(AK_INVALID, ak_index_open(&bad, &index, &err));
    CHECK(index == NULL);
    ak_epoch_close(epoch);
}

#ifdef AK_FAULTS
/* Everything that may fail does, one after the other; the index goes on each time. */
TEST(index_exact, no_failed_allocation_loses_a_row_or_breaks_the_index)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_clustered(300, 16, 3, 5);
    bool fired = true;
    for (int64_t nth = 0; fired; nth++) {
        struct ak_err err = {0};
        struct ak_index_options options = index_options(16, AK_METRIC_COSINE, epoch);
        options.exact_below = 20;
        struct ak_index *index = NULL;
        ak_fault_alloc_at(nth);
        enum ak_rc rc = ak_index_open(&options, &index, &err);
        CHECK(rc == AK_OK || rc == AK_NOMEM);
        uint32_t added = 0;
        for (uint32_t i = 0; i < v.count && index; i++) {
            uint32_t slot = 0;
            uint32_t next = ak_index_next_slot(index);
            rc = ak_index_add(index, vectors_row(&v, i), &slot, &err);
            CHECK(rc == AK_OK || rc == AK_NOMEM);
            added += rc == AK_OK;
            CHECK(rc != AK_OK || slot == next);
            CHECK_INT(ak_index_is_live(index, next), rc == AK_OK);
            if (i % 50 == 49) {
                (void)ak_index_build_some(index, 30);
                struct ak_hit hits[5];
                uint32_t count = 0;
                struct ak_index_query query = {.vector = v.at, .k = 5};
                rc = ak_index_search(index, &query, hits, &count, NULL, &err);
                CHECK(rc == AK_NOMEM || (rc == AK_OK && count == 5));
                ak_index_remove(index, i - 10);
                rc = ak_index_repair(index, &err);
                CHECK(rc == AK_OK || rc == AK_NOMEM);
            }
        }
        fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        if (index) {
            CHECK(added >= v.count - 1 || !fired);
            CHECK_OK(ak_index_repair(index, &err));
            index_build_all(index);
            CHECK_INT(index_checked(index).tombstones, 0);
            ak_index_close(index);
        }
    }
    vectors_release(&v);
    ak_epoch_close(epoch);
}
#endif

TEST_MAIN()
