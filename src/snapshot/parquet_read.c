/* parquet_read.c — Parquet files as documents: the data object of a snapshot, and anybody's file
 * (an import). What is in the columns is table_read.c's affair.
 */
#include "simd/simd.h"
#include "snapshot/table_priv.h"
#include <stdio.h>
#include <string.h>

#define FILE_AHEAD ((size_t)1 << 20) /* a read of a local file: a longer one gains nothing */

/* --- A snapshot's file --- */

static enum ak_rc read_range(void *ctx, uint64_t at, void *p, size_t len, struct ak_err *err)
{
    return ak_snapshot_bytes_read(ctx, at, p, len, err);
}

/* A reader over the object; `bytes` is in use as long as it is. */
static enum ak_rc open_table(struct ak_snapshot_bytes *bytes, struct ak_parquet_reader **reader,
                             struct ak_err *err)
{
    const struct ak_parquet_source source = {
        .ctx = bytes, .size = bytes->len, .name = bytes->name, .read_at = read_range};
    const struct ak_parquet_read_options options = {
        .require_crc = true, .check_index = true, .read_ahead = bytes->file ? FILE_AHEAD : 0};
    AK_ASSERT(bytes->key.len < sizeof bytes->name); /* the metadata's keys are ours */
    memcpy(bytes->name, bytes->key.p, bytes->key.len);
    bytes->name[bytes->key.len] = '\0';
    return ak_parquet_open(&source, &options, reader, err);
}

/* What the file says of itself, against the metadata. */
static enum ak_rc check_identity(const struct ak_parquet_reader *reader,
                                 const struct ak_snapshot_meta *meta, struct ak_err *err)
{
    struct ak_str value;
    uint64_t dimension = 0;
    struct ak_uuid id;
    if (ak_parquet_find_metadata(reader, AK_STR("akidb.dim"), &value) &&
        (!ak_str_u64(value, AK_DIMENSION_MAX, &dimension) ||
         dimension != meta->collection.dimension)) {
        return ak_fail(err, AK_CORRUPT, "akidb.dim is '%.*s', the metadata has %u",
                       AK_STR_ARG(value), meta->collection.dimension);
    }
    if (ak_parquet_find_metadata(reader, AK_STR("akidb.collection_id"), &value) &&
        (!ak_uuid_parse(value, &id) || !ak_uuid_eq(&id, &meta->collection.id))) {
        return ak_fail(err, AK_CORRUPT, "akidb.collection_id is another collection's");
    }
    uint64_t rows = ak_parquet_describe(reader)->rows;
    if (rows != meta->vector_count) {
        return ak_fail(err, AK_CORRUPT, "it has %llu documents, the metadata says %llu",
                       (unsigned long long)rows, (unsigned long long)meta->vector_count);
    }
    return AK_OK;
}

static enum ak_rc check_content(const struct ak_parquet_reader *reader, uint64_t content,
                                struct ak_err *err)
{
    struct ak_str value;
    char want[17];
    (void)snprintf(want, sizeof want, "%016llx", (unsigned long long)content);
    if (ak_parquet_find_metadata(reader, AK_STR("akidb.content_xxh64"), &value) &&
        !ak_str_eq(value, ak_str_of(want))) {
        return ak_fail(err, AK_CORRUPT, "the documents' content hash is %s, it says '%.*s'", want,
                       (int)(value.len < 16 ? value.len : 16), value.p);
    }
    return AK_OK;
}

static enum ak_rc pass_rows(void *ctx, const struct ak_document *rows, size_t count,
                            struct ak_err *err)
{
    return ak_snapshot_reader_rows(ctx, rows, count, err);
}

enum ak_rc ak_snapshot_parquet_read(const struct ak_snapshot_bytes *given,
                                    struct ak_snapshot_reader *rows, struct ak_err *err)
{
    struct ak_snapshot_bytes bytes = *given;
    struct ak_parquet_reader *reader = NULL;
    const struct ak_table_options options = {.dimension = rows->meta->collection.dimension,
                                             .bad = AK_CORRUPT,
                                             .is_ours = true,
                                             .fn = pass_rows,
                                             .ctx = rows};
    enum ak_rc rc = open_table(&bytes, &reader, err);
    if (rc != AK_OK) { /* its own messages name the object */
        return rc;
    }
    rc = check_identity(reader, rows->meta, err);
    if (rc == AK_OK) {
        rc = ak_table_read(reader, &options, err);
    }
    if (rc == AK_OK) {
        rc = check_content(reader, rows->content, err);
    }
    ak_parquet_close(reader);
    return rc;
}

/* --- Anybody's file --- */

struct importer {
    uint32_t dimension;
    ak_snapshot_rows_fn fn;
    void *ctx;
    uint64_t rows;
};

static enum ak_rc import_rows(void *ctx, const struct ak_document *rows, size_t count,
                              struct ak_err *err)
{
    struct importer *importer = ctx;
    for (size_t i = 0; i < count; i++) {
        if (!ak_f32_all_finite(rows[i].vector, importer->dimension, NULL)) {
            return ak_fail(err, AK_INVALID,
                           "row %llu, column 'vector': it holds a number that is not finite as a "
                           "32-bit float",
                           (unsigned long long)(importer->rows + i));
        }
    }
    importer->rows += count;
    return importer->fn(importer->ctx, rows, count, err);
}

static enum ak_rc import(struct ak_file *file, const char *path, struct importer *importer,
                         struct ak_err *err)
{
    struct ak_parquet_source source;
    struct ak_parquet_reader *reader = NULL;
    /* DuckDB's pages have up to 100 MB, and each is unpacked and decoded whole. */
    const struct ak_parquet_read_options options = {.memory_max = (size_t)512 << 20,
                                                    .read_ahead = FILE_AHEAD};
    const struct ak_table_options table = {
        .dimension = importer->dimension, .bad = AK_INVALID, .fn = import_rows, .ctx = importer};
    enum ak_rc rc = ak_parquet_source_file(file, path, &source, err);
    if (rc == AK_OK) {
        rc = ak_parquet_open(&source, &options, &reader, err);
    }
    if (rc == AK_OK) {
        rc = ak_table_read(reader, &table, err);
    }
    ak_parquet_close(reader);
    return rc;
}

enum ak_rc ak_snapshot_import(struct ak_fs *fs, const char *path, uint32_t dimension,
                              ak_snapshot_rows_fn fn, void *ctx, struct ak_err *err)
{
    struct importer importer = {.dimension = dimension, .fn = fn, .ctx = ctx};
    struct ak_file *file = NULL;
    if (dimension == 0 || dimension > AK_DIMENSION_MAX) {
        return ak_fail(err, AK_INVALID, "import: dimension %u, possible are 1 to %d", dimension,
                       AK_DIMENSION_MAX);
    }
    enum ak_rc rc = ak_fs_open(fs, path, AK_OPEN_READ, &file, err);
    if (rc == AK_OK) {
        rc = import(file, path, &importer, err);
    }
    ak_file_close(file);
    return rc == AK_OK ? rc : ak_wrap(err, rc, "import");
}
