/* bench_ann_recall.c — `--recall` of `akidb bench ann`: what a search that asks for a recall gets.
 *
 * The index is measured as a collection of the engine is, without real queries or, where a step
 * says so, with as many of the bench's own as a collection keeps (index/recall.h); all queries of
 * the bench then show what the ef that follows gives. */
#include "base/mem.h"
#include "base/rand.h"
#include "cli/bench_ann.h"
#include "index/recall.h"

#define QUERIES 128u

enum ak_rc ak_ann_read_wanted(struct ak_ann *b, struct ak_err *err)
{
    double shares[AK_ANN_SHARES_MAX];
    enum ak_rc rc = ak_ann_read_shares("--recall", b->o.recall, shares, &b->wanted_count, err);
    for (size_t i = 0; i < b->wanted_count; i++) {
        b->wanted[i].recall = shares[i];
    }
    return rc;
}

enum ak_rc ak_ann_measure_wanted(struct ak_ann *b, struct ak_err *err)
{
    struct ak_recall_run *run = NULL;
    struct ak_rand rand;
    int64_t began = ak_mono_ns(ak_clock_system());
    if (b->wanted_count == 0) {
        return AK_OK;
    }
    float *vector = ak_alloc(b->base.dimension * sizeof *vector);
    enum ak_rc rc = ak_recall_begin(b->index, &run, err);
    ak_rand_seed(&rand, 5);
    for (uint32_t i = 0; i < QUERIES && rc == AK_OK; i++) {
        unsigned token = ak_epoch_enter(b->epoch);
        if (b->asks_real) {
            size_t row = (size_t)i * b->query.count / QUERIES;
            rc = ak_recall_ask(run, b->query.rows + row * b->query.dimension, true, err);
        } else if (ak_recall_invent(b->index, &rand, vector)) {
            rc = ak_recall_ask(run, vector, false, err);
        }
        ak_epoch_leave(b->epoch, token);
    }
    if (rc == AK_OK) {
        ak_recall_result(run, &b->measured);
    }
    ak_recall_end(run);
    ak_free(vector);
    b->calibration_seconds = (double)(ak_mono_ns(ak_clock_system()) - began) / 1e9;
    for (size_t i = 0; i < b->wanted_count && rc == AK_OK; i++) {
        struct ak_ann_wanted *wanted = &b->wanted[i];
        uint32_t ef = ak_recall_ef(&b->measured, (uint32_t)b->o.k, wanted->recall);
        rc = ak_ann_measure_point(b, &b->all, ef, &wanted->point, err);
    }
    return rc;
}
