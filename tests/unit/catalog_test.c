#include "base/mem.h"
#include "base/rand.h"
#include "base/uuid.h"
#include "catalog/catalog.h"
#include "support/test.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct ak_err err;

static const char *path_of(const char *name)
{
    static char path[1024];
    (void)snprintf(path, sizeof path, "%s/%s", ak_test_dir(), name);
    return path;
}

static struct ak_catalog *open_at(struct ak_fs *fs, const char *name)
{
    struct ak_catalog *catalog = NULL;
    CHECK_OK(ak_catalog_open(fs, path_of(name), NULL, &catalog, &err));
    return catalog;
}

/* Ids are numbers in these tests. */
static struct ak_uuid id_of(uint64_t n)
{
    struct ak_uuid id = {{0x01, 0x93}};
    for (int i = 0; i < 8; i++) {
        id.b[15 - i] = (uint8_t)(n >> (8 * i));
    }
    return id;
}

static enum ak_rc create_named(struct ak_catalog *catalog, uint64_t n, struct ak_str name,
                               struct ak_err *at)
{
    struct ak_collection_info info = {.id = id_of(n),
                                      .name = name,
                                      .dimension = (uint32_t)(n % 65535) + 1,
                                      .metric = (enum ak_metric)(n % AK_METRIC_COUNT),
                                      .embedding_model = AK_STR("e5"),
                                      .index = ak_index_params_default(),
                                      .state = AK_COLLECTION_READY,
                                      .created_us = (int64_t)n * 1000};
    return ak_catalog_create(catalog, &info, at);
}

/* Collection n is named "c" and nine digits, so that names sort as numbers do. */
static enum ak_rc create(struct ak_catalog *catalog, uint64_t n, struct ak_err *at)
{
    char name[32];
    (void)snprintf(name, sizeof name, "c%09llu", (unsigned long long)n);
    return create_named(catalog, n, ak_str_of(name), at);
}

static enum ak_rc checkpoint(struct ak_catalog *catalog, uint64_t n, uint64_t lsn,
                             struct ak_str blob)
{
    struct ak_checkpoint_commit commit = {.id = id_of(n),
                                          .checkpoint = {.generation = lsn,
                                                         .lsn = lsn,
                                                         .documents = lsn + 1,
                                                         .image_bytes = blob.len,
                                                         .tiny = blob.len > 0},
                                          .blob = blob};
    return ak_catalog_checkpoint(catalog, &commit, 1, &err);
}

struct seen {
    uint64_t count;
    uint64_t xor_of_ids;
    char last[AK_NAME_MAX + 1];
    bool is_sorted;
    uint64_t lsn_sum;
};

static enum ak_rc see(void *ctx, const struct ak_catalog_row *row, struct ak_err *at)
{
    (void)at;
    struct seen *seen = ctx;
    char name[AK_NAME_MAX + 1];
    (void)snprintf(name, sizeof name, "%.*s", AK_STR_ARG(row->info.name));
    seen->is_sorted = seen->is_sorted && strcmp(seen->last, name) < 0;
    memcpy(seen->last, name, sizeof name);
    uint64_t n = 0;
    for (int i = 8; i < 16; i++) {
        n = n << 8 | row->info.id.b[i];
    }
    seen->count++;
    seen->xor_of_ids ^= ak_uuid_hash(&row->info.id);
    seen->lsn_sum += row->checkpoint.lsn;
    CHECK(row->info.dimension == n % 65535 + 1 && row->info.metric == n % AK_METRIC_COUNT);
    CHECK(ak_str_eq(row->info.embedding_model, AK_STR("e5")));
    CHECK(row->info.created_us == (int64_t)n * 1000);
    return AK_OK;
}

static struct seen list(struct ak_catalog *catalog)
{
    struct seen seen = {.is_sorted = true};
    CHECK_OK(ak_catalog_each(catalog, see, &seen, &err));
    CHECK(seen.is_sorted);
    return seen;
}

TEST(catalog, what_was_created_is_listed_by_name_and_survives_a_reopen)
{
    struct ak_catalog *catalog = open_at(ak_fs_posix(), "a.db");
    CHECK_INT(list(catalog).count, 0);
    for (uint64_t n = 0; n < 1300; n++) { /* more than two batches of a listing */
        CHECK_OK(create(catalog, n * 7919 % 1300, &err));
    }
    struct seen seen = list(catalog);
    CHECK_INT(seen.count, 1300);
    ak_catalog_close(catalog);
    catalog = open_at(ak_fs_posix(), "a.db");
    struct seen again = list(catalog);
    CHECK_INT(again.count, 1300);
    CHECK(again.xor_of_ids == seen.xor_of_ids);
    CHECK_OK(ak_catalog_check(catalog, &err));
    ak_catalog_close(catalog);
    ak_catalog_close(NULL);
}

TEST(catalog, every_field_of_a_row_reads_back)
{
    struct ak_catalog *catalog = open_at(ak_fs_posix(), "f.db");
    CHECK_OK(create_named(catalog, 65534, AK_STR("日本語 'quoted\""), &err));
    CHECK_OK(checkpoint(catalog, 65534, UINT64_MAX - 1, AK_STR_NONE));
    struct seen seen = list(catalog);
    CHECK_STR(seen.last, "日本語 'quoted\"");
    CHECK(seen.lsn_sum == UINT64_MAX - 1);
    ak_catalog_close(catalog);
}

TEST(catalog, a_taken_name_or_id_exists_and_a_deleted_one_is_free_again)
{
    struct ak_catalog *catalog = open_at(ak_fs_posix(), "d.db");
    CHECK_OK(create_named(catalog, 1, AK_STR("one"), &err));
    CHECK_RC(AK_EXISTS, create_named(catalog, 2, AK_STR("one"), &err));
    CHECK_STR(err.text, "a collection named 'one' exists already");
    CHECK_RC(AK_EXISTS, create_named(catalog, 1, AK_STR("other"), &err));
    CHECK_OK(create_named(catalog, 3, AK_STR("One"), &err));
    struct ak_uuid id = id_of(1);
    CHECK_OK(ak_catalog_delete(catalog, &id, &err));
    CHECK_RC(AK_NOT_FOUND, ak_catalog_delete(catalog, &id, &err));
    CHECK_OK(create_named(catalog, 2, AK_STR("one"), &err));
    CHECK_INT(list(catalog).count, 2);
    ak_catalog_close(catalog);
}

static enum ak_rc stop_at_three(void *ctx, const struct ak_catalog_row *row, struct ak_err *at)
{
    (void)row;
    int *count = ctx;
    return ++*count == 3 ? ak_fail(at, AK_CONFLICT, "enough") : AK_OK;
}

static enum ak_rc delete_it(void *ctx, const struct ak_catalog_row *row, struct ak_err *at)
{
    return ak_catalog_delete(ctx, &row->info.id, at);
}

TEST(catalog, a_listing_stops_at_a_failure_and_may_change_the_catalog)
{
    struct ak_catalog *catalog = open_at(ak_fs_posix(), "l.db");
    for (uint64_t n = 0; n < 600; n++) {
        CHECK_OK(create(catalog, n, &err));
    }
    int count = 0;
    CHECK_RC(AK_CONFLICT, ak_catalog_each(catalog, stop_at_three, &count, &err));
    CHECK_INT(count, 3);
    CHECK_STR(err.text, "enough");
    CHECK_OK(ak_catalog_each(catalog, delete_it, catalog, &err));
    CHECK_INT(list(catalog).count, 0);
    ak_catalog_close(catalog);
}

TEST(catalog, a_tiny_image_is_replaced_by_the_next_and_goes_with_a_file_or_the_collection)
{
    struct ak_catalog *catalog = open_at(ak_fs_posix(), "t.db");
    static char image[65536];
    struct ak_buf out;
    struct ak_uuid id = id_of(4);
    memset(image, 0x5A, sizeof image);
    ak_buf_init(&out, 0);
    CHECK_RC(AK_NOT_FOUND, ak_catalog_tiny(catalog, &id, &out, &err));
    CHECK_OK(create(catalog, 4, &err));
    CHECK_RC(AK_NOT_FOUND, ak_catalog_tiny(catalog, &id, &out, &err));
    CHECK_OK(checkpoint(catalog, 4, 10, (struct ak_str){image, sizeof image}));
    ak_buf_add(&out, "x", 1);
    CHECK_OK(ak_catalog_tiny(catalog, &id, &out, &err));
    CHECK(out.len == 1 + sizeof image && memcmp(out.p + 1, image, sizeof image) == 0);
    CHECK_OK(checkpoint(catalog, 4, 11, AK_STR("second")));
    ak_buf_clear(&out);
    CHECK_OK(ak_catalog_tiny(catalog, &id, &out, &err));
    CHECK(ak_str_eq(ak_buf_str(&out), AK_STR("second")));
    CHECK_OK(checkpoint(catalog, 4, 12, AK_STR_NONE));
    CHECK_RC(AK_NOT_FOUND, ak_catalog_tiny(catalog, &id, &out, &err));
    CHECK_INT(list(catalog).lsn_sum, 12);
    CHECK_OK(checkpoint(catalog, 4, 13, AK_STR("third")));
    CHECK_OK(ak_catalog_delete(catalog, &id, &err));
    CHECK_OK(create(catalog, 4, &err));
    CHECK_RC(AK_NOT_FOUND, ak_catalog_tiny(catalog, &id, &out, &err));
    char *huge = ak_zalloc((1 << 20) + 1);
    CHECK_RC(AK_TOO_BIG, checkpoint(catalog, 4, 1, (struct ak_str){huge, (1 << 20) + 1}));
    ak_free(huge);
    ak_buf_release(&out);
    ak_catalog_close(catalog);
}

TEST(catalog, checkpoints_are_one_transaction_and_skip_what_is_gone)
{
    enum { COUNT = 500 };
    struct ak_catalog *catalog = open_at(ak_fs_posix(), "c.db");
    static struct ak_checkpoint_commit commits[COUNT];
    for (uint64_t n = 0; n < COUNT; n++) {
        CHECK_OK(create(catalog, n, &err));
        commits[n] = (struct ak_checkpoint_commit){
            .id = id_of(n),
            .checkpoint = {.generation = 1, .lsn = n, .documents = 3, .tiny = n % 2},
            .blob = AK_STR("an image")};
    }
    struct ak_uuid gone = id_of(100);
    CHECK_OK(ak_catalog_delete(catalog, &gone, &err));
    CHECK_OK(ak_catalog_checkpoint(catalog, commits, COUNT, &err));
    CHECK_OK(ak_catalog_checkpoint(catalog, commits, 0, &err));
    struct seen seen = list(catalog);
    CHECK_INT(seen.count, COUNT - 1);
    CHECK_INT(seen.lsn_sum, COUNT * (COUNT - 1) / 2 - 100);
    struct ak_buf out;
    ak_buf_init(&out, 0);
    struct ak_uuid odd = id_of(77);
    CHECK_OK(ak_catalog_tiny(catalog, &odd, &out, &err));
    ak_buf_release(&out);
    ak_catalog_close(catalog);
}

TEST(catalog, settings_are_kept_bit_for_bit)
{
    struct ak_catalog *catalog = open_at(ak_fs_posix(), "s.db");
    uint64_t value = 1;
    CHECK_OK(ak_catalog_get(catalog, "wal_from", 77, &value, &err));
    CHECK_INT(value, 77);
    CHECK_OK(ak_catalog_set(catalog, "wal_from", 5, &err));
    CHECK_OK(ak_catalog_set(catalog, "wal_from", UINT64_MAX, &err));
    CHECK_OK(ak_catalog_set(catalog, "other", 0, &err));
    ak_catalog_close(catalog);
    catalog = open_at(ak_fs_posix(), "s.db");
    CHECK_OK(ak_catalog_get(catalog, "wal_from", 77, &value, &err));
    CHECK(value == UINT64_MAX);
    CHECK_OK(ak_catalog_get(catalog, "other", 77, &value, &err));
    CHECK_INT(value, 0);
    ak_catalog_close(catalog);
}

struct creator {
    struct ak_catalog *catalog;
    uint64_t from;
    _Atomic int *made;
    _Atomic int *taken;
};

static void *create_many(void *arg)
{
    struct creator *creator = arg;
    for (uint64_t i = 0; i < 100; i++) {
        struct ak_err mine;
        CHECK(create(creator->catalog, 1000 + creator->from * 100 + i, &mine) == AK_OK);
        enum ak_rc rc = create_named(creator->catalog, 100000 + creator->from * 100 + i,
                                     (struct ak_str){&"pqrstuvwxyz"[i % 11], 1}, &mine);
        CHECK(rc == AK_OK || rc == AK_EXISTS);
        atomic_fetch_add(rc == AK_OK ? creator->made : creator->taken, 1);
    }
    return NULL;
}

TEST(catalog, eight_threads_create_at_once_and_one_failing_hurts_no_other)
{
    struct ak_catalog *catalog = open_at(ak_fs_posix(), "g.db");
    _Atomic int made = 0;
    _Atomic int taken = 0;
    pthread_t threads[8];
    struct creator creators[8];
    for (uint64_t i = 0; i < 8; i++) {
        creators[i] = (struct creator){catalog, i, &made, &taken};
        CHECK(pthread_create(&threads[i], NULL, create_many, &creators[i]) == 0);
    }
    for (int i = 0; i < 8; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    CHECK_INT(made, 11);
    CHECK_INT(taken, 800 - 11);
    CHECK_INT(list(catalog).count, 800 + 11);
    CHECK_OK(ak_catalog_check(catalog, &err));
    ak_catalog_close(catalog);
}

TEST(catalog, a_second_open_of_the_same_catalog_is_a_conflict)
{
    struct ak_catalog *catalog = open_at(ak_fs_posix(), "x.db");
    struct ak_catalog *second = NULL;
    CHECK_RC(AK_CONFLICT, ak_catalog_open(ak_fs_posix(), path_of("x.db"), NULL, &second, &err));
    CHECK(strstr(err.text, "another process has") != NULL);
    struct ak_catalog *other = open_at(ak_fs_posix(), "y.db");
    CHECK_OK(create(other, 1, &err));
    CHECK_INT(list(catalog).count, 0);
    ak_catalog_close(other);
    ak_catalog_close(catalog);
    CHECK_RC(AK_NOT_FOUND,
             ak_catalog_open(ak_fs_posix(), path_of("absent/x.db"), NULL, &second, &err));
}

TEST(catalog, a_full_disk_refuses_changes_and_with_room_again_they_go_on)
{
    struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
    struct ak_catalog *catalog = open_at(ak_fs_fault_fs(fault), "full.db");
    uint64_t n = 0;
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 20; i++) {
            CHECK_OK(create(catalog, n++, &err));
        }
        ak_fs_fault_set(fault, AK_FS_WRITE | AK_FS_ALLOCATE, round % 4, ENOSPC, true);
        static char image[60000];
        enum ak_rc rc = checkpoint(catalog, 3, 9, (struct ak_str){image, sizeof image});
        CHECK_INT(rc, AK_NO_SPACE);
        CHECK(strstr(err.text, "No space left") != NULL);
        CHECK_RC(AK_NO_SPACE, create(catalog, 1000000, &err));
        CHECK_INT(list(catalog).count, n);
        ak_fs_fault_set(fault, AK_FS_WRITE, -1, 0, false);
        struct ak_uuid id = id_of(3);
        struct ak_buf out;
        ak_buf_init(&out, 0);
        CHECK_RC(AK_NOT_FOUND, ak_catalog_tiny(catalog, &id, &out, &err));
        ak_buf_release(&out);
    }
    CHECK_OK(create(catalog, 1000000, &err));
    CHECK_OK(ak_catalog_check(catalog, &err));
    ak_catalog_close(catalog);
    catalog = open_at(ak_fs_posix(), "full.db");
    CHECK_INT(list(catalog).count, n + 1);
    CHECK_OK(ak_catalog_check(catalog, &err));
    ak_catalog_close(catalog);
    ak_fs_fault_close(fault);
}

/* Six collections with tiny images; *made says which creates were acknowledged. */
static bool work_until_failure(struct ak_catalog *catalog, uint64_t *made, uint64_t *unsure)
{
    static char image[9000];
    for (uint64_t n = 0; n < 6; n++) {
        if (create(catalog, n, &err) != AK_OK) {
            *unsure |= 1u << n;
            return false;
        }
        *made |= 1u << n;
        if (checkpoint(catalog, n, n + 1, (struct ak_str){image, sizeof image}) != AK_OK) {
            return false;
        }
    }
    return true;
}

static enum ak_rc mark(void *ctx, const struct ak_catalog_row *row, struct ak_err *at)
{
    (void)at;
    *(uint64_t *)ctx |= 1u << row->info.id.b[15];
    return AK_OK;
}

static void check_what_is_left(const char *name, uint64_t made, uint64_t unsure)
{
    struct ak_catalog *catalog = open_at(ak_fs_posix(), name);
    uint64_t there = 0;
    CHECK_OK(ak_catalog_each(catalog, mark, &there, &err));
    CHECK_INT(there & ~unsure, made);
    CHECK_OK(ak_catalog_check(catalog, &err));
    CHECK_OK(create_named(catalog, 60, AK_STR("after"), &err));
    ak_catalog_close(catalog);
}

static void fail_every(unsigned ops, int at_least)
{
    int fired = 0;
    for (int64_t nth = 0;; nth++) {
        char name[64];
        (void)snprintf(name, sizeof name, "n%u-%lld.db", ops, (long long)nth);
        struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
        struct ak_catalog *catalog = NULL;
        uint64_t made = 0;
        uint64_t unsure = 0;
        ak_fs_fault_set(fault, ops, nth, EIO, false);
        enum ak_rc rc = ak_catalog_open(ak_fs_fault_fs(fault), path_of(name), NULL, &catalog, &err);
        if (rc != AK_OK) {
            CHECK_INT(rc, AK_IO);
        } else if (!work_until_failure(catalog, &made, &unsure)) {
            CHECK_INT(err.rc, AK_IO);
        }
        ak_catalog_close(catalog);
        bool is_over = !ak_fs_fault_fired(fault);
        ak_fs_fault_close(fault);
        check_what_is_left(name, made, unsure);
        if (is_over) {
            break;
        }
        fired++;
    }
    CHECK(fired >= at_least);
}

TEST(catalog, whatever_write_fails_the_acknowledged_is_there_after_a_reopen)
{
    fail_every(AK_FS_WRITE, 40);
}

TEST(catalog, whatever_sync_fails_the_acknowledged_is_there_after_a_reopen)
{
    fail_every(AK_FS_SYNC | AK_FS_SYNC_DIR, 12);
}

TEST(catalog, whatever_open_read_or_removal_fails_the_acknowledged_is_there_after_a_reopen)
{
    fail_every(AK_FS_OPEN | AK_FS_REMOVE | AK_FS_READ, 3);
}

TEST(catalog, after_a_failed_sync_changes_are_refused_and_reads_go_on)
{
    struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
    struct ak_catalog *catalog = open_at(ak_fs_fault_fs(fault), "sync.db");
    CHECK_OK(create(catalog, 1, &err));
    ak_fs_fault_set(fault, AK_FS_SYNC, 0, EIO, false);
    CHECK_RC(AK_IO, create(catalog, 2, &err));
    CHECK(ak_fs_fault_fired(fault));
    CHECK_RC(AK_IO, create(catalog, 3, &err));
    CHECK(strstr(err.text, "restarted") != NULL);
    CHECK_INT(list(catalog).count, 1);
    ak_catalog_close(catalog);
    ak_fs_fault_close(fault);
    catalog = open_at(ak_fs_posix(), "sync.db");
    CHECK_OK(create(catalog, 3, &err));
    CHECK_OK(ak_catalog_check(catalog, &err));
    ak_catalog_close(catalog);
}

/* Overwrite `len` bytes at `at`. */
static void damage(const char *name, uint64_t at, size_t len)
{
    struct ak_file *file = NULL;
    char *junk = ak_alloc(len);
    memset(junk, 0xA5, len);
    CHECK_OK(ak_fs_open(ak_fs_posix(), path_of(name), AK_OPEN_WRITE, &file, &err));
    CHECK_OK(ak_file_write(file, at, junk, len, &err));
    ak_file_close(file);
    ak_free(junk);
}

TEST(catalog, a_damaged_file_is_said_to_be_corrupt)
{
    struct ak_catalog *catalog = NULL;
    const struct {
        uint64_t at;
        size_t len;
    } damages[] = {{0, 16}, {100, 3000}, {4096, 4096}, {8192, 40000}};
    for (size_t i = 0; i < 4; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "damaged%zu.db", i);
        catalog = open_at(ak_fs_posix(), name);
        for (uint64_t n = 0; n < 300; n++) {
            CHECK_OK(create(catalog, n, &err));
        }
        ak_catalog_close(catalog);
        damage(name, damages[i].at, damages[i].len);
        enum ak_rc rc = ak_catalog_open(ak_fs_posix(), path_of(name), NULL, &catalog, &err);
        if (rc == AK_OK) {
            rc = ak_catalog_check(catalog, &err);
            ak_catalog_close(catalog);
        }
        CHECK_INT(rc, AK_CORRUPT);
    }
    CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), path_of("text.db"), AK_STR("not a database at all"),
                                &err));
    CHECK_RC(AK_CORRUPT, ak_catalog_open(ak_fs_posix(), path_of("text.db"), NULL, &catalog, &err));
}

/* Run SQL on a catalog file with SQLite's own file layer, as a person with a shell would. */
static void with_shell(const char *name, const char *text)
{
    sqlite3 *db = NULL;
    char *message = NULL;
    CHECK(sqlite3_open(path_of(name), &db) == SQLITE_OK);
    if (sqlite3_exec(db, text, NULL, NULL, &message) != SQLITE_OK) {
        ak_test_fail(__FILE__, __LINE__, "%s: %s", text, message);
    }
    (void)sqlite3_close(db);
}

TEST(catalog, a_row_outside_its_limits_is_corrupt_and_named)
{
    static const char *const edits[] = {
        "UPDATE collections SET dimension=0",
        "UPDATE collections SET dimension=1<<40",
        "UPDATE collections SET uuid=x'0102'",
        "UPDATE collections SET metric='angle'",
        "UPDATE collections SET quantization='q9'",
        "UPDATE collections SET vectors='tape'",
        "UPDATE collections SET vectors='disk', quantization='none'",
        "UPDATE collections SET state=9",
        "UPDATE collections SET m=-1",
        "UPDATE collections SET name='a/b'",
    };
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "row%zu.db", i);
        struct ak_catalog *catalog = open_at(ak_fs_posix(), name);
        CHECK_OK(create_named(catalog, 1, AK_STR("named"), &err));
        ak_catalog_close(catalog);
        with_shell(name, edits[i]);
        catalog = open_at(ak_fs_posix(), name);
        struct seen seen = {.is_sorted = true};
        CHECK_RC(AK_CORRUPT, ak_catalog_each(catalog, see, &seen, &err));
        CHECK(strstr(err.text, i == 9 ? "a/b" : "named") != NULL);
        ak_catalog_close(catalog);
    }
}

TEST(catalog, a_database_of_somebody_else_or_of_a_newer_version_is_refused_untouched)
{
    struct ak_catalog *catalog = NULL;
    with_shell("theirs.db", "CREATE TABLE songs(name)");
    CHECK_RC(AK_CORRUPT,
             ak_catalog_open(ak_fs_posix(), path_of("theirs.db"), NULL, &catalog, &err));
    catalog = open_at(ak_fs_posix(), "other.db");
    ak_catalog_close(catalog);
    with_shell("other.db", "ALTER TABLE collections RENAME COLUMN lsn TO other");
    CHECK_RC(AK_CORRUPT, ak_catalog_open(ak_fs_posix(), path_of("other.db"), NULL, &catalog, &err));
    catalog = open_at(ak_fs_posix(), "newer.db");
    ak_catalog_close(catalog);
    with_shell("newer.db", "PRAGMA user_version=1000");
    CHECK_RC(AK_UNSUPPORTED,
             ak_catalog_open(ak_fs_posix(), path_of("newer.db"), NULL, &catalog, &err));
    CHECK(strstr(err.text, "schema 1000") != NULL);
}

/* The child tells the number of each acknowledged create through the pipe. */
static void create_and_tell(const char *path, int fd)
{
    struct ak_catalog *catalog = NULL;
    if (ak_catalog_open(ak_fs_posix(), path, NULL, &catalog, NULL) != AK_OK) {
        _exit(1);
    }
    for (uint32_t n = 0;; n++) {
        struct ak_err mine;
        if (create(catalog, n, &mine) != AK_OK || write(fd, &n, sizeof n) != sizeof n) {
            _exit(2);
        }
    }
}

TEST(catalog, a_killed_process_loses_nothing_that_it_acknowledged)
{
    struct ak_rand rand;
    ak_rand_seed(&rand, ak_test_seed());
    for (int round = 0; round < 5; round++) {
        char name[32];
        int fds[2];
        (void)snprintf(name, sizeof name, "killed%d.db", round);
        const char *path = path_of(name);
        CHECK(pipe(fds) == 0);
        pid_t child = fork();
        if (child == 0) {
            (void)close(fds[0]);
            create_and_tell(path, fds[1]);
        }
        (void)close(fds[1]);
        uint64_t wanted = ak_rand_below(&rand, 400);
        uint32_t told = 0;
        uint64_t count = 0;
        while (count <= wanted && read(fds[0], &told, sizeof told) == sizeof told) {
            count++;
        }
        CHECK(kill(child, SIGKILL) == 0);
        while (read(fds[0], &told, sizeof told) == sizeof told) {
            count++; /* acknowledged before the kill arrived */
        }
        (void)waitpid(child, NULL, 0);
        (void)close(fds[0]);
        struct ak_catalog *catalog = open_at(ak_fs_posix(), name);
        uint64_t there = list(catalog).count;
        CHECK(count > wanted);
        CHECK(there == count || there == count + 1);
        CHECK_OK(ak_catalog_check(catalog, &err));
        ak_catalog_close(catalog);
    }
}

TEST_MAIN()
