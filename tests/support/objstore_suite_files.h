/* objstore_suite_files.h — the part of the suite of stores that moves local files; included by
 * objstore_suite.h and by nothing else. */
#pragma once

struct told {
    uint64_t calls;
    uint64_t last;
    uint64_t total;
    uint64_t stop_at; /* 0: never */
    bool went_back;
};

static bool on_told(void *ctx, uint64_t done, uint64_t total)
{
    struct told *told = ctx;
    told->went_back = told->went_back || done < told->last || done > total;
    told->calls++;
    told->last = done;
    told->total = total;
    return told->stop_at == 0 || done < told->stop_at;
}

static void check_file(const char *path, struct ak_str want)
{
    struct ak_buf out;
    ak_buf_init(&out, 0);
    CHECK_OK(ak_fs_read_all(ak_fs_posix(), path, AK_BUF_MAX_DEFAULT, &out, &err));
    CHECK(ak_str_eq(ak_buf_str(&out), want));
    ak_buf_release(&out);
}

static void round_trip(struct ak_objstore *store, size_t size)
{
    char *bytes = random_bytes(size);
    struct ak_str want = {bytes, size};
    struct told up = {0};
    struct told down = {0};
    struct ak_fs *fs = ak_fs_posix();
    struct ak_str key = key_of("file.bin");
    CHECK_OK(ak_fs_write_atomic(fs, file_of("up"), want, &err));
    CHECK_OK(ak_objstore_put_file(store, key, fs, file_of("up"), on_told, &up, &err));
    CHECK(!up.went_back && up.last == size && up.total == size);
    check_object(store, key, want);
    CHECK_OK(ak_objstore_get_file(store, key, fs, file_of("down"), on_told, &down, &err));
    CHECK(!down.went_back && down.last == size && down.total == size);
    check_file(file_of("down"), want);
    CHECK_OK(ak_objstore_link_file(store, key, fs, file_of("linked"), NULL, NULL, &err));
    check_file(file_of("linked"), want);
    /* Neither local file is the object: what is removed here stays there. */
    CHECK_OK(ak_fs_remove(fs, file_of("up"), &err));
    CHECK_OK(ak_fs_remove(fs, file_of("linked"), &err));
    check_object(store, key, want);
    CHECK(!file_is_there(file_of("down.part")));
    CHECK(!file_is_there(file_of("linked.part")));
    ak_free(bytes);
}

STORE_TEST(files_of_any_size_go_up_and_come_down_the_same)
{
    struct ak_objstore *store = begin();
    static const size_t sizes[] = {0, 1, 100000, (9u << 20) + 12345};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        round_trip(store, sizes[i]);
    }
    suite_close(store);
}

STORE_TEST(a_large_object_goes_up_and_comes_down_the_same)
{
    struct ak_objstore *store = begin();
    round_trip(store, OBJSTORE_SUITE_LARGE);
    CHECK_OK(ak_objstore_remove(store, key_of("file.bin"), &err));
    suite_close(store);
}

STORE_TEST(a_file_is_replaced_whole_and_the_object_keeps_its_bytes)
{
    struct ak_objstore *store = begin();
    struct ak_fs *fs = ak_fs_posix();
    put_bytes(store, "object", AK_STR("from the store"));
    CHECK_OK(ak_fs_write_atomic(fs, file_of("f"), AK_STR("old, and much longer than it"), &err));
    CHECK_OK(ak_objstore_get_file(store, key_of("object"), fs, file_of("f"), NULL, NULL, &err));
    check_file(file_of("f"), AK_STR("from the store"));
    /* A part that a crash left, even one that is the object itself, is not written through. */
    CHECK_OK(
        ak_objstore_link_file(store, key_of("object"), fs, file_of("g.part"), NULL, NULL, &err));
    put_bytes(store, "object2", AK_STR("2"));
    CHECK_OK(ak_objstore_get_file(store, key_of("object2"), fs, file_of("g"), NULL, NULL, &err));
    check_file(file_of("g"), AK_STR("2"));
    CHECK_OK(ak_objstore_link_file(store, key_of("object2"), fs, file_of("g"), NULL, NULL, &err));
    check_file(file_of("g"), AK_STR("2"));
    check_object(store, key_of("object"), AK_STR("from the store"));
    /* The same file again, and another over it. */
    CHECK_OK(ak_objstore_put_file(store, key_of("object"), fs, file_of("g"), NULL, NULL, &err));
    CHECK_OK(ak_objstore_put_file(store, key_of("object"), fs, file_of("g"), NULL, NULL, &err));
    check_object(store, key_of("object"), AK_STR("2"));
    CHECK_OK(ak_objstore_put_file(store, key_of("object"), fs, file_of("f"), NULL, NULL, &err));
    check_object(store, key_of("object"), AK_STR("from the store"));
    CHECK_RC(AK_INVALID,
             ak_objstore_put_file(store, key_of("none"), fs, file_of("none"), NULL, NULL, &err));
    CHECK(!is_there(store, key_of("none")));
    suite_close(store);
}

STORE_TEST(a_transfer_that_is_cancelled_leaves_nothing)
{
    struct ak_objstore *store = begin();
    struct ak_fs *fs = ak_fs_posix();
    size_t size = 9u << 20;
    char *bytes = random_bytes(size);
    struct told told = {.stop_at = 0};
    CHECK_OK(ak_fs_write_atomic(fs, file_of("up"), (struct ak_str){bytes, size}, &err));
    CHECK_OK(ak_objstore_put_file(store, key_of("whole"), fs, file_of("up"), NULL, NULL, &err));
    told.stop_at = 1;
    CHECK_RC(AK_CONFLICT, ak_objstore_get_file(store, key_of("whole"), fs, file_of("down"), on_told,
                                               &told, &err));
    CHECK(strstr(err.text, "cancelled"));
    CHECK(!file_is_there(file_of("down")) && !file_is_there(file_of("down.part")));
    told = (struct told){.stop_at = 1};
    enum ak_rc rc =
        ak_objstore_put_file(store, key_of("stopped"), fs, file_of("up"), on_told, &told, &err);
    CHECK(rc == AK_CONFLICT || rc == AK_OK); /* a link is made before anyone can say no */
    CHECK(is_there(store, key_of("stopped")) == (rc == AK_OK));
    ak_free(bytes);
    suite_close(store);
}
