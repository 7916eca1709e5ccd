/* rest_app.h — a whole server in the test's process: engine in the test's folder, service, REST on
 * a free port; and a client. Include once a program.
 */
#pragma once
#include "base/mem.h"
#include "net/http.h"
#include "rest/rest.h"
#include "service/service.h"
#include "support/tcp.h"
#include "support/test.h"

struct rest_app {
    struct ak_metrics *metrics;
    struct ak_engine *engine;
    struct ak_service *service;
    struct ak_rest *rest;
    struct ak_http_server *server;
    struct ak_fs_fault *fault;
    struct ak_test_tcp tcp; /* the connection that call() uses */
    struct ak_test_response last;
};

static struct rest_app app;

static inline void connect_again(void)
{
    ak_test_tcp_close(&app.tcp);
    ak_test_tcp_open(&app.tcp, ak_http_port(app.server));
}

/* Everything but the engine: the API says 503 until start_engine(). */
static inline void start_server(void)
{
    struct ak_err err;
    app = (struct rest_app){.metrics = ak_metrics_open()};
    const struct ak_rest_options rest = {.metrics = app.metrics};
    app.rest = ak_rest_open(&rest);
    app.fault = ak_fs_fault_open(ak_fs_posix());
    const struct ak_http_options http = {
        .listen = "127.0.0.1:0", .loops = 2, .app = ak_rest_app(app.rest), .metrics = app.metrics};
    CHECK_OK(ak_http_open(&http, &app.server, &err));
    ak_test_tcp_open(&app.tcp, ak_http_port(app.server));
}

static inline void start_engine(void)
{
    struct ak_err err;
    const struct ak_engine_options engine = {.fs = ak_fs_fault_fs(app.fault),
                                             .dir = ak_test_dir(),
                                             .metrics = app.metrics,
                                             .wal_segment_bytes = 1 << 20};
    CHECK_OK(ak_engine_open(&engine, &app.engine, &err));
    const struct ak_service_options service = {
        .engine = app.engine, .metrics = app.metrics, .threads = 3};
    CHECK_OK(ak_service_open(&service, &app.service, &err));
    ak_rest_set_service(app.rest, app.service);
}

static inline void start(void)
{
    start_server();
    start_engine();
}

static inline void stop(void)
{
    ak_test_tcp_close(&app.tcp);
    ak_test_response_release(&app.last);
    ak_http_close(app.server, 5000);
    ak_service_close(app.service);
    ak_engine_close(app.engine);
    ak_rest_close(app.rest);
    ak_metrics_close(app.metrics);
    ak_fs_fault_close(app.fault);
}

static inline int response_of(struct ak_test_tcp *tcp, bool is_head)
{
    ak_test_response_release(&app.last);
    CHECK(ak_test_tcp_response(tcp, &app.last, is_head));
    return app.last.status;
}

/* Send a request on the connection; headers are whole lines. The status; more is in app.last. */
static inline int call_with(const char *method, const char *path, const char *headers,
                            struct ak_str body)
{
    struct ak_buf out;
    ak_buf_init(&out, 0);
    ak_buf_add_fmt(&out, "%s %s HTTP/1.1\r\nHost: test\r\nContent-Length: %zu\r\n%s\r\n", method,
                   path, body.len, headers);
    ak_buf_add_str(&out, body);
    ak_test_tcp_send(&app.tcp, out.p, out.len);
    ak_buf_release(&out);
    return response_of(&app.tcp, strcmp(method, "HEAD") == 0);
}

static inline int call(const char *method, const char *path, const char *body)
{
    return call_with(method, path, "Content-Type: application/json\r\n", ak_str_of(body));
}

static inline const char *body(void)
{
    return ak_buf_cstr(&app.last.body);
}

static inline bool says(const char *part)
{
    return strstr(body(), part) != NULL;
}

/* The string after "name":" in the body; borrowed until the next call of this. */
static inline const char *field(const char *name)
{
    static char value[37];
    char key[64];
    (void)snprintf(key, sizeof key, "\"%s\":\"", name);
    const char *from = strstr(body(), key);
    CHECK(from);
    from += strlen(key);
    size_t len = strcspn(from, "\"");
    CHECK(len < sizeof value);
    memcpy(value, from, len);
    value[len] = '\0';
    return value;
}

/* How often `part` is in the body. */
static inline size_t times(const char *part)
{
    size_t n = 0;
    for (const char *p = body(); (p = strstr(p, part)); p += strlen(part)) {
        n++;
    }
    return n;
}
