/* vacuum.c — the space of deleted documents comes back: documents move from the highest slots into
 * free ones, and what is free behind the last document is given back.
 *
 * Nothing is logged, for nothing changes that a log would tell: id, vector, time, texts stay the
 * same bit for bit. A crash forgets the moves; an image is written between two batches only, since
 * both happen under keeper.work, and then every document lies in one slot.
 *
 * One batch (index/moves.c has the index's side of it):
 *
 *     lock    free slots are taken
 *     lock    a few vectors are copied, columns read the metadata; again until all are
 *                                                                       [vacuum_before_show]
 *     lock    show: ids lead to the new slots, both slots are live, `doubled` counts them
 *             the epoch passes                                          [vacuum_after_show]
 *     lock    switch
 *             links are moved, the epoch passes                         [vacuum_after_switch]
 *     lock    end: only the new slots are live                          [vacuum_after_end]
 *
 * and at the end
 *
 *     lock    the free slots behind the last document are cut off
 *             the epoch passes                                          [vacuum_after_cut]
 *     lock    their memory is given back                                [vacuum_after_give_back]
 *
 * where [name] is a crash point and lock is the writer's, held for well below a millisecond each
 * time (a builder that is linking a row is waited for: another).
 *
 * S1  A search never misses a document for being moved: see M1 to M3 of moves.c. It may find it
 *     twice, from show to end: it asks for `doubled` more and drops twins by their ids (read.c).
 * S2  What looks at slots under the writer lock (scroll, count, delete by filter) takes the old
 *     slots out of its bitmap: ak_vacuum_hide().
 * S3  What removes a document under the writer lock removes it at both: ak_vacuum_forget().
 * S4  Texts are not copied, both slots refer to the same bytes; so no compaction goes on meanwhile
 *     (docs->doubled).
 * S5  The log: a collection that was cut counts as dirty by links, so that an image of the new size
 *     is written when the vacuum is over, if it has an image; the record positions that it covers
 *     are those of any checkpoint, and log segments go by the same rule.
 */
#include "base/fault.h"
#include "base/mem.h"
#include "engine/engine_priv.h"
#include <sched.h>
#include <stdlib.h>

#define BATCH 2048u           /* documents that lie in two slots at a time */
#define STAGE 64u             /* vectors copied under one hold of the writer lock */
#define BATCHES 4u            /* of a share: other duties of the keeper come between */
#define WASTE_MIN (64u << 10) /* bytes of rows without documents that are worth a vacuum */
#define REPAIR_SHARE 4u /* removed rows, of those without a document, that are repaired first */

/* --- What others ask --- */

static int by_new_slot(const void *a, const void *b)
{
    uint32_t x = ((const struct ak_index_move *)a)->to;
    uint32_t y = ((const struct ak_index_move *)b)->to;
    return (x > y) - (x < y);
}

void ak_vacuum_forget(struct ak_collection *collection, uint32_t slot)
{
    if (collection->ways) {
        const struct ak_index_move key = {.to = slot};
        const struct ak_index_move *way = bsearch(&key, collection->ways, collection->ways_count,
                                                  sizeof *collection->ways, by_new_slot);
        if (way) {
            ak_index_remove(collection->index, way->from);
        }
    }
}

uint64_t ak_vacuum_hide(const struct ak_collection *collection, uint64_t *bits, uint64_t slots)
{
    uint64_t hidden = 0;
    for (uint32_t i = 0; i < collection->ways_count; i++) {
        uint32_t from = collection->ways[i].from;
        if (from < slots && (bits[from / 64] >> (from % 64) & 1)) {
            bits[from / 64] &= ~((uint64_t)1 << (from % 64));
            hidden++;
        }
    }
    return hidden;
}

static uint64_t slots_wasted(const struct ak_collection *collection)
{
    return ak_index_tombstones(collection->index) + ak_index_free(collection->index);
}

bool ak_vacuum_is_due(const struct ak_engine *engine, const struct ak_collection *collection)
{
    uint64_t wasted = slots_wasted(collection);
    uint64_t slots = ak_index_slots(collection->index);
    uint64_t row = (uint64_t)collection->entry->info.dimension * sizeof(float);
    return wasted * row >= WASTE_MIN && wasted * 100 >= slots * engine->vacuum_percent;
}

/* --- One batch --- */

static void set_columns(struct ak_collection *collection, const struct ak_index_moves *moves,
                        uint32_t from, uint32_t to)
{
    uint32_t count = 0;
    const struct ak_index_move *list = ak_index_moves_list(moves, &count);
    for (uint32_t i = from; i < to; i++) {
        if (list[i].to != UINT32_MAX) {
            ak_columns_set(collection->columns, list[i].to,
                           ak_docs_metadata(&collection->docs, list[i].from));
        }
    }
}

static void stage(struct ak_collection *collection, struct ak_index_moves *moves)
{
    uint32_t count = 0;
    uint32_t staged = 0;
    (void)ak_index_moves_list(moves, &count);
    while (staged < count) {
        ak_mutex_lock(&collection->lock);
        uint32_t now = ak_index_moves_stage(moves, STAGE);
        set_columns(collection, moves, staged, now);
        ak_mutex_unlock(&collection->lock);
        staged = now;
        (void)sched_yield(); /* writers that wait for the lock come first */
    }
}

/* From here both slots are live. `ways` is the collection's until hide_again(). */
static enum ak_rc show(struct ak_collection *collection, struct ak_index_moves *moves,
                       struct ak_index_move *ways, uint32_t *shown, struct ak_err *err)
{
    uint32_t count = 0;
    ak_mutex_lock(&collection->lock);
    enum ak_rc rc = ak_index_moves_ready(moves, err);
    const struct ak_index_move *list = ak_index_moves_list(moves, &count);
    uint32_t n = 0;
    for (uint32_t i = 0; i < count && rc == AK_OK; i++) {
        if (list[i].to != UINT32_MAX) {
            ak_docs_move(&collection->docs, list[i].from, list[i].to);
            ways[n++] = list[i];
        }
    }
    if (rc == AK_OK) {
        qsort(ways, n, sizeof *ways, by_new_slot);
        collection->ways = ways;
        collection->ways_count = n;
        collection->docs.doubled = n;
        atomic_store(&collection->doubled, n); /* before: who sees a twin knows of it */
        ak_index_moves_show(moves);
        *shown = n;
    }
    ak_mutex_unlock(&collection->lock);
    return rc;
}

static void end(struct ak_collection *collection, struct ak_index_moves *moves)
{
    ak_mutex_lock(&collection->lock);
    ak_index_moves_end(moves);
    collection->ways = NULL;
    collection->ways_count = 0;
    collection->docs.doubled = 0;
    atomic_store(&collection->doubled, 0);
    ak_mutex_unlock(&collection->lock);
}

static void link_rest(struct ak_engine *engine, struct ak_collection *collection)
{
    struct ak_directory *dir = &engine->directory;
    if (ak_index_pending(collection->index)) {
        ak_mutex_lock(&dir->lock);
        collection->refs++;
        ak_builders_want(collection);
        ak_mutex_unlock(&dir->lock);
    }
}

/* *moved: how many documents; 0: there is none to move, or not now. */
static enum ak_rc move_batch(struct ak_engine *engine, struct ak_collection *collection,
                             uint32_t *moved, struct ak_err *err)
{
    struct ak_index *index = collection->index;
    struct ak_index_moves *moves = NULL;
    struct ak_index_move *ways = ak_try_alloc(BATCH * sizeof *ways);
    *moved = 0;
    if (!ways) {
        return ak_fail(err, AK_NOMEM, "moves of %u documents", BATCH);
    }
    ak_mutex_lock(&collection->lock);
    enum ak_rc rc = ak_index_moves_begin(index, BATCH, &moves, err);
    ak_mutex_unlock(&collection->lock);
    if (rc != AK_OK || !moves) {
        ak_free(ways);
        return rc;
    }
    stage(collection, moves);
    ak_crash_point("vacuum_before_show");
    rc = show(collection, moves, ways, moved, err);
    if (rc == AK_OK) {
        ak_crash_point("vacuum_after_show");
        ak_epoch_wait(engine->epoch);
        ak_mutex_lock(&collection->lock);
        ak_index_moves_switch(moves);
        ak_mutex_unlock(&collection->lock);
        ak_crash_point("vacuum_after_switch");
        ak_index_moves_relink(moves);
        ak_epoch_wait(engine->epoch);
        end(collection, moves);
        ak_crash_point("vacuum_after_end");
        link_rest(engine, collection);
    } else {
        ak_mutex_lock(&collection->lock);
        ak_index_moves_drop(moves);
        ak_mutex_unlock(&collection->lock);
    }
    (void)ak_epoch_collect(engine->epoch);
    ak_free(ways);
    return rc == AK_CONFLICT ? AK_OK : rc;
}

/* --- Giving back --- */

static size_t bytes_of(struct ak_collection *collection)
{
    struct ak_directory *dir = &collection->engine->directory;
    ak_mutex_lock(&dir->lock);
    ak_collection_recount(collection);
    size_t bytes = ak_collection_bytes(collection);
    ak_mutex_unlock(&dir->lock);
    return bytes;
}

/* Returns how many slots. */
static uint64_t cut(struct ak_engine *engine, struct ak_collection *collection)
{
    struct ak_directory *dir = &engine->directory;
    struct ak_index *index = collection->index;
    (void)ak_epoch_collect(engine->epoch);
    ak_mutex_lock(&collection->lock);
    size_t before = bytes_of(collection);
    uint64_t slots = ak_index_cut(index);
    if (slots) {
        ak_docs_cut(&collection->docs, ak_index_slots(index));
    }
    ak_mutex_unlock(&collection->lock);
    if (slots == 0) {
        return 0;
    }
    ak_crash_point("vacuum_after_cut");
    ak_epoch_wait(engine->epoch);
    ak_mutex_lock(&collection->lock);
    ak_index_give_back(index);
    ak_docs_give_back(&collection->docs);
    ak_columns_cut(collection->columns, ak_index_slots(index));
    size_t after = bytes_of(collection);
    ak_mutex_unlock(&collection->lock);
    ak_collection_keep_links(collection);
    ak_mutex_lock(&dir->lock);
    collection->is_vacuumed = true;
    ak_mutex_unlock(&dir->lock);
    engine->wants_images = true;
    atomic_store_explicit(&engine->wants_trim, true, memory_order_relaxed);
    ak_crash_point("vacuum_after_give_back");
    ak_series_add(engine->m_vacuum_bytes, before > after ? before - after : 0);
    return slots;
}

/* --- A share --- */

static bool is_stopping(struct ak_engine *engine)
{
    ak_mutex_lock(&engine->keeper.lock);
    bool stop = engine->keeper.stop;
    ak_mutex_unlock(&engine->keeper.lock);
    return stop;
}

static enum ak_rc move_some(struct ak_engine *engine, struct ak_collection *collection,
                            uint64_t *moved, struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    uint32_t more = 1;
    for (unsigned i = 0; i < BATCHES && rc == AK_OK && more && !is_stopping(engine); i++) {
        rc = move_batch(engine, collection, &more, err);
        *moved += more;
    }
    ak_series_add(engine->m_vacuum_moved, *moved);
    return rc;
}

/* *progress: it did something. */
static enum ak_rc share(struct ak_engine *engine, struct ak_collection *collection, bool *progress,
                        struct ak_err *err)
{
    struct ak_index *index = collection->index;
    uint64_t moved = 0;
    *progress = false;
    enum ak_rc rc = ak_collection_thaw(collection, err);
    if (rc == AK_OK && ak_index_tombstones(index) * REPAIR_SHARE > slots_wasted(collection)) {
        rc = ak_collection_repair(collection, err);
        (void)ak_epoch_collect(engine->epoch);
    }
    if (rc == AK_OK) {
        ak_collection_renew(collection); /* no slot is given back under codes in the making */
        rc = move_some(engine, collection, &moved, err);
    }
    if (rc == AK_OK && moved == 0 && ak_index_tombstones(index)) {
        rc = ak_collection_repair(collection, err); /* they may be what lies at the end */
    }
    if (rc != AK_OK) {
        return rc;
    }
    /* Only at the end, when hardly a free slot is left in front: the fewer rows have to be looked
     * at for links that lead past the new end. */
    *progress = moved > 0 || cut(engine, collection) > 0;
    return AK_OK;
}

bool ak_vacuum_share(struct ak_engine *engine, struct ak_collection *collection)
{
    struct ak_err err;
    bool progress = false;
    enum ak_rc rc = share(engine, collection, &progress, &err);
    if (rc != AK_OK) {
        ak_log_warn(engine->log, "engine",
                    "the space of documents deleted from '%.*s' stays for now: %s",
                    AK_STR_ARG(collection->entry->info.name), err.text);
    }
    return progress;
}

enum ak_rc ak_engine_vacuum(struct ak_engine *engine, struct ak_collection *collection,
                            struct ak_err *err)
{
    bool progress = true;
    enum ak_rc rc = AK_OK;
    while (rc == AK_OK && progress) {
        ak_mutex_lock(&engine->keeper.work);
        rc = share(engine, collection, &progress, err);
        ak_mutex_unlock(&engine->keeper.work);
    }
    return rc;
}
