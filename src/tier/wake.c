/* wake.c — cold collections that somebody waits for.
 *
 *   ak_tiers_wake ─▶ wake of that collection (made, or the one under way) ─▶ queue
 *   waker: takes it, unless a mover has the collection ─▶ ak_archive_wake ─▶ every wait is told
 *
 * W1  at most one wake a collection, in its chain from the first wait to the end of the fetch.
 * W2  a wait is told once: by the end of the fetch, by time (the fetch goes on), or by the stop.
 *     Until then it is in its wake's list.
 * W3  a wake in whose list nobody is left, and that has not begun, is not begun.
 */
#include "base/mem.h"
#include "tier/manager_priv.h"

#define CONFLICT_WAIT_MS 20 /* a job of the archive is in the way: tried again after this */
#define CONFLICT_TRIES 1500

static struct ak_tier_wake **chain_of(struct ak_tiers *tiers, const struct ak_uuid *id)
{
    return &tiers->chains[ak_uuid_hash(id) % AK_TIER_WAKE_CHAINS];
}

static struct ak_tier_wake *find(const struct ak_tiers *tiers, const struct ak_uuid *id)
{
    struct ak_tier_wake *wake = tiers->chains[ak_uuid_hash(id) % AK_TIER_WAKE_CHAINS];
    while (wake && !ak_uuid_eq(&wake->id, id)) {
        wake = wake->chain_next;
    }
    return wake;
}

bool ak_tiers_is_waking(const struct ak_tiers *tiers, const struct ak_uuid *id)
{
    const struct ak_tier_wake *wake = find(tiers, id);
    return wake && wake->is_running; /* one that waits for a thread keeps no mover away */
}

/* Lock held. NULL: no memory. */
static struct ak_tier_wake *find_or_make(struct ak_tiers *tiers, const struct ak_uuid *id)
{
    struct ak_tier_wake *wake = find(tiers, id);
    if (wake || !(wake = ak_try_zalloc(sizeof *wake))) {
        return wake;
    }
    struct ak_tier_wake **chain = chain_of(tiers, id);
    wake->id = *id;
    wake->chain_next = *chain;
    *chain = wake;
    *tiers->wakes_tail = wake;
    tiers->wakes_tail = &wake->next;
    tiers->waking++;
    ak_cond_broadcast(&tiers->changed);
    return wake;
}

static enum ak_rc join(struct ak_tiers *tiers, const struct ak_uuid *id, struct ak_tier_wait *wait,
                       struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    wait->id = *id;
    wait->next = NULL;
    ak_mutex_lock(&tiers->lock);
    struct ak_tier_wake *wake = atomic_load(&tiers->stops) ? NULL : find_or_make(tiers, id);
    if (wake) {
        if (wake->last) {
            wake->last->next = wait;
        } else {
            wake->first = wait;
        }
        wake->last = wait;
        tiers->waiting++;
    } else if (atomic_load(&tiers->stops)) {
        rc = ak_tiers_fail_stopped(err);
    } else {
        rc = ak_fail(err, AK_NOMEM, "no memory to wait for a cold collection");
    }
    ak_mutex_unlock(&tiers->lock);
    return rc;
}

void ak_tiers_wake(struct ak_tiers *tiers, const struct ak_uuid *id, struct ak_tier_wait *wait)
{
    struct ak_err err;
    wait->is_woken = false;
    wait->began_ns = ak_mono_ns(ak_clock_system());
    enum ak_rc rc = join(tiers, id, wait, &err);
    if (rc != AK_OK) {
        wait->done(wait, rc, &err);
    }
}

void ak_tiers_wake_first(struct ak_tiers *tiers, struct ak_tier_wait *wait)
{
    struct ak_err err;
    const struct ak_uuid id = wait->id;
    wait->is_woken = true;
    enum ak_rc rc = join(tiers, &id, wait, &err);
    if (rc != AK_OK) {
        wait->done(wait, rc, &err);
    }
}

/* --- The end of waits --- */

static void observe(struct ak_tiers *tiers, const struct ak_tier_wait *wait, enum ak_rc rc)
{
    ak_series_add(rc == AK_OK ? tiers->m_wait_ok : tiers->m_wait_failed, 1);
    ak_series_observe(tiers->m_wait_seconds,
                      (double)(ak_mono_ns(ak_clock_system()) - wait->began_ns) * 1e-9);
}

/* Lock held: the wake is over, and its waits are the caller's. */
static struct ak_tier_wait *leave(struct ak_tiers *tiers, struct ak_tier_wake *wake)
{
    struct ak_tier_wait *waits = wake->first;
    struct ak_tier_wake **at = chain_of(tiers, &wake->id);
    while (*at != wake) {
        at = &(*at)->chain_next;
    }
    *at = wake->chain_next;
    for (const struct ak_tier_wait *wait = waits; wait; wait = wait->next) {
        tiers->waiting--;
    }
    tiers->waking--;
    ak_cond_broadcast(&tiers->changed);
    return waits;
}

static void ask_again(struct ak_tiers *tiers, struct ak_tier_wait *wait)
{
    struct ak_err err;
    ak_mutex_lock(&tiers->lock);
    bool stops = atomic_load(&tiers->stops);
    if (!stops) {
        ak_tiers_ask(tiers, wait);
    }
    ak_mutex_unlock(&tiers->lock);
    if (stops) {
        enum ak_rc rc = ak_tiers_fail_stopped(&err);
        wait->done(wait, rc, &err);
    }
}

static void finish(struct ak_tiers *tiers, struct ak_tier_wait *waits, enum ak_rc rc,
                   const struct ak_err *why)
{
    while (waits) {
        struct ak_tier_wait *wait = waits;
        waits = wait->next;
        if (!wait->is_woken) {
            observe(tiers, wait, rc);
            wait->done(wait, rc, why);
        } else if (rc != AK_OK) {
            wait->done(wait, rc, why);
        } else {
            ask_again(tiers, wait);
        }
    }
}

/* Waits of `wake` since before `than_ns`, taken out; lock held. They stand in the order of time. */
static struct ak_tier_wait *take_late(struct ak_tiers *tiers, struct ak_tier_wake *wake,
                                      int64_t than_ns, struct ak_tier_wait *late)
{
    struct ak_tier_wait **at = &wake->first;
    struct ak_tier_wait *last = NULL;
    while (*at) {
        struct ak_tier_wait *wait = *at;
        if (wait->is_woken || wait->began_ns >= than_ns) {
            last = wait;
            at = &wait->next;
            continue;
        }
        *at = wait->next;
        wait->next = late;
        late = wait;
        tiers->waiting--;
    }
    wake->last = last;
    return late;
}

void ak_tiers_expire(struct ak_tiers *tiers)
{
    struct ak_err err;
    struct ak_tier_wait *late = NULL;
    int64_t than_ns =
        ak_mono_ns(ak_clock_system()) - (int64_t)tiers->options.wake_wait_ms * 1000000;
    ak_mutex_lock(&tiers->lock);
    for (size_t i = 0; tiers->waiting && i < AK_TIER_WAKE_CHAINS; i++) {
        for (struct ak_tier_wake *wake = tiers->chains[i]; wake; wake = wake->chain_next) {
            late = take_late(tiers, wake, than_ns, late);
        }
    }
    ak_mutex_unlock(&tiers->lock);
    if (late) {
        enum ak_rc rc = ak_fail(&err, AK_UNAVAILABLE,
                                "the collection is still on its way from the object store: ask "
                                "again in a while");
        finish(tiers, late, rc, &err);
    }
}

struct ak_tier_wait *ak_tiers_take_wakes(struct ak_tiers *tiers)
{
    struct ak_tier_wait *all = NULL;
    for (size_t i = 0; i < AK_TIER_WAKE_CHAINS; i++) {
        for (struct ak_tier_wake *wake = tiers->chains[i]; wake; wake = wake->chain_next) {
            while (wake->first) {
                struct ak_tier_wait *wait = wake->first;
                wake->first = wait->next;
                wait->next = all;
                all = wait;
            }
            wake->last = NULL;
        }
    }
    tiers->waiting = 0;
    return all;
}

/* --- The fetch --- */

static bool go_on(void *ctx, double fraction)
{
    struct ak_tiers *tiers = ctx;
    (void)fraction;
    return !atomic_load(&tiers->stops);
}

/* What the store says becomes what it means to the one who asks: his request is good, so it is
 * never refused for what is wrong between us and the store. */
static enum ak_rc explain(struct ak_tiers *tiers, struct ak_str name, enum ak_rc rc,
                          struct ak_err *err)
{
    struct ak_tier_view view;
    if (rc == AK_NOT_FOUND) {
        return ak_engine_tier(tiers->engine, name, &view, NULL) == AK_NOT_FOUND
                   ? rc /* dropped while it was fetched */
                   : ak_wrap(err, AK_CORRUPT,
                             "the snapshot that this cold collection lives in is gone");
    }
    bool is_ours = rc == AK_CORRUPT || rc == AK_NOMEM || rc == AK_NO_SPACE || rc == AK_IO ||
                   rc == AK_INTERNAL || rc == AK_UNSUPPORTED;
    return is_ours ? ak_wrap(err, rc, "restore a cold collection")
                   : ak_wrap(err, AK_UNAVAILABLE,
                             "this collection is in the object store, which does not give it now");
}

static enum ak_rc fetch(struct ak_tiers *tiers, const struct ak_uuid *id, struct ak_err *err)
{
    char text[AK_UUID_TEXT_LEN];
    ak_uuid_format(id, text);
    struct ak_str name = {text, AK_UUID_TEXT_LEN};
    const struct ak_archive_move telling = {.tell = go_on, .ctx = tiers};
    struct ak_tier_view view;
    int64_t began_ns = ak_mono_ns(ak_clock_system());
    enum ak_rc rc = ak_engine_tier(tiers->engine, name, &view, err);
    if (rc != AK_OK || view.tier != AK_TIER_COLD) {
        return rc;
    }
    for (int i = 0; i < CONFLICT_TRIES; i++) {
        rc = ak_archive_wake(tiers->archive, name, &telling, NULL, err);
        if (rc != AK_CONFLICT || atomic_load(&tiers->stops)) {
            break;
        }
        ak_mutex_lock(&tiers->lock);
        (void)ak_cond_wait_ms(&tiers->changed, &tiers->lock, CONFLICT_WAIT_MS);
        ak_mutex_unlock(&tiers->lock);
    }
    double seconds = (double)(ak_mono_ns(ak_clock_system()) - began_ns) * 1e-9;
    ak_tiers_count_move(tiers, AK_TIER_COLD, AK_TIER_WARM, ak_tier_reason_name(AK_TIER_USED), rc,
                        seconds);
    if (rc != AK_OK && !atomic_load(&tiers->stops)) {
        rc = explain(tiers, name, rc, err);
        ak_log_warn(tiers->log, "tiers", "%.*s stays cold: %s", AK_STR_ARG(name), err->text);
    } else if (rc == AK_OK) {
        ak_log_debug(tiers->log, "tiers", "%.*s: cold to warm (used) in %.3f s", AK_STR_ARG(name),
                     seconds);
    }
    return rc;
}

/* Lock held: the first wake that no mover is in the way of; those that nobody waits for any more
 * are ended (W3). */
static struct ak_tier_wake *take(struct ak_tiers *tiers)
{
    struct ak_tier_wake **at = &tiers->wakes;
    while (*at) {
        struct ak_tier_wake *wake = *at;
        bool is_left = !wake->first;
        bool is_busy = false;
        for (size_t i = 0; i < tiers->running_count; i++) {
            is_busy |= ak_uuid_eq(&tiers->running[i].id, &wake->id);
        }
        if (is_busy && !is_left) {
            at = &wake->next;
            continue;
        }
        *at = wake->next;
        if (tiers->wakes_tail == &wake->next) {
            tiers->wakes_tail = at;
        }
        if (!is_left) {
            wake->is_running = true;
            return wake;
        }
        (void)leave(tiers, wake);
        ak_free(wake);
    }
    return NULL;
}

void ak_tiers_wakes(void *arg)
{
    struct ak_tiers *tiers = arg;
    ak_mutex_lock(&tiers->lock);
    while (!atomic_load(&tiers->stops)) {
        struct ak_tier_wake *wake = take(tiers);
        if (!wake) {
            ak_cond_wait(&tiers->changed, &tiers->lock);
            continue;
        }
        ak_mutex_unlock(&tiers->lock);
        struct ak_err err = {0};
        enum ak_rc rc = fetch(tiers, &wake->id, &err);
        ak_mutex_lock(&tiers->lock);
        struct ak_tier_wait *waits = leave(tiers, wake);
        ak_mutex_unlock(&tiers->lock);
        ak_free(wake);
        finish(tiers, waits, rc, &err);
        ak_mutex_lock(&tiers->lock);
    }
    ak_mutex_unlock(&tiers->lock);
}
