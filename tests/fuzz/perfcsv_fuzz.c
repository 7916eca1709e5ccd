/* fuzz: links perf base */
/* CSV of anyone, the advisor's report and lines of the summary; the first byte chooses. Every
 * record must stand in the input where it says, in order, with lines that do not go back. */
#include "fuzz.h"
#include "perf/csv.h"
#include "perf/perf_priv.h"
#include "perf/summary.h"
#include <string.h>

static void read_csv(struct ak_str text, size_t want)
{
    struct ak_csv csv;
    struct ak_csv_record record;
    uint64_t line = 0;
    uint64_t at = 0;
    size_t records = 0;
    bool end = false;
    ak_csv_init_text(&csv);
    ak_csv_give(&csv, text);
    csv.want = want;
    while (ak_csv_next(&csv, &record, &end, NULL) == AK_OK && !end) {
        AK_ASSERT(record.line > line && record.at >= at);
        AK_ASSERT(record.fault ? record.count == 0 : record.count > 0);
        AK_ASSERT(!want || record.fault || record.count == want);
        AK_ASSERT(record.at + record.raw.len <= text.len);
        AK_ASSERT(memcmp(record.raw.p, text.p + record.at, record.raw.len) == 0);
        for (size_t i = 0; i < record.count; i++) { /* each byte can be read */
            AK_ASSERT(record.fields[i].text.len <= record.raw.len);
            AK_ASSERT(!memchr(record.fields[i].text.p, '\0', record.fields[i].text.len));
        }
        line = record.line;
        at = record.at + 1;
        records++;
    }
    AK_ASSERT(end && records <= text.len);
    AK_ASSERT(ak_csv_offset(&csv) == text.len);
    ak_csv_release(&csv);
}

static void read_lines(struct ak_str text)
{
    struct ak_csv csv;
    struct ak_csv_record record;
    struct ak_perf_event_parser parser;
    struct ak_perf_event event;
    bool end = false;
    ak_csv_init_text(&csv);
    ak_csv_give(&csv, text);
    ak_perf_event_parser_init(&parser);
    while (ak_csv_next_line(&csv, &record, &end, NULL) == AK_OK && !end) {
        if (record.fault || ak_perf_event_is_none(record.raw)) {
            continue;
        }
        AK_ASSERT(ak_perf_event_parse(&parser, record.raw, &event, NULL) == AK_OK);
        AK_ASSERT(event.fault || (event.type.len > 0 && ak_utf8_is_valid(event.metadata)));
        AK_ASSERT(event.metric_count <= AK_PERF_EVENT_METRICS_MAX);
    }
    AK_ASSERT(end);
    ak_perf_event_parser_release(&parser);
    ak_csv_release(&csv);
}

static enum ak_rc ignore(void *ctx, const struct ak_perf_bad *bad, struct ak_err *err)
{
    (void)ctx;
    (void)err;
    AK_ASSERT(bad->line > 0 && bad->reason[0]);
    return AK_OK;
}

static void read_report(struct ak_str text)
{
    struct ak_arena arena;
    struct ak_perf_report report;
    struct ak_buf unknown;
    ak_arena_init(&arena, (size_t)64 << 20);
    ak_buf_init(&unknown, 0);
    if (ak_perf_parse_report_each(text, &arena, &report, &unknown, ignore, NULL, NULL) == AK_OK) {
        struct ak_buf out;
        struct ak_perf_report back;
        ak_buf_init(&out, 0);
        ak_perf_put_report(&out, &report);
        AK_ASSERT(ak_perf_parse_report(ak_buf_str(&out), &arena, &back, NULL, NULL) == AK_OK);
        AK_ASSERT(back.count == report.count);
        ak_buf_release(&out);
    }
    ak_buf_release(&unknown);
    ak_arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct ak_str text = {(const char *)data + 1, size - 1};
    switch (data[0] % 4) {
    case 0:
        read_csv(text, 0);
        break;
    case 1:
        read_csv(text, 3);
        break;
    case 2:
        read_lines(text);
        break;
    default:
        read_report(text);
    }
    return 0;
}
