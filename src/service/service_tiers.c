/* service_tiers.c — tiers as the APIs see them, over src/tier: looked at, told, and run.
 *
 * A move is waited for without a thread: the manager keeps the operation's wait and tells it.
 */
#include "base/mem.h"
#include "service/service_priv.h"

static enum ak_rc tiers_of(struct ak_op *op, struct ak_tiers **tiers)
{
    *tiers = op->service->tiers;
    return *tiers ? AK_OK : ak_fail(&op->err, AK_UNSUPPORTED, "nothing moves between tiers here");
}

/* --- One collection --- */

static void show(struct ak_op *base)
{
    struct ak_tier_op *op = AK_OP_OF(op, struct ak_tier_op, base);
    struct ak_tiers *tiers = NULL;
    enum ak_rc rc = tiers_of(base, &tiers);
    if (rc == AK_OK) {
        rc = ak_tiers_status(tiers, op->collection, base->arena, &op->status, &base->err);
    }
    ak_op_done(base, rc);
}

void ak_service_tier(struct ak_service *service, struct ak_tier_op *op)
{
    ak_op_start(service, &op->op, false, show);
}

/* The move has ended: how it looks now is told by a worker. */
static void acted(struct ak_tier_wait *wait, enum ak_rc rc, const struct ak_err *why)
{
    struct ak_op *base = AK_OP_OF(wait, struct ak_op, wait);
    if (rc == AK_OK) {
        ak_op_move(base, show);
        return;
    }
    base->err = *why;
    ak_op_done(base, rc);
}

static void act(struct ak_op *base)
{
    struct ak_tier_op *op = AK_OP_OF(op, struct ak_tier_op, base);
    struct ak_tiers *tiers = NULL;
    enum ak_rc rc = tiers_of(base, &tiers);
    if (rc == AK_OK && op->has_rules) {
        rc = ak_engine_tier_rules(base->service->engine, op->collection, &op->rules, &base->err);
    }
    if (rc != AK_OK) {
        ak_op_done(base, rc);
    } else if (!op->has_action) {
        show(base);
    } else {
        base->wait.done = acted;
        ak_tiers_act(tiers, op->collection, op->action, &base->wait);
    }
}

void ak_service_tier_act(struct ak_service *service, struct ak_tier_op *op)
{
    ak_op_start(service, &op->op, false, act);
}

/* --- All of them --- */

static enum ak_rc list(struct ak_tiers *tiers, struct ak_tiers_op *op)
{
    struct ak_engine *engine = op->op.service->engine;
    struct ak_collection_summary *found = NULL;
    size_t n = 0;
    enum ak_rc rc =
        ak_engine_list(engine, op->after, op->limit + 1, op->op.arena, &found, &n, &op->op.err);
    if (rc != AK_OK) {
        return rc;
    }
    if (n > op->limit) { /* also when all of these have been dropped since */
        n = op->limit;
        op->next = found[n - 1].info.name;
    }
    op->list = ak_arena_alloc(op->op.arena, (n + 1) * sizeof *op->list);
    if (!op->list) {
        return ak_fail(&op->op.err, AK_NOMEM, "tiers of %zu collections", n);
    }
    for (size_t i = 0; rc == AK_OK && i < n; i++) {
        char id[AK_UUID_TEXT_LEN];
        ak_uuid_format(&found[i].info.id, id);
        rc = ak_tiers_status(tiers, (struct ak_str){id, sizeof id}, op->op.arena,
                             &op->list[op->count], &op->op.err);
        op->count += rc == AK_OK;
        rc = rc == AK_NOT_FOUND ? AK_OK : rc; /* dropped since it was listed */
    }
    return rc;
}

static void show_all(struct ak_op *base)
{
    struct ak_tiers_op *op = AK_OP_OF(op, struct ak_tiers_op, base);
    struct ak_tiers *tiers = NULL;
    enum ak_rc rc = tiers_of(base, &tiers);
    op->count = 0;
    op->next = AK_STR_NONE;
    if (rc == AK_OK) {
        ak_tiers_overview(tiers, &op->all);
        rc = op->limit ? list(tiers, op) : AK_OK;
    }
    ak_op_done(base, rc);
}

void ak_service_tiers(struct ak_service *service, struct ak_tiers_op *op)
{
    ak_op_start(service, &op->op, false, show_all);
}

static void ran(struct ak_tier_wait *wait, enum ak_rc rc, const struct ak_err *why)
{
    struct ak_op *base = AK_OP_OF(wait, struct ak_op, wait);
    if (rc == AK_OK) {
        ak_op_move(base, show_all);
        return;
    }
    base->err = *why;
    ak_op_done(base, rc);
}

/* The wait of a pass that nobody waits for. */
static void ran_alone(struct ak_tier_wait *wait, enum ak_rc rc, const struct ak_err *why)
{
    (void)rc; /* the manager has logged it */
    (void)why;
    ak_free(wait);
}

void ak_service_tiers_run(struct ak_service *service, struct ak_tiers_op *op)
{
    struct ak_op *base = &op->op;
    struct ak_tiers *tiers = NULL;
    ak_op_begin(service, base);
    enum ak_rc rc = tiers_of(base, &tiers);
    if (rc != AK_OK) {
        ak_op_done(base, rc);
        return;
    }
    ak_tiers_overview(tiers, &op->all);
    if (op->wait || op->all.is_off) { /* which tells why not */
        base->wait.done = ran;
        ak_tiers_run(tiers, &base->wait);
        return;
    }
    struct ak_tier_wait *alone = ak_zalloc(sizeof *alone);
    alone->done = ran_alone;
    ak_tiers_run(tiers, alone);
    ak_op_move(base, show_all);
}
