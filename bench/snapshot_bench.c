/* snapshot_bench.c — snapshots of one collection in a local folder: time, size, memory.
 *
 *   snapshot_bench FOLDER KIND ROWS DIMENSION [ROUNDS [FILE.npy [short]]]
 *
 * KIND: gauss (unit length), uniform, sin (the plan's), npy (f32 rows of FILE, repeated when there
 * are too few). Creates (data and an image of the vectors, two threads), fetches the image, reads
 * the documents back, verifies; best of ROUNDS; then each encoding, each codec and JSON once for
 * its size. Prints one JSON object. Peak memory is beyond the rows and the image file.
 */
#include "base/mem.h"
#include "base/rand.h"
#include "common.h"
#include "index/image.h"
#include "snapshot/snapshot.h"
#include <math.h>
#include <stdatomic.h>

struct bench {
    const float *vectors;
    uint32_t dimension;
    size_t rows;
    struct ak_document *docs;
    struct ak_snapshot_source source;
    struct ak_objstore *store;
    struct ak_pool *pool;
    struct ak_arena arena;
    char image[1024];
    char back[1024];
    unsigned next;
};

static void must(enum ak_rc rc, const struct ak_err *err)
{
    if (rc != AK_OK) {
        die("%s", err->text);
    }
}

/* --- Memory: anonymous pages, looked at every 2 ms; the peak since the last question --- */

static atomic_ulong peak_pages;
static atomic_bool is_over;

static unsigned long anonymous_pages(void)
{
    char line[128];
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || !fgets(line, sizeof line, file)) {
        die("cannot read /proc/self/statm");
    }
    (void)fclose(file);
    char *at = line;
    (void)strtoul(at, &at, 10); /* all, resident, shared */
    unsigned long resident = strtoul(at, &at, 10);
    unsigned long shared = strtoul(at, &at, 10);
    return resident - shared;
}

static void *watch(void *arg)
{
    const struct timespec pause = {0, 2000000};
    (void)arg;
    while (!atomic_load(&is_over)) {
        unsigned long pages = anonymous_pages();
        if (pages > atomic_load(&peak_pages)) {
            atomic_store(&peak_pages, pages);
        }
        (void)nanosleep(&pause, NULL);
    }
    return NULL;
}

static double peak_mib(void)
{
    double mib = (double)atomic_exchange(&peak_pages, 0) * (double)sysconf(_SC_PAGESIZE) / 1048576;
    return mib;
}

static void fill(struct bench *b, const char *kind, const char *path)
{
    struct ak_rand rand;
    float *to = ak_alloc_aligned(64, b->rows * b->dimension * sizeof *to);
    ak_rand_seed(&rand, 1);
    if (strcmp(kind, "npy") == 0) {
        struct rows rows = map_npy(path);
        if (rows.dimension != b->dimension) {
            die("%s has %u dimensions", path, rows.dimension);
        }
        for (size_t i = 0; i < b->rows; i++) {
            memcpy(to + i * b->dimension, rows.data + i % rows.count * rows.dimension,
                   b->dimension * sizeof *to);
        }
    }
    for (size_t i = 0; i < b->rows && strcmp(kind, "npy") != 0; i++) {
        double sum = 0;
        for (size_t k = 0; k < b->dimension; k++) {
            float *x = &to[i * b->dimension + k];
            if (strcmp(kind, "sin") == 0) {
                *x = sinf((float)(i + k) * 0.01f);
            } else if (strcmp(kind, "uniform") == 0) {
                *x = (float)(ak_rand_u64(&rand) >> 41) * 0x1p-22f - 1.0f;
            } else {
                *x = (float)ak_rand_normal(&rand);
            }
            sum += (double)*x * (double)*x;
        }
        for (size_t k = 0; k < b->dimension && strcmp(kind, "gauss") == 0; k++) {
            to[i * b->dimension + k] /= (float)sqrt(sum);
        }
    }
    b->vectors = to;
}

static enum ak_rc read_docs(void *ctx, uint64_t from, size_t count, struct ak_document *rows,
                            struct ak_err *err)
{
    struct bench *b = ctx;
    (void)err;
    memcpy(rows, b->docs + from, count * sizeof *rows);
    return AK_OK;
}

static void make_docs(struct bench *b)
{
    struct ak_uuid_maker maker;
    ak_uuid_maker_init(&maker, ak_clock_system());
    b->docs = ak_zalloc(b->rows * sizeof *b->docs);
    for (size_t i = 0; i < b->rows; i++) {
        char text[64];
        int len = snprintf(text, sizeof text, "document-%zu", i);
        b->docs[i].id = ak_uuid_make(&maker);
        b->docs[i].external_id = ak_arena_str(&b->arena, (struct ak_str){text, (size_t)len});
        len = snprintf(text, sizeof text, "{\"n\":%zu,\"lang\":\"%s\"}", i, i % 3 ? "en" : "de");
        b->docs[i].metadata = ak_arena_str(&b->arena, (struct ak_str){text, (size_t)len});
        b->docs[i].vector = b->vectors + i * b->dimension;
        b->docs[i].inserted_us = 1790000000000000 + (int64_t)i * 1000;
    }
    b->source = (struct ak_snapshot_source){.lsn = 1, .rows = b->rows, .read = read_docs, .ctx = b};
    b->source.info = (struct ak_collection_info){.id = ak_uuid_make(&maker),
                                                 .name = AK_STR("bench"),
                                                 .dimension = b->dimension,
                                                 .metric = AK_METRIC_COSINE,
                                                 .index = ak_index_params_default()};
}

/* The sections by size: vectors, ids, and links of 32 a row. */
static void make_image(struct bench *b)
{
    struct ak_image_writer *writer = NULL;
    struct ak_err err;
    size_t stride = (b->dimension * sizeof(float) + 63) / 64 * 64;
    char *row = ak_zalloc(stride);
    struct ak_rand rand;
    uint32_t links[32];
    ak_rand_seed(&rand, 2);
    must(ak_image_create_file(ak_fs_posix(), b->image, &writer, &err), &err);
    must(ak_image_begin(writer, AK_IMAGE_VECTORS, stride, b->rows, &err), &err);
    for (size_t i = 0; i < b->rows; i++) {
        memcpy(row, b->docs[i].vector, b->dimension * sizeof(float));
        must(ak_image_write(writer, row, stride, &err), &err);
    }
    must(ak_image_end(writer, &err), &err);
    must(ak_image_begin(writer, AK_IMAGE_DOC_IDS, sizeof(struct ak_uuid), b->rows, &err), &err);
    for (size_t i = 0; i < b->rows; i++) {
        must(ak_image_write(writer, &b->docs[i].id, sizeof(struct ak_uuid), &err), &err);
    }
    must(ak_image_end(writer, &err), &err);
    must(ak_image_begin(writer, AK_IMAGE_LINKS, sizeof links, b->rows, &err), &err);
    for (size_t i = 0; i < b->rows; i++) {
        for (int k = 0; k < 32; k++) {
            links[k] = (uint32_t)ak_rand_below(&rand, b->rows);
        }
        must(ak_image_write(writer, links, sizeof links, &err), &err);
    }
    must(ak_image_end(writer, &err), &err);
    must(ak_image_commit(writer, NULL, &err), &err);
    b->source.image_path = b->image;
    ak_free(row);
}

static double create(struct bench *b, const struct ak_snapshot_options *options,
                     struct ak_snapshot_meta *meta)
{
    struct ak_err err;
    struct ak_uuid id = {{0x01, 0x98, [6] = 0x70, [8] = 0x80, [15] = (uint8_t)++b->next}};
    double from = now();
    must(
        ak_snapshot_write(b->store, &id, &b->source, options, 1, &b->arena, NULL, NULL, meta, &err),
        &err);
    must(ak_snapshot_commit(b->store, meta, &err), &err);
    return now() - from;
}

static void forget(struct bench *b, const struct ak_snapshot_meta *meta)
{
    struct ak_err err;
    must(ak_snapshot_remove(b->store, &b->source.info.id, &meta->id, &err), &err);
}

static enum ak_rc look(void *ctx, const struct ak_document *rows, size_t count, struct ak_err *err)
{
    (void)ctx, (void)rows, (void)count, (void)err;
    return AK_OK;
}

static double cpu(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double best(double a, double b)
{
    return a == 0 || b < a ? b : a;
}

static void measure_times(struct bench *b, unsigned rounds)
{
    double seconds[5] = {0};
    double mib[4] = {0};
    struct ak_err err;
    struct ak_snapshot_meta meta;
    struct ak_snapshot_report report;
    struct ak_snapshot_options options = {.compression = AK_CODEC_ZSTD, .pool = b->pool};
    double before = (double)anonymous_pages() * (double)sysconf(_SC_PAGESIZE) / 1048576;
    for (unsigned round = 0; round < rounds; round++) {
        (void)peak_mib();
        double used = cpu();
        seconds[0] = best(seconds[0], create(b, &options, &meta));
        seconds[4] = best(seconds[4], cpu() - used);
        mib[0] = peak_mib();
        double from = now();
        must(ak_snapshot_fetch_image(b->store, &meta, ak_fs_posix(), b->back, NULL, NULL, &err),
             &err);
        seconds[1] = best(seconds[1], now() - from);
        (void)unlink(b->back);
        mib[1] = peak_mib();
        from = now();
        must(ak_snapshot_read(b->store, &meta, look, b, &err), &err);
        seconds[2] = best(seconds[2], now() - from);
        mib[2] = peak_mib();
        from = now();
        must(ak_snapshot_verify(b->store, &meta, NULL, NULL, &report, &err), &err);
        seconds[3] = best(seconds[3], now() - from);
        mib[3] = peak_mib();
        forget(b, &meta);
    }
    static const char *const names[] = {"create", "fetch_image", "read", "verify"};
    for (int i = 0; i < 4; i++) {
        printf("\"%s\":{\"s\":%.3f,\"mib\":%.0f},", names[i], seconds[i],
               mib[i] > before ? mib[i] - before : 0);
    }
    printf("\"create_cpu_s\":%.3f,", seconds[4]);
}

static void measure_sizes(struct bench *b, bool is_short)
{
    struct ak_snapshot_meta meta;
    printf("\"raw_bytes\":%zu", b->rows * b->dimension * sizeof(float));
    if (is_short) {
        return;
    }
    for (int encoding = 0; encoding < 4; encoding++) {
        struct ak_snapshot_options options = {.compression = AK_CODEC_ZSTD,
                                              .encoding = (enum ak_snapshot_encoding)encoding,
                                              .pool = b->pool,
                                              .no_image = true};
        double seconds = create(b, &options, &meta);
        printf(",\"%s\":{\"bytes\":%llu,\"max_error\":%.3g,\"s\":%.3f}",
               ak_snapshot_encoding_name(options.encoding), (unsigned long long)meta.data.bytes,
               meta.max_error, seconds);
        forget(b, &meta);
    }
    for (int codec = 0; codec < AK_CODEC_COUNT; codec++) {
        struct ak_snapshot_options options = {
            .compression = (enum ak_codec)codec, .pool = b->pool, .no_image = true};
        double seconds = create(b, &options, &meta);
        printf(",\"codec_%s\":{\"bytes\":%llu,\"s\":%.3f}", ak_codec_name(options.compression),
               (unsigned long long)meta.data.bytes, seconds);
        forget(b, &meta);
    }
    struct ak_snapshot_options json = {.format = AK_SNAPSHOT_JSON, .no_image = true};
    double seconds = create(b, &json, &meta);
    double from = now();
    struct ak_err err;
    must(ak_snapshot_read(b->store, &meta, look, b, &err), &err);
    printf(",\"json\":{\"bytes\":%llu,\"s\":%.3f,\"read_s\":%.3f}",
           (unsigned long long)meta.data.bytes, seconds, now() - from);
    forget(b, &meta);
}

int main(int argc, char **argv)
{
    struct bench b = {.next = 0};
    struct ak_err err;
    char root[1000];
    if (argc < 5) {
        die("snapshot_bench FOLDER gauss|uniform|sin|npy ROWS DIMENSION [ROUNDS [FILE.npy]]");
    }
    b.rows = number(argv[3], "ROWS", 100000000);
    b.dimension = number(argv[4], "DIMENSION", 65535);
    unsigned rounds = argc > 5 ? number(argv[5], "ROUNDS", 1000) : 3;
    (void)snprintf(root, sizeof root, "%.900s/objects", argv[1]);
    (void)snprintf(b.image, sizeof b.image, "%.900s/held.akx", argv[1]);
    (void)snprintf(b.back, sizeof b.back, "%.900s/back.akx", argv[1]);
    ak_arena_init(&b.arena, 0);
    fill(&b, argv[2], argc > 6 ? argv[6] : "");
    make_docs(&b);
    make_image(&b);
    const struct ak_pool_options two = {.name = "snapshot", .threads = 2};
    must(ak_pool_open(&two, &b.pool, &err), &err);
    must(ak_objstore_open_dir(ak_fs_posix(), root, &b.store, &err), &err);
    pthread_t watcher;
    if (pthread_create(&watcher, NULL, watch, NULL) != 0) {
        die("no thread to watch the memory");
    }
    printf("{\"kind\":\"%s\",\"rows\":%zu,\"dimension\":%u,", argv[2], b.rows, b.dimension);
    measure_times(&b, rounds);
    measure_sizes(&b, argc > 7);
    printf("}\n");
    atomic_store(&is_over, true);
    (void)pthread_join(watcher, NULL);
    ak_objstore_close(b.store);
    ak_pool_close(b.pool);
    (void)unlink(b.image);
    return 0;
}
