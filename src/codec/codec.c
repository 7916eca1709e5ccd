/* codec.c — names, the checks that all codecs share, and the two block codecs.
 *
 * The block codecs (snappy, lz4) carry no checksum: what they are given back may be damaged and
 * still unpack, so that their users keep a checksum of their own beside them. What holds for all:
 * no byte is ever written outside to[0..len), and another size than `len` is a failure.
 */
#include "base/mem.h"
#include "codec/codec_priv.h"
#include <lz4.h>
#include <snappy-c.h>
#include <string.h>

static const char *const names[AK_CODEC_COUNT] = {"none", "snappy", "zstd", "lz4", "gzip"};

const char *ak_codec_name(enum ak_codec codec)
{
    AK_ASSERT((unsigned)codec < AK_CODEC_COUNT);
    return names[codec];
}

bool ak_codec_parse(struct ak_str text, enum ak_codec *codec)
{
    for (unsigned i = 0; i < AK_CODEC_COUNT; i++) {
        if (ak_str_eq(text, ak_str_of(names[i]))) {
            *codec = (enum ak_codec)i;
            return true;
        }
    }
    return false;
}

struct ak_codec_context *ak_codec_open(void)
{
    return ak_zalloc(sizeof(struct ak_codec_context));
}

void ak_codec_close(struct ak_codec_context *context)
{
    if (context) {
        ak_codec_zstd_close(context);
        ak_free(context);
    }
}

size_t ak_codec_bound(enum ak_codec codec, size_t len)
{
    switch (codec) {
    case AK_CODEC_NONE:
        return len;
    case AK_CODEC_SNAPPY:
        return snappy_max_compressed_length(len);
    case AK_CODEC_ZSTD:
        return ak_codec_zstd_bound(len);
    case AK_CODEC_LZ4: /* LZ4_compressBound() for any length, also one that lz4 refuses later */
        return len + len / 255 + 16;
    case AK_CODEC_GZIP:
        return ak_codec_gzip_bound(len);
    case AK_CODEC_COUNT:
        break;
    }
    return SIZE_MAX; /* no codec at all */
}

static enum ak_rc snappy_pack(struct ak_str from, void *to, size_t cap, size_t *len,
                              struct ak_err *err)
{
    size_t got = cap;
    if (from.len > UINT32_MAX) {
        return ak_fail(err, AK_TOO_BIG, "snappy takes at most 4 GiB at once, not %zu bytes",
                       from.len);
    }
    if (snappy_compress(from.p, from.len, to, &got) != SNAPPY_OK) {
        return ak_fail(err, AK_INTERNAL, "snappy could not compress %zu bytes", from.len);
    }
    *len = got;
    return AK_OK;
}

static enum ak_rc snappy_unpack(struct ak_str from, void *to, size_t len, struct ak_err *err)
{
    size_t size = 0;
    if (snappy_uncompressed_length(from.p, from.len, &size) != SNAPPY_OK) {
        return ak_fail(err, AK_CORRUPT, "snappy: the %zu bytes have no valid length in front",
                       from.len);
    }
    if (size != len) {
        return ak_fail(err, AK_CORRUPT, "snappy: the bytes say they give %zu, %zu are due", size,
                       len);
    }
    if (snappy_uncompress(from.p, from.len, to, &size) != SNAPPY_OK || size != len) {
        return ak_fail(err, AK_CORRUPT, "snappy: %zu bytes do not unpack to %zu", from.len, len);
    }
    return AK_OK;
}

static enum ak_rc lz4_pack(struct ak_str from, void *to, size_t cap, size_t *len,
                           struct ak_err *err)
{
    if (from.len > LZ4_MAX_INPUT_SIZE) {
        return ak_fail(err, AK_TOO_BIG, "lz4 takes at most %d bytes at once, not %zu",
                       LZ4_MAX_INPUT_SIZE, from.len);
    }
    int got =
        LZ4_compress_default(from.p, to, (int)from.len, cap > INT32_MAX ? INT32_MAX : (int)cap);
    if (got <= 0) {
        return ak_fail(err, AK_INTERNAL, "lz4 could not compress %zu bytes", from.len);
    }
    *len = (size_t)got;
    return AK_OK;
}

static enum ak_rc lz4_unpack(struct ak_str from, void *to, size_t len, struct ak_err *err)
{
    if (from.len > INT32_MAX || len > LZ4_MAX_INPUT_SIZE) {
        return ak_fail(err, AK_CORRUPT, "lz4: a block holds at most %d bytes, not %zu",
                       LZ4_MAX_INPUT_SIZE, len);
    }
    int got = LZ4_decompress_safe(from.p, to, (int)from.len, (int)len);
    if (got < 0 || (size_t)got != len) {
        return ak_fail(err, AK_CORRUPT, "lz4: %zu bytes do not unpack to %zu", from.len, len);
    }
    return AK_OK;
}

enum ak_rc ak_codec_compress(struct ak_codec_context *context, enum ak_codec codec, int level,
                             struct ak_str from, void *to, size_t cap, size_t *len,
                             struct ak_err *err)
{
    char nothing = 0;
    if (from.len == 0) {
        from.p = &nothing;
    }
    AK_ASSERT(cap >= ak_codec_bound(codec, from.len));
    switch (codec) {
    case AK_CODEC_NONE:
        if (from.len > 0) {
            memcpy(to, from.p, from.len);
        }
        *len = from.len;
        return AK_OK;
    case AK_CODEC_SNAPPY:
        return snappy_pack(from, to, cap, len, err);
    case AK_CODEC_ZSTD:
        return ak_codec_zstd_compress(context, level, from, to, cap, len, err);
    case AK_CODEC_LZ4:
        return lz4_pack(from, to, cap, len, err);
    case AK_CODEC_GZIP:
        return ak_codec_gzip_compress(level, from, to, cap, len, err);
    case AK_CODEC_COUNT:
        break;
    }
    return ak_fail(err, AK_INTERNAL, "there is no codec %d", (int)codec);
}

enum ak_rc ak_codec_decompress(struct ak_codec_context *context, enum ak_codec codec,
                               struct ak_str from, void *to, size_t len, struct ak_err *err)
{
    char nothing = 0;
    if (codec == AK_CODEC_NONE) {
        if (from.len != len) {
            return ak_fail(err, AK_CORRUPT, "%zu bytes are stored, %zu are due", from.len, len);
        }
        if (len > 0) {
            memcpy(to, from.p, len);
        }
        return AK_OK;
    }
    if (from.len == 0) { /* every format has at least one byte, even for nothing */
        return ak_fail(err, AK_CORRUPT, "%s: there are no bytes to unpack", ak_codec_name(codec));
    }
    if (len == 0) {
        to = &nothing;
    }
    switch (codec) {
    case AK_CODEC_SNAPPY:
        return snappy_unpack(from, to, len, err);
    case AK_CODEC_ZSTD:
        return ak_codec_zstd_decompress(context, from, to, len, err);
    case AK_CODEC_LZ4:
        return lz4_unpack(from, to, len, err);
    case AK_CODEC_GZIP:
        return ak_codec_gzip_decompress(from, to, len, err);
    case AK_CODEC_NONE:
    case AK_CODEC_COUNT:
        break;
    }
    return ak_fail(err, AK_INTERNAL, "there is no codec %d", (int)codec);
}
