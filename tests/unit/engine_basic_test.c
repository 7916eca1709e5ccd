/* engine_basic_test.c — what the engine's user counts on: write, find, delete, restart, limits. */
#include "base/mem.h"
#include "base/rand.h"
#include "engine/engine.h"
#include "support/test.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum { DIMENSION = 32 };

struct fixture {
    struct ak_engine *engine;
    struct ak_collection *collection;
    struct ak_arena arena;
    struct ak_fs *fs;
};

static void open_at(struct fixture *f, const char *dir)
{
    struct ak_err err;
    struct ak_engine_options options = {.dir = dir, .fs = f->fs, .build_threads = 2};
    CHECK_OK(ak_engine_open(&options, &f->engine, &err));
}

static void start(struct fixture *f, enum ak_metric metric)
{
    struct ak_err err;
    struct ak_collection_info made;
    struct ak_collection_info spec = {.name = AK_STR("docs"),
                                      .dimension = DIMENSION,
                                      .metric = metric,
                                      .index = ak_index_params_default()};
    ak_arena_init(&f->arena, 0);
    open_at(f, ak_test_dir());
    CHECK_OK(ak_engine_create(f->engine, &spec, &made, &err));
    CHECK_OK(ak_engine_get(f->engine, AK_STR("docs"), &f->collection, &err));
}

static void stop(struct fixture *f)
{
    ak_collection_unref(f->collection);
    f->collection = NULL;
    ak_engine_close(f->engine);
    f->engine = NULL;
    ak_arena_release(&f->arena);
}

static void restart(struct fixture *f)
{
    struct ak_err err;
    stop(f);
    ak_arena_init(&f->arena, 0);
    open_at(f, ak_test_dir());
    CHECK_OK(ak_engine_get(f->engine, AK_STR("docs"), &f->collection, &err));
}

static struct ak_uuid numbered(uint32_t n)
{
    struct ak_uuid id = {{0x01, 0x90}};
    id.b[6] = 0x70;
    id.b[8] = 0x80;
    id.b[12] = (uint8_t)(n >> 24);
    id.b[13] = (uint8_t)(n >> 16);
    id.b[14] = (uint8_t)(n >> 8);
    id.b[15] = (uint8_t)n;
    return id;
}

static void vector_of(uint32_t n, float out[DIMENSION])
{
    struct ak_rand rand;
    ak_rand_seed(&rand, n * 2654435761u + 1);
    for (int i = 0; i < DIMENSION; i++) {
        out[i] = (float)ak_rand_normal(&rand);
    }
}

/* Upsert documents [from, to) with metadata {"n":…,"even":…}. */
static void put(struct fixture *f, uint32_t from, uint32_t to)
{
    struct ak_err err;
    struct ak_write write = {0};
    for (uint32_t n = from; n < to; n++) {
        float vector[DIMENSION];
        char text[64];
        vector_of(n, vector);
        int len =
            snprintf(text, sizeof text, "{\"n\":%u,\"even\":%s}", n, n % 2 ? "false" : "true");
        struct ak_document doc = {
            .id = numbered(n), .vector = vector, .metadata = {text, (size_t)len}};
        CHECK_OK(ak_collection_upsert(f->collection, &doc, 1, true, NULL, &write, &err));
    }
    CHECK_OK(ak_engine_commit(f->engine, write.commit, &err));
}

static uint32_t nearest(struct fixture *f, uint32_t n, const char *filter, struct ak_found **found,
                        uint32_t k)
{
    struct ak_err err;
    float vector[DIMENSION];
    uint32_t count = 0;
    struct ak_search search = {.vector = vector, .k = k, .include = AK_INCLUDE_METADATA};
    vector_of(n, vector);
    if (filter) {
        CHECK_OK(ak_filter_parse(ak_str_of(filter), &f->arena, &search.filter, &err));
    }
    CHECK_OK(ak_collection_search(f->collection, &search, &f->arena, found, &count, &err));
    return count;
}

TEST(engine, an_acknowledged_document_is_found_at_once_under_every_metric)
{
    for (int metric = 0; metric < AK_METRIC_COUNT; metric++) {
        struct fixture f = {0};
        struct ak_found *found = NULL;
        start(&f, (enum ak_metric)metric);
        put(&f, 0, 500);
        for (uint32_t n = 0; n < 500; n += 50) {
            CHECK_INT(nearest(&f, n, NULL, &found, 5), 5);
            struct ak_uuid want = numbered(n);
            CHECK(metric == AK_METRIC_DOT || ak_uuid_eq(&found[0].id, &want));
            for (int i = 1; i < 5; i++) {
                CHECK(metric == AK_METRIC_L2 ? found[i - 1].score <= found[i].score
                                             : found[i - 1].score >= found[i].score);
            }
        }
        struct ak_err err;
        CHECK_OK(ak_engine_verify(f.engine, AK_STR("docs"), &err));
        stop(&f);
        struct ak_err drop;
        open_at(&f, ak_test_dir());
        CHECK_RC(AK_OK, ak_engine_drop(f.engine, AK_STR("docs"), &drop));
        ak_engine_close(f.engine);
    }
}

TEST(engine, documents_come_back_bit_for_bit_after_a_restart_without_a_rebuild)
{
    struct fixture f = {0};
    struct ak_err err;
    struct ak_collection_stats stats;
    start(&f, AK_METRIC_COSINE);
    put(&f, 0, 3000);
    restart(&f);
    ak_collection_stats(f.collection, &stats);
    CHECK_INT(stats.documents, 3000);
    CHECK_INT(stats.generation, 1);
    for (uint32_t n = 0; n < 3000; n++) {
        struct ak_found found;
        struct ak_uuid id = numbered(n);
        float want[DIMENSION];
        vector_of(n, want);
        CHECK_OK(ak_collection_fetch(f.collection, &id, AK_INCLUDE_VECTOR, &f.arena, &found, &err));
        CHECK(memcmp(found.vector, want, sizeof want) == 0);
    }
    CHECK_OK(ak_engine_verify(f.engine, AK_STR("docs"), &err));
    stop(&f);
}

TEST(engine, rows_that_were_not_linked_at_the_end_are_linked_after_the_restart_and_kept_so)
{
    enum { ROWS = 20000, BATCH = 1000 };
    struct fixture f = {0};
    struct ak_err err;
    struct ak_write write;
    struct ak_collection_stats stats;
    static float rows[BATCH][DIMENSION];
    static struct ak_document docs[BATCH];
    start(&f, AK_METRIC_L2);
    for (uint32_t n = 0; n < ROWS; n++) {
        vector_of(n, rows[n % BATCH]);
        docs[n % BATCH] = (struct ak_document){.id = numbered(n), .vector = rows[n % BATCH]};
        if (n % BATCH == BATCH - 1) {
            CHECK_OK(ak_collection_upsert(f.collection, docs, BATCH, true, NULL, &write, &err));
        }
    }
    restart(&f);
    ak_collection_wait_linked(f.collection, NULL, NULL);
    ak_collection_stats(f.collection, &stats);
    CHECK_INT(stats.pending, 0);
    CHECK_INT(stats.documents, ROWS);
    CHECK_OK(ak_engine_verify(f.engine, AK_STR("docs"), &err));
    restart(&f);
    ak_collection_stats(f.collection, &stats);
    CHECK_INT(stats.pending, 0);
    CHECK_OK(ak_engine_verify(f.engine, AK_STR("docs"), &err));
    stop(&f);
}

TEST(engine, an_upsert_of_a_known_id_replaces_and_does_not_add)
{
    struct fixture f = {0};
    struct ak_err err;
    uint64_t count = 0;
    struct ak_found *found = NULL;
    start(&f, AK_METRIC_L2);
    put(&f, 0, 2000);
    for (int again = 0; again < 3; again++) {
        put(&f, 0, 2000);
    }
    CHECK_OK(ak_collection_count(f.collection, NULL, &count, &err));
    CHECK_INT(count, 2000);
    CHECK_INT(nearest(&f, 7, NULL, &found, 2000), 2000);
    CHECK_OK(ak_engine_verify(f.engine, AK_STR("docs"), &err));
    restart(&f);
    CHECK_OK(ak_collection_count(f.collection, NULL, &count, &err));
    CHECK_INT(count, 2000);
    CHECK_OK(ak_engine_verify(f.engine, AK_STR("docs"), &err));
    stop(&f);
}

TEST(engine, deleted_documents_are_gone_by_id_by_search_and_after_restart)
{
    struct fixture f = {0};
    struct ak_err err;
    struct ak_write write;
    struct ak_found *found = NULL;
    uint64_t count = 0;
    start(&f, AK_METRIC_COSINE);
    put(&f, 0, 1500);
    struct ak_uuid ids[3] = {numbered(1), numbered(2), numbered(999999)};
    CHECK_OK(ak_collection_delete(f.collection, ids, 3, &write, &err));
    CHECK_INT(write.affected, 2);
    const struct ak_filter *odd = NULL;
    CHECK_OK(ak_filter_parse(AK_STR("{\"must\":[{\"key\":\"even\",\"match\":false}]}"), &f.arena,
                             &odd, &err));
    CHECK_OK(ak_collection_delete_matching(f.collection, odd, &write, &err));
    CHECK_INT(write.affected, 749);
    CHECK_OK(ak_engine_commit(f.engine, write.commit, &err));
    for (int pass = 0; pass < 2; pass++) {
        CHECK_OK(ak_collection_count(f.collection, NULL, &count, &err));
        CHECK_INT(count, 749);
        CHECK_INT(nearest(&f, 3, NULL, &found, 1000), 749);
        for (uint32_t i = 0; i < 749; i++) {
            CHECK(found[i].id.b[15] % 2 == 0);
        }
        CHECK_RC(AK_NOT_FOUND,
                 ak_collection_fetch(f.collection, &ids[0], 0, &f.arena, found, &err));
        CHECK_OK(ak_engine_verify(f.engine, AK_STR("docs"), &err));
        restart(&f);
    }
    stop(&f);
}

TEST(engine, a_filtered_search_returns_k_whenever_k_documents_match)
{
    struct fixture f = {0};
    struct ak_found *found = NULL;
    start(&f, AK_METRIC_COSINE);
    put(&f, 0, 4000);
    CHECK_INT(nearest(&f, 5, "{\"must\":[{\"key\":\"n\",\"range\":{\"lt\":20}}]}", &found, 10), 10);
    for (int i = 0; i < 10; i++) {
        CHECK(found[i].id.b[14] == 0 && found[i].id.b[15] < 20);
    }
    CHECK_INT(nearest(&f, 5, "{\"must\":[{\"key\":\"n\",\"range\":{\"lt\":7}}]}", &found, 10), 7);
    CHECK_INT(nearest(&f, 5, "{\"must\":[{\"key\":\"even\",\"match\":true}]}", &found, 100), 100);
    CHECK_INT(nearest(&f, 5, "{\"must\":[{\"key\":\"none\",\"exists\":true}]}", &found, 10), 0);
    stop(&f);
}

TEST(engine, a_scroll_meets_every_document_once_in_id_order)
{
    struct fixture f = {0};
    struct ak_err err;
    start(&f, AK_METRIC_DOT);
    put(&f, 0, 1000);
    put(&f, 100, 300);
    struct ak_uuid cursor = {{0}};
    uint32_t next = 0;
    for (;;) {
        struct ak_found *page = NULL;
        uint32_t count = 0;
        CHECK_OK(ak_collection_scroll(f.collection, next ? &cursor : NULL, 64, NULL, 0, &f.arena,
                                      &page, &count, &err));
        if (count == 0) {
            break;
        }
        for (uint32_t i = 0; i < count; i++) {
            struct ak_uuid want = numbered(next++);
            CHECK(ak_uuid_eq(&page[i].id, &want));
        }
        cursor = page[count - 1].id;
    }
    CHECK_INT(next, 1000);
    stop(&f);
}

TEST(engine, bad_vectors_are_refused_and_leave_nothing_behind)
{
    struct fixture f = {0};
    struct ak_err err;
    struct ak_write write;
    uint64_t count = 0;
    start(&f, AK_METRIC_COSINE);
    float good[DIMENSION];
    float bad[DIMENSION];
    vector_of(1, good);
    vector_of(2, bad);
    bad[9] = NAN;
    struct ak_document docs[2] = {{.vector = good}, {.vector = bad}};
    CHECK_RC(AK_INVALID, ak_collection_upsert(f.collection, docs, 2, true, NULL, &write, &err));
    CHECK(strstr(err.text, "[1]") != NULL);
    memset(bad, 0, sizeof bad);
    CHECK_RC(AK_INVALID, ak_collection_upsert(f.collection, docs, 2, true, NULL, &write, &err));
    CHECK_OK(ak_collection_count(f.collection, NULL, &count, &err));
    CHECK_INT(count, 0);
    struct ak_search search = {.vector = good, .k = 0};
    struct ak_found *found = NULL;
    uint32_t n = 0;
    CHECK_RC(AK_INVALID, ak_collection_search(f.collection, &search, &f.arena, &found, &n, &err));
    stop(&f);
}

TEST(engine, collections_are_listed_by_page_in_name_order)
{
    struct fixture f = {0};
    struct ak_err err;
    struct ak_arena arena;
    struct ak_collection_info made;
    ak_arena_init(&arena, 0);
    open_at(&f, ak_test_dir());
    for (int i = 0; i < 250; i++) {
        char name[16];
        int len = snprintf(name, sizeof name, "c%03d", (i * 97) % 250);
        struct ak_collection_info spec = {
            .name = {name, (size_t)len}, .dimension = 4, .index = ak_index_params_default()};
        CHECK_OK(ak_engine_create(f.engine, &spec, &made, &err));
        CHECK_RC(AK_EXISTS, ak_engine_create(f.engine, &spec, &made, &err));
    }
    struct ak_str after = AK_STR("");
    int seen = 0;
    for (;;) {
        struct ak_collection_summary *list = NULL;
        size_t count = 0;
        CHECK_OK(ak_engine_list(f.engine, after, 33, &arena, &list, &count, &err));
        for (size_t i = 0; i < count; i++) {
            char want[16];
            (void)snprintf(want, sizeof want, "c%03d", seen++);
            CHECK(ak_str_eq(list[i].info.name, ak_str_of(want)));
        }
        if (count == 0) {
            break;
        }
        after = list[count - 1].info.name;
    }
    CHECK_INT(seen, 250);
    ak_engine_close(f.engine);
    ak_arena_release(&arena);
}

TEST(engine, a_dropped_collection_is_gone_and_its_name_is_free_again)
{
    struct fixture f = {0};
    struct ak_err err;
    struct ak_collection *again = NULL;
    start(&f, AK_METRIC_COSINE);
    put(&f, 0, 100);
    CHECK_OK(ak_engine_checkpoint(f.engine, f.collection, &err));
    CHECK_OK(ak_engine_drop(f.engine, AK_STR("docs"), &err));
    CHECK_RC(AK_NOT_FOUND, ak_engine_get(f.engine, AK_STR("docs"), &again, &err));
    CHECK_RC(AK_NOT_FOUND, ak_engine_drop(f.engine, AK_STR("docs"), &err));
    struct ak_found *found = NULL; /* the reference that is still held goes on working */
    CHECK_INT(nearest(&f, 3, NULL, &found, 3), 3);
    ak_collection_unref(f.collection);
    struct ak_collection_info made;
    struct ak_collection_info spec = {
        .name = AK_STR("docs"), .dimension = 3, .index = ak_index_params_default()};
    CHECK_OK(ak_engine_create(f.engine, &spec, &made, &err));
    CHECK_OK(ak_engine_get(f.engine, AK_STR("docs"), &f.collection, &err));
    CHECK_INT(ak_collection_info(f.collection)->dimension, 3);
    stop(&f);
}

TEST(engine, a_folder_belongs_to_one_engine_at_a_time)
{
    struct fixture f = {0};
    struct ak_engine *second = NULL;
    struct ak_err err;
    open_at(&f, ak_test_dir());
    struct ak_engine_options options = {.dir = ak_test_dir()};
    CHECK_RC(AK_CONFLICT, ak_engine_open(&options, &second, &err));
    ak_engine_close(f.engine);
}

TEST(engine, a_full_disk_refuses_writes_serves_reads_and_goes_on_when_there_is_room)
{
    struct fixture f = {0};
    struct ak_err err;
    struct ak_write write;
    struct ak_found *found = NULL;
    struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
    uint64_t count = 0;
    f.fs = ak_fs_fault_fs(fault);
    start(&f, AK_METRIC_COSINE);
    put(&f, 0, 200);
    /* No new log segment can be had: what is allocated is used up first, then it is refused. */
    ak_fs_fault_set(fault, AK_FS_ALLOCATE | AK_FS_OPEN, 0, ENOSPC, true);
    enum ak_rc rc = AK_OK;
    uint64_t accepted = 0;
    struct ak_document *docs = ak_zalloc(4000 * sizeof *docs);
    float *rows = ak_zalloc(4000 * DIMENSION * sizeof *rows);
    char *text = ak_zalloc(60001);
    memset(text, 'x', 60000);
    memcpy(text, "{\"t\":\"", 6);
    memcpy(text + 59998, "\"}", 2);
    for (int i = 0; i < 4000; i++) {
        vector_of((uint32_t)i, rows + i * DIMENSION);
        docs[i] = (struct ak_document){.vector = rows + i * DIMENSION, .metadata = {text, 60000}};
    }
    for (int i = 0; i < 4000 && rc == AK_OK; i += 100) { /* 6 MB a call */
        rc = ak_collection_upsert(f.collection, docs + i, 100, true, NULL, &write, &err);
        accepted += rc == AK_OK ? 100 : 0;
    }
    CHECK_RC(AK_NO_SPACE, rc);
    CHECK_OK(ak_collection_count(f.collection, NULL, &count, &err));
    CHECK_INT(count, 200 + accepted);
    CHECK_INT(nearest(&f, 3, NULL, &found, 5), 5);
    ak_fs_fault_set(fault, 0, -1, 0, false);
    CHECK_OK(ak_collection_upsert(f.collection, docs, 100, true, NULL, &write, &err));
    CHECK_OK(ak_engine_commit(f.engine, write.commit, &err));
    restart(&f);
    CHECK_OK(ak_collection_count(f.collection, NULL, &count, &err));
    CHECK_INT(count, 300 + accepted);
    stop(&f);
    ak_free(docs);
    ak_free(rows);
    ak_free(text);
    ak_fs_fault_close(fault);
}

TEST_MAIN()
