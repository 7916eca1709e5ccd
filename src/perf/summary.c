/* summary.c — lines of optimization_summary.txt, which people and scripts write: three forms
 * (perf.h), told apart by what stands before and behind the time. */
#include "perf/summary.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include <string.h>

#define METADATA_MAX (2 * AK_CSV_RECORD_MAX)

void ak_perf_event_parser_init(struct ak_perf_event_parser *parser)
{
    *parser = (struct ak_perf_event_parser){0};
    ak_buf_init(&parser->metadata, METADATA_MAX);
    ak_buf_init(&parser->message, METADATA_MAX);
    ak_csv_init_text(&parser->csv);
}

void ak_perf_event_parser_release(struct ak_perf_event_parser *parser)
{
    ak_buf_release(&parser->metadata);
    ak_buf_release(&parser->message);
    ak_csv_release(&parser->csv);
}

bool ak_perf_event_is_none(struct ak_str line)
{
    line = ak_str_trim(line);
    return line.len == 0 || line.p[0] == '#';
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_json_object(struct ak_perf_event_parser *parser, struct ak_str text)
{
    struct ak_json in;
    ak_json_init(&in, text);
    bool is_object = ak_json_peek(&in) == AK_JSON_OBJECT;
    (void)ak_json_skip(&in, NULL);
    enum ak_rc rc = ak_json_finish(&in, NULL);
    parser->no_memory |= rc == AK_NOMEM;
    ak_json_release(&in);
    return is_object && rc == AK_OK;
}

static void add_metric(struct ak_perf_event *event, struct ak_str name, bool has_value,
                       double value)
{
    if (event->metric_count == AK_PERF_EVENT_METRICS_MAX) {
        event->fault = "it has more than 64 metrics";
        return;
    }
    event->metrics[event->metric_count] = (struct ak_perf_metric){name, value};
    event->has_value[event->metric_count++] = has_value;
}

/* --- time,event,metric,value,metadata --- */

static void parse_csv(struct ak_perf_event_parser *parser, struct ak_str line,
                      struct ak_perf_event *event)
{
    struct ak_csv_record *record = &parser->record;
    bool end = false;
    ak_csv_give(&parser->csv, line);
    if (ak_csv_next(&parser->csv, record, &end, NULL) != AK_OK || end) {
        parser->no_memory = true;
        event->fault = "it does not fit into memory";
        return;
    }
    if (record->fault || record->count < 2 || record->count > 5) {
        event->fault =
            record->fault ? record->fault : "expected time,event[,metric[,value[,metadata]]]";
        return;
    }
    for (size_t i = record->count; i < 5; i++) {
        record->fields[i] = (struct ak_csv_field){AK_STR_NONE, false};
    }
    const struct ak_csv_field *fields = record->fields;
    struct ak_str value = ak_str_trim(fields[3].text);
    double number = 0;
    event->type = ak_str_trim(fields[1].text);
    if (event->type.len == 0) {
        event->fault = "it has no event";
    } else if (!ak_perf_read_timestamp(&parser->days, fields[0].text, &event->timestamp)) {
        event->fault = "it does not begin with a time like 2025-10-28T04:00:00Z";
    } else if (value.len > 0 && !ak_perf_read_double(value, &number)) {
        event->fault = "the value is no number";
    } else if (value.len > 0 && fields[2].text.len == 0) {
        event->fault = "it has a value without a metric";
    } else if (fields[4].text.len > 0 && !is_json_object(parser, fields[4].text)) {
        event->fault = "the metadata is no JSON object";
    } else {
        if (fields[2].text.len > 0) {
            add_metric(event, ak_str_trim(fields[2].text), value.len > 0, number);
        }
        event->metadata = fields[4].text.len > 0 ? fields[4].text : AK_STR_NONE;
    }
}

/* --- time event name=value … {json} --- */

struct words {
    const char *at;
    const char *end;
};

static void skip_gap(struct words *words)
{
    while (words->at < words->end && (is_blank(*words->at) || *words->at == ',')) {
        words->at++;
    }
}

/* Up to a blank, a comma, or `stop`. */
static struct ak_str take_word(struct words *words, char stop)
{
    const char *from = words->at;
    while (words->at < words->end && !is_blank(*words->at) && *words->at != ',' &&
           (!stop || *words->at != stop)) {
        words->at++;
    }
    return (struct ak_str){from, (size_t)(words->at - from)};
}

/* `"…"`, without escapes; false: it is never closed. */
static bool take_quoted(struct words *words, struct ak_str *text)
{
    const char *from = words->at + 1;
    const char *to = memchr(from, '"', (size_t)(words->end - from));
    if (!to) {
        return false;
    }
    *text = (struct ak_str){from, (size_t)(to - from)};
    words->at = to + 1;
    return true;
}

static struct ak_str without_colon(struct ak_str word)
{
    return word.len > 1 && word.p[word.len - 1] == ':' ? ak_str_sub(word, 0, word.len - 1) : word;
}

static void add_text(struct ak_perf_event_parser *parser, struct ak_str name, struct ak_str value)
{
    ak_buf_add_char(&parser->metadata, parser->metadata.len ? ',' : '{');
    ak_json_put_string(&parser->metadata, name);
    ak_buf_add_char(&parser->metadata, ':');
    ak_json_put_string(&parser->metadata, value);
}

static void take_value(struct ak_perf_event_parser *parser, struct words *words, struct ak_str name,
                       struct ak_perf_event *event)
{
    double number;
    struct ak_str value;
    bool is_quoted = words->at < words->end && *words->at == '"';
    if (is_quoted && !take_quoted(words, &value)) {
        event->fault = "a quote is never closed";
        return;
    }
    if (!is_quoted) {
        value = take_word(words, 0);
    }
    if (name.len == 0) {
        event->fault = "a value has no name";
    } else if (!is_quoted && ak_perf_read_double(value, &number)) {
        add_metric(event, name, true, number);
    } else {
        add_text(parser, name, value);
    }
}

/* A word without '=': the name of the number behind it ("rows: 12", or the event's own
 * "cache_ratio: 0.9"), or a word of a message. */
static void take_plain(struct ak_perf_event_parser *parser, struct words *words, struct ak_str word,
                       struct ak_perf_event *event)
{
    double number;
    struct ak_str name = without_colon(word);
    if (name.len < word.len) {
        struct words ahead = *words;
        skip_gap(&ahead);
        if (ak_perf_read_double(take_word(&ahead, 0), &number)) {
            *words = ahead;
            add_metric(event, name, true, number);
            return;
        }
    }
    ak_buf_add_str(&parser->message, parser->message.len ? AK_STR(" ") : AK_STR(""));
    ak_buf_add_str(&parser->message, word);
}

/* What the pairs left as text, and the object at the end, become one object. */
static void finish_metadata(struct ak_perf_event_parser *parser, struct ak_str object,
                            struct ak_perf_event *event)
{
    struct ak_buf *metadata = &parser->metadata;
    if (object.len > 0 && !is_json_object(parser, object)) {
        event->fault = "what begins with '{' is no JSON object";
        return;
    }
    if (parser->message.len > 0) {
        add_text(parser, AK_STR("message"), ak_buf_str(&parser->message));
    }
    if (metadata->len == 0) {
        event->metadata = object.len > 0 ? object : AK_STR_NONE;
        return;
    }
    struct ak_str members =
        object.len > 0 ? ak_str_trim(ak_str_sub(object, 1, object.len - 2)) : AK_STR_NONE;
    if (members.len > 0) {
        ak_buf_add_char(metadata, ',');
        ak_buf_add_str(metadata, members);
    }
    ak_buf_add_char(metadata, '}');
    event->metadata = ak_buf_str(metadata);
    parser->no_memory |= metadata->no_memory || parser->message.no_memory;
    if (metadata->failed || parser->message.failed) {
        event->fault = "it is too long";
    } else if (!is_json_object(parser, event->metadata)) {
        event->fault = "a name stands twice in the line";
    }
}

static void parse_words(struct ak_perf_event_parser *parser, struct words *words,
                        struct ak_perf_event *event)
{
    double number;
    struct ak_str object = AK_STR_NONE;
    skip_gap(words);
    struct ak_str type = take_word(words, '=');
    event->type = without_colon(type);
    if (type.len == 0 || type.p[0] == '{' || (words->at < words->end && *words->at == '=')) {
        event->fault = "it has no event behind its time";
        return;
    }
    struct words ahead = *words;
    skip_gap(&ahead);
    if (event->type.len < type.len && ak_perf_read_double(take_word(&ahead, 0), &number)) {
        add_metric(event, event->type, true, number);
        *words = ahead;
    }
    for (skip_gap(words); words->at < words->end && !event->fault; skip_gap(words)) {
        if (*words->at == '{') {
            object = ak_str_trim((struct ak_str){words->at, (size_t)(words->end - words->at)});
            break;
        }
        struct ak_str word = take_word(words, '=');
        if (words->at < words->end && *words->at == '=') {
            words->at++;
            take_value(parser, words, word, event);
        } else {
            take_plain(parser, words, word, event);
        }
    }
    if (!event->fault) {
        finish_metadata(parser, object, event);
    }
}

static void parse_line(struct ak_perf_event_parser *parser, struct ak_str line,
                       struct ak_perf_event *event)
{
    struct words words = {line.p, line.p + line.len};
    struct ak_str time;
    if (!ak_utf8_is_valid(line) || memchr(line.p, '\0', line.len)) {
        event->fault = "it is not valid UTF-8";
        return;
    }
    if (line.p[0] == '[') {
        const char *to = memchr(line.p, ']', line.len);
        time = (struct ak_str){line.p + 1, to ? (size_t)(to - line.p) - 1 : 0};
        words.at = to ? to + 1 : words.end;
    } else {
        time = take_word(&words, 0);
        if (words.at < words.end && *words.at == ',') {
            parse_csv(parser, line, event);
            return;
        }
    }
    if (!ak_perf_read_timestamp(&parser->days, time, &event->timestamp)) {
        event->fault = "it does not begin with a time like 2025-10-28T04:00:00Z";
        return;
    }
    parse_words(parser, &words, event);
}

enum ak_rc ak_perf_event_parse(struct ak_perf_event_parser *parser, struct ak_str line,
                               struct ak_perf_event *event, struct ak_err *err)
{
    event->type = AK_STR_NONE;
    event->metadata = AK_STR_NONE;
    event->metric_count = 0;
    event->fault = NULL;
    parser->no_memory = false;
    ak_buf_clear(&parser->metadata);
    ak_buf_clear(&parser->message);
    parse_line(parser, ak_str_trim(line), event);
    return parser->no_memory ? ak_fail(err, AK_NOMEM, "a line of %zu bytes", line.len) : AK_OK;
}

void ak_perf_put_event(struct ak_buf *out, int64_t timestamp, struct ak_str event,
                       const struct ak_perf_metric *metrics, size_t count, struct ak_str metadata)
{
    char time[AK_TIME_TEXT_MAX];
    ak_buf_add_fmt(out, "%s %.*s", ak_time_format(timestamp, time), AK_STR_ARG(event));
    for (size_t i = 0; i < count; i++) {
        if (__builtin_isfinite(metrics[i].value)) {
            ak_buf_add_fmt(out, " %.*s=", AK_STR_ARG(metrics[i].name));
            ak_json_put_double(out, metrics[i].value);
        }
    }
    if (metadata.len > 0) {
        ak_buf_add_char(out, ' ');
        ak_json_put_compact(out, metadata);
    }
    ak_buf_add_char(out, '\n');
}
