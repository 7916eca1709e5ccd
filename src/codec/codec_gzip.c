/* codec_gzip.c — gzip (RFC 1952). Several members in a row are one stream, as gunzip reads them:
 * Parquet writers that flush leave such pages. */
#define ZLIB_CONST /* or its input pointer is not const */
#include "base/fault.h"
#include "codec/codec_priv.h"
#include <zlib.h>

#define LEVEL_DEFAULT 6
#define WINDOW_GZIP (15 + 16)       /* zlib: the largest window, gzip's header and trailer */
#define STEP ((size_t)1 << 30)      /* zlib counts in 32 bits */
#define WRAP_BYTES ((size_t)10 + 8) /* gzip's header and trailer, counted over zlib's own */

size_t ak_codec_gzip_bound(size_t len)
{
    return compressBound(len) + WRAP_BYTES;
}

/* Hand the stream as much more as its counters can hold. */
static void refill(z_stream *z, size_t *in_left, size_t *out_left)
{
    if (z->avail_in == 0) {
        z->avail_in = (uInt)(*in_left < STEP ? *in_left : STEP);
        *in_left -= z->avail_in;
    }
    if (z->avail_out == 0) {
        z->avail_out = (uInt)(*out_left < STEP ? *out_left : STEP);
        *out_left -= z->avail_out;
    }
}

enum ak_rc ak_codec_gzip_compress(int level, struct ak_str from, void *to, size_t cap, size_t *len,
                                  struct ak_err *err)
{
    z_stream z = {.next_in = (const Bytef *)from.p, .next_out = to};
    size_t in_left = from.len;
    size_t out_left = cap;
    if (level < 0 || level > 9) {
        return ak_fail(err, AK_INVALID, "gzip has levels 1 to 9, not %d", level);
    }
    if (ak_fault_alloc_fails() || deflateInit2(&z, level == 0 ? LEVEL_DEFAULT : level, Z_DEFLATED,
                                               WINDOW_GZIP, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        return ak_fail(err, AK_NOMEM, "no memory for gzip");
    }
    int rc;
    do {
        refill(&z, &in_left, &out_left);
        rc = deflate(&z, in_left == 0 ? Z_FINISH : Z_NO_FLUSH);
    } while (rc == Z_OK && (z.avail_out > 0 || out_left > 0));
    size_t got = (size_t)(z.next_out - (Bytef *)to);
    (void)deflateEnd(&z);
    if (rc != Z_STREAM_END) {
        return ak_fail(err, AK_INTERNAL, "gzip could not compress %zu bytes (%d)", from.len, rc);
    }
    *len = got;
    return AK_OK;
}

/* Unpack all members; AK_OK when they give exactly out_left bytes. */
static enum ak_rc inflate_members(z_stream *z, size_t in_left, size_t out_left, struct ak_err *err)
{
    Bytef beyond = 0; /* where a byte too many would go */
    bool is_full = false;
    for (;;) {
        refill(z, &in_left, &out_left);
        if (z->avail_out == 0 && !is_full) {
            is_full = true;
            z->next_out = &beyond;
        }
        if (is_full) {
            z->avail_out = 1;
        }
        int rc = inflate(z, Z_NO_FLUSH);
        if (is_full && z->avail_out == 0) {
            return ak_fail(err, AK_CORRUPT, "gzip: there is more in the bytes than is due");
        }
        if (rc == Z_STREAM_END && z->avail_in == 0 && in_left == 0) {
            if (!is_full && (z->avail_out > 0 || out_left > 0)) {
                return ak_fail(err, AK_CORRUPT, "gzip: there is less in the bytes than is due");
            }
            return AK_OK;
        }
        if (rc == Z_STREAM_END) {
            rc = inflateReset(z);
        } else if (rc == Z_OK && z->avail_in == 0 && in_left == 0 && z->avail_out > 0) {
            return ak_fail(err, AK_CORRUPT, "gzip: the bytes end in the middle");
        }
        if (rc == Z_MEM_ERROR) {
            return ak_fail(err, AK_NOMEM, "no memory for gzip");
        }
        if (rc != Z_OK) {
            return ak_fail(err, AK_CORRUPT, "gzip: %s",
                           z->msg ? z->msg : "the bytes end in the middle");
        }
    }
}

enum ak_rc ak_codec_gzip_decompress(struct ak_str from, void *to, size_t len, struct ak_err *err)
{
    z_stream z = {.next_in = (const Bytef *)from.p, .next_out = to};
    if (ak_fault_alloc_fails() || inflateInit2(&z, WINDOW_GZIP) != Z_OK) {
        return ak_fail(err, AK_NOMEM, "no memory for gzip");
    }
    enum ak_rc rc = inflate_members(&z, from.len, len, err);
    (void)inflateEnd(&z);
    return rc;
}
