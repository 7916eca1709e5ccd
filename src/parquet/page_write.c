/* page_write.c — one page: levels, values, compression, checksum, header.
 *
 *   V1   [header][ u32 len, repetition levels │ u32 len, definition levels │ values ]
 *               └──────────────────── compressed in one piece ─────────────────────┘
 *   V2   [header][ repetition levels │ definition levels ][ values ]
 *                                                        └ compressed ┘
 *
 * Levels that can only be 0 are left out. The checksum covers the page as stored, without header.
 */
#include "base/mem.h"
#include "parquet/values_write.h"
#include "parquet/writer_priv.h"
#include <string.h>

#define PAGE_MAX ((size_t)1 << 30) /* sizes in headers are i32 */
#define BUFFER_MAX (PAGE_MAX + (PAGE_MAX >> 2))

void ak_encoder_init(struct ak_encoder *encoder)
{
    *encoder = (struct ak_encoder){.codec = ak_codec_open()};
    struct ak_buf *bufs[] = {&encoder->values, &encoder->dense, &encoder->scratch, &encoder->head};
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++) {
        ak_buf_init(bufs[i], BUFFER_MAX);
    }
}

void ak_encoder_release(struct ak_encoder *encoder)
{
    ak_codec_close(encoder->codec);
    ak_buf_release(&encoder->values);
    ak_buf_release(&encoder->dense);
    ak_buf_release(&encoder->scratch);
    ak_buf_release(&encoder->head);
}

/* --- Levels --- */

static void put_def_levels(const struct ak_chunk_in *in, const struct ak_page_out *page,
                           struct ak_buf *out)
{
    const uint8_t *valid = in->values->valid ? in->values->valid + page->first_row : NULL;
    if (in->column->is_list) {
        ak_parquet_put_run(out, page->rows * in->column->dimension, 1, 1);
        return;
    }
    if (!valid) {
        ak_parquet_put_run(out, page->rows, 1, 1);
        return;
    }
    for (uint64_t i = 0; i < page->rows;) { /* runs: nulls come in long ones or hardly at all */
        uint64_t run = 1;
        while (i + run < page->rows && !valid[i + run] == !valid[i]) {
            run++;
        }
        ak_parquet_put_run(out, run, valid[i] != 0, 1);
        i += run;
    }
}

static void with_length(struct ak_buf *out, size_t from)
{
    if (!out->failed) {
        uint32_t len = (uint32_t)(out->len - from - 4);
        memcpy(out->p + from, &len, sizeof len);
    }
}

/* Appends both, each with its length under V1; *rep_len and *def_len are those of V2. */
static void put_levels(const struct ak_chunk_in *in, const struct ak_page_out *page, bool v2,
                       struct ak_buf *out, uint32_t *rep_len, uint32_t *def_len)
{
    size_t from = out->len;
    *rep_len = *def_len = 0;
    if (in->column->is_list) {
        ak_buf_add(out, "\0\0\0\0", v2 ? 0 : 4);
        ak_parquet_put_list_levels(out, page->rows, in->column->dimension);
        *rep_len = (uint32_t)(out->len - from);
        if (!v2) {
            with_length(out, from);
        }
    }
    from = out->len;
    if (in->column->is_list || in->column->is_optional) {
        ak_buf_add(out, "\0\0\0\0", v2 ? 0 : 4);
        put_def_levels(in, page, out);
        *def_len = (uint32_t)(out->len - from);
        if (!v2) {
            with_length(out, from);
        }
    }
}

/* --- Values --- */

struct dense { /* the page's values without nulls */
    const void *p;
    size_t count;
};

static size_t item_size(const struct ak_parquet_column *column)
{
    size_t width = ak_parquet_width(column->type);
    return width ? width : sizeof(struct ak_str);
}

/* NULL .p: no memory. Lists are gathered only where the encoding needs them in one piece. */
static struct dense make_dense(const struct ak_chunk_in *in, const struct ak_page_out *page,
                               struct ak_buf *room)
{
    size_t size = item_size(in->column);
    const char *all = in->values->fixed;
    const uint8_t *valid = in->values->valid;
    struct dense dense = {.count = page->rows};
    if (!in->column->is_list && (!valid || page->nulls == 0)) {
        dense.p = all + page->first_row * size;
        return dense;
    }
    ak_buf_clear(room);
    size_t list = (size_t)in->column->dimension * size;
    size_t bytes = in->column->is_list ? page->rows * list : page->rows * size;
    char *to = ak_buf_reserve(room, bytes + 1);
    dense = (struct dense){.p = to};
    for (uint64_t row = page->first_row; to && row < page->first_row + page->rows; row++) {
        if (in->column->is_list) {
            memcpy(to, in->values->row(in->values->ctx, row), list);
            to += list;
            dense.count += in->column->dimension;
        } else if (valid[row]) {
            memcpy(to, all + row * size, size);
            to += size;
            dense.count++;
        }
    }
    return dense;
}

/* Straight from the rows into the page. */
static bool put_plain_lists(const struct ak_chunk_in *in, const struct ak_page_out *page,
                            struct ak_buf *out)
{
    size_t list = (size_t)in->column->dimension * ak_parquet_width(in->column->type);
    char *to = ak_buf_reserve(out, page->rows * list);
    for (uint64_t i = 0; to && i < page->rows; i++) {
        memcpy(to + i * list, in->values->row(in->values->ctx, page->first_row + i), list);
    }
    out->len += to ? page->rows * list : 0;
    return to != NULL;
}

/* And into their planes. */
static bool put_split_lists(const struct ak_chunk_in *in, const struct ak_page_out *page,
                            struct ak_buf *out)
{
    size_t width = ak_parquet_width(in->column->type);
    size_t count = page->rows * in->column->dimension;
    uint8_t *to = (uint8_t *)ak_buf_reserve(out, count * width);
    if (!to) {
        return false;
    }
    for (uint64_t i = 0; i < page->rows; i++) {
        ak_parquet_split(in->values->row(in->values->ctx, page->first_row + i),
                         in->column->dimension, width, to + i * in->column->dimension, count);
    }
    out->len += count * width;
    return true;
}

static void put_split(const struct ak_parquet_column *column, struct dense dense,
                      struct ak_buf *out)
{
    size_t width = ak_parquet_width(column->type);
    uint8_t *to = (uint8_t *)ak_buf_reserve(out, dense.count * width + 1);
    if (to) {
        ak_parquet_split(dense.p, dense.count, width, to, dense.count);
        out->len += dense.count * width;
    }
}

static void put_strings(const struct ak_parquet_column *column, struct dense dense,
                        struct ak_encoder *encoder, struct ak_buf *out)
{
    const struct ak_str *values = dense.p;
    if (column->encoding == AK_PARQUET_DELTA_LENGTH_BYTE_ARRAY ||
        column->encoding == AK_PARQUET_DELTA_BYTE_ARRAY) {
        size_t lengths = (dense.count * sizeof(int32_t) + 15) / 16 * 16;
        ak_buf_clear(&encoder->scratch);
        char *room = ak_buf_reserve(&encoder->scratch, lengths + dense.count * sizeof *values + 1);
        if (!room) {
            out->failed = out->no_memory = true;
        } else if (column->encoding == AK_PARQUET_DELTA_LENGTH_BYTE_ARRAY) {
            ak_parquet_put_delta_length(out, values, dense.count, (int32_t *)(void *)room);
        } else {
            ak_parquet_put_delta_bytes(out, values, dense.count, (int32_t *)(void *)room,
                                       (struct ak_str *)(void *)(room + lengths));
        }
    } else if (column->type == AK_PARQUET_FIXED) {
        for (size_t i = 0; i < dense.count; i++) {
            ak_buf_add_str(out, values[i]);
        }
    } else {
        ak_parquet_put_bytes(out, values, dense.count);
    }
}

static void put_encoded(const struct ak_parquet_column *column, struct dense dense,
                        struct ak_encoder *encoder, struct ak_buf *out)
{
    size_t width = ak_parquet_width(column->type);
    if (width == 0) {
        put_strings(column, dense, encoder, out);
    } else if (column->type == AK_PARQUET_BOOLEAN) {
        (column->encoding == AK_PARQUET_RLE ? ak_parquet_put_bools_rle
                                            : ak_parquet_put_bools)(out, dense.p, dense.count);
    } else if (column->encoding == AK_PARQUET_BYTE_STREAM_SPLIT) {
        put_split(column, dense, out);
    } else if (column->encoding == AK_PARQUET_DELTA_BINARY_PACKED) {
        if (width == 4) {
            ak_parquet_put_delta32(out, dense.p, dense.count);
        } else {
            ak_parquet_put_delta64(out, dense.p, dense.count);
        }
    } else {
        ak_buf_add(out, dense.p, dense.count * width);
    }
}

static bool put_indexes(const struct ak_dictionary *dictionary, uint64_t first, size_t count,
                        struct ak_encoder *encoder, struct ak_buf *out)
{
    const uint8_t *narrow = dictionary->indexes;
    const uint32_t *wide = dictionary->indexes;
    ak_buf_clear(&encoder->scratch);
    uint32_t *room = (void *)ak_buf_reserve(&encoder->scratch, count * sizeof *room + 1);
    if (!room) {
        return false;
    }
    for (size_t i = 0; i < count && !dictionary->is_wide; i++) {
        room[i] = narrow[first + i];
    }
    ak_buf_add_char(out, (char)dictionary->bits);
    ak_parquet_put_hybrid(out, dictionary->is_wide ? wide + first : room, count, dictionary->bits);
    return true;
}

static bool put_values(const struct ak_chunk_in *in, uint64_t values_before,
                       struct ak_encoder *encoder, struct ak_page_out *page, struct ak_buf *out)
{
    const struct ak_parquet_column *column = in->column;
    if (column->is_list && !in->dictionary && column->encoding == AK_PARQUET_BYTE_STREAM_SPLIT) {
        return put_split_lists(in, page, out);
    }
    if (column->is_list && !in->dictionary && column->encoding == AK_PARQUET_PLAIN) {
        return put_plain_lists(in, page, out);
    }
    struct dense dense = {.count = (size_t)page->rows * column->dimension};
    if (!column->is_list || !in->dictionary) {
        dense = make_dense(in, page, &encoder->dense);
        if (!dense.p) { /* a page has rows, so that there is always something to point to */
            return false;
        }
        ak_bounds_look(column, dense.p, dense.count, &page->bounds);
    }
    if (in->dictionary) {
        return put_indexes(in->dictionary, values_before, dense.count, encoder, out);
    }
    put_encoded(column, dense, encoder, out); /* also of none: the DELTA encodings have a head */
    return true;
}

/* --- Putting it together --- */

/* Compress `raw` behind what `stored` holds. */
static enum ak_rc compress(const struct ak_page_format *format, struct ak_encoder *encoder,
                           struct ak_str raw, struct ak_buf *stored, struct ak_err *err)
{
    size_t bound = ak_codec_bound(format->codec, raw.len);
    char *to = ak_buf_reserve(stored, bound + 1);
    size_t len = 0;
    if (!to) {
        return ak_buf_check(stored, err);
    }
    enum ak_rc rc =
        ak_codec_compress(encoder->codec, format->codec, format->level, raw, to, bound, &len, err);
    stored->len += rc == AK_OK ? len : 0;
    return rc;
}

/* --- The level of a chunk of vectors --- */

#define SAMPLES ((size_t)4)
#define SAMPLE_BYTES ((size_t)64 << 10)

static enum ak_rc sample_size(struct ak_encoder *encoder, int level, struct ak_str bytes,
                              size_t *sum, struct ak_err *err)
{
    struct ak_buf *room = &encoder->scratch;
    const struct ak_page_format format = {.codec = AK_CODEC_ZSTD, .level = level};
    ak_buf_clear(room);
    enum ak_rc rc = compress(&format, encoder, bytes, room, err);
    *sum += room->len;
    return rc;
}

/* Each stream by itself: in a page they are long enough to have blocks of their own. Gaining less
 * than a hundredth is not worth the search. */
enum ak_rc ak_page_choose_level(const struct ak_page_format *format, const struct ak_chunk_in *in,
                                uint64_t rows, struct ak_encoder *encoder, int *level,
                                struct ak_err *err)
{
    const struct ak_parquet_column *column = in->column;
    size_t width = ak_parquet_width(column->type);
    size_t list = (size_t)column->dimension * width;
    *level = format->level;
    if (format->codec != AK_CODEC_ZSTD || format->level != 0 || in->dictionary ||
        !column->is_list || column->encoding != AK_PARQUET_BYTE_STREAM_SPLIT ||
        rows * list < 2 * SAMPLES * SAMPLE_BYTES) {
        return AK_OK;
    }
    enum ak_rc rc = AK_OK;
    for (size_t s = 0; s < SAMPLES && rc == AK_OK; s++) {
        struct ak_page_out page = {.first_row = rows / SAMPLES * s,
                                   .rows = SAMPLE_BYTES / list ? SAMPLE_BYTES / list : 1};
        size_t with_search = 0;
        size_t without = 0;
        ak_buf_clear(&encoder->values);
        if (!put_split_lists(in, &page, &encoder->values)) {
            return ak_fail(err, AK_NOMEM, "a sample of column '%s'", column->name);
        }
        size_t stream = encoder->values.len / width;
        for (size_t b = 0; b < width && rc == AK_OK; b++) {
            struct ak_str bytes = {encoder->values.p + b * stream, stream};
            rc = sample_size(encoder, 0, bytes, &with_search, err);
            rc = rc ? rc : sample_size(encoder, AK_CODEC_LEVEL_ENTROPY, bytes, &without, err);
        }
        if (rc == AK_OK && without > with_search + with_search / 100) {
            return AK_OK;
        }
    }
    *level = rc == AK_OK ? AK_CODEC_LEVEL_ENTROPY : *level;
    return rc;
}

/* --- A page --- */

static void count_nulls(const struct ak_chunk_in *in, struct ak_page_out *page)
{
    page->nulls = 0;
    for (uint64_t i = 0; in->values->valid && i < page->rows; i++) {
        page->nulls += !in->values->valid[page->first_row + i];
    }
}

static enum ak_rc too_big(const struct ak_chunk_in *in, struct ak_err *err)
{
    return ak_fail(err, AK_TOO_BIG,
                   "a page of column '%s' would pass 1 GiB: write fewer rows a page",
                   in->column->name);
}

/* The page begins behind room for its header, so that both go to the sink in one piece. */
static bool open_page(struct ak_page_out *page)
{
    ak_buf_clear(&page->bytes);
    if (!ak_buf_reserve(&page->bytes, AK_PARQUET_HEAD_MAX)) {
        return false;
    }
    page->bytes.len = AK_PARQUET_HEAD_MAX;
    return true;
}

static struct ak_str stored_of(const struct ak_page_out *page)
{
    return ak_str_sub(ak_buf_str(&page->bytes), AK_PARQUET_HEAD_MAX, page->bytes.len);
}

/* Puts the header right before the page. */
static enum ak_rc close_page(const struct ak_buf *head, size_t raw_len, struct ak_page_out *page,
                             struct ak_err *err)
{
    enum ak_rc rc = ak_buf_check(head, err);
    if (rc != AK_OK) {
        return rc;
    }
    AK_ASSERT(head->len <= AK_PARQUET_HEAD_MAX);
    page->begin = AK_PARQUET_HEAD_MAX - head->len;
    memcpy(page->bytes.p + page->begin, head->p, head->len);
    page->raw_len = (uint32_t)(raw_len + head->len);
    page->len = (uint32_t)(page->bytes.len - page->begin);
    return AK_OK;
}

static enum ak_rc no_memory(const struct ak_chunk_in *in, struct ak_err *err)
{
    return ak_fail(err, AK_NOMEM, "a page of column '%s'", in->column->name);
}

/* What is not compressed is put where it stays; the rest passes through encoder->values. */
enum ak_rc ak_page_encode(const struct ak_page_format *format, const struct ak_chunk_in *in,
                          uint64_t values_before, struct ak_encoder *encoder,
                          struct ak_page_out *page, struct ak_err *err)
{
    uint32_t rep_len = 0;
    uint32_t def_len = 0;
    bool is_compressed = format->codec != AK_CODEC_NONE;
    struct ak_buf *values = is_compressed ? &encoder->values : &page->bytes;
    struct ak_buf *levels = format->v2 ? &page->bytes : values;
    ak_buf_clear(&encoder->values);
    count_nulls(in, page);
    page->bounds.is_set = false;
    if (!open_page(page)) {
        return no_memory(in, err);
    }
    put_levels(in, page, format->v2, levels, &rep_len, &def_len);
    if (!put_values(in, values_before, encoder, page, values) || values->no_memory ||
        levels->no_memory) {
        return no_memory(in, err);
    }
    size_t raw_len = stored_of(page).len + encoder->values.len;
    if (values->failed || levels->failed || raw_len > PAGE_MAX) {
        return too_big(in, err);
    }
    if (is_compressed && (values->len || !format->v2)) {
        enum ak_rc rc = compress(format, encoder, ak_buf_str(values), &page->bytes, err);
        if (rc != AK_OK) {
            return rc;
        }
    }
    struct ak_str stored = stored_of(page);
    ak_buf_clear(&encoder->head);
    ak_meta_page_header(format, in, page, (uint32_t)raw_len, (uint32_t)stored.len, def_len, rep_len,
                        ak_parquet_crc32(0, stored.p, stored.len), &encoder->head);
    return close_page(&encoder->head, raw_len, page, err);
}

enum ak_rc ak_page_encode_dictionary(const struct ak_page_format *format,
                                     const struct ak_dictionary *dictionary,
                                     struct ak_encoder *encoder, struct ak_page_out *page,
                                     struct ak_err *err)
{
    struct ak_str raw = ak_buf_str(&dictionary->plain);
    enum ak_rc rc = AK_OK;
    if (!open_page(page)) {
        return ak_fail(err, AK_NOMEM, "a dictionary of %zu bytes", raw.len);
    }
    if (format->codec == AK_CODEC_NONE) {
        ak_buf_add_str(&page->bytes, raw);
        rc = ak_buf_check(&page->bytes, err);
    } else {
        rc = compress(format, encoder, raw, &page->bytes, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_str stored = stored_of(page);
    ak_buf_clear(&encoder->head);
    ak_meta_dictionary_header(dictionary->count, (uint32_t)raw.len, (uint32_t)stored.len,
                              ak_parquet_crc32(0, stored.p, stored.len), &encoder->head);
    return close_page(&encoder->head, raw.len, page, err);
}
