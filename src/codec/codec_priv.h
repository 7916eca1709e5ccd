/* codec_priv.h — the context, and one pair of calls per library. Sizes are checked by codec.c:
 * every call gets at least one byte of memory to point at, and `to` has room for the bound. */
#pragma once
#include "codec/codec.h"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

struct ak_codec_context {
    struct ZSTD_CCtx_s *zstd_in; /* made at first use */
    struct ZSTD_DCtx_s *zstd_out;
};

void ak_codec_zstd_close(struct ak_codec_context *context);

size_t ak_codec_zstd_bound(size_t len);
enum ak_rc ak_codec_zstd_compress(struct ak_codec_context *context, int level, struct ak_str from,
                                  void *to, size_t cap, size_t *len, struct ak_err *err);
enum ak_rc ak_codec_zstd_decompress(struct ak_codec_context *context, struct ak_str from, void *to,
                                    size_t len, struct ak_err *err);

size_t ak_codec_gzip_bound(size_t len);
enum ak_rc ak_codec_gzip_compress(int level, struct ak_str from, void *to, size_t cap, size_t *len,
                                  struct ak_err *err);
enum ak_rc ak_codec_gzip_decompress(struct ak_str from, void *to, size_t len, struct ak_err *err);
