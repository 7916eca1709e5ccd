/* Everything at once: adds, removes, builders, repair, checkpoints and searches. What must hold is
 * checked while it happens and by the validator when it is over. */
#include "base/sync.h"
#include "unit/index_vectors.h"
#include <sched.h>
#include <stdatomic.h>

#define DIMENSION 16u
#define ROWS 3000u   /* added by the writer */
#define CANARIES 64u /* rows that stay: whoever looks for one must find it */
#define SEARCHERS 2
#define BUILDERS 2

struct arena {
    struct ak_index *index;
    struct ak_epoch *epoch;
    struct vectors v;
    enum ak_metric metric;
    struct ak_index_options options;
    _Atomic bool done;
    _Atomic uint64_t searches;
    _Atomic uint64_t misses;
    _Atomic uint32_t searcher;
};

static void build(void *arg)
{
    struct arena *arena = arg;
    while (!atomic_load(&arena->done)) {
        (void)ak_index_renew(arena->index);
        if (ak_index_build_some(arena->index, 8) == 0) {
            (void)sched_yield();
        }
    }
}

static void repair(void *arg)
{
    struct arena *arena = arg;
    struct ak_err err = {0};
    while (!atomic_load(&arena->done)) {
        if (ak_index_tombstones(arena->index) > 100) {
            CHECK_OK(ak_index_repair(arena->index, &err));
        } else {
            (void)sched_yield();
        }
    }
}

static bool is_nearer_or_equal(enum ak_metric metric, float a, float b)
{
    return metric == AK_METRIC_L2 ? a <= b : a >= b;
}

static void check_one(struct arena *arena, uint32_t canary, uint32_t k, bool filtered)
{
    struct ak_err err = {0};
    struct ak_hit hits[50];
    uint32_t count = 0;
    uint64_t allow[1] = {UINT64_MAX};
    struct ak_index_query query = {.vector = vectors_row(&arena->v, canary), .k = k, .ef = 64};
    if (filtered) {
        query.allow = allow;
        query.allow_slots = CANARIES;
        query.allow_count = CANARIES;
    }
    unsigned token = ak_epoch_enter(arena->epoch);
    CHECK_OK(ak_index_search(arena->index, &query, hits, &count, NULL, &err));
    CHECK_INT(count, k);
    bool met = false;
    for (uint32_t i = 0; i < count; i++) {
        met |= hits[i].slot == canary;
        CHECK(i == 0 || is_nearer_or_equal(arena->metric, hits[i - 1].score, hits[i].score));
        for (uint32_t j = 0; j < i; j++) {
            CHECK(hits[j].slot != hits[i].slot);
        }
        /* A slot that was met stays what it was until this reader leaves. */
        float score = ak_index_score(arena->index, query.vector, hits[i].slot);
        CHECK(memcmp(&score, &hits[i].score, sizeof score) == 0);
    }
    ak_epoch_leave(arena->epoch, token);
    atomic_fetch_add(&arena->searches, 1);
    atomic_fetch_add(&arena->misses, !met);
}

static void search(void *arg)
{
    struct arena *arena = arg;
    struct ak_rand rand;
    ak_rand_seed(&rand, 100 + atomic_fetch_add(&arena->searcher, 1));
    while (!atomic_load(&arena->done)) {
        uint32_t canary = (uint32_t)ak_rand_below(&rand, CANARIES);
        check_one(arena, canary, ak_rand_below(&rand, 4) ? 10 : 50, ak_rand_below(&rand, 5) == 0);
    }
}

static void checkpoint(struct arena *arena)
{
    struct ak_err err = {0};
    struct ak_buf bytes = {0};
    struct ak_image_writer *writer = NULL;
    CHECK_OK(ak_index_freeze(arena->index, &err));
    CHECK_OK(ak_image_create_blob(&bytes, &writer, &err));
    CHECK_OK(ak_index_write(arena->index, writer, &err));
    CHECK_OK(ak_image_commit(writer, NULL, &err));
    ak_index_unfreeze(arena->index);
    struct ak_image *image = NULL;
    struct ak_index *loaded = NULL;
    CHECK_OK(ak_image_open_blob(bytes.p, bytes.len, &image, &err));
    struct ak_index_options options = arena->options;
    CHECK_OK(ak_index_load(&options, image, &loaded, &err));
    struct ak_index_report report;
    CHECK_OK(ak_index_check(loaded, &report, &err));
    ak_index_close(loaded);
    ak_image_close(image);
}

/* The only writer: adds rows, removes about two of three again, checkpoints now and then. */
static void write_all(struct arena *arena)
{
    struct ak_err err = {0};
    struct ak_rand rand;
    ak_rand_seed(&rand, 7);
    uint64_t *live = ak_zalloc((ROWS + 64) * sizeof *live);
    uint64_t live_count = 0;
    for (uint32_t i = CANARIES; i < ROWS; i++) {
        uint32_t slot = 0;
        CHECK_OK(ak_index_add(arena->index, vectors_row(&arena->v, i), &slot, &err));
        CHECK(slot >= CANARIES);
        live[live_count++] = slot;
        if (ak_rand_below(&rand, 3) > 0) {
            uint64_t at = ak_rand_below(&rand, live_count);
            ak_index_remove(arena->index, (uint32_t)live[at]);
            live[at] = live[--live_count];
        }
        if (ak_index_pending(arena->index) > 200) {
            (void)ak_index_build_some(arena->index, 2);
        }
        if (i % 700 == 699) {
            checkpoint(arena);
        }
    }
    CHECK_INT(ak_index_live(arena->index), live_count + CANARIES);
    ak_free(live);
}

static void run(enum ak_metric metric)
{
    struct ak_err err = {0};
    struct arena arena = {.metric = metric, .epoch = ak_epoch_open()};
    struct ak_index_options options = index_options(DIMENSION, metric, arena.epoch);
    options.params.m = 8;
    options.params.ef_construction = 40;
    arena.options = options;
    CHECK_OK(ak_index_open(&options, &arena.index, &err));
    arena.v = vectors_clustered(ROWS, DIMENSION, 30, 3);
    for (uint32_t i = 0; i < CANARIES; i++) { /* unit length: each is its own nearest under dot */
        float *row = vectors_row(&arena.v, i);
        double norm = 0.0;
        for (uint32_t j = 0; j < DIMENSION; j++) {
            norm += (double)row[j] * (double)row[j];
        }
        for (uint32_t j = 0; j < DIMENSION && metric == AK_METRIC_DOT; j++) {
            row[j] *= (float)(40.0 / sqrt(norm));
        }
    }
    index_add_rows(arena.index, &arena.v, 0, CANARIES);
    struct ak_thread threads[SEARCHERS + BUILDERS + 1];
    memset(threads, 0, sizeof threads);
    for (int i = 0; i < SEARCHERS; i++) {
        CHECK_OK(ak_thread_start(&threads[i], "search", search, &arena, &err));
    }
    for (int i = 0; i < BUILDERS; i++) {
        CHECK_OK(ak_thread_start(&threads[SEARCHERS + i], "build", build, &arena, &err));
    }
    CHECK_OK(ak_thread_start(&threads[SEARCHERS + BUILDERS], "repair", repair, &arena, &err));
    write_all(&arena);
    while (ak_index_pending(arena.index) > 0) {
        (void)sched_yield();
    }
    atomic_store(&arena.done, true);
    for (size_t i = 0; i < sizeof threads / sizeof threads[0]; i++) {
        ak_thread_join(&threads[i]);
    }
    CHECK(atomic_load(&arena.searches) > 0);
    /* Misses are recall, not races: a walk may miss one row in a hundred. */
    CHECK(atomic_load(&arena.misses) * 50 <= atomic_load(&arena.searches));
    (void)index_checked(arena.index);
    CHECK_OK(ak_index_repair(arena.index, &err));
    struct ak_index_report report = index_checked(arena.index);
    CHECK_INT(report.tombstones, 0);
    CHECK_INT(report.pending, 0);
    CHECK_INT(report.unreachable, 0);
    CHECK(report.free_slots > 500 || ak_index_slots(arena.index) < ROWS - 500);
    (void)ak_epoch_collect(arena.epoch); /* nobody is inside now: what was freed is given out */
    uint64_t slots = ak_index_slots(arena.index);
    index_add_rows(arena.index, &arena.v, 0, 100);
    CHECK(ak_index_slots(arena.index) <= slots + 1);
    struct vectors canaries = {CANARIES, DIMENSION, arena.v.at};
    struct ak_index_query query = {.k = 10, .ef = 64};
    CHECK(index_recall(arena.index, &canaries, query) >= 0.95);
    vectors_release(&arena.v);
    ak_index_close(arena.index);
    ak_epoch_close(arena.epoch);
}

TEST(index_concurrent, cosine_holds_with_everybody_at_work)
{
    run(AK_METRIC_COSINE);
}

TEST(index_concurrent, dot_holds_with_everybody_at_work)
{
    run(AK_METRIC_DOT);
}

TEST(index_concurrent, l2_holds_with_everybody_at_work)
{
    run(AK_METRIC_L2);
}

static void build_until_empty(void *arg)
{
    struct arena *arena = arg;
    while (ak_index_build_some(arena->index, 16) > 0) {
    }
}

/* The first rows, the entry point and the full rows are where builders meet. */
TEST(index_concurrent, four_builders_from_nothing_make_a_sound_graph)
{
    struct ak_err err = {0};
    struct arena arena = {.metric = AK_METRIC_L2, .epoch = ak_epoch_open()};
    struct ak_index_options options = index_options(DIMENSION, arena.metric, arena.epoch);
    CHECK_OK(ak_index_open(&options, &arena.index, &err));
    arena.v = vectors_clustered(ROWS, DIMENSION, 30, 3);
    struct vectors q = vectors_clustered(100, DIMENSION, 30, 4);
    index_add_rows(arena.index, &arena.v, 0, ROWS);
    struct ak_thread threads[4];
    memset(threads, 0, sizeof threads);
    for (int i = 0; i < 4; i++) {
        CHECK_OK(ak_thread_start(&threads[i], "build", build_until_empty, &arena, &err));
    }
    for (int i = 0; i < 4; i++) {
        ak_thread_join(&threads[i]);
    }
    struct ak_index_report report = index_checked(arena.index);
    CHECK_INT(report.pending, 0);
    CHECK(report.unreachable <= 4);
    struct ak_index_query query = {.k = 10, .ef = 64};
    CHECK(index_recall(arena.index, &q, query) >= 0.97);
    vectors_release(&arena.v);
    vectors_release(&q);
    ak_index_close(arena.index);
    ak_epoch_close(arena.epoch);
}

TEST_MAIN()
