/* perf_check.c — akidb perf check: yesterday's Parquet file, for whoever watches the daily run. */
#include "cli/perf.h"
#include "cli/perf_text.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define WARN_BYTES UINT64_C(5000000000)

struct options {
    const char *date;
    const char *input;
    const char *output;
    const char *table;
};

static enum ak_rc give_up(enum ak_rc rc, struct ak_err *err)
{
    (void)printf("CRITICAL: %s\n", err->text);
    return rc;
}

static enum ak_rc check_day(const struct options *o, const char *input, const char *output,
                            struct ak_err *err)
{
    struct ak_perf_check_result result;
    enum ak_perf_table table = AK_PERF_TABLE_QUERIES;
    char date[AK_PERF_DAY_TEXT_MAX];
    char text[3][AK_NUMBER_TEXT_MAX];
    int32_t day;
    uint64_t all = 0;
    if (!ak_cli_perf_read_day(o->date, &day)) {
        return ak_fail(err, AK_INVALID,
                       "--date is '%s'; expected YYYY-MM-DD, today or yesterday (UTC)", o->date);
    }
    enum ak_rc rc = o->table ? ak_cli_perf_read_table(o->table, &table, err) : AK_OK;
    if (rc != AK_OK) {
        return rc;
    }
    const char *name = ak_perf_table_name(table);
    (void)ak_perf_day_text(day, date);
    rc = ak_perf_check(ak_fs_posix(), input, output, table, day, &result, err);
    if (rc == AK_NOT_FOUND) {
        return give_up(ak_fail(err, AK_NOT_FOUND, "there is no %s of %s in '%s'%s", name, date,
                               output,
                               result.has_source ? "; its source is there: run `akidb perf export`"
                                                 : ", and no source of it either"),
                       err);
    }
    if (rc != AK_OK) {
        return give_up(rc, err);
    }
    if (result.is_stale) {
        return give_up(ak_fail(err, AK_UNAVAILABLE,
                               "%s of %s is older than its source: run `akidb perf export`", name,
                               date),
                       err);
    }
    bool is_large =
        ak_perf_folder_bytes(ak_fs_posix(), output, &all, NULL) == AK_OK && all > WARN_BYTES;
    (void)printf("%s: %s of %s: %s rows in %s, %s rejected%s\n", is_large ? "WARNING" : "OK", name,
                 date, ak_text_count(result.rows, text[0]),
                 ak_cli_perf_size_text(result.bytes, text[1]),
                 ak_text_count(result.rejected, text[2]),
                 is_large ? "; the folder is larger than 5 GB" : "");
    return AK_OK;
}

enum ak_rc ak_cli_perf_check(int argc, char **argv, struct ak_err *err)
{
    struct options o = {.date = "yesterday"};
    struct ak_config_flags flags = {0};
    const struct ak_arg options[] = {
        {"date", 0, AK_ARG_TEXT, &o.date, 0, 0, "DAY",
         "YYYY-MM-DD, today or yesterday (yesterday)"},
        {"input", 0, AK_ARG_TEXT, &o.input, 0, 0, "DIR", "the logs (perf in the data folder)"},
        {"output", 0, AK_ARG_TEXT, &o.output, 0, 0, "DIR",
         "the Parquet files (parquet in the folder of the logs)"},
        {"table", 0, AK_ARG_TEXT, &o.table, 0, 0, "TABLE", "of which table (query_perf)"},
    };
    struct ak_args args = {
        .command = "perf check",
        .usage = "[--date DAY] [options]",
        .about =
            "Is the Parquet file of a day there, of this schema, not older than its source, and\n"
            "whole to its last page? Prints a line that begins with OK, WARNING or CRITICAL.\n"
            "\n"
            "Exit codes: 0 yes; 3 there is none; 5 its source is newer; 7 it is damaged.\n",
        .examples = "  akidb perf check\n"
                    "  akidb perf check --date 2025-10-28 --table index_advisor\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .config = &flags,
    };
    struct ak_buf input;
    struct ak_buf output;
    enum ak_rc rc = ak_args_parse(&args, argc, argv, err);
    if (rc != AK_OK || args.helped) {
        return rc;
    }
    ak_buf_init(&input, PATH_MAX);
    ak_buf_init(&output, PATH_MAX);
    rc = ak_cli_perf_folder(&flags, o.input, &input, err);
    if (rc == AK_OK) {
        rc = ak_cli_perf_output_folder(&input, o.output, &output, err);
    }
    if (rc == AK_OK) {
        rc = check_day(&o, input.p, output.p, err);
    }
    ak_buf_release(&input);
    ak_buf_release(&output);
    return rc;
}
