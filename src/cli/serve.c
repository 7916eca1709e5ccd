/* serve.c — akidb serve: everything opened bottom-up, and stopped top-down.
 *
 *   log, metrics ─▶ rest ─▶ http        /health answers, /ready says 503
 *                    engine (replays, on a thread of its own so that signals are heard) ─▶ store
 *                    ─▶ archive ─▶ tiers, query log ─▶ service
 *                                        /ready says 200
 *   SIGTERM or SIGINT: stop accepting, finish requests, flush the log, checkpoint, exit 0
 *   a second one:      flush the log unless that is done, exit at once; the next start replays
 *
 * Signals arrive through a signalfd on the main thread, which does nothing but wait; opening and
 * stopping run on a second thread. `lock` decides the race between its flush and a quick exit.
 */
#include "cli/serve.h"
#include "base/mem.h"
#include "base/sync.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "net/http.h"
#include "rest/rest.h"
#include "service/service.h"
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define MMAP_BYTES (1 << 20) /* larger blocks go back to the system when they are freed */
#define FDS_BESIDE_CONNECTIONS                                                                     \
    ((uint64_t)512) /* log segments, images, the catalog, standard streams */

extern char **environ;

enum phase {
    OPENING, /* the engine may be replaying: nothing can be acknowledged yet */
    SERVING,
    FLUSHED /* no request is left and the log is on disk */
};

struct server {
    struct ak_config config;
    struct ak_log *log;
    struct ak_metrics *metrics;
    struct ak_rest *rest;
    struct ak_http_server *http;
    struct ak_engine *engine;
    struct ak_objstore *store;
    _Atomic bool store_stops; /* what still waits for the store need not: it goes on another time */
    struct ak_archive *archive;
    struct ak_query_log *queries;
    struct ak_tiers *tiers;
    struct ak_service *service;
    bool has_test_clock; /* AKIDB_TEST_CLOCK=1: for drills, never for production */
    struct ak_shifted_clock clock;
    int signals; /* signalfd */
    int news;    /* eventfd: the second thread is done */
    struct ak_mutex lock;
    enum phase phase;
    struct ak_err err; /* of the second thread, with its rc */
    enum ak_rc rc;
};

/* --- Before anything is open --- */

/* As many open files as the system lets us have, and no more connections than fit in them. */
static void raise_fd_limit(struct server *server)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
            (void)getrlimit(RLIMIT_NOFILE, &limit);
        }
    }
    uint64_t files = limit.rlim_cur;
    uint64_t room = files > 2 * FDS_BESIDE_CONNECTIONS ? files - FDS_BESIDE_CONNECTIONS : files / 2;
    if (server->config.server_connections_max > room) {
        ak_log_info(server->log, "serve",
                    "at most %" PRIu64 " connections at a time: the system allows %" PRIu64
                    " open files (ulimit -n)",
                    room, files);
        server->config.server_connections_max = room;
    }
}

/* Days go by in a moment: whoever reaches the API moves the clock. NULL: the system's clock. */
static const struct ak_clock *clock_of(struct server *server)
{
    return server->has_test_clock ? &server->clock.clock : NULL;
}

static void open_clock(struct server *server)
{
    const char *wanted = getenv("AKIDB_TEST_CLOCK");
    ak_shifted_clock_init(&server->clock);
    server->has_test_clock = wanted && strcmp(wanted, "1") == 0;
    if (server->has_test_clock) {
        ak_log_warn(server->log, "serve",
                    "AKIDB_TEST_CLOCK=1: POST /admin/test/clock moves this server's time, which is "
                    "for tests and drills only");
    }
}

static bool is_loopback(const char *listen)
{
    struct ak_str text = ak_str_of(listen);
    return ak_str_has_prefix(text, AK_STR("127.")) || ak_str_has_prefix(text, AK_STR("[::1]")) ||
           ak_str_has_prefix(text, AK_STR("localhost:"));
}

/* The address as a URL; what listens everywhere is reached by name, here on loopback. */
static void print_address(const struct server *server)
{
    const char *listen = server->config.server_listen;
    const char *colon = strrchr(listen, ':');
    int host_len = colon ? (int)(colon - listen) : (int)strlen(listen);
    (void)printf("listening on http://%.*s:%u\n", host_len ? host_len : 7,
                 host_len ? listen : "0.0.0.0", ak_http_port(server->http));
    (void)printf("stop with Ctrl-C or `kill %d`\n", (int)getpid());
    (void)fflush(stdout);
    if (!is_loopback(listen)) {
        ak_log_warn(server->log, "serve",
                    "listening on %s: everyone who reaches this address may read and write, for "
                    "there is no authentication",
                    listen);
    }
}

static enum ak_rc open_signals(struct server *server, struct ak_err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    /* Blocked in every thread, which inherit it, so that only the signalfd gets them. */
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR) {
        return ak_fail_errno(err, errno, "signals");
    }
    server->signals = signalfd(-1, &set, SFD_CLOEXEC);
    server->news = eventfd(0, EFD_CLOEXEC);
    if (server->signals < 0 || server->news < 0) {
        return ak_fail_errno(err, errno, "signals");
    }
    return AK_OK;
}

static enum ak_rc open_http(struct server *server, struct ak_err *err)
{
    const struct ak_config *config = &server->config;
    const struct ak_rest_options rest = {
        .metrics = server->metrics,
        .log = server->log,
        .test_clock = server->has_test_clock ? &server->clock : NULL,
        .body_max = (size_t)config->server_body_max,
    };
    server->rest = ak_rest_open(&rest);
    const struct ak_http_options options = {
        .listen = config->server_listen,
        .loops = (unsigned)config->server_threads,
        .idle_timeout_ms = (uint32_t)config->server_idle_timeout,
        .head_timeout_ms = (uint32_t)config->server_head_timeout,
        .body_timeout_ms = (uint32_t)config->server_body_timeout,
        .write_timeout_ms = (uint32_t)config->server_write_timeout,
        .connections_max = (uint32_t)config->server_connections_max,
        .memory_max = config->server_memory_max,
        .body_max = (size_t)config->server_body_max,
        .app = ak_rest_app(server->rest),
        .log = server->log,
        .metrics = server->metrics,
    };
    return ak_http_open(&options, &server->http, err);
}

/* --- The second thread --- */

static void tell(struct server *server)
{
    uint64_t one = 1;
    ssize_t n = write(server->news, &one, sizeof one);
    AK_ASSERT(n == (ssize_t)sizeof one);
}

/* Over the engine: the object store, which may be away, and the archive. */
static enum ak_rc open_archive(struct server *server, struct ak_engine *engine,
                               struct ak_archive_options *options, struct ak_err *err)
{
    ak_serve_archive_options(&server->config, options);
    enum ak_rc rc =
        ak_serve_open_store(&server->config, server->config.data_dir, true, &server->store_stops,
                            server->log, server->metrics, &server->store, err);
    if (rc != AK_OK) {
        return rc;
    }
    ak_log_info(server->log, "serve", "snapshots are kept in %s", ak_objstore_name(server->store));
    options->engine = engine;
    options->store = server->store;
    options->log = server->log;
    options->metrics = server->metrics;
    options->queries = server->queries;
    options->clock = clock_of(server);
    return ak_archive_open(options, &server->archive, err);
}

static enum ak_rc open_query_log(struct server *server, struct ak_err *err)
{
    struct ak_query_log_options options;
    struct ak_buf dir;
    if (!server->config.perf_enabled) {
        return AK_OK;
    }
    ak_buf_init(&dir, 0);
    ak_serve_query_log_options(&server->config, &dir, &options);
    options.log = server->log;
    options.metrics = server->metrics;
    enum ak_rc rc = ak_query_log_open(&options, &server->queries, err);
    ak_buf_release(&dir);
    return rc;
}

static enum ak_rc open_tiers(struct server *server, struct ak_engine *engine, struct ak_err *err)
{
    struct ak_tiers_options options;
    ak_serve_tiers_options(&server->config, &options);
    options.engine = engine;
    options.archive = server->archive;
    options.log = server->log;
    options.metrics = server->metrics;
    options.clock = clock_of(server);
    return ak_tiers_open(&options, &server->tiers, err);
}

static enum ak_rc open_database(struct server *server, struct ak_err *err)
{
    struct ak_engine_options options;
    ak_serve_engine_options(&server->config, &options);
    options.log = server->log;
    options.metrics = server->metrics;
    options.clock = clock_of(server);
    struct ak_engine *engine = NULL;
    enum ak_rc rc = ak_engine_open(&options, &engine, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_archive_options archive;
    rc = open_query_log(server, err);
    rc = rc == AK_OK ? open_archive(server, engine, &archive, err) : rc;
    rc = rc == AK_OK ? open_tiers(server, engine, err) : rc;
    const struct ak_service_options service = {
        .engine = engine,
        .archive = server->archive,
        .tiers = server->tiers,
        .snapshots = archive.snapshots,
        .metrics = server->metrics,
        .log = server->log,
        .queries = server->queries,
        .threads = (unsigned)server->config.server_workers,
    };
    rc = rc == AK_OK ? ak_service_open(&service, &server->service, err) : rc;
    if (rc == AK_OK) {
        /* The folder is ours now, so the note of its port is too. A full disk has no room for it,
         * and is no reason not to serve. */
        struct ak_err note;
        if (ak_serve_write_port(server->config.data_dir, ak_http_port(server->http), &note) !=
            AK_OK) {
            ak_log_warn(server->log, "serve", "commands must be told the port with --url: %s",
                        note.text);
        }
    }
    ak_mutex_lock(&server->lock);
    server->engine = engine;
    server->phase = SERVING;
    ak_mutex_unlock(&server->lock);
    return rc;
}

static void open_thread(void *arg)
{
    struct server *server = arg;
    int64_t began = ak_mono_ns(ak_clock_system());
    server->rc = open_database(server, &server->err);
    if (server->rc == AK_OK) {
        ak_rest_set_service(server->rest, server->service);
        ak_log_info(server->log, "serve", "ready after %.3f s with %" PRIu64 " collections",
                    (double)(ak_mono_ns(ak_clock_system()) - began) / 1e9,
                    ak_engine_collection_count(server->engine));
    }
    tell(server);
}

/* Everything acknowledged is on disk after this, whatever the durability, and nothing more is:
 * under async a write answered between a mere sync and the exit would be lost. */
static enum ak_rc flush_log(struct server *server, struct ak_err *err)
{
    return ak_engine_seal(server->engine, err);
}

static void stop_thread(void *arg)
{
    struct server *server = arg;
    ak_service_hurry(server->service, (uint32_t)server->config.server_shutdown_grace);
    ak_http_close(server->http, (uint32_t)server->config.server_shutdown_grace);
    server->http = NULL;
    atomic_store(&server->store_stops, true);
    ak_service_close(server->service);
    server->service = NULL;
    ak_tiers_close(server->tiers); /* moves under way end at a safe point, and are decided again */
    server->tiers = NULL;
    ak_archive_close(server->archive); /* jobs stop at a safe point, and go on at the next start */
    server->archive = NULL;
    ak_query_log_close(server->queries);
    server->queries = NULL;
    ak_mutex_lock(&server->lock);
    struct ak_err err = {0};
    if (server->engine && flush_log(server, &err) != AK_OK) {
        ak_log_error(server->log, "serve", "the log could not be flushed: %s", err.text);
    }
    server->phase = FLUSHED;
    ak_mutex_unlock(&server->lock);
    ak_engine_close(server->engine);
    server->engine = NULL;
    ak_objstore_close(server->store);
    server->store = NULL;
    tell(server);
}

/* --- The main thread --- */

enum event { SIGNALLED, THREAD_DONE };

static enum event wait_event(struct server *server)
{
    for (;;) {
        struct pollfd fds[2] = {{.fd = server->signals, .events = POLLIN},
                                {.fd = server->news, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0) {
            continue; /* EINTR */
        }
        struct signalfd_siginfo info;
        uint64_t count;
        if (fds[1].revents && read(server->news, &count, sizeof count) == sizeof count) {
            return THREAD_DONE;
        }
        if (fds[0].revents && read(server->signals, &info, sizeof info) == sizeof info) {
            return SIGNALLED;
        }
    }
}

/* Leave without checkpoints. What was acknowledged is in the log, and the log is flushed. */
_Noreturn static void exit_at_once(struct server *server)
{
    ak_mutex_lock(&server->lock);
    if (server->phase == SERVING) {
        struct ak_err err = {0};
        if (flush_log(server, &err) != AK_OK) {
            ak_log_error(server->log, "serve", "the log could not be flushed: %s", err.text);
        }
    }
    ak_log_info(server->log, "serve", "stopped at once: the next start replays the log");
    if (server->phase != OPENING) {
        ak_serve_remove_port(server->config.data_dir);
    }
    _exit(0);
}

static enum ak_rc run(struct server *server, struct ak_err *err)
{
    struct ak_thread thread = {0};
    enum ak_rc rc = ak_thread_start(&thread, "akidb-open", open_thread, server, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (wait_event(server) == SIGNALLED) {
        exit_at_once(server); /* while opening there is nothing to finish */
    }
    ak_thread_join(&thread);
    if (server->rc != AK_OK) {
        *err = server->err;
        return server->rc;
    }
    (void)wait_event(server);
    ak_log_info(server->log, "serve", "stopping: finishing requests and writing checkpoints");
    rc = ak_thread_start(&thread, "akidb-stop", stop_thread, server, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (wait_event(server) == SIGNALLED) {
        exit_at_once(server);
    }
    ak_thread_join(&thread);
    ak_log_info(server->log, "serve", "stopped");
    return AK_OK;
}

static void close_all(struct server *server)
{
    ak_http_close(server->http, 0);
    ak_service_close(server->service);
    ak_rest_close(server->rest);
    ak_tiers_close(server->tiers);
    ak_archive_close(server->archive);
    ak_query_log_close(server->queries);
    ak_engine_close(server->engine);
    ak_objstore_close(server->store);
    ak_metrics_close(server->metrics);
    if (server->phase != OPENING) {
        ak_serve_remove_port(server->config.data_dir);
    }
    ak_log_close(server->log);
    if (server->signals >= 0) {
        close(server->signals);
    }
    if (server->news >= 0) {
        close(server->news);
    }
    ak_mutex_release(&server->lock);
    ak_config_release(&server->config);
}

static enum ak_rc serve(struct server *server, struct ak_err *err)
{
    const struct ak_config *config = &server->config;
    server->log = ak_log_open(STDERR_FILENO, (enum ak_log_level)config->log_level,
                              (enum ak_log_format)config->log_format);
    /* Left to itself, malloc raises the threshold to 32 MiB after the first large bodies and
     * answers, and keeps gigabytes of them in pieces. */
    (void)mallopt(M_MMAP_THRESHOLD, MMAP_BYTES);
    raise_fd_limit(server);
    open_clock(server);
    enum ak_rc rc = open_signals(server, err);
    if (rc != AK_OK) {
        return rc;
    }
    server->metrics = ak_metrics_open();
    rc = open_http(server, err);
    if (rc != AK_OK) {
        return rc;
    }
    print_address(server);
    return run(server, err);
}

enum ak_rc ak_cli_serve(int argc, char **argv, struct ak_err *err)
{
    struct ak_config_flags flags = {0};
    struct ak_args args = {
        .command = "serve",
        .usage = "[options]",
        .about =
            "Runs the server until Ctrl-C or SIGTERM. Requests under way are finished, data is\n"
            "written, and the next start continues where this one stopped. A second signal\n"
            "stops at once and loses nothing that was acknowledged.\n",
        .examples = "  akidb serve\n"
                    "  akidb serve --data /var/lib/akidb --listen 127.0.0.1:9000\n"
                    "  akidb serve --config akidb.toml --wal.durability interval\n"
                    "  AKIDB_LOG_FORMAT=json akidb serve\n",
        .config = &flags,
    };
    enum ak_rc rc = ak_args_parse(&args, argc, argv, err);
    if (rc != AK_OK || args.helped) {
        return rc;
    }
    struct server *server = ak_zalloc(sizeof *server);
    server->signals = -1;
    server->news = -1;
    ak_config_init(&server->config);
    ak_mutex_init(&server->lock, AK_RANK_SERVICE, "serve");
    rc = ak_config_load(&server->config, &flags, environ, err);
    if (rc == AK_OK) {
        rc = serve(server, err);
    }
    close_all(server);
    ak_free(server);
    return rc;
}
