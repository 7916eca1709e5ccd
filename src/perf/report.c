/* report.c — the advisor's report as JSON, both ways. */
#include "base/clock.h"
#include "base/json.h"
#include "perf/perf.h"

#define ALLOWED "timestamp, recommendations"

/* --- Writing --- */

static void put_key(struct ak_buf *out, const char *key, bool first)
{
    ak_buf_add_fmt(out, "%s\"%s\":", first ? "" : ",", key);
}

static void put_text(struct ak_buf *out, const char *key, struct ak_str text)
{
    if (text.p) {
        put_key(out, key, false);
        ak_json_put_string(out, text);
    }
}

static void put_recommendation(struct ak_buf *out, const struct ak_perf_recommendation *r)
{
    ak_buf_add_char(out, '{');
    put_key(out, "table", true);
    ak_json_put_string(out, r->table);
    put_text(out, "index", r->index);
    put_text(out, "query_pattern", r->query_pattern);
    if (r->has_speedup) {
        put_key(out, "estimated_speedup", false);
        ak_json_put_double(out, r->estimated_speedup);
    }
    if (r->has_cost) {
        put_key(out, "estimated_cost", false);
        ak_json_put_double(out, r->estimated_cost);
    }
    put_text(out, "priority", r->priority);
    put_text(out, "status", r->status);
    put_text(out, "basis", r->basis);
    ak_buf_add_char(out, '}');
}

void ak_perf_put_report(struct ak_buf *out, const struct ak_perf_report *report)
{
    char time[AK_TIME_TEXT_MAX];
    ak_buf_add_fmt(out, "{\"timestamp\":\"%s\",\"recommendations\":[",
                   ak_time_format(report->timestamp, time));
    for (size_t i = 0; i < report->count; i++) {
        ak_buf_add_str(out, i ? AK_STR(",\n  ") : AK_STR("\n  "));
        put_recommendation(out, &report->recommendations[i]);
    }
    ak_buf_add_str(out, AK_STR("]}\n"));
}

/* --- Reading --- */

struct parser {
    struct ak_json in;
    struct ak_arena *arena;
    struct ak_buf *unknown;
    struct ak_perf_recommendation *list;
    size_t count;
    size_t cap;
};

static void skip_unknown(struct parser *parser, struct ak_str key)
{
    if (parser->unknown) {
        ak_buf_add_str(parser->unknown, parser->unknown->len ? AK_STR(", ") : AK_STR(""));
        ak_buf_add_str(parser->unknown, key);
    }
    (void)ak_json_skip(&parser->in, NULL);
}

/* A text that outlives the parser; null leaves it out. */
static void read_text(struct parser *parser, struct ak_str *out)
{
    struct ak_str text = AK_STR_NONE;
    if (ak_json_null(&parser->in) || !ak_json_string(&parser->in, &text)) {
        return;
    }
    *out = ak_arena_str(parser->arena, text);
    if (!out->p) {
        ak_json_fail(&parser->in, "the report does not fit into memory");
    }
}

static void read_number(struct parser *parser, double *out, bool *has)
{
    if (!ak_json_null(&parser->in)) {
        *has = ak_json_double(&parser->in, out);
    }
}

static void read_recommendation(struct parser *parser, struct ak_perf_recommendation *r)
{
    struct ak_str key;
    ak_json_object(&parser->in);
    while (ak_json_next_key(&parser->in, &key)) {
        if (ak_str_eq(key, AK_STR("table"))) {
            read_text(parser, &r->table);
        } else if (ak_str_eq(key, AK_STR("index"))) {
            read_text(parser, &r->index);
        } else if (ak_str_eq(key, AK_STR("query_pattern"))) {
            read_text(parser, &r->query_pattern);
        } else if (ak_str_eq(key, AK_STR("estimated_speedup"))) {
            read_number(parser, &r->estimated_speedup, &r->has_speedup);
        } else if (ak_str_eq(key, AK_STR("estimated_cost"))) {
            read_number(parser, &r->estimated_cost, &r->has_cost);
        } else if (ak_str_eq(key, AK_STR("priority"))) {
            read_text(parser, &r->priority);
        } else if (ak_str_eq(key, AK_STR("status"))) {
            read_text(parser, &r->status);
        } else if (ak_str_eq(key, AK_STR("basis"))) {
            read_text(parser, &r->basis);
        } else {
            skip_unknown(parser, key);
        }
    }
    if (!ak_json_failed(&parser->in) && !r->table.p) {
        ak_json_fail(&parser->in, "a recommendation has no 'table'");
    }
}

/* The list doubles within the arena, which keeps the old ones: twice the memory at most. */
static struct ak_perf_recommendation *next_place(struct parser *parser)
{
    if (parser->count == AK_PERF_RECOMMENDATIONS_MAX) {
        ak_json_fail(&parser->in, "more than %u recommendations", AK_PERF_RECOMMENDATIONS_MAX);
        return NULL;
    }
    if (parser->count == parser->cap) {
        size_t cap = parser->cap ? parser->cap * 2 : 16;
        struct ak_perf_recommendation *grown = ak_arena_alloc(parser->arena, cap * sizeof *grown);
        if (!grown) {
            ak_json_fail(&parser->in, "the report does not fit into memory");
            return NULL;
        }
        for (size_t i = 0; i < parser->count; i++) {
            grown[i] = parser->list[i];
        }
        parser->list = grown;
        parser->cap = cap;
    }
    struct ak_perf_recommendation *place = &parser->list[parser->count++];
    *place = (struct ak_perf_recommendation){0};
    return place;
}

static void read_list(struct parser *parser)
{
    ak_json_array(&parser->in);
    while (ak_json_next_element(&parser->in)) {
        struct ak_perf_recommendation *place = next_place(parser);
        if (!place) {
            return;
        }
        read_recommendation(parser, place);
    }
}

enum ak_rc ak_perf_parse_report(struct ak_str text, struct ak_arena *arena,
                                struct ak_perf_report *report, struct ak_buf *unknown,
                                struct ak_err *err)
{
    struct parser parser = {.arena = arena, .unknown = unknown};
    struct ak_str key;
    struct ak_str time = AK_STR_NONE;
    int64_t timestamp = 0;
    bool has_list = false;
    ak_json_init(&parser.in, text);
    ak_json_object(&parser.in);
    while (ak_json_next_key(&parser.in, &key)) {
        if (ak_str_eq(key, AK_STR("timestamp"))) {
            if (ak_json_string(&parser.in, &time) && !ak_time_parse(time, &timestamp)) {
                ak_json_fail(&parser.in, "'timestamp' is no RFC 3339 time");
            }
        } else if (ak_str_eq(key, AK_STR("recommendations"))) {
            has_list = true;
            read_list(&parser);
        } else {
            skip_unknown(&parser, key);
        }
    }
    if (!ak_json_failed(&parser.in) && (!time.p || !has_list)) {
        ak_json_fail(&parser.in, "the report needs: " ALLOWED);
    }
    enum ak_rc rc = ak_json_finish(&parser.in, err);
    ak_json_release(&parser.in);
    if (rc == AK_OK) {
        *report = (struct ak_perf_report){timestamp, parser.list, parser.count};
    }
    return rc;
}
