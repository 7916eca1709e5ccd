/* crc.c — CRC-32 with zlib's polynomial, 0xedb88320 reflected: the checksum of Parquet's pages.
 *
 * x86: 64 bytes a step folded by carry-less multiplication (Gopal et al., "Fast CRC Computation for
 * Generic Polynomials Using PCLMULQDQ Instruction", Intel 2009; the constants are those of its
 * reflected form). ARMv8: the CRC32 instructions. Elsewhere: eight tables (Kounavis & Berry 2005).
 */
#include "parquet/parquet_priv.h"
#include <pthread.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <arm_neon.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

static uint32_t tables[8][256];
static uint32_t (*fast)(uint32_t crc, const uint8_t *p, size_t len);
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* All steps below work on the inverted checksum. */
static uint32_t step_tables(uint32_t crc, const uint8_t *p, size_t len)
{
    for (; len >= 8; p += 8, len -= 8) {
        uint32_t low = crc ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
                              (uint32_t)p[3] << 24);
        crc = tables[7][low & 255] ^ tables[6][low >> 8 & 255] ^ tables[5][low >> 16 & 255] ^
              tables[4][low >> 24] ^ tables[3][p[4]] ^ tables[2][p[5]] ^ tables[1][p[6]] ^
              tables[0][p[7]];
    }
    for (; len > 0; p++, len--) {
        crc = tables[0][(crc ^ *p) & 255] ^ crc >> 8;
    }
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("pclmul,sse4.1"))) static inline __m128i fold(__m128i x, __m128i k,
                                                                    __m128i next)
{
    __m128i low = _mm_clmulepi64_si128(x, k, 0x00);
    __m128i high = _mm_clmulepi64_si128(x, k, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

static inline __m128i load(const uint8_t *p)
{
    __m128i x;
    memcpy(&x, p, sizeof x);
    return x;
}

__attribute__((target("pclmul,sse4.1"))) static uint32_t step_pclmul(uint32_t crc, const uint8_t *p,
                                                                     size_t len)
{
    if (len < 64) {
        return step_tables(crc, p, len);
    }
    const __m128i k12 = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4); /* x^(512±32) */
    const __m128i k34 = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0); /* x^(128±32) */
    const __m128i k5 = _mm_set_epi64x(0, 0x0163cd6124);             /* x^64 */
    const __m128i poly = _mm_set_epi64x(0x01f7011641, 0x01db710641);
    const __m128i low32 = _mm_setr_epi32(~0, 0, ~0, 0);
    __m128i x0 = _mm_xor_si128(load(p), _mm_cvtsi32_si128((int)crc));
    __m128i x1 = load(p + 16);
    __m128i x2 = load(p + 32);
    __m128i x3 = load(p + 48);
    for (p += 64, len -= 64; len >= 64; p += 64, len -= 64) {
        x0 = fold(x0, k12, load(p));
        x1 = fold(x1, k12, load(p + 16));
        x2 = fold(x2, k12, load(p + 32));
        x3 = fold(x3, k12, load(p + 48));
    }
    __m128i x = fold(fold(fold(x0, k34, x1), k34, x2), k34, x3);
    for (; len >= 16; p += 16, len -= 16) {
        x = fold(x, k34, load(p));
    }
    /* 128 bits to 64, then to 32 by Barrett's reduction. */
    __m128i y = _mm_clmulepi64_si128(x, k34, 0x10);
    x = _mm_xor_si128(_mm_srli_si128(x, 8), y);
    y = _mm_srli_si128(x, 4);
    x = _mm_clmulepi64_si128(_mm_and_si128(x, low32), k5, 0x00);
    x = _mm_xor_si128(x, y);
    y = _mm_clmulepi64_si128(_mm_and_si128(x, low32), poly, 0x10);
    y = _mm_clmulepi64_si128(_mm_and_si128(y, low32), poly, 0x00);
    x = _mm_xor_si128(x, y);
    return step_tables((uint32_t)_mm_extract_epi32(x, 1), p, len);
}
#elif defined(__aarch64__) && defined(__linux__)
#ifdef __clang__
#define TARGET_CRC "crc"
#define CRC_8 __builtin_arm_crc32b
#define CRC_64 __builtin_arm_crc32d
#else
#define TARGET_CRC "+crc"
#define CRC_8 __builtin_aarch64_crc32b
#define CRC_64 __builtin_aarch64_crc32x
#endif

__attribute__((target(TARGET_CRC))) static uint32_t step_arm(uint32_t crc, const uint8_t *p,
                                                             size_t len)
{
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        crc = CRC_64(crc, word);
    }
    for (; len > 0; p++, len--) {
        crc = CRC_8(crc, *p);
    }
    return crc;
}
#endif

static void choose(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        }
        tables[0][i] = crc;
    }
    for (int t = 1; t < 8; t++) {
        for (uint32_t i = 0; i < 256; i++) {
            tables[t][i] = tables[0][tables[t - 1][i] & 255] ^ tables[t - 1][i] >> 8;
        }
    }
    fast = step_tables;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1")) {
        fast = step_pclmul;
    }
#elif defined(__aarch64__) && defined(__linux__)
    if (getauxval(AT_HWCAP) & HWCAP_CRC32) {
        fast = step_arm;
    }
#endif
}

uint32_t ak_parquet_crc32(uint32_t crc, const void *p, size_t len)
{
    (void)pthread_once(&once, choose);
    return ~fast(~crc, p, len);
}

uint32_t ak_parquet_crc32_tables(uint32_t crc, const void *p, size_t len)
{
    (void)pthread_once(&once, choose);
    return ~step_tables(~crc, p, len);
}
