/* collection.c — live collections: opened when first used, counted, closed when idle.
 *
 * References and the list of live collections (least recently used first) are under the directory's
 * lock. Loading happens outside of it: the entry is marked `opening` and other threads that want
 * the same collection wait for that one load.
 */
#include "base/mem.h"
#include "engine/engine_priv.h"
#include <stdio.h>

/* What counts as small: closed and opened again without anyone noticing. */
#define SMALL_BYTES_MAX (4 * (uint64_t)AK_TINY_IMAGE_MAX)

static void lru_remove(struct ak_directory *dir, struct ak_collection *collection)
{
    struct ak_collection *prev = collection->lru_prev;
    struct ak_collection *next = collection->lru_next;
    if (prev) {
        prev->lru_next = next;
    } else {
        dir->lru_first = next;
    }
    if (next) {
        next->lru_prev = prev;
    } else {
        dir->lru_last = prev;
    }
    collection->lru_next = collection->lru_prev = NULL;
}

static void lru_append(struct ak_directory *dir, struct ak_collection *collection)
{
    collection->lru_prev = dir->lru_last;
    collection->lru_next = NULL;
    if (dir->lru_last) {
        dir->lru_last->lru_next = collection;
    } else {
        dir->lru_first = collection;
    }
    dir->lru_last = collection;
}

void ak_collection_image_path(const struct ak_engine *engine, const struct ak_uuid *id,
                              uint64_t generation, char path[AK_IMAGE_PATH_MAX])
{
    char text[AK_UUID_TEXT_LEN];
    ak_uuid_format(id, text);
    (void)snprintf(path, AK_IMAGE_PATH_MAX, "%s/collections/%.36s-%llu.akx", engine->dir, text,
                   (unsigned long long)generation);
}

static struct ak_str metadata_of_slot(void *ctx, uint32_t slot)
{
    struct ak_collection *collection = ctx;
    return ak_docs_metadata(&collection->docs, slot);
}

struct ak_index_options ak_collection_index_options(const struct ak_engine *engine,
                                                    const struct ak_collection_info *info)
{
    return (struct ak_index_options){
        .dimension = info->dimension,
        .metric = info->metric,
        .params = info->index,
        .seed = ak_uuid_hash(&info->id),
        .epoch = engine->epoch,
    };
}

static enum ak_rc open_image(struct ak_collection *collection, struct ak_err *err)
{
    struct ak_engine *engine = collection->engine;
    const struct ak_entry *entry = collection->entry;
    if (!entry->checkpoint.tiny) {
        char path[AK_IMAGE_PATH_MAX];
        ak_collection_image_path(engine, &entry->info.id, entry->checkpoint.generation, path);
        enum ak_rc rc = ak_image_open_file(engine->fs, path, &collection->image, err);
        return rc == AK_NOT_FOUND
                   ? ak_wrap(err, AK_CORRUPT, "the image that the catalog names is missing")
                   : rc;
    }
    struct ak_buf blob;
    ak_buf_init(&blob, 0);
    enum ak_rc rc = ak_catalog_tiny(engine->catalog, &entry->info.id, &blob, err);
    if (rc != AK_OK) {
        ak_buf_release(&blob);
        return rc;
    }
    size_t len = 0;
    char *bytes = ak_buf_take(&blob, &len);
    return ak_image_open_blob(bytes, len, &collection->image, err);
}

static enum ak_rc load_sections(struct ak_collection *collection, struct ak_err *err)
{
    struct ak_index_options options =
        ak_collection_index_options(collection->engine, &collection->entry->info);
    const struct ak_checkpoint *checkpoint = &collection->entry->checkpoint;
    uint64_t lsn = 0;
    enum ak_rc rc = ak_index_load(&options, collection->image, &collection->index, err);
    if (rc == AK_OK) {
        rc = ak_docs_load(&collection->docs, collection->engine->epoch, collection->image,
                          ak_index_slots(collection->index), &lsn, err);
    }
    rc = rc == AK_OK ? ak_calibration_load(collection, err) : rc;
    if (rc == AK_OK && (lsn != checkpoint->image_lsn ||
                        ak_index_live(collection->index) != checkpoint->documents)) {
        rc = ak_fail(
            err, AK_CORRUPT,
            "image (LSN %llu, %llu documents) is not the one the catalog names (%llu, %llu)",
            (unsigned long long)lsn, (unsigned long long)ak_index_live(collection->index),
            (unsigned long long)checkpoint->image_lsn, (unsigned long long)checkpoint->documents);
    }
    return rc;
}

static enum ak_rc load_checkpoint(struct ak_collection *collection, struct ak_err *err)
{
    const struct ak_entry *entry = collection->entry;
    enum ak_rc rc = open_image(collection, err);
    if (rc == AK_OK) {
        ak_pages_bring(collection->image);
    }
    if (rc == AK_OK && (rc = load_sections(collection, err)) != AK_OK) {
        char path[AK_IMAGE_PATH_MAX] = "in the catalog";
        if (!entry->checkpoint.tiny) {
            ak_collection_image_path(collection->engine, &entry->info.id,
                                     entry->checkpoint.generation, path);
        }
        return ak_wrap(err, rc, "image %.300s", path);
    }
    return rc;
}

static void free_parts(struct ak_collection *collection)
{
    ak_columns_close(collection->columns);
    ak_index_close(collection->index);
    ak_docs_release(&collection->docs);
    ak_calibration_release(&collection->calibration);
    ak_image_close(collection->image);
    ak_mutex_release(&collection->lock);
    ak_free(collection);
}

static enum ak_rc load(struct ak_engine *engine, struct ak_entry *entry, struct ak_collection **out,
                       struct ak_err *err)
{
    struct ak_collection *collection = ak_try_zalloc(sizeof *collection);
    if (!collection) {
        return ak_fail(err, AK_NOMEM, "collection '%.*s'", AK_STR_ARG(entry->info.name));
    }
    collection->engine = engine;
    collection->entry = entry;
    ak_mutex_init(&collection->lock, AK_RANK_COLLECTION, "collection");
    ak_docs_init(&collection->docs, engine->epoch);
    ak_calibration_init(&collection->calibration);
    enum ak_rc rc = AK_OK;
    if (entry->checkpoint.generation) {
        rc = load_checkpoint(collection, err);
        collection->applied = entry->checkpoint.lsn;
    } else {
        struct ak_index_options options = ak_collection_index_options(engine, &entry->info);
        rc = ak_index_open(&options, &collection->index, err);
        collection->thawed = true;
    }
    if (rc == AK_OK) {
        rc = ak_columns_open(&collection->columns, metadata_of_slot, collection, err);
    }
    if (rc != AK_OK) {
        free_parts(collection);
        return ak_wrap(err, rc, "open collection '%.*s'", AK_STR_ARG(entry->info.name));
    }
    atomic_store(&collection->documents, ak_index_live(collection->index));
    atomic_store(&collection->is_borrowed, collection->image != NULL);
    *out = collection;
    return AK_OK;
}

/* One more reference; in front of the least recently used list from its end. */
static void ref_locked(struct ak_directory *dir, struct ak_collection *collection)
{
    collection->refs++;
    if (dir->lru_last != collection) {
        lru_remove(dir, collection);
        lru_append(dir, collection);
    }
}

enum ak_rc ak_collection_open_entry(struct ak_engine *engine, struct ak_entry *entry,
                                    struct ak_collection **collection, struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    enum ak_rc rc = ak_tier_is_cold(entry, err);
    while (rc == AK_OK && entry->opening) {
        struct ak_uuid id = entry->info.id;
        ak_cond_wait(&dir->changed, &dir->lock);
        entry = ak_directory_find_id(dir, &id); /* it may be gone after the wait */
        if (!entry) {
            return ak_fail(err, AK_NOT_FOUND, "the collection has been dropped");
        }
        rc = ak_tier_is_cold(entry, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    if (entry->live) {
        ref_locked(dir, entry->live);
        *collection = entry->live;
        return AK_OK;
    }
    struct ak_collection *made = NULL;
    entry->opening = true;
    ak_mutex_unlock(&dir->lock);
    rc = load(engine, entry, &made, err);
    ak_mutex_lock(&dir->lock);
    entry->opening = false;
    ak_cond_broadcast(&dir->changed);
    if (rc != AK_OK) {
        return rc;
    }
    AK_ASSERT(made);
    entry->live = made;
    lru_append(dir, made);
    dir->live_count++;
    made->refs = 1;
    made->is_small = true;
    ak_collection_recount(made);
    *collection = made;
    if (ak_index_pending(made->index)) {
        made->refs++; /* the builders' */
        ak_builders_want(made);
    }
    return AK_OK;
}

void ak_collection_close_live(struct ak_collection *collection)
{
    struct ak_directory *dir = &collection->engine->directory;
    AK_ASSERT(collection->refs == 0);
    lru_remove(dir, collection);
    dir->live_count--;
    dir->small_bytes -= collection->counted_bytes;
    collection->entry->live = NULL;
    collection->lru_next = dir->graves;
    dir->graves = collection;
}

static struct ak_collection *take_graves(struct ak_directory *dir)
{
    struct ak_collection *first = dir->graves;
    dir->graves = NULL;
    return first;
}

static void free_all(struct ak_collection *first)
{
    while (first) {
        struct ak_collection *next = first->lru_next;
        free_parts(first);
        first = next;
    }
}

void ak_collection_bury(struct ak_engine *engine)
{
    struct ak_directory *dir = &engine->directory;
    ak_mutex_lock(&dir->lock);
    struct ak_collection *graves = take_graves(dir);
    ak_mutex_unlock(&dir->lock);
    free_all(graves);
}

void ak_collection_unref_locked(struct ak_collection *collection)
{
    struct ak_directory *dir = &collection->engine->directory;
    struct ak_entry *entry = collection->entry;
    AK_ASSERT(collection->refs > 0);
    if (--collection->refs == 0) {
        if (entry->dropped) {
            ak_collection_close_live(collection);
            ak_directory_free(dir, entry);
        } else if (collection->closes_when_idle && entry->dirty_from) {
            /* A builder told of its last links after the image was written: the keeper's. */
            atomic_store_explicit(&collection->engine->wants_close, true, memory_order_relaxed);
            ak_keeper_poke(collection->engine);
        } else if (collection->closes_when_idle && !entry->opening) {
            ak_collection_close_live(collection);
        }
        ak_cond_broadcast(&dir->changed);
    }
}

void ak_collection_unref(struct ak_collection *collection)
{
    if (collection) {
        struct ak_directory *dir = &collection->engine->directory;
        ak_mutex_lock(&dir->lock);
        ak_collection_unref_locked(collection);
        struct ak_collection *graves = take_graves(dir);
        ak_mutex_unlock(&dir->lock);
        free_all(graves);
    }
}

/* now_us 0: not an access. */
static enum ak_rc get(struct ak_engine *engine, struct ak_str name_or_id, int64_t now_us,
                      struct ak_collection **collection, struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    ak_mutex_lock(&dir->lock);
    struct ak_entry *entry = ak_directory_find(dir, name_or_id);
    if (entry && now_us) {
        ak_tier_used(entry, now_us);
    }
    enum ak_rc rc =
        entry ? ak_collection_open_entry(engine, entry, collection, err)
              : ak_fail(err, AK_NOT_FOUND, "no collection '%.*s'", AK_STR_ARG(name_or_id));
    ak_mutex_unlock(&dir->lock);
    return rc;
}

enum ak_rc ak_engine_get(struct ak_engine *engine, struct ak_str name_or_id,
                         struct ak_collection **collection, struct ak_err *err)
{
    return get(engine, name_or_id, ak_now_us(engine->clock), collection, err);
}

enum ak_rc ak_engine_peek(struct ak_engine *engine, struct ak_str name_or_id,
                          struct ak_collection **collection, struct ak_err *err)
{
    return get(engine, name_or_id, 0, collection, err);
}

const struct ak_collection_info *ak_collection_info(const struct ak_collection *collection)
{
    return &collection->entry->info;
}

size_t ak_collection_bytes(const struct ak_collection *collection)
{
    return sizeof *collection + ak_index_bytes(collection->index) +
           (size_t)atomic_load_explicit(&collection->docs_bytes, memory_order_relaxed) +
           ak_columns_bytes(collection->columns) + ak_calibration_bytes(collection);
}

void ak_collection_recount(struct ak_collection *collection)
{
    struct ak_directory *dir = &collection->engine->directory;
    atomic_store_explicit(&collection->docs_bytes, ak_docs_bytes(&collection->docs),
                          memory_order_relaxed);
    if (!collection->is_small) {
        return; /* once large, always large: not worth a sum on every write */
    }
    dir->small_bytes -= collection->counted_bytes;
    collection->counted_bytes = ak_collection_bytes(collection);
    collection->is_small = collection->counted_bytes < SMALL_BYTES_MAX;
    collection->counted_bytes = collection->is_small ? collection->counted_bytes : 0;
    dir->small_bytes += collection->counted_bytes;
}

void ak_collection_stats(struct ak_collection *collection, struct ak_collection_stats *stats)
{
    struct ak_directory *dir = &collection->engine->directory;
    *stats = (struct ak_collection_stats){
        .documents = atomic_load(&collection->documents),
        .pending = ak_index_pending(collection->index),
        .tombstones = ak_index_tombstones(collection->index),
    };
    ak_mutex_lock(&collection->lock);
    ak_mutex_lock(&dir->lock);
    ak_collection_recount(collection);
    stats->memory_bytes = ak_collection_bytes(collection);
    stats->image_bytes = collection->entry->checkpoint.image_bytes;
    stats->generation = collection->entry->checkpoint.generation;
    stats->wal_bytes = collection->entry->wal_bytes;
    ak_mutex_unlock(&dir->lock);
    ak_mutex_unlock(&collection->lock);
}
