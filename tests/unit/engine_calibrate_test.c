/* A recall that is asked for: measured in the background, kept with the image, got by the user. */
#include "base/fault.h"
#include "engine/engine_priv.h"
#include "unit/index_vectors.h"
#include <sched.h>

/* FEW_ROWS are enough for a graph at this dimension; MORE_ROWS are half as many again, and some. */
enum { ROWS = 3500, FEW_ROWS = 3100, MORE_ROWS = 4700, QUERIES = 130, DIMENSION = 384 };

struct fixture {
    struct ak_engine *engine;
    struct ak_collection *collection;
};

static void open_at(struct fixture *f, const char *dir)
{
    struct ak_err err;
    struct ak_engine_options options = {.dir = dir, .build_threads = 1};
    CHECK_OK(ak_engine_open(&options, &f->engine, &err));
}

static void start(struct fixture *f)
{
    struct ak_err err;
    struct ak_collection_info made;
    struct ak_collection_info spec = {.name = AK_STR("docs"),
                                      .dimension = DIMENSION,
                                      .metric = AK_METRIC_COSINE,
                                      .index = ak_index_params_default()};
    spec.index.ef_construction = 64; /* the graph need not be good, only measured */
    open_at(f, ak_test_dir());
    CHECK_OK(ak_engine_create(f->engine, &spec, &made, &err));
    CHECK_OK(ak_engine_get(f->engine, AK_STR("docs"), &f->collection, &err));
}

static void stop(struct fixture *f)
{
    ak_collection_unref(f->collection);
    ak_engine_close(f->engine);
    *f = (struct fixture){0};
}

/* Rows [from, to) of v under ids of their numbers. */
static void put(struct fixture *f, const struct vectors *v, uint32_t from, uint32_t to)
{
    struct ak_err err;
    struct ak_write write;
    for (uint32_t i = from; i < to; i++) {
        struct ak_document doc = {.id = {{0x01, 0x90, 0, 0, 0, 0, 0x70, 0, 0x80}},
                                  .vector = vectors_row(v, i)};
        doc.id.b[14] = (uint8_t)(i >> 8);
        doc.id.b[15] = (uint8_t)i;
        CHECK_OK(ak_collection_upsert(f->collection, &doc, 1, true, NULL, &write, &err));
    }
    ak_collection_wait_linked(f->collection, NULL, NULL);
}

static void search(struct fixture *f, const struct ak_search *search, struct ak_arena *arena,
                   struct ak_found **found, uint32_t *count)
{
    struct ak_err err;
    CHECK_OK(ak_collection_search(f->collection, search, arena, found, count, &err));
}

static const struct ak_recall_curve *curve_of(const struct fixture *f)
{
    return atomic_load(&f->collection->calibration.curve);
}

/* Searches that ask for a recall, and what they start brought to its end: by the builder, and by
 * this thread as well. */
static void calibrate(struct fixture *f, const struct vectors *q, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct ak_arena arena;
        struct ak_found *found = NULL;
        uint32_t n = 0;
        ak_arena_init(&arena, 0);
        struct ak_search one = {.vector = vectors_row(q, i), .k = 10, .recall = 0.95};
        search(f, &one, &arena, &found, &n);
        CHECK_INT(n, 10);
        ak_arena_release(&arena);
    }
    while (ak_calibration_is_wanted(f->collection)) {
        (void)ak_calibration_share(f->collection);
        (void)sched_yield();
    }
}

static struct ak_index_query chosen(struct fixture *f, struct ak_search one)
{
    static const float vector[DIMENSION] = {1.0f};
    struct ak_index_query query = {.k = one.k};
    one.vector = vector;
    unsigned token = ak_epoch_enter(f->engine->epoch);
    ak_calibration_choose(f->collection, &one, &query);
    ak_epoch_leave(f->engine->epoch, token);
    return query;
}

static bool is_same(const struct ak_recall_curve *a, const struct ak_recall_curve *b)
{
    bool same = a->rows == b->rows && a->queries == b->queries && a->real == b->real;
    for (uint32_t i = 0; i < AK_RECALL_KS * AK_RECALL_EFS; i++) {
        uint32_t at = i / AK_RECALL_EFS;
        uint32_t e = i % AK_RECALL_EFS;
        same = same && !islessgreater(a->mean[at][e], b->mean[at][e]) &&
               !islessgreater(a->sure[at][e], b->sure[at][e]);
    }
    return same;
}

static void start_with(struct fixture *f, const struct vectors *v, uint32_t rows)
{
    start(f);
    put(f, v, 0, rows);
}

#if !defined(__SANITIZE_THREAD__) /* the next tests have the same threads, and are faster */

/* Share of the true ten that a search finds which asks for `recall`, at the ef that it gets. */
static double got(struct fixture *f, const struct vectors *q, double recall)
{
    struct ak_arena arena;
    uint32_t right = 0;
    uint32_t ef = chosen(f, (struct ak_search){.k = 10, .recall = recall}).ef;
    CHECK(ef >= 10); /* or it would be exact */
    for (uint32_t i = 0; i < q->count; i++) {
        struct ak_found *exact = NULL;
        struct ak_found *found = NULL;
        uint32_t exact_count = 0;
        uint32_t count = 0;
        ak_arena_init(&arena, 0);
        struct ak_search one = {.vector = vectors_row(q, i), .k = 10, .exact = true};
        search(f, &one, &arena, &exact, &exact_count);
        one.exact = false;
        one.ef = ef;
        search(f, &one, &arena, &found, &count);
        CHECK_INT(exact_count, 10);
        CHECK_INT(count, 10);
        for (uint32_t j = 0; j < count; j++) {
            right += found[j].score >= exact[9].score - 1e-5f;
        }
        ak_arena_release(&arena);
    }
    return right / (10.0 * q->count);
}

/* The stated tolerance: one point below what was asked for. */
static void check_got(struct fixture *f, const struct vectors *q)
{
    static const double wanted[] = {0.9, 0.95, 0.99};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        double is = got(f, q, wanted[i]);
        CHECK(is >= wanted[i] - 0.01);
    }
}

TEST(engine_calibrate, a_recall_that_is_asked_for_is_got_by_queries_of_both_kinds)
{
    struct fixture f;
    struct vectors v = vectors_shared("data/minilm/base.f16.npy", ROWS);
    struct vectors near = vectors_shared("data/minilm/query.definitions.npy", QUERIES);
    struct vectors other = vectors_shared("data/minilm/query.sentences.npy", QUERIES);
    start_with(&f, &v, ROWS);
    CHECK(!curve_of(&f));
    struct ak_index_query before = chosen(&f, (struct ak_search){.k = 10, .recall = 0.95});
    CHECK(before.ef >= 256); /* generous while nothing is known */
    calibrate(&f, &near, 1);
    CHECK(curve_of(&f) && curve_of(&f)->real < 32);
    check_got(&f, &near);
    check_got(&f, &other);
    struct ak_index_query after = chosen(&f, (struct ak_search){.k = 10, .recall = 0.95});
    CHECK(after.ef < before.ef && !after.exact);
    CHECK(chosen(&f, (struct ak_search){.k = 10, .recall = 0.9}).ef <= after.ef);
    CHECK(chosen(&f, (struct ak_search){.k = 10, .recall = 1.0}).exact);
    CHECK_INT(chosen(&f, (struct ak_search){.k = 10, .recall = 0.99, .ef = 17}).ef, 17);
    CHECK(chosen(&f, (struct ak_search){.k = 10, .recall = 0.9, .exact = true}).exact);
    CHECK_INT(chosen(&f, (struct ak_search){.k = 10}).ef, 64);

    /* Queries that are asked take the place of invented ones. */
    calibrate(&f, &other, QUERIES);
    calibrate(&f, &other, 1);
    CHECK(curve_of(&f)->real >= 32 && curve_of(&f)->real == curve_of(&f)->queries);
    check_got(&f, &near);
    check_got(&f, &other);
    stop(&f);
    vectors_release(&v);
    vectors_release(&near);
    vectors_release(&other);
}

#endif

/* Each allocation of a measurement fails in turn: it is given up, and can be begun again. */
static void fail_allocations(struct fixture *f)
{
    bool done = false;
    ak_builders_stop(f->engine); /* this thread measures, so that the failure is its */
    for (int64_t n = 0; !done; n++) {
        atomic_store(&f->collection->calibration.wanted, true);
        ak_fault_alloc_at(n);
        while (ak_calibration_share(f->collection)) {
        }
        done = !ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK(!ak_calibration_is_wanted(f->collection));
        CHECK(curve_of(f)); /* the old one, or the new one */
    }
}

TEST(engine_calibrate, what_was_measured_outlives_a_restart_until_rows_have_grown_by_half)
{
    struct fixture f;
    struct ak_err err;
    struct vectors v = vectors_clustered(MORE_ROWS, DIMENSION, 40, 1);
    start_with(&f, &v, FEW_ROWS);
    calibrate(&f, &v, 1);
    struct ak_recall_curve kept = *curve_of(&f);
    CHECK_OK(ak_engine_checkpoint(f.engine, f.collection, &err));
    stop(&f);
    open_at(&f, ak_test_dir());
    CHECK_OK(ak_engine_get(f.engine, AK_STR("docs"), &f.collection, &err));
    CHECK(curve_of(&f) && is_same(curve_of(&f), &kept));
    calibrate(&f, &v, 1);
    CHECK(is_same(curve_of(&f), &kept)); /* nothing has changed */
    put(&f, &v, FEW_ROWS, FEW_ROWS + 1000);
    calibrate(&f, &v, 1);
    CHECK_INT(curve_of(&f)->rows, FEW_ROWS);
    put(&f, &v, FEW_ROWS + 1000, MORE_ROWS);
    calibrate(&f, &v, 1);
    CHECK_INT(curve_of(&f)->rows, MORE_ROWS);
    fail_allocations(&f);
    stop(&f);
    vectors_release(&v);
}

TEST(engine_calibrate, a_small_collection_is_scanned_and_never_measured)
{
    struct fixture f;
    struct vectors v = vectors_clustered(500, DIMENSION, 10, 1);
    start(&f);
    put(&f, &v, 0, 500);
    calibrate(&f, &v, 20);
    CHECK(!curve_of(&f));
    CHECK(!f.collection->calibration.queries);
    stop(&f);
    vectors_release(&v);
}

TEST(engine_calibrate, a_share_that_is_none_is_refused)
{
    struct fixture f;
    struct ak_err err;
    struct ak_arena arena;
    struct ak_found *found = NULL;
    uint32_t count = 0;
    static const float vector[DIMENSION] = {1.0f};
    static const double bad[] = {-0.1, 1.01, (double)NAN, (double)INFINITY};
    start(&f);
    ak_arena_init(&arena, 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct ak_search one = {.vector = vector, .k = 10, .recall = bad[i]};
        CHECK_RC(AK_INVALID,
                 ak_collection_search(f.collection, &one, &arena, &found, &count, &err));
    }
    ak_arena_release(&arena);
    stop(&f);
}

TEST_MAIN()
