/* catalog.c — opening the catalog, what each change does, and the reads.
 *
 * I1  One connection, used under db_lock; every change goes through catalog_commit.c.
 * I2  A row is held against the limits of model/ when it is read: a damaged one is AK_CORRUPT.
 * I3  The lock is never held over a callback: rows are copied out in batches, so a callback may
 *     call the catalog again, and a listing sees each row as it was when its batch was read.
 *
 * Settings: WAL mode, synchronous FULL (each commit is synced), a page cache of 8 MiB, no mmap, the
 * log cut back to 16 MiB after a large commit.
 */
#include "base/arena.h"
#include "base/mem.h"
#include "catalog/catalog_priv.h"
#include <string.h>

#define DEFAULT_DATABASE 1
#define BATCH_ROWS 512
#define TINY_MAX ((size_t)1 << 20) /* far above what the engine calls tiny */

static const char *const settings =
    "PRAGMA locking_mode=EXCLUSIVE;" /* before the first read: the log's index goes to the heap */
    "PRAGMA temp_store=MEMORY;"
    "PRAGMA mmap_size=0;"
    "PRAGMA cache_size=-8192;"
    "PRAGMA trusted_schema=OFF;"
    "PRAGMA synchronous=FULL;"
    "PRAGMA journal_size_limit=16777216";

#define COLUMNS                                                                                    \
    "uuid, name, dimension, metric, embedding_model, m, ef_construction, ef_search, quantization," \
    " state, created_us, generation, lsn, documents, image_bytes, tiny, image_lsn, vectors"
#define COLUMN_COUNT 18

static const char *const sql_text[SQL_COUNT] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_SAVEPOINT] = "SAVEPOINT change",
    [SQL_RELEASE] = "RELEASE change",
    [SQL_ROLLBACK_TO] = "ROLLBACK TO change",
    [SQL_EACH] = "SELECT " COLUMNS ", " AK_CATALOG_TIER_COLUMNS " FROM collections"
                 " WHERE database=?1 AND name>?2 ORDER BY name LIMIT ?3",
    [SQL_CREATE] = "INSERT INTO collections(" COLUMNS ", database)"
                   " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,0,0,0,0,0,0,?12,?13)",
    [SQL_FIND] = "SELECT id FROM collections WHERE uuid=?1",
    [SQL_DELETE] = "DELETE FROM collections WHERE id=?1",
    [SQL_CHECKPOINT] = "UPDATE collections SET generation=?2, lsn=?3, documents=?4,"
                       " image_bytes=?5, tiny=?6, image_lsn=?7 WHERE id=?1",
    [SQL_TINY_PUT] = "INSERT INTO tiny_images(collection, image) VALUES(?1,?2)"
                     " ON CONFLICT(collection) DO UPDATE SET image=excluded.image",
    [SQL_TINY_DELETE] = "DELETE FROM tiny_images WHERE collection=?1",
    [SQL_TINY_GET] = "SELECT t.image FROM collections c JOIN tiny_images t ON t.collection=c.id"
                     " WHERE c.uuid=?1",
    [SQL_SET] = "INSERT INTO settings(name, value) VALUES(?1,?2)"
                " ON CONFLICT(name) DO UPDATE SET value=excluded.value",
    [SQL_GET] = "SELECT value FROM settings WHERE name=?1",
    [SQL_JOB_PUT] = "INSERT INTO jobs(" AK_CATALOG_JOB_COLUMNS ")"
                    " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)"
                    " ON CONFLICT(uuid) DO UPDATE SET kind=excluded.kind, state=excluded.state,"
                    " step=excluded.step, owes=excluded.owes, collection=excluded.collection,"
                    " snapshot=excluded.snapshot, target=excluded.target,"
                    " finished_us=excluded.finished_us, rc=excluded.rc, error=excluded.error,"
                    " payload=excluded.payload",
    [SQL_JOB_STEP] = "UPDATE jobs SET step=?2 WHERE uuid=?1",
    [SQL_JOB_GET] = "SELECT " AK_CATALOG_JOB_COLUMNS " FROM jobs WHERE uuid=?1",
    [SQL_JOBS_NEWEST] = "SELECT " AK_CATALOG_JOB_COLUMNS " FROM jobs ORDER BY uuid DESC LIMIT ?1",
    [SQL_JOBS_OPEN] = "SELECT " AK_CATALOG_JOB_COLUMNS " FROM jobs WHERE (state=0 OR owes<>0)"
                      " AND uuid>?1 ORDER BY uuid LIMIT ?2",
    [SQL_JOBS_PRUNE] = "DELETE FROM jobs WHERE state<>0 AND owes=0 AND finished_us<?1",
    [SQL_SNAPSHOT_PUT] = "INSERT INTO snapshots(uuid, collection, created_us, lsn, bytes)"
                         " VALUES(?1,?2,?3,?4,?5) ON CONFLICT(uuid) DO NOTHING",
    [SQL_SNAPSHOT_DELETE] = "DELETE FROM snapshots WHERE uuid=?1",
    [SQL_SNAPSHOT_GET] = "SELECT uuid, collection, created_us, lsn, bytes FROM snapshots"
                         " WHERE uuid=?1",
    [SQL_SNAPSHOT_NEWEST] = "SELECT uuid, collection, created_us, lsn, bytes FROM snapshots"
                            " WHERE collection=?1 ORDER BY uuid DESC LIMIT 1",
    [SQL_SNAPSHOT_LAST] = "SELECT uuid, collection, created_us, lsn, bytes FROM snapshots"
                          " ORDER BY created_us DESC LIMIT 1",
    [SQL_SNAPSHOTS_OLDER] = "SELECT uuid, collection, created_us, lsn, bytes FROM snapshots s"
                            " WHERE created_us<?1 AND uuid>?3 AND uuid<(SELECT max(uuid) FROM"
                            " snapshots n WHERE n.collection=s.collection) ORDER BY uuid LIMIT ?2",
    [SQL_TIER_PUT] =
        "UPDATE collections SET tier=?2, pinned=?3, tier_since_us=?4, last_access_us=?5,"
        " window_from_us=?6, window_accesses=?7, rule_hot_idle_us=?8, rule_warm_idle_us=?9,"
        " rule_window_us=?10, rule_promote_accesses=?11, rule_stay_cold=?12, rule_lowest=?13"
        " WHERE id=?1",
    [SQL_COVER_PUT] = "UPDATE collections SET cover=?2, cover_generation=?3 WHERE id=?1",
    [SQL_COVERED] = "UPDATE collections SET cover=?2, cover_generation=?3"
                    " WHERE uuid=?1 AND cover_generation<=?3 AND tier<>?4",
    [SQL_UNCOVERED] = "UPDATE collections SET cover=NULL, cover_generation=0"
                      " WHERE uuid=?1 AND cover=?2 AND tier<>?3",
};

static enum ak_rc code_of(int sqlite_rc)
{
    if (sqlite_rc == SQLITE_IOERR_NOMEM) {
        return AK_NOMEM;
    }
    switch (sqlite_rc & 0xFF) {
    case SQLITE_FULL:
        return AK_NO_SPACE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* our statements are fixed: only a schema that is not ours refuses them */
        return AK_CORRUPT;
    case SQLITE_NOMEM:
        return AK_NOMEM;
    case SQLITE_TOOBIG:
        return AK_TOO_BIG;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return AK_CONFLICT;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return AK_IO;
    default:
        return AK_INTERNAL;
    }
}

enum ak_rc ak_catalog_fail(struct ak_catalog *catalog, int sqlite_rc, const char *what,
                           struct ak_err *err)
{
    enum ak_rc rc = code_of(sqlite_rc);
    const struct ak_err *below = ak_catalog_vfs_failure(catalog->vfs);
    /* SQLite knows that it was I/O, the file layer knows what: its code is the finer one. */
    if (below && rc != AK_CORRUPT) {
        return ak_fail(err, below->rc, "catalog: %s: %s", what, below->text);
    }
    const char *text = catalog->db ? sqlite3_errmsg(catalog->db) : sqlite3_errstr(sqlite_rc);
    return ak_fail(err, rc, "catalog: %s: %s (SQLite %d)", what, text, sqlite_rc);
}

int ak_catalog_run(struct ak_catalog *catalog, enum catalog_sql sql)
{
    sqlite3_stmt *stmt = catalog->sql[sql];
    int rc = sqlite3_step(stmt);
    int reset = sqlite3_reset(stmt);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? reset : rc;
}

enum ak_rc ak_catalog_exec(struct ak_catalog *catalog, const char *text, struct ak_err *err)
{
    int rc = sqlite3_exec(catalog->db, text, NULL, NULL, NULL);
    return rc == SQLITE_OK ? AK_OK : ak_catalog_fail(catalog, rc, "set up", err);
}

static enum ak_rc open_database(struct ak_catalog *catalog, const char *path, struct ak_err *err)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    int rc = sqlite3_open_v2(path, &catalog->db, flags, ak_catalog_vfs_name(catalog->vfs));
    if (rc != SQLITE_OK) {
        return ak_catalog_fail(catalog, rc, "open", err);
    }
    (void)sqlite3_extended_result_codes(catalog->db, 1);
    enum ak_rc code = ak_catalog_exec(catalog, settings, err);
    if (code == AK_OK) {
        code = ak_catalog_exec(catalog, "PRAGMA journal_mode=WAL", err);
    }
    if (code == AK_OK) {
        code = ak_catalog_migrate(catalog, err);
    }
    for (int i = 0; i < SQL_COUNT && code == AK_OK; i++) {
        rc = sqlite3_prepare_v3(catalog->db, sql_text[i], -1, SQLITE_PREPARE_PERSISTENT,
                                &catalog->sql[i], NULL);
        code = rc == SQLITE_OK ? AK_OK : ak_catalog_fail(catalog, rc, "prepare", err);
    }
    return code;
}

enum ak_rc ak_catalog_open(struct ak_fs *fs, const char *path, struct ak_log *log,
                           struct ak_catalog **out, struct ak_err *err)
{
    struct ak_catalog *catalog = ak_zalloc(sizeof *catalog);
    ak_mutex_init(&catalog->db_lock, AK_RANK_CATALOG, "catalog db");
    ak_mutex_init(&catalog->queue_lock, AK_RANK_CATALOG, "catalog queue");
    ak_cond_init(&catalog->queue_moved);
    catalog->log = log;
    catalog->vfs = ak_catalog_vfs_open(fs, log);
    enum ak_rc rc = open_database(catalog, path, err);
    if (rc != AK_OK) {
        ak_catalog_close(catalog);
        return ak_wrap(err, rc, "'%s'", path);
    }
    *out = catalog;
    return AK_OK;
}

void ak_catalog_close(struct ak_catalog *catalog)
{
    if (!catalog) {
        return;
    }
    for (int i = 0; i < SQL_COUNT; i++) {
        (void)sqlite3_finalize(catalog->sql[i]);
    }
    int rc = sqlite3_close(catalog->db); /* moves the log into the database; best effort */
    AK_ASSERT(rc == SQLITE_OK);
    ak_catalog_vfs_close(catalog->vfs);
    ak_cond_release(&catalog->queue_moved);
    ak_mutex_release(&catalog->queue_lock);
    ak_mutex_release(&catalog->db_lock);
    ak_free(catalog);
}

/* --- Changes. Each apply_* runs inside its savepoint. --- */

enum ak_rc ak_catalog_find_row(struct ak_catalog *catalog, const struct ak_uuid *id,
                               sqlite3_int64 *row, struct ak_err *err)
{
    sqlite3_stmt *stmt = catalog->sql[SQL_FIND];
    bind_uuid(stmt, 1, id);
    int rc = sqlite3_step(stmt);
    *row = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
    enum ak_rc code = rc == SQLITE_ROW || rc == SQLITE_DONE
                          ? AK_OK
                          : ak_catalog_fail(catalog, rc, "look up a collection", err);
    (void)sqlite3_reset(stmt);
    return code;
}

static enum ak_rc apply_create(struct ak_catalog *catalog, const void *arg, struct ak_err *err)
{
    const struct ak_collection_info *info = arg;
    sqlite3_stmt *stmt = catalog->sql[SQL_CREATE];
    bind_uuid(stmt, 1, &info->id);
    bind_str(stmt, 2, info->name);
    bind_u64(stmt, 3, info->dimension);
    bind_str(stmt, 4, ak_str_of(ak_metric_name(info->metric)));
    bind_str(stmt, 5, info->embedding_model);
    bind_u64(stmt, 6, info->index.m);
    bind_u64(stmt, 7, info->index.ef_construction);
    bind_u64(stmt, 8, info->index.ef_search);
    bind_str(stmt, 9, ak_str_of(ak_quantization_name(info->index.quantization)));
    bind_u64(stmt, 10, (uint64_t)info->state);
    bind_u64(stmt, 11, (uint64_t)info->created_us);
    bind_str(stmt, 12, ak_str_of(ak_vectors_name(info->index.vectors)));
    bind_u64(stmt, 13, DEFAULT_DATABASE);
    int rc = ak_catalog_run(catalog, SQL_CREATE);
    if (rc == SQLITE_CONSTRAINT_UNIQUE) {
        return ak_fail(err, AK_EXISTS, "a collection named '%.*s' exists already",
                       AK_STR_ARG(info->name));
    }
    return rc == SQLITE_OK ? AK_OK : ak_catalog_fail(catalog, rc, "create a collection", err);
}

enum ak_rc ak_catalog_create(struct ak_catalog *catalog, const struct ak_collection_info *info,
                             struct ak_err *err)
{
    struct catalog_change change = {.apply = apply_create, .arg = info};
    return ak_catalog_change(catalog, &change, err);
}

static enum ak_rc apply_delete(struct ak_catalog *catalog, const void *arg, struct ak_err *err)
{
    sqlite3_int64 row = 0;
    enum ak_rc code = ak_catalog_find_row(catalog, arg, &row, err);
    if (code != AK_OK) {
        return code;
    }
    if (row == 0) {
        return ak_fail(err, AK_NOT_FOUND, "no such collection");
    }
    (void)sqlite3_bind_int64(catalog->sql[SQL_TINY_DELETE], 1, row);
    (void)sqlite3_bind_int64(catalog->sql[SQL_DELETE], 1, row);
    int rc = ak_catalog_run(catalog, SQL_TINY_DELETE);
    if (rc == SQLITE_OK) {
        rc = ak_catalog_run(catalog, SQL_DELETE);
    }
    return rc == SQLITE_OK ? AK_OK : ak_catalog_fail(catalog, rc, "delete a collection", err);
}

enum ak_rc ak_catalog_delete(struct ak_catalog *catalog, const struct ak_uuid *id,
                             struct ak_err *err)
{
    struct catalog_change change = {.apply = apply_delete, .arg = id};
    return ak_catalog_change(catalog, &change, err);
}

static enum ak_rc checkpoint_one(struct ak_catalog *catalog,
                                 const struct ak_checkpoint_commit *commit, struct ak_err *err)
{
    sqlite3_int64 row = 0;
    enum ak_rc code = ak_catalog_find_row(catalog, &commit->id, &row, err);
    if (code != AK_OK || row == 0) {
        return code; /* deleted meanwhile: nothing to remember */
    }
    const struct ak_checkpoint *checkpoint = &commit->checkpoint;
    sqlite3_stmt *update = catalog->sql[SQL_CHECKPOINT];
    (void)sqlite3_bind_int64(update, 1, row);
    bind_u64(update, 2, checkpoint->generation);
    bind_u64(update, 3, checkpoint->lsn);
    bind_u64(update, 4, checkpoint->documents);
    bind_u64(update, 5, checkpoint->image_bytes);
    bind_u64(update, 6, checkpoint->tiny);
    bind_u64(update, 7, checkpoint->image_lsn);
    enum catalog_sql tiny = checkpoint->tiny ? SQL_TINY_PUT : SQL_TINY_DELETE;
    (void)sqlite3_bind_int64(catalog->sql[tiny], 1, row);
    if (checkpoint->tiny) {
        const char *p = commit->blob.len ? commit->blob.p : "";
        (void)sqlite3_bind_blob64(catalog->sql[tiny], 2, p, commit->blob.len, SQLITE_STATIC);
    }
    int rc = ak_catalog_run(catalog, SQL_CHECKPOINT);
    if (rc == SQLITE_OK) {
        rc = ak_catalog_run(catalog, tiny);
    }
    return rc == SQLITE_OK ? AK_OK : ak_catalog_fail(catalog, rc, "record a checkpoint", err);
}

struct checkpoint_list {
    const struct ak_checkpoint_commit *commits;
    size_t count;
};

static enum ak_rc apply_checkpoints(struct ak_catalog *catalog, const void *arg, struct ak_err *err)
{
    const struct checkpoint_list *list = arg;
    enum ak_rc rc = AK_OK;
    for (size_t i = 0; i < list->count && rc == AK_OK; i++) {
        rc = checkpoint_one(catalog, &list->commits[i], err);
    }
    return rc;
}

enum ak_rc ak_catalog_checkpoint(struct ak_catalog *catalog,
                                 const struct ak_checkpoint_commit *commits, size_t count,
                                 struct ak_err *err)
{
    for (size_t i = 0; i < count; i++) {
        if (commits[i].checkpoint.tiny && commits[i].blob.len > TINY_MAX) {
            return ak_fail(err, AK_TOO_BIG, "an image of %zu bytes is too big for the catalog",
                           commits[i].blob.len);
        }
    }
    struct checkpoint_list list = {commits, count};
    struct catalog_change change = {.apply = apply_checkpoints, .arg = &list};
    return count ? ak_catalog_change(catalog, &change, err) : AK_OK;
}

static enum ak_rc apply_adopt(struct ak_catalog *catalog, const void *arg, struct ak_err *err)
{
    const struct ak_catalog_adoption *adoption = arg;
    enum ak_rc rc = adoption->create ? apply_create(catalog, &adoption->row->info, err) : AK_OK;
    if (rc == AK_OK) {
        struct ak_checkpoint_commit commit = {.id = adoption->row->info.id,
                                              .checkpoint = adoption->row->checkpoint};
        rc = checkpoint_one(catalog, &commit, err);
    }
    sqlite3_int64 row = 0;
    if (rc == AK_OK) {
        rc = ak_catalog_find_row(catalog, &adoption->row->info.id, &row, err);
    }
    if (rc == AK_OK && row) {
        rc = ak_catalog_put_tier(catalog, row, &adoption->row->tier, err);
    }
    if (rc == AK_OK && row) {
        rc = ak_catalog_put_cover(catalog, row, &adoption->row->tier, err);
    }
    if (rc == AK_OK && adoption->job) {
        rc = ak_catalog_job_step(catalog, adoption->job, adoption->job_step, err);
    }
    return rc;
}

enum ak_rc ak_catalog_adopt(struct ak_catalog *catalog, const struct ak_catalog_adoption *adoption,
                            struct ak_err *err)
{
    AK_ASSERT(!adoption->row->checkpoint.tiny);
    struct catalog_change change = {.apply = apply_adopt, .arg = adoption};
    return ak_catalog_change(catalog, &change, err);
}

struct setting {
    const char *name;
    uint64_t value;
};

static enum ak_rc apply_set(struct ak_catalog *catalog, const void *arg, struct ak_err *err)
{
    const struct setting *setting = arg;
    bind_str(catalog->sql[SQL_SET], 1, ak_str_of(setting->name));
    bind_u64(catalog->sql[SQL_SET], 2, setting->value);
    int rc = ak_catalog_run(catalog, SQL_SET);
    return rc == SQLITE_OK ? AK_OK : ak_catalog_fail(catalog, rc, "keep a setting", err);
}

enum ak_rc ak_catalog_set(struct ak_catalog *catalog, const char *name, uint64_t value,
                          struct ak_err *err)
{
    struct setting setting = {name, value};
    struct catalog_change change = {.apply = apply_set, .arg = &setting};
    return ak_catalog_change(catalog, &change, err);
}

/* --- Reads --- */

enum ak_rc ak_catalog_get(struct ak_catalog *catalog, const char *name, uint64_t absent,
                          uint64_t *value, struct ak_err *err)
{
    ak_mutex_lock(&catalog->db_lock);
    ak_catalog_vfs_forget(catalog->vfs);
    sqlite3_stmt *stmt = catalog->sql[SQL_GET];
    bind_str(stmt, 1, ak_str_of(name));
    int rc = sqlite3_step(stmt);
    enum ak_rc code = AK_OK;
    if (rc == SQLITE_ROW) {
        *value = (uint64_t)sqlite3_column_int64(stmt, 0);
    } else if (rc == SQLITE_DONE) {
        *value = absent;
    } else {
        code = ak_catalog_fail(catalog, rc, "read a setting", err);
    }
    (void)sqlite3_reset(stmt);
    ak_mutex_unlock(&catalog->db_lock);
    return code;
}

enum ak_rc ak_catalog_tiny(struct ak_catalog *catalog, const struct ak_uuid *id, struct ak_buf *out,
                           struct ak_err *err)
{
    ak_mutex_lock(&catalog->db_lock);
    ak_catalog_vfs_forget(catalog->vfs);
    sqlite3_stmt *stmt = catalog->sql[SQL_TINY_GET];
    bind_uuid(stmt, 1, id);
    int rc = sqlite3_step(stmt);
    enum ak_rc code = AK_OK;
    if (rc == SQLITE_DONE) {
        code = ak_fail(err, AK_NOT_FOUND, "the collection has no image in the catalog");
    } else if (rc != SQLITE_ROW) {
        code = ak_catalog_fail(catalog, rc, "read a tiny image", err);
    } else {
        const void *p = sqlite3_column_blob(stmt, 0);
        size_t len = (size_t)sqlite3_column_bytes(stmt, 0);
        if (len && !p) {
            code = ak_catalog_fail(catalog, sqlite3_errcode(catalog->db), "read a tiny image", err);
        } else {
            ak_buf_add(out, p, len);
            code = ak_buf_check(out, err);
        }
    }
    (void)sqlite3_reset(stmt);
    ak_mutex_unlock(&catalog->db_lock);
    return code;
}

/* --- Listing --- */

struct row_batch {
    struct ak_catalog_row rows[BATCH_ROWS];
    size_t count;
    struct ak_arena texts;
};

/* The present row of `stmt`; texts are SQLite's until the next step. */
static enum ak_rc read_row(sqlite3_stmt *stmt, struct ak_catalog_row *row, struct ak_err *err)
{
    struct ak_collection_info *info = &row->info;
    const void *id = sqlite3_column_blob(stmt, 0);
    bool is_sound = id && sqlite3_column_bytes(stmt, 0) == (int)sizeof info->id.b;
    if (is_sound) {
        memcpy(info->id.b, id, sizeof info->id.b);
    }
    info->name = column_str(stmt, 1);
    info->dimension = column_u32(stmt, 2);
    is_sound = ak_metric_parse(column_str(stmt, 3), &info->metric) && is_sound;
    info->embedding_model = column_str(stmt, 4);
    info->index.m = column_u32(stmt, 5);
    info->index.ef_construction = column_u32(stmt, 6);
    info->index.ef_search = column_u32(stmt, 7);
    is_sound = ak_quantization_parse(column_str(stmt, 8), &info->index.quantization) && is_sound;
    uint32_t state = column_u32(stmt, 9);
    is_sound = is_sound && state <= AK_COLLECTION_DELETING;
    info->state = (enum ak_collection_state)state;
    info->created_us = sqlite3_column_int64(stmt, 10);
    row->checkpoint = (struct ak_checkpoint){
        .generation = (uint64_t)sqlite3_column_int64(stmt, 11),
        .lsn = (uint64_t)sqlite3_column_int64(stmt, 12),
        .documents = (uint64_t)sqlite3_column_int64(stmt, 13),
        .image_bytes = (uint64_t)sqlite3_column_int64(stmt, 14),
        .tiny = sqlite3_column_int(stmt, 15) != 0,
        .image_lsn = (uint64_t)sqlite3_column_int64(stmt, 16),
    };
    is_sound = ak_vectors_parse(column_str(stmt, 17), &info->index.vectors) && is_sound;
    is_sound = ak_catalog_read_tier(stmt, COLUMN_COUNT, &row->tier) && is_sound;
    if (!is_sound || ak_collection_info_check(info, NULL) != AK_OK) {
        return ak_fail(err, AK_CORRUPT, "catalog: the row of collection '%.*s' is damaged",
                       AK_STR_ARG(info->name));
    }
    return AK_OK;
}

/* The rows behind the name `after`, copied out under the lock. */
static enum ak_rc read_batch(struct ak_catalog *catalog, struct ak_str after,
                             struct row_batch *batch, struct ak_err *err)
{
    ak_mutex_lock(&catalog->db_lock);
    ak_catalog_vfs_forget(catalog->vfs);
    sqlite3_stmt *stmt = catalog->sql[SQL_EACH];
    bind_u64(stmt, 1, DEFAULT_DATABASE);
    bind_str(stmt, 2, after);
    bind_u64(stmt, 3, BATCH_ROWS);
    enum ak_rc code = AK_OK;
    int rc = SQLITE_ROW;
    while (code == AK_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct ak_catalog_row *row = &batch->rows[batch->count];
        code = read_row(stmt, row, err);
        if (code == AK_OK) {
            row->info.name = ak_arena_str(&batch->texts, row->info.name);
            row->info.embedding_model = ak_arena_str(&batch->texts, row->info.embedding_model);
            batch->count++;
            if (!row->info.name.p || !row->info.embedding_model.p) {
                code = ak_fail(err, AK_NOMEM, "no memory to list collections");
            }
        }
    }
    if (code == AK_OK && rc != SQLITE_DONE) {
        code = ak_catalog_fail(catalog, rc, "list collections", err);
    }
    (void)sqlite3_reset(stmt);
    ak_mutex_unlock(&catalog->db_lock);
    return code;
}

enum ak_rc ak_catalog_each(struct ak_catalog *catalog, ak_catalog_row_fn fn, void *ctx,
                           struct ak_err *err)
{
    struct row_batch *batch = ak_alloc(sizeof *batch);
    char after[AK_NAME_MAX]; /* the last name seen: it outlives its batch */
    size_t after_len = 0;
    enum ak_rc rc = AK_OK;
    ak_arena_init(&batch->texts, 0);
    do {
        batch->count = 0;
        ak_arena_reset(&batch->texts);
        rc = read_batch(catalog, (struct ak_str){after, after_len}, batch, err);
        for (size_t i = 0; i < batch->count && rc == AK_OK; i++) {
            rc = fn(ctx, &batch->rows[i], err);
        }
        if (rc == AK_OK && batch->count) {
            struct ak_str last = batch->rows[batch->count - 1].info.name;
            memcpy(after, last.p, last.len); /* checked: at most AK_NAME_MAX bytes */
            after_len = last.len;
        }
    } while (rc == AK_OK && batch->count == BATCH_ROWS);
    ak_arena_release(&batch->texts);
    ak_free(batch);
    return rc;
}

bool ak_catalog_is_failed(struct ak_catalog *catalog)
{
    ak_mutex_lock(&catalog->db_lock);
    bool is_failed = ak_catalog_vfs_is_failed(catalog->vfs);
    ak_mutex_unlock(&catalog->db_lock);
    return is_failed;
}

enum ak_rc ak_catalog_check(struct ak_catalog *catalog, struct ak_err *err)
{
    sqlite3_stmt *stmt = NULL;
    ak_mutex_lock(&catalog->db_lock);
    ak_catalog_vfs_forget(catalog->vfs);
    int rc = sqlite3_prepare_v2(catalog->db, "PRAGMA integrity_check(1)", -1, &stmt, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }
    enum ak_rc code = AK_OK;
    if (rc != SQLITE_ROW) {
        code = ak_catalog_fail(catalog, rc, "check", err);
    } else if (!ak_str_eq(column_str(stmt, 0), AK_STR("ok"))) {
        code = ak_fail(err, AK_CORRUPT, "catalog: %.*s", AK_STR_ARG(column_str(stmt, 0)));
    }
    (void)sqlite3_finalize(stmt);
    ak_mutex_unlock(&catalog->db_lock);
    return code;
}

const char *ak_catalog_sqlite_version(void)
{
    return sqlite3_libversion();
}
