/* The query log: names and days, values, rows written and read back, drift of the columns. */
#include "base/fault.h"
#include "base/rand.h"
#include "perf/csv.h"
#include "perf/perf.h"
#include "perf/values.h"
#include "support/test.h"
#include <stdlib.h>

static struct ak_err err;

static int32_t day_of(const char *text)
{
    int32_t day = 0;
    CHECK(ak_perf_day_parse(ak_str_of(text), &day));
    return day;
}

TEST(perf, days_are_counted_from_1970)
{
    char text[AK_PERF_DAY_TEXT_MAX];
    CHECK_INT(day_of("1970-01-01"), 0);
    CHECK_INT(day_of("2025-10-28"), 20389);
    CHECK_STR(ak_perf_day_text(20389, text), "2025-10-28");
    CHECK_INT(ak_perf_day(-1), -1);
    CHECK_INT(ak_perf_day(ak_perf_day_begin_us(20389) + INT64_C(86399999999)), 20389);
    int32_t day;
    CHECK(!ak_perf_day_parse(AK_STR("2025-02-29"), &day));
    CHECK(!ak_perf_day_parse(AK_STR("2025-2-9"), &day));
    CHECK(!ak_perf_day_parse(AK_STR("2025/10/28"), &day));
    CHECK_STR(ak_perf_day_text(INT32_MAX, text), "9999-12-31");
}

TEST(perf, files_are_named_for_their_day_and_their_week)
{
    char name[AK_PERF_FILE_NAME_MAX];
    int32_t day;
    CHECK_STR(ak_perf_daily_name(day_of("2025-10-28"), name), "query_perf_daily_20251028.csv");
    CHECK(ak_perf_daily_day(AK_STR("query_perf_daily_20251028.csv"), &day));
    CHECK_INT(day, day_of("2025-10-28"));
    CHECK(!ak_perf_daily_day(AK_STR("query_perf_daily_20251328.csv"), &day));
    CHECK(!ak_perf_daily_day(AK_STR("query_perf_daily_20251028.csv.tmp"), &day));
    CHECK(!ak_perf_daily_day(AK_STR("query_perf_daily_2025102x.csv"), &day));
    CHECK_STR(ak_perf_weekly_name(day_of("2025-10-28"), name), "query_perf_weekly_202544.csv");
    /* Years that begin in the middle of a week (ISO 8601). */
    CHECK_STR(ak_perf_weekly_name(day_of("2021-01-03"), name), "query_perf_weekly_202053.csv");
    CHECK_STR(ak_perf_weekly_name(day_of("2021-01-04"), name), "query_perf_weekly_202101.csv");
    CHECK_STR(ak_perf_weekly_name(day_of("2024-12-30"), name), "query_perf_weekly_202501.csv");
    CHECK(ak_perf_weekly_day(AK_STR("query_perf_weekly_202053.csv"), &day));
    CHECK_INT(day, day_of("2020-12-28"));
    CHECK(!ak_perf_weekly_day(AK_STR("query_perf_weekly_202153.csv"), &day));
    CHECK(!ak_perf_weekly_day(AK_STR("query_perf_weekly_202500.csv"), &day));
}

TEST(perf, every_day_of_sixty_years_lies_in_its_own_week)
{
    char name[AK_PERF_FILE_NAME_MAX];
    int32_t monday = 0;
    for (int32_t day = 10957; day < 10957 + 60 * 366; day++) {
        CHECK(ak_perf_weekly_day(ak_str_of(ak_perf_weekly_name(day, name)), &monday));
        CHECK(monday <= day && day < monday + 7);
        CHECK_INT((monday + 3) % 7, 0);
    }
}

TEST(perf, times_are_read_in_every_usual_form)
{
    struct ak_perf_day_cache cache = {.is_set = false};
    int64_t us = 0;
    const int64_t want = ak_perf_day_begin_us(20389) + INT64_C(923000000); /* 00:15:23 */
    static const char *const same[] = {
        "2025-10-28T00:15:23Z",          "2025-10-28T00:15:23.000000Z", "2025-10-28 00:15:23",
        "2025-10-28T00:15:23",           "2025-10-28T02:15:23+02:00",   "2025-10-27T22:15:23-02:00",
        " 2025-10-28T00:15:23.0Z ",      "2025-10-28t00:15:23z",        "2025-10-28 00:15:23.000Z",
        "2025-10-28T00:15:23.000000000Z"};
    for (int round = 0; round < 2; round++) { /* with another day's cache, and with this one */
        for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
            CHECK(ak_perf_read_timestamp(&cache, ak_str_of(same[i]), &us));
            CHECK_INT(us, want);
        }
    }
    CHECK(ak_perf_read_timestamp(&cache, AK_STR("2025-10-28T00:15:23.5Z"), &us));
    CHECK_INT(us, want + 500000);
    CHECK(ak_perf_read_timestamp(&cache, AK_STR("2025-10-28T00:15:23.123456Z"), &us));
    CHECK_INT(us, want + 123456);
    static const char *const wrong[] = {
        "",
        "2025-10-28",
        "2025-10-28T24:00:00Z",
        "2025-10-28T00:60:00Z",
        "2025-10-28T00:15:23.Z",
        "2025-10-28T00:15:23.12x456Z",
        "2025-10-28T00:15:2xZ",
        "2025-10-28T00:15:23ZZ",
        "1761610523",
        "2025-10-28T00:15:23Z and much more that does not belong here"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK(!ak_perf_read_timestamp(&cache, ak_str_of(wrong[i]), &us));
    }
}

TEST(perf, numbers_are_whole_or_refused)
{
    double number = 0;
    int64_t whole = 0;
    bool flag = false;
    CHECK(ak_perf_read_double(AK_STR("45.2"), &number) && number == 45.2);
    CHECK(ak_perf_read_double(AK_STR(" -1e-3 "), &number) && number == -1e-3);
    CHECK(ak_perf_read_double(AK_STR("+7"), &number) && number == 7);
    CHECK(!ak_perf_read_double(AK_STR("nan"), &number) &&
          !ak_perf_read_double(AK_STR("1e999"), &number));
    CHECK(!ak_perf_read_double(AK_STR("45,2"), &number) &&
          !ak_perf_read_double(AK_STR("+-7"), &number));
    CHECK(ak_perf_read_bigint(AK_STR("9223372036854775807"), &whole) && whole == INT64_MAX);
    CHECK(ak_perf_read_bigint(AK_STR("-9223372036854775808"), &whole) && whole == INT64_MIN);
    CHECK(!ak_perf_read_bigint(AK_STR("9223372036854775808"), &whole));
    CHECK(!ak_perf_read_bigint(AK_STR("-9223372036854775809"), &whole));
    CHECK(!ak_perf_read_bigint(AK_STR("1.5"), &whole) && !ak_perf_read_bigint(AK_STR("-"), &whole));
    CHECK(!ak_perf_read_bigint(AK_STR(""), &whole) && !ak_perf_read_bigint(AK_STR("0x10"), &whole));
    CHECK(ak_perf_read_boolean(AK_STR("TRUE"), &flag) && flag);
    CHECK(ak_perf_read_boolean(AK_STR("0"), &flag) && !flag);
    CHECK(!ak_perf_read_boolean(AK_STR("maybe"), &flag));
}

TEST(perf, decimals_are_what_strtod_makes_of_them)
{
    static const char *const odd[] = {"123456789012345", "12345678901234.5", "0.0000000000001",
                                      "1234567890123456"};
    static const char *const wrong[] = {"", ".", "1.2.3", "1,2", "1 2"};
    uint64_t state = 11;
    char text[48];
    double number = -1;
    for (int i = 0; i < 20000; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        (void)snprintf(text, sizeof text, "%.*f", (int)(state >> 60), (double)(state >> 20) / 1e9);
        CHECK(ak_perf_read_double(ak_str_of(text), &number));
        CHECK(number == strtod(text, NULL));
    }
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        CHECK(ak_perf_read_double(ak_str_of(odd[i]), &number) && number == strtod(odd[i], NULL));
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK(!ak_perf_read_double(ak_str_of(wrong[i]), &number));
    }
}

/* --- Rows --- */

static const char *path_of(const char *name, struct ak_str bytes)
{
    static char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", ak_test_dir(), name);
    CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), path, bytes, &err));
    return path;
}

static struct ak_perf_reader *open_text(const char *text)
{
    struct ak_perf_reader *reader = NULL;
    CHECK_OK(
        ak_perf_reader_open(ak_fs_posix(), path_of("log.csv", ak_str_of(text)), &reader, &err));
    return reader;
}

static enum ak_perf_step next(struct ak_perf_reader *reader, struct ak_perf_query *query)
{
    enum ak_perf_step step = AK_PERF_END;
    CHECK_OK(ak_perf_reader_next(reader, query, &step, &err));
    return step;
}

#define HEADER                                                                                     \
    "timestamp,query_hash,query_type,execution_time_ms,rows_examined,rows_returned,cache_hit,"     \
    "table_name,index_used\n"

TEST(perf, the_row_of_the_work_order_is_read)
{
    struct ak_perf_query q;
    struct ak_perf_reader *reader = open_text(
        HEADER "2025-10-28T00:15:23Z,a1b2c3,SELECT,45.2,1234,10,false,embeddings,idx_namespace\n");
    CHECK_INT(next(reader, &q), AK_PERF_ROW);
    CHECK_INT(q.timestamp, ak_perf_day_begin_us(20389) + INT64_C(923000000));
    CHECK(ak_str_eq(q.query_hash, AK_STR("a1b2c3")) && ak_str_eq(q.query_type, AK_STR("SELECT")));
    CHECK(q.execution_time_ms == 45.2);
    CHECK(q.rows_examined == 1234 && q.rows_returned == 10 && !q.cache_hit);
    CHECK(ak_str_eq(q.table_name, AK_STR("embeddings")));
    CHECK(ak_str_eq(q.index_used, AK_STR("idx_namespace")));
    CHECK_INT(q.has, AK_PERF_HAS_ALL & ~(AK_PERF_HAS(cpu_time_ms) | AK_PERF_HAS(io_wait_ms)));
    CHECK_INT(next(reader, &q), AK_PERF_END);
    CHECK_INT(ak_perf_reader_bytes(reader), ak_perf_reader_size(reader));
    ak_perf_reader_close(reader);
}

TEST(perf, rows_that_do_not_fit_are_given_with_line_and_reason)
{
    struct ak_perf_query q;
    struct ak_perf_reader *reader =
        open_text(HEADER "2025-10-28T00:15:23Z,a,SELECT,45.2,many,10,false,t,i\n"
                         "yesterday,a,SELECT,45.2,1,10,false,t,i\n"
                         ",a,SELECT,45.2,1,10,false,t,i\n"
                         "2025-10-28T00:15:23Z,a,SELECT,45.2,1,10,false,t\n"
                         "2025-10-28T00:15:23Z,a,SELECT,45.2,1,10,false,\xFF,i\n"
                         "2025-10-28T00:15:23Z,a,SELECT,,,,,,\n");
    static const char *const reasons[] = {
        "rows_examined is 'many'; expected a whole number",
        "timestamp is 'yesterday'; expected a time like 2025-10-28T00:15:23Z",
        "it has no timestamp", "it has 8 fields; the header has 9",
        "table_name is '\xFF'; expected valid UTF-8"};
    for (uint64_t i = 0; i < 5; i++) {
        CHECK_INT(next(reader, &q), AK_PERF_BAD);
        const struct ak_perf_bad *bad = ak_perf_reader_bad(reader);
        CHECK_INT(bad->line, i + 2);
        CHECK_STR(bad->reason, reasons[i]);
        CHECK(bad->text.len > 10);
    }
    CHECK_INT(next(reader, &q), AK_PERF_ROW);
    CHECK_INT(q.has, AK_PERF_HAS(timestamp) | AK_PERF_HAS(query_hash) | AK_PERF_HAS(query_type));
    CHECK_INT(next(reader, &q), AK_PERF_END);
    ak_perf_reader_close(reader);
}

TEST(perf, columns_may_come_in_any_order_and_unknown_ones_are_named)
{
    struct ak_perf_query q;
    struct ak_perf_reader *reader =
        open_text("Table_Name,region, timestamp ,shard\nt,eu,2025-10-28T00:15:23Z,4\n");
    CHECK(ak_str_eq(ak_perf_reader_unknown(reader), AK_STR("region, shard")));
    CHECK(
        ak_str_eq(ak_perf_reader_missing(reader),
                  AK_STR("query_hash, query_type, execution_time_ms, rows_examined, rows_returned, "
                         "cache_hit, index_used")));
    CHECK_INT(next(reader, &q), AK_PERF_ROW);
    CHECK_INT(q.has, AK_PERF_HAS(timestamp) | AK_PERF_HAS(table_name));
    ak_perf_reader_close(reader);
}

TEST(perf, a_file_without_a_usable_header_is_refused)
{
    struct ak_perf_reader *reader = NULL;
    struct ak_perf_query q;
    const char *path = path_of("log.csv", AK_STR("a,b\n1,2\n"));
    CHECK_RC(AK_CORRUPT, ak_perf_reader_open(ak_fs_posix(), path, &reader, &err));
    CHECK(strstr(err.text, "no column 'timestamp'"));
    path = path_of("log.csv", AK_STR("timestamp,cache_hit,cache_hit\n"));
    CHECK_RC(AK_CORRUPT, ak_perf_reader_open(ak_fs_posix(), path, &reader, &err));
    CHECK(strstr(err.text, "twice"));
    path = path_of("log.csv", AK_STR("\"timestamp\n"));
    CHECK_RC(AK_CORRUPT, ak_perf_reader_open(ak_fs_posix(), path, &reader, &err));
    CHECK_RC(AK_NOT_FOUND,
             ak_perf_reader_open(ak_fs_posix(), "/nonexistent/log.csv", &reader, &err));
    reader = open_text("");
    CHECK_INT(next(reader, &q), AK_PERF_END);
    ak_perf_reader_close(reader);
    reader = open_text(HEADER);
    CHECK_INT(next(reader, &q), AK_PERF_END);
    ak_perf_reader_close(reader);
}

TEST(perf, what_the_server_writes_reads_back)
{
    struct ak_buf out;
    struct ak_perf_query q;
    struct ak_perf_query back;
    ak_buf_init(&out, 0);
    ak_perf_put_query_header(&out);
    CHECK(ak_str_has_prefix(ak_buf_str(&out),
                            AK_STR("timestamp,query_hash,query_type,execution_time_ms,")));
    CHECK(ak_str_has_suffix(ak_buf_str(&out), AK_STR(",index_used,cpu_time_ms,io_wait_ms\n")));
    q = (struct ak_perf_query){.has = AK_PERF_HAS_ALL,
                               .cache_hit = true,
                               .timestamp = INT64_C(1761610523123456),
                               .query_hash = AK_STR("a1b2c3"),
                               .query_type = AK_STR("SEARCH"),
                               .execution_time_ms = 1234.5678,
                               .rows_examined = INT64_MAX,
                               .rows_returned = -1,
                               .table_name = AK_STR("odd, \"name\"\nof two lines"),
                               .index_used = AK_STR(""),
                               .cpu_time_ms = 0.0304,
                               .io_wait_ms = 12.3456};
    ak_perf_put_query(&out, &q);
    q.has = AK_PERF_HAS(timestamp);
    ak_perf_put_query(&out, &q);
    struct ak_perf_reader *reader = open_text(ak_buf_cstr(&out));
    CHECK_INT(next(reader, &back), AK_PERF_ROW);
    CHECK_INT(back.has, AK_PERF_HAS_ALL);
    CHECK(back.timestamp == q.timestamp && back.cache_hit && back.rows_examined == INT64_MAX);
    CHECK(ak_str_eq(back.table_name, q.table_name) && back.index_used.len == 0);
    CHECK(back.execution_time_ms == 1235 && back.cpu_time_ms == 0.03 && back.io_wait_ms == 12.35);
    CHECK_INT(next(reader, &back), AK_PERF_ROW);
    CHECK_INT(back.has, AK_PERF_HAS(timestamp));
    CHECK_INT(next(reader, &back), AK_PERF_END);
    ak_perf_reader_close(reader);
    ak_buf_release(&out);
}

TEST(perf, milliseconds_have_four_digits)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0"},          {0.0004, "0"},      {0.0005, "0.001"},  {0.5, "0.5"},
                 {9.9996, "10"},    {3.14159, "3.142"}, {31.4159, "31.42"}, {314.159, "314.2"},
                 {3141.59, "3142"}, {99999.4, "99999"}, {1e15, "1e+15"},    {-1.5, "-1.5"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ak_buf out;
        char want[64];
        ak_buf_init(&out, 0);
        const struct ak_perf_query q = {.has = AK_PERF_HAS(execution_time_ms),
                                        .execution_time_ms = cases[i].value};
        ak_perf_put_query(&out, &q);
        (void)snprintf(want, sizeof want, ",,,%s,,,,,,,\n", cases[i].text);
        CHECK_STR(ak_buf_cstr(&out), want);
        ak_buf_release(&out);
    }
}

TEST(perf, opening_a_log_fails_cleanly_at_every_allocation)
{
    const char *path =
        path_of("log.csv", AK_STR(HEADER "2025-10-28T00:15:23Z,a,b,1,1,1,1,\"x\"\"y\",d\n"));
    for (int64_t nth = 0;; nth++) {
        struct ak_perf_reader *reader = NULL;
        struct ak_perf_query q;
        enum ak_perf_step step = AK_PERF_END;
        ak_fault_alloc_at(nth);
        enum ak_rc rc = ak_perf_reader_open(ak_fs_posix(), path, &reader, &err);
        if (rc == AK_OK) {
            rc = ak_perf_reader_next(reader, &q, &step, &err);
        }
        bool has_fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        ak_perf_reader_close(reader);
        CHECK_INT(rc, has_fired ? AK_NOMEM : AK_OK);
        if (!has_fired) {
            CHECK_INT(step, AK_PERF_ROW);
            break;
        }
    }
}

TEST_MAIN()
