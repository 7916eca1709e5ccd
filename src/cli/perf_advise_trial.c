/* perf_advise_trial.c — the same vectors under other parameters, in a database of their own.
 *
 * A temporary folder below TMPDIR gets a collection per variant, one after the other: build it,
 * wait until all is linked, search exactly once and then at each ef. It is removed at the end; what
 * a crash leaves there is called akidb-advise-*.
 */
#include "base/mem.h"
#include "cli/perf_advise.h"
#include "engine/engine.h"
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS 3u
#define BATCH 1000u
#define M_MAX 64u
#define OPEN_FOLDERS 16

static const uint32_t ladder[] = {16, 32, 48, 64, 96, 128, 192, 256, 384, 512};
#define LADDER (sizeof ladder / sizeof ladder[0])

struct trial {
    const struct ak_advise_collection *collection;
    const struct ak_advise_sample *sample;
    struct ak_engine *engine;
    struct ak_collection *made;
    uint32_t queries, rows, k;
    struct ak_uuid *exact;  /* [queries][k] */
    uint32_t *exact_counts; /* [queries] */
    double *times;          /* [ROUNDS * queries] */
    struct ak_arena arena;  /* of one search */
    bool was_exact;         /* of the searches since it was set to true, all were */
};

/* --- A folder that goes away --- */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static enum ak_rc make_folder(char dir[256], struct ak_err *err)
{
    const char *tmp = getenv("TMPDIR"); // NOLINT(concurrency-mt-unsafe): nobody sets it here
    int len = snprintf(dir, 256, "%s/akidb-advise-XXXXXX", tmp && tmp[0] ? tmp : "/tmp");
    if (len >= 256) {
        return ak_fail(err, AK_INVALID, "TMPDIR is too long a path");
    }
    return mkdtemp(dir)
               ? AK_OK
               : ak_fail_errno(err, errno, "a temporary folder for the trial (TMPDIR), %s", dir);
}

/* --- Building --- */

static const float *vector_at(const struct trial *trial, uint32_t i)
{
    return trial->sample->vectors + (size_t)i * trial->sample->dimension;
}

/* The queries come first in the sample, and are not stored. */
static enum ak_rc fill(struct trial *trial, struct ak_err *err)
{
    struct ak_document *docs = ak_zalloc(BATCH * sizeof *docs);
    enum ak_rc rc = AK_OK;
    for (uint32_t at = 0; rc == AK_OK && at < trial->rows; at += BATCH) {
        uint32_t n = trial->rows - at < BATCH ? trial->rows - at : BATCH;
        struct ak_write write;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t row = trial->queries + at + i;
            docs[i] = (struct ak_document){.id = trial->sample->ids[row],
                                           .vector = vector_at(trial, row)};
        }
        rc = ak_collection_upsert(trial->made, docs, n, true, NULL, &write, err);
    }
    ak_free(docs);
    return rc;
}

static enum ak_rc build(struct trial *trial, const struct ak_index_params *params, double *seconds,
                        struct ak_err *err)
{
    struct ak_collection_info info;
    const struct ak_collection_info spec = {.name = AK_STR("trial"),
                                            .dimension = trial->collection->dimension,
                                            .metric = trial->collection->metric,
                                            .index = *params};
    int64_t began = ak_mono_ns(ak_clock_system());
    enum ak_rc rc = ak_engine_create(trial->engine, &spec, &info, err);
    rc = rc == AK_OK ? ak_engine_get(trial->engine, spec.name, &trial->made, err) : rc;
    rc = rc == AK_OK ? fill(trial, err) : rc;
    if (rc == AK_OK) {
        ak_collection_wait_linked(trial->made, NULL, NULL);
        *seconds = (double)(ak_mono_ns(ak_clock_system()) - began) / 1e9;
    }
    return rc;
}

static enum ak_rc drop(struct trial *trial, struct ak_err *err)
{
    ak_collection_unref(trial->made);
    trial->made = NULL;
    return ak_engine_drop(trial->engine, AK_STR("trial"), err);
}

/* --- Searching --- */

static enum ak_rc search(struct trial *trial, uint32_t query, uint32_t ef, struct ak_found **found,
                         uint32_t *count, struct ak_err *err)
{
    struct ak_search_effort effort = {0};
    const struct ak_search search = {.vector = vector_at(trial, query),
                                     .k = trial->k,
                                     .ef = ef,
                                     .exact = ef == 0,
                                     .effort = &effort};
    ak_arena_reset(&trial->arena);
    enum ak_rc rc = ak_collection_search(trial->made, &search, &trial->arena, found, count, err);
    trial->was_exact = trial->was_exact && effort.was_exact;
    return rc;
}

static enum ak_rc find_exactly(struct trial *trial, struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    for (uint32_t q = 0; rc == AK_OK && q < trial->queries; q++) {
        struct ak_found *found = NULL;
        uint32_t count = 0;
        rc = search(trial, q, 0, &found, &count, err);
        for (uint32_t i = 0; rc == AK_OK && i < count; i++) {
            trial->exact[(size_t)q * trial->k + i] = found[i].id;
        }
        trial->exact_counts[q] = count;
    }
    return rc;
}

static uint32_t in_both(const struct trial *trial, uint32_t query, const struct ak_found *found,
                        uint32_t count)
{
    const struct ak_uuid *exact = trial->exact + (size_t)query * trial->k;
    uint32_t both = 0;
    for (uint32_t i = 0; i < trial->exact_counts[query]; i++) {
        bool is_in = false;
        for (uint32_t j = 0; j < count && !is_in; j++) {
            is_in = ak_uuid_eq(&exact[i], &found[j].id);
        }
        both += is_in;
    }
    return both;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static enum ak_rc measure(struct trial *trial, uint32_t ef, double *recall, double *median_ms,
                          struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    uint64_t both = 0;
    uint64_t due = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (uint32_t q = 0; rc == AK_OK && q < trial->queries; q++) {
            struct ak_found *found = NULL;
            uint32_t count = 0;
            int64_t began = ak_mono_ns(ak_clock_system());
            rc = search(trial, q, ef, &found, &count, err);
            trial->times[round * trial->queries + q] =
                (double)(ak_mono_ns(ak_clock_system()) - began) / 1e6;
            if (rc == AK_OK) {
                both += in_both(trial, q, found, count);
                due += trial->exact_counts[q];
            }
        }
    }
    qsort(trial->times, (size_t)ROUNDS * trial->queries, sizeof *trial->times, by_value);
    *recall = due ? (double)both / (double)due : 1;
    *median_ms = trial->times[(size_t)ROUNDS * trial->queries / 2];
    return rc;
}

/* Up the ladder until the recall is reached. */
static enum ak_rc run_variant(struct trial *trial, double wanted, struct ak_advise_trial *result,
                              struct ak_err *err)
{
    enum ak_rc rc = build(trial, &result->params, &result->build_s, err);
    rc = rc == AK_OK ? find_exactly(trial, err) : rc;
    trial->was_exact = true;
    for (size_t i = 0; rc == AK_OK && i < LADDER && result->ef == 0; i++) {
        if (ladder[i] >= trial->k) {
            rc = measure(trial, ladder[i], &result->recall, &result->median_ms, err);
            result->ef = rc == AK_OK && result->recall >= wanted ? ladder[i] : 0;
        }
    }
    result->was_exact = trial->was_exact;
    struct ak_err second;
    enum ak_rc dropped = trial->made ? drop(trial, &second) : AK_OK;
    if (rc == AK_OK && dropped != AK_OK) {
        rc = dropped;
        if (err) {
            *err = second;
        }
    }
    return rc;
}

static size_t choose_variants(const struct ak_index_params *now,
                              struct ak_advise_trial trials[AK_ADVISE_TRIALS_MAX])
{
    size_t count = 0;
    trials[count++] = (struct ak_advise_trial){.params = *now};
    if (now->m < M_MAX) {
        trials[count] = (struct ak_advise_trial){.params = *now};
        trials[count++].params.m = now->m * 2 < M_MAX ? now->m * 2 : M_MAX;
    }
    if (now->vectors == AK_VECTORS_DISK) { /* which there cannot be without codes */
        return count;
    }
    trials[count] = (struct ak_advise_trial){.params = *now};
    trials[count++].params.quantization =
        now->quantization == AK_QUANTIZATION_NONE ? AK_QUANTIZATION_U8 : AK_QUANTIZATION_NONE;
    return count;
}

static enum ak_rc run_all(struct trial *trial, const char *dir, double wanted,
                          struct ak_advise_trial *trials, size_t count, struct ak_err *err)
{
    const struct ak_engine_options options = {.dir = dir, .durability = AK_DURABILITY_ASYNC};
    enum ak_rc rc = ak_engine_open(&options, &trial->engine, err);
    for (size_t i = 0; rc == AK_OK && i < count; i++) {
        rc = run_variant(trial, wanted, &trials[i], err);
        if (trials[i].was_exact) {
            break; /* so few are compared one by one, whatever the parameters */
        }
    }
    ak_engine_close(trial->engine);
    return rc;
}

enum ak_rc ak_advise_trial_run(const struct ak_advise_collection *collection,
                               const struct ak_advise_sample *sample, uint32_t queries, uint32_t k,
                               double recall, struct ak_advise_trial trials[AK_ADVISE_TRIALS_MAX],
                               size_t *count, uint32_t *rows, struct ak_err *err)
{
    char dir[256];
    *rows = sample->count > queries ? sample->count - queries : 0;
    *count = 0;
    if (*rows <= k || queries == 0) {
        return AK_OK;
    }
    struct trial trial = {
        .collection = collection, .sample = sample, .queries = queries, .rows = *rows, .k = k};
    enum ak_rc rc = make_folder(dir, err);
    if (rc != AK_OK) {
        return rc;
    }
    ak_arena_init(&trial.arena, 0);
    trial.exact = ak_alloc((size_t)queries * k * sizeof *trial.exact);
    trial.exact_counts = ak_alloc(queries * sizeof *trial.exact_counts);
    trial.times = ak_alloc((size_t)ROUNDS * queries * sizeof *trial.times);
    size_t chosen = choose_variants(&collection->params, trials);
    rc = run_all(&trial, dir, recall, trials, chosen, err);
    *count = rc == AK_OK ? chosen : 0;
    ak_free(trial.exact);
    ak_free(trial.exact_counts);
    ak_free(trial.times);
    ak_arena_release(&trial.arena);
    (void)nftw(dir, remove_one, OPEN_FOLDERS, FTW_DEPTH | FTW_PHYS);
    return rc == AK_OK ? AK_OK : ak_wrap(err, rc, "trial in %s", dir);
}
