/* values_read.c — values out of a page, by encoding (Encodings.md).
 *
 * PLAIN               bool: bits, lowest first · numbers and FIXED: as they are · bytes: u32 length
 * RLE (bool)          u32 length, the hybrid with width 1
 * RLE_DICTIONARY      u8 width, the hybrid of indices into the dictionary page (which is PLAIN)
 * BYTE_STREAM_SPLIT   byte 0 of all values, byte 1 of all values …
 * DELTA_*             delta_read.c
 *
 * Numbers are little-endian in the format, and copied: this code is for little-endian machines.
 */
#include "parquet/read_priv.h"
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "numbers of pages are copied as they are");

size_t ak_parquet_value_size(const struct ak_parquet_leaf *leaf)
{
    switch (leaf->type) {
    case AK_PARQUET_BOOLEAN:
        return 1;
    case AK_PARQUET_INT32:
    case AK_PARQUET_FLOAT:
        return 4;
    case AK_PARQUET_INT64:
    case AK_PARQUET_DOUBLE:
        return 8;
    case AK_PARQUET_INT96:
    case AK_PARQUET_BYTE_ARRAY:
    case AK_PARQUET_FIXED:
        break;
    }
    return sizeof(struct ak_str);
}

enum ak_rc ak_parquet_mem_need(struct ak_parquet_budget *budget, struct ak_parquet_mem *mem,
                               size_t need, size_t keep, struct ak_err *err)
{
    need = need > 0 ? need : 1; /* there is always something to point to */
    if (need <= mem->cap) {
        return AK_OK;
    }
    size_t others = budget->used - mem->cap;
    if (need > budget->max - others) {
        return ak_fail(err, AK_TOO_BIG,
                       "it takes %zu bytes more than the %zu that reading may take (memory_max)",
                       need - (budget->max - others), budget->max);
    }
    size_t grown = mem->cap + mem->cap / 2; /* so that growing step by step copies little */
    if (grown > need && grown <= budget->max - others) {
        need = grown;
    }
    uint8_t *p = keep > 0 ? ak_try_realloc(mem->p, need) : ak_try_alloc(need);
    if (!p) {
        return ak_fail(err, AK_NOMEM, "no memory for %zu bytes of a column", need);
    }
    if (keep == 0) {
        ak_free(mem->p);
    }
    mem->p = p;
    mem->cap = need;
    budget->used = others + need;
    return AK_OK;
}

void ak_parquet_mem_release(struct ak_parquet_budget *budget, struct ak_parquet_mem *mem)
{
    budget->used -= mem->cap;
    ak_free(mem->p);
    *mem = (struct ak_parquet_mem){.p = NULL};
}

void ak_parquet_decoder_release(struct ak_parquet_decoder *decoder)
{
    ak_parquet_mem_release(decoder->budget, &decoder->dictionary);
    ak_parquet_mem_release(decoder->budget, &decoder->dictionary_bytes);
    ak_parquet_mem_release(decoder->budget, &decoder->scratch);
    ak_parquet_mem_release(decoder->budget, &decoder->heap);
}

static uint32_t u32_at(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static enum ak_rc plain_bytes(const uint8_t *p, size_t len, size_t count, struct ak_str *out,
                              struct ak_err *err)
{
    const uint8_t *end = p + len;
    for (size_t i = 0; i < count; i++) {
        if (end - p < 4 || u32_at(p) > (size_t)(end - p) - 4) {
            return ak_fail(err, AK_CORRUPT, "value %zu of %zu is longer than the page", i, count);
        }
        size_t value_len = u32_at(p);
        out[i] = (struct ak_str){(const char *)p + 4, value_len};
        p += 4 + value_len;
    }
    return AK_OK;
}

static enum ak_rc check_len(size_t len, size_t count, size_t width, struct ak_err *err)
{
    if (len / width != count || len % width != 0) {
        return ak_fail(err, AK_CORRUPT, "%zu values of %zu bytes in %zu bytes", count, width, len);
    }
    return AK_OK;
}

static void views(const uint8_t *p, size_t count, size_t width, struct ak_str *out)
{
    for (size_t i = 0; i < count; i++) {
        out[i] = (struct ak_str){(const char *)p + i * width, width};
    }
}

static enum ak_rc plain(const struct ak_parquet_leaf *leaf, const uint8_t *p, size_t len,
                        size_t count, void *out, struct ak_err *err)
{
    size_t width = leaf->fixed_len > 0 ? leaf->fixed_len : ak_parquet_value_size(leaf);
    if (leaf->type == AK_PARQUET_BYTE_ARRAY) {
        return plain_bytes(p, len, count, out, err);
    }
    if (leaf->type == AK_PARQUET_BOOLEAN) {
        if (count / 8 + (count % 8 != 0) > len) {
            return ak_fail(err, AK_CORRUPT, "%zu truth values in %zu bytes", count, len);
        }
        for (size_t i = 0; i < count; i++) {
            ((uint8_t *)out)[i] = p[i / 8] >> (i % 8) & 1;
        }
        return AK_OK;
    }
    if (len / width < count) { /* more is fine: fastparquet pads its pages */
        return ak_fail(err, AK_CORRUPT, "%zu values of %zu bytes in %zu bytes", count, width, len);
    }
    if (leaf->fixed_len > 0) {
        views(p, count, width, out);
    } else if (count > 0) {
        memcpy(out, p, count * width);
    }
    return AK_OK;
}

static enum ak_rc rle_bools(const uint8_t *p, size_t len, size_t count, uint8_t *out,
                            struct ak_err *err)
{
    struct ak_parquet_rle rle;
    if (len < 4 || u32_at(p) > len - 4) {
        return ak_fail(err, AK_CORRUPT, "the truth values' length is larger than the page");
    }
    ak_parquet_rle_init(&rle, p + 4, u32_at(p), 1);
    if (!ak_parquet_rle_read_u8(&rle, out, count)) {
        return ak_fail(err, AK_CORRUPT, "the truth values end before %zu", count);
    }
    return AK_OK;
}

/* --- Dictionary --- */

#define STEP ((size_t)1024) /* indices decoded at once, on the stack */

static void gather(const struct ak_parquet_decoder *decoder, const uint32_t *index, size_t n,
                   size_t width, void *out)
{
    const uint8_t *from = decoder->dictionary.p;
    if (width == 4) {
        for (size_t i = 0; i < n; i++) {
            memcpy((uint8_t *)out + i * 4, from + (size_t)index[i] * 4, 4);
        }
    } else if (width == 8) {
        for (size_t i = 0; i < n; i++) {
            memcpy((uint8_t *)out + i * 8, from + (size_t)index[i] * 8, 8);
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            memcpy((uint8_t *)out + i * width, from + (size_t)index[i] * width, width);
        }
    }
}

static enum ak_rc by_dictionary(const struct ak_parquet_decoder *decoder, const uint8_t *p,
                                size_t len, size_t count, void *out, struct ak_err *err)
{
    struct ak_parquet_rle rle;
    uint32_t index[STEP];
    size_t width = ak_parquet_value_size(decoder->leaf);
    if (count == 0) {
        return AK_OK;
    }
    if (!decoder->has_dictionary) {
        return ak_fail(err, AK_CORRUPT, "its values are indices, and no dictionary came before");
    }
    if (len == 0 || p[0] > 32) {
        return ak_fail(err, AK_CORRUPT, "dictionary indices of %u bits", len == 0 ? 0u : p[0]);
    }
    ak_parquet_rle_init(&rle, p + 1, len - 1, p[0]);
    for (size_t at = 0; at < count; at += STEP) {
        size_t n = count - at < STEP ? count - at : STEP;
        if (!ak_parquet_rle_read(&rle, index, n)) {
            return ak_fail(err, AK_CORRUPT, "the dictionary indices end before %zu", count);
        }
        uint32_t largest = 0;
        for (size_t i = 0; i < n; i++) {
            largest = index[i] > largest ? index[i] : largest;
        }
        if (largest >= decoder->dictionary_count) {
            return ak_fail(err, AK_CORRUPT, "index %u of a dictionary of %zu values", largest,
                           decoder->dictionary_count);
        }
        gather(decoder, index, n, width, (uint8_t *)out + at * width);
    }
    return AK_OK;
}

/* --- BYTE_STREAM_SPLIT --- */

static enum ak_rc split(struct ak_parquet_decoder *decoder, const uint8_t *p, size_t len,
                        size_t count, void *out, struct ak_err *err)
{
    const struct ak_parquet_leaf *leaf = decoder->leaf;
    size_t width = leaf->fixed_len > 0 ? leaf->fixed_len : ak_parquet_value_size(leaf);
    if (leaf->type == AK_PARQUET_BYTE_ARRAY || leaf->type == AK_PARQUET_BOOLEAN ||
        leaf->type == AK_PARQUET_INT96) {
        return ak_fail(err, AK_UNSUPPORTED, "BYTE_STREAM_SPLIT of %s",
                       ak_parquet_type_name(leaf->type));
    }
    enum ak_rc rc = check_len(len, count, width, err);
    if (rc != AK_OK || count == 0) {
        return rc;
    }
    if (leaf->fixed_len == 0) {
        ak_parquet_unsplit(p, count, width, 0, count, out);
        return AK_OK;
    }
    rc = ak_parquet_mem_need(decoder->budget, &decoder->heap, len, 0, err);
    if (rc == AK_OK) {
        ak_parquet_unsplit(p, count, width, 0, count, decoder->heap.p);
        views(decoder->heap.p, count, width, out);
    }
    return rc;
}

static enum ak_rc deltas(const struct ak_parquet_leaf *leaf, const uint8_t *p, size_t len,
                         size_t count, void *out, struct ak_err *err)
{
    struct ak_parquet_delta delta;
    enum ak_rc rc =
        ak_parquet_delta_init(&delta, p, len, leaf->type == AK_PARQUET_INT64 ? 64 : 32, err);
    if (rc == AK_OK && delta.total != count) {
        rc = ak_fail(err, AK_CORRUPT, "the encoding holds %llu values, %zu are due",
                     (unsigned long long)delta.total, count);
    }
    if (rc == AK_OK) {
        rc = ak_parquet_delta_read(&delta, out, count, err);
    }
    return rc;
}

enum ak_rc ak_parquet_values(struct ak_parquet_decoder *decoder, unsigned encoding,
                             const uint8_t *p, size_t len, size_t count, void *out,
                             struct ak_err *err)
{
    const struct ak_parquet_leaf *leaf = decoder->leaf;
    bool is_int = leaf->type == AK_PARQUET_INT32 || leaf->type == AK_PARQUET_INT64;
    bool is_bytes = leaf->type == AK_PARQUET_BYTE_ARRAY || leaf->type == AK_PARQUET_FIXED;
    if (count == 0 && len == 0) {
        return AK_OK; /* pages of nulls alone leave out even what their encoding begins with */
    }
    switch (encoding) {
    case AK_PARQUET_PLAIN:
        return plain(leaf, p, len, count, out, err);
    case AK_PARQUET_PLAIN_DICTIONARY:
    case AK_PARQUET_RLE_DICTIONARY:
        return by_dictionary(decoder, p, len, count, out, err);
    case AK_PARQUET_BYTE_STREAM_SPLIT:
        return split(decoder, p, len, count, out, err);
    case AK_PARQUET_RLE:
        if (leaf->type == AK_PARQUET_BOOLEAN) {
            return rle_bools(p, len, count, out, err);
        }
        break;
    case AK_PARQUET_DELTA_BINARY_PACKED:
        if (is_int) {
            return deltas(leaf, p, len, count, out, err);
        }
        break;
    case AK_PARQUET_DELTA_LENGTH_BYTE_ARRAY:
        if (leaf->type == AK_PARQUET_BYTE_ARRAY) {
            return ak_parquet_delta_lengths(decoder, p, len, count, out, err);
        }
        break;
    case AK_PARQUET_DELTA_BYTE_ARRAY:
        if (is_bytes) {
            return ak_parquet_delta_strings(decoder, p, len, count, out, err);
        }
        break;
    default:
        break;
    }
    return ak_fail(err, AK_UNSUPPORTED, "encoding %s (%u) of %s",
                   ak_parquet_encoding_name(encoding), encoding, ak_parquet_type_name(leaf->type));
}
