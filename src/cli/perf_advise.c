/* perf_advise.c — akidb perf advise: measure, apply the rules, write the report. */
#include "cli/perf_advise.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/rand.h"
#include "cli/output.h"
#include "cli/perf.h"
#include "cli/serve.h"
#include "perf/summary_file.h"
#include <stdlib.h>
#include <string.h>

#define EVENTS_BYTES ((size_t)4 << 20)
#define COLLECTIONS_MEASURED_MAX 100u /* without --table: those with the most documents */

extern char **environ;

struct advise {
    const char *url, *dir, *input, *table, *output;
    double recall;
    uint64_t days, queries, trial, seed;
    bool json, dry_run, has_seed;
    struct ak_config config;
    struct ak_arena arena;
    struct ak_buf folder;
    struct ak_remote *remote;
    struct ak_advise_collection *collections;
    size_t collection_count;
    struct ak_perf_stats *stats;
    struct ak_perf_shapes shapes;
    struct ak_advise_accesses *accesses;
    struct ak_advise_policy policy;
    struct ak_perf_folder_counts counts;
    struct ak_advice advice;
    int64_t now_us;
};

/* --- The log --- */

static enum ak_rc add_row(void *ctx, const struct ak_perf_query *row, struct ak_err *err)
{
    struct advise *a = ctx;
    enum ak_rc rc = ak_perf_stats_add(a->stats, row, err);
    return rc == AK_OK ? ak_advise_accesses_add(a->accesses, row, err) : rc;
}

static enum ak_rc read_log(struct advise *a, struct ak_err *err)
{
    int32_t to = ak_perf_day(a->now_us);
    const char *dir = ak_buf_cstr(&a->folder);
    enum ak_rc rc = ak_perf_shapes_load(&a->shapes, ak_fs_posix(), dir, err);
    rc = rc == AK_OK ? ak_perf_folder_read(ak_fs_posix(), dir, to - (int32_t)a->days + 1, to,
                                           ak_str_of(a->table), add_row, a, &a->counts, err)
                     : rc;
    if (rc == AK_OK && a->counts.rows == 0) {
        ak_advice_note(&a->advice,
                       "%s holds no query log of the last %llu days: filter keys and "
                       "tiers need one",
                       dir, (unsigned long long)a->days);
    }
    return rc;
}

/* --- One collection --- */

static enum ak_rc try_parameters(struct advise *a, const struct ak_advise_collection *one,
                                 const struct ak_advise_sample *sample,
                                 const struct ak_advise_measured *measured, struct ak_err *err)
{
    struct ak_advise_trial trials[AK_ADVISE_TRIALS_MAX];
    size_t count = 0;
    uint32_t rows = 0;
    if (a->trial == 0) {
        return AK_OK;
    }
    enum ak_rc rc = ak_advise_trial_run(one, sample, measured->queries, measured->k, a->recall,
                                        trials, &count, &rows, err);
    if (rc == AK_OK) {
        ak_advise_trials(&a->advice, measured, trials, count, rows, a->recall);
    }
    return rc;
}

static enum ak_rc advise_one(struct advise *a, const struct ak_advise_collection *one,
                             struct ak_err *err)
{
    struct ak_advise_habit habit;
    struct ak_advise_sample sample = {0};
    struct ak_advise_measured measured;
    if (one->documents < 2) {
        return AK_OK;
    }
    ak_advise_habit(a->stats, &a->shapes, one->name, &habit);
    uint32_t want = (uint32_t)(a->queries + a->trial);
    enum ak_rc rc = ak_advise_draw(a->remote, one, want, a->seed, &sample, err);
    rc = rc == AK_OK ? ak_advise_measure(a->remote, one, &habit, &sample, (uint32_t)a->queries,
                                         &measured, err)
                     : rc;
    if (rc == AK_OK && measured.queries) {
        uint32_t ef = ak_advise_ef(&a->advice, &measured, a->recall);
        (void)ef;
        rc = try_parameters(a, one, &sample, &measured, err);
    }
    ak_advise_sample_release(&sample);
    return rc == AK_OK ? AK_OK : ak_wrap(err, rc, "collection '%.*s'", AK_STR_ARG(one->name));
}

static int by_documents(const void *x, const void *y)
{
    const struct ak_advise_collection *a = x;
    const struct ak_advise_collection *b = y;
    return (a->documents < b->documents) - (a->documents > b->documents);
}

static enum ak_rc advise_collections(struct advise *a, struct ak_err *err)
{
    size_t measured = 0;
    bool is_found = false;
    enum ak_rc rc = AK_OK;
    if (a->collection_count) {
        qsort(a->collections, a->collection_count, sizeof *a->collections, by_documents);
    }
    for (size_t i = 0; rc == AK_OK && i < a->collection_count; i++) {
        const struct ak_advise_collection *one = &a->collections[i];
        bool is_meant = !a->table || ak_str_eq(one->name, ak_str_of(a->table));
        is_found = is_found || is_meant;
        if (is_meant && measured++ < COLLECTIONS_MEASURED_MAX) {
            rc = advise_one(a, one, err);
            if (rc == AK_NOT_FOUND) { /* dropped since it was listed */
                rc = AK_OK;
            }
        }
    }
    if (rc == AK_OK && measured > COLLECTIONS_MEASURED_MAX) {
        ak_advice_note(&a->advice,
                       "the %u largest of %zu collections were measured; --table "
                       "measures another",
                       COLLECTIONS_MEASURED_MAX, measured);
    }
    if (rc == AK_OK && a->table && !is_found) {
        rc = ak_fail(err, AK_NOT_FOUND, "there is no collection '%s'", a->table);
    }
    return rc;
}

/* --- The report before, and events --- */

static bool number_after(struct ak_str index, struct ak_str name, uint64_t *n)
{
    return ak_str_has_prefix(index, name) &&
           ak_str_u64(ak_str_sub(index, name.len, index.len), UINT32_MAX, n);
}

/* Are the collection's parameters by now what was recommended? */
static bool in_force(void *ctx, const struct ak_perf_recommendation *one)
{
    const struct advise *a = ctx;
    uint64_t n = 0;
    if (ak_advise_threshold_in_force(&a->policy, one->index)) {
        return true;
    }
    for (size_t i = 0; i < a->collection_count; i++) {
        const struct ak_index_params *params = &a->collections[i].params;
        if (!ak_str_eq(a->collections[i].name, one->table)) {
            continue;
        }
        if (ak_str_eq(one->index, AK_STR("tier:pinned"))) {
            return a->collections[i].is_pinned;
        }
        if (number_after(one->index, AK_STR("ef_search="), &n)) {
            return params->ef_search == n;
        }
        if (number_after(one->index, AK_STR("m="), &n)) {
            return params->m == n;
        }
        if (ak_str_has_prefix(one->index, AK_STR("quantization="))) {
            return ak_str_has_suffix(one->index,
                                     ak_str_of(ak_quantization_name(params->quantization)));
        }
    }
    return false;
}

static enum ak_rc report_path(const struct advise *a, struct ak_buf *path, struct ak_err *err)
{
    ak_buf_add_fmt(path, "%.*s/" AK_PERF_REPORT_FILE, AK_STR_ARG(ak_buf_str(&a->folder)));
    (void)ak_buf_cstr(path);
    return ak_buf_check(path, err);
}

/* A report that cannot be read, or is of other columns, is replaced without being asked. */
static size_t carry_over(struct advise *a, const char *path)
{
    struct ak_buf text;
    struct ak_err err;
    struct ak_perf_report before = {0};
    size_t applied = 0;
    ak_buf_init(&text, AK_PERF_REPORT_MAX);
    enum ak_rc rc = ak_fs_read_all(ak_fs_posix(), path, AK_PERF_REPORT_MAX, &text, &err);
    if (rc == AK_OK) {
        rc = ak_perf_parse_report(ak_buf_str(&text), &a->arena, &before, NULL, &err);
    }
    if (rc != AK_OK && rc != AK_NOT_FOUND) {
        ak_advice_note(&a->advice, "the report before this one cannot be read: %s", err.text);
        before.count = 0;
    }
    applied = ak_advise_carry_over(&a->advice, &before, in_force, a);
    ak_buf_release(&text);
    return applied;
}

static void put_metadata(struct ak_buf *out, const struct ak_perf_recommendation *one)
{
    ak_buf_add_str(out, AK_STR("{\"table\":"));
    ak_json_put_string(out, one->table);
    ak_buf_add_str(out, AK_STR(",\"index\":"));
    ak_json_put_string(out, one->index);
    ak_buf_add_str(out, AK_STR(",\"priority\":"));
    ak_json_put_string(out, one->priority);
    ak_buf_add_char(out, '}');
}

static void put_events(const struct advise *a, size_t applied, struct ak_buf *lines)
{
    const struct ak_advice *advice = &a->advice;
    struct ak_buf metadata;
    const struct ak_perf_metric all[] = {{AK_STR("recommendations"), (double)advice->count},
                                         {AK_STR("newly_applied"), (double)applied},
                                         {AK_STR("rows_read"), (double)a->counts.rows}};
    ak_perf_put_event(lines, a->now_us, AK_STR("advice"), all, 3, AK_STR_NONE);
    ak_buf_init(&metadata, 0);
    for (size_t i = 0; i < advice->count; i++) {
        const struct ak_perf_recommendation *one = &advice->list[i];
        const struct ak_perf_metric speedup = {AK_STR("estimated_speedup"), one->estimated_speedup};
        char event[32];
        (void)snprintf(event, sizeof event, "advice_%.*s", AK_STR_ARG(one->status));
        ak_buf_clear(&metadata);
        put_metadata(&metadata, one);
        ak_perf_put_event(lines, a->now_us, ak_str_of(event), &speedup, one->has_speedup,
                          ak_buf_str(&metadata));
    }
    ak_buf_release(&metadata);
}

static enum ak_rc write_report(struct advise *a, const char *path, size_t applied,
                               struct ak_err *err)
{
    struct ak_buf text;
    struct ak_buf lines;
    const struct ak_perf_report report = {
        .timestamp = a->now_us, .recommendations = a->advice.list, .count = a->advice.count};
    ak_buf_init(&text, AK_PERF_REPORT_MAX);
    ak_buf_init(&lines, EVENTS_BYTES);
    ak_perf_put_report(&text, &report);
    put_events(a, applied, &lines);
    enum ak_rc rc = ak_buf_check(&text, err);
    rc = rc == AK_OK ? ak_buf_check(&lines, err) : rc;
    rc = rc == AK_OK ? ak_fs_make_dirs(ak_fs_posix(), ak_buf_cstr(&a->folder), err) : rc;
    rc = rc == AK_OK ? ak_fs_write_atomic(ak_fs_posix(), path, ak_buf_str(&text), err) : rc;
    rc = rc == AK_OK ? ak_perf_summary_append(ak_fs_posix(), ak_buf_cstr(&a->folder),
                                              ak_buf_str(&lines), err)
                     : rc;
    ak_buf_release(&text);
    ak_buf_release(&lines);
    return rc;
}

/* --- What a person sees --- */

static void print_advice(struct advise *a)
{
    const struct ak_advice *advice = &a->advice;
    struct ak_str notes = ak_buf_str(&advice->notes);
    struct ak_str line;
    for (size_t i = 0; i < advice->count; i++) {
        const struct ak_perf_recommendation *one = &advice->list[i];
        struct ak_buf *text = &a->advice.text;
        ak_buf_clear(text);
        ak_buf_add_fmt(text, "%.*s  %.*s", AK_STR_ARG(one->table), AK_STR_ARG(one->index));
        ak_text_print(stdout, ak_buf_str(text));
        if (one->has_speedup) {
            (void)printf("  %.2f × as fast", one->estimated_speedup);
        }
        if (one->has_cost && (one->estimated_cost >= 1 || one->estimated_cost <= -1)) {
            char bytes[AK_NUMBER_TEXT_MAX];
            double cost = one->estimated_cost;
            (void)printf("  %s%s", cost < 0 ? "saves " : "takes ",
                         ak_text_bytes(cost < 0 ? -cost : cost, bytes));
        }
        (void)printf("  [%.*s, %.*s]\n    ", AK_STR_ARG(one->priority), AK_STR_ARG(one->status));
        ak_text_print(stdout, one->basis);
        (void)printf("\n");
    }
    if (advice->count == 0) {
        (void)printf("nothing to recommend\n");
    }
    while (notes.len) {
        (void)ak_str_split(notes, '\n', &line, &notes);
        (void)printf("note: ");
        ak_text_print(stdout, line);
        (void)printf("\n");
    }
}

static enum ak_rc print_json(struct advise *a, struct ak_err *err)
{
    struct ak_buf text;
    const struct ak_perf_report report = {
        .timestamp = a->now_us, .recommendations = a->advice.list, .count = a->advice.count};
    ak_buf_init(&text, 0);
    ak_perf_put_report(&text, &report);
    enum ak_rc rc = ak_buf_check(&text, err);
    if (rc == AK_OK) {
        (void)fwrite(text.p, 1, text.len, stdout);
    }
    ak_buf_release(&text);
    return rc;
}

/* --- The command --- */

static enum ak_rc run(struct advise *a, struct ak_err *err)
{
    const struct ak_target_options target = {.url = a->url, .dir = a->dir, .config = &a->config};
    struct ak_buf path;
    enum ak_rc rc = ak_remote_open(&target, &a->remote, err);
    if (rc == AK_OK) {
        ak_remote_unlogged(a->remote);
    }
    rc = rc == AK_OK ? ak_advise_collections(a->remote, &a->arena, &a->collections,
                                             &a->collection_count, err)
                     : rc;
    rc = rc == AK_OK ? ak_advise_policy_read(a->remote, &a->config, a->collections,
                                             a->collection_count, &a->policy, err)
                     : rc;
    rc = rc == AK_OK ? read_log(a, err) : rc;
    rc = rc == AK_OK ? advise_collections(a, err) : rc;
    if (rc == AK_OK) {
        ak_advise_keys(&a->advice, a->stats, &a->shapes);
        rc = ak_advise_tiers(&a->advice, a->accesses, &a->policy, a->collections,
                             a->collection_count, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    ak_buf_init(&path, 0);
    rc = report_path(a, &path, err);
    if (rc == AK_OK) {
        size_t applied = carry_over(a, ak_buf_cstr(&path));
        rc = a->dry_run ? AK_OK : write_report(a, ak_buf_cstr(&path), applied, err);
    }
    if (rc == AK_OK && a->json) {
        rc = print_json(a, err);
    } else if (rc == AK_OK) {
        print_advice(a);
        if (!a->dry_run) {
            (void)printf("written to %s\n", ak_buf_cstr(&path));
        }
    }
    ak_buf_release(&path);
    return rc;
}

/* Beside the data that is looked at, unless another folder is named. */
static void choose_folder(struct advise *a)
{
    if (a->input) {
        ak_buf_add_str(&a->folder, ak_str_of(a->input));
        (void)ak_buf_cstr(&a->folder);
    } else {
        ak_serve_perf_dir(&a->config, a->dir ? a->dir : a->config.data_dir, &a->folder);
    }
}

static void release(struct advise *a)
{
    ak_remote_close(a->remote);
    ak_advice_release(&a->advice);
    ak_advise_accesses_close(a->accesses);
    ak_perf_shapes_release(&a->shapes);
    ak_perf_stats_close(a->stats);
    ak_buf_release(&a->folder);
    ak_arena_release(&a->arena);
    ak_config_release(&a->config);
}

static enum ak_rc load_and_run(struct advise *a, const struct ak_config_flags *flags,
                               struct ak_err *err)
{
    a->now_us = ak_now_us(ak_clock_system());
    if (a->seed == 0) {
        ak_random_bytes(&a->seed, sizeof a->seed);
    }
    ak_config_init(&a->config);
    ak_arena_init(&a->arena, 0);
    ak_buf_init(&a->folder, 0);
    ak_advice_init(&a->advice);
    a->stats = ak_perf_stats_open(0);
    a->accesses = ak_advise_accesses_open();
    enum ak_rc rc = ak_config_load(&a->config, flags, environ, err);
    if (rc == AK_OK) {
        choose_folder(a);
        rc = run(a, err);
    }
    release(a);
    return rc;
}

enum ak_rc ak_cli_perf_advise(int argc, char **argv, struct ak_err *err)
{
    struct ak_config_flags flags = {0};
    struct advise a = {.recall = 0.95, .days = 14, .queries = 64, .trial = 5000};
    const struct ak_arg options[] = {
        AK_CLI_TARGET_OPTIONS(a.url, a.dir),
        {"input", 'i', AK_ARG_TEXT, &a.input, 0, 0, "DIR",
         "folder of the query log and the report; default: perf in the data folder"},
        {"days", 0, AK_ARG_UINT, &a.days, 1, 36500, "N", "days of the log to read, today included"},
        {"recall", 'r', AK_ARG_NUMBER, &a.recall, 0, 0, "R",
         "share of the true neighbours that searches should find"},
        {"queries", 'q', AK_ARG_UINT, &a.queries, 4, 10000, "N",
         "stored vectors to search for, each at a dozen values of ef"},
        {"trial", 0, AK_ARG_UINT, &a.trial, 0, 10000000, "N",
         "documents to build with other m and quantisation in TMPDIR; 0: none"},
        {"table", 't', AK_ARG_TEXT, &a.table, 0, 0, "NAME", "one collection only"},
        {"seed", 0, AK_ARG_UINT, &a.seed, 0, 0, "N", "choose the same vectors again"},
        {"dry-run", 0, AK_ARG_FLAG, &a.dry_run, 0, 0, NULL, "write nothing"},
        {"json", 0, AK_ARG_FLAG, &a.json, 0, 0, NULL, "print the report as it is written"},
    };
    struct ak_args args = {
        .command = "perf advise",
        .usage = "[options]",
        .about =
            "Measures each collection and reads the query log, and recommends ef, m, "
            "quantisation,\n"
            "filter keys, pins, tier thresholds and limits: each with a priority, an estimate, and "
            "what "
            "the\n"
            "estimate is based on. Nothing is changed; what it finds goes to\n"
            "index_advisor_report.json and optimization_summary.txt beside the log.\n"
            "Recall is measured, not assumed: stored vectors are searched for at several ef and\n"
            "exactly, through the API. m and quantisation are tried out on a part of the\n"
            "collection, on this machine.\n",
        .examples = "  akidb perf advise\n"
                    "  akidb perf advise --table docs --recall 0.99 --trial 20000\n"
                    "  akidb perf advise --url http://db:8080 --input /srv/perf --json\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .config = &flags,
    };
    enum ak_rc rc = ak_args_parse(&args, argc, argv, err);
    if (rc != AK_OK || args.helped) {
        return rc;
    }
    if (!(a.recall > 0 && a.recall <= 1)) {
        return ak_fail(err, AK_INVALID, "--recall is %g; allowed are more than 0 to 1", a.recall);
    }
    return load_and_run(&a, &flags, err);
}
