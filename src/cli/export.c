/* export.c — akidb export: a collection into a Parquet or NDJSON file, or to standard output.
 *
 * A file appears under its name when it is whole: until then it is NAME.part.
 */
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/remote.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

struct options {
    const char *url;
    const char *dir;
    const char *format;
    const char *compression;
    const char *encoding;
    const char *file; /* NULL: standard output */
    bool json;
};

struct out {
    int fd;
    const char *name;
    uint64_t bytes;
    struct ak_progress bar;
};

static enum ak_rc write_out(void *ctx, const void *p, size_t len, struct ak_err *err)
{
    struct out *out = ctx;
    const char *at = p;
    while (len) {
        ssize_t n = write(out->fd, at, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return ak_fail_errno(err, errno, "write %s", out->name);
        }
        at += n;
        len -= (size_t)n;
        out->bytes += (uint64_t)n;
    }
    ak_progress_set(&out->bar, out->bytes >> 20, -1);
    return AK_OK;
}

static void put_param(struct ak_buf *out, const char *name, const char *value)
{
    if (value) {
        ak_buf_add_str(out, ak_str_of(name));
        ak_url_put(out, ak_str_of(value));
    }
}

static enum ak_rc fetch(struct ak_remote *remote, const struct options *o, const char *collection,
                        struct out *out, struct ak_err *err)
{
    struct ak_buf rest;
    struct ak_buf body;
    ak_buf_init(&rest, 0);
    put_param(&rest, "/export?format=", o->format);
    put_param(&rest, "&compression=", o->compression);
    put_param(&rest, "&encoding=", o->encoding);
    const struct ak_request request = {
        .method = "GET",
        .path = ak_remote_path(remote, ak_str_of(collection), ak_buf_cstr(&rest)),
        .timeout_ms = 600000, /* a checkpoint may come first */
        .sink = write_out,
        .ctx = out,
    };
    ak_buf_init(&body, 0);
    ak_progress_init(&out->bar, "MiB", 0);
    enum ak_rc rc = ak_client_call(ak_remote_client(remote), &request, &body, err);
    ak_progress_end(&out->bar);
    ak_buf_release(&body);
    ak_buf_release(&rest);
    return rc;
}

static enum ak_rc to_file(struct ak_remote *remote, const struct options *o, const char *collection,
                          struct out *out, struct ak_err *err)
{
    char part[4200];
    if (snprintf(part, sizeof part, "%s.part", o->file) >= (int)sizeof part) {
        return ak_fail(err, AK_INVALID, "the name of the file is too long");
    }
    out->name = o->file;
    out->fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (out->fd < 0) {
        return ak_fail_errno(err, errno, "create %s", part);
    }
    enum ak_rc rc = fetch(remote, o, collection, out, err);
    if (rc == AK_OK && fsync(out->fd) != 0 && errno != EINVAL && errno != EROFS) {
        rc = ak_fail_errno(err, errno, "sync %s", part);
    }
    if (close(out->fd) != 0 && rc == AK_OK) {
        rc = ak_fail_errno(err, errno, "write %s", part);
    }
    if (rc == AK_OK && rename(part, o->file) != 0) {
        rc = ak_fail_errno(err, errno, "rename %s to %s", part, o->file);
    }
    if (rc != AK_OK) {
        (void)unlink(part);
    }
    return rc;
}

/* The format that was named, or that the file's name says. */
static enum ak_rc choose_format(struct options *o, struct ak_err *err)
{
    struct ak_str file = ak_str_of(o->file);
    if (!o->format) {
        bool is_lines =
            ak_str_has_suffix(file, AK_STR(".ndjson")) || ak_str_has_suffix(file, AK_STR(".jsonl"));
        o->format = is_lines ? "ndjson" : "parquet";
    }
    if (strcmp(o->format, "parquet") != 0 && strcmp(o->format, "ndjson") != 0) {
        return ak_fail(err, AK_INVALID, "--format is \"%.32s\"; allowed are parquet, ndjson",
                       o->format);
    }
    if (!o->file && strcmp(o->format, "parquet") == 0 && isatty(STDOUT_FILENO)) {
        return ak_fail(err, AK_INVALID,
                       "Parquet is nothing for a terminal: name a file, or say --format ndjson");
    }
    if (!o->file && o->json) {
        return ak_fail(err, AK_INVALID, "--json needs a file: standard output is the export's");
    }
    return AK_OK;
}

static void print_summary(const struct options *o, const struct out *out, double seconds)
{
    char text[2][AK_NUMBER_TEXT_MAX];
    if (o->json) {
        (void)printf("{\"bytes\":%" PRIu64 ",\"seconds\":%.6f}\n", out->bytes, seconds);
    } else {
        (void)printf("%s: %s in %s\n", o->file, ak_text_bytes((double)out->bytes, text[0]),
                     ak_text_seconds(seconds, text[1]));
    }
}

static enum ak_rc run(struct options *o, const char *collection,
                      const struct ak_config_flags *flags, struct ak_err *err)
{
    struct ak_config config;
    struct ak_remote *remote = NULL;
    struct out out = {.fd = STDOUT_FILENO, .name = "standard output"};
    int64_t began = ak_mono_ns(ak_clock_system());
    ak_config_init(&config);
    enum ak_rc rc = ak_config_load(&config, flags, environ, err);
    if (rc == AK_OK) {
        const struct ak_target_options to = {.url = o->url, .dir = o->dir, .config = &config};
        rc = ak_remote_open(&to, &remote, err);
    }
    if (rc == AK_OK) {
        rc = o->file ? to_file(remote, o, collection, &out, err)
                     : fetch(remote, o, collection, &out, err);
    }
    if (rc == AK_OK && o->file) {
        print_summary(o, &out, (double)(ak_mono_ns(ak_clock_system()) - began) / 1e9);
    }
    ak_remote_close(remote);
    ak_config_release(&config);
    return rc;
}

enum ak_rc ak_cli_export(int argc, char **argv, struct ak_err *err)
{
    struct options o = {0};
    struct ak_config_flags flags = {0};
    const struct ak_arg options[] = {
        AK_CLI_TARGET_OPTIONS(o.url, o.dir),
        {"format", 'f', AK_ARG_TEXT, &o.format, 0, 0, "FORMAT",
         "parquet or ndjson (else as the file's name says, else parquet)"},
        {"compression", 0, AK_ARG_TEXT, &o.compression, 0, 0, "CODEC",
         "of Parquet: none, snappy, zstd (default), lz4 or gzip"},
        {"encoding", 0, AK_ARG_TEXT, &o.encoding, 0, 0, "ENCODING",
         "of Parquet: lossless (default), plain, bf16 or q8"},
        {"json", 0, AK_ARG_FLAG, &o.json, 0, 0, NULL, "print the summary as JSON"},
    };
    struct ak_args args = {
        .command = "export",
        .usage = "COLLECTION [FILE | -] [--format parquet|ndjson]",
        .about = "Writes all documents of a collection as they are at one instant. Parquet has the "
                 "columns\n"
                 "document_id, external_id, vector, metadata, inserted_at; NDJSON has the lines "
                 "that `akidb\n"
                 "import` takes.\n",
        .examples = "  akidb export docs docs.parquet\n"
                    "  akidb export docs docs.ndjson --data ./akidb-data\n"
                    "  akidb export docs - --format ndjson | gzip > docs.ndjson.gz\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .words_max = 2,
        .config = &flags,
    };
    enum ak_rc rc = ak_args_parse(&args, argc, argv, err);
    if (rc != AK_OK || args.helped) {
        return rc;
    }
    if (args.word_count == 0) {
        return ak_fail(err, AK_INVALID, "`akidb export` needs the collection's name");
    }
    bool is_stdout = args.word_count < 2 || strcmp(args.words[1], "-") == 0;
    o.file = is_stdout ? NULL : args.words[1];
    rc = choose_format(&o, err);
    return rc == AK_OK ? run(&o, args.words[0], &flags, err) : rc;
}
