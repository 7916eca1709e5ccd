/* thrift_write.c — thrift's compact protocol: short field headers, varints, zigzag. */
#include "parquet/thrift_write.h"

void ak_parquet_put_varint(struct ak_buf *out, uint64_t value)
{
    while (value >= 0x80) {
        ak_buf_add_char(out, (char)(value | 0x80));
        value >>= 7;
    }
    ak_buf_add_char(out, (char)value);
}

void ak_parquet_put_zigzag(struct ak_buf *out, int64_t value)
{
    ak_parquet_put_varint(out, ((uint64_t)value << 1) ^ (uint64_t)(value >> 63));
}

static void push(struct ak_thrift *t)
{
    AK_ASSERT(t->depth < AK_THRIFT_DEPTH);
    t->last[t->depth++] = 0;
}

void ak_thrift_init(struct ak_thrift *t, struct ak_buf *out)
{
    *t = (struct ak_thrift){.out = out};
    push(t);
}

void ak_thrift_end(struct ak_thrift *t)
{
    AK_ASSERT(t->depth > 0);
    ak_buf_add_char(t->out, AK_PARQUET_WIRE_STOP);
    t->depth--;
}

static void field_head(struct ak_thrift *t, int field, enum ak_parquet_wire wire)
{
    int *last = &t->last[t->depth - 1];
    int step = field - *last;
    AK_ASSERT(step > 0);
    if (step <= 15) {
        ak_buf_add_char(t->out, (char)((unsigned)step << 4 | wire));
    } else {
        ak_buf_add_char(t->out, (char)wire);
        ak_parquet_put_zigzag(t->out, field);
    }
    *last = field;
}

void ak_thrift_bool(struct ak_thrift *t, int field, bool value)
{
    field_head(t, field, value ? AK_PARQUET_WIRE_TRUE : AK_PARQUET_WIRE_FALSE);
}

void ak_thrift_i8(struct ak_thrift *t, int field, int8_t value)
{
    field_head(t, field, AK_PARQUET_WIRE_BYTE);
    ak_buf_add_char(t->out, (char)value);
}

void ak_thrift_i16(struct ak_thrift *t, int field, int16_t value)
{
    field_head(t, field, AK_PARQUET_WIRE_I16);
    ak_parquet_put_zigzag(t->out, value);
}

void ak_thrift_i32(struct ak_thrift *t, int field, int32_t value)
{
    field_head(t, field, AK_PARQUET_WIRE_I32);
    ak_parquet_put_zigzag(t->out, value);
}

void ak_thrift_i64(struct ak_thrift *t, int field, int64_t value)
{
    field_head(t, field, AK_PARQUET_WIRE_I64);
    ak_parquet_put_zigzag(t->out, value);
}

void ak_thrift_binary(struct ak_thrift *t, int field, struct ak_str value)
{
    field_head(t, field, AK_PARQUET_WIRE_BINARY);
    ak_thrift_element_binary(t, value);
}

void ak_thrift_struct(struct ak_thrift *t, int field)
{
    field_head(t, field, AK_PARQUET_WIRE_STRUCT);
    push(t);
}

void ak_thrift_list(struct ak_thrift *t, int field, enum ak_parquet_wire element, size_t count)
{
    field_head(t, field, AK_PARQUET_WIRE_LIST);
    if (count < 15) {
        ak_buf_add_char(t->out, (char)(count << 4 | element));
    } else {
        ak_buf_add_char(t->out, (char)(0xf0u | element));
        ak_parquet_put_varint(t->out, count);
    }
}

void ak_thrift_element_bool(struct ak_thrift *t, bool value)
{
    ak_buf_add_char(t->out, value ? AK_PARQUET_WIRE_TRUE : AK_PARQUET_WIRE_FALSE);
}

void ak_thrift_element_i32(struct ak_thrift *t, int32_t value)
{
    ak_parquet_put_zigzag(t->out, value);
}

void ak_thrift_element_i64(struct ak_thrift *t, int64_t value)
{
    ak_parquet_put_zigzag(t->out, value);
}

void ak_thrift_element_binary(struct ak_thrift *t, struct ak_str value)
{
    ak_parquet_put_varint(t->out, value.len);
    ak_buf_add_str(t->out, value);
}

void ak_thrift_element_struct(struct ak_thrift *t)
{
    push(t);
}
