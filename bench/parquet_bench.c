/* parquet_bench.c — writes a table of documents as Parquet and reads its vectors back.
 *
 *   parquet_bench ROWS.npy OUT.parquet CODEC ENCODING THREADS PASSES
 *
 * CODEC none|snappy|zstd|lz4|gzip; ENCODING split|plain|bf16|q8. The five columns of a snapshot,
 * row groups of at most 10,000 rows. Prints seconds of the best pass of writing (creating the file
 * to the last write, no sync), of reading all vectors by one thread and by THREADS, sizes, and what
 * a lossy encoding changed. Every lossless pass compares what it read with what it wrote.
 */
#include "base/mem.h"
#include "base/pool.h"
#include "base/rand.h"
#include "common.h"
#include "parquet/quantise.h"
#include "parquet/reader.h"
#include "parquet/writer.h"
#include <math.h>
#include <stdbool.h>

#define GROUP_ROWS 10000u
#define TEXT 48u

struct bench {
    struct rows rows;
    const char *path;
    enum ak_codec codec;
    const char *encoding;
    unsigned threads;
    struct ak_pool *pool;
    char (*ids)[TEXT];
    char (*bodies)[TEXT];
    struct ak_str *id_of, *body_of;
    int64_t *times;
    float *coarse; /* lossy: the row group as it is written */
    float *read_back;
    uint64_t group_at;
    uint64_t group_rows;
    double max_error;
    struct ak_parquet_summary summary;
    uint64_t vector_bytes;
    double make_seconds; /* of them, making the floats coarser */
};

static void must(enum ak_rc rc, const struct ak_err *err)
{
    if (rc != AK_OK) {
        die("%s: %s", ak_rc_name(rc), err->text);
    }
}

static enum ak_rc to_file(void *ctx, const void *p, size_t len, struct ak_err *err)
{
    const int *fd = ctx;
    const char *at = p;
    while (len) {
        ssize_t n = write(*fd, at, len);
        if (n <= 0) {
            return ak_fail(err, AK_IO, "write");
        }
        at += n;
        len -= (size_t)n;
    }
    return AK_OK;
}

static bool is(const struct bench *bench, const char *encoding)
{
    return strcmp(bench->encoding, encoding) == 0;
}

static const void *vector_of(void *ctx, uint64_t i)
{
    const struct bench *bench = ctx;
    return bench->coarse ? bench->coarse + i * bench->rows.dimension
                         : row(&bench->rows, bench->group_at + i);
}

static void make_texts(struct bench *bench)
{
    struct ak_rand rand;
    size_t n = bench->rows.count;
    ak_rand_seed(&rand, 11);
    bench->ids = ak_alloc(n * sizeof *bench->ids);
    bench->bodies = ak_alloc(n * sizeof *bench->bodies);
    bench->id_of = ak_alloc(n * sizeof *bench->id_of);
    bench->body_of = ak_alloc(n * sizeof *bench->body_of);
    bench->times = ak_alloc(n * sizeof *bench->times);
    for (size_t i = 0; i < n; i++) {
        int len = snprintf(bench->ids[i], TEXT, "01937a2b-%04x-7%03x-8%03x-%012llx",
                           (unsigned)(i >> 8 & 0xffff), (unsigned)(i & 0xff),
                           (unsigned)(ak_rand_u64(&rand) & 0xfff),
                           (unsigned long long)(ak_rand_u64(&rand) & 0xffffffffffff));
        bench->id_of[i] = (struct ak_str){bench->ids[i], (size_t)len};
        len = snprintf(bench->bodies[i], TEXT, "{\"lang\":\"en\",\"year\":%u,\"n\":%zu}",
                       2000 + (unsigned)(ak_rand_u64(&rand) % 25), i);
        bench->body_of[i] = (struct ak_str){bench->bodies[i], (size_t)len};
        bench->times[i] = INT64_C(1764000000000000) + (int64_t)i * 37;
    }
}

static void make_coarse(struct bench *bench)
{
    size_t n = (size_t)bench->group_rows * bench->rows.dimension;
    const float *from = row(&bench->rows, bench->group_at);
    double began = now();
    if (is(bench, "bf16")) {
        ak_bf16_round(from, bench->coarse, n, &bench->max_error);
    } else {
        struct ak_codebook_range range = {0};
        struct ak_codebook book;
        ak_codebook_look(&range, from, n);
        ak_codebook_make(&range, &book);
        ak_codebook_round(&book, from, bench->coarse, n, &bench->max_error);
    }
    bench->make_seconds += now() - began;
}

static void write_group(struct bench *bench, struct ak_parquet_writer *writer)
{
    struct ak_err err = {0};
    uint64_t at = bench->group_at;
    const struct ak_parquet_values ids = {.bytes = bench->id_of + at};
    const struct ak_parquet_values external = {.bytes = bench->id_of + at};
    const struct ak_parquet_values vectors = {.row = vector_of, .ctx = bench};
    const struct ak_parquet_values bodies = {.bytes = bench->body_of + at};
    const struct ak_parquet_values times = {.fixed = bench->times + at};
    if (bench->coarse) {
        make_coarse(bench);
    }
    must(ak_parquet_begin_group(writer, bench->group_rows, &err), &err);
    must(ak_parquet_put(writer, &ids, &err), &err);
    must(ak_parquet_put(writer, &external, &err), &err);
    uint64_t before = ak_parquet_written(writer);
    must(ak_parquet_put(writer, &vectors, &err), &err);
    bench->vector_bytes += ak_parquet_written(writer) - before;
    must(ak_parquet_put(writer, &bodies, &err), &err);
    must(ak_parquet_put(writer, &times, &err), &err);
    must(ak_parquet_end_group(writer, &err), &err);
}

static double write_file(struct bench *bench)
{
    static const struct ak_parquet_meaning text = {.annotation = AK_PARQUET_STRING};
    const struct ak_parquet_column columns[] = {
        {.name = "document_id", .type = AK_PARQUET_BYTE_ARRAY, .meaning = text},
        {.name = "external_id",
         .type = AK_PARQUET_BYTE_ARRAY,
         .meaning = text,
         .is_optional = true},
        {.name = "vector",
         .type = AK_PARQUET_FLOAT,
         .is_list = true,
         .dimension = bench->rows.dimension,
         .encoding = is(bench, "split") || is(bench, "bf16") ? AK_PARQUET_BYTE_STREAM_SPLIT
                                                             : AK_PARQUET_PLAIN,
         .has_dictionary = is(bench, "q8")},
        {.name = "metadata",
         .type = AK_PARQUET_BYTE_ARRAY,
         .meaning = {.annotation = AK_PARQUET_JSON},
         .is_optional = true},
        {.name = "inserted_at",
         .type = AK_PARQUET_INT64,
         .meaning = {
             .annotation = AK_PARQUET_TIMESTAMP, .unit = AK_PARQUET_MICROS, .is_utc = true}}};
    const struct ak_parquet_write_options options = {.codec = bench->codec, .pool = bench->pool};
    struct ak_parquet_writer *writer = NULL;
    struct ak_err err = {0};
    bench->vector_bytes = 0;
    bench->make_seconds = 0;
    bench->max_error = 0;
    double began = now();
    int fd = open(bench->path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0) {
        die("cannot create %s", bench->path);
    }
    const struct ak_parquet_sink sink = {&fd, to_file};
    must(ak_parquet_create(&sink, columns, 5, &options, &writer, &err), &err);
    for (uint64_t at = 0; at < bench->rows.count; at += GROUP_ROWS) {
        uint64_t left = bench->rows.count - at;
        bench->group_at = at;
        bench->group_rows = left < GROUP_ROWS ? left : GROUP_ROWS;
        write_group(bench, writer);
    }
    must(ak_parquet_finish(writer, &bench->summary, &err), &err);
    close(fd);
    return now() - began;
}

/* --- Reading --- */

struct reading {
    const struct bench *bench;
    const struct ak_parquet_reader *reader;
    size_t leaf;
    _Atomic size_t next; /* pairs with itself: each row group is taken once */
};

static void read_groups(struct worker *self)
{
    struct reading *reading = self->ctx;
    const struct ak_parquet_description *file = ak_parquet_describe(reading->reader);
    uint32_t dimension = reading->bench->rows.dimension;
    struct ak_err err = {0};
    for (size_t g = reading->next++; g < file->group_count; g = reading->next++) {
        const struct ak_parquet_group *group = &file->groups[g];
        float *to = reading->bench->read_back + group->first_row * dimension;
        must(ak_parquet_read_vectors(reading->reader, g, reading->leaf, 0, group->rows, dimension,
                                     to, &err),
             &err);
    }
}

static double read_file(struct bench *bench, unsigned threads)
{
    struct ak_err err = {0};
    struct ak_file *file = NULL;
    struct ak_parquet_source source;
    struct ak_parquet_reader *reader = NULL;
    const struct ak_parquet_read_options options = {.require_crc = true};
    struct worker workers[THREADS_MAX] = {0};
    double began = now();
    must(ak_fs_open(ak_fs_posix(), bench->path, AK_OPEN_READ, &file, &err), &err);
    must(ak_parquet_source_file(file, bench->path, &source, &err), &err);
    must(ak_parquet_open(&source, &options, &reader, &err), &err);
    struct reading reading = {.bench = bench, .reader = reader};
    reading.leaf = (size_t)ak_parquet_find_leaf(reader, AK_STR("vector"));
    for (unsigned i = 0; i < threads; i++) {
        workers[i] = (struct worker){.ctx = &reading, .run = read_groups};
        if (pthread_create(&workers[i].thread, NULL, enter, &workers[i]) != 0) {
            die("cannot start a thread");
        }
    }
    for (unsigned i = 0; i < threads; i++) {
        (void)pthread_join(workers[i].thread, NULL);
    }
    double took = now() - began;
    ak_parquet_close(reader);
    ak_file_close(file);
    return took;
}

/* --- What was lost --- */

struct loss {
    double relative_rms;
    double worst_cosine; /* 1 − cosine of a row with what became of it */
};

static struct loss compare(const struct bench *bench)
{
    struct loss loss = {0};
    double squares = 0;
    double errors = 0;
    uint32_t dimension = bench->rows.dimension;
    for (uint64_t i = 0; i < bench->rows.count; i++) {
        const float *a = row(&bench->rows, i);
        const float *b = bench->read_back + i * dimension;
        double ab = 0;
        double aa = 0;
        double bb = 0;
        for (uint32_t j = 0; j < dimension; j++) {
            double x = (double)a[j];
            double y = (double)b[j];
            ab += x * y;
            aa += x * x;
            bb += y * y;
            errors += (x - y) * (x - y);
        }
        double away = 1 - ab / sqrt(aa * bb);
        squares += aa;
        loss.worst_cosine = away > loss.worst_cosine ? away : loss.worst_cosine;
    }
    loss.relative_rms = sqrt(errors / squares);
    return loss;
}

int main(int argc, char **argv)
{
    struct bench bench = {0};
    struct ak_err err = {0};
    if (argc != 7) {
        die("parquet_bench ROWS.npy OUT.parquet CODEC ENCODING THREADS PASSES");
    }
    bench.rows = map_npy(argv[1]);
    bench.path = argv[2];
    bench.encoding = argv[4];
    bench.threads = number(argv[5], "THREADS", THREADS_MAX);
    uint32_t passes = number(argv[6], "PASSES", 100);
    if (!ak_codec_parse(ak_str_of(argv[3]), &bench.codec) ||
        !(is(&bench, "split") || is(&bench, "plain") || is(&bench, "bf16") || is(&bench, "q8"))) {
        die("CODEC is none, snappy, zstd, lz4 or gzip; ENCODING is split, plain, bf16 or q8");
    }
    /* The caller encodes too. */
    const struct ak_pool_options pool = {.name = "pages", .threads = bench.threads - 1};
    if (bench.threads > 1) {
        must(ak_pool_open(&pool, &bench.pool, &err), &err);
    }
    size_t raw = (size_t)bench.rows.count * bench.rows.dimension * sizeof(float);
    bool is_lossy = is(&bench, "bf16") || is(&bench, "q8");
    if (is_lossy) {
        bench.coarse = ak_alloc((size_t)GROUP_ROWS * bench.rows.dimension * sizeof(float));
    }
    bench.read_back = ak_alloc(raw);
    memset(bench.read_back, 0, raw);
    make_texts(&bench);
    double wrote = (double)INFINITY;
    double wrote_cpu = (double)INFINITY;
    double coarse = 0;
    double read_alone = (double)INFINITY;
    double read_all = (double)INFINITY;
    for (uint32_t pass = 0; pass < passes; pass++) {
        double cpu = cpu_seconds();
        double took = write_file(&bench);
        cpu = cpu_seconds() - cpu;
        wrote_cpu = cpu < wrote_cpu ? cpu : wrote_cpu;
        coarse = took < wrote ? bench.make_seconds : coarse;
        wrote = took < wrote ? took : wrote;
        took = read_file(&bench, 1);
        read_alone = took < read_alone ? took : read_alone;
        took = read_file(&bench, bench.threads);
        read_all = took < read_all ? took : read_all;
        if (!is_lossy && memcmp(bench.read_back, bench.rows.data, raw) != 0) {
            die("what was read is not what was written");
        }
    }
    struct loss loss = compare(&bench);
    (void)printf("{\"rows\":%u,\"dimension\":%u,\"raw\":%zu,\"file\":%llu,\"vectors\":%llu,"
                 "\"write_seconds\":%.6f,\"write_cpu_seconds\":%.6f,\"coarse_seconds\":%.6f,\"read_"
                 "seconds_1\":%.6f,"
                 "\"read_seconds\":%.6f,\"max_error\":%.9g,\"relative_rms\":%.9g,"
                 "\"worst_cosine\":%.9g}\n",
                 bench.rows.count, bench.rows.dimension, raw,
                 (unsigned long long)bench.summary.bytes, (unsigned long long)bench.vector_bytes,
                 wrote, wrote_cpu, coarse, read_alone, read_all, bench.max_error, loss.relative_rms,
                 loss.worst_cosine);
    ak_pool_close(bench.pool);
    return 0;
}
