/* hnsw_search_body.h — the walk, compiled once per instruction set.
 *
 * Included by hnsw_search_<isa>.c after it has defined the steps that are worth vector code:
 *
 *   fresh_links(row, degree, visited, limit, out)  the links of a row that are below `limit` and
 *       not visited, in order, into `out` (room for degree + 16); returns how many
 *   fresh_allowed(…)                               see hnsw_filter_body.h
 *   pool_rank(distances, count, distance)          how many of the sorted distances are not above
 *       `distance`; up to 16 floats past `count` may be read and are +inf
 *   pool_shift(distances, ids, count)              both one place up; there is room for 16 more
 *   pool_below(distances, count, worst)            which of up to 16 are below `worst`, as bits; 16
 *       may be read
 *
 * and the name WALK_OPS of its table.
 *
 * One hop: take the nearest row of the pool whose links were not followed; keep its unvisited
 * links; ask for all their vectors at once, so that memory works on them together; measure them
 * four at a time; insert what beats the worst of the pool, which is asked of 16 at a time. The pool
 * is two sorted arrays, distances and slots, for the comparison then runs over 16 distances at a
 * time.
 *
 * ef counts rows that may be returned. Others (tombstones, rows outside a filter) stay in the pool
 * as stepping stones and make it longer, up to `cap`.
 */
#pragma once

#define FIRST_LINES ((size_t)2) /* of every row of a hop, asked for at once */
#define CODE_LINES ((size_t)8)  /* the same, of a code: mostly all of it */
#define REST_LINES ((size_t)24) /* how far into the next four rows, while four are measured */

static inline void prefetch_row(const struct ak_measure *measure, uint32_t slot)
{
    const char *row = measure->vectors + slot * measure->stride;
    ak_prefetch(row);
    if (measure->code_query) {
        size_t end = measure->stride < CODE_LINES * 64 ? measure->stride : CODE_LINES * 64;
        for (size_t at = 64; at < end; at += 64) {
            ak_prefetch(row + at);
        }
        if (measure->code_len) { /* these rows do not begin where a line does */
            ak_prefetch(row + measure->stride - 1);
        }
        if (measure->code_terms) {
            ak_prefetch(&measure->code_terms[slot]);
        }
        return;
    }
    if (measure->stride > 64) {
        ak_prefetch(row + 64);
    }
    if (measure->scales) {
        ak_prefetch(&measure->scales[slot]);
    }
}

/* What the first hint left out. Measured, 384 dimensions: all of it at the first hint gains
 * nothing, asked for one step ahead it saves 7 % of a search. */
static inline void prefetch_rest(const struct ak_measure *measure, const uint32_t *list, uint32_t n)
{
    size_t end = measure->stride < REST_LINES * 64 ? measure->stride : REST_LINES * 64;
    for (uint32_t i = 0; i < n; i++) {
        const char *row = measure->vectors + list[i] * measure->stride;
        size_t from = (measure->code_query ? CODE_LINES : FIRST_LINES) * 64;
        for (size_t at = from; at < end; at += 64) {
            ak_prefetch(row + at);
        }
    }
}

static inline const uint32_t *row_of(const struct ak_walk *walk, uint32_t slot, uint32_t level)
{
    if (level == 0) {
        return walk->links + (size_t)slot * walk->degree;
    }
    return walk->upper + ((size_t)walk->upper_at[slot] + level - 1) * walk->upper_degree;
}

static inline void prefetch_links(const struct ak_walk *walk, uint32_t slot, uint32_t level)
{
    const uint32_t *row = row_of(walk, slot, level);
    ak_prefetch(row);
    if (level == 0 && walk->degree > 16) { /* the second line; hardware follows on */
        ak_prefetch(row + 16);
    }
}

/* --- Descent --- */

/* The nearest of one row's links when nearer than *best; false: none is. */
static bool step_nearer(struct ak_walk *walk, const uint32_t *row, uint32_t *slot, float *best)
{
    uint32_t links[AK_DEGREE_MAX + 16];
    float distances[AK_DEGREE_MAX + 16];
    uint32_t n = 0;
    for (uint32_t i = 0; i < walk->upper_degree; i++) {
        uint32_t link = ak_link_get(&row[i]);
        if (link < walk->limit) {
            links[n++] = link;
            prefetch_row(&walk->measure, link);
        }
    }
    ak_measure_rows(&walk->measure, links, n, distances);
    walk->distances += n;
    bool nearer = false;
    for (uint32_t i = 0; i < n; i++) {
        if (distances[i] < *best) {
            *best = distances[i];
            *slot = links[i];
            nearer = true;
        }
    }
    return nearer;
}

static uint32_t descend(struct ak_walk *walk, uint32_t slot, uint32_t from, uint32_t to)
{
    float best = from > to ? ak_measure_one(&walk->measure, slot) : 0.0f;
    for (uint32_t level = from; level > to; level--) {
        while (step_nearer(walk, row_of(walk, slot, level), &slot, &best)) {
            walk->hops++;
        }
    }
    return slot;
}

/* --- The pool --- */

struct pool {
    float *distance;
    uint32_t *id;
    uint32_t count;
    uint32_t eligible; /* how many count towards ef; all, in a walk without filter */
    float worst;       /* nothing at or above it is taken */
    float reach;       /* what is farther is not followed */
};

/* Keep the ends readable by vector loads: +inf behind the last. */
static inline void pool_seal(struct pool *pool)
{
    for (uint32_t i = 0; i < 16; i++) {
        pool->distance[pool->count + i] = INFINITY;
    }
}

static inline uint32_t pool_insert(struct pool *pool, float distance, uint32_t id)
{
    uint32_t at = pool_rank(pool->distance, pool->count, distance);
    uint32_t rest = pool->count - at;
    pool_shift(pool->distance + at, pool->id + at, rest);
    pool->distance[at] = distance;
    pool->id[at] = id;
    pool->count++;
    pool->distance[pool->count + 15] = INFINITY; /* as pool_seal did for the first */
    return at;
}

static inline bool pool_last_counts(const struct ak_walk *walk, const struct pool *pool)
{
    return ak_walk_counts(walk, pool->id[pool->count - 1] & ~AK_POOL_DONE);
}

/* Back within ef and cap: rows beyond the ef-th eligible one are of no use. A row removed meanwhile
 * makes the count of eligible ones too high, which costs a row at the end of the pool. */
static inline void pool_trim(const struct ak_walk *walk, struct pool *pool, bool filtered)
{
    uint32_t before = pool->count;
    if (!filtered) {
        if (pool->count > walk->ef) {
            pool->count = walk->ef;
        }
        pool->worst = pool->count == walk->ef ? pool->distance[pool->count - 1] : INFINITY;
    } else {
        while (pool->count > 0 && (pool->eligible > walk->ef || pool->count > walk->cap)) {
            pool->eligible -= pool_last_counts(walk, pool) && pool->eligible > 0;
            pool->count--;
        }
        while (pool->count > 1 && pool->eligible == walk->ef && !pool_last_counts(walk, pool)) {
            pool->count--;
        }
        bool full = pool->count > 0 && (pool->eligible >= walk->ef || pool->count >= walk->cap);
        pool->worst = full ? pool->distance[pool->count - 1] : INFINITY;
    }
    for (uint32_t i = pool->count; i < before; i++) {
        pool->distance[i] = INFINITY;
    }
    if (pool->worst > pool->reach) {
        pool->worst = pool->reach;
    }
}

/* The place of the row that the reach hangs on: under a filter where the near_rank-th of those that
 * count is; without, tombstones are already in near_rank. 0: there are not so many. */
static inline uint32_t near_place(const struct ak_walk *walk, const struct pool *pool)
{
    if (!walk->allow) {
        return walk->near_rank;
    }
    uint32_t found = 0;
    for (uint32_t at = 0; at < pool->count; at++) {
        found += ak_walk_counts(walk, pool->id[at] & ~AK_POOL_DONE);
        if (found == walk->near_rank) {
            return at + 1;
        }
    }
    return 0;
}

/* Distance-adaptive stop: see hnsw_search.c. */
static inline void pool_limit(const struct ak_walk *walk, struct pool *pool)
{
    if (walk->near_rank == 0 || pool->count < walk->near_rank ||
        pool->eligible < walk->results_min || walk->hops < walk->hops_min) {
        return;
    }
    uint32_t place = near_place(walk, pool);
    if (place == 0) {
        return;
    }
    float near = ak_measure_true(&walk->measure, pool->distance[place - 1]);
    pool->reach = ak_measure_from_true(&walk->measure, near * walk->near_growth);
    if (pool->worst > pool->reach) {
        pool->worst = pool->reach;
    }
}

/* --- The beam --- */

/* Drop what is in the list twice (a row in the middle of a rewrite), mark the rest, prefetch. All
 * of them at once: measured, asking for some and for the others while those are measured is 5 %
 * slower, and asking for the next hop's as well, before it is known, 10 %. */
static inline uint32_t visit(struct ak_walk *walk, uint32_t *list, uint32_t n)
{
    uint64_t *visited = walk->context->visited;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t slot = list[i];
        uint64_t bit = (uint64_t)1 << (slot % 64);
        bool seen = visited[slot / 64] & bit;
        visited[slot / 64] |= bit;
        list[kept] = slot;
        kept += !seen;
        prefetch_row(&walk->measure, slot);
    }
    return kept;
}

/* Where this hop's list goes: the end of the touched list, which so records it by itself. */
static inline uint32_t *touched_room(struct ak_walk *walk)
{
    struct ak_context *context = walk->context;
    if (context->touched_count + AK_DEGREE_MAX + 16 > context->touched_cap) {
        context->touched_over = true;
        context->touched_count = 0;
    }
    return context->touched + context->touched_count;
}

static inline uint32_t take_list(struct ak_walk *walk, struct pool *pool, const uint32_t *list,
                                 uint32_t n, uint32_t level, bool filtered)
{
    uint32_t first = UINT32_MAX;
    _Alignas(64) float distances[16] = {0};
    for (uint32_t from = 0; from < n; from += 16) {
        uint32_t some = n - from < 16 ? n - from : 16;
        for (uint32_t i = 0; i < some; i += 4) {
            uint32_t at = from + i;
            uint32_t four = n - at < 4 ? n - at : 4;
            uint32_t left = n - at - four;
            prefetch_rest(&walk->measure, list + at + four, left < 4 ? left : 4);
            ak_measure_rows(&walk->measure, list + at, four, distances + i);
        }
        for (uint32_t near = pool_below(distances, some, pool->worst); near; near &= near - 1) {
            uint32_t i = (uint32_t)__builtin_ctz(near);
            uint32_t slot = list[from + i];
            if (!(distances[i] < pool->worst)) {
                continue;
            }
            prefetch_links(walk, slot, level);
            pool->eligible += !filtered || ak_walk_counts(walk, slot);
            uint32_t at = pool_insert(pool, distances[i], slot);
            pool_trim(walk, pool, filtered);
            first = at < first ? at : first;
        }
    }
    walk->distances += n;
    return first;
}

static inline void run_beam(struct ak_walk *walk, uint32_t seed, uint32_t level, bool filtered)
{
    struct ak_context *context = walk->context;
    struct pool pool = {.distance = context->pool_distance, .id = context->pool_id};
    uint32_t degree = level ? walk->upper_degree : walk->degree;
    pool.worst = INFINITY;
    pool.reach = INFINITY;
    pool_seal(&pool);
    ak_context_visit(context, seed);
    (void)pool_insert(&pool, ak_measure_one(&walk->measure, seed), seed);
    pool.eligible = !filtered || ak_walk_counts(walk, seed);
    pool_trim(walk, &pool, filtered);
    walk->distances++;
    uint32_t at = 0;
    while (at < pool.count) {
        if (pool.id[at] & AK_POOL_DONE) {
            at++;
            continue;
        }
        pool_limit(walk, &pool);
        if (pool.distance[at] > pool.reach) {
            break;
        }
        uint32_t slot = pool.id[at];
        pool.id[at] |= AK_POOL_DONE;
        uint32_t *list = touched_room(walk);
        uint32_t n =
            fresh_links(row_of(walk, slot, level), degree, context->visited, walk->limit, list);
        n = visit(walk, list, n);
        context->touched_count += n;
        uint32_t first = take_list(walk, &pool, list, n, level, filtered);
        walk->hops++;
        at = first <= at ? first : at + 1;
    }
    context->pool_count = pool.count;
}

static void beam(struct ak_walk *walk, uint32_t seed, uint32_t level)
{
    if (walk->dead || walk->allow) {
        run_beam(walk, seed, level, true);
    } else {
        run_beam(walk, seed, level, false);
    }
}

#include "index/hnsw_filter_body.h"

const struct ak_walk_ops WALK_OPS = {
    .descend = descend, .beam = beam, .beam_two_hops = beam_two_hops};
