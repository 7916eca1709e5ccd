/* read.c — pieces that several bodies have: vectors, documents, filters, what to include.
 *
 * Views into the body stay valid until the reply; what the reader had to decode is copied into the
 * arena, so that it outlives the reader.
 */
#include "rest/rest_priv.h"
#include <string.h>

#define VECTOR_ALIGN 64
#define SHOWN_MAX 48

void ak_read_fail(struct ak_reader *r, const char *fmt, ...)
{
    struct ak_err why;
    va_list ap;
    va_start(ap, fmt);
    (void)ak_fail_v(&why, AK_INVALID, fmt, ap);
    va_end(ap);
    if (r->row >= 0) {
        ak_json_fail(r->in, "%s[%lld]: %s", r->list, (long long)r->row, why.text);
    } else {
        ak_json_fail(r->in, "%s", why.text);
    }
}

static void fail_memory(struct ak_reader *r)
{
    if (!ak_json_failed(r->in)) {
        (void)ak_fail(&r->in->failure, AK_NOMEM, "no memory for the body");
    }
}

/* --- Vectors --- */

/* How many numbers the array that begins `text` has; false when it is no array of numbers. */
static bool count_numbers(struct ak_str text, size_t *count)
{
    struct ak_json probe;
    double number = 0;
    size_t n = 0;
    ak_json_init(&probe, text);
    (void)ak_json_array(&probe);
    while (ak_json_next_element(&probe)) {
        (void)ak_json_double(&probe, &number);
        n++;
    }
    bool is_array = !ak_json_failed(&probe);
    ak_json_release(&probe);
    *count = n;
    return is_array;
}

static void fail_dimension(struct ak_reader *r, size_t count)
{
    ak_read_fail(r, "vector has %zu numbers: collection '%.*s' has dimension %u", count,
                 AK_STR_ARG(ak_str_sub(r->info->name, 0, SHOWN_MAX)), r->info->dimension);
}

const float *ak_read_vector(struct ak_reader *r)
{
    size_t dimension = r->info->dimension;
    size_t count = 0;
    size_t bytes = (dimension * sizeof(float) + VECTOR_ALIGN - 1) & ~(size_t)(VECTOR_ALIGN - 1);
    struct ak_json *in = r->in;
    if (ak_json_failed(in)) {
        return NULL;
    }
    float *vector = ak_arena_alloc_aligned(r->arena, VECTOR_ALIGN, bytes);
    if (!vector) {
        fail_memory(r);
        return NULL;
    }
    const char *from = in->at;
    if (!ak_json_f32_array(in, vector, dimension, &count)) {
        /* The array's own message cannot know how many there should be. */
        if (count_numbers((struct ak_str){from, (size_t)(in->end - from)}, &count) &&
            count > dimension) {
            ak_err_clear(&in->failure);
            fail_dimension(r, count);
        }
        return NULL;
    }
    if (count != dimension) {
        fail_dimension(r, count);
        return NULL;
    }
    return vector;
}

/* --- Strings and ids --- */

bool ak_read_string(struct ak_reader *r, struct ak_str *out)
{
    struct ak_str s;
    if (!ak_json_string(r->in, &s)) {
        return false;
    }
    bool is_in_body =
        (uintptr_t)s.p >= (uintptr_t)r->in->begin && (uintptr_t)s.p < (uintptr_t)r->in->end;
    if (!is_in_body && s.len) {
        s = ak_arena_str(r->arena, s);
        if (!s.p) {
            fail_memory(r);
            return false;
        }
    }
    *out = s;
    return true;
}

bool ak_read_uuid(struct ak_reader *r, const char *field, struct ak_uuid *id)
{
    struct ak_str text;
    if (!ak_json_string(r->in, &text)) {
        return false;
    }
    if (!ak_uuid_parse(text, id)) {
        ak_read_fail(r, "%s '%.*s' is not a UUID (like 0198c2b4-7e1f-7a33-9d50-5f1c2a6b8e94)",
                     field, AK_STR_ARG(ak_str_sub(text, 0, SHOWN_MAX)));
        return false;
    }
    if (ak_uuid_is_nil(id)) {
        ak_read_fail(r, "%s is the nil UUID, which stands for no id: leave it out to have one made",
                     field);
        return false;
    }
    return true;
}

/* --- Documents --- */

static bool has_blanks(struct ak_str s)
{
    return memchr(s.p, ' ', s.len) || memchr(s.p, '\n', s.len) || memchr(s.p, '\t', s.len) ||
           memchr(s.p, '\r', s.len);
}

/* Stored without the white space between tokens; mostly there is none and nothing is copied. */
static struct ak_str read_metadata(struct ak_reader *r)
{
    struct ak_str raw = AK_STR_NONE;
    if (ak_json_peek(r->in) != AK_JSON_OBJECT) {
        ak_read_fail(r, "metadata must be a JSON object");
        return AK_STR_NONE;
    }
    if (!ak_json_skip(r->in, &raw) || !has_blanks(raw)) {
        return raw;
    }
    struct ak_buf compact = {.cap = raw.len, .max = raw.len};
    compact.p = ak_arena_alloc(r->arena, raw.len);
    if (!compact.p) {
        fail_memory(r);
        return AK_STR_NONE;
    }
    ak_json_put_compact(&compact, raw); /* never longer than `raw`, so it stays in the arena */
    return ak_buf_str(&compact);
}

bool ak_read_document_field(struct ak_reader *r, struct ak_str key, struct ak_document *doc)
{
    struct ak_json *in = r->in;
    if (ak_str_eq(key, AK_STR("vector"))) {
        doc->vector = ak_read_vector(r);
    } else if (ak_str_eq(key, AK_STR("id"))) {
        (void)(ak_json_null(in) || ak_read_uuid(r, "id", &doc->id));
    } else if (ak_str_eq(key, AK_STR("external_id"))) {
        if (!ak_json_null(in) && ak_read_string(r, &doc->external_id) && !doc->external_id.len) {
            ak_read_fail(r, "external_id is empty: leave it out");
        }
    } else if (ak_str_eq(key, AK_STR("metadata"))) {
        doc->metadata = ak_json_null(in) ? AK_STR_NONE : read_metadata(r);
    } else {
        return false;
    }
    return true;
}

void ak_read_document_end(struct ak_reader *r, const struct ak_document *doc)
{
    if (!ak_json_failed(r->in) && !doc->vector) {
        ak_read_fail(r, "'vector' is missing");
    }
}

void ak_read_document(struct ak_reader *r, struct ak_document *doc)
{
    struct ak_str key;
    *doc = (struct ak_document){0};
    if (!ak_json_object(r->in)) {
        return;
    }
    while (ak_json_next_key(r->in, &key)) {
        if (!ak_read_document_field(r, key, doc)) {
            ak_json_unknown_key(r->in, key, AK_DOCUMENT_FIELDS);
        }
    }
    ak_read_document_end(r, doc);
}

/* --- What searches and scrolls share --- */

bool ak_read_include(struct ak_reader *r, unsigned *include)
{
    struct ak_str name;
    unsigned bits = 0;
    if (!ak_json_array(r->in)) {
        return false;
    }
    while (ak_json_next_element(r->in) && ak_json_string(r->in, &name)) {
        if (ak_str_eq(name, AK_STR("external_id"))) {
            bits |= AK_INCLUDE_EXTERNAL_ID;
        } else if (ak_str_eq(name, AK_STR("metadata"))) {
            bits |= AK_INCLUDE_METADATA;
        } else if (ak_str_eq(name, AK_STR("vector"))) {
            bits |= AK_INCLUDE_VECTOR;
        } else {
            ak_read_fail(r, "include takes external_id, metadata and vector, not '%.*s'",
                         AK_STR_ARG(ak_str_sub(name, 0, SHOWN_MAX)));
        }
    }
    *include = bits;
    return !ak_json_failed(r->in);
}

const struct ak_filter *ak_read_filter(struct ak_reader *r)
{
    return ak_json_null(r->in) ? NULL : ak_filter_read(r->in, r->arena);
}

bool ak_call_arg_uuid(struct ak_call *call, size_t at, struct ak_uuid *id)
{
    struct ak_str text = call->args[at];
    if (ak_uuid_parse(text, id)) {
        return true;
    }
    (void)ak_fail(&call->err, AK_INVALID, "the id in the path, '%.*s', is not a UUID",
                  AK_STR_ARG(ak_str_sub(text, 0, SHOWN_MAX)));
    ak_reply_error(call, AK_INVALID, call->err.text);
    return false;
}
