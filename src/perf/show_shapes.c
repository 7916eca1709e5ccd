/* show_shapes.c — query_shapes.ndjson read back: what the hashes of the query log mean. */
#include "base/json.h"
#include "base/mem.h"
#include "perf/query_log_priv.h"
#include "perf/show.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHAPES_MAX 100000u

/* --- Keys of a filter, in the order of their first appearance --- */

struct keys {
    struct ak_str list[AK_PERF_SHAPE_KEYS_MAX];
    size_t count;
    struct ak_arena *arena;
};

static void add_key(struct keys *keys, struct ak_str key)
{
    for (size_t i = 0; i < keys->count; i++) {
        if (ak_str_eq(keys->list[i], key)) {
            return;
        }
    }
    struct ak_str kept = ak_arena_str(keys->arena, key);
    if (kept.p && keys->count < AK_PERF_SHAPE_KEYS_MAX) {
        keys->list[keys->count++] = kept;
    }
}

/* As deep as the reader goes: AK_JSON_DEPTH_MAX. */
static void read_keys(struct ak_json *in, struct keys *keys) // NOLINT(misc-no-recursion)
{
    struct ak_str name;
    struct ak_str key;
    ak_json_object(in);
    while (ak_json_next_key(in, &name)) {
        if (ak_str_eq(name, AK_STR("key"))) {
            if (ak_json_string(in, &key)) {
                add_key(keys, key);
            }
        } else if (ak_str_eq(name, AK_STR("must")) || ak_str_eq(name, AK_STR("should")) ||
                   ak_str_eq(name, AK_STR("must_not"))) {
            ak_json_array(in);
            while (ak_json_next_element(in)) {
                read_keys(in, keys);
            }
        } else {
            (void)ak_json_skip(in, NULL);
        }
    }
}

static bool read_filter(struct ak_perf_shapes *shapes, struct ak_perf_shape *shape)
{
    struct ak_json in;
    struct keys keys = {.arena = &shapes->arena};
    ak_json_init(&in, shape->filter);
    read_keys(&in, &keys);
    bool ok = ak_json_finish(&in, NULL) == AK_OK;
    ak_json_release(&in);
    struct ak_str *list = ak_arena_alloc(&shapes->arena, (keys.count + 1) * sizeof *list);
    if (!ok || !list) {
        return false;
    }
    memcpy(list, keys.list, keys.count * sizeof *list);
    shape->keys = list;
    shape->key_count = keys.count;
    return true;
}

/* --- Lines --- */

static void read_member(struct ak_json *in, struct ak_str key, struct ak_perf_shape *shape)
{
    if (ak_str_eq(key, AK_STR("query_hash"))) {
        (void)ak_json_string(in, &shape->hash);
    } else if (ak_str_eq(key, AK_STR("table"))) {
        (void)ak_json_string(in, &shape->table);
    } else if (ak_str_eq(key, AK_STR("query_type"))) {
        (void)ak_json_string(in, &shape->type);
    } else if (ak_str_eq(key, AK_STR("items"))) {
        (void)ak_json_u64(in, 0, UINT64_MAX, &shape->items);
    } else if (ak_str_eq(key, AK_STR("k"))) {
        (void)ak_json_u64(in, 0, UINT32_MAX, &shape->k);
    } else if (ak_str_eq(key, AK_STR("ef"))) {
        (void)ak_json_u64(in, 0, UINT32_MAX, &shape->ef);
    } else if (ak_str_eq(key, AK_STR("recall"))) {
        (void)ak_json_double(in, &shape->recall);
    } else if (ak_str_eq(key, AK_STR("exact"))) {
        (void)ak_json_bool(in, &shape->exact);
    } else if (ak_str_eq(key, AK_STR("threshold"))) {
        (void)ak_json_bool(in, &shape->has_threshold);
    } else if (ak_str_eq(key, AK_STR("filter"))) {
        shape->has_filter = ak_json_skip(in, &shape->filter);
    } else {
        (void)ak_json_skip(in, NULL);
    }
}

/* The strings are copied: the reader decodes escapes into memory of its own. */
static bool read_line(struct ak_perf_shapes *shapes, struct ak_str line,
                      struct ak_perf_shape *shape)
{
    struct ak_json in;
    struct ak_str key;
    *shape = (struct ak_perf_shape){.hash = AK_STR("")};
    ak_json_init(&in, line);
    ak_json_object(&in);
    while (ak_json_next_key(&in, &key)) {
        read_member(&in, key, shape);
    }
    bool ok = ak_json_finish(&in, NULL) == AK_OK && shape->hash.len;
    if (ok) {
        shape->hash = ak_arena_str(&shapes->arena, shape->hash);
        shape->table = ak_arena_str(&shapes->arena, shape->table);
        shape->type = ak_arena_str(&shapes->arena, shape->type);
        ok = shape->hash.p && shape->table.p && shape->type.p;
    }
    ak_json_release(&in);
    return ok && (!shape->has_filter || read_filter(shapes, shape));
}

static int by_hash(const void *a, const void *b)
{
    const struct ak_perf_shape *x = a;
    const struct ak_perf_shape *y = b;
    return ak_str_cmp(x->hash, y->hash);
}

enum ak_rc ak_perf_shapes_load(struct ak_perf_shapes *shapes, struct ak_fs *fs, const char *dir,
                               struct ak_err *err)
{
    char path[4096];
    struct ak_str line;
    size_t cap = 0;
    memset(shapes, 0, sizeof *shapes);
    ak_arena_init(&shapes->arena, 0);
    ak_buf_init(&shapes->text, (size_t)AK_QUERY_SHAPES_MAX * 2);
    int len = snprintf(path, sizeof path, "%s/%s", dir, AK_QUERY_SHAPES_FILE);
    if (len >= (int)sizeof path) {
        return ak_fail(err, AK_INVALID, "the path of the folder is too long");
    }
    enum ak_rc rc = ak_fs_read_all(fs, path, (size_t)AK_QUERY_SHAPES_MAX * 2, &shapes->text, err);
    struct ak_str rest = ak_buf_str(&shapes->text);
    while (rc == AK_OK && rest.len && shapes->count < SHAPES_MAX) {
        (void)ak_str_split(rest, '\n', &line, &rest);
        if (shapes->count == cap) {
            cap = cap ? cap * 2 : 64;
            shapes->list = ak_realloc(shapes->list, cap * sizeof *shapes->list);
        }
        shapes->count += read_line(shapes, line, &shapes->list[shapes->count]);
    }
    if (shapes->count) {
        qsort(shapes->list, shapes->count, sizeof *shapes->list, by_hash);
    }
    return rc == AK_NOT_FOUND ? AK_OK : rc;
}

void ak_perf_shapes_release(struct ak_perf_shapes *shapes)
{
    ak_free(shapes->list);
    ak_buf_release(&shapes->text);
    ak_arena_release(&shapes->arena);
    memset(shapes, 0, sizeof *shapes);
}

const struct ak_perf_shape *ak_perf_shapes_find(const struct ak_perf_shapes *shapes,
                                                struct ak_str hash)
{
    const struct ak_perf_shape key = {.hash = hash};
    return shapes->count ? bsearch(&key, shapes->list, shapes->count, sizeof *shapes->list, by_hash)
                         : NULL;
}

void ak_perf_shape_put(const struct ak_perf_shape *shape, struct ak_buf *out)
{
    const char *space = "";
    if (shape->items) {
        ak_buf_add_fmt(out, "%llu at a time", (unsigned long long)shape->items);
        space = " ";
    }
    if (shape->k) {
        ak_buf_add_fmt(out, "%sk≤%llu", space, (unsigned long long)shape->k);
        space = " ";
    }
    if (shape->ef) {
        ak_buf_add_fmt(out, "%sef=%llu", space, (unsigned long long)shape->ef);
        space = " ";
    }
    if (shape->recall > 0) {
        ak_buf_add_fmt(out, "%srecall=%g", space, shape->recall);
        space = " ";
    }
    if (shape->exact) {
        ak_buf_add_fmt(out, "%sexact", space);
        space = " ";
    }
    if (shape->has_filter) {
        ak_buf_add_fmt(out, "%sfilter ", space);
        for (size_t i = 0; i < shape->key_count; i++) {
            ak_buf_add_str(out, i ? AK_STR(", ") : AK_STR(""));
            ak_buf_add_str(out, shape->keys[i]);
        }
    }
}
