/* remote.c — a client, and below it, of a folder, everything that `akidb serve` opens. */
#include "cli/remote.h"
#include "base/mem.h"
#include "cli/serve.h"
#include "net/http.h"
#include "rest/rest.h"
#include <string.h>
#include <unistd.h>

#define CALL_TIMEOUT_MS 600000 /* a verify reads all of a snapshot */
#define GRACE_MS 1000

struct ak_remote {
    struct ak_client *client;
    bool is_unlogged;
    char *name;
    struct ak_buf path;
    struct ak_buf answer;
    /* of a folder */
    struct ak_log *log;
    struct ak_engine *engine;
    struct ak_objstore *store;
    struct ak_archive *archive;
    struct ak_tiers *tiers;
    struct ak_service *service;
    struct ak_rest *rest;
    struct ak_http_server *http;
};

void ak_remote_close(struct ak_remote *remote)
{
    if (!remote) {
        return;
    }
    ak_client_close(remote->client);
    ak_http_close(remote->http, GRACE_MS);
    ak_service_close(remote->service);
    ak_rest_close(remote->rest);
    ak_tiers_close(remote->tiers);
    ak_archive_close(remote->archive);
    ak_engine_close(remote->engine);
    ak_objstore_close(remote->store);
    ak_log_close(remote->log);
    ak_buf_release(&remote->path);
    ak_buf_release(&remote->answer);
    ak_free(remote->name);
    ak_free(remote);
}

/* For what is asked: by itself nothing moves in a folder while a command works on it. */
static enum ak_rc open_tiers(struct ak_remote *remote, const struct ak_config *config,
                             struct ak_err *err)
{
    struct ak_tiers_options options;
    ak_serve_tiers_options(config, &options);
    options.engine = remote->engine;
    options.archive = remote->archive;
    options.log = remote->log;
    options.is_off = true;
    options.threads = 1;
    return ak_tiers_open(&options, &remote->tiers, err);
}

static enum ak_rc open_service(struct ak_remote *remote, const struct ak_target_options *options,
                               struct ak_err *err)
{
    struct ak_archive_options archive;
    enum ak_rc rc = ak_serve_open_engine(options->config, options->dir, options->may_make,
                                         remote->log, &remote->engine, err);
    if (rc == AK_OK) {
        rc = ak_serve_open_store(options->config, options->dir, false, NULL, remote->log, NULL,
                                 &remote->store, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    ak_serve_archive_options(options->config, &archive);
    archive.engine = remote->engine;
    archive.store = remote->store;
    archive.log = remote->log;
    archive.interval_s = 0; /* the schedule is the server's */
    archive.retain_count = 0;
    archive.retain_age_s = 0;
    rc = ak_archive_open(&archive, &remote->archive, err);
    rc = rc == AK_OK ? open_tiers(remote, options->config, err) : rc;
    const struct ak_service_options service = {
        .engine = remote->engine,
        .archive = remote->archive,
        .tiers = remote->tiers,
        .snapshots = archive.snapshots,
        .log = remote->log,
    };
    return rc == AK_OK ? ak_service_open(&service, &remote->service, err) : rc;
}

static enum ak_rc open_folder(struct ak_remote *remote, const struct ak_target_options *options,
                              char url[AK_TARGET_URL_MAX], struct ak_err *err)
{
    const struct ak_config *config = options->config;
    /* A command is quiet about what goes well. */
    remote->log = ak_log_open(
        STDERR_FILENO,
        config->log_level < AK_LOG_WARN ? AK_LOG_WARN : (enum ak_log_level)config->log_level,
        (enum ak_log_format)config->log_format);
    enum ak_rc rc = open_service(remote, options, err);
    if (rc != AK_OK) {
        return rc;
    }
    const struct ak_rest_options rest = {.log = remote->log};
    remote->rest = ak_rest_open(&rest);
    ak_rest_set_service(remote->rest, remote->service);
    const struct ak_http_options http = {
        .listen = "127.0.0.1:0",
        .loops = 1,
        .app = ak_rest_app(remote->rest),
        .log = remote->log,
    };
    rc = ak_http_open(&http, &remote->http, err);
    if (rc == AK_OK) {
        (void)snprintf(url, AK_TARGET_URL_MAX, "http://127.0.0.1:%u", ak_http_port(remote->http));
    }
    return rc;
}

enum ak_rc ak_remote_open(const struct ak_target_options *options, struct ak_remote **remote,
                          struct ak_err *err)
{
    char url[AK_TARGET_URL_MAX];
    if (options->url && options->dir) {
        return ak_fail(err, AK_INVALID,
                       "--url and --data exclude each other: a server, or a folder of its own");
    }
    struct ak_remote *made = ak_zalloc(sizeof *made);
    enum ak_rc rc = AK_OK;
    ak_buf_init(&made->path, 0);
    ak_buf_init(&made->answer, 0);
    if (options->dir) {
        rc = open_folder(made, options, url, err);
    } else {
        ak_target_url(options, url);
    }
    if (rc == AK_OK) {
        const char *name = options->dir ? options->dir : url;
        made->name = ak_strdup_n(name, strlen(name));
        rc = ak_client_open(url, &made->client, err);
    }
    if (rc != AK_OK) {
        ak_remote_close(made);
        return rc;
    }
    *remote = made;
    return AK_OK;
}

struct ak_client *ak_remote_client(struct ak_remote *remote)
{
    return remote->client;
}

const char *ak_remote_name(const struct ak_remote *remote)
{
    return remote->name;
}

const char *ak_remote_path(struct ak_remote *remote, struct ak_str collection, const char *rest)
{
    ak_buf_clear(&remote->path);
    ak_buf_add_str(&remote->path, AK_STR("/api/v1/collections/"));
    ak_url_put(&remote->path, collection);
    ak_buf_add_str(&remote->path, ak_str_of(rest));
    return ak_buf_cstr(&remote->path);
}

enum ak_rc ak_remote_call(struct ak_remote *remote, const char *method, const char *path,
                          struct ak_buf *json, struct ak_str *answer, struct ak_err *err)
{
    enum ak_rc rc = json ? ak_buf_check(json, err) : AK_OK;
    if (rc != AK_OK) {
        return rc;
    }
    const struct ak_request request = {
        .method = method,
        .path = path,
        .content_type = json ? "application/json" : NULL,
        .is_unlogged = remote->is_unlogged,
        .body = json ? ak_buf_str(json) : AK_STR_NONE,
        .timeout_ms = CALL_TIMEOUT_MS,
    };
    rc = ak_client_call(remote->client, &request, &remote->answer, err);
    if (rc == AK_OK && answer) {
        *answer = ak_buf_str(&remote->answer);
    }
    return rc;
}

void ak_remote_unlogged(struct ak_remote *remote)
{
    remote->is_unlogged = true;
}
