/* manager.c — opening, stopping, and what is asked of the manager; its threads are in pass.c,
 * moves.c and wake.c.
 */
#include "tier/manager.h"
#include "base/mem.h"
#include "tier/manager_priv.h"

#define DEFAULT_THREADS 4u
#define DEFAULT_INTERVAL_MS (5u * 60 * 1000)
#define DEFAULT_FLUSH_MS (60u * 1000)
#define DEFAULT_WAKE_WAIT_MS (60u * 1000)

static const char *const action_names[AK_TIER_ACTION_COUNT] = {
    "pin", "unpin", "promote_to_hot", "promote_to_warm", "demote_to_warm", "demote_to_cold",
};

const char *ak_tier_action_name(enum ak_tier_action action)
{
    return action < AK_TIER_ACTION_COUNT ? action_names[action] : "unknown";
}

bool ak_tier_action_parse(struct ak_str text, enum ak_tier_action *action)
{
    for (int i = 0; i < AK_TIER_ACTION_COUNT; i++) {
        if (ak_str_eq(text, ak_str_of(action_names[i]))) {
            *action = (enum ak_tier_action)i;
            return true;
        }
    }
    return false;
}

/* --- Metrics --- */

static struct ak_series *tier_series(struct ak_metrics *metrics, enum ak_metrics_family family,
                                     enum ak_tier tier, const char *place)
{
    const struct ak_str labels[] = {ak_str_of(ak_tier_name(tier)), ak_str_of(place)};
    return ak_metrics_series(metrics, family, labels, place ? 2 : 1);
}

static void refresh_gauges(void *ctx)
{
    struct ak_tiers *tiers = ctx;
    struct ak_tier_usage usage;
    ak_engine_tier_usage(tiers->engine, &usage);
    for (int t = 0; t < AK_TIER_COUNT; t++) {
        ak_series_set(tiers->m_tier[t], (double)usage.collections[t]);
    }
    for (int t = AK_TIER_HOT; t <= AK_TIER_WARM; t++) {
        ak_series_set(tiers->m_memory[t], (double)usage.memory_bytes[t]);
        ak_series_set(tiers->m_disk[t], (double)usage.disk_bytes[t]);
    }
    ak_series_set(tiers->m_bucket, (double)usage.disk_bytes[AK_TIER_COLD]);
}

static void open_series(struct ak_tiers *tiers)
{
    struct ak_metrics *metrics = tiers->options.metrics;
    const struct ak_str ok = AK_STR("ok");
    const struct ak_str failed = AK_STR("failed");
    for (int t = 0; t < AK_TIER_COUNT; t++) {
        tiers->m_tier[t] = tier_series(metrics, AK_METRIC_COLLECTION_TIER, (enum ak_tier)t, NULL);
    }
    for (int t = AK_TIER_HOT; t <= AK_TIER_WARM; t++) {
        enum ak_tier tier = (enum ak_tier)t;
        tiers->m_memory[t] = tier_series(metrics, AK_METRIC_TIER_BYTES, tier, "memory");
        tiers->m_disk[t] = tier_series(metrics, AK_METRIC_TIER_BYTES, tier, "disk");
        tiers->m_limit[t] = tier_series(metrics, AK_METRIC_TIER_LIMIT, tier, NULL);
    }
    tiers->m_bucket = tier_series(metrics, AK_METRIC_TIER_BYTES, AK_TIER_COLD, "bucket");
    tiers->m_moving = ak_metrics_series(metrics, AK_METRIC_TIER_MOVING, NULL, 0);
    tiers->m_pass = ak_metrics_series(metrics, AK_METRIC_TIER_PASS_SECONDS, NULL, 0);
    tiers->m_wait_ok = ak_metrics_series(metrics, AK_METRIC_TIER_COLD_WAITS, &ok, 1);
    tiers->m_wait_failed = ak_metrics_series(metrics, AK_METRIC_TIER_COLD_WAITS, &failed, 1);
    tiers->m_wait_seconds = ak_metrics_series(metrics, AK_METRIC_TIER_COLD_WAIT_SECONDS, NULL, 0);
    ak_series_set(tiers->m_limit[AK_TIER_HOT], (double)tiers->options.limits.hot_bytes);
    ak_series_set(tiers->m_limit[AK_TIER_WARM], (double)tiers->options.limits.warm_bytes);
    if (metrics) {
        ak_metrics_on_render(metrics, refresh_gauges, tiers);
    }
}

void ak_tiers_count_move(struct ak_tiers *tiers, enum ak_tier from, enum ak_tier to,
                         const char *reason, enum ak_rc rc, double seconds)
{
    struct ak_metrics *metrics = tiers->options.metrics;
    const struct ak_str labels[] = {ak_str_of(ak_tier_name(from)), ak_str_of(ak_tier_name(to)),
                                    ak_str_of(reason), ak_str_of(rc == AK_OK ? "ok" : "failed")};
    ak_series_add(ak_metrics_series(metrics, AK_METRIC_TIER_MOVES, labels, 4), 1);
    if (rc == AK_OK) {
        ak_series_observe(ak_metrics_series(metrics, AK_METRIC_TIER_MOVE_SECONDS, labels, 2),
                          seconds);
    }
}

/* --- Waits --- */

void ak_tier_waits_done(struct ak_tier_wait *waits, enum ak_rc rc, const struct ak_err *why)
{
    static const struct ak_err none = {.rc = AK_OK};
    while (waits) {
        struct ak_tier_wait *wait = waits;
        waits = wait->next; /* it may be gone when done() returns */
        wait->done(wait, rc, why ? why : &none);
    }
}

enum ak_rc ak_tiers_fail_stopped(struct ak_err *err)
{
    return ak_fail(err, AK_UNAVAILABLE, "the server is stopping");
}

void ak_tiers_touch(struct ak_tiers *tiers)
{
    if (!atomic_load_explicit(&tiers->touched, memory_order_relaxed)) {
        atomic_store_explicit(&tiers->touched, true, memory_order_relaxed);
    }
}

void ak_tiers_run(struct ak_tiers *tiers, struct ak_tier_wait *wait)
{
    struct ak_err err;
    enum ak_rc rc = AK_OK;
    ak_mutex_lock(&tiers->lock);
    if (tiers->options.is_off) {
        rc = ak_fail(&err, AK_CONFLICT, "tiering.enabled is false: nothing moves by itself");
    } else if (atomic_load(&tiers->stops)) {
        rc = ak_tiers_fail_stopped(&err);
    } else {
        wait->next = tiers->runs;
        tiers->runs = wait;
        tiers->wants_pass = true;
        ak_cond_signal(&tiers->work);
    }
    ak_mutex_unlock(&tiers->lock);
    if (rc != AK_OK) {
        wait->done(wait, rc, &err);
    }
}

void ak_tiers_ask(struct ak_tiers *tiers, struct ak_tier_wait *wait)
{
    wait->next = NULL;
    *tiers->asked_tail = wait;
    tiers->asked_tail = &wait->next;
    ak_cond_broadcast(&tiers->changed);
}

/* --- Opening and closing --- */

static enum ak_rc start(struct ak_tiers *tiers, struct ak_err *err)
{
    enum ak_rc rc = ak_thread_start(&tiers->worker, "ak-tiers", ak_tiers_work, tiers, err);
    for (unsigned i = 0; i < tiers->threads && rc == AK_OK; i++) {
        rc = ak_thread_start(&tiers->movers[i], "ak-move", ak_tiers_move, tiers, err);
        rc = rc == AK_OK ? ak_thread_start(&tiers->wakers[i], "ak-wake", ak_tiers_wakes, tiers, err)
                         : rc;
    }
    return rc;
}

enum ak_rc ak_tiers_open(const struct ak_tiers_options *options, struct ak_tiers **out,
                         struct ak_err *err)
{
    enum ak_rc rc = ak_tier_rules_check(&options->rules, err);
    if (rc != AK_OK) {
        return ak_wrap(err, rc, "tiering");
    }
    struct ak_tiers *tiers = ak_zalloc(sizeof *tiers);
    tiers->options = *options;
    tiers->engine = options->engine;
    tiers->archive = options->archive;
    tiers->clock = options->clock ? options->clock : ak_clock_system();
    tiers->log = options->log;
    tiers->threads = options->threads ? options->threads : DEFAULT_THREADS;
    tiers->threads = tiers->threads < AK_TIER_THREADS_MAX ? tiers->threads : AK_TIER_THREADS_MAX;
    if (!options->interval_ms) {
        tiers->options.interval_ms = DEFAULT_INTERVAL_MS;
    }
    if (!options->flush_ms) {
        tiers->options.flush_ms = DEFAULT_FLUSH_MS;
    }
    if (!options->wake_wait_ms) {
        tiers->options.wake_wait_ms = DEFAULT_WAKE_WAIT_MS;
    }
    ak_mutex_init(&tiers->lock, AK_RANK_SERVICE, "tiers");
    ak_mutex_init(&tiers->uses_lock, AK_RANK_SERVICE, "tier uses");
    ak_cond_init(&tiers->changed);
    ak_cond_init(&tiers->work);
    ak_tier_uses_init(&tiers->uses);
    tiers->asked_tail = &tiers->asked;
    tiers->wakes_tail = &tiers->wakes;
    int64_t now_ns = ak_mono_ns(ak_clock_system());
    tiers->next_pass_ns = now_ns + (int64_t)tiers->options.interval_ms * 1000000;
    tiers->next_flush_ns = now_ns + (int64_t)tiers->options.flush_ms * 1000000;
    open_series(tiers);
    rc = start(tiers, err);
    if (rc != AK_OK) {
        ak_tiers_close(tiers);
        return ak_wrap(err, rc, "start the tiers");
    }
    *out = tiers;
    return AK_OK;
}

void ak_tiers_stop(struct ak_tiers *tiers)
{
    struct ak_err err;
    if (!tiers) {
        return;
    }
    enum ak_rc rc = ak_tiers_fail_stopped(&err);
    ak_mutex_lock(&tiers->lock);
    atomic_store(&tiers->stops, true);
    struct ak_tier_wait *lists[] = {tiers->runs, tiers->runs_now, tiers->asked,
                                    ak_tiers_take_wakes(tiers)};
    tiers->runs = tiers->runs_now = tiers->asked = NULL;
    tiers->asked_tail = &tiers->asked;
    ak_cond_broadcast(&tiers->changed);
    ak_cond_broadcast(&tiers->work);
    ak_mutex_unlock(&tiers->lock);
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        ak_tier_waits_done(lists[i], rc, &err);
    }
}

/* Threads have ended: what nobody has taken. */
static void free_queues(struct ak_tiers *tiers)
{
    while (tiers->wakes) {
        struct ak_tier_wake *wake = tiers->wakes;
        tiers->wakes = wake->next;
        ak_free(wake);
    }
    ak_free(tiers->decided);
    ak_free(tiers->pass.states);
    ak_free(tiers->pass.ids);
    ak_free(tiers->pass.scratch);
    ak_free(tiers->pass.decisions);
    ak_free(tiers->pass.wants_load);
    ak_free(tiers->pass.rules);
}

void ak_tiers_close(struct ak_tiers *tiers)
{
    struct ak_err err;
    bool busy;
    if (!tiers) {
        return;
    }
    ak_tiers_stop(tiers);
    ak_thread_join(&tiers->worker);
    for (unsigned i = 0; i < tiers->threads; i++) {
        ak_thread_join(&tiers->movers[i]);
        ak_thread_join(&tiers->wakers[i]);
    }
    if (ak_tiers_look(tiers, &busy, &err) != AK_OK || ak_tiers_flush(tiers, &err) != AK_OK) {
        ak_log_warn(tiers->log, "tiers", "the last accesses are forgotten: %s", err.text);
    }
    free_queues(tiers);
    ak_tier_uses_release(&tiers->uses);
    ak_cond_release(&tiers->changed);
    ak_cond_release(&tiers->work);
    ak_mutex_release(&tiers->uses_lock);
    ak_mutex_release(&tiers->lock);
    ak_free(tiers);
}
