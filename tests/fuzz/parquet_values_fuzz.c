/* fuzz: links parquet */
/* parquet_values_fuzz.c — the decoders of values and levels, and the thrift reader, on bytes alone.
 *
 * byte 0: what to try · byte 1: how many values · byte 2: width or physical type · then the bytes.
 */
#include "fuzz.h"
#include "parquet/read_priv.h"
#include <stdlib.h>

static volatile unsigned touched; /* so that reading is not left out */

static void try_values(unsigned encoding, unsigned type, size_t count, const uint8_t *p, size_t len)
{
    const struct ak_parquet_leaf leaf = {
        .type = (enum ak_parquet_type)(type & 7),
        .fixed_len = (type & 7) == AK_PARQUET_FIXED ? 1 + (type >> 3)
                     : (type & 7) == 3              ? 12
                                                    : 0,
    };
    struct ak_parquet_budget budget = {.max = (size_t)1 << 20};
    struct ak_parquet_decoder decoder = {.leaf = &leaf, .budget = &budget};
    size_t size = ak_parquet_value_size(&leaf);
    void *out = malloc(count * size + 1);
    AK_ASSERT(out);
    enum ak_rc rc = ak_parquet_values(&decoder, encoding, p, len, count, out, NULL);
    AK_ASSERT(rc == AK_OK || rc == AK_CORRUPT || rc == AK_UNSUPPORTED || rc == AK_TOO_BIG);
    const struct ak_str *strings = out;
    for (size_t i = 0; rc == AK_OK && size == sizeof *strings && i < count; i++) {
        for (size_t b = 0; b < strings[i].len; b++) {
            touched += (unsigned char)strings[i].p[b];
        }
    }
    ak_parquet_decoder_release(&decoder);
    AK_ASSERT(budget.used == 0);
    free(out);
}

static void try_levels(unsigned width, size_t count, const uint8_t *p, size_t len)
{
    struct ak_parquet_rle rle;
    uint32_t *out = malloc(count * sizeof *out + 1);
    AK_ASSERT(out);
    width %= 33;
    ak_parquet_rle_init(&rle, p, len, width);
    bool is_read = ak_parquet_rle_read(&rle, out, count);
    bool is_all_one = is_read;
    bool is_pairs = is_read && count % 2 == 0;
    for (size_t i = 0; is_read && i < count; i++) {
        AK_ASSERT(width == 32 || out[i] >> width == 0);
        is_all_one = is_all_one && out[i] == 1;
        is_pairs = is_pairs && out[i] == i % 2;
    }
    /* The two that write nothing down come to the same answer. */
    AK_ASSERT(ak_parquet_levels_are(p, len, width, 1, count) == is_all_one);
    if (width == 1) {
        AK_ASSERT(ak_parquet_levels_repeat(p, len, 2, count) == is_pairs);
    }
    free(out);
}

static void try_thrift(const uint8_t *p, size_t len)
{
    struct ak_parquet_thrift in;
    struct ak_parquet_scope scope;
    ak_parquet_thrift_init(&in, p, len, 0);
    ak_parquet_thrift_begin(&in, &scope, "Fuzz");
    while (ak_parquet_thrift_field(&in, &scope)) {
        ak_parquet_thrift_skip(&in, &scope);
    }
    AK_ASSERT(ak_parquet_thrift_failed(&in) || in.depth == 0);
    AK_ASSERT(in.at >= in.begin && in.at <= in.end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3) {
        return 0;
    }
    size_t count = data[1];
    if (data[0] < 16) {
        try_values(data[0], data[2], count, data + 3, size - 3);
    } else if (data[0] < 32) {
        try_levels(data[2], count, data + 3, size - 3);
    } else {
        try_thrift(data + 3, size - 3);
    }
    return 0;
}
