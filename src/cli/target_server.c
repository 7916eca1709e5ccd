/* target_server.c — commands against a server: the REST API. */
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/client.h"
#include "cli/sender.h"
#include "cli/target_priv.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define BATCH_BYTES_MAX ((size_t)4 << 20)
#define BATCH_DOCS_MAX 5000u
#define LINK_POLL_MS 100
/* A batch may wait for the disk and, when the server is behind, help to link. */
#define IMPORT_TIMEOUT_MS 600000

struct server {
    struct ak_target target;
    struct ak_client *client;
    struct ak_buf path;
    struct ak_buf body; /* sent */
    struct ak_buf got;  /* received */
    /* of an import */
    struct ak_sender *sender;
    uint32_t dimension;
    struct ak_buf batch; /* NDJSON lines */
    uint64_t batch_docs;
};

static struct server *server_of(struct ak_target *target)
{
    return (struct server *)(void *)target;
}

static void server_close(struct ak_target *target)
{
    struct server *server = server_of(target);
    ak_sender_close(server->sender);
    ak_client_close(server->client);
    ak_buf_release(&server->path);
    ak_buf_release(&server->body);
    ak_buf_release(&server->got);
    ak_buf_release(&server->batch);
    ak_free(server);
}

/* path = /api/v1/collections/<collection><rest> */
static const char *path_of(struct server *server, struct ak_str collection, const char *rest)
{
    ak_buf_clear(&server->path);
    ak_buf_add_str(&server->path, AK_STR("/api/v1/collections/"));
    ak_url_put(&server->path, collection);
    ak_buf_add_str(&server->path, ak_str_of(rest));
    return ak_buf_cstr(&server->path);
}

static enum ak_rc call(struct server *server, const char *method, const char *path, bool has_body,
                       struct ak_err *err)
{
    struct ak_request request = {
        .method = method,
        .path = path,
        .content_type = has_body ? "application/json" : NULL,
        .body = has_body ? ak_buf_str(&server->body) : AK_STR_NONE,
    };
    if (has_body) {
        enum ak_rc rc = ak_buf_check(&server->body, err);
        if (rc != AK_OK) {
            return rc;
        }
    }
    return ak_client_call(server->client, &request, &server->got, err);
}

/* The answer was not what this version understands. */
static enum ak_rc finish(struct server *server, struct ak_json *in, struct ak_err *err)
{
    enum ak_rc rc = ak_json_finish(in, err);
    ak_json_release(in);
    return rc == AK_OK ? rc : ak_wrap(err, AK_UNAVAILABLE, "the answer of %s", server->target.name);
}

/* --- Collections --- */

static void read_index(struct ak_json *in, struct ak_index_params *index)
{
    struct ak_str key;
    uint64_t n;
    ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        if (ak_str_eq(key, AK_STR("m")) && ak_json_u64(in, 0, UINT32_MAX, &n)) {
            index->m = (uint32_t)n;
        } else if (ak_str_eq(key, AK_STR("ef_construction")) &&
                   ak_json_u64(in, 0, UINT32_MAX, &n)) {
            index->ef_construction = (uint32_t)n;
        } else if (ak_str_eq(key, AK_STR("ef_search")) && ak_json_u64(in, 0, UINT32_MAX, &n)) {
            index->ef_search = (uint32_t)n;
        } else if (ak_str_eq(key, AK_STR("vectors"))) {
            struct ak_str text;
            if (ak_json_string(in, &text) && !ak_vectors_parse(text, &index->vectors)) {
                ak_json_fail(in, "vectors in '%.*s'", AK_STR_ARG(text));
            }
        } else {
            (void)ak_json_skip(in, NULL);
        }
    }
}

static void read_memory(struct ak_json *in, struct ak_collection_summary *summary)
{
    const struct {
        const char *key;
        uint64_t *out;
    } members[] = {{"vectors", &summary->memory.vectors},    {"codes", &summary->memory.codes},
                   {"links", &summary->memory.links},        {"rest", &summary->memory.rest},
                   {"documents", &summary->documents_bytes}, {"mapped", &summary->memory.files}};
    struct ak_str key;
    summary->has_memory = true;
    ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        uint64_t *out = NULL;
        for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
            out = ak_str_eq(key, ak_str_of(members[i].key)) ? members[i].out : out;
        }
        if (out) {
            (void)ak_json_u64(in, 0, UINT64_MAX, out);
        } else {
            (void)ak_json_skip(in, NULL);
        }
    }
}

static void read_text(struct ak_json *in, struct ak_arena *arena, struct ak_str *out)
{
    struct ak_str text;
    if (!ak_json_null(in) && ak_json_string(in, &text)) {
        *out = ak_arena_str(arena, text);
    }
}

static void read_collection(struct ak_json *in, struct ak_arena *arena,
                            struct ak_collection_summary *summary)
{
    struct ak_str key;
    struct ak_str text;
    uint64_t n;
    struct ak_collection_info *info = &summary->info;
    *summary = (struct ak_collection_summary){.info.state = AK_COLLECTION_READY};
    ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        if (ak_str_eq(key, AK_STR("id"))) {
            if (ak_json_string(in, &text) && !ak_uuid_parse(text, &info->id)) {
                ak_json_fail(in, "'id' is no UUID");
            }
        } else if (ak_str_eq(key, AK_STR("name"))) {
            read_text(in, arena, &info->name);
        } else if (ak_str_eq(key, AK_STR("embedding_model"))) {
            read_text(in, arena, &info->embedding_model);
        } else if (ak_str_eq(key, AK_STR("dimension"))) {
            info->dimension = ak_json_u64(in, 1, AK_DIMENSION_MAX, &n) ? (uint32_t)n : 0;
        } else if (ak_str_eq(key, AK_STR("metric"))) {
            if (ak_json_string(in, &text) && !ak_metric_parse(text, &info->metric)) {
                ak_json_fail(in, "unknown metric '%.*s'", AK_STR_ARG(text));
            }
        } else if (ak_str_eq(key, AK_STR("index"))) {
            read_index(in, &info->index);
        } else if (ak_str_eq(key, AK_STR("memory"))) {
            read_memory(in, summary);
        } else if (ak_str_eq(key, AK_STR("documents"))) {
            (void)ak_json_u64(in, 0, UINT64_MAX, &summary->documents);
        } else if (ak_str_eq(key, AK_STR("created_at"))) {
            if (ak_json_string(in, &text) && !ak_time_parse(text, &info->created_us)) {
                ak_json_fail(in, "'created_at' is no time");
            }
        } else {
            (void)ak_json_skip(in, NULL); /* newer servers may say more */
        }
    }
}

static enum ak_rc server_describe(struct ak_target *target, struct ak_str collection,
                                  struct ak_arena *arena, struct ak_collection_summary *summary,
                                  struct ak_err *err)
{
    struct server *server = server_of(target);
    enum ak_rc rc = call(server, "GET", path_of(server, collection, ""), false, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_json in;
    ak_json_init(&in, ak_buf_str(&server->got));
    read_collection(&in, arena, summary);
    return finish(server, &in, err);
}

static void read_list(struct ak_json *in, struct ak_arena *arena,
                      struct ak_collection_summary **list, size_t *count)
{
    size_t cap = 0;
    ak_json_array(in);
    while (ak_json_next_element(in)) {
        if (*count == cap) {
            cap = cap ? 2 * cap : 64;
            struct ak_collection_summary *grown = ak_arena_alloc(arena, cap * sizeof *grown);
            if (!grown) {
                ak_json_fail(in, "no memory for %zu collections", cap);
                return;
            }
            if (*count > 0) {
                memcpy(grown, *list, *count * sizeof *grown);
            }
            *list = grown;
        }
        read_collection(in, arena, &(*list)[*count]);
        *count += !ak_json_failed(in);
    }
}

static enum ak_rc server_list(struct ak_target *target, struct ak_str *cursor,
                              struct ak_arena *arena, struct ak_collection_summary **list,
                              size_t *count, struct ak_err *err)
{
    struct server *server = server_of(target);
    ak_buf_clear(&server->path);
    ak_buf_add_str(&server->path, AK_STR("/api/v1/collections?limit=1000"));
    if (cursor->len > 0) {
        ak_buf_add_str(&server->path, AK_STR("&after="));
        ak_url_put(&server->path, *cursor);
    }
    enum ak_rc rc = call(server, "GET", ak_buf_cstr(&server->path), false, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_json in;
    struct ak_str key;
    *list = NULL;
    *count = 0;
    *cursor = AK_STR_NONE;
    ak_json_init(&in, ak_buf_str(&server->got));
    ak_json_object(&in);
    while (ak_json_next_key(&in, &key)) {
        if (ak_str_eq(key, AK_STR("collections"))) {
            read_list(&in, arena, list, count);
        } else if (ak_str_eq(key, AK_STR("next"))) {
            read_text(&in, arena, cursor);
        } else {
            (void)ak_json_skip(&in, NULL);
        }
    }
    return finish(server, &in, err);
}

static enum ak_rc server_create(struct ak_target *target, const struct ak_collection_info *spec,
                                struct ak_err *err)
{
    struct server *server = server_of(target);
    struct ak_buf *body = &server->body;
    ak_buf_clear(body);
    ak_buf_add_str(body, AK_STR("{\"name\":"));
    ak_json_put_string(body, spec->name);
    ak_buf_add_fmt(body, ",\"dimension\":%u,\"metric\":\"%s\"", spec->dimension,
                   ak_metric_name(spec->metric));
    if (spec->embedding_model.len > 0) {
        ak_buf_add_str(body, AK_STR(",\"embedding_model\":"));
        ak_json_put_string(body, spec->embedding_model);
    }
    ak_buf_add_fmt(body, ",\"index\":{\"m\":%u,\"ef_construction\":%u,\"ef_search\":%u",
                   spec->index.m, spec->index.ef_construction, spec->index.ef_search);
    if (spec->index.vectors != AK_VECTORS_RAM) { /* older servers do not know the word */
        ak_buf_add_fmt(body, ",\"vectors\":\"%s\"", ak_vectors_name(spec->index.vectors));
    }
    ak_buf_add_str(body, AK_STR("}}"));
    return call(server, "POST", "/api/v1/collections", true, err);
}

static enum ak_rc server_drop(struct ak_target *target, struct ak_str collection,
                              struct ak_err *err)
{
    struct server *server = server_of(target);
    return call(server, "DELETE", path_of(server, collection, ""), false, err);
}

/* --- Search --- */

static void read_hit(struct ak_json *in, struct ak_arena *arena, struct ak_found *found)
{
    struct ak_str key;
    struct ak_str text;
    double score = 0;
    *found = (struct ak_found){0};
    ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        if (ak_str_eq(key, AK_STR("id"))) {
            if (ak_json_string(in, &text) && !ak_uuid_parse(text, &found->id)) {
                ak_json_fail(in, "'id' is no UUID");
            }
        } else if (ak_str_eq(key, AK_STR("score"))) {
            (void)ak_json_double(in, &score);
        } else if (ak_str_eq(key, AK_STR("external_id"))) {
            read_text(in, arena, &found->external_id);
        } else if (ak_str_eq(key, AK_STR("metadata"))) {
            struct ak_str raw;
            if (!ak_json_null(in) && ak_json_skip(in, &raw)) {
                found->metadata = ak_arena_str(arena, raw);
            }
        } else {
            (void)ak_json_skip(in, NULL);
        }
    }
    found->score = (float)score;
}

static enum ak_rc server_search(struct ak_target *target, const struct ak_target_query *query,
                                struct ak_arena *arena, struct ak_found **found, uint32_t *count,
                                struct ak_err *err)
{
    struct server *server = server_of(target);
    struct ak_buf *body = &server->body;
    ak_buf_clear(body);
    ak_buf_add_str(body, AK_STR("{\"vector\":"));
    ak_json_put_f32_array(body, query->vector, query->dimension);
    ak_buf_add_fmt(body, ",\"k\":%u", query->k);
    if (query->ef) {
        ak_buf_add_fmt(body, ",\"ef\":%u", query->ef);
    }
    if (query->recall > 0.0) {
        ak_buf_add_str(body, AK_STR(",\"recall\":"));
        ak_json_put_double(body, query->recall);
    }
    if (query->exact) {
        ak_buf_add_str(body, AK_STR(",\"exact\":true"));
    }
    if (query->filter.len > 0) {
        ak_buf_add_str(body, AK_STR(",\"filter\":"));
        ak_buf_add_str(body, query->filter);
    }
    ak_buf_add_char(body, '}');
    enum ak_rc rc = call(server, "POST", path_of(server, query->collection, "/search"), true, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_found *list = ak_arena_alloc(arena, query->k * sizeof *list);
    if (!list) {
        return ak_fail(err, AK_NOMEM, "no memory for %u results", query->k);
    }
    uint32_t n = 0;
    struct ak_json in;
    struct ak_str key;
    ak_json_init(&in, ak_buf_str(&server->got));
    ak_json_object(&in);
    while (ak_json_next_key(&in, &key)) {
        if (!ak_str_eq(key, AK_STR("results"))) {
            (void)ak_json_skip(&in, NULL);
            continue;
        }
        ak_json_array(&in);
        while (ak_json_next_element(&in)) {
            if (n == query->k) {
                ak_json_fail(&in, "more than %u results", query->k);
                break;
            }
            read_hit(&in, arena, &list[n++]);
        }
    }
    rc = finish(server, &in, err);
    if (rc == AK_OK) {
        *found = list;
        *count = n;
    }
    return rc;
}

static enum ak_rc server_vector(struct ak_target *target, struct ak_str collection,
                                const struct ak_uuid *id, uint32_t dimension,
                                struct ak_arena *arena, const float **vector, struct ak_err *err)
{
    struct server *server = server_of(target);
    char rest[64];
    char text[AK_UUID_TEXT_LEN];
    ak_uuid_format(id, text);
    (void)snprintf(rest, sizeof rest, "/vectors/%.*s", AK_UUID_TEXT_LEN, text);
    enum ak_rc rc = call(server, "GET", path_of(server, collection, rest), false, err);
    if (rc != AK_OK) {
        return rc;
    }
    float *out = ak_arena_alloc_aligned(arena, AK_CACHE_LINE, dimension * sizeof(float));
    if (!out) {
        return ak_fail(err, AK_NOMEM, "no memory for a vector");
    }
    struct ak_json in;
    struct ak_str key;
    size_t n = 0;
    ak_json_init(&in, ak_buf_str(&server->got));
    ak_json_object(&in);
    while (ak_json_next_key(&in, &key)) {
        if (ak_str_eq(key, AK_STR("vector"))) {
            (void)ak_json_f32_array(&in, out, dimension, &n);
        } else {
            (void)ak_json_skip(&in, NULL);
        }
    }
    if (n != dimension) {
        ak_json_fail(&in, "the vector has %zu numbers, not %u", n, dimension);
    }
    rc = finish(server, &in, err);
    if (rc == AK_OK) {
        *vector = out;
    }
    return rc;
}

/* --- Import --- */

static enum ak_rc server_import_begin(struct ak_target *target,
                                      const struct ak_collection_info *info, struct ak_err *err)
{
    struct server *server = server_of(target);
    const struct ak_sender_options options = {
        .client = server->client,
        .path = path_of(server, info->name, "/import"),
        .content_type = "application/x-ndjson",
        .timeout_ms = IMPORT_TIMEOUT_MS,
    };
    server->dimension = info->dimension;
    return ak_sender_open(&options, &server->sender, err);
}

static enum ak_rc put_batch(struct server *server, struct ak_err *err)
{
    enum ak_rc rc = ak_buf_check(&server->batch, err);
    if (rc != AK_OK || server->batch_docs == 0) {
        return rc;
    }
    int64_t began = ak_mono_ns(ak_clock_system());
    rc = ak_sender_put(server->sender, &server->batch, server->batch_docs, err);
    server->target.log_seconds += (double)(ak_mono_ns(ak_clock_system()) - began) / 1e9;
    server->batch_docs = 0;
    return rc;
}

static enum ak_rc server_import_add(struct ak_target *target, const struct ak_row *row,
                                    struct ak_err *err)
{
    struct server *server = server_of(target);
    struct ak_buf *out = &server->batch;
    const char *comma = "";
    ak_buf_add_char(out, '{');
    if (!ak_uuid_is_nil(&row->id)) {
        char text[AK_UUID_TEXT_LEN];
        ak_uuid_format(&row->id, text);
        ak_buf_add_fmt(out, "\"id\":\"%.*s\"", AK_UUID_TEXT_LEN, text);
        comma = ",";
    }
    if (row->external_id.len > 0) {
        ak_buf_add_fmt(out, "%s\"external_id\":", comma);
        ak_json_put_string(out, row->external_id);
        comma = ",";
    }
    if (row->metadata.len > 0) {
        ak_buf_add_fmt(out, "%s\"metadata\":", comma);
        ak_json_put_compact(out, row->metadata);
        comma = ",";
    }
    ak_buf_add_fmt(out, "%s\"vector\":", comma);
    if (row->vector) {
        ak_json_put_f32_array(out, row->vector, server->dimension);
    } else {
        ak_buf_add_str(out, row->vector_text); /* from one line, so without line breaks */
    }
    ak_buf_add_str(out, AK_STR("}\n"));
    server->batch_docs++;
    bool full = out->len >= BATCH_BYTES_MAX || server->batch_docs == BATCH_DOCS_MAX;
    return full ? put_batch(server, err) : ak_buf_check(out, err);
}

static enum ak_rc server_import_flush(struct ak_target *target, struct ak_err *err)
{
    struct server *server = server_of(target);
    enum ak_rc rc = put_batch(server, err);
    int64_t began = ak_mono_ns(ak_clock_system());
    rc = rc == AK_OK ? ak_sender_flush(server->sender, err) : rc;
    target->log_seconds += (double)(ak_mono_ns(ak_clock_system()) - began) / 1e9;
    return rc;
}

/* The gauge of all collections: the API tells no collection's own. */
static enum ak_rc read_pending(struct server *server, uint64_t *pending, struct ak_err *err)
{
    enum ak_rc rc = call(server, "GET", "/metrics", false, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_str rest = ak_buf_str(&server->got);
    while (rest.len > 0) {
        struct ak_str line;
        struct ak_str tail;
        (void)ak_str_split(rest, '\n', &line, &tail);
        struct ak_str name = AK_STR("akidb_vectors_pending ");
        if (ak_str_has_prefix(line, name)) {
            struct ak_str number = ak_str_trim(ak_str_sub(line, name.len, line.len));
            if (ak_str_u64(number, UINT64_MAX, pending)) {
                return AK_OK;
            }
        }
        rest = tail;
    }
    return ak_fail(err, AK_UNAVAILABLE, "%s does not say how many vectors wait for linking",
                   server->target.name);
}

static enum ak_rc server_wait_linked(struct ak_target *target,
                                     void (*progress)(void *ctx, uint64_t left), void *ctx,
                                     struct ak_err *err)
{
    int64_t began = ak_mono_ns(ak_clock_system());
    uint64_t pending = 1;
    enum ak_rc rc = AK_OK;
    while (rc == AK_OK && pending > 0) {
        rc = read_pending(server_of(target), &pending, err);
        if (rc == AK_OK && pending > 0) {
            struct timespec pause = {.tv_nsec = LINK_POLL_MS * 1000000L};
            progress(ctx, pending);
            (void)nanosleep(&pause, NULL);
        }
    }
    target->index_seconds += (double)(ak_mono_ns(ak_clock_system()) - began) / 1e9;
    return rc;
}

static const struct ak_target_ops server_ops = {
    .close = server_close,
    .describe = server_describe,
    .list = server_list,
    .create = server_create,
    .drop = server_drop,
    .search = server_search,
    .vector = server_vector,
    .import_begin = server_import_begin,
    .import_add = server_import_add,
    .import_flush = server_import_flush,
    .wait_linked = server_wait_linked,
};

enum ak_rc ak_target_open_server(const char *url, struct ak_target **target, struct ak_err *err)
{
    struct ak_client *client;
    enum ak_rc rc = ak_client_open(url, &client, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct server *server = ak_zalloc(sizeof *server);
    server->target.ops = &server_ops;
    server->target.name = ak_strdup_n(url, strlen(url));
    server->client = client;
    ak_buf_init(&server->path, 0);
    ak_buf_init(&server->body, 0);
    ak_buf_init(&server->got, 0);
    ak_buf_init(&server->batch, 0);
    *target = &server->target;
    return AK_OK;
}
