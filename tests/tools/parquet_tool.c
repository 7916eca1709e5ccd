/* parquet_tool.c — writes Parquet files that other readers are to read: made-up rows from a seed.
 *
 *   parquet_tool FILE ROWS DIMENSION CODEC ENCODING VERSION NULLS THREADS PAGE_BYTES
 *
 * CODEC none|snappy|zstd|lz4|gzip; ENCODING split|plain|q8|bf16 of the vectors; VERSION 1|2 of the
 * pages; NULLS none|some|all of the optional columns. The table has the five columns of a snapshot
 * and one of every other kind that the writer knows. Beside FILE, FILE.f32 gets the vectors as they
 * must come back.
 */
#include "base/file.h"
#include "base/mem.h"
#include "base/rand.h"
#include "parquet/quantise.h"
#include "parquet/writer.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUP_ROWS 1000u

struct tool {
    uint64_t rows;
    uint32_t dimension;
    const char *nulls;
    float *vectors;
    struct ak_str *texts;
    char (*room)[48];
    uint8_t *valid;
    int64_t *times;
    int32_t *dates;
    double *doubles;
    uint8_t *bools;
    FILE *out;
    uint64_t group_at;
};

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "parquet_tool: %s\n", what);
    exit(1);
}

static enum ak_rc to_file(void *ctx, const void *p, size_t len, struct ak_err *err)
{
    return fwrite(p, 1, len, ctx) == len ? AK_OK : ak_fail(err, AK_IO, "write");
}

static const void *vector_of(void *ctx, uint64_t row)
{
    const struct tool *tool = ctx;
    return tool->vectors + (tool->group_at + row) * tool->dimension;
}

static void make(struct tool *tool, const char *encoding)
{
    struct ak_rand rand;
    size_t n = (size_t)tool->rows * tool->dimension;
    ak_rand_seed(&rand, 7);
    tool->vectors = ak_alloc((n + 1) * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        tool->vectors[i] = (float)ak_rand_normal(&rand) * 0.05f;
    }
    if (n > 3) {
        tool->vectors[0] = -0.0f;
        tool->vectors[1] = 1e-45f;
        tool->vectors[2] = 3e38f;
    }
    double error = 0;
    if (strcmp(encoding, "bf16") == 0) {
        ak_bf16_round(tool->vectors, tool->vectors, n, &error);
    } else if (strcmp(encoding, "q8") == 0) {
        struct ak_codebook_range range = {0};
        struct ak_codebook book;
        ak_codebook_look(&range, tool->vectors, n);
        ak_codebook_make(&range, &book);
        ak_codebook_round(&book, tool->vectors, tool->vectors, n, &error);
    }
    size_t rows = (size_t)tool->rows + 1;
    tool->texts = ak_zalloc(rows * sizeof *tool->texts);
    tool->room = ak_zalloc(rows * sizeof *tool->room);
    tool->valid = ak_zalloc(rows);
    tool->times = ak_zalloc(rows * sizeof *tool->times);
    tool->dates = ak_zalloc(rows * sizeof *tool->dates);
    tool->doubles = ak_zalloc(rows * sizeof *tool->doubles);
    tool->bools = ak_zalloc(rows);
    for (uint64_t i = 0; i < tool->rows; i++) {
        tool->valid[i] = strcmp(tool->nulls, "none") == 0 ||
                         (strcmp(tool->nulls, "some") == 0 && i % 7 != 3 && i / 50 % 3 != 1);
        tool->times[i] =
            INT64_C(1700000000000000) + (int64_t)i * 1000003 - (int64_t)(i % 5) * 77777777;
        tool->dates[i] = 20000 + (int32_t)(i / 100) - (int32_t)(i % 3);
        tool->doubles[i] = i % 11 == 5 ? (double)NAN : (double)i * 0.25 - 3;
        tool->bools[i] = i % 3 == 0;
    }
}

static const struct ak_str *texts(struct tool *tool, const char *form)
{
    for (uint64_t i = 0; i < tool->rows; i++) {
        int len = snprintf(tool->room[i], sizeof tool->room[i], "%s-%llu", form,
                           (unsigned long long)(form[0] == 'k' ? i % 5 : i));
        tool->texts[i] = (struct ak_str){tool->room[i], (size_t)len};
    }
    return tool->texts;
}

#define CHECKED(call)                                                                              \
    do {                                                                                           \
        if ((call) != AK_OK) {                                                                     \
            die(err.text);                                                                         \
        }                                                                                          \
    } while (0)

static void put_text(struct ak_parquet_writer *writer, struct tool *tool, const char *form,
                     bool optional)
{
    struct ak_err err;
    const struct ak_str *all = texts(tool, form);
    CHECKED(ak_parquet_put(
        writer,
        &(struct ak_parquet_values){.bytes = all + tool->group_at,
                                    .valid = optional ? tool->valid + tool->group_at : NULL},
        &err));
}

static void put_fixed(struct ak_parquet_writer *writer, const void *values, const uint8_t *valid)
{
    struct ak_err err;
    CHECKED(
        ak_parquet_put(writer, &(struct ak_parquet_values){.fixed = values, .valid = valid}, &err));
}

static void write_groups(struct ak_parquet_writer *writer, struct tool *tool)
{
    struct ak_err err;
    for (uint64_t at = 0; at < tool->rows; at += GROUP_ROWS) {
        uint64_t rows = tool->rows - at < GROUP_ROWS ? tool->rows - at : GROUP_ROWS;
        tool->group_at = at;
        CHECKED(ak_parquet_begin_group(writer, rows, &err));
        put_text(writer, tool, "00000000-0000-7000-8000", false);
        put_text(writer, tool, "doc", true);
        CHECKED(ak_parquet_put(writer, &(struct ak_parquet_values){.row = vector_of, .ctx = tool},
                               &err));
        put_text(writer, tool, "{\"n\":1}", true);
        put_fixed(writer, tool->times + at, NULL);
        put_text(writer, tool, "kind", true);
        put_text(writer, tool, "delta", false);
        put_fixed(writer, tool->times + at, tool->valid + at);
        put_fixed(writer, tool->dates + at, NULL);
        put_fixed(writer, tool->doubles + at, tool->valid + at);
        put_fixed(writer, tool->bools + at, NULL);
        put_fixed(writer, tool->dates + at, tool->valid + at);
        CHECKED(ak_parquet_end_group(writer, &err));
    }
}

int main(int argc, char **argv)
{
    struct ak_err err;
    struct tool tool = {0};
    struct ak_parquet_writer *writer = NULL;
    struct ak_pool *pool = NULL;
    struct ak_parquet_write_options options = {0};
    if (argc != 10) {
        die("FILE ROWS DIMENSION CODEC ENCODING VERSION NULLS THREADS PAGE_BYTES");
    }
    const char *encoding = argv[5];
    const struct ak_pool_options threads = {.name = "pages",
                                            .threads = (unsigned)strtoul(argv[8], NULL, 10)};
    tool.rows = strtoull(argv[2], NULL, 10);
    tool.dimension = (uint32_t)strtoul(argv[3], NULL, 10);
    tool.nulls = argv[7];
    if (!ak_codec_parse(ak_str_of(argv[4]), &options.codec)) {
        die("CODEC");
    }
    options.page_v2 = argv[6][0] == '2';
    options.page_bytes = (size_t)strtoul(argv[9], NULL, 10);
    if (threads.threads > 1) {
        CHECKED(ak_pool_open(&threads, &pool, &err));
    }
    options.pool = pool;
    make(&tool, encoding);
    bool split = strcmp(encoding, "split") == 0 || strcmp(encoding, "bf16") == 0;
    const struct ak_parquet_meaning text = {.annotation = AK_PARQUET_STRING};
    const struct ak_parquet_meaning utc = {
        .annotation = AK_PARQUET_TIMESTAMP, .unit = AK_PARQUET_MICROS, .is_utc = true};
    const struct ak_parquet_meaning local = {.annotation = AK_PARQUET_TIMESTAMP,
                                             .unit = AK_PARQUET_MICROS};
    const struct ak_parquet_column columns[] = {
        {.name = "document_id", .type = AK_PARQUET_BYTE_ARRAY, .meaning = text},
        {.name = "external_id",
         .type = AK_PARQUET_BYTE_ARRAY,
         .meaning = text,
         .is_optional = true},
        {.name = "vector",
         .type = AK_PARQUET_FLOAT,
         .is_list = true,
         .dimension = tool.dimension,
         .encoding = split ? AK_PARQUET_BYTE_STREAM_SPLIT : AK_PARQUET_PLAIN,
         .has_dictionary = strcmp(encoding, "q8") == 0},
        {.name = "metadata",
         .type = AK_PARQUET_BYTE_ARRAY,
         .meaning = {.annotation = AK_PARQUET_JSON},
         .is_optional = true},
        {.name = "inserted_at", .type = AK_PARQUET_INT64, .meaning = utc},
        {.name = "kind",
         .type = AK_PARQUET_BYTE_ARRAY,
         .meaning = text,
         .is_optional = true,
         .has_dictionary = true},
        {.name = "delta",
         .type = AK_PARQUET_BYTE_ARRAY,
         .meaning = text,
         .encoding = AK_PARQUET_DELTA_BYTE_ARRAY},
        {.name = "local_time",
         .type = AK_PARQUET_INT64,
         .meaning = local,
         .is_optional = true,
         .encoding = AK_PARQUET_DELTA_BINARY_PACKED},
        {.name = "day",
         .type = AK_PARQUET_INT32,
         .meaning = {.annotation = AK_PARQUET_DATE},
         .encoding = AK_PARQUET_DELTA_BINARY_PACKED},
        {.name = "number",
         .type = AK_PARQUET_DOUBLE,
         .is_optional = true,
         .encoding = AK_PARQUET_BYTE_STREAM_SPLIT},
        {.name = "flag", .type = AK_PARQUET_BOOLEAN, .encoding = AK_PARQUET_RLE},
        {.name = "plain_int",
         .type = AK_PARQUET_INT32,
         .is_optional = true,
         .has_dictionary = true},
    };
    tool.out = fopen(argv[1], "wb");
    if (!tool.out) {
        die("open");
    }
    const struct ak_parquet_sink sink = {tool.out, to_file};
    CHECKED(ak_parquet_create(&sink, columns, sizeof columns / sizeof columns[0], &options, &writer,
                              &err));
    CHECKED(ak_parquet_add_metadata(writer, AK_STR("akidb.test"), AK_STR("a value"), &err));
    write_groups(writer, &tool);
    struct ak_parquet_summary summary;
    CHECKED(ak_parquet_finish(writer, &summary, &err));
    char beside[4096];
    (void)snprintf(beside, sizeof beside, "%s.f32", argv[1]);
    FILE *raw = fopen(beside, "wb");
    size_t floats = (size_t)tool.rows * tool.dimension;
    if (fclose(tool.out) != 0 || !raw ||
        fwrite(tool.vectors, sizeof(float), floats, raw) != floats || fclose(raw) != 0) {
        die("close");
    }
    ak_pool_close(pool);
    (void)printf("%llu\n", (unsigned long long)summary.bytes);
    return 0;
}
