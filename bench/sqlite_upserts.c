/* sqlite_upserts.c — what SQLite makes of the same work: single upserts, each its own durable
 * commit.
 *
 *   sqlite_upserts FILE VECTORS.npy THREADS SECONDS
 *
 * WAL, synchronous=FULL: a commit is on disk when it returns. The rest is chosen in SQLite's
 * favour: one connection that owns the file (no locks or shared memory between commits), a prepared
 * statement, ids that grow, so that the index on them is only appended to. With more than one
 * thread each waits for its turn on the connection and for its own commit, which is how a program
 * with one database file does it.
 */
#include "common.h"
#include <sqlite3.h>

struct bench {
    sqlite3 *db;
    sqlite3_stmt *upsert;
    struct rows rows;
    pthread_mutex_t turn;
    uint64_t next;
};

static void check(struct bench *bench, int rc, const char *what)
{
    if (rc != SQLITE_OK && rc != SQLITE_DONE && rc != SQLITE_ROW) {
        die("%s: %s", what, sqlite3_errmsg(bench->db));
    }
}

static void upsert_one(struct bench *bench)
{
    uint64_t i = bench->next++;
    uint64_t id[2] = {__builtin_bswap64(i), i * 0x9e3779b97f4a7c15u};
    char metadata[64];
    int len = snprintf(metadata, sizeof metadata, "{\"index\":%llu}", (unsigned long long)i);
    sqlite3_stmt *s = bench->upsert;
    check(bench, sqlite3_bind_blob(s, 1, id, sizeof id, SQLITE_STATIC), "bind");
    check(bench,
          sqlite3_bind_blob(s, 2, row(&bench->rows, i), (int)(bench->rows.dimension * 4),
                            SQLITE_STATIC),
          "bind");
    check(bench, sqlite3_bind_text(s, 3, metadata, len, SQLITE_STATIC), "bind");
    check(bench, sqlite3_step(s), "upsert");
    check(bench, sqlite3_reset(s), "upsert");
}

static void work(struct worker *self)
{
    struct bench *bench = self->ctx;
    double began;
    while ((began = now()) < self->deadline) {
        pthread_mutex_lock(&bench->turn);
        upsert_one(bench);
        pthread_mutex_unlock(&bench->turn);
        note(self, began);
    }
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        die("usage: sqlite_upserts FILE VECTORS.npy THREADS SECONDS");
    }
    struct bench bench = {.rows = map_npy(argv[2]), .turn = PTHREAD_MUTEX_INITIALIZER};
    uint32_t threads = number(argv[3], "THREADS", THREADS_MAX);
    uint32_t seconds = number(argv[4], "SECONDS", 600);
    if (sqlite3_open(argv[1], &bench.db) != SQLITE_OK) {
        die("cannot open %s", argv[1]);
    }
    check(&bench,
          sqlite3_exec(bench.db,
                       "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;"
                       "PRAGMA synchronous=FULL;"
                       "CREATE TABLE documents (id BLOB PRIMARY KEY, vector BLOB NOT NULL,"
                       " metadata TEXT)",
                       NULL, NULL, NULL),
          "set up");
    check(&bench,
          sqlite3_prepare_v2(bench.db,
                             "INSERT INTO documents VALUES (?1, ?2, ?3) ON CONFLICT (id) DO UPDATE"
                             " SET vector = excluded.vector, metadata = excluded.metadata",
                             -1, &bench.upsert, NULL),
          "prepare");
    static struct worker workers[THREADS_MAX];
    double took = run_workers(workers, threads, seconds, work, &bench);
    (void)printf("{\"version\":\"%s\",\"threads\":%u,", sqlite3_libversion(), threads);
    print_calls(workers, threads, took);
    (void)printf("}\n");
    (void)sqlite3_finalize(bench.upsert);
    (void)sqlite3_close(bench.db);
    return 0;
}
