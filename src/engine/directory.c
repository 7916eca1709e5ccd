/* directory.c — which collections exist, by name and by id, and which of them are dirty.
 *
 * An entry is about 250 bytes with its strings, so 100,000 closed collections cost 25 MB. Entries
 * are found through two hash tables over their place in an array.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "engine/engine_priv.h"
#include <string.h>

#define NO_PLACE UINT32_MAX /* of an entry that was replaced */

void ak_directory_init(struct ak_directory *dir)
{
    *dir = (struct ak_directory){0};
    ak_mutex_init(&dir->lock, AK_RANK_ENGINE_DIRECTORY, "directory");
    ak_cond_init(&dir->changed);
    ak_map_init(&dir->by_name);
    ak_map_init(&dir->by_id);
    dir->dirty.dirty_next = dir->dirty.dirty_prev = &dir->dirty;
}

void ak_directory_release(struct ak_directory *dir)
{
    for (uint32_t i = 0; i < dir->used; i++) {
        ak_free(dir->entries[i]);
    }
    ak_free(dir->entries);
    ak_free(dir->free_places);
    ak_map_release(&dir->by_name);
    ak_map_release(&dir->by_id);
    ak_cond_release(&dir->changed);
    ak_mutex_release(&dir->lock);
}

static bool same_name(const void *ctx, uint32_t value, const void *key)
{
    const struct ak_directory *dir = ctx;
    return ak_str_eq(dir->entries[value]->info.name, *(const struct ak_str *)key);
}

static bool same_id(const void *ctx, uint32_t value, const void *key)
{
    const struct ak_directory *dir = ctx;
    return ak_uuid_eq(&dir->entries[value]->info.id, key);
}

/* An empty place in the array; its number. */
static enum ak_rc take_place(struct ak_directory *dir, uint32_t *place, struct ak_err *err)
{
    if (dir->free_count) {
        *place = dir->free_places[--dir->free_count];
        return AK_OK;
    }
    if (dir->used >= AK_COLLECTIONS_MAX) {
        return ak_fail(err, AK_TOO_BIG, "at most %u collections", AK_COLLECTIONS_MAX);
    }
    if (dir->used == dir->cap) {
        uint32_t cap = dir->cap ? dir->cap * 2 : 64;
        struct ak_entry **entries = ak_try_realloc(dir->entries, cap * sizeof(struct ak_entry *));
        if (!entries) {
            return ak_fail(err, AK_NOMEM, "directory of %u collections", cap);
        }
        dir->entries = entries;
        dir->cap = cap;
    }
    dir->entries[dir->used] = NULL;
    *place = dir->used++;
    return AK_OK;
}

static void give_place(struct ak_directory *dir, uint32_t place)
{
    dir->entries[place] = NULL;
    if (dir->free_count == dir->free_cap) {
        uint32_t cap = dir->free_cap ? dir->free_cap * 2 : 64;
        dir->free_places = ak_realloc(dir->free_places, cap * sizeof *dir->free_places);
        dir->free_cap = cap;
    }
    dir->free_places[dir->free_count++] = place;
}

static struct ak_entry *entry_of(const struct ak_catalog_row *row)
{
    size_t name_len = row->info.name.len;
    size_t model_len = row->info.embedding_model.len;
    struct ak_entry *entry = ak_try_zalloc(sizeof *entry + name_len + model_len);
    if (!entry) {
        return NULL;
    }
    char *text = (char *)(entry + 1);
    memcpy(text, row->info.name.p, name_len);
    if (model_len) {
        memcpy(text + name_len, row->info.embedding_model.p, model_len);
    }
    entry->info = row->info;
    entry->info.name = (struct ak_str){text, name_len};
    entry->info.embedding_model = (struct ak_str){text + name_len, model_len};
    entry->checkpoint = row->checkpoint;
    entry->tier = row->tier;
    return entry;
}

enum ak_rc ak_directory_add(struct ak_directory *dir, const struct ak_catalog_row *row,
                            struct ak_entry **entry, struct ak_err *err)
{
    uint32_t place = 0;
    enum ak_rc rc = ak_map_reserve(&dir->by_name, dir->by_name.count + 1, err);
    if (rc == AK_OK) {
        rc = ak_map_reserve(&dir->by_id, dir->by_id.count + 1, err);
    }
    if (rc == AK_OK) {
        rc = take_place(dir, &place, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_entry *made = entry_of(row);
    if (!made) {
        give_place(dir, place);
        return ak_fail(err, AK_NOMEM, "collection '%.*s'", AK_STR_ARG(row->info.name));
    }
    made->index = place;
    dir->entries[place] = made;
    rc = ak_map_put(&dir->by_name, ak_hash64_str(made->info.name), &made->info.name, place,
                    same_name, dir, NULL, err);
    AK_ASSERT(rc == AK_OK); /* room was reserved */
    rc = ak_map_put(&dir->by_id, ak_uuid_hash(&made->info.id), &made->info.id, place, same_id, dir,
                    NULL, err);
    AK_ASSERT(rc == AK_OK);
    *entry = made;
    return AK_OK;
}

enum ak_rc ak_directory_make(const struct ak_catalog_row *row, struct ak_entry **entry,
                             struct ak_err *err)
{
    *entry = entry_of(row);
    return *entry ? AK_OK : ak_fail(err, AK_NOMEM, "collection '%.*s'", AK_STR_ARG(row->info.name));
}

static void tier_is_saved(struct ak_directory *dir, struct ak_entry *entry)
{
    dir->tiers_unsaved -= entry->tier_unsaved;
    entry->tier_unsaved = false;
}

void ak_directory_replace(struct ak_directory *dir, struct ak_entry *old, struct ak_entry *fresh)
{
    /* The maps hold places: what stands at the place is another entry from here. */
    ak_directory_mark_clean(dir, old);
    tier_is_saved(dir, old); /* with the replacement */
    fresh->tier.last_access_us = old->tier.last_access_us;
    fresh->accesses = old->accesses;
    fresh->moving = old->moving;
    fresh->index = old->index;
    dir->entries[fresh->index] = fresh;
    old->index = NO_PLACE;
    old->dropped = true;
}

struct ak_entry *ak_directory_find_id(struct ak_directory *dir, const struct ak_uuid *id)
{
    uint32_t place = ak_map_get(&dir->by_id, ak_uuid_hash(id), id, same_id, dir);
    return place == AK_MAP_NONE ? NULL : dir->entries[place];
}

struct ak_entry *ak_directory_find(struct ak_directory *dir, struct ak_str name_or_id)
{
    uint32_t place =
        ak_map_get(&dir->by_name, ak_hash64_str(name_or_id), &name_or_id, same_name, dir);
    if (place != AK_MAP_NONE) {
        return dir->entries[place];
    }
    struct ak_uuid id;
    return ak_uuid_parse(name_or_id, &id) ? ak_directory_find_id(dir, &id) : NULL;
}

void ak_directory_remove(struct ak_directory *dir, struct ak_entry *entry)
{
    ak_map_remove(&dir->by_name, ak_hash64_str(entry->info.name), &entry->info.name, same_name,
                  dir);
    ak_map_remove(&dir->by_id, ak_uuid_hash(&entry->info.id), &entry->info.id, same_id, dir);
    ak_directory_mark_clean(dir, entry);
    tier_is_saved(dir, entry);
    entry->dropped = true;
}

void ak_directory_free(struct ak_directory *dir, struct ak_entry *entry)
{
    AK_ASSERT(entry->dropped && !entry->live && !entry->dirty_from);
    if (entry->index != NO_PLACE) {
        give_place(dir, entry->index);
    }
    ak_free(entry);
}

static void link_dirty(struct ak_directory *dir, struct ak_entry *entry)
{
    entry->dirty_prev = dir->dirty.dirty_prev;
    entry->dirty_next = &dir->dirty;
    entry->dirty_prev->dirty_next = entry;
    dir->dirty.dirty_prev = entry;
}

static void unlink_dirty(struct ak_entry *entry)
{
    entry->dirty_prev->dirty_next = entry->dirty_next;
    entry->dirty_next->dirty_prev = entry->dirty_prev;
    entry->dirty_next = entry->dirty_prev = NULL;
}

void ak_directory_mark_dirty(struct ak_directory *dir, struct ak_entry *entry, ak_lsn lsn,
                             uint64_t bytes)
{
    if (entry->dropped) {
        return;
    }
    entry->wal_bytes += bytes;
    entry->is_written = entry->is_written || bytes;
    if (!entry->dirty_from) {
        entry->dirty_from = lsn ? lsn : 1; /* 0 means clean */
        link_dirty(dir, entry);
        dir->dirty_count++;
    }
}

void ak_directory_mark_written(struct ak_directory *dir, struct ak_entry *entry, ak_lsn lsn)
{
    ak_directory_mark_dirty(dir, entry, lsn, 0);
    entry->is_written = !entry->dropped;
}

void ak_directory_mark_dirty_again(struct ak_directory *dir, struct ak_entry *entry, ak_lsn lsn,
                                   uint64_t bytes)
{
    ak_directory_mark_dirty(dir, entry, lsn, bytes);
    entry->is_written = !entry->dropped; /* perhaps: a failed log may have kept nothing of it */
    if (entry->dirty_from > lsn) {
        entry->dirty_from = lsn;
    }
}

void ak_directory_rotate_dirty(struct ak_directory *dir, struct ak_entry *entry)
{
    unlink_dirty(entry);
    link_dirty(dir, entry);
}

void ak_directory_mark_clean(struct ak_directory *dir, struct ak_entry *entry)
{
    entry->wal_bytes = 0;
    entry->is_written = false;
    if (!entry->dirty_from) {
        return;
    }
    entry->dirty_from = 0;
    unlink_dirty(entry);
    dir->dirty_count--;
}
