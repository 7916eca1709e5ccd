/* ops_complete.c — CompleteMultipartUpload, on a worker: it copies the parts into one object.
 *
 * ETag: MD5 of the parts' MD5s, in binary, then "-N". Checksum of an upload that has an algorithm:
 * COMPOSITE, that of the parts' checksums, then "-N"; or FULL_OBJECT, of all bytes.
 */
#include "base/encode.h"
#include "mocks3/mocks3_priv.h"
#include <stdio.h>
#include <string.h>

struct completion {
    struct ak_mock_complete wanted;
    struct ak_mock_part *parts; /* all there are */
    size_t part_count;
    struct ak_mock_part *chosen; /* those that were named, in order */
    struct ak_mock_item *head;
    enum ak_mock_sum sum;
    bool is_full;
    struct ak_mock_sums etags;
    struct ak_mock_sums whole; /* FULL_OBJECT: of the bytes; COMPOSITE: of the sums */
    char etag[64];
    struct ak_buf sum_lines;
};

static const struct ak_mock_part *part_of(const struct completion *all, uint64_t number)
{
    size_t low = 0;
    size_t high = all->part_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (all->parts[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < all->part_count && all->parts[low].number == number ? &all->parts[low] : NULL;
}

static enum ak_mock_code check_order(struct ak_mock_call *call, const struct completion *all)
{
    for (size_t i = 1; i < all->wanted.count; i++) {
        if (all->wanted.parts[i].number <= all->wanted.parts[i - 1].number) {
            return ak_mock_fail(&call->fault, AK_MOCK_InvalidPartOrder,
                                "The list of parts was not in ascending order. Parts must be "
                                "ordered by part number.");
        }
    }
    return AK_MOCK_OK;
}

static enum ak_mock_code check_part(struct ak_mock_call *call, struct completion *all, size_t i)
{
    const struct ak_mock_named_part *named = &all->wanted.parts[i];
    const struct ak_mock_part *part = part_of(all, named->number);
    struct ak_str sum = AK_STR_NONE;
    if (part && named->sum_kind < AK_MOCK_CHECKSUMS) {
        sum = ak_mock_line_of(part->item->sums,
                              ak_mock_sum_header((enum ak_mock_sum)named->sum_kind));
    }
    if (!part || !ak_str_eq_nocase(part->item->etag, named->etag) ||
        (sum.p && named->sum.len && !ak_str_eq(sum, named->sum))) {
        return ak_mock_fail(&call->fault, AK_MOCK_InvalidPart,
                            "One or more of the specified parts could not be found. The part may "
                            "not have been uploaded, or the specified entity tag may not match the "
                            "part's entity tag: part %llu",
                            (unsigned long long)named->number);
    }
    all->chosen[i] = *part;
    return AK_MOCK_OK;
}

static enum ak_mock_code check_sizes(struct ak_mock_call *call, const struct completion *all)
{
    for (size_t i = 0; i + 1 < all->wanted.count; i++) {
        const struct ak_mock_part *part = &all->chosen[i];
        if (part->item->size < AK_MOCK_PART_MIN) {
            return ak_mock_fail(&call->fault, AK_MOCK_EntityTooSmall,
                                "Your proposed upload is smaller than the minimum allowed size: "
                                "part %u has %llu bytes, all but the last need 5242880",
                                part->number, (unsigned long long)part->item->size);
        }
    }
    return AK_MOCK_OK;
}

static enum ak_mock_code choose_parts(struct ak_mock_call *call, struct completion *all)
{
    all->chosen = ak_arena_alloc(call->arena, all->wanted.count * sizeof *all->chosen);
    if (!all->chosen) {
        return ak_mock_fail(&call->fault, AK_MOCK_SlowDown, "no memory for the list of parts");
    }
    enum ak_mock_code code = check_order(call, all);
    for (size_t i = 0; !code && i < all->wanted.count; i++) {
        code = check_part(call, all, i);
    }
    return code ? code : check_sizes(call, all);
}

static enum ak_mock_code begin_sums(struct ak_mock_call *call, struct completion *all)
{
    struct ak_err err;
    struct ak_str type = ak_mock_line_of(all->head->sums, AK_STR("x-amz-checksum-type"));
    all->sum =
        ak_mock_sum_named(ak_mock_line_of(all->head->sums, AK_STR("x-amz-checksum-algorithm")));
    all->is_full = ak_str_eq(type, AK_STR("FULL_OBJECT"));
    unsigned wanted = all->sum == AK_MOCK_SUM_NONE ? 0 : 1u << all->sum;
    if (ak_mock_sums_init(&all->etags, 1u << AK_MOCK_MD5, &err) != AK_OK ||
        ak_mock_sums_init(&all->whole, wanted, &err) != AK_OK) {
        return ak_mock_fail_rc(&call->fault, &err);
    }
    return AK_MOCK_OK;
}

static void add_part_sums(struct completion *all, const struct ak_mock_item *item)
{
    uint8_t bytes[AK_MOCK_SUM_BYTES_MAX];
    size_t len = 0;
    if (ak_unhex(item->etag, bytes, 16)) {
        ak_mock_sums_add(&all->etags, (struct ak_str){(char *)bytes, 16});
    }
    if (all->sum == AK_MOCK_SUM_NONE || all->is_full) {
        return;
    }
    struct ak_str sum = ak_mock_line_of(item->sums, ak_mock_sum_header(all->sum));
    if (ak_mock_unbase64(sum, bytes, sizeof bytes, &len)) {
        ak_mock_sums_add(&all->whole, (struct ak_str){(char *)bytes, len});
    }
}

static enum ak_mock_code copy_parts(struct ak_mock_call *call, struct completion *all)
{
    uint64_t size = 0;
    for (size_t i = 0; i < all->wanted.count; i++) {
        size += all->chosen[i].item->size;
    }
    for (size_t i = 0; i < all->wanted.count; i++) {
        struct ak_mock_view view;
        struct ak_mock_item *item = all->chosen[i].item;
        enum ak_mock_code code = ak_mock_view_open(item, &view, &call->fault);
        if (code) {
            return code;
        }
        add_part_sums(all, item);
        if (all->is_full) {
            ak_mock_sums_add(&all->whole, view.bytes);
        }
        code = ak_mock_sink_write(&call->sink, view.bytes, size, &call->fault);
        ak_mock_view_release(&view);
        if (code) {
            return code;
        }
    }
    return AK_MOCK_OK;
}

static enum ak_mock_code finish_sums(struct ak_mock_call *call, struct completion *all)
{
    uint8_t value[AK_MOCK_SUM_BYTES_MAX];
    char hex[33];
    char text[AK_MOCK_SUM_TEXT_MAX + 8];
    ak_hex(value, ak_mock_sums_finish(&all->etags, AK_MOCK_MD5, value), hex);
    (void)snprintf(all->etag, sizeof all->etag, "%s-%zu", hex, all->wanted.count);
    if (all->sum == AK_MOCK_SUM_NONE) {
        return AK_MOCK_OK;
    }
    size_t len = ak_mock_base64(value, ak_mock_sums_finish(&all->whole, all->sum, value), text);
    if (!all->is_full) {
        (void)snprintf(text + len, sizeof text - len, "-%zu", all->wanted.count);
    }
    if (call->object_sum == all->sum && all->is_full &&
        !ak_str_eq(call->object_sum_value, ak_str_of(text))) {
        return ak_mock_fail(&call->fault, AK_MOCK_BadDigest,
                            "The %s you specified did not match the calculated checksum: %s",
                            ak_mock_sum_name(all->sum), text);
    }
    ak_mock_put_sum(&all->sum_lines, all->sum, text, all->is_full ? "FULL_OBJECT" : "COMPOSITE");
    return AK_MOCK_OK;
}

static enum ak_mock_code complete(struct ak_mock_call *call, struct completion *all,
                                  struct ak_mock_item **item)
{
    struct ak_mock_store *store = call->server->store;
    struct ak_str id = ak_mock_param_of(call, "uploadId");
    struct ak_mock_condition condition;
    enum ak_mock_code code =
        ak_mock_read_complete(ak_buf_str(&call->document), call->arena, &all->wanted, &call->fault);
    (void)(code || (code = ak_mock_take_condition(call, &condition)) ||
           (code =
                ak_mock_upload_get(store, call->bucket, call->key, id, &all->head, &call->fault)) ||
           (code = ak_mock_part_list(store, call->bucket, call->key, id, call->arena, &all->parts,
                                     &all->part_count, &call->fault)) ||
           (code = choose_parts(call, all)) || (code = begin_sums(call, all)) ||
           (code = copy_parts(call, all)) || (code = finish_sums(call, all)));
    if (code) {
        return code;
    }
    const struct ak_mock_fields fields = {
        .bucket = call->bucket,
        .key = call->key,
        .etag = ak_str_of(all->etag),
        .headers = all->head->headers,
        .sums = ak_buf_str(&all->sum_lines),
    };
    return ak_mock_upload_complete(store, &call->sink, id, &fields, &condition, item, &call->fault);
}

static void put_location(const struct ak_mock_call *call, struct ak_buf *out)
{
    ak_buf_add_str(out, AK_STR("<Location>http://"));
    ak_mock_xml_put(out, ak_mock_header_of(call, "host"));
    ak_mock_xml_put(out, ak_http_path(call->request));
    ak_buf_add_str(out, AK_STR("</Location>"));
}

static void complete_upload(void *arg)
{
    struct ak_mock_call *call = arg;
    struct completion all = {0};
    struct ak_mock_item *item = NULL;
    struct ak_buf out;
    ak_buf_init(&all.sum_lines, 1024);
    enum ak_mock_code code = complete(call, &all, &item);
    ak_mock_part_list_release(all.parts, all.part_count);
    ak_mock_item_unref(all.head);
    ak_mock_sums_release(&all.etags);
    ak_mock_sums_release(&all.whole);
    ak_buf_release(&all.sum_lines);
    if (code) {
        ak_mock_reply_fault(call);
        return;
    }
    ak_mock_xml_begin(&out, "CompleteMultipartUploadResult");
    put_location(call, &out);
    ak_mock_xml_put_element(&out, "Bucket", call->bucket);
    ak_mock_xml_put_element(&out, "Key", call->key);
    ak_buf_add_fmt(&out, "<ETag>&quot;%.*s&quot;</ETag>", AK_STR_ARG(item->etag));
    ak_mock_put_sum_elements(&out, item->sums, true);
    ak_buf_add_str(&out, AK_STR("</CompleteMultipartUploadResult>"));
    ak_mock_item_unref(item);
    ak_mock_reply_xml(call, 200, &out, NULL);
}

void ak_mock_run_CompleteMultipartUpload(struct ak_mock_call *call)
{
    ak_mock_to_worker(call, complete_upload);
}
