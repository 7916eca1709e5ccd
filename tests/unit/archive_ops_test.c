/* archive_ops_test.c — snapshots of live collections, and what comes back from them. */
#include "archive_world.h"
#include <pthread.h>

enum { MANY = 900 };

static void fill(struct world *world, const char *name, unsigned count, unsigned version)
{
    (void)docs_create(world->engine, name);
    CHECK_OK(docs_put(world->engine, name, 0, count, version));
}

TEST(archive, a_snapshot_comes_back_as_a_new_collection_bit_for_bit)
{
    struct world world;
    struct ak_job job = {0};
    world_open(&world, ak_test_dir());
    fill(&world, "docs", MANY, 1);
    struct ak_uuid snapshot = world_snapshot(&world, "docs");
    CHECK_OK(docs_put(world.engine, "docs", 0, MANY, 2));
    CHECK_OK(world_restore(&world, "docs", &snapshot, "copy", &job));
    CHECK(job.state == AK_JOB_DONE && job.kind == AK_JOB_RESTORE && !job.rebuilt);
    check_state(&world, "copy", MANY, 1);
    check_state(&world, "docs", MANY, 2);
    world_stop(&world);
    world_start(&world);
    check_state(&world, "copy", MANY, 1);
    CHECK_INT(world_listed(&world, "docs"), 1);
    world_close(&world);
}

TEST(archive, a_restore_in_place_replaces_the_state_and_writes_go_on)
{
    struct world world;
    world_open(&world, ak_test_dir());
    fill(&world, "docs", 40, 1); /* small: its image is a blob */
    struct ak_uuid snapshot = world_snapshot(&world, "docs");
    CHECK_OK(docs_put(world.engine, "docs", 0, MANY, 2));
    CHECK_OK(world_restore(&world, "docs", &snapshot, "", NULL));
    check_state(&world, "docs", 40, 1);
    CHECK_OK(docs_put(world.engine, "docs", 3, 1, 3));
    world_stop(&world);
    world_start(&world);
    CHECK_INT(docs_version(world.engine, "docs", 3), 3);
    CHECK_INT(docs_count(world.engine, "docs"), 40);
    world_close(&world);
}

TEST(archive, a_missing_or_damaged_image_is_built_anew_and_the_job_says_so)
{
    struct world world;
    struct ak_job job = {0};
    world_open(&world, ak_test_dir());
    fill(&world, "docs", MANY, 1);
    struct ak_uuid snapshot = world_snapshot(&world, "docs");
    world_damage(&world, ".akx");
    CHECK_OK(world_restore(&world, "docs", &snapshot, "copy", &job));
    CHECK(job.rebuilt);
    check_state(&world, "copy", MANY, 1);
    CHECK_OK(docs_put(world.engine, "docs", 0, MANY, 2));
    CHECK_OK(world_restore(&world, "docs", &snapshot, "", &job));
    CHECK(job.rebuilt);
    check_state(&world, "docs", MANY, 1);
    struct ak_snapshot_options without = {.format = AK_SNAPSHOT_JSON, .no_image = true};
    struct ak_uuid id;
    CHECK_OK(ak_archive_create(world.archive, AK_STR("docs"), &without, &id, &snapshot, &err));
    CHECK_OK(ak_archive_wait(world.archive, &id, WORLD_WAIT_MS, &err));
    CHECK_OK(world_restore(&world, "docs", &snapshot, "third", &job));
    CHECK(job.rebuilt);
    check_state(&world, "third", MANY, 1);
    world_close(&world);
}

TEST(archive, a_snapshot_that_is_damaged_throughout_changes_nothing)
{
    struct world world;
    struct ak_job job = {0};
    struct ak_snapshot_report report = {0};
    world_open(&world, ak_test_dir());
    fill(&world, "docs", MANY, 1);
    struct ak_uuid snapshot = world_snapshot(&world, "docs");
    CHECK_OK(
        ak_archive_verify(world.archive, AK_STR("docs"), &snapshot, NULL, NULL, &report, &err));
    CHECK_INT(report.rows, MANY);
    world_damage(&world, ".akx");
    world_damage_data(&world);
    CHECK_OK(docs_put(world.engine, "docs", 0, MANY, 2));
    CHECK_RC(AK_CORRUPT, world_restore(&world, "docs", &snapshot, "", &job));
    CHECK(job.state == AK_JOB_FAILED && job.rc == AK_CORRUPT);
    CHECK_RC(AK_CORRUPT, world_restore(&world, "docs", &snapshot, "copy", &job));
    CHECK_RC(AK_CORRUPT, ak_archive_verify(world.archive, AK_STR("docs"), &snapshot, NULL, NULL,
                                           &report, &err));
    check_state(&world, "docs", MANY, 2);
    CHECK_INT(ak_engine_collection_count(world.engine), 1);
    CHECK_INT(docs_files(world.dir), 1);
    world_close(&world);
}

TEST(archive, what_cannot_be_is_refused_before_a_job_is_made)
{
    struct world world;
    struct ak_uuid job;
    struct ak_uuid snapshot;
    struct ak_uuid unknown = doc_id(1);
    struct ak_arena arena;
    struct ak_job *jobs = NULL;
    size_t count = 0;
    world_open(&world, ak_test_dir());
    (void)docs_create(world.engine, "empty");
    fill(&world, "docs", 10, 1);
    CHECK_RC(AK_INVALID,
             ak_archive_create(world.archive, AK_STR("empty"), NULL, &job, &snapshot, &err));
    CHECK(strstr(err.text, "empty") != NULL);
    CHECK_RC(AK_NOT_FOUND,
             ak_archive_create(world.archive, AK_STR("no"), NULL, &job, &snapshot, &err));
    const struct ak_snapshot_options lossy_json = {.format = AK_SNAPSHOT_JSON,
                                                   .encoding = AK_SNAPSHOT_Q8};
    CHECK_RC(AK_INVALID,
             ak_archive_create(world.archive, AK_STR("docs"), &lossy_json, &job, &snapshot, &err));
    CHECK(strstr(err.text, "encoding 'lossless'") != NULL);
    CHECK_RC(AK_NOT_FOUND, world_restore(&world, "docs", &unknown, "copy", NULL));
    CHECK_RC(AK_NOT_FOUND, world_restore(&world, "no", &unknown, "copy", NULL));
    CHECK_RC(AK_EXISTS, world_restore(&world, "docs", &unknown, "empty", NULL));
    CHECK_RC(AK_INVALID, world_restore(&world, "docs", &unknown, "a/b", NULL));
    CHECK_RC(AK_NOT_FOUND, ak_archive_wait(world.archive, &unknown, 0, &err));
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_archive_jobs(world.archive, 100, &arena, &jobs, &count, &err));
    CHECK_INT(count, 0);
    ak_arena_release(&arena);
    world_close(&world);
}

TEST(archive, a_deleted_snapshot_leaves_nothing_and_may_be_deleted_again)
{
    struct world world;
    struct ak_arena arena;
    struct ak_snapshot_meta meta;
    world_open(&world, ak_test_dir());
    fill(&world, "docs", MANY, 1);
    struct ak_uuid first = world_snapshot(&world, "docs");
    struct ak_uuid second = world_snapshot(&world, "docs");
    size_t all = world_objects(world.under);
    CHECK_OK(ak_archive_delete(world.archive, AK_STR("docs"), &first, &err));
    CHECK_OK(ak_archive_delete(world.archive, AK_STR("docs"), &first, &err));
    CHECK_INT(world_objects(world.under), all / 2);
    ak_arena_init(&arena, 0);
    CHECK_RC(AK_NOT_FOUND,
             ak_archive_get(world.archive, AK_STR("docs"), &first, &arena, &meta, &err));
    CHECK_OK(ak_archive_get(world.archive, AK_STR("docs"), &second, &arena, &meta, &err));
    CHECK_INT(meta.vector_count, MANY);
    ak_arena_release(&arena);
    CHECK_RC(AK_NOT_FOUND, world_restore(&world, "docs", &first, "copy", NULL));
    world_close(&world);
}

TEST(archive, the_list_is_newest_first_and_filtered_and_outlives_its_collection)
{
    struct world world;
    struct ak_arena arena;
    struct ak_snapshot_meta *list = NULL;
    size_t count = 0;
    char id[AK_UUID_TEXT_LEN + 1] = {0};
    world_open(&world, ak_test_dir());
    struct ak_uuid collection = docs_create(world.engine, "docs");
    ak_uuid_format(&collection, id);
    CHECK_OK(docs_put(world.engine, "docs", 0, 20, 1));
    struct ak_uuid made[3];
    for (int i = 0; i < 3; i++) {
        made[i] = world_snapshot(&world, "docs");
    }
    ak_arena_init(&arena, 0);
    CHECK_OK(
        ak_archive_list(world.archive, AK_STR("docs"), NULL, &arena, &list, &count, NULL, &err));
    CHECK_INT(count, 3);
    for (int i = 0; i < 3; i++) {
        CHECK(ak_uuid_eq(&list[i].id, &made[2 - i]));
    }
    struct ak_archive_list filter = {.from_us = list[1].created_us, .limit = 1};
    CHECK_OK(
        ak_archive_list(world.archive, AK_STR("docs"), &filter, &arena, &list, &count, NULL, &err));
    CHECK(count == 1 && ak_uuid_eq(&list[0].id, &made[2]));
    enum ak_snapshot_format parquet = AK_SNAPSHOT_PARQUET;
    filter = (struct ak_archive_list){.format = &parquet};
    CHECK_OK(
        ak_archive_list(world.archive, AK_STR("docs"), &filter, &arena, &list, &count, NULL, &err));
    CHECK_INT(count, 0);
    CHECK_OK(ak_engine_drop(world.engine, AK_STR("docs"), &err));
    CHECK_RC(AK_NOT_FOUND, ak_archive_list(world.archive, AK_STR("docs"), NULL, &arena, &list,
                                           &count, NULL, &err));
    CHECK_INT(world_listed(&world, id), 3);
    CHECK_RC(AK_NOT_FOUND, world_restore(&world, id, &made[0], "", NULL));
    CHECK_OK(world_restore(&world, id, &made[0], "docs", NULL));
    check_state(&world, "docs", 20, 1);
    ak_arena_release(&arena);
    world_close(&world);
}

/* --- Several at once --- */

struct taker {
    struct world *world;
    const char *collection;
    bool ok;
};

static void *take_five(void *arg)
{
    struct taker *taker = arg;
    struct ak_err mine;
    taker->ok = true;
    for (int i = 0; i < 5; i++) {
        struct ak_uuid job;
        struct ak_uuid snapshot;
        taker->ok = taker->ok &&
                    ak_archive_create(taker->world->archive, ak_str_of(taker->collection), NULL,
                                      &job, &snapshot, &mine) == AK_OK &&
                    ak_archive_wait(taker->world->archive, &job, WORLD_WAIT_MS, &mine) == AK_OK;
    }
    return NULL;
}

TEST(archive, snapshots_of_one_and_of_several_collections_run_beside_writes)
{
    struct world world;
    pthread_t threads[4];
    struct taker takers[4];
    world_open(&world, ak_test_dir());
    fill(&world, "a", MANY, 1);
    fill(&world, "b", MANY, 1);
    for (int t = 0; t < 4; t++) {
        takers[t] = (struct taker){.world = &world, .collection = t % 2 ? "b" : "a"};
        CHECK_INT(pthread_create(&threads[t], NULL, take_five, &takers[t]), 0);
    }
    for (unsigned version = 2; version < 8; version++) {
        CHECK_OK(docs_put(world.engine, "a", 0, MANY / 4, version));
    }
    for (int t = 0; t < 4; t++) {
        (void)pthread_join(threads[t], NULL);
        CHECK(takers[t].ok);
    }
    CHECK_INT(world_listed(&world, "a"), 10);
    CHECK_INT(world_listed(&world, "b"), 10);
    struct ak_arena arena;
    struct ak_snapshot_meta *list = NULL;
    size_t count = 0;
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_archive_list(world.archive, AK_STR("a"), NULL, &arena, &list, &count, NULL, &err));
    for (size_t i = 0; i < count; i += 3) { /* each shows one moment: a prefix of the writes */
        char name[32];
        (void)snprintf(name, sizeof name, "copy%zu", i);
        CHECK_OK(world_restore(&world, "a", &list[i].id, name, NULL));
        unsigned before = 9;
        for (unsigned n = 0; n < MANY / 4; n++) {
            unsigned version = docs_version(world.engine, name, n);
            CHECK(version <= before && version + 1 >= docs_version(world.engine, name, 0));
            before = version;
        }
        CHECK_INT(docs_version(world.engine, name, MANY - 1), 1);
    }
    ak_arena_release(&arena);
    world_close(&world);
}

TEST(archive, a_snapshot_in_use_is_not_deleted_and_one_collection_is_restored_once_at_a_time)
{
    struct world world;
    struct ak_uuid job;
    struct ak_uuid other;
    world_open(&world, ak_test_dir());
    world.options.retries_max = 100000;
    world_stop(&world);
    world_start(&world);
    fill(&world, "docs", 20, 1);
    struct ak_uuid snapshot = world_snapshot(&world, "docs");
    CHECK_OK(docs_put(world.engine, "docs", 0, 20, 2));
    /* The metadata is found, the image is not to be had: the job waits for the store. */
    struct ak_objstore_fault_rule rule = {
        .fault = AK_OBJSTORE_FAULT_SLOW_503, .ops = AK_OBJSTORE_OP_GET, .nth = 1, .sticky = true};
    ak_objstore_fault_set(world.store, &rule);
    CHECK_OK(ak_archive_restore(world.archive, AK_STR("docs"), &snapshot, AK_STR(""), &job, &err));
    CHECK_RC(AK_CONFLICT, ak_archive_delete(world.archive, AK_STR("docs"), &snapshot, &err));
    CHECK_RC(AK_TIMEOUT, ak_archive_wait(world.archive, &job, 0, &err));
    world_heal(&world);
    enum ak_rc rc =
        ak_archive_restore(world.archive, AK_STR("docs"), &snapshot, AK_STR(""), &other, &err);
    CHECK(rc == AK_OK || rc == AK_CONFLICT);
    CHECK_OK(ak_archive_settle(world.archive, WORLD_WAIT_MS, &err));
    check_state(&world, "docs", 20, 1);
    CHECK_OK(ak_archive_delete(world.archive, AK_STR("docs"), &snapshot, &err));
    CHECK_INT(world_objects(world.under), 0);
    world_close(&world);
}

TEST(archive, jobs_that_wait_at_the_end_go_on_at_the_next_start)
{
    struct world world;
    struct ak_uuid create;
    struct ak_uuid restore;
    struct ak_uuid snapshot;
    world_open(&world, ak_test_dir());
    world.options.retries_max = 100000;
    world_stop(&world);
    world_start(&world);
    fill(&world, "docs", MANY, 1);
    struct ak_uuid first = world_snapshot(&world, "docs");
    world_break(&world, AK_OBJSTORE_FAULT_ERROR_500, AK_OBJSTORE_OP_PUT);
    CHECK_OK(ak_archive_create(world.archive, AK_STR("docs"), NULL, &create, &snapshot, &err));
    CHECK_OK(
        ak_archive_restore(world.archive, AK_STR("docs"), &first, AK_STR("copy"), &restore, &err));
    world_stop(&world);
    world_heal(&world);
    world_start(&world);
    CHECK_OK(ak_archive_wait(world.archive, &create, WORLD_WAIT_MS, &err));
    CHECK_OK(ak_archive_wait(world.archive, &restore, WORLD_WAIT_MS, &err));
    CHECK_INT(world_listed(&world, "docs"), 2);
    check_state(&world, "copy", MANY, 1);
    world_close(&world);
}

/* --- Schedule, retention, metrics --- */

static const int64_t HOUR_US = (int64_t)3600 * 1000000;

static void look(struct world *world)
{
    CHECK_OK(ak_archive_run_due(world->archive, &err));
    CHECK_OK(ak_archive_settle(world->archive, WORLD_WAIT_MS, &err));
}

TEST(archive, the_schedule_keeps_what_has_changed_and_retention_lets_old_ones_go)
{
    struct world world;
    struct ak_manual_clock clock;
    ak_manual_clock_init(&clock, (int64_t)1800000000 * 1000000);
    world_open(&world, ak_test_dir());
    world.options.clock = &clock.clock;
    world.options.interval_s = 3600;
    world.options.retain_count = 3;
    world_stop(&world);
    world_start(&world);
    (void)docs_create(world.engine, "empty");
    fill(&world, "a", 20, 1);
    fill(&world, "b", MANY, 1);
    look(&world);
    CHECK_INT(world_listed(&world, "a"), 1);
    CHECK_INT(world_listed(&world, "b"), 1);
    CHECK_INT(world_listed(&world, "empty"), 0);
    ak_manual_clock_advance(&clock, HOUR_US);
    look(&world); /* nothing has changed */
    CHECK_INT(world_listed(&world, "a"), 1);
    for (unsigned round = 0; round < 5; round++) {
        CHECK_OK(docs_put(world.engine, "a", 0, 1, 2 + round));
        ak_manual_clock_advance(&clock, HOUR_US / 2);
        look(&world); /* too early, every other time */
        ak_manual_clock_advance(&clock, HOUR_US / 2);
        look(&world);
    }
    CHECK_INT(world_listed(&world, "a"), 3);
    CHECK_INT(world_listed(&world, "b"), 1);
    world_stop(&world);
    world.options.retain_age_s = 5400;
    world_start(&world);
    CHECK_OK(docs_put(world.engine, "a", 0, 1, 9));
    ak_manual_clock_advance(&clock, 2 * HOUR_US);
    look(&world); /* a new one, and then the others are old */
    look(&world);
    CHECK_INT(world_listed(&world, "a"), 1);
    CHECK_INT(world_listed(&world, "b"), 1); /* the newest stays, whatever its age */
    CHECK_INT(docs_version(world.engine, "a", 0), 9);
    world_close(&world);
}

/* What somebody else's bytes make of a snapshot. */
static void damage(struct world *world, const struct ak_uuid *snapshot)
{
    char key[200];
    char id[2][AK_UUID_TEXT_LEN];
    struct ak_arena arena;
    struct ak_snapshot_meta meta;
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_archive_get(world->archive, AK_STR("a"), snapshot, &arena, &meta, &err));
    ak_uuid_format(&meta.collection.id, id[0]);
    ak_uuid_format(snapshot, id[1]);
    (void)snprintf(key, sizeof key, "snapshots/%.36s/%.36s.metadata.json", id[0], id[1]);
    CHECK_OK(ak_objstore_put(world->under, ak_str_of(key), AK_STR("{\"x\":"), NULL, &err));
    ak_arena_release(&arena);
}

static size_t damaged(struct world *world)
{
    struct ak_arena arena;
    struct ak_snapshot_meta *list = NULL;
    struct ak_snapshot_damages damages = {.count = 0};
    size_t count = 0;
    ak_arena_init(&arena, 0);
    CHECK_OK(
        ak_archive_list(world->archive, AK_STR("a"), NULL, &arena, &list, &count, &damages, &err));
    ak_arena_release(&arena);
    return damages.count;
}

TEST(archive, retention_goes_on_beside_a_damaged_snapshot_and_never_removes_it)
{
    struct world world;
    struct ak_manual_clock clock;
    struct ak_uuid made[6];
    ak_manual_clock_init(&clock, (int64_t)1800000000 * 1000000);
    struct ak_metrics *metrics = ak_metrics_open();
    world_open(&world, ak_test_dir());
    world.options.clock = &clock.clock;
    world.options.metrics = metrics;
    world.options.retain_count = 2;
    world_stop(&world);
    world_start(&world);
    fill(&world, "a", 20, 1);
    for (size_t i = 0; i < 5; i++) {
        if (i == 2) {
            damage(&world, &made[1]);
        }
        ak_manual_clock_advance(&clock, HOUR_US);
        made[i] = world_snapshot(&world, "a");
        CHECK_OK(ak_archive_settle(world.archive, WORLD_WAIT_MS, &err));
    }
    CHECK_INT(world_listed(&world, "a"), 2); /* the damaged one counts for nothing */
    CHECK_INT(damaged(&world), 1);
    CHECK(ak_series_value(ak_metrics_series(metrics, AK_METRIC_SNAPSHOTS_DAMAGED, NULL, 0)) > 0);
    /* By age: when the newest is damaged, the last that is whole stays, however old. */
    world_stop(&world);
    world.options.retain_count = 0;
    world.options.retain_age_s = 60;
    world_start(&world);
    damage(&world, &made[4]);
    ak_manual_clock_advance(&clock, 10 * HOUR_US);
    look(&world);
    CHECK_INT(world_listed(&world, "a"), 1);
    CHECK_INT(damaged(&world), 2);
    made[5] = world_snapshot(&world, "a");
    ak_manual_clock_advance(&clock, HOUR_US);
    look(&world);
    CHECK_INT(world_listed(&world, "a"), 1); /* the new one; the old one may go now */
    CHECK_INT(damaged(&world), 2);
    CHECK_OK(ak_archive_delete(world.archive, AK_STR("a"), &made[1], &err));
    CHECK_OK(ak_archive_delete(world.archive, AK_STR("a"), &made[4], &err));
    CHECK_INT(damaged(&world), 0);
    CHECK_INT(world_objects(world.under), 3);
    world_close(&world);
    ak_metrics_close(metrics);
}

TEST(archive, a_failed_job_tells_how_far_it_came_also_after_a_restart)
{
    struct world world;
    struct ak_arena arena;
    struct ak_job job;
    struct ak_uuid id;
    struct ak_uuid snapshot;
    world_open(&world, ak_test_dir());
    fill(&world, "a", 20, 1);
    const struct ak_objstore_fault_rule third = {
        .fault = AK_OBJSTORE_FAULT_DENIED_403, .ops = AK_OBJSTORE_OP_PUT, .nth = 2, .sticky = true};
    ak_objstore_fault_set(world.store, &third); /* when the rows have been written */
    CHECK_OK(ak_archive_create(world.archive, AK_STR("a"), NULL, &id, &snapshot, &err));
    CHECK_RC(AK_FORBIDDEN, ak_archive_wait(world.archive, &id, WORLD_WAIT_MS, &err));
    CHECK_OK(ak_archive_settle(world.archive, WORLD_WAIT_MS, &err));
    ak_arena_init(&arena, 0);
    double before = -1;
    for (int i = 0; i < 2; i++) {
        CHECK_OK(ak_archive_job(world.archive, &id, &arena, &job, &err));
        CHECK_INT(job.state, AK_JOB_FAILED);
        CHECK(job.progress > 0 && job.progress < 1);
        CHECK(i == 0 || job.progress == before);
        before = job.progress;
        world_heal(&world);
        world_stop(&world);
        world_start(&world);
    }
    ak_arena_release(&arena);
    world_close(&world);
}

TEST(archive, metrics_say_what_was_kept_and_what_was_not)
{
    struct world world;
    struct ak_manual_clock clock;
    struct ak_buf text;
    struct ak_uuid job;
    struct ak_uuid snapshot;
    ak_manual_clock_init(&clock, (int64_t)1800000000 * 1000000);
    struct ak_metrics *metrics = ak_metrics_open();
    world_open(&world, ak_test_dir());
    world.options.clock = &clock.clock;
    world.options.metrics = metrics;
    world_stop(&world);
    world_start(&world);
    fill(&world, "docs", 20, 1);
    fill(&world, "other", 20, 1);
    (void)world_snapshot(&world, "docs");
    world_break(&world, AK_OBJSTORE_FAULT_DENIED_403, AK_OBJSTORE_OP_PUT);
    CHECK_OK(ak_archive_create(world.archive, AK_STR("docs"), NULL, &job, &snapshot, &err));
    CHECK_RC(AK_FORBIDDEN, ak_archive_wait(world.archive, &job, WORLD_WAIT_MS, &err));
    CHECK(strstr(err.text, "403") != NULL);
    CHECK_OK(ak_archive_run_due(world.archive, &err));
    ak_buf_init(&text, 0);
    ak_metrics_render(metrics, &text);
    const char *p = ak_buf_cstr(&text);
    CHECK(strstr(p, "akidb_snapshots_total{result=\"ok\"} 1\n") != NULL);
    CHECK(strstr(p, "akidb_snapshots_total{result=\"failed\"} 1\n") != NULL);
    CHECK(strstr(p, "akidb_last_snapshot_timestamp_seconds 1800000000\n") != NULL);
    CHECK(strstr(p, "snapshot_creation_duration_seconds_count 1\n") != NULL);
    CHECK(strstr(p, "akidb_collections_without_recent_snapshot 1\n") != NULL);
    CHECK(strstr(p, "akidb_jobs_running 0\n") != NULL);
    ak_buf_release(&text);
    world_close(&world);
    ak_metrics_close(metrics);
}

TEST(archive, finished_jobs_are_listed_newest_first_and_forgotten_after_a_day)
{
    struct world world;
    struct ak_manual_clock clock;
    struct ak_arena arena;
    struct ak_job *jobs = NULL;
    size_t count = 0;
    ak_manual_clock_init(&clock, (int64_t)1800000000 * 1000000);
    world_open(&world, ak_test_dir());
    world.options.clock = &clock.clock;
    world_stop(&world);
    world_start(&world);
    fill(&world, "docs", 20, 1);
    struct ak_uuid snapshot = world_snapshot(&world, "docs");
    ak_manual_clock_advance(&clock, HOUR_US);
    CHECK_OK(world_restore(&world, "docs", &snapshot, "copy", NULL));
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_archive_jobs(world.archive, 10, &arena, &jobs, &count, &err));
    CHECK_INT(count, 2);
    CHECK(jobs[0].kind == AK_JOB_RESTORE && jobs[1].kind == AK_JOB_SNAPSHOT);
    CHECK(jobs[0].progress == 1 && jobs[0].finished_us >= jobs[0].created_us);
    CHECK(ak_uuid_eq(&jobs[0].snapshot, &jobs[1].snapshot));
    CHECK_STR(ak_job_kind_name(jobs[1].kind), "snapshot");
    CHECK_STR(ak_job_state_name(jobs[1].state), "done");
    ak_manual_clock_advance(&clock, 24 * HOUR_US - 1);
    CHECK_OK(ak_archive_run_due(world.archive, &err));
    CHECK_OK(ak_archive_jobs(world.archive, 10, &arena, &jobs, &count, &err));
    CHECK_INT(count, 1);
    ak_manual_clock_advance(&clock, HOUR_US);
    CHECK_OK(ak_archive_run_due(world.archive, &err));
    CHECK_OK(ak_archive_jobs(world.archive, 10, &arena, &jobs, &count, &err));
    CHECK_INT(count, 0);
    ak_arena_release(&arena);
    world_close(&world);
}

TEST_MAIN()
