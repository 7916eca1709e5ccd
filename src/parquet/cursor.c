/* cursor.c — values of a column chunk as batches of whole rows.
 *
 * Pages are decoded one at a time behind what is still in the buffers; whole rows are given from
 * the front. A row that goes on in the next page (V1 without index) waits for it: its levels and
 * values move to the front, and the bytes of its strings are copied, since their page goes away.
 *
 * I1 Slots [0, slots) and values [0, value_count) are in the buffers; before from_slot and
 *    from_value they have been given.
 * I2 `row` is the row of the slot at from_slot, which begins a row.
 */
#include "parquet/read_priv.h"
#include <string.h>

static bool has_strings(const struct ak_parquet_leaf *leaf)
{
    return ak_parquet_value_size(leaf) == sizeof(struct ak_str) &&
           (leaf->type == AK_PARQUET_BYTE_ARRAY || leaf->fixed_len > 0);
}

/* Forget what was given; keep the rest, with its bytes. */
static enum ak_rc compact(struct ak_parquet_cursor *cursor, struct ak_err *err)
{
    const struct ak_parquet_leaf *leaf = cursor->stream.leaf;
    size_t slots = cursor->slots - cursor->from_slot;
    size_t count = cursor->value_count - cursor->from_value;
    size_t size = ak_parquet_value_size(leaf);
    if (slots > 0 && leaf->max_def > 0) {
        memmove(cursor->def.p, cursor->def.p + cursor->from_slot, slots);
    }
    if (slots > 0 && leaf->max_rep > 0) {
        memmove(cursor->rep.p, cursor->rep.p + cursor->from_slot, slots);
    }
    if (count > 0) {
        memmove(cursor->values.p, cursor->values.p + cursor->from_value * size, count * size);
    }
    cursor->from_slot = cursor->from_value = 0;
    cursor->slots = slots;
    cursor->value_count = count;
    if (count == 0 || !has_strings(leaf)) {
        return AK_OK;
    }
    struct ak_str *strings = (struct ak_str *)(void *)cursor->values.p;
    struct ak_parquet_mem *to = &cursor->carry[cursor->carry_now ^ 1];
    size_t total = 1;
    for (size_t i = 0; i < count; i++) {
        if (ak_add_overflows(total, strings[i].len, &total)) {
            total = SIZE_MAX;
        }
    }
    enum ak_rc rc = ak_parquet_mem_need(&cursor->stream.budget, to, total, 0, err);
    uint8_t *at = to->p;
    for (size_t i = 0; rc == AK_OK && i < count; i++) {
        if (strings[i].len > 0) {
            memcpy(at, strings[i].p, strings[i].len);
        }
        strings[i].p = (const char *)at;
        at += strings[i].len;
    }
    cursor->carry_now ^= 1;
    return rc;
}

static enum ak_rc read_levels(const uint8_t *p, size_t len, unsigned max, uint8_t *out,
                              size_t count, const char *what, struct ak_err *err)
{
    struct ak_parquet_rle rle;
    ak_parquet_rle_init(&rle, p, len, ak_parquet_bits_for(max));
    if (!ak_parquet_rle_read_u8(&rle, out, count)) {
        return ak_fail(err, AK_CORRUPT, "the %s levels end before %zu, or are malformed", what,
                       count);
    }
    uint8_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        largest = out[i] > largest ? out[i] : largest;
    }
    if (largest > max) {
        return ak_fail(err, AK_CORRUPT, "a %s level is %u, at most %u is possible", what, largest,
                       max);
    }
    return AK_OK;
}

static size_t count_equal(const uint8_t *levels, size_t count, uint8_t level)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        n += levels[i] == level;
    }
    return n;
}

/* Levels of the page behind those in the buffers; *values and *rows that begin in it. */
static enum ak_rc append_levels(struct ak_parquet_cursor *cursor,
                                const struct ak_parquet_data *page, size_t *values, size_t *rows,
                                struct ak_err *err)
{
    const struct ak_parquet_leaf *leaf = cursor->stream.leaf;
    struct ak_parquet_budget *budget = &cursor->stream.budget;
    enum ak_rc rc = AK_OK;
    size_t slots = cursor->slots;
    *values = *rows = page->slots;
    if (leaf->max_rep > 0) {
        rc = ak_parquet_mem_need(budget, &cursor->rep, slots + page->slots, slots, err);
        if (rc == AK_OK) {
            rc = read_levels(page->rep, page->rep_len, leaf->max_rep, cursor->rep.p + slots,
                             page->slots, "repetition", err);
        }
        if (rc == AK_OK && page->slots > 0 && page->begins_row && cursor->rep.p[slots] != 0) {
            rc = ak_fail(err, AK_CORRUPT, "the page does not begin with a row");
        }
        *rows = rc == AK_OK ? count_equal(cursor->rep.p + slots, page->slots, 0) : 0;
    }
    if (rc == AK_OK && leaf->max_def > 0) {
        rc = ak_parquet_mem_need(budget, &cursor->def, slots + page->slots, slots, err);
        if (rc == AK_OK) {
            rc = read_levels(page->def, page->def_len, leaf->max_def, cursor->def.p + slots,
                             page->slots, "definition", err);
        }
        *values = rc == AK_OK ? count_equal(cursor->def.p + slots, page->slots, leaf->max_def) : 0;
    }
    if (rc == AK_OK && page->nulls >= 0 && (uint64_t)page->nulls != page->slots - *values) {
        rc = ak_fail(err, AK_CORRUPT, "the page has %zu nulls, its header says %lld",
                     page->slots - *values, (long long)page->nulls);
    }
    if (rc == AK_OK && page->rows >= 0 && (uint64_t)page->rows != *rows) {
        rc = ak_fail(err, AK_CORRUPT, "the page has %zu rows, its header says %lld", *rows,
                     (long long)page->rows);
    }
    return rc;
}

/* With an index: does the page hold as many rows as the index says, and values as it says? */
static enum ak_rc check_index(const struct ak_parquet_cursor *cursor, size_t values, size_t rows,
                              struct ak_err *err)
{
    const struct ak_parquet_stream *stream = &cursor->stream;
    if (!stream->has_pages) {
        return AK_OK;
    }
    const struct ak_parquet_page *page = &stream->pages.pages[stream->page];
    uint64_t next = stream->page + 1 < stream->pages.count
                        ? page[1].first_row
                        : stream->reader->about.groups[stream->group].rows;
    if (rows != next - page->first_row) {
        return ak_fail(err, AK_CORRUPT, "the page has %zu rows, the OffsetIndex says %llu", rows,
                       (unsigned long long)(next - page->first_row));
    }
    if (page->is_null && values > 0) {
        return ak_fail(err, AK_CORRUPT, "the page has %zu values, the ColumnIndex says none",
                       values);
    }
    return AK_OK;
}

/* All rows of the chunk are behind it: what must hold then. */
static enum ak_rc check_end(const struct ak_parquet_cursor *cursor, struct ak_err *err)
{
    const struct ak_parquet_stream *stream = &cursor->stream;
    if ((!stream->has_pages || stream->holds_index) &&
        stream->slots_seen != stream->chunk->values) {
        return ak_fail(err, AK_CORRUPT, "the pages hold %llu values, the metadata says %llu",
                       (unsigned long long)stream->slots_seen,
                       (unsigned long long)stream->chunk->values);
    }
    if (stream->has_pages && stream->page != stream->pages_until) {
        return ak_fail(err, AK_CORRUPT, "there are %zu pages, the OffsetIndex says %zu",
                       stream->page, stream->pages_until);
    }
    return AK_OK;
}

static enum ak_rc load_page(struct ak_parquet_cursor *cursor, struct ak_err *err)
{
    struct ak_parquet_stream *stream = &cursor->stream;
    struct ak_parquet_data page;
    size_t size = ak_parquet_value_size(stream->leaf);
    size_t values = 0;
    size_t rows = 0;
    bool is_end = false;
    enum ak_rc rc = compact(cursor, err);
    if (rc == AK_OK) {
        rc = ak_parquet_stream_next(stream, &page, &is_end, err);
    }
    if (rc == AK_OK && is_end) {
        cursor->is_end = true;
        return check_end(cursor, err);
    }
    if (rc == AK_OK && page.slots > UINT32_MAX - cursor->slots) {
        rc = ak_fail(err, AK_TOO_BIG, "a row of more than %u values", UINT32_MAX);
    }
    if (rc == AK_OK) { /* before the levels: a page of few bytes may claim very many values */
        rc = ak_parquet_mem_need(&stream->budget, &cursor->values,
                                 (cursor->value_count + page.slots) * size + 1,
                                 cursor->value_count * size, err);
    }
    if (rc == AK_OK) {
        rc = append_levels(cursor, &page, &values, &rows, err);
    }
    if (rc == AK_OK) {
        rc = ak_parquet_values(&stream->decoder, page.encoding, page.bytes, page.len, values,
                               cursor->values.p + cursor->value_count * size, err);
    }
    if (rc == AK_OK) {
        rc = check_index(cursor, values, rows, err);
    }
    if (rc == AK_OK) {
        cursor->slots += page.slots;
        cursor->value_count += values;
        stream->page++;
    }
    return rc;
}

/* Where the row at `slot` ends; false: in a page that is not here yet. */
static bool row_end(const struct ak_parquet_cursor *cursor, size_t slot, size_t *end)
{
    if (cursor->stream.leaf->max_rep == 0) {
        *end = slot + 1;
        return slot < cursor->slots;
    }
    size_t at = slot + 1;
    while (at < cursor->slots && cursor->rep.p[at] != 0) {
        at++;
    }
    *end = at;
    /* The last row of the buffers is whole when no page follows, or the next one begins a row. */
    return at < cursor->slots || (at == cursor->slots && slot < cursor->slots &&
                                  (cursor->is_end || cursor->stream.has_pages));
}

static size_t values_in(const struct ak_parquet_cursor *cursor, size_t from, size_t to)
{
    const struct ak_parquet_leaf *leaf = cursor->stream.leaf;
    return leaf->max_def == 0 ? to - from
                              : count_equal(cursor->def.p + from, to - from, leaf->max_def);
}

/* Drop rows that come before the first wanted. */
static void skip_rows(struct ak_parquet_cursor *cursor)
{
    size_t end = 0;
    while (cursor->skip > 0 && row_end(cursor, cursor->from_slot, &end)) {
        cursor->from_value += values_in(cursor, cursor->from_slot, end);
        cursor->from_slot = end;
        cursor->skip--;
        cursor->row++;
    }
}

static enum ak_rc place_rows(struct ak_parquet_cursor *cursor, size_t rows_max,
                             struct ak_parquet_batch *batch, struct ak_err *err)
{
    struct ak_parquet_budget *budget = &cursor->stream.budget;
    uint64_t limit = rows_max > 0 && rows_max < cursor->left ? rows_max : cursor->left;
    size_t possible = cursor->slots - cursor->from_slot;
    limit = possible < limit ? possible : limit;
    size_t bytes = ((size_t)limit + 1) * sizeof(uint32_t);
    enum ak_rc rc = ak_parquet_mem_need(budget, &cursor->slot_at, bytes, 0, err);
    if (rc == AK_OK) {
        rc = ak_parquet_mem_need(budget, &cursor->value_at, bytes, 0, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    uint32_t *slot_at = (uint32_t *)(void *)cursor->slot_at.p;
    uint32_t *value_at = (uint32_t *)(void *)cursor->value_at.p;
    size_t slot = cursor->from_slot;
    size_t value = cursor->from_value;
    size_t end = 0;
    size_t rows = 0;
    slot_at[0] = value_at[0] = 0;
    while (rows < limit && row_end(cursor, slot, &end)) {
        value += values_in(cursor, slot, end);
        slot = end;
        rows++;
        slot_at[rows] = (uint32_t)(slot - cursor->from_slot);
        value_at[rows] = (uint32_t)(value - cursor->from_value);
    }
    *batch = (struct ak_parquet_batch){
        .first_row = cursor->row,
        .rows = rows,
        .slots = slot - cursor->from_slot,
        .values = value - cursor->from_value,
        .def = cursor->stream.leaf->max_def > 0 ? cursor->def.p + cursor->from_slot : NULL,
        .rep = cursor->stream.leaf->max_rep > 0 ? cursor->rep.p + cursor->from_slot : NULL,
        .slot_at = slot_at,
        .value_at = value_at,
        .bools = cursor->values.p + cursor->from_value * ak_parquet_value_size(cursor->stream.leaf),
    };
    cursor->from_slot = slot;
    cursor->from_value = value;
    cursor->row += rows;
    cursor->left -= rows;
    return AK_OK;
}

static enum ak_rc next(struct ak_parquet_cursor *cursor, size_t rows_max,
                       struct ak_parquet_batch *batch, struct ak_err *err)
{
    const struct ak_parquet_stream *stream = &cursor->stream;
    bool is_whole = !stream->has_pages && cursor->row + cursor->skip + cursor->left ==
                                              stream->reader->about.groups[stream->group].rows;
    batch->rows = 0;
    for (;;) {
        enum ak_rc rc = AK_OK;
        skip_rows(cursor);
        if (cursor->skip == 0 && cursor->left > 0 && cursor->from_slot < cursor->slots) {
            rc = place_rows(cursor, rows_max, batch, err);
            if (rc != AK_OK || batch->rows > 0) {
                return rc;
            }
        }
        if (cursor->is_end) {
            if (cursor->left > 0 || (is_whole && cursor->from_slot < cursor->slots)) {
                return ak_fail(
                    err, AK_CORRUPT, "the pages hold %llu rows %s than the metadata says",
                    (unsigned long long)cursor->left, cursor->left > 0 ? "fewer" : "more");
            }
            return AK_OK;
        }
        if (cursor->left == 0 && !is_whole && !stream->has_pages) {
            return AK_OK; /* the rest was not asked for */
        }
        rc = load_page(cursor, err);
        if (rc != AK_OK) {
            return rc;
        }
    }
}

enum ak_rc ak_parquet_cursor_init(struct ak_parquet_cursor *cursor,
                                  const struct ak_parquet_reader *reader, size_t group, size_t leaf,
                                  uint64_t first, uint64_t rows, struct ak_err *err)
{
    const struct ak_parquet_description *about = &reader->about;
    *cursor = (struct ak_parquet_cursor){.left = rows};
    if (group >= about->group_count || leaf >= about->leaf_count ||
        first > about->groups[group].rows || rows > about->groups[group].rows - first) {
        return ak_fail(err, AK_INVALID,
                       "%s has %zu row groups and %zu columns, not rows %llu to %llu of group %zu, "
                       "column %zu",
                       reader->name, about->group_count, about->leaf_count,
                       (unsigned long long)first, (unsigned long long)(first + rows), group, leaf);
    }
    enum ak_rc rc = ak_parquet_stream_open(&cursor->stream, reader, group, leaf, first, rows,
                                           &cursor->row, err);
    cursor->skip = first - cursor->row;
    cursor->is_end = rows == 0 && first > 0;
    return rc;
}

enum ak_rc ak_parquet_cursor_hold_index(struct ak_parquet_cursor *cursor, struct ak_err *err)
{
    struct ak_parquet_stream *stream = &cursor->stream;
    stream->holds_index = true;
    if (stream->chunk->offset_index_at == 0) {
        return AK_OK;
    }
    enum ak_rc rc = ak_parquet_read_pages(stream->reader, stream->group, stream->leaf_at,
                                          &stream->arena, &stream->pages, err);
    stream->has_pages = rc == AK_OK;
    stream->pages_until = stream->pages.count;
    return rc;
}

void ak_parquet_cursor_release(struct ak_parquet_cursor *cursor)
{
    struct ak_parquet_budget *budget = &cursor->stream.budget;
    if (!cursor->stream.codec) {
        return; /* never opened */
    }
    ak_parquet_mem_release(budget, &cursor->def);
    ak_parquet_mem_release(budget, &cursor->rep);
    ak_parquet_mem_release(budget, &cursor->values);
    ak_parquet_mem_release(budget, &cursor->slot_at);
    ak_parquet_mem_release(budget, &cursor->value_at);
    ak_parquet_mem_release(budget, &cursor->carry[0]);
    ak_parquet_mem_release(budget, &cursor->carry[1]);
    ak_parquet_stream_close(&cursor->stream);
}

enum ak_rc ak_parquet_cursor_open(const struct ak_parquet_reader *reader, size_t group, size_t leaf,
                                  uint64_t first, uint64_t rows, struct ak_parquet_cursor **cursor,
                                  struct ak_err *err)
{
    struct ak_parquet_cursor *made = ak_alloc(sizeof *made);
    enum ak_rc rc = ak_parquet_cursor_init(made, reader, group, leaf, first, rows, err);
    if (rc == AK_OK && reader->options.check_index && rows == reader->about.groups[group].rows) {
        rc = ak_parquet_cursor_hold_index(made, err);
    }
    if (rc != AK_OK) {
        ak_parquet_cursor_close(made);
        return rc;
    }
    *cursor = made;
    return AK_OK;
}

void ak_parquet_cursor_close(struct ak_parquet_cursor *cursor)
{
    if (cursor) {
        ak_parquet_cursor_release(cursor);
        ak_free(cursor);
    }
}

enum ak_rc ak_parquet_next(struct ak_parquet_cursor *cursor, size_t rows_max,
                           struct ak_parquet_batch *batch, struct ak_err *err)
{
    struct ak_parquet_batch got = {.rows = 0};
    if (cursor->has_failed) {
        return ak_fail(err, AK_INVALID, "%s: the column failed before; open it again",
                       cursor->stream.reader->name);
    }
    enum ak_rc rc = next(cursor, rows_max, &got, err);
    if (rc != AK_OK) {
        cursor->has_failed = true;
        return ak_parquet_stream_wrap(&cursor->stream, rc, err);
    }
    *batch = got;
    return AK_OK;
}
