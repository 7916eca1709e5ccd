/* bench_ann_filter.c — filtered searches of `akidb bench ann`: which rows the filters leave.
 *
 * random  each of a few sets of rows drawn at random; queries take turns among them
 * near    for each query its own set: a random half of the 2·s·n rows nearest to it
 * far     for each query its own set: the s·n rows around the row that is farthest from it
 *
 * The correlated kinds cost a look at every row for every query, so only the first queries are
 * asked.
 */
#include "base/mem.h"
#include "base/rand.h"
#include "base/str.h"
#include "cli/bench_ann.h"
#include <stdlib.h>
#include <string.h>

#define RANDOM_SETS 16u
#define CORRELATED_QUERIES 200u

static const char *const kind_names[] = {"random", "near", "far"};

const char *ak_ann_kind_name(enum ak_ann_kind kind)
{
    return kind_names[kind];
}

enum ak_rc ak_ann_read_filters(struct ak_ann *b, struct ak_err *err)
{
    const char *correlated = b->o.correlated ? b->o.correlated : "random";
    for (b->kind = AK_ANN_RANDOM; b->kind <= AK_ANN_FAR; b->kind++) {
        if (strcmp(correlated, kind_names[b->kind]) == 0) {
            break;
        }
    }
    if (b->kind > AK_ANN_FAR) {
        return ak_fail(err, AK_INVALID,
                       "--filter-correlated is \"%s\"; allowed are near, far, random", correlated);
    }
    if (b->o.correlated && !b->o.selectivity) {
        return ak_fail(err, AK_INVALID, "--filter-correlated goes with --filter-selectivity");
    }
    double shares[AK_ANN_SHARES_MAX];
    enum ak_rc rc = ak_ann_read_shares("--filter-selectivity", b->o.selectivity, shares,
                                       &b->filtered_count, err);
    for (size_t i = 0; i < b->filtered_count; i++) {
        b->filtered[i].selectivity = shares[i];
    }
    return rc;
}

static void set_bit(uint64_t *bits, uint32_t at)
{
    bits[at / 64] |= (uint64_t)1 << (at % 64);
}

static uint64_t random_set(const struct ak_ann *b, double share, struct ak_rand *rand,
                           uint64_t *bits)
{
    uint64_t count = 0;
    for (uint32_t row = 0; row < b->base.count; row++) {
        if (ak_rand_unit(rand) < share) {
            set_bit(bits, row);
            count++;
        }
    }
    return count;
}

struct ranked {
    float far; /* smaller: nearer */
    uint32_t slot;
};

static int nearer_first(const void *a, const void *b)
{
    const struct ranked *x = a;
    const struct ranked *y = b;
    return (x->far > y->far) - (x->far < y->far);
}

static void rank(const struct ak_ann *b, const float *vector, struct ranked *ranked)
{
    float sign = b->metric == AK_METRIC_L2 ? 1.0f : -1.0f;
    unsigned token = ak_epoch_enter(b->epoch);
    for (uint32_t slot = 0; slot < b->base.count; slot++) {
        ranked[slot] = (struct ranked){sign * ak_index_score(b->index, vector, slot), slot};
    }
    ak_epoch_leave(b->epoch, token);
    qsort(ranked, b->base.count, sizeof *ranked, nearer_first);
}

static uint64_t correlated_set(const struct ak_ann *b, uint32_t q, double share,
                               struct ak_rand *rand, struct ranked *ranked, uint64_t *bits)
{
    uint32_t n = b->base.count;
    uint32_t wanted = (uint32_t)(share * (double)n);
    uint64_t count = 0;
    wanted = wanted ? wanted : 1;
    rank(b, b->query.rows + (size_t)q * b->query.dimension, ranked);
    if (b->kind == AK_ANN_FAR) {
        rank(b, b->base.rows + (size_t)ranked[n - 1].slot * b->base.dimension, ranked);
        for (; count < wanted; count++) {
            set_bit(bits, ranked[count].slot);
        }
        return count;
    }
    uint32_t among = wanted <= n / 2 ? 2 * wanted : n;
    for (uint32_t i = 0; i < among; i++) {
        if (among - i <= wanted - count || (count < wanted && ak_rand_unit(rand) < 0.5)) {
            set_bit(bits, ranked[i].slot);
            count++;
        }
    }
    return count;
}

static void make_filters(struct ak_ann *b, double share, struct ak_ann_questions *questions)
{
    size_t words = ((size_t)b->base.count + 63) / 64;
    bool random = b->kind == AK_ANN_RANDOM;
    struct ranked *ranked = random ? NULL : ak_alloc(b->base.count * sizeof *ranked);
    struct ak_rand rand;
    ak_rand_seed(&rand, 31);
    questions->count = b->query.count;
    if (!random && questions->count > CORRELATED_QUERIES) {
        questions->count = CORRELATED_QUERIES;
    }
    questions->filters = random && questions->count > RANDOM_SETS ? RANDOM_SETS : questions->count;
    questions->allow = ak_zalloc(questions->count * sizeof *questions->allow);
    questions->allow_count = ak_zalloc(questions->count * sizeof *questions->allow_count);
    for (uint32_t q = 0; q < questions->count; q++) {
        uint32_t same = q % questions->filters;
        if (q < questions->filters) {
            questions->allow[q] = ak_zalloc(words * sizeof(uint64_t));
            questions->allow_count[q] =
                random ? random_set(b, share, &rand, questions->allow[q])
                       : correlated_set(b, q, share, &rand, ranked, questions->allow[q]);
        } else {
            questions->allow[q] = questions->allow[same];
            questions->allow_count[q] = questions->allow_count[same];
        }
    }
    ak_free(ranked);
}

enum ak_rc ak_ann_measure_filters(struct ak_ann *b, struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    for (size_t i = 0; i < b->filtered_count && rc == AK_OK; i++) {
        struct ak_ann_questions questions = {0};
        make_filters(b, b->filtered[i].selectivity, &questions);
        rc = ak_ann_find_truth(b, &questions, err);
        rc = rc == AK_OK ? ak_ann_measure(b, &questions, &b->filtered[i].curve, err) : rc;
        ak_ann_questions_release(&questions);
    }
    return rc;
}
