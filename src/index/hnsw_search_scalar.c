/* hnsw_search_scalar.c — the walk for any processor, and for ThreadSanitizer: links are read one by
 * one, by atomic loads. */
#include "index/index_priv.h"

static uint32_t fresh_links(const uint32_t *row, uint32_t degree, const uint64_t *visited,
                            uint32_t limit, uint32_t *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < degree; i++) {
        uint32_t slot = ak_link_get(&row[i]);
        if (slot >= limit) {
            continue;
        }
        out[n] = slot;
        n += !(visited[slot / 64] >> (slot % 64) & 1);
    }
    return n;
}

static uint32_t fresh_allowed(const uint32_t *row, uint32_t degree, const uint64_t *visited,
                              const uint64_t *allow, uint32_t limit, uint32_t *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < degree; i++) {
        uint32_t slot = ak_link_get(&row[i]);
        if (slot >= limit) {
            continue;
        }
        out[n] = slot;
        uint64_t fresh = allow[slot / 64] & ~visited[slot / 64];
        n += (uint32_t)(fresh >> (slot % 64) & 1);
    }
    return n;
}

static uint32_t pool_rank(const float *distances, uint32_t count, float distance)
{
    uint32_t low = 0;
    while (low < count) {
        uint32_t mid = low + (count - low) / 2;
        if (distances[mid] <= distance) {
            low = mid + 1;
        } else {
            count = mid;
        }
    }
    return low;
}

static uint32_t pool_below(const float *distances, uint32_t count, float worst)
{
    uint32_t mask = 0;
    for (uint32_t i = 0; i < count; i++) {
        mask |= (uint32_t)(distances[i] < worst) << i;
    }
    return mask;
}

static void pool_shift(float *distances, uint32_t *ids, uint32_t count)
{
    memmove(distances + 1, distances, count * sizeof *distances);
    memmove(ids + 1, ids, count * sizeof *ids);
}

#define WALK_OPS ak_walk_scalar
#include "index/hnsw_search_body.h"
