/* What goes in comes out, bit for bit, in every form. */
#include "base/json.h"
#include "base/sync.h"
#include "unit/snapshot_world.h"

static void round_trip(uint32_t dimension, size_t count, const struct ak_snapshot_options *options)
{
    struct world w;
    struct ak_snapshot_meta meta;
    struct ak_snapshot_meta found;
    world_open(&w, dimension, count, false);
    CHECK_OK(take(&w, 1, options, &meta));
    CHECK_OK(ak_snapshot_get(w.store, &w.info.id, &meta.id, &w.strings, &found, &err));
    CHECK_INT(found.vector_count, count);
    CHECK(found.lossless && found.max_error == 0.0);
    check_same(&w, &found);
    world_close(&w);
}

TEST(snapshot, ten_thousand_documents_come_back_bit_for_bit_as_parquet)
{
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
    round_trip(33, 10000, &options);
}

TEST(snapshot, ten_thousand_documents_come_back_bit_for_bit_as_json)
{
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_JSON);
    round_trip(33, 10000, &options);
}

TEST(snapshot, row_groups_and_batches_end_anywhere)
{
    static const size_t counts[] = {1, 2, 6, 7, 8, 1023, 1024, 1025, 2049};
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        options.row_group_rows = 7;
        round_trip(3, counts[i], &options);
        options.row_group_rows = 0;
        round_trip(3, counts[i], &options);
        options.format = AK_SNAPSHOT_JSON;
        round_trip(3, counts[i], &options);
        options.format = AK_SNAPSHOT_PARQUET;
    }
}

TEST(snapshot, every_dimension_comes_back)
{
    static const uint32_t dimensions[] = {1, 2, 7, 8, 9, 512, 1536, AK_DIMENSION_MAX};
    for (size_t i = 0; i < sizeof dimensions / sizeof dimensions[0]; i++) {
        struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
        round_trip(dimensions[i], 20, &options);
        options.format = AK_SNAPSHOT_JSON;
        round_trip(dimensions[i], 20, &options);
    }
}

TEST(snapshot, every_compression_and_both_lossless_encodings_come_back)
{
    for (int codec = 0; codec < AK_CODEC_COUNT; codec++) {
        for (int encoding = AK_SNAPSHOT_LOSSLESS; encoding <= AK_SNAPSHOT_PLAIN; encoding++) {
            struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
            options.compression = (enum ak_codec)codec;
            options.encoding = (enum ak_snapshot_encoding)encoding;
            round_trip(64, 500, &options);
        }
    }
}

TEST(snapshot, a_pool_gives_the_same_bytes)
{
    struct ak_pool *pool = NULL;
    const struct ak_pool_options two = {.name = "snap", .threads = 2};
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
    struct ak_snapshot_meta alone;
    struct ak_snapshot_meta pooled;
    struct world w;
    world_open(&w, 128, 5000, false);
    world_image_file(&w);
    CHECK_OK(ak_pool_open(&two, &pool, &err));
    CHECK_OK(take(&w, 1, &options, &alone));
    options.pool = pool;
    CHECK_OK(take(&w, 2, &options, &pooled));
    CHECK(memcmp(alone.data.sha256, pooled.data.sha256, 32) == 0);
    CHECK(memcmp(alone.image.sha256, pooled.image.sha256, 32) == 0);
    check_same(&w, &pooled);
    ak_pool_close(pool);
    world_close(&w);
}

TEST(snapshot, lossy_encodings_give_the_same_bytes_with_a_pool_and_of_a_handful_of_values_too)
{
    struct ak_pool *pool = NULL;
    const struct ak_pool_options three = {.name = "snap", .threads = 3};
    CHECK_OK(ak_pool_open(&three, &pool, &err));
    for (int i = 0; i < 4; i++) {
        struct world w;
        struct ak_snapshot_meta alone;
        struct ak_snapshot_meta pooled;
        struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
        world_open(&w, i < 2 ? 64 : 3, i < 2 ? 2100 : 7, true); /* q8 with codes, and without */
        options.encoding = i % 2 ? AK_SNAPSHOT_Q8 : AK_SNAPSHOT_BF16;
        options.row_group_rows = 1000; /* the last group is small */
        CHECK_OK(take(&w, 1, &options, &alone));
        options.pool = pool;
        CHECK_OK(take(&w, 2, &options, &pooled));
        CHECK(memcmp(alone.data.sha256, pooled.data.sha256, 32) == 0);
        CHECK(alone.max_error == pooled.max_error);
        struct compare compare = {.w = &w, .is_lossy = true};
        CHECK_OK(ak_snapshot_read(w.store, &pooled, compare_rows, &compare, &err));
        CHECK_INT(compare.at, w.count);
        CHECK(compare.max_error == pooled.max_error);
        world_close(&w);
    }
    ak_pool_close(pool);
}

TEST(snapshot, a_lossy_encoding_states_the_error_that_it_makes)
{
    for (int encoding = AK_SNAPSHOT_BF16; encoding <= AK_SNAPSHOT_Q8; encoding++) {
        struct world w;
        struct ak_snapshot_meta meta;
        struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
        world_open(&w, 100, 3000, true);
        world_image_blob(&w);
        options.encoding = (enum ak_snapshot_encoding)encoding;
        options.row_group_rows = 1000;
        CHECK_OK(take(&w, 1, &options, &meta));
        CHECK(!meta.lossless && meta.max_error > 0 && meta.max_error < 0.1);
        struct compare compare = {.w = &w, .is_lossy = true};
        CHECK_OK(ak_snapshot_read(w.store, &meta, compare_rows, &compare, &err));
        CHECK_INT(compare.at, w.count);
        CHECK(compare.max_error == meta.max_error);
        struct ak_snapshot_report report;
        CHECK_OK(ak_snapshot_verify(w.store, &meta, NULL, NULL, &report, &err));
        CHECK_INT(report.rows, w.count);
        world_close(&w);
    }
}

TEST(snapshot, coarser_encodings_are_smaller)
{
    uint64_t bytes[4];
    struct world w;
    world_open(&w, 128, 4000, true);
    for (int encoding = 0; encoding < 4; encoding++) {
        struct ak_snapshot_meta meta;
        struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
        options.encoding = (enum ak_snapshot_encoding)encoding;
        CHECK_OK(take(&w, 10 + (unsigned)encoding, &options, &meta));
        bytes[encoding] = meta.data.bytes;
    }
    CHECK(bytes[AK_SNAPSHOT_LOSSLESS] < bytes[AK_SNAPSHOT_PLAIN]);
    CHECK(bytes[AK_SNAPSHOT_BF16] * 3 < bytes[AK_SNAPSHOT_LOSSLESS] * 2);
    CHECK(bytes[AK_SNAPSHOT_Q8] < bytes[AK_SNAPSHOT_BF16]);
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_JSON);
    struct ak_snapshot_meta meta;
    CHECK_OK(take(&w, 20, &options, &meta));
    CHECK(meta.data.bytes > 2 * bytes[AK_SNAPSHOT_LOSSLESS]);
    world_close(&w);
}

TEST(snapshot, an_image_comes_back_as_the_same_file)
{
    for (int is_blob = 0; is_blob < 2; is_blob++) {
        char path[1024];
        struct world w;
        struct ak_snapshot_meta meta;
        struct ak_snapshot_report report;
        struct ak_buf back;
        struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
        world_open(&w, 20, 700, false);
        if (is_blob) {
            world_image_blob(&w);
        } else {
            world_image_file(&w);
        }
        CHECK_OK(take(&w, 1, &options, &meta));
        CHECK(meta.has_image && meta.image.bytes == w.image.len);
        CHECK_INT(meta.size_bytes, meta.data.bytes + meta.image.bytes);
        (void)snprintf(path, sizeof path, "%s/back.akx", ak_test_dir());
        CHECK_OK(ak_snapshot_fetch_image(w.store, &meta, ak_fs_posix(), path, NULL, NULL, &err));
        ak_buf_init(&back, 0);
        CHECK_OK(ak_fs_read_all(ak_fs_posix(), path, 1u << 30, &back, &err));
        CHECK(ak_str_eq(ak_buf_str(&back), ak_buf_str(&w.image)));
        ak_buf_release(&back);
        CHECK_OK(ak_snapshot_verify(w.store, &meta, NULL, NULL, &report, &err));
        CHECK_INT(report.rows, 700);
        CHECK_INT(report.vectors_held, 700);
        CHECK_INT(report.bytes, meta.size_bytes);
        world_close(&w);
    }
}

TEST(snapshot, no_image_is_made_or_fetched_where_there_is_none)
{
    struct world w;
    struct ak_snapshot_meta meta;
    struct ak_snapshot_report report;
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
    world_open(&w, 20, 30, false);
    CHECK_OK(take(&w, 1, &options, &meta));
    CHECK(!meta.has_image);
    CHECK_RC(AK_NOT_FOUND,
             ak_snapshot_fetch_image(w.store, &meta, ak_fs_posix(), "/nowhere", NULL, NULL, &err));
    CHECK_OK(ak_snapshot_verify(w.store, &meta, NULL, NULL, &report, &err));
    CHECK_INT(report.vectors_held, 0);
    world_image_blob(&w);
    options.no_image = true;
    CHECK_OK(take(&w, 2, &options, &meta));
    CHECK(!meta.has_image);
    CHECK_INT(objects_in(w.store, ""), 4);
    world_close(&w);
}

struct job {
    struct world *w;
    unsigned n;
    struct ak_snapshot_options options;
    struct ak_snapshot_meta meta;
    struct ak_arena strings;
    enum ak_rc rc;
};

static void take_one(void *arg)
{
    struct job *job = arg;
    struct ak_uuid id = id_of(job->n);
    job->rc = ak_snapshot_write(job->w->store, &id, &job->w->source, &job->options, AT_US,
                                &job->strings, NULL, NULL, &job->meta, NULL);
    if (job->rc == AK_OK) {
        job->rc = ak_snapshot_commit(job->w->store, &job->meta, NULL);
    }
}

TEST(snapshot, several_at_once_are_each_whole)
{
    struct world w;
    struct job jobs[6];
    struct ak_thread threads[6] = {0};
    struct ak_pool *pool = NULL;
    const struct ak_pool_options two = {.name = "snap", .threads = 2};
    struct ak_snapshot_meta *list = NULL;
    size_t count = 0;
    world_open(&w, 16, 900, false);
    world_image_file(&w);
    CHECK_OK(ak_pool_open(&two, &pool, &err));
    for (unsigned i = 0; i < 6; i++) {
        jobs[i] = (struct job){.w = &w, .n = 100 + i};
        jobs[i].options = options_of(i % 2 ? AK_SNAPSHOT_JSON : AK_SNAPSHOT_PARQUET);
        jobs[i].options.pool = i < 4 ? pool : NULL;
        ak_arena_init(&jobs[i].strings, 0);
        CHECK_OK(ak_thread_start(&threads[i], "taker", take_one, &jobs[i], &err));
    }
    for (unsigned i = 0; i < 6; i++) {
        ak_thread_join(&threads[i]);
        CHECK_INT(jobs[i].rc, AK_OK);
        check_same(&w, &jobs[i].meta);
        ak_arena_release(&jobs[i].strings);
    }
    CHECK_OK(ak_snapshot_list(w.store, &w.info.id, &w.strings, &list, &count, NULL, &err));
    CHECK_INT(count, 6);
    ak_pool_close(pool);
    world_close(&w);
}

/* --- Export and import --- */

static enum ak_rc into_file(void *ctx, const void *p, size_t len, struct ak_err *e)
{
    (void)e;
    return fwrite(p, 1, len, ctx) == len ? AK_OK : AK_IO;
}

TEST(snapshot, an_export_imports_as_the_same_documents)
{
    for (int encoding = 0; encoding < 4; encoding++) {
        char path[1024];
        struct world w;
        double max_error = -1;
        struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
        options.encoding = (enum ak_snapshot_encoding)encoding;
        options.row_group_rows = 300;
        world_open(&w, 40, 1000, true);
        (void)snprintf(path, sizeof path, "%s/t.parquet", ak_test_dir());
        FILE *file = fopen(path, "wb");
        CHECK(file != NULL);
        CHECK_OK(
            ak_snapshot_export(&w.source, &options, into_file, file, NULL, NULL, &max_error, &err));
        CHECK(fclose(file) == 0);
        struct compare compare = {.w = &w, .is_lossy = encoding >= AK_SNAPSHOT_BF16};
        CHECK_OK(ak_snapshot_import(ak_fs_posix(), path, 40, compare_rows, &compare, &err));
        CHECK_INT(compare.at, 1000);
        CHECK(compare.max_error == max_error);
        CHECK_RC(AK_INVALID, ak_snapshot_import(ak_fs_posix(), path, 41, ignore_rows, NULL, &err));
        world_close(&w);
    }
}

TEST(snapshot, what_is_no_parquet_is_not_imported)
{
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/t.parquet", ak_test_dir());
    CHECK(ak_snapshot_import(ak_fs_posix(), path, 4, ignore_rows, NULL, &err) == AK_NOT_FOUND);
    CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), path, AK_STR("id,vector\n1,2\n"), &err));
    CHECK_RC(AK_CORRUPT, ak_snapshot_import(ak_fs_posix(), path, 4, ignore_rows, NULL, &err));
}

TEST_MAIN()
