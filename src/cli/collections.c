/* collections.c — akidb collections [list | create | show | verify | drop]. */
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/target.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

extern char **environ;

struct options {
    const char *url;
    const char *dir;
    const char *metric;
    const char *model;
    const char *vectors;
    uint64_t dimension;
    uint64_t m;
    uint64_t ef_construction;
    uint64_t ef_search;
    bool json;
    bool yes;
};

/* Memory of vectors and index. */
static uint64_t index_bytes(const struct ak_collection_summary *c)
{
    return c->memory.vectors + c->memory.codes + c->memory.links + c->memory.rest;
}

static uint64_t per_vector(const struct ak_collection_summary *c, uint64_t bytes)
{
    return c->documents ? bytes / c->documents : 0;
}

static void put_collection(struct ak_buf *out, const struct ak_collection_summary *c)
{
    char text[AK_UUID_TEXT_LEN];
    char time[AK_TIME_TEXT_MAX];
    ak_uuid_format(&c->info.id, text);
    ak_buf_add_fmt(out, "{\"id\":\"%.*s\",\"name\":", AK_UUID_TEXT_LEN, text);
    ak_json_put_string(out, c->info.name);
    ak_buf_add_fmt(out,
                   ",\"dimension\":%u,\"metric\":\"%s\",\"embedding_model\":", c->info.dimension,
                   ak_metric_name(c->info.metric));
    ak_json_put_string(out, c->info.embedding_model);
    ak_buf_add_fmt(
        out,
        ",\"index\":{\"m\":%u,\"ef_construction\":%u,\"ef_search\":%u,\"vectors\":\"%s\"},"
        "\"documents\":",
        c->info.index.m, c->info.index.ef_construction, c->info.index.ef_search,
        ak_vectors_name(c->info.index.vectors));
    ak_json_put_u64(out, c->documents);
    ak_buf_add_fmt(out, ",\"created_at\":\"%s\"", ak_time_format(c->info.created_us, time));
    if (c->has_memory) {
        ak_buf_add_fmt(out,
                       ",\"memory\":{\"vectors\":%" PRIu64 ",\"codes\":%" PRIu64
                       ",\"links\":%" PRIu64 ",\"rest\":%" PRIu64 ",\"documents\":%" PRIu64
                       ",\"mapped\":%" PRIu64 ",\"per_vector\":%" PRIu64 "}",
                       c->memory.vectors, c->memory.codes, c->memory.links, c->memory.rest,
                       c->documents_bytes, c->memory.files, per_vector(c, index_bytes(c)));
    }
    ak_buf_add_char(out, '}');
}

static enum ak_rc print_buf(struct ak_buf *out, struct ak_err *err)
{
    enum ak_rc rc = ak_buf_check(out, err);
    if (rc == AK_OK) {
        (void)fwrite(out->p, 1, out->len, stdout);
        (void)fputc('\n', stdout);
    }
    ak_buf_release(out);
    return rc;
}

static enum ak_rc list(struct ak_target *target, const struct options *options, struct ak_err *err)
{
    struct ak_arena arena;
    struct ak_collection_summary *found;
    size_t count;
    ak_arena_init(&arena, 0);
    enum ak_rc rc = ak_target_list(target, &arena, &found, &count, err);
    if (rc == AK_OK && options->json) {
        struct ak_buf out;
        ak_buf_init(&out, 0);
        ak_buf_add_str(&out, AK_STR("{\"collections\":["));
        for (size_t i = 0; i < count; i++) {
            ak_buf_add_str(&out, i ? AK_STR(",") : AK_STR(""));
            put_collection(&out, &found[i]);
        }
        ak_buf_add_str(&out, AK_STR("]}"));
        rc = print_buf(&out, err);
    } else if (rc == AK_OK && count == 0) {
        (void)printf("%s has no collections; `akidb collections create NAME --dimension N` makes "
                     "one\n",
                     ak_target_name(target));
    } else if (rc == AK_OK) {
        static const struct ak_table_column columns[] = {
            {.title = "NAME"},
            {.title = "DOCUMENTS", .right = true},
            {.title = "DIMENSION", .right = true},
            {.title = "METRIC"},
            {.title = "MADE (UTC)"},
        };
        struct ak_table table;
        ak_table_init(&table, columns, sizeof columns / sizeof columns[0]);
        for (size_t i = 0; i < count; i++) {
            char number[AK_NUMBER_TEXT_MAX];
            char time[AK_TIME_TEXT_MAX];
            ak_table_cell(&table, found[i].info.name);
            ak_table_cell_fmt(&table, "%s", ak_text_count(found[i].documents, number));
            ak_table_cell_fmt(&table, "%u", found[i].info.dimension);
            ak_table_cell_fmt(&table, "%s", ak_metric_name(found[i].info.metric));
            (void)ak_time_format(found[i].info.created_us, time);
            ak_table_cell_fmt(&table, "%.10s %.5s", time, time + 11);
        }
        ak_table_print(&table, stdout);
        ak_table_release(&table);
    }
    ak_arena_release(&arena);
    return rc;
}

static enum ak_rc show(struct ak_target *target, const struct options *options, const char *name,
                       struct ak_err *err)
{
    struct ak_arena arena;
    struct ak_collection_summary c;
    ak_arena_init(&arena, 0);
    enum ak_rc rc = ak_target_describe(target, ak_str_of(name), &arena, &c, err);
    if (rc == AK_OK && options->json) {
        struct ak_buf out;
        ak_buf_init(&out, 0);
        put_collection(&out, &c);
        rc = print_buf(&out, err);
    } else if (rc == AK_OK) {
        char text[AK_UUID_TEXT_LEN];
        char time[AK_TIME_TEXT_MAX];
        char number[AK_NUMBER_TEXT_MAX];
        ak_uuid_format(&c.info.id, text);
        (void)printf("name             %.*s\n", AK_STR_ARG(c.info.name));
        (void)printf("id               %.*s\n", AK_UUID_TEXT_LEN, text);
        (void)printf("documents        %s\n", ak_text_count(c.documents, number));
        (void)printf("dimension        %u\n", c.info.dimension);
        (void)printf("metric           %s\n", ak_metric_name(c.info.metric));
        if (c.info.embedding_model.len > 0) {
            (void)printf("embedding model  %.*s\n", AK_STR_ARG(c.info.embedding_model));
        }
        (void)printf("index            m %u, ef_construction %u, ef_search %u\n", c.info.index.m,
                     c.info.index.ef_construction, c.info.index.ef_search);
        (void)printf("vectors          %s\n",
                     c.info.index.vectors == AK_VECTORS_DISK ? "on disk" : "in memory");
        if (c.has_memory) {
            (void)printf("bytes a vector   %" PRIu64 " in memory (codes %" PRIu64 ", links %" PRIu64
                         ", vectors %" PRIu64 "), %" PRIu64 " mapped from disk\n",
                         per_vector(&c, index_bytes(&c)), per_vector(&c, c.memory.codes),
                         per_vector(&c, c.memory.links), per_vector(&c, c.memory.vectors),
                         per_vector(&c, c.memory.files));
        }
        (void)printf("made             %s\n", ak_time_format(c.info.created_us, time));
    }
    ak_arena_release(&arena);
    return rc;
}

static enum ak_rc create(struct ak_target *target, const struct options *options, const char *name,
                         struct ak_err *err)
{
    struct ak_collection_info spec = {
        .name = ak_str_of(name),
        .dimension = (uint32_t)options->dimension,
        .embedding_model = ak_str_of(options->model),
        .index = ak_index_params_default(),
    };
    spec.index.m = (uint32_t)options->m;
    spec.index.ef_construction = (uint32_t)options->ef_construction;
    spec.index.ef_search = (uint32_t)options->ef_search;
    if (options->dimension == 0) {
        return ak_fail(err, AK_INVALID,
                       "--dimension N is needed: how many numbers a vector of '%s' has", name);
    }
    if (!ak_metric_parse(ak_str_of(options->metric), &spec.metric)) {
        return ak_fail(err, AK_INVALID, "--metric is \"%s\"; allowed are cosine, dot, l2",
                       options->metric);
    }
    if (!ak_vectors_parse(ak_str_of(options->vectors), &spec.index.vectors)) {
        return ak_fail(err, AK_INVALID, "--vectors is \"%s\"; allowed are ram, disk",
                       options->vectors);
    }
    enum ak_rc rc = ak_collection_info_check(&spec, err);
    if (rc == AK_OK) {
        rc = ak_target_create(target, &spec, err);
    }
    return rc == AK_OK ? show(target, options, name, err) : rc;
}

static enum ak_rc drop(struct ak_target *target, const struct options *options, const char *name,
                       struct ak_err *err)
{
    if (!options->yes) {
        return ak_fail(err, AK_INVALID,
                       "dropping '%s' removes its documents for good: say --yes to do it", name);
    }
    enum ak_rc rc = ak_target_drop(target, ak_str_of(name), err);
    if (rc == AK_OK) {
        (void)printf(options->json ? "{\"dropped\":true}\n" : "dropped\n");
    }
    return rc;
}

static enum ak_rc verify_one(struct ak_target *target, struct ak_str name, struct ak_err *err)
{
    enum ak_rc rc = ak_target_verify(target, name, err);
    if (rc == AK_OK) {
        (void)printf("%.*s: sound\n", AK_STR_ARG(name));
    }
    return rc;
}

static enum ak_rc verify(struct ak_target *target, const char *name, struct ak_err *err)
{
    struct ak_arena arena;
    struct ak_collection_summary *found = NULL;
    size_t count = 0;
    if (name) {
        return verify_one(target, ak_str_of(name), err);
    }
    ak_arena_init(&arena, 0);
    enum ak_rc rc = ak_target_list(target, &arena, &found, &count, err);
    for (size_t i = 0; rc == AK_OK && i < count; i++) {
        rc = verify_one(target, found[i].info.name, err);
    }
    ak_arena_release(&arena);
    return rc;
}

static enum ak_rc run(struct ak_target *target, const struct options *options,
                      const struct ak_args *args, struct ak_err *err)
{
    const char *verb = args->word_count > 0 ? args->words[0] : "list";
    if (strcmp(verb, "list") == 0) {
        return list(target, options, err);
    }
    if (strcmp(verb, "verify") == 0) {
        return verify(target, args->word_count > 1 ? args->words[1] : NULL, err);
    }
    if (args->word_count < 2) {
        return ak_fail(err, AK_INVALID, "`akidb collections %s` needs the collection's name", verb);
    }
    if (strcmp(verb, "show") == 0) {
        return show(target, options, args->words[1], err);
    }
    if (strcmp(verb, "create") == 0) {
        return create(target, options, args->words[1], err);
    }
    return drop(target, options, args->words[1], err);
}

enum ak_rc ak_cli_collections(int argc, char **argv, struct ak_err *err)
{
    struct ak_index_params params = ak_index_params_default();
    struct options o = {.metric = "cosine",
                        .vectors = "ram",
                        .m = params.m,
                        .ef_construction = params.ef_construction,
                        .ef_search = params.ef_search};
    struct ak_config_flags flags = {0};
    const struct ak_arg options[] = {
        AK_CLI_TARGET_OPTIONS(o.url, o.dir),
        {"dimension", 'd', AK_ARG_UINT, &o.dimension, 1, AK_DIMENSION_MAX, "N",
         "create: numbers in a vector"},
        {"metric", 0, AK_ARG_TEXT, &o.metric, 0, 0, "METRIC",
         "create: cosine (default), dot or l2"},
        {"model", 0, AK_ARG_TEXT, &o.model, 0, 0, "TEXT", "create: the embedding model, as a note"},
        {"m", 0, AK_ARG_UINT, &o.m, 4, 64, "N", "create: links of a vector (16)"},
        {"ef-construction", 0, AK_ARG_UINT, &o.ef_construction, 16, 2000, "N",
         "create: candidates looked at when linking (200)"},
        {"ef-search", 0, AK_ARG_UINT, &o.ef_search, 1, AK_EF_MAX, "N",
         "create: candidates of a search (64)"},
        {"vectors", 0, AK_ARG_TEXT, &o.vectors, 0, 0, "WHERE",
         "create: ram (default), or disk: a third of the memory, results are read"},
        {"yes", 0, AK_ARG_FLAG, &o.yes, 0, 0, NULL, "drop: really"},
        {"json", 0, AK_ARG_FLAG, &o.json, 0, 0, NULL, "print JSON"},
    };
    struct ak_args args = {
        .command = "collections",
        .usage = "[list | create NAME --dimension N | show NAME | verify [NAME] | drop NAME --yes]",
        .about = "Lists, makes, shows or removes collections, on a server or in a data folder; "
                 "verifies\n"
                 "graph, documents and checksums of those in a folder that no server has open.\n",
        .examples = "  akidb collections\n"
                    "  akidb collections create docs --dimension 384 --metric cosine\n"
                    "  akidb collections show docs --json\n"
                    "  akidb collections verify --data ./akidb-data\n"
                    "  akidb collections drop docs --yes\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .words_max = 2,
        .config = &flags,
    };
    enum ak_rc rc = ak_args_parse(&args, argc, argv, err);
    if (rc != AK_OK || args.helped) {
        return rc;
    }
    static const char *const verbs[] = {"list", "create", "show", "verify", "drop"};
    bool known = args.word_count == 0;
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0] && !known; i++) {
        known = strcmp(args.words[0], verbs[i]) == 0;
    }
    if (!known) {
        return ak_fail(err, AK_INVALID,
                       "`akidb collections %s`: allowed are list, create, show, verify, drop",
                       args.words[0]);
    }
    struct ak_config config;
    ak_config_init(&config);
    struct ak_target *target = NULL;
    rc = ak_config_load(&config, &flags, environ, err);
    if (rc == AK_OK) {
        bool makes = args.word_count > 0 && strcmp(args.words[0], "create") == 0;
        const struct ak_target_options to = {
            .url = o.url, .dir = o.dir, .config = &config, .may_make = makes};
        rc = ak_target_open(&to, &target, err);
    }
    if (rc == AK_OK) {
        rc = run(target, &o, &args, err);
    }
    ak_target_close(target);
    ak_config_release(&config);
    return rc;
}
