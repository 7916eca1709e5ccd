/* arena.h — bump allocation for one request or one file: freed all at once.
 *
 * Blocks double up to 1 MiB. `max` bounds the bytes given out (0: 1 GiB); past it, or without
 * memory, allocation returns NULL.
 *
 * Threads: one at a time. Memory: everything given out dies at reset or release.
 */
#pragma once
#include "base/str.h"

struct ak_arena_block;

struct ak_arena {
    struct ak_arena_block *head;
    char *at;
    char *end;
    size_t used; /* bytes given out since init or reset */
    size_t max;
};

void ak_arena_init(struct ak_arena *arena, size_t max);
void ak_arena_release(struct ak_arena *arena);             /* idempotent */
void ak_arena_reset(struct ak_arena *arena);               /* forget everything, keep one block */
void *ak_arena_alloc(struct ak_arena *arena, size_t size); /* 16-byte aligned; NULL on failure */
void *ak_arena_alloc_aligned(struct ak_arena *arena, size_t align, size_t size);
/* Copy of `s`, NUL-terminated (not counted); .p is NULL on failure. */
struct ak_str ak_arena_str(struct ak_arena *arena, struct ak_str s);
