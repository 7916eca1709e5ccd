/* catalog_priv.h — what the files of the catalog share.
 *
 * Threads: `db` guards the connection, its statements and the VFS; `queue` guards the list of
 * waiting changes. Neither is taken while the other is held.
 */
#pragma once
#include "base/sync.h"
#include "catalog/catalog.h"
#include <sqlite3.h>
#include <string.h>

/* Statements prepared at open. The texts are in catalog.c. */
enum catalog_sql {
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_SAVEPOINT,
    SQL_RELEASE,
    SQL_ROLLBACK_TO,
    SQL_EACH,
    SQL_CREATE,
    SQL_FIND,
    SQL_DELETE,
    SQL_CHECKPOINT,
    SQL_TINY_PUT,
    SQL_TINY_DELETE,
    SQL_TINY_GET,
    SQL_SET,
    SQL_GET,
    SQL_JOB_PUT,
    SQL_JOB_STEP,
    SQL_JOB_GET,
    SQL_JOBS_NEWEST,
    SQL_JOBS_OPEN,
    SQL_JOBS_PRUNE,
    SQL_SNAPSHOT_PUT,
    SQL_SNAPSHOT_DELETE,
    SQL_SNAPSHOT_GET,
    SQL_SNAPSHOT_NEWEST,
    SQL_SNAPSHOT_LAST,
    SQL_SNAPSHOTS_OLDER,
    SQL_TIER_PUT,
    SQL_COVER_PUT,
    SQL_COVERED,
    SQL_UNCOVERED,
    SQL_COUNT
};

struct catalog_vfs;

/* A change that waits for its transaction. It lives on the stack of the thread that waits. */
struct catalog_change {
    enum ak_rc (*apply)(struct ak_catalog *catalog, const void *arg, struct ak_err *err);
    const void *arg;
    enum ak_rc rc;
    struct ak_err err;
    bool is_done;
    struct catalog_change *next;
};

struct ak_catalog {
    struct ak_mutex db_lock;
    sqlite3 *db;
    sqlite3_stmt *sql[SQL_COUNT];
    struct catalog_vfs *vfs;
    struct ak_log *log;
    struct ak_mutex queue_lock;
    struct ak_cond queue_moved;
    struct catalog_change *first;
    struct catalog_change *last;
    bool has_leader; /* a thread is running a transaction for the others */
};

/* --- catalog_vfs.c --- */

/* An SQLite VFS over `fs` under a name of its own. */
struct catalog_vfs *ak_catalog_vfs_open(struct ak_fs *fs, struct ak_log *log);
void ak_catalog_vfs_close(struct catalog_vfs *vfs); /* no database may be open over it */
const char *ak_catalog_vfs_name(const struct catalog_vfs *vfs);
/* The last failure below SQLite since forget, or NULL. */
const struct ak_err *ak_catalog_vfs_failure(const struct catalog_vfs *vfs);
void ak_catalog_vfs_forget(struct catalog_vfs *vfs);
/* A sync has failed: nothing is written any more until the catalog is opened again. */
bool ak_catalog_vfs_is_failed(const struct catalog_vfs *vfs);

/* --- catalog_schema.c --- */

/* Bring the database to the newest schema. AK_UNSUPPORTED: it is newer than this program;
 * AK_CORRUPT: it is somebody else's. */
AK_MUST enum ak_rc ak_catalog_migrate(struct ak_catalog *catalog, struct ak_err *err);

/* --- catalog_commit.c --- */

/* Apply the change in a transaction that it may share with others; durable once AK_OK. */
AK_MUST enum ak_rc ak_catalog_change(struct ak_catalog *catalog, struct catalog_change *change,
                                     struct ak_err *err);

/* --- catalog.c --- */

/* The failure that SQLite's code stands for, with the cause from below when there was one. */
enum ak_rc ak_catalog_fail(struct ak_catalog *catalog, int sqlite_rc, const char *what,
                           struct ak_err *err);
/* Run a statement that gives no rows, and reset it. An SQLite code. */
int ak_catalog_run(struct ak_catalog *catalog, enum catalog_sql sql);
AK_MUST enum ak_rc ak_catalog_exec(struct ak_catalog *catalog, const char *text,
                                   struct ak_err *err);

/* Row number of a collection, or 0 when there is none. */
AK_MUST enum ak_rc ak_catalog_find_row(struct ak_catalog *catalog, const struct ak_uuid *id,
                                       sqlite3_int64 *row, struct ak_err *err);

/* --- catalog_tiers.c --- */

#define AK_CATALOG_TIER_COLUMNS                                                                    \
    "tier, pinned, tier_since_us, last_access_us, window_from_us, window_accesses,"                \
    " rule_hot_idle_us, rule_warm_idle_us, rule_window_us, rule_promote_accesses, rule_stay_cold," \
    " rule_lowest, cover, cover_generation"
/* These columns of the present row, from number `at` on; false: damaged. */
AK_MUST bool ak_catalog_read_tier(sqlite3_stmt *stmt, int at, struct ak_catalog_tier *tier);
/* Inside a change. */
AK_MUST enum ak_rc ak_catalog_put_tier(struct ak_catalog *catalog, sqlite3_int64 row,
                                       const struct ak_catalog_tier *tier, struct ak_err *err);
AK_MUST enum ak_rc ak_catalog_put_cover(struct ak_catalog *catalog, sqlite3_int64 row,
                                        const struct ak_catalog_tier *tier, struct ak_err *err);
/* Inside a change: a snapshot came, or goes. SQLite codes. */
int ak_catalog_covered(struct ak_catalog *catalog, const struct ak_catalog_snapshot *snapshot);
int ak_catalog_uncovered(struct ak_catalog *catalog, const struct ak_uuid *collection,
                         const struct ak_uuid *snapshot);

/* --- catalog_jobs.c --- */

#define AK_CATALOG_JOB_COLUMNS                                                                     \
    "uuid, kind, state, step, owes, collection, snapshot, target, created_us, finished_us, rc,"    \
    " error, payload"

/* Inside a change: the job's row is at `step` now. AK_NOT_FOUND. */
AK_MUST enum ak_rc ak_catalog_job_step(struct ak_catalog *catalog, const struct ak_uuid *id,
                                       uint32_t step, struct ak_err *err);

/* --- Binding: text and blobs are borrowed until the statement is reset. --- */

static inline void bind_str(sqlite3_stmt *stmt, int at, struct ak_str s)
{
    (void)sqlite3_bind_text64(stmt, at, s.len ? s.p : "", s.len, SQLITE_STATIC, SQLITE_UTF8);
}

static inline void bind_uuid(sqlite3_stmt *stmt, int at, const struct ak_uuid *id)
{
    (void)sqlite3_bind_blob64(stmt, at, id->b, sizeof id->b, SQLITE_STATIC);
}

static inline void bind_u64(sqlite3_stmt *stmt, int at, uint64_t value)
{
    (void)sqlite3_bind_int64(stmt, at, (sqlite3_int64)value);
}

/* --- Columns of the present row; texts are SQLite's until the next step. --- */

static inline struct ak_str column_str(sqlite3_stmt *stmt, int at)
{
    const void *p = sqlite3_column_text(stmt, at);
    int len = sqlite3_column_bytes(stmt, at);
    return p ? (struct ak_str){p, (size_t)len} : AK_STR_NONE;
}

static inline uint32_t column_u32(sqlite3_stmt *stmt, int at)
{
    sqlite3_int64 value = sqlite3_column_int64(stmt, at);
    /* No limit allows the largest, so the row is refused. */
    return value >= 0 && value <= UINT32_MAX ? (uint32_t)value : UINT32_MAX;
}

static inline bool column_uuid(sqlite3_stmt *stmt, int at, struct ak_uuid *id)
{
    const void *p = sqlite3_column_blob(stmt, at);
    bool is_sound = p && sqlite3_column_bytes(stmt, at) == (int)sizeof id->b;
    if (is_sound) {
        memcpy(id->b, p, sizeof id->b);
    }
    return is_sound;
}
