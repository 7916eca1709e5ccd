/* delta_read.c — the three DELTA encodings (Encodings.md).
 *
 * DELTA_BINARY_PACKED := varint values of a block (a multiple of 128), varint miniblocks of a block
 *   (each a multiple of 32 values), varint total count, zigzag first value; then blocks: zigzag
 *   smallest delta, one width byte per miniblock, the miniblocks' packed (delta − smallest). Sums
 *   wrap around. Miniblocks behind the last value are not stored, their widths mean nothing.
 * DELTA_LENGTH_BYTE_ARRAY := the lengths as above, then all bytes.
 * DELTA_BYTE_ARRAY := lengths shared with the value before, as above; then the rests as
 *   DELTA_LENGTH_BYTE_ARRAY.
 */
#include "parquet/read_priv.h"
#include <string.h>

static bool varint(const uint8_t **at, const uint8_t *end, uint64_t *out)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (*at == end) {
            return false;
        }
        uint8_t b = *(*at)++;
        if (shift == 63 && b > 1) {
            return false;
        }
        value |= (uint64_t)(b & 127) << shift;
        if (b < 128) {
            *out = value;
            return true;
        }
    }
    return false;
}

static uint64_t unzigzag(uint64_t v)
{
    return v >> 1 ^ (0 - (v & 1));
}

enum ak_rc ak_parquet_delta_init(struct ak_parquet_delta *delta, const uint8_t *p, size_t len,
                                 unsigned value_bits, struct ak_err *err)
{
    *delta = (struct ak_parquet_delta){.at = p, .end = p + len, .value_bits = value_bits};
    uint64_t first = 0;
    if (!varint(&delta->at, delta->end, &delta->block) ||
        !varint(&delta->at, delta->end, &delta->mini_count) ||
        !varint(&delta->at, delta->end, &delta->total) || !varint(&delta->at, delta->end, &first)) {
        return ak_fail(err, AK_CORRUPT, "a delta encoding ends in its head");
    }
    if (delta->block == 0 || delta->block % 128 != 0 || delta->block > (1u << 24) ||
        delta->mini_count == 0 || delta->block % delta->mini_count != 0 ||
        delta->block / delta->mini_count % 32 != 0) {
        return ak_fail(err, AK_CORRUPT, "a delta encoding has blocks of %llu in %llu miniblocks",
                       (unsigned long long)delta->block, (unsigned long long)delta->mini_count);
    }
    delta->mini_values = delta->block / delta->mini_count;
    delta->mini = delta->mini_count;
    delta->value = unzigzag(first);
    return AK_OK;
}

static enum ak_rc next_block(struct ak_parquet_delta *delta, struct ak_err *err)
{
    uint64_t smallest = 0;
    if (!varint(&delta->at, delta->end, &smallest) ||
        delta->mini_count > (uint64_t)(delta->end - delta->at)) {
        return ak_fail(err, AK_CORRUPT, "a delta encoding ends in the head of a block");
    }
    delta->min_delta = unzigzag(smallest);
    delta->widths = delta->at;
    delta->at += delta->mini_count;
    delta->mini = 0;
    return AK_OK;
}

static enum ak_rc next_mini(struct ak_parquet_delta *delta, struct ak_err *err)
{
    if (delta->mini == delta->mini_count) {
        enum ak_rc rc = next_block(delta, err);
        if (rc != AK_OK) {
            return rc;
        }
    }
    delta->width = delta->widths[delta->mini++];
    uint64_t bytes = delta->width * delta->mini_values / 8;
    uint64_t left = (uint64_t)(delta->end - delta->at);
    if (delta->width > delta->value_bits) {
        return ak_fail(err, AK_CORRUPT, "a delta encoding packs %u bits into values of %u",
                       delta->width, delta->value_bits);
    }
    delta->mini_left = delta->mini_values;
    if (bytes > left) { /* some writers cut the last one where its values end */
        uint64_t needed = delta->total - delta->given;
        needed = needed < delta->mini_values ? needed : delta->mini_values;
        if ((needed * delta->width + 7) / 8 > left) {
            return ak_fail(err, AK_CORRUPT, "a delta encoding ends in a miniblock");
        }
        bytes = left;
    }
    delta->bits = delta->at;
    delta->at += bytes;
    delta->bits_end = delta->at;
    delta->bit_at = 0;
    return AK_OK;
}

static uint64_t packed(struct ak_parquet_delta *delta)
{
    const uint8_t *p = delta->bits + (delta->bit_at >> 3);
    unsigned shift = (unsigned)(delta->bit_at & 7);
    ptrdiff_t left = delta->bits_end - p;
    uint64_t word = 0;
    delta->bit_at += delta->width;
    if (left >= 8) {
        memcpy(&word, p, 8);
    } else {
        for (ptrdiff_t i = left; i > 0; i--) {
            word = word << 8 | p[i - 1];
        }
    }
    word >>= shift;
    if (shift + delta->width > 64 && left > 8) {
        word |= (uint64_t)p[8] << (64 - shift);
    }
    return delta->width == 64 ? word : word & (((uint64_t)1 << delta->width) - 1);
}

enum ak_rc ak_parquet_delta_read(struct ak_parquet_delta *delta, void *out, size_t count,
                                 struct ak_err *err)
{
    if (count > delta->total - delta->given) {
        return ak_fail(err, AK_CORRUPT, "a delta encoding holds %llu values",
                       (unsigned long long)delta->total);
    }
    for (size_t i = 0; i < count; i++) {
        if (delta->given > 0) {
            if (delta->mini_left == 0) {
                enum ak_rc rc = next_mini(delta, err);
                if (rc != AK_OK) {
                    return rc;
                }
            }
            delta->value += delta->min_delta + packed(delta);
            delta->mini_left--;
        }
        delta->given++;
        if (delta->value_bits == 32) {
            uint32_t narrow = (uint32_t)delta->value;
            memcpy((uint8_t *)out + i * 4, &narrow, 4);
        } else {
            memcpy((uint8_t *)out + i * 8, &delta->value, 8);
        }
    }
    return AK_OK;
}

const uint8_t *ak_parquet_delta_end(const struct ak_parquet_delta *delta)
{
    return delta->at;
}

/* `count` lengths from *p on into scratch at `slot` × count; *p then stands behind them. */
static enum ak_rc read_lengths(struct ak_parquet_decoder *decoder, const uint8_t **p,
                               const uint8_t *end, size_t count, size_t slot, struct ak_err *err)
{
    struct ak_parquet_delta delta;
    enum ak_rc rc = ak_parquet_delta_init(&delta, *p, (size_t)(end - *p), 32, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (delta.total != count) {
        return ak_fail(err, AK_CORRUPT, "the encoding holds %llu lengths, %zu are due",
                       (unsigned long long)delta.total, count);
    }
    rc = ak_parquet_mem_need(decoder->budget, &decoder->scratch, (slot + 1) * count * 4,
                             slot * count * 4, err);
    int32_t *lengths = (int32_t *)(void *)decoder->scratch.p + slot * count;
    if (rc == AK_OK) {
        rc = ak_parquet_delta_read(&delta, lengths, count, err);
    }
    for (size_t i = 0; rc == AK_OK && i < count; i++) {
        if (lengths[i] < 0) {
            rc = ak_fail(err, AK_CORRUPT, "value %zu is %d bytes long", i, lengths[i]);
        }
    }
    *p = ak_parquet_delta_end(&delta);
    return rc;
}

/* The bytes behind the lengths must be all of them. */
static enum ak_rc check_sum(const int32_t *lengths, size_t count, size_t left, struct ak_err *err)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += (uint64_t)lengths[i];
    }
    if (sum != left) {
        return ak_fail(err, AK_CORRUPT, "the values take %llu bytes, %zu are there",
                       (unsigned long long)sum, left);
    }
    return AK_OK;
}

enum ak_rc ak_parquet_delta_lengths(struct ak_parquet_decoder *decoder, const uint8_t *p,
                                    size_t len, size_t count, struct ak_str *out,
                                    struct ak_err *err)
{
    const uint8_t *end = p + len;
    enum ak_rc rc = read_lengths(decoder, &p, end, count, 0, err);
    const int32_t *lengths = (const int32_t *)(const void *)decoder->scratch.p;
    if (rc == AK_OK) {
        rc = check_sum(lengths, count, (size_t)(end - p), err);
    }
    for (size_t i = 0; rc == AK_OK && i < count; i++) {
        out[i] = (struct ak_str){(const char *)p, (size_t)lengths[i]};
        p += lengths[i];
    }
    return rc;
}

static enum ak_rc join(const struct ak_parquet_decoder *decoder, const uint8_t *rest, size_t count,
                       struct ak_str *out, struct ak_err *err)
{
    const int32_t *shared = (const int32_t *)(const void *)decoder->scratch.p;
    const int32_t *lengths = shared + count;
    uint8_t *to = decoder->heap.p;
    struct ak_str before = AK_STR_NONE;
    uint32_t fixed = decoder->leaf->fixed_len;
    for (size_t i = 0; i < count; i++) {
        size_t prefix = (size_t)shared[i];
        size_t suffix = (size_t)lengths[i];
        if (prefix > before.len) {
            return ak_fail(err, AK_CORRUPT, "value %zu shares %zu bytes of the %zu before it", i,
                           prefix, before.len);
        }
        if (fixed > 0 && prefix + suffix != fixed) {
            return ak_fail(err, AK_CORRUPT, "value %zu is %zu bytes long instead of %u", i,
                           prefix + suffix, fixed);
        }
        if (prefix > 0) {
            memcpy(to, before.p, prefix);
        }
        if (suffix > 0) {
            memcpy(to + prefix, rest, suffix);
        }
        out[i] = before = (struct ak_str){(const char *)to, prefix + suffix};
        rest += suffix;
        to += prefix + suffix;
    }
    return AK_OK;
}

enum ak_rc ak_parquet_delta_strings(struct ak_parquet_decoder *decoder, const uint8_t *p,
                                    size_t len, size_t count, struct ak_str *out,
                                    struct ak_err *err)
{
    const uint8_t *end = p + len;
    enum ak_rc rc = read_lengths(decoder, &p, end, count, 0, err);
    if (rc == AK_OK) {
        rc = read_lengths(decoder, &p, end, count, 1, err);
    }
    const int32_t *lengths = (const int32_t *)(const void *)decoder->scratch.p;
    if (rc == AK_OK) {
        rc = check_sum(lengths + count, count, (size_t)(end - p), err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    uint64_t total = 1; /* of all values: few bytes can stand for very many */
    for (size_t i = 0; i < 2 * count; i++) {
        total += (uint64_t)lengths[i];
    }
    rc = ak_parquet_mem_need(decoder->budget, &decoder->heap, (size_t)total, 0, err);
    return rc == AK_OK ? join(decoder, p, count, out, err) : rc;
}
