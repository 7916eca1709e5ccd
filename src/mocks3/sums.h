/* sums.h — the checksums of S3, computed while bytes pass by, and their texts.
 *
 * CRC-32 and CRC-64/NVME: reflected, eight table steps a round. CRC-32C: base/hash.h. MD5, SHA-1
 * and SHA-256: OpenSSL. On the wire a checksum is the base64 of its big-endian bytes.
 *
 * Threads: a struct belongs to one at a time. Memory: ak_mock_sums_release() gives it back.
 */
#pragma once
#include "base/str.h"

enum ak_mock_sum {
    AK_MOCK_CRC32,
    AK_MOCK_CRC32C,
    AK_MOCK_CRC64NVME,
    AK_MOCK_SHA1,
    AK_MOCK_SHA256,
    AK_MOCK_MD5,
    AK_MOCK_SUM_COUNT,
    AK_MOCK_SUM_NONE = AK_MOCK_SUM_COUNT
};
#define AK_MOCK_CHECKSUMS AK_MOCK_MD5 /* the first so many are S3's x-amz-checksum-… */
#define AK_MOCK_SUM_BYTES_MAX 32u
#define AK_MOCK_SUM_TEXT_MAX 45u /* base64 of 32 bytes, and NUL */

struct ak_mock_sums {
    unsigned wanted; /* bits 1 << kind */
    uint32_t crc32;
    uint32_t crc32c;
    uint64_t crc64;
    void *digests[AK_MOCK_SUM_COUNT]; /* OpenSSL contexts of those that need one */
};

/* Start the sums whose bits are set. AK_NOMEM: nothing is held. */
AK_MUST enum ak_rc ak_mock_sums_init(struct ak_mock_sums *sums, unsigned wanted,
                                     struct ak_err *err);
void ak_mock_sums_release(struct ak_mock_sums *sums); /* idempotent; fine on zeroes */
void ak_mock_sums_add(struct ak_mock_sums *sums, struct ak_str bytes);
/* The value of one that was wanted; returns its length. Once each: the sum is over then. */
size_t ak_mock_sums_finish(struct ak_mock_sums *sums, enum ak_mock_sum kind,
                           uint8_t value[AK_MOCK_SUM_BYTES_MAX]);
/* At once. */
size_t ak_mock_sum_of(enum ak_mock_sum kind, struct ak_str bytes,
                      uint8_t value[AK_MOCK_SUM_BYTES_MAX]);

size_t ak_mock_sum_bytes(enum ak_mock_sum kind);
const char *ak_mock_sum_name(enum ak_mock_sum kind);     /* "CRC32C": also its XML element's end */
struct ak_str ak_mock_sum_header(enum ak_mock_sum kind); /* "x-amz-checksum-crc32c" */
/* By its name, in any case; AK_MOCK_SUM_NONE: S3 knows none of that name. */
enum ak_mock_sum ak_mock_sum_named(struct ak_str name);

#define AK_MOCK_BASE64_BYTES(len) (((len) + 2) / 3 * 4 + 1)
/* Padded; returns the text's length without its NUL. */
size_t ak_mock_base64(const uint8_t *bytes, size_t len, char *text);
/* Into at most `cap` bytes; false: not strict, padded base64, or longer. */
AK_MUST bool ak_mock_unbase64(struct ak_str text, uint8_t *bytes, size_t cap, size_t *len);
