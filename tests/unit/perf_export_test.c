/* The exporter when memory, reads, writes, syncs and renames fail, one after the other: the file
 * is the old one or the new one, nothing else is left, and the next export succeeds. */
#include "base/fault.h"
#include "parquet/reader.h"
#include "perf/export.h"
#include "support/test.h"
#include <errno.h>
#include <sys/stat.h>

static struct ak_err err;

#define HEADER                                                                                     \
    "timestamp,query_hash,query_type,execution_time_ms,rows_examined,rows_returned,cache_hit,"     \
    "table_name,index_used\n"
#define ROW "2025-10-28T00:15:23Z,a1b2c3,SELECT,45.2,1234,10,false,embeddings,idx_namespace\n"
#define DAY 20389

struct world {
    char input[512];
    char output[512];
    struct ak_perf_export_options options;
    struct ak_perf_export_result result;
    unsigned notes[AK_PERF_NOTE_PROGRESS + 1];
};

static void on_note(void *ctx, const struct ak_perf_note *note)
{
    ((struct world *)ctx)->notes[note->kind]++;
}

static void write_input(const struct world *w, const char *name, const char *text)
{
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/%s", w->input, name);
    CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), path, ak_str_of(text), &err));
}

static void world_open(struct world *w, enum ak_perf_choice choice)
{
    *w = (struct world){0};
    (void)snprintf(w->input, sizeof w->input, "%s/in", ak_test_dir());
    (void)snprintf(w->output, sizeof w->output, "%s/out", ak_test_dir());
    w->options = (struct ak_perf_export_options){.fs = ak_fs_posix(),
                                                 .input = w->input,
                                                 .output = w->output,
                                                 .choice = choice,
                                                 .codec = AK_CODEC_SNAPPY,
                                                 .note = on_note,
                                                 .ctx = w};
    CHECK_OK(ak_fs_make_dirs(ak_fs_posix(), w->input, &err));
}

static enum ak_rc export(struct world *w) {
    memset(w->notes, 0, sizeof w->notes); return ak_perf_export(&w->options, &w->result, &err);
}

/* Rows of the day's file; −1: there is none. A file that is there must be whole. */
static int64_t rows_of(const struct world *w, enum ak_perf_table table, int32_t day)
{
    struct ak_perf_check_result result;
    enum ak_rc rc = ak_perf_check(ak_fs_posix(), w->input, w->output, table, day, &result, &err);
    if (rc == AK_NOT_FOUND) {
        return -1;
    }
    CHECK_OK(rc);
    return (int64_t)result.rows;
}

struct count {
    int files;
    int leftovers;
};

static bool count_file(void *ctx, struct ak_str name)
{
    struct count *count = ctx;
    count->files++;
    count->leftovers += ak_str_has_suffix(name, AK_STR(".tmp"));
    return true;
}

static struct count files_in(const struct world *w, const char *below)
{
    struct count count = {0};
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/%s", w->output, below);
    enum ak_rc rc = ak_fs_list(ak_fs_posix(), path, count_file, &count, &err);
    CHECK(rc == AK_OK || rc == AK_NOT_FOUND);
    return count;
}

static void write_three(const struct world *w)
{
    write_input(w, "query_perf_daily_20251028.csv", HEADER ROW ROW "broken\n" ROW);
    write_input(
        w, "index_advisor_report.json",
        "{\"timestamp\":\"2025-10-28T04:00:00Z\",\"recommendations\":[{\"table\":\"a\"},{}]}");
    write_input(w, "optimization_summary.txt",
                "lost\n2025-10-28T04:00:00Z made a=1 b=2\n2025-10-27T04:00:00Z made c=1\n"
                "2025-10-28T05:00:00Z made a=3 by=hand\nlost too\n");
}

TEST(export, each_source_becomes_files_of_its_days)
{
    struct world w;
    world_open(&w, AK_PERF_ALL);
    write_three(&w);
    CHECK_OK(export(&w));
    CHECK_INT(w.result.written, 4);
    CHECK_INT(w.result.rejected, 4);
    CHECK_INT(w.result.missing, 1);
    CHECK_INT(w.notes[AK_PERF_NOTE_BAD_ROW], 4);
    CHECK_INT(rows_of(&w, AK_PERF_TABLE_QUERIES, DAY), 3);
    CHECK_INT(rows_of(&w, AK_PERF_TABLE_ADVISOR, DAY), 1);
    CHECK_INT(rows_of(&w, AK_PERF_TABLE_SUMMARY, DAY), 3);
    CHECK_INT(rows_of(&w, AK_PERF_TABLE_SUMMARY, DAY - 1), 1);
    CHECK_INT(files_in(&w, AK_PERF_REJECTED_FOLDER).files, 3);
    CHECK_OK(export(&w));
    CHECK_INT(w.result.written, 0);
    CHECK_INT(w.result.current, 4);
    /* Only the day that has a new line is made again. */
    write_input(&w, "optimization_summary.txt",
                "lost\n2025-10-28T04:00:00Z made a=1 b=2\n2025-10-27T04:00:00Z made c=1\n"
                "2025-10-28T05:00:00Z made a=3 by=hand\nlost too\n2025-10-28T06:00:00Z made\n");
    CHECK_OK(export(&w));
    CHECK_INT(w.result.written, 1);
    CHECK_INT(rows_of(&w, AK_PERF_TABLE_SUMMARY, DAY), 4);
}

TEST(export, a_rotation_of_the_summary_loses_nothing)
{
    struct world w;
    world_open(&w, AK_PERF_ALL);
    write_input(&w, "optimization_summary.txt",
                "2025-10-27T04:00:00Z made a=1\n2025-10-28T04:00:00Z made a=1 b=2\n");
    CHECK_OK(export(&w));
    CHECK_INT(w.result.written, 2);
    /* Rotated in the middle of the day: the same lines, so nothing is new; then one more. */
    write_input(&w, "optimization_summary.old.txt", "2025-10-27T04:00:00Z made a=1\n");
    write_input(&w, "optimization_summary.txt", "2025-10-28T04:00:00Z made a=1 b=2\n");
    CHECK_OK(export(&w));
    CHECK_INT(w.result.current, 2);
    write_input(&w, "optimization_summary.old.txt",
                "2025-10-27T04:00:00Z made a=1\n2025-10-28T04:00:00Z made a=1 b=2\n");
    write_input(&w, "optimization_summary.txt", "2025-10-28T05:00:00Z made a=3\n");
    CHECK_OK(export(&w));
    CHECK_INT(w.result.written, 1);
    CHECK_INT(w.result.current, 1);
    CHECK_INT(rows_of(&w, AK_PERF_TABLE_SUMMARY, DAY), 3);
    /* Rotated again, the beginning of the day is gone: the file that has it stays. */
    write_input(&w, "optimization_summary.old.txt", "2025-10-28T05:00:00Z made a=3\n");
    write_input(&w, "optimization_summary.txt", "2025-10-29T05:00:00Z made a=3\n");
    CHECK_OK(export(&w));
    CHECK_INT(w.result.written, 1);
    CHECK_INT(rows_of(&w, AK_PERF_TABLE_SUMMARY, DAY), 3);
    CHECK_INT(rows_of(&w, AK_PERF_TABLE_SUMMARY, DAY + 1), 1);
}

TEST(export, a_source_without_rows_is_a_file_without_rows)
{
    struct world w;
    world_open(&w, AK_PERF_LATEST);
    write_input(&w, "query_perf_daily_20251028.csv", "");
    write_input(&w, "query_perf_weekly_202544.csv", HEADER);
    write_input(&w, "index_advisor_report.json",
                "{\"timestamp\":\"2025-10-28T04:00:00Z\",\"recommendations\":[]}");
    write_input(&w, "optimization_summary.txt", "# nothing yet\n");
    CHECK_OK(export(&w));
    CHECK_INT(rows_of(&w, AK_PERF_TABLE_QUERIES, DAY), 0);
    CHECK_INT(rows_of(&w, AK_PERF_TABLE_WEEKS, DAY - 1), 0);
    CHECK_INT(rows_of(&w, AK_PERF_TABLE_ADVISOR, DAY), 0);
    CHECK_INT(w.result.written, 3);
    CHECK_INT(w.result.missing, 1);
}

TEST(export, the_size_of_a_folder_is_that_of_its_files)
{
    struct world w;
    uint64_t bytes = 0;
    world_open(&w, AK_PERF_ALL);
    write_input(&w, "a", "12345");
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/x/y", w.input);
    CHECK_OK(ak_fs_make_dirs(ak_fs_posix(), path, &err));
    write_input(&w, "x/y/b", "1234567890");
    CHECK_OK(ak_perf_folder_bytes(ak_fs_posix(), w.input, &bytes, &err));
    CHECK_INT(bytes, 15);
    CHECK_RC(AK_NOT_FOUND, ak_perf_folder_bytes(ak_fs_posix(), "/nonexistent", &bytes, &err));
}

/* After a failure: old or new, and the next one succeeds with nothing left behind. */
static void check_recovers(struct world *w, bool was_new, int64_t old_rows, int64_t new_rows)
{
    int64_t rows = rows_of(w, AK_PERF_TABLE_QUERIES, DAY);
    CHECK(rows == new_rows || (!was_new && rows == old_rows));
    CHECK_OK(export(w));
    CHECK_INT(rows_of(w, AK_PERF_TABLE_QUERIES, DAY), new_rows);
    struct count count = files_in(w, "query_perf/year=2025/month=10");
    CHECK_INT(count.files, 1);
    CHECK_INT(count.leftovers, 0);
    count = files_in(w, AK_PERF_REJECTED_FOLDER);
    CHECK_INT(count.leftovers, 0);
}

/* A log of other sizes each time, so that it is never current. */
static void write_log(const struct world *w, int64_t round)
{
    struct ak_buf text;
    ak_buf_init(&text, 0);
    ak_buf_add_str(&text, AK_STR(HEADER ROW ROW "broken"));
    for (int64_t i = 0; i <= round; i++) {
        ak_buf_add_char(&text, '!');
    }
    ak_buf_add_char(&text, '\n');
    write_input(w, "query_perf_daily_20251028.csv", ak_buf_cstr(&text));
    ak_buf_release(&text);
}

static void fail_each(unsigned ops, int errnum, enum ak_rc want)
{
    struct world w;
    struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
    world_open(&w, AK_PERF_LATEST);
    w.options.has_table = true;
    w.options.table = AK_PERF_TABLE_QUERIES;
    for (int64_t nth = 0;; nth++) {
        write_log(&w, nth);
        w.options.fs = ak_fs_fault_fs(fault);
        ak_fs_fault_set(fault, ops, nth, errnum, true);
        enum ak_rc rc = export(&w);
        bool has_fired = ak_fs_fault_fired(fault);
        ak_fs_fault_set(fault, AK_FS_ANY, -1, 0, false);
        w.options.fs = ak_fs_posix();
        CHECK_INT(rc, has_fired && rc != AK_OK ? want : AK_OK);
        check_recovers(&w, rc == AK_OK, nth == 0 ? -1 : 2, 2);
        if (!has_fired) {
            CHECK(nth > 0);
            break;
        }
    }
    ak_fs_fault_close(fault);
}

TEST(export, survives_each_write_that_fails)
{
    fail_each(AK_FS_WRITE, ENOSPC, AK_NO_SPACE);
}

/* Row groups behind the first are written by another thread. */
TEST(export, survives_writes_that_fail_in_the_middle_of_a_large_log)
{
    enum { ROWS = 70000, STEP = 11 }; /* two groups */
    struct world w;
    struct ak_buf text;
    struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
    ak_buf_init(&text, 0);
    ak_buf_add_str(&text, AK_STR("timestamp,table_name\n"));
    for (int i = 0; i < ROWS; i++) {
        ak_buf_add_fmt(&text, "2025-10-28T00:15:23Z,t%d\n", i % 100);
    }
    world_open(&w, AK_PERF_LATEST);
    w.options.has_table = true;
    w.options.table = AK_PERF_TABLE_QUERIES;
    write_input(&w, "query_perf_daily_20251028.csv", ak_buf_cstr(&text));
    for (int64_t nth = 0;; nth += STEP) {
        w.options.fs = ak_fs_fault_fs(fault);
        ak_fs_fault_set(fault, AK_FS_WRITE, nth, ENOSPC, false);
        enum ak_rc rc = export(&w);
        bool has_fired = ak_fs_fault_fired(fault);
        ak_fs_fault_set(fault, AK_FS_ANY, -1, 0, false);
        CHECK_INT(rc, has_fired ? AK_NO_SPACE : AK_OK);
        w.options.fs = ak_fs_posix();
        CHECK_INT(rows_of(&w, AK_PERF_TABLE_QUERIES, DAY), has_fired ? -1 : ROWS);
        if (!has_fired) {
            CHECK(nth > STEP);
            break;
        }
    }
    ak_fs_fault_close(fault);
    ak_buf_release(&text);
}

TEST(export, survives_each_sync_that_fails)
{
    fail_each(AK_FS_SYNC, EIO, AK_IO);
    fail_each(AK_FS_SYNC_DIR, EIO, AK_IO);
}

TEST(export, survives_each_rename_and_open_that_fails)
{
    fail_each(AK_FS_RENAME, EIO, AK_IO);
    fail_each(AK_FS_OPEN, EIO, AK_IO);
}

TEST(export, survives_each_read_that_fails)
{
    fail_each(AK_FS_READ, EIO, AK_IO);
}

TEST(export, survives_each_allocation_that_fails)
{
    struct world w;
    world_open(&w, AK_PERF_ALL);
    for (int64_t nth = 0;; nth++) {
        write_three(&w);
        write_log(&w, nth);
        ak_fault_alloc_at(nth);
        enum ak_rc rc = export(&w);
        bool has_fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK(rc == AK_OK || (has_fired && rc == AK_NOMEM));
        check_recovers(&w, false, nth == 0 ? -1 : 2, 2);
        CHECK_INT(rows_of(&w, AK_PERF_TABLE_SUMMARY, DAY), 3);
        if (!has_fired) {
            CHECK(nth > 20);
            break;
        }
    }
}

TEST_MAIN()
