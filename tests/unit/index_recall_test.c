/* Recall over ef: what a measured curve promises, and what it says when nothing was measured. */
#include "base/fault.h"
#include "index/recall.h"
#include "unit/index_vectors.h"

#define ROWS 2500u

static struct ak_recall_curve made_curve(void)
{
    struct ak_recall_curve curve = {.rows = 1000, .queries = 100, .real = 40};
    for (uint32_t at = 0; at < AK_RECALL_KS; at++) {
        for (uint32_t e = 0; e < AK_RECALL_EFS; e++) {
            curve.sure[at][e] = 0.8f + 0.01f * (float)e;
            curve.mean[at][e] = curve.sure[at][e] + 0.01f;
        }
    }
    return curve;
}

TEST(recall, a_larger_share_or_more_results_never_need_a_smaller_ef)
{
    struct ak_recall_curve curve = made_curve();
    for (uint32_t k = 1; k <= 2000; k += k / 3 + 1) {
        uint32_t before = 0;
        for (uint32_t hundredths = 50; hundredths < 95; hundredths++) {
            double wanted = (double)hundredths / 100.0 - 0.005;
            uint32_t ef = ak_recall_ef(&curve, k, wanted);
            uint32_t more = ak_recall_ef(&curve, k + 1, wanted);
            CHECK(ef >= before && ef >= k);
            CHECK(more >= ef);
            before = ef;
        }
    }
}

TEST(recall, what_no_ef_gives_is_scanned_for_and_the_last_one_is_taken_on_its_mean)
{
    struct ak_recall_curve curve = made_curve();
    CHECK_INT(ak_recall_ef(&curve, 10, 0.955), 2048); /* sure .95, mean .96 */
    CHECK_INT(ak_recall_ef(&curve, 10, 0.97), 0);
    CHECK_INT(ak_recall_ef(&curve, 10, 1.0), 0);
    CHECK_INT(ak_recall_ef(&curve, 10000, 0.94), 0); /* more than an ef may be */
    CHECK_INT(ak_recall_ef(&curve, 10, 0.1), 10);
}

TEST(recall, without_a_measurement_ef_is_generous_and_grows_with_what_is_wanted)
{
    static const struct ak_recall_curve none;
    CHECK(ak_recall_ef(&none, 10, 0.9) >= 128);
    CHECK(ak_recall_ef(&none, 10, 0.95) > ak_recall_ef(&none, 10, 0.9));
    CHECK(ak_recall_ef(&none, 100, 0.95) > ak_recall_ef(&none, 10, 0.95));
    CHECK_INT(ak_recall_ef(&none, 10, 1.0), 0);
}

TEST(recall, a_curve_that_cannot_have_been_measured_is_not_believed)
{
    struct ak_recall_curve curve = made_curve();
    CHECK(ak_recall_is_sound(&curve));
    curve.real = 101;
    CHECK(!ak_recall_is_sound(&curve));
    curve = made_curve();
    curve.queries = 0;
    CHECK(!ak_recall_is_sound(&curve));
    curve = made_curve();
    curve.mean[1][5] = 0.1f;
    CHECK(!ak_recall_is_sound(&curve));
    curve = made_curve();
    curve.sure[0][AK_RECALL_EFS - 1] = 1.5f;
    CHECK(!ak_recall_is_sound(&curve));
    curve = made_curve();
    curve.sure[0][3] = NAN;
    CHECK(!ak_recall_is_sound(&curve));
}

static struct ak_index *open_rows(enum ak_metric metric, const struct vectors *v, uint32_t count,
                                  struct ak_epoch *epoch)
{
    struct ak_err err = {0};
    struct ak_index_options options = index_options(v->dimension, metric, epoch);
    struct ak_index *index = NULL;
    CHECK_OK(ak_index_open(&options, &index, &err));
    index_add_rows(index, v, 0, count);
    index_build_all(index);
    return index;
}

static void measure(struct ak_index *index, uint32_t queries, struct ak_recall_curve *curve)
{
    struct ak_err err = {0};
    struct ak_recall_run *run = NULL;
    float vector[64];
    struct ak_rand rand;
    ak_rand_seed(&rand, 8);
    CHECK_OK(ak_recall_begin(index, &run, &err));
    for (uint32_t i = 0; i < queries; i++) {
        CHECK(ak_recall_invent(index, &rand, vector));
        CHECK_OK(ak_recall_ask(run, vector, false, &err));
    }
    ak_recall_result(run, curve);
    ak_recall_end(run);
}

TEST(recall, what_is_measured_holds_for_queries_like_the_rows_under_every_metric)
{
    for (int metric = 0; metric < AK_METRIC_COUNT; metric++) {
        struct ak_epoch *epoch = ak_epoch_open();
        struct vectors v = vectors_clustered(ROWS, 32, 40, 11);
        struct vectors q = vectors_clustered(100, 32, 40, 12);
        struct ak_index *index = open_rows((enum ak_metric)metric, &v, ROWS, epoch);
        struct ak_recall_curve curve;
        measure(index, 60, &curve);
        CHECK(ak_recall_is_sound(&curve));
        CHECK_INT(curve.rows, ROWS);
        CHECK_INT(curve.queries, 60);
        CHECK(ak_recall_at(&curve, 10, 64) <= ak_recall_at(&curve, 10, 512));
        struct ak_index_query query = {.k = 10};
        query.ef = ak_recall_ef(&curve, 10, 0.95);
        CHECK(query.ef >= 10 && query.ef < 1000);
        CHECK(index_recall(index, &q, query) >= 0.94);
        vectors_release(&v);
        vectors_release(&q);
        ak_index_close(index);
        ak_epoch_close(epoch);
    }
}

TEST(recall, an_index_without_rows_or_with_few_can_be_asked)
{
    struct ak_err err = {0};
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_clustered(5, 32, 2, 1);
    struct ak_index *index = open_rows(AK_METRIC_COSINE, &v, 0, epoch);
    struct ak_recall_run *run = NULL;
    struct ak_recall_curve curve;
    struct ak_rand rand;
    float vector[32] = {1.0f};
    ak_rand_seed(&rand, 1);
    CHECK(!ak_recall_invent(index, &rand, vector));
    CHECK_OK(ak_recall_begin(index, &run, &err));
    CHECK_OK(ak_recall_ask(run, vectors_row(&v, 0), true, &err));
    ak_recall_result(run, &curve);
    CHECK_INT(curve.queries, 0);
    ak_recall_end(run);
    index_add_rows(index, &v, 0, 5);
    index_build_all(index);
    measure(index, 3, &curve);
    CHECK_INT(curve.queries, 3);
    CHECK(ak_recall_at(&curve, 10, 10) >= 1.0);
    vectors_release(&v);
    ak_index_close(index);
    ak_epoch_close(epoch);
}

TEST_MAIN()
