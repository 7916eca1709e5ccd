/* Every kind of damage to every object is found, by verify and by what a restore reads. */
#include "unit/snapshot_world.h"

struct stored {
    struct world w;
    struct ak_snapshot_meta meta;
    struct ak_buf data;
    struct ak_buf image;
};

static void stored_open(struct stored *s, enum ak_snapshot_format format, size_t count)
{
    struct ak_snapshot_options options = options_of(format);
    options.row_group_rows = 40;
    world_open(&s->w, 5, count, false);
    world_image_blob(&s->w);
    CHECK_OK(take(&s->w, 1, &options, &s->meta));
    ak_buf_init(&s->data, 0);
    ak_buf_init(&s->image, 0);
    CHECK_OK(ak_objstore_get(s->w.store, s->meta.data.key, &s->data, &err));
    CHECK_OK(ak_objstore_get(s->w.store, s->meta.image.key, &s->image, &err));
}

static void stored_close(struct stored *s)
{
    ak_buf_release(&s->data);
    ak_buf_release(&s->image);
    world_close(&s->w);
}

static void replace(struct stored *s, struct ak_str key, const char *p, size_t len)
{
    CHECK_OK(ak_objstore_put(s->w.store, key, (struct ak_str){p, len}, NULL, &err));
}

static enum ak_rc verify(struct stored *s)
{
    struct ak_snapshot_report report;
    return ak_snapshot_verify(s->w.store, &s->meta, NULL, NULL, &report, &err);
}

static void flip_everywhere(struct stored *s, struct ak_str key, struct ak_buf *bytes, size_t step)
{
    for (size_t bit = 0; bit < bytes->len * 8; bit += step) {
        bytes->p[bit / 8] ^= (char)(1 << (bit % 8));
        replace(s, key, bytes->p, bytes->len);
        CHECK_RC(AK_CORRUPT, verify(s));
        CHECK(strstr(err.text, "snapshot") != NULL);
        bytes->p[bit / 8] ^= (char)(1 << (bit % 8));
    }
    replace(s, key, bytes->p, bytes->len);
    CHECK_OK(verify(s));
}

TEST(snapshot, verify_finds_flipped_bits_in_every_object)
{
    for (int format = 0; format < 2; format++) {
        struct stored s;
        stored_open(&s, (enum ak_snapshot_format)format, 60);
        flip_everywhere(&s, s.meta.data.key, &s.data, 61);
        flip_everywhere(&s, s.meta.image.key, &s.image, 1009);
        stored_close(&s);
    }
}

struct softly {
    const struct world *w;
    size_t at;
    size_t differ;
};

static enum ak_rc compare_softly(void *ctx, const struct ak_document *rows, size_t count,
                                 struct ak_err *e)
{
    struct softly *s = ctx;
    (void)e;
    for (size_t i = 0; i < count && s->at < s->w->count; i++, s->at++) {
        const struct ak_document *want = &s->w->docs[s->at];
        s->differ += !ak_uuid_eq(&rows[i].id, &want->id) ||
                     !ak_str_eq(rows[i].external_id, want->external_id) ||
                     !ak_str_eq(rows[i].metadata, want->metadata) ||
                     rows[i].inserted_us != want->inserted_us ||
                     memcmp(rows[i].vector, want->vector, s->w->dimension * sizeof(float)) != 0;
    }
    return AK_OK;
}

/* Without the digest: the page checksums and the content hash must do. */
TEST(snapshot, reading_finds_flipped_bits_without_a_digest)
{
    struct stored s;
    stored_open(&s, AK_SNAPSHOT_PARQUET, 60);
    memset(s.meta.data.sha256, 0, 32);
    size_t harmless = 0;
    for (size_t bit = 0; bit < s.data.len * 8; bit += 7) {
        struct softly softly = {.w = &s.w};
        s.data.p[bit / 8] ^= (char)(1 << (bit % 8));
        replace(&s, s.meta.data.key, s.data.p, s.data.len);
        enum ak_rc rc = ak_snapshot_read(s.w.store, &s.meta, compare_softly, &softly, &err);
        harmless += rc == AK_OK; /* statistics, names of writers: then the rows were right */
        CHECK(rc == AK_OK ? softly.at == s.w.count && softly.differ == 0
                          : rc == AK_CORRUPT || rc == AK_UNSUPPORTED || rc == AK_TOO_BIG);
        s.data.p[bit / 8] ^= (char)(1 << (bit % 8));
    }
    CHECK(harmless * 2 < s.data.len * 8 / 7);
    stored_close(&s);
}

/* Another sound table under the key: all that it says of itself fits itself. */
TEST(snapshot, a_table_that_is_not_the_one_of_the_metadata_is_not_read)
{
    for (int format = 0; format < 2; format++) {
        struct stored s;
        struct softly softly = {.w = &s.w};
        stored_open(&s, (enum ak_snapshot_format)format, 60);
        s.meta.data.sha256[7] ^= 1;
        CHECK_RC(AK_CORRUPT, ak_snapshot_read(s.w.store, &s.meta, compare_softly, &softly, &err));
        CHECK(strstr(err.text, "SHA-256") != NULL);
        stored_close(&s);
    }
}

TEST(snapshot, every_truncation_is_found)
{
    for (int format = 0; format < 2; format++) {
        struct stored s;
        stored_open(&s, (enum ak_snapshot_format)format, 30);
        for (size_t len = 0; len < s.data.len; len += 1 + len / 16) {
            replace(&s, s.meta.data.key, s.data.p, len);
            CHECK_RC(AK_CORRUPT, verify(&s));
            CHECK_RC(AK_CORRUPT, ak_snapshot_read(s.w.store, &s.meta, ignore_rows, NULL, &err));
            struct ak_snapshot_meta lying = s.meta; /* the metadata agrees with the cut */
            lying.data.bytes = len;
            memset(lying.data.sha256, 0, 32);
            enum ak_rc rc = ak_snapshot_read(s.w.store, &lying, ignore_rows, NULL, &err);
            CHECK(rc == AK_CORRUPT || rc == AK_UNSUPPORTED);
        }
        replace(&s, s.meta.data.key, s.data.p, s.data.len);
        for (size_t len = 0; len < s.image.len; len += 1 + len / 8) {
            char path[1024];
            (void)snprintf(path, sizeof path, "%s/cut.akx", ak_test_dir());
            replace(&s, s.meta.image.key, s.image.p, len);
            CHECK_RC(AK_CORRUPT, verify(&s));
            CHECK_RC(AK_CORRUPT, ak_snapshot_fetch_image(s.w.store, &s.meta, ak_fs_posix(), path,
                                                         NULL, NULL, &err));
            CHECK_RC(AK_NOT_FOUND, ak_fs_remove(ak_fs_posix(), path, &err));
        }
        stored_close(&s);
    }
}

TEST(snapshot, a_missing_object_is_named)
{
    struct stored s;
    char path[1024];
    stored_open(&s, AK_SNAPSHOT_PARQUET, 30);
    (void)snprintf(path, sizeof path, "%s/none.akx", ak_test_dir());
    CHECK_OK(ak_objstore_remove(s.w.store, s.meta.image.key, &err));
    CHECK_RC(AK_CORRUPT,
             ak_snapshot_fetch_image(s.w.store, &s.meta, ak_fs_posix(), path, NULL, NULL, &err));
    CHECK(strstr(err.text, ".akx' is missing") != NULL);
    CHECK_RC(AK_CORRUPT, verify(&s));
    CHECK(strstr(err.text, ".akx' is missing") != NULL);
    CHECK_OK(ak_objstore_remove(s.w.store, s.meta.data.key, &err));
    CHECK_RC(AK_CORRUPT, ak_snapshot_read(s.w.store, &s.meta, ignore_rows, NULL, &err));
    CHECK(strstr(err.text, ".parquet' is missing") != NULL);
    stored_close(&s);
}

TEST(snapshot, another_count_than_the_metadatas_is_corruption)
{
    for (int format = 0; format < 2; format++) {
        for (int by = -1; by <= 1; by += 2) {
            struct stored s;
            stored_open(&s, (enum ak_snapshot_format)format, 30);
            s.meta.vector_count = (uint64_t)(30 + by);
            CHECK_RC(AK_CORRUPT, ak_snapshot_read(s.w.store, &s.meta, ignore_rows, NULL, &err));
            CHECK(strstr(err.text, by < 0 ? "29" : "31") != NULL);
            stored_close(&s);
        }
    }
}

TEST(snapshot, a_document_twice_is_corruption)
{
    for (int format = 0; format < 2; format++) {
        struct world w;
        struct ak_snapshot_meta meta;
        struct ak_snapshot_options options = options_of((enum ak_snapshot_format)format);
        world_open(&w, 5, 3000, false);
        w.docs[2900].id = w.docs[17].id;
        CHECK_OK(take(&w, 1, &options, &meta));
        CHECK_RC(AK_CORRUPT, ak_snapshot_read(w.store, &meta, ignore_rows, NULL, &err));
        CHECK(strstr(err.text, "twice") != NULL);
        world_close(&w);
    }
}

TEST(snapshot, an_image_of_other_vectors_is_found)
{
    struct world w;
    struct ak_snapshot_meta meta;
    struct ak_snapshot_report report;
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_PARQUET);
    for (int what = 0; what < 3; what++) {
        world_open(&w, 5, 100, false);
        if (what == 2) {
            w.count--;
        }
        world_image_blob(&w);
        if (what == 0) {
            w.vectors[50 * 5 + 4] += 1.0f;
        } else if (what == 1) {
            w.docs[50].id = id_of(3);
        } else {
            w.count++;
        }
        CHECK_OK(take(&w, 1, &options, &meta));
        CHECK_RC(AK_CORRUPT, ak_snapshot_verify(w.store, &meta, NULL, NULL, &report, &err));
        CHECK(strstr(err.text, "image") != NULL);
        world_close(&w);
    }
}

/* --- JSON by hand --- */

static enum ak_rc read_json(const char *text)
{
    struct world w;
    struct ak_snapshot_meta meta;
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_JSON);
    world_open(&w, 2, 1, false);
    CHECK_OK(take(&w, 1, &options, &meta));
    struct ak_str bytes = ak_str_of(text);
    CHECK_OK(ak_objstore_put(w.store, meta.data.key, bytes, NULL, &err));
    memset(meta.data.sha256, 0, 32);
    meta.data.bytes = bytes.len;
    enum ak_rc rc = ak_snapshot_read(w.store, &meta, ignore_rows, NULL, &err);
    world_close(&w);
    return rc;
}

#define DOC "{\"document_id\":\"01980000-0000-7000-8000-000000000001\",\"vector\":[1,2]}"

TEST(snapshot, json_of_older_shapes_and_any_layout_is_read)
{
    CHECK_OK(read_json("[" DOC "]"));
    CHECK_OK(read_json(" \n{ \"documents\" : [ " DOC " ] } \n "));
    CHECK_OK(
        read_json("{\"x\":{\"y\":[\"]}\\\"\"]},\"documents\":[" DOC "],\"z\":null,\"n\":1e3}"));
    CHECK_OK(read_json("{\"documents\":[{\"vector\":[1,2],\"inserted_at\":null,\"more\":[{}],"
                       "\"metadata\":null,\"external_id\":null,"
                       "\"document_id\":\"01980000-0000-7000-8000-000000000001\"}]}"));
}

TEST(snapshot, json_that_will_not_do_is_corrupt_and_says_where)
{
    static const struct {
        const char *text;
        const char *says;
    } cases[] = {
        {" ", "ends too early"},
        {"7", "object or an array"},
        {"{}", "no field 'documents'"},
        {"{\"documents\":{}}", "array"},
        {"{\"documents\":[]}", "0 documents"},
        {"{\"documents\":[" DOC ",]}", "follow the comma"},
        {"{\"documents\":[" DOC " " DOC "]}", "','"},
        {"{\"documents\":[" DOC "],}", "follow the comma"},
        {"{\"documents\":[" DOC "]}x", "more text"},
        {"{\"documents\":[" DOC "]", "ends too early"},
        {"{\"documents\":[" DOC, "ends too early"},
        {"{\"documents\":[" DOC "],\"documents\":[]}", "twice"},
        {"{\"documents\":[" DOC "," DOC "]}", "more than"},
        {"{\"documents\" [" DOC "]}", "':'"},
        {"{\"dimension\":3,\"documents\":[" DOC "]}", "dimension"},
        {"{\"documents\":[" DOC "],\"content_xxh64\":\"0123456789abcdef\"}", "content hash"},
        {"{\"documents\":[" DOC "],\"content_xxh64\":\"x\"}", "hexadecimal"},
        {"{\"documents\":[7]}", "document 0"},
        {"{\"documents\":[{\"vector\":[1,2]}]}", "no 'document_id'"},
        {"{\"documents\":[{\"document_id\":\"01980000-0000-7000-8000-000000000001\"}]}",
         "no 'vector'"},
        {"{\"documents\":[{\"document_id\":\"1\",\"vector\":[1,2]}]}", "not a UUID"},
        {"{\"documents\":[{\"document_id\":\"01980000-0000-7000-8000-000000000001\","
         "\"vector\":[1]}]}",
         "has 1 dimensions, the collection has 2"},
        {"{\"documents\":[{\"document_id\":\"01980000-0000-7000-8000-000000000001\","
         "\"vector\":[1,2,3]}]}",
         "document 0"},
        {"{\"documents\":[{\"document_id\":\"01980000-0000-7000-8000-000000000001\","
         "\"vector\":[1,1e40]}]}",
         "document 0"},
        {"{\"documents\":[{\"document_id\":\"01980000-0000-7000-8000-000000000001\","
         "\"vector\":[1,2],\"inserted_at\":\"now\"}]}",
         "inserted_at"},
        {"{\"documents\":[{\"document_id\":\"01980000-0000-7000-8000-000000000001\","
         "\"vector\":[1,2],\"metadata\":[1]}]}",
         "metadata"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enum ak_rc rc = read_json(cases[i].text);
        if (rc != AK_CORRUPT || !strstr(err.text, cases[i].says)) {
            ak_test_fail(__FILE__, __LINE__, "case %zu: %s: %s", i, ak_rc_name(rc), err.text);
        }
        CHECK_INT(rc, AK_CORRUPT);
    }
}

TEST(snapshot, a_value_in_json_that_never_ends_is_refused_in_bounded_memory)
{
    struct world w;
    struct ak_snapshot_meta meta;
    struct ak_buf text;
    struct ak_snapshot_options options = options_of(AK_SNAPSHOT_JSON);
    world_open(&w, 2, 1, false);
    CHECK_OK(take(&w, 1, &options, &meta));
    ak_buf_init(&text, 0);
    ak_buf_add_str(&text, AK_STR("{\"documents\":[{\"external_id\":\""));
    char *filler = ak_buf_reserve(&text, 12u << 20);
    CHECK(filler != NULL);
    memset(filler, 'x', 12u << 20);
    text.len += 12u << 20;
    CHECK_OK(ak_objstore_put(w.store, meta.data.key, ak_buf_str(&text), NULL, &err));
    memset(meta.data.sha256, 0, 32);
    meta.data.bytes = text.len;
    CHECK_RC(AK_CORRUPT, ak_snapshot_read(w.store, &meta, ignore_rows, NULL, &err));
    CHECK(strstr(err.text, "longer than any document") != NULL);
    ak_buf_release(&text);
    world_close(&w);
}

TEST_MAIN()
