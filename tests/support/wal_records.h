/* wal_records.h — numbered log records for the tests of the log: record i always has the same kind,
 * length and bytes, so that a replay can be checked against nothing but numbers.
 */
#pragma once
#include "base/hash.h"
#include "base/mem.h"
#include "support/test.h"
#include "wal/wal.h"
#include <stdio.h>
#include <string.h>

#define RECORD_LEN_MAX 3000u

static inline size_t record_len(uint64_t i)
{
    static const size_t lens[] = {0, 1, 7, 8, 9, 40, 100, 511, 512, 513, 1000, RECORD_LEN_MAX};
    return lens[ak_mix64(i * 3 + 1) % (sizeof lens / sizeof lens[0])];
}

static inline uint32_t record_kind(uint64_t i)
{
    return (uint32_t)(i + 1);
}

static inline void record_fill(uint64_t i, size_t len, char *to)
{
    for (size_t at = 0; at < len; at++) {
        to[at] = (char)(ak_mix64(i * 7919 + at) | 1); /* never zero: a lost sector shows */
    }
}

static inline bool record_is(const struct ak_wal_record *record, uint64_t i, size_t len)
{
    if (record->kind != record_kind(i) || record->payload.len != len) {
        return false;
    }
    char *want = ak_alloc(len);
    record_fill(i, len, want);
    bool is_same = len == 0 || memcmp(record->payload.p, want, len) == 0;
    ak_free(want);
    return is_same;
}

/* Append record i with `len` bytes, in two parts. */
static inline enum ak_rc record_append_len(struct ak_wal *wal, uint64_t i, size_t len, ak_lsn *lsn,
                                           ak_lsn *next, struct ak_err *err)
{
    char *bytes = ak_alloc(len);
    record_fill(i, len, bytes);
    struct ak_str parts[2] = {{bytes, len / 3}, {bytes + len / 3, len - len / 3}};
    enum ak_rc rc = ak_wal_append(wal, record_kind(i), parts, 2, lsn, next, err);
    ak_free(bytes);
    return rc;
}

static inline enum ak_rc record_append(struct ak_wal *wal, uint64_t i, ak_lsn *lsn, ak_lsn *next,
                                       struct ak_err *err)
{
    return record_append_len(wal, i, record_len(i), lsn, next, err);
}

/* Replay callback that expects the records first, first+1, … of record_append(). */
struct expected {
    uint64_t first;
    uint64_t count;  /* seen */
    uint64_t wrong;  /* seen, but not the one that had to come */
    ak_lsn last_lsn; /* LSNs must grow */
};

static inline enum ak_rc expect_record(void *ctx, const struct ak_wal_record *record,
                                       struct ak_err *err)
{
    struct expected *expected = ctx;
    uint64_t i = expected->first + expected->count;
    (void)err;
    if (!record_is(record, i, record_len(i)) || record->lsn <= expected->last_lsn ||
        record->next <= record->lsn) {
        expected->wrong++;
    }
    expected->last_lsn = record->lsn;
    expected->count++;
    return AK_OK;
}

static inline struct ak_wal_options small_log(struct ak_fs *fs, const char *dir)
{
    return (struct ak_wal_options){
        .fs = fs, .dir = dir, .segment_bytes = 8192, .buffer_max = 64u << 10};
}

/* A path below the test's folder, in a buffer of its own. */
static inline char *path_in(const char *dir, const char *name)
{
    struct ak_buf path;
    size_t len = 0;
    ak_buf_init(&path, 0);
    ak_buf_add_fmt(&path, "%s/%s", dir, name);
    (void)ak_buf_cstr(&path);
    return ak_buf_take(&path, &len);
}
