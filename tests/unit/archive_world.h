/* archive_world.h — an engine, a store that can fail, and the archive between them. */
#pragma once
#include "archive/archive.h"
#include "engine_docs.h"
#include <time.h>

enum { WORLD_WAIT_MS = 60000, WORLD_TRIES = 3 };

struct world {
    const char *dir;
    struct ak_objstore *under; /* kept over restarts */
    struct ak_objstore *store; /* the fault store over it */
    struct ak_engine *engine;
    struct ak_archive *archive;
    struct ak_archive_options options;
};

static inline struct ak_archive_options world_options(void)
{
    return (struct ak_archive_options){
        .snapshots = {.format = AK_SNAPSHOT_JSON, .compression = AK_CODEC_ZSTD},
        .retry_ms = 1,
        .retries_max = WORLD_TRIES,
    };
}

static inline void world_start(struct world *world)
{
    world->engine = docs_engine(world->dir);
    world->options.engine = world->engine;
    world->options.store = world->store;
    CHECK_OK(ak_archive_open(&world->options, &world->archive, &err));
}

static inline void world_stop(struct world *world)
{
    ak_archive_close(world->archive);
    ak_engine_close(world->engine);
    world->archive = NULL;
    world->engine = NULL;
}

static inline void world_open(struct world *world, const char *dir)
{
    *world = (struct world){.dir = dir, .options = world_options()};
    CHECK_OK(ak_objstore_open_mem(NULL, &world->under, &err));
    CHECK_OK(ak_objstore_open_fault(world->under, &world->store, &err));
    world_start(world);
}

static inline void world_close(struct world *world)
{
    world_stop(world);
    ak_objstore_close(world->store);
    ak_objstore_close(world->under);
}

static inline void world_heal(struct world *world)
{
    struct ak_objstore_fault_rule none = {.fault = AK_OBJSTORE_FAULT_NONE};
    ak_objstore_fault_set(world->store, &none);
}

/* Every call of `ops` (0: all) fails that way from now on. */
static inline void world_break(struct world *world, enum ak_objstore_fault fault, unsigned ops)
{
    struct ak_objstore_fault_rule rule = {.fault = fault, .ops = ops, .nth = 0, .sticky = true};
    ak_objstore_fault_set(world->store, &rule);
}

static inline size_t world_objects(struct ak_objstore *store)
{
    struct ak_arena arena;
    struct ak_object *objects = NULL;
    size_t count = 0;
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_objstore_list(store, AK_STR(""), AK_STR(""), 1000, &arena, &objects, &count, &err));
    ak_arena_release(&arena);
    return count;
}

static inline size_t world_listed(struct world *world, const char *collection)
{
    struct ak_arena arena;
    struct ak_snapshot_meta *list = NULL;
    size_t count = 0;
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_archive_list(world->archive, ak_str_of(collection), NULL, &arena, &list, &count,
                             NULL, &err));
    ak_arena_release(&arena);
    return count;
}

/* A snapshot that must succeed; its id. */
static inline struct ak_uuid world_snapshot(struct world *world, const char *collection)
{
    struct ak_uuid job;
    struct ak_uuid snapshot;
    CHECK_OK(ak_archive_create(world->archive, ak_str_of(collection), NULL, &job, &snapshot, &err));
    CHECK_OK(ak_archive_wait(world->archive, &job, WORLD_WAIT_MS, &err));
    return snapshot;
}

/* A restore, waited for; *job as it ended (no strings). */
static inline enum ak_rc world_restore(struct world *world, const char *collection,
                                       const struct ak_uuid *snapshot, const char *into,
                                       struct ak_job *ended)
{
    struct ak_uuid job;
    struct ak_arena arena;
    enum ak_rc rc = ak_archive_restore(world->archive, ak_str_of(collection), snapshot,
                                       ak_str_of(into), &job, &err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = ak_archive_wait(world->archive, &job, WORLD_WAIT_MS, &err);
    if (ended) {
        struct ak_err mine;
        ak_arena_init(&arena, 0);
        enum ak_rc told = ak_archive_job(world->archive, &job, &arena, ended, &mine);
        if (told == AK_NOMEM) { /* a test that fails allocations has hit this one */
            told = ak_archive_job(world->archive, &job, &arena, ended, &mine);
        }
        if (told != AK_OK) {
            ak_test_fail(__FILE__, __LINE__, "%s", mine.text);
        }
        ended->error = AK_STR_NONE;
        ak_arena_release(&arena);
    }
    return rc;
}

static inline void check_state(struct world *world, const char *name, unsigned count,
                               unsigned version)
{
    CHECK_INT(docs_count(world->engine, name), count);
    for (unsigned n = 0; n < count; n += count < 50 ? 1 : 13) {
        CHECK_INT(docs_version(world->engine, name, n), version);
    }
    CHECK_OK(ak_engine_verify(world->engine, ak_str_of(name), &err));
}

/* One byte of each object whose key ends so, and not in `but`, is another. */
static inline void world_damage_but(struct world *world, const char *suffix, const char *but)
{
    struct ak_arena arena;
    struct ak_object *objects = NULL;
    size_t count = 0;
    size_t hits = 0;
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_objstore_list(world->under, AK_STR(""), AK_STR(""), 1000, &arena, &objects, &count,
                              &err));
    for (size_t i = 0; i < count; i++) {
        if (ak_str_has_suffix(objects[i].key, ak_str_of(suffix)) &&
            !ak_str_has_suffix(objects[i].key, ak_str_of(but))) {
            struct ak_buf bytes;
            ak_buf_init(&bytes, 0);
            CHECK_OK(ak_objstore_get(world->under, objects[i].key, &bytes, &err));
            bytes.p[bytes.len / 2] ^= 0x10;
            CHECK_OK(ak_objstore_put(world->under, objects[i].key, ak_buf_str(&bytes), NULL, &err));
            ak_buf_release(&bytes);
            hits++;
        }
    }
    ak_arena_release(&arena);
    CHECK_INT(hits, 1);
}

static inline void world_damage(struct world *world, const char *suffix)
{
    world_damage_but(world, suffix, "none");
}

static inline void world_damage_data(struct world *world)
{
    world_damage_but(world, ".json", ".metadata.json");
}

/* As it is now, without strings; `text`: why it has failed, or is held up. */
static inline struct ak_job world_job(struct world *world, const struct ak_uuid *id, char text[400])
{
    struct ak_job job;
    struct ak_arena arena;
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_archive_job(world->archive, id, &arena, &job, &err));
    (void)snprintf(text, 400, "%.*s",
                   AK_STR_ARG(job.state == AK_JOB_FAILED ? job.error : job.held_up));
    ak_arena_release(&arena);
    return job;
}

/* Until a try has failed, more of them than `tries`, and the next one is waited for. */
static inline struct ak_job world_await_try(struct world *world, const struct ak_uuid *id,
                                            unsigned tries, char text[400])
{
    struct ak_job job = world_job(world, id, text);
    while (job.state == AK_JOB_RUNNING && (job.tries <= tries || !job.next_try_us)) {
        const struct timespec pause = {.tv_nsec = 1000000};
        (void)nanosleep(&pause, NULL);
        job = world_job(world, id, text);
    }
    return job;
}
