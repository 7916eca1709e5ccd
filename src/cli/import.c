/* import.c — akidb import: documents from files into a collection. */
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/import_parquet.h"
#include "cli/output.h"
#include "cli/target.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

extern char **environ;

struct options {
    const char *url;
    const char *dir;
    const char *collection;
    const char *documents;
    const char *metric;
    const char *model;
    const char *file;
    uint64_t dimension;
    bool create;
    bool wait;
    bool json;
};

struct totals {
    uint64_t documents;
    double seconds, parse, log, index, close;
};

static double now(void)
{
    return (double)ak_mono_ns(ak_clock_system()) / 1e9;
}

/* The collection that the rows go to; made when --create says so. */
static enum ak_rc find_collection(struct ak_target *target, const struct options *o,
                                  uint32_t dimension, struct ak_arena *arena,
                                  struct ak_collection_info *info, struct ak_err *err)
{
    struct ak_collection_summary summary;
    struct ak_str name = ak_str_of(o->collection);
    enum ak_rc rc = ak_target_describe(target, name, arena, &summary, err);
    if (rc == AK_NOT_FOUND && !o->create) {
        return ak_fail(err, rc, "there is no collection '%s': add --create to make it",
                       o->collection);
    }
    if (rc == AK_NOT_FOUND) {
        struct ak_collection_info spec = {
            .name = name,
            .dimension = dimension,
            .embedding_model = ak_str_of(o->model),
            .index = ak_index_params_default(),
        };
        if (!ak_metric_parse(ak_str_of(o->metric ? o->metric : "cosine"), &spec.metric)) {
            return ak_fail(err, AK_INVALID, "--metric is \"%s\"; allowed are cosine, dot, l2",
                           o->metric);
        }
        rc = ak_collection_info_check(&spec, err);
        rc = rc == AK_OK ? ak_target_create(target, &spec, err) : rc;
        rc = rc == AK_OK ? ak_target_describe(target, name, arena, &summary, err) : rc;
    }
    if (rc != AK_OK) {
        return rc;
    }
    if (summary.info.dimension != dimension) {
        return ak_fail(err, AK_INVALID,
                       "the vectors of %s have %u numbers; those of collection '%s' have %u",
                       o->file, dimension, o->collection, summary.info.dimension);
    }
    if (o->metric && strcmp(o->metric, ak_metric_name(summary.info.metric)) != 0) {
        return ak_fail(err, AK_INVALID, "collection '%s' exists with metric %s, not %s",
                       o->collection, ak_metric_name(summary.info.metric), o->metric);
    }
    *info = summary.info;
    return AK_OK;
}

static enum ak_rc copy_rows(struct ak_target *target, struct ak_rows *rows, struct totals *totals,
                            struct ak_err *err)
{
    struct ak_progress progress;
    struct ak_row row;
    bool end = false;
    enum ak_rc rc = AK_OK;
    ak_progress_init(&progress, "documents", 0);
    while (rc == AK_OK) {
        double began = now();
        rc = ak_rows_next(rows, &row, &end, err);
        totals->parse += now() - began;
        if (rc != AK_OK || end) {
            break;
        }
        rc = ak_target_import_add(target, &row, err);
        ak_progress_set(&progress, ak_rows_number(rows), ak_rows_share(rows));
    }
    if (rc == AK_OK) {
        rc = ak_target_import_flush(target, err);
    }
    ak_progress_end(&progress);
    totals->documents = ak_rows_number(rows);
    return rc;
}

static void show_left(void *ctx, uint64_t left)
{
    struct ak_progress *progress = ctx;
    if (progress->total < left) {
        progress->total = left;
    }
    ak_progress_set(progress, progress->total - left, -1);
}

static enum ak_rc wait_linked(struct ak_target *target, struct ak_err *err)
{
    struct ak_progress progress;
    ak_progress_init(&progress, "vectors linked", 0);
    enum ak_rc rc = ak_target_wait_linked(target, show_left, &progress, err);
    ak_progress_end(&progress);
    return rc;
}

static enum ak_rc run(struct ak_target *target, const struct options *o, struct totals *totals,
                      struct ak_err *err)
{
    const struct ak_rows_options from = {
        .path = o->file,
        .documents = o->documents,
        .want_floats = ak_target_wants_floats(target),
    };
    struct ak_rows *rows = NULL;
    struct ak_arena arena;
    struct ak_collection_info info;
    uint32_t dimension;
    ak_arena_init(&arena, 0);
    enum ak_rc rc = ak_rows_open(&from, &rows, err);
    rc = rc == AK_OK ? ak_rows_dimension(rows, &dimension, err) : rc;
    rc = rc == AK_OK ? find_collection(target, o, dimension, &arena, &info, err) : rc;
    rc = rc == AK_OK ? ak_target_import_begin(target, &info, err) : rc;
    rc = rc == AK_OK ? copy_rows(target, rows, totals, err) : rc;
    rc = rc == AK_OK && o->wait ? wait_linked(target, err) : rc;
    ak_target_import_times(target, &totals->log, &totals->index);
    ak_rows_close(rows);
    ak_arena_release(&arena);
    return rc;
}

static void print_totals(const struct options *o, const struct totals *t, const char *where,
                         bool is_folder)
{
    double rate = t->seconds > 0 ? (double)t->documents / t->seconds : 0;
    if (o->json) {
        (void)printf("{\"documents\":%" PRIu64
                     ",\"seconds\":%.6f,\"per_second\":%.1f,\"parse_seconds\":%.6f,"
                     "\"log_seconds\":%.6f,\"index_seconds\":%.6f,\"close_seconds\":%.6f}\n",
                     t->documents, t->seconds, rate, t->parse, t->log, t->index, t->close);
        return;
    }
    char text[4][AK_NUMBER_TEXT_MAX];
    (void)printf("%s documents into '%s' of %s in %s (%s/s)\n",
                 ak_text_count(t->documents, text[0]), o->collection, where,
                 ak_text_seconds(t->seconds, text[1]), ak_text_count((uint64_t)rate, text[2]));
    (void)printf("  parse  %s\n", ak_text_seconds(t->parse, text[3]));
    (void)printf("  log    %s%s\n", ak_text_seconds(t->log, text[3]),
                 is_folder ? "" : " (waiting for the server)");
    (void)printf("  index  %s%s\n", ak_text_seconds(t->index, text[3]),
                 o->wait     ? ""
                 : is_folder ? " (the rest is linked while the folder is next open)"
                             : " (the server links in the background; searches find all of it)");
    if (is_folder) {
        (void)printf("  close  %s\n", ak_text_seconds(t->close, text[3]));
    }
}

static bool is_parquet(const struct options *o)
{
    return ak_str_has_suffix(ak_str_of(o->file), AK_STR(".parquet"));
}

/* Sent as it is: the server, or the folder's engine behind its API, reads the format. */
static enum ak_rc run_parquet(const struct options *o, const struct ak_target_options *to,
                              struct ak_err *err)
{
    const struct ak_import_parquet import = {
        .target = *to,
        .collection = o->collection,
        .file = o->file,
        .metric = o->metric,
        .model = o->model,
        .dimension = o->dimension,
        .create = o->create,
    };
    char name[AK_TARGET_URL_MAX];
    char text[3][AK_NUMBER_TEXT_MAX];
    uint64_t documents = 0;
    double began = now();
    if (o->documents || o->wait) {
        return ak_fail(err, AK_INVALID, "--%s does not go with a Parquet file",
                       o->documents ? "documents" : "wait");
    }
    enum ak_rc rc = ak_import_parquet(&import, &documents, name, err);
    double seconds = now() - began;
    double rate = seconds > 0 ? (double)documents / seconds : 0;
    if (rc == AK_OK && o->json) {
        (void)printf("{\"documents\":%" PRIu64 ",\"seconds\":%.6f,\"per_second\":%.1f}\n",
                     documents, seconds, rate);
    } else if (rc == AK_OK) {
        (void)printf("%s documents into '%s' of %s in %s (%s/s)\n",
                     ak_text_count(documents, text[0]), o->collection, name,
                     ak_text_seconds(seconds, text[1]), ak_text_count((uint64_t)rate, text[2]));
    }
    return rc;
}

enum ak_rc ak_cli_import(int argc, char **argv, struct ak_err *err)
{
    struct options o = {0};
    struct ak_config_flags flags = {0};
    const struct ak_arg options[] = {
        {"collection", 'c', AK_ARG_TEXT, &o.collection, 0, 0, "NAME", "where to"},
        {"documents", 0, AK_ARG_TEXT, &o.documents, 0, 0, "F.ndjson",
         "line i is the document of row i of the .npy file"},
        {"create", 0, AK_ARG_FLAG, &o.create, 0, 0, NULL, "make the collection when there is none"},
        {"metric", 0, AK_ARG_TEXT, &o.metric, 0, 0, "METRIC",
         "with --create: cosine (default), dot or l2"},
        {"model", 0, AK_ARG_TEXT, &o.model, 0, 0, "TEXT",
         "with --create: the embedding model, as a note"},
        {"dimension", 'd', AK_ARG_UINT, &o.dimension, 1, AK_DIMENSION_MAX, "N",
         "with --create of a .parquet file: numbers in a vector (else as in its first row)"},
        {"wait", 'w', AK_ARG_FLAG, &o.wait, 0, 0, NULL, "until every vector is linked"},
        AK_CLI_TARGET_OPTIONS(o.url, o.dir),
        {"json", 0, AK_ARG_FLAG, &o.json, 0, 0, NULL, "print the summary as JSON"},
    };
    struct ak_args args = {
        .command = "import",
        .usage = "--collection NAME [--create] FILE.ndjson | - | FILE.npy [--documents F.ndjson] | "
                 "FILE.parquet",
        .about = "Loads documents into a collection. NDJSON has one document a line:\n"
                 "  {\"external_id\": \"doc-1\", \"vector\": [0.1, 0.2], \"metadata\": {\"lang\": "
                 "\"en\"}}\n"
                 "A .npy file holds one vector a row (float32, or float16, which is widened). A "
                 "document\n"
                 "with an external_id and no id gets an id made from it, so that a second import "
                 "of the\n"
                 "same file replaces and does not double. A .parquet file needs a column vector "
                 "(list of\n"
                 "float or double); document_id, external_id and metadata are used when there.\n",
        .examples =
            "  akidb import --collection docs --create docs.ndjson\n"
            "  akidb import --collection docs vectors.npy --documents docs.ndjson --wait\n"
            "  zcat docs.ndjson.gz | akidb import --collection docs --data ./akidb-data -\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .words_max = 1,
        .config = &flags,
    };
    enum ak_rc rc = ak_args_parse(&args, argc, argv, err);
    if (rc != AK_OK || args.helped) {
        return rc;
    }
    if (!o.collection) {
        return ak_fail(err, AK_INVALID, "--collection NAME is needed");
    }
    if (args.word_count == 0) {
        return ak_fail(err, AK_INVALID,
                       "a file is needed: FILE.ndjson, FILE.npy, FILE.parquet or - (NDJSON)");
    }
    o.file = args.words[0];
    struct ak_config config;
    struct ak_target *target = NULL;
    struct totals totals = {0};
    ak_config_init(&config);
    double began = now();
    const struct ak_target_options to = {
        .url = o.url, .dir = o.dir, .config = &config, .may_make = o.create};
    rc = ak_config_load(&config, &flags, environ, err);
    if (rc == AK_OK && is_parquet(&o)) {
        rc = run_parquet(&o, &to, err);
        ak_config_release(&config);
        return rc;
    }
    if (rc == AK_OK) {
        rc = ak_target_open(&to, &target, err);
    }
    char where[512] = "";
    bool is_folder = false;
    if (rc == AK_OK) {
        (void)snprintf(where, sizeof where, "%s", ak_target_name(target));
        is_folder = ak_target_is_folder(target);
        rc = run(target, &o, &totals, err);
    }
    double closing = now();
    ak_target_close(target);
    totals.close = now() - closing;
    totals.seconds = now() - began;
    if (rc == AK_OK) {
        print_totals(&o, &totals, where, is_folder);
    }
    ak_config_release(&config);
    return rc;
}
