/* mock_s3.c — akidb mock-s3: the server of src/mocks3 until a signal ends it. */
#include "base/mem.h"
#include "cli/cli.h"
#include "mocks3/mocks3.h"
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define GRACE_MS 5000
#define MMAP_BYTES (1 << 20) /* larger blocks go back to the system when they are freed */

struct flags {
    struct ak_mocks3_options options;
    uint64_t max_bytes;
    uint64_t threads;
    bool verbose;
};

static const char about[] =
    "Runs a small S3 on this machine, so that tests of whatever speaks S3 need no network,\n"
    "no account and no container. boto3, the AWS SDKs and akidb itself cannot tell it from\n"
    "the real one, as far as it goes: buckets, objects with conditions, ranges and\n"
    "checksums, listings, multipart uploads, presigned URLs, and Signature Version 4,\n"
    "checked to the last chunk. What it does not speak it refuses with NotImplemented.\n"
    "\n"
    "Objects are kept in memory, or below --root, where they survive a restart (and kill -9).\n"
    "\n"
    "And it fails on request. POST a rule to /_mock/rules, and the requests that it names\n"
    "are slow, answered with 500, 503 or 403, cut off in the middle, or never answered:\n"
    "\n"
    "  curl 127.0.0.1:9000/_mock/rules -d '{\n"
    "    \"match\":  {\"operation\": \"PutObject\", \"key_prefix\": \"snapshots/\"},\n"
    "    \"action\": {\"status\": 503, \"code\": \"SlowDown\"}, \"times\": 3}'\n"
    "\n"
    "GET /_mock/state counts what was asked; DELETE /_mock/rules makes it well again.\n"
    "docs/mock-s3.md has all of it. Not for production: nothing is synced to the disk.\n";

static const char examples[] =
    "  akidb mock-s3 --bucket test\n"
    "  akidb mock-s3 --listen 127.0.0.1:0 --access-key AKTEST --secret-key SKTEST\n"
    "  akidb mock-s3 --root ./s3-data --bucket snapshots,backups\n"
    "  AWS_ENDPOINT_URL=http://127.0.0.1:9000 aws s3 ls s3://test\n";

/* The address as a URL; what listens everywhere is reached on loopback. */
static void print_address(const struct flags *flags, uint16_t port)
{
    const char *listen = flags->options.listen;
    const char *colon = strrchr(listen, ':');
    int host_len = colon ? (int)(colon - listen) : 0;
    (void)printf("listening on http://%.*s:%u\n", host_len ? host_len : 9,
                 host_len ? listen : "127.0.0.1", port);
    if (flags->options.access_key) {
        (void)printf("signatures are checked: AWS_ACCESS_KEY_ID=%s\n", flags->options.access_key);
    } else {
        (void)printf("signatures are not checked (--access-key, --secret-key)\n");
    }
    (void)printf("stop with Ctrl-C or `kill %d`\n", (int)getpid());
    (void)fflush(stdout);
}

static void raise_fd_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static enum ak_rc serve(const struct flags *flags, struct ak_err *err)
{
    struct ak_mocks3 *server = NULL;
    sigset_t set;
    int number = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    /* Blocked in every thread, which inherit it, so that only sigwait gets them. */
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR) {
        return ak_fail_errno(err, errno, "signals");
    }
    (void)mallopt(M_MMAP_THRESHOLD, MMAP_BYTES);
    raise_fd_limit();
    enum ak_rc rc = ak_mocks3_open(&flags->options, &server, err);
    if (rc != AK_OK) {
        return rc;
    }
    print_address(flags, ak_mocks3_port(server));
    if (sigwait(&set, &number) != 0) {
        number = 0;
    }
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL); /* a second signal ends it at once */
    ak_mocks3_close(server, GRACE_MS);
    return AK_OK;
}

enum ak_rc ak_cli_mock_s3(int argc, char **argv, struct ak_err *err)
{
    struct flags flags = {.options.listen = "127.0.0.1:9000"};
    struct ak_mocks3_options *options = &flags.options;
    const struct ak_arg table[] = {
        {"listen", 0, AK_ARG_TEXT, &options->listen, 0, 0, "ADDRESS:PORT",
         "where to serve (127.0.0.1:9000); port 0 takes a free one"},
        {"root", 0, AK_ARG_TEXT, &options->root, 0, 0, "DIR",
         "keep everything below this folder (else in memory)"},
        {"bucket", 0, AK_ARG_TEXT, &options->buckets, 0, 0, "NAME,…",
         "make these buckets, unless they are there"},
        {"access-key", 0, AK_ARG_TEXT, &options->access_key, 0, 0, "KEY",
         "check signatures against this key…"},
        {"secret-key", 0, AK_ARG_TEXT, &options->secret_key, 0, 0, "SECRET", "…and this secret"},
        {"region", 0, AK_ARG_TEXT, &options->region, 0, 0, "NAME",
         "the region that signatures must name (any)"},
        {"domain", 0, AK_ARG_TEXT, &options->domain, 0, 0, "NAME",
         "bucket.NAME as host names a bucket (localhost)"},
        {"max-bytes", 0, AK_ARG_UINT, &flags.max_bytes, 1, 0, "BYTES",
         "refuse to hold more (4 GiB in memory, no limit below --root)"},
        {"threads", 0, AK_ARG_UINT, &flags.threads, 1, 1024, "N",
         "threads that serve (one per core)"},
        {"verbose", 'v', AK_ARG_FLAG, &flags.verbose, 0, 0, NULL, "a line for each request"},
    };
    struct ak_args args = {
        .command = "mock-s3",
        .usage = "[options]",
        .about = about,
        .examples = examples,
        .options = table,
        .option_count = sizeof table / sizeof table[0],
    };
    enum ak_rc rc = ak_args_parse(&args, argc, argv, err);
    if (rc != AK_OK || args.helped) {
        return rc;
    }
    options->bytes_max = flags.max_bytes;
    options->loops = (unsigned)flags.threads;
    options->log =
        ak_log_open(STDERR_FILENO, flags.verbose ? AK_LOG_DEBUG : AK_LOG_INFO, AK_LOG_TEXT);
    rc = serve(&flags, err);
    ak_log_close(options->log);
    return rc;
}
