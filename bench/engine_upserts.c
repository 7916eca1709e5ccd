/* engine_upserts.c — single durable upserts through libakidb: the server's work without HTTP and
 * JSON.
 *
 *   engine_upserts DIR VECTORS.npy THREADS SECONDS
 */
#include "akidb.h"
#include "common.h"

struct bench {
    struct akidb *db;
    struct rows rows;
};

static void work(struct worker *self)
{
    struct bench *bench = self->ctx;
    struct akidb_error error;
    double began;
    while ((began = now()) < self->deadline) {
        uint64_t i = self->done * THREADS_MAX + self->number;
        char metadata[64];
        (void)snprintf(metadata, sizeof metadata, "{\"index\":%llu}", (unsigned long long)i);
        struct akidb_document document = {.vector = row(&bench->rows, i), .metadata = metadata};
        if (akidb_upsert(bench->db, "upserts", &document, 1, NULL, &error)) {
            die("upsert: %s", error.message);
        }
        note(self, began);
    }
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        die("usage: engine_upserts DIR VECTORS.npy THREADS SECONDS");
    }
    struct bench bench = {.rows = map_npy(argv[2])};
    uint32_t threads = number(argv[3], "THREADS", THREADS_MAX);
    uint32_t seconds = number(argv[4], "SECONDS", 600);
    struct akidb_error error;
    struct akidb_collection_options options = {.dimension = bench.rows.dimension,
                                               .metric = AKIDB_COSINE};
    if (akidb_open(argv[1], NULL, &bench.db, &error) ||
        akidb_create_collection(bench.db, "upserts", &options, &error)) {
        die("%s", error.message);
    }
    static struct worker workers[THREADS_MAX];
    double took = run_workers(workers, threads, seconds, work, &bench);
    uint64_t calls = 0;
    uint64_t count = 0;
    for (uint32_t i = 0; i < threads; i++) {
        calls += workers[i].done;
    }
    if (akidb_count(bench.db, "upserts", &count, &error) || count != calls) {
        die("%llu upserts were acknowledged and %llu documents are there",
            (unsigned long long)calls, (unsigned long long)count);
    }
    (void)printf("{\"version\":\"%s\",\"threads\":%u,", akidb_version(), threads);
    print_calls(workers, threads, took);
    (void)printf("}\n");
    akidb_close(bench.db);
    return 0;
}
