/* Filtered searches on real embeddings: what each way finds, whatever the filter leaves and where.
 */
#include "unit/index_vectors.h"

#define ROWS 5000u /* so that the least share leaves fewer rows than are asked for */
#define QUERIES 15u

enum kind { RANDOM, NEAR, FAR };

struct ranked {
    float far;
    uint32_t slot;
};

static int nearer_first(const void *a, const void *b)
{
    const struct ranked *x = a;
    const struct ranked *y = b;
    return (x->far > y->far) - (x->far < y->far);
}

static void rank_rows(struct ak_index *index, const float *vector, struct ranked *ranked)
{
    for (uint32_t slot = 0; slot < ROWS; slot++) {
        ranked[slot] = (struct ranked){-ak_index_score(index, vector, slot), slot};
    }
    qsort(ranked, ROWS, sizeof *ranked, nearer_first);
}

/* The share of the rows: any; every other one of those around the query; those around the row that
 * is farthest from it. */
static uint64_t make_filter(struct ak_index *index, const float *vector, const struct vectors *rows,
                            enum kind kind, double share, uint64_t *allow)
{
    static struct ranked ranked[ROWS];
    uint32_t wanted = (uint32_t)(share * ROWS);
    struct ak_rand rand;
    memset(allow, 0, (ROWS / 64 + 1) * sizeof *allow);
    ak_rand_seed(&rand, 3);
    if (kind != RANDOM) {
        rank_rows(index, vector, ranked);
    }
    if (kind == FAR) {
        rank_rows(index, vectors_row(rows, ranked[ROWS - 1].slot), ranked);
    }
    uint64_t count = 0;
    while (count < wanted) {
        uint32_t slot = kind == RANDOM ? (uint32_t)ak_rand_below(&rand, ROWS)
                        : kind == NEAR ? ranked[2 * count].slot
                                       : ranked[count].slot;
        bool had = allow[slot / 64] >> (slot % 64) & 1;
        allow[slot / 64] |= (uint64_t)1 << (slot % 64);
        count += !had;
    }
    return count;
}

static struct ak_index *open_real(enum ak_quantization quantization, const struct vectors *v,
                                  struct ak_epoch *epoch)
{
    struct ak_err err = {0};
    struct ak_index *index = NULL;
    index_quantization = quantization;
    struct ak_index_options options = index_options(v->dimension, AK_METRIC_COSINE, epoch);
    index_quantization = AK_QUANTIZATION_U8;
    CHECK_OK(ak_index_open(&options, &index, &err));
    index_add_rows(index, v, 0, v->count);
    index_build_all(index);
    return index;
}

/* Mean recall over the queries, each under a filter of its own. */
static double filtered_recall(struct ak_index *index, const struct vectors *v,
                              const struct vectors *q, enum kind kind, double share,
                              struct ak_index_query query)
{
    static uint64_t allow[ROWS / 64 + 1];
    double sum = 0;
    for (uint32_t i = 0; i < q->count; i++) {
        struct vectors one = {1, q->dimension, vectors_row(q, i)};
        query.allow = allow;
        query.allow_slots = ROWS;
        query.allow_count = make_filter(index, one.at, v, kind, share, allow);
        sum += index_recall(index, &one, query);
    }
    return sum / q->count;
}

#define CHECK_RECALL(recall, kind, share, way)                                                     \
    do {                                                                                           \
        ak_test_counted();                                                                         \
        if ((recall) < 0.96) {                                                                     \
            ak_test_fail(__FILE__, __LINE__, "recall %.4f with %g of the rows, %s, way %d",        \
                         recall, share, kind, (int)(way));                                         \
        }                                                                                          \
    } while (0)

static const char *const kinds[] = {"random", "near", "far"};
static const double shares[] = {0.5, 0.1, 0.01, 0.001};

/* The `share_count` largest shares. */
static void check_ways(enum ak_quantization quantization, const char *queries, size_t share_count)
{
    static const enum ak_index_way ways[] = {AK_INDEX_WAY_BEST, AK_INDEX_WAY_CODES,
                                             AK_INDEX_WAY_PLAIN, AK_INDEX_WAY_TWO_HOPS};
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_shared("data/minilm/base.f16.npy", ROWS);
    struct vectors q = vectors_shared(queries, QUERIES);
    struct ak_index *index = open_real(quantization, &v, epoch);
    for (int kind = RANDOM; kind <= FAR; kind++) {
        for (size_t s = 0; s < share_count; s++) {
            for (size_t w = 0; w < sizeof ways / sizeof ways[0]; w++) {
                /* Two hops connect what is left only if enough is left: the way is not taken then.
                 */
                if (ways[w] == AK_INDEX_WAY_TWO_HOPS && shares[s] < 0.05) {
                    continue;
                }
                struct ak_index_query query = {.k = 10, .ef = 32, .way = ways[w]};
                double recall = filtered_recall(index, &v, &q, (enum kind)kind, shares[s], query);
                CHECK_RECALL(recall, kinds[kind], shares[s], ways[w]);
            }
        }
    }
    vectors_release(&v);
    vectors_release(&q);
    ak_index_close(index);
    ak_epoch_close(epoch);
}

TEST(index_filter, definitions_are_found_by_every_way_whatever_the_filter_leaves)
{
    check_ways(AK_QUANTIZATION_U8, "data/minilm/query.definitions.npy", 4);
}

TEST(index_filter, sentences_are_found_by_every_way_on_floats_as_well)
{
    check_ways(AK_QUANTIZATION_NONE, "data/minilm/query.sentences.npy", 2);
}

TEST_MAIN()
