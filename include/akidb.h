/* akidb.h — libakidb: a vector database inside your program.
 *
 *   struct akidb *db = NULL;
 *   struct akidb_error error;
 *   if (akidb_open("./data", NULL, &db, &error)) { puts(error.message); … }
 *   struct akidb_collection_options options = { .dimension = 384, .metric = AKIDB_COSINE };
 *   akidb_create_collection(db, "docs", &options, &error);
 *   akidb_upsert(db, "docs", &document, 1, NULL, &error);
 *   struct akidb_results *results = NULL;
 *   akidb_search(db, "docs", query, &search, &results, &error);
 *   for (size_t i = 0; i < results->count; i++)
 *       printf("%s %f\n", results->rows[i].id, results->rows[i].score);
 *   akidb_results_free(results);
 *   akidb_close(db);
 *
 * Every call returns 0 (AKIDB_OK) or a code, with a message in *error (which may be NULL). A write
 * that returned 0 survives kill -9 and power loss (durability AKIDB_SYNC). A data folder belongs to
 * one open at a time, in one process; akidb_open says so otherwise. The format on disk is the
 * server's.
 *
 * Threads: any call on an open database from any thread at the same time; akidb_close last.
 * Memory: arguments are borrowed for the call; results are released with akidb_results_free.
 * The library keeps no global state, installs no signal handlers and prints nothing.
 * Compatibility: calls and structs of this header only grow; every struct begins as all zeros.
 */
#ifndef AKIDB_H
#define AKIDB_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define AKIDB_API __attribute__((visibility("default")))
#else
#define AKIDB_API
#endif

enum akidb_code {
    AKIDB_OK = 0,
    AKIDB_INVALID = 1, /* an argument is not valid: the message says what is allowed */
    AKIDB_NOT_FOUND = 2,
    AKIDB_EXISTS = 3,
    AKIDB_TOO_BIG = 4,
    AKIDB_BUSY = 5,     /* the folder is in use, or try again */
    AKIDB_NO_SPACE = 6, /* the disk is full: reads go on, writing resumes when there is room */
    AKIDB_NO_MEMORY = 7,
    AKIDB_IO = 8,      /* the operating system reported an error */
    AKIDB_CORRUPT = 9, /* stored bytes are damaged: the message says where */
    AKIDB_INTERNAL = 10
};

struct akidb_error {
    int code;
    char message[512];
};

enum akidb_metric { AKIDB_COSINE = 0, AKIDB_DOT = 1, AKIDB_L2 = 2 };
enum akidb_durability { AKIDB_SYNC = 0, AKIDB_INTERVAL = 1, AKIDB_ASYNC = 2 };

/* Where a collection's vectors are, once they have been written out: in memory, or only on disk: a
 * byte a dimension in memory finds the nearest, their floats are read when they are measured. */
enum akidb_vectors { AKIDB_VECTORS_RAM = 0, AKIDB_VECTORS_DISK = 1 };

struct akidb_options {
    int durability;            /* enum akidb_durability */
    unsigned sync_interval_ms; /* AKIDB_INTERVAL; 0: 100 */
    unsigned build_threads;    /* background threads that link vectors; 0: one per core */
};

struct akidb_collection_options {
    unsigned dimension;          /* 1..65535 */
    int metric;                  /* enum akidb_metric */
    unsigned m;                  /* 0: 16 */
    unsigned ef_construction;    /* 0: 200 */
    unsigned ef_search;          /* 0: 64 */
    const char *embedding_model; /* or NULL */
    int vectors;                 /* enum akidb_vectors */
};

struct akidb_document {
    const char *id;          /* a UUID as text, or NULL: one is made */
    const char *external_id; /* or NULL */
    const float *vector;     /* f32[dimension], finite */
    const char *metadata;    /* a JSON object as text, or NULL */
};

struct akidb_search_options {
    unsigned k;         /* 0: 10; at most 10,000 */
    unsigned ef;        /* 0: what recall needs, or the collection's */
    const char *filter; /* JSON as in docs/filters.md, or NULL */
    int exact;          /* 1: scan everything */
    double recall;      /* 0, or the share of the k nearest to be found, up to 1: chooses ef */
};

struct akidb_result {
    char id[37];
    float score;             /* cosine, dot: higher is nearer; l2: lower is nearer */
    const char *external_id; /* NULL when there is none */
    const char *metadata;    /* JSON text, NULL when there is none */
};

struct akidb_results {
    size_t count;
    const struct akidb_result *rows; /* nearest first */
};

struct akidb;

AKIDB_API const char *akidb_version(void);
/* Opens or makes the folder, replays the log. */
AKIDB_API int akidb_open(const char *dir, const struct akidb_options *options, struct akidb **db,
                         struct akidb_error *error);
/* Writes what is not written yet and frees everything. NULL is fine. */
AKIDB_API void akidb_close(struct akidb *db);
AKIDB_API int akidb_create_collection(struct akidb *db, const char *name,
                                      const struct akidb_collection_options *options,
                                      struct akidb_error *error);
AKIDB_API int akidb_drop_collection(struct akidb *db, const char *name, struct akidb_error *error);
/* All or nothing. `ids` (may be NULL) receives the document ids, 37 bytes each. */
AKIDB_API int akidb_upsert(struct akidb *db, const char *collection,
                           const struct akidb_document *documents, size_t count, char (*ids)[37],
                           struct akidb_error *error);
/* *deleted (may be NULL): how many there were. */
AKIDB_API int akidb_delete(struct akidb *db, const char *collection, const char *const *ids,
                           size_t count, size_t *deleted, struct akidb_error *error);
AKIDB_API int akidb_count(struct akidb *db, const char *collection, uint64_t *count,
                          struct akidb_error *error);
/* Copies the vector of one document into out[dimension]. */
AKIDB_API int akidb_get_vector(struct akidb *db, const char *collection, const char *id, float *out,
                               struct akidb_error *error);
AKIDB_API int akidb_search(struct akidb *db, const char *collection, const float *vector,
                           const struct akidb_search_options *options,
                           struct akidb_results **results, struct akidb_error *error);
AKIDB_API void akidb_results_free(struct akidb_results *results); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
