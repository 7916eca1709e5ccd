/* meta_write.c — the thrift structs of a file: page headers, indexes, footer.
 * Source: apache/parquet-format, parquet.thrift; field numbers stand beside their calls there. */
#include "parquet/values_write.h"
#include "parquet/writer_priv.h"
#include <string.h>

enum boundary_order { UNORDERED = 0, ASCENDING = 1, DESCENDING = 2 }; /* parquet.thrift's numbers */

#define FORMAT_VERSION 1 /* whatever pages are used: what readers expect */

enum ak_parquet_codec ak_parquet_codec_of(enum ak_codec codec)
{
    static const enum ak_parquet_codec codecs[AK_CODEC_COUNT] = {
        [AK_CODEC_NONE] = AK_PARQUET_CODEC_NONE, [AK_CODEC_SNAPPY] = AK_PARQUET_CODEC_SNAPPY,
        [AK_CODEC_ZSTD] = AK_PARQUET_CODEC_ZSTD, [AK_CODEC_LZ4] = AK_PARQUET_CODEC_LZ4_RAW,
        [AK_CODEC_GZIP] = AK_PARQUET_CODEC_GZIP,
    };
    return codecs[codec];
}

enum ak_parquet_encoding ak_meta_encoding(const struct ak_parquet_column *column,
                                          bool has_dictionary)
{
    return has_dictionary ? AK_PARQUET_RLE_DICTIONARY : column->encoding;
}

/* Statistics: null_count always, bounds where there are any; never the old min and max. */
static void put_statistics(struct ak_thrift *t, int field, uint64_t nulls,
                           const struct ak_parquet_bounds *bounds)
{
    ak_thrift_struct(t, field);
    ak_thrift_i64(t, 3, (int64_t)nulls);
    if (bounds->is_set) {
        ak_thrift_binary(t, 5, ak_parquet_bound_str(&bounds->max));
        ak_thrift_binary(t, 6, ak_parquet_bound_str(&bounds->min));
        ak_thrift_bool(t, 7, bounds->max.is_exact);
        ak_thrift_bool(t, 8, bounds->min.is_exact);
    }
    ak_thrift_end(t);
}

/* --- Page headers --- */

static void begin_page_header(struct ak_thrift *t, enum ak_parquet_page_type type, uint32_t raw,
                              uint32_t stored, uint32_t crc)
{
    int32_t signed_crc;
    memcpy(&signed_crc, &crc, sizeof crc);
    ak_thrift_i32(t, 1, (int32_t)type);
    ak_thrift_i32(t, 2, (int32_t)raw);
    ak_thrift_i32(t, 3, (int32_t)stored);
    ak_thrift_i32(t, 4, signed_crc);
}

void ak_meta_page_header(const struct ak_page_format *format, const struct ak_chunk_in *in,
                         const struct ak_page_out *page, uint32_t raw, uint32_t stored,
                         uint32_t def_len, uint32_t rep_len, uint32_t crc, struct ak_buf *out)
{
    struct ak_thrift t;
    int32_t values =
        (int32_t)(in->column->is_list ? page->rows * in->column->dimension : page->rows);
    enum ak_parquet_encoding encoding = ak_meta_encoding(in->column, in->dictionary != NULL);
    ak_thrift_init(&t, out);
    begin_page_header(&t, format->v2 ? AK_PARQUET_PAGE_DATA_V2 : AK_PARQUET_PAGE_DATA, raw, stored,
                      crc);
    if (format->v2) {
        ak_thrift_struct(&t, 8);
        ak_thrift_i32(&t, 1, values);
        ak_thrift_i32(&t, 2, (int32_t)page->nulls);
        ak_thrift_i32(&t, 3, (int32_t)page->rows);
        ak_thrift_i32(&t, 4, (int32_t)encoding);
        ak_thrift_i32(&t, 5, (int32_t)def_len);
        ak_thrift_i32(&t, 6, (int32_t)rep_len);
        ak_thrift_bool(&t, 7, format->codec != AK_CODEC_NONE && stored > def_len + rep_len);
    } else {
        ak_thrift_struct(&t, 5);
        ak_thrift_i32(&t, 1, values);
        ak_thrift_i32(&t, 2, (int32_t)encoding);
        ak_thrift_i32(&t, 3, AK_PARQUET_RLE);
        ak_thrift_i32(&t, 4, AK_PARQUET_RLE);
    }
    ak_thrift_end(&t);
    ak_thrift_end(&t);
}

void ak_meta_dictionary_header(uint32_t count, uint32_t raw, uint32_t stored, uint32_t crc,
                               struct ak_buf *out)
{
    struct ak_thrift t;
    ak_thrift_init(&t, out);
    begin_page_header(&t, AK_PARQUET_PAGE_DICTIONARY, raw, stored, crc);
    ak_thrift_struct(&t, 7);
    ak_thrift_i32(&t, 1, (int32_t)count);
    ak_thrift_i32(&t, 2, AK_PARQUET_PLAIN);
    ak_thrift_bool(&t, 3, false);
    ak_thrift_end(&t);
    ak_thrift_end(&t);
}

/* --- The page index --- */

void ak_meta_offset_index(const struct ak_chunk_out *chunk, struct ak_buf *out)
{
    struct ak_thrift t;
    ak_thrift_init(&t, out);
    ak_thrift_list(&t, 1, AK_PARQUET_WIRE_STRUCT, chunk->page_count);
    for (size_t i = 0; i < chunk->page_count; i++) {
        const struct ak_page_out *page = &chunk->pages[i];
        ak_thrift_element_struct(&t);
        ak_thrift_i64(&t, 1, (int64_t)page->at);
        ak_thrift_i32(&t, 2, (int32_t)page->len);
        ak_thrift_i64(&t, 3, (int64_t)page->first_row);
        ak_thrift_end(&t);
    }
    ak_thrift_end(&t);
}

/* Do least and greatest values both go up from page to page, or both down? Pages of nulls do not
 * count. Lets a reader search by halving. */
static enum boundary_order order_of(const struct ak_parquet_column *column,
                                    const struct ak_chunk_out *chunk)
{
    const struct ak_parquet_bounds *before = NULL;
    bool up = true;
    bool down = true;
    for (size_t i = 0; i < chunk->page_count; i++) {
        const struct ak_parquet_bounds *now = &chunk->pages[i].bounds;
        if (!now->is_set) {
            continue;
        }
        if (before) {
            int min = ak_bound_cmp(column, &before->min, &now->min);
            int max = ak_bound_cmp(column, &before->max, &now->max);
            up = up && min <= 0 && max <= 0;
            down = down && min >= 0 && max >= 0;
        }
        before = now;
    }
    return up ? ASCENDING : down ? DESCENDING : UNORDERED;
}

void ak_meta_column_index(const struct ak_parquet_column *column, const struct ak_chunk_out *chunk,
                          struct ak_buf *out)
{
    struct ak_thrift t;
    ak_thrift_init(&t, out);
    ak_thrift_list(&t, 1, AK_PARQUET_WIRE_TRUE, chunk->page_count);
    for (size_t i = 0; i < chunk->page_count; i++) {
        ak_thrift_element_bool(&t, chunk->pages[i].nulls == chunk->pages[i].rows);
    }
    for (int which = 0; which < 2; which++) {
        ak_thrift_list(&t, 2 + which, AK_PARQUET_WIRE_BINARY, chunk->page_count);
        for (size_t i = 0; i < chunk->page_count; i++) {
            const struct ak_parquet_bounds *bounds = &chunk->pages[i].bounds;
            ak_thrift_element_binary(&t, !bounds->is_set ? AK_STR_NONE
                                         : which         ? ak_parquet_bound_str(&bounds->max)
                                                         : ak_parquet_bound_str(&bounds->min));
        }
    }
    ak_thrift_i32(&t, 4, (int32_t)order_of(column, chunk));
    ak_thrift_list(&t, 5, AK_PARQUET_WIRE_I64, chunk->page_count);
    for (size_t i = 0; i < chunk->page_count; i++) {
        ak_thrift_element_i64(&t, (int64_t)chunk->pages[i].nulls);
    }
    ak_thrift_end(&t);
}

/* --- Schema --- */

static void put_empty_member(struct ak_thrift *t, int member)
{
    ak_thrift_struct(t, member);
    ak_thrift_end(t);
}

static void put_time(struct ak_thrift *t, int member, const struct ak_parquet_meaning *meaning)
{
    ak_thrift_struct(t, member);
    ak_thrift_bool(t, 1, meaning->is_utc);
    ak_thrift_struct(t, 2);
    put_empty_member(t, 1 + (int)meaning->unit); /* MILLIS, MICROS, NANOS */
    ak_thrift_end(t);
    ak_thrift_end(t);
}

static void put_logical(struct ak_thrift *t, const struct ak_parquet_meaning *meaning)
{
    static const int members[] = {
        [AK_PARQUET_STRING] = AK_PARQUET_LOGICAL_STRING,
        [AK_PARQUET_ENUM] = AK_PARQUET_LOGICAL_ENUM,
        [AK_PARQUET_JSON] = AK_PARQUET_LOGICAL_JSON,
        [AK_PARQUET_BSON] = AK_PARQUET_LOGICAL_BSON,
        [AK_PARQUET_UUID] = AK_PARQUET_LOGICAL_UUID,
        [AK_PARQUET_DATE] = AK_PARQUET_LOGICAL_DATE,
        [AK_PARQUET_FLOAT16] = AK_PARQUET_LOGICAL_FLOAT16,
        [AK_PARQUET_NULL] = AK_PARQUET_LOGICAL_UNKNOWN,
    };
    ak_thrift_struct(t, 10);
    switch (meaning->annotation) {
    case AK_PARQUET_DECIMAL:
        ak_thrift_struct(t, AK_PARQUET_LOGICAL_DECIMAL);
        ak_thrift_i32(t, 1, meaning->scale);
        ak_thrift_i32(t, 2, meaning->precision);
        ak_thrift_end(t);
        break;
    case AK_PARQUET_TIME:
        put_time(t, AK_PARQUET_LOGICAL_TIME, meaning);
        break;
    case AK_PARQUET_TIMESTAMP:
        put_time(t, AK_PARQUET_LOGICAL_TIMESTAMP, meaning);
        break;
    case AK_PARQUET_INTEGER:
        ak_thrift_struct(t, AK_PARQUET_LOGICAL_INTEGER);
        ak_thrift_i8(t, 1, (int8_t)meaning->bits);
        ak_thrift_bool(t, 2, meaning->is_signed);
        ak_thrift_end(t);
        break;
    case AK_PARQUET_STRING: /* those without anything beside their name */
    case AK_PARQUET_ENUM:
    case AK_PARQUET_JSON:
    case AK_PARQUET_BSON:
    case AK_PARQUET_UUID:
    case AK_PARQUET_DATE:
    case AK_PARQUET_FLOAT16:
    case AK_PARQUET_NULL:
        put_empty_member(t, members[meaning->annotation]);
        break;
    case AK_PARQUET_PLAIN_VALUE: /* the caller does not ask */
    case AK_PARQUET_INTERVAL:
        break;
    }
    ak_thrift_end(t);
}

/* The older form of the same, or −1. */
static int converted_of(const struct ak_parquet_meaning *meaning)
{
    bool is_nanos = meaning->unit == AK_PARQUET_NANOS;
    int step = meaning->unit == AK_PARQUET_MICROS;
    switch (meaning->annotation) {
    case AK_PARQUET_STRING:
        return AK_PARQUET_CONVERTED_UTF8;
    case AK_PARQUET_ENUM:
        return AK_PARQUET_CONVERTED_ENUM;
    case AK_PARQUET_JSON:
        return AK_PARQUET_CONVERTED_JSON;
    case AK_PARQUET_BSON:
        return AK_PARQUET_CONVERTED_BSON;
    case AK_PARQUET_DECIMAL:
        return AK_PARQUET_CONVERTED_DECIMAL;
    case AK_PARQUET_DATE:
        return AK_PARQUET_CONVERTED_DATE;
    case AK_PARQUET_TIME: /* the older ones are in UTC by definition */
        return is_nanos || !meaning->is_utc ? -1 : AK_PARQUET_CONVERTED_TIME_MILLIS + step;
    case AK_PARQUET_TIMESTAMP:
        return is_nanos || !meaning->is_utc ? -1 : AK_PARQUET_CONVERTED_TIMESTAMP_MILLIS + step;
    case AK_PARQUET_INTEGER: {
        int size = meaning->bits == 8 ? 0 : meaning->bits == 16 ? 1 : meaning->bits == 32 ? 2 : 3;
        return size +
               (meaning->is_signed ? AK_PARQUET_CONVERTED_INT_8 : AK_PARQUET_CONVERTED_UINT_8);
    }
    case AK_PARQUET_INTERVAL:
        return AK_PARQUET_CONVERTED_INTERVAL;
    case AK_PARQUET_PLAIN_VALUE:
    case AK_PARQUET_UUID:
    case AK_PARQUET_FLOAT16:
    case AK_PARQUET_NULL:
        break;
    }
    return -1;
}

static void put_group_element(struct ak_thrift *t, const char *name, int repetition, int children,
                              bool is_list)
{
    ak_thrift_element_struct(t);
    if (repetition >= 0) {
        ak_thrift_i32(t, 3, (int32_t)repetition);
    }
    ak_thrift_binary(t, 4, ak_str_of(name));
    ak_thrift_i32(t, 5, children);
    if (is_list) {
        ak_thrift_i32(t, 6, AK_PARQUET_CONVERTED_LIST);
        ak_thrift_struct(t, 10);
        put_empty_member(t, AK_PARQUET_LOGICAL_LIST);
        ak_thrift_end(t);
    }
    ak_thrift_end(t);
}

static void put_leaf_element(struct ak_thrift *t, const struct ak_parquet_column *column,
                             const char *name, enum ak_parquet_repetition repetition)
{
    int converted = converted_of(&column->meaning);
    ak_thrift_element_struct(t);
    ak_thrift_i32(t, 1, (int32_t)column->type);
    if (column->type == AK_PARQUET_FIXED) {
        ak_thrift_i32(t, 2, (int32_t)column->fixed_len);
    }
    ak_thrift_i32(t, 3, (int32_t)repetition);
    ak_thrift_binary(t, 4, ak_str_of(name));
    if (converted >= 0) {
        ak_thrift_i32(t, 6, converted);
    }
    if (column->meaning.annotation == AK_PARQUET_DECIMAL) {
        ak_thrift_i32(t, 7, column->meaning.scale);
        ak_thrift_i32(t, 8, column->meaning.precision);
    }
    if (column->meaning.annotation != AK_PARQUET_PLAIN_VALUE &&
        column->meaning.annotation != AK_PARQUET_INTERVAL) {
        put_logical(t, &column->meaning);
    }
    ak_thrift_end(t);
}

static void put_schema(struct ak_thrift *t, const struct ak_meta_file *file)
{
    size_t elements = 1;
    for (size_t i = 0; i < file->column_count; i++) {
        elements += file->columns[i].is_list ? 3 : 1;
    }
    ak_thrift_list(t, 2, AK_PARQUET_WIRE_STRUCT, elements);
    put_group_element(t, "schema", -1, (int)file->column_count, false);
    for (size_t i = 0; i < file->column_count; i++) {
        const struct ak_parquet_column *column = &file->columns[i];
        if (column->is_list) {
            put_group_element(t, column->name, AK_PARQUET_REQUIRED, 1, true);
            put_group_element(t, "list", AK_PARQUET_REPEATED, 1, false);
            put_leaf_element(t, column, "element", AK_PARQUET_REQUIRED);
        } else {
            put_leaf_element(t, column, column->name,
                             column->is_optional ? AK_PARQUET_OPTIONAL : AK_PARQUET_REQUIRED);
        }
    }
}

/* --- Row groups --- */

static void put_encoding_stats(struct ak_thrift *t, enum ak_parquet_page_type type,
                               enum ak_parquet_encoding encoding, size_t count)
{
    ak_thrift_element_struct(t);
    ak_thrift_i32(t, 1, (int32_t)type);
    ak_thrift_i32(t, 2, (int32_t)encoding);
    ak_thrift_i32(t, 3, (int32_t)count);
    ak_thrift_end(t);
}

static void put_column_meta(struct ak_thrift *t, const struct ak_meta_file *file,
                            const struct ak_parquet_column *column,
                            const struct ak_chunk_out *chunk)
{
    enum ak_parquet_encoding encoding = ak_meta_encoding(column, chunk->has_dictionary);
    bool has_levels = column->is_list || column->is_optional;
    bool has_rle = has_levels && encoding != AK_PARQUET_RLE;
    ak_thrift_struct(t, 3);
    ak_thrift_i32(t, 1, (int32_t)column->type);
    ak_thrift_list(t, 2, AK_PARQUET_WIRE_I32, 1u + has_rle + chunk->has_dictionary);
    if (chunk->has_dictionary) {
        ak_thrift_element_i32(t, AK_PARQUET_PLAIN);
    }
    ak_thrift_element_i32(t, (int32_t)encoding);
    if (has_rle) {
        ak_thrift_element_i32(t, AK_PARQUET_RLE);
    }
    ak_thrift_list(t, 3, AK_PARQUET_WIRE_BINARY, column->is_list ? 3 : 1);
    ak_thrift_element_binary(t, ak_str_of(column->name));
    if (column->is_list) {
        ak_thrift_element_binary(t, AK_STR("list"));
        ak_thrift_element_binary(t, AK_STR("element"));
    }
    ak_thrift_i32(t, 4, (int32_t)ak_parquet_codec_of(file->codec));
    ak_thrift_i64(t, 5, (int64_t)chunk->values);
    ak_thrift_i64(t, 6, (int64_t)chunk->uncompressed);
    ak_thrift_i64(t, 7, (int64_t)chunk->compressed);
    ak_thrift_i64(t, 9, (int64_t)chunk->data_at);
    if (chunk->has_dictionary) {
        ak_thrift_i64(t, 11, (int64_t)chunk->dictionary_at);
    }
    put_statistics(t, 12, chunk->nulls, &chunk->bounds);
    ak_thrift_list(t, 13, AK_PARQUET_WIRE_STRUCT, 1u + chunk->has_dictionary);
    if (chunk->has_dictionary) {
        put_encoding_stats(t, AK_PARQUET_PAGE_DICTIONARY, AK_PARQUET_PLAIN, 1);
    }
    put_encoding_stats(t, file->v2 ? AK_PARQUET_PAGE_DATA_V2 : AK_PARQUET_PAGE_DATA, encoding,
                       chunk->page_count);
    ak_thrift_end(t);
}

static void put_chunk(struct ak_thrift *t, const struct ak_meta_file *file,
                      const struct ak_parquet_column *column, const struct ak_chunk_out *chunk)
{
    ak_thrift_element_struct(t);
    ak_thrift_i64(t, 2, 0);
    put_column_meta(t, file, column, chunk);
    if (chunk->offset_index_len) {
        ak_thrift_i64(t, 4, (int64_t)chunk->offset_index_at);
        ak_thrift_i32(t, 5, (int32_t)chunk->offset_index_len);
    }
    if (chunk->column_index_len) {
        ak_thrift_i64(t, 6, (int64_t)chunk->column_index_at);
        ak_thrift_i32(t, 7, (int32_t)chunk->column_index_len);
    }
    ak_thrift_end(t);
}

static void put_group(struct ak_thrift *t, const struct ak_meta_file *file, size_t index)
{
    const struct ak_group_out *group = &file->groups[index];
    uint64_t raw = 0;
    uint64_t stored = 0;
    ak_thrift_element_struct(t);
    ak_thrift_list(t, 1, AK_PARQUET_WIRE_STRUCT, file->column_count);
    for (size_t i = 0; i < file->column_count; i++) {
        put_chunk(t, file, &file->columns[i], &group->chunks[i]);
        raw += group->chunks[i].uncompressed;
        stored += group->chunks[i].compressed;
    }
    ak_thrift_i64(t, 2, (int64_t)raw);
    ak_thrift_i64(t, 3, (int64_t)group->rows);
    ak_thrift_i64(t, 5, (int64_t)group->at);
    ak_thrift_i64(t, 6, (int64_t)stored);
    ak_thrift_i16(t, 7, (int16_t)index);
    ak_thrift_end(t);
}

void ak_meta_footer(const struct ak_meta_file *file, struct ak_buf *out)
{
    struct ak_thrift t;
    uint64_t rows = 0;
    for (size_t i = 0; i < file->group_count; i++) {
        rows += file->groups[i].rows;
    }
    ak_thrift_init(&t, out);
    ak_thrift_i32(&t, 1, FORMAT_VERSION);
    put_schema(&t, file);
    ak_thrift_i64(&t, 3, (int64_t)rows);
    ak_thrift_list(&t, 4, AK_PARQUET_WIRE_STRUCT, file->group_count);
    for (size_t i = 0; i < file->group_count; i++) {
        put_group(&t, file, i);
    }
    if (file->pair_count) {
        ak_thrift_list(&t, 5, AK_PARQUET_WIRE_STRUCT, file->pair_count);
    }
    for (size_t i = 0; i < file->pair_count; i++) {
        const struct ak_meta_pair *pair = &file->pairs[i];
        ak_thrift_element_struct(&t);
        ak_thrift_binary(&t, 1, (struct ak_str){pair->key, pair->key_len});
        ak_thrift_binary(&t, 2, (struct ak_str){pair->value, pair->value_len});
        ak_thrift_end(&t);
    }
    ak_thrift_binary(&t, 6, ak_str_of(file->created_by));
    ak_thrift_list(&t, 7, AK_PARQUET_WIRE_STRUCT, file->column_count);
    for (size_t i = 0; i < file->column_count; i++) { /* each column: the order of its type */
        ak_thrift_element_struct(&t);
        put_empty_member(&t, 1);
        ak_thrift_end(&t);
    }
    ak_thrift_end(&t);
}
