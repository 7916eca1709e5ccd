/* base_str_test.c — strings, buffers, UTF-8. */
#include "base/str.h"
#include "support/test.h"

TEST(str, a_buffer_never_passes_its_ceiling_and_says_so)
{
    struct ak_err err;
    struct ak_buf buf;
    ak_buf_init(&buf, 100);
    for (int i = 0; i < 100; i++) {
        ak_buf_add_char(&buf, 'x');
    }
    CHECK_OK(ak_buf_check(&buf, &err));
    ak_buf_add_char(&buf, 'y');
    CHECK_RC(AK_TOO_BIG, ak_buf_check(&buf, &err));
    CHECK_INT(buf.len, 100);
    ak_buf_release(&buf);
    CHECK(buf.p == NULL);
}

TEST(str, utf8_refuses_overlong_forms_surrogates_and_cut_sequences)
{
    CHECK(ak_utf8_is_valid(
        AK_STR("h\xc3\xa9llo w\xc3\xb6rld \xe2\x82\xac \xf0\x9f\x98\x80 and more")));
    CHECK(!ak_utf8_is_valid(AK_STR("\xc0\x80")));
    CHECK(!ak_utf8_is_valid(AK_STR("\xed\xa0\x80")));
    CHECK(!ak_utf8_is_valid(AK_STR("\xf4\x90\x80\x80")));
    CHECK(!ak_utf8_is_valid(AK_STR("abcdefgh\xe2\x82")));
    CHECK(!ak_utf8_is_valid(AK_STR("\x80")));
}

TEST(str, numbers_are_read_whole_and_bounded)
{
    uint64_t n = 7;
    CHECK(ak_str_u64(AK_STR("18446744073709551615"), UINT64_MAX, &n) && n == UINT64_MAX);
    CHECK(!ak_str_u64(AK_STR("18446744073709551616"), UINT64_MAX, &n));
    CHECK(!ak_str_u64(AK_STR("11"), 10, &n));
    CHECK(!ak_str_u64(AK_STR("1x"), 10, &n));
    CHECK(!ak_str_u64(AK_STR(""), 10, &n));
}

TEST(str, split_and_trim_give_views_of_the_same_bytes)
{
    struct ak_str head;
    struct ak_str tail;
    CHECK(ak_str_split(AK_STR("a=b=c"), '=', &head, &tail));
    CHECK(ak_str_eq(head, AK_STR("a")) && ak_str_eq(tail, AK_STR("b=c")));
    CHECK(!ak_str_split(AK_STR("abc"), '=', &head, &tail) && tail.len == 0);
    CHECK(ak_str_eq(ak_str_trim(AK_STR(" \t x y \r\n")), AK_STR("x y")));
}

TEST(err, a_wrapped_message_reads_from_the_outside_in)
{
    struct ak_err err;
    CHECK_RC(AK_NO_SPACE, ak_fail_errno(&err, 28, "write"));
    CHECK_RC(AK_NO_SPACE, ak_wrap(&err, AK_NO_SPACE, "segment %d", 3));
    CHECK_STR(err.text, "segment 3: write: No space left on device");
    CHECK_INT(ak_rc_http_status(AK_NO_SPACE), 507);
}

TEST_MAIN()
