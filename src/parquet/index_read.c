/* index_read.c — the page index (PageIndex.md): OffsetIndex says where pages lie and which row each
 * begins with, ColumnIndex what is in them.
 *
 * I1 The first page begins with row 0, none before the one in front of it: two that begin with the
 *    same row are an empty one (pyarrow leaves such) and the next.
 * I2 Pages lie within their chunk, in order, and do not overlap.
 * I3 The ColumnIndex's lists have one entry per page. Bounds that cannot be believed are left out.
 */
#include "parquet/read_priv.h"
#include <string.h>

#define INDEX_BYTES_MAX (16u << 20)

static void read_locations(struct ak_parquet_thrift *in, const struct ak_parquet_scope *outer,
                           struct ak_arena *arena, struct ak_parquet_pages *pages)
{
    struct ak_parquet_scope scope;
    uint32_t count = ak_parquet_thrift_list(in, outer, AK_PARQUET_WIRE_STRUCT);
    size_t bytes = count * sizeof *pages->pages;
    pages->pages = ak_arena_alloc(arena, bytes);
    if (!pages->pages) {
        ak_parquet_thrift_full(in, arena, bytes);
        return;
    }
    memset(pages->pages, 0, bytes);
    for (uint32_t i = 0; i < count && !ak_parquet_thrift_failed(in); i++) {
        struct ak_parquet_page *page = &pages->pages[i];
        int64_t at = 0;
        int32_t len = 0;
        int64_t row = 0;
        ak_parquet_thrift_begin(in, &scope, "PageLocation");
        while (ak_parquet_thrift_field(in, &scope)) {
            if (scope.field == 1) {
                at = ak_parquet_thrift_i64(in, &scope);
            } else if (scope.field == 2) {
                len = ak_parquet_thrift_i32(in, &scope);
            } else if (scope.field == 3) {
                row = ak_parquet_thrift_i64(in, &scope);
            } else {
                ak_parquet_thrift_skip(in, &scope);
            }
        }
        ak_parquet_thrift_need(in, &scope, 1 << 1 | 1 << 2 | 1 << 3);
        if (at < 0 || len <= 0 || row < 0) {
            ak_parquet_thrift_fail(in, AK_CORRUPT, "page %u is %d bytes at %lld, from row %lld", i,
                                   len, (long long)at, (long long)row);
        }
        page->at = (uint64_t)at;
        page->len = (uint32_t)len;
        page->first_row = (uint64_t)row;
    }
    pages->count = count;
}

static enum ak_rc check_locations(const struct ak_parquet_chunk *chunk, uint64_t rows,
                                  const struct ak_parquet_pages *pages, struct ak_err *err)
{
    uint64_t at = chunk->at;
    uint64_t end = chunk->at + chunk->compressed;
    for (size_t i = 0; i < pages->count; i++) {
        const struct ak_parquet_page *page = &pages->pages[i];
        bool is_in_order =
            i == 0 ? page->first_row == 0 : page->first_row >= pages->pages[i - 1].first_row;
        if (!is_in_order || page->first_row > rows) {
            return ak_fail(err, AK_CORRUPT, "OffsetIndex: page %zu begins with row %llu of %llu", i,
                           (unsigned long long)page->first_row, (unsigned long long)rows);
        }
        if (page->at < at || page->at > end || page->len > end - page->at) {
            return ak_fail(err, AK_CORRUPT,
                           "OffsetIndex: page %zu, %u bytes at %llu, is outside its chunk or over "
                           "the page before",
                           i, page->len, (unsigned long long)page->at);
        }
        at = page->at + page->len;
    }
    if (pages->count == 0 && rows > 0) {
        return ak_fail(err, AK_CORRUPT, "OffsetIndex: no page for %llu rows",
                       (unsigned long long)rows);
    }
    return AK_OK;
}

/* The bytes of an index, in the arena. */
static enum ak_rc fetch(const struct ak_parquet_reader *reader, uint64_t at, uint32_t len,
                        struct ak_arena *arena, struct ak_parquet_thrift *in, struct ak_err *err)
{
    if (len > INDEX_BYTES_MAX) {
        return ak_fail(err, AK_TOO_BIG, "a page index of %u bytes", len);
    }
    uint8_t *p = ak_arena_alloc(arena, len);
    if (!p) {
        return ak_parquet_full(arena, len, err);
    }
    enum ak_rc rc = ak_parquet_source_read(reader, at, p, len, err);
    ak_parquet_thrift_init(in, p, len, at);
    return rc;
}

static enum ak_rc read_offsets(const struct ak_parquet_reader *reader,
                               const struct ak_parquet_chunk *chunk, uint64_t rows,
                               struct ak_arena *arena, struct ak_parquet_pages *pages,
                               struct ak_err *err)
{
    struct ak_parquet_thrift in;
    struct ak_parquet_scope scope;
    enum ak_rc rc = fetch(reader, chunk->offset_index_at, chunk->offset_index_len, arena, &in, err);
    if (rc != AK_OK) {
        return rc;
    }
    ak_parquet_thrift_begin(&in, &scope, "OffsetIndex");
    while (ak_parquet_thrift_field(&in, &scope)) {
        if (scope.field == 1) {
            read_locations(&in, &scope, arena, pages);
        } else {
            ak_parquet_thrift_skip(&in, &scope);
        }
    }
    ak_parquet_thrift_need(&in, &scope, 1 << 1);
    if (ak_parquet_thrift_failed(&in)) {
        return ak_fail(err, in.failure.rc, "OffsetIndex: %s", in.failure.text);
    }
    return check_locations(chunk, rows, pages, err);
}

static bool check_count(struct ak_parquet_thrift *in, const struct ak_parquet_pages *pages,
                        uint32_t count)
{
    if (!ak_parquet_thrift_failed(in) && count != pages->count) {
        ak_parquet_thrift_fail(in, AK_CORRUPT, "a list of %u entries for %zu pages", count,
                               pages->count);
    }
    return !ak_parquet_thrift_failed(in) && pages->pages != NULL;
}

static void read_lists(struct ak_parquet_thrift *in, struct ak_parquet_pages *pages)
{
    struct ak_parquet_scope scope;
    ak_parquet_thrift_begin(in, &scope, "ColumnIndex");
    while (ak_parquet_thrift_field(in, &scope)) {
        uint32_t count = 0;
        switch (scope.field) {
        case 1:
            count = ak_parquet_thrift_list(in, &scope, AK_PARQUET_WIRE_TRUE);
            for (uint32_t i = 0; check_count(in, pages, count) && i < count; i++) {
                pages->pages[i].is_null = ak_parquet_thrift_bool_item(in);
            }
            break;
        case 2:
        case 3:
            count = ak_parquet_thrift_list(in, &scope, AK_PARQUET_WIRE_BINARY);
            for (uint32_t i = 0; check_count(in, pages, count) && i < count; i++) {
                struct ak_str s = ak_parquet_thrift_bytes_item(in);
                *(scope.field == 2 ? &pages->pages[i].min : &pages->pages[i].max) = s;
            }
            break;
        case 5:
            count = ak_parquet_thrift_list(in, &scope, AK_PARQUET_WIRE_I64);
            for (uint32_t i = 0; check_count(in, pages, count) && i < count; i++) {
                if (ak_parquet_thrift_i64_item(in) < 0) {
                    /* parquet-mr says so, and "all null", of pages without statistics */
                    pages->pages[i].is_null = false;
                }
            }
            break;
        default:
            ak_parquet_thrift_skip(in, &scope);
        }
    }
    ak_parquet_thrift_need(in, &scope, 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4);
}

static enum ak_rc read_columns(const struct ak_parquet_reader *reader,
                               const struct ak_parquet_leaf *leaf,
                               const struct ak_parquet_chunk *chunk, struct ak_arena *arena,
                               struct ak_parquet_pages *pages, struct ak_err *err)
{
    struct ak_parquet_thrift in;
    enum ak_rc rc = fetch(reader, chunk->column_index_at, chunk->column_index_len, arena, &in, err);
    if (rc != AK_OK) {
        return rc;
    }
    read_lists(&in, pages);
    if (ak_parquet_thrift_failed(&in)) {
        return ak_fail(err, in.failure.rc, "ColumnIndex: %s", in.failure.text);
    }
    pages->has_column_index = true;
    for (size_t i = 0; i < pages->count; i++) {
        struct ak_parquet_page *page = &pages->pages[i];
        page->has_bounds =
            !page->is_null && ak_parquet_bounds_judge(leaf, &page->min, &page->max, arena);
        if (!page->has_bounds) {
            page->min = page->max = AK_STR_NONE;
        }
    }
    return AK_OK;
}

enum ak_rc ak_parquet_read_pages(const struct ak_parquet_reader *reader, size_t group, size_t leaf,
                                 struct ak_arena *arena, struct ak_parquet_pages *pages,
                                 struct ak_err *err)
{
    return ak_parquet_pages_read(reader, group, leaf, true, arena, pages, err);
}

enum ak_rc ak_parquet_pages_read(const struct ak_parquet_reader *reader, size_t group, size_t leaf,
                                 bool with_columns, struct ak_arena *arena,
                                 struct ak_parquet_pages *pages, struct ak_err *err)
{
    const struct ak_parquet_description *about = &reader->about;
    if (group >= about->group_count || leaf >= about->leaf_count) {
        return ak_fail(err, AK_INVALID,
                       "%s has %zu row groups and %zu columns, not a group %zu and "
                       "a column %zu",
                       reader->name, about->group_count, about->leaf_count, group, leaf);
    }
    const struct ak_parquet_chunk *chunk = &about->groups[group].chunks[leaf];
    struct ak_parquet_pages found = {.pages = NULL};
    if (chunk->offset_index_at == 0) {
        return ak_fail(err, AK_NOT_FOUND, "%s: row group %zu, column '%.*s' has no OffsetIndex",
                       reader->name, group, AK_STR_ARG(about->leaves[leaf].path));
    }
    enum ak_rc rc = read_offsets(reader, chunk, about->groups[group].rows, arena, &found, err);
    if (rc == AK_OK && with_columns && chunk->column_index_at != 0) {
        rc = read_columns(reader, &about->leaves[leaf], chunk, arena, &found, err);
    }
    if (rc != AK_OK) {
        return ak_wrap(err, rc, "%s: row group %zu, column '%.*s'", reader->name, group,
                       AK_STR_ARG(about->leaves[leaf].path));
    }
    *pages = found;
    return AK_OK;
}
