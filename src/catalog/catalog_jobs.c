/* catalog_jobs.c — rows of jobs, and what is known of the snapshots that were made here.
 *
 * A job's row is written before anything that it does, so that after a crash the next start knows
 * what was begun. It is forgotten when it has been finished for a while and owes nothing.
 *
 * Result codes are stored by their wire names, which outlive the enum's order. A row is held
 * against its limits when it is read, as those of collections are.
 */
#include "base/arena.h"
#include "base/mem.h"
#include "catalog/catalog_priv.h"

#define KIND_MAX 32
#define JOBS_BATCH 64

static bool parse_rc(struct ak_str name, enum ak_rc *rc)
{
    for (int i = 0; i < AK_RC_COUNT; i++) {
        if (ak_str_eq(name, ak_str_of(ak_rc_name((enum ak_rc)i)))) {
            *rc = (enum ak_rc)i;
            return true;
        }
    }
    return false;
}

enum ak_rc ak_catalog_job_step(struct ak_catalog *catalog, const struct ak_uuid *id, uint32_t step,
                               struct ak_err *err)
{
    bind_uuid(catalog->sql[SQL_JOB_STEP], 1, id);
    bind_u64(catalog->sql[SQL_JOB_STEP], 2, step);
    int rc = ak_catalog_run(catalog, SQL_JOB_STEP);
    if (rc != SQLITE_OK) {
        return ak_catalog_fail(catalog, rc, "move a job on", err);
    }
    return sqlite3_changes(catalog->db) ? AK_OK : ak_fail(err, AK_NOT_FOUND, "no such job");
}

/* --- Changes --- */

struct job_change {
    const struct ak_catalog_job *job;
    const struct ak_catalog_snapshot *made;
    const struct ak_uuid *removed;
};

static int put_job(struct ak_catalog *catalog, const struct ak_catalog_job *job)
{
    sqlite3_stmt *stmt = catalog->sql[SQL_JOB_PUT];
    bind_uuid(stmt, 1, &job->id);
    bind_str(stmt, 2, job->kind);
    bind_u64(stmt, 3, (uint64_t)job->state);
    bind_u64(stmt, 4, job->step);
    bind_u64(stmt, 5, job->owes);
    bind_uuid(stmt, 6, &job->collection);
    bind_uuid(stmt, 7, &job->snapshot);
    bind_uuid(stmt, 8, &job->target);
    bind_u64(stmt, 9, (uint64_t)job->created_us);
    bind_u64(stmt, 10, (uint64_t)job->finished_us);
    bind_str(stmt, 11, ak_str_of(ak_rc_name(job->rc)));
    bind_str(stmt, 12, job->error);
    bind_str(stmt, 13, job->payload);
    return ak_catalog_run(catalog, SQL_JOB_PUT);
}

static int put_snapshot(struct ak_catalog *catalog, const struct ak_catalog_snapshot *snapshot)
{
    sqlite3_stmt *stmt = catalog->sql[SQL_SNAPSHOT_PUT];
    bind_uuid(stmt, 1, &snapshot->id);
    bind_uuid(stmt, 2, &snapshot->collection);
    bind_u64(stmt, 3, (uint64_t)snapshot->created_us);
    bind_u64(stmt, 4, snapshot->lsn);
    bind_u64(stmt, 5, snapshot->bytes);
    return ak_catalog_run(catalog, SQL_SNAPSHOT_PUT);
}

static enum ak_rc apply_job(struct ak_catalog *catalog, const void *arg, struct ak_err *err)
{
    const struct job_change *change = arg;
    int rc = put_job(catalog, change->job);
    if (rc == SQLITE_OK && change->made) {
        rc = put_snapshot(catalog, change->made);
    }
    if (rc == SQLITE_OK && change->made && change->made->generation) {
        rc = ak_catalog_covered(catalog, change->made);
    }
    if (rc == SQLITE_OK && change->removed) {
        bind_uuid(catalog->sql[SQL_SNAPSHOT_DELETE], 1, change->removed);
        rc = ak_catalog_run(catalog, SQL_SNAPSHOT_DELETE);
    }
    if (rc == SQLITE_OK && change->removed) {
        rc = ak_catalog_uncovered(catalog, &change->job->collection, change->removed);
    }
    return rc == SQLITE_OK ? AK_OK : ak_catalog_fail(catalog, rc, "record a job", err);
}

enum ak_rc ak_catalog_job_put(struct ak_catalog *catalog, const struct ak_catalog_job *job,
                              const struct ak_catalog_snapshot *made, const struct ak_uuid *removed,
                              struct ak_err *err)
{
    AK_ASSERT(job->kind.len >= 1 && job->kind.len <= KIND_MAX);
    if (job->payload.len > AK_JOB_PAYLOAD_MAX) {
        return ak_fail(err, AK_TOO_BIG, "a job's payload of %zu bytes; at most %zu",
                       job->payload.len, AK_JOB_PAYLOAD_MAX);
    }
    struct job_change list = {job, made, removed};
    struct catalog_change change = {.apply = apply_job, .arg = &list};
    return ak_catalog_change(catalog, &change, err);
}

static enum ak_rc apply_prune(struct ak_catalog *catalog, const void *arg, struct ak_err *err)
{
    bind_u64(catalog->sql[SQL_JOBS_PRUNE], 1, (uint64_t) * (const int64_t *)arg);
    int rc = ak_catalog_run(catalog, SQL_JOBS_PRUNE);
    return rc == SQLITE_OK ? AK_OK : ak_catalog_fail(catalog, rc, "forget old jobs", err);
}

enum ak_rc ak_catalog_jobs_prune(struct ak_catalog *catalog, int64_t before_us, struct ak_err *err)
{
    struct catalog_change change = {.apply = apply_prune, .arg = &before_us};
    return ak_catalog_change(catalog, &change, err);
}

/* --- Reads --- */

static enum ak_rc read_job(sqlite3_stmt *stmt, struct ak_arena *arena, struct ak_catalog_job *job,
                           struct ak_err *err)
{
    struct ak_catalog_job row = {
        .state = (enum ak_catalog_job_state)column_u32(stmt, 2),
        .step = column_u32(stmt, 3),
        .owes = sqlite3_column_int(stmt, 4) != 0,
        .created_us = sqlite3_column_int64(stmt, 8),
        .finished_us = sqlite3_column_int64(stmt, 9),
    };
    struct ak_str kind = column_str(stmt, 1);
    struct ak_str error = column_str(stmt, 11);
    struct ak_str payload = column_str(stmt, 12);
    if (!column_uuid(stmt, 0, &row.id) || !column_uuid(stmt, 5, &row.collection) ||
        !column_uuid(stmt, 6, &row.snapshot) || !column_uuid(stmt, 7, &row.target) ||
        row.state > AK_CATALOG_JOB_FAILED || kind.len < 1 || kind.len > KIND_MAX ||
        payload.len > AK_JOB_PAYLOAD_MAX || !parse_rc(column_str(stmt, 10), &row.rc)) {
        return ak_fail(err, AK_CORRUPT, "catalog: the row of a job is damaged");
    }
    row.kind = ak_arena_str(arena, kind);
    row.error = ak_arena_str(arena, error);
    row.payload = ak_arena_str(arena, payload);
    if (!row.kind.p || !row.error.p || !row.payload.p) {
        return ak_fail(err, AK_NOMEM, "no memory to read jobs");
    }
    *job = row;
    return AK_OK;
}

/* Up to `cap` rows of a bound statement, which is reset. */
static enum ak_rc read_jobs(struct ak_catalog *catalog, sqlite3_stmt *stmt, struct ak_arena *arena,
                            struct ak_catalog_job *jobs, size_t cap, size_t *count,
                            struct ak_err *err)
{
    enum ak_rc code = AK_OK;
    int rc = SQLITE_ROW;
    *count = 0;
    while (code == AK_OK && *count < cap && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        code = read_job(stmt, arena, &jobs[*count], err);
        *count += code == AK_OK;
    }
    if (code == AK_OK && rc != SQLITE_DONE && rc != SQLITE_ROW) {
        code = ak_catalog_fail(catalog, rc, "read jobs", err);
    }
    (void)sqlite3_reset(stmt);
    return code;
}

static sqlite3_stmt *begin_read(struct ak_catalog *catalog, enum catalog_sql sql)
{
    ak_mutex_lock(&catalog->db_lock);
    ak_catalog_vfs_forget(catalog->vfs);
    return catalog->sql[sql];
}

enum ak_rc ak_catalog_job_get(struct ak_catalog *catalog, const struct ak_uuid *id,
                              struct ak_arena *arena, struct ak_catalog_job *job,
                              struct ak_err *err)
{
    size_t count = 0;
    sqlite3_stmt *stmt = begin_read(catalog, SQL_JOB_GET);
    bind_uuid(stmt, 1, id);
    enum ak_rc rc = read_jobs(catalog, stmt, arena, job, 1, &count, err);
    ak_mutex_unlock(&catalog->db_lock);
    return rc == AK_OK && !count ? ak_fail(err, AK_NOT_FOUND, "no such job") : rc;
}

enum ak_rc ak_catalog_jobs(struct ak_catalog *catalog, size_t limit, struct ak_arena *arena,
                           struct ak_catalog_job **jobs, size_t *count, struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    size_t n = 0;
    size_t cap = 0;
    struct ak_catalog_job *list = NULL;
    sqlite3_stmt *stmt = begin_read(catalog, SQL_JOBS_NEWEST);
    bind_u64(stmt, 1, limit < INT64_MAX ? limit : INT64_MAX);
    int step = limit ? SQLITE_ROW : SQLITE_DONE;
    while (rc == AK_OK && n < limit && (step = sqlite3_step(stmt)) == SQLITE_ROW) {
        if (n == cap) {
            cap = cap ? cap * 2 : JOBS_BATCH;
            struct ak_catalog_job *more = ak_arena_alloc(arena, cap * sizeof *more);
            if (!more) {
                rc = ak_fail(err, AK_NOMEM, "no memory to list jobs");
                break;
            }
            if (n) {
                memcpy(more, list, n * sizeof *more);
            }
            list = more;
        }
        rc = read_job(stmt, arena, &list[n], err);
        n += rc == AK_OK;
    }
    if (rc == AK_OK && step != SQLITE_DONE && step != SQLITE_ROW) {
        rc = ak_catalog_fail(catalog, step, "list jobs", err);
    }
    (void)sqlite3_reset(stmt);
    ak_mutex_unlock(&catalog->db_lock);
    if (rc == AK_OK) {
        *jobs = list;
        *count = n;
    }
    return rc;
}

enum ak_rc ak_catalog_jobs_open(struct ak_catalog *catalog, ak_catalog_job_fn fn, void *ctx,
                                struct ak_err *err)
{
    struct ak_catalog_job *batch = ak_alloc(JOBS_BATCH * sizeof *batch);
    struct ak_arena texts;
    struct ak_uuid after = {{0}};
    size_t count = 0;
    enum ak_rc rc = AK_OK;
    ak_arena_init(&texts, 0);
    do { /* as in ak_catalog_each: the lock is not held over fn */
        ak_arena_reset(&texts);
        sqlite3_stmt *stmt = begin_read(catalog, SQL_JOBS_OPEN);
        bind_uuid(stmt, 1, &after);
        bind_u64(stmt, 2, JOBS_BATCH);
        rc = read_jobs(catalog, stmt, &texts, batch, JOBS_BATCH, &count, err);
        ak_mutex_unlock(&catalog->db_lock);
        for (size_t i = 0; i < count && rc == AK_OK; i++) {
            after = batch[i].id;
            rc = fn(ctx, &batch[i], err);
        }
    } while (rc == AK_OK && count == JOBS_BATCH);
    ak_arena_release(&texts);
    ak_free(batch);
    return rc;
}

static enum ak_rc read_snapshot(sqlite3_stmt *stmt, struct ak_catalog_snapshot *snapshot,
                                struct ak_err *err)
{
    struct ak_catalog_snapshot row = {
        .created_us = sqlite3_column_int64(stmt, 2),
        .lsn = (uint64_t)sqlite3_column_int64(stmt, 3),
        .bytes = (uint64_t)sqlite3_column_int64(stmt, 4),
    };
    if (!column_uuid(stmt, 0, &row.id) || !column_uuid(stmt, 1, &row.collection)) {
        return ak_fail(err, AK_CORRUPT, "catalog: the row of a snapshot is damaged");
    }
    *snapshot = row;
    return AK_OK;
}

/* The row that a statement gives, begun by begin_read(). */
static enum ak_rc one_snapshot(struct ak_catalog *catalog, sqlite3_stmt *stmt,
                               struct ak_catalog_snapshot *snapshot, struct ak_err *err)
{
    int rc = sqlite3_step(stmt);
    enum ak_rc code = rc == SQLITE_ROW    ? read_snapshot(stmt, snapshot, err)
                      : rc == SQLITE_DONE ? ak_fail(err, AK_NOT_FOUND, "no snapshot is known")
                                          : ak_catalog_fail(catalog, rc, "find a snapshot", err);
    (void)sqlite3_reset(stmt);
    ak_mutex_unlock(&catalog->db_lock);
    return code;
}

enum ak_rc ak_catalog_snapshot_get(struct ak_catalog *catalog, const struct ak_uuid *id,
                                   struct ak_catalog_snapshot *snapshot, struct ak_err *err)
{
    sqlite3_stmt *stmt = begin_read(catalog, SQL_SNAPSHOT_GET);
    bind_uuid(stmt, 1, id);
    return one_snapshot(catalog, stmt, snapshot, err);
}

enum ak_rc ak_catalog_snapshot_newest(struct ak_catalog *catalog, const struct ak_uuid *collection,
                                      struct ak_catalog_snapshot *snapshot, struct ak_err *err)
{
    sqlite3_stmt *stmt = begin_read(catalog, collection ? SQL_SNAPSHOT_NEWEST : SQL_SNAPSHOT_LAST);
    if (collection) {
        bind_uuid(stmt, 1, collection);
    }
    return one_snapshot(catalog, stmt, snapshot, err);
}

enum ak_rc ak_catalog_snapshots_older(struct ak_catalog *catalog, int64_t before_us,
                                      const struct ak_uuid *after,
                                      struct ak_catalog_snapshot *snapshots, size_t cap,
                                      size_t *count, struct ak_err *err)
{
    enum ak_rc code = AK_OK;
    int rc = SQLITE_ROW;
    *count = 0;
    sqlite3_stmt *stmt = begin_read(catalog, SQL_SNAPSHOTS_OLDER);
    bind_u64(stmt, 1, (uint64_t)before_us);
    bind_u64(stmt, 2, cap);
    bind_uuid(stmt, 3, after);
    while (code == AK_OK && *count < cap && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        code = read_snapshot(stmt, &snapshots[*count], err);
        *count += code == AK_OK;
    }
    if (code == AK_OK && rc != SQLITE_DONE && rc != SQLITE_ROW) {
        code = ak_catalog_fail(catalog, rc, "find old snapshots", err);
    }
    (void)sqlite3_reset(stmt);
    ak_mutex_unlock(&catalog->db_lock);
    return code;
}
