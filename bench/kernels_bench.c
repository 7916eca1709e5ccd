/* kernels_bench.c — nanoseconds per distance of each kernel, per instruction set, data hot in L1.
 *
 *   cmake --preset release -DAKIDB_BENCH=ON && ninja -C build/release kernels_bench
 *   build/release/bench/kernels_bench
 *
 * Each figure is the best of several rounds, the call through the table included. One _x4 call
 * counts as four distances. */
#include "base/mem.h"
#include "simd/simd.h"
#include <stdio.h>
#include <time.h>

#define DIMENSION_MAX 1536
#define ROUNDS 7
#define CALLS 20000

struct data {
    float *f32[5]; /* a query and four rows */
    uint8_t *u8[5];
    uint16_t *f16;
};

enum kernel {
    DOT,
    L2,
    DOT_X4,
    L2_X4,
    U8S8,
    U8S8_X4,
    DOT_S8,
    L2_S8,
    TO_F32,
    TO_F16,
    FINITE,
    NORM,
    KERNELS
};

static const struct {
    const char *name;
    int distances;
} kernels[KERNELS] = {{"dot", 1},        {"l2", 1},         {"dot_x4", 4},     {"l2_x4", 4},
                      {"u8s8", 1},       {"u8s8_x4", 4},    {"dot_s8", 1},     {"l2_s8", 1},
                      {"f16_to_f32", 1}, {"f32_to_f16", 1}, {"all_finite", 1}, {"norm", 1}};

/* What keeps the compiler from dropping a call whose result nobody reads. */
static volatile double sink;

static void call(const struct ak_simd *t, enum kernel kernel, const struct data *d, size_t n)
{
    const float *const rows[4] = {d->f32[1], d->f32[2], d->f32[3], d->f32[4]};
    const uint8_t *const codes[4] = {d->u8[1], d->u8[2], d->u8[3], d->u8[4]};
    const int8_t *query = (const int8_t *)d->u8[0];
    const int8_t *row = (const int8_t *)d->u8[1];
    float out[4] = {0};
    int32_t sums[4] = {0};
    switch (kernel) {
    case DOT:
        sink = (double)t->dot(d->f32[0], rows[0], n);
        return;
    case L2:
        sink = (double)t->l2(d->f32[0], rows[0], n);
        return;
    case DOT_X4:
        t->dot_x4(d->f32[0], rows, n, out);
        break;
    case L2_X4:
        t->l2_x4(d->f32[0], rows, n, out);
        break;
    case U8S8:
        sink = t->dot_u8s8(codes[0], query, n);
        return;
    case U8S8_X4:
        t->dot_u8s8_x4(query, codes, n, sums);
        break;
    case DOT_S8:
        sink = t->dot_s8(row, query, n);
        return;
    case L2_S8:
        sink = t->l2_s8(row, query, n);
        return;
    case TO_F32:
        t->f16_to_f32(d->f16, d->f32[1], n);
        return;
    case TO_F16:
        t->f32_to_f16(d->f32[1], d->f16, n);
        return;
    case FINITE:
        sink = ak_f32_all_finite(d->f32[0], n, NULL);
        return;
    case NORM:
        sink = ak_f32_norm(d->f32[0], n);
        return;
    case KERNELS:
        return;
    }
    sink = (double)out[0] + sums[0];
}

static double now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static double best_ns(const struct ak_simd *t, enum kernel kernel, const struct data *d, size_t n)
{
    double best = 1e30;
    for (int round = 0; round < ROUNDS; round++) {
        double from = now_ns();
        for (int i = 0; i < CALLS; i++) {
            call(t, kernel, d, n);
        }
        double ns = (now_ns() - from) / CALLS / kernels[kernel].distances;
        best = ns < best ? ns : best;
    }
    return best;
}

static void fill(struct data *d)
{
    uint32_t x = 1;
    for (int v = 0; v < 5; v++) {
        d->f32[v] = ak_alloc_aligned(AK_CACHE_LINE, DIMENSION_MAX * sizeof(float));
        d->u8[v] = ak_alloc_aligned(AK_CACHE_LINE, DIMENSION_MAX);
        for (int i = 0; i < DIMENSION_MAX; i++) {
            x = x * 1664525u + 1013904223u;
            d->f32[v][i] = (float)(int32_t)x * 0x1p-31f;
            d->u8[v][i] = (uint8_t)(x >> 24);
        }
    }
    d->f16 = ak_alloc_aligned(AK_CACHE_LINE, DIMENSION_MAX * sizeof(uint16_t));
    ak_simd_get()->f32_to_f16(d->f32[0], d->f16, DIMENSION_MAX);
}

int main(void)
{
    static const size_t dimensions[] = {384, 512, 1536};
    struct data d;
    fill(&d);
    (void)printf("%-16s %-11s %8s %8s %8s   ns per distance\n", "isa", "kernel", "384", "512",
                 "1536");
    for (int isa = 0; isa < AK_ISA_COUNT; isa++) {
        const struct ak_simd *t = ak_simd_get_isa((enum ak_isa)isa);
        /* The last two go through the choice of the process, so they are shown for it alone. */
        int count = t == ak_simd_get() ? KERNELS : FINITE;
        for (int k = 0; t && k < count; k++) {
            (void)printf("%-16s %-11s", t->name, kernels[k].name);
            for (size_t i = 0; i < 3; i++) {
                (void)printf(" %8.1f", best_ns(t, (enum kernel)k, &d, dimensions[i]));
            }
            (void)printf("\n");
        }
    }
    for (int v = 0; v < 5; v++) {
        ak_free(d.f32[v]);
        ak_free(d.u8[v]);
    }
    ak_free(d.f16);
    return 0;
}
