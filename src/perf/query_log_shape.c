/* query_log_shape.c — what makes queries the same, as a number and as JSON.
 *
 * The number does not depend on the order of a filter's conditions: the hashes of the conditions of
 * one list are added up.
 */
#include "base/hash.h"
#include "perf/query_log_priv.h"
#include <math.h>

#define HASH_SEED UINT64_C(0x51a7e0f9d1c3b587)

const char *ak_query_type_name(enum ak_query_type type)
{
    static const char *const names[AK_QUERY_TYPE_COUNT] = {
        [AK_QUERY_SEARCH] = "SEARCH",   [AK_QUERY_SEARCH_BATCH] = "SEARCH_BATCH",
        [AK_QUERY_FETCH] = "FETCH",     [AK_QUERY_SCROLL] = "SCROLL",
        [AK_QUERY_COUNT] = "COUNT",     [AK_QUERY_UPSERT] = "UPSERT",
        [AK_QUERY_DELETE] = "DELETE",   [AK_QUERY_IMPORT] = "IMPORT",
        [AK_QUERY_EXPORT] = "EXPORT",   [AK_QUERY_SNAPSHOT] = "SNAPSHOT",
        [AK_QUERY_RESTORE] = "RESTORE",
    };
    return names[type];
}

const char *ak_query_index_name(enum ak_query_index index)
{
    static const char *const names[AK_QUERY_INDEX_COUNT] = {
        [AK_QUERY_HNSW] = "hnsw",   [AK_QUERY_HNSW_FILTERED] = "hnsw_filtered",
        [AK_QUERY_EXACT] = "exact", [AK_QUERY_EXACT_FILTERED] = "exact_filtered",
        [AK_QUERY_ID] = "id",       [AK_QUERY_COLUMNS] = "columns",
        [AK_QUERY_SCAN] = "scan",   [AK_QUERY_COUNTER] = "counter",
        [AK_QUERY_IMAGE] = "image", [AK_QUERY_REBUILD] = "rebuild",
    };
    return names[index];
}

/* The next power of two, or 0. */
static uint64_t step_of(uint64_t n)
{
    return n < 2 ? n : UINT64_C(1) << (64 - __builtin_clzll(n - 1));
}

/* Thousandths of the recall that the search goes by, at least one when there is such; else 0. */
static uint32_t recall_of(const struct ak_query_shape *shape)
{
    if (shape->ef || shape->exact || !(shape->recall > 0.0)) {
        return 0;
    }
    double thousandths = round(fmin(shape->recall, 1.0) * 1000);
    return thousandths < 1 ? 1 : (uint32_t)thousandths;
}

static uint64_t mix(uint64_t hash, uint64_t with)
{
    return ak_mix64(hash * 31 + with + HASH_SEED);
}

/* --- The number --- */

static uint64_t hash_condition(const struct ak_filter *filter)
{
    uint64_t hash = mix((uint64_t)filter->kind + 1, ak_hash64_str(filter->key));
    switch (filter->kind) {
    case AK_FILTER_MATCH:
        return mix(hash, step_of(filter->value_count));
    case AK_FILTER_RANGE:
        return mix(hash, (isinf(filter->low) ? 1u : 0u) | (isinf(filter->high) ? 2u : 0u) |
                             (filter->low_open ? 4u : 0u) | (filter->high_open ? 8u : 0u));
    case AK_FILTER_EXISTS:
        return mix(hash, filter->exists);
    case AK_FILTER_GROUP:
        break;
    }
    return hash;
}

static uint64_t hash_filter(const struct ak_filter *filter);

static uint64_t hash_list(const struct ak_filter **list, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += ak_mix64(hash_filter(list[i]));
    }
    return mix(sum, count);
}

/* As deep as a filter may be nested: AK_FILTER_DEPTH_MAX. */
static uint64_t hash_filter(const struct ak_filter *filter) // NOLINT(misc-no-recursion)
{
    if (filter->kind != AK_FILTER_GROUP) {
        return hash_condition(filter);
    }
    uint64_t hash = mix(1, hash_list(filter->must, filter->must_count));
    hash = mix(hash, hash_list(filter->should, filter->should_count));
    return mix(hash, hash_list(filter->must_not, filter->must_not_count));
}

uint64_t ak_query_shape_hash(const struct ak_query_shape *shape)
{
    uint64_t hash = mix(ak_hash64_str(shape->table), (uint64_t)shape->type);
    hash = mix(hash, step_of(shape->items));
    hash = mix(hash, step_of(shape->k));
    hash = mix(hash, shape->ef);
    hash = mix(hash, (shape->exact ? 1u : 0u) | (shape->has_threshold ? 2u : 0u));
    hash = mix(hash, shape->filter ? hash_filter(shape->filter) : 0);
    hash = recall_of(shape) ? mix(hash, recall_of(shape)) : hash;
    return hash ? hash : 1; /* 0 means an empty place in the table of known ones */
}

/* --- JSON --- */

static void put_name(struct ak_buf *out, const char *name)
{
    ak_buf_add_fmt(out, ",\"%s\":", name);
}

static void put_number(struct ak_buf *out, const char *name, uint64_t number)
{
    if (number) {
        put_name(out, name);
        ak_json_put_u64(out, number);
    }
}

static void put_range(struct ak_buf *out, const struct ak_filter *filter)
{
    bool has_low = !isinf(filter->low);
    ak_buf_add_str(out, AK_STR(",\"range\":["));
    if (has_low) {
        ak_buf_add_str(out, filter->low_open ? AK_STR("\"gt\"") : AK_STR("\"gte\""));
    }
    if (!isinf(filter->high)) {
        ak_buf_add_str(out, has_low ? AK_STR(",") : AK_STR(""));
        ak_buf_add_str(out, filter->high_open ? AK_STR("\"lt\"") : AK_STR("\"lte\""));
    }
    ak_buf_add_char(out, ']');
}

static void put_condition(struct ak_buf *out, const struct ak_filter *filter)
{
    ak_buf_add_str(out, AK_STR("{\"key\":"));
    ak_json_put_string(out, filter->key);
    if (filter->kind == AK_FILTER_MATCH) {
        put_name(out, "match");
        ak_json_put_u64(out, step_of(filter->value_count));
    } else if (filter->kind == AK_FILTER_RANGE) {
        put_range(out, filter);
    } else {
        ak_buf_add_str(out,
                       filter->exists ? AK_STR(",\"exists\":true") : AK_STR(",\"exists\":false"));
    }
    ak_buf_add_char(out, '}');
}

static void put_filter(struct ak_buf *out, const struct ak_filter *filter);

static void put_list(struct ak_buf *out, const char **comma, const char *name,
                     const struct ak_filter **list, size_t count)
{
    if (count == 0) {
        return;
    }
    ak_buf_add_fmt(out, "%s\"%s\":[", *comma, name);
    *comma = ",";
    for (size_t i = 0; i < count; i++) {
        ak_buf_add_str(out, i ? AK_STR(",") : AK_STR(""));
        put_filter(out, list[i]);
    }
    ak_buf_add_char(out, ']');
}

static void put_filter(struct ak_buf *out, // NOLINT(misc-no-recursion): see hash_filter()
                       const struct ak_filter *filter)
{
    const char *comma = "";
    if (filter->kind != AK_FILTER_GROUP) {
        put_condition(out, filter);
        return;
    }
    ak_buf_add_char(out, '{');
    put_list(out, &comma, "must", filter->must, filter->must_count);
    put_list(out, &comma, "should", filter->should, filter->should_count);
    put_list(out, &comma, "must_not", filter->must_not, filter->must_not_count);
    ak_buf_add_char(out, '}');
}

void ak_query_shape_put(const struct ak_query_shape *shape, uint64_t hash, struct ak_buf *out)
{
    ak_buf_add_fmt(out, "{\"query_hash\":\"%016llx\",\"table\":", (unsigned long long)hash);
    ak_json_put_string(out, shape->table);
    ak_buf_add_fmt(out, ",\"query_type\":\"%s\"", ak_query_type_name(shape->type));
    put_number(out, "items", step_of(shape->items));
    put_number(out, "k", step_of(shape->k));
    put_number(out, "ef", shape->ef);
    if (recall_of(shape)) {
        ak_buf_add_fmt(out, ",\"recall\":%g", (double)recall_of(shape) / 1000);
    }
    if (shape->exact) {
        ak_buf_add_str(out, AK_STR(",\"exact\":true"));
    }
    if (shape->has_threshold) {
        ak_buf_add_str(out, AK_STR(",\"threshold\":true"));
    }
    if (shape->filter) {
        put_name(out, "filter");
        put_filter(out, shape->filter);
    }
    ak_buf_add_str(out, AK_STR("}\n"));
}
