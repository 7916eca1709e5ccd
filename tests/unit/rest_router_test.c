/* Paths to routes: prefixes, parameters, and which methods a path has. */
#include "rest/rest_priv.h"
#include "support/test.h"

static struct ak_route_match find(enum ak_http_method method, const char *path)
{
    struct ak_route_match match;
    ak_route_find(method, ak_str_of(path), &match);
    return match;
}

static size_t id_of(const struct ak_route_match *match)
{
    return match->route ? (size_t)(match->route - ak_routes()) : SIZE_MAX;
}

TEST(router, every_route_is_found_with_and_without_the_prefix)
{
    for (size_t i = 0; i < AK_ROUTE_COUNT_OF; i++) {
        const struct ak_route *route = &ak_routes()[i];
        char path[128] = "/api/v1";
        char *out = path + 7;
        for (const char *p = route->pattern; *p; p++) {
            if (*p == '{') {
                p = strchr(p, '}');
                *out++ = 'X';
            } else {
                *out++ = *p;
            }
        }
        struct ak_route_match with = find(route->method, path);
        struct ak_route_match without = find(route->method, path + 7);
        CHECK_INT(id_of(&with), i);
        CHECK_INT(id_of(&without), i);
    }
}

TEST(router, parameters_are_the_segments_in_braces)
{
    struct ak_route_match match = find(AK_HTTP_GET, "/collections/a%20b/vectors/0198");
    CHECK_INT(id_of(&match), AK_ROUTE_VECTOR_GET);
    CHECK_INT(match.arg_count, 2);
    CHECK(ak_str_eq(match.args[0], AK_STR("a%20b")));
    CHECK(ak_str_eq(match.args[1], AK_STR("0198")));
}

TEST(router, a_literal_comes_before_a_parameter)
{
    struct ak_route_match match = find(AK_HTTP_POST, "/collections/c/vectors/scroll");
    CHECK_INT(id_of(&match), AK_ROUTE_SCROLL);
    match = find(AK_HTTP_POST, "/collections/c/vectors/delete");
    CHECK_INT(id_of(&match), AK_ROUTE_VECTORS_DELETE);
}

TEST(router, what_is_no_path_has_no_methods)
{
    const char *const paths[] = {"/",
                                 "",
                                 "*",
                                 "/nothing",
                                 "/collections/",
                                 "//collections",
                                 "/collections//vectors",
                                 "/api/v1",
                                 "/api/v1/",
                                 "/api/v1collections",
                                 "/api/v2/collections",
                                 "/collections/c/vectors/id/more",
                                 "/Collections",
                                 "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct ak_route_match match = find(AK_HTTP_GET, paths[i]);
        CHECK(!match.route);
        CHECK_INT(match.allowed, 0);
    }
}

TEST(router, a_path_without_the_method_tells_which_it_has)
{
    struct ak_route_match match = find(AK_HTTP_PUT, "/collections");
    CHECK(!match.route);
    CHECK_INT(match.allowed, 1u << AK_HTTP_GET | 1u << AK_HTTP_HEAD | 1u << AK_HTTP_POST);
    match = find(AK_HTTP_GET, "/collections/c/search");
    CHECK(!match.route);
    CHECK_INT(match.allowed, 1u << AK_HTTP_POST);
}

TEST(router, head_is_served_by_get)
{
    struct ak_route_match match = find(AK_HTTP_HEAD, "/health");
    CHECK_INT(id_of(&match), AK_ROUTE_HEALTH);
    match = find(AK_HTTP_HEAD, "/collections/c/search");
    CHECK(!match.route);
}

TEST_MAIN()
