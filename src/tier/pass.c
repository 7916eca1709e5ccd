/* pass.c — the worker: looks at all collections, decides when that is due, and keeps access times.
 *
 *   every tick (TICK_MS)   usage against the limits; waits that are too long end
 *   touched, and not often a look: is a warm collection busy?
 *   flush_ms               a look, then what has changed goes to the catalog
 *   a pass                 when the interval is over, a limit is passed, one is busy, or asked
 *
 * A look costs some nanoseconds a collection and is repeated at most every LOOK_SHARE times what it
 * took, so that it never takes more than some percent of a core. A pass that a limit asked for and
 * that could not help (everything is pinned or in its grace) is repeated ever less often.
 */
#include "base/mem.h"
#include "tier/manager_priv.h"
#include <string.h>

#define TICK_MS 1000
#define LOOK_SHARE 50
#define LOOK_MIN_NS INT64_C(500000000)
#define SCAN_CHUNK 128
#define PRESSED_MAX_MS 30000
#define RULES_MAX 65535u

/* --- Arrays of a pass --- */

/* `slot` is where the pointer to the array is. */
static bool grow(void *slot, size_t cap, size_t size)
{
    void *array;
    memcpy(&array, slot, sizeof array);
    array = ak_try_realloc(array, cap * size);
    if (array) {
        memcpy(slot, &array, sizeof array);
    }
    return array != NULL;
}

static enum ak_rc reserve(struct ak_tier_pass *pass, struct ak_err *err)
{
    if (pass->count + SCAN_CHUNK <= pass->cap) {
        return AK_OK;
    }
    size_t cap = pass->cap ? pass->cap * 2 : 1024;
    if (!grow(&pass->states, cap, sizeof *pass->states) ||
        !grow(&pass->ids, cap, sizeof *pass->ids) ||
        !grow(&pass->scratch, cap, sizeof *pass->scratch) ||
        !grow(&pass->decisions, cap, sizeof *pass->decisions) ||
        !grow(&pass->wants_load, cap, sizeof *pass->wants_load)) {
        return ak_fail(err, AK_NOMEM, "states of %zu collections", cap);
    }
    pass->cap = cap;
    return AK_OK;
}

static bool same_rules(const struct ak_tier_rules *a, const struct ak_tier_rules *b)
{
    return a->hot_idle_us == b->hot_idle_us && a->warm_idle_us == b->warm_idle_us &&
           a->window_us == b->window_us && a->promote_accesses == b->promote_accesses &&
           a->stay_cold_on_access == b->stay_cold_on_access && a->lowest == b->lowest;
}

/* The place of these rules in the pass's table; neighbours of one stanza mostly share it. false:
 * the table is full. */
static bool place_rules(struct ak_tier_pass *pass, const struct ak_tier_rules *rules, uint16_t *at)
{
    enum { LOOK_BACK = 64 };
    size_t count = pass->rule_count;
    for (size_t i = count; i-- > 0 && i + LOOK_BACK >= count;) {
        if (same_rules(&pass->rules[i], rules)) {
            *at = (uint16_t)i;
            return true;
        }
    }
    if (count == RULES_MAX) {
        return false;
    }
    if (count == pass->rule_cap) {
        size_t cap = pass->rule_cap * 2;
        if (!grow(&pass->rules, cap, sizeof *pass->rules)) {
            return false;
        }
        pass->rule_cap = cap;
    }
    pass->rules[count] = *rules;
    *at = (uint16_t)count;
    pass->rule_count++;
    return true;
}

/* --- Looking --- */

/* A move of it failed not long ago. (Farther ahead than any pause: the clock was set back.) */
static bool is_resting(const struct ak_tier_use *use, int64_t now_us)
{
    return use->retry_us > now_us && use->retry_us - now_us <= AK_TIER_RETRY_MAX_US;
}

/* What the policy must not touch, besides what is pinned: one whose moves fail, for a while; and an
 * empty warm one, of which there is no snapshot to be had and nothing to be gained. */
static bool is_left_alone(const struct ak_tier_view *view, const struct ak_tier_use *use,
                          int64_t now_us)
{
    return view->pinned || is_resting(use, now_us) ||
           (view->tier == AK_TIER_WARM && view->documents == 0);
}

static enum ak_rc enter(struct ak_tiers *tiers, const struct ak_tier_view *view, int64_t now_us,
                        bool *busy, struct ak_err *err)
{
    struct ak_tier_pass *pass = &tiers->pass;
    struct ak_tier_rules rules = ak_tier_rules_over(&tiers->options.rules, &view->rules);
    struct ak_tier_use *use = NULL;
    uint16_t at = 0;
    bool has_rules = !view->rules.set || place_rules(pass, &rules, &at);
    enum ak_rc rc = ak_tier_uses_enter(&tiers->uses, view, rules.window_us, now_us, &use, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (use->tier == AK_TIER_WARM && view->tier == AK_TIER_HOT) {
        use->failures = 0;
    }
    bool is_alone = !has_rules || is_left_alone(view, use, now_us);
    use->state = (uint32_t)pass->count;
    use->tier = (uint8_t)view->tier;
    pass->ids[pass->count] = view->id;
    pass->wants_load[pass->count] =
        view->tier == AK_TIER_HOT && view->is_open && !view->is_loaded && !is_resting(use, now_us);
    struct ak_tier_state *state = &pass->states[pass->count++];
    *state = (struct ak_tier_state){
        .last_access_us = view->last_access_us,
        .since_us = view->since_us ? view->since_us : view->created_us,
        .ram_bytes = view->ram_bytes,
        .disk_bytes = view->disk_bytes,
        .accesses = ak_tier_use_sum(use, now_us),
        .rules = at,
        .tier = (uint8_t)view->tier,
        .flags =
            (uint8_t)((is_alone ? AK_TIER_PINNED : 0) | (view->is_moving ? AK_TIER_MOVING : 0)),
    };
    *busy |= state->tier == AK_TIER_WARM && !state->flags && rules.promote_accesses &&
             state->accesses >= rules.promote_accesses;
    return AK_OK;
}

enum ak_rc ak_tiers_look(struct ak_tiers *tiers, bool *busy, struct ak_err *err)
{
    struct ak_tier_view views[SCAN_CHUNK];
    struct ak_tier_pass *pass = &tiers->pass;
    int64_t now_us = ak_now_us(tiers->clock);
    uint32_t at = 0;
    size_t n = 0;
    *busy = false;
    pass->count = 0;
    if (!pass->rules) {
        pass->rule_cap = 64;
        pass->rules = ak_alloc(pass->rule_cap * sizeof *pass->rules);
    }
    pass->rules[0] = tiers->options.rules;
    pass->rule_count = 1;
    ak_mutex_lock(&tiers->uses_lock);
    tiers->uses.scan++;
    enum ak_rc rc = reserve(pass, err);
    while (rc == AK_OK && (n = ak_engine_tier_scan(tiers->engine, &at, views, SCAN_CHUNK)) > 0) {
        for (size_t i = 0; i < n && rc == AK_OK; i++) {
            rc = enter(tiers, &views[i], now_us, busy, err);
        }
        rc = rc == AK_OK ? reserve(pass, err) : rc;
    }
    if (rc == AK_OK) {
        ak_tier_uses_sweep(&tiers->uses);
    }
    ak_mutex_unlock(&tiers->uses_lock);
    return rc == AK_OK ? rc : ak_wrap(err, rc, "look at the tiers");
}

/* --- Deciding --- */

/* Those that are under way or asked for are not the policy's now. */
static void mark_moving(struct ak_tiers *tiers)
{
    struct ak_uuid ids[AK_TIER_THREADS_MAX];
    ak_mutex_lock(&tiers->lock);
    size_t count = tiers->running_count;
    for (size_t i = 0; i < count; i++) {
        ids[i] = tiers->running[i].id;
    }
    ak_mutex_unlock(&tiers->lock);
    ak_mutex_lock(&tiers->uses_lock);
    for (size_t i = 0; i < count; i++) {
        const struct ak_tier_use *use = ak_tier_uses_find(&tiers->uses, &ids[i]);
        if (use && use->scan == tiers->uses.scan) {
            tiers->pass.states[use->state].flags |= AK_TIER_MOVING;
        }
    }
    ak_mutex_unlock(&tiers->uses_lock);
}

/* Room for `count` moves; lock held. */
static bool reserve_moves(struct ak_tiers *tiers, size_t count)
{
    if (count > tiers->decided_cap) {
        if (!grow(&tiers->decided, count, sizeof *tiers->decided)) {
            return false;
        }
        tiers->decided_cap = count;
    }
    return true;
}

/* Hot ones that are read from their image since the start, as memory has room. */
static size_t count_loads(struct ak_tier_pass *pass, uint64_t limit)
{
    uint64_t hot_bytes = 0;
    size_t loads = 0;
    for (size_t i = 0; i < pass->count; i++) {
        hot_bytes += pass->states[i].tier == AK_TIER_HOT ? pass->states[i].ram_bytes : 0;
    }
    for (size_t i = 0; i < pass->count; i++) {
        pass->wants_load[i] &= !limit || hot_bytes <= limit;
        loads += pass->wants_load[i];
    }
    return loads;
}

/* Replace what is left of the former pass; lock held. */
static void hand_over(struct ak_tiers *tiers, size_t decided, size_t loads, int64_t now_us)
{
    const struct ak_tier_pass *pass = &tiers->pass;
    size_t n = 0;
    if (!reserve_moves(tiers, decided + loads)) {
        ak_log_warn(tiers->log, "tiers", "no memory for %zu moves: they wait for the next pass",
                    decided + loads);
        decided = loads = 0;
    }
    for (size_t i = 0; i < decided; i++) {
        const struct ak_tier_decision *decision = &pass->decisions[i];
        tiers->decided[n++] = (struct ak_tier_move){.id = pass->ids[decision->index],
                                                    .from = decision->from,
                                                    .to = decision->to,
                                                    .reason = decision->reason,
                                                    .decided_us = now_us};
    }
    for (size_t i = 0; loads && i < pass->count; i++) {
        if (pass->wants_load[i] && !pass->states[i].flags) {
            tiers->decided[n++] = (struct ak_tier_move){.id = pass->ids[i],
                                                        .from = AK_TIER_HOT,
                                                        .to = AK_TIER_HOT,
                                                        .reason = AK_TIER_STAYS};
        }
    }
    tiers->decided_count = n;
    tiers->left = n;
    tiers->next_quick = tiers->next_far = 0;
    tiers->done = tiers->failed = 0;
    tiers->pass_decided = decided;
}

void ak_tiers_decide(struct ak_tiers *tiers, int64_t began_ns)
{
    struct ak_tier_pass *pass = &tiers->pass;
    mark_moving(tiers);
    const struct ak_tier_input input = {
        .states = pass->states,
        .count = pass->count,
        .rules = pass->rules,
        .rule_count = pass->rule_count,
        .limits = &tiers->options.limits,
        .now_us = ak_now_us(tiers->clock),
    };
    size_t decided = ak_tier_decide(&input, pass->scratch, pass->decisions);
    for (size_t i = 0; i < decided; i++) { /* one that leaves memory is not loaded first */
        pass->wants_load[pass->decisions[i].index] = false;
    }
    size_t loads = count_loads(pass, tiers->options.limits.hot_bytes);
    double seconds = (double)(ak_mono_ns(ak_clock_system()) - began_ns) * 1e-9;
    ak_series_observe(tiers->m_pass, seconds);
    ak_mutex_lock(&tiers->lock);
    hand_over(tiers, decided, loads, input.now_us);
    tiers->pass_us = input.now_us;
    tiers->pass_seconds = seconds;
    tiers->pass_collections = pass->count;
    struct ak_tier_wait **tail = &tiers->runs_now;
    while (*tail) {
        tail = &(*tail)->next;
    }
    *tail = tiers->runs;
    tiers->runs = NULL;
    tiers->wants_pass = false;
    struct ak_tier_wait *ended = ak_tiers_pass_ended(tiers);
    ak_cond_broadcast(&tiers->changed);
    ak_mutex_unlock(&tiers->lock);
    ak_tier_waits_done(ended, AK_OK, NULL);
}

/* --- Keeping --- */

/* Uses that have changed, as notes in the arena. */
static struct ak_tier_note *take_notes(struct ak_tiers *tiers, size_t *count)
{
    int64_t now_us = ak_now_us(tiers->clock);
    size_t n = 0;
    for (uint32_t i = 0; i < tiers->uses.count; i++) {
        n += tiers->uses.list[i].changed;
    }
    struct ak_tier_note *notes = ak_try_alloc((n + 1) * sizeof *notes);
    *count = 0;
    for (uint32_t i = 0; notes && i < tiers->uses.count; i++) {
        struct ak_tier_use *use = &tiers->uses.list[i];
        if (use->changed) {
            use->changed = false;
            notes[(*count)++] = (struct ak_tier_note){
                .id = use->id,
                .window_from_us = ak_tier_use_from(use, now_us),
                .window_accesses = ak_tier_use_sum(use, now_us),
            };
        }
    }
    return notes;
}

static void take_back(struct ak_tiers *tiers, const struct ak_tier_note *notes, size_t count)
{
    ak_mutex_lock(&tiers->uses_lock);
    for (size_t i = 0; i < count; i++) {
        struct ak_tier_use *use = ak_tier_uses_find(&tiers->uses, &notes[i].id);
        if (use) {
            use->changed = true;
        }
    }
    ak_mutex_unlock(&tiers->uses_lock);
}

enum ak_rc ak_tiers_flush(struct ak_tiers *tiers, struct ak_err *err)
{
    size_t count = 0;
    ak_mutex_lock(&tiers->uses_lock);
    struct ak_tier_note *notes = take_notes(tiers, &count);
    ak_mutex_unlock(&tiers->uses_lock);
    if (!notes) {
        return ak_fail(err, AK_NOMEM, "keep the access times");
    }
    enum ak_rc rc = ak_engine_tier_flush(tiers->engine, notes, count, err);
    if (rc != AK_OK) {
        take_back(tiers, notes, count);
    }
    ak_free(notes);
    return rc == AK_OK ? rc : ak_wrap(err, rc, "keep the access times");
}

/* --- The worker --- */

static bool is_over(const struct ak_tiers *tiers)
{
    const struct ak_tier_limits *limits = &tiers->options.limits;
    struct ak_tier_usage usage;
    if (!limits->hot_bytes && !limits->warm_bytes) {
        return false;
    }
    ak_engine_tier_usage(tiers->engine, &usage);
    return (limits->hot_bytes && usage.memory_bytes[AK_TIER_HOT] > limits->hot_bytes) ||
           (limits->warm_bytes && usage.disk_bytes[AK_TIER_WARM] > limits->warm_bytes);
}

static int64_t ms_ns(int64_t ms)
{
    return ms * 1000000;
}

/* A pass for a limit that changed nothing helps as little the next moment. Lock held. */
static void set_pressure(struct ak_tiers *tiers, bool over)
{
    bool helped = tiers->pass_decided > 0;
    int64_t next = tiers->pressed_ms ? tiers->pressed_ms * 2 : TICK_MS;
    next = next < PRESSED_MAX_MS ? next : PRESSED_MAX_MS;
    tiers->pressed_ms = over && !helped ? next : 0;
}

struct tick {
    int64_t now_ns;
    bool over;       /* a limit is passed */
    bool wants_pass; /* due, as far as one knows without a look */
    bool wants_look;
    bool wants_flush;
};

static struct tick begin_tick(struct ak_tiers *tiers)
{
    struct tick tick = {.now_ns = ak_mono_ns(ak_clock_system())};
    tick.over = !tiers->options.is_off && is_over(tiers);
    bool has_rested = tick.now_ns >= tiers->next_look_ns;
    tick.wants_pass =
        (tick.over && has_rested) || (!tiers->options.is_off && tick.now_ns >= tiers->next_pass_ns);
    ak_mutex_lock(&tiers->lock);
    tick.wants_pass |= tiers->wants_pass;
    ak_mutex_unlock(&tiers->lock);
    tick.wants_flush = tick.now_ns >= tiers->next_flush_ns;
    tick.wants_look = has_rested && !tiers->options.is_off && atomic_load(&tiers->touched);
    return tick;
}

/* Those who asked for a pass hear that there is none. */
static void give_up(struct ak_tiers *tiers, enum ak_rc rc, const struct ak_err *why)
{
    ak_mutex_lock(&tiers->lock);
    struct ak_tier_wait *runs = tiers->runs;
    tiers->runs = NULL;
    tiers->wants_pass = false;
    ak_mutex_unlock(&tiers->lock);
    ak_log_warn(tiers->log, "tiers", "no pass: %s", why->text);
    ak_tier_waits_done(runs, rc, why);
}

static void look_and_decide(struct ak_tiers *tiers, const struct tick *tick)
{
    struct ak_err err;
    bool busy = false;
    atomic_store(&tiers->touched, false);
    int64_t began_ns = ak_mono_ns(ak_clock_system());
    enum ak_rc rc = ak_tiers_look(tiers, &busy, &err);
    int64_t took_ns = ak_mono_ns(ak_clock_system()) - began_ns;
    int64_t rest_ns = took_ns * LOOK_SHARE > LOOK_MIN_NS ? took_ns * LOOK_SHARE : LOOK_MIN_NS;
    if (rc != AK_OK) {
        give_up(tiers, rc, &err);
    } else if (tick->wants_pass || (busy && !tiers->options.is_off)) {
        ak_tiers_decide(tiers, began_ns);
        tiers->next_pass_ns = began_ns + ms_ns(tiers->options.interval_ms);
        ak_mutex_lock(&tiers->lock);
        set_pressure(tiers, tick->over);
        ak_mutex_unlock(&tiers->lock);
        if (tick->over && rest_ns < ms_ns(tiers->pressed_ms)) {
            rest_ns = ms_ns(tiers->pressed_ms);
        }
    }
    tiers->next_look_ns = began_ns + rest_ns;
}

void ak_tiers_work(void *arg)
{
    struct ak_tiers *tiers = arg;
    ak_thread_be_nice();
    while (!atomic_load(&tiers->stops)) {
        struct ak_err err;
        struct tick tick = begin_tick(tiers);
        ak_tiers_expire(tiers);
        if (tick.wants_pass || tick.wants_look || tick.wants_flush) {
            look_and_decide(tiers, &tick);
        }
        if (tick.wants_flush) {
            if (ak_tiers_flush(tiers, &err) != AK_OK) {
                ak_log_warn(tiers->log, "tiers", "%s", err.text);
            }
            tiers->next_flush_ns = tick.now_ns + ms_ns(tiers->options.flush_ms);
        }
        ak_mutex_lock(&tiers->lock);
        if (!atomic_load(&tiers->stops) && !tiers->wants_pass) {
            (void)ak_cond_wait_ms(&tiers->work, &tiers->lock, TICK_MS);
        }
        ak_mutex_unlock(&tiers->lock);
    }
}
