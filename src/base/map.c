/* map.c — open addressing with linear probing, without stored keys.
 *
 * A cell is {tag, value}; value AK_MAP_NONE marks an empty one. The tag is 32 bits of the hash: its
 * low bits are the home position, so that growth and the shift after a removal find it without the
 * key; the rest of its bits spare most calls of `same`.
 *
 * I1  the number of cells is a power of two, CELLS_MIN at the least; no cells while never used.
 * I2  count ≤ 7/8 of the cells: every probe meets an empty cell.
 * I3  no empty cell lies between an entry's home and the entry (Knuth 6.4, algorithm R).
 */
#include "base/map.h"
#include "base/limits.h"
#include "base/mem.h"
#include <string.h>

#define CELLS_MIN 8u

struct ak_map_cell {
    uint32_t tag;
    uint32_t value;
};

static uint32_t tag_of(uint64_t hash)
{
    return (uint32_t)(hash >> 32) ^ (uint32_t)hash;
}

static size_t cell_count(const struct ak_map *map)
{
    return map->cells ? (size_t)map->mask + 1 : 0;
}

static size_t load_max(size_t cells)
{
    return cells - cells / 8;
}

void ak_map_init(struct ak_map *map)
{
    *map = (struct ak_map){0};
}

void ak_map_release(struct ak_map *map)
{
    ak_free(map->cells);
    ak_map_init(map);
}

/* Move every entry into a table of `cells` cells; false without memory, the map as it was. */
static bool rehash(struct ak_map *map, size_t cells)
{
    size_t bytes = 0;
    if (ak_mul_overflows(cells, sizeof *map->cells, &bytes)) {
        return false;
    }
    struct ak_map_cell *to = ak_try_alloc(bytes);
    if (!to) {
        return false;
    }
    memset(to, 0xff, bytes); /* every value AK_MAP_NONE */
    uint32_t mask = (uint32_t)(cells - 1);
    size_t old_cells = cell_count(map);
    for (size_t i = 0; i < old_cells; i++) {
        if (map->cells[i].value != AK_MAP_NONE) {
            uint32_t at = map->cells[i].tag & mask;
            while (to[at].value != AK_MAP_NONE) {
                at = (at + 1) & mask;
            }
            to[at] = map->cells[i];
        }
    }
    ak_free(map->cells);
    map->cells = to;
    map->mask = mask;
    return true;
}

static enum ak_rc make_room(struct ak_map *map, uint32_t count, struct ak_err *err)
{
    size_t cells = cell_count(map) ? cell_count(map) : CELLS_MIN;
    if (count > AK_SLOTS_MAX) {
        return ak_fail(err, AK_TOO_BIG, "a table of %u entries (at most %u)", count, AK_SLOTS_MAX);
    }
    while (load_max(cells) < count) {
        cells *= 2;
    }
    if (cells != cell_count(map) && !rehash(map, cells)) {
        return ak_fail(err, AK_NOMEM, "a table of %zu cells", cells);
    }
    return AK_OK;
}

enum ak_rc ak_map_reserve(struct ak_map *map, uint32_t count, struct ak_err *err)
{
    enum ak_rc rc = count ? make_room(map, count, err) : AK_OK;
    if (rc == AK_OK) {
        map->reserved = count;
    }
    return rc;
}

/* The entry's cell, or the empty one that ends its probe sequence. Needs cells. */
static uint32_t find(const struct ak_map *map, uint32_t tag, const void *key, ak_map_same_fn same,
                     const void *ctx)
{
    uint32_t at = tag & map->mask;
    for (;;) {
        const struct ak_map_cell *cell = &map->cells[at];
        if (cell->value == AK_MAP_NONE || (cell->tag == tag && same(ctx, cell->value, key))) {
            return at;
        }
        at = (at + 1) & map->mask;
    }
}

uint32_t ak_map_get(const struct ak_map *map, uint64_t hash, const void *key, ak_map_same_fn same,
                    const void *ctx)
{
    if (map->count == 0) {
        return AK_MAP_NONE;
    }
    return map->cells[find(map, tag_of(hash), key, same, ctx)].value;
}

enum ak_rc ak_map_put(struct ak_map *map, uint64_t hash, const void *key, uint32_t value,
                      ak_map_same_fn same, const void *ctx, uint32_t *old, struct ak_err *err)
{
    AK_ASSERT(value != AK_MAP_NONE);
    uint32_t tag = tag_of(hash);
    uint32_t at = 0;
    uint32_t before = AK_MAP_NONE;
    if (map->cells) {
        at = find(map, tag, key, same, ctx);
        before = map->cells[at].value;
    }
    if (before == AK_MAP_NONE) {
        if (map->count + 1 > load_max(cell_count(map))) { /* I2 */
            enum ak_rc rc = make_room(map, map->count + 1, err);
            if (rc != AK_OK) {
                return rc;
            }
            at = find(map, tag, key, same, ctx);
        }
        map->count++;
        if (map->count >= map->reserved) {
            map->reserved = 0;
        }
    }
    AK_ASSERT(map->cells); /* I2: a map without cells had no room, and got some */
    map->cells[at] = (struct ak_map_cell){tag, value};
    if (old) {
        *old = before;
    }
    return AK_OK;
}

/* Close the gap at `gap`: an entry further on moves into it when its home is not past it (I3). */
static void shift_back(struct ak_map *map, uint32_t gap)
{
    uint32_t at = gap;
    for (;;) {
        at = (at + 1) & map->mask;
        struct ak_map_cell cell = map->cells[at];
        if (cell.value == AK_MAP_NONE) {
            break;
        }
        uint32_t from_home = (at - cell.tag) & map->mask;
        uint32_t from_gap = (at - gap) & map->mask;
        if (from_home >= from_gap) {
            map->cells[gap] = cell;
            gap = at;
        }
    }
    map->cells[gap].value = AK_MAP_NONE;
}

uint32_t ak_map_remove(struct ak_map *map, uint64_t hash, const void *key, ak_map_same_fn same,
                       const void *ctx)
{
    if (map->count == 0) {
        return AK_MAP_NONE;
    }
    uint32_t at = find(map, tag_of(hash), key, same, ctx);
    uint32_t value = map->cells[at].value;
    if (value == AK_MAP_NONE) {
        return AK_MAP_NONE;
    }
    shift_back(map, at);
    map->count--;
    size_t cells = cell_count(map);
    if (cells > CELLS_MIN && map->count < cells / 4 && map->reserved <= load_max(cells / 2)) {
        (void)rehash(map, cells / 2); /* without memory it stays as large as it is */
    }
    return value;
}

size_t ak_map_bytes(const struct ak_map *map)
{
    return cell_count(map) * sizeof *map->cells;
}
