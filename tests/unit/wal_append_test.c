/* wal_append_test.c — appending, committing, groups, full disks, releasing. */
#include "base/file.h"
#include "base/limits.h"
#include "base/sync.h"
#include "support/test.h"
#include "support/wal_records.h"
#include "wal/wal.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

static struct ak_wal *open_log(const struct ak_wal_options *options, ak_lsn from,
                               struct expected *expected)
{
    struct ak_err err;
    struct ak_wal *wal = NULL;
    CHECK_OK(ak_wal_open(options, from, expected ? expect_record : NULL, expected, &wal, &err));
    return wal;
}

static void check_reopens(const struct ak_wal_options *options, uint64_t count)
{
    struct expected expected = {.first = 0};
    struct ak_wal *wal = open_log(options, 0, &expected);
    CHECK_INT(expected.wrong, 0);
    CHECK_INT(expected.count, count);
    ak_wal_close(wal);
}

TEST(wal, a_new_log_is_empty_and_its_first_record_lies_above_zero)
{
    struct ak_err err;
    struct ak_wal_options options = {.fs = ak_fs_posix(), .dir = ak_test_dir()};
    struct expected none = {.first = 0};
    struct ak_wal *wal = open_log(&options, 0, &none);
    ak_lsn lsn = 0;
    ak_lsn next = 0;
    CHECK_INT(none.count, 0);
    CHECK_OK(record_append(wal, 0, &lsn, &next, &err));
    CHECK(lsn > 0 && next > lsn);
    CHECK_OK(ak_wal_commit(wal, next, &err));
    ak_wal_close(wal);
    check_reopens(&options, 1);
}

TEST(wal, a_sealed_log_refuses_appends_and_has_synced_what_came_before)
{
    struct ak_err err;
    struct ak_wal_options options = small_log(ak_fs_posix(), ak_test_dir());
    options.durability = AK_DURABILITY_ASYNC;
    struct ak_wal *wal = open_log(&options, 0, NULL);
    struct ak_wal_stats stats;
    ak_lsn lsn = 0;
    ak_lsn next = 0;
    for (uint64_t i = 0; i < 50; i++) {
        CHECK_OK(record_append(wal, i, &lsn, &next, &err));
    }
    CHECK_OK(ak_wal_seal(wal, &err));
    ak_wal_stats(wal, &stats);
    CHECK(stats.durable >= next);
    CHECK_RC(AK_UNAVAILABLE, record_append(wal, 50, &lsn, &next, &err));
    ak_wal_close(wal);
    check_reopens(&options, 50);
}

TEST(wal, records_across_many_segments_come_back_in_order_with_growing_lsns)
{
    struct ak_err err;
    struct ak_wal_options options = small_log(ak_fs_posix(), ak_test_dir());
    struct ak_wal *wal = open_log(&options, 0, NULL);
    ak_lsn lsn = 0;
    ak_lsn next = 0;
    for (uint64_t i = 0; i < 300; i++) {
        ak_lsn before = next;
        CHECK_OK(record_append(wal, i, &lsn, &next, &err));
        CHECK(lsn >= before && next > lsn);
        if (i % 7 == 0) {
            CHECK_OK(ak_wal_commit(wal, next, &err));
        }
    }
    ak_wal_close(wal);
    check_reopens(&options, 300);
}

static enum ak_rc count_bytes(void *ctx, const struct ak_wal_record *record, struct ak_err *err)
{
    uint64_t *left = ctx; /* lengths of the records that must come, 0-terminated */
    size_t at = 0;
    while (left[at] == UINT64_MAX) {
        at++;
    }
    bool is_right = record_is(record, at, (size_t)left[at]);
    left[at] = UINT64_MAX;
    return is_right ? AK_OK : ak_fail(err, AK_INTERNAL, "record %zu is not as appended", at);
}

TEST(wal, a_record_larger_than_a_segment_or_a_buffer_is_kept_whole)
{
    struct ak_err err;
    struct ak_wal_options options = small_log(ak_fs_posix(), ak_test_dir());
    uint64_t lens[] = {10, 5000, 9000, 60000, 100, 70000, 3u << 20, 1, 8192 - 4096 - 32, 64, 0};
    struct ak_wal *wal = open_log(&options, 0, NULL);
    ak_lsn lsn = 0;
    ak_lsn next = 0;
    for (size_t i = 0; i < 10; i++) {
        CHECK_OK(record_append_len(wal, i, (size_t)lens[i], &lsn, &next, &err));
    }
    CHECK_OK(ak_wal_commit(wal, next, &err));
    ak_wal_close(wal);
    CHECK_OK(ak_wal_open(&options, 0, count_bytes, lens, &wal, &err));
    CHECK(lens[9] == UINT64_MAX);
    ak_wal_close(wal);
}

TEST(wal, a_record_above_the_ceiling_is_refused_and_leaves_no_trace)
{
    struct ak_err err;
    struct ak_wal_options options = small_log(ak_fs_posix(), ak_test_dir());
    struct ak_wal *wal = open_log(&options, 0, NULL);
    struct ak_wal_stats before;
    struct ak_wal_stats after;
    ak_lsn lsn = 77;
    ak_lsn next = 77;
    struct ak_str parts[2] = {AK_STR("x"), {"", AK_WAL_RECORD_MAX}};
    ak_wal_stats(wal, &before);
    CHECK_RC(AK_TOO_BIG, ak_wal_append(wal, 1, parts + 0, 2, &lsn, &next, &err));
    parts[1].len = SIZE_MAX;
    CHECK_RC(AK_TOO_BIG, ak_wal_append(wal, 1, parts + 1, 1, &lsn, &next, &err));
    ak_wal_stats(wal, &after);
    CHECK_INT(after.end, before.end);
    CHECK_INT(lsn, 77);
    ak_wal_close(wal);
}

/* Holds the writer thread inside on_group until opened: what is queued meanwhile is one group. */
struct gate {
    struct ak_mutex mutex;
    struct ak_cond cond;
    bool is_closed;
    bool is_reached;
    uint64_t groups;
    uint64_t bytes;
    uint64_t records;
};

static void gate_init(struct gate *gate, bool is_closed)
{
    *gate = (struct gate){.is_closed = is_closed};
    ak_mutex_init(&gate->mutex, AK_RANK_LEAF, "gate");
    ak_cond_init(&gate->cond);
}

static void gate_pass(void *ctx, uint64_t bytes, uint64_t records, double seconds)
{
    struct gate *gate = ctx;
    CHECK(seconds >= 0);
    ak_mutex_lock(&gate->mutex);
    gate->groups++;
    gate->bytes += bytes;
    gate->records += records;
    gate->is_reached = true;
    ak_cond_broadcast(&gate->cond);
    while (gate->is_closed) {
        ak_cond_wait(&gate->cond, &gate->mutex);
    }
    ak_mutex_unlock(&gate->mutex);
}

static void gate_await(struct gate *gate)
{
    ak_mutex_lock(&gate->mutex);
    while (!gate->is_reached) {
        ak_cond_wait(&gate->cond, &gate->mutex);
    }
    ak_mutex_unlock(&gate->mutex);
}

static void gate_open(struct gate *gate)
{
    ak_mutex_lock(&gate->mutex);
    gate->is_closed = false;
    ak_cond_broadcast(&gate->cond);
    ak_mutex_unlock(&gate->mutex);
}

static void gate_release(struct gate *gate)
{
    ak_cond_release(&gate->cond);
    ak_mutex_release(&gate->mutex);
}

#define ORDERED 200

struct ordered {
    struct ak_wal_commit commit;
    struct done_list *list;
    uint64_t number;
};

struct done_list {
    _Atomic uint64_t count;
    uint64_t order[ORDERED];
    enum ak_rc rc[ORDERED];
};

static void note_done(struct ak_wal_commit *commit, enum ak_rc rc)
{
    struct ordered *ordered = (struct ordered *)commit;
    uint64_t at = atomic_load(&ordered->list->count);
    ordered->list->order[at] = ordered->number;
    ordered->list->rc[at] = rc;
    atomic_store(&ordered->list->count, at + 1);
}

TEST(wal, waiting_commits_are_called_back_in_lsn_order_after_one_sync)
{
    struct ak_err err;
    struct gate gate;
    gate_init(&gate, true);
    struct ak_wal_options options = {
        .fs = ak_fs_posix(), .dir = ak_test_dir(), .on_group = gate_pass, .ctx = &gate};
    struct ak_wal *wal = open_log(&options, 0, NULL);
    static struct ordered commits[ORDERED];
    static struct done_list done;
    struct ak_wal_stats before;
    struct ak_wal_stats after;
    ak_lsn upto[ORDERED];
    ak_lsn lsn = 0;
    ak_lsn next = 0;
    atomic_store(&done.count, 0);
    CHECK_OK(record_append(wal, 0, &lsn, &next, &err));
    CHECK_OK(ak_wal_commit(wal, next, &err));
    gate_await(&gate);
    ak_wal_stats(wal, &before);
    for (uint64_t i = 0; i < ORDERED; i++) {
        CHECK_OK(record_append(wal, i + 1, &lsn, &upto[i], &err));
    }
    for (uint64_t i = 0; i < ORDERED; i++) { /* 77 and 200 have no common divisor */
        uint64_t n = i * 77 % ORDERED;
        commits[n] = (struct ordered){.commit.done = note_done, .list = &done, .number = n};
        ak_wal_commit_async(wal, &commits[n].commit, upto[n]);
    }
    CHECK_INT(atomic_load(&done.count), 0);
    gate_open(&gate);
    CHECK_OK(ak_wal_commit(wal, upto[ORDERED - 1], &err));
    ak_wal_stats(wal, &after);
    CHECK_INT(after.groups - before.groups, 1);
    CHECK_INT(after.syncs - before.syncs, 1);
    ak_wal_close(wal);
    CHECK_INT(atomic_load(&done.count), ORDERED);
    for (uint64_t i = 0; i < ORDERED; i++) {
        CHECK(done.order[i] == i && done.rc[i] == AK_OK);
    }
    CHECK_INT(gate.records, ORDERED + 1);
    gate_release(&gate);
}

TEST(wal, a_commit_of_what_is_durable_already_is_called_back_at_once)
{
    struct ak_err err;
    struct ak_wal_options options = small_log(ak_fs_posix(), ak_test_dir());
    struct ak_wal *wal = open_log(&options, 0, NULL);
    struct done_list done = {.count = 0};
    struct ordered commit = {.commit.done = note_done, .list = &done};
    ak_lsn lsn = 0;
    ak_lsn next = 0;
    CHECK_OK(record_append(wal, 0, &lsn, &next, &err));
    CHECK_OK(ak_wal_commit(wal, next, &err));
    ak_wal_commit_async(wal, &commit.commit, next);
    CHECK_INT(atomic_load(&done.count), 1);
    CHECK_INT(done.rc[0], AK_OK);
    ak_wal_close(wal);
}

#define THREADS 8
#define PER_THREAD 400

struct appender {
    pthread_t thread;
    struct ak_wal *wal;
    uint64_t number;
    ak_lsn lsns[PER_THREAD];
};

static void *append_and_commit(void *arg)
{
    struct appender *appender = arg;
    struct ak_err err;
    ak_lsn next = 0;
    for (uint64_t i = 0; i < PER_THREAD; i++) {
        uint64_t number = appender->number * PER_THREAD + i;
        CHECK_OK(record_append(appender->wal, number, &appender->lsns[i], &next, &err));
        if (i % 4 == 0) {
            CHECK_OK(ak_wal_commit(appender->wal, next, &err));
        }
    }
    CHECK_OK(ak_wal_commit(appender->wal, next, &err));
    return NULL;
}

struct all_seen {
    struct appender *appenders;
    uint64_t count;
    ak_lsn last;
};

static enum ak_rc see_one(void *ctx, const struct ak_wal_record *record, struct ak_err *err)
{
    struct all_seen *seen = ctx;
    uint64_t number = record->kind - 1;
    if (number >= THREADS * PER_THREAD || !record_is(record, number, record_len(number)) ||
        seen->appenders[number / PER_THREAD].lsns[number % PER_THREAD] != record->lsn ||
        record->lsn <= seen->last) {
        return ak_fail(err, AK_INTERNAL, "record %llu", (unsigned long long)number);
    }
    seen->last = record->lsn;
    seen->count++;
    return AK_OK;
}

TEST(wal, eight_threads_append_and_commit_and_every_record_is_there_once)
{
    struct ak_err err;
    struct ak_wal_options options = small_log(ak_fs_posix(), ak_test_dir());
    options.segment_bytes = 256u << 10;
    options.buffer_max = 32u << 10;
    struct ak_wal *wal = open_log(&options, 0, NULL);
    static struct appender appenders[THREADS];
    for (uint64_t i = 0; i < THREADS; i++) {
        appenders[i] = (struct appender){.wal = wal, .number = i};
        CHECK_INT(pthread_create(&appenders[i].thread, NULL, append_and_commit, &appenders[i]), 0);
    }
    for (uint64_t i = 0; i < THREADS; i++) {
        CHECK_INT(pthread_join(appenders[i].thread, NULL), 0);
    }
    struct ak_wal_stats stats;
    ak_wal_stats(wal, &stats);
    CHECK_INT(stats.records, THREADS * PER_THREAD);
    CHECK_INT(stats.durable, stats.end);
    ak_wal_close(wal);
    struct all_seen seen = {.appenders = appenders};
    CHECK_OK(ak_wal_open(&options, 0, see_one, &seen, &wal, &err));
    CHECK_INT(seen.count, THREADS * PER_THREAD);
    ak_wal_close(wal);
}

TEST(wal, a_full_disk_refuses_appends_and_writing_resumes_by_itself)
{
    struct ak_err err;
    struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
    struct ak_wal_options options = small_log(ak_fs_fault_fs(fault), ak_test_dir());
    struct ak_wal *wal = open_log(&options, 0, NULL);
    struct ak_wal_stats stats;
    uint64_t count = 0;
    for (int round = 0; round < 5; round++) {
        ak_lsn lsn = 0;
        ak_lsn next = 0;
        ak_fs_fault_set(fault, AK_FS_ALLOCATE, 0, ENOSPC, true);
        enum ak_rc rc = AK_OK;
        while ((rc = record_append(wal, count, &lsn, &next, &err)) == AK_OK) {
            CHECK_OK(ak_wal_commit(wal, next, &err));
            count++;
        }
        CHECK_INT(rc, AK_NO_SPACE);
        ak_wal_stats(wal, &stats);
        ak_lsn end = stats.end;
        CHECK(stats.full && !stats.failed);
        CHECK_RC(AK_NO_SPACE, record_append_len(wal, count, 20000, &lsn, &next, &err));
        ak_wal_stats(wal, &stats);
        CHECK_INT(stats.end, end);
        ak_fs_fault_set(fault, AK_FS_ALLOCATE, -1, 0, false);
        for (int i = 0; i < 20; i++) {
            CHECK_OK(record_append(wal, count, &lsn, &next, &err));
            count++;
        }
        CHECK_OK(ak_wal_commit(wal, next, &err));
        ak_wal_stats(wal, &stats);
        CHECK(!stats.full);
    }
    ak_wal_close(wal);
    check_reopens(&options, count);
    ak_fs_fault_close(fault);
}

TEST(wal, a_new_log_on_a_full_disk_is_refused_and_can_be_opened_later)
{
    struct ak_err err;
    struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
    struct ak_wal_options options = small_log(ak_fs_fault_fs(fault), ak_test_dir());
    struct ak_wal *wal = NULL;
    ak_fs_fault_set(fault, AK_FS_ALLOCATE, 0, ENOSPC, true);
    CHECK_RC(AK_NO_SPACE, ak_wal_open(&options, 0, NULL, NULL, &wal, &err));
    ak_fs_fault_set(fault, AK_FS_ALLOCATE, -1, 0, false);
    check_reopens(&options, 0);
    ak_fs_fault_close(fault);
}

TEST(wal, a_log_on_a_full_disk_still_opens_replays_and_fills_its_last_segment)
{
    struct ak_err err;
    struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
    struct ak_wal_options options = small_log(ak_fs_fault_fs(fault), ak_test_dir());
    struct ak_wal *wal = open_log(&options, 0, NULL);
    ak_lsn lsn = 0;
    ak_lsn next = 0;
    for (uint64_t i = 0; i < 5; i++) {
        CHECK_OK(record_append(wal, i, &lsn, &next, &err));
    }
    ak_wal_close(wal);
    ak_fs_fault_set(fault, AK_FS_ALLOCATE, 0, ENOSPC, true);
    struct expected expected = {.first = 0};
    wal = open_log(&options, 0, &expected);
    CHECK_INT(expected.count, 5);
    CHECK_INT(expected.wrong, 0);
    CHECK_OK(record_append_len(wal, 5, 1, &lsn, &next, &err));
    CHECK_OK(ak_wal_commit(wal, next, &err));
    ak_wal_close(wal);
    ak_fs_fault_close(fault);
}

TEST(wal, released_segments_are_used_again_and_their_old_records_never_return)
{
    struct ak_err err;
    struct ak_wal_options options = small_log(ak_fs_posix(), ak_test_dir());
    ak_lsn lsns[2000];
    uint64_t count = 0;
    uint64_t needed = 0;
    for (int round = 0; round < 6; round++) {
        struct expected expected = {.first = needed};
        ak_lsn from = count ? lsns[needed] : 0;
        struct ak_wal *wal = open_log(&options, from, &expected);
        CHECK_INT(expected.count, count - needed);
        CHECK_INT(expected.wrong, 0);
        for (int i = 0; i < 300; i++) {
            ak_lsn next = 0;
            CHECK_OK(record_append(wal, count, &lsns[count], &next, &err));
            count++;
            if (i % 10 == 9) {
                CHECK_OK(ak_wal_commit(wal, next, &err));
                needed = count - 5;
                ak_wal_release_before(wal, lsns[needed]);
            }
        }
        struct ak_wal_stats stats;
        ak_wal_stats(wal, &stats);
        CHECK(stats.start <= lsns[needed]);
        CHECK(stats.bytes_on_disk <= 10 * 8192); /* 5 records need 5 segments at most; a spare */
        ak_wal_close(wal);
    }
    struct ak_wal *wal = NULL;
    CHECK_RC(AK_CORRUPT, ak_wal_open(&options, 0, NULL, NULL, &wal, &err));
    CHECK(strstr(err.text, "needed from LSN 0") != NULL);
}

TEST(wal, release_keeps_the_segment_that_is_written_to)
{
    struct ak_err err;
    struct ak_wal_options options = small_log(ak_fs_posix(), ak_test_dir());
    struct ak_wal *wal = open_log(&options, 0, NULL);
    ak_lsn lsn = 0;
    ak_lsn next = 0;
    for (uint64_t i = 0; i < 50; i++) {
        CHECK_OK(record_append(wal, i, &lsn, &next, &err));
        CHECK_OK(ak_wal_commit(wal, next, &err));
        ak_wal_release_before(wal, UINT64_MAX);
    }
    struct ak_wal_stats stats;
    ak_wal_stats(wal, &stats);
    CHECK(stats.end - stats.start <= 8192);
    ak_wal_close(wal);
    struct expected expected = {.first = 49};
    wal = open_log(&options, lsn, &expected);
    CHECK_INT(expected.count, 1);
    CHECK_INT(expected.wrong, 0);
    ak_wal_close(wal);
}

TEST(wal, interval_acknowledges_after_the_write_and_sync_can_be_forced)
{
    struct ak_err err;
    struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
    struct ak_wal_options options = small_log(ak_fs_fault_fs(fault), ak_test_dir());
    options.durability = AK_DURABILITY_INTERVAL;
    options.interval_ms = 3600 * 1000; /* never by itself within this test */
    struct ak_wal *wal = open_log(&options, 0, NULL);
    struct ak_wal_stats stats;
    ak_lsn lsn = 0;
    ak_lsn next = 0;
    CHECK_OK(record_append(wal, 0, &lsn, &next, &err));
    CHECK_OK(ak_wal_commit(wal, next, &err));
    ak_wal_stats(wal, &stats);
    CHECK_INT(stats.groups, 1);
    CHECK_INT(stats.syncs, 0);
    CHECK(stats.durable < next);
    CHECK_OK(ak_wal_sync(wal, next, &err));
    ak_wal_stats(wal, &stats);
    CHECK_INT(stats.syncs, 1);
    CHECK_INT(stats.durable, next);
    ak_wal_close(wal);
    check_reopens(&options, 1);
    ak_fs_fault_close(fault);
}

TEST(wal, interval_syncs_by_itself_when_its_time_has_come)
{
    struct ak_err err;
    struct ak_wal_options options = small_log(ak_fs_posix(), ak_test_dir());
    options.durability = AK_DURABILITY_INTERVAL;
    options.interval_ms = 1;
    struct ak_wal *wal = open_log(&options, 0, NULL);
    struct ak_wal_stats stats;
    ak_lsn lsn = 0;
    ak_lsn next = 0;
    CHECK_OK(record_append(wal, 0, &lsn, &next, &err));
    do {
        ak_wal_stats(wal, &stats);
    } while (stats.durable < next);
    CHECK(stats.syncs > 0);
    ak_wal_close(wal);
}

TEST(wal, async_acknowledges_at_once_and_close_makes_it_durable)
{
    struct ak_err err;
    struct ak_wal_options options = small_log(ak_fs_posix(), ak_test_dir());
    options.durability = AK_DURABILITY_ASYNC;
    struct ak_wal *wal = open_log(&options, 0, NULL);
    for (uint64_t i = 0; i < 100; i++) {
        struct done_list done = {.count = 0};
        struct ordered commit = {.commit.done = note_done, .list = &done};
        ak_lsn lsn = 0;
        ak_lsn next = 0;
        CHECK_OK(record_append(wal, i, &lsn, &next, &err));
        ak_wal_commit_async(wal, &commit.commit, next);
        CHECK_INT(atomic_load(&done.count), 1);
    }
    ak_wal_close(wal);
    check_reopens(&options, 100);
}

TEST(wal, a_record_that_nobody_commits_is_written_all_the_same)
{
    struct ak_err err;
    struct ak_wal_options options = small_log(ak_fs_posix(), ak_test_dir());
    options.interval_ms = 1;
    struct ak_wal *wal = open_log(&options, 0, NULL);
    struct ak_wal_stats stats;
    for (uint64_t i = 0; i < 20; i++) {
        ak_lsn lsn = 0;
        ak_lsn next = 0;
        CHECK_OK(record_append(wal, i, &lsn, &next, &err));
        do {
            ak_wal_stats(wal, &stats);
        } while (stats.durable < next);
    }
    ak_wal_close(wal);
    check_reopens(&options, 20);
}

TEST_MAIN()
