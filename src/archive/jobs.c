/* jobs.c — the list of jobs, their rows, and the threads that run them.
 *
 *     made ──enter──> guest ──row durable──> queued ──a thread──> running ──┬──> ended: freed
 *                                              ^                            │
 *                                              └──── the store held it up ──┘
 *
 * J1  A job's row is durable before anything that it does (begin), and says how it ended before
 *     the job leaves the list: a job that is in no list is as its row says.
 * J2  What a failed job may have left in the store it owes: the row stays, and the job in the list
 *     as one that cleans, until the store has let go of everything.
 * J3  Jobs that would work against each other are never in the list together (conflicts()).
 */
#include "archive/archive_priv.h"
#include "base/fault.h"
#include "base/mem.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define RETRY_MAX_MS 60000
#define RETRY_FOR_S ((uint64_t)24 * 3600)
#define WAIT_MS 100 /* between looks at a clock that may not be the machine's */

static const char *const kind_names[AK_JOB_KIND_COUNT] = {
    [AK_JOB_SNAPSHOT] = "snapshot",
    [AK_JOB_RESTORE] = "restore",
    [AK_JOB_SNAPSHOT_DELETE] = "snapshot_delete",
    [AK_JOB_TIER] = "tier",
};

const char *ak_job_kind_name(enum ak_job_kind kind)
{
    return (unsigned)kind < AK_JOB_KIND_COUNT ? kind_names[kind] : "verify";
}

bool ak_archive_kind_parse(struct ak_str text, enum ak_job_kind *kind)
{
    for (int i = 0; i < AK_JOB_KIND_COUNT; i++) {
        if (ak_str_eq(text, ak_str_of(kind_names[i]))) {
            *kind = (enum ak_job_kind)i;
            return true;
        }
    }
    return false;
}

const char *ak_job_state_name(enum ak_job_state state)
{
    static const char *const names[] = {"running", "done", "failed"};
    return (unsigned)state < sizeof names / sizeof names[0] ? names[state] : "unknown";
}

struct archive_job *ak_archive_job_make(struct ak_archive *archive, enum ak_job_kind kind)
{
    struct archive_job *job = ak_zalloc(sizeof *job);
    ak_arena_init(&job->strings, 0);
    job->kind = kind;
    job->state = JOB_GUEST;
    job->row.id = ak_uuid_make(&archive->uuids);
    job->row.kind = ak_str_of(ak_job_kind_name(kind));
    job->row.created_us = ak_now_us(archive->clock);
    job->begun_ns = ak_mono_ns(archive->clock);
    return job;
}

void ak_archive_job_free(struct archive_job *job)
{
    if (job) {
        ak_hold_release(job->hold);
        ak_arena_release(&job->strings);
        ak_free(job);
    }
}

/* --- The list --- */

/* The state of its target, or where that is. */
static bool replaces(const struct archive_job *job)
{
    return job->kind == AK_JOB_TIER || (job->kind == AK_JOB_RESTORE && !job->into.len);
}

static bool conflict(const struct archive_job *a, const struct archive_job *b)
{
    bool removes = a->kind == AK_JOB_SNAPSHOT_DELETE || b->kind == AK_JOB_SNAPSHOT_DELETE;
    if (a->is_cleaning || b->is_cleaning) {
        return false;
    }
    return (removes && ak_uuid_eq(&a->row.snapshot, &b->row.snapshot)) ||
           (replaces(a) && replaces(b) && ak_uuid_eq(&a->row.target, &b->row.target));
}

static void count_running(struct ak_archive *archive)
{
    unsigned running = 0;
    for (const struct archive_job *job = archive->first; job; job = job->next) {
        running += job->kind != AK_JOB_KIND_COUNT && !job->is_cleaning;
    }
    ak_series_set(archive->m_running, running);
}

enum ak_rc ak_archive_job_enter(struct ak_archive *archive, struct archive_job *job,
                                struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    ak_mutex_lock(&archive->lock);
    struct archive_job **end = &archive->first;
    for (; *end && rc == AK_OK; end = &(*end)->next) {
        if (conflict(*end, job)) {
            rc = ak_fail(err, AK_CONFLICT, "a %s of it is under way: wait for it, or try later",
                         ak_job_kind_name((*end)->kind));
        }
    }
    if (rc == AK_OK && archive->is_closing) {
        rc = ak_fail(err, AK_UNAVAILABLE, "the server is stopping");
    }
    if (rc == AK_OK) {
        *end = job;
        count_running(archive);
    }
    ak_mutex_unlock(&archive->lock);
    return rc;
}

enum ak_rc ak_archive_job_claim(struct ak_archive *archive, struct archive_job *job,
                                const struct ak_uuid *snapshot, struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    ak_mutex_lock(&archive->lock);
    job->row.snapshot = *snapshot;
    for (struct archive_job *at = archive->first; at && rc == AK_OK; at = at->next) {
        if (at != job && conflict(at, job)) {
            job->row.snapshot = (struct ak_uuid){{0}};
            rc = ak_fail(err, AK_CONFLICT, "a %s of it is under way: try later",
                         ak_job_kind_name(at->kind));
        }
    }
    ak_mutex_unlock(&archive->lock);
    return rc;
}

static void take_out(struct ak_archive *archive, struct archive_job *job)
{
    struct archive_job **at = &archive->first;
    while (*at != job) {
        at = &(*at)->next;
    }
    *at = job->next;
}

void ak_archive_job_leave(struct ak_archive *archive, struct archive_job *job)
{
    ak_mutex_lock(&archive->lock);
    take_out(archive, job);
    ak_archive_watches_end(archive, &job->row.id);
    count_running(archive);
    ak_cond_broadcast(&archive->changed);
    ak_mutex_unlock(&archive->lock);
    ak_archive_job_free(job);
}

void ak_archive_job_queue(struct ak_archive *archive, struct archive_job *job)
{
    ak_mutex_lock(&archive->lock);
    job->state = JOB_QUEUED;
    ak_cond_broadcast(&archive->changed);
    ak_mutex_unlock(&archive->lock);
}

struct archive_job *ak_archive_job_find(struct ak_archive *archive, const struct ak_uuid *id)
{
    for (struct archive_job *job = archive->first; job; job = job->next) {
        if (ak_uuid_eq(&job->row.id, id)) {
            return job->is_cleaning || job->kind == AK_JOB_KIND_COUNT ? NULL : job;
        }
    }
    return NULL;
}

/* --- Rows --- */

enum ak_rc ak_archive_job_put(struct ak_archive *archive, struct archive_job *job,
                              struct ak_err *err)
{
    return ak_catalog_job_put(archive->catalog, &job->row, job->has_made ? &job->made : NULL,
                              job->has_removed ? &job->row.snapshot : NULL, err);
}

void ak_archive_job_log(struct ak_archive *archive, const struct archive_job *job,
                        struct ak_str table, uint64_t rows)
{
    bool is_snapshot = job->kind == AK_JOB_SNAPSHOT;
    struct ak_query_log *queries = archive->options.queries;
    if (job->was_scheduled || job->is_once || !ak_query_log_wants(queries)) {
        return;
    }
    int64_t took_us = ak_now_us(archive->clock) - job->row.created_us;
    const struct ak_query_shape shape = {
        .table = table,
        .type = is_snapshot ? AK_QUERY_SNAPSHOT : AK_QUERY_RESTORE,
        .items = rows,
    };
    const struct ak_query_entry entry = {
        .began_us = job->row.created_us,
        .duration_ns = took_us > 0 ? took_us * 1000 : 0,
        .cpu_ns = -1, /* of many threads, which others share */
        .wait_ns = -1,
        .examined = rows,
        .returned = rows,
        .index = is_snapshot    ? AK_QUERY_SCAN
                 : job->rebuilt ? AK_QUERY_REBUILD
                                : AK_QUERY_IMAGE,
        .no_cache_hit = true,
    };
    ak_query_log_put(queries, &shape, &entry);
}

bool ak_archive_job_may_retry(struct ak_archive *archive, struct archive_job *job, enum ak_rc rc,
                              struct ak_err *err)
{
    uint64_t for_s = archive->options.retry_for_s ? archive->options.retry_for_s : RETRY_FOR_S;
    unsigned max = archive->options.retries_max ? archive->options.retries_max : UINT_MAX;
    int64_t now_ns = ak_mono_ns(archive->clock);
    if (!ak_rc_is_retryable(rc) || job->is_once) {
        return false;
    }
    job->held_up_ns = job->tries ? job->held_up_ns : now_ns;
    uint64_t held_up_s = (uint64_t)(now_ns - job->held_up_ns) / 1000000000;
    if (job->tries >= max || held_up_s >= for_s) {
        struct ak_err last = *err;
        (void)ak_fail(err, rc, "given up after %u tries in %llu s: %s", job->tries + 1,
                      (unsigned long long)held_up_s, last.text);
        return false;
    }
    if (!job->tries) {
        ak_log_warn(archive->log, "archive", "a %s is held up, and tried again: %s",
                    ak_job_kind_name(job->kind), err->text);
    }
    ak_mutex_lock(&archive->lock);
    job->tries++;
    job->held_up_tries = job->tries;
    job->held_up_rc = rc;
    (void)snprintf(job->held_up, sizeof job->held_up, "%s", err->text);
    ak_mutex_unlock(&archive->lock);
    return true;
}

enum job_outcome ak_archive_job_settle(struct ak_archive *archive, struct archive_job *job,
                                       enum ak_rc rc, const struct ak_err *err, bool owes)
{
    struct ak_err local;
    if (!job->is_settled) {
        job->is_settled = true;
        job->row.state = rc == AK_OK ? AK_CATALOG_JOB_DONE : AK_CATALOG_JOB_FAILED;
        job->row.rc = rc;
        job->row.owes = owes;
        job->row.finished_us = ak_now_us(archive->clock);
        (void)snprintf(job->rc_text, sizeof job->rc_text, "%s", rc == AK_OK ? "" : err->text);
        job->row.error = ak_str_of(job->rc_text);
        if (rc != AK_OK) {
            (void)!ak_archive_payload_write(job,
                                            NULL); /* without it nobody knows how far it came */
            ak_log_warn(archive->log, "archive", "%s failed: %s", ak_job_kind_name(job->kind),
                        job->rc_text);
        }
    }
    enum ak_rc put = ak_archive_job_put(archive, job, &local);
    if (put == AK_OK) {
        if (job->has_made && job->made.generation) {
            ak_engine_tier_covered(archive->engine, &job->made.collection, &job->made.id,
                                   job->made.generation);
        }
        return JOB_ENDED;
    }
    if (ak_catalog_is_failed(archive->catalog)) {
        return JOB_STOPPED; /* the next open goes by what the row says, which may be this or not */
    }
    job->tries++;
    ak_log_warn(archive->log, "archive", "how a %s ended is not recorded yet: %s",
                ak_job_kind_name(job->kind), local.text);
    return JOB_RETRY;
}

enum ak_rc ak_archive_begin(struct ak_archive *archive, struct archive_job *job, struct ak_err *err)
{
    enum ak_rc rc = ak_archive_payload_write(job, err);
    if (rc == AK_OK) {
        rc = ak_archive_job_enter(archive, job, err);
    }
    if (rc != AK_OK) {
        ak_archive_job_free(job);
        return rc;
    }
    rc = ak_archive_job_put(archive, job, err);
    if (rc != AK_OK) {
        ak_archive_job_leave(archive, job);
        return rc;
    }
    if (job->kind == AK_JOB_SNAPSHOT) {
        ak_crash_point("snapshot_after_row");
    } else if (job->kind == AK_JOB_RESTORE) {
        ak_crash_point("restore_after_row");
    }
    ak_archive_job_queue(archive, job);
    return AK_OK;
}

/* --- Running --- */

static enum job_outcome run_once(struct ak_archive *archive, struct archive_job *job)
{
    if (job->is_settled) {
        return ak_archive_job_settle(archive, job, AK_OK, NULL, false);
    }
    if (job->is_cleaning) {
        return ak_archive_clean_run(archive, job);
    }
    switch (job->kind) {
    case AK_JOB_SNAPSHOT:
        return ak_archive_create_run(archive, job);
    case AK_JOB_RESTORE:
        return ak_archive_restore_run(archive, job);
    case AK_JOB_SNAPSHOT_DELETE:
        return ak_archive_remove_run(archive, job);
    case AK_JOB_TIER:
    case AK_JOB_KIND_COUNT:
        break;
    }
    AK_ASSERT(job->kind < AK_JOB_TIER); /* moves and verifications are run by their callers */
    return JOB_ENDED;
}

/* Doubling, up to a minute, and a random half of it less: so that jobs do not come in step. */
static int64_t pause_ns(const struct ak_archive *archive, const struct archive_job *job)
{
    int64_t ms = archive->options.retry_ms ? archive->options.retry_ms : 1000;
    uint8_t random[2];
    for (unsigned i = 1; i < job->tries && ms < RETRY_MAX_MS; i++) {
        ms *= 2;
    }
    ms = ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS;
    ak_random_bytes(random, sizeof random);
    int64_t ns = ms * 1000000;
    return ns - ns / 2 * (random[0] << 8 | random[1]) / 65536;
}

/* What waits for the store was not the reason for a crash: a later life begins it anew. Without
 * the row it has failed then. */
static void may_begin_anew(struct ak_archive *archive, struct archive_job *job)
{
    struct ak_err err;
    if (job->is_settled || job->is_cleaning || job->row.step != STEP_BEGUN ||
        (job->kind != AK_JOB_SNAPSHOT && job->kind != AK_JOB_RESTORE)) {
        return;
    }
    job->row.step = STEP_AGAIN;
    if (ak_archive_job_put(archive, job, &err) != AK_OK) {
        job->row.step = STEP_BEGUN;
        ak_log_warn(archive->log, "archive", "that a %s waits is not recorded: %s",
                    ak_job_kind_name(job->kind), err.text);
    }
}

/* Ended, and owing: the same job stays to clean up. */
static void begin_cleaning(struct archive_job *job)
{
    job->is_cleaning = true;
    job->is_settled = false;
    job->tries = 0;
}

static void count_result(struct ak_archive *archive, const struct archive_job *job)
{
    if (job->kind != AK_JOB_SNAPSHOT || job->is_cleaning) {
        return;
    }
    if (job->row.rc == AK_OK) {
        double seconds = (double)(ak_mono_ns(archive->clock) - job->begun_ns) / 1e9;
        ak_series_add(archive->m_ok, 1);
        ak_series_observe(archive->m_seconds, seconds);
        ak_series_set(archive->m_last, (double)job->made.created_us / 1e6);
    } else {
        ak_series_add(archive->m_failed, 1);
    }
}

/* It is out for those who wait for it, and in the list for those who wait for all. */
static void let_old_ones_go(struct ak_archive *archive, struct archive_job *job)
{
    ak_mutex_lock(&archive->lock);
    job->is_cleaning = true;
    ak_archive_watches_end(archive, &job->row.id);
    count_running(archive);
    ak_cond_broadcast(&archive->changed);
    ak_mutex_unlock(&archive->lock);
    ak_archive_retain(archive, &job->row.collection);
    ak_archive_sweep(archive, &job->row.collection);
}

static void queue_again(struct ak_archive *archive, struct archive_job *job, bool has_ended)
{
    if (!has_ended) {
        may_begin_anew(archive, job);
    }
    ak_mutex_lock(&archive->lock);
    if (has_ended) {
        begin_cleaning(job);
        ak_archive_watches_end(archive, &job->row.id);
        count_running(archive);
    }
    job->not_before_ns = ak_mono_ns(archive->clock) + (has_ended ? 0 : pause_ns(archive, job));
    job->state = JOB_QUEUED;
    ak_cond_broadcast(&archive->changed);
    ak_mutex_unlock(&archive->lock);
}

void ak_archive_job_run(struct ak_archive *archive, struct archive_job *job)
{
    bool was_cleaning = job->is_cleaning;
    enum job_outcome outcome = run_once(archive, job);
    bool has_ended = outcome == JOB_ENDED;
    if (has_ended) {
        ak_hold_release(job->hold);
        job->hold = NULL;
        count_result(archive, job);
    }
    if (outcome == JOB_RETRY || (has_ended && job->row.owes)) {
        queue_again(archive, job, has_ended);
        return;
    }
    if (has_ended && !was_cleaning && job->kind == AK_JOB_SNAPSHOT && job->row.rc == AK_OK) {
        let_old_ones_go(archive, job);
    }
    ak_archive_job_leave(archive, job);
}

/* The first job that is due; *wait_ms: until another may be, 0: there is none. Lock held. */
static struct archive_job *next_due(struct ak_archive *archive, int64_t *wait_ms)
{
    int64_t now_ns = ak_mono_ns(archive->clock);
    *wait_ms = 0;
    for (struct archive_job *job = archive->first; job; job = job->next) {
        if (job->state == JOB_QUEUED) {
            if (job->not_before_ns <= now_ns) {
                return job;
            }
            int64_t ms = (job->not_before_ns - now_ns) / 1000000 + 1;
            ms = ms < WAIT_MS ? ms : WAIT_MS;
            *wait_ms = *wait_ms && *wait_ms < ms ? *wait_ms : ms;
        }
    }
    return NULL;
}

static void work(void *arg)
{
    struct ak_archive *archive = arg;
    int64_t wait_ms = 0;
    ak_mutex_lock(&archive->lock);
    while (!archive->is_closing) {
        struct archive_job *job = next_due(archive, &wait_ms);
        if (job) {
            job->state = JOB_RUNNING;
            ak_mutex_unlock(&archive->lock);
            ak_archive_job_run(archive, job);
            ak_mutex_lock(&archive->lock);
        } else if (wait_ms) {
            (void)ak_cond_wait_ms(&archive->changed, &archive->lock, wait_ms);
        } else {
            ak_cond_wait(&archive->changed, &archive->lock);
        }
    }
    ak_mutex_unlock(&archive->lock);
}

enum ak_rc ak_archive_workers_start(struct ak_archive *archive, struct ak_err *err)
{
    unsigned wanted = archive->options.threads ? archive->options.threads : 2;
    enum ak_rc rc = AK_OK;
    archive->threads = ak_zalloc(wanted * sizeof *archive->threads);
    for (unsigned i = 0; i < wanted && rc == AK_OK; i++) {
        rc = ak_thread_start(&archive->threads[i], "ak-archive", work, archive, err);
        archive->thread_count += rc == AK_OK;
    }
    return rc;
}

/* What waits for a thread is as its row says; a create that was not begun may begin anew. */
static void put_away(struct ak_archive *archive, struct archive_job *job)
{
    struct ak_err err;
    bool is_fresh = job->row.state == AK_CATALOG_JOB_RUNNING && job->row.step == STEP_BEGUN &&
                    !job->is_settled && !job->is_cleaning && job->kind != AK_JOB_SNAPSHOT_DELETE;
    if (is_fresh) {
        job->row.step = STEP_AGAIN;
        if (ak_archive_job_put(archive, job, &err) != AK_OK) {
            ak_log_warn(archive->log, "archive", "a %s that waits is given up: %s",
                        ak_job_kind_name(job->kind), err.text);
        }
    }
    ak_archive_job_free(job);
}

void ak_archive_workers_stop(struct ak_archive *archive)
{
    ak_mutex_lock(&archive->lock);
    archive->is_closing = true;
    atomic_store(&archive->stops, true);
    ak_cond_broadcast(&archive->changed);
    ak_mutex_unlock(&archive->lock);
    for (unsigned i = 0; i < archive->thread_count; i++) {
        ak_thread_join(&archive->threads[i]);
    }
    ak_free(archive->threads);
    archive->threads = NULL;
    archive->thread_count = 0;
    while (archive->first) {
        struct archive_job *job = archive->first;
        AK_ASSERT(job->state == JOB_QUEUED); /* no call may be under way at close */
        archive->first = job->next;
        put_away(archive, job);
    }
}
