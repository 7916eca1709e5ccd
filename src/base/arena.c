/* arena.c — bump allocation.
 *
 * I1  `at` and `end` bound the free part of the head block; both are NULL while there is no head.
 * I2  a request larger than the next regular block gets a block of its own, which goes behind the
 *     head, so that the free part of the head is not lost to it.
 * I3  sizes are rounded up to their alignment before they count, so padding never doubles `used`.
 */
#include "base/arena.h"
#include "base/mem.h"
#include <string.h>

#define ALIGN_MIN 16u
#define BLOCK_MIN ((size_t)4 << 10)
#define BLOCK_MAX ((size_t)1 << 20)
#define ARENA_MAX_DEFAULT ((size_t)1 << 30)

struct ak_arena_block {
    struct ak_arena_block *next;
    size_t size; /* of the bytes after this header */
};

_Static_assert(sizeof(struct ak_arena_block) % ALIGN_MIN == 0, "block bytes begin aligned");

static char *bytes_of(struct ak_arena_block *block)
{
    return (char *)block + sizeof *block;
}

void ak_arena_init(struct ak_arena *arena, size_t max)
{
    *arena = (struct ak_arena){.max = max ? max : ARENA_MAX_DEFAULT};
}

static void free_chain(struct ak_arena_block *block)
{
    while (block) {
        struct ak_arena_block *next = block->next;
        ak_free(block);
        block = next;
    }
}

void ak_arena_release(struct ak_arena *arena)
{
    free_chain(arena->head);
    *arena = (struct ak_arena){.max = arena->max};
}

void ak_arena_reset(struct ak_arena *arena)
{
    struct ak_arena_block *keep = arena->head;
    if (!keep || keep->size > BLOCK_MAX) { /* one huge request must not stay with the owner */
        ak_arena_release(arena);
        return;
    }
    free_chain(keep->next);
    keep->next = NULL;
    arena->at = bytes_of(keep);
    arena->end = arena->at + keep->size;
    arena->used = 0;
}

static char *align_up(char *p, size_t align)
{
    size_t past = (size_t)((uintptr_t)p & (align - 1));
    return past ? p + (align - past) : p;
}

static size_t next_block_size(const struct ak_arena *arena)
{
    if (!arena->head) {
        return BLOCK_MIN;
    }
    size_t twice = arena->head->size * 2;
    return twice < BLOCK_MAX ? twice : BLOCK_MAX;
}

/* A place for `need` bytes in a new block, which becomes the head when it is a regular one. */
static char *place_in_new_block(struct ak_arena *arena, size_t align, size_t need)
{
    size_t room = need + (align - ALIGN_MIN); /* ≤ 2 * max: ak_arena_alloc_aligned bounds both */
    size_t size = next_block_size(arena);
    bool is_own = room > size;
    if (is_own) {
        size = room;
    }
    struct ak_arena_block *block = ak_try_alloc(sizeof *block + size);
    if (!block) {
        return NULL;
    }
    block->size = size;
    char *place = align_up(bytes_of(block), align);
    if (is_own && arena->head) {
        block->next = arena->head->next;
        arena->head->next = block;
    } else {
        block->next = arena->head;
        arena->head = block;
        arena->at = place + need;
        arena->end = bytes_of(block) + size;
    }
    return place;
}

void *ak_arena_alloc_aligned(struct ak_arena *arena, size_t align, size_t size)
{
    AK_ASSERT(align != 0 && (align & (align - 1)) == 0);
    size_t max = arena->max ? arena->max : ARENA_MAX_DEFAULT;
    size_t need = 0;
    if (align < ALIGN_MIN) {
        align = ALIGN_MIN;
    }
    if (size == 0) {
        size = 1; /* every allocation has an address of its own */
    }
    if (align > max || size > max || ak_add_overflows(size, align - 1, &need)) {
        return NULL;
    }
    need &= ~(align - 1);
    if (need > max || arena->used > max - need) {
        return NULL;
    }
    char *place = arena->at ? align_up(arena->at, align) : NULL;
    if (place && place <= arena->end && (size_t)(arena->end - place) >= need) {
        arena->at = place + need;
    } else {
        place = place_in_new_block(arena, align, need);
        if (!place) {
            return NULL;
        }
    }
    arena->used += need;
    return place;
}

void *ak_arena_alloc(struct ak_arena *arena, size_t size)
{
    return ak_arena_alloc_aligned(arena, ALIGN_MIN, size);
}

struct ak_str ak_arena_str(struct ak_arena *arena, struct ak_str s)
{
    if (s.len == SIZE_MAX) {
        return AK_STR_NONE;
    }
    char *copy = ak_arena_alloc(arena, s.len + 1);
    if (!copy) {
        return AK_STR_NONE;
    }
    if (s.len) {
        memcpy(copy, s.p, s.len);
    }
    copy[s.len] = '\0';
    return (struct ak_str){copy, s.len};
}
