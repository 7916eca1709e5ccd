/* schema.h — what a column of a Parquet file is, for the reader and the writer.
 *
 * Source: apache/parquet-format, parquet.thrift and LogicalTypes.md. Physical type is how values
 * are stored; annotation is what they mean. A leaf is a column as the format counts them: groups
 * have none of their own.
 *
 * Threads: values. Memory: strings are borrowed.
 */
#pragma once
#include "base/str.h"

enum ak_parquet_type { /* the numbers of parquet.thrift's Type */
                       AK_PARQUET_BOOLEAN = 0,
                       AK_PARQUET_INT32 = 1,
                       AK_PARQUET_INT64 = 2,
                       AK_PARQUET_INT96 = 3,
                       AK_PARQUET_FLOAT = 4,
                       AK_PARQUET_DOUBLE = 5,
                       AK_PARQUET_BYTE_ARRAY = 6,
                       AK_PARQUET_FIXED = 7
};

enum ak_parquet_annotation {
    AK_PARQUET_PLAIN_VALUE, /* none, or one that this version does not know */
    AK_PARQUET_STRING,
    AK_PARQUET_ENUM,
    AK_PARQUET_JSON,
    AK_PARQUET_BSON,
    AK_PARQUET_UUID,
    AK_PARQUET_DECIMAL,
    AK_PARQUET_DATE,
    AK_PARQUET_TIME,
    AK_PARQUET_TIMESTAMP,
    AK_PARQUET_INTEGER,
    AK_PARQUET_FLOAT16,
    AK_PARQUET_INTERVAL,
    AK_PARQUET_NULL
};

enum ak_parquet_unit { AK_PARQUET_MILLIS, AK_PARQUET_MICROS, AK_PARQUET_NANOS };

struct ak_parquet_meaning {
    enum ak_parquet_annotation annotation;
    enum ak_parquet_unit unit; /* TIME, TIMESTAMP */
    bool is_utc;               /* TIME, TIMESTAMP: isAdjustedToUTC */
    int bits;                  /* INTEGER: 8 16 32 64 */
    bool is_signed;            /* INTEGER */
    int precision, scale;      /* DECIMAL */
};

enum ak_parquet_encoding { /* the numbers of parquet.thrift's Encoding */
                           AK_PARQUET_PLAIN = 0,
                           AK_PARQUET_PLAIN_DICTIONARY = 2,
                           AK_PARQUET_RLE = 3,
                           AK_PARQUET_BIT_PACKED = 4,
                           AK_PARQUET_DELTA_BINARY_PACKED = 5,
                           AK_PARQUET_DELTA_LENGTH_BYTE_ARRAY = 6,
                           AK_PARQUET_DELTA_BYTE_ARRAY = 7,
                           AK_PARQUET_RLE_DICTIONARY = 8,
                           AK_PARQUET_BYTE_STREAM_SPLIT = 9
};

/* The largest value that a level may have, and the depth of groups: bounds every walk. */
#define AK_PARQUET_DEPTH_MAX 32
#define AK_PARQUET_LEAVES_MAX 10000
