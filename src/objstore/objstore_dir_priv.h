/* objstore_dir_priv.h — the parts of the dir store: names, temporary files, folders, listing.
 *
 * objstore_dir.c says how keys become paths and what is durable when.
 */
#pragma once
#include "base/sync.h"
#include "objstore/objstore_priv.h"
#include <limits.h>
#include <stdatomic.h>

#define DIR_TMP ".tmp"      /* folder of temporary files, below the root */
#define DIR_SESSION_LEN 16u /* hexadecimal digits */
#define DIR_FOLDERS_KNOWN 1024u

struct dir_store {
    struct ak_objstore base;
    struct ak_fs *fs;
    char *root; /* without a '/' at its end */
    char session[DIR_SESSION_LEN + 1];
    struct ak_file *lock; /* ".tmp/<session>.lock", flocked while the store is open */
    _Atomic uint64_t next_tmp;
    struct ak_mutex mutex; /* over what follows */
    /* Hashes of folders that are there and durable, as are those above them; a direct-mapped
     * memory, 0 is empty. */
    uint64_t known[DIR_FOLDERS_KNOWN];
    uint64_t removals; /* of folders, since the store was opened */
    unsigned removing; /* under way now */
};

static inline struct dir_store *dir_of(struct ak_objstore *store)
{
    return (struct dir_store *)store;
}

/* --- Names (objstore_dir_name.c) --- */

struct dir_path {
    size_t len;
    bool too_long; /* what did not fit was dropped */
    char text[PATH_MAX];
};

void ak_dir_path_root(const struct dir_store *store, struct dir_path *path);
void ak_dir_path_add(struct dir_path *path, struct ak_str name); /* with a '/' before it */
void ak_dir_path_cut(struct dir_path *path, size_t len);         /* back to a former length */
/* The path of an object. AK_INVALID when it is too long for the system. */
AK_MUST enum ak_rc ak_dir_path_of_key(const struct dir_store *store, struct ak_str key,
                                      struct dir_path *path, struct ak_err *err);
/* The folder of all keys that begin with `folders`, which is empty or ends with '/'. */
AK_MUST enum ak_rc ak_dir_path_of_folders(const struct dir_store *store, struct ak_str folders,
                                          struct dir_path *path, struct ak_err *err);
/* The folder that holds the last name of `path`. */
void ak_dir_path_parent(const struct dir_path *path, struct dir_path *parent);

enum dir_name_kind {
    DIR_NAME_FOREIGN, /* not a name that this store gives */
    DIR_NAME_FILE,
    DIR_NAME_FOLDER,
    DIR_NAME_REST /* a folder too: its names go on with the same part of the key */
};
/* What a name on disk stands for; appends its part of the key to `key`, with the '/' of a folder.
 * A file's name is an object's only if the key leads back to it. */
enum dir_name_kind ak_dir_name_decode(struct ak_str name, struct ak_buf *key);

/* --- Temporary files (objstore_dir_tmp.c) --- */

/* Take a session, and remove what sessions that have died left behind. */
AK_MUST enum ak_rc ak_dir_tmp_open(struct dir_store *store, struct ak_err *err);
void ak_dir_tmp_close(struct dir_store *store);
void ak_dir_tmp_name(struct dir_store *store, struct dir_path *path); /* a new one */

/* --- Names for objects (objstore_dir_place.c) --- */

/* A file that is to become an object: our own temporary one, or somebody's whose bytes are shared.
 */
struct dir_source {
    const char *path;
    bool is_tmp;
};

/* Give the synced file its name, durably, making folders on the way. AK_EXISTS: only_if_absent, and
 * there is one. AK_UNSUPPORTED: it can have no second name there. */
AK_MUST enum ak_rc ak_dir_place(struct dir_store *store, const struct dir_source *source,
                                const struct dir_path *path, bool only_if_absent,
                                struct ak_err *err);
AK_MUST enum ak_rc ak_dir_sync_folder(struct dir_store *store, const struct dir_path *path,
                                      struct ak_err *err);
/* Remove the folder of `path` and those above it as far as they are empty. */
void ak_dir_remove_folders(struct dir_store *store, const struct dir_path *path);

/* --- Listing (objstore_dir_list.c) --- */

enum ak_rc ak_dir_list(struct ak_objstore *store, struct ak_str prefix, struct ak_str after,
                       size_t limit, struct ak_arena *arena, struct ak_object **objects,
                       size_t *count, struct ak_err *err);
/* Size, time and etag of an open file, in the arena; AK_NOT_FOUND for what is no file. */
AK_MUST enum ak_rc ak_dir_stat(struct ak_file *file, struct ak_arena *arena,
                               struct ak_object *object, struct ak_err *err);
