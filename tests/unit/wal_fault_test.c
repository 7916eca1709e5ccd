/* wal_fault_test.c — every file operation fails once, at every place: the log refuses or has
 * failed, nothing acknowledged is lost, and it opens again. Also: kill -9 while writing. */
#include "base/fault.h"
#include "base/file.h"
#include "base/rand.h"
#include "support/quickfs.h"
#include "support/test.h"
#include "support/wal_records.h"
#include "wal/wal.h"
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define RECORDS 60

struct run {
    uint64_t appended;
    uint64_t acked;
    uint64_t needed;
    ak_lsn lsn[RECORDS];
};

static ak_lsn from_of(const struct run *run)
{
    return run->needed ? run->lsn[run->needed] : 0;
}

/* One life of a log: append and commit until something fails. */
static enum ak_rc live(struct run *run, const struct ak_wal_options *options, uint64_t upto)
{
    struct ak_err err;
    struct ak_wal *wal = NULL;
    struct expected expected = {.first = run->needed};
    enum ak_rc rc = ak_wal_open(options, from_of(run), expect_record, &expected, &wal, &err);
    if (rc != AK_OK) {
        return rc;
    }
    CHECK_INT(expected.wrong, 0);
    CHECK(run->needed + expected.count >= run->acked);
    run->appended = run->needed + expected.count; /* un-acknowledged ones may have gone */
    run->acked = run->appended;
    while (run->appended < upto && rc == AK_OK) {
        ak_lsn next = 0;
        rc = record_append(wal, run->appended, &run->lsn[run->appended], &next, &err);
        if (rc != AK_OK) {
            break;
        }
        run->appended++;
        if (run->appended % 3 == 0) {
            rc = ak_wal_commit(wal, next, &err);
            run->acked = rc == AK_OK ? run->appended : run->acked;
        }
        if (rc == AK_OK && run->appended % 12 == 0) {
            run->needed = run->acked - 2;
            ak_wal_release_before(wal, run->lsn[run->needed]);
        }
    }
    struct ak_wal_stats stats;
    ak_wal_stats(wal, &stats);
    if (stats.failed) { /* for good: the next call says so too */
        ak_lsn lsn = 0;
        ak_lsn next = 0;
        CHECK_RC(AK_IO, record_append(wal, run->appended, &lsn, &next, &err));
        CHECK(strstr(err.text, "has failed") != NULL);
    }
    ak_wal_close(wal);
    return rc;
}

static uint64_t fail_everywhere(const char *name, unsigned ops, int errnum, bool sticky)
{
    struct ak_fs_fault *fault = ak_fs_fault_open(quickfs());
    bool has_fired = true;
    uint64_t n = 0;
    for (; has_fired; n++) {
        struct run run = {.appended = 0};
        struct ak_buf dir;
        ak_buf_init(&dir, 0);
        ak_buf_add_fmt(&dir, "%s/%s-%d-%d-%llu", ak_test_dir(), name, errnum, sticky,
                       (unsigned long long)n);
        struct ak_wal_options options = small_log(ak_fs_fault_fs(fault), ak_buf_cstr(&dir));
        ak_fs_fault_set(fault, ops, (int64_t)n, errnum, sticky);
        enum ak_rc rc = live(&run, &options, RECORDS / 2);
        rc = rc == AK_OK ? live(&run, &options, RECORDS) : rc;
        has_fired = ak_fs_fault_fired(fault);
        CHECK(has_fired || (rc == AK_OK && run.appended == RECORDS));
        CHECK(rc != AK_CORRUPT);
        ak_fs_fault_set(fault, 0, -1, 0, false);
        CHECK_INT(live(&run, &options, RECORDS), AK_OK);
        CHECK_INT(live(&run, &options, RECORDS), AK_OK);
        CHECK_INT(run.appended, RECORDS);
        ak_buf_release(&dir);
    }
    ak_fs_fault_close(fault);
    return n;
}

TEST(wal, any_write_may_fail)
{
    CHECK(fail_everywhere("write", AK_FS_WRITE, EIO, true) > 20);
    CHECK(fail_everywhere("write", AK_FS_WRITE, EIO, false) > 20);
    CHECK(fail_everywhere("write", AK_FS_WRITE, ENOSPC, false) > 20);
}

TEST(wal, any_sync_may_fail)
{
    CHECK(fail_everywhere("sync", AK_FS_SYNC, EIO, true) > 20);
    CHECK(fail_everywhere("sync", AK_FS_SYNC, EIO, false) > 20);
    CHECK(fail_everywhere("dir", AK_FS_SYNC_DIR, EIO, false) > 5);
}

TEST(wal, any_open_read_rename_remove_or_reservation_may_fail)
{
    CHECK(fail_everywhere("open", AK_FS_OPEN, EMFILE, false) > 5);
    CHECK(fail_everywhere("read", AK_FS_READ, EIO, false) > 3);
    CHECK(fail_everywhere("rename", AK_FS_RENAME, EIO, false) > 3);
    CHECK(fail_everywhere("remove", AK_FS_REMOVE, EIO, false) >= 1);
    CHECK(fail_everywhere("allocate", AK_FS_ALLOCATE, ENOSPC, false) > 3);
    CHECK(fail_everywhere("allocate", AK_FS_ALLOCATE, EIO, true) > 3);
}

TEST(wal, any_operation_may_fail_and_all_after_it)
{
    CHECK(fail_everywhere("any", AK_FS_ANY, EIO, true) > 50);
    CHECK(fail_everywhere("any", AK_FS_ANY, ENOSPC, false) > 50);
}

struct late {
    struct ak_wal_commit commit;
    _Atomic int rc; /* -1: not called yet */
};

static void note_rc(struct ak_wal_commit *commit, enum ak_rc rc)
{
    atomic_store(&((struct late *)commit)->rc, (int)rc);
}

TEST(wal, waiting_and_later_commits_of_a_failed_log_get_io_and_durable_ones_stay_good)
{
    struct ak_err err;
    struct ak_fs_fault *fault = ak_fs_fault_open(quickfs());
    struct ak_wal_options options = small_log(ak_fs_fault_fs(fault), ak_test_dir());
    struct ak_wal *wal = NULL;
    struct late late[2] = {{.commit.done = note_rc, .rc = -1}, {.commit.done = note_rc, .rc = -1}};
    ak_lsn lsn = 0;
    ak_lsn good = 0;
    ak_lsn bad = 0;
    CHECK_OK(ak_wal_open(&options, 0, NULL, NULL, &wal, &err));
    CHECK_OK(record_append(wal, 0, &lsn, &good, &err));
    CHECK_OK(ak_wal_commit(wal, good, &err));
    ak_fs_fault_set(fault, AK_FS_SYNC, 0, EIO, false);
    CHECK_OK(record_append(wal, 1, &lsn, &bad, &err));
    ak_wal_commit_async(wal, &late[0].commit, bad);
    CHECK_RC(AK_IO, ak_wal_commit(wal, bad, &err));
    ak_wal_commit_async(wal, &late[1].commit, bad);
    CHECK_INT(atomic_load(&late[1].rc), AK_IO);
    CHECK_OK(ak_wal_commit(wal, good, &err));
    struct ak_wal_stats stats;
    ak_wal_stats(wal, &stats);
    CHECK(stats.failed && stats.durable == good);
    ak_wal_close(wal);
    CHECK_INT(atomic_load(&late[0].rc), AK_IO);
    ak_fs_fault_close(fault);
}

#ifdef AK_FAULTS
TEST(wal, without_memory_it_refuses_and_nothing_is_lost)
{
    struct ak_err err;
    struct ak_wal_options options = small_log(quickfs(), ak_test_dir());
    struct ak_wal *wal = NULL;
    uint64_t count = 0;
    bool has_fired = true;
    for (int64_t n = 0; has_fired; n++) {
        struct expected expected = {.first = 0};
        ak_lsn lsn = 0;
        ak_lsn next = 0;
        ak_fault_alloc_at(n);
        enum ak_rc rc = ak_wal_open(&options, 0, expect_record, &expected, &wal, &err);
        has_fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK(rc == (has_fired ? AK_NOMEM : AK_OK));
        if (rc != AK_OK) {
            expected = (struct expected){.first = 0};
            CHECK_OK(ak_wal_open(&options, 0, expect_record, &expected, &wal, &err));
        }
        CHECK_INT(expected.wrong, 0);
        CHECK_INT(expected.count, count);
        ak_fault_alloc_at(0);
        CHECK_RC(AK_NOMEM, record_append_len(wal, count, 200000, &lsn, &next, &err));
        ak_fault_alloc_at(-1);
        CHECK_OK(record_append(wal, count, &lsn, &next, &err));
        CHECK_OK(ak_wal_commit(wal, next, &err));
        count++;
        ak_wal_close(wal);
    }
    CHECK(count > 1);
}
#endif

/* ---- kill -9 ---- */

/* Writes records from `first` on and tells each acknowledged number through `pipe_fd`. */
_Noreturn static void write_until_killed(const char *dir, ak_lsn from, uint64_t first, int pipe_fd)
{
    struct ak_err err;
    struct ak_wal_options options = small_log(ak_fs_posix(), dir);
    struct ak_wal *wal = NULL;
    struct expected expected = {.first = 0};
    if (ak_wal_open(&options, from, expect_record, &expected, &wal, &err) != AK_OK) {
        _exit(2);
    }
    for (uint64_t i = first;; i++) {
        ak_lsn lsn = 0;
        ak_lsn next = 0;
        if (record_append(wal, i, &lsn, &next, &err) != AK_OK) {
            _exit(3);
        }
        if (i % 3 == 0) {
            if (ak_wal_commit(wal, next, &err) != AK_OK) {
                _exit(4);
            }
            uint64_t acked = i + 1;
            if (write(pipe_fd, &acked, sizeof acked) != (ssize_t)sizeof acked) {
                _exit(5);
            }
        }
    }
}

/* Let a child write until it has told of `quota` commits, kill it, and give the last it told. */
static uint64_t kill_a_writer(const char *dir, uint64_t first, uint64_t quota)
{
    int fds[2];
    int status = 0;
    uint64_t acked = first;
    uint64_t number = 0;
    CHECK(pipe(fds) == 0);
    (void)fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        (void)close(fds[0]);
        write_until_killed(dir, 0, first, fds[1]);
    }
    (void)close(fds[1]);
    while (quota > 0 && read(fds[0], &number, sizeof number) == (ssize_t)sizeof number) {
        acked = number;
        quota--;
    }
    CHECK_INT(kill(child, SIGKILL), 0);
    while (read(fds[0], &number, sizeof number) == (ssize_t)sizeof number) {
        acked = number;
    }
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    (void)close(fds[0]);
    return acked;
}

TEST(wal, a_killed_writer_loses_nothing_that_it_had_acknowledged)
{
    struct ak_rand rand;
    struct ak_err err;
    ak_rand_seed(&rand, ak_test_seed());
    uint64_t count = 0;
    char *dir = NULL;
    for (uint64_t round = 0; round < 60; round++) {
        if (round % 10 == 0) { /* a fresh log now and then, or replays grow long */
            ak_free(dir);
            char name[32];
            (void)snprintf(name, sizeof name, "log-%u", (unsigned)round);
            dir = path_in(ak_test_dir(), name);
            count = 0;
        }
        uint64_t acked = kill_a_writer(dir, count, ak_rand_below(&rand, 25));
        struct ak_wal_options options = small_log(ak_fs_posix(), dir);
        struct ak_wal *wal = NULL;
        struct expected expected = {.first = 0};
        CHECK_OK(ak_wal_open(&options, 0, expect_record, &expected, &wal, &err));
        CHECK_INT(expected.wrong, 0);
        CHECK(expected.count >= acked);
        count = expected.count;
        ak_wal_close(wal);
    }
    ak_free(dir);
}

TEST_MAIN()
