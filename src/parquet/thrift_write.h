/* thrift_write.h — the thrift compact protocol, writing: just what Parquet's structs need.
 *
 * Fields are given by their numbers in ascending order. Failures (memory) stick in the buffer, as
 * ak_buf's do. Threads: one at a time. Source: apache/thrift, thrift-compact-protocol.md.
 */
#pragma once
#include "base/str.h"
#include "parquet/parquet_priv.h"

#define AK_THRIFT_DEPTH 8

struct ak_thrift {
    struct ak_buf *out;
    int last[AK_THRIFT_DEPTH]; /* the field written last, of each open struct */
    unsigned depth;            /* open structs */
};

void ak_thrift_init(struct ak_thrift *t, struct ak_buf *out); /* inside the outermost struct */
void ak_thrift_end(struct ak_thrift *t);                      /* of the innermost struct */

void ak_thrift_bool(struct ak_thrift *t, int field, bool value);
void ak_thrift_i8(struct ak_thrift *t, int field, int8_t value);
void ak_thrift_i16(struct ak_thrift *t, int field, int16_t value);
void ak_thrift_i32(struct ak_thrift *t, int field, int32_t value);
void ak_thrift_i64(struct ak_thrift *t, int field, int64_t value);
void ak_thrift_binary(struct ak_thrift *t, int field, struct ak_str value);
void ak_thrift_struct(struct ak_thrift *t, int field); /* opens it */
/* Opens a list; its `count` elements follow by the calls below. */
void ak_thrift_list(struct ak_thrift *t, int field, enum ak_parquet_wire element, size_t count);

void ak_thrift_element_bool(struct ak_thrift *t, bool value);
void ak_thrift_element_i32(struct ak_thrift *t, int32_t value);
void ak_thrift_element_i64(struct ak_thrift *t, int64_t value);
void ak_thrift_element_binary(struct ak_thrift *t, struct ak_str value);
void ak_thrift_element_struct(struct ak_thrift *t); /* opens it */

void ak_parquet_put_varint(struct ak_buf *out, uint64_t value); /* ULEB128 */
void ak_parquet_put_zigzag(struct ak_buf *out, int64_t value);
