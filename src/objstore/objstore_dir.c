/* objstore_dir.c — objects as files below a folder.
 *
 *   <root>/<key, see objstore_dir_name.c>   an object
 *   <root>/.tmp/                            objects on their way, see objstore_dir_tmp.c
 *
 * An object is written to a temporary file, which is synced and then given its name; the folder of
 * the name is synced last. A new name is made by link(2), which is never half done and replaces
 * nothing (so only_if_absent has one winner), an old one replaced by rename(2). A local file is
 * linked without a copy when it is on the same file system.
 *
 * D1 A name leads to a whole object, synced before it got the name.
 * D2 When a put has returned AK_OK, the name and every folder above it are durable.
 * D3 When a put has failed after its name was given (the sync of the folder failed), the object may
 *    be there or not, as after a lost answer.
 */
#include "base/mem.h"
#include "objstore/objstore_dir_priv.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define COPY_BYTES ((size_t)1 << 20)
#define SYNC_BYTES                                                                                 \
    ((uint64_t)8 << 20) /* of a long object: on its way to the disk while more comes */

/* --- Temporary files --- */

struct tmp {
    struct dir_path path;
    struct ak_file *file;
};

static enum ak_rc tmp_open(struct dir_store *store, struct tmp *tmp, struct ak_err *err)
{
    ak_dir_tmp_name(store, &tmp->path);
    tmp->file = NULL;
    return ak_fs_open(store->fs, tmp->path.text, AK_OPEN_WRITE | AK_OPEN_CREATE | AK_OPEN_EXCLUSIVE,
                      &tmp->file, err);
}

static void tmp_remove(struct dir_store *store, struct tmp *tmp)
{
    struct ak_err ignored; /* the next open removes it; after a rename it is not there */
    ak_file_close(tmp->file);
    tmp->file = NULL;
    (void)!ak_fs_remove(store->fs, tmp->path.text, &ignored);
}

/* Sync and name the temporary file, which is closed and gone in any case. */
static enum ak_rc tmp_place(struct dir_store *store, struct tmp *tmp, const struct dir_path *path,
                            bool only_if_absent, struct ak_err *err)
{
    struct dir_source source = {.path = tmp->path.text, .is_tmp = true};
    enum ak_rc rc = ak_file_sync(tmp->file, err);
    if (rc == AK_OK) {
        rc = ak_dir_place(store, &source, path, only_if_absent, err);
    }
    tmp_remove(store, tmp);
    return rc;
}

/* Before anything is written for nothing; ak_dir_place() decides. */
static enum ak_rc check_absent(struct dir_store *store, const struct dir_path *path,
                               struct ak_err *err)
{
    uint64_t size = 0;
    struct ak_err absent; /* is what is hoped for */
    if (ak_fs_stat(store->fs, path->text, &size, &absent) == AK_OK) {
        return ak_fail(err, AK_EXISTS, "there is such an object");
    }
    return AK_OK;
}

/* --- Whole objects --- */

static enum ak_rc open_object(struct dir_store *store, struct ak_str key, struct ak_file **file,
                              struct ak_object *object, struct ak_arena *arena, struct ak_err *err)
{
    struct dir_path path;
    enum ak_rc rc = ak_dir_path_of_key(store, key, &path, err);
    if (rc == AK_OK) {
        rc = ak_fs_open(store->fs, path.text, AK_OPEN_READ, file, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    rc = ak_dir_stat(*file, arena, object, err);
    if (rc != AK_OK) {
        ak_file_close(*file);
        *file = NULL;
    }
    return rc;
}

static enum ak_rc dir_get(struct ak_objstore *base, struct ak_str key, struct ak_buf *out,
                          struct ak_err *err)
{
    struct ak_file *file = NULL;
    struct ak_object object = {0};
    enum ak_rc rc = open_object(dir_of(base), key, &file, &object, NULL, err);
    if (rc != AK_OK) {
        return rc;
    }
    char *to = object.size <= SIZE_MAX ? ak_buf_reserve(out, (size_t)object.size) : NULL;
    if (to || object.size == 0) {
        rc = object.size ? ak_file_read_exact(file, 0, to, (size_t)object.size, err) : AK_OK;
    } else {
        rc = ak_wrap(err, ak_buf_check(out, err), "the object has %llu bytes",
                     (unsigned long long)object.size);
    }
    if (rc == AK_OK) {
        out->len += (size_t)object.size;
    }
    ak_file_close(file);
    return rc;
}

static enum ak_rc dir_put(struct ak_objstore *base, struct ak_str key, struct ak_str bytes,
                          const struct ak_objstore_put_options *options, struct ak_err *err)
{
    struct dir_store *store = dir_of(base);
    struct dir_path path;
    struct tmp tmp;
    enum ak_rc rc = ak_dir_path_of_key(store, key, &path, err);
    if (rc == AK_OK && options->only_if_absent) {
        rc = check_absent(store, &path, err);
    }
    if (rc == AK_OK) {
        rc = tmp_open(store, &tmp, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    rc = ak_file_write(tmp.file, 0, bytes.p, bytes.len, err);
    if (rc != AK_OK) {
        tmp_remove(store, &tmp);
        return rc;
    }
    return tmp_place(store, &tmp, &path, options->only_if_absent, err);
}

static enum ak_rc dir_head(struct ak_objstore *base, struct ak_str key, struct ak_arena *arena,
                           struct ak_object *object, struct ak_err *err)
{
    struct ak_file *file = NULL;
    object->key = ak_arena_str(arena, key);
    if (!object->key.p) {
        return ak_fail(err, AK_NOMEM, "no memory for a key of %zu bytes", key.len);
    }
    enum ak_rc rc = open_object(dir_of(base), key, &file, object, arena, err);
    ak_file_close(file);
    return rc;
}

static enum ak_rc dir_remove(struct ak_objstore *base, struct ak_str key, struct ak_err *err)
{
    struct dir_store *store = dir_of(base);
    struct dir_path path;
    enum ak_rc rc = ak_dir_path_of_key(store, key, &path, err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = ak_fs_remove(store->fs, path.text, err);
    if (rc == AK_OK || rc == AK_NOT_FOUND) {
        /* Also when it was gone: whoever removed it may have died before this sync. */
        rc = ak_dir_sync_folder(store, &path, err);
    }
    if (rc == AK_OK) {
        ak_dir_remove_folders(store, &path);
    }
    return rc == AK_NOT_FOUND ? AK_OK : rc; /* not even the folder is there */
}

/* --- Parts and files --- */

static enum ak_rc dir_get_range(struct ak_objstore *base, struct ak_str key, uint64_t from, void *p,
                                size_t len, struct ak_err *err)
{
    struct ak_file *file = NULL;
    struct ak_object object = {0};
    enum ak_rc rc = open_object(dir_of(base), key, &file, &object, NULL, err);
    if (rc == AK_OK) {
        rc = ak_file_read_exact(file, from, p, len, err);
    }
    ak_file_close(file);
    return rc;
}

static enum ak_rc copy(struct ak_file *from, struct ak_file *to, uint64_t size,
                       ak_objstore_progress progress, void *ctx, struct ak_err *err)
{
    char *chunk = ak_alloc(COPY_BYTES);
    enum ak_rc rc = ak_objstore_tell(progress, ctx, 0, size, err);
    for (uint64_t at = 0; rc == AK_OK && at < size;) {
        size_t len = size - at < COPY_BYTES ? (size_t)(size - at) : COPY_BYTES;
        rc = ak_file_read_exact(from, at, chunk, len, err);
        if (rc == AK_OK) {
            rc = ak_file_write(to, at, chunk, len, err);
        }
        at += len;
        if (rc == AK_OK) {
            rc = ak_objstore_tell(progress, ctx, at, size, err);
        }
    }
    ak_free(chunk);
    return rc;
}

static enum ak_rc dir_get_file(struct ak_objstore *base, struct ak_str key, struct ak_fs *fs,
                               const char *path, ak_objstore_progress progress, void *ctx,
                               struct ak_err *err)
{
    struct ak_file *file = NULL;
    struct ak_object object = {0};
    struct ak_objstore_target target;
    enum ak_rc rc = open_object(dir_of(base), key, &file, &object, NULL, err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = ak_objstore_target_open(&target, fs, path, object.size, err);
    if (rc == AK_OK) {
        rc = copy(file, target.file, object.size, progress, ctx, err);
        if (rc == AK_OK) {
            rc = ak_objstore_target_commit(&target, err);
        } else {
            ak_objstore_target_abort(&target);
        }
    }
    ak_file_close(file);
    return rc;
}

/* The object's file gets a second name: first a temporary one, so that `path` is replaced at once.
 */
static enum ak_rc dir_link_file(struct ak_objstore *base, struct ak_str key, struct ak_fs *fs,
                                const char *path, struct ak_err *err)
{
    struct dir_store *store = dir_of(base);
    struct dir_path from;
    struct ak_objstore_target target;
    enum ak_rc rc = ak_dir_path_of_key(store, key, &from, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (fs != store->fs) {
        return ak_fail(err, AK_UNSUPPORTED, "'%s' is of another file system", path);
    }
    return ak_objstore_target_link(&target, fs, from.text, path, err);
}

static enum ak_rc dir_open_file(struct ak_objstore *base, struct ak_str key, struct ak_file **file,
                                struct ak_err *err)
{
    struct ak_object object = {0};
    return open_object(dir_of(base), key, file, &object, NULL, err);
}

static enum ak_rc copy_to_object(struct dir_store *store, struct ak_file *file, uint64_t size,
                                 const struct dir_path *path, ak_objstore_progress progress,
                                 void *ctx, struct ak_err *err)
{
    struct tmp tmp;
    enum ak_rc rc = tmp_open(store, &tmp, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (size > 0) {
        rc = ak_file_allocate(tmp.file, 0, size, err);
    }
    if (rc == AK_OK) {
        rc = copy(file, tmp.file, size, progress, ctx, err);
    }
    if (rc != AK_OK) {
        tmp_remove(store, &tmp);
        return rc;
    }
    return tmp_place(store, &tmp, path, false, err);
}

static enum ak_rc dir_put_file(struct ak_objstore *base, struct ak_str key, struct ak_fs *fs,
                               const char *from, ak_objstore_progress progress, void *ctx,
                               struct ak_err *err)
{
    struct dir_store *store = dir_of(base);
    struct dir_path path;
    struct ak_file *file = NULL;
    uint64_t size = 0;
    enum ak_rc rc = ak_dir_path_of_key(store, key, &path, err);
    if (rc == AK_OK) {
        rc = ak_fs_open(fs, from, AK_OPEN_READ, &file, err);
    }
    if (rc == AK_OK) {
        rc = ak_file_size(file, &size, err);
    }
    if (rc == AK_OK) {
        rc = ak_objstore_tell(progress, ctx, 0, size, err);
    }
    enum ak_rc linked = AK_UNSUPPORTED;
    if (rc == AK_OK && fs == store->fs) {
        struct dir_source source = {.path = from};
        rc = ak_file_sync(file, err); /* it becomes an object as it is: D1 */
        if (rc == AK_OK) {
            linked = ak_dir_place(store, &source, &path, false, err);
            rc = linked == AK_UNSUPPORTED ? AK_OK : linked;
        }
    }
    if (rc == AK_OK && linked == AK_UNSUPPORTED) {
        rc = copy_to_object(store, file, size, &path, progress, ctx, err);
    } else if (rc == AK_OK) {
        (void)!ak_objstore_tell(progress, ctx, size, size, NULL); /* too late to cancel */
    }
    ak_file_close(file);
    return rc;
}

/* --- Writers --- */

struct dir_writer {
    struct ak_objstore_writer base;
    struct tmp tmp;
    struct dir_path path;
    bool only_if_absent;
    uint64_t begun; /* bytes that are on their way to the disk */
};

static struct dir_writer *writer_of(struct ak_objstore_writer *writer)
{
    return (struct dir_writer *)writer;
}

static enum ak_rc dir_writer_write(struct ak_objstore_writer *base, const void *p, size_t len,
                                   struct ak_err *err)
{
    struct dir_writer *writer = writer_of(base);
    enum ak_rc rc = ak_file_write(writer->tmp.file, base->bytes, p, len, err);
    if (rc == AK_OK && base->bytes + len - writer->begun >= SYNC_BYTES) {
        ak_file_begin_sync(writer->tmp.file, writer->begun, base->bytes + len - writer->begun);
        writer->begun = base->bytes + len;
    }
    return rc;
}

static enum ak_rc dir_writer_commit(struct ak_objstore_writer *base, struct ak_err *err)
{
    struct dir_writer *writer = writer_of(base);
    enum ak_rc rc =
        tmp_place(dir_of(base->store), &writer->tmp, &writer->path, writer->only_if_absent, err);
    ak_free(writer);
    return rc;
}

static void dir_writer_abort(struct ak_objstore_writer *base)
{
    struct dir_writer *writer = writer_of(base);
    tmp_remove(dir_of(base->store), &writer->tmp);
    ak_free(writer);
}

static enum ak_rc dir_create(struct ak_objstore *base, struct ak_str key,
                             const struct ak_objstore_put_options *options,
                             struct ak_objstore_writer **out, struct ak_err *err)
{
    static const struct ak_objstore_writer_ops ops = {
        .write = dir_writer_write,
        .commit = dir_writer_commit,
        .abort = dir_writer_abort,
    };
    struct dir_store *store = dir_of(base);
    struct dir_writer *writer = ak_zalloc(sizeof *writer);
    writer->only_if_absent = options->only_if_absent;
    enum ak_rc rc = ak_dir_path_of_key(store, key, &writer->path, err);
    if (rc == AK_OK && options->only_if_absent) {
        rc = check_absent(store, &writer->path, err);
    }
    if (rc == AK_OK) {
        rc = tmp_open(store, &writer->tmp, err);
    }
    if (rc != AK_OK) {
        ak_free(writer);
        return rc;
    }
    ak_objstore_writer_init(&writer->base, &ops, base, key);
    *out = &writer->base;
    return AK_OK;
}

/* --- Open and close --- */

static void dir_close(struct ak_objstore *base)
{
    struct dir_store *store = dir_of(base);
    ak_dir_tmp_close(store);
    ak_mutex_release(&store->mutex);
    ak_free(store->root);
    ak_free(store);
}

static enum ak_rc dir_locate(struct ak_objstore *base, struct ak_str key, struct ak_buf *out,
                             bool *is_file, struct ak_err *err)
{
    struct dir_path path;
    char here[PATH_MAX];
    enum ak_rc rc = ak_dir_path_of_key(dir_of(base), key, &path, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (path.text[0] != '/') {
        if (!getcwd(here, sizeof here)) {
            return ak_fail_errno(err, errno, "the working folder");
        }
        ak_buf_add_fmt(out, "%s/", here);
    }
    ak_buf_add(out, path.text, path.len);
    *is_file = true;
    return AK_OK;
}

enum ak_rc ak_objstore_open_dir(struct ak_fs *fs, const char *root, struct ak_objstore **out,
                                struct ak_err *err)
{
    static const struct ak_objstore_ops ops = {
        .get = dir_get,
        .put = dir_put,
        .head = dir_head,
        .remove = dir_remove,
        .get_range = dir_get_range,
        .list = ak_dir_list,
        .get_file = dir_get_file,
        .link_file = dir_link_file,
        .open_file = dir_open_file,
        .put_file = dir_put_file,
        .create = dir_create,
        .locate = dir_locate,
        .close = dir_close,
    };
    size_t len = strlen(root);
    while (len > 1 && root[len - 1] == '/') {
        len--;
    }
    if (len == 0 || len > PATH_MAX / 2) {
        return ak_fail(err, AK_INVALID, "the path of an object store must have 1 to %d bytes",
                       PATH_MAX / 2);
    }
    struct dir_store *store = ak_zalloc(sizeof *store);
    struct dir_path tmp;
    store->fs = fs;
    store->root = ak_strdup_n(root, len);
    ak_mutex_init(&store->mutex, AK_RANK_LEAF, "objstore_dir");
    ak_objstore_init(&store->base, &ops, "dir '%s'", store->root);
    ak_dir_path_root(store, &tmp);
    ak_dir_path_add(&tmp, AK_STR(DIR_TMP));
    enum ak_rc rc = ak_fs_make_dirs(fs, tmp.text, err);
    if (rc == AK_OK) {
        rc = ak_dir_tmp_open(store, err);
    }
    if (rc != AK_OK) {
        rc = ak_wrap(err, rc, "open the object store in '%s'", store->root);
        ak_objstore_close(&store->base);
        return rc;
    }
    *out = &store->base;
    return AK_OK;
}
