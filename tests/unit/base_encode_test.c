/* base_encode_test.c — hexadecimal and percent-encoding. */
#include "base/encode.h"
#include "support/test.h"

TEST(hex, is_exact_in_its_length_and_digits)
{
    uint8_t bytes[2];
    char text[5];
    CHECK(ak_unhex(AK_STR("0aFf"), bytes, 2) && bytes[0] == 0x0a && bytes[1] == 0xff);
    ak_hex(bytes, sizeof bytes, text);
    CHECK_STR(text, "0aff");
    CHECK(!ak_unhex(AK_STR("0aF"), bytes, 2));
    CHECK(!ak_unhex(AK_STR("0aFg"), bytes, 2));
    CHECK(!ak_unhex(AK_STR("0aFf0"), bytes, 2));
    CHECK_INT(ak_hex_digit('/'), -1);
    CHECK_INT(ak_hex_digit(':'), -1);
    CHECK_INT(ak_hex_digit('@'), -1);
    CHECK_INT(ak_hex_digit('G'), -1);
    CHECK_INT(ak_hex_digit('`'), -1);
}

TEST(percent, is_decoded_whole_or_refused)
{
    struct ak_arena arena;
    ak_arena_init(&arena, 0);
    CHECK(ak_str_eq(ak_percent_decode(AK_STR("a%20b+%C3%A9"), false, &arena),
                    AK_STR("a b+\xc3\xa9")));
    CHECK(ak_str_eq(ak_percent_decode(AK_STR("a+b%2B"), true, &arena), AK_STR("a b+")));
    CHECK(ak_str_eq(ak_percent_decode(AK_STR(""), true, &arena), AK_STR("")));
    static const char *const bad[] = {"%", "a%", "a%2", "%zz", "%0g", "%00", "a%00b"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK(ak_percent_decode(ak_str_of(bad[i]), false, &arena).p == NULL);
    }
    ak_arena_release(&arena);
}

TEST_MAIN()
