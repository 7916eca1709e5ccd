/* rejects.c — rows that could not be taken, put aside with their reasons, so that they can be
 * mended and nothing is lost. The file is as large as they are: it is written as they come. */
#include "perf/csv.h"
#include "perf/perf_priv.h"
#include <limits.h>

#define FLUSH_BYTES ((size_t)256 << 10)

enum ak_rc ak_perf_rejects_init(struct ak_perf_rejects *rejects, struct ak_fs *fs,
                                struct ak_str path, struct ak_err *err)
{
    *rejects = (struct ak_perf_rejects){.fs = fs};
    ak_buf_init(&rejects->path, PATH_MAX);
    ak_buf_init(&rejects->tmp, PATH_MAX);
    ak_buf_init(&rejects->out, FLUSH_BYTES + 3 * AK_CSV_RECORD_MAX);
    ak_buf_add_str(&rejects->path, path);
    ak_buf_add_fmt(&rejects->tmp, "%.*s.tmp", AK_STR_ARG(path));
    (void)ak_buf_cstr(&rejects->path);
    (void)ak_buf_cstr(&rejects->tmp);
    enum ak_rc rc = ak_buf_check(&rejects->path, err);
    return rc == AK_OK ? ak_buf_check(&rejects->tmp, err) : rc;
}

static enum ak_rc begin(struct ak_perf_rejects *rejects, struct ak_err *err)
{
    struct ak_buf folder;
    ak_buf_init(&folder, PATH_MAX);
    ak_buf_add_str(&folder, ak_buf_str(&rejects->path));
    while (folder.len > 0 && folder.p[--folder.len] != '/') {
    }
    const char *name = ak_buf_cstr(&folder);
    enum ak_rc rc = ak_buf_check(&folder, err);
    if (rc == AK_OK) {
        rc = ak_fs_make_dirs(rejects->fs, name, err);
    }
    ak_buf_release(&folder);
    if (rc == AK_OK) {
        rc = ak_fs_open(rejects->fs, rejects->tmp.p,
                        AK_OPEN_WRITE | AK_OPEN_CREATE | AK_OPEN_TRUNCATE, &rejects->file, err);
    }
    ak_buf_add_str(&rejects->out, AK_STR("line,reason,row\n"));
    return rc;
}

static enum ak_rc flush(struct ak_perf_rejects *rejects, struct ak_err *err)
{
    enum ak_rc rc = ak_buf_check(&rejects->out, err);
    if (rc == AK_OK && rejects->out.len > 0) {
        rc = ak_file_write(rejects->file, rejects->at, rejects->out.p, rejects->out.len, err);
        rejects->at += rejects->out.len;
        ak_buf_clear(&rejects->out);
    }
    return rc;
}

enum ak_rc ak_perf_rejects_add(struct ak_perf_rejects *rejects, const struct ak_perf_bad *bad,
                               struct ak_err *err)
{
    enum ak_rc rc = rejects->file ? AK_OK : begin(rejects, err);
    if (rc != AK_OK) {
        return rc;
    }
    ak_buf_add_fmt(&rejects->out, "%llu,", (unsigned long long)bad->line);
    ak_csv_put(&rejects->out, ak_str_of(bad->reason));
    ak_buf_add_char(&rejects->out, ',');
    ak_csv_put(&rejects->out, bad->text);
    ak_buf_add_char(&rejects->out, '\n');
    rejects->count++;
    return rejects->out.len >= FLUSH_BYTES || rejects->out.failed ? flush(rejects, err) : AK_OK;
}

enum ak_rc ak_perf_rejects_commit(struct ak_perf_rejects *rejects, struct ak_err *err)
{
    uint64_t size;
    if (!rejects->file) {
        enum ak_rc rc = ak_fs_stat(rejects->fs, rejects->path.p, &size, err);
        return rc == AK_OK          ? ak_fs_remove(rejects->fs, rejects->path.p, err)
               : rc == AK_NOT_FOUND ? AK_OK
                                    : rc;
    }
    enum ak_rc rc = flush(rejects, err);
    if (rc == AK_OK) {
        rc = ak_file_sync(rejects->file, err);
    }
    ak_file_close(rejects->file);
    rejects->file = NULL;
    if (rc == AK_OK) {
        rc = ak_fs_rename(rejects->fs, rejects->tmp.p, rejects->path.p, err);
    }
    if (rc != AK_OK) {
        (void)!ak_fs_remove(rejects->fs, rejects->tmp.p, NULL);
    }
    return rc;
}

void ak_perf_rejects_release(struct ak_perf_rejects *rejects)
{
    if (rejects->file) {
        ak_file_close(rejects->file);
        rejects->file = NULL;
        (void)!ak_fs_remove(rejects->fs, rejects->tmp.p, NULL);
    }
    ak_buf_release(&rejects->path);
    ak_buf_release(&rejects->tmp);
    ak_buf_release(&rejects->out);
}
