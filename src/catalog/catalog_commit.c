/* catalog_commit.c — changes that arrive together share a transaction, and its one sync.
 *
 *     waiting ──a thread finds no leader, takes the whole list──> applied ──COMMIT──> done
 *
 * The thread that finds no leader leads: it applies every change that waits, in order of arrival,
 * each inside a savepoint, commits once, and wakes the others. Meanwhile later changes gather for
 * the next leader. So one thread alone pays one sync a change, and eight together pay about two.
 *
 * I1  A change's result is AK_OK only after the COMMIT that holds it succeeded.
 * I2  A change that fails by itself (EXISTS, NOT_FOUND) is taken back to its savepoint and hurts no
 *     other.
 * I3  When the transaction is lost (disk full, I/O error), every change in it has failed.
 */
#include "catalog/catalog_priv.h"

/* Every change from `from` on that has not failed by itself fails with the transaction. */
static void fail_rest(struct catalog_change *from, enum ak_rc rc, const struct ak_err *err)
{
    for (struct catalog_change *change = from; change; change = change->next) {
        if (change->rc == AK_OK) {
            change->rc = rc;
            change->err = *err;
        }
    }
}

/* AK_OK, or why the transaction cannot go on. The change's own failure is in change->rc. */
static enum ak_rc apply_one(struct ak_catalog *catalog, struct catalog_change *change,
                            struct ak_err *err)
{
    int rc = ak_catalog_run(catalog, SQL_SAVEPOINT);
    if (rc != SQLITE_OK) {
        return ak_catalog_fail(catalog, rc, "begin a change", err);
    }
    change->rc = change->apply(catalog, change->arg, &change->err);
    if (sqlite3_get_autocommit(catalog->db)) {
        *err = change->err; /* SQLite has taken the whole transaction back */
        return change->rc == AK_OK ? ak_fail(err, AK_INTERNAL, "the transaction is gone")
                                   : change->rc;
    }
    if (change->rc != AK_OK) {
        rc = ak_catalog_run(catalog, SQL_ROLLBACK_TO);
    }
    if (rc == SQLITE_OK) {
        rc = ak_catalog_run(catalog, SQL_RELEASE);
    }
    return rc == SQLITE_OK ? AK_OK : ak_catalog_fail(catalog, rc, "end a change", err);
}

static void run_batch(struct ak_catalog *catalog, struct catalog_change *first)
{
    struct ak_err err;
    enum ak_rc rc = AK_OK;
    ak_mutex_lock(&catalog->db_lock);
    ak_catalog_vfs_forget(catalog->vfs);
    int begun = ak_catalog_run(catalog, SQL_BEGIN);
    if (begun != SQLITE_OK) {
        rc = ak_catalog_fail(catalog, begun, "begin a transaction", &err);
    }
    for (struct catalog_change *change = first; change && rc == AK_OK; change = change->next) {
        rc = apply_one(catalog, change, &err);
    }
    if (rc == AK_OK) {
        int committed = ak_catalog_run(catalog, SQL_COMMIT);
        rc = committed == SQLITE_OK ? AK_OK : ak_catalog_fail(catalog, committed, "commit", &err);
    }
    if (rc != AK_OK) {
        if (!sqlite3_get_autocommit(catalog->db)) {
            (void)ak_catalog_run(catalog, SQL_ROLLBACK);
        }
        fail_rest(first, rc, &err);
    }
    ak_mutex_unlock(&catalog->db_lock);
}

/* Called with the queue locked; returns with it locked. */
static void lead(struct ak_catalog *catalog)
{
    struct catalog_change *batch = catalog->first;
    catalog->first = NULL;
    catalog->last = NULL;
    catalog->has_leader = true;
    ak_mutex_unlock(&catalog->queue_lock);
    run_batch(catalog, batch);
    ak_mutex_lock(&catalog->queue_lock);
    while (batch) {
        struct catalog_change *next = batch->next; /* its owner may leave once it is done */
        batch->is_done = true;
        batch = next;
    }
    catalog->has_leader = false;
    ak_cond_broadcast(&catalog->queue_moved);
}

enum ak_rc ak_catalog_change(struct ak_catalog *catalog, struct catalog_change *change,
                             struct ak_err *err)
{
    change->rc = AK_OK;
    change->is_done = false;
    change->next = NULL;
    ak_mutex_lock(&catalog->queue_lock);
    if (catalog->last) {
        catalog->last->next = change;
    } else {
        catalog->first = change;
    }
    catalog->last = change;
    while (!change->is_done) {
        if (catalog->has_leader) {
            ak_cond_wait(&catalog->queue_moved, &catalog->queue_lock);
        } else {
            lead(catalog);
        }
    }
    ak_mutex_unlock(&catalog->queue_lock);
    if (change->rc != AK_OK && err) {
        *err = change->err;
    }
    return change->rc;
}
