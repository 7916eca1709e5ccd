/* collections.c — /collections: make, list, show, drop. */
#include "rest/rest_priv.h"

#define LIST_DEFAULT 100u
#define LIST_MAX 1000u

/* --- POST /collections --- */

static void read_metric(struct ak_reader *r, enum ak_metric *metric)
{
    struct ak_str text;
    if (ak_json_string(r->in, &text) && !ak_metric_parse(text, metric)) {
        ak_read_fail(r, "metric '%.*s' is unknown: cosine, dot or l2 are allowed",
                     AK_STR_ARG(ak_str_sub(text, 0, 32)));
    }
}

static void read_u32(struct ak_reader *r, uint64_t max, uint32_t *out)
{
    uint64_t value = 0;
    if (ak_json_u64(r->in, 1, max, &value)) {
        *out = (uint32_t)value;
    }
}

static void read_quantization(struct ak_reader *r, enum ak_quantization *quantization)
{
    struct ak_str text;
    if (!ak_json_null(r->in) && ak_json_string(r->in, &text) &&
        !ak_quantization_parse(text, quantization)) {
        ak_read_fail(r,
                     "index.quantization '%.*s' is unknown: " AK_QUANTIZATION_NAMES " are allowed",
                     AK_STR_ARG(ak_str_sub(text, 0, 32)));
    }
}

static void read_vectors(struct ak_reader *r, enum ak_vectors *vectors)
{
    struct ak_str text;
    if (!ak_json_null(r->in) && ak_json_string(r->in, &text) && !ak_vectors_parse(text, vectors)) {
        ak_read_fail(r, "index.vectors '%.*s' is unknown: ram and disk are allowed",
                     AK_STR_ARG(ak_str_sub(text, 0, 32)));
    }
}

static void read_index(struct ak_reader *r, struct ak_index_params *index)
{
    struct ak_str key;
    if (ak_json_null(r->in) || !ak_json_object(r->in)) {
        return;
    }
    while (ak_json_next_key(r->in, &key)) {
        if (ak_str_eq(key, AK_STR("m"))) {
            read_u32(r, UINT32_MAX, &index->m); /* bounds: ak_collection_info_check */
        } else if (ak_str_eq(key, AK_STR("ef_construction"))) {
            read_u32(r, UINT32_MAX, &index->ef_construction);
        } else if (ak_str_eq(key, AK_STR("ef_search"))) {
            read_u32(r, UINT32_MAX, &index->ef_search);
        } else if (ak_str_eq(key, AK_STR("quantization"))) {
            read_quantization(r, &index->quantization);
        } else if (ak_str_eq(key, AK_STR("vectors"))) {
            read_vectors(r, &index->vectors);
        } else {
            ak_json_unknown_key(r->in, key, "m, ef_construction, ef_search, quantization, vectors");
        }
    }
}

static void read_spec(struct ak_reader *r, struct ak_collection_info *spec)
{
    struct ak_str key;
    bool has_name = false;
    bool has_dimension = false;
    if (!ak_json_object(r->in)) {
        return;
    }
    while (ak_json_next_key(r->in, &key)) {
        if (ak_str_eq(key, AK_STR("name"))) {
            has_name = ak_read_string(r, &spec->name);
        } else if (ak_str_eq(key, AK_STR("dimension"))) {
            read_u32(r, AK_DIMENSION_MAX, &spec->dimension);
            has_dimension = true;
        } else if (ak_str_eq(key, AK_STR("metric"))) {
            read_metric(r, &spec->metric);
        } else if (ak_str_eq(key, AK_STR("embedding_model"))) {
            (void)(ak_json_null(r->in) || ak_read_string(r, &spec->embedding_model));
        } else if (ak_str_eq(key, AK_STR("index"))) {
            read_index(r, &spec->index);
        } else {
            ak_json_unknown_key(r->in, key, "name, dimension, metric, embedding_model, index");
        }
    }
    if (!ak_json_failed(r->in) && (!has_name || !has_dimension)) {
        ak_read_fail(r, "'%s' is missing", has_name ? "dimension" : "name");
    }
}

static void create_done(struct ak_op *op, enum ak_rc rc)
{
    struct ak_call *call = AK_CALL_OF(u.create.op, op);
    struct ak_buf body;
    if (rc != AK_OK) {
        ak_reply_failure(call, rc, &op->err);
        return;
    }
    ak_buf_init(&body, 0);
    ak_put_collection(&body, &call->u.create.made);
    ak_reply(call, 201, &body);
}

void ak_rest_collection_create(struct ak_call *call)
{
    struct ak_create_op *create = &call->u.create;
    struct ak_json in;
    struct ak_reader r = {.in = &in, .arena = call->arena, .row = -1};
    create->spec =
        (struct ak_collection_info){.metric = AK_METRIC_COSINE, .index = ak_index_params_default()};
    ak_json_init(&in, ak_http_body(call->request));
    read_spec(&r, &create->spec);
    enum ak_rc rc = ak_json_finish(&in, &call->err);
    ak_json_release(&in);
    if (rc == AK_OK) {
        rc = ak_collection_info_check(&create->spec, &call->err);
    }
    if (rc != AK_OK) {
        ak_reply_failure(call, rc, &call->err);
        return;
    }
    create->op.done = create_done;
    create->op.arena = call->arena;
    create->op.may_block = call->op.may_block;
    ak_service_create(call->service, create);
}

/* --- GET /collections --- */

static void list_done(struct ak_op *op, enum ak_rc rc)
{
    struct ak_call *call = AK_CALL_OF(u.list.op, op);
    const struct ak_list_op *list = &call->u.list;
    struct ak_buf body;
    if (rc != AK_OK) {
        ak_reply_failure(call, rc, &op->err);
        return;
    }
    ak_buf_init(&body, AK_RESPONSE_MAX);
    ak_buf_add_str(&body, AK_STR("{\"collections\":["));
    for (size_t i = 0; i < list->count; i++) {
        if (i) {
            ak_buf_add_char(&body, ',');
        }
        ak_put_collection(&body, &list->list[i]);
    }
    ak_buf_add_str(&body, AK_STR("],\"next\":"));
    if (list->has_more) {
        ak_json_put_string(&body, list->list[list->count - 1].info.name);
    } else {
        ak_buf_add_str(&body, AK_STR("null"));
    }
    ak_buf_add_char(&body, '}');
    ak_reply(call, 200, &body);
}

static bool read_params(struct ak_call *call, struct ak_list_op *list)
{
    static const char *const names[] = {"limit", "after", NULL};
    uint64_t limit = LIST_DEFAULT;
    if (!ak_params_known(call, names) || !ak_param_u64(call, "limit", 1, LIST_MAX, &limit)) {
        return false;
    }
    list->limit = (size_t)limit;
    return ak_param_text(call, "after", &list->after);
}

void ak_rest_collection_list(struct ak_call *call)
{
    struct ak_list_op *list = &call->u.list;
    if (!read_params(call, list)) {
        ak_reply_error(call, AK_INVALID, call->err.text);
        return;
    }
    list->op.done = list_done;
    list->op.arena = call->arena;
    list->op.may_block = call->op.may_block;
    ak_service_list(call->service, list);
}

/* --- GET and DELETE /collections/{c} --- */

void ak_rest_collection_get(struct ak_call *call)
{
    struct ak_collection_summary summary;
    struct ak_buf body;
    enum ak_rc rc =
        ak_service_describe(call->service, call->args[0], call->arena, &summary, &call->err);
    if (rc != AK_OK) {
        ak_reply_failure(call, rc, &call->err);
        return;
    }
    ak_buf_init(&body, 0);
    ak_put_collection(&body, &summary);
    ak_reply(call, 200, &body);
}

static void drop_done(struct ak_op *op, enum ak_rc rc)
{
    struct ak_call *call = AK_CALL_OF(u.drop.op, op);
    if (rc == AK_OK) {
        ak_reply_empty(call);
    } else {
        ak_reply_failure(call, rc, &op->err);
    }
}

void ak_rest_collection_drop(struct ak_call *call)
{
    struct ak_drop_op *drop = &call->u.drop;
    drop->op.done = drop_done;
    drop->op.arena = call->arena;
    drop->op.may_block = call->op.may_block;
    drop->name_or_id = call->args[0];
    ak_service_drop(call->service, drop);
}
