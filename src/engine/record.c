/* record.c — log records of the engine, to bytes and back.
 *
 *   head      16  collection id
 *              4  dimension (0 in a delete)
 *              4  count
 *              8  reserved, zero
 *   document  16  id
 *              8  inserted_at, µs
 *              4  external_len
 *              4  metadata_len
 *             4d  vector
 *              …  external id, metadata, zeros up to a multiple of 8
 *   delete    16  id, count times
 *
 * All little-endian. The log's own framing says where a record ends and that it is whole; here
 * every length is still held against the bytes that are left.
 */
#include "base/limits.h"
#include "base/mem.h"
#include "engine/engine_priv.h"
#include <string.h>

struct record_head {
    struct ak_uuid collection;
    uint32_t dimension;
    uint32_t count;
    uint64_t reserved;
};

struct document_head {
    struct ak_uuid id;
    int64_t inserted_us;
    uint32_t external_len;
    uint32_t metadata_len;
};

_Static_assert(sizeof(struct record_head) == 32, "the format's head");
_Static_assert(sizeof(struct document_head) == 32, "the format's document head");

static size_t padded(size_t len)
{
    return (len + 7) & ~(size_t)7;
}

static void add_head(struct ak_buf *out, const struct ak_uuid *collection, uint32_t dimension,
                     size_t count)
{
    struct record_head head = {
        .collection = *collection, .dimension = dimension, .count = (uint32_t)count};
    ak_buf_add(out, &head, sizeof head);
}

enum ak_rc ak_record_upsert(const struct ak_uuid *collection, uint32_t dimension,
                            const struct ak_document *docs, size_t count, struct ak_buf *out,
                            struct ak_err *err)
{
    static const char zeros[8];
    size_t vector_bytes = (size_t)dimension * sizeof(float);
    size_t need = sizeof(struct record_head);
    for (size_t i = 0; i < count; i++) {
        need += sizeof(struct document_head) +
                padded(vector_bytes + docs[i].external_id.len + docs[i].metadata.len);
    }
    if (need > AK_WAL_RECORD_MAX) {
        return ak_fail(
            err, AK_TOO_BIG,
            "%zu documents of %zu bytes in one call; at most %u bytes: send fewer at once", count,
            need, AK_WAL_RECORD_MAX);
    }
    if (!ak_buf_reserve(out, need)) {
        return ak_buf_check(out, err);
    }
    add_head(out, collection, dimension, count);
    for (size_t i = 0; i < count; i++) {
        const struct ak_document *doc = &docs[i];
        struct document_head head = {.id = doc->id,
                                     .inserted_us = doc->inserted_us,
                                     .external_len = (uint32_t)doc->external_id.len,
                                     .metadata_len = (uint32_t)doc->metadata.len};
        ak_buf_add(out, &head, sizeof head);
        ak_buf_add(out, doc->vector, vector_bytes);
        ak_buf_add_str(out, doc->external_id);
        ak_buf_add_str(out, doc->metadata);
        size_t body = vector_bytes + doc->external_id.len + doc->metadata.len;
        ak_buf_add(out, zeros, padded(body) - body);
    }
    return ak_buf_check(out, err);
}

enum ak_rc ak_record_delete(const struct ak_uuid *collection, const struct ak_uuid *ids,
                            size_t count, struct ak_buf *out, struct ak_err *err)
{
    if (count > (AK_WAL_RECORD_MAX - sizeof(struct record_head)) / sizeof *ids) {
        return ak_fail(err, AK_TOO_BIG, "%zu deletions in one call", count);
    }
    add_head(out, collection, 0, count);
    ak_buf_add(out, ids, count * sizeof *ids);
    return ak_buf_check(out, err);
}

enum ak_rc ak_record_open(uint32_t kind, struct ak_str payload, struct ak_record_reader *reader,
                          struct ak_err *err)
{
    struct record_head head;
    if (kind != AK_RECORD_UPSERT && kind != AK_RECORD_DELETE) {
        return ak_fail(err, AK_CORRUPT,
                       "log record of unknown kind %u: written by a newer version?", kind);
    }
    if (payload.len < sizeof head) {
        return ak_fail(err, AK_CORRUPT, "log record of %zu bytes is shorter than its head",
                       payload.len);
    }
    memcpy(&head, payload.p, sizeof head);
    *reader = (struct ak_record_reader){
        .collection = head.collection,
        .kind = kind,
        .dimension = head.dimension,
        .left = head.count,
        .rest = ak_str_sub(payload, sizeof head, payload.len),
    };
    return AK_OK;
}

/* The next `len` bytes, or false with AK_CORRUPT. */
static bool take(struct ak_record_reader *reader, size_t len, const char **p, enum ak_rc *rc,
                 struct ak_err *err)
{
    if (reader->rest.len < len) {
        *rc = ak_fail(err, AK_CORRUPT, "log record ends %zu bytes early with %u entries left",
                      len - reader->rest.len, reader->left);
        return false;
    }
    *p = reader->rest.p;
    reader->rest.p += len;
    reader->rest.len -= len;
    return true;
}

bool ak_record_next_document(struct ak_record_reader *reader, struct ak_document *doc,
                             enum ak_rc *rc, struct ak_err *err)
{
    struct document_head head;
    const char *p = NULL;
    *rc = AK_OK;
    if (reader->left == 0 || !take(reader, sizeof head, &p, rc, err)) {
        return false;
    }
    memcpy(&head, p, sizeof head);
    if (head.external_len > AK_EXTERNAL_ID_MAX || head.metadata_len > AK_METADATA_MAX ||
        reader->dimension == 0 || reader->dimension > AK_DIMENSION_MAX) {
        *rc = ak_fail(err, AK_CORRUPT, "log record with impossible lengths (%u, %u, %u)",
                      reader->dimension, head.external_len, head.metadata_len);
        return false;
    }
    size_t vector_bytes = (size_t)reader->dimension * sizeof(float);
    size_t body = vector_bytes + head.external_len + head.metadata_len;
    if (!take(reader, padded(body), &p, rc, err)) {
        return false;
    }
    *doc = (struct ak_document){
        .id = head.id,
        .external_id = {p + vector_bytes, head.external_len},
        .vector = (const float *)(const void *)p,
        .metadata = {p + vector_bytes + head.external_len, head.metadata_len},
        .inserted_us = head.inserted_us,
    };
    reader->left--;
    return true;
}

bool ak_record_next_id(struct ak_record_reader *reader, struct ak_uuid *id, enum ak_rc *rc,
                       struct ak_err *err)
{
    const char *p = NULL;
    *rc = AK_OK;
    if (reader->left == 0 || !take(reader, sizeof *id, &p, rc, err)) {
        return false;
    }
    memcpy(id, p, sizeof *id);
    reader->left--;
    return true;
}
