/* engine.c — open, replay, close; creating, dropping and listing collections.
 *
 * Open: lock the folder → catalog → directory → remove what the catalog does not name → replay the
 * log from wal_from, skipping what images cover → start the keeper. The log is only replayed as far
 * as checkpoints do not cover it; no image is read that replay does not need.
 */
#include "base/limits.h"
#include "base/mem.h"
#include "engine/engine_priv.h"
#include "engine/tiering.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static uint64_t or_default(uint64_t value, uint64_t otherwise)
{
    return value ? value : otherwise;
}

static void sub_path(const struct ak_engine *engine, const char *name, char path[AK_IMAGE_PATH_MAX])
{
    (void)snprintf(path, AK_IMAGE_PATH_MAX, "%s/%s", engine->dir, name);
}

static void open_series(struct ak_engine *e)
{
    struct {
        struct ak_series **series;
        enum ak_metrics_family family;
    } wanted[] = {
        {&e->m_indexed, AK_METRIC_VECTORS_INDEXED},
        {&e->m_deleted, AK_METRIC_VECTORS_DELETED},
        {&e->m_linked, AK_METRIC_VECTORS_LINKED},
        {&e->m_wal_seconds, AK_METRIC_WAL_SECONDS},
        {&e->m_wal_records, AK_METRIC_WAL_RECORDS},
        {&e->m_wal_bytes, AK_METRIC_WAL_BYTES},
        {&e->m_ckpt_seconds, AK_METRIC_CHECKPOINT_SECONDS},
        {&e->m_ckpt_bytes, AK_METRIC_CHECKPOINT_BYTES},
        {&e->m_ckpt_failed, AK_METRIC_CHECKPOINT_FAILED},
        {&e->m_search_exact, AK_METRIC_SEARCH_EXACT},
        {&e->m_search_recall, AK_METRIC_SEARCH_RECALL},
        {&e->m_search_distances, AK_METRIC_SEARCH_DISTANCES},
        {&e->m_vacuum_moved, AK_METRIC_VACUUM_MOVED},
        {&e->m_vacuum_bytes, AK_METRIC_VACUUM_BYTES},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        *wanted[i].series = ak_metrics_series(e->metrics, wanted[i].family, NULL, 0);
    }
}

static enum ak_rc lock_folder(struct ak_engine *engine, struct ak_err *err)
{
    char path[AK_IMAGE_PATH_MAX];
    sub_path(engine, "LOCK", path);
    enum ak_rc rc =
        ak_fs_open(engine->fs, path, AK_OPEN_WRITE | AK_OPEN_CREATE, &engine->lock_file, err);
    if (rc == AK_OK && flock(ak_file_fd(engine->lock_file), LOCK_EX | LOCK_NB) != 0) {
        rc = errno == EWOULDBLOCK
                 ? ak_fail(err, AK_CONFLICT,
                           "'%s' is in use by another akidb process: stop it first, or use another "
                           "data folder",
                           engine->dir)
                 : ak_fail_errno(err, errno, "lock '%s'", path);
    }
    return rc;
}

static enum ak_rc add_row(void *ctx, const struct ak_catalog_row *row, struct ak_err *err)
{
    struct ak_engine *engine = ctx;
    struct ak_entry *entry = NULL;
    return ak_directory_add(&engine->directory, row, &entry, err);
}

/* I4 of checkpoint.c: files that the catalog does not name. */
static bool is_named(struct ak_engine *engine, struct ak_str name)
{
    struct ak_uuid id;
    uint64_t generation = 0;
    struct ak_str rest = ak_str_sub(name, AK_UUID_TEXT_LEN, name.len);
    if (!ak_uuid_parse(ak_str_sub(name, 0, AK_UUID_TEXT_LEN), &id) || rest.len < 6 ||
        !ak_str_has_suffix(rest, AK_STR(".akx")) ||
        !ak_str_u64(ak_str_sub(rest, 1, rest.len - 5), UINT64_MAX, &generation)) {
        return false;
    }
    const struct ak_entry *entry = ak_directory_find_id(&engine->directory, &id);
    return entry && !entry->checkpoint.tiny && entry->tier.tier != AK_TIER_COLD &&
           entry->checkpoint.generation == generation;
}

struct sweep {
    struct ak_engine *engine;
    struct ak_buf names; /* NUL-separated: removed after the listing */
    uint64_t named;      /* files that the catalog names */
};

static bool sweep_one(void *ctx, struct ak_str name)
{
    struct sweep *sweep = ctx;
    if (is_named(sweep->engine, name)) {
        sweep->named++;
    } else {
        ak_buf_add_str(&sweep->names, name);
        ak_buf_add_char(&sweep->names, '\0');
    }
    return true;
}

static uint64_t count_image_files(const struct ak_directory *dir)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < dir->used; i++) {
        const struct ak_entry *entry = dir->entries[i];
        count += entry && entry->checkpoint.generation && !entry->checkpoint.tiny &&
                 entry->tier.tier != AK_TIER_COLD;
    }
    return count;
}

static enum ak_rc remove_garbage(struct ak_engine *engine, struct ak_err *err)
{
    char folder[AK_IMAGE_PATH_MAX];
    char path[AK_IMAGE_PATH_MAX + AK_NAME_MAX + 2];
    struct sweep sweep = {.engine = engine};
    ak_buf_init(&sweep.names, 0);
    sub_path(engine, "collections", folder);
    enum ak_rc rc = ak_fs_list(engine->fs, folder, sweep_one, &sweep, err);
    if (rc == AK_OK && sweep.named < count_image_files(&engine->directory)) {
        /* Then what looks like garbage may be that image under a damaged name. */
        ak_log_error(engine->log, "engine",
                     "an image that the catalog names is missing in '%s'; nothing there is removed",
                     folder);
        ak_buf_release(&sweep.names);
        return AK_OK;
    }
    for (size_t at = 0; rc == AK_OK && at < sweep.names.len;) {
        const char *name = sweep.names.p + at;
        (void)snprintf(path, sizeof path, "%s/%s", folder, name);
        rc = ak_fs_remove(engine->fs, path, err);
        at += strlen(name) + 1;
    }
    ak_buf_release(&sweep.names);
    return rc;
}

static bool note_entry(void *ctx, struct ak_str name)
{
    (void)name;
    *(bool *)ctx = true;
    return false;
}

static enum ak_rc holds_data(struct ak_engine *engine, bool *holds, struct ak_err *err)
{
    static const char *const folders[] = {"collections", "wal"};
    *holds = false;
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        char folder[AK_IMAGE_PATH_MAX];
        sub_path(engine, folders[i], folder);
        enum ak_rc rc = ak_fs_list(engine->fs, folder, note_entry, holds, err);
        if (rc != AK_OK && rc != AK_NOT_FOUND) {
            return rc;
        }
    }
    return AK_OK;
}

static enum ak_rc catalog_is_lost(const struct ak_engine *engine, const char *path,
                                  struct ak_err *err)
{
    return ak_fail(err, AK_CORRUPT,
                   "'%s' is missing or empty, but '%s' holds collections or log: put the catalog "
                   "(with its -wal file) back; no data was removed",
                   path, engine->dir);
}

/* Without its catalog everything in the folder would be garbage: then nothing is touched. */
static enum ak_rc check_catalog_file(struct ak_engine *engine, const char *path, bool holds,
                                     struct ak_err *err)
{
    uint64_t size = 0;
    enum ak_rc rc = ak_fs_stat(engine->fs, path, &size, err);
    if (rc == AK_NOT_FOUND || (rc == AK_OK && size == 0)) {
        return holds ? catalog_is_lost(engine, path, err) : AK_OK;
    }
    return rc;
}

/* A catalog without this mark is new (or has lost its own log). It is set, durably, before anything
 * else comes into the folder. */
static enum ak_rc check_catalog_mark(struct ak_engine *engine, const char *path, bool holds,
                                     struct ak_err *err)
{
    uint64_t made = 0;
    enum ak_rc rc = ak_catalog_get(engine->catalog, "made", 0, &made, err);
    if (rc != AK_OK || made) {
        return rc;
    }
    if (holds) {
        return catalog_is_lost(engine, path, err);
    }
    rc = ak_catalog_set(engine->catalog, "made", 1, err);
    return rc == AK_OK ? ak_fs_sync_dir(engine->fs, engine->dir, err) : rc;
}

static enum ak_rc open_catalog(struct ak_engine *engine, struct ak_err *err)
{
    char path[AK_IMAGE_PATH_MAX];
    bool holds = false;
    enum ak_rc rc = AK_OK;
    sub_path(engine, "catalog.db", path);
    if ((rc = holds_data(engine, &holds, err)) ||
        (rc = check_catalog_file(engine, path, holds, err)) ||
        (rc = ak_catalog_open(engine->fs, path, engine->log, &engine->catalog, err)) ||
        (rc = check_catalog_mark(engine, path, holds, err)) ||
        (rc = ak_catalog_each(engine->catalog, add_row, engine, err)) ||
        (rc = ak_catalog_get(engine->catalog, "wal_from", 0, &engine->wal_from, err)) ||
        (rc = remove_garbage(engine, err))) {
        return rc;
    }
    return AK_OK;
}

static enum ak_rc replay_one(void *ctx, const struct ak_wal_record *record, struct ak_err *err)
{
    struct ak_engine *engine = ctx;
    struct ak_directory *dir = &engine->directory;
    struct ak_record_reader reader;
    struct ak_collection *collection = NULL;
    enum ak_rc rc = ak_record_open(record->kind, record->payload, &reader, err);
    if (rc != AK_OK) {
        return rc;
    }
    ak_mutex_lock(&dir->lock);
    struct ak_entry *entry = ak_directory_find_id(dir, &reader.collection);
    bool covered = !entry || record->lsn < entry->checkpoint.lsn;
    if (!covered) {
        rc = ak_collection_open_entry(engine, entry, &collection, err);
    }
    ak_mutex_unlock(&dir->lock);
    engine->replayed_records += !covered;
    engine->replayed_skipped += covered;
    if (covered || rc != AK_OK) {
        return rc;
    }
    rc = ak_collection_apply(collection, &reader, record->next, err);
    ak_mutex_lock(&dir->lock);
    if (rc == AK_OK) {
        ak_directory_mark_dirty(dir, entry, record->lsn, record->next - record->lsn);
        ak_tier_written(engine, entry);
        if (ak_index_pending(collection->index)) {
            collection->refs++;
            ak_builders_want(collection);
        }
    }
    ak_collection_unref_locked(collection);
    ak_mutex_unlock(&dir->lock);
    return rc;
}

static void on_group(void *ctx, uint64_t bytes, uint64_t records, double seconds)
{
    struct ak_engine *engine = ctx;
    ak_series_observe(engine->m_wal_seconds, seconds);
    ak_series_add(engine->m_wal_bytes, bytes);
    ak_series_add(engine->m_wal_records, records);
}

/* A log that ends before what an image covers was lost or swapped: new records would be skipped. */
static enum ak_rc check_log_is_ours(struct ak_engine *engine, struct ak_err *err)
{
    struct ak_wal_stats stats;
    ak_lsn highest = engine->wal_from;
    ak_wal_stats(engine->wal, &stats);
    for (uint32_t i = 0; i < engine->directory.used; i++) {
        const struct ak_entry *entry = engine->directory.entries[i];
        highest = entry && entry->checkpoint.lsn > highest ? entry->checkpoint.lsn : highest;
    }
    if (stats.end < highest) {
        return ak_fail(
            err, AK_CORRUPT,
            "the log in '%s/wal' ends at LSN %llu but the catalog knows %llu: the folder "
            "was removed or comes from another copy; restore it beside this catalog",
            engine->dir, (unsigned long long)stats.end, (unsigned long long)highest);
    }
    return AK_OK;
}

static enum ak_rc open_log(struct ak_engine *engine, const struct ak_engine_options *options,
                           struct ak_err *err)
{
    char path[AK_IMAGE_PATH_MAX];
    sub_path(engine, "wal", path);
    struct ak_wal_options wal = {
        .fs = engine->fs,
        .dir = path,
        .log = engine->log,
        .durability = options->durability,
        .interval_ms = options->sync_interval_ms,
        .segment_bytes = options->wal_segment_bytes,
        .on_group = on_group,
        .ctx = engine,
    };
    int64_t from_ns = ak_mono_ns(engine->clock);
    enum ak_rc rc = ak_wal_open(&wal, engine->wal_from, replay_one, engine, &engine->wal, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (engine->replayed_records) {
        ak_log_info(engine->log, "engine",
                    "replayed %llu records (%llu covered by images) in %.3f s",
                    (unsigned long long)engine->replayed_records,
                    (unsigned long long)engine->replayed_skipped,
                    (double)(ak_mono_ns(engine->clock) - from_ns) / 1e9);
    }
    return check_log_is_ours(engine, err);
}

static enum ak_rc open_parts(struct ak_engine *engine, const struct ak_engine_options *options,
                             struct ak_err *err)
{
    char path[AK_IMAGE_PATH_MAX];
    enum ak_rc rc = AK_OK;
    sub_path(engine, "collections", path);
    if ((rc = ak_fs_make_dirs(engine->fs, path, err)) || (rc = lock_folder(engine, err)) ||
        (rc = open_catalog(engine, err))) {
        return rc;
    }
    ak_builders_start(engine);
    rc = open_log(engine, options, err);
    atomic_store(&engine->replayed, rc == AK_OK);
    return rc == AK_OK ? ak_keeper_start(engine, err) : rc;
}

static void close_collections(struct ak_engine *engine)
{
    struct ak_directory *dir = &engine->directory;
    ak_mutex_lock(&dir->lock);
    while (dir->lru_first) {
        ak_collection_close_live(dir->lru_first); /* asserts that no reference is out */
    }
    ak_mutex_unlock(&dir->lock);
    ak_collection_bury(engine);
}

static void free_engine(struct ak_engine *engine)
{
    AK_ASSERT(!engine->holds);
    ak_wal_close(engine->wal);
    close_collections(engine);
    ak_catalog_close(engine->catalog);
    ak_directory_release(&engine->directory);
    ak_epoch_close(engine->epoch);
    ak_file_close(engine->lock_file);
    ak_cond_release(&engine->keeper.wake);
    ak_mutex_release(&engine->keeper.lock);
    ak_mutex_release(&engine->keeper.work);
    ak_mutex_release(&engine->tier_lock);
    ak_free(engine->dir);
    ak_free(engine);
}

enum ak_rc ak_engine_open(const struct ak_engine_options *options, struct ak_engine **out,
                          struct ak_err *err)
{
    struct ak_engine *engine = ak_zalloc(sizeof *engine);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    engine->fs = options->fs ? options->fs : ak_fs_posix();
    engine->dir = ak_strdup_n(options->dir, strlen(options->dir));
    engine->clock = options->clock ? options->clock : ak_clock_system();
    engine->log = options->log;
    engine->metrics = options->metrics;
    engine->wal_max_bytes = or_default(options->wal_max_bytes, 1ull << 30);
    engine->checkpoint_bytes = or_default(options->checkpoint_bytes, 64ull << 20);
    engine->pending_max_bytes = or_default(options->pending_max_bytes, 96ull << 20);
    engine->idle_bytes = or_default(options->idle_bytes, 256ull << 20);
    engine->resident_max_bytes = options->resident_max_bytes;
    engine->vacuum_percent = options->vacuum_percent ? options->vacuum_percent : 25;
    engine->build_threads =
        options->build_threads ? options->build_threads : (unsigned)(cores > 0 ? cores : 1);
    engine->epoch = ak_epoch_open();
    ak_uuid_maker_init(&engine->uuids, engine->clock);
    ak_directory_init(&engine->directory);
    ak_mutex_init(&engine->keeper.work, AK_RANK_ENGINE_LIFECYCLE, "keeper.work");
    ak_mutex_init(&engine->tier_lock, AK_RANK_ENGINE_TIER, "tier");
    ak_mutex_init(&engine->keeper.lock, AK_RANK_POOL, "keeper");
    ak_cond_init(&engine->keeper.wake);
    open_series(engine);
    enum ak_rc rc = open_parts(engine, options, err);
    if (rc != AK_OK) {
        ak_builders_stop(engine);
        free_engine(engine);
        return ak_wrap(err, rc, "open '%s'", options->dir);
    }
    *out = engine;
    return AK_OK;
}

void ak_engine_close(struct ak_engine *engine)
{
    struct ak_err err;
    if (!engine) {
        return;
    }
    ak_keeper_stop(engine);
    ak_builders_stop(engine);
    ak_mutex_lock(&engine->keeper.work);
    enum ak_rc rc = ak_checkpoint_dirty(engine, NULL, &err);
    if (rc == AK_OK) {
        rc = ak_checkpoint_release_log(engine, &err);
    }
    ak_mutex_unlock(&engine->keeper.work);
    if (rc == AK_OK) {
        rc = ak_engine_tier_flush(engine, NULL, 0, &err);
    }
    if (rc != AK_OK) {
        ak_log_warn(engine->log, "engine",
                    "closed without a last checkpoint; the next start replays the log: %s",
                    err.text);
    }
    free_engine(engine);
}

/* --- collections --- */

enum ak_rc ak_engine_create(struct ak_engine *engine, const struct ak_collection_info *spec,
                            struct ak_collection_info *info, struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    struct ak_catalog_row row = {.info = *spec};
    struct ak_entry *entry = NULL;
    row.info.id = ak_uuid_make(&engine->uuids);
    row.info.state = AK_COLLECTION_READY;
    row.info.created_us = ak_now_us(engine->clock);
    enum ak_rc rc = ak_collection_info_check(&row.info, err);
    if (rc == AK_OK) {
        rc = ak_catalog_create(engine->catalog, &row.info, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    ak_mutex_lock(&dir->lock);
    rc = ak_directory_add(dir, &row, &entry, err);
    if (rc == AK_OK) {
        *info = entry->info;
    }
    ak_mutex_unlock(&dir->lock);
    if (rc != AK_OK && ak_catalog_delete(engine->catalog, &row.info.id, NULL) != AK_OK) {
        ak_log_warn(engine->log, "engine", "collection '%.*s' exists from the next start on",
                    AK_STR_ARG(row.info.name));
    }
    return rc;
}

enum ak_rc ak_engine_drop(struct ak_engine *engine, struct ak_str name_or_id, struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    struct ak_uuid id;
    /* The keeper's work excludes a checkpoint that would write the image of what is dropped. */
    ak_mutex_lock(&engine->keeper.work);
    ak_mutex_lock(&dir->lock);
    const struct ak_entry *entry = ak_directory_find(dir, name_or_id);
    if (entry) {
        id = entry->info.id;
    }
    ak_mutex_unlock(&dir->lock);
    enum ak_rc rc =
        entry ? ak_catalog_delete(engine->catalog, &id, err)
              : ak_fail(err, AK_NOT_FOUND, "no collection '%.*s'", AK_STR_ARG(name_or_id));
    if (rc == AK_OK) {
        ak_mutex_lock(&dir->lock);
        struct ak_entry *gone = ak_directory_find_id(dir, &id);
        AK_ASSERT(gone); /* only a drop removes entries, and keeper.work admits one at a time */
        while (gone->opening) {
            ak_cond_wait(&dir->changed, &dir->lock);
        }
        struct ak_checkpoint checkpoint = gone->checkpoint;
        ak_directory_remove(dir, gone);
        if (gone->live && gone->live->refs == 0) {
            ak_collection_close_live(gone->live);
        }
        if (!gone->live) {
            ak_directory_free(dir, gone);
        }
        ak_mutex_unlock(&dir->lock);
        ak_collection_bury(engine);
        ak_hold_remove_image(engine, &id, &checkpoint);
    } else if (entry && ak_catalog_is_failed(engine->catalog)) {
        ak_mutex_lock(&dir->lock); /* A4 of adopt.c: the next start may find it dropped */
        struct ak_entry *doubtful = ak_directory_find_id(dir, &id);
        AK_ASSERT(doubtful);
        doubtful->in_doubt = true;
        ak_mutex_unlock(&dir->lock);
    }
    ak_mutex_unlock(&engine->keeper.work);
    return rc;
}

/* Directory lock held. */
static void add_memory(const struct ak_collection *live, struct ak_collection_summary *summary)
{
    uint64_t all = ak_collection_bytes(live);
    uint64_t index = ak_index_bytes(live->index);
    ak_index_memory(live->index, &summary->memory);
    summary->documents_bytes = all > index ? all - index : 0;
    summary->has_memory = true;
}

static enum ak_rc summarise(const struct ak_entry *entry, struct ak_arena *arena,
                            struct ak_collection_summary *summary, struct ak_err *err)
{
    *summary = (struct ak_collection_summary){
        .info = entry->info,
        .documents =
            entry->live ? atomic_load(&entry->live->documents) : entry->checkpoint.documents,
        .open = entry->live != NULL,
        .lsn = entry->checkpoint.lsn,
        .wal_bytes = entry->wal_bytes,
        .tier = entry->tier.tier,
    };
    summary->info.name = ak_arena_str(arena, entry->info.name);
    summary->info.embedding_model = ak_arena_str(arena, entry->info.embedding_model);
    return summary->info.name.p && summary->info.embedding_model.p
               ? AK_OK
               : ak_fail(err, AK_NOMEM, "list of collections");
}

enum ak_rc ak_engine_describe(struct ak_engine *engine, struct ak_str name_or_id,
                              struct ak_arena *arena, struct ak_collection_summary *summary,
                              struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    ak_mutex_lock(&dir->lock);
    const struct ak_entry *entry = ak_directory_find(dir, name_or_id);
    enum ak_rc rc =
        entry ? summarise(entry, arena, summary, err)
              : ak_fail(err, AK_NOT_FOUND, "no collection '%.*s'", AK_STR_ARG(name_or_id));
    if (rc == AK_OK && entry->live) {
        add_memory(entry->live, summary);
    }
    ak_mutex_unlock(&dir->lock);
    return rc;
}

/* Insert into a page kept in name order; the page holds the `limit` smallest names met so far. */
static size_t insert_sorted(struct ak_entry **page, size_t n, size_t limit, struct ak_entry *entry)
{
    size_t low = 0;
    size_t high = n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (ak_str_cmp(page[mid]->info.name, entry->info.name) < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    if (low == limit) {
        return n;
    }
    size_t moved = (n < limit ? n : limit - 1) - low;
    memmove(page + low + 1, page + low, moved * sizeof *page);
    page[low] = entry;
    return n < limit ? n + 1 : n;
}

enum ak_rc ak_engine_list(struct ak_engine *engine, struct ak_str after, size_t limit,
                          struct ak_arena *arena, struct ak_collection_summary **list,
                          size_t *count, struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    enum ak_rc rc = AK_OK;
    size_t n = 0;
    ak_mutex_lock(&dir->lock);
    limit = limit < dir->by_name.count ? limit : dir->by_name.count;
    struct ak_entry **page = ak_arena_alloc(arena, (limit + 1) * sizeof(struct ak_entry *));
    struct ak_collection_summary *out = ak_arena_alloc(arena, (limit + 1) * sizeof *out);
    if (!page || !out) {
        rc = ak_fail(err, AK_NOMEM, "list of %zu collections", limit);
    }
    for (uint32_t i = 0; rc == AK_OK && limit && i < dir->used; i++) {
        struct ak_entry *entry = dir->entries[i];
        if (entry && !entry->dropped && ak_str_cmp(entry->info.name, after) > 0) {
            n = insert_sorted(page, n, limit, entry);
        }
    }
    for (size_t i = 0; rc == AK_OK && i < n; i++) {
        rc = summarise(page[i], arena, &out[i], err);
    }
    ak_mutex_unlock(&dir->lock);
    if (rc == AK_OK) {
        *list = out;
        *count = n;
    }
    return rc;
}

uint64_t ak_engine_collection_count(struct ak_engine *engine)
{
    ak_mutex_lock(&engine->directory.lock);
    uint64_t count = engine->directory.by_name.count;
    ak_mutex_unlock(&engine->directory.lock);
    return count;
}

void ak_engine_stats(struct ak_engine *engine, struct ak_engine_stats *stats)
{
    struct ak_directory *dir = &engine->directory;
    *stats = (struct ak_engine_stats){0};
    ak_wal_stats(engine->wal, &stats->wal);
    ak_mutex_lock(&dir->lock);
    stats->collections = dir->by_name.count;
    stats->collections_open = dir->live_count;
    stats->memory_bytes = dir->small_bytes;
    for (const struct ak_collection *at = dir->lru_first; at; at = at->lru_next) {
        stats->pending += ak_index_pending(at->index);
        stats->memory_bytes += at->is_small ? 0 : ak_collection_bytes(at);
        if (at->entry->info.index.vectors == AK_VECTORS_DISK) {
            struct ak_index_memory memory;
            ak_index_memory(at->index, &memory);
            stats->file_bytes += memory.files;
        }
    }
    ak_mutex_unlock(&dir->lock);
}

void ak_collection_wait_linked(struct ak_collection *collection,
                               void (*progress)(void *ctx, uint64_t left), void *ctx)
{
    enum { SHARE = 64, NAP_US = 1000 };
    uint64_t left = 0;
    struct ak_err err;
    if (ak_index_pending(collection->index) && ak_collection_thaw(collection, &err) != AK_OK) {
        ak_log_warn(collection->engine->log, "engine", "not linked for now: %s", err.text);
        return;
    }
    while ((left = ak_index_pending(collection->index)) > 0) {
        if (progress) {
            progress(ctx, left);
        }
        if (ak_index_build_some(collection->index, SHARE) == 0) {
            (void)usleep(NAP_US); /* the last rows are in the hands of other builders */
        } else if (ak_index_pending(collection->index) == 0) {
            ak_collection_keep_links(collection);
        }
    }
}

static enum ak_rc verify_live(struct ak_collection *collection, struct ak_err *err)
{
    struct ak_index_report report;
    ak_collection_wait_linked(collection, NULL, NULL);
    ak_mutex_lock(&collection->lock);
    /* The image first: a damaged byte of it is told with the file's name, not as what it spoilt. */
    enum ak_rc rc = collection->image ? ak_image_check_all(collection->image, err) : AK_OK;
    if (rc == AK_OK) {
        rc = ak_index_check(collection->index, &report, err);
    }
    if (rc == AK_OK) {
        rc = ak_docs_index(&collection->docs, collection->index, err);
    }
    if (rc == AK_OK && (report.live != collection->docs.map.count ||
                        report.live != atomic_load(&collection->documents))) {
        rc = ak_fail(err, AK_CORRUPT, "%llu live rows, %u ids, %llu documents counted",
                     (unsigned long long)report.live, collection->docs.map.count,
                     (unsigned long long)atomic_load(&collection->documents));
    }
    ak_mutex_unlock(&collection->lock);
    return rc;
}

enum ak_rc ak_engine_verify(struct ak_engine *engine, struct ak_str name_or_id, struct ak_err *err)
{
    struct ak_collection *collection = NULL;
    ak_mutex_lock(&engine->keeper.work);
    enum ak_rc rc = ak_engine_peek(engine, name_or_id, &collection, err);
    if (rc == AK_OK) {
        rc = verify_live(collection, err);
    }
    ak_collection_unref(collection);
    ak_mutex_unlock(&engine->keeper.work);
    return rc == AK_OK ? rc : ak_wrap(err, rc, "verify '%.*s'", AK_STR_ARG(name_or_id));
}
