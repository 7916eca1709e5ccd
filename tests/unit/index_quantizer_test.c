/* Byte codes: how near they come, what they stand, and that searches on them give exact scores. */
#include "base/fault.h"
#include "index/quantizer.h"
#include "unit/index_vectors.h"

static struct ak_err err;

static const float *row_of(void *ctx, uint64_t i, float *factor)
{
    *factor = 1.0f;
    return vectors_row(ctx, (uint32_t)i);
}

static struct ak_quantizer *train(struct vectors *v)
{
    struct ak_quantizer *quantizer = NULL;
    CHECK_OK(ak_quantizer_train(v->dimension, 5, v->count, row_of, v, &quantizer, &err));
    CHECK_INT(ak_quantizer_trained_on(quantizer), v->count);
    return quantizer;
}

static double dot(const float *a, const float *b, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)a[i] * (double)b[i];
    }
    return sum;
}

/* Mean of |estimate − q·x| over ‖q‖ · deviation of x, both ways of asking. */
static double mean_error(const struct ak_quantizer *quantizer, const struct ak_simd *simd,
                         const struct vectors *v, const struct vectors *q)
{
    size_t stride = ak_quantizer_stride(v->dimension);
    float *scratch = ak_alloc(stride * sizeof *scratch);
    uint8_t *code = ak_alloc(stride);
    int8_t *query = ak_alloc(stride);
    double sum = 0;
    for (uint32_t i = 0; i < q->count; i++) {
        struct ak_code_query by;
        const float *asked = vectors_row(q, i);
        const float *row = vectors_row(v, i * 3 % v->count);
        uint32_t clipped = ak_quantizer_encode(quantizer, simd, row, 1.0f, scratch, code);
        CHECK(clipped <= v->dimension / 8 + 1);
        ak_quantizer_query(quantizer, simd, asked, false, scratch, query, &by);
        double got = (double)by.bias + (double)by.gain * simd->dot_u8s8(code, query, stride);
        double spread = sqrt((double)ak_quantizer_spread(quantizer, row, 1.0f));
        double size = sqrt(dot(asked, asked, v->dimension));
        sum += fabs(got - dot(asked, row, v->dimension)) / (size * spread + 1e-9);
    }
    ak_free(scratch);
    ak_free(code);
    ak_free(query);
    return sum / q->count;
}

TEST(quantizer, products_by_codes_are_within_a_percent_for_any_dimension_and_processor)
{
    static const uint32_t dimensions[] = {2, 3, 7, 8, 31, 64, 65, 100, 384, 511, 768, 1000};
    for (size_t d = 0; d < sizeof dimensions / sizeof dimensions[0]; d++) {
        struct vectors v = vectors_clustered(400, dimensions[d], 7, 1);
        struct vectors q = vectors_clustered(100, dimensions[d], 7, 2);
        struct ak_quantizer *quantizer = train(&v);
        for (int isa = 0; isa < AK_ISA_COUNT; isa++) {
            const struct ak_simd *simd = ak_simd_get_isa((enum ak_isa)isa);
            if (simd) {
                double error = mean_error(quantizer, simd, &v, &q);
                CHECK(error < (dimensions[d] < 16 ? 0.03 : 0.01));
            }
        }
        ak_quantizer_close(quantizer);
        vectors_release(&v);
        vectors_release(&q);
    }
}

static void scale_to_unit(struct vectors *v)
{
    for (uint32_t i = 0; i < v->count; i++) {
        double norm = ak_f32_norm(vectors_row(v, i), v->dimension);
        for (uint32_t j = 0; j < v->dimension; j++) {
            vectors_row(v, i)[j] = (float)((double)vectors_row(v, i)[j] / norm);
        }
    }
}

/* The root of the mean of ((product by code − product) / the error that was said)². */
static double errors_in_deviations(const struct ak_quantizer *quantizer, const struct vectors *v,
                                   const struct vectors *q)
{
    const struct ak_simd *simd = ak_simd_get();
    size_t stride = ak_quantizer_stride(v->dimension);
    float *scratch = ak_alloc(stride * sizeof *scratch);
    uint8_t *code = ak_alloc(stride);
    int8_t *query = ak_alloc(stride);
    double sum = 0;
    for (uint32_t i = 0; i < q->count; i++) {
        struct ak_code_query by;
        const float *asked = vectors_row(q, i);
        ak_quantizer_query(quantizer, simd, asked, false, scratch, query, &by);
        for (uint32_t j = i; j < v->count; j += 10) {
            const float *row = vectors_row(v, j);
            (void)ak_quantizer_encode(quantizer, simd, row, 1.0f, scratch, code);
            double got = (double)by.bias + (double)by.gain * simd->dot_u8s8(code, query, stride);
            double off = (got - dot(asked, row, v->dimension)) / (double)by.error;
            sum += off * off / ((double)q->count * v->count / 10);
        }
    }
    ak_free(scratch);
    ak_free(code);
    ak_free(query);
    return sqrt(sum);
}

TEST(quantizer, says_how_far_off_its_products_are)
{
    static const uint32_t dimensions[] = {48, 65, 384, 1000};
    for (size_t d = 0; d < sizeof dimensions / sizeof dimensions[0]; d++) {
        struct vectors v = vectors_clustered(400, dimensions[d], 7, 1);
        struct vectors q = vectors_clustered(10, dimensions[d], 7, 2);
        scale_to_unit(&v); /* as cosine takes rows: a longer one than those of the training clips */
        struct ak_quantizer *quantizer = train(&v);
        double off = errors_in_deviations(quantizer, &v, &q);
        CHECK(off > 0.8 && off < 1.2);
        ak_quantizer_close(quantizer);
        vectors_release(&v);
        vectors_release(&q);
    }
}

TEST(quantizer, squared_distances_come_out_of_codes_and_terms)
{
    enum { D = 96 };
    struct vectors v = vectors_clustered(500, D, 9, 3);
    struct vectors q = vectors_clustered(50, D, 9, 4);
    struct ak_quantizer *quantizer = train(&v);
    const struct ak_simd *simd = ak_simd_get();
    size_t stride = ak_quantizer_stride(D);
    float scratch[D];
    uint8_t code[128];
    int8_t query[128];
    CHECK_INT(stride, 128);
    for (uint32_t i = 0; i < q.count; i++) {
        struct ak_code_query by;
        const float *row = vectors_row(&v, i * 7);
        (void)ak_quantizer_encode(quantizer, simd, row, 1.0f, scratch, code);
        ak_quantizer_query(quantizer, simd, vectors_row(&q, i), true, scratch, query, &by);
        double product = (double)by.bias + (double)by.gain * simd->dot_u8s8(code, query, stride);
        double got =
            (double)by.spread + (double)ak_quantizer_spread(quantizer, row, 1.0f) - 2 * product;
        double want = 0;
        for (uint32_t j = 0; j < D; j++) {
            double apart = (double)vectors_row(&q, i)[j] - (double)row[j];
            want += apart * apart;
        }
        CHECK(fabs(got - want) < 0.03 * ((double)by.spread + want));
    }
    ak_quantizer_close(quantizer);
    vectors_release(&v);
    vectors_release(&q);
}

TEST(quantizer, rows_without_spread_and_numbers_without_measure_do_no_harm)
{
    enum { D = 5 };
    static float rows[3][D] = {{1, 2, 3, 4, 5}, {1, 2, 3, 4, 5}, {1, 2, 3, 4, 5}};
    static const float odd[][D] = {{0},
                                   {1e38f, -1e38f, 1e38f, 1e38f, 1e38f},
                                   {1e-45f, 0, -1e-45f, 0, 0},
                                   {INFINITY, 0, -INFINITY, NAN, 1}};
    struct vectors v = {3, D, &rows[0][0]};
    struct ak_quantizer *quantizer = train(&v);
    float scratch[D];
    uint8_t code[64];
    int8_t query[64];
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        for (int about = 0; about < 2; about++) {
            struct ak_code_query by;
            (void)ak_quantizer_encode(quantizer, ak_simd_get(), odd[i], 1.0f, scratch, code);
            ak_quantizer_query(quantizer, ak_simd_get(), odd[i], about, scratch, query, &by);
            CHECK(isfinite(by.bias) && isfinite(by.gain) && by.gain > 0.0f);
            CHECK(code[D] == 128 && code[63] == 128 && query[D] == 0 && query[63] == 0);
        }
    }
    CHECK_INT(ak_quantizer_encode(quantizer, ak_simd_get(), rows[0], 1.0f, scratch, code), 0);
    for (int i = 0; i < D; i++) {
        CHECK_INT(code[i], 128); /* the mean itself */
    }
    ak_quantizer_close(quantizer);
}

TEST(quantizer, comes_back_from_its_bytes_and_refuses_others)
{
    struct vectors v = vectors_clustered(300, 24, 5, 6);
    struct ak_quantizer *quantizer = train(&v);
    struct ak_quantizer *again = NULL;
    struct ak_buf bytes;
    uint8_t code[2][64];
    float scratch[24];
    ak_buf_init(&bytes, 0);
    ak_quantizer_write(quantizer, &bytes);
    CHECK_OK(ak_quantizer_read(ak_buf_str(&bytes), 24, &again, &err));
    for (uint32_t i = 0; i < v.count; i++) {
        (void)ak_quantizer_encode(quantizer, ak_simd_get(), vectors_row(&v, i), 1, scratch,
                                  code[0]);
        (void)ak_quantizer_encode(again, ak_simd_get(), vectors_row(&v, i), 1, scratch, code[1]);
        CHECK(memcmp(code[0], code[1], 64) == 0);
    }
    CHECK_INT(ak_quantizer_trained_on(again), 300);
    ak_quantizer_close(again);
    CHECK_RC(AK_CORRUPT, ak_quantizer_read(ak_buf_str(&bytes), 25, &again, &err));
    CHECK_RC(AK_CORRUPT,
             ak_quantizer_read(ak_str_sub(ak_buf_str(&bytes), 0, bytes.len - 1), 24, &again, &err));
    float nan = NAN;
    memcpy(bytes.p + 32 + 8, &nan, sizeof nan);
    CHECK_RC(AK_CORRUPT, ak_quantizer_read(ak_buf_str(&bytes), 24, &again, &err));
    memcpy(bytes.p + 24, &nan, sizeof nan); /* the step */
    CHECK_RC(AK_CORRUPT, ak_quantizer_read(ak_buf_str(&bytes), 24, &again, &err));
    bytes.p[0] = 9;
    CHECK_RC(AK_UNSUPPORTED, ak_quantizer_read(ak_buf_str(&bytes), 24, &again, &err));
    ak_buf_release(&bytes);
    ak_quantizer_close(quantizer);
    vectors_release(&v);
}

TEST(codes, scores_and_order_of_a_search_on_codes_are_those_of_the_floats)
{
    for (int metric = 0; metric < AK_METRIC_COUNT; metric++) {
        struct ak_epoch *epoch = ak_epoch_open();
        struct vectors v = vectors_clustered(3000, 40, 20, 1);
        struct vectors q = vectors_clustered(50, 40, 20, 2);
        struct ak_index_options options = index_options(40, (enum ak_metric)metric, epoch);
        struct ak_index *index = NULL;
        CHECK_OK(ak_index_open(&options, &index, &err));
        index_add_rows(index, &v, 0, 2500);
        index_build_all(index);
        index_add_rows(index, &v, 2500, 3000); /* these wait, and are scanned by codes */
        for (uint32_t i = 0; i < q.count; i++) {
            struct ak_hit hits[15];
            uint32_t count = 0;
            struct ak_index_query query = {.vector = vectors_row(&q, i), .k = 15};
            CHECK_OK(ak_index_search(index, &query, hits, &count, NULL, &err));
            CHECK_INT(count, 15);
            for (uint32_t j = 0; j < count; j++) {
                CHECK(hits[j].score == ak_index_score(index, query.vector, hits[j].slot));
                CHECK(j == 0 || (metric == AK_METRIC_L2 ? hits[j].score >= hits[j - 1].score
                                                        : hits[j].score <= hits[j - 1].score));
            }
        }
        struct ak_index_query query = {.k = 10, .ef = 64};
        CHECK(index_recall(index, &q, query) >= 0.98);
        query.vector = vectors_row(&v, 2999); /* the row written last is its own nearest */
        struct ak_hit own;
        uint32_t count = 0;
        query.k = 1;
        CHECK_OK(ak_index_search(index, &query, &own, &count, NULL, &err));
        CHECK(metric == AK_METRIC_DOT || own.slot == 2999);
        (void)index_checked(index);
        vectors_release(&v);
        vectors_release(&q);
        ak_index_close(index);
        ak_epoch_close(epoch);
    }
}

/* Rows that come in the order of their topics: the first are all from one corner. */
TEST(codes, made_from_unlike_rows_are_made_anew_and_recall_comes_back)
{
    for (int metric = 0; metric < AK_METRIC_COUNT; metric++) {
        struct ak_epoch *epoch = ak_epoch_open();
        struct vectors v = vectors_clustered(6000, 32, 20, 1);
        struct vectors q = vectors_clustered(100, 32, 20, 2);
        for (uint32_t i = 0; i < 200 * 32; i++) { /* the first 200: a speck far away */
            v.at[i] = 3.0f + 0.001f * v.at[i];
        }
        struct ak_index_options options = index_options(32, (enum ak_metric)metric, epoch);
        struct ak_index *index = NULL;
        CHECK_OK(ak_index_open(&options, &index, &err));
        for (uint32_t i = 0; i < v.count; i += 50) {
            index_add_rows(index, &v, i, i + 50);
            (void)ak_index_renew(index);
            (void)ak_index_build_some(index, 60);
            if (i % 500 == 450) { /* slots used anew while codes are in the making */
                ak_index_remove(index, i - 20);
                CHECK_OK(ak_index_repair(index, &err));
            }
        }
        index_build_all(index);
        CHECK(index_checked(index).live > 5900); /* every code is that of its row */
        struct ak_index_query query = {.k = 10, .ef = 64};
        CHECK(index_recall(index, &q, query) >= 0.97);
        vectors_release(&v);
        vectors_release(&q);
        ak_index_close(index);
        ak_epoch_close(epoch);
    }
}

TEST(codes, are_made_once_there_are_rows_enough_and_show_in_the_memory)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_clustered(6000, 256, 10, 1);
    size_t bytes[2];
    for (int kind = 0; kind < 2; kind++) {
        struct ak_index_options options = index_options(256, AK_METRIC_COSINE, epoch);
        struct ak_index *index = NULL;
        options.params.quantization = kind ? AK_QUANTIZATION_U8 : AK_QUANTIZATION_NONE;
        options.codes_from = 0;
        CHECK_OK(ak_index_open(&options, &index, &err));
        index_add_rows(index, &v, 0, v.count);
        bytes[kind] = ak_index_bytes(index);
        (void)index_checked(index);
        ak_index_close(index);
    }
    CHECK(bytes[1] > bytes[0] + 6000u * 256u && bytes[1] < bytes[0] + 6000u * 256u * 3u);
    vectors_release(&v);
    ak_epoch_close(epoch);
}

/* Neighbours a thousandth of the spread apart: codes cannot tell them from each other. */
TEST(codes, that_would_mix_up_neighbours_are_not_used)
{
    for (int metric = 0; metric < AK_METRIC_COUNT; metric++) {
        struct ak_epoch *epoch = ak_epoch_open();
        struct vectors v = vectors_clustered(3000, 64, 20, 1);
        struct vectors q = vectors_clustered(50, 64, 20, 1);
        struct ak_index_options options = index_options(64, (enum ak_metric)metric, epoch);
        struct ak_index *index = NULL;
        for (uint32_t i = 0; i < v.count; i++) { /* a spiral that becomes ever wider */
            for (uint32_t d = 0; d < 64; d++) {
                v.at[i * 64 + d] = d == 0 ? (float)i : d == 1 ? 0.5f * (float)i + 100.0f : 1e-3f;
            }
        }
        for (uint32_t i = 0; i < q.count; i++) {
            memcpy(q.at + i * 64, v.at + (i * 59 + 20) * 64, 64 * sizeof(float));
        }
        CHECK_OK(ak_index_open(&options, &index, &err));
        for (uint32_t i = 0; i < v.count; i += 50) {
            index_add_rows(index, &v, i, i + 50);
            (void)ak_index_renew(index);
            (void)ak_index_build_some(index, 25);
        }
        struct ak_index_query query = {.k = 10, .ef = 64};
        CHECK(index_recall(index, &q, query) >= 0.98); /* half of them wait to be linked */
        index_build_all(index);
        while (ak_index_renew(index)) {
            ak_index_settle(index);
        }
        CHECK(index_recall(index, &q, query) >= 0.98);
        (void)index_checked(index);
        vectors_release(&v);
        vectors_release(&q);
        ak_index_close(index);
        ak_epoch_close(epoch);
    }
}

/* The plan's own data: 628 rows go round a circle, and the next 628 lie between them. All rows
 * count in the trial of codes: in a sample of them neighbours lie far enough apart. */
TEST(codes, that_only_a_sample_of_the_rows_could_be_told_apart_by_are_not_used)
{
    enum { DIMENSION = 1024 };
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_clustered(9000, DIMENSION, 1, 1);
    size_t bytes[2];
    for (uint32_t i = 0; i < v.count; i++) {
        for (uint32_t d = 0; d < DIMENSION; d++) {
            v.at[(size_t)i * DIMENSION + d] = (float)sin((i + d) * 0.01);
        }
    }
    for (int kind = 0; kind < 2; kind++) {
        struct ak_index_options options = index_options(DIMENSION, AK_METRIC_COSINE, epoch);
        struct ak_index *index = NULL;
        options.params.quantization = kind ? AK_QUANTIZATION_U8 : AK_QUANTIZATION_NONE;
        options.codes_from = 2048;
        CHECK_OK(ak_index_open(&options, &index, &err));
        for (uint32_t i = 0; i < v.count; i += 100) {
            index_add_rows(index, &v, i, i + 100);
            (void)ak_index_renew(index);
            ak_index_settle(index);
        }
        bytes[kind] = ak_index_bytes(index);
        ak_index_close(index);
    }
    CHECK(bytes[1] < bytes[0] + (size_t)1000 * DIMENSION);
    vectors_release(&v);
    ak_epoch_close(epoch);
}

/* The engine logs a batch between reserve and add: what comes after cannot be taken back. */
TEST(codes, a_reserved_batch_that_starts_them_is_stored_whole_whichever_allocation_fails)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_clustered(400, 16, 5, 1);
    bool fired = true;
    for (int64_t nth = 0; fired; nth++) {
        struct ak_index_options options = index_options(16, AK_METRIC_L2, epoch);
        struct ak_index *index = NULL;
        CHECK_OK(ak_index_open(&options, &index, &err));
        CHECK_OK(ak_index_reserve(index, v.count, &err));
        ak_fault_alloc_at(nth);
        index_add_rows(index, &v, 0, v.count);
        fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK_INT(index_checked(index).live, v.count);
        ak_index_close(index);
    }
    vectors_release(&v);
    ak_epoch_close(epoch);
}

TEST(quantizer, a_query_next_to_nothing_has_finite_numbers)
{
    struct vectors v = vectors_clustered(200, 64, 5, 1);
    struct ak_quantizer *quantizer = train(&v);
    size_t stride = ak_quantizer_stride(64);
    float *scratch = ak_alloc(stride * sizeof *scratch);
    int8_t *query = ak_alloc(stride);
    float tiny[64] = {1e-38f, 2e-39f, -1e-40f};
    struct ak_code_query out;
    ak_quantizer_query(quantizer, ak_simd_get(), tiny, false, scratch, query, &out);
    CHECK(isfinite(out.gain) && isfinite(out.bias) && isfinite(out.spread));
    ak_free(query);
    ak_free(scratch);
    ak_quantizer_close(quantizer);
    vectors_release(&v);
}

TEST_MAIN()
