/* adopt.c — an image that came from elsewhere becomes the state of a collection.
 *
 * In order; [name] is a crash point:
 *   1. verify   the staging file: checksums, index, graph, documents (no lock; nothing is changed);
 *               then the caller's word
 *   2. move in  synced, renamed to the collection's next generation, folder synced
 *               [adopt_before_rename] [adopt_before_commit]
 *   3. quiet    replacing: the writer lock of the live collection is taken, and kept to the end,
 *               and nobody changes its tier
 *   4. log      durable up to its present end E
 *   5. commit   one catalog transaction: generation, checkpoint.lsn = E, tier, and the job's step
 *               [adopt_after_commit]                                       ← the commit point
 *   6. swap     the directory's place gets a new entry; the old one counts as dropped
 *   7. clean-up the superseded image goes, or with the last hold on it [adopt_after_remove]
 *
 * A crash before 5 leaves the old state and a garbage file (I4 of checkpoint.c); after 5 the new
 * state, and at most the old file as garbage. All under keeper.work, as checkpoints and drops are.
 *
 * A1  Every record of the old state has an LSN below E, every record of the new one at or above it:
 *     under the writer lock nobody appends between 4 and 6, and after 6 the old object refuses
 *     (write.c looks at `dropped` under that lock). So replay, which skips what lies below
 *     checkpoint.lsn, gives the new state and what was written to it, nothing else.
 * A2  E is durable before the commit (I2 of checkpoint.c): the log never ends below what the
 *     catalog names, which the next open checks.
 * A3  References to the old state stay good for reading: they have their own mapping, memory and
 *     entry, which go with the last of them. A collection that is not open is kept from being
 *     opened between 2 and 6 (`opening`).
 * A4  When the catalog's sync fails in 5, nobody knows which state the next start will find. Then
 *     no file is removed, and the collection refuses writes until then (`in_doubt`): they would be
 *     applied to a state that they were not made for.
 *
 * The LSN inside the image is of the node and time that wrote it and means nothing here, except as
 * a mark that image and catalog belong together: it is kept as checkpoint.image_lsn.
 */
#include "base/fault.h"
#include "base/json.h"
#include "base/mem.h"
#include "engine/engine_priv.h"
#include "engine/hold.h"
#include <stdio.h>

void ak_engine_staging_path(const struct ak_engine *engine, const struct ak_uuid *id, char *path,
                            size_t size)
{
    char text[AK_UUID_TEXT_LEN];
    ak_uuid_format(id, text);
    (void)snprintf(path, size, "%s/collections/%.36s.staging", engine->dir, text);
}

/* --- 1: verify --- */

struct candidate {
    struct ak_engine *engine;
    const struct ak_collection_info *info;
    struct ak_image *image;
    struct ak_index *index;
    struct ak_docs docs;
    uint64_t lsn;
};

static enum ak_rc check_metadata(struct ak_str metadata, struct ak_err *err)
{
    struct ak_json in;
    if (!metadata.len) {
        return AK_OK;
    }
    ak_json_init(&in, metadata);
    bool is_object = ak_json_peek(&in) == AK_JSON_OBJECT;
    (void)ak_json_skip(&in, NULL);
    enum ak_rc rc = ak_json_finish(&in, err);
    ak_json_release(&in);
    return rc == AK_OK && !is_object ? ak_fail(err, AK_CORRUPT, "metadata is not an object") : rc;
}

/* Every document is one that could have been written here. */
static enum ak_rc check_documents(const struct candidate *candidate, struct ak_err *err)
{
    const struct ak_collection_info *info = candidate->info;
    for (uint32_t slot = 0; slot < candidate->docs.slots; slot++) {
        if (!ak_index_is_live(candidate->index, slot)) {
            continue;
        }
        struct ak_document doc = {
            .id = *ak_docs_id(&candidate->docs, slot),
            .external_id = ak_docs_external_id(&candidate->docs, slot),
            .vector = ak_index_vector(candidate->index, slot),
            .metadata = ak_docs_metadata(&candidate->docs, slot),
        };
        enum ak_rc rc = ak_uuid_is_nil(&doc.id)
                            ? ak_fail(err, AK_CORRUPT, "a document has no id")
                            : ak_document_check(&doc, info->dimension, info->metric, -1, err);
        if (rc == AK_OK) {
            rc = check_metadata(doc.metadata, err);
        }
        if (rc != AK_OK) {
            return ak_wrap(err, rc == AK_NOMEM ? rc : AK_CORRUPT, "slot %u", slot);
        }
    }
    return AK_OK;
}

static enum ak_rc load_candidate(struct candidate *candidate, const char *path, struct ak_err *err)
{
    struct ak_engine *engine = candidate->engine;
    struct ak_index_options options = ak_collection_index_options(engine, candidate->info);
    enum ak_rc rc = ak_image_open_file(engine->fs, path, &candidate->image, err);
    if (rc == AK_OK) {
        ak_image_stream(candidate->image);
        rc = ak_image_check_all(candidate->image, err);
    }
    if (rc == AK_OK) {
        rc = ak_index_load(&options, candidate->image, &candidate->index, err);
    }
    return rc == AK_OK ? ak_docs_load(&candidate->docs, engine->epoch, candidate->image,
                                      ak_index_slots(candidate->index), &candidate->lsn, err)
                       : rc;
}

static enum ak_rc check_candidate(struct candidate *candidate, uint64_t documents,
                                  struct ak_err *err)
{
    struct ak_index_report report;
    uint64_t live = ak_index_live(candidate->index);
    if (live != documents) {
        return ak_fail(err, AK_CORRUPT, "it holds %llu documents, not %llu",
                       (unsigned long long)live, (unsigned long long)documents);
    }
    enum ak_rc rc = ak_docs_index(&candidate->docs, candidate->index, err); /* ids are unique */
    if (rc == AK_OK) {
        rc = ak_index_check_graph(candidate->index, &report, err);
    }
    return rc == AK_OK ? check_documents(candidate, err) : rc;
}

static enum ak_rc verify(struct ak_engine *engine, const struct ak_collection_info *info,
                         const char *path, uint64_t documents, struct ak_checkpoint *checkpoint,
                         struct ak_err *err)
{
    struct candidate candidate = {.engine = engine, .info = info};
    ak_docs_init(&candidate.docs, engine->epoch);
    enum ak_rc rc = load_candidate(&candidate, path, err);
    if (rc == AK_OK) {
        rc = check_candidate(&candidate, documents, err);
    }
    if (rc == AK_OK) {
        *checkpoint = (struct ak_checkpoint){.documents = documents,
                                             .image_bytes = ak_image_bytes(candidate.image),
                                             .image_lsn = candidate.lsn};
    }
    ak_index_close(candidate.index);
    ak_docs_release(&candidate.docs);
    ak_image_close(candidate.image);
    return rc == AK_OK ? rc : ak_wrap(err, rc, "the image cannot be taken over");
}

/* --- 2 to 5 --- */

static enum ak_rc sync_file(struct ak_fs *fs, const char *path, struct ak_err *err)
{
    struct ak_file *file = NULL;
    enum ak_rc rc = ak_fs_open(fs, path, AK_OPEN_WRITE, &file, err);
    if (rc == AK_OK) {
        rc = ak_file_sync(file, err);
    }
    ak_file_close(file);
    return rc;
}

static enum ak_rc move_in(struct ak_engine *engine, const char *from, const char *to,
                          struct ak_err *err)
{
    char folder[AK_IMAGE_PATH_MAX];
    (void)snprintf(folder, sizeof folder, "%s/collections", engine->dir);
    enum ak_rc rc = sync_file(engine->fs, from, err);
    ak_crash_point("adopt_before_rename");
    if (rc == AK_OK) {
        rc = ak_fs_rename(engine->fs, from, to, err);
    }
    if (rc == AK_OK) {
        rc = ak_fs_sync_dir(engine->fs, folder, err);
    }
    ak_crash_point("adopt_before_commit");
    return rc;
}

/* Fix E and make the catalog name the image. */
static enum ak_rc commit(struct ak_engine *engine, struct ak_catalog_row *row,
                         const struct ak_engine_adopt_options *options, struct ak_err *err)
{
    struct ak_wal_stats stats;
    struct ak_catalog_adoption adoption = {.row = row,
                                           .create = !options->replace,
                                           .job = options->job,
                                           .job_step = options->job_step};
    ak_wal_stats(engine->wal, &stats);
    row->checkpoint.lsn = stats.end;
    enum ak_rc rc = ak_wal_sync(engine->wal, stats.end, err);
    if (options->only_cold) {
        ak_crash_point("tier_wake_before_commit");
    }
    if (rc == AK_OK) {
        rc = ak_catalog_adopt(engine->catalog, &adoption, err);
    }
    if (rc == AK_OK) {
        ak_crash_point(options->only_cold ? "tier_wake_after_commit" : "adopt_after_commit");
    }
    return rc;
}

static void discard(struct ak_engine *engine, const char *path)
{
    struct ak_err err;
    enum ak_rc rc = ak_fs_remove(engine->fs, path, &err);
    if (rc != AK_OK && rc != AK_NOT_FOUND) {
        ak_log_warn(engine->log, "engine", "it stays until the next start: %s", err.text);
    }
}

/* --- A new collection --- */

static enum ak_rc check_is_new(struct ak_engine *engine, const struct ak_collection_info *info,
                               struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    ak_mutex_lock(&dir->lock);
    bool exists = ak_directory_find(dir, info->name) || ak_directory_find_id(dir, &info->id);
    ak_mutex_unlock(&dir->lock);
    return exists ? ak_fail(err, AK_EXISTS, "a collection named '%.*s' exists already",
                            AK_STR_ARG(info->name))
                  : AK_OK;
}

/* What is in the catalog comes into the directory; when there is no memory for it, out of both. */
static enum ak_rc enter(struct ak_engine *engine, const struct ak_catalog_row *row,
                        struct ak_collection_info *adopted, struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    struct ak_entry *entry = NULL;
    ak_mutex_lock(&dir->lock);
    enum ak_rc rc = ak_directory_add(dir, row, &entry, err);
    if (rc == AK_OK && adopted) {
        *adopted = entry->info;
    }
    ak_mutex_unlock(&dir->lock);
    return rc;
}

/* The tier that it has with the adoption. */
static void adopted_tier(struct ak_engine *engine, const struct ak_engine_adopt_options *options,
                         struct ak_catalog_row *row)
{
    bool moves = !options->replace || row->tier.tier == AK_TIER_COLD;
    if (moves) {
        row->tier.tier = AK_TIER_WARM;
        row->tier.since_us = ak_now_us(engine->clock);
    }
    row->tier.cover = options->cover ? *options->cover : (struct ak_uuid){{0}};
    row->tier.cover_generation = options->cover ? row->checkpoint.generation : 0;
}

static enum ak_rc adopt_new(struct ak_engine *engine, struct ak_catalog_row *row, const char *from,
                            const struct ak_engine_adopt_options *options,
                            struct ak_collection_info *adopted, struct ak_err *err)
{
    char to[AK_IMAGE_PATH_MAX];
    row->info.state = AK_COLLECTION_READY;
    row->info.created_us = ak_now_us(engine->clock);
    row->checkpoint.generation = 1;
    adopted_tier(engine, options, row);
    enum ak_rc rc = check_is_new(engine, &row->info, err);
    if (rc != AK_OK) {
        return rc;
    }
    ak_collection_image_path(engine, &row->info.id, 1, to);
    rc = move_in(engine, from, to, err);
    if (rc == AK_OK) {
        rc = commit(engine, row, options, err);
    }
    if (rc == AK_OK) {
        rc = enter(engine, row, adopted, err);
        if (rc != AK_OK && ak_catalog_delete(engine->catalog, &row->info.id, NULL) != AK_OK) {
            /* Not to be tried again: the catalog names the image now. */
            return ak_fail(err, AK_IO, "collection '%.*s' exists from the next start on",
                           AK_STR_ARG(row->info.name));
        }
    }
    if (rc != AK_OK && !ak_catalog_is_failed(engine->catalog)) {
        discard(engine, to);
    }
    ak_crash_point("adopt_after_remove");
    return rc;
}

/* --- The next state of a present one --- */

static enum ak_rc check_fits(const struct ak_collection_info *now,
                             const struct ak_collection_info *info, struct ak_err *err)
{
    if (now->dimension != info->dimension || now->metric != info->metric ||
        now->index.m != info->index.m || now->index.quantization != info->index.quantization) {
        return ak_fail(err, AK_INVALID,
                       "collection '%.*s' has dimension %u, metric %s, m %u, quantization %s, the "
                       "image %u, %s, %u, %s: take it into a new collection instead",
                       AK_STR_ARG(now->name), now->dimension, ak_metric_name(now->metric),
                       now->index.m, ak_quantization_name(now->index.quantization), info->dimension,
                       ak_metric_name(info->metric), info->index.m,
                       ak_quantization_name(info->index.quantization));
    }
    return AK_OK;
}

enum ak_rc ak_replace_begin(struct ak_engine *engine, struct ak_catalog_row *row,
                            struct ak_replacement *swap, struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    struct ak_uuid id = row->info.id;
    ak_mutex_lock(&dir->lock);
    struct ak_entry *entry = ak_directory_find_id(dir, &id);
    while (entry && entry->opening) {
        ak_cond_wait(&dir->changed, &dir->lock);
        entry = ak_directory_find_id(dir, &id);
    }
    if (entry) {
        *row = (struct ak_catalog_row){entry->info, entry->checkpoint, entry->tier};
        *swap = (struct ak_replacement){.old = entry, .live = entry->live};
        if (swap->live) {
            swap->live->refs++;
        } else {
            entry->opening = true;
        }
    }
    ak_mutex_unlock(&dir->lock);
    return entry ? AK_OK : ak_fail(err, AK_NOT_FOUND, "the collection has been dropped");
}

void ak_replace_lock(struct ak_engine *engine, struct ak_catalog_row *row,
                     struct ak_replacement *swap)
{
    struct ak_directory *dir = &engine->directory;
    if (swap->live) {
        ak_mutex_lock(&swap->live->lock);
    }
    ak_mutex_lock(&engine->tier_lock);
    swap->is_locked = true;
    ak_mutex_lock(&dir->lock);
    row->tier = swap->old->tier;
    ak_mutex_unlock(&dir->lock);
}

void ak_replace_end(struct ak_engine *engine, struct ak_replacement *swap,
                    const struct ak_catalog_row *row, enum ak_rc rc,
                    struct ak_collection_info *adopted)
{
    struct ak_directory *dir = &engine->directory;
    bool in_doubt = rc != AK_OK && swap->is_locked && ak_catalog_is_failed(engine->catalog);
    ak_mutex_lock(&dir->lock);
    if (rc == AK_OK) {
        swap->fresh->checkpoint = row->checkpoint;
        swap->fresh->tier = row->tier;
        ak_directory_replace(dir, swap->old, swap->fresh);
        if (adopted) {
            *adopted = swap->fresh->info;
        }
    } else {
        swap->old->in_doubt = swap->old->in_doubt || in_doubt;
    }
    if (!swap->live) {
        swap->old->opening = false;
        ak_cond_broadcast(&dir->changed);
        if (rc == AK_OK) {
            ak_directory_free(dir, swap->old);
        }
    }
    ak_mutex_unlock(&dir->lock);
    if (swap->is_locked) {
        ak_mutex_unlock(&engine->tier_lock);
        if (swap->live) {
            ak_mutex_unlock(&swap->live->lock);
        }
    }
    ak_collection_unref(swap->live);
    if (rc != AK_OK) {
        ak_free(swap->fresh);
    }
}

/* Is the collection still what the image was fetched for? */
static enum ak_rc check_is_cold(const struct ak_catalog_row *row,
                                const struct ak_engine_adopt_options *options, struct ak_err *err)
{
    return !options->only_cold || (row->tier.tier == AK_TIER_COLD &&
                                   ak_uuid_eq(&row->tier.cover, options->only_cold))
               ? AK_OK
               : ak_fail(err, AK_CONFLICT, "the collection is not cold any more, or elsewhere");
}

static enum ak_rc begin_over(struct ak_engine *engine, struct ak_catalog_row *row,
                             const struct ak_engine_adopt_options *options,
                             struct ak_replacement *swap, struct ak_checkpoint *before,
                             struct ak_err *err)
{
    struct ak_catalog_row image = *row;
    enum ak_rc rc = ak_replace_begin(engine, row, swap, err);
    if (rc != AK_OK) {
        return rc;
    }
    *before = row->checkpoint;
    row->checkpoint = image.checkpoint;
    row->checkpoint.generation = before->generation + 1;
    rc = check_fits(&row->info, &image.info, err);
    if (rc == AK_OK) {
        rc = check_is_cold(row, options, err);
    }
    if (rc == AK_OK) {
        rc = ak_directory_make(row, &swap->fresh, err);
    }
    if (rc != AK_OK) {
        ak_replace_end(engine, swap, row, rc, NULL);
    }
    return rc;
}

static enum ak_rc adopt_over(struct ak_engine *engine, struct ak_catalog_row *row, const char *from,
                             const struct ak_engine_adopt_options *options,
                             struct ak_collection_info *adopted, struct ak_err *err)
{
    struct ak_replacement swap = {0};
    struct ak_checkpoint before;
    char to[AK_IMAGE_PATH_MAX];
    enum ak_rc rc = begin_over(engine, row, options, &swap, &before, err);
    if (rc != AK_OK) {
        return rc;
    }
    ak_collection_image_path(engine, &row->info.id, row->checkpoint.generation, to);
    rc = move_in(engine, from, to, err);
    ak_replace_lock(engine, row, &swap);
    adopted_tier(engine, options, row);
    if (rc == AK_OK) {
        rc = commit(engine, row, options, err);
    }
    ak_replace_end(engine, &swap, row, rc, adopted);
    if (rc == AK_OK) {
        ak_hold_remove_image(engine, &row->info.id, &before);
        ak_crash_point("adopt_after_remove");
    } else if (!ak_catalog_is_failed(engine->catalog)) {
        discard(engine, to);
    }
    return rc;
}

static enum ak_rc take_over(struct ak_engine *engine, struct ak_catalog_row *row, const char *path,
                            const struct ak_engine_adopt_options *options,
                            struct ak_collection_info *adopted, struct ak_err *err)
{
    if (ak_catalog_is_failed(engine->catalog)) { /* I6 of checkpoint.c */
        return ak_fail(err, AK_IO, "the catalog has failed: restart the server");
    }
    return options->replace ? adopt_over(engine, row, path, options, adopted, err)
                            : adopt_new(engine, row, path, options, adopted, err);
}

enum ak_rc ak_engine_adopt(struct ak_engine *engine, const struct ak_collection_info *info,
                           const char *path, const struct ak_engine_adopt_options *options,
                           struct ak_collection_info *adopted, struct ak_err *err)
{
    struct ak_catalog_row row = {.info = *info};
    if (!options->replace && ak_uuid_is_nil(&row.info.id)) {
        row.info.id = ak_uuid_make(&engine->uuids);
    }
    enum ak_rc rc = ak_collection_info_check(&row.info, err);
    if (rc == AK_OK) {
        rc = verify(engine, &row.info, path, options->documents, &row.checkpoint, err);
    }
    if (rc == AK_OK && options->confirm) {
        rc = options->confirm(options->ctx, err);
    }
    if (rc == AK_OK) {
        ak_mutex_lock(&engine->keeper.work);
        rc = take_over(engine, &row, path, options, adopted, err);
        ak_mutex_unlock(&engine->keeper.work);
    }
    if (rc != AK_OK) {
        discard(engine, path);
    }
    return rc == AK_OK ? rc : ak_wrap(err, rc, "restore '%.*s'", AK_STR_ARG(info->name));
}
