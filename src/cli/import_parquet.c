/* import_parquet.c — the file is mapped and sent as it is: its length is known, its bytes are never
 * all in memory. */
#include "cli/import_parquet.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/output.h"
#include "cli/remote.h"
#include "parquet/reader.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TIMEOUT_MS 3600000 /* the answer comes when all is stored */

/* --- The dimension, when a collection is to be made --- */

static enum ak_rc first_length(const struct ak_parquet_reader *reader, size_t group, size_t leaf,
                               uint64_t *length, struct ak_err *err)
{
    struct ak_parquet_cursor *cursor = NULL;
    struct ak_parquet_batch batch;
    enum ak_rc rc = ak_parquet_cursor_open(reader, group, leaf, 0, 1, &cursor, err);
    if (rc == AK_OK) {
        rc = ak_parquet_next(cursor, 1, &batch, err);
    }
    if (rc == AK_OK) {
        *length = batch.rows ? batch.value_at[1] - batch.value_at[0] : 0;
    }
    ak_parquet_cursor_close(cursor);
    return rc;
}

static enum ak_rc look_into(const struct ak_parquet_reader *reader, uint64_t *dimension,
                            struct ak_err *err)
{
    const struct ak_parquet_description *about = ak_parquet_describe(reader);
    int leaf = ak_parquet_find_leaf(reader, AK_STR("vector"));
    if (leaf < 0 || !about->leaves[leaf].is_list) {
        return ak_fail(err, AK_INVALID, "it has no column 'vector' that is a list of numbers");
    }
    for (size_t g = 0; g < about->group_count; g++) {
        if (about->groups[g].rows) {
            enum ak_rc rc = first_length(reader, g, (size_t)leaf, dimension, err);
            if (rc == AK_OK && (*dimension == 0 || *dimension > AK_DIMENSION_MAX)) {
                rc = ak_fail(err, AK_INVALID,
                             "the vector of its first row has %llu numbers: 1 to %d are possible",
                             (unsigned long long)*dimension, AK_DIMENSION_MAX);
            }
            return rc;
        }
    }
    return ak_fail(err, AK_INVALID, "it has no rows: say the --dimension of what is to come");
}

/* That of the first row; the server holds every other one against it. */
static enum ak_rc dimension_of_file(const char *path, uint64_t *dimension, struct ak_err *err)
{
    const struct ak_parquet_read_options options = {.memory_max = 0};
    struct ak_file *file = NULL;
    struct ak_parquet_reader *reader = NULL;
    struct ak_parquet_source source;
    enum ak_rc rc = ak_fs_open(ak_fs_posix(), path, AK_OPEN_READ, &file, err);
    if (rc == AK_OK) {
        rc = ak_parquet_source_file(file, path, &source, err);
    }
    if (rc == AK_OK) {
        rc = ak_parquet_open(&source, &options, &reader, err);
    }
    if (rc == AK_OK) {
        rc = look_into(reader, dimension, err);
    }
    ak_parquet_close(reader);
    ak_file_close(file);
    return rc == AK_OK ? rc : ak_wrap(err, rc, "%s", path);
}

static enum ak_rc make_collection(struct ak_remote *remote, const struct ak_import_parquet *import,
                                  struct ak_err *err)
{
    struct ak_buf body;
    uint64_t dimension = import->dimension;
    if (dimension == 0) {
        enum ak_rc rc = dimension_of_file(import->file, &dimension, err);
        if (rc != AK_OK) {
            return rc;
        }
    }
    ak_buf_init(&body, 0);
    ak_buf_add_str(&body, AK_STR("{\"name\":"));
    ak_json_put_string(&body, ak_str_of(import->collection));
    ak_buf_add_str(&body, AK_STR(",\"dimension\":"));
    ak_json_put_u64(&body, dimension);
    ak_buf_add_str(&body, AK_STR(",\"metric\":"));
    ak_json_put_string(&body, ak_str_of(import->metric ? import->metric : "cosine"));
    ak_buf_add_str(&body, AK_STR(",\"embedding_model\":"));
    ak_json_put_string(&body, ak_str_of(import->model));
    ak_buf_add_char(&body, '}');
    enum ak_rc rc = ak_remote_call(remote, "POST", "/api/v1/collections", &body, NULL, err);
    ak_buf_release(&body);
    return rc;
}

static enum ak_rc ensure_collection(struct ak_remote *remote,
                                    const struct ak_import_parquet *import, struct ak_err *err)
{
    const char *path = ak_remote_path(remote, ak_str_of(import->collection), "");
    enum ak_rc rc = ak_remote_call(remote, "GET", path, NULL, NULL, err);
    if (rc != AK_NOT_FOUND) {
        return rc;
    }
    if (!import->create) {
        return ak_fail(err, rc, "there is no collection '%s': add --create to make it",
                       import->collection);
    }
    return make_collection(remote, import, err);
}

static void show_sent(void *ctx, uint64_t bytes)
{
    struct ak_progress *bar = ctx;
    ak_progress_set(bar, bytes >> 20, bar->total ? -1 : 0);
}

static enum ak_rc send_bytes(struct ak_remote *remote, const struct ak_import_parquet *import,
                             struct ak_str bytes, uint64_t *documents, struct ak_err *err)
{
    struct ak_progress bar;
    struct ak_buf answer;
    struct ak_json in;
    struct ak_str key;
    ak_buf_init(&answer, 0);
    ak_progress_init(&bar, "MiB sent", bytes.len >> 20);
    const struct ak_request request = {
        .method = "POST",
        .path = ak_remote_path(remote, ak_str_of(import->collection), "/import"),
        .content_type = "application/vnd.apache.parquet",
        .body = bytes,
        .timeout_ms = TIMEOUT_MS,
        .sent = show_sent,
        .ctx = &bar,
    };
    enum ak_rc rc = ak_client_call(ak_remote_client(remote), &request, &answer, err);
    ak_progress_end(&bar);
    if (rc == AK_OK) {
        ak_json_init(&in, ak_buf_str(&answer));
        ak_json_object(&in);
        while (ak_json_next_key(&in, &key)) {
            if (ak_str_eq(key, AK_STR("upserted"))) {
                (void)ak_json_u64(&in, 0, UINT64_MAX, documents);
            } else {
                (void)ak_json_skip(&in, NULL);
            }
        }
        rc = ak_json_finish(&in, err);
        ak_json_release(&in);
    }
    ak_buf_release(&answer);
    return rc;
}

static enum ak_rc send_file(struct ak_remote *remote, const struct ak_import_parquet *import,
                            uint64_t *documents, struct ak_err *err)
{
    struct stat stat = {0};
    int fd = open(import->file, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &stat) != 0) {
        enum ak_rc rc = ak_fail_errno(err, errno, "open %s", import->file);
        if (fd >= 0) {
            (void)close(fd);
        }
        return rc;
    }
    size_t size = (size_t)stat.st_size;
    void *map = size ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    enum ak_rc rc = AK_OK;
    if (size == 0 || !S_ISREG(stat.st_mode)) {
        rc = ak_fail(err, AK_INVALID, "%s is no Parquet file", import->file);
    } else if (map == MAP_FAILED) {
        rc = ak_fail_errno(err, errno, "map %s", import->file);
    } else {
        (void)madvise(map, size, MADV_SEQUENTIAL);
        rc = send_bytes(remote, import, (struct ak_str){map, size}, documents, err);
    }
    if (map && map != MAP_FAILED) {
        (void)munmap(map, size);
    }
    (void)close(fd);
    return rc;
}

enum ak_rc ak_import_parquet(const struct ak_import_parquet *import, uint64_t *documents,
                             char name[AK_TARGET_URL_MAX], struct ak_err *err)
{
    struct ak_remote *remote = NULL;
    enum ak_rc rc = ak_remote_open(&import->target, &remote, err);
    rc = rc == AK_OK ? ensure_collection(remote, import, err) : rc;
    rc = rc == AK_OK ? send_file(remote, import, documents, err) : rc;
    if (rc == AK_OK) {
        (void)snprintf(name, AK_TARGET_URL_MAX, "%s", ak_remote_name(remote));
    }
    ak_remote_close(remote);
    return rc;
}
