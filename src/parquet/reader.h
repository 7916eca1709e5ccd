/* reader.h — reading Parquet files, ours and anyone's, none of them trusted.
 *
 * Reads: data pages V1 and V2; PLAIN, dictionary, RLE, the DELTA encodings, BYTE_STREAM_SPLIT;
 * none, snappy, zstd, lz4_raw, gzip; statistics and the page index; any nesting up to
 * AK_PARQUET_DEPTH_MAX. Encryption, brotli, the old LZ4 and BIT_PACKED levels are AK_UNSUPPORTED.
 * ARROW:schema is shown with the other key-value metadata and never acted upon.
 *
 * Errors: AK_CORRUPT the bytes break the format or a checksum (the text names source, byte, row
 * group, column and page) · AK_UNSUPPORTED · AK_TOO_BIG it would take more than memory_max ·
 * AK_NOMEM · whatever the source gives. Threads: an open reader does not change: any number of
 * threads may read from it at once, each with its own cursor, if the source's read_at may be called
 * so. Memory: the description at most memory_max; each cursor, and each call that reads, at most
 * memory_max more. Source: apache/parquet-format, parquet.thrift, Encodings.md, README.md.
 */
#pragma once
#include "base/arena.h"
#include "base/file.h"
#include "codec/codec.h"
#include "parquet/schema.h"

struct ak_parquet_reader;

/* Bytes from somewhere: a file, memory, ranges of an object. */
struct ak_parquet_source {
    void *ctx;
    uint64_t size;
    const uint8_t *bytes; /* all of it, when it lies in memory: read_at is not called; else NULL */
    const char *name;     /* for messages: "snapshots/…/….parquet"; NULL: "parquet". Borrowed */
    /* Exactly `len` bytes from `at`; at + len ≤ size always. */
    enum ak_rc (*read_at)(void *ctx, uint64_t at, void *p, size_t len, struct ak_err *err);
};
/* Over bytes in memory (borrowed), and over an open file (borrowed; its size is taken now). */
struct ak_parquet_source ak_parquet_source_memory(const struct ak_str *bytes, const char *name);
AK_MUST enum ak_rc ak_parquet_source_file(struct ak_file *file, const char *name,
                                          struct ak_parquet_source *source, struct ak_err *err);

struct ak_parquet_read_options { /* all zero is the default */
    size_t memory_max;           /* bytes; 0: 64 MiB */
    size_t tail_bytes;           /* first read from the end of the source; 0: 64 KiB */
    size_t read_ahead;           /* bytes of one read within a column chunk; 0: 4 MiB */
    bool require_crc;            /* a page without checksum is AK_CORRUPT: our own files */
    bool ignore_crc;             /* do not hold pages against the checksums they have */
    /* A cursor over all rows of a group holds its chunk against the page index as well, and open
     * looks at the first bytes too: who reads every column to its end needs no ak_parquet_verify().
     */
    bool check_index;
};

/* Reads and validates the footer: one read of tail_bytes, a second when it is longer. */
AK_MUST enum ak_rc ak_parquet_open(const struct ak_parquet_source *source,
                                   const struct ak_parquet_read_options *options,
                                   struct ak_parquet_reader **reader, struct ak_err *err);
void ak_parquet_close(struct ak_parquet_reader *reader); /* NULL is fine; cursors first */

/* --- What is in it: everything below is borrowed from the reader --- */

struct ak_parquet_leaf {
    struct ak_str path;   /* "vector.list.element" */
    struct ak_str column; /* "vector": the child of the root that it belongs to */
    enum ak_parquet_type type;
    uint32_t fixed_len; /* FIXED: bytes of a value; INT96: 12 */
    struct ak_parquet_meaning meaning;
    uint8_t max_def; /* a slot of this definition level has a value */
    uint8_t max_rep;
    /* The column is a list of single values: `column` is a LIST group (or one of its older forms)
     * or a repeated leaf. */
    bool is_list;
    bool is_optional; /* the leaf itself (for a list: its elements) may be null */
    /* [k], k = 1..max_rep: a slot of lower definition level is in no element of the k-th list. One
     * less means an empty list, two or more less that it or something around it is null. */
    uint8_t list_def[AK_PARQUET_DEPTH_MAX + 1];
};

struct ak_parquet_statistics {
    bool has_nulls; /* null_count is known */
    bool has_bounds;
    bool min_is_exact;
    bool max_is_exact;
    uint64_t null_count;
    struct ak_str min; /* as PLAIN would store it, byte arrays without their length */
    struct ak_str max;
};

struct ak_parquet_chunk { /* one leaf of one row group */
    uint64_t at;          /* first byte, in the source */
    uint64_t compressed;  /* bytes in the source, page headers included */
    uint64_t uncompressed;
    uint64_t values; /* slots: values and nulls and empty lists */
    enum ak_codec codec;
    uint32_t encodings;       /* bit per enum ak_parquet_encoding */
    uint64_t data_at;         /* the first data page */
    uint64_t offset_index_at; /* 0: there is none */
    uint64_t column_index_at;
    uint32_t offset_index_len;
    uint32_t column_index_len;
    uint64_t bloom_at;
    bool is_lengthened; /* for an old writer's mistake `compressed` is more than the chunk */
    struct ak_parquet_statistics statistics;
};

struct ak_parquet_group {
    uint64_t first_row; /* of the file */
    uint64_t rows;
    uint64_t bytes;                        /* uncompressed */
    const struct ak_parquet_chunk *chunks; /* one per leaf */
};

struct ak_parquet_pair {
    struct ak_str key;
    struct ak_str value; /* empty when the file has none */
};

struct ak_parquet_description {
    uint64_t size; /* of the source */
    uint64_t rows;
    struct ak_str created_by;
    const struct ak_parquet_leaf *leaves;
    size_t leaf_count;
    const struct ak_parquet_group *groups;
    size_t group_count;
    const struct ak_parquet_pair *metadata;
    size_t metadata_count;
    uint32_t footer_len; /* bytes of the metadata in the source */
};

const struct ak_parquet_description *ak_parquet_describe(const struct ak_parquet_reader *reader);
/* The only leaf of the column `name`, or the leaf with that dotted path; -1: none, or several. */
int ak_parquet_find_leaf(const struct ak_parquet_reader *reader, struct ak_str name);
/* The value under `key` in the file's metadata; false: not there. */
AK_MUST bool ak_parquet_find_metadata(const struct ak_parquet_reader *reader, struct ak_str key,
                                      struct ak_str *value);
const char *ak_parquet_type_name(enum ak_parquet_type type);             /* "BYTE_ARRAY" */
const char *ak_parquet_annotation_name(enum ak_parquet_annotation what); /* "STRING"; "" for none */
const char *ak_parquet_encoding_name(unsigned encoding);                 /* "PLAIN" */

/* --- Values, batch by batch --- */

/* Whole rows. A slot is a value, a null or an empty list; values are dense: those of the slots
 * whose definition level is the leaf's max_def. Row i has the slots slot_at[i]..slot_at[i + 1] and
 * the values value_at[i]..value_at[i + 1]: of a column that is not repeated a row without values is
 * null; the vector of row i begins at f32 + value_at[i]. */
struct ak_parquet_batch {
    uint64_t first_row; /* of the row group */
    size_t rows;
    size_t slots;
    size_t values;
    const uint8_t *def;       /* [slots]; NULL when max_def is 0: every slot has a value */
    const uint8_t *rep;       /* [slots]; NULL when max_rep is 0: every slot is a row */
    const uint32_t *slot_at;  /* [rows + 1] */
    const uint32_t *value_at; /* [rows + 1] */
    union {
        const uint8_t *bools; /* BOOLEAN, 0 or 1 */
        const int32_t *i32;
        const int64_t *i64;
        const float *f32;
        const double *f64;
        const struct ak_str *bytes; /* INT96, BYTE_ARRAY, FIXED */
    };
};

struct ak_parquet_cursor;

/* Read rows [first, first + rows) of a leaf of a row group. With an OffsetIndex only the pages that
 * hold them are fetched, without one the chunk is read from its beginning. */
AK_MUST enum ak_rc ak_parquet_cursor_open(const struct ak_parquet_reader *reader, size_t group,
                                          size_t leaf, uint64_t first, uint64_t rows,
                                          struct ak_parquet_cursor **cursor, struct ak_err *err);
void ak_parquet_cursor_close(struct ak_parquet_cursor *cursor); /* NULL is fine */
/* The next rows, up to `rows_max` (0: as many as a page gives). batch->rows is 0 at the end. Views
 * are valid until the next call. After a failure the cursor can only be closed. */
AK_MUST enum ak_rc ak_parquet_next(struct ak_parquet_cursor *cursor, size_t rows_max,
                                   struct ak_parquet_batch *batch, struct ak_err *err);

/* Rows [first, first + rows) of a list of floats (or doubles, rounded) into dst[rows * dimension],
 * without any step between page and dst where the encoding allows. AK_INVALID names the first row
 * that is null, holds a null or has another length; dst is then undefined. */
AK_MUST enum ak_rc ak_parquet_read_vectors(const struct ak_parquet_reader *reader, size_t group,
                                           size_t leaf, uint64_t first, uint64_t rows,
                                           uint32_t dimension, float *dst, struct ak_err *err);

/* --- The page index --- */

struct ak_parquet_page {
    uint64_t at;        /* of the page's header */
    uint32_t len;       /* bytes, header included */
    uint64_t first_row; /* of the row group */
    bool is_null;       /* no value in it; from here on: from the ColumnIndex */
    bool has_bounds;
    struct ak_str min;
    struct ak_str max;
};
struct ak_parquet_pages {
    struct ak_parquet_page *pages;
    size_t count;
    bool has_column_index;
};
/* The chunk's data pages as its indexes tell, validated; AK_NOT_FOUND: no OffsetIndex. */
AK_MUST enum ak_rc ak_parquet_read_pages(const struct ak_parquet_reader *reader, size_t group,
                                         size_t leaf, struct ak_arena *arena,
                                         struct ak_parquet_pages *pages, struct ak_err *err);

/* --- Is it whole? --- */

struct ak_parquet_report {
    uint64_t pages; /* data and dictionary pages read */
    uint64_t pages_with_crc;
    uint64_t values;
    uint64_t bytes; /* of column chunks */
};
/* Read everything: checksums (also when ignore_crc), every level and value, indexes against
 * pages. The first damage is the failure. */
AK_MUST enum ak_rc ak_parquet_verify(const struct ak_parquet_reader *reader,
                                     struct ak_parquet_report *report, struct ak_err *err);
