/* json_read.c — the JSON form, read front to back through a window: an object of any length in
 * bounded memory.
 *
 * A scanner that knows strings, escapes and nesting finds where a value ends; the strict reader of
 * base/json.h then takes the value whole. So the scanner may be lenient: what it lets pass is
 * refused there. Fields of the outer object may come in any order, unknown ones are skipped; an
 * outer array of documents is read too.
 */
#include "base/json.h"
#include "base/mem.h"
#include "snapshot/snapshot_priv.h"
#include <string.h>

#define VALUE_MAX ((size_t)AK_NDJSON_LINE_MAX) /* bytes of one document */
#define WINDOW_MAX (VALUE_MAX + 2 * AK_SNAPSHOT_STEP)
#define BATCH_BYTES ((size_t)2 << 20) /* of vectors handed over at once */

struct json_reader {
    const struct ak_snapshot_bytes *bytes;
    struct ak_snapshot_reader *rows;
    uint32_t dimension;
    struct ak_sha256 hash;
    char *window;
    size_t at;             /* next byte to look at */
    size_t len;            /* bytes in the window */
    uint64_t next;         /* place in the object of the byte after the window */
    struct ak_arena arena; /* strings of the batch */
    float *vectors;
    struct ak_document *docs;
    size_t batch_max;
    size_t batch;
    uint64_t content; /* as the object says */
    bool has_content;
    bool has_documents;
    bool no_memory;
};

static uint64_t place(const struct json_reader *r)
{
    return r->next - (r->len - r->at);
}

static enum ak_rc corrupt(const struct json_reader *r, const char *what, struct ak_err *err)
{
    return ak_fail(err, AK_CORRUPT, "object '%.*s': at byte %llu: %s", AK_STR_ARG(r->bytes->key),
                   (unsigned long long)place(r), what);
}

/* --- The window --- */

/* More bytes behind those in the window, of which [at, len) stay. AK_CORRUPT at the end. */
static enum ak_rc refill(struct json_reader *r, struct ak_err *err)
{
    uint64_t left = r->bytes->len - r->next;
    if (left == 0) {
        r->at = r->len;
        return corrupt(r, "the text ends too early", err);
    }
    memmove(r->window, r->window + r->at, r->len - r->at);
    r->len -= r->at;
    r->at = 0;
    size_t step = left < AK_SNAPSHOT_STEP ? (size_t)left : AK_SNAPSHOT_STEP;
    if (step > WINDOW_MAX - r->len) {
        return corrupt(r, "a value is longer than any document can be", err);
    }
    enum ak_rc rc = ak_snapshot_bytes_read(r->bytes, r->next, r->window + r->len, step, err);
    if (rc == AK_OK) {
        ak_sha256_update(&r->hash, r->window + r->len, step);
        r->len += step;
        r->next += step;
    }
    return rc;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* The next byte that is not blank, which stays. */
static enum ak_rc peek(struct json_reader *r, char *c, struct ak_err *err)
{
    for (;;) {
        while (r->at < r->len && is_blank(r->window[r->at])) {
            r->at++;
        }
        if (r->at < r->len) {
            *c = r->window[r->at];
            return AK_OK;
        }
        enum ak_rc rc = refill(r, err);
        if (rc != AK_OK) {
            return rc;
        }
    }
}

static enum ak_rc expect(struct json_reader *r, char want, const char *what, struct ak_err *err)
{
    char c = 0;
    enum ak_rc rc = peek(r, &c, err);
    if (rc == AK_OK && c != want) {
        rc = corrupt(r, what, err);
    }
    r->at += rc == AK_OK;
    return rc;
}

struct scan {
    unsigned depth;
    bool in_string;
    bool escaped;
};

/* One byte of a value further; true: the value ended with this byte (*used) or before it. */
static bool scan_ends(struct scan *scan, char c, bool *used)
{
    *used = true;
    if (scan->in_string) {
        if (scan->escaped) {
            scan->escaped = false;
        } else if (c == '\\') {
            scan->escaped = true;
        } else if (c == '"') {
            scan->in_string = false;
            return scan->depth == 0;
        }
        return false;
    }
    if (c == '"') {
        scan->in_string = true;
    } else if (c == '{' || c == '[') {
        scan->depth++;
    } else if (c == '}' || c == ']') {
        *used = scan->depth > 0;
        return scan->depth == 0 || --scan->depth == 0;
    } else if (scan->depth == 0 && (c == ',' || c == ':' || is_blank(c))) {
        *used = false;
        return true;
    }
    return false;
}

/* The whole next value; a view into the window until the next call. */
static enum ak_rc take_value(struct json_reader *r, struct ak_str *value, struct ak_err *err)
{
    struct scan scan = {0};
    char c = 0;
    bool used = false;
    size_t len = 0;
    enum ak_rc rc = peek(r, &c, err);
    while (rc == AK_OK) {
        if (r->at + len == r->len) {
            rc = refill(r, err);
        } else if (len > VALUE_MAX) {
            rc = corrupt(r, "a value is longer than any document can be", err);
        } else if (scan_ends(&scan, r->window[r->at + len], &used)) {
            len += used;
            break;
        } else {
            len++;
        }
    }
    if (rc == AK_OK) {
        *value = (struct ak_str){r->window + r->at, len};
        r->at += len;
    }
    return rc;
}

/* --- Documents --- */

static enum ak_rc flush(struct json_reader *r, struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    if (r->batch) {
        rc = ak_snapshot_reader_rows(r->rows, r->docs, r->batch, err);
    }
    r->batch = 0;
    ak_arena_reset(&r->arena);
    return rc;
}

static void read_id(struct ak_json *in, struct ak_uuid *id)
{
    struct ak_str text;
    if (ak_json_string(in, &text) && !ak_uuid_parse(text, id)) {
        ak_json_fail(in, "'document_id' is not a UUID");
    }
}

static void read_external_id(struct json_reader *r, struct ak_json *in, struct ak_str *out)
{
    struct ak_str text;
    if (ak_json_null(in) || !ak_json_string(in, &text)) {
        return;
    }
    if (text.len > AK_EXTERNAL_ID_MAX) {
        ak_json_fail(in, "'external_id' has %zu bytes, at most %d are possible", text.len,
                     AK_EXTERNAL_ID_MAX);
        return;
    }
    *out = ak_arena_str(&r->arena, text);
    r->no_memory |= text.len > 0 && !out->p;
}

static void read_vector(struct json_reader *r, struct ak_json *in, float *vector)
{
    size_t count = 0;
    if (ak_json_f32_array(in, vector, r->dimension, &count) && count != r->dimension) {
        ak_json_fail(in, "'vector' has %zu dimensions, the collection has %u", count, r->dimension);
    }
}

static void read_time(struct ak_json *in, int64_t *us)
{
    struct ak_str text;
    if (!ak_json_null(in) && ak_json_string(in, &text) && !ak_time_parse(text, us)) {
        ak_json_fail(in, "'inserted_at' is not a time of RFC 3339");
    }
}

/* The fields of one document; *metadata is its raw text. */
static void read_fields(struct json_reader *r, struct ak_json *in, struct ak_document *doc,
                        float *vector, struct ak_str *metadata)
{
    struct ak_str key;
    ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        if (ak_str_eq(key, AK_STR("document_id"))) {
            read_id(in, &doc->id);
        } else if (ak_str_eq(key, AK_STR("external_id"))) {
            read_external_id(r, in, &doc->external_id);
        } else if (ak_str_eq(key, AK_STR("vector"))) {
            read_vector(r, in, vector);
            doc->vector = vector;
        } else if (ak_str_eq(key, AK_STR("metadata"))) {
            ak_json_skip(in, metadata);
        } else if (ak_str_eq(key, AK_STR("inserted_at"))) {
            read_time(in, &doc->inserted_us);
        } else {
            ak_json_skip(in, NULL);
        }
    }
}

static enum ak_rc read_document(struct json_reader *r, struct ak_str text, struct ak_err *err)
{
    struct ak_json in;
    struct ak_document doc = {.vector = NULL};
    struct ak_str metadata = AK_STR_NONE;
    uint64_t row = r->rows->rows + r->batch;
    ak_json_init(&in, text);
    read_fields(r, &in, &doc, r->vectors + r->batch * r->dimension, &metadata);
    enum ak_rc rc = ak_json_finish(&in, err);
    if (rc == AK_OK && r->no_memory) {
        rc = ak_fail(err, AK_NOMEM, "no memory for its strings");
    }
    if (rc == AK_OK && metadata.len) {
        rc = ak_metadata_read(metadata, &r->arena, &doc.metadata, err);
    }
    ak_json_release(&in);
    if (rc == AK_OK && !doc.vector) {
        rc = ak_fail(err, AK_CORRUPT, "there is no 'vector'");
    } else if (rc == AK_OK && ak_uuid_is_nil(&doc.id)) {
        rc = ak_fail(err, AK_CORRUPT, "there is no 'document_id'");
    }
    if (rc != AK_OK) {
        rc = rc == AK_NOMEM ? rc : AK_CORRUPT;
        return ak_wrap(err, rc, "object '%.*s': document %llu", AK_STR_ARG(r->bytes->key),
                       (unsigned long long)row);
    }
    r->docs[r->batch++] = doc;
    return r->batch == r->batch_max ? flush(r, err) : AK_OK;
}

static enum ak_rc read_documents(struct json_reader *r, struct ak_err *err)
{
    char c = 0;
    if (r->has_documents) {
        return corrupt(r, "'documents' is there twice", err);
    }
    r->has_documents = true;
    enum ak_rc rc = expect(r, '[', "'documents' must be an array", err);
    if (rc == AK_OK) {
        rc = peek(r, &c, err);
    }
    while (rc == AK_OK && c != ']') {
        struct ak_str text;
        rc = take_value(r, &text, err);
        if (rc == AK_OK) {
            rc = read_document(r, text, err);
        }
        if (rc == AK_OK) {
            rc = peek(r, &c, err);
        }
        if (rc == AK_OK && c == ',') {
            r->at++;
            rc = peek(r, &c, err);
            if (rc == AK_OK && c == ']') {
                rc = corrupt(r, "a document must follow the comma", err);
            }
        } else if (rc == AK_OK && c != ']') {
            rc = corrupt(r, "expected ',' or ']' after a document", err);
        }
    }
    r->at += rc == AK_OK;
    return rc == AK_OK ? flush(r, err) : rc;
}

/* --- The outer object --- */

static enum ak_rc read_content(struct json_reader *r, struct ak_str value, struct ak_err *err)
{
    uint64_t content = 0;
    bool good = value.len == 18 && value.p[0] == '"' && value.p[17] == '"';
    for (size_t i = 1; good && i < 17; i++) {
        char c = value.p[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        good = digit >= 0;
        content = content << 4 | (uint64_t)(good ? digit : 0);
    }
    if (!good) {
        return corrupt(r, "'content_xxh64' is not 16 hexadecimal digits", err);
    }
    r->content = content;
    r->has_content = true;
    return AK_OK;
}

/* Any other field: must be JSON, and have the same dimension where it says one. */
static enum ak_rc read_other(struct json_reader *r, struct ak_str key, struct ak_err *err)
{
    struct ak_str value;
    struct ak_json in;
    uint64_t number = 0;
    bool is_dimension = ak_str_eq(key, AK_STR("\"dimension\""));
    bool is_content = ak_str_eq(key, AK_STR("\"content_xxh64\""));
    enum ak_rc rc = take_value(r, &value, err);
    if (rc != AK_OK) {
        return rc;
    }
    ak_json_init(&in, value);
    if (is_dimension) {
        ak_json_u64(&in, r->dimension, r->dimension, &number);
    } else {
        ak_json_skip(&in, NULL);
    }
    rc = ak_json_finish(&in, err);
    ak_json_release(&in);
    if (rc != AK_OK) {
        return ak_wrap(err, AK_CORRUPT, "object '%.*s': %s", AK_STR_ARG(r->bytes->key),
                       is_dimension ? "field 'dimension'"
                                    : "a field before or after the documents");
    }
    return is_content ? read_content(r, value, err) : AK_OK;
}

static enum ak_rc read_field(struct json_reader *r, struct ak_err *err)
{
    struct ak_str text;
    char key[32]; /* longer ones are none of ours */
    enum ak_rc rc = take_value(r, &text, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (text.len < 2 || text.p[0] != '"') {
        return corrupt(r, "expected a field's name", err);
    }
    size_t len = text.len < sizeof key ? text.len : sizeof key;
    memcpy(key, text.p, len);
    rc = expect(r, ':', "expected ':' after a field's name", err);
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_str name = {key, len};
    return ak_str_eq(name, AK_STR("\"documents\"")) ? read_documents(r, err)
                                                    : read_other(r, name, err);
}

static enum ak_rc read_object(struct json_reader *r, struct ak_err *err)
{
    char c = 0;
    enum ak_rc rc = expect(r, '{', "expected an object or an array of documents", err);
    if (rc == AK_OK) {
        rc = peek(r, &c, err);
    }
    while (rc == AK_OK && c != '}') {
        rc = read_field(r, err);
        if (rc == AK_OK) {
            rc = peek(r, &c, err);
        }
        if (rc == AK_OK && c == ',') {
            r->at++;
            rc = peek(r, &c, err);
            if (rc == AK_OK && c == '}') {
                rc = corrupt(r, "a field must follow the comma", err);
            }
        } else if (rc == AK_OK && c != '}') {
            rc = corrupt(r, "expected ',' or '}' after a field", err);
        }
    }
    r->at += rc == AK_OK;
    if (rc == AK_OK && !r->has_documents) {
        rc = corrupt(r, "there is no field 'documents'", err);
    }
    return rc;
}

/* Nothing but white space may follow, and all of it goes into the hash. */
static enum ak_rc read_rest(struct json_reader *r, struct ak_err *err)
{
    for (;;) {
        for (; r->at < r->len; r->at++) {
            if (!is_blank(r->window[r->at])) {
                return corrupt(r, "more text follows the end", err);
            }
        }
        if (r->next == r->bytes->len) {
            return AK_OK;
        }
        enum ak_rc rc = refill(r, err);
        if (rc != AK_OK) {
            return rc;
        }
    }
}

static enum ak_rc read_all(struct json_reader *r, struct ak_err *err)
{
    char c = 0;
    enum ak_rc rc = peek(r, &c, err);
    if (rc == AK_OK) {
        rc = c == '[' ? read_documents(r, err) : read_object(r, err);
    }
    if (rc == AK_OK) {
        rc = read_rest(r, err);
    }
    if (rc == AK_OK && r->has_content && r->content != r->rows->content) {
        rc = ak_fail(err, AK_CORRUPT,
                     "object '%.*s': the documents' content hash is %016llx, it says %016llx",
                     AK_STR_ARG(r->bytes->key), (unsigned long long)r->rows->content,
                     (unsigned long long)r->content);
    }
    return rc;
}

enum ak_rc ak_snapshot_json_read(const struct ak_snapshot_bytes *bytes,
                                 struct ak_snapshot_reader *reader, uint8_t digest[32],
                                 struct ak_err *err)
{
    struct json_reader r = {.bytes = bytes, .rows = reader};
    r.dimension = reader->meta->collection.dimension;
    r.batch_max = BATCH_BYTES / (r.dimension * sizeof(float));
    r.batch_max = r.batch_max > AK_SNAPSHOT_ROWS_STEP ? AK_SNAPSHOT_ROWS_STEP : r.batch_max;
    r.window = ak_try_alloc(WINDOW_MAX);
    r.vectors = ak_try_alloc_aligned(AK_CACHE_LINE, r.batch_max * r.dimension * sizeof(float));
    r.docs = ak_try_alloc(r.batch_max * sizeof *r.docs);
    ak_arena_init(&r.arena, 0);
    ak_sha256_init(&r.hash);
    enum ak_rc rc =
        r.window && r.vectors && r.docs
            ? read_all(&r, err)
            : ak_fail(err, AK_NOMEM, "no memory to read '%.*s'", AK_STR_ARG(bytes->key));
    if (rc == AK_OK && digest) {
        ak_sha256_final(&r.hash, digest);
    }
    ak_sha256_release(&r.hash);
    ak_arena_release(&r.arena);
    ak_free(r.window);
    ak_free(r.vectors);
    ak_free(r.docs);
    return rc;
}
