/* write.c — one snapshot's objects, from a source into the store.
 *
 * The data is encoded and sent by the caller's thread (and the pool's), the image is checked,
 * hashed and sent beside it by one job of the pool (side.c). Each object is hashed as its bytes
 * pass.
 *
 *   write     data ──┐
 *                    ├─ both whole → *meta; a failure of one stops the other, and both go
 *             image ─┘
 *   commit    the metadata object (store.c)
 */
#include "base/mem.h"
#include "index/image.h"
#include "snapshot/snapshot_priv.h"
#include <string.h>

/* --- The image --- */

struct image_job { /* the job's own until it is finished, but for the atomics */
    struct ak_snapshot_side *side;
    struct ak_objstore *store;
    const char *path; /* or NULL: blob */
    struct ak_str blob;
    bool is_checked; /* by the source */
    struct ak_snapshot_key key;
    uint64_t total;
    atomic_uint_fast64_t done; /* relaxed: a number for the progress bar */
    atomic_bool stop;          /* relaxed: noticed sooner or later */
    enum ak_rc rc;
    struct ak_err err;
    uint64_t bytes;
    uint8_t sha256[32];
};

static bool image_progress(void *ctx, uint64_t done, uint64_t total)
{
    struct image_job *job = ctx;
    (void)total;
    /* Hashing is the first half. */
    atomic_store_explicit(&job->done, job->total / 2 + done / 2, memory_order_relaxed);
    return !atomic_load_explicit(&job->stop, memory_order_relaxed);
}

/* A damaged image would come back damaged, with a digest that fits. */
static enum ak_rc check_image(struct image_job *job, struct ak_err *err)
{
    struct ak_image *image = NULL;
    enum ak_rc rc = ak_image_open_file(ak_fs_posix(), job->path, &image, err);
    if (rc == AK_OK) {
        ak_image_stream(image); /* read once: its pages need not stay */
        rc = ak_image_check_all(image, err);
        ak_image_close(image);
    }
    return rc;
}

static bool hash_progress(void *ctx, double fraction)
{
    struct image_job *job = ctx;
    atomic_store_explicit(&job->done, (uint64_t)((double)job->total * fraction / 2),
                          memory_order_relaxed);
    return !atomic_load_explicit(&job->stop, memory_order_relaxed);
}

static enum ak_rc send_image(struct image_job *job, struct ak_err *err)
{
    struct ak_str key = ak_snapshot_key_str(&job->key);
    if (!job->path) {
        ak_sha256(job->blob.p, job->blob.len, job->sha256);
        job->bytes = job->blob.len;
        return ak_objstore_put(job->store, key, job->blob, NULL, err);
    }
    enum ak_rc rc = job->is_checked ? AK_OK : check_image(job, err);
    if (rc == AK_OK) {
        const struct ak_snapshot_ticker ticker = {hash_progress, job};
        rc =
            ak_snapshot_hash_file(ak_fs_posix(), job->path, &ticker, &job->bytes, job->sha256, err);
    }
    if (rc == AK_OK) {
        rc = ak_objstore_put_file(job->store, key, ak_fs_posix(), job->path, image_progress, job,
                                  err);
    }
    return rc;
}

static void run_image(void *ctx)
{
    struct image_job *job = ctx;
    job->rc = atomic_load_explicit(&job->stop, memory_order_relaxed)
                  ? ak_fail(&job->err, AK_CONFLICT, "cancelled")
                  : send_image(job, &job->err);
}

static void start_image(struct image_job *job, struct ak_objstore *store, const struct ak_uuid *id,
                        const struct ak_snapshot_source *source, struct ak_pool *pool)
{
    job->store = store;
    job->path = source->image_path;
    job->blob = source->image_blob;
    job->is_checked = source->image_is_checked;
    job->total = job->blob.len;
    ak_snapshot_key_of(&source->info.id, id, AK_SNAPSHOT_PART_IMAGE, &job->key);
    if (job->path && ak_fs_stat(ak_fs_posix(), job->path, &job->total, NULL) != AK_OK) {
        job->total = 0; /* the job itself says what is wrong */
    }
    job->side = ak_snapshot_side_start(pool, run_image, job);
}

/* --- The data --- */

struct writing {
    struct ak_objstore_writer *writer;
    struct ak_sha256 hash;
    uint64_t bytes;
    struct image_job *image; /* NULL: none */
    struct ak_snapshot_ticker ticker;
    double weight; /* of the data in the whole, in bytes */
};

static enum ak_rc send(void *ctx, const void *p, size_t len, struct ak_err *err)
{
    struct writing *w = ctx;
    enum ak_rc rc = ak_objstore_write(w->writer, p, len, err);
    if (rc == AK_OK) {
        ak_sha256_update(&w->hash, p, len);
        w->bytes += len;
    }
    return rc;
}

static double fraction_of(struct writing *w, double data)
{
    double total = w->weight;
    double done = w->weight * data;
    if (w->image) {
        total += (double)w->image->total;
        done += (double)atomic_load_explicit(&w->image->done, memory_order_relaxed);
    }
    return done / total;
}

static bool data_progress(void *ctx, double fraction)
{
    struct writing *w = ctx;
    return !w->ticker.fn || w->ticker.fn(w->ticker.ctx, fraction_of(w, fraction));
}

static enum ak_rc write_data(struct writing *w, struct ak_objstore *store,
                             const struct ak_snapshot_source *source,
                             const struct ak_snapshot_options *options,
                             struct ak_snapshot_meta *meta, struct ak_err *err)
{
    struct ak_snapshot_ticker ticker = {data_progress, w};
    struct ak_objstore_put_options put = {.content_type = options->format == AK_SNAPSHOT_JSON
                                                              ? "application/json"
                                                              : "application/vnd.apache.parquet"};
    enum ak_rc rc = ak_objstore_create(store, meta->data.key, &put, &w->writer, err);
    if (rc != AK_OK) {
        return rc;
    }
    ak_sha256_init(&w->hash);
    const struct ak_snapshot_sink sink = {send, w};
    rc = options->format == AK_SNAPSHOT_JSON
             ? ak_snapshot_json_write(source, &sink, &ticker, err)
             : ak_snapshot_parquet_write(source, options, &sink, &ticker, &meta->max_error, err);
    if (rc != AK_OK) {
        ak_objstore_abort(w->writer);
        ak_sha256_release(&w->hash);
        return rc;
    }
    ak_sha256_final(&w->hash, meta->data.sha256);
    rc = ak_objstore_commit(w->writer, &meta->data.bytes, err);
    if (rc == AK_OK && meta->data.bytes != w->bytes) {
        rc = ak_fail(err, AK_CORRUPT, "object '%.*s' has %llu bytes in the store, %llu were sent",
                     AK_STR_ARG(meta->data.key), (unsigned long long)meta->data.bytes,
                     (unsigned long long)w->bytes);
    }
    return rc;
}

/* Meanwhile reports go on, and the wish to stop is passed on. */
static void tell_image(void *ctx)
{
    struct writing *w = ctx;
    if (!data_progress(w, 1)) {
        atomic_store_explicit(&w->image->stop, true, memory_order_relaxed);
    }
}

static enum ak_rc finish_image(struct writing *w, struct ak_snapshot_meta *meta, struct ak_err *err)
{
    struct image_job *job = w->image;
    ak_snapshot_side_finish(job->side, tell_image, w);
    if (job->rc != AK_OK) {
        return ak_fail(err, job->rc, "%s", job->err.text);
    }
    meta->image.bytes = job->bytes;
    memcpy(meta->image.sha256, job->sha256, sizeof job->sha256);
    return atomic_load_explicit(&job->stop, memory_order_relaxed)
               ? ak_fail(err, AK_CONFLICT, "cancelled")
               : AK_OK;
}

static enum ak_rc write_both(struct ak_objstore *store, const struct ak_snapshot_source *source,
                             const struct ak_snapshot_options *options,
                             const struct ak_snapshot_ticker *ticker, struct ak_snapshot_meta *meta,
                             struct ak_err *err)
{
    struct image_job image = {.rc = AK_OK};
    struct writing w = {.ticker = *ticker};
    w.weight = (double)source->rows * (double)source->info.dimension * sizeof(float);
    if (meta->has_image) {
        w.image = &image;
        start_image(&image, store, &meta->id, source, options->pool);
    }
    enum ak_rc rc = write_data(&w, store, source, options, meta, err);
    if (w.image && rc != AK_OK) {
        atomic_store_explicit(&image.stop, true, memory_order_relaxed);
        (void)finish_image(&w, meta, NULL);
    } else if (w.image) {
        rc = finish_image(&w, meta, err);
    }
    return rc;
}

/* What failed leaves nothing; a store that is away is swept later. */
static void remove_written(struct ak_objstore *store, const struct ak_snapshot_meta *meta)
{
    (void)!ak_objstore_remove(store, meta->data.key, NULL);
    if (meta->has_image) {
        (void)!ak_objstore_remove(store, meta->image.key, NULL);
    }
}

/* Strings and keys into the arena. */
static enum ak_rc fill_meta(const struct ak_uuid *id, const struct ak_snapshot_source *source,
                            const struct ak_snapshot_options *options, struct ak_arena *arena,
                            struct ak_snapshot_meta *meta, struct ak_err *err)
{
    struct ak_snapshot_key data;
    struct ak_snapshot_key image;
    bool is_json = options->format == AK_SNAPSHOT_JSON;
    *meta = (struct ak_snapshot_meta){.id = *id, .collection = source->info};
    meta->vector_count = source->rows;
    meta->lsn = source->lsn;
    meta->format = options->format;
    meta->compression = is_json ? AK_CODEC_NONE : options->compression;
    meta->encoding = is_json ? AK_SNAPSHOT_LOSSLESS : options->encoding;
    meta->lossless = meta->encoding == AK_SNAPSHOT_LOSSLESS || meta->encoding == AK_SNAPSHOT_PLAIN;
    meta->has_image = !options->no_image && (source->image_path || source->image_blob.len);
    meta->akidb_version = AK_STR(AKIDB_VERSION);
    ak_snapshot_key_of(&source->info.id, id, ak_snapshot_data_part(options->format), &data);
    ak_snapshot_key_of(&source->info.id, id, AK_SNAPSHOT_PART_IMAGE, &image);
    meta->collection.name = ak_arena_str(arena, source->info.name);
    meta->collection.embedding_model = ak_arena_str(arena, source->info.embedding_model);
    meta->data.key = ak_arena_str(arena, ak_snapshot_key_str(&data));
    meta->image.key =
        meta->has_image ? ak_arena_str(arena, ak_snapshot_key_str(&image)) : AK_STR_NONE;
    if (!meta->collection.name.p || !meta->collection.embedding_model.p || !meta->data.key.p ||
        (meta->has_image && !meta->image.key.p)) {
        return ak_fail(err, AK_NOMEM, "no memory for the metadata");
    }
    return AK_OK;
}

enum ak_rc ak_snapshot_write(struct ak_objstore *store, const struct ak_uuid *id,
                             const struct ak_snapshot_source *source,
                             const struct ak_snapshot_options *options, int64_t created_us,
                             struct ak_arena *arena, ak_snapshot_progress progress, void *ctx,
                             struct ak_snapshot_meta *out, struct ak_err *err)
{
    char name[AK_SNAPSHOT_NAME_MAX];
    struct ak_snapshot_meta meta;
    struct ak_snapshot_ticker ticker = {progress, ctx};
    enum ak_rc rc = ak_snapshot_options_check(options, err);
    if (rc == AK_OK) {
        rc = ak_snapshot_source_check(source, err);
    }
    if (rc == AK_OK) {
        rc = fill_meta(id, source, options, arena, &meta, err);
    }
    if (rc == AK_OK) {
        rc = write_both(store, source, options, &ticker, &meta, err);
        if (rc != AK_OK) {
            remove_written(store, &meta);
        }
    }
    if (rc != AK_OK) {
        return ak_wrap(err, rc, "write %s", ak_snapshot_name(id, name));
    }
    meta.created_us = created_us;
    meta.size_bytes = meta.data.bytes + meta.image.bytes;
    *out = meta;
    return AK_OK;
}
