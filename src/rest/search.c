/* search.c — /collections/{c}/search and its batch form. */
#include "rest/rest_priv.h"
#include <float.h>
#include <string.h>

#define K_DEFAULT 10u
#define HIT_BYTES 96 /* of a result without metadata and vector: a first guess */

static void read_threshold(struct ak_reader *r, struct ak_search *search)
{
    double value = 0;
    if (ak_json_null(r->in) || !ak_json_double(r->in, &value)) {
        return;
    }
    if (value > (double)FLT_MAX || value < -(double)FLT_MAX) {
        ak_read_fail(r, "score_threshold is not a finite 32-bit number");
        return;
    }
    search->has_threshold = true;
    search->threshold = (float)value;
}

static void read_recall(struct ak_reader *r, struct ak_search *search)
{
    double value = 0;
    if (ak_json_null(r->in) || !ak_json_double(r->in, &value)) {
        return;
    }
    if (!(value > 0.0 && value <= 1.0)) {
        ak_read_fail(r, "recall is a share above 0, up to 1, such as 0.95");
        return;
    }
    search->recall = value;
}

static void read_field(struct ak_reader *r, struct ak_str key, struct ak_search *search)
{
    struct ak_json *in = r->in;
    uint64_t number = 0;
    if (ak_str_eq(key, AK_STR("vector"))) {
        search->vector = ak_read_vector(r);
    } else if (ak_str_eq(key, AK_STR("k"))) {
        if (ak_json_u64(in, 1, AK_K_MAX, &number)) {
            search->k = (uint32_t)number;
        }
    } else if (ak_str_eq(key, AK_STR("ef"))) {
        if (!ak_json_null(in) && ak_json_u64(in, 1, AK_EF_MAX, &number)) {
            search->ef = (uint32_t)number;
        }
    } else if (ak_str_eq(key, AK_STR("recall"))) {
        read_recall(r, search);
    } else if (ak_str_eq(key, AK_STR("filter"))) {
        search->filter = ak_read_filter(r);
    } else if (ak_str_eq(key, AK_STR("include"))) {
        (void)(ak_json_null(in) || ak_read_include(r, &search->include));
    } else if (ak_str_eq(key, AK_STR("score_threshold"))) {
        read_threshold(r, search);
    } else if (ak_str_eq(key, AK_STR("exact"))) {
        (void)ak_json_bool(in, &search->exact);
    } else {
        ak_json_unknown_key(in, key,
                            "vector, k, ef, recall, filter, include, score_threshold, exact");
    }
}

static void read_search(struct ak_reader *r, struct ak_search *search)
{
    struct ak_str key;
    *search =
        (struct ak_search){.k = K_DEFAULT, .include = AK_INCLUDE_EXTERNAL_ID | AK_INCLUDE_METADATA};
    if (!ak_json_object(r->in)) {
        return;
    }
    while (ak_json_next_key(r->in, &key)) {
        read_field(r, key, search);
    }
    if (!ak_json_failed(r->in) && !search->vector) {
        ak_read_fail(r, "'vector' is missing");
    }
}

/* Vectors that an answer would carry are held in memory twice: raw and as text. */
static enum ak_rc check_answer(struct ak_call *call, const struct ak_search *searches, size_t count)
{
    uint32_t dimension = ak_collection_info(call->collection)->dimension;
    uint64_t documents = 0;
    uint64_t rows = 0;
    enum ak_rc rc = ak_collection_count(call->collection, NULL, &documents, &call->err);
    for (size_t i = 0; rc == AK_OK && i < count; i++) {
        if (searches[i].include & AK_INCLUDE_VECTOR) {
            rows += searches[i].k < documents ? searches[i].k : documents;
        }
    }
    if (rc == AK_OK && rows * dimension * sizeof(float) > AK_PAGE_BYTES_MAX) {
        rc = ak_fail(&call->err, AK_INVALID,
                     "%llu results with vectors of dimension %u are more than 64 MiB: lower k, or "
                     "leave vector out of include",
                     (unsigned long long)rows, dimension);
    }
    return rc;
}

/* The body is read: is it whole, and is what it asks for bounded? false: the call is answered. */
static bool end_of_body(struct ak_call *call, struct ak_json *in, const struct ak_search *searches,
                        size_t count)
{
    enum ak_rc rc = ak_json_finish(in, &call->err);
    ak_json_release(in);
    if (rc == AK_OK) {
        rc = check_answer(call, searches, count);
    }
    if (rc != AK_OK) {
        ak_reply_failure(call, rc, &call->err);
    }
    return rc == AK_OK;
}

static struct ak_reader reader_of(struct ak_call *call, struct ak_json *in)
{
    ak_json_init(in, ak_http_body(call->request));
    return (struct ak_reader){.in = in,
                              .arena = call->arena,
                              .info = ak_collection_info(call->collection),
                              .list = "searches",
                              .row = -1};
}

static void put_results(struct ak_buf *out, const struct ak_search_result *result,
                        uint32_t dimension)
{
    ak_buf_add_str(out, AK_STR("{\"results\":["));
    for (uint32_t i = 0; i < result->count; i++) {
        if (i) {
            ak_buf_add_char(out, ',');
        }
        ak_put_hit(out, &result->found[i], dimension);
    }
    ak_buf_add_char(out, ']');
}

static void put_took(struct ak_buf *out, const struct ak_op *op)
{
    ak_buf_add_str(out, AK_STR(",\"took_ms\":"));
    ak_put_ms(out, ak_op_seconds(op));
    ak_buf_add_char(out, '}');
}

/* --- POST …/search --- */

static void search_done(struct ak_op *op, enum ak_rc rc)
{
    struct ak_call *call = AK_CALL_OF(u.search.op, op);
    const struct ak_search_result *result = &call->u.search.result;
    struct ak_buf body;
    if (rc != AK_OK) {
        ak_reply_failure(call, rc, &op->err);
        return;
    }
    ak_buf_init(&body, AK_RESPONSE_MAX);
    (void)ak_buf_reserve(&body, 64 + (size_t)result->count * HIT_BYTES);
    put_results(&body, result, ak_collection_info(call->collection)->dimension);
    put_took(&body, op);
    ak_reply(call, 200, &body);
}

void ak_rest_search(struct ak_call *call)
{
    struct ak_search_op *search = &call->u.search;
    struct ak_json in;
    struct ak_reader r = reader_of(call, &in);
    read_search(&r, &search->search);
    if (!end_of_body(call, &in, &search->search, 1)) {
        return;
    }
    search->op = ak_call_op(call, search_done);
    search->collection = call->collection;
    ak_service_search(call->service, search);
}

/* --- POST …/search/batch --- */

struct searches {
    struct ak_search *items;
    size_t count;
};

static void read_searches(struct ak_reader *r, struct searches *list)
{
    if (!ak_json_array(r->in)) {
        return;
    }
    list->items = ak_arena_alloc(r->arena, AK_BATCH_SEARCH_MAX * sizeof *list->items);
    while (ak_json_next_element(r->in)) {
        if (!list->items) {
            (void)ak_fail(&r->in->failure, AK_NOMEM, "no memory for the searches");
            return;
        }
        if (list->count == AK_BATCH_SEARCH_MAX) {
            (void)ak_fail(&r->in->failure, AK_TOO_BIG, "more than %d searches in one call",
                          AK_BATCH_SEARCH_MAX);
            return;
        }
        r->row = (int64_t)list->count;
        read_search(r, &list->items[list->count++]);
    }
    r->row = -1;
}

static void read_batch(struct ak_reader *r, struct searches *list)
{
    struct ak_str key;
    if (!ak_json_object(r->in)) {
        return;
    }
    while (ak_json_next_key(r->in, &key)) {
        if (ak_str_eq(key, AK_STR("searches"))) {
            read_searches(r, list);
        } else {
            ak_json_unknown_key(r->in, key, "searches");
        }
    }
    if (!ak_json_failed(r->in) && list->count == 0) {
        ak_read_fail(r, "'searches' is missing or empty");
    }
}

/* The batch lies in the call's arena; found by the call that it was given. */
struct batch {
    struct ak_search_batch_op op;
    struct ak_call *call;
};

static void batch_done(struct ak_op *op, enum ak_rc rc)
{
    struct batch *batch = (struct batch *)(void *)((char *)op - offsetof(struct batch, op.op));
    struct ak_call *call = batch->call;
    struct ak_buf body;
    if (rc != AK_OK) {
        ak_reply_failure(call, rc, &op->err);
        return;
    }
    uint32_t dimension = ak_collection_info(call->collection)->dimension;
    ak_buf_init(&body, AK_RESPONSE_MAX);
    ak_buf_add_str(&body, AK_STR("{\"results\":["));
    for (size_t i = 0; i < batch->op.count; i++) {
        if (i) {
            ak_buf_add_char(&body, ',');
        }
        put_results(&body, &batch->op.results[i], dimension);
        ak_buf_add_char(&body, '}');
    }
    ak_buf_add_char(&body, ']');
    put_took(&body, op);
    ak_reply(call, 200, &body);
}

void ak_rest_search_batch(struct ak_call *call)
{
    struct searches list = {0};
    struct ak_json in;
    struct ak_reader r = reader_of(call, &in);
    read_batch(&r, &list);
    if (!end_of_body(call, &in, list.items, list.count)) {
        return;
    }
    struct batch *batch = ak_arena_alloc(call->arena, sizeof *batch);
    struct ak_search_result *results = ak_arena_alloc(call->arena, list.count * sizeof *results);
    if (!batch || !results) {
        ak_reply_error(call, AK_NOMEM, NULL);
        return;
    }
    memset(batch, 0, sizeof *batch);
    batch->call = call;
    batch->op.op = ak_call_op(call, batch_done);
    batch->op.collection = call->collection;
    batch->op.searches = list.items;
    batch->op.results = results;
    batch->op.count = list.count;
    ak_service_search_batch(call->service, &batch->op);
}
