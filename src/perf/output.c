/* output.c — a Parquet file under construction.
 *
 *   folders made durable → {name}.tmp → row groups → footer → footer read back → sync → rename →
 *   sync of the folder
 *
 * I1  Under its own name the file is whole: the rename comes after the sync and after the footer
 *     was read back, with the rows that were counted.
 * I2  What a killed run left ends in ".parquet.tmp", which no reader's pattern takes, and goes when
 *     the next file is begun in that folder. The lock of the export keeps others away from it.
 */
#include "base/fault.h"
#include "parquet/reader.h"
#include "perf/perf_priv.h"
#include <limits.h>
#include <string.h>

#define CREATED_BY "akidb perf export"
/* A source below this gives a page or two a column: what an index of pages says, the bounds of the
 * column have said. */
#define PAGE_INDEX_BYTES ((uint64_t)4 << 20)
#define ZSTD_LEVEL 3 /* of so small columns a level more is a tenth less */

static enum ak_rc to_file(void *ctx, const void *p, size_t len, struct ak_err *err)
{
    struct ak_perf_output *output = ctx;
    enum ak_rc rc = ak_file_write(output->file, output->at, p, len, err);
    output->at += rc == AK_OK ? len : 0;
    return rc;
}

/* --- What a killed run left --- */

struct sweep {
    struct ak_buf path;
    struct ak_buf found; /* names, each with its NUL */
};

static bool note_leftover(void *ctx, struct ak_str name)
{
    struct sweep *sweep = ctx;
    if (ak_str_has_suffix(name, AK_STR(".parquet.tmp"))) {
        ak_buf_add_str(&sweep->found, name);
        ak_buf_add_char(&sweep->found, '\0');
    }
    return true;
}

static enum ak_rc remove_leftovers(struct ak_fs *fs, const char *folder, struct ak_err *err)
{
    struct sweep sweep = {0};
    ak_buf_init(&sweep.path, PATH_MAX);
    ak_buf_init(&sweep.found, 0);
    enum ak_rc rc = ak_fs_list(fs, folder, note_leftover, &sweep, err);
    if (rc == AK_OK) {
        rc = ak_buf_check(&sweep.found, err);
    }
    for (size_t at = 0; rc == AK_OK && at < sweep.found.len;) {
        const char *name = sweep.found.p + at;
        ak_buf_clear(&sweep.path);
        ak_buf_add_fmt(&sweep.path, "%s/%s", folder, name);
        const char *leftover = ak_buf_cstr(&sweep.path);
        rc = ak_buf_check(&sweep.path, err);
        if (rc == AK_OK) {
            rc = ak_fs_remove(fs, leftover, err);
        }
        at += strlen(name) + 1;
    }
    ak_buf_release(&sweep.path);
    ak_buf_release(&sweep.found);
    return rc;
}

/* The names that are needed to the end: made first, so that none can fail later. */
static enum ak_rc make_names(struct ak_perf_output *output, struct ak_str path, struct ak_err *err)
{
    const char *slash = memrchr(path.p, '/', path.len);
    ak_buf_init(&output->path, PATH_MAX);
    ak_buf_init(&output->tmp, PATH_MAX);
    ak_buf_init(&output->folder, PATH_MAX);
    ak_buf_add_str(&output->path, path);
    ak_buf_add_fmt(&output->tmp, "%.*s.tmp", AK_STR_ARG(path));
    ak_buf_add_str(&output->folder,
                   slash ? ak_str_sub(path, 0, (size_t)(slash - path.p)) : AK_STR("."));
    (void)ak_buf_cstr(&output->path);
    (void)ak_buf_cstr(&output->tmp);
    (void)ak_buf_cstr(&output->folder);
    enum ak_rc rc = ak_buf_check(&output->path, err);
    rc = rc == AK_OK ? ak_buf_check(&output->tmp, err) : rc;
    return rc == AK_OK ? ak_buf_check(&output->folder, err) : rc;
}

/* --- Row groups: one is encoded and written by a thread while the next one is read --- */

static enum ak_rc write_group(struct ak_perf_output *output, struct ak_perf_batch *batch,
                              struct ak_err *err)
{
    if (batch->rows == 0) {
        return AK_OK;
    }
    enum ak_rc rc = ak_parquet_begin_group(output->writer, batch->rows, err);
    for (size_t i = 0; i < output->info->column_count && rc == AK_OK; i++) {
        bool has_nulls = batch->valid[i] && memchr(batch->valid[i], 0, batch->rows);
        const struct ak_parquet_values values = {.fixed = batch->values[i],
                                                 .valid = has_nulls ? batch->valid[i] : NULL};
        rc = ak_parquet_put(output->writer, &values, err);
    }
    if (rc == AK_OK) {
        rc = ak_parquet_end_group(output->writer, err);
    }
    ak_perf_batch_clear(batch);
    ak_crash_point("perf_group");
    return rc;
}

static void write_sent(void *arg)
{
    struct ak_perf_output *output = arg;
    struct ak_err err = {0};
    enum ak_rc rc = write_group(output, &output->sent, &err);
    ak_mutex_lock(&output->lock);
    output->worker_rc = rc;
    output->worker_err = err;
    output->is_busy = false;
    ak_cond_signal(&output->idle);
    ak_mutex_unlock(&output->lock);
}

/* The writer is nobody else's then. Gives what the worker met with. */
static enum ak_rc wait_for_worker(struct ak_perf_output *output, struct ak_err *err)
{
    if (!output->worker) {
        return AK_OK;
    }
    ak_mutex_lock(&output->lock);
    while (output->is_busy) {
        ak_cond_wait(&output->idle, &output->lock);
    }
    enum ak_rc rc = output->worker_rc;
    if (rc != AK_OK && err) {
        *err = output->worker_err;
    }
    ak_mutex_unlock(&output->lock);
    return rc;
}

static enum ak_rc hire_worker(struct ak_perf_output *output, struct ak_err *err)
{
    const struct ak_pool_options options = {.name = "perf-export", .threads = 1, .queue_max = 1};
    enum ak_rc rc = ak_perf_batch_init(&output->sent, output->info, AK_PERF_GROUP_ROWS, err);
    if (rc != AK_OK) {
        return rc;
    }
    ak_mutex_init(&output->lock, AK_RANK_LEAF, "perf output");
    ak_cond_init(&output->idle);
    rc = ak_pool_open(&options, &output->worker, err);
    if (rc != AK_OK) {
        ak_cond_release(&output->idle);
        ak_mutex_release(&output->lock);
    }
    return rc;
}

static void dismiss_worker(struct ak_perf_output *output)
{
    if (output->worker) {
        ak_pool_close(output->worker);
        output->worker = NULL;
        ak_cond_release(&output->idle);
        ak_mutex_release(&output->lock);
    }
}

enum ak_rc ak_perf_output_send(struct ak_perf_output *output, struct ak_err *err)
{
    enum ak_rc rc = output->worker ? wait_for_worker(output, err) : hire_worker(output, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_perf_batch full = output->batch;
    output->batch = output->sent;
    output->sent = full;
    ak_mutex_lock(&output->lock);
    output->is_busy = true;
    ak_mutex_unlock(&output->lock);
    rc = ak_pool_submit(output->worker, write_sent, output, err);
    if (rc != AK_OK) { /* not taken: nobody will say that it is done */
        output->is_busy = false;
    }
    return rc;
}

enum ak_rc ak_perf_output_open(struct ak_perf_output *output, struct ak_fs *fs,
                               const struct ak_perf_table_info *info, struct ak_str path,
                               const struct ak_perf_output_options *how, struct ak_err *err)
{
    struct ak_parquet_column columns[AK_PERF_COLUMNS_MAX];
    const struct ak_parquet_write_options options = {
        .codec = how->codec,
        .level = how->codec == AK_CODEC_ZSTD ? ZSTD_LEVEL : 0,
        .created_by = CREATED_BY,
        .no_page_index = how->source_bytes < PAGE_INDEX_BYTES,
    };
    const struct ak_parquet_sink sink = {output, to_file};
    *output = (struct ak_perf_output){.fs = fs, .info = info};
    enum ak_rc rc = make_names(output, path, err);
    if (rc == AK_OK) {
        rc = ak_fs_make_dirs(fs, output->folder.p, err);
    }
    if (rc == AK_OK) {
        rc = remove_leftovers(fs, output->folder.p, err);
    }
    if (rc == AK_OK) {
        rc = ak_perf_batch_init(&output->batch, info, AK_PERF_GROUP_ROWS, err);
    }
    if (rc == AK_OK) {
        rc = ak_fs_open(fs, output->tmp.p, AK_OPEN_WRITE | AK_OPEN_CREATE | AK_OPEN_TRUNCATE,
                        &output->file, err);
    }
    if (rc == AK_OK) {
        ak_perf_parquet_columns(info, columns);
        rc = ak_parquet_create(&sink, columns, info->column_count, &options, &output->writer, err);
    }
    if (rc == AK_OK) {
        rc = ak_perf_output_metadata(output, "akidb.table", info->name, err);
    }
    if (rc == AK_OK) {
        rc = ak_perf_output_metadata(output, "akidb.schema_version", AK_PERF_SCHEMA_VERSION, err);
    }
    if (rc != AK_OK) {
        ak_perf_output_release(output);
    }
    return rc;
}

enum ak_rc ak_perf_output_metadata(struct ak_perf_output *output, const char *key, const char *text,
                                   struct ak_err *err)
{
    enum ak_rc rc = wait_for_worker(output, err);
    return rc != AK_OK
               ? rc
               : ak_parquet_add_metadata(output->writer, ak_str_of(key), ak_str_of(text), err);
}

/* The footer, as a reader will see it. */
static enum ak_rc read_back(struct ak_perf_output *output, uint64_t rows, struct ak_err *err)
{
    struct ak_parquet_source source;
    struct ak_parquet_reader *reader = NULL;
    enum ak_rc rc = ak_parquet_source_file(output->file, output->tmp.p, &source, err);
    if (rc == AK_OK) {
        rc = ak_parquet_open(&source, NULL, &reader, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    const struct ak_parquet_description *about = ak_parquet_describe(reader);
    bool is_same = about->rows == rows && about->leaf_count == output->info->column_count;
    for (size_t i = 0; i < about->leaf_count && is_same; i++) {
        is_same = ak_str_eq(about->leaves[i].path, ak_str_of(output->info->columns[i].name)) &&
                  (about->leaves[i].max_def > 0) == output->info->columns[i].is_optional;
    }
    ak_parquet_close(reader);
    return is_same ? AK_OK
                   : ak_fail(err, AK_CORRUPT,
                             "'%s' reads back with other rows or columns than were written",
                             output->tmp.p);
}

enum ak_rc ak_perf_output_commit(struct ak_perf_output *output, uint64_t *rows, uint64_t *bytes,
                                 struct ak_err *err)
{
    struct ak_parquet_summary summary;
    enum ak_rc rc = wait_for_worker(output, err);
    if (rc == AK_OK) {
        rc = write_group(output, &output->batch, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    rc = ak_parquet_finish(output->writer, &summary, err);
    output->writer = NULL;
    if (rc == AK_OK) {
        rc = read_back(output, summary.rows, err);
    }
    if (rc == AK_OK) {
        rc = ak_file_sync(output->file, err);
    }
    ak_file_close(output->file);
    output->file = NULL;
    ak_crash_point("perf_synced");
    if (rc == AK_OK) {
        rc = ak_fs_rename(output->fs, output->tmp.p, output->path.p, err);
    }
    if (rc != AK_OK) {
        (void)!ak_fs_remove(output->fs, output->tmp.p, NULL); /* the first failure counts */
        return rc;
    }
    ak_crash_point("perf_renamed");
    rc = ak_fs_sync_dir(output->fs, output->folder.p, err);
    if (rc == AK_OK) {
        *rows = summary.rows;
        *bytes = summary.bytes;
    }
    return rc;
}

void ak_perf_output_release(struct ak_perf_output *output)
{
    dismiss_worker(output);
    ak_parquet_abandon(output->writer);
    output->writer = NULL;
    if (output->file) {
        ak_file_close(output->file);
        output->file = NULL;
        (void)!ak_fs_remove(output->fs, output->tmp.p, NULL);
    }
    ak_perf_batch_release(&output->batch);
    ak_perf_batch_release(&output->sent);
    ak_buf_release(&output->path);
    ak_buf_release(&output->tmp);
    ak_buf_release(&output->folder);
}
