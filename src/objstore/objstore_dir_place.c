/* objstore_dir_place.c — giving an object its name, durably, and the folders of names.
 *
 * Folders are made on the way to a name and removed with their last object. `known` remembers those
 * that are durable, so that a put into one of them syncs nothing but the folder of its name. A
 * removal forgets them all and is counted; a put that finds the count moved, or a removal under
 * way, makes and syncs its folders again after giving the name. (Another process that removes and
 * makes the same folder at that moment, and loses power before its own sync, is not seen.)
 */
#include "base/hash.h"
#include "objstore/objstore_dir_priv.h"
#include <string.h>

#define PLACE_TRIES 16 /* a folder may vanish under a put each time another thread empties it */

/* --- Folders --- */

static uint64_t *known_cell(struct dir_store *store, uint64_t hash)
{
    return &store->known[hash % DIR_FOLDERS_KNOWN];
}

static uint64_t hash_of(struct ak_str path)
{
    return ak_hash64_str(path) | 1; /* 0 is the empty cell */
}

static bool is_known(struct dir_store *store, struct ak_str path)
{
    uint64_t hash = hash_of(path);
    ak_mutex_lock(&store->mutex);
    bool found = *known_cell(store, hash) == hash;
    ak_mutex_unlock(&store->mutex);
    return found;
}

static uint64_t removals(struct dir_store *store, bool *is_quiet)
{
    ak_mutex_lock(&store->mutex);
    uint64_t count = store->removals;
    *is_quiet = store->removing == 0;
    ak_mutex_unlock(&store->mutex);
    return count;
}

/* Make the folder of `path` and those above it, each durable. */
static enum ak_rc make_folders(struct dir_store *store, const struct dir_path *path,
                               struct ak_err *err)
{
    bool was_quiet = false;
    uint64_t before = removals(store, &was_quiet);
    struct dir_path folder;
    struct dir_path parent;
    enum ak_rc rc = AK_OK;
    size_t from = strlen(store->root) + 1;
    ak_dir_path_parent(path, &folder);
    for (size_t i = from; i <= folder.len && rc == AK_OK; i++) {
        if (i < folder.len && folder.text[i] != '/') {
            continue;
        }
        char cut = folder.text[i];
        folder.text[i] = '\0';
        struct dir_path upto = {.len = i};
        memcpy(upto.text, folder.text, i + 1);
        rc = ak_fs_make_dir(store->fs, upto.text, err);
        if (rc == AK_OK) {
            ak_dir_path_parent(&upto, &parent);
            rc = ak_fs_sync_dir(store->fs, parent.text, err);
        }
        folder.text[i] = cut;
    }
    if (rc == AK_OK) {
        uint64_t hash = hash_of((struct ak_str){folder.text, folder.len});
        ak_mutex_lock(&store->mutex);
        if (was_quiet && store->removing == 0 && store->removals == before) {
            *known_cell(store, hash) = hash;
        }
        ak_mutex_unlock(&store->mutex);
    }
    return rc;
}

static void begin_removal(struct dir_store *store)
{
    ak_mutex_lock(&store->mutex);
    store->removing++;
    ak_mutex_unlock(&store->mutex);
}

static void end_removal(struct dir_store *store, bool has_removed)
{
    ak_mutex_lock(&store->mutex);
    store->removing--;
    if (has_removed) {
        store->removals++;
        memset(store->known, 0, sizeof store->known);
    }
    ak_mutex_unlock(&store->mutex);
}

/* Remove the folder of `path` and those above it as far as they are empty. Best effort: an empty
 * folder does no harm. */
void ak_dir_remove_folders(struct dir_store *store, const struct dir_path *path)
{
    struct dir_path folder;
    struct dir_path at = *path;
    bool has_removed = false;
    begin_removal(store);
    for (;;) {
        struct ak_err ignored;
        ak_dir_path_parent(&at, &folder);
        if (folder.len <= strlen(store->root) ||
            ak_fs_remove_dir(store->fs, folder.text, &ignored) != AK_OK) {
            break;
        }
        has_removed = true;
        at = folder;
    }
    end_removal(store, has_removed);
}

enum ak_rc ak_dir_sync_folder(struct dir_store *store, const struct dir_path *path,
                              struct ak_err *err)
{
    struct dir_path folder;
    ak_dir_path_parent(path, &folder);
    return ak_fs_sync_dir(store->fs, folder.text, err);
}

/* --- Giving a name --- */

/* Replace the object at `path`, by rename: of a shared file, a second name is renamed. */
static enum ak_rc replace(struct dir_store *store, const struct dir_source *source,
                          const struct dir_path *path, struct ak_err *err)
{
    struct dir_path tmp;
    struct dir_path folder;
    const char *from = source->path;
    if (!source->is_tmp) {
        ak_dir_tmp_name(store, &tmp);
        from = tmp.text;
        enum ak_rc linked = ak_fs_link(store->fs, source->path, from, err);
        if (linked != AK_OK) {
            return linked;
        }
    }
    enum ak_rc rc = ak_fs_rename(store->fs, from, path->text, err);
    if (!source->is_tmp) {
        /* It is still there after a failure, and when the object had these very bytes. */
        struct ak_err ignored;
        (void)!ak_fs_remove(store->fs, from, &ignored);
    }
    if (rc == AK_OK) {
        /* Of a rename both folders must be synced (base/file.h). */
        ak_dir_path_root(store, &folder);
        ak_dir_path_add(&folder, AK_STR(DIR_TMP));
        rc = ak_fs_sync_dir(store->fs, folder.text, err);
    }
    return rc;
}

static enum ak_rc give_name(struct dir_store *store, const struct dir_source *source,
                            const struct dir_path *path, bool only_if_absent, struct ak_err *err)
{
    enum ak_rc rc = ak_fs_link(store->fs, source->path, path->text, err);
    if (rc == AK_EXISTS && only_if_absent) {
        return ak_fail(err, AK_EXISTS, "there is such an object");
    }
    if (rc == AK_UNSUPPORTED && only_if_absent) {
        return ak_fail(err, AK_UNSUPPORTED,
                       "the file system of '%s' has no hard links, which a conditional put needs",
                       store->root);
    }
    if (rc == AK_EXISTS || (rc == AK_UNSUPPORTED && source->is_tmp)) {
        rc = replace(store, source, path, err);
    }
    return rc;
}

/* Give the synced file its name, durably. AK_UNSUPPORTED: it can have no second name there. */
enum ak_rc ak_dir_place(struct dir_store *store, const struct dir_source *source,
                        const struct dir_path *path, bool only_if_absent, struct ak_err *err)
{
    struct dir_path folder;
    enum ak_rc rc = AK_OK;
    bool is_quiet = false;
    uint64_t before = 0;
    ak_dir_path_parent(path, &folder);
    for (int tries = 0; tries < PLACE_TRIES; tries++) {
        before = removals(store, &is_quiet);
        rc = AK_OK;
        if (tries > 0 || !is_known(store, (struct ak_str){folder.text, folder.len})) {
            rc = make_folders(store, path, err);
        }
        if (rc == AK_OK) {
            rc = give_name(store, source, path, only_if_absent, err);
        }
        if (rc != AK_NOT_FOUND) {
            break;
        }
    }
    bool was_quiet = is_quiet;
    if (rc == AK_OK && (removals(store, &is_quiet) != before || !is_quiet || !was_quiet)) {
        rc = make_folders(store, path, err);
    }
    return rc == AK_OK ? ak_fs_sync_dir(store->fs, folder.text, err) : rc;
}
