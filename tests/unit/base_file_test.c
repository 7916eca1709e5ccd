/* base_file_test.c — the file seam: POSIX, the helpers, the failing decorator; and the simulated
 * power cut, which other tests stand on. */
#include "base/file.h"
#include "base/rand.h"
#include "support/powercut.h"
#include "support/test.h"
#include "support/wal_files.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static char place[512];

static const char *at(const char *name)
{
    log_path(ak_test_dir(), name, place);
    return place;
}

static struct ak_file *open_file(struct ak_fs *fs, const char *name, unsigned flags)
{
    struct ak_err err;
    struct ak_file *file = NULL;
    CHECK_OK(ak_fs_open(fs, at(name), flags, &file, &err));
    return file;
}

TEST(file, what_is_written_is_read_back_and_the_end_is_short)
{
    struct ak_err err;
    struct ak_file *file = open_file(ak_fs_posix(), "a", AK_OPEN_WRITE | AK_OPEN_CREATE);
    char bytes[16] = {0};
    size_t got = 99;
    uint64_t size = 0;
    CHECK_OK(ak_file_write(file, 3, "hello", 5, &err));
    CHECK_OK(ak_file_sync(file, &err));
    CHECK_OK(ak_file_size(file, &size, &err));
    CHECK_INT(size, 8);
    CHECK_OK(ak_file_read(file, 4, bytes, sizeof bytes, &got, &err));
    CHECK_INT(got, 4);
    CHECK(memcmp(bytes, "ello", 4) == 0);
    CHECK_OK(ak_file_read(file, 8, bytes, 1, &got, &err));
    CHECK_INT(got, 0);
    CHECK_OK(ak_file_read_exact(file, 0, bytes, 8, &err));
    CHECK(memcmp(bytes, "\0\0\0hello", 8) == 0);
    CHECK_RC(AK_CORRUPT, ak_file_read_exact(file, 5, bytes, 8, &err));
    CHECK(strstr(err.text, "ends at byte 8"));
    CHECK_RC(AK_INVALID, ak_file_write(file, UINT64_MAX - 1, "x", 1, &err));
    CHECK(fcntl(ak_file_fd(file), F_GETFD) & FD_CLOEXEC);
    ak_file_close(file);
    ak_file_close(NULL);
}

TEST(file, allocate_extends_with_zeros_and_truncate_cuts)
{
    struct ak_err err;
    struct ak_file *file = open_file(ak_fs_posix(), "a", AK_OPEN_WRITE | AK_OPEN_CREATE);
    char bytes[8];
    uint64_t size = 0;
    CHECK_OK(ak_file_write(file, 0, "12345678", 8, &err));
    CHECK_OK(ak_file_allocate(file, 0, 100000, &err));
    CHECK_OK(ak_file_allocate(file, 0, 0, &err));
    CHECK_OK(ak_file_size(file, &size, &err));
    CHECK_INT(size, 100000);
    CHECK_OK(ak_file_read_exact(file, 0, bytes, 8, &err));
    CHECK(memcmp(bytes, "12345678", 8) == 0);
    CHECK_OK(ak_file_read_exact(file, 99992, bytes, 8, &err));
    CHECK(memcmp(bytes, "\0\0\0\0\0\0\0\0", 8) == 0);
    CHECK_OK(ak_file_truncate(file, 4, &err));
    CHECK_RC(AK_CORRUPT, ak_file_read_exact(file, 0, bytes, 5, &err));
    ak_file_close(file);
}

TEST(file, open_flags_do_what_they_say)
{
    struct ak_err err;
    struct ak_fs *fs = ak_fs_posix();
    struct ak_file *file = NULL;
    uint64_t size = 0;
    CHECK_RC(AK_NOT_FOUND, ak_fs_open(fs, at("a"), AK_OPEN_READ, &file, &err));
    CHECK_RC(AK_NOT_FOUND, ak_fs_open(fs, at("a"), AK_OPEN_WRITE, &file, &err));
    file = open_file(fs, "a", AK_OPEN_WRITE | AK_OPEN_CREATE | AK_OPEN_EXCLUSIVE);
    CHECK_OK(ak_file_write(file, 0, "abc", 3, &err));
    ak_file_close(file);
    file = NULL;
    unsigned exclusive = AK_OPEN_WRITE | AK_OPEN_CREATE | AK_OPEN_EXCLUSIVE;
    CHECK_RC(AK_EXISTS, ak_fs_open(fs, at("a"), exclusive, &file, &err));
    CHECK(file == NULL);
    ak_file_close(open_file(fs, "a", AK_OPEN_WRITE | AK_OPEN_CREATE));
    CHECK_OK(ak_fs_stat(fs, at("a"), &size, &err));
    CHECK_INT(size, 3);
    ak_file_close(open_file(fs, "a", AK_OPEN_WRITE | AK_OPEN_TRUNCATE));
    CHECK_OK(ak_fs_stat(fs, at("a"), &size, &err));
    CHECK_INT(size, 0);
}

static bool count_names(void *ctx, struct ak_str name)
{
    int *count = ctx;
    (*count)++;
    return name.len > 0 && *count < 2;
}

TEST(file, folders_are_made_listed_and_synced)
{
    struct ak_err err;
    struct ak_fs *fs = ak_fs_posix();
    uint64_t size = 0;
    int count = 0;
    CHECK_OK(ak_fs_make_dirs(fs, at("x/y//z/"), &err));
    CHECK_OK(ak_fs_make_dirs(fs, at("x/y/z"), &err));
    CHECK_OK(ak_fs_stat(fs, at("x/y/z"), &size, &err));
    CHECK_OK(ak_fs_make_dir(fs, at("x"), &err));
    CHECK_OK(ak_fs_sync_dir(fs, at("x"), &err));
    CHECK_OK(ak_fs_list(fs, at("x/y/z"), count_names, &count, &err));
    CHECK_INT(count, 0);
    ak_file_close(open_file(fs, "x/1", AK_OPEN_WRITE | AK_OPEN_CREATE));
    ak_file_close(open_file(fs, "x/2", AK_OPEN_WRITE | AK_OPEN_CREATE));
    CHECK_OK(ak_fs_list(fs, at("x"), count_names, &count, &err));
    CHECK_INT(count, 2); /* of three: the callback ended it */
    CHECK(ak_fs_make_dirs(fs, at("x/1/below"), &err) != AK_OK);
    CHECK(ak_fs_make_dir(fs, at("x/1"), &err) != AK_OK);
    CHECK_RC(AK_INVALID, ak_fs_make_dirs(fs, "", &err));
    CHECK_RC(AK_NOT_FOUND, ak_fs_list(fs, at("none"), count_names, &count, &err));
    CHECK_RC(AK_NOT_FOUND, ak_fs_list(fs, at("x/1"), count_names, &count, &err));
    CHECK(strstr(err.text, "no folder"));
    CHECK_RC(AK_NOT_FOUND, ak_fs_sync_dir(fs, at("none"), &err));
    CHECK_RC(AK_NOT_FOUND, ak_fs_remove(fs, at("none"), &err));
    CHECK_OK(ak_fs_free_bytes(fs, at(""), &size, &err));
    CHECK(size > 0);
    CHECK_OK(ak_fs_make_dirs(fs, "/", &err));
    CHECK_OK(ak_fs_make_dirs(fs, ".", &err));
}

TEST(file, a_link_is_a_second_name_and_replaces_nothing)
{
    struct ak_err err;
    struct ak_fs *fs = ak_fs_posix();
    uint64_t size = 0;
    char *a = ak_strdup_n(at("a"), strlen(at("a")));
    char *b = ak_strdup_n(at("b"), strlen(at("b")));
    CHECK_RC(AK_NOT_FOUND, ak_fs_link(fs, a, b, &err));
    CHECK_OK(ak_fs_write_atomic(fs, a, AK_STR("abc"), &err));
    CHECK_OK(ak_fs_link(fs, a, b, &err));
    CHECK_RC(AK_EXISTS, ak_fs_link(fs, a, b, &err));
    CHECK_OK(ak_fs_remove(fs, a, &err));
    CHECK_OK(ak_fs_stat(fs, b, &size, &err));
    CHECK_INT(size, 3);
    CHECK_RC(AK_UNSUPPORTED, ak_fs_link(fs, "/proc/self/status", a, &err));
    CHECK(strstr(err.text, "second name"));
    ak_free(a);
    ak_free(b);
}

TEST(file, only_an_empty_folder_is_removed)
{
    struct ak_err err;
    struct ak_fs *fs = ak_fs_posix();
    uint64_t size = 0;
    CHECK_OK(ak_fs_make_dirs(fs, at("x/y"), &err));
    CHECK_RC(AK_CONFLICT, ak_fs_remove_dir(fs, at("x"), &err));
    CHECK_OK(ak_fs_remove_dir(fs, at("x/y"), &err));
    CHECK_OK(ak_fs_remove_dir(fs, at("x"), &err));
    CHECK_RC(AK_NOT_FOUND, ak_fs_stat(fs, at("x"), &size, &err));
    CHECK_RC(AK_NOT_FOUND, ak_fs_remove_dir(fs, at("x"), &err));
}

TEST(file, links_and_folders_fail_where_the_fault_says_so)
{
    struct ak_err err;
    struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
    struct ak_fs *fs = ak_fs_fault_fs(fault);
    char *a = ak_strdup_n(at("a"), strlen(at("a")));
    uint64_t size = 0;
    CHECK_OK(ak_fs_write_atomic(fs, a, AK_STR("abc"), &err));
    CHECK_OK(ak_fs_make_dir(fs, at("x"), &err));
    ak_fs_fault_set(fault, AK_FS_RENAME, 0, EIO, false);
    CHECK_RC(AK_IO, ak_fs_link(fs, a, at("b"), &err));
    CHECK_RC(AK_NOT_FOUND, ak_fs_stat(fs, at("b"), &size, &err));
    CHECK_OK(ak_fs_link(fs, a, at("b"), &err));
    ak_fs_fault_set(fault, AK_FS_REMOVE, 0, EIO, false);
    CHECK_RC(AK_IO, ak_fs_remove_dir(fs, at("x"), &err));
    CHECK_OK(ak_fs_remove_dir(fs, at("x"), &err));
    ak_fs_fault_close(fault);
    ak_free(a);
}

TEST(file, read_all_keeps_to_its_ceiling)
{
    struct ak_err err;
    struct ak_fs *fs = ak_fs_posix();
    struct ak_buf out;
    ak_buf_init(&out, 0);
    CHECK_OK(ak_fs_write_atomic(fs, at("a"), AK_STR("0123456789"), &err));
    CHECK_RC(AK_TOO_BIG, ak_fs_read_all(fs, at("a"), 9, &out, &err));
    CHECK_INT(out.len, 0);
    ak_buf_add_str(&out, AK_STR("before:"));
    CHECK_OK(ak_fs_read_all(fs, at("a"), 10, &out, &err));
    CHECK(ak_str_eq(ak_buf_str(&out), AK_STR("before:0123456789")));
    CHECK_RC(AK_NOT_FOUND, ak_fs_read_all(fs, at("b"), 10, &out, &err));
    ak_buf_release(&out);
}

TEST(file, an_atomic_write_that_fails_anywhere_leaves_the_old_or_the_new_bytes)
{
    struct ak_err err;
    struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
    struct ak_fs *fs = ak_fs_fault_fs(fault);
    bool has_fired = true;
    int refused = 0;
    for (int64_t n = 0; has_fired; n++) {
        struct ak_buf now;
        uint64_t size = 0;
        CHECK_OK(ak_fs_write_atomic(fs, at("a"), AK_STR("old"), &err));
        ak_fs_fault_set(fault, AK_FS_ANY, n, EIO, false);
        enum ak_rc rc = ak_fs_write_atomic(fs, at("a"), AK_STR("new and longer"), &err);
        has_fired = ak_fs_fault_fired(fault);
        ak_fs_fault_set(fault, 0, -1, 0, false);
        CHECK((rc == AK_OK) == !has_fired);
        refused += has_fired;
        ak_buf_init(&now, 0);
        CHECK_OK(ak_fs_read_all(fs, at("a"), 100, &now, &err));
        CHECK(ak_str_eq(ak_buf_str(&now), AK_STR("new and longer")) ||
              (rc != AK_OK && ak_str_eq(ak_buf_str(&now), AK_STR("old"))));
        CHECK_RC(AK_NOT_FOUND, ak_fs_stat(fs, at("a.tmp"), &size, &err));
        ak_buf_release(&now);
    }
    CHECK_INT(refused, 5); /* open, write, sync, rename, sync of the folder */
    ak_fs_fault_close(fault);
}

TEST(file, the_fault_fails_the_nth_operation_of_its_kind_once_or_from_then_on)
{
    struct ak_err err;
    struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
    struct ak_file *file = open_file(ak_fs_fault_fs(fault), "a", AK_OPEN_WRITE | AK_OPEN_CREATE);
    uint64_t size = 0;
    ak_fs_fault_set(fault, AK_FS_WRITE | AK_FS_SYNC, 2, ENOSPC, false);
    CHECK_OK(ak_file_write(file, 0, "1234", 4, &err));
    CHECK_OK(ak_file_allocate(file, 0, 4, &err));
    CHECK_OK(ak_file_sync(file, &err));
    CHECK(!ak_fs_fault_fired(fault));
    CHECK_RC(AK_NO_SPACE, ak_file_write(file, 4, "5678", 4, &err));
    CHECK(ak_fs_fault_fired(fault));
    CHECK_OK(ak_file_size(file, &size, &err));
    CHECK_INT(size, 6); /* half of it had been written */
    CHECK_OK(ak_file_sync(file, &err));
    ak_fs_fault_set(fault, AK_FS_SYNC, 0, EIO, true);
    CHECK_RC(AK_IO, ak_file_sync(file, &err));
    CHECK_RC(AK_IO, ak_file_sync(file, &err));
    CHECK_OK(ak_file_write(file, 0, "x", 1, &err));
    ak_fs_fault_set(fault, AK_FS_ANY, -1, 0, false);
    CHECK_OK(ak_file_sync(file, &err));
    CHECK(!ak_fs_fault_fired(fault));
    ak_file_close(file);
    ak_fs_fault_close(fault);
}

/* ---- The simulated power cut ---- */

struct outcome {
    bool is_there;
    struct ak_buf bytes;
};

static void look(const char *dir, const char *name, struct outcome *outcome)
{
    struct ak_err err;
    char path[512];
    log_path(dir, name, path);
    ak_buf_init(&outcome->bytes, 0);
    enum ak_rc rc = ak_fs_read_all(ak_fs_posix(), path, 1u << 20, &outcome->bytes, &err);
    CHECK(rc == AK_OK || rc == AK_NOT_FOUND);
    outcome->is_there = rc == AK_OK;
}

TEST(powercut, an_atomic_write_is_old_or_new_at_every_cut_and_new_once_it_has_returned)
{
    struct ak_err err;
    struct ak_rand rand;
    char *live = ak_strdup_n(at("live"), strlen(at("live")));
    char *out = ak_strdup_n(at("out"), strlen(at("out")));
    char path[512];
    ak_rand_seed(&rand, ak_test_seed());
    CHECK_OK(ak_fs_make_dir(ak_fs_posix(), live, &err));
    log_file_write(live, "a", AK_STR("old"));
    struct powercut *cut = powercut_open(ak_fs_posix(), live);
    log_path(live, "a", path);
    CHECK_OK(ak_fs_write_atomic(powercut_fs(cut), path, AK_STR("new"), &err));
    size_t ops = powercut_ops(cut);
    CHECK_INT(ops, 5); /* create, write, sync, rename, sync of the folder */
    bool seen_old_late = false;
    for (size_t i = 0; i <= ops; i++) {
        for (int variant = 0; variant < 40; variant++) {
            static const enum powercut_mode modes[] = {POWERCUT_ALL, POWERCUT_NONE, POWERCUT_RANDOM,
                                                       POWERCUT_MIXED};
            struct outcome outcome;
            powercut_image(cut, i, modes[variant % 4], &rand, out);
            look(out, "a", &outcome);
            bool is_old = ak_str_eq(ak_buf_str(&outcome.bytes), AK_STR("old"));
            bool is_new = ak_str_eq(ak_buf_str(&outcome.bytes), AK_STR("new"));
            CHECK(outcome.is_there && (is_old || is_new));
            CHECK(i < ops || is_new);
            CHECK(i > 3 || is_old);
            seen_old_late = seen_old_late || (i == 4 && is_old);
            ak_buf_release(&outcome.bytes);
        }
    }
    CHECK(seen_old_late);
    powercut_close(cut);
    ak_free(live);
    ak_free(out);
}

TEST(powercut, unsynced_sectors_are_lost_one_by_one_and_synced_ones_never)
{
    struct ak_err err;
    struct ak_rand rand;
    char *live = ak_strdup_n(at("live"), strlen(at("live")));
    char *out = ak_strdup_n(at("out"), strlen(at("out")));
    char bytes[4096];
    int states[4] = {0}; /* of sectors 0 and 1: lost or kept */
    ak_rand_seed(&rand, ak_test_seed());
    CHECK_OK(ak_fs_make_dir(ak_fs_posix(), live, &err));
    struct powercut *cut = powercut_open(ak_fs_posix(), live);
    struct ak_fs *fs = powercut_fs(cut);
    struct ak_file *file = NULL;
    CHECK_OK(ak_fs_make_dirs(fs, at("live/sub"), &err));
    CHECK_OK(ak_fs_open(fs, at("live/sub/f"), AK_OPEN_WRITE | AK_OPEN_CREATE, &file, &err));
    memset(bytes, 'a', sizeof bytes);
    CHECK_OK(ak_file_write(file, 0, bytes, sizeof bytes, &err));
    CHECK_OK(ak_file_sync(file, &err));
    CHECK_OK(ak_fs_sync_dir(fs, at("live/sub"), &err));
    memset(bytes, 'b', sizeof bytes);
    CHECK_OK(ak_file_write(file, 0, bytes, 1024, &err));
    for (int i = 0; i < 200; i++) {
        struct outcome outcome;
        powercut_image(cut, powercut_ops(cut), POWERCUT_RANDOM, &rand, out);
        look(out, "sub/f", &outcome);
        const char *p = outcome.bytes.p;
        CHECK(outcome.is_there && outcome.bytes.len == sizeof bytes);
        for (size_t n = 0; n < sizeof bytes; n++) {
            CHECK(n < 1024 ? p[n] == p[n / 512 * 512] && (p[n] == 'a' || p[n] == 'b')
                           : p[n] == 'a');
        }
        states[(p[0] == 'b') + 2 * (p[512] == 'b')]++;
        ak_buf_release(&outcome.bytes);
    }
    CHECK(states[0] && states[1] && states[2] && states[3]);
    ak_file_close(file);
    powercut_close(cut);
    ak_free(live);
    ak_free(out);
}

TEST(powercut, a_link_counts_once_its_folder_is_synced)
{
    struct ak_err err;
    struct ak_rand rand;
    char *live = ak_strdup_n(at("live"), strlen(at("live")));
    char *out = ak_strdup_n(at("out"), strlen(at("out")));
    char *outside = ak_strdup_n(at("outside"), strlen(at("outside")));
    int seen = 0;
    ak_rand_seed(&rand, ak_test_seed());
    CHECK_OK(ak_fs_make_dir(ak_fs_posix(), live, &err));
    CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), outside, AK_STR("abc"), &err));
    struct powercut *cut = powercut_open(ak_fs_posix(), live);
    struct ak_fs *fs = powercut_fs(cut);
    CHECK_OK(ak_fs_link(fs, outside, at("live/a"), &err));
    CHECK_OK(ak_fs_make_dir(fs, at("live/x"), &err));
    CHECK_OK(ak_fs_remove_dir(fs, at("live/x"), &err));
    size_t linked = powercut_ops(cut);
    CHECK_OK(ak_fs_sync_dir(fs, live, &err));
    for (int i = 0; i < 80; i++) {
        struct outcome outcome;
        uint64_t size = 0;
        bool is_synced = i % 2;
        powercut_image(cut, linked + is_synced, POWERCUT_RANDOM, &rand, out);
        look(out, "a", &outcome);
        CHECK(!outcome.is_there || ak_str_eq(ak_buf_str(&outcome.bytes), AK_STR("abc")));
        CHECK(outcome.is_there || !is_synced);
        seen |= is_synced ? 0 : 1 << outcome.is_there;
        CHECK(!is_synced || ak_fs_stat(ak_fs_posix(), at("out/x"), &size, &err) == AK_NOT_FOUND);
        ak_buf_release(&outcome.bytes);
    }
    CHECK_INT(seen, 3);
    powercut_close(cut);
    ak_free(live);
    ak_free(out);
    ak_free(outside);
}

TEST_MAIN()
