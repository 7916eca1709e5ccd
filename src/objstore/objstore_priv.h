/* objstore_priv.h — what a store implements, and what it may take ready made.
 *
 * A store embeds `struct ak_objstore` first and fills one table of operations. objstore.c checks
 * every argument before it gets here (key, options, limit), puts "store: verb 'key'" before the
 * message of a failure, and restores `out` after a failed get: an operation does neither. No
 * operation but those that say so may be NULL; others have an
 * implementation by the rest, to be named in the table by a store that has nothing better.
 *
 * Threads: operations are called from any thread, several at once; a writer by one at a time.
 */
#pragma once
#include "objstore/objstore.h"

struct ak_objstore_ops {
    /* As the public calls of the same name. `options` is never NULL. */
    enum ak_rc (*get)(struct ak_objstore *store, struct ak_str key, struct ak_buf *out,
                      struct ak_err *err);
    enum ak_rc (*put)(struct ak_objstore *store, struct ak_str key, struct ak_str bytes,
                      const struct ak_objstore_put_options *options, struct ak_err *err);
    enum ak_rc (*head)(struct ak_objstore *store, struct ak_str key, struct ak_arena *arena,
                       struct ak_object *object, struct ak_err *err);
    enum ak_rc (*remove)(struct ak_objstore *store, struct ak_str key, struct ak_err *err);
    /* len ≥ 1 and from + len does not overflow. What is in p after a failure does not matter. */
    enum ak_rc (*get_range)(struct ak_objstore *store, struct ak_str key, uint64_t from, void *p,
                            size_t len, struct ak_err *err);
    /* `after` is empty or begins with `prefix`; the prefix's whole parts are those of keys. */
    enum ak_rc (*list)(struct ak_objstore *store, struct ak_str prefix, struct ak_str after,
                       size_t limit, struct ak_arena *arena, struct ak_object **objects,
                       size_t *count, struct ak_err *err);
    /* Or ak_objstore_get_file_by_ranges. */
    enum ak_rc (*get_file)(struct ak_objstore *store, struct ak_str key, struct ak_fs *fs,
                           const char *path, ak_objstore_progress progress, void *ctx,
                           struct ak_err *err);
    /* NULL or AK_UNSUPPORTED: get_file is called instead. */
    enum ak_rc (*link_file)(struct ak_objstore *store, struct ak_str key, struct ak_fs *fs,
                            const char *path, struct ak_err *err);
    /* NULL: AK_UNSUPPORTED. */
    enum ak_rc (*open_file)(struct ak_objstore *store, struct ak_str key, struct ak_file **file,
                            struct ak_err *err);
    /* Or ak_objstore_put_file_by_writer. */
    enum ak_rc (*put_file)(struct ak_objstore *store, struct ak_str key, struct ak_fs *fs,
                           const char *path, ak_objstore_progress progress, void *ctx,
                           struct ak_err *err);
    /* Or ak_objstore_create_buffered. *writer has been through ak_objstore_writer_init(). */
    enum ak_rc (*create)(struct ak_objstore *store, struct ak_str key,
                         const struct ak_objstore_put_options *options,
                         struct ak_objstore_writer **writer, struct ak_err *err);
    /* NULL: there are none. */
    enum ak_rc (*remove_parts)(struct ak_objstore *store, struct ak_str key, struct ak_err *err);
    /* One request that shows whether the store answers at all, without retries and in a few
     * seconds; AK_UNAVAILABLE or AK_TIMEOUT: it does not. NULL: a listing is asked for. */
    enum ak_rc (*ask)(struct ak_objstore *store, struct ak_err *err);
    /* From now on call `fn` when a request has failed in a way that passes, and is about to be
     * tried again: from any thread, it does not block. Before the first call. May be NULL. */
    void (*on_trouble)(struct ak_objstore *store, void (*fn)(void *ctx), void *ctx);
    /* It was found to be away, or to be back: calls under way need not be tried again. May be NULL,
     * must not block. */
    void (*set_away)(struct ak_objstore *store, bool away);
    enum ak_rc (*locate)(struct ak_objstore *store, struct ak_str key, struct ak_buf *out,
                         bool *is_file, struct ak_err *err); /* NULL: nowhere */
    uint32_t (*away_ms)(struct ak_objstore *store);          /* NULL: 0 */
    void (*close)(struct ak_objstore *store); /* frees the store; its name is freed afterwards */
};

struct ak_objstore {
    const struct ak_objstore_ops *ops;
    char *name;
};

/* `fmt`: the name for messages, "dir '/var/lib/akidb/objects'". */
void ak_objstore_init(struct ak_objstore *store, const struct ak_objstore_ops *ops, const char *fmt,
                      ...) AK_PRINTF(3, 4);

struct ak_objstore_writer_ops {
    /* len ≥ 1; never called after it has failed. */
    enum ak_rc (*write)(struct ak_objstore_writer *writer, const void *p, size_t len,
                        struct ak_err *err);
    /* Makes the object visible, or undoes everything; either way the writer is freed. */
    enum ak_rc (*commit)(struct ak_objstore_writer *writer, struct ak_err *err);
    void (*abort)(struct ak_objstore_writer *writer); /* undoes everything, frees the writer */
};

struct ak_objstore_writer {
    const struct ak_objstore_writer_ops *ops;
    struct ak_objstore *store;
    struct ak_str key; /* of key_copy, which is freed after commit or abort, not by them */
    char *key_copy;
    uint64_t bytes;    /* written so far, kept by objstore.c */
    enum ak_rc failed; /* the code of the write that failed, or AK_OK; kept by objstore.c */
};

void ak_objstore_writer_init(struct ak_objstore_writer *writer,
                             const struct ak_objstore_writer_ops *ops, struct ak_objstore *store,
                             struct ak_str key);
/* For operations that use a writer of their own or another store's, past the public calls: commit
 * or abort, and free the key. */
AK_MUST enum ak_rc ak_objstore_writer_commit(struct ak_objstore_writer *writer, struct ak_err *err);
void ak_objstore_writer_abort(struct ak_objstore_writer *writer);

/* --- Checks --- */

/* A key cut for messages, at a character's border: a long one would push the cause out of them. */
struct ak_str ak_objstore_shown(struct ak_str key);
/* Tell `progress` (may be NULL); AK_CONFLICT "cancelled" when it wants no more. */
AK_MUST enum ak_rc ak_objstore_tell(ak_objstore_progress progress, void *ctx, uint64_t done,
                                    uint64_t total, struct ak_err *err);

/* --- A file that appears whole or not at all: for get_file --- */

struct ak_objstore_target {
    struct ak_fs *fs;
    struct ak_file *file; /* write to it; NULL after commit and abort */
    struct ak_buf part;   /* "<path>.part", which a crash may leave and the next try removes */
    const char *path;     /* borrowed until commit or abort */
};
/* Reserves `size` bytes, so that a full disk is met before anything is moved. */
AK_MUST enum ak_rc ak_objstore_target_open(struct ak_objstore_target *target, struct ak_fs *fs,
                                           const char *path, uint64_t size, struct ak_err *err);
/* Sync, rename to `path`, sync of its folder; after a failure nothing is left. */
AK_MUST enum ak_rc ak_objstore_target_commit(struct ak_objstore_target *target, struct ak_err *err);
/* The whole of it, when `from` can have a second name: AK_UNSUPPORTED when it cannot. */
AK_MUST enum ak_rc ak_objstore_target_link(struct ak_objstore_target *target, struct ak_fs *fs,
                                           const char *from, const char *path, struct ak_err *err);
void ak_objstore_target_abort(struct ak_objstore_target *target); /* fine after a failed open */

/* --- Operations made of other operations --- */

/* head, then get_range of AK_OBJSTORE_CHUNK bytes each, then head again: AK_CONFLICT when the
 * object was replaced on the way. */
#define AK_OBJSTORE_CHUNK ((size_t)4 << 20)
enum ak_rc ak_objstore_get_file_by_ranges(struct ak_objstore *store, struct ak_str key,
                                          struct ak_fs *fs, const char *path,
                                          ak_objstore_progress progress, void *ctx,
                                          struct ak_err *err);
/* create, writes of AK_OBJSTORE_CHUNK bytes, commit. */
enum ak_rc ak_objstore_put_file_by_writer(struct ak_objstore *store, struct ak_str key,
                                          struct ak_fs *fs, const char *path,
                                          ak_objstore_progress progress, void *ctx,
                                          struct ak_err *err);
/* Collects the bytes in memory, at most AK_BUF_MAX_DEFAULT of them, and puts them at commit. */
enum ak_rc ak_objstore_create_buffered(struct ak_objstore *store, struct ak_str key,
                                       const struct ak_objstore_put_options *options,
                                       struct ak_objstore_writer **writer, struct ak_err *err);
