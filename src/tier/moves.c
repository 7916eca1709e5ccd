/* moves.c — the movers: what was asked for first, then what the pass decided.
 *
 * Decided moves are taken in the order of the pass by two cursors: the quick ones (within this
 * machine) and the far ones (to the store). At most all movers but one are busy with far ones, so
 * that memory can be relieved while a store is slow. A store that fails holds up the far ones for a
 * while, twice as long each time.
 *
 * M1  one move a collection at a time: what is in `running`, or coming back (wake.c), is not taken.
 * M2  what has changed since the decision is not done: the tier is another, it is pinned, or it was
 *     used and was to go for idleness.
 * M3  a wait is in exactly one list, or belongs to the mover that runs it.
 */
#include "base/mem.h"
#include "tier/manager_priv.h"

#define FAR_PAUSE_MAX_MS 60000
#define RETRY_MIN_US (INT64_C(60) * 1000000)
#define CONFLICT_TRIES 3 /* of an asked move that a write came between */

static struct ak_str text_of(const struct ak_uuid *id, char text[AK_UUID_TEXT_LEN])
{
    ak_uuid_format(id, text);
    return (struct ak_str){text, AK_UUID_TEXT_LEN};
}

static bool is_far(const struct ak_tier_move *move)
{
    return move->to == AK_TIER_COLD || move->from == AK_TIER_COLD;
}

/* --- Taking; lock held --- */

static bool is_running(const struct ak_tiers *tiers, const struct ak_uuid *id)
{
    for (size_t i = 0; i < tiers->running_count; i++) {
        if (ak_uuid_eq(&tiers->running[i].id, id)) {
            return true;
        }
    }
    return false;
}

bool ak_tiers_is_moving(struct ak_tiers *tiers, const struct ak_uuid *id, enum ak_tier *to)
{
    for (size_t i = 0; i < tiers->running_count; i++) {
        if (ak_uuid_eq(&tiers->running[i].id, id)) {
            *to = (enum ak_tier)tiers->running[i].to;
            return true;
        }
    }
    for (const struct ak_tier_wait *wait = tiers->asked; wait; wait = wait->next) {
        if (ak_uuid_eq(&wait->id, id)) {
            *to = wait->to;
            return true;
        }
    }
    *to = AK_TIER_WARM;
    return ak_tiers_is_waking(tiers, id);
}

/* M1 */
static bool is_free(struct ak_tiers *tiers, const struct ak_uuid *id)
{
    return !is_running(tiers, id) && !ak_tiers_is_waking(tiers, id);
}

static bool take_asked(struct ak_tiers *tiers, struct ak_tier_move *move)
{
    for (struct ak_tier_wait **at = &tiers->asked; *at; at = &(*at)->next) {
        struct ak_tier_wait *wait = *at;
        if (is_free(tiers, &wait->id)) {
            *at = wait->next;
            if (tiers->asked_tail == &wait->next) {
                tiers->asked_tail = at;
            }
            *move = (struct ak_tier_move){.id = wait->id, .to = (uint8_t)wait->to, .wait = wait};
            return true;
        }
    }
    return false;
}

/* The next decided one that is far or is not. What is not free is dropped: it is moving already. */
static bool take_decided(struct ak_tiers *tiers, size_t *cursor, bool far,
                         struct ak_tier_move *move)
{
    while (*cursor < tiers->decided_count) {
        const struct ak_tier_move *next = &tiers->decided[(*cursor)++];
        if (is_far(next) != far) {
            continue;
        }
        tiers->left--;
        if (is_free(tiers, &next->id)) {
            *move = *next;
            tiers->deciding++;
            return true;
        }
    }
    return false;
}

static bool may_go_far(const struct ak_tiers *tiers)
{
    size_t most = tiers->threads > 1 ? tiers->threads - 1 : 1;
    return tiers->running_far < most &&
           (!tiers->far_after_ns || ak_mono_ns(ak_clock_system()) >= tiers->far_after_ns);
}

static bool take(struct ak_tiers *tiers, struct ak_tier_move *move)
{
    bool found = take_asked(tiers, move) || take_decided(tiers, &tiers->next_quick, false, move) ||
                 (may_go_far(tiers) && take_decided(tiers, &tiers->next_far, true, move));
    if (found) {
        move->since_us = ak_now_us(tiers->clock);
        tiers->running[tiers->running_count++] = *move;
        tiers->running_far += is_far(move);
        ak_series_set(tiers->m_moving, (double)tiers->running_count);
    }
    return found;
}

struct ak_tier_wait *ak_tiers_pass_ended(struct ak_tiers *tiers)
{
    struct ak_tier_wait *ended = NULL;
    /* What waits for the store to come back is left to later passes. */
    bool is_held_up = tiers->far_after_ns && tiers->next_quick == tiers->decided_count;
    if ((tiers->left == 0 || is_held_up) && tiers->deciding == 0) {
        ended = tiers->runs_now;
        tiers->runs_now = NULL;
    }
    return ended;
}

/* --- One move --- */

static bool go_on(void *ctx, double fraction)
{
    struct ak_tiers *tiers = ctx;
    (void)fraction;
    return !atomic_load(&tiers->stops);
}

/* M2 */
static bool is_still_wanted(const struct ak_tier_move *move, const struct ak_tier_view *view)
{
    if (move->wait) {
        return true;
    }
    if (move->reason == AK_TIER_STAYS) {
        return view->tier == AK_TIER_HOT && view->is_open && !view->is_loaded;
    }
    bool was_used = move->reason == AK_TIER_IDLE && view->last_access_us > move->decided_us;
    return view->tier == (enum ak_tier)move->from && !view->pinned && !was_used;
}

/* A promotion that somebody asked for counts as a use, so that the next pass does not undo it. */
static void count_use(struct ak_tiers *tiers, struct ak_str name)
{
    struct ak_collection *collection = NULL;
    if (ak_engine_get(tiers->engine, name, &collection, NULL) == AK_OK) {
        ak_collection_unref(collection);
    }
}

static void forget_uses(struct ak_tiers *tiers, struct ak_str name)
{
    struct ak_tier_view view;
    struct ak_tier_use *use = NULL;
    if (ak_engine_tier(tiers->engine, name, &view, NULL) != AK_OK) {
        return;
    }
    struct ak_tier_rules rules = ak_tier_rules_over(&tiers->options.rules, &view.rules);
    ak_mutex_lock(&tiers->uses_lock);
    /* What the worker has not seen yet is entered first, or it would count later. */
    if (ak_tier_uses_enter(&tiers->uses, &view, rules.window_us, ak_now_us(tiers->clock), &use,
                           NULL) == AK_OK) {
        ak_tier_use_forget(use);
    }
    ak_mutex_unlock(&tiers->uses_lock);
}

static enum ak_rc carry_out(struct ak_tiers *tiers, const struct ak_tier_move *move,
                            struct ak_str name, struct ak_err *err)
{
    const struct ak_archive_move telling = {.tell = go_on, .ctx = tiers};
    enum ak_rc rc = AK_OK;
    switch ((enum ak_tier)move->to) {
    case AK_TIER_HOT:
        rc = ak_engine_tier_hot(tiers->engine, name, err);
        break;
    case AK_TIER_WARM:
        rc = move->from == AK_TIER_COLD ? ak_archive_wake(tiers->archive, name, &telling, NULL, err)
                                        : ak_engine_tier_warm(tiers->engine, name, err);
        break;
    case AK_TIER_COLD:
        rc = ak_archive_sink(tiers->archive, name, &telling, NULL, err);
        break;
    case AK_TIER_COUNT:
        break;
    }
    return rc;
}

/* --- What a failure means for those after it --- */

static bool is_the_stores(enum ak_rc rc)
{
    return rc == AK_UNAVAILABLE || rc == AK_TIMEOUT || rc == AK_FORBIDDEN ||
           rc == AK_UNAUTHENTICATED || rc == AK_THROTTLED;
}

static void note_far(struct ak_tiers *tiers, enum ak_rc rc)
{
    ak_mutex_lock(&tiers->lock);
    if (is_the_stores(rc)) {
        int64_t pause_ms = tiers->far_pause_ms ? tiers->far_pause_ms * 2 : 1000;
        tiers->far_pause_ms = pause_ms < FAR_PAUSE_MAX_MS ? pause_ms : FAR_PAUSE_MAX_MS;
        tiers->far_after_ns = ak_mono_ns(ak_clock_system()) + tiers->far_pause_ms * 1000000;
    } else if (rc == AK_OK) {
        tiers->far_pause_ms = tiers->far_after_ns = 0;
    }
    ak_mutex_unlock(&tiers->lock);
}

/* One that fails by itself is left alone for a minute, two, four … a day. A conflict is a write
 * that came between: the next pass sees it. */
static void note_result(struct ak_tiers *tiers, const struct ak_uuid *id, enum ak_rc rc)
{
    ak_mutex_lock(&tiers->uses_lock);
    struct ak_tier_use *use = ak_tier_uses_find(&tiers->uses, id);
    if (use && rc == AK_OK) {
        use->failures = 0;
        use->retry_us = 0;
    } else if (use && rc != AK_CONFLICT && !is_the_stores(rc)) {
        unsigned shift = use->failures < 16 ? use->failures : 16;
        int64_t pause_us = RETRY_MIN_US << shift;
        use->failures++;
        use->retry_us = ak_now_us(tiers->clock) +
                        (pause_us < AK_TIER_RETRY_MAX_US ? pause_us : AK_TIER_RETRY_MAX_US);
    }
    ak_mutex_unlock(&tiers->uses_lock);
}

const char *ak_tier_move_reason(const struct ak_tier_move *move)
{
    return move->wait ? "manual"
                      : (move->reason == AK_TIER_STAYS
                             ? "load"
                             : ak_tier_reason_name((enum ak_tier_reason)move->reason));
}

static void tell(struct ak_tiers *tiers, const struct ak_tier_move *move, struct ak_str id,
                 enum ak_rc rc, const struct ak_err *err, double seconds)
{
    const char *from = ak_tier_name((enum ak_tier)move->from);
    const char *to = ak_tier_name((enum ak_tier)move->to);
    bool is_quiet = rc == AK_CONFLICT || atomic_load(&tiers->stops);
    if (rc == AK_OK) {
        ak_log_debug(tiers->log, "tiers", "%.*s: %s to %s (%s) in %.3f s", AK_STR_ARG(id), from, to,
                     ak_tier_move_reason(move), seconds);
    } else if (is_quiet || move->wait) { /* who asked is told */
        ak_log_debug(tiers->log, "tiers", "%.*s stays %s: %s", AK_STR_ARG(id), from, err->text);
    } else {
        ak_log_warn(tiers->log, "tiers", "%.*s stays %s and not %s (%s): %s", AK_STR_ARG(id), from,
                    to, ak_tier_move_reason(move), err->text);
    }
}

/* The tier that it is in is entered in `move`. *done: something was done. */
static enum ak_rc run_once(struct ak_tiers *tiers, struct ak_tier_move *move, struct ak_str name,
                           bool *done, struct ak_err *err)
{
    struct ak_tier_view view;
    enum ak_rc rc = ak_engine_tier(tiers->engine, name, &view, err);
    *done = rc == AK_OK && is_still_wanted(move, &view);
    if (!*done) {
        return move->wait ? rc : AK_OK; /* a collection that is gone needs no move */
    }
    move->from = (uint8_t)view.tier;
    if (move->wait && view.tier == AK_TIER_COLD && move->to == AK_TIER_HOT) {
        move->wait->is_woken = true; /* awake first, then asked for again */
        return AK_COLD;
    }
    return carry_out(tiers, move, name, err);
}

static enum ak_rc run_move(struct ak_tiers *tiers, struct ak_tier_move *move, bool *done,
                           struct ak_err *err)
{
    char text[AK_UUID_TEXT_LEN];
    struct ak_str name = text_of(&move->id, text);
    int64_t began_ns = ak_mono_ns(ak_clock_system());
    enum ak_rc rc = run_once(tiers, move, name, done, err);
    for (int i = 1; move->wait && rc == AK_CONFLICT && i < CONFLICT_TRIES; i++) {
        rc = run_once(tiers, move, name, done, err);
    }
    double seconds = (double)(ak_mono_ns(ak_clock_system()) - began_ns) * 1e-9;
    if (!*done || rc == AK_COLD) {
        return rc;
    }
    if (is_far(move)) {
        note_far(tiers, rc);
    }
    note_result(tiers, &move->id, rc);
    if (move->wait && rc == AK_OK && move->to <= move->from) {
        count_use(tiers, name);
    } else if (move->wait && rc == AK_OK) {
        forget_uses(tiers, name);
    }
    tell(tiers, move, name, rc, err, seconds);
    if (move->from != move->to) {
        ak_tiers_count_move(tiers, (enum ak_tier)move->from, (enum ak_tier)move->to,
                            ak_tier_move_reason(move), rc, seconds);
    }
    return rc;
}

/* --- The thread --- */

/* Lock held. */
static void leave(struct ak_tiers *tiers, const struct ak_tier_move *move, bool was_far,
                  bool has_done, enum ak_rc rc)
{
    for (size_t i = 0; i < tiers->running_count; i++) {
        if (ak_uuid_eq(&tiers->running[i].id, &move->id)) {
            tiers->running[i] = tiers->running[--tiers->running_count];
            break;
        }
    }
    tiers->running_far -= was_far;
    ak_series_set(tiers->m_moving, (double)tiers->running_count);
    if (!move->wait) {
        tiers->deciding--;
        tiers->done += has_done && rc == AK_OK;
        tiers->failed += rc != AK_OK;
    }
    ak_cond_broadcast(&tiers->changed);
}

static void work_off(struct ak_tiers *tiers, struct ak_tier_move *move)
{
    struct ak_err err = {0};
    bool done = false;
    bool was_far = is_far(move); /* as it was counted: `from` of an asked one shows only now */
    enum ak_rc rc = run_move(tiers, move, &done, &err);
    ak_mutex_lock(&tiers->lock);
    leave(tiers, move, was_far, done, rc);
    struct ak_tier_wait *ended = move->wait ? NULL : ak_tiers_pass_ended(tiers);
    ak_mutex_unlock(&tiers->lock);
    ak_tier_waits_done(ended, AK_OK, NULL);
    if (move->wait && rc == AK_COLD && move->wait->is_woken) {
        ak_tiers_wake_first(tiers, move->wait);
    } else if (move->wait) {
        move->wait->done(move->wait, rc, &err);
    }
}

void ak_tiers_move(void *arg)
{
    struct ak_tiers *tiers = arg;
    struct ak_tier_move move;
    ak_mutex_lock(&tiers->lock);
    while (!atomic_load(&tiers->stops)) {
        if (take(tiers, &move)) {
            ak_mutex_unlock(&tiers->lock);
            work_off(tiers, &move);
            ak_mutex_lock(&tiers->lock);
            continue;
        }
        struct ak_tier_wait *ended = ak_tiers_pass_ended(tiers); /* its last ones were dropped */
        if (ended) {
            ak_mutex_unlock(&tiers->lock);
            ak_tier_waits_done(ended, AK_OK, NULL);
            ak_mutex_lock(&tiers->lock);
        } else if (tiers->far_after_ns && tiers->next_far < tiers->decided_count) {
            (void)ak_cond_wait_ms(&tiers->changed, &tiers->lock, tiers->far_pause_ms + 1);
        } else {
            ak_cond_wait(&tiers->changed, &tiers->lock);
        }
    }
    ak_mutex_unlock(&tiers->lock);
}
