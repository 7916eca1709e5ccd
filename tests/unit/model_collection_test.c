#include "model/collection.h"
#include "support/test.h"

static struct ak_err err;

static struct ak_collection_info sound_info(void)
{
    return (struct ak_collection_info){.name = AK_STR("articles"),
                                       .dimension = 128,
                                       .metric = AK_METRIC_COSINE,
                                       .embedding_model = AK_STR("e5-small"),
                                       .index = ak_index_params_default()};
}

/* The check must refuse `info` with exactly this sentence. */
static void check_refused(const struct ak_collection_info *info, const char *text)
{
    CHECK_RC(AK_INVALID, ak_collection_info_check(info, &err));
    CHECK_STR(err.text, text);
}

TEST(collection, names_of_any_language_up_to_255_bytes_are_accepted)
{
    char longest[AK_NAME_MAX];
    memset(longest, 'x', sizeof longest);
    const struct ak_str names[] = {
        AK_STR("a"),           AK_STR("two words"), AK_STR("日本語"),
        AK_STR("..."),         AK_STR(".hidden"),   AK_STR("a:b"),
        AK_STR("émoji 🦀"), AK_STR("\xC2\xA0"),  {longest, sizeof longest},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        CHECK_OK(ak_name_check(names[i], "name", &err));
    }
}

TEST(collection, a_refused_name_is_answered_with_what_is_allowed)
{
    const struct {
        struct ak_str name;
        const char *text;
    } cases[] = {
        {AK_STR(""), "name is empty: 1 to 255 bytes are allowed"},
        {AK_STR("a/b"), "name 'a/b' has a '/' or '\\': neither is allowed"},
        {AK_STR("a\\b"), "name 'a\\b' has a '/' or '\\': neither is allowed"},
        {AK_STR("."), "name '.' would be a folder: choose another"},
        {AK_STR(".."), "name '..' would be a folder: choose another"},
        {AK_STR("a\nb"), "name has a control character at byte 1: none are allowed"},
        {AK_STR("ab\0c"), "name has a control character at byte 2: none are allowed"},
        {AK_STR("\x7F"), "name has a control character at byte 0: none are allowed"},
        {AK_STR("x\xC2\x85"), "name has a control character at byte 1: none are allowed"},
        {AK_STR("\xC2"), "name is not valid UTF-8"},
        {AK_STR("\xED\xA0\x80"), "name is not valid UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK_RC(AK_INVALID, ak_name_check(cases[i].name, "name", &err));
        CHECK_STR(err.text, cases[i].text);
    }
    char too_long[AK_NAME_MAX + 1];
    memset(too_long, 'x', sizeof too_long);
    CHECK_RC(AK_INVALID,
             ak_name_check((struct ak_str){too_long, sizeof too_long}, "tenant name", &err));
    CHECK_STR(err.text, "tenant name has 256 bytes: 1 to 255 are allowed");
    CHECK_RC(AK_INVALID, ak_name_check(AK_STR_NONE, "name", NULL));
}

TEST(collection, a_refused_parameter_is_named_with_its_range)
{
    struct ak_collection_info info = sound_info();
    CHECK_OK(ak_collection_info_check(&info, &err));
    info.name = AK_STR("a/b");
    check_refused(&info, "name 'a/b' has a '/' or '\\': neither is allowed");
    info = sound_info();
    info.dimension = 0;
    check_refused(&info, "dimension is 0: 1 to 65535 are allowed");
    info.dimension = 65536;
    check_refused(&info, "dimension is 65536: 1 to 65535 are allowed");
    info = sound_info();
    info.metric = AK_METRIC_COUNT;
    check_refused(&info, "metric is unknown: cosine, dot or l2 are allowed");
    info = sound_info();
    info.embedding_model = AK_STR("a\tb");
    check_refused(&info, "embedding_model has a control character at byte 1: none are allowed");
    info.embedding_model = AK_STR("\xFF");
    check_refused(&info, "embedding_model is not valid UTF-8");
    char model[AK_MODEL_NAME_MAX + 1];
    memset(model, 'm', sizeof model);
    info.embedding_model = (struct ak_str){model, sizeof model};
    check_refused(&info, "embedding_model has 256 bytes: at most 255 are allowed");
    info = sound_info();
    info.index.m = 3;
    check_refused(&info, "index.m is 3: 4 to 64 are allowed");
    info.index.m = 65;
    check_refused(&info, "index.m is 65: 4 to 64 are allowed");
    info = sound_info();
    info.index.ef_construction = 15;
    check_refused(&info, "index.ef_construction is 15: 16 to 2000 are allowed");
    info = sound_info();
    info.index.ef_search = 65537;
    check_refused(&info, "index.ef_search is 65537: 1 to 65536 are allowed");
    info = sound_info();
    info.index.quantization = AK_QUANTIZATION_COUNT;
    check_refused(&info, "index.quantization is unknown: none, u8, u4 and binary are allowed");
}

TEST(collection, every_edge_of_a_range_is_allowed)
{
    struct ak_collection_info info = sound_info();
    info.embedding_model = AK_STR_NONE;
    info.dimension = 1;
    info.index = (struct ak_index_params){.m = 4, .ef_construction = 16, .ef_search = 1};
    CHECK_OK(ak_collection_info_check(&info, &err));
    info.dimension = AK_DIMENSION_MAX;
    info.index = (struct ak_index_params){.m = 64, .ef_construction = 2000, .ef_search = AK_EF_MAX};
    CHECK_OK(ak_collection_info_check(&info, &err));
}

TEST(collection, vectors_on_disk_want_a_quantization_and_their_names_read_back)
{
    struct ak_collection_info info = sound_info();
    info.index.vectors = AK_VECTORS_DISK;
    CHECK_OK(ak_collection_info_check(&info, &err));
    info.index.quantization = AK_QUANTIZATION_NONE;
    check_refused(&info,
                  "index.vectors is disk and index.quantization none: a search would read every "
                  "vector it meets from disk; give a quantization, such as u8, or vectors ram");
    info.index.vectors = AK_VECTORS_COUNT;
    check_refused(&info, "index.vectors is unknown: ram and disk are allowed");
    for (unsigned i = 0; i < AK_VECTORS_COUNT; i++) {
        enum ak_vectors vectors = AK_VECTORS_COUNT;
        CHECK(ak_vectors_parse(ak_str_of(ak_vectors_name((enum ak_vectors)i)), &vectors));
        CHECK_INT(vectors, i);
    }
    enum ak_vectors vectors = AK_VECTORS_RAM;
    CHECK(!ak_vectors_parse(AK_STR("RAM"), &vectors));
    CHECK_STR(ak_vectors_name(AK_VECTORS_COUNT), "unknown");
}

TEST(collection, metric_and_quantization_names_read_back)
{
    for (unsigned i = 0; i < AK_METRIC_COUNT; i++) {
        enum ak_metric metric = AK_METRIC_COUNT;
        CHECK(ak_metric_parse(ak_str_of(ak_metric_name((enum ak_metric)i)), &metric));
        CHECK_INT(metric, i);
    }
    for (unsigned i = 0; i < AK_QUANTIZATION_COUNT; i++) {
        enum ak_quantization q = AK_QUANTIZATION_COUNT;
        CHECK(ak_quantization_parse(ak_str_of(ak_quantization_name((enum ak_quantization)i)), &q));
        CHECK_INT(q, i);
    }
    enum ak_metric metric = AK_METRIC_L2;
    CHECK(!ak_metric_parse(AK_STR("Cosine"), &metric));
    CHECK(!ak_metric_parse(AK_STR(""), &metric));
    CHECK_INT(metric, AK_METRIC_L2);
    CHECK_STR(ak_metric_name(AK_METRIC_COUNT), "unknown");
    CHECK_STR(ak_collection_state_name(AK_COLLECTION_DELETING), "deleting");
    CHECK_STR(ak_collection_state_name((enum ak_collection_state)17), "unknown");
}

TEST(document, every_place_of_a_number_that_is_not_finite_is_found_and_named)
{
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    float vector[131];
    for (uint32_t i = 0; i < 131; i++) {
        vector[i] = i % 2 ? -3.4e38f : 1e-45f; /* extremes, all of them finite */
    }
    struct ak_document doc = {.vector = vector};
    CHECK_OK(ak_document_check(&doc, 131, AK_METRIC_L2, -1, &err));
    for (uint32_t i = 0; i < 131; i++) {
        float kept = vector[i];
        char text[64];
        vector[i] = bad[i % 4];
        CHECK_RC(AK_INVALID, ak_document_check(&doc, 131, AK_METRIC_L2, -1, &err));
        (void)snprintf(text, sizeof text, "vector[%u] is not a finite number", i);
        CHECK_STR(err.text, text);
        CHECK_OK(ak_document_check(&doc, i, AK_METRIC_L2, -1, &err));
        vector[i] = kept;
    }
    vector[17] = NAN;
    CHECK_RC(AK_INVALID, ak_document_check(&doc, 131, AK_METRIC_DOT, 3, &err));
    CHECK_STR(err.text, "vectors[3]: vector[17] is not a finite number");
}

TEST(document, a_zero_vector_is_refused_under_cosine_alone)
{
    float vector[40] = {0};
    vector[7] = -0.0f;
    struct ak_document doc = {.vector = vector};
    CHECK_RC(AK_INVALID, ak_document_check(&doc, 40, AK_METRIC_COSINE, -1, &err));
    CHECK_STR(err.text, "vector is all zeros: cosine needs a direction");
    CHECK_OK(ak_document_check(&doc, 40, AK_METRIC_DOT, -1, &err));
    CHECK_OK(ak_document_check(&doc, 40, AK_METRIC_L2, -1, &err));
    vector[39] = 1e-45f;
    CHECK_OK(ak_document_check(&doc, 40, AK_METRIC_COSINE, -1, &err));
}

TEST(document, texts_are_held_against_their_limits)
{
    static char text[AK_METADATA_MAX + 1];
    memset(text, ' ', sizeof text);
    const float vector[1] = {1.0f};
    struct ak_document doc = {.vector = vector,
                              .external_id = {text, AK_EXTERNAL_ID_MAX},
                              .metadata = {text, AK_METADATA_MAX}};
    CHECK_OK(ak_document_check(&doc, 1, AK_METRIC_COSINE, 0, &err));
    doc.external_id.len++;
    CHECK_RC(AK_INVALID, ak_document_check(&doc, 1, AK_METRIC_COSINE, 0, &err));
    CHECK_STR(err.text, "vectors[0]: external_id has 1025 bytes: at most 1024 are allowed");
    doc.external_id = AK_STR("\xC0\x80");
    CHECK_RC(AK_INVALID, ak_document_check(&doc, 1, AK_METRIC_COSINE, -1, &err));
    CHECK_STR(err.text, "external_id is not valid UTF-8");
    doc.external_id = AK_STR_NONE;
    doc.metadata.len++;
    CHECK_RC(AK_INVALID, ak_document_check(&doc, 1, AK_METRIC_COSINE, -1, &err));
    CHECK_STR(err.text, "metadata has 65537 bytes: at most 65536 are allowed");
}

TEST_MAIN()
