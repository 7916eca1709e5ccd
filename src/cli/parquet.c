/* parquet.c — akidb parquet schema | meta | head | verify FILE. */
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/parquet_value.h"
#include <stdio.h>
#include <string.h>

#define TEXT_SHOWN 60 /* bytes of a value in a table */

struct options {
    bool json;
    bool require_crc;
    uint64_t rows;
    uint64_t memory_mib;
};

static enum ak_rc print(struct ak_buf *out, struct ak_err *err)
{
    enum ak_rc rc = ak_buf_check(out, err);
    if (rc == AK_OK) {
        (void)fwrite(out->p, 1, out->len, stdout);
    }
    return rc;
}

/* --- schema --- */

static void schema_json(struct ak_buf *out, const struct ak_parquet_leaf *leaf)
{
    ak_buf_add_str(out, AK_STR("{\"path\":"));
    ak_json_put_string(out, leaf->path);
    ak_buf_add_fmt(out, ",\"type\":\"%s\"", ak_parquet_type_name(leaf->type));
    if (leaf->type == AK_PARQUET_FIXED) {
        ak_buf_add_fmt(out, ",\"length\":%u", leaf->fixed_len);
    }
    ak_buf_add_str(out, AK_STR(",\"meaning\":\""));
    ak_parquet_put_meaning(out, &leaf->meaning);
    ak_buf_add_fmt(out, "\",\"optional\":%s,\"list\":%s,\"max_def\":%u,\"max_rep\":%u}",
                   leaf->is_optional ? "true" : "false", leaf->is_list ? "true" : "false",
                   leaf->max_def, leaf->max_rep);
}

static enum ak_rc schema(const struct ak_parquet_reader *reader, const struct options *o,
                         struct ak_err *err)
{
    const struct ak_parquet_description *about = ak_parquet_describe(reader);
    static const struct ak_table_column columns[] = {
        {.title = "TYPE"}, {.title = "MEANING"}, {.title = "LEVELS"}, {.title = "COLUMN"}};
    struct ak_buf out;
    enum ak_rc rc = AK_OK;
    ak_buf_init(&out, 0);
    if (o->json) {
        ak_buf_add_str(&out, AK_STR("{\"columns\":["));
        for (size_t i = 0; i < about->leaf_count; i++) {
            ak_buf_add_str(&out, i > 0 ? AK_STR(",") : AK_STR(""));
            schema_json(&out, &about->leaves[i]);
        }
        ak_buf_add_str(&out, AK_STR("]}\n"));
        rc = print(&out, err);
        ak_buf_release(&out);
        return rc;
    }
    struct ak_table table;
    ak_table_init(&table, columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < about->leaf_count; i++) {
        const struct ak_parquet_leaf *leaf = &about->leaves[i];
        const char *type = ak_parquet_type_name(leaf->type);
        if (leaf->type == AK_PARQUET_FIXED) {
            ak_table_cell_fmt(&table, "%s(%u)", type, leaf->fixed_len);
        } else {
            ak_table_cell_fmt(&table, "%s", type);
        }
        ak_buf_clear(&out);
        ak_parquet_put_meaning(&out, &leaf->meaning);
        ak_table_cell(&table, ak_buf_str(&out));
        ak_table_cell_fmt(&table, "%s%sdef %u rep %u", leaf->is_list ? "list " : "",
                          leaf->is_optional ? "optional " : "", leaf->max_def, leaf->max_rep);
        ak_table_cell(&table, leaf->path);
    }
    ak_table_print(&table, stdout);
    ak_table_release(&table);
    ak_buf_release(&out);
    return rc;
}

/* --- meta --- */

static void put_encodings(struct ak_buf *out, uint32_t bits, const char *quote)
{
    bool is_first = true;
    for (unsigned i = 0; i < 32; i++) {
        if (bits >> i & 1) {
            ak_buf_add_fmt(out, "%s%s%s%s", is_first ? "" : ",", quote, ak_parquet_encoding_name(i),
                           quote);
            is_first = false;
        }
    }
}

static void put_bound(struct ak_buf *out, const struct ak_parquet_leaf *leaf, struct ak_str bound)
{
    union { /* a bound is stored as a value is, but aligned for nobody */
        uint8_t bytes[8];
        int32_t i32;
        int64_t i64;
        float f32;
        double f64;
    } one;
    struct ak_parquet_batch batch = {.values = 1, .bools = one.bytes};
    if (leaf->type == AK_PARQUET_BYTE_ARRAY || leaf->type == AK_PARQUET_FIXED) {
        batch.bytes = &bound;
    } else {
        memcpy(one.bytes, bound.p, bound.len < sizeof one ? bound.len : sizeof one);
    }
    struct ak_parquet_leaf shown = *leaf;
    if (shown.meaning.annotation == AK_PARQUET_JSON) {
        shown.meaning.annotation = AK_PARQUET_STRING; /* a bound may be cut */
    }
    ak_parquet_put_value(out, &shown, &batch, 0);
}

static void chunk_json(struct ak_buf *out, const struct ak_parquet_leaf *leaf,
                       const struct ak_parquet_chunk *chunk)
{
    const struct ak_parquet_statistics *stats = &chunk->statistics;
    ak_buf_add_str(out, AK_STR("{\"path\":"));
    ak_json_put_string(out, leaf->path);
    ak_buf_add_fmt(out,
                   ",\"codec\":\"%s\",\"offset\":%llu,\"compressed\":%llu,\"uncompressed\":%llu,"
                   "\"values\":%llu,\"encodings\":[",
                   ak_codec_name(chunk->codec), (unsigned long long)chunk->at,
                   (unsigned long long)chunk->compressed, (unsigned long long)chunk->uncompressed,
                   (unsigned long long)chunk->values);
    put_encodings(out, chunk->encodings, "\"");
    ak_buf_add_fmt(out, "],\"offset_index\":%s,\"column_index\":%s,\"bloom_filter\":%s",
                   chunk->offset_index_at ? "true" : "false",
                   chunk->column_index_at ? "true" : "false", chunk->bloom_at ? "true" : "false");
    if (stats->has_nulls) {
        ak_buf_add_fmt(out, ",\"nulls\":%llu", (unsigned long long)stats->null_count);
    }
    if (stats->has_bounds) {
        ak_buf_add_str(out, AK_STR(",\"min\":"));
        put_bound(out, leaf, stats->min);
        ak_buf_add_str(out, AK_STR(",\"max\":"));
        put_bound(out, leaf, stats->max);
    }
    ak_buf_add_char(out, '}');
}

static enum ak_rc meta_json(const struct ak_parquet_description *about, struct ak_err *err)
{
    struct ak_buf out;
    ak_buf_init(&out, 0);
    ak_buf_add_fmt(&out, "{\"bytes\":%llu,\"rows\":%llu,\"footer_bytes\":%u,\"created_by\":",
                   (unsigned long long)about->size, (unsigned long long)about->rows,
                   about->footer_len);
    ak_json_put_string(&out, about->created_by);
    ak_buf_add_str(&out, AK_STR(",\"metadata\":["));
    for (size_t i = 0; i < about->metadata_count; i++) {
        ak_buf_add_str(&out, i > 0 ? AK_STR(",{\"key\":") : AK_STR("{\"key\":"));
        ak_json_put_string(&out, about->metadata[i].key);
        ak_buf_add_str(&out, AK_STR(",\"value\":"));
        ak_json_put_string(&out, about->metadata[i].value);
        ak_buf_add_char(&out, '}');
    }
    ak_buf_add_str(&out, AK_STR("],\"row_groups\":["));
    for (size_t g = 0; g < about->group_count; g++) {
        const struct ak_parquet_group *group = &about->groups[g];
        ak_buf_add_fmt(&out, "%s{\"first_row\":%llu,\"rows\":%llu,\"bytes\":%llu,\"columns\":[",
                       g > 0 ? "," : "", (unsigned long long)group->first_row,
                       (unsigned long long)group->rows, (unsigned long long)group->bytes);
        for (size_t c = 0; c < about->leaf_count; c++) {
            ak_buf_add_str(&out, c > 0 ? AK_STR(",") : AK_STR(""));
            chunk_json(&out, &about->leaves[c], &group->chunks[c]);
        }
        ak_buf_add_str(&out, AK_STR("]}"));
    }
    ak_buf_add_str(&out, AK_STR("]}\n"));
    enum ak_rc rc = print(&out, err);
    ak_buf_release(&out);
    return rc;
}

static void print_head(const struct ak_parquet_description *about)
{
    char text[2][AK_NUMBER_TEXT_MAX];
    struct ak_buf value;
    ak_buf_init(&value, 0);
    (void)printf("rows        %s in %zu row groups, %zu columns\n",
                 ak_text_count(about->rows, text[0]), about->group_count, about->leaf_count);
    (void)printf("size        %s, of which metadata %s\n",
                 ak_text_bytes((double)about->size, text[0]),
                 ak_text_bytes((double)about->footer_len, text[1]));
    ak_json_put_string(&value, about->created_by);
    (void)printf("created by  %.*s\n", AK_STR_ARG(ak_buf_str(&value)));
    for (size_t i = 0; i < about->metadata_count; i++) {
        const struct ak_parquet_pair *pair = &about->metadata[i];
        bool is_cut = pair->value.len > TEXT_SHOWN;
        ak_buf_clear(&value);
        ak_json_put_string(&value, pair->key);
        ak_buf_add_str(&value, AK_STR(": "));
        ak_json_put_string(&value, ak_str_sub(pair->value, 0, TEXT_SHOWN));
        (void)printf("metadata    %.*s%s\n", AK_STR_ARG(ak_buf_str(&value)), is_cut ? "…" : "");
    }
    ak_buf_release(&value);
}

static enum ak_rc meta(const struct ak_parquet_reader *reader, const struct options *o,
                       struct ak_err *err)
{
    const struct ak_parquet_description *about = ak_parquet_describe(reader);
    static const struct ak_table_column columns[] = {{.title = "GROUP", .right = true},
                                                     {.title = "VALUES", .right = true},
                                                     {.title = "NULLS", .right = true},
                                                     {.title = "STORED", .right = true},
                                                     {.title = "UNPACKED", .right = true},
                                                     {.title = "CODEC"},
                                                     {.title = "COLUMN"},
                                                     {.title = "ENCODINGS", .wide = true}};
    if (o->json) {
        return meta_json(about, err);
    }
    print_head(about);
    struct ak_table table;
    struct ak_buf text;
    ak_buf_init(&text, 0);
    ak_table_init(&table, columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < about->group_count * about->leaf_count; i++) {
        char number[AK_NUMBER_TEXT_MAX];
        size_t g = i / about->leaf_count;
        size_t c = i % about->leaf_count;
        const struct ak_parquet_chunk *chunk = &about->groups[g].chunks[c];
        ak_table_cell_fmt(&table, "%zu", g);
        ak_table_cell_fmt(&table, "%s", ak_text_count(chunk->values, number));
        ak_table_cell_fmt(
            &table, "%s",
            chunk->statistics.has_nulls ? ak_text_count(chunk->statistics.null_count, number) : "");
        ak_table_cell_fmt(&table, "%s", ak_text_bytes((double)chunk->compressed, number));
        ak_table_cell_fmt(&table, "%s", ak_text_bytes((double)chunk->uncompressed, number));
        ak_table_cell_fmt(&table, "%s", ak_codec_name(chunk->codec));
        ak_table_cell(&table, about->leaves[c].path);
        ak_buf_clear(&text);
        put_encodings(&text, chunk->encodings, "");
        ak_table_cell(&table, ak_buf_str(&text));
    }
    ak_table_print(&table, stdout);
    ak_table_release(&table);
    ak_buf_release(&text);
    return AK_OK;
}

/* --- head --- */

struct column {
    struct ak_parquet_cursor *cursor;
    struct ak_parquet_batch batch;
    size_t at; /* next row of the batch */
};

static enum ak_rc put_cell(struct column *column, const struct ak_parquet_leaf *leaf,
                           struct ak_buf *out, struct ak_err *err)
{
    if (column->at == column->batch.rows) {
        enum ak_rc rc = ak_parquet_next(column->cursor, 0, &column->batch, err);
        if (rc != AK_OK) {
            return rc;
        }
        column->at = 0;
        if (column->batch.rows == 0) {
            return ak_fail(err, AK_CORRUPT, "column '%.*s' has fewer rows than its row group",
                           AK_STR_ARG(leaf->path));
        }
    }
    ak_parquet_put_row(out, leaf, &column->batch, column->at++);
    return AK_OK;
}

/* A column of one leaf goes by its own name, members of a group by their paths. */
static struct ak_str key_of(const struct ak_parquet_description *about, size_t leaf)
{
    struct ak_str column = about->leaves[leaf].column;
    bool is_only =
        (leaf == 0 || !ak_str_eq(about->leaves[leaf - 1].column, column)) &&
        (leaf + 1 == about->leaf_count || !ak_str_eq(about->leaves[leaf + 1].column, column));
    return is_only ? column : about->leaves[leaf].path;
}

static enum ak_rc head_group(const struct ak_parquet_reader *reader, size_t group, uint64_t rows,
                             struct column *columns, struct ak_buf *out, struct ak_err *err)
{
    const struct ak_parquet_description *about = ak_parquet_describe(reader);
    enum ak_rc rc = AK_OK;
    for (size_t c = 0; rc == AK_OK && c < about->leaf_count; c++) {
        columns[c] = (struct column){.cursor = NULL};
        rc = ak_parquet_cursor_open(reader, group, c, 0, rows, &columns[c].cursor, err);
    }
    for (uint64_t row = 0; rc == AK_OK && row < rows; row++) {
        ak_buf_clear(out);
        for (size_t c = 0; rc == AK_OK && c < about->leaf_count; c++) {
            ak_buf_add_char(out, c > 0 ? ',' : '{');
            ak_json_put_string(out, key_of(about, c));
            ak_buf_add_char(out, ':');
            rc = put_cell(&columns[c], &about->leaves[c], out, err);
        }
        ak_buf_add_str(out, AK_STR("}\n"));
        rc = rc == AK_OK ? print(out, err) : rc;
    }
    for (size_t c = 0; c < about->leaf_count; c++) {
        ak_parquet_cursor_close(columns[c].cursor);
        columns[c].cursor = NULL;
    }
    return rc;
}

static enum ak_rc head(const struct ak_parquet_reader *reader, const struct options *o,
                       struct ak_err *err)
{
    const struct ak_parquet_description *about = ak_parquet_describe(reader);
    struct column *columns = ak_zalloc((about->leaf_count + 1) * sizeof *columns);
    struct ak_buf out;
    uint64_t left = o->rows;
    enum ak_rc rc = AK_OK;
    ak_buf_init(&out, 0);
    for (size_t g = 0; rc == AK_OK && g < about->group_count && left > 0; g++) {
        uint64_t rows = about->groups[g].rows < left ? about->groups[g].rows : left;
        rc = head_group(reader, g, rows, columns, &out, err);
        left -= rows;
    }
    ak_buf_release(&out);
    ak_free(columns);
    return rc;
}

/* --- verify --- */

static enum ak_rc verify(const struct ak_parquet_reader *reader, const char *path,
                         const struct options *o, struct ak_err *err)
{
    const struct ak_parquet_description *about = ak_parquet_describe(reader);
    struct ak_parquet_report report;
    char text[2][AK_NUMBER_TEXT_MAX];
    enum ak_rc rc = ak_parquet_verify(reader, &report, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (o->json) {
        (void)printf("{\"ok\":true,\"rows\":%llu,\"values\":%llu,\"pages\":%llu,"
                     "\"pages_with_checksum\":%llu,\"bytes\":%llu}\n",
                     (unsigned long long)about->rows, (unsigned long long)report.values,
                     (unsigned long long)report.pages, (unsigned long long)report.pages_with_crc,
                     (unsigned long long)report.bytes);
        return AK_OK;
    }
    (void)printf("%s is whole: %s rows, %s pages", path, ak_text_count(about->rows, text[0]),
                 ak_text_count(report.pages, text[1]));
    if (report.pages_with_crc < report.pages) {
        (void)printf(", of which %s have a checksum",
                     ak_text_count(report.pages_with_crc, text[0]));
    } else if (report.pages > 0) {
        (void)printf(", each with its checksum");
    }
    (void)printf("\n");
    return AK_OK;
}

static enum ak_rc run(const char *verb, const char *path, const struct options *o,
                      struct ak_err *err)
{
    struct ak_file *file = NULL;
    struct ak_parquet_source source;
    struct ak_parquet_reader *reader = NULL;
    const struct ak_parquet_read_options options = {.memory_max = (size_t)o->memory_mib << 20,
                                                    .require_crc = o->require_crc};
    enum ak_rc rc = ak_fs_open(ak_fs_posix(), path, AK_OPEN_READ, &file, err);
    if (rc == AK_OK) {
        rc = ak_parquet_source_file(file, path, &source, err);
    }
    if (rc == AK_OK) {
        rc = ak_parquet_open(&source, &options, &reader, err);
    }
    if (rc == AK_OK) {
        rc = verb[0] == 's'   ? schema(reader, o, err)
             : verb[0] == 'm' ? meta(reader, o, err)
             : verb[0] == 'h' ? head(reader, o, err)
                              : verify(reader, path, o, err);
    }
    ak_parquet_close(reader);
    ak_file_close(file);
    return rc;
}

enum ak_rc ak_cli_parquet(int argc, char **argv, struct ak_err *err)
{
    struct options o = {.rows = 10, .memory_mib = 256};
    const struct ak_arg options[] = {
        {"rows", 'n', AK_ARG_UINT, &o.rows, 1, 0, "N", "head: how many rows (10)"},
        {"require-crc", 0, AK_ARG_FLAG, &o.require_crc, 0, 0, NULL,
         "a page without a checksum is damage"},
        {"memory", 0, AK_ARG_UINT, &o.memory_mib, 1, 65536, "MIB",
         "what reading one column may take (256)"},
        {"json", 0, AK_ARG_FLAG, &o.json, 0, 0, NULL, "print JSON"},
    };
    struct ak_args args = {
        .command = "parquet",
        .usage = "schema FILE | meta FILE | head FILE [--rows N] | verify FILE",
        .about =
            "Looks into a Parquet file, a snapshot of AkiDB or any other: its columns, its row\n"
            "groups and statistics, its first rows as NDJSON. verify reads every page, holds it\n"
            "against its checksum and the page index, and exits 7 with the place of the first\n"
            "damage.\n",
        .examples = "  akidb parquet schema part.parquet\n"
                    "  akidb parquet meta part.parquet --json\n"
                    "  akidb parquet head part.parquet --rows 3\n"
                    "  akidb parquet verify snapshot.parquet --require-crc\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .words_max = 2,
    };
    enum ak_rc rc = ak_args_parse(&args, argc, argv, err);
    if (rc != AK_OK || args.helped) {
        return rc;
    }
    static const char *const verbs[] = {"schema", "meta", "head", "verify"};
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0] && args.word_count == 2; i++) {
        if (strcmp(args.words[0], verbs[i]) == 0) {
            return run(verbs[i], args.words[1], &o, err);
        }
    }
    return ak_fail(err, AK_INVALID,
                   "say what to do with which file: akidb parquet schema | meta | head | verify "
                   "FILE");
}
