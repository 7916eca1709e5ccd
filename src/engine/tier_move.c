/* tier_move.c — moving a collection between memory and disk.
 *
 * HOT → WARM, in order; [name] is a crash point:
 *   1. link     what is pending, as far as it goes; repair when many rows are removed
 *                                                                            [during_demotion]
 *   2. image    written when there is something to write (checkpoint.c)     [tier_warm_after_image]
 *   3. commit   one catalog transaction, only if nothing was written since
 *                              [tier_warm_before_commit] [tier_warm_after_commit] ← commit point
 *   4. close    the live collection goes with its last reference
 *
 * WARM → HOT:
 *   1. own      rows are copied from the image under the writer lock, published through the epoch;
 *               the image is let go through it too
 *   2. commit   one catalog transaction     [tier_hot_before_commit] [tier_hot_after_commit]
 *
 * M1  A collection that was written since its image is HOT: step 3 looks under the directory's
 *     lock, under which a writer marks it before it logs (write.c); a write after 3 makes it HOT
 *     again. It may be dirty by links, which builders tell of late; the keeper writes those.
 * M2  WARM memory goes when nobody can use it: the object is closed with its last reference, out
 *     of the directory, and freed without a lock. While it is in use it serves, also writes.
 * M3  A catalog whose sync failed may say either; both are true of the image and the log, so
 *     nothing is in doubt but a word. (Not so for COLD: cold.c.)
 */
#include "base/fault.h"
#include "base/mem.h"
#include "engine/engine_priv.h"
#include "engine/tiering.h"
#include <unistd.h>

#define LINK_SHARE 256u     /* rows linked between two looks */
#define LINK_IDLE_MAX 2000u /* looks without progress, a millisecond apart */
#define CHECKPOINTS_MAX 3u  /* of one move: links may be made meanwhile */
#define REPAIR_SHARE 10u    /* more than a tenth removed: worth a repair before the image */
#define TRIM_BATCH 64u      /* images let go between two looks at the process's size */

/* --- HOT → WARM --- */

struct move {
    struct ak_uuid id;
    enum ak_tier from;
    struct ak_collection *collection; /* referenced, or NULL: it is closed */
};

static enum ak_rc begin(struct ak_engine *engine, struct ak_str name_or_id, bool opens,
                        struct move *move, struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    ak_mutex_lock(&dir->lock);
    struct ak_entry *entry = ak_directory_find(dir, name_or_id);
    if (!entry) {
        ak_mutex_unlock(&dir->lock);
        return ak_tier_not_found(name_or_id, err);
    }
    enum ak_rc rc = ak_tier_is_cold(entry, err);
    if (rc == AK_OK) {
        rc = ak_tier_begin_move(entry, err);
    }
    if (rc == AK_OK) {
        *move = (struct move){.id = entry->info.id, .from = entry->tier.tier};
        if (opens) {
            rc = ak_collection_open_entry(engine, entry, &move->collection, err);
        } else if (entry->live) {
            move->collection = entry->live;
            move->collection->refs++;
        }
    }
    ak_mutex_unlock(&dir->lock);
    if (rc != AK_OK && !ak_uuid_is_nil(&move->id)) {
        ak_tier_end_move(engine, &move->id);
    }
    return rc;
}

static void end(struct ak_engine *engine, struct move *move)
{
    ak_tier_end_move(engine, &move->id);
    ak_collection_unref(move->collection);
    (void)ak_epoch_collect(engine->epoch);
    atomic_store_explicit(&engine->wants_trim, true, memory_order_relaxed);
}

/* 1: an image with everything linked is opened without work. What cannot be linked now is no reason
 * to stay: it is linked when the collection is opened. */
static void link_pending(struct ak_collection *collection)
{
    struct ak_index *index = collection->index;
    struct ak_err err;
    uint64_t left = ak_index_pending(index);
    uint64_t budget = 2 * left + LINK_SHARE; /* somebody may go on writing */
    uint64_t dead = ak_index_tombstones(index);
    bool repairs = dead > ak_index_live(index) / REPAIR_SHARE;
    if ((left || repairs) && ak_collection_thaw(collection, &err) != AK_OK) {
        return;
    }
    unsigned idle = 0;
    bool has_built = false;
    for (; left && budget && idle < LINK_IDLE_MAX; left = ak_index_pending(index)) {
        uint32_t built = ak_index_build_some(index, LINK_SHARE);
        budget -= built < budget ? built : budget;
        idle = built ? 0 : idle + 1;
        has_built = has_built || built;
        if (!built) {
            (void)usleep(1000); /* the last rows are in the hands of builders */
        }
    }
    if (repairs && ak_index_repair(index, &err) == AK_OK) {
        has_built = true;
        ak_mutex_lock(&collection->lock);
        if (ak_docs_compact(&collection->docs, index, &err) != AK_OK) {
            ak_log_debug(collection->engine->log, "engine", "text is not compacted: %s", err.text);
        }
        ak_mutex_unlock(&collection->lock);
    }
    if (has_built) {
        ak_collection_keep_links(collection);
    }
}

static bool is_dirty(struct ak_engine *engine, const struct ak_collection *collection)
{
    struct ak_directory *dir = &engine->directory;
    ak_mutex_lock(&dir->lock);
    bool dirty = collection->entry->dirty_from != 0;
    ak_mutex_unlock(&dir->lock);
    return dirty;
}

/* 2; keeper.work held. */
static enum ak_rc write_image(struct ak_engine *engine, struct ak_collection *collection,
                              struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    for (unsigned i = 0; i < CHECKPOINTS_MAX && rc == AK_OK && is_dirty(engine, collection); i++) {
        rc = ak_checkpoint_one(engine, collection, err);
    }
    ak_crash_point("tier_warm_after_image");
    return rc;
}

static enum ak_rc was_written(const struct ak_entry *entry, struct ak_err *err)
{
    return ak_fail(err, AK_CONFLICT, "collection '%.*s' is being written: it stays hot",
                   AK_STR_ARG(entry->info.name));
}

/* 3; keeper.work and tier_lock held. */
static enum ak_rc commit_warm(struct ak_engine *engine, const struct move *move, struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    struct ak_catalog_tier_change change;
    enum ak_rc rc = AK_OK;
    ak_mutex_lock(&dir->lock);
    struct ak_entry *entry = ak_directory_find_id(dir, &move->id);
    if (!entry) {
        rc = ak_fail(err, AK_NOT_FOUND, "the collection has been dropped");
    } else if (entry->is_written) {
        rc = was_written(entry, err);
    } else {
        ak_tier_take(dir, entry, &change);
        change.tier.tier = AK_TIER_WARM;
        change.tier.since_us = ak_now_us(engine->clock);
    }
    ak_mutex_unlock(&dir->lock);
    if (rc != AK_OK) {
        return rc;
    }
    ak_crash_point("tier_warm_before_commit");
    rc = ak_tier_tell(engine, &change, 1, err);
    if (rc != AK_OK) {
        return rc;
    }
    ak_crash_point("tier_warm_after_commit");
    ak_mutex_lock(&dir->lock); /* keeper.work: the entry is still there */
    if (entry->is_written) {
        rc = was_written(entry, err);
        dir->tiers_unsaved += !entry->tier_unsaved;
        entry->tier_unsaved = true;
    } else {
        entry->tier.tier = AK_TIER_WARM;
        entry->tier.since_us = change.tier.since_us;
        if (entry->live) {
            entry->live->closes_when_idle = true;
        }
    }
    ak_mutex_unlock(&dir->lock);
    return rc;
}

enum ak_rc ak_engine_tier_warm(struct ak_engine *engine, struct ak_str name_or_id,
                               struct ak_err *err)
{
    struct move move = {0};
    enum ak_rc rc = begin(engine, name_or_id, false, &move, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (move.from == AK_TIER_HOT) {
        if (move.collection) {
            link_pending(move.collection);
        }
        ak_crash_point("during_demotion");
        ak_mutex_lock(&engine->keeper.work);
        rc = move.collection ? write_image(engine, move.collection, err) : AK_OK;
        if (rc == AK_OK) {
            ak_mutex_lock(&engine->tier_lock);
            rc = commit_warm(engine, &move, err);
            ak_mutex_unlock(&engine->tier_lock);
        }
        ak_mutex_unlock(&engine->keeper.work);
    }
    end(engine, &move);
    return rc;
}

/* --- WARM → HOT --- */

static void close_image(void *image)
{
    ak_image_close(image);
}

/* 1: the collection's own memory, whole or in part. */
static enum ak_rc own(struct ak_engine *engine, struct ak_collection *collection,
                      struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    struct ak_image *image = NULL;
    ak_mutex_lock(&collection->lock);
    enum ak_rc rc = ak_index_own(collection->index, err);
    if (rc == AK_OK) {
        rc = ak_docs_own(&collection->docs, err);
    }
    if (rc == AK_OK) {
        image = collection->image;
        collection->image = NULL;
        atomic_store_explicit(&collection->is_borrowed, false, memory_order_relaxed);
    }
    ak_mutex_lock(&dir->lock);
    ak_collection_recount(collection);
    ak_mutex_unlock(&dir->lock);
    ak_mutex_unlock(&collection->lock);
    if (image) {
        ak_epoch_retire(engine->epoch, close_image, image);
    }
    return rc;
}

/* 2; tier_lock held. */
static enum ak_rc commit_hot(struct ak_engine *engine, const struct move *move, struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    struct ak_catalog_tier_change change;
    ak_mutex_lock(&dir->lock);
    struct ak_entry *entry = ak_directory_find_id(dir, &move->id);
    bool is_due = entry && entry->tier.tier == AK_TIER_WARM;
    if (is_due) {
        ak_tier_take(dir, entry, &change);
        change.tier.tier = AK_TIER_HOT;
        change.tier.since_us = ak_now_us(engine->clock);
    }
    ak_mutex_unlock(&dir->lock);
    if (!is_due) { /* a write was faster, or it has been dropped */
        return AK_OK;
    }
    ak_crash_point("tier_hot_before_commit");
    enum ak_rc rc = ak_tier_tell(engine, &change, 1, err);
    ak_crash_point("tier_hot_after_commit");
    if (rc == AK_OK) {
        ak_mutex_lock(&dir->lock);
        entry = ak_directory_find_id(dir, &move->id);
        if (entry && entry->tier.tier == AK_TIER_WARM) {
            entry->tier.tier = AK_TIER_HOT;
            entry->tier.since_us = change.tier.since_us;
            if (entry->live) {
                entry->live->closes_when_idle = false;
            }
        }
        ak_mutex_unlock(&dir->lock);
    }
    return rc;
}

enum ak_rc ak_engine_tier_hot(struct ak_engine *engine, struct ak_str name_or_id,
                              struct ak_err *err)
{
    struct move move = {0};
    enum ak_rc rc = begin(engine, name_or_id, true, &move, err);
    if (rc != AK_OK) {
        return rc;
    }
    AK_ASSERT(move.collection); /* it was opened */
    rc = own(engine, move.collection, err);
    if (rc == AK_OK) {
        ak_mutex_lock(&engine->tier_lock);
        rc = commit_hot(engine, &move, err);
        ak_mutex_unlock(&engine->tier_lock);
    }
    end(engine, &move);
    return rc;
}

/* --- Memory back to the system --- */

/* Its vectors are on disk: pages of the image's file that are mapped apart from the image. */
static bool has_file(const struct ak_collection *collection)
{
    struct ak_index_memory memory = {0};
    if (collection->entry->info.index.vectors == AK_VECTORS_DISK) {
        ak_index_memory(collection->index, &memory);
    }
    return memory.files > 0;
}

/* Up to TRIM_BATCH collections after `*after` places in the list, referenced. */
static size_t with_images(struct ak_engine *engine, uint32_t *after,
                          struct ak_collection *found[TRIM_BATCH])
{
    struct ak_directory *dir = &engine->directory;
    size_t n = 0;
    uint32_t place = 0;
    ak_mutex_lock(&dir->lock);
    for (struct ak_collection *at = dir->lru_first; at && n < TRIM_BATCH; at = at->lru_next) {
        if (place++ >= *after) {
            (*after)++;
            if (atomic_load_explicit(&at->is_borrowed, memory_order_relaxed) || has_file(at)) {
                at->refs++;
                found[n++] = at;
            }
        }
    }
    ak_mutex_unlock(&dir->lock);
    return n;
}

void ak_tier_trim(struct ak_engine *engine)
{
    if (atomic_exchange_explicit(&engine->wants_trim, false, memory_order_relaxed)) {
        ak_memory_trim(); /* small collections lived on the heap */
    }
}

void ak_tier_let_go(struct ak_engine *engine)
{
    struct ak_collection *found[TRIM_BATCH];
    uint32_t after = 0;
    size_t n = 1;
    while (n && ak_memory_resident() > engine->resident_max_bytes) {
        n = with_images(engine, &after, found);
        for (size_t i = 0; i < n; i++) {
            /* Who has the lock writes or loads it: then it is not one to let go. */
            if (ak_mutex_try_lock(&found[i]->lock)) {
                if (found[i]->image) {
                    ak_image_let_go(found[i]->image, 0, ak_image_bytes(found[i]->image));
                }
                ak_index_let_go(found[i]->index);
                ak_mutex_unlock(&found[i]->lock);
            }
            ak_collection_unref(found[i]);
        }
    }
}
