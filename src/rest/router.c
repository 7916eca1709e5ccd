/* router.c — from a path to a route: segments compared one by one, no tables built from input.
 *
 * A pattern's segment in braces takes any non-empty segment. /api/v1 in front is cut off first. An
 * empty segment ("//", a slash at the end) fits nothing.
 */
#include "rest/rest_priv.h"
#include <string.h>

#define ROUTE(id_, method_, pattern_, handler_, flags_, body_max_)                                 \
    [AK_ROUTE_##id_] = {.method = AK_HTTP_##method_,                                               \
                        .pattern = pattern_,                                                       \
                        .handler = ak_rest_##handler_,                                             \
                        .flags = flags_,                                                           \
                        .body_max = body_max_},
/* The short names that routes.def uses. */
enum {
    BARE = AK_ROUTE_BARE,
    COLLECTION = AK_ROUTE_COLLECTION,
    JSON = AK_ROUTE_JSON,
    EMPTY_OK = AK_ROUTE_EMPTY_OK,
    NDJSON = AK_ROUTE_NDJSON,
    STREAM = AK_ROUTE_STREAM,
    PARQUET = AK_ROUTE_PARQUET
};
static struct ak_route routes[AK_ROUTE_COUNT_OF] = {
#define AK_ROUTE ROUTE
#include "rest/routes.def"
#undef AK_ROUTE
};

/* The segments of "/a/b/c"; AK_REST_SEGMENTS_MAX + 1 when there are more than fit. */
static size_t split(struct ak_str path, struct ak_str segments[AK_REST_SEGMENTS_MAX])
{
    size_t count = 0;
    if (path.len == 0 || path.p[0] != '/') {
        return AK_REST_SEGMENTS_MAX + 1;
    }
    struct ak_str rest = {path.p + 1, path.len - 1};
    bool more = true;
    while (more) {
        if (count == AK_REST_SEGMENTS_MAX) {
            return AK_REST_SEGMENTS_MAX + 1;
        }
        more = ak_str_split(rest, '/', &segments[count++], &rest);
    }
    return count;
}

/* Before any thread: the patterns are literals. */
__attribute__((constructor)) static void split_patterns(void)
{
    for (size_t i = 0; i < AK_ROUTE_COUNT_OF; i++) {
        routes[i].segment_count = split(ak_str_of(routes[i].pattern), routes[i].segments);
    }
}

const struct ak_route *ak_routes(void)
{
    return routes;
}

static bool fits(const struct ak_route *route, const struct ak_str *segments, size_t count,
                 struct ak_route_match *match)
{
    if (route->segment_count != count) {
        return false;
    }
    match->arg_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct ak_str want = route->segments[i];
        bool is_parameter = want.len && want.p[0] == '{';
        if (is_parameter ? segments[i].len == 0 : !ak_str_eq(want, segments[i])) {
            return false;
        }
        if (is_parameter) {
            match->args[match->arg_count++] = segments[i];
        }
    }
    return true;
}

static struct ak_str without_prefix(struct ak_str path)
{
    const struct ak_str prefix = AK_STR("/api/v1");
    if (path.len > prefix.len && path.p[prefix.len] == '/' && ak_str_has_prefix(path, prefix)) {
        return (struct ak_str){path.p + prefix.len, path.len - prefix.len};
    }
    return path;
}

void ak_route_find(enum ak_http_method method, struct ak_str path, struct ak_route_match *match)
{
    struct ak_str segments[AK_REST_SEGMENTS_MAX];
    size_t count = split(without_prefix(path), segments);
    enum ak_http_method wanted = method == AK_HTTP_HEAD ? AK_HTTP_GET : method;
    *match = (struct ak_route_match){0};
    if (count > AK_REST_SEGMENTS_MAX) {
        return;
    }
    for (size_t i = 0; i < AK_ROUTE_COUNT_OF; i++) {
        struct ak_route_match one = {0};
        if (!fits(&routes[i], segments, count, &one)) {
            continue;
        }
        match->allowed |= 1u << routes[i].method;
        if (!match->route && routes[i].method == wanted) {
            match->route = &routes[i];
            memcpy(match->args, one.args, sizeof match->args);
            match->arg_count = one.arg_count;
        }
    }
    if (match->allowed & 1u << AK_HTTP_GET) {
        match->allowed |= 1u << AK_HTTP_HEAD;
    }
}
