/* show.c — what one collection's tier looks like, what all of them do, and the six actions. */
#include "engine/hold.h"
#include "tier/manager_priv.h"

/* --- One --- */

static uint32_t accesses_of(struct ak_tiers *tiers, const struct ak_tier_view *view,
                            int64_t window_us, bool *is_held_up)
{
    int64_t now_us = ak_now_us(tiers->clock);
    uint32_t sum = view->accesses;
    ak_mutex_lock(&tiers->uses_lock);
    const struct ak_tier_use *use = ak_tier_uses_find(&tiers->uses, &view->id);
    if (use) { /* what the worker has not seen yet counts too */
        sum = ak_tier_use_sum(use, now_us) + (view->accesses - use->accesses);
    } else if (view->window_from_us > now_us - window_us) {
        sum += view->window_accesses;
    }
    *is_held_up = use && use->retry_us > now_us;
    ak_mutex_unlock(&tiers->uses_lock);
    return sum;
}

static uint64_t bucket_bytes(struct ak_tiers *tiers, const struct ak_tier_view *view)
{
    struct ak_catalog_snapshot snapshot;
    bool is_known =
        view->is_covered && ak_catalog_snapshot_get(ak_engine_catalog(tiers->engine), &view->cover,
                                                    &snapshot, NULL) == AK_OK;
    return is_known ? snapshot.bytes : 0;
}

static void foresee(struct ak_tiers *tiers, struct ak_tier_status *status, bool is_held_up)
{
    const struct ak_tier_view *view = &status->view;
    int64_t now_us = ak_now_us(tiers->clock);
    const struct ak_tier_state state = {
        .last_access_us = view->last_access_us,
        .since_us = view->since_us ? view->since_us : view->created_us,
        .ram_bytes = view->ram_bytes,
        .disk_bytes = view->disk_bytes,
        .accesses = status->accesses,
        .tier = (uint8_t)view->tier,
        .flags = (uint8_t)((view->pinned ? AK_TIER_PINNED : 0) |
                           (status->is_moving ? AK_TIER_MOVING : 0)),
    };
    ak_tier_foresee(&state, &status->rules, &status->next);
    bool is_busy = !state.flags && view->tier == AK_TIER_WARM && status->rules.promote_accesses &&
                   status->accesses >= status->rules.promote_accesses;
    if (is_busy) {
        status->next = (struct ak_tier_outlook){AK_TIER_HOT, AK_TIER_BUSY, now_us};
    }
    bool is_empty = view->tier == AK_TIER_WARM && view->documents == 0;
    if (tiers->options.is_off || is_held_up || is_empty) {
        status->next = (struct ak_tier_outlook){.to = view->tier, .reason = status->next.reason};
        if (!state.flags) {
            status->next.reason = AK_TIER_STAYS;
        }
    }
}

enum ak_rc ak_tiers_status(struct ak_tiers *tiers, struct ak_str name_or_id, struct ak_arena *arena,
                           struct ak_tier_status *status, struct ak_err *err)
{
    struct ak_collection_summary summary;
    struct ak_tier_status made = {0};
    char text[AK_UUID_TEXT_LEN];
    enum ak_rc rc = ak_engine_describe(tiers->engine, name_or_id, arena, &summary, err);
    if (rc == AK_OK) {
        ak_uuid_format(&summary.info.id, text);
        rc = ak_engine_tier(tiers->engine, (struct ak_str){text, sizeof text}, &made.view, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    bool is_held_up = false;
    made.name = summary.info.name;
    made.rules = ak_tier_rules_over(&tiers->options.rules, &made.view.rules);
    made.accesses = accesses_of(tiers, &made.view, made.rules.window_us, &is_held_up);
    made.bucket_bytes = bucket_bytes(tiers, &made.view);
    ak_mutex_lock(&tiers->lock);
    made.is_moving = ak_tiers_is_moving(tiers, &made.view.id, &made.moving_to);
    ak_mutex_unlock(&tiers->lock);
    foresee(tiers, &made, is_held_up);
    *status = made;
    return AK_OK;
}

/* --- All --- */

void ak_tiers_overview(struct ak_tiers *tiers, struct ak_tiers_overview *overview)
{
    *overview = (struct ak_tiers_overview){
        .rules = tiers->options.rules,
        .limits = tiers->options.limits,
        .is_off = tiers->options.is_off,
        .interval_ms = tiers->options.interval_ms,
    };
    ak_engine_tier_usage(tiers->engine, &overview->usage);
    ak_mutex_lock(&tiers->lock);
    overview->moving_count = tiers->running_count;
    for (size_t i = 0; i < tiers->running_count && i < AK_TIER_SHOWN_MAX; i++) {
        const struct ak_tier_move *move = &tiers->running[i];
        overview->moving[i] = (struct ak_tier_progress){
            .id = move->id,
            .from = (enum ak_tier)move->from,
            .to = (enum ak_tier)move->to,
            .reason = ak_tier_move_reason(move),
            .since_us = move->since_us,
        };
    }
    overview->queued = tiers->left;
    for (const struct ak_tier_wait *wait = tiers->asked; wait; wait = wait->next) {
        overview->queued++;
    }
    overview->waking = tiers->waking;
    overview->waiting = tiers->waiting;
    overview->pass.at_us = tiers->pass_us;
    overview->pass.seconds = tiers->pass_seconds;
    overview->pass.collections = tiers->pass_collections;
    overview->pass.decided = tiers->pass_decided;
    overview->pass.done = tiers->done;
    overview->pass.failed = tiers->failed;
    ak_mutex_unlock(&tiers->lock);
}

/* --- Actions --- */

static const struct {
    enum ak_tier to;
    bool is_up;
} moves[AK_TIER_ACTION_COUNT] = {
    [AK_TIER_PROMOTE_TO_HOT] = {AK_TIER_HOT, true},
    [AK_TIER_PROMOTE_TO_WARM] = {AK_TIER_WARM, true},
    [AK_TIER_DEMOTE_TO_WARM] = {AK_TIER_WARM, false},
    [AK_TIER_DEMOTE_TO_COLD] = {AK_TIER_COLD, false},
};

static enum ak_rc check_move(const struct ak_tier_view *view, enum ak_tier_action action,
                             struct ak_err *err)
{
    enum ak_tier to = moves[action].to;
    bool is_wrong = moves[action].is_up ? view->tier < to : view->tier > to;
    if (is_wrong) {
        return ak_fail(err, AK_CONFLICT, "%s: the collection is %s, which is %s than %s",
                       ak_tier_action_name(action), ak_tier_name(view->tier),
                       moves[action].is_up ? "higher" : "lower", ak_tier_name(to));
    }
    if (view->pinned && !moves[action].is_up && view->tier != to) {
        return ak_fail(err, AK_CONFLICT, "%s: the collection is pinned: unpin it first",
                       ak_tier_action_name(action));
    }
    return AK_OK;
}

static enum ak_rc ask(struct ak_tiers *tiers, struct ak_str name_or_id, enum ak_tier_action action,
                      struct ak_tier_wait *wait, struct ak_err *err)
{
    struct ak_tier_view view;
    enum ak_rc rc = ak_engine_tier(tiers->engine, name_or_id, &view, err);
    rc = rc == AK_OK ? check_move(&view, action, err) : rc;
    if (rc != AK_OK) {
        return rc;
    }
    wait->id = view.id;
    wait->to = moves[action].to;
    wait->is_woken = false;
    wait->began_ns = ak_mono_ns(ak_clock_system());
    ak_mutex_lock(&tiers->lock);
    if (atomic_load(&tiers->stops)) {
        rc = ak_tiers_fail_stopped(err);
    } else {
        ak_tiers_ask(tiers, wait);
    }
    ak_mutex_unlock(&tiers->lock);
    return rc;
}

void ak_tiers_act(struct ak_tiers *tiers, struct ak_str name_or_id, enum ak_tier_action action,
                  struct ak_tier_wait *wait)
{
    struct ak_err err = {0};
    bool is_pin = action == AK_TIER_PIN || action == AK_TIER_UNPIN;
    enum ak_rc rc = is_pin
                        ? ak_engine_tier_pin(tiers->engine, name_or_id, action == AK_TIER_PIN, &err)
                        : ask(tiers, name_or_id, action, wait, &err);
    if (is_pin || rc != AK_OK) { /* else it may have been told already, and be gone */
        wait->done(wait, rc, &err);
    }
}
