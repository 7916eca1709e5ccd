/* read.c — search, fetch, scroll, count: inside the epoch; a search takes a lock only when
 * documents that move keep it from finding as many as there are.
 *
 * What a reader returns is copied into the caller's arena before it leaves the epoch, so a slot
 * that is reused or text that is rewritten afterwards cannot be seen.
 */
#include "base/limits.h"
#include "base/mem.h"
#include "engine/engine_priv.h"
#include <math.h>
#include <string.h>

static enum ak_rc no_memory(struct ak_err *err)
{
    return ak_fail(err, AK_NOMEM, "no memory for the results");
}

/* Copy one slot's document. */
static enum ak_rc gather(const struct ak_collection *collection, uint32_t slot, unsigned include,
                         struct ak_arena *arena, struct ak_found *found, struct ak_err *err)
{
    const struct ak_docs *docs = &collection->docs;
    found->id = *ak_docs_id(docs, slot);
    found->inserted_us = ak_docs_time(docs, slot);
    found->external_id = found->metadata = AK_STR_NONE;
    found->vector = NULL;
    if (include & AK_INCLUDE_EXTERNAL_ID) {
        struct ak_str text = ak_docs_external_id(docs, slot);
        found->external_id = text.len ? ak_arena_str(arena, text) : AK_STR_NONE;
        if (text.len && !found->external_id.p) {
            return no_memory(err);
        }
    }
    if (include & AK_INCLUDE_METADATA) {
        struct ak_str text = ak_docs_metadata(docs, slot);
        found->metadata = text.len ? ak_arena_str(arena, text) : AK_STR_NONE;
        if (text.len && !found->metadata.p) {
            return no_memory(err);
        }
    }
    if (include & AK_INCLUDE_VECTOR) {
        size_t bytes = collection->entry->info.dimension * sizeof(float);
        float *vector = ak_arena_alloc(arena, bytes);
        if (!vector) {
            return no_memory(err);
        }
        memcpy(vector, ak_index_vector(collection->index, slot), bytes);
        found->vector = vector;
    }
    return AK_OK;
}

/* Bitmap of live slots below *slots that match `filter` (all live ones when NULL). */
static enum ak_rc match(struct ak_collection *collection, const struct ak_filter *filter,
                        struct ak_arena *arena, uint64_t **bits, uint64_t *slots, uint64_t *matches,
                        struct ak_err *err)
{
    *slots = ak_index_slots(collection->index);
    size_t words = (size_t)(*slots + 63) / 64;
    uint64_t *live = ak_arena_alloc(arena, (words + 1) * sizeof *live);
    uint64_t *out = filter ? ak_arena_alloc(arena, (words + 1) * sizeof *out) : live;
    if (!live || !out) {
        return no_memory(err);
    }
    ak_index_live_bitmap(collection->index, live, *slots);
    *bits = out;
    if (filter) {
        return ak_columns_match(collection->columns, filter, *slots, live, out, matches, err);
    }
    *matches = 0;
    for (size_t w = 0; w < words; w++) {
        *matches += (uint64_t)__builtin_popcountll(live[w]);
    }
    return AK_OK;
}

static enum ak_rc check_search(const struct ak_collection *collection,
                               const struct ak_search *search, struct ak_err *err)
{
    const struct ak_collection_info *info = &collection->entry->info;
    const struct ak_document probe = {.vector = search->vector};
    if (search->k < 1 || search->k > AK_K_MAX) {
        return ak_fail(err, AK_INVALID, "k is %u; allowed are 1 to %d", search->k, AK_K_MAX);
    }
    if (search->ef > AK_EF_MAX) {
        return ak_fail(err, AK_INVALID, "ef is %u; allowed are 1 to %d", search->ef, AK_EF_MAX);
    }
    if (!(search->recall >= 0.0 && search->recall <= 1.0)) {
        return ak_fail(err, AK_INVALID, "recall is %g; it takes a share above 0, up to 1",
                       search->recall);
    }
    return ak_document_check(&probe, info->dimension, info->metric, -1, err);
}

static bool beyond_threshold(const struct ak_search *search, enum ak_metric metric, float score)
{
    if (!search->has_threshold) {
        return false;
    }
    return metric == AK_METRIC_L2 ? score > search->threshold : score < search->threshold;
}

static enum ak_rc gather_hits(struct ak_collection *collection, const struct ak_search *search,
                              const struct ak_hit *hits, uint32_t n, struct ak_arena *arena,
                              struct ak_found **found, uint32_t *count, struct ak_err *err)
{
    enum ak_metric metric = collection->entry->info.metric;
    struct ak_found *out = ak_arena_alloc(arena, (n + 1u) * sizeof *out);
    if (!out) {
        return no_memory(err);
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n && !beyond_threshold(search, metric, hits[i].score); i++) {
        enum ak_rc rc = gather(collection, hits[i].slot, search->include, arena, &out[kept], err);
        if (rc != AK_OK) {
            return rc;
        }
        out[kept++].score = hits[i].score;
    }
    *found = out;
    *count = kept;
    return AK_OK;
}

/* What one search carries from look to look. */
struct look {
    struct ak_index_query query;
    struct ak_index_effort effort;
    struct ak_hit *hits; /* 2 k + 1 */
    uint32_t n;
    uint32_t twice;     /* documents that were found in both their slots */
    uint64_t distances; /* of all looks */
};

/* A document that is written anew, or on its way to another slot, may be found in both: the nearer
 * one stays. By a table, for with many rows of one score comparing each with each takes long. */
static enum ak_rc drop_twins(const struct ak_collection *collection, uint32_t k,
                             struct ak_arena *arena, struct look *look, struct ak_err *err)
{
    struct ak_hit *hits = look->hits;
    uint32_t cells = 16;
    uint32_t kept = 0;
    while (cells < 2 * look->n) {
        cells *= 2;
    }
    uint32_t *table = ak_arena_alloc(arena, cells * sizeof *table); /* place among kept, and 1 */
    if (!table) {
        return no_memory(err);
    }
    memset(table, 0, cells * sizeof *table);
    for (uint32_t i = 0; i < look->n; i++) {
        const struct ak_uuid *id = ak_docs_id(&collection->docs, hits[i].slot);
        uint32_t at = (uint32_t)ak_uuid_hash(id) & (cells - 1);
        while (table[at] &&
               !ak_uuid_eq(id, ak_docs_id(&collection->docs, hits[table[at] - 1].slot))) {
            at = (at + 1) & (cells - 1);
        }
        if (!table[at]) {
            hits[kept++] = hits[i];
            table[at] = kept;
        }
    }
    look->twice = look->n - kept;
    look->n = kept < k ? kept : k;
    return AK_OK;
}

static enum ak_rc find_eligible(struct ak_collection *collection, const struct ak_search *search,
                                struct ak_arena *arena, struct look *look, uint64_t there,
                                struct ak_err *err)
{
    look->n = look->twice = 0;
    look->effort = (struct ak_index_effort){.was_exact = true}; /* of no rows, all were looked at */
    if (there == 0) {
        return AK_OK;
    }
    if (!look->hits) {
        look->hits = ak_arena_alloc(arena, (2 * (size_t)search->k + 1) * sizeof *look->hits);
    }
    if (!look->hits) {
        return no_memory(err);
    }
    enum ak_rc rc =
        ak_index_search(collection->index, &look->query, look->hits, &look->n, &look->effort, err);
    look->distances += look->effort.distances;
    return rc;
}

/* One look without a lock. *missed: a document that was there all the time may not be among the
 * hits, because it was written anew meanwhile and went from where the look had not been yet to
 * where it had been, or past its end; or because more of them than were expected were found twice.
 */
static enum ak_rc find_hits(struct ak_collection *collection, const struct ak_search *search,
                            struct ak_arena *arena, struct look *look, bool *missed,
                            struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    uint64_t moved = atomic_load(&collection->moved);
    uint32_t doubled = atomic_load(&collection->doubled);
    uint32_t more = doubled < search->k ? doubled : search->k; /* k are left without twins */
    look->query.k = search->k < AK_K_MAX - more ? search->k + more : AK_K_MAX;
    if (search->filter) {
        uint64_t *bits = NULL;
        rc = match(collection, search->filter, arena, &bits, &look->query.allow_slots,
                   &look->query.allow_count, err);
        look->query.allow = bits;
    }
    ak_calibration_choose(collection, search, &look->query);
    uint64_t live = ak_index_live(collection->index);
    if (rc == AK_OK) {
        rc = find_eligible(collection, search, arena, look,
                           search->filter ? look->query.allow_count : live, err);
    }
    atomic_thread_fence(memory_order_acquire);
    bool has_moved = atomic_load(&collection->moved) != moved;
    if (rc == AK_OK && (more > 0 || has_moved || atomic_load(&collection->doubled) > 0)) {
        rc = drop_twins(collection, search->k, arena, look, err);
    }
    uint64_t wanted = search->filter || live > search->k ? search->k : live;
    *missed = rc == AK_OK && look->n < wanted && (look->twice > 0 || has_moved);
    return rc;
}

static enum ak_rc give_hits(struct ak_collection *collection, const struct ak_search *search,
                            const struct look *look, struct ak_arena *arena,
                            struct ak_found **found, uint32_t *count, bool *calibrate,
                            struct ak_err *err)
{
    if (search->effort) {
        search->effort->distances = look->distances;
        search->effort->was_exact = look->effort.was_exact;
    }
    *found = NULL;
    *count = 0;
    if (look->n == 0) {
        return AK_OK;
    }
    ak_series_add(collection->engine->m_search_distances, look->distances);
    ak_series_add(collection->engine->m_search_exact, look->effort.was_exact);
    *calibrate = ak_calibration_note(collection, search, look->distances);
    return gather_hits(collection, search, look->hits, look->n, arena, found, count, err);
}

/* The matching slots at one instant; the epoch is entered so that they stay readable. Under the
 * writer lock an upsert cannot move a document between the bitmap and the look at it. */
static enum ak_rc match_at_instant(struct ak_collection *collection, const struct ak_filter *filter,
                                   struct ak_arena *arena, uint64_t **bits, uint64_t *slots,
                                   uint64_t *matches, unsigned *token, struct ak_err *err)
{
    ak_mutex_lock(&collection->lock);
    enum ak_rc rc = match(collection, filter, arena, bits, slots, matches, err);
    if (rc == AK_OK) {
        *matches -= ak_vacuum_hide(collection, *bits, *slots);
    }
    *token = ak_epoch_enter(collection->engine->epoch);
    ak_mutex_unlock(&collection->lock);
    return rc;
}

/* Looks without a lock; then the documents of one instant are searched, which nothing moves. */
#define LOOKS_FREE 2

static enum ak_rc search_checked(struct ak_collection *collection, const struct ak_search *search,
                                 struct ak_arena *arena, struct ak_found **found, uint32_t *count,
                                 bool *calibrate, struct ak_err *err)
{
    struct look look = {.query = {.vector = search->vector, .k = search->k}};
    enum ak_rc rc = AK_OK;
    bool missed = true;
    for (int looks = 0; rc == AK_OK && missed && looks < LOOKS_FREE; looks++) {
        unsigned token = ak_epoch_enter(collection->engine->epoch);
        rc = find_hits(collection, search, arena, &look, &missed, err);
        if (rc == AK_OK && !missed) {
            rc = give_hits(collection, search, &look, arena, found, count, calibrate, err);
        }
        ak_epoch_leave(collection->engine->epoch, token);
    }
    if (rc == AK_OK && missed) {
        uint64_t *bits = NULL;
        unsigned token = 0;
        rc = match_at_instant(collection, search->filter, arena, &bits, &look.query.allow_slots,
                              &look.query.allow_count, &token, err);
        look.query.allow = bits;
        look.query.as_allowed = true;
        look.query.k = search->k;
        if (rc == AK_OK) {
            rc = find_eligible(collection, search, arena, &look, look.query.allow_count, err);
        }
        if (rc == AK_OK) {
            rc = give_hits(collection, search, &look, arena, found, count, calibrate, err);
        }
        ak_epoch_leave(collection->engine->epoch, token);
    }
    return rc;
}

enum ak_rc ak_collection_search(struct ak_collection *collection, const struct ak_search *search,
                                struct ak_arena *arena, struct ak_found **found, uint32_t *count,
                                struct ak_err *err)
{
    enum ak_rc rc = check_search(collection, search, err);
    bool calibrate = false;
    bool is_borrowed = atomic_load_explicit(&collection->is_borrowed, memory_order_relaxed);
    struct ak_memory_faults before;
    if (is_borrowed) {
        ak_pages_before_search(collection, &before);
    }
    if (rc == AK_OK) {
        rc = search_checked(collection, search, arena, found, count, &calibrate, err);
    }
    if (is_borrowed) {
        ak_pages_after_search(collection, &before);
    }
    if (calibrate) {
        ak_calibration_start(collection);
    }
    return rc;
}

uint64_t ak_collection_search_cost(struct ak_collection *collection, const struct ak_search *search)
{
    struct ak_index_query query = {.vector = search->vector, .k = search->k ? search->k : 1};
    unsigned token = ak_epoch_enter(collection->engine->epoch);
    ak_calibration_choose(collection, search, &query);
    ak_epoch_leave(collection->engine->epoch, token);
    uint64_t cost = ak_index_cost(collection->index, &query);
    return search->filter ? cost + ak_index_slots(collection->index) / 16 : cost;
}

/* The map has one owner at a time, so a document is found under the writer lock. The epoch is
 * entered before the lock is left (what was found stays readable) and never the other way round: a
 * writer that compacts waits for readers while it holds the lock. */
static enum ak_rc find_slot(struct ak_collection *collection, const struct ak_uuid *id,
                            uint32_t *slot, unsigned *token, struct ak_err *err)
{
    ak_mutex_lock(&collection->lock);
    enum ak_rc rc = ak_docs_index(&collection->docs, collection->index, err);
    *slot = rc == AK_OK ? ak_docs_find(&collection->docs, id) : AK_MAP_NONE;
    *token = ak_epoch_enter(collection->engine->epoch);
    ak_mutex_unlock(&collection->lock);
    if (rc == AK_OK && *slot == AK_MAP_NONE) {
        char text[AK_UUID_TEXT_LEN];
        ak_uuid_format(id, text);
        rc = ak_fail(err, AK_NOT_FOUND, "no document %.36s in collection '%.*s'", text,
                     AK_STR_ARG(collection->entry->info.name));
    }
    return rc;
}

enum ak_rc ak_collection_fetch(struct ak_collection *collection, const struct ak_uuid *id,
                               unsigned include, struct ak_arena *arena, struct ak_found *found,
                               struct ak_err *err)
{
    uint32_t slot = 0;
    unsigned token = 0;
    enum ak_rc rc = find_slot(collection, id, &slot, &token, err);
    if (rc == AK_OK) {
        rc = gather(collection, slot, include, arena, found, err);
        found->score = 0;
    }
    ak_epoch_leave(collection->engine->epoch, token);
    return rc;
}

/* --- scroll: the `limit` smallest ids after the cursor, by a heap with the largest on top --- */

struct pick {
    struct ak_uuid id;
    uint32_t slot;
};

static int by_id(const struct pick *a, const struct pick *b)
{
    return memcmp(a->id.b, b->id.b, sizeof a->id.b);
}

static void sift_down(struct pick *heap, uint32_t n, uint32_t at)
{
    for (;;) {
        uint32_t largest = at;
        for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < n; child++) {
            largest = by_id(&heap[child], &heap[largest]) > 0 ? child : largest;
        }
        if (largest == at) {
            return;
        }
        struct pick swap = heap[at];
        heap[at] = heap[largest];
        heap[largest] = swap;
        at = largest;
    }
}

static void sift_up(struct pick *heap, uint32_t at)
{
    while (at && by_id(&heap[at], &heap[(at - 1) / 2]) > 0) {
        struct pick swap = heap[at];
        heap[at] = heap[(at - 1) / 2];
        heap[(at - 1) / 2] = swap;
        at = (at - 1) / 2;
    }
}

static void offer(struct pick *heap, uint32_t *n, uint32_t limit, const struct pick *one)
{
    if (*n < limit) {
        heap[*n] = *one;
        sift_up(heap, (*n)++);
    } else if (by_id(one, &heap[0]) < 0) {
        heap[0] = *one;
        sift_down(heap, limit, 0);
    }
}

/* Ascending by id, in place (the heap's own sort). */
static void sort_heap(struct pick *heap, uint32_t n)
{
    for (uint32_t end = n; end > 1; end--) {
        struct pick swap = heap[0];
        heap[0] = heap[end - 1];
        heap[end - 1] = swap;
        sift_down(heap, end - 1, 0);
    }
}

static uint32_t pick_page(const struct ak_collection *collection, const uint64_t *bits,
                          uint64_t slots, const struct ak_uuid *after, uint32_t limit,
                          struct pick *heap)
{
    uint32_t n = 0;
    for (uint64_t w = 0; w < (slots + 63) / 64; w++) {
        for (uint64_t left = bits[w]; left; left &= left - 1) {
            struct pick one = {.slot = (uint32_t)(w * 64 + (unsigned)__builtin_ctzll(left))};
            one.id = *ak_docs_id(&collection->docs, one.slot);
            if (!after || memcmp(one.id.b, after->b, sizeof one.id.b) > 0) {
                offer(heap, &n, limit, &one);
            }
        }
    }
    sort_heap(heap, n);
    return n;
}

static enum ak_rc gather_page(struct ak_collection *collection, const struct pick *page, uint32_t n,
                              unsigned include, struct ak_arena *arena, struct ak_found *out,
                              struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    for (uint32_t i = 0; rc == AK_OK && i < n; i++) {
        rc = gather(collection, page[i].slot, include, arena, &out[i], err);
        out[i].score = 0;
    }
    return rc;
}

enum ak_rc ak_collection_scroll(struct ak_collection *collection, const struct ak_uuid *after,
                                uint32_t limit, const struct ak_filter *filter, unsigned include,
                                struct ak_arena *arena, struct ak_found **found, uint32_t *count,
                                struct ak_err *err)
{
    uint64_t *bits = NULL;
    uint64_t slots = 0;
    uint64_t matches = 0;
    unsigned token = 0;
    if (limit < 1 || limit > AK_SCROLL_MAX) {
        return ak_fail(err, AK_INVALID, "limit is %u; allowed are 1 to %d", limit, AK_SCROLL_MAX);
    }
    enum ak_rc rc =
        match_at_instant(collection, filter, arena, &bits, &slots, &matches, &token, err);
    uint32_t most = limit < matches ? limit : (uint32_t)matches;
    struct pick *page = ak_arena_alloc(arena, (most + 1u) * sizeof *page);
    struct ak_found *out = ak_arena_alloc(arena, (most + 1u) * sizeof *out);
    if (rc == AK_OK && (!page || !out)) {
        rc = no_memory(err);
    }
    uint32_t n = 0;
    if (rc == AK_OK && most) {
        n = pick_page(collection, bits, slots, after, most, page);
        rc = gather_page(collection, page, n, include, arena, out, err);
    }
    ak_epoch_leave(collection->engine->epoch, token);
    if (rc == AK_OK) {
        *found = out;
        *count = n;
    }
    return rc;
}

enum ak_rc ak_collection_count(struct ak_collection *collection, const struct ak_filter *filter,
                               uint64_t *count, struct ak_err *err)
{
    if (!filter) {
        *count = atomic_load(&collection->documents);
        return AK_OK;
    }
    struct ak_arena arena;
    uint64_t *bits = NULL;
    uint64_t slots = 0;
    unsigned token = 0;
    ak_arena_init(&arena, 0);
    enum ak_rc rc = match_at_instant(collection, filter, &arena, &bits, &slots, count, &token, err);
    ak_epoch_leave(collection->engine->epoch, token);
    ak_arena_release(&arena);
    return rc;
}
