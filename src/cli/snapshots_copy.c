/* snapshots_copy.c — akidb snapshots copy: all snapshots of one place into another. */
#include "archive/copy.h"
#include "base/json.h"
#include "cli/args.h"
#include "cli/output.h"
#include "cli/serve.h"
#include "cli/snapshots.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

#define CONCURRENCY 10

struct options {
    const char *from;
    const char *to;
    const char *stage;
    const char *metrics;
    uint64_t concurrency;
    bool by_size;
    bool json;
};

struct shown { /* what the callback needs; it comes from one thread at a time */
    struct ak_progress bar;
    bool json;
};

static void print_json(const struct ak_copy_object *object)
{
    struct ak_buf line;
    ak_buf_init(&line, 0);
    ak_buf_add_str(&line, AK_STR("{\"key\":"));
    ak_json_put_string(&line, object->key);
    ak_buf_add_fmt(&line, ",\"size_bytes\":%" PRIu64 ",\"result\":\"%s\"", object->bytes,
                   ak_copy_result_name(object->result));
    if (object->result == AK_COPY_FAILED) {
        ak_buf_add_fmt(&line, ",\"error\":{\"code\":\"%s\",\"message\":", ak_rc_name(object->rc));
        ak_json_put_string(&line, ak_str_of(object->message));
        ak_buf_add_char(&line, '}');
    }
    ak_buf_add_str(&line, AK_STR("}\n"));
    (void)fwrite(line.p, 1, line.failed ? 0 : line.len, stdout);
    ak_buf_release(&line);
}

static void on_object(void *ctx, const struct ak_copy_object *object, uint64_t done, uint64_t total)
{
    struct shown *shown = ctx;
    char text[AK_NUMBER_TEXT_MAX];
    ak_progress_end(&shown->bar); /* lines and bar do not share one */
    if (shown->json) {
        print_json(object);
    } else {
        (void)printf("%-7s %10s  %.*s%s%s\n", ak_copy_result_name(object->result),
                     ak_text_bytes((double)object->bytes, text), AK_STR_ARG(object->key),
                     object->message[0] ? ": " : "", object->message);
    }
    ak_progress_set(&shown->bar, done, total ? (double)done / (double)total : 1);
}

static void print_report(const struct options *o, const struct ak_copy_report *report)
{
    char text[4][AK_NUMBER_TEXT_MAX];
    if (o->json) {
        (void)printf("{\"snapshots\":%" PRIu64 ",\"failed\":%" PRIu64
                     ",\"objects\":{\"copied\":%" PRIu64 ",\"there\":%" PRIu64
                     ",\"failed\":%" PRIu64 "},\"bytes_copied\":%" PRIu64 "}\n",
                     report->snapshots, report->snapshots_failed, report->copied, report->there,
                     report->failed, report->bytes_copied);
        return;
    }
    (void)printf("%s snapshots: %s objects copied (%s), %s were there already\n",
                 ak_text_count(report->snapshots, text[0]), ak_text_count(report->copied, text[1]),
                 ak_text_bytes((double)report->bytes_copied, text[2]),
                 ak_text_count(report->there, text[3]));
}

/* For the node exporter's collector of text files, and the like. */
static enum ak_rc write_metrics(const char *path, struct ak_metrics *metrics, struct ak_err *err)
{
    struct ak_buf text;
    ak_buf_init(&text, 0);
    ak_metrics_render(metrics, &text);
    enum ak_rc rc = ak_buf_check(&text, err);
    if (rc == AK_OK) {
        rc = ak_fs_write_atomic(ak_fs_posix(), path, ak_buf_str(&text), err);
    }
    ak_buf_release(&text);
    return rc == AK_OK ? rc : ak_wrap(err, rc, "--metrics");
}

static enum ak_rc copy(const struct options *o, struct ak_objstore *from, struct ak_objstore *to,
                       struct ak_metrics *metrics, struct ak_err *err)
{
    struct shown shown = {.json = o->json};
    struct ak_copy_report report = {0};
    struct ak_err none;
    const struct ak_copy_options options = {.from = from,
                                            .to = to,
                                            .stage = o->stage,
                                            .concurrency = (unsigned)o->concurrency,
                                            .by_size = o->by_size,
                                            .metrics = metrics,
                                            .on_object = on_object,
                                            .ctx = &shown};
    ak_progress_init(&shown.bar, "bytes", 0);
    enum ak_rc rc = ak_archive_copy(&options, &report, err);
    ak_progress_end(&shown.bar);
    print_report(o, &report);
    if (o->metrics) {
        enum ak_rc wrote = write_metrics(o->metrics, metrics, rc == AK_OK ? err : &none);
        rc = rc == AK_OK ? wrote : rc;
    }
    return rc;
}

static enum ak_rc run(const struct options *o, const struct ak_config *config, struct ak_err *err)
{
    struct ak_objstore *from = NULL;
    struct ak_objstore *to = NULL;
    struct ak_metrics *metrics = ak_metrics_open();
    enum ak_rc rc = o->from ? ak_serve_open_place(config, o->from, false, metrics, &from, err)
                            : ak_serve_open_store(config, config->data_dir, false, NULL, NULL,
                                                  metrics, &from, err);
    rc = rc == AK_OK ? ak_serve_open_place(config, o->to, true, metrics, &to, err) : rc;
    rc = rc == AK_OK ? copy(o, from, to, metrics, err) : rc;
    ak_objstore_close(to);
    ak_objstore_close(from);
    ak_metrics_close(metrics);
    return rc;
}

enum ak_rc ak_cli_snapshots_copy(int argc, char **argv, struct ak_err *err)
{
    struct options o = {.concurrency = CONCURRENCY};
    struct ak_config_flags flags = {0};
    const struct ak_arg options[] = {
        {"from", 0, AK_ARG_TEXT, &o.from, 0, 0, "PLACE",
         "a folder, or s3://BUCKET/PREFIX (else the configured store)"},
        {"to", 0, AK_ARG_TEXT, &o.to, 0, 0, "PLACE", "the same; a folder is made when absent"},
        {"concurrency", 0, AK_ARG_UINT, &o.concurrency, 1, 256, "N", "uploads at a time (10)"},
        {"by-size", 0, AK_ARG_FLAG, &o.by_size, 0, 0, NULL,
         "what is there with the same size is not read to compare it"},
        {"stage", 0, AK_ARG_TEXT, &o.stage, 0, 0, "DIR",
         "objects of a bucket pass through it, 256 MiB or one snapshot at a time ($TMPDIR or "
         "/tmp)"},
        {"metrics", 0, AK_ARG_TEXT, &o.metrics, 0, 0, "FILE",
         "write the metrics of the uploads there, for a collector of text files"},
        {"json", 0, AK_ARG_FLAG, &o.json, 0, 0, NULL, "a line of JSON for each object"},
    };
    struct ak_args args = {
        .command = "snapshots copy",
        .usage = "[--from PLACE] --to PLACE",
        .about =
            "Copies all snapshots of one store into another: a replica, or the move from a folder\n"
            "to a bucket. Buckets are reached with what [s3] says (endpoint, region, keys).\n"
            "What is there with the same size and SHA-256 is not sent again, so a copy that was\n"
            "broken off goes on where it stopped, and one that is repeated brings what is new.\n"
            "A snapshot is listed at its new place once it is whole there; nothing is removed.\n"
            "Servers may use both stores meanwhile.\n",
        .examples =
            "  akidb snapshots copy --from ./akidb-data/objects --to s3://backups/akidb/\n"
            "  akidb snapshots copy --to /mnt/backup/akidb\n"
            "  akidb snapshots copy --from s3://prod/akidb/ --to s3://standby/akidb/ --json\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .words_max = 0,
        .config = &flags,
    };
    enum ak_rc rc = ak_args_parse(&args, argc, argv, err);
    if (rc != AK_OK || args.helped) {
        return rc;
    }
    if (!o.to) {
        return ak_fail(err, AK_INVALID,
                       "`akidb snapshots copy` needs --to: a folder, or "
                       "s3://BUCKET/PREFIX");
    }
    if (o.from && strcmp(o.from, o.to) == 0) {
        return ak_fail(err, AK_INVALID, "--from and --to are the same");
    }
    if (!o.stage) {
        const char *tmp = getenv("TMPDIR");
        o.stage = tmp && *tmp ? tmp : "/tmp";
    }
    struct ak_config config;
    ak_config_init(&config);
    rc = ak_config_load(&config, &flags, environ, err);
    rc = rc == AK_OK ? run(&o, &config, err) : rc;
    ak_config_release(&config);
    return rc;
}
