/* recall.c — recall over ef, measured; see recall.h. */
#include "index/recall.h"
#include "base/limits.h"
#include "base/mem.h"
#include "simd/simd.h"
#include <math.h>
#include <string.h>

static const uint32_t efs[AK_RECALL_EFS] = {10,  16,  24,  32,  48,  64,   96,   128,
                                            192, 256, 384, 512, 768, 1024, 1536, 2048};
static const uint32_t ks[AK_RECALL_KS] = {10, 100};

#define K_MOST 100u
#define SCORE_SLACK 1e-5
#define WHOLE_ENOUGH 2u /* larger efs are not tried once so many found everything */
#define PICKS 64u       /* slots tried for a live one before the next live one is taken */
#define MOVED 0.55f     /* of the difference of two rows, for an invented query */
#define ERRORS 2.0      /* standard errors that a curve stays below the mean */
#define GUESS 16.0 /* ef of 10 results without a curve: this over the share that may be missed */

struct ak_recall_run {
    struct ak_index *index;
    uint32_t queries;
    uint32_t real;
    double sum[AK_RECALL_KS][AK_RECALL_EFS];
    double squares[AK_RECALL_KS][AK_RECALL_EFS];
    struct ak_hit exact[K_MOST];
    struct ak_hit found[K_MOST];
};

enum ak_rc ak_recall_begin(struct ak_index *index, struct ak_recall_run **run, struct ak_err *err)
{
    *run = ak_try_zalloc(sizeof **run);
    if (!*run) {
        return ak_fail(err, AK_NOMEM, "no memory to measure recall");
    }
    (*run)->index = index;
    return AK_OK;
}

void ak_recall_end(struct ak_recall_run *run)
{
    ak_free(run);
}

/* Of `count` rows that must be found, the share that was. */
static double share_found(const struct ak_hit *exact, uint32_t count, const struct ak_hit *found,
                          uint32_t found_count)
{
    double worst = (double)exact[count - 1].score;
    double slack = SCORE_SLACK * fmax(1.0, fabs(worst));
    bool higher = exact[0].score >= exact[count - 1].score;
    uint32_t right = 0;
    for (uint32_t i = 0; i < found_count; i++) {
        double score = (double)found[i].score;
        right += higher ? score >= worst - slack : score <= worst + slack;
    }
    right = right < count ? right : count;
    return (double)right / (double)count;
}

/* One query at every ef for one k. */
static enum ak_rc sweep(struct ak_recall_run *run, const float *vector, uint32_t at,
                        uint32_t exact_count, struct ak_err *err)
{
    uint32_t k = ks[at] < exact_count ? ks[at] : exact_count;
    uint32_t whole = 0;
    for (uint32_t e = 0; e < AK_RECALL_EFS; e++) {
        double share = efs[e] < k ? 0.0 : 1.0;
        if (efs[e] >= k && whole < WHOLE_ENOUGH) {
            const struct ak_index_query query = {.vector = vector, .k = k, .ef = efs[e]};
            uint32_t count = 0;
            enum ak_rc rc = ak_index_search(run->index, &query, run->found, &count, NULL, err);
            if (rc != AK_OK) {
                return rc;
            }
            share = share_found(run->exact, k, run->found, count);
            whole = share < 1.0 ? 0 : whole + 1;
        }
        run->sum[at][e] += share;
        run->squares[at][e] += share * share;
    }
    return AK_OK;
}

enum ak_rc ak_recall_ask(struct ak_recall_run *run, const float *vector, bool is_real,
                         struct ak_err *err)
{
    /* What is on disk stays there: by codes, and of the best the floats. */
    bool on_disk = ak_index_options_of(run->index)->params.vectors == AK_VECTORS_DISK;
    const struct ak_index_query query = {.vector = vector,
                                         .k = K_MOST,
                                         .exact = !on_disk,
                                         .way = on_disk ? AK_INDEX_WAY_CODES : AK_INDEX_WAY_BEST};
    struct ak_recall_run before = *run;
    uint32_t count = 0;
    enum ak_rc rc = ak_index_search(run->index, &query, run->exact, &count, NULL, err);
    if (rc != AK_OK || count == 0) {
        return rc;
    }
    for (uint32_t at = 0; at < AK_RECALL_KS && rc == AK_OK; at++) {
        rc = sweep(run, vector, at, count, err);
    }
    if (rc != AK_OK) {
        *run = before; /* half a query does not count */
        return rc;
    }
    run->queries++;
    run->real += is_real;
    return AK_OK;
}

/* --- Queries made of rows --- */

static const float *random_row(struct ak_index *index, struct ak_rand *rand)
{
    uint64_t slots = ak_index_slots(index);
    uint64_t slot = 0;
    for (uint32_t i = 0; i < PICKS && slots > 0; i++) {
        slot = ak_rand_below(rand, slots);
        if (ak_index_is_live(index, (uint32_t)slot)) {
            return ak_index_vector(index, (uint32_t)slot);
        }
    }
    for (uint64_t i = 0; i < slots; i++) {
        uint32_t next = (uint32_t)((slot + i) % slots);
        if (ak_index_is_live(index, next)) {
            return ak_index_vector(index, next);
        }
    }
    return NULL;
}

static float scale_of(const float *row, uint32_t dimension, bool to_unit)
{
    double norm = to_unit ? ak_f32_norm(row, dimension) : 1.0;
    return norm > 0.0 ? (float)(1.0 / norm) : 0.0f;
}

bool ak_recall_invent(struct ak_index *index, struct ak_rand *rand, float *vector)
{
    const struct ak_index_options *options = ak_index_options_of(index);
    uint32_t dimension = options->dimension;
    bool to_unit = options->metric == AK_METRIC_COSINE;
    const float *rows[3];
    float scales[3];
    for (int i = 0; i < 3; i++) {
        rows[i] = random_row(index, rand);
        if (!rows[i]) {
            return false;
        }
        scales[i] = scale_of(rows[i], dimension, to_unit);
    }
    for (uint32_t j = 0; j < dimension; j++) {
        float moved = MOVED * (scales[1] * rows[1][j] - scales[2] * rows[2][j]);
        float value = scales[0] * rows[0][j] + moved;
        vector[j] = isfinite(value) ? value : rows[0][j];
    }
    return true;
}

/* --- The curve --- */

void ak_recall_result(const struct ak_recall_run *run, struct ak_recall_curve *curve)
{
    double n = (double)run->queries;
    memset(curve, 0, sizeof *curve);
    if (run->queries == 0) {
        return;
    }
    curve->rows = ak_index_live(run->index);
    curve->queries = run->queries;
    curve->real = run->real;
    for (uint32_t at = 0; at < AK_RECALL_KS; at++) {
        float mean_most = 0.0f;
        float sure_most = 0.0f;
        for (uint32_t e = 0; e < AK_RECALL_EFS; e++) {
            double mean = run->sum[at][e] / n;
            double variance = run->squares[at][e] / n - mean * mean;
            double error = n > 1.0 && variance > 0.0 ? sqrt(variance / (n - 1.0)) : 0.0;
            mean_most = fmaxf(mean_most, (float)mean);
            sure_most = fmaxf(sure_most, (float)fmax(mean - ERRORS * error, 0.0));
            curve->mean[at][e] = mean_most;
            curve->sure[at][e] = sure_most;
        }
    }
}

/* As a real number: 0 when no ef gets there. */
static double ef_at(const struct ak_recall_curve *curve, uint32_t at, double wanted)
{
    const float *sure = curve->sure[at];
    for (uint32_t e = 0; e < AK_RECALL_EFS; e++) {
        if ((double)sure[e] < wanted) {
            continue;
        }
        if (e == 0 || efs[e - 1] < ks[at]) {
            return (double)efs[e];
        }
        /* Recall is concave in ef: on the straight line it is at least what the line says. */
        double low = (double)sure[e - 1];
        double part = (wanted - low) / ((double)sure[e] - low);
        return (double)efs[e - 1] + part * (double)(efs[e] - efs[e - 1]);
    }
    uint32_t last = AK_RECALL_EFS - 1;
    return (double)curve->mean[at][last] >= wanted ? (double)efs[last] : 0.0;
}

uint32_t ak_recall_ef(const struct ak_recall_curve *curve, uint32_t k, double wanted)
{
    double ef = 0.0;
    if (!(wanted < 1.0)) {
        return 0;
    }
    if (curve->rows == 0) {
        ef = GUESS / (1.0 - wanted) * fmax(1.0, (double)k / (double)ks[0]);
    } else if (k <= ks[0]) {
        ef = ef_at(curve, 0, wanted);
    } else if (k >= ks[1]) {
        ef = ef_at(curve, 1, wanted) * (double)k / (double)ks[1];
    } else {
        double few = ef_at(curve, 0, wanted);
        double many = ef_at(curve, 1, wanted);
        double part = log((double)k / (double)ks[0]) / log((double)ks[1] / (double)ks[0]);
        ef = few > 0.0 && many > 0.0 ? few * pow(many / few, part) : 0.0;
    }
    if (ef <= 0.0 || ef > (double)AK_EF_MAX) {
        return 0;
    }
    uint32_t whole = (uint32_t)ceil(ef);
    return whole < k ? k : whole;
}

double ak_recall_at(const struct ak_recall_curve *curve, uint32_t k, uint32_t ef)
{
    uint32_t at = k < ks[1] ? 0 : 1;
    double before = 0.0;
    for (uint32_t e = 0; e < AK_RECALL_EFS; e++) {
        double here = (double)curve->mean[at][e];
        if (ef == efs[e] || (e == 0 && ef < efs[0])) {
            return here;
        }
        if (ef < efs[e]) {
            double part = (double)(ef - efs[e - 1]) / (double)(efs[e] - efs[e - 1]);
            return before + part * (here - before);
        }
        before = here;
    }
    return before;
}

bool ak_recall_is_sound(const struct ak_recall_curve *curve)
{
    bool sound = curve->real <= curve->queries && (curve->rows == 0 || curve->queries > 0);
    for (uint32_t at = 0; at < AK_RECALL_KS; at++) {
        float mean = 0.0f;
        float sure = 0.0f;
        for (uint32_t e = 0; e < AK_RECALL_EFS; e++) {
            sound = sound && curve->mean[at][e] >= mean && curve->mean[at][e] <= 1.0f &&
                    curve->sure[at][e] >= sure && curve->sure[at][e] <= 1.0f;
            mean = curve->mean[at][e];
            sure = curve->sure[at][e];
        }
    }
    return sound;
}
