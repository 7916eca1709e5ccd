/* snapshots.c — akidb snapshots create | list | show | restore | verify | delete; copy is in
 * snapshots_copy.c. */
#include "cli/snapshots.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/remote.h"
#include <inttypes.h>
#include <string.h>
#include <time.h>

extern char **environ;

#define POLL_MS 100
#define ID_MAX 40

struct options {
    const char *url;
    const char *dir;
    const char *format;
    const char *compression;
    const char *encoding;
    const char *into;
    uint64_t limit;
    bool json;
    bool yes;
};

/* What an answer says, of a snapshot, a job or a report: what is absent stays empty. */
struct facts {
    char id[ID_MAX];
    char snapshot[ID_MAX];
    char collection[ID_MAX];
    char kind[32];
    char state[32];
    char created[40];
    char format[16];
    char compression[16];
    char encoding[16];
    char name[1100];
    char error[AK_ERR_TEXT_MAX];
    char code[64];
    char held_up[AK_ERR_TEXT_MAX]; /* why a job has come no further */
    char table[4200];              /* where its documents are, for other programs */
    uint64_t vectors;
    uint64_t bytes;
    uint64_t rows;
    uint64_t compared;
    uint64_t documents;
    uint64_t dimension;
    double progress;
    double max_error;
    bool lossless;
    bool rebuilt;
};

static void take_text(struct ak_json *in, char *out, size_t size)
{
    struct ak_str text;
    if (!ak_json_null(in) && ak_json_string(in, &text)) {
        (void)snprintf(out, size, "%.*s", AK_STR_ARG(text));
    }
}

/* The first object is the table. */
static void read_objects(struct ak_json *in, struct facts *f)
{
    struct ak_str key;
    ak_json_array(in);
    while (ak_json_next_element(in)) {
        ak_json_object(in);
        while (ak_json_next_key(in, &key)) {
            if (ak_str_eq(key, AK_STR("location")) && !f->table[0]) {
                take_text(in, f->table, sizeof f->table);
            } else {
                (void)ak_json_skip(in, NULL);
            }
        }
    }
}

static void read_failure(struct ak_json *in, struct facts *f)
{
    struct ak_str key;
    ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        if (ak_str_eq(key, AK_STR("code"))) {
            take_text(in, f->code, sizeof f->code);
        } else if (ak_str_eq(key, AK_STR("message"))) {
            take_text(in, f->error, sizeof f->error);
        } else {
            (void)ak_json_skip(in, NULL);
        }
    }
}

/* Of a job that the store holds up: how its last try failed. */
static void read_held_up(struct ak_json *in, struct facts *f)
{
    struct facts last = {.code = ""};
    struct ak_str key;
    ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        if (ak_str_eq(key, AK_STR("error"))) {
            read_failure(in, &last);
        } else {
            (void)ak_json_skip(in, NULL);
        }
    }
    memcpy(f->held_up, last.error, sizeof f->held_up);
}

static bool read_text_fact(struct ak_json *in, struct ak_str key, struct facts *f)
{
    const struct {
        struct ak_str key;
        char *out;
        size_t size;
    } texts[] = {
        {AK_STR("id"), f->id, sizeof f->id},
        {AK_STR("snapshot_id"), f->snapshot, sizeof f->snapshot},
        {AK_STR("collection_id"), f->collection, sizeof f->collection},
        {AK_STR("kind"), f->kind, sizeof f->kind},
        {AK_STR("state"), f->state, sizeof f->state},
        {AK_STR("created_at"), f->created, sizeof f->created},
        {AK_STR("format"), f->format, sizeof f->format},
        {AK_STR("compression"), f->compression, sizeof f->compression},
        {AK_STR("encoding"), f->encoding, sizeof f->encoding},
        {AK_STR("name"), f->name, sizeof f->name},
        {AK_STR("why"), f->error, sizeof f->error},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (ak_str_eq(key, texts[i].key)) {
            take_text(in, texts[i].out, texts[i].size);
            return true;
        }
    }
    return false;
}

static bool read_number_fact(struct ak_json *in, struct ak_str key, struct facts *f)
{
    const struct {
        struct ak_str key;
        uint64_t *out;
    } numbers[] = {
        {AK_STR("vector_count"), &f->vectors},
        {AK_STR("size_bytes"), &f->bytes},
        {AK_STR("rows"), &f->rows},
        {AK_STR("bytes"), &f->bytes},
        {AK_STR("vectors_compared"), &f->compared},
        {AK_STR("documents"), &f->documents},
        {AK_STR("dimension"), &f->dimension},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (ak_str_eq(key, numbers[i].key)) {
            (void)ak_json_u64(in, 0, UINT64_MAX, numbers[i].out);
            return true;
        }
    }
    return false;
}

static void read_facts(struct ak_json *in, struct facts *f)
{
    struct ak_str key;
    memset(f, 0, sizeof *f);
    ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        if (read_text_fact(in, key, f) || read_number_fact(in, key, f)) {
            continue;
        }
        if (ak_str_eq(key, AK_STR("progress"))) {
            (void)ak_json_double(in, &f->progress);
        } else if (ak_str_eq(key, AK_STR("max_error"))) {
            (void)ak_json_double(in, &f->max_error);
        } else if (ak_str_eq(key, AK_STR("lossless"))) {
            (void)ak_json_bool(in, &f->lossless);
        } else if (ak_str_eq(key, AK_STR("rebuilt"))) {
            (void)ak_json_bool(in, &f->rebuilt);
        } else if (ak_str_eq(key, AK_STR("error"))) {
            read_failure(in, f);
        } else if (ak_str_eq(key, AK_STR("held_up"))) {
            read_held_up(in, f);
        } else if (ak_str_eq(key, AK_STR("objects"))) {
            read_objects(in, f);
        } else {
            (void)ak_json_skip(in, NULL); /* newer servers may say more */
        }
    }
}

static enum ak_rc parse(struct ak_str answer, struct facts *f, struct ak_err *err)
{
    struct ak_json in;
    ak_json_init(&in, answer);
    read_facts(&in, f);
    enum ak_rc rc = ak_json_finish(&in, err);
    ak_json_release(&in);
    return rc == AK_OK ? rc : ak_wrap(err, AK_UNAVAILABLE, "the server's answer");
}

static void print_json(struct ak_str answer)
{
    (void)fwrite(answer.p, 1, answer.len, stdout);
    (void)fputc('\n', stdout);
}

static void print_snapshot(const struct facts *f)
{
    char text[AK_NUMBER_TEXT_MAX];
    (void)printf("id           %s\n", f->id);
    (void)printf("made         %s\n", f->created);
    (void)printf("vectors      %s\n", ak_text_count(f->vectors, text));
    (void)printf("dimension    %" PRIu64 "\n", f->dimension);
    (void)printf("size         %s\n", ak_text_bytes((double)f->bytes, text));
    (void)printf("format       %s, %s, %s%s\n", f->format, f->compression, f->encoding,
                 f->lossless ? "" : " (lossy)");
    if (!f->lossless) {
        (void)printf("error        at most %g\n", f->max_error);
    }
    if (f->table[0]) {
        (void)printf("table        %s\n", f->table);
    }
}

static enum ak_rc show_snapshot(const struct options *o, struct ak_str answer, struct ak_err *err)
{
    struct facts f;
    if (o->json) {
        print_json(answer);
        return AK_OK;
    }
    enum ak_rc rc = parse(answer, &f, err);
    if (rc == AK_OK) {
        print_snapshot(&f);
    }
    return rc;
}

static enum ak_rc code_of(const char *name)
{
    for (int i = 1; i < AK_RC_COUNT; i++) {
        if (strcmp(name, ak_rc_name((enum ak_rc)i)) == 0) {
            return (enum ak_rc)i;
        }
    }
    return AK_INTERNAL;
}

/* Follow a job to its end; *f is what its row says then. */
static enum ak_rc follow(struct ak_remote *remote, const char *what, struct facts *f,
                         struct ak_err *err)
{
    struct ak_progress bar;
    char path[96];
    bool is_told = false;
    enum ak_rc rc = AK_OK;
    ak_progress_init(&bar, what, 100);
    (void)snprintf(path, sizeof path, "/api/v1/jobs/%s", f->id);
    while (rc == AK_OK && strcmp(f->state, "running") == 0) {
        const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
        struct ak_str answer;
        (void)nanosleep(&pause, NULL);
        rc = ak_remote_call(remote, "GET", path, NULL, &answer, err);
        rc = rc == AK_OK ? parse(answer, f, err) : rc;
        ak_progress_set(&bar, (uint64_t)(f->progress * 100), f->progress);
        if (f->held_up[0] && !is_told) {
            is_told = true;
            ak_progress_end(&bar);
            (void)fprintf(stderr,
                          "akidb: the store holds this up: %s\n"
                          "       it is tried again until it succeeds or snapshots.retry_for has "
                          "passed; job %s\n",
                          f->held_up, f->id);
        }
    }
    ak_progress_end(&bar);
    if (rc == AK_OK && strcmp(f->state, "failed") == 0) {
        rc = ak_fail(err, code_of(f->code), "%s", f->error);
    }
    return rc;
}

static void put_word(struct ak_buf *out, const char *name, const char *value)
{
    if (value) {
        ak_buf_add_fmt(out, "%s\"%s\":", out->len > 1 ? "," : "", name);
        ak_json_put_string(out, ak_str_of(value));
    }
}

static enum ak_rc create(struct ak_remote *remote, const struct options *o,
                         struct ak_str collection, struct ak_err *err)
{
    struct ak_buf body;
    struct ak_str answer;
    struct facts f;
    char rest[64];
    ak_buf_init(&body, 0);
    ak_buf_add_char(&body, '{');
    put_word(&body, "format", o->format);
    put_word(&body, "compression", o->compression);
    put_word(&body, "encoding", o->encoding);
    ak_buf_add_char(&body, '}');
    enum ak_rc rc = ak_remote_call(remote, "POST", ak_remote_path(remote, collection, "/snapshots"),
                                   &body, &answer, err);
    ak_buf_release(&body);
    rc = rc == AK_OK ? parse(answer, &f, err) : rc;
    if (rc == AK_OK && f.kind[0]) { /* a job: it takes longer */
        rc = follow(remote, "% of the snapshot", &f, err);
        (void)snprintf(rest, sizeof rest, "/snapshots/%s", f.snapshot);
        if (rc == AK_OK) {
            rc = ak_remote_call(remote, "GET", ak_remote_path(remote, collection, rest), NULL,
                                &answer, err);
        }
    }
    return rc == AK_OK ? show_snapshot(o, answer, err) : rc;
}

static enum ak_rc restore(struct ak_remote *remote, const struct options *o,
                          struct ak_str collection, const char *rest, struct ak_err *err)
{
    struct ak_buf body;
    struct ak_str answer;
    struct facts f;
    bool rebuilt = false; /* told by the collection, or by the job */
    if (!o->into && !o->yes) {
        return ak_fail(
            err, AK_INVALID,
            "this replaces all documents of '%.*s' by those of the snapshot: say --yes to "
            "do it, or --into NAME for a new collection",
            AK_STR_ARG(collection));
    }
    ak_buf_init(&body, 0);
    ak_buf_add_char(&body, '{');
    put_word(&body, "into", o->into);
    ak_buf_add_char(&body, '}');
    enum ak_rc rc = ak_remote_call(remote, "POST", ak_remote_path(remote, collection, rest), &body,
                                   &answer, err);
    ak_buf_release(&body);
    rc = rc == AK_OK ? parse(answer, &f, err) : rc;
    rebuilt = rc == AK_OK && f.rebuilt;
    if (rc == AK_OK && f.kind[0]) {
        rc = follow(remote, "% restored", &f, err);
        rebuilt = f.rebuilt;
        if (rc == AK_OK) {
            rc = ak_remote_call(remote, "GET", ak_remote_path(remote, ak_str_of(f.collection), ""),
                                NULL, &answer, err);
        }
        rc = rc == AK_OK ? parse(answer, &f, err) : rc;
    }
    if (rc == AK_OK && o->json) {
        print_json(answer);
    } else if (rc == AK_OK) {
        char text[AK_NUMBER_TEXT_MAX];
        (void)printf("'%s' has %s documents%s\n", f.name, ak_text_count(f.documents, text),
                     rebuilt ? "; its index was built anew, for the snapshot has no usable image"
                             : "");
    }
    return rc;
}

static void put_row(struct ak_table *table, const struct facts *f)
{
    char text[AK_NUMBER_TEXT_MAX];
    ak_table_cell(table, ak_str_of(f->id));
    ak_table_cell(table, ak_str_of(f->created));
    ak_table_cell(table, ak_str_of(ak_text_count(f->vectors, text)));
    ak_table_cell(table, ak_str_of(ak_text_bytes((double)f->bytes, text)));
    ak_table_cell_fmt(table, "%s, %s, %s", f->format, f->compression, f->encoding);
}

/* One whose metadata cannot be read: a row that says so, and why. */
static void put_damage(struct ak_table *table, const struct facts *f)
{
    ak_table_cell(table, ak_str_of(f->id));
    ak_table_cell(table, AK_STR("damaged"));
    ak_table_cell(table, AK_STR("-"));
    ak_table_cell(table, AK_STR("-"));
    ak_table_cell(table, ak_str_of(f->error));
}

static enum ak_rc print_list(struct ak_str answer, struct ak_err *err)
{
    static const struct ak_table_column columns[] = {
        {"id", false, false},  {"made", false, false},  {"vectors", true, false},
        {"size", true, false}, {"format", false, true},
    };
    struct ak_table table;
    struct ak_json in;
    struct ak_str key;
    ak_table_init(&table, columns, sizeof columns / sizeof columns[0]);
    ak_json_init(&in, answer);
    ak_json_object(&in);
    while (ak_json_next_key(&in, &key)) {
        bool is_damaged = ak_str_eq(key, AK_STR("damaged"));
        if (!is_damaged && !ak_str_eq(key, AK_STR("snapshots"))) {
            (void)ak_json_skip(&in, NULL);
            continue;
        }
        ak_json_array(&in);
        while (ak_json_next_element(&in)) {
            struct facts f;
            read_facts(&in, &f);
            (is_damaged ? put_damage : put_row)(&table, &f);
        }
    }
    enum ak_rc rc = ak_json_finish(&in, err);
    ak_json_release(&in);
    if (rc == AK_OK) {
        ak_table_print(&table, stdout);
    }
    ak_table_release(&table);
    return rc == AK_OK ? rc : ak_wrap(err, AK_UNAVAILABLE, "the server's answer");
}

static enum ak_rc list(struct ak_remote *remote, const struct options *o, struct ak_str collection,
                       struct ak_err *err)
{
    struct ak_str answer;
    char rest[64];
    (void)snprintf(rest, sizeof rest, "/snapshots?limit=%" PRIu64, o->limit);
    enum ak_rc rc =
        ak_remote_call(remote, "GET", ak_remote_path(remote, collection, rest), NULL, &answer, err);
    if (rc == AK_OK && o->json) {
        print_json(answer);
        return AK_OK;
    }
    return rc == AK_OK ? print_list(answer, err) : rc;
}

static enum ak_rc verify(struct ak_remote *remote, const struct options *o,
                         struct ak_str collection, const char *rest, struct ak_err *err)
{
    struct ak_str answer;
    struct facts f;
    enum ak_rc rc = ak_remote_call(remote, "POST", ak_remote_path(remote, collection, rest), NULL,
                                   &answer, err);
    if (rc == AK_OK && o->json) {
        print_json(answer);
        return AK_OK;
    }
    rc = rc == AK_OK ? parse(answer, &f, err) : rc;
    if (rc == AK_OK) {
        char text[3][AK_NUMBER_TEXT_MAX];
        (void)printf("sound: %s rows, %s read, %s vectors compared with the image\n",
                     ak_text_count(f.rows, text[0]), ak_text_bytes((double)f.bytes, text[1]),
                     ak_text_count(f.compared, text[2]));
    }
    return rc;
}

static enum ak_rc discard(struct ak_remote *remote, const struct options *o,
                          struct ak_str collection, const char *rest, struct ak_err *err)
{
    if (!o->yes) {
        return ak_fail(err, AK_INVALID, "this removes the snapshot for good: say --yes to do it");
    }
    enum ak_rc rc =
        ak_remote_call(remote, "DELETE", ak_remote_path(remote, collection, rest), NULL, NULL, err);
    if (rc == AK_OK) {
        (void)printf(o->json ? "{\"deleted\":true}\n" : "deleted\n");
    }
    return rc;
}

static enum ak_rc run(struct ak_remote *remote, const struct options *o, const struct ak_args *args,
                      struct ak_err *err)
{
    const char *verb = args->words[0];
    struct ak_str collection = ak_str_of(args->words[1]);
    char rest[96];
    if (strcmp(verb, "create") == 0) {
        return create(remote, o, collection, err);
    }
    if (strcmp(verb, "list") == 0) {
        return list(remote, o, collection, err);
    }
    bool is_deep = strcmp(verb, "restore") == 0 || strcmp(verb, "verify") == 0;
    (void)snprintf(rest, sizeof rest, "/snapshots/%.40s%s%s", args->words[2], is_deep ? "/" : "",
                   is_deep ? verb : "");
    if (strcmp(verb, "restore") == 0) {
        return restore(remote, o, collection, rest, err);
    }
    if (strcmp(verb, "verify") == 0) {
        return verify(remote, o, collection, rest, err);
    }
    if (strcmp(verb, "delete") == 0) {
        return discard(remote, o, collection, rest, err);
    }
    struct ak_str answer;
    enum ak_rc rc =
        ak_remote_call(remote, "GET", ak_remote_path(remote, collection, rest), NULL, &answer, err);
    return rc == AK_OK ? show_snapshot(o, answer, err) : rc;
}

/* The words, before anything is opened. */
static enum ak_rc check_words(const struct ak_args *args, struct ak_err *err)
{
    static const char *const verbs[] = {"create", "list", "show", "restore", "verify", "delete"};
    const char *verb = args->word_count ? args->words[0] : "";
    size_t need = 0;
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        need = strcmp(verb, verbs[i]) == 0 ? (i < 2 ? 2 : 3) : need;
    }
    if (need == 0) {
        return ak_fail(err, AK_INVALID,
                       "`akidb snapshots %s`: allowed are create, list, show, restore, verify, "
                       "delete, copy",
                       verb);
    }
    if (args->word_count > need) {
        return ak_fail(err, AK_INVALID, "`akidb snapshots %s` takes no '%.60s'", verb,
                       args->words[need]);
    }
    if (args->word_count < need) {
        return ak_fail(err, AK_INVALID, "`akidb snapshots %s` needs %s", verb,
                       args->word_count < 2 ? "the collection's name"
                                            : "the snapshot's id: `akidb snapshots list` tells it");
    }
    struct ak_uuid id;
    if (need == 3 && !ak_uuid_parse(ak_str_of(args->words[2]), &id)) {
        return ak_fail(err, AK_INVALID, "'%.60s' is no id of a snapshot", args->words[2]);
    }
    return AK_OK;
}

enum ak_rc ak_cli_snapshots(int argc, char **argv, struct ak_err *err)
{
    if (argc > 0 && strcmp(argv[0], "copy") == 0) {
        return ak_cli_snapshots_copy(argc - 1, argv + 1, err);
    }
    struct options o = {.limit = 100};
    struct ak_config_flags flags = {0};
    const struct ak_arg options[] = {
        AK_CLI_TARGET_OPTIONS(o.url, o.dir),
        {"format", 0, AK_ARG_TEXT, &o.format, 0, 0, "FORMAT", "create: parquet (default) or json"},
        {"compression", 0, AK_ARG_TEXT, &o.compression, 0, 0, "CODEC",
         "create: none, snappy, zstd (default), lz4 or gzip"},
        {"encoding", 0, AK_ARG_TEXT, &o.encoding, 0, 0, "ENCODING",
         "create: lossless (default), plain, bf16 or q8"},
        {"into", 0, AK_ARG_TEXT, &o.into, 0, 0, "NAME", "restore: a new collection"},
        {"limit", 0, AK_ARG_UINT, &o.limit, 1, 1000, "N", "list: the newest so many (100)"},
        {"yes", 0, AK_ARG_FLAG, &o.yes, 0, 0, NULL, "restore in place, delete: really"},
        {"json", 0, AK_ARG_FLAG, &o.json, 0, 0, NULL, "print JSON"},
    };
    struct ak_args args = {
        .command = "snapshots",
        .usage = "create COLLECTION | list COLLECTION | show|restore|verify|delete COLLECTION ID |"
                 " copy --to PLACE",
        .about = "Keeps states of a collection as Parquet and index image, in the bucket or folder "
                 "that is\n"
                 "configured ([objects], [s3]), and brings them back. On a server, or in a data "
                 "folder that\n"
                 "no server has open. `akidb help snapshots copy` tells of copies in another "
                 "place.\n",
        .examples = "  akidb snapshots create docs\n"
                    "  akidb snapshots list docs\n"
                    "  akidb snapshots restore docs 0198c5a2-… --into docs-yesterday\n"
                    "  akidb snapshots verify docs 0198c5a2-…\n"
                    "  akidb snapshots delete docs 0198c5a2-… --yes\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .words_max = 3,
        .config = &flags,
    };
    enum ak_rc rc = ak_args_parse(&args, argc, argv, err);
    if (rc != AK_OK || args.helped) {
        return rc;
    }
    rc = check_words(&args, err);
    if (rc != AK_OK) {
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
