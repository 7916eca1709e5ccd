/* An index whose vectors are on disk: the answers of one in memory, for a third of the memory. */
#include "base/fault.h"
#include "base/file.h"
#include "base/slab.h"
#include "index/recall.h"
#include "unit/index_vectors.h"
#include <fcntl.h>
#include <unistd.h>

enum { DIMENSION = 512, ROWS = 1200, MORE = 120, STRIDE = DIMENSION * 4 };

static struct ak_err err;

static struct ak_index *open_on(enum ak_vectors where, enum ak_metric metric,
                                struct ak_epoch *epoch, uint32_t exact_below)
{
    struct ak_index_options options = index_options(DIMENSION, metric, epoch);
    struct ak_index *index = NULL;
    options.params.vectors = where;
    options.params.m = 8;
    options.params.ef_construction = 24;
    options.exact_below = exact_below;
    CHECK_OK(ak_index_open(&options, &index, &err));
    return index;
}

/* A checkpoint of the index; `take`: and its rows are taken from the file. */
static enum ak_rc checkpoint(struct ak_index *index, char path[4096], bool take)
{
    static unsigned count;
    struct ak_image_writer *writer = NULL;
    struct ak_image *image = NULL;
    struct ak_slab_switch to = {0};
    (void)snprintf(path, 4096, "%s/%u.akx", ak_test_dir(), ++count);
    CHECK_OK(ak_index_freeze(index, &err));
    CHECK_OK(ak_image_create_file(ak_fs_posix(), path, &writer, &err));
    CHECK_OK(ak_index_write(index, writer, &err));
    CHECK_OK(ak_image_commit(writer, NULL, &err));
    enum ak_rc rc = AK_OK;
    if (take) {
        CHECK_OK(ak_image_open_file(ak_fs_posix(), path, &image, &err));
        rc = ak_index_switch_begin(index, image, &to, &err);
        ak_image_close(image);
        rc = rc == AK_OK ? ak_index_switch_end(index, &to, &err) : rc;
    }
    ak_index_unfreeze(index);
    (void)ak_epoch_collect(ak_index_options_of(index)->epoch);
    return rc;
}

static struct ak_index_memory memory_of(struct ak_index *index)
{
    struct ak_index_memory memory;
    ak_index_settle(index); /* counts */
    ak_index_memory(index, &memory);
    return memory;
}

static void check_same(struct ak_index *a, struct ak_index *b, struct ak_index_query query,
                       const struct vectors *q)
{
    for (uint32_t i = 0; i < q->count; i++) {
        struct ak_hit x[50];
        struct ak_hit y[50];
        uint32_t n = 0;
        uint32_t m = 0;
        query.vector = vectors_row(q, i);
        CHECK_OK(ak_index_search(a, &query, x, &n, NULL, &err));
        CHECK_OK(ak_index_search(b, &query, y, &m, NULL, &err));
        CHECK_INT(n, m);
        CHECK(n > 0 && memcmp(x, y, n * sizeof *x) == 0);
    }
}

/* Every way to search: along the graph, exactly, under filters that leave many and few. */
static void check_all_ways(struct ak_index *a, struct ak_index *b, const struct vectors *q)
{
    uint64_t slots = ak_index_slots(a);
    uint64_t *allow = ak_zalloc((slots / 64 + 1) * sizeof *allow);
    check_same(a, b, (struct ak_index_query){.k = 10, .ef = 64}, q);
    check_same(a, b, (struct ak_index_query){.k = 50, .ef = 64, .exact = true}, q);
    for (uint64_t step = 2; step <= 512; step *= 16) {
        uint64_t count = 0;
        memset(allow, 0, (slots / 64 + 1) * sizeof *allow);
        for (uint64_t slot = 1; slot < slots; slot += step) {
            if (ak_index_is_live(a, (uint32_t)slot)) {
                allow[slot / 64] |= (uint64_t)1 << (slot % 64);
                count++;
            }
        }
        struct ak_index_query query = {
            .k = 10, .ef = 64, .allow = allow, .allow_slots = slots, .allow_count = count};
        check_same(a, b, query, q);
        query.as_allowed = true;
        check_same(a, b, query, q);
    }
    ak_free(allow);
}

static void check_rows(struct ak_index *index, const struct vectors *v, uint32_t count)
{
    uint32_t wrong = 0;
    for (uint32_t slot = 0; slot < count; slot++) {
        wrong += memcmp(ak_index_vector(index, slot), vectors_row(v, slot), STRIDE) != 0;
    }
    CHECK_INT(wrong, 0);
}

/* The file's pages leave the page cache, if the system lets them: searches read them again. */
static void drop_cache(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0 && close(fd) == 0);
}

TEST(index_disk, finds_what_an_index_in_memory_finds_in_a_third_of_its_memory)
{
    for (int metric = 0; metric < AK_METRIC_COUNT; metric++) {
        struct ak_epoch *epoch = ak_epoch_open();
        struct vectors v = vectors_clustered(ROWS + MORE, DIMENSION, 20, 1);
        struct vectors q = vectors_clustered(6, DIMENSION, 20, 2);
        struct ak_index *in_ram = open_on(AK_VECTORS_RAM, (enum ak_metric)metric, epoch, 50);
        struct ak_index *on_disk = open_on(AK_VECTORS_DISK, (enum ak_metric)metric, epoch, 50);
        struct ak_index *both[] = {in_ram, on_disk};
        char path[4096];
        for (int i = 0; i < 2; i++) {
            index_add_rows(both[i], &v, 0, ROWS);
            index_build_all(both[i]);
        }
        check_all_ways(in_ram, on_disk, &q); /* all of it in memory still */
        CHECK_INT(memory_of(on_disk).files, 0);
        CHECK_RC(AK_UNSUPPORTED, checkpoint(in_ram, path, true));
        CHECK_OK(checkpoint(on_disk, path, true));
        struct ak_index_memory memory = memory_of(on_disk);
        CHECK_INT(memory.files, (uint64_t)ROWS * STRIDE / 4096 * 4096);
        CHECK(memory.codes >= (uint64_t)ROWS * DIMENSION && memory.links >= (uint64_t)ROWS * 64);
        CHECK(memory.vectors <= 2 << 20); /* what is left is less than a page: it counts as one */
        CHECK(memory_of(in_ram).vectors >= (uint64_t)ROWS * STRIDE);
        check_all_ways(in_ram, on_disk, &q);
        ak_index_let_go(on_disk);
        drop_cache(path);
        check_all_ways(in_ram, on_disk, &q);
        check_rows(on_disk, &v, ROWS);
        for (int i = 0; i < 2; i++) { /* some linked, some not */
            index_add_rows(both[i], &v, ROWS, ROWS + MORE);
            CHECK_INT(ak_index_build_some(both[i], 50), 50);
        }
        check_all_ways(in_ram, on_disk, &q);
        check_rows(on_disk, &v, ROWS + MORE);
        (void)index_checked(on_disk);
        ak_index_close(in_ram);
        ak_index_close(on_disk);
        vectors_release(&v);
        vectors_release(&q);
        ak_epoch_close(epoch);
    }
}

TEST(index_disk, slots_used_anew_are_memory_until_the_next_image_and_then_the_file_s)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_clustered(ROWS, DIMENSION, 20, 3);
    struct vectors w = vectors_clustered(ROWS, DIMENSION, 20, 4);
    struct ak_index *index = open_on(AK_VECTORS_DISK, AK_METRIC_COSINE, epoch, 50);
    char path[4096];
    index_add_rows(index, &v, 0, ROWS);
    index_build_all(index);
    CHECK_OK(checkpoint(index, path, true));
    uint64_t settled = memory_of(index).vectors;
    for (uint32_t slot = 0; slot < ROWS; slot += 3) {
        ak_index_remove(index, slot);
    }
    CHECK_OK(ak_index_repair(index, &err));
    (void)ak_epoch_collect(epoch);
    /* While it is frozen no slot is used anew: the row comes at the end. */
    struct ak_image_writer *writer = NULL;
    struct ak_image *image = NULL;
    struct ak_slab_switch to = {0};
    uint32_t slot = 0;
    (void)snprintf(path, sizeof path, "%s/frozen.akx", ak_test_dir());
    CHECK_OK(ak_index_freeze(index, &err));
    CHECK_OK(ak_image_create_file(ak_fs_posix(), path, &writer, &err));
    CHECK_OK(ak_index_write(index, writer, &err));
    CHECK_OK(ak_image_commit(writer, NULL, &err));
    CHECK_OK(ak_index_add(index, vectors_row(&w, 0), &slot, &err));
    CHECK_INT(slot, ROWS);
    CHECK_OK(ak_image_open_file(ak_fs_posix(), path, &image, &err));
    CHECK_OK(ak_index_switch_begin(index, image, &to, &err));
    ak_image_close(image);
    CHECK_OK(ak_index_add(index, vectors_row(&w, 1), &slot, &err));
    CHECK_INT(slot, ROWS + 1);
    CHECK_OK(ak_index_switch_end(index, &to, &err));
    ak_index_unfreeze(index);
    CHECK(memcmp(ak_index_vector(index, ROWS), vectors_row(&w, 0), STRIDE) == 0);
    CHECK(memcmp(ak_index_vector(index, ROWS + 1), vectors_row(&w, 1), STRIDE) == 0);
    uint32_t reused[ROWS / 3];
    (void)ak_epoch_collect(epoch); /* the next slot was chosen when readers could still be about */
    CHECK_OK(ak_index_add(index, vectors_row(&w, 1), &slot, &err));
    for (uint32_t i = 0; i < ROWS / 3; i++) {
        CHECK_OK(ak_index_add(index, vectors_row(&w, 2 + i), &reused[i], &err));
        CHECK(reused[i] < ROWS && reused[i] % 3 == 0);
    }
    struct ak_index_memory memory = memory_of(index);
    CHECK(memory.vectors >= settled + (uint64_t)(ROWS / 3) * STRIDE);
    CHECK(memory.files + memory.vectors >= (uint64_t)ROWS * STRIDE);
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < ROWS / 3; i++) {
            CHECK(memcmp(ak_index_vector(index, reused[i]), vectors_row(&w, 2 + i), STRIDE) == 0);
        }
        CHECK(memcmp(ak_index_vector(index, 1), vectors_row(&v, 1), STRIDE) == 0);
        index_build_all(index);
        (void)index_checked(index);
        if (round == 0) {
            CHECK_OK(checkpoint(index, path, true));
            CHECK(memory_of(index).vectors <= settled + (2 << 20));
        }
    }
    struct vectors q = vectors_clustered(20, DIMENSION, 20, 5);
    CHECK(index_recall(index, &q, (struct ak_index_query){.k = 10, .ef = 64}) >= 0.95);
    ak_index_close(index);
    vectors_release(&q);
    vectors_release(&v);
    vectors_release(&w);
    ak_epoch_close(epoch);
}

TEST(index_disk, opened_from_its_image_the_rows_stay_there_whatever_is_copied)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_clustered(ROWS + MORE, DIMENSION, 20, 6);
    struct vectors q = vectors_clustered(20, DIMENSION, 20, 7);
    struct ak_index *index = open_on(AK_VECTORS_DISK, AK_METRIC_L2, epoch, 50);
    struct ak_index *loaded = NULL;
    struct ak_image *image = NULL;
    char path[4096];
    index_add_rows(index, &v, 0, ROWS);
    index_build_all(index);
    CHECK_OK(checkpoint(index, path, false));
    CHECK_OK(ak_image_open_file(ak_fs_posix(), path, &image, &err));
    CHECK_OK(ak_index_load(ak_index_options_of(index), image, &loaded, &err));
    check_all_ways(index, loaded, &q);
    CHECK_OK(ak_index_own(loaded, &err));
    ak_image_close(image);
    drop_cache(path);
    CHECK_INT(memory_of(loaded).files, (uint64_t)ROWS * STRIDE / 4096 * 4096);
    check_all_ways(index, loaded, &q);
    CHECK_OK(ak_index_thaw(loaded, &err));
    index_add_rows(loaded, &v, ROWS, ROWS + MORE);
    index_build_all(loaded);
    struct ak_index_memory memory = memory_of(loaded);
    CHECK(memory.vectors <= (uint64_t)MORE * STRIDE + (4 << 20));
    CHECK(memory.codes >= (uint64_t)ROWS * DIMENSION);
    check_rows(loaded, &v, ROWS + MORE);
    CHECK_OK(checkpoint(loaded, path, true));
    check_rows(loaded, &v, ROWS + MORE);
    (void)index_checked(loaded);
    ak_index_close(loaded);
    ak_index_close(index);
    vectors_release(&v);
    vectors_release(&q);
    ak_epoch_close(epoch);
}

/* Codes decide what is looked at, also where a graph is not worth it, and where recall is
 * measured: of all rows few are read. */
TEST(index_disk, few_rows_and_measurements_of_recall_are_scanned_by_codes)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_clustered(ROWS, DIMENSION, 20, 8);
    struct vectors q = vectors_clustered(30, DIMENSION, 20, 9);
    struct ak_index *small = open_on(AK_VECTORS_DISK, AK_METRIC_COSINE, epoch, 10 * ROWS);
    struct ak_index *graph = open_on(AK_VECTORS_DISK, AK_METRIC_COSINE, epoch, 50);
    struct ak_index_effort effort;
    struct ak_hit hits[10];
    uint32_t count = 0;
    char path[4096];
    index_add_rows(graph, &v, 0, ROWS);
    index_build_all(graph);
    CHECK_OK(checkpoint(graph, path, true));
    index_add_rows(small, &v, 0, ROWS);
    struct ak_index_query query = {.vector = vectors_row(&q, 0), .k = 10};
    CHECK_OK(ak_index_search(small, &query, hits, &count, &effort, &err));
    CHECK_INT(effort.way, AK_INDEX_WAY_EXACT); /* no codes without a graph */
    query.way = AK_INDEX_WAY_CODES;
    CHECK_OK(ak_index_search(graph, &query, hits, &count, &effort, &err));
    CHECK(effort.way == AK_INDEX_WAY_CODES && effort.was_exact && count == 10);
    uint32_t same = 0;
    for (uint32_t i = 0; i < q.count; i++) {
        struct ak_hit exact[10];
        query.vector = vectors_row(&q, i);
        query.exact = false;
        CHECK_OK(ak_index_search(graph, &query, hits, &count, NULL, &err));
        query.exact = true;
        CHECK_OK(ak_index_search(graph, &query, exact, &count, &effort, &err));
        CHECK_INT(effort.way, AK_INDEX_WAY_EXACT); /* asked for, so it is in floats */
        same += memcmp(hits, exact, sizeof hits) == 0;
    }
    CHECK(same + 1 >= q.count);
    struct ak_recall_run *run = NULL;
    struct ak_recall_curve curve;
    CHECK_OK(ak_recall_begin(graph, &run, &err));
    for (uint32_t i = 0; i < q.count; i++) {
        CHECK_OK(ak_recall_ask(run, vectors_row(&q, i), true, &err));
    }
    ak_recall_result(run, &curve);
    CHECK_INT(curve.queries, q.count);
    CHECK(ak_recall_at(&curve, 10, 2048) >= 0.99 && ak_recall_is_sound(&curve));
    ak_recall_end(run);
    ak_index_close(graph);
    ak_index_close(small);
    vectors_release(&v);
    vectors_release(&q);
    ak_epoch_close(epoch);
}

TEST(index_disk, a_switch_without_memory_changes_nothing)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_clustered(ROWS, DIMENSION, 20, 10);
    struct ak_index *index = open_on(AK_VECTORS_DISK, AK_METRIC_DOT, epoch, 10 * ROWS);
    char path[4096];
    index_add_rows(index, &v, 0, ROWS);
    CHECK_OK(checkpoint(index, path, false));
    uint64_t before = memory_of(index).vectors;
    CHECK_OK(ak_index_freeze(index, &err));
    bool fired = true;
    for (int64_t n = 0; fired; n++) {
        struct ak_image *image = NULL;
        struct ak_slab_switch to = {0};
        CHECK_OK(ak_image_open_file(ak_fs_posix(), path, &image, &err));
        ak_fault_alloc_at(n);
        enum ak_rc rc = ak_index_switch_begin(index, image, &to, &err);
        fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        ak_image_close(image);
        CHECK_RC(fired ? AK_NOMEM : AK_OK, rc);
        CHECK_INT(memory_of(index).vectors, before);
        check_rows(index, &v, ROWS);
        if (!fired) {
            CHECK_OK(ak_index_switch_end(index, &to, &err));
        }
    }
    ak_index_unfreeze(index);
    (void)ak_epoch_collect(epoch);
    CHECK(memory_of(index).vectors <= 2 << 20);
    check_rows(index, &v, ROWS);
    ak_index_close(index);
    vectors_release(&v);
    ak_epoch_close(epoch);
}

TEST_MAIN()
