/* wal_powercut_test.c — after a power cut between any two operations every acknowledged record is
 * there bit for bit, nothing is half there, and the log goes on; also when the power fails again
 * during or right after that recovery. */
#include "base/file.h"
#include "base/rand.h"
#include "support/powercut.h"
#include "support/quickfs.h"
#include "support/test.h"
#include "support/wal_records.h"
#include "wal/wal.h"
#include <stdatomic.h>
#include <stdlib.h>

#define RECORDS_MAX 1000

/* What a run on a recorded file system promised, and when. */
struct promises {
    struct powercut *cut;
    uint64_t appended;
    _Atomic size_t acked_at[RECORDS_MAX]; /* operations at the acknowledgement; 0: never */
    ak_lsn lsn[RECORDS_MAX];
    uint64_t needed[RECORDS_MAX];  /* history of what the caller still needs … */
    size_t needed_at[RECORDS_MAX]; /* … and the operations at which each was persisted */
    size_t needed_count;
};

struct promise {
    struct ak_wal_commit commit;
    struct promises *promises;
    uint64_t upto; /* records below this number */
};

static void keep_promise(struct ak_wal_commit *commit, enum ak_rc rc)
{
    struct promise *promise = (struct promise *)commit;
    CHECK_INT(rc, AK_OK);
    size_t at = powercut_ops(promise->promises->cut);
    for (uint64_t i = promise->upto; i-- > 0 && !atomic_load(&promise->promises->acked_at[i]);) {
        atomic_store(&promise->promises->acked_at[i], at);
    }
}

static void acked(struct promises *promises, uint64_t upto)
{
    struct promise promise = {.promises = promises, .upto = upto};
    keep_promise(&promise.commit, AK_OK);
}

/* Appends with commits of every sort, releases, and a restart in the middle. */
static void make_promises(struct promises *promises, enum ak_durability durability, const char *dir,
                          uint64_t count, struct ak_rand *rand)
{
    struct ak_err err;
    struct ak_wal_options options = small_log(powercut_fs(promises->cut), dir);
    options.durability = durability;
    static struct promise pending[RECORDS_MAX];
    struct ak_wal *wal = NULL;
    ak_lsn next = 0;
    CHECK_OK(ak_wal_open(&options, 0, NULL, NULL, &wal, &err));
    for (uint64_t i = 0; i < count; i++) {
        CHECK_OK(record_append(wal, i, &promises->lsn[i], &next, &err));
        promises->appended = i + 1;
        uint64_t what = ak_rand_below(rand, 12);
        if (what < 4 && durability == AK_DURABILITY_SYNC) {
            pending[i] =
                (struct promise){.commit.done = keep_promise, .promises = promises, .upto = i + 1};
            ak_wal_commit_async(wal, &pending[i].commit, next);
        } else if (what < 7) {
            CHECK_OK(what == 5 ? ak_wal_commit(wal, next, &err) : ak_wal_sync(wal, next, &err));
            if (what != 5 || durability == AK_DURABILITY_SYNC) {
                acked(promises, i + 1);
            }
        } else if (what == 7 && i > 10) {
            CHECK_OK(ak_wal_sync(wal, next, &err));
            acked(promises, i + 1);
            size_t n = promises->needed_count++;
            uint64_t before = n ? promises->needed[n - 1] : 0;
            uint64_t needed = i - ak_rand_below(rand, 8);
            promises->needed[n] = needed > before ? needed : before; /* released is released */
            promises->needed_at[n] = powercut_ops(promises->cut);
            ak_wal_release_before(wal, promises->lsn[promises->needed[n]]);
        } else if (what == 8 && ak_rand_below(rand, 4) == 0) {
            size_t last = promises->needed_count;
            ak_lsn from = last ? promises->lsn[promises->needed[last - 1]] : 0;
            ak_wal_close(wal);
            acked(promises, i + 1);
            CHECK_OK(ak_wal_open(&options, from, NULL, NULL, &wal, &err));
        }
    }
    ak_wal_close(wal);
    acked(promises, count);
}

/* Open `dir` and compare with what was promised by operation `at`. Gives how many are there, after
 * having appended two more. */
static uint64_t check_image(const struct promises *promises, size_t at, struct ak_fs *fs,
                            const char *dir, const char *what, uint64_t *first_out)
{
    struct ak_err err;
    struct ak_wal_options options = small_log(fs, dir);
    uint64_t first = 0;
    uint64_t must = 0;
    for (size_t i = 0; i < promises->needed_count && promises->needed_at[i] <= at; i++) {
        first = promises->needed[i];
    }
    for (uint64_t i = 0; i < promises->appended; i++) {
        size_t when = atomic_load(&promises->acked_at[i]);
        must = when && when <= at ? i + 1 : must;
    }
    struct expected expected = {.first = first};
    struct ak_wal *wal = NULL;
    ak_lsn from = first ? promises->lsn[first] : 0;
    if (ak_wal_open(&options, from, expect_record, &expected, &wal, &err) != AK_OK) {
        ak_test_fail(__FILE__, __LINE__, "%s at %zu (%s): %s", what, at,
                     powercut_op_text(promises->cut, at), err.text);
    }
    uint64_t found = first + expected.count;
    if (expected.wrong || found < must || found > promises->appended) {
        ak_test_fail(__FILE__, __LINE__, "%s at %zu (%s): %llu wrong, %llu found, %llu promised",
                     what, at, powercut_op_text(promises->cut, at),
                     (unsigned long long)expected.wrong, (unsigned long long)found,
                     (unsigned long long)must);
    }
    *first_out = first;
    ak_lsn lsn = 0;
    ak_lsn next = 0;
    for (int i = 0; i < 2; i++) {
        CHECK_OK(record_append(wal, found + (uint64_t)i, &lsn, &next, &err));
        CHECK_OK(ak_wal_commit(wal, next, &err));
    }
    ak_wal_close(wal);
    return found;
}

/* The power fails again somewhere in the recovery and the two appends after it. */
static void check_second_cut(const struct promises *promises, size_t at, struct ak_rand *rand,
                             const char *image, const char *second)
{
    static struct promises again;
    memset(&again, 0, sizeof again);
    struct powercut *cut = powercut_open(quickfs(), image);
    uint64_t first = 0;
    uint64_t found = check_image(promises, at, powercut_fs(cut), image, "recovery", &first);
    /* What the recovery has replayed counts as promised from its end on; what was promised before
     * counts from the start. */
    again = *promises;
    again.cut = cut;
    again.appended = found + 2;
    for (uint64_t i = 0; i < found + 2 && i < RECORDS_MAX; i++) {
        size_t when = atomic_load(&promises->acked_at[i]);
        bool is_old = i < found && when && when <= at;
        atomic_store(&again.acked_at[i], is_old ? 1 : powercut_ops(cut));
    }
    again.needed[0] = first;
    again.needed_at[0] = 0;
    again.needed_count = 1;
    for (int i = 0; i < 3; i++) {
        size_t when = i == 0 ? powercut_ops(cut) : ak_rand_below(rand, powercut_ops(cut) + 1);
        uint64_t ignored = 0;
        powercut_image(cut, when, i == 0 ? POWERCUT_NONE : POWERCUT_MIXED, rand, second);
        /* An operation count of 0 means "never" in acked_at: old promises hold from 1 on. */
        (void)check_image(&again, when ? when : 1, quickfs(), second, "second cut", &ignored);
    }
    powercut_close(cut);
}

static void check_all_cuts(enum ak_durability durability, uint64_t count)
{
    struct ak_rand rand;
    ak_rand_seed(&rand, ak_test_seed());
    char *live = path_in(ak_test_dir(), "live");
    char *image = path_in(ak_test_dir(), "image");
    char *second = path_in(ak_test_dir(), "second");
    struct ak_err err;
    CHECK_OK(ak_fs_make_dir(ak_fs_posix(), live, &err));
    static struct promises promises;
    memset(&promises, 0, sizeof promises);
    promises.cut = powercut_open(quickfs(), live);
    char *log = path_in(live, "log");
    make_promises(&promises, durability, log, count, &rand);
    size_t ops = powercut_ops(promises.cut);
    char *image_log = path_in(image, "log");
    for (size_t at = 0; at <= ops; at++) {
        for (int variant = 0; variant < 6; variant++) {
            static const enum powercut_mode modes[] = {POWERCUT_ALL,    POWERCUT_NONE,
                                                       POWERCUT_MIXED,  POWERCUT_MIXED,
                                                       POWERCUT_RANDOM, POWERCUT_RANDOM};
            static const char *const words[] = {"all",   "none",   "mixed",
                                                "mixed", "random", "random"};
            uint64_t first = 0;
            powercut_image(promises.cut, at, modes[variant], &rand, image);
            if (variant % 2 == 0) {
                (void)check_image(&promises, at, quickfs(), image_log, words[variant], &first);
                (void)first;
            } else {
                CHECK_OK(ak_fs_make_dirs(quickfs(), image_log, &err));
                check_second_cut(&promises, at, &rand, image_log, second);
            }
        }
    }
    powercut_close(promises.cut);
    ak_free(log);
    ak_free(image_log);
    ak_free(live);
    ak_free(image);
    ak_free(second);
}

TEST(wal, no_power_cut_loses_an_acknowledged_record_with_sync_durability)
{
    check_all_cuts(AK_DURABILITY_SYNC, 150);
}

TEST(wal, no_power_cut_loses_a_synced_record_with_interval_durability)
{
    check_all_cuts(AK_DURABILITY_INTERVAL, 150);
}

TEST(wal, no_power_cut_loses_a_synced_record_with_async_durability)
{
    check_all_cuts(AK_DURABILITY_ASYNC, 120);
}

TEST_MAIN()
