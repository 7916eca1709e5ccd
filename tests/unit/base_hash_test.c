/* base_hash_test.c — checksums and hashes against their published vectors. */
#include "base/hash.h"
#include "base/hash_priv.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/sync.h"
#include "support/test.h"

typedef uint32_t (*crc_fn)(uint32_t crc, const void *p, size_t len);

static void check_rfc_3720(crc_fn crc32c)
{
    uint8_t bytes[32] = {0};
    CHECK_INT(crc32c(0, bytes, 32), 0x8a9136aa); /* RFC 3720 B.4, its bytes read little-endian */
    memset(bytes, 0xff, 32);
    CHECK_INT(crc32c(0, bytes, 32), 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++) {
        bytes[i] = i;
    }
    CHECK_INT(crc32c(0, bytes, 32), 0x46dd794e);
    for (uint8_t i = 0; i < 32; i++) {
        bytes[i] = (uint8_t)(31 - i);
    }
    CHECK_INT(crc32c(0, bytes, 32), 0x113fdb5c);
    static const uint8_t read_command[48] = {
        0x01, 0xc0, 0, 0, 0, 0, 0,    0, 0,    0, 0, 0,    0, 0, 0, 0,
        0x14, 0,    0, 0, 0, 0, 0x04, 0, 0,    0, 0, 0x14, 0, 0, 0, 0x18,
        0x28, 0,    0, 0, 0, 0, 0,    0, 0x02, 0, 0, 0,    0, 0, 0, 0};
    CHECK_INT(crc32c(0, read_command, 48), 0xd9963a56);
    CHECK_INT(crc32c(0, "123456789", 9), 0xe3069283);
    CHECK_INT(crc32c(0, "", 0), 0);
}

TEST(crc32c, gives_the_values_of_rfc_3720)
{
    check_rfc_3720(ak_crc32c);
    check_rfc_3720(ak_crc32c_by_table);
}

/* The definition, a bit at a time. */
static uint32_t crc_by_bits(uint32_t crc, const uint8_t *p, size_t len)
{
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0);
        }
    }
    return ~crc;
}

TEST(crc32c, instruction_table_and_definition_agree_at_every_length_and_alignment)
{
    static uint8_t bytes[6000];
    struct ak_rand rand;
    ak_rand_seed(&rand, ak_test_seed());
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)ak_rand_u64(&rand);
    }
    for (size_t i = 0; i < 3000; i++) {
        size_t from = (size_t)ak_rand_below(&rand, 64);
        size_t len = i < 1000 ? i : (size_t)ak_rand_below(&rand, sizeof bytes - 64);
        uint32_t start = (uint32_t)ak_rand_u64(&rand);
        uint32_t want = crc_by_bits(start, bytes + from, len);
        CHECK_INT(ak_crc32c(start, bytes + from, len), want);
        CHECK_INT(ak_crc32c_by_table(start, bytes + from, len), want);
    }
}

TEST(crc32c, parts_in_a_row_give_the_crc_of_the_whole)
{
    static uint8_t bytes[5000];
    struct ak_rand rand;
    ak_rand_seed(&rand, ak_test_seed());
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)ak_rand_u64(&rand);
    }
    uint32_t whole = ak_crc32c(0, bytes, sizeof bytes);
    for (int i = 0; i < 100; i++) {
        uint32_t crc = 0;
        size_t at = 0;
        while (at < sizeof bytes) {
            size_t len = 1 + (size_t)ak_rand_below(&rand, sizeof bytes - at);
            crc = ak_crc32c(crc, bytes + at, len);
            at += len;
        }
        CHECK_INT(crc, whole);
    }
}

static void crc_on_a_thread(void *arg)
{
    uint32_t *crc = arg;
    *crc = ak_crc32c(0, "123456789", 9);
}

TEST(crc32c, the_first_calls_may_come_from_several_threads)
{
    struct ak_err err;
    struct ak_thread threads[4] = {0};
    uint32_t crcs[4] = {0};
    for (int i = 0; i < 4; i++) {
        CHECK_OK(ak_thread_start(&threads[i], "crc", crc_on_a_thread, &crcs[i], &err));
    }
    for (int i = 0; i < 4; i++) {
        ak_thread_join(&threads[i]);
        CHECK_INT(crcs[i], 0xe3069283);
    }
}

TEST(hash64, gives_the_published_values_of_xxh3)
{
    CHECK(ak_hash64("", 0) == 0x2d06800538d394c2u);
    /* The sanity buffer of xxHash: byte i is the top byte of a multiplicative sequence. */
    uint8_t buffer[2048];
    uint64_t state = 2654435761u;
    for (size_t i = 0; i < sizeof buffer; i++) {
        buffer[i] = (uint8_t)(state >> 56);
        state *= 11400714785074694797u;
    }
    CHECK(ak_hash64(buffer, 1) == 0xc44bdff4074eecdbu);
    CHECK(ak_hash64(buffer, 6) == 0x27b56a84cd2d7325u);
    CHECK(ak_hash64(buffer, 12) == 0xa713daf0dfbb77e7u);
    CHECK(ak_hash64(buffer, 24) == 0xa3fe70bf9d3510ebu);
    CHECK(ak_hash64(buffer, 48) == 0x397da259ecba1f11u);
    CHECK(ak_hash64(buffer, 80) == 0xbcdefbbb2c47c90au);
    CHECK(ak_hash64(buffer, 195) == 0xcd94217ee362ec3au);
    CHECK(ak_hash64(buffer, 403) == 0xcdeb804d65c6dea4u);
    CHECK(ak_hash64(buffer, 512) == 0x617e49599013cb6bu);
    CHECK(ak_hash64(buffer, 2048) == 0xdd59e2c3a5f038e0u);
    CHECK(ak_hash64_str(AK_STR("")) == ak_hash64("", 0));
}

TEST(sha256, gives_the_values_of_fips_180)
{
    uint8_t digest[32];
    static const uint8_t of_abc[32] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea,
                                       0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
                                       0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c,
                                       0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    static const uint8_t of_nothing[4] = {0xe3, 0xb0, 0xc4, 0x42};
    ak_sha256("abc", 3, digest);
    CHECK(memcmp(digest, of_abc, sizeof of_abc) == 0);
    ak_sha256("", 0, digest);
    CHECK(memcmp(digest, of_nothing, sizeof of_nothing) == 0);
}

TEST(rand, a_seed_gives_the_same_numbers_again)
{
    struct ak_rand a;
    struct ak_rand b;
    ak_rand_seed(&a, 42);
    ak_rand_seed(&b, 42);
    for (int i = 0; i < 100; i++) {
        CHECK(ak_rand_u64(&a) == ak_rand_u64(&b));
    }
    ak_rand_seed(&b, 43);
    CHECK(ak_rand_u64(&a) != ak_rand_u64(&b));
    /* The reference implementation's first outputs from the state {1, 2, 3, 4}. */
    a = (struct ak_rand){{1, 2, 3, 4}};
    CHECK(ak_rand_u64(&a) == 11520u);
    CHECK(ak_rand_u64(&a) == 0u);
    CHECK(ak_rand_u64(&a) == 1509978240u);
    CHECK(ak_rand_u64(&a) == 1215971899390074240u);
}

TEST(rand, numbers_stay_in_their_range_and_fill_it_evenly)
{
    struct ak_rand rand;
    uint32_t hits[7] = {0};
    double sum = 0;
    double squares = 0;
    ak_rand_seed(&rand, ak_test_seed());
    for (int i = 0; i < 70000; i++) {
        uint64_t below = ak_rand_below(&rand, 7);
        CHECK(below < 7);
        hits[below]++;
        double unit = ak_rand_unit(&rand);
        CHECK(unit >= 0.0 && unit < 1.0);
        double normal = ak_rand_normal(&rand);
        sum += normal;
        squares += normal * normal;
    }
    for (int i = 0; i < 7; i++) {
        CHECK(hits[i] > 9300 && hits[i] < 10700); /* 10,000 ± 7 deviations */
    }
    CHECK(fabs(sum / 70000) < 0.03);
    CHECK(fabs(squares / 70000 - 1.0) < 0.05);
    CHECK(ak_rand_below(&rand, 1) == 0);
    CHECK(ak_rand_below(&rand, UINT64_MAX) < UINT64_MAX);
}

TEST(rand, system_bytes_differ_from_call_to_call)
{
    uint8_t a[300] = {0};
    uint8_t b[300] = {0};
    ak_random_bytes(a, sizeof a);
    ak_random_bytes(b, sizeof b);
    CHECK(memcmp(a, b, sizeof a) != 0);
    CHECK(memcmp(a + 256, b + 256, 44) != 0);
    ak_random_bytes(NULL, 0);
}

TEST(hash, sha256_in_parts_is_sha256_of_the_whole)
{
    uint8_t bytes[1000];
    uint8_t whole[32];
    uint8_t parts[32];
    struct ak_sha256 hash;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 7 + (i >> 5));
    }
    for (size_t len = 0; len <= sizeof bytes; len += 37) {
        ak_sha256(bytes, len, whole);
        ak_sha256_init(&hash);
        for (size_t at = 0, step = 0; at < len; at += step) {
            step = at % 71 < len - at ? at % 71 : len - at;
            step = step ? step : 1;
            ak_sha256_update(&hash, bytes + at, step);
        }
        ak_sha256_final(&hash, parts);
        CHECK(memcmp(whole, parts, sizeof whole) == 0);
    }
}

TEST(hash, sha256_that_is_given_up_is_released)
{
    struct ak_sha256 hash;
    ak_sha256_init(&hash);
    ak_sha256_update(&hash, "abc", 3);
    ak_sha256_release(&hash);
    CHECK(hash.state == NULL);
    ak_sha256_release(&hash);
    CHECK(hash.state == NULL);
}

TEST_MAIN()
