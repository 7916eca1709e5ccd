/* metadata.c — the metadata of a document: checked once on the way in, stored compact. */
#include "base/json.h"
#include "model/collection.h"

enum ak_rc ak_metadata_read(struct ak_str text, struct ak_arena *arena, struct ak_str *compact,
                            struct ak_err *err)
{
    struct ak_json in;
    ak_json_init(&in, text);
    enum ak_json_type type = ak_json_peek(&in);
    struct ak_str raw = AK_STR_NONE;
    if (type != AK_JSON_OBJECT && type != AK_JSON_NULL && type != AK_JSON_END) {
        ak_json_fail(&in, "metadata must be a JSON object");
    }
    ak_json_skip(&in, &raw);
    enum ak_rc rc = ak_json_finish(&in, err);
    ak_json_release(&in);
    if (rc != AK_OK || type == AK_JSON_NULL) {
        *compact = AK_STR_NONE;
        return rc == AK_OK ? rc : ak_wrap(err, rc, "metadata");
    }
    struct ak_buf out;
    ak_buf_init(&out, AK_METADATA_MAX);
    ak_json_put_compact(&out, raw);
    if (out.failed && out.no_memory) {
        rc = ak_fail(err, AK_NOMEM, "no memory for metadata");
    } else if (out.failed) {
        rc = ak_fail(err, AK_TOO_BIG, "metadata is larger than %u bytes", AK_METADATA_MAX);
    } else {
        struct ak_str kept = ak_arena_str(arena, ak_buf_str(&out));
        rc = kept.p ? AK_OK : ak_fail(err, AK_NOMEM, "metadata of %zu bytes", out.len);
        *compact = kept;
    }
    ak_buf_release(&out);
    return rc;
}
