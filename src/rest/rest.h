/* rest.h — the REST API: an HTTP application over the service.
 *
 * Routes: routes.def; shapes: docs/openapi.yaml. Bodies are strict JSON: an unknown field, a wrong
 * type or a value out of bounds is a 400 whose message says what is allowed. Every error is
 * {"error":{"code","message"}}. A request's X-Request-Id comes back in its response.
 *
 * It may serve before the engine is open: until ak_rest_set_service() only /health, /version and
 * /metrics answer, /ready and the rest say 503.
 *
 * Threads: callbacks as net/http.h has them; set_service from any thread, once. Close after the
 * HTTP server and after the service.
 */
#pragma once
#include "net/http.h"
#include "service/service.h"

struct ak_rest;

struct ak_rest_options {
    struct ak_metrics *metrics; /* may be NULL: /metrics is then empty */
    struct ak_log *log;         /* may be NULL; requests are logged at debug level */
    /* For drills: POST /admin/test/clock moves it. NULL, as in production: that answers 404. */
    struct ak_shifted_clock *test_clock;
    size_t body_max; /* lowers the limits of routes.def; 0: as they are. Not for streams */
};

struct ak_rest *ak_rest_open(const struct ak_rest_options *options);
void ak_rest_close(struct ak_rest *rest); /* NULL is fine */
void ak_rest_set_service(struct ak_rest *rest, struct ak_service *service);
struct ak_http_app ak_rest_app(struct ak_rest *rest);
