/* rows.c — documents for an import. */
#include "cli/rows.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/npy.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define NPY_STEP_BYTES ((size_t)1 << 20)
#define FIELDS "id, external_id, vector, metadata"

struct ak_rows {
    struct ak_rows_options options;
    struct ak_npy npy;     /* file NULL: the vectors are in the lines */
    struct ak_lines lines; /* fd -1: a .npy without documents */
    bool has_lines;
    bool has_npy;
    bool peeked; /* `line` is read and not given yet */
    bool peeked_end;
    struct ak_str line;
    struct ak_json in; /* of the row given last: its strings may be in there */
    bool in_open;
    uint64_t number;    /* rows given */
    uint32_t dimension; /* 0: not known yet */
    float *vectors;     /* .npy: rows [vectors_first, + vectors_count); NDJSON: one */
    uint64_t vectors_first;
    uint64_t vectors_count;
    char place[512];
};

struct ak_uuid ak_rows_id_of(struct ak_str external_id)
{
    uint8_t digest[32];
    struct ak_uuid id;
    ak_sha256(external_id.p, external_id.len, digest);
    memcpy(id.b, digest, sizeof id.b);
    id.b[6] = (uint8_t)((id.b[6] & 0x0F) | 0x80); /* version 8 */
    id.b[8] = (uint8_t)((id.b[8] & 0x3F) | 0x80); /* the variant of RFC 9562 */
    return id;
}

static enum ak_rc count_lines(const char *path, uint64_t *count, struct ak_err *err)
{
    struct ak_lines lines;
    enum ak_rc rc = ak_lines_open(&lines, path, err);
    if (rc != AK_OK) {
        return rc;
    }
    bool end = false;
    uint64_t n = 0;
    while (rc == AK_OK && !end) {
        struct ak_str line;
        rc = ak_lines_next(&lines, &line, &end, err);
        n += rc == AK_OK && !end;
    }
    ak_lines_close(&lines);
    *count = n;
    return rc;
}

static enum ak_rc open_npy(struct ak_rows *rows, struct ak_err *err)
{
    const struct ak_rows_options *options = &rows->options;
    enum ak_rc rc = ak_npy_open(ak_fs_posix(), options->path, &rows->npy, err);
    if (rc != AK_OK) {
        return rc;
    }
    rows->has_npy = true;
    rows->dimension = rows->npy.dimension;
    if (rows->npy.type == AK_NPY_I32) {
        return ak_fail(err, AK_INVALID, "%s holds integers; vectors are float32 or float16",
                       options->path);
    }
    if (options->documents) {
        uint64_t count;
        rc = count_lines(options->documents, &count, err);
        if (rc == AK_OK && count != rows->npy.rows) {
            rc = ak_fail(err, AK_INVALID,
                         "%s has %" PRIu64 " documents and %s has %" PRIu64
                         " vectors: they must be as many",
                         options->documents, count, options->path, rows->npy.rows);
        }
    }
    return rc;
}

enum ak_rc ak_rows_open(const struct ak_rows_options *options, struct ak_rows **rows,
                        struct ak_err *err)
{
    bool is_npy = ak_str_has_suffix(ak_str_of(options->path), AK_STR(".npy"));
    if (!is_npy && options->documents) {
        return ak_fail(err, AK_INVALID,
                       "--documents goes with a .npy file; the lines of %s hold their vectors",
                       options->path);
    }
    if (options->documents && strcmp(options->documents, "-") == 0) {
        return ak_fail(err, AK_INVALID, "--documents must be a file: its lines are counted first");
    }
    struct ak_rows *made = ak_zalloc(sizeof *made);
    made->options = *options;
    made->lines.fd = -1;
    enum ak_rc rc = is_npy ? open_npy(made, err) : AK_OK;
    const char *lines = is_npy ? options->documents : options->path;
    if (rc == AK_OK && lines) {
        rc = ak_lines_open(&made->lines, lines, err);
        made->has_lines = rc == AK_OK;
    }
    if (rc != AK_OK) {
        ak_rows_close(made);
        return rc;
    }
    *rows = made;
    return AK_OK;
}

void ak_rows_close(struct ak_rows *rows)
{
    if (!rows) {
        return;
    }
    if (rows->in_open) {
        ak_json_release(&rows->in);
    }
    if (rows->has_npy) {
        ak_npy_close(&rows->npy);
    }
    if (rows->has_lines) {
        ak_lines_close(&rows->lines);
    }
    ak_free(rows->vectors);
    ak_free(rows);
}

const char *ak_rows_place(struct ak_rows *rows)
{
    if (rows->has_lines) {
        (void)snprintf(rows->place, sizeof rows->place, "%s:%" PRIu64, rows->lines.name,
                       rows->lines.number);
    } else {
        (void)snprintf(rows->place, sizeof rows->place, "%s row %" PRIu64, rows->options.path,
                       rows->number);
    }
    return rows->place;
}

uint64_t ak_rows_number(const struct ak_rows *rows)
{
    return rows->number;
}

double ak_rows_share(const struct ak_rows *rows)
{
    if (rows->has_npy) {
        return rows->npy.rows ? (double)rows->number / (double)rows->npy.rows : 1;
    }
    return rows->lines.size ? (double)rows->lines.consumed / (double)rows->lines.size : -1;
}

static enum ak_rc peek_line(struct ak_rows *rows, struct ak_err *err)
{
    if (rows->peeked) {
        return AK_OK;
    }
    enum ak_rc rc = ak_lines_next(&rows->lines, &rows->line, &rows->peeked_end, err);
    rows->peeked = rc == AK_OK;
    return rc;
}

/* How many numbers the "vector" of a line has; 0 when that cannot be said. */
static size_t dimension_of(struct ak_str line)
{
    struct ak_json in;
    struct ak_str key;
    size_t count = 0;
    ak_json_init(&in, line);
    ak_json_object(&in);
    while (ak_json_next_key(&in, &key)) {
        if (ak_str_eq(key, AK_STR("vector")) && ak_json_array(&in)) {
            while (ak_json_next_element(&in)) {
                (void)ak_json_skip(&in, NULL);
                count++;
            }
        } else {
            (void)ak_json_skip(&in, NULL);
        }
    }
    count = ak_json_failed(&in) ? 0 : count;
    ak_json_release(&in);
    return count;
}

enum ak_rc ak_rows_dimension(struct ak_rows *rows, uint32_t *dimension, struct ak_err *err)
{
    if (rows->dimension == 0) {
        enum ak_rc rc = peek_line(rows, err);
        if (rc != AK_OK) {
            return rc;
        }
        if (rows->peeked_end) {
            return ak_fail(err, AK_INVALID, "%s holds no document", rows->lines.name);
        }
        size_t count = dimension_of(rows->line);
        if (count < 1 || count > AK_DIMENSION_MAX) {
            return ak_fail(err, AK_INVALID,
                           "%s: a document like {\"vector\":[…],\"metadata\":{…}} was expected",
                           ak_rows_place(rows));
        }
        rows->dimension = (uint32_t)count;
    }
    *dimension = rows->dimension;
    return AK_OK;
}

/* The vector's place in the line; with want_floats its numbers too. */
static void read_vector(struct ak_rows *rows, struct ak_row *row)
{
    struct ak_json *in = &rows->in;
    if (rows->has_npy) {
        ak_json_fail(in, "'vector' stands here, but the vectors come from %s", rows->options.path);
        return;
    }
    if (!rows->options.want_floats) {
        if (ak_json_peek(in) != AK_JSON_ARRAY) {
            ak_json_fail(in, "expected an array of numbers for 'vector'");
            return;
        }
        (void)ak_json_skip(in, &row->vector_text);
        return;
    }
    size_t count;
    if (ak_json_f32_array(in, rows->vectors, rows->dimension, &count)) {
        row->vector = rows->vectors;
        if (count != rows->dimension) {
            ak_json_fail(in, "'vector' has %zu numbers; %u are expected", count, rows->dimension);
        }
    }
}

static void read_field(struct ak_rows *rows, struct ak_str key, struct ak_row *row)
{
    struct ak_json *in = &rows->in;
    if (ak_str_eq(key, AK_STR("vector"))) {
        read_vector(rows, row);
    } else if (ak_str_eq(key, AK_STR("id"))) {
        struct ak_str text;
        if (!ak_json_null(in) && ak_json_string(in, &text) && !ak_uuid_parse(text, &row->id)) {
            ak_json_fail(in, "'id' is no UUID; a name of your own goes into 'external_id'");
        }
    } else if (ak_str_eq(key, AK_STR("external_id"))) {
        if (!ak_json_null(in)) {
            (void)ak_json_string(in, &row->external_id);
        }
    } else if (ak_str_eq(key, AK_STR("metadata"))) {
        if (ak_json_null(in)) {
            return;
        }
        if (ak_json_peek(in) != AK_JSON_OBJECT) {
            ak_json_fail(in, "expected an object for 'metadata'");
            return;
        }
        (void)ak_json_skip(in, &row->metadata);
    } else {
        ak_json_unknown_key(in, key, FIELDS);
    }
}

static enum ak_rc parse_line(struct ak_rows *rows, struct ak_row *row, struct ak_err *err)
{
    struct ak_str key;
    if (rows->in_open) {
        ak_json_release(&rows->in);
    }
    ak_json_init(&rows->in, rows->line);
    rows->in_open = true;
    ak_json_object(&rows->in);
    while (ak_json_next_key(&rows->in, &key)) {
        read_field(rows, key, row);
    }
    enum ak_rc rc = ak_json_finish(&rows->in, err);
    if (rc == AK_OK && !rows->has_npy && !row->vector && row->vector_text.len == 0) {
        rc = ak_fail(err, AK_INVALID, "the document has no 'vector'");
    }
    return rc == AK_OK ? rc : ak_wrap(err, rc, "%s", ak_rows_place(rows));
}

/* The next .npy row, from a window of about 1 MiB. */
static enum ak_rc next_vector(struct ak_rows *rows, struct ak_row *row, struct ak_err *err)
{
    uint64_t at = rows->number;
    if (at >= rows->vectors_first + rows->vectors_count) {
        uint64_t left = rows->npy.rows - at;
        uint64_t step = NPY_STEP_BYTES / (rows->dimension * sizeof(float)) + 1;
        uint64_t count = left < step ? left : step;
        if (!rows->vectors) {
            rows->vectors = ak_alloc(step * rows->dimension * sizeof(float));
        }
        enum ak_rc rc = ak_npy_read(&rows->npy, at, count, rows->vectors, err);
        if (rc != AK_OK) {
            return rc;
        }
        rows->vectors_first = at;
        rows->vectors_count = count;
    }
    const float *vector = rows->vectors + (at - rows->vectors_first) * rows->dimension;
    for (uint32_t i = 0; i < rows->dimension; i++) {
        if (!isfinite(vector[i])) {
            return ak_fail(err, AK_INVALID, "%s row %" PRIu64 ": number %u is not finite",
                           rows->options.path, at, i);
        }
    }
    row->vector = vector;
    return AK_OK;
}

enum ak_rc ak_rows_next(struct ak_rows *rows, struct ak_row *row, bool *end, struct ak_err *err)
{
    struct ak_row next = {0};
    *end = rows->has_npy && rows->number == rows->npy.rows;
    if (*end) {
        return AK_OK;
    }
    if (rows->has_lines) {
        enum ak_rc rc = peek_line(rows, err);
        if (rc == AK_OK && rows->peeked_end) {
            *end = true;
            return AK_OK;
        }
        uint32_t dimension;
        rc = rc == AK_OK ? ak_rows_dimension(rows, &dimension, err) : rc;
        if (rc == AK_OK && !rows->has_npy && rows->options.want_floats && !rows->vectors) {
            rows->vectors = ak_alloc(rows->dimension * sizeof(float));
        }
        rows->peeked = rc != AK_OK && rows->peeked;
        rc = rc == AK_OK ? parse_line(rows, &next, err) : rc;
        if (rc != AK_OK) {
            return rc;
        }
    }
    if (rows->has_npy) {
        enum ak_rc rc = next_vector(rows, &next, err);
        if (rc != AK_OK) {
            return rc;
        }
    }
    if (ak_uuid_is_nil(&next.id) && next.external_id.len > 0) {
        next.id = ak_rows_id_of(next.external_id);
    }
    rows->number++;
    *row = next;
    return AK_OK;
}
