/* snapshot_priv.h — what the files of the module share: keys, progress, the tables' inner calls.
 * Never leaves this folder. */
#pragma once
#include "base/hash.h"
#include "base/map.h"
#include "snapshot/snapshot.h"
#include <stdatomic.h>

#define AK_SNAPSHOT_META_MAX                                                                       \
    ((size_t)64 << 10) /* bytes of a metadata object: ours have 1.5 KiB                            \
                        */
#define AK_SNAPSHOT_FORMAT_VERSION 1
#define AK_SNAPSHOT_STEP ((size_t)1 << 20) /* bytes of one read, hash step or write */
#define AK_SNAPSHOT_ROWS_STEP 1024         /* rows of one read from a source or call of a reader */
#define AK_SNAPSHOT_DIGEST_TEXT 64         /* hexadecimal digits of a SHA-256 */

/* --- Keys (layout.c) --- */

enum ak_snapshot_part {
    AK_SNAPSHOT_PART_PARQUET,
    AK_SNAPSHOT_PART_JSON,
    AK_SNAPSHOT_PART_IMAGE,
    AK_SNAPSHOT_PART_META,
    AK_SNAPSHOT_PART_COUNT
};

#define AK_SNAPSHOT_KEY_MAX 128
struct ak_snapshot_key {
    char text[AK_SNAPSHOT_KEY_MAX];
    size_t len;
};
void ak_snapshot_key_of(const struct ak_uuid *collection, const struct ak_uuid *id,
                        enum ak_snapshot_part part, struct ak_snapshot_key *key);
void ak_snapshot_key_folder(const struct ak_uuid *collection, struct ak_snapshot_key *key);
#define AK_SNAPSHOT_ROOT "snapshots/" /* before every key */
/* The collection whose folder a key is in; false: it is not one of ours. */
bool ak_snapshot_key_collection(struct ak_str key, struct ak_uuid *collection);
static inline struct ak_str ak_snapshot_key_str(const struct ak_snapshot_key *key)
{
    return (struct ak_str){key->text, key->len};
}
/* Split a key below `folder`; false: it is not one of ours. */
bool ak_snapshot_key_split(struct ak_str key, struct ak_str folder, struct ak_uuid *id,
                           enum ak_snapshot_part *part);
static inline enum ak_snapshot_part ak_snapshot_data_part(enum ak_snapshot_format format)
{
    return format == AK_SNAPSHOT_PARQUET ? AK_SNAPSHOT_PART_PARQUET : AK_SNAPSHOT_PART_JSON;
}
/* "snapshot 0198…" for messages. */
#define AK_SNAPSHOT_NAME_MAX 64
const char *ak_snapshot_name(const struct ak_uuid *id, char text[AK_SNAPSHOT_NAME_MAX]);

/* --- Progress --- */

struct ak_snapshot_ticker {
    ak_snapshot_progress fn; /* NULL: nobody listens */
    void *ctx;
};
/* AK_CONFLICT "cancelled" when the listener says stop. */
AK_MUST enum ak_rc ak_snapshot_tick(const struct ak_snapshot_ticker *ticker, double fraction,
                                    struct ak_err *err);

/* --- Work beside the caller's (side.c) --- */

struct ak_snapshot_sink {
    ak_snapshot_sink_fn write;
    void *ctx;
};

/* Run by the pool, or, where the pool has not come to it, by who waits for it. */
struct ak_snapshot_side;
struct ak_snapshot_side *ak_snapshot_side_start(struct ak_pool *pool, void (*fn)(void *ctx),
                                                void *ctx);
/* Until it has run; `tell` (may be NULL) is called now and then meanwhile. Frees it: fn and ctx are
 * not used any more. NULL is fine. */
void ak_snapshot_side_finish(struct ak_snapshot_side *side, void (*tell)(void *ctx), void *ctx);
/* true: nobody has begun it, and nobody will; it is freed. */
bool ak_snapshot_side_cancel(struct ak_snapshot_side *side);

/* --- The source's rows --- */

/* AK_INVALID: none, or of another dimension (names the first). */
AK_MUST enum ak_rc ak_snapshot_source_check(const struct ak_snapshot_source *source,
                                            struct ak_err *err);

static inline void ak_snapshot_source_passed(const struct ak_snapshot_source *source, uint64_t row)
{
    if (source->passed) {
        source->passed(source->ctx, row);
    }
}

/* --- What the content is, whatever its form: docs/formats/snapshot.md, "content hash" --- */

uint64_t ak_snapshot_content_add(uint64_t content, const struct ak_document *row,
                                 uint32_t dimension);
/* The same in two steps, of which the first is most of the work and depends on no other row. */
uint64_t ak_snapshot_vector_hash(const float *vector, uint32_t dimension);
uint64_t ak_snapshot_content_chain(uint64_t content, const struct ak_document *row,
                                   uint64_t vector_hash);

/* --- Writing tables into a sink --- */

AK_MUST enum ak_rc ak_snapshot_parquet_write(const struct ak_snapshot_source *source,
                                             const struct ak_snapshot_options *options,
                                             const struct ak_snapshot_sink *sink,
                                             const struct ak_snapshot_ticker *ticker,
                                             double *max_error, struct ak_err *err);
AK_MUST enum ak_rc ak_snapshot_json_write(const struct ak_snapshot_source *source,
                                          const struct ak_snapshot_sink *sink,
                                          const struct ak_snapshot_ticker *ticker,
                                          struct ak_err *err);

/* --- Reading tables back --- */

/* Bytes to read a table from: an object of the store, or the same bytes in a file. The length is
 * the object's true one. */
struct ak_snapshot_bytes {
    struct ak_objstore *store;
    struct ak_file *file; /* NULL: ranges of the object */
    struct ak_str key;
    uint64_t len;
    char name[AK_SNAPSHOT_KEY_MAX]; /* the key once more, for the Parquet reader's messages */
};
/* What the reader must find; the row callback sees rows that were held against it. */
struct ak_snapshot_reader {
    const struct ak_snapshot_meta *meta;
    ak_snapshot_rows_fn fn;
    void *ctx;
    uint64_t rows; /* read so far */
    uint64_t content;
    struct ak_uuid *ids; /* of the rows so far, for duplicates */
    struct ak_map seen;
};
/* Check a batch (dimension is the caller's affair) and pass it on. */
AK_MUST enum ak_rc ak_snapshot_reader_rows(struct ak_snapshot_reader *reader,
                                           const struct ak_document *rows, size_t count,
                                           struct ak_err *err);
AK_MUST enum ak_rc ak_snapshot_bytes_read(const struct ak_snapshot_bytes *bytes, uint64_t at,
                                          void *p, size_t len, struct ak_err *err);
/* Pages without a checksum are damage. */
AK_MUST enum ak_rc ak_snapshot_parquet_read(const struct ak_snapshot_bytes *bytes,
                                            struct ak_snapshot_reader *reader, struct ak_err *err);
/* Streams the object front to back; *digest is its SHA-256. */
AK_MUST enum ak_rc ak_snapshot_json_read(const struct ak_snapshot_bytes *bytes,
                                         struct ak_snapshot_reader *reader, uint8_t digest[32],
                                         struct ak_err *err);
/* The bytes through SHA-256, held against the metadata, and into `copy` when there is one. */
AK_MUST enum ak_rc ak_snapshot_hash(const struct ak_snapshot_bytes *bytes,
                                    const struct ak_snapshot_object *object, struct ak_file *copy,
                                    const struct ak_snapshot_ticker *ticker, struct ak_err *err);
/* Of a file that is mapped elsewhere too; *len is its length. */
AK_MUST enum ak_rc ak_snapshot_hash_file(struct ak_fs *fs, const char *path,
                                         const struct ak_snapshot_ticker *ticker, uint64_t *len,
                                         uint8_t digest[32], struct ak_err *err);
/* The rows of bytes that were hashed before; JSON is hashed on the way. *rows may be NULL. */
AK_MUST enum ak_rc ak_snapshot_read_rows(const struct ak_snapshot_bytes *bytes,
                                         const struct ak_snapshot_meta *meta,
                                         ak_snapshot_rows_fn fn, void *ctx, uint64_t *rows,
                                         struct ak_err *err);
/* The object's length, held against the metadata. AK_CORRUPT: missing, or another length. */
AK_MUST enum ak_rc ak_snapshot_object_len(struct ak_objstore *store,
                                          const struct ak_snapshot_meta *meta,
                                          const struct ak_snapshot_object *object, uint64_t *len,
                                          struct ak_err *err);
/* Metadata of a former version may lack it: all zero. */
bool ak_snapshot_has_digest(const struct ak_snapshot_object *object);
void ak_snapshot_digest_text(const uint8_t digest[32], char text[AK_SNAPSHOT_DIGEST_TEXT + 1]);
/* AK_CORRUPT that names the object when the digests differ; AK_OK when none was recorded. */
AK_MUST enum ak_rc ak_snapshot_digest_check(const struct ak_snapshot_object *object,
                                            const uint8_t digest[32], struct ak_err *err);
