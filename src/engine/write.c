/* write.c — upserts and deletes: validate, make room, log, apply; and the same from the log.
 *
 * Under the collection's writer lock, in this order:
 *   1. room    everything that could fail for want of memory is reserved
 *   2. dirty   the collection is marked, with an LSN not above the record's (checkpoint.c, I3)
 *   3. log     the record is appended (a full disk is refused here, with nothing changed)
 *   4. apply   cannot fail
 * so that what is logged and what is in memory are the same, always. The caller then waits for the
 * log to be durable before it acknowledges.
 */
#include "base/mem.h"
#include "engine/engine_priv.h"
#include <string.h>

/* A write that is rejected for the state of a collection that a drop has removed. */
static enum ak_rc check_alive(const struct ak_collection *collection, struct ak_err *err)
{
    const struct ak_entry *entry = collection->entry;
    if (entry->in_doubt) {
        return ak_fail(
            err, AK_IO,
            "the catalog failed while collection '%.*s' was being replaced or dropped: it is "
            "read-only until the server is restarted",
            AK_STR_ARG(entry->info.name));
    }
    if (entry->went_cold) {
        return ak_fail(err, AK_COLD,
                       "collection '%.*s' has gone to the object store: open it again",
                       AK_STR_ARG(entry->info.name));
    }
    return entry->dropped
               ? ak_fail(err, AK_NOT_FOUND,
                         "collection '%.*s' has been dropped, or replaced: open it again",
                         AK_STR_ARG(entry->info.name))
               : AK_OK;
}

static enum ak_rc thaw(struct ak_collection *collection, struct ak_err *err)
{
    if (collection->thawed) {
        return AK_OK;
    }
    enum ak_rc rc = ak_docs_index(&collection->docs, collection->index, err);
    if (rc == AK_OK) {
        rc = ak_index_thaw(collection->index, err);
    }
    if (rc == AK_OK) {
        rc = ak_docs_thaw(&collection->docs, err);
    }
    collection->thawed = rc == AK_OK;
    return rc;
}

enum ak_rc ak_collection_thaw(struct ak_collection *collection, struct ak_err *err)
{
    ak_mutex_lock(&collection->lock);
    enum ak_rc rc = thaw(collection, err);
    ak_mutex_unlock(&collection->lock);
    return rc;
}

/* Room for `count` more rows and their text. */
static enum ak_rc make_room(struct ak_collection *collection, uint32_t count, uint64_t text,
                            struct ak_err *err)
{
    enum ak_rc rc = thaw(collection, err);
    if (rc == AK_OK) {
        rc = ak_index_reserve(collection->index, count, err);
    }
    if (rc == AK_OK) {
        rc = ak_docs_reserve(&collection->docs, ak_index_slots(collection->index) + count, count,
                             text, err);
    }
    return rc;
}

static void apply_document(struct ak_collection *collection, const struct ak_document *doc)
{
    uint32_t slot = ak_index_next_slot(collection->index);
    atomic_fetch_add_explicit(&collection->calibration.changes, 1, memory_order_relaxed);
    uint32_t old = ak_docs_set(&collection->docs, slot, doc);
    ak_columns_set(collection->columns, slot, ak_docs_metadata(&collection->docs, slot));
    uint32_t stored = 0;
    enum ak_rc rc = ak_index_add(collection->index, doc->vector, &stored, NULL);
    AK_ASSERT(rc == AK_OK && stored == slot); /* make_room() saw to it */
    if (old != AK_MAP_NONE) {
        atomic_fetch_add(&collection->moved, 1);
        ak_index_remove(collection->index, old);
        ak_vacuum_forget(collection, old);
    } else {
        atomic_fetch_add_explicit(&collection->documents, 1, memory_order_relaxed);
    }
}

static bool apply_delete(struct ak_collection *collection, const struct ak_uuid *id)
{
    uint32_t slot = ak_docs_find(&collection->docs, id);
    if (slot == AK_MAP_NONE) {
        return false;
    }
    atomic_fetch_add_explicit(&collection->calibration.changes, 1, memory_order_relaxed);
    ak_docs_remove(&collection->docs, slot);
    ak_index_remove(collection->index, slot);
    ak_vacuum_forget(collection, slot);
    atomic_fetch_sub_explicit(&collection->documents, 1, memory_order_relaxed);
    return true;
}

static uint64_t text_bytes(const struct ak_document *docs, size_t count)
{
    uint64_t text = 0;
    for (size_t i = 0; i < count; i++) {
        text += docs[i].external_id.len + docs[i].metadata.len;
    }
    return text;
}

/* Account for a record that is logged and applied; wake who has work now. */
static void after_write(struct ak_collection *collection, ak_lsn lsn, ak_lsn next, bool added)
{
    struct ak_engine *engine = collection->engine;
    struct ak_directory *dir = &engine->directory;
    bool build = added && ak_index_pending(collection->index) > 0;
    ak_mutex_lock(&dir->lock);
    ak_directory_mark_dirty(dir, collection->entry, lsn, next - lsn);
    ak_tier_written(engine, collection->entry);
    ak_collection_recount(collection);
    uint64_t bytes = collection->entry->wal_bytes;
    uint64_t image = collection->entry->checkpoint.image_bytes;
    if (build) {
        collection->refs++;
        ak_builders_want(collection);
    }
    ak_mutex_unlock(&dir->lock);
    if (bytes > engine->checkpoint_bytes && bytes > image / 2) {
        ak_keeper_poke(engine);
    }
}

/* Steps 2 and 3, under the writer lock. */
static enum ak_rc log_record(struct ak_collection *collection, enum ak_record_kind kind,
                             const struct ak_buf *record, ak_lsn *lsn, ak_lsn *next,
                             struct ak_err *err)
{
    struct ak_directory *dir = &collection->engine->directory;
    struct ak_str part = ak_buf_str(record);
    struct ak_wal_stats stats;
    ak_wal_stats(collection->engine->wal, &stats);
    ak_mutex_lock(&dir->lock);
    ak_directory_mark_written(dir, collection->entry, stats.end);
    ak_mutex_unlock(&dir->lock);
    return ak_wal_append(collection->engine->wal, (uint32_t)kind, &part, 1, lsn, next, err);
}

/* Ids made, times set, every document checked. */
static enum ak_rc prepare(struct ak_collection *collection, const struct ak_document *docs,
                          size_t count, struct ak_document *ready, struct ak_uuid *ids,
                          struct ak_err *err)
{
    struct ak_engine *engine = collection->engine;
    const struct ak_collection_info *info = &collection->entry->info;
    int64_t now = ak_now_us(engine->clock);
    for (size_t i = 0; i < count; i++) {
        enum ak_rc rc = ak_document_check(&docs[i], info->dimension, info->metric,
                                          count > 1 ? (int64_t)i : -1, err);
        if (rc != AK_OK) {
            return rc;
        }
        ready[i] = docs[i];
        ready[i].inserted_us = now;
        if (ak_uuid_is_nil(&ready[i].id)) {
            ready[i].id = ak_uuid_make(&engine->uuids);
        }
        if (ids) {
            ids[i] = ready[i].id;
        }
    }
    return AK_OK;
}

static enum ak_rc lock_writer(struct ak_collection *collection, bool may_wait, struct ak_err *err)
{
    if (may_wait) {
        ak_mutex_lock(&collection->lock);
        return AK_OK;
    }
    return ak_mutex_try_lock(&collection->lock)
               ? AK_OK
               : ak_fail(err, AK_CONFLICT, "another writer is busy in this collection");
}

static enum ak_rc upsert_logged(struct ak_collection *collection, const struct ak_document *docs,
                                size_t count, const struct ak_buf *record, bool may_wait,
                                struct ak_write *write, struct ak_err *err)
{
    ak_lsn lsn = 0;
    ak_lsn next = 0;
    enum ak_rc rc = lock_writer(collection, may_wait, err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = check_alive(collection, err);
    if (rc == AK_OK && !may_wait &&
        (!collection->thawed || !ak_index_has_room(collection->index, (uint32_t)count))) {
        rc = ak_fail(err, AK_CONFLICT, "rows must move, and builders let go of them first");
    }
    if (rc == AK_OK) {
        rc = make_room(collection, (uint32_t)count, text_bytes(docs, count), err);
    }
    if (rc == AK_OK) {
        rc = log_record(collection, AK_RECORD_UPSERT, record, &lsn, &next, err);
    }
    if (rc == AK_OK) {
        for (size_t i = 0; i < count; i++) {
            apply_document(collection, &docs[i]);
        }
        collection->applied = next;
        after_write(collection, lsn, next, true);
    }
    ak_mutex_unlock(&collection->lock);
    if (rc == AK_OK) {
        ak_series_add(collection->engine->m_indexed, count);
        *write = (struct ak_write){.commit = next, .affected = (uint32_t)count};
    }
    return rc;
}

enum ak_rc ak_collection_upsert(struct ak_collection *collection, const struct ak_document *docs,
                                size_t count, bool may_wait, struct ak_uuid *ids,
                                struct ak_write *write, struct ak_err *err)
{
    const struct ak_collection_info *info = &collection->entry->info;
    struct ak_document one;
    if (count == 0) {
        return ak_fail(err, AK_INVALID, "no vectors given");
    }
    if (count > AK_UPSERT_BATCH_MAX) {
        return ak_fail(err, AK_TOO_BIG, "%zu vectors in one call; at most %d", count,
                       AK_UPSERT_BATCH_MAX);
    }
    struct ak_document *ready = count == 1 ? &one : ak_try_alloc(count * sizeof *ready);
    struct ak_buf record;
    ak_buf_init(&record, AK_WAL_RECORD_MAX);
    enum ak_rc rc = ready ? prepare(collection, docs, count, ready, ids, err)
                          : ak_fail(err, AK_NOMEM, "%zu documents", count);
    if (rc == AK_OK) {
        rc = ak_record_upsert(&info->id, info->dimension, ready, count, &record, err);
    }
    if (rc == AK_OK) {
        rc = upsert_logged(collection, ready, count, &record, may_wait, write, err);
    }
    ak_buf_release(&record);
    if (ready != &one) {
        ak_free(ready);
    }
    return rc;
}

/* Writer lock held: log and apply the removal of ids that exist. */
static enum ak_rc delete_present(struct ak_collection *collection, const struct ak_uuid *ids,
                                 size_t count, struct ak_write *write, struct ak_err *err)
{
    struct ak_buf record;
    ak_lsn lsn = 0;
    ak_lsn next = 0;
    *write = (struct ak_write){.commit = 0};
    if (count == 0) {
        return AK_OK;
    }
    ak_buf_init(&record, AK_WAL_RECORD_MAX);
    enum ak_rc rc = ak_record_delete(&collection->entry->info.id, ids, count, &record, err);
    if (rc == AK_OK) {
        rc = log_record(collection, AK_RECORD_DELETE, &record, &lsn, &next, err);
    }
    ak_buf_release(&record);
    if (rc != AK_OK) {
        return rc;
    }
    for (size_t i = 0; i < count; i++) {
        write->affected += apply_delete(collection, &ids[i]);
    }
    write->commit = next;
    collection->applied = next;
    after_write(collection, lsn, next, false);
    ak_series_add(collection->engine->m_deleted, write->affected);
    return AK_OK;
}

enum ak_rc ak_collection_delete(struct ak_collection *collection, const struct ak_uuid *ids,
                                size_t count, struct ak_write *write, struct ak_err *err)
{
    struct ak_uuid *present = ak_try_alloc(count * sizeof *present);
    if (!present) {
        return ak_fail(err, AK_NOMEM, "%zu ids", count);
    }
    ak_mutex_lock(&collection->lock);
    enum ak_rc rc = check_alive(collection, err);
    if (rc == AK_OK) {
        rc = thaw(collection, err);
    }
    if (rc == AK_OK) {
        size_t found = 0;
        for (size_t i = 0; i < count; i++) {
            if (ak_docs_find(&collection->docs, &ids[i]) != AK_MAP_NONE) {
                present[found++] = ids[i];
            }
        }
        rc = delete_present(collection, present, found, write, err);
    }
    ak_mutex_unlock(&collection->lock);
    ak_free(present);
    return rc;
}

/* Ids of the slots set in `words`. Writer lock held: slots stay what they are. */
static size_t ids_of(const struct ak_collection *collection, const uint64_t *words, uint64_t slots,
                     struct ak_uuid *ids)
{
    size_t n = 0;
    for (uint64_t w = 0; w < (slots + 63) / 64; w++) {
        for (uint64_t left = words[w]; left; left &= left - 1) {
            uint32_t slot = (uint32_t)(w * 64 + (unsigned)__builtin_ctzll(left));
            ids[n++] = *ak_docs_id(&collection->docs, slot);
        }
    }
    return n;
}

static enum ak_rc delete_matching_locked(struct ak_collection *collection,
                                         const struct ak_filter *filter, struct ak_write *write,
                                         struct ak_err *err)
{
    uint64_t slots = ak_index_slots(collection->index);
    size_t words = (size_t)(slots + 63) / 64;
    uint64_t matches = 0;
    uint64_t *bits = ak_try_alloc((2 * words + 1) * sizeof *bits);
    if (!bits) {
        return ak_fail(err, AK_NOMEM, "bitmap of %llu slots", (unsigned long long)slots);
    }
    ak_index_live_bitmap(collection->index, bits + words, slots);
    (void)ak_vacuum_hide(collection, bits + words, slots);
    enum ak_rc rc =
        ak_columns_match(collection->columns, filter, slots, bits + words, bits, &matches, err);
    struct ak_uuid *ids = NULL;
    if (rc == AK_OK) {
        ids = ak_try_alloc((matches + 1) * sizeof *ids);
        rc = ids ? AK_OK : ak_fail(err, AK_NOMEM, "%llu ids", (unsigned long long)matches);
    }
    if (rc == AK_OK) {
        size_t n = ids_of(collection, bits, slots, ids);
        AK_ASSERT(n == matches);
        rc = delete_present(collection, ids, n, write, err);
    }
    ak_free(ids);
    ak_free(bits);
    return rc;
}

enum ak_rc ak_collection_delete_matching(struct ak_collection *collection,
                                         const struct ak_filter *filter, struct ak_write *write,
                                         struct ak_err *err)
{
    ak_mutex_lock(&collection->lock);
    enum ak_rc rc = check_alive(collection, err);
    if (rc == AK_OK) {
        rc = thaw(collection, err);
    }
    if (rc == AK_OK) {
        rc = delete_matching_locked(collection, filter, write, err);
    }
    ak_mutex_unlock(&collection->lock);
    return rc;
}

static enum ak_rc apply_record(struct ak_collection *collection, struct ak_record_reader *reader,
                               struct ak_err *err)
{
    const struct ak_collection_info *info = &collection->entry->info;
    enum ak_rc rc = AK_OK;
    struct ak_uuid id;
    struct ak_document doc;
    if (reader->kind == AK_RECORD_DELETE) {
        rc = thaw(collection, err);
        while (rc == AK_OK && ak_record_next_id(reader, &id, &rc, err)) {
            apply_delete(collection, &id);
        }
        return rc;
    }
    if (reader->dimension != info->dimension) {
        return ak_fail(err, AK_CORRUPT, "a log record of dimension %u for collection '%.*s' of %u",
                       reader->dimension, AK_STR_ARG(info->name), info->dimension);
    }
    rc = make_room(collection, reader->left, reader->rest.len, err);
    while (rc == AK_OK && ak_record_next_document(reader, &doc, &rc, err)) {
        rc = ak_document_check(&doc, info->dimension, info->metric, -1, err);
        if (rc != AK_OK) {
            return ak_fail(err, AK_CORRUPT, "a log record holds a document that was never valid");
        }
        apply_document(collection, &doc);
    }
    return rc;
}

enum ak_rc ak_collection_apply(struct ak_collection *collection, struct ak_record_reader *reader,
                               ak_lsn next, struct ak_err *err)
{
    ak_mutex_lock(&collection->lock);
    enum ak_rc rc = apply_record(collection, reader, err);
    if (rc == AK_OK) {
        struct ak_directory *dir = &collection->engine->directory;
        collection->applied = next;
        ak_mutex_lock(&dir->lock);
        ak_collection_recount(collection);
        ak_mutex_unlock(&dir->lock);
    }
    ak_mutex_unlock(&collection->lock);
    return rc;
}

/* --- helping the builders --- */

static uint64_t pending_max(const struct ak_collection *collection)
{
    uint64_t row = (uint64_t)collection->entry->info.dimension * sizeof(float);
    uint64_t rows = collection->engine->pending_max_bytes / row;
    return rows < 1024 ? 1024 : rows;
}

bool ak_collection_is_behind(struct ak_collection *collection)
{
    return ak_index_pending(collection->index) > pending_max(collection);
}

void ak_collection_help(struct ak_collection *collection, size_t written)
{
    enum { SHARE = 32 };
    /* Two for one: what waits gets less, and no call pays for the backlog of all others. */
    size_t left = 2 * written;
    while (left && ak_collection_is_behind(collection)) {
        uint32_t share = left < SHARE ? (uint32_t)left : SHARE;
        uint32_t built = ak_index_build_some(collection->index, share);
        ak_series_add(collection->engine->m_linked, built);
        if (built < share) {
            break; /* the builders have the rest, and keep the links */
        }
        left -= share;
    }
}

enum ak_rc ak_engine_commit(struct ak_engine *engine, ak_lsn upto, struct ak_err *err)
{
    return ak_wal_commit(engine->wal, upto, err);
}

enum ak_rc ak_engine_seal(struct ak_engine *engine, struct ak_err *err)
{
    return ak_wal_seal(engine->wal, err);
}

void ak_engine_commit_async(struct ak_engine *engine, struct ak_wal_commit *commit, ak_lsn upto)
{
    ak_wal_commit_async(engine->wal, commit, upto);
}
