/* perf_priv.h — tables, row batches and files of the exporter.
 *
 * Threads: each object belongs to one; an output has a second one within. Memory: see each.
 */
#pragma once
#include "base/sync.h"
#include "codec/codec.h"
#include "parquet/writer.h"
#include "perf/export.h"
#include "perf/perf.h"

/* --- Tables --- */

#define AK_PERF_COLUMNS_MAX 16

struct ak_perf_column_info {
    const char *name;
    enum ak_perf_type type;
    bool is_optional;
    const char *text;
};

struct ak_perf_table_info {
    const char *name;
    const char *source; /* the pattern of its files' names */
    const char *text;
    const struct ak_perf_column_info *columns; /* date_partition is the last */
    size_t column_count;
};

const struct ak_perf_table_info *ak_perf_table_info(enum ak_perf_table table);
void ak_perf_parquet_columns(const struct ak_perf_table_info *info,
                             struct ak_parquet_column columns[AK_PERF_COLUMNS_MAX]);
void ak_perf_put_schema(struct ak_buf *out); /* parquet_schema.json */

/* --- A batch of rows, which becomes a row group --- */

/* Rows of a group: enough for dictionaries to pay, few enough for any input to fit in memory. */
#define AK_PERF_GROUP_ROWS 65536u
#define AK_PERF_GROUP_TEXT ((size_t)8 << 20) /* bytes of all texts of a group */
/* Texts of a column that are remembered: one that comes again is the same place in memory, by which
 * the dictionary of the column knows it. A power of two. */
#define AK_PERF_MET 128u

struct ak_perf_batch {
    const struct ak_perf_table_info *info;
    size_t rows;
    size_t cap;
    void *values[AK_PERF_COLUMNS_MAX];
    uint8_t *valid[AK_PERF_COLUMNS_MAX]; /* NULL: required */
    struct ak_str *met; /* [columns][AK_PERF_MET] texts, by what they begin and end with */
    struct ak_buf text; /* never moves: values point into it */
};

AK_MUST enum ak_rc ak_perf_batch_init(struct ak_perf_batch *batch,
                                      const struct ak_perf_table_info *info, size_t cap,
                                      struct ak_err *err);
void ak_perf_batch_release(struct ak_perf_batch *batch); /* idempotent */
void ak_perf_batch_clear(struct ak_perf_batch *batch);
/* No room for a further row with so many bytes of text. */
bool ak_perf_batch_is_full(const struct ak_perf_batch *batch, size_t text_bytes);
/* Values of the row at `rows`; what is not set is what was there before: set each. */
void ak_perf_batch_null(struct ak_perf_batch *batch, size_t column);
void ak_perf_batch_text(struct ak_perf_batch *batch, size_t column, struct ak_str text);
void ak_perf_batch_i64(struct ak_perf_batch *batch, size_t column, int64_t value);
void ak_perf_batch_f64(struct ak_perf_batch *batch, size_t column, double value);
void ak_perf_batch_bool(struct ak_perf_batch *batch, size_t column, bool value);
/* date_partition from the timestamp in column 0; the row is there. */
void ak_perf_batch_end_row(struct ak_perf_batch *batch);

/* --- A Parquet file that appears whole or not at all --- */

struct ak_perf_output {
    struct ak_fs *fs;
    const struct ak_perf_table_info *info;
    struct ak_buf path;   /* NUL-terminated */
    struct ak_buf tmp;    /* path + ".tmp" */
    struct ak_buf folder; /* of it */
    struct ak_file *file; /* NULL: not open */
    struct ak_parquet_writer *writer;
    uint64_t at;
    struct ak_perf_batch batch; /* being filled */
    struct ak_perf_batch sent;  /* the worker's */
    struct ak_pool *worker;     /* one thread, from the second row group on; NULL: none yet */
    struct ak_mutex lock;       /* of the next four, from the worker's beginning */
    struct ak_cond idle;
    bool is_busy;
    enum ak_rc worker_rc;
    struct ak_err worker_err;
};

struct ak_perf_output_options {
    enum ak_codec codec;
    uint64_t source_bytes; /* about how much comes */
};
/* Makes the folders, removes what a killed run left there, and begins. */
AK_MUST enum ak_rc ak_perf_output_open(struct ak_perf_output *output, struct ak_fs *fs,
                                       const struct ak_perf_table_info *info, struct ak_str path,
                                       const struct ak_perf_output_options *how,
                                       struct ak_err *err);
/* The batch becomes a row group, in a thread of its own; the one to fill is empty again. The
 * failure of an earlier one may come up here. */
AK_MUST enum ak_rc ak_perf_output_send(struct ak_perf_output *output, struct ak_err *err);
AK_MUST enum ak_rc ak_perf_output_metadata(struct ak_perf_output *output, const char *key,
                                           const char *text, struct ak_err *err);
/* The rest of the rows, footer, read back the footer, sync, rename, sync the folder. */
AK_MUST enum ak_rc ak_perf_output_commit(struct ak_perf_output *output, uint64_t *rows,
                                         uint64_t *bytes, struct ak_err *err);
/* After commit, or instead of it: then nothing is left. Idempotent. */
void ak_perf_output_release(struct ak_perf_output *output);

/* --- Rows that cannot be taken --- */

struct ak_perf_rejects { /* a CSV file: line, reason, row */
    struct ak_fs *fs;
    struct ak_buf path;
    struct ak_buf tmp;
    struct ak_file *file; /* opened with the first row */
    struct ak_buf out;
    uint64_t at;
    uint64_t count;
};
AK_MUST enum ak_rc ak_perf_rejects_init(struct ak_perf_rejects *rejects, struct ak_fs *fs,
                                        struct ak_str path, struct ak_err *err);
AK_MUST enum ak_rc ak_perf_rejects_add(struct ak_perf_rejects *rejects,
                                       const struct ak_perf_bad *bad, struct ak_err *err);
/* The file appears; without rows, one that an earlier run left goes. */
AK_MUST enum ak_rc ak_perf_rejects_commit(struct ak_perf_rejects *rejects, struct ak_err *err);
void ak_perf_rejects_release(struct ak_perf_rejects *rejects); /* idempotent */

/* --- The report, a recommendation at a time --- */

typedef enum ak_rc (*ak_perf_bad_fn)(void *ctx, const struct ak_perf_bad *bad, struct ak_err *err);
/* As ak_perf_parse_report; recommendations that are wrong go to on_bad when there is one. */
AK_MUST enum ak_rc ak_perf_parse_report_each(struct ak_str text, struct ak_arena *arena,
                                             struct ak_perf_report *report, struct ak_buf *unknown,
                                             ak_perf_bad_fn on_bad, void *ctx, struct ak_err *err);
