/* documents.c — /collections/{c}/vectors: upsert, show, delete, scroll, count. */
#include "rest/rest_priv.h"
#include <string.h>

#define SCROLL_DEFAULT 100u

static struct ak_reader reader_of(struct ak_call *call, struct ak_json *in)
{
    ak_json_init(in, ak_http_body(call->request));
    return (struct ak_reader){.in = in,
                              .arena = call->arena,
                              .info = ak_collection_info(call->collection),
                              .list = "vectors",
                              .row = -1};
}

/* The reader's end. false: the call is answered. */
static bool close_reader(struct ak_call *call, struct ak_json *in)
{
    enum ak_rc rc = ak_json_finish(in, &call->err);
    ak_json_release(in);
    if (rc != AK_OK) {
        ak_reply_failure(call, rc, &call->err);
    }
    return rc == AK_OK;
}

/* --- POST …/vectors --- */

struct documents {
    struct ak_document *items;
    size_t count;
    size_t cap;
};

static struct ak_document *one_more(struct ak_reader *r, struct documents *list)
{
    if (list->count == AK_UPSERT_BATCH_MAX) {
        if (!ak_json_failed(r->in)) {
            (void)ak_fail(&r->in->failure, AK_TOO_BIG,
                          "more than %d vectors in one call: send several, or " AK_NDJSON,
                          AK_UPSERT_BATCH_MAX);
        }
        return NULL;
    }
    if (list->count == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 16;
        struct ak_document *items = ak_arena_alloc(r->arena, cap * sizeof *items);
        if (!items) {
            if (!ak_json_failed(r->in)) {
                (void)ak_fail(&r->in->failure, AK_NOMEM, "no memory for %zu vectors", cap);
            }
            return NULL;
        }
        if (list->count) {
            memcpy(items, list->items, list->count * sizeof *items);
        }
        list->items = items;
        list->cap = cap;
    }
    return &list->items[list->count++];
}

static void read_list(struct ak_reader *r, struct documents *list)
{
    if (!ak_json_array(r->in)) {
        return;
    }
    while (ak_json_next_element(r->in)) {
        struct ak_document *doc = one_more(r, list);
        if (!doc) {
            return;
        }
        r->row = (int64_t)list->count - 1;
        ak_read_document(r, doc);
    }
    r->row = -1;
    if (!ak_json_failed(r->in) && list->count == 0) {
        ak_read_fail(r, "'vectors' is empty");
    }
}

/* One document's fields, or "vectors" alone. */
static void read_upsert(struct ak_reader *r, struct documents *list, bool *is_single)
{
    struct ak_str key;
    struct ak_document one = {0};
    bool has_list = false;
    bool has_fields = false;
    if (!ak_json_object(r->in)) {
        return;
    }
    while (ak_json_next_key(r->in, &key)) {
        if (ak_str_eq(key, AK_STR("vectors"))) {
            has_list = true;
            read_list(r, list);
        } else if (ak_read_document_field(r, key, &one)) {
            has_fields = true;
        } else {
            ak_json_unknown_key(r->in, key, AK_DOCUMENT_FIELDS "; or vectors alone");
        }
    }
    if (has_list && has_fields) {
        ak_read_fail(r, "give either 'vectors' or the fields of one document, not both");
    }
    *is_single = !has_list;
    if (!has_list) {
        ak_read_document_end(r, &one);
        struct ak_document *doc = one_more(r, list);
        if (doc) {
            *doc = one;
        }
    }
}

static void upsert_applied(struct ak_upsert_op *upsert)
{
    struct ak_call *call = AK_CALL_OF(u.upsert, upsert);
    struct ak_buf *body = &call->body;
    ak_call_drop_collection(call);
    ak_buf_init(body, AK_RESPONSE_MAX);
    if (call->is_single) {
        ak_buf_add_str(body, AK_STR("{\"id\":"));
        ak_put_uuid(body, &upsert->ids[0]);
        ak_buf_add_char(body, '}');
        return;
    }
    ak_buf_add_str(body, AK_STR("{\"upserted\":"));
    ak_json_put_u64(body, upsert->count);
    ak_buf_add_str(body, AK_STR(",\"ids\":["));
    for (size_t i = 0; i < upsert->count; i++) {
        if (i) {
            ak_buf_add_char(body, ',');
        }
        ak_put_uuid(body, &upsert->ids[i]);
    }
    ak_buf_add_str(body, AK_STR("]}"));
}

static void upsert_done(struct ak_op *op, enum ak_rc rc)
{
    struct ak_call *call = AK_CALL_OF(u.upsert.op, op);
    if (rc == AK_OK) {
        ak_reply(call, call->is_single ? 201 : 200, &call->body);
    } else {
        ak_buf_release(&call->body);
        ak_reply_failed_write(call, rc, &op->err);
    }
}

void ak_rest_upsert(struct ak_call *call)
{
    struct ak_upsert_op *upsert = &call->u.upsert;
    struct documents list = {0};
    struct ak_json in;
    struct ak_reader r = reader_of(call, &in);
    read_upsert(&r, &list, &call->is_single);
    if (!close_reader(call, &in)) {
        return;
    }
    upsert->ids = ak_arena_alloc(call->arena, list.count * sizeof *upsert->ids);
    if (!upsert->ids) {
        ak_reply_error(call, AK_NOMEM, NULL);
        return;
    }
    upsert->op = ak_call_op(call, upsert_done);
    upsert->collection = call->collection;
    upsert->docs = list.items;
    upsert->count = list.count;
    upsert->applied = upsert_applied;
    ak_service_upsert(call->service, upsert);
}

/* --- GET and DELETE …/vectors/{id} --- */

static void fetch_done(struct ak_op *op, enum ak_rc rc)
{
    struct ak_call *call = AK_CALL_OF(u.fetch.op, op);
    struct ak_buf body;
    if (rc != AK_OK) {
        ak_reply_failure(call, rc, &op->err);
        return;
    }
    ak_buf_init(&body, AK_RESPONSE_MAX);
    ak_put_document(&body, &call->u.fetch.found, call->u.fetch.include,
                    ak_collection_info(call->collection)->dimension);
    ak_reply(call, 200, &body);
}

void ak_rest_vector_get(struct ak_call *call)
{
    struct ak_fetch_op *fetch = &call->u.fetch;
    if (!ak_call_arg_uuid(call, 1, &fetch->id)) {
        return;
    }
    fetch->op = ak_call_op(call, fetch_done);
    fetch->collection = call->collection;
    fetch->include = AK_INCLUDE_EXTERNAL_ID | AK_INCLUDE_METADATA | AK_INCLUDE_VECTOR;
    ak_service_fetch(call->service, fetch);
}

static void vector_delete_done(struct ak_op *op, enum ak_rc rc)
{
    struct ak_call *call = AK_CALL_OF(u.del.op, op);
    if (rc == AK_OK && call->u.del.deleted == 0) {
        rc = ak_fail(&op->err, AK_NOT_FOUND, "no document with this id in the collection");
    }
    if (rc == AK_OK) {
        ak_reply_empty(call);
    } else {
        ak_reply_failed_write(call, rc, &op->err);
    }
}

void ak_rest_vector_delete(struct ak_call *call)
{
    struct ak_delete_op *del = &call->u.del;
    struct ak_uuid *id = ak_arena_alloc(call->arena, sizeof *id);
    if (!id) {
        ak_reply_error(call, AK_NOMEM, NULL);
        return;
    }
    if (!ak_call_arg_uuid(call, 1, id)) {
        return;
    }
    del->op = ak_call_op(call, vector_delete_done);
    del->collection = call->collection;
    del->ids = id;
    del->count = 1;
    ak_service_delete(call->service, del);
}

/* --- POST …/vectors/delete --- */

static void read_ids(struct ak_reader *r, struct ak_delete_op *del)
{
    struct ak_uuid *ids = NULL;
    size_t count = 0;
    size_t cap = 0;
    (void)ak_json_array(r->in);
    while (ak_json_next_element(r->in)) {
        if (count == AK_DELETE_IDS_MAX) {
            (void)ak_fail(&r->in->failure, AK_TOO_BIG, "more than %d ids in one call: send several",
                          AK_DELETE_IDS_MAX);
            return;
        }
        if (count == cap) {
            cap = cap ? cap * 2 : 16;
            struct ak_uuid *grown = ak_arena_alloc(r->arena, cap * sizeof *grown);
            if (!grown) {
                (void)ak_fail(&r->in->failure, AK_NOMEM, "no memory for %zu ids", cap);
                return;
            }
            if (count) {
                memcpy(grown, ids, count * sizeof *ids);
            }
            ids = grown;
        }
        r->row = (int64_t)count;
        if (ak_read_uuid(r, "the id", &ids[count])) {
            count++;
        }
    }
    r->row = -1;
    del->ids = ids;
    del->count = count;
}

static void read_delete(struct ak_reader *r, struct ak_delete_op *del)
{
    struct ak_str key;
    bool has_ids = false;
    if (!ak_json_object(r->in)) {
        return;
    }
    while (ak_json_next_key(r->in, &key)) {
        if (ak_str_eq(key, AK_STR("ids"))) {
            has_ids = true;
            read_ids(r, del);
        } else if (ak_str_eq(key, AK_STR("filter"))) {
            del->filter = ak_filter_read(r->in, r->arena);
        } else {
            ak_json_unknown_key(r->in, key, "ids or filter");
        }
    }
    if (!ak_json_failed(r->in) && has_ids == (del->filter != NULL)) {
        ak_read_fail(r, "give either 'ids' or 'filter'%s", has_ids ? ", not both" : "");
    }
}

static void vectors_delete_done(struct ak_op *op, enum ak_rc rc)
{
    struct ak_call *call = AK_CALL_OF(u.del.op, op);
    struct ak_buf body;
    if (rc != AK_OK) {
        ak_reply_failed_write(call, rc, &op->err);
        return;
    }
    ak_buf_init(&body, 0);
    ak_buf_add_str(&body, AK_STR("{\"deleted\":"));
    ak_json_put_u64(&body, call->u.del.deleted);
    ak_buf_add_char(&body, '}');
    ak_reply(call, 200, &body);
}

void ak_rest_vectors_delete(struct ak_call *call)
{
    struct ak_delete_op *del = &call->u.del;
    struct ak_json in;
    struct ak_reader r = reader_of(call, &in);
    r.list = "ids";
    read_delete(&r, del);
    if (!close_reader(call, &in)) {
        return;
    }
    del->op = ak_call_op(call, vectors_delete_done);
    del->collection = call->collection;
    ak_service_delete(call->service, del);
}

/* --- POST …/vectors/scroll --- */

static void read_scroll(struct ak_reader *r, struct ak_scroll_op *scroll)
{
    struct ak_json *in = r->in;
    struct ak_str key;
    uint64_t limit = SCROLL_DEFAULT;
    if (!ak_json_object(in)) {
        return;
    }
    while (ak_json_next_key(in, &key)) {
        if (ak_str_eq(key, AK_STR("limit"))) {
            (void)(ak_json_null(in) || ak_json_u64(in, 1, AK_SCROLL_MAX, &limit));
        } else if (ak_str_eq(key, AK_STR("after"))) {
            scroll->has_after = !ak_json_null(in) && ak_read_uuid(r, "after", &scroll->after);
        } else if (ak_str_eq(key, AK_STR("filter"))) {
            scroll->filter = ak_read_filter(r);
        } else if (ak_str_eq(key, AK_STR("include"))) {
            (void)(ak_json_null(in) || ak_read_include(r, &scroll->include));
        } else {
            ak_json_unknown_key(in, key, "limit, after, filter, include");
        }
    }
    scroll->limit = (uint32_t)limit;
}

static void scroll_done(struct ak_op *op, enum ak_rc rc)
{
    struct ak_call *call = AK_CALL_OF(u.scroll.op, op);
    const struct ak_scroll_op *scroll = &call->u.scroll;
    struct ak_buf body;
    if (rc != AK_OK) {
        ak_reply_failure(call, rc, &op->err);
        return;
    }
    uint32_t dimension = ak_collection_info(call->collection)->dimension;
    ak_buf_init(&body, AK_RESPONSE_MAX);
    ak_buf_add_str(&body, AK_STR("{\"vectors\":["));
    for (uint32_t i = 0; i < scroll->page.count; i++) {
        if (i) {
            ak_buf_add_char(&body, ',');
        }
        ak_put_document(&body, &scroll->page.found[i], scroll->include, dimension);
    }
    ak_buf_add_str(&body, AK_STR("],\"next\":"));
    if (scroll->has_more) {
        ak_put_uuid(&body, &scroll->page.found[scroll->page.count - 1].id);
    } else {
        ak_buf_add_str(&body, AK_STR("null"));
    }
    ak_buf_add_char(&body, '}');
    ak_reply(call, 200, &body);
}

void ak_rest_scroll(struct ak_call *call)
{
    struct ak_scroll_op *scroll = &call->u.scroll;
    struct ak_json in;
    scroll->limit = SCROLL_DEFAULT;
    scroll->include = AK_INCLUDE_EXTERNAL_ID | AK_INCLUDE_METADATA;
    if (ak_http_body(call->request).len) {
        struct ak_reader r = reader_of(call, &in);
        read_scroll(&r, scroll);
        if (!close_reader(call, &in)) {
            return;
        }
    }
    scroll->op = ak_call_op(call, scroll_done);
    scroll->collection = call->collection;
    ak_service_scroll(call->service, scroll);
}

/* --- POST …/count --- */

static void read_count(struct ak_reader *r, struct ak_count_op *count)
{
    struct ak_str key;
    if (!ak_json_object(r->in)) {
        return;
    }
    while (ak_json_next_key(r->in, &key)) {
        if (ak_str_eq(key, AK_STR("filter"))) {
            count->filter = ak_read_filter(r);
        } else {
            ak_json_unknown_key(r->in, key, "filter");
        }
    }
}

static void count_done(struct ak_op *op, enum ak_rc rc)
{
    struct ak_call *call = AK_CALL_OF(u.count.op, op);
    struct ak_buf body;
    if (rc != AK_OK) {
        ak_reply_failure(call, rc, &op->err);
        return;
    }
    ak_buf_init(&body, 0);
    ak_buf_add_str(&body, AK_STR("{\"count\":"));
    ak_json_put_u64(&body, call->u.count.documents);
    ak_buf_add_char(&body, '}');
    ak_reply(call, 200, &body);
}

void ak_rest_count(struct ak_call *call)
{
    struct ak_count_op *count = &call->u.count;
    struct ak_json in;
    if (ak_http_body(call->request).len) {
        struct ak_reader r = reader_of(call, &in);
        read_count(&r, count);
        if (!close_reader(call, &in)) {
            return;
        }
    }
    count->op = ak_call_op(call, count_done);
    count->collection = call->collection;
    ak_service_count(call->service, count);
}
