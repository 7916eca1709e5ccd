/* xml_requests.c — the three documents that clients send. */
#include "mocks3/sums.h"
#include "mocks3/xml.h"
#include <string.h>

#define ETAG_MAX 128u

static enum ak_mock_code malformed(struct ak_mock_fault *fault, const char *what)
{
    return ak_mock_fail(fault, AK_MOCK_MalformedXML,
                        "The XML you provided was not well-formed or did not validate against our "
                        "published schema: %s",
                        what);
}

/* The document's root must have this name. */
static bool enters(struct ak_mock_xml *xml, struct ak_str root)
{
    struct ak_str name;
    return ak_mock_xml_next(xml, &name) == AK_MOCK_XML_OPEN && ak_str_eq(name, root);
}

/* --- DeleteObjects --- */

/* <Key>…</Key>, and others that are passed over */
static enum ak_mock_code read_object(struct ak_mock_xml *xml, struct ak_str *key,
                                     struct ak_mock_fault *fault)
{
    struct ak_str name;
    enum ak_mock_xml_event event;
    *key = AK_STR_NONE;
    while ((event = ak_mock_xml_next(xml, &name)) == AK_MOCK_XML_OPEN) {
        struct ak_str text;
        if (!ak_mock_xml_text(xml, &text)) {
            return malformed(fault, "an Object's element holds elements");
        }
        if (ak_str_eq(name, AK_STR("Key"))) {
            *key = text;
        } else if (ak_str_eq(name, AK_STR("VersionId")) && !ak_str_eq(text, AK_STR("null"))) {
            return ak_mock_fail(fault, AK_MOCK_NotImplemented,
                                "this server keeps no versions: leave VersionId out");
        }
    }
    return event == AK_MOCK_XML_CLOSE && key->len ? AK_MOCK_OK
                                                  : malformed(fault, "an Object needs a Key");
}

enum ak_mock_code ak_mock_read_delete(struct ak_str text, struct ak_arena *arena,
                                      struct ak_mock_delete *request, struct ak_mock_fault *fault)
{
    struct ak_mock_xml xml;
    struct ak_str name;
    enum ak_mock_xml_event event;
    *request = (struct ak_mock_delete){0};
    request->keys = ak_arena_alloc(arena, AK_MOCK_DELETE_MAX * sizeof *request->keys);
    ak_mock_xml_init(&xml, text, arena);
    if (!request->keys) {
        return ak_mock_fail(fault, AK_MOCK_SlowDown, "no memory for the list of keys");
    }
    if (!enters(&xml, AK_STR("Delete"))) {
        return malformed(fault, "the document's element must be Delete");
    }
    while ((event = ak_mock_xml_next(&xml, &name)) == AK_MOCK_XML_OPEN) {
        if (ak_str_eq(name, AK_STR("Object"))) {
            if (request->count == AK_MOCK_DELETE_MAX) {
                return malformed(fault, "more than 1000 objects in one request");
            }
            enum ak_mock_code code = read_object(&xml, &request->keys[request->count], fault);
            if (code) {
                return code;
            }
            request->count++;
        } else if (ak_str_eq(name, AK_STR("Quiet"))) {
            struct ak_str value;
            if (!ak_mock_xml_text(&xml, &value)) {
                return malformed(fault, "Quiet must be true or false");
            }
            request->quiet = ak_str_eq_nocase(ak_str_trim(value), AK_STR("true"));
        } else if (!ak_mock_xml_skip(&xml)) {
            break;
        }
    }
    if (event != AK_MOCK_XML_CLOSE || ak_mock_xml_next(&xml, &name) != AK_MOCK_XML_END) {
        return malformed(fault, "an element is not closed");
    }
    return request->count ? AK_MOCK_OK : malformed(fault, "there is no Object");
}

/* --- CompleteMultipartUpload --- */

static struct ak_str without_quotes(struct ak_str etag)
{
    etag = ak_str_trim(etag);
    if (etag.len >= 2 && etag.p[0] == '"' && etag.p[etag.len - 1] == '"') {
        return ak_str_sub(etag, 1, etag.len - 2);
    }
    return etag;
}

static enum ak_mock_code read_part(struct ak_mock_xml *xml, struct ak_mock_named_part *part,
                                   struct ak_mock_fault *fault)
{
    struct ak_str name;
    enum ak_mock_xml_event event;
    *part = (struct ak_mock_named_part){.sum_kind = AK_MOCK_SUM_NONE};
    while ((event = ak_mock_xml_next(xml, &name)) == AK_MOCK_XML_OPEN) {
        struct ak_str text;
        if (!ak_mock_xml_text(xml, &text)) {
            return malformed(fault, "a Part's element holds elements");
        }
        if (ak_str_eq(name, AK_STR("PartNumber"))) {
            if (!ak_str_u64(ak_str_trim(text), AK_MOCK_PARTS_MAX, &part->number) ||
                part->number == 0) {
                return ak_mock_fail(fault, AK_MOCK_InvalidArgument,
                                    "PartNumber must be from 1 to 10000");
            }
        } else if (ak_str_eq(name, AK_STR("ETag"))) {
            part->etag = without_quotes(text);
        } else if (ak_str_has_prefix(name, AK_STR("Checksum"))) {
            part->sum_kind = ak_mock_sum_named(ak_str_sub(name, 8, SIZE_MAX));
            part->sum = ak_str_trim(text);
        }
    }
    bool ok =
        event == AK_MOCK_XML_CLOSE && part->number && part->etag.len && part->etag.len <= ETAG_MAX;
    return ok ? AK_MOCK_OK : malformed(fault, "a Part needs PartNumber and ETag");
}

enum ak_mock_code ak_mock_read_complete(struct ak_str text, struct ak_arena *arena,
                                        struct ak_mock_complete *request,
                                        struct ak_mock_fault *fault)
{
    struct ak_mock_xml xml;
    struct ak_str name;
    enum ak_mock_xml_event event;
    *request = (struct ak_mock_complete){0};
    request->parts = ak_arena_alloc(arena, AK_MOCK_PARTS_MAX * sizeof *request->parts);
    ak_mock_xml_init(&xml, text, arena);
    if (!request->parts) {
        return ak_mock_fail(fault, AK_MOCK_SlowDown, "no memory for the list of parts");
    }
    if (!enters(&xml, AK_STR("CompleteMultipartUpload"))) {
        return malformed(fault, "the document's element must be CompleteMultipartUpload");
    }
    while ((event = ak_mock_xml_next(&xml, &name)) == AK_MOCK_XML_OPEN) {
        if (!ak_str_eq(name, AK_STR("Part"))) {
            if (!ak_mock_xml_skip(&xml)) {
                break;
            }
            continue;
        }
        if (request->count == AK_MOCK_PARTS_MAX) {
            return malformed(fault, "more than 10000 parts");
        }
        enum ak_mock_code code = read_part(&xml, &request->parts[request->count], fault);
        if (code) {
            return code;
        }
        request->count++;
    }
    if (event != AK_MOCK_XML_CLOSE || ak_mock_xml_next(&xml, &name) != AK_MOCK_XML_END) {
        return malformed(fault, "an element is not closed");
    }
    return request->count ? AK_MOCK_OK : malformed(fault, "there is no Part");
}

/* --- CreateBucket --- */

enum ak_mock_code ak_mock_read_create_bucket(struct ak_str text, struct ak_arena *arena,
                                             struct ak_str *region, struct ak_mock_fault *fault)
{
    struct ak_mock_xml xml;
    struct ak_str name;
    enum ak_mock_xml_event event;
    *region = AK_STR("");
    if (ak_str_trim(text).len == 0) {
        return AK_MOCK_OK;
    }
    ak_mock_xml_init(&xml, text, arena);
    if (!enters(&xml, AK_STR("CreateBucketConfiguration"))) {
        return malformed(fault, "the document's element must be CreateBucketConfiguration");
    }
    while ((event = ak_mock_xml_next(&xml, &name)) == AK_MOCK_XML_OPEN) {
        if (!ak_str_eq(name, AK_STR("LocationConstraint"))) {
            return ak_mock_fail(fault, AK_MOCK_NotImplemented,
                                "of CreateBucketConfiguration only LocationConstraint is known "
                                "here, not %.*s",
                                AK_STR_ARG(name));
        }
        if (!ak_mock_xml_text(&xml, region) || region->len > 64) {
            return malformed(fault, "LocationConstraint must be the name of a region");
        }
        *region = ak_str_trim(*region);
    }
    if (event != AK_MOCK_XML_CLOSE || ak_mock_xml_next(&xml, &name) != AK_MOCK_XML_END) {
        return malformed(fault, "an element is not closed");
    }
    return AK_MOCK_OK;
}
