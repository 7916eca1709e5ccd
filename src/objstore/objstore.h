/* objstore.h — a flat store of named byte strings: a directory, S3, or memory.
 *
 * Key:     '/'-separated, 1..AK_OBJSTORE_KEY_MAX bytes of UTF-8 without control characters, and
 *          without an empty, "." or ".." part.
 * Atomic:  a get sees the object before a put or after it, never a mixture.
 * Durable: once put returns AK_OK the object survives a crash (the mem store excepted).
 * Errors:  AK_NOT_FOUND no such object · AK_EXISTS a conditional put lost · AK_FORBIDDEN the store
 *          refused (the text says 403 and what to check) · AK_UNAVAILABLE the store is away or asks
 *          to slow down, after the store's own retries · AK_TIMEOUT · AK_NO_SPACE · AK_CORRUPT the
 *          bytes differ from their checksum or length · AK_INVALID the key.
 * Threads: any call, from any thread. Memory: keys and data are borrowed for the call.
 */
#pragma once
#include "base/arena.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#define AK_OBJSTORE_KEY_MAX 1024

struct ak_objstore; /* opened by ak_objstore_open_{dir,mem,s3,fault}() */

void ak_objstore_close(struct ak_objstore *store); /* NULL is fine; no call may be under way */
/* "dir '/var/lib/akidb/objects'", "s3 bucket 'b' at https://…": for messages. Borrowed. */
const char *ak_objstore_name(const struct ak_objstore *store);

/* AK_INVALID says what is wrong with the key. Every call below checks; this is for who must know
 * before. */
AK_MUST enum ak_rc ak_objstore_check_key(struct ak_str key, struct ak_err *err);

struct ak_object {
    struct ak_str key;
    uint64_t size;
    int64_t modified_us; /* µs UTC; 0 when the store does not say */
    struct ak_str etag;  /* as the store gives it, may be empty */
};

struct ak_objstore_put_options { /* all zero is the default */
    bool only_if_absent;         /* AK_EXISTS when there is one (S3: If-None-Match: *) */
    const char *content_type;    /* NULL: application/octet-stream */
};

/* Is the store known to be away (objstore_guard.h)? 0: it is not, or nobody watches it; else
 * milliseconds until it is asked again, for a Retry-After. Never waits, asks nobody: for who would
 * rather not begin what cannot end. Any call made meanwhile fails at once with AK_UNAVAILABLE. */
uint32_t ak_objstore_away_ms(struct ak_objstore *store);

/* Where other programs find the object (it need not be there): "s3://bucket/prefix/key", or the
 * absolute path of its file, with *is_file set; appended to `out`. AK_UNSUPPORTED: nowhere. */
AK_MUST enum ak_rc ak_objstore_locate(struct ak_objstore *store, struct ak_str key,
                                      struct ak_buf *out, bool *is_file, struct ak_err *err);

/* --- Whole objects --- */

/* Append the object's bytes to `out`, which stays the caller's; AK_TOO_BIG past out->max.
 * `out` is unchanged after any failure. */
AK_MUST enum ak_rc ak_objstore_get(struct ak_objstore *store, struct ak_str key, struct ak_buf *out,
                                   struct ak_err *err);
AK_MUST enum ak_rc ak_objstore_put(struct ak_objstore *store, struct ak_str key,
                                   struct ak_str bytes,
                                   const struct ak_objstore_put_options *options,
                                   struct ak_err *err);
/* Strings of *object in the arena. */
AK_MUST enum ak_rc ak_objstore_head(struct ak_objstore *store, struct ak_str key,
                                    struct ak_arena *arena, struct ak_object *object,
                                    struct ak_err *err);
/* An object that is gone already is AK_OK. */
AK_MUST enum ak_rc ak_objstore_remove(struct ak_objstore *store, struct ak_str key,
                                      struct ak_err *err);

/* Parts of uploads to this key that were begun by a process that is gone, and never finished, go:
 * nobody may be writing it. The object, if there is one, stays. AK_OK where a store keeps none, or
 * does not let us look. */
AK_MUST enum ak_rc ak_objstore_remove_parts(struct ak_objstore *store, struct ak_str key,
                                            struct ak_err *err);

/* --- Parts and files --- */

/* Exactly `len` bytes from offset `from` into p; AK_CORRUPT when the object ends before. */
AK_MUST enum ak_rc ak_objstore_get_range(struct ak_objstore *store, struct ak_str key,
                                         uint64_t from, void *p, size_t len, struct ak_err *err);

/* The object as an open file, where objects are files: it is read without a copy, and its bytes
 * stay what they are. The caller closes it. AK_UNSUPPORTED: this store has no files. */
AK_MUST enum ak_rc ak_objstore_open_file(struct ak_objstore *store, struct ak_str key,
                                         struct ak_file **file, struct ak_err *err);

/* Told now and then of the bytes moved so far; return false to stop (the call gives AK_CONFLICT
 * "cancelled"). May be NULL in the calls below. */
typedef bool (*ak_objstore_progress)(void *ctx, uint64_t done, uint64_t total);

/* The object into a new file at `path` (replaced when present), synced; nothing is left of it after
 * a failure. Memory: at most 32 MiB. A broken transfer goes on where it stopped. */
AK_MUST enum ak_rc ak_objstore_get_file(struct ak_objstore *store, struct ak_str key,
                                        struct ak_fs *fs, const char *path,
                                        ak_objstore_progress progress, void *ctx,
                                        struct ak_err *err);
/* get_file for a `path` whose bytes nobody will change (it may be mapped, renamed, removed): the
 * dir store gives its object a second name there, where the file system can, which takes neither
 * time nor space; all else is as for get_file. */
AK_MUST enum ak_rc ak_objstore_link_file(struct ak_objstore *store, struct ak_str key,
                                         struct ak_fs *fs, const char *path,
                                         ak_objstore_progress progress, void *ctx,
                                         struct ak_err *err);
/* A local file as an object. The dir store links or clones it where the file system can: so the
 * file must not change afterwards. S3: several parts at once above 64 MiB. Memory: at most 64 MiB.
 * AK_INVALID: there is no such file. */
AK_MUST enum ak_rc ak_objstore_put_file(struct ak_objstore *store, struct ak_str key,
                                        struct ak_fs *fs, const char *path,
                                        ak_objstore_progress progress, void *ctx,
                                        struct ak_err *err);

/* An object of unknown length, written front to back and visible only after commit. */
struct ak_objstore_writer;
AK_MUST enum ak_rc ak_objstore_create(struct ak_objstore *store, struct ak_str key,
                                      const struct ak_objstore_put_options *options,
                                      struct ak_objstore_writer **writer, struct ak_err *err);
AK_MUST enum ak_rc ak_objstore_write(struct ak_objstore_writer *writer, const void *p, size_t len,
                                     struct ak_err *err);
/* Frees the writer, also on failure. *bytes (may be NULL): the object's size. */
AK_MUST enum ak_rc ak_objstore_commit(struct ak_objstore_writer *writer, uint64_t *bytes,
                                      struct ak_err *err);
void ak_objstore_abort(struct ak_objstore_writer *writer); /* removes what was sent; NULL is fine */

/* --- Listing --- */

/* Up to `limit` (1..1000) objects whose keys begin with `prefix` (may be empty) and come after
 * `after` (exclusive, may be empty), in bytewise order of keys. Fewer than `limit`: that was the
 * end. */
AK_MUST enum ak_rc ak_objstore_list(struct ak_objstore *store, struct ak_str prefix,
                                    struct ak_str after, size_t limit, struct ak_arena *arena,
                                    struct ak_object **objects, size_t *count, struct ak_err *err);

/* --- Stores --- */

/* Below `root`, made when absent. Keys become paths; a key whose parts are not usable as file names
 * is escaped (objstore_dir.c says how). Objects appear by rename and are synced with their folders.
 */
AK_MUST enum ak_rc ak_objstore_open_dir(struct ak_fs *fs, const char *root,
                                        struct ak_objstore **store, struct ak_err *err);
/* For tests: everything is lost at close. `clock` (NULL: the system's) gives modified_us. */
AK_MUST enum ak_rc ak_objstore_open_mem(const struct ak_clock *clock, struct ak_objstore **store,
                                        struct ak_err *err);

/* --- Failing on purpose, over another store: tests and drills --- */

enum ak_objstore_fault {
    AK_OBJSTORE_FAULT_NONE,
    AK_OBJSTORE_FAULT_ERROR_500,   /* AK_UNAVAILABLE "500 InternalError": nothing happened */
    AK_OBJSTORE_FAULT_SLOW_503,    /* AK_UNAVAILABLE "503 SlowDown" */
    AK_OBJSTORE_FAULT_DENIED_403,  /* AK_FORBIDDEN */
    AK_OBJSTORE_FAULT_TIMEOUT,     /* AK_TIMEOUT, after the latency */
    AK_OBJSTORE_FAULT_RESET,       /* AK_UNAVAILABLE in the middle of a body: part was moved */
    AK_OBJSTORE_FAULT_LOST_ANSWER, /* it happened, and AK_UNAVAILABLE is returned all the same */
};
struct ak_objstore_fault_rule {
    enum ak_objstore_fault fault;
    unsigned ops;           /* ak_objstore_op bits it applies to; 0: all */
    int64_t nth;            /* the nth (0 = next) such call; < 0: each */
    bool sticky;            /* and all after it */
    uint32_t latency_us;    /* added to every such call */
    uint64_t bytes_per_s;   /* a slow body; 0: unlimited */
    const char *key_prefix; /* only these keys; NULL: all. Borrowed until the rule is replaced */
};
enum ak_objstore_op {
    AK_OBJSTORE_OP_GET = 1,
    AK_OBJSTORE_OP_PUT = 2,
    AK_OBJSTORE_OP_HEAD = 4,
    AK_OBJSTORE_OP_REMOVE = 8,
    AK_OBJSTORE_OP_LIST = 16,
};
/* Does not own `under`. */
AK_MUST enum ak_rc ak_objstore_open_fault(struct ak_objstore *under, struct ak_objstore **store,
                                          struct ak_err *err);
/* Replaces the rule and restarts its count. Any thread. */
void ak_objstore_fault_set(struct ak_objstore *fault, const struct ak_objstore_fault_rule *rule);
uint64_t ak_objstore_fault_fired(struct ak_objstore *fault); /* since the rule was set */
uint64_t ak_objstore_fault_calls(struct ak_objstore *fault, unsigned ops); /* since it was opened */
