/* engine_docs.h — documents by number and version, for tests of holds and adoptions.
 *
 * Document n of version v has an id made of n, a vector and texts made of both: so a state is
 * checked bit for bit without keeping a copy of it.
 */
#pragma once
#include "base/mem.h"
#include "base/rand.h"
#include "engine/hold.h"
#include "support/test.h"
#include <stdlib.h>
#include <unistd.h>

enum { DOCS_DIMENSION = 24 };

static struct ak_err err;

struct doc_texts {
    float vector[DOCS_DIMENSION];
    char external_id[32];
    char metadata[96];
};

static inline struct ak_uuid doc_id(unsigned n)
{
    struct ak_uuid id = {{0x01, 0x93}};
    id.b[6] = 0x70;
    id.b[8] = 0x80;
    for (int i = 0; i < 4; i++) {
        id.b[15 - i] = (uint8_t)(n >> (8 * i));
    }
    return id;
}

static inline unsigned doc_number(const struct ak_uuid *id)
{
    return (unsigned)id->b[12] << 24 | (unsigned)id->b[13] << 16 | (unsigned)id->b[14] << 8 |
           id->b[15];
}

static inline struct ak_document doc_of(unsigned n, unsigned version, struct doc_texts *texts)
{
    struct ak_rand rand;
    ak_rand_seed(&rand, (uint64_t)n << 32 | version);
    for (int i = 0; i < DOCS_DIMENSION; i++) {
        texts->vector[i] = (float)ak_rand_normal(&rand);
    }
    int external = n % 3 ? snprintf(texts->external_id, sizeof texts->external_id, "x-%u", n) : 0;
    int metadata = n % 5 ? snprintf(texts->metadata, sizeof texts->metadata,
                                    "{\"n\":%u,\"version\":%u}", n, version)
                         : 0;
    return (struct ak_document){.id = doc_id(n),
                                .external_id = {texts->external_id, (size_t)external},
                                .vector = texts->vector,
                                .metadata = {texts->metadata, (size_t)metadata}};
}

static inline bool doc_is(const struct ak_document *got, unsigned version)
{
    struct doc_texts texts;
    struct ak_document want = doc_of(doc_number(&got->id), version, &texts);
    return memcmp(got->vector, want.vector, sizeof texts.vector) == 0 &&
           ak_str_eq(got->external_id, want.external_id) && ak_str_eq(got->metadata, want.metadata);
}

static inline struct ak_engine *docs_engine_on(struct ak_fs *fs, const char *dir)
{
    struct ak_engine *engine = NULL;
    struct ak_engine_options options = {.fs = fs,
                                        .dir = dir,
                                        .wal_segment_bytes = 256 << 10,
                                        .wal_max_bytes = 2 << 20,
                                        .checkpoint_bytes = 128 << 10,
                                        .build_threads = 2,
                                        .vacuum_percent = AK_VACUUM_NEVER}; /* images are counted */
    CHECK_OK(ak_engine_open(&options, &engine, &err));
    return engine;
}

static inline struct ak_engine *docs_engine(const char *dir)
{
    return docs_engine_on(NULL, dir);
}

static inline struct ak_collection_info docs_spec(const char *name)
{
    return (struct ak_collection_info){.name = ak_str_of(name),
                                       .dimension = DOCS_DIMENSION,
                                       .metric = AK_METRIC_L2,
                                       .index = ak_index_params_default()};
}

static inline struct ak_uuid docs_create(struct ak_engine *engine, const char *name)
{
    struct ak_collection_info spec = docs_spec(name);
    struct ak_collection_info made;
    CHECK_OK(ak_engine_create(engine, &spec, &made, &err));
    return made.id;
}

static inline enum ak_rc docs_put_ref(struct ak_engine *engine, struct ak_collection *collection,
                                      unsigned from, unsigned count, unsigned version)
{
    struct doc_texts texts;
    struct ak_write write = {0};
    enum ak_rc rc = AK_OK;
    for (unsigned n = from; n < from + count && rc == AK_OK; n++) {
        struct ak_document doc = doc_of(n, version, &texts);
        rc = ak_collection_upsert(collection, &doc, 1, true, NULL, &write, &err);
    }
    return rc == AK_OK ? ak_engine_commit(engine, write.commit, &err) : rc;
}

static inline enum ak_rc docs_put(struct ak_engine *engine, const char *name, unsigned from,
                                  unsigned count, unsigned version)
{
    struct ak_collection *collection = NULL;
    enum ak_rc rc = ak_engine_get(engine, ak_str_of(name), &collection, &err);
    if (rc == AK_OK) {
        rc = docs_put_ref(engine, collection, from, count, version);
    }
    ak_collection_unref(collection);
    return rc;
}

static inline void docs_remove(struct ak_engine *engine, const char *name, unsigned from,
                               unsigned count, unsigned step)
{
    struct ak_collection *collection = NULL;
    struct ak_write write = {0};
    CHECK_OK(ak_engine_get(engine, ak_str_of(name), &collection, &err));
    for (unsigned n = from; n < from + count; n += step) {
        struct ak_uuid id = doc_id(n);
        CHECK_OK(ak_collection_delete(collection, &id, 1, &write, &err));
    }
    CHECK_OK(ak_engine_commit(engine, write.commit, &err));
    ak_collection_unref(collection);
}

/* The version of document n in the collection: 0 when it is absent. Versions 1 to 9 are known. */
static inline unsigned docs_version(struct ak_engine *engine, const char *name, unsigned n)
{
    struct ak_collection *collection = NULL;
    struct ak_arena arena;
    struct ak_found found;
    struct ak_uuid id = doc_id(n);
    unsigned version = 0;
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_engine_get(engine, ak_str_of(name), &collection, &err));
    enum ak_rc rc = ak_collection_fetch(
        collection, &id, AK_INCLUDE_VECTOR | AK_INCLUDE_METADATA | AK_INCLUDE_EXTERNAL_ID, &arena,
        &found, &err);
    if (rc != AK_NOT_FOUND) {
        CHECK_OK(rc);
        struct ak_document got = {.id = id,
                                  .external_id = found.external_id,
                                  .vector = found.vector,
                                  .metadata = found.metadata};
        for (version = 1; version < 10 && !doc_is(&got, version); version++) {
        }
        CHECK(version < 10);
    }
    ak_collection_unref(collection);
    ak_arena_release(&arena);
    return version;
}

static inline uint64_t docs_count(struct ak_engine *engine, const char *name)
{
    struct ak_collection *collection = NULL;
    uint64_t count = 0;
    CHECK_OK(ak_engine_get(engine, ak_str_of(name), &collection, &err));
    CHECK_OK(ak_collection_count(collection, NULL, &count, &err));
    ak_collection_unref(collection);
    return count;
}

static inline void docs_checkpoint(struct ak_engine *engine, const char *name)
{
    struct ak_collection *collection = NULL;
    CHECK_OK(ak_engine_get(engine, ak_str_of(name), &collection, &err));
    CHECK_OK(ak_engine_checkpoint(engine, collection, &err));
    ak_collection_unref(collection);
}

static inline bool docs_note_file(void *ctx, struct ak_str name)
{
    *(unsigned *)ctx += name.len > 0;
    return true;
}

/* Files in the folder of images. */
static inline unsigned docs_files(const char *dir)
{
    char folder[4096];
    unsigned count = 0;
    (void)snprintf(folder, sizeof folder, "%s/collections", dir);
    CHECK_OK(ak_fs_list(ak_fs_posix(), folder, docs_note_file, &count, &err));
    return count;
}

/* Copy a hold's image to a staging path. */
static inline void docs_stage(struct ak_engine *engine, struct ak_hold *hold, unsigned number,
                              char *path, size_t size)
{
    struct ak_uuid id = doc_id(number);
    struct ak_buf bytes;
    ak_buf_init(&bytes, 0);
    ak_engine_staging_path(engine, &id, path, size);
    if (ak_hold_image_path(hold)) {
        CHECK_OK(
            ak_fs_read_all(ak_engine_fs(engine), ak_hold_image_path(hold), 64 << 20, &bytes, &err));
    } else {
        ak_buf_add_str(&bytes, ak_hold_image_blob(hold));
    }
    CHECK_OK(ak_fs_write_atomic(ak_engine_fs(engine), path, ak_buf_str(&bytes), &err));
    ak_buf_release(&bytes);
}
