/* payload.c — what a job's row keeps beside its columns.
 *
 *     snapshot         {"format","compression","encoding","row_group_rows","no_image"}, and from
 *                      STEP_UPLOADED on the snapshot's metadata object instead
 *                      (the row's target is no id: generation_of())
 *     restore          {"into","rebuilt"}
 *     tier             {"to","rebuilt"}
 *     snapshot_delete  {}
 *
 * Unknown fields are ignored, so that an older program can take over a newer one's rows.
 */
#include "archive/archive_priv.h"
#include "base/json.h"

static void put_bool(struct ak_buf *out, const char *key, bool value)
{
    ak_buf_add_fmt(out, ",\"%s\":%s", key, value ? "true" : "false");
}

enum ak_rc ak_archive_payload_write(struct archive_job *job, struct ak_err *err)
{
    struct ak_buf out;
    ak_buf_init(&out, 0);
    if (job->kind == AK_JOB_SNAPSHOT) {
        const struct ak_snapshot_options *options = &job->options;
        ak_buf_add_fmt(&out, "{\"format\":\"%s\",\"compression\":\"%s\",\"encoding\":\"%s\"",
                       ak_snapshot_format_name(options->format),
                       ak_codec_name(options->compression),
                       ak_snapshot_encoding_name(options->encoding));
        ak_buf_add_fmt(&out, ",\"row_group_rows\":%u", options->row_group_rows);
        put_bool(&out, "no_image", options->no_image);
    } else if (job->kind == AK_JOB_RESTORE) {
        ak_buf_add_fmt(&out, "{\"into\":");
        ak_json_put_string(&out, job->into);
        put_bool(&out, "rebuilt", job->rebuilt);
    } else if (job->kind == AK_JOB_TIER) {
        ak_buf_add_fmt(&out, "{\"to\":\"%s\"", ak_tier_name(job->to));
        put_bool(&out, "rebuilt", job->rebuilt);
    } else {
        ak_buf_add_char(&out, '{');
    }
    ak_buf_add_char(&out, '}');
    enum ak_rc rc = ak_buf_check(&out, err);
    struct ak_str payload =
        rc == AK_OK ? ak_arena_str(&job->strings, ak_buf_str(&out)) : AK_STR_NONE;
    ak_buf_release(&out);
    if (!payload.p) {
        return ak_fail(err, AK_NOMEM, "a job's payload");
    }
    job->row.payload = payload;
    return AK_OK;
}

static void read_field(struct ak_json *in, struct ak_str key, struct archive_job *job)
{
    struct ak_snapshot_options *options = &job->options;
    struct ak_str text = AK_STR_NONE;
    uint64_t number = 0;
    if (ak_str_eq(key, AK_STR("format"))) {
        if (ak_json_string(in, &text) && !ak_snapshot_format_parse(text, &options->format)) {
            ak_json_fail(in, "unknown format");
        }
    } else if (ak_str_eq(key, AK_STR("compression"))) {
        if (ak_json_string(in, &text) && !ak_codec_parse(text, &options->compression)) {
            ak_json_fail(in, "unknown compression");
        }
    } else if (ak_str_eq(key, AK_STR("encoding"))) {
        if (ak_json_string(in, &text) && !ak_snapshot_encoding_parse(text, &options->encoding)) {
            ak_json_fail(in, "unknown encoding");
        }
    } else if (ak_str_eq(key, AK_STR("row_group_rows"))) {
        (void)ak_json_u64(in, 0, UINT32_MAX, &number);
        options->row_group_rows = (uint32_t)number;
    } else if (ak_str_eq(key, AK_STR("no_image"))) {
        (void)ak_json_bool(in, &options->no_image);
    } else if (ak_str_eq(key, AK_STR("into"))) {
        if (ak_json_string(in, &text)) {
            job->into = ak_arena_str(&job->strings, text);
            if (!job->into.p) { /* an empty one would mean: in place */
                ak_json_fail(in, "no memory for a name");
            }
        }
    } else if (ak_str_eq(key, AK_STR("to"))) {
        if (ak_json_string(in, &text) && !ak_tier_parse(text, &job->to)) {
            ak_json_fail(in, "unknown tier");
        }
    } else if (ak_str_eq(key, AK_STR("rebuilt"))) {
        (void)ak_json_bool(in, &job->rebuilt);
    } else {
        (void)ak_json_skip(in, NULL);
    }
}

enum ak_rc ak_archive_payload_read(struct archive_job *job, struct ak_err *err)
{
    struct ak_json in;
    struct ak_str key;
    if (job->kind == AK_JOB_SNAPSHOT && job->row.step == STEP_UPLOADED) {
        return AK_OK; /* the metadata: read when it is put */
    }
    ak_json_init(&in, job->row.payload);
    (void)ak_json_object(&in);
    while (ak_json_next_key(&in, &key)) {
        read_field(&in, key, job);
    }
    enum ak_rc rc = ak_json_finish(&in, err);
    ak_json_release(&in);
    return rc == AK_OK ? rc : ak_wrap(err, AK_CORRUPT, "catalog: payload of a job");
}
