/* columns_write.c — which columns can be: type, annotation, encoding and list go together.
 * Source: apache/parquet-format, Encodings.md and LogicalTypes.md. */
#include "parquet/values_write.h"
#include "parquet/writer_priv.h"
#include <string.h>

#define COLUMNS_MAX 1000u

static bool encoding_fits(const struct ak_parquet_column *column)
{
    enum ak_parquet_type type = column->type;
    switch (column->encoding) {
    case AK_PARQUET_PLAIN:
        return true;
    case AK_PARQUET_RLE:
        return type == AK_PARQUET_BOOLEAN;
    case AK_PARQUET_BYTE_STREAM_SPLIT:
        return type == AK_PARQUET_FLOAT || type == AK_PARQUET_DOUBLE;
    case AK_PARQUET_DELTA_BINARY_PACKED:
        return type == AK_PARQUET_INT32 || type == AK_PARQUET_INT64;
    case AK_PARQUET_DELTA_LENGTH_BYTE_ARRAY:
    case AK_PARQUET_DELTA_BYTE_ARRAY:
        return type == AK_PARQUET_BYTE_ARRAY;
    case AK_PARQUET_PLAIN_DICTIONARY:
    case AK_PARQUET_BIT_PACKED:
    case AK_PARQUET_RLE_DICTIONARY:
        break;
    }
    return false;
}

static bool decimal_fits(const struct ak_parquet_column *column)
{
    const struct ak_parquet_meaning *meaning = &column->meaning;
    int most = column->type == AK_PARQUET_INT32 ? 9 : column->type == AK_PARQUET_INT64 ? 18 : 1000;
    return (ak_parquet_width(column->type) == 0 || column->type == AK_PARQUET_INT32 ||
            column->type == AK_PARQUET_INT64) &&
           meaning->precision >= 1 && meaning->precision <= most && meaning->scale >= 0 &&
           meaning->scale <= meaning->precision;
}

/* As LogicalTypes.md has it. */
static bool meaning_fits(const struct ak_parquet_column *column)
{
    const struct ak_parquet_meaning *meaning = &column->meaning;
    enum ak_parquet_type type = column->type;
    uint32_t fixed = type == AK_PARQUET_FIXED ? column->fixed_len : 0;
    switch (meaning->annotation) {
    case AK_PARQUET_PLAIN_VALUE:
    case AK_PARQUET_NULL:
        return true;
    case AK_PARQUET_STRING:
    case AK_PARQUET_ENUM:
    case AK_PARQUET_JSON:
    case AK_PARQUET_BSON:
        return type == AK_PARQUET_BYTE_ARRAY;
    case AK_PARQUET_UUID:
        return fixed == 16;
    case AK_PARQUET_DECIMAL:
        return decimal_fits(column);
    case AK_PARQUET_DATE:
        return type == AK_PARQUET_INT32;
    case AK_PARQUET_TIME:
        return type == (meaning->unit == AK_PARQUET_MILLIS ? AK_PARQUET_INT32 : AK_PARQUET_INT64);
    case AK_PARQUET_TIMESTAMP:
        return type == AK_PARQUET_INT64;
    case AK_PARQUET_INTEGER:
        return meaning->bits == 64
                   ? type == AK_PARQUET_INT64
                   : type == AK_PARQUET_INT32 &&
                         (meaning->bits == 8 || meaning->bits == 16 || meaning->bits == 32);
    case AK_PARQUET_FLOAT16:
        return fixed == 2;
    case AK_PARQUET_INTERVAL:
        return fixed == 12;
    }
    return false;
}

static enum ak_rc check_column(const struct ak_parquet_column *columns, size_t at,
                               struct ak_err *err)
{
    const struct ak_parquet_column *column = &columns[at];
    if (!column->name || !*column->name || !ak_utf8_is_valid(ak_str_of(column->name))) {
        return ak_fail(err, AK_INVALID, "column %zu needs a name in UTF-8", at);
    }
    for (size_t i = 0; i < at; i++) {
        if (strcmp(columns[i].name, column->name) == 0) {
            return ak_fail(err, AK_INVALID, "two columns are called '%s'", column->name);
        }
    }
    if ((unsigned)column->type > AK_PARQUET_FIXED || column->type == AK_PARQUET_INT96) {
        return ak_fail(err, AK_INVALID, "column '%s': type %d is not written", column->name,
                       (int)column->type);
    }
    if (!encoding_fits(column) || (column->has_dictionary && column->type == AK_PARQUET_BOOLEAN)) {
        return ak_fail(err, AK_INVALID, "column '%s': encoding %d does not go with its type",
                       column->name, (int)column->encoding);
    }
    if (column->is_list &&
        (column->is_optional || column->dimension < 1 || ak_parquet_width(column->type) < 4)) {
        return ak_fail(err, AK_INVALID,
                       "column '%s': a list has a length, numbers as elements, and is required",
                       column->name);
    }
    if (column->type == AK_PARQUET_FIXED &&
        (column->fixed_len < 1 || column->fixed_len > 1u << 20)) {
        return ak_fail(err, AK_INVALID, "column '%s': fixed values of %u bytes", column->name,
                       column->fixed_len);
    }
    if (!meaning_fits(column)) {
        return ak_fail(err, AK_INVALID, "column '%s': annotation %d does not go with type %d",
                       column->name, (int)column->meaning.annotation, (int)column->type);
    }
    return AK_OK;
}

enum ak_rc ak_columns_check(const struct ak_parquet_column *columns, size_t count,
                            struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    if (count < 1 || count > COLUMNS_MAX) {
        return ak_fail(err, AK_INVALID, "%zu columns; allowed are 1 to %u", count, COLUMNS_MAX);
    }
    for (size_t i = 0; i < count && rc == AK_OK; i++) {
        rc = check_column(columns, i, err);
    }
    return rc;
}
