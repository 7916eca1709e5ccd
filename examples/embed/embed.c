/* embed.c — AkiDB inside a program: open a folder, make a collection, upsert, search, close.
 *
 *   make install PREFIX=$HOME/.local
 *   export PKG_CONFIG_PATH=$HOME/.local/lib/x86_64-linux-gnu/pkgconfig
 *   cc embed.c $(pkg-config --cflags --libs akidb) -o embed && ./embed ./embed-data
 *
 * Run twice: the documents have ids of their own, so the second run replaces them.
 */
#include <akidb.h>
#include <stdio.h>
#include <stdlib.h>

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static const float apple[4] = {0.9f, 0.1f, 0.0f, 0.2f};
static const float pear[4] = {0.8f, 0.2f, 0.1f, 0.1f};
static const float hammer[4] = {0.0f, 0.1f, 0.9f, 0.4f};

static const struct akidb_document documents[] = {
    {.id = "00000000-0000-4000-8000-000000000001",
     .external_id = "apple",
     .vector = apple,
     .metadata = "{\"kind\":\"fruit\",\"year\":2024}"},
    {.id = "00000000-0000-4000-8000-000000000002",
     .external_id = "pear",
     .vector = pear,
     .metadata = "{\"kind\":\"fruit\",\"year\":2019}"},
    {.id = "00000000-0000-4000-8000-000000000003",
     .external_id = "hammer",
     .vector = hammer,
     .metadata = "{\"kind\":\"tool\",\"year\":2021}"},
};

static void search(struct akidb *db, const char *what, const char *filter)
{
    struct akidb_error error;
    struct akidb_results *results = NULL;
    const float query[4] = {1.0f, 0.1f, 0.0f, 0.1f};
    const struct akidb_search_options options = {.k = 3, .filter = filter};
    if (akidb_search(db, "things", query, &options, &results, &error)) {
        (void)fprintf(stderr, "search: %s\n", error.message);
        exit(1);
    }
    printf("%s:\n", what);
    for (size_t i = 0; i < results->count; i++) {
        printf("  %.4f  %-7s %s\n", (double)results->rows[i].score, results->rows[i].external_id,
               results->rows[i].metadata);
    }
    akidb_results_free(results);
}

int main(int argc, char **argv)
{
    struct akidb *db = NULL;
    struct akidb_error error;
    if (akidb_open(argc > 1 ? argv[1] : "./embed-data", NULL, &db, &error)) {
        (void)fprintf(stderr, "open: %s\n", error.message);
        return 1;
    }
    const struct akidb_collection_options options = {.dimension = 4, .metric = AKIDB_COSINE};
    int code = akidb_create_collection(db, "things", &options, &error);
    if (code != AKIDB_OK && code != AKIDB_EXISTS) {
        (void)fprintf(stderr, "create: %s\n", error.message);
        return 1;
    }
    /* Returns once the documents are on disk. */
    if (akidb_upsert(db, "things", documents, COUNT(documents), NULL, &error)) {
        (void)fprintf(stderr, "upsert: %s\n", error.message);
        return 1;
    }
    search(db, "nearest", NULL);
    search(db, "nearest since 2020", "{\"must\":[{\"key\":\"year\",\"range\":{\"gte\":2020}}]}");
    uint64_t count = 0;
    if (akidb_count(db, "things", &count, &error)) {
        (void)fprintf(stderr, "count: %s\n", error.message);
        return 1;
    }
    printf("%llu documents, libakidb %s\n", (unsigned long long)count, akidb_version());
    akidb_close(db);
    return 0;
}
