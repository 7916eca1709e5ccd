/* fuzz: links wal test_support */
/* wal_fuzz.c — any bytes as the only segment of a log: open must refuse them or make a log of them.
 *
 * Input: one byte of flags, then the bytes.
 *   flag 1   they follow a good segment header (else they are the file from its first byte)
 *   flag 2   with flag 1: LSNs and header CRCs of the records are put right along the chain, so
 *            that lengths, kinds, durable LSNs and payloads reach the code behind the checks
 *   flag 4   with flag 2: the payload CRCs too
 * Held to: what opens takes one more record, and gives exactly one more when it is opened again;
 * what is refused is left as it was.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "fuzz.h"
#include "support/quickfs.h"
#include "wal/wal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEADER 4096u
#define FILE_MAX (64u << 10)
#define FILE_MIN 8192u

static unsigned char file_bytes[FILE_MAX];
static char dir[256];

static void put(unsigned char *to, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        to[i] = (unsigned char)(v >> (8 * i));
    }
}

static uint32_t get_u32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_header(size_t len)
{
    memcpy(file_bytes, "AKWAL\0\0\0", 8);
    put(file_bytes + 8, 1, 4);
    put(file_bytes + 12, HEADER, 4);
    put(file_bytes + 16, 0, 8);
    put(file_bytes + 24, len, 8);
    put(file_bytes + 32, 0x5a17, 8);
    put(file_bytes + 40, ak_crc32c(0, file_bytes, 40), 4);
}

static void mend_records(size_t len, bool payloads)
{
    uint32_t seed = ak_crc32c(0, file_bytes + 32, 8);
    size_t at = HEADER;
    while (len - at >= 32) {
        unsigned char *p = file_bytes + at;
        size_t payload = get_u32(p + 4);
        size_t left = len - at - 32;
        if (payload > left) {
            payload %= left + 1;
            put(p + 4, payload, 4);
        }
        size_t aligned = (payload + 7) / 8 * 8;
        put(p + 8, at, 8);
        if (payloads && aligned <= left) {
            memset(p + 32 + payload, 0, aligned - payload);
            put(p + 24, ak_crc32c(0, p + 32, payload), 4);
        }
        put(p + 28, ak_crc32c(seed, p, 28), 4);
        at += 32 + aligned;
        if (at > len) {
            return;
        }
    }
}

static size_t build_file(const uint8_t *data, size_t size)
{
    unsigned flags = data[0];
    size_t from = flags & 1 ? HEADER : 0;
    size_t body = size - 1 < FILE_MAX - from ? size - 1 : FILE_MAX - from;
    size_t len = (from + body + 7) / 8 * 8;
    memset(file_bytes, 0, sizeof file_bytes);
    memcpy(file_bytes + from, data + 1, body);
    if (flags & 1) {
        len = len < FILE_MIN ? FILE_MIN : len;
        put_header(len);
        if (flags & 2) {
            mend_records(len, (flags & 4) != 0);
        }
    }
    return len;
}

static bool remove_name(void *ctx, struct ak_str name)
{
    char path[512];
    (void)ctx;
    (void)snprintf(path, sizeof path, "%s/%.*s", dir, AK_STR_ARG(name));
    (void)unlink(path);
    return true;
}

static void remove_dir(void)
{
    struct ak_err err;
    (void)!ak_fs_list(quickfs(), dir, remove_name, NULL, &err);
    (void)rmdir(dir);
}

static void prepare_dir(void)
{
    struct ak_err err;
    if (!dir[0]) {
        const char *tmp = getenv("TMPDIR");
        (void)snprintf(dir, sizeof dir, "%s/akidb-wal-fuzz-XXXXXX", tmp ? tmp : "/tmp");
        AK_ASSERT(mkdtemp(dir) != NULL);
        (void)atexit(remove_dir);
    }
    AK_ASSERT(ak_fs_list(quickfs(), dir, remove_name, NULL, &err) == AK_OK);
}

static enum ak_rc count_record(void *ctx, const struct ak_wal_record *record, struct ak_err *err)
{
    uint64_t *count = ctx;
    /* Touch every byte: the view must lie inside the reader's memory. */
    (void)err;
    *count += 1 + (ak_crc32c(0, record->payload.p, record->payload.len) & 0);
    return AK_OK;
}

static bool is_unchanged(const char *path, size_t len)
{
    struct ak_err err;
    struct ak_buf now;
    ak_buf_init(&now, 0);
    enum ak_rc rc = ak_fs_read_all(quickfs(), path, FILE_MAX, &now, &err);
    bool is_same =
        rc == AK_OK && now.len == len && (len == 0 || memcmp(now.p, file_bytes, len) == 0);
    ak_buf_release(&now);
    return is_same;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    struct ak_err err;
    struct ak_file *file = NULL;
    char path[512];
    prepare_dir();
    size_t len = build_file(data, size);
    (void)snprintf(path, sizeof path, "%s/%016x.wal", dir, 0u);
    AK_ASSERT(ak_fs_open(quickfs(), path, AK_OPEN_WRITE | AK_OPEN_CREATE, &file, &err) == AK_OK);
    AK_ASSERT(ak_file_write(file, 0, file_bytes, len, &err) == AK_OK);
    ak_file_close(file);

    struct ak_wal_options options = {
        .fs = quickfs(), .dir = dir, .segment_bytes = 8192, .buffer_max = 64u << 10};
    struct ak_wal *wal = NULL;
    struct ak_str part = AK_STR("one more");
    ak_lsn lsn = 0;
    ak_lsn next = 0;
    uint64_t count = 0;
    uint64_t again = 0;
    enum ak_rc rc = ak_wal_open(&options, 0, count_record, &count, &wal, &err);
    if (rc != AK_OK) {
        AK_ASSERT(rc == AK_CORRUPT || rc == AK_UNSUPPORTED);
        AK_ASSERT(is_unchanged(path, len) && "refused, but changed");
        return 0;
    }
    AK_ASSERT(ak_wal_append(wal, 1, &part, 1, &lsn, &next, &err) == AK_OK);
    ak_wal_close(wal);
    AK_ASSERT(ak_wal_open(&options, 0, count_record, &again, &wal, &err) == AK_OK);
    AK_ASSERT(again == count + 1);
    ak_wal_close(wal);
    return 0;
}
