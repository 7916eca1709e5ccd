/* hash.h — CRC32C for stored bytes, XXH3 for tables, SHA-256 for the outside.
 *
 * CRC32C (Castagnoli, RFC 3720 B.4): hardware where there is any, chosen once. Threads: any.
 */
#pragma once
#include "base/str.h"

/* Continue a CRC: start with 0, feed the former result to go on. */
uint32_t ak_crc32c(uint32_t crc, const void *p, size_t len);
uint64_t ak_hash64(const void *p, size_t len); /* XXH3-64, seed 0: stable on disk */
static inline uint64_t ak_hash64_str(struct ak_str s)
{
    return ak_hash64(s.p, s.len);
}
/* SplitMix64 finaliser: a cheap mix of an integer key. */
static inline uint64_t ak_mix64(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}
void ak_sha256(const void *p, size_t len, uint8_t digest[32]);
/* SHA-256 of bytes that come in parts: init, any number of updates, final. One thread at a time. */
struct ak_sha256 {
    void *state; /* NULL: neither begun nor under way */
};
void ak_sha256_init(struct ak_sha256 *hash);
void ak_sha256_update(struct ak_sha256 *hash, const void *p, size_t len);
void ak_sha256_final(struct ak_sha256 *hash, uint8_t digest[32]); /* and releases */
void ak_sha256_release(struct ak_sha256 *hash); /* one that is given up; idempotent */
/* Of `len` bytes that `read` gives in steps, front to back; its failure is returned. */
typedef enum ak_rc (*ak_hash_read_fn)(void *ctx, uint64_t at, void *p, size_t len,
                                      struct ak_err *err);
AK_MUST enum ak_rc ak_sha256_read(ak_hash_read_fn read, void *ctx, uint64_t len, uint8_t digest[32],
                                  struct ak_err *err);
const char *ak_hash_openssl_version(void); /* of the library in use: "3.0.17" */
