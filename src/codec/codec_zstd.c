/* codec_zstd.c — zstd, one frame per call. Contexts are kept: making one costs more than a page. */
#include "base/fault.h"
#include "codec/codec_priv.h"
#include <zstd.h>

#define LEVEL_ENTROPY (-100)
#define LEVEL_DEFAULT 1 /* higher ones cost time and gain nothing on embeddings (docs/formats) */

void ak_codec_zstd_close(struct ak_codec_context *context)
{
    (void)ZSTD_freeCCtx(context->zstd_in);
    (void)ZSTD_freeDCtx(context->zstd_out);
}

size_t ak_codec_zstd_bound(size_t len)
{
    size_t bound = ZSTD_compressBound(len); /* an error code above zstd's maximum */
    return ZSTD_isError(bound) ? len + (len >> 8) : bound;
}

/* The search for repetition takes such steps that it hardly looks, and literals are packed all the
 * same, which such levels leave out by themselves: ZSTD_c_literalCompressionMode, which the header
 * names by its number until it is final. A library that refuses it gets level 1. */
static size_t compress_entropy(ZSTD_CCtx *context, struct ak_str from, void *to, size_t cap)
{
    const int pack_literals = 1;
    size_t got = ZSTD_CCtx_setParameter(context, ZSTD_c_experimentalParam5, pack_literals);
    if (!ZSTD_isError(got)) {
        got = ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, LEVEL_ENTROPY);
    }
    return ZSTD_isError(got) ? ZSTD_compressCCtx(context, to, cap, from.p, from.len, LEVEL_DEFAULT)
                             : ZSTD_compress2(context, to, cap, from.p, from.len);
}

enum ak_rc ak_codec_zstd_compress(struct ak_codec_context *context, int level, struct ak_str from,
                                  void *to, size_t cap, size_t *len, struct ak_err *err)
{
    bool is_entropy = level == AK_CODEC_LEVEL_ENTROPY;
    if (!is_entropy && (level < ZSTD_minCLevel() || level > ZSTD_maxCLevel())) {
        return ak_fail(err, AK_INVALID, "zstd has levels %d to %d, not %d", ZSTD_minCLevel(),
                       ZSTD_maxCLevel(), level);
    }
    if (!context->zstd_in && !ak_fault_alloc_fails()) {
        context->zstd_in = ZSTD_createCCtx();
    }
    if (!context->zstd_in) {
        return ak_fail(err, AK_NOMEM, "no memory for zstd");
    }
    size_t got = is_entropy ? compress_entropy(context->zstd_in, from, to, cap)
                            : ZSTD_compressCCtx(context->zstd_in, to, cap, from.p, from.len,
                                                level == 0 ? LEVEL_DEFAULT : level);
    if (ZSTD_isError(got)) { /* the room is the bound, so that only memory can be short */
        return ak_fail(err, AK_NOMEM, "zstd, level %d, %zu bytes: %s", level, from.len,
                       ZSTD_getErrorName(got));
    }
    *len = got;
    return AK_OK;
}

enum ak_rc ak_codec_zstd_decompress(struct ak_codec_context *context, struct ak_str from, void *to,
                                    size_t len, struct ak_err *err)
{
    unsigned long long size = ZSTD_getFrameContentSize(from.p, from.len);
    if (size == ZSTD_CONTENTSIZE_ERROR) {
        return ak_fail(err, AK_CORRUPT, "zstd: the %zu bytes do not begin a frame", from.len);
    }
    if (size != ZSTD_CONTENTSIZE_UNKNOWN && size > len) {
        return ak_fail(err, AK_CORRUPT, "zstd: the frame says it gives %llu bytes, %zu are due",
                       size, len);
    }
    if (!context->zstd_out && !ak_fault_alloc_fails()) {
        context->zstd_out = ZSTD_createDCtx();
    }
    if (!context->zstd_out) {
        return ak_fail(err, AK_NOMEM, "no memory for zstd");
    }
    size_t got = ZSTD_decompressDCtx(context->zstd_out, to, len, from.p, from.len);
    if (ZSTD_isError(got)) {
        return ak_fail(err, AK_CORRUPT, "zstd: %zu bytes do not unpack to %zu: %s", from.len, len,
                       ZSTD_getErrorName(got));
    }
    if (got != len) {
        return ak_fail(err, AK_CORRUPT, "zstd: the bytes give %zu, %zu are due", got, len);
    }
    return AK_OK;
}
