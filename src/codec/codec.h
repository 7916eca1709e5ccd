/* codec.h — one call over the compression libraries.
 *
 * Snappy and LZ4 are the raw block formats (Parquet's SNAPPY and LZ4_RAW), zstd is one frame, gzip
 * is RFC 1952 (several members are read as one). The size after decompression is always known to
 * the caller and must be met exactly.
 *
 * Threads: a context belongs to one thread at a time. Memory: a context holds what its codecs need
 * (zstd level 1: 0.6 MB) from first use to close.
 */
#pragma once
#include "base/str.h"

enum ak_codec {
    AK_CODEC_NONE,
    AK_CODEC_SNAPPY,
    AK_CODEC_ZSTD,
    AK_CODEC_LZ4,
    AK_CODEC_GZIP,
    AK_CODEC_COUNT
};

const char *ak_codec_name(enum ak_codec codec); /* "none" "snappy" "zstd" "lz4" "gzip" */
AK_MUST bool ak_codec_parse(struct ak_str text, enum ak_codec *codec);

struct ak_codec_context;

struct ak_codec_context *ak_codec_open(void);
void ak_codec_close(struct ak_codec_context *context); /* NULL is fine */

/* Bytes that compressing `len` bytes can take at most. */
size_t ak_codec_bound(enum ak_codec codec, size_t len);
/* A level of zstd alone: byte frequencies and no search for repetition. Twice as fast as level 1,
 * and as small on bytes that do not repeat; far larger on those that do. Any reader of zstd reads
 * it. */
#define AK_CODEC_LEVEL_ENTROPY (-1000000)
/* Compress into to[0..cap), cap ≥ ak_codec_bound(). level 0: the codec's default here (zstd 1, gzip
 * 6); levels are ignored by codecs that have none. */
AK_MUST enum ak_rc ak_codec_compress(struct ak_codec_context *context, enum ak_codec codec,
                                     int level, struct ak_str from, void *to, size_t cap,
                                     size_t *len, struct ak_err *err);
/* Decompress `from` into exactly to[0..len). AK_CORRUPT: the bytes are not whole, or give another
 * size (which is found before anything larger than `len` is written). */
AK_MUST enum ak_rc ak_codec_decompress(struct ak_codec_context *context, enum ak_codec codec,
                                       struct ak_str from, void *to, size_t len,
                                       struct ak_err *err);
