/* tiers.c — akidb tiers [list] | show | pin | unpin | promote | demote | run; simulate is in
 * tiers_simulate.c.
 */
#include "cli/tiers.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/remote.h"
#include "tier/manager.h"
#include <inttypes.h>
#include <string.h>

extern char **environ;

#define PAGE 1000u
#define TIME_SHOWN 16 /* "2026-11-24T13:05" */

struct options {
    const char *url;
    const char *dir;
    const char *to;
    bool json;
};

/* What an answer says of one collection: what is absent stays empty. */
struct facts {
    char name[1100];
    char tier[16];
    char since[40];
    char last_access[40];
    char moving_to[16];
    char next_tier[16];
    char next_reason[16];
    char next_at[40];
    char snapshot[40];
    uint64_t accesses;
    uint64_t documents;
    uint64_t memory, disk, bucket;
    bool pinned;
};

static void take_text(struct ak_json *in, char *out, size_t size)
{
    struct ak_str text;
    if (!ak_json_null(in) && ak_json_string(in, &text)) {
        (void)snprintf(out, size, "%.*s", AK_STR_ARG(text));
    }
}

/* The members of an object that are wanted; the others, which newer servers may say, are skipped.
 */
struct member {
    const char *name;
    char *text;
    size_t size;
    uint64_t *number;
    bool *flag;
};

static void read_members(struct ak_json *in, struct ak_str key, const struct member *members,
                         size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!ak_str_eq(key, ak_str_of(members[i].name))) {
            continue;
        }
        if (members[i].text) {
            take_text(in, members[i].text, members[i].size);
        } else if (members[i].number) {
            (void)ak_json_u64(in, 0, UINT64_MAX, members[i].number);
        } else {
            (void)ak_json_bool(in, members[i].flag);
        }
        return;
    }
    (void)ak_json_skip(in, NULL);
}

static void read_object(struct ak_json *in, const struct member *members, size_t count)
{
    struct ak_str key;
    ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        read_members(in, key, members, count);
    }
}

#define TEXT(name, field)                                                                          \
    {                                                                                              \
        name, f->field, sizeof f->field, NULL, NULL                                                \
    }
#define NUMBER(name, field)                                                                        \
    {                                                                                              \
        name, NULL, 0, &f->field, NULL                                                             \
    }

static void read_facts(struct ak_json *in, struct facts *f)
{
    const struct member own[] = {
        TEXT("collection", name),
        TEXT("tier", tier),
        TEXT("since", since),
        TEXT("last_access", last_access),
        TEXT("moving_to", moving_to),
        TEXT("snapshot", snapshot),
        NUMBER("accesses", accesses),
        NUMBER("documents", documents),
        {"pinned", NULL, 0, NULL, &f->pinned},
    };
    const struct member bytes[] = {NUMBER("memory", memory), NUMBER("disk", disk),
                                   NUMBER("bucket", bucket)};
    const struct member next[] = {TEXT("tier", next_tier), TEXT("reason", next_reason),
                                  TEXT("at", next_at)};
    struct ak_str key;
    memset(f, 0, sizeof *f);
    ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        if (ak_str_eq(key, AK_STR("bytes"))) {
            read_object(in, bytes, sizeof bytes / sizeof bytes[0]);
        } else if (ak_str_eq(key, AK_STR("next"))) {
            read_object(in, next, sizeof next / sizeof next[0]);
        } else {
            read_members(in, key, own, sizeof own / sizeof own[0]);
        }
    }
}

static void print_json(struct ak_str answer)
{
    (void)fwrite(answer.p, 1, answer.len, stdout);
    (void)fputc('\n', stdout);
}

static enum ak_rc bad_answer(struct ak_json *in, struct ak_err *err)
{
    enum ak_rc rc = ak_json_finish(in, err);
    ak_json_release(in);
    return rc == AK_OK ? rc : ak_wrap(err, AK_UNAVAILABLE, "the server's answer");
}

/* --- One --- */

static void next_text(const struct facts *f, char *text, size_t size)
{
    if (f->moving_to[0]) {
        (void)snprintf(text, size, "on its way to %s", f->moving_to);
    } else if (f->next_at[0]) {
        (void)snprintf(text, size, "%s at %.*s (%s)", f->next_tier, TIME_SHOWN, f->next_at,
                       f->next_reason);
    } else {
        (void)snprintf(text, size, "%s", f->next_reason);
    }
}

static enum ak_rc parse(struct ak_str answer, struct facts *f, struct ak_err *err)
{
    struct ak_json in;
    ak_json_init(&in, answer);
    read_facts(&in, f);
    return bad_answer(&in, err);
}

static enum ak_rc print_one(const struct options *o, struct ak_str answer, struct ak_err *err)
{
    struct facts f;
    char text[AK_NUMBER_TEXT_MAX];
    char next[128];
    if (o->json) {
        print_json(answer);
        return AK_OK;
    }
    enum ak_rc rc = parse(answer, &f, err);
    if (rc != AK_OK) {
        return rc;
    }
    next_text(&f, next, sizeof next);
    (void)printf("tier         %s%s\n", f.tier, f.pinned ? ", pinned" : "");
    (void)printf("since        %s\n", f.since);
    (void)printf("last access  %s\n", f.last_access[0] ? f.last_access : "never");
    (void)printf("accesses     %s in its window\n", ak_text_count(f.accesses, text));
    (void)printf("documents    %s\n", ak_text_count(f.documents, text));
    (void)printf("memory       %s\n", ak_text_bytes((double)f.memory, text));
    (void)printf("disk         %s\n", ak_text_bytes((double)f.disk, text));
    (void)printf("bucket       %s\n", ak_text_bytes((double)f.bucket, text));
    (void)printf("snapshot     %s\n", f.snapshot[0] ? f.snapshot : "none of its present state");
    (void)printf("next         %s\n", next);
    return AK_OK;
}

static enum ak_rc show(struct ak_remote *remote, const struct options *o, const char *collection,
                       struct ak_err *err)
{
    struct ak_str answer;
    const char *path = ak_remote_path(remote, ak_str_of(collection), "/tier");
    enum ak_rc rc = ak_remote_call(remote, "GET", path, NULL, &answer, err);
    return rc == AK_OK ? print_one(o, answer, err) : rc;
}

/* --- Actions --- */

/* The tier that is meant when none is named: the next one up or down. */
static enum ak_rc neighbour(struct ak_remote *remote, const char *collection, bool up,
                            enum ak_tier *to, struct ak_err *err)
{
    struct ak_str answer;
    struct facts f;
    enum ak_tier tier = AK_TIER_HOT;
    const char *path = ak_remote_path(remote, ak_str_of(collection), "/tier");
    enum ak_rc rc = ak_remote_call(remote, "GET", path, NULL, &answer, err);
    rc = rc == AK_OK ? parse(answer, &f, err) : rc;
    if (rc == AK_OK && !ak_tier_parse(ak_str_of(f.tier), &tier)) {
        rc = ak_fail(err, AK_UNAVAILABLE, "the server's answer: tier '%.20s'", f.tier);
    }
    if (rc == AK_OK && tier == (up ? AK_TIER_HOT : AK_TIER_COLD)) {
        rc = ak_fail(err, AK_CONFLICT, "'%.200s' is %s already", collection, f.tier);
    }
    if (rc == AK_OK) {
        *to = up ? tier - 1 : tier + 1;
    }
    return rc;
}

static enum ak_rc act(struct ak_remote *remote, const struct options *o, const char *verb,
                      const char *collection, struct ak_err *err)
{
    struct ak_buf body;
    struct ak_str answer;
    enum ak_tier to = AK_TIER_HOT;
    bool is_pin = strcmp(verb, "pin") == 0 || strcmp(verb, "unpin") == 0;
    bool is_up = strcmp(verb, "promote") == 0;
    enum ak_rc rc = AK_OK;
    if (!is_pin && o->to) {
        if (!ak_tier_parse(ak_str_of(o->to), &to) || to == (is_up ? AK_TIER_COLD : AK_TIER_HOT)) {
            return ak_fail(err, AK_INVALID, "`akidb tiers %s` goes --to %s", verb,
                           is_up ? "hot or warm" : "warm or cold");
        }
    } else if (!is_pin) {
        rc = neighbour(remote, collection, is_up, &to, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    ak_buf_init(&body, 0);
    ak_buf_add_fmt(&body, "{\"action\":\"%s%s%s\"}", verb, is_pin ? "" : "_to_",
                   is_pin ? "" : ak_tier_name(to));
    const char *path = ak_remote_path(remote, ak_str_of(collection), "/tier");
    rc = ak_remote_call(remote, "POST", path, &body, &answer, err);
    ak_buf_release(&body);
    return rc == AK_OK ? print_one(o, answer, err) : rc;
}

/* --- All --- */

static void put_row(struct ak_table *table, const struct facts *f)
{
    char text[AK_NUMBER_TEXT_MAX];
    char next[128];
    next_text(f, next, sizeof next);
    ak_table_cell(table, ak_str_of(f->name));
    ak_table_cell_fmt(table, "%s%s", f->tier, f->pinned ? " (pinned)" : "");
    ak_table_cell_fmt(table, "%.*s", TIME_SHOWN, f->last_access[0] ? f->last_access : "never");
    ak_table_cell(table, ak_str_of(ak_text_count(f->accesses, text)));
    ak_table_cell(table, ak_str_of(ak_text_bytes((double)f->memory, text)));
    ak_table_cell(table, ak_str_of(ak_text_bytes((double)f->disk, text)));
    ak_table_cell(table, ak_str_of(ak_text_bytes((double)f->bucket, text)));
    ak_table_cell(table, ak_str_of(next));
}

struct sums {
    uint64_t collections, memory, disk, bucket;
};

static void read_tier(struct ak_json *in, struct sums *sums)
{
    const struct member counts[] = {{"collections", NULL, 0, &sums->collections, NULL}};
    const struct member bytes[] = {{"memory", NULL, 0, &sums->memory, NULL},
                                   {"disk", NULL, 0, &sums->disk, NULL},
                                   {"bucket", NULL, 0, &sums->bucket, NULL}};
    struct ak_str key;
    ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        if (ak_str_eq(key, AK_STR("bytes"))) {
            read_object(in, bytes, sizeof bytes / sizeof bytes[0]);
        } else {
            read_members(in, key, counts, 1);
        }
    }
}

struct overview {
    struct sums tiers[AK_TIER_COUNT];
    uint64_t queued, waiting, max_hot, max_warm;
    size_t moving;
    char next[1100];
};

static void read_tiers(struct ak_json *in, struct overview *all)
{
    struct ak_str key;
    ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        enum ak_tier tier;
        if (ak_tier_parse(key, &tier)) {
            read_tier(in, &all->tiers[tier]);
        } else {
            (void)ak_json_skip(in, NULL);
        }
    }
}

static void read_collections(struct ak_json *in, struct ak_table *table)
{
    ak_json_array(in);
    while (ak_json_next_element(in)) {
        struct facts f;
        read_facts(in, &f);
        put_row(table, &f);
    }
}

/* *all as it is now; the collections of this page become rows of `table`, which may be NULL. */
static enum ak_rc read_page(struct ak_str answer, struct overview *all, struct ak_table *table,
                            struct ak_err *err)
{
    const struct member own[] = {{"queued", NULL, 0, &all->queued, NULL},
                                 {"waiting", NULL, 0, &all->waiting, NULL},
                                 {"next", all->next, sizeof all->next, NULL, NULL}};
    const struct member limits[] = {{"max_hot_memory", NULL, 0, &all->max_hot, NULL},
                                    {"max_warm_disk", NULL, 0, &all->max_warm, NULL}};
    struct ak_json in;
    struct ak_str key;
    memset(all, 0, sizeof *all);
    ak_json_init(&in, answer);
    ak_json_object(&in);
    while (ak_json_next_key(&in, &key)) {
        if (ak_str_eq(key, AK_STR("tiers"))) {
            read_tiers(&in, all);
        } else if (ak_str_eq(key, AK_STR("limits"))) {
            read_object(&in, limits, 2);
        } else if (table && ak_str_eq(key, AK_STR("collections"))) {
            read_collections(&in, table);
        } else if (ak_str_eq(key, AK_STR("moving"))) {
            ak_json_array(&in);
            while (ak_json_next_element(&in)) {
                all->moving += ak_json_skip(&in, NULL);
            }
        } else {
            read_members(&in, key, own, 3);
        }
    }
    return bad_answer(&in, err);
}

static void print_limit(const char *what, uint64_t bytes)
{
    char text[AK_NUMBER_TEXT_MAX];
    (void)printf("%s %s", what, bytes ? ak_text_bytes((double)bytes, text) : "none");
}

static void print_overview(const struct overview *all)
{
    static const struct ak_table_column columns[] = {{"tier", false, false},
                                                     {"collections", true, false},
                                                     {"memory", true, false},
                                                     {"disk", true, false},
                                                     {"bucket", true, false}};
    struct ak_table table;
    char text[AK_NUMBER_TEXT_MAX];
    ak_table_init(&table, columns, sizeof columns / sizeof columns[0]);
    for (int t = 0; t < AK_TIER_COUNT; t++) {
        const struct sums *sums = &all->tiers[t];
        ak_table_cell(&table, ak_str_of(ak_tier_name((enum ak_tier)t)));
        ak_table_cell(&table, ak_str_of(ak_text_count(sums->collections, text)));
        ak_table_cell(&table, ak_str_of(ak_text_bytes((double)sums->memory, text)));
        ak_table_cell(&table, ak_str_of(ak_text_bytes((double)sums->disk, text)));
        ak_table_cell(&table, ak_str_of(ak_text_bytes((double)sums->bucket, text)));
    }
    ak_table_print(&table, stdout);
    ak_table_release(&table);
    print_limit("limits: memory of hot ones", all->max_hot);
    print_limit(", disk of warm ones", all->max_warm);
    (void)printf("\nmoves: %zu under way, %" PRIu64 " to come; requests that wait: %" PRIu64 "\n",
                 all->moving, all->queued, all->waiting);
}

static const char *page_path(struct ak_buf *path, const char *after)
{
    ak_buf_clear(path);
    ak_buf_add_fmt(path, "/api/v1/tiers?limit=%u", PAGE);
    if (after[0]) {
        ak_buf_add_str(path, AK_STR("&after="));
        ak_url_put(path, ak_str_of(after));
    }
    return ak_buf_cstr(path);
}

static enum ak_rc list(struct ak_remote *remote, const struct options *o, struct ak_err *err)
{
    static const struct ak_table_column columns[] = {
        {"collection", false, false}, {"tier", false, false},  {"last access", false, false},
        {"accesses", true, false},    {"memory", true, false}, {"disk", true, false},
        {"bucket", true, false},      {"next", false, true},
    };
    struct ak_table table;
    struct ak_str answer;
    struct ak_buf path;
    struct overview all = {0};
    enum ak_rc rc = AK_OK;
    ak_buf_init(&path, 0);
    ak_table_init(&table, columns, sizeof columns / sizeof columns[0]);
    do {
        rc = ak_remote_call(remote, "GET", page_path(&path, all.next), NULL, &answer, err);
        rc = rc == AK_OK ? read_page(answer, &all, &table, err) : rc;
        if (rc == AK_OK && o->json) {
            print_json(answer); /* a line a page */
        }
    } while (rc == AK_OK && all.next[0]);
    if (rc == AK_OK && !o->json) {
        print_overview(&all);
        (void)printf("\n");
        ak_table_print(&table, stdout);
    }
    ak_table_release(&table);
    ak_buf_release(&path);
    return rc;
}

static enum ak_rc run_pass(struct ak_remote *remote, const struct options *o, struct ak_err *err)
{
    struct ak_str answer;
    struct overview all;
    enum ak_rc rc =
        ak_remote_call(remote, "POST", "/api/v1/admin/tiering/run?wait=true", NULL, &answer, err);
    if (rc != AK_OK || o->json) {
        if (rc == AK_OK) {
            print_json(answer);
        }
        return rc;
    }
    rc = read_page(answer, &all, NULL, err);
    if (rc == AK_OK) {
        print_overview(&all);
    }
    return rc;
}

/* --- Words --- */

static const char *const verbs[] = {"list", "show", "pin", "unpin", "promote", "demote", "run"};
enum { VERB_COUNT = sizeof verbs / sizeof verbs[0] };

static bool takes_collection(const char *verb)
{
    return strcmp(verb, "list") != 0 && strcmp(verb, "run") != 0;
}

static enum ak_rc check_words(const struct ak_args *args, struct ak_err *err)
{
    const char *verb = args->word_count ? args->words[0] : "list";
    bool known = false;
    for (size_t i = 0; i < VERB_COUNT; i++) {
        known |= strcmp(verb, verbs[i]) == 0;
    }
    if (!known) {
        return ak_fail(err, AK_INVALID,
                       "`akidb tiers %.60s`: allowed are list, show, pin, unpin, promote, demote, "
                       "run, simulate",
                       verb);
    }
    size_t need = takes_collection(verb) ? 2 : 1;
    if (args->word_count > need) {
        return ak_fail(err, AK_INVALID, "`akidb tiers %s` takes no '%.60s'", verb,
                       args->words[need]);
    }
    return need == 2 && args->word_count < 2
               ? ak_fail(err, AK_INVALID, "`akidb tiers %s` needs the collection's name", verb)
               : AK_OK;
}

static enum ak_rc run(struct ak_remote *remote, const struct options *o, const struct ak_args *args,
                      struct ak_err *err)
{
    const char *verb = args->word_count ? args->words[0] : "list";
    if (strcmp(verb, "list") == 0) {
        return list(remote, o, err);
    }
    if (strcmp(verb, "run") == 0) {
        return run_pass(remote, o, err);
    }
    return strcmp(verb, "show") == 0 ? show(remote, o, args->words[1], err)
                                     : act(remote, o, verb, args->words[1], err);
}

enum ak_rc ak_cli_tiers(int argc, char **argv, struct ak_err *err)
{
    struct options o = {0};
    struct ak_config_flags flags = {0};
    const struct ak_arg options[] = {
        AK_CLI_TARGET_OPTIONS(o.url, o.dir),
        {"to", 0, AK_ARG_TEXT, &o.to, 0, 0, "TIER",
         "promote: hot or warm; demote: warm or cold (the next one)"},
        {"json", 0, AK_ARG_FLAG, &o.json, 0, 0, NULL, "print JSON"},
    };
    struct ak_args args = {
        .command = "tiers",
        .usage = "[list] | show|pin|unpin|promote|demote COLLECTION | run | simulate …",
        .about = "Shows which collections are hot (in memory), warm (on the disk) and cold (in the "
                 "object\n"
                 "store), and moves them. Pinned ones stay where they are; run makes the server "
                 "decide now.\n"
                 "`akidb help tiers simulate` explains how a policy is tried on a log of "
                 "accesses.\n",
        .examples = "  akidb tiers\n"
                    "  akidb tiers show docs\n"
                    "  akidb tiers demote docs --to cold\n"
                    "  akidb tiers pin docs\n"
                    "  akidb tiers simulate --profile rag --max-hot 8GB\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .words_max = 2,
        .config = &flags,
    };
    if (argc > 0 && strcmp(argv[0], "simulate") == 0) {
        return ak_tiers_simulate(argc - 1, argv + 1, err);
    }
    enum ak_rc rc = ak_args_parse(&args, argc, argv, err);
    if (rc != AK_OK || args.helped || (rc = check_words(&args, err))) {
        return rc;
    }
    struct ak_config config;
    struct ak_remote *remote = NULL;
    ak_config_init(&config);
    rc = ak_config_load(&config, &flags, environ, err);
    if (rc == AK_OK) {
        const struct ak_target_options to = {.url = o.url, .dir = o.dir, .config = &config};
        rc = ak_remote_open(&to, &remote, err);
    }
    rc = rc == AK_OK ? run(remote, &o, &args, err) : rc;
    ak_remote_close(remote);
    ak_config_release(&config);
    return rc;
}
