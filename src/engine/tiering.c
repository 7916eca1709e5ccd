/* tiering.c — what is known of each collection's tier, and what the catalog is told of it.
 *
 * T1  The entry in memory says where a collection is; the catalog says it at the latest with the
 *     next flush. Between the two stands at most a write (WARM → HOT, which the log brings back at
 *     the next start) or an access time.
 * T2  Whoever changes a tier in the catalog holds tier_lock from reading the entry to writing it:
 *     no change is lost to another.
 * T3  What a snapshot covers is changed in the catalog by the jobs of snapshots and by adoptions,
 *     never by what is told here: it cannot be lost to a flush either.
 *
 * The moves themselves: tier_move.c, cold.c, adopt.c.
 */
#include "engine/tiering.h"
#include "base/mem.h"
#include "engine/engine_priv.h"

#define SCAN_BATCH 1024u  /* entries looked at under one holding of the directory's lock */
#define FLUSH_BATCH 1024u /* rows to a transaction */
#define AHEAD_MAX_US INT64_C(1000000)

/* --- The entry --- */

void ak_tier_used(struct ak_entry *entry, int64_t now_us)
{
    entry->accesses++;
    entry->tier.last_access_us = now_us;
}

void ak_tier_written(struct ak_engine *engine, struct ak_entry *entry)
{
    struct ak_directory *dir = &engine->directory;
    if (entry->tier.tier != AK_TIER_WARM || entry->dropped) {
        return;
    }
    entry->tier.tier = AK_TIER_HOT;
    entry->tier.since_us = ak_now_us(engine->clock);
    if (entry->live) {
        entry->live->closes_when_idle = false;
    }
    dir->tiers_unsaved += !entry->tier_unsaved;
    entry->tier_unsaved = true;
}

enum ak_rc ak_tier_is_cold(const struct ak_entry *entry, struct ak_err *err)
{
    return entry->tier.tier == AK_TIER_COLD
               ? ak_fail(
                     err, AK_COLD,
                     "collection '%.*s' is in the object store: it can be used once it has been "
                     "restored to this machine",
                     AK_STR_ARG(entry->info.name))
               : AK_OK;
}

enum ak_rc ak_tier_begin_move(struct ak_entry *entry, struct ak_err *err)
{
    if (entry->moving) {
        return ak_fail(err, AK_CONFLICT, "collection '%.*s' is being moved",
                       AK_STR_ARG(entry->info.name));
    }
    if (entry->in_doubt) {
        return ak_fail(err, AK_IO, "collection '%.*s' stays where it is: restart the server",
                       AK_STR_ARG(entry->info.name));
    }
    entry->moving = true;
    return AK_OK;
}

void ak_tier_end_move(struct ak_engine *engine, const struct ak_uuid *id)
{
    struct ak_directory *dir = &engine->directory;
    ak_mutex_lock(&dir->lock);
    struct ak_entry *entry = ak_directory_find_id(dir, id);
    if (entry) {
        entry->moving = false;
    }
    ak_mutex_unlock(&dir->lock);
}

enum ak_rc ak_tier_not_found(struct ak_str name_or_id, struct ak_err *err)
{
    return ak_fail(err, AK_NOT_FOUND, "no collection '%.*s'", AK_STR_ARG(name_or_id));
}

/* --- Views --- */

static bool is_covered(const struct ak_entry *entry)
{
    return !ak_uuid_is_nil(&entry->tier.cover) && !entry->is_written &&
           entry->tier.cover_generation == entry->checkpoint.generation;
}

/* Of the image, what stays on disk while the collection is hot. */
static uint64_t stays_on_disk(const struct ak_entry *entry)
{
    const struct ak_collection_info *info = &entry->info;
    uint64_t rows = entry->checkpoint.documents * info->dimension * sizeof(float);
    bool stays = info->index.vectors == AK_VECTORS_DISK && !entry->checkpoint.tiny;
    return !stays ? 0 : rows < entry->checkpoint.image_bytes ? rows : entry->checkpoint.image_bytes;
}

static void view_of(const struct ak_entry *entry, struct ak_tier_view *view)
{
    const struct ak_collection *live = entry->live;
    const struct ak_catalog_tier *tier = &entry->tier;
    uint64_t memory = live ? ak_collection_bytes(live) : 0;
    uint64_t image = entry->checkpoint.image_bytes;
    uint64_t loaded = image - stays_on_disk(entry);
    *view = (struct ak_tier_view){
        .id = entry->info.id,
        .tier = tier->tier,
        .pinned = tier->pinned,
        .is_open = live != NULL,
        .is_loaded = live && !atomic_load_explicit(&live->is_borrowed, memory_order_relaxed),
        .is_dirty = entry->is_written,
        .is_covered = is_covered(entry),
        .is_moving = entry->moving,
        .cover = tier->cover,
        .created_us = entry->info.created_us,
        .since_us = tier->since_us ? tier->since_us : entry->info.created_us,
        .last_access_us = tier->last_access_us,
        .accesses = entry->accesses,
        .window_from_us = tier->window_from_us,
        .window_accesses = tier->window_accesses,
        .rules = tier->rules,
        .documents = live ? atomic_load(&live->documents) : entry->checkpoint.documents,
        .memory_bytes = memory,
        .ram_bytes = memory > loaded ? memory : loaded,
        .disk_bytes = image,
    };
}

enum ak_rc ak_engine_tier(struct ak_engine *engine, struct ak_str name_or_id,
                          struct ak_tier_view *view, struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    ak_mutex_lock(&dir->lock);
    const struct ak_entry *entry = ak_directory_find(dir, name_or_id);
    if (entry) {
        view_of(entry, view);
    }
    ak_mutex_unlock(&dir->lock);
    return entry ? AK_OK : ak_tier_not_found(name_or_id, err);
}

/* The clock was set back. What was used in a time that has not come would not be idle before it
 * comes, which may be years: it counts as used now. Directory lock held. */
static void settle_times(struct ak_directory *dir, struct ak_entry *entry, int64_t now_us)
{
    struct ak_catalog_tier *tier = &entry->tier;
    int64_t latest_us = now_us + AHEAD_MAX_US; /* a use since now_us was read is none of these */
    if (tier->last_access_us <= latest_us && tier->since_us <= latest_us) {
        return;
    }
    tier->last_access_us = tier->last_access_us < now_us ? tier->last_access_us : now_us;
    tier->since_us = tier->since_us < now_us ? tier->since_us : now_us;
    dir->tiers_unsaved += !entry->tier_unsaved;
    entry->tier_unsaved = true;
}

size_t ak_engine_tier_scan(struct ak_engine *engine, uint32_t *at, struct ak_tier_view *views,
                           size_t cap)
{
    struct ak_directory *dir = &engine->directory;
    int64_t now_us = ak_now_us(engine->clock);
    size_t n = 0;
    bool more = cap > 0;
    while (more && n == 0) { /* a stretch of free places is not the end */
        ak_mutex_lock(&dir->lock);
        uint32_t end = *at + SCAN_BATCH < dir->used ? *at + SCAN_BATCH : dir->used;
        for (; *at < end && n < cap; (*at)++) {
            struct ak_entry *entry = dir->entries[*at];
            if (entry && !entry->dropped) {
                settle_times(dir, entry, now_us);
                view_of(entry, &views[n++]);
            }
        }
        more = *at < dir->used;
        ak_mutex_unlock(&dir->lock);
    }
    return n;
}

void ak_engine_tier_usage(struct ak_engine *engine, struct ak_tier_usage *usage)
{
    struct ak_directory *dir = &engine->directory;
    uint32_t at = 0;
    bool more = true;
    *usage = (struct ak_tier_usage){.resident_bytes = ak_memory_resident()};
    while (more) {
        ak_mutex_lock(&dir->lock);
        uint32_t end = at + SCAN_BATCH < dir->used ? at + SCAN_BATCH : dir->used;
        for (; at < end; at++) {
            const struct ak_entry *entry = dir->entries[at];
            if (entry && !entry->dropped) {
                enum ak_tier tier = entry->tier.tier;
                usage->collections[tier]++;
                usage->memory_bytes[tier] += entry->live ? ak_collection_bytes(entry->live) : 0;
                usage->disk_bytes[tier] += entry->checkpoint.image_bytes;
            }
        }
        more = at < dir->used;
        ak_mutex_unlock(&dir->lock);
    }
}

/* --- Telling the catalog --- */

void ak_tier_take(struct ak_directory *dir, struct ak_entry *entry,
                  struct ak_catalog_tier_change *change)
{
    *change = (struct ak_catalog_tier_change){entry->info.id, entry->tier};
    dir->tiers_unsaved -= entry->tier_unsaved;
    entry->tier_unsaved = false;
}

enum ak_rc ak_tier_tell(struct ak_engine *engine, const struct ak_catalog_tier_change *changes,
                        size_t count, struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    enum ak_rc rc = ak_catalog_tiers(engine->catalog, changes, count, NULL, 0, err);
    if (rc == AK_OK) {
        return rc;
    }
    ak_mutex_lock(&dir->lock);
    for (size_t i = 0; i < count; i++) {
        struct ak_entry *entry = ak_directory_find_id(dir, &changes[i].id);
        if (entry && !entry->tier_unsaved) {
            entry->tier_unsaved = true;
            dir->tiers_unsaved++;
        }
    }
    ak_mutex_unlock(&dir->lock);
    return rc;
}

/* One collection's pin or rules: first in the catalog, then here. */
static enum ak_rc set(struct ak_engine *engine, struct ak_str name_or_id,
                      void (*apply)(struct ak_catalog_tier *tier, const void *arg), const void *arg,
                      struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    struct ak_catalog_tier_change change;
    ak_mutex_lock(&engine->tier_lock);
    ak_mutex_lock(&dir->lock);
    struct ak_entry *entry = ak_directory_find(dir, name_or_id);
    if (entry) {
        ak_tier_take(dir, entry, &change);
        apply(&change.tier, arg);
    }
    ak_mutex_unlock(&dir->lock);
    enum ak_rc rc =
        entry ? ak_tier_tell(engine, &change, 1, err) : ak_tier_not_found(name_or_id, err);
    if (rc == AK_OK) {
        ak_mutex_lock(&dir->lock);
        entry = ak_directory_find_id(dir, &change.id);
        if (entry) {
            apply(&entry->tier, arg);
        }
        ak_mutex_unlock(&dir->lock);
    }
    ak_mutex_unlock(&engine->tier_lock);
    return rc;
}

static void apply_pin(struct ak_catalog_tier *tier, const void *arg)
{
    tier->pinned = *(const bool *)arg;
}

enum ak_rc ak_engine_tier_pin(struct ak_engine *engine, struct ak_str name_or_id, bool pinned,
                              struct ak_err *err)
{
    return set(engine, name_or_id, apply_pin, &pinned, err);
}

static void apply_rules(struct ak_catalog_tier *tier, const void *arg)
{
    tier->rules = *(const struct ak_tier_overrides *)arg;
}

enum ak_rc ak_engine_tier_rules(struct ak_engine *engine, struct ak_str name_or_id,
                                const struct ak_tier_overrides *over, struct ak_err *err)
{
    const struct ak_tier_rules base = ak_tier_rules_default();
    struct ak_tier_overrides clean = {.set = over->set & AK_TIER_RULES_ALL};
    clean.rules = ak_tier_rules_over(&base, over); /* what is not set has a value that is sound */
    enum ak_rc rc = ak_tier_rules_check(&clean.rules, err);
    return rc == AK_OK ? set(engine, name_or_id, apply_rules, &clean, err) : rc;
}

/* Notes [0, n) as changes; returns how many. */
static size_t take_notes(struct ak_directory *dir, const struct ak_tier_note *notes, size_t n,
                         struct ak_catalog_tier_change *changes)
{
    size_t taken = 0;
    ak_mutex_lock(&dir->lock);
    for (size_t i = 0; i < n; i++) {
        struct ak_entry *entry = ak_directory_find_id(dir, &notes[i].id);
        if (entry) {
            entry->tier.window_from_us = notes[i].window_from_us;
            entry->tier.window_accesses = notes[i].window_accesses;
            ak_tier_take(dir, entry, &changes[taken++]);
        }
    }
    ak_mutex_unlock(&dir->lock);
    return taken;
}

static size_t take_unsaved(struct ak_directory *dir, uint32_t *at,
                           struct ak_catalog_tier_change *changes)
{
    size_t taken = 0;
    ak_mutex_lock(&dir->lock);
    uint32_t end = dir->tiers_unsaved ? dir->used : 0;
    for (; *at < end && taken < FLUSH_BATCH; (*at)++) {
        struct ak_entry *entry = dir->entries[*at];
        if (entry && entry->tier_unsaved) {
            ak_tier_take(dir, entry, &changes[taken++]);
        }
    }
    ak_mutex_unlock(&dir->lock);
    return taken;
}

enum ak_rc ak_engine_tier_flush(struct ak_engine *engine, const struct ak_tier_note *notes,
                                size_t count, struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    struct ak_catalog_tier_change *changes = ak_alloc(FLUSH_BATCH * sizeof *changes);
    enum ak_rc rc = AK_OK;
    uint32_t at = 0;
    for (size_t done = 0; done < count && rc == AK_OK; done += FLUSH_BATCH) {
        size_t n = count - done < FLUSH_BATCH ? count - done : FLUSH_BATCH;
        ak_mutex_lock(&engine->tier_lock);
        n = take_notes(dir, notes + done, n, changes);
        rc = ak_tier_tell(engine, changes, n, err);
        ak_mutex_unlock(&engine->tier_lock);
    }
    for (size_t n = 1; n && rc == AK_OK;) {
        ak_mutex_lock(&engine->tier_lock);
        n = take_unsaved(dir, &at, changes);
        rc = ak_tier_tell(engine, changes, n, err);
        ak_mutex_unlock(&engine->tier_lock);
    }
    ak_free(changes);
    return rc;
}

/* --- Cover --- */

void ak_engine_tier_covered(struct ak_engine *engine, const struct ak_uuid *id,
                            const struct ak_uuid *snapshot, uint64_t generation)
{
    struct ak_directory *dir = &engine->directory;
    ak_mutex_lock(&dir->lock);
    struct ak_entry *entry = ak_directory_find_id(dir, id);
    if (entry && entry->tier.tier != AK_TIER_COLD && entry->tier.cover_generation <= generation) {
        entry->tier.cover = *snapshot;
        entry->tier.cover_generation = generation;
    }
    ak_mutex_unlock(&dir->lock);
}

enum ak_rc ak_engine_tier_uncover(struct ak_engine *engine, const struct ak_uuid *id,
                                  const struct ak_uuid *snapshot, struct ak_err *err)
{
    struct ak_directory *dir = &engine->directory;
    enum ak_rc rc = AK_OK;
    ak_mutex_lock(&dir->lock);
    struct ak_entry *entry = ak_directory_find_id(dir, id);
    if (entry && ak_uuid_eq(&entry->tier.cover, snapshot)) {
        if (entry->tier.tier == AK_TIER_COLD) {
            rc = ak_fail(err, AK_CONFLICT,
                         "collection '%.*s' is cold and lives in this snapshot: restore it to this "
                         "machine, or drop it, first",
                         AK_STR_ARG(entry->info.name));
        } else {
            entry->tier.cover = (struct ak_uuid){{0}};
            entry->tier.cover_generation = 0;
        }
    }
    ak_mutex_unlock(&dir->lock);
    return rc;
}
