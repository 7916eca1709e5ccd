/* hash.c — CRC32C by instruction or by table, XXH3, SHA-256.
 *
 * CRC32C on x86-64: the crc32 instruction takes three cycles and one can start every cycle, so
 * three neighbouring blocks A B C of n bytes run side by side; then, with crc(·) as polynomials,
 *     crc(ABC) = crc(A)·x^(16n) + crc(B)·x^(8n) + crc(C)  mod P
 * The products are carry-less multiplications by x^(16n-33) and x^(8n-33); the crc32 instruction
 * that reduces them supplies the x^32, and the bit-reflected product the missing x (Gopal et al.
 * 2011, "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction").
 */
#include "base/hash.h"
#include "base/hash_priv.h"
#include "base/mem.h"
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define HASH_STEP ((size_t)256 << 10) /* bytes of one read */

#define XXH_INLINE_ALL
#include <xxhash.h>

#define POLYNOMIAL 0x82f63b78u /* Castagnoli, bit-reflected */

static uint64_t load64(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* Slicing by 8 (Kounavis & Berry 2005): table[k][b] is the CRC of byte b with k zeros after it. */
static uint32_t table[8][256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void fill_table(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
        }
        table[0][b] = crc;
    }
    for (int k = 1; k < 8; k++) {
        for (uint32_t b = 0; b < 256; b++) {
            uint32_t crc = table[k - 1][b];
            table[k][b] = (crc >> 8) ^ table[0][crc & 0xff];
        }
    }
}

uint32_t ak_crc32c_by_table(uint32_t crc, const void *p, size_t len)
{
    const uint8_t *at = p;
    (void)pthread_once(&table_once, fill_table);
    crc = ~crc;
    for (; len >= 8; at += 8, len -= 8) {
        uint32_t low = crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
                              (uint32_t)at[3] << 24);
        crc = table[7][low & 0xff] ^ table[6][(low >> 8) & 0xff] ^ table[5][(low >> 16) & 0xff] ^
              table[4][low >> 24] ^ table[3][at[4]] ^ table[2][at[5]] ^ table[1][at[6]] ^
              table[0][at[7]];
    }
    for (; len; at++, len--) {
        crc = (crc >> 8) ^ table[0][(crc ^ *at) & 0xff];
    }
    return ~crc;
}

#if defined(__x86_64__)
#include <immintrin.h>

#define BIG ((size_t)512)       /* bytes of one of three blocks */
#define BIG_SHIFT_2 0x170076fau /* x^(16·512-33) mod P, bit-reflected */
#define BIG_SHIFT_1 0xdd7e3b0cu /* x^(8·512-33) mod P */
#define SMALL ((size_t)64)
#define SMALL_SHIFT_2 0x0d3b6092u /* x^(16·64-33) mod P */
#define SMALL_SHIFT_1 0x9e4addf8u /* x^(8·64-33) mod P */

/* The CRC state after three blocks of n bytes (a multiple of 8) at p. */
__attribute__((target("sse4.2,pclmul"), always_inline)) static inline uint64_t
three_blocks(uint64_t crc, const uint8_t *p, size_t n, uint32_t shift_2, uint32_t shift_1)
{
    uint64_t b = 0;
    uint64_t c = 0;
    for (size_t i = 0; i < n; i += 8) {
        crc = _mm_crc32_u64(crc, load64(p + i));
        b = _mm_crc32_u64(b, load64(p + n + i));
        c = _mm_crc32_u64(c, load64(p + 2 * n + i));
    }
    __m128i shifted_a = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc),
                                             _mm_cvtsi64_si128((long long)shift_2), 0);
    __m128i shifted_b = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)b),
                                             _mm_cvtsi64_si128((long long)shift_1), 0);
    uint64_t sum = (uint64_t)_mm_cvtsi128_si64(_mm_xor_si128(shifted_a, shifted_b));
    return _mm_crc32_u64(0, sum) ^ c;
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t by_instruction(uint32_t start,
                                                                        const void *p, size_t len)
{
    const uint8_t *at = p;
    uint64_t crc = ~start;
    for (; len >= 3 * BIG; at += 3 * BIG, len -= 3 * BIG) {
        crc = three_blocks(crc, at, BIG, BIG_SHIFT_2, BIG_SHIFT_1);
    }
    for (; len >= 3 * SMALL; at += 3 * SMALL, len -= 3 * SMALL) {
        crc = three_blocks(crc, at, SMALL, SMALL_SHIFT_2, SMALL_SHIFT_1);
    }
    for (; len >= 8; at += 8, len -= 8) {
        crc = _mm_crc32_u64(crc, load64(at));
    }
    uint32_t tail = (uint32_t)crc;
    for (; len; at++, len--) {
        tail = _mm_crc32_u8(tail, *at);
    }
    return ~tail;
}

static bool has_instruction(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>

#if defined(__clang__)
#define TARGET_CRC __attribute__((target("crc")))
#else
#define TARGET_CRC __attribute__((target("+crc")))
#endif

/* The builtins stand for arm_acle.h, which shows them only when the whole file has the feature. */
#if defined(__clang__)
#define CRC_8_BYTES(crc, word) __builtin_arm_crc32cd(crc, word)
#define CRC_1_BYTE(crc, byte) __builtin_arm_crc32cb(crc, byte)
#else
#define CRC_8_BYTES(crc, word) __builtin_aarch64_crc32cx(crc, word)
#define CRC_1_BYTE(crc, byte) __builtin_aarch64_crc32cb(crc, byte)
#endif

TARGET_CRC static uint32_t by_instruction(uint32_t start, const void *p, size_t len)
{
    const uint8_t *at = p;
    uint32_t crc = ~start;
    for (; len >= 8; at += 8, len -= 8) {
        crc = CRC_8_BYTES(crc, load64(at));
    }
    for (; len; at++, len--) {
        crc = CRC_1_BYTE(crc, *at);
    }
    return ~crc;
}

static bool has_instruction(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}
#else
static uint32_t by_instruction(uint32_t start, const void *p, size_t len)
{
    return ak_crc32c_by_table(start, p, len);
}

static bool has_instruction(void)
{
    return false;
}
#endif

typedef uint32_t (*crc_fn)(uint32_t crc, const void *p, size_t len);

static uint32_t choose_then_run(uint32_t crc, const void *p, size_t len);

/* Relaxed, paired with itself: any thread may choose, all choose alike, and the functions depend
 * on nothing that the store would have to publish. */
static _Atomic(crc_fn) chosen = choose_then_run;

static uint32_t choose_then_run(uint32_t crc, const void *p, size_t len)
{
    crc_fn fn = has_instruction() ? by_instruction : ak_crc32c_by_table;
    atomic_store_explicit(&chosen, fn, memory_order_relaxed);
    return fn(crc, p, len);
}

uint32_t ak_crc32c(uint32_t crc, const void *p, size_t len)
{
    return atomic_load_explicit(&chosen, memory_order_relaxed)(crc, p, len);
}

uint64_t ak_hash64(const void *p, size_t len)
{
    return XXH3_64bits(p, len);
}

void ak_sha256(const void *p, size_t len, uint8_t digest[32])
{
    int done = EVP_Digest(p, len, digest, NULL, EVP_sha256(), NULL);
    AK_ASSERT(done == 1);
}

void ak_sha256_init(struct ak_sha256 *hash)
{
    EVP_MD_CTX *state = EVP_MD_CTX_new();
    AK_ASSERT(state != NULL && EVP_DigestInit_ex(state, EVP_sha256(), NULL) == 1);
    hash->state = state;
}

void ak_sha256_update(struct ak_sha256 *hash, const void *p, size_t len)
{
    int done = EVP_DigestUpdate(hash->state, p, len);
    AK_ASSERT(done == 1);
}

void ak_sha256_final(struct ak_sha256 *hash, uint8_t digest[32])
{
    int done = EVP_DigestFinal_ex(hash->state, digest, NULL);
    AK_ASSERT(done == 1);
    ak_sha256_release(hash);
}

void ak_sha256_release(struct ak_sha256 *hash)
{
    EVP_MD_CTX_free(hash->state);
    hash->state = NULL;
}

enum ak_rc ak_sha256_read(ak_hash_read_fn read, void *ctx, uint64_t len, uint8_t digest[32],
                          struct ak_err *err)
{
    struct ak_sha256 hash = {NULL};
    size_t cap = len < HASH_STEP ? (size_t)len : HASH_STEP;
    char *step = ak_try_alloc(cap + 1);
    enum ak_rc rc = step ? AK_OK : ak_fail(err, AK_NOMEM, "no memory to hash %zu bytes", cap);
    if (rc == AK_OK) {
        ak_sha256_init(&hash);
    }
    for (uint64_t at = 0; rc == AK_OK && at < len;) {
        size_t n = len - at < cap ? (size_t)(len - at) : cap;
        rc = read(ctx, at, step, n, err);
        if (rc == AK_OK) {
            ak_sha256_update(&hash, step, n);
        }
        at += n;
    }
    if (rc == AK_OK) {
        ak_sha256_final(&hash, digest);
    }
    ak_sha256_release(&hash);
    ak_free(step);
    return rc;
}

const char *ak_hash_openssl_version(void)
{
    return OpenSSL_version(OPENSSL_VERSION_STRING);
}
