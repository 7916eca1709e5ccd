/* meta.c — the metadata object: one JSON object, written last.
 *
 * The reader believes nothing: required fields must be there, each value must be possible, keys of
 * objects must lie under the snapshot's own name. Fields that it does not know are skipped, so that
 * a newer AkiDB may add some. Snapshots older than the field `format` are JSON ones; they have
 * neither `objects` nor digests, so the key follows from the ids.
 */
#include "base/json.h"
#include "snapshot/snapshot_priv.h"
#include <math.h>
#include <string.h>

/* --- Writing --- */

static void put_key(struct ak_buf *out, const char *key)
{
    if (out->len && out->p[out->len - 1] != '{') {
        ak_buf_add_char(out, ',');
    }
    ak_json_put_string(out, ak_str_of(key));
    ak_buf_add_char(out, ':');
}

static void put_text(struct ak_buf *out, const char *key, struct ak_str value)
{
    put_key(out, key);
    ak_json_put_string(out, value);
}

static void put_number(struct ak_buf *out, const char *key, uint64_t value)
{
    put_key(out, key);
    ak_json_put_u64(out, value);
}

static void put_id(struct ak_buf *out, const char *key, const struct ak_uuid *id)
{
    char text[AK_UUID_TEXT_LEN];
    ak_uuid_format(id, text);
    put_text(out, key, (struct ak_str){text, sizeof text});
}

static void put_object(struct ak_buf *out, const char *key, const struct ak_snapshot_object *object)
{
    char digest[AK_SNAPSHOT_DIGEST_TEXT + 1];
    put_key(out, key);
    ak_buf_add_char(out, '{');
    put_text(out, "key", object->key);
    put_number(out, "size", object->bytes);
    if (ak_snapshot_has_digest(object)) {
        ak_snapshot_digest_text(object->sha256, digest);
        put_text(out, "sha256", ak_str_of(digest));
    }
    ak_buf_add_char(out, '}');
}

static void put_index(struct ak_buf *out, const struct ak_index_params *index)
{
    put_key(out, "index");
    ak_buf_add_char(out, '{');
    put_number(out, "m", index->m);
    put_number(out, "ef_construction", index->ef_construction);
    put_number(out, "ef_search", index->ef_search);
    put_text(out, "quantization", ak_str_of(ak_quantization_name(index->quantization)));
    if (index->vectors != AK_VECTORS_RAM) {
        put_text(out, "vectors", ak_str_of(ak_vectors_name(index->vectors)));
    }
    ak_buf_add_char(out, '}');
}

static void put_collection(struct ak_buf *out, const struct ak_collection_info *info)
{
    put_id(out, "collection_id", &info->id);
    put_text(out, "name", info->name);
    put_number(out, "dimension", info->dimension);
    put_text(out, "metric", ak_str_of(ak_metric_name(info->metric)));
    put_text(out, "embedding_model", info->embedding_model);
    put_index(out, &info->index);
}

enum ak_rc ak_snapshot_meta_write(const struct ak_snapshot_meta *meta, struct ak_buf *json,
                                  struct ak_err *err)
{
    char time[AK_TIME_TEXT_MAX];
    struct ak_buf out;
    ak_buf_init(&out, AK_SNAPSHOT_META_MAX);
    ak_buf_add_char(&out, '{');
    put_number(&out, "format_version", AK_SNAPSHOT_FORMAT_VERSION);
    put_id(&out, "snapshot_id", &meta->id);
    put_collection(&out, &meta->collection);
    put_number(&out, "vector_count", meta->vector_count);
    put_number(&out, "lsn", meta->lsn);
    put_text(&out, "created_at", ak_str_of(ak_time_format(meta->created_us, time)));
    put_number(&out, "size_bytes", meta->size_bytes);
    put_text(&out, "format", ak_str_of(ak_snapshot_format_name(meta->format)));
    put_text(&out, "compression", ak_str_of(ak_codec_name(meta->compression)));
    put_text(&out, "encoding", ak_str_of(ak_snapshot_encoding_name(meta->encoding)));
    put_key(&out, "lossless");
    ak_buf_add_str(&out, meta->lossless ? AK_STR("true") : AK_STR("false"));
    put_key(&out, "max_error");
    ak_json_put_double(&out, meta->max_error);
    put_key(&out, "objects");
    ak_buf_add_char(&out, '{');
    put_object(&out, "data", &meta->data);
    if (meta->has_image) {
        put_object(&out, "image", &meta->image);
    }
    ak_buf_add_char(&out, '}');
    put_text(&out, "akidb_version", meta->akidb_version);
    ak_buf_add_str(&out, AK_STR("}\n"));
    enum ak_rc rc = ak_buf_check(&out, err);
    if (rc == AK_OK) {
        ak_buf_add_str(json, ak_buf_str(&out));
        rc = ak_buf_check(json, err);
    }
    ak_buf_release(&out);
    return rc == AK_OK ? rc : ak_wrap(err, rc, "snapshot metadata");
}

/* --- Reading --- */

enum field { /* those that must be there, or whose absence means something */
             FIELD_SNAPSHOT_ID = 1,
             FIELD_COLLECTION_ID = 2,
             FIELD_VECTOR_COUNT = 4,
             FIELD_DIMENSION = 8,
             FIELD_CREATED_AT = 16,
             FIELD_SIZE_BYTES = 32,
             FIELD_OBJECTS = 64,
             FIELD_DATA = 128,
             FIELD_LOSSLESS = 256
};

static const struct {
    unsigned field;
    const char *name;
} required[] = {
    {FIELD_SNAPSHOT_ID, "snapshot_id"},   {FIELD_COLLECTION_ID, "collection_id"},
    {FIELD_VECTOR_COUNT, "vector_count"}, {FIELD_DIMENSION, "dimension"},
    {FIELD_CREATED_AT, "created_at"},     {FIELD_SIZE_BYTES, "size_bytes"},
};

struct meta_reader {
    struct ak_json in;
    struct ak_arena *arena;
    struct ak_snapshot_meta *meta;
    unsigned seen;
    bool no_memory;
    bool is_newer;
};

/* A copy in the arena; the JSON text does not outlive the call. */
static void read_text(struct meta_reader *r, size_t max, struct ak_str *out)
{
    struct ak_str text;
    if (!ak_json_string(&r->in, &text)) {
        return;
    }
    if (text.len > max) {
        ak_json_fail(&r->in, "'%.*s' has %zu bytes, at most %zu are possible",
                     AK_STR_ARG(r->in.key), text.len, max);
        return;
    }
    *out = ak_arena_str(r->arena, text);
    r->no_memory |= out->p == NULL;
}

static void read_id(struct meta_reader *r, struct ak_uuid *id)
{
    struct ak_str text;
    if (ak_json_string(&r->in, &text) && !ak_uuid_parse(text, id)) {
        ak_json_fail(&r->in, "'%.*s' is not a UUID", AK_STR_ARG(r->in.key));
    }
}

static void read_u32(struct meta_reader *r, uint64_t min, uint64_t max, uint32_t *out)
{
    uint64_t value = 0;
    if (ak_json_u64(&r->in, min, max, &value)) {
        *out = (uint32_t)value;
    }
}

/* A word that `known` says; the failure lists what is possible. */
#define READ_WORD(r, parse, to, allowed)                                                           \
    do {                                                                                           \
        struct ak_str word_;                                                                       \
        if (ak_json_string(&(r)->in, &word_) && !parse(word_, to)) {                               \
            ak_json_fail(&(r)->in, "'%.*s' is '%.*s', possible are %s", AK_STR_ARG((r)->in.key),   \
                         (int)(word_.len < 40 ? word_.len : 40), word_.p, allowed);                \
        }                                                                                          \
    } while (0)

static void read_time(struct meta_reader *r, int64_t *out)
{
    struct ak_str text;
    if (ak_json_string(&r->in, &text) && !ak_time_parse(text, out)) {
        ak_json_fail(&r->in, "'%.*s' is not a time of RFC 3339", AK_STR_ARG(r->in.key));
    }
}

static void read_digest(struct meta_reader *r, uint8_t digest[32])
{
    struct ak_str text;
    if (!ak_json_string(&r->in, &text)) {
        return;
    }
    bool good = text.len == AK_SNAPSHOT_DIGEST_TEXT;
    for (size_t i = 0; good && i < text.len; i++) {
        char c = text.p[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        good = digit >= 0;
        if (good) {
            digest[i / 2] = (uint8_t)(i % 2 ? digest[i / 2] | digit : digit << 4);
        }
    }
    if (!good) {
        ak_json_fail(&r->in, "'%.*s' is not 64 lower-case hexadecimal digits",
                     AK_STR_ARG(r->in.key));
    }
}

static void read_index(struct meta_reader *r)
{
    struct ak_index_params *index = &r->meta->collection.index;
    struct ak_str key;
    ak_json_object(&r->in);
    while (ak_json_next_key(&r->in, &key)) {
        if (ak_str_eq(key, AK_STR("m"))) {
            read_u32(r, 4, 64, &index->m);
        } else if (ak_str_eq(key, AK_STR("ef_construction"))) {
            read_u32(r, 16, 2000, &index->ef_construction);
        } else if (ak_str_eq(key, AK_STR("ef_search"))) {
            read_u32(r, 1, AK_EF_MAX, &index->ef_search);
        } else if (ak_str_eq(key, AK_STR("quantization"))) {
            READ_WORD(r, ak_quantization_parse, &index->quantization, "none, u8, u4, binary");
        } else if (ak_str_eq(key, AK_STR("vectors"))) {
            READ_WORD(r, ak_vectors_parse, &index->vectors, "ram, disk");
        } else {
            ak_json_skip(&r->in, NULL);
        }
    }
}

static void read_object(struct meta_reader *r, struct ak_snapshot_object *object)
{
    struct ak_str key;
    bool has_key = false;
    bool has_size = false;
    ak_json_object(&r->in);
    while (ak_json_next_key(&r->in, &key)) {
        if (ak_str_eq(key, AK_STR("key"))) {
            read_text(r, AK_OBJSTORE_KEY_MAX, &object->key);
            has_key = true;
        } else if (ak_str_eq(key, AK_STR("size"))) {
            ak_json_u64(&r->in, 1, INT64_MAX, &object->bytes);
            has_size = true;
        } else if (ak_str_eq(key, AK_STR("sha256"))) {
            read_digest(r, object->sha256);
        } else {
            ak_json_skip(&r->in, NULL);
        }
    }
    if (!has_key || !has_size) {
        ak_json_fail(&r->in, "an object has no '%s'", has_key ? "size" : "key");
    }
}

static void read_objects(struct meta_reader *r)
{
    struct ak_str key;
    r->seen |= FIELD_OBJECTS;
    ak_json_object(&r->in);
    while (ak_json_next_key(&r->in, &key)) {
        if (ak_str_eq(key, AK_STR("data"))) {
            read_object(r, &r->meta->data);
            r->seen |= FIELD_DATA;
        } else if (ak_str_eq(key, AK_STR("image"))) {
            read_object(r, &r->meta->image);
            r->meta->has_image = true;
        } else {
            ak_json_skip(&r->in, NULL);
        }
    }
}

static bool read_collection_field(struct meta_reader *r, struct ak_str key)
{
    struct ak_collection_info *info = &r->meta->collection;
    if (ak_str_eq(key, AK_STR("collection_id"))) {
        r->seen |= FIELD_COLLECTION_ID;
        read_id(r, &info->id);
    } else if (ak_str_eq(key, AK_STR("name"))) {
        read_text(r, AK_NAME_MAX, &info->name);
    } else if (ak_str_eq(key, AK_STR("dimension"))) {
        r->seen |= FIELD_DIMENSION;
        read_u32(r, 1, AK_DIMENSION_MAX, &info->dimension);
    } else if (ak_str_eq(key, AK_STR("metric"))) {
        READ_WORD(r, ak_metric_parse, &info->metric, "cosine, dot, l2");
    } else if (ak_str_eq(key, AK_STR("embedding_model"))) {
        if (!ak_json_null(&r->in)) {
            read_text(r, AK_MODEL_NAME_MAX, &info->embedding_model);
        }
    } else if (ak_str_eq(key, AK_STR("index"))) {
        read_index(r);
    } else {
        return false;
    }
    return true;
}

static bool read_form_field(struct meta_reader *r, struct ak_str key)
{
    struct ak_snapshot_meta *meta = r->meta;
    if (ak_str_eq(key, AK_STR("format"))) {
        READ_WORD(r, ak_snapshot_format_parse, &meta->format, "parquet, json");
    } else if (ak_str_eq(key, AK_STR("compression"))) {
        READ_WORD(r, ak_codec_parse, &meta->compression, "none, snappy, zstd, lz4, gzip");
    } else if (ak_str_eq(key, AK_STR("encoding"))) {
        READ_WORD(r, ak_snapshot_encoding_parse, &meta->encoding, "lossless, plain, bf16, q8");
    } else if (ak_str_eq(key, AK_STR("lossless"))) {
        r->seen |= FIELD_LOSSLESS;
        ak_json_bool(&r->in, &meta->lossless);
    } else if (ak_str_eq(key, AK_STR("max_error"))) {
        if (ak_json_double(&r->in, &meta->max_error) && meta->max_error < 0) {
            ak_json_fail(&r->in, "'max_error' is negative");
        }
    } else if (ak_str_eq(key, AK_STR("format_version"))) {
        uint64_t version = 0;
        if (ak_json_u64(&r->in, 1, UINT32_MAX, &version) && version > AK_SNAPSHOT_FORMAT_VERSION) {
            r->is_newer = true; /* what follows may mean something else: stop here */
            ak_json_fail(&r->in, "format_version %u; this AkiDB reads up to %d", (unsigned)version,
                         AK_SNAPSHOT_FORMAT_VERSION);
        }
    } else {
        return false;
    }
    return true;
}

static void read_field(struct meta_reader *r, struct ak_str key)
{
    struct ak_snapshot_meta *meta = r->meta;
    if (read_collection_field(r, key) || read_form_field(r, key)) {
        return;
    }
    if (ak_str_eq(key, AK_STR("snapshot_id"))) {
        r->seen |= FIELD_SNAPSHOT_ID;
        read_id(r, &meta->id);
    } else if (ak_str_eq(key, AK_STR("vector_count"))) {
        r->seen |= FIELD_VECTOR_COUNT;
        ak_json_u64(&r->in, 1, AK_SLOTS_MAX, &meta->vector_count);
    } else if (ak_str_eq(key, AK_STR("lsn"))) {
        ak_json_u64(&r->in, 0, UINT64_MAX, &meta->lsn);
    } else if (ak_str_eq(key, AK_STR("created_at"))) {
        r->seen |= FIELD_CREATED_AT;
        read_time(r, &meta->created_us);
    } else if (ak_str_eq(key, AK_STR("size_bytes"))) {
        r->seen |= FIELD_SIZE_BYTES;
        ak_json_u64(&r->in, 0, INT64_MAX, &meta->size_bytes);
    } else if (ak_str_eq(key, AK_STR("akidb_version"))) {
        read_text(r, AK_NAME_MAX, &meta->akidb_version);
    } else if (ak_str_eq(key, AK_STR("objects"))) {
        read_objects(r);
    } else {
        ak_json_skip(&r->in, NULL);
    }
}

/* Another snapshot's key would let one metadata object stand for foreign bytes. */
static enum ak_rc check_key(const struct ak_snapshot_meta *meta,
                            const struct ak_snapshot_object *object, enum ak_snapshot_part part,
                            const char *field, struct ak_err *err)
{
    struct ak_snapshot_key want;
    ak_snapshot_key_of(&meta->collection.id, &meta->id, part, &want);
    if (!ak_str_eq(object->key, ak_snapshot_key_str(&want))) {
        return ak_fail(err, AK_CORRUPT, "field 'objects.%s.key' is '%.*s', it can only be '%s'",
                       field, (int)(object->key.len < 160 ? object->key.len : 160), object->key.p,
                       want.text);
    }
    return AK_OK;
}

static enum ak_rc check_objects(struct meta_reader *r, struct ak_err *err)
{
    struct ak_snapshot_meta *meta = r->meta;
    enum ak_snapshot_part part = ak_snapshot_data_part(meta->format);
    if (!(r->seen & FIELD_OBJECTS)) { /* of an older version */
        struct ak_snapshot_key key;
        ak_snapshot_key_of(&meta->collection.id, &meta->id, part, &key);
        meta->data.key = ak_arena_str(r->arena, ak_snapshot_key_str(&key));
        meta->data.bytes = meta->size_bytes;
        return meta->data.key.p ? AK_OK : ak_fail(err, AK_NOMEM, "no memory for a key");
    }
    if (!(r->seen & FIELD_DATA)) {
        return ak_fail(err, AK_CORRUPT, "field 'objects.data' is missing");
    }
    enum ak_rc rc = check_key(meta, &meta->data, part, "data", err);
    if (rc == AK_OK && meta->has_image) {
        rc = check_key(meta, &meta->image, AK_SNAPSHOT_PART_IMAGE, "image", err);
    }
    uint64_t sum = meta->data.bytes + meta->image.bytes; /* both below 2^63 */
    if (rc == AK_OK && sum != meta->size_bytes) {
        rc = ak_fail(err, AK_CORRUPT, "field 'size_bytes' is %llu, its objects have %llu",
                     (unsigned long long)meta->size_bytes, (unsigned long long)sum);
    }
    return rc;
}

static enum ak_rc check_meta(struct meta_reader *r, struct ak_err *err)
{
    struct ak_snapshot_meta *meta = r->meta;
    for (size_t i = 0; i < sizeof required / sizeof required[0]; i++) {
        if (!(r->seen & required[i].field)) {
            return ak_fail(err, AK_CORRUPT, "field '%s' is missing", required[i].name);
        }
    }
    bool is_lossless =
        meta->encoding == AK_SNAPSHOT_LOSSLESS || meta->encoding == AK_SNAPSHOT_PLAIN;
    if (!(r->seen & FIELD_LOSSLESS)) {
        meta->lossless = is_lossless;
    }
    if (meta->lossless != is_lossless) {
        return ak_fail(err, AK_CORRUPT, "field 'lossless' is %s, which encoding '%s' is not",
                       meta->lossless ? "true" : "false",
                       ak_snapshot_encoding_name(meta->encoding));
    }
    if (meta->format == AK_SNAPSHOT_JSON && !is_lossless) {
        return ak_fail(err, AK_CORRUPT, "field 'encoding' is '%s', which JSON does not have",
                       ak_snapshot_encoding_name(meta->encoding));
    }
    return check_objects(r, err);
}

enum ak_rc ak_snapshot_meta_read(struct ak_str json, struct ak_arena *arena,
                                 struct ak_snapshot_meta *out, struct ak_err *err)
{
    struct ak_snapshot_meta meta = {.format = AK_SNAPSHOT_JSON};
    struct meta_reader r = {.arena = arena, .meta = &meta};
    struct ak_str key;
    meta.collection.index = ak_index_params_default();
    meta.collection.state = AK_COLLECTION_READY;
    if (json.len > AK_SNAPSHOT_META_MAX) {
        return ak_fail(err, AK_CORRUPT, "snapshot metadata: %zu bytes, at most %zu are possible",
                       json.len, AK_SNAPSHOT_META_MAX);
    }
    ak_json_init(&r.in, json);
    ak_json_object(&r.in);
    while (ak_json_next_key(&r.in, &key)) {
        read_field(&r, key);
    }
    enum ak_rc rc = ak_json_finish(&r.in, err);
    if (rc == AK_INVALID) { /* a request is not what is wrong here */
        rc = r.is_newer ? AK_UNSUPPORTED : AK_CORRUPT;
    }
    ak_json_release(&r.in);
    if (rc == AK_OK && r.no_memory) {
        rc = ak_fail(err, AK_NOMEM, "no memory for its strings");
    }
    if (rc == AK_OK) {
        rc = check_meta(&r, err);
    }
    if (rc != AK_OK) {
        return ak_wrap(err, rc, "snapshot metadata");
    }
    *out = meta;
    return AK_OK;
}
