/* codec_test.c — what goes in comes out, and nothing else does. */
#include "base/fault.h"
#include "base/mem.h"
#include "base/rand.h"
#include "codec/codec.h"
#include "support/test.h"

#define LEN_MAX 300000

enum shape { ZEROS, TEXT, NOISE, SHAPES };

static char *make(enum shape shape, size_t len)
{
    char *p = ak_alloc(len + 1);
    uint64_t state = 7;
    for (size_t i = 0; i < len; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        p[i] = shape == ZEROS  ? 0
               : shape == TEXT ? "abcabcabd \n"[i * i % 11]
                               : (char)(state >> 56);
    }
    return p;
}

/* Compressed bytes in memory of exactly their length, so that a sanitizer sees a step too far. */
static struct ak_str pack(struct ak_codec_context *context, enum ak_codec codec, int level,
                          struct ak_str from)
{
    struct ak_err err;
    size_t cap = ak_codec_bound(codec, from.len);
    char *room = ak_alloc(cap);
    size_t len = 0;
    CHECK_OK(ak_codec_compress(context, codec, level, from, room, cap, &len, &err));
    CHECK(len <= cap);
    char *exact = ak_alloc(len);
    memcpy(exact, room, len);
    ak_free(room);
    return (struct ak_str){exact, len};
}

static void drop(struct ak_str s)
{
    ak_free((void *)(uintptr_t)s.p);
}

/* Unpack to `len` bytes in memory of exactly that length. */
static enum ak_rc unpack(struct ak_codec_context *context, enum ak_codec codec, struct ak_str from,
                         size_t len, const char *want)
{
    struct ak_err err = {.rc = AK_OK};
    char *to = ak_alloc(len);
    enum ak_rc rc = ak_codec_decompress(context, codec, from, to, len, &err);
    if (rc == AK_OK && want) {
        CHECK(memcmp(to, want, len) == 0);
    }
    CHECK(rc == AK_OK || (err.rc == rc && err.text[0] != '\0'));
    ak_free(to);
    return rc;
}

TEST(codec, names_are_found_again)
{
    for (unsigned i = 0; i < AK_CODEC_COUNT; i++) {
        enum ak_codec codec = AK_CODEC_NONE;
        CHECK(ak_codec_parse(ak_str_of(ak_codec_name((enum ak_codec)i)), &codec) && codec == i);
    }
    enum ak_codec codec = AK_CODEC_GZIP;
    CHECK(!ak_codec_parse(AK_STR("brotli"), &codec) && codec == AK_CODEC_GZIP);
}

TEST(codec, what_goes_in_comes_out)
{
    static const size_t lens[] = {0, 1, 2, 15, 16, 100, 65535, 65536, 131073, LEN_MAX};
    struct ak_codec_context *context = ak_codec_open();
    for (unsigned codec = 0; codec < AK_CODEC_COUNT; codec++) {
        for (unsigned shape = 0; shape < SHAPES; shape++) {
            for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
                char *raw = make((enum shape)shape, lens[i]);
                struct ak_str packed = pack(context, (enum ak_codec)codec, 0,
                                            (struct ak_str){lens[i] ? raw : NULL, lens[i]});
                CHECK_INT(unpack(context, (enum ak_codec)codec, packed, lens[i], raw), AK_OK);
                if (shape == ZEROS && lens[i] == LEN_MAX && codec != AK_CODEC_NONE) {
                    CHECK(packed.len < lens[i] / 15);
                }
                drop(packed);
                ak_free(raw);
            }
        }
    }
    ak_codec_close(context);
}

TEST(codec, levels_work_and_wrong_ones_are_refused)
{
    struct ak_err err;
    struct ak_codec_context *context = ak_codec_open();
    char *raw = make(TEXT, LEN_MAX);
    struct ak_str from = {raw, LEN_MAX};
    static const struct {
        enum ak_codec codec;
        int level;
    } fine[] = {{AK_CODEC_ZSTD, -5},
                {AK_CODEC_ZSTD, 9},
                {AK_CODEC_ZSTD, AK_CODEC_LEVEL_ENTROPY},
                {AK_CODEC_GZIP, 1},
                {AK_CODEC_GZIP, 9}};
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++) {
        struct ak_str packed = pack(context, fine[i].codec, fine[i].level, from);
        CHECK_INT(unpack(context, fine[i].codec, packed, LEN_MAX, raw), AK_OK);
        drop(packed);
    }
    size_t cap = ak_codec_bound(AK_CODEC_ZSTD, LEN_MAX);
    char *room = ak_alloc(cap);
    size_t len = 77;
    CHECK_RC(AK_INVALID,
             ak_codec_compress(context, AK_CODEC_ZSTD, 23, from, room, cap, &len, &err));
    cap = ak_codec_bound(AK_CODEC_GZIP, LEN_MAX);
    CHECK_RC(AK_INVALID, ak_codec_compress(context, AK_CODEC_GZIP, 10, from, room,
                                           ak_codec_bound(AK_CODEC_GZIP, LEN_MAX), &len, &err));
    CHECK_INT(len, 77);
    ak_free(room);
    ak_free(raw);
    ak_codec_close(context);
}

TEST(codec, every_truncation_is_found)
{
    struct ak_codec_context *context = ak_codec_open();
    for (unsigned codec = 0; codec < AK_CODEC_COUNT; codec++) {
        for (unsigned shape = 0; shape < SHAPES; shape++) {
            char *raw = make((enum shape)shape, 1500);
            struct ak_str packed =
                pack(context, (enum ak_codec)codec, 0, (struct ak_str){raw, 1500});
            for (size_t len = 0; len < packed.len; len++) {
                char *cut = ak_alloc(len);
                memcpy(cut, packed.p, len);
                CHECK_INT(
                    unpack(context, (enum ak_codec)codec, (struct ak_str){cut, len}, 1500, raw),
                    AK_CORRUPT);
                ak_free(cut);
            }
            drop(packed);
            ak_free(raw);
        }
    }
    ak_codec_close(context);
}

TEST(codec, another_size_than_the_bytes_give_is_refused)
{
    struct ak_codec_context *context = ak_codec_open();
    for (unsigned codec = 0; codec < AK_CODEC_COUNT; codec++) {
        static const size_t wrong[] = {0, 1, 999, 1001, 2000, 100000};
        char *raw = make(TEXT, 1000);
        struct ak_str packed = pack(context, (enum ak_codec)codec, 0, (struct ak_str){raw, 1000});
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
            CHECK_INT(unpack(context, (enum ak_codec)codec, packed, wrong[i], NULL), AK_CORRUPT);
        }
        drop(packed);
        ak_free(raw);
    }
    ak_codec_close(context);
}

TEST(codec, a_bomb_is_refused_before_it_is_unpacked)
{
    struct ak_codec_context *context = ak_codec_open();
    const size_t big = (size_t)64 << 20;
    char *raw = ak_zalloc(big);
    for (unsigned codec = AK_CODEC_SNAPPY; codec < AK_CODEC_COUNT; codec++) {
        struct ak_err err;
        struct ak_str packed = pack(context, (enum ak_codec)codec, 0, (struct ak_str){raw, big});
        char guarded[512];
        memset(guarded, 0x5a, sizeof guarded);
        CHECK_RC(AK_CORRUPT,
                 ak_codec_decompress(context, (enum ak_codec)codec, packed, guarded, 256, &err));
        for (size_t i = 256; i < sizeof guarded; i++) {
            CHECK_INT(guarded[i], 0x5a);
        }
        drop(packed);
    }
    ak_free(raw);
    ak_codec_close(context);
}

TEST(codec, gzip_members_in_a_row_are_one)
{
    struct ak_codec_context *context = ak_codec_open();
    char *raw = make(TEXT, 3000);
    struct ak_buf all;
    ak_buf_init(&all, 0);
    static const size_t cuts[] = {0, 1000, 1000, 2999, 3000}; /* one member is empty */
    size_t ends[4];
    for (size_t i = 0; i + 1 < sizeof cuts / sizeof cuts[0]; i++) {
        struct ak_str part =
            pack(context, AK_CODEC_GZIP, 0, (struct ak_str){raw + cuts[i], cuts[i + 1] - cuts[i]});
        ak_buf_add_str(&all, part);
        ends[i] = all.len;
        drop(part);
    }
    CHECK_INT(unpack(context, AK_CODEC_GZIP, ak_buf_str(&all), 3000, raw), AK_OK);
    for (size_t len = 0; len < all.len; len++) {
        CHECK_INT(unpack(context, AK_CODEC_GZIP, (struct ak_str){all.p, len}, 3000, raw),
                  AK_CORRUPT);
    }
    CHECK_INT(unpack(context, AK_CODEC_GZIP, (struct ak_str){all.p, ends[0]}, 1000, raw), AK_OK);
    CHECK_INT(unpack(context, AK_CODEC_GZIP, ak_buf_str(&all), 2999, raw), AK_CORRUPT);
    ak_buf_add_str(&all, AK_STR("junk behind"));
    CHECK_INT(unpack(context, AK_CODEC_GZIP, ak_buf_str(&all), 3000, raw), AK_CORRUPT);
    ak_buf_release(&all);
    ak_free(raw);
    ak_codec_close(context);
}

TEST(codec, damage_never_writes_outside_or_crashes)
{
    struct ak_codec_context *context = ak_codec_open();
    struct ak_rand rand;
    ak_rand_seed(&rand, ak_test_seed());
    for (unsigned codec = AK_CODEC_SNAPPY; codec < AK_CODEC_COUNT; codec++) {
        char *raw = make(TEXT, 4000);
        struct ak_str packed = pack(context, (enum ak_codec)codec, 0, (struct ak_str){raw, 4000});
        char *hurt = ak_alloc(packed.len);
        unsigned refused = 0;
        for (int round = 0; round < 2000; round++) {
            memcpy(hurt, packed.p, packed.len);
            for (int i = 0; i <= round % 3; i++) {
                hurt[ak_rand_u64(&rand) % packed.len] ^= (char)(1u << (ak_rand_u64(&rand) % 8));
            }
            refused += unpack(context, (enum ak_codec)codec, (struct ak_str){hurt, packed.len},
                              4000, NULL) != AK_OK;
        }
        CHECK(refused > 100); /* the block formats notice some of it, those with checksums most */
        ak_free(hurt);
        drop(packed);
        ak_free(raw);
    }
    ak_codec_close(context);
}

TEST(codec, without_memory_it_says_so_and_works_afterwards)
{
    struct ak_err err;
    char raw[1000] = "abc";
    char back[1000];
    for (unsigned codec = 0; codec < AK_CODEC_COUNT; codec++) {
        bool fired = true;
        for (int64_t n = 0; fired; n++) {
            struct ak_codec_context *context = ak_codec_open();
            size_t cap = ak_codec_bound((enum ak_codec)codec, sizeof raw);
            char *room = ak_alloc(cap);
            size_t len = 0;
            struct ak_str from = {raw, sizeof raw};
            ak_fault_alloc_at(n);
            enum ak_rc rc =
                ak_codec_compress(context, (enum ak_codec)codec, 0, from, room, cap, &len, &err);
            if (rc == AK_OK) {
                rc = ak_codec_decompress(context, (enum ak_codec)codec, (struct ak_str){room, len},
                                         back, sizeof back, &err);
            }
            fired = ak_fault_alloc_fired();
            ak_fault_alloc_at(-1);
            CHECK_INT(rc, fired ? AK_NOMEM : AK_OK);
            CHECK_OK(
                ak_codec_compress(context, (enum ak_codec)codec, 0, from, room, cap, &len, &err));
            CHECK_OK(ak_codec_decompress(context, (enum ak_codec)codec, (struct ak_str){room, len},
                                         back, sizeof back, &err));
            CHECK(memcmp(raw, back, sizeof raw) == 0);
            ak_free(room);
            ak_codec_close(context);
        }
    }
}

TEST_MAIN()
