/* ops_object.c — objects: put, get, head, copy, delete. */
#include "mocks3/mocks3_priv.h"
#include <inttypes.h>
#include <string.h>

/* --- Checksums in answers --- */

void ak_mock_put_sum(struct ak_buf *out, enum ak_mock_sum sum, const char *value, const char *type)
{
    if (sum != AK_MOCK_SUM_NONE) {
        ak_buf_add_fmt(out, "%s: %s\r\nx-amz-checksum-type: %s\r\n", ak_mock_sum_header(sum).p,
                       value, type);
    }
}

void ak_mock_put_sum_elements(struct ak_buf *out, struct ak_str lines, bool with_type)
{
    for (unsigned kind = 0; kind < AK_MOCK_CHECKSUMS; kind++) {
        struct ak_str value = ak_mock_line_of(lines, ak_mock_sum_header((enum ak_mock_sum)kind));
        if (value.p) {
            const char *name = ak_mock_sum_name((enum ak_mock_sum)kind);
            ak_buf_add_fmt(out, "<Checksum%s>", name);
            ak_mock_xml_put(out, value);
            ak_buf_add_fmt(out, "</Checksum%s>", name);
        }
    }
    struct ak_str type = ak_mock_line_of(lines, AK_STR("x-amz-checksum-type"));
    if (type.p && with_type) {
        ak_mock_xml_put_element(out, "ChecksumType", type);
    }
}

/* --- Put --- */

enum ak_mock_code ak_mock_begin_PutObject(struct ak_mock_call *call)
{
    enum ak_mock_code code =
        ak_mock_bucket_find(call->server->store, call->bucket, NULL, NULL, &call->fault);
    (void)(code || (code = ak_mock_take_headers(call, &call->item_headers)) ||
           (code = ak_mock_take_condition(call, &call->condition)));
    return code;
}

void ak_mock_run_PutObject(struct ak_mock_call *call)
{
    char etag[33];
    struct ak_buf sums;
    struct ak_buf headers;
    ak_mock_body_etag(call, etag);
    ak_buf_init(&sums, 1024);
    ak_buf_init(&headers, 2048);
    ak_mock_put_sum(&sums, call->sum, call->sum_computed, "FULL_OBJECT");
    const struct ak_mock_fields fields = {
        .bucket = call->bucket,
        .key = call->key,
        .etag = ak_str_of(etag),
        .headers = call->item_headers,
        .sums = ak_buf_str(&sums),
    };
    ak_buf_add_fmt(&headers, "ETag: \"%s\"\r\n", etag);
    ak_buf_add_str(&headers, ak_buf_str(&sums));
    enum ak_mock_code code = ak_mock_object_put(call->server->store, &call->sink, &fields,
                                                &call->condition, NULL, &call->fault);
    ak_buf_release(&sums);
    if (code) {
        ak_buf_release(&headers);
        ak_mock_reply_fault(call);
    } else {
        ak_mock_reply_empty(call, 200, &headers);
    }
}

/* --- Get, head --- */

struct span {
    uint64_t from;
    uint64_t len;
    bool is_part;
};

/* "bytes=a-b", "bytes=a-", "bytes=-n"; what is of another form is passed over, as S3 does. */
static enum ak_mock_code read_range(struct ak_mock_call *call, uint64_t size, struct span *span)
{
    struct ak_str text = ak_str_trim(ak_mock_header_of(call, "range"));
    struct ak_str first;
    struct ak_str last;
    uint64_t from = 0;
    uint64_t to = UINT64_MAX;
    *span = (struct span){0, size, false};
    if (!ak_str_has_prefix(text, AK_STR("bytes="))) {
        return AK_MOCK_OK;
    }
    text = ak_str_sub(text, 6, SIZE_MAX);
    if (!ak_str_split(text, '-', &first, &last) || (!first.len && !last.len) ||
        (first.len && !ak_str_u64(first, UINT64_MAX, &from)) ||
        (last.len && !ak_str_u64(last, UINT64_MAX, &to)) || (first.len && to < from)) {
        return AK_MOCK_OK;
    }
    if (!first.len) {
        from = to < size ? size - to : 0;
        from = to == 0 ? size : from; /* the last no bytes: there is no such range */
        to = UINT64_MAX;
    }
    if (from >= size) {
        struct ak_buf detail;
        ak_buf_init(&detail, 1024);
        ak_mock_xml_put_element(&detail, "RangeRequested", ak_mock_header_of(call, "range"));
        ak_mock_xml_put_number(&detail, "ActualObjectSize", size);
        call->fault.detail = ak_arena_str(call->arena, ak_buf_str(&detail));
        ak_buf_release(&detail);
        return ak_mock_fail(&call->fault, AK_MOCK_InvalidRange,
                            "The requested range is not satisfiable");
    }
    to = to < size - 1 ? to : size - 1;
    *span = (struct span){from, to - from + 1, true};
    return AK_MOCK_OK;
}

/* A presigned GET may ask for other headers than the object has. */
static void put_headers(const struct ak_mock_call *call, struct ak_str lines, struct ak_buf *out)
{
    static const struct {
        const char *param;
        const char *header;
    } overrides[] = {{"response-content-type", "Content-Type"},
                     {"response-content-language", "Content-Language"},
                     {"response-expires", "Expires"},
                     {"response-cache-control", "Cache-Control"},
                     {"response-content-disposition", "Content-Disposition"},
                     {"response-content-encoding", "Content-Encoding"}};
    struct ak_str values[sizeof overrides / sizeof overrides[0]];
    for (size_t i = 0; i < sizeof overrides / sizeof overrides[0]; i++) {
        values[i] = ak_mock_param_of(call, overrides[i].param);
        bool is_clean = values[i].len && !memchr(values[i].p, '\r', values[i].len) &&
                        !memchr(values[i].p, '\n', values[i].len);
        values[i] = is_clean ? values[i] : AK_STR_NONE;
        if (is_clean) {
            ak_buf_add_fmt(out, "%s: %.*s\r\n", overrides[i].header, AK_STR_ARG(values[i]));
        }
    }
    while (lines.len) {
        struct ak_str line;
        struct ak_str name;
        struct ak_str value;
        bool is_overridden = false;
        (void)ak_str_split(lines, '\n', &line, &lines);
        (void)ak_str_split(line, ':', &name, &value);
        for (size_t i = 0; i < sizeof overrides / sizeof overrides[0]; i++) {
            is_overridden |= values[i].p && ak_str_eq(name, ak_str_of(overrides[i].header));
        }
        if (!is_overridden) {
            ak_buf_add_str(out, line);
            ak_buf_add_char(out, '\n');
        }
    }
}

static void put_item(const struct ak_mock_call *call, const struct ak_mock_item *item,
                     const struct span *span, struct ak_buf *out)
{
    char date[AK_MOCK_DATE_MAX];
    struct ak_str mode = ak_mock_header_of(call, "x-amz-checksum-mode");
    ak_buf_init(out, (size_t)2 * AK_HEADER_BYTES_MAX);
    ak_buf_add_fmt(out, "ETag: \"%.*s\"\r\nLast-Modified: %s\r\nAccept-Ranges: bytes\r\n",
                   AK_STR_ARG(item->etag), ak_mock_http_date(item->modified_us, date));
    if (span->is_part) {
        ak_buf_add_fmt(out, "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n",
                       span->from, span->from + span->len - 1, item->size);
    } else if (ak_str_eq_nocase(mode, AK_STR("ENABLED"))) {
        ak_buf_add_str(out, item->sums);
    }
    put_headers(call, item->headers, out);
}

/* An answer that says 304 carries what the client may keep. */
static void reply_not_modified(struct ak_mock_call *call, const struct ak_mock_item *item)
{
    char date[AK_MOCK_DATE_MAX];
    struct ak_buf headers;
    ak_buf_init(&headers, 1024);
    ak_buf_add_fmt(&headers, "ETag: \"%.*s\"\r\nLast-Modified: %s\r\n", AK_STR_ARG(item->etag),
                   ak_mock_http_date(item->modified_us, date));
    ak_mock_reply_empty(call, 304, &headers);
}

static void read_object(struct ak_mock_call *call, bool with_body)
{
    struct ak_mock_item *item = NULL;
    struct ak_mock_view view = {0};
    struct span span = {0};
    struct ak_buf headers;
    enum ak_mock_code code = ak_mock_object_get(call->server->store, call->bucket, call->key, &item,
                                                with_body ? &view : NULL, &call->fault);
    (void)(code || (code = ak_mock_check_read(call, "", item)) ||
           (code = read_range(call, item->size, &span)));
    if (code == AK_MOCK_NotModified) {
        reply_not_modified(call, item);
    } else if (code) {
        ak_mock_reply_fault(call);
    } else {
        put_item(call, item, &span, &headers);
        int status = span.is_part ? 206 : 200;
        if (with_body) {
            ak_mock_reply_view(call, status, &view, span.from, span.len, &headers);
        } else {
            ak_mock_reply_length(call, status, span.len, &headers);
        }
    }
    ak_mock_view_release(&view);
    ak_mock_item_unref(item);
}

void ak_mock_run_GetObject(struct ak_mock_call *call)
{
    read_object(call, true);
}

void ak_mock_run_HeadObject(struct ak_mock_call *call)
{
    read_object(call, false);
}

/* --- Delete --- */

void ak_mock_run_DeleteObject(struct ak_mock_call *call)
{
    struct ak_mock_condition condition;
    if (ak_mock_take_condition(call, &condition) ||
        ak_mock_object_remove(call->server->store, call->bucket, call->key, &condition,
                              &call->fault)) {
        ak_mock_reply_fault(call);
    } else {
        ak_mock_reply_empty(call, 204, NULL);
    }
}

static void put_deleted(struct ak_buf *out, struct ak_str key, const struct ak_mock_fault *fault)
{
    ak_buf_add_str(out, fault->code ? AK_STR("<Error>") : AK_STR("<Deleted>"));
    ak_mock_xml_put_element(out, "Key", key);
    if (fault->code) {
        ak_mock_xml_put_element(out, "Code", ak_str_of(ak_mock_code_name(fault->code)));
        ak_mock_xml_put_element(out, "Message", ak_str_of(fault->text));
    }
    ak_buf_add_str(out, fault->code ? AK_STR("</Error>") : AK_STR("</Deleted>"));
}

static void delete_objects(void *arg)
{
    struct ak_mock_call *call = arg;
    struct ak_mock_delete wanted;
    struct ak_buf out;
    const struct ak_mock_condition always = {0};
    if (ak_mock_read_delete(ak_buf_str(&call->document), call->arena, &wanted, &call->fault) ||
        ak_mock_bucket_find(call->server->store, call->bucket, NULL, NULL, &call->fault)) {
        ak_mock_reply_fault(call);
        return;
    }
    ak_mock_xml_begin(&out, "DeleteResult");
    for (size_t i = 0; i < wanted.count; i++) {
        struct ak_mock_fault fault = {0};
        (void)!ak_mock_object_remove(call->server->store, call->bucket, wanted.keys[i], &always,
                                     &fault); /* in the answer */
        if (fault.code || !wanted.quiet) {
            put_deleted(&out, wanted.keys[i], &fault);
        }
    }
    ak_buf_add_str(&out, AK_STR("</DeleteResult>"));
    ak_mock_reply_xml(call, 200, &out, NULL);
}

void ak_mock_run_DeleteObjects(struct ak_mock_call *call)
{
    if (!call->has_md5 && call->sum == AK_MOCK_SUM_NONE) {
        (void)ak_mock_fail(&call->fault, AK_MOCK_InvalidRequest,
                           "Missing required header for this request: Content-MD5 OR "
                           "x-amz-checksum-*");
        ak_mock_reply_fault(call);
        return;
    }
    ak_mock_to_worker(call, delete_objects);
}
