/* ops_copy.c — CopyObject: a put whose bytes are another object's. */
#include "base/encode.h"
#include "mocks3/mocks3_priv.h"

struct copy {
    struct ak_mock_item *source;
    struct ak_mock_view view;
    struct ak_mock_sums sums;
    enum ak_mock_sum sum;
    struct ak_buf sum_lines;
    char etag[33];
};

static enum ak_mock_code read_source(struct ak_mock_call *call, struct ak_str *bucket,
                                     struct ak_str *key)
{
    struct ak_str raw = ak_str_trim(ak_mock_header_of(call, "x-amz-copy-source"));
    struct ak_str path;
    struct ak_str query;
    (void)ak_str_split(raw, '?', &path, &query);
    if (query.len && !ak_str_eq(query, AK_STR("versionId=null"))) {
        return ak_mock_fail(&call->fault, AK_MOCK_NotImplemented,
                            "this server keeps no versions: leave versionId out of "
                            "x-amz-copy-source");
    }
    path = ak_percent_decode(path, false, call->arena);
    if (path.len && path.p[0] == '/') {
        path = ak_str_sub(path, 1, SIZE_MAX);
    }
    if (!path.p || !ak_str_split(path, '/', bucket, key) || !bucket->len || !key->len) {
        return ak_mock_fail(&call->fault, AK_MOCK_InvalidArgument,
                            "Copy Source must mention the source bucket and key: "
                            "sourcebucket/sourcekey");
    }
    return AK_MOCK_OK;
}

/* COPY: the source's headers; REPLACE: the request's. */
static enum ak_mock_code take_headers(struct ak_mock_call *call, const struct copy *copy,
                                      struct ak_str *headers)
{
    struct ak_str directive = ak_mock_header_of(call, "x-amz-metadata-directive");
    bool replaces = ak_str_eq(directive, AK_STR("REPLACE"));
    if (directive.len && !replaces && !ak_str_eq(directive, AK_STR("COPY"))) {
        return ak_mock_fail(&call->fault, AK_MOCK_InvalidArgument,
                            "Unknown metadata directive: it is COPY or REPLACE");
    }
    if (replaces) {
        return ak_mock_take_headers(call, headers);
    }
    if (ak_str_eq(copy->source->bucket, call->bucket) && ak_str_eq(copy->source->key, call->key)) {
        return ak_mock_fail(
            &call->fault, AK_MOCK_InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to "
            "itself without changing the object's metadata.");
    }
    *headers = copy->source->headers;
    return AK_MOCK_OK;
}

static enum ak_mock_code open_source(struct ak_mock_call *call, struct copy *copy)
{
    struct ak_str bucket = AK_STR_NONE;
    struct ak_str key = AK_STR_NONE;
    enum ak_mock_code code = read_source(call, &bucket, &key);
    (void)(code ||
           (code = ak_mock_object_get(call->server->store, bucket, key, &copy->source, &copy->view,
                                      &call->fault)) ||
           (code = ak_mock_check_read(call, "x-amz-copy-source-", copy->source)));
    return code;
}

/* The bytes through the sums into the call's sink. */
static enum ak_mock_code copy_bytes(struct ak_mock_call *call, struct copy *copy)
{
    struct ak_err err;
    uint8_t value[AK_MOCK_SUM_BYTES_MAX];
    char text[AK_MOCK_SUM_TEXT_MAX];
    struct ak_str algorithm = ak_mock_header_of(call, "x-amz-checksum-algorithm");
    struct ak_str type = ak_mock_line_of(copy->source->sums, AK_STR("x-amz-checksum-type"));
    copy->sum = ak_mock_sum_named(algorithm);
    unsigned wanted = 1u << AK_MOCK_MD5 | (copy->sum != AK_MOCK_SUM_NONE ? 1u << copy->sum : 0);
    if (ak_mock_sums_init(&copy->sums, wanted, &err) != AK_OK) {
        return ak_mock_fail_rc(&call->fault, &err);
    }
    ak_mock_sums_add(&copy->sums, copy->view.bytes);
    enum ak_mock_code code =
        ak_mock_sink_write(&call->sink, copy->view.bytes, copy->view.bytes.len, &call->fault);
    ak_hex(value, ak_mock_sums_finish(&copy->sums, AK_MOCK_MD5, value), copy->etag);
    if (copy->sum != AK_MOCK_SUM_NONE) {
        (void)ak_mock_base64(value, ak_mock_sums_finish(&copy->sums, copy->sum, value), text);
        ak_mock_put_sum(&copy->sum_lines, copy->sum, text, "FULL_OBJECT");
    } else if (ak_str_eq(type, AK_STR("FULL_OBJECT"))) { /* the same bytes, so the same sum */
        ak_buf_add_str(&copy->sum_lines, copy->source->sums);
    }
    return code;
}

static enum ak_mock_code make_copy(struct ak_mock_call *call, struct copy *copy,
                                   struct ak_mock_item **item)
{
    struct ak_mock_condition condition;
    struct ak_str headers;
    enum ak_mock_code code = open_source(call, copy);
    (void)(code || (code = take_headers(call, copy, &headers)) ||
           (code = ak_mock_take_condition(call, &condition)) || (code = copy_bytes(call, copy)));
    if (code) {
        return code;
    }
    const struct ak_mock_fields fields = {
        .bucket = call->bucket,
        .key = call->key,
        .etag = ak_str_of(copy->etag),
        .headers = headers,
        .sums = ak_buf_str(&copy->sum_lines),
    };
    return ak_mock_object_put(call->server->store, &call->sink, &fields, &condition, item,
                              &call->fault);
}

static void copy_object(void *arg)
{
    struct ak_mock_call *call = arg;
    struct copy copy = {0};
    struct ak_mock_item *item = NULL;
    struct ak_buf out;
    char date[AK_MOCK_DATE_MAX];
    ak_buf_init(&copy.sum_lines, 1024);
    enum ak_mock_code code = make_copy(call, &copy, &item);
    ak_mock_sums_release(&copy.sums);
    ak_mock_view_release(&copy.view);
    ak_mock_item_unref(copy.source);
    ak_buf_release(&copy.sum_lines);
    if (code) {
        ak_mock_reply_fault(call);
        return;
    }
    ak_mock_xml_begin(&out, "CopyObjectResult");
    ak_buf_add_fmt(&out, "<ETag>&quot;%.*s&quot;</ETag>", AK_STR_ARG(item->etag));
    ak_mock_xml_put_element(&out, "LastModified",
                            ak_str_of(ak_mock_iso_date(item->modified_us, date)));
    ak_mock_put_sum_elements(&out, item->sums, true);
    ak_buf_add_str(&out, AK_STR("</CopyObjectResult>"));
    ak_mock_item_unref(item);
    ak_mock_reply_xml(call, 200, &out, NULL);
}

void ak_mock_run_CopyObject(struct ak_mock_call *call)
{
    ak_mock_to_worker(call, copy_object);
}
