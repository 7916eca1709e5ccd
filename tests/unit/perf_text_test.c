/* The advisor's report and the lines of the summary: every form, and what is wrong with others. */
#include "base/fault.h"
#include "base/rand.h"
#include "perf/perf_priv.h"
#include "perf/summary.h"
#include "support/test.h"

static struct ak_err err;

/* --- The report --- */

static const char order[] =
    "{\"timestamp\":\"2025-10-28T04:00:00Z\",\"recommendations\":[{\"table\":\"embeddings\","
    "\"index\":\"idx_embedding_vector\",\"query_pattern\":\"WHERE namespace = ? AND vector LIKE "
    "?\","
    "\"estimated_speedup\":3.5,\"priority\":\"high\"}]}";

TEST(report, the_one_of_the_work_order_is_read)
{
    struct ak_arena arena;
    struct ak_perf_report report;
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_perf_parse_report(ak_str_of(order), &arena, &report, NULL, &err));
    CHECK_INT(report.count, 1);
    CHECK_INT(ak_perf_day(report.timestamp), 20389);
    const struct ak_perf_recommendation *r = &report.recommendations[0];
    CHECK(ak_str_eq(r->table, AK_STR("embeddings")));
    CHECK(ak_str_eq(r->index, AK_STR("idx_embedding_vector")));
    CHECK(r->has_speedup && r->estimated_speedup == 3.5 && !r->has_cost);
    CHECK(ak_str_eq(r->priority, AK_STR("high")) && !r->status.p && !r->basis.p);
    ak_arena_release(&arena);
}

TEST(report, what_is_written_reads_back)
{
    struct ak_perf_recommendation list[100];
    struct ak_arena arena;
    struct ak_buf out;
    struct ak_buf unknown;
    struct ak_perf_report back;
    ak_arena_init(&arena, 0);
    ak_buf_init(&out, 0);
    ak_buf_init(&unknown, 0);
    for (size_t i = 0; i < 100; i++) {
        list[i] = (struct ak_perf_recommendation){
            .table = AK_STR("t\"\\\n\xC3\xA4"),
            .index = i % 2 ? AK_STR("ef 128") : AK_STR_NONE,
            .query_pattern = AK_STR(""),
            .priority = AK_STR("low"),
            .status = i % 3 ? AK_STR("proposed") : AK_STR_NONE,
            .basis = AK_STR("312 queries"),
            .estimated_speedup = (double)i / 7,
            .estimated_cost = 1e9,
            .has_speedup = i % 5 != 0,
            .has_cost = i % 4 == 0,
        };
    }
    const struct ak_perf_report report = {INT64_C(1761624000123456), list, 100};
    ak_perf_put_report(&out, &report);
    CHECK_OK(ak_buf_check(&out, &err));
    CHECK_OK(ak_perf_parse_report(ak_buf_str(&out), &arena, &back, &unknown, &err));
    CHECK_INT(back.count, 100);
    CHECK_INT(back.timestamp, report.timestamp);
    CHECK_INT(unknown.len, 0);
    for (size_t i = 0; i < 100; i++) {
        const struct ak_perf_recommendation *r = &back.recommendations[i];
        CHECK(ak_str_eq(r->table, list[i].table) && ak_str_eq(r->basis, list[i].basis));
        CHECK(!r->index.p == !list[i].index.p && !r->status.p == !list[i].status.p);
        CHECK(r->has_speedup == list[i].has_speedup && r->has_cost == list[i].has_cost);
        CHECK(!r->has_speedup || r->estimated_speedup == list[i].estimated_speedup);
    }
    ak_buf_release(&out);
    ak_buf_release(&unknown);
    ak_arena_release(&arena);
}

struct bads {
    int count;
    uint64_t line;
    char reason[128];
};

static enum ak_rc on_bad(void *ctx, const struct ak_perf_bad *bad, struct ak_err *e)
{
    struct bads *bads = ctx;
    (void)e;
    bads->count++;
    bads->line = bad->line;
    (void)snprintf(bads->reason, sizeof bads->reason, "%s", bad->reason);
    return AK_OK;
}

TEST(report, a_recommendation_that_is_wrong_costs_only_itself)
{
    static const char text[] = "{\"timestamp\":\"2025-10-28T04:00:00Z\",\"recommendations\":[\n"
                               "{\"table\":\"a\",\"since\":1},\n"
                               "{\"index\":\"b\"},\n"
                               "{\"table\":\"c\",\"estimated_cost\":null}],\"by\":\"me\"}";
    struct ak_arena arena;
    struct ak_buf unknown;
    struct ak_perf_report report;
    struct bads bads = {0};
    ak_arena_init(&arena, 0);
    ak_buf_init(&unknown, 0);
    CHECK_OK(
        ak_perf_parse_report_each(ak_str_of(text), &arena, &report, &unknown, on_bad, &bads, &err));
    CHECK_INT(report.count, 2);
    CHECK_INT(bads.count, 1);
    CHECK_INT(bads.line, 3);
    CHECK(strstr(bads.reason, "no 'table'"));
    CHECK(ak_str_eq(ak_buf_str(&unknown), AK_STR("since, by")));
    CHECK_RC(AK_INVALID, ak_perf_parse_report(ak_str_of(text), &arena, &report, NULL, &err));
    CHECK(strstr(err.text, "line 3"));
    ak_buf_release(&unknown);
    ak_arena_release(&arena);
}

TEST(report, anything_else_is_refused)
{
    static const char *const texts[] = {
        "",
        "[]",
        "{}",
        "{\"timestamp\":\"2025-10-28T04:00:00Z\"}",
        "{\"recommendations\":[]}",
        "{\"timestamp\":\"today\",\"recommendations\":[]}",
        "{\"timestamp\":\"2025-10-28T04:00:00Z\",\"recommendations\":[{\"table\":\"a\"}]} x",
        "{\"timestamp\":\"2025-10-28T04:00:00Z\",\"recommendations\":[{\"table\":\"a\"}"};
    struct ak_arena arena;
    struct ak_perf_report report;
    ak_arena_init(&arena, 0);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        CHECK_RC(AK_INVALID,
                 ak_perf_parse_report(ak_str_of(texts[i]), &arena, &report, NULL, &err));
    }
    ak_arena_release(&arena);
}

/* --- The summary --- */

static struct ak_perf_event_parser parser;
static struct ak_perf_event event;
static char shown[1024];

/* "type|name=value,name|metadata", or "!reason". */
static const char *parse(const char *line)
{
    size_t n = 0;
    ak_perf_event_parser_init(&parser);
    CHECK_OK(ak_perf_event_parse(&parser, ak_str_of(line), &event, &err));
    if (event.fault) {
        (void)snprintf(shown, sizeof shown, "!%s", event.fault);
    } else {
        CHECK_INT(event.timestamp, INT64_C(1761624000000000)); /* 2025-10-28T04:00:00Z */
        n += (size_t)snprintf(shown, sizeof shown, "%.*s|", AK_STR_ARG(event.type));
        for (size_t i = 0; i < event.metric_count; i++) {
            n += (size_t)snprintf(shown + n, sizeof shown - n, "%s%.*s", i ? "," : "",
                                  AK_STR_ARG(event.metrics[i].name));
            if (event.has_value[i]) {
                n += (size_t)snprintf(shown + n, sizeof shown - n, "=%g", event.metrics[i].value);
            }
        }
        (void)snprintf(shown + n, sizeof shown - n, "|%.*s", AK_STR_ARG(event.metadata));
    }
    ak_perf_event_parser_release(&parser);
    return shown;
}

TEST(summary, every_form_that_is_documented_is_taken)
{
    CHECK_STR(parse("2025-10-28T04:00:00Z vacuum"), "vacuum||");
    CHECK_STR(parse("2025-10-28T04:00:00Z vacuum freed_mb=12.5 rows=3"),
              "vacuum|freed_mb=12.5,rows=3|");
    CHECK_STR(parse("[2025-10-28T04:00:00Z] vacuum: freed_mb=12.5, rows=-3"),
              "vacuum|freed_mb=12.5,rows=-3|");
    CHECK_STR(parse("[2025-10-28 04:00:00] vacuum: freed_mb: 12.5, rows: 3"),
              "vacuum|freed_mb=12.5,rows=3|");
    CHECK_STR(parse("2025-10-28T04:00:00Z cache_ratio: 0.9"), "cache_ratio|cache_ratio=0.9|");
    CHECK_STR(parse("2025-10-28T04:00:00Z made rows=1 {\"index\": \"g\"}"),
              "made|rows=1|{\"index\": \"g\"}");
    CHECK_STR(parse("2025-10-28T04:00:00Z,made,rows,1,\"{\"\"a\"\":1}\""), "made|rows=1|{\"a\":1}");
    CHECK_STR(parse("2025-10-28T04:00:00Z,made"), "made||");
    CHECK_STR(parse("2025-10-28T04:00:00Z,made,rows"), "made|rows|");
    CHECK_STR(parse("2025-10-28T04:00:00Z,made,,,"), "made||");
}

TEST(summary, what_is_no_number_becomes_metadata)
{
    CHECK_STR(parse("2025-10-28T04:00:00Z made state=ok took=12ms by=\"a, b\""),
              "made||{\"state\":\"ok\",\"took\":\"12ms\",\"by\":\"a, b\"}");
    CHECK_STR(parse("2025-10-28T04:00:00Z made all is well x=1 {\"a\":[1,2]}"),
              "made|x=1|{\"message\":\"all is well\",\"a\":[1,2]}");
    CHECK_STR(parse("2025-10-28T04:00:00Z made a=b {}"), "made||{\"a\":\"b\"}");
}

TEST(summary, lines_that_cannot_be_taken_say_why)
{
    CHECK_STR(parse("made rows=1"), "!it does not begin with a time like 2025-10-28T04:00:00Z");
    CHECK_STR(parse("[2025-10-28T04:00:00Z made"),
              "!it does not begin with a time like 2025-10-28T04:00:00Z");
    CHECK_STR(parse("2025-10-28T04:00:00Z"), "!it has no event behind its time");
    CHECK_STR(parse("2025-10-28T04:00:00Z rows=1"), "!it has no event behind its time");
    CHECK_STR(parse("2025-10-28T04:00:00Z made {\"a\":}"),
              "!what begins with '{' is no JSON object");
    CHECK_STR(parse("2025-10-28T04:00:00Z made a=\"b"), "!a quote is never closed");
    CHECK_STR(parse("2025-10-28T04:00:00Z made =1"), "!a value has no name");
    CHECK_STR(parse("2025-10-28T04:00:00Z made \xFF"), "!it is not valid UTF-8");
    CHECK_STR(parse("2025-10-28T04:00:00Z,made,rows,many"), "!the value is no number");
    CHECK_STR(parse("2025-10-28T04:00:00Z,made,,1"), "!it has a value without a metric");
    CHECK_STR(parse("2025-10-28T04:00:00Z,made,a,1,[]"), "!the metadata is no JSON object");
    CHECK_STR(parse("2025-10-28T04:00:00Z,made,a,1,,,"),
              "!expected time,event[,metric[,value[,metadata]]]");
    CHECK_STR(parse("2025-10-28T04:00:00Z,,a,1"), "!it has no event");
    char many[1024];
    size_t n = (size_t)snprintf(many, sizeof many, "2025-10-28T04:00:00Z e");
    for (int i = 0; i <= AK_PERF_EVENT_METRICS_MAX; i++) {
        n += (size_t)snprintf(many + n, sizeof many - n, " m%d=1", i);
    }
    CHECK_STR(parse(many), "!it has more than 64 metrics");
    CHECK(ak_perf_event_is_none(AK_STR("  # a comment")) && ak_perf_event_is_none(AK_STR(" \t")));
    CHECK(!ak_perf_event_is_none(AK_STR("x")));
}

TEST(summary, what_the_server_writes_reads_back)
{
    struct ak_buf out;
    const struct ak_perf_metric metrics[] = {{AK_STR("a.b"), 0.1}, {AK_STR("c"), -3e300}};
    ak_buf_init(&out, 0);
    ak_perf_put_event(&out, INT64_C(1761624000000000), AK_STR("made"), metrics, 2,
                      AK_STR("{ \"x\" : 1 }"));
    CHECK(ak_str_has_suffix(ak_buf_str(&out), AK_STR("{\"x\":1}\n")));
    CHECK_STR(parse(ak_buf_cstr(&out)), "made|a.b=0.1,c=-3e+300|{\"x\":1}");
    ak_buf_release(&out);
}

TEST_MAIN()
