/* levels_read.c — the hybrid of repeated runs and packed bits that levels, dictionary indices and
 * booleans come in (Encodings.md, RLE = 3).
 *
 * run := varint n<<1, value in ⌈width/8⌉ bytes, n times that value, or varint n<<1|1, n groups of 8
 * values of `width` bits each, lowest bits first. Writers may cut the last groups where their
 * values end; a value whose bits are not there is an error when it is asked for.
 */
#include "base/bits.h"
#include "parquet/read_priv.h"
#include <string.h>

unsigned ak_parquet_bits_for(unsigned max)
{
    return ak_bit_width(max);
}

void ak_parquet_rle_init(struct ak_parquet_rle *rle, const void *p, size_t len, unsigned width)
{
    *rle = (struct ak_parquet_rle){.at = p, .end = (const uint8_t *)p + len, .width = width};
}

static bool run_head(struct ak_parquet_rle *rle, uint32_t *head)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
        if (rle->at == rle->end) {
            return false;
        }
        uint8_t b = *rle->at++;
        value |= (uint64_t)(b & 127) << shift;
        if (b < 128) {
            *head = (uint32_t)value;
            return value <= UINT32_MAX;
        }
    }
    return false;
}

static bool packed_run(struct ak_parquet_rle *rle, uint32_t groups)
{
    uint64_t bytes = (uint64_t)groups * rle->width;
    uint64_t left = (uint64_t)(rle->end - rle->at);
    uint64_t values = (uint64_t)groups * 8;
    if (bytes > left) { /* cut: whole values only */
        bytes = left;
        values = left * 8 / rle->width;
    }
    rle->is_packed = true;
    rle->bits = rle->at;
    rle->bit_at = 0;
    rle->run_left = values > UINT32_MAX ? UINT32_MAX : (uint32_t)values;
    rle->at += bytes;
    return rle->run_left > 0;
}

bool ak_parquet_rle_run(struct ak_parquet_rle *rle)
{
    uint32_t head = 0;
    if (!run_head(rle, &head) || head >> 1 == 0) {
        return false;
    }
    if (head & 1) {
        return packed_run(rle, head >> 1);
    }
    unsigned bytes = (rle->width + 7) / 8;
    if (bytes > (size_t)(rle->end - rle->at)) {
        return false;
    }
    rle->value = 0;
    for (unsigned i = 0; i < bytes; i++) {
        rle->value |= (uint32_t)*rle->at++ << 8 * i;
    }
    rle->is_packed = false;
    rle->run_left = head >> 1;
    return rle->width == 32 || rle->value >> rle->width == 0;
}

static uint32_t bits_at(const uint8_t *bits, const uint8_t *end, uint64_t at, unsigned width)
{
    const uint8_t *p = bits + (at >> 3);
    uint64_t word = 0;
    if (end - p >= 8) {
        memcpy(&word, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        word = __builtin_bswap64(word);
#endif
    } else {
        for (ptrdiff_t i = end - p; i > 0; i--) {
            word = word << 8 | p[i - 1];
        }
    }
    return (uint32_t)(word >> (at & 7) & (((uint64_t)1 << width) - 1));
}

uint32_t ak_parquet_rle_packed(struct ak_parquet_rle *rle)
{
    uint32_t value = bits_at(rle->bits, rle->at, rle->bit_at, rle->width);
    rle->bit_at += rle->width;
    rle->run_left--;
    return value;
}

bool ak_parquet_rle_read(struct ak_parquet_rle *rle, uint32_t *out, size_t count)
{
    while (count > 0) {
        if (rle->run_left == 0 && !ak_parquet_rle_run(rle)) {
            return false;
        }
        size_t n = rle->run_left < count ? rle->run_left : count;
        if (rle->is_packed) {
            for (size_t i = 0; i < n; i++) {
                out[i] = bits_at(rle->bits, rle->at, rle->bit_at, rle->width);
                rle->bit_at += rle->width;
            }
        } else {
            for (size_t i = 0; i < n; i++) {
                out[i] = rle->value;
            }
        }
        rle->run_left -= (uint32_t)n;
        out += n;
        count -= n;
    }
    return true;
}

bool ak_parquet_rle_read_u8(struct ak_parquet_rle *rle, uint8_t *out, size_t count)
{
    while (count > 0) {
        if (rle->run_left == 0 && !ak_parquet_rle_run(rle)) {
            return false;
        }
        size_t n = rle->run_left < count ? rle->run_left : count;
        if (rle->is_packed) {
            for (size_t i = 0; i < n; i++) {
                out[i] = (uint8_t)bits_at(rle->bits, rle->at, rle->bit_at, rle->width);
                rle->bit_at += rle->width;
            }
        } else {
            memset(out, (int)rle->value, n);
        }
        rle->run_left -= (uint32_t)n;
        out += n;
        count -= n;
    }
    return true;
}

bool ak_parquet_levels_are(const void *p, size_t len, unsigned width, uint32_t level, size_t count)
{
    struct ak_parquet_rle rle;
    ak_parquet_rle_init(&rle, p, len, width);
    while (count > 0) {
        if (!ak_parquet_rle_run(&rle)) {
            return false;
        }
        size_t n = rle.run_left < count ? rle.run_left : count;
        if (!rle.is_packed && rle.value != level) {
            return false;
        }
        for (size_t i = 0; rle.is_packed && i < n; i++) {
            if (ak_parquet_rle_packed(&rle) != level) {
                return false;
            }
        }
        rle.run_left = 0;
        count -= n;
    }
    return true;
}

bool ak_parquet_levels_repeat(const void *p, size_t len, uint32_t each, size_t count)
{
    struct ak_parquet_rle rle;
    uint32_t in_row = 0; /* elements of the present list so far */
    ak_parquet_rle_init(&rle, p, len, 1);
    while (count > 0) {
        if (!ak_parquet_rle_run(&rle)) {
            return false;
        }
        size_t n = rle.run_left < count ? rle.run_left : count;
        count -= n;
        if (!rle.is_packed && rle.value == 1) {
            if (in_row == 0 || n > each - in_row) {
                return false;
            }
            in_row += (uint32_t)n;
            in_row = in_row == each ? 0 : in_row;
        } else if (!rle.is_packed) {
            if (in_row != 0 || (n != 1 && each != 1)) {
                return false;
            }
            in_row = each == 1 ? 0 : 1;
        }
        for (size_t i = 0; rle.is_packed && i < n; i++) {
            if (ak_parquet_rle_packed(&rle) != (in_row != 0)) {
                return false;
            }
            in_row = in_row + 1 == each ? 0 : in_row + 1;
        }
        rle.run_left = 0;
    }
    return in_row == 0;
}
