/* base_time_test.c — clocks, RFC 3339 text, UUIDs, log lines. */
#include "base/clock.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/sync.h"
#include "base/uuid.h"
#include "support/test.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

TEST(clock, a_manual_clock_moves_only_when_told)
{
    struct ak_manual_clock manual;
    ak_manual_clock_init(&manual, 1000);
    CHECK_INT(ak_now_us(&manual.clock), 1000);
    ak_manual_clock_advance(&manual, INT64_C(7) * 86400 * 1000000);
    CHECK_INT(ak_now_us(&manual.clock), INT64_C(604800001000));
    CHECK_INT(ak_mono_ns(&manual.clock), INT64_C(604800001000000));
}

TEST(clock, the_system_clock_knows_the_epoch_and_never_goes_back)
{
    const struct ak_clock *clock = ak_clock_system();
    int64_t before = ak_mono_ns(clock);
    CHECK(ak_now_us(clock) > INT64_C(1700000000000000));
    for (int i = 0; i < 1000; i++) {
        int64_t now = ak_mono_ns(clock);
        CHECK(now >= before);
        before = now;
    }
}

static void check_format(int64_t us, const char *want)
{
    char text[AK_TIME_TEXT_MAX];
    CHECK_STR(ak_time_format(us, text), want);
}

TEST(time, text_is_rfc_3339_in_utc)
{
    check_format(0, "1970-01-01T00:00:00.000000Z");
    check_format(-1, "1969-12-31T23:59:59.999999Z");
    check_format(INT64_C(951782399999999), "2000-02-28T23:59:59.999999Z");
    check_format(INT64_C(951782400000000), "2000-02-29T00:00:00.000000Z");
    check_format(INT64_C(4107542400000000), "2100-03-01T00:00:00.000000Z");
    check_format(INT64_C(-62167219200000000), "0000-01-01T00:00:00.000000Z");
    check_format(INT64_C(253402300799999999), "9999-12-31T23:59:59.999999Z");
    check_format(INT64_MAX, "9999-12-31T23:59:59.999999Z");
    check_format(INT64_MIN, "0000-01-01T00:00:00.000000Z");
}

static void check_parse(const char *text, int64_t want)
{
    int64_t us = -77;
    if (!ak_time_parse(ak_str_of(text), &us)) {
        CHECK_STR(text, "a time that is accepted");
    }
    CHECK_INT(us, want);
}

TEST(time, offsets_and_decimals_are_understood)
{
    check_parse("1970-01-01T00:00:00Z", 0);
    check_parse("1970-01-01t00:00:00z", 0);
    check_parse("1970-01-01T01:30:00+01:30", 0);
    check_parse("1969-12-31T16:00:00.000-08:00", 0);
    check_parse("1970-01-01T00:00:00-00:00", 0);
    check_parse("1970-01-01T00:00:01.5Z", 1500000);
    check_parse("1970-01-01T00:00:00.123456789Z", 123456);
    check_parse("1985-04-12T23:20:50.52Z", INT64_C(482196050520000));
    check_parse("1996-12-19T16:39:57-08:00", INT64_C(851042397000000));
    check_parse("1990-12-31T23:59:60Z", INT64_C(662688000000000));
    check_parse("1990-12-31T15:59:60-08:00", INT64_C(662688000000000));
    check_parse("0000-01-01T00:00:00Z", INT64_C(-62167219200000000));
}

TEST(time, bad_dates_are_refused)
{
    static const char *const bad[] = {
        "",
        "Z",
        "1970",
        "1970-01-01",
        "1970-01-01T00:00:00",
        "1970-01-01 00:00:00Z",
        "1970-00-01T00:00:00Z",
        "1970-13-01T00:00:00Z",
        "1970-01-00T00:00:00Z",
        "1970-01-32T00:00:00Z",
        "1970-04-31T00:00:00Z",
        "1970-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2001-02-29T00:00:00Z",
        "1970-01-01T24:00:00Z",
        "1970-01-01T00:60:00Z",
        "1970-01-01T00:00:61Z",
        "1970-01-01T00:00:60Z",
        "1970-01-01T00:00:00.Z",
        "1970-01-01T00:00:00.1234567890Z",
        "1970-01-01T00:00:00+0100",
        "1970-01-01T00:00:00+01",
        "1970-01-01T00:00:00+24:00",
        "1970-01-01T00:00:00+01:60",
        "1970-01-01T00:00:00Z ",
        " 1970-01-01T00:00:00Z",
        "1970-1-01T00:00:00Z",
        "-970-01-01T00:00:00Z",
        "1970-01-01T00:00:00ZZ",
        "1970-01-01T00:00:0xZ",
        "1970/01/01T00:00:00Z",
        "1970-01-01T00:00:00.5",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int64_t us = 5;
        if (ak_time_parse(ak_str_of(bad[i]), &us)) {
            CHECK_STR(bad[i], "a time that is refused");
        }
        CHECK_INT(us, 5);
    }
    CHECK(ak_time_parse(AK_STR("2000-02-29T00:00:00Z"), &(int64_t){0}));
}

TEST(time, every_moment_survives_format_and_parse_and_agrees_with_gmtime)
{
    struct ak_rand rand;
    ak_rand_seed(&rand, ak_test_seed());
    for (int i = 0; i < 20000; i++) {
        int64_t us = (int64_t)ak_rand_below(&rand, UINT64_C(315569520000000000)) -
                     INT64_C(62167219200000000);
        char text[AK_TIME_TEXT_MAX];
        int64_t back = 0;
        CHECK(ak_time_parse(ak_str_of(ak_time_format(us, text)), &back));
        CHECK_INT(back, us);
        time_t second = (time_t)((us - ((us % 1000000) + 1000000) % 1000000) / 1000000);
        struct tm tm;
        char want[64];
        CHECK(gmtime_r(&second, &tm) != NULL);
        (void)snprintf(want, sizeof want, "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900,
                       tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
        text[19] = '\0';
        CHECK_STR(text, want);
    }
}

TEST(time, cut_and_damaged_text_never_reads_past_its_end)
{
    struct ak_rand rand;
    ak_rand_seed(&rand, ak_test_seed());
    for (int i = 0; i < 20000; i++) {
        char text[] = "1996-12-19T16:39:57.123456-08:00";
        size_t len = (size_t)ak_rand_below(&rand, sizeof text);
        text[ak_rand_below(&rand, sizeof text - 1)] = (char)ak_rand_u64(&rand);
        char *exact = ak_alloc(len); /* so that AddressSanitizer sees the end */
        memcpy(exact, text, len);
        int64_t us = 0;
        bool ok = ak_time_parse((struct ak_str){exact, len}, &us);
        CHECK(!ok || len >= 20);
        ak_free(exact);
    }
}

static int order(const struct ak_uuid *a, const struct ak_uuid *b)
{
    return memcmp(a->b, b->b, sizeof a->b);
}

TEST(uuid, version_7_carries_the_time_and_the_variant)
{
    struct ak_manual_clock manual;
    struct ak_uuid_maker maker;
    ak_manual_clock_init(&manual, INT64_C(0x017f22e279b0) * 1000 + 999); /* RFC 9562 A.6 */
    ak_uuid_maker_init(&maker, &manual.clock);
    struct ak_uuid uuid = ak_uuid_make(&maker);
    char text[AK_UUID_TEXT_LEN + 1] = "";
    ak_uuid_format(&uuid, text);
    CHECK(memcmp(text, "017f22e2-79b0-7", 15) == 0);
    CHECK_INT(uuid.b[8] & 0xc0, 0x80);
    CHECK_INT(strlen(text), 36);
}

TEST(uuid, ids_of_one_maker_only_go_forward)
{
    struct ak_manual_clock manual;
    struct ak_uuid_maker maker;
    ak_manual_clock_init(&manual, INT64_C(1700000000000000));
    ak_uuid_maker_init(&maker, &manual.clock);
    struct ak_uuid last = ak_uuid_make(&maker);
    for (int i = 0; i < 20000; i++) { /* more than 4,096 in the one millisecond */
        struct ak_uuid next = ak_uuid_make(&maker);
        CHECK(order(&last, &next) < 0);
        CHECK_INT(next.b[6] & 0xf0, 0x70);
        last = next;
    }
    atomic_store(&manual.now_us, INT64_C(1600000000000000)); /* the clock is set back */
    struct ak_uuid next = ak_uuid_make(&maker);
    CHECK(order(&last, &next) < 0);
    atomic_store(&manual.now_us, INT64_C(1800000000000000));
    last = next;
    next = ak_uuid_make(&maker);
    CHECK(order(&last, &next) < 0);
    uint64_t ms = 0;
    for (int i = 0; i < 6; i++) {
        ms = ms << 8 | next.b[i];
    }
    CHECK_INT(ms, INT64_C(1800000000000));
}

#define PER_THREAD 5000

struct making {
    struct ak_uuid_maker *maker;
    struct ak_uuid ids[PER_THREAD];
};

static void make_ids(void *arg)
{
    struct making *making = arg;
    for (int i = 0; i < PER_THREAD; i++) {
        making->ids[i] = ak_uuid_make(making->maker);
    }
}

static int compare_uuids(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct ak_uuid));
}

TEST(uuid, threads_that_share_a_maker_never_make_the_same_stamp)
{
    static struct making making[4];
    static struct ak_uuid all[4 * PER_THREAD];
    struct ak_err err;
    struct ak_uuid_maker maker;
    struct ak_thread threads[4] = {0};
    ak_uuid_maker_init(&maker, ak_clock_system());
    for (int i = 0; i < 4; i++) {
        making[i].maker = &maker;
        CHECK_OK(ak_thread_start(&threads[i], "uuid", make_ids, &making[i], &err));
    }
    for (int i = 0; i < 4; i++) {
        ak_thread_join(&threads[i]);
        memcpy(all + i * PER_THREAD, making[i].ids, sizeof making[i].ids);
        for (int j = 1; j < PER_THREAD; j++) {
            CHECK(order(&making[i].ids[j - 1], &making[i].ids[j]) < 0);
        }
    }
    qsort(all, 4 * PER_THREAD, sizeof all[0], compare_uuids);
    for (int i = 1; i < 4 * PER_THREAD; i++) {
        CHECK(memcmp(all[i - 1].b, all[i].b, 8) != 0); /* time, version and sequence */
    }
}

TEST(uuid, text_is_read_back_in_either_case_and_nothing_else_is_read)
{
    struct ak_uuid uuid;
    struct ak_uuid upper;
    char text[AK_UUID_TEXT_LEN + 1] = "";
    CHECK(ak_uuid_parse(AK_STR("017f22e2-79b0-7cc3-98c4-dc0c0c07398f"), &uuid));
    CHECK(ak_uuid_parse(AK_STR("017F22E2-79B0-7CC3-98C4-DC0C0C07398F"), &upper));
    CHECK(ak_uuid_eq(&uuid, &upper));
    CHECK(ak_uuid_hash(&uuid) == ak_uuid_hash(&upper));
    ak_uuid_format(&uuid, text);
    CHECK_STR(text, "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    static const char *const bad[] = {"",
                                      "017f22e2-79b0-7cc3-98c4-dc0c0c07398",
                                      "017f22e2-79b0-7cc3-98c4-dc0c0c07398fa",
                                      "017f22e279b0-7cc3-98c4-dc0c0c07398f0",
                                      "017f22e2-79b0-7cc3-98c4-dc0c0c07398g",
                                      "017f22e2-79b0-7cc3-98c4+dc0c0c07398f",
                                      "{17f22e2-79b0-7cc3-98c4-dc0c0c07398}",
                                      "-17f22e2-79b0-7cc3-98c4-dc0c0c07398f",
                                      "017f22e2-79b0-7cc3-98c4-dc0c0c0739 f"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK(!ak_uuid_parse(ak_str_of(bad[i]), &upper));
        CHECK(ak_uuid_eq(&uuid, &upper));
    }
    CHECK(!ak_uuid_is_nil(&uuid));
    CHECK(ak_uuid_parse(AK_STR("00000000-0000-0000-0000-000000000000"), &uuid));
    CHECK(ak_uuid_is_nil(&uuid));
}

TEST(uuid, hashes_of_neighbouring_ids_spread_over_a_table)
{
    uint32_t hits[256] = {0};
    for (uint32_t i = 0; i < 25600; i++) {
        struct ak_uuid uuid = {{0}};
        memcpy(uuid.b + 12, &i, sizeof i);
        hits[ak_uuid_hash(&uuid) & 0xff]++;
    }
    for (int i = 0; i < 256; i++) {
        CHECK(hits[i] > 30 && hits[i] < 170); /* 100 ± 7 deviations */
    }
}

/* What `log` wrote into the pipe, as text. */
static const char *drain(int fd, char *text, size_t size)
{
    ssize_t n = read(fd, text, size - 1);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

TEST(log, a_text_line_has_time_level_and_module_and_nobody_can_forge_one)
{
    int ends[2];
    char got[4096];
    CHECK(pipe(ends) == 0);
    struct ak_log *log = ak_log_open(ends[1], AK_LOG_INFO, AK_LOG_TEXT);
    ak_log_debug(log, "wal", "not wanted");
    errno = 77;
    ak_log_info(log, "wal", "replayed %d records of 'a\n2026 ERROR x\x1b[2J\xc3\xa9'", 3);
    CHECK_INT(errno, 77);
    drain(ends[0], got, sizeof got);
    int64_t us = 0;
    CHECK(ak_time_parse((struct ak_str){got, 27}, &us) && us > 0);
    CHECK_STR(got + 27, " INFO  wal: replayed 3 records of 'a\\n2026 ERROR x\\x1b[2J\xc3\xa9'\n");
    ak_log_close(log);
    ak_log_close(NULL);
    ak_log_error((struct ak_log *)NULL, "wal", "a NULL log is silent");
    (void)close(ends[0]);
    (void)close(ends[1]);
}

TEST(log, a_json_line_is_valid_json_whatever_the_message_holds)
{
    int ends[2];
    char got[8192];
    CHECK(pipe(ends) == 0);
    struct ak_log *log = ak_log_open(ends[1], AK_LOG_DEBUG, AK_LOG_JSON);
    char message[256];
    for (int i = 0; i < 255; i++) {
        message[i] = (char)(i + 1);
    }
    message[255] = '\0';
    ak_log_warn(log, "rest", "%s", message);
    drain(ends[0], got, sizeof got);
    size_t len = strlen(got);
    CHECK(len > 0 && got[len - 1] == '\n' && strchr(got, '\n') == got + len - 1);
    CHECK(ak_utf8_is_valid((struct ak_str){got, len}));
    CHECK(strstr(got, "\"level\":\"warn\",\"module\":\"rest\",\"message\":\"\\u0001") != NULL);
    CHECK(strstr(got, "\\\"#$%&") != NULL && strstr(got, "[\\\\]") != NULL);
    struct ak_json in;
    struct ak_err err;
    struct ak_str raw;
    ak_json_init(&in, ak_str_trim((struct ak_str){got, len}));
    CHECK(ak_json_skip(&in, &raw));
    CHECK_OK(ak_json_finish(&in, &err));
    ak_json_release(&in);
    ak_log_close(log);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

TEST(log, a_long_message_is_kept_up_to_its_ceiling)
{
    int ends[2];
    static char got[1 << 16];
    static char message[60000];
    CHECK(pipe(ends) == 0);
    struct ak_log *log = ak_log_open(ends[1], AK_LOG_INFO, AK_LOG_TEXT);
    memset(message, 'm', sizeof message - 1);
    ak_log_info(log, "x", "%.5000s", message);
    CHECK_INT(strlen(drain(ends[0], got, sizeof got)), 27 + 10 + 5000 + 1);
    ak_log_info(log, "x", "%s", message);
    CHECK_INT(strlen(drain(ends[0], got, sizeof got)), 27 + 10 + 32768 + 1);
#ifdef AK_FAULTS
    for (int64_t nth = 0; nth < 3; nth++) { /* short of memory, something is still said */
        ak_fault_alloc_at(nth);
        ak_log_info(log, "x", "%.5000s", message);
        ak_fault_alloc_at(-1);
        size_t len = strlen(drain(ends[0], got, sizeof got));
        CHECK(len > 20 && got[len - 1] == '\n');
    }
#endif
    ak_log_close(log);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

TEST_MAIN()
