/* measure.c — from rows and queries to distances, and from distances to scores.
 *
 * cosine  rows are stored as they came, with 1/‖x‖ beside them. The query's own norm is a factor
 *         common to all rows: it enters only into the score.
 * l2      squared inside; the root is taken for the score.
 * dot     −q·x for a query. The graph is built as if every row x were (x, √(M²−‖x‖²)), with M the
 *         largest norm so far: a sphere, on which nearness is Euclidean, so that α-pruning means
 *         what it says and rows of small norm have near neighbours of their own. Linked by inner
 *         product alone, all rows would point to the few of largest norm and none to the small.
 *         A query q is (q, 0) there, for which −q·x orders rows as the distance does (Bachrach et
 *         al. 2014). That M grows with the data only makes early links a little less exact.
 */
#include "index/index_priv.h"

#define DUPLICATE_EPS 4e-7f /* what rounding leaves of 1 − cos of a row with itself */

static void set_up(const struct ak_index *index, const float *query, struct ak_measure *measure)
{
    *measure = (struct ak_measure){
        .simd = index->simd,
        .vectors = ak_slab_base(&index->vectors),
        .stride = index->vectors.stride,
        .scales = index->has_scales
                      ? (const float *)(const void *)ak_slab_base(&index->scales)
                      : NULL,
        .query = query,
        .dimension = index->options.dimension,
        .metric = index->options.metric,
        .gain = 1.0f,
    };
}

void ak_measure_for_query(const struct ak_index *index, const float *query,
                          struct ak_measure *measure)
{
    set_up(index, query, measure);
}

void ak_measure_for_row(const struct ak_index *index, uint32_t slot, struct ak_measure *measure)
{
    set_up(index, NULL, measure);
    measure->query = ak_measure_row(measure, slot);
    if (measure->metric == AK_METRIC_COSINE) {
        measure->bias = 1.0f;
        measure->gain = measure->scales[slot];
        measure->slack = DUPLICATE_EPS;
    } else if (measure->metric == AK_METRIC_DOT) {
        float norm2_max = atomic_load_explicit(&index->norm2_max, memory_order_relaxed);
        measure->norm2_max = norm2_max;
        measure->augmented = true;
        measure->augment = ak_augment_of(norm2_max, measure->scales[slot]);
        measure->bias = norm2_max;
        measure->slack = DUPLICATE_EPS * norm2_max;
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
