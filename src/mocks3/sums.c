/* sums.c — checksums and base64. */
#include "mocks3/sums.h"
#include "base/hash.h"
#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>

static const struct {
    const char *name;
    struct ak_str header;
    size_t bytes;
} kinds[AK_MOCK_SUM_COUNT] = {
    [AK_MOCK_CRC32] = {"CRC32", {"x-amz-checksum-crc32", 20}, 4},
    [AK_MOCK_CRC32C] = {"CRC32C", {"x-amz-checksum-crc32c", 21}, 4},
    [AK_MOCK_CRC64NVME] = {"CRC64NVME", {"x-amz-checksum-crc64nvme", 24}, 8},
    [AK_MOCK_SHA1] = {"SHA1", {"x-amz-checksum-sha1", 19}, 20},
    [AK_MOCK_SHA256] = {"SHA256", {"x-amz-checksum-sha256", 21}, 32},
    [AK_MOCK_MD5] = {"MD5", {"content-md5", 11}, 16},
};

/* --- CRC: crc' = table[7][first byte] ^ … ^ table[0][eighth byte] for eight bytes a round. --- */

#define CRC32_POLY 0xedb88320u
#define CRC64_POLY 0x9a6c9329ac4bc9b5u /* CRC-64/NVME, reflected */

static uint64_t tables32[8][256];
static uint64_t tables64[8][256];
/* Asking OpenSSL for an algorithm by name costs more than a small object's digest. */
static EVP_MD *digests[AK_MOCK_SUM_COUNT];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_tables(uint64_t tables[8][256], uint64_t poly)
{
    for (unsigned i = 0; i < 256; i++) {
        uint64_t crc = i;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (crc & 1 ? poly : 0);
        }
        tables[0][i] = crc;
    }
    for (unsigned i = 0; i < 256; i++) {
        for (unsigned step = 1; step < 8; step++) {
            uint64_t before = tables[step - 1][i];
            tables[step][i] = (before >> 8) ^ tables[0][before & 0xff];
        }
    }
}

static void prepare(void)
{
    make_tables(tables32, CRC32_POLY);
    make_tables(tables64, CRC64_POLY);
    digests[AK_MOCK_MD5] = EVP_MD_fetch(NULL, "MD5", NULL);
    digests[AK_MOCK_SHA1] = EVP_MD_fetch(NULL, "SHA1", NULL);
    digests[AK_MOCK_SHA256] = EVP_MD_fetch(NULL, "SHA256", NULL);
}

static uint64_t crc_add(uint64_t tables[8][256], uint64_t crc, const char *p, size_t len)
{
    const unsigned char *at = (const unsigned char *)p;
    for (; len >= 8; len -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        word = __builtin_bswap64(word);
#endif
        word ^= crc;
        crc = 0;
        for (unsigned i = 0; i < 8; i++) {
            crc ^= tables[7 - i][word >> (8 * i) & 0xff];
        }
    }
    for (; len; len--, at++) {
        crc = (crc >> 8) ^ tables[0][(crc ^ *at) & 0xff];
    }
    return crc;
}

/* --- The sums --- */

enum ak_rc ak_mock_sums_init(struct ak_mock_sums *sums, unsigned wanted, struct ak_err *err)
{
    (void)pthread_once(&once, prepare);
    *sums = (struct ak_mock_sums){.wanted = wanted, .crc32 = UINT32_MAX, .crc64 = UINT64_MAX};
    for (unsigned kind = AK_MOCK_SHA1; kind < AK_MOCK_SUM_COUNT; kind++) {
        if (!(wanted >> kind & 1)) {
            continue;
        }
        EVP_MD_CTX *digest = EVP_MD_CTX_new();
        sums->digests[kind] = digest;
        if (!digest || !digests[kind] || EVP_DigestInit_ex2(digest, digests[kind], NULL) != 1) {
            ak_mock_sums_release(sums);
            return ak_fail(err, AK_NOMEM, "OpenSSL gives no %s: no memory, or not in this build",
                           kinds[kind].name);
        }
    }
    return AK_OK;
}

void ak_mock_sums_release(struct ak_mock_sums *sums)
{
    for (unsigned kind = 0; kind < AK_MOCK_SUM_COUNT; kind++) {
        EVP_MD_CTX_free(sums->digests[kind]);
        sums->digests[kind] = NULL;
    }
    sums->wanted = 0;
}

void ak_mock_sums_add(struct ak_mock_sums *sums, struct ak_str bytes)
{
    if (sums->wanted >> AK_MOCK_CRC32 & 1) {
        sums->crc32 = (uint32_t)crc_add(tables32, sums->crc32, bytes.p, bytes.len);
    }
    if (sums->wanted >> AK_MOCK_CRC32C & 1) {
        sums->crc32c = ak_crc32c(sums->crc32c, bytes.p, bytes.len);
    }
    if (sums->wanted >> AK_MOCK_CRC64NVME & 1) {
        sums->crc64 = crc_add(tables64, sums->crc64, bytes.p, bytes.len);
    }
    for (unsigned kind = AK_MOCK_SHA1; kind < AK_MOCK_SUM_COUNT; kind++) {
        if (sums->digests[kind]) {
            int ok = EVP_DigestUpdate(sums->digests[kind], bytes.p, bytes.len);
            AK_ASSERT(ok == 1); /* fails on misuse only */
        }
    }
}

static void put_big_endian(uint64_t number, size_t len, uint8_t *value)
{
    for (size_t i = 0; i < len; i++) {
        value[i] = (uint8_t)(number >> (8 * (len - 1 - i)));
    }
}

size_t ak_mock_sums_finish(struct ak_mock_sums *sums, enum ak_mock_sum kind,
                           uint8_t value[AK_MOCK_SUM_BYTES_MAX])
{
    AK_ASSERT(sums->wanted >> kind & 1);
    sums->wanted &= ~(1u << kind);
    if (kind == AK_MOCK_CRC32) {
        put_big_endian(~sums->crc32, 4, value);
    } else if (kind == AK_MOCK_CRC32C) {
        put_big_endian(sums->crc32c, 4, value);
    } else if (kind == AK_MOCK_CRC64NVME) {
        put_big_endian(~sums->crc64, 8, value);
    } else {
        unsigned len = 0;
        int ok = EVP_DigestFinal_ex(sums->digests[kind], value, &len);
        AK_ASSERT(ok == 1 && len == kinds[kind].bytes);
        EVP_MD_CTX_free(sums->digests[kind]);
        sums->digests[kind] = NULL;
    }
    return kinds[kind].bytes;
}

size_t ak_mock_sum_of(enum ak_mock_sum kind, struct ak_str bytes,
                      uint8_t value[AK_MOCK_SUM_BYTES_MAX])
{
    struct ak_mock_sums sums;
    enum ak_rc rc = ak_mock_sums_init(&sums, 1u << kind, NULL);
    AK_ASSERT(rc == AK_OK); /* of a few hundred bytes; the size is ours */
    ak_mock_sums_add(&sums, bytes);
    return ak_mock_sums_finish(&sums, kind, value);
}

size_t ak_mock_sum_bytes(enum ak_mock_sum kind)
{
    return kinds[kind].bytes;
}

const char *ak_mock_sum_name(enum ak_mock_sum kind)
{
    return kinds[kind].name;
}

struct ak_str ak_mock_sum_header(enum ak_mock_sum kind)
{
    return kinds[kind].header;
}

enum ak_mock_sum ak_mock_sum_named(struct ak_str name)
{
    unsigned kind = 0;
    while (kind < AK_MOCK_CHECKSUMS && !ak_str_eq_nocase(name, ak_str_of(kinds[kind].name))) {
        kind++;
    }
    return kind < AK_MOCK_CHECKSUMS ? (enum ak_mock_sum)kind : AK_MOCK_SUM_NONE;
}

/* --- Texts --- */

size_t ak_mock_base64(const uint8_t *bytes, size_t len, char *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t at = 0;
    for (size_t i = 0; i < len; i += 3) {
        uint32_t group = (uint32_t)bytes[i] << 16;
        group |= i + 1 < len ? (uint32_t)bytes[i + 1] << 8 : 0;
        group |= i + 2 < len ? (uint32_t)bytes[i + 2] : 0;
        text[at++] = digits[group >> 18];
        text[at++] = digits[group >> 12 & 63];
        text[at++] = i + 1 < len ? digits[group >> 6 & 63] : '=';
        text[at++] = i + 2 < len ? digits[group & 63] : '=';
    }
    text[at] = '\0';
    return at;
}

static int base64_digit(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

bool ak_mock_unbase64(struct ak_str text, uint8_t *bytes, size_t cap, size_t *len)
{
    size_t pad = 0;
    while (pad < 2 && pad < text.len && text.p[text.len - 1 - pad] == '=') {
        pad++;
    }
    size_t total = text.len / 4 * 3;
    if (text.len % 4 != 0 || total - pad > cap || (text.len == 0 && pad)) {
        return false;
    }
    total -= pad;
    size_t at = 0;
    for (size_t i = 0; i < text.len; i += 4) {
        uint32_t group = 0;
        for (size_t j = 0; j < 4; j++) {
            bool is_pad = i + j >= text.len - pad;
            int digit = is_pad ? 0 : base64_digit(text.p[i + j]);
            if (digit < 0) {
                return false;
            }
            group = group << 6 | (uint32_t)digit;
        }
        for (unsigned shift = 16; at < total && shift <= 16; shift -= 8) {
            bytes[at++] = (uint8_t)(group >> shift);
        }
        if (i + 4 == text.len && (group & ((1u << (8 * pad)) - 1)) != 0) {
            return false; /* bits behind the end: two texts would mean the same */
        }
    }
    *len = total;
    return true;
}
