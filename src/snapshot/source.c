/* source.c — what all writers share: the source's rows held against its word, the content hash,
 * progress. */
#include "snapshot/snapshot_priv.h"
#include <string.h>

enum ak_rc ak_snapshot_tick(const struct ak_snapshot_ticker *ticker, double fraction,
                            struct ak_err *err)
{
    if (ticker && ticker->fn && !ticker->fn(ticker->ctx, fraction < 1 ? fraction : 1)) {
        return ak_fail(err, AK_CONFLICT, "cancelled");
    }
    return AK_OK;
}

enum ak_rc ak_snapshot_options_check(const struct ak_snapshot_options *options, struct ak_err *err)
{
    bool is_lossy = options->encoding == AK_SNAPSHOT_BF16 || options->encoding == AK_SNAPSHOT_Q8;
    if (options->format == AK_SNAPSHOT_JSON && is_lossy) {
        return ak_fail(err, AK_INVALID,
                       "JSON keeps every float as it is, encoding '%s' is of Parquet: ask for "
                       "format 'parquet', or for encoding 'lossless'",
                       ak_snapshot_encoding_name(options->encoding));
    }
    return AK_OK;
}

enum ak_rc ak_snapshot_source_check(const struct ak_snapshot_source *source, struct ak_err *err)
{
    const struct ak_collection_info *info = &source->info;
    if (source->rows == 0) {
        return ak_fail(err, AK_INVALID,
                       "collection '%.*s' is empty: a snapshot needs at least one document",
                       AK_STR_ARG(info->name));
    }
    if (source->rows > AK_SLOTS_MAX) {
        return ak_fail(err, AK_TOO_BIG, "%llu documents, a snapshot holds at most %u",
                       (unsigned long long)source->rows, AK_SLOTS_MAX);
    }
    if (info->dimension == 0 || info->dimension > AK_DIMENSION_MAX) {
        return ak_fail(err, AK_INVALID, "dimension %u, possible are 1 to %d", info->dimension,
                       AK_DIMENSION_MAX);
    }
    for (uint64_t i = 0; source->dimensions && i < source->rows; i++) {
        if (source->dimensions[i] != info->dimension) {
            return ak_fail(err, AK_INVALID,
                           "vector %llu has %u dimensions, the collection has %u: nothing was "
                           "written",
                           (unsigned long long)i, source->dimensions[i], info->dimension);
        }
    }
    return AK_OK;
}

/* A chain over the rows in their order: every field of a row goes in, and only those. Little-endian
 * 48 bytes: id, time, then the hashes of vector, external id and metadata. */
uint64_t ak_snapshot_content_chain(uint64_t content, const struct ak_document *row,
                                   uint64_t vector_hash)
{
    struct {
        uint8_t id[16];
        int64_t inserted_us;
        uint64_t vector, external_id, metadata;
    } digest = {
        .inserted_us = row->inserted_us,
        .vector = vector_hash,
        .external_id = ak_hash64_str(row->external_id),
        .metadata = ak_hash64_str(row->metadata),
    };
    _Static_assert(sizeof digest == 48, "no padding is hashed");
    memcpy(digest.id, row->id.b, sizeof digest.id);
    return ak_mix64(content ^ ak_hash64(&digest, sizeof digest));
}

uint64_t ak_snapshot_vector_hash(const float *vector, uint32_t dimension)
{
    return ak_hash64(vector, (size_t)dimension * sizeof(float));
}

uint64_t ak_snapshot_content_add(uint64_t content, const struct ak_document *row,
                                 uint32_t dimension)
{
    return ak_snapshot_content_chain(content, row, ak_snapshot_vector_hash(row->vector, dimension));
}
