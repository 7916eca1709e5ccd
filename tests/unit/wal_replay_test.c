/* wal_replay_test.c — what replay accepts, cuts and refuses. */
#include "base/file.h"
#include "support/quickfs.h"
#include "support/test.h"
#include "support/wal_files.h"
#include "support/wal_records.h"
#include "wal/wal.h"

#define COUNT 28
#define GOLDEN "tests/golden/wal-v1"
#define GOLDEN_RECORDS 30

static struct log_files made;
static ak_lsn lsns[COUNT + 1]; /* of each record, and the end */

static struct ak_wal_options log_in(const char *dir)
{
    struct ak_wal_options options = small_log(quickfs(), dir);
    options.interval_ms = 3600 * 1000; /* groups are made by commits only */
    return options;
}

/* A log of COUNT records: `made` holds its files as a kill leaves them, or as close does. */
static void make_log(bool is_closed)
{
    struct ak_err err;
    struct ak_wal *wal = NULL;
    char *dir = path_in(ak_test_dir(), "made");
    struct ak_wal_options options = log_in(dir);
    ak_lsn next = 0;
    CHECK_OK(ak_wal_open(&options, 0, NULL, NULL, &wal, &err));
    for (uint64_t i = 0; i < COUNT; i++) {
        CHECK_OK(record_append(wal, i, &lsns[i], &next, &err));
        CHECK_OK(ak_wal_commit(wal, next, &err));
    }
    lsns[COUNT] = next;
    if (is_closed) {
        ak_wal_close(wal);
    }
    log_files_read(&made, dir);
    if (!is_closed) {
        ak_wal_close(wal);
    }
    ak_free(dir);
}

static enum ak_rc try_open(const char *dir, ak_lsn from, struct expected *expected,
                           struct ak_err *err)
{
    struct ak_wal *wal = NULL;
    struct ak_wal_options options = log_in(dir);
    enum ak_rc rc = ak_wal_open(&options, from, expect_record, expected, &wal, err);
    if (rc == AK_OK) {
        ak_wal_close(wal);
    }
    return rc;
}

/* Open `dir`, where records below `count` must come, append one more, and see all of them again. */
static void check_goes_on(const char *dir, uint64_t count)
{
    struct ak_err err;
    struct ak_wal *wal = NULL;
    struct ak_wal_options options = log_in(dir);
    struct expected expected = {.first = 0};
    ak_lsn lsn = 0;
    ak_lsn next = 0;
    CHECK_OK(ak_wal_open(&options, 0, expect_record, &expected, &wal, &err));
    CHECK_INT(expected.wrong, 0);
    CHECK_INT(expected.count, count);
    CHECK_OK(record_append(wal, count, &lsn, &next, &err));
    ak_wal_close(wal);
    expected = (struct expected){.first = 0};
    CHECK_OK(try_open(dir, 0, &expected, &err));
    CHECK_INT(expected.wrong, 0);
    CHECK_INT(expected.count, count + 1);
}

TEST(wal, a_tail_torn_at_any_byte_is_cut_and_the_log_goes_on)
{
    make_log(false);
    char *dir = path_in(ak_test_dir(), "torn");
    size_t at = 0;
    size_t file = log_file_of(&made, lsns[COUNT - 1], &at);
    size_t len = (size_t)(lsns[COUNT] - lsns[COUNT - 1]);
    CHECK(len > 32 && at + len <= made.bytes[file].len);
    char whole[RECORD_LEN_MAX + 64];
    memcpy(whole, made.bytes[file].p + at, len);
    for (size_t kept = 0; kept <= len; kept++) {
        memset(made.bytes[file].p + at, 0, len);
        memcpy(made.bytes[file].p + at, whole, kept);
        bool is_whole = memcmp(made.bytes[file].p + at, whole, len) == 0;
        log_files_write(&made, dir);
        check_goes_on(dir, is_whole ? COUNT : COUNT - 1);
    }
    log_files_release(&made);
    ak_free(dir);
}

TEST(wal, a_flipped_bit_in_any_byte_of_a_synced_record_is_refused_with_its_place)
{
    struct ak_err err;
    make_log(false);
    char *dir = path_in(ak_test_dir(), "flipped");
    for (uint64_t i = 0; i < COUNT - 1; i++) {
        size_t at = 0;
        size_t file = log_file_of(&made, lsns[i], &at);
        size_t end = at + 32 + (record_len(i) + 7) / 8 * 8;
        size_t step = end - at > 600 ? 17 : 1;
        char place[64];
        (void)snprintf(place, sizeof place, "damaged at byte %zu ", at);
        for (size_t byte = at; byte < end; byte += step) {
            made.bytes[file].p[byte] = (char)(made.bytes[file].p[byte] ^ (1 << (byte % 8)));
            log_files_write(&made, dir);
            struct expected expected = {.first = 0};
            CHECK_RC(AK_CORRUPT, try_open(dir, 0, &expected, &err));
            CHECK(strstr(err.text, made.name[file]) && strstr(err.text, place));
            CHECK(expected.count == i && expected.wrong == 0);
            CHECK(log_files_are_in(&made, dir));
            made.bytes[file].p[byte] = (char)(made.bytes[file].p[byte] ^ (1 << (byte % 8)));
        }
    }
    log_files_release(&made);
    ak_free(dir);
}

TEST(wal, a_flipped_bit_in_the_last_record_of_a_killed_log_cuts_it)
{
    make_log(false);
    char *dir = path_in(ak_test_dir(), "flipped");
    size_t at = 0;
    size_t file = log_file_of(&made, lsns[COUNT - 1], &at);
    size_t end = at + (size_t)(lsns[COUNT] - lsns[COUNT - 1]);
    for (size_t byte = at; byte < end; byte++) {
        made.bytes[file].p[byte] = (char)(made.bytes[file].p[byte] ^ 4);
        log_files_write(&made, dir);
        check_goes_on(dir, COUNT - 1);
        made.bytes[file].p[byte] = (char)(made.bytes[file].p[byte] ^ 4);
    }
    log_files_release(&made);
    ak_free(dir);
}

TEST(wal, a_flipped_bit_in_the_last_record_of_a_closed_log_is_refused)
{
    struct ak_err err;
    make_log(true);
    char *dir = path_in(ak_test_dir(), "flipped");
    size_t at = 0;
    size_t file = log_file_of(&made, lsns[COUNT - 1], &at);
    made.bytes[file].p[at + 9] = (char)(made.bytes[file].p[at + 9] ^ 4);
    log_files_write(&made, dir);
    struct expected expected = {.first = 0};
    CHECK_RC(AK_CORRUPT, try_open(dir, 0, &expected, &err));
    CHECK(log_files_are_in(&made, dir));
    log_files_release(&made);
    ak_free(dir);
}

TEST(wal, records_of_a_lost_group_never_come_back_behind_new_ones)
{
    struct ak_err err;
    char *dir = path_in(ak_test_dir(), "ghosts");
    char *copy = path_in(ak_test_dir(), "ghosts2");
    struct ak_wal_options options = log_in(dir);
    struct ak_wal *wal = NULL;
    ak_lsn lsn[6];
    ak_lsn next = 0;
    CHECK_OK(ak_wal_open(&options, 0, NULL, NULL, &wal, &err));
    for (uint64_t i = 0; i < 6; i++) { /* one group: the same length each */
        CHECK_OK(record_append_len(wal, i, 64, &lsn[i], &next, &err));
    }
    CHECK_OK(ak_wal_commit(wal, next, &err));
    log_files_read(&made, dir);
    ak_wal_close(wal);
    size_t at = 0;
    size_t file = log_file_of(&made, lsn[2], &at);
    made.bytes[file].p[at + 40] = (char)(made.bytes[file].p[at + 40] ^ 1);
    log_files_write(&made, copy);
    options.dir = copy;
    CHECK_OK(ak_wal_open(&options, 0, NULL, NULL, &wal, &err));
    ak_lsn again = 0;
    CHECK_OK(record_append_len(wal, 77, 64, &again, &next, &err));
    CHECK_OK(ak_wal_commit(wal, next, &err));
    CHECK(again == lsn[2] && next == lsn[3]); /* the lost record 3 stood right behind it */
    log_files_release(&made);
    log_files_read(&made, copy);
    ak_wal_close(wal);
    log_files_write(&made, dir);
    options.dir = dir;
    CHECK_OK(ak_wal_open(&options, 0, NULL, NULL, &wal, &err));
    struct ak_wal_stats stats;
    ak_wal_stats(wal, &stats);
    CHECK_INT(stats.end, lsn[3]);
    ak_wal_close(wal);
    log_files_release(&made);
    ak_free(dir);
    ak_free(copy);
}

TEST(wal, a_record_inside_a_payload_is_never_taken_for_a_record)
{
    struct ak_err err;
    make_log(true);
    char *dir = path_in(ak_test_dir(), "inside");
    struct ak_wal_options options = log_in(dir);
    struct ak_wal *wal = NULL;
    ak_lsn lsn = 0;
    ak_lsn next = 0;
    CHECK_OK(ak_wal_open(&options, 0, NULL, NULL, &wal, &err));
    CHECK_OK(record_append(wal, 0, &lsn, &next, &err));
    /* The records of the other log come to lie at their very LSNs, telling what had been synced. */
    size_t at = 0;
    size_t file = log_file_of(&made, lsns[1], &at);
    CHECK(next == lsns[1] && lsns[4] < 8192);
    struct ak_str part = {made.bytes[file].p + at + 32, (size_t)(lsns[4] - lsns[1]) - 32};
    CHECK_OK(ak_wal_append(wal, 7, &part, 1, &lsn, &next, &err));
    CHECK_OK(ak_wal_commit(wal, next, &err));
    static struct log_files files;
    log_files_read(&files, dir);
    ak_wal_close(wal);
    file = log_file_of(&files, lsn, &at);
    files.bytes[file].p[at] = (char)(files.bytes[file].p[at] ^ 1);
    log_files_write(&files, dir);
    CHECK_OK(ak_wal_open(&options, 0, NULL, NULL, &wal, &err));
    struct ak_wal_stats stats;
    ak_wal_stats(wal, &stats);
    CHECK_INT(stats.end, lsn);
    ak_wal_close(wal);
    log_files_release(&files);
    log_files_release(&made);
    ak_free(dir);
}

TEST(wal, a_damaged_segment_header_is_refused_by_name)
{
    struct ak_err err;
    make_log(true);
    char *dir = path_in(ak_test_dir(), "header");
    for (size_t i = 0; i < made.count; i++) {
        if (strlen(made.name[i]) != 20) {
            continue;
        }
        for (size_t byte = 0; byte < 44; byte++) {
            made.bytes[i].p[byte] = (char)(made.bytes[i].p[byte] ^ 2);
            log_files_write(&made, dir);
            struct expected expected = {.first = 0};
            CHECK_RC(AK_CORRUPT, try_open(dir, 0, &expected, &err));
            CHECK(strstr(err.text, made.name[i]));
            CHECK(log_files_are_in(&made, dir));
            made.bytes[i].p[byte] = (char)(made.bytes[i].p[byte] ^ 2);
        }
    }
    log_files_release(&made);
    ak_free(dir);
}

TEST(wal, a_missing_or_shortened_segment_is_refused)
{
    struct ak_err err;
    make_log(true);
    char *dir = path_in(ak_test_dir(), "missing");
    char path[512];
    size_t at = 0;
    size_t second = log_file_of(&made, 8192, &at);
    struct expected expected = {.first = 0};
    log_files_write(&made, dir);
    log_path(dir, made.name[second], path);
    CHECK_OK(ak_fs_remove(ak_fs_posix(), path, &err));
    CHECK_RC(AK_CORRUPT, try_open(dir, 0, &expected, &err));
    CHECK(strstr(err.text, "is missing"));
    log_file_write(dir, made.name[second], ak_str_sub(ak_buf_str(&made.bytes[second]), 0, 8000));
    expected = (struct expected){.first = 0};
    CHECK_RC(AK_CORRUPT, try_open(dir, 0, &expected, &err));
    CHECK(strstr(err.text, made.name[second]));
    log_files_release(&made);
    ak_free(dir);
}

TEST(wal, replay_begins_at_any_record_and_nowhere_else)
{
    struct ak_err err;
    make_log(true);
    char *dir = path_in(ak_test_dir(), "made");
    for (uint64_t i = 0; i <= COUNT; i++) {
        struct expected expected = {.first = i};
        CHECK_OK(try_open(dir, lsns[i], &expected, &err));
        CHECK_INT(expected.count, COUNT - i);
        CHECK_INT(expected.wrong, 0);
        CHECK_RC(AK_CORRUPT, try_open(dir, lsns[i] + 1, &expected, &err));
    }
    struct expected expected = {.first = 0};
    CHECK_RC(AK_CORRUPT, try_open(dir, lsns[0] + 8, &expected, &err));
    CHECK_RC(AK_CORRUPT, try_open(dir, lsns[COUNT] + 64, &expected, &err));
    CHECK(strstr(err.text, "has been reached before"));
    CHECK_RC(AK_CORRUPT, try_open(dir, lsns[COUNT] + ((uint64_t)1 << 40), &expected, &err));
    char *empty = path_in(ak_test_dir(), "empty");
    CHECK_RC(AK_CORRUPT, try_open(empty, lsns[1], &expected, &err));
    log_files_release(&made);
    ak_free(dir);
    ak_free(empty);
}

TEST(wal, opening_and_closing_without_writing_changes_nothing)
{
    struct ak_err err;
    make_log(true);
    char *dir = path_in(ak_test_dir(), "made");
    for (int i = 0; i < 5; i++) {
        struct expected expected = {.first = 0};
        CHECK_OK(try_open(dir, 0, &expected, &err));
        CHECK(log_files_are_in(&made, dir));
    }
    log_files_release(&made);
    ak_free(dir);
}

static enum ak_rc refuse_third(void *ctx, const struct ak_wal_record *record, struct ak_err *err)
{
    int *seen = ctx;
    (void)record;
    return ++*seen == 3 ? ak_fail(err, AK_NOMEM, "no room for it") : AK_OK;
}

TEST(wal, a_replay_that_the_caller_refuses_ends_the_open_with_its_reason)
{
    struct ak_err err;
    make_log(true);
    char *dir = path_in(ak_test_dir(), "made");
    struct ak_wal_options options = log_in(dir);
    struct ak_wal *wal = NULL;
    int seen = 0;
    CHECK_RC(AK_NOMEM, ak_wal_open(&options, 0, refuse_third, &seen, &wal, &err));
    CHECK_INT(seen, 3);
    CHECK(strstr(err.text, "no room for it"));
    CHECK(log_files_are_in(&made, dir));
    log_files_release(&made);
    ak_free(dir);
}

TEST(wal, files_of_others_in_the_folder_are_left_alone_and_old_spares_are_cleared)
{
    struct ak_err err;
    make_log(true);
    char *dir = path_in(ak_test_dir(), "made");
    uint64_t size = 0;
    char path[512];
    log_file_write(dir, "notes.txt", AK_STR("mine"));
    log_file_write(dir, "0123.wal", AK_STR("not a segment's name"));
    log_file_write(dir, "spare-100.wal", AK_STR("x"));
    log_file_write(dir, "spare-101.wal", AK_STR("y"));
    struct expected expected = {.first = 0};
    CHECK_OK(try_open(dir, 0, &expected, &err));
    CHECK_INT(expected.count, COUNT);
    log_path(dir, "notes.txt", path);
    CHECK_OK(ak_fs_stat(ak_fs_posix(), path, &size, &err));
    log_path(dir, "0123.wal", path);
    CHECK_OK(ak_fs_stat(ak_fs_posix(), path, &size, &err));
    log_path(dir, "spare-100.wal", path);
    CHECK_RC(AK_NOT_FOUND, ak_fs_stat(ak_fs_posix(), path, &size, &err));
    check_goes_on(dir, COUNT);
    log_files_release(&made);
    ak_free(dir);
}

TEST(wal, a_log_of_format_version_1_opens_forever)
{
    struct ak_err err;
    char *dir = path_in(ak_test_dir(), "golden");
    log_files_read(&made, GOLDEN);
    log_files_write(&made, dir);
    check_goes_on(dir, GOLDEN_RECORDS);
    log_files_write(&made, dir);
    struct expected expected = {.first = 0};
    CHECK_OK(try_open(dir, 0, &expected, &err));
    CHECK(log_files_are_in(&made, dir));
    log_files_release(&made);
    ak_free(dir);
}

TEST_MAIN()
