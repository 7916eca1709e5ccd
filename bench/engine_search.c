/* engine_search.c — searches through libakidb in the folder that a server has just left: the same
 * graph, without HTTP and JSON.
 *
 *   engine_search DIR COLLECTION QUERIES.npy THREADS SECONDS EF
 */
#include "akidb.h"
#include "common.h"

#define WARM_UP 500u

struct bench {
    struct akidb *db;
    const char *collection;
    struct rows queries;
    uint32_t ef;
};

static void search(struct bench *bench, uint64_t i)
{
    struct akidb_error error;
    struct akidb_results *results = NULL;
    struct akidb_search_options options = {.k = 10, .ef = bench->ef};
    if (akidb_search(bench->db, bench->collection, row(&bench->queries, i), &options, &results,
                     &error)) {
        die("search: %s", error.message);
    }
    if (results->count != 10) {
        die("a search for 10 gave %zu", results->count);
    }
    akidb_results_free(results);
}

static void work(struct worker *self)
{
    struct bench *bench = self->ctx;
    double began;
    while ((began = now()) < self->deadline) {
        search(bench, self->done * 7 + self->number * 131);
        note(self, began);
    }
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        die("usage: engine_search DIR COLLECTION QUERIES.npy THREADS SECONDS EF");
    }
    struct bench bench = {.collection = argv[2], .queries = map_npy(argv[3])};
    uint32_t threads = number(argv[4], "THREADS", THREADS_MAX);
    uint32_t seconds = number(argv[5], "SECONDS", 600);
    bench.ef = number(argv[6], "EF", 65536);
    struct akidb_error error;
    if (akidb_open(argv[1], NULL, &bench.db, &error)) {
        die("%s", error.message);
    }
    for (uint32_t i = 0; i < WARM_UP; i++) {
        search(&bench, i);
    }
    static struct worker workers[THREADS_MAX];
    double cpu = cpu_seconds();
    double took = run_workers(workers, threads, seconds, work, &bench);
    cpu = cpu_seconds() - cpu;
    uint64_t calls = 0;
    for (uint32_t i = 0; i < threads; i++) {
        calls += workers[i].done;
    }
    (void)printf("{\"version\":\"%s\",\"threads\":%u,\"ef\":%u,\"cpu_us\":%.2f,", akidb_version(),
                 threads, bench.ef, 1e6 * cpu / (double)(calls ? calls : 1));
    print_calls(workers, threads, took);
    (void)printf("}\n");
    akidb_close(bench.db);
    return 0;
}
