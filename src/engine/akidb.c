/* akidb.c — the public library over the engine: text in, codes and messages out. */
#include "../../include/akidb.h"
#include "base/limits.h"
#include "base/mem.h"
#include "engine/engine.h"
#include <stdio.h>
#include <string.h>

struct akidb {
    struct ak_engine *engine;
};

struct results_box { /* what akidb_results_free releases: the arena holds this box's rows too */
    struct akidb_results results;
    struct ak_arena arena;
};

static int code_of(enum ak_rc rc)
{
    switch (rc) {
    case AK_OK:
        return AKIDB_OK;
    case AK_INVALID:
    case AK_UNSUPPORTED:
    case AK_MEDIA:
    case AK_METHOD:
    case AK_HEADERS:
        return AKIDB_INVALID;
    case AK_NOT_FOUND:
        return AKIDB_NOT_FOUND;
    case AK_EXISTS:
        return AKIDB_EXISTS;
    case AK_TOO_BIG:
        return AKIDB_TOO_BIG;
    case AK_CONFLICT:
    case AK_UNAVAILABLE:
    case AK_COLD:
    case AK_THROTTLED:
    case AK_TIMEOUT:
        return AKIDB_BUSY;
    case AK_NO_SPACE:
        return AKIDB_NO_SPACE;
    case AK_NOMEM:
        return AKIDB_NO_MEMORY;
    case AK_IO:
    case AK_UNAUTHENTICATED:
    case AK_FORBIDDEN:
        return AKIDB_IO;
    case AK_CORRUPT:
        return AKIDB_CORRUPT;
    case AK_INTERNAL:
    case AK_RC_COUNT:
        break;
    }
    return AKIDB_INTERNAL;
}

static int finish(enum ak_rc rc, const struct ak_err *err, struct akidb_error *error)
{
    if (error) {
        error->code = code_of(rc);
        (void)snprintf(error->message, sizeof error->message, "%s", rc == AK_OK ? "" : err->text);
    }
    return code_of(rc);
}

const char *akidb_version(void)
{
    return AKIDB_VERSION;
}

int akidb_open(const char *dir, const struct akidb_options *options, struct akidb **db,
               struct akidb_error *error)
{
    struct ak_err err;
    struct akidb_options none = {0};
    const struct akidb_options *o = options ? options : &none;
    enum ak_rc rc = AK_OK;
    struct akidb *made = ak_zalloc(sizeof *made);
    if (!dir || !*dir || o->durability < AKIDB_SYNC || o->durability > AKIDB_ASYNC) {
        rc = ak_fail(&err, AK_INVALID, "a folder and a durability of 0 to 2 are needed");
    } else {
        struct ak_engine_options engine = {.dir = dir,
                                           .durability = (enum ak_durability)o->durability,
                                           .sync_interval_ms = o->sync_interval_ms,
                                           .build_threads = o->build_threads};
        rc = ak_engine_open(&engine, &made->engine, &err);
    }
    if (rc == AK_OK) {
        *db = made;
    } else {
        ak_free(made);
    }
    return finish(rc, &err, error);
}

void akidb_close(struct akidb *db)
{
    if (db) {
        ak_engine_close(db->engine);
        ak_free(db);
    }
}

int akidb_create_collection(struct akidb *db, const char *name,
                            const struct akidb_collection_options *options,
                            struct akidb_error *error)
{
    struct ak_err err;
    struct ak_index_params params = ak_index_params_default();
    struct ak_collection_info made;
    params.m = options->m ? options->m : params.m;
    params.ef_construction =
        options->ef_construction ? options->ef_construction : params.ef_construction;
    params.ef_search = options->ef_search ? options->ef_search : params.ef_search;
    struct ak_collection_info spec = {
        .name = ak_str_of(name),
        .dimension = options->dimension,
        .metric = (enum ak_metric)options->metric,
        .embedding_model = ak_str_of(options->embedding_model),
        .index = params,
    };
    spec.index.vectors = (enum ak_vectors)options->vectors;
    return finish(ak_engine_create(db->engine, &spec, &made, &err), &err, error);
}

int akidb_drop_collection(struct akidb *db, const char *name, struct akidb_error *error)
{
    struct ak_err err;
    return finish(ak_engine_drop(db->engine, ak_str_of(name), &err), &err, error);
}

static enum ak_rc parse_id(const char *text, struct ak_uuid *id, struct ak_err *err)
{
    return ak_uuid_parse(ak_str_of(text), id)
               ? AK_OK
               : ak_fail(err, AK_INVALID, "'%s' is not a UUID", text ? text : "");
}

static enum ak_rc read_documents(const struct akidb_document *documents, size_t count,
                                 struct ak_document *docs, struct ak_arena *arena,
                                 struct ak_err *err)
{
    for (size_t i = 0; i < count; i++) {
        const struct akidb_document *in = &documents[i];
        docs[i] =
            (struct ak_document){.external_id = ak_str_of(in->external_id), .vector = in->vector};
        if (!in->vector) {
            return ak_fail(err, AK_INVALID, "documents[%zu]: no vector", i);
        }
        if (in->id) {
            enum ak_rc rc = parse_id(in->id, &docs[i].id, err);
            if (rc != AK_OK) {
                return ak_wrap(err, rc, "documents[%zu]", i);
            }
        }
        if (in->metadata) {
            enum ak_rc rc =
                ak_metadata_read(ak_str_of(in->metadata), arena, &docs[i].metadata, err);
            if (rc != AK_OK) {
                return ak_wrap(err, rc, "documents[%zu]", i);
            }
        }
    }
    return AK_OK;
}

static enum ak_rc upsert(struct ak_engine *engine, const char *name,
                         const struct akidb_document *documents, size_t count,
                         struct ak_arena *arena, char (*ids)[37], struct ak_err *err)
{
    struct ak_collection *collection = NULL;
    struct ak_write write;
    if (count == 0 || count > AK_UPSERT_BATCH_MAX) {
        return ak_fail(err, AK_INVALID, "%zu documents in one call; allowed are 1 to %d", count,
                       AK_UPSERT_BATCH_MAX);
    }
    struct ak_document *docs = ak_arena_alloc(arena, count * sizeof *docs);
    struct ak_uuid *made = ak_arena_alloc(arena, count * sizeof *made);
    if (!docs || !made) {
        return ak_fail(err, AK_NOMEM, "%zu documents", count);
    }
    enum ak_rc rc = read_documents(documents, count, docs, arena, err);
    if (rc == AK_OK) {
        rc = ak_engine_get(engine, ak_str_of(name), &collection, err);
    }
    if (rc == AK_OK) {
        rc = ak_collection_upsert(collection, docs, count, true, made, &write, err);
    }
    if (rc == AK_OK) {
        ak_collection_help(collection, count);
        rc = ak_engine_commit(engine, write.commit, err);
    }
    for (size_t i = 0; rc == AK_OK && ids && i < count; i++) {
        ak_uuid_format(&made[i], ids[i]);
        ids[i][AK_UUID_TEXT_LEN] = '\0';
    }
    ak_collection_unref(collection);
    return rc;
}

int akidb_upsert(struct akidb *db, const char *collection, const struct akidb_document *documents,
                 size_t count, char (*ids)[37], struct akidb_error *error)
{
    struct ak_err err;
    struct ak_arena arena;
    ak_arena_init(&arena, 0);
    enum ak_rc rc = upsert(db->engine, collection, documents, count, &arena, ids, &err);
    ak_arena_release(&arena);
    return finish(rc, &err, error);
}

int akidb_delete(struct akidb *db, const char *collection, const char *const *ids, size_t count,
                 size_t *deleted, struct akidb_error *error)
{
    struct ak_err err;
    struct ak_collection *found = NULL;
    struct ak_write write = {0};
    struct ak_uuid *parsed = ak_try_alloc(count * sizeof *parsed);
    enum ak_rc rc = parsed ? AK_OK : ak_fail(&err, AK_NOMEM, "%zu ids", count);
    for (size_t i = 0; rc == AK_OK && i < count; i++) {
        rc = parse_id(ids[i], &parsed[i], &err);
    }
    if (rc == AK_OK) {
        rc = ak_engine_get(db->engine, ak_str_of(collection), &found, &err);
    }
    if (rc == AK_OK) {
        rc = ak_collection_delete(found, parsed, count, &write, &err);
    }
    if (rc == AK_OK) {
        rc = ak_engine_commit(db->engine, write.commit, &err);
    }
    if (rc == AK_OK && deleted) {
        *deleted = write.affected;
    }
    ak_collection_unref(found);
    ak_free(parsed);
    return finish(rc, &err, error);
}

int akidb_count(struct akidb *db, const char *collection, uint64_t *count,
                struct akidb_error *error)
{
    struct ak_err err;
    struct ak_collection *found = NULL;
    enum ak_rc rc = ak_engine_get(db->engine, ak_str_of(collection), &found, &err);
    if (rc == AK_OK) {
        rc = ak_collection_count(found, NULL, count, &err);
    }
    ak_collection_unref(found);
    return finish(rc, &err, error);
}

int akidb_get_vector(struct akidb *db, const char *collection, const char *id, float *out,
                     struct akidb_error *error)
{
    struct ak_err err;
    struct ak_arena arena;
    struct ak_uuid uuid;
    struct ak_found doc;
    struct ak_collection *found = NULL;
    ak_arena_init(&arena, 0);
    enum ak_rc rc = parse_id(id, &uuid, &err);
    if (rc == AK_OK) {
        rc = ak_engine_get(db->engine, ak_str_of(collection), &found, &err);
    }
    if (rc == AK_OK) {
        rc = ak_collection_fetch(found, &uuid, AK_INCLUDE_VECTOR, &arena, &doc, &err);
    }
    if (rc == AK_OK) {
        memcpy(out, doc.vector, ak_collection_info(found)->dimension * sizeof *out);
    }
    ak_collection_unref(found);
    ak_arena_release(&arena);
    return finish(rc, &err, error);
}

/* Rows for the caller, in the box's arena (whose strings are NUL-terminated). */
static enum ak_rc fill(struct results_box *box, const struct ak_found *found, uint32_t count,
                       struct ak_err *err)
{
    struct akidb_result *rows = ak_arena_alloc(&box->arena, (count + 1u) * sizeof *rows);
    if (!rows) {
        return ak_fail(err, AK_NOMEM, "%u results", count);
    }
    for (uint32_t i = 0; i < count; i++) {
        rows[i] = (struct akidb_result){.score = found[i].score,
                                        .external_id = found[i].external_id.p,
                                        .metadata = found[i].metadata.p};
        ak_uuid_format(&found[i].id, rows[i].id);
    }
    box->results = (struct akidb_results){.count = count, .rows = rows};
    return AK_OK;
}

static enum ak_rc search(struct ak_engine *engine, const char *name, const float *vector,
                         const struct akidb_search_options *o, struct results_box *box,
                         struct ak_err *err)
{
    struct ak_collection *collection = NULL;
    struct ak_found *found = NULL;
    uint32_t count = 0;
    struct ak_search search = {.vector = vector,
                               .k = o->k ? o->k : 10,
                               .ef = o->ef,
                               .recall = o->recall,
                               .exact = o->exact != 0,
                               .include = AK_INCLUDE_EXTERNAL_ID | AK_INCLUDE_METADATA};
    enum ak_rc rc = AK_OK;
    if (o->filter) {
        rc = ak_filter_parse(ak_str_of(o->filter), &box->arena, &search.filter, err);
    }
    if (rc == AK_OK) {
        rc = ak_engine_get(engine, ak_str_of(name), &collection, err);
    }
    if (rc == AK_OK) {
        rc = ak_collection_search(collection, &search, &box->arena, &found, &count, err);
    }
    if (rc == AK_OK) {
        rc = fill(box, found, count, err);
    }
    ak_collection_unref(collection);
    return rc;
}

int akidb_search(struct akidb *db, const char *collection, const float *vector,
                 const struct akidb_search_options *options, struct akidb_results **results,
                 struct akidb_error *error)
{
    struct ak_err err;
    struct akidb_search_options none = {0};
    struct results_box *box = ak_zalloc(sizeof *box);
    ak_arena_init(&box->arena, 0);
    enum ak_rc rc = search(db->engine, collection, vector, options ? options : &none, box, &err);
    if (rc == AK_OK) {
        *results = &box->results;
    } else {
        akidb_results_free(&box->results);
    }
    return finish(rc, &err, error);
}

void akidb_results_free(struct akidb_results *results)
{
    if (results) {
        struct results_box *box = (struct results_box *)(void *)results; /* its first member */
        ak_arena_release(&box->arena);
        ak_free(box);
    }
}
