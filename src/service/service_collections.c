/* service_collections.c — collections: make, list, describe, drop, and take one into use. */
#include "service/service_priv.h"

enum ak_rc ak_service_use(struct ak_service *service, struct ak_str name_or_id,
                          const struct ak_op *op, struct ak_arena *arena,
                          struct ak_collection **collection, struct ak_err *err)
{
    if (!op->may_block) {
        struct ak_collection_summary summary;
        enum ak_rc rc = ak_engine_describe(service->engine, name_or_id, arena, &summary, err);
        if (rc != AK_OK) {
            return rc;
        }
        if (!summary.open) {
            *collection = NULL;
            return AK_OK;
        }
    }
    if (service->tiers) {
        ak_tiers_touch(service->tiers);
    }
    return op->wakes ? ak_engine_peek(service->engine, name_or_id, collection, err)
                     : ak_engine_get(service->engine, name_or_id, collection, err);
}

enum ak_rc ak_service_describe(struct ak_service *service, struct ak_str name_or_id,
                               struct ak_arena *arena, struct ak_collection_summary *summary,
                               struct ak_err *err)
{
    return ak_engine_describe(service->engine, name_or_id, arena, summary, err);
}

static void run_create(struct ak_op *op)
{
    struct ak_create_op *create = AK_OP_OF(op, struct ak_create_op, op);
    struct ak_collection_info info;
    char text[AK_UUID_TEXT_LEN];
    enum ak_rc rc = ak_engine_create(op->service->engine, &create->spec, &info, &op->err);
    if (rc == AK_OK) { /* described by id: its strings must outlive a drop right now */
        ak_uuid_format(&info.id, text);
        rc = ak_engine_describe(op->service->engine, (struct ak_str){text, sizeof text}, op->arena,
                                &create->made, &op->err);
    }
    ak_op_done(op, rc);
}

void ak_service_create(struct ak_service *service, struct ak_create_op *create)
{
    ak_op_start(service, &create->op, false, run_create);
}

static void run_drop(struct ak_op *op)
{
    struct ak_drop_op *drop = AK_OP_OF(op, struct ak_drop_op, op);
    ak_op_done(op, ak_engine_drop(op->service->engine, drop->name_or_id, &op->err));
}

void ak_service_drop(struct ak_service *service, struct ak_drop_op *drop)
{
    ak_op_start(service, &drop->op, false, run_drop);
}

static void run_list(struct ak_op *op)
{
    struct ak_list_op *list = AK_OP_OF(op, struct ak_list_op, op);
    enum ak_rc rc = ak_engine_list(op->service->engine, list->after, list->limit + 1, op->arena,
                                   &list->list, &list->count, &op->err);
    list->has_more = rc == AK_OK && list->count > list->limit;
    if (list->has_more) {
        list->count = list->limit;
    }
    ak_op_done(op, rc);
}

void ak_service_list(struct ak_service *service, struct ak_list_op *list)
{
    ak_op_start(service, &list->op, false, run_list);
}
