/* serve_shared.c — configuration to options of engine, store, archive and query log, and the PORT
 * file. */
#include "base/file.h"
#include "cli/serve.h"
#include "objstore/objstore_guard.h"
#include "objstore/s3.h"
#include "perf/perf.h"
#include <stdio.h>

#define PATH_MAX_BYTES 4200

void ak_serve_engine_options(const struct ak_config *config, struct ak_engine_options *options)
{
    _Static_assert(AK_DURABILITY_SYNC == 0 && AK_DURABILITY_INTERVAL == 1 &&
                       AK_DURABILITY_ASYNC == 2,
                   "config.def lists the words of wal.durability in this order");
    *options = (struct ak_engine_options){
        .dir = config->data_dir,
        .durability = (enum ak_durability)config->wal_durability,
        .sync_interval_ms = (uint32_t)config->wal_interval_ms,
        .wal_segment_bytes = config->wal_segment_bytes,
        .wal_max_bytes = config->wal_max_bytes,
        .checkpoint_bytes = config->checkpoint_bytes,
        .pending_max_bytes = config->index_pending_max_bytes,
        .idle_bytes = config->memory_idle_bytes,
        .build_threads = (unsigned)config->index_build_threads,
        .vacuum_percent =
            config->index_vacuum_percent ? (unsigned)config->index_vacuum_percent : AK_VACUUM_NEVER,
        .resident_max_bytes = config->tiering_max_hot_memory
                                  ? config->tiering_max_hot_memory + config->memory_idle_bytes
                                  : 0,
    };
}

static bool port_path(const char *dir, char path[PATH_MAX_BYTES])
{
    int len = snprintf(path, PATH_MAX_BYTES, "%s/PORT", dir);
    return len > 0 && len < PATH_MAX_BYTES;
}

bool ak_serve_read_port(const char *dir, uint16_t *port)
{
    char path[PATH_MAX_BYTES];
    struct ak_buf text;
    uint64_t number = 0;
    ak_buf_init(&text, 64);
    bool ok = port_path(dir, path) &&
              ak_fs_read_all(ak_fs_posix(), path, 16, &text, NULL) == AK_OK &&
              ak_str_u64(ak_str_trim(ak_buf_str(&text)), 65535, &number) && number > 0;
    ak_buf_release(&text);
    if (ok) {
        *port = (uint16_t)number;
    }
    return ok;
}

enum ak_rc ak_serve_write_port(const char *dir, uint16_t port, struct ak_err *err)
{
    char path[PATH_MAX_BYTES];
    char text[16];
    int len = snprintf(text, sizeof text, "%u\n", port);
    if (!port_path(dir, path)) {
        return ak_fail(err, AK_INVALID, "the path of the data folder is too long");
    }
    return ak_fs_write_atomic(ak_fs_posix(), path, (struct ak_str){text, (size_t)len}, err);
}

void ak_serve_remove_port(const char *dir)
{
    char path[PATH_MAX_BYTES];
    if (port_path(dir, path)) {
        enum ak_rc rc = ak_fs_remove(ak_fs_posix(), path, NULL);
        (void)rc; /* a stale note misleads nobody for long: its port does not answer */
    }
}

/* --- A folder for a command --- */

/* Reading commands must not leave an empty database behind a mistyped path. */
static enum ak_rc check_exists(const char *dir, struct ak_err *err)
{
    char path[4096];
    uint64_t size;
    int len = snprintf(path, sizeof path, "%s/catalog.db", dir);
    if (len >= (int)sizeof path) {
        return ak_fail(err, AK_INVALID, "the path of the data folder is too long");
    }
    enum ak_rc rc = ak_fs_stat(ak_fs_posix(), path, &size, err);
    if (rc == AK_NOT_FOUND) {
        return ak_fail(err, rc, "%s is no data folder of AkiDB", dir);
    }
    return rc;
}

enum ak_rc ak_serve_open_engine(const struct ak_config *config, const char *dir, bool may_make,
                                struct ak_log *log, struct ak_engine **engine, struct ak_err *err)
{
    enum ak_rc rc = may_make ? AK_OK : check_exists(dir, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_engine_options options;
    ak_serve_engine_options(config, &options);
    options.dir = dir;
    options.log = log;
    rc = ak_engine_open(&options, engine, err);
    uint16_t port;
    if (rc == AK_CONFLICT && ak_serve_read_port(dir, &port)) {
        return ak_fail(err, rc,
                       "a server has %s open: leave --data out, or say --url http://127.0.0.1:%u",
                       dir, port);
    }
    return rc;
}

/* --- The object store --- */

enum { STORE_AUTO, STORE_DIR, STORE_S3 }; /* as config.def lists the words of objects.store */

static bool is_set(const char *text)
{
    return text && text[0];
}

/* Half a configuration of S3 is a mistake that would otherwise end in an empty folder. */
static enum ak_rc check_s3(const struct ak_config *config, struct ak_err *err)
{
    bool has_bucket = is_set(config->s3_bucket);
    if (config->objects_store == STORE_S3 && !has_bucket) {
        return ak_fail(err, AK_INVALID,
                       "objects.store is s3: s3.bucket (AKIDB_S3_BUCKET) must name a bucket");
    }
    if (config->objects_store == STORE_AUTO && !has_bucket &&
        (is_set(config->s3_endpoint) || is_set(config->s3_access_key_id))) {
        return ak_fail(err, AK_INVALID,
                       "%s is set and s3.bucket is not: name the bucket (AKIDB_S3_BUCKET), or say "
                       "objects.store dir",
                       is_set(config->s3_endpoint) ? "s3.endpoint" : "s3.access_key_id");
    }
    bool has_id = is_set(config->s3_access_key_id);
    if (has_bucket && has_id != is_set(config->s3_secret_access_key)) {
        return ak_fail(err, AK_INVALID, "%s is set and %s is not: they belong together",
                       has_id ? "s3.access_key_id" : "s3.secret_access_key",
                       has_id ? "s3.secret_access_key" : "s3.access_key_id");
    }
    return AK_OK;
}

static const char *or_null(const char *text)
{
    return is_set(text) ? text : NULL;
}

static enum ak_rc open_s3(const struct ak_config *config, bool lazy, const _Atomic bool *stop,
                          struct ak_log *log, struct ak_metrics *metrics,
                          struct ak_objstore **store, struct ak_err *err)
{
    const struct ak_s3_options options = {
        .endpoint = or_null(config->s3_endpoint),
        .region = config->s3_region,
        .bucket = config->s3_bucket,
        .prefix = or_null(config->s3_prefix),
        .uploads_under = "snapshots/", /* all that is large lies there */
        .access_key_id = or_null(config->s3_access_key_id),
        .secret_access_key = or_null(config->s3_secret_access_key),
        .session_token = or_null(config->s3_session_token),
        .profile = or_null(config->s3_profile),
        .ca_file = or_null(config->s3_ca_file),
        .virtual_host = config->s3_virtual_host != 0,
        .connections_max = (uint32_t)config->s3_connections,
        .connect_timeout_ms = (uint32_t)config->s3_connect_timeout,
        .stall_timeout_ms = (uint32_t)config->s3_stall_timeout,
        .deadline_ms = (uint32_t)config->s3_deadline,
        .retries_max = (uint32_t)config->s3_retries,
        .stop = stop,
        .log = log,
        .metrics = metrics,
    };
    struct ak_objstore *bare = NULL;
    enum ak_rc rc = ak_objstore_open_s3(&options, lazy, &bare, err);
    if (rc != AK_OK || !lazy) {
        *store = rc == AK_OK ? bare : *store;
        return rc;
    }
    /* A server has others to serve; who has nothing else to do than this waits for it. */
    const struct ak_objstore_guard_options guard = {
        .service = "s3",
        .breaker = {.failures_max = (uint32_t)config->s3_breaker_failures,
                    .open_ms = (uint32_t)config->s3_breaker_pause,
                    .open_ms_max = (uint32_t)config->s3_breaker_pause_max},
        .log = log,
        .metrics = metrics,
    };
    return ak_objstore_open_guard(bare, &guard, store, err);
}

enum ak_rc ak_serve_open_store(const struct ak_config *config, const char *dir, bool lazy,
                               const _Atomic bool *stop, struct ak_log *log,
                               struct ak_metrics *metrics, struct ak_objstore **store,
                               struct ak_err *err)
{
    char path[PATH_MAX_BYTES];
    enum ak_rc rc = check_s3(config, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (config->objects_store == STORE_S3 ||
        (config->objects_store == STORE_AUTO && is_set(config->s3_bucket))) {
        return open_s3(config, lazy, stop, log, metrics, store, err);
    }
    int len = is_set(config->objects_dir) ? snprintf(path, sizeof path, "%s", config->objects_dir)
                                          : snprintf(path, sizeof path, "%s/objects", dir);
    if (len >= (int)sizeof path) {
        return ak_fail(err, AK_INVALID, "the path of the folder for objects is too long");
    }
    return ak_objstore_open_dir(ak_fs_posix(), path, store, err);
}

static bool stop_at_once(void *ctx, struct ak_str name)
{
    (void)ctx;
    (void)name;
    return false;
}

/* "bucket/some/prefix" → both; the prefix ends with a slash. */
static enum ak_rc open_bucket(const struct ak_config *config, struct ak_str place,
                              struct ak_metrics *metrics, struct ak_objstore **store,
                              struct ak_err *err)
{
    char bucket[256];
    char prefix[600];
    struct ak_str name;
    struct ak_str rest;
    struct ak_config at = *config; /* what it borrows here is never released */
    (void)ak_str_split(place, '/', &name, &rest);
    if (name.len == 0 || name.len >= sizeof bucket || rest.len + 2 > sizeof prefix) {
        return ak_fail(err, AK_INVALID, "'s3://%.100s': s3://BUCKET/PREFIX is expected", place.p);
    }
    bool needs_slash = rest.len && !ak_str_has_suffix(rest, AK_STR("/"));
    (void)snprintf(bucket, sizeof bucket, "%.*s", AK_STR_ARG(name));
    (void)snprintf(prefix, sizeof prefix, "%.*s%s", AK_STR_ARG(rest), needs_slash ? "/" : "");
    at.s3_bucket = bucket;
    at.s3_prefix = prefix;
    at.objects_store = STORE_S3;
    return ak_serve_open_store(&at, config->data_dir, false, NULL, NULL, metrics, store, err);
}

enum ak_rc ak_serve_open_place(const struct ak_config *config, const char *place, bool may_make,
                               struct ak_metrics *metrics, struct ak_objstore **store,
                               struct ak_err *err)
{
    struct ak_str text = ak_str_of(place);
    if (ak_str_has_prefix(text, AK_STR("s3://"))) {
        return open_bucket(config, ak_str_sub(text, 5, SIZE_MAX), metrics, store, err);
    }
    enum ak_rc rc = may_make ? AK_OK : ak_fs_list(ak_fs_posix(), place, stop_at_once, NULL, err);
    return rc == AK_OK ? ak_objstore_open_dir(ak_fs_posix(), place, store, err) : rc;
}

void ak_serve_archive_options(const struct ak_config *config, struct ak_archive_options *options)
{
    _Static_assert(AK_SNAPSHOT_PARQUET == 0 && AK_SNAPSHOT_JSON == 1 && AK_CODEC_NONE == 0 &&
                       AK_CODEC_SNAPPY == 1 && AK_CODEC_ZSTD == 2 && AK_CODEC_LZ4 == 3 &&
                       AK_CODEC_GZIP == 4 && AK_SNAPSHOT_LOSSLESS == 0 && AK_SNAPSHOT_PLAIN == 1 &&
                       AK_SNAPSHOT_BF16 == 2 && AK_SNAPSHOT_Q8 == 3,
                   "config.def lists the words of [snapshots] in this order");
    *options = (struct ak_archive_options){
        .snapshots =
            {
                .format = (enum ak_snapshot_format)config->snapshots_format,
                .compression = (enum ak_codec)config->snapshots_compression,
                .encoding = (enum ak_snapshot_encoding)config->snapshots_encoding,
            },
        .interval_s = (config->snapshots_interval + 999) / 1000,
        .retain_count = (uint32_t)config->snapshots_retain_count,
        .retain_age_s = (config->snapshots_retain_age + 999) / 1000,
        .retry_for_s = (config->snapshots_retry_for + 999) / 1000,
    };
}

/* --- The query log --- */

void ak_serve_perf_dir(const struct ak_config *config, const char *dir, struct ak_buf *out)
{
    if (is_set(config->perf_dir)) {
        ak_buf_add_str(out, ak_str_of(config->perf_dir));
    } else {
        ak_buf_add_fmt(out, "%s/" AK_PERF_FOLDER, dir);
    }
    (void)ak_buf_cstr(out);
}

void ak_serve_query_log_options(const struct ak_config *config, struct ak_buf *dir,
                                struct ak_query_log_options *options)
{
    ak_serve_perf_dir(config, config->data_dir, dir);
    *options = (struct ak_query_log_options){
        .dir = ak_buf_cstr(dir),
        .sample_every = (uint32_t)config->perf_sample_every,
        .file_bytes_max = config->perf_max_bytes,
        .retention_us = (int64_t)config->perf_retention * 1000,
        .weekly_retention_us = (int64_t)config->perf_retention_weekly * 1000,
    };
}

/* --- Tiers --- */

void ak_serve_tiers_options(const struct ak_config *config, struct ak_tiers_options *options)
{
    *options = (struct ak_tiers_options){
        .is_off = config->tiering_enabled == 0, /* config.def lists the words in this order */
        .rules = ak_tier_rules_default(),
        .limits =
            {
                .hot_bytes = config->tiering_max_hot_memory,
                .warm_bytes = config->tiering_max_warm_disk,
                .grace_us = (int64_t)config->tiering_grace * 1000,
            },
        .interval_ms = (uint32_t)config->tiering_worker_interval,
        .flush_ms = (uint32_t)config->tiering_access_flush,
        .wake_wait_ms = (uint32_t)config->tiering_wake_wait,
        .threads = (unsigned)config->tiering_moves,
    };
    options->rules.hot_idle_us = (int64_t)config->tiering_hot_idle * 1000;
    options->rules.warm_idle_us = (int64_t)config->tiering_warm_idle * 1000;
    options->rules.window_us = (int64_t)config->tiering_promote_window * 1000;
    options->rules.promote_accesses = (uint32_t)config->tiering_promote_accesses;
}
