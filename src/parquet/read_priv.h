/* read_priv.h — what the files of the reader share. Nothing here trusts a byte of the source: a
 * length is held against what is left before it is used, a count before it sizes anything. */
#pragma once
#include "base/mem.h"
#include "parquet/parquet_priv.h"
#include "parquet/reader.h"

#define AK_PARQUET_MEMORY_DEFAULT ((size_t)64 << 20)
#define AK_PARQUET_TAIL_DEFAULT ((size_t)64 << 10)
#define AK_PARQUET_AHEAD_DEFAULT ((size_t)4 << 20)
#define AK_PARQUET_FOOTER_MAX (64u << 20)
#define AK_PARQUET_HEADER_FIRST ((size_t)16 << 10) /* bytes tried for a page header, then more: */
#define AK_PARQUET_HEADER_MAX ((size_t)16 << 20)   /* fat statistics */
#define AK_PARQUET_FIXED_MAX (1u << 20)
#define AK_PARQUET_GROUPS_MAX 1000000u
#define AK_PARQUET_THRIFT_DEPTH_MAX 32u

struct ak_parquet_reader {
    struct ak_parquet_source source;
    struct ak_parquet_read_options options;
    struct ak_arena arena;
    struct ak_parquet_description about;
    uint64_t footer_at; /* data ends here */
    char name[160];
};

/* --- thrift_read.c: the compact protocol. The first failure sticks; later calls give zeros. --- */

struct ak_parquet_thrift {
    const uint8_t *at;
    const uint8_t *end;
    const uint8_t *begin;
    uint64_t base; /* of `begin` in the source, for messages */
    unsigned depth;
    bool is_short; /* the failure is that the bytes ended */
    struct ak_err failure;
};

/* One struct being read. */
struct ak_parquet_scope {
    const char *what; /* "FileMetaData" */
    int32_t last;
    int32_t field; /* id of the present field */
    unsigned wire; /* its type */
    uint64_t seen; /* bit per id below 64 */
};

void ak_parquet_thrift_init(struct ak_parquet_thrift *in, const void *p, size_t len, uint64_t base);
bool ak_parquet_thrift_failed(const struct ak_parquet_thrift *in);
void ak_parquet_thrift_fail(struct ak_parquet_thrift *in, enum ak_rc rc, const char *fmt, ...)
    AK_PRINTF(3, 4);
void ak_parquet_thrift_begin(struct ak_parquet_thrift *in, struct ak_parquet_scope *scope,
                             const char *what);
/* The next field; false at the end of the struct (then left) and after a failure. */
bool ak_parquet_thrift_field(struct ak_parquet_thrift *in, struct ak_parquet_scope *scope);
/* Every id of `mask` must have been there. */
void ak_parquet_thrift_need(struct ak_parquet_thrift *in, const struct ak_parquet_scope *scope,
                            uint64_t mask);
/* The present field's value; its wire type must be that one. */
int32_t ak_parquet_thrift_i32(struct ak_parquet_thrift *in, const struct ak_parquet_scope *scope);
int64_t ak_parquet_thrift_i64(struct ak_parquet_thrift *in, const struct ak_parquet_scope *scope);
bool ak_parquet_thrift_bool(struct ak_parquet_thrift *in, const struct ak_parquet_scope *scope);
struct ak_str ak_parquet_thrift_bytes(struct ak_parquet_thrift *in,
                                      const struct ak_parquet_scope *scope); /* borrowed */
void ak_parquet_thrift_expect(struct ak_parquet_thrift *in, const struct ak_parquet_scope *scope,
                              unsigned wire);
/* The present field is a list of `wire`: its count, which the bytes left can hold. */
uint32_t ak_parquet_thrift_list(struct ak_parquet_thrift *in, const struct ak_parquet_scope *scope,
                                unsigned wire);
/* Elements of a list. */
int32_t ak_parquet_thrift_i32_item(struct ak_parquet_thrift *in);
int64_t ak_parquet_thrift_i64_item(struct ak_parquet_thrift *in);
bool ak_parquet_thrift_bool_item(struct ak_parquet_thrift *in);
struct ak_str ak_parquet_thrift_bytes_item(struct ak_parquet_thrift *in);
void ak_parquet_thrift_skip(struct ak_parquet_thrift *in, const struct ak_parquet_scope *scope);

/* The failure of an allocation of `size` bytes: over memory_max, or no memory. */
void ak_parquet_thrift_full(struct ak_parquet_thrift *in, const struct ak_arena *arena,
                            size_t size);
enum ak_rc ak_parquet_full(const struct ak_arena *arena, size_t size, struct ak_err *err);

/* --- schema_read.c --- */

struct ak_parquet_element { /* SchemaElement */
    struct ak_str name;
    uint32_t children;
    uint64_t has; /* bit per field id */
    int32_t type, type_length, repetition, converted, scale, precision;
    int32_t logical; /* member of LogicalType, 0: none */
    struct ak_parquet_meaning meaning;
};
void ak_parquet_element_read(struct ak_parquet_thrift *in, struct ak_arena *arena,
                             struct ak_parquet_element *element);
/* The tree as leaves, into the arena. */
enum ak_rc ak_parquet_schema_leaves(const struct ak_parquet_element *elements, size_t count,
                                    struct ak_arena *arena, struct ak_parquet_leaf **leaves,
                                    size_t *leaf_count, struct ak_err *err);

/* --- meta_read.c, stats_read.c --- */

/* The footer's bytes, which lie at footer_at, into reader->about. */
enum ak_rc ak_parquet_meta_read(struct ak_parquet_reader *reader, const void *p, size_t len,
                                struct ak_err *err);
struct ak_parquet_raw_stats { /* Statistics */
    uint64_t seen;
    struct ak_str old_max, old_min, max, min;
    int64_t null_count;
    bool max_exact, min_exact;
};
void ak_parquet_stats_read(struct ak_parquet_thrift *in, struct ak_parquet_raw_stats *raw);
/* What of them can be believed; strings are copied to the arena. false: no memory. */
bool ak_parquet_stats_judge(const struct ak_parquet_leaf *leaf,
                            const struct ak_parquet_raw_stats *raw, bool has_order,
                            struct ak_arena *arena, struct ak_parquet_statistics *stats);
/* min ≤ max, both of the leaf's width and no NaN; zeros widened to −0 and +0. */
bool ak_parquet_bounds_judge(const struct ak_parquet_leaf *leaf, struct ak_str *min,
                             struct ak_str *max, struct ak_arena *arena);

/* --- levels_read.c: the hybrid of runs and packed bits --- */

struct ak_parquet_rle {
    const uint8_t *at;
    const uint8_t *end;
    unsigned width;      /* bits of a value, 0..32 */
    uint32_t run_left;   /* values left of the present run */
    uint32_t value;      /* of a repeated run */
    bool is_packed;      /* the present run */
    const uint8_t *bits; /* of a packed run */
    uint64_t bit_at;     /* next value's first bit */
};
void ak_parquet_rle_init(struct ak_parquet_rle *rle, const void *p, size_t len, unsigned width);
/* The next `count` values; false: the bytes end before, or a run is malformed. */
AK_MUST bool ak_parquet_rle_read(struct ak_parquet_rle *rle, uint32_t *out, size_t count);
AK_MUST bool ak_parquet_rle_read_u8(struct ak_parquet_rle *rle, uint8_t *out, size_t count);
/* Begin the next run when the present one is used up. */
AK_MUST bool ak_parquet_rle_run(struct ak_parquet_rle *rle);
/* One value of a packed run; run_left must be above 0. */
uint32_t ak_parquet_rle_packed(struct ak_parquet_rle *rle);
/* Are all `count` levels `level`? */
AK_MUST bool ak_parquet_levels_are(const void *p, size_t len, unsigned width, uint32_t level,
                                   size_t count);
/* Are the `count` repetition levels (width 1) those of whole lists of `each` elements? */
AK_MUST bool ak_parquet_levels_repeat(const void *p, size_t len, uint32_t each, size_t count);
unsigned ak_parquet_bits_for(unsigned max); /* bits that hold 0..max */

/* --- split_read.c: BYTE_STREAM_SPLIT --- */

/* Values [from, from + count) of the n of `width` bytes at `p` (n * width bytes). */
void ak_parquet_unsplit(const uint8_t *p, size_t n, size_t width, size_t from, size_t count,
                        void *out);
/* 4 bytes wide, without vector instructions: for tests. */
void ak_parquet_unsplit4_scalar(const uint8_t *p, size_t n, size_t from, size_t count, void *out);

/* --- memory with a budget --- */

struct ak_parquet_budget {
    size_t max;
    size_t used;
};
struct ak_parquet_mem {
    uint8_t *p;
    size_t cap;
};
/* At least `need` bytes, the first `keep` as they were. AK_TOO_BIG, AK_NOMEM. */
enum ak_rc ak_parquet_mem_need(struct ak_parquet_budget *budget, struct ak_parquet_mem *mem,
                               size_t need, size_t keep, struct ak_err *err);
void ak_parquet_mem_release(struct ak_parquet_budget *budget, struct ak_parquet_mem *mem);

/* --- values_read.c, delta_read.c --- */

struct ak_parquet_decoder {
    const struct ak_parquet_leaf *leaf;
    struct ak_parquet_budget *budget;
    struct ak_parquet_mem dictionary; /* values, as in a batch */
    struct ak_parquet_mem dictionary_bytes;
    size_t dictionary_count;
    bool has_dictionary;
    struct ak_parquet_mem scratch; /* lengths, indices */
    struct ak_parquet_mem heap;    /* bytes of values that the page does not hold as such */
};
size_t ak_parquet_value_size(const struct ak_parquet_leaf *leaf); /* in a batch */
/* `count` values out of the page's bytes into `out`, as in a batch. Strings point to the page, the
 * dictionary or the heap. */
enum ak_rc ak_parquet_values(struct ak_parquet_decoder *decoder, unsigned encoding,
                             const uint8_t *p, size_t len, size_t count, void *out,
                             struct ak_err *err);
void ak_parquet_decoder_release(struct ak_parquet_decoder *decoder);

struct ak_parquet_delta { /* DELTA_BINARY_PACKED */
    const uint8_t *at;
    const uint8_t *end;
    uint64_t total; /* values in it */
    uint64_t given;
    uint64_t block, mini_count, mini_values;
    uint64_t value; /* the last one */
    uint64_t min_delta;
    const uint8_t *widths; /* of the present block */
    uint64_t mini;         /* the present miniblock */
    uint64_t mini_left;
    unsigned width;
    const uint8_t *bits;
    const uint8_t *bits_end;
    uint64_t bit_at;
    unsigned value_bits; /* 32 or 64 */
};
enum ak_rc ak_parquet_delta_init(struct ak_parquet_delta *delta, const uint8_t *p, size_t len,
                                 unsigned value_bits, struct ak_err *err);
/* The next `count` of them, 32 or 64 bits wide each. */
enum ak_rc ak_parquet_delta_read(struct ak_parquet_delta *delta, void *out, size_t count,
                                 struct ak_err *err);
/* All read: where the bytes of the encoding end. NULL: cut short. */
const uint8_t *ak_parquet_delta_end(const struct ak_parquet_delta *delta);
enum ak_rc ak_parquet_delta_lengths(struct ak_parquet_decoder *decoder, const uint8_t *p,
                                    size_t len, size_t count, struct ak_str *out,
                                    struct ak_err *err);
enum ak_rc ak_parquet_delta_strings(struct ak_parquet_decoder *decoder, const uint8_t *p,
                                    size_t len, size_t count, struct ak_str *out,
                                    struct ak_err *err);

/* --- page_read.c: a chunk's bytes as pages --- */

struct ak_parquet_stream {
    const struct ak_parquet_reader *reader;
    size_t group;
    size_t leaf_at;
    const struct ak_parquet_leaf *leaf;
    const struct ak_parquet_chunk *chunk;
    struct ak_codec_context *codec;
    struct ak_parquet_budget budget;
    struct ak_parquet_decoder decoder;
    struct ak_arena arena; /* of `pages` */
    struct ak_parquet_pages pages;
    bool has_pages;      /* the OffsetIndex was read */
    uint64_t at;         /* next page */
    uint64_t end;        /* of the bytes to read now */
    uint64_t data_from;  /* where to go on when `at` meets `end` of the dictionary; 0: nowhere */
    uint64_t data_until; /* and its end */
    struct ak_parquet_mem window;
    uint64_t window_at;
    size_t window_len;
    struct ak_parquet_mem unpacked;
    bool always_check;  /* checksums, whatever the options */
    bool holds_index;   /* all pages come, and are held against the index when there is one */
    size_t page;        /* number of the present data page in the chunk */
    size_t pages_until; /* with an index: one past the last wanted */
    uint64_t page_at;
    uint64_t slots_seen; /* of data pages so far */
    uint64_t pages_read;
    uint64_t pages_with_crc;
};

struct ak_parquet_data { /* one data page, unpacked; valid until the next one */
    size_t slots;
    int64_t rows;  /* as the header says; -1: it does not */
    int64_t nulls; /* likewise */
    unsigned encoding;
    bool begins_row; /* it must */
    const uint8_t *rep;
    const uint8_t *def;
    const uint8_t *bytes;
    size_t rep_len;
    size_t def_len;
    size_t len;
};

/* Pages of rows [first, first + rows): of a part, the OffsetIndex, if any, leaves out others.
 * *first_row: where the first page that comes begins. */
enum ak_rc ak_parquet_stream_open(struct ak_parquet_stream *stream,
                                  const struct ak_parquet_reader *reader, size_t group, size_t leaf,
                                  uint64_t first, uint64_t rows, uint64_t *first_row,
                                  struct ak_err *err);
void ak_parquet_stream_close(struct ak_parquet_stream *stream);
/* The next data page; *is_end: there is none. Dictionaries are taken in on the way. */
enum ak_rc ak_parquet_stream_next(struct ak_parquet_stream *stream, struct ak_parquet_data *page,
                                  bool *is_end, struct ak_err *err);
/* Put source, group, column and page before the message. */
enum ak_rc ak_parquet_stream_wrap(const struct ak_parquet_stream *stream, enum ak_rc rc,
                                  struct ak_err *err);
enum ak_rc ak_parquet_source_read(const struct ak_parquet_reader *reader, uint64_t at, void *p,
                                  size_t len, struct ak_err *err);

/* --- index_read.c --- */

/* ak_parquet_read_pages(), without the ColumnIndex when only places are wanted. */
enum ak_rc ak_parquet_pages_read(const struct ak_parquet_reader *reader, size_t group, size_t leaf,
                                 bool with_columns, struct ak_arena *arena,
                                 struct ak_parquet_pages *pages, struct ak_err *err);

/* --- cursor.c --- */

struct ak_parquet_cursor {
    struct ak_parquet_stream stream;
    uint64_t row;  /* of the row group: first row in the buffers */
    uint64_t skip; /* rows still to drop */
    uint64_t left; /* rows still to give */
    bool is_end;   /* no page follows */
    bool has_failed;
    struct ak_parquet_mem def, rep, values, slot_at, value_at;
    struct ak_parquet_mem carry[2]; /* bytes of strings kept from pages that are gone */
    unsigned carry_now;
    size_t from_slot; /* what was given is before these */
    size_t from_value;
    size_t slots; /* in the buffers */
    size_t value_count;
};
enum ak_rc ak_parquet_cursor_init(struct ak_parquet_cursor *cursor,
                                  const struct ak_parquet_reader *reader, size_t group, size_t leaf,
                                  uint64_t first, uint64_t rows, struct ak_err *err);
void ak_parquet_cursor_release(struct ak_parquet_cursor *cursor);
/* Before the first batch of a cursor over all rows of a group: see check_index in reader.h. */
enum ak_rc ak_parquet_cursor_hold_index(struct ak_parquet_cursor *cursor, struct ak_err *err);
