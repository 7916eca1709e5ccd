/* The metadata object: written, read, and refused with the field's name. */
#include "base/json.h"
#include "unit/snapshot_world.h"

static struct ak_arena arena;

#define IDS                                                                                        \
    "\"snapshot_id\":\"01980000-0000-7000-8000-000000000001\","                                    \
    "\"collection_id\":\"01980000-0000-7000-8000-00000000004d\""
#define OLD                                                                                        \
    IDS ",\"vector_count\":3,\"dimension\":4,\"created_at\":\"2025-11-02T10:00:00Z\",\"size_"      \
        "bytes\":900"
#define KEY "snapshots/01980000-0000-7000-8000-00000000004d/01980000-0000-7000-8000-000000000001"

static struct ak_snapshot_meta sample(void)
{
    struct ak_snapshot_meta meta = {.id = id_of(1), .vector_count = 12, .lsn = UINT64_MAX};
    meta.collection =
        (struct ak_collection_info){.id = id_of(77),
                                    .name = AK_STR("a \"b\""),
                                    .dimension = 4,
                                    .metric = AK_METRIC_L2,
                                    .embedding_model = AK_STR("m"),
                                    .index = {8, 99, 33, AK_QUANTIZATION_U8, AK_VECTORS_DISK}};
    meta.created_us = AT_US;
    meta.size_bytes = 1234 + 4321;
    meta.compression = AK_CODEC_LZ4;
    meta.encoding = AK_SNAPSHOT_Q8;
    meta.max_error = 0.00123;
    meta.has_image = true;
    meta.data = (struct ak_snapshot_object){AK_STR(KEY ".parquet"), 1234, {1, 2, 3, 0xff}};
    meta.image = (struct ak_snapshot_object){AK_STR(KEY ".akx"), 4321, {0xab, 9}};
    meta.akidb_version = AK_STR("9.9");
    return meta;
}

static enum ak_rc read_text(const char *text, struct ak_snapshot_meta *meta)
{
    ak_arena_release(&arena);
    ak_arena_init(&arena, 0);
    return ak_snapshot_meta_read(ak_str_of(text), &arena, meta, &err);
}

static void check_equal(const struct ak_snapshot_meta *a, const struct ak_snapshot_meta *b)
{
    CHECK(ak_uuid_eq(&a->id, &b->id) && ak_uuid_eq(&a->collection.id, &b->collection.id));
    CHECK(ak_str_eq(a->collection.name, b->collection.name));
    CHECK(ak_str_eq(a->collection.embedding_model, b->collection.embedding_model));
    CHECK(ak_str_eq(a->akidb_version, b->akidb_version));
    CHECK_INT(a->collection.dimension, b->collection.dimension);
    CHECK_INT(a->collection.metric, b->collection.metric);
    CHECK_INT(a->collection.index.m, b->collection.index.m);
    CHECK_INT(a->collection.index.ef_construction, b->collection.index.ef_construction);
    CHECK_INT(a->collection.index.ef_search, b->collection.index.ef_search);
    CHECK_INT(a->collection.index.vectors, b->collection.index.vectors);
    CHECK_INT(a->vector_count, b->vector_count);
    CHECK(a->lsn == b->lsn && a->max_error == b->max_error);
    CHECK_INT(a->created_us, b->created_us);
    CHECK_INT(a->size_bytes, b->size_bytes);
    CHECK_INT(a->format, b->format);
    CHECK_INT(a->compression, b->compression);
    CHECK_INT(a->encoding, b->encoding);
    CHECK(a->lossless == b->lossless && a->has_image == b->has_image);
    CHECK(ak_str_eq(a->data.key, b->data.key) && ak_str_eq(a->image.key, b->image.key));
    CHECK(a->data.bytes == b->data.bytes && a->image.bytes == b->image.bytes);
    CHECK(memcmp(a->data.sha256, b->data.sha256, 32) == 0);
    CHECK(memcmp(a->image.sha256, b->image.sha256, 32) == 0);
}

TEST(snapshot, metadata_reads_back_as_it_was_written)
{
    struct ak_snapshot_meta meta = sample();
    struct ak_snapshot_meta back;
    struct ak_buf json;
    ak_buf_init(&json, 0);
    CHECK_OK(ak_snapshot_meta_write(&meta, &json, &err));
    CHECK_OK(read_text(ak_buf_cstr(&json), &back));
    check_equal(&meta, &back);
    ak_buf_clear(&json);
    meta.format = AK_SNAPSHOT_JSON;
    meta.encoding = AK_SNAPSHOT_LOSSLESS;
    meta.compression = AK_CODEC_NONE;
    meta.lossless = true;
    meta.max_error = 0;
    meta.has_image = false;
    meta.image = (struct ak_snapshot_object){.bytes = 0};
    meta.data.key = AK_STR(KEY ".json");
    meta.size_bytes = 1234;
    CHECK_OK(ak_snapshot_meta_write(&meta, &json, &err));
    CHECK_OK(read_text(ak_buf_cstr(&json), &back));
    check_equal(&meta, &back);
    ak_buf_release(&json);
}

TEST(snapshot, metadata_without_format_is_of_a_json_snapshot)
{
    struct ak_snapshot_meta meta;
    CHECK_OK(read_text("{" OLD "}", &meta));
    CHECK_INT(meta.format, AK_SNAPSHOT_JSON);
    CHECK(meta.lossless && !meta.has_image);
    CHECK(ak_str_eq(meta.data.key, AK_STR(KEY ".json")));
    CHECK_INT(meta.data.bytes, 900);
    CHECK_INT(meta.vector_count, 3);
    CHECK_INT(meta.collection.index.m, 16);
    CHECK_OK(read_text("{" OLD ",\"format\":\"parquet\",\"compression\":\"snappy\"}", &meta));
    CHECK(ak_str_eq(meta.data.key, AK_STR(KEY ".parquet")));
    CHECK_INT(meta.compression, AK_CODEC_SNAPPY);
}

TEST(snapshot, unknown_fields_of_metadata_are_skipped)
{
    struct ak_snapshot_meta meta;
    CHECK_OK(
        read_text("{\"tags\":[1,{\"a\":[]}]," OLD ",\"index\":{\"m\":32,\"layers\":3}}", &meta));
    CHECK_INT(meta.collection.index.m, 32);
}

TEST(snapshot, a_newer_format_version_is_told_from_damage)
{
    struct ak_snapshot_meta meta;
    CHECK_RC(AK_UNSUPPORTED, read_text("{\"format_version\":2," OLD "}", &meta));
    CHECK(strstr(err.text, "format_version 2") != NULL);
}

TEST(snapshot, wrong_metadata_is_corrupt_and_names_the_field)
{
    static const struct {
        const char *text;
        const char *field;
    } cases[] = {
        {"", "at byte 0"},
        {"[]", "object"},
        {"{" OLD "", "at byte"},
        {"{" OLD "}x", "at byte"},
        {"{}", "snapshot_id"},
        {"{\"snapshot_id\":\"01980000-0000-7000-8000-000000000001\"}", "collection_id"},
        {"{" IDS ",\"dimension\":4,\"created_at\":\"2025-11-02T10:00:00Z\",\"size_bytes\":9}",
         "vector_count"},
        {"{" IDS ",\"vector_count\":3,\"dimension\":4,\"size_bytes\":9}", "created_at"},
        {"{" IDS ",\"vector_count\":3,\"dimension\":4,\"created_at\":\"2025-11-02T10:00:00Z\"}",
         "size_bytes"},
        {"{\"snapshot_id\":\"zz\"}", "snapshot_id"},
        {"{\"snapshot_id\":7}", "snapshot_id"},
        {"{" OLD ",\"dimension\":5}", "dimension"}, /* twice */
        {"{\"dimension\":0}", "dimension"},
        {"{\"dimension\":65536}", "dimension"},
        {"{\"vector_count\":-1}", "vector_count"},
        {"{\"vector_count\":0}", "vector_count"},
        {"{\"vector_count\":99999999999}", "vector_count"},
        {"{\"created_at\":\"yesterday\"}", "created_at"},
        {"{\"metric\":\"hamming\"}", "metric"},
        {"{\"format\":\"csv\"}", "format"},
        {"{\"compression\":\"brotli\"}", "compression"},
        {"{\"encoding\":\"q4\"}", "encoding"},
        {"{\"max_error\":-1}", "max_error"},
        {"{\"lossless\":1}", "lossless"},
        {"{\"index\":{\"m\":1}}", "m"},
        {"{" OLD ",\"lossless\":false}", "lossless"},
        {"{" OLD ",\"encoding\":\"q8\"}", "encoding"},
        {"{" OLD ",\"objects\":{}}", "objects.data"},
        {"{" OLD ",\"objects\":{\"data\":{}}}", "key"},
        {"{" OLD ",\"objects\":{\"data\":{\"key\":\"" KEY ".json\"}}}", "size"},
        {"{" OLD ",\"objects\":{\"data\":{\"key\":\"other/x.json\",\"size\":900}}}",
         "objects.data.key"},
        {"{" OLD ",\"objects\":{\"data\":{\"key\":\"" KEY ".json\",\"size\":901}}}", "size_bytes"},
        {"{" OLD ",\"objects\":{\"data\":{\"key\":\"" KEY
         ".json\",\"size\":900,\"sha256\":\"AB\"}}}",
         "sha256"},
        {"{" OLD ",\"objects\":{\"data\":{\"key\":\"" KEY ".json\",\"size\":800},"
         "\"image\":{\"key\":\"" KEY ".json\",\"size\":100}}}",
         "objects.image.key"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ak_snapshot_meta meta = {.vector_count = 4242};
        enum ak_rc rc = read_text(cases[i].text, &meta);
        if (rc != AK_CORRUPT || !strstr(err.text, cases[i].field)) {
            ak_test_fail(__FILE__, __LINE__, "case %zu: %s: %s", i, ak_rc_name(rc), err.text);
        }
        CHECK_INT(meta.vector_count, 4242); /* untouched */
    }
}

TEST(snapshot, metadata_survives_every_cut_and_every_flipped_bit_without_harm)
{
    struct ak_snapshot_meta meta = sample();
    struct ak_snapshot_meta back;
    struct ak_buf json;
    ak_buf_init(&json, 0);
    CHECK_OK(ak_snapshot_meta_write(&meta, &json, &err));
    for (size_t len = 0; len + 2 < json.len; len++) { /* the last two are '}' and a line feed */
        ak_arena_release(&arena);
        ak_arena_init(&arena, 0);
        CHECK_RC(AK_CORRUPT,
                 ak_snapshot_meta_read((struct ak_str){json.p, len}, &arena, &back, &err));
    }
    for (size_t bit = 0; bit < json.len * 8; bit++) {
        ak_arena_release(&arena);
        ak_arena_init(&arena, 0);
        json.p[bit / 8] ^= (char)(1 << (bit % 8));
        enum ak_rc rc = ak_snapshot_meta_read(ak_buf_str(&json), &arena, &back, &err);
        CHECK(rc == AK_OK || rc == AK_CORRUPT || rc == AK_UNSUPPORTED);
        json.p[bit / 8] ^= (char)(1 << (bit % 8));
    }
    ak_buf_release(&json);
}

TEST(snapshot, reading_metadata_survives_want_of_memory)
{
    struct ak_snapshot_meta meta = sample();
    struct ak_snapshot_meta back;
    struct ak_buf json;
    ak_buf_init(&json, 0);
    CHECK_OK(ak_snapshot_meta_write(&meta, &json, &err));
    bool fired = true;
    for (int64_t n = 0; fired; n++) {
        ak_arena_release(&arena);
        ak_arena_init(&arena, 0);
        ak_fault_alloc_at(n);
        enum ak_rc rc = ak_snapshot_meta_read(ak_buf_str(&json), &arena, &back, &err);
        fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK(fired ? rc == AK_NOMEM : rc == AK_OK);
    }
    ak_buf_release(&json);
}

TEST(snapshot, names_of_formats_and_encodings_parse_back)
{
    enum ak_snapshot_format format;
    enum ak_snapshot_encoding encoding;
    for (int i = 0; i < 2; i++) {
        CHECK(ak_snapshot_format_parse(
            ak_str_of(ak_snapshot_format_name((enum ak_snapshot_format)i)), &format));
        CHECK_INT(format, i);
    }
    for (int i = 0; i < 4; i++) {
        CHECK(ak_snapshot_encoding_parse(
            ak_str_of(ak_snapshot_encoding_name((enum ak_snapshot_encoding)i)), &encoding));
        CHECK_INT(encoding, i);
    }
    CHECK(!ak_snapshot_format_parse(AK_STR("Parquet"), &format));
    CHECK(!ak_snapshot_encoding_parse(AK_STR(""), &encoding));
}

TEST_MAIN()
