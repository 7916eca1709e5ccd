/* parquet_value.h — rows of a Parquet file as JSON, for people who want to see what is in it.
 *
 * Threads: one. Memory: appends to the caller's buffer.
 */
#pragma once
#include "parquet/reader.h"

/* Value `i` of the batch: numbers, strings, times as RFC 3339, UUIDs as text, JSON as JSON,
 * decimals and what JSON has no number for (NaN) as strings, other bytes as "0x…". */
void ak_parquet_put_value(struct ak_buf *out, const struct ak_parquet_leaf *leaf,
                          const struct ak_parquet_batch *batch, size_t i);
/* Row `row` of the batch: a value, null, or arrays as deep as the leaf is repeated. */
void ak_parquet_put_row(struct ak_buf *out, const struct ak_parquet_leaf *leaf,
                        const struct ak_parquet_batch *batch, size_t row);
/* "STRING", "TIMESTAMP(MICROS, UTC)", "INT(8, signed)"; empty for none. */
void ak_parquet_put_meaning(struct ak_buf *out, const struct ak_parquet_meaning *meaning);
