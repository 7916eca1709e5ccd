/* objstore_common.c — operations made of other operations, and the file that a download fills. */
#include "base/mem.h"
#include "objstore/objstore_priv.h"
#include <limits.h>
#include <string.h>

/* --- A file that appears whole or not at all --- */

static enum ak_rc target_init(struct ak_objstore_target *target, struct ak_fs *fs, const char *path,
                              struct ak_err *err)
{
    *target = (struct ak_objstore_target){.fs = fs, .path = path};
    ak_buf_init(&target->part, PATH_MAX);
    ak_buf_add_fmt(&target->part, "%s.part", path);
    (void)ak_buf_cstr(&target->part);
    return ak_buf_check(&target->part, err);
}

/* What a crash has left. Never written over: it may be a second name of an object. */
static void remove_leftover(struct ak_fs *fs, const char *part)
{
    struct ak_err ignored; /* most often there is none; the open that follows reports the rest */
    (void)!ak_fs_remove(fs, part, &ignored);
}

/* Close and forget; the file is wherever it is. */
static void target_release(struct ak_objstore_target *target)
{
    ak_file_close(target->file);
    target->file = NULL;
    ak_buf_release(&target->part);
}

void ak_objstore_target_abort(struct ak_objstore_target *target)
{
    if (target->file) {
        struct ak_err ignored; /* the failure that led here is the one to report */
        (void)!ak_fs_remove(target->fs, ak_buf_cstr(&target->part), &ignored);
    }
    target_release(target);
}

enum ak_rc ak_objstore_target_open(struct ak_objstore_target *target, struct ak_fs *fs,
                                   const char *path, uint64_t size, struct ak_err *err)
{
    enum ak_rc rc = target_init(target, fs, path, err);
    if (rc == AK_OK) {
        const char *part = ak_buf_cstr(&target->part);
        remove_leftover(fs, part);
        rc = ak_fs_open(fs, part, AK_OPEN_WRITE | AK_OPEN_CREATE | AK_OPEN_EXCLUSIVE, &target->file,
                        err);
    }
    if (rc == AK_OK && size > 0) {
        rc = ak_file_allocate(target->file, 0, size, err);
    }
    if (rc != AK_OK) {
        ak_objstore_target_abort(target);
    }
    return rc;
}

/* The part gets its name, and the name lasts. */
static enum ak_rc target_place(struct ak_objstore_target *target, struct ak_err *err)
{
    const char *part = ak_buf_cstr(&target->part);
    struct ak_err ignored; /* the first failure is the one to report */
    enum ak_rc rc = ak_fs_rename(target->fs, part, target->path, err);
    if (rc != AK_OK) {
        (void)!ak_fs_remove(target->fs, part, &ignored);
        return rc;
    }
    /* The folder: the path up to its last '/'. */
    const char *slash = strrchr(target->path, '/');
    size_t len = slash ? (size_t)(slash - target->path) : 0;
    char *folder = !slash ? ak_strdup_n(".", 1) : ak_strdup_n(target->path, len > 0 ? len : 1);
    rc = ak_fs_sync_dir(target->fs, folder, err);
    ak_free(folder);
    if (rc != AK_OK) { /* a name that may not survive is no name */
        (void)!ak_fs_remove(target->fs, target->path, &ignored);
    }
    return rc;
}

enum ak_rc ak_objstore_target_commit(struct ak_objstore_target *target, struct ak_err *err)
{
    enum ak_rc rc = ak_file_sync(target->file, err);
    if (rc != AK_OK) {
        ak_objstore_target_abort(target);
        return rc;
    }
    rc = target_place(target, err);
    target_release(target);
    return rc;
}

enum ak_rc ak_objstore_target_link(struct ak_objstore_target *target, struct ak_fs *fs,
                                   const char *from, const char *path, struct ak_err *err)
{
    enum ak_rc rc = target_init(target, fs, path, err);
    if (rc == AK_OK) {
        remove_leftover(fs, ak_buf_cstr(&target->part));
        rc = ak_fs_link(fs, from, ak_buf_cstr(&target->part), err);
    }
    if (rc == AK_OK) {
        rc = target_place(target, err);
        struct ak_err gone; /* as it should be, unless `path` had these very bytes */
        (void)!ak_fs_remove(fs, ak_buf_cstr(&target->part), &gone);
    }
    target_release(target);
    return rc;
}

/* --- Downloads --- */

static bool is_same_object(const struct ak_object *a, const struct ak_object *b)
{
    return a->size == b->size && a->modified_us == b->modified_us && ak_str_eq(a->etag, b->etag);
}

static enum ak_rc copy_ranges(struct ak_objstore *store, struct ak_str key, uint64_t size,
                              struct ak_file *file, ak_objstore_progress progress, void *ctx,
                              struct ak_err *err)
{
    size_t cap = size < AK_OBJSTORE_CHUNK ? (size_t)size : AK_OBJSTORE_CHUNK;
    char *chunk = ak_alloc(cap + 1);
    enum ak_rc rc = ak_objstore_tell(progress, ctx, 0, size, err);
    for (uint64_t at = 0; rc == AK_OK && at < size;) {
        size_t len = size - at < cap ? (size_t)(size - at) : cap;
        rc = store->ops->get_range(store, key, at, chunk, len, err);
        if (rc == AK_OK) {
            rc = ak_file_write(file, at, chunk, len, err);
        }
        at += len;
        if (rc == AK_OK) {
            rc = ak_objstore_tell(progress, ctx, at, size, err);
        }
    }
    ak_free(chunk);
    return rc;
}

enum ak_rc ak_objstore_get_file_by_ranges(struct ak_objstore *store, struct ak_str key,
                                          struct ak_fs *fs, const char *path,
                                          ak_objstore_progress progress, void *ctx,
                                          struct ak_err *err)
{
    struct ak_arena arena;
    ak_arena_init(&arena, 0);
    struct ak_object before = {0};
    struct ak_object after = {0};
    struct ak_objstore_target target;
    enum ak_rc rc = store->ops->head(store, key, &arena, &before, err);
    if (rc == AK_OK) {
        rc = ak_objstore_target_open(&target, fs, path, before.size, err);
    }
    if (rc != AK_OK) {
        goto out;
    }
    rc = copy_ranges(store, key, before.size, target.file, progress, ctx, err);
    if (rc == AK_OK) {
        rc = store->ops->head(store, key, &arena, &after, err);
    }
    if (rc == AK_OK && !is_same_object(&before, &after)) {
        rc = ak_fail(err, AK_CONFLICT, "the object was replaced during the download: try again");
    }
    if (rc == AK_OK) {
        rc = ak_objstore_target_commit(&target, err);
    } else {
        ak_objstore_target_abort(&target);
    }
out:
    ak_arena_release(&arena);
    return rc;
}

/* --- Uploads --- */

static enum ak_rc write_file(struct ak_objstore_writer *writer, struct ak_file *file, uint64_t size,
                             ak_objstore_progress progress, void *ctx, struct ak_err *err)
{
    size_t cap = size < AK_OBJSTORE_CHUNK ? (size_t)size : AK_OBJSTORE_CHUNK;
    char *chunk = ak_alloc(cap + 1);
    enum ak_rc rc = ak_objstore_tell(progress, ctx, 0, size, err);
    for (uint64_t at = 0; rc == AK_OK && at < size;) {
        size_t len = size - at < cap ? (size_t)(size - at) : cap;
        rc = ak_file_read_exact(file, at, chunk, len, err);
        if (rc == AK_OK) {
            rc = writer->ops->write(writer, chunk, len, err);
        }
        at += len;
        if (rc == AK_OK) {
            rc = ak_objstore_tell(progress, ctx, at, size, err);
        }
    }
    ak_free(chunk);
    return rc;
}

enum ak_rc ak_objstore_put_file_by_writer(struct ak_objstore *store, struct ak_str key,
                                          struct ak_fs *fs, const char *path,
                                          ak_objstore_progress progress, void *ctx,
                                          struct ak_err *err)
{
    static const struct ak_objstore_put_options options = {0};
    struct ak_file *file = NULL;
    struct ak_objstore_writer *writer = NULL;
    uint64_t size = 0;
    enum ak_rc rc = ak_fs_open(fs, path, AK_OPEN_READ, &file, err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = ak_file_size(file, &size, err);
    if (rc == AK_OK) {
        rc = store->ops->create(store, key, &options, &writer, err);
    }
    if (rc == AK_OK) {
        rc = write_file(writer, file, size, progress, ctx, err);
        if (rc == AK_OK) {
            rc = ak_objstore_writer_commit(writer, err);
        } else {
            ak_objstore_writer_abort(writer);
        }
    }
    ak_file_close(file);
    return rc;
}

/* --- A writer in memory --- */

struct buffered_writer {
    struct ak_objstore_writer base;
    struct ak_buf bytes;
    bool only_if_absent;
    char *content_type; /* NULL: none */
};

static struct buffered_writer *buffered_of(struct ak_objstore_writer *writer)
{
    return (struct buffered_writer *)writer;
}

static void buffered_abort(struct ak_objstore_writer *base)
{
    struct buffered_writer *writer = buffered_of(base);
    ak_buf_release(&writer->bytes);
    ak_free(writer->content_type);
    ak_free(writer);
}

static enum ak_rc buffered_write(struct ak_objstore_writer *base, const void *p, size_t len,
                                 struct ak_err *err)
{
    struct buffered_writer *writer = buffered_of(base);
    ak_buf_add(&writer->bytes, p, len);
    return ak_buf_check(&writer->bytes, err);
}

static enum ak_rc buffered_commit(struct ak_objstore_writer *base, struct ak_err *err)
{
    struct buffered_writer *writer = buffered_of(base);
    struct ak_objstore_put_options options = {.only_if_absent = writer->only_if_absent,
                                              .content_type = writer->content_type};
    enum ak_rc rc =
        base->store->ops->put(base->store, base->key, ak_buf_str(&writer->bytes), &options, err);
    buffered_abort(base);
    return rc;
}

enum ak_rc ak_objstore_create_buffered(struct ak_objstore *store, struct ak_str key,
                                       const struct ak_objstore_put_options *options,
                                       struct ak_objstore_writer **out, struct ak_err *err)
{
    static const struct ak_objstore_writer_ops ops = {
        .write = buffered_write,
        .commit = buffered_commit,
        .abort = buffered_abort,
    };
    (void)err;
    const char *type = options->content_type;
    struct buffered_writer *writer = ak_zalloc(sizeof *writer);
    ak_objstore_writer_init(&writer->base, &ops, store, key);
    ak_buf_init(&writer->bytes, 0);
    writer->only_if_absent = options->only_if_absent;
    writer->content_type = type ? ak_strdup_n(type, strlen(type)) : NULL;
    *out = &writer->base;
    return AK_OK;
}
