/* page_read.c — the bytes of a column chunk as pages.
 *
 * chunk := [dictionary page] data page… ; page := PageHeader (thrift), stored bytes.
 * V1: everything is compressed together: u32 length + repetition levels, u32 length + definition
 * levels (each only when its maximum is above 0), values. V2: both levels stand uncompressed in
 * front, their lengths in the header, and the values may be compressed.
 *
 * The window is the part of the chunk that is in memory: read in steps of read_ahead, never beyond
 * what is wanted. Bytes of one page are always contiguous in it.
 *
 * I1 A page's sizes are held against the chunk's bytes and the budget before anything is read.
 * I2 The checksum is over the stored bytes and checked before they are unpacked.
 * I3 Slots of all data pages add up to the chunk's; at the end nothing is left over.
 */
#include "parquet/read_priv.h"
#include <string.h>

struct header {
    int32_t type, unpacked, stored, slots, nulls, rows, encoding;
    int32_t def_encoding, rep_encoding, def_len, rep_len;
    uint32_t crc;
    bool has_crc, is_plain; /* V2: not compressed */
    bool has_body;          /* the struct of its type was there */
    size_t len;             /* bytes of the header itself */
};

enum ak_rc ak_parquet_source_read(const struct ak_parquet_reader *reader, uint64_t at, void *p,
                                  size_t len, struct ak_err *err)
{
    AK_ASSERT(at <= reader->source.size && len <= reader->source.size - at);
    if (len == 0) {
        return AK_OK;
    }
    if (reader->source.bytes) {
        memcpy(p, reader->source.bytes + at, len);
        return AK_OK;
    }
    return reader->source.read_at(reader->source.ctx, at, p, len, err);
}

enum ak_rc ak_parquet_stream_wrap(const struct ak_parquet_stream *stream, enum ak_rc rc,
                                  struct ak_err *err)
{
    return ak_wrap(err, rc, "%s: row group %zu, column '%.*s', page %zu at byte %llu",
                   stream->reader->name, stream->group, AK_STR_ARG(stream->leaf->path),
                   stream->page, (unsigned long long)stream->page_at);
}

/* `len` bytes of the chunk from `at`, contiguous; at + len ≤ stream->end. */
static enum ak_rc window(struct ak_parquet_stream *stream, uint64_t at, size_t len,
                         const uint8_t **p, struct ak_err *err)
{
    const struct ak_parquet_source *source = &stream->reader->source;
    if (source->bytes) {
        *p = source->bytes + at;
        return AK_OK;
    }
    size_t kept = 0;
    if (at >= stream->window_at && at - stream->window_at <= stream->window_len) {
        kept = stream->window_len - (size_t)(at - stream->window_at);
    }
    if (kept < len) {
        uint64_t want = stream->end - at;
        uint64_t ahead = stream->reader->options.read_ahead;
        want = want > ahead ? ahead : want;
        want = want < len ? len : want;
        size_t room = stream->budget.max - (stream->budget.used - stream->window.cap);
        want = want > room && room >= len ? len : want; /* no reading ahead when memory is short */
        if (kept > 0) {
            memmove(stream->window.p, stream->window.p + (at - stream->window_at), kept);
        }
        stream->window_at = at;
        stream->window_len = kept;
        enum ak_rc rc =
            ak_parquet_mem_need(&stream->budget, &stream->window, (size_t)want, kept, err);
        if (rc == AK_OK) {
            rc = ak_parquet_source_read(stream->reader, at + kept, stream->window.p + kept,
                                        (size_t)want - kept, err);
        }
        if (rc != AK_OK) {
            stream->window_len = 0;
            return rc;
        }
        stream->window_len = (size_t)want;
    }
    *p = stream->window.p + (at - stream->window_at);
    return AK_OK;
}

/* --- The header --- */

static void read_data_v1(struct ak_parquet_thrift *in, struct header *header)
{
    struct ak_parquet_scope scope;
    ak_parquet_thrift_begin(in, &scope, "DataPageHeader");
    while (ak_parquet_thrift_field(in, &scope)) {
        switch (scope.field) {
        case 1:
            header->slots = ak_parquet_thrift_i32(in, &scope);
            break;
        case 2:
            header->encoding = ak_parquet_thrift_i32(in, &scope);
            break;
        case 3:
            header->def_encoding = ak_parquet_thrift_i32(in, &scope);
            break;
        case 4:
            header->rep_encoding = ak_parquet_thrift_i32(in, &scope);
            break;
        default:
            ak_parquet_thrift_skip(in, &scope);
        }
    }
    ak_parquet_thrift_need(in, &scope, 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4);
    header->nulls = header->rows = -1;
    header->has_body = header->type == AK_PARQUET_PAGE_DATA;
}

static void read_data_v2(struct ak_parquet_thrift *in, struct header *header)
{
    struct ak_parquet_scope scope;
    ak_parquet_thrift_begin(in, &scope, "DataPageHeaderV2");
    while (ak_parquet_thrift_field(in, &scope)) {
        switch (scope.field) {
        case 1:
            header->slots = ak_parquet_thrift_i32(in, &scope);
            break;
        case 2:
            header->nulls = ak_parquet_thrift_i32(in, &scope);
            break;
        case 3:
            header->rows = ak_parquet_thrift_i32(in, &scope);
            break;
        case 4:
            header->encoding = ak_parquet_thrift_i32(in, &scope);
            break;
        case 5:
            header->def_len = ak_parquet_thrift_i32(in, &scope);
            break;
        case 6:
            header->rep_len = ak_parquet_thrift_i32(in, &scope);
            break;
        case 7:
            header->is_plain = !ak_parquet_thrift_bool(in, &scope);
            break;
        default:
            ak_parquet_thrift_skip(in, &scope);
        }
    }
    ak_parquet_thrift_need(in, &scope, 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6);
    header->has_body = header->type == AK_PARQUET_PAGE_DATA_V2;
}

static void read_dictionary(struct ak_parquet_thrift *in, struct header *header)
{
    struct ak_parquet_scope scope;
    ak_parquet_thrift_begin(in, &scope, "DictionaryPageHeader");
    while (ak_parquet_thrift_field(in, &scope)) {
        if (scope.field == 1) {
            header->slots = ak_parquet_thrift_i32(in, &scope);
        } else if (scope.field == 2) {
            header->encoding = ak_parquet_thrift_i32(in, &scope);
        } else {
            ak_parquet_thrift_skip(in, &scope);
        }
    }
    ak_parquet_thrift_need(in, &scope, 1 << 1 | 1 << 2);
    header->has_body = header->type == AK_PARQUET_PAGE_DICTIONARY;
}

static void parse_header(struct ak_parquet_thrift *in, struct header *header)
{
    struct ak_parquet_scope scope;
    *header = (struct header){.type = -1};
    ak_parquet_thrift_begin(in, &scope, "PageHeader");
    while (ak_parquet_thrift_field(in, &scope)) {
        switch (scope.field) {
        case 1:
            header->type = ak_parquet_thrift_i32(in, &scope);
            break;
        case 2:
            header->unpacked = ak_parquet_thrift_i32(in, &scope);
            break;
        case 3:
            header->stored = ak_parquet_thrift_i32(in, &scope);
            break;
        case 4:
            header->crc = (uint32_t)ak_parquet_thrift_i32(in, &scope);
            header->has_crc = true;
            break;
        case 5:
        case 7:
        case 8:
            ak_parquet_thrift_expect(in, &scope, AK_PARQUET_WIRE_STRUCT);
            if (scope.field == 5) {
                read_data_v1(in, header);
            } else if (scope.field == 7) {
                read_dictionary(in, header);
            } else {
                read_data_v2(in, header);
            }
            break;
        default:
            ak_parquet_thrift_skip(in, &scope);
        }
    }
    ak_parquet_thrift_need(in, &scope, 1 << 1 | 1 << 2 | 1 << 3);
    header->len = (size_t)(in->at - in->begin);
}

static enum ak_rc check_header(const struct ak_parquet_stream *stream, const struct header *header,
                               struct ak_err *err)
{
    uint64_t left = stream->end - stream->at - header->len;
    if (header->type < 0 || header->type > AK_PARQUET_PAGE_DATA_V2) {
        return ak_fail(err, AK_UNSUPPORTED, "a page of the unknown type %d", header->type);
    }
    if (header->stored < 0 || header->unpacked < 0 || (uint64_t)header->stored > left) {
        return ak_fail(err, AK_CORRUPT, "%d bytes are stored of %d, %llu are left in the chunk",
                       header->stored, header->unpacked, (unsigned long long)left);
    }
    if (header->type == AK_PARQUET_PAGE_INDEX) {
        return AK_OK;
    }
    if (!header->has_body) {
        return ak_fail(err, AK_CORRUPT, "a page of type %d has another's header", header->type);
    }
    if (stream->chunk->codec == AK_CODEC_NONE && header->stored != header->unpacked) {
        return ak_fail(err, AK_CORRUPT, "%d bytes are stored of %d, without compression",
                       header->stored, header->unpacked);
    }
    if ((uint32_t)header->unpacked > stream->budget.max) {
        return ak_fail(err, AK_TOO_BIG, "a page of %d bytes, reading may take %zu (memory_max)",
                       header->unpacked, stream->budget.max);
    }
    if (header->slots < 0) {
        return ak_fail(err, AK_CORRUPT, "%d values", header->slots);
    }
    if (header->type != AK_PARQUET_PAGE_DICTIONARY &&
        (uint32_t)header->slots > stream->chunk->values - stream->slots_seen) {
        return ak_fail(err, AK_CORRUPT, "%d values, %llu are left in the chunk", header->slots,
                       (unsigned long long)(stream->chunk->values - stream->slots_seen));
    }
    return AK_OK;
}

static enum ak_rc read_header(struct ak_parquet_stream *stream, struct header *header,
                              struct ak_err *err)
{
    uint64_t left = stream->end - stream->at;
    size_t tried = AK_PARQUET_HEADER_FIRST;
    for (;;) {
        struct ak_parquet_thrift in;
        const uint8_t *p = NULL;
        size_t len = left < tried ? (size_t)left : tried;
        enum ak_rc rc = window(stream, stream->at, len, &p, err);
        if (rc != AK_OK) {
            return rc;
        }
        ak_parquet_thrift_init(&in, p, len, stream->at);
        parse_header(&in, header);
        if (!ak_parquet_thrift_failed(&in)) {
            return check_header(stream, header, err);
        }
        if (!in.is_short || len == left || tried >= AK_PARQUET_HEADER_MAX) {
            return ak_fail(err, in.failure.rc, "page header: %s", in.failure.text);
        }
        tried *= 32;
    }
}

/* --- The bytes --- */

static enum ak_rc check_crc(struct ak_parquet_stream *stream, const struct header *header,
                            const uint8_t *p, struct ak_err *err)
{
    const struct ak_parquet_read_options *options = &stream->reader->options;
    stream->pages_read++;
    if (!header->has_crc) {
        if (options->require_crc) {
            return ak_fail(err, AK_CORRUPT, "the page has no checksum, and must have one");
        }
        return AK_OK;
    }
    stream->pages_with_crc++;
    if (options->ignore_crc && !stream->always_check) {
        return AK_OK;
    }
    uint32_t crc = ak_parquet_crc32(0, p, (size_t)header->stored);
    if (crc != header->crc) {
        return ak_fail(err, AK_CORRUPT, "the checksum of its %d bytes is %08x, %08x is stored",
                       header->stored, crc, header->crc);
    }
    return AK_OK;
}

/* The page's bytes as they were before compression, into `to` unless they can stay where they are.
 * The first `plain` of them are stored uncompressed. */
static enum ak_rc unpack(struct ak_parquet_stream *stream, const struct header *header,
                         const uint8_t *stored, size_t plain, struct ak_parquet_mem *to,
                         const uint8_t **p, struct ak_err *err)
{
    size_t len = (size_t)header->unpacked - plain;
    struct ak_str from = {(const char *)stored + plain, (size_t)header->stored - plain};
    bool is_packed = stream->chunk->codec != AK_CODEC_NONE && !header->is_plain;
    if (is_packed && len == 0 && from.len == 0) {
        is_packed = false; /* nothing, and not even a compressed nothing */
    }
    if (!is_packed) {
        if (from.len != len) {
            return ak_fail(err, AK_CORRUPT, "%zu bytes are stored of %zu, without compression",
                           from.len, len);
        }
        *p = stored + plain;
        return AK_OK;
    }
    enum ak_rc rc = ak_parquet_mem_need(&stream->budget, to, len > 0 ? len : 1, 0, err);
    if (rc == AK_OK) {
        rc = ak_codec_decompress(stream->codec, stream->chunk->codec, from, to->p, len, err);
        *p = to->p;
    }
    return rc;
}

static enum ak_rc take_dictionary(struct ak_parquet_stream *stream, const struct header *header,
                                  const uint8_t *stored, struct ak_err *err)
{
    struct ak_parquet_decoder *decoder = &stream->decoder;
    const uint8_t *p = NULL;
    size_t count = (size_t)header->slots;
    size_t len = (size_t)header->unpacked;
    if (decoder->has_dictionary || stream->slots_seen > 0 || stream->page > 0) {
        return ak_fail(err, AK_CORRUPT, "a dictionary behind the first page of its chunk");
    }
    if (header->encoding != AK_PARQUET_PLAIN && header->encoding != AK_PARQUET_PLAIN_DICTIONARY) {
        return ak_fail(err, AK_UNSUPPORTED, "a dictionary in encoding %s (%d)",
                       ak_parquet_encoding_name((unsigned)header->encoding), header->encoding);
    }
    if (count > len * (stream->leaf->type == AK_PARQUET_BOOLEAN ? 8 : 1)) {
        return ak_fail(err, AK_CORRUPT, "a dictionary of %zu values in %zu bytes", count, len);
    }
    /* The views into its bytes live as long as the chunk is read. */
    enum ak_rc rc = unpack(stream, header, stored, 0, &decoder->dictionary_bytes, &p, err);
    if (rc == AK_OK && p != decoder->dictionary_bytes.p) {
        rc = ak_parquet_mem_need(&stream->budget, &decoder->dictionary_bytes, len + 1, 0, err);
        if (rc == AK_OK) {
            memcpy(decoder->dictionary_bytes.p, p, len);
            p = decoder->dictionary_bytes.p;
        }
    }
    if (rc == AK_OK) {
        rc = ak_parquet_mem_need(&stream->budget, &decoder->dictionary,
                                 count * ak_parquet_value_size(stream->leaf) + 1, 0, err);
    }
    if (rc == AK_OK) {
        rc =
            ak_parquet_values(decoder, AK_PARQUET_PLAIN, p, len, count, decoder->dictionary.p, err);
    }
    if (rc != AK_OK) {
        return ak_wrap(err, rc, "dictionary");
    }
    decoder->dictionary_count = count;
    decoder->has_dictionary = true;
    return AK_OK;
}

/* Cut one kind of V1 levels off the front. */
static enum ak_rc cut_levels(const uint8_t **p, size_t *left, int32_t encoding, unsigned max,
                             const uint8_t **levels, size_t *len, struct ak_err *err)
{
    uint32_t size = 0;
    if (max == 0) {
        return AK_OK;
    }
    if (encoding != AK_PARQUET_RLE) {
        return ak_fail(err, AK_UNSUPPORTED, "levels in encoding %s (%d)",
                       ak_parquet_encoding_name((unsigned)encoding), encoding);
    }
    if (*left >= 4) {
        memcpy(&size, *p, 4);
    }
    if (*left < 4 || size > *left - 4) {
        return ak_fail(err, AK_CORRUPT, "levels of %u bytes in a page of which %zu are left", size,
                       *left);
    }
    *levels = *p + 4;
    *len = size;
    *p += 4 + (size_t)size;
    *left -= 4 + (size_t)size;
    return AK_OK;
}

static enum ak_rc take_v1(struct ak_parquet_stream *stream, const struct header *header,
                          const uint8_t *stored, struct ak_parquet_data *page, struct ak_err *err)
{
    const uint8_t *p = NULL;
    size_t left = (size_t)header->unpacked;
    enum ak_rc rc = unpack(stream, header, stored, 0, &stream->unpacked, &p, err);
    if (rc == AK_OK) {
        rc = cut_levels(&p, &left, header->rep_encoding, stream->leaf->max_rep, &page->rep,
                        &page->rep_len, err);
    }
    if (rc == AK_OK) {
        rc = cut_levels(&p, &left, header->def_encoding, stream->leaf->max_def, &page->def,
                        &page->def_len, err);
    }
    page->bytes = p;
    page->len = left;
    return rc;
}

static enum ak_rc take_v2(struct ak_parquet_stream *stream, const struct header *header,
                          const uint8_t *stored, struct ak_parquet_data *page, struct ak_err *err)
{
    int64_t levels = (int64_t)header->rep_len + header->def_len;
    if (header->rep_len < 0 || header->def_len < 0 || levels > header->stored ||
        levels > header->unpacked || header->nulls < 0 || header->rows < 0 ||
        header->nulls > header->slots || header->rows > header->slots) {
        return ak_fail(err, AK_CORRUPT,
                       "levels of %d and %d bytes, %d values, %d nulls, %d rows in a page of %d",
                       header->rep_len, header->def_len, header->slots, header->nulls, header->rows,
                       header->stored);
    }
    page->rep = stored;
    page->rep_len = (size_t)header->rep_len;
    page->def = stored + header->rep_len;
    page->def_len = (size_t)header->def_len;
    page->len = (size_t)(header->unpacked - levels);
    return unpack(stream, header, stored, (size_t)levels, &stream->unpacked, &page->bytes, err);
}

static enum ak_rc take_page(struct ak_parquet_stream *stream, const struct header *header,
                            const uint8_t *stored, struct ak_parquet_data *page, struct ak_err *err)
{
    *page = (struct ak_parquet_data){
        .slots = (size_t)header->slots,
        .rows = header->rows,
        .nulls = header->nulls,
        .encoding = (unsigned)header->encoding,
        .begins_row =
            stream->slots_seen == 0 || stream->has_pages || header->type == AK_PARQUET_PAGE_DATA_V2,
    };
    stream->slots_seen += page->slots;
    return header->type == AK_PARQUET_PAGE_DATA ? take_v1(stream, header, stored, page, err)
                                                : take_v2(stream, header, stored, page, err);
}

/* With an OffsetIndex the page must be where the index says, and as long. */
static enum ak_rc check_place(const struct ak_parquet_stream *stream, size_t len,
                              struct ak_err *err)
{
    const struct ak_parquet_pages *pages = &stream->pages;
    if (!stream->has_pages) {
        return AK_OK;
    }
    if (stream->page >= pages->count || pages->pages[stream->page].at != stream->page_at ||
        pages->pages[stream->page].len != len) {
        return ak_fail(err, AK_CORRUPT, "the page, %zu bytes, is not where the OffsetIndex has it",
                       len);
    }
    return AK_OK;
}

enum ak_rc ak_parquet_stream_next(struct ak_parquet_stream *stream, struct ak_parquet_data *page,
                                  bool *is_end, struct ak_err *err)
{
    for (;;) {
        struct header header;
        const uint8_t *stored = NULL;
        if (stream->at == stream->end && stream->data_from != 0) {
            stream->at = stream->data_from;
            stream->end = stream->data_until;
            stream->data_from = 0;
        }
        stream->page_at = stream->at;
        if (stream->at == stream->end ||
            (stream->chunk->is_lengthened && stream->slots_seen == stream->chunk->values)) {
            *is_end = true;
            return AK_OK;
        }
        enum ak_rc rc = read_header(stream, &header, err);
        if (rc != AK_OK) {
            return rc;
        }
        size_t stored_len = (size_t)header.stored;
        rc = window(stream, stream->at + header.len, stored_len, &stored, err);
        if (rc != AK_OK) {
            return rc;
        }
        stream->at += header.len + stored_len;
        if (header.type == AK_PARQUET_PAGE_INDEX) {
            continue;
        }
        rc = check_crc(stream, &header, stored, err);
        if (rc != AK_OK) {
            return rc;
        }
        if (header.type == AK_PARQUET_PAGE_DICTIONARY) {
            rc = take_dictionary(stream, &header, stored, err);
            if (rc != AK_OK) {
                return rc;
            }
            continue;
        }
        *is_end = false;
        rc = check_place(stream, header.len + stored_len, err);
        return rc == AK_OK ? take_page(stream, &header, stored, page, err) : rc;
    }
}

/* --- Opening --- */

/* Leave out the pages that hold none of the rows. */
static void narrow(struct ak_parquet_stream *stream, uint64_t first, uint64_t rows,
                   uint64_t *first_row)
{
    const struct ak_parquet_pages *pages = &stream->pages;
    size_t from = 0;
    size_t until = pages->count;
    while (from + 1 < until && pages->pages[from + 1].first_row <= first) {
        from++;
    }
    while (until > from + 1 && pages->pages[until - 1].first_row >= first + rows) {
        until--;
    }
    uint64_t start = pages->pages[from].at;
    uint64_t end = pages->pages[until - 1].at + pages->pages[until - 1].len;
    uint64_t data = pages->pages[0].at;
    if (stream->chunk->at < data && start != data) { /* the dictionary, then a leap */
        stream->end = data;
        stream->data_from = start;
        stream->data_until = end;
    } else {
        stream->at = stream->chunk->at < data ? stream->chunk->at : start;
        stream->end = end;
    }
    stream->page = from;
    stream->pages_until = until;
    *first_row = pages->pages[from].first_row;
}

enum ak_rc ak_parquet_stream_open(struct ak_parquet_stream *stream,
                                  const struct ak_parquet_reader *reader, size_t group, size_t leaf,
                                  uint64_t first, uint64_t rows, uint64_t *first_row,
                                  struct ak_err *err)
{
    const struct ak_parquet_group *in = &reader->about.groups[group];
    *stream = (struct ak_parquet_stream){
        .reader = reader,
        .group = group,
        .leaf_at = leaf,
        .leaf = &reader->about.leaves[leaf],
        .chunk = &in->chunks[leaf],
        .budget = {.max = reader->options.memory_max},
    };
    stream->decoder = (struct ak_parquet_decoder){.leaf = stream->leaf, .budget = &stream->budget};
    stream->at = stream->page_at = stream->chunk->at;
    stream->end = stream->at + stream->chunk->compressed;
    stream->codec = ak_codec_open();
    ak_arena_init(&stream->arena, reader->options.memory_max);
    *first_row = 0;
    bool is_part = first > 0 || rows < in->rows;
    if (is_part && rows > 0 && stream->chunk->offset_index_at != 0) {
        enum ak_rc rc =
            ak_parquet_pages_read(reader, group, leaf, false, &stream->arena, &stream->pages, err);
        if (rc != AK_OK) {
            return rc;
        }
        stream->has_pages = true;
        narrow(stream, first, rows, first_row);
    }
    return AK_OK;
}

void ak_parquet_stream_close(struct ak_parquet_stream *stream)
{
    ak_parquet_decoder_release(&stream->decoder);
    ak_parquet_mem_release(&stream->budget, &stream->window);
    ak_parquet_mem_release(&stream->budget, &stream->unpacked);
    ak_codec_close(stream->codec);
    ak_arena_release(&stream->arena);
    stream->codec = NULL;
}
