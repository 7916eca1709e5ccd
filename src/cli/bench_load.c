/* bench_load.c — akidb bench load: a running server under many clients, its health probed
 * meanwhile. */
#include "cli/bench_load.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/sync.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/npy.h"
#include "cli/output.h"
#include "cli/target.h"
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define REQUESTS_MAX 1000u
#define REQUESTS_BYTES_MAX ((size_t)128 << 20)
#define CLUSTERS 64u
#define PROBE_EVERY_NS 10000000
#define CLIENTS_MAX 20000u

extern char **environ;

struct options {
    const char *url;
    char resolved[512]; /* the URL in use */
    struct ak_config_flags flags;
    const char *collection;
    const char *op;
    const char *vectors;
    uint64_t clients, threads, seconds, count, dimension, pipeline, batch, k, ef, seed;
    bool json;
};

struct prober {
    struct ak_thread thread;
    struct ak_client *client;
    _Atomic bool stop;
    struct ak_histogram latency;
    uint64_t failed;
    struct ak_err err; /* of the last failure */
};

/* --- Vectors: rows of a file, or points around cluster centres --- */

struct vectors {
    float *rows;
    uint64_t count;
    uint32_t dimension;
};

static void make_clustered(struct vectors *v, uint64_t count, uint64_t seed)
{
    struct ak_rand rand;
    ak_rand_seed(&rand, seed);
    float *centres = ak_alloc((size_t)CLUSTERS * v->dimension * sizeof *centres);
    for (size_t i = 0; i < (size_t)CLUSTERS * v->dimension; i++) {
        centres[i] = (float)ak_rand_normal(&rand);
    }
    v->rows = ak_alloc(count * v->dimension * sizeof *v->rows);
    v->count = count;
    for (uint64_t r = 0; r < count; r++) {
        const float *centre = centres + ak_rand_below(&rand, CLUSTERS) * v->dimension;
        for (uint32_t d = 0; d < v->dimension; d++) {
            v->rows[r * v->dimension + d] = centre[d] + (float)(0.5 * ak_rand_normal(&rand));
        }
    }
    ak_free(centres);
}

static enum ak_rc load_vectors(const struct options *o, struct vectors *v, struct ak_err *err)
{
    if (!o->vectors) {
        make_clustered(v, REQUESTS_MAX, o->seed);
        return AK_OK;
    }
    struct ak_npy npy;
    enum ak_rc rc = ak_npy_open(ak_fs_posix(), o->vectors, &npy, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (npy.dimension != v->dimension || npy.rows == 0) {
        rc = ak_fail(err, AK_INVALID, "%s has %" PRIu64 " rows of %u; vectors of %u are needed",
                     o->vectors, npy.rows, npy.dimension, v->dimension);
    } else {
        v->count = npy.rows;
        rc = ak_npy_read_all(&npy, &v->rows, err);
    }
    ak_npy_close(&npy);
    return rc;
}

/* --- Requests --- */

static void put_body(struct ak_buf *body, const struct options *o, const struct vectors *v,
                     uint64_t first, bool is_search)
{
    const float *row = v->rows + first % v->count * v->dimension;
    if (is_search) {
        ak_buf_add_str(body, AK_STR("{\"vector\":"));
        ak_json_put_f32_array(body, row, v->dimension);
        ak_buf_add_fmt(body, ",\"k\":%" PRIu64, o->k);
        if (o->ef) {
            ak_buf_add_fmt(body, ",\"ef\":%" PRIu64, o->ef);
        }
        ak_buf_add_char(body, '}');
        return;
    }
    ak_buf_add_str(body, AK_STR("{\"vectors\":["));
    for (uint64_t i = 0; i < o->batch; i++) {
        row = v->rows + (first + i) % v->count * v->dimension;
        ak_buf_add_str(body, i ? AK_STR(",{\"vector\":") : AK_STR("{\"vector\":"));
        ak_json_put_f32_array(body, row, v->dimension);
        ak_buf_add_fmt(body, ",\"metadata\":{\"n\":%" PRIu64 "}}", first + i);
    }
    ak_buf_add_str(body, AK_STR("]}"));
}

/* Renders requests into `bytes`; *list (ak_free) points into it. */
static enum ak_rc render(const struct options *o, const struct ak_endpoint *endpoint,
                         const struct vectors *v, struct ak_buf *bytes, struct ak_str **list,
                         size_t *count, struct ak_err *err)
{
    bool is_search = strcmp(o->op, "search") == 0;
    struct ak_buf body;
    struct ak_buf path;
    size_t ends[REQUESTS_MAX];
    size_t n = 0;
    ak_buf_init(&body, 0);
    ak_buf_init(&path, 0);
    ak_buf_add_fmt(&path, "%s/api/v1/collections/", endpoint->prefix);
    ak_url_put(&path, ak_str_of(o->collection));
    ak_buf_add_str(&path, is_search ? AK_STR("/search") : AK_STR("/vectors"));
    while (n < REQUESTS_MAX && bytes->len < REQUESTS_BYTES_MAX && !bytes->failed) {
        ak_buf_clear(&body);
        put_body(&body, o, v, n * o->batch, is_search);
        ak_buf_add_fmt(bytes,
                       "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
                       "Content-Length: %zu\r\n\r\n",
                       ak_buf_cstr(&path), endpoint->authority, body.len);
        ak_buf_add_str(bytes, ak_buf_str(&body));
        ends[n++] = bytes->len;
    }
    ak_buf_release(&body);
    ak_buf_release(&path);
    enum ak_rc rc = ak_buf_check(bytes, err);
    if (rc != AK_OK) {
        return rc;
    }
    *list = ak_alloc(n * sizeof **list);
    for (size_t i = 0; i < n; i++) {
        size_t from = i ? ends[i - 1] : 0;
        (*list)[i] = (struct ak_str){bytes->p + from, ends[i] - from};
    }
    *count = n;
    return AK_OK;
}

/* --- The probe: is the server quick to answer the cheapest question while it works? --- */

static enum ak_rc probe_once(struct prober *prober, struct ak_buf *body)
{
    const struct ak_request request = {.method = "GET", .path = "/health", .timeout_ms = 5000};
    return ak_client_call(prober->client, &request, body, &prober->err);
}

static void probe(void *arg)
{
    struct prober *prober = arg;
    const struct ak_clock *clock = ak_clock_system();
    struct ak_buf body;
    ak_buf_init(&body, 0);
    while (!atomic_load_explicit(&prober->stop, memory_order_acquire)) {
        int64_t began = ak_mono_ns(clock);
        if (probe_once(prober, &body) != AK_OK) {
            prober->failed++;
        }
        int64_t took = ak_mono_ns(clock) - began;
        ak_histogram_add(&prober->latency, took);
        if (took < PROBE_EVERY_NS) {
            struct timespec pause = {.tv_nsec = (long)(PROBE_EVERY_NS - took)};
            (void)nanosleep(&pause, NULL);
        }
    }
    ak_buf_release(&body);
}

static enum ak_rc start_probe(struct prober *prober, const char *url, struct ak_err *err)
{
    struct ak_buf body;
    ak_buf_init(&body, 0);
    enum ak_rc rc = ak_client_open(url, &prober->client, err);
    if (rc == AK_OK) {
        rc = probe_once(prober, &body); /* connects, so that no probe counts that */
        if (rc != AK_OK) {
            *err = prober->err;
        }
    }
    ak_buf_release(&body);
    return rc == AK_OK ? ak_thread_start(&prober->thread, "akidb-probe", probe, prober, err) : rc;
}

static void stop_probe(struct prober *prober)
{
    atomic_store_explicit(&prober->stop, true, memory_order_release);
    ak_thread_join(&prober->thread);
    ak_client_close(prober->client);
}

/* --- Report --- */

static void print_report(const struct options *o, const struct ak_load_report *r,
                         const struct prober *p)
{
    double rate = r->seconds > 0 ? (double)r->latency.total / r->seconds : 0;
    double p50 = ak_histogram_us(&r->latency, 0.5);
    double p95 = ak_histogram_us(&r->latency, 0.95);
    double p99 = ak_histogram_us(&r->latency, 0.99);
    double max = (double)r->latency.max_ns / 1e3;
    double health_max = (double)p->latency.max_ns / 1e3;
    double health_p99 = ak_histogram_us(&p->latency, 0.99);
    if (o->json) {
        (void)printf("{\"op\":\"%s\",\"clients\":%" PRIu64 ",\"pipeline\":%" PRIu64
                     ",\"batch\":%" PRIu64 ",\"seconds\":%.3f,\"requests\":%" PRIu64
                     ",\"qps\":%.1f,\"p50_us\":%.1f,\"p95_us\":%.1f,\"p99_us\":%.1f,"
                     "\"max_us\":%.1f,\"refused\":%" PRIu64 ",\"broken\":%" PRIu64
                     ",\"health_probes\":%" PRIu64 ",\"health_p99_us\":%.1f,"
                     "\"health_max_us\":%.1f,\"health_failed\":%" PRIu64 "}\n",
                     o->op, o->clients, o->pipeline, o->batch, r->seconds, r->latency.total, rate,
                     p50, p95, p99, max, r->refused, r->broken, p->latency.total, health_p99,
                     health_max, p->failed);
        return;
    }
    char text[4][AK_NUMBER_TEXT_MAX];
    (void)printf("%s: %s requests in %s with %" PRIu64 " clients, %s/s\n", o->op,
                 ak_text_count(r->latency.total, text[0]), ak_text_seconds(r->seconds, text[1]),
                 o->clients, ak_text_count((uint64_t)rate, text[2]));
    if (strcmp(o->op, "upsert") == 0 && o->batch > 1) {
        (void)printf("  documents  %s/s in batches of %" PRIu64 "\n",
                     ak_text_count((uint64_t)(rate * (double)o->batch), text[3]), o->batch);
    }
    (void)printf("  latency    p50 %s, p95 %s, p99 %s, max %s\n",
                 ak_text_seconds(p50 / 1e6, text[0]), ak_text_seconds(p95 / 1e6, text[1]),
                 ak_text_seconds(p99 / 1e6, text[2]), ak_text_seconds(max / 1e6, text[3]));
    (void)printf(
        "  /health    p99 %s, worst %s of %s probes%s\n",
        ak_text_seconds(health_p99 / 1e6, text[0]), ak_text_seconds(health_max / 1e6, text[1]),
        ak_text_count(p->latency.total, text[2]), p->failed ? ", some of which failed" : "");
    if (r->refused || r->broken) {
        (void)printf("  refused    %" PRIu64 " (the first: %d %s), broken connections cost %" PRIu64
                     "\n",
                     r->refused, r->first_status, r->first_answer, r->broken);
    }
}

/* --- The command --- */

/* The server, and the dimension of the collection, which is made with --dim when it does not exist
 * and is to be written. */
static enum ak_rc find_collection(struct options *o, uint32_t *dimension, struct ak_err *err)
{
    struct ak_config config;
    struct ak_target *target = NULL;
    struct ak_arena arena;
    struct ak_collection_summary summary;
    ak_config_init(&config);
    ak_arena_init(&arena, 0);
    const struct ak_target_options to = {.url = o->url, .config = &config};
    enum ak_rc rc = ak_config_load(&config, &o->flags, environ, err);
    rc = rc == AK_OK ? ak_target_open(&to, &target, err) : rc;
    if (rc == AK_OK) {
        (void)snprintf(o->resolved, sizeof o->resolved, "%s", ak_target_name(target));
        struct ak_str name = ak_str_of(o->collection);
        rc = ak_target_describe(target, name, &arena, &summary, err);
        if (rc == AK_NOT_FOUND && o->dimension && strcmp(o->op, "upsert") == 0) {
            const struct ak_collection_info spec = {.name = name,
                                                    .dimension = (uint32_t)o->dimension,
                                                    .metric = AK_METRIC_COSINE,
                                                    .index = ak_index_params_default()};
            summary.info.dimension = spec.dimension;
            rc = ak_target_create(target, &spec, err);
        }
    }
    if (rc == AK_OK && o->dimension && summary.info.dimension != o->dimension) {
        rc = ak_fail(err, AK_INVALID, "'%s' has dimension %u, not %" PRIu64, o->collection,
                     summary.info.dimension, o->dimension);
    }
    if (rc == AK_OK) {
        *dimension = summary.info.dimension;
    }
    ak_target_close(target);
    ak_arena_release(&arena);
    ak_config_release(&config);
    return rc;
}

static enum ak_rc run(struct options *o, struct ak_err *err)
{
    struct vectors v = {0};
    struct ak_endpoint endpoint;
    struct ak_buf bytes;
    struct ak_str *list = NULL;
    size_t count = 0;
    ak_buf_init(&bytes, 2 * REQUESTS_BYTES_MAX);
    struct prober *prober = ak_zalloc(sizeof *prober);
    struct ak_load_report *report = ak_zalloc(sizeof *report);
    enum ak_rc rc = find_collection(o, &v.dimension, err);
    rc = rc == AK_OK ? ak_endpoint_parse(o->resolved, &endpoint, err) : rc;
    rc = rc == AK_OK ? load_vectors(o, &v, err) : rc;
    rc = rc == AK_OK ? render(o, &endpoint, &v, &bytes, &list, &count, err) : rc;
    if (rc == AK_OK) {
        rc = start_probe(prober, o->resolved, err);
        const struct ak_load_options load = {
            .endpoint = &endpoint,
            .requests = list,
            .request_count = count,
            .clients = (uint32_t)o->clients,
            .threads = (uint32_t)(o->threads < o->clients ? o->threads : o->clients),
            .pipeline = (uint32_t)o->pipeline,
            .count = o->count,
            .seconds = o->count ? 0 : (double)o->seconds,
        };
        rc = rc == AK_OK ? ak_load_run(&load, report, err) : rc;
        stop_probe(prober);
    }
    if (rc == AK_OK) {
        print_report(o, report, prober);
    }
    ak_buf_release(&bytes);
    ak_free(list);
    ak_free(v.rows);
    ak_free(prober);
    ak_free(report);
    return rc;
}

enum ak_rc ak_bench_load(int argc, char **argv, struct ak_err *err)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct options o = {.op = "search",
                        .clients = 16,
                        .threads = cores > 0 ? (uint64_t)cores : 1,
                        .seconds = 10,
                        .pipeline = 1,
                        .batch = 1,
                        .k = 10,
                        .seed = 1};
    const struct ak_arg options[] = {
        {"url", 0, AK_ARG_TEXT, &o.url, 0, 0, "URL",
         "the server (else $AKIDB_URL, else the configured one)"},
        {"collection", 'c', AK_ARG_TEXT, &o.collection, 0, 0, "NAME", "where"},
        {"op", 0, AK_ARG_TEXT, &o.op, 0, 0, "OP", "search (default) or upsert"},
        {"clients", 0, AK_ARG_UINT, &o.clients, 1, CLIENTS_MAX, "N", "connections (16)"},
        {"seconds", 's', AK_ARG_UINT, &o.seconds, 1, 86400, "S", "how long (10), or"},
        {"count", 'n', AK_ARG_UINT, &o.count, 1, 0, "N", "how many requests"},
        {"dim", 'd', AK_ARG_UINT, &o.dimension, 1, AK_DIMENSION_MAX, "D",
         "numbers in a vector; upsert makes a collection that is not there"},
        {"vectors", 0, AK_ARG_TEXT, &o.vectors, 0, 0, "F.npy",
         "take vectors from here (else random ones in 64 clusters)"},
        {"batch", 'b', AK_ARG_UINT, &o.batch, 1, 10000, "N", "documents of an upsert (1)"},
        {"pipeline", 0, AK_ARG_UINT, &o.pipeline, 1, AK_LOAD_PIPELINE_MAX, "N",
         "requests a client keeps under way (1)"},
        {"k", 'k', AK_ARG_UINT, &o.k, 1, AK_K_MAX, "N", "results of a search (10)"},
        {"ef", 0, AK_ARG_UINT, &o.ef, 1, AK_EF_MAX, "N", "candidates (the collection's)"},
        {"threads", 't', AK_ARG_UINT, &o.threads, 1, 256, "N", "of the generator (one per core)"},
        {"seed", 0, AK_ARG_UINT, &o.seed, 0, 0, "N", "of the random vectors (1)"},
        {"json", 0, AK_ARG_FLAG, &o.json, 0, 0, NULL, "print JSON"},
    };
    struct ak_args args = {
        .command = "bench load",
        .usage = "--collection NAME [--op search|upsert] [options]",
        .about =
            "Sends requests over kept-alive connections as fast as they are answered, and asks\n"
            "/health every 10 ms meanwhile. Prints requests a second, latencies, and the worst\n"
            "answer of /health.\n",
        .examples =
            "  akidb bench load --collection docs --clients 64 --seconds 30\n"
            "  akidb bench load --collection new --op upsert --dim 512 --batch 100 --count 1000\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .config = &o.flags,
    };
    enum ak_rc rc = ak_args_parse(&args, argc, argv, err);
    if (rc != AK_OK || args.helped) {
        return rc;
    }
    if (!o.collection) {
        return ak_fail(err, AK_INVALID, "--collection NAME is needed");
    }
    if (strcmp(o.op, "search") != 0 && strcmp(o.op, "upsert") != 0) {
        return ak_fail(err, AK_INVALID, "--op is \"%s\"; allowed are search, upsert", o.op);
    }
    return run(&o, err);
}
