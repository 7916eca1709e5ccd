/* ops_bucket.c — buckets. */
#include "mocks3/mocks3_priv.h"

bool ak_mock_bucket_name_is_valid(struct ak_str name)
{
    /* ".tmp": what store_disk.c writes to before it renames. */
    bool ok = name.len >= 3 && name.len <= 63 && !ak_str_has_suffix(name, AK_STR(".tmp"));
    for (size_t i = 0; ok && i < name.len; i++) {
        char c = name.p[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        bool is_inside = i > 0 && i + 1 < name.len;
        bool is_double = c == '.' && i > 0 && name.p[i - 1] == '.';
        ok = is_plain || (is_inside && !is_double && (c == '-' || c == '.'));
    }
    return ok;
}

void ak_mock_run_ListBuckets(struct ak_mock_call *call)
{
    struct ak_mock_bucket_row *rows = NULL;
    size_t count = 0;
    struct ak_buf out;
    char date[AK_MOCK_DATE_MAX];
    if (ak_mock_bucket_list(call->server->store, call->arena, &rows, &count, &call->fault)) {
        ak_mock_reply_fault(call);
        return;
    }
    ak_mock_xml_begin(&out, "ListAllMyBucketsResult");
    ak_buf_add_str(&out, AK_STR("<Owner><ID>akidb</ID><DisplayName>akidb</DisplayName></Owner>"
                                "<Buckets>"));
    for (size_t i = 0; i < count; i++) {
        ak_buf_add_str(&out, AK_STR("<Bucket>"));
        ak_mock_xml_put_element(&out, "Name", rows[i].name);
        ak_mock_xml_put_element(&out, "CreationDate",
                                ak_str_of(ak_mock_iso_date(rows[i].created_us, date)));
        ak_buf_add_str(&out, AK_STR("</Bucket>"));
    }
    ak_buf_add_str(&out, AK_STR("</Buckets></ListAllMyBucketsResult>"));
    ak_mock_reply_xml(call, 200, &out, NULL);
}

/* The bucket's region; "us-east-1" when it was made without one. false: answered. */
static bool find(struct ak_mock_call *call, struct ak_str *region)
{
    if (ak_mock_bucket_find(call->server->store, call->bucket, call->arena, region, &call->fault)) {
        ak_mock_reply_fault(call);
        return false;
    }
    return true;
}

void ak_mock_run_GetBucketLocation(struct ak_mock_call *call)
{
    struct ak_str region;
    struct ak_buf out;
    if (!find(call, &region)) {
        return;
    }
    ak_mock_xml_begin(&out, "LocationConstraint");
    if (!ak_str_eq(region, AK_STR("us-east-1"))) { /* which S3 writes as nothing */
        ak_mock_xml_put(&out, region);
    }
    ak_buf_add_str(&out, AK_STR("</LocationConstraint>"));
    ak_mock_reply_xml(call, 200, &out, NULL);
}

void ak_mock_run_HeadBucket(struct ak_mock_call *call)
{
    struct ak_str region;
    struct ak_buf headers;
    if (!find(call, &region)) {
        return;
    }
    ak_buf_init(&headers, 0);
    ak_buf_add_str(&headers, AK_STR("x-amz-bucket-region: "));
    ak_buf_add_str(&headers, region.len ? region : AK_STR("us-east-1"));
    ak_buf_add_str(&headers, AK_STR("\r\nContent-Type: application/xml\r\n"));
    ak_mock_reply_empty(call, 200, &headers);
}

void ak_mock_run_CreateBucket(struct ak_mock_call *call)
{
    struct ak_str region;
    struct ak_buf headers;
    if (!ak_mock_bucket_name_is_valid(call->bucket)) {
        (void)ak_mock_fail(&call->fault, AK_MOCK_InvalidBucketName,
                           "The specified bucket is not valid: 3 to 63 small letters, digits, '-' "
                           "and '.'");
        ak_mock_reply_fault(call);
        return;
    }
    if (ak_mock_read_create_bucket(ak_buf_str(&call->document), call->arena, &region,
                                   &call->fault) ||
        ak_mock_bucket_create(call->server->store, call->bucket, region, &call->fault)) {
        ak_mock_reply_fault(call);
        return;
    }
    ak_buf_init(&headers, 0);
    ak_buf_add_fmt(&headers, "Location: /%.*s\r\n", AK_STR_ARG(call->bucket));
    ak_mock_reply_empty(call, 200, &headers);
}

void ak_mock_run_DeleteBucket(struct ak_mock_call *call)
{
    if (ak_mock_bucket_remove(call->server->store, call->bucket, &call->fault)) {
        ak_mock_reply_fault(call);
    } else {
        ak_mock_reply_empty(call, 204, NULL);
    }
}
