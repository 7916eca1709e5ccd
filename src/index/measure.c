/* measure.c — from rows and queries to distances, and from distances to scores.
 *
 * cosine  rows are stored as they came, with 1/‖x‖ beside them. The query's own norm is a factor
 *         common to all rows: it enters only into the score.
 * l2      squared inside; the root is taken for the score.
 * dot     −q·x for a query; but links are chosen by angle, as for cosine, with some added for their
 *         inner product. Why, is told in hnsw_prune.c.
 */
#include "index/index_priv.h"

#define DUPLICATE_EPS 4e-7f /* what rounding leaves of 1 − cos of a row with itself */

static void set_up(const struct ak_index *index, const float *query, bool angular,
                   struct ak_measure *measure)
{
    *measure = (struct ak_measure){
        .simd = index->simd,
        .vectors = ak_slab_base(&index->vectors),
        .stride = index->vectors.stride,
        .scales = angular ? (const float *)(const void *)ak_slab_base(&index->scales) : NULL,
        .query = query,
        .dimension = index->options.dimension,
        .is_l2 = index->options.metric == AK_METRIC_L2,
        .gain = 1.0f,
    };
}

void ak_measure_for_query(const struct ak_index *index, const float *query, float query_scale,
                          struct ak_measure *measure)
{
    set_up(index, query, index->options.metric == AK_METRIC_COSINE, measure);
    if (index->options.metric == AK_METRIC_COSINE) {
        measure->bias = 1.0f;
        measure->gain = query_scale;
    } else if (index->options.metric == AK_METRIC_DOT) {
        measure->gain = 0.0f;
    }
}

void ak_measure_for_row(const struct ak_index *index, uint32_t slot, int8_t room[AK_CODE_ROOM],
                        struct ak_measure *measure)
{
    set_up(index, NULL, index->options.metric != AK_METRIC_L2, measure);
    if (ak_codes_measure_row(index, slot, room, measure)) {
        return;
    }
    measure->query = ak_measure_row(measure, slot);
    if (measure->scales) {
        measure->bias = 1.0f;
        measure->gain = measure->scales[slot];
        measure->slack = DUPLICATE_EPS;
    }
}

float ak_measure_query_scale(const struct ak_index *index, const float *query)
{
    if (index->options.metric != AK_METRIC_COSINE) {
        return 1.0f;
    }
    double norm = ak_f32_norm(query, index->options.dimension);
    return norm > 0.0 ? ak_finite((float)(1.0 / norm)) : 0.0f;
}

float ak_measure_score(const struct ak_index *index, float query_scale, float distance)
{
    if (index->options.metric == AK_METRIC_L2) {
        return distance > 0.0f ? sqrtf(distance) : 0.0f;
    }
    if (index->options.metric == AK_METRIC_DOT) {
        return -distance;
    }
    float cosine = -distance * query_scale;
    return cosine > 1.0f ? 1.0f : cosine < -1.0f ? -1.0f : cosine;
}
