/* search.c — akidb search: the nearest documents as a table that a person can judge. */
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/npy.h"
#include "cli/output.h"
#include "cli/target.h"
#include <stdio.h>
#include <string.h>

extern char **environ;

struct options {
    const char *url;
    const char *dir;
    const char *collection;
    const char *vector;
    const char *file;
    const char *like;
    const char *filter;
    uint64_t row;
    uint64_t k;
    uint64_t ef;
    double recall;
    bool exact;
    bool json;
};

/* --- Where the query's vector comes from --- */

static enum ak_rc vector_of_text(const char *text, uint32_t dimension, float *out,
                                 struct ak_err *err)
{
    struct ak_json in;
    size_t count = 0;
    ak_json_init(&in, ak_str_of(text));
    (void)ak_json_f32_array(&in, out, AK_DIMENSION_MAX, &count);
    enum ak_rc rc = ak_json_finish(&in, err);
    ak_json_release(&in);
    if (rc != AK_OK) {
        return ak_wrap(err, rc, "--vector");
    }
    if (count != dimension) {
        return ak_fail(err, AK_INVALID,
                       "--vector has %zu numbers; the collection's vectors have %u", count,
                       dimension);
    }
    return AK_OK;
}

static enum ak_rc vector_of_file(const struct options *o, uint32_t dimension, float *out,
                                 struct ak_err *err)
{
    struct ak_npy npy;
    enum ak_rc rc = ak_npy_open(ak_fs_posix(), o->file, &npy, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (npy.dimension != dimension) {
        rc = ak_fail(err, AK_INVALID,
                     "the rows of %s have %u numbers; the collection's vectors have %u", o->file,
                     npy.dimension, dimension);
    } else if (o->row >= npy.rows) {
        rc = ak_fail(err, AK_INVALID, "--row is %llu; the rows of %s are 0 to %llu",
                     (unsigned long long)o->row, o->file, (unsigned long long)npy.rows - 1);
    } else {
        rc = ak_npy_read(&npy, o->row, 1, out, err);
    }
    ak_npy_close(&npy);
    return rc;
}

static enum ak_rc vector_of_document(struct ak_target *target, const struct options *o,
                                     uint32_t dimension, struct ak_arena *arena, float *out,
                                     struct ak_err *err)
{
    struct ak_uuid id;
    const float *found;
    if (!ak_uuid_parse(ak_str_of(o->like), &id)) {
        id = ak_rows_id_of(ak_str_of(o->like)); /* the id that import makes of an external id */
    }
    enum ak_rc rc =
        ak_target_vector(target, ak_str_of(o->collection), &id, dimension, arena, &found, err);
    if (rc == AK_NOT_FOUND) {
        return ak_fail(err, rc, "'%s' holds no document '%s'", o->collection, o->like);
    }
    if (rc == AK_OK) {
        memcpy(out, found, dimension * sizeof *out);
    }
    return rc;
}

static enum ak_rc query_vector(struct ak_target *target, const struct options *o,
                               uint32_t dimension, struct ak_arena *arena, float *out,
                               struct ak_err *err)
{
    if (o->vector) {
        return vector_of_text(o->vector, dimension, out, err);
    }
    return o->file ? vector_of_file(o, dimension, out, err)
                   : vector_of_document(target, o, dimension, arena, out, err);
}

/* --- Results --- */

/* The string under one of these names is what a reader wants to see; else the first string. */
static const char *const text_names[] = {"text", "title", "name", "content", "description"};

/* The text of a document, in the arena; the whole metadata when there is no string in it. */
static struct ak_str text_of(struct ak_str metadata, struct ak_arena *arena)
{
    struct ak_json in;
    struct ak_str key;
    struct ak_str best = AK_STR_NONE;
    size_t best_rank = sizeof text_names / sizeof text_names[0] + 1;
    if (metadata.len == 0) {
        return AK_STR_NONE;
    }
    ak_json_init(&in, metadata);
    ak_json_object(&in);
    while (ak_json_next_key(&in, &key)) {
        size_t rank = 0;
        while (rank < sizeof text_names / sizeof text_names[0] &&
               !ak_str_eq(key, ak_str_of(text_names[rank]))) {
            rank++;
        }
        struct ak_str text;
        if (rank < best_rank && ak_json_peek(&in) == AK_JSON_STRING) {
            if (ak_json_string(&in, &text)) {
                best = ak_arena_str(arena, text);
                best_rank = rank;
            }
        } else {
            (void)ak_json_skip(&in, NULL);
        }
    }
    bool failed = ak_json_failed(&in);
    ak_json_release(&in);
    return failed || best.len == 0 ? metadata : best;
}

static void print_table(const struct ak_found *found, uint32_t count, double seconds,
                        struct ak_arena *arena)
{
    static const struct ak_table_column columns[] = {
        {.title = "", .right = true},
        {.title = "SCORE", .right = true},
        {.title = "DOCUMENT"},
        {.title = "TEXT", .wide = true},
    };
    struct ak_table table;
    ak_table_init(&table, columns, sizeof columns / sizeof columns[0]);
    for (uint32_t i = 0; i < count; i++) {
        ak_table_cell_fmt(&table, "%u", i + 1);
        ak_table_cell_fmt(&table, "%.4f", (double)found[i].score);
        if (found[i].external_id.len > 0) {
            ak_table_cell(&table, found[i].external_id);
        } else {
            char text[AK_UUID_TEXT_LEN];
            ak_uuid_format(&found[i].id, text);
            ak_table_cell(&table, (struct ak_str){text, sizeof text});
        }
        ak_table_cell(&table, text_of(found[i].metadata, arena));
    }
    ak_table_print(&table, stdout);
    ak_table_release(&table);
    char time[AK_NUMBER_TEXT_MAX];
    (void)printf("%u document%s in %s\n", count, count == 1 ? "" : "s",
                 ak_text_seconds(seconds, time));
}

static enum ak_rc print_json(const struct ak_found *found, uint32_t count, double seconds,
                             struct ak_err *err)
{
    struct ak_buf out;
    ak_buf_init(&out, 0);
    ak_buf_add_str(&out, AK_STR("{\"results\":["));
    for (uint32_t i = 0; i < count; i++) {
        char text[AK_UUID_TEXT_LEN];
        ak_uuid_format(&found[i].id, text);
        ak_buf_add_fmt(&out, "%s{\"id\":\"%.*s\",\"score\":", i ? "," : "", AK_UUID_TEXT_LEN, text);
        ak_json_put_f32(&out, found[i].score);
        if (found[i].external_id.len > 0) {
            ak_buf_add_str(&out, AK_STR(",\"external_id\":"));
            ak_json_put_string(&out, found[i].external_id);
        }
        if (found[i].metadata.len > 0) {
            ak_buf_add_str(&out, AK_STR(",\"metadata\":"));
            ak_buf_add_str(&out, found[i].metadata);
        }
        ak_buf_add_char(&out, '}');
    }
    ak_buf_add_fmt(&out, "],\"took_ms\":%.3f}\n", seconds * 1e3);
    enum ak_rc rc = ak_buf_check(&out, err);
    if (rc == AK_OK) {
        (void)fwrite(out.p, 1, out.len, stdout);
    }
    ak_buf_release(&out);
    return rc;
}

static enum ak_rc run(struct ak_target *target, const struct options *o, struct ak_arena *arena,
                      struct ak_err *err)
{
    struct ak_collection_summary summary;
    enum ak_rc rc = ak_target_describe(target, ak_str_of(o->collection), arena, &summary, err);
    if (rc != AK_OK) {
        return rc;
    }
    float *vector = ak_alloc_aligned(AK_CACHE_LINE, AK_DIMENSION_MAX * sizeof *vector);
    rc = query_vector(target, o, summary.info.dimension, arena, vector, err);
    if (rc == AK_OK) {
        const struct ak_target_query query = {
            .collection = ak_str_of(o->collection),
            .vector = vector,
            .dimension = summary.info.dimension,
            .k = (uint32_t)o->k,
            .ef = (uint32_t)o->ef,
            .recall = o->recall,
            .filter = ak_str_of(o->filter),
            .exact = o->exact,
        };
        struct ak_found *found;
        uint32_t count;
        int64_t began = ak_mono_ns(ak_clock_system());
        rc = ak_target_search(target, &query, arena, &found, &count, err);
        double seconds = (double)(ak_mono_ns(ak_clock_system()) - began) / 1e9;
        if (rc == AK_OK && o->json) {
            rc = print_json(found, count, seconds, err);
        } else if (rc == AK_OK) {
            print_table(found, count, seconds, arena);
        }
    }
    ak_free(vector);
    return rc;
}

enum ak_rc ak_cli_search(int argc, char **argv, struct ak_err *err)
{
    struct options o = {.k = 10};
    struct ak_config_flags flags = {0};
    const struct ak_arg options[] = {
        {"collection", 'c', AK_ARG_TEXT, &o.collection, 0, 0, "NAME", "where to search"},
        {"vector", 0, AK_ARG_TEXT, &o.vector, 0, 0, "[…]", "the query, as a JSON array, or"},
        {"vector-file", 0, AK_ARG_TEXT, &o.file, 0, 0, "F.npy", "a row of this file, or"},
        {"like", 0, AK_ARG_TEXT, &o.like, 0, 0, "ID",
         "the vector of this document (id, or external id of an import)"},
        {"row", 0, AK_ARG_UINT, &o.row, 0, 0, "N", "which row of the file, from 0 (0)"},
        {"k", 'k', AK_ARG_UINT, &o.k, 1, AK_K_MAX, "N", "how many documents (10)"},
        {"ef", 0, AK_ARG_UINT, &o.ef, 1, AK_EF_MAX, "N",
         "candidates: more finds better and takes longer (the collection's)"},
        {"recall", 0, AK_ARG_NUMBER, &o.recall, 0, 0, "SHARE",
         "of the nearest to be found, like 0.95, instead of --ef"},
        {"filter", 'f', AK_ARG_TEXT, &o.filter, 0, 0, "JSON",
         "only documents whose metadata match"},
        {"exact", 0, AK_ARG_FLAG, &o.exact, 0, 0, NULL, "compare with every vector"},
        AK_CLI_TARGET_OPTIONS(o.url, o.dir),
        {"json", 0, AK_ARG_FLAG, &o.json, 0, 0, NULL, "print JSON"},
    };
    struct ak_args args = {
        .command = "search",
        .usage = "--collection NAME (--vector '[…]' | --vector-file F.npy --row N | --like ID)",
        .about =
            "Finds the documents whose vectors are nearest, and prints them with their scores:\n"
            "under cosine and dot higher is nearer, under l2 lower.\n",
        .examples = "  akidb search --collection docs --vector '[0.1, 0.2, 0.3]' -k 5\n"
                    "  akidb search --collection docs --vector-file questions.npy --row 2\n"
                    "  akidb search --collection docs --like n07567139 \\\n"
                    "      --filter '{\"must\":[{\"key\":\"lang\",\"match\":\"en\"}]}'\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .config = &flags,
    };
    enum ak_rc rc = ak_args_parse(&args, argc, argv, err);
    if (rc != AK_OK || args.helped) {
        return rc;
    }
    if (!o.collection) {
        return ak_fail(err, AK_INVALID, "--collection NAME is needed");
    }
    if (!(o.recall >= 0.0 && o.recall <= 1.0)) {
        return ak_fail(err, AK_INVALID, "--recall is %g; it takes a share from 0 to 1", o.recall);
    }
    if (!!o.vector + !!o.file + !!o.like != 1) {
        return ak_fail(err, AK_INVALID,
                       "the query is needed: one of --vector, --vector-file or --like");
    }
    struct ak_config config;
    struct ak_target *target = NULL;
    struct ak_arena arena;
    ak_config_init(&config);
    ak_arena_init(&arena, 0);
    rc = ak_config_load(&config, &flags, environ, err);
    if (rc == AK_OK) {
        const struct ak_target_options to = {.url = o.url, .dir = o.dir, .config = &config};
        rc = ak_target_open(&to, &target, err);
    }
    if (rc == AK_OK) {
        rc = run(target, &o, &arena, err);
    }
    ak_target_close(target);
    ak_arena_release(&arena);
    ak_config_release(&config);
    return rc;
}
