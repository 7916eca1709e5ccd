/* rules.c — reading, matching and printing rules. */
#include "mocks3/rules.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/sync.h"
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX 1024u
#define LATENCY_MAX_MS 3600000u

struct rule {
    uint64_t id;
    uint64_t skip;  /* left to let pass */
    uint64_t times; /* left; UINT64_MAX: always */
    uint64_t fired;
    struct ak_mock_action action;
    struct ak_str method; /* empty: all */
    struct ak_str operation;
    struct ak_str bucket;
    struct ak_str key_prefix;
    char text[4 * TEXT_MAX];
    size_t text_len;
};

struct ak_mock_rules {
    struct ak_mutex lock;
    struct rule *list[AK_MOCK_RULES_MAX];
    size_t count;
    uint64_t next_id;
    _Atomic unsigned active; /* count, read without the lock: most servers have no rule */
    _Atomic uint64_t fired;
};

struct ak_mock_rules *ak_mock_rules_open(void)
{
    struct ak_mock_rules *rules = ak_zalloc(sizeof *rules);
    ak_mutex_init(&rules->lock, AK_RANK_LEAF, "mock-s3 rules");
    rules->next_id = 1;
    return rules;
}

void ak_mock_rules_close(struct ak_mock_rules *rules)
{
    if (rules) {
        (void)ak_mock_rules_clear(rules);
        ak_mutex_release(&rules->lock);
        ak_free(rules);
    }
}

/* --- Matching --- */

static bool fits(const struct rule *rule, const struct ak_mock_subject *subject)
{
    return (!rule->method.len || ak_str_eq(rule->method, subject->method)) &&
           (!rule->operation.len || ak_str_eq(rule->operation, subject->operation)) &&
           (!rule->bucket.len || ak_str_eq(rule->bucket, subject->bucket)) &&
           ak_str_has_prefix(subject->key, rule->key_prefix);
}

bool ak_mock_rules_match(struct ak_mock_rules *rules, const struct ak_mock_subject *subject,
                         struct ak_mock_action *action)
{
    bool found = false;
    if (atomic_load_explicit(&rules->active, memory_order_relaxed) == 0) {
        return false;
    }
    ak_mutex_lock(&rules->lock);
    for (size_t i = 0; i < rules->count && !found; i++) {
        struct rule *rule = rules->list[i];
        if (!rule->times || !fits(rule, subject)) {
            continue;
        }
        if (rule->skip) {
            rule->skip--;
            continue;
        }
        rule->times -= rule->times != UINT64_MAX;
        rule->fired++;
        *action = rule->action;
        found = true;
    }
    ak_mutex_unlock(&rules->lock);
    if (found) {
        atomic_fetch_add_explicit(&rules->fired, 1, memory_order_relaxed);
    }
    return found;
}

/* --- Reading --- */

static void read_text(struct ak_json *in, struct rule *rule, struct ak_str *out)
{
    struct ak_str text;
    if (!ak_json_string(in, &text)) {
        return;
    }
    if (text.len > TEXT_MAX) {
        ak_json_fail(in, "a text of a rule has at most 1024 bytes");
        return;
    }
    char *copy = rule->text + rule->text_len;
    if (text.len) {
        memcpy(copy, text.p, text.len);
    }
    rule->text_len += text.len;
    *out = (struct ak_str){copy, text.len};
}

static void read_match(struct ak_json *in, struct rule *rule)
{
    struct ak_str key;
    (void)ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        if (ak_str_eq(key, AK_STR("method"))) {
            read_text(in, rule, &rule->method);
        } else if (ak_str_eq(key, AK_STR("operation"))) {
            read_text(in, rule, &rule->operation);
        } else if (ak_str_eq(key, AK_STR("bucket"))) {
            read_text(in, rule, &rule->bucket);
        } else if (ak_str_eq(key, AK_STR("key_prefix"))) {
            read_text(in, rule, &rule->key_prefix);
        } else {
            ak_json_unknown_key(in, key, "method, operation, bucket, key_prefix");
        }
    }
}

static void read_code(struct ak_json *in, struct ak_mock_action *action)
{
    struct ak_str code;
    if (!ak_json_string(in, &code)) {
        return;
    }
    bool ok = code.len > 0 && code.len < AK_MOCK_CODE_NAME_MAX;
    for (size_t i = 0; ok && i < code.len; i++) {
        char c = code.p[i];
        ok = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    }
    if (!ok) {
        ak_json_fail(in, "code must be letters and digits, at most 63: \"SlowDown\"");
        return;
    }
    (void)snprintf(action->code, sizeof action->code, "%.*s", AK_STR_ARG(code));
}

static void read_action(struct ak_json *in, struct ak_mock_action *action)
{
    struct ak_str key;
    uint64_t number = 0;
    (void)ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        if (ak_str_eq(key, AK_STR("latency_ms"))) {
            (void)ak_json_u64(in, 0, LATENCY_MAX_MS, &action->latency_ms);
        } else if (ak_str_eq(key, AK_STR("status"))) {
            if (ak_json_u64(in, 300, 599, &number)) {
                action->status = (int)number;
            }
        } else if (ak_str_eq(key, AK_STR("code"))) {
            read_code(in, action);
        } else if (ak_str_eq(key, AK_STR("reset_after"))) {
            action->resets = ak_json_u64(in, 0, UINT64_MAX / 2, &action->reset_after);
        } else if (ak_str_eq(key, AK_STR("bytes_per_s"))) {
            (void)ak_json_u64(in, 1, UINT64_MAX / 2, &action->bytes_per_s);
        } else if (ak_str_eq(key, AK_STR("hang"))) {
            (void)ak_json_bool(in, &action->hangs);
        } else if (ak_str_eq(key, AK_STR("drop_answer"))) {
            (void)ak_json_bool(in, &action->drops_answer);
        } else {
            ak_json_unknown_key(
                in, key, "latency_ms, status, code, reset_after, bytes_per_s, hang, drop_answer");
        }
    }
    if (action->code[0] && !action->status && !ak_json_failed(in)) {
        ak_json_fail(in, "a code needs a status, such as 503");
    }
}

static void read_rule(struct ak_json *in, struct rule *rule)
{
    struct ak_str key;
    bool has_action = false;
    rule->times = UINT64_MAX;
    (void)ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        if (ak_str_eq(key, AK_STR("match"))) {
            read_match(in, rule);
        } else if (ak_str_eq(key, AK_STR("action"))) {
            read_action(in, &rule->action);
            has_action = true;
        } else if (ak_str_eq(key, AK_STR("skip"))) {
            (void)ak_json_u64(in, 0, UINT64_MAX / 2, &rule->skip);
        } else if (ak_str_eq(key, AK_STR("times"))) {
            (void)ak_json_u64(in, 1, UINT64_MAX / 2, &rule->times);
        } else {
            ak_json_unknown_key(in, key, "match, action, skip, times");
        }
    }
    if (!has_action && !ak_json_failed(in)) {
        ak_json_fail(in, "a rule needs an action");
    }
}

/* Read one rule into a list of at most AK_MOCK_RULES_MAX. */
static void read_into(struct ak_json *in, struct rule **list, size_t *count)
{
    struct rule *rule = *count < AK_MOCK_RULES_MAX ? ak_try_zalloc(sizeof *rule) : NULL;
    if (!rule) {
        ak_json_fail(in, *count < AK_MOCK_RULES_MAX ? "no memory for the rule"
                                                    : "at most 256 rules can be set");
        return;
    }
    list[(*count)++] = rule;
    read_rule(in, rule);
}

static enum ak_rc read_all(struct ak_str json, struct rule **list, size_t *count,
                           struct ak_err *err)
{
    struct ak_json in;
    ak_json_init(&in, json);
    if (ak_json_peek(&in) == AK_JSON_ARRAY) {
        (void)ak_json_array(&in);
        while (ak_json_next_element(&in)) {
            read_into(&in, list, count);
        }
    } else {
        read_into(&in, list, count);
    }
    enum ak_rc rc = ak_json_finish(&in, err);
    ak_json_release(&in);
    return rc;
}

enum ak_rc ak_mock_rules_add(struct ak_mock_rules *rules, struct ak_str json, struct ak_buf *out,
                             struct ak_err *err)
{
    struct rule *list[AK_MOCK_RULES_MAX];
    size_t count = 0;
    enum ak_rc rc = read_all(json, list, &count, err);
    ak_mutex_lock(&rules->lock);
    if (rc == AK_OK && rules->count + count > AK_MOCK_RULES_MAX) {
        rc = ak_fail(err, AK_INVALID, "at most 256 rules can be set: DELETE /_mock/rules first");
    }
    if (rc == AK_OK) {
        ak_buf_add_str(out, AK_STR("{\"ids\":["));
        for (size_t i = 0; i < count; i++) {
            list[i]->id = rules->next_id++;
            rules->list[rules->count++] = list[i];
            ak_buf_add_str(out, i ? AK_STR(",") : AK_STR(""));
            ak_json_put_u64(out, list[i]->id);
        }
        ak_buf_add_str(out, AK_STR("]}"));
        atomic_store_explicit(&rules->active, (unsigned)rules->count, memory_order_relaxed);
        count = 0;
    }
    ak_mutex_unlock(&rules->lock);
    for (size_t i = 0; i < count; i++) {
        ak_free(list[i]);
    }
    return rc;
}

/* --- Printing, removing --- */

static void put_text(struct ak_buf *out, const char *name, struct ak_str text, const char **comma)
{
    if (text.len) {
        ak_buf_add_fmt(out, "%s\"%s\":", *comma, name);
        ak_json_put_string(out, text);
        *comma = ",";
    }
}

static void put_count(struct ak_buf *out, const char *name, uint64_t number, bool wanted,
                      const char **comma)
{
    if (wanted) {
        ak_buf_add_fmt(out, "%s\"%s\":", *comma, name);
        ak_json_put_u64(out, number);
        *comma = ",";
    }
}

static void put_flag(struct ak_buf *out, const char *name, bool flag, const char **comma)
{
    if (flag) {
        ak_buf_add_fmt(out, "%s\"%s\":true", *comma, name);
        *comma = ",";
    }
}

static void put_rule(struct ak_buf *out, const struct rule *rule)
{
    const struct ak_mock_action *action = &rule->action;
    const char *comma = "";
    ak_buf_add_str(out, AK_STR("{\"id\":"));
    ak_json_put_u64(out, rule->id);
    ak_buf_add_str(out, AK_STR(",\"match\":{"));
    put_text(out, "method", rule->method, &comma);
    put_text(out, "operation", rule->operation, &comma);
    put_text(out, "bucket", rule->bucket, &comma);
    put_text(out, "key_prefix", rule->key_prefix, &comma);
    ak_buf_add_str(out, AK_STR("},\"action\":{"));
    comma = "";
    put_count(out, "latency_ms", action->latency_ms, action->latency_ms > 0, &comma);
    put_count(out, "status", (uint64_t)action->status, action->status != 0, &comma);
    put_text(out, "code", ak_str_of(action->code), &comma);
    put_count(out, "reset_after", action->reset_after, action->resets, &comma);
    put_count(out, "bytes_per_s", action->bytes_per_s, action->bytes_per_s > 0, &comma);
    put_flag(out, "hang", action->hangs, &comma);
    put_flag(out, "drop_answer", action->drops_answer, &comma);
    ak_buf_add_str(out, AK_STR("}"));
    comma = ",";
    put_count(out, "skip_left", rule->skip, rule->skip > 0, &comma);
    put_count(out, "times_left", rule->times, rule->times != UINT64_MAX, &comma);
    put_count(out, "fired", rule->fired, true, &comma);
    ak_buf_add_char(out, '}');
}

void ak_mock_rules_list(struct ak_mock_rules *rules, struct ak_buf *out)
{
    ak_mutex_lock(&rules->lock);
    ak_buf_add_str(out, AK_STR("{\"rules\":["));
    for (size_t i = 0; i < rules->count; i++) {
        ak_buf_add_str(out, i ? AK_STR(",") : AK_STR(""));
        put_rule(out, rules->list[i]);
    }
    ak_buf_add_str(out, AK_STR("]}"));
    ak_mutex_unlock(&rules->lock);
}

bool ak_mock_rules_remove(struct ak_mock_rules *rules, uint64_t id)
{
    bool found = false;
    ak_mutex_lock(&rules->lock);
    for (size_t i = 0; i < rules->count && !found; i++) {
        found = rules->list[i]->id == id;
        if (found) {
            ak_free(rules->list[i]);
            rules->count--;
            memmove(rules->list + i, rules->list + i + 1,
                    (rules->count - i) * sizeof rules->list[0]);
        }
    }
    atomic_store_explicit(&rules->active, (unsigned)rules->count, memory_order_relaxed);
    ak_mutex_unlock(&rules->lock);
    return found;
}

size_t ak_mock_rules_clear(struct ak_mock_rules *rules)
{
    ak_mutex_lock(&rules->lock);
    size_t count = rules->count;
    for (size_t i = 0; i < count; i++) {
        ak_free(rules->list[i]);
    }
    rules->count = 0;
    atomic_store_explicit(&rules->active, 0, memory_order_relaxed);
    ak_mutex_unlock(&rules->lock);
    return count;
}

uint64_t ak_mock_rules_fired(struct ak_mock_rules *rules)
{
    return atomic_load_explicit(&rules->fired, memory_order_relaxed);
}
