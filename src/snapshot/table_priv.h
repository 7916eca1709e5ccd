/* table_priv.h — documents out of an open Parquet file: shared by snapshots and imports. */
#pragma once
#include "parquet/reader.h"
#include "snapshot/snapshot_priv.h"

enum ak_table_column {
    AK_TABLE_ID,
    AK_TABLE_EXTERNAL,
    AK_TABLE_VECTOR,
    AK_TABLE_METADATA,
    AK_TABLE_TIME,
    AK_TABLE_COLUMNS
};

struct ak_table_options {
    uint32_t dimension;
    enum ak_rc bad; /* what contents that will not do are: AK_CORRUPT or AK_INVALID */
    bool is_ours;   /* all five columns must be there */
    ak_snapshot_rows_fn fn;
    void *ctx;
};
/* Every row, in the order of the file. Views are valid during the call of fn. */
AK_MUST enum ak_rc ak_table_read(const struct ak_parquet_reader *reader,
                                 const struct ak_table_options *options, struct ak_err *err);
