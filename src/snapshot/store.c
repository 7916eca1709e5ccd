/* store.c — snapshots as a store holds them: commit, get, list, remove, sweep.
 *
 * I1  A snapshot exists if and only if its metadata object does. It is put last, after the others
 *     were seen in the store, and removed first.
 * I2  An object is an orphan when its snapshot has no metadata and is not under way. Only names
 *     that the layout makes are ever removed; whatever else lies in the folder is not ours.
 * I3  commit() of the same metadata may be repeated: an answer may get lost, the object does not.
 */
#include "base/mem.h"
#include "snapshot/snapshot_priv.h"
#include <stdlib.h>
#include <string.h>

#define LIST_PAGE 1000

static const struct ak_objstore_put_options as_json = {.content_type = "application/json"};

static enum ak_rc get_json(struct ak_objstore *store, const struct ak_snapshot_key *key,
                           struct ak_buf *json, struct ak_err *err)
{
    ak_buf_init(json, AK_SNAPSHOT_META_MAX);
    enum ak_rc rc = ak_objstore_get(store, ak_snapshot_key_str(key), json, err);
    if (rc == AK_TOO_BIG) { /* not a metadata object at all */
        rc = ak_wrap(err, AK_CORRUPT, "snapshot metadata '%s'", key->text);
    }
    return rc;
}

/* --- Commit --- */

static enum ak_rc check_present(struct ak_objstore *store, const struct ak_snapshot_meta *meta,
                                struct ak_err *err)
{
    uint64_t len = 0;
    enum ak_rc rc = ak_snapshot_object_len(store, meta, &meta->data, &len, err);
    if (rc == AK_OK && meta->has_image) {
        rc = ak_snapshot_object_len(store, meta, &meta->image, &len, err);
    }
    return rc;
}

/* There is one already: ours from an earlier try, or another's. */
static enum ak_rc compare_present(struct ak_objstore *store, const struct ak_snapshot_key *key,
                                  struct ak_str json, struct ak_err *err)
{
    struct ak_buf present;
    enum ak_rc rc = get_json(store, key, &present, err);
    if (rc == AK_OK && !ak_str_eq(ak_buf_str(&present), json)) {
        rc =
            ak_fail(err, AK_EXISTS,
                    "'%s' exists with other contents: take the snapshot under a new id", key->text);
    }
    ak_buf_release(&present);
    return rc;
}

static enum ak_rc put_once(struct ak_objstore *store, const struct ak_snapshot_key *key,
                           struct ak_str json, struct ak_err *err)
{
    struct ak_objstore_put_options options = as_json;
    options.only_if_absent = true;
    enum ak_rc rc = ak_objstore_put(store, ak_snapshot_key_str(key), json, &options, err);
    if (rc == AK_EXISTS) {
        return compare_present(store, key, json, err);
    }
    if (rc == AK_UNSUPPORTED) { /* the store has no conditional put: look, then put */
        rc = compare_present(store, key, json, err);
        if (rc == AK_NOT_FOUND) {
            rc = ak_objstore_put(store, ak_snapshot_key_str(key), json, &as_json, err);
        }
    }
    return rc;
}

enum ak_rc ak_snapshot_commit(struct ak_objstore *store, const struct ak_snapshot_meta *meta,
                              struct ak_err *err)
{
    char name[AK_SNAPSHOT_NAME_MAX];
    struct ak_snapshot_key key;
    struct ak_buf json;
    ak_buf_init(&json, AK_SNAPSHOT_META_MAX);
    ak_snapshot_key_of(&meta->collection.id, &meta->id, AK_SNAPSHOT_PART_META, &key);
    enum ak_rc rc = ak_snapshot_meta_write(meta, &json, err);
    if (rc == AK_OK) {
        rc = check_present(store, meta, err);
    }
    if (rc == AK_OK) {
        rc = put_once(store, &key, ak_buf_str(&json), err);
    }
    ak_buf_release(&json);
    return rc == AK_OK ? rc : ak_wrap(err, rc, "commit %s", ak_snapshot_name(&meta->id, name));
}

/* --- Get --- */

enum ak_rc ak_snapshot_get(struct ak_objstore *store, const struct ak_uuid *collection,
                           const struct ak_uuid *id, struct ak_arena *arena,
                           struct ak_snapshot_meta *out, struct ak_err *err)
{
    char name[AK_SNAPSHOT_NAME_MAX];
    struct ak_snapshot_key key;
    struct ak_snapshot_meta meta;
    struct ak_buf json;
    (void)ak_snapshot_name(id, name);
    ak_snapshot_key_of(collection, id, AK_SNAPSHOT_PART_META, &key);
    enum ak_rc rc = get_json(store, &key, &json, err);
    if (rc == AK_NOT_FOUND) {
        rc = ak_fail(err, AK_NOT_FOUND, "there is no %s of this collection in %s", name,
                     ak_objstore_name(store));
        ak_buf_release(&json);
        return rc;
    }
    if (rc == AK_OK) {
        rc = ak_snapshot_meta_read(ak_buf_str(&json), arena, &meta, err);
    }
    ak_buf_release(&json);
    if (rc == AK_OK && !ak_uuid_eq(&meta.id, id)) {
        rc = ak_fail(err, AK_CORRUPT, "field 'snapshot_id' of '%s' is another's", key.text);
    } else if (rc == AK_OK && !ak_uuid_eq(&meta.collection.id, collection)) {
        rc = ak_fail(err, AK_CORRUPT, "field 'collection_id' of '%s' is another's", key.text);
    }
    if (rc != AK_OK) {
        return ak_wrap(err, rc, "%s", name);
    }
    *out = meta;
    return AK_OK;
}

/* --- What lies in a collection's folder --- */

struct entry {
    struct ak_uuid id;
    enum ak_snapshot_part part;
    int64_t modified_us; /* 0: not known */
};

struct entries {
    struct entry *items;
    size_t count;
    size_t cap;
};

static enum ak_rc entries_add(struct entries *entries, struct entry entry, struct ak_err *err)
{
    if (entries->count == entries->cap) {
        size_t cap = entries->cap ? entries->cap * 2 : 64;
        struct entry *items = ak_try_realloc(entries->items, cap * sizeof *items);
        if (!items) {
            return ak_fail(err, AK_NOMEM, "no memory for a list of %zu objects", cap);
        }
        entries->items = items;
        entries->cap = cap;
    }
    entries->items[entries->count++] = entry;
    return AK_OK;
}

struct place { /* in a listing: the last key seen, which may be a foreign one */
    char text[AK_OBJSTORE_KEY_MAX];
    size_t len;
};

static void place_at(struct place *place, struct ak_str key)
{
    memcpy(place->text, key.p, key.len); /* stores keep AK_OBJSTORE_KEY_MAX */
    place->len = key.len;
}

/* One page after `after`, which moves on. *more: ask again. */
static enum ak_rc list_page(struct ak_objstore *store, struct ak_str folder, struct place *after,
                            struct entries *entries, bool *more, struct ak_err *err)
{
    struct ak_arena arena;
    struct ak_object *objects = NULL;
    size_t count = 0;
    ak_arena_init(&arena, 0);
    enum ak_rc rc = ak_objstore_list(store, folder, (struct ak_str){after->text, after->len},
                                     LIST_PAGE, &arena, &objects, &count, err);
    *more = rc == AK_OK && count == LIST_PAGE;
    for (size_t i = 0; i < count && rc == AK_OK; i++) {
        struct entry entry = {.modified_us = objects[i].modified_us};
        if (ak_snapshot_key_split(objects[i].key, folder, &entry.id, &entry.part)) {
            rc = entries_add(entries, entry, err);
        }
    }
    if (rc == AK_OK && *more) {
        place_at(after, objects[count - 1].key);
    }
    ak_arena_release(&arena);
    return rc;
}

static enum ak_rc list_entries(struct ak_objstore *store, const struct ak_uuid *collection,
                               struct entries *entries, struct ak_err *err)
{
    struct ak_snapshot_key folder;
    struct place after = {.len = 0};
    bool more = true;
    enum ak_rc rc = AK_OK;
    ak_snapshot_key_folder(collection, &folder);
    while (rc == AK_OK && more) {
        rc = list_page(store, ak_snapshot_key_str(&folder), &after, entries, &more, err);
    }
    return rc;
}

static int newest_first(const void *a, const void *b)
{
    const struct entry *x = a;
    const struct entry *y = b;
    return memcmp(y->id.b, x->id.b, sizeof x->id.b);
}

/* Those with a metadata object to the front, newest first; gives their count. */
static size_t keep_committed(struct entries *entries)
{
    size_t n = 0;
    for (size_t i = 0; i < entries->count; i++) {
        if (entries->items[i].part == AK_SNAPSHOT_PART_META) {
            entries->items[n++] = entries->items[i];
        }
    }
    if (n) {
        qsort(entries->items, n, sizeof *entries->items, newest_first);
    }
    return n;
}

static enum ak_rc note_damage(const struct ak_uuid *collection, const struct ak_uuid *id,
                              struct ak_arena *arena, struct ak_snapshot_damages *damages,
                              const struct ak_err *why, struct ak_err *err)
{
    struct ak_snapshot_key key;
    ak_snapshot_key_of(collection, id, AK_SNAPSHOT_PART_META, &key);
    struct ak_snapshot_damage damage = {.id = *id,
                                        .key = ak_arena_str(arena, ak_snapshot_key_str(&key)),
                                        .why = ak_arena_str(arena, ak_str_of(why->text))};
    if (!damage.key.p || !damage.why.p) {
        return ak_fail(err, AK_NOMEM, "no memory for what is damaged");
    }
    damages->items[damages->count++] = damage;
    return AK_OK;
}

/* One of the listed: whole, damaged, or gone since. */
static enum ak_rc list_one(struct ak_objstore *store, const struct ak_uuid *collection,
                           const struct ak_uuid *id, struct ak_arena *arena,
                           struct ak_snapshot_meta *metas, size_t *found,
                           struct ak_snapshot_damages *damages, struct ak_err *err)
{
    struct ak_err why;
    enum ak_rc rc = ak_snapshot_get(store, collection, id, arena, &metas[*found], &why);
    if (rc == AK_CORRUPT || rc == AK_UNSUPPORTED) {
        return note_damage(collection, id, arena, damages, &why, err);
    }
    if (rc == AK_OK || rc == AK_NOT_FOUND) {
        *found += rc == AK_OK;
        return AK_OK;
    }
    if (err) {
        *err = why;
    }
    return rc;
}

enum ak_rc ak_snapshot_list(struct ak_objstore *store, const struct ak_uuid *collection,
                            struct ak_arena *arena, struct ak_snapshot_meta **list, size_t *count,
                            struct ak_snapshot_damages *damages, struct ak_err *err)
{
    struct entries entries = {0};
    struct ak_snapshot_meta *metas = NULL;
    struct ak_snapshot_damages bad = {.count = 0};
    size_t found = 0;
    enum ak_rc rc = list_entries(store, collection, &entries, err);
    size_t n = keep_committed(&entries);
    if (rc == AK_OK && n) {
        metas = ak_arena_alloc(arena, n * sizeof *metas);
        bad.items = ak_arena_alloc(arena, n * sizeof *bad.items);
        rc = metas && bad.items ? AK_OK : ak_fail(err, AK_NOMEM, "no memory for %zu snapshots", n);
    }
    for (size_t i = 0; i < n && rc == AK_OK; i++) {
        rc = list_one(store, collection, &entries.items[i].id, arena, metas, &found, &bad, err);
    }
    ak_free(entries.items);
    if (rc != AK_OK) {
        return ak_wrap(err, rc, "list snapshots");
    }
    *list = metas;
    *count = found;
    if (damages) {
        *damages = bad;
    }
    return AK_OK;
}

/* --- Remove --- */

/* `remove` of each object but the metadata; goes on after a failure and gives the first. */
static enum ak_rc
remove_parts(struct ak_objstore *store, const struct ak_uuid *collection, const struct ak_uuid *id,
             enum ak_rc (*remove)(struct ak_objstore *store, struct ak_str key, struct ak_err *err),
             struct ak_err *err)
{
    static const enum ak_snapshot_part parts[] = {AK_SNAPSHOT_PART_PARQUET, AK_SNAPSHOT_PART_JSON,
                                                  AK_SNAPSHOT_PART_IMAGE};
    enum ak_rc first = AK_OK;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        struct ak_snapshot_key key;
        ak_snapshot_key_of(collection, id, parts[i], &key);
        enum ak_rc rc = remove(store, ak_snapshot_key_str(&key), first == AK_OK ? err : NULL);
        first = first == AK_OK ? rc : first;
    }
    return first;
}

enum ak_rc ak_snapshot_remove(struct ak_objstore *store, const struct ak_uuid *collection,
                              const struct ak_uuid *id, struct ak_err *err)
{
    char name[AK_SNAPSHOT_NAME_MAX];
    struct ak_snapshot_key key;
    ak_snapshot_key_of(collection, id, AK_SNAPSHOT_PART_META, &key);
    enum ak_rc rc = ak_objstore_remove(store, ak_snapshot_key_str(&key), err);
    if (rc == AK_OK) {
        rc = remove_parts(store, collection, id, ak_objstore_remove, err);
    }
    return rc == AK_OK ? rc : ak_wrap(err, rc, "remove %s", ak_snapshot_name(id, name));
}

enum ak_rc ak_snapshot_abandon(struct ak_objstore *store, const struct ak_uuid *collection,
                               const struct ak_uuid *id, struct ak_err *err)
{
    char name[AK_SNAPSHOT_NAME_MAX];
    enum ak_rc rc = ak_snapshot_remove(store, collection, id, err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = remove_parts(store, collection, id, ak_objstore_remove_parts, err);
    return rc == AK_OK ? rc : ak_wrap(err, rc, "abandon %s", ak_snapshot_name(id, name));
}

/* --- Sweep --- */

/* Does the snapshot of entry `i` exist? Listings are in the order of keys, so that its parts are
 * neighbours. */
static bool is_whole(const struct entries *entries, size_t i)
{
    const struct ak_uuid *id = &entries->items[i].id;
    size_t from = i;
    while (from > 0 && ak_uuid_eq(&entries->items[from - 1].id, id)) {
        from--;
    }
    for (; from < entries->count && ak_uuid_eq(&entries->items[from].id, id); from++) {
        if (entries->items[from].part == AK_SNAPSHOT_PART_META) {
            return true;
        }
    }
    return false;
}

static bool is_kept(const struct ak_uuid *id, const struct ak_uuid *keep, size_t keep_count)
{
    for (size_t i = 0; i < keep_count; i++) {
        if (ak_uuid_eq(&keep[i], id)) {
            return true;
        }
    }
    return false;
}

/* Made and last changed before then, as far as both are known. */
static bool is_old(const struct entry *entry, int64_t before_us)
{
    int64_t made_us = ak_uuid_time_us(&entry->id);
    return made_us > 0 && made_us < before_us && entry->modified_us > 0 &&
           entry->modified_us < before_us;
}

/* The list is older than the decision: a snapshot may have been committed since. */
static enum ak_rc remove_orphan(struct ak_objstore *store, const struct ak_uuid *collection,
                                const struct entry *entry, uint64_t *removed, struct ak_err *err)
{
    struct ak_snapshot_key key;
    struct ak_object object;
    struct ak_arena arena;
    ak_arena_init(&arena, 0);
    ak_snapshot_key_of(collection, &entry->id, AK_SNAPSHOT_PART_META, &key);
    enum ak_rc rc = ak_objstore_head(store, ak_snapshot_key_str(&key), &arena, &object, err);
    ak_arena_release(&arena);
    if (rc != AK_NOT_FOUND) {
        return rc;
    }
    ak_snapshot_key_of(collection, &entry->id, entry->part, &key);
    rc = ak_objstore_remove(store, ak_snapshot_key_str(&key), err);
    *removed += rc == AK_OK;
    return rc;
}

enum ak_rc ak_snapshot_sweep(struct ak_objstore *store, const struct ak_uuid *collection,
                             const struct ak_uuid *keep, size_t keep_count, int64_t before_us,
                             uint64_t *removed, struct ak_err *err)
{
    struct entries entries = {0};
    uint64_t gone = 0;
    enum ak_rc rc = list_entries(store, collection, &entries, err);
    for (size_t i = 0; i < entries.count && rc == AK_OK; i++) {
        const struct entry *entry = &entries.items[i];
        if (!is_whole(&entries, i) && !is_kept(&entry->id, keep, keep_count) &&
            is_old(entry, before_us)) {
            rc = remove_orphan(store, collection, entry, &gone, err);
        }
    }
    ak_free(entries.items);
    if (rc != AK_OK) {
        return ak_wrap(err, rc, "sweep snapshots");
    }
    *removed = gone;
    return AK_OK;
}

/* Of a listing in the order of keys: the snapshot it has come to, and whether that is whole. */
struct orphan_search {
    ak_snapshot_orphans_fn fn;
    void *ctx;
    struct ak_uuid collection, snapshot;
    bool is_in, has_meta; /* a snapshot's objects are being seen */
    struct ak_uuid told;  /* the last collection that was */
    bool stops;
};

static void end_snapshot(struct orphan_search *search)
{
    if (search->is_in && !search->has_meta && !ak_uuid_eq(&search->told, &search->collection)) {
        search->told = search->collection;
        search->stops = !search->fn(search->ctx, &search->collection);
    }
    search->is_in = false;
}

static void see_object(struct orphan_search *search, struct ak_str key)
{
    struct ak_uuid collection;
    struct ak_uuid snapshot;
    struct ak_snapshot_key folder;
    enum ak_snapshot_part part;
    if (!ak_snapshot_key_collection(key, &collection)) {
        return;
    }
    ak_snapshot_key_folder(&collection, &folder);
    if (!ak_snapshot_key_split(key, ak_snapshot_key_str(&folder), &snapshot, &part)) {
        return;
    }
    if (!search->is_in || !ak_uuid_eq(&search->collection, &collection) ||
        !ak_uuid_eq(&search->snapshot, &snapshot)) {
        end_snapshot(search);
        search->collection = collection;
        search->snapshot = snapshot;
        search->is_in = true;
        search->has_meta = false;
    }
    search->has_meta = search->has_meta || part == AK_SNAPSHOT_PART_META;
}

enum ak_rc ak_snapshot_find_orphans(struct ak_objstore *store, ak_snapshot_orphans_fn fn, void *ctx,
                                    struct ak_err *err)
{
    struct orphan_search search = {.fn = fn, .ctx = ctx};
    struct place after = {.len = 0};
    struct ak_arena arena;
    size_t count = LIST_PAGE;
    enum ak_rc rc = AK_OK;
    ak_arena_init(&arena, 0);
    while (rc == AK_OK && count == LIST_PAGE && !search.stops) {
        struct ak_object *objects = NULL;
        ak_arena_reset(&arena);
        rc = ak_objstore_list(store, AK_STR(AK_SNAPSHOT_ROOT),
                              (struct ak_str){after.text, after.len}, LIST_PAGE, &arena, &objects,
                              &count, err);
        for (size_t i = 0; rc == AK_OK && i < count && !search.stops; i++) {
            see_object(&search, objects[i].key);
        }
        if (rc == AK_OK && count) {
            place_at(&after, objects[count - 1].key);
        }
    }
    ak_arena_release(&arena);
    if (rc != AK_OK) {
        return ak_wrap(err, rc, "look for what belongs to no snapshot");
    }
    if (!search.stops) {
        end_snapshot(&search);
    }
    return AK_OK;
}

/* --- One object --- */

enum ak_rc ak_snapshot_object_len(struct ak_objstore *store, const struct ak_snapshot_meta *meta,
                                  const struct ak_snapshot_object *object, uint64_t *len,
                                  struct ak_err *err)
{
    struct ak_arena arena;
    struct ak_object found = {.size = 0};
    ak_arena_init(&arena, 0);
    enum ak_rc rc = ak_objstore_head(store, object->key, &arena, &found, err);
    ak_arena_release(&arena);
    if (rc == AK_NOT_FOUND) {
        return ak_fail(err, AK_CORRUPT, "object '%.*s' is missing: the metadata names it",
                       AK_STR_ARG(object->key));
    }
    /* What has no objects has the sum of them only: one of an older version. */
    bool is_old = !ak_snapshot_has_digest(object) && object == &meta->data;
    if (rc == AK_OK && found.size != object->bytes && !is_old) {
        return ak_fail(err, AK_CORRUPT, "object '%.*s' has %llu bytes, the metadata has %llu",
                       AK_STR_ARG(object->key), (unsigned long long)found.size,
                       (unsigned long long)object->bytes);
    }
    if (rc == AK_OK) {
        *len = found.size;
    }
    return rc;
}
