/* rows.h — the documents of an import, one after the other: from NDJSON, or from .npy and NDJSON.
 *
 * NDJSON: a line is {"id"?, "external_id"?, "vector":[…], "metadata"?}; blank lines are skipped.
 * With a .npy the vectors come from its rows, and line i of the documents file (if any) belongs to
 * row i.
 *
 * Ids: a document without an id but with an external_id gets one made from the external_id (UUID
 * version 8, RFC 9562, of its SHA-256), so that importing the same file again replaces documents
 * instead of doubling them. Without either the database makes an id.
 *
 * Threads: one. Memory: a row is valid until the next one is read.
 */
#pragma once
#include "base/str.h"
#include "base/uuid.h"

#define AK_ROWS_LINE_MAX ((size_t)16 << 20) /* bytes of one line: 65,535 numbers fit */

struct ak_rows;

struct ak_rows_options {
    const char *path;      /* FILE.ndjson, FILE.npy, or "-": NDJSON from standard input */
    const char *documents; /* NDJSON beside a .npy; may be NULL */
    bool want_floats;      /* parse vectors; otherwise NDJSON rows carry only vector_text */
};

struct ak_row {
    struct ak_uuid id;         /* nil: none */
    struct ak_str external_id; /* empty: none */
    struct ak_str metadata;    /* a checked JSON object as written; empty: none */
    struct ak_str vector_text; /* a checked JSON array; empty when the vector is from a .npy */
    const float *vector;       /* f32[dimension], or NULL: see want_floats */
};

/* AK_INVALID, AK_NOT_FOUND. Of a .npy with documents, the number of lines is checked here. */
AK_MUST enum ak_rc ak_rows_open(const struct ak_rows_options *options, struct ak_rows **rows,
                                struct ak_err *err);
void ak_rows_close(struct ak_rows *rows); /* NULL is fine */
/* Of the first row; every row must have it. AK_INVALID: there is no row. */
AK_MUST enum ak_rc ak_rows_dimension(struct ak_rows *rows, uint32_t *dimension, struct ak_err *err);
/* *row: the next one, or *end. Failures name file and line. */
AK_MUST enum ak_rc ak_rows_next(struct ak_rows *rows, struct ak_row *row, bool *end,
                                struct ak_err *err);
/* Where reading stands: "documents.ndjson:17"; valid until the next call. */
const char *ak_rows_place(struct ak_rows *rows);
uint64_t ak_rows_number(const struct ak_rows *rows); /* rows given so far */
/* 0..1, negative when it cannot be known (standard input). */
double ak_rows_share(const struct ak_rows *rows);

/* The id that a document with this external id gets here. */
struct ak_uuid ak_rows_id_of(struct ak_str external_id);

/* --- Lines of a file --- */

struct ak_lines {
    const char *name;
    int fd;
    struct ak_buf in;  /* bytes read and not yet given */
    size_t at;         /* first of them that is not given */
    uint64_t number;   /* of the line given last, from 1 */
    uint64_t size;     /* of the file; 0: not known */
    uint64_t consumed; /* bytes given */
    bool ended;
};

/* "-" is standard input. AK_NOT_FOUND. */
AK_MUST enum ak_rc ak_lines_open(struct ak_lines *lines, const char *path, struct ak_err *err);
void ak_lines_close(struct ak_lines *lines); /* idempotent */
/* The next line that is not blank, without its end; *end at the end. Valid until the next call. */
AK_MUST enum ak_rc ak_lines_next(struct ak_lines *lines, struct ak_str *line, bool *end,
                                 struct ak_err *err);
