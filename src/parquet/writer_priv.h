/* writer_priv.h — what the writer's files share: columns, pages, chunks as they are encoded. */
#pragma once
#include "base/sync.h"
#include "parquet/thrift_write.h"
#include "parquet/writer.h"

#define AK_PARQUET_BOUND_MAX 64 /* bytes of a string that statistics keep */

#define AK_PARQUET_HEAD_MAX 96 /* bytes of a page header: they are 62 at most */

/* The least or greatest value of a page or chunk, as PLAIN has it (byte arrays without length). */
struct ak_parquet_bound {
    bool is_exact;
    uint8_t len;
    char bytes[AK_PARQUET_BOUND_MAX];
};
static inline struct ak_str ak_parquet_bound_str(const struct ak_parquet_bound *bound)
{
    return (struct ak_str){bound->bytes, bound->len};
}
struct ak_parquet_bounds {
    bool is_set;
    struct ak_parquet_bound min, max;
};

struct ak_page_out {
    uint64_t first_row; /* of the row group */
    uint64_t rows;
    uint64_t nulls;
    struct ak_parquet_bounds bounds;
    struct ak_buf bytes; /* from `begin`: header and page as stored */
    size_t begin;
    uint32_t raw_len; /* both, uncompressed */
    uint64_t at;      /* in the file, once it is with the sink */
    uint32_t len;
};

/* A dictionary of one chunk. */
struct ak_dictionary {
    const void *indexes; /* per value that is not null, in order: u8, or u32 when they are many */
    void *own;           /* the same when they are the dictionary's, else NULL */
    bool is_wide;        /* u32 */
    uint64_t index_count;
    struct ak_buf plain; /* the distinct values, PLAIN */
    uint32_t count;
    unsigned bits; /* of an index */
};

struct ak_chunk_in { /* one column of the row group as it came */
    const struct ak_parquet_column *column;
    const struct ak_parquet_values *values;
    const struct ak_dictionary *dictionary; /* NULL: values are encoded plainly */
};

struct ak_encoder { /* the memory of one thread that encodes */
    struct ak_codec_context *codec;
    struct ak_buf values, dense, scratch, head;
    struct ak_encoder *next; /* free list */
};

struct ak_page_format {
    enum ak_codec codec;
    int level;
    bool v2;
};

/* page_write.c: rows [page->first_row, + page->rows), before which the chunk has `values_before`
 * values that are not null. Fills in the rest of *page; page->bytes is cleared first, what memory
 * it has is used. */
AK_MUST enum ak_rc ak_page_encode(const struct ak_page_format *format, const struct ak_chunk_in *in,
                                  uint64_t values_before, struct ak_encoder *encoder,
                                  struct ak_page_out *page, struct ak_err *err);
AK_MUST enum ak_rc ak_page_encode_dictionary(const struct ak_page_format *format,
                                             const struct ak_dictionary *dictionary,
                                             struct ak_encoder *encoder, struct ak_page_out *page,
                                             struct ak_err *err);
/* The level for the vectors of a chunk of `rows` rows where the caller leaves it to us: zstd's
 * search for repetition is left out when samples of them show none. Else format->level. */
AK_MUST enum ak_rc ak_page_choose_level(const struct ak_page_format *format,
                                        const struct ak_chunk_in *in, uint64_t rows,
                                        struct ak_encoder *encoder, int *level, struct ak_err *err);
void ak_encoder_init(struct ak_encoder *encoder);
void ak_encoder_release(struct ak_encoder *encoder);

/* columns_write.c: AK_INVALID names the column and what does not go together. */
AK_MUST enum ak_rc ak_columns_check(const struct ak_parquet_column *columns, size_t count,
                                    struct ak_err *err);

/* bounds_write.c */
/* Of values[0..count), none of them null, as the type compares. */
void ak_bounds_look(const struct ak_parquet_column *column, const void *values, size_t count,
                    struct ak_parquet_bounds *bounds);
/* Below, equal or above 0, as the type compares. */
int ak_bound_cmp(const struct ak_parquet_column *column, const struct ak_parquet_bound *a,
                 const struct ak_parquet_bound *b);
void ak_bounds_merge(const struct ak_parquet_column *column, const struct ak_parquet_bounds *page,
                     struct ak_parquet_bounds *chunk);

/* dictionary_write.c: *dictionary is left empty when it would not gain (count is 0). */
AK_MUST enum ak_rc ak_dictionary_make(const struct ak_parquet_column *column,
                                      const struct ak_parquet_values *values, uint64_t rows,
                                      struct ak_dictionary *dictionary, struct ak_err *err);
/* As the caller has it. */
AK_MUST enum ak_rc ak_dictionary_take(const struct ak_parquet_column *column,
                                      const struct ak_parquet_codes *codes, uint64_t values,
                                      struct ak_dictionary *dictionary, struct ak_err *err);
void ak_dictionary_release(struct ak_dictionary *dictionary);

struct ak_chunk_out {       /* a column chunk in the file */
    uint64_t dictionary_at; /* 0: none */
    uint64_t data_at;
    uint64_t compressed, uncompressed;
    uint64_t values;
    uint64_t nulls;
    struct ak_parquet_bounds bounds;
    bool has_dictionary;
    struct ak_page_out *pages; /* without their bytes */
    size_t page_count;
    uint64_t offset_index_at, column_index_at;
    uint32_t offset_index_len, column_index_len;
};

struct ak_group_out {
    uint64_t rows;
    uint64_t at;
    struct ak_chunk_out *chunks; /* one per column */
};

/* meta_write.c */
enum ak_parquet_codec ak_parquet_codec_of(enum ak_codec codec);
void ak_meta_page_header(const struct ak_page_format *format, const struct ak_chunk_in *in,
                         const struct ak_page_out *page, uint32_t raw, uint32_t stored,
                         uint32_t def_len, uint32_t rep_len, uint32_t crc, struct ak_buf *out);
void ak_meta_dictionary_header(uint32_t count, uint32_t raw, uint32_t stored, uint32_t crc,
                               struct ak_buf *out);
void ak_meta_offset_index(const struct ak_chunk_out *chunk, struct ak_buf *out);
void ak_meta_column_index(const struct ak_parquet_column *column, const struct ak_chunk_out *chunk,
                          struct ak_buf *out);
struct ak_meta_pair {
    char *key, *value;
    size_t key_len, value_len;
};
struct ak_meta_file {
    const struct ak_parquet_column *columns;
    size_t column_count;
    const struct ak_group_out *groups;
    size_t group_count;
    const struct ak_meta_pair *pairs;
    size_t pair_count;
    const char *created_by;
    enum ak_codec codec;
    bool v2;
};
void ak_meta_footer(const struct ak_meta_file *file, struct ak_buf *out);
/* The encoding that data pages of this chunk have. */
enum ak_parquet_encoding ak_meta_encoding(const struct ak_parquet_column *column,
                                          bool has_dictionary);
