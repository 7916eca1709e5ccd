/* rest_priv.h — what the handlers share: the call, replies, and readers of bodies. */
#pragma once
#include "base/json.h"
#include "rest/rest.h"
#include <stdatomic.h>

#define AK_REST_ARGS_MAX 2
#define AK_REST_SEGMENTS_MAX 8
/* A body up to here is parsed on the loop: about 0.1 ms. A 4,096-float vector fits. */
#define AK_REST_INLINE_BODY_MAX (96u << 10)
#define AK_NDJSON "application/x-ndjson"
#define AK_PARQUET "application/vnd.apache.parquet"
#define AK_REST_HEADERS_MAX 512 /* bytes of the headers that we add to a response */

/* --- router.c --- */

enum ak_route_flag {
    AK_ROUTE_BARE = 1,
    AK_ROUTE_COLLECTION = 2,
    AK_ROUTE_JSON = 4,
    AK_ROUTE_EMPTY_OK = 8,
    AK_ROUTE_NDJSON = 16,
    AK_ROUTE_STREAM = 32,
    AK_ROUTE_PARQUET = 64
};

enum ak_route_id {
#define AK_ROUTE(id, method, pattern, handler, flags, body_max) AK_ROUTE_##id,
#include "rest/routes.def"
#undef AK_ROUTE
    AK_ROUTE_COUNT_OF
};

struct ak_call;
typedef void (*ak_rest_handler)(struct ak_call *call);

struct ak_route {
    enum ak_http_method method;
    const char *pattern;
    ak_rest_handler handler;
    unsigned flags;
    size_t body_max;
    size_t segment_count;
    struct ak_str segments[AK_REST_SEGMENTS_MAX]; /* of the pattern */
};

struct ak_route_match {
    const struct ak_route *route;         /* NULL: none */
    struct ak_str args[AK_REST_ARGS_MAX]; /* as in the path: not decoded yet */
    size_t arg_count;
    unsigned allowed; /* bits of the methods that this path has */
};

/* The table, its patterns split; the same for ever. */
const struct ak_route *ak_routes(void);
/* HEAD is served by GET's route. */
void ak_route_find(enum ak_http_method method, struct ak_str path, struct ak_route_match *match);

/* --- rest.c --- */

/* One request on its way. Lives in the request's arena. */
struct ak_call {
    struct ak_op op; /* for moving the call itself to a worker */
    struct ak_rest *rest;
    struct ak_http_request *request;
    struct ak_arena *arena;
    const struct ak_route *route; /* NULL: 404 or 405 */
    struct ak_service *service;
    struct ak_collection *collection; /* returned by the reply at the latest */
    struct ak_str args[AK_REST_ARGS_MAX];
    struct ak_err err;
    struct ak_buf body;       /* an answer that waits for its write to be durable */
    bool is_single;           /* documents.c's: one document was given, not a list */
    struct ak_upload *upload; /* import.c's */
    union {
        struct ak_create_op create;
        struct ak_list_op list;
        struct ak_drop_op drop;
        struct ak_upsert_op upsert;
        struct ak_delete_op del;
        struct ak_fetch_op fetch;
        struct ak_scroll_op scroll;
        struct ak_count_op count;
        struct ak_search_op search;
        struct ak_snapshot_op snapshot;
        struct ak_job_op job;
        struct ak_tier_op tier;
        struct ak_tiers_op tiers;
    } u;
};

/* An operation on behalf of a call: its thread, its arena, and what its query log wants to know. */
struct ak_op ak_call_op(struct ak_call *call, void (*done)(struct ak_op *op, enum ak_rc rc));

#define AK_CALL_OF(member, pointer)                                                                \
    ((struct ak_call *)(void *)(((char *)(pointer)) - offsetof(struct ak_call, member)))

struct ak_rest {
    struct ak_metrics *metrics;
    struct ak_log *log;
    size_t body_max;
    struct ak_shifted_clock *test_clock;
    _Atomic(struct ak_service *) service; /* set once; acquire pairs with set_service's release */
    struct ak_rest_series *series;        /* metrics.c */
};

#define AK_ROUTE(id, method, pattern, handler, flags, body_max)                                    \
    void ak_rest_##handler(struct ak_call *call);
#include "rest/routes.def"
#undef AK_ROUTE

/* As ak_reply_failure(), but a write that found its collection cold is tried again when it is
 * back. */
void ak_reply_failed_write(struct ak_call *call, enum ak_rc rc, const struct ak_err *err);

/* --- series.c: metrics of requests, looked up once a route and status --- */

struct ak_rest_series *ak_rest_series_open(struct ak_metrics *metrics);
void ak_rest_series_close(struct ak_rest_series *series);
void ak_rest_series_count(struct ak_rest_series *series, const struct ak_route *route,
                          enum ak_http_method method, int status, size_t bytes_in, size_t bytes_out,
                          double seconds);

/* --- reply.c: each ends the call, which may be gone when it returns --- */

/* A JSON answer; takes the bytes of `body`. */
void ak_reply(struct ak_call *call, int status, struct ak_buf *body);
void ak_reply_typed(struct ak_call *call, int status, const char *type, struct ak_buf *body,
                    const char *more_headers);
void ak_reply_empty(struct ak_call *call); /* 204 */
void ak_reply_error(struct ak_call *call, enum ak_rc rc, const char *message);
/* What an operation failed with; a 503's Retry-After is the one that `err` knows. */
void ak_reply_failure(struct ak_call *call, enum ak_rc rc, const struct ak_err *err);
/* The same with another status than the code's. */
void ak_reply_error_as(struct ak_call *call, int status, enum ak_rc rc, const char *message);
/* X-Request-Id, when the request has one, and `more` (may be NULL): what every response carries.
 * NULL when there is nothing. */
const char *ak_reply_headers(const struct ak_http_request *request, const char *more,
                             char headers[AK_REST_HEADERS_MAX]);
/* 405 with the methods of `allowed`. */
void ak_reply_method(struct ak_call *call, unsigned allowed);
/* The collection is not needed any more. */
void ak_call_drop_collection(struct ak_call *call);

void ak_put_uuid(struct ak_buf *out, const struct ak_uuid *id); /* in quotes */
void ak_put_time(struct ak_buf *out, int64_t wall_us);          /* in quotes */
void ak_put_ms(struct ak_buf *out, double seconds); /* milliseconds with three decimals */
void ak_put_collection(struct ak_buf *out, const struct ak_collection_summary *summary);
/* A search's result: what is set. `dimension` is that of found->vector. */
void ak_put_hit(struct ak_buf *out, const struct ak_found *found, uint32_t dimension);
/* A document: what `include` asks for is there, null when not set. */
void ak_put_document(struct ak_buf *out, const struct ak_found *found, unsigned include,
                     uint32_t dimension);

/* --- read.c: pieces of bodies; a failure is in `in` --- */

/* What the documents and queries are for. `row` is said in messages ("vectors[3]: …"), -1: not. */
struct ak_reader {
    struct ak_json *in;
    struct ak_arena *arena;
    const struct ak_collection_info *info;
    const char *list;
    int64_t row;
};

/* Fail with "vectors[row]: …". */
void ak_read_fail(struct ak_reader *r, const char *fmt, ...) AK_PRINTF(2, 3);
/* f32[dimension], 64-byte aligned, in the arena; NULL on failure. */
const float *ak_read_vector(struct ak_reader *r);
/* One document's field; false: the key is none of a document's. */
bool ak_read_document_field(struct ak_reader *r, struct ak_str key, struct ak_document *doc);
/* All fields read: is it whole? */
void ak_read_document_end(struct ak_reader *r, const struct ak_document *doc);
void ak_read_document(struct ak_reader *r, struct ak_document *doc);
#define AK_DOCUMENT_FIELDS "id, external_id, vector, metadata"
bool ak_read_uuid(struct ak_reader *r, const char *field, struct ak_uuid *id);
/* ["external_id","metadata","vector"] → bits */
bool ak_read_include(struct ak_reader *r, unsigned *include);
/* A filter, or NULL for null. */
const struct ak_filter *ak_read_filter(struct ak_reader *r);
/* A string that stays valid when the reader is released. */
bool ak_read_string(struct ak_reader *r, struct ak_str *out);
/* An id in the path. false: the call is answered. */
bool ak_call_arg_uuid(struct ak_call *call, size_t at, struct ak_uuid *id);

/* --- Parameters of the query; a failure is in call->err --- */

/* Is each of them among `names`, which ends with NULL? */
AK_MUST bool ak_params_known(struct ak_call *call, const char *const *names);
/* *value stays as it is when the parameter is absent. */
AK_MUST bool ak_param_u64(struct ak_call *call, const char *name, uint64_t min, uint64_t max,
                          uint64_t *value);
AK_MUST bool ak_param_bool(struct ak_call *call, const char *name, bool *value);
AK_MUST bool ak_param_time(struct ak_call *call, const char *name, int64_t *wall_us);
/* Decoded; empty when absent. */
AK_MUST bool ak_param_text(struct ak_call *call, const char *name, struct ak_str *value);
/* "format 'x' is unknown: …" */
AK_MUST bool ak_read_snapshot_format(struct ak_str text, enum ak_snapshot_format *format,
                                     struct ak_err *err);
AK_MUST bool ak_read_compression(struct ak_str text, enum ak_codec *codec, struct ak_err *err);
AK_MUST bool ak_read_encoding(struct ak_str text, enum ak_snapshot_encoding *encoding,
                              struct ak_err *err);

/* --- import.c --- */

/* In on_head: take the body as a stream. */
void ak_import_start(struct ak_call *call, bool is_parquet);
/* In on_done: the request is going away. */
void ak_import_gone(struct ak_call *call);
