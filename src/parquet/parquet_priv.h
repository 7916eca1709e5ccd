/* parquet_priv.h — numbers of the format that the reader and the writer share, and the checksum.
 * Source: apache/parquet-format, parquet.thrift. */
#pragma once
#include "codec/codec.h"
#include "parquet/schema.h"

#define AK_PARQUET_MAGIC "PAR1"
#define AK_PARQUET_MAGIC_ENCRYPTED "PARE"
#define AK_PARQUET_MAGIC_LEN 4
#define AK_PARQUET_TAIL_LEN 8 /* u32 length of the metadata, magic */

enum ak_parquet_codec { /* CompressionCodec */
                        AK_PARQUET_CODEC_NONE = 0,
                        AK_PARQUET_CODEC_SNAPPY = 1,
                        AK_PARQUET_CODEC_GZIP = 2,
                        AK_PARQUET_CODEC_LZO = 3,
                        AK_PARQUET_CODEC_BROTLI = 4,
                        AK_PARQUET_CODEC_LZ4_HADOOP = 5,
                        AK_PARQUET_CODEC_ZSTD = 6,
                        AK_PARQUET_CODEC_LZ4_RAW = 7
};

enum ak_parquet_page_type { /* PageType */
                            AK_PARQUET_PAGE_DATA = 0,
                            AK_PARQUET_PAGE_INDEX = 1,
                            AK_PARQUET_PAGE_DICTIONARY = 2,
                            AK_PARQUET_PAGE_DATA_V2 = 3
};

enum ak_parquet_repetition { /* FieldRepetitionType */
                             AK_PARQUET_REQUIRED = 0,
                             AK_PARQUET_OPTIONAL = 1,
                             AK_PARQUET_REPEATED = 2
};

enum ak_parquet_converted { /* ConvertedType */
                            AK_PARQUET_CONVERTED_UTF8 = 0,
                            AK_PARQUET_CONVERTED_MAP = 1,
                            AK_PARQUET_CONVERTED_MAP_KEY_VALUE = 2,
                            AK_PARQUET_CONVERTED_LIST = 3,
                            AK_PARQUET_CONVERTED_ENUM = 4,
                            AK_PARQUET_CONVERTED_DECIMAL = 5,
                            AK_PARQUET_CONVERTED_DATE = 6,
                            AK_PARQUET_CONVERTED_TIME_MILLIS = 7,
                            AK_PARQUET_CONVERTED_TIME_MICROS = 8,
                            AK_PARQUET_CONVERTED_TIMESTAMP_MILLIS = 9,
                            AK_PARQUET_CONVERTED_TIMESTAMP_MICROS = 10,
                            AK_PARQUET_CONVERTED_UINT_8 = 11, /* _16, _32, _64 follow */
                            AK_PARQUET_CONVERTED_INT_8 = 15,  /* _16, _32, _64 follow */
                            AK_PARQUET_CONVERTED_JSON = 19,
                            AK_PARQUET_CONVERTED_BSON = 20,
                            AK_PARQUET_CONVERTED_INTERVAL = 21
};

enum ak_parquet_logical { /* the members of the union LogicalType */
                          AK_PARQUET_LOGICAL_STRING = 1,
                          AK_PARQUET_LOGICAL_MAP = 2,
                          AK_PARQUET_LOGICAL_LIST = 3,
                          AK_PARQUET_LOGICAL_ENUM = 4,
                          AK_PARQUET_LOGICAL_DECIMAL = 5,
                          AK_PARQUET_LOGICAL_DATE = 6,
                          AK_PARQUET_LOGICAL_TIME = 7,
                          AK_PARQUET_LOGICAL_TIMESTAMP = 8,
                          AK_PARQUET_LOGICAL_INTEGER = 10,
                          AK_PARQUET_LOGICAL_UNKNOWN = 11,
                          AK_PARQUET_LOGICAL_JSON = 12,
                          AK_PARQUET_LOGICAL_BSON = 13,
                          AK_PARQUET_LOGICAL_UUID = 14,
                          AK_PARQUET_LOGICAL_FLOAT16 = 15
};

enum ak_parquet_wire { /* types of the thrift compact protocol */
                       AK_PARQUET_WIRE_STOP = 0,
                       AK_PARQUET_WIRE_TRUE = 1,
                       AK_PARQUET_WIRE_FALSE = 2,
                       AK_PARQUET_WIRE_BYTE = 3,
                       AK_PARQUET_WIRE_I16 = 4,
                       AK_PARQUET_WIRE_I32 = 5,
                       AK_PARQUET_WIRE_I64 = 6,
                       AK_PARQUET_WIRE_DOUBLE = 7,
                       AK_PARQUET_WIRE_BINARY = 8,
                       AK_PARQUET_WIRE_LIST = 9,
                       AK_PARQUET_WIRE_SET = 10,
                       AK_PARQUET_WIRE_MAP = 11,
                       AK_PARQUET_WIRE_STRUCT = 12,
                       AK_PARQUET_WIRE_UUID = 13
};

/* CRC-32 with zlib's polynomial (a page's checksum); start with 0, feed the former result to go on.
 * Chosen once for the processor: carry-less multiplication, the CRC instructions of ARMv8, or
 * tables. Any thread. */
uint32_t ak_parquet_crc32(uint32_t crc, const void *p, size_t len);
/* The same by tables, for tests to compare with. */
uint32_t ak_parquet_crc32_tables(uint32_t crc, const void *p, size_t len);
