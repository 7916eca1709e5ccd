/* catalog_jobs_test.c — rows of jobs and snapshots, and catalogs of the first schema. */
#include "base/fault.h"
#include "base/mem.h"
#include "catalog/catalog.h"
#include "support/test.h"
#include <errno.h>
#include <sqlite3.h>

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

static struct ak_uuid id_of(unsigned kind, unsigned n)
{
    struct ak_uuid id = {{0x01, 0x93, (uint8_t)kind}};
    id.b[14] = (uint8_t)(n >> 8);
    id.b[15] = (uint8_t)n;
    return id;
}

static struct ak_catalog_job job_of(unsigned n)
{
    return (struct ak_catalog_job){.id = id_of(1, n),
                                   .kind = AK_STR("snapshot"),
                                   .step = n,
                                   .collection = id_of(2, n % 3),
                                   .snapshot = id_of(3, n),
                                   .target = id_of(4, n),
                                   .created_us = 1000 + n,
                                   .payload = AK_STR("{\"a\":1}")};
}

static struct ak_catalog_job get(struct ak_catalog *catalog, unsigned n, struct ak_arena *arena)
{
    struct ak_catalog_job job;
    struct ak_uuid id = id_of(1, n);
    CHECK_OK(ak_catalog_job_get(catalog, &id, arena, &job, &err));
    return job;
}

TEST(catalog_jobs, every_field_reads_back_and_a_second_put_replaces_the_row)
{
    struct ak_catalog *catalog = open_at(ak_fs_posix(), "a.db");
    struct ak_arena arena;
    struct ak_catalog_job job = job_of(7);
    struct ak_uuid unknown = id_of(1, 8);
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_catalog_job_put(catalog, &job, NULL, NULL, &err));
    struct ak_catalog_job got = get(catalog, 7, &arena);
    CHECK(ak_uuid_eq(&got.id, &job.id) && ak_uuid_eq(&got.collection, &job.collection) &&
          ak_uuid_eq(&got.snapshot, &job.snapshot) && ak_uuid_eq(&got.target, &job.target));
    CHECK(ak_str_eq(got.kind, job.kind) && ak_str_eq(got.payload, job.payload));
    CHECK(got.state == AK_CATALOG_JOB_RUNNING && got.step == 7 && !got.owes);
    CHECK(got.created_us == 1007 && got.finished_us == 0 && got.rc == AK_OK && !got.error.len);
    job.state = AK_CATALOG_JOB_FAILED;
    job.owes = true;
    job.rc = AK_FORBIDDEN;
    job.error = AK_STR("403: schlüssel?");
    job.finished_us = 5000;
    job.created_us = 1; /* of the first put, for good */
    CHECK_OK(ak_catalog_job_put(catalog, &job, NULL, NULL, &err));
    ak_catalog_close(catalog);
    catalog = open_at(ak_fs_posix(), "a.db");
    got = get(catalog, 7, &arena);
    CHECK(got.state == AK_CATALOG_JOB_FAILED && got.owes && got.rc == AK_FORBIDDEN);
    CHECK(got.created_us == 1007 && got.finished_us == 5000);
    CHECK(ak_str_eq(got.error, job.error));
    CHECK_RC(AK_NOT_FOUND, ak_catalog_job_get(catalog, &unknown, &arena, &got, &err));
    char *large = ak_zalloc(AK_JOB_PAYLOAD_MAX + 1);
    job.payload = (struct ak_str){large, AK_JOB_PAYLOAD_MAX + 1};
    CHECK_RC(AK_TOO_BIG, ak_catalog_job_put(catalog, &job, NULL, NULL, &err));
    ak_free(large);
    ak_arena_release(&arena);
    ak_catalog_close(catalog);
}

static enum ak_rc add_step(void *ctx, const struct ak_catalog_job *job, struct ak_err *at)
{
    unsigned *next = ctx;
    if (job->step == 999) {
        return ak_fail(at, AK_CONFLICT, "enough");
    }
    CHECK(job->step >= *next); /* oldest first */
    *next = job->step + 1;
    return AK_OK;
}

TEST(catalog_jobs, open_ones_are_given_oldest_first_and_the_list_is_newest_first)
{
    enum { COUNT = 300 }; /* more than four batches */
    struct ak_catalog *catalog = open_at(ak_fs_posix(), "b.db");
    struct ak_arena arena;
    struct ak_catalog_job *jobs = NULL;
    size_t count = 0;
    unsigned next = 0;
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_catalog_jobs(catalog, 10, &arena, &jobs, &count, &err));
    CHECK_INT(count, 0);
    for (unsigned n = 0; n < COUNT; n++) {
        struct ak_catalog_job job = job_of(n);
        job.state = n % 3 == 0 ? AK_CATALOG_JOB_RUNNING : AK_CATALOG_JOB_FAILED;
        job.owes = n % 3 == 1;
        job.finished_us = n % 3 == 0 ? 0 : 100 + n;
        CHECK_OK(ak_catalog_job_put(catalog, &job, NULL, NULL, &err));
    }
    CHECK_OK(ak_catalog_jobs_open(catalog, add_step, &next, &err));
    CHECK_INT(next, COUNT - 1); /* 298 owes, 299 is over */
    CHECK_OK(ak_catalog_jobs(catalog, 130, &arena, &jobs, &count, &err));
    CHECK_INT(count, 130);
    for (size_t i = 0; i < count; i++) {
        CHECK_INT(jobs[i].step, COUNT - 1 - i);
    }
    CHECK_OK(ak_catalog_jobs_prune(catalog, 100 + 150, &err));
    CHECK_OK(ak_catalog_jobs(catalog, 1000, &arena, &jobs, &count, &err));
    CHECK_INT(count, COUNT - 50); /* 2, 5, … 149: over, and owing nothing */
    struct ak_catalog_job stop = job_of(999);
    CHECK_OK(ak_catalog_job_put(catalog, &stop, NULL, NULL, &err));
    next = 0;
    CHECK_RC(AK_CONFLICT, ak_catalog_jobs_open(catalog, add_step, &next, &err));
    ak_arena_release(&arena);
    ak_catalog_close(catalog);
}

TEST(catalog_jobs, snapshots_are_noted_and_forgotten_with_their_jobs)
{
    struct ak_catalog *catalog = open_at(ak_fs_posix(), "c.db");
    struct ak_catalog_snapshot newest;
    struct ak_catalog_snapshot old[8];
    struct ak_uuid collection = id_of(2, 1);
    struct ak_uuid other = id_of(2, 2);
    const struct ak_uuid none = {{0}};
    size_t count = 0;
    CHECK_RC(AK_NOT_FOUND, ak_catalog_snapshot_newest(catalog, NULL, &newest, &err));
    for (unsigned n = 0; n < 4; n++) {
        struct ak_catalog_job job = job_of(n);
        struct ak_catalog_snapshot made = {.id = id_of(3, n),
                                           .collection = n == 3 ? other : collection,
                                           .created_us = 100 * (int64_t)n,
                                           .lsn = UINT64_MAX - n,
                                           .bytes = n};
        CHECK_OK(ak_catalog_job_put(catalog, &job, &made, NULL, &err));
        CHECK_OK(ak_catalog_job_put(catalog, &job, &made, NULL, &err)); /* again is nothing new */
    }
    CHECK_OK(ak_catalog_snapshot_newest(catalog, &collection, &newest, &err));
    CHECK(newest.created_us == 200 && newest.lsn == UINT64_MAX - 2 && newest.bytes == 2);
    CHECK_OK(ak_catalog_snapshot_newest(catalog, NULL, &newest, &err));
    CHECK(ak_uuid_eq(&newest.collection, &other));
    CHECK_OK(ak_catalog_snapshots_older(catalog, 10000, &none, old, 8, &count, &err));
    CHECK_INT(count, 2); /* the newest of each stays */
    CHECK(old[0].created_us == 0 && old[1].created_us == 100);
    struct ak_uuid first = old[0].id;
    CHECK_OK(ak_catalog_snapshots_older(catalog, 10000, &first, old, 8, &count, &err));
    CHECK(count == 1 && old[0].created_us == 100);
    CHECK_OK(ak_catalog_snapshots_older(catalog, 100, &none, old, 8, &count, &err));
    CHECK_INT(count, 1);
    struct ak_catalog_job job = job_of(9);
    struct ak_uuid gone = id_of(3, 2);
    CHECK_OK(ak_catalog_job_put(catalog, &job, NULL, &gone, &err));
    CHECK_OK(ak_catalog_snapshot_newest(catalog, &collection, &newest, &err));
    CHECK_INT(newest.created_us, 100);
    ak_catalog_close(catalog);
}

static struct ak_catalog_row row_of(unsigned n, const char *name)
{
    return (struct ak_catalog_row){
        .info = {.id = id_of(2, n),
                 .name = ak_str_of(name),
                 .dimension = 8,
                 .index = ak_index_params_default(),
                 .state = AK_COLLECTION_READY},
        .checkpoint = {.generation = 1, .lsn = 4096, .image_lsn = 77, .documents = 3}};
}

static enum ak_rc note_row(void *ctx, const struct ak_catalog_row *row, struct ak_err *at)
{
    (void)at;
    struct ak_catalog_row *rows = ctx;
    rows[row->info.id.b[15]] = *row;
    return AK_OK;
}

TEST(catalog_jobs, a_tier_reads_back_and_its_cover_changes_with_snapshots_only)
{
    struct ak_catalog *catalog = open_at(ak_fs_posix(), "t.db");
    struct ak_catalog_row rows[8] = {0};
    struct ak_catalog_row row = row_of(1, "one");
    struct ak_catalog_job job = job_of(1);
    struct ak_uuid first = id_of(3, 1);
    struct ak_uuid second = id_of(3, 2);
    struct ak_catalog_snapshot made = {
        .id = first, .collection = row.info.id, .created_us = 5, .generation = 4};
    struct ak_catalog_tier_change changes[2] = {
        {.id = row.info.id,
         .tier = {.tier = AK_TIER_WARM,
                  .pinned = true,
                  .since_us = 11,
                  .last_access_us = 12,
                  .window_from_us = 13,
                  .window_accesses = 14,
                  .rules = {.set = AK_TIER_RULE_WARM_IDLE | AK_TIER_RULE_STAY_COLD,
                            .rules = {.warm_idle_us = 15, .stay_cold_on_access = true}},
                  .cover = second,
                  .cover_generation = 99}},
        {.id = id_of(9, 9)}}; /* not there: skipped */
    job.collection = row.info.id;
    CHECK_OK(ak_catalog_create(catalog, &row.info, &err));
    CHECK_OK(ak_catalog_each(catalog, note_row, rows, &err));
    CHECK(rows[1].tier.tier == AK_TIER_HOT && ak_uuid_is_nil(&rows[1].tier.cover));
    CHECK_OK(ak_catalog_job_put(catalog, &job, &made, NULL, &err));
    made = (struct ak_catalog_snapshot){
        .id = second, .collection = row.info.id, .created_us = 6, .generation = 3};
    CHECK_OK(ak_catalog_job_put(catalog, &job, &made, NULL, &err)); /* of an older generation */
    CHECK_OK(ak_catalog_tiers(catalog, changes, 2, NULL, 0, &err));
    CHECK_OK(ak_catalog_each(catalog, note_row, rows, &err));
    const struct ak_catalog_tier *tier = &rows[1].tier;
    CHECK(tier->tier == AK_TIER_WARM && tier->pinned && tier->since_us == 11);
    CHECK(tier->last_access_us == 12 && tier->window_from_us == 13 && tier->window_accesses == 14);
    CHECK(tier->rules.set == (AK_TIER_RULE_WARM_IDLE | AK_TIER_RULE_STAY_COLD) &&
          tier->rules.rules.warm_idle_us == 15 && tier->rules.rules.stay_cold_on_access);
    CHECK(ak_uuid_eq(&tier->cover, &first) && tier->cover_generation == 4);
    CHECK_OK(ak_catalog_job_put(catalog, &job, NULL, &second, &err)); /* another one goes */
    CHECK_OK(ak_catalog_each(catalog, note_row, rows, &err));
    CHECK(ak_uuid_eq(&tier->cover, &first));
    CHECK_OK(ak_catalog_job_put(catalog, &job, NULL, &first, &err));
    CHECK_OK(ak_catalog_each(catalog, note_row, rows, &err));
    CHECK(ak_uuid_is_nil(&tier->cover) && tier->cover_generation == 0);
    changes[0].tier.tier = AK_TIER_COLD; /* with its cover, which nothing takes from it */
    CHECK_RC(AK_NOT_FOUND, ak_catalog_tiers(catalog, changes, 1, &changes[1].id, 3, &err));
    CHECK_OK(ak_catalog_tiers(catalog, changes, 1, &job.id, 3, &err));
    CHECK_OK(ak_catalog_job_put(catalog, &job, NULL, &second, &err));
    made.generation = 200;
    made.id = first;
    CHECK_OK(ak_catalog_job_put(catalog, &job, &made, NULL, &err));
    CHECK_OK(ak_catalog_each(catalog, note_row, rows, &err));
    CHECK(tier->tier == AK_TIER_COLD && ak_uuid_eq(&tier->cover, &second) &&
          tier->cover_generation == 99);
    ak_catalog_close(catalog);
}

TEST(catalog_jobs, an_adoption_moves_its_job_in_the_same_transaction_or_does_nothing)
{
    struct ak_catalog *catalog = open_at(ak_fs_posix(), "d.db");
    struct ak_arena arena;
    struct ak_catalog_row rows[8] = {0};
    struct ak_catalog_row row = row_of(1, "one");
    struct ak_uuid job_id = id_of(1, 1);
    struct ak_catalog_adoption adoption = {
        .row = &row, .create = true, .job = &job_id, .job_step = 3};
    ak_arena_init(&arena, 0);
    CHECK_RC(AK_NOT_FOUND, ak_catalog_adopt(catalog, &adoption, &err));
    CHECK_OK(ak_catalog_each(catalog, note_row, rows, &err));
    CHECK_INT(rows[1].checkpoint.generation, 0);
    struct ak_catalog_job job = job_of(1);
    CHECK_OK(ak_catalog_job_put(catalog, &job, NULL, NULL, &err));
    CHECK_OK(ak_catalog_adopt(catalog, &adoption, &err));
    CHECK_INT(get(catalog, 1, &arena).step, 3);
    CHECK_RC(AK_EXISTS, ak_catalog_adopt(catalog, &adoption, &err));
    adoption = (struct ak_catalog_adoption){.row = &row};
    row.checkpoint = (struct ak_checkpoint){.generation = 9, .lsn = 8192, .image_lsn = 5};
    CHECK_OK(ak_catalog_adopt(catalog, &adoption, &err));
    CHECK_OK(ak_catalog_each(catalog, note_row, rows, &err));
    CHECK(rows[1].checkpoint.generation == 9 && rows[1].checkpoint.lsn == 8192 &&
          rows[1].checkpoint.image_lsn == 5);
    ak_arena_release(&arena);
    ak_catalog_close(catalog);
}

static void copy_golden(const char *to)
{
    struct ak_buf bytes;
    ak_buf_init(&bytes, 0);
    CHECK_OK(ak_fs_read_all(ak_fs_posix(), "tests/golden/catalog-v1.db", 1 << 20, &bytes, &err));
    CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), path_of(to), ak_buf_str(&bytes), &err));
    ak_buf_release(&bytes);
}

static void check_migrated(struct ak_catalog *catalog)
{
    struct ak_catalog_row rows[8] = {0};
    struct ak_buf blob;
    struct ak_uuid second = {{1, 0x93}};
    uint64_t value = 0;
    CHECK_OK(ak_catalog_each(catalog, note_row, rows, &err));
    CHECK(rows[1].checkpoint.generation == 0 && rows[1].checkpoint.image_lsn == 0);
    for (unsigned n = 2; n <= 3; n++) { /* an image of schema 1 is of this node */
        CHECK(rows[n].checkpoint.generation == n && rows[n].checkpoint.lsn == 5000ull * n &&
              rows[n].checkpoint.image_lsn == 5000ull * n && rows[n].info.dimension == 16 * n);
    }
    second.b[15] = 2;
    ak_buf_init(&blob, 0);
    CHECK_OK(ak_catalog_tiny(catalog, &second, &blob, &err));
    CHECK(ak_str_eq(ak_buf_str(&blob), AK_STR("a blob.")));
    ak_buf_release(&blob);
    CHECK_OK(ak_catalog_get(catalog, "wal_from", 0, &value, &err));
    CHECK_INT(value, 4096);
    struct ak_catalog_job job = job_of(1);
    CHECK_OK(ak_catalog_job_put(catalog, &job, NULL, NULL, &err));
    CHECK_OK(ak_catalog_check(catalog, &err));
}

TEST(catalog_jobs, a_catalog_of_schema_1_is_brought_up_and_keeps_everything)
{
    copy_golden("v1.db");
    struct ak_catalog *catalog = open_at(ak_fs_posix(), "v1.db");
    check_migrated(catalog);
    ak_catalog_close(catalog);
    catalog = open_at(ak_fs_posix(), "v1.db");
    check_migrated(catalog);
    ak_catalog_close(catalog);
}

TEST(catalog_jobs, the_nth_write_or_sync_of_a_migration_fails_and_the_next_open_finishes_it)
{
    struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
    bool fired = true;
    int nth = 0;
    for (; fired; nth++) {
        struct ak_catalog *catalog = NULL;
        char name[32];
        (void)snprintf(name, sizeof name, "m%d.db", nth);
        copy_golden(name);
        ak_fs_fault_set(fault, AK_FS_WRITE | AK_FS_SYNC | AK_FS_OPEN | AK_FS_SYNC_DIR, nth, EIO,
                        false);
        enum ak_rc rc = ak_catalog_open(ak_fs_fault_fs(fault), path_of(name), NULL, &catalog, &err);
        fired = ak_fs_fault_fired(fault);
        CHECK(rc == AK_OK || (fired && err.text[0]));
        ak_fs_fault_set(fault, 0, -1, 0, false);
        ak_catalog_close(catalog);
        catalog = open_at(ak_fs_posix(), name);
        check_migrated(catalog);
        ak_catalog_close(catalog);
    }
    CHECK(nth > 3);
    ak_fs_fault_close(fault);
}

TEST(catalog_jobs, a_damaged_row_is_refused_and_the_others_are_not_taken_for_it)
{
    struct ak_catalog *catalog = open_at(ak_fs_posix(), "e.db");
    struct ak_arena arena;
    struct ak_catalog_job job = job_of(1);
    struct ak_uuid id = job.id;
    sqlite3 *db = NULL;
    CHECK_OK(ak_catalog_job_put(catalog, &job, NULL, NULL, &err));
    ak_catalog_close(catalog);
    static const char *const changes[] = {"UPDATE jobs SET state=7", "UPDATE jobs SET rc='NEVER'",
                                          "UPDATE jobs SET collection=x'00'",
                                          "UPDATE jobs SET kind=''"};
    ak_arena_init(&arena, 0);
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        CHECK_INT(sqlite3_open(path_of("e.db"), &db), SQLITE_OK);
        CHECK_INT(sqlite3_exec(db, changes[i], NULL, NULL, NULL), SQLITE_OK);
        CHECK_INT(sqlite3_close(db), SQLITE_OK);
        catalog = open_at(ak_fs_posix(), "e.db");
        CHECK_RC(AK_CORRUPT, ak_catalog_job_get(catalog, &id, &arena, &job, &err));
        job = job_of(1);
        CHECK_OK(ak_catalog_job_put(catalog, &job, NULL, NULL, &err));
        CHECK_OK(ak_catalog_job_get(catalog, &id, &arena, &job, &err));
        ak_catalog_close(catalog);
    }
    ak_arena_release(&arena);
}

TEST_MAIN()
