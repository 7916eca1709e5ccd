/* bench_ann_floor.c — what the machine allows: nanoseconds to fetch and measure a row at random.
 *
 * A walk on codes spends them on every distance, whatever else it does: distances · code_ns, and
 * row_ns for each row that is measured again in floats, is the time below which no search gets. The
 * codes lie as the index keeps its own, in memory of huge pages where the system has them, and are
 * fetched AHEAD rows before they are needed.
 */
#include "base/mem.h"
#include "base/rand.h"
#include "base/slab.h"
#include "cli/bench_ann.h"
#include "simd/simd.h"
#include <string.h>

#define ORDER 65536u /* rows in the order they are visited, again and again */
#define AHEAD 12u    /* a multiple of 4 */
#define ROUNDS 7
#define ROUND_NS 40000000
#define LINE 64u

static void fetch(const char *row, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += LINE) {
        __builtin_prefetch(row + at, 0, 3);
    }
}

struct walk {
    const char *base;
    size_t stride;
    const uint32_t *order;
    const int8_t *code_query; /* NULL: floats */
    const float *query;
    uint32_t dimension;
    double sink; /* keeps the compiler from leaving the work out */
};

static void measure_four(struct walk *walk, const uint32_t *slots)
{
    const char *rows[4];
    for (int i = 0; i < 4; i++) {
        rows[i] = walk->base + slots[i] * walk->stride;
    }
    if (walk->code_query) {
        const uint8_t *const codes[4] = {(const uint8_t *)rows[0], (const uint8_t *)rows[1],
                                         (const uint8_t *)rows[2], (const uint8_t *)rows[3]};
        int32_t raw[4];
        ak_simd_get()->dot_u8s8_x4(walk->code_query, codes, walk->stride, raw);
        walk->sink += raw[0] + raw[1] + raw[2] + raw[3];
        return;
    }
    const float *const floats[4] = {
        (const float *)(const void *)rows[0], (const float *)(const void *)rows[1],
        (const float *)(const void *)rows[2], (const float *)(const void *)rows[3]};
    float out[4];
    ak_simd_get()->dot_x4(walk->query, floats, walk->dimension, out);
    walk->sink += (double)(out[0] + out[1] + out[2] + out[3]);
}

/* Nanoseconds a row: the best of some rounds, since others disturb and nothing helps. */
static double walk_ns(struct walk *walk)
{
    double best = 0.0;
    for (int round = 0; round < ROUNDS; round++) {
        int64_t began = ak_mono_ns(ak_clock_system());
        int64_t passed = 0;
        uint64_t rows = 0;
        while (passed < ROUND_NS) {
            for (uint32_t i = 0; i + AHEAD + 4 <= ORDER; i += 4) {
                for (uint32_t j = i + AHEAD; j < i + AHEAD + 4; j++) {
                    fetch(walk->base + walk->order[j] * walk->stride, walk->stride);
                }
                measure_four(walk, walk->order + i);
            }
            rows += ORDER - AHEAD;
            passed = ak_mono_ns(ak_clock_system()) - began;
        }
        double ns = (double)passed / (double)rows;
        best = round == 0 || ns < best ? ns : best;
    }
    return best;
}

enum ak_rc ak_ann_measure_floor(struct ak_ann *b, struct ak_err *err)
{
    uint32_t rows = b->base.count;
    size_t stride = ((size_t)b->base.dimension + LINE - 1) / LINE * LINE;
    struct ak_slab codes;
    struct ak_rand rand;
    ak_slab_init(&codes, stride, true, b->epoch);
    enum ak_rc rc = ak_slab_reserve(&codes, rows, err);
    if (rc != AK_OK) {
        ak_slab_release(&codes);
        return ak_wrap(err, rc, "rows to measure the floor on");
    }
    uint32_t *order = ak_alloc(ORDER * sizeof *order);
    int8_t *query = ak_alloc_aligned(LINE, stride);
    ak_rand_seed(&rand, 17);
    memset(query, 3, stride);
    for (uint32_t i = 0; i < rows; i++) {
        memset(ak_slab_row(&codes, i), (int)(i & 0x7f), stride);
    }
    for (uint32_t i = 0; i < ORDER; i++) {
        order[i] = (uint32_t)ak_rand_below(&rand, rows);
    }
    struct walk walk = {.base = ak_slab_base(&codes),
                        .stride = stride,
                        .order = order,
                        .code_query = query,
                        .dimension = b->base.dimension};
    b->code_ns = walk_ns(&walk);
    walk.base = (const char *)b->base.rows;
    walk.stride = b->base.dimension * sizeof(float);
    walk.code_query = NULL;
    walk.query = b->query.rows;
    b->row_ns = walk_ns(&walk);
    ak_free(order);
    ak_free(query);
    ak_slab_release(&codes);
    return AK_OK;
}
