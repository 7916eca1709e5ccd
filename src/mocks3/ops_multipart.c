/* ops_multipart.c — beginning, feeding, listing and giving up uploads in parts. */
#include "mocks3/mocks3_priv.h"
#include <inttypes.h>

/* --- Create --- */

/* The lines that an upload's head keeps: its algorithm and type; empty without one. */
static enum ak_mock_code take_algorithm(struct ak_mock_call *call, struct ak_buf *lines)
{
    struct ak_str name = ak_mock_header_of(call, "x-amz-checksum-algorithm");
    struct ak_str type = ak_mock_header_of(call, "x-amz-checksum-type");
    enum ak_mock_sum sum = ak_mock_sum_named(name);
    if (name.p && sum == AK_MOCK_SUM_NONE) {
        return ak_mock_fail(&call->fault, AK_MOCK_InvalidRequest,
                            "Checksum algorithm provided is unsupported. Please try again with any "
                            "of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]");
    }
    if (!name.p) {
        return type.p ? ak_mock_fail(&call->fault, AK_MOCK_InvalidRequest,
                                     "x-amz-checksum-type needs x-amz-checksum-algorithm")
                      : AK_MOCK_OK;
    }
    bool is_full = type.p ? ak_str_eq(type, AK_STR("FULL_OBJECT")) : sum == AK_MOCK_CRC64NVME;
    bool is_known = !type.p || is_full || ak_str_eq(type, AK_STR("COMPOSITE"));
    bool is_digest = sum == AK_MOCK_SHA1 || sum == AK_MOCK_SHA256;
    if (!is_known || (is_full && is_digest) || (!is_full && sum == AK_MOCK_CRC64NVME)) {
        return ak_mock_fail(&call->fault, AK_MOCK_InvalidRequest,
                            "The %s checksum type cannot be used with the %s checksum algorithm.",
                            is_full ? "FULL_OBJECT" : "COMPOSITE", ak_mock_sum_name(sum));
    }
    ak_buf_add_fmt(lines, "x-amz-checksum-algorithm: %s\r\nx-amz-checksum-type: %s\r\n",
                   ak_mock_sum_name(sum), is_full ? "FULL_OBJECT" : "COMPOSITE");
    return AK_MOCK_OK;
}

void ak_mock_run_CreateMultipartUpload(struct ak_mock_call *call)
{
    char id[AK_MOCK_UPLOAD_ID_LEN + 1];
    struct ak_buf lines;
    struct ak_buf out;
    struct ak_str headers = AK_STR_NONE;
    ak_buf_init(&lines, 1024);
    enum ak_mock_code code = ak_mock_take_headers(call, &headers);
    (void)(code || (code = take_algorithm(call, &lines)));
    const struct ak_mock_fields fields = {
        .bucket = call->bucket,
        .key = call->key,
        .headers = headers,
        .sums = ak_buf_str(&lines),
    };
    (void)(code || (code = ak_mock_upload_create(call->server->store, &fields, id, &call->fault)));
    if (code) {
        ak_buf_release(&lines);
        ak_mock_reply_fault(call);
        return;
    }
    ak_mock_xml_begin(&out, "InitiateMultipartUploadResult");
    ak_mock_xml_put_element(&out, "Bucket", call->bucket);
    ak_mock_xml_put_element(&out, "Key", call->key);
    ak_mock_xml_put_element(&out, "UploadId", ak_str_of(id));
    ak_buf_add_str(&out, AK_STR("</InitiateMultipartUploadResult>"));
    ak_mock_reply_xml(call, 200, &out, &lines);
}

/* --- UploadPart --- */

enum ak_mock_code ak_mock_begin_UploadPart(struct ak_mock_call *call)
{
    uint64_t number = 0;
    enum ak_mock_code code =
        ak_mock_param_number(call, "partNumber", AK_MOCK_PARTS_MAX, 0, &number);
    if (code || number == 0) {
        return ak_mock_fail(&call->fault, AK_MOCK_InvalidArgument,
                            "Part number must be an integer between 1 and 10000, inclusive");
    }
    call->part_number = (unsigned)number;
    code = ak_mock_upload_get(call->server->store, call->bucket, call->key,
                              ak_mock_param_of(call, "uploadId"), &call->head, &call->fault);
    if (!code) {
        call->upload_sum = ak_mock_sum_named(
            ak_mock_line_of(call->head->sums, AK_STR("x-amz-checksum-algorithm")));
    }
    return code;
}

void ak_mock_run_UploadPart(struct ak_mock_call *call)
{
    char etag[33];
    struct ak_buf sums;
    struct ak_buf headers;
    if (call->upload_sum != AK_MOCK_SUM_NONE && call->sum != call->upload_sum) {
        (void)ak_mock_fail(&call->fault, AK_MOCK_InvalidRequest,
                           "Checksum Type mismatch occurred, expected checksum Type: %s, actual "
                           "checksum Type: %s",
                           ak_mock_sum_name(call->upload_sum), ak_mock_sum_name(call->sum));
        ak_mock_reply_fault(call);
        return;
    }
    ak_mock_body_etag(call, etag);
    ak_buf_init(&sums, 1024);
    ak_buf_init(&headers, 2048);
    if (call->sum != AK_MOCK_SUM_NONE) {
        ak_buf_add_fmt(&sums, "%s: %s\r\n", ak_mock_sum_header(call->sum).p, call->sum_computed);
    }
    const struct ak_mock_fields fields = {
        .bucket = call->bucket,
        .key = call->key,
        .etag = ak_str_of(etag),
        .sums = ak_buf_str(&sums),
    };
    ak_buf_add_fmt(&headers, "ETag: \"%s\"\r\n", etag);
    ak_buf_add_str(&headers, ak_buf_str(&sums));
    enum ak_mock_code code =
        ak_mock_part_put(call->server->store, &call->sink, ak_mock_param_of(call, "uploadId"),
                         call->part_number, &fields, &call->fault);
    ak_buf_release(&sums);
    if (code) {
        ak_buf_release(&headers);
        ak_mock_reply_fault(call);
    } else {
        ak_mock_reply_empty(call, 200, &headers);
    }
}

/* --- Abort --- */

void ak_mock_run_AbortMultipartUpload(struct ak_mock_call *call)
{
    if (ak_mock_upload_abort(call->server->store, call->bucket, call->key,
                             ak_mock_param_of(call, "uploadId"), &call->fault)) {
        ak_mock_reply_fault(call);
    } else {
        ak_mock_reply_empty(call, 204, NULL);
    }
}

/* --- ListParts --- */

static void put_part(struct ak_buf *out, const struct ak_mock_part *part)
{
    char date[AK_MOCK_DATE_MAX];
    ak_buf_add_str(out, AK_STR("<Part>"));
    ak_mock_xml_put_number(out, "PartNumber", part->number);
    ak_mock_xml_put_element(out, "LastModified",
                            ak_str_of(ak_mock_iso_date(part->item->modified_us, date)));
    ak_buf_add_fmt(out, "<ETag>&quot;%.*s&quot;</ETag>", AK_STR_ARG(part->item->etag));
    ak_mock_xml_put_number(out, "Size", part->item->size);
    ak_mock_put_sum_elements(out, part->item->sums, false);
    ak_buf_add_str(out, AK_STR("</Part>"));
}

static void put_parts(struct ak_mock_call *call, struct ak_buf *out, struct ak_str id,
                      const struct ak_mock_part *parts, size_t count, uint64_t marker, uint64_t max)
{
    size_t from = 0;
    while (from < count && parts[from].number <= marker) {
        from++;
    }
    size_t len = count - from < max ? count - from : (size_t)max;
    ak_mock_xml_begin(out, "ListPartsResult");
    ak_mock_xml_put_element(out, "Bucket", call->bucket);
    ak_mock_xml_put_element(out, "Key", call->key);
    ak_mock_xml_put_element(out, "UploadId", id);
    ak_mock_xml_put_number(out, "PartNumberMarker", marker);
    if (len) {
        ak_mock_xml_put_number(out, "NextPartNumberMarker", parts[from + len - 1].number);
    }
    ak_mock_xml_put_number(out, "MaxParts", max);
    ak_buf_add_fmt(out, "<IsTruncated>%s</IsTruncated>",
                   len && from + len < count ? "true" : "false");
    for (size_t i = from; i < from + len; i++) {
        put_part(out, &parts[i]);
    }
    ak_buf_add_str(out, AK_STR("<StorageClass>STANDARD</StorageClass></ListPartsResult>"));
}

void ak_mock_run_ListParts(struct ak_mock_call *call)
{
    struct ak_mock_part *parts = NULL;
    size_t count = 0;
    uint64_t marker = 0;
    uint64_t max = 0;
    struct ak_buf out;
    struct ak_str id = ak_mock_param_of(call, "uploadId");
    enum ak_mock_code code =
        ak_mock_param_number(call, "part-number-marker", INT32_MAX, 0, &marker);
    (void)(code || (code = ak_mock_param_number(call, "max-parts", INT32_MAX, 1000, &max)) ||
           (code = ak_mock_part_list(call->server->store, call->bucket, call->key, id, call->arena,
                                     &parts, &count, &call->fault)));
    if (code) {
        ak_mock_reply_fault(call);
        return;
    }
    put_parts(call, &out, id, parts, count, marker, max < 1000 ? max : 1000);
    ak_mock_part_list_release(parts, count);
    ak_mock_reply_xml(call, 200, &out, NULL);
}

/* --- ListMultipartUploads --- */

static struct ak_str or_empty(struct ak_str text)
{
    return text.p ? text : AK_STR("");
}

static void put_upload_name(struct ak_buf *out, bool encodes, const char *element,
                            struct ak_str name)
{
    ak_buf_add_fmt(out, "<%s>", element);
    if (encodes) {
        ak_mock_uri_encode(out, name, true);
    } else {
        ak_mock_xml_put(out, name);
    }
    ak_buf_add_fmt(out, "</%s>", element);
}

static void put_upload(struct ak_buf *out, bool encodes, const struct ak_mock_upload_row *row)
{
    char date[AK_MOCK_DATE_MAX];
    ak_buf_add_str(out, AK_STR("<Upload>"));
    put_upload_name(out, encodes, "Key", row->key);
    ak_mock_xml_put_element(out, "UploadId", row->id);
    ak_buf_add_str(out, AK_STR("<StorageClass>STANDARD</StorageClass>"));
    ak_mock_xml_put_element(out, "Initiated", ak_str_of(ak_mock_iso_date(row->created_us, date)));
    ak_buf_add_str(out, AK_STR("</Upload>"));
}

void ak_mock_run_ListMultipartUploads(struct ak_mock_call *call)
{
    struct ak_mock_upload_row *rows = NULL;
    size_t count = 0;
    bool is_truncated = false;
    uint64_t max = 0;
    struct ak_buf out;
    struct ak_str prefix = or_empty(ak_mock_param_of(call, "prefix"));
    struct ak_str key = or_empty(ak_mock_param_of(call, "key-marker"));
    struct ak_str id = or_empty(ak_mock_param_of(call, "upload-id-marker"));
    bool encodes = ak_str_eq(ak_mock_param_of(call, "encoding-type"), AK_STR("url"));
    enum ak_mock_code code = ak_mock_param_number(call, "max-uploads", INT32_MAX, 1000, &max);
    if (!code && ak_mock_param_of(call, "delimiter").len) {
        code = ak_mock_fail(&call->fault, AK_MOCK_NotImplemented,
                            "ListMultipartUploads takes no delimiter here");
    }
    max = max < 1000 ? max : 1000;
    (void)(code || (code = ak_mock_upload_list(call->server->store, call->bucket, prefix, key, id,
                                               (size_t)max, call->arena, &rows, &count,
                                               &is_truncated, &call->fault)));
    if (code) {
        ak_mock_reply_fault(call);
        return;
    }
    ak_mock_xml_begin(&out, "ListMultipartUploadsResult");
    ak_mock_xml_put_element(&out, "Bucket", call->bucket);
    put_upload_name(&out, encodes, "KeyMarker", key);
    ak_mock_xml_put_element(&out, "UploadIdMarker", id);
    put_upload_name(&out, encodes, "Prefix", prefix);
    if (encodes) {
        ak_buf_add_str(&out, AK_STR("<EncodingType>url</EncodingType>"));
    }
    if (is_truncated) {
        put_upload_name(&out, encodes, "NextKeyMarker", rows[count - 1].key);
        ak_mock_xml_put_element(&out, "NextUploadIdMarker", rows[count - 1].id);
    }
    ak_mock_xml_put_number(&out, "MaxUploads", max);
    ak_buf_add_fmt(&out, "<IsTruncated>%s</IsTruncated>", is_truncated ? "true" : "false");
    for (size_t i = 0; i < count; i++) {
        put_upload(&out, encodes, &rows[i]);
    }
    ak_buf_add_str(&out, AK_STR("</ListMultipartUploadsResult>"));
    ak_mock_reply_xml(call, 200, &out, NULL);
}
