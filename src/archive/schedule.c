/* schedule.c — snapshots by interval, and the end of old ones.
 *
 * A collection is due when it has documents, has changed since its newest snapshot that is known
 * here (by LSN, without opening it), and that snapshot is older than the interval. Only a few
 * scheduled snapshots are in the list of jobs at a time; the others wait for the next look. After
 * a failure the same collection waits for a quarter of the interval, at least a minute.
 *
 * Retention by count asks the store after each snapshot; by age it goes by what is known here, and
 * asks the store before it lets one go. The newest snapshot of a collection always stays. One whose
 * metadata cannot be read does not count, for nothing can be restored from it, and is never removed
 * by retention: its objects may be whole, and somebody may want to look at them.
 *
 * Orphans are objects without metadata. What a job has left is removed by that job, at once or at
 * the next start (recover.c); what no job knows is left by a put that came to be after it was given
 * up, or by a life of which the catalog knows nothing, since it came from a backup. After the start
 * the whole store is searched once, and a collection's part of it after a snapshot, at most once a
 * day: those are removed that are a day old, of a collection that exists here, and of no job;
 * another server's, or a copy that is being made (copy.h), is younger, or of a collection of its
 * own.
 */
#include "archive/archive_priv.h"
#include "base/mem.h"

#define TICK_MS 1000
#define LOOK_MAX_US ((int64_t)60 * 1000000)
#define DAY_US ((int64_t)24 * 3600 * 1000000)
#define PAGE 1000
#define OLD_BATCH 64
#define PER_THREAD 2 /* scheduled jobs at a time for each thread */

/* --- Retention --- */

static void remove_old(struct ak_archive *archive, const struct ak_uuid *collection,
                       const struct ak_uuid *snapshot)
{
    struct ak_err err;
    enum ak_rc rc = ak_archive_remove_one(archive, collection, snapshot, &err);
    if (rc != AK_OK && rc != AK_CONFLICT) {
        ak_log_warn(archive->log, "archive", "an old snapshot stays for now: %s", err.text);
    }
}

void ak_archive_retain(struct ak_archive *archive, const struct ak_uuid *collection)
{
    struct ak_arena arena;
    struct ak_err err;
    struct ak_snapshot_meta *list = NULL;
    struct ak_snapshot_damages damages = {.count = 0};
    size_t count = 0;
    if (!archive->options.retain_count) {
        return;
    }
    ak_arena_init(&arena, 0);
    enum ak_rc rc =
        ak_snapshot_list(archive->store, collection, &arena, &list, &count, &damages, &err);
    ak_archive_note_damages(archive, &damages);
    if (rc != AK_OK) {
        ak_log_warn(archive->log, "archive", "old snapshots stay for now: %s", err.text);
    }
    for (size_t i = archive->options.retain_count; rc == AK_OK && i < count; i++) {
        remove_old(archive, collection, &list[i].id);
    }
    ak_arena_release(&arena);
}

/* Can a snapshot be restored, as far as its metadata tells? */
static enum ak_rc look_at_one(struct ak_archive *archive, const struct ak_uuid *collection,
                              const struct ak_uuid *snapshot)
{
    struct ak_arena arena;
    struct ak_snapshot_meta meta;
    struct ak_err err;
    ak_arena_init(&arena, 0);
    enum ak_rc rc = ak_snapshot_get(archive->store, collection, snapshot, &arena, &meta, &err);
    if (rc != AK_OK && rc != AK_NOT_FOUND) {
        ak_log_warn(archive->log, "archive", "an old snapshot stays for now: %s", err.text);
    }
    ak_arena_release(&arena);
    return rc;
}

/* An old one may go when it can be read itself, or is gone, and so can the newest that is known. */
static bool may_go(struct ak_archive *archive, const struct ak_catalog_snapshot *old)
{
    struct ak_catalog_snapshot newest;
    struct ak_err err;
    enum ak_rc rc = look_at_one(archive, &old->collection, &old->id);
    if (rc == AK_NOT_FOUND) {
        return true; /* what is left of it, and what is known of it here */
    }
    return rc == AK_OK &&
           ak_catalog_snapshot_newest(archive->catalog, &old->collection, &newest, &err) == AK_OK &&
           look_at_one(archive, &newest.collection, &newest.id) == AK_OK;
}

static enum ak_rc retain_by_age(struct ak_archive *archive, int64_t now_us, struct ak_err *err)
{
    struct ak_catalog_snapshot old[OLD_BATCH];
    struct ak_uuid after = {{0}};
    size_t count = OLD_BATCH;
    size_t removed = 0;
    enum ak_rc rc = AK_OK;
    uint64_t age_s = archive->options.retain_age_s;
    if (!age_s || age_s > (uint64_t)now_us / 1000000) {
        return AK_OK;
    }
    while (rc == AK_OK && count == OLD_BATCH && removed < OLD_BATCH &&
           !atomic_load(&archive->stops)) {
        rc = ak_catalog_snapshots_older(archive->catalog, now_us - (int64_t)age_s * 1000000, &after,
                                        old, OLD_BATCH, &count, err);
        for (size_t i = 0; rc == AK_OK && i < count; i++) {
            after = old[i].id;
            if (may_go(archive, &old[i])) {
                remove_old(archive, &old[i].collection, &old[i].id);
                removed++;
            }
        }
    }
    return rc;
}

/* --- What is remembered of a collection --- */

static bool same_collection(const void *ctx, uint32_t value, const void *key)
{
    const struct ak_archive *archive = ctx;
    return ak_uuid_eq(&archive->attempts[value].collection, key);
}

/* When it was last begun; *attempt is where to note it, NULL without memory. due_lock held. */
static struct attempt *attempt_of(struct ak_archive *archive, const struct ak_uuid *collection)
{
    uint64_t hash = ak_uuid_hash(collection);
    uint32_t at = ak_map_get(&archive->attempt_map, hash, collection, same_collection, archive);
    if (at != AK_MAP_NONE) {
        return &archive->attempts[at];
    }
    if (archive->attempt_count == archive->attempt_cap) {
        uint32_t cap = archive->attempt_cap ? archive->attempt_cap * 2 : 64;
        struct attempt *more = ak_try_realloc(archive->attempts, cap * sizeof *more);
        if (!more) {
            return NULL;
        }
        archive->attempts = more;
        archive->attempt_cap = cap;
    }
    struct attempt *made = &archive->attempts[archive->attempt_count];
    *made = (struct attempt){.collection = *collection};
    if (ak_map_put(&archive->attempt_map, hash, collection, archive->attempt_count, same_collection,
                   archive, NULL, NULL) != AK_OK) {
        return NULL;
    }
    archive->attempt_count++;
    return made;
}

/* --- Orphans --- */

/* The snapshots of the collection that are under way here; NULL without memory. */
static struct ak_uuid *under_way(struct ak_archive *archive, const struct ak_uuid *collection,
                                 size_t *count)
{
    size_t cap = 0;
    *count = 0;
    ak_mutex_lock(&archive->lock);
    for (const struct archive_job *job = archive->first; job; job = job->next) {
        cap += ak_uuid_eq(&job->row.collection, collection);
    }
    struct ak_uuid *ids = ak_try_alloc((cap + 1) * sizeof *ids);
    for (const struct archive_job *job = archive->first; job && ids; job = job->next) {
        if (ak_uuid_eq(&job->row.collection, collection)) {
            ids[(*count)++] = job->row.snapshot;
        }
    }
    ak_mutex_unlock(&archive->lock);
    return ids;
}

static bool is_due_for_sweep(struct ak_archive *archive, const struct ak_uuid *collection,
                             int64_t now_us)
{
    ak_mutex_lock(&archive->due_lock);
    struct attempt *attempt = attempt_of(archive, collection);
    bool is_due = attempt && (!attempt->swept_us || now_us - attempt->swept_us >= DAY_US);
    if (is_due) {
        attempt->swept_us = now_us;
    }
    ak_mutex_unlock(&archive->due_lock);
    return is_due;
}

void ak_archive_sweep(struct ak_archive *archive, const struct ak_uuid *collection)
{
    struct ak_err err;
    char id[AK_UUID_TEXT_LEN];
    struct ak_uuid same;
    bool is_ours = false;
    size_t count = 0;
    uint64_t removed = 0;
    int64_t now_us = ak_now_us(archive->clock);
    ak_uuid_format(collection, id);
    enum ak_rc rc =
        ak_archive_resolve(archive, (struct ak_str){id, sizeof id}, &same, &is_ours, &err);
    if (rc != AK_OK || !is_ours || !is_due_for_sweep(archive, collection, now_us)) {
        return;
    }
    struct ak_uuid *ids = under_way(archive, collection, &count);
    if (ids) {
        rc = ak_snapshot_sweep(archive->store, collection, ids, count, now_us - DAY_US, &removed,
                               &err);
    }
    ak_free(ids);
    if (rc != AK_OK) {
        ak_log_warn(archive->log, "archive", "what nothing belongs to stays for now: %s", err.text);
    } else if (removed) {
        ak_log_info(archive->log, "archive",
                    "%llu objects of collection %.*s belonged to no snapshot and were removed",
                    (unsigned long long)removed, AK_UUID_TEXT_LEN, id);
    }
}

static bool sweep_found(void *ctx, const struct ak_uuid *collection)
{
    struct ak_archive *archive = ctx;
    ak_archive_sweep(archive, collection);
    return !atomic_load(&archive->stops);
}

/* Once, as soon as the store is there: a page of a thousand names a request. */
static void search_the_store(struct ak_archive *archive)
{
    struct ak_err err;
    if (ak_objstore_away_ms(archive->store) || atomic_exchange(&archive->has_searched, true)) {
        return;
    }
    if (ak_snapshot_find_orphans(archive->store, sweep_found, archive, &err) != AK_OK) {
        atomic_store(&archive->has_searched, false);
        ak_log_warn(archive->log, "archive", "the store is searched again later: %s", err.text);
    }
}

/* --- What is due --- */

struct look {
    int64_t now_us;
    unsigned room;  /* scheduled jobs that may still be begun */
    uint64_t stale; /* collections without a snapshot of the last day */
};

static unsigned room_for(struct ak_archive *archive)
{
    unsigned room = PER_THREAD * (archive->options.threads ? archive->options.threads : 2);
    ak_mutex_lock(&archive->lock);
    for (const struct archive_job *job = archive->first; job && room; job = job->next) {
        room -= job->was_scheduled && !job->is_cleaning;
    }
    ak_mutex_unlock(&archive->lock);
    return room;
}

static bool is_under_way(struct ak_archive *archive, const struct ak_uuid *collection)
{
    bool found = false;
    ak_mutex_lock(&archive->lock);
    for (const struct archive_job *job = archive->first; job && !found; job = job->next) {
        found = job->kind == AK_JOB_SNAPSHOT && !job->is_cleaning &&
                ak_uuid_eq(&job->row.collection, collection);
    }
    ak_mutex_unlock(&archive->lock);
    return found;
}

static enum ak_rc begin_if_due(struct ak_archive *archive, const struct ak_uuid *collection,
                               int64_t newest_us, struct look *look, struct ak_err *err)
{
    int64_t interval_us = (int64_t)archive->options.interval_s * 1000000;
    int64_t pause_us = interval_us / 4 > LOOK_MAX_US ? interval_us / 4 : LOOK_MAX_US;
    struct ak_uuid job;
    struct ak_uuid snapshot;
    if (!interval_us || !look->room || (newest_us && look->now_us - newest_us < interval_us) ||
        is_under_way(archive, collection)) {
        return AK_OK;
    }
    struct attempt *attempt = attempt_of(archive, collection);
    if (!attempt || (attempt->at_us && newest_us < attempt->at_us &&
                     look->now_us - attempt->at_us < pause_us)) {
        return AK_OK;
    }
    attempt->at_us = look->now_us;
    look->room--;
    return ak_archive_begin_create(archive, collection, NULL, CREATE_SCHEDULED, &job, &snapshot,
                                   err);
}

static enum ak_rc look_at(struct ak_archive *archive, const struct ak_collection_summary *summary,
                          struct look *look, struct ak_err *err)
{
    struct ak_catalog_snapshot newest = {.created_us = 0};
    if (!summary->documents) {
        return AK_OK;
    }
    enum ak_rc rc = ak_catalog_snapshot_newest(archive->catalog, &summary->info.id, &newest, err);
    if (rc != AK_OK && rc != AK_NOT_FOUND) {
        return rc;
    }
    struct ak_tier_view view;
    if (ak_engine_tier(archive->engine, summary->info.name, &view, NULL) != AK_OK ||
        view.tier == AK_TIER_COLD || view.is_covered) {
        return AK_OK; /* gone, or kept already, also when its LSN is of another node or time */
    }
    bool has_changed = rc == AK_NOT_FOUND || summary->wal_bytes || summary->lsn > newest.lsn;
    look->stale += has_changed && look->now_us - newest.created_us > DAY_US;
    return has_changed ? begin_if_due(archive, &summary->info.id, newest.created_us, look, err)
                       : AK_OK;
}

static enum ak_rc look_at_all(struct ak_archive *archive, struct look *look, struct ak_err *err)
{
    struct ak_arena arena;
    char after[AK_NAME_MAX];
    size_t after_len = 0;
    size_t count = 0;
    enum ak_rc rc = AK_OK;
    ak_arena_init(&arena, 0);
    do {
        struct ak_collection_summary *page = NULL;
        ak_arena_reset(&arena);
        rc = ak_engine_list(archive->engine, (struct ak_str){after, after_len}, PAGE, &arena, &page,
                            &count, err);
        for (size_t i = 0; rc == AK_OK && i < count && !atomic_load(&archive->stops); i++) {
            rc = look_at(archive, &page[i], look, err);
        }
        if (rc == AK_OK && count) {
            after_len = page[count - 1].info.name.len;
            for (size_t i = 0; i < after_len; i++) {
                after[i] = page[count - 1].info.name.p[i];
            }
        }
    } while (rc == AK_OK && count == PAGE && !atomic_load(&archive->stops));
    ak_arena_release(&arena);
    return rc;
}

enum ak_rc ak_archive_run_due(struct ak_archive *archive, struct ak_err *err)
{
    ak_mutex_lock(&archive->due_lock);
    bool is_away = ak_objstore_away_ms(archive->store) != 0; /* nothing is begun meanwhile */
    struct look look = {.now_us = ak_now_us(archive->clock),
                        .room = is_away ? 0 : room_for(archive)};
    enum ak_rc rc = look_at_all(archive, &look, err);
    if (rc == AK_OK) {
        ak_series_set(archive->m_stale, (double)look.stale);
        rc = is_away ? AK_OK : retain_by_age(archive, look.now_us, err);
    }
    if (rc == AK_OK) {
        rc = ak_catalog_jobs_prune(archive->catalog, look.now_us - DAY_US, err);
    }
    ak_mutex_unlock(&archive->due_lock);
    search_the_store(archive);
    return rc;
}

static void tick(void *arg)
{
    struct ak_archive *archive = arg;
    struct ak_err err;
    int64_t every_us = (int64_t)archive->options.interval_s * 1000000 / 20;
    every_us = every_us && every_us < LOOK_MAX_US ? every_us : LOOK_MAX_US;
    ak_thread_be_nice();
    ak_mutex_lock(&archive->lock);
    int64_t next_us = ak_now_us(archive->clock) + every_us;
    while (!archive->is_closing) {
        (void)ak_cond_wait_ms(&archive->changed, &archive->lock, TICK_MS);
        if (archive->is_closing || ak_now_us(archive->clock) < next_us) {
            continue;
        }
        ak_mutex_unlock(&archive->lock);
        if (ak_archive_run_due(archive, &err) != AK_OK) {
            ak_log_warn(archive->log, "archive", "the schedule is looked at again later: %s",
                        err.text);
        }
        ak_mutex_lock(&archive->lock);
        next_us = ak_now_us(archive->clock) + every_us;
    }
    ak_mutex_unlock(&archive->lock);
}

enum ak_rc ak_archive_schedule_start(struct ak_archive *archive, struct ak_err *err)
{
    return ak_thread_start(&archive->scheduler, "ak-schedule", tick, archive, err);
}

void ak_archive_schedule_stop(struct ak_archive *archive)
{
    ak_thread_join(&archive->scheduler);
}
