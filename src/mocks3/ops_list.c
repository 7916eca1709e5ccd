/* ops_list.c — ListObjects, version 1 and 2.
 *
 * A continuation token is the base64 of 'k' and the last key, or of 'g' and the last group, behind
 * all of whose keys the next page begins.
 */
#include "base/mem.h"
#include "mocks3/mocks3_priv.h"
#include <string.h>

#define TOKEN_MAX (1 + AK_MOCK_KEY_MAX)

struct page {
    struct ak_mock_list_query query;
    struct ak_mock_list list;
    bool encodes; /* encoding-type=url */
    struct ak_str start_after;
    struct ak_str token;
};

static struct ak_str or_empty(struct ak_str text)
{
    return text.p ? text : AK_STR("");
}

static enum ak_mock_code read_common(struct ak_mock_call *call, struct page *page)
{
    struct ak_str encoding = ak_mock_param_of(call, "encoding-type");
    uint64_t max = 0;
    enum ak_mock_code code =
        ak_mock_param_number(call, "max-keys", INT32_MAX, AK_MOCK_LIST_MAX, &max);
    if (code) {
        return code;
    }
    if (encoding.len && !ak_str_eq(encoding, AK_STR("url"))) {
        return ak_mock_fail(&call->fault, AK_MOCK_InvalidArgument,
                            "Invalid Encoding Method specified in Request: it is url");
    }
    page->encodes = encoding.len > 0;
    page->query.max = max < AK_MOCK_LIST_MAX ? (size_t)max : AK_MOCK_LIST_MAX;
    page->query.prefix = or_empty(ak_mock_param_of(call, "prefix"));
    page->query.delimiter = or_empty(ak_mock_param_of(call, "delimiter"));
    return AK_MOCK_OK;
}

static enum ak_mock_code read_token(struct ak_mock_call *call, struct page *page)
{
    uint8_t bytes[TOKEN_MAX];
    size_t len = 0;
    page->token = ak_mock_param_of(call, "continuation-token");
    if (!page->token.p) {
        return AK_MOCK_OK;
    }
    bool ok = ak_mock_unbase64(page->token, bytes, sizeof bytes, &len) && len > 1 &&
              (bytes[0] == 'k' || bytes[0] == 'g');
    if (!ok) {
        return ak_mock_fail(&call->fault, AK_MOCK_InvalidArgument,
                            "The continuation token provided is incorrect");
    }
    page->query.after_is_group = bytes[0] == 'g';
    page->query.after = ak_arena_str(call->arena, (struct ak_str){(char *)bytes + 1, len - 1});
    return page->query.after.p
               ? AK_MOCK_OK
               : ak_mock_fail(&call->fault, AK_MOCK_SlowDown, "no memory for the list");
}

/* --- Printing --- */

static void put_name(struct ak_buf *out, const struct page *page, const char *element,
                     struct ak_str name)
{
    ak_buf_add_fmt(out, "<%s>", element);
    if (page->encodes) {
        ak_mock_uri_encode(out, name, true);
    } else {
        ak_mock_xml_put(out, name);
    }
    ak_buf_add_fmt(out, "</%s>", element);
}

static void put_object(struct ak_buf *out, const struct page *page, const struct ak_mock_item *item,
                       bool with_owner)
{
    char date[AK_MOCK_DATE_MAX];
    ak_buf_add_str(out, AK_STR("<Contents>"));
    put_name(out, page, "Key", item->key);
    ak_mock_xml_put_element(out, "LastModified",
                            ak_str_of(ak_mock_iso_date(item->modified_us, date)));
    ak_buf_add_fmt(out, "<ETag>&quot;%.*s&quot;</ETag>", AK_STR_ARG(item->etag));
    for (unsigned kind = 0; kind < AK_MOCK_CHECKSUMS; kind++) {
        if (ak_mock_line_of(item->sums, ak_mock_sum_header((enum ak_mock_sum)kind)).p) {
            ak_mock_xml_put_element(out, "ChecksumAlgorithm",
                                    ak_str_of(ak_mock_sum_name((enum ak_mock_sum)kind)));
        }
    }
    ak_mock_xml_put_number(out, "Size", item->size);
    if (with_owner) {
        ak_buf_add_str(out,
                       AK_STR("<Owner><ID>akidb</ID><DisplayName>akidb</DisplayName></Owner>"));
    }
    ak_buf_add_str(out, AK_STR("<StorageClass>STANDARD</StorageClass></Contents>"));
}

static void put_entries(struct ak_buf *out, const struct page *page, bool with_owner)
{
    AK_ASSERT(page->list.entries);
    for (size_t i = 0; i < page->list.count; i++) {
        if (page->list.entries[i].item) {
            put_object(out, page, page->list.entries[i].item, with_owner);
        }
    }
    for (size_t i = 0; i < page->list.count; i++) {
        if (!page->list.entries[i].item) {
            ak_buf_add_str(out, AK_STR("<CommonPrefixes>"));
            put_name(out, page, "Prefix", page->list.entries[i].name);
            ak_buf_add_str(out, AK_STR("</CommonPrefixes>"));
        }
    }
}

static void put_common(struct ak_mock_call *call, struct ak_buf *out, const struct page *page)
{
    ak_mock_xml_begin(out, "ListBucketResult");
    ak_mock_xml_put_element(out, "Name", call->bucket);
    put_name(out, page, "Prefix", page->query.prefix);
    if (page->query.delimiter.len) {
        put_name(out, page, "Delimiter", page->query.delimiter);
    }
    ak_mock_xml_put_number(out, "MaxKeys", page->query.max);
    if (page->encodes) {
        ak_buf_add_str(out, AK_STR("<EncodingType>url</EncodingType>"));
    }
    ak_buf_add_fmt(out, "<IsTruncated>%s</IsTruncated>",
                   page->list.is_truncated ? "true" : "false");
}

static const struct ak_mock_list_entry *last_of(const struct page *page)
{
    return page->list.is_truncated ? &page->list.entries[page->list.count - 1] : NULL;
}

/* --- The operations --- */

static void put_next_token(struct ak_buf *out, const struct ak_mock_list_entry *last)
{
    uint8_t bytes[TOKEN_MAX];
    char text[AK_MOCK_BASE64_BYTES(TOKEN_MAX)];
    AK_ASSERT(last->name.len <= AK_MOCK_KEY_MAX);
    bytes[0] = last->item ? 'k' : 'g';
    memcpy(bytes + 1, last->name.p, last->name.len);
    size_t len = ak_mock_base64(bytes, 1 + last->name.len, text);
    ak_mock_xml_put_element(out, "NextContinuationToken", (struct ak_str){text, len});
}

void ak_mock_run_ListObjectsV2(struct ak_mock_call *call)
{
    struct page page = {0};
    struct ak_buf out;
    struct ak_str type = ak_mock_param_of(call, "list-type");
    enum ak_mock_code code = AK_MOCK_OK;
    if (!ak_str_eq(type, AK_STR("2"))) {
        code = ak_mock_fail(&call->fault, AK_MOCK_InvalidArgument, "list-type must be 2");
    }
    page.start_after = or_empty(ak_mock_param_of(call, "start-after"));
    page.query.after = page.start_after;
    (void)(code || (code = read_common(call, &page)) || (code = read_token(call, &page)) ||
           (code = ak_mock_object_list(call->server->store, call->bucket, &page.query, call->arena,
                                       &page.list, &call->fault)));
    if (code) {
        ak_mock_reply_fault(call);
        return;
    }
    put_common(call, &out, &page);
    ak_mock_xml_put_number(&out, "KeyCount", page.list.count);
    if (page.token.p) {
        ak_mock_xml_put_element(&out, "ContinuationToken", page.token);
    }
    if (page.start_after.len) {
        put_name(&out, &page, "StartAfter", page.start_after);
    }
    if (last_of(&page)) {
        put_next_token(&out, last_of(&page));
    }
    put_entries(&out, &page, ak_str_eq(ak_mock_param_of(call, "fetch-owner"), AK_STR("true")));
    ak_buf_add_str(&out, AK_STR("</ListBucketResult>"));
    ak_mock_list_release(&page.list);
    ak_mock_reply_xml(call, 200, &out, NULL);
}

/* NextMarker is the last key or the last group, and does not say which: it is a group when the
 * first delimiter behind the prefix is its end. */
static bool is_group(const struct ak_mock_list_query *query, struct ak_str marker)
{
    if (!query->delimiter.len || !ak_str_has_prefix(marker, query->prefix)) {
        return false;
    }
    struct ak_str rest = ak_str_sub(marker, query->prefix.len, SIZE_MAX);
    const char *at =
        rest.len ? memmem(rest.p, rest.len, query->delimiter.p, query->delimiter.len) : NULL;
    return at && at + query->delimiter.len == rest.p + rest.len;
}

void ak_mock_run_ListObjects(struct ak_mock_call *call)
{
    struct page page = {0};
    struct ak_buf out;
    struct ak_str marker = or_empty(ak_mock_param_of(call, "marker"));
    enum ak_mock_code code = read_common(call, &page);
    page.query.after = marker;
    page.query.after_is_group = is_group(&page.query, marker);
    (void)(code || (code = ak_mock_object_list(call->server->store, call->bucket, &page.query,
                                               call->arena, &page.list, &call->fault)));
    if (code) {
        ak_mock_reply_fault(call);
        return;
    }
    put_common(call, &out, &page);
    put_name(&out, &page, "Marker", marker);
    if (last_of(&page) && page.query.delimiter.len) {
        put_name(&out, &page, "NextMarker", last_of(&page)->name);
    }
    put_entries(&out, &page, true);
    ak_buf_add_str(&out, AK_STR("</ListBucketResult>"));
    ak_mock_list_release(&page.list);
    ak_mock_reply_xml(call, 200, &out, NULL);
}
