/* An index through an image and back: the same answers, and no harm from damaged bytes. */
#include "base/fault.h"
#include "base/file.h"
#include "unit/index_vectors.h"

#define DIMENSION 20u

static struct ak_index *open_index(enum ak_metric metric, struct ak_epoch *epoch, uint32_t rows,
                                   const struct vectors *v)
{
    struct ak_err err = {0};
    struct ak_index_options options = index_options(DIMENSION, metric, epoch);
    struct ak_index *index = NULL;
    options.exact_below = 50;
    CHECK_OK(ak_index_open(&options, &index, &err));
    index_add_rows(index, v, 0, rows);
    index_build_all(index);
    return index;
}

/* Linked, pending, removed, free and reused rows: all that can be in an image. */
static struct ak_index *open_lively(enum ak_metric metric, struct ak_epoch *epoch,
                                    const struct vectors *v)
{
    struct ak_err err = {0};
    struct ak_index *index = open_index(metric, epoch, 1500, v);
    for (uint32_t slot = 0; slot < 300; slot += 2) {
        ak_index_remove(index, slot);
    }
    CHECK_OK(ak_index_repair(index, &err));
    index_add_rows(index, v, 1500, 1600);
    CHECK_INT(ak_index_build_some(index, 60), 60);
    for (uint32_t slot = 1; slot < 1500; slot += 9) {
        ak_index_remove(index, slot);
    }
    index_add_rows(index, v, 1600, 1700);
    CHECK_OK(ak_index_reserve(index, 300, &err)); /* rows with a level that no slot has yet */
    return index;
}

static struct ak_buf write_blob(struct ak_index *index)
{
    struct ak_err err = {0};
    struct ak_buf out = {0};
    struct ak_image_writer *writer = NULL;
    CHECK_OK(ak_index_freeze(index, &err));
    CHECK_OK(ak_image_create_blob(&out, &writer, &err));
    CHECK_OK(ak_index_write(index, writer, &err));
    CHECK_OK(ak_image_commit(writer, NULL, &err));
    ak_index_unfreeze(index);
    return out;
}

static struct ak_image *open_copy(const struct ak_buf *bytes)
{
    struct ak_err err = {0};
    struct ak_image *image = NULL;
    char *copy = ak_alloc(bytes->len);
    memcpy(copy, bytes->p, bytes->len);
    CHECK_OK(ak_image_open_blob(copy, bytes->len, &image, &err));
    return image;
}

static struct ak_index_options load_options(enum ak_metric metric, struct ak_epoch *epoch)
{
    struct ak_index_options options = index_options(DIMENSION, metric, epoch);
    options.exact_below = 50;
    return options;
}

static void check_same_answers(struct ak_index *a, struct ak_index *b, const struct vectors *q)
{
    struct ak_err err = {0};
    for (uint32_t i = 0; i < q->count; i++) {
        struct ak_hit x[10];
        struct ak_hit y[10];
        uint32_t n = 0;
        uint32_t m = 0;
        struct ak_index_effort e;
        struct ak_index_effort f;
        struct ak_index_query query = {.vector = vectors_row(q, i), .k = 10, .ef = 40};
        CHECK_OK(ak_index_search(a, &query, x, &n, &e, &err));
        CHECK_OK(ak_index_search(b, &query, y, &m, &f, &err));
        CHECK_INT(n, m);
        CHECK(memcmp(x, y, n * sizeof *x) == 0);
        CHECK_INT(e.distances, f.distances);
    }
}

/* A thawed index goes on like any other. */
static void check_goes_on(struct ak_index *index, const struct vectors *v, const struct vectors *q)
{
    struct ak_err err = {0};
    CHECK_INT(ak_index_build_some(index, 10), 0); /* not before it is thawed */
    CHECK_OK(ak_index_thaw(index, &err));
    CHECK_OK(ak_index_thaw(index, &err));
    struct ak_index_report before = index_checked(index);
    uint64_t slots = ak_index_slots(index);
    index_add_rows(index, v, 0, 400);
    CHECK_INT(ak_index_slots(index), slots + 400 - before.free_slots);
    index_build_all(index);
    for (uint32_t slot = 2; slot < 1500; slot += 7) {
        ak_index_remove(index, slot);
    }
    CHECK_OK(ak_index_repair(index, &err));
    struct ak_index_report report = index_checked(index);
    CHECK_INT(report.unreachable, 0);
    CHECK_INT(report.pending, 0);
    struct ak_index_query query = {.k = 10, .ef = 64};
    CHECK(index_recall(index, q, query) >= 0.97);
}

TEST(index_image, comes_back_from_a_blob_as_it_was_and_goes_on)
{
    for (int metric = 0; metric < AK_METRIC_COUNT; metric++) {
        struct ak_err err = {0};
        struct ak_epoch *epoch = ak_epoch_open();
        struct vectors v = vectors_clustered(1700, DIMENSION, 20, 1);
        struct vectors q = vectors_clustered(40, DIMENSION, 20, 2);
        struct ak_index *index = open_lively((enum ak_metric)metric, epoch, &v);
        struct ak_index_report report = index_checked(index);
        CHECK(report.pending > 0 && report.tombstones > 0);
        struct ak_buf bytes = write_blob(index);
        struct ak_image *image = open_copy(&bytes);
        struct ak_index_options options = load_options((enum ak_metric)metric, epoch);
        struct ak_index *loaded = NULL;
        CHECK_OK(ak_index_load(&options, image, &loaded, &err));
        struct ak_index_report again = index_checked(loaded);
        CHECK_INT(again.live, report.live);
        CHECK(again.pending > 0 && again.pending <= report.pending); /* removed ones are dropped */
        CHECK_INT(again.tombstones + again.free_slots, report.tombstones + report.free_slots);
        CHECK_INT(again.unreachable, report.unreachable);
        check_same_answers(index, loaded, &q);
        struct ak_buf second = write_blob(loaded); /* also without a thaw */
        CHECK_INT(second.len, bytes.len);
        CHECK(memcmp(second.p, bytes.p, bytes.len) == 0);
        check_goes_on(loaded, &v, &q);
        ak_buf_release(&bytes);
        ak_buf_release(&second);
        ak_index_close(loaded);
        ak_image_close(image);
        ak_index_close(index);
        vectors_release(&v);
        vectors_release(&q);
        ak_epoch_close(epoch);
    }
}

TEST(index_image, comes_back_from_a_mapped_file_and_leaves_it_unchanged)
{
    struct ak_err err = {0};
    struct ak_epoch *epoch = ak_epoch_open();
    char path[600];
    (void)snprintf(path, sizeof path, "%s/a.akx", ak_test_dir());
    struct vectors v = vectors_clustered(30000, DIMENSION, 50, 1);
    struct vectors q = vectors_clustered(40, DIMENSION, 50, 2);
    struct ak_index_options options = load_options(AK_METRIC_COSINE, epoch);
    options.params.ef_construction = 40;
    struct ak_index *index = NULL;
    CHECK_OK(ak_index_open(&options, &index, &err));
    index_add_rows(index, &v, 0, v.count);
    index_build_all(index);
    struct ak_image_writer *writer = NULL;
    CHECK_OK(ak_index_freeze(index, &err));
    CHECK_OK(ak_image_create_file(ak_fs_posix(), path, &writer, &err));
    CHECK_OK(ak_index_write(index, writer, &err));
    CHECK_OK(ak_image_commit(writer, NULL, &err));
    ak_index_unfreeze(index);
    for (int round = 0; round < 2; round++) {
        struct ak_image *image = NULL;
        struct ak_index *loaded = NULL;
        CHECK_OK(ak_image_open_file(ak_fs_posix(), path, &image, &err));
        CHECK_OK(ak_image_check_all(image, &err));
        CHECK_OK(ak_index_load(&options, image, &loaded, &err));
        check_same_answers(index, loaded, &q);
        check_goes_on(loaded, &v, &q);
        ak_index_close(loaded);
        ak_image_close(image);
    }
    ak_index_close(index);
    vectors_release(&v);
    vectors_release(&q);
    ak_epoch_close(epoch);
}

TEST(index_image, a_small_index_without_links_comes_back_and_grows_a_graph)
{
    struct ak_err err = {0};
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_clustered(600, DIMENSION, 20, 1);
    struct vectors q = vectors_clustered(40, DIMENSION, 20, 2);
    for (uint32_t rows = 0; rows <= 60; rows += 20) {
        struct ak_index_options options = load_options(AK_METRIC_DOT, epoch);
        options.exact_below = 100;
        struct ak_index *index = NULL;
        CHECK_OK(ak_index_open(&options, &index, &err));
        index_add_rows(index, &v, 0, rows);
        for (uint32_t slot = 0; slot < rows; slot += 5) {
            ak_index_remove(index, slot);
        }
        struct ak_buf bytes = write_blob(index);
        struct ak_image *image = open_copy(&bytes);
        struct ak_index *loaded = NULL;
        options.exact_below = rows == 60 ? 10 : 100; /* it may be wanted smaller later */
        CHECK_OK(ak_index_load(&options, image, &loaded, &err));
        CHECK_INT(ak_index_live(loaded), rows - rows / 5);
        CHECK_OK(ak_index_thaw(loaded, &err));
        index_build_all(loaded);
        index_add_rows(loaded, &v, 60, 600);
        index_build_all(loaded);
        struct ak_index_report report = index_checked(loaded);
        CHECK_INT(report.live, rows - rows / 5 + 540);
        CHECK_INT(report.free_slots, 0);
        struct ak_index_query query = {.k = 10, .ef = 64};
        CHECK(index_recall(loaded, &q, query) >= 0.97);
        ak_buf_release(&bytes);
        ak_index_close(loaded);
        ak_image_close(image);
        ak_index_close(index);
    }
    vectors_release(&v);
    vectors_release(&q);
    ak_epoch_close(epoch);
}

TEST(index_image, holds_the_frozen_instant_whatever_goes_on_meanwhile)
{
    struct ak_err err = {0};
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_clustered(1700, DIMENSION, 20, 1);
    struct vectors q = vectors_clustered(40, DIMENSION, 20, 2);
    struct ak_index *index = open_lively(AK_METRIC_L2, epoch, &v);
    struct ak_buf before = write_blob(index);
    CHECK_OK(ak_index_freeze(index, &err));
    uint64_t frozen_slots = ak_index_frozen_slots(index);
    CHECK_INT(frozen_slots, ak_index_slots(index));
    uint64_t live = 0;
    for (uint64_t at = 0; at < (frozen_slots + 63) / 64; at++) {
        live += (uint64_t)__builtin_popcountll(ak_index_frozen_live(index)[at]);
    }
    CHECK_INT(live, ak_index_live(index));
    CHECK_INT(ak_index_next_slot(index), frozen_slots); /* no freed slot while frozen */
    index_add_rows(index, &v, 0, 500);
    for (uint32_t slot = 0; slot < 900; slot += 3) {
        ak_index_remove(index, slot);
    }
    CHECK_INT(ak_index_build_some(index, 10), 0);
    struct ak_buf during = {0};
    struct ak_image_writer *writer = NULL;
    CHECK_OK(ak_image_create_blob(&during, &writer, &err));
    CHECK_OK(ak_index_write(index, writer, &err));
    CHECK(ak_index_build_some(index, 10) == 10); /* the links are written */
    CHECK_OK(ak_image_commit(writer, NULL, &err));
    ak_index_unfreeze(index);
    CHECK_INT(during.len, before.len);
    CHECK(memcmp(during.p, before.p, before.len) == 0);
    index_build_all(index);
    CHECK_OK(ak_index_repair(index, &err));
    CHECK_INT(index_checked(index).unreachable, 0);
    ak_buf_release(&before);
    ak_buf_release(&during);
    ak_index_close(index);
    vectors_release(&v);
    vectors_release(&q);
    ak_epoch_close(epoch);
}

TEST(index_image, of_another_shape_is_refused)
{
    struct ak_err err = {0};
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_clustered(200, DIMENSION, 20, 1);
    struct ak_index *index = open_index(AK_METRIC_L2, epoch, 200, &v);
    struct ak_buf bytes = write_blob(index);
    struct ak_image *image = open_copy(&bytes);
    struct ak_index *loaded = NULL;
    struct ak_index_options options = load_options(AK_METRIC_L2, epoch);
    options.dimension++;
    CHECK_RC(AK_CORRUPT, ak_index_load(&options, image, &loaded, &err));
    options = load_options(AK_METRIC_COSINE, epoch);
    CHECK_RC(AK_CORRUPT, ak_index_load(&options, image, &loaded, &err));
    options = load_options(AK_METRIC_L2, epoch);
    options.params.m = 8;
    CHECK_RC(AK_CORRUPT, ak_index_load(&options, image, &loaded, &err));
    CHECK(loaded == NULL);
    ak_buf_release(&bytes);
    ak_image_close(image);
    ak_index_close(index);
    vectors_release(&v);
    ak_epoch_close(epoch);
}

/* What a forged image can still be: loaded, with bad answers; then nothing may go wrong but them.
 */
static void use_forged(struct ak_index *index, const struct vectors *v)
{
    struct ak_err err = {0};
    for (uint32_t i = 0; i < 5; i++) {
        struct ak_hit hits[20];
        uint32_t count = 0;
        struct ak_index_query query = {.vector = vectors_row(v, i), .k = 20, .ef = 30};
        CHECK_OK(ak_index_search(index, &query, hits, &count, NULL, &err));
        CHECK(count <= 20);
    }
    if (ak_index_thaw(index, &err) == AK_OK) {
        index_add_rows(index, v, 0, 60);
        (void)ak_index_build_some(index, 1000);
        for (uint32_t slot = 0; slot < 300; slot += 3) {
            ak_index_remove(index, slot);
        }
        CHECK_OK(ak_index_repair(index, &err));
    }
}

TEST(index_image, damaged_bytes_are_refused_or_do_no_harm)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_clustered(1700, DIMENSION, 20, 1);
    struct ak_index *index = open_lively(AK_METRIC_COSINE, epoch, &v);
    struct ak_buf bytes = write_blob(index);
    struct ak_rand rand;
    ak_rand_seed(&rand, ak_test_seed());
    struct ak_image *whole = open_copy(&bytes);
    uint32_t refused = 0;
    for (int round = 0; round < 300; round++) {
        static const uint32_t kinds[] = {AK_IMAGE_INDEX_STATE, AK_IMAGE_LINKS,    AK_IMAGE_LEVELS,
                                         AK_IMAGE_UPPER,       AK_IMAGE_DELETED,  AK_IMAGE_FREE,
                                         AK_IMAGE_PENDING,     AK_IMAGE_SCALES,   AK_IMAGE_VECTORS,
                                         AK_IMAGE_CODES,       AK_IMAGE_QUANTIZER};
        struct ak_err err = {0};
        struct ak_image_section section;
        uint32_t kind = kinds[ak_rand_below(&rand, sizeof kinds / sizeof kinds[0])];
        if (!ak_image_find(whole, kind, &section)) {
            continue;
        }
        char *copy = ak_alloc(bytes.len);
        memcpy(copy, bytes.p, bytes.len);
        for (uint64_t n = ak_rand_below(&rand, 4) + 1; n > 0; n--) {
            uint64_t at = section.file_at + ak_rand_below(&rand, section.len);
            static const char values[] = {0, 1, 2, 7, 16, 127, (char)-128, (char)-1};
            copy[at] = values[ak_rand_below(&rand, sizeof values)];
        }
        struct ak_image *image = NULL;
        struct ak_index *loaded = NULL;
        CHECK_OK(ak_image_open_blob(copy, bytes.len, &image, &err));
        struct ak_index_options options = load_options(AK_METRIC_COSINE, epoch);
        enum ak_rc rc = ak_index_load(&options, image, &loaded, &err);
        if (rc == AK_OK) {
            use_forged(loaded, &v);
            ak_index_close(loaded);
        } else {
            CHECK(rc == AK_CORRUPT || rc == AK_UNSUPPORTED);
            refused++;
        }
        ak_image_close(image);
    }
    CHECK(refused > 0);
    ak_image_close(whole);
    ak_buf_release(&bytes);
    ak_index_close(index);
    vectors_release(&v);
    ak_epoch_close(epoch);
}

#ifdef AK_FAULTS
TEST(index_image, no_failed_allocation_breaks_freezing_writing_loading_or_thawing)
{
    struct ak_epoch *epoch = ak_epoch_open();
    struct vectors v = vectors_clustered(1700, DIMENSION, 20, 1);
    struct ak_index *index = open_lively(AK_METRIC_COSINE, epoch, &v);
    bool fired = true;
    for (int64_t nth = 0; fired; nth++) {
        struct ak_err err = {0};
        struct ak_buf bytes = {0};
        struct ak_image_writer *writer = NULL;
        ak_fault_alloc_at(nth);
        enum ak_rc rc = ak_index_freeze(index, &err);
        if (rc == AK_OK) {
            rc = ak_image_create_blob(&bytes, &writer, &err);
            if (rc == AK_OK) {
                rc = ak_index_write(index, writer, &err);
                if (rc == AK_OK) {
                    rc = ak_image_commit(writer, NULL, &err);
                } else {
                    ak_image_abort(writer);
                }
            }
            ak_index_unfreeze(index);
        }
        CHECK(rc == AK_OK || ak_fault_alloc_fired());
        if (rc == AK_OK) {
            struct ak_image *image = NULL;
            struct ak_index *loaded = NULL;
            char *copy = ak_alloc(bytes.len);
            memcpy(copy, bytes.p, bytes.len);
            rc = ak_image_open_blob(copy, bytes.len, &image, &err);
            struct ak_index_options options = load_options(AK_METRIC_COSINE, epoch);
            if (rc == AK_OK) {
                rc = ak_index_load(&options, image, &loaded, &err);
            }
            if (rc == AK_OK) {
                rc = ak_index_thaw(loaded, &err);
                CHECK(rc == AK_OK || rc == AK_NOMEM);
                ak_fault_alloc_at(rc == AK_OK ? nth + 1000000 : -1);
                CHECK_OK(ak_index_thaw(loaded, &err));
                (void)index_checked(loaded);
                ak_index_close(loaded);
            }
            fired = rc != AK_OK;
            ak_image_close(image);
        }
        ak_fault_alloc_at(-1);
        ak_buf_release(&bytes);
    }
    (void)index_checked(index);
    ak_index_close(index);
    vectors_release(&v);
    ak_epoch_close(epoch);
}
#endif

TEST_MAIN()
