/* catalog_schema.c — the tables, as numbered steps from nothing to the present.
 *
 * The version is SQLite's user_version, raised in the transaction of each step, so a crash between
 * two steps is continued at the next start. A step, once released, is never edited: a change is a
 * new step at the end. application_id marks the file as ours.
 *
 * Numbers of 64 bits without sign (LSN, generation, settings) are stored as SQLite's signed
 * integers of the same bits. metric, quantization, vectors and result codes are stored by name,
 * state and tiers by number (enum order).
 */
#include "catalog/catalog_priv.h"
#include <stdio.h>

#define APPLICATION_ID 0x414b4442 /* "AKDB" */

static const char *const steps[] = {
    /* 1: tenant → database → collection, tiny images, settings. */
    "CREATE TABLE settings(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE tenants(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;"
    "CREATE TABLE databases(id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, name TEXT NOT NULL,"
    "  UNIQUE(tenant, name)) STRICT;"
    "INSERT INTO tenants(id, name) VALUES(1, 'default');"
    "INSERT INTO databases(id, tenant, name) VALUES(1, 1, 'default');"
    "CREATE TABLE collections("
    "  id INTEGER PRIMARY KEY,"
    "  database INTEGER NOT NULL,"
    "  name TEXT NOT NULL,"
    "  uuid BLOB NOT NULL UNIQUE,"
    "  dimension INTEGER NOT NULL,"
    "  metric TEXT NOT NULL,"
    "  embedding_model TEXT NOT NULL,"
    "  m INTEGER NOT NULL,"
    "  ef_construction INTEGER NOT NULL,"
    "  ef_search INTEGER NOT NULL,"
    "  quantization TEXT NOT NULL,"
    "  state INTEGER NOT NULL,"
    "  created_us INTEGER NOT NULL,"
    "  generation INTEGER NOT NULL DEFAULT 0,"
    "  lsn INTEGER NOT NULL DEFAULT 0,"
    "  documents INTEGER NOT NULL DEFAULT 0,"
    "  image_bytes INTEGER NOT NULL DEFAULT 0,"
    "  tiny INTEGER NOT NULL DEFAULT 0,"
    "  UNIQUE(database, name)) STRICT;"
    "CREATE TABLE tiny_images(collection INTEGER PRIMARY KEY, image BLOB NOT NULL) STRICT;",
    /* 2: jobs, the snapshots made here, and images that came from another node (image_lsn). */
    "ALTER TABLE collections ADD COLUMN image_lsn INTEGER NOT NULL DEFAULT 0;"
    "UPDATE collections SET image_lsn=lsn;"
    "CREATE TABLE jobs("
    "  id INTEGER PRIMARY KEY,"
    "  uuid BLOB NOT NULL UNIQUE,"
    "  kind TEXT NOT NULL,"
    "  state INTEGER NOT NULL,"
    "  step INTEGER NOT NULL,"
    "  owes INTEGER NOT NULL,"
    "  collection BLOB NOT NULL,"
    "  snapshot BLOB NOT NULL,"
    "  target BLOB NOT NULL,"
    "  created_us INTEGER NOT NULL,"
    "  finished_us INTEGER NOT NULL,"
    "  rc TEXT NOT NULL,"
    "  error TEXT NOT NULL,"
    "  payload TEXT NOT NULL) STRICT;"
    "CREATE INDEX jobs_open ON jobs(uuid) WHERE state=0 OR owes<>0;"
    "CREATE INDEX jobs_finished ON jobs(finished_us);"
    "CREATE TABLE snapshots("
    "  uuid BLOB PRIMARY KEY,"
    "  collection BLOB NOT NULL,"
    "  created_us INTEGER NOT NULL,"
    "  lsn INTEGER NOT NULL,"
    "  bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE INDEX snapshots_of ON snapshots(collection, uuid);"
    "CREATE INDEX snapshots_by_time ON snapshots(created_us);",
    /* 3: tiers. A rule that is NULL is the node's; cover NULL: no snapshot is known to cover it. */
    "ALTER TABLE collections ADD COLUMN tier INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE collections ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE collections ADD COLUMN tier_since_us INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE collections ADD COLUMN last_access_us INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE collections ADD COLUMN window_from_us INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE collections ADD COLUMN window_accesses INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE collections ADD COLUMN rule_hot_idle_us INTEGER;"
    "ALTER TABLE collections ADD COLUMN rule_warm_idle_us INTEGER;"
    "ALTER TABLE collections ADD COLUMN rule_window_us INTEGER;"
    "ALTER TABLE collections ADD COLUMN rule_promote_accesses INTEGER;"
    "ALTER TABLE collections ADD COLUMN rule_stay_cold INTEGER;"
    "ALTER TABLE collections ADD COLUMN rule_lowest INTEGER;"
    "ALTER TABLE collections ADD COLUMN cover BLOB;"
    "ALTER TABLE collections ADD COLUMN cover_generation INTEGER NOT NULL DEFAULT 0;",
    /* 4: where a collection's vectors are. */
    "ALTER TABLE collections ADD COLUMN vectors TEXT NOT NULL DEFAULT 'ram';",
};

#define VERSION_NOW ((int)(sizeof steps / sizeof steps[0]))

/* The one number that a query gives. */
static enum ak_rc query_int(struct ak_catalog *catalog, const char *text, int *value,
                            struct ak_err *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(catalog->db, text, -1, &stmt, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }
    if (rc == SQLITE_ROW) {
        *value = sqlite3_column_int(stmt, 0);
    }
    (void)sqlite3_finalize(stmt);
    return rc == SQLITE_ROW ? AK_OK : ak_catalog_fail(catalog, rc, "read the schema", err);
}

static enum ak_rc take_step(struct ak_catalog *catalog, int version, struct ak_err *err)
{
    char mark[96];
    (void)snprintf(mark, sizeof mark, "PRAGMA user_version=%d; PRAGMA application_id=%d; COMMIT",
                   version, APPLICATION_ID);
    enum ak_rc rc = ak_catalog_exec(catalog, "BEGIN IMMEDIATE", err);
    if (rc == AK_OK) {
        rc = ak_catalog_exec(catalog, steps[version - 1], err);
    }
    if (rc == AK_OK) {
        rc = ak_catalog_exec(catalog, mark, err);
    }
    if (rc != AK_OK && !sqlite3_get_autocommit(catalog->db)) {
        (void)!ak_catalog_exec(catalog, "ROLLBACK", NULL);
    }
    return rc;
}

enum ak_rc ak_catalog_migrate(struct ak_catalog *catalog, struct ak_err *err)
{
    int version = 0;
    int application = 0;
    int tables = 0;
    enum ak_rc rc = query_int(catalog, "PRAGMA user_version", &version, err);
    if (rc == AK_OK) {
        rc = query_int(catalog, "PRAGMA application_id", &application, err);
    }
    if (rc == AK_OK) {
        rc = query_int(catalog, "SELECT count(*) FROM sqlite_schema", &tables, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    if (application != APPLICATION_ID && (application || version || tables)) {
        return ak_fail(err, AK_CORRUPT, "the database is not a catalog of AkiDB");
    }
    if (version > VERSION_NOW) {
        return ak_fail(err, AK_UNSUPPORTED,
                       "the catalog has schema %d, this AkiDB knows up to %d: use a newer one",
                       version, VERSION_NOW);
    }
    for (int next = version + 1; next <= VERSION_NOW && rc == AK_OK; next++) {
        rc = take_step(catalog, next, err);
        if (rc == AK_OK && version > 0) {
            ak_log_info(catalog->log, "catalog", "schema brought from %d to %d", next - 1, next);
        }
    }
    return rc;
}
