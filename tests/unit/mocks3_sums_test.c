/* mocks3_sums_test.c — checksums against published values and their definition; base64, hex. */
#include "base/encode.h"
#include "base/rand.h"
#include "mocks3/sums.h"
#include "support/test.h"

static void check_text(enum ak_mock_sum kind, struct ak_str bytes, const char *want)
{
    uint8_t value[AK_MOCK_SUM_BYTES_MAX];
    char text[2 * AK_MOCK_SUM_BYTES_MAX + 1];
    size_t len = ak_mock_sum_of(kind, bytes, value);
    CHECK_INT(len, ak_mock_sum_bytes(kind));
    ak_hex(value, len, text);
    CHECK_STR(text, want);
}

TEST(sums, give_the_published_values_of_123456789)
{
    struct ak_str digits = AK_STR("123456789");
    check_text(AK_MOCK_CRC32, digits, "cbf43926");
    check_text(AK_MOCK_CRC32C, digits, "e3069283");
    check_text(AK_MOCK_CRC64NVME, digits, "ae8b14860a799888");
    check_text(AK_MOCK_MD5, AK_STR("abc"), "900150983cd24fb0d6963f7d28e17f72");
    check_text(AK_MOCK_SHA1, AK_STR("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
    check_text(AK_MOCK_SHA256, AK_STR("abc"),
               "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    check_text(AK_MOCK_CRC32, AK_STR(""), "00000000");
    check_text(AK_MOCK_CRC64NVME, AK_STR(""), "0000000000000000");
}

/* The definition, a bit at a time. */
static uint64_t by_bits(uint64_t poly, uint64_t ones, const uint8_t *p, size_t len)
{
    uint64_t crc = ones;
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (crc & 1 ? poly : 0);
        }
    }
    return ~crc & ones;
}

static uint64_t big_endian(const uint8_t *value, size_t len)
{
    uint64_t number = 0;
    for (size_t i = 0; i < len; i++) {
        number = number << 8 | value[i];
    }
    return number;
}

TEST(sums, are_the_same_in_any_pieces_and_agree_with_their_definition)
{
    static uint8_t bytes[3000];
    struct ak_rand rand;
    struct ak_err err;
    ak_rand_seed(&rand, ak_test_seed());
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)ak_rand_u64(&rand);
    }
    for (int turn = 0; turn < 300; turn++) {
        size_t from = (size_t)ak_rand_below(&rand, 16);
        size_t len = (size_t)ak_rand_below(&rand, sizeof bytes - 16);
        struct ak_mock_sums sums;
        CHECK_OK(ak_mock_sums_init(&sums, (1u << AK_MOCK_SUM_COUNT) - 1, &err));
        for (size_t at = 0; at < len;) {
            size_t piece = (size_t)ak_rand_below(&rand, len - at + 1);
            ak_mock_sums_add(&sums, (struct ak_str){(char *)bytes + from + at, piece});
            at += piece;
        }
        for (unsigned kind = 0; kind < AK_MOCK_SUM_COUNT; kind++) {
            uint8_t pieces[AK_MOCK_SUM_BYTES_MAX];
            uint8_t whole[AK_MOCK_SUM_BYTES_MAX];
            size_t n = ak_mock_sums_finish(&sums, (enum ak_mock_sum)kind, pieces);
            size_t m = ak_mock_sum_of((enum ak_mock_sum)kind,
                                      (struct ak_str){(char *)bytes + from, len}, whole);
            CHECK(n == m && memcmp(pieces, whole, n) == 0);
            if (kind == AK_MOCK_CRC32) {
                CHECK(big_endian(whole, 4) == by_bits(0xedb88320, UINT32_MAX, bytes + from, len));
            } else if (kind == AK_MOCK_CRC64NVME) {
                CHECK(big_endian(whole, 8) ==
                      by_bits(0x9a6c9329ac4bc9b5, UINT64_MAX, bytes + from, len));
            }
        }
        ak_mock_sums_release(&sums);
    }
}

TEST(sums, are_known_by_the_names_of_s3)
{
    CHECK_INT(ak_mock_sum_named(AK_STR("crc64nvme")), AK_MOCK_CRC64NVME);
    CHECK_INT(ak_mock_sum_named(AK_STR("SHA256")), AK_MOCK_SHA256);
    CHECK_INT(ak_mock_sum_named(AK_STR("MD5")), AK_MOCK_SUM_NONE);
    CHECK_INT(ak_mock_sum_named(AK_STR("")), AK_MOCK_SUM_NONE);
    CHECK(ak_str_eq(ak_mock_sum_header(AK_MOCK_SHA1), AK_STR("x-amz-checksum-sha1")));
}

TEST(base64, is_that_of_rfc_4648)
{
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char text[AK_MOCK_BASE64_BYTES(6)];
        uint8_t bytes[6];
        size_t len = 0;
        size_t want = strlen(pairs[i][0]);
        CHECK_INT(ak_mock_base64((const uint8_t *)pairs[i][0], want, text), strlen(pairs[i][1]));
        CHECK_STR(text, pairs[i][1]);
        CHECK(ak_mock_unbase64(ak_str_of(text), bytes, sizeof bytes, &len));
        CHECK(len == want && (want == 0 || memcmp(bytes, pairs[i][0], want) == 0));
        CHECK(want == 0 || !ak_mock_unbase64(ak_str_of(text), bytes, want - 1, &len));
    }
    static const char *const bad[] = {
        "Zg=", "Zg", "Z===", "====", "Zh==", "Zm9=", "Zg==Zg==", "Zm 9", "Zm9\n", "Z-9v", "Zg=a"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint8_t bytes[16];
        size_t len = 0;
        CHECK(!ak_mock_unbase64(ak_str_of(bad[i]), bytes, sizeof bytes, &len));
    }
}

TEST_MAIN()
