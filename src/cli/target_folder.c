/* target_folder.c — commands on a data folder: the engine in this process. */
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/serve.h"
#include "cli/target_priv.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BATCH_DOCS_MAX 1000u
#define BATCH_BYTES_MAX ((size_t)8 << 20)
#define LIST_PAGE 1000u

struct folder {
    struct ak_target target;
    struct ak_engine *engine;
    struct ak_log *log;
    /* of an import */
    struct ak_collection *collection;
    uint32_t dimension;
    struct ak_document *docs; /* BATCH_DOCS_MAX */
    size_t doc_count;
    struct ak_arena arena; /* what the documents of the batch point to */
    struct ak_buf compact;
    ak_lsn commit;
};

static struct folder *folder_of(struct ak_target *target)
{
    return (struct folder *)(void *)target;
}

static double seconds_now(void)
{
    return (double)ak_mono_ns(ak_clock_system()) / 1e9;
}

static void folder_close(struct ak_target *target)
{
    struct folder *folder = folder_of(target);
    ak_collection_unref(folder->collection);
    ak_engine_close(folder->engine);
    ak_log_close(folder->log);
    ak_arena_release(&folder->arena);
    ak_buf_release(&folder->compact);
    ak_free(folder->docs);
    ak_free(folder);
}

static enum ak_rc folder_describe(struct ak_target *target, struct ak_str collection,
                                  struct ak_arena *arena, struct ak_collection_summary *summary,
                                  struct ak_err *err)
{
    return ak_engine_describe(folder_of(target)->engine, collection, arena, summary, err);
}

static enum ak_rc folder_list(struct ak_target *target, struct ak_str *cursor,
                              struct ak_arena *arena, struct ak_collection_summary **list,
                              size_t *count, struct ak_err *err)
{
    enum ak_rc rc =
        ak_engine_list(folder_of(target)->engine, *cursor, LIST_PAGE, arena, list, count, err);
    if (rc == AK_OK) {
        *cursor = *count == LIST_PAGE ? (*list)[*count - 1].info.name : AK_STR_NONE;
    }
    return rc;
}

static enum ak_rc folder_create(struct ak_target *target, const struct ak_collection_info *spec,
                                struct ak_err *err)
{
    struct ak_collection_info info;
    return ak_engine_create(folder_of(target)->engine, spec, &info, err);
}

static enum ak_rc folder_drop(struct ak_target *target, struct ak_str collection,
                              struct ak_err *err)
{
    return ak_engine_drop(folder_of(target)->engine, collection, err);
}

static enum ak_rc folder_verify(struct ak_target *target, struct ak_str collection,
                                struct ak_err *err)
{
    return ak_engine_verify(folder_of(target)->engine, collection, err);
}

static enum ak_rc folder_search(struct ak_target *target, const struct ak_target_query *query,
                                struct ak_arena *arena, struct ak_found **found, uint32_t *count,
                                struct ak_err *err)
{
    struct ak_search search = {
        .vector = query->vector,
        .k = query->k,
        .ef = query->ef,
        .recall = query->recall,
        .exact = query->exact,
        .include = AK_INCLUDE_EXTERNAL_ID | AK_INCLUDE_METADATA,
    };
    enum ak_rc rc = AK_OK;
    if (query->filter.len > 0) {
        rc = ak_filter_parse(query->filter, arena, &search.filter, err);
        if (rc != AK_OK) {
            return ak_wrap(err, rc, "--filter");
        }
    }
    struct ak_collection *collection;
    rc = ak_engine_get(folder_of(target)->engine, query->collection, &collection, err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = ak_collection_search(collection, &search, arena, found, count, err);
    ak_collection_unref(collection);
    return rc;
}

static enum ak_rc folder_vector(struct ak_target *target, struct ak_str name,
                                const struct ak_uuid *id, uint32_t dimension,
                                struct ak_arena *arena, const float **vector, struct ak_err *err)
{
    (void)dimension;
    struct ak_collection *collection;
    enum ak_rc rc = ak_engine_get(folder_of(target)->engine, name, &collection, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_found found;
    rc = ak_collection_fetch(collection, id, AK_INCLUDE_VECTOR, arena, &found, err);
    if (rc == AK_OK) {
        *vector = found.vector;
    }
    ak_collection_unref(collection);
    return rc;
}

/* --- Import --- */

static enum ak_rc folder_import_begin(struct ak_target *target,
                                      const struct ak_collection_info *info, struct ak_err *err)
{
    struct folder *folder = folder_of(target);
    folder->dimension = info->dimension;
    folder->docs = ak_alloc(BATCH_DOCS_MAX * sizeof *folder->docs);
    return ak_engine_get(folder->engine, info->name, &folder->collection, err);
}

static enum ak_rc write_batch(struct folder *folder, struct ak_err *err)
{
    if (folder->doc_count == 0) {
        return AK_OK;
    }
    double began = seconds_now();
    struct ak_write write;
    enum ak_rc rc = ak_collection_upsert(folder->collection, folder->docs, folder->doc_count, true,
                                         NULL, &write, err);
    double logged = seconds_now();
    folder->target.log_seconds += logged - began;
    if (rc != AK_OK) {
        return rc;
    }
    folder->commit = write.commit;
    ak_collection_help(folder->collection, folder->doc_count);
    folder->doc_count = 0;
    ak_arena_reset(&folder->arena);
    folder->target.index_seconds += seconds_now() - logged;
    return AK_OK;
}

static enum ak_rc folder_import_add(struct ak_target *target, const struct ak_row *row,
                                    struct ak_err *err)
{
    struct folder *folder = folder_of(target);
    size_t bytes = folder->dimension * sizeof(float);
    float *vector = ak_arena_alloc_aligned(&folder->arena, AK_CACHE_LINE, bytes);
    struct ak_document *doc = &folder->docs[folder->doc_count];
    *doc = (struct ak_document){.id = row->id, .vector = vector};
    ak_buf_clear(&folder->compact);
    ak_json_put_compact(&folder->compact, row->metadata);
    enum ak_rc rc = ak_buf_check(&folder->compact, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (row->external_id.len > 0) {
        doc->external_id = ak_arena_str(&folder->arena, row->external_id);
    }
    if (folder->compact.len > 0) {
        doc->metadata = ak_arena_str(&folder->arena, ak_buf_str(&folder->compact));
    }
    bool lost = (row->external_id.len > 0 && !doc->external_id.p) ||
                (folder->compact.len > 0 && !doc->metadata.p);
    if (!vector || lost) {
        return ak_fail(err, AK_NOMEM, "no memory for a batch of documents");
    }
    memcpy(vector, row->vector, bytes);
    folder->doc_count++;
    bool full = folder->doc_count == BATCH_DOCS_MAX || folder->arena.used >= BATCH_BYTES_MAX;
    return full ? write_batch(folder, err) : AK_OK;
}

static enum ak_rc folder_import_flush(struct ak_target *target, struct ak_err *err)
{
    struct folder *folder = folder_of(target);
    enum ak_rc rc = write_batch(folder, err);
    double began = seconds_now();
    if (rc == AK_OK) {
        rc = ak_engine_commit(folder->engine, folder->commit, err);
    }
    target->log_seconds += seconds_now() - began;
    return rc;
}

static enum ak_rc folder_wait_linked(struct ak_target *target,
                                     void (*progress)(void *ctx, uint64_t left), void *ctx,
                                     struct ak_err *err)
{
    (void)err;
    struct folder *folder = folder_of(target);
    double began = seconds_now();
    ak_collection_wait_linked(folder->collection, progress, ctx);
    target->index_seconds += seconds_now() - began;
    return AK_OK;
}

static const struct ak_target_ops folder_ops = {
    .close = folder_close,
    .describe = folder_describe,
    .list = folder_list,
    .create = folder_create,
    .drop = folder_drop,
    .verify = folder_verify,
    .search = folder_search,
    .vector = folder_vector,
    .import_begin = folder_import_begin,
    .import_add = folder_import_add,
    .import_flush = folder_import_flush,
    .wait_linked = folder_wait_linked,
};

enum ak_rc ak_target_open_folder(const char *dir, const struct ak_config *config, bool may_make,
                                 struct ak_target **target, struct ak_err *err)
{
    struct folder *folder = ak_zalloc(sizeof *folder);
    folder->target.ops = &folder_ops;
    folder->target.is_folder = true;
    folder->target.name = ak_strdup_n(dir, strlen(dir));
    ak_arena_init(&folder->arena, 0);
    ak_buf_init(&folder->compact, 0);
    /* A command is quiet about what goes well. */
    folder->log = ak_log_open(
        STDERR_FILENO,
        config->log_level < AK_LOG_WARN ? AK_LOG_WARN : (enum ak_log_level)config->log_level,
        (enum ak_log_format)config->log_format);
    enum ak_rc rc = ak_serve_open_engine(config, dir, may_make, folder->log, &folder->engine, err);
    if (rc != AK_OK) {
        ak_target_close(&folder->target);
        return rc;
    }
    *target = &folder->target;
    return AK_OK;
}
