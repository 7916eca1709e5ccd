/* read.c — snapshots back: the documents in batches, held against the metadata on the way. (The
 * image: fetch.c.) */
#include "base/mem.h"
#include "simd/simd.h"
#include "snapshot/snapshot_priv.h"
#include <string.h>

/* --- Rows --- */

static bool same_id(const void *ctx, uint32_t value, const void *key)
{
    const struct ak_snapshot_reader *reader = ctx;
    return ak_uuid_eq(&reader->ids[value], key);
}

/* `ids` has room for a power of two of them, doubled when it is full. */
static enum ak_rc make_room(struct ak_snapshot_reader *reader, struct ak_err *err)
{
    uint64_t rows = reader->rows;
    if (rows & (rows - 1)) {
        return AK_OK;
    }
    size_t cap = rows ? (size_t)rows * 2 : 1;
    struct ak_uuid *grown = ak_try_realloc(reader->ids, cap * sizeof *grown);
    if (!grown) {
        return ak_fail(err, AK_NOMEM, "ids of %zu documents", cap);
    }
    reader->ids = grown;
    return AK_OK;
}

static enum ak_rc check_row(struct ak_snapshot_reader *reader, const struct ak_document *row,
                            struct ak_err *err)
{
    const struct ak_snapshot_meta *meta = reader->meta;
    uint32_t old = AK_MAP_NONE;
    char id[AK_UUID_TEXT_LEN];
    if (reader->rows >= meta->vector_count) {
        return ak_fail(err, AK_CORRUPT,
                       "object '%.*s' has more than the %llu documents of the metadata",
                       AK_STR_ARG(meta->data.key), (unsigned long long)meta->vector_count);
    }
    if (!ak_f32_all_finite(row->vector, meta->collection.dimension, NULL)) {
        return ak_fail(err, AK_CORRUPT,
                       "object '%.*s': document %llu has a number that is not finite",
                       AK_STR_ARG(meta->data.key), (unsigned long long)reader->rows);
    }
    enum ak_rc rc = make_room(reader, err);
    if (rc != AK_OK) {
        return rc;
    }
    reader->ids[reader->rows] = row->id;
    rc = ak_map_put(&reader->seen, ak_uuid_hash(&row->id), &row->id, (uint32_t)reader->rows,
                    same_id, reader, &old, err);
    if (rc == AK_OK && old != AK_MAP_NONE) {
        ak_uuid_format(&row->id, id);
        rc = ak_fail(err, AK_CORRUPT, "object '%.*s': document %.*s is there twice",
                     AK_STR_ARG(meta->data.key), AK_UUID_TEXT_LEN, id);
    }
    return rc;
}

enum ak_rc ak_snapshot_reader_rows(struct ak_snapshot_reader *reader,
                                   const struct ak_document *rows, size_t count, struct ak_err *err)
{
    for (size_t i = 0; i < count; i++) {
        enum ak_rc rc = check_row(reader, &rows[i], err);
        if (rc != AK_OK) {
            return rc;
        }
        reader->content =
            ak_snapshot_content_add(reader->content, &rows[i], reader->meta->collection.dimension);
        reader->rows++;
    }
    return count ? reader->fn(reader->ctx, rows, count, err) : AK_OK;
}

/* --- Bytes --- */

enum ak_rc ak_snapshot_bytes_read(const struct ak_snapshot_bytes *bytes, uint64_t at, void *p,
                                  size_t len, struct ak_err *err)
{
    return bytes->file ? ak_file_read_exact(bytes->file, at, p, len, err)
                       : ak_objstore_get_range(bytes->store, bytes->key, at, p, len, err);
}

enum ak_rc ak_snapshot_hash(const struct ak_snapshot_bytes *bytes,
                            const struct ak_snapshot_object *object, struct ak_file *copy,
                            const struct ak_snapshot_ticker *ticker, struct ak_err *err)
{
    struct ak_sha256 hash;
    uint8_t digest[32];
    uint64_t len = bytes->len;
    char *step = ak_try_alloc(AK_SNAPSHOT_STEP);
    enum ak_rc rc = step ? AK_OK : ak_fail(err, AK_NOMEM, "a step of an object");
    ak_sha256_init(&hash);
    for (uint64_t at = 0; at < len && rc == AK_OK; at += AK_SNAPSHOT_STEP) {
        size_t n = len - at < AK_SNAPSHOT_STEP ? (size_t)(len - at) : AK_SNAPSHOT_STEP;
        rc = ak_snapshot_bytes_read(bytes, at, step, n, err);
        if (rc == AK_OK) {
            ak_sha256_update(&hash, step, n);
            rc = copy ? ak_file_write(copy, at, step, n, err) : AK_OK;
        }
        if (rc == AK_OK) {
            rc = ak_snapshot_tick(ticker, (double)at / (double)len, err);
        }
    }
    if (rc == AK_OK) {
        ak_sha256_final(&hash, digest);
        rc = ak_snapshot_digest_check(object, digest, err);
    }
    ak_sha256_release(&hash);
    ak_free(step);
    return rc;
}

enum ak_rc ak_snapshot_read_rows(const struct ak_snapshot_bytes *bytes,
                                 const struct ak_snapshot_meta *meta, ak_snapshot_rows_fn fn,
                                 void *ctx, uint64_t *rows, struct ak_err *err)
{
    struct ak_snapshot_reader reader = {.meta = meta, .fn = fn, .ctx = ctx};
    uint8_t digest[32];
    bool is_json = meta->format == AK_SNAPSHOT_JSON;
    ak_map_init(&reader.seen);
    enum ak_rc rc = is_json ? ak_snapshot_json_read(bytes, &reader, digest, err)
                            : ak_snapshot_parquet_read(bytes, &reader, err);
    if (rc == AK_OK && is_json) {
        rc = ak_snapshot_digest_check(&meta->data, digest, err);
    }
    if (rc == AK_OK && reader.rows != meta->vector_count) {
        rc = ak_fail(err, AK_CORRUPT, "object '%.*s' has %llu documents, the metadata says %llu",
                     AK_STR_ARG(meta->data.key), (unsigned long long)reader.rows,
                     (unsigned long long)meta->vector_count);
    }
    ak_map_release(&reader.seen);
    ak_free(reader.ids);
    if (rc == AK_OK && rows) {
        *rows = reader.rows;
    }
    return rc;
}

enum ak_rc ak_snapshot_read(struct ak_objstore *store, const struct ak_snapshot_meta *meta,
                            ak_snapshot_rows_fn fn, void *ctx, struct ak_err *err)
{
    char name[AK_SNAPSHOT_NAME_MAX];
    struct ak_snapshot_bytes bytes = {.store = store, .key = meta->data.key};
    enum ak_rc rc = ak_snapshot_object_len(store, meta, &meta->data, &bytes.len, err);
    if (rc == AK_OK && ak_objstore_open_file(store, bytes.key, &bytes.file, NULL) != AK_OK) {
        bytes.file = NULL; /* ranges of the object, then */
    }
    if (rc == AK_OK && meta->format == AK_SNAPSHOT_PARQUET && ak_snapshot_has_digest(&meta->data)) {
        /* Before a row of it is believed; JSON is read front to back and hashed on the way. */
        rc = ak_snapshot_hash(&bytes, &meta->data, NULL, NULL, err);
    }
    rc = rc == AK_OK ? ak_snapshot_read_rows(&bytes, meta, fn, ctx, NULL, err) : rc;
    ak_file_close(bytes.file);
    return rc == AK_OK ? rc : ak_wrap(err, rc, "read %s", ak_snapshot_name(&meta->id, name));
}
