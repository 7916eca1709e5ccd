/* fetch.c — the image back as a local file, and the digest of image files.
 *
 * An image is mapped by whoever uses it, so it is hashed where it is mapped too: that saves a copy.
 * Its digest takes as long as all that is looked at in it together: it is computed beside that.
 */
#include "base/mem.h"
#include "snapshot/snapshot_priv.h"
#include <string.h>
#include <sys/mman.h>

/* --- The digest of a file --- */

static enum ak_rc hash_read(struct ak_file *file, uint64_t len, struct ak_sha256 *hash,
                            const struct ak_snapshot_ticker *ticker, struct ak_err *err)
{
    char *step = ak_try_alloc(AK_SNAPSHOT_STEP);
    enum ak_rc rc = step ? AK_OK : ak_fail(err, AK_NOMEM, "a step of an image");
    for (uint64_t at = 0; at < len && rc == AK_OK; at += AK_SNAPSHOT_STEP) {
        size_t n = len - at < AK_SNAPSHOT_STEP ? (size_t)(len - at) : AK_SNAPSHOT_STEP;
        rc = ak_file_read_exact(file, at, step, n, err);
        if (rc == AK_OK) {
            ak_sha256_update(hash, step, n);
            rc = ak_snapshot_tick(ticker, (double)at / (double)len, err);
        }
    }
    ak_free(step);
    return rc;
}

static enum ak_rc hash_mapped(char *bytes, uint64_t len, struct ak_sha256 *hash,
                              const struct ak_snapshot_ticker *ticker, struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    for (uint64_t at = 0; at < len && rc == AK_OK; at += AK_SNAPSHOT_STEP) {
        size_t n = len - at < AK_SNAPSHOT_STEP ? (size_t)(len - at) : AK_SNAPSHOT_STEP;
        (void)madvise(bytes + at, n, MADV_POPULATE_READ); /* else a fault for every few pages */
        ak_sha256_update(hash, bytes + at, n);
        (void)madvise(bytes + at, n, MADV_DONTNEED); /* shared: nothing is lost */
        rc = ak_snapshot_tick(ticker, (double)at / (double)len, err);
    }
    return rc;
}

enum ak_rc ak_snapshot_hash_file(struct ak_fs *fs, const char *path,
                                 const struct ak_snapshot_ticker *ticker, uint64_t *len,
                                 uint8_t digest[32], struct ak_err *err)
{
    struct ak_file *file = NULL;
    struct ak_sha256 hash;
    void *bytes = MAP_FAILED;
    enum ak_rc rc = ak_fs_open(fs, path, AK_OPEN_READ, &file, err);
    if (rc == AK_OK) {
        rc = ak_file_size(file, len, err);
    }
    if (rc == AK_OK && *len > 0 && ak_file_fd(file) >= 0) {
        bytes = mmap(NULL, (size_t)*len, PROT_READ, MAP_SHARED, ak_file_fd(file), 0);
    }
    ak_sha256_init(&hash);
    if (rc == AK_OK) {
        rc = bytes == MAP_FAILED ? hash_read(file, *len, &hash, ticker, err)
                                 : hash_mapped(bytes, *len, &hash, ticker, err);
    }
    if (rc == AK_OK) {
        ak_sha256_final(&hash, digest);
    }
    if (bytes != MAP_FAILED) {
        (void)munmap(bytes, (size_t)*len);
    }
    ak_sha256_release(&hash);
    ak_file_close(file);
    return rc;
}

/* --- The image --- */

struct ak_snapshot_fetch {
    struct ak_snapshot_side *side; /* NULL: it has been waited for */
    struct ak_snapshot_ticker ticker;
    struct ak_fs *fs;
    char *path;
    struct ak_snapshot_object image; /* its key is in `key` */
    char *key;
    atomic_bool stop; /* relaxed: noticed sooner or later */
    enum ak_rc rc;    /* the job's until it is finished */
    struct ak_err err;
};

static bool image_progress(void *ctx, uint64_t done, uint64_t total)
{
    const struct ak_snapshot_ticker *ticker = ctx;
    return ak_snapshot_tick(ticker, total ? (double)done / (double)total : 0, NULL) == AK_OK;
}

static bool hash_goes_on(void *ctx, double fraction)
{
    const struct ak_snapshot_fetch *fetch = ctx;
    (void)fraction;
    return !atomic_load_explicit(&fetch->stop, memory_order_relaxed);
}

static enum ak_rc hash_fetched(struct ak_snapshot_fetch *fetch, struct ak_err *err)
{
    const struct ak_snapshot_ticker ticker = {hash_goes_on, fetch};
    uint8_t digest[32];
    uint64_t len = 0;
    enum ak_rc rc = ak_snapshot_hash_file(fetch->fs, fetch->path, &ticker, &len, digest, err);
    if (rc == AK_OK && len != fetch->image.bytes) {
        rc = ak_fail(err, AK_CORRUPT, "object '%.*s' came with %llu bytes, the metadata says %llu",
                     AK_STR_ARG(fetch->image.key), (unsigned long long)len,
                     (unsigned long long)fetch->image.bytes);
    }
    return rc == AK_OK ? ak_snapshot_digest_check(&fetch->image, digest, err) : rc;
}

static void run_hash(void *ctx)
{
    struct ak_snapshot_fetch *fetch = ctx;
    fetch->rc = hash_fetched(fetch, &fetch->err);
}

static enum ak_rc bring(struct ak_objstore *store, const struct ak_snapshot_meta *meta,
                        struct ak_fs *fs, const char *path, struct ak_snapshot_ticker *ticker,
                        struct ak_err *err)
{
    uint64_t len = 0;
    enum ak_rc rc = ak_snapshot_object_len(store, meta, &meta->image, &len, err);
    if (rc == AK_OK) { /* no copy where the store's file may be linked */
        rc = ak_objstore_link_file(store, meta->image.key, fs, path, image_progress, ticker, err);
    }
    if (rc != AK_OK) {
        (void)!ak_fs_remove(fs, path, NULL);
    }
    return rc;
}

enum ak_rc ak_snapshot_fetch_begin(struct ak_objstore *store, const struct ak_snapshot_meta *meta,
                                   struct ak_fs *fs, const char *path, struct ak_pool *pool,
                                   ak_snapshot_progress progress, void *ctx,
                                   struct ak_snapshot_fetch **out, struct ak_err *err)
{
    struct ak_snapshot_ticker ticker = {progress, ctx};
    char name[AK_SNAPSHOT_NAME_MAX];
    if (!meta->has_image) {
        return ak_fail(err, AK_NOT_FOUND, "%s has no image", ak_snapshot_name(&meta->id, name));
    }
    enum ak_rc rc = bring(store, meta, fs, path, &ticker, err);
    if (rc != AK_OK) {
        return ak_wrap(err, rc, "fetch %s", ak_snapshot_name(&meta->id, name));
    }
    struct ak_snapshot_fetch *fetch = ak_zalloc(sizeof *fetch);
    fetch->ticker = ticker;
    fetch->fs = fs;
    fetch->path = ak_strdup_n(path, strlen(path));
    fetch->image = meta->image;
    fetch->key = ak_strdup_n(meta->image.key.p, meta->image.key.len);
    fetch->image.key.p = fetch->key;
    fetch->side = ak_snapshot_side_start(pool, run_hash, fetch);
    *out = fetch;
    return AK_OK;
}

/* Who waits says whether to go on. */
static void tell(void *ctx)
{
    struct ak_snapshot_fetch *fetch = ctx;
    if (ak_snapshot_tick(&fetch->ticker, 1, NULL) != AK_OK) {
        atomic_store_explicit(&fetch->stop, true, memory_order_relaxed);
    }
}

enum ak_rc ak_snapshot_fetch_check(struct ak_snapshot_fetch *fetch, struct ak_err *err)
{
    ak_snapshot_side_finish(fetch->side, tell, fetch);
    fetch->side = NULL;
    return fetch->rc == AK_OK ? AK_OK : ak_fail(err, fetch->rc, "fetch: %s", fetch->err.text);
}

void ak_snapshot_fetch_end(struct ak_snapshot_fetch *fetch)
{
    if (!fetch) {
        return;
    }
    if (fetch->side && !ak_snapshot_side_cancel(fetch->side)) {
        atomic_store_explicit(&fetch->stop, true, memory_order_relaxed);
        ak_snapshot_side_finish(fetch->side, NULL, NULL);
    }
    ak_free(fetch->path);
    ak_free(fetch->key);
    ak_free(fetch);
}

enum ak_rc ak_snapshot_fetch_image(struct ak_objstore *store, const struct ak_snapshot_meta *meta,
                                   struct ak_fs *fs, const char *path,
                                   ak_snapshot_progress progress, void *ctx, struct ak_err *err)
{
    struct ak_snapshot_fetch *fetch = NULL;
    enum ak_rc rc =
        ak_snapshot_fetch_begin(store, meta, fs, path, NULL, progress, ctx, &fetch, err);
    if (rc != AK_OK) {
        return rc;
    }
    AK_ASSERT(fetch != NULL);
    rc = ak_snapshot_fetch_check(fetch, err);
    ak_snapshot_fetch_end(fetch);
    if (rc != AK_OK) {
        (void)!ak_fs_remove(fs, path, NULL);
    }
    return rc;
}
