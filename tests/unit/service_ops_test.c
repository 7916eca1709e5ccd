/* Operations without HTTP: each is done once, wherever it runs, and close waits for all. */
#include "base/mem.h"
#include "base/sync.h"
#include "perf/perf.h"
#include "service/service.h"
#include "support/test.h"
#include <stdatomic.h>

struct fixture {
    struct ak_metrics *metrics;
    struct ak_engine *engine;
    struct ak_service *service;
    struct ak_collection *collection;
    struct ak_arena arena;
    struct ak_mutex lock;
    struct ak_cond changed;
    unsigned done;
    enum ak_rc rc;
};
static struct fixture f;
static struct ak_query_log *queries; /* of the service that start() opens */

static void on_done(struct ak_op *op, enum ak_rc rc)
{
    (void)op;
    ak_mutex_lock(&f.lock);
    f.done++;
    f.rc = rc;
    ak_cond_broadcast(&f.changed);
    ak_mutex_unlock(&f.lock);
}

static enum ak_rc wait_done(unsigned want)
{
    ak_mutex_lock(&f.lock);
    bool in_time = true;
    while (f.done < want && in_time) {
        in_time = ak_cond_wait_ms(&f.changed, &f.lock, 30000);
    }
    enum ak_rc rc = f.rc;
    unsigned done = f.done;
    f.done = 0;
    ak_mutex_unlock(&f.lock);
    CHECK_INT(done, want);
    return rc;
}

static struct ak_op op(bool may_block)
{
    return (struct ak_op){.done = on_done, .arena = &f.arena, .may_block = may_block};
}

static void start(void)
{
    struct ak_err err;
    f = (struct fixture){.metrics = ak_metrics_open()};
    ak_mutex_init(&f.lock, AK_RANK_LEAF, "test");
    ak_cond_init(&f.changed);
    ak_arena_init(&f.arena, 0);
    const struct ak_engine_options engine = {.dir = ak_test_dir(), .metrics = f.metrics};
    CHECK_OK(ak_engine_open(&engine, &f.engine, &err));
    const struct ak_service_options service = {
        .engine = f.engine, .metrics = f.metrics, .queries = queries, .threads = 2};
    CHECK_OK(ak_service_open(&service, &f.service, &err));
    struct ak_create_op create = {.op = op(false),
                                  .spec = {.name = AK_STR("c"),
                                           .dimension = 2,
                                           .metric = AK_METRIC_L2,
                                           .index = ak_index_params_default()}};
    ak_service_create(f.service, &create);
    CHECK_INT(wait_done(1), AK_OK);
    CHECK(ak_str_eq(create.made.info.name, AK_STR("c")));
    CHECK_OK(ak_service_use(f.service, AK_STR("c"), true, &f.arena, &f.collection, &err));
}

static void stop(void)
{
    ak_collection_unref(f.collection);
    ak_service_close(f.service);
    ak_engine_close(f.engine);
    ak_metrics_close(f.metrics);
    ak_arena_release(&f.arena);
    ak_cond_release(&f.changed);
    ak_mutex_release(&f.lock);
}

static uint64_t count_now(void)
{
    struct ak_count_op count = {.op = op(false), .collection = f.collection};
    ak_service_count(f.service, &count);
    CHECK_INT(wait_done(1), AK_OK);
    return count.documents;
}

TEST(service, a_closed_collection_is_not_opened_on_a_loop)
{
    struct ak_err err;
    struct ak_collection *collection = NULL;
    start();
    CHECK_OK(ak_service_use(f.service, AK_STR("c"), false, &f.arena, &collection, &err));
    CHECK(collection == f.collection);
    ak_collection_unref(collection);
    CHECK_RC(AK_NOT_FOUND,
             ak_service_use(f.service, AK_STR("d"), false, &f.arena, &collection, &err));
    ak_collection_unref(f.collection);
    ak_service_close(f.service);
    ak_engine_close(f.engine);
    const struct ak_engine_options engine = {.dir = ak_test_dir(), .metrics = f.metrics};
    CHECK_OK(ak_engine_open(&engine, &f.engine, &err));
    const struct ak_service_options service = {.engine = f.engine, .threads = 1};
    CHECK_OK(ak_service_open(&service, &f.service, &err));
    CHECK_OK(ak_service_use(f.service, AK_STR("c"), false, &f.arena, &f.collection, &err));
    CHECK(!f.collection);
    CHECK_OK(ak_service_use(f.service, AK_STR("c"), true, &f.arena, &f.collection, &err));
    CHECK(f.collection);
    stop();
}

static unsigned applied;

static void on_applied(struct ak_upsert_op *upsert)
{
    CHECK(!ak_uuid_is_nil(&upsert->ids[0]));
    applied++;
}

TEST(service, an_upsert_is_applied_before_it_is_durable_and_done_once)
{
    const float vector[2] = {1, 2};
    const struct ak_document doc = {.vector = vector};
    struct ak_uuid id;
    start();
    for (int may_block = 0; may_block < 2; may_block++) {
        struct ak_upsert_op upsert = {.op = op(may_block),
                                      .collection = f.collection,
                                      .docs = &doc,
                                      .count = 1,
                                      .ids = &id,
                                      .applied = on_applied};
        applied = 0;
        ak_service_upsert(f.service, &upsert);
        CHECK_INT(wait_done(1), AK_OK);
        CHECK_INT(applied, 1);
    }
    CHECK_INT(count_now(), 2);
    struct ak_delete_op del = {.op = op(false), .collection = f.collection, .ids = &id, .count = 1};
    ak_service_delete(f.service, &del);
    CHECK_INT(wait_done(1), AK_OK);
    CHECK_INT(del.deleted, 1);
    CHECK_INT(count_now(), 1);
    stop();
}

struct writer {
    struct ak_thread thread;
    struct ak_upsert_op *ops;
    struct ak_uuid *ids;
    const struct ak_document *doc;
};

enum { WRITERS = 4, WRITES = 200 };

static void write_many(void *arg)
{
    struct writer *writer = arg;
    for (unsigned i = 0; i < WRITES; i++) {
        writer->ops[i] = (struct ak_upsert_op){.op = op(false),
                                               .collection = f.collection,
                                               .docs = writer->doc,
                                               .count = 1,
                                               .ids = &writer->ids[i]};
        ak_service_upsert(f.service, &writer->ops[i]);
    }
}

/* The loops' way: try_lock on the collection fails now and then, and workers take over. */
TEST(service, writers_that_meet_lose_nothing)
{
    const float vector[2] = {1, 2};
    const struct ak_document doc = {.vector = vector};
    static struct ak_upsert_op ops[WRITERS][WRITES];
    static struct ak_uuid ids[WRITERS][WRITES];
    struct writer writers[WRITERS];
    struct ak_err err;
    start();
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.ops = ops[i], .ids = ids[i], .doc = &doc};
        CHECK_OK(ak_thread_start(&writers[i].thread, "writer", write_many, &writers[i], &err));
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        ak_thread_join(&writers[i].thread);
    }
    CHECK_INT(wait_done(WRITERS * WRITES), AK_OK);
    CHECK_INT(count_now(), WRITERS * WRITES);
    stop();
}

TEST(service, an_import_is_durable_when_it_is_finished)
{
    const float vectors[3][2] = {{1, 2}, {3, 4}, {NAN, 0}};
    struct ak_document docs[3];
    struct ak_err err;
    start();
    struct ak_import import = {.service = f.service, .collection = f.collection};
    for (unsigned i = 0; i < 3; i++) {
        docs[i] = (struct ak_document){.vector = vectors[i]};
    }
    CHECK_OK(ak_import_add(&import, docs, 2, &err));
    CHECK_RC(AK_INVALID, ak_import_add(&import, docs, 3, &err));
    CHECK_INT(import.upserted, 2);
    struct ak_import_op finish = {.op = op(false), .import = &import};
    ak_service_import_finish(f.service, &finish);
    CHECK_INT(wait_done(1), AK_OK);
    struct ak_engine_stats stats;
    ak_engine_stats(f.engine, &stats);
    CHECK(stats.wal.durable >= import.commit);
    stop();
}

TEST(service, a_batch_gives_every_search_its_own_results)
{
    enum { N = 100 };
    static struct ak_search searches[N];
    static struct ak_search_result results[N];
    static float vectors[N][2];
    static struct ak_document docs[N];
    static struct ak_uuid ids[N];
    start();
    for (unsigned i = 0; i < N; i++) {
        vectors[i][0] = (float)i;
        docs[i] = (struct ak_document){.vector = vectors[i]};
        searches[i] = (struct ak_search){.vector = vectors[i], .k = 1};
    }
    struct ak_upsert_op upsert = {
        .op = op(true), .collection = f.collection, .docs = docs, .count = N, .ids = ids};
    ak_service_upsert(f.service, &upsert);
    CHECK_INT(wait_done(1), AK_OK);
    struct ak_search_batch_op *batch = ak_zalloc(sizeof *batch);
    batch->op = op(false);
    batch->collection = f.collection;
    batch->searches = searches;
    batch->results = results;
    batch->count = N;
    ak_service_search_batch(f.service, batch);
    CHECK_INT(wait_done(1), AK_OK);
    for (unsigned i = 0; i < N; i++) {
        CHECK_INT(results[i].count, 1);
    }
    searches[N / 2].k = 0;
    ak_service_search_batch(f.service, batch);
    CHECK_INT(wait_done(1), AK_INVALID);
    CHECK(strstr(batch->op.err.text, "searches[50]: "));
    stop();
    ak_free(batch);
}

/* --- The query log --- */

struct logged_writer {
    struct ak_thread thread;
    struct ak_upsert_op *ops;
    struct ak_uuid *ids;
    struct ak_arena *arenas;
};

static void write_logged(void *arg)
{
    static const float vector[2] = {1, 2};
    static const struct ak_document doc = {.vector = vector};
    struct logged_writer *writer = arg;
    for (unsigned i = 0; i < WRITES; i++) {
        ak_arena_init(&writer->arenas[i], 0);
        writer->ops[i] = (struct ak_upsert_op){
            .op = {.done = on_done, .arena = &writer->arenas[i], .is_unlogged = i % 4 == 0},
            .collection = f.collection,
            .docs = &doc,
            .count = 1,
            .ids = &writer->ids[i]};
        ak_service_upsert(f.service, &writer->ops[i]);
    }
}

static struct ak_query_log *open_query_log(struct ak_metrics *metrics, char dir[4096])
{
    struct ak_query_log *log = NULL;
    struct ak_err err;
    (void)snprintf(dir, 4096, "%s/perf", ak_test_dir());
    const struct ak_query_log_options options = {
        .dir = dir, .metrics = metrics, .free_bytes_min = 1};
    CHECK_OK(ak_query_log_open(&options, &log, &err));
    return log;
}

/* A daily log: its rows by type. */
static bool count_types(void *ctx, struct ak_str name)
{
    unsigned *counts = ctx;
    int32_t day;
    char path[4600];
    struct ak_err err;
    struct ak_perf_reader *reader = NULL;
    struct ak_perf_query row;
    enum ak_perf_step step = AK_PERF_ROW;
    if (!ak_perf_daily_day(name, &day)) {
        return true;
    }
    (void)snprintf(path, sizeof path, "%s/perf/%.*s", ak_test_dir(), AK_STR_ARG(name));
    CHECK_OK(ak_perf_reader_open(ak_fs_posix(), path, &reader, &err));
    for (;;) {
        CHECK_OK(ak_perf_reader_next(reader, &row, &step, &err));
        if (step == AK_PERF_END) {
            break;
        }
        CHECK_INT(step, AK_PERF_ROW);
        for (int type = 0; type < AK_QUERY_TYPE_COUNT; type++) {
            counts[type] +=
                ak_str_eq(row.query_type, ak_str_of(ak_query_type_name((enum ak_query_type)type)));
        }
        CHECK(ak_str_eq(row.table_name, AK_STR("c")));
    }
    ak_perf_reader_close(reader);
    return true;
}

TEST(service, what_many_threads_ask_is_in_the_query_log_but_what_opts_out)
{
    static struct ak_upsert_op ops[WRITERS][WRITES];
    static struct ak_uuid ids[WRITERS][WRITES];
    static struct ak_arena arenas[WRITERS][WRITES];
    enum { N = 32 };
    static const float vector[2] = {1, 2};
    struct ak_search searches[N];
    struct ak_search_result results[N];
    struct logged_writer writers[WRITERS];
    struct ak_metrics *metrics = ak_metrics_open();
    unsigned counts[AK_QUERY_TYPE_COUNT] = {0};
    char dir[4096];
    struct ak_err err;
    queries = open_query_log(metrics, dir);
    start();
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct logged_writer){.ops = ops[i], .ids = ids[i], .arenas = arenas[i]};
        CHECK_OK(ak_thread_start(&writers[i].thread, "writer", write_logged, &writers[i], &err));
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        ak_thread_join(&writers[i].thread);
    }
    CHECK_INT(wait_done(WRITERS * WRITES), AK_OK);
    for (unsigned i = 0; i < N; i++) {
        searches[i] = (struct ak_search){.vector = vector, .k = 1 + i};
    }
    struct ak_search_batch_op *batch = ak_zalloc(sizeof *batch);
    batch->op = op(false);
    batch->collection = f.collection;
    batch->searches = searches;
    batch->results = results;
    batch->count = N;
    ak_service_search_batch(f.service, batch);
    CHECK_INT(wait_done(1), AK_OK);
    searches[3].k = 0; /* a failure is not logged */
    ak_service_search_batch(f.service, batch);
    CHECK_INT(wait_done(1), AK_INVALID);
    stop();
    ak_query_log_close(queries);
    queries = NULL;
    CHECK_OK(ak_fs_list(ak_fs_posix(), dir, count_types, counts, &err));
    CHECK_INT(counts[AK_QUERY_UPSERT], WRITERS * WRITES * 3 / 4);
    CHECK_INT(counts[AK_QUERY_SEARCH_BATCH], 1);
    for (unsigned i = 0; i < WRITERS * WRITES; i++) {
        ak_arena_release(&arenas[i / WRITES][i % WRITES]);
    }
    ak_free(batch);
    ak_metrics_close(metrics);
}

static void slow(struct ak_op *deferred)
{
    ak_mutex_lock(&f.lock);
    while (!f.rc) { /* until the test lets it go */
        ak_cond_wait(&f.changed, &f.lock);
    }
    ak_mutex_unlock(&f.lock);
    deferred->done(deferred, AK_OK);
}

static void let_go(void *arg)
{
    (void)arg;
    ak_mutex_lock(&f.lock);
    f.rc = AK_INTERNAL;
    ak_cond_broadcast(&f.changed);
    ak_mutex_unlock(&f.lock);
}

TEST(service, closing_waits_for_what_was_started)
{
    struct ak_thread thread = {0};
    struct ak_err err;
    start();
    struct ak_op deferred = op(false);
    f.rc = AK_OK;
    ak_service_defer(f.service, &deferred, slow);
    CHECK_OK(ak_thread_start(&thread, "let-go", let_go, NULL, &err));
    ak_service_close(f.service);
    CHECK_INT(f.done, 1);
    ak_thread_join(&thread);
    f.service = NULL;
    stop();
}

TEST_MAIN()
