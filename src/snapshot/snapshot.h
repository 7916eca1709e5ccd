/* snapshot.h — one consistent state of a collection as objects that anyone can read.
 *
 *   snapshots/<collection_id>/<snapshot_id>.parquet | .json   documents and vectors
 *   snapshots/<collection_id>/<snapshot_id>.akx               index image: restored by mapping
 *   snapshots/<collection_id>/<snapshot_id>.metadata.json     written last: the commit point
 *
 * A snapshot exists if and only if its metadata object does. This module knows formats and the
 * store's layout; who makes snapshots of live collections, when, and what happens after a crash in
 * the middle is src/archive. Format: docs/formats/snapshot.md.
 *
 * Threads: calls on different snapshots from any thread; callbacks come on the thread of the call.
 * Memory: writing and reading take at most 64 MiB beyond what the caller holds, in every form, and
 * reading a snapshot 34 bytes a document more (duplicate ids are found). Importing takes what the
 * file's pages need, at most 512 MiB a column; of files of ours 64 MiB.
 * Strings of results are in the caller's arena.
 */
#pragma once
#include "base/pool.h"
#include "codec/codec.h"
#include "model/collection.h"
#include "objstore/objstore.h"

enum ak_snapshot_format { AK_SNAPSHOT_PARQUET, AK_SNAPSHOT_JSON };
enum ak_snapshot_encoding {
    AK_SNAPSHOT_LOSSLESS, /* BYTE_STREAM_SPLIT (or PLAIN): every float bit for bit */
    AK_SNAPSHOT_PLAIN,    /* lossless as well; for readers without BYTE_STREAM_SPLIT */
    AK_SNAPSHOT_BF16,     /* f32 rounded to bfloat16; lossy */
    AK_SNAPSHOT_Q8        /* 256 values per row group, dictionary encoded; lossy */
};
const char *ak_snapshot_format_name(enum ak_snapshot_format format);
AK_MUST bool ak_snapshot_format_parse(struct ak_str text, enum ak_snapshot_format *format);
const char *ak_snapshot_encoding_name(enum ak_snapshot_encoding encoding);
AK_MUST bool ak_snapshot_encoding_parse(struct ak_str text, enum ak_snapshot_encoding *encoding);

/* --- What a snapshot is made from --- */

/* One state of a collection that does not change while it is read (writes go on beside it). */
struct ak_snapshot_source {
    struct ak_collection_info info;
    uint64_t lsn; /* everything logged for the collection below it is in the state */
    uint64_t rows;
    /* Rows [from, from + count) in a fixed order, with id and inserted_us set; views valid until
     * the source is closed. Any thread. */
    enum ak_rc (*read)(void *ctx, uint64_t from, size_t count, struct ak_document *rows,
                       struct ak_err *err);
    /* Nothing looks at rows before `row` any more: their memory may go. NULL: it may not. */
    void (*passed)(void *ctx, uint64_t row);
    void *ctx;
    const char *image_path;   /* the state's index image as a file that stays unchanged, or NULL */
    struct ak_str image_blob; /* or its bytes (small collections); both empty: no image */
    bool image_is_checked;    /* its checksums have been verified: not done again */
    /* Of each row, where the source may hold several; NULL: all have info.dimension. */
    const uint32_t *dimensions;
};

struct ak_snapshot_object {
    struct ak_str key;
    uint64_t bytes;
    uint8_t sha256[32]; /* all zero: not recorded (metadata of an older version) */
};

struct ak_snapshot_meta { /* the metadata object; unknown fields are ignored, no format means JSON
                           */
    struct ak_uuid id;    /* version 7: ordered by time */
    struct ak_collection_info collection; /* id, name, dimension, metric, model, index parameters */
    uint64_t vector_count;
    uint64_t lsn;
    int64_t created_us;
    uint64_t size_bytes; /* of all its objects but the metadata */
    enum ak_snapshot_format format;
    enum ak_codec compression;
    enum ak_snapshot_encoding encoding;
    bool lossless;
    double max_error; /* largest |stored − original| of a lossy encoding */
    bool has_image;
    struct ak_snapshot_object data;
    struct ak_snapshot_object image;
    struct ak_str akidb_version;
};
AK_MUST enum ak_rc ak_snapshot_meta_write(const struct ak_snapshot_meta *meta, struct ak_buf *json,
                                          struct ak_err *err);
/* AK_CORRUPT names the field. */
AK_MUST enum ak_rc ak_snapshot_meta_read(struct ak_str json, struct ak_arena *arena,
                                         struct ak_snapshot_meta *meta, struct ak_err *err);

struct ak_snapshot_options {
    enum ak_snapshot_format format;
    enum ak_codec compression;          /* of Parquet pages; the default to pass is AK_CODEC_ZSTD */
    enum ak_snapshot_encoding encoding; /* of Parquet: JSON is always lossless */
    uint32_t row_group_rows; /* 0: 10,000, fewer when its vectors pass 32 MiB, lossy 16 */
    bool no_image;
    struct ak_pool *pool; /* encodes pages in parallel; NULL: on this thread */
};

/* AK_INVALID: what does not go together, and what to change: JSON and a lossy encoding. */
AK_MUST enum ak_rc ak_snapshot_options_check(const struct ak_snapshot_options *options,
                                             struct ak_err *err);

/* Told now and then how far it is, 0..1; return false to stop (AK_CONFLICT "cancelled"). */
typedef bool (*ak_snapshot_progress)(void *ctx, double fraction);

/* --- Creating: write, then commit --- */

/* Put data and image under id `id`; *meta is filled (strings in the arena) and not yet stored.
 * AK_INVALID: the collection is empty, rows differ in dimension (names the first), or the options
 * do not go together. After a
 * failure nothing is left in the store, unless the store is away: ak_snapshot_remove() then
 * finishes the job. */
AK_MUST enum ak_rc ak_snapshot_write(struct ak_objstore *store, const struct ak_uuid *id,
                                     const struct ak_snapshot_source *source,
                                     const struct ak_snapshot_options *options, int64_t created_us,
                                     struct ak_arena *arena, ak_snapshot_progress progress,
                                     void *ctx, struct ak_snapshot_meta *meta, struct ak_err *err);
/* The commit point: put the metadata object (only if absent, where the store can). Repeating it
 * with the same metadata is AK_OK. */
AK_MUST enum ak_rc ak_snapshot_commit(struct ak_objstore *store,
                                      const struct ak_snapshot_meta *meta, struct ak_err *err);

/* --- Finding --- */

/* AK_NOT_FOUND. */
AK_MUST enum ak_rc ak_snapshot_get(struct ak_objstore *store, const struct ak_uuid *collection,
                                   const struct ak_uuid *id, struct ak_arena *arena,
                                   struct ak_snapshot_meta *meta, struct ak_err *err);
/* A metadata object that cannot be read: damaged, of another snapshot, or of a newer version. */
struct ak_snapshot_damage {
    struct ak_uuid id; /* as its key has it */
    struct ak_str key;
    struct ak_str why;
};
struct ak_snapshot_damages {
    struct ak_snapshot_damage *items;
    size_t count;
};
/* All snapshots of a collection, newest first; and apart from them, newest first too, those whose
 * metadata cannot be read (damages may be NULL): they are no reason to fail. */
AK_MUST enum ak_rc ak_snapshot_list(struct ak_objstore *store, const struct ak_uuid *collection,
                                    struct ak_arena *arena, struct ak_snapshot_meta **list,
                                    size_t *count, struct ak_snapshot_damages *damages,
                                    struct ak_err *err);
/* Metadata first, then the others; what is gone already is no error. */
AK_MUST enum ak_rc ak_snapshot_remove(struct ak_objstore *store, const struct ak_uuid *collection,
                                      const struct ak_uuid *id, struct ak_err *err);
/* The same, and what a writer that is gone has left of it in the middle of an upload: nobody may be
 * writing it. */
AK_MUST enum ak_rc ak_snapshot_abandon(struct ak_objstore *store, const struct ak_uuid *collection,
                                       const struct ak_uuid *id, struct ak_err *err);
/* Collections with an object of a snapshot that has no metadata, each once, whatever its age and
 * whoever is making it: what ak_snapshot_sweep() is to look at. false from fn: stop. */
typedef bool (*ak_snapshot_orphans_fn)(void *ctx, const struct ak_uuid *collection);
AK_MUST enum ak_rc ak_snapshot_find_orphans(struct ak_objstore *store, ak_snapshot_orphans_fn fn,
                                            void *ctx, struct ak_err *err);
/* Objects of the collection that belong to no snapshot and to none of `keep` (ids under way) are
 * removed, when the id was made and the object last changed before `before_us` (what says neither
 * stays): somebody else may be about to commit a younger one. *removed counts them. */
AK_MUST enum ak_rc ak_snapshot_sweep(struct ak_objstore *store, const struct ak_uuid *collection,
                                     const struct ak_uuid *keep, size_t keep_count,
                                     int64_t before_us, uint64_t *removed, struct ak_err *err);

/* --- Reading back --- */

/* The image as a local file, its SHA-256 and length held against the metadata. AK_CORRUPT names the
 * object; AK_NOT_FOUND: there is none. */
AK_MUST enum ak_rc ak_snapshot_fetch_image(struct ak_objstore *store,
                                           const struct ak_snapshot_meta *meta, struct ak_fs *fs,
                                           const char *path, ak_snapshot_progress progress,
                                           void *ctx, struct ak_err *err);
/* The same in two steps: begin returns when the file is there, and its SHA-256 is computed by the
 * pool while the caller looks at the file; nothing in it is to be kept before check was AK_OK,
 * which waits for that. The file stays the caller's. end frees (NULL is fine). */
struct ak_snapshot_fetch;
AK_MUST enum ak_rc ak_snapshot_fetch_begin(struct ak_objstore *store,
                                           const struct ak_snapshot_meta *meta, struct ak_fs *fs,
                                           const char *path, struct ak_pool *pool,
                                           ak_snapshot_progress progress, void *ctx,
                                           struct ak_snapshot_fetch **fetch, struct ak_err *err);
AK_MUST enum ak_rc ak_snapshot_fetch_check(struct ak_snapshot_fetch *fetch, struct ak_err *err);
void ak_snapshot_fetch_end(struct ak_snapshot_fetch *fetch);
/* The documents in batches, from the data object (ranged reads, bounded memory): for a rebuild.
 * Views are valid during the call of fn. AK_CORRUPT: count, checksum, dimension, duplicate id. */
typedef enum ak_rc (*ak_snapshot_rows_fn)(void *ctx, const struct ak_document *rows, size_t count,
                                          struct ak_err *err);
AK_MUST enum ak_rc ak_snapshot_read(struct ak_objstore *store, const struct ak_snapshot_meta *meta,
                                    ak_snapshot_rows_fn fn, void *ctx, struct ak_err *err);

struct ak_snapshot_report {
    uint64_t rows;         /* read from the data object */
    uint64_t bytes;        /* of objects whose SHA-256 was recomputed */
    uint64_t vectors_held; /* all rows whose vector equals the image's bit for bit; 0 without an
                            * image, and when the table is lossy: then ids alone are compared */
};
/* Every object's length and SHA-256, every page's CRC, the count, vectors of the data against those
 * of the image. AK_CORRUPT names object, offset and page. Each object comes from the store once;
 * what has no file there comes to temporary files without a name (TMPDIR), data and image both. */
AK_MUST enum ak_rc ak_snapshot_verify(struct ak_objstore *store,
                                      const struct ak_snapshot_meta *meta,
                                      ak_snapshot_progress progress, void *ctx,
                                      struct ak_snapshot_report *report, struct ak_err *err);

/* --- The same table outside a snapshot: export and import --- */

/* Documents as Parquet into any sink, front to back (columns document_id, external_id, vector,
 * metadata, inserted_at). *max_error as in the metadata. */
typedef enum ak_rc (*ak_snapshot_sink_fn)(void *ctx, const void *p, size_t len, struct ak_err *err);
AK_MUST enum ak_rc ak_snapshot_export(const struct ak_snapshot_source *source,
                                      const struct ak_snapshot_options *options,
                                      ak_snapshot_sink_fn sink, void *sink_ctx,
                                      ak_snapshot_progress progress, void *progress_ctx,
                                      double *max_error, struct ak_err *err);
/* A Parquet file made by anyone: needs a column `vector` (list of float or double, no nulls, all of
 * `dimension`); document_id (or id; string, UUID or absent: ids are made), external_id, metadata
 * (string, JSON) and inserted_at are read when there. AK_INVALID names column and row. */
AK_MUST enum ak_rc ak_snapshot_import(struct ak_fs *fs, const char *path, uint32_t dimension,
                                      ak_snapshot_rows_fn fn, void *ctx, struct ak_err *err);
