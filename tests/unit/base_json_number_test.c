/* base_json_number_test.c — numbers: float32 as strtof reads it, printed as short as can be. */
#include "base/json.h"
#include "base/mem.h"
#include "support/test.h"
#include <stdlib.h>

#define ROUNDS 400000

static uint64_t state;

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545F4914F6CDD1Du;
}

static uint32_t bits_of(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* The reader must agree with strtof and strtod bit for bit, on a copy with nothing behind it. */
static void check_text(const char *text)
{
    size_t len = strlen(text);
    char *copy = ak_alloc(len);
    memcpy(copy, text, len);
    float got = NAN;
    double got_double = 0;
    CHECK_INT(ak_f32_scan(copy, copy + len, &got), len);
    float want = strtof(text, NULL);
    if (bits_of(got) != bits_of(want)) {
        ak_test_fail(__FILE__, __LINE__, "%s reads as %a, want %a", text, (double)got,
                     (double)want);
    }
    struct ak_json in;
    ak_json_init(&in, (struct ak_str){copy, len});
    double want_double = strtod(text, NULL);
    bool read = ak_json_double(&in, &got_double);
    CHECK(read == (isfinite(want_double) != 0));
    CHECK(!read || memcmp(&got_double, &want_double, sizeof want_double) == 0);
    ak_json_init(&in, (struct ak_str){copy, len});
    CHECK(ak_json_skip(&in, NULL) == read);
    ak_json_release(&in);
    ak_free(copy);
}

TEST(json_number, hard_cases_read_as_strtof_reads_them)
{
    static const char *const texts[] = {
        "0",
        "-0",
        "0.0",
        "-0.0e5",
        "1",
        "-1",
        "0.1",
        "16777216",
        "16777217",
        "16777218",
        "16777219",
        "33554431",
        "9007199254740993",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999",
        "3.4028234663852886e38",
        "3.4028235677973366e38",
        "3.40282356779733661637539395458142568447e38",
        "3.40282356779733661637539395458142568448e38",
        "3.4028235677973367e38",
        "1e39",
        "1e38",
        "1.17549435e-38",
        "1.1754943508222875e-38",
        "1.1754942807573643e-38",
        "1.4012984643248170709e-45",
        "7.0064923216240853546186479164495e-46",
        "7.0064923216240853546186479164496e-46",
        "7.006492321624085354618647916449580656401309709382578858785341419448955413429303e-46",
        "7.0e-46",
        "7.1e-46",
        "1e-45",
        "1e-46",
        "1e-64",
        "1e-65",
        "1e-400",
        "1e400",
        "1e99999999999999999999",
        "1e-99999999999999999999",
        "0e99999999999999999999",
        "123456789012345678901234567890e-30",
        "0.000000000000000000000000000000000000000000000000000000000000000000000000000001e80",
        "100000000000000000000000000000000000000000000000000000000000000000000000000000e-70",
        "1.00000005960464477539062",
        "1.000000059604644775390625",
        "1.00000005960464477539063",
        "1."
        "00000005960464477539062500000000000000000000000000000000000000000000000000000000000000000"
        "1",
        "8388609.5",
        "8388608.5",
        "2.2250738585072011e-308",
        "1.7976931348623159e308",
        "4.9e-324",
        "2.4e-324"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        check_text(texts[i]);
    }
}

TEST(json_number, random_decimals_read_as_strtof_reads_them)
{
    char text[256];
    state = ak_test_seed() | 1;
    for (int i = 0; i < ROUNDS / 4; i++) {
        float f = float_of((uint32_t)next());
        if (isfinite(f)) {
            (void)snprintf(text, sizeof text, "%.*g", (int)(next() % 20) + 1, (double)f);
            check_text(text);
        }
        (void)snprintf(text, sizeof text, "%llu", (unsigned long long)(next() >> next() % 64));
        check_text(text);
        (void)snprintf(text, sizeof text, "%llu.%llue%d",
                       (unsigned long long)(next() >> next() % 64),
                       (unsigned long long)(next() >> next() % 64), (int)(next() % 130) - 75);
        check_text(text);
        (void)snprintf(text, sizeof text, "-0.%0*llu", (int)(next() % 40) + 1,
                       (unsigned long long)(next() >> next() % 64));
        check_text(text);
    }
}

TEST(json_number, the_middle_between_two_floats_and_its_neighbours_round_right)
{
    char text[512];
    char longer[768];
    state = ak_test_seed() | 1;
    for (int i = 0; i < ROUNDS / 8; i++) {
        uint32_t bits = (uint32_t)next() & 0x7FFFFFFF;
        bits =
            i % 4 == 0 ? bits & 0xFFFFFF : bits; /* a quarter near and below the smallest normal */
        float low = float_of(bits);
        float high = float_of(bits + 1);
        if (!isfinite(high) || !isfinite(low)) {
            continue;
        }
        double middle = ((double)low + (double)high) / 2;
        (void)snprintf(text, sizeof text, "%.160e", middle);
        check_text(text);
        const char *e = strchr(text, 'e');
        (void)snprintf(longer, sizeof longer, "%.*s%0*d1%s", (int)(e - text), text,
                       (int)(next() % 300) + 1, 0, e);
        check_text(longer);
        (void)snprintf(text, sizeof text, "%.17g", nextafter(middle, 0));
        check_text(text);
        (void)snprintf(text, sizeof text, "%.17g", nextafter(middle, HUGE_VAL));
        check_text(text);
        (void)snprintf(text, sizeof text, "%.19g", middle);
        check_text(text);
    }
}

TEST(json_number, thousands_of_digits_round_right)
{
    enum { DIGITS = 3000 };
    char *text = ak_alloc(DIGITS + 64);
    state = ak_test_seed() | 1;
    for (int i = 0; i < 300; i++) {
        size_t len = 1 + next() % DIGITS;
        size_t point = next() % len;
        text[0] = '1';
        for (size_t k = 1; k < len; k++) {
            text[k] = (char)('0' + next() % 10);
        }
        if (point && point + 1 < len) {
            text[point] = '.';
        }
        (void)snprintf(text + len, 64, "e-%d", (int)(point ? point : len) - (int)(next() % 40));
        if (strstr(text, "e--") == NULL) {
            check_text(text);
        }
    }
    ak_free(text);
}

TEST(json_number, malformed_numbers_are_refused_at_every_cut)
{
    static const char *const texts[] = {"",     "-",  "+1",       "01",  "-01", "00",   "1.",
                                        "1.e5", ".5", "1e",       "1e+", "1e-", "1.5E", "e5",
                                        "--1",  "-a", "Infinity", "nan", "x",   "1.-5", "0x"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t len = strlen(texts[i]);
        char *copy = ak_alloc(len);
        memcpy(copy, texts[i], len);
        float value = 7;
        size_t want = strcmp(texts[i], "0x") == 0; /* a number, and then something else */
        CHECK_INT(ak_f32_scan(copy, copy + len, &value), want);
        CHECK(want || value == 7);
        ak_free(copy);
    }
}

/* Print, read back, and compare with the shortest that a search over %.{1..9}g finds. */
static void check_print(float f, bool search)
{
    char text[17];
    float back = NAN;
    size_t len = ak_f32_print(f, text);
    CHECK(len > 0 && len <= 16);
    text[len] = '\0';
    CHECK_INT(ak_f32_scan(text, text + len, &back), len);
    if (bits_of(back) != bits_of(f) || bits_of(strtof(text, NULL)) != bits_of(f)) {
        ak_test_fail(__FILE__, __LINE__, "%a printed as %s", (double)f, text);
    }
    if (!search || f == 0) {
        return;
    }
    int precision = 0;
    char shortest[32];
    do {
        (void)snprintf(shortest, sizeof shortest, "%.*e", precision++, (double)f);
    } while (strtof(shortest, NULL) != f);
    int digits = 0;
    int zeros = 0; /* at the end of the digits */
    for (const char *p = text; *p && *p != 'e'; p++) {
        if (*p >= '1' && *p <= '9') {
            digits += zeros + 1;
            zeros = 0;
        } else if (*p == '0' && digits) {
            zeros++;
        }
    }
    if (digits > precision) {
        ak_test_fail(__FILE__, __LINE__, "%a printed as %s, but %s is enough", (double)f, text,
                     shortest);
    }
    double missed = fabs(strtod(text, NULL) - (double)f);
    CHECK(digits < precision || missed <= fabs(strtod(shortest, NULL) - (double)f));
}

TEST(json_number, a_printed_float_reads_back_and_no_shorter_one_does)
{
    state = ak_test_seed() | 1;
    for (uint32_t exponent = 0; exponent < 255; exponent++) { /* both sides of every power of two */
        for (uint32_t near = 0; near < 3; near++) {
            check_print(float_of((exponent << 23) + near), true);
            check_print(float_of((exponent << 23 | 0x7FFFFF) - near), true);
        }
    }
    for (int i = 0; i < ROUNDS; i++) {
        float f = float_of((uint32_t)next());
        if (isfinite(f)) {
            check_print(f, i % 8 == 0);
        }
        check_print((float)((double)(next() >> 11) * 0x1p-53 - 0.5), i % 8 == 0);
        check_print((float)(next() % 100000), i % 16 == 0);
    }
}

TEST(json_number, floats_print_plainly_unless_extreme)
{
    static const struct {
        float value;
        const char *text;
    } cases[] = {{0.0f, "0"},
                 {-0.0f, "-0"},
                 {1.0f, "1"},
                 {-1.5f, "-1.5"},
                 {0.0123f, "0.0123"},
                 {123.5f, "123.5"},
                 {100.0f, "100"},
                 {0.0001f, "0.0001"},
                 {-0.000123456789f, "-0.00012345679"},
                 {0.00001f, "1e-5"},
                 {1.5e-7f, "1.5e-7"},
                 {123456789.0f, "123456790"},
                 {1e9f, "1e9"},
                 {16777216.0f, "16777216"},
                 {3.40282347e38f, "3.4028235e38"},
                 {1.17549435e-38f, "1.1754944e-38"},
                 {1.4e-45f, "1e-45"},
                 {0.3f, "0.3"},
                 {33554432.0f, "33554432"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[17];
        text[ak_f32_print(cases[i].value, text)] = '\0';
        CHECK_STR(text, cases[i].text);
    }
    char text[16];
    CHECK_INT(ak_f32_print(HUGE_VALF, text), 0);
    CHECK_INT(ak_f32_print(NAN, text), 0);
}

TEST(json_number, an_array_of_floats_survives_the_round_trip_bit_for_bit)
{
    float values[300];
    float back[300];
    struct ak_buf buf;
    ak_buf_init(&buf, 0);
    state = ak_test_seed() | 1;
    for (size_t count = 0; count <= 300; count += count < 70 ? 1 : 46) {
        for (size_t i = 0; i < count; i++) {
            do {
                values[i] = float_of((uint32_t)next());
            } while (!isfinite(values[i]));
        }
        ak_buf_clear(&buf);
        ak_json_put_f32_array(&buf, values, count);
        struct ak_json in;
        size_t got = 1000;
        ak_json_init(&in, ak_buf_str(&buf));
        CHECK(ak_json_f32_array(&in, back, 300, &got));
        CHECK_RC(AK_OK, ak_json_finish(&in, NULL));
        CHECK(got == count && memcmp(back, values, count * sizeof *values) == 0);
        ak_json_release(&in);
    }
    values[0] = NAN;
    values[1] = -0.0f;
    ak_buf_clear(&buf);
    ak_json_put_f32_array(&buf, values, 2);
    CHECK_STR(ak_buf_cstr(&buf), "[null,-0]");
    ak_buf_release(&buf);
}

TEST(json_number, an_array_refuses_what_is_not_a_list_of_numbers)
{
    static const char *const texts[] = {
        "[1,]",   "[,1]",    "[1 2]", "[1",   "[", "[1,", "[1,2", "[null]",    "[[1]]", "[1,\"2\"]",
        "[1e39]", "[-1e39]", "[01]",  "[1.]", "1", "{}",  "[1]]", "[1,2,3,4]", "[NaN]"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t len = strlen(texts[i]);
        char *copy = ak_alloc(len);
        memcpy(copy, texts[i], len);
        float out[3];
        size_t count = 99;
        struct ak_json in;
        ak_json_init(&in, (struct ak_str){copy, len});
        bool read = ak_json_f32_array(&in, out, 3, &count);
        CHECK(read || count == 99);
        CHECK_RC(AK_INVALID, ak_json_finish(&in, NULL));
        ak_json_release(&in);
        ak_free(copy);
    }
}

TEST(json_number, doubles_are_written_exactly)
{
    struct ak_buf buf;
    ak_buf_init(&buf, 0);
    state = ak_test_seed() | 1;
    for (int i = 0; i < 50000; i++) {
        uint64_t bits = next();
        double value;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value)) {
            continue;
        }
        ak_buf_clear(&buf);
        ak_json_put_double(&buf, value);
        double back = 0;
        struct ak_json in;
        ak_json_init(&in, ak_buf_str(&buf));
        CHECK(ak_json_double(&in, &back) && memcmp(&back, &value, sizeof value) == 0);
        ak_json_release(&in);
    }
    ak_buf_clear(&buf);
    ak_json_put_double(&buf, 0.1);
    ak_buf_add_char(&buf, ' ');
    ak_json_put_double(&buf, -0.0);
    ak_buf_add_char(&buf, ' ');
    ak_json_put_double(&buf, (double)INFINITY);
    CHECK_STR(ak_buf_cstr(&buf), "0.1 -0 null");
    ak_buf_release(&buf);
}

TEST(json_number, integers_keep_all_64_bits)
{
    struct ak_buf buf;
    ak_buf_init(&buf, 0);
    ak_json_put_u64(&buf, UINT64_MAX);
    ak_buf_add_char(&buf, ' ');
    ak_json_put_i64(&buf, INT64_MIN);
    ak_buf_add_char(&buf, ' ');
    ak_json_put_u64(&buf, 0);
    CHECK_STR(ak_buf_cstr(&buf), "18446744073709551615 -9223372036854775808 0");
    ak_buf_release(&buf);

    struct ak_json in;
    uint64_t u = 0;
    int64_t s = 0;
    ak_json_init(&in, AK_STR("18446744073709551615"));
    CHECK(ak_json_u64(&in, 0, UINT64_MAX, &u) && u == UINT64_MAX);
    ak_json_init(&in, AK_STR("18446744073709551616"));
    CHECK(!ak_json_u64(&in, 0, UINT64_MAX, &u));
    ak_json_init(&in, AK_STR("-9223372036854775808"));
    CHECK(ak_json_i64(&in, INT64_MIN, INT64_MAX, &s) && s == INT64_MIN);
    ak_json_init(&in, AK_STR("-9223372036854775809"));
    CHECK(!ak_json_i64(&in, INT64_MIN, INT64_MAX, &s));
    ak_json_init(&in, AK_STR("9223372036854775808"));
    CHECK(!ak_json_i64(&in, INT64_MIN, INT64_MAX, &s));
    ak_json_init(&in, AK_STR("-0"));
    CHECK(ak_json_i64(&in, -1, 1, &s) && s == 0);
    ak_json_init(&in, AK_STR("-1"));
    CHECK(!ak_json_u64(&in, 0, 9, &u));
    ak_json_release(&in);
}

TEST_MAIN()
