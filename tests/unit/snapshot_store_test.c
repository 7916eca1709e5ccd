/* Snapshots as a store holds them: list, get, commit, remove, sweep, and the plain errors. */
#include "unit/snapshot_world.h"

static void put(struct world *w, const char *key)
{
    CHECK_OK(ak_objstore_put(w->store, ak_str_of(key), AK_STR("x"), NULL, &err));
}

static const char *key_text(unsigned n, const char *suffix)
{
    static char key[160];
    char folder[AK_UUID_TEXT_LEN];
    char name[AK_UUID_TEXT_LEN];
    struct ak_uuid collection = id_of(77);
    struct ak_uuid id = id_of(n);
    ak_uuid_format(&collection, folder);
    ak_uuid_format(&id, name);
    (void)snprintf(key, sizeof key, "snapshots/%.36s/%.36s%s", folder, name, suffix);
    return key;
}

TEST(snapshot, an_empty_collection_is_refused)
{
    struct world w;
    struct ak_snapshot_meta meta;
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
    world_open(&w, 4, 0, false);
    CHECK_RC(AK_INVALID, take(&w, 1, &options, &meta));
    CHECK(strstr(err.text, "is empty") != NULL);
    CHECK_INT(objects_in(w.store, ""), 0);
    world_close(&w);
}

TEST(snapshot, mixed_dimensions_are_refused_with_the_first_offender)
{
    struct world w;
    struct ak_snapshot_meta meta;
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
    world_open(&w, 4, 10, false);
    uint32_t dimensions[10] = {4, 4, 4, 4, 4, 4, 3, 4, 9, 4};
    w.source.dimensions = dimensions;
    CHECK_RC(AK_INVALID, take(&w, 1, &options, &meta));
    CHECK(strstr(err.text, "vector 6 has 3 dimensions, the collection has 4") != NULL);
    CHECK_INT(objects_in(w.store, ""), 0);
    dimensions[6] = dimensions[8] = 4;
    CHECK_OK(take(&w, 1, &options, &meta));
    world_close(&w);
}

TEST(snapshot, one_vector_is_enough)
{
    struct world w;
    struct ak_snapshot_meta meta;
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
    world_open(&w, 4, 1, false);
    CHECK_OK(take(&w, 1, &options, &meta));
    check_same(&w, &meta);
    world_close(&w);
}

TEST(snapshot, the_metadata_says_what_was_stored)
{
    struct world w;
    struct ak_snapshot_meta meta;
    struct ak_snapshot_meta back;
    struct ak_arena arena;
    struct ak_object object;
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
    world_open(&w, 4, 10, false);
    world_image_blob(&w);
    options.compression = AK_CODEC_SNAPPY;
    CHECK_OK(take(&w, 1, &options, &meta));
    CHECK_OK(ak_snapshot_get(w.store, &w.info.id, &meta.id, &w.strings, &back, &err));
    CHECK_INT(back.vector_count, 10);
    CHECK_INT(back.lsn, 4711);
    CHECK_INT(back.created_us, AT_US);
    CHECK_INT(back.compression, AK_CODEC_SNAPPY);
    CHECK_INT(back.collection.metric, AK_METRIC_DOT);
    CHECK(ak_str_eq(back.collection.name, w.info.name));
    CHECK(ak_str_eq(back.akidb_version, AK_STR(AKIDB_VERSION)));
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_objstore_head(w.store, back.data.key, &arena, &object, &err));
    CHECK_INT(object.size, back.data.bytes);
    CHECK_OK(ak_objstore_head(w.store, back.image.key, &arena, &object, &err));
    CHECK_INT(object.size, back.image.bytes);
    ak_arena_release(&arena);
    world_close(&w);
}

TEST(snapshot, an_unknown_one_is_not_found)
{
    struct world w;
    struct ak_snapshot_meta meta;
    struct ak_uuid id = id_of(404);
    world_open(&w, 4, 1, false);
    CHECK_RC(AK_NOT_FOUND, ak_snapshot_get(w.store, &w.info.id, &id, &w.strings, &meta, &err));
    CHECK(strstr(err.text, "404") != NULL || strstr(err.text, "no snapshot") != NULL);
    CHECK_OK(ak_snapshot_remove(w.store, &w.info.id, &id, &err)); /* gone already */
    world_close(&w);
}

TEST(snapshot, a_list_is_newest_first)
{
    static const unsigned order[] = {30, 10, 50, 20, 40};
    struct world w;
    struct ak_snapshot_meta meta;
    struct ak_snapshot_meta *list = NULL;
    size_t count = 7;
    world_open(&w, 4, 3, false);
    CHECK_OK(ak_snapshot_list(w.store, &w.info.id, &w.strings, &list, &count, NULL, &err));
    CHECK_INT(count, 0);
    for (size_t i = 0; i < 5; i++) {
        struct ak_snapshot_options options =
            options_of(i % 2 ? AK_SNAPSHOT_JSON : AK_SNAPSHOT_PARQUET);
        CHECK_OK(take(&w, order[i], &options, &meta));
    }
    put(&w, key_text(60, ".parquet")); /* not committed */
    put(&w, key_text(5, ".metadata.json.bak"));
    CHECK_OK(ak_snapshot_list(w.store, &w.info.id, &w.strings, &list, &count, NULL, &err));
    CHECK_INT(count, 5);
    for (unsigned i = 0; i < 5; i++) {
        struct ak_uuid want = id_of(50 - 10 * i);
        CHECK(ak_uuid_eq(&list[i].id, &want));
    }
    struct ak_uuid other = id_of(78);
    CHECK_OK(ak_snapshot_list(w.store, &other, &w.strings, &list, &count, NULL, &err));
    CHECK_INT(count, 0);
    world_close(&w);
}

TEST(snapshot, one_that_is_damaged_hides_no_other)
{
    struct world w;
    struct ak_snapshot_meta meta;
    struct ak_snapshot_meta *list = NULL;
    struct ak_snapshot_damages damages = {.count = 99};
    size_t count = 0;
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_JSON);
    world_open(&w, 4, 3, false);
    for (unsigned i = 1; i <= 5; i++) {
        CHECK_OK(take(&w, i, &options, &meta));
    }
    put(&w, key_text(2, ".metadata.json")); /* no JSON */
    struct ak_buf other;
    ak_buf_init(&other, 0);
    CHECK_OK(ak_objstore_get(w.store, ak_str_of(key_text(1, ".metadata.json")), &other, &err));
    CHECK_OK(ak_objstore_put(w.store, ak_str_of(key_text(4, ".metadata.json")), ak_buf_str(&other),
                             NULL, &err)); /* another's */
    ak_buf_release(&other);
    CHECK_OK(ak_snapshot_list(w.store, &w.info.id, &w.strings, &list, &count, &damages, &err));
    CHECK_INT(count, 3);
    static const unsigned whole[] = {5, 3, 1};
    static const unsigned bad[] = {4, 2};
    for (size_t i = 0; i < 3; i++) {
        struct ak_uuid want = id_of(whole[i]);
        CHECK(ak_uuid_eq(&list[i].id, &want));
    }
    CHECK_INT(damages.count, 2);
    for (size_t i = 0; i < 2; i++) {
        struct ak_uuid want = id_of(bad[i]);
        CHECK(ak_uuid_eq(&damages.items[i].id, &want));
        CHECK(ak_str_eq(damages.items[i].key, ak_str_of(key_text(bad[i], ".metadata.json"))));
        CHECK(damages.items[i].why.len > 20);
    }
    CHECK_OK(ak_snapshot_list(w.store, &w.info.id, &w.strings, &list, &count, NULL, &err));
    CHECK_INT(count, 3);
    world_close(&w);
}

TEST(snapshot, a_list_goes_over_many_pages)
{
    struct world w;
    struct ak_snapshot_meta meta;
    struct ak_snapshot_meta *list = NULL;
    size_t count = 0;
    uint64_t removed = 0;
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_JSON);
    world_open(&w, 2, 1, false);
    for (unsigned i = 0; i < 1200; i++) { /* 2,400 objects */
        CHECK_OK(take(&w, i + 1, &options, &meta));
    }
    CHECK_OK(ak_snapshot_list(w.store, &w.info.id, &w.strings, &list, &count, NULL, &err));
    CHECK_INT(count, 1200);
    for (unsigned i = 0; i < 1200; i++) {
        struct ak_uuid want = id_of(1200 - i);
        CHECK(ak_uuid_eq(&list[i].id, &want));
    }
    CHECK_OK(ak_snapshot_sweep(w.store, &w.info.id, NULL, 0, INT64_MAX, &removed, &err));
    CHECK_INT(removed, 0);
    world_close(&w);
}

TEST(snapshot, removing_leaves_nothing_and_reading_then_fails)
{
    struct world w;
    struct ak_snapshot_meta meta;
    struct ak_snapshot_meta other;
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
    world_open(&w, 4, 5, false);
    world_image_blob(&w);
    CHECK_OK(take(&w, 1, &options, &meta));
    CHECK_OK(take(&w, 2, &options, &other));
    CHECK_INT(objects_in(w.store, ""), 6);
    CHECK_OK(ak_snapshot_remove(w.store, &w.info.id, &meta.id, &err));
    CHECK_INT(objects_in(w.store, ""), 3);
    CHECK_RC(AK_NOT_FOUND, ak_snapshot_get(w.store, &w.info.id, &meta.id, &w.strings, &meta, &err));
    CHECK_RC(AK_CORRUPT, ak_snapshot_read(w.store, &meta, ignore_rows, NULL, &err));
    CHECK(strstr(err.text, "is missing") != NULL);
    CHECK_OK(ak_snapshot_remove(w.store, &w.info.id, &meta.id, &err));
    check_same(&w, &other);
    world_close(&w);
}

TEST(snapshot, removing_goes_on_when_a_part_is_gone_already)
{
    struct world w;
    struct ak_snapshot_meta meta;
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
    world_open(&w, 4, 5, false);
    world_image_blob(&w);
    CHECK_OK(take(&w, 1, &options, &meta));
    CHECK_OK(ak_objstore_remove(w.store, meta.data.key, &err));
    CHECK_OK(ak_snapshot_remove(w.store, &w.info.id, &meta.id, &err));
    CHECK_INT(objects_in(w.store, ""), 0);
    world_close(&w);
}

TEST(snapshot, a_commit_may_be_repeated_but_not_changed)
{
    struct world w;
    struct ak_snapshot_meta meta;
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
    world_open(&w, 4, 5, false);
    CHECK_OK(take(&w, 1, &options, &meta));
    CHECK_OK(ak_snapshot_commit(w.store, &meta, &err));
    meta.lsn++;
    CHECK_RC(AK_EXISTS, ak_snapshot_commit(w.store, &meta, &err));
    world_close(&w);
}

TEST(snapshot, a_commit_needs_the_objects)
{
    struct world w;
    struct ak_snapshot_meta meta;
    struct ak_uuid id = id_of(1);
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
    world_open(&w, 4, 5, false);
    world_image_blob(&w);
    CHECK_OK(ak_snapshot_write(w.store, &id, &w.source, &options, AT_US, &w.strings, NULL, NULL,
                               &meta, &err));
    CHECK_OK(ak_objstore_remove(w.store, meta.image.key, &err));
    CHECK_RC(AK_CORRUPT, ak_snapshot_commit(w.store, &meta, &err));
    CHECK(strstr(err.text, ".akx' is missing") != NULL);
    CHECK_INT(objects_in(w.store, ""), 1);
    world_close(&w);
}

TEST(snapshot, a_sweep_removes_orphans_and_nothing_else)
{
    struct world w;
    struct ak_snapshot_meta meta;
    uint64_t removed = 0;
    struct ak_uuid keep[2] = {id_of(3), id_of(9)};
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
    world_open(&w, 4, 5, false);
    world_image_blob(&w);
    CHECK_OK(take(&w, 2, &options, &meta));
    put(&w, key_text(1, ".parquet"));
    put(&w, key_text(1, ".akx"));
    put(&w, key_text(3, ".parquet")); /* under way */
    put(&w, key_text(4, ".json"));
    put(&w, key_text(4, ".parquet.part")); /* not ours */
    put(&w, "snapshots/readme.txt");
    put(&w,
        "snapshots/01980000-0000-7000-8000-00000000004e/01980000-0000-7000-8000-000000000001.akx");
    CHECK_OK(ak_snapshot_sweep(w.store, &w.info.id, keep, 2, INT64_MAX, &removed, &err));
    CHECK_INT(removed, 3);
    CHECK_INT(objects_in(w.store, ""), 7);
    check_same(&w, &meta);
    CHECK_OK(ak_snapshot_sweep(w.store, &w.info.id, NULL, 0, INT64_MAX, &removed, &err));
    CHECK_INT(removed, 1);
    world_close(&w);
}

struct orphans {
    struct ak_uuid last;
    unsigned count;
    unsigned stop_at;
};

static bool found_orphans(void *ctx, const struct ak_uuid *collection)
{
    struct orphans *orphans = ctx;
    orphans->last = *collection;
    return ++orphans->count != orphans->stop_at;
}

static void put_in(struct world *w, unsigned collection, unsigned snapshot, const char *suffix)
{
    char key[160];
    char text[2][AK_UUID_TEXT_LEN];
    struct ak_uuid ids[2] = {id_of(collection), id_of(snapshot)};
    ak_uuid_format(&ids[0], text[0]);
    ak_uuid_format(&ids[1], text[1]);
    (void)snprintf(key, sizeof key, "snapshots/%.36s/%.36s%s", text[0], text[1], suffix);
    put(w, key);
}

TEST(snapshot, collections_with_orphans_are_found_in_a_store_of_many_pages)
{
    struct world w;
    struct orphans orphans = {.count = 0};
    world_open(&w, 2, 1, false);
    for (unsigned i = 1; i <= 1100; i++) { /* 2,200 objects: parts of one fall on two pages */
        put_in(&w, i, 7, ".akx");
        put_in(&w, i, 7, ".metadata.json");
    }
    put(&w, "snapshots/readme.txt");
    put(&w, "snapshots/01980000-0000-7000-8000-000000000001/readme.txt");
    put(&w, "else/01980000-0000-7000-8000-000000000001.akx");
    CHECK_OK(ak_snapshot_find_orphans(w.store, found_orphans, &orphans, &err));
    CHECK_INT(orphans.count, 0);
    put_in(&w, 5, 6, ".parquet"); /* two in one collection are one */
    put_in(&w, 5, 8, ".akx");
    put_in(&w, 900, 8, ".json");
    put_in(&w, 1100, 9, ".akx"); /* the last of all */
    CHECK_OK(ak_snapshot_find_orphans(w.store, found_orphans, &orphans, &err));
    CHECK_INT(orphans.count, 3);
    struct ak_uuid last = id_of(1100);
    CHECK(ak_uuid_eq(&orphans.last, &last));
    orphans = (struct orphans){.stop_at = 2};
    CHECK_OK(ak_snapshot_find_orphans(w.store, found_orphans, &orphans, &err));
    CHECK_INT(orphans.count, 2);
    world_close(&w);
}

struct stopper {
    unsigned after;
    unsigned calls;
    double last;
};

static bool count_down(void *ctx, double fraction)
{
    struct stopper *stopper = ctx;
    CHECK(fraction >= 0 && fraction <= 1);
    stopper->last = fraction;
    return stopper->calls++ < stopper->after;
}

TEST(snapshot, one_that_is_cancelled_leaves_nothing)
{
    for (int format = 0; format < 2; format++) {
        unsigned done = 0;
        for (unsigned after = 0; !done; after++) {
            struct world w;
            struct ak_snapshot_meta meta;
            struct ak_uuid id = id_of(1);
            struct stopper stopper = {.after = after};
            struct ak_snapshot_options options = options_of((enum ak_snapshot_format)format);
            options.row_group_rows = 1000;
            world_open(&w, 4, 4000, false);
            world_image_blob(&w);
            enum ak_rc rc = ak_snapshot_write(w.store, &id, &w.source, &options, AT_US, &w.strings,
                                              count_down, &stopper, &meta, &err);
            done = rc == AK_OK;
            if (!done) {
                CHECK_INT(rc, AK_CONFLICT);
                CHECK_INT(objects_in(w.store, ""), 0);
            } else {
                CHECK(after >= 4 && stopper.last > 0);
            }
            world_close(&w);
        }
    }
}

static enum ak_rc fail_at_half(void *ctx, uint64_t from, size_t count, struct ak_document *rows,
                               struct ak_err *e)
{
    struct world *w = ctx;
    return from >= w->count / 2 ? ak_fail(e, AK_IO, "the disk is gone")
                                : read_docs(ctx, from, count, rows, e);
}

TEST(snapshot, a_source_that_fails_leaves_nothing)
{
    struct world w;
    struct ak_snapshot_meta meta;
    world_open(&w, 4, 4000, false);
    world_image_blob(&w);
    w.source.read = fail_at_half;
    for (int format = 0; format < 2; format++) {
        struct ak_snapshot_options options = options_of((enum ak_snapshot_format)format);
        CHECK_RC(AK_IO, take(&w, 1, &options, &meta));
        CHECK(strstr(err.text, "the disk is gone") != NULL);
        CHECK_INT(objects_in(w.store, ""), 0);
    }
    world_close(&w);
}

TEST(snapshot, a_damaged_or_missing_image_is_not_stored)
{
    struct world w;
    struct ak_snapshot_meta meta;
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
    world_open(&w, 4, 400, false);
    world_image_file(&w);
    w.image.p[w.image.len / 2] ^= 1;
    CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), w.source.image_path, ak_buf_str(&w.image), &err));
    CHECK_RC(AK_CORRUPT, take(&w, 1, &options, &meta));
    CHECK_INT(objects_in(w.store, ""), 0);
    CHECK_OK(ak_fs_remove(ak_fs_posix(), w.source.image_path, &err));
    CHECK_RC(AK_NOT_FOUND, take(&w, 1, &options, &meta));
    CHECK_INT(objects_in(w.store, ""), 0);
    world_close(&w);
}

TEST(snapshot, a_number_that_is_not_finite_fits_no_json)
{
    struct world w;
    struct ak_snapshot_meta meta;
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_JSON);
    world_open(&w, 4, 10, false);
    w.vectors[4 * 7 + 2] = INFINITY;
    CHECK_RC(AK_INVALID, take(&w, 1, &options, &meta));
    CHECK(strstr(err.text, "vector 7") != NULL);
    world_close(&w);
}

TEST(snapshot, the_folder_store_holds_snapshots_too)
{
    char root[1024];
    char path[1100];
    struct world w;
    struct ak_snapshot_meta meta;
    struct ak_snapshot_report report;
    struct ak_snapshot_meta *list = NULL;
    size_t count = 0;
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
    world_open(&w, 64, 3000, false);
    world_image_file(&w);
    ak_objstore_close(w.store);
    (void)snprintf(root, sizeof root, "%s/objects", ak_test_dir());
    CHECK_OK(ak_objstore_open_dir(ak_fs_posix(), root, &w.store, &err));
    CHECK_OK(take(&w, 1, &options, &meta));
    ak_objstore_close(w.store);
    CHECK_OK(ak_objstore_open_dir(ak_fs_posix(), root, &w.store, &err));
    CHECK_OK(ak_snapshot_list(w.store, &w.info.id, &w.strings, &list, &count, NULL, &err));
    CHECK_INT(count, 1);
    check_same(&w, &list[0]);
    CHECK_OK(ak_snapshot_verify(w.store, &list[0], NULL, NULL, &report, &err));
    CHECK_INT(report.vectors_held, 3000);
    (void)snprintf(path, sizeof path, "%s/back.akx", ak_test_dir());
    CHECK_OK(ak_snapshot_fetch_image(w.store, &list[0], ak_fs_posix(), path, NULL, NULL, &err));
    CHECK_OK(ak_snapshot_remove(w.store, &w.info.id, &list[0].id, &err));
    CHECK_INT(objects_in(w.store, ""), 0);
    world_close(&w);
}

TEST_MAIN()
