/* tiers_simulate.c — akidb tiers simulate: what a policy would have done, before a server does it.
 */
#include "base/arena.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/map.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/rows.h"
#include "cli/tiers.h"
#include "tier/profile.h"
#include "tier/simulate.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BEGIN_US INT64_C(1735776000000000) /* Thursday 2025-01-02, for made-up loads */
#define NAMES_BYTES_MAX ((size_t)2 << 30)

struct options {
    const char *hot_idle, *warm_idle, *window, *interval;
    const char *max_hot, *max_warm, *bytes, *fetch;
    const char *profile;
    uint64_t accesses, collections, days, seed;
    bool json;
};

struct player {
    const struct options *options;
    struct ak_tier_sim *sim;
    uint64_t collection_bytes;
    struct ak_progress progress;
    uint64_t events;
    /* Collections of a log, by name. */
    struct ak_arena names_arena;
    struct ak_str *names;
    uint32_t name_count, name_cap;
    struct ak_map by_name;
};

static enum ak_rc read_time(const char *name, const char *text, int64_t *us, struct ak_err *err)
{
    uint64_t ms = 0;
    bool is_never = strcmp(text, "0") == 0;
    if ((!is_never && !ak_config_parse_duration(ak_str_of(text), &ms)) ||
        ms > UINT64_C(3153600000000)) {
        return ak_fail(err, AK_INVALID,
                       "--%s is '%s'; expected a time like 90s, 5m, 6h or 7d (0: never)", name,
                       text);
    }
    *us = (int64_t)ms * 1000;
    return AK_OK;
}

static enum ak_rc read_bytes(const char *name, const char *text, uint64_t *bytes,
                             struct ak_err *err)
{
    return ak_config_parse_size(ak_str_of(text), bytes)
               ? AK_OK
               : ak_fail(err, AK_INVALID, "--%s is '%s'; expected bytes like 20MiB or 80GB", name,
                         text);
}

static enum ak_rc read_sim_options(const struct options *o, struct ak_tier_sim_options *sim,
                                   struct ak_err *err)
{
    uint64_t fetch = 0;
    enum ak_rc rc = AK_OK;
    *sim = (struct ak_tier_sim_options){.rules = ak_tier_rules_default()};
    sim->rules.promote_accesses = (uint32_t)o->accesses;
    if ((rc = read_time("hot-idle", o->hot_idle, &sim->rules.hot_idle_us, err)) ||
        (rc = read_time("warm-idle", o->warm_idle, &sim->rules.warm_idle_us, err)) ||
        (rc = read_time("window", o->window, &sim->rules.window_us, err)) ||
        (rc = read_time("interval", o->interval, &sim->interval_us, err)) ||
        (rc = read_bytes("max-hot", o->max_hot, &sim->limits.hot_bytes, err)) ||
        (rc = read_bytes("max-warm", o->max_warm, &sim->limits.warm_bytes, err)) ||
        (rc = read_bytes("fetch", o->fetch, &fetch, err))) {
        return rc;
    }
    sim->fetch_bytes_per_s = (double)fetch;
    return AK_OK;
}

/* --- A made-up load --- */

static void show_progress(struct player *player)
{
    enum { EVERY = 4096 };
    if (++player->events % EVERY == 0) {
        ak_progress_set(&player->progress, player->events, -1);
    }
}

static enum ak_rc visit(void *ctx, uint32_t collection, int64_t at_us, uint32_t count,
                        struct ak_err *err)
{
    struct player *player = ctx;
    show_progress(player);
    return ak_tier_sim_access(player->sim, collection, at_us, count, err);
}

static enum ak_rc play_profile(struct player *player, struct ak_err *err)
{
    const struct options *o = player->options;
    struct ak_tier_load load = {
        .collections = (uint32_t)o->collections,
        .days = (uint32_t)o->days,
        .seed = o->seed,
        .begin_us = BEGIN_US,
    };
    if (!ak_tier_profile_parse(ak_str_of(o->profile), &load.profile)) {
        return ak_fail(err, AK_INVALID, "--profile is '%s'; allowed are rag, batch, seasonal",
                       o->profile);
    }
    enum ak_rc rc = AK_OK;
    for (uint32_t i = 0; i < load.collections && rc == AK_OK; i++) {
        uint32_t index = 0;
        rc = ak_tier_sim_add(player->sim, player->collection_bytes, player->collection_bytes,
                             &index, err);
    }
    if (rc == AK_OK) {
        rc = ak_tier_play(&load, visit, player, err);
    }
    return rc == AK_OK ? ak_tier_sim_advance(
                             player->sim, BEGIN_US + (int64_t)load.days * INT64_C(86400000000), err)
                       : rc;
}

/* --- A log --- */

struct event {
    struct ak_str collection;
    int64_t at_us;
    uint64_t accesses;
    uint64_t bytes; /* 0: as --bytes says */
};

static enum ak_rc parse_event(struct ak_json *in, struct event *event, struct ak_err *err)
{
    struct ak_str key;
    struct ak_str time = AK_STR_NONE;
    *event = (struct event){.accesses = 1};
    ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        if (ak_str_eq(key, AK_STR("timestamp"))) {
            if (ak_json_string(in, &time) && !ak_time_parse(time, &event->at_us)) {
                ak_json_fail(in, "'timestamp' is no RFC 3339 time");
            }
        } else if (ak_str_eq(key, AK_STR("collection"))) {
            (void)ak_json_string(in, &event->collection);
        } else if (ak_str_eq(key, AK_STR("accesses"))) {
            (void)ak_json_u64(in, 0, UINT32_MAX, &event->accesses);
        } else if (ak_str_eq(key, AK_STR("bytes"))) {
            (void)ak_json_u64(in, 0, UINT64_C(1) << 50, &event->bytes);
        } else {
            (void)ak_json_skip(in, NULL);
        }
    }
    enum ak_rc rc = ak_json_finish(in, err);
    if (rc == AK_OK && (time.len == 0 || event->collection.len == 0)) {
        rc = ak_fail(err, AK_INVALID, "'timestamp' and 'collection' are needed");
    }
    return rc;
}

static bool same_name(const void *ctx, uint32_t value, const void *key)
{
    const struct player *player = ctx;
    return ak_str_eq(player->names[value], *(const struct ak_str *)key);
}

static enum ak_rc keep_name(struct player *player, struct ak_str name, uint32_t index,
                            struct ak_err *err)
{
    if (index >= player->name_cap) {
        uint32_t cap = player->name_cap ? player->name_cap * 2 : 1024;
        struct ak_str *grown = ak_try_realloc(player->names, cap * sizeof *grown);
        if (!grown) {
            return ak_fail(err, AK_NOMEM, "%u collections", cap);
        }
        player->names = grown;
        player->name_cap = cap;
    }
    player->names[index] = ak_arena_str(&player->names_arena, name);
    player->name_count = index + 1;
    return player->names[index].p ? ak_map_put(&player->by_name, ak_hash64_str(name), &name, index,
                                               same_name, player, NULL, err)
                                  : ak_fail(err, AK_NOMEM, "names of collections");
}

static enum ak_rc play_event(struct player *player, const struct event *event, struct ak_err *err)
{
    uint32_t index = ak_map_get(&player->by_name, ak_hash64_str(event->collection),
                                &event->collection, same_name, player);
    enum ak_rc rc = ak_tier_sim_advance(player->sim, event->at_us, err);
    if (rc == AK_OK && index == AK_MAP_NONE) { /* met for the first time: made just now */
        uint64_t bytes = event->bytes ? event->bytes : player->collection_bytes;
        rc = ak_tier_sim_add(player->sim, bytes, bytes, &index, err);
        if (rc == AK_OK) {
            rc = keep_name(player, event->collection, index, err);
        }
    }
    return rc == AK_OK ? ak_tier_sim_access(player->sim, index, event->at_us,
                                            (uint32_t)event->accesses, err)
                       : rc;
}

static enum ak_rc play_line(struct player *player, struct ak_tier_sim_options *options,
                            struct ak_str line, struct ak_err *err)
{
    struct ak_json in;
    struct event event;
    ak_json_init(&in, line);
    enum ak_rc rc = parse_event(&in, &event, err);
    if (rc == AK_OK && !player->sim) { /* the clock begins with the log */
        options->begin_us = event.at_us;
        rc = ak_tier_sim_open(options, &player->sim, err);
    }
    if (rc == AK_OK) {
        rc = play_event(player, &event, err);
    }
    ak_json_release(&in);
    return rc;
}

static enum ak_rc play_log(struct player *player, const char *path,
                           struct ak_tier_sim_options *options, struct ak_err *err)
{
    struct ak_lines lines;
    struct ak_str line;
    bool end = false;
    enum ak_rc rc = ak_lines_open(&lines, path, err);
    if (rc != AK_OK) {
        return rc;
    }
    while ((rc = ak_lines_next(&lines, &line, &end, err)) == AK_OK && !end) {
        rc = play_line(player, options, line, err);
        if (rc != AK_OK) {
            rc = ak_wrap(err, rc, "%s:%" PRIu64, lines.name, lines.number);
            break;
        }
        show_progress(player);
    }
    if (rc == AK_OK && !player->sim) {
        rc = ak_fail(err, AK_INVALID,
                     "%s holds no line like {\"timestamp\":\"2026-01-31T12:00:00Z\","
                     "\"collection\":\"docs\"}",
                     lines.name);
    }
    ak_lines_close(&lines);
    return rc;
}

/* --- The report --- */

static double share(uint64_t part, uint64_t of)
{
    return of ? 100.0 * (double)part / (double)of : 0;
}

static uint64_t all_accesses(const struct ak_tier_sim_report *r)
{
    return r->accesses[AK_TIER_HOT] + r->accesses[AK_TIER_WARM] + r->accesses[AK_TIER_COLD];
}

static void print_tiers(const struct ak_tier_sim_report *r)
{
    const struct ak_table_column columns[] = {
        {"tier", false, false},      {"answered", true, false},   {"share", true, false},
        {"held, mean", true, false}, {"held, most", true, false},
    };
    struct ak_table table;
    char text[AK_NUMBER_TEXT_MAX];
    ak_table_init(&table, columns, 5);
    for (int t = 0; t < AK_TIER_COUNT; t++) {
        ak_table_cell(&table, ak_str_of(ak_tier_name((enum ak_tier)t)));
        ak_table_cell(&table, ak_str_of(ak_text_count(r->accesses[t], text)));
        ak_table_cell_fmt(&table, "%.2f %%", share(r->accesses[t], all_accesses(r)));
        ak_table_cell(&table, ak_str_of(ak_text_bytes(r->mean_bytes[t], text)));
        ak_table_cell(&table, ak_str_of(ak_text_bytes((double)r->peak_bytes[t], text)));
    }
    ak_table_print(&table, stdout);
    ak_table_release(&table);
}

static void print_moves(const struct ak_tier_sim_report *r)
{
    const struct ak_table_column columns[] = {
        {"move", false, false},
        {"count", true, false},
        {"bytes", true, false},
        {"bytes a day", true, false},
    };
    struct ak_table table;
    char text[AK_NUMBER_TEXT_MAX];
    ak_table_init(&table, columns, 4);
    for (int from = 0; from < AK_TIER_COUNT; from++) {
        for (int to = 0; to < AK_TIER_COUNT; to++) {
            uint64_t bytes = r->moves[from][to].bytes;
            if (r->moves[from][to].count) {
                ak_table_cell_fmt(&table, "%s to %s", ak_tier_name((enum ak_tier)from),
                                  ak_tier_name((enum ak_tier)to));
                ak_table_cell(&table, ak_str_of(ak_text_count(r->moves[from][to].count, text)));
                ak_table_cell(&table, ak_str_of(ak_text_bytes((double)bytes, text)));
                ak_table_cell(&table,
                              ak_str_of(ak_text_bytes((double)bytes * 86400 / r->seconds, text)));
            }
        }
    }
    ak_table_print(&table, stdout);
    ak_table_release(&table);
}

static void print_report(const struct ak_tier_sim_report *r)
{
    char count[AK_NUMBER_TEXT_MAX];
    char sum[AK_NUMBER_TEXT_MAX];
    char longest[AK_NUMBER_TEXT_MAX];
    (void)printf("%.1f days, %s collections\n\n", r->seconds / 86400,
                 ak_text_count(r->collections, count));
    print_tiers(r);
    (void)printf("\n");
    print_moves(r);
    (void)printf("\nevicted for memory %s", ak_text_count(r->reasons[AK_TIER_MEMORY], count));
    (void)printf(", for disk %s\n", ak_text_count(r->reasons[AK_TIER_DISK], count));
    if (r->accesses[AK_TIER_COLD]) {
        (void)printf("cold searches waited %s on average, at most %s\n",
                     ak_text_seconds(r->fetch_seconds / (double)r->accesses[AK_TIER_COLD], sum),
                     ak_text_seconds(r->longest_fetch_seconds, longest));
    }
    (void)printf("%s decisions over all collections took %s each, at most %s\n",
                 ak_text_count(r->passes, count),
                 ak_text_seconds((double)r->decide_ns_mean / 1e9, sum),
                 ak_text_seconds((double)r->decide_ns_max / 1e9, longest));
}

static void print_json(const struct ak_tier_sim_report *r)
{
    (void)printf("{\"days\":%.3f,\"collections\":%u,\"tiers\":{", r->seconds / 86400,
                 r->collections);
    for (int t = 0; t < AK_TIER_COUNT; t++) {
        (void)printf("%s\"%s\":{\"accesses\":%" PRIu64
                     ",\"mean_bytes\":%.0f,\"peak_bytes\":%" PRIu64 "}",
                     t ? "," : "", ak_tier_name((enum ak_tier)t), r->accesses[t], r->mean_bytes[t],
                     r->peak_bytes[t]);
    }
    (void)printf("},\"moves\":[");
    const char *comma = "";
    for (int from = 0; from < AK_TIER_COUNT; from++) {
        for (int to = 0; to < AK_TIER_COUNT; to++) {
            if (r->moves[from][to].count) {
                (void)printf(
                    "%s{\"from\":\"%s\",\"to\":\"%s\",\"count\":%" PRIu64 ",\"bytes\":%" PRIu64 "}",
                    comma, ak_tier_name((enum ak_tier)from), ak_tier_name((enum ak_tier)to),
                    r->moves[from][to].count, r->moves[from][to].bytes);
                comma = ",";
            }
        }
    }
    (void)printf("],\"evicted\":{\"memory\":%" PRIu64 ",\"disk\":%" PRIu64
                 "},\"fetch_seconds\":%.3f,\"longest_fetch_seconds\":%.3f,\"passes\":%" PRIu64
                 ",\"decide_us_mean\":%.1f,\"decide_us_max\":%.1f}\n",
                 r->reasons[AK_TIER_MEMORY], r->reasons[AK_TIER_DISK], r->fetch_seconds,
                 r->longest_fetch_seconds, r->passes, (double)r->decide_ns_mean / 1e3,
                 (double)r->decide_ns_max / 1e3);
}

static enum ak_rc simulate(const struct options *o, const char *log, struct ak_err *err)
{
    struct player player = {.options = o};
    struct ak_tier_sim_options options;
    struct ak_tier_sim_report report;
    enum ak_rc rc = read_sim_options(o, &options, err);
    if (rc == AK_OK) {
        rc = read_bytes("bytes", o->bytes, &player.collection_bytes, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    if ((log != NULL) == (o->profile != NULL)) {
        return ak_fail(err, AK_INVALID, "either a LOG or --profile rag|batch|seasonal is needed");
    }
    ak_arena_init(&player.names_arena, NAMES_BYTES_MAX);
    ak_map_init(&player.by_name);
    ak_progress_init(&player.progress, "accesses", 0);
    if (log) {
        rc = play_log(&player, log, &options, err);
    } else {
        options.begin_us = BEGIN_US;
        rc = ak_tier_sim_open(&options, &player.sim, err);
        rc = rc == AK_OK ? play_profile(&player, err) : rc;
    }
    ak_progress_end(&player.progress);
    if (rc == AK_OK) {
        ak_tier_sim_report(player.sim, &report);
        (o->json ? print_json : print_report)(&report);
    }
    ak_tier_sim_close(player.sim);
    ak_map_release(&player.by_name);
    ak_arena_release(&player.names_arena);
    ak_free(player.names);
    return rc;
}

enum ak_rc ak_tiers_simulate(int argc, char **argv, struct ak_err *err)
{
    struct options o = {.hot_idle = "6h",
                        .warm_idle = "7d",
                        .window = "1h",
                        .interval = "5m",
                        .max_hot = "0",
                        .max_warm = "0",
                        .bytes = "20MiB",
                        .fetch = "100MB",
                        .accesses = 10,
                        .collections = 10000,
                        .days = 90,
                        .seed = 1};
    const struct ak_arg options[] = {
        {"profile", 0, AK_ARG_TEXT, &o.profile, 0, 0, "NAME",
         "a made-up load instead of a log: rag, batch or seasonal"},
        {"collections", 0, AK_ARG_UINT, &o.collections, 1, 10000000, "N",
         "of the made-up load (10,000)"},
        {"days", 0, AK_ARG_UINT, &o.days, 1, 3650, "N", "of the made-up load (90)"},
        {"seed", 0, AK_ARG_UINT, &o.seed, 0, 0, "N", "another number, another made-up load (1)"},
        {"bytes", 0, AK_ARG_TEXT, &o.bytes, 0, 0, "SIZE",
         "of a collection, where the log does not say (20MiB)"},
        {"hot-idle", 0, AK_ARG_TEXT, &o.hot_idle, 0, 0, "TIME",
         "unused for so long: hot to warm (6h; 0: never)"},
        {"warm-idle", 0, AK_ARG_TEXT, &o.warm_idle, 0, 0, "TIME",
         "unused for so long: warm to cold (7d; 0: never)"},
        {"accesses", 0, AK_ARG_UINT, &o.accesses, 0, UINT32_MAX, "N",
         "so many within the window: warm to hot (10; 0: never)"},
        {"window", 0, AK_ARG_TEXT, &o.window, 0, 0, "TIME", "see --accesses (1h)"},
        {"max-hot", 0, AK_ARG_TEXT, &o.max_hot, 0, 0, "SIZE",
         "memory of hot collections (0: no limit)"},
        {"max-warm", 0, AK_ARG_TEXT, &o.max_warm, 0, 0, "SIZE",
         "disk of warm collections (0: no limit)"},
        {"interval", 0, AK_ARG_TEXT, &o.interval, 0, 0, "TIME", "between two decisions (5m)"},
        {"fetch", 0, AK_ARG_TEXT, &o.fetch, 0, 0, "SIZE", "bytes a second from the bucket (100MB)"},
        {"json", 0, AK_ARG_FLAG, &o.json, 0, 0, NULL, "print JSON"},
    };
    struct ak_args args = {
        .command = "tiers simulate",
        .usage = "LOG | --profile NAME",
        .about =
            "Plays accesses against a tiering policy, faster than time, and says which tier would\n"
            "have answered, what would have been moved, and how full the tiers would have been.\n"
            "\n"
            "LOG has a line for each access, in the order of time, like\n"
            "  {\"timestamp\":\"2026-01-31T12:00:00Z\",\"collection\":\"docs\"}\n"
            "and may give \"accesses\" (several at once) and \"bytes\" (of the collection); - "
            "reads\n"
            "standard input.\n",
        .examples = "  akidb tiers simulate accesses.ndjson --max-hot 8GB\n"
                    "  akidb tiers simulate --profile rag --collections 100000 --max-hot 80GB\n"
                    "  akidb tiers simulate --profile batch --hot-idle 1h --warm-idle 2d --json\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .words_max = 1,
    };
    enum ak_rc rc = ak_args_parse(&args, argc, argv, err);
    if (rc != AK_OK || args.helped) {
        return rc;
    }
    return simulate(&o, args.word_count ? args.words[0] : NULL, err);
}
