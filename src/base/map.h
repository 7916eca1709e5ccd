/* map.h — a hash table from keys that live elsewhere to u32 values (slots, indexes).
 *
 * Open addressing with linear probing over {tag, value} cells of 8 bytes; the table stores no
 * keys: the caller's `same` compares the sought key with the one that a value stands for. Grows at
 * 7/8 load, halves when sparse; deletion shifts back (no tombstones).
 *
 * Threads: one writer, or readers without a writer: the owner locks. Memory: 8 bytes a cell, so 10
 * to 18 bytes an entry.
 */
#pragma once
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

#define AK_MAP_NONE UINT32_MAX

/* Does `value` stand for the sought `key`? */
typedef bool (*ak_map_same_fn)(const void *ctx, uint32_t value, const void *key);

struct ak_map {
    struct ak_map_cell *cells;
    uint32_t mask; /* cells - 1, or 0 while empty */
    uint32_t count;
    uint32_t reserved; /* entries promised room for, until a put reaches that many */
};

void ak_map_init(struct ak_map *map);
void ak_map_release(struct ak_map *map); /* idempotent */
/* Room for `count` entries in all: until a put reaches that many, no put fails, whatever is removed
 * between. AK_NOMEM leaves the map as it was. */
AK_MUST enum ak_rc ak_map_reserve(struct ak_map *map, uint32_t count, struct ak_err *err);
/* The value under (hash, key), or AK_MAP_NONE. */
uint32_t ak_map_get(const struct ak_map *map, uint64_t hash, const void *key, ak_map_same_fn same,
                    const void *ctx);
/* Insert or replace; *old is the value replaced or AK_MAP_NONE (may be NULL). */
AK_MUST enum ak_rc ak_map_put(struct ak_map *map, uint64_t hash, const void *key, uint32_t value,
                              ak_map_same_fn same, const void *ctx, uint32_t *old,
                              struct ak_err *err);
/* Remove; returns the value that was there or AK_MAP_NONE. */
uint32_t ak_map_remove(struct ak_map *map, uint64_t hash, const void *key, ak_map_same_fn same,
                       const void *ctx);
size_t ak_map_bytes(const struct ak_map *map);
