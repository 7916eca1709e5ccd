/* report.c — the advisor's report as JSON, both ways. */
#include "base/clock.h"
#include "base/json.h"
#include "perf/perf_priv.h"

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
    struct ak_str text; /* the whole report, for line numbers */
    struct ak_arena *arena;
    struct ak_buf *unknown;
    struct ak_perf_recommendation *list;
    size_t count;
    size_t cap;
    bool no_memory;
    ak_perf_bad_fn on_bad; /* NULL: a recommendation that is wrong makes the report wrong */
    void *ctx;
};

static void skip_unknown(struct parser *parser, struct ak_json *in, struct ak_str key)
{
    if (parser->unknown) {
        ak_buf_add_str(parser->unknown, parser->unknown->len ? AK_STR(", ") : AK_STR(""));
        ak_buf_add_str(parser->unknown, key);
    }
    (void)ak_json_skip(in, NULL);
}

/* A text that outlives the parser; null leaves it out. */
static void read_text(struct parser *parser, struct ak_json *in, struct ak_str *out)
{
    struct ak_str text = AK_STR_NONE;
    if (ak_json_null(in) || !ak_json_string(in, &text)) {
        return;
    }
    *out = ak_arena_str(parser->arena, text);
    if (!out->p) {
        parser->no_memory = true;
        ak_json_fail(in, "the report does not fit into memory");
    }
}

static void read_number(struct ak_json *in, double *out, bool *has)
{
    if (!ak_json_null(in)) {
        *has = ak_json_double(in, out);
    }
}

static void read_member(struct parser *parser, struct ak_json *in, struct ak_str key,
                        struct ak_perf_recommendation *r)
{
    if (ak_str_eq(key, AK_STR("table"))) {
        read_text(parser, in, &r->table);
    } else if (ak_str_eq(key, AK_STR("index"))) {
        read_text(parser, in, &r->index);
    } else if (ak_str_eq(key, AK_STR("query_pattern"))) {
        read_text(parser, in, &r->query_pattern);
    } else if (ak_str_eq(key, AK_STR("estimated_speedup"))) {
        read_number(in, &r->estimated_speedup, &r->has_speedup);
    } else if (ak_str_eq(key, AK_STR("estimated_cost"))) {
        read_number(in, &r->estimated_cost, &r->has_cost);
    } else if (ak_str_eq(key, AK_STR("priority"))) {
        read_text(parser, in, &r->priority);
    } else if (ak_str_eq(key, AK_STR("status"))) {
        read_text(parser, in, &r->status);
    } else if (ak_str_eq(key, AK_STR("basis"))) {
        read_text(parser, in, &r->basis);
    } else {
        skip_unknown(parser, in, key);
    }
}

/* One recommendation, with a cursor of its own: what is wrong in it stays in it. */
static enum ak_rc read_recommendation(struct parser *parser, struct ak_str text,
                                      struct ak_perf_recommendation *r, struct ak_err *err)
{
    struct ak_json in;
    struct ak_str key;
    *r = (struct ak_perf_recommendation){0};
    ak_json_init(&in, text);
    ak_json_object(&in);
    while (ak_json_next_key(&in, &key)) {
        read_member(parser, &in, key, r);
    }
    if (!ak_json_failed(&in) && !r->table.p) {
        ak_json_fail(&in, "a recommendation has no 'table'");
    }
    enum ak_rc rc = ak_json_finish(&in, err);
    ak_json_release(&in);
    return rc;
}

/* The list doubles within the arena, which keeps the old ones: twice the memory at most. */
static enum ak_rc make_place(struct parser *parser, struct ak_err *err)
{
    if (parser->count == AK_PERF_RECOMMENDATIONS_MAX) {
        return ak_fail(err, AK_TOO_BIG, "more than %u recommendations",
                       AK_PERF_RECOMMENDATIONS_MAX);
    }
    if (parser->count == parser->cap) {
        size_t cap = parser->cap ? parser->cap * 2 : 16;
        struct ak_perf_recommendation *grown = ak_arena_alloc(parser->arena, cap * sizeof *grown);
        if (!grown) {
            return ak_fail(err, AK_NOMEM, "%zu recommendations", cap);
        }
        for (size_t i = 0; i < parser->count; i++) {
            grown[i] = parser->list[i];
        }
        parser->list = grown;
        parser->cap = cap;
    }
    return AK_OK;
}

static uint64_t line_of(const struct parser *parser, const char *at)
{
    uint64_t line = 1;
    for (const char *p = parser->text.p; p < at; p++) {
        line += *p == '\n';
    }
    return line;
}

static enum ak_rc read_list(struct parser *parser, struct ak_err *err)
{
    struct ak_str raw;
    struct ak_err why;
    ak_json_array(&parser->in);
    while (ak_json_next_element(&parser->in) && ak_json_skip(&parser->in, &raw)) {
        enum ak_rc rc = make_place(parser, err);
        if (rc != AK_OK) {
            return rc;
        }
        rc = read_recommendation(parser, raw, &parser->list[parser->count], &why);
        parser->count += rc == AK_OK;
        if (rc == AK_OK) {
            continue;
        }
        if (rc == AK_NOMEM || parser->no_memory) {
            return ak_fail(err, AK_NOMEM, "%s", why.text);
        }
        uint64_t line = line_of(parser, raw.p);
        if (!parser->on_bad) {
            return ak_fail(err, rc, "recommendation in line %llu: %s", (unsigned long long)line,
                           why.text);
        }
        const struct ak_perf_bad bad = {line, raw, why.text};
        rc = parser->on_bad(parser->ctx, &bad, err);
        if (rc != AK_OK) {
            return rc;
        }
    }
    return AK_OK;
}

static enum ak_rc read_report(struct parser *parser, struct ak_perf_report *report,
                              struct ak_err *err)
{
    struct ak_str key;
    struct ak_str time = AK_STR_NONE;
    int64_t timestamp = 0;
    bool has_list = false;
    enum ak_rc rc = AK_OK;
    ak_json_object(&parser->in);
    while (rc == AK_OK && ak_json_next_key(&parser->in, &key)) {
        if (ak_str_eq(key, AK_STR("timestamp"))) {
            if (ak_json_string(&parser->in, &time) && !ak_time_parse(time, &timestamp)) {
                ak_json_fail(&parser->in, "'timestamp' is no RFC 3339 time");
            }
        } else if (ak_str_eq(key, AK_STR("recommendations"))) {
            has_list = true;
            rc = read_list(parser, err);
        } else {
            skip_unknown(parser, &parser->in, key);
        }
    }
    if (rc != AK_OK) {
        return rc;
    }
    if (!ak_json_failed(&parser->in) && (!time.p || !has_list)) {
        ak_json_fail(&parser->in, "the report needs 'timestamp' and 'recommendations'");
    }
    rc = ak_json_finish(&parser->in, err);
    if (rc == AK_OK) {
        *report = (struct ak_perf_report){timestamp, parser->list, parser->count};
    }
    return rc;
}

enum ak_rc ak_perf_parse_report_each(struct ak_str text, struct ak_arena *arena,
                                     struct ak_perf_report *report, struct ak_buf *unknown,
                                     ak_perf_bad_fn on_bad, void *ctx, struct ak_err *err)
{
    struct parser parser = {
        .text = text, .arena = arena, .unknown = unknown, .on_bad = on_bad, .ctx = ctx};
    ak_json_init(&parser.in, text);
    enum ak_rc rc = read_report(&parser, report, err);
    ak_json_release(&parser.in);
    return rc;
}

enum ak_rc ak_perf_parse_report(struct ak_str text, struct ak_arena *arena,
                                struct ak_perf_report *report, struct ak_buf *unknown,
                                struct ak_err *err)
{
    return ak_perf_parse_report_each(text, arena, report, unknown, NULL, NULL, err);
}
