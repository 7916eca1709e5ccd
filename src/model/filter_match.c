/* filter_match.c — what a document holds under a key, and the slow reference of a filter.
 *
 * A dotted key is matched against the names on the way down, joined by dots. So "a.b" finds the b
 * in
 * {"a":{"b":1}} and also the member of {"a.b":1}; a document that has both gives both values. All
 * keys that are still open at some object share what they have consumed: that is one length.
 */
#include "base/limits.h"
#include "model/filter.h"
#include <string.h>

struct walk {
    struct ak_json in;
    const struct ak_str *keys;
    ak_filter_visit_fn fn;
    void *ctx;
};

static void emit(struct walk *w, uint64_t keys, const struct ak_filter_value *value)
{
    for (; keys; keys &= keys - 1) {
        w->fn(w->ctx, (size_t)__builtin_ctzll(keys), value);
    }
}

/* Consume a scalar; false when the next value is null (consumed), an array or an object (not). */
static bool next_scalar(struct walk *w, struct ak_filter_value *value)
{
    switch (ak_json_peek(&w->in)) {
    case AK_JSON_STRING:
        value->type = AK_VALUE_STRING;
        return ak_json_string(&w->in, &value->string);
    case AK_JSON_NUMBER:
        value->type = AK_VALUE_NUMBER;
        return ak_json_double(&w->in, &value->number);
    case AK_JSON_BOOL:
        value->type = AK_VALUE_BOOL;
        return ak_json_bool(&w->in, &value->boolean);
    case AK_JSON_NULL:
        (void)ak_json_null(&w->in);
        return false;
    case AK_JSON_ARRAY:
    case AK_JSON_OBJECT:
    case AK_JSON_END:
    default:
        return false;
    }
}

static void walk_array(struct walk *w, uint64_t ends)
{
    struct ak_filter_value value;
    emit(w, ends, NULL);
    if (!ak_json_array(&w->in)) {
        return;
    }
    while (ak_json_next_element(&w->in)) {
        memset(&value, 0, sizeof value);
        enum ak_json_type type = ak_json_peek(&w->in);
        if (type == AK_JSON_ARRAY || type == AK_JSON_OBJECT) {
            (void)ak_json_skip(&w->in, NULL);
        } else if (next_scalar(w, &value)) {
            emit(w, ends, &value);
        }
    }
}

/* The keys of `open` have consumed `at` bytes on the way to this object. */
static void walk_object(struct walk *w, uint64_t open, size_t at)
{
    struct ak_filter_value value;
    struct ak_str name;
    if (!ak_json_object(&w->in)) {
        return;
    }
    while (ak_json_next_key(&w->in, &name)) {
        uint64_t ends = 0;
        uint64_t goes_on = 0;
        for (uint64_t left = open; left; left &= left - 1) {
            size_t k = (size_t)__builtin_ctzll(left);
            struct ak_str rest = ak_str_sub(w->keys[k], at, SIZE_MAX);
            if (ak_str_has_prefix(rest, name)) {
                ends |= (uint64_t)(rest.len == name.len) << k;
                goes_on |= (uint64_t)(rest.len > name.len && rest.p[name.len] == '.') << k;
            }
        }
        enum ak_json_type type = ak_json_peek(&w->in);
        memset(&value, 0, sizeof value);
        if ((ends | goes_on) == 0) {
            (void)ak_json_skip(&w->in, NULL);
        } else if (type == AK_JSON_OBJECT) {
            emit(w, ends, NULL);
            if (goes_on) {
                walk_object(w, goes_on, at + name.len + 1);
            } else {
                (void)ak_json_skip(&w->in, NULL);
            }
        } else if (type == AK_JSON_ARRAY) {
            walk_array(w, ends);
        } else if (next_scalar(w, &value)) {
            emit(w, ends, &value);
        }
    }
}

bool ak_filter_visit(struct ak_str metadata, const struct ak_str *keys, size_t key_count,
                     ak_filter_visit_fn fn, void *ctx)
{
    AK_ASSERT(key_count <= 64);
    if (metadata.len == 0 || key_count == 0) {
        return true;
    }
    struct walk w = {.keys = keys, .fn = fn, .ctx = ctx};
    ak_json_init(&w.in, metadata);
    walk_object(&w, UINT64_MAX >> (64 - key_count), 0);
    bool had_memory = w.in.failure.rc != AK_NOMEM;
    ak_json_release(&w.in);
    return had_memory;
}

bool ak_filter_value_eq(const struct ak_filter_value *a, const struct ak_filter_value *b)
{
    if (a->type != b->type) {
        return false;
    }
    switch (a->type) {
    case AK_VALUE_STRING:
        return ak_str_eq(a->string, b->string);
    case AK_VALUE_NUMBER:
        return !(a->number < b->number) && !(a->number > b->number);
    case AK_VALUE_BOOL:
    default:
        return a->boolean == b->boolean;
    }
}

bool ak_filter_value_satisfies(const struct ak_filter_value *value, const struct ak_filter *leaf)
{
    if (leaf->kind == AK_FILTER_RANGE) {
        return value->type == AK_VALUE_NUMBER &&
               (leaf->low_open ? value->number > leaf->low : value->number >= leaf->low) &&
               (leaf->high_open ? value->number < leaf->high : value->number <= leaf->high);
    }
    for (size_t i = 0; i < leaf->value_count; i++) {
        if (ak_filter_value_eq(value, &leaf->values[i])) {
            return true;
        }
    }
    return false;
}

struct verdict {
    const struct ak_filter *leaf;
    bool is_present;
    bool is_match;
};

static void on_value(void *ctx, size_t key, const struct ak_filter_value *value)
{
    struct verdict *v = ctx;
    (void)key;
    v->is_present = true;
    v->is_match = v->is_match || (value && v->leaf->kind != AK_FILTER_EXISTS &&
                                  ak_filter_value_satisfies(value, v->leaf));
}

bool ak_filter_matches(const struct ak_filter *filter, struct ak_str metadata)
{
    if (filter->kind != AK_FILTER_GROUP) {
        struct verdict v = {.leaf = filter};
        (void)ak_filter_visit(metadata, &filter->key, 1, on_value, &v);
        return filter->kind == AK_FILTER_EXISTS ? v.is_present == filter->exists : v.is_match;
    }
    bool any = filter->should_count == 0;
    for (size_t i = 0; i < filter->must_count; i++) {
        if (!ak_filter_matches(filter->must[i], metadata)) {
            return false;
        }
    }
    for (size_t i = 0; i < filter->should_count && !any; i++) {
        any = ak_filter_matches(filter->should[i], metadata);
    }
    for (size_t i = 0; i < filter->must_not_count && any; i++) {
        any = !ak_filter_matches(filter->must_not[i], metadata);
    }
    return any;
}
