/* archive_tiers_bench.c — moves between tiers in a local folder, and what counting accesses costs.
 *
 *   archive_tiers_bench FOLDER ROWS DIMENSION [ROUNDS]
 *
 * Random vectors of unit length under cosine, codes as by default, a graph that is quick to build:
 * a move's time goes with the bytes of rows, not with the quality of links. Each move is timed
 * ROUNDS times and the best is told; hot → warm writes the image anew each time. Prints one JSON
 * object. FOLDER must not exist.
 */
#include "archive/archive.h"
#include "base/rand.h"
#include "common.h"
#include "engine/tiering.h"
#include <math.h>

static struct ak_err err;
static const struct ak_str name = {"docs", 4};

static void must(enum ak_rc rc)
{
    if (rc != AK_OK) {
        die("%s", err.text);
    }
}

static void put(struct ak_engine *engine, uint32_t from, uint32_t count, uint32_t dimension)
{
    enum { BATCH = 100 };
    struct ak_collection *collection = NULL;
    struct ak_document docs[BATCH];
    struct ak_write write = {0};
    struct ak_rand rand;
    float *vectors = calloc((size_t)BATCH * dimension, sizeof *vectors);
    if (!vectors) {
        die("no memory");
    }
    ak_rand_seed(&rand, from);
    must(ak_engine_get(engine, name, &collection, &err));
    for (uint32_t done = 0; done < count;) {
        uint32_t n = count - done < BATCH ? count - done : BATCH;
        for (uint32_t i = 0; i < n; i++) {
            float *vector = vectors + (size_t)i * dimension;
            double sum = 0;
            for (uint32_t d = 0; d < dimension; d++) {
                vector[d] = (float)ak_rand_normal(&rand);
                sum += (double)vector[d] * (double)vector[d];
            }
            for (uint32_t d = 0; d < dimension; d++) {
                vector[d] /= (float)sqrt(sum);
            }
            docs[i] = (struct ak_document){.vector = vector, .metadata = AK_STR("{\"a\":1}")};
        }
        must(ak_collection_upsert(collection, docs, n, true, NULL, &write, &err));
        done += n;
    }
    must(ak_engine_commit(engine, write.commit, &err));
    ak_collection_wait_linked(collection, NULL, NULL);
    ak_collection_unref(collection);
    free(vectors);
}

static double get_ns(struct ak_engine *engine, bool counts)
{
    enum { CALLS = 2000000 };
    struct ak_collection *collection = NULL;
    double began = now();
    for (int i = 0; i < CALLS; i++) {
        must(counts ? ak_engine_get(engine, name, &collection, &err)
                    : ak_engine_peek(engine, name, &collection, &err));
        ak_collection_unref(collection);
    }
    return (now() - began) / CALLS * 1e9;
}

int main(int argc, char **argv)
{
    if (argc < 4 || argc > 5) {
        die("usage: archive_tiers_bench FOLDER ROWS DIMENSION [ROUNDS]");
    }
    uint32_t rows = number(argv[2], "ROWS", 10000000);
    uint32_t dimension = number(argv[3], "DIMENSION", 65535);
    uint32_t rounds = argc > 4 ? number(argv[4], "ROUNDS", 1000) : 3;
    char objects[4096];
    struct ak_engine *engine = NULL;
    struct ak_objstore *store = NULL;
    struct ak_archive *archive = NULL;
    struct ak_engine_options options = {.dir = argv[1]};
    struct ak_collection_info made;
    struct ak_collection_info spec = {.name = name,
                                      .dimension = dimension,
                                      .metric = AK_METRIC_COSINE,
                                      .index = ak_index_params_default()};
    spec.index.ef_construction = 16;
    (void)snprintf(objects, sizeof objects, "%s/objects", argv[1]);
    must(ak_engine_open(&options, &engine, &err));
    must(ak_objstore_open_dir(ak_fs_posix(), objects, &store, &err));
    struct ak_archive_options archived = {
        .engine = engine,
        .store = store,
        .snapshots = {.format = AK_SNAPSHOT_PARQUET, .compression = AK_CODEC_ZSTD}};
    must(ak_archive_open(&archived, &archive, &err));
    must(ak_engine_create(engine, &spec, &made, &err));
    put(engine, 0, rows, dimension);
    double best[5] = {1e9, 1e9, 1e9, 1e9, 1e9};
    struct ak_tier_view view;
    for (uint32_t i = 0; i < rounds; i++) {
        double t[6];
        put(engine, rows + i, 1, dimension); /* there is something to write */
        t[0] = now();
        must(ak_engine_tier_warm(engine, name, &err));
        t[1] = now();
        must(ak_engine_tier_hot(engine, name, &err));
        t[2] = now();
        must(ak_engine_tier_warm(engine, name, &err)); /* nothing to write: for what follows */
        t[3] = now();
        must(ak_archive_sink(archive, name, NULL, NULL, &err));
        t[4] = now();
        must(ak_archive_wake(archive, name, NULL, NULL, &err));
        t[5] = now();
        for (int m = 0; m < 5; m++) {
            best[m] = t[m + 1] - t[m] < best[m] ? t[m + 1] - t[m] : best[m];
        }
    }
    must(ak_engine_tier(engine, name, &view, &err));
    double ns[2] = {1e9, 1e9};
    for (int i = 0; i < 5; i++) {
        double counted = get_ns(engine, true);
        double peeked = get_ns(engine, false);
        ns[0] = counted < ns[0] ? counted : ns[0];
        ns[1] = peeked < ns[1] ? peeked : ns[1];
    }
    (void)printf("{\"rows\":%u,\"dimension\":%u,\"image_bytes\":%llu,\"hot_to_warm_s\":%.4f,"
                 "\"warm_to_hot_s\":%.4f,\"clean_to_warm_s\":%.4f,\"warm_to_cold_s\":%.4f,"
                 "\"cold_to_warm_s\":%.4f,\"get_ns\":%.1f,\"peek_ns\":%.1f}\n",
                 rows, dimension, (unsigned long long)view.disk_bytes, best[0], best[1], best[2],
                 best[3], best[4], ns[0], ns[1]);
    ak_archive_close(archive);
    ak_objstore_close(store);
    ak_engine_close(engine);
    return 0;
}
