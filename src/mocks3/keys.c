/* keys.c — sorted blocks of pointers.
 *
 * I1  no block is empty, and blocks are in order: each key of one is below each of the next.
 * I2  a full block is split into halves before it takes one more, but for the last one, which
 * leaves what it has and begins a new one: keys that come in order fill their blocks.
 */
#include "mocks3/keys.h"
#include "base/mem.h"
#include <string.h>

struct ak_mock_keys_block {
    size_t count;
    void *entries[AK_MOCK_KEYS_BLOCK];
};

static struct ak_str key_of(const void *entry)
{
    return *(const struct ak_str *)entry;
}

void ak_mock_keys_release(struct ak_mock_keys *keys)
{
    for (size_t i = 0; i < keys->count; i++) {
        ak_free(keys->blocks[i]);
    }
    ak_free(keys->blocks);
    *keys = (struct ak_mock_keys){0};
}

/* The last block whose first key is ≤ `key`; the first block when there is none such. */
static size_t block_of(const struct ak_mock_keys *keys, struct ak_str key)
{
    size_t low = 0;
    size_t high = keys->count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (ak_str_cmp(key_of(keys->blocks[middle]->entries[0]), key) <= 0) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The first place in the block whose key is ≥ `key`; *same: it is that key. */
static size_t place_of(const struct ak_mock_keys_block *block, struct ak_str key, bool *same)
{
    size_t low = 0;
    size_t high = block->count;
    *same = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = ak_str_cmp(key_of(block->entries[middle]), key);
        if (order == 0) {
            *same = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

void *ak_mock_keys_find(const struct ak_mock_keys *keys, struct ak_str key)
{
    bool same = false;
    if (keys->count == 0) {
        return NULL;
    }
    const struct ak_mock_keys_block *block = keys->blocks[block_of(keys, key)];
    size_t at = place_of(block, key, &same);
    return same ? block->entries[at] : NULL;
}

/* A new, empty block at `index`; false without memory. */
static bool add_block(struct ak_mock_keys *keys, size_t index)
{
    if (keys->count == keys->cap) {
        size_t cap = keys->cap ? 2 * keys->cap : 16;
        struct ak_mock_keys_block **grown = ak_try_realloc(keys->blocks, cap * sizeof(void *));
        if (!grown) {
            return false;
        }
        keys->blocks = grown;
        keys->cap = cap;
    }
    struct ak_mock_keys_block *block = ak_try_alloc(sizeof *block);
    if (!block) {
        return false;
    }
    block->count = 0;
    memmove(keys->blocks + index + 1, keys->blocks + index, (keys->count - index) * sizeof(void *));
    keys->blocks[index] = block;
    keys->count++;
    return true;
}

/* Room in the full block `index` for `key`, which is to go to place *at of it (I2). */
static bool split(struct ak_mock_keys *keys, size_t *index, size_t *at)
{
    bool is_end = *index + 1 == keys->count && *at == AK_MOCK_KEYS_BLOCK;
    if (!add_block(keys, *index + 1)) {
        return false;
    }
    struct ak_mock_keys_block *left = keys->blocks[*index];
    struct ak_mock_keys_block *right = keys->blocks[*index + 1];
    size_t keep = is_end ? AK_MOCK_KEYS_BLOCK : AK_MOCK_KEYS_BLOCK / 2;
    right->count = AK_MOCK_KEYS_BLOCK - keep;
    memcpy(right->entries, left->entries + keep, right->count * sizeof(void *));
    left->count = keep;
    if (*at > keep || is_end) {
        *index += 1;
        *at -= keep;
    }
    return true;
}

enum ak_rc ak_mock_keys_put(struct ak_mock_keys *keys, void *entry, void **old, struct ak_err *err)
{
    struct ak_str key = key_of(entry);
    bool same = false;
    size_t index = 0;
    size_t at = 0;
    if (keys->count == 0) {
        if (!add_block(keys, 0)) {
            return ak_fail(err, AK_NOMEM, "no memory to remember one more key");
        }
    } else {
        index = block_of(keys, key);
        at = place_of(keys->blocks[index], key, &same);
    }
    if (same) {
        *old = keys->blocks[index]->entries[at];
        keys->blocks[index]->entries[at] = entry;
        return AK_OK;
    }
    if (keys->blocks[index]->count == AK_MOCK_KEYS_BLOCK && !split(keys, &index, &at)) {
        return ak_fail(err, AK_NOMEM, "no memory to remember one more key");
    }
    struct ak_mock_keys_block *block = keys->blocks[index];
    memmove(block->entries + at + 1, block->entries + at, (block->count - at) * sizeof(void *));
    block->entries[at] = entry;
    block->count++;
    keys->entries++;
    *old = NULL;
    return AK_OK;
}

void *ak_mock_keys_remove(struct ak_mock_keys *keys, struct ak_str key)
{
    bool same = false;
    if (keys->count == 0) {
        return NULL;
    }
    size_t index = block_of(keys, key);
    struct ak_mock_keys_block *block = keys->blocks[index];
    size_t at = place_of(block, key, &same);
    if (!same) {
        return NULL;
    }
    void *entry = block->entries[at];
    block->count--;
    memmove(block->entries + at, block->entries + at + 1, (block->count - at) * sizeof(void *));
    keys->entries--;
    if (block->count == 0) {
        ak_free(block);
        keys->count--;
        memmove(keys->blocks + index, keys->blocks + index + 1,
                (keys->count - index) * sizeof(void *));
    }
    return entry;
}

struct ak_mock_keys_cursor ak_mock_keys_seek(const struct ak_mock_keys *keys, struct ak_str key)
{
    bool same = false;
    struct ak_mock_keys_cursor cursor = {0, 0};
    if (keys->count) {
        cursor.block = block_of(keys, key);
        cursor.at = place_of(keys->blocks[cursor.block], key, &same);
    }
    return cursor;
}

void *ak_mock_keys_next(const struct ak_mock_keys *keys, struct ak_mock_keys_cursor *cursor)
{
    while (cursor->block < keys->count && cursor->at >= keys->blocks[cursor->block]->count) {
        cursor->block++;
        cursor->at = 0;
    }
    return cursor->block < keys->count ? keys->blocks[cursor->block]->entries[cursor->at++] : NULL;
}
