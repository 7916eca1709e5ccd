/* objstore_dirfiles_test.c — what the dir store leaves on the disk: names, folders, temporary files
 * of stores that died, files of others, failures of the file system. */
#include "base/fault.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/sync.h"
#include "objstore/objstore.h"
#include "support/quickfs.h"
#include "support/test.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct ak_err err;

static const char *path_of(const char *name)
{
    static char paths[4][4096];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", ak_test_dir(), name);
    return path;
}

static struct ak_objstore *open_in(struct ak_fs *fs, const char *name)
{
    struct ak_objstore *store = NULL;
    CHECK_OK(ak_objstore_open_dir(fs, path_of(name), &store, &err));
    return store;
}

static void put(struct ak_objstore *store, const char *key, const char *text)
{
    CHECK_OK(ak_objstore_put(store, ak_str_of(key), ak_str_of(text), NULL, &err));
}

static void check(struct ak_objstore *store, const char *key, const char *text)
{
    struct ak_buf out;
    ak_buf_init(&out, 0);
    CHECK_OK(ak_objstore_get(store, ak_str_of(key), &out, &err));
    CHECK_STR(ak_buf_cstr(&out), text);
    ak_buf_release(&out);
}

static size_t count_keys(struct ak_objstore *store)
{
    struct ak_arena arena;
    struct ak_object *objects = NULL;
    size_t count = 0;
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_objstore_list(store, AK_STR(""), AK_STR(""), 1000, &arena, &objects, &count, &err));
    ak_arena_release(&arena);
    return count;
}

static bool is_there(const char *name)
{
    struct stat st;
    return stat(path_of(name), &st) == 0;
}

static void write_file(const char *name, const char *text)
{
    CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), path_of(name), ak_str_of(text), &err));
}

static bool count_name(void *ctx, struct ak_str name)
{
    *(size_t *)ctx += !ak_str_has_suffix(name, AK_STR(".lock"));
    return true;
}

/* Temporary files, without locks. */
static size_t count_tmp(const char *root)
{
    size_t count = 0;
    char path[256];
    (void)snprintf(path, sizeof path, "%s/.tmp", root);
    CHECK_OK(ak_fs_list(ak_fs_posix(), path_of(path), count_name, &count, &err));
    return count;
}

TEST(dirfiles, ordinary_keys_are_the_paths_that_they_look_like)
{
    static const char *const same[] = {"snapshots/0193-ab/0194-cd.parquet",
                                       "snapshots/0193-ab/0194-cd.metadata.json",
                                       "a/b c/\xc3\xa9.txt", "year=2024/month=01/part-0.parquet"};
    static const char *const other[][2] = {
        {"readme", "readme%."},         {"v1.0/x.txt", "v1%2E0/x.txt"}, {".x/.y", "%2Ex/%2Ey%."},
        {"100%.txt", "100%25.txt"},     {"a%/b", "a%25/b%."},           {"...", "%2E.."},
        {"dir/file%.", "dir/file%25."}, {".tmp/x.y", "%2Etmp/x.y"}};
    struct ak_objstore *store = open_in(ak_fs_posix(), "o");
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        char path[256];
        (void)snprintf(path, sizeof path, "o/%s", same[i]);
        put(store, same[i], "x");
        CHECK(is_there(path));
    }
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        char path[256];
        (void)snprintf(path, sizeof path, "o/%s", other[i][1]);
        put(store, other[i][0], other[i][0]);
        CHECK(is_there(path));
        check(store, other[i][0], other[i][0]);
    }
    CHECK_INT(count_keys(store), sizeof same / sizeof *same + sizeof other / sizeof *other);
    ak_objstore_close(store);
}

TEST(dirfiles, files_of_others_are_neither_listed_nor_in_the_way)
{
    struct ak_objstore *store = open_in(ak_fs_posix(), "o");
    put(store, "a/b.txt", "object");
    CHECK_OK(ak_fs_make_dirs(ak_fs_posix(), path_of("o/a/folder.with.dots/x"), &err));
    CHECK_OK(ak_fs_make_dirs(ak_fs_posix(), path_of("o/%+/%+"), &err));
    write_file("o/a/no-dot", "a file where this store has folders");
    write_file("o/a/.hidden.txt", "x");
    write_file("o/a/bad%zz.txt", "x");
    write_file("o/a/short%2", "x");
    write_file("o/a/fine.txt%.", "would be fine.txt");
    write_file("o/a/line\nbreak.txt", "x");
    write_file("o/a/\xff.txt", "x");
    write_file("o/%+/%+/x.y", "no key is so long");
    write_file("o/a/folder.with.dots/x/y.z", "x");
    CHECK_INT(count_keys(store), 1);
    struct ak_buf out;
    ak_buf_init(&out, 0);
    CHECK_RC(AK_NOT_FOUND, ak_objstore_get(store, AK_STR("a/folder.with.dots"), &out, &err));
    CHECK(ak_objstore_put(store, AK_STR("a/no-dot/x.y"), AK_STR("x"), NULL, &err) != AK_OK);
    CHECK_OK(ak_objstore_remove(store, AK_STR("a/b.txt"), &err));
    CHECK(is_there("o/a/.hidden.txt")); /* the folder is not ours alone */
    ak_objstore_close(store);
}

TEST(dirfiles, folders_go_with_their_last_object_and_come_back)
{
    struct ak_objstore *store = open_in(ak_fs_posix(), "o");
    for (int i = 0; i < 3; i++) {
        put(store, "x/y/z/1.txt", "1");
        put(store, "x/y/2.txt", "2");
        CHECK_OK(ak_objstore_remove(store, AK_STR("x/y/z/1.txt"), &err));
        CHECK(!is_there("o/x/y/z") && is_there("o/x/y"));
        CHECK_OK(ak_objstore_remove(store, AK_STR("x/y/2.txt"), &err));
        CHECK(!is_there("o/x") && is_there("o"));
    }
    ak_objstore_close(store);
    CHECK_INT(count_tmp("o"), 0);
}

struct churn {
    struct ak_objstore *store;
    int number;
    struct ak_err err;
    enum ak_rc rc;
};

/* Objects of one folder come and go, so that it does too, under the puts of other threads. */
static void run_churn(void *arg)
{
    struct churn *churn = arg;
    char key[64];
    int len = snprintf(key, sizeof key, "deep/er/%d.txt", churn->number);
    struct ak_str name = {key, (size_t)len};
    for (int i = 0; i < 300 && churn->rc == AK_OK; i++) {
        churn->rc = ak_objstore_put(churn->store, name, AK_STR("x"), NULL, &churn->err);
        if (churn->rc == AK_OK && (i < 299 || churn->number % 2)) {
            churn->rc = ak_objstore_remove(churn->store, name, &churn->err);
        }
    }
}

TEST(dirfiles, a_folder_that_is_removed_under_a_put_is_made_again)
{
    struct ak_objstore *store = open_in(quickfs(), "o");
    struct churn churns[6];
    struct ak_thread threads[6] = {0};
    for (int i = 0; i < 6; i++) {
        churns[i] = (struct churn){.store = store, .number = i};
        CHECK_OK(ak_thread_start(&threads[i], "churn", run_churn, &churns[i], &err));
    }
    for (int i = 0; i < 6; i++) {
        ak_thread_join(&threads[i]);
    }
    for (int i = 0; i < 6; i++) { /* all have ended: a failed check leaves this function */
        CHECK_STR(churns[i].rc ? churns[i].err.text : "", "");
    }
    CHECK_INT(count_keys(store), 3);
    ak_objstore_close(store);
}

TEST(dirfiles, what_a_dead_store_left_is_removed_at_the_next_open)
{
    const char *root = path_of("o"); /* the child has no harness: it must not check */
    pid_t pid = fork();
    if (pid == 0) {
        struct ak_objstore *store = NULL;
        struct ak_objstore_writer *writer = NULL;
        bool is_fine =
            ak_objstore_open_dir(ak_fs_posix(), root, &store, &err) == AK_OK &&
            ak_objstore_put(store, AK_STR("kept.txt"), AK_STR("kept"), NULL, &err) == AK_OK &&
            ak_objstore_create(store, AK_STR("lost.txt"), NULL, &writer, &err) == AK_OK &&
            ak_objstore_write(writer, "half", 4, &err) == AK_OK;
        _exit(is_fine ? 0 : 1); /* as if killed: nothing is closed */
    }
    int status = -1;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    CHECK_INT(count_tmp("o"), 1);
    struct ak_objstore *store = open_in(ak_fs_posix(), "o");
    CHECK_INT(count_tmp("o"), 0);
    CHECK_INT(count_keys(store), 1);
    check(store, "kept.txt", "kept");
    ak_objstore_close(store);
    size_t left = 0;
    CHECK_OK(ak_fs_list(ak_fs_posix(), path_of("o/.tmp"), count_name, &left, &err));
    CHECK_INT(left, 0);
}

TEST(dirfiles, a_store_that_opens_leaves_the_temporary_files_of_live_ones_alone)
{
    struct ak_objstore *first = open_in(ak_fs_posix(), "o");
    struct ak_objstore_writer *writer = NULL;
    CHECK_OK(ak_objstore_create(first, AK_STR("a.txt"), NULL, &writer, &err));
    CHECK_OK(ak_objstore_write(writer, "12345", 5, &err));
    struct ak_objstore *second = open_in(ak_fs_posix(), "o");
    CHECK_INT(count_tmp("o"), 1);
    CHECK_INT(count_keys(second), 0);
    CHECK_OK(ak_objstore_commit(writer, NULL, &err));
    check(second, "a.txt", "12345");
    put(second, "a.txt", "new");
    check(first, "a.txt", "new");
    ak_objstore_close(first);
    put(second, "b.txt", "still");
    ak_objstore_close(second);
    CHECK_INT(count_tmp("o"), 0);
}

TEST(dirfiles, orphans_without_a_lock_go_and_files_of_others_in_tmp_stay)
{
    struct ak_objstore *store = open_in(ak_fs_posix(), "o");
    ak_objstore_close(store);
    write_file("o/.tmp/0123456789abcdef-7", "an orphan");
    write_file("o/.tmp/notes.txt", "somebody's");
    store = open_in(ak_fs_posix(), "o");
    CHECK(!is_there("o/.tmp/0123456789abcdef-7"));
    CHECK(is_there("o/.tmp/notes.txt"));
    ak_objstore_close(store);
}

TEST(dirfiles, an_object_opens_as_a_file_that_stays_what_it_was)
{
    struct ak_objstore *store = open_in(ak_fs_posix(), "o");
    struct ak_objstore *mem = NULL;
    struct ak_file *file = NULL;
    char bytes[4];
    CHECK_RC(AK_NOT_FOUND, ak_objstore_open_file(store, AK_STR("a/b"), &file, &err));
    CHECK_RC(AK_INVALID, ak_objstore_open_file(store, AK_STR("a//b"), &file, &err));
    CHECK_OK(ak_objstore_put(store, AK_STR("a/b"), AK_STR("old."), NULL, &err));
    CHECK_OK(ak_objstore_open_file(store, AK_STR("a/b"), &file, &err));
    CHECK_OK(ak_objstore_put(store, AK_STR("a/b"), AK_STR("new, and longer"), NULL, &err));
    CHECK_OK(ak_file_read_exact(file, 0, bytes, sizeof bytes, &err));
    CHECK(memcmp(bytes, "old.", sizeof bytes) == 0);
    ak_file_close(file);
    ak_objstore_close(store);
    CHECK_OK(ak_objstore_open_mem(NULL, &mem, &err));
    CHECK_OK(ak_objstore_put(mem, AK_STR("a"), AK_STR("x"), NULL, &err));
    CHECK_RC(AK_UNSUPPORTED, ak_objstore_open_file(mem, AK_STR("a"), &file, &err));
    ak_objstore_close(mem);
}

TEST(dirfiles, a_local_file_becomes_an_object_and_back_without_a_copy)
{
    struct ak_objstore *store = open_in(ak_fs_posix(), "o");
    struct stat a;
    struct stat b;
    struct stat c;
    write_file("image.akx", "an image");
    CHECK_OK(ak_objstore_put_file(store, AK_STR("s/image.akx"), ak_fs_posix(), path_of("image.akx"),
                                  NULL, NULL, &err));
    CHECK_OK(ak_objstore_link_file(store, AK_STR("s/image.akx"), ak_fs_posix(), path_of("back.akx"),
                                   NULL, NULL, &err));
    CHECK(stat(path_of("image.akx"), &a) == 0 && stat(path_of("o/s/image.akx"), &b) == 0 &&
          stat(path_of("back.akx"), &c) == 0);
    CHECK(a.st_ino == b.st_ino && b.st_ino == c.st_ino);
    CHECK_INT(a.st_nlink, 3);
    /* get_file gives the caller bytes of its own. */
    CHECK_OK(ak_objstore_get_file(store, AK_STR("s/image.akx"), ak_fs_posix(), path_of("own.akx"),
                                  NULL, NULL, &err));
    CHECK(stat(path_of("own.akx"), &c) == 0 && c.st_ino != a.st_ino);
    /* Another file system object: a copy, since its links may not be what they look like. */
    struct ak_fs_fault *other = ak_fs_fault_open(ak_fs_posix());
    CHECK_OK(ak_objstore_put_file(store, AK_STR("s/copy.akx"), ak_fs_fault_fs(other),
                                  path_of("image.akx"), NULL, NULL, &err));
    CHECK(stat(path_of("o/s/copy.akx"), &c) == 0 && c.st_ino != a.st_ino);
    check(store, "s/copy.akx", "an image");
    ak_fs_fault_close(other);
    ak_objstore_close(store);
}

TEST(dirfiles, a_put_that_fails_anywhere_leaves_the_old_object_or_the_new_and_no_rubbish)
{
    struct ak_fs_fault *fault = ak_fs_fault_open(quickfs());
    struct ak_objstore *store = open_in(ak_fs_fault_fs(fault), "o");
    write_file("file", "from a file");
    /* 0: new key, 1: replaced, 2: conditional, 3: writer, 4 and 5: file, new and replaced */
    for (int way = 0; way < 6; way++) {
        bool has_fired = true;
        int refused = 0;
        for (int64_t n = 0; has_fired; n++) {
            struct ak_objstore_put_options options = {.only_if_absent = way == 2};
            struct ak_objstore_writer *writer = NULL;
            struct ak_str key = AK_STR("new/folder/k.txt");
            CHECK_OK(ak_objstore_remove(store, key, &err));
            if (way == 1 || way == 5) {
                put(store, "new/folder/k.txt", "old");
            }
            ak_fs_fault_set(fault, AK_FS_ANY, n, n % 2 ? ENOSPC : EIO, false);
            enum ak_rc rc = AK_OK;
            if (way < 3) {
                rc = ak_objstore_put(store, key, AK_STR("new bytes"), &options, &err);
            } else if (way == 3) {
                rc = ak_objstore_create(store, key, NULL, &writer, &err);
                if (rc == AK_OK) {
                    rc = ak_objstore_write(writer, "new bytes", 9, &err);
                    enum ak_rc committed = ak_objstore_commit(writer, NULL, &err);
                    CHECK(rc == AK_OK || committed == rc);
                    rc = committed;
                }
            } else {
                rc = ak_objstore_put_file(store, key, ak_fs_fault_fs(fault), path_of("file"), NULL,
                                          NULL, &err);
            }
            has_fired = ak_fs_fault_fired(fault);
            ak_fs_fault_set(fault, 0, -1, 0, false);
            /* What is merely tidied up may fail unseen. */
            CHECK(rc == AK_OK || has_fired);
            CHECK(rc == AK_OK || rc == (n % 2 ? AK_NO_SPACE : AK_IO));
            CHECK(rc == AK_OK || strstr(err.text, "k.txt"));
            refused += rc != AK_OK;
            struct ak_buf out;
            ak_buf_init(&out, 0);
            enum ak_rc got = ak_objstore_get(store, key, &out, &err);
            const char *text = ak_buf_cstr(&out);
            const char *new_text = way < 4 ? "new bytes" : "from a file";
            bool is_new = got == AK_OK && strcmp(text, new_text) == 0;
            bool had_old = way == 1 || way == 5;
            CHECK(is_new || (rc != AK_OK && (had_old ? got == AK_OK && strcmp(text, "old") == 0
                                                     : got == AK_NOT_FOUND)));
            ak_buf_release(&out);
        }
        CHECK(refused >= 3);
    }
    ak_objstore_close(store);
    store = open_in(quickfs(), "o"); /* a temporary file whose removal failed goes now */
    CHECK_INT(count_tmp("o"), 0);
    ak_objstore_close(store);
    ak_fs_fault_close(fault);
}

TEST(dirfiles, reads_removals_and_downloads_that_fail_leave_things_as_they_were)
{
    struct ak_fs_fault *fault = ak_fs_fault_open(quickfs());
    struct ak_objstore *store = open_in(ak_fs_fault_fs(fault), "o");
    put(store, "a/k.txt", "bytes");
    /* 0: get, 1: range, 2: head, 3: list, 4: get_file, 5: link_file, 6: remove */
    for (int way = 0; way < 7; way++) {
        bool has_fired = true;
        for (int64_t n = 0; has_fired; n++) {
            struct ak_arena arena;
            struct ak_object object;
            struct ak_object *objects = NULL;
            struct ak_buf out;
            size_t count = 0;
            char bytes[5];
            struct ak_str key = AK_STR("a/k.txt");
            ak_arena_init(&arena, 0);
            ak_buf_init(&out, 0);
            write_file("f", "old");
            ak_fs_fault_set(fault, AK_FS_ANY, n, EIO, false);
            enum ak_rc rc = AK_OK;
            switch (way) {
            case 0:
                rc = ak_objstore_get(store, key, &out, &err);
                CHECK(rc == AK_OK || out.len == 0);
                break;
            case 1:
                rc = ak_objstore_get_range(store, key, 0, bytes, 5, &err);
                break;
            case 2:
                rc = ak_objstore_head(store, key, &arena, &object, &err);
                break;
            case 3:
                rc = ak_objstore_list(store, AK_STR(""), AK_STR(""), 9, &arena, &objects, &count,
                                      &err);
                CHECK(rc != AK_OK || count == 1);
                break;
            case 4:
                rc = ak_objstore_get_file(store, key, ak_fs_fault_fs(fault), path_of("f"), NULL,
                                          NULL, &err);
                break;
            case 5:
                rc = ak_objstore_link_file(store, key, ak_fs_fault_fs(fault), path_of("f"), NULL,
                                           NULL, &err);
                break;
            default:
                rc = ak_objstore_remove(store, key, &err);
            }
            has_fired = ak_fs_fault_fired(fault);
            ak_fs_fault_set(fault, 0, -1, 0, false);
            CHECK(rc == AK_OK || (has_fired && rc == AK_IO));
            ak_buf_clear(&out);
            if (way == 4 || way == 5) {
                enum ak_rc read = ak_fs_read_all(ak_fs_posix(), path_of("f"), 100, &out, &err);
                CHECK(read == AK_OK || (rc != AK_OK && read == AK_NOT_FOUND));
                CHECK(rc != AK_OK || strcmp(ak_buf_cstr(&out), "bytes") == 0);
                CHECK(!is_there("f.part"));
            }
            if (way == 6) {
                put(store, "a/k.txt", "bytes"); /* it works whatever was left */
            }
            check(store, "a/k.txt", "bytes");
            ak_buf_release(&out);
            ak_arena_release(&arena);
        }
    }
    ak_objstore_close(store);
    ak_fs_fault_close(fault);
}

TEST(dirfiles, an_open_that_fails_anywhere_says_why_and_can_be_tried_again)
{
    struct ak_fs_fault *fault = ak_fs_fault_open(quickfs());
    bool has_fired = true;
    int refused = 0;
    for (int64_t n = 0; has_fired; n++) {
        struct ak_objstore *store = NULL;
        char root[32];
        (void)snprintf(root, sizeof root, "o%d", (int)n);
        CHECK_OK(ak_fs_make_dirs(ak_fs_posix(), path_of(root), &err));
        char tmp[64];
        (void)snprintf(tmp, sizeof tmp, "%s/.tmp", root);
        CHECK_OK(ak_fs_make_dirs(ak_fs_posix(), path_of(tmp), &err));
        (void)snprintf(tmp, sizeof tmp, "%s/.tmp/0123456789abcdef-7", root);
        write_file(tmp, "an orphan");
        ak_fs_fault_set(fault, AK_FS_ANY, n, EIO, false);
        enum ak_rc rc = ak_objstore_open_dir(ak_fs_fault_fs(fault), path_of(root), &store, &err);
        has_fired = ak_fs_fault_fired(fault);
        ak_fs_fault_set(fault, 0, -1, 0, false);
        CHECK(rc == AK_OK || (has_fired && strstr(err.text, root)));
        refused += rc != AK_OK;
        if (rc != AK_OK) {
            store = open_in(ak_fs_fault_fs(fault), root);
        }
        CHECK(!is_there(tmp));
        put(store, "k.txt", "x");
        ak_objstore_close(store);
    }
    CHECK(refused >= 3);
    ak_fs_fault_close(fault);
}

TEST(dirfiles, a_want_of_memory_anywhere_is_no_memory_and_nothing_else)
{
    struct ak_objstore *store = open_in(quickfs(), "o");
    char *bytes = ak_zalloc(100000);
    for (int i = 0; i < 20; i++) {
        char key[64];
        (void)snprintf(key, sizeof key, "f%d/k.txt", i);
        put(store, key, "x");
    }
    CHECK_OK(ak_objstore_put(store, AK_STR("k.txt"), (struct ak_str){bytes, 100000}, NULL, &err));
    bool has_fired = true;
    for (int64_t n = 0; has_fired; n++) {
        struct ak_arena arena;
        struct ak_object *objects = NULL;
        struct ak_buf out;
        size_t count = 0;
        ak_arena_init(&arena, 0);
        ak_buf_init(&out, 0);
        ak_fault_alloc_at(n);
        enum ak_rc got = ak_objstore_get(store, AK_STR("k.txt"), &out, &err);
        enum ak_rc put_rc =
            ak_objstore_put(store, AK_STR("k.txt"), (struct ak_str){bytes, 100000}, NULL, &err);
        enum ak_rc listed =
            ak_objstore_list(store, AK_STR(""), AK_STR(""), 1000, &arena, &objects, &count, &err);
        has_fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK(got == AK_OK || got == AK_NOMEM);
        CHECK(put_rc == AK_OK || put_rc == AK_NOMEM);
        CHECK(listed == AK_NOMEM || (listed == AK_OK && count == 21));
        CHECK(out.len == (got == AK_OK ? 100000 : 0));
        CHECK(has_fired == (got != AK_OK || put_rc != AK_OK || listed != AK_OK));
        ak_arena_release(&arena);
        ak_buf_release(&out);
    }
    ak_free(bytes);
    ak_objstore_close(store);
}

TEST(dirfiles, a_path_that_is_too_long_or_no_folder_is_refused)
{
    struct ak_objstore *store = NULL;
    char *percent = ak_alloc(AK_OBJSTORE_KEY_MAX);
    memset(percent, '%', AK_OBJSTORE_KEY_MAX);
    CHECK_RC(AK_INVALID, ak_objstore_open_dir(ak_fs_posix(), "", &store, &err));
    write_file("file", "x");
    CHECK(ak_objstore_open_dir(ak_fs_posix(), path_of("file"), &store, &err) != AK_OK);
    CHECK(strstr(err.text, "open the object store in"));
    store = open_in(ak_fs_posix(), "o");
    /* Of 1024 such characters the path has 3072 bytes, which fits. */
    CHECK_OK(ak_objstore_put(store, (struct ak_str){percent, AK_OBJSTORE_KEY_MAX}, AK_STR("x"),
                             NULL, &err));
    CHECK_INT(count_keys(store), 1);
    ak_objstore_close(store);
    char *deep = ak_zalloc(2048);
    (void)snprintf(deep, 2048, "%s", path_of("deep"));
    while (strlen(deep) < 1800) {
        (void)snprintf(deep + strlen(deep), 2048 - strlen(deep), "/%0100d", 7);
    }
    CHECK_OK(ak_objstore_open_dir(ak_fs_posix(), deep, &store, &err));
    CHECK_RC(AK_INVALID, ak_objstore_put(store, (struct ak_str){percent, AK_OBJSTORE_KEY_MAX},
                                         AK_STR("x"), NULL, &err));
    CHECK(strstr(err.text, "too long"));
    ak_objstore_close(store);
    ak_free(deep);
    ak_free(percent);
}

TEST(dirfiles, a_flat_folder_of_many_is_listed_in_pages)
{
    struct ak_objstore *store = open_in(quickfs(), "o");
    for (int i = 0; i < 2500; i++) {
        char key[64];
        (void)snprintf(key, sizeof key, "flat/%05d.x", (i * 7919) % 2500);
        put(store, key, "x");
    }
    char last[64] = "";
    size_t seen = 0;
    for (size_t count = 1000; count == 1000;) {
        struct ak_arena arena;
        struct ak_object *objects = NULL;
        ak_arena_init(&arena, 0);
        CHECK_OK(ak_objstore_list(store, AK_STR("flat/"), ak_str_of(last), 1000, &arena, &objects,
                                  &count, &err));
        for (size_t i = 0; i < count; i++, seen++) {
            char want[64];
            (void)snprintf(want, sizeof want, "flat/%05zu.x", seen);
            CHECK(ak_str_eq(objects[i].key, ak_str_of(want)));
        }
        (void)snprintf(last, sizeof last, "flat/%05zu.x", seen - 1);
        ak_arena_release(&arena);
    }
    CHECK_INT(seen, 2500);
    ak_objstore_close(store);
}

TEST_MAIN()
