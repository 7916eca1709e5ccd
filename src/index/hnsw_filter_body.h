/* hnsw_filter_body.h — the walk under a filter that leaves few rows, once per instruction set.
 *
 * Included by hnsw_search_body.h. Beside its two steps hnsw_search_<isa>.c defines
 *
 *   fresh_allowed(row, degree, visited, allow, limit, out)  the links of a row that are below
 *       `limit`, not visited and allowed, in order, into `out` (room for degree + 16); how many
 *
 * Two hops (ACORN-1: Patel et al. 2024, section 5.2; Qdrant's shape of it). Only rows that may be
 * returned are measured and enter the pool; a link to any other row is replaced by the links of
 * that row. So each hop sees up to degree² links for the price of reading them, which is a fraction
 * of the price of measuring as many rows, and the walk goes through the graph that the allowed rows
 * would have had among themselves, roughly. A row outside the filter is passed through once.
 *
 * Departure: the walk starts from the row that the descent found, which need not be allowed, and
 * from a sample of allowed rows as well. Where the filter's rows lie far from the query, the two
 * hops around the first row hold none of them; the nearest of the sample then leads there. Such
 * queries are hard (all that is left is almost equally far), so the pool is made wider for them, or
 * the rows are scanned: the first hop tells. */
#pragma once

#define HOP_ROOM (AK_HOP_ROWS + 2 * AK_DEGREE_MAX + 32)

/* Append the allowed ones of `found` to the list, marked as visited. */
static inline uint32_t take_allowed(struct ak_walk *walk, const uint32_t *found, uint32_t count,
                                    uint32_t *list, uint32_t n)
{
    struct ak_context *context = walk->context;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = found[i];
        bool seen = context->visited[slot / 64] >> (slot % 64) & 1;
        if (!seen && ak_walk_counts(walk, slot)) {
            ak_context_visit(context, slot);
            prefetch_row(&walk->measure, slot);
            list[n++] = slot;
        }
    }
    return n;
}

/* The allowed rows at one or two hops from `slot` that are met for the first time. */
static inline uint32_t two_hops(struct ak_walk *walk, uint32_t slot, uint32_t *list)
{
    struct ak_context *context = walk->context;
    uint32_t links[AK_DEGREE_MAX + 16];
    uint32_t through[AK_DEGREE_MAX];
    links[0] = 0; /* compilers do not see that it is filled */
    uint32_t count =
        fresh_links(row_of(walk, slot, 0), walk->degree, context->visited, walk->limit, links);
    uint32_t n = take_allowed(walk, links, count, list, 0);
    uint32_t ways = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t link = links[i];
        if (!(context->visited[link / 64] >> (link % 64) & 1)) {
            const char *row = (const char *)row_of(walk, link, 0);
            ak_context_visit(context, link);
            ak_prefetch(row);
            ak_prefetch(row + 64);
            through[ways++] = link;
        }
    }
    uint64_t end = walk->allow_slots < walk->limit ? walk->allow_slots : walk->limit;
    for (uint32_t i = 0; i < ways && n < AK_HOP_ROWS; i++) {
        count = fresh_allowed(row_of(walk, through[i], 0), walk->degree, context->visited,
                              walk->allow, (uint32_t)end, links);
        n = take_allowed(walk, links, count, list, n);
    }
    return n;
}

/* The hop from the first row, which shows whether the filter leaves as many rows here as elsewhere;
 * then the rows of the sample. false: it leaves fewer, and a scan is cheaper than a wider walk. */
static inline bool start_pool(struct ak_walk *walk, struct pool *pool, uint32_t seed)
{
    uint32_t list[HOP_ROOM];
    ak_context_visit(walk->context, seed);
    (void)pool_insert(pool, ak_measure_one(&walk->measure, seed), seed | AK_POOL_DONE);
    pool->eligible = ak_walk_counts(walk, seed);
    walk->distances++;
    uint32_t n = two_hops(walk, seed, list);
    walk->hops++;
    if (n < walk->first_min) {
        walk->is_far = true;
        if (walk->far_scans) {
            return false;
        }
        walk->ef = walk->far_ef;
        walk->near_growth = walk->far_growth;
    }
    pool_trim(walk, pool, true);
    (void)take_list(walk, pool, list, n, 0, true);
    n = take_allowed(walk, walk->seeds, walk->seed_count, list, 0);
    (void)take_list(walk, pool, list, n, 0, true);
    return true;
}

static void beam_two_hops(struct ak_walk *walk, uint32_t seed)
{
    struct ak_context *context = walk->context;
    struct pool pool = {.distance = context->pool_distance, .id = context->pool_id};
    pool.worst = INFINITY;
    pool.reach = INFINITY;
    pool_seal(&pool);
    if (!start_pool(walk, &pool, seed)) {
        context->pool_count = 0;
        return;
    }
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
        uint32_t list[HOP_ROOM];
        uint32_t slot = pool.id[at];
        pool.id[at] |= AK_POOL_DONE;
        uint32_t n = two_hops(walk, slot, list);
        uint32_t first = take_list(walk, &pool, list, n, 0, true);
        walk->hops++;
        at = first <= at ? first : at + 1;
    }
    context->pool_count = pool.count;
}
