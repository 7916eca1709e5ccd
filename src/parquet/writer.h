/* writer.h — writing Parquet files, front to back into any sink.
 *
 * A file is row groups of columns of pages. Columns are flat (required or optional) or lists of
 * required single values of one fixed length; that is all that AkiDB's own tables need, and every
 * reader takes it. Pages begin on row boundaries and carry a CRC; statistics and the page index are
 * written; version 1 data pages unless asked otherwise.
 *
 * Deterministic: the same calls give the same bytes, however many threads encode. Append only: what
 * the sink has is never asked for again, so it may be a file, an upload or a pipe. A file without
 * ak_parquet_finish() is no Parquet file.
 *
 * Threads: a writer belongs to one thread; with a pool its pages are encoded on the pool's threads
 * and this one. Memory: two pages a thread that encodes (at most eight do) and two that wait for
 * the sink; no more than 64 MiB with pages of 1 MiB. Source: apache/parquet-format, parquet.thrift,
 * Encodings.md.
 */
#pragma once
#include "base/pool.h"
#include "codec/codec.h"
#include "parquet/schema.h"

struct ak_parquet_sink {
    void *ctx;
    enum ak_rc (*write)(void *ctx, const void *p, size_t len, struct ak_err *err); /* all of it */
};

struct ak_parquet_column {
    const char *name;          /* borrowed until the writer is closed; no two alike */
    enum ak_parquet_type type; /* not INT96 */
    struct ak_parquet_meaning meaning;
    uint32_t fixed_len; /* FIXED: bytes of a value */
    bool is_optional;   /* values may be null; not with is_list */
    bool is_list;       /* a list of `dimension` required values: (LIST) list.element */
    uint32_t dimension;
    /* PLAIN (also the default); BYTE_STREAM_SPLIT: FLOAT, DOUBLE; DELTA_BINARY_PACKED: INT32,
     * INT64; DELTA_LENGTH_BYTE_ARRAY, DELTA_BYTE_ARRAY: BYTE_ARRAY; RLE: BOOLEAN. */
    enum ak_parquet_encoding encoding;
    /* Try a dictionary for each chunk; `encoding` where it would be larger than AK_PARQUET_DICT_MAX
     * or gain nothing. Not for BOOLEAN. */
    bool has_dictionary;
};
#define AK_PARQUET_DICT_MAX (1u << 20) /* bytes */

struct ak_parquet_write_options { /* all zero: uncompressed, V1, 1 MiB pages */
    enum ak_codec codec;
    int level; /* 0: the codec's default; zstd's 1, and less for split lists that never repeat */
    bool page_v2;
    size_t page_bytes;      /* raw bytes of values in a page; 0: 1 MiB */
    const char *created_by; /* NULL: "akidb version …" */
    bool no_page_index;
    struct ak_pool *pool; /* NULL: this thread encodes alone. Not from a job of the same pool */
};

struct ak_parquet_writer;

/* AK_INVALID names the column and what does not go together. Writes the magic. */
AK_MUST enum ak_rc ak_parquet_create(const struct ak_parquet_sink *sink,
                                     const struct ak_parquet_column *columns, size_t count,
                                     const struct ak_parquet_write_options *options,
                                     struct ak_parquet_writer **writer, struct ak_err *err);
/* A pair for the file's metadata, at any time before finish; copied. */
AK_MUST enum ak_rc ak_parquet_add_metadata(struct ak_parquet_writer *writer, struct ak_str key,
                                           struct ak_str value, struct ak_err *err);

/* A row group of `rows` (≥ 1), then each column once, in order, then end. After a failure the
 * writer can only be closed. */
AK_MUST enum ak_rc ak_parquet_begin_group(struct ak_parquet_writer *writer, uint64_t rows,
                                          struct ak_err *err);

/* The `rows` values of one column; a null's place is there and not looked at. */
struct ak_parquet_values {
    union {
        const void *fixed;          /* u8 (BOOLEAN, 0 or 1), i32, i64, f32, f64 of the type */
        const struct ak_str *bytes; /* BYTE_ARRAY, FIXED */
    };
    const uint8_t *valid; /* [rows], 0: null; NULL: none is null */
    /* Lists: the row's values, f32[dimension] and the like, valid until the call returns. Any
     * thread. */
    const void *(*row)(void *ctx, uint64_t row);
    void *ctx;
    /* Lists of a column with has_dictionary whose values are known to be but 256: the dictionary is
     * taken as it is, and row() is not called. NULL: one is looked for. */
    const struct ak_parquet_codes *codes;
};
struct ak_parquet_codes {
    const void *values;     /* 256 of the type */
    const uint8_t *indexes; /* of each value of the row group, in order */
};
AK_MUST enum ak_rc ak_parquet_put(struct ak_parquet_writer *writer,
                                  const struct ak_parquet_values *values, struct ak_err *err);
AK_MUST enum ak_rc ak_parquet_end_group(struct ak_parquet_writer *writer, struct ak_err *err);

struct ak_parquet_summary {
    uint64_t bytes; /* of the file */
    uint64_t rows;
    uint64_t groups;
};
/* Page index and footer. The writer is closed after it, also on failure; `summary` may be NULL. */
AK_MUST enum ak_rc ak_parquet_finish(struct ak_parquet_writer *writer,
                                     struct ak_parquet_summary *summary, struct ak_err *err);
void ak_parquet_abandon(struct ak_parquet_writer *writer); /* NULL is fine */

/* Bytes of the file so far (they are with the sink). */
uint64_t ak_parquet_written(const struct ak_parquet_writer *writer);

/* The value of the key "ARROW:schema" for the five columns of a table of documents (document_id,
 * external_id, vector, metadata, inserted_at): tells Arrow readers that vectors are lists of one
 * fixed size. Appends base64 text. */
#define AK_PARQUET_ARROW_KEY "ARROW:schema"
void ak_parquet_arrow_documents(uint32_t dimension, struct ak_buf *out);
