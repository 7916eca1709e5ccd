/* show_priv.h — what reading a folder of logs takes. */
#pragma once
#include "perf/show.h"

/* Where rows go: of the days from..to, of one collection or all. */
struct ak_perf_sink {
    int32_t from, to;
    struct ak_str table;
    const uint8_t *skip_days; /* [to - from + 1]: not 0: this day's rows came from elsewhere */
    ak_perf_row_fn fn;
    void *ctx;
    struct ak_perf_folder_counts *counts;
};
AK_MUST enum ak_rc ak_perf_sink_row(const struct ak_perf_sink *sink,
                                    const struct ak_perf_query *row, struct ak_err *err);

/* show_parquet.c: all rows of an exported file. AK_NOT_FOUND: there is none. */
AK_MUST enum ak_rc ak_perf_parquet_rows(struct ak_fs *fs, const char *path,
                                        const struct ak_perf_sink *sink, struct ak_err *err);
