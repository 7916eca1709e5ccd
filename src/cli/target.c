/* target.c — choosing server or folder, and what both share. */
#include "cli/target.h"
#include "base/file.h"
#include "base/mem.h"
#include "cli/serve.h"
#include "cli/target_priv.h"
#include <stdlib.h>
#include <string.h>

/* The server of the configuration: the port that it wrote into its data folder, else that of
 * server.listen. A server that listens everywhere is met on loopback. */
static void url_of_config(const struct ak_config *config, char *url, size_t size)
{
    struct ak_str listen = ak_str_of(config->server_listen);
    struct ak_str host = listen;
    struct ak_str port = AK_STR_NONE;
    const char *colon = memrchr(listen.p, ':', listen.len);
    if (colon) {
        host = ak_str_sub(listen, 0, (size_t)(colon - listen.p));
        port = ak_str_sub(listen, host.len + 1, listen.len);
    }
    if (host.len == 0 || ak_str_eq(host, AK_STR("0.0.0.0")) || ak_str_eq(host, AK_STR("*"))) {
        host = AK_STR("127.0.0.1");
    } else if (ak_str_eq(host, AK_STR("[::]"))) {
        host = AK_STR("[::1]");
    }
    uint16_t written;
    char written_text[8];
    if (ak_serve_read_port(config->data_dir, &written)) {
        (void)snprintf(written_text, sizeof written_text, "%u", written);
        port = ak_str_of(written_text);
    }
    (void)snprintf(url, size, "http://%.*s:%.*s", AK_STR_ARG(host), AK_STR_ARG(port));
}

void ak_target_url(const struct ak_target_options *options, char url[AK_TARGET_URL_MAX])
{
    const char *given = options->url ? options->url : getenv("AKIDB_URL");
    if (given && *given) {
        (void)snprintf(url, AK_TARGET_URL_MAX, "%s", given);
    } else {
        url_of_config(options->config, url, AK_TARGET_URL_MAX);
    }
}

enum ak_rc ak_target_open(const struct ak_target_options *options, struct ak_target **target,
                          struct ak_err *err)
{
    if (options->url && options->dir) {
        return ak_fail(err, AK_INVALID,
                       "--url and --data exclude each other: a server, or a folder of its own");
    }
    if (options->dir) {
        return ak_target_open_folder(options->dir, options->config, options->may_make, target, err);
    }
    char url[AK_TARGET_URL_MAX];
    ak_target_url(options, url);
    return ak_target_open_server(url, target, err);
}

void ak_target_close(struct ak_target *target)
{
    if (target) {
        char *name = target->name;
        target->ops->close(target);
        ak_free(name);
    }
}

const char *ak_target_name(const struct ak_target *target)
{
    return target->name;
}

bool ak_target_is_folder(const struct ak_target *target)
{
    return target->is_folder;
}

enum ak_rc ak_target_describe(struct ak_target *target, struct ak_str collection,
                              struct ak_arena *arena, struct ak_collection_summary *summary,
                              struct ak_err *err)
{
    return target->ops->describe(target, collection, arena, summary, err);
}

enum ak_rc ak_target_list(struct ak_target *target, struct ak_arena *arena,
                          struct ak_collection_summary **list, size_t *count, struct ak_err *err)
{
    struct ak_collection_summary *all = NULL;
    size_t total = 0;
    size_t cap = 0;
    struct ak_str cursor = AK_STR_NONE;
    do {
        struct ak_collection_summary *page;
        size_t n;
        enum ak_rc rc = target->ops->list(target, &cursor, arena, &page, &n, err);
        if (rc != AK_OK) {
            return rc;
        }
        if (total + n > cap) { /* doubled, so that the arena holds at most twice what is needed */
            cap = total + n > 2 * cap ? total + n : 2 * cap;
            struct ak_collection_summary *grown = ak_arena_alloc(arena, cap * sizeof *grown);
            if (!grown) {
                return ak_fail(err, AK_NOMEM, "no memory for %zu collections", cap);
            }
            if (total > 0) {
                memcpy(grown, all, total * sizeof *grown);
            }
            all = grown;
        }
        if (n > 0) {
            memcpy(all + total, page, n * sizeof *all);
        }
        total += n;
    } while (cursor.len > 0 && total < AK_COLLECTIONS_MAX);
    *list = all;
    *count = total;
    return AK_OK;
}

enum ak_rc ak_target_create(struct ak_target *target, const struct ak_collection_info *spec,
                            struct ak_err *err)
{
    return target->ops->create(target, spec, err);
}

enum ak_rc ak_target_drop(struct ak_target *target, struct ak_str collection, struct ak_err *err)
{
    return target->ops->drop(target, collection, err);
}

enum ak_rc ak_target_verify(struct ak_target *target, struct ak_str collection, struct ak_err *err)
{
    if (!target->ops->verify) {
        return ak_fail(err, AK_UNSUPPORTED,
                       "a running server is not verified: stop it and name its folder with --data");
    }
    return target->ops->verify(target, collection, err);
}

enum ak_rc ak_target_search(struct ak_target *target, const struct ak_target_query *query,
                            struct ak_arena *arena, struct ak_found **found, uint32_t *count,
                            struct ak_err *err)
{
    return target->ops->search(target, query, arena, found, count, err);
}

enum ak_rc ak_target_vector(struct ak_target *target, struct ak_str collection,
                            const struct ak_uuid *id, uint32_t dimension, struct ak_arena *arena,
                            const float **vector, struct ak_err *err)
{
    return target->ops->vector(target, collection, id, dimension, arena, vector, err);
}

bool ak_target_wants_floats(const struct ak_target *target)
{
    return target->is_folder;
}

enum ak_rc ak_target_import_begin(struct ak_target *target, const struct ak_collection_info *info,
                                  struct ak_err *err)
{
    return target->ops->import_begin(target, info, err);
}

enum ak_rc ak_target_import_add(struct ak_target *target, const struct ak_row *row,
                                struct ak_err *err)
{
    return target->ops->import_add(target, row, err);
}

enum ak_rc ak_target_import_flush(struct ak_target *target, struct ak_err *err)
{
    return target->ops->import_flush(target, err);
}

void ak_target_import_times(const struct ak_target *target, double *log_seconds,
                            double *index_seconds)
{
    *log_seconds = target->log_seconds;
    *index_seconds = target->index_seconds;
}

enum ak_rc ak_target_wait_linked(struct ak_target *target,
                                 void (*progress)(void *ctx, uint64_t left), void *ctx,
                                 struct ak_err *err)
{
    return target->ops->wait_linked(target, progress, ctx, err);
}
