/* parquet_files.h — the small files of tests/fuzz/corpus/parquet, whose values follow from the row
 * (tests/fuzz/parquet_corpus.py), and sources that count or fail. For the tests of the reader. */
#pragma once
#include "base/file.h"
#include "base/mem.h"
#include "parquet/reader.h"
#include "support/test.h"
#include <stdio.h>

#define CORPUS_ROWS 40u
#define CORPUS_DIM 6u

static inline struct ak_buf parquet_bytes(const char *path)
{
    struct ak_err err;
    struct ak_buf bytes;
    ak_buf_init(&bytes, 0);
    CHECK_OK(ak_fs_read_all(ak_fs_posix(), path, (size_t)1 << 26, &bytes, &err));
    return bytes;
}

static inline struct ak_buf parquet_corpus(const char *name)
{
    char path[256];
    (void)snprintf(path, sizeof path, "tests/fuzz/corpus/parquet/%s.parquet", name);
    return parquet_bytes(path);
}

/* A source that counts its reads, notes the last ones, and fails the n-th. */
#define READS_NOTED 64
struct counting {
    struct ak_str bytes;
    uint64_t reads;
    uint64_t total;
    uint64_t at[READS_NOTED];
    size_t len[READS_NOTED];
    int64_t fail_at; /* this read fails; < 0: none */
};

static inline enum ak_rc counting_read(void *ctx, uint64_t at, void *p, size_t len,
                                       struct ak_err *err)
{
    struct counting *c = ctx;
    CHECK(at <= c->bytes.len && len <= c->bytes.len - at && len > 0);
    c->at[c->reads % READS_NOTED] = at;
    c->len[c->reads % READS_NOTED] = len;
    c->total += len;
    if ((int64_t)c->reads++ == c->fail_at) {
        return ak_fail(err, AK_UNAVAILABLE, "the store is away");
    }
    memcpy(p, c->bytes.p + at, len);
    return AK_OK;
}

static inline struct ak_parquet_source counting_source(struct counting *c,
                                                       const struct ak_buf *bytes)
{
    *c = (struct counting){.bytes = ak_buf_str(bytes), .fail_at = -1};
    return (struct ak_parquet_source){
        .ctx = c, .size = bytes->len, .name = "counted", .read_at = counting_read};
}
