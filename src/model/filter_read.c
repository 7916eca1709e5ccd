/* filter_read.c — the filter language: JSON → struct ak_filter in the caller's arena.
 *
 * One object is either a condition (key and one of match, range, exists) or a group (must, should,
 * must_not). Its fields may come in any order, so an object is first gathered in a draft and judged
 * when it closes. The reader's `failure` sticks, so only ends are checked.
 */
#include "base/limits.h"
#include "model/filter.h"
#include <math.h>
#include <string.h>

#define FIELDS_OF_CONDITION "key, match, range, exists, must, should, must_not"
#define FIELDS_OF_GROUP "must, should, must_not"

struct reader {
    struct ak_json *in;
    struct ak_arena *arena;
    size_t conditions;
    size_t values;
    struct ak_str keys[AK_FILTER_KEYS_MAX]; /* the distinct ones */
    size_t key_count;
};

struct draft {
    struct ak_filter filter;
    bool has_key;
    bool has_match;
    bool has_range;
    bool has_exists;
    bool has_group;
};

/* A list that grows in the arena: what it outgrows stays there until the arena goes. */
struct list {
    void *items;
    size_t count;
    size_t cap;
};

static const struct ak_filter *read_object(struct reader *r, unsigned depth, bool is_top);

static void *take(struct reader *r, size_t size)
{
    void *p = ak_arena_alloc(r->arena, size);
    if (!p && !ak_json_failed(r->in)) {
        (void)ak_fail(&r->in->failure, AK_NOMEM, "no memory for the filter");
    }
    return p;
}

static struct ak_str keep(struct reader *r, struct ak_str s)
{
    char *copy = take(r, s.len + 1);
    if (!copy) {
        return AK_STR_NONE;
    }
    if (s.len) {
        memcpy(copy, s.p, s.len);
    }
    copy[s.len] = '\0';
    return (struct ak_str){copy, s.len};
}

/* Room for one more item, or NULL. */
static void *grow(struct reader *r, struct list *list, size_t item_size)
{
    if (list->count == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 4; /* counts are bounded far below overflow */
        void *items = take(r, cap * item_size);
        if (!items) {
            return NULL;
        }
        if (list->count) {
            memcpy(items, list->items, list->count * item_size);
        }
        list->items = items;
        list->cap = cap;
    }
    return (char *)list->items + list->count++ * item_size;
}

static void read_key(struct reader *r, struct draft *draft)
{
    struct ak_str key;
    if (!ak_json_string(r->in, &key)) {
        return;
    }
    if (key.len == 0 || key.len > AK_FILTER_KEY_MAX) {
        ak_json_fail(r->in, "a filter's key has 1 to %d bytes", AK_FILTER_KEY_MAX);
        return;
    }
    draft->has_key = true;
    for (size_t i = 0; i < r->key_count; i++) {
        if (ak_str_eq(r->keys[i], key)) {
            draft->filter.key = r->keys[i];
            return;
        }
    }
    if (r->key_count == AK_FILTER_KEYS_MAX) {
        ak_json_fail(r->in, "a filter may name at most %d different keys", AK_FILTER_KEYS_MAX);
        return;
    }
    draft->filter.key = keep(r, key);
    r->keys[r->key_count++] = draft->filter.key;
}

static bool read_scalar(struct reader *r, struct ak_filter_value *value)
{
    struct ak_str string;
    memset(value, 0, sizeof *value);
    switch (ak_json_peek(r->in)) {
    case AK_JSON_STRING:
        value->type = AK_VALUE_STRING;
        if (!ak_json_string(r->in, &string)) {
            return false;
        }
        value->string = keep(r, string);
        return !ak_json_failed(r->in);
    case AK_JSON_NUMBER:
        value->type = AK_VALUE_NUMBER;
        return ak_json_double(r->in, &value->number);
    case AK_JSON_BOOL:
        value->type = AK_VALUE_BOOL;
        return ak_json_bool(r->in, &value->boolean);
    case AK_JSON_NULL:
        ak_json_fail(r->in, "a match takes no null (use \"exists\": false)");
        return false;
    case AK_JSON_ARRAY:
    case AK_JSON_OBJECT:
        ak_json_fail(r->in, "a match takes strings, numbers, true and false");
        return false;
    case AK_JSON_END:
    default:
        return false;
    }
}

static void read_value(struct reader *r, struct list *values)
{
    struct ak_filter_value value;
    if (++r->values > AK_FILTER_VALUES_MAX) {
        ak_json_fail(r->in, "a filter may hold at most %d values", AK_FILTER_VALUES_MAX);
        return;
    }
    if (read_scalar(r, &value)) {
        struct ak_filter_value *place = grow(r, values, sizeof value);
        if (place) {
            *place = value;
        }
    }
}

static void read_any(struct reader *r, struct list *values)
{
    if (ak_json_array(r->in)) {
        while (ak_json_next_element(r->in)) {
            read_value(r, values);
        }
    }
}

static void read_match(struct reader *r, struct draft *draft)
{
    struct list values = {0};
    struct ak_str field;
    enum ak_json_type type = ak_json_peek(r->in);
    bool has_any = true;
    if (type == AK_JSON_ARRAY) {
        read_any(r, &values);
    } else if (type == AK_JSON_OBJECT) {
        has_any = false;
        (void)ak_json_object(r->in);
        while (ak_json_next_key(r->in, &field)) {
            if (ak_str_eq(field, AK_STR("any"))) {
                has_any = true;
                read_any(r, &values);
            } else {
                ak_json_unknown_key(r->in, field, "any");
            }
        }
    } else {
        read_value(r, &values);
    }
    if (!has_any) {
        ak_json_fail(r->in, "a match object needs 'any'");
    }
    draft->filter.values = values.items;
    draft->filter.value_count = values.count;
    draft->has_match = true;
}

static void read_range(struct reader *r, struct draft *draft)
{
    struct ak_filter *f = &draft->filter;
    struct ak_str field;
    unsigned lows = 0;
    unsigned highs = 0;
    if (!ak_json_object(r->in)) {
        return;
    }
    while (ak_json_next_key(r->in, &field)) {
        bool is_gt = ak_str_eq(field, AK_STR("gt"));
        bool is_lt = ak_str_eq(field, AK_STR("lt"));
        if (is_gt || ak_str_eq(field, AK_STR("gte"))) {
            lows += ak_json_double(r->in, &f->low);
            f->low_open = is_gt;
        } else if (is_lt || ak_str_eq(field, AK_STR("lte"))) {
            highs += ak_json_double(r->in, &f->high);
            f->high_open = is_lt;
        } else {
            ak_json_unknown_key(r->in, field, "gt, gte, lt, lte");
        }
    }
    if (lows + highs == 0) {
        ak_json_fail(r->in, "a range needs one of gt, gte, lt, lte");
    } else if (lows > 1 || highs > 1) {
        ak_json_fail(r->in, "a range takes %s",
                     lows > 1 ? "gt or gte, not both" : "lt or lte, not both");
    }
    draft->has_range = true;
}

static void read_list(struct reader *r, struct draft *draft, unsigned depth,
                      const struct ak_filter ***filters, size_t *count)
{
    struct list list = {0};
    draft->has_group = true;
    if (depth > AK_FILTER_DEPTH_MAX) {
        ak_json_fail(r->in, "filters may be nested %d deep", AK_FILTER_DEPTH_MAX);
        return;
    }
    if (!ak_json_array(r->in)) {
        return;
    }
    while (ak_json_next_element(r->in)) {
        if (++r->conditions > AK_FILTER_CONDITIONS_MAX) {
            ak_json_fail(r->in, "a filter may hold at most %d conditions",
                         AK_FILTER_CONDITIONS_MAX);
            return;
        }
        const struct ak_filter *child = read_object(r, depth + 1, false);
        const struct ak_filter **place = child ? grow(r, &list, sizeof child) : NULL;
        if (place) {
            *place = child;
        }
    }
    *filters = list.items;
    *count = list.count;
}

static void read_field(struct reader *r, struct draft *draft, struct ak_str field, unsigned depth,
                       bool is_top)
{
    struct ak_filter *f = &draft->filter;
    if (ak_str_eq(field, AK_STR("must"))) {
        read_list(r, draft, depth, &f->must, &f->must_count);
    } else if (ak_str_eq(field, AK_STR("should"))) {
        read_list(r, draft, depth, &f->should, &f->should_count);
    } else if (ak_str_eq(field, AK_STR("must_not"))) {
        read_list(r, draft, depth, &f->must_not, &f->must_not_count);
    } else if (is_top) {
        ak_json_unknown_key(r->in, field, FIELDS_OF_GROUP);
    } else if (ak_str_eq(field, AK_STR("key"))) {
        read_key(r, draft);
    } else if (ak_str_eq(field, AK_STR("match"))) {
        read_match(r, draft);
    } else if (ak_str_eq(field, AK_STR("range"))) {
        read_range(r, draft);
    } else if (ak_str_eq(field, AK_STR("exists"))) {
        draft->has_exists = ak_json_bool(r->in, &f->exists);
    } else {
        ak_json_unknown_key(r->in, field, FIELDS_OF_CONDITION);
    }
}

/* Which kind the closed object is; a failure when its fields do not go together. */
static void judge(struct reader *r, struct draft *draft, bool is_top)
{
    unsigned tests = (unsigned)draft->has_match + draft->has_range + draft->has_exists;
    if (draft->has_group && (draft->has_key || tests)) {
        ak_json_fail(r->in, "a condition has a key or must/should/must_not, not both");
    } else if (is_top && !draft->has_group) {
        ak_json_fail(r->in, "a filter needs one of must, should, must_not");
    } else if (!draft->has_group && (!draft->has_key || tests != 1)) {
        ak_json_fail(r->in, "a condition needs 'key' and one of match, range, exists");
    }
    draft->filter.kind = draft->has_group   ? AK_FILTER_GROUP
                         : draft->has_match ? AK_FILTER_MATCH
                         : draft->has_range ? AK_FILTER_RANGE
                                            : AK_FILTER_EXISTS;
}

static const struct ak_filter *read_object(struct reader *r, unsigned depth, bool is_top)
{
    struct draft draft = {.filter = {.low = -HUGE_VAL, .high = HUGE_VAL}};
    struct ak_str field;
    if (!ak_json_object(r->in)) {
        return NULL;
    }
    while (ak_json_next_key(r->in, &field)) {
        read_field(r, &draft, field, depth, is_top);
    }
    if (!ak_json_failed(r->in)) {
        judge(r, &draft, is_top);
    }
    struct ak_filter *filter = ak_json_failed(r->in) ? NULL : take(r, sizeof *filter);
    if (filter) {
        *filter = draft.filter;
    }
    return filter;
}

const struct ak_filter *ak_filter_read(struct ak_json *in, struct ak_arena *arena)
{
    struct reader r = {.in = in, .arena = arena};
    return read_object(&r, 1, true);
}

enum ak_rc ak_filter_parse(struct ak_str json, struct ak_arena *arena,
                           const struct ak_filter **filter, struct ak_err *err)
{
    struct ak_json in;
    ak_json_init(&in, json);
    const struct ak_filter *read = ak_filter_read(&in, arena);
    enum ak_rc rc = ak_json_finish(&in, err);
    if (rc == AK_OK) {
        *filter = read;
    }
    ak_json_release(&in);
    return rc == AK_OK ? rc : ak_wrap(err, rc, "filter");
}
