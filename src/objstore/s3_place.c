/* s3_place.c — endpoint, bucket and region: where requests go.
 *
 *                 no endpoint (AWS)                          endpoint http://h:9000/base
 *   path          https://s3.REGION.amazonaws.com/BUCKET/key   http://h:9000/base/BUCKET/key
 *   virtual host  https://BUCKET.s3.REGION.amazonaws.com/key   http://BUCKET.h:9000/base/key
 */
#include "objstore/s3_priv.h"

#define BUCKET_MAX 255

static enum ak_rc check_bucket(const char *bucket, struct ak_err *err)
{
    size_t len = bucket ? strlen(bucket) : 0;
    if (len == 0) {
        return ak_fail(err, AK_INVALID, "no S3 bucket is given");
    }
    bool good = len <= BUCKET_MAX && bucket[0] != '.' && bucket[len - 1] != '.';
    for (size_t i = 0; i < len; i++) {
        char c = bucket[i];
        good = good && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.');
    }
    return good ? AK_OK
                : ak_fail(err, AK_INVALID,
                          "the S3 bucket '%.255s': a name has letters, digits, '-', '_' and '.'",
                          bucket);
}

/* "https://host:port/base/" → its parts, the last without its slash. */
static bool split_endpoint(struct ak_str endpoint, struct ak_str *scheme, struct ak_str *host,
                           struct ak_str *path)
{
    struct ak_str rest = endpoint;
    *scheme = ak_str_has_prefix(rest, AK_STR("https://")) ? AK_STR("https://") : AK_STR("http://");
    if (!ak_str_has_prefix(rest, *scheme)) {
        return false;
    }
    rest = ak_str_sub(rest, scheme->len, SIZE_MAX);
    while (ak_str_has_suffix(rest, AK_STR("/"))) {
        rest.len--;
    }
    const char *slash = rest.len ? memchr(rest.p, '/', rest.len) : NULL;
    size_t host_len = slash ? (size_t)(slash - rest.p) : rest.len;
    *host = ak_str_sub(rest, 0, host_len);
    *path = ak_str_sub(rest, host_len, SIZE_MAX);
    bool good = host->len > 0;
    for (size_t i = 0; i < rest.len; i++) {
        char c = rest.p[i];
        good = good && c > ' ' && c < 0x7f && c != '?' && c != '#' && c != '@' && c != '"';
    }
    return good;
}

static struct ak_str without_default_port(struct ak_str scheme, struct ak_str host)
{
    struct ak_str port = scheme.len == 8 ? AK_STR(":443") : AK_STR(":80");
    if (ak_str_has_suffix(host, port)) {
        host.len -= port.len;
    }
    return host;
}

static char *taken(struct ak_buf *buf)
{
    char *copy = ak_strdup_n(buf->len ? buf->p : "", buf->len);
    ak_buf_release(buf);
    return copy;
}

enum ak_rc ak_s3_place_new(const char *endpoint, const char *region, const char *bucket,
                           bool virtual_host, struct s3_place **place, struct ak_err *err)
{
    struct ak_str scheme = AK_STR("https://");
    struct ak_str host;
    struct ak_str path = AK_STR_NONE;
    struct ak_buf aws;
    struct ak_buf text;
    enum ak_rc rc = check_bucket(bucket, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (!region[0] || strlen(region) > 64 || strpbrk(region, "/ \t\r\n")) {
        return ak_fail(err, AK_INVALID, "the S3 region '%.64s' is no name of a region", region);
    }
    ak_buf_init(&aws, 512);
    ak_buf_init(&text, S3_URL_MAX);
    if (endpoint && endpoint[0]) {
        if (!split_endpoint(ak_str_of(endpoint), &scheme, &host, &path)) {
            return ak_fail(err, AK_INVALID,
                           "the S3 endpoint '%.200s' should be like http://127.0.0.1:9000 or "
                           "https://s3.example.com",
                           endpoint);
        }
    } else {
        ak_buf_add_fmt(&aws, "s3.%s.amazonaws.com", region);
        host = (struct ak_str){ak_buf_cstr(&aws), aws.len};
    }
    struct s3_place *made = ak_zalloc(sizeof *made);
    ak_sigv4_init(&made->signer, ak_str_of(region), AK_STR("s3"));
    ak_buf_add_fmt(&text, "%.*s%s%s%.*s", AK_STR_ARG(scheme), virtual_host ? bucket : "",
                   virtual_host ? "." : "", AK_STR_ARG(host));
    made->base = taken(&text);
    host = without_default_port(scheme, host);
    ak_buf_add_fmt(&text, "%s%s%.*s", virtual_host ? bucket : "", virtual_host ? "." : "",
                   AK_STR_ARG(host));
    made->host = taken(&text);
    ak_buf_add_str(&text, path);
    if (!virtual_host) {
        ak_buf_add_fmt(&text, "/%s", bucket);
    }
    made->root = taken(&text);
    ak_buf_release(&aws);
    *place = made;
    return AK_OK;
}

void ak_s3_place_free(struct s3_place *place)
{
    while (place) {
        struct s3_place *older = place->older;
        ak_sigv4_release(&place->signer);
        ak_free(place->base);
        ak_free(place->host);
        ak_free(place->root);
        ak_free(place);
        place = older;
    }
}
