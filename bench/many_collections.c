/* many_collections.c — makes a folder with very many small collections, through libakidb.
 *
 *   many_collections DIR COLLECTIONS DOCUMENTS DIMENSION THREADS
 *
 * Collection i is named c<i in seven digits>; its documents are one batch of random directions.
 */
#include "akidb.h"
#include "common.h"

#define DOCUMENTS_MAX 1000u
#define DIMENSION_MAX 4096u

struct bench {
    struct akidb *db;
    uint32_t collections;
    uint32_t documents;
    uint32_t dimension;
    _Atomic uint32_t next; /* first collection that no thread has taken */
};

/* xorshift64*: any spread of directions will do. */
static float random_float(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (float)(int32_t)(*state * 0x2545f4914f6cdd1du >> 32) / 2147483648.0f;
}

static void make_one(struct bench *bench, uint32_t i, float *vectors)
{
    uint64_t state = i + 1;
    char name[16];
    struct akidb_error error;
    struct akidb_collection_options options = {.dimension = bench->dimension,
                                               .metric = AKIDB_COSINE};
    static _Thread_local struct akidb_document documents[DOCUMENTS_MAX];
    (void)snprintf(name, sizeof name, "c%07u", i);
    for (uint32_t d = 0; d < bench->documents; d++) {
        float *vector = vectors + (size_t)d * bench->dimension;
        for (uint32_t j = 0; j < bench->dimension; j++) {
            vector[j] = random_float(&state);
        }
        documents[d] = (struct akidb_document){.vector = vector, .metadata = "{\"lang\":\"en\"}"};
    }
    if (akidb_create_collection(bench->db, name, &options, &error) ||
        akidb_upsert(bench->db, name, documents, bench->documents, NULL, &error)) {
        die("%s: %s", name, error.message);
    }
}

static void work(struct worker *self)
{
    struct bench *bench = self->ctx;
    float *vectors = calloc((size_t)bench->documents * bench->dimension, sizeof *vectors);
    uint32_t i;
    if (!vectors) {
        die("no memory");
    }
    while ((i = bench->next++) < bench->collections) {
        double began = now();
        make_one(bench, i, vectors);
        note(self, began);
        if (i % 10000 == 9999) {
            (void)fprintf(stderr, "  %u collections\n", i + 1);
        }
    }
    free(vectors);
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        die("usage: many_collections DIR COLLECTIONS DOCUMENTS DIMENSION THREADS");
    }
    struct bench bench = {.collections = number(argv[2], "COLLECTIONS", 1000000),
                          .documents = number(argv[3], "DOCUMENTS", DOCUMENTS_MAX),
                          .dimension = number(argv[4], "DIMENSION", DIMENSION_MAX)};
    uint32_t threads = number(argv[5], "THREADS", THREADS_MAX);
    struct akidb_error error;
    if (akidb_open(argv[1], NULL, &bench.db, &error)) {
        die("%s", error.message);
    }
    static struct worker workers[THREADS_MAX];
    double took = run_workers(workers, threads, 0, work, &bench);
    double closing = now();
    akidb_close(bench.db);
    (void)printf("{\"threads\":%u,\"close_seconds\":%.3f,", threads, now() - closing);
    print_calls(workers, threads, took);
    (void)printf("}\n");
    return 0;
}
