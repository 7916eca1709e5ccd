/* http_request.c — request objects: recycling, the application's view of head and body, decoding.
 *
 * A request holds one reference to the read buffer that its head lies in (and often its body), so
 * nothing of it is copied. Objects are recycled through their loop's free list with their arena's
 * first block; sanitizer builds free them instead, so that a use after the end is seen.
 */
#include "base/encode.h"
#include "base/mem.h"
#include "net/net_priv.h"
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FREE_REQUESTS_MAX 0
#define FREE_CHUNKS_MAX 0
#endif
#endif
#if !defined(FREE_REQUESTS_MAX) && (defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__))
#define FREE_REQUESTS_MAX 0
#define FREE_CHUNKS_MAX 0
#endif
#ifndef FREE_REQUESTS_MAX
#define FREE_REQUESTS_MAX 1024u
#define FREE_CHUNKS_MAX 256u
#endif
#define ARENA_MAX ((size_t)256 << 20) /* of one request */
#define ARENA_KEEP ((size_t)64 << 10) /* an arena that gave out more is freed, not recycled */

/* --- Read buffers --- */

struct ak_net_chunk *ak_net_chunk_get(struct ak_net_loop *nl, uint32_t cap)
{
    struct ak_net_chunk *chunk = nl->free_chunks;
    if (chunk && cap == AK_NET_CHUNK_BYTES) {
        nl->free_chunks = chunk->next;
        nl->free_chunk_count--;
    } else {
        chunk = ak_try_alloc(sizeof *chunk + cap);
        if (!chunk) {
            return NULL;
        }
        chunk->cap = cap;
    }
    chunk->next = NULL;
    chunk->refs = 1;
    return chunk;
}

void ak_net_chunk_unref(struct ak_net_loop *nl, struct ak_net_chunk *chunk)
{
    if (!chunk || --chunk->refs != 0) {
        return;
    }
    if (chunk->cap == AK_NET_CHUNK_BYTES && nl->free_chunk_count + 1 <= FREE_CHUNKS_MAX) {
        chunk->next = nl->free_chunks;
        nl->free_chunks = chunk;
        nl->free_chunk_count++;
    } else {
        ak_free(chunk);
    }
}

/* --- Life --- */

struct ak_http_request *ak_request_new(struct ak_net_loop *nl, struct ak_conn *conn)
{
    struct ak_http_request *request = nl->free_requests;
    struct ak_arena arena;
    if (request) {
        nl->free_requests = request->next;
        nl->free_request_count--;
        arena = request->arena;
    } else {
        request = ak_alloc(sizeof *request);
        ak_arena_init(&arena, ARENA_MAX);
    }
    memset(request, 0, offsetof(struct ak_http_request, fields));
    request->arena = arena;
    request->nl = nl;
    request->conn = conn;
    request->body_max = nl->server->options.body_max;
    nl->live_requests++;
    return request;
}

static void free_now(struct ak_http_request *request)
{
    struct ak_net_loop *nl = request->nl;
    nl->live_requests--;
    if (nl->free_request_count + 1 > FREE_REQUESTS_MAX) {
        ak_arena_release(&request->arena);
        ak_free(request);
        return;
    }
    if (request->arena.used > ARENA_KEEP) {
        ak_arena_release(&request->arena);
    } else if (request->arena.used) {
        ak_arena_reset(&request->arena);
    }
    request->next = nl->free_requests;
    nl->free_requests = request;
    nl->free_request_count++;
}

void ak_request_release(struct ak_http_request *request)
{
    AK_ASSERT(!request->announced);
    if (request->chunk) {
        ak_net_chunk_unref(request->nl, request->chunk);
        request->chunk = NULL;
    }
    ak_buf_release(&request->body_buf);
    ak_buf_release(&request->answer);
    ak_response_release_view(request);
    bool is_less = ak_request_charge(request);
    AK_ASSERT(is_less);
    ak_flow_free(request->flow);
    request->flow = NULL;
    request->conn = NULL;
    if (atomic_load(&request->resume_posted)) {
        request->zombie = true; /* its resume post is in the queue and still names it */
        return;
    }
    free_now(request);
}

bool ak_request_charge(struct ak_http_request *request)
{
    struct ak_http_server *server = request->nl->server;
    size_t held = request->body_buf.cap + request->answer.cap;
    bool has_grown = held > request->charged;
    if (held == request->charged) {
        return true;
    }
    size_t change = held - request->charged; /* wraps around when it is less, and so does the sum */
    size_t all =
        atomic_fetch_add_explicit(&server->held_bytes, change, memory_order_relaxed) + change;
    ak_series_change(server->memory_series, (double)held - (double)request->charged);
    request->charged = held;
    return !has_grown || held <= AK_NET_SMALL_BYTES || all <= server->options.memory_max;
}

bool ak_request_claim(struct ak_http_request *request)
{
    return !atomic_exchange(&request->claimed, true);
}

void ak_request_done(struct ak_http_request *request, int status, size_t bytes_out)
{
    if (!request->announced) {
        return;
    }
    request->announced = false;
    const struct ak_http_server *server = request->nl->server;
    if (server->options.app.on_done) {
        double seconds = (double)(ak_mono_ns(server->clock) - request->started_ns) / 1e9;
        server->options.app.on_done(server->options.app.ctx, request, status,
                                    (size_t)request->body_read, bytes_out, seconds);
    }
}

/* --- The head --- */

/* The part of an absolute-form target ("http://host/path") from its path on; false: no authority.
 */
static bool skip_authority(struct ak_str *target)
{
    struct ak_str rest;
    if (target->len > 7 && ak_str_eq_nocase(ak_str_sub(*target, 0, 7), AK_STR("http://"))) {
        rest = ak_str_sub(*target, 7, SIZE_MAX);
    } else if (target->len > 8 && ak_str_eq_nocase(ak_str_sub(*target, 0, 8), AK_STR("https://"))) {
        rest = ak_str_sub(*target, 8, SIZE_MAX);
    } else {
        return false;
    }
    size_t host = 0;
    while (host < rest.len && rest.p[host] != '/' && rest.p[host] != '?') {
        host++;
    }
    *target = (struct ak_str){rest.p + host, rest.len - host};
    return host > 0;
}

bool ak_request_split_target(struct ak_http_request *request)
{
    struct ak_str target = request->target;
    if (target.len == 0 || memchr(target.p, '#', target.len)) {
        return false;
    }
    if (target.len == 1 && target.p[0] == '*') {
        request->path = target;
        return request->method == AK_HTTP_OPTIONS;
    }
    if (target.p[0] != '/' && !skip_authority(&target)) {
        return false;
    }
    (void)ak_str_split(target, '?', &request->path, &request->query);
    if (request->path.len == 0) { /* "http://host" and "http://host?x" mean the root */
        request->path = AK_STR("/");
    }
    return true;
}

enum ak_http_method ak_http_method(const struct ak_http_request *request)
{
    return request->method;
}

const char *ak_http_method_name(enum ak_http_method method)
{
    static const char *const names[] = {"GET",    "HEAD",  "POST",    "PUT",
                                        "DELETE", "PATCH", "OPTIONS", "OTHER"};
    AK_ASSERT((unsigned)method < sizeof names / sizeof names[0]);
    return names[method];
}

struct ak_str ak_http_path(const struct ak_http_request *request)
{
    return request->path;
}

struct ak_str ak_http_query(const struct ak_http_request *request)
{
    return request->query;
}

struct ak_str ak_http_header(const struct ak_http_request *request, struct ak_str name)
{
    for (size_t i = 0; i < request->field_count; i++) {
        const struct ak_net_field *field = &request->fields[i];
        if (field->name_len == name.len &&
            ak_str_eq_nocase((struct ak_str){request->head + field->name_at, name.len}, name)) {
            return (struct ak_str){request->head + field->value_at, field->value_len};
        }
    }
    return AK_STR_NONE;
}

bool ak_http_header_at(const struct ak_http_request *request, size_t i, struct ak_str *name,
                       struct ak_str *value)
{
    if (i >= request->field_count) {
        return false;
    }
    const struct ak_net_field *field = &request->fields[i];
    *name = (struct ak_str){request->head + field->name_at, field->name_len};
    *value = (struct ak_str){request->head + field->value_at, field->value_len};
    return true;
}

struct ak_str ak_http_body(const struct ak_http_request *request)
{
    return request->body;
}

struct ak_arena *ak_http_arena(struct ak_http_request *request)
{
    return &request->arena;
}

void ak_http_attach(struct ak_http_request *request, void *data)
{
    request->attached = data;
}

void *ak_http_attached(const struct ak_http_request *request)
{
    return request->attached;
}

/* --- Decoding --- */

struct ak_str ak_http_decode(struct ak_http_request *request, struct ak_str segment)
{
    return ak_percent_decode(segment, false, &request->arena);
}

bool ak_http_param(struct ak_http_request *request, struct ak_str name, struct ak_str *value)
{
    struct ak_str rest = request->query;
    while (rest.len) {
        struct ak_str pair;
        struct ak_str key;
        struct ak_str raw;
        (void)ak_str_split(rest, '&', &pair, &rest);
        (void)ak_str_split(pair, '=', &key, &raw);
        if (ak_str_eq(key, name)) {
            *value = ak_percent_decode(raw, true, &request->arena);
            return true;
        }
    }
    return false;
}

/* --- What the application sets --- */

void ak_http_set_body_max(struct ak_http_request *request, size_t bytes)
{
    request->body_max = bytes;
}

void ak_http_start_stream(struct ak_http_request *request, const struct ak_http_stream *stream)
{
    AK_ASSERT(stream->on_chunk && stream->on_end);
    request->stream = *stream;
    request->is_stream = true;
}

void ak_http_pause(struct ak_http_request *request)
{
    atomic_store(&request->paused, true);
}

static void on_resume_post(struct ak_loop_post *post)
{
    struct ak_http_request *request =
        (struct ak_http_request *)(void *)((char *)post -
                                           offsetof(struct ak_http_request, resume_post));
    atomic_store(&request->resume_posted, false);
    if (request->zombie) {
        free_now(request);
    } else if (request->conn && !atomic_load(&request->paused)) {
        request->conn->progress++;
        ak_conn_run_soon(request->conn);
    }
}

void ak_http_resume(struct ak_http_request *request)
{
    atomic_store(&request->paused, false);
    if (!atomic_exchange(&request->resume_posted, true)) {
        request->resume_post.fn = on_resume_post;
        ak_loop_post(request->nl->loop, &request->resume_post);
    }
}
