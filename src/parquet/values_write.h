/* values_write.h — encodings of values and levels, writing. Source: parquet-format, Encodings.md.
 *
 * All append to a buffer, in which failures stick. Threads: pure but for the buffer.
 */
#pragma once
#include "base/str.h"
#include "parquet/parquet_priv.h"

/* Bytes of one value of a fixed-width type; 0: BYTE_ARRAY, FIXED. BOOLEAN counts as one byte. */
size_t ak_parquet_width(enum ak_parquet_type type);

/* RLE / bit-packing hybrid of `bits` (0..32) wide values. */
void ak_parquet_put_hybrid(struct ak_buf *out, const uint32_t *values, size_t count, unsigned bits);
/* The same of a run: `count` times `value`. */
void ak_parquet_put_run(struct ak_buf *out, uint64_t count, uint32_t value, unsigned bits);
/* Repetition levels of `rows` lists of `dimension` values each. */
void ak_parquet_put_list_levels(struct ak_buf *out, uint64_t rows, uint32_t dimension);

void ak_parquet_put_bools(struct ak_buf *out, const uint8_t *values, size_t count); /* PLAIN */
void ak_parquet_put_bools_rle(struct ak_buf *out, const uint8_t *values, size_t count);
void ak_parquet_put_bytes(struct ak_buf *out, const struct ak_str *values, size_t count);
void ak_parquet_put_delta32(struct ak_buf *out, const int32_t *values, size_t count);
void ak_parquet_put_delta64(struct ak_buf *out, const int64_t *values, size_t count);
/* Both need a scratch of `count` i32. */
void ak_parquet_put_delta_length(struct ak_buf *out, const struct ak_str *values, size_t count,
                                 int32_t *scratch);
void ak_parquet_put_delta_bytes(struct ak_buf *out, const struct ak_str *values, size_t count,
                                int32_t *scratch, struct ak_str *suffixes);
/* BYTE_STREAM_SPLIT: byte b of in[i] to out[b · plane + i]; width 4 or 8. */
void ak_parquet_split(const void *in, size_t count, size_t width, uint8_t *out, size_t plane);

#if defined(__x86_64__)
void ak_parquet_split4_avx2(const void *in, size_t count, uint8_t *out, size_t plane);
#endif
