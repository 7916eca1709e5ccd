/* index_vectors.h — vectors to test an index with, and how good its answers are. */
#pragma once
#include "base/mem.h"
#include "base/rand.h"
#include "index/index.h"
#include "support/test.h"
#include <stdlib.h>

struct vectors {
    uint32_t count;
    uint32_t dimension;
    float *at;
};

static inline float *vectors_row(const struct vectors *v, uint32_t i)
{
    return v->at + (size_t)i * v->dimension;
}

static inline void vectors_release(struct vectors *v)
{
    ak_free(v->at);
    *v = (struct vectors){0};
}

/* Clusters of different sizes around random centres, norms spread by about a third: neighbours are
 * near, most rows are far, as embeddings are. */
static inline struct vectors vectors_clustered(uint32_t count, uint32_t dimension,
                                               uint32_t clusters, uint64_t seed)
{
    struct vectors v = {count, dimension, ak_alloc((size_t)count * dimension * sizeof(float))};
    float *centres = ak_alloc((size_t)clusters * dimension * sizeof(float));
    struct ak_rand rand;
    ak_rand_seed(&rand, 77); /* the same centres for rows and queries */
    for (size_t i = 0; i < (size_t)clusters * dimension; i++) {
        centres[i] = (float)ak_rand_normal(&rand);
    }
    ak_rand_seed(&rand, seed);
    for (uint32_t i = 0; i < count; i++) {
        double u = ak_rand_unit(&rand);
        const float *centre = centres + (size_t)((double)clusters * u * u) * dimension;
        double norm = exp(0.3 * ak_rand_normal(&rand));
        for (uint32_t j = 0; j < dimension; j++) {
            v.at[(size_t)i * dimension + j] =
                (float)(norm * ((double)centre[j] + 0.6 * ak_rand_normal(&rand)));
        }
    }
    ak_free(centres);
    return v;
}

static inline float half_to_float(uint16_t h)
{
    int exponent = (h >> 10) & 31;
    double mantissa = (double)(h & 1023) / 1024.0;
    double magnitude = exponent ? ldexp(1.0 + mantissa, exponent - 15) : ldexp(mantissa, -14);
    return (float)(h & 0x8000 ? -magnitude : magnitude);
}

/* The first `count` rows of an .npy of f16 or f32 with 384 columns; skips the test without it. */
static inline struct vectors vectors_shared(const char *path, uint32_t count)
{
    const char *name = ak_test_shared(path);
    struct vectors v = {count, 384, ak_alloc((size_t)count * 384 * sizeof(float))};
    bool half = strstr(path, "f16") != NULL;
    size_t item = half ? sizeof(uint16_t) : sizeof(float);
    void *raw = ak_alloc((size_t)count * 384 * item);
    FILE *file = fopen(name, "rb");
    CHECK(file && fseek(file, 128, SEEK_SET) == 0);
    CHECK(fread(raw, item, (size_t)count * 384, file) == (size_t)count * 384);
    CHECK(fclose(file) == 0);
    for (size_t i = 0; i < (size_t)count * 384; i++) {
        v.at[i] = half ? half_to_float(((uint16_t *)raw)[i]) : ((float *)raw)[i];
    }
    ak_free(raw);
    return v;
}

/* What the indexes of a test walk on; tests change it for a while. */
static enum ak_quantization index_quantization = AK_QUANTIZATION_U8;

static inline struct ak_index_options index_options(uint32_t dimension, enum ak_metric metric,
                                                    struct ak_epoch *epoch)
{
    struct ak_index_options options = {
        .dimension = dimension, .metric = metric, .seed = 42, .epoch = epoch, .exact_below = 1};
    options.params.m = 16;
    options.params.ef_construction = 100;
    options.params.ef_search = 64;
    options.params.quantization = index_quantization;
    options.codes_from = 100;
    return options;
}

static inline void index_add_rows(struct ak_index *index, const struct vectors *v, uint32_t from,
                                  uint32_t to)
{
    struct ak_err err = {0};
    for (uint32_t i = from; i < to; i++) {
        uint32_t next = ak_index_next_slot(index);
        uint32_t slot = UINT32_MAX;
        CHECK_OK(ak_index_add(index, vectors_row(v, i), &slot, &err));
        CHECK_INT(slot, next);
    }
}

static inline void index_build_all(struct ak_index *index)
{
    while (ak_index_build_some(index, 1000) > 0) {
    }
    CHECK_INT(ak_index_pending(index), 0);
}

static inline struct ak_index_report index_checked(const struct ak_index *index)
{
    struct ak_err err = {0};
    struct ak_index_report report;
    CHECK_OK(ak_index_check(index, &report, &err));
    return report;
}

/* Share of the rows found along the graph that are as near as the k-th of an exact search; every
 * answer is held to: k rows, nearest first, live, allowed, none twice. */
static inline double index_recall(struct ak_index *index, const struct vectors *queries,
                                  struct ak_index_query query)
{
    struct ak_err err = {0};
    struct ak_hit *exact = ak_alloc(query.k * sizeof *exact);
    struct ak_hit *found = ak_alloc(query.k * sizeof *found);
    uint64_t slots = ak_index_slots(index);
    unsigned char *seen = ak_zalloc(slots);
    uint64_t good = 0;
    uint64_t all = 0;
    for (uint32_t q = 0; q < queries->count; q++) {
        uint32_t exact_count = 0;
        uint32_t count = 0;
        query.vector = vectors_row(queries, q);
        query.exact = true;
        CHECK_OK(ak_index_search(index, &query, exact, &exact_count, NULL, &err));
        query.exact = false;
        CHECK_OK(ak_index_search(index, &query, found, &count, NULL, &err));
        CHECK_INT(count, exact_count);
        float worst = count ? exact[count - 1].score : 0.0f;
        for (uint32_t i = 0; i < count; i++) {
            CHECK(found[i].slot < slots && !seen[found[i].slot]);
            seen[found[i].slot] = 1;
            CHECK(ak_index_is_live(index, found[i].slot));
            CHECK(!query.allow || (found[i].slot < query.allow_slots &&
                                   (query.allow[found[i].slot / 64] >> (found[i].slot % 64) & 1)));
            /* Either direction of scores: at least as near as the exact k-th, give or take. */
            float order = count > 1 ? exact[0].score - worst : 0.0f;
            good += order >= 0.0f ? found[i].score >= worst - 1e-5f * fabsf(worst)
                                  : found[i].score <= worst + 1e-5f * fabsf(worst);
            if (i > 0 && order >= 0.0f) {
                CHECK(found[i].score <= found[i - 1].score || exact[0].score <= worst);
            }
        }
        for (uint32_t i = 0; i < count; i++) {
            seen[found[i].slot] = 0;
        }
        all += count;
    }
    ak_free(exact);
    ak_free(found);
    ak_free(seen);
    return all ? (double)good / (double)all : 1.0;
}
