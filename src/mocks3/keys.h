/* keys.h — a set of named things in bytewise order of their names, made for listing.
 *
 * Two levels: an array of blocks, each a sorted array of up to AK_MOCK_KEYS_BLOCK entries. Finding
 * is two binary searches; adding moves at most one block's pointers, and a block's worth of them
 * when one is split. An entry is a pointer to something that begins with its key (struct ak_str),
 * which must not change while it is in.
 *
 * Threads: the owner locks. Memory: 8 to 16 bytes an entry; entries are the caller's.
 */
#pragma once
#include "base/str.h"

#define AK_MOCK_KEYS_BLOCK 512u

struct ak_mock_keys_block;

struct ak_mock_keys {
    struct ak_mock_keys_block **blocks;
    size_t count; /* of blocks; none is empty */
    size_t cap;
    size_t entries;
};

/* A place in the order; good until the set changes. */
struct ak_mock_keys_cursor {
    size_t block;
    size_t at;
};

void ak_mock_keys_release(struct ak_mock_keys *keys); /* idempotent; not the entries */
void *ak_mock_keys_find(const struct ak_mock_keys *keys, struct ak_str key); /* NULL: not there */
/* Add, or replace the entry of the same name: *old (NULL when there was none). AK_NOMEM changes
 * nothing; replacing does not fail. */
AK_MUST enum ak_rc ak_mock_keys_put(struct ak_mock_keys *keys, void *entry, void **old,
                                    struct ak_err *err);
void *ak_mock_keys_remove(struct ak_mock_keys *keys, struct ak_str key); /* the entry, or NULL */
/* The first entry whose name is `key` or behind it. */
struct ak_mock_keys_cursor ak_mock_keys_seek(const struct ak_mock_keys *keys, struct ak_str key);
/* The entry at the cursor, which moves on; NULL at the end. */
void *ak_mock_keys_next(const struct ak_mock_keys *keys, struct ak_mock_keys_cursor *cursor);
