/* simd.c — which kernels this process uses.
 *
 * A table is offered when its whole instruction set is there and the operating system saves its
 * registers: __builtin_cpu_supports() asks XGETBV for AVX and AVX-512 alike. AVX-512 means
 * F+BW+DQ+VL+VNNI here; a processor with AVX-512 but without VNNI runs the AVX2 table, since
 * the compiler may use VNNI anywhere in a file compiled for it. */
#include "simd/simd.h"
#include "simd/simd_priv.h"
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#if defined(__x86_64__)
/* Neither compiler of ours knows every name below, so this one is read from the processor; its
 * registers are those of AVX. */
static bool has_f16c(void)
{
    unsigned eax = 0;
    unsigned ebx = 0;
    unsigned ecx = 0;
    unsigned edx = 0;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
}

static bool has_avx2(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && has_f16c();
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}
#endif

static const struct ak_simd_kernels *kernels_of(enum ak_isa isa)
{
    if (isa == AK_ISA_SCALAR) {
        return &ak_simd_scalar;
    }
#if defined(__x86_64__)
    if (isa == AK_ISA_AVX2 && has_avx2()) {
        return &ak_simd_avx2;
    }
    if (isa == AK_ISA_AVX512 && has_avx512()) {
        return &ak_simd_avx512;
    }
#elif defined(__aarch64__)
    if (isa == AK_ISA_NEON) {
        return getauxval(AT_HWCAP) & HWCAP_ASIMDDP ? &ak_simd_neon_dotprod : &ak_simd_neon;
    }
#endif
    return NULL;
}

static const struct ak_simd_kernels *kernels_wanted(void)
{
    static const char *const names[AK_ISA_COUNT] = {"scalar", "avx2", "avx512", "neon"};
    const char *wanted = getenv("AKIDB_SIMD");
    if (!wanted) {
        return NULL;
    }
    for (int isa = 0; isa < AK_ISA_COUNT; isa++) {
        if (strcmp(wanted, names[isa]) == 0) {
            return kernels_of((enum ak_isa)isa);
        }
    }
    return NULL;
}

static const struct ak_simd_kernels *detect(void)
{
    const struct ak_simd_kernels *found = kernels_wanted();
    for (int isa = AK_ISA_COUNT - 1; !found; isa--) {
        found = kernels_of((enum ak_isa)isa);
    }
    return found;
}

static const struct ak_simd_kernels *kernels(void)
{
    /* Relaxed is enough: what it points to is constant data, in place before the process starts.
     * The exchange makes every thread agree even if the environment changes between two. */
    static _Atomic(const struct ak_simd_kernels *) chosen = NULL;
    const struct ak_simd_kernels *now = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (!now) {
        const struct ak_simd_kernels *found = detect();
        now = atomic_compare_exchange_strong(&chosen, &now, found) ? found : now;
    }
    return now;
}

const struct ak_simd *ak_simd_get(void)
{
    return &kernels()->table;
}

const struct ak_simd *ak_simd_get_isa(enum ak_isa isa)
{
    const struct ak_simd_kernels *found = kernels_of(isa);
    return found ? &found->table : NULL;
}

bool ak_f32_all_finite(const float *v, size_t n, size_t *at)
{
    if (kernels()->all_finite(v, n)) {
        return true;
    }
    size_t first = 0;
    while (first + 1 < n && isfinite(v[first])) {
        first++;
    }
    if (at) {
        *at = first;
    }
    return false;
}

double ak_f32_norm(const float *v, size_t n)
{
    return sqrt(kernels()->sum_of_squares(v, n));
}
