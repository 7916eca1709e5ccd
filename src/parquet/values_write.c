/* values_write.c — PLAIN, RLE, the DELTA encodings and BYTE_STREAM_SPLIT. */
#include "parquet/values_write.h"
#include "base/bits.h"
#include "parquet/thrift_write.h"
#include "simd/simd.h"
#include <string.h>
#if defined(__aarch64__)
#include <arm_neon.h>
#endif

size_t ak_parquet_width(enum ak_parquet_type type)
{
    switch (type) {
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
    return 0;
}

/* --- Bits: into room that was reserved for all of them --- */

struct packer {
    uint8_t *at;
    uint64_t bits;
    unsigned filled; /* < 8 between values */
};

/* Room for `count` values of `bits`, and what a store of eight bytes may touch behind them. */
static struct packer pack_begin(struct ak_buf *out, size_t count, unsigned bits)
{
    size_t len = (count * bits + 7) / 8;
    struct packer packer = {.at = (uint8_t *)ak_buf_reserve(out, len + 8)};
    if (packer.at) {
        out->len += len;
    }
    return packer;
}

static void pack_low(struct packer *p, uint64_t value, unsigned bits) /* bits ≤ 32 */
{
    p->bits |= (value & ((UINT64_C(1) << bits) - 1)) << p->filled;
    memcpy(p->at, &p->bits, sizeof p->bits);
    p->filled += bits;
    p->at += p->filled / 8;
    p->bits >>= p->filled & ~7u;
    p->filled &= 7;
}

static void pack(struct packer *p, uint64_t value, unsigned bits)
{
    if (bits > 32) {
        pack_low(p, value, 32);
        value >>= 32;
        bits -= 32;
    }
    pack_low(p, value, bits);
}

/* --- RLE / bit-packing hybrid --- */

void ak_parquet_put_run(struct ak_buf *out, uint64_t count, uint32_t value, unsigned bits)
{
    ak_parquet_put_varint(out, count << 1);
    for (unsigned at = 0; at < bits; at += 8) {
        ak_buf_add_char(out, (char)(value >> at));
    }
}

/* Literals in groups of eight; the last is filled up with zeros. */
static void put_literals(struct ak_buf *out, const uint32_t *values, size_t count, unsigned bits)
{
    size_t groups = (count + 7) / 8;
    if (count == 0) {
        return;
    }
    ak_parquet_put_varint(out, (uint64_t)groups << 1 | 1);
    struct packer packer = pack_begin(out, groups * 8, bits);
    for (size_t i = 0; packer.at && i < groups * 8; i++) {
        pack_low(&packer, i < count ? values[i] : 0, bits);
    }
}

void ak_parquet_put_hybrid(struct ak_buf *out, const uint32_t *values, size_t count, unsigned bits)
{
    size_t literals = 0; /* where those that are not written yet begin */
    size_t i = 0;
    while (i < count) {
        size_t run = 1;
        while (i + run < count && values[i + run] == values[i]) {
            run++;
        }
        size_t fill = (8 - (i - literals) % 8) % 8; /* literals end at a whole group */
        if (run >= fill + 8) {
            put_literals(out, values + literals, i + fill - literals, bits);
            ak_parquet_put_run(out, run - fill, values[i], bits);
            literals = i + run;
        }
        i += run;
    }
    put_literals(out, values + literals, count - literals, bits);
}

void ak_parquet_put_list_levels(struct ak_buf *out, uint64_t rows, uint32_t dimension)
{
    if (dimension == 1) {
        ak_parquet_put_run(out, rows, 0, 1);
        return;
    }
    for (uint64_t row = 0; row < rows; row++) {
        ak_parquet_put_run(out, 1, 0, 1);
        ak_parquet_put_run(out, dimension - 1, 1, 1);
    }
}

/* --- BOOLEAN --- */

void ak_parquet_put_bools(struct ak_buf *out, const uint8_t *values, size_t count)
{
    struct packer packer = pack_begin(out, count, 1);
    for (size_t i = 0; packer.at && i < count; i++) {
        pack_low(&packer, values[i] != 0, 1);
    }
}

void ak_parquet_put_bools_rle(struct ak_buf *out, const uint8_t *values, size_t count)
{
    size_t len_at = out->len;
    ak_buf_add(out, "\0\0\0\0", 4);
    for (size_t i = 0; i < count;) { /* runs only: a run of one costs two bytes, as does a group */
        size_t run = 1;
        while (i + run < count && (values[i + run] != 0) == (values[i] != 0)) {
            run++;
        }
        ak_parquet_put_run(out, run, values[i] != 0, 1);
        i += run;
    }
    if (!out->failed) {
        uint32_t len = (uint32_t)(out->len - len_at - 4);
        memcpy(out->p + len_at, &len, sizeof len);
    }
}

/* --- BYTE_ARRAY --- */

void ak_parquet_put_bytes(struct ak_buf *out, const struct ak_str *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t len = (uint32_t)values[i].len;
        ak_buf_add(out, &len, sizeof len);
        ak_buf_add_str(out, values[i]);
    }
}

/* --- DELTA_BINARY_PACKED: blocks of 128 values in four miniblocks --- */

#define BLOCK 128u
#define MINIBLOCKS 4u
#define MINIBLOCK (BLOCK / MINIBLOCKS)

/* deltas[0..count), differences to the one before; arithmetic wraps, as the format wants it. */
static void put_block(struct ak_buf *out, const int64_t *deltas, size_t count, bool is_32)
{
    unsigned widths[MINIBLOCKS] = {0};
    int64_t least = deltas[0];
    for (size_t i = 1; i < count; i++) {
        least = deltas[i] < least ? deltas[i] : least;
    }
    ak_parquet_put_zigzag(out, least);
    for (size_t i = 0; i < count; i++) {
        uint64_t over = (uint64_t)deltas[i] - (uint64_t)least;
        unsigned bits = ak_bit_width(is_32 ? (uint32_t)over : over);
        unsigned *width = &widths[i / MINIBLOCK];
        *width = bits > *width ? bits : *width;
    }
    for (size_t m = 0; m < MINIBLOCKS; m++) {
        ak_buf_add_char(out, (char)widths[m]);
    }
    for (size_t m = 0; m < MINIBLOCKS && m * MINIBLOCK < count; m++) {
        struct packer packer = pack_begin(out, MINIBLOCK, widths[m]);
        for (size_t i = m * MINIBLOCK; packer.at && i < (m + 1) * MINIBLOCK; i++) {
            pack(&packer, i < count ? (uint64_t)deltas[i] - (uint64_t)least : 0, widths[m]);
        }
    }
}

static void put_delta_head(struct ak_buf *out, size_t count, int64_t first)
{
    ak_parquet_put_varint(out, BLOCK);
    ak_parquet_put_varint(out, MINIBLOCKS);
    ak_parquet_put_varint(out, count);
    ak_parquet_put_zigzag(out, first);
}

void ak_parquet_put_delta32(struct ak_buf *out, const int32_t *values, size_t count)
{
    int64_t deltas[BLOCK];
    put_delta_head(out, count, count ? values[0] : 0);
    for (size_t at = 1; at < count; at += BLOCK) {
        size_t n = count - at < BLOCK ? count - at : BLOCK;
        for (size_t i = 0; i < n; i++) {
            deltas[i] = (int32_t)((uint32_t)values[at + i] - (uint32_t)values[at + i - 1]);
        }
        put_block(out, deltas, n, true);
    }
}

void ak_parquet_put_delta64(struct ak_buf *out, const int64_t *values, size_t count)
{
    int64_t deltas[BLOCK];
    put_delta_head(out, count, count ? values[0] : 0);
    for (size_t at = 1; at < count; at += BLOCK) {
        size_t n = count - at < BLOCK ? count - at : BLOCK;
        for (size_t i = 0; i < n; i++) {
            deltas[i] = (int64_t)((uint64_t)values[at + i] - (uint64_t)values[at + i - 1]);
        }
        put_block(out, deltas, n, false);
    }
}

void ak_parquet_put_delta_length(struct ak_buf *out, const struct ak_str *values, size_t count,
                                 int32_t *scratch)
{
    for (size_t i = 0; i < count; i++) {
        scratch[i] = (int32_t)values[i].len;
    }
    ak_parquet_put_delta32(out, scratch, count);
    for (size_t i = 0; i < count; i++) {
        ak_buf_add_str(out, values[i]);
    }
}

void ak_parquet_put_delta_bytes(struct ak_buf *out, const struct ak_str *values, size_t count,
                                int32_t *scratch, struct ak_str *suffixes)
{
    for (size_t i = 0; i < count; i++) {
        size_t most = i == 0                              ? 0
                      : values[i].len < values[i - 1].len ? values[i].len
                                                          : values[i - 1].len;
        size_t same = 0;
        while (same < most && values[i].p[same] == values[i - 1].p[same]) {
            same++;
        }
        scratch[i] = (int32_t)same;
        suffixes[i] = ak_str_sub(values[i], same, values[i].len);
    }
    ak_parquet_put_delta32(out, scratch, count);
    ak_parquet_put_delta_length(out, suffixes, count, scratch);
}

/* --- BYTE_STREAM_SPLIT --- */

void ak_parquet_split(const void *in, size_t count, size_t width, uint8_t *out, size_t plane)
{
    const uint8_t *from = in;
#if defined(__x86_64__)
    enum ak_isa isa = ak_simd_get()->isa;
    if (width == 4 && (isa == AK_ISA_AVX2 || isa == AK_ISA_AVX512)) {
        size_t whole = count / 32 * 32;
        ak_parquet_split4_avx2(in, whole, out, plane);
        from += whole * 4;
        out += whole;
        count -= whole;
    }
#elif defined(__aarch64__)
    for (; width == 4 && count >= 16; from += 64, out += 16, count -= 16) {
        uint8x16x4_t planes = vld4q_u8(from);
        vst1q_u8(out, planes.val[0]);
        vst1q_u8(out + plane, planes.val[1]);
        vst1q_u8(out + 2 * plane, planes.val[2]);
        vst1q_u8(out + 3 * plane, planes.val[3]);
    }
#endif
    for (size_t b = 0; b < width; b++) {
        for (size_t i = 0; i < count; i++) {
            out[b * plane + i] = from[i * width + b];
        }
    }
}
