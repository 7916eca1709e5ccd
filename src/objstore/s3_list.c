/* s3_list.c — ListObjectsV2: pages of keys, in bytewise order.
 *
 * Keys come percent-encoded (encoding-type=url), because XML cannot carry every key; servers that
 * ignore that say so by leaving EncodingType out. Pages go on by continuation token, whatever
 * KeyCount says. MinIO counts keys before start-after against max-keys and then says that the list
 * has ended (as of 2026-02): so pages by start-after are asked for in full size, and one that
 * claims to be the last is believed when asking from its last key brings nothing more. Foreign keys
 * that are no keys of ours ("folder/") are passed over.
 */
#include "base/encode.h"
#include "objstore/s3_priv.h"

#define LIST_XML_MAX ((size_t)16 << 20) /* 1,000 keys of 1 KiB, each byte as %XX, and the rest */
#define QUERY_MAX ((size_t)16 << 10)
#define TOKEN_MAX ((size_t)4 << 10)
#define PAGE_MAX ((size_t)1000)
#define EMPTY_PAGES_MAX 100 /* in a row: a server may pass over what was removed */

struct page {
    struct s3_store *store;
    struct ak_arena *arena;
    struct ak_object *objects;
    size_t count;
    size_t limit;
    struct ak_str last; /* of all that came, also passed over */
    struct ak_buf token;
    bool truncated;
    bool is_encoded;
    struct ak_buf key; /* of the entry being read */
    struct ak_buf etag;
    uint64_t size;
    int64_t modified_us;
};

/* In place; '+' stands for a blank, as S3 encodes it. */
static void decode_key(struct ak_buf *key)
{
    size_t out = 0;
    for (size_t i = 0; i < key->len; i++) {
        char c = key->p[i];
        if (c == '%' && i + 2 < key->len && ak_hex_digit(key->p[i + 1]) >= 0 &&
            ak_hex_digit(key->p[i + 2]) >= 0) {
            c = (char)(ak_hex_digit(key->p[i + 1]) * 16 + ak_hex_digit(key->p[i + 2]));
            i += 2;
        } else if (c == '+') {
            c = ' ';
        }
        key->p[out++] = c;
    }
    key->len = out;
}

static enum ak_rc add_entry(struct page *page, struct ak_err *err)
{
    struct ak_str prefix = ak_str_of(page->store->prefix);
    if (page->count == page->limit) {
        return AK_OK;
    }
    if (page->is_encoded) {
        decode_key(&page->key);
    }
    struct ak_str key = ak_buf_str(&page->key);
    if (!ak_str_has_prefix(key, prefix)) {
        return ak_fail(err, AK_CORRUPT, "the server listed a key outside of the prefix");
    }
    key = ak_arena_str(page->arena, ak_str_sub(key, prefix.len, SIZE_MAX));
    struct ak_str etag = ak_arena_str(page->arena, ak_buf_str(&page->etag));
    if (!key.p || !etag.p) {
        return ak_fail(err, AK_NOMEM, "no memory for a listing");
    }
    if (page->last.len && ak_str_cmp(key, page->last) <= 0) {
        return ak_fail(err, AK_UNSUPPORTED, "the server does not list keys in order");
    }
    page->last = key;
    if (ak_objstore_check_key(key, NULL) == AK_OK) {
        page->objects[page->count++] = (struct ak_object){
            .key = key, .size = page->size, .modified_us = page->modified_us, .etag = etag};
    }
    return AK_OK;
}

static void start_entry(struct page *page)
{
    ak_buf_clear(&page->key);
    ak_buf_clear(&page->etag);
    page->size = 0;
    page->modified_us = 0;
}

/* The end of an element inside ListBucketResult/Contents. */
static enum ak_rc read_field(struct page *page, const struct ak_xml *in, struct ak_err *err)
{
    if (ak_str_eq(in->name, AK_STR("Key"))) {
        ak_buf_add_str(&page->key, in->text);
        return ak_buf_check(&page->key, err);
    }
    if (ak_str_eq(in->name, AK_STR("ETag"))) {
        ak_buf_add_str(&page->etag, in->text);
        return ak_buf_check(&page->etag, err);
    }
    if (ak_str_eq(in->name, AK_STR("Size")) &&
        !ak_str_u64(ak_str_trim(in->text), INT64_MAX, &page->size)) {
        return ak_fail(err, AK_CORRUPT, "the server listed a size that is no number");
    }
    if (ak_str_eq(in->name, AK_STR("LastModified")) &&
        !ak_time_parse(ak_str_trim(in->text), &page->modified_us)) {
        page->modified_us = 0;
    }
    return AK_OK;
}

static enum ak_rc read_end(struct page *page, const struct ak_xml *in, struct ak_err *err)
{
    if (in->depth == 2 && ak_str_eq(in->open[1], AK_STR("Contents"))) {
        return read_field(page, in, err);
    }
    if (ak_xml_is(in, "ListBucketResult/Contents")) {
        return add_entry(page, err);
    }
    if (ak_xml_is(in, "ListBucketResult/IsTruncated")) {
        page->truncated = ak_str_eq(ak_str_trim(in->text), AK_STR("true"));
    } else if (ak_xml_is(in, "ListBucketResult/NextContinuationToken")) {
        ak_buf_clear(&page->token);
        ak_buf_add_str(&page->token, in->text);
        return ak_buf_check(&page->token, err);
    }
    return AK_OK;
}

/* Where the bucket is named is the likeliest reason for an answer that is about something else. */
static const char *style_hint(const struct s3_store *store)
{
    return store->virtual_host
               ? "it was asked for in the host name, which this server may not know for a bucket: "
                 "try s3.virtual_host = false"
               : "it was asked for in the path; when the server wants it in the host name, set "
                 "s3.virtual_host = true";
}

static enum ak_rc read_page(struct page *page, struct ak_str xml, struct ak_err *err)
{
    struct ak_xml in;
    struct ak_buf encoding;
    enum ak_xml_token token = AK_XML_START;
    enum ak_rc rc = AK_OK;
    ak_buf_init(&encoding, 64);
    page->truncated = false;
    page->is_encoded = ak_xml_find(xml, "ListBucketResult/EncodingType", &encoding) &&
                       ak_str_eq(ak_str_trim(ak_buf_str(&encoding)), AK_STR("url"));
    ak_buf_release(&encoding);
    ak_xml_init(&in, xml);
    while (rc == AK_OK && (token = ak_xml_next(&in)) > AK_XML_END_OF_TEXT) {
        if (token == AK_XML_START && in.depth == 1 &&
            !ak_str_eq(in.name, AK_STR("ListBucketResult"))) {
            rc = ak_fail(err, AK_UNSUPPORTED,
                         "the answer is <%.*s>, not a listing of the bucket: %s",
                         AK_STR_ARG(in.name), style_hint(page->store));
        } else if (token == AK_XML_START && ak_xml_is(&in, "ListBucketResult/Contents")) {
            start_entry(page);
        } else if (token == AK_XML_END) {
            rc = read_end(page, &in, err);
        }
    }
    rc = rc == AK_OK ? ak_xml_finish(&in, err) : rc;
    ak_xml_release(&in);
    return rc;
}

static void make_query(const struct page *page, struct ak_str prefix, struct ak_str after,
                       struct ak_buf *query)
{
    struct ak_str root = ak_str_of(page->store->prefix);
    ak_buf_clear(query);
    if (page->truncated) {
        ak_buf_add_str(query, AK_STR("continuation-token="));
        ak_sigv4_encode(query, ak_buf_str(&page->token), false);
        ak_buf_add_char(query, '&');
    }
    ak_buf_add_fmt(query, "encoding-type=url&list-type=2&max-keys=%zu",
                   after.len ? PAGE_MAX : page->limit - page->count);
    if (root.len || prefix.len) {
        ak_buf_add_str(query, AK_STR("&prefix="));
        ak_sigv4_encode(query, root, false);
        ak_sigv4_encode(query, prefix, false);
    }
    if (after.len && !page->truncated) {
        ak_buf_add_str(query, AK_STR("&start-after="));
        ak_sigv4_encode(query, root, false);
        ak_sigv4_encode(query, after, false);
    }
}

static enum ak_rc fetch_page(struct page *page, struct ak_buf *query, struct ak_err *err)
{
    struct s3_series series;
    enum ak_rc rc = ak_buf_check(query, err);
    if (rc != AK_OK) {
        return rc;
    }
    const struct s3_call call = {.operation = "list",
                                 .method = "GET",
                                 .query = ak_buf_cstr(query),
                                 .body_max = LIST_XML_MAX,
                                 .may_say_error = false};
    rc = ak_s3_do(page->store, &call, &series, err);
    if (rc == AK_NOT_FOUND) { /* there is no listing of nothing: it is the bucket that is missing */
        struct ak_err cause = {.text = ""};
        cause = err ? *err : cause;
        rc = ak_fail(err, AK_INVALID, "bucket '%s': %s: %s", page->store->bucket, cause.text,
                     style_hint(page->store));
    }
    rc = rc == AK_OK ? read_page(page, ak_buf_str(&series.response.body), err) : rc;
    ak_s3_series_release(&series);
    return rc;
}

enum ak_rc ak_s3_list(struct ak_objstore *base, struct ak_str prefix, struct ak_str after,
                      size_t limit, struct ak_arena *arena, struct ak_object **objects,
                      size_t *count, struct ak_err *err)
{
    struct page page = {.store = (struct s3_store *)base, .arena = arena, .limit = limit};
    struct ak_buf query;
    enum ak_rc rc = AK_OK;
    page.objects = ak_arena_alloc(arena, limit * sizeof page.objects[0]);
    if (!page.objects) {
        return ak_fail(err, AK_NOMEM, "no memory for a listing of %zu objects", limit);
    }
    ak_buf_init(&query, QUERY_MAX);
    ak_buf_init(&page.token, TOKEN_MAX);
    ak_buf_init(&page.key, (size_t)4 * AK_OBJSTORE_KEY_MAX);
    ak_buf_init(&page.etag, 1024);
    for (unsigned empty = 0;;) {
        struct ak_str last = page.last;
        bool by_start = after.len && !page.truncated;
        make_query(&page, prefix, after, &query);
        rc = fetch_page(&page, &query, err);
        bool brought = page.last.p != last.p;
        empty = brought ? 0 : empty + 1;
        if (rc == AK_OK && page.truncated && (page.token.len == 0 || empty > EMPTY_PAGES_MAX)) {
            rc = ak_fail(err, AK_UNSUPPORTED, "the server says there is more and gives nothing");
        }
        if (rc != AK_OK || page.count >= limit || (!page.truncated && !(by_start && brought))) {
            break;
        }
        after = page.truncated ? after : page.last; /* is that really the end? */
    }
    if (rc == AK_OK) {
        *objects = page.objects;
        *count = page.count;
    }
    ak_buf_release(&query);
    ak_buf_release(&page.token);
    ak_buf_release(&page.key);
    ak_buf_release(&page.etag);
    return rc;
}
