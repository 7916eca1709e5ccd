/* bench_kernels.c — akidb bench kernels: what one distance costs, on vectors that are in cache. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "cli/bench.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "simd/simd.h"
#include <stdio.h>

#define ROWS 64u /* 384 kB at 1,536 dimensions: fits the second-level cache */
#define MEASURE_NS 20000000

static const uint32_t dimensions[] = {128, 384, 768, 1536};
#define DIMENSION_COUNT (sizeof dimensions / sizeof dimensions[0])

struct sample {
    const struct ak_simd *simd;
    const float *rows;
    size_t n;
};

typedef float (*pass_fn)(const struct sample *sample);

static float pass_dot(const struct sample *s)
{
    float sum = 0;
    for (size_t i = 0; i < ROWS; i++) {
        sum += s->simd->dot(s->rows, s->rows + i * s->n, s->n);
    }
    return sum;
}

static float pass_l2(const struct sample *s)
{
    float sum = 0;
    for (size_t i = 0; i < ROWS; i++) {
        sum += s->simd->l2(s->rows, s->rows + i * s->n, s->n);
    }
    return sum;
}

static float pass_dot_x4(const struct sample *s)
{
    float sum = 0;
    for (size_t i = 0; i < ROWS; i += 4) {
        const float *r = s->rows + i * s->n;
        const float *const four[4] = {r, r + s->n, r + 2 * s->n, r + 3 * s->n};
        float out[4];
        s->simd->dot_x4(s->rows, four, s->n, out);
        sum += out[0] + out[1] + out[2] + out[3];
    }
    return sum;
}

static float pass_l2_x4(const struct sample *s)
{
    float sum = 0;
    for (size_t i = 0; i < ROWS; i += 4) {
        const float *r = s->rows + i * s->n;
        const float *const four[4] = {r, r + s->n, r + 2 * s->n, r + 3 * s->n};
        float out[4];
        s->simd->l2_x4(s->rows, four, s->n, out);
        sum += out[0] + out[1] + out[2] + out[3];
    }
    return sum;
}

static const struct {
    const char *name;
    pass_fn fn;
} kernels[] = {{"dot", pass_dot}, {"dot x4", pass_dot_x4}, {"l2", pass_l2}, {"l2 x4", pass_l2_x4}};
#define KERNEL_COUNT (sizeof kernels / sizeof kernels[0])

/* Nanoseconds a distance: passes are repeated until MEASURE_NS have gone by. */
static double measure(pass_fn fn, const struct sample *sample)
{
    const struct ak_clock *clock = ak_clock_system();
    volatile float keep = fn(sample); /* warms up, and keeps the calls from being left out */
    uint64_t passes = 0;
    int64_t began = ak_mono_ns(clock);
    int64_t spent = 0;
    while (spent < MEASURE_NS) {
        for (int i = 0; i < 16; i++) {
            keep = fn(sample);
        }
        passes += 16;
        spent = ak_mono_ns(clock) - began;
    }
    (void)keep;
    return (double)spent / (double)(passes * ROWS);
}

static void put_row(struct ak_table *table, struct ak_buf *json, const struct ak_simd *simd,
                    size_t kernel, const float *rows)
{
    ak_table_cell_fmt(table, "%s", simd->name);
    ak_table_cell_fmt(table, "%s", kernels[kernel].name);
    for (size_t d = 0; d < DIMENSION_COUNT; d++) {
        const struct sample sample = {simd, rows, dimensions[d]};
        double ns = measure(kernels[kernel].fn, &sample);
        ak_table_cell_fmt(table, "%.1f", ns);
        ak_buf_add_fmt(
            json, "%s{\"kernels\":\"%s\",\"distance\":\"%s\",\"dimension\":%u,\"ns\":%.2f}",
            json->len > 1 ? "," : "", simd->name, kernels[kernel].name, dimensions[d], ns);
    }
}

enum ak_rc ak_bench_kernels(int argc, char **argv, struct ak_err *err)
{
    bool json = false;
    const struct ak_arg options[] = {
        {"json", 0, AK_ARG_FLAG, &json, 0, 0, NULL, "print JSON"},
    };
    struct ak_args args = {
        .command = "bench kernels",
        .usage = "[--json]",
        .about = "Prints nanoseconds a distance for every instruction set of this processor, on\n"
                 "vectors that are in cache; x4 compares one query with four rows at once.\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
    };
    enum ak_rc rc = ak_args_parse(&args, argc, argv, err);
    if (rc != AK_OK || args.helped) {
        return rc;
    }
    size_t count = (size_t)ROWS * dimensions[DIMENSION_COUNT - 1];
    float *rows = ak_alloc_aligned(AK_CACHE_LINE, count * sizeof *rows);
    struct ak_rand rand;
    ak_rand_seed(&rand, 1);
    for (size_t i = 0; i < count; i++) {
        rows[i] = (float)ak_rand_normal(&rand);
    }
    static const struct ak_table_column columns[] = {
        {.title = "KERNELS"},
        {.title = "DISTANCE"},
        {.title = "128", .right = true},
        {.title = "384", .right = true},
        {.title = "768", .right = true},
        {.title = "1536", .right = true},
    };
    struct ak_table table;
    struct ak_buf out;
    ak_table_init(&table, columns, sizeof columns / sizeof columns[0]);
    ak_buf_init(&out, 0);
    ak_buf_add_char(&out, '[');
    for (int isa = 0; isa < AK_ISA_COUNT; isa++) {
        const struct ak_simd *simd = ak_simd_get_isa((enum ak_isa)isa);
        for (size_t k = 0; simd && k < KERNEL_COUNT; k++) {
            put_row(&table, &out, simd, k, rows);
        }
    }
    if (json) {
        (void)printf("%s]\n", ak_buf_cstr(&out));
    } else {
        ak_table_print(&table, stdout);
        (void)printf("nanoseconds a distance; chosen here: %s\n", ak_simd_get()->name);
    }
    ak_table_release(&table);
    ak_buf_release(&out);
    ak_free(rows);
    return AK_OK;
}
