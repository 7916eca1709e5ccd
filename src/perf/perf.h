/* perf.h — performance data: what the server logs about its queries, what is advised from it, and
 * where the files are.
 *
 * Files, in the folder `perf` of the data folder unless configured otherwise:
 *   query_perf_daily_YYYYMMDD.csv    a row per query, written by the server; the day in UTC
 *   query_perf_weekly_YYYYWW.csv     the same columns for a week; ISO 8601 year and week
 *   index_advisor_report.json        what `akidb perf advise` recommends
 *   optimization_summary.txt         a line per event with its metrics
 *   parquet/                         what `akidb perf export` makes of them:
 *     {table}/year=YYYY/month=MM/{table}_YYYYMMDD.parquet
 *     parquet_schema.json · rejected/{table}_YYYYMMDD.csv · .lock
 *
 * CSV is RFC 4180 (csv.h): comma, CRLF or LF, "" within quotes; the first line names the columns,
 * in any order. An empty field without quotes is null; only the timestamp must be there. A text
 * that a spreadsheet would take for a formula (= + - @ in front), or that has a ' in front, gets a
 * ' before it when it is written and loses it when it is read.
 *
 * Threads: values; a reader belongs to one thread. Memory: texts are borrowed, see each call.
 */
#pragma once
#include "base/arena.h"
#include "base/file.h"
#include "base/str.h"

/* --- Where the files are --- */

#define AK_PERF_FOLDER "perf"            /* in the data folder */
#define AK_PERF_PARQUET_FOLDER "parquet" /* in the folder above */
#define AK_PERF_REJECTED_FOLDER "rejected"
#define AK_PERF_REPORT_FILE "index_advisor_report.json"
#define AK_PERF_SUMMARY_FILE "optimization_summary.txt"
#define AK_PERF_SCHEMA_FILE "parquet_schema.json"
#define AK_PERF_SCHEMA_VERSION "1" /* grows when a column changes its meaning or type */

#define AK_PERF_FILE_NAME_MAX 64

/* A day counts from 1970-01-01, in UTC. */
int32_t ak_perf_day(int64_t wall_us);
int64_t ak_perf_day_begin_us(int32_t day);
/* "YYYY-MM-DD"; days outside the years 0000..9999 give the nearest that can be said. */
#define AK_PERF_DAY_TEXT_MAX 11
const char *ak_perf_day_text(int32_t day, char text[AK_PERF_DAY_TEXT_MAX]);
AK_MUST bool ak_perf_day_parse(struct ak_str text, int32_t *day); /* "YYYY-MM-DD" */

/* "query_perf_daily_20251028.csv" */
const char *ak_perf_daily_name(int32_t day, char text[AK_PERF_FILE_NAME_MAX]);
/* "query_perf_weekly_202544.csv": the ISO week that `day` lies in. */
const char *ak_perf_weekly_name(int32_t day, char text[AK_PERF_FILE_NAME_MAX]);
/* The day of such a name, of a weekly one the Monday; false: it is no such name. */
AK_MUST bool ak_perf_daily_day(struct ak_str name, int32_t *day);
AK_MUST bool ak_perf_weekly_day(struct ak_str name, int32_t *monday);

/* Before one of these files is opened: a pipe would be waited for, and a device has no end.
 * AK_CORRUPT; AK_OK: it is a file, or is not there. */
AK_MUST enum ak_rc ak_perf_check_regular(const char *path, struct ak_err *err);

/* --- Columns: AK_PERF_COLUMN(name, type, text) of each table, in order --- */

enum ak_perf_type {                    /* Parquet: */
                    AK_PERF_TIMESTAMP, /* INT64, µs without zone (UTC is meant) */
                    AK_PERF_VARCHAR,   /* BYTE_ARRAY, STRING */
                    AK_PERF_DOUBLE,    /* DOUBLE */
                    AK_PERF_BIGINT,    /* INT64 */
                    AK_PERF_BOOLEAN,   /* BOOLEAN */
                    AK_PERF_DATE,      /* INT32, DATE */
                    AK_PERF_JSON,      /* BYTE_ARRAY, JSON */
                    AK_PERF_TYPE_COUNT
};
/* "TIMESTAMP", "VARCHAR" …: DuckDB's names. */
const char *ak_perf_type_name(enum ak_perf_type type);

/* What the query log has; the Parquet table has date_partition behind them. */
#define AK_PERF_QUERY_COLUMNS(AK_PERF_COLUMN)                                                      \
    AK_PERF_COLUMN(timestamp, TIMESTAMP, "when the query began")                                   \
    AK_PERF_COLUMN(query_hash, VARCHAR, "the same for every query of one shape")                   \
    AK_PERF_COLUMN(query_type, VARCHAR, "SELECT, INSERT, DELETE …")                                \
    AK_PERF_COLUMN(execution_time_ms, DOUBLE, "from the request to its answer")                    \
    AK_PERF_COLUMN(rows_examined, BIGINT, "documents that were compared")                          \
    AK_PERF_COLUMN(rows_returned, BIGINT, "documents in the answer")                               \
    AK_PERF_COLUMN(cache_hit, BOOLEAN, "everything was in memory")                                 \
    AK_PERF_COLUMN(table_name, VARCHAR, "the collection")                                          \
    AK_PERF_COLUMN(index_used, VARCHAR, "what answered: the graph, a filter column, a scan")       \
    AK_PERF_COLUMN(cpu_time_ms, DOUBLE, "processor time of it")                                    \
    AK_PERF_COLUMN(io_wait_ms, DOUBLE, "waiting for the disk or the store")

#define AK_PERF_ADVISOR_COLUMNS(AK_PERF_COLUMN)                                                    \
    AK_PERF_COLUMN(timestamp, TIMESTAMP, "when the report was made")                               \
    AK_PERF_COLUMN(table_name, VARCHAR, "the collection")                                          \
    AK_PERF_COLUMN(recommended_index, VARCHAR, "what to create or change")                         \
    AK_PERF_COLUMN(query_pattern, VARCHAR, "the queries that it is for")                           \
    AK_PERF_COLUMN(estimated_speedup, DOUBLE, "times faster")                                      \
    AK_PERF_COLUMN(estimated_cost, DOUBLE, "bytes that it would take")                             \
    AK_PERF_COLUMN(priority, VARCHAR, "high, medium or low")                                       \
    AK_PERF_COLUMN(status, VARCHAR, "proposed, applied or dismissed")

#define AK_PERF_SUMMARY_COLUMNS(AK_PERF_COLUMN)                                                    \
    AK_PERF_COLUMN(timestamp, TIMESTAMP, "when it happened")                                       \
    AK_PERF_COLUMN(event_type, VARCHAR, "what happened")                                           \
    AK_PERF_COLUMN(metric_name, VARCHAR, "of the event; null: it has none")                        \
    AK_PERF_COLUMN(metric_value, DOUBLE, "of the metric")                                          \
    AK_PERF_COLUMN(metadata, JSON, "what else the line says")

/* --- The query log --- */

enum ak_perf_query_column {
#define AK_PERF_COLUMN(name, type, text) AK_PERF_QUERY_##name,
    AK_PERF_QUERY_COLUMNS(AK_PERF_COLUMN)
#undef AK_PERF_COLUMN
        AK_PERF_QUERY_COLUMN_COUNT
};

#define AK_PERF_HAS(column) (1u << AK_PERF_QUERY_##column)
#define AK_PERF_HAS_ALL ((1u << AK_PERF_QUERY_COLUMN_COUNT) - 1)

struct ak_perf_query {
    uint32_t has; /* AK_PERF_HAS(…) of what is not null */
    bool cache_hit;
    int64_t timestamp; /* µs, wall clock */
    struct ak_str query_hash;
    struct ak_str query_type;
    double execution_time_ms;
    int64_t rows_examined;
    int64_t rows_returned;
    struct ak_str table_name;
    struct ak_str index_used;
    double cpu_time_ms;
    double io_wait_ms;
};

/* Append the header line, and a row with its newline. Times are written to the microsecond,
 * milliseconds to four digits and at most three decimals. */
void ak_perf_put_query_header(struct ak_buf *out);
void ak_perf_put_query(struct ak_buf *out, const struct ak_perf_query *query);

/* Reads a query log of any size, in order, within AK_PERF_READ_MEMORY bytes. */
#define AK_PERF_READ_MEMORY ((size_t)4 << 20)
struct ak_perf_reader;

enum ak_perf_step {
    AK_PERF_ROW,
    AK_PERF_BAD, /* this row cannot be taken: see ak_perf_reader_bad; the next one can be read */
    AK_PERF_END
};

struct ak_perf_bad {
    uint64_t line;      /* where the row begins; the header is in line 1 */
    struct ak_str text; /* as it stands in the file, at most AK_CSV_RECORD_MAX bytes of it */
    const char *reason; /* "rows_examined is 'x'; expected a whole number" */
};

/* AK_NOT_FOUND; AK_CORRUPT: no header, or none that has a timestamp. An empty file has no rows. */
AK_MUST enum ak_rc ak_perf_reader_open(struct ak_fs *fs, const char *path,
                                       struct ak_perf_reader **reader, struct ak_err *err);
void ak_perf_reader_close(struct ak_perf_reader *reader); /* NULL is fine */
/* Texts of `query` are valid until the next call. */
AK_MUST enum ak_rc ak_perf_reader_next(struct ak_perf_reader *reader, struct ak_perf_query *query,
                                       enum ak_perf_step *step, struct ak_err *err);
/* After AK_PERF_BAD, until the next call. */
const struct ak_perf_bad *ak_perf_reader_bad(const struct ak_perf_reader *reader);
/* Columns that the header has and this version does not know ("a, b"; empty: none), and known ones
 * that it lacks, cpu_time_ms and io_wait_ms aside. Valid until close. */
struct ak_str ak_perf_reader_unknown(const struct ak_perf_reader *reader);
struct ak_str ak_perf_reader_missing(const struct ak_perf_reader *reader);
/* For a progress bar. */
uint64_t ak_perf_reader_bytes(const struct ak_perf_reader *reader); /* read so far */
uint64_t ak_perf_reader_size(const struct ak_perf_reader *reader);  /* when it was opened */

/* --- The advisor's report ---
 *
 *   {"timestamp":"2025-10-28T04:00:00Z","recommendations":[{"table":"embeddings",
 *     "index":"idx_embedding_vector","query_pattern":"WHERE namespace = ?","estimated_speedup":3.5,
 *     "estimated_cost":1048576,"priority":"high","status":"proposed","basis":"312 queries …"}]}
 *
 * estimated_cost, status and basis may be left out; basis is for people and not exported. */

struct ak_perf_recommendation {
    struct ak_str table;
    struct ak_str index;
    struct ak_str query_pattern;
    struct ak_str priority;
    struct ak_str status; /* .p NULL: none */
    struct ak_str basis;  /* .p NULL: none */
    double estimated_speedup;
    double estimated_cost;
    bool has_speedup;
    bool has_cost;
};

struct ak_perf_report {
    int64_t timestamp;
    const struct ak_perf_recommendation *recommendations;
    size_t count;
};

#define AK_PERF_REPORT_MAX ((size_t)8 << 20) /* bytes of the file: it is read whole */
#define AK_PERF_RECOMMENDATIONS_MAX 100000u

void ak_perf_put_report(struct ak_buf *out, const struct ak_perf_report *report);
/* `report` lies in the arena and borrows from `text`. Fields that are not known are appended to
 * `unknown` ("a, b"; may be NULL). AK_INVALID says where and what is wrong. */
AK_MUST enum ak_rc ak_perf_parse_report(struct ak_str text, struct ak_arena *arena,
                                        struct ak_perf_report *report, struct ak_buf *unknown,
                                        struct ak_err *err);

/* --- The summary of optimizations: a line per event ---
 *
 *   2025-10-28T04:00:00Z index_created build_seconds=12.5 rows=120000 {"index":"graph"}
 *   [2025-10-28T04:00:00Z] index_created: build_seconds=12.5, rows=120000
 *   2025-10-28T04:00:00Z,index_created,build_seconds,12.5,"{""index"":""graph""}"
 *
 * A time, an event, then name=number pairs and at last a JSON object, both optional; brackets,
 * the colon and commas between pairs may be there or not. A value that is no number joins the
 * metadata as text. The third form is CSV: time, event, metric, value, metadata, of which the last
 * three may be empty or left out. Blank lines and those that begin with '#' are skipped. */

struct ak_perf_metric {
    struct ak_str name;
    double value;
};
/* Append a line in the first form. `metadata` is a JSON object, or empty. Event and names are
 * words: letters, digits, '_', '-', '.', '/'. */
void ak_perf_put_event(struct ak_buf *out, int64_t timestamp, struct ak_str event,
                       const struct ak_perf_metric *metrics, size_t count, struct ak_str metadata);
