/* bench_ann.c — akidb bench ann: build an index from a .npy file, then recall and speed over ef.
 *
 * The truth is an exact search of every query by the same program, or files computed elsewhere.
 * Recall is counted by distance: a returned row is right when its score is at least the k-th true
 * score less 1e-5, so that ties and rounding do not count as misses; recall by id stands beside it.
 */
#include "cli/bench_ann.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/sync.h"
#include "cli/cli.h"
#include "cli/npy.h"
#include "cli/output.h"
#include "index/index.h"
#include "simd/simd.h"
#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EF_COUNT_MAX AK_ANN_POINTS_MAX
#define BUILD_STEP 64u
#define SCORE_SLACK 1e-5

/* One run of threads over the queries (or the pending rows). */
struct job {
    struct ak_ann *bench;
    const struct ak_ann_questions *questions;
    uint32_t ef;
    bool exact;
    uint64_t limit; /* queries to answer in all; they repeat */
    _Atomic uint64_t next;
    _Atomic uint64_t distances;
    _Atomic uint64_t scanned; /* answered by an exact scan */
};

struct worker {
    struct job *job;
    struct ak_thread thread;
    struct ak_histogram *latency;
    struct ak_err err;
};

static double seconds_since(int64_t began_ns)
{
    return (double)(ak_mono_ns(ak_clock_system()) - began_ns) / 1e9;
}

/* Processor time of all threads. */
static double cpu_seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* --- Loading --- */

static void scale_to_unit(struct ak_ann_vectors *v)
{
    for (size_t i = 0; i < v->count; i++) {
        float *row = v->rows + i * v->dimension;
        double norm = ak_f32_norm(row, v->dimension);
        for (uint32_t d = 0; d < v->dimension && norm > 0; d++) {
            row[d] = (float)((double)row[d] / norm);
        }
    }
}

static enum ak_rc load(const char *path, bool is_cosine, struct ak_ann_vectors *out,
                       struct ak_err *err)
{
    struct ak_npy npy;
    enum ak_rc rc = ak_npy_open(ak_fs_posix(), path, &npy, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (npy.rows == 0 || npy.rows > AK_SLOTS_MAX) {
        rc = ak_fail(err, AK_INVALID, "%s has %" PRIu64 " rows", path, npy.rows);
    } else {
        out->count = (uint32_t)npy.rows;
        out->dimension = npy.dimension;
        rc = ak_npy_read_all(&npy, &out->rows, err);
    }
    if (rc == AK_OK && is_cosine && npy.type == AK_NPY_F16) {
        scale_to_unit(out); /* rounding to halves has moved them off the sphere */
    }
    ak_npy_close(&npy);
    return rc;
}

/* The first k columns of a [queries, ≥ k] file. */
static enum ak_rc load_truth(struct ak_ann *b, struct ak_err *err)
{
    size_t k = (size_t)b->o.k;
    const char *paths[2] = {b->o.truth_scores, b->o.truth};
    for (int i = 0; i < 2; i++) {
        if (!paths[i]) {
            continue;
        }
        struct ak_npy npy;
        enum ak_rc rc = ak_npy_open(ak_fs_posix(), paths[i], &npy, err);
        if (rc != AK_OK) {
            return rc;
        }
        if (npy.rows != b->query.count || npy.dimension < k) {
            rc = ak_fail(err, AK_INVALID,
                         "%s has %" PRIu64 " rows of %u; %u of at least %zu are needed", paths[i],
                         npy.rows, npy.dimension, b->query.count, k);
        }
        float *row = ak_alloc(npy.dimension * sizeof *row); /* i32 has the same size */
        for (uint32_t q = 0; q < b->query.count && rc == AK_OK; q++) {
            if (i == 0) {
                rc = ak_npy_read(&npy, q, 1, row, err);
                memcpy(b->all.scores + q * k, row, k * sizeof *row);
            } else {
                rc = ak_npy_read_i32(&npy, q, 1, (int32_t *)(void *)row, err);
                memcpy(b->all.rows + q * k, row, k * sizeof *row);
            }
        }
        ak_free(row);
        ak_npy_close(&npy);
        if (rc != AK_OK) {
            return ak_wrap(err, rc, "%s", paths[i]);
        }
    }
    return AK_OK;
}

enum ak_rc ak_ann_read_efs(struct ak_ann *b, const char *list, struct ak_err *err)
{
    struct ak_str rest = ak_str_of(list);
    b->ef_count = 0;
    while (rest.len > 0) {
        struct ak_str word;
        struct ak_str tail;
        uint64_t ef;
        (void)ak_str_split(rest, ',', &word, &tail);
        if (b->ef_count == EF_COUNT_MAX || !ak_str_u64(ak_str_trim(word), AK_EF_MAX, &ef) ||
            ef == 0) {
            return ak_fail(err, AK_INVALID,
                           "--ef is \"%s\"; it takes up to %u numbers from 1 to %d, like 32,64,128",
                           list, EF_COUNT_MAX, AK_EF_MAX);
        }
        b->efs[b->ef_count++] = (uint32_t)ef;
        rest = tail;
    }
    return AK_OK;
}

enum ak_rc ak_ann_read_shares(const char *option, const char *list,
                              double shares[AK_ANN_SHARES_MAX], size_t *count, struct ak_err *err)
{
    const char *rest = list;
    for (bool more = list != NULL; more;) {
        char *end = NULL;
        double share = strtod(rest, &end);
        more = *end == ',';
        if (*count == AK_ANN_SHARES_MAX || end == rest || (*end && !more) ||
            !(share > 0.0 && share <= 1.0)) {
            return ak_fail(err, AK_INVALID,
                           "%s is \"%s\"; it takes up to %u numbers above 0 and up to 1, like "
                           "0.9,0.5",
                           option, list, AK_ANN_SHARES_MAX);
        }
        shares[(*count)++] = share;
        rest = end + 1;
    }
    return AK_OK;
}

/* --- Threads --- */

static enum ak_rc run_workers(struct ak_ann *b, struct job *job, void (*fn)(void *),
                              struct ak_histogram *latency, struct ak_err *err)
{
    struct worker *workers = ak_zalloc(b->o.threads * sizeof *workers);
    enum ak_rc rc = AK_OK;
    job->bench = b;
    for (size_t i = 0; i < b->o.threads; i++) {
        workers[i].job = job;
        workers[i].latency = latency ? ak_zalloc(sizeof *latency) : NULL;
        enum ak_rc started =
            ak_thread_start(&workers[i].thread, "akidb-bench", fn, &workers[i], err);
        rc = rc == AK_OK ? started : rc;
    }
    for (size_t i = 0; i < b->o.threads; i++) {
        ak_thread_join(&workers[i].thread);
        if (workers[i].err.rc != AK_OK && rc == AK_OK) {
            *err = workers[i].err;
            rc = workers[i].err.rc;
        }
        if (latency) {
            ak_histogram_merge(latency, workers[i].latency);
            ak_free(workers[i].latency);
        }
    }
    ak_free(workers);
    return rc;
}

static void build_thread(void *arg)
{
    struct worker *worker = arg;
    while (ak_index_build_some(worker->job->bench->index, BUILD_STEP) > 0) {
        (void)ak_index_renew(worker->job->bench->index);
    }
}

static void search_thread(void *arg)
{
    struct worker *worker = arg;
    struct job *job = worker->job;
    struct ak_ann *b = job->bench;
    const struct ak_clock *clock = ak_clock_system();
    const struct ak_ann_questions *questions = job->questions;
    uint64_t distances = 0;
    uint64_t scanned = 0;
    for (;;) {
        uint64_t at = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed);
        if (at >= job->limit) {
            break;
        }
        uint32_t q = (uint32_t)(at % questions->count);
        const struct ak_index_query query = {
            .vector = b->query.rows + (size_t)q * b->query.dimension,
            .k = (uint32_t)b->o.k,
            .ef = job->ef,
            .allow = questions->allow ? questions->allow[q] : NULL,
            .allow_slots = questions->allow ? b->base.count : 0,
            .allow_count = questions->allow ? questions->allow_count[q] : 0,
            .exact = job->exact,
        };
        struct ak_hit *hits = b->hits + q * b->o.k;
        struct ak_index_effort effort = {0};
        int64_t began = ak_mono_ns(clock);
        unsigned token = ak_epoch_enter(b->epoch);
        /* Queries repeat after a whole pass: two threads never meet in one query's hits unless
         * there are more threads than queries, and they write the same then. */
        enum ak_rc rc =
            ak_index_search(b->index, &query, hits, &b->hit_counts[q], &effort, &worker->err);
        ak_epoch_leave(b->epoch, token);
        if (worker->latency) {
            ak_histogram_add(worker->latency, ak_mono_ns(clock) - began);
        }
        distances += effort.distances;
        scanned += effort.was_exact;
        if (rc != AK_OK) {
            break;
        }
    }
    atomic_fetch_add_explicit(&job->distances, distances, memory_order_relaxed);
    atomic_fetch_add_explicit(&job->scanned, scanned, memory_order_relaxed);
}

/* --- The steps --- */

static enum ak_rc build(struct ak_ann *b, struct ak_err *err)
{
    const struct ak_index_options options = {
        .dimension = b->base.dimension,
        .metric = b->metric,
        .params = {.m = (uint32_t)b->o.m,
                   .ef_construction = (uint32_t)b->o.ef_construction,
                   .ef_search = 64,
                   .quantization = b->quantization,
                   .vectors = b->vectors},
        .seed = 1,
        .epoch = b->epoch,
    };
    enum ak_rc rc = ak_index_open(&options, &b->index, err);
    b->resident_before = (double)ak_memory_resident();
    int64_t began = ak_mono_ns(ak_clock_system());
    for (uint32_t i = 0; i < b->base.count && rc == AK_OK; i++) {
        uint32_t slot;
        rc = ak_index_add(b->index, b->base.rows + (size_t)i * b->base.dimension, &slot, err);
        AK_ASSERT(rc != AK_OK || slot == i);
        b->row_of[i] = i;
    }
    b->add_seconds = seconds_since(began);
    if (rc != AK_OK) {
        return rc;
    }
    struct job job = {0};
    rc = run_workers(b, &job, build_thread, NULL, err);
    b->build_seconds = seconds_since(began);
    ak_memory_trim();
    b->resident_after = (double)ak_memory_resident();
    if (rc == AK_OK && ak_index_pending(b->index) > 0) {
        rc = ak_fail(err, AK_INTERNAL, "%" PRIu64 " rows were not linked",
                     ak_index_pending(b->index));
    }
    return rc;
}

enum ak_rc ak_ann_find_truth(struct ak_ann *b, struct ak_ann_questions *questions,
                             struct ak_err *err)
{
    size_t k = (size_t)b->o.k;
    size_t cells = (size_t)questions->count * k;
    questions->scores = ak_zalloc(cells * sizeof *questions->scores);
    questions->rows = ak_zalloc(cells * sizeof *questions->rows);
    questions->answers = ak_zalloc(questions->count * sizeof *questions->answers);
    struct job job = {.questions = questions, .exact = true, .limit = questions->count};
    enum ak_rc rc = run_workers(b, &job, search_thread, NULL, err);
    for (uint32_t q = 0; q < questions->count && rc == AK_OK; q++) {
        questions->answers[q] = b->hit_counts[q];
        for (uint32_t i = 0; i < b->hit_counts[q]; i++) {
            questions->scores[q * k + i] = b->hits[q * k + i].score;
            questions->rows[q * k + i] = (int32_t)b->row_of[b->hits[q * k + i].slot];
        }
    }
    return rc;
}

void ak_ann_questions_release(struct ak_ann_questions *questions)
{
    for (uint32_t i = 0; questions->allow && i < questions->filters; i++) {
        ak_free(questions->allow[i]);
    }
    ak_free(questions->allow);
    ak_free(questions->allow_count);
    ak_free(questions->scores);
    ak_free(questions->rows);
    ak_free(questions->answers);
    *questions = (struct ak_ann_questions){0};
}

/* The truth of all queries: from files, or by an exact search. */
static enum ak_rc find_all_truth(struct ak_ann *b, struct ak_err *err)
{
    struct ak_ann_questions *all = &b->all;
    size_t cells = (size_t)b->query.count * b->o.k;
    all->count = b->query.count;
    if (!b->o.truth_scores) {
        int64_t began = ak_mono_ns(ak_clock_system());
        enum ak_rc rc = ak_ann_find_truth(b, all, err);
        b->truth_seconds = seconds_since(began);
        return rc;
    }
    all->scores = ak_zalloc(cells * sizeof *all->scores);
    all->rows = b->o.truth ? ak_zalloc(cells * sizeof *all->rows) : NULL;
    all->answers = ak_zalloc(all->count * sizeof *all->answers);
    for (uint32_t q = 0; q < all->count; q++) {
        all->answers[q] = (uint32_t)b->o.k;
    }
    return load_truth(b, err);
}

static void count_recall(const struct ak_ann *b, const struct ak_ann_questions *questions,
                         struct ak_ann_point *point)
{
    size_t k = (size_t)b->o.k;
    uint64_t right = 0;
    uint64_t right_ids = 0;
    uint64_t total = 0;
    for (uint32_t q = 0; q < questions->count; q++) {
        uint32_t answers = questions->answers[q];
        double worst = answers ? (double)questions->scores[q * k + answers - 1] : 0.0;
        total += answers;
        for (uint32_t i = 0; i < b->hit_counts[q]; i++) {
            const struct ak_hit *hit = &b->hits[q * k + i];
            double score = (double)hit->score;
            right += b->metric == AK_METRIC_L2 ? score <= worst + SCORE_SLACK
                                               : score >= worst - SCORE_SLACK;
            for (uint32_t t = 0; questions->rows && t < answers; t++) {
                right_ids += questions->rows[q * k + t] == (int32_t)b->row_of[hit->slot];
            }
        }
    }
    double all = total ? (double)total : 1.0;
    point->recall = total ? (double)right / all : 1.0;
    point->recall_ids = questions->rows ? (double)right_ids / all : (double)NAN;
}

enum ak_rc ak_ann_measure_point(struct ak_ann *b, const struct ak_ann_questions *questions,
                                uint32_t ef, struct ak_ann_point *point, struct ak_err *err)
{
    /* One pass for recall, which also warms the caches, then as many as fill the time. */
    struct job first = {
        .questions = questions, .ef = ef, .exact = ef == 0, .limit = questions->count};
    int64_t began = ak_mono_ns(ak_clock_system());
    enum ak_rc rc = run_workers(b, &first, search_thread, NULL, err);
    if (rc != AK_OK) {
        return rc;
    }
    double pass = seconds_since(began);
    point->ef = ef;
    count_recall(b, questions, point);
    point->distances = (double)first.distances / (double)questions->count;
    point->exact = (double)first.scanned / (double)questions->count;
    uint64_t passes = pass > 0 ? (uint64_t)((double)b->o.pass_ms / 1e3 / pass) + 1 : 1;
    struct job job = {
        .questions = questions, .ef = ef, .exact = ef == 0, .limit = passes * questions->count};
    struct ak_histogram *latency = ak_zalloc(sizeof *latency);
    double cpu_before = cpu_seconds();
    began = ak_mono_ns(ak_clock_system());
    rc = run_workers(b, &job, search_thread, latency, err);
    point->qps = (double)job.limit / seconds_since(began);
    point->cpu_us = 1e6 * (cpu_seconds() - cpu_before) / (double)job.limit;
    point->p50_us = ak_histogram_us(latency, 0.5);
    point->p99_us = ak_histogram_us(latency, 0.99);
    ak_free(latency);
    return rc;
}

enum ak_rc ak_ann_measure(struct ak_ann *b, const struct ak_ann_questions *questions,
                          struct ak_ann_curve *curve, struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    for (size_t i = 0; i < b->ef_count && rc == AK_OK; i++) {
        rc = ak_ann_measure_point(b, questions, b->efs[i], &curve->points[i], err);
    }
    return rc;
}

/* --- Churn --- */

#define CHURN_ROUNDS 6u /* the share is removed and put back in so many parts */

/* Repair is due as in the engine: when more than a tenth of the rows are tombstones. */
static enum ak_rc repair_if_due(struct ak_ann *b, struct ak_err *err)
{
    return ak_index_tombstones(b->index) > ak_index_live(b->index) / 10
               ? ak_index_repair(b->index, err)
               : AK_OK;
}

static enum ak_rc churn_round(struct ak_ann *b, const uint32_t *slots, uint32_t count,
                              struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    for (uint32_t i = 0; i < count && rc == AK_OK; i++) {
        uint32_t row = b->row_of[slots[i]];
        uint32_t slot = 0;
        ak_index_remove(b->index, slots[i]);
        rc = ak_index_add(b->index, b->base.rows + (size_t)row * b->base.dimension, &slot, err);
        if (rc == AK_OK) {
            AK_ASSERT(slot < b->slots_cap);
            b->row_of[slot] = row;
        }
    }
    struct job job = {0};
    rc = rc == AK_OK ? run_workers(b, &job, build_thread, NULL, err) : rc;
    return rc == AK_OK ? repair_if_due(b, err) : rc;
}

enum ak_rc ak_ann_churn(struct ak_ann *b, double share, struct ak_err *err)
{
    uint32_t count = b->base.count;
    uint32_t wanted = (uint32_t)(share * (double)count);
    uint32_t *slots = ak_alloc(count * sizeof *slots);
    struct ak_rand rand;
    ak_rand_seed(&rand, 9);
    for (uint32_t i = 0; i < count; i++) {
        slots[i] = i;
    }
    for (uint32_t i = 0; i < wanted; i++) { /* rows that go: no row twice */
        uint32_t other = i + (uint32_t)ak_rand_below(&rand, count - i);
        uint32_t swap = slots[i];
        slots[i] = slots[other];
        slots[other] = swap;
    }
    enum ak_rc rc = AK_OK;
    int64_t began = ak_mono_ns(ak_clock_system());
    for (uint32_t round = 0; round < CHURN_ROUNDS && rc == AK_OK; round++) {
        uint32_t from = (uint32_t)((uint64_t)wanted * round / CHURN_ROUNDS);
        uint32_t to = (uint32_t)((uint64_t)wanted * (round + 1) / CHURN_ROUNDS);
        rc = churn_round(b, slots + from, to - from, err);
    }
    b->churn_seconds = seconds_since(began);
    ak_free(slots);
    return rc;
}

static enum ak_rc run(struct ak_ann *b, struct ak_err *err)
{
    bool is_cosine = b->metric == AK_METRIC_COSINE;
    enum ak_rc rc = load(b->o.base, is_cosine, &b->base, err);
    rc = rc == AK_OK ? load(b->o.query, is_cosine, &b->query, err) : rc;
    if (rc == AK_OK && b->base.dimension != b->query.dimension) {
        rc = ak_fail(err, AK_INVALID, "%s has vectors of %u numbers, %s of %u", b->o.base,
                     b->base.dimension, b->o.query, b->query.dimension);
    }
    if (rc == AK_OK && b->o.k > b->base.count) {
        rc = ak_fail(err, AK_INVALID, "--k is %" PRIu64 " and there are %u vectors", b->o.k,
                     b->base.count);
    }
    if (rc != AK_OK) {
        return rc;
    }
    b->slots_cap = 2 * (uint64_t)b->base.count; /* replaced rows need others until repair */
    b->row_of = ak_zalloc(b->slots_cap * sizeof *b->row_of);
    b->hits = ak_zalloc(b->query.count * b->o.k * sizeof *b->hits);
    b->hit_counts = ak_zalloc(b->query.count * sizeof *b->hit_counts);
    b->epoch = ak_epoch_open();
    rc = build(b, err);
    rc = rc == AK_OK ? find_all_truth(b, err) : rc;
    if (rc == AK_OK && b->o.steps) {
        return ak_ann_take_steps(b, err);
    }
    if (rc == AK_OK && b->vectors == AK_VECTORS_DISK) {
        ak_index_settle(b->index); /* the image has new codes: so shall what it is compared with */
    }
    rc = rc == AK_OK ? ak_ann_measure(b, &b->all, &b->fresh, err) : rc;
    rc = rc == AK_OK ? ak_ann_measure_wanted(b, err) : rc;
    rc = rc == AK_OK ? ak_ann_measure_filters(b, err) : rc;
    rc = rc == AK_OK ? ak_ann_measure_disk(b, err) : rc;
    if (rc == AK_OK && b->o.churn > 0) {
        rc = ak_ann_churn(b, b->o.churn, err);
        rc = rc == AK_OK ? ak_ann_measure(b, &b->all, &b->churned, err) : rc;
    }
    if (rc == AK_OK) {
        (b->o.json ? ak_ann_print_json : ak_ann_print_table)(b);
    }
    return rc;
}

static void release(struct ak_ann *b)
{
    ak_index_close(b->index);
    ak_epoch_close(b->epoch);
    ak_free(b->base.rows);
    ak_free(b->query.rows);
    ak_ann_questions_release(&b->all);
    ak_free(b->row_of);
    ak_free(b->hits);
    ak_free(b->hit_counts);
    ak_free(b);
}

enum ak_rc ak_bench_ann(int argc, char **argv, struct ak_err *err)
{
    struct ak_ann *b = ak_zalloc(sizeof *b);
    struct ak_ann_options *o = &b->o;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    *o = (struct ak_ann_options){.metric = "cosine",
                                 .ef = "16,32,64,128,256",
                                 .quantization = "u8",
                                 .vectors = "ram",
                                 .k = 10,
                                 .threads = cores > 0 ? (uint64_t)cores : 1,
                                 .m = 16,
                                 .ef_construction = 200,
                                 .pass_ms = 1000};
    const struct ak_arg options[] = {
        {"base", 0, AK_ARG_TEXT, &o->base, 0, 0, "F.npy", "vectors to index (f32 or f16)"},
        {"query", 0, AK_ARG_TEXT, &o->query, 0, 0, "F.npy", "queries"},
        {"metric", 0, AK_ARG_TEXT, &o->metric, 0, 0, "METRIC", "cosine (default), dot or l2"},
        {"k", 'k', AK_ARG_UINT, &o->k, 1, AK_K_MAX, "N", "results of a query (10)"},
        {"threads", 't', AK_ARG_UINT, &o->threads, 1, AK_ANN_THREADS_MAX, "N",
         "for building and searching (one per core)"},
        {"ef", 0, AK_ARG_TEXT, &o->ef, 0, 0, "LIST", "points of the curve (16,32,64,128,256)"},
        {"m", 0, AK_ARG_UINT, &o->m, 4, 64, "N", "links of a vector (16)"},
        {"ef-construction", 0, AK_ARG_UINT, &o->ef_construction, 16, 2000, "N",
         "candidates looked at when linking (200)"},
        {"quantization", 0, AK_ARG_TEXT, &o->quantization, 0, 0, "NAME",
         "codes that searches walk on: u8 (default), u4, binary or none"},
        {"vectors", 0, AK_ARG_TEXT, &o->vectors, 0, 0, "WHERE",
         "ram (default), or disk: also with the vectors in a file of TMPDIR"},
        {"truth-scores", 0, AK_ARG_TEXT, &o->truth_scores, 0, 0, "F.npy",
         "true scores f32[queries, ≥ k] instead of an exact search"},
        {"truth", 0, AK_ARG_TEXT, &o->truth, 0, 0, "F.npy",
         "with it: true rows i32[queries, ≥ k], for recall by id"},
        {"recall", 0, AK_ARG_TEXT, &o->recall, 0, 0, "LIST",
         "also asking for these recalls, like 0.9,0.95,0.99"},
        {"filter-selectivity", 0, AK_ARG_TEXT, &o->selectivity, 0, 0, "LIST",
         "also under filters that leave these shares of the rows, like 0.5,0.1"},
        {"filter-correlated", 0, AK_ARG_TEXT, &o->correlated, 0, 0, "KIND",
         "the rows they leave: near the query, far from it, or random (default)"},
        {"churn", 0, AK_ARG_NUMBER, &o->churn, 0, 0, "SHARE",
         "also after this share of the rows was removed and put back"},
        {"pass-ms", 0, AK_ARG_UINT, &o->pass_ms, 1, 600000, "N",
         "a point of the curve is measured for at least so long (1000)"},
        {"json", 0, AK_ARG_FLAG, &o->json, 0, 0, NULL, "print JSON"},
        {"steps", 0, AK_ARG_FLAG, &o->steps, 0, 0, NULL,
         "build, then measure what lines of standard input ask for"},
    };
    struct ak_args args = {
        .command = "bench ann",
        .usage = "--base F.npy --query F.npy [options]",
        .about =
            "Builds an index in memory and prints recall and speed for each ef. Recall counts by\n"
            "distance: a row is right when its score reaches the k-th true one (less 1e-5).\n"
            "Halves (f16) are widened and, under cosine, scaled to unit length.\n\n"
            "With --steps, so that another program can measure in turns with it, each line of\n"
            "standard input is answered by one line of JSON:\n"
            "  ef THREADS LIST                  a point for each ef\n"
            "  recall THREADS LIST WITH         what searches get that ask for a recall, which is\n"
            "                                   measured with invented queries, or real ones\n"
            "  filter THREADS KIND LIST EFS     under filters that leave these shares\n"
            "  image THREADS FILE EFS           written, opened again, and searched there\n"
            "  churn THREADS SHARE              that share of the rows replaced; no filters after "
            "it\n",
        .examples =
            "  akidb bench ann --base base.npy --query query.npy --threads 4 --ef 32,64,128\n"
            "  akidb bench ann --base b.npy --query q.npy --truth-scores scores.npy --json\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
    };
    enum ak_rc rc = ak_args_parse(&args, argc, argv, err);
    if (rc == AK_OK && !args.helped) {
        if (!o->base || !o->query) {
            rc = ak_fail(err, AK_INVALID, "--base F.npy and --query F.npy are needed");
        } else if (!ak_metric_parse(ak_str_of(o->metric), &b->metric)) {
            rc = ak_fail(err, AK_INVALID, "--metric is \"%s\"; allowed are cosine, dot, l2",
                         o->metric);
        } else if (!ak_quantization_parse(ak_str_of(o->quantization), &b->quantization)) {
            rc = ak_fail(err, AK_INVALID,
                         "--quantization is \"%s\"; allowed are " AK_QUANTIZATION_NAMES,
                         o->quantization);
        } else if (!ak_vectors_parse(ak_str_of(o->vectors), &b->vectors)) {
            rc = ak_fail(err, AK_INVALID, "--vectors is \"%s\"; allowed are ram, disk", o->vectors);
        } else if (b->vectors == AK_VECTORS_DISK && b->quantization == AK_QUANTIZATION_NONE) {
            rc = ak_fail(err, AK_INVALID, "--vectors disk needs a --quantization other than none");
        } else if (o->truth && !o->truth_scores) {
            rc = ak_fail(err, AK_INVALID, "--truth goes with --truth-scores");
        } else if (!(o->churn >= 0.0 && o->churn <= 1.0)) {
            rc = ak_fail(err, AK_INVALID, "--churn is %g; it takes a share from 0 to 1", o->churn);
        } else {
            rc = ak_ann_read_efs(b, o->ef, err);
            rc = rc == AK_OK ? ak_ann_read_filters(b, err) : rc;
            rc = rc == AK_OK ? ak_ann_read_wanted(b, err) : rc;
        }
        rc = rc == AK_OK ? run(b, err) : rc;
    }
    release(b);
    return rc;
}
