/* meta_read.c — the footer (FileMetaData): parsed into the arena, then held against itself.
 *
 * After it, everything that a description says is inside the source: chunks lie in
 * [4, footer), do not overlap, belong to the leaves in order and add up to the rows.
 */
#include "parquet/read_priv.h"
#include <stdlib.h>
#include <string.h>

#define DICTIONARY_HEADER_MAX 100u /* bytes of a dictionary's page header, as others allow for */

struct meta {
    struct ak_parquet_reader *reader;
    struct ak_parquet_thrift in;
    struct ak_arena *arena;
    struct ak_parquet_element *elements;
    size_t element_count;
    struct ak_parquet_group *groups;
    struct chunk_raw **raw; /* per group */
    struct ak_parquet_chunk **chunks;
    size_t group_count;
    uint8_t *orders; /* 1: TYPE_ORDER */
    size_t order_count;
    int64_t rows;
    struct ak_parquet_pair *pairs;
    size_t pair_count;
    struct ak_str created_by;
};

struct chunk_raw {
    int32_t type, codec;
    int64_t values, uncompressed, compressed, data_at, dictionary_at, bloom_at;
    int64_t offset_index_at, column_index_at;
    int32_t offset_index_len, column_index_len;
    uint32_t encodings;
    struct ak_str path; /* joined by dots; .p NULL: not given */
    struct ak_parquet_raw_stats stats;
};

/* An array for `count` elements of the footer, zeroed. */
static void *array(struct meta *m, size_t count, size_t size)
{
    size_t bytes = 0;
    if (ak_mul_overflows(count, size, &bytes)) {
        bytes = SIZE_MAX;
    }
    void *p = ak_arena_alloc(m->arena, bytes);
    if (!p) {
        ak_parquet_thrift_full(&m->in, m->arena, bytes);
        return NULL;
    }
    memset(p, 0, bytes);
    return p;
}

static struct ak_str keep(struct meta *m, struct ak_str s)
{
    struct ak_str copy = ak_arena_str(m->arena, s);
    if (!copy.p) {
        ak_parquet_thrift_full(&m->in, m->arena, s.len + 1);
    }
    return copy;
}

/* The parts of path_in_schema joined by dots. */
static struct ak_str read_path(struct meta *m, const struct ak_parquet_scope *scope)
{
    struct ak_parquet_thrift *in = &m->in;
    uint32_t count = ak_parquet_thrift_list(in, scope, AK_PARQUET_WIRE_BINARY);
    const uint8_t *from = in->at;
    size_t len = 0;
    for (uint32_t i = 0; i < count; i++) {
        len += ak_parquet_thrift_bytes_item(in).len + 1;
    }
    char *path = ak_parquet_thrift_failed(in) ? NULL : array(m, len + 1, 1);
    if (!path) {
        return AK_STR_NONE;
    }
    char *to = path;
    in->at = from;
    for (uint32_t i = 0; i < count; i++) {
        struct ak_str part = ak_parquet_thrift_bytes_item(in);
        if (i > 0) {
            *to++ = '.';
        }
        memcpy(to, part.p, part.len);
        to += part.len;
    }
    return (struct ak_str){path, (size_t)(to - path)};
}

static uint32_t read_encodings(struct meta *m, const struct ak_parquet_scope *scope)
{
    uint32_t bits = 0;
    uint32_t count = ak_parquet_thrift_list(&m->in, scope, AK_PARQUET_WIRE_I32);
    for (uint32_t i = 0; i < count; i++) {
        int32_t encoding = ak_parquet_thrift_i32_item(&m->in);
        bits |= encoding >= 0 && encoding < 32 ? 1u << encoding : 0;
    }
    return bits;
}

static void read_column(struct meta *m, struct chunk_raw *raw)
{
    struct ak_parquet_thrift *in = &m->in;
    struct ak_parquet_scope scope;
    ak_parquet_thrift_begin(in, &scope, "ColumnMetaData");
    while (ak_parquet_thrift_field(in, &scope)) {
        switch (scope.field) {
        case 1:
            raw->type = ak_parquet_thrift_i32(in, &scope);
            break;
        case 2:
            raw->encodings = read_encodings(m, &scope);
            break;
        case 3:
            raw->path = read_path(m, &scope);
            break;
        case 4:
            raw->codec = ak_parquet_thrift_i32(in, &scope);
            break;
        case 5:
            raw->values = ak_parquet_thrift_i64(in, &scope);
            break;
        case 6:
            raw->uncompressed = ak_parquet_thrift_i64(in, &scope);
            break;
        case 7:
            raw->compressed = ak_parquet_thrift_i64(in, &scope);
            break;
        case 9:
            raw->data_at = ak_parquet_thrift_i64(in, &scope);
            break;
        case 11:
            raw->dictionary_at = ak_parquet_thrift_i64(in, &scope);
            break;
        case 12:
            ak_parquet_thrift_expect(in, &scope, AK_PARQUET_WIRE_STRUCT);
            ak_parquet_stats_read(in, &raw->stats);
            break;
        case 14:
            raw->bloom_at = ak_parquet_thrift_i64(in, &scope);
            break;
        default:
            ak_parquet_thrift_skip(in, &scope);
        }
    }
    ak_parquet_thrift_need(in, &scope, 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 9);
}

static void read_chunk(struct meta *m, struct chunk_raw *raw)
{
    struct ak_parquet_thrift *in = &m->in;
    struct ak_parquet_scope scope;
    ak_parquet_thrift_begin(in, &scope, "ColumnChunk");
    while (ak_parquet_thrift_field(in, &scope)) {
        switch (scope.field) {
        case 1:
            if (ak_parquet_thrift_bytes(in, &scope).len > 0) {
                ak_parquet_thrift_fail(in, AK_UNSUPPORTED, "a column lies in another file");
            }
            break;
        case 3:
            ak_parquet_thrift_expect(in, &scope, AK_PARQUET_WIRE_STRUCT);
            read_column(m, raw);
            break;
        case 4:
            raw->offset_index_at = ak_parquet_thrift_i64(in, &scope);
            break;
        case 5:
            raw->offset_index_len = ak_parquet_thrift_i32(in, &scope);
            break;
        case 6:
            raw->column_index_at = ak_parquet_thrift_i64(in, &scope);
            break;
        case 7:
            raw->column_index_len = ak_parquet_thrift_i32(in, &scope);
            break;
        case 8:
        case 9:
            ak_parquet_thrift_fail(in, AK_UNSUPPORTED, "a column is encrypted");
            break;
        default:
            ak_parquet_thrift_skip(in, &scope);
        }
    }
    ak_parquet_thrift_need(in, &scope, 1 << 3);
}

static void read_group(struct meta *m, size_t i)
{
    struct ak_parquet_thrift *in = &m->in;
    struct ak_parquet_scope scope;
    size_t columns = 0;
    ak_parquet_thrift_begin(in, &scope, "RowGroup");
    while (ak_parquet_thrift_field(in, &scope)) {
        if (scope.field == 1) {
            columns = ak_parquet_thrift_list(in, &scope, AK_PARQUET_WIRE_STRUCT);
            if (columns > AK_PARQUET_LEAVES_MAX) {
                ak_parquet_thrift_fail(in, AK_TOO_BIG, "%zu columns, at most %d are read", columns,
                                       AK_PARQUET_LEAVES_MAX);
                columns = 0;
            }
            m->raw[i] = array(m, columns, sizeof **m->raw);
            for (size_t c = 0; m->raw[i] && c < columns && !ak_parquet_thrift_failed(in); c++) {
                read_chunk(m, &m->raw[i][c]);
            }
        } else if (scope.field == 2) {
            m->groups[i].bytes = (uint64_t)ak_parquet_thrift_i64(in, &scope);
        } else if (scope.field == 3) {
            m->groups[i].rows = (uint64_t)ak_parquet_thrift_i64(in, &scope);
        } else {
            ak_parquet_thrift_skip(in, &scope);
        }
    }
    ak_parquet_thrift_need(in, &scope, 1 << 1 | 1 << 3);
    m->groups[i].first_row = columns; /* kept here until it is checked */
}

static void read_groups(struct meta *m, const struct ak_parquet_scope *scope)
{
    size_t count = ak_parquet_thrift_list(&m->in, scope, AK_PARQUET_WIRE_STRUCT);
    if (count > AK_PARQUET_GROUPS_MAX) {
        ak_parquet_thrift_fail(&m->in, AK_TOO_BIG, "%zu row groups, at most %u are read", count,
                               AK_PARQUET_GROUPS_MAX);
        return;
    }
    m->groups = array(m, count, sizeof *m->groups);
    m->raw = m->groups ? array(m, count, sizeof(struct chunk_raw *)) : NULL;
    m->chunks = m->raw ? array(m, count, sizeof(struct ak_parquet_chunk *)) : NULL;
    for (size_t i = 0; m->chunks && i < count && !ak_parquet_thrift_failed(&m->in); i++) {
        read_group(m, i);
        m->group_count = i + 1;
    }
}

static void read_schema(struct meta *m, const struct ak_parquet_scope *scope)
{
    m->element_count = ak_parquet_thrift_list(&m->in, scope, AK_PARQUET_WIRE_STRUCT);
    m->elements = array(m, m->element_count, sizeof *m->elements);
    for (size_t i = 0; m->elements && i < m->element_count && !ak_parquet_thrift_failed(&m->in);
         i++) {
        ak_parquet_element_read(&m->in, m->arena, &m->elements[i]);
    }
}

static void read_pairs(struct meta *m, const struct ak_parquet_scope *outer)
{
    struct ak_parquet_thrift *in = &m->in;
    struct ak_parquet_scope scope;
    m->pair_count = ak_parquet_thrift_list(in, outer, AK_PARQUET_WIRE_STRUCT);
    m->pairs = array(m, m->pair_count, sizeof *m->pairs);
    for (size_t i = 0; m->pairs && i < m->pair_count && !ak_parquet_thrift_failed(in); i++) {
        ak_parquet_thrift_begin(in, &scope, "KeyValue");
        while (ak_parquet_thrift_field(in, &scope)) {
            if (scope.field == 1) {
                m->pairs[i].key = keep(m, ak_parquet_thrift_bytes(in, &scope));
            } else if (scope.field == 2) {
                m->pairs[i].value = keep(m, ak_parquet_thrift_bytes(in, &scope));
            } else {
                ak_parquet_thrift_skip(in, &scope);
            }
        }
        ak_parquet_thrift_need(in, &scope, 1 << 1);
    }
}

static void read_orders(struct meta *m, const struct ak_parquet_scope *outer)
{
    struct ak_parquet_thrift *in = &m->in;
    struct ak_parquet_scope scope;
    m->order_count = ak_parquet_thrift_list(in, outer, AK_PARQUET_WIRE_STRUCT);
    m->orders = array(m, m->order_count, 1);
    for (size_t i = 0; m->orders && i < m->order_count && !ak_parquet_thrift_failed(in); i++) {
        ak_parquet_thrift_begin(in, &scope, "ColumnOrder");
        while (ak_parquet_thrift_field(in, &scope)) {
            m->orders[i] = scope.field == 1;
            ak_parquet_thrift_skip(in, &scope);
        }
    }
}

static void read_file(struct meta *m)
{
    struct ak_parquet_thrift *in = &m->in;
    struct ak_parquet_scope scope;
    ak_parquet_thrift_begin(in, &scope, "FileMetaData");
    while (ak_parquet_thrift_field(in, &scope)) {
        switch (scope.field) {
        case 1:
            (void)ak_parquet_thrift_i32(in, &scope);
            break;
        case 2:
            read_schema(m, &scope);
            break;
        case 3:
            m->rows = ak_parquet_thrift_i64(in, &scope);
            break;
        case 4:
            read_groups(m, &scope);
            break;
        case 5:
            read_pairs(m, &scope);
            break;
        case 6:
            m->created_by = keep(m, ak_parquet_thrift_bytes(in, &scope));
            break;
        case 7:
            read_orders(m, &scope);
            break;
        case 8:
            ak_parquet_thrift_fail(in, AK_UNSUPPORTED, "the file is encrypted");
            break;
        default:
            ak_parquet_thrift_skip(in, &scope);
        }
    }
    ak_parquet_thrift_need(in, &scope, 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4);
}

/* --- Held against itself --- */

static bool codec_of(int32_t number, enum ak_codec *codec)
{
    switch (number) {
    case AK_PARQUET_CODEC_NONE:
        *codec = AK_CODEC_NONE;
        return true;
    case AK_PARQUET_CODEC_SNAPPY:
        *codec = AK_CODEC_SNAPPY;
        return true;
    case AK_PARQUET_CODEC_GZIP:
        *codec = AK_CODEC_GZIP;
        return true;
    case AK_PARQUET_CODEC_ZSTD:
        *codec = AK_CODEC_ZSTD;
        return true;
    case AK_PARQUET_CODEC_LZ4_RAW:
        *codec = AK_CODEC_LZ4;
        return true;
    default:
        return false;
    }
}

static const char *codec_name(int32_t number)
{
    static const char *const names[] = {"none", "snappy", "gzip",
                                        "LZO",  "brotli", "the old LZ4 (Hadoop framing)"};
    return number >= 0 && number < 6 ? names[number] : "a codec that this version does not know";
}

/* Is [at, at + len) within the data? 0 and 0 is nothing at all. */
static bool is_inside(const struct ak_parquet_reader *reader, int64_t at, int64_t len)
{
    return at >= AK_PARQUET_MAGIC_LEN && len >= 0 && (uint64_t)at <= reader->footer_at &&
           (uint64_t)len <= reader->footer_at - (uint64_t)at;
}

static enum ak_rc check_place(const struct ak_parquet_reader *reader,
                              const struct ak_parquet_group *group, const struct chunk_raw *raw,
                              struct ak_parquet_chunk *chunk, struct ak_err *err)
{
    int64_t start = raw->data_at;
    if (raw->dictionary_at > 0 && raw->dictionary_at < start) {
        start = raw->dictionary_at; /* 0 is how some writers say that there is none */
    }
    if (raw->values == 0 && group->rows == 0) { /* some writers count from 0 then, with a size */
        chunk->at = chunk->data_at = AK_PARQUET_MAGIC_LEN;
        return AK_OK;
    }
    if (raw->values < 0 || raw->uncompressed < 0 || raw->dictionary_at < 0 ||
        !is_inside(reader, start, raw->compressed) || raw->data_at - start > raw->compressed) {
        return ak_fail(err, AK_CORRUPT,
                       "its %lld bytes at %lld (data at %lld, %lld values) are not within the "
                       "file's data, which end at byte %llu",
                       (long long)raw->compressed, (long long)start, (long long)raw->data_at,
                       (long long)raw->values, (unsigned long long)reader->footer_at);
    }
    if (raw->dictionary_at > 0 && !is_inside(reader, raw->dictionary_at, 0)) {
        return ak_fail(err, AK_CORRUPT, "its dictionary is said to be at byte %lld",
                       (long long)raw->dictionary_at);
    }
    chunk->at = (uint64_t)start;
    chunk->compressed = (uint64_t)raw->compressed;
    chunk->uncompressed = (uint64_t)raw->uncompressed;
    chunk->values = (uint64_t)raw->values;
    chunk->data_at = (uint64_t)raw->data_at;
    chunk->bloom_at = raw->bloom_at > 0 ? (uint64_t)raw->bloom_at : 0;
    return AK_OK;
}

static enum ak_rc check_index(const struct ak_parquet_reader *reader, int64_t at, int32_t len,
                              const char *what, uint64_t *to_at, uint32_t *to_len,
                              struct ak_err *err)
{
    if (at == 0 && len == 0) {
        return AK_OK;
    }
    if (len <= 0 || !is_inside(reader, at, len)) {
        return ak_fail(err, AK_CORRUPT, "its %s is said to be %d bytes at %lld", what, len,
                       (long long)at);
    }
    *to_at = (uint64_t)at;
    *to_len = (uint32_t)len;
    return AK_OK;
}

static enum ak_rc check_chunk(struct meta *m, const struct ak_parquet_group *group,
                              const struct ak_parquet_leaf *leaf, bool has_order,
                              const struct chunk_raw *raw, struct ak_parquet_chunk *chunk,
                              struct ak_err *err)
{
    const struct ak_parquet_reader *reader = m->reader;
    if (raw->type != (int32_t)leaf->type || (raw->path.p && !ak_str_eq(raw->path, leaf->path))) {
        return ak_fail(err, AK_CORRUPT, "it is '%.*s' of type %d instead of the schema's column",
                       AK_STR_ARG(raw->path), raw->type);
    }
    if (!codec_of(raw->codec, &chunk->codec)) {
        return ak_fail(err, AK_UNSUPPORTED,
                       "it is compressed with %s; write the file with zstd, snappy, gzip, lz4_raw "
                       "or uncompressed",
                       codec_name(raw->codec));
    }
    chunk->encodings = raw->encodings;
    enum ak_rc rc = check_place(reader, group, raw, chunk, err);
    if (rc == AK_OK && leaf->max_rep == 0 && chunk->values != group->rows) {
        rc = ak_fail(err, AK_CORRUPT, "%llu values in %llu rows", (unsigned long long)chunk->values,
                     (unsigned long long)group->rows);
    }
    if (rc == AK_OK && chunk->values < group->rows) {
        rc = ak_fail(err, AK_CORRUPT, "%llu slots in %llu rows", (unsigned long long)chunk->values,
                     (unsigned long long)group->rows);
    }
    if (rc == AK_OK) {
        rc = check_index(reader, raw->offset_index_at, raw->offset_index_len, "OffsetIndex",
                         &chunk->offset_index_at, &chunk->offset_index_len, err);
    }
    if (rc == AK_OK) {
        rc = check_index(reader, raw->column_index_at, raw->column_index_len, "ColumnIndex",
                         &chunk->column_index_at, &chunk->column_index_len, err);
    }
    if (rc == AK_OK &&
        !ak_parquet_stats_judge(leaf, &raw->stats, has_order, m->arena, &chunk->statistics)) {
        rc = ak_parquet_full(m->arena, raw->stats.min.len + raw->stats.max.len, err);
    }
    return rc;
}

static enum ak_rc check_group(struct meta *m, size_t i, struct ak_err *err)
{
    const struct ak_parquet_description *about = &m->reader->about;
    struct ak_parquet_group *group = &m->groups[i];
    if (group->first_row != about->leaf_count) {
        return ak_fail(err, AK_CORRUPT, "%llu columns, the schema has %zu",
                       (unsigned long long)group->first_row, about->leaf_count);
    }
    if ((int64_t)group->rows < 0 || group->rows > (uint64_t)m->rows) {
        return ak_fail(err, AK_CORRUPT, "%lld rows of the file's %lld", (long long)group->rows,
                       (long long)m->rows);
    }
    struct ak_parquet_chunk *chunks = ak_arena_alloc(m->arena, about->leaf_count * sizeof *chunks);
    if (!chunks) {
        return ak_parquet_full(m->arena, about->leaf_count * sizeof *chunks, err);
    }
    memset(chunks, 0, about->leaf_count * sizeof *chunks);
    group->chunks = m->chunks[i] = chunks;
    for (size_t c = 0; c < about->leaf_count; c++) {
        bool has_order = c < m->order_count && m->orders[c];
        enum ak_rc rc =
            check_chunk(m, group, &about->leaves[c], has_order, &m->raw[i][c], &chunks[c], err);
        if (rc != AK_OK) {
            return ak_wrap(err, rc, "column '%.*s'", AK_STR_ARG(about->leaves[c].path));
        }
    }
    return AK_OK;
}

struct range {
    uint64_t at, end;
};

static int compare_ranges(const void *a, const void *b)
{
    const struct range *x = a;
    const struct range *y = b;
    return x->at < y->at ? -1 : x->at > y->at;
}

static enum ak_rc check_overlap(const struct meta *m, struct ak_err *err)
{
    const struct ak_parquet_description *about = &m->reader->about;
    size_t count = m->group_count * about->leaf_count; /* both bounded by the footer's bytes */
    struct range *ranges = count == 0 ? NULL : ak_try_alloc(count * sizeof *ranges);
    if (count > 0 && !ranges) {
        return ak_fail(err, AK_NOMEM, "no memory for %zu column chunks", count);
    }
    for (size_t g = 0, n = 0; g < m->group_count; g++) {
        for (size_t c = 0; c < about->leaf_count; c++, n++) {
            const struct ak_parquet_chunk *chunk = &m->groups[g].chunks[c];
            ranges[n] = (struct range){chunk->at, chunk->at + chunk->compressed};
        }
    }
    if (count > 0) {
        qsort(ranges, count, sizeof *ranges, compare_ranges);
    }
    enum ak_rc rc = AK_OK;
    uint64_t end = 0;
    for (size_t i = 0; i < count && rc == AK_OK; i++) {
        if (ranges[i].at < end && ranges[i].at != ranges[i].end) {
            rc = ak_fail(err, AK_CORRUPT, "column chunks overlap at byte %llu",
                         (unsigned long long)ranges[i].at);
        }
        end = ranges[i].end > end ? ranges[i].end : end;
    }
    ak_free(ranges);
    return rc;
}

/* parquet-mr before 1.2.9 left the dictionary's header out of the chunk's size (PARQUET-816). */
static bool leaves_out_header(struct ak_str created_by)
{
    struct ak_str prefix = AK_STR("parquet-mr");
    struct ak_str version = AK_STR("version 1.2.");
    if (!ak_str_has_prefix(created_by, prefix)) {
        return false;
    }
    struct ak_str rest = ak_str_trim(ak_str_sub(created_by, prefix.len, SIZE_MAX));
    if (rest.len == 0) { /* so old that it did not say */
        return true;
    }
    return ak_str_has_prefix(rest, AK_STR("version 1.0")) ||
           ak_str_has_prefix(rest, AK_STR("version 1.1")) ||
           (ak_str_has_prefix(rest, version) && rest.len > version.len &&
            rest.p[version.len] < '9' &&
            (rest.len == version.len + 1 || rest.p[version.len + 1] < '0' ||
             rest.p[version.len + 1] > '9'));
}

/* Give such chunks room for the header; the count of values says where they end. */
static void lengthen(struct meta *m)
{
    for (size_t i = 0; i < m->group_count; i++) {
        for (size_t c = 0; c < m->reader->about.leaf_count; c++) {
            struct ak_parquet_chunk *chunk = &m->chunks[i][c];
            uint64_t room = m->reader->footer_at - (chunk->at + chunk->compressed);
            chunk->compressed += room < DICTIONARY_HEADER_MAX ? room : DICTIONARY_HEADER_MAX;
            chunk->is_lengthened = true;
        }
    }
}

static enum ak_rc check_all(struct meta *m, struct ak_err *err)
{
    struct ak_parquet_description *about = &m->reader->about;
    struct ak_parquet_leaf *leaves = NULL;
    enum ak_rc rc = ak_parquet_schema_leaves(m->elements, m->element_count, m->arena, &leaves,
                                             &about->leaf_count, err);
    if (rc != AK_OK) {
        return ak_wrap(err, rc, "schema");
    }
    about->leaves = leaves;
    about->created_by = m->created_by;
    uint64_t rows = 0;
    for (size_t i = 0; i < m->group_count; i++) {
        rc = check_group(m, i, err);
        if (rc != AK_OK) {
            return ak_wrap(err, rc, "row group %zu", i);
        }
        m->groups[i].first_row = rows;
        rows += m->groups[i].rows; /* each is at most the file's, the sum is bounded below */
        if (rows > (uint64_t)m->rows) {
            break;
        }
    }
    if (m->rows < 0 || rows != (uint64_t)m->rows) {
        return ak_fail(err, AK_CORRUPT, "the row groups have %llu rows, the file says %lld",
                       (unsigned long long)rows, (long long)m->rows);
    }
    about->groups = m->groups;
    about->group_count = m->group_count;
    about->metadata = m->pairs;
    about->metadata_count = m->pair_count;
    about->rows = rows;
    enum ak_rc done = check_overlap(m, err);
    if (done == AK_OK && leaves_out_header(about->created_by)) {
        lengthen(m);
    }
    return done;
}

enum ak_rc ak_parquet_meta_read(struct ak_parquet_reader *reader, const void *p, size_t len,
                                struct ak_err *err)
{
    struct meta m = {.reader = reader, .arena = &reader->arena};
    ak_parquet_thrift_init(&m.in, p, len, reader->footer_at);
    read_file(&m);
    if (ak_parquet_thrift_failed(&m.in)) {
        return ak_fail(err, m.in.failure.rc, "metadata: %s", m.in.failure.text);
    }
    enum ak_rc rc = check_all(&m, err);
    return rc == AK_OK ? rc : ak_wrap(err, rc, "metadata");
}
