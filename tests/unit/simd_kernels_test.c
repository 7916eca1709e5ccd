/* simd_kernels_test.c — every kernel table of this processor against plain f64 references.
 *
 * Tables are taken with ak_simd_get_isa(). What depends on the choice made once in a process (the
 * environment, the vector helpers) runs in a child for each choice: this process makes none. */
#include "base/mem.h"
#include "simd/simd.h"
#include "support/test.h"
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_SMALL 300
#define N_MAX 65535
#define VECTORS 5 /* a query and four rows */

static const size_t large[] = {384, 512, 768, 1024, 1536, 4096, N_MAX};
static const char *const isa_names[AK_ISA_COUNT] = {"scalar", "avx2", "avx512", "neon"};

static uint64_t rng_state;

static uint64_t random_u64(void) /* splitmix64 */
{
    rng_state += 0x9e3779b97f4a7c15u;
    uint64_t z = rng_state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static double random_unit(void) /* (−1, 1) */
{
    return (double)(int64_t)random_u64() * 0x1p-63;
}

/* Five vectors, each in its own pages with an unreadable one before and behind. */
struct guarded {
    uint8_t *map;
    size_t page;
    size_t room; /* readable bytes of each vector, whole pages */
};

static void guarded_init(struct guarded *g, size_t bytes)
{
    g->page = (size_t)sysconf(_SC_PAGESIZE);
    g->room = (bytes + g->page - 1) / g->page * g->page;
    size_t stride = g->room + g->page;
    void *map =
        mmap(NULL, VECTORS * stride + g->page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED);
    g->map = map;
    for (size_t v = 0; v < VECTORS; v++) {
        CHECK(mprotect(g->map + g->page + v * stride, g->room, PROT_READ | PROT_WRITE) == 0);
    }
}

static void guarded_release(struct guarded *g)
{
    (void)munmap(g->map, VECTORS * (g->room + g->page) + g->page);
}

/* Where `size` bytes of vector v lie when they end (or begin) right at an unreadable page. */
static void *guarded_at(const struct guarded *g, size_t v, size_t size, bool at_end)
{
    return g->map + g->page + v * (g->room + g->page) + (at_end ? g->room - size : 0);
}

/* How large the numbers of a vector are; MIXED spreads exponents over the range that is safe. */
enum magnitude { NORMAL, LARGE, SMALL, SUBNORMAL, MIXED, MAGNITUDES };

static float random_float(enum magnitude magnitude)
{
    static const double scales[] = {1, 3e16, 1e-20, 1e-40, 0};
    if (magnitude == MIXED) {
        return (float)ldexp(random_unit(), (int)(random_u64() % 174) - 120);
    }
    return (float)(random_unit() * scales[magnitude]);
}

static void check_float(const struct ak_simd *t, const char *kernel, size_t n, float got,
                        double want, double sum_abs)
{
    double bound = (double)(n + 1) * 0x1p-23 * sum_abs + (double)n * 0x1p-149;
    ak_test_counted();
    if (!(fabs((double)got - want) <= bound)) {
        ak_test_fail(__FILE__, __LINE__, "%s %s n=%zu: %.9g, want %.9g ± %.3g", t->name, kernel, n,
                     (double)got, want, bound);
    }
}

static void check_floats(const struct ak_simd *t, const float *query, const float *const rows[4],
                         size_t n)
{
    float dot4[4];
    float l24[4];
    t->dot_x4(query, rows, n, dot4);
    t->l2_x4(query, rows, n, l24);
    for (int r = 0; r < 4; r++) {
        double dot = 0;
        double dot_abs = 0;
        double l2 = 0;
        for (size_t i = 0; i < n; i++) {
            double product = (double)query[i] * (double)rows[r][i];
            double d = (double)query[i] - (double)rows[r][i];
            dot += product;
            dot_abs += fabs(product);
            l2 += d * d;
        }
        check_float(t, "dot", n, t->dot(query, rows[r], n), dot, dot_abs);
        check_float(t, "dot_x4", n, dot4[r], dot, dot_abs);
        check_float(t, "l2", n, t->l2(query, rows[r], n), l2, l2);
        check_float(t, "l2_x4", n, l24[r], l2, l2);
    }
}

static void fill_and_check_floats(const struct guarded *g, size_t n, size_t shift, bool at_end,
                                  enum magnitude magnitude)
{
    float *v[VECTORS];
    for (size_t i = 0; i < VECTORS; i++) {
        v[i] = (float *)guarded_at(g, i, n * sizeof(float), at_end) + (at_end ? 0 : shift);
        for (size_t k = 0; k < n; k++) {
            v[i][k] = random_float(magnitude);
        }
    }
    const float *const rows[4] = {v[1], v[2], v[3], v[4]};
    for (int isa = 0; isa < AK_ISA_COUNT; isa++) {
        const struct ak_simd *t = ak_simd_get_isa((enum ak_isa)isa);
        if (t) {
            check_floats(t, v[0], rows, n);
        }
    }
}

TEST(simd, float_kernels_stay_within_the_bound_and_touch_nothing_outside)
{
    struct guarded g;
    rng_state = ak_test_seed();
    guarded_init(&g, (N_SMALL + 16) * sizeof(float));
    for (size_t n = 1; n <= N_SMALL; n++) {
        for (int m = 0; m < MAGNITUDES; m++) {
            fill_and_check_floats(&g, n, 0, true, (enum magnitude)m);
            fill_and_check_floats(&g, n, 0, false, (enum magnitude)m);
        }
        fill_and_check_floats(&g, n, 1 + n % 15, false, NORMAL);
    }
    guarded_release(&g);
}

TEST(simd, float_kernels_stay_within_the_bound_for_long_vectors)
{
    struct guarded g;
    rng_state = ak_test_seed();
    guarded_init(&g, (N_MAX + 16) * sizeof(float));
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
        for (int m = 0; m < MAGNITUDES; m++) {
            fill_and_check_floats(&g, large[i], 0, true, (enum magnitude)m);
            fill_and_check_floats(&g, large[i], 3, false, (enum magnitude)m);
        }
    }
    guarded_release(&g);
}

/* Contents of byte vectors: the two constants drive every product to one extreme, the last ones
 * mix extremes and then all values. */
enum pattern { TOP_BOTTOM, TOP_TOP, BOTTOM_BOTTOM, EXTREMES, ANY, PATTERNS };

static uint8_t random_byte(enum pattern pattern, bool is_query)
{
    static const uint8_t extremes[] = {0, 1, 127, 128, 254, 255};
    switch (pattern) {
    case TOP_BOTTOM: /* u = 255, s = −128; as s8 pairs −1 and −128 */
        return is_query ? 0x80 : 0xff;
    case TOP_TOP: /* u = 255, s = 127 */
        return is_query ? 0x7f : 0xff;
    case BOTTOM_BOTTOM: /* −128 · −128 */
        return 0x80;
    case EXTREMES:
        return extremes[random_u64() % sizeof extremes];
    case ANY:
    case PATTERNS:
    default:
        return (uint8_t)random_u64();
    }
}

static void check_bytes(const struct ak_simd *t, uint8_t *const v[VECTORS], size_t n)
{
    const int8_t *query = (const int8_t *)v[0];
    const uint8_t *const rows[4] = {v[1], v[2], v[3], v[4]};
    int32_t dot4[4];
    t->dot_u8s8_x4(query, rows, n, dot4);
    for (int r = 0; r < 4; r++) {
        const int8_t *row = (const int8_t *)rows[r];
        int64_t u8s8 = 0;
        int64_t s8 = 0;
        int64_t l2 = 0;
        for (size_t i = 0; i < n; i++) {
            u8s8 += (int64_t)rows[r][i] * query[i];
            s8 += (int64_t)row[i] * query[i];
            l2 += ((int64_t)row[i] - query[i]) * ((int64_t)row[i] - query[i]);
        }
        CHECK_INT(t->dot_u8s8(rows[r], query, n), u8s8);
        CHECK_INT(dot4[r], u8s8);
        CHECK_INT(t->dot_s8(row, query, n), s8);
        CHECK_INT(t->l2_s8(row, query, n), l2);
    }
}

/* Codes of few bits, against sums over them one by one: `n` bytes a row. */
static void check_few_bits(const struct ak_simd *t, const int8_t *query,
                           const uint8_t *const rows[4], size_t n)
{
    int32_t four[4];
    int32_t one[4];
    t->dot_b1s8_x4(query, rows, n, one);
    if (n % 16 == 0) {
        t->dot_u4s8_x4(query, rows, n, four);
    }
    for (int r = 0; r < 4; r++) {
        int64_t u4 = 0;
        int64_t b1 = 0;
        for (size_t i = 0; i < 2 * n; i++) {
            u4 += (int64_t)(rows[r][i % n] >> (i < n ? 0 : 4) & 15) * query[i];
        }
        for (size_t i = 0; i < 8 * n; i++) {
            b1 += (rows[r][i / 8] >> (i % 8) & 1) ? query[i] : 0;
        }
        CHECK_INT(one[r], b1);
        CHECK(n % 16 != 0 || four[r] == u4);
    }
}

static void fill_and_check_few_bits(size_t n, enum pattern pattern)
{
    struct guarded g;
    guarded_init(&g, 8 * n);
    int8_t *query = (int8_t *)guarded_at(&g, 0, 8 * n, true);
    const uint8_t *rows[4];
    for (size_t k = 0; k < 8 * n; k++) {
        query[k] = (int8_t)random_byte(pattern, true);
    }
    for (size_t r = 0; r < 4; r++) {
        uint8_t *row = guarded_at(&g, r + 1, n, true);
        for (size_t k = 0; k < n; k++) {
            row[k] = random_byte(pattern, false);
        }
        rows[r] = row;
    }
    for (int isa = 0; isa < AK_ISA_COUNT; isa++) {
        const struct ak_simd *t = ak_simd_get_isa((enum ak_isa)isa);
        if (t) {
            check_few_bits(t, query, rows, n);
        }
    }
    guarded_release(&g);
}

static void fill_and_check_bytes(const struct guarded *g, size_t n, size_t shift, bool at_end,
                                 enum pattern pattern)
{
    uint8_t *v[VECTORS];
    for (size_t i = 0; i < VECTORS; i++) {
        v[i] = (uint8_t *)guarded_at(g, i, n, at_end) + (at_end ? 0 : shift);
        for (size_t k = 0; k < n; k++) {
            v[i][k] = random_byte(pattern, i == 0);
        }
    }
    for (int isa = 0; isa < AK_ISA_COUNT; isa++) {
        const struct ak_simd *t = ak_simd_get_isa((enum ak_isa)isa);
        if (t) {
            check_bytes(t, v, n);
        }
    }
}

TEST(simd, byte_kernels_are_exact_and_touch_nothing_outside)
{
    struct guarded g;
    rng_state = ak_test_seed();
    guarded_init(&g, N_MAX + 64);
    for (size_t n = 1; n <= N_SMALL; n++) {
        for (int p = 0; p < PATTERNS; p++) {
            fill_and_check_bytes(&g, n, 0, true, (enum pattern)p);
            fill_and_check_bytes(&g, n, n % 7, false, (enum pattern)p);
        }
    }
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
        for (int p = 0; p < PATTERNS; p++) {
            fill_and_check_bytes(&g, large[i], 0, true, (enum pattern)p);
            fill_and_check_bytes(&g, large[i], 13, false, (enum pattern)p);
        }
    }
    guarded_release(&g);
}

TEST(simd, kernels_of_few_bits_are_exact_and_touch_nothing_outside)
{
    rng_state = ak_test_seed();
    for (size_t n = 8; n <= 512; n += 8) {
        for (int p = 0; p < PATTERNS; p++) {
            fill_and_check_few_bits(n, (enum pattern)p);
        }
    }
    fill_and_check_few_bits(8192, TOP_BOTTOM);
    fill_and_check_few_bits(8192, ANY);
}

TEST(simd, the_largest_squared_distance_of_bytes_is_exact)
{
    int8_t *a = ak_alloc(N_MAX);
    int8_t *b = ak_alloc(N_MAX);
    memset(a, INT8_MIN, N_MAX);
    memset(b, INT8_MAX, N_MAX);
    for (int isa = 0; isa < AK_ISA_COUNT; isa++) {
        const struct ak_simd *t = ak_simd_get_isa((enum ak_isa)isa);
        if (t) {
            CHECK_INT(t->l2_s8(a, b, N_MAX), 65025LL * N_MAX);
            CHECK_INT(t->l2_s8(b, a, N_MAX), 65025LL * N_MAX);
        }
    }
    ak_free(a);
    ak_free(b);
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* By the definition of binary16: sign, 5 bits of exponent with bias 15, 10 of fraction. */
static uint32_t float_bits_of_half(uint16_t half)
{
    uint32_t sign = (uint32_t)(half >> 15) << 31;
    int exponent = half >> 10 & 31;
    int fraction = half & 1023;
    if (exponent == 31) {
        uint32_t payload = (uint32_t)fraction << 13;
        return sign | 0x7f800000u | (fraction ? 0x00400000u | payload : 0);
    }
    double value = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return sign | bits_of((float)value);
}

static uint16_t half_of_float(float value)
{
    uint32_t bits = bits_of(value);
    uint16_t sign = (uint16_t)(bits >> 31 << 15);
    double magnitude = fabs((double)value);
    if (isnan(value)) {
        return (uint16_t)(sign | 0x7e00 | (bits >> 13 & 0x1ff));
    }
    if (magnitude >= 65520) {
        return (uint16_t)(sign | 0x7c00);
    }
    int exponent = magnitude < 0x1p-14 ? -14 : ilogb(magnitude);
    int steps = (int)rint(ldexp(magnitude, 10 - exponent)); /* ties to even, the default mode */
    return (uint16_t)(sign | (((exponent + 14) << 10) + steps));
}

static void check_to_half(const float *in, size_t n)
{
    for (int isa = 0; isa < AK_ISA_COUNT; isa++) {
        const struct ak_simd *t = ak_simd_get_isa((enum ak_isa)isa);
        uint16_t *out = ak_alloc((n + 1) * sizeof *out);
        if (t) {
            out[n] = 0x1234;
            t->f32_to_f16(in, out, n);
            for (size_t i = 0; i < n; i++) {
                ak_test_counted();
                if (out[i] != half_of_float(in[i])) {
                    ak_test_fail(__FILE__, __LINE__, "%s: 0x%08x gave 0x%04x, want 0x%04x", t->name,
                                 bits_of(in[i]), out[i], half_of_float(in[i]));
                }
            }
            CHECK_INT(out[n], 0x1234);
        }
        ak_free(out);
    }
}

TEST(simd, every_half_becomes_the_float_it_names_and_comes_back)
{
    uint16_t *halves = ak_alloc(65536 * sizeof *halves);
    float *floats = ak_alloc(65536 * sizeof *floats);
    uint16_t *back = ak_alloc(65536 * sizeof *back);
    for (uint32_t i = 0; i < 65536; i++) {
        halves[i] = (uint16_t)i;
    }
    for (int isa = 0; isa < AK_ISA_COUNT; isa++) {
        const struct ak_simd *t = ak_simd_get_isa((enum ak_isa)isa);
        if (!t) {
            continue;
        }
        t->f16_to_f32(halves, floats, 65536);
        t->f32_to_f16(floats, back, 65536);
        for (uint32_t i = 0; i < 65536; i++) {
            bool is_nan = (i & 0x7fff) > 0x7c00;
            CHECK_INT(bits_of(floats[i]), float_bits_of_half((uint16_t)i));
            CHECK_INT(back[i], is_nan ? i | 0x200 : i);
        }
    }
    ak_free(halves);
    ak_free(floats);
    ak_free(back);
}

TEST(simd, floats_become_the_nearest_half_with_ties_to_even)
{
    enum { COUNT = 2 * 5 * 0x7c00 };
    float *in = ak_alloc(COUNT * sizeof *in);
    size_t n = 0;
    for (uint16_t half = 0; half < 0x7c00; half++) {
        float at = float_of(float_bits_of_half(half));
        float next = half == 0x7bff ? 65536.0f : float_of(float_bits_of_half((uint16_t)(half + 1)));
        float tie = (at + next) / 2;
        const float near[] = {at, nextafterf(at, INFINITY), nextafterf(tie, 0), tie,
                              nextafterf(tie, INFINITY)};
        for (size_t k = 0; k < 5; k++) {
            in[n++] = near[k];
            in[n++] = -near[k];
        }
    }
    CHECK_INT(n, COUNT);
    check_to_half(in, n);
    ak_free(in);
}

TEST(simd, any_bits_of_a_float_become_the_right_half)
{
    enum { COUNT = 100003 };
    float *in = ak_alloc(COUNT * sizeof *in);
    static const uint32_t special[] = {0,          0x80000000, 0x7f800000, 0xff800000, 0x7f800001,
                                       0xff800001, 0x7fc00000, 0x7fffffff, 0x7fa00000, 0x00000001,
                                       0x007fffff, 0x00800000, 0x7f7fffff, 0x477fefff, 0x477ff000,
                                       0x33000000, 0x33000001, 0x32ffffff, 0x387fffff, 0x38800000};
    rng_state = ak_test_seed();
    for (size_t i = 0; i < COUNT; i++) {
        uint32_t bits = (uint32_t)random_u64();
        if (i % 2) { /* every other one in the range where halves are finite */
            bits = (bits & 0x807fffffu) | (uint32_t)(100 + random_u64() % 45) << 23;
        }
        in[i] = float_of(i < sizeof special / sizeof special[0] ? special[i] : bits);
    }
    check_to_half(in, COUNT);
    ak_free(in);
}

TEST(simd, conversions_of_every_length_write_their_elements_and_no_more)
{
    struct guarded g;
    rng_state = ak_test_seed();
    guarded_init(&g, 100 * sizeof(float));
    for (size_t n = 1; n <= 100; n++) {
        uint16_t *half = guarded_at(&g, 0, n * sizeof *half, true);
        float *value = guarded_at(&g, 1, n * sizeof *value, true);
        uint16_t *half_out = guarded_at(&g, 2, n * sizeof *half_out, true);
        float *value_out = guarded_at(&g, 3, n * sizeof *value_out, true);
        for (int isa = 0; isa < AK_ISA_COUNT; isa++) {
            const struct ak_simd *t = ak_simd_get_isa((enum ak_isa)isa);
            for (size_t i = 0; t && i < n; i++) {
                half[i] = (uint16_t)random_u64();
                value[i] = float_of((uint32_t)random_u64());
            }
            if (t) {
                t->f16_to_f32(half, value_out, n);
                t->f32_to_f16(value, half_out, n);
            }
            for (size_t i = 0; t && i < n; i++) {
                CHECK_INT(bits_of(value_out[i]), float_bits_of_half(half[i]));
                CHECK_INT(half_out[i], half_of_float(value[i]));
            }
        }
    }
    guarded_release(&g);
}

static bool said(bool holds, const char *what, size_t n)
{
    if (!holds) {
        (void)fprintf(stderr, "    %s: %s, n=%zu\n", ak_simd_get()->name, what, n);
    }
    return holds;
}

/* The vector of n at v ends at an unreadable page. */
static bool helpers_hold_for(float *v, size_t n)
{
    static const uint32_t bad[] = {0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffffffff};
    long double sum = 0;
    for (size_t i = 0; i < n; i++) {
        v[i] = i % 3 == 0 ? copysignf(FLT_MAX, (float)random_unit()) : random_float(MIXED);
        sum += (long double)v[i] * (long double)v[i];
    }
    double want = (double)sqrtl(sum);
    bool ok = said(ak_f32_all_finite(v, n, NULL), "finite vector refused", n);
    ok = said(fabs(ak_f32_norm(v, n) - want) <= want * (double)(n + 2) * 0x1p-52, "norm", n) && ok;
    size_t step = n > N_SMALL ? 997 : 1;
    for (size_t i = 0; i < n; i += step) {
        size_t at = n + 1;
        float kept = v[i];
        float kept_last = v[n - 1];
        v[i] = float_of(bad[i % 5]);
        ok = said(!ak_f32_all_finite(v, n, &at) && at == i, "one bad element", n) && ok;
        v[n - 1] = float_of(bad[(i + 1) % 5]);
        ok = said(!ak_f32_all_finite(v, n, &at) && at == i, "first of two bad elements", n) && ok;
        v[n - 1] = kept_last;
        v[i] = kept;
    }
    return ok;
}

static bool helpers_hold(void)
{
    struct guarded g;
    guarded_init(&g, N_MAX * sizeof(float));
    bool ok = true;
    for (size_t n = 1; n <= N_SMALL; n++) {
        ok = helpers_hold_for(guarded_at(&g, 0, n * sizeof(float), true), n) && ok;
    }
    ok = helpers_hold_for(guarded_at(&g, 0, N_MAX * sizeof(float), true), N_MAX) && ok;
    guarded_release(&g);
    return ok;
}

static void *get_table(void *arg)
{
    *(const struct ak_simd **)arg = ak_simd_get();
    return NULL;
}

static bool threads_agree(void)
{
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    const struct ak_simd *got[THREADS];
    bool ok = true;
    for (int i = 0; i < THREADS; i++) {
        ok = pthread_create(&threads[i], NULL, get_table, &got[i]) == 0 && ok;
    }
    for (int i = 0; ok && i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
        ok = said(got[i] == ak_simd_get(), "two tables in one process", 0) && ok;
    }
    return ok;
}

/* In a child that has AKIDB_SIMD=name: the table is `want`, to every thread; the helpers work. */
static void check_choice(const char *name, const struct ak_simd *want)
{
    (void)fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        bool ok = (name ? setenv("AKIDB_SIMD", name, 1) : unsetenv("AKIDB_SIMD")) == 0;
        ok = threads_agree() && ok;
        ok = said(ak_simd_get() == want, "is not the table asked for", 0) && ok;
        _exit(helpers_hold() && ok ? 0 : 1);
    }
    int status = -1;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK_INT(status, 0);
}

TEST(simd, the_best_table_is_chosen_or_the_one_asked_for_and_the_helpers_work_on_each)
{
    const struct ak_simd *best = NULL;
    rng_state = ak_test_seed();
    for (int isa = 0; isa < AK_ISA_COUNT; isa++) {
        const struct ak_simd *t = ak_simd_get_isa((enum ak_isa)isa);
        best = t ? t : best;
    }
    CHECK(best != NULL);
    for (int isa = 0; isa < AK_ISA_COUNT; isa++) {
        const struct ak_simd *t = ak_simd_get_isa((enum ak_isa)isa);
        check_choice(isa_names[isa], t ? t : best);
    }
    check_choice("mmx", best);
    check_choice(NULL, best);
    (void)printf("         tables up to %s\n", best->name);
}

TEST(simd, the_hadamard_transform_is_its_own_inverse_and_agrees_with_its_definition)
{
    enum { N = 1024 };
    static float x[N + 1];
    static double want[N];
    for (int isa = 0; isa < AK_ISA_COUNT; isa++) {
        const struct ak_simd *simd = ak_simd_get_isa((enum ak_isa)isa);
        for (size_t n = 1; simd && n <= N; n *= 2) {
            double first[N];
            rng_state = n;
            for (size_t i = 0; i < n; i++) {
                x[i] = (float)random_unit();
                first[i] = (double)x[i];
            }
            x[n] = 77.0f;
            for (size_t i = 0; i < n && n <= 256; i++) {
                want[i] = 0;
                for (size_t j = 0; j < n; j++) {
                    want[i] += __builtin_popcountll(i & j) % 2 ? -first[j] : first[j];
                }
            }
            simd->fht(x, n);
            for (size_t i = 0; i < n && n <= 256; i++) {
                CHECK(fabs((double)x[i] - want[i]) < 1e-4);
            }
            simd->fht(x, n);
            for (size_t i = 0; i < n; i++) {
                CHECK(fabs((double)x[i] / (double)n - first[i]) < 1e-5);
            }
            CHECK(x[n] == 77.0f);
        }
    }
}

TEST(simd, a_table_names_its_instruction_set)
{
    CHECK(ak_simd_get_isa(AK_ISA_SCALAR) != NULL);
    CHECK(ak_simd_get_isa(AK_ISA_COUNT) == NULL);
    for (int isa = 0; isa < AK_ISA_COUNT; isa++) {
        const struct ak_simd *t = ak_simd_get_isa((enum ak_isa)isa);
        if (t) {
            CHECK_INT(t->isa, isa);
            CHECK(strncmp(t->name, isa_names[isa], strlen(isa_names[isa])) == 0);
        }
    }
}

TEST_MAIN()
