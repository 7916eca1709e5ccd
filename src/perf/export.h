/* export.h — performance data as Parquet files: `akidb perf export` and `akidb perf check`.
 *
 *   {output}/{table}/year=YYYY/month=MM/{table}_YYYYMMDD.parquet
 *   {output}/parquet_schema.json              the columns of every table
 *   {output}/rejected/{table}_YYYYMMDD.csv    line, reason, row: what could not be taken
 *   {output}/.lock                            one export at a time
 *
 * Atomic:     a file appears whole, with its rows counted and its footer read back, or not at all;
 *             a run that was killed leaves at most a .tmp, which the next one removes.
 * Idempotent: a file that is newer than its source and made of as many bytes of it is left alone.
 * Durable:    once a file is reported written, it survives power loss.
 * Threads: one export a folder (a lock); an export belongs to one thread, and encodes large files
 * on another. Memory: at most AK_PERF_EXPORT_MEMORY, whatever the inputs' sizes are.
 */
#pragma once
#include "codec/codec.h"
#include "perf/perf.h"

#define AK_PERF_EXPORT_MEMORY ((size_t)64 << 20)

enum ak_perf_table {
    AK_PERF_TABLE_QUERIES, /* query_perf: query_perf_daily_*.csv */
    AK_PERF_TABLE_WEEKS,   /* query_perf_weekly: query_perf_weekly_*.csv, by its Monday */
    AK_PERF_TABLE_ADVISOR, /* index_advisor: index_advisor_report.json, by its timestamp */
    AK_PERF_TABLE_SUMMARY, /* optimization_summary: optimization_summary.txt, a file a day */
    AK_PERF_TABLE_COUNT
};
const char *ak_perf_table_name(enum ak_perf_table table);
AK_MUST bool ak_perf_table_parse(struct ak_str name, enum ak_perf_table *table);

enum ak_perf_choice {
    AK_PERF_LATEST, /* the newest day of each table */
    AK_PERF_ONE_DAY,
    AK_PERF_ALL
};

enum ak_perf_note_kind {
    AK_PERF_NOTE_FOUND,    /* source, source_bytes */
    AK_PERF_NOTE_MISSING,  /* source, text: there is none; skipped */
    AK_PERF_NOTE_CURRENT,  /* target: newer than its source; skipped */
    AK_PERF_NOTE_WOULD,    /* target: a dry run */
    AK_PERF_NOTE_WARNING,  /* source, text */
    AK_PERF_NOTE_BAD_ROW,  /* source, line, text: the reason, row */
    AK_PERF_NOTE_PARSED,   /* source, rows, rejected */
    AK_PERF_NOTE_WROTE,    /* target, path, rows, rejected, source_bytes, bytes */
    AK_PERF_NOTE_FAILED,   /* source, text; the other files go on */
    AK_PERF_NOTE_PROGRESS, /* source, done of source_bytes */
};

/* What happens, as it happens. Everything is borrowed for the call. */
struct ak_perf_note {
    enum ak_perf_note_kind kind;
    enum ak_perf_table table;
    const char *source; /* name of a file in the input folder */
    const char *target; /* "query_perf_20251028.parquet" */
    const char *path;   /* of the target */
    const char *text;
    struct ak_str row;
    uint64_t line;
    uint64_t rows;
    uint64_t rejected;
    uint64_t source_bytes;
    uint64_t bytes;
    uint64_t done;
};

struct ak_perf_export_options {
    struct ak_fs *fs;
    const char *input;
    const char *output;
    enum ak_perf_choice choice;
    int32_t day; /* ONE_DAY; of a weekly file any of its days */
    bool has_table;
    enum ak_perf_table table; /* has_table: only this one */
    bool is_dry;              /* nothing is written */
    enum ak_codec codec;
    void (*note)(void *ctx, const struct ak_perf_note *note);
    void *ctx;
};

struct ak_perf_export_result {
    uint64_t written; /* files */
    uint64_t current;
    uint64_t missing;
    uint64_t failed;
    uint64_t rows;
    uint64_t rejected;
    uint64_t source_bytes; /* of the files written */
    uint64_t bytes;        /* written */
};

/* AK_NOT_FOUND: no input folder. AK_CONFLICT: another export is at work there. A source that
 * cannot be exported is noted and does not stop the others; the code of the first such is
 * returned, and its text is *err. */
AK_MUST enum ak_rc ak_perf_export(const struct ak_perf_export_options *options,
                                  struct ak_perf_export_result *result, struct ak_err *err);

/* The path of a day's file below `output`, appended with its NUL not counted. */
void ak_perf_target_path(const char *output, enum ak_perf_table table, int32_t day,
                         struct ak_buf *out);

struct ak_perf_check_result {
    uint64_t rows;
    uint64_t rejected; /* when it was made */
    uint64_t bytes;
    uint64_t pages;
    bool has_source; /* the source is in the input folder */
    bool is_stale;   /* and newer than the file */
};
/* Is the day's file there, of this schema, and whole to its last page? AK_NOT_FOUND: no file ·
 * AK_CORRUPT: damaged. `input` may be NULL: then the source is not looked at. */
AK_MUST enum ak_rc ak_perf_check(struct ak_fs *fs, const char *input, const char *output,
                                 enum ak_perf_table table, int32_t day,
                                 struct ak_perf_check_result *result, struct ak_err *err);
/* Bytes of the files in a folder and those below it, as far as AK_PERF_DEPTH_MAX. */
#define AK_PERF_DEPTH_MAX 4
AK_MUST enum ak_rc ak_perf_folder_bytes(struct ak_fs *fs, const char *path, uint64_t *bytes,
                                        struct ak_err *err);
