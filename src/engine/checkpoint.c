/* checkpoint.c — from memory to an image, and the end of the log records that it covers.
 *
 * One collection, in order; [name] is a crash point:
 *   1. freeze     under the writer lock: rows, tombstones and the LSN they stand for
 *   2. image      written beside the old one and synced; small ones as bytes for the catalog
 *                 [checkpoint_before_image] [checkpoint_after_image]
 *   3. log        durable up to the frozen LSN
 *   4. commit     one catalog transaction names generation, LSN and count
 *                 [checkpoint_before_commit] [checkpoint_after_commit]      ← the commit point
 *   5. clean-up   vectors that are to be on disk are taken from the new file; the old file goes
 *                 [checkpoint_after_remove]
 *   6. release    wal_from in the catalog, then log segments below it
 *                 [log_before_release] [log_after_release]
 *
 * I1  The image that the catalog names is whole on disk (2 before 4).
 * I2  No image covers an LSN that the log could lose (3 before 4): otherwise new records would get
 *     LSNs that recovery takes for covered.
 * I3  Every record at or after checkpoint.lsn of its collection is in the log: wal_from is never
 *     above the dirty_from of any collection, and is durable before a segment goes.
 * I4  A file in collections/ that the catalog does not name is garbage: removed at the next open.
 * I5  An image file goes only under keeper.work, or with the last hold on it (hold.c).
 * I6  After a failed sync of the catalog nobody knows which image it names: no file is removed, and
 *     none is written under a name that it may know.
 * I7  Rows are taken from an image that the catalog names (4 before 5), and between its freeze and
 *     the taking no slot is used anew: the index stays frozen until then (index_disk.c, I10).
 *
 * A crash before 4 leaves the old image and the log; after 4 the new image, a garbage file at most.
 */
#include "base/fault.h"
#include "base/mem.h"
#include "engine/engine_priv.h"

#define TINY_BATCH_MAX 256

struct begun {
    struct ak_collection *collection; /* referenced */
    struct ak_checkpoint before;
    struct ak_checkpoint after;
    ak_lsn dirty_before;
    uint64_t wal_before;
    struct ak_buf blob;
    int64_t from_ns;
    bool is_frozen;
};

static uint64_t popcount(const uint64_t *words, uint64_t bits)
{
    uint64_t n = 0;
    for (uint64_t w = 0; w < (bits + 63) / 64; w++) {
        n += (uint64_t)__builtin_popcountll(words[w]);
    }
    return n;
}

static bool fits_catalog(const struct ak_collection *collection)
{
    const struct ak_collection_info *info = &collection->entry->info;
    uint64_t slots = ak_index_frozen_slots(collection->index);
    uint64_t row = ((uint64_t)info->dimension * 4 + 63) / 64 * 64 + 2ull * info->index.m * 4 + 32;
    return slots * row + ak_docs_image_bytes(&collection->docs, slots) + 4096 < AK_TINY_IMAGE_MAX;
}

/* 1: fix the state. The collection counts as clean from here; later writes make it dirty anew. */
static enum ak_rc freeze(struct ak_engine *engine, struct begun *begun, struct ak_err *err)
{
    struct ak_collection *collection = begun->collection;
    struct ak_directory *dir = &engine->directory;
    struct ak_entry *entry = collection->entry;
    begun->from_ns = ak_mono_ns(engine->clock);
    ak_mutex_lock(&collection->lock);
    enum ak_rc rc = ak_index_freeze(collection->index, err);
    if (rc == AK_OK) {
        begun->is_frozen = true;
        begun->before = entry->checkpoint;
        begun->after = (struct ak_checkpoint){
            .generation = entry->checkpoint.generation + 1,
            .lsn = collection->applied,
            .image_lsn = collection->applied,
            .documents = popcount(ak_index_frozen_live(collection->index),
                                  ak_index_frozen_slots(collection->index)),
            .tiny = fits_catalog(collection),
        };
        ak_mutex_lock(&dir->lock);
        begun->dirty_before = entry->dirty_from;
        begun->wal_before = entry->wal_bytes;
        ak_directory_mark_clean(dir, entry);
        ak_mutex_unlock(&dir->lock);
    }
    ak_mutex_unlock(&collection->lock);
    return rc;
}

static enum ak_rc write_sections(struct ak_engine *engine, struct begun *begun,
                                 struct ak_image_writer *writer, struct ak_err *err)
{
    struct ak_collection *collection = begun->collection;
    enum ak_rc rc = ak_index_write(collection->index, writer, err);
    if (rc == AK_OK) {
        unsigned token = ak_epoch_enter(engine->epoch);
        rc = ak_docs_write(&collection->docs, ak_index_frozen_slots(collection->index),
                           ak_index_frozen_live(collection->index), begun->after.lsn, writer, err);
        rc = rc == AK_OK ? ak_calibration_write(collection, writer, err) : rc;
        ak_epoch_leave(engine->epoch, token);
    }
    return rc;
}

/* 2: the image, as a file or as bytes. */
static enum ak_rc write_image(struct ak_engine *engine, struct begun *begun, struct ak_err *err)
{
    struct ak_collection *collection = begun->collection;
    struct ak_image_writer *writer = NULL;
    char path[AK_IMAGE_PATH_MAX];
    ak_crash_point("checkpoint_before_image");
    ak_collection_image_path(engine, &collection->entry->info.id, begun->after.generation, path);
    enum ak_rc rc = begun->after.tiny ? ak_image_create_blob(&begun->blob, &writer, err)
                                      : ak_image_create_file(engine->fs, path, &writer, err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = write_sections(engine, begun, writer, err);
    if (rc != AK_OK) {
        ak_image_abort(writer);
        return rc;
    }
    rc = ak_image_commit(writer, &begun->after.image_bytes, err);
    ak_crash_point("checkpoint_after_image");
    return rc;
}

static void unfreeze(struct begun *begun)
{
    ak_mutex_lock(&begun->collection->lock); /* the next slot changes: between two writes */
    ak_index_unfreeze(begun->collection->index);
    ak_mutex_unlock(&begun->collection->lock);
    begun->is_frozen = false;
}

/* Will the rows be taken from the image once it is committed? */
static bool takes_rows(const struct begun *begun)
{
    return begun->collection->entry->info.index.vectors == AK_VECTORS_DISK && !begun->after.tiny;
}

/* 5: the vectors are the new file's pages from here on; when that cannot be, they stay in memory
 * until the next image. */
static void take_rows(struct ak_engine *engine, struct begun *begun)
{
    struct ak_collection *collection = begun->collection;
    struct ak_slab_switch to = {0};
    struct ak_index_memory memory;
    struct ak_image *image = NULL;
    struct ak_err err;
    char path[AK_IMAGE_PATH_MAX];
    ak_collection_image_path(engine, &collection->entry->info.id, begun->after.generation, path);
    enum ak_rc rc = ak_image_open_file(engine->fs, path, &image, &err);
    if (rc == AK_OK) {
        rc = ak_index_switch_begin(collection->index, image, &to, &err);
    }
    ak_image_close(image);
    ak_mutex_lock(&collection->lock);
    if (rc == AK_OK) {
        rc = ak_index_switch_end(collection->index, &to, &err);
    }
    ak_index_unfreeze(collection->index);
    begun->is_frozen = false;
    ak_index_memory(collection->index, &memory);
    ak_mutex_lock(&engine->directory.lock);
    collection->loose_kept = memory.vectors;
    ak_collection_recount(collection);
    ak_mutex_unlock(&engine->directory.lock);
    ak_mutex_unlock(&collection->lock);
    if (rc != AK_OK && rc != AK_UNSUPPORTED) {
        ak_log_warn(engine->log, "checkpoint",
                    "the vectors of '%.*s' stay in memory until its next image: %s",
                    AK_STR_ARG(collection->entry->info.name), err.text);
    }
}

/* 1 to 3. On failure the collection is dirty again, as before. */
static enum ak_rc begin(struct ak_engine *engine, struct begun *begun, struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    if (ak_catalog_is_failed(engine->catalog)) { /* I6: the next name may be taken already */
        return ak_fail(err, AK_IO, "the catalog has failed: restart the server");
    }
    enum ak_rc rc = freeze(engine, begun, err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = write_image(engine, begun, err);
    if (rc != AK_OK || !takes_rows(begun)) {
        unfreeze(begun);
    }
    if (rc == AK_OK) {
        rc = ak_wal_sync(engine->wal, begun->after.lsn, err);
    }
    if (rc != AK_OK && begun->is_frozen) {
        unfreeze(begun);
    }
    if (rc != AK_OK) {
        ak_mutex_lock(&dir->lock);
        ak_directory_mark_dirty_again(dir, begun->collection->entry, begun->dirty_before,
                                      begun->wal_before);
        ak_mutex_unlock(&dir->lock);
    }
    return rc;
}

/* 4 and 5, for several collections at once. Gives back the references. */
static enum ak_rc commit(struct ak_engine *engine, struct begun *begun, size_t count,
                         struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    struct ak_checkpoint_commit *rows = ak_zalloc(count * sizeof *rows);
    for (size_t i = 0; i < count; i++) {
        rows[i] = (struct ak_checkpoint_commit){.id = begun[i].collection->entry->info.id,
                                                .checkpoint = begun[i].after,
                                                .blob = ak_buf_str(&begun[i].blob)};
    }
    ak_crash_point("checkpoint_before_commit");
    enum ak_rc rc = ak_catalog_checkpoint(engine->catalog, rows, count, err);
    ak_crash_point("checkpoint_after_commit");
    bool in_doubt = rc != AK_OK && ak_catalog_is_failed(engine->catalog); /* both files stay */
    for (size_t i = 0; i < count; i++) {
        struct ak_collection *collection = begun[i].collection;
        struct ak_entry *entry = collection->entry;
        const struct ak_checkpoint *gone = rc == AK_OK ? &begun[i].before : &begun[i].after;
        ak_mutex_lock(&dir->lock);
        if (rc == AK_OK) {
            entry->checkpoint = begun[i].after;
            collection->is_vacuumed = false;
        } else {
            ak_directory_mark_dirty_again(dir, entry, begun[i].dirty_before, begun[i].wal_before);
        }
        bool dropped = entry->dropped;
        ak_mutex_unlock(&dir->lock);
        if (begun[i].is_frozen && rc == AK_OK) {
            take_rows(engine, &begun[i]);
        } else if (begun[i].is_frozen) {
            unfreeze(&begun[i]);
        }
        if (!in_doubt) {
            ak_hold_remove_image(engine, &rows[i].id, gone);
        }
        if (dropped && rc == AK_OK) {
            ak_hold_remove_image(engine, &rows[i].id, &begun[i].after);
        }
        if (rc == AK_OK) {
            double seconds = (double)(ak_mono_ns(engine->clock) - begun[i].from_ns) / 1e9;
            ak_series_observe(engine->m_ckpt_seconds, seconds);
            ak_series_add(engine->m_ckpt_bytes, begun[i].after.image_bytes);
            ak_log_debug(engine->log, "checkpoint", "'%.*s': %llu documents, %llu bytes, %.3f s",
                         AK_STR_ARG(entry->info.name), (unsigned long long)begun[i].after.documents,
                         (unsigned long long)begun[i].after.image_bytes, seconds);
        }
        ak_buf_release(&begun[i].blob);
        ak_collection_unref(collection);
    }
    ak_crash_point("checkpoint_after_remove");
    ak_free(rows);
    return rc;
}

static void failed(struct ak_engine *engine, const struct ak_collection *collection,
                   const struct ak_err *err)
{
    ak_series_add(engine->m_ckpt_failed, 1);
    ak_log_warn(engine->log, "checkpoint",
                "'%.*s' not written, will be tried again; nothing is lost: %s",
                AK_STR_ARG(collection->entry->info.name), err->text);
}

enum ak_rc ak_checkpoint_one(struct ak_engine *engine, struct ak_collection *collection,
                             struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    struct begun begun = {.collection = collection};
    struct ak_err local;
    err = err ? err : &local;
    ak_mutex_lock(&dir->lock);
    bool dirty = collection->entry->dirty_from != 0;
    collection->refs += dirty; /* commit() gives it back */
    ak_mutex_unlock(&dir->lock);
    if (!dirty) {
        return AK_OK;
    }
    ak_buf_init(&begun.blob, 0);
    enum ak_rc rc = begin(engine, &begun, err);
    if (rc == AK_OK) {
        rc = commit(engine, &begun, 1, err);
    } else {
        ak_buf_release(&begun.blob);
        ak_collection_unref(collection);
    }
    if (rc != AK_OK) {
        failed(engine, collection, err);
    }
    return rc;
}

/* The next dirty collection after those that were tried in this pass, referenced; NULL at the end.
 * Every entry tried is either clean or moved to the end of the ring, so `left` bounds the pass. */
static struct ak_collection *
next_dirty(struct ak_engine *engine,
           bool (*wanted)(const struct ak_engine *, const struct ak_entry *), uint64_t *left)
{
    struct ak_directory *dir = &engine->directory;
    struct ak_collection *found = NULL;
    ak_mutex_lock(&dir->lock);
    while (*left && dir->dirty.dirty_next != &dir->dirty && !found) {
        struct ak_entry *entry = dir->dirty.dirty_next;
        (*left)--;
        ak_directory_rotate_dirty(dir, entry);
        if (!wanted || wanted(engine, entry)) {
            AK_ASSERT(entry->live); /* dirty collections are never closed */
            found = entry->live;
            found->refs++;
        }
    }
    ak_mutex_unlock(&dir->lock);
    return found;
}

enum ak_rc ak_checkpoint_dirty(struct ak_engine *engine,
                               bool (*wanted)(const struct ak_engine *, const struct ak_entry *),
                               struct ak_err *err)
{
    struct begun *batch = ak_zalloc(TINY_BATCH_MAX * sizeof *batch);
    struct ak_collection *collection = NULL;
    struct ak_err one;
    enum ak_rc result = AK_OK;
    size_t n = 0;
    ak_mutex_lock(&engine->directory.lock);
    uint64_t left = engine->directory.dirty_count;
    ak_mutex_unlock(&engine->directory.lock);
    do {
        enum ak_rc rc = AK_OK;
        collection = next_dirty(engine, wanted, &left);
        if (collection) {
            batch[n] = (struct begun){.collection = collection};
            rc = begin(engine, &batch[n], &one);
            if (rc == AK_OK) {
                n++;
            } else {
                failed(engine, collection, &one);
                ak_buf_release(&batch[n].blob);
                ak_collection_unref(collection);
            }
        }
        /* Large ones commit at once; small ones share a transaction. */
        if (n && (!collection || n == TINY_BATCH_MAX || !batch[n - 1].after.tiny)) {
            enum ak_rc committed = commit(engine, batch, n, &one);
            rc = rc == AK_OK ? committed : rc;
            n = 0;
        }
        if (rc != AK_OK && result == AK_OK) {
            result = ak_fail(err, rc, "%s", one.text);
        }
    } while (collection);
    ak_free(batch);
    return result;
}

enum ak_rc ak_checkpoint_release_log(struct ak_engine *engine, struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    struct ak_wal_stats stats;
    ak_wal_stats(engine->wal, &stats);
    /* A writer marks its collection dirty before it appends (write.c), with an LSN that is not
     * above the record's. One that marks after this scan appends after it too, and so at or above
     * `durable`. */
    ak_lsn from = stats.durable;
    ak_mutex_lock(&dir->lock);
    for (struct ak_entry *entry = dir->dirty.dirty_next; entry != &dir->dirty;
         entry = entry->dirty_next) {
        from = entry->dirty_from < from ? entry->dirty_from : from;
    }
    ak_mutex_unlock(&dir->lock);
    if (from <= engine->wal_from) {
        return AK_OK;
    }
    ak_crash_point("log_before_release");
    enum ak_rc rc = ak_catalog_set(engine->catalog, "wal_from", from, err);
    if (rc == AK_OK) {
        engine->wal_from = from;
        ak_wal_release_before(engine->wal, from);
        ak_crash_point("log_after_release");
    }
    return rc;
}

enum ak_rc ak_engine_checkpoint(struct ak_engine *engine, struct ak_collection *collection,
                                struct ak_err *err)
{
    ak_mutex_lock(&engine->keeper.work);
    enum ak_rc rc = ak_checkpoint_one(engine, collection, err);
    if (rc == AK_OK) {
        rc = ak_checkpoint_release_log(engine, err);
    }
    ak_mutex_unlock(&engine->keeper.work);
    return rc;
}
