/* perf_export.c — akidb perf export: what the exporter does, as lines for people on standard output
 * and as log lines on standard error (when that is no terminal) or in a file. */
#include "cli/output.h"
#include "cli/perf.h"
#include "cli/perf_text.h"
#include "perf/export.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SHOWN_ROWS 10 /* bad rows of a file that are quoted; all are put aside */
#define SHOWN_BYTES 120
#define WARN_BYTES UINT64_C(5000000000)

struct options {
    const char *date;
    const char *input;
    const char *output;
    const char *table;
    const char *compression;
    const char *log;
    bool historical, dry_run, strict;
};

struct printer {
    const struct options *options;
    FILE *log; /* NULL: none */
    struct ak_progress progress;
    bool is_counting; /* the progress line is in use */
    uint64_t bad;     /* rows of this file so far */
};

/* --- The log: [TIMESTAMP] [LEVEL] export:parquet key=value … --- */

static void log_begin(const struct printer *printer, const char *level, const char *file)
{
    char time[AK_TIME_TEXT_MAX];
    (void)fprintf(printer->log, "[%s] [%s] export:parquet file=%s",
                  ak_time_format(ak_now_us(ak_clock_system()), time), level, file);
}

/* key="text", with quotes and control characters out of the way. */
static void log_text(const struct printer *printer, const char *key, struct ak_str text)
{
    char shown[AK_PERF_SHOWN_MAX];
    ak_cli_perf_quote(text, SHOWN_BYTES, shown);
    for (char *p = shown; *p; p++) {
        *p = *p == '"' ? '\'' : *p;
    }
    (void)fprintf(printer->log, " %s=\"%s\"", key, shown);
}

static double reduction(uint64_t from, uint64_t to)
{
    return from ? 100.0 * (1 - (double)to / (double)from) : 0;
}

static void log_note(const struct printer *printer, const struct ak_perf_note *note)
{
    switch (note->kind) {
    case AK_PERF_NOTE_WROTE:
        log_begin(printer, note->rejected ? "WARN" : "INFO", note->target);
        (void)fprintf(printer->log, " rows=%llu compressed_kb=%llu ratio=%.1f%%",
                      (unsigned long long)note->rows,
                      (unsigned long long)ak_cli_perf_kb(note->bytes),
                      reduction(note->source_bytes, note->bytes));
        if (note->rejected) {
            (void)fprintf(printer->log, " rejected=%llu", (unsigned long long)note->rejected);
        }
        break;
    case AK_PERF_NOTE_CURRENT:
        log_begin(printer, "INFO", note->target);
        (void)fprintf(printer->log, " skipped=exists");
        break;
    case AK_PERF_NOTE_MISSING:
        log_begin(printer, "INFO", note->source);
        log_text(printer, "skipped", ak_str_of(note->text));
        break;
    case AK_PERF_NOTE_WARNING:
        log_begin(printer, "WARN", note->source);
        log_text(printer, "warning", ak_str_of(note->text));
        break;
    case AK_PERF_NOTE_BAD_ROW:
        if (printer->bad > SHOWN_ROWS) {
            return;
        }
        log_begin(printer, "WARN", note->source);
        (void)fprintf(printer->log, " line=%llu", (unsigned long long)note->line);
        log_text(printer, "reason", ak_str_of(note->text));
        break;
    case AK_PERF_NOTE_FAILED:
        log_begin(printer, "ERROR", note->source);
        log_text(printer, "error", ak_str_of(note->text));
        break;
    case AK_PERF_NOTE_FOUND:
    case AK_PERF_NOTE_WOULD:
    case AK_PERF_NOTE_PARSED:
    case AK_PERF_NOTE_PROGRESS:
        return;
    }
    (void)fprintf(printer->log, "\n");
}

/* --- For people --- */

static void print_bad_row(const struct printer *printer, const struct ak_perf_note *note)
{
    char reason[AK_PERF_SHOWN_MAX];
    char row[AK_PERF_SHOWN_MAX];
    if (printer->bad > SHOWN_ROWS) {
        return;
    }
    ak_cli_perf_quote(ak_str_of(note->text), SHOWN_BYTES, reason);
    ak_cli_perf_quote(note->row, SHOWN_BYTES, row);
    (void)printf("⚠ %s:%llu: %s: %s\n", note->source, (unsigned long long)note->line, reason, row);
    if (printer->bad == SHOWN_ROWS) {
        (void)printf("⚠ %s: further rows that cannot be taken are not shown here\n", note->source);
    }
}

static void print_wrote(const struct ak_perf_note *note)
{
    char from[AK_NUMBER_TEXT_MAX];
    char to[AK_NUMBER_TEXT_MAX];
    ak_cli_perf_size_text(note->source_bytes, from);
    ak_cli_perf_size_text(note->bytes, to);
    (void)printf("✓ Wrote %s (%s)\n", note->path, to);
    if (note->bytes <= note->source_bytes) {
        (void)printf("✓ Compression: %s → %s (%.1f%% reduction)\n", from, to,
                     reduction(note->source_bytes, note->bytes));
    } else {
        (void)printf("✓ Compression: %s → %s (larger: of so few rows a file is mostly its own "
                     "description)\n",
                     from, to);
    }
    (void)printf("✓ Schema validated\n");
}

static void print_parsed(const struct ak_perf_note *note)
{
    char rows[AK_NUMBER_TEXT_MAX];
    (void)printf("✓ Parsed %s rows from %s\n", ak_text_count(note->rows, rows), note->source);
    if (note->rejected) {
        (void)printf("⚠ %s row%s of %s could not be taken, put aside in " AK_PERF_REJECTED_FOLDER
                     "/%.*s.csv with the reasons\n",
                     ak_text_count(note->rejected, rows), note->rejected == 1 ? "" : "s",
                     note->source, (int)(strlen(note->target) - strlen(".parquet")), note->target);
    }
}

static void print_note(struct printer *printer, const struct ak_perf_note *note)
{
    char text[AK_NUMBER_TEXT_MAX];
    switch (note->kind) {
    case AK_PERF_NOTE_FOUND:
        (void)printf("✓ Found %s (%s)\n", note->source,
                     ak_cli_perf_size_text(note->source_bytes, text));
        break;
    case AK_PERF_NOTE_MISSING:
        (void)printf("⊘ %s %s, skipping\n", note->source, note->text);
        break;
    case AK_PERF_NOTE_CURRENT:
        (void)printf("⊘ %s already exists, skipping\n", note->target);
        break;
    case AK_PERF_NOTE_WOULD:
        (void)printf("→ Would create %s\n", note->target);
        break;
    case AK_PERF_NOTE_WARNING:
        (void)printf("⚠ %s: %s\n", note->source, note->text);
        break;
    case AK_PERF_NOTE_BAD_ROW:
        print_bad_row(printer, note);
        break;
    case AK_PERF_NOTE_PARSED:
        print_parsed(note);
        break;
    case AK_PERF_NOTE_WROTE:
        print_wrote(note);
        break;
    case AK_PERF_NOTE_FAILED:
        (void)printf("✗ %s: %s\n", note->source, note->text);
        break;
    case AK_PERF_NOTE_PROGRESS:
        break;
    }
}

static void on_note(void *ctx, const struct ak_perf_note *note)
{
    struct printer *printer = ctx;
    if (note->kind == AK_PERF_NOTE_PROGRESS) {
        if (!printer->is_counting) {
            ak_progress_init(&printer->progress, "bytes", note->source_bytes);
            printer->is_counting = true;
        }
        ak_progress_set(&printer->progress, note->done, -1);
        return;
    }
    if (printer->is_counting) {
        ak_progress_end(&printer->progress);
        printer->is_counting = note->kind == AK_PERF_NOTE_BAD_ROW;
    }
    printer->bad = note->kind == AK_PERF_NOTE_FOUND     ? 0
                   : note->kind == AK_PERF_NOTE_BAD_ROW ? printer->bad + 1
                                                        : printer->bad;
    print_note(printer, note);
    if (printer->log) {
        log_note(printer, note);
    }
}

/* --- The run --- */

static void warn_of_size(const struct printer *printer, const char *output)
{
    uint64_t bytes = 0;
    char text[AK_NUMBER_TEXT_MAX];
    if (ak_perf_folder_bytes(ak_fs_posix(), output, &bytes, NULL) != AK_OK || bytes <= WARN_BYTES) {
        return;
    }
    (void)printf("⚠ %s holds %s, more than 5 GB: move old years elsewhere\n", output,
                 ak_cli_perf_size_text(bytes, text));
    if (printer->log) {
        log_begin(printer, "WARN", output);
        (void)fprintf(printer->log, " bytes=%llu\n", (unsigned long long)bytes);
    }
}

static enum ak_rc fill_options(const struct options *o, struct ak_perf_export_options *options,
                               struct ak_err *err)
{
    if (o->date && o->historical) {
        return ak_fail(err, AK_INVALID, "--date and --historical exclude each other");
    }
    options->choice = o->historical ? AK_PERF_ALL : o->date ? AK_PERF_ONE_DAY : AK_PERF_LATEST;
    options->is_dry = o->dry_run;
    if (o->date && !ak_cli_perf_read_day(o->date, &options->day)) {
        return ak_fail(err, AK_INVALID,
                       "--date is '%s'; expected YYYY-MM-DD, today or yesterday (UTC)", o->date);
    }
    if (!ak_codec_parse(ak_str_of(o->compression), &options->codec)) {
        return ak_fail(err, AK_INVALID,
                       "--compression is '%s'; allowed are snappy, zstd, lz4, gzip, none",
                       o->compression);
    }
    options->has_table = o->table != NULL;
    return o->table ? ak_cli_perf_read_table(o->table, &options->table, err) : AK_OK;
}

static enum ak_rc run(const struct options *o, const struct ak_perf_export_options *options,
                      struct printer *printer, struct ak_err *err)
{
    struct ak_perf_export_result result;
    char count[AK_NUMBER_TEXT_MAX];
    enum ak_rc rc = ak_perf_export(options, &result, err);
    if (printer->is_counting) {
        ak_progress_end(&printer->progress);
    }
    if (rc != AK_OK && result.failed == 0) {
        return rc;
    }
    if (options->is_dry) {
        (void)printf("DRY RUN - no files written\n");
        return rc;
    }
    warn_of_size(printer, options->output);
    (void)printf("%s Export %s (%s new file%s", rc == AK_OK ? "✓" : "✗",
                 rc == AK_OK ? "complete" : "incomplete", ak_text_count(result.written, count),
                 result.written == 1 ? "" : "s");
    if (result.failed) {
        (void)printf(", %s failed", ak_text_count(result.failed, count));
    }
    (void)printf(")\n");
    if (rc == AK_OK && o->strict && result.rejected > 0) {
        return ak_fail(err, AK_CORRUPT, "%s rows could not be taken (--strict)",
                       ak_text_count(result.rejected, count));
    }
    return rc;
}

static enum ak_rc open_log(const struct options *o, struct printer *printer, struct ak_err *err)
{
    if (o->log) {
        printer->log = fopen(o->log, "ae");
        return printer->log ? AK_OK : ak_fail_errno(err, errno, "open the log '%s'", o->log);
    }
    printer->log = isatty(STDERR_FILENO) ? NULL : stderr;
    return AK_OK;
}

static enum ak_rc close_log(const struct options *o, struct printer *printer, struct ak_err *err)
{
    bool has_failed = printer->log && (fflush(printer->log) != 0 || ferror(printer->log));
    if (o->log && printer->log) {
        has_failed |= fclose(printer->log) != 0;
    }
    return o->log && has_failed ? ak_fail(err, AK_IO, "the log '%s' could not be written", o->log)
                                : AK_OK;
}

static enum ak_rc export(const struct options *o, const struct ak_config_flags *flags,
                         struct ak_err *err) {
    struct printer printer = {.options = o};
    struct ak_perf_export_options options = {.fs = ak_fs_posix(), .note = on_note, .ctx = &printer};
    struct ak_buf input; struct ak_buf output; ak_buf_init(&input, PATH_MAX);
    ak_buf_init(&output, PATH_MAX); enum ak_rc rc = fill_options(o, &options, err);
    if (rc == AK_OK){rc = ak_cli_perf_folder(flags, o->input, &input, err);}
if (rc == AK_OK)
{
    rc = ak_cli_perf_output_folder(&input, o->output, &output, err);
}
if (rc == AK_OK) {
    rc = open_log(o, &printer, err);
}
if (rc == AK_OK) {
    struct ak_err late = {0};
    options.input = input.p;
    options.output = output.p;
    rc = run(o, &options, &printer, err);
    enum ak_rc closed = close_log(o, &printer, &late);
    rc = rc == AK_OK && closed != AK_OK ? ak_fail(err, closed, "%s", late.text) : rc;
}
ak_buf_release(&input);
ak_buf_release(&output);
return rc;
}

enum ak_rc ak_cli_perf_export(int argc, char **argv, struct ak_err *err)
{
    struct options o = {.compression = "snappy"};
    struct ak_config_flags flags = {0};
    const struct ak_arg options[] = {
        {"date", 0, AK_ARG_TEXT, &o.date, 0, 0, "DAY",
         "only this day: YYYY-MM-DD, today or yesterday, in UTC"},
        {"historical", 0, AK_ARG_FLAG, &o.historical, 0, 0, NULL, "every day that there is"},
        {"dry-run", 0, AK_ARG_FLAG, &o.dry_run, 0, 0, NULL, "say what would be written"},
        {"input", 0, AK_ARG_TEXT, &o.input, 0, 0, "DIR", "the logs (perf in the data folder)"},
        {"output", 0, AK_ARG_TEXT, &o.output, 0, 0, "DIR",
         "the Parquet files (parquet in the folder of the logs)"},
        {"table", 0, AK_ARG_TEXT, &o.table, 0, 0, "TABLE",
         "only query_perf, query_perf_weekly, index_advisor or optimization_summary"},
        {"compression", 0, AK_ARG_TEXT, &o.compression, 0, 0, "CODEC",
         "snappy (the default), zstd (smaller), lz4, gzip or none"},
        {"strict", 0, AK_ARG_FLAG, &o.strict, 0, 0, NULL,
         "exit 7 when rows could not be taken, though the others were written"},
        {"log", 0, AK_ARG_TEXT, &o.log, 0, 0, "FILE",
         "append log lines to FILE (else standard error, unless that is a terminal)"},
    };
    struct ak_args args = {
        .command = "perf export",
        .usage = "[--date DAY | --historical] [options]",
        .about =
            "Makes Parquet files of what the server logs about its queries, of the advisor's\n"
            "report and of the summary of optimizations:\n"
            "\n"
            "  {output}/{table}/year=YYYY/month=MM/{table}_YYYYMMDD.parquet\n"
            "\n"
            "and describes their columns in {output}/parquet_schema.json. Without --date or\n"
            "--historical it takes the newest day of each table. A file that is newer than its\n"
            "source is left alone, an input that is not there is skipped, and rows that cannot be\n"
            "taken are put aside in {output}/rejected. A file appears whole or not at all.\n"
            "\n"
            "Exit codes: 0 done, or nothing to do; 2 wrong options; 3 no folder of logs; 5 "
            "another\n"
            "export is at work; 6 the disk; 7 an input that cannot be read.\n",
        .examples = "  akidb perf export --date yesterday\n"
                    "  akidb perf export --historical --compression zstd\n"
                    "  akidb perf export --input /var/log/akidb --output /srv/perf --dry-run\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .config = &flags,
    };
    enum ak_rc rc = ak_args_parse(&args, argc, argv, err);
    return rc == AK_OK && !args.helped ? export(&o, &flags, err) : rc;
}
