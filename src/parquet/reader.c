/* reader.c — opening a file, its names, and the proof that it is whole. */
#include "parquet/reader.h"
#include "parquet/read_priv.h"
#include <stdio.h>
#include <string.h>

/* --- Sources --- */

static enum ak_rc read_memory(void *ctx, uint64_t at, void *p, size_t len, struct ak_err *err)
{
    (void)err;
    memcpy(p, (const char *)ctx + at, len);
    return AK_OK;
}

struct ak_parquet_source ak_parquet_source_memory(const struct ak_str *bytes, const char *name)
{
    return (struct ak_parquet_source){.ctx = (void *)(uintptr_t)bytes->p,
                                      .size = bytes->len,
                                      .bytes = (const uint8_t *)bytes->p,
                                      .name = name,
                                      .read_at = read_memory};
}

static enum ak_rc read_file(void *ctx, uint64_t at, void *p, size_t len, struct ak_err *err)
{
    return ak_file_read_exact(ctx, at, p, len, err);
}

enum ak_rc ak_parquet_source_file(struct ak_file *file, const char *name,
                                  struct ak_parquet_source *source, struct ak_err *err)
{
    uint64_t size = 0;
    enum ak_rc rc = ak_file_size(file, &size, err);
    if (rc == AK_OK) {
        *source = (struct ak_parquet_source){
            .ctx = file, .size = size, .name = name, .read_at = read_file};
    }
    return rc;
}

/* --- Opening --- */

static enum ak_rc check_tail(const struct ak_parquet_reader *reader, const uint8_t *tail,
                             uint32_t *footer_len, struct ak_err *err)
{
    memcpy(footer_len, tail, 4);
    if (memcmp(tail + 4, AK_PARQUET_MAGIC_ENCRYPTED, AK_PARQUET_MAGIC_LEN) == 0) {
        return ak_fail(err, AK_UNSUPPORTED, "the file is encrypted");
    }
    if (memcmp(tail + 4, AK_PARQUET_MAGIC, AK_PARQUET_MAGIC_LEN) != 0) {
        return ak_fail(err, AK_CORRUPT,
                       "the last 4 bytes are not PAR1: this is no Parquet file, or it is cut off");
    }
    uint64_t room = reader->source.size - AK_PARQUET_TAIL_LEN - AK_PARQUET_MAGIC_LEN;
    if (*footer_len > room) {
        return ak_fail(err, AK_CORRUPT, "the metadata are said to be %u bytes of %llu", *footer_len,
                       (unsigned long long)room);
    }
    if (*footer_len > AK_PARQUET_FOOTER_MAX || *footer_len > reader->options.memory_max) {
        return ak_fail(err, AK_TOO_BIG, "%u bytes of metadata are more than memory_max",
                       *footer_len);
    }
    return AK_OK;
}

static enum ak_rc check_head(struct ak_parquet_reader *reader, const uint8_t *tail, size_t tail_len,
                             struct ak_err *err)
{
    uint8_t head[AK_PARQUET_MAGIC_LEN];
    if (tail_len == reader->source.size) {
        memcpy(head, tail, sizeof head);
    } else if (reader->source.bytes) {
        memcpy(head, reader->source.bytes, sizeof head);
    } else {
        return AK_OK; /* not worth a request of its own; every page is checked when it is read */
    }
    if (memcmp(head, AK_PARQUET_MAGIC, sizeof head) != 0) {
        return ak_fail(err, AK_CORRUPT, "the first 4 bytes are not PAR1: this is no Parquet file");
    }
    return AK_OK;
}

/* The first bytes, which nothing else needs. */
static enum ak_rc check_magic(const struct ak_parquet_reader *reader, struct ak_err *err)
{
    uint8_t head[AK_PARQUET_MAGIC_LEN];
    enum ak_rc rc = ak_parquet_source_read(reader, 0, head, sizeof head, err);
    if (rc == AK_OK && memcmp(head, AK_PARQUET_MAGIC, sizeof head) != 0) {
        rc = ak_fail(err, AK_CORRUPT, "the first 4 bytes are not PAR1");
    }
    return rc;
}

static enum ak_rc read_footer(struct ak_parquet_reader *reader, uint8_t **buffer,
                              struct ak_err *err)
{
    uint64_t size = reader->source.size;
    uint32_t footer_len = 0;
    size_t tail_len = size < reader->options.tail_bytes ? (size_t)size : reader->options.tail_bytes;
    uint8_t *tail = ak_try_alloc(tail_len);
    *buffer = tail;
    if (!tail) {
        return ak_fail(err, AK_NOMEM, "no memory for %zu bytes of metadata", tail_len);
    }
    enum ak_rc rc = ak_parquet_source_read(reader, size - tail_len, tail, tail_len, err);
    if (rc == AK_OK) {
        rc = check_tail(reader, tail + tail_len - AK_PARQUET_TAIL_LEN, &footer_len, err);
    }
    if (rc == AK_OK) {
        rc = check_head(reader, tail, tail_len, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    reader->footer_at = size - AK_PARQUET_TAIL_LEN - footer_len;
    reader->about.footer_len = footer_len;
    size_t have = tail_len - AK_PARQUET_TAIL_LEN;
    if (footer_len <= have) {
        return ak_parquet_meta_read(reader, tail + have - footer_len, footer_len, err);
    }
    uint8_t *whole = ak_try_realloc(tail, footer_len);
    if (!whole) {
        return ak_fail(err, AK_NOMEM, "no memory for %u bytes of metadata", footer_len);
    }
    *buffer = whole;
    memmove(whole + footer_len - have, whole, have);
    rc = ak_parquet_source_read(reader, reader->footer_at, whole, footer_len - have, err);
    return rc == AK_OK ? ak_parquet_meta_read(reader, whole, footer_len, err) : rc;
}

enum ak_rc ak_parquet_open(const struct ak_parquet_source *source,
                           const struct ak_parquet_read_options *options,
                           struct ak_parquet_reader **reader, struct ak_err *err)
{
    struct ak_parquet_reader *made = ak_zalloc(sizeof *made);
    uint8_t *buffer = NULL;
    made->source = *source;
    (void)snprintf(made->name, sizeof made->name, "%s", source->name ? source->name : "parquet");
    if (options) {
        made->options = *options;
    }
    struct ak_parquet_read_options *o = &made->options;
    o->memory_max = o->memory_max > 0 ? o->memory_max : AK_PARQUET_MEMORY_DEFAULT;
    o->tail_bytes = o->tail_bytes > 0 ? o->tail_bytes : AK_PARQUET_TAIL_DEFAULT;
    o->tail_bytes = o->tail_bytes < 16 ? 16 : o->tail_bytes;
    o->read_ahead = o->read_ahead > 0 ? o->read_ahead : AK_PARQUET_AHEAD_DEFAULT;
    ak_arena_init(&made->arena, o->memory_max);
    made->about.size = source->size;
    enum ak_rc rc;
    if (source->size < AK_PARQUET_MAGIC_LEN + AK_PARQUET_TAIL_LEN) {
        rc = ak_fail(err, AK_CORRUPT, "%llu bytes are too few for a Parquet file",
                     (unsigned long long)source->size);
    } else {
        rc = read_footer(made, &buffer, err);
    }
    ak_free(buffer);
    if (rc == AK_OK && o->check_index) {
        rc = check_magic(made, err);
    }
    if (rc != AK_OK) {
        (void)ak_wrap(err, rc, "%s", made->name);
        ak_parquet_close(made);
        return rc;
    }
    *reader = made;
    return AK_OK;
}

void ak_parquet_close(struct ak_parquet_reader *reader)
{
    if (reader) {
        ak_arena_release(&reader->arena);
        ak_free(reader);
    }
}

const struct ak_parquet_description *ak_parquet_describe(const struct ak_parquet_reader *reader)
{
    return &reader->about;
}

int ak_parquet_find_leaf(const struct ak_parquet_reader *reader, struct ak_str name)
{
    const struct ak_parquet_description *about = &reader->about;
    int found = -1;
    for (size_t i = 0; i < about->leaf_count; i++) {
        if (ak_str_eq(about->leaves[i].path, name)) {
            return (int)i;
        }
        if (ak_str_eq(about->leaves[i].column, name)) {
            found = found == -1 ? (int)i : -2;
        }
    }
    return found < 0 ? -1 : found;
}

bool ak_parquet_find_metadata(const struct ak_parquet_reader *reader, struct ak_str key,
                              struct ak_str *value)
{
    for (size_t i = 0; i < reader->about.metadata_count; i++) {
        if (ak_str_eq(reader->about.metadata[i].key, key)) {
            *value = reader->about.metadata[i].value;
            return true;
        }
    }
    return false;
}

/* --- Names --- */

const char *ak_parquet_type_name(enum ak_parquet_type type)
{
    static const char *const names[] = {"BOOLEAN", "INT32",  "INT64",      "INT96",
                                        "FLOAT",   "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"};
    return (unsigned)type < sizeof names / sizeof names[0] ? names[type] : "?";
}

const char *ak_parquet_annotation_name(enum ak_parquet_annotation what)
{
    static const char *const names[] = {"",     "STRING",  "ENUM",     "JSON", "BSON",
                                        "UUID", "DECIMAL", "DATE",     "TIME", "TIMESTAMP",
                                        "INT",  "FLOAT16", "INTERVAL", "NULL"};
    return (unsigned)what < sizeof names / sizeof names[0] ? names[what] : "?";
}

const char *ak_parquet_encoding_name(unsigned encoding)
{
    static const char *const names[] = {"PLAIN",
                                        "GROUP_VAR_INT",
                                        "PLAIN_DICTIONARY",
                                        "RLE",
                                        "BIT_PACKED",
                                        "DELTA_BINARY_PACKED",
                                        "DELTA_LENGTH_BYTE_ARRAY",
                                        "DELTA_BYTE_ARRAY",
                                        "RLE_DICTIONARY",
                                        "BYTE_STREAM_SPLIT",
                                        "ALP"};
    return encoding < sizeof names / sizeof names[0] ? names[encoding] : "?";
}

/* --- Is it whole? --- */

/* All of a chunk, held against its index when it has one. */
static enum ak_rc verify_chunk(const struct ak_parquet_reader *reader, size_t group, size_t leaf,
                               struct ak_parquet_report *report, struct ak_err *err)
{
    struct ak_parquet_cursor cursor;
    struct ak_parquet_stream *stream = &cursor.stream;
    const struct ak_parquet_group *in = &reader->about.groups[group];
    struct ak_parquet_batch batch = {.rows = 0};
    enum ak_rc rc = ak_parquet_cursor_init(&cursor, reader, group, leaf, 0, in->rows, err);
    if (rc == AK_OK) {
        rc = ak_parquet_cursor_hold_index(&cursor, err);
    }
    stream->always_check = true;
    bool is_more = rc == AK_OK;
    while (is_more) {
        rc = ak_parquet_next(&cursor, 0, &batch, err);
        is_more = rc == AK_OK && batch.rows > 0;
        report->values += is_more ? batch.values : 0;
    }
    report->pages += stream->pages_read;
    report->pages_with_crc += stream->pages_with_crc;
    report->bytes += in->chunks[leaf].compressed;
    ak_parquet_cursor_release(&cursor);
    return rc;
}

enum ak_rc ak_parquet_verify(const struct ak_parquet_reader *reader,
                             struct ak_parquet_report *report, struct ak_err *err)
{
    struct ak_parquet_report found = {.pages = 0};
    enum ak_rc rc = check_magic(reader, err);
    if (rc != AK_OK) {
        return ak_wrap(err, rc, "%s", reader->name);
    }
    for (size_t g = 0; rc == AK_OK && g < reader->about.group_count; g++) {
        for (size_t c = 0; rc == AK_OK && c < reader->about.leaf_count; c++) {
            rc = verify_chunk(reader, g, c, &found, err);
        }
    }
    if (rc == AK_OK) {
        *report = found;
    }
    return rc;
}
