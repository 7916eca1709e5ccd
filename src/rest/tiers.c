/* tiers.c — /collections/{c}/tier, /tiers, /admin/tiering/run, and the clock of drills. */
#include "rest/rest_priv.h"
#include <string.h>

#define LIST_MAX 1000u
#define ADVANCE_MAX_S (UINT64_C(3650) * 86400)

/* --- Pieces --- */

static void put_name(struct ak_buf *out, const char *name)
{
    ak_buf_add_fmt(out, ",\"%s\":", name);
}

static void put_text(struct ak_buf *out, const char *name, struct ak_str value)
{
    put_name(out, name);
    ak_json_put_string(out, value);
}

static void put_u64(struct ak_buf *out, const char *name, uint64_t value)
{
    put_name(out, name);
    ak_json_put_u64(out, value);
}

static void put_bool(struct ak_buf *out, const char *name, bool value)
{
    put_name(out, name);
    ak_buf_add_str(out, value ? AK_STR("true") : AK_STR("false"));
}

static void put_time(struct ak_buf *out, const char *name, int64_t wall_us)
{
    put_name(out, name);
    if (wall_us) {
        ak_put_time(out, wall_us);
    } else {
        ak_buf_add_str(out, AK_STR("null"));
    }
}

static void put_tier(struct ak_buf *out, const char *name, enum ak_tier tier)
{
    put_text(out, name, ak_str_of(ak_tier_name(tier)));
}

static void put_seconds(struct ak_buf *out, const char *name, int64_t us)
{
    put_name(out, name);
    ak_json_put_double(out, (double)us / 1e6);
}

static const struct rule {
    const char *name;
    uint32_t bit;
} rule_names[] = {
    {"hot_idle_s", AK_TIER_RULE_HOT_IDLE},
    {"warm_idle_s", AK_TIER_RULE_WARM_IDLE},
    {"window_s", AK_TIER_RULE_WINDOW},
    {"promote_accesses", AK_TIER_RULE_PROMOTE_ACCESSES},
    {"stay_cold_on_access", AK_TIER_RULE_STAY_COLD},
    {"lowest", AK_TIER_RULE_LOWEST},
};
#define RULE_COUNT (sizeof rule_names / sizeof rule_names[0])

/* ,"rules":{…}; the collection's own are named in "own". */
static void put_rules(struct ak_buf *out, const struct ak_tier_rules *rules, const uint32_t *set)
{
    const char *comma = "";
    ak_buf_add_str(out, AK_STR(",\"rules\":{\"hot_idle_s\":"));
    ak_json_put_double(out, (double)rules->hot_idle_us / 1e6);
    put_seconds(out, "warm_idle_s", rules->warm_idle_us);
    put_seconds(out, "window_s", rules->window_us);
    put_u64(out, "promote_accesses", rules->promote_accesses);
    put_bool(out, "stay_cold_on_access", rules->stay_cold_on_access);
    put_tier(out, "lowest", rules->lowest);
    if (set) {
        ak_buf_add_str(out, AK_STR(",\"own\":["));
        for (size_t i = 0; i < RULE_COUNT; i++) {
            if (*set & rule_names[i].bit) {
                ak_buf_add_fmt(out, "%s\"%s\"", comma, rule_names[i].name);
                comma = ",";
            }
        }
        ak_buf_add_char(out, ']');
    }
    ak_buf_add_char(out, '}');
}

static void put_status(struct ak_buf *out, const struct ak_tier_status *status)
{
    const struct ak_tier_view *view = &status->view;
    bool is_cold = view->tier == AK_TIER_COLD;
    ak_buf_add_str(out, AK_STR("{\"collection\":"));
    ak_json_put_string(out, status->name);
    put_name(out, "id");
    ak_put_uuid(out, &view->id);
    put_tier(out, "tier", view->tier);
    put_bool(out, "pinned", view->pinned);
    put_time(out, "since", view->since_us ? view->since_us : view->created_us);
    put_time(out, "last_access", view->last_access_us);
    put_u64(out, "accesses", status->accesses);
    put_u64(out, "documents", view->documents);
    ak_buf_add_str(out, AK_STR(",\"bytes\":{\"memory\":"));
    ak_json_put_u64(out, view->memory_bytes);
    put_u64(out, "disk", is_cold ? 0 : view->disk_bytes);
    put_u64(out, "bucket", status->bucket_bytes);
    ak_buf_add_str(out, AK_STR("},\"snapshot\":"));
    if (view->is_covered) {
        ak_put_uuid(out, &view->cover);
    } else {
        ak_buf_add_str(out, AK_STR("null"));
    }
    put_name(out, "moving_to");
    if (status->is_moving) {
        ak_json_put_string(out, ak_str_of(ak_tier_name(status->moving_to)));
    } else {
        ak_buf_add_str(out, AK_STR("null"));
    }
    ak_buf_add_str(out, AK_STR(",\"next\":{\"tier\":"));
    ak_json_put_string(out, ak_str_of(ak_tier_name(status->next.to)));
    put_text(out, "reason", ak_str_of(ak_tier_reason_name(status->next.reason)));
    put_time(out, "at", status->next.at_us);
    ak_buf_add_char(out, '}');
    put_rules(out, &status->rules, &view->rules.set);
    ak_buf_add_char(out, '}');
}

/* --- GET /collections/{c}/tier --- */

static void tier_done(struct ak_op *op, enum ak_rc rc)
{
    struct ak_call *call = AK_CALL_OF(u.tier.op, op);
    struct ak_buf body;
    if (rc != AK_OK) {
        ak_reply_error(call, rc, op->err.text);
        return;
    }
    ak_buf_init(&body, 0);
    put_status(&body, &call->u.tier.status);
    ak_reply(call, 200, &body);
}

static struct ak_tier_op *begin_tier(struct ak_call *call)
{
    struct ak_tier_op *op = &call->u.tier;
    op->op =
        (struct ak_op){.done = tier_done, .arena = call->arena, .may_block = call->op.may_block};
    op->collection = call->args[0];
    return op;
}

void ak_rest_tier_get(struct ak_call *call)
{
    ak_service_tier(call->service, begin_tier(call));
}

/* --- POST /collections/{c}/tier --- */

#define ACTIONS "pin, unpin, promote_to_hot, promote_to_warm, demote_to_warm, demote_to_cold"
#define RULES "hot_idle_s, warm_idle_s, window_s, promote_accesses, stay_cold_on_access, lowest"

static void read_action(struct ak_reader *r, struct ak_tier_op *op)
{
    struct ak_str text;
    if (ak_json_null(r->in) || !ak_json_string(r->in, &text)) {
        return;
    }
    op->has_action = ak_tier_action_parse(text, &op->action);
    if (!op->has_action) {
        ak_read_fail(r, "action '%.*s' is unknown: allowed are " ACTIONS,
                     AK_STR_ARG(ak_str_sub(text, 0, 32)));
    }
}

static void read_time(struct ak_reader *r, const char *name, int64_t *us)
{
    enum { CENTURY_DAYS = 36500 };
    double seconds = 0;
    if (!ak_json_double(r->in, &seconds)) {
        return;
    }
    if (!(seconds >= 0 && seconds <= CENTURY_DAYS * 86400.0)) {
        ak_read_fail(r, "rules.%s is %g: allowed are seconds from 0 to %d days", name, seconds,
                     CENTURY_DAYS);
        return;
    }
    *us = (int64_t)(seconds * 1e6);
}

static void read_lowest(struct ak_reader *r, enum ak_tier *tier)
{
    struct ak_str text;
    if (ak_json_string(r->in, &text) && !ak_tier_parse(text, tier)) {
        ak_read_fail(r, "rules.lowest '%.*s' is no tier: allowed are hot, warm, cold",
                     AK_STR_ARG(ak_str_sub(text, 0, 32)));
    }
}

static const struct rule *find_rule(struct ak_str key)
{
    for (size_t i = 0; i < RULE_COUNT; i++) {
        if (ak_str_eq(key, ak_str_of(rule_names[i].name))) {
            return &rule_names[i];
        }
    }
    return NULL;
}

static void read_rule(struct ak_reader *r, const struct rule *rule, struct ak_tier_rules *rules)
{
    uint64_t number = 0;
    switch ((enum ak_tier_rule)rule->bit) {
    case AK_TIER_RULE_HOT_IDLE:
        read_time(r, rule->name, &rules->hot_idle_us);
        break;
    case AK_TIER_RULE_WARM_IDLE:
        read_time(r, rule->name, &rules->warm_idle_us);
        break;
    case AK_TIER_RULE_WINDOW:
        read_time(r, rule->name, &rules->window_us);
        break;
    case AK_TIER_RULE_PROMOTE_ACCESSES:
        if (ak_json_u64(r->in, 0, UINT32_MAX, &number)) {
            rules->promote_accesses = (uint32_t)number;
        }
        break;
    case AK_TIER_RULE_STAY_COLD:
        (void)ak_json_bool(r->in, &rules->stay_cold_on_access);
        break;
    case AK_TIER_RULE_LOWEST:
        read_lowest(r, &rules->lowest);
        break;
    case AK_TIER_RULES_ALL:
        break;
    }
}

/* What is not named, or null, is as the node has it; null for all: nothing of its own. */
static void read_rules(struct ak_reader *r, struct ak_tier_op *op)
{
    struct ak_str key;
    op->has_rules = true;
    op->rules = (struct ak_tier_overrides){.rules = ak_tier_rules_default()};
    if (ak_json_null(r->in) || !ak_json_object(r->in)) {
        return;
    }
    while (ak_json_next_key(r->in, &key)) {
        const struct rule *rule = find_rule(key);
        if (!rule) {
            ak_json_unknown_key(r->in, key, RULES);
        } else if (!ak_json_null(r->in)) {
            read_rule(r, rule, &op->rules.rules);
            op->rules.set |= rule->bit;
        }
    }
}

static void read_act(struct ak_reader *r, struct ak_tier_op *op)
{
    struct ak_str key;
    if (!ak_json_object(r->in)) {
        return;
    }
    while (ak_json_next_key(r->in, &key)) {
        if (ak_str_eq(key, AK_STR("action"))) {
            read_action(r, op);
        } else if (ak_str_eq(key, AK_STR("rules"))) {
            read_rules(r, op);
        } else {
            ak_json_unknown_key(r->in, key, "action, rules");
        }
    }
    if (!ak_json_failed(r->in) && !op->has_action && !op->has_rules) {
        ak_read_fail(r, "'action' or 'rules' is needed");
    }
}

void ak_rest_tier_act(struct ak_call *call)
{
    struct ak_tier_op *op = begin_tier(call);
    struct ak_json in;
    struct ak_reader r = {.in = &in, .arena = call->arena, .row = -1};
    ak_json_init(&in, ak_http_body(call->request));
    read_act(&r, op);
    enum ak_rc rc = ak_json_finish(&in, &call->err);
    ak_json_release(&in);
    if (rc != AK_OK) {
        ak_reply_error(call, rc, call->err.text);
        return;
    }
    ak_service_tier_act(call->service, op);
}

/* --- GET /tiers, POST /admin/tiering/run --- */

static void put_usage(struct ak_buf *out, const struct ak_tiers_overview *all)
{
    const struct ak_tier_usage *usage = &all->usage;
    ak_buf_add_str(out, AK_STR("\"tiers\":{"));
    for (int t = 0; t < AK_TIER_COUNT; t++) {
        bool is_cold = t == AK_TIER_COLD;
        ak_buf_add_fmt(out, "%s\"%s\":{\"collections\":", t ? "," : "",
                       ak_tier_name((enum ak_tier)t));
        ak_json_put_u64(out, usage->collections[t]);
        ak_buf_add_str(out, AK_STR(",\"bytes\":{\"memory\":"));
        ak_json_put_u64(out, usage->memory_bytes[t]);
        put_u64(out, "disk", is_cold ? 0 : usage->disk_bytes[t]);
        put_u64(out, "bucket", is_cold ? usage->disk_bytes[t] : 0);
        ak_buf_add_str(out, AK_STR("}}"));
    }
    ak_buf_add_char(out, '}');
    put_u64(out, "resident_bytes", usage->resident_bytes);
    ak_buf_add_str(out, AK_STR(",\"limits\":{\"max_hot_memory\":"));
    ak_json_put_u64(out, all->limits.hot_bytes);
    put_u64(out, "max_warm_disk", all->limits.warm_bytes);
    put_seconds(out, "grace_s", all->limits.grace_us);
    ak_buf_add_char(out, '}');
}

static void put_progress(struct ak_buf *out, const struct ak_tiers_overview *all)
{
    ak_buf_add_str(out, AK_STR(",\"moving\":["));
    for (size_t i = 0; i < all->moving_count && i < AK_TIER_SHOWN_MAX; i++) {
        const struct ak_tier_progress *one = &all->moving[i];
        ak_buf_add_str(out, i ? AK_STR(",{\"collection_id\":") : AK_STR("{\"collection_id\":"));
        ak_put_uuid(out, &one->id);
        put_tier(out, "from", one->from);
        put_tier(out, "to", one->to);
        put_text(out, "reason", ak_str_of(one->reason));
        put_time(out, "since", one->since_us);
        ak_buf_add_char(out, '}');
    }
    ak_buf_add_char(out, ']');
    put_u64(out, "queued", all->queued);
    put_u64(out, "waking", all->waking);
    put_u64(out, "waiting", all->waiting);
    ak_buf_add_str(out, AK_STR(",\"last_pass\":"));
    if (!all->pass.at_us) {
        ak_buf_add_str(out, AK_STR("null"));
        return;
    }
    ak_buf_add_str(out, AK_STR("{\"at\":"));
    ak_put_time(out, all->pass.at_us);
    put_name(out, "took_ms");
    ak_put_ms(out, all->pass.seconds);
    put_u64(out, "collections", all->pass.collections);
    put_u64(out, "decided", all->pass.decided);
    put_u64(out, "done", all->pass.done);
    put_u64(out, "failed", all->pass.failed);
    ak_buf_add_char(out, '}');
}

static void tiers_done(struct ak_op *op, enum ak_rc rc)
{
    struct ak_call *call = AK_CALL_OF(u.tiers.op, op);
    const struct ak_tiers_op *tiers = &call->u.tiers;
    struct ak_buf body;
    if (rc != AK_OK) {
        ak_reply_error(call, rc, op->err.text);
        return;
    }
    ak_buf_init(&body, AK_RESPONSE_MAX);
    ak_buf_add_char(&body, '{');
    put_usage(&body, &tiers->all);
    put_bool(&body, "enabled", !tiers->all.is_off);
    put_seconds(&body, "worker_interval_s", (int64_t)tiers->all.interval_ms * 1000);
    put_rules(&body, &tiers->all.rules, NULL);
    put_progress(&body, &tiers->all);
    if (tiers->limit) {
        ak_buf_add_str(&body, AK_STR(",\"collections\":["));
        for (size_t i = 0; i < tiers->count; i++) {
            if (i) {
                ak_buf_add_char(&body, ',');
            }
            put_status(&body, &tiers->list[i]);
        }
        ak_buf_add_str(&body, AK_STR("],\"next\":"));
        if (tiers->next.len) {
            ak_json_put_string(&body, tiers->next);
        } else {
            ak_buf_add_str(&body, AK_STR("null"));
        }
    }
    ak_buf_add_char(&body, '}');
    ak_reply(call, 200, &body);
}

static struct ak_tiers_op *begin_tiers(struct ak_call *call)
{
    struct ak_tiers_op *op = &call->u.tiers;
    op->op =
        (struct ak_op){.done = tiers_done, .arena = call->arena, .may_block = call->op.may_block};
    return op;
}

void ak_rest_tiers(struct ak_call *call)
{
    static const char *const names[] = {"limit", "after", NULL};
    struct ak_tiers_op *op = begin_tiers(call);
    uint64_t limit = 0;
    if (!ak_params_known(call, names) || !ak_param_u64(call, "limit", 0, LIST_MAX, &limit) ||
        !ak_param_text(call, "after", &op->after)) {
        ak_reply_error(call, AK_INVALID, call->err.text);
        return;
    }
    op->limit = (size_t)limit;
    ak_service_tiers(call->service, op);
}

void ak_rest_tiers_run(struct ak_call *call)
{
    static const char *const names[] = {"wait", NULL};
    struct ak_tiers_op *op = begin_tiers(call);
    if (!ak_params_known(call, names) || !ak_param_bool(call, "wait", &op->wait)) {
        ak_reply_error(call, AK_INVALID, call->err.text);
        return;
    }
    ak_service_tiers_run(call->service, op);
}

/* --- POST /admin/test/clock --- */

static void reply_clock(struct ak_call *call, int64_t ahead_us)
{
    struct ak_buf body;
    ak_buf_init(&body, 0);
    ak_buf_add_str(&body, AK_STR("{\"now\":"));
    ak_put_time(&body, ak_now_us(&call->rest->test_clock->clock));
    put_seconds(&body, "ahead_s", ahead_us);
    ak_buf_add_char(&body, '}');
    ak_reply(call, 200, &body);
}

void ak_rest_test_clock(struct ak_call *call)
{
    uint64_t advance_s = 0;
    struct ak_json in;
    struct ak_str key;
    if (!call->rest->test_clock) {
        ak_reply_error(call, AK_NOT_FOUND, "this server lives in real time");
        return;
    }
    ak_json_init(&in, ak_http_body(call->request));
    ak_json_object(&in);
    while (ak_json_next_key(&in, &key)) {
        if (ak_str_eq(key, AK_STR("advance_s"))) {
            (void)ak_json_u64(&in, 0, ADVANCE_MAX_S, &advance_s);
        } else {
            ak_json_unknown_key(&in, key, "advance_s");
        }
    }
    enum ak_rc rc = ak_json_finish(&in, &call->err);
    ak_json_release(&in);
    if (rc != AK_OK) {
        ak_reply_error(call, rc, call->err.text);
        return;
    }
    reply_clock(call,
                ak_shifted_clock_advance(call->rest->test_clock, (int64_t)advance_s * 1000000));
}
