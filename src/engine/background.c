/* background.c — builders link new rows; the keeper checkpoints, repairs, vacuums, evicts, releases
 * log.
 *
 * Builders: threads of low priority over a list of collections with rows to link. A collection with
 * much to do goes back on the list before it is worked on, so that all builders join in.
 *
 * Keeper: one thread, one pass a second or when poked. All its work is serial under keeper.work,
 * which ak_engine_checkpoint() and close share.
 *
 * Trimmer: under a limit of resident memory one thread more, which gives back pages of warm images,
 * whatever the keeper is at.
 */
#include "base/mem.h"
#include "engine/engine_priv.h"

#define BUILD_SHARE 64
#define KEEPER_PERIOD_MS 1000
#define TRIMMER_PERIOD_MS 50
#define FULL_PAUSE_MAX_MS 8000 /* between attempts on a full disk */
#define REPAIR_MIN 256         /* tombstones worth a pass */
#define VACUUM_PENDING_MAX 4096
#define LOOSE_REST_MS 10000 /* without a new one, vectors in memory go to disk */
#define LOOSE_REST_MIN (4u << 20)
#define LARGE_OPEN_MAX 8192 /* each maps a file: stay far from vm.max_map_count */

/* --- builders --- */

void ak_collection_keep_links(struct ak_collection *collection)
{
    struct ak_directory *dir = &collection->engine->directory;
    struct ak_wal_stats stats;
    if (!atomic_load(&collection->engine->replayed)) {
        return; /* what is opened during the replay is dirty by what is replayed */
    }
    ak_wal_stats(collection->engine->wal, &stats);
    ak_mutex_lock(&dir->lock);
    ak_directory_mark_dirty(dir, collection->entry, stats.end, 0);
    ak_mutex_unlock(&dir->lock);
}

void ak_builders_want(struct ak_collection *collection)
{
    struct ak_builders *builders = &collection->engine->builders;
    ak_mutex_lock(&builders->lock);
    bool listed = collection->in_build_list || builders->stop || builders->count == 0;
    if (!listed) {
        collection->in_build_list = true;
        collection->build_next = NULL;
        if (builders->last) {
            builders->last->build_next = collection;
        } else {
            builders->first = collection;
        }
        builders->last = collection;
        ak_cond_signal(&builders->wake);
    }
    ak_mutex_unlock(&builders->lock);
    if (listed) {
        ak_collection_unref_locked(collection);
    }
}

/* The next collection, its reference taken over; NULL: stop. */
static struct ak_collection *next_to_build(struct ak_builders *builders)
{
    ak_mutex_lock(&builders->lock);
    while (!builders->stop && !builders->first) {
        ak_cond_wait(&builders->wake, &builders->lock);
    }
    struct ak_collection *collection = builders->stop ? NULL : builders->first;
    if (collection) {
        builders->first = collection->build_next;
        builders->last = builders->first ? builders->last : NULL;
        collection->build_next = NULL;
        collection->in_build_list = false;
    }
    ak_mutex_unlock(&builders->lock);
    return collection;
}

static void want_again(struct ak_collection *collection)
{
    struct ak_directory *dir = &collection->engine->directory;
    ak_mutex_lock(&dir->lock);
    collection->refs++;
    ak_builders_want(collection);
    ak_mutex_unlock(&dir->lock);
}

/* Nothing could be taken though rows wait: other builders have it, or a checkpoint copies links. */
static void pause_builder(struct ak_builders *builders)
{
    ak_mutex_lock(&builders->lock);
    if (!builders->stop) {
        (void)ak_cond_wait_ms(&builders->wake, &builders->lock, 2);
    }
    ak_mutex_unlock(&builders->lock);
}

void ak_collection_renew(struct ak_collection *collection)
{
    do {
        ak_mutex_lock(&collection->lock);
        ak_index_settle(collection->index);
        ak_mutex_unlock(&collection->lock);
    } while (ak_index_renew(collection->index));
}

/* Link a share; false: there is no more to do, or it cannot be done now. */
static bool build_share(struct ak_engine *engine, struct ak_collection *collection)
{
    struct ak_err err;
    if (ak_collection_thaw(collection, &err) != AK_OK) {
        ak_log_warn(engine->log, "engine", "'%.*s' is not linked for now: %s",
                    AK_STR_ARG(collection->entry->info.name), err.text);
        return false;
    }
    ak_collection_renew(collection);
    uint32_t built = ak_index_build_some(collection->index, BUILD_SHARE);
    ak_series_add(engine->m_linked, built);
    bool more = ak_index_pending(collection->index) > 0;
    if (more && !built) {
        pause_builder(&engine->builders);
    }
    if (!more && built) { /* whoever links the last row sees that none is left */
        ak_collection_keep_links(collection);
    }
    return more;
}

static void build(void *arg)
{
    struct ak_engine *engine = arg;
    struct ak_collection *collection = NULL;
    ak_thread_be_nice();
    while ((collection = next_to_build(&engine->builders))) {
        bool much = ak_index_pending(collection->index) > (uint64_t)2 * BUILD_SHARE;
        if (much && engine->builders.count > 1) {
            want_again(collection);
        }
        bool links =
            ak_index_pending(collection->index) > 0 || !ak_calibration_is_wanted(collection);
        if (links ? build_share(engine, collection) || ak_calibration_is_wanted(collection)
                  : ak_calibration_share(collection)) {
            want_again(collection);
        }
        ak_collection_unref(collection);
    }
}

void ak_builders_start(struct ak_engine *engine)
{
    struct ak_builders *builders = &engine->builders;
    struct ak_err err;
    ak_mutex_init(&builders->lock, AK_RANK_POOL, "builders");
    ak_cond_init(&builders->wake);
    builders->threads = ak_zalloc(engine->build_threads * sizeof *builders->threads);
    for (unsigned i = 0; i < engine->build_threads; i++) {
        if (ak_thread_start(&builders->threads[i], "ak-build", build, engine, &err) != AK_OK) {
            ak_log_warn(engine->log, "engine", "builder %u: %s", i, err.text);
            break;
        }
        builders->count++;
    }
}

void ak_builders_stop(struct ak_engine *engine)
{
    struct ak_builders *builders = &engine->builders;
    if (!builders->threads) {
        return;
    }
    ak_mutex_lock(&builders->lock);
    builders->stop = true;
    ak_cond_broadcast(&builders->wake);
    ak_mutex_unlock(&builders->lock);
    for (unsigned i = 0; i < builders->count; i++) {
        ak_thread_join(&builders->threads[i]);
    }
    while (builders->first) {
        struct ak_collection *collection = builders->first;
        builders->first = collection->build_next;
        collection->in_build_list = false;
        ak_collection_unref(collection);
    }
    ak_free(builders->threads);
    builders->threads = NULL;
    ak_cond_release(&builders->wake);
    ak_mutex_release(&builders->lock);
}

/* --- keeper --- */

static bool has_large_share(const struct ak_engine *engine, const struct ak_entry *entry)
{
    return entry->wal_bytes > engine->checkpoint_bytes &&
           entry->wal_bytes > entry->checkpoint.image_bytes / 2;
}

/* Vectors that are to be on disk and are in memory, since they came after the image: written out
 * when they are many, and when nobody has added to them for a while, so that what rests is where it
 * belongs. Directory lock held. */
static bool has_loose_rows(const struct ak_engine *engine, const struct ak_entry *entry)
{
    struct ak_collection *live = entry->live;
    struct ak_index_memory memory;
    uint64_t quarter = entry->checkpoint.image_bytes / 4;
    if (entry->info.index.vectors != AK_VECTORS_DISK) {
        return false;
    }
    ak_index_memory(live->index, &memory);
    uint64_t loose = memory.vectors > live->loose_kept ? memory.vectors - live->loose_kept : 0;
    int64_t now_ns = ak_mono_ns(engine->clock);
    if (loose != live->loose_seen) {
        live->loose_seen = loose;
        live->loose_since_ns = now_ns;
    }
    bool rests = now_ns - live->loose_since_ns >= LOOSE_REST_MS * (int64_t)1000000;
    return (loose > engine->checkpoint_bytes && loose > quarter) ||
           (rests && loose >= LOOSE_REST_MIN);
}

static bool is_due(const struct ak_engine *engine, const struct ak_entry *entry)
{
    bool has_loose = has_loose_rows(engine, entry);
    return has_large_share(engine, entry) || has_loose;
}

/* In the older half of what the log may hold. */
static bool holds_back_log(const struct ak_engine *engine, const struct ak_entry *entry)
{
    struct ak_wal_stats stats;
    ak_wal_stats(engine->wal, &stats);
    uint64_t half = engine->wal_max_bytes / 2;
    return stats.end > half && entry->dirty_from < stats.end - half;
}

static bool is_small(const struct ak_engine *engine, const struct ak_entry *entry)
{
    (void)engine;
    return entry->live->is_small;
}

static bool is_closing(const struct ak_engine *engine, const struct ak_entry *entry)
{
    (void)engine;
    return entry->live->closes_when_idle;
}

static bool too_much_open(struct ak_engine *engine)
{
    struct ak_directory *dir = &engine->directory;
    ak_mutex_lock(&dir->lock);
    bool too_much = dir->small_bytes > engine->idle_bytes;
    ak_mutex_unlock(&dir->lock);
    return too_much;
}

/* Close clean idle collections, least recently used first, until half the allowance is free. */
static void evict(struct ak_engine *engine)
{
    struct ak_directory *dir = &engine->directory;
    ak_mutex_lock(&dir->lock);
    struct ak_collection *next = NULL;
    for (struct ak_collection *at = dir->lru_first; at; at = next) {
        bool over = at->is_small ? dir->small_bytes > engine->idle_bytes / 2
                                 : dir->live_count > LARGE_OPEN_MAX;
        next = at->lru_next;
        over = over || at->closes_when_idle;
        if (over && at->refs == 0 && !at->entry->dirty_from && !at->entry->opening) {
            ak_collection_close_live(at);
        }
    }
    ak_mutex_unlock(&dir->lock);
    ak_collection_bury(engine);
}

/* One live collection that is worth a repair, referenced, or NULL. */
static struct ak_collection *next_to_repair(struct ak_engine *engine)
{
    struct ak_directory *dir = &engine->directory;
    struct ak_collection *found = NULL;
    ak_mutex_lock(&dir->lock);
    for (struct ak_collection *at = dir->lru_last; at && !found; at = at->lru_prev) {
        uint64_t dead = ak_index_tombstones(at->index);
        if (dead >= REPAIR_MIN && dead > ak_index_live(at->index) / 10) {
            found = at;
            found->refs++;
        }
    }
    ak_mutex_unlock(&dir->lock);
    return found;
}

enum ak_rc ak_collection_repair(struct ak_collection *collection, struct ak_err *err)
{
    enum ak_rc rc = ak_collection_thaw(collection, err);
    if (rc == AK_OK) {
        rc = ak_index_repair(collection->index, err);
    }
    if (rc == AK_OK) {
        ak_collection_keep_links(collection);
        ak_mutex_lock(&collection->lock);
        rc = ak_docs_compact(&collection->docs, collection->index, err);
        ak_mutex_unlock(&collection->lock);
    }
    return rc;
}

static void repair(struct ak_engine *engine)
{
    struct ak_err err;
    struct ak_collection *collection = next_to_repair(engine);
    if (!collection) {
        return;
    }
    enum ak_rc rc = ak_collection_repair(collection, &err);
    if (rc != AK_OK) {
        ak_log_warn(engine->log, "engine", "repair of '%.*s': %s",
                    AK_STR_ARG(collection->entry->info.name), err.text);
    }
    ak_collection_unref(collection);
}

/* A live collection that shall be vacuumed, referenced, or NULL. One that is being filled is left
 * alone: new documents take the free slots. */
static struct ak_collection *next_to_vacuum(struct ak_engine *engine)
{
    struct ak_directory *dir = &engine->directory;
    struct ak_collection *found = NULL;
    ak_mutex_lock(&dir->lock);
    for (struct ak_collection *at = dir->lru_last; at && !found; at = at->lru_prev) {
        const struct ak_entry *entry = at->entry;
        if (!entry->dropped && !entry->moving && entry->tier.tier == AK_TIER_HOT &&
            !at->closes_when_idle && ak_index_pending(at->index) <= VACUUM_PENDING_MAX &&
            ak_vacuum_is_due(engine, at)) {
            found = at;
            found->refs++;
        }
    }
    ak_mutex_unlock(&dir->lock);
    return found;
}

static void vacuum(struct ak_engine *engine)
{
    struct ak_collection *collection = next_to_vacuum(engine);
    if (collection && ak_vacuum_share(engine, collection)) {
        ak_keeper_poke(engine); /* the next share at once */
    }
    ak_collection_unref(collection);
}

/* The disk gives back what memory has: an image with more slots than there are is written anew. */
static bool is_image_large(const struct ak_engine *engine, const struct ak_entry *entry)
{
    return entry->live->is_vacuumed && entry->checkpoint.generation && !entry->checkpoint.tiny &&
           !ak_vacuum_is_due(engine, entry->live);
}

/* What fails is logged, counted, and tried again in a later pass; on a full disk after a pause,
 * since each attempt writes images until there is no room left. false: it is not the time. */
static bool checkpoint(struct ak_engine *engine,
                       bool (*wanted)(const struct ak_engine *, const struct ak_entry *))
{
    struct ak_keeper *keeper = &engine->keeper;
    struct ak_err err;
    int64_t now_ns = ak_mono_ns(engine->clock);
    if (now_ns < keeper->not_before_ns) {
        return false;
    }
    enum ak_rc rc = ak_checkpoint_dirty(engine, wanted, &err);
    if (rc != AK_NO_SPACE) {
        keeper->pause_ms = 0;
        return rc == AK_OK;
    }
    keeper->pause_ms = keeper->pause_ms ? 2 * keeper->pause_ms : KEEPER_PERIOD_MS;
    keeper->pause_ms = keeper->pause_ms < FULL_PAUSE_MAX_MS ? keeper->pause_ms : FULL_PAUSE_MAX_MS;
    keeper->not_before_ns = now_ns + keeper->pause_ms * 1000000;
    return false;
}

static void keep(struct ak_engine *engine)
{
    struct ak_wal_stats stats;
    struct ak_err err;
    (void)checkpoint(engine, is_due);
    ak_wal_stats(engine->wal, &stats);
    if (stats.end - stats.start > engine->wal_max_bytes) {
        (void)checkpoint(engine, holds_back_log);
    }
    if (too_much_open(engine)) {
        (void)checkpoint(engine, is_small);
    }
    if (atomic_exchange_explicit(&engine->wants_close, false, memory_order_relaxed)) {
        (void)checkpoint(engine, is_closing);
    }
    evict(engine);
    repair(engine);
    vacuum(engine);
    if (engine->wants_images) {
        engine->wants_images = !checkpoint(engine, is_image_large);
    }
    ak_wal_stats(engine->wal, &stats);
    if (stats.end - engine->wal_from > engine->wal_max_bytes / 16 &&
        ak_checkpoint_release_log(engine, &err) != AK_OK) {
        ak_log_warn(engine->log, "engine", "log segments stay for now: %s", err.text);
    }
    (void)ak_epoch_collect(engine->epoch);
    ak_pages_trim(engine);
}

static void keeper_loop(void *arg)
{
    struct ak_engine *engine = arg;
    struct ak_keeper *keeper = &engine->keeper;
    ak_mutex_lock(&keeper->lock);
    while (!keeper->stop) {
        if (!keeper->poked) {
            (void)ak_cond_wait_ms(&keeper->wake, &keeper->lock, KEEPER_PERIOD_MS);
        }
        keeper->poked = false;
        if (keeper->stop) {
            break;
        }
        ak_mutex_unlock(&keeper->lock);
        ak_mutex_lock(&keeper->work);
        keep(engine);
        ak_mutex_unlock(&keeper->work);
        ak_mutex_lock(&keeper->lock);
    }
    ak_mutex_unlock(&keeper->lock);
}

/* Searches of warm images map some hundred megabytes in a second where the page cache has them. */
static void trimmer_loop(void *arg)
{
    struct ak_engine *engine = arg;
    struct ak_keeper *keeper = &engine->keeper;
    ak_mutex_lock(&keeper->lock);
    while (!keeper->stop) {
        (void)ak_cond_wait_ms(&keeper->wake, &keeper->lock, TRIMMER_PERIOD_MS);
        ak_mutex_unlock(&keeper->lock);
        ak_pages_let_go(engine);
        ak_mutex_lock(&keeper->lock);
    }
    ak_mutex_unlock(&keeper->lock);
}

enum ak_rc ak_keeper_start(struct ak_engine *engine, struct ak_err *err)
{
    struct ak_keeper *keeper = &engine->keeper;
    enum ak_rc rc = ak_thread_start(&keeper->thread, "ak-keeper", keeper_loop, engine, err);
    if (rc == AK_OK && engine->resident_max_bytes) {
        rc = ak_thread_start(&keeper->trimmer, "ak-trimmer", trimmer_loop, engine, err);
        keeper->has_trimmer = rc == AK_OK;
        if (rc != AK_OK) {
            ak_keeper_stop(engine);
        }
    }
    return rc;
}

void ak_keeper_stop(struct ak_engine *engine)
{
    struct ak_keeper *keeper = &engine->keeper;
    ak_mutex_lock(&keeper->lock);
    keeper->stop = true;
    ak_cond_broadcast(&keeper->wake);
    ak_mutex_unlock(&keeper->lock);
    ak_thread_join(&keeper->thread);
    if (keeper->has_trimmer) {
        ak_thread_join(&keeper->trimmer);
    }
}

void ak_keeper_poke(struct ak_engine *engine)
{
    struct ak_keeper *keeper = &engine->keeper;
    ak_mutex_lock(&keeper->lock);
    keeper->poked = true;
    ak_cond_broadcast(&keeper->wake); /* the trimmer waits there too */
    ak_mutex_unlock(&keeper->lock);
}
