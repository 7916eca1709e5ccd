/* CSV: what RFC 4180 says, what breaks it, and that a mistake costs one line. */
#include "base/fault.h"
#include "base/rand.h"
#include "perf/csv.h"
#include "support/test.h"
#include <stdlib.h>

static struct ak_err err;

static char shown[1 << 16]; /* what read() found */

/* Records as "a|b|c;", quoted fields in <>, broken ones as "!line:reason;". */
static const char *read_text(struct ak_str text, size_t want)
{
    struct ak_csv csv;
    struct ak_csv_record record;
    size_t n = 0;
    bool end = false;
    ak_csv_init_text(&csv);
    ak_csv_give(&csv, text);
    csv.want = want;
    shown[0] = '\0';
    for (;;) {
        CHECK_OK(ak_csv_next(&csv, &record, &end, &err));
        if (end) {
            break;
        }
        if (record.fault) {
            n += (size_t)snprintf(shown + n, sizeof shown - n, "!%llu:%s;",
                                  (unsigned long long)record.line, record.fault);
            continue;
        }
        for (size_t i = 0; i < record.count; i++) {
            const struct ak_csv_field *field = &record.fields[i];
            n += (size_t)snprintf(shown + n, sizeof shown - n,
                                  field->is_quoted ? "%s<%.*s>" : "%s%.*s", i ? "|" : "",
                                  AK_STR_ARG(field->text));
        }
        n += (size_t)snprintf(shown + n, sizeof shown - n, ";");
    }
    ak_csv_release(&csv);
    return shown;
}

static const char *read(const char *text)
{
    return read_text(ak_str_of(text), 0);
}

TEST(csv, fields_stand_between_commas_and_records_between_line_ends)
{
    CHECK_STR(read("a,b,c\n1,,3\n"), "a|b|c;1||3;");
    CHECK_STR(read("a,b\r\n1,2\r\n"), "a|b;1|2;");
    CHECK_STR(read("a,b\n1,2"), "a|b;1|2;"); /* the last line end may lack */
    CHECK_STR(read("a,b\n1,2\r"), "a|b;1|2;");
    CHECK_STR(read("\n\na\r\n\r\n\nb"), "a;b;"); /* empty lines are nothing */
    CHECK_STR(read(""), "");
    CHECK_STR(read(" a , b "), " a | b ;"); /* blanks belong to the field */
    CHECK_STR(read(","), "|;");
    CHECK_STR(read("0123456,01234567,012345678,\xC3\xA4\xC3\xB6,x"),
              "0123456|01234567|012345678|\xC3\xA4\xC3\xB6|x;");
}

/* The same by another way, a byte at a time. */
static void naive(const char *line, size_t len, char *out, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        n += (size_t)snprintf(out + n, cap - n, "%c", line[i] == ',' ? '|' : line[i]);
    }
    (void)snprintf(out + n, cap - n, ";");
}

TEST(csv, lines_of_any_length_are_cut_at_every_comma)
{
    static const char bytes[] = "a,b,,xyz";
    char line[80];
    char want[128];
    uint64_t state = 7;
    for (size_t len = 1; len < 60; len++) {
        for (int round = 0; round < 40; round++) {
            for (size_t i = 0; i < len; i++) {
                state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
                line[i] = bytes[state >> 61];
            }
            naive(line, len, want, sizeof want);
            CHECK_STR(read_text((struct ak_str){line, len}, 0), want);
            size_t at = (size_t)(state >> 32) % len; /* wherever it is, it is seen */
            line[at] = '\0';
            CHECK_STR(read_text((struct ak_str){line, len}, 0), "!1:it holds a zero byte;");
            memset(line, 'q', len + 1);
            line[at] = '"';
            CHECK(strchr(read_text((struct ak_str){line, len + 1}, 0), '!'));
        }
    }
}

TEST(csv, a_record_says_whether_it_is_plain_ascii)
{
    struct ak_csv csv;
    struct ak_csv_record record;
    bool end = false;
    char line[40];
    for (size_t at = 0; at < sizeof line; at++) {
        memset(line, 'a', sizeof line);
        ak_csv_init_text(&csv);
        ak_csv_give(&csv, (struct ak_str){line, sizeof line});
        CHECK_OK(ak_csv_next(&csv, &record, &end, &err));
        CHECK(record.is_ascii);
        line[at] = (char)0x80;
        ak_csv_give(&csv, (struct ak_str){line, sizeof line});
        CHECK_OK(ak_csv_next(&csv, &record, &end, &err));
        CHECK(!record.is_ascii);
        ak_csv_release(&csv);
    }
}

TEST(csv, quotes_hold_commas_line_ends_and_quotes)
{
    CHECK_STR(read("\"a,b\",c\n"), "<a,b>|c;");
    CHECK_STR(read("\"a\"\"b\",\"\"\"\"\n"), "<a\"b>|<\">;");
    CHECK_STR(read("1,\"two\nlines\",3\n4,5,6\n"), "1|<two\nlines>|3;4|5|6;");
    CHECK_STR(read("1,\"two\r\nlines\"\r\n4,5\r\n"), "1|<two\r\nlines>;4|5;");
    CHECK_STR(read("\"\",,\"\"\n"), "<>||<>;"); /* an empty text is not nothing */
    CHECK_STR(read("a,\"b\""), "a|<b>;");
    CHECK_STR(read("a,\"b\"\r"), "a|<b>;");
    CHECK_STR(read("\"a\",b\rc\n"), "<a>|b\rc;");
}

TEST(csv, a_mark_of_byte_order_is_skipped_at_the_beginning_only)
{
    CHECK_STR(read("\xEF\xBB\xBF"
                   "a,b\n1,2\n"),
              "a|b;1|2;");
    CHECK_STR(read("\xEF\xBB\xBF\"a\",b\n"), "<a>|b;");
    CHECK_STR(read("a\n\xEF\xBB\xBF"
                   "b\n"),
              "a;\xEF\xBB\xBF"
              "b;");
    CHECK_STR(read("\xEF\xBB\xBF"), "");
}

TEST(csv, a_mistake_costs_one_line)
{
    CHECK_STR(read("a,\"b\"c,d\n1,2,3\n"), "!1:something stands behind a closing quote;1|2|3;");
    CHECK_STR(read("1,2\na,b\"c\n3,4\n"),
              "1|2;!2:a quote stands within a field that has none around it;3|4;");
    CHECK_STR(read("1,2\na,\"b\n3,4\n5,6"), "1|2;!2:a quote is never closed;3|4;5|6;");
    /* The quote of a later line closes the one that is left open: the rows between survive. */
    CHECK_STR(read("a,\"b\n3,4\n5,\"x,y\"\n7,8\n"),
              "!1:something stands behind a closing quote;3|4;5|<x,y>;7|8;");
    CHECK_STR(read_text(AK_STR("a\0b,c\n1,2\n"), 0), "!1:it holds a zero byte;1|2;");
    CHECK_STR(read_text(AK_STR("\"a\0b\",c\n1,2\n"), 0), "!1:it holds a zero byte;1|2;");
}

TEST(csv, a_record_of_another_count_is_broken)
{
    CHECK_STR(read_text(AK_STR("1,2\n1\n1,2,3\n3,4\n"), 2),
              "1|2;!2:it has 1 field; the header has 2;!3:it has 3 fields; the header has 2;3|4;");
    /* Two lines that a lost quote has joined come apart again. */
    CHECK_STR(read_text(AK_STR("1,\"2\n3,4\n5,\",6\n7,8\n"), 2),
              "!1:it has 3 fields; the header has 2;3|4;!3:a quote is never closed;7|8;");
}

TEST(csv, more_fields_than_are_allowed_break_the_record)
{
    char text[300];
    size_t n = 0;
    for (int i = 0; i < AK_CSV_FIELDS_MAX; i++) {
        text[n++] = ',';
    }
    (void)snprintf(text + n, sizeof text - n, "\n1,2\n");
    CHECK_STR(read(text), "!1:it has more than 64 fields;1|2;");
    text[0] = '"';
    text[1] = '"';
    text[2] = ',';
    text[n++] = ',';
    text[n++] = ',';
    (void)snprintf(text + n, sizeof text - n, "\n1,2\n");
    CHECK_STR(read(text), "!1:it has more than 64 fields;1|2;");
}

/* --- Files --- */

static struct ak_file *file_of(const char *name, struct ak_str bytes)
{
    char path[512];
    struct ak_file *file = NULL;
    (void)snprintf(path, sizeof path, "%s/%s", ak_test_dir(), name);
    CHECK_OK(ak_fs_open(ak_fs_posix(), path, AK_OPEN_WRITE | AK_OPEN_CREATE | AK_OPEN_TRUNCATE,
                        &file, &err));
    CHECK_OK(ak_file_write(file, 0, bytes.p, bytes.len, &err));
    return file;
}

TEST(csv, a_line_longer_than_the_limit_is_passed_over)
{
    struct ak_buf text;
    struct ak_csv csv;
    struct ak_csv_record record;
    bool end = false;
    ak_buf_init(&text, 0);
    ak_buf_add_str(&text, AK_STR("a,b\n"));
    for (size_t i = 0; i < 5 * AK_CSV_RECORD_MAX; i++) {
        ak_buf_add_char(&text, i % 1000 == 7 ? '"' : 'x');
    }
    ak_buf_add_str(&text, AK_STR("\n1,\"unclosed\n2,3\n"));
    for (size_t i = 0; i < AK_CSV_RECORD_MAX; i++) { /* no quote that would end the search */
        ak_buf_add_char(&text, i % 50 == 49 ? '\n' : 'y');
    }
    CHECK_OK(ak_buf_check(&text, &err));
    struct ak_file *file = file_of("long.csv", ak_buf_str(&text));
    ak_csv_init(&csv, file, 0, 0);
    CHECK_OK(ak_csv_next(&csv, &record, &end, &err));
    CHECK_INT(record.count, 2);
    CHECK_OK(ak_csv_next(&csv, &record, &end, &err));
    CHECK(record.fault && strstr(record.fault, "longer than 1 MiB"));
    CHECK_INT(record.line, 2);
    CHECK_OK(ak_csv_next(&csv, &record, &end, &err));
    CHECK(record.fault);
    CHECK_INT(record.line, 3);
    CHECK_OK(ak_csv_next(&csv, &record, &end, &err));
    CHECK_INT(record.count, 2);
    CHECK_INT(record.line, 4);
    CHECK(csv.in.cap <= AK_CSV_MEMORY_MAX / 2);
    ak_csv_release(&csv);
    ak_file_close(file);
    ak_buf_release(&text);
}

TEST(csv, a_part_of_a_file_is_read_and_no_more)
{
    struct ak_file *file = file_of("part.csv", AK_STR("1,2\n3,4\n5,6\n7,8\n"));
    struct ak_csv csv;
    struct ak_csv_record record;
    bool end = false;
    ak_csv_init(&csv, file, 4, 12);
    csv.line = 2;
    CHECK_OK(ak_csv_next(&csv, &record, &end, &err));
    CHECK_INT(record.line, 2);
    CHECK_INT(record.at, 4);
    CHECK_OK(ak_csv_next_line(&csv, &record, &end, &err));
    CHECK(ak_str_eq(record.raw, AK_STR("5,6")));
    CHECK_OK(ak_csv_next(&csv, &record, &end, &err));
    CHECK(end);
    CHECK_INT(ak_csv_offset(&csv), 12);
    ak_csv_release(&csv);
    ak_file_close(file);
}

TEST(csv, what_is_written_reads_back)
{
    static const char alphabet[] = "ab,\"\n\r x\xC3\xA4";
    struct ak_rand rand;
    ak_rand_seed(&rand, ak_test_seed());
    struct ak_csv csv;
    struct ak_csv_record record;
    ak_csv_init_text(&csv);
    for (int round = 0; round < 2000; round++) {
        char fields[5][20];
        struct ak_buf text;
        bool end = false;
        ak_buf_init(&text, 0);
        for (int i = 0; i < 5; i++) {
            size_t len = ak_rand_below(&rand, sizeof fields[i] - 1);
            for (size_t n = 0; n < len; n++) {
                fields[i][n] = alphabet[ak_rand_below(&rand, sizeof alphabet - 1)];
            }
            fields[i][len] = '\0';
            ak_buf_add_str(&text, i ? AK_STR(",") : AK_STR(""));
            ak_csv_put(&text, ak_str_of(fields[i]));
        }
        ak_buf_add_str(&text, AK_STR("\r\n"));
        ak_csv_give(&csv, ak_buf_str(&text));
        CHECK_OK(ak_csv_next(&csv, &record, &end, &err));
        CHECK(!end && !record.fault);
        CHECK_INT(record.count, 5);
        for (int i = 0; i < 5; i++) {
            CHECK(ak_str_eq(record.fields[i].text, ak_str_of(fields[i])));
        }
        CHECK_OK(ak_csv_next(&csv, &record, &end, &err));
        CHECK(end);
        ak_buf_release(&text);
    }
    ak_csv_release(&csv);
}

TEST(csv, reading_fails_cleanly_wherever_it_fails)
{
    struct ak_buf text;
    ak_buf_init(&text, 0);
    for (int i = 0; i < 40000; i++) {
        ak_buf_add_fmt(&text, "%d,\"a \"\"quoted\"\" text\nof two lines\",%d\n", i, i);
    }
    struct ak_file *file = file_of("fails.csv", ak_buf_str(&text));
    ak_buf_release(&text);
    struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
    for (int64_t nth = 0;; nth++) {
        struct ak_file *failing = NULL;
        char path[512];
        struct ak_csv csv;
        struct ak_csv_record record;
        uint64_t rows = 0;
        bool end = false;
        (void)snprintf(path, sizeof path, "%s/fails.csv", ak_test_dir());
        CHECK_OK(ak_fs_open(ak_fs_fault_fs(fault), path, AK_OPEN_READ, &failing, &err));
        ak_csv_init(&csv, failing, 0, 0);
        ak_fs_fault_set(fault, AK_FS_READ, nth, 5, true);
        enum ak_rc rc = AK_OK;
        while (rc == AK_OK && !end) {
            rc = ak_csv_next(&csv, &record, &end, &err);
            rows += rc == AK_OK && !end;
        }
        bool has_fired = ak_fs_fault_fired(fault);
        ak_fs_fault_set(fault, AK_FS_ANY, -1, 0, false);
        ak_csv_release(&csv);
        ak_file_close(failing);
        CHECK_INT(rc, has_fired ? AK_IO : AK_OK);
        if (!has_fired) {
            CHECK_INT(rows, 40000);
            break;
        }
    }
    ak_fs_fault_close(fault);
    ak_file_close(file);
}

TEST_MAIN()
