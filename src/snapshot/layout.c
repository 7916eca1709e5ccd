/* layout.c — names: of formats and encodings, and the keys of a snapshot's objects.
 *
 *   snapshots/<collection>/<snapshot>.<suffix>     both ids in their lower-case form of 36
 */
#include "base/encode.h"
#include "snapshot/snapshot_priv.h"
#include <stdio.h>
#include <string.h>

static const char *const suffixes[AK_SNAPSHOT_PART_COUNT] = {
    [AK_SNAPSHOT_PART_PARQUET] = ".parquet",
    [AK_SNAPSHOT_PART_JSON] = ".json",
    [AK_SNAPSHOT_PART_IMAGE] = ".akx",
    [AK_SNAPSHOT_PART_META] = ".metadata.json",
};

static const char *const format_names[] = {
    [AK_SNAPSHOT_PARQUET] = "parquet",
    [AK_SNAPSHOT_JSON] = "json",
};

static const char *const encoding_names[] = {
    [AK_SNAPSHOT_LOSSLESS] = "lossless",
    [AK_SNAPSHOT_PLAIN] = "plain",
    [AK_SNAPSHOT_BF16] = "bf16",
    [AK_SNAPSHOT_Q8] = "q8",
};

#define COUNT(table) (sizeof(table) / sizeof(table)[0])

const char *ak_snapshot_format_name(enum ak_snapshot_format format)
{
    AK_ASSERT((size_t)format < COUNT(format_names));
    return format_names[format];
}

bool ak_snapshot_format_parse(struct ak_str text, enum ak_snapshot_format *format)
{
    for (size_t i = 0; i < COUNT(format_names); i++) {
        if (ak_str_eq(text, ak_str_of(format_names[i]))) {
            *format = (enum ak_snapshot_format)i;
            return true;
        }
    }
    return false;
}

const char *ak_snapshot_encoding_name(enum ak_snapshot_encoding encoding)
{
    AK_ASSERT((size_t)encoding < COUNT(encoding_names));
    return encoding_names[encoding];
}

bool ak_snapshot_encoding_parse(struct ak_str text, enum ak_snapshot_encoding *encoding)
{
    for (size_t i = 0; i < COUNT(encoding_names); i++) {
        if (ak_str_eq(text, ak_str_of(encoding_names[i]))) {
            *encoding = (enum ak_snapshot_encoding)i;
            return true;
        }
    }
    return false;
}

void ak_snapshot_key_folder(const struct ak_uuid *collection, struct ak_snapshot_key *key)
{
    char text[AK_UUID_TEXT_LEN];
    ak_uuid_format(collection, text);
    int len =
        snprintf(key->text, sizeof key->text, AK_SNAPSHOT_ROOT "%.*s/", AK_UUID_TEXT_LEN, text);
    key->len = (size_t)len;
}

void ak_snapshot_key_of(const struct ak_uuid *collection, const struct ak_uuid *id,
                        enum ak_snapshot_part part, struct ak_snapshot_key *key)
{
    char text[AK_UUID_TEXT_LEN];
    ak_snapshot_key_folder(collection, key);
    ak_uuid_format(id, text);
    int len = snprintf(key->text + key->len, sizeof key->text - key->len, "%.*s%s",
                       AK_UUID_TEXT_LEN, text, suffixes[part]);
    key->len += (size_t)len;
}

/* Another spelling of an id is another object. */
static bool read_id(struct ak_str text, struct ak_uuid *id)
{
    char canonical[AK_UUID_TEXT_LEN];
    if (!ak_uuid_parse(text, id)) {
        return false;
    }
    ak_uuid_format(id, canonical);
    return memcmp(canonical, text.p, sizeof canonical) == 0;
}

bool ak_snapshot_key_collection(struct ak_str key, struct ak_uuid *collection)
{
    const struct ak_str root = AK_STR(AK_SNAPSHOT_ROOT);
    return ak_str_has_prefix(key, root) && key.len > root.len + AK_UUID_TEXT_LEN &&
           key.p[root.len + AK_UUID_TEXT_LEN] == '/' &&
           read_id(ak_str_sub(key, root.len, AK_UUID_TEXT_LEN), collection);
}

/* Only what ak_snapshot_key_of() would print. */
bool ak_snapshot_key_split(struct ak_str key, struct ak_str folder, struct ak_uuid *id,
                           enum ak_snapshot_part *part)
{
    if (!ak_str_has_prefix(key, folder)) {
        return false;
    }
    struct ak_str name = ak_str_sub(key, folder.len, SIZE_MAX);
    if (!read_id(ak_str_sub(name, 0, AK_UUID_TEXT_LEN), id)) {
        return false;
    }
    struct ak_str suffix = ak_str_sub(name, AK_UUID_TEXT_LEN, SIZE_MAX);
    for (size_t i = 0; i < AK_SNAPSHOT_PART_COUNT; i++) {
        if (ak_str_eq(suffix, ak_str_of(suffixes[i]))) {
            *part = (enum ak_snapshot_part)i;
            return true;
        }
    }
    return false;
}

const char *ak_snapshot_name(const struct ak_uuid *id, char text[AK_SNAPSHOT_NAME_MAX])
{
    char id_text[AK_UUID_TEXT_LEN];
    ak_uuid_format(id, id_text);
    (void)snprintf(text, AK_SNAPSHOT_NAME_MAX, "snapshot %.*s", AK_UUID_TEXT_LEN, id_text);
    return text;
}

bool ak_snapshot_has_digest(const struct ak_snapshot_object *object)
{
    static const uint8_t none[sizeof object->sha256];
    return memcmp(object->sha256, none, sizeof none) != 0;
}

void ak_snapshot_digest_text(const uint8_t digest[32], char text[AK_SNAPSHOT_DIGEST_TEXT + 1])
{
    ak_hex(digest, 32, text);
}

enum ak_rc ak_snapshot_digest_check(const struct ak_snapshot_object *object,
                                    const uint8_t digest[32], struct ak_err *err)
{
    if (!ak_snapshot_has_digest(object) || memcmp(object->sha256, digest, 32) == 0) {
        return AK_OK;
    }
    char want[AK_SNAPSHOT_DIGEST_TEXT + 1];
    char got[AK_SNAPSHOT_DIGEST_TEXT + 1];
    ak_snapshot_digest_text(object->sha256, want);
    ak_snapshot_digest_text(digest, got);
    return ak_fail(err, AK_CORRUPT, "object '%.*s': its SHA-256 is %s, the metadata has %s",
                   AK_STR_ARG(object->key), got, want);
}
