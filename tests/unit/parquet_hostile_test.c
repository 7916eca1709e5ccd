/* parquet_hostile_test.c — damage is found and named, lies are refused, and neither takes memory.
 */
#include "base/fault.h"
#include "base/rand.h"
#include "support/parquet_files.h"

/* Open and verify; the code, and its text in *err. */
static enum ak_rc try_bytes(struct ak_str bytes, const struct ak_parquet_read_options *options,
                            struct ak_err *err)
{
    struct ak_parquet_reader *reader = NULL;
    struct ak_parquet_report report;
    struct ak_parquet_source source = ak_parquet_source_memory(&bytes, "object");
    err->text[0] = '\0';
    enum ak_rc rc = ak_parquet_open(&source, options, &reader, err);
    if (rc == AK_OK) {
        rc = ak_parquet_verify(reader, &report, err);
    }
    ak_parquet_close(reader);
    CHECK(rc == AK_OK || strncmp(err->text, "object: ", 8) == 0);
    return rc;
}

static bool is_refusal(enum ak_rc rc)
{
    return rc == AK_CORRUPT || rc == AK_UNSUPPORTED || rc == AK_TOO_BIG;
}

TEST(parquet, every_flipped_bit_of_a_page_is_found_and_placed)
{
    static const char *const files[] = {"plain", "split_zstd", "pages_v2"};
    for (size_t f = 0; f < sizeof files / sizeof files[0]; f++) {
        struct ak_err err;
        struct ak_buf bytes = parquet_corpus(files[f]);
        struct ak_parquet_reader *reader = NULL;
        struct ak_str view = ak_buf_str(&bytes);
        struct ak_parquet_source source = ak_parquet_source_memory(&view, "object");
        struct ak_arena arena;
        ak_arena_init(&arena, 0);
        CHECK_OK(ak_parquet_open(&source, NULL, &reader, &err));
        for (size_t leaf = 0; leaf < 3; leaf++) {
            struct ak_parquet_pages pages;
            CHECK_OK(ak_parquet_read_pages(reader, 0, leaf, &arena, &pages, &err));
            const struct ak_parquet_page *page = &pages.pages[pages.count - 1];
            char place[128]; /* pages that do not add up to the chunk are no single page's fault */
            (void)snprintf(place, sizeof place, "row group 0, column '%.*s'",
                           AK_STR_ARG(ak_parquet_describe(reader)->leaves[leaf].path));
            for (size_t bit = 0; bit < (size_t)page->len * 8; bit++) {
                bytes.p[page->at + bit / 8] ^= (char)(1u << bit % 8);
                enum ak_rc rc =
                    try_bytes(view, &(struct ak_parquet_read_options){.require_crc = 1}, &err);
                bytes.p[page->at + bit / 8] ^= (char)(1u << bit % 8);
                if (rc == AK_OK) { /* only what the format lets a reader ignore: statistics */
                    CHECK(bit / 8 < page->len && bit / 8 < 120);
                } else {
                    CHECK(is_refusal(rc) && strstr(err.text, place));
                }
            }
        }
        CHECK_OK(try_bytes(view, NULL, &err));
        ak_parquet_close(reader);
        ak_arena_release(&arena);
        ak_buf_release(&bytes);
    }
}

/* The stored bytes of a page end with it: here a flip is never let pass. */
TEST(parquet, no_flipped_bit_of_values_passes)
{
    struct ak_err err;
    struct ak_buf bytes = parquet_corpus("plain");
    struct ak_str view = ak_buf_str(&bytes);
    struct ak_parquet_reader *reader = NULL;
    struct ak_parquet_source source = ak_parquet_source_memory(&view, "object");
    CHECK_OK(ak_parquet_open(&source, NULL, &reader, &err));
    const struct ak_parquet_chunk *chunk = &ak_parquet_describe(reader)->groups[0].chunks[2];
    size_t end = (size_t)(chunk->at + chunk->compressed);
    for (size_t at = end - CORPUS_ROWS * CORPUS_DIM * 4; at < end; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes.p[at] ^= (char)(1u << bit);
            CHECK_RC(AK_CORRUPT, try_bytes(view, NULL, &err));
            CHECK(strstr(err.text, "row group 0, column 'vector.list.element', page 0 at byte") &&
                  strstr(err.text, "checksum"));
            float all[CORPUS_ROWS * CORPUS_DIM];
            CHECK_RC(AK_CORRUPT,
                     ak_parquet_read_vectors(reader, 0, 2, 0, CORPUS_ROWS, CORPUS_DIM, all, &err));
            bytes.p[at] ^= (char)(1u << bit);
        }
    }
    ak_parquet_close(reader);
    ak_buf_release(&bytes);
}

TEST(parquet, a_file_cut_anywhere_is_refused)
{
    static const char *const files[] = {"plain", "split_zstd", "nested", "empty"};
    for (size_t f = 0; f < sizeof files / sizeof files[0]; f++) {
        struct ak_err err;
        struct ak_buf bytes = parquet_corpus(files[f]);
        for (size_t len = 0; len < bytes.len; len++) {
            char *cut = ak_alloc(len);
            memcpy(cut, bytes.p, len);
            CHECK_RC(AK_CORRUPT, try_bytes((struct ak_str){cut, len}, NULL, &err));
            ak_free(cut);
        }
        ak_buf_release(&bytes);
    }
}

TEST(parquet, ten_thousand_mutations_are_read_or_refused)
{
    static const char *const files[] = {"plain",     "split_zstd", "small_pages", "pages_v2",
                                        "no_index",  "groups",     "dictionary",  "deltas_v1",
                                        "deltas_v2", "nested",     "meanings",    "empty"};
    const size_t count = sizeof files / sizeof files[0];
    struct ak_rand rand;
    struct ak_err err;
    unsigned refused = 0;
    ak_rand_seed(&rand, 20261124); /* the same ten thousand every time */
    for (size_t f = 0; f < count; f++) {
        struct ak_buf bytes = parquet_corpus(files[f]);
        char *hurt = ak_alloc(bytes.len); /* exactly as long: a sanitizer sees a step too far */
        for (size_t round = 0; round < 10000 / count + 1; round++) {
            memcpy(hurt, bytes.p, bytes.len);
            for (uint64_t i = ak_rand_below(&rand, 4) + 1; i > 0; i--) {
                /* Mostly the tail: that is where lies about everything else are told. */
                size_t span = ak_rand_below(&rand, 3) > 0 && bytes.len > 600 ? 600 : bytes.len;
                size_t at = bytes.len - 1 - (size_t)ak_rand_below(&rand, span);
                uint64_t how = ak_rand_below(&rand, 3);
                unsigned old = (unsigned char)hurt[at];
                unsigned new = how == 0   ? old ^ 1u << ak_rand_below(&rand, 8)
                               : how == 1 ? (unsigned)ak_rand_u64(&rand) & 255u
                                          : 255u;
                hurt[at] = (char)new;
            }
            const struct ak_parquet_read_options options = {.memory_max = (size_t)4 << 20,
                                                            .ignore_crc = round % 2 == 0};
            enum ak_rc rc = try_bytes((struct ak_str){hurt, bytes.len}, &options, &err);
            CHECK(rc == AK_OK || is_refusal(rc));
            refused += rc != AK_OK;
        }
        ak_free(hurt);
        ak_buf_release(&bytes);
    }
    CHECK(refused > 5000);
}

/* --- Bombs --- */

static size_t put_varint(uint8_t *to, uint64_t v)
{
    size_t n = 0;
    for (; v >= 128; v >>= 7) {
        to[n++] = (uint8_t)(v | 128);
    }
    to[n++] = (uint8_t)v;
    return n;
}

static void add_varint(struct ak_buf *out, uint64_t v)
{
    uint8_t bytes[10];
    ak_buf_add(out, bytes, put_varint(bytes, v));
}

static void add_field(struct ak_buf *out, unsigned delta, unsigned wire, uint64_t zigzagged)
{
    ak_buf_add_char(out, (char)(delta << 4 | wire));
    add_varint(out, zigzagged);
}

/* One row group, one optional INT32 column of `rows` rows in one uncompressed page whose dictionary
 * indices take no bits: a few bytes that stand for any number of values. */
static void bomb(struct ak_buf *out, uint64_t rows)
{
    ak_buf_init(out, 0);
    struct ak_buf page;
    ak_buf_init(&page, 0);
    uint8_t run[10];
    size_t run_len = put_varint(run, rows << 1);
    ak_buf_add_str(out, AK_STR("PAR1"));
    static const char dictionary[] = {0x15, 4, 0x15, 8, 0x15, 8, 0x4c, 0x15, 2,
                                      0x15, 0, 0,    0, 42,   0, 0,    0};
    ak_buf_add(out, dictionary, sizeof dictionary);
    uint64_t data_at = out->len;
    uint32_t levels = (uint32_t)run_len + 1;
    ak_buf_add(&page, &levels, 4);
    ak_buf_add(&page, run, run_len);
    ak_buf_add_char(&page, 1);
    ak_buf_add_char(&page, 0); /* width */
    ak_buf_add(&page, run, run_len);
    add_field(out, 1, 5, 0);
    add_field(out, 1, 5, page.len * 2);
    add_field(out, 1, 5, page.len * 2);
    ak_buf_add_char(out, 0x2c);
    add_field(out, 1, 5, rows * 2);
    add_field(out, 1, 5, 8 * 2);
    add_field(out, 1, 5, 3 * 2);
    add_field(out, 1, 5, 3 * 2);
    ak_buf_add(out, "\0\0", 2);
    ak_buf_add(out, page.p, page.len);
    uint64_t footer = out->len;
    static const char head[] = {0x15, 2, 0x19, 0x2c, 0x48, 0, 0x15, 2, 0,
                                0x15, 2, 0x25, 2,    0x18, 1, 'x',  0};
    ak_buf_add(out, head, sizeof head);
    add_field(out, 1, 6, rows * 2);
    ak_buf_add_str(out, AK_STR("\x19\x1c\x19\x1c"));
    add_field(out, 2, 6, 0); /* file_offset */
    ak_buf_add_char(out, 0x1c);
    add_field(out, 1, 5, 2); /* INT32 */
    ak_buf_add(out, "\x19\x15\x10", 3);
    ak_buf_add(out, "\x19\x18\x01x", 4);
    add_field(out, 1, 5, 0); /* no codec */
    add_field(out, 1, 6, rows * 2);
    add_field(out, 1, 6, (footer - 4) * 2);
    add_field(out, 1, 6, (footer - 4) * 2);
    add_field(out, 2, 6, data_at * 2);
    add_field(out, 2, 6, 4 * 2);
    ak_buf_add(out, "\0\0", 2);
    add_field(out, 1, 6, 100);
    add_field(out, 1, 6, rows * 2);
    ak_buf_add(out, "\0\0", 2);
    uint32_t footer_len = (uint32_t)(out->len - footer);
    ak_buf_add(out, &footer_len, 4);
    ak_buf_add_str(out, AK_STR("PAR1"));
    ak_buf_release(&page);
}

TEST(parquet, a_few_bytes_that_stand_for_very_many_values_meet_the_budget)
{
    struct ak_err err;
    struct ak_buf bytes;
    bomb(&bytes, 1000);
    CHECK_OK(try_bytes(ak_buf_str(&bytes), NULL, &err));
    ak_buf_release(&bytes);
    bomb(&bytes, 1000000000);
    CHECK(bytes.len < 250);
    CHECK_RC(AK_TOO_BIG, try_bytes(ak_buf_str(&bytes), NULL, &err));
    CHECK(strstr(err.text, "memory_max") && strstr(err.text, "page 0"));
    ak_buf_release(&bytes);
    bomb(&bytes, 1000000); /* the same within a budget that has room, and in one without */
    CHECK_OK(try_bytes(ak_buf_str(&bytes), NULL, &err));
    CHECK_RC(AK_TOO_BIG,
             try_bytes(ak_buf_str(&bytes),
                       &(struct ak_parquet_read_options){.memory_max = (size_t)4 << 20}, &err));
    ak_buf_release(&bytes);
}

TEST(parquet, forged_counts_in_the_metadata_take_no_memory)
{
    struct ak_err err;
    struct ak_buf bytes;
    ak_buf_init(&bytes, 0);
    ak_buf_add_str(&bytes, AK_STR("PAR1"));
    size_t at = bytes.len;
    ak_buf_add(&bytes, "\x15\x02\x19\xfc\xff\xff\xff\xff\x0f", 9); /* 4 billion schema elements */
    uint32_t len = (uint32_t)(bytes.len - at);
    ak_buf_add(&bytes, &len, 4);
    ak_buf_add_str(&bytes, AK_STR("PAR1"));
    CHECK_RC(AK_CORRUPT, try_bytes(ak_buf_str(&bytes), NULL, &err));
    CHECK(strstr(err.text, "a list of 4294967295 elements in 0 bytes"));
    ak_buf_release(&bytes);
}

TEST(parquet, pages_without_checksum_are_damage_when_checksums_are_required)
{
    struct ak_err err;
    struct ak_buf bytes = parquet_corpus("no_checksum");
    CHECK_OK(try_bytes(ak_buf_str(&bytes), NULL, &err));
    CHECK_RC(AK_CORRUPT, try_bytes(ak_buf_str(&bytes),
                                   &(struct ak_parquet_read_options){.require_crc = true}, &err));
    CHECK(strstr(err.text, "has no checksum"));
    ak_buf_release(&bytes);
}

/* --- What fails around it --- */

TEST(parquet, any_allocation_may_fail)
{
    static const char *const files[] = {"split_zstd", "deltas_v2", "nested", "pages_v2"};
    for (size_t f = 0; f < sizeof files / sizeof files[0]; f++) {
        struct ak_err err;
        struct ak_buf bytes = parquet_corpus(files[f]);
        bool fired = true;
        for (int64_t n = 0; fired; n++) {
            struct counting c;
            struct ak_parquet_source source = counting_source(&c, &bytes);
            struct ak_parquet_reader *reader = NULL;
            struct ak_parquet_report report;
            ak_fault_alloc_at(n);
            enum ak_rc rc = ak_parquet_open(&source, NULL, &reader, &err);
            if (rc == AK_OK) {
                rc = ak_parquet_verify(reader, &report, &err);
            }
            fired = ak_fault_alloc_fired();
            ak_fault_alloc_at(-1);
            CHECK(rc == AK_OK || (fired && rc == AK_NOMEM));
            if (reader) {
                CHECK_OK(ak_parquet_verify(reader, &report, &err));
            }
            ak_parquet_close(reader);
        }
        ak_buf_release(&bytes);
    }
}

TEST(parquet, any_read_may_fail_and_its_code_is_kept)
{
    struct ak_err err;
    struct ak_buf bytes = parquet_corpus("small_pages");
    enum ak_rc rc = AK_UNAVAILABLE;
    for (int64_t n = 0; rc != AK_OK; n++) {
        struct counting c;
        struct ak_parquet_source source = counting_source(&c, &bytes);
        struct ak_parquet_reader *reader = NULL;
        struct ak_parquet_report report;
        struct ak_parquet_read_options options = {.tail_bytes = 64, .read_ahead = 200};
        c.fail_at = n;
        rc = ak_parquet_open(&source, &options, &reader, &err);
        if (rc == AK_OK) {
            rc = ak_parquet_verify(reader, &report, &err);
        }
        CHECK(rc == AK_OK || (rc == AK_UNAVAILABLE && strstr(err.text, "the store is away")));
        CHECK(n < 1000);
        ak_parquet_close(reader);
    }
    ak_buf_release(&bytes);
}

/* --- Files of apache/parquet-testing --- */

static enum ak_rc try_shared(const char *name, struct ak_err *err)
{
    char path[256];
    (void)snprintf(path, sizeof path, "data/parquet-testing/%s.parquet", name);
    struct ak_buf bytes = parquet_bytes(ak_test_shared(path));
    enum ak_rc rc = try_bytes(ak_buf_str(&bytes), NULL, err);
    ak_buf_release(&bytes);
    return rc;
}

TEST(parquet, what_others_must_read_is_read)
{
    static const char *const names[] = {
        "bad_data/ARROW-GH-43605",
        "data/alltypes_dictionary",
        "data/alltypes_plain",
        "data/binary",
        "data/binary_truncated_min_max",
        "data/byte_stream_split.zstd",
        "data/byte_stream_split_extended.gzip",
        "data/column_chunk_key_value_metadata",
        "data/datapage_v1-snappy-compressed-checksum",
        "data/datapage_v1-uncompressed-checksum",
        "data/datapage_v2.snappy",
        "data/delta_binary_packed",
        "data/delta_byte_array",
        "data/delta_encoding_optional_column",
        "data/delta_length_byte_array",
        "data/dict-page-offset-zero",
        "data/fixed_length_byte_array",
        "data/float16_nonzeros_and_nans",
        "data/floating_orders_nan_count",
        "data/int96_from_spark",
        "data/list_columns",
        "data/lz4_raw_compressed",
        "data/nation.dict-malformed",
        "data/nested_lists.snappy",
        "data/null_list",
        "data/nulls.snappy",
        "data/page_v2_empty_compressed",
        "data/plain-dict-uncompressed-checksum",
        "data/rle-dict-snappy-checksum",
        "data/rle_boolean_encoding",
        "data/single_nan",
        "data/sort_columns",
        "data/unknown-logical-type",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct ak_err err;
        CHECK_OK(try_shared(names[i], &err));
    }
}

TEST(parquet, what_others_must_reject_is_rejected_with_its_reason)
{
    static const struct {
        const char *name;
        enum ak_rc rc;
        const char *text;
    } cases[] = {
        {"bad_data/PARQUET-1481", AK_UNSUPPORTED, "unknown physical type -7"},
        {"bad_data/ARROW-RS-GH-6229-DICTHEADER", AK_CORRUPT, "322 bytes at 129"},
        {"bad_data/ARROW-GH-41317", AK_CORRUPT, "at byte 49314"},
        {"bad_data/ARROW-GH-45185", AK_CORRUPT, "page 0 at byte 4: the page does not begin"},
        {"data/datapage_v1-corrupt-checksum", AK_CORRUPT, "page 0 at byte 4: the checksum"},
        {"data/large_string_map.brotli", AK_UNSUPPORTED, "brotli"},
        {"data/hadoop_lz4_compressed", AK_UNSUPPORTED, "Hadoop"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ak_err err;
        CHECK_RC(cases[i].rc, try_shared(cases[i].name, &err));
        CHECK(strstr(err.text, cases[i].text));
    }
}

TEST_MAIN()
